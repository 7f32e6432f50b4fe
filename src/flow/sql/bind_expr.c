/* bind_expr.c: expressions: columns, operators, CASE, CAST, IN, BETWEEN. SQL's richer forms become the few operations
 * of fn.def here, so that the executor knows none of them. */
#include "flow/sql/bind.h"

#include "base/text.h"

static void *unknown_column(struct scope *s, struct bytes name, int position)
{
    struct relation *r = s->relation;
    struct suggest near;
    const char *otherwise = NULL;

    suggest_init(&near, name);
    for (int i = 0; r != NULL && i < r->n_visible; i++)
        suggest_add(&near, r->plan->columns[i].name);
    if (bytes_equal_str(name, "window_start") || bytes_equal_str(name, "window_end") ||
        bytes_equal_str(name, "window_time"))
        otherwise = "the window columns come with FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND))";
    for (int i = 0; s->computed_of != NULL && i < s->computed_of->n_columns; i++) {
        const struct stream_column *column = &s->computed_of->columns[i];
        if (column->source != COLUMN_COMPUTED || !bytes_equal(column->name, name)) continue;
        return sql_fail(s->b->c, position, "repeat its expression",
                        "a computed column cannot read the computed column '%s'", sql_shown(s->b->c, name));
    }
    return sql_fail(s->b->c, position, suggest_hint(s->b->c, &near, otherwise), "unknown column '%s'",
                    sql_shown(s->b->c, name));
}

void *unknown_qualifier(struct binder *b, const struct relation *r, struct bytes qualifier, int position)
{
    const char *hint = NULL;
    if (r != NULL && !bytes_is_null(r->name))
        hint = arena_printf(b->c->arena, "FROM calls it '%s'", sql_shown(b->c, r->name));
    return sql_fail(b->c, position, hint, "there is no stream '%s' in FROM", sql_shown(b->c, qualifier));
}

struct expr *bind_column(struct scope *s, struct bytes qualifier, struct bytes name, int position)
{
    struct sql_ctx *c = s->b->c;
    struct relation *r = s->relation;
    int found = -1;

    if (bytes_is_null(qualifier)) {
        for (int i = 0; i < s->n_aliases; i++) {
            if (bytes_equal(s->aliases[i].name, name)) return s->alias_exprs[i];
        }
    } else if (r == NULL || bytes_is_null(r->name) || !bytes_equal(r->name, qualifier)) {
        return unknown_qualifier(s->b, r, qualifier, position);
    }
    for (int i = 0; r != NULL && i < r->n_visible; i++) {
        if (!bytes_equal(r->plan->columns[i].name, name)) continue;
        if (found >= 0)
            return sql_fail(c, position, "give them different names with AS", "the column '%s' is ambiguous",
                            sql_shown(c, name));
        found = i;
    }
    if (found < 0) return unknown_column(s, name, position);
    return expr_column(c, found, r->plan->columns[found].type, position);
}

/* args[from..to) joined by AND or OR, as a balanced tree: deep only by the logarithm. */
static struct expr *balanced(struct sql_ctx *c, enum fn_op op, struct expr **args, int from, int to, int position)
{
    struct expr *both[2];
    int middle = from + (to - from) / 2;

    if (to - from == 1) return args[from];
    both[0] = balanced(c, op, args, from, middle, position);
    both[1] = both[0] == NULL ? NULL : balanced(c, op, args, middle, to, position);
    if (both[1] == NULL) return NULL;
    return expr_call(
        c, op, (struct sql_type){.kind = SQL_BOOLEAN, .not_null = both[0]->type.not_null && both[1]->type.not_null},
        both, 2, position);
}

struct expr *bind_junction(struct sql_ctx *c, enum fn_op op, struct expr **args, int n, int position)
{
    check(n > 0);
    return balanced(c, op, args, 0, n, position);
}

static struct expr *to_boolean(struct scope *s, struct expr *e, const char *what)
{
    if (e == NULL) return NULL;
    if (e->type.kind == SQL_NULL) return expr_null(s->b->c, (struct sql_type){.kind = SQL_BOOLEAN}, e->position);
    if (e->type.kind == SQL_BOOLEAN) return e;
    return sql_fail(s->b->c, e->position, NULL, "%s must be a condition (BOOLEAN), not %s", what,
                    type_shown(s->b->c, e->type));
}

struct expr *bind_predicate(struct scope *s, const struct ast *a)
{
    return to_boolean(s, bind_expr(s, a), s->place);
}

