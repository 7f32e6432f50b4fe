/* recover.c: opening a log: what is in the directory, what of it is true, and what has to go.
 *
 * R1  Nothing is written before every version number has been read (ERR_UNSUPPORTED leaves the directory as it was).
 * R2  The checkpoint says which offset D is durable and where it lies. Segments before that place are sealed and
 *     durable: only their names, sizes and last index entries are compared. From that place on every batch is checked
 *     (scan.c).
 * R3  The first bad batch at or above D is a torn tail: cut there, and sync. Later segments lie behind a hole; they
 *     are moved to quarantine/, never read again: their records were never acknowledged, or the disk lied, and a
 *     person may want to look.
 * R4  A bad batch below D is rot: its range is reported and refused to readers, the log takes no appends, nothing is
 *     cut.
 * R5  Without a checkpoint D is unknown and everything is checked from the beginning; the first bad batch is then a
 *     torn tail.
 * R6  What was kept is synced before it counts as durable: after a kill -9 it may be in the page cache only.
 * R7  After a failed sync the page cache is not trusted either: the checkpoint says so, and the tail behind it is cut
 *     unseen.
 * R8  Recovering twice changes nothing the second time: each step is derived from the directory alone and ends
 *     synced.
 * R9  Side files (index, checkpoint, snapshot) are caches; a full disk may keep them from being written and recovery
 *     still works.
 * R10 A swap of compaction is finished or undone before anything else (swap.c): what follows sees whole segments.
 *
 *   names -> versions (R1) -> swap (R10) -> leftovers -> sealed (R2) -> tail (R2..R5) -> cut, quarantine (R3) ->
 * sync (R6) -> index, active */
#include "log/log_int.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/producer.h"

struct found {
    int64_t base;
    uint64_t size;           /* of the segment file */
    bool has_last;           /* the index ends with an intact entry: */
    struct index_entry last; /* this one */
};
struct recover {
    struct log *l;
    struct log_recovery *r;
    struct found *found; /* sorted by base; owned */
    size_t n_found, cap_found;
    int64_t *indexes; /* bases of index files; owned */
    size_t n_indexes, cap_indexes;
    struct buf stray;   /* names of *.tmp, each with its NUL */
    struct buf cleaned; /* the same of compaction's */
    bool out_of_memory;
    struct checkpoint cp;
    bool has_cp;
    int64_t durable; /* D; 0 without a checkpoint */
    size_t tail;     /* first segment to be checked; found[] */
    bool is_dirty;   /* files or names may not be on disk */
    bool has_moved;  /* something was cut or moved away */
};

/* ---- names ---- */

static bool grow(void *array, size_t *cap, size_t n, size_t item)
{
    void **p = array;
    if (n < *cap) return true;
    size_t more = *cap ? 2 * *cap : 16;
    void *grown = realloc(*p, more * item);
    if (grown == NULL) return false;
    *p = grown;
    *cap = more;
    return true;
}

static bool on_name(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct recover *rec = arg;
    size_t len = strlen(name);
    int64_t base;

    if (is_dir) return true;
    if (segment_parse_name(name, ".log", &base)) {
        if (!grow(&rec->found, &rec->cap_found, rec->n_found, sizeof(rec->found[0]))) goto no_memory;
        rec->found[rec->n_found++] = (struct found){.base = base, .size = size};
    } else if (segment_parse_name(name, ".idx", &base)) {
        if (!grow(&rec->indexes, &rec->cap_indexes, rec->n_indexes, sizeof(rec->indexes[0]))) goto no_memory;
        rec->indexes[rec->n_indexes++] = base;
    } else if (len > 4 && strcmp(name + len - 4, ".tmp") == 0) {
        buf_put(&rec->stray, name, len + 1);
    } else if (segment_parse_name(name, SWAP_SUFFIX, &base)) {
        buf_put(&rec->cleaned, name, len + 1);
    }
    return true;

no_memory:
    rec->out_of_memory = true;
    return false;
}

static int by_base(const void *a, const void *b)
{
    int64_t x = ((const struct found *)a)->base, y = ((const struct found *)b)->base;
    return (x > y) - (x < y);
}

static struct found *find_base(struct recover *rec, int64_t base)
{
    struct found key = {.base = base};
    return rec->n_found ? bsearch(&key, rec->found, rec->n_found, sizeof(key), by_base) : NULL;
}

