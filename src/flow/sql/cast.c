/* cast.c: which type becomes which, implicitly and by CAST. Every physical conversion is an operation of fn.def; where
 * the physical form is the same (INT and BIGINT) nothing happens at run time. */
#include "flow/sql/bind.h"

#include "flow/sql/parse.h"

static int16_t wider(int16_t a, int16_t b)
{
    return a > b ? a : b;
}

bool type_common(struct sql_type a, struct sql_type b, struct sql_type *out)
{
    *out = a;
    out->is_rowtime = false;
    out->not_null = a.not_null && b.not_null;
    if (b.kind == SQL_NULL) return true;
    if (a.kind == SQL_NULL || a.kind == b.kind) {
        out->kind = b.kind;
        if (a.kind == SQL_NULL)
            out->precision = b.precision;
        else if (a.kind == SQL_STRING)
            out->precision = a.precision == 0 || b.precision == 0 ? 0 : wider(a.precision, b.precision);
        else
            out->precision = wider(a.precision, b.precision);
        return true;
    }
    if (type_is_integer(a) && type_is_integer(b)) {
        out->kind = SQL_BIGINT;
        return true;
    }
    if ((type_is_integer(a) && b.kind == SQL_DOUBLE) || (a.kind == SQL_DOUBLE && type_is_integer(b))) {
        out->kind = SQL_DOUBLE;
        return true;
    }
    if ((a.kind == SQL_DATE && b.kind == SQL_TIMESTAMP) || (a.kind == SQL_TIMESTAMP && b.kind == SQL_DATE)) {
        out->kind = SQL_TIMESTAMP;
        out->precision = wider(a.precision, b.precision);
        return true;
    }
    if (type_is_time(a) && type_is_time(b)) { /* the session's zone is UTC */
        out->kind = SQL_TIMESTAMP_LTZ;
        out->precision = wider(a.precision, b.precision);
        return true;
    }
    return false;
}

static struct expr *cast_call(struct sql_ctx *c, enum fn_op op, struct sql_type to, struct expr *e)
{
    if (e == NULL) return NULL;
    to.not_null = e->type.not_null;
    return expr_call(c, op, to, &e, 1, e->position);
}

struct expr *cast_implicit(struct sql_ctx *c, struct expr *e, struct sql_type to)
{
    enum sql_kind from = e == NULL ? SQL_NULL : e->type.kind;

    if (e == NULL) return NULL;
    if (from == to.kind) return e;
    if (from == SQL_NULL) return expr_null(c, to, e->position);
    if (type_is_integer(e->type) && type_is_integer(to)) return e;
    if (type_is_integer(e->type) && to.kind == SQL_DOUBLE) {
        if (e->kind == EXPR_LITERAL)
            return expr_literal(c, (struct sql_value){.kind = SQL_DOUBLE, .d = (double)e->literal.i}, to, e->position);
        return cast_call(c, FN_CAST_I_D, to, e);
    }
    if (from == SQL_DATE && to.kind == SQL_TIMESTAMP) return cast_call(c, FN_CAST_A_T, to, e);
    if (from == SQL_DATE && to.kind == SQL_TIMESTAMP_LTZ)
        return cast_implicit(c, cast_call(c, FN_CAST_A_T, (struct sql_type){.kind = SQL_TIMESTAMP}, e), to);
    if (from == SQL_TIMESTAMP && to.kind == SQL_TIMESTAMP_LTZ) return cast_call(c, FN_CAST_T_L, to, e);
    return NULL;
}

