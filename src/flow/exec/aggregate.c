/* The aggregate operator: groups of windows, or of a running aggregate.
 *
 * A1  Rows of a chunk are grouped among themselves first (a table of 4,096 two-byte slots in the cache); the
 *     state is looked up once per distinct key of the chunk, not once per row.
 * A2  A window is closed when the watermark passes its end - 1 ms: its groups come out in the order in which
 *     they were created, windows in the order of their time, and its slice is emptied. A row is late when the
 *     watermark it met had closed its window.
 * A3  EMIT CHANGES: the states of a group are remembered at its first change after a flush; the flush then emits
 *     the old row (-1) and the new one (+1) side by side, or nothing when they are equal.
 * A4  Groups remember whether they are dirty (changed since the last collect) and whether they are stored, so
 *     that a commit writes only what changed, and a window that opened and closed between two commits writes
 *     nothing. */
#include "flow/exec/aggregate_int.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/reader.h"

/* ---- making ---- */

static bool is_window_key(const struct plan *p, int key)
{
    return key == p->window_start_key || key == p->window_end_key || key == p->window_time_key;
}

static enum err_code compile_all(struct op *o, struct aggregate *a, struct err *e)
{
    const struct plan *p = o->plan;
    struct arena *arena = &o->pipeline->arena;
    enum err_code rc = ERR_NONE;
    for (int i = 0; i < p->n_keys && rc == ERR_NONE; i++) {
        rc = expr_compile(&a->keys[i], p->keys[i], arena, e);
        if (!is_window_key(p, i)) a->plain[a->n_plain++] = i;
    }
    for (int i = 0; i < p->n_aggs && rc == ERR_NONE; i++) {
        if (p->aggs[i].distinct) return err_set(e, ERR_UNSUPPORTED, "DISTINCT inside of an aggregate");
        if (p->aggs[i].arg) rc = expr_compile(&a->args[i], p->aggs[i].arg, arena, e);
        if (rc == ERR_NONE && p->aggs[i].filter) {
            rc = expr_compile(&a->filters[i], p->aggs[i].filter, arena, e);
            a->filter_sel[i] = arena_array(arena, LIMIT_CHUNK_ROWS, sizeof(uint16_t));
        }
    }
    return rc;
}

enum err_code aggregate_create(struct op *o, enum emit_mode emit, struct err *e)
{
    const struct plan *p = o->plan;
    struct arena *arena = &o->pipeline->arena;
    struct aggregate *a = arena_new(arena, struct aggregate);
    size_t n_keys = (size_t)p->n_keys, n_aggs = (size_t)p->n_aggs;
    o->aggregate = a;
    a->plan = p;
    a->windowed = p->window_start_key >= 0 || p->window_end_key >= 0 || p->window_time_key >= 0;
    a->emit_changes = emit == EMIT_CHANGES;
    a->watermark = WATERMARK_NONE;
    a->keys = arena_array(arena, n_keys, sizeof(struct xnode *));
    a->key_values = arena_array(arena, n_keys, sizeof(struct vector *));
    a->plain = arena_array(arena, n_keys, sizeof(int));
    a->args = arena_array(arena, n_aggs, sizeof(struct xnode *));
    a->filters = arena_array(arena, n_aggs, sizeof(struct xnode *));
    a->arg_values = arena_array(arena, n_aggs, sizeof(struct vector *));
    a->filter_sel = arena_array(arena, n_aggs, sizeof(uint16_t *));
    a->filter_n = arena_array(arena, n_aggs, sizeof(int));
    a->old = arena_array(arena, n_aggs, sizeof *a->old);
    a->cols = arena_array(arena, n_keys + n_aggs, sizeof(struct vector));
    for (int i = 0; i < p->n_keys + p->n_aggs; i++)
        vector_init(&a->cols[i], sql_phys(p->columns[i].type.kind), arena);
    buf_init(&a->deleted, 0);
    buf_init(&a->key, 0);
    buf_init(&a->chunk_keys, 0);
    (void)buf_reserve(&a->chunk_keys, 64);
    arena_init(&a->befores, 0);
    arena_init(&a->scratch, 64u << 10);
    panes_create(o);
    return compile_all(o, a, e);
}

struct arena *aggregate_scratch(struct op *o)
{
    return &o->aggregate->scratch;
}

