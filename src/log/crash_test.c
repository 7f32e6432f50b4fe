/* crash_test.c: a power cut at every disk operation of a scripted life, with several seeds of what the disk keeps of
 * the rest.
 *
 * Promise: acknowledged records are there, whatever is there was sent, in order and without a gap; opening again
 * changes nothing; and all of that also when the power goes during recovery. Method: count the operations of an
 * undisturbed run, then run once for each operation n and each seed, cut at n, bring the power back, open, compare with
 * the model. WEIR_CRASH_SEEDS sets the number of seeds. */
#include "log/log_int.h"

#include "log/producer.h"
#include "log/testing.h"

/* What the client of the log knows. */
struct model {
    int64_t acked;     /* every record below was acknowledged as durable */
    int64_t sent;      /* every record at or above was never sent */
    int64_t start;     /* acknowledged trim */
    int64_t start_try; /* a trim that may or may not have happened */
};

static int n_seeds(int otherwise)
{
    const char *text = getenv("WEIR_CRASH_SEEDS");
    return text ? atoi(text) : otherwise;
}

static bool send_batch(struct world *w, struct log *l, struct model *m, int n, int pad, int generation)
{
    m->sent = log_end_offset(l) + n;
    return append_batch(w, l, n, pad, generation, w->now_ms) == ERR_NONE;
}

static bool sync_log(struct world *w, struct log *l, struct model *m)
{
    enum err_code rc = log_sync(l, &w->e);
    m->acked = log_durable_offset(l);
    return rc == ERR_NONE;
}

static bool trim_log(struct world *w, struct log *l, struct model *m, int64_t before)
{
    m->start_try = before;
    if (log_trim(l, before, &w->e) != ERR_NONE) return false;
    m->start = log_start_offset(l);
    return true;
}

/* The script: batches of many sizes, group commits, rolls by size and by hand, trims, a snapshot, a close and reopen in
 * the middle. Stops at the first error. */
static void live(struct world *w, struct model *m, int32_t epoch, int generation, int rounds)
{
    struct log_options o = options_small();
    struct log *l = NULL;
    struct producers *p = producers_create();

    bool up = log_open(&l, w->sys, DIR_LOG, &o, epoch, NULL, &w->e) == ERR_NONE;
    for (int i = 0; up && i < rounds; i++) {
        up = send_batch(w, l, m, 1 + i % 4, 40 + i * 97 % 900, generation);
        if (up && i % 3 == 1) up = send_batch(w, l, m, 2, 700, generation);
        if (up && i % 2 == 0) up = sync_log(w, l, m);
        if (up && i == 7) up = log_roll(l, &w->e) == ERR_NONE;
        if (up && i % 6 == 5) up = trim_log(w, l, m, log_durable_offset(l) - 9);
        if (up && i == 9) up = producers_save(p, w->fs, DIR_LOG, log_durable_offset(l), &w->e) == ERR_NONE;
        if (up && i == 11) {
            log_close(l);
            l = NULL;
            up = log_open(&l, w->sys, DIR_LOG, &o, epoch + 1, NULL, &w->e) == ERR_NONE;
            if (up) m->acked = log_durable_offset(l);
        }
    }
    log_close(l);
    producers_destroy(p);
}

struct below {
    int64_t start;
    int n;
};

static bool count_below(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct below *b = arg;
    int64_t base;
    b->n += segment_parse_name(name, ".log", &base) && base <= b->start;
    return true;
}

static void check_model(struct world *w, struct log *l, const struct model *m, int generation)
{
    int64_t start = log_start_offset(l), end = log_end_offset(l);
    assert_true(start == m->start || start == m->start_try);
    if (end < m->acked) fail_msg("acknowledged up to %lld, stored up to %lld", (long long)m->acked, (long long)end);
    if (end > m->sent) fail_msg("sent up to %lld, stored up to %lld", (long long)m->sent, (long long)end);
    assert_int_equal(log_durable_offset(l), end);
    /* Segments that a trim had removed do not come back with the power. */
    struct below below = {.start = start};
    ok(w->fs->list(w->fs, DIR_LOG, count_below, &below, &w->e));
    assert_int_equal(below.n, 1);
    check_content(w, l, start, end, 2000, generation);
}

/* Opens after the power is back; checks; opens again: the same; goes on; cuts the power again: what was acknowledged
 * last is there. */
