/* compact_filter.c: what of a batch stays. Rules: compact.c. */
#include "log/compact_int.h"

#include <stdatomic.h>
#include <stdlib.h>

/* ---- transactions, as the batches pass by ---- */

void compact_txns_reset(struct compact_txns *t)
{
    t->next = t->n_on = 0;
    map_deinit(&t->with_data);
    map_init(&t->with_data);
}

static void on_push(struct compact_txns *t, const struct aborted_txn *a)
{
    if (t->n_on == t->cap_on) {
        t->cap_on = t->cap_on ? 2 * t->cap_on : 8;
        t->on = realloc(t->on, t->cap_on * sizeof(*t->on));
        check(t->on != NULL);
    }
    t->on[t->n_on++] = *a;
}

static bool is_aborted(struct compact_txns *t, const struct batch_view *v)
{
    size_t kept = 0;
    bool found = false;

    while (t->next < t->n && t->all[t->next].first <= v->base_offset)
        on_push(t, &t->all[t->next++]);
    for (size_t i = 0; i < t->n_on; i++) {
        if (t->on[i].last < v->base_offset) continue;
        found |= t->on[i].producer_id == v->producer_id;
        t->on[kept++] = t->on[i];
    }
    t->n_on = kept;
    return found && (v->attributes & BATCH_ATTR_TRANSACTIONAL);
}

static void note_data(struct compact_txns *t, const struct batch_view *v)
{
    int64_t id = v->producer_id;
    if (v->attributes & BATCH_ATTR_TRANSACTIONAL) (void)map_put(&t->with_data, bytes_of(&id, sizeof(id)), t);
}

/* ---- collecting keys ---- */

enum err_code compact_collect(struct compaction *c, const struct batch_view *v, struct err *e)
{
    struct batch_iter it;
    struct record r;
    bool more;

    if (batch_last_offset(v) < c->map_from || (v->attributes & BATCH_ATTR_CONTROL)) return ERR_NONE;
    if (is_aborted(&c->txns, v)) return ERR_NONE;
    enum err_code rc = batch_iter_init(&it, v, &c->plain, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (r.offset < c->map_from || bytes_is_null(r.key)) continue;
        if (keymap_put(&c->map, r.key, r.offset)) continue;
        c->is_map_full = true;
        c->map_end = r.offset;
        break;
    }
    return rc == ERR_CORRUPT ? ERR_NONE : rc; /* F6 */
}

/* ---- filtering ---- */

