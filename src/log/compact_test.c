/* compact_test.c: what a cleaning keeps, against a model that knows every record ever sent.
 *
 * Promise: whatever was written, however often it is cleaned and reopened: the newest record of each key is there, at its
 * offset, with its time, headers and value; older ones go only when a newer one is stable; tombstones stay until their
 * horizon; no aborted record is seen, no committed one is lost; offsets have no hole; and producers
 * are remembered. */
#include "log/compact_testing.h"

#include "base/crc32c.h"
#include "log/keymap.h"

/* ---- tests ---- */

static void test_compact__against_a_model(void **state)
{
    const char *text = getenv("WEIR_COMPACT_SEEDS");
    int n_seeds = text ? atoi(text) : 40;
    uint64_t n_removed = 0, n_cleanings = 0;

    for (int seed = 1; seed <= n_seeds; seed++) {
        struct world world, *w = &world;
        struct part part, *p = &part;
        bool gone = false;
        int64_t cleaned = 0;

        part_begin(p, w, (uint64_t)seed);
        for (int round = 0; round < 12; round++) {
            int actions = 10 + (int)sim_random(w->sim, 120);
            for (int i = 0; i < actions; i++) {
                ok(act(p));
                w->now_ms += (int64_t)sim_random(w->sim, 40);
            }
            ok(log_sync(p->l, &w->e));
            if (sim_random(w->sim, 4) == 0) w->now_ms += 15000; /* horizons pass */
            struct compact_options o = options_test;
            struct compact_stats stats;
            if (sim_random(w->sim, 3) == 0) o.map_bytes_max = 1; /* several passes */
            o.slice_bytes = 1 + sim_random(w->sim, 20000);
            if (sim_random(w->sim, 4) == 0) o.min_lag_ms = 500;
            o.segment_bytes = 4096 << sim_random(w->sim, 4);
            enum err_code rc = clean(p, &o, &stats);
            if (rc == ERR_NONE) {
                n_cleanings++;
                n_removed += stats.records_removed;
                cleaned = p->l->cleaned.clean_until;
                gone = true;
            } else {
                assert_int_equal(rc, ERR_NOT_FOUND);
            }
            check_all(p, cleaned, gone, NULL);
            check_committed(p);
            check_producers(p);
            check_undamaged(w, DIR_LOG);
            if (sim_random(w->sim, 3) == 0) { /* also without the snapshot: the log alone must tell */
                if (sim_random(w->sim, 2) == 0) (void)w->fs->unlink(w->fs, DIR_LOG "/producers.snap", NULL);
                part_close(p);
                part_open(p);
                check_all(p, cleaned, gone, NULL);
                check_committed(p);
                check_producers(p);
            }
        }
        part_finish(p);
    }
    print_message("%d seeds, %llu cleanings, %llu records removed\n", n_seeds, (unsigned long long)n_cleanings,
                  (unsigned long long)n_removed);
    assert_true(n_removed > 100);
}

/* A batch with one record each of keys k, value or tombstone. */
static void put_keys(struct part *p, const int *keys, int n, bool is_tombstone, int producer)
{
    struct world *w = p->w;
    struct batch_builder b;
    char key[16], value[256];

    buf_clear(&w->batch);
    batch_begin(&b, &w->batch, CODEC_NONE);
    for (int i = 0; i < n; i++) {
        int64_t offset = p->m->end + i;
        p->m->sent[offset] = (struct sent){.kind = KIND_PLAIN,
                                           .key = keys[i],
                                           .is_tombstone = is_tombstone,
                                           .ts = w->now_ms,
                                           .producer_id = producer ? producer : -1};
        int k = key_text(key, keys[i]), len = value_text(value, offset);
        struct record_header h = {BYTES_LIT("n"), BYTES_LIT("v")};
        batch_add(&b, w->now_ms, bytes_of(key, (size_t)k), is_tombstone ? BYTES_NULL : bytes_of(value, (size_t)len), &h,
                  (int)(offset % 2));
    }
    if (producer) {
        batch_set_producer(&b, producer, 0, p->sequence[producer]);
        p->sequence[producer] += n;
    }
    ok(batch_finish(&b, &w->e));
    ok(append(p));
}

