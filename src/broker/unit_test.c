/* What it proves: a unit's journal under stress that the conformance suite does not make: large commits, snapshots that
 * trim, many outputs to one partition, a full disk, deleted outputs, quiet days. How: the port in a simulated world,
 * one thread. */
#include "broker/test_world.h"

#include "broker/broker_port.h"

struct unit {
    struct world w;
    struct port *port;
    struct port_unit *u;
    struct port_topic out;
    bool is_done, wants_snapshot;
    enum err_code rc;
    struct buf state; /* restored: "key=first byte,length;" */
    int64_t next;     /* restored */
};

static void on_offset(void *arg, const struct port_offset *o)
{
    ((struct unit *)arg)->next = o->next;
}

static void on_state(void *arg, struct bytes key, struct bytes value)
{
    struct unit *t = arg;
    buf_printf(&t->state, "%.*s=%c,%zu;", BYTES_ARG(key), value.len ? value.ptr[0] : '-', value.len);
}

static void on_done(void *arg, enum err_code rc, bool want_snapshot, const struct err *e)
{
    struct unit *t = arg;
    t->is_done = true;
    t->rc = rc;
    t->wants_snapshot = want_snapshot;
}

static void unit_start(struct unit *t)
{
    struct port_restore r = {on_offset, on_state, t};

    world_open(&t->w);
    assert_ok(broker_port_create(&t->port, t->w.b, t->w.sys->loop, NULL));
    if (t->port->topic_find(t->port, BYTES_LIT("out"), &t->out, NULL) != ERR_NONE)
        assert_ok(t->port->topic_create(t->port, BYTES_LIT("out"), 1, &t->out, NULL));
    buf_clear(&t->state);
    assert_ok(t->port->unit_open(t->port, BYTES_LIT("u"), &r, &t->u, NULL));
    buf_put_u8(&t->state, 0);
}

static void unit_die(struct unit *t)
{
    sim_disk_crash_at(t->w.sim, 1);
    broker_port_destroy(t->port);
    world_die(&t->w, true);
}

static void unit_init(struct unit *t, uint64_t seed)
{
    memset(t, 0, sizeof(*t));
    buf_init(&t->state, 0);
    world_init(&t->w, seed);
    unit_start(t);
}

static void unit_deinit(struct unit *t)
{
    broker_port_destroy(t->port);
    buf_deinit(&t->state);
    world_deinit(&t->w);
}

static void commit_start(struct unit *t, const struct port_commit *c)
{
    t->is_done = false;
    assert_ok(t->port->commit(t->port, t->u, c, on_done, t, NULL));
}

static void commit_done(struct unit *t, const struct port_commit *c)
{
    commit_start(t, c);
    world_run(&t->w, 50);
    assert_true(t->is_done);
    assert_int_equal(t->rc, ERR_NONE);
}

static struct log *journal(struct unit *t)
{
    return partition_log(world_partition(&t->w, "_weir_unit_u", 0));
}

static void test_unit__snapshots_trim_the_journal(void **state)
{
    enum { VALUE = 1500000 };
    struct unit t;
    uint8_t *value = malloc(VALUE);
    int n = 0;

    unit_init(&t, 1);
    for (; n < 40 && !t.wants_snapshot; n++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "k%d", n % 3);
        memset(value, 'a' + n % 26, VALUE);
        struct port_state_change c = {bytes_str(key), bytes_of(value, VALUE)};
        commit_done(&t, &(struct port_commit){.changes = &c, .n_changes = 1});
    }
    assert_in_range(n, 10, 20); /* after 16 MiB */
    struct port_state_change whole[2] = {{BYTES_LIT("x"), BYTES_LIT("1")}, {BYTES_LIT("y"), BYTES_LIT("22")}};
    commit_done(&t, &(struct port_commit){.changes = whole, .n_changes = 2, .is_snapshot = true});
    assert_false(t.wants_snapshot);
    assert_true(log_start_offset(journal(&t)) > 0);
    assert_true(log_size_bytes(journal(&t)) < 100000);
    unit_die(&t);
    unit_start(&t);
    assert_string_equal((char *)t.state.ptr, "x=1,1;y=2,2;");
    free(value);
    unit_deinit(&t);
}

/* A commit of several batches is in the journal whole or not at all. */
static void test_unit__large_commits_are_atomic(void **state)
{
    enum { N = 5, VALUE = 700000 };
    struct port_state_change c[N];
    uint8_t *value = malloc(VALUE);
    static const char *const keys[N] = {"a", "b", "c", "d", "e"};

    for (uint64_t at = 0; at < 12; at++) {
        struct unit t;
        unit_init(&t, at + 1);
        for (int round = 0; round < 2; round++) {
            memset(value, '0' + round, VALUE);
            for (int i = 0; i < N; i++)
                c[i] = (struct port_state_change){bytes_str(keys[i]), bytes_of(value, VALUE)};
            struct port_commit commit = {.changes = c, .n_changes = N};
            if (round == 0) {
                commit_done(&t, &commit);
                continue;
            }
            if (at > 0) sim_disk_crash_at(t.w.sim, at);
            commit_start(&t, &commit);
            world_run(&t.w, 50);
        }
        bool was_done = t.is_done && t.rc == ERR_NONE;
        unit_die(&t);
        unit_start(&t);
        if (strcmp((char *)t.state.ptr, "a=1,700000;b=1,700000;c=1,700000;d=1,700000;e=1,700000;") != 0) {
            assert_string_equal((char *)t.state.ptr, "a=0,700000;b=0,700000;c=0,700000;d=0,700000;e=0,700000;");
            assert_false(was_done);
        }
        unit_deinit(&t);
    }
    free(value);
}