/* ---- versions ---- */

/* Reads header and last entry of an index file. */
static enum err_code peek_index(struct recover *rec, int64_t base, struct err *e)
{
    struct fs *fs = rec->l->fs;
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t bytes[INDEX_ENTRY_LEN];
    struct file *file = NULL;
    uint64_t size = 0;
    size_t n = 0;

    segment_path(path, rec->l->dir, base, ".idx");
    enum err_code rc = fs->open(fs, path, FS_READ, &file, e);
    if (rc != ERR_NONE) return rc;
    rc = fs->size(fs, file, &size, e);
    if (rc == ERR_NONE) rc = fs->pread(fs, file, bytes, INDEX_HEADER_LEN, 0, &n, e);
    if (rc != ERR_NONE) goto done;
    rc = index_decode_header(bytes_of(bytes, n), base);
    if (rc == ERR_UNSUPPORTED) {
        rc = err_set(e, rc, "%s was written by a newer version of Weir", path);
        goto done;
    }
    struct found *f = find_base(rec, base);
    bool is_whole = rc == ERR_NONE && size > INDEX_HEADER_LEN && (size - INDEX_HEADER_LEN) % INDEX_ENTRY_LEN == 0;
    rc = ERR_NONE;
    if (f == NULL || !is_whole) goto done;
    rc = fs->pread(fs, file, bytes, INDEX_ENTRY_LEN, size - INDEX_ENTRY_LEN, &n, e);
    if (rc == ERR_NONE && n == INDEX_ENTRY_LEN) f->has_last = index_decode_entry(bytes, base, &f->last);
done:
    fs->close(fs, file);
    return rc;
}

static enum err_code read_versions(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;

    enum err_code rc = checkpoint_read(&l->checkpoint, &rec->cp, e);
    if (rc != ERR_NONE && rc != ERR_NOT_FOUND) return rc;
    rec->has_cp = rc == ERR_NONE;
    for (size_t i = 0; i < rec->n_indexes; i++) {
        rc = peek_index(rec, rec->indexes[i], e);
        if (rc != ERR_NONE) return rc;
    }
    rc = producers_check_version(l->fs, l->dir, e);
    if (rc == ERR_NONE) rc = swap_read(l->fs, l->dir, &l->cleaned, e);
    if (rc != ERR_NONE) return rc;
    if (rec->has_cp && rec->cp.epoch > l->epoch)
        return err_set(e, ERR_INVALID, "%s was written in epoch %d; this is epoch %d", l->dir, rec->cp.epoch, l->epoch);
    err_clear(e);
    return ERR_NONE;
}

/* ---- leftovers ---- */

static void unlink_pair(struct log *l, int64_t base)
{
    char path[LIMIT_PATH_LEN_MAX];
    segment_path(path, l->dir, base, ".log");
    (void)l->fs->unlink(l->fs, path, NULL); /* What stays is below the start, and is tried again at the next open. */
    segment_path(path, l->dir, base, ".idx");
    (void)l->fs->unlink(l->fs, path, NULL);
}

/* A swap of compaction that a crash cut short is finished; else its file is a leftover. */
static enum err_code finish_swap(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    const struct swap_record *r = &l->cleaned;
    char path[LIMIT_PATH_LEN_MAX];
    bool is_done = false;
    size_t n = 0;

    int64_t *bases = malloc((rec->n_found + 1) * sizeof(*bases));
    check(bases != NULL);
    for (size_t i = 0; i < rec->n_found; i++)
        bases[i] = rec->found[i].base;
    enum err_code rc = swap_finish(l->fs, l->dir, r, bases, rec->n_found, &is_done, e);
    free(bases);
    if (rc != ERR_NONE) return rc;
    for (size_t i = 0; i < rec->n_found; i++) { /* found[] is as the directory now */
        struct found *f = &rec->found[i];
        if (is_done && f->base > r->base && f->base < r->end) continue;
        if (is_done && f->base == r->base) *f = (struct found){.base = f->base, .size = r->size};
        rec->found[n++] = *f;
    }
    rec->n_found = n;
    for (size_t at = 0; at < rec->cleaned.len; at += strlen((char *)rec->cleaned.ptr + at) + 1) {
        log_path(l, path, (char *)rec->cleaned.ptr + at);
        (void)l->fs->unlink(l->fs, path, NULL); /* one that was renamed is not there any more */
    }
    if (r->base < 0) return ERR_NONE;
    l->cleaned.base = l->cleaned.end = -1;
    l->cleaned.size = 0;
    rc = swap_write(l->fs, l->dir, &l->cleaned, e);
    return rc == ERR_NO_SPACE ? ERR_NONE : rc; /* W5: finishing it once more does no harm. */
}

