/* snappy.c: the raw snappy block format.
 *
 *   block    = expanded length (LEB128, at most 32 bit), then elements
 *   element  = tag byte, whose low two bits are the kind:
 *     00 literal  upper 6 bits: length - 1 if below 60; else 60..63: length - 1 follows in 1..4 bytes
 *     01 copy     3 bits length - 4, 3 bits of offset above 8 bits in the next byte
 *     10 copy     6 bits length - 1, offset in 2 bytes
 *     11 copy     6 bits length - 1, offset in 4 bytes
 *   (all little-endian; a copy may overlap its own output)
 *
 * S1  The decompressor reads only [in, in + len) and writes only [out, out + len); every element is tested against both
 *     before it acts. Wide copies happen only where both sides have the slack.
 * S2  It succeeds only when input and output end together.
 * The compressor is the format's usual one: fragments of 64 KiB, a table of 16-bit positions hashed by 4 bytes, and
 * steps that grow while nothing matches, so that incompressible input costs little. */
#include "base/snappy.h"

#define FRAGMENT_LEN (64u << 10)
#define TABLE_BITS_MAX 14
#define MARGIN 15 /* the match loop stops this far from the end, so that 8-byte loads stay inside */

enum { KIND_LITERAL = 0, KIND_COPY1 = 1, KIND_COPY2 = 2, KIND_COPY4 = 3 };

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

size_t snappy_block_bound(size_t n)
{
    check(n <= INT32_MAX);
    return 32 + n + n / 6;
}

/* ---- compressing ---- */

static uint8_t *put_literal(uint8_t *out, const uint8_t *from, const uint8_t *to)
{
    size_t n = (size_t)(to - from);

    if (n == 0) return out;
    if (n <= 60) {
        *out++ = (uint8_t)((n - 1) << 2 | KIND_LITERAL);
    } else if (n <= 256) {
        *out++ = 60 << 2 | KIND_LITERAL;
        *out++ = (uint8_t)(n - 1);
    } else { /* a fragment is 64 KiB at most */
        *out++ = 61 << 2 | KIND_LITERAL;
        *out++ = (uint8_t)(n - 1);
        *out++ = (uint8_t)((n - 1) >> 8);
    }
    memcpy(out, from, n);
    return out + n;
}

static inline uint8_t *put_copy2(uint8_t *out, size_t offset, size_t len)
{
    *out++ = (uint8_t)((len - 1) << 2 | KIND_COPY2);
    *out++ = (uint8_t)offset;
    *out++ = (uint8_t)(offset >> 8);
    return out;
}

/* len >= 4, offset in 1..65535 */
static uint8_t *put_copy(uint8_t *out, size_t offset, size_t len)
{
    for (; len >= 68; len -= 64)
        out = put_copy2(out, offset, 64);
    if (len > 64) { /* leave at least 4, the least a copy with a 1-byte offset can say */
        out = put_copy2(out, offset, 60);
        len -= 60;
    }
    if (len >= 12 || offset >= 2048) return put_copy2(out, offset, len);
    *out++ = (uint8_t)((offset >> 8) << 5 | (len - 4) << 2 | KIND_COPY1);
    *out++ = (uint8_t)offset;
    return out;
}

/* Length of the common prefix of a and b; b < end and a < b. */
static size_t match_len(const uint8_t *a, const uint8_t *b, const uint8_t *end)
{
    const uint8_t *start = b;

    while (end - b >= 8) {
        uint64_t diff = load64(a) ^ load64(b);
        if (diff != 0) return (size_t)(b - start) + (size_t)__builtin_ctzll(diff) / 8;
        a += 8;
        b += 8;
    }
    while (b < end && *a == *b) {
        a++;
        b++;
    }
    return (size_t)(b - start);
}

static inline uint32_t hash_of(uint32_t word, int bits)
{
    return (word * 0x1e35a7bdu) >> (32 - bits);
}

static uint8_t *compress_fragment(const uint8_t *in, size_t n, uint8_t *out, uint16_t *table, int bits)
{
    const uint8_t *end = in + n;
    const uint8_t *literal = in; /* first byte not yet written */

    if (n < MARGIN) return put_literal(out, literal, end);
    const uint8_t *limit = end - MARGIN;
    const uint8_t *at = in + 1;
    while (at <= limit) {
        const uint8_t *candidate;
        uint32_t skip = 32;
        for (;; at += skip++ >> 5) { /* look further and further apart while nothing matches */
            if (at > limit) return put_literal(out, literal, end);
            uint32_t h = hash_of(load32(at), bits);
            candidate = in + table[h];
            table[h] = (uint16_t)(at - in);
            if (load32(at) == load32(candidate)) break;
        }
        out = put_literal(out, literal, at);
        for (;;) { /* copies that follow each other without a literal between */
            size_t len = 4 + match_len(candidate + 4, at + 4, end);
            out = put_copy(out, (size_t)(at - candidate), len);
            at += len;
            literal = at;
            if (at > limit) return put_literal(out, literal, end);
            table[hash_of(load32(at - 1), bits)] = (uint16_t)(at - 1 - in);
            uint32_t h = hash_of(load32(at), bits);
            candidate = in + table[h];
            table[h] = (uint16_t)(at - in);
            if (load32(at) != load32(candidate)) break;
        }
        at++;
    }
    return put_literal(out, literal, end);
}

