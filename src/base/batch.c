/* batch.c: record batches of Kafka's format 2, the only one Weir reads or writes. Big-endian.
 *
 *    0                 8            12                 16         17        21
 *   +-----------------+------------+------------------+----------+---------+----------------+
 *   | base offset i64 | length i32 | leader epoch i32 | magic i8 | crc u32 | attributes i16 | ...
 *   +-----------------+------------+------------------+----------+---------+----------------+
 *   23: last offset delta i32   27: base timestamp i64   35: max timestamp i64   43: producer id i64
 *   51: producer epoch i16      53: base sequence i32    57: record count i32    61: records
 *
 *   attributes  bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon
 *   records     back to back; with a codec, the whole rest is one compressed blob of them
 *   record      length, attributes i8, timestamp delta, offset delta, key length, key, value length, value,
 *               header count, per header: key length, key, value length, value
 *               (zigzag varints; length -1 is null, never for a header's key; `length` counts the bytes after itself)
 *
 * R1  `length` counts what follows it: the batch is length + 12 bytes.
 * R2  The CRC-32C covers byte 21 to the end: base offset and leader epoch are stamped without touching it.
 * R3  0 <= record count <= last offset delta + 1: every record takes an offset, compaction only removes. Offset
 *     deltas rise strictly and lie in 0 .. last offset delta.
 * R4  A record is at least 7 bytes, so the count is believable before anything is allocated for it.
 * R5  Arithmetic on offsets and timestamps from outside wraps (unsigned) and is never undefined; the writer wraps
 *     alike, so extreme timestamps come back as they went in.
 * The hot loops (batch_add, batch_iter_next) keep their pointer in a register and write varints in place: one
 * reservation per record, no call per field. */
#include "base/batch.h"

#include <limits.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"

enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
};
#define MAGIC 2
#define RECORD_LEN_MIN 7 /* R4 */

/* ---- header ---- */

static enum err_code decode_header(struct batch_view *v, const uint8_t *p, size_t total, struct err *e)
{
    v->leader_epoch = (int32_t)be32_get(p + AT_LEADER_EPOCH);
    v->crc = be32_get(p + AT_CRC);
    v->attributes = (int16_t)be16_get(p + AT_ATTRIBUTES);
    v->last_offset_delta = (int32_t)be32_get(p + AT_LAST_OFFSET_DELTA);
    v->base_timestamp = (int64_t)be64_get(p + AT_BASE_TIMESTAMP);
    v->max_timestamp = (int64_t)be64_get(p + AT_MAX_TIMESTAMP);
    v->producer_id = (int64_t)be64_get(p + AT_PRODUCER_ID);
    v->producer_epoch = (int16_t)be16_get(p + AT_PRODUCER_EPOCH);
    v->base_sequence = (int32_t)be32_get(p + AT_BASE_SEQUENCE);
    v->record_count = (int32_t)be32_get(p + AT_RECORD_COUNT);
    if (v->last_offset_delta < 0 || v->record_count < 0 || v->record_count > (int64_t)v->last_offset_delta + 1) {
        return err_set(e, ERR_CORRUPT, "batch with %d records and last offset delta %d", v->record_count,
                       v->last_offset_delta);
    }
    if (batch_codec(v) == CODEC_NONE && (uint64_t)v->record_count * RECORD_LEN_MIN > total - BATCH_HEADER_LEN) {
        return err_set(e, ERR_CORRUPT, "batch of %zu bytes with %d records", total, v->record_count);
    }
    return ERR_NONE;
}

enum err_code batch_view_parse(struct batch_view *v, struct bytes in, struct err *e)
{
    const uint8_t *p = in.ptr;

