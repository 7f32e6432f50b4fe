/* text.c: see text.h. Numbers are parsed by our own grammar and only the hard roundings go to libc, whose strtod and
 * printf follow the host program's locale (a library may live in a process that called setlocale): the decimal point is
 * translated both ways. */
#include "base/text.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"

/* ---- integers, sizes, durations ---- */

/* Digits at the front of t; *used 0 when there is none. False: overflow. */
static bool scan_u64(struct bytes t, uint64_t *out, size_t *used)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < t.len && (uint8_t)(t.ptr[i] - '0') <= 9; i++) {
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(t.ptr[i] - '0'), &v))
            return false;
    }
    *out = v;
    *used = i;
    return true;
}

bool text_parse_i64(struct bytes t, int64_t *out)
{
    uint64_t v;
    size_t used;
    bool negative = false;

    if (t.ptr == NULL || t.len == 0) return false;
    if (t.ptr[0] == '-' || t.ptr[0] == '+') {
        negative = t.ptr[0] == '-';
        t = bytes_slice(t, 1, t.len - 1);
    }
    if (!scan_u64(t, &v, &used) || used == 0 || used != t.len) return false;
    if (v > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool text_parse_size(struct bytes t, uint64_t *out)
{
    uint64_t v, unit = 1;
    size_t i;
    unsigned power = 0;

    if (t.ptr == NULL || !scan_u64(t, &v, &i) || i == 0) return false;
    if (i < t.len) {
        uint8_t c = lower(t.ptr[i]);
        power = c == 'k' ? 1 : c == 'm' ? 2 : c == 'g' ? 3 : 0;
        if (power != 0) i++;
    }
    bool binary = power != 0 && i < t.len && lower(t.ptr[i]) == 'i';
    if (binary) i++;
    if (i < t.len && lower(t.ptr[i]) == 'b') i++;
    if (i != t.len) return false;
    while (power-- > 0)
        unit *= binary ? 1024 : 1000;
    return !__builtin_mul_overflow(v, unit, out);
}

bool text_parse_duration_ms(struct bytes t, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t ms;
    } UNITS[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    uint64_t v;
    size_t i;

    if (t.ptr == NULL || !scan_u64(t, &v, &i) || i == 0 || v > INT64_MAX) return false;
    for (size_t u = 0; u < ARRAY_LEN(UNITS); u++) {
        if (bytes_equal_str(bytes_slice(t, i, t.len - i), UNITS[u].name))
            return !__builtin_mul_overflow((int64_t)v, UNITS[u].ms, out);
    }
    return false;
}

size_t text_format_i64(char *out, int64_t v)
{
    char reversed[20];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t n = 0, len = 0;

    do {
        reversed[n++] = (char)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0) out[len++] = '-';
    while (n > 0)
        out[len++] = reversed[--n];
    out[len] = '\0';
    return len;
}

/* ---- doubles ---- */

#define F64_TEXT_LEN_MAX 1100 /* longer than any exact double; more digits than that are not a number anyone wrote */

static const double POW10[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The hard cases: libc rounds correctly. The grammar was checked by the caller. */
static bool parse_f64_slow(struct bytes t, double *out)
{
    char text[F64_TEXT_LEN_MAX + 8];
    const char *point = localeconv()->decimal_point;
    size_t n = 0, point_len = strlen(point);

    if (t.len > F64_TEXT_LEN_MAX || point_len > 4) return false;
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] == '.') {
            memcpy(text + n, point, point_len);
            n += point_len;
        } else {
            text[n++] = (char)t.ptr[i];
        }
    }
    text[n] = '\0';
    char *end;
    *out = strtod(text, &end);
    return end == text + n;
}

