/* producer.c: idempotent producers of one partition, by Kafka's rules.
 *
 * P1  A producer sends batches in sequence; the sequence counts records and wraps from 2^31-1 to 0.
 * P2  A batch with the epoch, first and last sequence of one of the last five is a duplicate: answered with the
 * original offset. P3  An older epoch is fenced. A newer epoch starts at sequence 0. In the same epoch only last + 1
 * follows. P4  An unknown producer may start at any sequence: its state may have expired, or retention took its
 * records. P5  A producer without batches in its ring (only control batches seen) may go on at any sequence of its
 * epoch.
 *
 * Snapshot, big-endian; the first 24 bytes keep their shape in every later version:
 *   header    0 "WPRD" | 4 version u32 | 8 offset i64 | 16 producer count u32 | 20 crc32c of bytes 0..19
 *   producer  id i64 | epoch i16 | batch count u16 | last used ms i64 | batches, oldest first:
 *   batch     first sequence i32 | last sequence i32 | first offset i64
 *   trailer   crc32c of everything before */
#include "log/producer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/reader.h"

#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_HEADER_LEN 24u
#define SNAPSHOT_BYTES_MAX (256u << 20) /* two million producers; larger: not ours */
#define SNAPSHOT_NAME "producers.snap"

struct sent {
    int32_t first_sequence, last_sequence;
    int64_t base_offset;
};
struct producer {
    int64_t id;
    int16_t epoch;
    uint16_t n_sent; /* at most LIMIT_PRODUCER_BATCHES */
    int64_t used_ms;
    struct sent sent[LIMIT_PRODUCER_BATCHES]; /* oldest first */
};
struct producers {
    struct map by_id; /* key: the id's 8 bytes; value: owned */
};

struct producers *producers_create(void)
{
    struct producers *p = calloc(1, sizeof(*p));
    check(p != NULL);
    map_init(&p->by_id);
    return p;
}

static void clear(struct producers *p)
{
    uint32_t pos = 0;
    for (struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;)
        free(entry->value);
    map_deinit(&p->by_id);
    map_init(&p->by_id);
}

void producers_destroy(struct producers *p)
{
    if (p == NULL) return;
    clear(p);
    map_deinit(&p->by_id);
    free(p);
}

static struct producer *find(const struct producers *p, int64_t id)
{
    return map_get(&p->by_id, bytes_of(&id, sizeof(id)));
}

static struct producer *add(struct producers *p, int64_t id)
{
    struct producer *one = calloc(1, sizeof(*one));
    check(one != NULL);
    one->id = id;
    one->epoch = -1;
    void *before = map_put(&p->by_id, bytes_of(&id, sizeof(id)), one);
    check(before == NULL);
    return one;
}

/* P1 */
static int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

enum err_code producers_check(struct producers *p, const struct batch_view *v, int64_t *base_offset, struct err *e)
{
    if (v->producer_id < 0) return ERR_NONE;
    if (v->base_sequence < 0 && !(v->attributes & BATCH_ATTR_CONTROL))
        return err_set(e, ERR_INVALID, "producer %lld sent a batch without sequence", (long long)v->producer_id);
    const struct producer *one = find(p, v->producer_id);
    if (one == NULL) return ERR_NONE; /* P4 */
    if (v->producer_epoch < one->epoch)
        return err_set(e, ERR_FENCED, "producer %lld has epoch %d, not %d any more", (long long)one->id, one->epoch,
                       v->producer_epoch);
    if (v->attributes & BATCH_ATTR_CONTROL) return ERR_NONE;
    if (v->producer_epoch > one->epoch) { /* P3 */
        if (v->base_sequence == 0) return ERR_NONE;
        return err_set(e, ERR_SEQUENCE, "producer %lld starts epoch %d at sequence %d", (long long)one->id,
                       v->producer_epoch, v->base_sequence);
    }
    int32_t last = sequence_add(v->base_sequence, v->last_offset_delta);
    for (int i = 0; i < one->n_sent; i++) {
        if (one->sent[i].first_sequence != v->base_sequence || one->sent[i].last_sequence != last) continue;
        *base_offset = one->sent[i].base_offset;
        return err_set(e, ERR_DUPLICATE, "producer %lld: sequence %d is stored at offset %lld", (long long)one->id,
                       v->base_sequence, (long long)one->sent[i].base_offset);
    }
    if (one->n_sent == 0) return ERR_NONE; /* P5 */
    int32_t want = sequence_add(one->sent[one->n_sent - 1].last_sequence, 1);
    if (v->base_sequence == want) return ERR_NONE;
    return err_set(e, ERR_SEQUENCE, "producer %lld: sequence %d, expected %d", (long long)one->id, v->base_sequence,
                   want);
}