/* Does [0, end) hold a record at this offset? */
static bool has(struct part *p, int64_t offset)
{
    struct reading rd = {.seen = calloc((size_t)p->m->end + 1, 1)};
    read_from(p, 0, &rd);
    bool is_there = rd.seen[offset];
    free(rd.seen);
    return is_there;
}

static void test_compact__tombstones_stay_until_their_horizon(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;
    struct compact_look look;

    part_begin(p, w, 1);
    put_keys(p, (int[]){1, 2}, 2, false, 0);
    put_keys(p, (int[]){1}, 1, true, 0); /* offset 2 */
    seal(p);
    ok(clean(p, &options_test, NULL));
    assert_false(has(p, 0));
    assert_true(has(p, 1) && has(p, 2));
    log_compact_look(p->l, &(struct compact_options){.limit = INT64_MAX, .now_ms = w->now_ms}, &look);
    assert_int_equal(look.dirty_bytes, 0);
    assert_int_equal(look.horizon_ms, w->now_ms + 10000);
    w->now_ms += 9999;
    ok(clean(p, &options_test, NULL));
    assert_true(has(p, 2));
    part_close(p);
    part_open(p); /* the horizon is in the log and in the record */
    assert_int_equal(p->l->cleaned.horizon_ms, w->now_ms + 1);
    w->now_ms += 1;
    ok(clean(p, &options_test, NULL));
    assert_true(has(p, 1) && !has(p, 2));
    assert_int_equal(p->l->cleaned.horizon_ms, INT64_MAX);
    check_undamaged(w, DIR_LOG);
    part_finish(p);
}

static void test_compact__what_is_not_touched(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;
    struct compact_options o = options_test;

    part_begin(p, w, 1);
    put_keys(p, (int[]){1, 1, 1}, 3, false, 0);
    ok(log_sync(p->l, &w->e));
    assert_int_equal(clean(p, &o, NULL), ERR_NOT_FOUND); /* the active segment */
    ok(log_roll(p->l, &w->e));
    put_keys(p, (int[]){1}, 1, false, 0); /* offset 3, active and newer: its key is not known to the cleaning */
    ok(log_sync(p->l, &w->e));
    o.min_lag_ms = 1000;
    assert_int_equal(clean(p, &o, NULL), ERR_NOT_FOUND);
    w->now_ms += 1001;
    ok(clean(p, &o, NULL));
    assert_true(!has(p, 0) && !has(p, 1) && has(p, 2) && has(p, 3));
    /* Nothing at or above the last stable offset. */
    ok(send(p, 5, true, 2, CODEC_NONE)); /* 4, 5 */
    put_keys(p, (int[]){2, 2}, 2, false, 0);
    seal(p);
    put_keys(p, (int[]){2}, 1, false, 0);
    seal(p);
    w->now_ms += 1001;
    uint64_t before = log_size_bytes(p->l);
    enum err_code rc = clean(p, &o, NULL);
    assert_true(rc == ERR_NONE || rc == ERR_NOT_FOUND);
    assert_int_equal(log_size_bytes(p->l), before);
    part_finish(p);
}

/* F4: the producer's newest sequence survives in an empty batch, older ones do not. */
static void test_compact__a_live_producers_sequence_stays(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;
    struct compact_options o = options_test;

    part_begin(p, w, 1);
    put_keys(p, (int[]){1}, 1, false, 3);
    put_keys(p, (int[]){1, 2}, 2, false, 3); /* the newest of producer 3: 1..2 */
    put_keys(p, (int[]){1, 2}, 2, false, 0);
    seal(p);
    ok(clean(p, &o, NULL));
    assert_true(!has(p, 1) && !has(p, 2) && has(p, 3));
    (void)w->fs->unlink(w->fs, DIR_LOG "/producers.snap", NULL);
    part_close(p);
    part_open(p);
    check_producers(p);
    put_keys(p, (int[]){3}, 1, false, 3); /* a newer one */
    seal(p);
    ok(clean(p, &o, NULL));
    struct reading rd = {.seen = calloc(100, 1)};
    read_from(p, 0, &rd);
    assert_int_equal(rd.n_empty, 1); /* all that went before is one run */
    free(rd.seen);
    part_finish(p);
}

