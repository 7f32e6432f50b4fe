/* plan_prune.c: from the top down: which columns of each node are read above it. The scan learns what to decode; a
 * projection in the middle computes NULL instead of what nobody reads (SELECT * in a subquery), which keeps all column
 * numbers as they are. */
#include "flow/sql/bind.h"

static bool *marks(struct sql_ctx *c, int n)
{
    return arena_array(c->arena, (size_t)n + 1, sizeof(bool));
}

static bool *prune_project(struct sql_ctx *c, struct plan *p, const bool *needed)
{
    bool *below = marks(c, p->input->n_columns);
    struct expr **exprs = arena_array(c->arena, (size_t)p->n_columns + 1, sizeof(*exprs));

    for (int i = 0; i < p->n_columns; i++) {
        exprs[i] = p->exprs[i];
        if (!needed[i] && exprs[i]->kind != EXPR_LITERAL) {
            struct expr *null = expr_null(c, exprs[i]->type, exprs[i]->position);
            if (null != NULL) exprs[i] = null;
        }
        expr_mark(exprs[i], below, p->input->n_columns);
    }
    p->exprs = exprs;
    return below;
}

static bool *prune_aggregate(struct sql_ctx *c, const struct plan *p)
{
    int n = p->input->n_columns;
    bool *below = marks(c, n);

    for (int i = 0; i < p->n_keys; i++)
        expr_mark(p->keys[i], below, n);
    for (int i = 0; i < p->n_aggs; i++) {
        expr_mark(p->aggs[i].arg, below, n);
        expr_mark(p->aggs[i].filter, below, n);
    }
    return below;
}

static void prune_scan(struct plan *p, bool *needed)
{
    const struct stream_def *def = p->stream;

    if (def->rowtime >= 0) needed[def->rowtime] = true;
    expr_mark(def->watermark, needed, p->n_columns);
    for (int i = 0; i < p->n_columns; i++) { /* computed columns read only stored ones, so one pass is enough */
        if (needed[i] && def->columns[i].source == COLUMN_COMPUTED)
            expr_mark(def->columns[i].computed, needed, p->n_columns);
    }
    p->needed = needed;
}

void plan_prune(struct sql_ctx *c, struct plan *root)
{
    bool *needed = marks(c, root->n_columns);

    memset(needed, true, (size_t)root->n_columns * sizeof(bool));
    for (struct plan *p = root; p != NULL; p = p->input) {
        bool *below = p->input == NULL ? NULL : marks(c, p->input->n_columns);
        if (p->rowtime >= 0) needed[p->rowtime] = true;
        switch (p->kind) {
        case PLAN_SCAN: prune_scan(p, needed); break;
        case PLAN_PROJECT: below = prune_project(c, p, needed); break;
        case PLAN_AGGREGATE: below = prune_aggregate(c, p); break;
        case PLAN_WINDOW:
            memcpy(below, needed, (size_t)p->input->n_columns * sizeof(bool));
            below[p->time_column] = true;
            break;
        case PLAN_FILTER:
        case PLAN_SORT:
        case PLAN_LIMIT:
            memcpy(below, needed, (size_t)p->n_columns * sizeof(bool));
            expr_mark(p->predicate, below, p->n_columns);
            for (int i = 0; i < p->n_sort; i++)
                expr_mark(p->sort[i].expr, below, p->n_columns);
            break;
        }
        needed = below;
    }
}

/* Each expression is within the limit (B3); together they must be, too: subtrees may be shared by many of them. */
static int64_t plan_weight(const struct plan *p)
{
    int64_t weight = p->predicate == NULL ? 0 : p->predicate->weight;

    for (int i = 0; p->exprs != NULL && i < p->n_columns; i++)
        weight += p->exprs[i]->weight;
    for (int i = 0; i < p->n_keys; i++)
        weight += p->keys[i]->weight;
    for (int i = 0; i < p->n_aggs; i++) {
        if (p->aggs[i].arg != NULL) weight += p->aggs[i].arg->weight;
        if (p->aggs[i].filter != NULL) weight += p->aggs[i].filter->weight;
    }
    return weight;
}

bool plan_check_weight(struct sql_ctx *c, const struct plan *root)
{
    int64_t weight = 0;

    for (const struct plan *p = root; p != NULL; p = p->input)
        weight += plan_weight(p);
    if (weight <= LIMIT_SQL_EXPR_NODES_MAX) return true;
    expr_too_large(c, -1);
    return false;
}
