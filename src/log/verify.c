/* verify.c: reads every byte of a log that is not open and reports what is not as it was written. Changes nothing.
 *
 * Every bit of a record batch is covered: the body by Kafka's checksum, the head by the index entry of its interval and
 * by its place (offsets follow, epochs do not fall). The last interval of a log that was not closed has no entry yet;
 * there only its place covers the head. Where the log cannot be followed any more, an intact index entry says where to
 * go on, so that one bad length does not hide the rest of a segment. */
#include "log/log_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "log/producer.h"

struct verify_segment {
    int64_t base;
    uint64_t size;
};
struct verify {
    struct fs *fs;
    const char *dir;
    log_damage_fn fn;
    void *arg;
    uint64_t n_batches;
    struct verify_segment *segments; /* owned, sorted */
    size_t n_segments;
    bool out_of_memory;
    struct checkpoint cp;
    bool has_cp;
    bool is_behind_hole; /* a torn tail was met: what follows was never acknowledged */
    /* A swap of compaction that the next open will finish; base -1: none. Those that it replaces are left out. */
    struct swap_record swap;
    bool is_swap_ahead; /* the new segment still has its other name */
};
/* One segment under way. */
struct walk {
    struct verify *vf;
    char name[48], index_name[48];
    int64_t base, next_base; /* next_base -1: the last segment */
    struct scan scan;
    struct bytes index; /* owned; the file's bytes */
    uint32_t n_entries; /* whole ones in it */
    uint32_t at;        /* the entry of the interval under way */
    /* The interval under way; not known after a jump until the next entry. */
    struct index_entry sum;
    int64_t interval_from;
    bool is_sum_whole;
    uint64_t stop_at; /* walk_batches stops behind the batch that reaches it */
    bool is_ended;
};

static void report(struct verify *vf, const char *file, int64_t from, int64_t to, uint64_t position, const char *what,
                   enum log_damage_kind kind)
{
    struct log_damage d = {
        .kind = kind, .file = file, .offset_from = from, .offset_to = to, .position = position, .what = what};
    vf->fn(vf->arg, &d);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0) return false;
    return true;
}

/* Reads a whole small file. Missing: null bytes. */
static enum err_code read_whole(struct verify *vf, const char *name, struct bytes *out, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    uint64_t size = 0;
    size_t n = 0;

    *out = BYTES_NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", vf->dir, name);
    enum err_code rc = vf->fs->open(vf->fs, path, FS_READ, &file, e);
    if (rc == ERR_NOT_FOUND) return ERR_NONE;
    if (rc != ERR_NONE) return rc;
    rc = vf->fs->size(vf->fs, file, &size, e);
    uint8_t *bytes = rc == ERR_NONE ? malloc((size_t)size + 1) : NULL;
    if (rc == ERR_NONE && bytes == NULL) rc = err_set(e, ERR_MEMORY, "no memory to read %s", path);
    if (rc == ERR_NONE) rc = vf->fs->pread(vf->fs, file, bytes, (size_t)size, 0, &n, e);
    vf->fs->close(vf->fs, file);
    if (rc != ERR_NONE) {
        free(bytes);
        return rc;
    }
    *out = bytes_of(bytes, n);
    return ERR_NONE;
}

static void free_bytes(struct bytes b)
{
    free((void *)(uintptr_t)b.ptr);
}

/* ---- checkpoint and snapshot ---- */

static enum err_code verify_checkpoint(struct verify *vf, struct err *e)
{
    struct bytes in;

