/* log.c: the open log: append, sync, read. Recovery: recover.c; the array of segments: slot.c; roll and retention:
 * retain.c; lookups by time and epoch: find.c.
 *
 *   append ──▶ active segment (page cache) ──▶ end
 *                      │ log_sync_begin notes end; log_sync_run: fdatasync, on any thread; log_sync_end
 *                      ▼
 *                   durable ──▶ readers (log_read with limit = durable), checkpoint (every few MiB)
 *
 * L1  start <= durable <= end. Readers of other threads get `durable` by an acquire load and find everything below it
 *     written.
 * L2  One sync is in flight at most; what is appended meanwhile belongs to the next. That is the whole of group
 *     commit.
 * L3  A failed sync stops the log for good: a later success would prove nothing. The checkpoint then tells recovery
 *     to distrust what lies behind the last good sync, because the page cache may show bytes that the disk does not
 *     have.
 * L4  A failed write stops the log too, except for a full disk: the file is cut back to the last batch and the log
 *     stays usable.
 * L5  A name (new segment, new directory) is synced in the same log_sync_run as the first data that needs it.
 * L6  Appending allocates nothing per record or batch, and writes from the caller's memory without a copy. */
#include "log/log_int.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void log_path(const struct log *l, char out[LIMIT_PATH_LEN_MAX], const char *name)
{
    (void)snprintf(out, LIMIT_PATH_LEN_MAX, "%s/%s", l->dir, name);
}

void log_stop(struct log *l)
{
    atomic_store_explicit(&l->stopped, true, memory_order_release);
}

void log_close(struct log *l)
{
    if (l == NULL) return;
    check(!l->sync_running && l->cleaning == NULL);
    if (!log_is_stopped(l) && l->active != NULL) {
        segment_close_interval(l->active);
        if (index_count(&l->active->index) != l->active->index_flushed)
            (void)segment_flush_index(l->active, false, NULL);
        if (l->checkpoint_stale)
            (void)log_write_checkpoint(l, log_start_offset(l), false, 0, NULL); /* C1: losing it costs a scan. */
    }
    for (size_t i = 0; i < l->n_slots; i++)
        segment_unref(l->slots[i].seg);
    checkpoint_deinit(&l->checkpoint);
    pthread_mutex_destroy(&l->lock);
    free(l->slots);
    free(l->dir);
    free(l->parent);
    free(l);
}

void log_set_options(struct log *l, const struct log_options *o)
{
    l->o = *o;
    if (!o->sync) atomic_store_explicit(&l->durable, log_end_offset(l), memory_order_release);
}

enum err_code log_write_checkpoint(struct log *l, int64_t start, bool sync, uint32_t flags, struct err *e)
{
    struct checkpoint c = {
        .start = start,
        .durable = l->synced,
        .segment_base = l->synced_base,
        .position = l->synced_position,
        .epoch = l->epoch,
        .flags = flags,
    };
    l->bytes_since_checkpoint = 0;
    l->syncs_since_checkpoint = 0;
    enum err_code rc = checkpoint_write(&l->checkpoint, &c, sync, e);
    if (rc == ERR_NONE) l->checkpoint_stale = false;
    return rc;
}

/* ---- append ---- */

static bool must_roll(const struct log *l, size_t len, int32_t delta, int64_t now_ms)
{
    const struct segment *seg = l->active;
    uint64_t size = atomic_load_explicit(&seg->size, memory_order_relaxed);
    uint64_t max = l->o.segment_bytes < seg->map_len ? l->o.segment_bytes : seg->map_len;

    if (size == 0) return false;
    if (size + len > max) return true;
    if (log_end_offset(l) - seg->base + delta >= INT32_MAX) return true; /* S5 */
    return l->o.segment_ms > 0 && seg->first_ms <= now_ms && now_ms - seg->first_ms >= l->o.segment_ms;
}

/* L4: undoes a partial write. */
static enum err_code append_failed(struct log *l, enum err_code rc, struct err *e)
{
    uint64_t size = atomic_load_explicit(&l->active->size, memory_order_relaxed);

    if (rc == ERR_NO_SPACE && l->fs->truncate(l->fs, l->active->file, size, NULL) == ERR_NONE)
        return err_wrap(e, rc, "appending to %s", l->dir);
    log_stop(l);
    return err_wrap(e, rc == ERR_NO_SPACE ? ERR_IO : rc, "appending to %s", l->dir);
}

