/* compact.c: the course of a cleaning. Of the records with the same key the newest stays; offsets never change.
 *
 *   sources: sealed segments from the log's start on, durable, stable, old enough
 *
 *     |  0 .. 99  |  100 .. 199  |  200 .. 299  |  300 .. 399  |  active ...
 *     └───────── clean ──────────┴─────── dirty ───────────────┘
 *                                 1 keys of the dirty part ─▶ table: key ─▶ newest offset    (PHASE_MAP)
 *     2 every source, oldest first: what the table knows a newer record of goes              (PHASE_FILTER)
 *     3 each group of neighbours that fit one segment takes the place of the old ones        (READY, SWAP, SWAPPED)
 *     4 the record `compaction` says how far the log is clean                                (PHASE_MARK)
 *
 * F1  A record stays when no newer one with its key lies in the stretch whose keys were collected. One without a key
 *     goes: no later one could ever replace it.
 * F2  A record above the collected stretch, above the last stable offset, younger than the minimum lag or in the active
 *     segment is not touched.
 * F3  A tombstone (null value) that is the newest of its key stays until its batch's horizon: the time of the cleaning
 *     that first met it plus delete.retention.ms, written into the batch's header as Kafka does. So whoever reads the
 *     log from the start within that time sees the deletion.
 * F4  A batch that loses all its records leaves an empty batch, which takes its offsets; neighbours of the same leader
 *     epoch become one. That of a live producer's last batch keeps producer and sequence, so that a retry is still
 *     known after a restart.
 * F5  Records of an aborted transaction go. A marker goes in a cleaning that met no batch of its transaction, after a
 *     horizon of its own; then the index of aborted transactions must forget it (log_compact_markers).
 * F6  A batch whose records cannot be read (a client sent garbage in an intact envelope), or which would become larger
 *     than a batch may be, stays as it is: nothing is lost by cleaning.
 * F7  Every source batch is checked wholly before it counts: checksum, place, and the index's sum over the heads. A
 *     cleaning never turns rot into something that looks right; it stops and says where.
 * F8  Offsets have no gap, neither in nor between segments, because of F4: a missing stretch is always damage. Why not
 *     Kafka's gaps: recovery, index, verify and repair all lean on "the next batch begins where this one ends" (S1);
 *     61 bytes for a run of removed batches buy that every hole in the log is a fault and is found.
 * F9  A cleaning may end, fail or be given up between any two groups; the next one starts from the keys again.
 *
 * The table is bounded. When it is full, the stretch ends there, and the next cleaning begins there. */
#include "log/compact_int.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/crc32c.h"

/* ---- what there is to clean ---- */

/* The slots that may be cleaned, from the first one on. */
static size_t eligible(const struct log *l, const struct compact_options *o, bool *is_waiting)
{
    int64_t durable = log_durable_offset(l);
    size_t n = 0;

    for (; n + 1 < l->n_slots; n++) {
        const struct log_slot *s = &l->slots[n];
        bool is_young = o->min_lag_ms > 0 && s->max_timestamp > o->now_ms - o->min_lag_ms;
        if (s->next > durable || s->next > o->limit || is_young) break; /* F2 */
    }
    *is_waiting = n + 1 < l->n_slots;
    return n;
}

static bool is_possible(const struct log *l)
{
    return !log_is_stopped(l) && !l->refuses_appends && l->n_damage == 0 && !l->cleaning_blocked && l->cleaning == NULL;
}

void log_compact_look(struct log *l, const struct compact_options *o, struct compact_look *out)
{
    *out = (struct compact_look){.horizon_ms = l->cleaned.horizon_ms};
    out->is_possible = is_possible(l);
    size_t n = eligible(l, o, &out->is_waiting);
    for (size_t i = 0; i < n; i++) {
        const struct log_slot *s = &l->slots[i];
        *(s->next > l->cleaned.clean_until ? &out->dirty_bytes : &out->clean_bytes) += s->size;
    }
}

