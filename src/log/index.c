/* index.c: the sparse index of a segment, in memory and as bytes. Integers are big-endian.
 *
 *   header   0 "WIDX" | 4 version u32 | 8 base offset i64 | 16 zero u32 | 20 crc32c of bytes 0..19
 *   entry    0 next offset, relative u32 | 4 end position u32 | 8 max timestamp i64 | 16 crc32c of heads u32
 *            20 epoch i32 | 24 batch count u32 | 28 crc32c of (base offset i64, bytes 0..27)
 *
 * X1  Entries lie back to back, and so do their intervals: each begins where the one before it ends, the first at 0.
 * X2  Offset, position, timestamp and epoch never fall from one entry to the next; offset and position rise.
 * X3  The header keeps this shape in every later version, so that "newer" and "damaged" can be told apart.
 * X4  The index is a cache. Whatever is missing, cut, torn or of another segment is rebuilt from the log.
 *
 * The heads' checksum exists because Kafka's leaves out bytes 0..20 of a batch: together they cover every bit.
 * In memory the entries live in chunks of doubling size that never move, so readers need no lock while the writer grows
 * it. */
#include "log/index.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/crc32c.h"

#define CHUNK_0 64u

void index_init(struct index *x)
{
    memset(x->chunks, 0, sizeof(x->chunks));
    atomic_init(&x->count, 0);
}

void index_deinit(struct index *x)
{
    for (int i = 0; i < INDEX_CHUNKS; i++)
        free(x->chunks[i]);
    index_init(x);
}

/* Chunk 0 holds entries 0..63, chunk k > 0 holds 64 << (k - 1) entries from that number on. */
static uint32_t chunk_of(uint32_t i, uint32_t *at)
{
    if (i < CHUNK_0) {
        *at = i;
        return 0;
    }
    uint32_t k = 32u - (uint32_t)__builtin_clz(i / CHUNK_0);
    *at = i - (CHUNK_0 << (k - 1));
    return k;
}

void index_push(struct index *x, const struct index_entry *entry)
{
    uint32_t n = atomic_load_explicit(&x->count, memory_order_relaxed);
    uint32_t at, k = chunk_of(n, &at);

    check(k < INDEX_CHUNKS);
    check_slow(index_entry_follows(entry, n ? index_at(x, n - 1) : NULL));
    if (x->chunks[k] == NULL) {
        size_t room = k == 0 ? CHUNK_0 : (size_t)CHUNK_0 << (k - 1);
        x->chunks[k] = malloc(room * sizeof(struct index_entry));
        check(x->chunks[k] != NULL);
    }
    x->chunks[k][at] = *entry;
    atomic_store_explicit(&x->count, n + 1, memory_order_release);
}

uint32_t index_count(const struct index *x)
{
    return atomic_load_explicit(&x->count, memory_order_acquire);
}

const struct index_entry *index_at(const struct index *x, uint32_t i)
{
    uint32_t at, k = chunk_of(i, &at);
    return &x->chunks[k][at];
}

uint32_t index_find_offset(const struct index *x, uint32_t rel)
{
    uint32_t lo = 0, hi = index_count(x);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (index_at(x, mid)->next_rel <= rel)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t index_find_position(const struct index *x, uint64_t position)
{
    uint32_t lo = 0, hi = index_count(x);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (index_at(x, mid)->position_end <= position)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

uint32_t index_find_timestamp(const struct index *x, int64_t ts_ms)
{
    uint32_t lo = 0, hi = index_count(x);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (index_at(x, mid)->max_timestamp < ts_ms)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void index_encode_header(uint8_t out[INDEX_HEADER_LEN], int64_t base)
{
    memcpy(out, "WIDX", 4);
    be32_put(out + 4, INDEX_VERSION);
    be64_put(out + 8, (uint64_t)base);
    be32_put(out + 16, 0);
    be32_put(out + 20, crc32c(0, out, 20));
}

enum err_code index_decode_header(struct bytes in, int64_t base)
{
    if (in.len < INDEX_HEADER_LEN || memcmp(in.ptr, "WIDX", 4) != 0) return ERR_CORRUPT;
    if (be32_get(in.ptr + 20) != crc32c(0, in.ptr, 20)) return ERR_CORRUPT;
    if (be32_get(in.ptr + 4) > INDEX_VERSION) return ERR_UNSUPPORTED; /* X3 */
    if (be32_get(in.ptr + 4) != INDEX_VERSION || be64_get(in.ptr + 8) != (uint64_t)base) return ERR_CORRUPT;
    return be32_get(in.ptr + 16) == 0 ? ERR_NONE : ERR_CORRUPT;
}

/* The base offset takes part, so that entries of another segment's index do not pass. */
static uint32_t entry_crc(const uint8_t *in, int64_t base)
{
    uint8_t prefix[8];
    be64_put(prefix, (uint64_t)base);
    return crc32c(crc32c(0, prefix, sizeof(prefix)), in, 28);
}

void index_encode_entry(uint8_t out[INDEX_ENTRY_LEN], int64_t base, const struct index_entry *entry)
{
    be32_put(out, entry->next_rel);
    be32_put(out + 4, entry->position_end);
    be64_put(out + 8, (uint64_t)entry->max_timestamp);
    be32_put(out + 16, entry->heads_crc);
    be32_put(out + 20, (uint32_t)entry->epoch);
    be32_put(out + 24, entry->batch_count);
    be32_put(out + 28, entry_crc(out, base));
}

bool index_decode_entry(const uint8_t *in, int64_t base, struct index_entry *entry)
{
    entry->next_rel = be32_get(in);
    entry->position_end = be32_get(in + 4);
    entry->max_timestamp = (int64_t)be64_get(in + 8);
    entry->heads_crc = be32_get(in + 16);
    entry->epoch = (int32_t)be32_get(in + 20);
    entry->batch_count = be32_get(in + 24);
    return be32_get(in + 28) == entry_crc(in, base) && entry->batch_count > 0;
}

bool index_entry_follows(const struct index_entry *entry, const struct index_entry *before)
{
    if (before == NULL) return entry->next_rel > 0 && entry->position_end > 0;
    return entry->next_rel > before->next_rel && entry->position_end > before->position_end &&
           entry->max_timestamp >= before->max_timestamp && entry->epoch >= before->epoch;
}