static bool parse_f64_word(struct bytes t, bool negative, double *out)
{
    if (bytes_equal_str(t, "NaN")) {
        *out = NAN;
    } else if (bytes_equal_str(t, "Infinity")) {
        *out = negative ? -INFINITY : INFINITY;
    } else {
        return false;
    }
    return true;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit before the exponent. When the digits fit 2^53 and the
 * power of ten is exact in a double, one multiplication or division rounds once and is right. */
bool text_parse_f64(struct bytes t, double *out)
{
    uint64_t mantissa = 0;
    int n_digits = 0, significant = 0, exponent = 0;
    bool negative = false, seen_point = false;
    size_t i = 0;

    if (t.ptr == NULL || t.len == 0) return false;
    if (t.ptr[0] == '-' || t.ptr[0] == '+') negative = t.ptr[i++] == '-';
    if (i < t.len && (t.ptr[i] == 'N' || t.ptr[i] == 'I')) {
        return parse_f64_word(bytes_slice(t, i, t.len - i), negative, out);
    }
    if (t.len > F64_TEXT_LEN_MAX) return false;
    for (; i < t.len; i++) {
        uint8_t c = t.ptr[i];
        if (c == '.' && !seen_point) {
            seen_point = true;
            continue;
        }
        if ((uint8_t)(c - '0') > 9) break;
        n_digits++;
        if (significant > 0 || c != '0') significant++;
        if (significant <= 18) mantissa = mantissa * 10 + (uint64_t)(c - '0');
        if (seen_point) exponent--;
    }
    if (n_digits == 0) return false;
    if (i < t.len && (t.ptr[i] == 'e' || t.ptr[i] == 'E')) {
        uint64_t e;
        size_t used;
        i++;
        bool down = i < t.len && t.ptr[i] == '-';
        if (i < t.len && (t.ptr[i] == '-' || t.ptr[i] == '+')) i++;
        if (!scan_u64(bytes_slice(t, i, t.len - i), &e, &used) || used == 0) return false;
        i += used;
        int shift = e > 100000 ? 100000 : (int)e;
        exponent += down ? -shift : shift;
    }
    if (i != t.len) return false;
    if (significant > 18 || mantissa > (1ull << 53) || exponent < -22 || exponent > 22) return parse_f64_slow(t, out);
    double v = (double)mantissa;
    v = exponent < 0 ? v / POW10[-exponent] : v * POW10[exponent];
    *out = negative ? -v : v;
    return true;
}

static size_t format_precision(char *out, double v, int precision)
{
    int n = snprintf(out, 32, "%.*g", precision, v);
    check(n > 0 && n < 32);
    const char *point = localeconv()->decimal_point;
    size_t point_len = strlen(point), len = (size_t)n;
    if (point_len == 1 && point[0] == '.') return len;
    char *at = point_len ? strstr(out, point) : NULL;
    if (at != NULL) {
        size_t rest = len - (size_t)(at - out) - point_len;
        *at = '.';
        memmove(at + 1, at + point_len, rest + 1);
        len -= point_len - 1;
    }
    return len;
}

size_t text_format_f64(char *out, double v)
{
    double back;

    if (isnan(v)) return (size_t)(stpcpy(out, "NaN") - out);
    if (isinf(v)) return (size_t)(stpcpy(out, v < 0 ? "-Infinity" : "Infinity") - out);
    if (v == 0) return (size_t)(stpcpy(out, signbit(v) ? "-0" : "0") - out);
    if (fabs(v) < 9007199254740992.0 && v == (double)(int64_t)v) return text_format_i64(out, (int64_t)v);
    /* A double that 15 digits or fewer name is named by %.15g, which drops trailing zeros. Denormals have fewer digits.
     */
    for (int precision = fabs(v) < DBL_MIN ? 1 : 15; precision < 17; precision++) {
        size_t len = format_precision(out, v, precision);
        if (text_parse_f64(bytes_of(out, len), &back) && back == v) return len;
    }
    return format_precision(out, v, 17);
}

/* ---- UTF-8 and JSON ---- */

/* Length of the sequence at p; or minus the length of the longest broken prefix of one (at least 1), as Unicode
 * recommends for replacement. p < end. */
static int utf8_step(const uint8_t *p, const uint8_t *end)
{
    uint8_t c = p[0], low = 0x80, high = 0xbf;
    int n;

    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return -1;
    if (c < 0xe0) {
        n = 2;
    } else if (c < 0xf0) {
        n = 3;
        if (c == 0xe0) low = 0xa0;  /* overlong */
        if (c == 0xed) high = 0x9f; /* surrogates */
    } else {
        n = 4;
        if (c == 0xf0) low = 0x90;  /* overlong */
        if (c == 0xf4) high = 0x8f; /* above U+10FFFF */
    }
    for (int i = 1; i < n; i++) {
        if (p + i == end || p[i] < low || p[i] > high) return -i;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

/* Nonzero when one of the 8 bytes is a control, a quote, a backslash or not ASCII. May be nonzero for others: a hint.
 */
static uint64_t special_in(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\');
    return (w | (w - ones * 0x20) | (quote - ones) | (slash - ones)) & highs;
}

/* First byte of [p, end) that JSON cannot carry as it is, looking at UTF-8 too. */
static const uint8_t *plain_end(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        uint64_t w;
        while (end - p >= 8 && (memcpy(&w, p, 8), special_in(w) == 0))
            p += 8;
        if (p == end || *p < 0x20 || *p == '"' || *p == '\\') break;
        int n = utf8_step(p, end);
        if (n < 0) break;
        p += n;
    }
    return p;
}

bool text_is_utf8(struct bytes t)
{
    const uint8_t *p = t.ptr, *end = t.ptr ? t.ptr + t.len : NULL;
    while (p < end) {
        uint64_t w;
        if (end - p >= 8 && (memcpy(&w, p, 8), (w & 0x8080808080808080ull) == 0)) {
            p += 8;
            continue;
        }
        int n = utf8_step(p, end);
        if (n < 0) return false;
        p += n;
    }
    return true;
}

static void put_escape(struct buf *out, uint8_t c)
{
    static const char HEX[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};
    switch (c) {
    case '"':
    case '\\': text[1] = (char)c; break;
    case '\b': text[1] = 'b'; break;
    case '\f': text[1] = 'f'; break;
    case '\n': text[1] = 'n'; break;
    case '\r': text[1] = 'r'; break;
    case '\t': text[1] = 't'; break;
    default: buf_put(out, text, 6); return;
    }
    buf_put(out, text, 2);
}

void text_put_json_string(struct buf *out, struct bytes v)
{
    const uint8_t *p = v.ptr, *end = v.ptr ? v.ptr + v.len : NULL;

    if (!buf_reserve(out, v.len + 2)) return;
    buf_put_u8(out, '"');
    while (p < end) {
        const uint8_t *stop = plain_end(p, end);
        buf_put(out, p, (size_t)(stop - p));
        p = stop;
        if (p == end) break;
        if (*p < 0x80) {
            put_escape(out, *p++);
        } else {
            buf_put(out, "\xef\xbf\xbd", 3);
            p -= utf8_step(p, end);
        }
    }
    buf_put_u8(out, '"');
}

/* ---- comparing ---- */

bool text_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len || (a.ptr == NULL) != (b.ptr == NULL)) return false;
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.ptr[i]) != lower(b.ptr[i])) return false;
    }
    return true;
}

/* Optimal string alignment: insert, delete, replace, and swap of neighbours, the commonest slip, count one each. */
unsigned text_distance(const char *a, const char *b)
{
    enum { LEN_MAX = 64 };
    unsigned rows[3][LEN_MAX + 1];
    size_t n = strnlen(a, LEN_MAX + 1), m = strnlen(b, LEN_MAX + 1);

    if (n > LEN_MAX || m > LEN_MAX) return UINT_MAX;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[n % 3][m];
}

bool text_is_topic_name(struct bytes name)
{
    if (name.len < 1 || name.len > LIMIT_TOPIC_NAME_LEN_MAX) return false;
    if (bytes_equal_str(name, ".") || bytes_equal_str(name, "..")) return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
        if (!fine) return false;
    }
    return true;
}