void aggregate_destroy(struct op *o)
{
    struct aggregate *a = o->aggregate;
    for (int i = 0; i < a->plan->n_keys; i++)
        expr_release(a->keys[i]);
    for (int i = 0; i < a->plan->n_aggs; i++) {
        expr_release(a->args[i]);
        expr_release(a->filters[i]);
    }
    for (uint32_t i = 0; i < a->n_open; i++) {
        slice_deinit(a->open[i]);
        free(a->open[i]);
    }
    for (int i = 0; i < a->n_spare; i++) {
        slice_deinit(a->spare[i]);
        free(a->spare[i]);
    }
    if (a->merged != NULL) slice_deinit(a->merged);
    free(a->merged);
    free(a->open);
    free(a->changed);
    buf_deinit(&a->deleted);
    buf_deinit(&a->key);
    buf_deinit(&a->chunk_keys);
    arena_deinit(&a->befores);
    arena_deinit(&a->scratch);
}

/* ---- slices ---- */

static void *grow(void *list, uint32_t *cap, size_t element)
{
    *cap = *cap ? *cap * 2 : 16;
    list = realloc(list, *cap * element);
    check(list != NULL);
    return list;
}

/* The first open slice that does not start before `start`. */
static uint32_t slice_place(const struct aggregate *a, int64_t start)
{
    uint32_t lo = 0, hi = a->n_open;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (a->open[mid]->start < start)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct slice *slice_get(struct aggregate *a, int64_t start)
{
    uint32_t at = slice_place(a, start);
    if (at < a->n_open && a->open[at]->start == start) return a->open[at];
    struct slice *s;
    if (a->n_spare > 0) {
        s = a->spare[--a->n_spare];
        s->start = start;
    } else {
        s = malloc(sizeof *s);
        check(s != NULL);
        slice_init(s, start);
    }
    if (a->n_open == a->cap_open) a->open = grow(a->open, &a->cap_open, sizeof(struct slice *));
    memmove(a->open + at + 1, a->open + at, (a->n_open - at) * sizeof(struct slice *));
    a->open[at] = s;
    a->n_open++;
    return s;
}

static void state_key(const struct op *o, const struct group *g, struct buf *out)
{
    buf_put_u8(out, 'g');
    buf_put_u8(out, (uint8_t)o->index);
    if (o->aggregate->windowed) buf_put_be64(out, (uint64_t)g->slice->start ^ 1ull << 63);
    buf_put_bytes(out, g->key);
}

void slices_drop(struct op *o, uint32_t from, uint32_t n)
{
    struct aggregate *a = o->aggregate;
    for (uint32_t i = from; i < from + n; i++) {
        struct slice *s = a->open[i];
        for (uint32_t k = 0; k < s->n_groups; k++) {
            if (!(s->groups[k]->flags & GROUP_STORED)) continue;
            buf_clear(&a->key);
            state_key(o, s->groups[k], &a->key);
            buf_put_uvarint(&a->deleted, a->key.len);
            buf_put_bytes(&a->deleted, buf_bytes(&a->key));
        }
        a->n_dirty -= s->n_dirty;
        if (a->n_spare < SPARE_SLICES_MAX) {
            slice_reset(s, 0);
            a->spare[a->n_spare++] = s;
        } else {
            slice_deinit(s);
            free(s);
        }
    }
    a->n_open -= n;
    memmove(a->open + from, a->open + from + n, (a->n_open - from) * sizeof(struct slice *));
}

/* ---- grouping a chunk ---- */

static inline uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
}

static inline uint64_t double_bits(double d)
{
    uint64_t u;
    if (d == 0) d = 0;
    if (isnan(d)) d = NAN;
    memcpy(&u, &d, 8);
    return u;
}

