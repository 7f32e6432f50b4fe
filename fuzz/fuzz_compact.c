/* fuzz_compact.c: any bytes as a segment, a cleaned segment and the record of compaction: opening finishes or undoes the
 * swap, a cleaning ends in an answer or an error, and a second open finds as many offsets as the first one left.
 *
 * Input: record length u8 | cleaned length u16 | record | cleaned segment | segment (big-endian; lengths are cut to
 * what is there). A checksum of 0 in the record is made right, so that mutations get further. */
#include <stdint.h>
#include <stdlib.h>

#include "base/batch.h"
#include "base/crc32c.h"
#include "log/compact.h"
#include "sys/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIR "/p0"

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

static void clean(struct log *l)
{
    struct compact_options o = {.limit = INT64_MAX,
                                .now_ms = 1700000000000,
                                .delete_retention_ms = 1000,
                                .segment_bytes = 1u << 20,
                                .map_bytes_max = 4096,
                                .slice_bytes = 1000};
    struct compaction *c;
    enum compact_state state = COMPACT_MORE;

    if (log_roll(l, NULL) != ERR_NONE || log_sync(l, NULL) != ERR_NONE) return;
    for (int pass = 0; pass < 3; pass++, o.now_ms += 2000) {
        if (log_compact_begin(&c, l, &o, NULL) != ERR_NONE) return;
        for (int i = 0; i < 100000 && state == COMPACT_MORE; i++) {
            log_compact_run(c);
            state = log_compact_turn(c, NULL);
        }
        log_compact_end(c);
        if (state != COMPACT_DONE) return;
        state = COMPACT_MORE;
    }
}

static void on_damage(void *arg, const struct log_damage *d)
{
    (void)arg;
    (void)d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_options so = {.seed = 1, .disk_is_memory = true};
    struct log_options o = {.segment_bytes = 1u << 16, .retention_ms = -1, .retention_bytes = -1, .sync = true};
    struct sim *sim;
    struct log *l;
    uint8_t record[64];
    uint64_t n;

    if (size < 3) return 0;
    check(sim_create(&sim, &so, NULL) == ERR_NONE);
    const struct sys *sys = sim_sys(sim);
    struct bytes in = bytes_of(data + 3, size - 3);
    struct bytes head = take(&in, data[0]);
    struct bytes cleaned = take(&in, be16_get(data + 1));
    check(sys->fs->mkdir(sys->fs, DIR, NULL) == ERR_NONE);
    if (head.len == sizeof(record)) {
        memcpy(record, head.ptr, sizeof(record));
        if (be32_get(record + 60) == 0) be32_put(record + 60, crc32c(0, record, 60));
        head = bytes_of(record, sizeof(record));
    }
    put_file(sys->fs, DIR "/compaction", head);
    if (cleaned.len > 0) put_file(sys->fs, DIR "/00000000000000000000.cleaned", cleaned);
    put_file(sys->fs, DIR "/00000000000000000000.log", in);
    if (log_verify(sys, DIR, on_damage, NULL, &n, NULL) != ERR_NONE) n = 0;
    if (log_open(&l, sys, DIR, &o, INT32_MAX - 1, NULL, NULL) == ERR_NONE) {
        clean(l);
        int64_t end = log_end_offset(l);
        bool is_stopped = log_is_stopped(l);
        log_close(l);
        check(log_open(&l, sys, DIR, &o, INT32_MAX - 1, NULL, NULL) == ERR_NONE);
        check(log_end_offset(l) == end || is_stopped);
        log_close(l);
    }
    sim_destroy(sim);
    return 0;
}
