/* Kernels over strings. Positions and lengths count code points; ASCII takes the short way where it matters. Results
 * are views into their arguments where they can be, else bytes in the chunk's arena. */
#include "flow/exec/kernels.h"

#include <utf8proc.h>

#define STRING_LEN_MAX                                                                                                 \
    (1u << 20) /* of LPAD, RPAD and REPLACE results: a small row must not ask for gigabytes; more: bad row */
#define CHUNK_TEXT_BYTES_MAX ((size_t)64 << 20) /* of all that is computed for one chunk; more: bad row */

size_t utf8_length(struct bytes s)
{
    size_t n = 0;
    const uint8_t *end = s.ptr + s.len;
    for (const uint8_t *p = s.ptr; p < end; p = utf8_step(p, end))
        n++;
    return n;
}

size_t utf8_offset(struct bytes s, size_t characters)
{
    const uint8_t *p = s.ptr, *end = s.ptr + s.len;
    if (characters >= s.len) return s.len;
    for (; characters > 0 && p < end; characters--)
        p = utf8_step(p, end);
    return (size_t)(p - s.ptr);
}

uint8_t *text_room(struct call *k, int row, size_t n)
{
    size_t used = k->ev->arena->used_bytes;
    if (n > CHUNK_TEXT_BYTES_MAX || used > CHUNK_TEXT_BYTES_MAX - n) {
        row_fail(k, row, "the texts computed for this row and those read with it take more than 64 MiB");
        return NULL;
    }
    return arena_alloc(k->ev->arena, n + 1);
}

static struct bytes join(struct call *k, int row, struct bytes a, struct bytes b)
{
    uint8_t *out = text_room(k, row, a.len + b.len);
    if (out == NULL) return bytes_slice(a, 0, 0);
    if (a.len) memcpy(out, a.ptr, a.len);
    if (b.len) memcpy(out + a.len, b.ptr, b.len);
    return bytes_of(out, a.len + b.len);
}

void kernel_CONCAT(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = join(k, i, ARG_S(k, 0, i), ARG_S(k, 1, i));
}

void kernel_CONCAT_N(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        size_t len = 0, at = 0;
        for (int a = 0; a < k->n_args; a++)
            len += ARG_S(k, a, i).len;
        uint8_t *out = text_room(k, i, len);
        if (out == NULL) len = 0;
        for (int a = 0; a < k->n_args && out; a++) {
            struct bytes s = ARG_S(k, a, i);
            if (s.len) memcpy(out + at, s.ptr, s.len);
            at += s.len;
        }
        k->out->s[i] = bytes_of(out, len);
    }
}

/* ---- case ---- */

static struct bytes change_case_unicode(struct call *k, int row, struct bytes s, bool upper)
{
    uint8_t *out = text_room(k, row, s.len * 4);
    if (out == NULL) return s;
    const uint8_t *p = s.ptr, *end = s.ptr + s.len;
    size_t n = 0;
    while (p < end) {
        utf8proc_int32_t c;
        utf8proc_ssize_t len = utf8proc_iterate(p, end - p, &c);
        if (len <= 0) { /* not UTF-8: kept */
            out[n++] = *p++;
            continue;
        }
        p += len;
        n += (size_t)utf8proc_encode_char(upper ? utf8proc_toupper(c) : utf8proc_tolower(c), out + n);
    }
    return bytes_of(out, n);
}

static struct bytes change_case(struct call *k, int row, struct bytes s, bool upper)
{
    uint8_t *out = text_room(k, row, s.len), high = 0;
    if (out == NULL) return s;
    uint8_t first = upper ? 'a' : 'A';
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        high |= c;
        out[i] = c ^ (uint8_t)(((uint8_t)(c - first) < 26) << 5);
    }
    return high & 0x80 ? change_case_unicode(k, row, s, upper) : bytes_of(out, s.len);
}