struct cast_row {
    enum sql_kind from, to;
    enum fn_op op;
};
/* By kind, with INT as BIGINT; targets that need a second step are built from these. */
static const struct cast_row casts[] = {
    {SQL_BIGINT, SQL_DOUBLE, FN_CAST_I_D},
    {SQL_BIGINT, SQL_STRING, FN_CAST_I_S},
    {SQL_BIGINT, SQL_BOOLEAN, FN_CAST_I_B},
    {SQL_DOUBLE, SQL_BIGINT, FN_CAST_D_I},
    {SQL_DOUBLE, SQL_STRING, FN_CAST_D_S},
    {SQL_BOOLEAN, SQL_STRING, FN_CAST_B_S},
    {SQL_BOOLEAN, SQL_BIGINT, FN_CAST_B_I},
    {SQL_TIMESTAMP, SQL_STRING, FN_CAST_T_S},
    {SQL_TIMESTAMP, SQL_TIMESTAMP_LTZ, FN_CAST_T_L},
    {SQL_TIMESTAMP, SQL_DATE, FN_CAST_T_A},
    {SQL_TIMESTAMP_LTZ, SQL_STRING, FN_CAST_L_S},
    {SQL_TIMESTAMP_LTZ, SQL_TIMESTAMP, FN_CAST_L_T},
    {SQL_DATE, SQL_STRING, FN_CAST_A_S},
    {SQL_DATE, SQL_TIMESTAMP, FN_CAST_A_T},
    {SQL_STRING, SQL_BIGINT, FN_CAST_S_I},
    {SQL_STRING, SQL_DOUBLE, FN_CAST_S_D},
    {SQL_STRING, SQL_BOOLEAN, FN_CAST_S_B},
    {SQL_STRING, SQL_TIMESTAMP, FN_CAST_S_T},
    {SQL_STRING, SQL_TIMESTAMP_LTZ, FN_CAST_S_L},
    {SQL_STRING, SQL_DATE, FN_CAST_S_A},
};

static struct expr *refuse_cast(struct sql_ctx *c, struct expr *e, struct sql_type to, int position)
{
    const char *hint = NULL;
    if (type_is_integer(e->type) && type_is_time(to))
        hint = "TO_TIMESTAMP_LTZ(milliseconds, 3) makes a timestamp of a number";
    if (type_is_time(e->type) && type_is_integer(to)) hint = "EXTRACT(EPOCH FROM t), UNIX_TIMESTAMP(t)";
    if (e->type.kind == SQL_INTERVAL) hint = "TIMESTAMPDIFF(SECOND, a, b) counts units between two timestamps";
    return sql_fail(c, position, hint, "%s cannot be cast to %s", type_shown(c, e->type), type_shown(c, to));
}

/* Same physical form, other type: only columns and calls carry a type of their own, so the node is copied with the new
 * one. */
static struct expr *retyped(struct sql_ctx *c, struct expr *e, struct sql_type to)
{
    struct expr *copy = expr_new(c, e->kind, to, e->args, e->n_args, e->position);
    if (copy == NULL) return NULL;
    copy->column = e->column;
    copy->op = e->op;
    copy->literal = e->literal;
    copy->literal.kind = to.kind;
    copy->type.not_null = e->type.not_null;
    return copy;
}

/* Strings: cut to the length. Timestamps: cut to the digits. INT: range. `e` already has the kind (INT: BIGINT). */
static struct expr *cast_refine(struct sql_ctx *c, struct expr *e, struct sql_type to, int position)
{
    to.not_null = e->type.not_null;
    if (to.kind == SQL_INT) {
        if (e->type.kind == SQL_INT) return retyped(c, e, to);
        return expr_call(c, FN_CAST_I_INT, to, &e, 1, position);
    }
    if (to.kind == SQL_STRING && to.precision > 0) {
        struct expr *args[] = {e, expr_i64(c, SQL_BIGINT, to.precision, position)};
        if (e->type.precision > 0 && e->type.precision <= to.precision) return retyped(c, e, to);
        return expr_call(c, FN_CAST_S_LEN, to, args, 2, position);
    }
    if (type_is_time(to) && (e->type.precision > to.precision) && (to.precision == 0 || to.precision == 3)) {
        struct expr *args[] = {e, expr_string(c, to.precision == 0 ? "SECOND" : "MILLISECOND", position)};
        return expr_call(c, to.kind == SQL_TIMESTAMP ? FN_TRUNC_T : FN_TRUNC_L, to, args, 2, position);
    }
    return retyped(c, e, to);
}

