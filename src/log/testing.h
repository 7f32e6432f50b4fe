/* testing.h: what the tests of this room share: a simulated world, batches with known content, and a check of a whole
 * log against what was sent. Record i of a log holds the value "r<i>-<generation>". Only tests include it. */
#ifndef WEIR_LOG_TESTING_H
#define WEIR_LOG_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/batch.h"
#include "base/limits.h"
#include "log/log.h"
#include "sys/sim.h"

#define DIR_ROOT "/data"
#define DIR_LOG DIR_ROOT "/p0"

struct world {
    struct sim *sim;
    const struct sys *sys;
    struct fs *fs;
    struct buf batch, scratch;
    int64_t now_ms;
    struct err e;
};

static inline void ok_at(enum err_code rc, const struct err *e, int line)
{
    if (rc != ERR_NONE) fail_msg("line %d: %s: %s", line, err_name(rc), e ? e->text : "");
}
#define ok(call) ok_at((call), &w->e, __LINE__)

static inline void world_open(struct world *w, uint64_t seed)
{
    struct sim_options o = {.seed = seed, .wall_start_ms = 1700000000000};
    memset(w, 0, sizeof(*w));
    ok(sim_create(&w->sim, &o, &w->e));
    w->sys = sim_sys(w->sim);
    w->fs = w->sys->fs;
    w->now_ms = o.wall_start_ms;
    buf_init(&w->batch, 0);
    buf_init(&w->scratch, 0);
    ok(w->fs->mkdir(w->fs, DIR_ROOT, &w->e));
    ok(w->fs->sync_dir(w->fs, "", &w->e)); /* the simulated root */
}

static inline void world_close(struct world *w)
{
    buf_deinit(&w->batch);
    buf_deinit(&w->scratch);
    sim_destroy(w->sim);
}

static inline struct log_options options_small(void)
{
    return (struct log_options){.segment_bytes = LIMIT_SEGMENT_BYTES_MIN,
                                .segment_ms = 0,
                                .retention_ms = -1,
                                .retention_bytes = -1,
                                .sync = true};
}

/* A batch of n records; the first will have offset `first`. Each value is padded to `pad` bytes. */
static inline void batch_of(struct world *w, int64_t first, int n, int pad, int generation, int64_t ts_ms)
{
    struct batch_builder b;
    char value[2048];

    buf_clear(&w->batch);
    batch_begin(&b, &w->batch, CODEC_NONE);
    for (int i = 0; i < n; i++) {
        int len = snprintf(value, sizeof(value), "r%lld-%d", (long long)(first + i), generation);
        for (; len < pad; len++)
            value[len] = '.';
        batch_add(&b, ts_ms + i, BYTES_NULL, bytes_of(value, (size_t)len), NULL, 0);
    }
    ok(batch_finish(&b, &w->e));
}

/* Appends such a batch at the end. */
static inline enum err_code append_batch(struct world *w, struct log *l, int n, int pad, int generation, int64_t ts_ms)
{
    int64_t base = -1, end = log_end_offset(l);
    batch_of(w, end, n, pad, generation, ts_ms);
    enum err_code rc = log_append(l, w->batch.ptr, w->batch.len, w->now_ms, &base, &w->e);
    if (rc == ERR_NONE) {
        assert_int_equal(base, end);
        assert_int_equal(log_end_offset(l), end + n);
    }
    return rc;
}

static inline void check_record(const struct record *r, int64_t offset, int generation)
{
    char want[64];
    int len = generation >= 0 ? snprintf(want, sizeof(want), "r%lld-%d", (long long)offset, generation)
                              : snprintf(want, sizeof(want), "r%lld-", (long long)offset);
    assert_int_equal(r->offset, offset);
    assert_true(r->value.len >= (size_t)len);
    assert_memory_equal(r->value.ptr, want, (size_t)len);
}