int64_t log_compact_dirty_since(struct log *l)
{
    struct segment_head head;
    struct segment *seg = NULL;
    int64_t ms = -1;

    for (size_t i = 0; i + 1 < l->n_slots; i++) {
        if (l->slots[i].next <= l->cleaned.clean_until) continue;
        pthread_mutex_lock(&l->lock);
        enum err_code rc = log_slot_acquire(l, &l->slots[i], &seg, NULL);
        pthread_mutex_unlock(&l->lock);
        if (rc == ERR_NONE && segment_head_at(seg, (struct segment_place){0, seg->base}, &head))
            ms = head.max_timestamp;
        segment_unref(seg);
        break;
    }
    return ms;
}

/* ---- begin ---- */

static int by_first(const void *a, const void *b)
{
    int64_t x = ((const struct aborted_txn *)a)->first, y = ((const struct aborted_txn *)b)->first;
    return (x > y) - (x < y);
}

static void take_sources(struct compaction *c, size_t n)
{
    struct log *l = c->log;

    c->sources = malloc(n * sizeof(*c->sources));
    check(c->sources != NULL);
    for (size_t i = 0; i < n; i++)
        c->sources[i] = (struct compact_source){l->slots[i].base, l->slots[i].next, l->slots[i].size};
    c->n_sources = n;
    c->map_end = c->sources[n - 1].next;
    c->map_from = l->cleaned.clean_until;
    if (c->map_from < c->sources[0].base) c->map_from = c->sources[0].base;
    if (c->map_from > c->map_end) c->map_from = c->map_end;
}

enum err_code log_compact_begin(struct compaction **out, struct log *l, const struct compact_options *o, struct err *e)
{
    bool is_waiting;

    *out = NULL;
    if (!is_possible(l)) return err_set(e, ERR_STOPPED, "log %s cannot be compacted until it is opened again", l->dir);
    if (l->sync_running && !l->o.sync) return err_set(e, ERR_BUSY, "a sync of %s is under way", l->dir);
    size_t n = eligible(l, o, &is_waiting);
    if (n == 0) return err_set(e, ERR_NOT_FOUND, "log %s has nothing to compact", l->dir);
    struct compaction *c = calloc(1, sizeof(*c));
    check(c != NULL);
    c->log = l;
    c->o = *o;
    if (c->o.map_bytes_max == 0) c->o.map_bytes_max = LIMIT_COMPACT_MAP_BYTES;
    if (c->o.slice_bytes == 0) c->o.slice_bytes = LIMIT_COMPACT_SLICE_BYTES;
    c->horizon_ms = INT64_MAX;
    take_sources(c, n);
    keymap_init(&c->map, c->o.map_bytes_max, l->sys->rng->next(l->sys->rng));
    map_init(&c->txns.with_data);
    if (o->producers != NULL) {
        c->n_last = producers_last(o->producers, &c->last);
        c->txns.n = producers_aborted(o->producers, 0, o->limit, &c->txns.all);
        if (c->txns.n > 0) qsort(c->txns.all, c->txns.n, sizeof(*c->txns.all), by_first);
    }
    batch_edit_init(&c->edit);
    buf_init(&c->plain, 0);
    buf_init(&c->rewritten, 0);
    buf_init(&c->out.buf, 0);
    l->cleaning = c;
    *out = c;
    return ERR_NONE;
}

/* ---- reading sources ---- */

static void reader_close(struct compaction *c)
{
    if (c->in.seg == NULL) return;
    scan_deinit(&c->in.scan);
    segment_unref(c->in.seg);
    c->in.seg = NULL;
}

/* Opens source i at the index interval that holds `from`. */
static enum err_code reader_open(struct compaction *c, size_t i, int64_t from, struct err *e)
{
    struct log *l = c->log;
    const struct compact_source *s = &c->sources[i];
    struct compact_reader *in = &c->in;
    int32_t epoch = -1;

