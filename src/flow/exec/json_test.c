/* The JSON decoder against jansson on random and broken records, and against its own promises (J1-J4) on chosen ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/civil.h"
#include "base/text.h"
#include "flow/exec/json.h"

enum { F_B, F_I32, F_I64, F_D, F_S, F_T, F_DATE, F_SHORT, FIELDS };
static const char *const field_names[FIELDS] = {"flag", "small", "big", "real", "text", "time", "day", "short"};

struct rig {
    struct arena arena, strings;
    struct vector cols[FIELDS];
    struct json_decoder *decoder;
    char error[JSON_ERROR_MAX];
};

static void rig_init(struct rig *r)
{
    static const struct sql_type types[FIELDS] = {{.kind = SQL_BOOLEAN}, {.kind = SQL_INT},
                                                  {.kind = SQL_BIGINT},  {.kind = SQL_DOUBLE},
                                                  {.kind = SQL_STRING},  {.kind = SQL_TIMESTAMP, .precision = 3},
                                                  {.kind = SQL_DATE},    {.kind = SQL_STRING, .precision = 3}};
    struct json_field fields[FIELDS];
    arena_init(&r->arena, 1u << 20);
    arena_init(&r->strings, 0);
    for (int i = 0; i < FIELDS; i++) {
        vector_init(&r->cols[i], sql_phys(types[i].kind), &r->arena);
        fields[i] = (struct json_field){.name = bytes_str(field_names[i]), .type = types[i], .out = &r->cols[i]};
    }
    r->decoder = json_decoder_create(fields, FIELDS, &r->arena);
}
static void rig_deinit(struct rig *r)
{
    arena_deinit(&r->arena);
    arena_deinit(&r->strings);
}

/* Decodes a copy that ends exactly at its end, so that a sanitizer sees every byte read too far. */
static bool decode(struct rig *r, const char *text, size_t len, uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    memcpy(*copy, text, len);
    arena_reset(&r->strings);
    return json_decode(r->decoder, bytes_of(*copy, len), 0, &r->strings, r->error);
}

static void assert_bad(struct rig *r, const char *text, const char *why)
{
    uint8_t *copy;
    assert_false(decode(r, text, strlen(text), &copy));
    assert_string_equal(r->error, why);
    free(copy);
}

static void test_json__values_of_each_type(void **state)
{
    struct rig r;
    uint8_t *copy;
    rig_init(&r);
    const char *text =
        " {\"other\":[{\"a\":{}},[],\"]\"],\"flag\":true,\"small\":-2147483648,\"big\":9223372036854775807,\"real\":1e-"
        "3, "
        "\"text\":\"a\\n\\u00e9\\ud83d\\ude00\\\"\",\"time\":\"2024-02-29T12:00:00.1239Z\",\"day\":\"1969-12-31\" , "
        "\"short\":\"\xc3\xa9\xc3\xa9\xc3\xa9\"}\n";
    assert_true(decode(&r, text, strlen(text), &copy));
    assert_int_equal(r.cols[F_B].b[0], 1);
    assert_int_equal(r.cols[F_I32].i[0], INT32_MIN);
    assert_true(r.cols[F_I64].i[0] == INT64_MAX);
    assert_true(r.cols[F_D].d[0] == 1e-3);
    assert_true(bytes_equal_str(r.cols[F_S].s[0], "a\n\xc3\xa9\xf0\x9f\x98\x80\""));
    assert_true(r.cols[F_T].i[0] == 1709208000123000); /* digits beyond the precision are cut */
    assert_int_equal(r.cols[F_DATE].i[0], -1);
    free(copy);

    text = "{\"text\":{\"a\": [1, 2]},\"time\":1709208000123,\"flag\":null,\"big\":1,\"big\":\"x\",\"big\":-7}";
    assert_true(decode(&r, text, strlen(text), &copy));
    assert_true(bytes_equal_str(r.cols[F_S].s[0], "{\"a\": [1, 2]}"));
    assert_true(r.cols[F_T].i[0] == 1709208000123000);
    assert_true(vector_is_null(&r.cols[F_B], 0));
    assert_true(vector_is_null(&r.cols[F_D], 0));
    assert_int_equal(r.cols[F_I64].i[0], -7); /* J2 */
    free(copy);
    rig_deinit(&r);
}

