/* parse_literal.c: numbers, intervals, dates, timestamps, and type names. Values are checked here, where their place is
 * known. */
#include "flow/sql/parse.h"

#include <limits.h>
#include <math.h>

#include "base/civil.h"
#include "base/text.h"

#define US_SECOND 1000000ll
#define US_MINUTE (60 * US_SECOND)
#define US_HOUR (60 * US_MINUTE)
#define US_DAY (24 * US_HOUR)

static struct ast *new_literal(struct parser *p, int position, enum sql_kind kind, int64_t i)
{
    struct ast *a = ast_new(p, AST_LITERAL, position, NULL, 0);
    if (a == NULL) return NULL;
    a->type = (struct sql_type){.kind = kind, .not_null = true};
    a->value = (struct sql_value){.kind = kind, .i = i};
    return a;
}

struct ast *parse_number(struct parser *p, bool is_negative)
{
    const struct token *t = parser_peek(p, 0);
    int position = (int)t->position;
    struct bytes raw = token_value(p->c, t);
    struct ast *a;

    p->at++;
    if (t->kind == TOKEN_INTEGER) {
        uint64_t v = 0;
        for (size_t i = 0; i < raw.len; i++) {
            if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(raw.ptr[i] - '0'), &v))
                v = UINT64_MAX;
            if (v > (uint64_t)INT64_MAX + is_negative)
                return sql_fail(p->c, position, "a number with a point is a DOUBLE",
                                "integer %s is out of range of BIGINT", sql_shown(p->c, raw));
        }
        a = new_literal(p, position, SQL_BIGINT, is_negative ? (int64_t)(0 - v) : (int64_t)v);
        if (a != NULL && a->value.i >= INT32_MIN && a->value.i <= INT32_MAX) a->type.kind = a->value.kind = SQL_INT;
        return a;
    }
    a = new_literal(p, position, SQL_DOUBLE, 0);
    if (a == NULL) return NULL;
    if (raw.ptr[raw.len - 1] == '.') raw.len--; /* "1." */
    if (!text_parse_f64(raw.ptr[0] == '.' ? bytes_str(arena_printf(p->c->arena, "0%.*s", BYTES_ARG(raw))) : raw,
                        &a->value.d) ||
        !isfinite(a->value.d))
        return sql_fail(p->c, position, NULL, "number %s is out of range of DOUBLE", sql_shown(p->c, raw));
    if (is_negative) a->value.d = -a->value.d;
    return a;
}

enum unit { UNIT_DAY, UNIT_HOUR, UNIT_MINUTE, UNIT_SECOND, UNIT_NONE };
static const int64_t unit_us[] = {US_DAY, US_HOUR, US_MINUTE, US_SECOND};

/* A unit word with its plural and an optional precision, which changes nothing. */
static enum unit parse_interval_unit(struct parser *p)
{
    static const struct {
        const char *one, *many;
        enum unit unit;
    } words[] = {{"DAY", "DAYS", UNIT_DAY},
                 {"HOUR", "HOURS", UNIT_HOUR},
                 {"MINUTE", "MINUTES", UNIT_MINUTE},
                 {"SECOND", "SECONDS", UNIT_SECOND}};
    static const char *const months[] = {"YEAR", "YEARS", "MONTH", "MONTHS", "QUARTER", "QUARTERS"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!parser_accept_word(p, words[i].one) && !parser_accept_word(p, words[i].many)) continue;
        if (parser_accept_punct(p, '(')) {
            while (parser_peek(p, 0)->kind == TOKEN_INTEGER || parser_is_punct(p, 0, ','))
                p->at++;
            if (!parser_expect_punct(p, ')')) return UNIT_NONE;
        }
        return words[i].unit;
    }
    for (size_t i = 0; i < ARRAY_LEN(months); i++) {
        if (!parser_is_word(p, 0, months[i])) continue;
        sql_not_yet(p->c, parser_position(p), "an interval of months or years", "DAY is the largest unit");
        return UNIT_NONE;
    }
    if (parser_is_word(p, 0, "WEEK") || parser_is_word(p, 0, "WEEKS"))
        sql_not_yet(p->c, parser_position(p), "an interval of weeks", "write INTERVAL '7' DAY");
    else if (parser_is_word(p, 0, "MILLISECOND") || parser_is_word(p, 0, "MILLISECONDS"))
        sql_fail(p->c, parser_position(p), "write INTERVAL '0.001' SECOND", "there is no interval unit MILLISECOND");
    else
        parser_expected(p, "DAY, HOUR, MINUTE or SECOND");
    return UNIT_NONE;
}

