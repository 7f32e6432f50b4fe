/* bind_select.c: one SELECT to a chain of plan nodes:
 *
 *   FROM -> [window of GROUP BY TUMBLE] -> WHERE -> aggregate -> HAVING -> project -> [sort -> trim] -> limit
 *
 * Everything is first bound over the input, where an aggregate is a column from AGG_BASE on. When the query aggregates,
 * the bound expressions are rewritten: what equals a key becomes the key's column, what is left of the input's columns
 * is "not grouped". So an expression in GROUP BY is found by meaning and not by spelling. */
#include "flow/sql/bind.h"

struct query {
    struct binder *b;
    const struct select_ast *ast;
    struct relation *input;
    const struct ast *window; /* GROUP BY TUMBLE(...), or NULL */
    struct sql_list items;    /* struct expr */
    struct sql_list names;    /* struct sql_column: the name of each item */
    struct sql_list keys;     /* struct expr */
    struct sql_list aggs;     /* struct agg */
    struct sql_list order;    /* struct expr, as in ast->order_by */
    struct expr *having;
    struct plan *aggregate; /* or NULL */
    bool is_windowed;
};

/* ---- FROM, WHERE ---- */

static bool bind_ctes(struct binder *b, const struct select_ast *s)
{
    struct cte *outer = b->ctes;
    for (int i = 0; i < s->ctes.n; i++) {
        const struct cte_ast *ast = s->ctes.items[i];
        struct cte *cte;
        for (cte = b->ctes; cte != outer; cte = cte->next) {
            if (!bytes_equal(cte->name, ast->name)) continue;
            sql_fail(b->c, ast->position, NULL, "'%s' is defined twice in WITH", sql_shown(b->c, ast->name));
            return false;
        }
        cte = arena_new(b->c->arena, struct cte);
        cte->name = ast->name;
        cte->relation = bind_select(b, ast->query);
        if (cte->relation == NULL) return false;
        cte->next = b->ctes;
        b->ctes = cte;
    }
    return true;
}

static bool find_group_window(struct query *q)
{
    for (int i = 0; i < q->ast->group_by.n; i++) {
        const struct ast *a = q->ast->group_by.items[i];
        if (!call_is_group_window(a)) continue;
        if (q->window != NULL) {
            sql_fail(q->b->c, a->position, NULL, "GROUP BY holds two windows");
            return false;
        }
        q->window = a;
    }
    if (q->window == NULL) return true;
    q->input = bind_group_window(q->b, q->input, q->window);
    return q->input != NULL;
}

static struct plan *new_filter(struct sql_ctx *c, struct plan *input, struct expr *predicate)
{
    struct plan *p = plan_new(c, PLAN_FILTER, input, input->n_columns);
    p->predicate = predicate;
    memcpy(p->columns, input->columns, (size_t)input->n_columns * sizeof(*p->columns));
    p->rowtime = input->rowtime;
    return p;
}

/* A condition that does not ask about the window goes below it: fewer rows get windows. */
static struct plan *add_filter(struct sql_ctx *c, struct plan *input, struct expr *predicate)
{
    if (input->kind == PLAN_WINDOW) {
        bool *mark = arena_array(c->arena, (size_t)input->n_columns, sizeof(*mark));
        int below = input->input->n_columns;
        expr_mark(predicate, mark, input->n_columns);
        if (!mark[below] && !mark[below + 1] && !mark[below + 2]) {
            struct plan *window = arena_new(c->arena, struct plan);
            *window = *input; /* the old node may belong to a WITH query */
            window->input = new_filter(c, input->input, predicate);
            return window;
        }
    }
    return new_filter(c, input, predicate);
}

static struct scope scope_of(struct query *q, const char *place, bool has_aggregates)
{
    return (struct scope){
        .b = q->b, .relation = q->input, .place = place, .aggs = has_aggregates ? &q->aggs : NULL, .window = q->window};
}