static void hash_column(struct aggregate *a, const struct vector *v, const uint16_t *sel, int n)
{
    int mask = v->is_const ? 0 : -1;
    uint64_t *h = a->hash;
    if (v->has_nulls) { /* NULLs first: the value under a NULL must not count */
        for_rows(i, sel, n)
        {
            uint64_t x = 0x6e756c6c;
            if (!v->nulls[i & mask]) {
                if (v->phys == PHYS_I64)
                    x = (uint64_t)v->i[i & mask];
                else if (v->phys == PHYS_F64)
                    x = double_bits(v->d[i & mask]);
                else if (v->phys == PHYS_BOOL)
                    x = v->b[i & mask] != 0;
                else
                    x = hash64(v->s[i & mask].ptr, v->s[i & mask].len);
            }
            h[i] = mix(h[i], x);
        }
        return;
    }
    switch (v->phys) {
    case PHYS_BOOL: for_rows(i, sel, n) h[i] = mix(h[i], v->b[i & mask] != 0); break;
    case PHYS_I64: for_rows(i, sel, n) h[i] = mix(h[i], (uint64_t)v->i[i & mask]); break;
    case PHYS_F64: for_rows(i, sel, n) h[i] = mix(h[i], double_bits(v->d[i & mask])); break;
    case PHYS_STR: for_rows(i, sel, n) h[i] = mix(h[i], hash64(v->s[i & mask].ptr, v->s[i & mask].len)); break;
    }
}

static inline bool same_value(const struct vector *v, int x, int y)
{
    if (v->is_const) return true;
    if (v->has_nulls) {
        if (v->nulls[x] != v->nulls[y]) return false;
        if (v->nulls[x]) return true;
    }
    switch (v->phys) {
    case PHYS_BOOL: return (v->b[x] != 0) == (v->b[y] != 0);
    case PHYS_I64: return v->i[x] == v->i[y];
    case PHYS_F64: return double_bits(v->d[x]) == double_bits(v->d[y]);
    case PHYS_STR: return v->s[x].len == v->s[y].len && memcmp(v->s[x].ptr, v->s[y].ptr, v->s[x].len) == 0;
    }
    return false;
}

static inline bool same_group(const struct aggregate *a, int x, int y)
{
    if (a->windowed && a->start[x] != a->start[y]) return false;
    for (int k = 0; k < a->n_plain; k++)
        if (!same_value(a->key_values[a->plain[k]], x, y)) return false;
    return true;
}

/* Numbers the distinct keys of the chunk in order of appearance: local[row], first[number]. */
static void group_locally(struct aggregate *a, const uint16_t *sel, int n)
{
    if (a->windowed)
        for_rows(i, sel, n) a->hash[i] = mix(0, (uint64_t)a->start[i]);
    else
        for_rows(i, sel, n) a->hash[i] = 0;
    for (int k = 0; k < a->n_plain; k++)
        hash_column(a, a->key_values[a->plain[k]], sel, n);
    memset(a->slots, 0, sizeof a->slots);
    a->n_local = 0;
    for_rows(i, sel, n)
    {
        uint32_t at = (uint32_t)(a->hash[i] >> 20) & (LOCAL_SLOTS - 1);
        for (;; at = (at + 1) & (LOCAL_SLOTS - 1)) {
            uint16_t s = a->slots[at];
            if (s == 0) {
                a->first[a->n_local] = (uint16_t)i;
                a->slots[at] = (uint16_t)(a->n_local + 1);
                a->local[i] = (uint16_t)a->n_local++;
                break;
            }
            int f = a->first[s - 1];
            if (a->hash[f] == a->hash[i] && same_group(a, f, i)) {
                a->local[i] = (uint16_t)(s - 1);
                break;
            }
        }
    }
}

void group_touch(struct aggregate *a, struct group *g, bool is_new)
{
    if (!(g->flags & GROUP_DIRTY)) a->n_dirty++;
    slice_mark_dirty(g->slice, g);
    if (!a->emit_changes || (g->flags & GROUP_CHANGED)) return;
    g->flags |= GROUP_CHANGED;
    g->before = BYTES_NULL;
    if (!is_new) {
        buf_clear(&a->key);
        agg_states_put(&a->key, a->plan->aggs, a->plan->n_aggs, g->states);
        g->before = arena_copy(&a->befores, buf_bytes(&a->key));
    }
    if (a->n_changed == a->cap_changed) a->changed = grow(a->changed, &a->cap_changed, sizeof(struct group *));
    a->changed[a->n_changed++] = g;
}

static struct group *group_get(struct aggregate *a, struct slice *s, struct bytes key, uint64_t hash)
{
    struct group *g = slice_find(s, key, hash);
    bool is_new = g == NULL;
    if (is_new) {
        g = slice_add(s, key, hash, a->plan->n_aggs);
        g->seq = a->next_seq++;
    }
    group_touch(a, g, is_new);
    return g;
}