/* Half-written replacements, and segments that retention had removed or was about to (C2 in checkpoint.c). */
static void remove_leftovers(struct recover *rec)
{
    struct log *l = rec->l;
    char path[LIMIT_PATH_LEN_MAX];
    size_t gone = 0;

    for (size_t at = 0; at < rec->stray.len; at += strlen((char *)rec->stray.ptr + at) + 1) {
        log_path(l, path, (char *)rec->stray.ptr + at);
        (void)l->fs->unlink(l->fs, path, NULL);
    }
    if (!rec->has_cp) return;
    while (gone + 1 < rec->n_found && rec->found[gone + 1].base <= rec->cp.start)
        unlink_pair(l, rec->found[gone++].base);
    rec->n_found -= gone;
    if (gone > 0) memmove(rec->found, rec->found + gone, rec->n_found * sizeof(rec->found[0]));
    for (size_t i = 0; i < rec->n_indexes; i++)
        if (rec->indexes[i] < rec->cp.start && (rec->n_found == 0 || rec->indexes[i] < rec->found[0].base))
            unlink_pair(l, rec->indexes[i]);
}

/* ---- sealed segments before the checkpoint's place ---- */

static enum err_code rebuild_sealed(struct recover *rec, struct log_slot *slot, uint64_t size, struct err *e)
{
    struct log *l = rec->l;
    struct segment *seg;
    struct log_rest rest;
    uint64_t file_size = size;

    enum err_code rc = segment_open(&seg, l->fs, l->dir, slot->base, FS_READ, log_map_len(l), &file_size, e);
    if (rc != ERR_NONE) return rc;
    rc = segment_load_index(seg, file_size, e);
    if (rc == ERR_NONE) rc = log_scan_rest(l, seg, file_size, INT64_MAX, slot->next, &rest, e);
    if (rc == ERR_NONE) {
        rec->r->scanned_bytes += rest.scanned_bytes;
        rec->r->index_rebuilt = true;
        segment_close_interval(seg);
        (void)segment_flush_index(seg, false, NULL); /* R9 */
        slot->max_timestamp = atomic_load(&seg->max_timestamp);
        slot->epoch = seg->epoch;
    }
    segment_unref(seg);
    return rc;
}

static enum err_code take_sealed(struct recover *rec, size_t i, struct err *e)
{
    struct log *l = rec->l;
    const struct found *f = &rec->found[i];
    struct log_slot slot = {.base = f->base, .next = rec->found[i + 1].base, .size = f->size};
    enum err_code rc = ERR_NONE;

    if (f->has_last && f->last.position_end == f->size) {
        slot.max_timestamp = f->last.max_timestamp;
        slot.epoch = f->last.epoch;
        if (f->base + f->last.next_rel < slot.next) log_damage_add(l, f->base + f->last.next_rel, slot.next - 1);
    } else {
        rc = rebuild_sealed(rec, &slot, f->size, e);
    }
    if (rc == ERR_NONE) log_slot_push(l, &slot);
    return rc;
}

/* ---- the tail ---- */

/* settle syncs it. */
static enum err_code cut_tail(struct recover *rec, struct segment *seg, uint64_t file_size, struct err *e)
{
    uint64_t keep = atomic_load(&seg->size);

    enum err_code rc = rec->l->fs->truncate(rec->l->fs, seg->file, keep, e);
    rec->r->cut_bytes += file_size - keep;
    rec->has_moved = true;
    return rc;
}

/* Moves a segment that lies behind a hole out of the way; an empty one is removed. */
static enum err_code quarantine(struct recover *rec, const struct found *f, struct err *e)
{
    struct log *l = rec->l;
    char from[LIMIT_PATH_LEN_MAX], to[LIMIT_PATH_LEN_MAX + 64], folder[LIMIT_PATH_LEN_MAX];
    enum err_code rc;

