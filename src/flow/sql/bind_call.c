/* bind_call.c: calls: aggregates, the old group window functions, functions with a syntax or a check of their own, and
 * all others by their entry in fn.def. */
#include "flow/sql/bind.h"

#include "base/text.h"

#define US_SECOND 1000000ll

static bool is_named(const struct ast *a, const char *name)
{
    return text_equal_nocase(a->name, bytes_str(name));
}

static const char *const aggregate_names[] = {"COUNT", "SUM", "AVG", "MIN", "MAX"};

bool call_is_aggregate(const struct ast *a)
{
    for (size_t i = 0; i < ARRAY_LEN(aggregate_names); i++) {
        if (a->kind == AST_CALL && is_named(a, aggregate_names[i])) return true;
    }
    return false;
}

bool call_is_group_window(const struct ast *a)
{
    return a->kind == AST_CALL && is_named(a, "TUMBLE");
}

/* ---- aggregates ---- */

static bool agg_choose(struct sql_ctx *c, const struct ast *a, struct agg *g)
{
    struct sql_type t = g->arg->type;
    bool is_integer = type_is_integer(t) || t.kind == SQL_NULL;

    if (t.kind == SQL_NULL) {
        g->arg = cast_implicit(c, g->arg, (struct sql_type){.kind = SQL_BIGINT});
        if (g->arg == NULL) return false;
        t = g->arg->type;
    }
    if (is_named(a, "COUNT")) {
        g->op = AGG_COUNT;
        g->type = (struct sql_type){.kind = SQL_BIGINT, .not_null = true};
        return true;
    }
    if (is_named(a, "MIN") || is_named(a, "MAX")) {
        g->op = is_named(a, "MIN") ? AGG_MIN : AGG_MAX;
        g->type = t;
        g->type.not_null = g->type.is_rowtime = false;
        if (t.kind != SQL_BOOLEAN) return true;
        sql_fail(c, g->arg->position, "CAST(x AS INT) makes 0 and 1 of it", "%s does not take BOOLEAN",
                 g->op == AGG_MIN ? "MIN" : "MAX");
        return false;
    }
    if (!is_integer && t.kind != SQL_DOUBLE) {
        sql_fail(c, g->arg->position, t.kind == SQL_STRING ? "CAST(x AS BIGINT) makes a number of a string" : NULL,
                 "%s does not take %s", is_named(a, "SUM") ? "SUM" : "AVG", type_shown(c, t));
        return false;
    }
    if (is_named(a, "SUM"))
        g->op = is_integer ? AGG_SUM_I : AGG_SUM_D;
    else
        g->op = is_integer ? AGG_AVG_I : AGG_AVG_D;
    g->type = (struct sql_type){.kind = is_integer ? SQL_BIGINT : SQL_DOUBLE};
    return true;
}

static bool agg_equal(const struct agg *a, const struct agg *b)
{
    if (a->op != b->op || (a->arg == NULL) != (b->arg == NULL) || (a->filter == NULL) != (b->filter == NULL))
        return false;
    return (a->arg == NULL || expr_equal(a->arg, b->arg)) && (a->filter == NULL || expr_equal(a->filter, b->filter));
}

static struct expr *agg_column(struct scope *s, struct agg *g, int position)
{
    struct sql_ctx *c = s->b->c;
    for (int i = 0; i < s->aggs->n; i++) {
        if (agg_equal(s->aggs->items[i], g)) return expr_column(c, AGG_BASE + i, g->type, position);
    }
    if (s->aggs->n >= LIMIT_SQL_COLUMNS_MAX)
        return sql_fail(c, position, NULL, "more than %d different aggregates in one query", LIMIT_SQL_COLUMNS_MAX);
    sql_list_push(c, s->aggs, g);
    return expr_column(c, AGG_BASE + s->aggs->n - 1, g->type, position);
}

