/* A buffer holds exactly what was put, up to its bound; the first write that does not fit and all later ones leave no
 * trace but `failed` (B2). */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_buf__writers_produce_their_bytes(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    assert_int_equal(buf_bytes(&b).len, 0);
    assert_non_null(buf_bytes(&b).ptr);
    buf_put_u8(&b, 0xab);
    buf_put_be16(&b, 0x0102);
    buf_put_be32(&b, 0x03040506);
    buf_put_be64(&b, 0x0708090a0b0c0d0eull);
    buf_put_str(&b, "hi");
    buf_put_bytes(&b, BYTES_LIT("!"));
    buf_put_bytes(&b, BYTES_NULL);
    buf_put(&b, NULL, 0);
    assert_int_equal(b.len, 18);
    assert_memory_equal(b.ptr, "\xab\1\2\3\4\5\6\7\x8\x9\xa\xb\xc\xd\xehi!", 18);
    assert_int_equal(be16_get(b.ptr + 1), 0x0102);
    assert_int_equal(be32_get(b.ptr + 3), 0x03040506);
    assert_true(be64_get(b.ptr + 7) == 0x0708090a0b0c0d0eull);
    buf_patch_be32(&b, 14, 0x61626364);
    assert_memory_equal(b.ptr + 14, "abcd", 4);
    buf_deinit(&b);
    assert_null(b.ptr);
}

static void test_buf__varints_have_the_documented_bytes(void **state)
{
    static const struct {
        int64_t v;
        int len;
        const char *bytes;
    } CASES[] = {
        {0, 1, "\0"},
        {-1, 1, "\1"},
        {1, 1, "\2"},
        {63, 1, "\x7e"},
        {-64, 1, "\x7f"},
        {64, 2, "\x80\x01"},
        {INT32_MAX, 5, "\xfe\xff\xff\xff\x0f"},
        {INT32_MIN, 5, "\xff\xff\xff\xff\x0f"},
        {INT64_MAX, 10, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
        {INT64_MIN, 10, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
    };
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        buf_clear(&b);
        buf_put_varint(&b, CASES[i].v);
        assert_int_equal(b.len, CASES[i].len);
        assert_memory_equal(b.ptr, CASES[i].bytes, (size_t)CASES[i].len);
    }
    buf_clear(&b);
    buf_put_uvarint(&b, 300);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.ptr, "\xac\x02", 2);
    buf_deinit(&b);
}

static void test_buf__bound_is_exact_and_failure_is_sticky(void **state)
{
    for (size_t max = 1; max < 200; max++) {
        struct buf b;
        buf_init(&b, max);
        for (size_t i = 0; i < max; i++)
            buf_put_u8(&b, (uint8_t)i);
        assert_false(b.failed);
        assert_int_equal(b.len, max);
        buf_put_u8(&b, 1);
        assert_true(b.failed);
        assert_int_equal(b.len, max);
        b.len = 0; /* even with room again */
        buf_put_u8(&b, 1);
        buf_put(&b, "abc", 1);
        buf_printf(&b, "x");
        assert_null(buf_extend(&b, 1));
        assert_false(buf_reserve(&b, 1));
        assert_int_equal(b.len, 0);
        buf_clear(&b);
        assert_false(b.failed);
        buf_put_u8(&b, 7);
        assert_int_equal(b.ptr[0], 7);
        buf_deinit(&b);
        assert_int_equal(b.max, max);
    }
}

static void test_buf__absurd_sizes_fail_without_memory(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    buf_put_str(&b, "keep");
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    assert_memory_equal(b.ptr, "keep", 4);
    buf_clear(&b);
    assert_false(buf_reserve(&b, (size_t)PTRDIFF_MAX + 1));
    buf_deinit(&b);
}

static void test_buf__extend_gives_writable_room(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    assert_non_null(buf_extend(&b, 0));
    assert_int_equal(b.len, 0);
    uint8_t *p = buf_extend(&b, 100000);
    memset(p, 3, 100000);
    assert_int_equal(b.len, 100000);
    assert_int_equal(b.ptr[99999], 3);
    size_t cap = b.cap;
    buf_clear(&b);
    assert_int_equal(b.cap, cap);
    buf_deinit(&b);
}

static void test_buf__printf_fits_exactly_up_to_the_bound(void **state)
{
    struct buf b;
    buf_init(&b, 70);
    buf_printf(&b, "%s", "");
    buf_printf(&b, "%060d", 1);
    buf_printf(&b, "%010d", 2); /* its NUL would be byte 71 */
    assert_false(b.failed);
    assert_int_equal(b.len, 70);
    assert_memory_equal(b.ptr + 60, "0000000002", 10);
    buf_printf(&b, "%s", "");
    assert_false(b.failed);
    buf_printf(&b, "x");
    assert_true(b.failed);
    assert_int_equal(b.len, 70);
    buf_patch_be32(&b, 0, 0);
    buf_patch_be32(&b, 1000, 0); /* a dropped place of a failed buffer: ignored */
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf__writers_produce_their_bytes),
        cmocka_unit_test(test_buf__varints_have_the_documented_bytes),
        cmocka_unit_test(test_buf__bound_is_exact_and_failure_is_sticky),
        cmocka_unit_test(test_buf__absurd_sizes_fail_without_memory),
        cmocka_unit_test(test_buf__extend_gives_writable_room),
        cmocka_unit_test(test_buf__printf_fits_exactly_up_to_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
