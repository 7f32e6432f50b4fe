/* batch_edit_test.c: what is taken out is gone, what is kept is the same to a reader: offset, timestamp, key, value,
 * headers; with every codec, with and without a horizon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/batch_edit.h"

#define N 40

static void make(struct buf *out, enum batch_codec codec, int64_t ts)
{
    struct batch_builder b;
    struct err e;
    char key[16], value[64];

    batch_begin(&b, out, codec);
    batch_set_producer(&b, 77, 3, 1000);
    for (int i = 0; i < N; i++) {
        struct record_header h = {BYTES_LIT("h"), i % 3 ? BYTES_LIT("x") : BYTES_NULL};
        int k = snprintf(key, sizeof(key), "k%d", i), n = snprintf(value, sizeof(value), "value %d of this batch", i);
        batch_add(&b, ts + (i * 7919) % 100, bytes_of(key, (size_t)k), i % 5 ? bytes_of(value, (size_t)n) : BYTES_NULL,
                  &h, i % 2);
    }
    assert_int_equal(batch_finish(&b, &e), ERR_NONE);
    batch_stamp(out->ptr, 5000, 9);
}

static bool is_kept(int i)
{
    return i % 3 == 1 || i == 38;
}

static void check_kept(const struct buf *bytes, int64_t ts)
{
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf scratch;
    struct err e;
    char key[16];
    bool more;

    buf_init(&scratch, 0);
    assert_int_equal(batch_view_parse(&v, buf_bytes(bytes), &e), ERR_NONE);
    assert_int_equal(v.bytes.len, bytes->len);
    assert_int_equal(batch_check_crc(&v, &e), ERR_NONE);
    assert_int_equal(v.base_offset, 5000);
    assert_int_equal(v.leader_epoch, 9);
    assert_int_equal(v.last_offset_delta, N - 1);
    assert_int_equal(v.producer_id, 77);
    assert_int_equal(v.base_sequence, 1000);
    assert_int_equal(batch_iter_init(&it, &v, &scratch, &e), ERR_NONE);
    int64_t max = INT64_MIN;
    for (int i = 0; i < N; i++) {
        if (!is_kept(i)) continue;
        assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
        assert_true(more);
        assert_int_equal(r.offset, 5000 + i);
        assert_int_equal(r.timestamp, ts + (i * 7919) % 100);
        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_true(bytes_equal_str(r.key, key));
        assert_int_equal(bytes_is_null(r.value), i % 5 == 0);
        assert_int_equal(r.header_count, i % 2);
        if (r.timestamp > max) max = r.timestamp;
    }
    assert_int_equal(v.max_timestamp, max);
    assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
    assert_false(more);
    buf_deinit(&scratch);
}

static void edit(const struct buf *from, int64_t horizon, struct buf *to)
{
    struct batch_edit x;
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf scratch;
    struct err e;
    bool more = true;

    batch_edit_init(&x);
    buf_init(&scratch, 0);
    assert_int_equal(batch_view_parse(&v, buf_bytes(from), &e), ERR_NONE);
    assert_int_equal(batch_iter_init(&it, &v, &scratch, &e), ERR_NONE);
    batch_edit_begin(&x, &v);
    for (;;) {
        assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
        if (!more) break;
        if (is_kept((int)(r.offset - 5000))) batch_edit_keep(&x, &it, &r);
    }
    assert_int_equal(batch_edit_finish(&x, horizon, to, &e), ERR_NONE);
    buf_deinit(&scratch);
    batch_edit_deinit(&x);
}

static void test_batch_edit__what_is_kept_stays_as_it_was(void **state)
{
    static const int64_t times[] = {0, 1700000000000, -5, INT64_MAX - 200};
    static const int64_t horizons[] = {-1, 0, 1800000000000, INT64_MAX};

    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        for (size_t t = 0; t < ARRAY_LEN(times); t++) {
            for (size_t h = 0; h < ARRAY_LEN(horizons); h++) {
                struct buf from, once, twice;
                struct batch_view v;
                struct err e;
                buf_init(&from, 0);
                buf_init(&once, 0);
                buf_init(&twice, 0);
                make(&from, (enum batch_codec)codec, times[t]);
                edit(&from, horizons[h], &once);
                check_kept(&once, times[t]);
                edit(&once, -1, &twice); /* a horizon stays */
                check_kept(&twice, times[t]);
                assert_int_equal(batch_view_parse(&v, buf_bytes(&twice), &e), ERR_NONE);
                assert_int_equal(batch_horizon(&v), horizons[h]);
                assert_int_equal(batch_codec(&v), codec);
                buf_deinit(&from);
                buf_deinit(&once);
                buf_deinit(&twice);
            }
        }
    }
}

static void test_batch_edit__empty_batches(void **state)
{
    uint8_t bytes[BATCH_HEADER_LEN];
    struct buf from;
    struct batch_view v, like;
    struct batch_iter it;
    struct record r;
    struct err e;
    bool more;

    buf_init(&from, 0);
    make(&from, CODEC_GZIP, 5);
    assert_int_equal(batch_view_parse(&like, buf_bytes(&from), &e), ERR_NONE);
    for (int i = 0; i < 2; i++) {
        batch_empty(bytes, 100, 100ll + INT32_MAX - 1, 4, i ? &like : NULL);
        assert_int_equal(batch_view_parse(&v, bytes_of(bytes, sizeof(bytes)), &e), ERR_NONE);
        assert_int_equal(batch_check_crc(&v, &e), ERR_NONE);
        assert_int_equal(batch_last_offset(&v), 100 + (int64_t)INT32_MAX - 1);
        assert_int_equal(v.record_count, 0);
        assert_int_equal(v.max_timestamp, -1);
        assert_int_equal(v.producer_id, i ? 77 : -1);
        assert_int_equal(v.base_sequence, i ? 1000 : -1);
        assert_int_equal(batch_codec(&v), CODEC_NONE);
        assert_int_equal(batch_iter_init(&it, &v, NULL, &e), ERR_NONE);
        assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
        assert_false(more);
    }
    buf_deinit(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_edit__what_is_kept_stays_as_it_was),
        cmocka_unit_test(test_batch_edit__empty_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
