/* What the functions of SQL give, from text to text: each line is an expression over a row and its result. */
#include "flow/engine_world_test.h"

/* The row: i = 7, n = NULL, d = 2.5, s = 'Hello Wörld', t = 2024-02-29 13:14:15.678 (a Thursday). */
static const struct {
    const char *expr, *want;
} cases[] = {
    {"i + 1", "8"},
    {"i / 2", "3"},
    {"-i / 2", "-3"},
    {"MOD(-i, 4)", "-3"},
    {"i * 0.5", "3.5"},
    {"i + n", "null"},
    {"n IS NULL", "true"},
    {"i > 3 AND n > 3", "null"},
    {"i < 3 AND n > 3", "false"},
    {"i > 3 OR n > 3", "true"},
    {"NOT (i = 7)", "false"},
    {"COALESCE(n, i)", "7"},
    {"NULLIF(i, 7)", "null"},
    {"GREATEST(i, 9, 3)", "9"},
    {"CASE WHEN i > 100 THEN 'big' WHEN i > 5 THEN 'some' ELSE 'few' END", "\"some\""},
    {"i BETWEEN 7 AND 8", "true"},
    {"i IN (1, 2, 7)", "true"},
    {"ABS(-i)", "7"},
    {"FLOOR(d)", "2"},
    {"CEIL(d)", "3"},
    {"ROUND(d)", "3"},
    {"ROUND(2.345, 1)", "2.3"},
    {"POWER(2, 10)", "1024"},
    {"UPPER(s)", "\"HELLO WÖRLD\""},
    {"LOWER('ÀB')", "\"àb\""},
    {"CHAR_LENGTH(s)", "11"},
    {"SUBSTRING(s FROM 7)", "\"Wörld\""},
    {"SUBSTRING(s FROM 7 FOR 2)", "\"Wö\""},
    {"SUBSTRING(s FROM -5 FOR 2)", "\"Wö\""},
    {"SUBSTRING(s FROM 0 FOR 1)", "\"H\""},
    {"TRIM('  x ')", "\"x\""},
    {"REPLACE(s, 'l', 'LL')", "\"HeLLLLo WörLLd\""},
    {"POSITION('W' IN s)", "7"},
    {"LPAD('7', 3, '0')", "\"007\""},
    {"RPAD('ab', 5, 'xy')", "\"abxyx\""},
    {"REVERSE('aö')", "\"öa\""},
    {"SPLIT_INDEX('a/b/c', '/', 1)", "\"b\""},
    {"SPLIT_INDEX('a/b/c', '/', 3)", "null"},
    {"'a' || 'b' || s", "\"abHello Wörld\""},
    {"s LIKE 'Hello%'", "true"},
    {"s LIKE '%W_rld'", "true"},
    {"s LIKE '%w_rld'", "false"},
    {"'a%b' LIKE 'a!%b' ESCAPE '!'", "true"},
    {"'axb' LIKE 'a!%b' ESCAPE '!'", "false"},
    {"REGEXP(s, 'W.rld$')", "true"},
    {"REGEXP_EXTRACT('channel_id=42&x', 'channel_id=([0-9]+)', 1)", "\"42\""},
    {"REGEXP_EXTRACT('x', 'y', 0)", "null"},
    {"REGEXP_REPLACE('a1b22', '[0-9]+', '$1')", "\"a$1b$1\""},
    {"EXTRACT(YEAR FROM t)", "2024"},
    {"EXTRACT(QUARTER FROM t)", "1"},
    {"EXTRACT(DOY FROM t)", "60"},
    {"EXTRACT(DOW FROM t)", "5"},
    {"EXTRACT(WEEK FROM t)", "9"},
    {"HOUR(t)", "13"},
    {"FLOOR(t TO HOUR)", "\"2024-02-29 13:00:00.000\""},
    {"FLOOR(t TO MONTH)", "\"2024-02-01 00:00:00.000\""},
    {"DATE_FORMAT(t, 'yyyy/MM/dd HH:mm:ss.SSS')", "\"2024/02/29 13:14:15.678\""},
    {"DATE_FORMAT(t, 'EEE d MMM yy hh a')", "\"Thu 29 Feb 24 01 PM\""},
    {"TO_TIMESTAMP('2024-01-02 03:04:05')", "\"2024-01-02 03:04:05.000\""},
    {"TO_TIMESTAMP('soon')", "null"},
    {"TO_TIMESTAMP_LTZ(1709212455678, 3)", "\"2024-02-29 13:14:15.678Z\""},
    {"t + INTERVAL '1' DAY", "\"2024-03-01 13:14:15.678\""},
    {"CAST(i AS DOUBLE) / 2", "3.5"},
    {"CAST(d AS BIGINT)", "2"},
    {"CAST('12' AS INT) + 1", "13"},
    {"TRY_CAST('x' AS INT)", "null"},
    {"CAST(t AS STRING)", "\"2024-02-29 13:14:15.678\""},
    {"CAST(t AS DATE)", "\"2024-02-29\""},
    {"CAST(DATE '2024-02-29' AS STRING)", "\"2024-02-29\""},
    {"CAST(TRUE AS STRING)", "\"TRUE\""},
    {"CAST('yes' AS BOOLEAN)", "true"},
    {"CAST(s AS VARCHAR(5))", "\"Hello\""},
    {"SUM(-i)", "-7"}, /* 128 bits inside, negative */
    {"AVG(-i)", "-7"},
};
static const struct {
    const char *expr, *why;
} failures[] = {
    {"i / (i - 7)", "division by zero"},
    {"i + 9223372036854775807", "integer overflow"},
    {"CAST(s AS BIGINT)", "'Hello Wörld' is no BIGINT"},
    {"CAST(1e30 AS BIGINT)", "the number does not fit BIGINT"},
    {"SQRT(-d)", "square root of a negative number"},
    {"DATE_FORMAT(t, 'QQ')", "DATE_FORMAT does not know the pattern 'QQ'"},
    {"REGEXP_REPLACE(LPAD(s, 1000000, 'x'), 'x', LPAD(s, 1000, 'y'))", "take more than 64 MiB"},
};