static enum err_code check_appendable(const struct log *l, const uint8_t *batch, size_t len, struct err *e)
{
    if (UNLIKELY(log_is_stopped(l))) return err_set(e, ERR_STOPPED, "log %s has stopped after a disk error", l->dir);
    if (UNLIKELY(l->refuses_appends)) {
        (void)log_damage_error(&l->damage[0], e);
        return err_wrap(e, ERR_CORRUPT, "log %s takes no appends", l->dir);
    }
    if (UNLIKELY(len > LIMIT_BATCH_BYTES_MAX)) return err_set(e, ERR_TOO_LARGE, "batch of %zu bytes", len);
    check(len >= BATCH_HEADER_LEN && be32_get(batch + 8) + (size_t)BATCH_PREFIX_LEN == len && batch[16] == 2);
    return ERR_NONE;
}

enum err_code log_append(struct log *l, uint8_t *batch, size_t len, int64_t now_ms, int64_t *base_offset, struct err *e)
{
    enum err_code rc = check_appendable(l, batch, len, e);
    if (rc != ERR_NONE) return rc;
    int32_t delta = (int32_t)be32_get(batch + 23);
    if (delta < 0 || delta == INT32_MAX) return err_set(e, ERR_INVALID, "batch with last offset delta %d", delta);
    if (must_roll(l, len, delta, now_ms)) {
        rc = log_roll(l, e);
        if (rc != ERR_NONE) return rc;
    }

    struct segment *seg = l->active;
    int64_t offset = log_end_offset(l);
    uint64_t at = atomic_load_explicit(&seg->size, memory_order_relaxed);
    check(offset == atomic_load_explicit(&seg->next, memory_order_relaxed) && at + len <= seg->map_len);
    batch_stamp(batch, offset, l->epoch);
    struct iovec iov = {batch, len};
    rc = l->fs->pwritev(l->fs, seg->file, &iov, 1, at, e);
    if (UNLIKELY(rc != ERR_NONE)) return append_failed(l, rc, e);

    struct batch_view v = {
        .bytes = bytes_of(batch, len),
        .base_offset = offset,
        .leader_epoch = l->epoch,
        .last_offset_delta = delta,
        .max_timestamp = (int64_t)be64_get(batch + 35),
    };
    segment_note(seg, &v);
    if (seg->first_ms == INT64_MAX) seg->first_ms = now_ms;
    atomic_fetch_add_explicit(&l->size, len, memory_order_relaxed);
    atomic_store_explicit(&l->end, offset + delta + 1, memory_order_release);
    if (!l->o.sync) atomic_store_explicit(&l->durable, offset + delta + 1, memory_order_release); /* L1 */
    *base_offset = offset;
    return ERR_NONE;
}

/* ---- sync ---- */

bool log_sync_begin_any(struct log *l, struct log_sync *s)
{
    if (l->sync_running || log_is_stopped(l) || log_end_offset(l) == l->synced) return false;
    *s = (struct log_sync){.log = l, .upto = l->synced, .position = l->synced_position};

    pthread_mutex_lock(&l->lock);
    size_t max = ARRAY_LEN(s->files);
    struct log_slot *slot = log_slot_find(l, l->synced_base);
    check(slot != NULL && slot->base == l->synced_base);
    for (; slot < l->slots + l->n_slots && (size_t)s->n_files < max; slot++) {
        struct segment *seg;
        if (log_slot_acquire(l, slot, &seg, &s->error) != ERR_NONE) {
            s->rc = s->error.code; /* log_sync_end stops the log. */
            break;
        }
        l->sync_segments[s->n_files] = seg;
        s->files[s->n_files++] = seg->file;
        s->segment = seg;
        s->position = atomic_load_explicit(&seg->size, memory_order_relaxed);
        s->upto = atomic_load_explicit(&seg->next, memory_order_relaxed);
    }
    pthread_mutex_unlock(&l->lock);
    l->sync_names_dir = l->dir_unsynced;
    l->sync_names_parent = l->parent_unsynced;
    l->dir_unsynced = l->parent_unsynced = false; /* A failure stops the log, so nothing forgets them. */
    l->sync_running = true;
    return true;
}

bool log_sync_begin(struct log *l, struct log_sync *s)
{
    return l->o.sync && log_sync_begin_any(l, s);
}

void log_sync_run(struct log_sync *s)
{
    const struct log *l = s->log;

    for (int i = 0; i < s->n_files && s->rc == ERR_NONE; i++)
        s->rc = l->fs->sync(l->fs, s->files[i], &s->error);
    if (s->rc == ERR_NONE && l->sync_names_dir) s->rc = l->fs->sync_dir(l->fs, l->dir, &s->error); /* L5 */
    if (s->rc == ERR_NONE && l->sync_names_parent) s->rc = l->fs->sync_dir(l->fs, l->parent, &s->error);
}