/* Three passes, so that the cache misses of a chunk's lookups overlap: keys and hashes, then slots, then groups. */
static void groups_find(struct aggregate *a, const struct chunk *c, const uint16_t *sel, int n)
{
    struct slice *slice = NULL;
    buf_clear(&a->chunk_keys);
    for (int l = 0; l < a->n_local; l++) {
        int row = a->first[l];
        int64_t start = a->windowed ? a->start[row] : 0;
        size_t from = a->chunk_keys.len;
        if (slice == NULL || slice->start != start) slice = slice_get(a, start);
        for (int k = 0; k < a->n_plain; k++)
            key_put(&a->chunk_keys, a->key_values[a->plain[k]], row);
        a->wanted[l] = (struct wanted){.slice = slice, .from = from, .len = a->chunk_keys.len - from};
        a->wanted[l].hash = hash64(a->chunk_keys.ptr + from, a->chunk_keys.len - from);
        slice_prefetch_slot(slice, a->wanted[l].hash);
    }
    for (int l = 0; l < a->n_local; l++)
        slice_prefetch_group(a->wanted[l].slice, a->wanted[l].hash);
    for (int l = 0; l < a->n_local; l++) {
        const struct wanted *w = &a->wanted[l];
        a->of_local[l] = group_get(a, w->slice, bytes_of(a->chunk_keys.ptr + w->from, w->len), w->hash);
    }
    for_rows(i, sel, n)
    {
        struct group *g = a->of_local[a->local[i]];
        a->of_row[i] = g;
        if (c->origin[i].timestamp_ms > g->time_ms) g->time_ms = c->origin[i].timestamp_ms;
    }
}

/* ---- input ---- */

/* Fills start[] and takes late rows out; returns how many are left in sel_late. A window is known by its end. */
static int take_late_out(struct op *o, const struct chunk *c)
{
    struct aggregate *a = o->aggregate;
    const struct plan *p = a->plan;
    const struct vector *v = expr_eval(a->keys[p->window_end_key], &o->eval, c, c->sel, c->n_sel);
    int mask = v->is_const ? 0 : -1, kept = 0;
    for_rows(i, c->sel, c->n_sel)
    {
        int64_t end = v->i[i & mask], watermark = c->watermark ? c->watermark[i] : c->watermark_all;
        a->start[i] = end - p->window.size_us;
        if (UNLIKELY(window_is_over(end, watermark)))
            o->pipeline->hooks.late(o->pipeline->hooks.arg, &c->origin[i], end, watermark);
        else
            a->sel_late[kept++] = (uint16_t)i;
    }
    return kept;
}

/* Keys, filters and arguments of all rows, before any state changes: a row that fails in one of them is in none. */
static int evaluate(struct op *o, const struct chunk *c, const uint16_t **sel, int n)
{
    struct aggregate *a = o->aggregate;
    struct row_errors *r = &o->pipeline->errors;
    for (int k = 0; k < a->n_plain; k++)
        a->key_values[a->plain[k]] = expr_eval(a->keys[a->plain[k]], &o->eval, c, *sel, n);
    for (int i = 0; i < a->plan->n_aggs; i++) {
        const uint16_t *rows = *sel;
        int m = n;
        if (a->filters[i]) {
            m = a->filter_n[i] = expr_filter(a->filters[i], &o->eval, c, *sel, n, a->filter_sel[i]);
            rows = a->filter_sel[i];
        }
        if (a->args[i]) a->arg_values[i] = expr_eval(a->args[i], &o->eval, c, rows, m);
    }
    if (LIKELY(r->count == 0)) return n;
    for (int i = 0; i < a->plan->n_aggs; i++) {
        if (a->filters[i] == NULL) continue;
        int kept = 0;
        for (int k = 0; k < a->filter_n[i]; k++)
            if (!r->flag[a->filter_sel[i][k]]) a->filter_sel[i][kept++] = a->filter_sel[i][k];
        a->filter_n[i] = kept;
    }
    n = op_report_bad(o, c, *sel, n, a->sel);
    *sel = a->sel;
    return n;
}