    rec->has_moved = true;
    rec->r->cut_bytes += f->size;
    segment_path(from, l->dir, f->base, ".idx");
    (void)l->fs->unlink(l->fs, from, NULL);
    segment_path(from, l->dir, f->base, ".log");
    if (f->size == 0) return l->fs->unlink(l->fs, from, e);
    log_path(l, folder, LOG_QUARANTINE);
    /* A full disk may refuse the directory; a name that is no segment's does as well (R9). */
    if (l->fs->mkdir(l->fs, folder, NULL) != ERR_NONE) (void)snprintf(folder, sizeof(folder), "%s", l->dir);
    for (int i = 1;; i++) {
        (void)snprintf(to, sizeof(to), "%s/%020lld.cut-%d", folder, (long long)f->base, i);
        if (!l->fs->exists(l->fs, to)) break;
    }
    rc = l->fs->rename(l->fs, from, to, e);
    if (rc == ERR_NONE) rc = l->fs->sync_dir(l->fs, folder, e);
    return rc;
}

/* Checks one segment of the tail and makes it a slot. `cut`: nothing behind this segment is to be kept. */
static enum err_code take_tail(struct recover *rec, size_t i, bool *cut, int64_t *expect, struct err *e)
{
    struct log *l = rec->l;
    struct found *f = &rec->found[i];
    int64_t next_base = i + 1 < rec->n_found ? rec->found[i + 1].base : INT64_MAX;
    bool is_place = rec->has_cp && f->base == rec->cp.segment_base;
    /* Index entries are believed up to the durable place: behind it they may be of records that were cut since. */
    uint64_t believe = is_place ? rec->cp.position : (rec->has_cp && f->base < rec->cp.segment_base) ? UINT64_MAX : 0;
    struct segment *seg;
    struct log_rest rest;
    uint64_t size = 0;

    enum err_code rc = segment_open(&seg, l->fs, l->dir, f->base, FS_WRITE, log_map_len(l), &size, e);
    if (rc != ERR_NONE) return rc;
    rc = segment_load_index(seg, believe < size ? believe : size, e);
    if (rc != ERR_NONE) goto fail;
    uint64_t known = atomic_load(&seg->size);
    if (is_place && known < rec->cp.position) rec->r->index_rebuilt = true;
    bool distrust = is_place && (rec->cp.flags & CHECKPOINT_DISTRUST_TAIL); /* R7 */
    uint64_t scan_size = distrust && rec->cp.position < size ? rec->cp.position : size;
    rc = log_scan_rest(l, seg, scan_size, rec->durable, next_base, &rest, e);
    if (rc != ERR_NONE) goto fail;
    rec->r->scanned_bytes += rest.scanned_bytes;
    *cut = rest.cut || distrust;
    if (rest.cut || scan_size < size) rc = cut_tail(rec, seg, size, e);
    if (rc != ERR_NONE) goto fail;
    *expect = rest.next;
    seg->writes_index = true;
    segment_close_interval(seg);
    struct log_slot slot = {.base = f->base,
                            .seg = seg,
                            .size = atomic_load(&seg->size),
                            .epoch = seg->epoch,
                            .max_timestamp = atomic_load(&seg->max_timestamp)};
    slot.next = rest.next;
    log_slot_push(l, &slot);
    return ERR_NONE;

fail:
    segment_unref(seg);
    return rc;
}

static enum err_code take_all_tail(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    int64_t expect = rec->found[rec->tail].base;
    bool cut = false;
    enum err_code rc = ERR_NONE;

    for (size_t i = rec->tail; i < rec->n_found && rc == ERR_NONE; i++) {
        if (cut || rec->found[i].base != expect) {
            cut = true; /* R3: behind a hole */
            rc = quarantine(rec, &rec->found[i], e);
        } else {
            rc = take_tail(rec, i, &cut, &expect, e);
        }
    }
    atomic_store(&l->end, expect);
    return rc;
}

/* ---- the end ---- */

/* R7: the mark must be gone before a new record is acknowledged behind it. */
static enum err_code take_mark_away(struct recover *rec, struct err *e)
{
    if (!rec->has_cp || !(rec->cp.flags & CHECKPOINT_DISTRUST_TAIL)) return ERR_NONE;
    return log_write_checkpoint(rec->l, atomic_load(&rec->l->start), true, 0, e);
}