static bool bind_where(struct query *q)
{
    struct scope s = scope_of(q, "WHERE", false);
    struct expr *predicate;
    struct relation *filtered;

    if (q->ast->where == NULL) return true;
    predicate = bind_predicate(&s, q->ast->where);
    if (predicate == NULL) return false;
    filtered = arena_new(q->b->c->arena, struct relation);
    *filtered = *q->input;
    filtered->plan = add_filter(q->b->c, q->input->plan, predicate);
    q->input = filtered;
    return true;
}

/* ---- GROUP BY ---- */

static void push_key(struct query *q, struct expr *key)
{
    if (key == NULL) return; /* failed; the caller asks the context */
    for (int i = 0; i < q->keys.n; i++) {
        if (expr_equal(q->keys.items[i], key)) return;
    }
    sql_list_push(q->b->c, &q->keys, key);
}

/* The select item a name in GROUP BY means, when the input has no such column; NULL: none, or failed. */
static const struct ast *find_alias(struct query *q, const struct ast *a)
{
    const struct select_item *found = NULL;

    if (a->kind != AST_NAME || !bytes_is_null(a->qualifier)) return NULL;
    for (int i = 0; i < q->input->n_visible; i++) {
        if (bytes_equal(q->input->plan->columns[i].name, a->name)) return NULL;
    }
    for (int i = 0; i < q->ast->items.n; i++) {
        const struct select_item *item = q->ast->items.items[i];
        if (bytes_is_null(item->alias) || !bytes_equal(item->alias, a->name)) continue;
        if (found != NULL)
            return sql_fail(q->b->c, a->position, NULL, "the alias '%s' is ambiguous", sql_shown(q->b->c, a->name));
        found = item;
    }
    return found == NULL ? NULL : found->expr;
}

static bool bind_group_item(struct query *q, const struct ast *a)
{
    struct sql_ctx *c = q->b->c;
    struct scope s = scope_of(q, "GROUP BY", false);
    const struct ast *aliased;
    struct expr *e;

    if (a == q->window) {
        for (int i = q->input->n_visible; i < q->input->plan->n_columns; i++)
            push_key(q, expr_column(c, i, q->input->plan->columns[i].type, a->position));
        return !c->failed;
    }
    if (a->kind == AST_LITERAL && a->type.kind != SQL_STRING) {
        sql_fail(c, a->position, "name the column or repeat the expression", "GROUP BY takes no positions");
        return false;
    }
    aliased = find_alias(q, a);
    if (c->failed) return false;
    e = bind_expr(&s, aliased != NULL ? aliased : a);
    if (e == NULL) return false;
    if (e->type.kind == SQL_NULL) {
        sql_fail(c, a->position, NULL, "NULL has no type here");
        return false;
    }
    push_key(q, e);
    return true;
}

/* ---- select list ---- */

static bool push_item(struct query *q, struct expr *e, struct bytes name, int position)
{
    struct sql_ctx *c = q->b->c;
    struct sql_column *column = arena_new(c->arena, struct sql_column);

    if (e == NULL) return false;
    if (e->type.kind == SQL_NULL) {
        sql_fail(c, position, "give it one: CAST(NULL AS STRING)", "NULL has no type here");
        return false;
    }
    if (q->items.n >= LIMIT_SQL_COLUMNS_MAX) {
        sql_fail(c, position, NULL, "more than %d columns", LIMIT_SQL_COLUMNS_MAX);
        return false;
    }
    if (bytes_is_null(name)) name = bytes_str(arena_printf(c->arena, "EXPR$%d", q->items.n));
    column->name = name;
    column->type = e->type;
    sql_list_push(c, &q->items, e);
    sql_list_push(c, &q->names, column);
    return true;
}

