/* bind_time.c: functions of time with units of their own, and TRIM of a character: made of the few operations of
 * fn.def. */
#include "flow/sql/bind.h"

#define US_SECOND 1000000ll

static bool check_unit(struct sql_ctx *c, const struct ast *a, const char *const *units, size_t n, const char *what)
{
    struct suggest near;
    suggest_init(&near, a->value.s);
    for (size_t i = 0; i < n; i++) {
        if (bytes_equal_str(a->value.s, units[i])) return true;
        suggest_add(&near, bytes_str(units[i]));
    }
    sql_fail(c, a->position, suggest_hint(c, &near, NULL), "%s has no unit %s", what, sql_shown(c, a->value.s));
    return false;
}

/* To TIMESTAMP when it is a DATE or NULL; otherwise as it is. */
static struct expr *as_time(struct sql_ctx *c, struct expr *e)
{
    if (e != NULL && (e->type.kind == SQL_DATE || e->type.kind == SQL_NULL))
        return cast_implicit(c, e, (struct sql_type){.kind = SQL_TIMESTAMP});
    return e;
}

struct expr *bind_extract_unit(struct scope *s, const char *unit, struct expr *t, const char *shown, int position)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[2] = {expr_string(c, unit, position), as_time(c, t)};

    if (args[0] == NULL || args[1] == NULL) return NULL;
    if (!type_is_time(args[1]->type))
        return sql_fail(c, t->position, NULL, "%s does not take %s", shown, type_shown(c, t->type));
    return fn_resolve(c, "$extract", shown, args, 2, position);
}

struct expr *bind_extract(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"YEAR",   "QUARTER", "MONTH",       "WEEK", "DAY", "HOUR",
                                        "MINUTE", "SECOND",  "MILLISECOND", "DOW",  "DOY", "EPOCH"};
    struct sql_ctx *c = s->b->c;
    struct expr *t = bind_expr(s, a->args[1]);

    if (t == NULL || !check_unit(c, a->args[0], units, ARRAY_LEN(units), "EXTRACT")) return NULL;
    return bind_extract_unit(s, arena_printf(c->arena, "%.*s", BYTES_ARG(a->args[0]->value.s)), t, "EXTRACT",
                             a->position);
}

static int64_t unit_us(struct bytes unit)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = {{"MILLISECOND", 1000},      {"SECOND", US_SECOND},      {"MINUTE", 60 * US_SECOND},
                 {"HOUR", 3600 * US_SECOND}, {"DAY", 86400 * US_SECOND}, {"WEEK", 7 * 86400 * US_SECOND}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (bytes_equal_str(unit, units[i].name)) return units[i].us;
    }
    return 0;
}

/* FLOOR(t TO unit); CEIL is the floor of the last microsecond of the unit that begins at t. */
struct expr *bind_floor_to(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"YEAR", "QUARTER", "MONTH",  "WEEK",       "DAY",
                                        "HOUR", "MINUTE",  "SECOND", "MILLISECOND"};
    struct sql_ctx *c = s->b->c;
    bool is_ceil = call_is_named(a, "$ceil");
    const char *shown = is_ceil ? "CEIL" : "FLOOR";
    struct bytes unit = a->args[1]->value.s;
    struct expr *args[2] = {as_time(c, bind_expr(s, a->args[0])), NULL};
    int16_t precision;

    if (args[0] == NULL || !check_unit(c, a->args[1], units, ARRAY_LEN(units), shown)) return NULL;
    if (!type_is_time(args[0]->type))
        return sql_fail(c, args[0]->position, NULL, "%s(... TO %.*s) does not take %s", shown, BYTES_ARG(unit),
                        type_shown(c, args[0]->type));
    precision = args[0]->type.precision;
    if (is_ceil) {
        struct expr *sum[2] = {args[0], NULL};
        if (unit_us(unit) == 0)
            return sql_not_yet(c, a->args[1]->position, arena_printf(c->arena, "CEIL(t TO %.*s)", BYTES_ARG(unit)),
                               NULL);
        sum[1] = expr_i64(c, SQL_INTERVAL, unit_us(unit) - 1, a->position);
        args[0] = fn_resolve(c, "+", shown, sum, 2, a->position);
        if (args[0] == NULL) return NULL;
    }
    args[1] = expr_literal(c, a->args[1]->value, a->args[1]->type, a->args[1]->position);
    args[0] = fn_resolve(c, "$floor", shown, args, 2, a->position);
    if (args[0] != NULL) args[0]->type.precision = precision;
    return args[0];
}