    *v = (struct batch_view){.bytes = {p, 0}};
    if (in.len < BATCH_PREFIX_LEN) return err_set(e, ERR_RANGE, "batch: %zu bytes of its prefix", in.len);
    v->base_offset = (int64_t)be64_get(p + AT_BASE_OFFSET);
    int32_t length = (int32_t)be32_get(p + AT_LENGTH);
    if (length < BATCH_HEADER_LEN - BATCH_PREFIX_LEN || length > (int32_t)LIMIT_REQUEST_BYTES_MAX - BATCH_PREFIX_LEN) {
        return err_set(e, ERR_CORRUPT, "batch with length %d", length);
    }
    size_t total = (size_t)length + BATCH_PREFIX_LEN;
    if (in.len > AT_MAGIC && p[AT_MAGIC] != MAGIC) {
        return err_set(e, ERR_CORRUPT, "batch with magic %d; only %d is served", (int8_t)p[AT_MAGIC], MAGIC);
    }
    if (in.len >= BATCH_HEADER_LEN) {
        enum err_code rc = decode_header(v, p, total, e);
        if (rc != ERR_NONE) return rc;
    }
    v->bytes.len = total;
    if (in.len < total) return err_set(e, ERR_RANGE, "batch of %zu bytes, of which %zu are there", total, in.len);
    return ERR_NONE;
}

enum err_code batch_check_crc(const struct batch_view *v, struct err *e)
{
    uint32_t crc = crc32c(0, v->bytes.ptr + BATCH_CRC_FROM, v->bytes.len - BATCH_CRC_FROM);
    if (LIKELY(crc == v->crc)) return ERR_NONE;
    return err_set(e, ERR_CORRUPT, "batch at offset %lld: checksum is %08x, content has %08x",
                   (long long)v->base_offset, v->crc, crc);
}

void batch_stamp(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    be64_put(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    be32_put(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

static void put_crc(uint8_t *batch, size_t len)
{
    be32_put(batch + AT_CRC, crc32c(0, batch + BATCH_CRC_FROM, len - BATCH_CRC_FROM));
}

void batch_stamp_append_time(uint8_t *batch, size_t len, int64_t now_ms)
{
    check(len >= BATCH_HEADER_LEN);
    be16_put(batch + AT_ATTRIBUTES, be16_get(batch + AT_ATTRIBUTES) | BATCH_ATTR_LOG_APPEND_TIME);
    be64_put(batch + AT_MAX_TIMESTAMP, (uint64_t)now_ms);
    put_crc(batch, len);
}

/* ---- reading records ---- */

/* Both return the byte behind the varint, or NULL: cut off, too long or overflowing. */
static const uint8_t *get_varint64_long(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t b = *p++;
        if (shift == 63 && b > 1) return NULL;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = (int64_t)((v >> 1) ^ (0 - (v & 1)));
            return p;
        }
    }
    return NULL;
}

static inline const uint8_t *get_varint64(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *out = (int64_t)(*p >> 1) ^ -(int64_t)(*p & 1);
        return p + 1;
    }
    return get_varint64_long(p, end, out);
}

static inline const uint8_t *get_varint32(const uint8_t *p, const uint8_t *end, int32_t *out)
{
    int64_t v;
    const uint8_t *next = get_varint64(p, end, &v);
    if (UNLIKELY(next == NULL || v < INT32_MIN || v > INT32_MAX || next - p > 5)) return NULL;
    *out = (int32_t)v;
    return next;
}

/* A length and its bytes; length -1 is null. */
static inline const uint8_t *get_bytes(const uint8_t *p, const uint8_t *end, struct bytes *out)
{
    int32_t len;
    p = get_varint32(p, end, &len);
    if (UNLIKELY(p == NULL)) return NULL;
    if (len < 0) {
        *out = BYTES_NULL;
        return len == -1 ? p : NULL;
    }
    if (UNLIKELY(len > end - p)) return NULL;
    *out = bytes_of(p, (size_t)len);
    return p + len;
}

static const uint8_t *get_header(const uint8_t *p, const uint8_t *end, struct record_header *out)
{
    p = get_bytes(p, end, &out->key);
    if (p == NULL || out->key.ptr == NULL) return NULL;
    return get_bytes(p, end, &out->value);
}

bool record_header_next(struct bytes *headers, struct record_header *out)
{
    if (headers->len == 0) return false;
    const uint8_t *end = headers->ptr + headers->len;
    const uint8_t *p = get_header(headers->ptr, end, out);
    if (p == NULL) return false;
    *headers = bytes_of(p, (size_t)(end - p));
    return true;
}