enum err_code log_sync_end(struct log_sync *s, struct err *e)
{
    struct log *l = s->log;

    check(l->sync_running);
    l->sync_running = false;
    if (s->rc == ERR_NONE) {
        check(s->upto >= l->synced);
        l->bytes_since_checkpoint +=
            s->segment->base == l->synced_base ? s->position - l->synced_position : s->position;
        l->synced = s->upto;
        l->synced_base = s->segment->base;
        l->synced_position = s->position;
        l->checkpoint_stale = true;
        if (s->upto > log_durable_offset(l)) atomic_store_explicit(&l->durable, s->upto, memory_order_release);
    }
    for (int i = 0; i < s->n_files; i++) {
        segment_unref(l->sync_segments[i]);
        l->sync_segments[i] = NULL;
    }
    if (s->rc != ERR_NONE) { /* L3 */
        log_stop(l);
        (void)log_write_checkpoint(l, log_start_offset(l), false, CHECKPOINT_DISTRUST_TAIL, NULL);
        if (e != NULL) *e = s->error;
        return err_wrap(e, s->rc, "syncing %s", l->dir);
    }
    if (l->bytes_since_checkpoint >= LOG_CHECKPOINT_BYTES || ++l->syncs_since_checkpoint >= LOG_CHECKPOINT_SYNCS)
        (void)log_write_checkpoint(l, log_start_offset(l), false, 0, NULL); /* C1 */
    return ERR_NONE;
}

enum err_code log_sync(struct log *l, struct err *e)
{
    struct log_sync s;

    if (log_is_stopped(l)) return err_set(e, ERR_STOPPED, "log %s has stopped after a disk error", l->dir);
    if (l->sync_running) return err_set(e, ERR_BUSY, "a sync of %s is under way", l->dir);
    while (log_sync_begin_any(l, &s)) {
        log_sync_run(&s);
        enum err_code rc = log_sync_end(&s, e);
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

/* ---- state ---- */

int64_t log_start_offset(const struct log *l)
{
    return atomic_load_explicit(&l->start, memory_order_acquire);
}

int64_t log_durable_offset(const struct log *l)
{
    return atomic_load_explicit(&l->durable, memory_order_acquire);
}

int64_t log_end_offset(const struct log *l)
{
    return atomic_load_explicit(&l->end, memory_order_acquire);
}

uint64_t log_size_bytes(const struct log *l)
{
    return atomic_load_explicit(&l->size, memory_order_relaxed);
}

bool log_is_stopped(const struct log *l)
{
    return atomic_load_explicit(&l->stopped, memory_order_acquire);
}

int32_t log_epoch(const struct log *l)
{
    return l->epoch;
}

/* ---- read ---- */

enum err_code log_read(struct log *l, int64_t offset, int64_t limit, size_t max_bytes, struct log_slice *out,
                       struct err *e)
{
    struct segment *seg = NULL;
    enum err_code rc;

    *out = (struct log_slice){.bytes = bytes_of("", 0), .next_offset = offset};
    int64_t end = log_end_offset(l);
    if (limit > end) limit = end;
    if (offset < log_start_offset(l) || offset > limit)
        return err_set(e, ERR_RANGE, "offset %lld is outside of %lld to %lld", (long long)offset,
                       (long long)log_start_offset(l), (long long)limit);
    if (offset == limit) return ERR_NONE;

    pthread_mutex_lock(&l->lock);
    struct log_slot *slot = log_slot_find(l, offset);
    const struct log_damage_range *damage = log_damage_at(l, offset);
    if (damage != NULL && damage->from <= offset)
        rc = log_damage_error(damage, e);
    else if (slot == NULL) /* retention was faster */
        rc = err_set(e, ERR_RANGE, "offset %lld was removed", (long long)offset);
    else
        rc = log_slot_acquire(l, slot, &seg, e);
    if (rc == ERR_NONE) { /* Opening may just have found damage. */
        damage = log_damage_at(l, offset);
        if (damage != NULL && damage->from <= offset) rc = log_damage_error(damage, e);
        if (damage != NULL && damage->from < limit) limit = damage->from;
    }
    pthread_mutex_unlock(&l->lock);

    if (rc == ERR_NONE) rc = segment_read(seg, offset, limit, max_bytes, &out->bytes, &out->next_offset, e);
    if (rc != ERR_NONE || out->bytes.len == 0) {
        segment_unref(seg);
        return rc;
    }
    out->segment = seg;
    return ERR_NONE;
}

void log_slice_release(struct log_slice *s)
{
    segment_unref(s->segment);
    *s = (struct log_slice){.bytes = bytes_of("", 0), .next_offset = s->next_offset};
}