/* Brings the kept tail to disk (R6), the index files too. */
static enum err_code settle(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    int64_t end = atomic_load(&l->end);
    enum err_code rc = ERR_NONE;
    bool sync = l->o.sync && (end != rec->durable || rec->has_moved || !rec->has_cp);

    for (size_t i = rec->tail; i < l->n_slots && rc == ERR_NONE; i++) {
        struct segment *seg = l->slots[i].seg;
        if (sync || rec->has_moved) rc = l->fs->sync(l->fs, seg->file, e);
        if (rc != ERR_NONE) break;
        /* A cut index must be on disk before new entries follow: old ones that came back would pass for theirs. */
        if (index_count(&seg->index) != seg->index_flushed || rec->has_moved) {
            enum err_code irc = segment_flush_index(seg, rec->has_moved, e);
            if (irc != ERR_NONE && irc != ERR_NO_SPACE) rc = irc; /* R9 */
        }
        if (i + 1 < l->n_slots) segment_close_index(seg);
        seg->writes_index = i + 1 == l->n_slots;
    }
    if (rc == ERR_NONE && (sync || rec->has_moved)) rc = l->fs->sync_dir(l->fs, l->dir, e);
    if (rc == ERR_NONE && sync) rc = l->fs->sync_dir(l->fs, l->parent, e);
    if (rc != ERR_NONE) return rc;
    err_clear(e);

    struct log_slot *last = &l->slots[l->n_slots - 1];
    const struct log_slot *first = &l->slots[rec->tail];
    if (sync || (rec->has_cp && end == rec->durable)) {
        l->synced = end;
        l->synced_base = last->base;
        l->synced_position = atomic_load(&last->seg->size);
    } else if (rec->has_cp && first->base == rec->cp.segment_base) {
        l->synced = rec->durable;
        l->synced_base = first->base;
        l->synced_position = rec->cp.position;
    } else {
        l->synced = l->synced_base = first->base;
        l->synced_position = 0;
    }
    atomic_store(&l->durable, end);
    l->checkpoint_stale = !rec->has_cp || l->synced != rec->durable;
    /* A process that was killed may have left names that no directory sync has covered: the first sync does it. */
    l->dir_unsynced = l->parent_unsynced = !sync;
    return take_mark_away(rec, e);
}

static enum err_code make_active(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    struct log_slot *last = &l->slots[l->n_slots - 1];
    struct segment_head head;
    int64_t now = l->sys->clock->wall_ms(l->sys->clock);

    l->active = last->seg;
    l->n_sealed_open = l->n_slots - 1 - rec->tail;
    if (atomic_load(&l->active->next) != atomic_load(&l->end) && !l->refuses_appends) {
        /* The unreadable end of the last segment was trimmed away: go on in a fresh one. */
        last->next = atomic_load(&l->end);
        l->n_sealed_open++;
        return log_create_active(l, e);
    }
    if (segment_head_at(l->active, (struct segment_place){0, l->active->base}, &head))
        l->active->first_ms = head.max_timestamp >= 0 && head.max_timestamp < now ? head.max_timestamp : now;
    return ERR_NONE;
}

/* An empty directory, or one whose segments are all gone. */
static enum err_code start_empty(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    int64_t end = rec->has_cp ? (rec->durable > rec->cp.start ? rec->durable : rec->cp.start) : 0;

    atomic_store(&l->end, end);
    if (end > atomic_load(&l->start)) log_damage_add(l, atomic_load(&l->start), end - 1);
    atomic_store(&l->durable, end);
    l->synced = l->synced_base = end;
    l->synced_position = 0;
    l->checkpoint_stale = true;
    l->parent_unsynced = true;
    l->refuses_appends = l->n_damage > 0;
    enum err_code rc = take_mark_away(rec, e); /* The cut may have taken the segment and left the checkpoint. */
    return rc == ERR_NONE ? log_create_active(l, e) : rc;
}

static enum err_code take_segments(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;
    enum err_code rc = ERR_NONE;

    int64_t start = rec->has_cp ? rec->cp.start : rec->n_found ? rec->found[0].base : 0;
    atomic_store(&l->start, start);
    rec->durable = rec->has_cp ? rec->cp.durable : 0;
    if (rec->n_found == 0) return start_empty(rec, e);
    if (rec->found[0].base > start) log_damage_add(l, start, rec->found[0].base - 1);

    while (rec->has_cp && rec->tail + 1 < rec->n_found && rec->found[rec->tail + 1].base <= rec->cp.segment_base)
        rec->tail++;
    for (size_t i = 0; i < rec->tail && rc == ERR_NONE; i++)
        rc = take_sealed(rec, i, e);
    if (rc == ERR_NONE) rc = take_all_tail(rec, e);
    if (rc != ERR_NONE) return rc;
    struct segment *last = l->slots[l->n_slots - 1].seg;
    if (last->epoch > l->epoch)
        return err_set(e, ERR_INVALID, "%s holds batches of epoch %d; this is epoch %d", l->dir, last->epoch, l->epoch);
    l->refuses_appends = l->n_damage > 0;
    rc = settle(rec, e);
    return rc == ERR_NONE ? make_active(rec, e) : rc;
}