static enum err_code bad_record(const struct batch_iter *it, struct err *e, const char *why)
{
    return err_set(e, ERR_CORRUPT, "batch at offset %lld, record %d: %s", (long long)it->view.base_offset, it->index,
                   why);
}

enum batch_control batch_control_of(const struct batch_view *v)
{
    struct batch_view plain = *v;
    struct batch_iter it;
    struct record r;
    bool more = false;

    if (!(v->attributes & BATCH_ATTR_CONTROL) || batch_codec(v) != CODEC_NONE) return CONTROL_OTHER;
    plain.attributes = (int16_t)(v->attributes & ~BATCH_ATTR_CONTROL);
    if (batch_iter_init(&it, &plain, NULL, NULL) != ERR_NONE) return CONTROL_OTHER;
    if (batch_iter_next(&it, &r, &more, NULL) != ERR_NONE || !more || r.key.len < 4) return CONTROL_OTHER;
    int type = be16_get(r.key.ptr + 2);
    return type == CONTROL_ABORT || type == CONTROL_COMMIT ? (enum batch_control)type : CONTROL_OTHER;
}

enum err_code batch_iter_init(struct batch_iter *it, const struct batch_view *v, struct buf *scratch, struct err *e)
{
    check(v->bytes.len >= BATCH_HEADER_LEN);
    struct bytes records = bytes_slice(v->bytes, BATCH_HEADER_LEN, v->bytes.len - BATCH_HEADER_LEN);

    *it = (struct batch_iter){.view = *v, .last_delta = -1};
    if (v->attributes & BATCH_ATTR_CONTROL) {
        it->view.record_count = 0;
        it->at = it->end = v->bytes.ptr;
        return ERR_NONE;
    }
    if (batch_codec(v) != CODEC_NONE) {
        check(scratch != NULL);
        enum err_code rc = codec_decompress(batch_codec(v), records, LIMIT_DECOMPRESSED_BYTES_MAX, scratch, e);
        if (rc == ERR_UNSUPPORTED) {
            return err_set(e, ERR_CORRUPT, "batch at offset %lld: codec %d", (long long)v->base_offset,
                           (int)batch_codec(v));
        }
        if (rc != ERR_NONE) return err_wrap(e, rc, "batch at offset %lld", (long long)v->base_offset);
        records = buf_bytes(scratch);
    }
    it->at = records.ptr;
    it->end = records.ptr + records.len;
    if ((uint64_t)v->record_count * RECORD_LEN_MIN > records.len) return bad_record(it, e, "more records than bytes");
    return ERR_NONE;
}

/* The header count and all headers, up to exactly `end`. */
static bool get_headers(const uint8_t *p, const uint8_t *end, struct record *out)
{
    struct record_header header;

    p = get_varint32(p, end, &out->header_count);
    if (p == NULL || out->header_count < 0 || out->header_count > LIMIT_RECORD_HEADERS_MAX) return false;
    out->headers = bytes_of(p, (size_t)(end - p));
    for (int32_t i = 0; i < out->header_count; i++) {
        p = get_header(p, end, &header);
        if (p == NULL) return false;
    }
    return p == end;
}

enum err_code batch_iter_next(struct batch_iter *it, struct record *out, bool *more, struct err *e)
{
    int32_t length, delta;
    int64_t timestamp_delta;
    const uint8_t *p = it->at;