static void test_json__bad_rows_say_what_and_where(void **state)
{
    struct rig r;
    rig_init(&r);
    assert_bad(&r, "", "byte 0: expected a JSON object");
    assert_bad(&r, "[1]", "byte 0: expected a JSON object");
    assert_bad(&r, "{\"a\":1} x", "byte 8: text behind the object");
    assert_bad(&r, "{\"a\" 1}", "byte 5: expected ':' after a key");
    assert_bad(&r, "{\"a\":01}", "byte 6: expected ',' or '}' in the object");
    assert_bad(&r, "{\"big\":01}", "byte 8: a number with a leading zero");
    assert_bad(&r, "{\"a\":\"x", "byte 7: unterminated string");
    assert_bad(&r, "{\"a\":\"\\ud800\"}", "byte 6: malformed escape");
    assert_bad(&r, "{\"a\":1,}", "byte 7: expected a key in quotes");
    assert_bad(&r, "{\"big\":\"7\"}", "field \"big\" at byte 7: expected an integer");
    assert_bad(&r, "{\"big\":1.5}", "field \"big\" at byte 7: expected an integer");
    assert_bad(&r, "{\"big\":9223372036854775808}", "field \"big\" at byte 7: the number is out of range");
    assert_bad(&r, "{\"small\":2147483648}", "field \"small\" at byte 9: the number is out of range");
    assert_bad(&r, "{\"real\":1e999}", "field \"real\" at byte 8: the number is out of range");
    assert_bad(&r, "{\"text\":1}", "field \"text\" at byte 8: expected a string");
    assert_bad(&r, "{\"short\":\"abcd\"}", "field \"short\" at byte 9: the string is too long");
    assert_bad(&r, "{\"time\":\"noon\"}", "field \"time\" at byte 8: expected a timestamp");
    assert_bad(&r, "{\"day\":\"2024-01-01 10:00:00\"}", "field \"day\" at byte 7: expected a date");
    assert_bad(&r, "{\"flag\":1}", "field \"flag\" at byte 8: expected true or false");
    assert_false(json_decode(r.decoder, BYTES_NULL, 0, &r.strings, r.error));
    assert_string_equal(r.error, "the record has no value");
    rig_deinit(&r);
}

/* ---- random records ---- */

static uint64_t seed_state;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed_state >> 33) % below;
}

static void put_ws(struct buf *b)
{
    if (chance(8) == 0) buf_put_u8(b, (uint8_t) " \t\n\r"[chance(4)]);
}

static void put_string(struct buf *b)
{
    static const char *const parts[] = {"a",
                                        "bc",
                                        "long enough to fill sixteen bytes ",
                                        "\\n",
                                        "\\\"",
                                        "\\\\",
                                        "\\u00e9",
                                        "\\ud83d\\ude00",
                                        "\xc3\xa9",
                                        "\xf0\x9f\x98\x80",
                                        "2024-01-01",
                                        "{",
                                        "]",
                                        "\\/",
                                        "\\u0000",
                                        "\x7f"};
    buf_put_u8(b, '"');
    for (uint32_t n = chance(5); n > 0; n--)
        buf_put_str(b, parts[chance(ARRAY_LEN(parts))]);
    buf_put_u8(b, '"');
}