void kernel_UPPER(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = change_case(k, i, ARG_S(k, 0, i), true);
}
void kernel_LOWER(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = change_case(k, i, ARG_S(k, 0, i), false);
}

void kernel_CHAR_LENGTH(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->i[i] = (int64_t)utf8_length(ARG_S(k, 0, i));
}

/* ---- parts ---- */

/* Flink: position 0 counts as 1, a negative one from the end; outside of the string: ''. */
static struct bytes substring(struct bytes s, int64_t position, int64_t length)
{
    struct bytes empty = bytes_of("", 0);
    int64_t n = (int64_t)utf8_length(s), start = position > 0 ? position - 1 : position < 0 ? n + position : 0;
    if (s.len == 0 || length <= 0 || start < 0 || start >= n) return empty;
    if (length > n - start) length = n - start;
    size_t from = utf8_offset(s, (size_t)start);
    struct bytes rest = bytes_slice(s, from, s.len - from);
    return bytes_slice(rest, 0, utf8_offset(rest, (size_t)length));
}

void kernel_SUBSTRING2(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = substring(ARG_S(k, 0, i), ARG_I(k, 1, i), INT64_MAX);
}
void kernel_SUBSTRING3(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        if (ARG_I(k, 2, i) < 0)
            row_fail(k, i, "SUBSTRING with a negative length");
        else
            k->out->s[i] = substring(ARG_S(k, 0, i), ARG_I(k, 1, i), ARG_I(k, 2, i));
    }
}
void kernel_LEFT(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = substring(ARG_S(k, 0, i), 1, ARG_I(k, 1, i));
}
void kernel_RIGHT(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        int64_t n = ARG_I(k, 1, i), len = (int64_t)utf8_length(s);
        k->out->s[i] = n <= 0 ? bytes_of("", 0) : n >= len ? s : substring(s, -n, n);
    }
}

static struct bytes trim(struct bytes s, bool left, bool right)
{
    while (left && s.len && s.ptr[0] == ' ')
        s = bytes_slice(s, 1, s.len - 1);
    while (right && s.len && s.ptr[s.len - 1] == ' ')
        s.len--;
    return s;
}
void kernel_TRIM(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = trim(ARG_S(k, 0, i), true, true);
}
void kernel_LTRIM(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = trim(ARG_S(k, 0, i), true, false);
}
void kernel_RTRIM(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = trim(ARG_S(k, 0, i), false, true);
}

static const uint8_t *find(struct bytes hay, struct bytes needle)
{
    if (needle.len == 0) return hay.ptr;
    return memmem(hay.ptr, hay.len, needle.ptr, needle.len);
}

static struct bytes replace(struct call *k, int row, struct bytes s, struct bytes from, struct bytes to)
{
    size_t hits = 0, at = 0;
    struct bytes rest = s;
    const uint8_t *hit;
    if (from.len == 0) return s;
    while ((hit = find(rest, from)) != NULL) {
        hits++;
        rest = bytes_of(hit + from.len, (size_t)(s.ptr + s.len - hit) - from.len);
    }
    if (hits == 0) return s;
    size_t len = s.len - hits * from.len + hits * to.len;
    if (len > STRING_LEN_MAX && len > s.len) {
        row_fail(k, row, "the result of REPLACE is longer than 1 MiB");
        return s;
    }
    uint8_t *out = text_room(k, row, len);
    if (out == NULL) return s;
    for (rest = s; (hit = find(rest, from)) != NULL;) {
        size_t before = (size_t)(hit - rest.ptr);
        memcpy(out + at, rest.ptr, before);
        if (to.len) memcpy(out + at + before, to.ptr, to.len);
        at += before + to.len;
        rest = bytes_of(hit + from.len, rest.len - before - from.len);
    }
    memcpy(out + at, rest.ptr, rest.len);
    return bytes_of(out, len);
}
void kernel_REPLACE(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = replace(k, i, ARG_S(k, 0, i), ARG_S(k, 1, i), ARG_S(k, 2, i));
}

