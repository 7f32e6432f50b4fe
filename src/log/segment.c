/* segment.c: one segment file: Kafka record batches, magic 2, back to back and byte for byte as they travel, nothing
 * else.
 *
 *   00000000000000004711.log   | batch 4711.. | batch | batch | ... |      named after its first offset
 *   00000000000000004711.idx   a cache of where batches lie (index.c)
 *
 * S1  Offsets rise by exactly last offset delta + 1 from batch to batch; no gap inside a segment or between segments.
 * S2  The leader epoch never falls.
 * S3  Bytes below `size` never change while the segment is open. A batch is written first, noted then; `size` is
 *     published last.
 * S4  Only bytes below `size` are touched through the mapping, which may be longer than the file.
 * S5  Positions fit 32 bit and relative offsets 32 bit: the log rolls before either is passed.
 *
 * Reading checks structure always (a head must fit its place, S1), checksums never: the client does that, and it would
 * cost more than all the rest of a read. Why a mapping and not pread: a read is then a pointer into the page cache that
 * can be sent as it is. The price: a disk that fails such a read is found after the fact, by fs->map_failed (sys.h). */
#include "log/segment.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/limits.h"

#define FLUSH_ENTRIES 64u /* index entries written at a time: 2 KiB, one system call per 256 KiB of small batches */
#define POPULATE_BYTES_MIN (64u << 10) /* asked for at once; less comes by itself */

void segment_path(char *out, const char *dir, int64_t base, const char *suffix)
{
    int n = snprintf(out, LIMIT_PATH_LEN_MAX, "%s/%020lld%s", dir, (long long)base, suffix);
    check(n > 0 && n < LIMIT_PATH_LEN_MAX); /* log_open bounds dir. */
}

bool segment_parse_name(const char *name, const char *suffix, int64_t *base)
{
    uint64_t v = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9') return false;
        if (v > (uint64_t)INT64_MAX / 10) return false;
        v = v * 10 + (uint64_t)(name[i] - '0');
    }
    if (v > INT64_MAX || strcmp(name + 20, suffix) != 0) return false;
    *base = (int64_t)v;
    return true;
}

enum err_code segment_open(struct segment **out, struct fs *fs, const char *dir, int64_t base, enum fs_open mode,
                           size_t map_len, uint64_t *file_size, struct err *e)
{
    return segment_open_as(out, fs, dir, base, ".log", mode, map_len, file_size, e);
}

enum err_code segment_open_as(struct segment **out, struct fs *fs, const char *dir, int64_t base, const char *suffix,
                              enum fs_open mode, size_t map_len, uint64_t *file_size, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct segment *seg = calloc(1, sizeof(*seg));

    *out = NULL;
    if (seg == NULL) return err_set(e, ERR_MEMORY, "no memory for a segment");
    seg->fs = fs;
    seg->dir = dir;
    seg->base = base;
    seg->epoch = -1;
    seg->first_ms = INT64_MAX;
    index_init(&seg->index);
    atomic_init(&seg->refs, 1);
    atomic_init(&seg->size, 0);
    atomic_init(&seg->next, base);
    atomic_init(&seg->max_timestamp, INT64_MIN);

    segment_path(path, dir, base, suffix);
    enum err_code rc = fs->open(fs, path, mode, &seg->file, e);
    if (rc == ERR_NONE) rc = fs->size(fs, seg->file, file_size, e);
    if (rc == ERR_NONE && *file_size > LIMIT_SEGMENT_BYTES_MAX)
        rc = err_set(e, ERR_CORRUPT, "%s is larger than a segment can be", path);
    if (rc == ERR_NONE) {
        seg->map_len = map_len > *file_size ? map_len : (size_t)*file_size;
        if (seg->map_len > 0) rc = fs->map(fs, seg->file, seg->map_len, &seg->map, e);
    }
    if (rc != ERR_NONE) {
        segment_unref(seg);
        return rc;
    }
    *out = seg;
    return ERR_NONE;
}

