/* ORDER BY of bounded queries: rows are kept, copied, until the input ends; then sorted and passed on. Ties keep their
 * order. */
#include "flow/exec/pipeline_int.h"

#include <math.h>
#include <stdlib.h>

struct sorted_row {
    uint64_t seq;
    struct row_origin origin;
    int8_t change;
    struct sql_value values[]; /* sort keys, then columns */
};
struct sorter {
    struct arena arena;
    struct sorted_row **rows;
    size_t n, cap;
    struct vector *cols;
    struct row_origin *origins;
    int8_t *changes;
};

enum err_code sorter_create(struct op *o, struct err *e)
{
    const struct plan *p = o->plan;
    struct arena *a = &o->pipeline->arena;
    o->sorter = arena_new(a, struct sorter);
    arena_init(&o->sorter->arena, 64u << 10);
    o->sorter->cols = arena_array(a, (size_t)p->n_columns, sizeof(struct vector));
    o->sorter->origins = arena_array(a, LIMIT_CHUNK_ROWS, sizeof(struct row_origin));
    o->sorter->changes = arena_array(a, LIMIT_CHUNK_ROWS, 1);
    for (int i = 0; i < p->n_columns; i++)
        vector_init(&o->sorter->cols[i], sql_phys(p->columns[i].type.kind), a);
    o->n_nodes = p->n_sort;
    o->nodes = arena_array(a, (size_t)p->n_sort, sizeof(struct xnode *));
    for (int i = 0; i < p->n_sort; i++) {
        enum err_code rc = expr_compile(&o->nodes[i], p->sort[i].expr, a, e);
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

void sorter_destroy(struct op *o)
{
    arena_deinit(&o->sorter->arena);
    free(o->sorter->rows);
}

size_t sorter_bytes(const struct op *o)
{
    return o->sorter->arena.used_bytes + o->sorter->cap * sizeof(struct sorted_row *);
}

static void keep_value(struct sorter *s, const struct vector *v, int row, enum sql_kind kind, struct sql_value *out)
{
    vector_get(v, row, kind, out);
    if (!out->is_null && v->phys == PHYS_STR) out->s = arena_copy(&s->arena, out->s);
}

void sorter_push(struct op *o, const struct chunk *c)
{
    struct sorter *s = o->sorter;
    const struct plan *p = o->plan;
    const struct vector *keys[LIMIT_SQL_COLUMNS_MAX];
    check(p->n_sort <= LIMIT_SQL_COLUMNS_MAX);
    for (int k = 0; k < p->n_sort; k++)
        keys[k] = expr_eval(o->nodes[k], &o->eval, c, c->sel, c->n_sel);
    int n = op_report_bad(o, c, c->sel, c->n_sel, o->sel);
    for_rows(i, o->sel, n)
    {
        size_t values = (size_t)(p->n_sort + p->n_columns);
        struct sorted_row *r = arena_alloc_zero(&s->arena, sizeof *r + values * sizeof(struct sql_value));
        r->seq = s->n;
        r->change = c->change ? c->change[i] : 1;
        r->origin = c->origin[i];
        r->origin.key = arena_copy(&s->arena, r->origin.key);
        r->origin.value = r->origin.headers = BYTES_NULL;
        r->origin.header_count = 0;
        for (int k = 0; k < p->n_sort; k++)
            keep_value(s, keys[k], i, p->sort[k].expr->type.kind, &r->values[k]);
        for (int k = 0; k < p->n_columns; k++)
            keep_value(s, &c->cols[k], i, p->columns[k].type.kind, &r->values[p->n_sort + k]);
        if (s->n == s->cap) {
            s->cap = s->cap ? s->cap * 2 : 256;
            s->rows = realloc(s->rows, s->cap * sizeof(struct sorted_row *));
            check(s->rows != NULL);
        }
        s->rows[s->n++] = r;
    }
}

static int value_order(const struct sql_value *a, const struct sql_value *b)
{
    switch (sql_phys(a->kind)) {
    case PHYS_BOOL: return a->b - b->b;
    case PHYS_I64: return (a->i > b->i) - (a->i < b->i);
    case PHYS_F64: /* NaN is above every number */
        if (isnan(a->d) || isnan(b->d)) return (isnan(a->d) != 0) - (isnan(b->d) != 0);
        return (a->d > b->d) - (a->d < b->d);
    case PHYS_STR: return bytes_compare(a->s, b->s);
    }
    return 0;
}

static int row_order(const void *x, const void *y, void *arg)
{
    const struct sorted_row *const *a = x, *const *b = y;
    const struct plan *p = arg;
    for (int k = 0; k < p->n_sort; k++) {
        const struct sql_value *v = &(*a)->values[k], *w = &(*b)->values[k];
        int c;
        if (v->is_null || w->is_null) {
            if (v->is_null == w->is_null) continue;
            return v->is_null == p->sort[k].nulls_first ? -1 : 1;
        }
        c = value_order(v, w);
        if (c != 0) return p->sort[k].descending ? -c : c;
    }
    return ((*a)->seq > (*b)->seq) - ((*a)->seq < (*b)->seq);
}

void sorter_end(struct op *o)
{
    struct sorter *s = o->sorter;
    const struct plan *p = o->plan;
    union {
        const struct plan *in;
        void *out;
    } arg = {p};
    if (s->n > 0) qsort_r(s->rows, s->n, sizeof(struct sorted_row *), row_order, arg.out);
    for (size_t at = 0; at < s->n && !o->pipeline->is_done;) {
        int n = 0;
        for (int k = 0; k < p->n_columns; k++)
            s->cols[k].has_nulls = false;
        for (; n < LIMIT_CHUNK_ROWS && at < s->n; n++, at++) {
            for (int k = 0; k < p->n_columns; k++)
                vector_set(&s->cols[k], n, &s->rows[at]->values[p->n_sort + k]);
            s->origins[n] = s->rows[at]->origin;
            s->changes[n] = s->rows[at]->change;
        }
        struct chunk c = {.n_rows = n,
                          .n_cols = p->n_columns,
                          .cols = s->cols,
                          .n_sel = n,
                          .change = s->changes,
                          .origin = s->origins,
                          .watermark_all = WATERMARK_END};
        arena_reset(o->eval.arena);
        op_next(o, &c);
    }
    s->n = 0;
    arena_reset(&s->arena);
}
