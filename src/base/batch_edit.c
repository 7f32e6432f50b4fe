/* batch_edit.c: record batches with records taken out.
 *
 * E1  What is kept of a record is copied, never decoded and encoded again: key, value and headers are the same bytes.
 *     Only the two deltas in front of them are written anew.
 * E2  Timestamps are deltas to the header's base timestamp, and a delete horizon takes its place there (Kafka's rule):
 *     the deltas are then to the horizon, so that readers who know nothing of it see the old timestamps.
 * E3  Last offset delta and base sequence stay, whatever goes: with them go the offsets and the producer's sequence.
 * E4  The largest timestamp is that of what is kept, so that a search by time finds a record in the batch it is sent
 *     to. With LogAppendTime it is every record's and stays. An emptied batch has -1. */
#include "base/batch_edit.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"

enum {
    AT_LENGTH = 8,
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

void batch_edit_init(struct batch_edit *x)
{
    *x = (struct batch_edit){0};
    buf_init(&x->plain, 0);
}

void batch_edit_deinit(struct batch_edit *x)
{
    free(x->items);
    buf_deinit(&x->plain);
    *x = (struct batch_edit){0};
}

void batch_edit_begin(struct batch_edit *x, const struct batch_view *v)
{
    x->n = 0;
    x->view = *v;
}

void batch_edit_keep(struct batch_edit *x, const struct batch_iter *it, const struct record *r)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? 2 * x->cap : 64;
        struct batch_edit_item *grown = realloc(x->items, cap * sizeof(*grown));
        check(grown != NULL);
        x->items = grown;
        x->cap = cap;
    }
    check(it->at > it->fields);
    x->items[x->n++] = (struct batch_edit_item){.fields = it->fields,
                                                .len = (uint32_t)(it->at - it->fields),
                                                .offset_delta = it->last_delta,
                                                .timestamp = r->timestamp};
}

static size_t varint_len(int64_t v)
{
    uint64_t z = ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
    unsigned bits = 64 - (unsigned)__builtin_clzll(z | 1);
    return (bits * 9 + 64) / 64;
}

/* E1 */
static void put_item(struct buf *out, const struct batch_edit_item *item, int64_t base_timestamp)
{
    int64_t timestamp_delta = (int64_t)((uint64_t)item->timestamp - (uint64_t)base_timestamp);
    size_t length = 1 + varint_len(timestamp_delta) + varint_len(item->offset_delta) + item->len;

    buf_put_varint(out, (int64_t)length);
    buf_put_u8(out, 0);
    buf_put_varint(out, timestamp_delta);
    buf_put_varint(out, item->offset_delta);
    buf_put(out, item->fields, item->len);
}

static int64_t max_timestamp(const struct batch_edit *x) /* E4 */
{
    int64_t max = INT64_MIN;

    if (x->view.attributes & BATCH_ATTR_LOG_APPEND_TIME) return x->view.max_timestamp;
    for (size_t i = 0; i < x->n; i++)
        if (x->items[i].timestamp > max) max = x->items[i].timestamp;
    return max;
}

static enum err_code put_records(struct batch_edit *x, int64_t base_timestamp, struct buf *out, struct err *e)
{
    enum batch_codec codec = batch_codec(&x->view);
    struct buf *plain = codec == CODEC_NONE ? out : &x->plain;

    buf_clear(&x->plain);
    for (size_t i = 0; i < x->n; i++)
        put_item(plain, &x->items[i], base_timestamp);
    if (plain->failed) return err_set(e, plain->max ? ERR_LIMIT : ERR_MEMORY, "batch does not fit its buffer");
    if (codec == CODEC_NONE) return ERR_NONE;
    if (plain->len > LIMIT_DECOMPRESSED_BYTES_MAX)
        return err_set(e, ERR_TOO_LARGE, "batch of %zu bytes before compression", plain->len);
    return codec_compress(codec, buf_bytes(plain), out, e);
}

enum err_code batch_edit_finish(struct batch_edit *x, int64_t horizon_ms, struct buf *out, struct err *e)
{
    const struct batch_view *v = &x->view;
    size_t start = out->len;
    int64_t base_timestamp = horizon_ms >= 0 ? horizon_ms : v->base_timestamp; /* E2 */

    check(x->n > 0 && !out->failed);
    uint8_t *head = buf_extend(out, BATCH_HEADER_LEN);
    if (head == NULL) return err_set(e, out->max ? ERR_LIMIT : ERR_MEMORY, "batch does not fit its buffer");
    memcpy(head, v->bytes.ptr, BATCH_HEADER_LEN);
    enum err_code rc = put_records(x, base_timestamp, out, e);
    size_t len = out->len - start;
    if (rc == ERR_NONE && len > LIMIT_BATCH_BYTES_MAX) rc = err_set(e, ERR_TOO_LARGE, "batch of %zu bytes", len);
    if (rc != ERR_NONE) {
        out->len = start;
        out->failed = false;
        return rc;
    }
    head = out->ptr + start;
    be32_put(head + AT_LENGTH, (uint32_t)(len - BATCH_PREFIX_LEN));
    if (horizon_ms >= 0) be16_put(head + AT_ATTRIBUTES, (uint16_t)(v->attributes | BATCH_ATTR_HORIZON));
    be64_put(head + AT_BASE_TIMESTAMP, (uint64_t)base_timestamp);
    be64_put(head + AT_MAX_TIMESTAMP, (uint64_t)max_timestamp(x));
    be32_put(head + AT_RECORD_COUNT, (uint32_t)x->n);
    be32_put(head + AT_CRC, crc32c(0, head + BATCH_CRC_FROM, len - BATCH_CRC_FROM));
    return ERR_NONE;
}

void batch_empty(uint8_t out[BATCH_HEADER_LEN], int64_t first, int64_t last, int32_t leader_epoch,
                 const struct batch_view *like)
{
    uint16_t attributes = 0;

    check(first <= last && last - first < INT32_MAX);
    if (like) attributes = (uint16_t)like->attributes & (uint16_t) ~(BATCH_ATTR_CODEC_MASK | BATCH_ATTR_HORIZON);
    batch_stamp(out, first, leader_epoch);
    be32_put(out + AT_LENGTH, BATCH_HEADER_LEN - BATCH_PREFIX_LEN);
    out[AT_MAGIC] = 2;
    be16_put(out + AT_ATTRIBUTES, attributes);
    be32_put(out + AT_LAST_OFFSET_DELTA, (uint32_t)(last - first)); /* E3 */
    be64_put(out + AT_BASE_TIMESTAMP, (uint64_t)-1);
    be64_put(out + AT_MAX_TIMESTAMP, (uint64_t)-1); /* E4 */
    be64_put(out + AT_PRODUCER_ID, (uint64_t)(like ? like->producer_id : -1));
    be16_put(out + AT_PRODUCER_EPOCH, (uint16_t)(like ? like->producer_epoch : -1));
    be32_put(out + AT_BASE_SEQUENCE, (uint32_t)(like ? like->base_sequence : -1));
    be32_put(out + AT_RECORD_COUNT, 0);
    be32_put(out + AT_CRC, crc32c(0, out + BATCH_CRC_FROM, BATCH_HEADER_LEN - BATCH_CRC_FROM));
}