static void put_number(struct buf *b)
{
    switch (chance(6)) {
    case 0: buf_printf(b, "%d", (int)chance(2000) - 1000); break;
    case 1:
        buf_printf(b, "%lld",
                   (long long)(((uint64_t)chance(1u << 31) << 32) | chance(1u << 31)) * (chance(2) ? 1 : -1));
        break;
    case 2: buf_printf(b, "%.*g", (int)chance(18) + 1, (double)chance(1u << 30) / (chance(1u << 20) + 1)); break;
    case 3: buf_printf(b, "%u.%ue%d", chance(1u << 30), chance(1u << 30), (int)chance(400) - 200); break;
    case 4: buf_printf(b, "%u%u.%u", chance(1u << 30) + 1, chance(1u << 30), chance(1u << 30)); break;
    default: buf_put_str(b, "-0"); break;
    }
}

static void put_value(struct buf *b, int depth)
{
    uint32_t kind = chance(depth > 3 ? 5 : 8);
    switch (kind) {
    case 0: put_string(b); break;
    case 1:
    case 2: put_number(b); break;
    case 3: buf_put_str(b, chance(2) ? "true" : "false"); break;
    case 4: buf_put_str(b, "null"); break;
    default: {
        bool object = kind == 5;
        buf_put_u8(b, object ? '{' : '[');
        put_ws(b);
        for (uint32_t i = 0, n = chance(4); i < n; i++) {
            if (i) buf_put_u8(b, ',');
            put_ws(b);
            if (object) {
                put_string(b);
                put_ws(b);
                buf_put_u8(b, ':');
                put_ws(b);
            }
            put_value(b, depth + 1);
            put_ws(b);
        }
        buf_put_u8(b, object ? '}' : ']');
    }
    }
}

static void put_record(struct buf *b)
{
    uint32_t n = chance(12);
    put_ws(b);
    buf_put_u8(b, '{');
    for (uint32_t i = 0; i < n; i++) {
        int f = (int)chance(FIELDS + 3);
        put_ws(b);
        if (i) buf_put_u8(b, ',');
        put_ws(b);
        if (f < FIELDS && chance(20))
            buf_printf(b, "\"%s\"", field_names[f]);
        else if (f < FIELDS)
            buf_printf(b, "\"\\u%04x%s\"", (unsigned)field_names[f][0], field_names[f] + 1);
        else
            put_string(b);
        put_ws(b);
        buf_put_u8(b, ':');
        put_ws(b);
        put_value(b, 0);
    }
    put_ws(b);
    buf_put_u8(b, '}');
    put_ws(b);
}

/* What the rules say about one field of jansson's value: -1 bad, 0 NULL, 1 a value that must equal the column's. */
static int judge(int f, const json_t *v, const struct vector *c)
{
    int64_t us;
    if (v == NULL || json_is_null(v)) return 0;
    switch (f) {
    case F_B: return json_is_boolean(v) ? (!c || c->b[0] == json_is_true(v)) ? 1 : -2 : -1;
    case F_I32:
    case F_I64: {
        if (!json_is_integer(v)) return -1;
        json_int_t i = json_integer_value(v);
        if (f == F_I32 && (i < INT32_MIN || i > INT32_MAX)) return -1;
        return !c || c->i[0] == i ? 1 : -2;
    }
    case F_D: {
        if (!json_is_number(v)) return -1;
        double d = json_number_value(v);
        return !c || c->d[0] == d ? 1 : -2;
    }
    case F_S:
    case F_SHORT: {
        if (json_is_object(v) || json_is_array(v)) return f == F_S ? 1 : 2; /* raw text: length unknown here */
        if (!json_is_string(v)) return -1;
        struct bytes s = bytes_of(json_string_value(v), json_string_length(v));
        size_t n = 0;
        for (size_t i = 0; i < s.len; i++)
            n += (s.ptr[i] & 0xc0) != 0x80;
        if (f == F_SHORT && n > 3) return -1;
        return !c || bytes_equal(s, c->s[0]) ? 1 : -2;
    }
    case F_T:
        if (json_is_integer(v)) {
            int64_t ms = json_integer_value(v);
            if (__builtin_mul_overflow(ms, (int64_t)1000, &us)) return -1;
            return !c || c->i[0] == us ? 1 : -2;
        }
        if (!json_is_string(v) || !civil_parse_us(bytes_of(json_string_value(v), json_string_length(v)), &us))
            return -1;
        return 1;
    default:
        if (!json_is_string(v) || !civil_parse_us(bytes_of(json_string_value(v), json_string_length(v)), &us))
            return -1;
        return 1;
    }
}

