/* Text functions at their edges: overflow, empty, locale, invalid UTF-8, and doubles that must come back bit for bit.
 */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void test_text__integers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t v;
    } CASES[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"+7", true, 7},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"18446744073709551616", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+", false, 0},
        {"--1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
    };
    char out[32];
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        int64_t v = -99;
        assert_int_equal(text_parse_i64(bytes_str(CASES[i].text), &v), CASES[i].ok);
        if (CASES[i].ok) assert_true(v == CASES[i].v);
    }
    int64_t v;
    assert_false(text_parse_i64(BYTES_NULL, &v));
    assert_int_equal(text_format_i64(out, INT64_MIN), 20);
    assert_string_equal(out, "-9223372036854775808");
    assert_int_equal(text_format_i64(out, 0), 1);
    assert_string_equal(out, "0");
    text_format_i64(out, INT64_MAX);
    assert_string_equal(out, "9223372036854775807");
}

static void test_text__sizes_and_durations(void **state)
{
    static const struct {
        const char *text;
        uint64_t v;
    } SIZES[] = {{"10", 10},
                 {"64KiB", 65536},
                 {"1MB", 1000000},
                 {"1GiB", 1073741824},
                 {"1k", 1000},
                 {"1Ki", 1024},
                 {"2kb", 2000},
                 {"7B", 7},
                 {"0g", 0},
                 {"3m", 3000000},
                 {"18446744073709551615", UINT64_MAX}};
    static const char *const BAD_SIZES[] = {
        "", "k", "1x", "1kk", "1 k", "-1", "1iB", "1KiBs", "18446744073709551616", "17179869184GiB", "1.5k"};
    static const struct {
        const char *text;
        int64_t v;
    } TIMES[] = {{"250ms", 250},    {"10s", 10000}, {"5m", 300000}, {"2h", 7200000},
                 {"7d", 604800000}, {"42", 42},     {"0", 0}};
    static const char *const BAD_TIMES[] = {
        "", "s", "1x", "-1s", "1.5s", "1 s", "1S", "9223372036854775808", "106751991168d"};
    uint64_t size;
    int64_t ms;

    for (size_t i = 0; i < ARRAY_LEN(SIZES); i++) {
        assert_true(text_parse_size(bytes_str(SIZES[i].text), &size));
        assert_true(size == SIZES[i].v);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD_SIZES); i++)
        assert_false(text_parse_size(bytes_str(BAD_SIZES[i]), &size));
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++) {
        assert_true(text_parse_duration_ms(bytes_str(TIMES[i].text), &ms));
        assert_true(ms == TIMES[i].v);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD_TIMES); i++)
        assert_false(text_parse_duration_ms(bytes_str(BAD_TIMES[i]), &ms));
    assert_false(text_parse_size(BYTES_NULL, &size));
    assert_false(text_parse_duration_ms(BYTES_NULL, &ms));
}

static void test_text__doubles_parse_like_libc(void **state)
{
    static const char *const GOOD[] = {"0",
                                       "-0",
                                       "1",
                                       "+1",
                                       "1.",
                                       ".5",
                                       "1.5",
                                       "-2.25e3",
                                       "1e22",
                                       "1e23",
                                       "123456789012345678",
                                       "9007199254740993",
                                       "0.1",
                                       "1e-22",
                                       "1e-23",
                                       "5e-324",
                                       "2.2250738585072011e-308",
                                       "1.7976931348623157e308",
                                       "1e309",
                                       "-1e309",
                                       "1e-400",
                                       "0e99999999999",
                                       "0.000000000000000001",
                                       "179769313486231580793728971405301e276",
                                       "00000000000000000000000001.5",
                                       "1E5",
                                       "1e+5"};
    static const char *const BAD[] = {
        "",    "-",        "+",  ".",  "e5", "1e",  "1e+",   "1.2.3", "0x10", "nan",
        "inf", "infinity", "1 ", " 1", "1f", "--1", "1e5.0", "NaN0",  "I",    "1e99999999999999999999"};
    double v;
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        assert_true(text_parse_f64(bytes_str(GOOD[i]), &v));
        double want = strtod(GOOD[i], NULL);
        assert_memory_equal(&v, &want, sizeof v);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_false(text_parse_f64(bytes_str(BAD[i]), &v));
    assert_false(text_parse_f64(BYTES_NULL, &v));
    assert_true(text_parse_f64(BYTES_LIT("NaN"), &v) && isnan(v));
    assert_true(text_parse_f64(BYTES_LIT("-Infinity"), &v) && v == -INFINITY);
    char many[2000];
    memset(many, '1', sizeof many);
    assert_false(text_parse_f64(bytes_of(many, sizeof many), &v));
    assert_true(text_parse_f64(bytes_of(many, 300), &v));
    assert_true(text_parse_f64(bytes_of(many, 400), &v) && isinf(v));
}

static void assert_f64_comes_back(double v)
{
    char out[32];
    double back;
    size_t n = text_format_f64(out, v);
    assert_int_equal(n, strlen(out));
    assert_true(n < 32);
    assert_true(text_parse_f64(bytes_of(out, n), &back));
    assert_memory_equal(&back, &v, sizeof v);
}

