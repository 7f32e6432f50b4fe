/* types.c: types and values as text. */
#include "flow/types.h"

#include <math.h>
#include <stdio.h>

#include "base/civil.h"
#include "base/text.h"

#define US_SECOND 1000000ll
#define US_DAY (86400 * US_SECOND)

const char *sql_type_text(struct sql_type t, char *out)
{
    enum { SIZE = 40 };
    static const char *const names[SQL_KIND_COUNT] = {
        [SQL_NULL] = "NULL",
        [SQL_BOOLEAN] = "BOOLEAN",
        [SQL_INT] = "INT",
        [SQL_BIGINT] = "BIGINT",
        [SQL_DOUBLE] = "DOUBLE",
        [SQL_STRING] = "STRING",
        [SQL_TIMESTAMP] = "TIMESTAMP",
        [SQL_DATE] = "DATE",
        [SQL_INTERVAL] = "INTERVAL",
        [SQL_TIMESTAMP_LTZ] = "TIMESTAMP_LTZ",
    };
    const char *not_null = t.not_null ? " NOT NULL" : "";

    check((unsigned)t.kind < SQL_KIND_COUNT);
    if (t.kind == SQL_TIMESTAMP || t.kind == SQL_TIMESTAMP_LTZ)
        (void)snprintf(out, SIZE, "%s(%d)%s", names[t.kind], (int)t.precision, not_null);
    else if (t.kind == SQL_STRING && t.precision > 0)
        (void)snprintf(out, SIZE, "VARCHAR(%d)%s", (int)t.precision, not_null);
    else
        (void)snprintf(out, SIZE, "%s%s", names[t.kind], not_null);
    return out;
}

static void put_i64(struct buf *out, int64_t v)
{
    char text[32];
    buf_put(out, text, text_format_i64(text, v));
}

/* "1 02:03:04.000", with a sign when negative; 6 digits when there are microseconds. */
static void put_interval(struct buf *out, int64_t us)
{
    uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    uint64_t day = v / US_DAY, rest = v % US_DAY, second = rest / US_SECOND, micro = rest % US_SECOND;

    buf_printf(out, "%s%llu %02u:%02u:%02u", us < 0 ? "-" : "", (unsigned long long)day, (unsigned)(second / 3600),
               (unsigned)(second / 60 % 60), (unsigned)(second % 60));
    if (micro % 1000 == 0)
        buf_printf(out, ".%03u", (unsigned)(micro / 1000));
    else
        buf_printf(out, ".%06u", (unsigned)micro);
}

/* Without quotes; the part that JSON and text have in common. */
static void put_time(struct buf *out, const struct sql_value *v, struct sql_type t)
{
    char text[64];
    size_t n;

    switch (t.kind) {
    case SQL_DATE:
        n = v->i > INT64_MAX / US_DAY || v->i < INT64_MIN / US_DAY ? 0 : civil_format_us(text, v->i * US_DAY, 0, ' ');
        if (n > 9) buf_put(out, text, n - 9); /* without " 00:00:00" */
        return;
    case SQL_INTERVAL: put_interval(out, v->i); return;
    default:
        n = civil_format_us(text, v->i, t.precision < 0 ? 0 : t.precision > 6 ? 6 : t.precision, ' ');
        buf_put(out, text, n);
        if (t.kind == SQL_TIMESTAMP_LTZ) buf_put_u8(out, 'Z');
        return;
    }
}

void sql_value_put_json(struct buf *out, const struct sql_value *v, struct sql_type t)
{
    char text[40];

    if (v->is_null || t.kind == SQL_NULL) {
        buf_put_str(out, "null");
        return;
    }
    switch (t.kind) {
    case SQL_BOOLEAN: buf_put_str(out, v->b ? "true" : "false"); return;
    case SQL_INT:
    case SQL_BIGINT: put_i64(out, v->i); return;
    case SQL_DOUBLE:
        if (isfinite(v->d))
            buf_put(out, text, text_format_f64(text, v->d));
        else
            buf_put_str(out, "null");
        return;
    case SQL_STRING: text_put_json_string(out, v->s); return;
    default:
        buf_put_u8(out, '"');
        put_time(out, v, t);
        buf_put_u8(out, '"');
        return;
    }
}

void sql_value_put_text(struct buf *out, const struct sql_value *v, struct sql_type t)
{
    char text[40];

    if (v->is_null || t.kind == SQL_NULL) {
        buf_put_str(out, "NULL");
        return;
    }
    switch (t.kind) {
    case SQL_BOOLEAN: buf_put_str(out, v->b ? "TRUE" : "FALSE"); return;
    case SQL_INT:
    case SQL_BIGINT: put_i64(out, v->i); return;
    case SQL_DOUBLE: buf_put(out, text, text_format_f64(text, v->d)); return;
    case SQL_STRING: buf_put_bytes(out, v->s); return;
    default: put_time(out, v, t); return;
    }
}

void sql_row_put_json(struct buf *out, const struct sql_schema *s, const struct sql_row *r)
{
    buf_put_u8(out, '{');
    for (int i = 0; i < s->n; i++) {
        if (i > 0) buf_put_u8(out, ',');
        text_put_json_string(out, s->columns[i].name);
        buf_put_u8(out, ':');
        sql_value_put_json(out, &r->values[i], s->columns[i].type);
    }
    buf_put_u8(out, '}');
}
