/* bind_table.c: what stands in FROM: declared streams, common table expressions, subqueries, and windows over any
 * of them. */
#include "flow/sql/bind.h"

#include "base/text.h"

#define US_MS 1000ll
/* 100 years: far from where a time plus a size could overflow. */
#define WINDOW_SIZE_US_MAX (36500ll * 86400 * 1000000)

struct plan *plan_new(struct sql_ctx *c, enum plan_kind kind, struct plan *input, int n_columns)
{
    struct plan *p = arena_new(c->arena, struct plan);
    p->kind = kind;
    p->input = input;
    p->n_columns = n_columns;
    p->columns = arena_array(c->arena, (size_t)n_columns + 1, sizeof(*p->columns));
    p->rowtime = p->time_column = -1;
    p->window_start_key = p->window_end_key = p->window_time_key = -1;
    p->limit = -1;
    return p;
}

void plan_set_rowtime(struct plan *p)
{
    p->rowtime = -1;
    for (int i = 0; i < p->n_columns && p->rowtime < 0; i++) {
        if (p->columns[i].type.is_rowtime) p->rowtime = i;
    }
}

struct relation *relation_new(struct binder *b, struct plan *plan, struct bytes name)
{
    struct relation *r = arena_new(b->c->arena, struct relation);
    r->plan = plan;
    r->name = name;
    r->n_visible = plan->n_columns;
    r->roles = arena_array(b->c->arena, (size_t)plan->n_columns + 1, sizeof(*r->roles));
    r->depth = 1;
    return r;
}

static void suggest_name(void *arg, struct bytes name)
{
    suggest_add(arg, name);
}

static void *unknown_stream(struct binder *b, struct bytes name, int position)
{
    struct suggest near;
    const struct cte *cte;

    suggest_init(&near, name);
    for (cte = b->ctes; cte != NULL; cte = cte->next)
        suggest_add(&near, cte->name);
    if (b->catalog != NULL && b->catalog->names != NULL) b->catalog->names(b->catalog, suggest_name, &near);
    sql_fail(b->c, position, suggest_hint(b->c, &near, "CREATE STREAM declares one; SHOW STREAMS lists them"),
             "unknown stream '%s'", sql_shown(b->c, name));
    if (b->c->e->err.code == ERR_INVALID) b->c->e->err.code = ERR_NOT_FOUND;
    return NULL;
}

static struct relation *bind_stream(struct binder *b, const struct table_ast *t)
{
    const struct stream_def *def;
    struct plan *p;

    for (const struct cte *cte = b->ctes; cte != NULL; cte = cte->next) {
        struct relation *copy;
        if (!bytes_equal(cte->name, t->name)) continue;
        copy = arena_new(b->c->arena, struct relation);
        *copy = *cte->relation;
        copy->name = t->name;
        return copy;
    }
    if (!bytes_is_null(b->self) && bytes_equal(b->self, t->name))
        return sql_fail(b->c, t->position, NULL, "the stream '%s' cannot be made of itself", sql_shown(b->c, t->name));
    def = b->catalog == NULL ? NULL : b->catalog->find(b->catalog, t->name);
    if (def == NULL) return unknown_stream(b, t->name, t->position);
    p = plan_new(b->c, PLAN_SCAN, NULL, def->n_columns);
    p->stream = def;
    for (int i = 0; i < def->n_columns; i++) {
        p->columns[i] = (struct sql_column){def->columns[i].name, def->columns[i].type};
        p->columns[i].type.is_rowtime = i == def->rowtime;
    }
    plan_set_rowtime(p);
    return relation_new(b, p, t->name);
}

bool bind_interval(struct scope *s, const struct ast *a, const char *what, int64_t *us)
{
    struct expr *e = bind_expr(s, a);
    if (e == NULL) return false;
    if (e->kind != EXPR_LITERAL || e->type.kind != SQL_INTERVAL) {
        sql_fail(s->b->c, a->position, "for instance INTERVAL '10' SECOND", "%s must be an INTERVAL literal", what);
        return false;
    }
    if (e->literal.i % US_MS != 0) {
        sql_fail(s->b->c, a->position, NULL, "%s must be whole milliseconds", what);
        return false;
    }
    *us = e->literal.i;
    return true;
}