static void test_text__doubles_come_back(void **state)
{
    static const struct {
        double v;
        const char *text;
    } CASES[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {0.1, "0.1"},
                 {-2.5, "-2.5"},
                 {1e22, "1e+22"},
                 {5e-324, "5e-324"},
                 {1e15, "1000000000000000"},
                 {0.3, "0.3"},
                 {1.0 / 3, "0.3333333333333333"},
                 {DBL_MAX, "1.7976931348623157e+308"},
                 {INFINITY, "Infinity"},
                 {-INFINITY, "-Infinity"},
                 {NAN, "NaN"}};
    char out[32];
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        assert_int_equal(text_format_f64(out, CASES[i].v), strlen(CASES[i].text));
        assert_string_equal(out, CASES[i].text);
    }
    uint64_t x = 88172645463325252ull;
    print_message("seed %llu\n", (unsigned long long)x);
    for (int i = 0; i < 20000; i++) {
        double v;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(&v, &x, 8);
        if (!isfinite(v)) continue;
        assert_f64_comes_back(v);
        assert_f64_comes_back((double)(int64_t)(x >> 20) / 1000);
    }
    assert_f64_comes_back(DBL_MIN);
    assert_f64_comes_back(DBL_TRUE_MIN);
    assert_f64_comes_back(9007199254740992.0);
    assert_f64_comes_back(9007199254740994.0);
    assert_f64_comes_back(-9007199254740991.0);
}

static void test_text__doubles_ignore_the_locale(void **state)
{
    static const char *const COMMA[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "nl_NL.UTF-8"};
    bool set = false;
    for (size_t i = 0; i < ARRAY_LEN(COMMA) && !set; i++)
        set = setlocale(LC_NUMERIC, COMMA[i]) != NULL;
    if (!set) skip(); /* no such locale installed here */
    char out[32];
    double v;
    text_format_f64(out, 1234.5678);
    assert_string_equal(out, "1234.5678");
    assert_true(text_parse_f64(BYTES_LIT("2.2250738585072011e-308"), &v) && v > 0);
    setlocale(LC_NUMERIC, "C");
}

static void assert_json(struct bytes in, const char *want)
{
    struct buf b;
    buf_init(&b, 0);
    text_put_json_string(&b, in);
    assert_int_equal(b.len, strlen(want));
    assert_memory_equal(b.ptr, want, b.len);
    buf_deinit(&b);
}

static void test_text__json_strings(void **state)
{
    assert_json(BYTES_NULL, "\"\"");
    assert_json(BYTES_LIT(""), "\"\"");
    assert_json(BYTES_LIT("plain text of more than sixteen bytes"), "\"plain text of more than sixteen bytes\"");
    assert_json(BYTES_LIT("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    assert_json(BYTES_LIT("a\0b\x1f\x7f"), "\"a\\u0000b\\u001f\x7f\"");
    assert_json(BYTES_LIT("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"),
                "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"");
    assert_json(BYTES_LIT("\xff"), "\"\xef\xbf\xbd\"");
    assert_json(BYTES_LIT("\xe2\x82"), "\"\xef\xbf\xbd\""); /* one broken prefix, one mark */
    assert_json(BYTES_LIT("\xe2\x82z"), "\"\xef\xbf\xbdz\"");
    assert_json(BYTES_LIT("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");                 /* overlong */
    assert_json(BYTES_LIT("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* surrogate */
    for (size_t at = 0; at < 40; at++) { /* an escape at every place of the wide scan */
        char in[40], want[48];
        memset(in, 'x', sizeof in);
        in[at] = '"';
        snprintf(want, sizeof want, "\"%.*s\\\"%.*s\"", (int)at, in, (int)(39 - at), in + at + 1);
        assert_json(bytes_of(in, sizeof in), want);
    }
}

static void test_text__utf8(void **state)
{
    static const char *const GOOD[] = {"",
                                       "abc",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       ("12345678\xc3\xa4"
                                        "12345678")};
    static const char *const BAD[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "12345678\xe2\x82",
                                      "\xc3(",
                                      "\xf0\x9f\x98"};
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++)
        assert_true(text_is_utf8(bytes_str(GOOD[i])));
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_false(text_is_utf8(bytes_str(BAD[i])));
    assert_true(text_is_utf8(BYTES_NULL));
}

static void test_text__comparing(void **state)
{
    assert_true(text_equal_nocase(BYTES_LIT("SELECT"), BYTES_LIT("select")));
    assert_false(text_equal_nocase(BYTES_LIT("a"), BYTES_LIT("ab")));
    assert_false(text_equal_nocase(BYTES_LIT("["), BYTES_LIT("{"))); /* differ by the case bit only */
    assert_false(text_equal_nocase(BYTES_NULL, BYTES_LIT("")));
    assert_int_equal(text_distance("", ""), 0);
    assert_int_equal(text_distance("kitten", "sitting"), 3);
    assert_int_equal(text_distance("", "abc"), 3);
    assert_int_equal(text_distance("abc", ""), 3);
    assert_int_equal(text_distance("selcet", "select"), 1);
    char longer[80];
    memset(longer, 'a', 79);
    longer[79] = 0;
    assert_true(text_distance(longer, "a") == UINT_MAX);
    longer[64] = 0;
    assert_int_equal(text_distance(longer, "a"), 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text__integers),
        cmocka_unit_test(test_text__sizes_and_durations),
        cmocka_unit_test(test_text__doubles_parse_like_libc),
        cmocka_unit_test(test_text__doubles_come_back),
        cmocka_unit_test(test_text__doubles_ignore_the_locale),
        cmocka_unit_test(test_text__json_strings),
        cmocka_unit_test(test_text__utf8),
        cmocka_unit_test(test_text__comparing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
