/* find.c: looking things up in a log by something else than an offset: time, leader epoch; and walking all headers.
 *
 * All of it goes segment by segment over what the array and the indexes know, and walks batch heads only inside one
 * interval. */
#include "log/log_int.h"

#include <stdatomic.h>

/* Takes the segment that holds *offset, with a reference; *next is where the following one begins. When retention was
 * faster, *offset moves to what is the first now. */
static enum err_code take(struct log *l, int64_t *offset, struct segment **seg, int64_t *next, struct err *e)
{
    enum err_code rc = ERR_NONE;

    *seg = NULL;
    pthread_mutex_lock(&l->lock);
    struct log_slot *slot = log_slot_find(l, *offset);
    if (slot == NULL) {
        slot = l->slots;
        *offset = slot->base;
    }
    rc = log_slot_acquire(l, slot, seg, e);
    *next = slot == &l->slots[l->n_slots - 1] ? INT64_MAX : slot->next;
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* The readable stretch from *from on: skips damage; *to is where the next damage, segment end or limit begins. */
static bool readable(struct log *l, int64_t next, int64_t limit, int64_t *from, int64_t *to)
{
    pthread_mutex_lock(&l->lock);
    const struct log_damage_range *d = log_damage_at(l, *from);
    while (d != NULL && d->from <= *from) {
        *from = d->to + 1;
        d = log_damage_at(l, *from);
    }
    *to = next < limit ? next : limit;
    if (d != NULL && d->from < *to) *to = d->from;
    pthread_mutex_unlock(&l->lock);
    return *from < *to;
}

static void slice_of(struct log_slice *out, struct segment *seg, const struct segment_head *head)
{
    *out = (struct log_slice){.bytes = bytes_of(head->at, head->len), .segment = seg, .next_offset = head->next_offset};
}

enum err_code log_find_time(struct log *l, int64_t ts_ms, struct log_slice *batch, struct err *e)
{
    int64_t limit = log_durable_offset(l), from = log_start_offset(l), to, next;
    struct segment_head head;
    struct segment *seg;

    *batch = (struct log_slice){.bytes = bytes_of("", 0)};
    while (from < limit) {
        /* Sealed segments tell by their newest timestamp; do not open them for nothing. */
        pthread_mutex_lock(&l->lock);
        struct log_slot *slot = log_slot_find(l, from);
        while (slot != NULL && slot + 1 < l->slots + l->n_slots && slot->max_timestamp < ts_ms) {
            from = slot->next;
            slot++;
        }
        pthread_mutex_unlock(&l->lock);
        enum err_code rc = take(l, &from, &seg, &next, e);
        if (rc != ERR_NONE) return rc;
        while (readable(l, next, limit, &from, &to)) {
            rc = segment_find_timestamp(seg, from, to, ts_ms, &head, e);
            if (rc == ERR_NONE) {
                slice_of(batch, seg, &head);
                return ERR_NONE;
            }
            if (rc != ERR_NOT_FOUND) {
                segment_unref(seg);
                return rc;
            }
            from = to;
        }
        segment_unref(seg);
    }
    return err_set(e, ERR_NOT_FOUND, "no record with timestamp %lld or later", (long long)ts_ms);
}

enum err_code log_find_max_time(struct log *l, struct log_slice *batch, struct err *e)
{
    int64_t limit = log_durable_offset(l), from = log_start_offset(l), to, next, best = INT64_MIN;
    int64_t best_from = -1, best_to = -1;
    struct segment_head head;
    struct segment *seg;
    enum err_code rc = ERR_NONE;