static bool bind_star(struct query *q, const struct ast *a)
{
    struct relation *r = q->input;

    if (!bytes_is_null(a->qualifier) && (bytes_is_null(r->name) || !bytes_equal(r->name, a->qualifier))) {
        unknown_qualifier(q->b, r, a->qualifier, a->position);
        return false;
    }
    for (int i = 0; i < r->n_visible; i++) {
        const struct sql_column *column = &r->plan->columns[i];
        if (!push_item(q, expr_column(q->b->c, i, column->type, a->position), column->name, a->position)) return false;
    }
    return true;
}

static bool bind_items(struct query *q)
{
    struct scope s = scope_of(q, "the select list", true);

    for (int i = 0; i < q->ast->items.n; i++) {
        const struct select_item *item = q->ast->items.items[i];
        struct bytes name = item->alias;
        if (item->expr->kind == AST_STAR) {
            if (!bind_star(q, item->expr)) return false;
            continue;
        }
        if (bytes_is_null(name) && item->expr->kind == AST_NAME) name = item->expr->name;
        if (!push_item(q, bind_expr(&s, item->expr), name, item->position)) return false;
    }
    return true;
}

/* ---- HAVING, ORDER BY ---- */

static struct expr *bind_order_item(struct query *q, struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = q->b->c;
    struct expr *e;

    if (a->kind == AST_LITERAL && type_is_integer(a->type)) {
        if (a->value.i < 1 || a->value.i > q->items.n)
            return sql_fail(c, a->position, NULL, "ORDER BY position %lld is not in the select list of %d columns",
                            (long long)a->value.i, q->items.n);
        return q->items.items[a->value.i - 1];
    }
    e = bind_expr(s, a);
    if (e != NULL && e->type.kind == SQL_NULL) return sql_fail(c, a->position, NULL, "NULL has no type here");
    return e;
}

static bool bind_having_and_order(struct query *q)
{
    struct scope s = scope_of(q, "HAVING", true);

    if (q->ast->having != NULL) {
        q->having = bind_predicate(&s, q->ast->having);
        if (q->having == NULL) return false;
    }
    if (q->ast->order_by.n > 0) {
        struct sql_column *aliases = arena_array(q->b->c->arena, (size_t)q->items.n, sizeof(*aliases));
        for (int i = 0; i < q->names.n; i++)
            aliases[i] = *(struct sql_column *)q->names.items[i];
        s.place = "ORDER BY";
        s.aliases = aliases;
        s.alias_exprs = (struct expr **)q->items.items;
        s.n_aliases = q->items.n;
    }
    for (int i = 0; i < q->ast->order_by.n; i++) {
        const struct order_item *item = q->ast->order_by.items[i];
        struct expr *e = bind_order_item(q, &s, item->expr);
        if (e == NULL) return false;
        sql_list_push(q->b->c, &q->order, e);
    }
    return true;
}

/* ---- aggregate ---- */

static struct bytes rendered(struct sql_ctx *c, const struct expr *e, const struct plan *input)
{
    struct buf text;
    struct bytes out;

    buf_init(&text, 200);
    expr_render(&text, e, input->columns, input->n_columns);
    out = arena_copy(c->arena, buf_bytes(&text));
    buf_deinit(&text);
    return out;
}

static const char *const agg_names[] = {
    [AGG_COUNT_STAR] = "COUNT(*)", [AGG_COUNT] = "COUNT", [AGG_SUM_I] = "SUM", [AGG_SUM_D] = "SUM",
    [AGG_AVG_I] = "AVG",           [AGG_AVG_D] = "AVG",   [AGG_MIN] = "MIN",   [AGG_MAX] = "MAX",
};

static struct bytes agg_name(struct sql_ctx *c, const struct agg *g, const struct plan *input)
{
    const char *out = agg_names[g->op];
    if (g->arg != NULL) out = arena_printf(c->arena, "%s(%.*s)", out, BYTES_ARG(rendered(c, g->arg, input)));
    if (g->filter != NULL)
        out = arena_printf(c->arena, "%s FILTER (WHERE %.*s)", out, BYTES_ARG(rendered(c, g->filter, input)));
    return bytes_str(out);
}

