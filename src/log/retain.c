/* retain.c: where a log begins and ends as files: rolling to a new segment, and removing old ones.
 *
 * T1  Only sealed and durable segments are removed, from the oldest on.
 * T2  The new start offset is on disk before the first unlink, so names that come back after a power cut are known as
 *     leftovers.
 * T3  An unlink that fails loses nothing but space: the file is below the start and goes at the next open.
 * T4  A segment that a slice still holds stays mapped; only its name goes.
 * T5  Removing while a sync runs is fine in sync mode: what goes is durable, and the sync ends in a later segment. In
 *     os mode "durable" says nothing about the disk, so it waits.
 * T6  No file goes while compaction renames files; a trim moves the start, and the next retention removes them. */
#include "log/log_int.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum err_code log_create_active(struct log *l, struct err *e)
{
    struct segment *seg;
    uint64_t size = 0;
    int64_t base = log_end_offset(l);

    /* A try that failed half way may have left an empty file: FS_WRITE takes it over. */
    enum err_code rc = segment_open(&seg, l->fs, l->dir, base, FS_WRITE, log_map_len(l), &size, e);
    if (rc != ERR_NONE) return rc;
    if (size != 0) {
        segment_unref(seg);
        return err_set(e, ERR_CORRUPT, "segment %020lld of %s exists already", (long long)base, l->dir);
    }
    seg->writes_index = true;
    pthread_mutex_lock(&l->lock);
    log_slot_push(l, &(struct log_slot){.base = base, .next = base, .seg = seg});
    pthread_mutex_unlock(&l->lock);
    l->active = seg;
    l->dir_unsynced = true;
    return ERR_NONE;
}

enum err_code log_roll(struct log *l, struct err *e)
{
    struct segment *old = l->active;

    if (log_is_stopped(l)) return err_set(e, ERR_STOPPED, "log %s has stopped after a disk error", l->dir);
    if (l->refuses_appends) return log_damage_error(&l->damage[0], e);
    if (atomic_load_explicit(&old->size, memory_order_relaxed) == 0) return ERR_NONE;
    segment_close_interval(old);
    (void)segment_flush_index(old, false, NULL); /* X4: recovery makes a missing one. */

    size_t at = l->n_slots - 1;
    pthread_mutex_lock(&l->lock);
    struct log_slot *slot = &l->slots[at];
    slot->next = log_end_offset(l);
    slot->size = atomic_load_explicit(&old->size, memory_order_relaxed);
    slot->max_timestamp = atomic_load_explicit(&old->max_timestamp, memory_order_relaxed);
    slot->epoch = old->epoch;
    pthread_mutex_unlock(&l->lock);

    enum err_code rc = log_create_active(l, e);
    if (rc != ERR_NONE) {
        if (rc != ERR_NO_SPACE) log_stop(l);
        return err_wrap(e, rc, "new segment of %s", l->dir);
    }
    l->n_sealed_open++;
    segment_close_index(old);
    old->writes_index = false;
    if (!l->checkpoint_stale) return ERR_NONE;
    /* Synced once per segment, so that a power cut never costs more than the scan of one. */
    rc = log_write_checkpoint(l, log_start_offset(l), l->o.sync, 0, e);
    if (rc == ERR_NONE || rc == ERR_NO_SPACE) return ERR_NONE; /* C1 */
    log_stop(l);
    return err_wrap(e, rc, "checkpoint of %s", l->dir);
}

enum err_code log_roll_older(struct log *l, int64_t before_ms, struct err *e)
{
    /* A sync under way refers to the active segment: leave it, there is a next time. */
    if (log_is_stopped(l) || l->refuses_appends || l->sync_running) return ERR_NONE;
    if (l->active->first_ms >= before_ms || log_durable_offset(l) != log_end_offset(l)) return ERR_NONE;
    return log_roll(l, e);
}

