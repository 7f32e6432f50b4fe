/* producer.c: idempotent producers of one partition, by Kafka's rules.
 *
 * P1  A producer sends batches in sequence; the sequence counts records and wraps from 2^31-1 to 0.
 * P2  A batch with the epoch, first and last sequence of one of the last five is a duplicate: answered with the
 *     original offset.
 * P3  An older epoch is fenced. A newer epoch starts at sequence 0. In the same epoch only last + 1 follows.
 * P4  An unknown producer may start at any sequence: its state may have expired, or retention took its records.
 * P5  A producer without batches in its ring (only control batches seen) may go on at any sequence of its epoch.
 * P6  A transactional batch opens its producer's transaction here unless it is open, a marker of the broker closes
 *     it. A marker with a higher epoch fences the producers of before. An open transaction keeps its producer from
 *     expiring.
 * P7  Before `open_first` moves on, the aborted stretch is in the index: a reader that sees the one sees the other.
 *
 * Snapshot, big-endian; the first 24 bytes keep their shape in every later version:
 *   header    0 "WPRD" | 4 version u32 | 8 offset i64 | 16 producer count u32 | 20 crc32c of bytes 0..19
 *   producer  id i64 | epoch i16 | batch count u16 | last used ms i64 | batches, oldest first:
 *   batch     first sequence i32 | last sequence i32 | first offset i64
 *   of version 2, which is written only when there is something to say:
 *   open      count u32, each: id i64 | first offset i64, oldest first
 *   aborted   count u32, each: id i64 | first i64 | last i64 | stable i64, by rising last
 *   trailer   crc32c of everything before */
#include "log/producer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/reader.h"

#define SNAPSHOT_VERSION 2u
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
    int64_t open_first;                       /* of its open transaction, -1: none */
    struct list open_link;                    /* in producers.open */
};
struct producers {
    struct map by_id; /* key: the id's 8 bytes; value: owned */
    struct list open; /* struct producer, by rising open_first: offsets only grow */
    _Atomic int64_t open_first;
    pthread_mutex_t lock;        /* of the index of aborted transactions: readers on other threads look into it */
    struct aborted_txn *aborted; /* by rising last */
    size_t n_aborted, cap_aborted;
};

struct producers *producers_create(void)
{
    struct producers *p = calloc(1, sizeof(*p));
    check(p != NULL);
    map_init(&p->by_id);
    list_init(&p->open);
    p->open_first = INT64_MAX;
    check(pthread_mutex_init(&p->lock, NULL) == 0);
    return p;
}

static void clear(struct producers *p)
{
    uint32_t pos = 0;
    for (struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;)
        free(entry->value);
    map_deinit(&p->by_id);
    map_init(&p->by_id);
    list_init(&p->open);
    p->open_first = INT64_MAX;
    p->n_aborted = 0;
}

void producers_destroy(struct producers *p)
{
    if (p == NULL) return;
    clear(p);
    map_deinit(&p->by_id);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->aborted);
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
    one->open_first = -1;
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

/* ---- transactions ---- */
static void open_moved(struct producers *p)
{
    struct list *n = list_first(&p->open);
    atomic_store(&p->open_first, n ? CONTAINER_OF(n, struct producer, open_link)->open_first : INT64_MAX);
}

static void open_at(struct producers *p, struct producer *one, int64_t first)
{
    one->open_first = first;
    list_push_back(&p->open, &one->open_link);
    open_moved(p);
}

static void open_end(struct producers *p, struct producer *one)
{
    one->open_first = -1;
    list_remove(&one->open_link);
    open_moved(p);
}

static void aborted_add(struct producers *p, const struct aborted_txn *a)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->n_aborted == p->cap_aborted) {
        size_t cap = p->cap_aborted ? 2 * p->cap_aborted : 16;
        struct aborted_txn *grown = realloc(p->aborted, cap * sizeof(*grown));
        check(grown != NULL);
        p->aborted = grown;
        p->cap_aborted = cap;
    }
    p->aborted[p->n_aborted++] = *a;
    (void)pthread_mutex_unlock(&p->lock);
}