const char *window_name(enum window_kind kind)
{
    static const char *const names[] = {
        [WINDOW_TUMBLE] = "TUMBLE", [WINDOW_HOP] = "HOP", [WINDOW_CUMULATE] = "CUMULATE"};
    return names[kind];
}

/* One of the lengths of a window. */
static bool bind_window_length(struct scope *s, const struct ast *a, const char *what, int64_t *us)
{
    if (!bind_interval(s, a, arena_printf(s->b->c->arena, "the %s of a window", what), us)) return false;
    if (*us > 0 && *us <= WINDOW_SIZE_US_MAX) return true;
    sql_fail(s->b->c, a->position, NULL,
             *us <= 0 ? "the %s of a window must be positive" : "the %s of a window is at most 36500 days", what);
    return false;
}

/* `step` NULL: TUMBLE. */
static bool bind_window_spec(struct scope *s, enum window_kind kind, const struct ast *step, const struct ast *size,
                             const struct ast *offset, struct window_spec *w)
{
    int64_t shift = 0;

    *w = (struct window_spec){.kind = kind};
    if (step != NULL && !bind_window_length(s, step, kind == WINDOW_HOP ? "slide" : "step", &w->step_us)) return false;
    if (!bind_window_length(s, size, "size", &w->size_us)) return false;
    if (step == NULL) w->step_us = w->size_us;
    if (offset != NULL && !bind_interval(s, offset, "the offset of a window", &shift)) return false;
    w->offset_us = ((shift % w->size_us) + w->size_us) % w->size_us; /* +7 min of a 5 min window is +2 min */
    if (w->size_us % w->step_us != 0) {
        sql_fail(s->b->c, size->position, "for instance a size of 10 seconds and steps of 5",
                 "the size of %s must be a multiple of its %s", window_name(kind),
                 kind == WINDOW_HOP ? "slide" : "step");
        return false;
    }
    if (w->size_us / w->step_us <= LIMIT_WINDOW_PANES_MAX) return true;
    sql_fail(s->b->c, size->position, NULL, "a row of this %s would be in %lld windows, at most %d are possible",
             window_name(kind), (long long)(w->size_us / w->step_us), LIMIT_WINDOW_PANES_MAX);
    return false;
}

/* The time attribute a window stands on. -1: failed. */
static int bind_time_column(struct scope *s, const struct ast *a)
{
    struct sql_ctx *c = s->b->c;
    struct plan *p = s->relation->plan;
    struct expr *e = bind_expr(s, a);
    const char *hint;

    if (e == NULL) return -1;
    if (e->kind == EXPR_COLUMN && e->type.is_rowtime) return e->column;
    if (p->rowtime >= 0)
        hint = arena_printf(c->arena, "the time attribute here is '%s'", sql_shown(c, p->columns[p->rowtime].name));
    else if (p->kind == PLAN_SCAN)
        hint = "WATERMARK FOR in CREATE STREAM makes a column a time attribute";
    else
        hint = "only an unchanged column keeps this property; above a window it is window_time";
    if (a->kind == AST_NAME)
        sql_fail(c, a->position, hint, "the column '%s' is not a time attribute", sql_shown(c, a->name));
    else
        sql_fail(c, a->position, hint, "a window needs a time attribute, not an expression");
    return -1;
}

