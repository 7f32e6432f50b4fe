/* The chain of operators: filter, window, project and limit here; aggregate.c and sort.c hold the rest.
 *
 * P1  A chunk is pushed through the whole chain before the next one begins; nothing waits in between but in
 *     aggregates and sorts.
 * P2  A row that fails leaves the chunk where it failed, is reported once with its origin, and changes no state.
 * P3  Operators above an aggregate work in its arena, those below in the pipeline's: both live until the chunk
 *     is through. */
#include "flow/exec/pipeline_int.h"

#include "base/buf.h"
#include "base/reader.h"
#include "flow/exec/window.h"

/* ---- making ---- */

static enum err_code op_compile(struct op *o, struct expr **exprs, int n, struct err *e)
{
    o->n_nodes = n;
    o->nodes = arena_array(&o->pipeline->arena, (size_t)n, sizeof(struct xnode *));
    for (int i = 0; i < n; i++) {
        enum err_code rc = expr_compile(&o->nodes[i], exprs[i], &o->pipeline->arena, e);
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

static enum err_code op_create(struct op *o, struct err *e)
{
    struct arena *a = &o->pipeline->arena;
    const struct plan *p = o->plan;
    o->sel = arena_array(a, LIMIT_CHUNK_ROWS, sizeof(uint16_t));
    switch (p->kind) {
    case PLAN_FILTER: {
        struct expr *predicate = p->predicate;
        return op_compile(o, &predicate, 1, e);
    }
    case PLAN_PROJECT:
        o->cols = arena_array(a, (size_t)p->n_columns, sizeof(struct vector));
        return op_compile(o, p->exprs, p->n_columns, e);
    case PLAN_WINDOW:
        if (p->window.step_us < WINDOW_LAST_US)
            return err_set(e, ERR_INVALID, "a window is at least one millisecond long");
        o->cols = arena_array(a, (size_t)p->n_columns, sizeof(struct vector));
        for (int i = 0; i < 3; i++)
            vector_init(&o->cols[p->n_columns - 3 + i], PHYS_I64, a);
        o->window_sel = arena_array(a, LIMIT_CHUNK_ROWS, sizeof(uint16_t));
        return ERR_NONE;
    case PLAN_LIMIT: o->pipeline->is_done = o->pipeline->is_done || p->limit == 0; return ERR_NONE;
    case PLAN_SORT: return sorter_create(o, e);
    case PLAN_AGGREGATE: return ERR_NONE; /* by the caller, who knows which is topmost */
    case PLAN_SCAN: break;
    }
    return err_set(e, ERR_UNSUPPORTED, "a scan in the middle of a plan");
}

/* Is there an aggregate above o? */
static bool has_aggregate_above(const struct op *o)
{
    for (const struct op *n = o->next; n; n = n->next)
        if (n->plan->kind == PLAN_AGGREGATE) return true;
    return false;
}

static enum err_code ops_create(struct pipeline *p, const struct plan *plan, struct err *e)
{
    int n = 0, at;
    for (const struct plan *q = plan; q && q->kind != PLAN_SCAN; q = q->input)
        n++;
    p->ops = arena_array(&p->arena, (size_t)n, sizeof *p->ops);
    p->n_ops = at = n;
    for (const struct plan *q = plan; at > 0; q = q->input) {
        struct op *o = &p->ops[--at];
        o->plan = q;
        o->index = at;
        o->pipeline = p;
        o->next = at + 1 < n ? &p->ops[at + 1] : NULL;
    }
    struct arena *scratch = &p->scratch;
    for (int i = 0; i < n; i++) {
        struct op *o = &p->ops[i];
        o->eval = (struct eval){.arena = scratch, .errors = &p->errors};
        enum err_code rc = op_create(o, e);
        if (rc == ERR_NONE && o->plan->kind == PLAN_AGGREGATE) {
            rc = aggregate_create(o, has_aggregate_above(o) ? EMIT_FINAL : p->options.emit, e);
            if (rc == ERR_NONE) scratch = aggregate_scratch(o);
            if (rc == ERR_NONE && i > 0) p->ops[i - 1].gives_panes = aggregate_takes_panes(o);
        }
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

enum err_code pipeline_create(struct pipeline **out, const struct plan *plan, const struct pipeline_options *o,
                              const struct pipeline_hooks *h, struct err *e)
{
    struct arena arena;
    arena_init(&arena, 256u << 10);
    struct pipeline *p = arena_new(&arena, struct pipeline);
    p->arena = arena;
    p->options = *o;
    p->hooks = *h;
    p->watermark = WATERMARK_NONE;
    arena_init(&p->scratch, 256u << 10);
    enum err_code rc = ops_create(p, plan, e);
    if (rc != ERR_NONE) {
        pipeline_destroy(p);
        return rc;
    }
    *out = p;
    return ERR_NONE;
}

void pipeline_destroy(struct pipeline *p)
{
    if (p == NULL) return;
    for (int i = 0; i < p->n_ops; i++) {
        struct op *o = &p->ops[i];
        for (int k = 0; k < o->n_nodes; k++)
            expr_release(o->nodes[k]);
        if (o->aggregate) aggregate_destroy(o);
        if (o->sorter) sorter_destroy(o);
    }
    arena_deinit(&p->scratch);
    struct arena arena = p->arena; /* holds p itself */
    arena_deinit(&arena);
}

/* ---- running ---- */

int op_report_bad(struct op *o, const struct chunk *c, const uint16_t *sel, int n, uint16_t *out)
{
    struct row_errors *r = &o->pipeline->errors;
    int kept = 0;
    for_rows(i, sel, n)
    {
        if (!r->flag[i])
            out[kept++] = (uint16_t)i;
        else
            o->pipeline->hooks.bad(o->pipeline->hooks.arg, &c->origin[i], r->text[i]);
    }
    row_errors_clear(r);
    return kept;
}

static void filter_push(struct op *o, const struct chunk *c)
{
    struct row_errors *r = &o->pipeline->errors;
    int n = expr_filter(o->nodes[0], &o->eval, c, c->sel, c->n_sel, o->sel);
    if (UNLIKELY(r->count > 0)) { /* report all, keep those that passed */
        for_rows(i, c->sel, c->n_sel) if (r->flag[i])
            o->pipeline->hooks.bad(o->pipeline->hooks.arg, &c->origin[i], r->text[i]);
        row_errors_clear(r);
    }
    if (n == 0) return;
    struct chunk out = *c;
    out.sel = n == c->n_rows ? NULL : o->sel;
    out.n_sel = n;
    op_next(o, &out);
}

static void project_push(struct op *o, const struct chunk *c)
{
    struct chunk out = *c;
    out.n_cols = o->plan->n_columns;
    out.cols = o->cols;
    for (int i = 0; i < o->n_nodes; i++)
        o->cols[i] = *expr_eval(o->nodes[i], &o->eval, c, c->sel, c->n_sel);
    if (UNLIKELY(o->pipeline->errors.count > 0)) {
        out.n_sel = op_report_bad(o, c, c->sel, c->n_sel, o->sel);
        out.sel = o->sel;
        if (out.n_sel == 0) return;
    }
    op_next(o, &out);
}

/* The windowed aggregate that the rows of this window go to, NULL: there is none before the rows leave or are grouped
 * otherwise. */
static const struct op *window_consumer(const struct op *o)
{
    for (const struct op *n = o->next; n; n = n->next)
        if (n->plan->kind == PLAN_AGGREGATE) return n->plan->window.size_us != 0 ? n : NULL;
    return NULL;
}

/* Rows that have a time, in o->sel; returns their number. */
static int window_rows(struct op *o, const struct chunk *c, const struct vector *t)
{
    int n = 0, mask = t->is_const ? 0 : -1;
    for_rows(i, c->sel, c->n_sel)
    {
        if (UNLIKELY(t->has_nulls && t->nulls[i & mask]))
            o->pipeline->hooks.bad(o->pipeline->hooks.arg, &c->origin[i], "the time column is NULL");
        else
            o->sel[n++] = (uint16_t)i;
    }
    return n;
}

/* Rows of one pane, o->sel[from, to): once for each of their windows, the oldest first. Rows on their way to a windowed
 * aggregate leave out the windows that were over when they came; when all were, the last one tells the aggregate that
 * the row is late. */
static void window_push_run(struct op *o, const struct chunk *c, int64_t pane, int from, int to)
{
    const struct window_spec *w = &o->plan->window;
    struct vector *start = &o->cols[o->plan->n_columns - 3], *end = start + 1, *time = start + 2;
    int64_t last = window_last_end(w, pane);
    bool drops_over = window_consumer(o) != NULL;
    for (int64_t e = pane + w->step_us; e <= last; e += w->step_us) {
        int n = 0;
        for (int k = from; k < to; k++) {
            int i = o->sel[k];
            int64_t watermark = c->watermark ? c->watermark[i] : c->watermark_all;
            if (drops_over && e < last && window_is_over(e, watermark)) continue;
            start->i[i] = window_begin(w, e);
            end->i[i] = e;
            time->i[i] = e - WINDOW_LAST_US;
            o->window_sel[n++] = (uint16_t)i;
        }
        struct chunk out = *c;
        out.n_cols = o->plan->n_columns;
        out.cols = o->cols;
        out.sel = o->window_sel;
        out.n_sel = n;
        if (n > 0) op_next(o, &out);
    }
}

/* Run after run, so that the rows of a window keep their order. */
static void window_push_each(struct op *o, const struct chunk *c, const struct vector *t, int n)
{
    const struct window_spec *w = &o->plan->window;
    int mask = t->is_const ? 0 : -1;
    for (int from = 0, to; from < n; from = to) {
        int64_t pane = window_pane(w, t->i[o->sel[from] & mask]);
        for (to = from + 1; to < n && window_pane(w, t->i[o->sel[to] & mask]) == pane;)
            to++;
        window_push_run(o, c, pane, from, to);
    }
}

static void window_push(struct op *o, const struct chunk *c)
{
    const struct window_spec *w = &o->plan->window;
    int n_in = o->plan->n_columns - 3;
    const struct vector *t = &c->cols[o->plan->time_column];
    struct vector *start = &o->cols[n_in], *end = start + 1, *time = start + 2;
    struct chunk out = *c;
    check(c->n_cols == n_in);
    memcpy(o->cols, c->cols, (size_t)n_in * sizeof *o->cols);
    int n = window_rows(o, c, t), mask = t->is_const ? 0 : -1;
    if (n == 0) return;
    if (w->kind != WINDOW_TUMBLE && !o->gives_panes) {
        window_push_each(o, c, t, n);
        return;
    }
    int64_t last = 1, last_end = 0; /* the pane of the row before, mostly that of this one, too */
    for (int k = 0; k < n; k++) {
        int i = o->sel[k];
        int64_t us = t->i[i & mask];
        if (us < last || us >= last_end) {
            last = window_pane(w, us);
            last_end = last + w->step_us;
        }
        start->i[i] = last;
        end->i[i] = last_end;
        time->i[i] = last_end - WINDOW_LAST_US;
    }
    out.n_cols = o->plan->n_columns;
    out.cols = o->cols;
    if (n < c->n_sel) out.sel = o->sel;
    out.n_sel = n;
    op_next(o, &out);
}

static void limit_push(struct op *o, const struct chunk *c)
{
    int64_t limit = o->plan->limit < 0 ? INT64_MAX : o->plan->limit;
    int n = 0;
    for_rows(i, c->sel, c->n_sel)
    {
        if (o->skipped < o->plan->skip) {
            o->skipped++;
        } else if (o->taken < limit) {
            o->taken++;
            o->sel[n++] = (uint16_t)i;
        }
    }
    o->limit_dirty = true;
    if (o->taken >= limit) o->pipeline->is_done = true;
    if (n == 0) return;
    struct chunk out = *c;
    out.sel = o->sel;
    out.n_sel = n;
    op_next(o, &out);
}

void op_push(struct op *o, const struct chunk *c)
{
    switch (o->plan->kind) {
    case PLAN_FILTER: filter_push(o, c); break;
    case PLAN_PROJECT: project_push(o, c); break;
    case PLAN_WINDOW: window_push(o, c); break;
    case PLAN_LIMIT: limit_push(o, c); break;
    case PLAN_AGGREGATE: aggregate_push(o, c); break;
    case PLAN_SORT: sorter_push(o, c); break;
    case PLAN_SCAN: check(o == NULL); break;
    }
}

enum err_code pipeline_push(struct pipeline *p, const struct chunk *c, struct err *e)
{
    check(c->origin != NULL);
    arena_reset(&p->scratch);
    if (c->n_sel > 0 && !p->is_done) {
        if (p->n_ops > 0)
            op_push(&p->ops[0], c);
        else
            p->hooks.rows(p->hooks.arg, c);
    }
    if (p->options.state_bytes_max == 0) return ERR_NONE;
    size_t bytes = pipeline_state_bytes(p);
    if (bytes <= p->options.state_bytes_max) return ERR_NONE;
    return err_set(e, ERR_LIMIT, "the state of the query takes %zu KiB, at most %zu KiB are allowed", bytes >> 10,
                   p->options.state_bytes_max >> 10);
}

void pipeline_watermark(struct pipeline *p, int64_t watermark)
{
    if (watermark <= p->watermark) return;
    p->watermark = watermark;
    for (int i = 0; i < p->n_ops;
         i++) /* in order: what a lower one emits is in before the upper one hears of the time */
        if (p->ops[i].aggregate) aggregate_watermark(&p->ops[i], watermark);
}

void pipeline_resume(struct pipeline *p, int64_t watermark)
{
    p->watermark = watermark;
    for (int i = 0; i < p->n_ops; i++)
        if (p->ops[i].aggregate) aggregate_resume(&p->ops[i], watermark);
}

void pipeline_flush(struct pipeline *p)
{
    for (int i = 0; i < p->n_ops; i++)
        if (p->ops[i].aggregate) aggregate_flush(&p->ops[i]);
}

void pipeline_end(struct pipeline *p)
{
    p->watermark = WATERMARK_END;
    for (int i = 0; i < p->n_ops; i++) {
        if (p->ops[i].aggregate) aggregate_end(&p->ops[i]);
        if (p->ops[i].sorter) sorter_end(&p->ops[i]);
    }
}

bool pipeline_is_done(const struct pipeline *p)
{
    return p->is_done;
}

/* ---- state ---- */

int64_t pipeline_newest_window_end(const struct pipeline *p)
{
    int64_t newest = INT64_MIN;
    for (int i = 0; i < p->n_ops; i++) {
        int64_t end = p->ops[i].aggregate ? aggregate_newest_end(&p->ops[i]) : INT64_MIN;
        newest = end > newest ? end : newest;
    }
    return newest;
}

uint64_t pipeline_groups(const struct pipeline *p)
{
    uint64_t n = 0;
    for (int i = 0; i < p->n_ops; i++)
        if (p->ops[i].aggregate) n += aggregate_groups(&p->ops[i]);
    return n;
}

size_t pipeline_state_bytes(const struct pipeline *p)
{
    size_t n = 0;
    for (int i = 0; i < p->n_ops; i++) {
        if (p->ops[i].aggregate) n += aggregate_bytes(&p->ops[i]);
        if (p->ops[i].sorter) n += sorter_bytes(&p->ops[i]);
    }
    return n;
}

bool pipeline_has_changes(const struct pipeline *p)
{
    for (int i = 0; i < p->n_ops; i++)
        if (p->ops[i].limit_dirty || (p->ops[i].aggregate && aggregate_has_changes(&p->ops[i]))) return true;
    return false;
}

void pipeline_collect(struct pipeline *p, bool all, pipeline_state_fn fn, void *arg)
{
    for (int i = 0; i < p->n_ops; i++) {
        struct op *o = &p->ops[i];
        if (o->aggregate) aggregate_collect(o, all, fn, arg);
        if (o->plan->kind == PLAN_LIMIT && (all || o->limit_dirty)) {
            uint8_t key[2] = {'l', (uint8_t)o->index}, value[16];
            memcpy(value, &o->skipped, 8);
            memcpy(value + 8, &o->taken, 8);
            fn(arg, bytes_of(key, 2), bytes_of(value, 16));
            o->limit_dirty = false;
        }
    }
}

bool pipeline_restore(struct pipeline *p, struct bytes key, struct bytes value)
{
    if (key.len < 2 || key.ptr[1] >= p->n_ops) return false;
    struct op *o = &p->ops[key.ptr[1]];
    if (key.ptr[0] == 'g') return o->aggregate && aggregate_restore(o, key, value);
    if (key.ptr[0] != 'l' || o->plan->kind != PLAN_LIMIT || value.len != 16) return false;
    memcpy(&o->skipped, value.ptr, 8);
    memcpy(&o->taken, value.ptr + 8, 8);
    p->is_done = o->plan->limit >= 0 && o->taken >= o->plan->limit;
    return true;
}
