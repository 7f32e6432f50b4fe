/* The header-only types: a view's null is not its empty, and a list node knows whether it is linked. */
#include "base/list.h"

#include "base/bytes.h"
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int n;
    struct list node;
};

static void test_list__order_and_membership(void **state)
{
    struct list l;
    struct item items[3] = {{1, {0}}, {2, {0}}, {3, {0}}};

    list_init(&l);
    assert_true(list_is_empty(&l));
    assert_null(list_first(&l));
    assert_null(list_pop_front(&l));
    list_remove(&items[0].node); /* harmless when not linked */
    list_push_back(&l, &items[1].node);
    list_push_back(&l, &items[2].node);
    list_push_front(&l, &items[0].node);
    assert_true(list_is_linked(&items[1].node));
    list_remove(&items[1].node);
    assert_false(list_is_linked(&items[1].node));
    assert_int_equal(CONTAINER_OF(list_pop_front(&l), struct item, node)->n, 1);
    assert_int_equal(CONTAINER_OF(list_pop_front(&l), struct item, node)->n, 3);
    assert_true(list_is_empty(&l));
}

static void test_bytes__null_is_not_empty(void **state)
{
    assert_true(bytes_equal(BYTES_NULL, BYTES_NULL));
    assert_false(bytes_equal(BYTES_NULL, BYTES_LIT("")));
    assert_true(bytes_equal(BYTES_LIT(""), BYTES_LIT("")));
    assert_true(bytes_is_null(BYTES_NULL));
    assert_false(bytes_is_null(BYTES_LIT("")));
    assert_false(bytes_equal_str(BYTES_NULL, ""));
    assert_true(bytes_equal_str(BYTES_LIT("ab"), "ab"));
    assert_false(bytes_equal_str(BYTES_LIT("ab"), "abc"));
}

static void test_bytes__compare_is_a_byte_order(void **state)
{
    assert_true(bytes_compare(BYTES_LIT("a"), BYTES_LIT("b")) < 0);
    assert_true(bytes_compare(BYTES_LIT("a"), BYTES_LIT("ab")) < 0);
    assert_true(bytes_compare(BYTES_LIT("\xff"), BYTES_LIT("a")) > 0); /* unsigned */
    assert_int_equal(bytes_compare(BYTES_LIT("x"), BYTES_LIT("x")), 0);
    assert_int_equal(bytes_compare(BYTES_NULL, BYTES_LIT("")), 0);
    assert_true(bytes_equal_str(bytes_slice(BYTES_LIT("order-7"), 6, 1), "7"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list__order_and_membership),
        cmocka_unit_test(test_bytes__null_is_not_empty),
        cmocka_unit_test(test_bytes__compare_is_a_byte_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
