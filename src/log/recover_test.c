/* recover_test.c: opening logs whose files were cut, lost, replaced by garbage, or have rotten bits. The simulated disk
 * holds each state; what must come out follows from what was acknowledged. Crashes at every disk operation:
 * crash_test.c. */
#include "log/log_int.h"

#include "base/crc32c.h"
#include "log/producer.h"
#include "log/testing.h"

#define SEG(base) DIR_LOG "/0000000000000000" base ".log"
#define IDX(base) DIR_LOG "/0000000000000000" base ".idx"

static struct log *open_log(struct world *w, int32_t epoch, struct log_recovery *r)
{
    struct log *l = NULL;
    struct log_options o = options_small();
    ok(log_open(&l, w->sys, DIR_LOG, &o, epoch, r, &w->e));
    return l;
}

/* Three segments (0..9, 10..19, 20..) of batches of one record, closed cleanly; all is durable. */
static void make_log(struct world *w, int last)
{
    struct log *l = open_log(w, 1, NULL);
    for (int i = 0; i < 20 + last; i++) {
        ok(append_batch(w, l, 1, 300, 0, 1000 + i));
        if (i == 9 || i == 19) ok(log_roll(l, &w->e));
    }
    ok(log_sync(l, &w->e));
    log_close(l);
}

/* Opens once more: nothing may change. */
static void check_second_open(struct world *w, int32_t epoch, const struct log_recovery *first)
{
    struct log_recovery r;
    struct log *l = open_log(w, epoch, &r);
    assert_int_equal(r.start_offset, first->start_offset);
    assert_int_equal(r.end_offset, first->end_offset);
    assert_int_equal(r.corrupt_from, first->corrupt_from);
    assert_int_equal(r.corrupt_to, first->corrupt_to);
    assert_int_equal(r.cut_bytes, 0);
    log_close(l);
}

/* R3: a crash may leave any part of the last write. Method: five durable batches and one that is not; cut the file at
 * every byte of the last; all before it is there, nothing of it is, and the log takes appends. */
static void test_recover__torn_tail_is_cut(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;
    struct buf whole;

    world_open(w, 1);
    buf_init(&whole, 0);
    struct log *l = open_log(w, 1, NULL);
    for (int i = 0; i < 5; i++)
        ok(append_batch(w, l, 2, 30, 0, 0));
    ok(log_sync(l, &w->e));
    uint64_t durable = log_size_bytes(l);
    ok(append_batch(w, l, 2, 30, 0, 0));
    log_close(l);
    assert_true(file_read(w, SEG("0000"), &whole));
    for (uint64_t cut = durable; cut <= whole.len; cut++) {
        file_write(w, SEG("0000"), bytes_of(whole.ptr, (size_t)cut));
        l = open_log(w, 2, &r);
        assert_int_equal(r.end_offset, cut == whole.len ? 12 : 10);
        assert_int_equal(r.cut_bytes, cut == whole.len ? 0 : cut - durable);
        assert_int_equal(r.corrupt_from, -1);
        check_content(w, l, 0, r.end_offset, 1000, 0);
        ok(log_sync(l, &w->e));
        log_close(l);
        check_undamaged(w, DIR_LOG);
        check_second_open(w, 3, &r);
        (void)w->fs->unlink(w->fs, DIR_LOG "/checkpoint", NULL);
    }
    buf_deinit(&whole);
    world_close(w);
}

/* A record in the wrong place is no record: the checksum does not cover base offset, length and magic, their place
 * does. Method: flip each of their bits in a batch that is not durable. */