/* Which keys are window columns; false: half a window. */
static bool find_window_keys(struct query *q, struct plan *p)
{
    const struct relation *r = q->input;
    int any = -1;

    for (int i = 0; i < q->keys.n; i++) {
        const struct expr *key = q->keys.items[i];
        uint8_t role = key->kind == EXPR_COLUMN ? r->roles[key->column] : ROLE_NONE;
        if (role == ROLE_START) p->window_start_key = i;
        if (role == ROLE_END) p->window_end_key = i;
        if (role == ROLE_TIME) p->window_time_key = i;
        if (role != ROLE_NONE && any < 0) any = key->position;
    }
    q->is_windowed = p->window_start_key >= 0 && p->window_end_key >= 0;
    if (any >= 0 && !q->is_windowed) {
        sql_fail(q->b->c, any, "GROUP BY window_start, window_end",
                 "window_start and window_end stand in GROUP BY together");
        return false;
    }
    if (q->is_windowed) p->window = r->window;
    return true;
}

static bool build_aggregate(struct query *q)
{
    struct sql_ctx *c = q->b->c;
    struct plan *input = q->input->plan, *p = plan_new(c, PLAN_AGGREGATE, input, q->keys.n + q->aggs.n);

    if (p->n_columns > 2 * LIMIT_SQL_COLUMNS_MAX) {
        sql_fail(c, q->ast->position, NULL, "more than %d columns", LIMIT_SQL_COLUMNS_MAX);
        return false;
    }
    if (q->input->is_updating) {
        sql_not_yet(c, q->ast->position, "an aggregate over an updating query",
                    "the query below groups without a window");
        return false;
    }
    p->keys = (struct expr **)q->keys.items;
    p->n_keys = q->keys.n;
    p->n_aggs = q->aggs.n;
    p->aggs = arena_array(c->arena, (size_t)q->aggs.n + 1, sizeof(*p->aggs));
    if (!find_window_keys(q, p)) return false;
    for (int i = 0; i < q->keys.n; i++) {
        struct sql_column *column = &p->columns[i];
        column->name = rendered(c, p->keys[i], input);
        column->type = p->keys[i]->type;
        column->type.is_rowtime = i == p->window_time_key;
    }
    for (int i = 0; i < q->aggs.n; i++) {
        p->aggs[i] = *(struct agg *)q->aggs.items[i];
        p->columns[q->keys.n + i] = (struct sql_column){agg_name(c, &p->aggs[i], input), p->aggs[i].type};
    }
    plan_set_rowtime(p);
    q->aggregate = p;
    return true;
}

/* From the input's columns to the aggregate's. NULL: failed. */
static struct expr *rewrite(struct query *q, const struct expr *e)
{
    struct sql_ctx *c = q->b->c;
    struct plan *p = q->aggregate;
    struct expr **args, *copy;

    for (int i = 0; i < p->n_keys; i++) {
        if (!expr_equal(e, p->keys[i])) continue;
        return expr_column(c, i, p->columns[i].type, e->position);
    }
    if (e->kind == EXPR_COLUMN) {
        if (e->column >= AGG_BASE) return expr_column(c, p->n_keys + e->column - AGG_BASE, e->type, e->position);
        return sql_fail(c, e->position, "add it to GROUP BY, or put it into an aggregate such as MAX(...)",
                        "the column '%s' is neither grouped nor aggregated",
                        sql_shown(c, q->input->plan->columns[e->column].name));
    }
    args = arena_array(c->arena, (size_t)e->n_args + 1, sizeof(*args));
    for (int i = 0; i < e->n_args; i++) {
        args[i] = rewrite(q, e->args[i]);
        if (args[i] == NULL) return NULL;
    }
    copy = expr_new(c, e->kind, e->type, args, e->n_args, e->position);
    if (copy == NULL) return NULL;
    copy->op = e->op;
    copy->literal = e->literal;
    return copy;
}