void kernel_POSITION(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes hay = ARG_S(k, 1, i);
        const uint8_t *hit = find(hay, ARG_S(k, 0, i));
        k->out->i[i] = hit ? (int64_t)utf8_length(bytes_of(hay.ptr, (size_t)(hit - hay.ptr))) + 1 : 0;
    }
}

static void pad(struct call *k, bool left)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i), fill = ARG_S(k, 2, i);
        int64_t want = ARG_I(k, 1, i), have = (int64_t)utf8_length(s);
        if (want < 0 || want > STRING_LEN_MAX) {
            row_fail(k, i, "the length to pad to is negative or above 1 MiB");
            continue;
        }
        if (want <= have) {
            k->out->s[i] = bytes_slice(s, 0, utf8_offset(s, (size_t)want));
            continue;
        }
        if (fill.len == 0) {
            row_fail(k, i, "cannot pad with an empty string");
            continue;
        }
        size_t missing = (size_t)(want - have), per = utf8_length(fill), whole = missing / per;
        size_t part = utf8_offset(fill, missing % per), len = whole * fill.len + part;
        uint8_t *out = text_room(k, i, s.len + len);
        if (out == NULL) continue;
        uint8_t *w = left ? out : out + s.len;
        for (size_t c = 0; c < whole; c++, w += fill.len)
            memcpy(w, fill.ptr, fill.len);
        memcpy(w, fill.ptr, part);
        if (s.len) memcpy(left ? out + len : out, s.ptr, s.len);
        k->out->s[i] = bytes_of(out, s.len + len);
    }
}
void kernel_LPAD(struct call *k)
{
    pad(k, true);
}
void kernel_RPAD(struct call *k)
{
    pad(k, false);
}

void kernel_REVERSE(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        uint8_t *out = text_room(k, i, s.len);
        if (out == NULL) continue;
        uint8_t *w = out + s.len;
        const uint8_t *p = s.ptr, *end = s.ptr + s.len;
        while (p < end) {
            const uint8_t *next = utf8_step(p, end);
            w -= next - p;
            memcpy(w, p, (size_t)(next - p));
            p = next;
        }
        k->out->s[i] = bytes_of(out, s.len);
    }
}

void kernel_SPLIT_INDEX(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        if (arg_null(k, 0, i) || arg_null(k, 1, i) || arg_null(k, 2, i)) {
            out_null(k, i);
            continue;
        }
        struct bytes rest = ARG_S(k, 0, i), separator = ARG_S(k, 1, i);
        int64_t index = ARG_I(k, 2, i);
        const uint8_t *hit = NULL;
        bool there = index >= 0 && rest.len > 0;
        while (there) {
            hit = separator.len ? find(rest, separator) : NULL;
            if (index == 0) break;
            there = hit != NULL;
            index--;
            if (hit) rest = bytes_of(hit + separator.len, rest.len - (size_t)(hit - rest.ptr) - separator.len);
        }
        if (!there)
            out_null(k, i);
        else
            k->out->s[i] = hit ? bytes_of(rest.ptr, (size_t)(hit - rest.ptr)) : rest;
    }
}

void kernel_STARTS_WITH(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i), p = ARG_S(k, 1, i);
        k->out->b[i] = s.len >= p.len && (p.len == 0 || memcmp(s.ptr, p.ptr, p.len) == 0);
    }
}
void kernel_ENDS_WITH(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i), p = ARG_S(k, 1, i);
        k->out->b[i] = s.len >= p.len && (p.len == 0 || memcmp(s.ptr + s.len - p.len, p.ptr, p.len) == 0);
    }
}

void kernel_CAST_S_LEN(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        int64_t n = ARG_I(k, 1, i);
        k->out->s[i] = bytes_slice(s, 0, n <= 0 ? s.len : utf8_offset(s, (size_t)n));
    }
}