static void test_recover__misplaced_head_is_cut(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;
    struct buf whole;

    world_open(w, 1);
    buf_init(&whole, 0);
    struct log *l = open_log(w, 1, NULL);
    for (int i = 0; i < 5; i++)
        ok(append_batch(w, l, 2, 30, 0, 0));
    ok(log_sync(l, &w->e));
    uint64_t durable = log_size_bytes(l);
    ok(append_batch(w, l, 2, 30, 0, 0));
    ok(append_batch(w, l, 2, 30, 0, 0));
    log_close(l);
    assert_true(file_read(w, SEG("0000"), &whole));
    for (unsigned bit = 0; bit < 8 * BATCH_CRC_FROM; bit++) {
        uint8_t *at = whole.ptr + durable + bit / 8;
        if (bit / 8 >= 12 && bit / 8 < 16) continue; /* the epoch: by the index, once the interval is closed */
        *at ^= (uint8_t)(1u << (bit % 8));
        file_write(w, SEG("0000"), buf_bytes(&whole));
        *at ^= (uint8_t)(1u << (bit % 8));
        (void)w->fs->unlink(w->fs, DIR_LOG "/checkpoint", NULL);
        l = open_log(w, 2, &r);
        assert_int_equal(r.end_offset, 10);
        assert_int_equal(r.cut_bytes, whole.len - durable);
        log_close(l);
    }
    buf_deinit(&whole);
    world_close(w);
}

enum side { SIDE_GOOD, SIDE_MISSING, SIDE_EMPTY, SIDE_GARBAGE, SIDE_SHORT, SIDE_STALE, SIDE_COUNT };

static void spoil(struct world *w, const char *path, enum side how)
{
    struct buf b;
    buf_init(&b, 0);
    bool is_there = file_read(w, path, &b);
    if (is_there && how == SIDE_MISSING) ok(w->fs->unlink(w->fs, path, &w->e));
    if (how == SIDE_EMPTY) file_write(w, path, bytes_of("", 0));
    if (how == SIDE_GARBAGE)
        file_write(w, path,
                   BYTES_LIT("This is a text that someone put here by mistake, long enough for "
                             "a header and an entry or two of whatever it should be."));
    if (is_there && how == SIDE_SHORT) file_cut(w, path, b.len * 2 / 3);
    if (is_there && how == SIDE_STALE) { /* of another segment or log: intact checksums of nothing here */
        for (size_t i = 0; i < b.len; i++)
            b.ptr[i] = (uint8_t)(b.ptr[i] + 1);
        file_write(w, path, buf_bytes(&b));
    }
    buf_deinit(&b);
}

/* R5, R9, X4: no side file is needed. Method: every combination of good, missing, empty, garbage, short and altered
 * index, checkpoint and snapshot; everything is still there, and a second open finds it in order. */
static void test_recover__side_files_are_caches(void **state)
{
    for (int mode = 0; mode < SIDE_COUNT * SIDE_COUNT * SIDE_COUNT; mode++) {
        enum side idx = mode % SIDE_COUNT, cp = mode / SIDE_COUNT % SIDE_COUNT, snap = mode / SIDE_COUNT / SIDE_COUNT;
        struct world world, *w = &world;
        struct log_recovery r;
        int64_t offset;

        world_open(w, 1);
        make_log(w, 8);
        struct producers *p = producers_create();
        ok(producers_save(p, w->fs, DIR_LOG, 28, &w->e));
        spoil(w, IDX("0000"), idx);
        spoil(w, IDX("0010"), idx);
        spoil(w, IDX("0020"), idx);
        spoil(w, DIR_LOG "/checkpoint", cp);
        spoil(w, DIR_LOG "/producers.snap", snap);
        struct log *l = open_log(w, 2, &r);
        assert_int_equal(r.start_offset, 0);
        assert_int_equal(r.end_offset, 28);
        assert_int_equal(r.corrupt_from, -1);
        assert_int_equal(r.cut_bytes, 0);
        check_content(w, l, 0, 28, 1000, 0);
        enum err_code rc = producers_load(p, w->fs, DIR_LOG, &offset, &w->e);
        assert_int_equal(rc, snap == SIDE_GOOD ? ERR_NONE : ERR_NOT_FOUND);
        ok(append_batch(w, l, 1, 300, 0, 0));
        ok(log_sync(l, &w->e));
        log_close(l);
        r.end_offset = 29;
        check_second_open(w, 3, &r);
        if (snap == SIDE_GOOD) check_undamaged(w, DIR_LOG);
        producers_destroy(p);
        world_close(w);
    }
}

