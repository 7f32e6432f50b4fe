/* panes.c: windows that overlap. A row goes once into its pane, the stretch between two ends of windows; a window is put
 * together from its panes when it is over.
 *
 *   HOP       size 3 panes:   |--p0--|--p1--|--p2--|--p3--|      window ending with p2: p0 + p1 + p2, then p0 is dropped
 *   CUMULATE                  |==base==|--p2--|                  every end: the pane joins the base, which is emitted
 *
 * N1  `fired` is the latest end that is over. Windows are emitted in the order of their ends, each once; one without rows is
 *     not emitted.
 * N2  Which windows a row counts in depends on the rows before it and not on how they were cut into chunks: a chunk is
 *     cut where the watermark its rows met passes an end, and the windows that are over by then are emitted first. So a
 *     row that comes late for some of its windows counts in the others; it is late when it is for all.
 * N3  A pane goes when the last window that it is in has been emitted. What is in one base of CUMULATE and belongs to emitted
 *     windows only is one slice.
 * N4  A restart knows `fired` from the watermark: both move together.
 *
 * Why not a row for each window: a window of an hour every minute would do each row's work sixty times. That remains the
 * way where windows are not grouped at once, or changes are to be seen as they come. */
#include "flow/exec/aggregate_int.h"

#include <stdlib.h>

static bool reads_from(const struct expr *e, int column)
{
    if (e == NULL) return false;
    if (e->kind == EXPR_COLUMN) return e->column >= column;
    for (int i = 0; i < e->n_args; i++)
        if (reads_from(e->args[i], column)) return true;
    return false;
}

/* Windows right below that overlap, final results only, and nothing but the keys asks for the window. */
void panes_create(struct op *o)
{
    struct aggregate *a = o->aggregate;
    const struct plan *p = a->plan, *below = p->input;
    a->fired = INT64_MIN;
    if (!a->windowed || a->emit_changes || below->kind != PLAN_WINDOW || below->window.kind == WINDOW_TUMBLE) return;
    int first = below->n_columns - 3;
    for (int i = 0; i < p->n_keys; i++) {
        bool is_window = i == p->window_start_key || i == p->window_end_key || i == p->window_time_key;
        if (!is_window && reads_from(p->keys[i], first)) return;
    }
    for (int i = 0; i < p->n_aggs; i++)
        if (reads_from(p->aggs[i].arg, first) || reads_from(p->aggs[i].filter, first)) return;
    a->takes_panes = true;
    a->merged = malloc(sizeof *a->merged);
    check(a->merged != NULL);
    slice_init(a->merged, 0);
}

bool aggregate_takes_panes(const struct op *o)
{
    return o->aggregate->takes_panes;
}

/* The latest end that is over at this watermark. */
static int64_t over_until(const struct window_spec *w, int64_t watermark)
{
    if (watermark == WATERMARK_NONE || watermark == WATERMARK_END) return INT64_MIN;
    return window_pane(w, watermark + WINDOW_LAST_US);
}

static void merge(struct aggregate *a, struct slice *into, struct slice *from, bool keeps)
{
    for (uint32_t i = 0; i < from->n_groups; i++) {
        struct group *g = from->groups[i], *to = slice_find(into, g->key, g->hash);
        bool is_new = to == NULL;
        if (is_new) {
            to = slice_add(into, g->key, g->hash, a->plan->n_aggs);
            to->seq = g->seq;
        }
        if (g->seq < to->seq) to->seq = g->seq;
        if (g->time_ms > to->time_ms) to->time_ms = g->time_ms;
        agg_merge(a->plan->aggs, a->plan->n_aggs, to, g->states);
        if (keeps) group_touch(a, to, is_new);
    }
    into->is_sorted = false;
}

