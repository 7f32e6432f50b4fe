/* slot.c: the array of a log's segments, and the ranges that cannot be read.
 *
 * Sealed segments are opened at first use and closed when more than LOG_SEALED_OPEN_MAX are: descriptors and index
 * memory stay bounded however long the log is. A slice keeps its segment alive by reference, so closing only drops the
 * array's own. */
#include "log/log_int.h"

#include <stdatomic.h>
#include <stdlib.h>

void log_slot_push(struct log *l, const struct log_slot *slot)
{
    if (l->n_slots == l->cap_slots) {
        size_t cap = l->cap_slots ? 2 * l->cap_slots : 8;
        struct log_slot *grown = realloc(l->slots, cap * sizeof(*grown));
        check(grown != NULL);
        l->slots = grown;
        l->cap_slots = cap;
    }
    check(l->n_slots == 0 || l->slots[l->n_slots - 1].base < slot->base);
    l->slots[l->n_slots++] = *slot;
}

struct log_slot *log_slot_find(struct log *l, int64_t offset)
{
    size_t lo = 0, hi = l->n_slots; /* the first with a base above the offset */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->slots[mid].base <= offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo == 0 ? NULL : &l->slots[lo - 1];
}

static void close_least_used(struct log *l)
{
    struct log_slot *least = NULL;
    for (size_t i = 0; i + 1 < l->n_slots; i++) {
        struct log_slot *s = &l->slots[i];
        if (s->seg != NULL && !s->pinned && (least == NULL || s->used < least->used)) least = s;
    }
    if (least == NULL) return;
    segment_unref(least->seg);
    least->seg = NULL;
    l->n_sealed_open--;
}

enum err_code log_slot_acquire(struct log *l, struct log_slot *slot, struct segment **out, struct err *e)
{
    slot->used = ++l->tick;
    if (slot->seg == NULL) {
        struct segment *seg;
        struct log_rest rest;
        uint64_t size = 0;

        enum err_code rc = segment_open(&seg, l->fs, l->dir, slot->base, FS_READ, log_map_len(l), &size, e);
        if (rc != ERR_NONE) return rc;
        rc = segment_load_index(seg, size, e);
        /* A sealed segment is durable as a whole, so whatever is bad in it is rot. */
        if (rc == ERR_NONE) rc = log_scan_rest(l, seg, size, INT64_MAX, slot->next, &rest, e);
        if (rc != ERR_NONE) {
            segment_unref(seg);
            return rc;
        }
        if (l->n_sealed_open >= LOG_SEALED_OPEN_MAX) close_least_used(l);
        slot->seg = seg;
        l->n_sealed_open++;
    }
    segment_ref(slot->seg);
    *out = slot->seg;
    return ERR_NONE;
}

void log_damage_add(struct log *l, int64_t from, int64_t to)
{
    int64_t start = atomic_load_explicit(&l->start, memory_order_relaxed);
    size_t at = 0;

    if (from < start) from = start;
    if (from > to) return;
    while (at < l->n_damage && l->damage[at].to < from)
        at++;
    if (at < l->n_damage && l->damage[at].from <= to) { /* touches one that is known */
        if (from < l->damage[at].from) l->damage[at].from = from;
        if (to > l->damage[at].to) l->damage[at].to = to;
        return;
    }
    if (l->n_damage == LOG_DAMAGES_MAX) {
        struct log_damage_range *last = &l->damage[LOG_DAMAGES_MAX - 1];
        if (from < last->from) last->from = from;
        if (to > last->to) last->to = to;
        return;
    }
    memmove(&l->damage[at + 1], &l->damage[at], (l->n_damage - at) * sizeof(l->damage[0]));
    l->damage[at] = (struct log_damage_range){from, to};
    l->n_damage++;
}

const struct log_damage_range *log_damage_at(const struct log *l, int64_t offset)
{
    for (size_t i = 0; i < l->n_damage; i++)
        if (l->damage[i].to >= offset) return &l->damage[i];
    return NULL;
}

enum err_code log_damage_error(const struct log_damage_range *d, struct err *e)
{
    enum err_code rc =
        err_set(e, ERR_CORRUPT, "offsets %lld to %lld are damaged on disk", (long long)d->from, (long long)d->to);
    err_hint(e, "records outside of this range can be read; run weir verify for the places");
    return rc;
}

/* Steps over a batch whose body is bad. Its own offset count may be what is bad, so the batch behind it says where it
 * ends; with none behind, `next` is the best guess. It gets an index interval of its own: readers of the batches around
 * it then never walk over it. */
static void step_over(struct log *l, struct segment *seg, struct scan *s, struct batch_view *v, int64_t next)
{
    int64_t peeked = scan_peek_offset(s, s->position + v->bytes.len);

    if (peeked >= 0) next = peeked;
    if (next > v->base_offset && next - seg->base <= UINT32_MAX)
        v->last_offset_delta = (int32_t)(next - v->base_offset - 1);
    v->max_timestamp = INT64_MIN;
    if (v->last_offset_delta < 0 || batch_last_offset(v) + 1 - seg->base > UINT32_MAX) v->last_offset_delta = 0;
    segment_close_interval(seg);
    seg->has_damage = true;
    log_damage_add(l, v->base_offset, batch_last_offset(v));
    segment_note(seg, v);
    segment_close_interval(seg);
    scan_skip(s, v);
}

enum err_code log_scan_rest(struct log *l, struct segment *seg, uint64_t file_size, int64_t durable, int64_t next_base,
                            struct log_rest *out, struct err *e)
{
    struct scan s;
    struct batch_view v;
    enum err_code rc = ERR_NONE;
    uint64_t from = atomic_load_explicit(&seg->size, memory_order_relaxed);
    int64_t must_reach = durable < next_base ? durable : next_base;

    *out = (struct log_rest){0};
    scan_init(&s, l->fs, seg->file, file_size, from, atomic_load_explicit(&seg->next, memory_order_relaxed),
              seg->epoch);
    for (;;) {
        enum scan_step step = scan_next(&s, &v, e);
        if (step == SCAN_BATCH) {
            if (batch_last_offset(&v) - seg->base < UINT32_MAX) {
                segment_note(seg, &v);
                continue;
            }
            step = SCAN_BAD; /* No segment of ours goes so far (S5). */
            s.is_body_only = false;
        }
        if (step == SCAN_ERROR) {
            rc = e != NULL && e->code != ERR_NONE ? e->code : ERR_IO;
            break;
        }
        out->next = atomic_load_explicit(&seg->next, memory_order_relaxed);
        if (step == SCAN_BAD && out->next >= durable) {
            out->cut = true;
            break;
        }
        if (step == SCAN_BAD && s.is_body_only) {
            step_over(l, seg, &s, &v, next_base != INT64_MAX ? next_base : durable);
            continue;
        }
        /* The end, or a head that cannot be trusted: nothing in this file says where to go on. */
        if (out->next < must_reach) {
            seg->has_damage = true;
            log_damage_add(l, out->next, must_reach - 1);
            out->next = must_reach;
        } else if (step == SCAN_BAD) {
            seg->has_damage = true;
        }
        break;
    }
    out->scanned_bytes = s.position - from;
    scan_deinit(&s);
    return rc;
}