/* Digits at *at. False: none, or too many. */
static bool take_digits(struct bytes t, size_t *at, int64_t *out)
{
    size_t from = *at;
    *out = 0;
    while (*at < t.len && t.ptr[*at] >= '0' && t.ptr[*at] <= '9') {
        if (*at - from >= 15) return false;
        *out = *out * 10 + (t.ptr[*at] - '0');
        ++*at;
    }
    return *at > from;
}

/* Fields `from` to `to` of an interval text: "1 02:03:04.5" is DAY TO SECOND. Microseconds; false: malformed or too
 * large. */
static bool interval_text(struct bytes t, enum unit from, enum unit to, int64_t *out)
{
    size_t at = 0;
    int64_t us = 0, v;
    bool is_negative = false;

    if (at < t.len && (t.ptr[at] == '-' || t.ptr[at] == '+')) is_negative = t.ptr[at++] == '-';
    for (int unit = (int)from; unit <= (int)to; unit++) {
        static const int64_t field_max[] = {0, 23, 59, 59};
        if (unit > (int)from) {
            if (at >= t.len || t.ptr[at] != (unit == UNIT_HOUR ? ' ' : ':')) return false;
            at++;
        }
        if (!take_digits(t, &at, &v) || (unit > (int)from && v > field_max[unit])) return false;
        if (__builtin_mul_overflow(v, unit_us[unit], &v) || __builtin_add_overflow(us, v, &us)) return false;
    }
    if (to == UNIT_SECOND && at < t.len && t.ptr[at] == '.') {
        int64_t scale = US_SECOND / 10;
        size_t first = ++at;
        while (at < t.len && t.ptr[at] >= '0' && t.ptr[at] <= '9' && at - first < 6) {
            if (__builtin_add_overflow(us, (t.ptr[at] - '0') * scale, &us)) return false;
            scale /= 10;
            at++;
        }
        if (at == first) return false;
    }
    *out = is_negative ? -us : us;
    return at == t.len;
}

struct ast *parse_interval(struct parser *p)
{
    int position = parser_position(p), text_position;
    bool is_negative = false;
    struct bytes text;
    enum unit from, to;
    int64_t us;
    struct ast *a;

    p->at++; /* INTERVAL */
    if (parser_accept_punct(p, '-'))
        is_negative = true;
    else
        (void)parser_accept_punct(p, '+');
    if (parser_peek(p, 0)->kind != TOKEN_STRING)
        return sql_fail(p->c, parser_position(p), "the number stands in quotes: INTERVAL '10' SECOND",
                        "expected a string after INTERVAL, found %s", token_shown(p->c, parser_peek(p, 0)));
    if (!parser_string(p, "a string", &text, &text_position)) return NULL;
    from = to = parse_interval_unit(p);
    if (from == UNIT_NONE) return NULL;
    if (parser_accept_word(p, "TO")) {
        int to_position = parser_position(p);
        to = parse_interval_unit(p);
        if (to == UNIT_NONE) return NULL;
        if (to <= from)
            return sql_fail(p->c, to_position, "for instance DAY TO SECOND",
                            "an interval goes from the larger unit to the smaller one");
    }
    if (!interval_text(text, from, to, &us))
        return sql_fail(p->c, text_position,
                        from == to ? "for instance INTERVAL '10' MINUTE, INTERVAL '0.5' SECOND"
                                   : "for instance INTERVAL '1 02:03:04' DAY TO SECOND",
                        "'%s' is not an interval of this kind", sql_shown(p->c, text));
    a = new_literal(p, position, SQL_INTERVAL, is_negative ? -us : us);
    if (a != NULL) a->type.precision = us % 1000 == 0 ? 3 : 6;
    return a;
}

bool parse_date_text(struct bytes text, int64_t *days)
{
    int64_t us;
    if (text.len != 10 || !civil_parse_us(text, &us)) return false;
    *days = us / US_DAY - (us % US_DAY < 0);
    return true;
}