/* A marker, at v->base_offset. */
static void close_by(struct producers *p, struct producer *one, const struct batch_view *v)
{
    enum batch_control type = batch_control_of(v);

    if (one->open_first < 0 || type == CONTROL_OTHER) return;
    if (type == CONTROL_ABORT) { /* P7 */
        struct list *first = list_first(&p->open);
        if (first == &one->open_link) first = first->next == &p->open ? NULL : first->next;
        struct aborted_txn a = {.producer_id = one->id,
                                .first = one->open_first,
                                .last = v->base_offset,
                                .stable = first ? CONTAINER_OF(first, struct producer, open_link)->open_first
                                                : v->base_offset + 1};
        aborted_add(p, &a);
    }
    open_end(p, one);
}

int64_t producers_open_first(const struct producers *p)
{
    return atomic_load(&p->open_first);
}

int64_t producers_open_of(const struct producers *p, int64_t producer_id, int16_t *epoch)
{
    const struct producer *one = find(p, producer_id);
    if (one == NULL) return -1;
    if (epoch) *epoch = one->epoch;
    return one->open_first;
}

void producers_open_each(const struct producers *p, void (*fn)(void *arg, int64_t producer_id, int16_t epoch),
                         void *arg)
{
    for (struct list *n = p->open.next; n != &p->open; n = n->next) {
        const struct producer *one = CONTAINER_OF(n, struct producer, open_link);
        fn(arg, one->id, one->epoch);
    }
}

bool producers_open(struct producers *p, int64_t producer_id, int16_t epoch, int64_t first)
{
    struct producer *one = find(p, producer_id);

    if (one == NULL) {
        one = add(p, producer_id);
        one->epoch = epoch;
    }
    if (one->open_first >= 0) return false;
    open_at(p, one, first);
    return true;
}

void producers_open_undo(struct producers *p, int64_t producer_id)
{
    struct producer *one = find(p, producer_id);
    if (one != NULL && one->open_first >= 0) open_end(p, one);
}

/* The first that ends at `from` or behind it. */
static size_t aborted_from(const struct producers *p, int64_t from)
{
    size_t lo = 0, hi = p->n_aborted;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->aborted[mid].last < from)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t producers_aborted(const struct producers *p, int64_t from, int64_t to, struct aborted_txn **out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&p->lock;
    size_t n = 0, cap = 0;

    *out = NULL;
    (void)pthread_mutex_lock(lock);
    for (size_t i = aborted_from(p, from); i < p->n_aborted; i++) {
        const struct aborted_txn *a = &p->aborted[i];
        if (a->first < to && n == cap) {
            cap = cap ? 2 * cap : 8;
            *out = realloc(*out, cap * sizeof(**out));
            check(*out != NULL);
        }
        if (a->first < to) (*out)[n++] = *a;
        if (a->stable >= to) break; /* Whatever ended later began at `to` or behind it. */
    }
    (void)pthread_mutex_unlock(lock);
    return n;
}

void producers_forget(struct producers *p, int64_t before)
{
    (void)pthread_mutex_lock(&p->lock);
    size_t n = aborted_from(p, before);
    if (n > 0) memmove(p->aborted, p->aborted + n, (p->n_aborted - n) * sizeof(*p->aborted));
    p->n_aborted -= n;
    (void)pthread_mutex_unlock(&p->lock);
}

void producers_forget_markers(struct producers *p, const int64_t *offsets, size_t n)
{
    size_t kept = 0, at = 0;

    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_aborted; i++) {
        while (at < n && offsets[at] < p->aborted[i].last)
            at++;
        if (at < n && offsets[at] == p->aborted[i].last) continue;
        p->aborted[kept++] = p->aborted[i];
    }
    p->n_aborted = kept;
    (void)pthread_mutex_unlock(&p->lock);
}

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct producer_last *)a)->id, y = ((const struct producer_last *)b)->id;
    return (x > y) - (x < y);
}