void segment_ref(struct segment *seg)
{
    atomic_fetch_add_explicit(&seg->refs, 1, memory_order_relaxed);
}

void segment_unref(struct segment *seg)
{
    if (seg == NULL) return;
    int before = atomic_fetch_sub_explicit(&seg->refs, 1, memory_order_acq_rel);
    check(before > 0);
    if (before > 1) return;
    seg->fs->close(seg->fs, seg->file);
    seg->fs->close(seg->fs, seg->index_file);
    index_deinit(&seg->index);
    free(seg);
}

/* Feeds the intact entries of the file's bytes to the index. */
static void take_entries(struct segment *seg, struct bytes in, uint64_t limit)
{
    struct index_entry entry, before;
    uint32_t n = 0;

    for (size_t at = INDEX_HEADER_LEN; at + INDEX_ENTRY_LEN <= in.len; at += INDEX_ENTRY_LEN) {
        if (!index_decode_entry(in.ptr + at, seg->base, &entry)) break;
        if (!index_entry_follows(&entry, n ? &before : NULL) || entry.position_end > limit) break;
        index_push(&seg->index, &entry);
        before = entry;
        n++;
    }
    seg->index_flushed = n;
    if (n == 0) return;
    seg->open_from = before.position_end;
    seg->epoch = before.epoch;
    atomic_store_explicit(&seg->max_timestamp, before.max_timestamp, memory_order_relaxed);
    atomic_store_explicit(&seg->next, seg->base + before.next_rel, memory_order_relaxed);
    atomic_store_explicit(&seg->size, before.position_end, memory_order_release);
}

enum err_code segment_load_index(struct segment *seg, uint64_t limit, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    uint8_t *bytes = NULL;
    uint64_t size = 0;
    size_t n = 0;

    check(index_count(&seg->index) == 0 && atomic_load(&seg->size) == 0);
    segment_path(path, seg->dir, seg->base, ".idx");
    enum err_code rc = seg->fs->open(seg->fs, path, FS_READ, &file, e);
    if (rc == ERR_NOT_FOUND) return ERR_NONE;
    if (rc != ERR_NONE) return rc;
    rc = seg->fs->size(seg->fs, file, &size, e);
    if (rc != ERR_NONE) goto done;
    /* No sane index is longer than one entry per smallest batch; do not let a wild file take all memory. */
    if (size > INDEX_HEADER_LEN + (uint64_t)LIMIT_SEGMENT_BYTES_MAX / BATCH_HEADER_LEN * INDEX_ENTRY_LEN) goto done;
    if (size < INDEX_HEADER_LEN) goto done;
    bytes = malloc((size_t)size);
    if (bytes == NULL) {
        rc = err_set(e, ERR_MEMORY, "no memory to read %s", path);
        goto done;
    }
    rc = seg->fs->pread(seg->fs, file, bytes, (size_t)size, 0, &n, e);
    if (rc != ERR_NONE) goto done;
    rc = index_decode_header(bytes_of(bytes, n), seg->base);
    if (rc == ERR_UNSUPPORTED) {
        rc = err_set(e, rc, "%s was written by a newer version of Weir", path);
    } else {
        if (rc == ERR_NONE) take_entries(seg, bytes_of(bytes, n), limit);
        rc = ERR_NONE;
    }
done:
    seg->fs->close(seg->fs, file);
    free(bytes);
    return rc;
}

void segment_close_interval(struct segment *seg)
{
    uint64_t size = atomic_load_explicit(&seg->size, memory_order_relaxed);

    if (seg->open_batch_count == 0) return;
    struct index_entry entry = {
        .next_rel = (uint32_t)(atomic_load_explicit(&seg->next, memory_order_relaxed) - seg->base),
        .position_end = (uint32_t)size,
        .max_timestamp = atomic_load_explicit(&seg->max_timestamp, memory_order_relaxed),
        .heads_crc = seg->open_heads_crc,
        .epoch = seg->epoch,
        .batch_count = seg->open_batch_count,
    };
    index_push(&seg->index, &entry);
    seg->open_from = size;
    seg->open_heads_crc = 0;
    seg->open_batch_count = 0;
    if (seg->writes_index && index_count(&seg->index) - seg->index_flushed >= FLUSH_ENTRIES)
        (void)segment_flush_index(seg, false, NULL); /* X4: tried again at the next flush. */
}