static struct expr *bind_and_or(struct scope *s, const struct ast *a)
{
    bool is_and = bytes_equal_str(a->name, "AND");
    struct expr **args = arena_array(s->b->c->arena, (size_t)a->n_args, sizeof(*args));

    for (int i = 0; i < a->n_args; i++) {
        args[i] = to_boolean(s, bind_expr(s, a->args[i]), is_and ? "a side of AND" : "a side of OR");
        if (args[i] == NULL) return NULL;
    }
    return bind_junction(s->b->c, is_and ? FN_AND : FN_OR, args, a->n_args, a->position);
}

struct compare_row {
    const char *name;
    enum fn_op i, d, s, b; /* b: FN_COUNT where booleans have none */
};
static const struct compare_row compares[] = {
    {"=", FN_EQ_I, FN_EQ_D, FN_EQ_S, FN_EQ_B},  {"<>", FN_NE_I, FN_NE_D, FN_NE_S, FN_NE_B},
    {"<", FN_LT_I, FN_LT_D, FN_LT_S, FN_COUNT}, {"<=", FN_LE_I, FN_LE_D, FN_LE_S, FN_COUNT},
    {">", FN_GT_I, FN_GT_D, FN_GT_S, FN_COUNT}, {">=", FN_GE_I, FN_GE_D, FN_GE_S, FN_COUNT},
};

static const struct compare_row *find_compare(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(compares); i++) {
        if (bytes_equal_str(name, compares[i].name)) return &compares[i];
    }
    return NULL;
}

struct expr *bind_compare(struct sql_ctx *c, const char *name, struct expr *left, struct expr *right, int position)
{
    const struct compare_row *row = find_compare(bytes_str(name));
    struct sql_type both;
    struct expr *args[2];
    enum fn_op op;

    check(row != NULL);
    if (left == NULL || right == NULL) return NULL;
    left = cast_time_literal(c, left, right->type);
    right = left == NULL ? NULL : cast_time_literal(c, right, left->type);
    if (right == NULL) return NULL;
    if (!type_common(left->type, right->type, &both))
        return sql_fail(c, position, "CAST one of them", "%s and %s cannot be compared", type_shown(c, left->type),
                        type_shown(c, right->type));
    if (both.kind == SQL_NULL) both.kind = SQL_BIGINT;
    args[0] = cast_implicit(c, left, both);
    args[1] = cast_implicit(c, right, both);
    if (args[0] == NULL || args[1] == NULL) return NULL;
    switch (sql_phys(both.kind)) {
    case PHYS_F64: op = row->d; break;
    case PHYS_STR: op = row->s; break;
    case PHYS_BOOL: op = row->b; break;
    default: op = row->i; break;
    }
    if (op == FN_COUNT)
        return sql_fail(c, position, "only = and <> compare conditions", "%s does not take BOOLEAN", name);
    return expr_call(c, op, (struct sql_type){.kind = SQL_BOOLEAN, .not_null = both.not_null}, args, 2, position);
}

static struct expr *negate(struct sql_ctx *c, struct expr *e, int position)
{
    if (e == NULL) return NULL;
    return expr_call(c, FN_NOT, (struct sql_type){.kind = SQL_BOOLEAN, .not_null = e->type.not_null}, &e, 1, position);
}

/* -x of an interval: at once for a literal, else by -1. */
static struct expr *negate_interval(struct sql_ctx *c, struct expr *e, int position)
{
    struct expr *args[2] = {e, NULL};
    if (e->kind == EXPR_LITERAL && !e->literal.is_null) {
        struct sql_value v = e->literal;
        v.i = -v.i; /* an interval literal is never INT64_MIN: its text has 15 digits a field */
        return expr_literal(c, v, e->type, position);
    }
    args[1] = expr_i64(c, SQL_BIGINT, -1, position);
    return expr_call(c, FN_MUL_VI, e->type, args, 2, position);
}

/* + - * where an INTERVAL is involved: the orders that fn.def does not list. Falls through to fn.def with *args
 * changed. */
static struct expr *bind_arithmetic(struct sql_ctx *c, const char *name, struct expr **args, int position)
{
    struct sql_type l, r;

