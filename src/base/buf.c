/* buf.c: see buf.h.
 *
 * B1  len <= cap, and len <= max when max is set.
 * B2  failed is sticky until buf_clear: after the first write that did not fit, all later ones are dropped too, so
 *     that the content is a clean prefix of what was meant and never has a hole in the middle. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_CAP_FIRST 64u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "be*_get and the codecs swap bytes unconditionally");

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

static bool grow(struct buf *b, size_t more)
{
    size_t need, cap;

    if (b->failed) return false;
    if (__builtin_add_overflow(b->len, more, &need) || need > PTRDIFF_MAX || (b->max != 0 && need > b->max)) {
        b->failed = true;
        return false;
    }
    cap = b->cap < BUF_CAP_FIRST ? BUF_CAP_FIRST : b->cap;
    while (cap < need)
        cap *= 2; /* need <= PTRDIFF_MAX: no overflow before the loop ends */
    if (b->max != 0 && cap > b->max) cap = b->max;
    void *ptr = realloc(b->ptr, cap);
    if (ptr == NULL) {
        b->failed = true;
        return false;
    }
    b->ptr = ptr;
    b->cap = cap;
    return true;
}

static inline bool room(struct buf *b, size_t more)
{
    check(b->len <= b->cap); /* B1 */
    if (LIKELY(more <= b->cap - b->len && !b->failed)) return true;
    return grow(b, more);
}

bool buf_reserve(struct buf *b, size_t more)
{
    return room(b, more);
}

void *buf_extend(struct buf *b, size_t n)
{
    if (!room(b, b->ptr == NULL && n == 0 ? 1 : n)) return NULL;
    void *at = b->ptr + b->len;
    b->len += n;
    return at;
}

void buf_put(struct buf *b, const void *ptr, size_t n)
{
    if (n == 0 || !room(b, n)) return;
    memcpy(b->ptr + b->len, ptr, n);
    b->len += n;
}

void buf_put_bytes(struct buf *b, struct bytes v)
{
    buf_put(b, v.ptr, v.len);
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    if (!room(b, 1)) return;
    b->ptr[b->len++] = v;
}

void buf_put_be16(struct buf *b, uint16_t v)
{
    if (!room(b, 2)) return;
    be16_put(b->ptr + b->len, v);
    b->len += 2;
}

void buf_put_be32(struct buf *b, uint32_t v)
{
    if (!room(b, 4)) return;
    be32_put(b->ptr + b->len, v);
    b->len += 4;
}

void buf_put_be64(struct buf *b, uint64_t v)
{
    if (!room(b, 8)) return;
    be64_put(b->ptr + b->len, v);
    b->len += 8;
}

void buf_put_uvarint(struct buf *b, uint64_t v)
{
    uint8_t out[10];
    size_t n = 0;

    while (v >= 0x80) {
        out[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    buf_put(b, out, n);
}

void buf_put_varint(struct buf *b, int64_t v)
{
    buf_put_uvarint(b, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (b->failed) return;
    size_t left = b->cap - b->len;
    va_start(ap, fmt);
    n = vsnprintf(left ? (char *)b->ptr + b->len : NULL, left, fmt, ap);
    va_end(ap);
    check(n >= 0);
    if ((size_t)n >= left) {
        /* vsnprintf wants room for its NUL. With a bound, that one byte must not be what breaks it: write elsewhere. */
        char *text = malloc((size_t)n + 1);
        if (text == NULL) {
            b->failed = true;
            return;
        }
        va_start(ap, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
        buf_put(b, text, (size_t)n);
        free(text);
        return;
    }
    b->len += (size_t)n;
}

void buf_patch_be32(struct buf *b, size_t at, uint32_t v)
{
    if (b->failed && (b->len < 4 || at > b->len - 4)) return; /* the place itself was dropped */
    check(b->len >= 4 && at <= b->len - 4);
    be32_put(b->ptr + at, v);
}