void producers_record(struct producers *p, const struct batch_view *v, int64_t now_ms)
{
    if (v->producer_id < 0) return;
    struct producer *one = find(p, v->producer_id);
    if (one == NULL) one = add(p, v->producer_id);
    if (v->producer_epoch != one->epoch) {
        one->epoch = v->producer_epoch;
        one->n_sent = 0;
    }
    if (now_ms > one->used_ms) one->used_ms = now_ms; /* From 0: never negative. */
    if ((v->attributes & BATCH_ATTR_CONTROL) || v->base_sequence < 0) return;
    if (one->n_sent == LIMIT_PRODUCER_BATCHES) {
        memmove(one->sent, one->sent + 1, (LIMIT_PRODUCER_BATCHES - 1) * sizeof(one->sent[0]));
        one->n_sent--;
    }
    one->sent[one->n_sent++] = (struct sent){.first_sequence = v->base_sequence,
                                             .last_sequence = sequence_add(v->base_sequence, v->last_offset_delta),
                                             .base_offset = v->base_offset};
}

void producers_expire(struct producers *p, int64_t now_ms)
{
    uint32_t pos = 0;
    for (struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;) {
        struct producer *one = entry->value;
        if (now_ms - one->used_ms <= LIMIT_PRODUCER_EXPIRY_MS) continue;
        int64_t id = one->id;
        (void)map_remove(&p->by_id, bytes_of(&id, sizeof(id)));
        free(one);
    }
}

size_t producers_count(const struct producers *p)
{
    return map_count(&p->by_id);
}

int32_t producers_last_sequence(const struct producers *p, int64_t producer_id, int16_t *epoch)
{
    const struct producer *one = find(p, producer_id);

    if (epoch != NULL) *epoch = one ? one->epoch : -1;
    return one && one->n_sent ? one->sent[one->n_sent - 1].last_sequence : -1;
}

/* ---- snapshot ---- */

static enum err_code paths(const char *dir, char path[LIMIT_PATH_LEN_MAX], char tmp[LIMIT_PATH_LEN_MAX], struct err *e)
{
    int a = snprintf(path, LIMIT_PATH_LEN_MAX, "%s/" SNAPSHOT_NAME, dir);
    int b = snprintf(tmp, LIMIT_PATH_LEN_MAX, "%s/" SNAPSHOT_NAME ".tmp", dir);
    if (a < LIMIT_PATH_LEN_MAX && b < LIMIT_PATH_LEN_MAX) return ERR_NONE;
    return err_set(e, ERR_LIMIT, "path of a snapshot is too long");
}

static void encode(const struct producers *p, int64_t offset, struct buf *out)
{
    uint32_t pos = 0;

    buf_put(out, "WPRD", 4);
    buf_put_be32(out, SNAPSHOT_VERSION);
    buf_put_be64(out, (uint64_t)offset);
    buf_put_be32(out, map_count(&p->by_id));
    buf_put_be32(out, crc32c(0, out->ptr, 20));
    for (const struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;) {
        const struct producer *one = entry->value;
        buf_put_be64(out, (uint64_t)one->id);
        buf_put_be16(out, (uint16_t)one->epoch);
        buf_put_be16(out, one->n_sent);
        buf_put_be64(out, (uint64_t)one->used_ms);
        for (int i = 0; i < one->n_sent; i++) {
            buf_put_be32(out, (uint32_t)one->sent[i].first_sequence);
            buf_put_be32(out, (uint32_t)one->sent[i].last_sequence);
            buf_put_be64(out, (uint64_t)one->sent[i].base_offset);
        }
    }
    buf_put_be32(out, crc32c(0, out->ptr, out->len));
}

enum err_code producers_save(const struct producers *p, struct fs *fs, const char *dir, int64_t offset, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX], tmp[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    struct buf bytes;

    enum err_code rc = paths(dir, path, tmp, e);
    if (rc != ERR_NONE) return rc;
    buf_init(&bytes, SNAPSHOT_BYTES_MAX);
    encode(p, offset, &bytes);
    if (bytes.failed) {
        rc = err_set(e, ERR_LIMIT, "too many producers for a snapshot");
        goto done;
    }
    rc = fs->open(fs, tmp, FS_WRITE, &file, e);
    if (rc != ERR_NONE) goto done;
    rc = fs->truncate(fs, file, 0, e);
    struct iovec iov = {bytes.ptr, bytes.len};
    if (rc == ERR_NONE) rc = fs->pwritev(fs, file, &iov, 1, 0, e);
    if (rc == ERR_NONE) rc = fs->sync(fs, file, e);
    if (rc == ERR_NONE) rc = fs->rename(fs, tmp, path, e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, dir, e);
done:
    fs->close(fs, file);
    buf_deinit(&bytes);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "saving producers");
}

