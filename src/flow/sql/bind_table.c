/* bind_table.c: what stands in FROM: declared streams, common table expressions, subqueries, and TUMBLE over any of
 * them. */
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

static bool bind_window_size(struct scope *s, const struct ast *a, int64_t *us)
{
    if (!bind_interval(s, a, "the size of a window", us)) return false;
    if (*us > 0 && *us <= WINDOW_SIZE_US_MAX) return true;
    sql_fail(s->b->c, a->position, NULL,
             *us <= 0 ? "the size of a window must be positive" : "the size of a window is at most 36500 days");
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
static struct relation *add_window(struct binder *b, struct relation *input, int time_column, int64_t size,
                                   int64_t offset, int position)
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
    p->size_us = size;
    p->offset_us = ((offset % size) + size) % size; /* +7 min of a 5 min window is +2 min */
    r = relation_new(b, p, input->name);
    r->depth = input->depth;
    r->n_aggregates = input->n_aggregates;
    r->window_size_us = p->size_us;
    r->window_offset_us = p->offset_us;
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

static struct relation *bind_tumble(struct binder *b, const struct table_ast *t)
{
    struct relation *input = bind_table(b, t->input);
    struct scope s = {.b = b, .relation = input, .place = "the arguments of TUMBLE"};
    int64_t size, offset = 0;
    int time_column;

    if (input == NULL) return NULL;
    time_column = bind_time_column(&s, t->time_column);
    if (time_column < 0) return NULL;
    if (!bind_window_size(&s, t->size, &size)) return NULL;
    if (t->offset != NULL && !bind_interval(&s, t->offset, "the offset of a window", &offset)) return NULL;
    for (int i = 0; i < input->plan->n_columns; i++) {
        struct bytes name = input->plan->columns[i].name;
        if (bytes_equal_str(name, "window_start") || bytes_equal_str(name, "window_end") ||
            bytes_equal_str(name, "window_time"))
            return sql_fail(b->c, t->position, "rename it in the subquery with AS",
                            "the input of TUMBLE already has a column '%s'", sql_shown(b->c, name));
    }
    return add_window(b, input, time_column, size, offset, t->position);
}

struct relation *bind_group_window(struct binder *b, struct relation *input, const struct ast *call)
{
    struct scope s = {.b = b, .relation = input, .place = "the arguments of TUMBLE"};
    struct relation *r;
    int64_t size;
    int time_column, n_visible = input->n_visible;

    if (call->n_args != 2)
        return sql_fail(b->c, call->position, "GROUP BY TUMBLE(t, INTERVAL '10' SECOND)",
                        "wrong number of arguments of TUMBLE: %d", call->n_args);
    time_column = bind_time_column(&s, call->args[0]);
    if (time_column < 0 || !bind_window_size(&s, call->args[1], &size)) return NULL;
    r = add_window(b, input, time_column, size, 0, call->position);
    if (r != NULL) r->n_visible = n_visible;
    return r;
}

struct relation *bind_table(struct binder *b, const struct table_ast *t)
{
    struct relation *r = NULL;

    switch (t->kind) {
    case TABLE_NAME: r = bind_stream(b, t); break;
    case TABLE_SUBQUERY: r = bind_select(b, t->query); break;
    case TABLE_TUMBLE: r = bind_tumble(b, t); break;
    }
    if (r != NULL && !bytes_is_null(t->alias)) r->name = t->alias;
    return r;
}