void segment_note(struct segment *seg, const struct batch_view *v)
{
    uint64_t size = atomic_load_explicit(&seg->size, memory_order_relaxed) + v->bytes.len;
    int64_t next = batch_last_offset(v) + 1;

    check(v->base_offset == atomic_load_explicit(&seg->next, memory_order_relaxed)); /* S1 */
    check(v->leader_epoch >= seg->epoch);                                            /* S2 */
    check(size <= LIMIT_SEGMENT_BYTES_MAX && next - seg->base <= UINT32_MAX);        /* S5 */
    seg->epoch = v->leader_epoch;
    seg->open_heads_crc = crc32c(seg->open_heads_crc, v->bytes.ptr, INDEX_HEAD_LEN);
    seg->open_batch_count++;
    if (v->max_timestamp > atomic_load_explicit(&seg->max_timestamp, memory_order_relaxed))
        atomic_store_explicit(&seg->max_timestamp, v->max_timestamp, memory_order_relaxed);
    atomic_store_explicit(&seg->next, next, memory_order_relaxed);
    atomic_store_explicit(&seg->size, size, memory_order_release); /* S3 */
    if (size - seg->open_from >= LIMIT_INDEX_INTERVAL_BYTES) segment_close_interval(seg);
}

/* Opens the index file and makes it hold exactly what is counted as flushed. */
static enum err_code open_index(struct segment *seg, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t header[INDEX_HEADER_LEN];
    uint64_t size = 0;
    struct file *file = NULL;

    segment_path(path, seg->dir, seg->base, ".idx");
    enum err_code rc = seg->fs->open(seg->fs, path, FS_WRITE, &file, e);
    if (rc != ERR_NONE) return rc;
    uint64_t want = seg->index_flushed ? INDEX_HEADER_LEN + (uint64_t)seg->index_flushed * INDEX_ENTRY_LEN : 0;
    rc = seg->fs->size(seg->fs, file, &size, e);
    if (rc == ERR_NONE && size > want) rc = seg->fs->truncate(seg->fs, file, want, e);
    if (rc == ERR_NONE && want == 0) {
        index_encode_header(header, seg->base);
        struct iovec iov = {header, sizeof(header)};
        rc = seg->fs->pwritev(seg->fs, file, &iov, 1, 0, e);
    }
    if (rc != ERR_NONE) {
        seg->fs->close(seg->fs, file);
        return rc;
    }
    seg->index_file = file;
    return ERR_NONE;
}

enum err_code segment_flush_index(struct segment *seg, bool sync, struct err *e)
{
    uint8_t bytes[FLUSH_ENTRIES * INDEX_ENTRY_LEN];
    uint32_t count = index_count(&seg->index);

    if (seg->has_damage) return ERR_NONE;
    if (seg->index_file == NULL) {
        enum err_code rc = open_index(seg, e);
        if (rc != ERR_NONE) return rc;
    }
    while (seg->index_flushed < count) {
        uint32_t n = count - seg->index_flushed;
        if (n > FLUSH_ENTRIES) n = FLUSH_ENTRIES;
        for (uint32_t i = 0; i < n; i++)
            index_encode_entry(bytes + i * INDEX_ENTRY_LEN, seg->base, index_at(&seg->index, seg->index_flushed + i));
        struct iovec iov = {bytes, (size_t)n * INDEX_ENTRY_LEN};
        uint64_t at = INDEX_HEADER_LEN + (uint64_t)seg->index_flushed * INDEX_ENTRY_LEN;
        enum err_code rc = seg->fs->pwritev(seg->fs, seg->index_file, &iov, 1, at, e);
        if (rc != ERR_NONE) return rc;
        seg->index_flushed += n;
    }
    return sync ? seg->fs->sync(seg->fs, seg->index_file, e) : ERR_NONE;
}