    pthread_mutex_lock(&l->lock);
    struct log_slot *slot = log_slot_find(l, s->base);
    enum err_code rc = slot != NULL && slot->base == s->base && slot->next == s->next
                           ? log_slot_acquire(l, slot, &in->seg, e)
                           : err_set(e, ERR_RANGE, "the segment was removed meanwhile");
    pthread_mutex_unlock(&l->lock);
    if (rc != ERR_NONE) return rc;
    in->source = i;
    in->heads_crc = in->batch_count = 0;
    in->entry = from <= s->base ? 0 : index_find_offset(&in->seg->index, (uint32_t)(from - s->base));
    struct segment_place p = {0, s->base};
    if (in->entry > 0) {
        const struct index_entry *entry = index_at(&in->seg->index, in->entry - 1);
        p = (struct segment_place){entry->position_end, s->base + entry->next_rel};
        epoch = entry->epoch;
    }
    scan_init(&in->scan, l->fs, in->seg->file, s->size, p.position, p.offset, epoch);
    return ERR_NONE;
}

/* F7: the bytes that Kafka's checksum leaves out. */
static enum err_code check_heads(struct compaction *c, const struct batch_view *v, struct err *e)
{
    struct compact_reader *in = &c->in;

    in->heads_crc = crc32c(in->heads_crc, v->bytes.ptr, INDEX_HEAD_LEN);
    in->batch_count++;
    if (in->entry >= index_count(&in->seg->index)) return ERR_NONE;
    const struct index_entry *entry = index_at(&in->seg->index, in->entry);
    if (in->scan.position < entry->position_end) return ERR_NONE;
    if (in->scan.position > entry->position_end || in->heads_crc != entry->heads_crc ||
        in->batch_count != entry->batch_count)
        return err_set(e, ERR_CORRUPT, "segment %020lld: the heads before byte %llu are not as they were written",
                       (long long)in->seg->base, (unsigned long long)in->scan.position);
    in->entry++;
    in->heads_crc = in->batch_count = 0;
    return ERR_NONE;
}

/* ERR_NOT_FOUND: the source has ended. */
static enum err_code reader_next(struct compaction *c, struct batch_view *v, struct err *e)
{
    struct compact_reader *in = &c->in;

    switch (scan_next(&in->scan, v, e)) {
    case SCAN_BATCH: c->stats.bytes_read += v->bytes.len; return check_heads(c, v, e);
    case SCAN_ERROR: return e->code;
    case SCAN_BAD:
        return err_set(e, ERR_CORRUPT, "segment %020lld, byte %llu: %s", (long long)in->seg->base,
                       (unsigned long long)in->scan.position, in->scan.what);
    case SCAN_END: break;
    }
    bool is_whole = in->scan.next_offset == c->sources[in->source].next;
    return err_set(e, is_whole ? ERR_NOT_FOUND : ERR_CORRUPT, "segment %020lld ends early",
                   (long long)c->sources[in->source].base);
}

/* ---- slices; any thread ---- */

static void group_next(struct compaction *c)
{
    uint64_t size = 0;
    int64_t base = 0;

    c->group_from = c->group_to;
    while (c->group_to < c->n_sources && c->sources[c->group_to].base < c->map_end) {
        const struct compact_source *s = &c->sources[c->group_to];
        size_t n = c->group_to - c->group_from;
        if (n == 0) base = s->base;
        if (n > 0 && (n == COMPACT_GROUP_MAX || size + s->size > c->o.segment_bytes || s->next - base > INT32_MAX))
            break;
        size += s->size;
        c->group_to++;
    }
    c->phase = c->group_from == c->group_to ? PHASE_MARK : PHASE_FILTER;
}

static void map_done(struct compaction *c)
{
    reader_close(c);
    compact_txns_reset(&c->txns);
    c->group_to = 0;
    group_next(c);
}

static enum err_code run_map(struct compaction *c, struct err *e)
{
    uint64_t until = c->stats.bytes_read + c->o.slice_bytes;
    enum err_code rc = ERR_NONE;
    struct batch_view v;
    size_t i = c->in.source;

