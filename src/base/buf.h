/* buf.h: a growing byte buffer with big-endian, varint and text writers. One owner. Growth doubles; buf_clear keeps the
 * memory. A cap set at init bounds it: writes beyond it set `failed`; that write and all later ones are dropped, so
 * that a run of puts needs one test at the end and the content is a clean prefix. */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include "base/bytes.h"
#include "base/check.h"

struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t max;  /* 0: no bound */
    bool failed; /* a write did not fit `max` or memory ran out; content up to then is intact */
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);
void buf_clear(struct buf *b);                /* len = 0, failed = false, memory kept */
bool buf_reserve(struct buf *b, size_t more); /* false: failed is set */
void *buf_extend(struct buf *b, size_t n);    /* n writable bytes at the end, NULL when failed */
void buf_put(struct buf *b, const void *ptr, size_t n);
void buf_put_bytes(struct buf *b, struct bytes v);
void buf_put_str(struct buf *b, const char *s);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
void buf_put_uvarint(struct buf *b, uint64_t v); /* LEB128 */
void buf_put_varint(struct buf *b, int64_t v);   /* zigzag LEB128 */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_patch_be32(struct buf *b, size_t at, uint32_t v);
static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->ptr ? b->ptr : (const uint8_t *)"", b->len);
}

/* Unaligned big-endian access. */
static inline uint16_t be16_get(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return __builtin_bswap16(v);
}
static inline uint32_t be32_get(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline uint64_t be64_get(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}
static inline void be16_put(uint8_t *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, 2);
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}

#endif