void segment_close_index(struct segment *seg)
{
    seg->fs->close(seg->fs, seg->index_file);
    seg->index_file = NULL;
}

/* ---- reading ---- */

static struct segment_place place_after(const struct segment *seg, uint32_t n_entries)
{
    if (n_entries == 0) return (struct segment_place){0, seg->base};
    const struct index_entry *entry = index_at(&seg->index, n_entries - 1);
    return (struct segment_place){entry->position_end, seg->base + entry->next_rel};
}

struct segment_place segment_floor(const struct segment *seg, int64_t offset)
{
    check(offset >= seg->base);
    int64_t rel = offset - seg->base;
    return place_after(seg, index_find_offset(&seg->index, rel > UINT32_MAX ? UINT32_MAX : (uint32_t)rel));
}

bool segment_head_at(const struct segment *seg, struct segment_place p, struct segment_head *out)
{
    uint64_t size = atomic_load_explicit(&seg->size, memory_order_acquire);

    if (p.position + BATCH_HEADER_LEN > size) return false;
    const uint8_t *at = seg->map + p.position;
    uint64_t len = (uint64_t)be32_get(at + 8) + BATCH_PREFIX_LEN;
    int32_t delta = (int32_t)be32_get(at + 23);
    if (len < BATCH_HEADER_LEN || len > size - p.position || at[16] != 2 || delta < 0) return false;
    if ((int64_t)be64_get(at) != p.offset) return false; /* S1 */
    *out = (struct segment_head){
        .at = at,
        .len = (size_t)len,
        .next_offset = p.offset + delta + 1,
        .max_timestamp = (int64_t)be64_get(at + 35),
        .epoch = (int32_t)be32_get(at + 12),
    };
    return true;
}

/* An impossible head where the disk could not be read is not a bad batch. */
static enum err_code corrupt(const struct segment *seg, struct segment_place p, struct err *e)
{
    if (seg->fs->map_failed(seg->fs, seg->file, p.position, BATCH_HEADER_LEN))
        return err_set(e, ERR_IO, "offset %lld: the disk failed to read segment %020lld at byte %llu",
                       (long long)p.offset, (long long)seg->base, (unsigned long long)p.position);
    return err_set(e, ERR_CORRUPT, "offset %lld: no batch at byte %llu of segment %020lld", (long long)p.offset,
                   (unsigned long long)p.position, (long long)seg->base);
}

enum err_code segment_seek(const struct segment *seg, int64_t offset, struct segment_place *p, struct err *e)
{
    struct segment_head head;

    *p = segment_floor(seg, offset);
    while (p->offset < offset) {
        if (!segment_head_at(seg, *p, &head)) return corrupt(seg, *p, e);
        if (head.next_offset > offset) break;
        *p = (struct segment_place){p->position + head.len, head.next_offset};
    }
    return ERR_NONE;
}

/* The first reader of freshly written bytes would take a page fault for every few pages of them: a million records of 1
 * KiB cost 0.9 s of CPU that way, and 0.1 s when read again. */
static enum err_code populate(struct segment *seg, uint64_t from, uint64_t to, struct err *e)
{
    uint64_t done = atomic_load_explicit(&seg->populated, memory_order_relaxed);

    if (seg->fs->map_failed(seg->fs, seg->file, from, (size_t)(to - from)))
        return err_set(e, ERR_IO, "the disk failed to read segment %020lld between bytes %llu and %llu",
                       (long long)seg->base, (unsigned long long)from, (unsigned long long)to);
    if (to < done + POPULATE_BYTES_MIN) return ERR_NONE;
    if (from < done) from = done;
    enum err_code rc = seg->fs->populate(seg->fs, seg->file, from, (size_t)(to - from), e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "segment %020lld", (long long)seg->base);
    atomic_store_explicit(&seg->populated, to, memory_order_relaxed);
    return ERR_NONE;
}