/* F1: records without a key go. */
static void test_compact__no_key_no_stay(void **state)
{
    struct world world, *w = &world;
    struct log_options o = options_small();
    struct compact_stats stats;
    struct part part = {.w = w, .o = o, .m = NULL}, *p = &part;

    world_open(w, 1);
    ok(log_open(&p->l, w->sys, DIR_LOG, &o, 1, NULL, &w->e));
    p->p = producers_create();
    ok(append_batch(w, p->l, 5, 30, 0, w->now_ms));
    ok(append_batch(w, p->l, 5, 30, 0, w->now_ms));
    seal(p);
    ok(clean(p, &options_test, &stats));
    assert_int_equal(stats.records_removed, 10);
    assert_int_equal(log_size_bytes(p->l), BATCH_HEADER_LEN);
    assert_int_equal(log_end_offset(p->l), 10);
    part_close(p);
    ok(log_open(&p->l, w->sys, DIR_LOG, &o, 2, NULL, &w->e));
    assert_int_equal(log_end_offset(p->l), 10);
    log_close(p->l);
    world_close(w);
}

/* F7: rot is not made to look right. Method: every bit of the heads, a sample of the rest. */
static void test_compact__rot_stops_it(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;
    uint64_t size;

    part_begin(p, w, 1);
    for (int i = 0; i < 6; i++)
        ok(send(p, i % 2, false, 3, CODEC_NONE));
    seal(p);
    size = file_size(w, DIR_LOG "/00000000000000000000.log");
    for (uint64_t bit = 0; bit < 8 * size; bit += bit < 8 * 61 ? 1 : 13) {
        assert_true(sim_disk_flip_bit(w->sim, DIR_LOG "/00000000000000000000.log", bit / 8, (unsigned)(bit % 8)));
        enum err_code rc = clean(p, &options_test, NULL);
        if (rc != ERR_CORRUPT) fail_msg("bit %llu: %s", (unsigned long long)bit, err_name(rc));
        assert_int_equal(clean(p, &options_test, NULL), ERR_STOPPED);
        p->l->cleaning_blocked = false;
        assert_false(w->fs->exists(w->fs, DIR_LOG "/00000000000000000000.cleaned"));
        assert_true(sim_disk_flip_bit(w->sim, DIR_LOG "/00000000000000000000.log", bit / 8, (unsigned)(bit % 8)));
    }
    ok(clean(p, &options_test, NULL));
    check_all(p, p->l->cleaned.clean_until, true, NULL);
    part_finish(p);
}

/* Slices that are out stay as they were; a trim and retention in the middle are no harm. */
static void test_compact__beside_readers_and_trims(void **state)
{
    for (int when = 0; when < 60; when++) {
        struct world world, *w = &world;
        struct part part, *p = &part;
        struct compaction *c;
        struct log_slice s;
        enum compact_state st = COMPACT_MORE;

        part_begin(p, w, (uint64_t)when + 1);
        for (int i = 0; i < 60; i++)
            ok(send(p, 0, false, 5, CODEC_NONE));
        seal(p);
        ok(log_read(p->l, 0, log_durable_offset(p->l), 3000, &s, &w->e));
        uint32_t crc = crc32c(0, s.bytes.ptr, s.bytes.len);
        struct compact_options o = options_test;
        o.slice_bytes = 1500;
        o.limit = INT64_MAX;
        o.now_ms = w->now_ms;
        ok(log_compact_begin(&c, p->l, &o, &w->e));
        for (int i = 0; st == COMPACT_MORE; i++) {
            log_compact_run(c);
            if (i == when) {
                ok(log_trim(p->l, 120, &w->e));
                ok(send(p, 0, false, 5, CODEC_NONE));
                ok(log_sync(p->l, &w->e));
            }
            if (i == when + 1) ok(log_retain(p->l, w->now_ms, &w->e));
            st = log_compact_turn(c, &w->e);
        }
        if (st == COMPACT_FAILED) assert_int_equal(w->e.code, ERR_RANGE);
        log_compact_end(c);
        assert_int_equal(crc32c(0, s.bytes.ptr, s.bytes.len), crc);
        log_slice_release(&s);
        struct reading rd = {.seen = calloc((size_t)p->m->end + 1, 1)};
        read_from(p, log_start_offset(p->l), &rd);
        int64_t newest[KEYS] = {0};
        for (int64_t i = 0; i < p->m->end; i++)
            newest[p->m->sent[i].key] = i;
        for (int k = 0; k < KEYS; k++)
            if (newest[k] >= log_start_offset(p->l)) assert_true(rd.seen[newest[k]]);
        free(rd.seen);
        part_close(p);
        check_undamaged(w, DIR_LOG);
        part_open(p);
        assert_int_equal(log_end_offset(p->l), p->m->end);
        part_finish(p);
    }
}

