/* index.h: the sparse index of one segment: one entry per closed interval of batches. Format: index.c,
 * docs/format/log.md. Thread: one writer; any thread may look up meanwhile (entries never move, the count is published
 * last). */
#ifndef WEIR_LOG_INDEX_H
#define WEIR_LOG_INDEX_H

#include "base/bytes.h"
#include "base/err.h"

#define INDEX_VERSION 1u
#define INDEX_HEADER_LEN 24u
#define INDEX_ENTRY_LEN 32u
/* The bytes of a batch that an entry's checksum covers: base offset, length, epoch, magic, crc. */
#define INDEX_HEAD_LEN 21u
#define INDEX_CHUNKS 24 /* 64 entries, then doubling: far more than a segment has intervals */

/* An interval ends where its entry says; it begins where the entry before it ended. */
struct index_entry {
    uint32_t next_rel;     /* first offset behind the interval, relative to the segment's base */
    uint32_t position_end; /* first byte behind the interval */
    int64_t max_timestamp; /* of the segment up to here, not of the interval alone */
    uint32_t heads_crc;    /* CRC-32C over the heads of the interval's batches, in order */
    int32_t epoch;         /* of the interval's last batch */
    uint32_t batch_count;
};
struct index {
    struct index_entry *chunks[INDEX_CHUNKS]; /* owned */
    _Atomic uint32_t count;                   /* release store by the writer */
};

void index_init(struct index *x);
void index_deinit(struct index *x);
void index_push(struct index *x, const struct index_entry *entry);
uint32_t index_count(const struct index *x);
const struct index_entry *index_at(const struct index *x, uint32_t i);

/* How many entries end at or before the offset, position; how many have a smaller maximum timestamp. The interval to
 * look in is the one with that number, and it starts where entry number - 1 ends. */
uint32_t index_find_offset(const struct index *x, uint32_t rel);
uint32_t index_find_position(const struct index *x, uint64_t position);
uint32_t index_find_timestamp(const struct index *x, int64_t ts_ms);

/* The file. Decoding: ERR_CORRUPT: not such a thing; ERR_UNSUPPORTED: intact but of a newer version. */
void index_encode_header(uint8_t out[INDEX_HEADER_LEN], int64_t base);
MUST_USE enum err_code index_decode_header(struct bytes in, int64_t base);
void index_encode_entry(uint8_t out[INDEX_ENTRY_LEN], int64_t base, const struct index_entry *entry);
MUST_USE bool index_decode_entry(const uint8_t *in, int64_t base, struct index_entry *entry);
/* True when `entry` may follow `before` (NULL: is the first). */
bool index_entry_follows(const struct index_entry *entry, const struct index_entry *before);

#endif