/* WINDOW above `input`; the three columns get their roles. */
static struct relation *add_window(struct binder *b, struct relation *input, int time_column,
                                   const struct window_spec *w, int position)
{
    static const struct {
        const char *name;
        enum window_role role;
    } added[] = {{"window_start", ROLE_START}, {"window_end", ROLE_END}, {"window_time", ROLE_TIME}};
    struct plan *from = input->plan, *p = plan_new(b->c, PLAN_WINDOW, from, from->n_columns + 3);
    struct relation *r;

    if (input->is_updating)
        return sql_not_yet(b->c, position, "a window over an updating query",
                           "its input changes rows it has already given");
    if (p->n_columns > LIMIT_SQL_COLUMNS_MAX)
        return sql_fail(b->c, position, NULL, "more than %d columns", LIMIT_SQL_COLUMNS_MAX);
    for (int i = 0; i < from->n_columns; i++) {
        p->columns[i] = from->columns[i];
        p->columns[i].type.is_rowtime = false;
    }
    p->time_column = time_column;
    p->window = *w;
    r = relation_new(b, p, input->name);
    r->depth = input->depth;
    r->n_aggregates = input->n_aggregates;
    r->window = *w;
    for (int i = 0; i < 3; i++) {
        struct sql_column *column = &p->columns[from->n_columns + i];
        column->name = bytes_str(added[i].name);
        column->type = (struct sql_type){.kind = SQL_TIMESTAMP, .precision = 3, .not_null = true};
        if (added[i].role == ROLE_TIME) {
            column->type.kind = from->columns[time_column].type.kind;
            column->type.is_rowtime = true;
        }
        r->roles[from->n_columns + i] = added[i].role;
    }
    plan_set_rowtime(p);
    return r;
}

static struct relation *bind_window(struct binder *b, const struct table_ast *t)
{
    const char *name = window_name(t->window);
    struct relation *input = bind_table(b, t->input);
    struct scope s = {.b = b, .relation = input, .place = arena_printf(b->c->arena, "the arguments of %s", name)};
    struct window_spec w;
    int time_column;

    if (input == NULL) return NULL;
    time_column = bind_time_column(&s, t->time_column);
    if (time_column < 0 || !bind_window_spec(&s, t->window, t->step, t->size, t->offset, &w)) return NULL;
    for (int i = 0; i < input->plan->n_columns; i++) {
        struct bytes column = input->plan->columns[i].name;
        if (bytes_equal_str(column, "window_start") || bytes_equal_str(column, "window_end") ||
            bytes_equal_str(column, "window_time"))
            return sql_fail(b->c, t->position, "rename it in the subquery with AS",
                            "the input of %s already has a column '%s'", name, sql_shown(b->c, column));
    }
    return add_window(b, input, time_column, &w, t->position);
}

struct relation *bind_group_window(struct binder *b, struct relation *input, const struct ast *call)
{
    enum window_kind kind = call_is_named(call, "HOP") ? WINDOW_HOP : WINDOW_TUMBLE;
    const char *name = window_name(kind);
    struct scope s = {.b = b, .relation = input, .place = arena_printf(b->c->arena, "the arguments of %s", name)};
    const struct ast *step = kind == WINDOW_HOP && call->n_args == 3 ? call->args[1] : NULL;
    int n_args = kind == WINDOW_HOP ? 3 : 2, time_column, n_visible = input->n_visible;
    struct window_spec w;
    struct relation *r;

    if (call->n_args != n_args)
        return sql_fail(b->c, call->position,
                        kind == WINDOW_HOP ? "GROUP BY HOP(t, INTERVAL '5' SECOND, INTERVAL '10' SECOND)"
                                           : "GROUP BY TUMBLE(t, INTERVAL '10' SECOND)",
                        "wrong number of arguments of %s: %d", name, call->n_args);
    time_column = bind_time_column(&s, call->args[0]);
    if (time_column < 0 || !bind_window_spec(&s, kind, step, call->args[n_args - 1], NULL, &w)) return NULL;
    r = add_window(b, input, time_column, &w, call->position);
    if (r != NULL) r->n_visible = n_visible;
    return r;
}

struct relation *bind_table(struct binder *b, const struct table_ast *t)
{
    struct relation *r = NULL;

    switch (t->kind) {
    case TABLE_NAME: r = bind_stream(b, t); break;
    case TABLE_SUBQUERY: r = bind_select(b, t->query); break;
    case TABLE_WINDOW: r = bind_window(b, t); break;
    }
    if (r != NULL && !bytes_is_null(t->alias)) r->name = t->alias;
    return r;
}