    if (args[0] == NULL || args[1] == NULL) return NULL;
    l = args[0]->type;
    r = args[1]->type;
    if (l.kind == SQL_INTERVAL && ((name[0] == '+' && (type_is_time(r) || r.kind == SQL_DATE)))) {
        struct expr *swapped[] = {args[1], args[0]};
        return fn_resolve(c, name, name, swapped, 2, position);
    }
    if (name[0] == '*' && r.kind == SQL_INTERVAL && type_is_integer(l)) {
        struct expr *swapped[] = {args[1], args[0]};
        return fn_resolve(c, name, name, swapped, 2, position);
    }
    if (name[0] == '-' && l.kind == SQL_INTERVAL && r.kind == SQL_INTERVAL) {
        struct expr *sum[] = {args[0], negate_interval(c, args[1], position)};
        return fn_resolve(c, "+", name, sum, 2, position);
    }
    if (name[0] == '-' && (type_is_time(l) || l.kind == SQL_DATE) && (type_is_time(r) || r.kind == SQL_DATE)) {
        struct sql_type both;
        if (!type_common(l, r, &both)) return NULL;
        if (both.kind == SQL_DATE) both = (struct sql_type){.kind = SQL_TIMESTAMP};
        args[0] = cast_implicit(c, args[0], both);
        args[1] = cast_implicit(c, args[1], both);
        return fn_resolve(c, "$tsdiff", name, args, 2, position);
    }
    return fn_resolve(c, name, name, args, 2, position);
}

static struct expr *bind_operator(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *args[3];
    const char *name = (const char *)a->name.ptr; /* operator names are string constants of the parser */

    if (strcmp(name, "AND") == 0 || strcmp(name, "OR") == 0) return bind_and_or(s, a);
    check(a->n_args >= 1 && a->n_args <= 3);
    for (int i = 0; i < a->n_args; i++) {
        args[i] = bind_expr(s, a->args[i]);
        if (args[i] == NULL) return NULL;
    }
    if (find_compare(a->name) != NULL) return bind_compare(c, name, args[0], args[1], a->position);
    if (strcmp(name, "NOT") == 0) return negate(c, to_boolean(s, args[0], "the argument of NOT"), a->position);
    if (strcmp(name, "$istrue") == 0 || strcmp(name, "$isfalse") == 0) {
        args[0] = to_boolean(s, args[0], "what IS TRUE or IS FALSE asks");
        return fn_resolve(c, name, "IS", args, 1, a->position);
    }
    if (strcmp(name, "$neg") == 0) {
        if (args[0]->type.kind == SQL_INTERVAL) return negate_interval(c, args[0], a->position);
        return fn_resolve(c, name, "-", args, 1, a->position);
    }
    if (strcmp(name, "$like") == 0) return fn_resolve(c, name, "LIKE", args, a->n_args, a->position);
    if (strcmp(name, "+") == 0 || strcmp(name, "-") == 0 || strcmp(name, "*") == 0)
        return bind_arithmetic(c, name, args, a->position);
    return fn_resolve(c, name, name[0] == '$' ? "IS NULL" : name, args, a->n_args, a->position);
}

struct expr *bind_case(struct sql_ctx *c, struct expr **args, int n, int position)
{
    struct sql_type type = {.kind = SQL_NULL, .not_null = true};

    check(n % 2 == 1);
    for (int i = 1; i < n; i = i == n - 2 ? n - 1 : i + 2) { /* the THENs, then the ELSE */
        struct sql_type both;
        if (!type_common(type, args[i]->type, &both))
            return sql_fail(c, args[i]->position, "CAST one of them",
                            "the results of CASE have no common type: %s and %s", type_shown(c, type),
                            type_shown(c, args[i]->type));
        type = both;
    }
    if (type.kind == SQL_NULL) return expr_null(c, (struct sql_type){.kind = SQL_NULL}, position);
    for (int i = 1; i < n; i = i == n - 2 ? n - 1 : i + 2) {
        args[i] = cast_implicit(c, args[i], type);
        if (args[i] == NULL) return NULL;
    }
    return expr_new(c, EXPR_CASE, type, args, n, position);
}

static struct expr *bind_case_ast(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    int n = a->n_args + (a->has_else ? 0 : 1);
    struct expr **args = arena_array(c->arena, (size_t)n, sizeof(*args));
    struct expr *operand = a->operand == NULL ? NULL : bind_expr(s, a->operand);

    if (a->operand != NULL && operand == NULL) return NULL;
    for (int i = 0; i < a->n_args; i++) {
        bool is_when = i % 2 == 0 && !(a->has_else && i == a->n_args - 1);
        args[i] = bind_expr(s, a->args[i]);
        if (args[i] == NULL) return NULL;
        if (is_when && operand != NULL)
            args[i] = bind_compare(c, "=", operand, args[i], args[i]->position);
        else if (is_when)
            args[i] = to_boolean(s, args[i], "WHEN");
        if (args[i] == NULL) return NULL;
    }
    if (!a->has_else) args[n - 1] = expr_null(c, (struct sql_type){.kind = SQL_NULL}, a->position);
    if (args[n - 1] == NULL) return NULL;
    return bind_case(c, args, n, a->position);
}

