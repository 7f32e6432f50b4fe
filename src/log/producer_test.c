/* producer_test.c: Kafka's rules for idempotent producers, and the snapshot file. */
#include "log/producer.h"

#include "log/testing.h"

static struct batch_view batch(int64_t id, int16_t epoch, int32_t sequence, int32_t n, int64_t offset)
{
    return (struct batch_view){.producer_id = id,
                               .producer_epoch = epoch,
                               .base_sequence = sequence,
                               .last_offset_delta = n - 1,
                               .record_count = n,
                               .base_offset = offset};
}

static enum err_code try_batch(struct producers *p, struct batch_view v, int64_t *base)
{
    enum err_code rc = producers_check(p, &v, base, NULL);
    if (rc == ERR_NONE) producers_record(p, &v, 1000);
    return rc;
}

static void test_producer__sequence_duplicate_gap(void **state)
{
    struct producers *p = producers_create();
    int64_t base = -1;

    assert_int_equal(try_batch(p, batch(-1, -1, -1, 5, 0), &base), ERR_NONE);
    assert_int_equal(producers_count(p), 0);
    assert_int_equal(try_batch(p, batch(7, 0, 0, 10, 100), &base), ERR_NONE);
    assert_int_equal(try_batch(p, batch(7, 0, 10, 5, 200), &base), ERR_NONE);
    assert_int_equal(try_batch(p, batch(7, 0, 0, 10, 999), &base), ERR_DUPLICATE);
    assert_int_equal(base, 100);
    assert_int_equal(try_batch(p, batch(7, 0, 16, 1, 300), &base), ERR_SEQUENCE);
    assert_int_equal(try_batch(p, batch(7, 0, 10, 4, 300), &base), ERR_SEQUENCE); /* same first, other last */
    assert_int_equal(try_batch(p, batch(7, 0, -1, 1, 300), &base), ERR_INVALID);
    int16_t epoch;
    assert_int_equal(producers_last_sequence(p, 7, &epoch), 14);
    assert_int_equal(epoch, 0);
    assert_int_equal(producers_last_sequence(p, 8, &epoch), -1);
    producers_destroy(p);
}

/* Only the last five batches are known. */
static void test_producer__remembers_five(void **state)
{
    struct producers *p = producers_create();
    int64_t base = -1;

    for (int i = 0; i < 7; i++)
        assert_int_equal(try_batch(p, batch(1, 0, i, 1, i), &base), ERR_NONE);
    for (int i = 2; i < 7; i++) {
        assert_int_equal(try_batch(p, batch(1, 0, i, 1, 99), &base), ERR_DUPLICATE);
        assert_int_equal(base, i);
    }
    assert_int_equal(try_batch(p, batch(1, 0, 1, 1, 99), &base), ERR_SEQUENCE);
    producers_destroy(p);
}

static void test_producer__epochs(void **state)
{
    struct producers *p = producers_create();
    int64_t base = -1;

    assert_int_equal(try_batch(p, batch(1, 3, 500, 1, 0), &base), ERR_NONE); /* unknown: any sequence */
    assert_int_equal(try_batch(p, batch(1, 2, 501, 1, 1), &base), ERR_FENCED);
    assert_int_equal(try_batch(p, batch(1, 4, 501, 1, 1), &base), ERR_SEQUENCE);
    assert_int_equal(try_batch(p, batch(1, 4, 0, 1, 1), &base), ERR_NONE);
    assert_int_equal(try_batch(p, batch(1, 3, 501, 1, 2), &base), ERR_FENCED);
    assert_int_equal(try_batch(p, batch(1, 4, 1, 1, 2), &base), ERR_NONE);
    producers_destroy(p);
}

