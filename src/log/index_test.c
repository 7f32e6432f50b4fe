/* index_test.c: index entries and checkpoint slots as bytes, and lookups in the index. */
#include "log/index.h"

#include "log/checkpoint.h"
#include "log/testing.h"

static void fill(struct index *x, uint32_t n)
{
    index_init(x);
    for (uint32_t i = 0; i < n; i++) {
        struct index_entry entry = {.next_rel = (i + 1) * 10,
                                    .position_end = (i + 1) * 100,
                                    .max_timestamp = i / 3,
                                    .epoch = 1,
                                    .batch_count = 1};
        index_push(x, &entry);
    }
}

/* Every lookup agrees with a plain walk, over chunk borders too. */
static void test_index__finds_intervals(void **state)
{
    struct index x;
    const uint32_t n = 1000;

    fill(&x, n);
    assert_int_equal(index_count(&x), n);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(index_at(&x, i)->next_rel, (i + 1) * 10);
    for (uint32_t rel = 0; rel < n * 10 + 20; rel++)
        assert_int_equal(index_find_offset(&x, rel), rel / 10 > n ? n : rel / 10);
    for (uint64_t at = 0; at < n * 100 + 200; at += 7)
        assert_int_equal(index_find_position(&x, at), at / 100 > n ? n : at / 100);
    for (int64_t ts = -1; ts < 340; ts++) {
        int64_t want = ts <= 0 ? 0 : ts * 3;
        assert_int_equal(index_find_timestamp(&x, ts), want > n ? n : want);
    }
    index_deinit(&x);
}

/* No flipped bit of an entry or header passes, and none passes for another segment. */
static void test_index__notices_every_flipped_bit(void **state)
{
    struct index_entry entry = {
        .next_rel = 12, .position_end = 4096, .max_timestamp = 99, .heads_crc = 7, .epoch = 3, .batch_count = 2};
    struct index_entry back;
    uint8_t header[INDEX_HEADER_LEN], bytes[INDEX_ENTRY_LEN];

    index_encode_header(header, 4711);
    index_encode_entry(bytes, 4711, &entry);
    assert_int_equal(index_decode_header(bytes_of(header, sizeof(header)), 4711), ERR_NONE);
    assert_true(index_decode_entry(bytes, 4711, &back));
    uint8_t again[INDEX_ENTRY_LEN];
    index_encode_entry(again, 4711, &back);
    assert_memory_equal(again, bytes, sizeof(bytes));
    assert_int_equal(index_decode_header(bytes_of(header, sizeof(header)), 4712), ERR_CORRUPT);
    assert_false(index_decode_entry(bytes, 4712, &back));
    for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(index_decode_entry(bytes, 4711, &back));
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (unsigned bit = 0; bit < 8 * sizeof(header); bit++) {
        header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(index_decode_header(bytes_of(header, sizeof(header)), 4711), ERR_CORRUPT);
        header[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void test_checkpoint__notices_every_flipped_bit(void **state)
{
    struct checkpoint c = {.generation = 5, .start = 3, .durable = 90, .segment_base = 40, .position = 777, .epoch = 2},
                      back;
    uint8_t bytes[CHECKPOINT_SLOT_LEN];

    checkpoint_encode(bytes, &c);
    assert_int_equal(checkpoint_decode(bytes, &back), ERR_NONE);
    assert_int_equal(back.start, 3);
    assert_int_equal(back.durable, 90);
    assert_int_equal(back.segment_base, 40);
    assert_int_equal(back.position, 777);
    assert_int_equal(back.epoch, 2);
    for (unsigned bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(checkpoint_decode(bytes, &back), ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

/* C2: whatever a power cut does to writes without sync, the start of the last write with sync is not lost. Method: one
 * synced write, many that are not, power cut; also with a kill in between (C3). Several seeds. */
static void test_checkpoint__synced_start_survives(void **state)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world, *w = &world;
        struct checkpoint_file f;
        struct checkpoint c = {.start = 1, .durable = 1, .segment_base = 0, .epoch = 1}, back;

        world_open(w, seed);
        ok(w->fs->mkdir(w->fs, DIR_LOG, &w->e));
        ok(w->fs->sync_dir(w->fs, DIR_ROOT, &w->e));
        checkpoint_init(&f, w->fs, DIR_LOG);
        ok(checkpoint_write(&f, &c, false, &w->e));
        c.start = c.durable = 50;
        ok(checkpoint_write(&f, &c, true, &w->e));
        for (c.durable = 51; c.durable < 51 + (int64_t)(seed % 4); c.durable++)
            ok(checkpoint_write(&f, &c, false, &w->e));
        checkpoint_deinit(&f);
        if (seed % 2) {
            checkpoint_init(&f, w->fs, DIR_LOG);
            ok(checkpoint_read(&f, &back, &w->e));
            assert_int_equal(back.start, 50);
            ok(checkpoint_write(&f, &c, false, &w->e));
            ok(checkpoint_write(&f, &c, false, &w->e));
            checkpoint_deinit(&f);
        }
        sim_disk_power_cycle(w->sim);
        checkpoint_init(&f, w->fs, DIR_LOG);
        ok(checkpoint_read(&f, &back, &w->e));
        assert_int_equal(back.start, 50);
        checkpoint_deinit(&f);
        world_close(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index__finds_intervals),
        cmocka_unit_test(test_index__notices_every_flipped_bit),
        cmocka_unit_test(test_checkpoint__notices_every_flipped_bit),
        cmocka_unit_test(test_checkpoint__synced_start_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