enum err_code segment_read(struct segment *seg, int64_t offset, int64_t limit, size_t max_bytes, struct bytes *out,
                           int64_t *next_offset, struct err *e)
{
    struct segment_place from;
    struct segment_head head;

    *out = bytes_of("", 0);
    *next_offset = offset;
    enum err_code rc = segment_seek(seg, offset, &from, e);
    if (rc != ERR_NONE) return rc;
    uint64_t size = atomic_load_explicit(&seg->size, memory_order_acquire);
    if (from.position == size) return ERR_NONE;
    if (!segment_head_at(seg, from, &head)) return corrupt(seg, from, e);
    if (head.next_offset > limit) return ERR_NONE;
    struct segment_place first = {from.position + head.len, head.next_offset}, to = first;

    /* Jump over whole intervals that fit, then walk. */
    uint32_t n = index_find_position(&seg->index, from.position + max_bytes);
    uint32_t n_limit =
        index_find_offset(&seg->index, limit - seg->base > UINT32_MAX ? UINT32_MAX : (uint32_t)(limit - seg->base));
    struct segment_place jump = place_after(seg, n < n_limit ? n : n_limit);
    if (jump.position > to.position) to = jump;
    while (to.position < size && to.offset < limit) {
        if (!segment_head_at(seg, to, &head)) return corrupt(seg, to, e);
        if (head.next_offset > limit || to.position + head.len - from.position > max_bytes) break;
        to = (struct segment_place){to.position + head.len, head.next_offset};
    }
    rc = populate(seg, from.position, to.position, e);
    if (rc != ERR_NONE && to.position > first.position) { /* What lies before the bad place can be read. */
        to = first;
        rc = populate(seg, from.position, to.position, e);
    }
    if (rc != ERR_NONE) return rc;
    *out = bytes_of(seg->map + from.position, (size_t)(to.position - from.position));
    *next_offset = to.offset;
    return ERR_NONE;
}

enum err_code segment_find_timestamp(const struct segment *seg, int64_t from, int64_t limit, int64_t ts_ms,
                                     struct segment_head *out, struct err *e)
{
    struct segment_place p;

    enum err_code rc = segment_seek(seg, from, &p, e);
    if (rc != ERR_NONE) return rc;
    /* Intervals before the first one with such a maximum hold nothing; the maximum runs, so this may only be too early.
     */
    struct segment_place by_time = place_after(seg, index_find_timestamp(&seg->index, ts_ms));
    if (by_time.position > p.position) p = by_time;
    while (p.offset < limit && p.position < atomic_load_explicit(&seg->size, memory_order_acquire)) {
        if (!segment_head_at(seg, p, out)) return corrupt(seg, p, e);
        if (out->next_offset > limit) break;
        if (out->max_timestamp >= ts_ms) return ERR_NONE;
        p = (struct segment_place){p.position + out->len, out->next_offset};
    }
    return err_set(e, ERR_NOT_FOUND, "no batch with timestamp %lld or later", (long long)ts_ms);
}

enum err_code segment_max_timestamp(const struct segment *seg, int64_t from, int64_t limit, int64_t *out, struct err *e)
{
    struct segment_place p;
    struct segment_head head;

    *out = INT64_MIN;
    if (from <= seg->base) {
        int64_t rel = limit - seg->base;
        uint32_t n = index_find_offset(&seg->index, rel > UINT32_MAX ? UINT32_MAX : (uint32_t)rel);
        if (n > 0) *out = index_at(&seg->index, n - 1)->max_timestamp;
        p = place_after(seg, n);
    } else {
        enum err_code rc = segment_seek(seg, from, &p, e);
        if (rc != ERR_NONE) return rc;
    }
    while (p.offset < limit && p.position < atomic_load_explicit(&seg->size, memory_order_acquire)) {
        if (!segment_head_at(seg, p, &head)) return corrupt(seg, p, e);
        if (head.next_offset > limit) break;
        if (head.max_timestamp > *out) *out = head.max_timestamp;
        p = (struct segment_place){p.position + head.len, head.next_offset};
    }
    return ERR_NONE;
}