    enum err_code rc = read_whole(vf, CHECKPOINT_NAME, &in, e);
    if (rc != ERR_NONE || in.ptr == NULL) return rc;
    if (in.len != 0 && in.len != CHECKPOINT_FILE_LEN)
        report(vf, CHECKPOINT_NAME, -1, -1, in.len, "The checkpoint has a wrong length; it is written again.",
               LOG_DAMAGE_SIDE);
    for (size_t at = 0; at + CHECKPOINT_SLOT_LEN <= in.len && at < CHECKPOINT_FILE_LEN; at += CHECKPOINT_SLOT_STRIDE) {
        struct checkpoint c;
        size_t rest = in.len - at < CHECKPOINT_SLOT_STRIDE ? in.len - at : CHECKPOINT_SLOT_STRIDE;
        if (!all_zero(in.ptr + at + CHECKPOINT_SLOT_LEN, rest - CHECKPOINT_SLOT_LEN))
            report(vf, CHECKPOINT_NAME, -1, -1, at + CHECKPOINT_SLOT_LEN,
                   "Bytes between the checkpoint's slots are not zero; nobody reads them.", LOG_DAMAGE_SIDE);
        if (all_zero(in.ptr + at, CHECKPOINT_SLOT_LEN)) continue;
        enum err_code slot_rc = checkpoint_decode(in.ptr + at, &c);
        if (slot_rc == ERR_UNSUPPORTED)
            rc = err_set(e, slot_rc, "%s/" CHECKPOINT_NAME " is of a newer version", vf->dir);
        if (slot_rc == ERR_CORRUPT)
            report(vf, CHECKPOINT_NAME, -1, -1, at, "A slot of the checkpoint is damaged; the other one counts.",
                   LOG_DAMAGE_SIDE);
        if (slot_rc != ERR_NONE || (vf->has_cp && c.generation < vf->cp.generation)) continue;
        vf->cp = c;
        vf->has_cp = true;
    }
    free_bytes(in);
    return rc;
}

/* What the next open will make of it (swap_finish). */
static enum err_code verify_compaction(struct verify *vf, struct err *e)
{
    struct bytes in;

    enum err_code rc = read_whole(vf, SWAP_RECORD_NAME, &in, e);
    if (rc != ERR_NONE) return rc;
    rc = in.len > 0 ? swap_decode(in, &vf->swap) : ERR_NONE;
    if (rc == ERR_CORRUPT || in.len > SWAP_RECORD_LEN)
        report(vf, SWAP_RECORD_NAME, -1, -1, 0, "The record of compaction is damaged; the log is cleaned anew.",
               LOG_DAMAGE_SIDE);
    if (in.len == 0 || rc != ERR_NONE) vf->swap.base = vf->swap.end = -1;
    free_bytes(in);
    if (rc == ERR_UNSUPPORTED) return err_set(e, rc, "%s/" SWAP_RECORD_NAME " is of a newer version", vf->dir);
    vf->is_swap_ahead = swap_is_ahead(vf->fs, vf->dir, &vf->swap);
    for (size_t i = 0; i < vf->n_segments; i++) {
        struct verify_segment *seg = &vf->segments[i];
        if (seg->base != vf->swap.base) continue;
        if (!vf->is_swap_ahead && seg->size != vf->swap.size) vf->swap.base = vf->swap.end = -1;
        if (vf->is_swap_ahead) seg->size = vf->swap.size;
        break;
    }
    size_t n = 0;
    for (size_t i = 0; i < vf->n_segments; i++)
        if (vf->segments[i].base <= vf->swap.base || vf->segments[i].base >= vf->swap.end)
            vf->segments[n++] = vf->segments[i];
    vf->n_segments = n;
    return ERR_NONE;
}

static enum err_code verify_snapshot(struct verify *vf, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    int64_t offset;

    (void)snprintf(path, sizeof(path), "%s/producers.snap", vf->dir);
    if (!vf->fs->exists(vf->fs, path)) return ERR_NONE;
    struct producers *p = producers_create();
    enum err_code rc = producers_load(p, vf->fs, vf->dir, &offset, e);
    producers_destroy(p);
    if (rc != ERR_NOT_FOUND) return rc;
    report(vf, "producers.snap", -1, -1, 0, "The snapshot of producers is damaged; it is rebuilt from the log.",
           LOG_DAMAGE_SIDE);
    return ERR_NONE;
}

/* ---- index ---- */

static enum err_code load_index(struct walk *w, struct err *e)
{
    struct verify *vf = w->vf;
    struct index_entry entry, before;

