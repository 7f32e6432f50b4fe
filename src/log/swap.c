/* swap.c: the commit of a cleaned segment.
 *
 *   record    0 "WCMP" | 4 version u32 | 8 clean until i64 | 16 horizon ms i64 | 24 base i64 | 32 end i64 | 40 size u64
 *             48 zero | 60 crc32c of bytes 0..59
 *
 * Segments A, B, C become one, A':
 *
 *   1  A.cleaned is written, synced, its name too     ── a crash up to here: A.cleaned is removed at the next open
 *   2  record {A, end of C, size}, synced             ── from here on it is finished at the next open
 *   3  the indexes of A, B, C go; the directory is synced; A.cleaned is renamed to A.log; it is synced again
 *   4  B.log and C.log go; A.idx is written and synced; the directory is synced
 *   5  record {no swap}, synced
 *
 * W1  Up to the sync in step 3 all old data is there, from then on all new data: whatever becomes of the record, no
 *     record of the log is lost.
 * W2  An index found next to an unfinished swap may be the old one: it goes again. Entries of another file's index
 *     would be believed.
 * W3  The record is overwritten in its place: a torn one is no record, which is "not committed" in step 2 and "over" in
 *     step 5. It takes no new space, so a full disk does not stop step 5.
 * W4  A record counts only when a file of its size is there: A.cleaned, or A.log after the rename.
 * W5  Everything here can be done again. */
#include "log/swap.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "log/segment.h"

static const struct swap_record none = {.clean_until = 0, .horizon_ms = INT64_MAX, .base = -1, .end = -1};

void swap_encode(uint8_t out[SWAP_RECORD_LEN], const struct swap_record *r)
{
    memset(out, 0, SWAP_RECORD_LEN);
    memcpy(out, "WCMP", 4);
    be32_put(out + 4, SWAP_VERSION);
    be64_put(out + 8, (uint64_t)r->clean_until);
    be64_put(out + 16, (uint64_t)r->horizon_ms);
    be64_put(out + 24, (uint64_t)r->base);
    be64_put(out + 32, (uint64_t)r->end);
    be64_put(out + 40, r->size);
    be32_put(out + 60, crc32c(0, out, 60));
}

enum err_code swap_decode(struct bytes in, struct swap_record *out)
{
    *out = none;
    if (in.len < SWAP_RECORD_LEN || memcmp(in.ptr, "WCMP", 4) != 0) return ERR_CORRUPT;
    if (be32_get(in.ptr + 60) != crc32c(0, in.ptr, 60)) return ERR_CORRUPT;
    if (be32_get(in.ptr + 4) > SWAP_VERSION) return ERR_UNSUPPORTED;
    struct swap_record r = {
        .clean_until = (int64_t)be64_get(in.ptr + 8),
        .horizon_ms = (int64_t)be64_get(in.ptr + 16),
        .base = (int64_t)be64_get(in.ptr + 24),
        .end = (int64_t)be64_get(in.ptr + 32),
        .size = be64_get(in.ptr + 40),
    };
    bool is_none = r.base == -1 && r.end == -1 && r.size == 0;
    bool is_swap = r.base >= 0 && r.end > r.base && r.size > 0 && r.size <= LIMIT_SEGMENT_BYTES_MAX;
    if (be32_get(in.ptr + 4) != SWAP_VERSION || r.clean_until < 0 || (!is_none && !is_swap)) return ERR_CORRUPT;
    *out = r;
    return ERR_NONE;
}

static void record_path(char out[LIMIT_PATH_LEN_MAX], const char *dir)
{
    (void)snprintf(out, LIMIT_PATH_LEN_MAX, "%s/" SWAP_RECORD_NAME, dir);
}