static void check_recovery(struct world *w, const struct model *m, int32_t epoch)
{
    struct log_options o = options_small();
    struct log_recovery r, again;
    struct model second = *m;
    struct log *l;

    ok(log_open(&l, w->sys, DIR_LOG, &o, epoch, &r, &w->e));
    assert_int_equal(r.corrupt_from, -1);
    check_model(w, l, m, 0);
    log_close(l);
    check_undamaged(w, DIR_LOG);
    ok(log_open(&l, w->sys, DIR_LOG, &o, epoch + 1, &again, &w->e));
    assert_int_equal(again.start_offset, r.start_offset);
    assert_int_equal(again.end_offset, r.end_offset);
    assert_int_equal(again.cut_bytes, 0);
    assert_int_equal(again.corrupt_from, -1);
    int64_t border = again.end_offset;
    assert_true(send_batch(w, l, &second, 3, 500, 1));
    assert_true(sync_log(w, l, &second));
    assert_true(send_batch(w, l, &second, 3, 900, 1));
    log_close(l);
    sim_disk_power_cycle(w->sim);
    ok(log_open(&l, w->sys, DIR_LOG, &o, epoch + 2, &again, &w->e));
    assert_true(again.end_offset >= second.acked && again.end_offset <= second.sent);
    assert_int_equal(again.corrupt_from, -1);
    check_content(w, l, again.start_offset, border, 2000, 0);
    check_content(w, l, border, again.end_offset, 2000, 1);
    log_close(l);
}

static void cut_at(struct world *w, uint64_t n)
{
    sim_disk_crash_at(w->sim, n);
}

static void power_back(struct world *w)
{
    sim_disk_crash_at(w->sim, 0);
    sim_disk_power_cycle(w->sim);
}

static uint64_t count_ops(int rounds)
{
    struct world world, *w = &world;
    struct model m = {0};

    world_open(w, 1);
    uint64_t before = sim_disk_ops(w->sim);
    live(w, &m, 1, 0, rounds);
    assert_true(m.acked > 0);
    uint64_t n = sim_disk_ops(w->sim) - before;
    world_close(w);
    return n;
}

static void test_crash__at_every_operation(void **state)
{
    const int rounds = 20, seeds = n_seeds(3);
    uint64_t n_ops = count_ops(rounds);

    for (uint64_t n = 1; n <= n_ops + 1; n++) {
        for (int seed = 1; seed <= seeds; seed++) {
            struct world world, *w = &world;
            struct model m = {0};
            world_open(w, (uint64_t)seed * 1000 + n);
            cut_at(w, n);
            live(w, &m, 1, 0, rounds);
            power_back(w);
            check_recovery(w, &m, 10);
            world_close(w);
        }
    }
    print_message("%llu operations, %d seeds\n", (unsigned long long)n_ops, seeds);
}

/* R8: the power goes again during recovery, at each of its operations. */
static void test_crash__during_recovery(void **state)
{
    const int rounds = 20, seeds = n_seeds(2);
    uint64_t n_ops = count_ops(rounds);
    struct log_options o = options_small();

    for (uint64_t n = 5; n <= n_ops; n += 7) {
        for (int seed = 1; seed <= seeds; seed++) {
            for (uint64_t k = 1; k < 40; k++) {
                struct world world, *w = &world;
                struct model m = {0};
                struct log *l;
                world_open(w, (uint64_t)seed * 1000 + n);
                cut_at(w, n);
                live(w, &m, 1, 0, rounds);
                power_back(w);
                cut_at(w, k);
                enum err_code rc = log_open(&l, w->sys, DIR_LOG, &o, 5, NULL, &w->e);
                bool went_through = !sim_disk_is_down(w->sim);
                if (rc == ERR_NONE) log_close(l);
                power_back(w);
                check_recovery(w, &m, 10);
                world_close(w);
                if (went_through) break;
            }
        }
    }
}

/* After a kill everything that was written is there, whatever was synced. */
static void test_crash__kill_keeps_all(void **state)
{
    struct world world, *w = &world;
    struct log_options o = options_small();
    struct log_recovery r;
    struct model m = {0};
    struct log *l;

    world_open(w, 3);
    ok(log_open(&l, w->sys, DIR_LOG, &o, 1, NULL, &w->e));
    for (int i = 0; i < 50; i++)
        assert_true(send_batch(w, l, &m, 2, 300, 0));
    sim_process_kill(w->sim);
    log_stop(l); /* a killed process writes no checkpoint */
    log_close(l);
    ok(log_open(&l, w->sys, DIR_LOG, &o, 2, &r, &w->e));
    assert_int_equal(r.end_offset, 100);
    assert_int_equal(log_durable_offset(l), 100); /* R6: recovery has synced it */
    log_close(l);
    sim_disk_power_cycle(w->sim);
    ok(log_open(&l, w->sys, DIR_LOG, &o, 3, &r, &w->e));
    assert_int_equal(r.end_offset, 100);
    check_content(w, l, 0, 100, 1000, 0);
    log_close(l);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__kill_keeps_all),
        cmocka_unit_test(test_crash__at_every_operation),
        cmocka_unit_test(test_crash__during_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