    enum err_code rc = read_whole(vf, w->index_name, &w->index, e);
    if (rc != ERR_NONE || w->index.len == 0) return rc;
    rc = index_decode_header(w->index, w->base);
    if (rc == ERR_UNSUPPORTED) return err_set(e, rc, "%s/%s is of a newer version", vf->dir, w->index_name);
    if (rc != ERR_NONE) {
        report(vf, w->index_name, -1, -1, 0, "The index has no intact header; it is rebuilt from the log.",
               LOG_DAMAGE_SIDE);
        return ERR_NONE;
    }
    size_t len = w->index.len - INDEX_HEADER_LEN;
    w->n_entries = (uint32_t)(len / INDEX_ENTRY_LEN);
    if (len % INDEX_ENTRY_LEN != 0)
        report(vf, w->index_name, -1, -1, w->index.len, "The index ends inside an entry; it is rebuilt from the log.",
               LOG_DAMAGE_SIDE);
    for (uint32_t i = 0; i < w->n_entries; i++) {
        size_t position = INDEX_HEADER_LEN + (size_t)i * INDEX_ENTRY_LEN;
        const uint8_t *at = w->index.ptr + position;
        if (index_decode_entry(at, w->base, &entry) && index_entry_follows(&entry, i ? &before : NULL)) {
            before = entry;
            continue;
        }
        report(vf, w->index_name, -1, -1, position, "An index entry is damaged; it is rebuilt from the log.",
               LOG_DAMAGE_SIDE);
        w->n_entries = i; /* What follows is not used, as in recovery. */
    }
    return ERR_NONE;
}

static bool entry_at(const struct walk *w, uint32_t i, struct index_entry *out)
{
    return i < w->n_entries &&
           index_decode_entry(w->index.ptr + INDEX_HEADER_LEN + (size_t)i * INDEX_ENTRY_LEN, w->base, out);
}

/* At the end of an interval: does the index say the same? */
static void compare_interval(struct walk *w)
{
    struct index_entry entry;

    if (!entry_at(w, w->at, &entry) || w->scan.position < entry.position_end) return;
    const char *what = NULL;
    if (w->scan.position > entry.position_end || w->base + entry.next_rel != w->scan.next_offset)
        what = "The index does not fit the log; it is rebuilt.";
    else if (w->is_sum_whole && (entry.heads_crc != w->sum.heads_crc || entry.batch_count != w->sum.batch_count))
        what = "The head of a batch in this range is not as it was written.";
    else if (w->is_sum_whole && entry.epoch != w->scan.epoch)
        what = "The epoch of a batch in this range is not as it was written.";
    if (what != NULL)
        report(w->vf, w->name, w->interval_from, w->base + entry.next_rel - 1, w->at ? w->scan.position : 0, what,
               LOG_DAMAGE_DATA);
    w->at++;
    w->sum = (struct index_entry){0};
    w->is_sum_whole = true;
    w->interval_from = w->base + entry.next_rel;
}

/* ---- segment ---- */

static void count_batch(struct walk *w, const struct batch_view *v)
{
    w->sum.heads_crc = crc32c(w->sum.heads_crc, v->bytes.ptr, INDEX_HEAD_LEN);
    w->sum.batch_count++;
    w->vf->n_batches++;
    compare_interval(w);
}