static struct expr *bind_aggregate(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    const char *name = sql_shown(c, a->name);
    bool is_star = a->n_args == 1 && a->args[0]->kind == AST_STAR, ok;
    struct agg *g;

    if (s->in_aggregate)
        return sql_fail(c, a->position, "compute the inner one in a subquery in FROM", "%s inside of another aggregate",
                        name);
    if (s->aggs == NULL)
        return sql_fail(c, a->position,
                        strcmp(s->place, "WHERE") == 0 ? "conditions on aggregates stand in HAVING" : NULL,
                        "the aggregate %s is not allowed in %s", name, s->place);
    if (a->is_distinct)
        return sql_not_yet(c, a->position, arena_printf(c->arena, "%s(DISTINCT ...)", name),
                           "group by the column in a subquery first");
    if (a->n_args != 1)
        return sql_fail(c, a->position, is_named(a, "COUNT") ? "COUNT(*) or COUNT(x)" : NULL,
                        "wrong number of arguments of %s: %d", name, a->n_args);
    if (is_star && !is_named(a, "COUNT"))
        return sql_fail(c, a->args[0]->position, "only COUNT takes *", "%s(*) means nothing", name);
    g = arena_new(c->arena, struct agg);
    s->in_aggregate = true;
    ok = true;
    if (is_star) {
        g->op = AGG_COUNT_STAR;
        g->type = (struct sql_type){.kind = SQL_BIGINT, .not_null = true};
    } else {
        g->arg = bind_expr(s, a->args[0]);
        ok = g->arg != NULL && agg_choose(c, a, g);
    }
    if (ok && a->filter != NULL) {
        const char *place = s->place;
        s->place = "FILTER (WHERE ...)";
        g->filter = bind_predicate(s, a->filter);
        s->place = place;
        ok = g->filter != NULL;
    }
    s->in_aggregate = false;
    return ok ? agg_column(s, g, a->position) : NULL;
}

/* ---- GROUP BY TUMBLE(t, i) and its companions ---- */

static bool same_arguments(const struct ast *a, const struct ast *b)
{
    if (a->n_args != b->n_args) return false;
    for (int i = 0; i < a->n_args; i++) {
        const struct ast *x = a->args[i], *y = b->args[i];
        if (x->kind != y->kind) return false;
        if (x->kind == AST_NAME && !bytes_equal(x->name, y->name)) return false;
        if (x->kind == AST_LITERAL && (x->type.kind != y->type.kind || x->value.i != y->value.i)) return false;
        if (x->kind != AST_NAME && x->kind != AST_LITERAL) return false;
    }
    return true;
}

static struct expr *bind_group_window_call(struct scope *s, const struct ast *a, enum window_role role)
{
    struct sql_ctx *c = s->b->c;
    const char *name = sql_shown(c, a->name);
    struct relation *r = s->relation;

    if (s->window == NULL || s->in_aggregate)
        return sql_fail(c, a->position,
                        role == ROLE_NONE
                            ? "in GROUP BY, or as FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND))"
                            : "it belongs to GROUP BY TUMBLE(t, INTERVAL '10' SECOND)",
                        "%s is not allowed here", name);
    if (!same_arguments(a, s->window))
        return sql_fail(c, a->position, "the arguments must be those in GROUP BY",
                        "%s of a window that is not in GROUP BY", name);
    if (role == ROLE_NONE)
        return sql_fail(c, a->position, "TUMBLE_START, TUMBLE_END and TUMBLE_ROWTIME give its times",
                        "TUMBLE has no value of its own");
    for (int i = r->n_visible; i < r->plan->n_columns; i++) {
        if (r->roles[i] == role) return expr_column(c, i, r->plan->columns[i].type, a->position);
    }
    check(false);
    return NULL;
}

/* ---- functions with a check of their own ---- */

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

static struct expr *extract(struct scope *s, const char *unit, struct expr *t, const char *shown, int position)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[2] = {expr_string(c, unit, position), as_time(c, t)};

    if (args[0] == NULL || args[1] == NULL) return NULL;
    if (!type_is_time(args[1]->type))
        return sql_fail(c, t->position, NULL, "%s does not take %s", shown, type_shown(c, t->type));
    return fn_resolve(c, "$extract", shown, args, 2, position);
}

