/* reader.h: a bounds-checked cursor over outside bytes. A read past the end sets `failed`, returns 0 and stays failed,
 * so a parser may read a whole struct and test once. Never reads outside [at, end). Any thread; borrows the bytes. */
#ifndef WEIR_BASE_READER_H
#define WEIR_BASE_READER_H

#include "base/bytes.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.ptr, b.ptr ? b.ptr + b.len : b.ptr, false};
}
static inline size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}
uint8_t reader_u8(struct reader *r);
uint16_t reader_be16(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);
/* LEB128 of at most 5 (32 bit) or 10 (64 bit) bytes; longer or overflowing: failed. Padded forms within that are
 * accepted. */
uint32_t reader_uvarint32(struct reader *r);
uint64_t reader_uvarint64(struct reader *r);
int32_t reader_varint32(struct reader *r); /* zigzag */
int64_t reader_varint64(struct reader *r); /* zigzag */
/* n bytes as a view; too few left: failed and BYTES_NULL. */
struct bytes reader_take(struct reader *r, size_t n);

#endif
