/* A reader never leaves its bytes, stays failed once failed, and reads what buf wrote. Truncation: every prefix of a
 * sequence of values either reads the values that are whole or fails. */
#include "base/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/buf.h"

/* Exact-size heap copy, so that AddressSanitizer sees one byte too far. */
static uint8_t *copy_of(const void *ptr, size_t n)
{
    uint8_t *p = malloc(n ? n : 1);
    memcpy(p, ptr, n);
    return p;
}

static void test_reader__every_truncation_fails(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    buf_put_u8(&b, 1);
    buf_put_be16(&b, 2);
    buf_put_be32(&b, 3);
    buf_put_be64(&b, 4);
    buf_put_uvarint(&b, 1u << 31);
    buf_put_uvarint(&b, 1ull << 63);
    buf_put_varint(&b, INT32_MIN);
    buf_put_varint(&b, INT64_MIN);
    buf_put_str(&b, "abc");
    for (size_t n = 0; n <= b.len; n++) {
        uint8_t *p = copy_of(b.ptr, n);
        struct reader r = reader_of(bytes_of(p, n));
        bool same = reader_u8(&r) == 1;
        same &= reader_be16(&r) == 2;
        same &= reader_be32(&r) == 3;
        same &= reader_be64(&r) == 4;
        same &= reader_uvarint32(&r) == 1u << 31;
        same &= reader_uvarint64(&r) == 1ull << 63;
        same &= reader_varint32(&r) == INT32_MIN;
        same &= reader_varint64(&r) == INT64_MIN;
        same &= bytes_equal_str(reader_take(&r, 3), "abc");
        assert_int_equal(same, n == b.len);
        assert_int_equal(r.failed, n != b.len);
        assert_int_equal(reader_left(&r), 0);
        free(p);
    }
    buf_deinit(&b);
}

static void test_reader__failed_stays_failed_and_does_not_move(void **state)
{
    struct reader r = reader_of(BYTES_LIT("ab"));
    const uint8_t *at = r.at;
    assert_int_equal(reader_be32(&r), 0);
    assert_true(r.failed);
    assert_ptr_equal(r.at, at);
    assert_int_equal(reader_u8(&r), 0);
    assert_null(reader_take(&r, 0).ptr);
    assert_int_equal(reader_left(&r), 0);
}

static void test_reader__varint_limits(void **state)
{
    static const struct {
        const char *bytes;
        int len;
        bool ok32, ok64;
    } CASES[] = {
        {"\x00", 1, true, true},
        {"\x80\x00", 2, true, true}, /* padded */
        {"\xff\xff\xff\xff\x0f", 5, true, true},
        {"\xff\xff\xff\xff\x10", 5, false, true}, /* bit 32 */
        {"\xff\xff\xff\xff\x7f", 5, false, true},
        {"\x80\x80\x80\x80\x80\x00", 6, false, true}, /* too long for 32 bit */
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, false, true},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, false, false},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11, false, false},
        {"\x80", 1, false, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct reader a = reader_of(bytes_of(CASES[i].bytes, (size_t)CASES[i].len)), b = a;
        (void)reader_uvarint32(&a);
        (void)reader_uvarint64(&b);
        assert_int_equal(a.failed, !CASES[i].ok32);
        assert_int_equal(b.failed, !CASES[i].ok64);
        if (!a.failed) assert_int_equal(reader_left(&a), 0);
        if (!b.failed) assert_int_equal(reader_left(&b), 0);
    }
}

static void test_reader__varints_round_trip(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    for (int bit = 0; bit < 64; bit++) {
        for (int d = -1; d <= 1; d++) {
            int64_t v = (int64_t)((1ull << bit) + (uint64_t)d);
            buf_clear(&b);
            buf_put_varint(&b, v);
            buf_put_varint(&b, (int32_t)v);
            buf_put_uvarint(&b, (uint64_t)v);
            buf_put_uvarint(&b, (uint32_t)v);
            struct reader r = reader_of(buf_bytes(&b));
            assert_true(reader_varint64(&r) == v);
            assert_int_equal(reader_varint32(&r), (int32_t)v);
            assert_true(reader_uvarint64(&r) == (uint64_t)v);
            assert_int_equal(reader_uvarint32(&r), (uint32_t)v);
            assert_false(r.failed);
            assert_int_equal(reader_left(&r), 0);
        }
    }
    buf_deinit(&b);
}

static void test_reader__null_and_empty(void **state)
{
    struct reader r = reader_of(BYTES_NULL);
    assert_int_equal(reader_left(&r), 0);
    struct bytes none = reader_take(&r, 0);
    assert_non_null(none.ptr); /* empty, not absent */
    assert_int_equal(none.len, 0);
    assert_false(r.failed);
    assert_null(reader_take(&r, 1).ptr);
    assert_true(r.failed);
    r = reader_of(BYTES_LIT("xy"));
    assert_null(reader_take(&r, SIZE_MAX).ptr);
    assert_true(r.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader__every_truncation_fails),
        cmocka_unit_test(test_reader__failed_stays_failed_and_does_not_move),
        cmocka_unit_test(test_reader__varint_limits),
        cmocka_unit_test(test_reader__varints_round_trip),
        cmocka_unit_test(test_reader__null_and_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
