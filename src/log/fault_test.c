/* fault_test.c: a disk that answers with errors but stays up: a failed write, a short one, a failed sync, no space.
 *
 * Promise: nothing is acknowledged after a failed sync, and no sync is tried again; a full disk refuses and the log goes
 * on when there is room; what was acknowledged is there after a restart, with and without a power cut between, and
 * recovery works on a disk that is still full. Method: a scripted life, once for each fault, for each call k that it
 * concerns, once and for ever from there on. */
#include "log/log_int.h"

#include "log/producer.h"
#include "log/testing.h"

struct client {
    int64_t acked, sent; /* every record below was acknowledged; none at or above was sent */
    int64_t start, start_try;
    bool has_failed; /* a sync has failed: nothing may be acknowledged any more */
};

/* A client that goes on after each refusal. */
static void live(struct world *w, struct client *c, int32_t epoch)
{
    struct log_options o = options_small();
    struct producers *p = producers_create();
    struct log *l = NULL;

    if (log_open(&l, w->sys, DIR_LOG, &o, epoch, NULL, &w->e) != ERR_NONE) goto done;
    for (int i = 0; i < 16; i++) {
        int64_t end = log_end_offset(l);
        enum err_code rc = append_batch(w, l, 1 + i % 3, 40 + i * 97 % 900, 0, w->now_ms);
        if (rc == ERR_NONE)
            c->sent = log_end_offset(l);
        else
            assert_int_equal(log_end_offset(l), end);
        if (i % 2 == 0 && log_end_offset(l) > log_durable_offset(l)) {
            int64_t before = log_durable_offset(l);
            rc = log_sync(l, &w->e);
            if (rc != ERR_NONE) {
                assert_int_equal(log_durable_offset(l), before);
                assert_true(log_is_stopped(l));
                c->has_failed = true;
            }
        }
        if (c->has_failed) assert_true(log_durable_offset(l) <= c->acked);
        if (log_durable_offset(l) > c->acked) c->acked = log_durable_offset(l);
        if (i == 7) (void)!log_roll(l, &w->e);
        if (i == 9) (void)!producers_save(p, w->fs, DIR_LOG, log_durable_offset(l), &w->e);
        if (i == 11) {
            c->start_try = log_durable_offset(l) - 5;
            if (c->start_try > 0 && log_trim(l, c->start_try, &w->e) == ERR_NONE) c->start = c->start_try;
        }
        /* Readers see what is durable, whatever happened. */
        check_content(w, l, log_start_offset(l), log_durable_offset(l), 1500, 0);
    }
done:
    log_close(l);
    producers_destroy(p);
}

static void check_after(struct world *w, const struct client *c, int32_t epoch)
{
    struct log_options o = options_small();
    struct log_recovery r;
    struct log *l;

    ok(log_open(&l, w->sys, DIR_LOG, &o, epoch, &r, &w->e));
    assert_int_equal(r.corrupt_from, -1);
    assert_true(r.start_offset == c->start || r.start_offset == c->start_try);
    if (r.end_offset < c->acked || r.end_offset > c->sent)
        fail_msg("acknowledged %lld, stored %lld, sent %lld", (long long)c->acked, (long long)r.end_offset,
                 (long long)c->sent);
    check_content(w, l, r.start_offset, r.end_offset, 2000, 0);
    log_close(l);
}

/* With `power` the machine goes down before the restart, otherwise the page cache lives on. */
static bool try_one(enum sim_fault fault, uint64_t k, bool is_for_ever, bool power)
{
    struct world world, *w = &world;
    struct client c = {0};

    world_open(w, k);
    sim_disk_fault_at(w->sim, fault, k, is_for_ever);
    live(w, &c, 1);
    bool has_struck = sim_disk_faults(w->sim) > 0;
    assert_int_equal(sim_disk_sync_retries(w->sim), 0);
    if (fault == SIM_FAULT_NO_SPACE && is_for_ever && has_struck && c.sent > 0) {
        sim_process_kill(w->sim); /* the disk is still full */
        check_after(w, &c, 2);
    }
    sim_disk_fault_at(w->sim, fault, 0, false);
    if (power)
        sim_disk_power_cycle(w->sim);
    else
        sim_process_kill(w->sim);
    check_after(w, &c, 5);
    sim_disk_power_cycle(w->sim);
    check_after(w, &c, 6);
    check_undamaged(w, DIR_LOG);
    assert_int_equal(sim_disk_sync_retries(w->sim), 0);
    world_close(w);
    return has_struck;
}

static void test_fault__each_call_that_fails(void **state)
{
    static const enum sim_fault faults[] = {SIM_FAULT_WRITE, SIM_FAULT_SHORT_WRITE, SIM_FAULT_NO_SPACE, SIM_FAULT_SYNC};

    for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
        uint64_t k = 1;
        for (bool has_struck = true; has_struck; k++) {
            has_struck = false;
            for (int mode = 0; mode < 4; mode++)
                has_struck |= try_one(faults[f], k, mode & 1, mode & 2);
        }
        print_message("fault %d: %llu calls\n", (int)faults[f], (unsigned long long)k);
        assert_true(k > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fault__each_call_that_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
