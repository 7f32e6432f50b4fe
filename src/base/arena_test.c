/* Allocations are aligned, disjoint and live until the reset; a reset arena serves the same load again from kept
 * blocks. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_arena__allocations_are_aligned_and_disjoint(void **state)
{
    struct arena a;
    uint8_t *ptr[600];
    size_t len[600];

    arena_init(&a, 256);
    for (int i = 0; i < 600; i++) {
        len[i] = (size_t)(i * 7 % 400);
        ptr[i] = arena_alloc(&a, len[i]);
        assert_int_equal((uintptr_t)ptr[i] % 16, 0);
        memset(ptr[i], i & 0xff, len[i]);
    }
    for (int i = 0; i < 600; i++) {
        for (size_t j = 0; j < len[i]; j++)
            assert_int_equal(ptr[i][j], i & 0xff);
    }
    arena_deinit(&a);
}

static void test_arena__a_large_request_does_not_waste_the_current_block(void **state)
{
    struct arena a;
    arena_init(&a, 1024);
    uint8_t *before = arena_alloc(&a, 16);
    uint8_t *large = arena_alloc(&a, 100000);
    uint8_t *after = arena_alloc(&a, 16);
    memset(large, 1, 100000);
    assert_ptr_equal(after, before + 16);
    assert_int_equal(a.used_bytes, 100000 + 32);
    arena_deinit(&a);
}

static void test_arena__reset_keeps_blocks(void **state)
{
    struct arena a;
    void *first[20];

    arena_init(&a, 512);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 20; i++) {
            void *p = arena_alloc(&a, 400);
            if (round == 0) first[i] = p;
            if (round > 0) { /* one of the blocks of the first round */
                int known = 0;
                for (int j = 0; j < 20; j++)
                    known |= first[j] == p;
                assert_true(known);
            }
        }
        arena_reset(&a);
        assert_int_equal(a.used_bytes, 0);
    }
    (void)arena_alloc(&a, 5u << 20); /* above what a reset keeps */
    arena_reset(&a);
    assert_null(a.blocks);
    arena_deinit(&a);
    arena_deinit(&a); /* harmless */
}

static void test_arena__zero_and_array_are_zeroed(void **state)
{
    struct arena a;
    arena_init(&a, 0);
    memset(arena_alloc(&a, 1000), 0xff, 1000);
    arena_reset(&a);
    uint8_t *z = arena_alloc_zero(&a, 500);
    uint32_t *n = arena_array(&a, 100, sizeof *n);
    for (int i = 0; i < 500; i++)
        assert_int_equal(z[i], 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(n[i], 0);
    assert_non_null(arena_array(&a, 0, 8));
    assert_non_null(arena_alloc(&a, 0));
    assert_ptr_not_equal(arena_alloc(&a, 0), arena_alloc(&a, 0));
    arena_deinit(&a);
}

static void test_arena__copies_end_with_nul_and_keep_null(void **state)
{
    struct arena a;
    arena_init(&a, 64);
    assert_null(arena_copy(&a, BYTES_NULL).ptr);
    struct bytes empty = arena_copy(&a, BYTES_LIT(""));
    assert_non_null(empty.ptr);
    assert_int_equal(empty.len, 0);
    struct bytes b = arena_copy(&a, BYTES_LIT("order-7"));
    assert_int_equal(b.len, 7);
    assert_string_equal((const char *)b.ptr, "order-7");
    assert_string_equal(arena_strdup(&a, "abc"), "abc");
    char *text = arena_printf(&a, "%s/%0300d", "dir", 5);
    assert_int_equal(strlen(text), 304);
    assert_memory_equal(text, "dir/000", 7);
    arena_deinit(&a);
}

/* Sizes from outside: too much is an answer, and what was there stays. */
static void test_arena__reserve_says_no(void **state)
{
    struct arena a;
    char *kept;

    (void)state;
    arena_init(&a, 0);
    kept = arena_strdup(&a, "kept");
    assert_false(arena_reserve(&a, SIZE_MAX));
#ifndef __SANITIZE_ADDRESS__
    assert_false(arena_reserve(&a, (size_t)PTRDIFF_MAX - 8192));
#endif
    assert_true(arena_reserve(&a, 100000));
    memset(arena_alloc(&a, 100000), 1, 100000);
    assert_string_equal(kept, "kept");
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena__reserve_says_no),
        cmocka_unit_test(test_arena__allocations_are_aligned_and_disjoint),
        cmocka_unit_test(test_arena__a_large_request_does_not_waste_the_current_block),
        cmocka_unit_test(test_arena__reset_keeps_blocks),
        cmocka_unit_test(test_arena__zero_and_array_are_zeroed),
        cmocka_unit_test(test_arena__copies_end_with_nul_and_keep_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