/* A bad batch: reports it and finds a place to go on. False: there is none. */
static bool go_on_behind(struct walk *w, const struct batch_view *v)
{
    struct scan *s = &w->scan;
    struct verify *vf = w->vf;
    struct index_entry entry;
    int64_t from = s->next_offset;
    bool is_last = w->next_base < 0;
    bool is_torn = vf->has_cp ? from >= vf->cp.durable : is_last;

    if (!is_torn && s->is_body_only) {
        int64_t behind = scan_peek_offset(s, s->position + v->bytes.len);
        bool is_at_end = s->position + v->bytes.len == s->size;
        if (is_at_end || behind == batch_last_offset(v) + 1) {
            report(vf, w->name, v->base_offset, batch_last_offset(v), s->position, s->what, LOG_DAMAGE_DATA);
            scan_skip(s, v);
            count_batch(w, v);
            return true;
        }
    }
    while (!is_torn && entry_at(w, w->at, &entry)) {
        w->at++;
        if (entry.position_end <= s->position || entry.position_end > s->size) continue;
        report(vf, w->name, from, w->base + entry.next_rel - 1, s->position, s->what, LOG_DAMAGE_DATA);
        s->position = entry.position_end;
        s->next_offset = w->base + entry.next_rel;
        s->epoch = entry.epoch;
        w->sum = (struct index_entry){0};
        w->is_sum_whole = true;
        w->interval_from = s->next_offset;
        return true;
    }
    report(vf, w->name, from, is_last ? -1 : w->next_base - 1, s->position, s->what,
           is_torn ? LOG_DAMAGE_TAIL : LOG_DAMAGE_DATA);
    vf->is_behind_hole |= is_torn;
    s->next_offset = is_last || is_torn ? from : w->next_base;
    return false;
}

static enum err_code walk_batches(struct walk *w, struct err *e)
{
    struct batch_view v;

    while (!w->is_ended && w->scan.position < w->stop_at) {
        switch (scan_next(&w->scan, &v, e)) {
        case SCAN_BATCH: count_batch(w, &v); break;
        case SCAN_END: w->is_ended = true; break;
        case SCAN_ERROR: return e->code;
        case SCAN_BAD: w->is_ended = !go_on_behind(w, &v); break;
        }
    }
    return ERR_NONE;
}

static struct walk walk_of(struct verify *vf, int64_t base)
{
    struct walk w = {
        .vf = vf, .base = base, .next_base = -1, .interval_from = base, .is_sum_whole = true, .stop_at = UINT64_MAX};

    (void)snprintf(w.name, sizeof(w.name), "%020lld.log", (long long)base);
    (void)snprintf(w.index_name, sizeof(w.index_name), "%020lld.idx", (long long)base);
    return w;
}

/* *expect: the offset that the segment should begin with, then the one behind it. */
static enum err_code verify_one(struct verify *vf, size_t i, int64_t *expect, int32_t *epoch, struct err *e)
{
    const struct verify_segment *seg = &vf->segments[i];
    struct walk w = walk_of(vf, seg->base);
    char path[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    struct index_entry entry;

    if (i + 1 < vf->n_segments) w.next_base = vf->segments[i + 1].base;
    if (vf->is_behind_hole) {
        report(vf, w.name, seg->base, -1, 0, "The segment lies behind a torn tail.", LOG_DAMAGE_TAIL);
        return ERR_NONE;
    }
    if (seg->base != *expect) {
        vf->is_behind_hole = vf->has_cp && *expect >= vf->cp.durable;
        report(vf, w.name, *expect, seg->base - 1, 0, "The segment does not follow the one before.",
               vf->is_behind_hole ? LOG_DAMAGE_TAIL : LOG_DAMAGE_DATA);
    }
    bool is_new = seg->base == vf->swap.base; /* An index beside it may be the old one. */
    segment_path(path, vf->dir, seg->base, is_new && vf->is_swap_ahead ? SWAP_SUFFIX : ".log");
    enum err_code rc = is_new ? ERR_NONE : load_index(&w, e);
    if (rc == ERR_NONE) rc = vf->fs->open(vf->fs, path, FS_READ, &file, e);
    if (rc == ERR_NONE) {
        scan_init(&w.scan, vf->fs, file, seg->size, 0, seg->base, *epoch);
        rc = walk_batches(&w, e);
    }
    if (rc == ERR_NONE && entry_at(&w, w.at, &entry) && entry.position_end > seg->size)
        report(vf, w.index_name, -1, -1, INDEX_HEADER_LEN + (uint64_t)w.at * INDEX_ENTRY_LEN,
               "The index knows more than the log has; it is rebuilt.", LOG_DAMAGE_SIDE);
    *expect = w.scan.next_offset;
    *epoch = w.scan.epoch;
    scan_deinit(&w.scan);
    vf->fs->close(vf->fs, file);
    free_bytes(w.index);
    return rc;
}

static bool on_name(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct verify *vf = arg;
    int64_t base;

    if (is_dir || !segment_parse_name(name, ".log", &base)) return true;
    struct verify_segment *grown = realloc(vf->segments, (vf->n_segments + 1) * sizeof(*grown));
    vf->out_of_memory = grown == NULL;
    if (grown == NULL) return false;
    vf->segments = grown;
    vf->segments[vf->n_segments++] = (struct verify_segment){base, size};
    return true;
}

static int by_base(const void *a, const void *b)
{
    int64_t x = ((const struct verify_segment *)a)->base, y = ((const struct verify_segment *)b)->base;
    return (x > y) - (x < y);
}

static enum err_code verify_segments(struct verify *vf, struct err *e)
{
    size_t first = 0;
    int32_t epoch = -1;

