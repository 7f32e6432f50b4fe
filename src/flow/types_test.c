/* Proves how types and values are written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "flow/types.h"

static void test_type__text(void **state)
{
    char text[40];
    (void)state;
    assert_string_equal(sql_type_text((struct sql_type){.kind = SQL_BIGINT}, text), "BIGINT");
    assert_string_equal(sql_type_text((struct sql_type){.kind = SQL_TIMESTAMP, .precision = 3}, text), "TIMESTAMP(3)");
    assert_string_equal(
        sql_type_text((struct sql_type){.kind = SQL_TIMESTAMP_LTZ, .precision = 6, .not_null = true}, text),
        "TIMESTAMP_LTZ(6) NOT NULL");
    assert_string_equal(sql_type_text((struct sql_type){.kind = SQL_STRING}, text), "STRING");
    assert_string_equal(sql_type_text((struct sql_type){.kind = SQL_STRING, .precision = 5}, text), "VARCHAR(5)");
}

static void assert_value(struct sql_type t, struct sql_value v, const char *json, const char *plain)
{
    struct buf out;
    buf_init(&out, 0);
    v.kind = t.kind;
    sql_value_put_json(&out, &v, t);
    buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, json);
    buf_clear(&out);
    sql_value_put_text(&out, &v, t);
    buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, plain);
    buf_deinit(&out);
}

#define TYPE(k, p) ((struct sql_type){.kind = (k), .precision = (p)})

static void test_value__json_and_text(void **state)
{
    const int64_t us = 1436918410123456; /* 2015-07-15 00:00:10.123456 */
    (void)state;
    assert_value(TYPE(SQL_BIGINT, 0), (struct sql_value){.i = INT64_MIN}, "-9223372036854775808",
                 "-9223372036854775808");
    assert_value(TYPE(SQL_INT, 0), (struct sql_value){.is_null = true}, "null", "NULL");
    assert_value(TYPE(SQL_BOOLEAN, 0), (struct sql_value){.b = true}, "true", "TRUE");
    assert_value(TYPE(SQL_DOUBLE, 0), (struct sql_value){.d = 0.1}, "0.1", "0.1");
    assert_value(TYPE(SQL_DOUBLE, 0), (struct sql_value){.d = 0.0 / 0.0}, "null", "NaN");
    assert_value(TYPE(SQL_DOUBLE, 0), (struct sql_value){.d = 1.0 / 0.0}, "null", "Infinity");
    assert_value(TYPE(SQL_STRING, 0), (struct sql_value){.s = BYTES_LIT("a\"b\n")}, "\"a\\\"b\\n\"", "a\"b\n");
    assert_value(TYPE(SQL_TIMESTAMP, 3), (struct sql_value){.i = us}, "\"2015-07-15 00:00:10.123\"",
                 "2015-07-15 00:00:10.123");
    assert_value(TYPE(SQL_TIMESTAMP, 0), (struct sql_value){.i = us}, "\"2015-07-15 00:00:10\"", "2015-07-15 00:00:10");
    assert_value(TYPE(SQL_TIMESTAMP_LTZ, 6), (struct sql_value){.i = us}, "\"2015-07-15 00:00:10.123456Z\"",
                 "2015-07-15 00:00:10.123456Z");
    assert_value(TYPE(SQL_DATE, 0), (struct sql_value){.i = -1}, "\"1969-12-31\"", "1969-12-31");
    assert_value(TYPE(SQL_INTERVAL, 3), (struct sql_value){.i = 93784005000}, "\"1 02:03:04.005\"", "1 02:03:04.005");
    assert_value(TYPE(SQL_INTERVAL, 3), (struct sql_value){.i = -1}, "\"-0 00:00:00.000001\"", "-0 00:00:00.000001");
}

static void test_row__json(void **state)
{
    const struct sql_column columns[] = {{BYTES_LIT("a"), {.kind = SQL_BIGINT}},
                                         {BYTES_LIT("b\""), {.kind = SQL_STRING}}};
    const struct sql_value values[] = {{.kind = SQL_BIGINT, .i = 1}, {.kind = SQL_STRING, .s = BYTES_LIT("x")}};
    struct buf out;

    (void)state;
    buf_init(&out, 0);
    sql_row_put_json(&out, &(struct sql_schema){columns, 2}, &(struct sql_row){values, 1});
    buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, "{\"a\":1,\"b\\\"\":\"x\"}");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_type__text),
        cmocka_unit_test(test_value__json_and_text),
        cmocka_unit_test(test_row__json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