    if (c->map_from == c->map_end) map_done(c);
    while (rc == ERR_NONE && c->phase == PHASE_MAP && c->stats.bytes_read < until) {
        while (c->in.seg == NULL && c->sources[i].next <= c->map_from)
            i++;
        if (c->in.seg == NULL) rc = reader_open(c, i, c->map_from, e);
        if (rc == ERR_NONE) rc = reader_next(c, &v, e);
        if (rc == ERR_NOT_FOUND) {
            rc = ERR_NONE;
            reader_close(c);
            c->in.source = ++i;
            if (i == c->n_sources) map_done(c);
        } else if (rc == ERR_NONE) {
            rc = compact_collect(c, &v, e);
            if (c->is_map_full) map_done(c);
        }
    }
    return rc;
}

static enum err_code group_done(struct compaction *c, struct err *e)
{
    bool is_changed;

    enum err_code rc = compact_writer_finish(c, &is_changed, e);
    if (rc != ERR_NONE) return rc;
    if (is_changed) {
        c->phase = PHASE_READY;
        return ERR_NONE;
    }
    compact_writer_drop(c);
    group_next(c);
    return ERR_NONE;
}

static enum err_code run_filter(struct compaction *c, struct err *e)
{
    uint64_t until = c->stats.bytes_read + c->o.slice_bytes;
    enum err_code rc = ERR_NONE;
    struct batch_view v;

    if (c->out.seg == NULL) {
        rc = compact_writer_open(c, e);
        c->in.source = c->group_from;
    }
    while (rc == ERR_NONE && c->stats.bytes_read < until) {
        if (c->in.seg == NULL) rc = reader_open(c, c->in.source, 0, e);
        if (rc == ERR_NONE) rc = reader_next(c, &v, e);
        if (rc == ERR_NOT_FOUND) {
            bool is_last = c->in.source + 1 == c->group_to;
            rc = is_last ? group_done(c, e) : ERR_NONE; /* which may want to copy from the source */
            reader_close(c);
            if (is_last) return rc;
            c->in.source++;
        } else if (rc == ERR_NONE) {
            rc = compact_filter(c, &v, e);
        }
    }
    return rc;
}

/* Steps 2 to 5 in swap.c. */
static enum err_code run_swap(struct compaction *c, struct err *e)
{
    struct log *l = c->log;
    const struct compact_source *first = &c->sources[c->group_from], *last = &c->sources[c->group_to - 1];
    struct swap_record r = l->cleaned;
    int64_t bases[COMPACT_GROUP_MAX];
    size_t n = c->group_to - c->group_from;
    bool is_done = false;

    for (size_t i = 0; i < n; i++)
        bases[i] = first[i].base;
    r.base = first->base;
    r.end = last->next;
    r.size = c->out.written;
    c->is_committed = true;
    enum err_code rc = swap_write(l->fs, l->dir, &r, e);
    if (rc == ERR_NO_SPACE) c->is_committed = false; /* A record that is not there whole is none. */
    if (rc == ERR_NONE) rc = swap_finish(l->fs, l->dir, &r, bases, n, &is_done, e);
    if (rc == ERR_NONE && !is_done) rc = err_set(e, ERR_IO, "the cleaned segment is not there");
    if (rc != ERR_NONE) return rc;
    c->out.seg->writes_index = true;
    rc = segment_flush_index(c->out.seg, true, e);
    segment_close_index(c->out.seg);
    c->out.seg->writes_index = false;
    if (rc == ERR_NONE) rc = l->fs->sync_dir(l->fs, l->dir, e);
    if (rc != ERR_NONE && rc != ERR_NO_SPACE) return rc; /* X4: a missing index is made again */
    err_clear(e);
    rc = swap_write(l->fs, l->dir, &l->cleaned, e);
    if (rc == ERR_NONE) c->phase = PHASE_SWAPPED;
    return rc;
}

static enum err_code run_mark(struct compaction *c, struct err *e)
{
    struct log *l = c->log;
    struct swap_record r = {.clean_until = c->map_end, .horizon_ms = c->horizon_ms, .base = -1, .end = -1};

    enum err_code rc = swap_write(l->fs, l->dir, &r, e);
    if (rc == ERR_NONE) c->phase = PHASE_OVER;
    return rc;
}