static struct expr *bind_extract(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"YEAR",   "QUARTER", "MONTH",       "WEEK", "DAY", "HOUR",
                                        "MINUTE", "SECOND",  "MILLISECOND", "DOW",  "DOY", "EPOCH"};
    struct sql_ctx *c = s->b->c;
    struct expr *t = bind_expr(s, a->args[1]);

    if (t == NULL || !check_unit(c, a->args[0], units, ARRAY_LEN(units), "EXTRACT")) return NULL;
    return extract(s, arena_printf(c->arena, "%.*s", BYTES_ARG(a->args[0]->value.s)), t, "EXTRACT", a->position);
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
static struct expr *bind_floor_to(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"YEAR", "QUARTER", "MONTH",  "WEEK",       "DAY",
                                        "HOUR", "MINUTE",  "SECOND", "MILLISECOND"};
    struct sql_ctx *c = s->b->c;
    bool is_ceil = is_named(a, "$ceil");
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
static struct expr *bind_timestamp_call(struct scope *s, const struct ast *a)
{
    static const char *const units[] = {"MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK"};
    struct sql_ctx *c = s->b->c;
    bool is_diff = is_named(a, "TIMESTAMPDIFF");
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
static struct expr *bind_trim_of(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[3] = {bind_expr(s, a->args[0]), NULL, NULL};
    const struct ast *what = a->args[1];
    struct bytes ch;
    const char *one, *name = is_named(a, "LTRIM") ? "LTRIM" : is_named(a, "RTRIM") ? "RTRIM" : "TRIM";

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

static struct expr *bind_if(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[3];

    if (a->n_args != 3)
        return sql_fail(c, a->position, "IF(condition, then, else)", "wrong number of arguments of IF: %d", a->n_args);
    for (int i = 0; i < 3; i++) {
        args[i] = bind_expr(s, a->args[i]);
        if (args[i] == NULL) return NULL;
    }
    if (args[0]->type.kind == SQL_NULL) args[0] = cast_implicit(c, args[0], (struct sql_type){.kind = SQL_BOOLEAN});
    if (args[0] == NULL) return NULL;
    if (args[0]->type.kind != SQL_BOOLEAN)
        return sql_fail(c, args[0]->position, NULL, "the first argument of IF must be a condition (BOOLEAN), not %s",
                        type_shown(c, args[0]->type));
    return bind_case(c, args, 3, a->position);
}

/* YEAR(t) and its kind. */
static const char *extract_shorthand(const struct ast *a)
{
    static const char *const names[][2] = {
        {"YEAR", "YEAR"},      {"QUARTER", "QUARTER"}, {"MONTH", "MONTH"}, {"WEEK", "WEEK"},     {"DAYOFYEAR", "DOY"},
        {"DAYOFMONTH", "DAY"}, {"DAYOFWEEK", "DOW"},   {"HOUR", "HOUR"},   {"MINUTE", "MINUTE"}, {"SECOND", "SECOND"}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (is_named(a, names[i][0])) return names[i][1];
    }
    return NULL;
}

static const char *const aliases[][2] = {{"CHARACTER_LENGTH", "CHAR_LENGTH"},
                                         {"LENGTH", "CHAR_LENGTH"},
                                         {"IFNULL", "COALESCE"},
                                         {"POW", "POWER"},
                                         {"LOCATE", "POSITION"},
                                         {"INSTR", "POSITION"}};

static bool is_alias(const struct ast *a)
{
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (is_named(a, aliases[i][0])) return true;
    }
    return false;
}

/* The name in fn.def of another spelling, or NULL. INSTR(x, part) has its arguments the other way round. */
static const char *function_alias(const struct ast *a, struct expr **args, int n)
{
    for (int i = 0; is_named(a, "MOD") && i < n; i++) {
        if (args[i]->type.kind == SQL_DOUBLE) return "%";
    }
    if (is_named(a, "INSTR") && n == 2) {
        struct expr *first = args[0];
        args[0] = args[1];
        args[1] = first;
    }
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (is_named(a, aliases[i][0])) return aliases[i][1];
    }
    return NULL;
}