/* jansson turns integers above 64 bit into an error or (with the flag) a real: then only acceptance of the text is
 * compared. */
static void compare(struct rig *r, const struct buf *b)
{
    uint8_t *copy;
    json_error_t e;
    bool ours = decode(r, (const char *)b->ptr, b->len, &copy);
    json_t *theirs = json_loadb((const char *)copy, b->len, JSON_ALLOW_NUL, &e);
    bool malformed = !ours && strncmp(r->error, "field", 5) != 0;
    bool too_big = theirs == NULL && (strstr(e.text, "too big") || strstr(e.text, "real number overflow") ||
                                      strstr(e.text, "NUL byte in"));
    if (!too_big && malformed != (theirs == NULL || !json_is_object(theirs))) {
        print_message("%.*s\nours: %s\njansson: %s\n", (int)b->len, (const char *)b->ptr, ours ? "accepted" : r->error,
                      theirs ? "accepted" : e.text);
        fail();
    }
    if (theirs && json_is_object(theirs)) {
        bool want = true, unknown = false;
        for (int f = 0; f < FIELDS; f++) {
            const json_t *v = json_object_get(theirs, field_names[f]);
            int verdict = judge(f, v, ours && !vector_is_null(&r->cols[f], 0) ? &r->cols[f] : NULL);
            if (verdict == 2) unknown = true;
            if (verdict == -1) want = false;
            assert_int_not_equal(verdict, -2);
            if (ours) assert_int_equal(vector_is_null(&r->cols[f], 0), verdict == 0);
        }
        if (!unknown) {
            if (ours != want) print_message("%.*s\n%s\n", (int)b->len, (const char *)b->ptr, r->error);
            assert_int_equal(ours, want);
        }
    }
    json_decref(theirs);
    free(copy);
}

static void test_json__agrees_with_jansson(void **state)
{
    struct rig r;
    struct buf b;
    rig_init(&r);
    buf_init(&b, 0);
    seed_state = 20240229;
    for (int i = 0; i < 30000; i++) {
        buf_clear(&b);
        for (int f = 0; f < FIELDS; f++)
            r.cols[f].has_nulls = false;
        put_record(&b);
        if (chance(3) == 0 && b.len > 0) { /* breaks a byte or cuts the end */
            if (chance(2))
                b.ptr[chance((uint32_t)b.len)] =
                    (uint8_t)(chance(4) ? "{}[]\",:\\0-e.x "[chance(14)] : (char)chance(256));
            else
                b.len = chance((uint32_t)b.len);
        }
        compare(&r, &b);
    }
    buf_deinit(&b);
    rig_deinit(&r);
}

/* Numbers by their shortest text and by 17 digits come back exactly. */
static void test_json__doubles_are_correctly_rounded(void **state)
{
    struct rig r;
    rig_init(&r);
    seed_state = 99;
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = ((uint64_t)chance(1u << 31) << 33) ^ ((uint64_t)chance(1u << 31) << 10) ^ chance(1u << 20);
        double want;
        char text[80];
        uint8_t *copy;
        memcpy(&want, &bits, 8);
        if (i % 2) want = (double)(int)chance(1000000) / 1000;
        if (want != want || want - want != 0) continue;
        int n = snprintf(text, sizeof text, i % 3 ? "{\"real\":%.17g}" : "{\"real\":%.25e}", want);
        assert_true(decode(&r, text, (size_t)n, &copy));
        assert_true(memcmp(&r.cols[F_D].d[0], &want, 8) == 0);
        free(copy);
    }
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json__values_of_each_type),
        cmocka_unit_test(test_json__bad_rows_say_what_and_where),
        cmocka_unit_test(test_json__agrees_with_jansson),
        cmocka_unit_test(test_json__doubles_are_correctly_rounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
