/* reader.c: see reader.h. R1: at <= end at all times; a failed reader does not move. */
#include "base/reader.h"

#include "base/buf.h"
#include "base/check.h"

static const uint8_t *step(struct reader *r, size_t n)
{
    if (UNLIKELY(r->failed || (size_t)(r->end - r->at) < n)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = step(r, 1);
    return p ? *p : 0;
}

uint16_t reader_be16(struct reader *r)
{
    const uint8_t *p = step(r, 2);
    return p ? be16_get(p) : 0;
}

uint32_t reader_be32(struct reader *r)
{
    const uint8_t *p = step(r, 4);
    return p ? be32_get(p) : 0;
}

uint64_t reader_be64(struct reader *r)
{
    const uint8_t *p = step(r, 8);
    return p ? be64_get(p) : 0;
}

/* `bits` is 32 or 64. The last byte may carry only the bits that are left: 4 of 32 after 28, 1 of 64 after 63. */
static uint64_t read_uvarint(struct reader *r, unsigned bits)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < bits; shift += 7) {
        const uint8_t *p = step(r, 1);
        if (p == NULL) return 0;
        unsigned left = bits - shift;
        if (left < 7 && *p >> left != 0) break;
        v |= (uint64_t)(*p & 0x7f) << shift;
        if ((*p & 0x80) == 0) return v;
    }
    r->failed = true;
    return 0;
}

uint32_t reader_uvarint32(struct reader *r)
{
    return (uint32_t)read_uvarint(r, 32);
}

uint64_t reader_uvarint64(struct reader *r)
{
    return read_uvarint(r, 64);
}

int32_t reader_varint32(struct reader *r)
{
    uint32_t v = (uint32_t)read_uvarint(r, 32);
    return (int32_t)((v >> 1) ^ (0u - (v & 1)));
}

int64_t reader_varint64(struct reader *r)
{
    uint64_t v = read_uvarint(r, 64);
    return (int64_t)((v >> 1) ^ (0ull - (v & 1)));
}

struct bytes reader_take(struct reader *r, size_t n)
{
    const uint8_t *p = step(r, n);
    if (p == NULL && (r->failed || n != 0)) return BYTES_NULL;
    return bytes_of(p ? p : (const uint8_t *)"", n); /* a reader over nothing still hands out an empty, present value */
}
