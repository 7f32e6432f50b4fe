/* Check values of Kafka's murmur2 (co-partitioning with other clients hangs on them), and hash64 as a function of the
 * bytes. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_hash__murmur2_check_values(void **state)
{
    assert_int_equal(hash_murmur2(BYTES_LIT("")), 275646681);
    assert_int_equal(hash_murmur2(BYTES_LIT("a")), -1563381124);
    assert_int_equal(hash_murmur2(BYTES_LIT("order-7")), 323129857);
    assert_int_equal(hash_murmur2(BYTES_LIT("customer/0042")), 1063824606);
    assert_int_equal(hash_murmur2(BYTES_LIT("weir")), 845719537);
    assert_int_equal(hash_murmur2(BYTES_LIT("foobar")), -790332482);
}

static void test_hash__partition_is_positive_and_below_n(void **state)
{
    assert_int_equal(hash_partition(BYTES_LIT("order-7"), 12), 323129857 % 12);
    assert_int_equal(hash_partition(BYTES_LIT("a"), 7), (-1563381124 & 0x7fffffff) % 7);
    assert_int_equal(hash_partition(BYTES_LIT("a"), 1), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        int32_t p = hash_partition(bytes_of(&i, sizeof i), 5);
        assert_in_range(p, 0, 4);
    }
}

static void test_hash__hash64_depends_on_bytes_not_place(void **state)
{
    char a[64], b[65];
    memset(a, 'k', sizeof a);
    memset(b, 'k', sizeof b);
    for (size_t n = 0; n <= 64; n++)
        assert_true(hash64(a, n) == hash64(b + 1, n));
    assert_true(hash64(a, 5) != hash64(a, 6));
    assert_true(hash64(NULL, 0) == hash64("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash__murmur2_check_values),
        cmocka_unit_test(test_hash__partition_is_positive_and_below_n),
        cmocka_unit_test(test_hash__hash64_depends_on_bytes_not_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