static void test_producer__sequence_wraps(void **state)
{
    struct producers *p = producers_create();
    int64_t base = -1;

    assert_int_equal(try_batch(p, batch(1, 0, INT32_MAX - 4, 5, 0), &base), ERR_NONE); /* ends exactly at the top */
    assert_int_equal(try_batch(p, batch(1, 0, 0, 1, 5), &base), ERR_NONE);
    assert_int_equal(try_batch(p, batch(2, 0, INT32_MAX - 1, 5, 10), &base), ERR_NONE); /* wraps inside a batch */
    assert_int_equal(producers_last_sequence(p, 2, NULL), 2);
    assert_int_equal(try_batch(p, batch(2, 0, INT32_MAX - 1, 5, 99), &base), ERR_DUPLICATE);
    assert_int_equal(base, 10);
    assert_int_equal(try_batch(p, batch(2, 0, 3, 1, 15), &base), ERR_NONE);
    producers_destroy(p);
}

static void test_producer__expires(void **state)
{
    struct producers *p = producers_create();
    struct batch_view old = batch(1, 0, 0, 1, 0), young = batch(2, 0, 0, 1, 1);

    producers_record(p, &old, 1000);
    producers_record(p, &young, 5000);
    producers_expire(p, 1000 + LIMIT_PRODUCER_EXPIRY_MS + 1);
    assert_int_equal(producers_count(p), 1);
    assert_int_equal(producers_last_sequence(p, 1, NULL), -1);
    assert_int_equal(producers_last_sequence(p, 2, NULL), 0);
    producers_destroy(p);
}

/* The snapshot restores all of it; cut at any byte or with any flipped bit it is "not found" and leaves nothing behind.
 */
static void test_producer__snapshot(void **state)
{
    struct world world, *w = &world;
    struct producers *p = producers_create(), *q = producers_create();
    struct buf good;
    int64_t base = -1, offset = -1;

    world_open(w, 1);
    buf_init(&good, 0);
    ok(w->fs->mkdir(w->fs, DIR_LOG, &w->e));
    assert_int_equal(producers_load(q, w->fs, DIR_LOG, &offset, &w->e), ERR_NOT_FOUND);
    for (int i = 0; i < 6; i++)
        assert_int_equal(try_batch(p, batch(1, 2, i, 1, i), &base), ERR_NONE);
    assert_int_equal(try_batch(p, batch(9, 0, 77, 3, 50), &base), ERR_NONE);
    ok(producers_save(p, w->fs, DIR_LOG, 53, &w->e));
    ok(producers_save(p, w->fs, DIR_LOG, 53, &w->e));
    ok(producers_load(q, w->fs, DIR_LOG, &offset, &w->e));
    assert_int_equal(offset, 53);
    assert_int_equal(producers_count(q), 2);
    assert_int_equal(try_batch(q, batch(9, 0, 77, 3, 99), &base), ERR_DUPLICATE);
    assert_int_equal(base, 50);
    assert_int_equal(try_batch(q, batch(1, 2, 6, 1, 53), &base), ERR_NONE);
    producers_destroy(q);

    q = producers_create();
    assert_true(file_read(w, DIR_LOG "/producers.snap", &good));
    for (size_t cut = 0; cut < good.len; cut++) {
        file_write(w, DIR_LOG "/producers.snap", bytes_of(good.ptr, cut));
        assert_int_equal(producers_load(q, w->fs, DIR_LOG, &offset, &w->e), ERR_NOT_FOUND);
        assert_int_equal(producers_count(q), 0);
        ok(producers_check_version(w->fs, DIR_LOG, &w->e));
    }
    for (size_t bit = 0; bit < 8 * good.len; bit++) {
        good.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        file_write(w, DIR_LOG "/producers.snap", buf_bytes(&good));
        assert_int_equal(producers_load(q, w->fs, DIR_LOG, &offset, &w->e), ERR_NOT_FOUND);
        assert_int_equal(producers_count(q), 0);
        good.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    producers_destroy(p);
    producers_destroy(q);
    buf_deinit(&good);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_producer__sequence_duplicate_gap),
        cmocka_unit_test(test_producer__remembers_five),
        cmocka_unit_test(test_producer__epochs),
        cmocka_unit_test(test_producer__sequence_wraps),
        cmocka_unit_test(test_producer__expires),
        cmocka_unit_test(test_producer__snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