/* TIMESTAMPDIFF(unit, a, b) = whole units from a to b; TIMESTAMPADD(unit, n, t) = t + n units. */
struct expr *bind_timestamp_call(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK"};
    struct sql_ctx *c = s->b->c;
    bool is_diff = call_is_named(a, "TIMESTAMPDIFF");
    const char *shown = is_diff ? "TIMESTAMPDIFF" : "TIMESTAMPADD";
    struct bytes unit = a->args[0]->value.s;
    struct expr *x = bind_expr(s, a->args[1]);
    struct expr *y = x == NULL ? NULL : as_time(c, bind_expr(s, a->args[2]));
    struct expr *args[2];

    if (y == NULL) return NULL;
    if (bytes_equal_str(unit, "MONTH") || bytes_equal_str(unit, "QUARTER") || bytes_equal_str(unit, "YEAR"))
        return sql_not_yet(c, a->args[0]->position,
                           arena_printf(c->arena, "%s in units of %.*s", shown, BYTES_ARG(unit)), NULL);
    if (!check_unit(c, a->args[0], units, ARRAY_LEN(units), shown)) return NULL;
    if (!type_is_time(y->type))
        return sql_fail(c, y->position, NULL, "%s does not take %s", shown, type_shown(c, y->type));
    if (is_diff) {
        struct sql_type both;
        x = as_time(c, x);
        if (x == NULL || !type_is_time(x->type) || !type_common(x->type, y->type, &both))
            return x == NULL ? NULL
                             : sql_fail(c, x->position, NULL, "%s does not take %s", shown, type_shown(c, x->type));
        args[0] = cast_implicit(c, y, both);
        args[1] = cast_implicit(c, x, both);
        args[0] = fn_resolve(c, "$tsdiff", shown, args, 2, a->position);
        args[1] = expr_i64(c, SQL_BIGINT, unit_us(unit), a->position);
        if (args[0] == NULL || args[1] == NULL) return NULL;
        /* An interval is a number of microseconds: dividing it as a number needs no conversion. */
        return expr_call(c, FN_DIV_I, (struct sql_type){.kind = SQL_BIGINT, .not_null = args[0]->type.not_null}, args,
                         2, a->position);
    }
    if (!type_is_integer(x->type) && x->type.kind != SQL_NULL)
        return sql_fail(c, x->position, NULL, "the number of units in TIMESTAMPADD is an integer, not %s",
                        type_shown(c, x->type));
    {
        struct expr *product[2] = {expr_i64(c, SQL_INTERVAL, unit_us(unit), a->position), x};
        args[0] = y;
        args[1] = fn_resolve(c, "*", shown, product, 2, a->position);
        return fn_resolve(c, "+", shown, args, 2, a->position);
    }
}

/* TRIM(c FROM x): of blanks it is the plain function; of another single character a regular expression. */
struct expr *bind_trim_of(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[3] = {bind_expr(s, a->args[0]), NULL, NULL};
    const struct ast *what = a->args[1];
    struct bytes ch;
    const char *one, *name = call_is_named(a, "LTRIM") ? "LTRIM" : call_is_named(a, "RTRIM") ? "RTRIM" : "TRIM";

    if (args[0] == NULL) return NULL;
    if (what->kind != AST_LITERAL || what->type.kind != SQL_STRING)
        return sql_not_yet(c, what->position, "TRIM of something else than a literal character", NULL);
    ch = what->value.s;
    if (bytes_equal_str(ch, " ")) return fn_resolve(c, name, name, args, 1, a->position);
    if (ch.len == 0 || ch.len != (size_t)(ch.ptr[0] < 0x80 ? 1 : ch.ptr[0] < 0xE0 ? 2 : ch.ptr[0] < 0xF0 ? 3 : 4))
        return sql_not_yet(c, what->position, "TRIM of more than one character", "REGEXP_REPLACE removes any pattern");
    one = arena_printf(c->arena, "\\x{%x}+", ch.ptr[0]);
    if (ch.ptr[0] >= 0x80) one = arena_printf(c->arena, "(?:%.*s)+", BYTES_ARG(ch));
    args[1] = expr_string(c,
                          name[0] == 'L'   ? arena_printf(c->arena, "^%s", one)
                          : name[0] == 'R' ? arena_printf(c->arena, "%s\\z", one)
                                           : arena_printf(c->arena, "^%s|%s\\z", one, one),
                          a->position);
    args[2] = expr_string(c, "", a->position);
    return fn_resolve(c, "REGEXP_REPLACE", name, args, 3, a->position);
}