enum err_code swap_read(struct fs *fs, const char *dir, struct swap_record *out, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t bytes[SWAP_RECORD_LEN];
    struct file *file = NULL;
    size_t n = 0;

    *out = none;
    record_path(path, dir);
    if (!fs->exists(fs, path)) return ERR_NONE;
    enum err_code rc = fs->open(fs, path, FS_READ, &file, e);
    if (rc != ERR_NONE) return rc;
    rc = fs->pread(fs, file, bytes, sizeof(bytes), 0, &n, e);
    fs->close(fs, file);
    if (rc != ERR_NONE) return rc;
    if (swap_decode(bytes_of(bytes, n), out) == ERR_UNSUPPORTED)
        return err_set(e, ERR_UNSUPPORTED, "%s was written by a newer version of Weir", path);
    return ERR_NONE;
}

enum err_code swap_write(struct fs *fs, const char *dir, const struct swap_record *r, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t bytes[SWAP_RECORD_LEN];
    struct file *file = NULL;

    record_path(path, dir);
    bool is_new = !fs->exists(fs, path);
    swap_encode(bytes, r);
    enum err_code rc = fs->open(fs, path, FS_WRITE, &file, e);
    if (rc != ERR_NONE) return rc;
    struct iovec iov = {bytes, sizeof(bytes)};
    rc = fs->pwritev(fs, file, &iov, 1, 0, e);
    if (rc == ERR_NONE) rc = fs->sync(fs, file, e);
    fs->close(fs, file);
    if (rc == ERR_NONE && is_new) rc = fs->sync_dir(fs, dir, e);
    return rc;
}

/* -1: no such file. */
static int64_t size_of(struct fs *fs, const char *dir, int64_t base, const char *suffix)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    uint64_t size = 0;

    segment_path(path, dir, base, suffix);
    if (!fs->exists(fs, path) || fs->open(fs, path, FS_READ, &file, NULL) != ERR_NONE) return -1;
    enum err_code rc = fs->size(fs, file, &size, NULL);
    fs->close(fs, file);
    return rc == ERR_NONE ? (int64_t)size : -1;
}

bool swap_is_ahead(struct fs *fs, const char *dir, const struct swap_record *r)
{
    return r->base >= 0 && size_of(fs, dir, r->base, SWAP_SUFFIX) == (int64_t)r->size;
}

static enum err_code unlink_if_there(struct fs *fs, const char *dir, int64_t base, const char *suffix, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];

    segment_path(path, dir, base, suffix);
    return fs->exists(fs, path) ? fs->unlink(fs, path, e) : ERR_NONE;
}

/* Steps 3 and 4, without the new index. */
enum err_code swap_finish(struct fs *fs, const char *dir, const struct swap_record *r, const int64_t *bases,
                          size_t n_bases, bool *is_done, struct err *e)
{
    char from[LIMIT_PATH_LEN_MAX], to[LIMIT_PATH_LEN_MAX];
    bool is_renamed = !swap_is_ahead(fs, dir, r);
    enum err_code rc = ERR_NONE;

    *is_done = false;
    if (r->base < 0) return ERR_NONE;
    if (is_renamed && size_of(fs, dir, r->base, ".log") != (int64_t)r->size) return ERR_NONE; /* W4 */
    for (size_t i = 0; rc == ERR_NONE && i < n_bases; i++)                                    /* W2 */
        if (bases[i] >= r->base && bases[i] < r->end) rc = unlink_if_there(fs, dir, bases[i], ".idx", e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, dir, e);
    if (rc == ERR_NONE && !is_renamed) {
        segment_path(from, dir, r->base, SWAP_SUFFIX);
        segment_path(to, dir, r->base, ".log");
        rc = fs->rename(fs, from, to, e);
    }
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, dir, e); /* W1 */
    for (size_t i = 0; rc == ERR_NONE && i < n_bases; i++)
        if (bases[i] > r->base && bases[i] < r->end) rc = unlink_if_there(fs, dir, bases[i], ".log", e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, dir, e);
    *is_done = rc == ERR_NONE;
    return rc;
}