    *more = false;
    if (it->index == it->view.record_count) {
        return p == it->end ? ERR_NONE : bad_record(it, e, "bytes behind the last record");
    }
    p = get_varint32(p, it->end, &length);
    if (UNLIKELY(p == NULL || length < RECORD_LEN_MIN - 1 || length > it->end - p))
        return bad_record(it, e, "bad length");
    const uint8_t *end = p + length;
    p++; /* attributes: none are defined */
    p = get_varint64(p, end, &timestamp_delta);
    if (UNLIKELY(p == NULL)) return bad_record(it, e, "bad timestamp");
    p = get_varint32(p, end, &delta);
    if (UNLIKELY(p == NULL || delta <= it->last_delta || delta > it->view.last_offset_delta)) {
        return bad_record(it, e, "bad offset"); /* R3 */
    }
    it->fields = p;
    p = get_bytes(p, end, &out->key);
    if (UNLIKELY(p == NULL)) return bad_record(it, e, "bad key");
    p = get_bytes(p, end, &out->value);
    if (UNLIKELY(p == NULL)) return bad_record(it, e, "bad value");
    if (LIKELY(end - p == 1 && *p == 0)) { /* no headers */
        out->headers = bytes_of(end, 0);
        out->header_count = 0;
    } else if (UNLIKELY(!get_headers(p, end, out))) {
        return bad_record(it, e, "bad headers");
    }
    out->offset = (int64_t)((uint64_t)it->view.base_offset + (uint64_t)delta); /* R5 */
    out->timestamp = (it->view.attributes & BATCH_ATTR_LOG_APPEND_TIME)
                         ? it->view.max_timestamp
                         : (int64_t)((uint64_t)it->view.base_timestamp + (uint64_t)timestamp_delta);
    it->at = end;
    it->last_delta = delta;
    it->index++;
    *more = true;
    return ERR_NONE;
}

/* ---- writing ---- */

static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

/* Bytes of a LEB128: ceil(bits / 7), at least 1; exact for 1..64 bits. */
static inline size_t uvarint_len(uint64_t v)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(v | 1);
    return (bits * 9 + 64) / 64;
}

static inline uint8_t *put_uvarint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

/* Length and bytes; null is length -1, which zigzags to 1. */
static inline size_t bytes_len(struct bytes v)
{
    return v.ptr == NULL ? 1 : uvarint_len((uint64_t)v.len << 1) + v.len;
}

static inline uint8_t *put_bytes(uint8_t *p, struct bytes v)
{
    if (v.ptr == NULL) {
        *p++ = 1;
        return p;
    }
    p = put_uvarint(p, (uint64_t)v.len << 1);
    memcpy(p, v.ptr, v.len);
    return p + v.len;
}

void batch_begin(struct batch_builder *b, struct buf *out, enum batch_codec codec)
{
    *b = (struct batch_builder){
        .out = out,
        .start = out->len,
        .codec = codec,
        .max_timestamp = INT64_MIN,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
    };
    uint8_t *header = buf_extend(out, BATCH_HEADER_LEN);
    if (header != NULL) memset(header, 0, BATCH_HEADER_LEN);
}

void batch_set_producer(struct batch_builder *b, int64_t id, int16_t epoch, int32_t base_sequence)
{
    b->producer_id = id;
    b->producer_epoch = epoch;
    b->base_sequence = base_sequence;
}

void batch_set_attributes(struct batch_builder *b, int16_t attributes)
{
    b->attributes = attributes;
}

void batch_add_control(struct batch_builder *b, int64_t timestamp_ms, enum batch_control type,
                       int32_t coordinator_epoch)
{
    uint8_t key[4], value[6];

    be16_put(key, 0);
    be16_put(key + 2, (uint16_t)type);
    be16_put(value, 0);
    be32_put(value + 2, (uint32_t)coordinator_epoch);
    batch_add(b, timestamp_ms, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)), NULL, 0);
}