/* x IN (a, b) is x = a OR x = b; three-valued logic comes out right by itself. */
static struct expr *bind_in(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *x = bind_expr(s, a->args[0]);
    struct expr **args = arena_array(c->arena, (size_t)a->n_args, sizeof(*args));
    struct expr *result;

    if (x == NULL) return NULL;
    for (int i = 1; i < a->n_args; i++) {
        struct expr *item = bind_expr(s, a->args[i]);
        if (item == NULL) return NULL;
        args[i - 1] = bind_compare(c, "=", x, item, item->position);
        if (args[i - 1] == NULL) return NULL;
    }
    result = bind_junction(c, FN_OR, args, a->n_args - 1, a->position);
    return a->is_not ? negate(c, result, a->position) : result;
}

static struct expr *bind_between(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *x = bind_expr(s, a->args[0]);
    struct expr *low = x == NULL ? NULL : bind_expr(s, a->args[1]);
    struct expr *high = low == NULL ? NULL : bind_expr(s, a->args[2]);
    struct expr *both[2], *result;

    if (high == NULL) return NULL;
    both[0] = bind_compare(c, ">=", x, low, a->position);
    both[1] = both[0] == NULL ? NULL : bind_compare(c, "<=", x, high, a->position);
    if (both[1] == NULL) return NULL;
    result = bind_junction(c, FN_AND, both, 2, a->position);
    return a->is_not ? negate(c, result, a->position) : result;
}

/* a IS NOT DISTINCT FROM b: (a = b) IS TRUE OR (a IS NULL AND b IS NULL). */
static struct expr *bind_distinct(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *l = bind_expr(s, a->args[0]);
    struct expr *r = l == NULL ? NULL : bind_expr(s, a->args[1]);
    struct expr *equal, *nulls[2], *sides[2], *result;

    if (r == NULL) return NULL;
    equal = bind_compare(c, "=", l, r, a->position);
    if (equal == NULL) return NULL;
    /* The compared forms: a string literal next to a timestamp has become one. */
    nulls[0] = equal->args[0];
    nulls[1] = equal->args[1];
    for (int i = 0; i < 2; i++) {
        struct expr *one = nulls[i];
        nulls[i] = fn_resolve(c, "$isnull", "IS", &one, 1, a->position);
    }
    sides[0] = fn_resolve(c, "$istrue", "IS", &equal, 1, a->position);
    if (nulls[0] == NULL || nulls[1] == NULL || sides[0] == NULL) return NULL;
    sides[1] = bind_junction(c, FN_AND, nulls, 2, a->position);
    if (sides[1] == NULL) return NULL;
    result = bind_junction(c, FN_OR, sides, 2, a->position);
    return a->is_not ? result : negate(c, result, a->position);
}

static struct expr *bind_cast(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct expr *x = bind_expr(s, a->args[0]), *result;

    if (x == NULL) return NULL;
    result = cast_explicit(c, x, a->type, a->position);
    if (result == NULL || !a->is_try) return result;
    {
        struct sql_type type = result->type;
        type.not_null = false;
        return expr_new(c, EXPR_TRY, type, &result, 1, a->position);
    }
}

struct expr *bind_expr(struct scope *s, const struct ast *a)
{
    switch (a->kind) {
    case AST_NAME: return bind_column(s, a->qualifier, a->name, a->position);
    case AST_LITERAL: return expr_literal(s->b->c, a->value, a->type, a->position);
    case AST_OPERATOR: return bind_operator(s, a);
    case AST_CALL: return bind_call(s, a);
    case AST_CASE: return bind_case_ast(s, a);
    case AST_CAST: return bind_cast(s, a);
    case AST_IN: return bind_in(s, a);
    case AST_BETWEEN: return bind_between(s, a);
    case AST_IS_DISTINCT: return bind_distinct(s, a);
    case AST_STAR: return sql_fail(s->b->c, a->position, NULL, "'*' is not a value here");
    }
    check(false);
    return NULL;
}