/* Header of intact shape: ERR_NONE, ERR_UNSUPPORTED (newer) or ERR_CORRUPT. */
static enum err_code check_header(struct bytes in)
{
    if (in.len < SNAPSHOT_HEADER_LEN || memcmp(in.ptr, "WPRD", 4) != 0) return ERR_CORRUPT;
    if (be32_get(in.ptr + 20) != crc32c(0, in.ptr, 20)) return ERR_CORRUPT;
    if (be32_get(in.ptr + 4) > SNAPSHOT_VERSION) return ERR_UNSUPPORTED;
    return be32_get(in.ptr + 4) == SNAPSHOT_VERSION ? ERR_NONE : ERR_CORRUPT;
}

static bool decode_one(struct producers *p, struct reader *r)
{
    int64_t id = (int64_t)reader_be64(r);
    int16_t epoch = (int16_t)reader_be16(r);
    uint16_t n = reader_be16(r);
    int64_t used_ms = (int64_t)reader_be64(r);

    if (r->failed || id < 0 || used_ms < 0 || n > LIMIT_PRODUCER_BATCHES || find(p, id) != NULL) return false;
    struct producer *one = add(p, id);
    one->epoch = epoch;
    one->n_sent = n;
    one->used_ms = used_ms;
    for (int i = 0; i < n; i++) {
        one->sent[i].first_sequence = (int32_t)reader_be32(r);
        one->sent[i].last_sequence = (int32_t)reader_be32(r);
        one->sent[i].base_offset = (int64_t)reader_be64(r);
    }
    return !r->failed;
}

static bool decode(struct producers *p, struct bytes in, int64_t *offset)
{
    if (check_header(in) != ERR_NONE || in.len < SNAPSHOT_HEADER_LEN + 4) return false;
    size_t body = in.len - 4;
    if (be32_get(in.ptr + body) != crc32c(0, in.ptr, body)) return false;
    *offset = (int64_t)be64_get(in.ptr + 8);
    uint32_t n = be32_get(in.ptr + 16);
    struct reader r = reader_of(bytes_of(in.ptr + SNAPSHOT_HEADER_LEN, body - SNAPSHOT_HEADER_LEN));
    while (n > 0 && decode_one(p, &r))
        n--;
    return n == 0 && reader_left(&r) == 0 && *offset >= 0;
}

/* Reads up to max bytes of the snapshot. ERR_NOT_FOUND: no such file or no sane size. */
static enum err_code read_file(struct fs *fs, const char *dir, uint64_t max, struct buf *out, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX], tmp[LIMIT_PATH_LEN_MAX];
    struct file *file = NULL;
    uint64_t size = 0;
    size_t n = 0;

    enum err_code rc = paths(dir, path, tmp, e);
    if (rc == ERR_NONE) rc = fs->open(fs, path, FS_READ, &file, e);
    if (rc == ERR_NONE) rc = fs->size(fs, file, &size, e);
    if (rc == ERR_NONE && size > SNAPSHOT_BYTES_MAX)
        rc = err_set(e, ERR_NOT_FOUND, "snapshot of %llu bytes", (unsigned long long)size);
    if (rc == ERR_NONE && size > 0) {
        if (size > max) size = max;
        void *room = buf_extend(out, (size_t)size);
        rc = room ? fs->pread(fs, file, room, (size_t)size, 0, &n, e)
                  : err_set(e, ERR_MEMORY, "no memory for a snapshot");
        out->len = n;
    }
    fs->close(fs, file);
    return rc;
}

enum err_code producers_load(struct producers *p, struct fs *fs, const char *dir, int64_t *offset, struct err *e)
{
    struct buf bytes;

    check(producers_count(p) == 0);
    buf_init(&bytes, 0);
    enum err_code rc = read_file(fs, dir, SNAPSHOT_BYTES_MAX, &bytes, e);
    if (rc == ERR_NONE && check_header(buf_bytes(&bytes)) == ERR_UNSUPPORTED)
        rc = err_set(e, ERR_UNSUPPORTED, "%s/" SNAPSHOT_NAME " was written by a newer version of Weir", dir);
    if (rc == ERR_NONE && !decode(p, buf_bytes(&bytes), offset)) {
        clear(p);
        rc = err_set(e, ERR_NOT_FOUND, "%s/" SNAPSHOT_NAME " is damaged", dir);
    }
    buf_deinit(&bytes);
    return rc;
}

enum err_code producers_check_version(struct fs *fs, const char *dir, struct err *e)
{
    struct buf bytes;

    buf_init(&bytes, 0);
    enum err_code rc = read_file(fs, dir, SNAPSHOT_HEADER_LEN, &bytes, e);
    if (rc == ERR_NONE && check_header(buf_bytes(&bytes)) == ERR_UNSUPPORTED)
        rc = err_set(e, ERR_UNSUPPORTED, "%s/" SNAPSHOT_NAME " was written by a newer version of Weir", dir);
    else if (rc == ERR_NOT_FOUND)
        rc = ERR_NONE;
    buf_deinit(&bytes);
    return rc;
}
