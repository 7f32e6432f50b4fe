/* The calendar agrees with libc's timegm and gmtime (the oracle) over thousands of years, is its own inverse at the
 * ends of int64, and accepts whole dates only. */
#include "base/civil.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "base/check.h"

static void test_civil__agrees_with_libc(void **state)
{
    for (int64_t day = -800000; day < 800000; day += 17) { /* years -220 to 4160 */
        time_t seconds = day * 86400 + 12345;
        struct tm tm;
        struct civil c;
        assert_non_null(gmtime_r(&seconds, &tm));
        civil_from_us(&c, seconds * 1000000 + 7);
        assert_int_equal(c.year, tm.tm_year + 1900);
        assert_int_equal(c.month, tm.tm_mon + 1);
        assert_int_equal(c.day, tm.tm_mday);
        assert_int_equal(c.hour, tm.tm_hour);
        assert_int_equal(c.minute, tm.tm_min);
        assert_int_equal(c.second, tm.tm_sec);
        assert_int_equal(c.micro, 7);
        assert_int_equal(c.weekday, tm.tm_wday);
        assert_int_equal(c.yearday, tm.tm_yday + 1);
        assert_true(civil_to_us(&c) == seconds * 1000000 + 7);
        assert_true(civil_days(c.year, c.month, c.day) == day);
    }
}

static void test_civil__is_its_own_inverse_at_the_edges(void **state)
{
    static const int64_t EDGES[] = {INT64_MIN, INT64_MIN + 1, -86400000001, -86400000000, -1, 0,
                                    1,         86399999999,   INT64_MAX};
    struct civil c;
    char out[40];
    for (size_t i = 0; i < ARRAY_LEN(EDGES); i++) {
        civil_from_us(&c, EDGES[i]);
        assert_true(civil_to_us(&c) == EDGES[i]);
        assert_true(civil_format_us(out, EDGES[i], 6, 'T') < 40);
    }
    civil_from_us(&c, -1);
    assert_int_equal(c.year, 1969);
    assert_int_equal(c.second, 59);
    assert_int_equal(c.micro, 999999);
    c = (struct civil){.year = INT32_MAX, .month = INT32_MAX, .day = INT32_MAX, .hour = INT32_MAX};
    assert_true(civil_to_us(&c) == INT64_MAX);
    c = (struct civil){.year = INT32_MIN, .month = INT32_MIN, .day = INT32_MIN, .micro = INT32_MIN};
    assert_true(civil_to_us(&c) == INT64_MIN);
}

static void test_civil__months_carry_over(void **state)
{
    assert_true(civil_days(2024, 13, 1) == civil_days(2025, 1, 1));
    assert_true(civil_days(2024, 0, 1) == civil_days(2023, 12, 1));
    assert_true(civil_days(2024, -11, 1) == civil_days(2023, 1, 1));
    assert_true(civil_days(2024, 3, 0) == civil_days(2024, 2, 29));
    assert_true(civil_days(1970, 1, 1) == 0);
}

static void test_civil__parses_whole_dates_only(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } GOOD[] = {
        {"1970-01-01", 0},
        {"1970-01-02", 86400000000},
        {"2024-02-29 12:34", 1709210040000000},
        {"2024-02-29T12:34:56", 1709210096000000},
        {"2024-02-29T12:34:56Z", 1709210096000000},
        {"2024-02-29T12:34:56.7", 1709210096700000},
        {"2024-02-29T12:34:56.123456789Z", 1709210096123456},
        {"2024-02-29T12:34:56+02:00", 1709202896000000},
        {"2024-02-29T12:34:56-01", 1709213696000000},
        {"2024-02-29T12:34+05:30", 1709190240000000},
        {"1969-12-31 23:59:59.999999", -1},
        {"9999-12-31 23:59:59.999999", 253402300799999999},
        {"0000-01-01", -62167219200000000},
    };
    static const char *const BAD[] = {"",
                                      "2024",
                                      "2024-2-29",
                                      "2023-02-29",
                                      "2100-02-29",
                                      "2024-13-01",
                                      "2024-00-01",
                                      "2024-01-00",
                                      "2024-04-31",
                                      "2024-01-01 ",
                                      "2024-01-01T",
                                      "2024-01-01T24:00",
                                      "2024-01-01T12:60",
                                      "2024-01-01T12:00:60",
                                      "2024-01-01T12:00:00.",
                                      "2024-01-01T12:00:00.1234567890",
                                      "2024-01-01T12:00:00Zx",
                                      "2024-01-01T12:00:00+",
                                      "2024-01-01T12:00:00+1",
                                      "2024-01-01T12:00:00+24",
                                      "2024-01-01T12:00:00+01:60",
                                      "2024-01-01T12:00:00+01:",
                                      "2024-01-01Z",
                                      "+024-01-01",
                                      "2024/01/01",
                                      "2024-01-01T1:00",
                                      "x"};
    int64_t us;
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        assert_true(civil_parse_us(bytes_str(GOOD[i].text), &us));
        assert_true(us == GOOD[i].us);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_false(civil_parse_us(bytes_str(BAD[i]), &us));
    assert_false(civil_parse_us(BYTES_NULL, &us));
    /* Every truncation of a full form: accepted only at the ends of a part. */
    const char *full = "2024-02-29T12:34:56.123456+01:30";
    for (size_t n = 0; n <= strlen(full); n++) {
        bool whole = n == 10 || n == 16 || n == 19 || (n >= 21 && n <= 26) || n == 29 || n == 32;
        assert_int_equal(civil_parse_us(bytes_of(full, n), &us), whole);
    }
}

static void test_civil__formats(void **state)
{
    char out[40];
    assert_int_equal(civil_format_us(out, 1709210096123456, 0, ' '), 19);
    assert_string_equal(out, "2024-02-29 12:34:56");
    civil_format_us(out, 1709210096123456, 3, 'T');
    assert_string_equal(out, "2024-02-29T12:34:56.123");
    civil_format_us(out, 1709210096003456, 6, ' ');
    assert_string_equal(out, "2024-02-29 12:34:56.003456");
    civil_format_us(out, -1, 1, ' ');
    assert_string_equal(out, "1969-12-31 23:59:59.9");
    civil_format_us(out, -62167219200000001, 6, ' ');
    assert_string_equal(out, "-0001-12-31 23:59:59.999999");
    for (int64_t us = -5000000000000000; us < 5000000000000000; us += 33333333333331) { /* parse is the inverse */
        int64_t back;
        size_t n = civil_format_us(out, us, 6, 'T');
        assert_true(civil_parse_us(bytes_of(out, n), &back) && back == us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_civil__agrees_with_libc),  cmocka_unit_test(test_civil__is_its_own_inverse_at_the_edges),
        cmocka_unit_test(test_civil__months_carry_over), cmocka_unit_test(test_civil__parses_whole_dates_only),
        cmocka_unit_test(test_civil__formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