    if (vf->n_segments) qsort(vf->segments, vf->n_segments, sizeof(vf->segments[0]), by_base);
    /* Segments wholly below the start are leftovers of retention. */
    while (vf->has_cp && first + 1 < vf->n_segments && vf->segments[first + 1].base <= vf->cp.start)
        first++;
    int64_t expect = first < vf->n_segments ? vf->segments[first].base : vf->has_cp ? vf->cp.start : 0;
    if (vf->has_cp && expect > vf->cp.start) {
        report(vf, CHECKPOINT_NAME, vf->cp.start, expect - 1, 0, "Segments at the start of the log are missing.",
               LOG_DAMAGE_DATA);
    }
    for (size_t i = first; i < vf->n_segments; i++) {
        enum err_code rc = verify_one(vf, i, &expect, &epoch, e);
        if (rc != ERR_NONE) return rc;
    }
    if (vf->has_cp && expect < vf->cp.durable)
        report(vf, CHECKPOINT_NAME, expect, vf->cp.durable - 1, 0,
               "Acknowledged records at the end of the log are missing.", LOG_DAMAGE_DATA);
    return ERR_NONE;
}

enum err_code log_verify(const struct sys *sys, const char *dir, log_damage_fn fn, void *arg, uint64_t *n_batches,
                         struct err *e)
{
    struct verify vf = {.fs = sys->fs, .dir = dir, .fn = fn, .arg = arg};
    struct err local;

    if (e == NULL) e = &local; /* walk_batches takes the code from it. */
    err_clear(e);
    if (strlen(dir) > LOG_DIR_LEN_MAX) return err_set(e, ERR_LIMIT, "path of a log is too long");
    enum err_code rc = vf.fs->list(vf.fs, dir, on_name, &vf, e);
    if (rc == ERR_NONE && vf.out_of_memory) rc = err_set(e, ERR_MEMORY, "no memory to list %s", dir);
    if (rc == ERR_NONE) rc = verify_checkpoint(&vf, e);
    if (rc == ERR_NONE) rc = verify_compaction(&vf, e);
    if (rc == ERR_NONE) rc = verify_segments(&vf, e);
    if (rc == ERR_NONE) rc = verify_snapshot(&vf, e);
    free(vf.segments);
    if (n_batches != NULL) *n_batches = vf.n_batches;
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "verifying %s", dir);
}

/* ---- one sealed segment of an open log, in pieces ---- */

struct log_scrub {
    struct log_scrub_place place;
    struct verify vf;
    struct walk walk;
    char *dir; /* owned */
    struct file *file;
    struct log_damage_range damage; /* from -1: none. The smallest that holds all */
    uint64_t n_swaps;               /* of the log when this began; UINT64_MAX: one was running */
    bool is_open;
};

static void note_scrub(void *arg, const struct log_damage *d)
{
    struct log_scrub *s = arg;

    if (d->kind != LOG_DAMAGE_DATA) return; /* A cache is made again when somebody needs it. */
    int64_t from = d->offset_from >= 0 ? d->offset_from : s->place.base;
    int64_t to = d->offset_to >= 0 ? d->offset_to : s->place.next - 1;
    if (s->damage.from < 0 || from < s->damage.from) s->damage.from = from;
    if (to > s->damage.to) s->damage.to = to;
}