void aggregate_rows(struct op *o, const struct chunk *c, const uint16_t *sel, int n)
{
    struct aggregate *a = o->aggregate;
    if (n > 0) n = evaluate(o, c, &sel, n);
    if (n == 0) return;
    group_locally(a, sel, n);
    groups_find(a, c, sel, n);
    for (int i = 0; i < a->plan->n_aggs; i++) {
        bool filtered = a->filters[i] != NULL;
        agg_update(&a->plan->aggs[i], i, a->arg_values[i], filtered ? a->filter_sel[i] : sel,
                   filtered ? a->filter_n[i] : n, a->of_row);
    }
}

void aggregate_push(struct op *o, const struct chunk *c)
{
    struct aggregate *a = o->aggregate;
    if (a->takes_panes) {
        panes_push(o, c);
    } else if (a->windowed) {
        int n = take_late_out(o, c);
        aggregate_rows(o, c, n < c->n_sel ? a->sel_late : c->sel, n);
    } else {
        aggregate_rows(o, c, c->sel, c->n_sel);
    }
}

/* ---- output ---- */

void out_push(struct op *o)
{
    struct aggregate *a = o->aggregate;
    if (a->n_out == 0) return;
    struct chunk c = {.n_rows = a->n_out,
                      .n_cols = a->plan->n_columns,
                      .cols = a->cols,
                      .n_sel = a->n_out,
                      .change = a->emit_changes ? a->change : NULL,
                      .origin = a->origins,
                      .watermark_all = a->watermark};
    if (UNLIKELY(o->pipeline->errors.count > 0)) {
        c.n_sel = op_report_bad(o, &c, NULL, c.n_rows, a->sel);
        c.sel = a->sel;
    }
    a->n_out = 0;
    if (c.n_sel > 0) op_next(o, &c);
    arena_reset(&a->scratch);
    for (int i = 0; i < c.n_cols; i++)
        a->cols[i].has_nulls = false;
}

/* The key of an output record: the grouping columns without the window's (kept by its time), as plain text when there
 * is one, else as a JSON array. Changes of windows are told apart by the window's start in front, or by its end where
 * several begin together. */
static struct bytes out_key(struct op *o, int row, int64_t time)
{
    struct aggregate *a = o->aggregate;
    struct sql_value v;
    struct sql_type t = {.kind = SQL_TIMESTAMP, .precision = 3};
    bool with_time = a->windowed && (a->emit_changes || a->n_plain == 0);
    int n = a->n_plain + with_time;
    buf_clear(&a->key);
    if (n != 1) buf_put_u8(&a->key, '[');
    for (int k = -(int)with_time; k < a->n_plain; k++) {
        int column = k >= 0 ? a->plain[k] : -1;
        if (column >= 0) {
            t = a->plan->columns[column].type;
            vector_get(&a->cols[column], row, t.kind, &v);
        } else {
            v = (struct sql_value){.kind = t.kind, .i = time};
        }
        if (n == 1) {
            sql_value_put_text(&a->key, &v, t);
            continue;
        }
        if (k > -(int)with_time) buf_put_u8(&a->key, ',');
        sql_value_put_json(&a->key, &v, t);
    }
    if (n != 1) buf_put_u8(&a->key, ']');
    return arena_copy(&a->scratch, buf_bytes(&a->key));
}

/* `end`: of the window the group stands for. */
static void out_add(struct op *o, const struct group *g, const struct agg_state *states, int8_t change, int64_t end)
{
    struct aggregate *a = o->aggregate;
    const struct plan *p = a->plan;
    struct bytes key = g->key;
    int64_t start = a->windowed ? window_begin(&p->window, end) : 0;
    struct sql_value v;
    int row = a->n_out;
    for (int k = 0; k < p->n_keys; k++) {
        if (is_window_key(p, k)) {
            v = (struct sql_value){.kind = p->columns[k].type.kind,
                                   .i = k == p->window_start_key ? start
                                        : k == p->window_end_key ? end
                                                                 : end - WINDOW_LAST_US};
        } else {
            bool ok = key_take(&key, p->columns[k].type.kind, &v);
            check(ok);
        }
        vector_set(&a->cols[k], row, &v);
    }
    for (int i = 0; i < p->n_aggs; i++) {
        if (!agg_result(&p->aggs[i], &states[i], &v)) {
            struct row_errors *r = &o->pipeline->errors;
            if (!r->flag[row]) r->count++;
            r->flag[row] = 1;
            r->text[row] = "integer overflow in SUM";
        }
        vector_set(&a->cols[p->n_keys + i], row, &v);
    }
    a->change[row] = change;
    a->origins[row] = (struct row_origin){.key = o->pipeline->options.want_keys
                                                     ? out_key(o, row, p->window.kind == WINDOW_CUMULATE ? end : start)
                                                     : BYTES_NULL,
                                          .partition = -1,
                                          .offset = -1,
                                          .timestamp_ms = a->windowed ? end / 1000 - 1 : g->time_ms};
    a->n_out++;
    /* An update is two rows that travel together: a chunk ends only behind a new row. */
    if (a->n_out >= LIMIT_CHUNK_ROWS - 1 && change > 0) out_push(o);
}