/* Every bit of every file is covered. Method: flip each bit of a log that was closed cleanly, one at a time; verify
 * must report it. And opening such a log never crashes, and never serves a wrong record as a right one. */
static void test_verify__notices_every_flipped_bit(void **state)
{
    static const char *const files[] = {SEG("0000"), SEG("0010"), IDX("0000"), IDX("0010"), DIR_LOG "/checkpoint"};
    struct world world, *w = &world;

    world_open(w, 1);
    struct log *l = open_log(w, 1, NULL);
    for (int i = 0; i < 16; i++) {
        ok(append_batch(w, l, 1, 20, 0, 1000 + i));
        if (i == 9) ok(log_roll(l, &w->e));
    }
    ok(log_sync(l, &w->e));
    log_close(l);
    check_undamaged(w, DIR_LOG);
    for (size_t f = 0; f < ARRAY_LEN(files); f++) {
        uint64_t size = file_size(w, files[f]);
        assert_true(size > 0);
        for (uint64_t bit = 0; bit < 8 * size; bit++) {
            struct damages all = {0};
            assert_true(sim_disk_flip_bit(w->sim, files[f], bit / 8, (unsigned)(bit % 8)));
            ok(log_verify(w->sys, DIR_LOG, note_damage, &all, NULL, &w->e));
            if (all.n == 0)
                fail_msg("%s byte %llu bit %llu", files[f], (unsigned long long)bit / 8, (unsigned long long)bit % 8);
            assert_true(sim_disk_flip_bit(w->sim, files[f], bit / 8, (unsigned)(bit % 8)));
        }
    }
    check_undamaged(w, DIR_LOG);
    world_close(w);
}

/* R4: rot below the durable offset. Method: flip one bit in a body of a sealed segment and take its index away, so that
 * it is looked at; the range is that one record. */
static void test_recover__rot_is_reported(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;
    struct log_slice s;
    struct damages all = {0};

    world_open(w, 1);
    make_log(w, 8);
    uint64_t batch_len = file_size(w, SEG("0010")) / 10;
    assert_true(sim_disk_flip_bit(w->sim, SEG("0010"), 3 * batch_len + 100, 3)); /* record 13 */
    ok(w->fs->unlink(w->fs, IDX("0010"), &w->e));
    struct log *l = open_log(w, 2, &r);
    assert_int_equal(r.corrupt_from, 13);
    assert_int_equal(r.corrupt_to, 13);
    assert_int_equal(r.end_offset, 28);
    assert_int_equal(r.cut_bytes, 0);
    assert_int_equal(append_batch(w, l, 1, 10, 0, 0), ERR_CORRUPT);
    assert_int_equal(log_read(l, 13, 28, 1000, &s, &w->e), ERR_CORRUPT);
    assert_non_null(strstr(w->e.text, "13"));
    check_content(w, l, 0, 13, 1000, 0);
    check_content(w, l, 14, 28, 1000, 0);
    ok(log_find_time(l, 1013, &s, &w->e)); /* record 13's time: the next readable one */
    assert_int_equal(s.next_offset, 15);
    log_slice_release(&s);
    log_close(l);
    check_second_open(w, 3, &r);
    ok(log_verify(w->sys, DIR_LOG, note_damage, &all, NULL, &w->e));
    assert_int_equal(all.n_real, 1);
    assert_int_equal(all.last.offset_from, 13);
    assert_int_equal(all.last.offset_to, 13);

    l = open_log(w, 4, &r); /* giving the range up makes the log usable again */
    ok(log_trim(l, 14, &w->e));
    log_close(l);
    l = open_log(w, 5, &r);
    assert_int_equal(r.corrupt_from, -1);
    ok(append_batch(w, l, 1, 10, 0, 0));
    ok(log_sync(l, &w->e));
    check_content(w, l, 14, 29, 1000, 0);
    log_close(l);
    world_close(w);
}