static void fire_hop(struct op *o, int64_t end)
{
    struct aggregate *a = o->aggregate;
    const struct window_spec *w = &a->plan->window;
    uint32_t over = 0;
    slice_reset(a->merged, 0);
    for (uint32_t i = 0; i < a->n_open && a->open[i]->start < end; i++) {
        check(a->open[i]->start >= end - w->size_us); /* N3 */
        merge(a, a->merged, a->open[i], false);
    }
    emit_slice(o, a->merged, end);
    out_push(o); /* before the memory of the groups goes */
    while (over < a->n_open && window_last_end(w, a->open[over]->start) <= end)
        over++;
    slices_drop(o, 0, over);
}

static void fire_cumulate(struct op *o, int64_t end)
{
    struct aggregate *a = o->aggregate;
    const struct window_spec *w = &a->plan->window;
    int64_t begin = window_begin(w, end);
    struct slice *base = slice_get(a, begin);
    uint32_t n = 1;
    check(a->open[0] == base);
    for (; n < a->n_open && a->open[n]->start < end; n++)
        merge(a, base, a->open[n], true);
    slices_drop(o, 1, n - 1);
    emit_slice(o, base, end);
    out_push(o);
    if (end == begin + w->size_us) slices_drop(o, 0, 1);
}

static void fire_until(struct op *o, int64_t watermark)
{
    struct aggregate *a = o->aggregate;
    const struct window_spec *w = &a->plan->window;
    if (watermark == WATERMARK_NONE) return;
    while (a->n_open > 0) {
        int64_t end = a->open[0]->start + w->step_us;
        if (a->fired != INT64_MIN && end <= a->fired) end = a->fired + w->step_us;
        if (!window_is_over(end, watermark)) break;
        if (w->kind == WINDOW_HOP)
            fire_hop(o, end);
        else
            fire_cumulate(o, end);
        a->fired = end;
    }
    int64_t over = over_until(w, watermark);
    if (over > a->fired) a->fired = over;
}

void panes_watermark(struct op *o, int64_t watermark)
{
    fire_until(o, watermark);
}

void panes_resume(struct op *o, int64_t watermark)
{
    o->aggregate->fired = over_until(&o->aggregate->plan->window, watermark);
}

/* Rows sel[0, n) of the chunk, between two ends. */
static void push_run(struct op *o, const struct chunk *c, const uint16_t *sel, int n)
{
    struct aggregate *a = o->aggregate;
    const struct window_spec *w = &a->plan->window;
    const struct vector *pane = &c->cols[c->n_cols - 3];
    int kept = 0;
    for_rows(i, sel, n)
    {
        int64_t start = pane->i[i], last = window_last_end(w, start);
        int64_t watermark = c->watermark ? c->watermark[i] : c->watermark_all;
        if (UNLIKELY(window_is_over(last, watermark))) {
            o->pipeline->hooks.late(o->pipeline->hooks.arg, &c->origin[i], last, watermark);
            continue;
        }
        if (w->kind == WINDOW_CUMULATE && start + w->step_us <= a->fired)
            start = window_start(start, w->size_us, w->offset_us); /* N3 */
        a->start[i] = start;
        a->sel_late[kept++] = (uint16_t)i;
    }
    aggregate_rows(o, c, a->sel_late, kept);
}

void panes_push(struct op *o, const struct chunk *c)
{
    const struct window_spec *w = &o->aggregate->plan->window;
    uint16_t all[LIMIT_CHUNK_ROWS];
    const uint16_t *sel = c->sel;
    if (sel == NULL) {
        for (int i = 0; i < c->n_sel; i++)
            all[i] = (uint16_t)i;
        sel = all;
    }
    for (int from = 0, to; from < c->n_sel; from = to) {
        int64_t watermark = c->watermark ? c->watermark[sel[from]] : c->watermark_all;
        int64_t over = over_until(w, watermark);
        to = c->watermark ? from + 1 : c->n_sel;
        while (to < c->n_sel && over_until(w, c->watermark[sel[to]]) == over)
            to++;
        if (over > o->aggregate->fired) fire_until(o, watermark); /* N2 */
        push_run(o, c, sel + from, to - from);
    }
}