/* Without zone; *digits: fraction digits written, at most 6. */
bool parse_timestamp_text(struct bytes text, int64_t *us, int *digits)
{
    const uint8_t *point = text.len > 19 ? text.ptr + 19 : NULL;
    if (text.len == 0) return false;
    for (size_t i = 10; i < text.len; i++) {
        uint8_t ch = text.ptr[i];
        if (!(ch >= '0' && ch <= '9') && ch != ':' && ch != '.' && ch != ' ' && ch != 'T') return false; /* a zone */
    }
    if (!civil_parse_us(text, us)) return false;
    *digits = point == NULL ? 0 : (int)(text.len - 20);
    if (*digits > 6) *digits = 6;
    return true;
}

struct ast *parse_time_literal(struct parser *p)
{
    bool is_date = parser_is_word(p, 0, "DATE");
    int position = parser_position(p), text_position, digits = 0;
    struct bytes text;
    int64_t value = 0;
    struct ast *a;

    p->at++;
    if (!parser_string(p, "a string", &text, &text_position)) return NULL;
    if (is_date && !parse_date_text(text, &value))
        return sql_fail(p->c, text_position, "write DATE '2024-12-31'", "'%s' is not a date", sql_shown(p->c, text));
    if (!is_date && !parse_timestamp_text(text, &value, &digits))
        return sql_fail(p->c, text_position, "write TIMESTAMP '2024-12-31 23:59:59.999', without a zone",
                        "'%s' is not a timestamp", sql_shown(p->c, text));
    a = new_literal(p, position, is_date ? SQL_DATE : SQL_TIMESTAMP, value);
    if (a != NULL && !is_date) a->type.precision = (int16_t)digits;
    return a;
}

/* "(n)"; *n stays when there is none. */
static bool parse_length(struct parser *p, int64_t min, int64_t max, int64_t *n)
{
    int position;
    if (!parser_accept_punct(p, '(')) return true;
    position = parser_position(p);
    if (parser_peek(p, 0)->kind != TOKEN_INTEGER) {
        parser_expected(p, "a number");
        return false;
    }
    if (!text_parse_i64(token_value(p->c, parser_peek(p, 0)), n) || *n < min || *n > max) {
        sql_fail(p->c, position, NULL, "%s is out of range: %lld to %lld", token_shown(p->c, parser_peek(p, 0)),
                 (long long)min, (long long)max);
        return false;
    }
    p->at++;
    return parser_expect_punct(p, ')');
}

/* TIMESTAMP[(p)] [WITHOUT TIME ZONE | WITH LOCAL TIME ZONE], TIMESTAMP_LTZ[(p)]. The word is consumed. */
static bool parse_timestamp_type(struct parser *p, bool is_ltz, struct sql_type *out)
{
    int64_t digits = 6;

    if (!parse_length(p, 0, 6, &digits)) return false;
    if (!is_ltz && parser_is_word(p, 0, "WITH") && parser_is_word(p, 1, "TIME")) {
        sql_not_yet(p->c, parser_position(p), "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_LTZ(3) is an instant");
        return false;
    }
    if (!is_ltz && parser_is_word(p, 0, "WITH") && parser_is_word(p, 1, "LOCAL")) {
        p->at += 2;
        is_ltz = true;
        if (!parser_expect_word(p, "TIME") || !parser_expect_word(p, "ZONE")) return false;
    } else if (!is_ltz && parser_is_word(p, 0, "WITHOUT")) {
        p->at++;
        if (!parser_expect_word(p, "TIME") || !parser_expect_word(p, "ZONE")) return false;
    }
    *out = (struct sql_type){.kind = is_ltz ? SQL_TIMESTAMP_LTZ : SQL_TIMESTAMP, .precision = (int16_t)digits};
    return true;
}

/* VARCHAR(n), CHAR(n): n beyond what a type can hold is as good as no bound. */
static bool parse_char_type(struct parser *p, const char *word, struct sql_type *out)
{
    int position = parser_position(p);
    int64_t length = 0;

    if (!parse_length(p, 1, INT_MAX, &length)) return false;
    if (length == 0) {
        sql_fail(p->c, position, "write STRING, or VARCHAR(20)", "%s needs a length", word);
        return false;
    }
    *out = (struct sql_type){.kind = SQL_STRING, .precision = length > INT16_MAX ? 0 : (int16_t)length};
    return true;
}