static bool rewrite_list(struct query *q, struct sql_list *l)
{
    for (int i = 0; i < l->n; i++) {
        l->items[i] = rewrite(q, l->items[i]);
        if (l->items[i] == NULL) return false;
    }
    return true;
}

static bool bind_aggregate_part(struct query *q, struct plan **top)
{
    if (q->ast->group_by.n == 0 && q->ast->having == NULL && q->aggs.n == 0) return true;
    if (!build_aggregate(q)) return false;
    if (!rewrite_list(q, &q->items) || !rewrite_list(q, &q->order)) return false;
    *top = q->aggregate;
    if (q->having == NULL) return true;
    q->having = rewrite(q, q->having);
    if (q->having == NULL) return false;
    *top = new_filter(q->b->c, *top, q->having);
    return true;
}

/* ---- project, sort, limit ---- */

/* Finds the expression among the projected ones, or adds it behind them. Its index. */
static int project_index(struct sql_ctx *c, struct sql_list *exprs, struct expr *e)
{
    for (int i = 0; i < exprs->n; i++) {
        if (expr_equal(exprs->items[i], e)) return i;
    }
    sql_list_push(c, exprs, e);
    return exprs->n - 1;
}

static struct plan *new_project(struct query *q, struct plan *input, struct sql_list *exprs,
                                const struct plan *hidden_from)
{
    struct sql_ctx *c = q->b->c;
    struct plan *p = plan_new(c, PLAN_PROJECT, input, exprs->n);

    p->exprs = (struct expr **)exprs->items;
    for (int i = 0; i < exprs->n; i++) {
        const struct expr *e = exprs->items[i];
        p->columns[i].name =
            i < q->names.n ? ((struct sql_column *)q->names.items[i])->name : rendered(c, e, hidden_from);
        p->columns[i].type = e->type;
    }
    plan_set_rowtime(p);
    return p;
}

static bool is_identity(const struct plan *project)
{
    if (project->n_columns != project->input->n_columns) return false;
    for (int i = 0; i < project->n_columns; i++) {
        const struct expr *e = project->exprs[i];
        if (e->kind != EXPR_COLUMN || e->column != i ||
            e->type.is_rowtime != project->input->columns[i].type.is_rowtime)
            return false;
        if (!bytes_equal(project->columns[i].name, project->input->columns[i].name)) return false;
    }
    return true;
}

static struct plan *copy_columns(struct plan *p, const struct plan *input)
{
    memcpy(p->columns, input->columns, (size_t)input->n_columns * sizeof(*p->columns));
    p->rowtime = input->rowtime;
    return p;
}

/* Sort keys that are not selected are projected behind the selected ones and cut off again above the sort. */
static struct plan *add_sort(struct query *q, struct plan *top)
{
    struct sql_ctx *c = q->b->c;
    struct sql_list exprs = {0}, visible = {0};
    int n = q->order.n;
    int *at = arena_array(c->arena, (size_t)n, sizeof(*at));
    struct plan *project, *sort;

    for (int i = 0; i < q->items.n; i++)
        sql_list_push(c, &exprs, q->items.items[i]);
    for (int i = 0; i < n; i++)
        at[i] = project_index(c, &exprs, q->order.items[i]);
    project = new_project(q, top, &exprs, top);
    sort = copy_columns(plan_new(c, PLAN_SORT, project, project->n_columns), project);
    sort->n_sort = n;
    sort->sort = arena_array(c->arena, (size_t)n, sizeof(*sort->sort));
    for (int i = 0; i < n; i++) {
        const struct order_item *item = q->ast->order_by.items[i];
        sort->sort[i].expr = expr_column(c, at[i], project->columns[at[i]].type, item->expr->position);
        if (sort->sort[i].expr == NULL) return NULL;
        sort->sort[i].descending = item->descending;
        sort->sort[i].nulls_first = item->nulls_first;
    }
    if (exprs.n == q->items.n) return sort;
    for (int i = 0; i < q->items.n; i++) {
        struct expr *e = expr_column(c, i, project->columns[i].type, ((struct expr *)exprs.items[i])->position);
        if (e == NULL) return NULL;
        sql_list_push(c, &visible, e);
    }
    return new_project(q, sort, &visible, sort);
}