void log_compact_run(struct compaction *c)
{
    if (c->rc != ERR_NONE) return;
    err_clear(&c->error);
    switch (c->phase) {
    case PHASE_SYNC:
        if (c->is_syncing) log_sync_run(&c->sync);
        break;
    case PHASE_MAP: c->rc = run_map(c, &c->error); break;
    case PHASE_FILTER: c->rc = run_filter(c, &c->error); break;
    case PHASE_SWAP: c->rc = run_swap(c, &c->error); break;
    case PHASE_MARK: c->rc = run_mark(c, &c->error); break;
    case PHASE_READY:
    case PHASE_SWAPPED:
    case PHASE_OVER: break;
    }
}

/* ---- turns; owner ---- */

/* The durable place must lie behind the sources, in memory and in both slots of the checkpoint: recovery then sees them
 * as sealed, whatever becomes of them. In sync mode it does already; else the log is synced first. */
static enum err_code turn_sync(struct compaction *c, struct err *e)
{
    struct log *l = c->log;
    int64_t end = c->sources[c->n_sources - 1].next;

    if (c->is_syncing) {
        c->is_syncing = false;
        enum err_code rc = log_sync_end(&c->sync, e);
        if (rc != ERR_NONE) return rc;
    }
    const struct log_slot *slot = log_slot_find(l, l->synced);
    if (l->synced_base < end && l->synced >= end && slot != NULL && slot->base == l->synced) {
        l->synced_base = l->synced; /* the end of one segment is the beginning of the next */
        l->synced_position = 0;
    }
    if (l->synced_base < end) {
        if (!log_sync_begin_any(l, &c->sync))
            return err_set(e, ERR_BUSY, "log %s is not synced up to where it may be compacted", l->dir);
        c->is_syncing = true;
        return ERR_NONE;
    }
    enum err_code rc = log_write_checkpoint(l, log_start_offset(l), true, 0, e);
    if (rc == ERR_NONE) rc = log_write_checkpoint(l, log_start_offset(l), false, 0, e);
    if (rc == ERR_NONE) c->phase = PHASE_MAP;
    if (rc != ERR_NONE && rc != ERR_NO_SPACE) log_stop(l); /* A failed sync is never retried. */
    return rc;
}

static void unpin(struct compaction *c)
{
    struct log *l = c->log;

    for (size_t i = 0; i < l->n_slots; i++)
        l->slots[i].pinned = false;
}

/* The group's segments stay as they are, and open, until they are replaced. */
static enum err_code turn_ready(struct compaction *c, struct err *e)
{
    struct log *l = c->log;
    enum err_code rc = ERR_NONE;
    struct segment *seg;

    pthread_mutex_lock(&l->lock);
    for (size_t i = c->group_from; rc == ERR_NONE && i < c->group_to; i++) {
        struct log_slot *slot = log_slot_find(l, c->sources[i].base);
        if (slot == NULL || slot->base != c->sources[i].base || slot->next != c->sources[i].next) {
            rc = err_set(e, ERR_RANGE, "the segment was removed meanwhile");
            break;
        }
        slot->pinned = true;
        rc = log_slot_acquire(l, slot, &seg, e);
        if (rc == ERR_NONE) segment_unref(seg);
    }
    if (rc == ERR_NONE && l->n_damage > 0) rc = log_damage_error(&l->damage[0], e);
    if (rc != ERR_NONE) unpin(c);
    pthread_mutex_unlock(&l->lock);
    if (rc != ERR_NONE) return rc;
    l->swap_running = true;
    l->n_swaps++;
    c->phase = PHASE_SWAP;
    return ERR_NONE;
}