void batch_add(struct batch_builder *b, int64_t timestamp_ms, struct bytes key, struct bytes value,
               const struct record_header *headers, int32_t n_headers)
{
    struct buf *out = b->out;

    check(n_headers >= 0 && n_headers <= LIMIT_RECORD_HEADERS_MAX);
    if (b->count == 0) b->base_timestamp = timestamp_ms;
    uint64_t timestamp_delta = zigzag((int64_t)((uint64_t)timestamp_ms - (uint64_t)b->base_timestamp)); /* R5 */
    uint64_t offset_delta = (uint64_t)b->count << 1;
    size_t length = 1 + uvarint_len(timestamp_delta) + uvarint_len(offset_delta) + bytes_len(key) + bytes_len(value) +
                    uvarint_len((uint64_t)n_headers << 1);
    for (int32_t i = 0; i < n_headers; i++)
        length += bytes_len(headers[i].key) + bytes_len(headers[i].value);

    size_t total = uvarint_len((uint64_t)length << 1) + length;
    if (UNLIKELY(length > INT32_MAX || b->count == INT32_MAX)) {
        out->failed = true;
        return;
    }
    if (UNLIKELY(out->failed || total > out->cap - out->len) && !buf_reserve(out, total)) return;
    uint8_t *start = out->ptr + out->len, *p = start;
    p = put_uvarint(p, (uint64_t)length << 1);
    *p++ = 0;
    p = put_uvarint(p, timestamp_delta);
    p = put_uvarint(p, offset_delta);
    p = put_bytes(p, key);
    p = put_bytes(p, value);
    p = put_uvarint(p, (uint64_t)n_headers << 1);
    for (int32_t i = 0; i < n_headers; i++) {
        check(headers[i].key.ptr != NULL);
        p = put_bytes(p, headers[i].key);
        p = put_bytes(p, headers[i].value);
    }
    check((size_t)(p - start) == total);
    out->len += total;
    b->count++;
    if (timestamp_ms > b->max_timestamp) b->max_timestamp = timestamp_ms;
}

size_t batch_size(const struct batch_builder *b)
{
    return b->out->len - b->start;
}

/* Replaces the records behind the header by their compressed form. */
static enum err_code compress_records(struct batch_builder *b, struct err *e)
{
    struct buf *out = b->out;
    size_t from = b->start + BATCH_HEADER_LEN;
    struct buf packed;
    enum err_code rc;

    if (out->len - from > LIMIT_DECOMPRESSED_BYTES_MAX) {
        return err_set(e, ERR_TOO_LARGE, "batch of %zu bytes before compression", batch_size(b));
    }
    buf_init(&packed, 0);
    rc = codec_compress(b->codec, bytes_of(out->ptr + from, out->len - from), &packed, e);
    if (rc == ERR_NONE) {
        out->len = from;
        buf_put_bytes(out, buf_bytes(&packed));
        if (out->failed) rc = err_set(e, out->max ? ERR_LIMIT : ERR_MEMORY, "batch does not fit its buffer");
    }
    buf_deinit(&packed);
    return rc;
}

static void put_header(const struct batch_builder *b, uint8_t *p, size_t len)
{
    batch_stamp(p, 0, -1);
    be32_put(p + AT_LENGTH, (uint32_t)(len - BATCH_PREFIX_LEN));
    p[AT_MAGIC] = MAGIC;
    be16_put(p + AT_ATTRIBUTES, (uint16_t)((uint16_t)b->codec | (uint16_t)b->attributes));
    be32_put(p + AT_LAST_OFFSET_DELTA, (uint32_t)(b->count - 1));
    be64_put(p + AT_BASE_TIMESTAMP, (uint64_t)b->base_timestamp);
    be64_put(p + AT_MAX_TIMESTAMP, (uint64_t)b->max_timestamp);
    be64_put(p + AT_PRODUCER_ID, (uint64_t)b->producer_id);
    be16_put(p + AT_PRODUCER_EPOCH, (uint16_t)b->producer_epoch);
    be32_put(p + AT_BASE_SEQUENCE, (uint32_t)b->base_sequence);
    be32_put(p + AT_RECORD_COUNT, (uint32_t)b->count);
    put_crc(p, len); /* last: it covers all of the above from the attributes on */
}

enum err_code batch_finish(struct batch_builder *b, struct err *e)
{
    struct buf *out = b->out;
    enum err_code rc = ERR_NONE;

    if (out->failed) {
        rc = err_set(e, out->max ? ERR_LIMIT : ERR_MEMORY, "batch does not fit its buffer");
    } else {
        check(b->count > 0);
        if (b->codec != CODEC_NONE) rc = compress_records(b, e);
    }
    if (rc == ERR_NONE && batch_size(b) > LIMIT_REQUEST_BYTES_MAX) {
        rc = err_set(e, ERR_TOO_LARGE, "batch of %zu bytes", batch_size(b));
    }
    if (rc != ERR_NONE) {
        out->len = b->start;
        return rc;
    }
    put_header(b, out->ptr + b->start, batch_size(b));
    return ERR_NONE;
}