/* The same for a head that is gone: everything to the end of that segment is lost, and only that. */
static void test_recover__lost_head_ends_its_segment(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;

    world_open(w, 1);
    make_log(w, 8);
    uint64_t batch_len = file_size(w, SEG("0010")) / 10;
    assert_true(sim_disk_flip_bit(w->sim, SEG("0010"), 3 * batch_len + 8, 6)); /* the length */
    ok(w->fs->unlink(w->fs, IDX("0010"), &w->e));
    struct log *l = open_log(w, 2, &r);
    assert_int_equal(r.corrupt_from, 13);
    assert_int_equal(r.corrupt_to, 19);
    check_content(w, l, 0, 13, 1000, 0);
    check_content(w, l, 20, 28, 1000, 0);
    log_close(l);
    check_second_open(w, 3, &r);
    world_close(w);
}

/* Durable records missing at the end of the active segment: reported, and after giving them up the log goes on in a new
 * segment. */
static void test_recover__short_active_segment(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;
    struct log_slice s;

    world_open(w, 1);
    make_log(w, 8);
    file_cut(w, SEG("0020"), file_size(w, SEG("0020")) - 10);
    ok(w->fs->unlink(w->fs, IDX("0020"), &w->e));
    struct log *l = open_log(w, 2, &r);
    assert_int_equal(r.corrupt_from, 27);
    assert_int_equal(r.corrupt_to, 27);
    assert_int_equal(r.end_offset, 28);
    assert_int_equal(append_batch(w, l, 1, 10, 0, 0), ERR_CORRUPT);
    check_content(w, l, 0, 27, 1000, 0);
    assert_int_equal(log_read(l, 27, 28, 1000, &s, &w->e), ERR_CORRUPT);
    ok(log_trim(l, 28, &w->e));
    log_close(l);
    l = open_log(w, 3, &r);
    assert_int_equal(r.corrupt_from, -1);
    assert_int_equal(r.start_offset, 28);
    ok(append_batch(w, l, 3, 10, 0, 0));
    ok(log_sync(l, &w->e));
    check_content(w, l, 28, 31, 1000, 0);
    log_close(l);
    l = open_log(w, 4, &r);
    assert_int_equal(r.end_offset, 31);
    check_content(w, l, 28, 31, 1000, 0);
    log_close(l);
    world_close(w);
}

static void test_recover__missing_segments(void **state)
{
    static const char *const gone[] = {SEG("0000"), SEG("0010"), SEG("0020")};
    for (int which = 0; which < 3; which++) {
        struct world world, *w = &world;
        struct log_recovery r;

        world_open(w, 1);
        make_log(w, 8);
        ok(w->fs->unlink(w->fs, gone[which], &w->e));
        struct log *l = open_log(w, 2, &r);
        assert_int_equal(r.corrupt_from, 10 * which);
        assert_int_equal(r.corrupt_to, which == 2 ? 27 : 10 * which + 9);
        assert_int_equal(r.end_offset, 28);
        if (which != 0) check_content(w, l, 0, 10, 1000, 0);
        if (which != 1) check_content(w, l, 10, 20, 1000, 0);
        if (which != 2) check_content(w, l, 20, 28, 1000, 0);
        log_close(l);
        check_second_open(w, 3, &r);
        world_close(w);
    }
}

/* Records behind a hole do not come back, but are kept aside. Method: an un-synced tail over three segments, the second
 * one spoilt. */
