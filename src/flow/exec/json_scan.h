/* json_scan.h: the inner loops of JSON: strings, numbers and values to be skipped. Every function takes a cursor inside
 * [at, end], never reads outside, and on failure says what was wrong and leaves `at` at the byte that was. Private to
 * json*.c. */
#ifndef WEIR_FLOW_EXEC_JSON_SCAN_H
#define WEIR_FLOW_EXEC_JSON_SCAN_H

#include "base/arena.h"
#include "base/bytes.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define JSON_DEPTH_MAX 2048 /* nesting; deeper is malformed. As jansson's */

struct json_scan {
    const uint8_t *begin, *at, *end;
    const char *what; /* of the failure */
};

enum { JSON_ESCAPES = 1, JSON_HIGH = 2 }; /* what a string contained: backslashes; bytes above 127 */

static inline bool json_fail(struct json_scan *s, const char *what)
{
    s->what = what;
    return false;
}

static inline void json_skip_ws(struct json_scan *s)
{
    if (LIKELY(s->at<s->end && * s->at> ' ')) return; /* producers seldom write blanks */
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

/* `at` is behind the opening quote; afterwards behind the closing one. */
bool json_string_slow(struct json_scan *s, const uint8_t *from, unsigned flags);
static inline bool json_string(struct json_scan *s, unsigned *flags)
{
    const uint8_t *from = s->at;
    *flags = 0;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
    while (s->end - s->at >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)s->at);
        __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                    _mm_cmpeq_epi8(_mm_min_epu8(v, control), v));
        unsigned mask = (unsigned)_mm_movemask_epi8(stop), high = (unsigned)_mm_movemask_epi8(v);
        if (mask == 0) {
            if (high) *flags |= JSON_HIGH;
            s->at += 16;
            continue;
        }
        unsigned at = (unsigned)__builtin_ctz(mask);
        if (high & ((1u << at) - 1)) *flags |= JSON_HIGH;
        s->at += at;
        if (*s->at == '"' && *flags == 0) {
            s->at++;
            return true;
        }
        break;
    }
#endif
    /* The tail, escapes, bytes above 127 and everything that is wrong. */
    if (s->at < s->end && *s->at == '"' && *flags == 0) {
        s->at++;
        return true;
    }
    unsigned before = *flags;
    const uint8_t *stop = s->at;
    bool ok = json_string_slow(s, from, before);
    if (ok) {
        *flags |= memchr(stop, '\\', (size_t)(s->at - stop)) ? JSON_ESCAPES : 0;
    }
    return ok;
}

/* A number by JSON's grammar. *is_integer: no fraction and no exponent. */
static inline bool json_number(struct json_scan *s, bool *is_integer)
{
    const uint8_t *p = s->at, *end = s->end;
    if (p < end && *p == '-') p++;
    if (p < end && *p == '0') {
        p++;
    } else {
        const uint8_t *digits = p;
        while (p < end && (uint8_t)(*p - '0') < 10)
            p++;
        if (p == digits) {
            s->at = p;
            return json_fail(s, "expected a digit");
        }
    }
    *is_integer = true;
    if (p < end && *p == '.') {
        const uint8_t *digits = ++p;
        while (p < end && (uint8_t)(*p - '0') < 10)
            p++;
        *is_integer = false;
        if (p == digits) {
            s->at = p;
            return json_fail(s, "expected a digit after the decimal point");
        }
    }
    if (p < end && (*p | 0x20) == 'e') {
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        const uint8_t *digits = p;
        while (p < end && (uint8_t)(*p - '0') < 10)
            p++;
        *is_integer = false;
        if (p == digits) {
            s->at = p;
            return json_fail(s, "expected a digit in the exponent");
        }
    }
    s->at = p;
    return true;
}

/* Any value, checked in full. `depth`: how deep `at` is nested already. */
bool json_skip_value(struct json_scan *s, unsigned depth);
static inline bool json_skip(struct json_scan *s)
{
    unsigned flags;
    bool is_integer;
    if (s->at < s->end && *s->at == '"') {
        s->at++;
        return json_string(s, &flags);
    }
    if (s->at < s->end && ((uint8_t)(*s->at - '0') < 10 || *s->at == '-')) return json_number(s, &is_integer);
    return json_skip_value(s, 1);
}

/* The text of a checked string with escapes, as UTF-8 in `arena`. */
struct bytes json_unescape(struct bytes raw, struct arena *arena);

#endif