/* Readers find the new segment from here on; those that hold old ones keep them. */
static void turn_swapped(struct compaction *c)
{
    struct log *l = c->log;
    struct segment *seg = c->out.seg;
    size_t n = c->group_to - c->group_from;

    c->out.seg = NULL;
    pthread_mutex_lock(&l->lock);
    struct log_slot *slot = log_slot_find(l, c->sources[c->group_from].base);
    check(slot->base == seg->base && slot + n < l->slots + l->n_slots);
    struct log_slot new = {.base = seg->base,
                           .next = slot[n - 1].next,
                           .max_timestamp = atomic_load(&seg->max_timestamp),
                           .size = atomic_load(&seg->size),
                           .epoch = seg->epoch,
                           .seg = seg,
                           .used = ++l->tick};
    check(new.next == atomic_load(&seg->next));
    for (size_t i = 0; i < n; i++) {
        check(slot[i].seg != NULL && slot[i].pinned);
        c->stats.bytes_before += slot[i].size;
        atomic_fetch_sub_explicit(&l->size, slot[i].size, memory_order_relaxed);
        segment_unref(slot[i].seg);
    }
    l->n_sealed_open -= n - 1;
    *slot = new;
    memmove(slot + 1, slot + n, (size_t)(l->slots + l->n_slots - (slot + n)) * sizeof(*slot));
    l->n_slots -= n - 1;
    atomic_fetch_add_explicit(&l->size, new.size, memory_order_relaxed);
    pthread_mutex_unlock(&l->lock);
    c->stats.bytes_after += new.size;
    c->stats.segments_before += n;
    c->stats.segments_after++;
    l->swap_running = false;
    c->is_committed = false;
    group_next(c);
}

size_t log_compact_markers(const struct compaction *c, const int64_t **offsets)
{
    *offsets = c->markers;
    return c->phase == PHASE_READY && c->rc == ERR_NONE ? c->n_markers : 0;
}

enum compact_state log_compact_turn(struct compaction *c, struct err *e)
{
    struct log *l = c->log;

    if (c->rc == ERR_NONE && log_is_stopped(l) && !c->is_syncing && c->phase != PHASE_SWAPPED)
        c->rc = err_set(&c->error, ERR_STOPPED, "log %s has stopped", l->dir);
    if (c->rc == ERR_NONE && c->phase == PHASE_SYNC) c->rc = turn_sync(c, &c->error);
    if (c->rc == ERR_NONE && c->phase == PHASE_READY) c->rc = turn_ready(c, &c->error);
    if (c->rc == ERR_NONE && c->phase == PHASE_SWAPPED) turn_swapped(c);
    if (c->rc != ERR_NONE) {
        if (e != NULL) *e = c->error;
        (void)err_wrap(e, c->rc, "compacting %s", l->dir);
        return COMPACT_FAILED;
    }
    if (c->phase != PHASE_OVER) return COMPACT_MORE;
    l->cleaned = (struct swap_record){.clean_until = c->map_end, .horizon_ms = c->horizon_ms, .base = -1, .end = -1};
    return COMPACT_DONE;
}

void log_compact_end(struct compaction *c)
{
    if (c == NULL) return;
    struct log *l = c->log;
    if (c->is_syncing) (void)log_sync_end(&c->sync, NULL);
    if (c->phase == PHASE_SWAPPED && c->rc == ERR_NONE) turn_swapped(c);
    reader_close(c);
    compact_writer_drop(c);
    /* A trim or a sync came between, there is no room, or it was only given up: worth another try. */
    bool is_passing = c->rc == ERR_NONE || c->rc == ERR_RANGE || c->rc == ERR_BUSY || c->rc == ERR_NO_SPACE;
    if (c->is_committed || !is_passing) l->cleaning_blocked = true;
    if (!c->is_committed && l->swap_running) { /* else it stays: half of the swap may be on disk */
        pthread_mutex_lock(&l->lock);
        unpin(c);
        pthread_mutex_unlock(&l->lock);
        l->swap_running = false;
    }
    l->cleaning = NULL;
    keymap_deinit(&c->map);
    map_deinit(&c->txns.with_data);
    batch_edit_deinit(&c->edit);
    buf_deinit(&c->plain);
    buf_deinit(&c->rewritten);
    buf_deinit(&c->out.buf);
    free(c->txns.all);
    free(c->txns.on);
    free(c->markers);
    free(c->last);
    free(c->sources);
    free(c);
}

void log_compact_stats(const struct compaction *c, struct compact_stats *out)
{
    *out = c->stats;
    out->has_more = c->is_map_full;
}
