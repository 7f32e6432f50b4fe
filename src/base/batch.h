/* batch.h: Kafka record batches, magic 2, as they travel and as they lie on disk. Pure functions. Layout: batch.c.
 *
 * Reading: batch_view_parse() checks shape, never allocates; batch_check_crc() the checksum; batch_iter walks records
 * and decompresses when needed. Writing: batch_builder makes one batch, optionally compressed. */
#ifndef WEIR_BASE_BATCH_H
#define WEIR_BASE_BATCH_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

#define BATCH_HEADER_LEN 61 /* up to the first record */
#define BATCH_PREFIX_LEN 12 /* base offset and length: total = length field + 12 */
#define BATCH_CRC_FROM 21   /* the CRC covers this byte to the end */

enum batch_codec { CODEC_NONE = 0, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD };
#define BATCH_ATTR_CODEC_MASK 0x07
#define BATCH_ATTR_LOG_APPEND_TIME 0x08
#define BATCH_ATTR_TRANSACTIONAL 0x10
#define BATCH_ATTR_CONTROL 0x20
#define BATCH_ATTR_HORIZON 0x40 /* set by compaction: base timestamp is when tombstones and markers in it may go */

/* The decoded header; `bytes` is the whole batch, borrowed. */
struct batch_view {
    struct bytes bytes;
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp, max_timestamp; /* ms since 1970 */
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
};
/* Wraps for an impossible base offset instead of being undefined: whoever stores batches compares offsets anyway. */
static inline int64_t batch_last_offset(const struct batch_view *v)
{
    return (int64_t)((uint64_t)v->base_offset + (uint64_t)(int64_t)v->last_offset_delta);
}
static inline enum batch_codec batch_codec(const struct batch_view *v)
{
    return (enum batch_codec)(v->attributes & BATCH_ATTR_CODEC_MASK);
}

/* Parses the first batch in `in`. ERR_CORRUPT: impossible header (magic, length < 49 or above LIMIT_REQUEST_BYTES_MAX,
 * counts). ERR_RANGE: `in` ends before the batch does (v->bytes.len then holds how much is needed, 0 when not even the
 * prefix is there; the fields are filled and checked when the 61 bytes of the header are there). No CRC check. Offsets,
 * timestamps, producer and unknown attribute bits are taken as they are. A batch that compaction emptied has count 0; a
 * fresh one has record_count == last_offset_delta + 1, which the broker demands of producers. */
MUST_USE enum err_code batch_view_parse(struct batch_view *v, struct bytes in, struct err *e);
MUST_USE enum err_code batch_check_crc(const struct batch_view *v, struct err *e);
/* Of a control batch: what it says about its producer's transaction. Anything else: CONTROL_OTHER. */
enum batch_control { CONTROL_OTHER = -1, CONTROL_ABORT = 0, CONTROL_COMMIT = 1 };
enum batch_control batch_control_of(const struct batch_view *v);
/* Stamps bytes that the CRC leaves out. */
void batch_stamp(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);
/* Length 61 or more. LogAppendTime: sets the attribute bit and max timestamp and recomputes the CRC. */
void batch_stamp_append_time(uint8_t *batch, size_t len, int64_t now_ms);

struct record_header {
    struct bytes key, value; /* value may be null */
};
struct record {
    int64_t offset;
    int64_t timestamp;    /* ms; the batch's max timestamp under LogAppendTime */
    struct bytes key;     /* null possible */
    struct bytes value;   /* null possible: tombstone */
    struct bytes headers; /* encoded headers; walk with record_header_next */
    int32_t header_count;
};
/* Iterates the records of a batch. `scratch` receives decompressed bytes and may be reused (its content is replaced);
 * records point into it or into the batch.
 * It may be NULL when the batch is known to be uncompressed.
 * A control batch holds nothing for readers of records: it has none here. */
struct batch_iter {
    struct batch_view view;
    const uint8_t *at, *end;
    const uint8_t *fields; /* of the record given out last: its bytes from the key's length to `at` */
    int32_t index;
    int32_t last_delta; /* of the record before; offsets rise */
};
/* ERR_CORRUPT: does not decompress within LIMIT_DECOMPRESSED_BYTES_MAX, or unknown codec. */
MUST_USE enum err_code batch_iter_init(struct batch_iter *it, const struct batch_view *v, struct buf *scratch,
                                       struct err *e);
/* ERR_NONE with *more = false at the end. ERR_CORRUPT: record shape, count or trailing bytes are wrong.
 * The headers of a record that was given out are well-formed. */
MUST_USE enum err_code batch_iter_next(struct batch_iter *it, struct record *out, bool *more, struct err *e);
/* Walks encoded headers: *headers shrinks. False at the end or when malformed. */
bool record_header_next(struct bytes *headers, struct record_header *out);

struct batch_builder {
    struct buf *out; /* borrowed; the batch is appended to it */
    size_t start;    /* of the batch in out */
    int64_t base_timestamp, max_timestamp;
    int32_t count;
    enum batch_codec codec;
    int16_t attributes; /* besides the codec: BATCH_ATTR_TRANSACTIONAL, BATCH_ATTR_CONTROL */
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};
void batch_begin(struct batch_builder *b, struct buf *out, enum batch_codec codec);
/* Optional, before batch_finish: identity of an idempotent producer. */
void batch_set_producer(struct batch_builder *b, int64_t id, int16_t epoch, int32_t base_sequence);
/* Optional, before batch_finish. A transactional batch; a control batch has one record, made by batch_add_control. */
void batch_set_attributes(struct batch_builder *b, int16_t attributes);
void batch_add_control(struct batch_builder *b, int64_t timestamp_ms, enum batch_control type,
                       int32_t coordinator_epoch);
/* Header keys must not be null. When out cannot take the record, nothing of it is written and out->failed is set. */
void batch_add(struct batch_builder *b, int64_t timestamp_ms, struct bytes key, struct bytes value,
               const struct record_header *headers, int32_t n_headers);
/* Bytes of the batch so far, before compression. */
size_t batch_size(const struct batch_builder *b);
/* Compresses, fills the header (base offset 0, leader epoch -1) and the CRC. count must be > 0. On failure the batch is
 * taken out of `out` again. ERR_LIMIT: out is full (its max). ERR_MEMORY. ERR_TOO_LARGE: above LIMIT_REQUEST_BYTES_MAX.
 * */
MUST_USE enum err_code batch_finish(struct batch_builder *b, struct err *e);

#endif