/* Reads [from, to) in slices of max_bytes and checks every batch and record. generation -1: any. */
static inline void check_content(struct world *w, struct log *l, int64_t from, int64_t to, size_t max_bytes,
                                 int generation)
{
    struct log_slice s;
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    bool more;

    while (from < to) {
        ok(log_read(l, from, to, max_bytes, &s, &w->e));
        assert_true(s.bytes.len > 0);
        assert_true(s.next_offset > from);
        size_t at = 0;
        int64_t next = -1;
        while (at < s.bytes.len) {
            ok(batch_view_parse(&v, bytes_slice(s.bytes, at, s.bytes.len - at), &w->e));
            ok(batch_check_crc(&v, &w->e));
            if (next >= 0) assert_int_equal(v.base_offset, next);
            next = batch_last_offset(&v) + 1;
            ok(batch_iter_init(&it, &v, &w->scratch, &w->e));
            for (int64_t offset = v.base_offset;; offset++) {
                ok(batch_iter_next(&it, &r, &more, &w->e));
                if (!more) break;
                check_record(&r, offset, generation);
            }
            at += v.bytes.len;
        }
        assert_int_equal(next, s.next_offset);
        from = s.next_offset;
        log_slice_release(&s);
    }
    assert_int_equal(from, to);
}

struct damages {
    int n, n_real;
    struct log_damage last;
    char file[64], what[160];
};
static inline void note_damage(void *arg, const struct log_damage *d)
{
    struct damages *all = arg;
    all->n++;
    if (d->kind != LOG_DAMAGE_DATA) return;
    all->n_real++;
    all->last = *d;
    (void)snprintf(all->file, sizeof(all->file), "%s", d->file);
    (void)snprintf(all->what, sizeof(all->what), "%s", d->what);
}

static inline void check_undamaged(struct world *w, const char *dir)
{
    struct damages all = {0};
    uint64_t n = 0;
    ok(log_verify(w->sys, dir, note_damage, &all, &n, &w->e));
    if (all.n_real > 0) fail_msg("verify: %s at %llu: %s", all.file, (unsigned long long)all.last.position, all.what);
}

/* ---- files, whole ---- */
static inline bool file_read(struct world *w, const char *path, struct buf *out)
{
    struct file *f;
    uint64_t size;
    size_t n;

    buf_clear(out);
    if (w->fs->open(w->fs, path, FS_READ, &f, &w->e) != ERR_NONE) return false;
    ok(w->fs->size(w->fs, f, &size, &w->e));
    void *room = buf_extend(out, (size_t)size + 1);
    ok(w->fs->pread(w->fs, f, room, (size_t)size, 0, &n, &w->e));
    out->len = n;
    w->fs->close(w->fs, f);
    return true;
}

static inline void file_write(struct world *w, const char *path, struct bytes content)
{
    struct file *f;
    ok(w->fs->open(w->fs, path, FS_WRITE, &f, &w->e));
    ok(w->fs->truncate(w->fs, f, 0, &w->e));
    struct iovec iov = {(void *)(uintptr_t)content.ptr, content.len};
    if (content.len > 0) ok(w->fs->pwritev(w->fs, f, &iov, 1, 0, &w->e));
    w->fs->close(w->fs, f);
}

static inline void file_append(struct world *w, const char *path, struct bytes content)
{
    struct file *f;
    uint64_t size;
    ok(w->fs->open(w->fs, path, FS_WRITE, &f, &w->e));
    ok(w->fs->size(w->fs, f, &size, &w->e));
    struct iovec iov = {(void *)(uintptr_t)content.ptr, content.len};
    ok(w->fs->pwritev(w->fs, f, &iov, 1, size, &w->e));
    w->fs->close(w->fs, f);
}

static inline uint64_t file_size(struct world *w, const char *path)
{
    struct file *f;
    uint64_t size = 0;
    if (w->fs->open(w->fs, path, FS_READ, &f, &w->e) != ERR_NONE) return 0;
    ok(w->fs->size(w->fs, f, &size, &w->e));
    w->fs->close(w->fs, f);
    return size;
}

static inline void file_cut(struct world *w, const char *path, uint64_t size)
{
    struct file *f;
    ok(w->fs->open(w->fs, path, FS_WRITE, &f, &w->e));
    ok(w->fs->truncate(w->fs, f, size, &w->e));
    w->fs->close(w->fs, f);
}

#endif
