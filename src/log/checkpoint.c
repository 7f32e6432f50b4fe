/* checkpoint.c: two slots of 64 bytes at 0 and 512; the intact one with the higher generation counts. Integers are
 * big-endian.
 *
 *   slot   0 "WCKP" | 4 version u32 | 8 generation u64 | 16 start i64 | 24 durable i64 | 32 segment base i64
 *          40 position u64 | 48 epoch i32 | 52 flags u32 | 56 zero u32 | 60 crc32c of bytes 0..59
 *
 * C1  A slot only ever claims what is durable already, so it needs no sync of its own: losing it costs a longer scan.
 * C2  The exception is `start`: it must be on disk before the segments below it are unlinked, so that a name that
 *     comes back after a power cut is known to be a leftover. Therefore one slot that is known to be on disk (`safe`)
 *     is never overwritten: writes without sync all go to the other one.
 * C3  After opening it is not known which slots are on disk (the last process may have been killed): the first write
 *     syncs the file once before it overwrites anything. Why not a file replaced by rename: that costs a create, a
 *     sync and a directory sync each time, and this is written often. */
#include "log/checkpoint.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/limits.h"

void checkpoint_init(struct checkpoint_file *f, struct fs *fs, const char *dir)
{
    *f = (struct checkpoint_file){.fs = fs, .dir = dir, .newest = -1, .safe = -1};
}

void checkpoint_deinit(struct checkpoint_file *f)
{
    f->fs->close(f->fs, f->file);
    f->file = NULL;
}

void checkpoint_encode(uint8_t out[CHECKPOINT_SLOT_LEN], const struct checkpoint *c)
{
    memset(out, 0, CHECKPOINT_SLOT_LEN);
    memcpy(out, "WCKP", 4);
    be32_put(out + 4, CHECKPOINT_VERSION);
    be64_put(out + 8, c->generation);
    be64_put(out + 16, (uint64_t)c->start);
    be64_put(out + 24, (uint64_t)c->durable);
    be64_put(out + 32, (uint64_t)c->segment_base);
    be64_put(out + 40, c->position);
    be32_put(out + 48, (uint32_t)c->epoch);
    be32_put(out + 52, c->flags);
    be32_put(out + 60, crc32c(0, out, 60));
}

enum err_code checkpoint_decode(const uint8_t in[CHECKPOINT_SLOT_LEN], struct checkpoint *out)
{
    if (memcmp(in, "WCKP", 4) != 0 || be32_get(in + 60) != crc32c(0, in, 60)) return ERR_CORRUPT;
    if (be32_get(in + 4) > CHECKPOINT_VERSION) return ERR_UNSUPPORTED;
    *out = (struct checkpoint){
        .generation = be64_get(in + 8),
        .start = (int64_t)be64_get(in + 16),
        .durable = (int64_t)be64_get(in + 24),
        .segment_base = (int64_t)be64_get(in + 32),
        .position = be64_get(in + 40),
        .epoch = (int32_t)be32_get(in + 48),
        .flags = be32_get(in + 52),
    };
    bool sane = out->generation > 0 && out->start >= 0 && out->segment_base >= 0 && out->durable >= out->segment_base &&
                out->durable < INT64_MAX / 2 && out->position <= LIMIT_SEGMENT_BYTES_MAX &&
                be32_get(in + 4) == CHECKPOINT_VERSION;
    return sane ? ERR_NONE : ERR_CORRUPT;
}

static void path_of(const struct checkpoint_file *f, char out[LIMIT_PATH_LEN_MAX])
{
    (void)snprintf(out, LIMIT_PATH_LEN_MAX, "%s/" CHECKPOINT_NAME, f->dir);
}