    *batch = (struct log_slice){.bytes = bytes_of("", 0)};
    while (from < limit) {
        pthread_mutex_lock(&l->lock);
        struct log_slot *slot = log_slot_find(l, from);
        while (slot != NULL && slot + 1 < l->slots + l->n_slots && slot->max_timestamp <= best) {
            from = slot->next;
            slot++;
        }
        pthread_mutex_unlock(&l->lock);
        rc = take(l, &from, &seg, &next, e);
        if (rc != ERR_NONE) return rc;
        while (rc == ERR_NONE && readable(l, next, limit, &from, &to)) {
            int64_t found;
            rc = segment_max_timestamp(seg, from, to, &found, e);
            if (found > best) {
                best = found;
                best_from = from;
                best_to = to;
            }
            from = to;
        }
        segment_unref(seg);
        if (rc != ERR_NONE) return rc;
    }
    if (best_from < 0) return err_set(e, ERR_NOT_FOUND, "the log is empty");
    rc = take(l, &best_from, &seg, &next, e);
    if (rc != ERR_NONE) return rc;
    rc = segment_find_timestamp(seg, best_from, best_to, best, &head, e);
    if (rc == ERR_NONE)
        slice_of(batch, seg, &head);
    else
        segment_unref(seg);
    return rc;
}

/* First offset of a batch with an epoch above the given one; the end when there is none. *floor: the epoch of the batch
 * before, -1: there is none. */
static int64_t first_above(struct log *l, int32_t epoch, int32_t *floor)
{
    size_t i = 0;
    struct segment *seg;
    struct segment_head head;

    *floor = -1;
    pthread_mutex_lock(&l->lock);
    while (i + 1 < l->n_slots && l->slots[i].epoch <= epoch)
        *floor = l->slots[i++].epoch;
    enum err_code rc = log_slot_acquire(l, &l->slots[i], &seg, NULL);
    pthread_mutex_unlock(&l->lock);
    if (rc != ERR_NONE) return -1;

    uint32_t lo = 0, hi = index_count(&seg->index); /* first interval whose last batch is above */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (index_at(&seg->index, mid)->epoch <= epoch)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct segment_place p = {0, seg->base};
    if (lo > 0) {
        const struct index_entry *entry = index_at(&seg->index, lo - 1);
        p = (struct segment_place){entry->position_end, seg->base + entry->next_rel};
        *floor = entry->epoch;
    }
    while (segment_head_at(seg, p, &head) && head.epoch <= epoch) {
        *floor = head.epoch;
        p = (struct segment_place){p.position + head.len, head.next_offset};
    }
    segment_unref(seg);
    return p.offset;
}

/* As Kafka's LeaderEpochFileCache.endOffsetFor: the largest known epoch at or below the one asked for, and where the
 * next begins. */
int64_t log_epoch_end(const struct log *l, int32_t epoch, int32_t *found_epoch)
{
    int32_t floor;

    *found_epoch = -1;
    if (epoch < 0 || epoch > l->epoch) return -1;
    if (epoch == l->epoch) {
        *found_epoch = epoch;
        return log_end_offset(l);
    }
    /* Opening a sealed segment is a change that callers cannot see. */
    int64_t end = first_above((struct log *)(uintptr_t)l, epoch, &floor);
    if (end < 0) return -1;
    *found_epoch = floor >= 0 ? floor : epoch;
    return end > log_start_offset(l) ? end : log_start_offset(l);
}

enum err_code log_scan(struct log *l, int64_t from, log_batch_fn fn, void *arg, struct err *e)
{
    int64_t limit = log_end_offset(l), to, next;
    struct segment *seg;
    struct segment_place p;
    struct segment_head head;

    if (from < log_start_offset(l)) from = log_start_offset(l);
    while (from < limit) {
        enum err_code rc = take(l, &from, &seg, &next, e);
        if (rc != ERR_NONE) return rc;
        while (rc == ERR_NONE && readable(l, next, limit, &from, &to)) {
            rc = segment_seek(seg, from, &p, e);
            while (rc == ERR_NONE && p.offset < to) {
                struct batch_view v;
                if (!segment_head_at(seg, p, &head))
                    rc = err_set(e, ERR_CORRUPT, "offset %lld: no batch", (long long)p.offset);
                if (rc == ERR_NONE) rc = batch_view_parse(&v, bytes_of(head.at, head.len), e);
                if (rc == ERR_NONE) fn(arg, &v);
                p = (struct segment_place){p.position + head.len, head.next_offset};
            }
            from = to;
        }
        segment_unref(seg);
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}