size_t snappy_block_compress(struct bytes in, uint8_t *out)
{
    uint16_t table[1 << TABLE_BITS_MAX];
    uint8_t *start = out;
    size_t left = in.len;
    const uint8_t *p = in.ptr;

    check(in.len <= INT32_MAX);
    for (; left >= 0x80; left >>= 7)
        *out++ = (uint8_t)(left | 0x80);
    *out++ = (uint8_t)left;
    for (left = in.len; left > 0;) {
        size_t n = left < FRAGMENT_LEN ? left : FRAGMENT_LEN;
        int bits = 8;
        while (bits < TABLE_BITS_MAX && (1u << bits) < n)
            bits++;
        memset(table, 0, sizeof table[0] << bits);
        out = compress_fragment(p, n, out, table, bits);
        p += n;
        left -= n;
    }
    return (size_t)(out - start);
}

/* ---- expanding ---- */

/* Reads the expanded length; returns how many bytes it took, 0 when malformed. */
static size_t read_length(struct bytes in, size_t *len)
{
    uint64_t v = 0;

    for (size_t i = 0; i < 5 && i < in.len; i++) {
        v |= (uint64_t)(in.ptr[i] & 0x7f) << (7 * i);
        if ((in.ptr[i] & 0x80) == 0) {
            *len = (size_t)v;
            return v <= UINT32_MAX ? i + 1 : 0;
        }
    }
    return 0;
}

bool snappy_block_length(struct bytes in, size_t *len)
{
    size_t used = read_length(in, len);
    /* The best element is a copy of 64 bytes for 3. A larger claim is a lie; nothing is allocated for it. */
    return used != 0 && (uint64_t)*len * 3 <= (uint64_t)(in.len - used) * 64;
}

/* n bytes from out - offset to out, byte by byte in effect: they may overlap. room >= n is what is left behind out. */
static inline void copy_within(uint8_t *out, size_t offset, size_t n, size_t room)
{
    const uint8_t *from = out - offset;

    if (offset >= 8 && room >= n + 8) {
        for (size_t i = 0; i < n; i += 8)
            memcpy(out + i, from + i, 8);
    } else if (offset >= n) {
        memcpy(out, from, n);
    } else {
        for (size_t i = 0; i < n; i++)
            out[i] = from[i];
    }
}

bool snappy_block_decompress(struct bytes in, uint8_t *out, size_t len)
{
    size_t claimed = 0;
    size_t used = read_length(in, &claimed);
    if (used == 0 || claimed != len) return false;
    const uint8_t *p = in.ptr + used, *end = in.ptr + in.len;
    size_t done = 0;

    while (p < end) {
        uint8_t tag = *p++;
        size_t n, offset, left = (size_t)(end - p);
        switch (tag & 3) {
        case KIND_LITERAL:
            n = (size_t)(tag >> 2) + 1;
            if (n > 60) {
                size_t extra = n - 60;
                if (left < extra) return false;
                n = 0;
                for (size_t i = 0; i < extra; i++)
                    n |= (size_t)p[i] << (8 * i);
                n++;
                p += extra;
                left -= extra;
            } else if (n <= 16 && left >= 16 && len - done >= 16) {
                memcpy(out + done, p, 16); /* fixed size: no call */
                p += n;
                done += n;
                continue;
            }
            if (n > left || n > len - done) return false;
            memcpy(out + done, p, n);
            p += n;
            done += n;
            continue;
        case KIND_COPY1:
            if (left < 1) return false;
            n = (size_t)((tag >> 2) & 7) + 4;
            offset = (size_t)(tag >> 5) << 8 | p[0];
            p += 1;
            break;
        case KIND_COPY2:
            if (left < 2) return false;
            n = (size_t)(tag >> 2) + 1;
            offset = (size_t)p[0] | (size_t)p[1] << 8;
            p += 2;
            break;
        default:
            if (left < 4) return false;
            n = (size_t)(tag >> 2) + 1;
            offset = load32(p);
            p += 4;
            break;
        }
        if (offset == 0 || offset > done || n > len - done) return false;
        copy_within(out + done, offset, n, len - done);
        done += n;
    }
    return done == len;
}
