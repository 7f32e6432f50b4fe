/* bind_call.c: calls: which kind of function it is, functions with a check of their own, and all others by their entry
 * in fn.def. */
#include "flow/sql/bind.h"

#include "base/text.h"

bool call_is_named(const struct ast *a, const char *name)
{
    return text_equal_nocase(a->name, bytes_str(name));
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
        if (call_is_named(a, names[i][0])) return names[i][1];
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
        if (call_is_named(a, aliases[i][0])) return true;
    }
    return false;
}

/* The name in fn.def of another spelling, or NULL. INSTR(x, part) has its arguments the other way round. */
static const char *function_alias(const struct ast *a, struct expr **args, int n)
{
    for (int i = 0; call_is_named(a, "MOD") && i < n; i++) {
        if (args[i]->type.kind == SQL_DOUBLE) return "%";
    }
    if (call_is_named(a, "INSTR") && n == 2) {
        struct expr *first = args[0];
        args[0] = args[1];
        args[1] = first;
    }
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (call_is_named(a, aliases[i][0])) return aliases[i][1];
    }
    return NULL;
}

static void *unknown_function(struct scope *s, const struct ast *a, struct suggest *near)
{
    static const char *const later[] = {"SESSION",
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
        if (call_is_named(a, later[i])) return sql_not_yet(c, a->position, later[i], NULL);
        suggest_add(near, bytes_str(later[i]));
    }
    suggest_aggregates(near);
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
        return bind_extract_unit(s, unit, args[0], shown, a->position);
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
    } windows[] = {{"TUMBLE", ROLE_NONE},         {"TUMBLE_START", ROLE_START}, {"TUMBLE_END", ROLE_END},
                   {"TUMBLE_ROWTIME", ROLE_TIME}, {"HOP", ROLE_NONE},           {"HOP_START", ROLE_START},
                   {"HOP_END", ROLE_END},         {"HOP_ROWTIME", ROLE_TIME}};
    struct sql_ctx *c = s->b->c;

    if (call_is_aggregate(a)) return bind_aggregate(s, a);
    if (a->filter != NULL)
        return sql_fail(c, a->filter->position, NULL, "FILTER belongs to an aggregate, not to %s",
                        sql_shown(c, a->name));
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        if (call_is_named(a, windows[i].name)) return bind_group_window_call(s, a, windows[i].role);
    }
    if (a->is_distinct)
        return sql_fail(c, a->position, NULL, "DISTINCT belongs to an aggregate, not to %s", sql_shown(c, a->name));
    if (a->name.ptr[0] == '$' && !a->is_quoted) {
        if (call_is_named(a, "$extract")) return bind_extract(s, a);
        return bind_floor_to(s, a);
    }
    if (!a->is_quoted && (call_is_named(a, "TIMESTAMPDIFF") || call_is_named(a, "TIMESTAMPADD")))
        return bind_timestamp_call(s, a);
    if (!a->is_quoted && a->n_args == 2 &&
        (call_is_named(a, "TRIM") || call_is_named(a, "LTRIM") || call_is_named(a, "RTRIM")))
        return bind_trim_of(s, a);
    if (call_is_named(a, "IF")) return bind_if(s, a);
    return bind_function(s, a);
}