static void world_with_row(struct world *w)
{
    world_init(w);
    world_run(w, "CREATE STREAM one (i BIGINT, n BIGINT, d DOUBLE, s STRING, t TIMESTAMP(3)) WITH ('topic' = 'one', "
                 "'format' = 'json')");
    world_put(w, "one", 0, 1, NULL,
              "{\"i\":7,\"d\":2.5,\"s\":\"Hello W\xc3\xb6rld\",\"t\":\"2024-02-29 13:14:15.678\"}");
}

static void test_functions__give_what_they_say(void **state)
{
    struct world w;
    char text[400], want[400];
    int wrong = 0;
    world_with_row(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof text, "SELECT %s AS x FROM one", cases[i].expr);
        snprintf(want, sizeof want, "{\"x\":%s}\n", cases[i].want);
        const char *got = world_run(&w, text);
        if (strcmp(got, want) == 0) continue;
        print_message("%s\n  gives %s  not %s", cases[i].expr, got, want);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    world_deinit(&w);
}

static void test_functions__failures_make_bad_rows(void **state)
{
    struct world w;
    char text[400];
    world_with_row(&w);
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        snprintf(text, sizeof text, "SELECT %s AS x FROM one", failures[i].expr);
        const char *got = world_run(&w, text);
        if (strncmp(got, "# 1 bad row", 11) != 0 || strstr(got, failures[i].why) == NULL)
            fail_msg("%s gives %s", failures[i].expr, got);
    }
    assert_non_null(strstr(world_run(&w, "SELECT REGEXP(s, '(') AS x FROM one"), "! bad regular expression"));
    world_deinit(&w);
}

/* A short statement over a small row must not ask for gigabytes: each level doubles a text of a megabyte. */
static void test_functions__growing_texts_are_bounded(void **state)
{
    struct world w;
    char text[400];
    size_t n = (size_t)snprintf(text, sizeof text, "SELECT CHAR_LENGTH(s) AS x FROM ");
    for (int i = 0; i < 9; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "(SELECT s || s AS s FROM ");
    n += (size_t)snprintf(text + n, sizeof text - n, "(SELECT LPAD(s, 1000000, 'x') AS s FROM one)");
    for (int i = 0; i < 9; i++)
        text[n++] = ')';
    text[n] = 0;
    world_with_row(&w);
    const char *got = world_run(&w, text);
    if (strncmp(got, "# 1 bad row", 11) != 0 || strstr(got, "take more than 64 MiB") == NULL) fail_msg("%s", got);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions__give_what_they_say),
        cmocka_unit_test(test_functions__failures_make_bad_rows),
        cmocka_unit_test(test_functions__growing_texts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