static struct plan *add_output(struct query *q, struct plan *top)
{
    struct sql_ctx *c = q->b->c;

    if (q->order.n > 0) {
        top = add_sort(q, top);
        if (top == NULL) return NULL;
    } else {
        struct plan *project = new_project(q, top, &q->items, top);
        top = q->b->depth > 1 && is_identity(project) ? top : project;
    }
    if (q->ast->limit >= 0 || q->ast->skip > 0) {
        struct plan *limit = copy_columns(plan_new(c, PLAN_LIMIT, top, top->n_columns), top);
        limit->limit = q->ast->limit < 0 ? INT64_MAX : q->ast->limit;
        limit->skip = q->ast->skip;
        top = limit;
    }
    return top;
}

static struct relation *finish(struct query *q, struct plan *top)
{
    struct relation *r;

    top = add_output(q, top);
    if (top == NULL) return NULL;
    r = relation_new(q->b, top, BYTES_NULL);
    r->depth = q->input->depth + 1;
    r->n_aggregates = q->input->n_aggregates + (q->aggregate != NULL);
    r->is_updating = q->aggregate != NULL ? !q->is_windowed : q->input->is_updating;
    if (r->depth > LIMIT_SQL_DEPTH_MAX)
        return sql_fail(q->b->c, q->ast->position, NULL, "queries nested more than %d levels deep",
                        LIMIT_SQL_DEPTH_MAX);
    if (q->aggregate != NULL) return r;
    r->window = q->input->window;
    for (int i = 0; i < q->items.n; i++) {
        const struct expr *e = q->items.items[i];
        if (e->kind == EXPR_COLUMN && !(q->input->roles[e->column] == ROLE_TIME && !e->type.is_rowtime))
            r->roles[i] = q->input->roles[e->column];
    }
    return r;
}

static struct relation *bind_body(struct query *q)
{
    struct binder *b = q->b;
    struct plan *top;

    if (b->depth > 1 && q->ast->order_by.n > 0)
        return sql_not_yet(b->c, q->ast->order_position, "ORDER BY in a subquery", NULL);
    if (b->depth > 1 && q->ast->limit_position >= 0)
        return sql_not_yet(b->c, q->ast->limit_position, "LIMIT in a subquery", NULL);
    q->input = bind_table(b, q->ast->from);
    if (q->input == NULL || !find_group_window(q) || !bind_where(q)) return NULL;
    for (int i = 0; i < q->ast->group_by.n; i++) {
        if (!bind_group_item(q, q->ast->group_by.items[i])) return NULL;
    }
    if (!bind_items(q) || !bind_having_and_order(q)) return NULL;
    top = q->input->plan;
    if (!bind_aggregate_part(q, &top)) return NULL;
    return finish(q, top);
}

struct relation *bind_select(struct binder *b, const struct select_ast *s)
{
    struct query q = {.b = b, .ast = s};
    struct cte *ctes = b->ctes;
    struct relation *r = NULL;

    if (b->depth >= LIMIT_SQL_DEPTH_MAX)
        return sql_fail(b->c, s->position, NULL, "queries nested more than %d levels deep", LIMIT_SQL_DEPTH_MAX);
    b->depth++;
    if (bind_ctes(b, s)) r = bind_body(&q);
    b->depth--;
    b->ctes = ctes;
    return r;
}
