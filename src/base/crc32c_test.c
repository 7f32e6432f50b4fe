/* The processor's version and the table version are the same function, for every length to 4096 at every alignment and
 * for the lane sizes and their neighbours, in one piece and in two. */
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint8_t data[65536 + 64];

static int fill(void **state)
{
    uint32_t x = 2463534242u;
    for (size_t i = 0; i < sizeof data; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        data[i] = (uint8_t)x;
    }
    return 0;
}

static void test_crc32c__check_values(void **state)
{
    static const uint8_t zeros[32] = {0};
    uint8_t ones[32], rising[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xff;
        rising[i] = (uint8_t)i;
    }
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_portable(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, rising, 32), 0x46dd794e);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(17, "", 0), 17);
}

static void test_crc32c__hardware_equals_table_at_every_length_and_alignment(void **state)
{
    for (size_t align = 0; align < 8; align++) {
        for (size_t len = 0; len <= 4096; len++)
            assert_true(crc32c(0, data + align, len) == crc32c_portable(0, data + align, len));
    }
}

static void test_crc32c__hardware_equals_table_around_the_lanes(void **state)
{
    static const size_t LENS[] = {1,    7,    8,    9,    63,   319,  320,  321,  1015,
                                  1016, 1017, 2032, 4087, 4088, 4089, 8176, 9999, 65536};
    for (size_t i = 0; i < sizeof LENS / sizeof LENS[0]; i++) {
        for (size_t align = 0; align < 16; align++) {
            uint32_t start = (uint32_t)(align * 0x9e3779b9u);
            assert_int_equal(crc32c(start, data + align, LENS[i]), crc32c_portable(start, data + align, LENS[i]));
        }
    }
}

static void test_crc32c__continues_over_a_cut(void **state)
{
    uint32_t whole = crc32c(0, data, 5000);
    for (size_t cut = 0; cut <= 5000; cut += 13)
        assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, 5000 - cut), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__check_values),
        cmocka_unit_test(test_crc32c__hardware_equals_table_at_every_length_and_alignment),
        cmocka_unit_test(test_crc32c__hardware_equals_table_around_the_lanes),
        cmocka_unit_test(test_crc32c__continues_over_a_cut),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
