/* fuzz_segment.c: any bytes as a segment, its index and the checkpoint: opening, reading, looking up, appending and
 * verifying end in an answer or an error, and a second open finds what the first one left.
 *
 * Input: index length u16 | checkpoint length u16 | index | checkpoint | segment (big-endian; lengths are cut to what
 * is there). */
#include <stdint.h>
#include <stdlib.h>

#include "base/batch.h"
#include "log/log.h"
#include "sys/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_file(struct fs *fs, const char *path, struct bytes content)
{
    struct file *f;
    struct iovec iov = {(void *)(uintptr_t)content.ptr, content.len};

    check(fs->open(fs, path, FS_WRITE, &f, NULL) == ERR_NONE);
    if (content.len > 0) check(fs->pwritev(fs, f, &iov, 1, 0, NULL) == ERR_NONE);
    fs->close(fs, f);
}

static struct bytes take(struct bytes *in, size_t n)
{
    if (n > in->len) n = in->len;
    struct bytes out = bytes_of(in->ptr, n);
    *in = bytes_slice(*in, n, in->len - n);
    return out;
}

/* Walks every record that can be reached. */
static void read_all(struct log *l)
{
    int64_t offset = log_start_offset(l), limit = log_durable_offset(l);
    struct buf scratch;
    struct batch_view v;
    struct batch_iter it;
    struct record r;

    buf_init(&scratch, 0);
    for (int i = 0; i < 2000 && offset < limit; i++) {
        struct log_slice s;
        bool more = true;
        if (log_read(l, offset, limit, 4096, &s, NULL) != ERR_NONE) {
            offset++; /* a damaged range: try behind it */
            continue;
        }
        if (s.bytes.len == 0) break;
        check(s.next_offset > offset);
        if (batch_view_parse(&v, s.bytes, NULL) == ERR_NONE && batch_iter_init(&it, &v, &scratch, NULL) == ERR_NONE)
            while (more && batch_iter_next(&it, &r, &more, NULL) == ERR_NONE)
                continue;
        offset = s.next_offset;
        log_slice_release(&s);
    }
    buf_deinit(&scratch);
}

static void count(void *arg, const struct batch_view *v)
{
    ++*(int *)arg;
}

static void look_up(struct log *l)
{
    struct log_slice s;
    int32_t epoch;
    int n = 0;

    if (log_find_time(l, 1700000000000, &s, NULL) == ERR_NONE) log_slice_release(&s);
    if (log_find_max_time(l, &s, NULL) == ERR_NONE) log_slice_release(&s);
    (void)log_epoch_end(l, 1, &epoch);
    if (log_scan(l, 0, count, &n, NULL) != ERR_NONE) n = 0;
}

static enum err_code append_one(struct log *l)
{
    struct buf b;
    struct batch_builder builder;
    int64_t base;

    buf_init(&b, 0);
    batch_begin(&builder, &b, CODEC_NONE);
    batch_add(&builder, 1700000000000, BYTES_NULL, BYTES_LIT("value"), NULL, 0);
    check(batch_finish(&builder, NULL) == ERR_NONE);
    enum err_code rc = log_append(l, b.ptr, b.len, 1700000000000, &base, NULL);
    buf_deinit(&b);
    return rc == ERR_NONE ? log_sync(l, NULL) : rc;
}

static void ignore(void *arg, const struct log_damage *d)
{
}

static void run(const struct sys *sys)
{
    struct log_options o = {.segment_bytes = 1 << 20, .retention_ms = -1, .retention_bytes = -1, .sync = true};
    struct log_recovery first, second;
    struct log *l;
    uint64_t n;

    (void)!log_verify(sys, "/d/p", ignore, NULL, &n, NULL);
    if (log_open(&l, sys, "/d/p", &o, INT32_MAX, &first, NULL) != ERR_NONE) return;
    read_all(l);
    look_up(l);
    log_close(l);
    check(log_open(&l, sys, "/d/p", &o, INT32_MAX, &second, NULL) == ERR_NONE);
    check(first.start_offset == second.start_offset && first.end_offset == second.end_offset && second.cut_bytes == 0);
    check(first.corrupt_from == second.corrupt_from && first.corrupt_to == second.corrupt_to);
    bool appended = append_one(l) == ERR_NONE;
    check(appended == (second.corrupt_from < 0));
    read_all(l);
    log_close(l);
    (void)!log_verify(sys, "/d/p", ignore, NULL, &n, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_options o = {.seed = 1, .wall_start_ms = 1700000000000};
    struct bytes in = bytes_of(data, size);
    struct sim *sim;

    if (size < 4) return 0;
    size_t index_len = be16_get(data), checkpoint_len = be16_get(data + 2);
    in = bytes_slice(in, 4, size - 4);
    check(sim_create(&sim, &o, NULL) == ERR_NONE);
    struct fs *fs = sim_sys(sim)->fs;
    check(fs->mkdir(fs, "/d", NULL) == ERR_NONE && fs->mkdir(fs, "/d/p", NULL) == ERR_NONE);
    struct bytes index = take(&in, index_len), checkpoint = take(&in, checkpoint_len);
    if (index.len > 0) put_file(fs, "/d/p/00000000000000000000.idx", index);
    if (checkpoint.len > 0) put_file(fs, "/d/p/checkpoint", checkpoint);
    put_file(fs, "/d/p/00000000000000000000.log", in);
    run(sim_sys(sim));
    sim_destroy(sim);
    return 0;
}