/* More outputs to one partition than a producer's memory of five batches. */
static void test_unit__many_outputs_exactly_once(void **state)
{
    enum { N = 12 };
    struct buf batches[N];
    char want[2][1024] = {{0}, {0}};

    for (int i = 0; i < N; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "v%d", i);
        (void)sprintf(want[1] + strlen(want[1]), "%d:%s ", i, text);
        make_batch(&batches[i], text, 1, WORLD_WALL_MS, -1, -1);
    }
    for (uint64_t at = 1; at < 24; at++) {
        struct unit t;
        struct port_output outputs[N];
        unit_init(&t, at);
        for (int i = 0; i < N; i++)
            outputs[i] = (struct port_output){t.out.id, 0, buf_bytes(&batches[i])};
        struct port_offset o = {t.out.id, 0, 9};
        struct port_commit c = {.offsets = &o, .n_offsets = 1, .outputs = outputs, .n_outputs = N};
        sim_disk_crash_at(t.w.sim, at);
        commit_start(&t, &c);
        world_run(&t.w, 50);
        for (int again = 0; again < 2; again++) { /* recovering twice changes nothing */
            t.next = 0;
            unit_die(&t);
            unit_start(&t);
            assert_true(t.next == 0 || t.next == 9);
            assert_dump(world_partition(&t.w, "out", 0), want[t.next == 9]);
        }
        unit_deinit(&t);
    }
    for (int i = 0; i < N; i++)
        buf_deinit(&batches[i]);
}

static void test_unit__full_disk_is_tried_again(void **state)
{
    struct unit t;
    struct buf batch;
    char want[4096] = {0};
    int n = 0, n_refused = 0, n_parked = 0;

    unit_init(&t, 3);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    struct port_output output = {t.out.id, 0, buf_bytes(&batch)};
    struct port_commit c = {.outputs = &output, .n_outputs = 1};
    commit_done(&t, &c);
    n++;
    for (unsigned round = 0; round < 40; round++) {
        struct fs_space space;
        sim_disk_set_capacity(t.w.sim, 1u << 30);
        assert_ok(t.w.sys->fs->space(t.w.sys->fs, "data", &space, NULL));
        sim_disk_set_capacity(t.w.sim, space.total_bytes - space.free_bytes + 12 * round); /* a little more each time */
        commit_start(&t, &c);
        world_run(&t.w, 50);
        if (!t.is_done) { /* in the journal, but no room for the output: it has happened and goes on by itself */
            n_parked++;
            sim_disk_set_capacity(t.w.sim, 0);
            world_run(&t.w, 2000);
            assert_true(t.is_done);
        }
        if (t.rc == ERR_NONE) {
            n++;
        } else {
            assert_int_equal(t.rc, ERR_NO_SPACE);
            n_refused++;
        }
    }
    sim_disk_set_capacity(t.w.sim, 0);
    commit_done(&t, &c);
    n++;
    for (int i = 0; i < n; i++)
        (void)sprintf(want + strlen(want), "%d:v ", i);
    assert_dump(world_partition(&t.w, "out", 0), want);
    assert_true(n_refused > 0 && n_parked > 0);
    buf_deinit(&batch);
    unit_deinit(&t);
}

static void test_unit__deleted_outputs_are_skipped(void **state)
{
    struct unit t;
    struct buf batch;
    struct port_topic gone;

    unit_init(&t, 4);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    for (int die = 0; die < 2; die++) {
        assert_ok(t.port->topic_create(t.port, BYTES_LIT("gone"), 1, &gone, NULL));
        struct port_output outputs[2] = {{gone.id, 0, buf_bytes(&batch)}, {t.out.id, 0, buf_bytes(&batch)}};
        commit_start(&t, &(struct port_commit){.outputs = outputs, .n_outputs = 2});
        assert_ok(t.port->topic_delete(t.port, BYTES_LIT("gone"), NULL)); /* while it is under way */
        if (die == 0) {
            world_run(&t.w, 50);
            assert_true(t.is_done);
            assert_int_equal(t.rc, ERR_NONE);
            assert_dump(world_partition(&t.w, "out", 0), "0:v ");
        } else {
            world_run(&t.w, 50);
            unit_die(&t);
            unit_start(&t);
        }
    }
    assert_dump(world_partition(&t.w, "out", 0), "0:v 1:v ");
    buf_deinit(&batch);
    unit_deinit(&t);
}

/* A partition forgets idle producers after a day; by then the journal says that nothing is left to append. */
static void test_unit__quiet_days_do_not_double_outputs(void **state)
{
    struct unit t;
    struct buf batch;

    unit_init(&t, 5);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    struct port_output output = {t.out.id, 0, buf_bytes(&batch)};
    commit_done(&t, &(struct port_commit){.outputs = &output, .n_outputs = 1});
    for (int i = 0; i < 3; i++) {
        if (i == 0) { /* leaves a snapshot of the producers that grows old */
            broker_port_destroy(t.port);
            broker_close(t.w.b);
            world_run(&t.w, 1);
        } else {
            world_run(&t.w, 30ull * 3600 * 1000);
            unit_die(&t);
        }
        unit_start(&t);
    }
    assert_dump(world_partition(&t.w, "out", 0), "0:v ");
    commit_done(&t, &(struct port_commit){.outputs = &output, .n_outputs = 1});
    assert_dump(world_partition(&t.w, "out", 0), "0:v 1:v ");
    buf_deinit(&batch);
    unit_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unit__snapshots_trim_the_journal),
        cmocka_unit_test(test_unit__large_commits_are_atomic),
        cmocka_unit_test(test_unit__many_outputs_exactly_once),
        cmocka_unit_test(test_unit__full_disk_is_tried_again),
        cmocka_unit_test(test_unit__deleted_outputs_are_skipped),
        cmocka_unit_test(test_unit__quiet_days_do_not_double_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