/* Literals of strings to dates and timestamps at once, so that a wrong one has its place in the text. */
static struct expr *cast_text_literal(struct sql_ctx *c, struct expr *e, struct sql_type to)
{
    int64_t value = 0;
    int digits = 0;
    bool ok = to.kind == SQL_DATE ? parse_date_text(e->literal.s, &value)
                                  : parse_timestamp_text(e->literal.s, &value, &digits);

    if (!ok)
        return sql_fail(c, e->position, to.kind == SQL_DATE ? "write '2024-12-31'" : "write '2024-12-31 23:59:59.999'",
                        "'%s' is not a %s", sql_shown(c, e->literal.s), to.kind == SQL_DATE ? "date" : "timestamp");
    if (to.kind != SQL_DATE && digits > to.precision) to.precision = (int16_t)digits;
    return expr_literal(c, (struct sql_value){.kind = to.kind, .i = value}, to, e->position);
}

/* A constant that CAST can settle now. Others are left to the row, which TRY_CAST turns into NULL. */
static bool text_literal_fits(const struct expr *e, struct sql_type to)
{
    int64_t value;
    int digits = 0;
    if (e->kind != EXPR_LITERAL || e->literal.is_null) return false;
    if (to.kind == SQL_DATE) return parse_date_text(e->literal.s, &value);
    return parse_timestamp_text(e->literal.s, &value, &digits) && digits <= to.precision;
}

struct expr *cast_time_literal(struct sql_ctx *c, struct expr *e, struct sql_type like)
{
    if (e == NULL) return NULL;
    if (e->kind != EXPR_LITERAL || e->type.kind != SQL_STRING || e->literal.is_null) return e;
    if (!type_is_time(like) && like.kind != SQL_DATE) return e;
    if (like.kind == SQL_DATE && e->literal.s.len != 10) like = (struct sql_type){.kind = SQL_TIMESTAMP};
    return cast_text_literal(c, e, like);
}

struct expr *cast_explicit(struct sql_ctx *c, struct expr *e, struct sql_type to, int position)
{
    enum sql_kind from = e->type.kind == SQL_INT ? SQL_BIGINT : e->type.kind;
    enum sql_kind target = to.kind == SQL_INT ? SQL_BIGINT : to.kind;

    to.is_rowtime = false;
    to.not_null = false;
    if (from == SQL_NULL) return expr_null(c, to, position);
    if (from == SQL_STRING && (type_is_time(to) || target == SQL_DATE) && text_literal_fits(e, to))
        return cast_text_literal(c, e, to);
    if (from == target) return cast_refine(c, e, to, position);
    if (from == SQL_DATE && target == SQL_TIMESTAMP_LTZ) /* by way of TIMESTAMP */
        e = cast_call(c, FN_CAST_A_T, (struct sql_type){.kind = SQL_TIMESTAMP}, e), from = SQL_TIMESTAMP;
    if (from == SQL_TIMESTAMP_LTZ && target == SQL_DATE)
        e = cast_call(c, FN_CAST_L_T, (struct sql_type){.kind = SQL_TIMESTAMP, .precision = e->type.precision}, e),
        from = SQL_TIMESTAMP;
    if (e == NULL) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(casts); i++) {
        struct sql_type middle = {.kind = target, .precision = type_is_time(to) ? e->type.precision : 0};
        if (casts[i].from != from || casts[i].to != target) continue;
        if (from == SQL_STRING && type_is_time(to)) middle.precision = to.precision;
        e = cast_call(c, casts[i].op, middle, e);
        if (e != NULL) e->position = position;
        return e == NULL ? NULL : cast_refine(c, e, to, position);
    }
    return refuse_cast(c, e, to, position);
}
