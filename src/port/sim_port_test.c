/* The simulated port passes the conformance suite with commits under way kept and lost, and does what its own hooks
 * promise: failing and holding commits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conformance/port_conformance.h"
#include "port/sim_port.h"

static bool keep_pending;

static void *make(void *arg)
{
    (void)arg;
    return sim_port_create();
}
static struct port *port_of(void *world)
{
    return world;
}
static bool pump(void *world)
{
    return sim_port_pump(world);
}
static void restart(void *world)
{
    sim_port_restart(world, keep_pending);
}
static void destroy(void *world)
{
    sim_port_destroy(world);
}

static int answers;
static enum err_code last_rc;
static void on_commit(void *arg, enum err_code rc, bool want_snapshot, const struct err *e)
{
    (void)arg, (void)want_snapshot, (void)e;
    answers++;
    last_rc = rc;
}

static enum err_code put_state(struct port *p, struct port_unit *u, const char *value)
{
    struct port_state_change c = {.key = BYTES_LIT("k"), .value = bytes_str(value)};
    struct port_commit m = {.changes = &c, .n_changes = 1};
    return p->commit(p, u, &m, on_commit, NULL, NULL);
}

static struct bytes restored;
static uint8_t restored_bytes[16];
static void on_state(void *arg, struct bytes key, struct bytes value)
{
    (void)arg, (void)key;
    memcpy(restored_bytes, value.ptr, value.len);
    restored = bytes_of(restored_bytes, value.len);
}

static void test_sim_port__failed_and_held_commits(void **state)
{
    (void)state;
    struct port *p = sim_port_create();
    struct port_unit *u = NULL;
    struct port_restore r = {.state = on_state};
    answers = 0;
    assert_int_equal(p->unit_open(p, BYTES_LIT("u"), &r, &u, NULL), ERR_NONE);
    sim_port_fail_commit(p, 2, ERR_NO_SPACE);
    assert_int_equal(put_state(p, u, "1"), ERR_NONE);
    assert_int_equal(put_state(p, u, "2"), ERR_BUSY);
    assert_true(sim_port_pump(p));
    assert_int_equal(last_rc, ERR_NONE);
    assert_int_equal(put_state(p, u, "2"), ERR_NONE);
    assert_true(sim_port_pump(p));
    assert_int_equal(last_rc, ERR_NO_SPACE);
    sim_port_hold_commits(p, true);
    assert_int_equal(put_state(p, u, "3"), ERR_NONE);
    assert_false(sim_port_pump(p));
    sim_port_restart(p, false);
    sim_port_hold_commits(p, false);
    assert_int_equal(p->unit_open(p, BYTES_LIT("u"), &r, &u, NULL), ERR_NONE);
    assert_true(bytes_equal_str(restored, "1"));
    assert_int_equal(put_state(p, u, "4"), ERR_NONE);
    sim_port_restart(p, true);
    assert_int_equal(p->unit_open(p, BYTES_LIT("u"), &r, &u, NULL), ERR_NONE);
    assert_true(bytes_equal_str(restored, "4"));
    assert_int_equal(answers, 2);
    sim_port_fail_commit(p, 1, ERR_STOPPED);
    assert_int_equal(put_state(p, u, "5"), ERR_NONE);
    assert_true(sim_port_pump(p));
    assert_int_equal(put_state(p, u, "6"), ERR_FENCED);
    p->unit_close(p, u);
    sim_port_destroy(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sim_port__failed_and_held_commits)};
    struct port_conformance c = {
        .name = "sim_port", .make = make, .port = port_of, .pump = pump, .restart = restart, .destroy = destroy};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    keep_pending = false;
    failed += port_conformance_run(&c);
    keep_pending = true;
    failed += port_conformance_run(&c);
    return failed;
}