static void *unknown_function(struct scope *s, const struct ast *a, struct suggest *near)
{
    static const char *const later[] = {"HOP",
                                        "HOP_START",
                                        "HOP_END",
                                        "HOP_ROWTIME",
                                        "SESSION",
                                        "SESSION_START",
                                        "SESSION_END",
                                        "SESSION_ROWTIME",
                                        "CUMULATE",
                                        "TUMBLE_PROCTIME",
                                        "PROCTIME",
                                        "NOW",
                                        "CURRENT_TIMESTAMP",
                                        "LOCALTIMESTAMP",
                                        "CURRENT_DATE",
                                        "LISTAGG",
                                        "COLLECT",
                                        "FIRST_VALUE",
                                        "LAST_VALUE",
                                        "STDDEV_POP",
                                        "STDDEV_SAMP",
                                        "VAR_POP",
                                        "VAR_SAMP",
                                        "ROW_NUMBER",
                                        "RANK",
                                        "DENSE_RANK",
                                        "LAG",
                                        "LEAD",
                                        "NTILE",
                                        "JSON_VALUE",
                                        "JSON_QUERY",
                                        "JSON_EXISTS",
                                        "CARDINALITY",
                                        "ELEMENT",
                                        "APPROX_COUNT_DISTINCT",
                                        "GROUPING",
                                        "RAND",
                                        "UUID",
                                        "MD5",
                                        "SHA256",
                                        "FROM_UNIXTIME",
                                        "CONCAT_WS",
                                        "INITCAP",
                                        "CURRENT_WATERMARK",
                                        "TO_DATE"};
    struct sql_ctx *c = s->b->c;

    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (is_named(a, later[i])) return sql_not_yet(c, a->position, later[i], NULL);
        suggest_add(near, bytes_str(later[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(aggregate_names); i++)
        suggest_add(near, bytes_str(aggregate_names[i]));
    return sql_fail(c, a->position, suggest_hint(c, near, NULL), "unknown function '%s'", sql_shown(c, a->name));
}

/* The checks of arguments that types do not express. */
static bool check_literals(struct sql_ctx *c, const char *name, struct expr **args, int n)
{
    if (strcmp(name, "TO_TIMESTAMP_LTZ") == 0 && n == 2 &&
        (args[1]->kind != EXPR_LITERAL || args[1]->literal.is_null || !type_is_integer(args[1]->type) ||
         (args[1]->literal.i != 0 && args[1]->literal.i != 3))) {
        sql_fail(c, args[1]->position, "TO_TIMESTAMP_LTZ(seconds, 0) or TO_TIMESTAMP_LTZ(milliseconds, 3)",
                 "the precision in TO_TIMESTAMP_LTZ is 0 or 3");
        return false;
    }
    return true;
}

static struct expr *bind_function(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr **args = arena_array(c->arena, (size_t)a->n_args + 1, sizeof(*args));
    const char *name, *unit = extract_shorthand(a), *shown = sql_shown(c, a->name);
    struct suggest near;

    suggest_init(&near, a->name);
    if (unit == NULL && fn_find_name(c, a->name, &near) == NULL && !is_alias(a)) return unknown_function(s, a, &near);
    for (int i = 0; i < a->n_args; i++) {
        args[i] = bind_expr(s, a->args[i]);
        if (args[i] == NULL) return NULL;
    }
    if (unit != NULL) {
        if (a->n_args != 1)
            return sql_fail(c, a->position, NULL, "wrong number of arguments of %s: %d", shown, a->n_args);
        return extract(s, unit, args[0], shown, a->position);
    }
    name = function_alias(a, args, a->n_args);
    if (name == NULL) name = fn_find_name(c, a->name, &near);
    if (!check_literals(c, name, args, a->n_args)) return NULL;
    return fn_resolve(c, name, shown, args, a->n_args, a->position);
}

struct expr *bind_call(struct scope *s, const struct ast *a)
{
    static const struct {
        const char *name;
        enum window_role role;
    } windows[] = {
        {"TUMBLE", ROLE_NONE}, {"TUMBLE_START", ROLE_START}, {"TUMBLE_END", ROLE_END}, {"TUMBLE_ROWTIME", ROLE_TIME}};
    struct sql_ctx *c = s->b->c;

    if (call_is_aggregate(a)) return bind_aggregate(s, a);
    if (a->filter != NULL)
        return sql_fail(c, a->filter->position, NULL, "FILTER belongs to an aggregate, not to %s",
                        sql_shown(c, a->name));
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        if (is_named(a, windows[i].name)) return bind_group_window_call(s, a, windows[i].role);
    }
    if (a->is_distinct)
        return sql_fail(c, a->position, NULL, "DISTINCT belongs to an aggregate, not to %s", sql_shown(c, a->name));
    if (a->name.ptr[0] == '$' && !a->is_quoted) {
        if (is_named(a, "$extract")) return bind_extract(s, a);
        return bind_floor_to(s, a);
    }
    if (!a->is_quoted && (is_named(a, "TIMESTAMPDIFF") || is_named(a, "TIMESTAMPADD")))
        return bind_timestamp_call(s, a);
    if (!a->is_quoted && a->n_args == 2 && (is_named(a, "TRIM") || is_named(a, "LTRIM") || is_named(a, "RTRIM")))
        return bind_trim_of(s, a);
    if (is_named(a, "IF")) return bind_if(s, a);
    return bind_function(s, a);
}