/* Moves the start and removes the first n segments, which lie wholly below it. */
static enum err_code remove_first(struct log *l, size_t n, int64_t start, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];

    check(n < l->n_slots && start >= log_start_offset(l) && l->slots[n].base <= start);
    int64_t synced = l->synced, synced_base = l->synced_base;
    uint64_t synced_position = l->synced_position;
    if (l->synced_base < l->slots[n].base) { /* The durable place must lie in a segment that stays. */
        l->synced = l->synced_base = l->slots[n].base;
        l->synced_position = 0;
    }
    enum err_code rc = log_write_checkpoint(l, start, true, 0, e); /* T2 */
    if (rc != ERR_NONE) {
        l->synced = synced;
        l->synced_base = synced_base;
        l->synced_position = synced_position;
        if (rc != ERR_NO_SPACE) log_stop(l); /* A failed sync is never retried. */
        return err_wrap(e, rc, "moving the start of %s", l->dir);
    }

    atomic_store_explicit(&l->start, start, memory_order_release);
    int64_t *bases = n ? malloc(n * sizeof(*bases)) : NULL;
    check(n == 0 || bases != NULL);
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < n; i++) {
        bases[i] = l->slots[i].base;
        atomic_fetch_sub_explicit(&l->size, l->slots[i].size, memory_order_relaxed);
        if (l->slots[i].seg != NULL) l->n_sealed_open--;
        segment_unref(l->slots[i].seg); /* T4 */
    }
    l->n_slots -= n;
    memmove(l->slots, l->slots + n, l->n_slots * sizeof(l->slots[0]));
    while (l->n_damage > 0 && l->damage[0].to < start) {
        l->n_damage--;
        memmove(l->damage, l->damage + 1, l->n_damage * sizeof(l->damage[0]));
    }
    pthread_mutex_unlock(&l->lock);

    for (size_t i = 0; i < n; i++) {
        segment_path(path, l->dir, bases[i], ".log");
        (void)l->fs->unlink(l->fs, path, NULL); /* T3 */
        segment_path(path, l->dir, bases[i], ".idx");
        (void)l->fs->unlink(l->fs, path, NULL);
    }
    free(bases);
    return ERR_NONE;
}

enum err_code log_retain(struct log *l, int64_t now_ms, struct err *e)
{
    uint64_t size = log_size_bytes(l);
    size_t n = 0;

    if (log_is_stopped(l)) return err_set(e, ERR_STOPPED, "log %s has stopped after a disk error", l->dir);
    if (l->sync_running && !l->o.sync) return ERR_NONE; /* T5; the next run will do. */
    if (l->swap_running) return ERR_NONE;               /* T6 */
    for (; n + 1 < l->n_slots; n++) {
        const struct log_slot *s = &l->slots[n];
        bool is_old = l->o.retention_ms >= 0 && s->max_timestamp >= 0 && now_ms - s->max_timestamp > l->o.retention_ms;
        bool is_over = l->o.retention_bytes >= 0 && size >= s->size + (uint64_t)l->o.retention_bytes;
        if (s->next > log_durable_offset(l) || (!is_old && !is_over)) break; /* T1 */
        size -= s->size;
    }
    if (n == 0) return ERR_NONE;
    int64_t start = l->slots[n].base;
    return remove_first(l, n, start > log_start_offset(l) ? start : log_start_offset(l), e);
}

enum err_code log_trim(struct log *l, int64_t before, struct err *e)
{
    size_t n = 0;

    if (log_is_stopped(l)) return err_set(e, ERR_STOPPED, "log %s has stopped after a disk error", l->dir);
    if (before > log_durable_offset(l) || before < 0)
        return err_set(e, ERR_RANGE, "cannot trim to %lld, durable are offsets below %lld", (long long)before,
                       (long long)log_durable_offset(l));
    if (before <= log_start_offset(l)) return ERR_NONE;
    if (l->sync_running && !l->o.sync) return err_set(e, ERR_BUSY, "a sync of %s is under way", l->dir);
    while (!l->swap_running && n + 1 < l->n_slots && l->slots[n].next <= before) /* T6 */
        n++;
    return remove_first(l, n, before, e);
}

/* ---- removing a whole log ---- */

struct names {
    struct buf text; /* each name with its NUL; directories end in '/' */
};

static bool on_name(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct names *n = arg;
    buf_put_str(&n->text, name);
    buf_put(&n->text, is_dir ? "/" : "", is_dir ? 2 : 1);
    return !n->text.failed;
}

static enum err_code remove_tree(struct fs *fs, const char *dir, int depth, struct err *e)
{
    struct names n;
    char path[LIMIT_PATH_LEN_MAX + 512];

    if (depth > 2) return err_set(e, ERR_INVALID, "%s is nested too deep for a log", dir);
    buf_init(&n.text, 0);
    enum err_code rc = fs->list(fs, dir, on_name, &n, e);
    for (size_t at = 0; rc == ERR_NONE && at < n.text.len;) {
        char *name = (char *)n.text.ptr + at;
        size_t len = strlen(name);
        at += len + 1;
        bool is_dir = name[len - 1] == '/';
        if (is_dir) name[len - 1] = 0;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        rc = is_dir ? remove_tree(fs, path, depth + 1, e) : fs->unlink(fs, path, e);
    }
    buf_deinit(&n.text);
    return rc == ERR_NONE ? fs->rmdir(fs, dir, e) : rc;
}

enum err_code log_destroy(const struct sys *sys, const char *dir, struct err *e)
{
    if (strlen(dir) > LOG_DIR_LEN_MAX) return err_set(e, ERR_LIMIT, "path of a log is too long");
    enum err_code rc = remove_tree(sys->fs, dir, 0, e);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "removing log %s", dir);
}