size_t producers_last(const struct producers *p, struct producer_last **out)
{
    size_t n = 0;
    uint32_t pos = 0;

    *out = NULL;
    if (map_count(&p->by_id) == 0) return 0;
    *out = malloc(map_count(&p->by_id) * sizeof(**out));
    check(*out != NULL);
    for (const struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;) {
        const struct producer *one = entry->value;
        (*out)[n++] = (struct producer_last){.id = one->id,
                                             .epoch = one->epoch,
                                             .base_offset = one->n_sent ? one->sent[one->n_sent - 1].base_offset : -1};
    }
    qsort(*out, n, sizeof(**out), by_id);
    return n;
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
    if (v->attributes & BATCH_ATTR_CONTROL) {
        close_by(p, one, v);
        return;
    }
    if ((v->attributes & BATCH_ATTR_TRANSACTIONAL) && one->open_first < 0) open_at(p, one, v->base_offset);
    if (v->base_sequence < 0) return;
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
        if (now_ms - one->used_ms <= LIMIT_PRODUCER_EXPIRY_MS || one->open_first >= 0) continue;
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

void producers_each(const struct producers *p, void (*fn)(void *arg, const struct producer_state *s), void *arg)
{
    uint32_t pos = 0;

    for (const struct map_entry *entry; (entry = map_next(&p->by_id, &pos)) != NULL;) {
        const struct producer *one = entry->value;
        struct producer_state s = {.id = one->id,
                                   .used_ms = one->used_ms,
                                   .open_first = one->open_first,
                                   .last_sequence = one->n_sent ? one->sent[one->n_sent - 1].last_sequence : -1,
                                   .epoch = one->epoch};
        fn(arg, &s);
    }
}

/* ---- snapshot ---- */

static enum err_code paths(const char *dir, char path[LIMIT_PATH_LEN_MAX], char tmp[LIMIT_PATH_LEN_MAX], struct err *e)
{
    int a = snprintf(path, LIMIT_PATH_LEN_MAX, "%s/" SNAPSHOT_NAME, dir);
    int b = snprintf(tmp, LIMIT_PATH_LEN_MAX, "%s/" SNAPSHOT_NAME ".tmp", dir);
    if (a < LIMIT_PATH_LEN_MAX && b < LIMIT_PATH_LEN_MAX) return ERR_NONE;
    return err_set(e, ERR_LIMIT, "path of a snapshot is too long");
}

static void encode_transactions(const struct producers *p, struct buf *out)
{
    size_t at = out->len;
    uint32_t n = 0;

    buf_put_be32(out, 0);
    for (struct list *l = p->open.next; l != &p->open; l = l->next, n++) {
        buf_put_be64(out, (uint64_t)CONTAINER_OF(l, struct producer, open_link)->id);
        buf_put_be64(out, (uint64_t)CONTAINER_OF(l, struct producer, open_link)->open_first);
    }
    if (!out->failed) buf_patch_be32(out, at, n);
    buf_put_be32(out, (uint32_t)p->n_aborted);
    for (size_t i = 0; i < p->n_aborted; i++) {
        buf_put_be64(out, (uint64_t)p->aborted[i].producer_id);
        buf_put_be64(out, (uint64_t)p->aborted[i].first);
        buf_put_be64(out, (uint64_t)p->aborted[i].last);
        buf_put_be64(out, (uint64_t)p->aborted[i].stable);
    }
}

static void encode(const struct producers *p, int64_t offset, struct buf *out)
{
    uint32_t pos = 0;

    buf_put(out, "WPRD", 4);
    /* Without transactions the older version says all there is, and an older program can read it. */
    buf_put_be32(out, list_is_empty(&p->open) && p->n_aborted == 0 ? 1 : SNAPSHOT_VERSION);
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
    if (!list_is_empty(&p->open) || p->n_aborted > 0) encode_transactions(p, out);
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
    return be32_get(in.ptr + 4) >= 1 ? ERR_NONE : ERR_CORRUPT;
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

static bool decode_transactions(struct producers *p, struct reader *r)
{
    uint32_t n = reader_be32(r);
    int64_t before = -1;

    for (; n > 0 && !r->failed; n--) {
        int64_t id = (int64_t)reader_be64(r), first = (int64_t)reader_be64(r);
        struct producer *one = r->failed ? NULL : find(p, id);
        if (one == NULL || one->open_first >= 0 || first <= before) return false;
        open_at(p, one, first);
        before = first;
    }
    n = reader_be32(r);
    before = -1;
    for (; n > 0 && !r->failed; n--) {
        struct aborted_txn a;
        a.producer_id = (int64_t)reader_be64(r);
        a.first = (int64_t)reader_be64(r);
        a.last = (int64_t)reader_be64(r);
        a.stable = (int64_t)reader_be64(r);
        if (r->failed || a.first < 0 || a.last <= before) return false;
        aborted_add(p, &a);
        before = a.last;
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
    if (n == 0 && be32_get(in.ptr + 4) >= 2 && !decode_transactions(p, &r)) return false;
    return n == 0 && !r.failed && reader_left(&r) == 0 && *offset >= 0;
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