static void test_recover__behind_a_hole_is_quarantined(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;

    world_open(w, 1);
    struct log *l = open_log(w, 1, NULL);
    ok(append_batch(w, l, 1, 300, 0, 0));
    ok(log_sync(l, &w->e));
    for (int i = 1; i < 28; i++) {
        ok(append_batch(w, l, 1, 300, 0, 0));
        if (i == 9 || i == 19) ok(log_roll(l, &w->e));
    }
    log_close(l);
    uint64_t batch_len = file_size(w, SEG("0010")) / 10, third = file_size(w, SEG("0020"));
    file_append(w, DIR_LOG "/x.tmp", BYTES_LIT("half a snapshot"));
    file_append(w, DIR_LOG "/notes.txt", BYTES_LIT("not ours"));
    assert_true(sim_disk_flip_bit(w->sim, SEG("0010"), 4 * batch_len + 200, 0)); /* record 14 */
    l = open_log(w, 2, &r);
    assert_int_equal(r.end_offset, 14);
    assert_int_equal(r.corrupt_from, -1);
    assert_int_equal(r.cut_bytes, 6 * batch_len + third);
    check_content(w, l, 0, 14, 1000, 0);
    assert_false(w->fs->exists(w->fs, SEG("0020")));
    assert_int_equal(file_size(w, DIR_LOG "/quarantine/00000000000000000020.cut-1"), third);
    assert_false(w->fs->exists(w->fs, DIR_LOG "/x.tmp"));
    assert_true(w->fs->exists(w->fs, DIR_LOG "/notes.txt"));
    ok(append_batch(w, l, 6, 10, 1, 0)); /* up to 20: a new segment of that name may come now */
    ok(log_roll(l, &w->e));
    ok(append_batch(w, l, 1, 10, 1, 0));
    ok(log_sync(l, &w->e));
    log_close(l);
    r.end_offset = 21;
    check_second_open(w, 3, &r);
    check_undamaged(w, DIR_LOG);
    ok(log_destroy(w->sys, DIR_LOG, &w->e));
    world_close(w);
}

/* R1: a newer version anywhere is refused, and the directory stays as it is. */
static void test_recover__newer_version_is_refused(void **state)
{
    static const struct {
        const char *path;
        size_t version_at, crc_at;
    } files[] = {
        {IDX("0000"), 4, 20}, {IDX("0020"), 4, 20}, {DIR_LOG "/checkpoint", 4, 60}, {DIR_LOG "/producers.snap", 4, 20}};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct world world, *w = &world;
        struct log_options o = options_small();
        struct log *l;
        struct buf b;

        world_open(w, 1);
        buf_init(&b, 0);
        make_log(w, 8);
        struct producers *p = producers_create();
        ok(producers_save(p, w->fs, DIR_LOG, 28, &w->e));
        assert_true(file_read(w, files[i].path, &b));
        be32_put(b.ptr + files[i].version_at, 2);
        be32_put(b.ptr + files[i].crc_at, crc32c(0, b.ptr, files[i].crc_at));
        file_write(w, files[i].path, buf_bytes(&b));
        file_append(w, DIR_LOG "/x.tmp", BYTES_LIT("must stay"));
        uint64_t ops = sim_disk_ops(w->sim);
        assert_int_equal(log_open(&l, w->sys, DIR_LOG, &o, 2, NULL, &w->e), ERR_UNSUPPORTED);
        assert_null(l);
        assert_int_equal(sim_disk_ops(w->sim), ops);
        struct damages all = {0};
        assert_int_equal(log_verify(w->sys, DIR_LOG, note_damage, &all, NULL, &w->e), ERR_UNSUPPORTED);
        producers_destroy(p);
        buf_deinit(&b);
        world_close(w);
    }
}

/* Opening a clean log writes nothing and reads no batch. */
static void test_recover__clean_open_is_free(void **state)
{
    struct world world, *w = &world;
    struct log_recovery r;

    world_open(w, 1);
    make_log(w, 8);
    uint64_t ops = sim_disk_ops(w->sim);
    struct log *l = open_log(w, 2, &r);
    assert_int_equal(r.scanned_bytes, 0);
    assert_false(r.index_rebuilt);
    assert_int_equal(sim_disk_ops(w->sim), ops);
    log_close(l);
    assert_int_equal(sim_disk_ops(w->sim), ops);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recover__torn_tail_is_cut),
        cmocka_unit_test(test_recover__misplaced_head_is_cut),
        cmocka_unit_test(test_recover__side_files_are_caches),
        cmocka_unit_test(test_verify__notices_every_flipped_bit),
        cmocka_unit_test(test_recover__rot_is_reported),
        cmocka_unit_test(test_recover__lost_head_ends_its_segment),
        cmocka_unit_test(test_recover__short_active_segment),
        cmocka_unit_test(test_recover__missing_segments),
        cmocka_unit_test(test_recover__behind_a_hole_is_quarantined),
        cmocka_unit_test(test_recover__newer_version_is_refused),
        cmocka_unit_test(test_recover__clean_open_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