static const struct producer_last *last_of(const struct compaction *c, int64_t id)
{
    size_t lo = 0, hi = c->n_last;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->last[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n_last && c->last[lo].id == id ? &c->last[lo] : NULL;
}

static void note_horizon(struct compaction *c, int64_t horizon_ms)
{
    if (horizon_ms < c->horizon_ms) c->horizon_ms = horizon_ms;
}

static int64_t new_horizon(const struct compaction *c)
{
    int64_t sum;
    return __builtin_add_overflow(c->o.now_ms, c->o.delete_retention_ms, &sum) || sum < 0 ? INT64_MAX : sum;
}

/* No record of the batch stays. F4 */
static enum err_code write_nothing(struct compaction *c, const struct batch_view *v, struct err *e)
{
    uint8_t empty[BATCH_HEADER_LEN];
    const struct producer_last *last = v->producer_id >= 0 ? last_of(c, v->producer_id) : NULL;

    c->stats.records_removed += (uint64_t)v->record_count;
    if (last == NULL || last->base_offset != v->base_offset || last->epoch != v->producer_epoch)
        return compact_hole(c, v, e);
    if (v->record_count == 0) return compact_write(c, v->bytes, true, e);
    batch_empty(empty, v->base_offset, batch_last_offset(v), v->leader_epoch, v);
    return compact_write(c, bytes_of(empty, sizeof(empty)), false, e);
}

/* Writes what `edit` has kept. F6: what does not fit stays as it was. */
static enum err_code write_edited(struct compaction *c, const struct batch_view *v, int64_t horizon_ms, struct err *e)
{
    uint64_t room = c->out.seg->map_len - atomic_load(&c->out.seg->size) - BATCH_HEADER_LEN;

    buf_clear(&c->rewritten);
    enum err_code rc = batch_edit_finish(&c->edit, horizon_ms, &c->rewritten, e);
    if (rc == ERR_TOO_LARGE || rc == ERR_LIMIT || (rc == ERR_NONE && c->rewritten.len + c->group_left > room)) {
        err_clear(e);
        return compact_write(c, v->bytes, true, e);
    }
    if (rc != ERR_NONE) return rc;
    c->stats.records_removed += (uint64_t)v->record_count - c->edit.n;
    return compact_write(c, buf_bytes(&c->rewritten), false, e);
}

/* F5 */
static enum err_code filter_marker(struct compaction *c, const struct batch_view *v, struct err *e)
{
    enum batch_control type = batch_control_of(v);
    int64_t id = v->producer_id, horizon_ms = batch_horizon(v);
    bool had_data = map_remove(&c->txns.with_data, bytes_of(&id, sizeof(id))) != NULL;
    const struct producer_last *last = last_of(c, id);
    bool is_last = last != NULL && last->base_offset < 0 && last->epoch == v->producer_epoch;
    struct batch_view plain = *v;
    struct batch_iter it;
    struct record r;
    bool more = false;

    if (type == CONTROL_OTHER || had_data || is_last || batch_last_offset(v) >= c->map_end)
        return compact_write(c, v->bytes, true, e);
    if (horizon_ms >= 0 && c->o.now_ms >= horizon_ms) {
        if (type == CONTROL_ABORT) {
            if (c->n_markers == c->cap_markers) {
                c->cap_markers = c->cap_markers ? 2 * c->cap_markers : 16;
                c->markers = realloc(c->markers, c->cap_markers * sizeof(*c->markers));
                check(c->markers != NULL);
            }
            c->markers[c->n_markers++] = v->base_offset;
        }
        return compact_hole(c, v, e);
    }
    note_horizon(c, horizon_ms >= 0 ? horizon_ms : new_horizon(c));
    if (horizon_ms >= 0) return compact_write(c, v->bytes, true, e);
    plain.attributes = (int16_t)(v->attributes & ~BATCH_ATTR_CONTROL);
    batch_edit_begin(&c->edit, v);
    enum err_code rc = batch_iter_init(&it, &plain, NULL, e);
    if (rc == ERR_NONE) rc = batch_iter_next(&it, &r, &more, e);
    if (rc == ERR_NONE && more) batch_edit_keep(&c->edit, &it, &r);
    if (rc != ERR_NONE || !more) return compact_write(c, v->bytes, true, e); /* cannot be: its type was read */
    return write_edited(c, v, new_horizon(c), e);
}

/* F1, F2, F3 */
static bool stays(const struct compaction *c, const struct batch_view *v, const struct record *r)
{
    int64_t horizon_ms = batch_horizon(v);

    if (r->offset >= c->map_end) return true;
    if (bytes_is_null(r->key)) return false;
    if (keymap_get(&c->map, r->key) > r->offset) return false;
    return !bytes_is_null(r->value) || horizon_ms < 0 || c->o.now_ms < horizon_ms;
}

static enum err_code filter_records(struct compaction *c, const struct batch_view *v, struct err *e)
{
    bool more, has_tombstone = false;
    int64_t horizon_ms = batch_horizon(v);
    struct batch_iter it;
    struct record r;

    batch_edit_begin(&c->edit, v);
    enum err_code rc = batch_iter_init(&it, v, &c->plain, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (!stays(c, v, &r)) continue;
        has_tombstone |= bytes_is_null(r.value) && r.offset < c->map_end;
        batch_edit_keep(&c->edit, &it, &r);
    }
    if (rc == ERR_CORRUPT) { /* F6 */
        err_clear(e);
        return compact_write(c, v->bytes, true, e);
    }
    if (rc != ERR_NONE) return rc;
    if (c->edit.n == 0) return write_nothing(c, v, e);
    if (has_tombstone) note_horizon(c, horizon_ms >= 0 ? horizon_ms : new_horizon(c));
    bool is_new = has_tombstone && horizon_ms < 0;
    if (c->edit.n == (size_t)v->record_count && !is_new) return compact_write(c, v->bytes, true, e);
    return write_edited(c, v, is_new ? new_horizon(c) : -1, e);
}

enum err_code compact_filter(struct compaction *c, const struct batch_view *v, struct err *e)
{
    c->group_left -= v->bytes.len;
    if (v->attributes & BATCH_ATTR_CONTROL) {
        (void)is_aborted(&c->txns, v); /* time passes */
        return filter_marker(c, v, e);
    }
    bool is_void = is_aborted(&c->txns, v);
    note_data(&c->txns, v);
    if (is_void || v->record_count == 0) return write_nothing(c, v, e);
    if (v->base_offset >= c->map_end) return compact_write(c, v->bytes, true, e);
    return filter_records(c, v, e);
}