static enum err_code read_directory(struct recover *rec, struct err *e)
{
    struct log *l = rec->l;

    if (!l->fs->exists(l->fs, l->dir)) {
        enum err_code rc = l->fs->mkdir(l->fs, l->dir, e);
        if (rc != ERR_NONE) return rc;
    }
    enum err_code rc = l->fs->list(l->fs, l->dir, on_name, rec, e);
    if (rc != ERR_NONE) return rc;
    if (rec->out_of_memory) return err_set(e, ERR_MEMORY, "no memory to list %s", l->dir);
    if (rec->n_found) qsort(rec->found, rec->n_found, sizeof(rec->found[0]), by_base);
    return ERR_NONE;
}

static void report(struct recover *rec)
{
    struct log *l = rec->l;
    struct log_recovery *r = rec->r;
    uint64_t size = 0;

    for (size_t i = 0; i < l->n_slots; i++)
        size += l->slots[i].size;
    atomic_store(&l->size, size);
    r->start_offset = atomic_load(&l->start);
    r->end_offset = atomic_load(&l->end);
    if (l->n_damage > 0) {
        r->corrupt_from = l->damage[0].from;
        r->corrupt_to = l->damage[l->n_damage - 1].to;
    }
}

static struct log *create(const struct sys *sys, const char *dir, const struct log_options *o, int32_t epoch)
{
    struct log *l = calloc(1, sizeof(*l));
    check(l != NULL && pthread_mutex_init(&l->lock, NULL) == 0);
    l->sys = sys;
    l->fs = sys->fs;
    l->o = *o;
    l->epoch = epoch;
    l->dir = strdup(dir);
    l->parent = strdup(dir);
    check(l->dir != NULL && l->parent != NULL);
    char *slash = strrchr(l->parent, '/');
    if (slash == NULL)
        strcpy(l->parent, dir[0] ? "." : "");
    else
        slash[slash == l->parent] = 0;
    checkpoint_init(&l->checkpoint, l->fs, l->dir);
    l->cleaned = (struct swap_record){.horizon_ms = INT64_MAX, .base = -1, .end = -1};
    return l;
}

enum err_code log_open(struct log **out, const struct sys *sys, const char *dir, const struct log_options *o,
                       int32_t epoch, struct log_recovery *r, struct err *e)
{
    struct log_recovery unused;
    struct err local;
    size_t len = strlen(dir);

    *out = NULL;
    if (r == NULL) r = &unused;
    if (e == NULL) e = &local; /* Scanning tells "bad" from "unreadable" by it. */
    err_clear(e);
    *r = (struct log_recovery){.corrupt_from = -1, .corrupt_to = -1};
    if (len == 0 || len > LOG_DIR_LEN_MAX) return err_set(e, ERR_LIMIT, "path of a log has %zu bytes", len);
    check(epoch >= 0);

    struct recover rec = {.l = create(sys, dir, o, epoch), .r = r};
    buf_init(&rec.stray, 0);
    buf_init(&rec.cleaned, 0);
    enum err_code rc = read_directory(&rec, e);
    if (rc == ERR_NONE) rc = read_versions(&rec, e);
    if (rc == ERR_NONE) rc = finish_swap(&rec, e);
    if (rc == ERR_NONE) {
        remove_leftovers(&rec);
        rc = take_segments(&rec, e);
    }
    if (rc == ERR_NONE) {
        report(&rec);
        *out = rec.l;
    } else {
        log_stop(rec.l); /* No checkpoint of a half-opened log. */
        log_close(rec.l);
        rc = err_wrap(e, rc, "opening log %s", dir);
    }
    buf_deinit(&rec.stray);
    buf_deinit(&rec.cleaned);
    free(rec.found);
    free(rec.indexes);
    return rc;
}
