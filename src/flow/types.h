/* types.h: SQL types and values, shared by the SQL front (sql/), the executor (exec/) and those who read rows. Any
 * thread. */
#ifndef WEIR_FLOW_TYPES_H
#define WEIR_FLOW_TYPES_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/buf.h"
#include "base/err.h"

enum sql_kind {
    SQL_NULL = 0, /* type of the literal NULL before it is cast */
    SQL_BOOLEAN,
    SQL_INT, /* 32 bit range, checked when decoded and cast; computed as 64 bit */
    SQL_BIGINT,
    SQL_DOUBLE,        /* FLOAT is read as DOUBLE */
    SQL_STRING,        /* VARCHAR(n), CHAR(n), STRING: UTF-8; n is checked when decoded and cast, 0 = unbounded */
    SQL_TIMESTAMP,     /* wall-clock text without zone; microseconds since 1970 as if UTC */
    SQL_TIMESTAMP_LTZ, /* instant; microseconds since 1970 UTC */
    SQL_DATE,          /* days since 1970 */
    SQL_INTERVAL,      /* microseconds (day to second intervals) */
    SQL_KIND_COUNT
};
struct sql_type {
    enum sql_kind kind;
    int16_t precision; /* timestamps: fraction digits 0..6; strings: maximal length or 0 */
    bool not_null;
    bool is_rowtime; /* time attribute: forwarded unchanged from a watermarked column */
};
/* How a kind is held in vectors. */
enum sql_phys { PHYS_BOOL, PHYS_I64, PHYS_F64, PHYS_STR };
static inline enum sql_phys sql_phys(enum sql_kind k)
{
    return k == SQL_BOOLEAN ? PHYS_BOOL : k == SQL_DOUBLE ? PHYS_F64 : k == SQL_STRING ? PHYS_STR : PHYS_I64;
}
/* "BIGINT", "TIMESTAMP(3)", ... into out (>= 40 bytes). */
const char *sql_type_text(struct sql_type t, char *out);

struct sql_value {
    bool is_null;
    enum sql_kind kind;
    union {
        bool b;
        int64_t i; /* ints, timestamps (us), dates, intervals */
        double d;
        struct bytes s; /* borrowed */
    };
};
/* One JSON value: numbers, true, "text", timestamps as "2015-07-15 00:00:10.000" (LTZ with a trailing Z), NaN and
 * infinities null. */
void sql_value_put_json(struct buf *out, const struct sql_value *v, struct sql_type t);
/* Plain text without quotes, NULL as "NULL". */
void sql_value_put_text(struct buf *out, const struct sql_value *v, struct sql_type t);

struct sql_column {
    struct bytes name; /* as spelled in the query */
    struct sql_type type;
};
struct sql_row {
    const struct sql_value *values;
    int change; /* +1 insert, -1 delete; for EMIT CHANGES -1 then +1 is an update */
};
struct sql_schema {
    const struct sql_column *columns;
    int n;
};
/* {"a":1,"b":"x"} of a row. */
void sql_row_put_json(struct buf *out, const struct sql_schema *s, const struct sql_row *r);

#endif