enum err_code checkpoint_read(struct checkpoint_file *f, struct checkpoint *out, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t bytes[CHECKPOINT_FILE_LEN];
    struct file *file = NULL;
    size_t n = 0;

    path_of(f, path);
    enum err_code rc = f->fs->open(f->fs, path, FS_READ, &file, e);
    if (rc != ERR_NONE) return rc;
    rc = f->fs->pread(f->fs, file, bytes, sizeof(bytes), 0, &n, e);
    f->fs->close(f->fs, file);
    if (rc != ERR_NONE) return rc;

    for (int i = 0; i < 2; i++) {
        struct checkpoint c;
        if ((size_t)i * CHECKPOINT_SLOT_STRIDE + CHECKPOINT_SLOT_LEN > n) break;
        rc = checkpoint_decode(bytes + (size_t)i * CHECKPOINT_SLOT_STRIDE, &c);
        if (rc == ERR_UNSUPPORTED) return err_set(e, rc, "%s was written by a newer version of Weir", path);
        if (rc != ERR_NONE || c.generation <= f->generation) continue;
        *out = c;
        f->newest = i;
        f->generation = c.generation;
    }
    return f->newest >= 0 ? ERR_NONE : err_set(e, ERR_NOT_FOUND, "%s has no intact slot", path);
}

/* Opens for writing; C3. */
static enum err_code open_for_write(struct checkpoint_file *f, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    static const uint8_t zeros[CHECKPOINT_FILE_LEN];
    uint64_t size = 0;

    path_of(f, path);
    enum err_code rc = f->fs->open(f->fs, path, FS_WRITE, &f->file, e);
    if (rc != ERR_NONE) return rc;
    rc = f->fs->size(f->fs, f->file, &size, e);
    if (rc != ERR_NONE) return rc;
    uint64_t keep = f->newest < 0 ? 0 : size < CHECKPOINT_FILE_LEN ? size : CHECKPOINT_FILE_LEN; /* no garbage */
    /* Full length at once: later writes then take no new space, so a full disk cannot stop a trim. */
    if (size > keep) rc = f->fs->truncate(f->fs, f->file, keep, e);
    if (rc == ERR_NONE && keep < CHECKPOINT_FILE_LEN) {
        struct iovec iov = {(void *)(uintptr_t)zeros, (size_t)(CHECKPOINT_FILE_LEN - keep)};
        rc = f->fs->pwritev(f->fs, f->file, &iov, 1, keep, e);
    }
    if (rc != ERR_NONE || f->newest < 0) return rc;
    rc = f->fs->sync(f->fs, f->file, e);
    f->failed = rc != ERR_NONE;
    if (rc == ERR_NONE) f->safe = f->newest;
    return rc;
}

enum err_code checkpoint_write(struct checkpoint_file *f, const struct checkpoint *c, bool sync, struct err *e)
{
    uint8_t bytes[CHECKPOINT_SLOT_LEN];
    enum err_code rc = ERR_NONE;

    if (f->failed) return err_set(e, ERR_STOPPED, "a sync of the checkpoint in %s failed before", f->dir);
    if (f->file == NULL) {
        rc = open_for_write(f, e);
        if (rc != ERR_NONE) {
            f->fs->close(f->fs, f->file); /* The next write starts over. */
            f->file = NULL;
            return rc;
        }
    }
    struct checkpoint next = *c;
    next.generation = f->generation + 1;
    checkpoint_encode(bytes, &next);
    int slot = f->safe >= 0 ? 1 - f->safe : f->newest == 0 ? 1 : 0; /* C2 */
    struct iovec iov = {bytes, sizeof(bytes)};
    rc = f->fs->pwritev(f->fs, f->file, &iov, 1, (uint64_t)slot * CHECKPOINT_SLOT_STRIDE, e);
    if (rc != ERR_NONE) return rc;
    f->generation = next.generation;
    f->newest = slot;
    if (!sync) return ERR_NONE;

    rc = f->fs->sync(f->fs, f->file, e);
    if (rc == ERR_NONE && !f->name_synced) rc = f->fs->sync_dir(f->fs, f->dir, e);
    f->failed = rc != ERR_NONE;
    if (rc != ERR_NONE) return rc;
    f->name_synced = true;
    f->safe = slot;
    return ERR_NONE;
}
