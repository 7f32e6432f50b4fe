/* bind_agg.c: aggregates, and the group windows of the older spelling. */
#include "flow/sql/bind.h"

#include "base/text.h"

static const char *const aggregate_names[] = {"COUNT", "SUM", "AVG", "MIN", "MAX"};

bool call_is_aggregate(const struct ast *a)
{
    for (size_t i = 0; i < ARRAY_LEN(aggregate_names); i++) {
        if (a->kind == AST_CALL && call_is_named(a, aggregate_names[i])) return true;
    }
    return false;
}

void suggest_aggregates(struct suggest *s)
{
    for (size_t i = 0; i < ARRAY_LEN(aggregate_names); i++)
        suggest_add(s, bytes_str(aggregate_names[i]));
}

bool call_is_group_window(const struct ast *a)
{
    return a->kind == AST_CALL && (call_is_named(a, "TUMBLE") || call_is_named(a, "HOP"));
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
    if (call_is_named(a, "COUNT")) {
        g->op = AGG_COUNT;
        g->type = (struct sql_type){.kind = SQL_BIGINT, .not_null = true};
        return true;
    }
    if (call_is_named(a, "MIN") || call_is_named(a, "MAX")) {
        g->op = call_is_named(a, "MIN") ? AGG_MIN : AGG_MAX;
        g->type = t;
        g->type.not_null = g->type.is_rowtime = false;
        if (t.kind != SQL_BOOLEAN) return true;
        sql_fail(c, g->arg->position, "CAST(x AS INT) makes 0 and 1 of it", "%s does not take BOOLEAN",
                 g->op == AGG_MIN ? "MIN" : "MAX");
        return false;
    }
    if (!is_integer && t.kind != SQL_DOUBLE) {
        sql_fail(c, g->arg->position, t.kind == SQL_STRING ? "CAST(x AS BIGINT) makes a number of a string" : NULL,
                 "%s does not take %s", call_is_named(a, "SUM") ? "SUM" : "AVG", type_shown(c, t));
        return false;
    }
    if (call_is_named(a, "SUM"))
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

struct expr *bind_aggregate(struct scope *s, const struct ast *a)
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
        return sql_fail(c, a->position, call_is_named(a, "COUNT") ? "COUNT(*) or COUNT(x)" : NULL,
                        "wrong number of arguments of %s: %d", name, a->n_args);
    if (is_star && !call_is_named(a, "COUNT"))
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

/* ---- GROUP BY TUMBLE(t, i), HOP(t, i, j) and their companions ---- */

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

struct expr *bind_group_window_call(struct scope *s, const struct ast *a, enum window_role role)
{
    struct sql_ctx *c = s->b->c;
    const char *name = sql_shown(c, a->name);
    struct relation *r = s->relation;

    bool is_hop = a->name.len >= 3 && text_equal_nocase(bytes_slice(a->name, 0, 3), BYTES_LIT("HOP"));
    const char *window = is_hop ? "HOP" : "TUMBLE";

    if (s->window == NULL || s->in_aggregate)
        return sql_fail(c, a->position,
                        role != ROLE_NONE ? arena_printf(c->arena, "it belongs to GROUP BY %s(t, ...)", window)
                        : is_hop
                            ? "in GROUP BY, or as FROM TABLE(HOP(TABLE s, DESCRIPTOR(t), INTERVAL '5' SECOND, "
                              "INTERVAL '10' SECOND))"
                            : "in GROUP BY, or as FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND))",
                        "%s is not allowed here", name);
    if (!same_arguments(a, s->window) || !call_is_named(s->window, window))
        return sql_fail(c, a->position, "the arguments must be those in GROUP BY",
                        "%s of a window that is not in GROUP BY", name);
    if (role == ROLE_NONE)
        return sql_fail(
            c, a->position,
            arena_printf(c->arena, "%s_START, %s_END and %s_ROWTIME give its times", window, window, window),
            "%s has no value of its own", window);
    for (int i = r->n_visible; i < r->plan->n_columns; i++) {
        if (r->roles[i] == role) return expr_column(c, i, r->plan->columns[i].type, a->position);
    }
    check(false);
    return NULL;
}