/* A type word that exists in Flink and not here, or an unknown one. */
static bool refuse_type(struct parser *p, struct bytes word, int position)
{
    static const struct {
        const char *name, *hint;
    } known[] = {{"DECIMAL", "DOUBLE, or BIGINT in the smallest unit"},
                 {"NUMERIC", "DOUBLE, or BIGINT in the smallest unit"},
                 {"DEC", "DOUBLE, or BIGINT in the smallest unit"},
                 {"TINYINT", "use INT"},
                 {"SMALLINT", "use INT"},
                 {"TIME", NULL},
                 {"BYTES", NULL},
                 {"BINARY", NULL},
                 {"VARBINARY", NULL},
                 {"ARRAY", NULL},
                 {"MAP", NULL},
                 {"MULTISET", NULL},
                 {"ROW", NULL},
                 {"RAW", NULL},
                 {"INTERVAL", "a column of this type cannot be stored"}};
    static const char *const names[] = {"BOOLEAN", "INT",     "INTEGER", "BIGINT",    "DOUBLE",        "FLOAT",
                                        "STRING",  "VARCHAR", "CHAR",    "TIMESTAMP", "TIMESTAMP_LTZ", "DATE"};
    struct suggest s;

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!text_equal_nocase(word, bytes_str(known[i].name))) continue;
        sql_not_yet(p->c, position, arena_printf(p->c->arena, "the type %s", known[i].name), known[i].hint);
        return false;
    }
    suggest_init(&s, word);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        suggest_add(&s, bytes_str(names[i]));
    sql_fail(
        p->c, position,
        suggest_hint(p->c, &s, "types: BOOLEAN, INT, BIGINT, DOUBLE, STRING, TIMESTAMP(3), TIMESTAMP_LTZ(3), DATE"),
        "unknown type '%s'", sql_shown(p->c, word));
    return false;
}

bool parse_type(struct parser *p, struct sql_type *out)
{
    const struct token *t = parser_peek(p, 0);
    int position = (int)t->position;
    enum sql_kind kind = SQL_NULL;
    bool ok = true;

    if (t->kind != TOKEN_WORD) {
        parser_expected(p, "a type");
        return false;
    }
    if (parser_is_word(p, 0, "INT") || parser_is_word(p, 0, "INTEGER"))
        kind = SQL_INT;
    else if (parser_is_word(p, 0, "BIGINT"))
        kind = SQL_BIGINT;
    else if (parser_is_word(p, 0, "DOUBLE") || parser_is_word(p, 0, "FLOAT"))
        kind = SQL_DOUBLE;
    else if (parser_is_word(p, 0, "BOOLEAN"))
        kind = SQL_BOOLEAN;
    else if (parser_is_word(p, 0, "STRING"))
        kind = SQL_STRING;
    else if (parser_is_word(p, 0, "DATE"))
        kind = SQL_DATE;
    if (kind != SQL_NULL) {
        bool is_double = parser_is_word(p, 0, "DOUBLE");
        p->at++;
        if (is_double) (void)parser_accept_word(p, "PRECISION");
        *out = (struct sql_type){.kind = kind};
    } else if (parser_accept_word(p, "TIMESTAMP")) {
        ok = parse_timestamp_type(p, false, out);
    } else if (parser_accept_word(p, "TIMESTAMP_LTZ")) {
        ok = parse_timestamp_type(p, true, out);
    } else if (parser_accept_word(p, "VARCHAR")) {
        ok = parse_char_type(p, "VARCHAR", out);
    } else if (parser_accept_word(p, "CHAR") || parser_accept_word(p, "CHARACTER")) {
        ok = parse_char_type(p, "CHAR", out);
    } else {
        ok = refuse_type(p, token_value(p->c, t), position);
    }
    if (!ok) return false;
    if (parser_is_word(p, 0, "ARRAY")) {
        sql_not_yet(p->c, parser_position(p), "the type ARRAY", NULL);
        return false;
    }
    if (parser_is_word(p, 0, "NOT") && parser_is_word(p, 1, "NULL")) {
        p->at += 2;
        out->not_null = true;
    } else {
        (void)parser_accept_word(p, "NULL");
    }
    return true;
}