/* In os mode nothing is synced until a cleaning asks for it. */
static void test_compact__os_mode(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;

    part_begin(p, w, 5);
    p->o.sync = false;
    log_set_options(p->l, &p->o);
    for (int i = 0; i < 200; i++)
        ok(send(p, i % 3, false, 5, CODEC_LZ4));
    ok(log_roll(p->l, &w->e));
    ok(clean(p, &options_test, NULL));
    check_all(p, p->l->cleaned.clean_until, false, NULL);
    sim_disk_power_cycle(w->sim);
    log_stop(p->l);
    part_close(p);
    part_open(p);
    check_all(p, p->l->cleaned.clean_until, false, NULL);
    part_finish(p);
}

/* No room: the log goes on as it was, and is cleaned when there is. */
static void test_compact__full_disk(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;

    part_begin(p, w, 5);
    for (int i = 0; i < 300; i++)
        ok(send(p, 0, false, 6, CODEC_NONE));
    seal(p);
    for (uint64_t room = 0;; room += 2000) {
        sim_disk_set_capacity(w->sim, log_size_bytes(p->l) + 4000 + room);
        enum err_code rc = clean(p, &options_test, NULL);
        check_all(p, 0, false, NULL);
        if (rc == ERR_NONE) break;
        assert_int_equal(rc, ERR_NO_SPACE);
        assert_true(room < 200000);
    }
    sim_disk_set_capacity(w->sim, 0);
    check_all(p, p->l->cleaned.clean_until, false, NULL);
    part_close(p);
    check_undamaged(w, DIR_LOG);
    part_open(p);
    check_all(p, p->l->cleaned.clean_until, false, NULL);
    part_finish(p);
}

static void test_keymap__bounded(void **state)
{
    struct keymap m;
    char key[16];
    int n = 0;

    keymap_init(&m, 64 * 1024, 7);
    for (;; n++) {
        int len = key_text(key, n);
        if (!keymap_put(&m, bytes_of(key, (size_t)len), n)) break;
    }
    assert_true(m.n_slots * sizeof(struct keymap_entry) <= 64 * 1024 && n >= 1536);
    for (int i = 0; i < n; i++) {
        int len = key_text(key, i);
        assert_int_equal(keymap_get(&m, bytes_of(key, (size_t)len)), i);
        assert_true(keymap_put(&m, bytes_of(key, (size_t)len), i + n)); /* known ones may move */
    }
    assert_int_equal(keymap_get(&m, BYTES_LIT("other")), -1);
    keymap_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keymap__bounded),
        cmocka_unit_test(test_compact__tombstones_stay_until_their_horizon),
        cmocka_unit_test(test_compact__what_is_not_touched),
        cmocka_unit_test(test_compact__a_live_producers_sequence_stays),
        cmocka_unit_test(test_compact__no_key_no_stay),
        cmocka_unit_test(test_compact__rot_stops_it),
        cmocka_unit_test(test_compact__beside_readers_and_trims),
        cmocka_unit_test(test_compact__os_mode),
        cmocka_unit_test(test_compact__full_disk),
        cmocka_unit_test(test_compact__against_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