void emit_slice(struct op *o, struct slice *s, int64_t end)
{
    slice_sort(s);
    for (uint32_t k = 0; k < s->n_groups; k++)
        out_add(o, s->groups[k], s->groups[k]->states, 1, end);
}

void aggregate_watermark(struct op *o, int64_t watermark)
{
    struct aggregate *a = o->aggregate;
    int64_t size = a->plan->window.size_us;
    uint32_t n = 0;
    if (a->takes_panes) panes_watermark(o, watermark);
    if (!a->windowed || a->takes_panes) {
        a->watermark = watermark;
        return;
    }
    while (n < a->n_open && window_is_over(a->open[n]->start + size, watermark))
        n++;
    if (n > 0) {
        if (a->emit_changes) aggregate_flush(o);
        for (uint32_t i = 0; i < n && !a->emit_changes; i++)
            emit_slice(o, a->open[i], a->open[i]->start + size);
        out_push(o); /* before the memory of the groups goes */
        slices_drop(o, 0, n);
    }
    a->watermark = watermark;
}

void aggregate_resume(struct op *o, int64_t watermark)
{
    o->aggregate->watermark = watermark;
    if (o->aggregate->takes_panes) panes_resume(o, watermark);
}

static bool same_results(const struct aggregate *a, const struct agg_state *x, const struct agg_state *y)
{
    for (int i = 0; i < a->plan->n_aggs; i++) {
        struct sql_value v, w;
        bool ok = agg_result(&a->plan->aggs[i], &x[i], &v), ok2 = agg_result(&a->plan->aggs[i], &y[i], &w);
        if (ok != ok2 || v.is_null != w.is_null) return false;
        if (v.is_null) continue;
        switch (sql_phys(v.kind)) {
        case PHYS_BOOL:
            if (v.b != w.b) return false;
            break;
        case PHYS_I64:
            if (v.i != w.i) return false;
            break;
        case PHYS_F64:
            if (double_bits(v.d) != double_bits(w.d)) return false;
            break;
        case PHYS_STR:
            if (!bytes_equal(v.s, w.s)) return false;
            break;
        }
    }
    return true;
}

void aggregate_flush(struct op *o)
{
    struct aggregate *a = o->aggregate;
    for (uint32_t i = 0; i < a->n_changed; i++) {
        struct group *g = a->changed[i];
        int64_t end = g->slice->start + a->plan->window.size_us;
        g->flags &= ~(unsigned)GROUP_CHANGED;
        if (g->before.ptr) {
            struct bytes in = g->before;
            bool ok = agg_states_take(&in, a->plan->aggs, a->plan->n_aggs, a->old, &a->scratch);
            check(ok);
            if (same_results(a, a->old, g->states)) continue;
            out_add(o, g, a->old, -1, end);
        }
        out_add(o, g, g->states, 1, end);
    }
    a->n_changed = 0;
    out_push(o);
    arena_reset(&a->befores);
}

void aggregate_end(struct op *o)
{
    struct aggregate *a = o->aggregate;
    if (a->windowed) {
        aggregate_watermark(o, WATERMARK_END);
        return;
    }
    if (a->emit_changes) {
        aggregate_flush(o);
        return;
    }
    if (a->n_open == 0 && a->plan->n_keys == 0)
        (void)group_get(a, slice_get(a, 0), bytes_of("", 0), hash64("", 0)); /* COUNT(*) of nothing is 0 */
    for (uint32_t i = 0; i < a->n_open; i++)
        emit_slice(o, a->open[i], 0);
    out_push(o);
}