bool log_scrub_next(struct log *l, int64_t from, struct log_scrub_place *out)
{
    bool is_found = false;

    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i + 1 < l->n_slots && !is_found; i++) {
        const struct log_slot *slot = &l->slots[i];
        is_found = slot->base >= from && slot->next <= l->synced;
        if (is_found) *out = (struct log_scrub_place){slot->base, slot->next, slot->size};
    }
    pthread_mutex_unlock(&l->lock);
    return is_found;
}

struct log_scrub *log_scrub_create(struct log *l, const struct log_scrub_place *place)
{
    struct log_scrub *s = calloc(1, sizeof(*s));

    check(s != NULL);
    s->place = *place;
    s->dir = strdup(l->dir);
    check(s->dir != NULL);
    s->damage = (struct log_damage_range){-1, -1};
    s->n_swaps = l->swap_running ? UINT64_MAX : l->n_swaps;
    /* Sealed and durable: whatever is bad is rot. */
    s->vf = (struct verify){
        .fs = l->fs, .dir = s->dir, .fn = note_scrub, .arg = s, .has_cp = true, .cp.durable = INT64_MAX};
    s->walk = walk_of(&s->vf, place->base);
    s->walk.next_base = place->next;
    return s;
}

static enum err_code open_scrub(struct log_scrub *s, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    uint64_t size = 0;

    segment_path(path, s->dir, s->place.base, ".log");
    enum err_code rc = load_index(&s->walk, e);
    if (rc == ERR_NONE) rc = s->vf.fs->open(s->vf.fs, path, FS_READ, &s->file, e);
    if (rc == ERR_NONE) rc = s->vf.fs->size(s->vf.fs, s->file, &size, e);
    if (rc != ERR_NONE) return rc;
    scan_init(&s->walk.scan, s->vf.fs, s->file, size, 0, s->place.base, -1);
    s->is_open = true;
    return ERR_NONE;
}

enum err_code log_scrub_run(struct log_scrub *s, uint64_t max_bytes, uint64_t *n_bytes, bool *more, struct err *e)
{
    enum err_code rc = s->is_open ? ERR_NONE : open_scrub(s, e);

    *n_bytes = 0;
    *more = false;
    if (rc != ERR_NONE) return rc;
    uint64_t from = s->walk.scan.position;
    s->walk.stop_at = from + max_bytes;
    rc = walk_batches(&s->walk, e);
    *n_bytes = s->walk.scan.position - from;
    s->vf.fs->forget(s->vf.fs, s->file, from, *n_bytes);
    if (rc != ERR_NONE) return rc;
    *more = !s->walk.is_ended;
    if (s->walk.is_ended && s->walk.scan.next_offset < s->place.next && s->damage.from < 0) {
        s->damage.from = s->walk.scan.next_offset;
        s->damage.to = s->place.next - 1;
    }
    return ERR_NONE;
}

bool log_scrub_end(struct log *l, struct log_scrub *s, int64_t *from, int64_t *to)
{
    bool is_damaged = false;

    if (l != NULL && s->damage.from >= 0) {
        pthread_mutex_lock(&l->lock);
        const struct log_slot *slot = log_slot_find(l, s->place.base);
        /* Removed or written anew meanwhile: what was read is no more. */
        is_damaged = slot != NULL && slot->base == s->place.base && slot->size == s->place.size &&
                     s->n_swaps == l->n_swaps && s->damage.to >= log_start_offset(l);
        if (is_damaged) log_damage_add(l, s->damage.from, s->damage.to);
        pthread_mutex_unlock(&l->lock);
        if (is_damaged) l->refuses_appends = true;
        *from = s->damage.from;
        *to = s->damage.to;
    }
    if (s->is_open) scan_deinit(&s->walk.scan);
    s->vf.fs->close(s->vf.fs, s->file);
    free_bytes(s->walk.index);
    free(s->dir);
    free(s);
    return is_damaged;
}
