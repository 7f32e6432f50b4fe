/* compact_write.c: the segment that a cleaning writes: <base>.cleaned until it takes the place of the old ones.
 *
 * Nobody reads it before that, so the order of S3 (bytes first, then size) does not matter here: size, index and the
 * largest timestamp are kept as batches come, the bytes follow in blocks. */
#include "log/compact_int.h"

#include <stdatomic.h>

enum err_code compact_writer_open(struct compaction *c, struct err *e)
{
    struct compact_writer *w = &c->out;
    struct log *l = c->log;
    uint64_t size = 0, in = 0;

    for (size_t i = c->group_from; i < c->group_to; i++)
        in += c->sources[i].size;
    c->group_left = in;
    /* Horizons make batches longer; the most that is allowed for that (write_edited). */
    uint64_t map_len = in + in / 4 + (64u << 10);
    if (map_len > LIMIT_SEGMENT_BYTES_MAX) map_len = LIMIT_SEGMENT_BYTES_MAX;
    enum err_code rc = segment_open_as(&w->seg, l->fs, l->dir, c->sources[c->group_from].base, SWAP_SUFFIX, FS_WRITE,
                                       (size_t)map_len, &size, e);
    if (rc == ERR_NONE && size > 0) rc = l->fs->truncate(l->fs, w->seg->file, 0, e);
    w->written = w->synced = 0;
    w->is_lazy = c->group_to - c->group_from == 1;
    w->hole_from = -1;
    buf_clear(&w->buf);
    c->n_markers = 0;
    return rc;
}

static enum err_code flush(struct compaction *c, struct err *e)
{
    struct compact_writer *w = &c->out;
    struct fs *fs = c->log->fs;
    struct iovec iov = {w->buf.ptr, w->buf.len};

    if (w->buf.failed) return err_set(e, ERR_MEMORY, "no memory to write a segment");
    if (w->buf.len == 0) return ERR_NONE;
    enum err_code rc = fs->pwritev(fs, w->seg->file, &iov, 1, w->written, e);
    if (rc != ERR_NONE) return rc;
    w->written += w->buf.len;
    buf_clear(&w->buf);
    if (w->written - w->synced < COMPACT_SYNC_BYTES) return ERR_NONE;
    w->synced = w->written;
    return fs->sync(fs, w->seg->file, e);
}

/* Something differs from the source: what came before is copied from there. */
static enum err_code materialize(struct compaction *c, struct err *e)
{
    struct compact_writer *w = &c->out;
    struct fs *fs = c->log->fs;
    uint64_t upto = atomic_load(&w->seg->size);
    enum err_code rc = ERR_NONE;

    w->is_lazy = false;
    for (uint64_t at = 0; rc == ERR_NONE && at < upto;) {
        size_t want = upto - at > COMPACT_WRITE_BYTES ? COMPACT_WRITE_BYTES : (size_t)(upto - at), n = 0;
        void *room = buf_extend(&w->buf, want);
        if (room == NULL) return err_set(e, ERR_MEMORY, "no memory to write a segment");
        rc = fs->pread(fs, c->in.seg->file, room, want, at, &n, e);
        if (rc == ERR_NONE && n < want) rc = err_set(e, ERR_IO, "segment became shorter while it was read");
        if (rc == ERR_NONE) rc = flush(c, e);
        at += want;
    }
    return rc;
}

static enum err_code put(struct compaction *c, struct bytes batch, bool is_old, struct err *e)
{
    struct compact_writer *w = &c->out;
    struct batch_view v;
    enum err_code rc = batch_view_parse(&v, batch, e);

    if (rc == ERR_NONE && w->is_lazy && !is_old) rc = materialize(c, e);
    if (rc != ERR_NONE) return rc;
    check(atomic_load(&w->seg->size) + batch.len <= w->seg->map_len);
    segment_note(w->seg, &v);
    if (w->is_lazy) return ERR_NONE;
    buf_put_bytes(&w->buf, batch);
    return w->buf.len >= COMPACT_WRITE_BYTES ? flush(c, e) : ERR_NONE;
}

static enum err_code put_hole(struct compaction *c, struct err *e)
{
    struct compact_writer *w = &c->out;
    uint8_t empty[BATCH_HEADER_LEN];

    if (w->hole_from < 0) return ERR_NONE;
    batch_empty(empty, w->hole_from, w->hole_to, w->hole_epoch, NULL);
    w->hole_from = -1;
    return put(c, bytes_of(empty, sizeof(empty)), w->is_hole_old, e);
}

enum err_code compact_write(struct compaction *c, struct bytes batch, bool is_old, struct err *e)
{
    enum err_code rc = put_hole(c, e);
    return rc == ERR_NONE ? put(c, batch, is_old, e) : rc;
}

enum err_code compact_hole(struct compaction *c, const struct batch_view *v, struct err *e)
{
    struct compact_writer *w = &c->out;
    uint8_t empty[BATCH_HEADER_LEN];
    int64_t last = batch_last_offset(v);

    if (w->hole_from >= 0 && w->hole_epoch == v->leader_epoch && last - w->hole_from < INT32_MAX - 1) {
        w->hole_to = last;
        w->is_hole_old = false;
        return ERR_NONE;
    }
    enum err_code rc = put_hole(c, e);
    batch_empty(empty, v->base_offset, last, v->leader_epoch, NULL);
    w->is_hole_old = v->bytes.len == sizeof(empty) && memcmp(v->bytes.ptr, empty, sizeof(empty)) == 0;
    w->hole_from = v->base_offset;
    w->hole_to = last;
    w->hole_epoch = v->leader_epoch;
    return rc;
}

enum err_code compact_writer_finish(struct compaction *c, bool *is_changed, struct err *e)
{
    struct compact_writer *w = &c->out;
    struct fs *fs = c->log->fs;

    enum err_code rc = put_hole(c, e);
    *is_changed = !w->is_lazy;
    if (rc != ERR_NONE || w->is_lazy) return rc;
    rc = flush(c, e);
    if (rc == ERR_NONE) rc = fs->sync(fs, w->seg->file, e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, c->log->dir, e); /* step 1 in swap.c */
    if (rc != ERR_NONE) return rc;
    segment_close_interval(w->seg);
    check(atomic_load(&w->seg->next) == c->sources[c->group_to - 1].next);
    check(atomic_load(&w->seg->size) == w->written);
    return ERR_NONE;
}

void compact_writer_drop(struct compaction *c)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct log *l = c->log;

    if (c->out.seg == NULL) return;
    segment_path(path, l->dir, c->out.seg->base, SWAP_SUFFIX);
    segment_unref(c->out.seg);
    c->out.seg = NULL;
    if (!c->is_committed) (void)l->fs->unlink(l->fs, path, NULL); /* else the next open looks at it */
}