/* ---- state ---- */

int64_t aggregate_newest_end(const struct op *o)
{
    const struct aggregate *a = o->aggregate;
    if (!a->windowed || a->n_open == 0) return INT64_MIN;
    int64_t newest = a->open[a->n_open - 1]->start;
    return a->takes_panes ? window_last_end(&a->plan->window, newest) : newest + a->plan->window.size_us;
}

uint64_t aggregate_groups(const struct op *o)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < o->aggregate->n_open; i++)
        n += o->aggregate->open[i]->n_groups;
    return n;
}

size_t aggregate_bytes(const struct op *o)
{
    size_t n = o->aggregate->befores.used_bytes;
    for (uint32_t i = 0; i < o->aggregate->n_open; i++)
        n += slice_bytes(o->aggregate->open[i]);
    return n;
}

bool aggregate_has_changes(const struct op *o)
{
    return o->aggregate->n_dirty > 0 || o->aggregate->n_changed > 0 || o->aggregate->deleted.len > 0;
}

static void collect_group(struct op *o, struct group *g, struct buf *value, pipeline_state_fn fn, void *arg)
{
    struct aggregate *a = o->aggregate;
    buf_clear(&a->key);
    buf_clear(value);
    state_key(o, g, &a->key);
    buf_put_uvarint(value, g->seq);
    buf_put_varint(value, g->time_ms);
    agg_states_put(value, a->plan->aggs, a->plan->n_aggs, g->states);
    g->flags |= GROUP_STORED;
    fn(arg, buf_bytes(&a->key), buf_bytes(value));
}

void aggregate_collect(struct op *o, bool all, pipeline_state_fn fn, void *arg)
{
    struct aggregate *a = o->aggregate;
    struct buf value;
    struct reader r = reader_of(buf_bytes(&a->deleted));
    buf_init(&value, 0);
    while (!all && reader_left(&r) > 0) {
        struct bytes key = reader_take(&r, reader_uvarint32(&r));
        check(!r.failed);
        fn(arg, key, BYTES_NULL);
    }
    buf_clear(&a->deleted);
    for (uint32_t i = 0; i < a->n_open; i++) {
        struct slice *s = a->open[i];
        for (uint32_t k = 0; all && k < s->n_groups; k++)
            collect_group(o, s->groups[k], &value, fn, arg);
        for (uint32_t k = 0; k < s->n_dirty; k++) {
            if (!all) collect_group(o, s->dirty[k], &value, fn, arg);
            s->dirty[k]->flags &= ~(unsigned)GROUP_DIRTY;
        }
        s->n_dirty = 0;
    }
    a->n_dirty = 0;
    buf_deinit(&value);
}

bool aggregate_restore(struct op *o, struct bytes key, struct bytes value)
{
    struct aggregate *a = o->aggregate;
    struct reader k = reader_of(bytes_slice(key, 2, key.len - 2)), v = reader_of(value);
    int64_t start = a->windowed ? (int64_t)(reader_be64(&k) ^ 1ull << 63) : 0;
    uint64_t seq = reader_uvarint64(&v);
    int64_t time_ms = reader_varint64(&v);
    if (k.failed || v.failed) return false;
    struct bytes group_key = bytes_of(k.at, reader_left(&k)), states = bytes_of(v.at, reader_left(&v)),
                 rest = group_key;
    struct slice *s = slice_get(a, start);
    uint64_t hash = hash64(group_key.ptr, group_key.len);
    for (int i = 0; i < a->n_plain; i++) {
        struct sql_value out;
        if (!key_take(&rest, a->plan->columns[a->plain[i]].type.kind, &out)) return false;
    }
    if (rest.len > 0 || slice_find(s, group_key, hash)) return false;
    struct group *g = slice_add(s, group_key, hash, a->plan->n_aggs);
    g->seq = seq;
    g->time_ms = time_ms;
    g->flags = GROUP_STORED;
    if (s->n_groups > 1 && s->groups[s->n_groups - 2]->seq > seq) s->is_sorted = false;
    if (seq >= a->next_seq) a->next_seq = seq + 1;
    return agg_states_take(&states, a->plan->aggs, a->plan->n_aggs, g->states, &s->arena) && states.len == 0;
}
