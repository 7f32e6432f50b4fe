/* compact_crash_test.c: a power cut at every disk operation of a life with cleanings, and again during the recovery.
 *
 * Promise: after the power is back the newest record of every key that was acknowledged is there, nothing is there that
 * was not sent, offsets have no hole, transactions and producers are as the log says, verify finds nothing wrong, before
 * and after the next open; and the next cleaning works. */
#include "log/compact_testing.h"

static int n_seeds(int otherwise)
{
    const char *text = getenv("WEIR_CRASH_SEEDS");
    return text ? atoi(text) : otherwise;
}

/* Stops at the first error. What failed to be appended was never sent. */
static void live(struct part *p)
{
    struct world *w = p->w;
    enum err_code rc = ERR_NONE;

    for (int i = 0; i < 60 && rc == ERR_NONE; i++) {
        rc = act(p);
        w->now_ms += 5;
        if (rc == ERR_NONE && i % 7 == 6) rc = log_sync(p->l, &w->e);
        if (rc == ERR_NONE && (i == 25 || i == 45 || i == 59)) {
            struct compact_options o = options_test;
            o.segment_bytes = i == 45 ? 4096 : 12000;
            o.delete_retention_ms = 40;
            rc = clean(p, &o, NULL);
            if (rc == ERR_NOT_FOUND) rc = ERR_NONE;
        }
    }
}

/* The model of what was not acknowledged is cut to what is there. */
static void adopt(struct part *p)
{
    p->m->end = log_end_offset(p->l);
    for (int i = 0; i < 8; i++) {
        int16_t epoch;
        int32_t last = producers_last_sequence(p->p, i, &epoch);
        if (i > 0) p->sequence[i] = last >= 0 ? last + 1 : p->sequence[i] > 0 ? 0 : p->sequence[i];
        p->open[i] = i > 0 ? producers_open_of(p->p, i, &epoch) : -1;
    }
    /* Whose abort marker was not kept is open again. */
    for (int64_t i = 0; i < p->m->end; i++) {
        struct sent *s = &p->m->sent[i];
        if (s->kind == KIND_TXN && p->open[s->producer_id] >= 0 && i >= p->open[s->producer_id]) s->is_aborted = false;
    }
}

static void check_after(struct part *p, int64_t acked)
{
    struct world *w = p->w;

    check_undamaged(w, DIR_LOG); /* as the crash left it */
    part_open(p);
    assert_true(log_end_offset(p->l) >= acked && log_end_offset(p->l) <= p->m->end);
    adopt(p);
    check_all(p, 0, true, NULL);
    check_committed(p);
    part_close(p);
    check_undamaged(w, DIR_LOG);
    part_open(p);
    assert_int_equal(log_end_offset(p->l), p->m->end);
    assert_false(w->fs->exists(w->fs, DIR_LOG "/00000000000000000000.cleaned"));
    for (int i = 0; i < 20; i++)
        ok(act(p));
    seal(p);
    enum err_code rc = clean(p, &options_test, NULL); /* nothing: a transaction has been open from the beginning on */
    if (rc != ERR_NONE) assert_int_equal(rc, ERR_NOT_FOUND);
    check_all(p, rc == ERR_NONE ? p->l->cleaned.clean_until : 0, true, NULL);
    check_committed(p);
}

static void crash(struct part *p, int64_t *acked)
{
    struct world *w = p->w;

    *acked = log_durable_offset(p->l);
    log_stop(p->l);
    part_close(p);
    sim_disk_crash_at(w->sim, 0);
    sim_disk_power_cycle(w->sim);
}

/* Its directory is on disk, and a checkpoint: without one verify cannot tell torn from lost. */
static void begin(struct part *p, struct world *w, uint64_t seed)
{
    part_begin(p, w, seed);
    ok(act(p));
    ok(log_sync(p->l, &w->e));
    ok(log_write_checkpoint(p->l, 0, true, 0, &w->e));
}

static uint64_t count_ops(void)
{
    struct world world, *w = &world;
    struct part part, *p = &part;

    begin(p, w, 1);
    uint64_t before = sim_disk_ops(w->sim);
    live(p);
    uint64_t n = sim_disk_ops(w->sim) - before;
    part_finish(p);
    return n;
}

static void test_compact_crash__at_every_operation(void **state)
{
    uint64_t n_ops = count_ops() + 20; /* other seeds live a little longer */
    int seeds = n_seeds(2);

    for (uint64_t n = 1; n <= n_ops; n++) {
        for (int seed = 1; seed <= seeds; seed++) {
            struct world world, *w = &world;
            struct part part, *p = &part;
            int64_t acked;
            begin(p, w, (uint64_t)seed);
            sim_disk_crash_at(w->sim, n);
            live(p);
            crash(p, &acked);
            check_after(p, acked);
            part_finish(p);
        }
    }
    print_message("%llu operations, %d seeds\n", (unsigned long long)n_ops, seeds);
}

static void test_compact_crash__during_recovery(void **state)
{
    uint64_t n_ops = count_ops();

    for (uint64_t n = 20; n <= n_ops; n += 3) {
        for (uint64_t k = 1; k < 60; k++) {
            struct world world, *w = &world;
            struct part part, *p = &part;
            struct log *l;
            int64_t acked;
            begin(p, w, 1 + n % 5);
            sim_disk_crash_at(w->sim, n);
            live(p);
            crash(p, &acked);
            sim_disk_crash_at(w->sim, k);
            enum err_code rc = log_open(&l, w->sys, DIR_LOG, &p->o, ++p->epoch, NULL, &w->e);
            bool went_through = !sim_disk_is_down(w->sim);
            if (rc == ERR_NONE) log_close(l);
            sim_disk_crash_at(w->sim, 0);
            sim_disk_power_cycle(w->sim);
            check_after(p, acked);
            part_finish(p);
            if (went_through) break;
        }
    }
}

/* The record damaged or lost at any point of the swap: nothing is lost all the same (W1). */
static void test_compact_crash__without_the_record(void **state)
{
    uint64_t n_ops = count_ops();

    for (uint64_t n = 1; n <= n_ops; n++) {
        struct world world, *w = &world;
        struct part part, *p = &part;
        int64_t acked;
        begin(p, w, 3);
        sim_disk_crash_at(w->sim, n);
        live(p);
        crash(p, &acked);
        (void)w->fs->unlink(w->fs, DIR_LOG "/" SWAP_RECORD_NAME, NULL);
        part_open(p);
        assert_true(log_end_offset(p->l) >= acked);
        adopt(p);
        p->is_loose = true; /* old segments may stand beside the new one */
        check_all(p, 0, true, NULL);
        part_finish(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact_crash__at_every_operation),
        cmocka_unit_test(test_compact_crash__during_recovery),
        cmocka_unit_test(test_compact_crash__without_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
