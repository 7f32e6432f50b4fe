/* The decoder of one JSON object a record, into column vectors.
 *
 * J1  A record is accepted exactly when it is one JSON object by RFC 8259 (all of it is checked, also what is
 *     skipped: strings are UTF-8 without control characters, surrogates come in pairs, nesting is bounded) and
 *     every wanted field fits its column.
 * J2  A missing field and `null` are NULL. Of duplicate keys the last wins, also when an earlier one would not
 *     have fitted.
 * J3  BOOLEAN takes true and false; INT and BIGINT integers without fraction or exponent; DOUBLE any number,
 *     correctly rounded; STRING a string, or an object or array as its raw text; TIMESTAMP, TIMESTAMP_LTZ and
 *     DATE text as civil_parse_us reads it; timestamps also integers, milliseconds since 1970. Fraction digits
 *     beyond the declared precision are cut.
 * J4  The keys of the previous record are remembered as `key":` tokens; a key is first compared with the token
 *     at its place (16 bytes at once) and looked up by name only when that fails. Producers write the same order
 *     nearly always.
 * Why not simdjson's two passes: with few wanted fields one pass over strings at 16 bytes a step is as fast, keeps
 * no tape, and needs no padding behind the record. */
#include "flow/exec/json.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/civil.h"
#include "base/hash.h"
#include "flow/exec/json_scan.h"

#define TOKEN_LEN_MAX 48 /* longer keys are always looked up */
#define ORDER_MAX 128    /* keys beyond are always looked up */

struct token {
    uint8_t text[TOKEN_LEN_MAX + 16];
    uint16_t mask; /* of the first 16 bytes */
    uint8_t len;
    int16_t field; /* -1: not wanted */
};
enum mismatch {
    FITS,
    NOT_BOOLEAN,
    NOT_INTEGER,
    NOT_NUMBER,
    NOT_STRING,
    NOT_TIMESTAMP,
    NOT_DATE,
    OUT_OF_RANGE,
    TOO_LONG,
    IS_NULL,
};
static const char *const mismatch_text[] = {
    [NOT_BOOLEAN] = "expected true or false",
    [NOT_INTEGER] = "expected an integer",
    [NOT_NUMBER] = "expected a number",
    [NOT_STRING] = "expected a string",
    [NOT_TIMESTAMP] = "expected a timestamp",
    [NOT_DATE] = "expected a date",
    [OUT_OF_RANGE] = "the number is out of range",
    [TOO_LONG] = "the string is too long",
    [IS_NULL] = "the column is NOT NULL but there is no value",
};
struct field {
    struct bytes name;
    struct sql_type type;
    struct vector *out;
    enum mismatch bad; /* of the current record */
    const uint8_t *bad_at;
};
struct json_decoder {
    struct field *fields;
    int n_fields, n_bad;
    struct token order[ORDER_MAX];
    int n_order;
    int16_t *slots; /* field index + 1, open addressing by hash of the name */
    uint32_t slot_mask;
};

struct json_decoder *json_decoder_create(const struct json_field *fields, int n, struct arena *arena)
{
    struct json_decoder *d = arena_new(arena, struct json_decoder);
    uint32_t size = 8;
    while (size < (uint32_t)n * 2)
        size *= 2;
    d->n_fields = n;
    d->fields = arena_array(arena, (size_t)n, sizeof *d->fields);
    d->slots = arena_array(arena, size, sizeof *d->slots);
    d->slot_mask = size - 1;
    for (int i = 0; i < n; i++) {
        d->fields[i] = (struct field){arena_copy(arena, fields[i].name), fields[i].type, fields[i].out, FITS, NULL};
        uint32_t at = (uint32_t)hash64(fields[i].name.ptr, fields[i].name.len) & d->slot_mask;
        while (d->slots[at])
            at = (at + 1) & d->slot_mask;
        d->slots[at] = (int16_t)(i + 1);
    }
    return d;
}

static int field_find(const struct json_decoder *d, struct bytes name)
{
    uint32_t at = (uint32_t)hash64(name.ptr, name.len) & d->slot_mask;
    for (; d->slots[at]; at = (at + 1) & d->slot_mask)
        if (bytes_equal(d->fields[d->slots[at] - 1].name, name)) return d->slots[at] - 1;
    return -1;
}

static bool token_matches(const struct token *t, const struct json_scan *s)
{
#if defined(__SSE2__)
    if (t->len <= 16 && s->end - s->at >= 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)s->at);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)t->text);
        unsigned same = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b));
        return (same & t->mask) == t->mask;
    }
#endif
    return s->end - s->at >= t->len && memcmp(s->at, t->text, t->len) == 0;
}

/* Looks the key up by its text and remembers it for place `at`. */
static bool key_lookup(struct json_decoder *d, struct json_scan *s, int at, struct arena *strings, int *field)
{
    unsigned flags;
    const uint8_t *from = s->at;
    if (!json_string(s, &flags)) return false;
    struct bytes raw = bytes_of(from, (size_t)(s->at - 1 - from));
    *field = field_find(d, flags & JSON_ESCAPES ? json_unescape(raw, strings) : raw);
    bool direct = s->at < s->end && *s->at == ':';
    json_skip_ws(s);
    if (s->at == s->end || *s->at != ':') return json_fail(s, "expected ':' after a key");
    s->at++;
    if (!direct || raw.len + 2 > TOKEN_LEN_MAX || at >= ORDER_MAX || at > d->n_order) return true;
    struct token *t = &d->order[at];
    memset(t->text, 0, sizeof t->text);
    memcpy(t->text, from, raw.len + 2);
    t->len = (uint8_t)(raw.len + 2);
    t->mask = t->len >= 16 ? 0xffff : (uint16_t)((1u << t->len) - 1);
    t->field = (int16_t)*field;
    if (at == d->n_order) d->n_order++;
    return true;
}

/* The key at the cursor (behind its quote); *place is where it is expected and moves to where it was found. */
static inline bool key_take(struct json_decoder *d, struct json_scan *s, int *place, struct arena *strings, int *field)
{
    int last = *place + 3 < d->n_order ? *place + 3 : d->n_order; /* optional fields left out shift the rest by a few */
    for (int k = *place; k < last; k++) {
        if (!token_matches(&d->order[k], s)) continue;
        s->at += d->order[k].len;
        *field = d->order[k].field;
        *place = k;
        return true;
    }
    return key_lookup(d, s, *place, strings, field);
}

/* ---- values ---- */

static bool misfit(struct json_decoder *d, struct field *f, const uint8_t *at, enum mismatch why)
{
    if (f->bad == FITS) d->n_bad++;
    f->bad = why;
    f->bad_at = at;
    return true;
}

/* Eight ASCII digits at once, or false. */
static inline bool digits8(const uint8_t *p, uint64_t *out)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    if (((v & 0xf0f0f0f0f0f0f0f0) | (((v + 0x0606060606060606) & 0xf0f0f0f0f0f0f0f0) >> 4)) != 0x3333333333333333)
        return false;
    v -= 0x3030303030303030;
    v = v * 10 + (v >> 8);
    *out =
        (((v & 0x000000ff000000ff) * 0x000f424000000064) + (((v >> 16) & 0x000000ff000000ff) * 0x0000271000000001)) >>
        32;
    return true;
}

/* An integer, when the number at the cursor is one. *ok: it fits 64 bits. False: malformed, or not an integer (what ==
 * NULL). */
static inline bool integer_take(struct json_scan *s, int64_t *out, bool *ok)
{
    const uint8_t *p = s->at, *first;
    bool negative = p < s->end && *p == '-';
    uint64_t v = 0, eight;
    p += negative;
    first = p;
    while (s->end - p >= 8 && p - first < 16 && digits8(p, &eight)) {
        v = v * 100000000 + eight;
        p += 8;
    }
    for (; p < s->end && (uint8_t)(*p - '0') < 10 && p - first < 19; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    bool more = p < s->end && ((uint8_t)(*p - '0') < 10 || *p == '.' || (*p | 0x20) == 'e');
    if (UNLIKELY(more || p == first || (*first == '0' && p - first > 1))) {
        bool is_integer;
        if (!json_number(s, &is_integer)) return false;
        if (*first == '0' && p - first > 1) return json_fail(s, "a number with a leading zero");
        s->what = NULL;
        *ok = false;
        return is_integer;
    }
    s->at = p;
    *ok = v <= (uint64_t)INT64_MAX + negative;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* The checked number in `t` as the nearest double. Few digits and a small exponent: both sides of the one operation are
 * exact, so its result is correctly rounded (Clinger); everything else goes to strtod. */
static double number_to_double(struct bytes t, struct arena *scratch)
{
    const uint8_t *p = t.ptr, *end = t.ptr + t.len;
    bool negative = *p == '-', point = false;
    uint64_t mantissa = 0;
    int digits = 0, exponent = 0;
    for (p += negative; p < end && (*p | 0x20) != 'e'; p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (digits > 0 || *p != '0') digits++;
        if (digits > 18) goto slow;
        mantissa = mantissa * 10 + (uint64_t)(*p - '0');
        exponent -= point;
    }
    if (p < end) {
        int sign = p[1] == '-' ? -1 : 1, e = 0;
        for (p += p[1] == '-' || p[1] == '+' ? 2 : 1; p < end; p++)
            if (e < 10000) e = e * 10 + (*p - '0');
        exponent += sign * e;
    }
    if (mantissa <= 1ull << 53 && exponent >= -22 && exponent <= 22) {
        double v = (double)mantissa;
        v = exponent < 0 ? v / powers_of_ten[-exponent] : v * powers_of_ten[exponent];
        return negative ? -v : v;
    }
slow:;
    char small[64];
    char *copy = t.len < sizeof small ? small : arena_alloc(scratch, t.len + 1);
    memcpy(copy, t.ptr, t.len);
    copy[t.len] = '\0';
    return strtod(copy, NULL);
}

static int64_t floor_to(int64_t us, int64_t step)
{
    int64_t rest = us % step;
    return us - (rest < 0 ? rest + step : rest);
}

/* Constant divisors: a division by a variable takes as long as decoding the number. */
static int64_t cut_to_precision(int64_t us, int precision)
{
    switch (precision) {
    case 0: return floor_to(us, 1000000);
    case 1: return floor_to(us, 100000);
    case 2: return floor_to(us, 10000);
    case 3: return floor_to(us, 1000);
    case 4: return floor_to(us, 100);
    case 5: return floor_to(us, 10);
    default: return us;
    }
}

static inline bool take_integer(struct json_decoder *d, struct field *f, struct json_scan *s, int row)
{
    const uint8_t *at = s->at;
    bool ok = false;
    int64_t v;
    if (UNLIKELY(at == s->end || (*at != '-' && (uint8_t)(*at - '0') > 9))) {
        misfit(d, f, at, f->type.kind == SQL_BIGINT || f->type.kind == SQL_INT ? NOT_INTEGER : NOT_TIMESTAMP);
        return json_skip(s);
    }
    s->what = NULL;
    if (UNLIKELY(!integer_take(s, &v, &ok))) return s->what ? false : misfit(d, f, at, NOT_INTEGER);
    if (f->type.kind == SQL_INT)
        ok = ok && v >= INT32_MIN && v <= INT32_MAX;
    else if (f->type.kind != SQL_BIGINT)
        ok = ok && !__builtin_mul_overflow(v, (int64_t)1000, &v);
    if (UNLIKELY(!ok)) return misfit(d, f, at, OUT_OF_RANGE);
    if (f->type.kind != SQL_INT && f->type.kind != SQL_BIGINT && f->type.precision < 3)
        v = cut_to_precision(v, f->type.precision); /* milliseconds have no more digits */
    f->out->i[row] = v;
    f->out->nulls[row] = 0;
    return true;
}

static bool take_double(struct json_decoder *d, struct field *f, struct json_scan *s, int row, struct arena *strings)
{
    const uint8_t *at = s->at;
    bool is_integer;
    if (at == s->end || (*at != '-' && (uint8_t)(*at - '0') > 9)) {
        misfit(d, f, at, NOT_NUMBER);
        return json_skip(s);
    }
    if (!json_number(s, &is_integer)) return false;
    double v = number_to_double(bytes_of(at, (size_t)(s->at - at)), strings);
    if (__builtin_isinf(v)) return misfit(d, f, at, OUT_OF_RANGE);
    f->out->d[row] = v;
    f->out->nulls[row] = 0;
    return true;
}

static size_t count_characters(struct bytes t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += (t.ptr[i] & 0xc0) != 0x80;
    return n;
}

static bool take_text(struct json_decoder *d, struct field *f, struct json_scan *s, int row, struct arena *strings)
{
    const uint8_t *at = s->at;
    unsigned flags;
    struct bytes text;
    if (at < s->end && *at == '"') {
        s->at++;
        if (!json_string(s, &flags)) return false;
        text = bytes_of(at + 1, (size_t)(s->at - at - 2));
        if (flags & JSON_ESCAPES) text = json_unescape(text, strings);
    } else {
        if (!json_skip(s)) return false;
        if (*at != '{' && *at != '[') return misfit(d, f, at, NOT_STRING);
        text = bytes_of(at, (size_t)(s->at - at));
    }
    if (f->type.precision > 0 && text.len > (size_t)f->type.precision &&
        count_characters(text) > (size_t)f->type.precision)
        return misfit(d, f, at, TOO_LONG);
    f->out->s[row] = text;
    f->out->nulls[row] = 0;
    return true;
}

static bool take_time(struct json_decoder *d, struct field *f, struct json_scan *s, int row, struct arena *strings)
{
    const uint8_t *at = s->at;
    unsigned flags;
    int64_t us;
    if (at == s->end || *at != '"') {
        if (f->type.kind != SQL_DATE) return take_integer(d, f, s, row);
        misfit(d, f, at, NOT_DATE);
        return json_skip(s);
    }
    s->at++;
    if (!json_string(s, &flags)) return false;
    struct bytes text = bytes_of(at + 1, (size_t)(s->at - at - 2));
    if (flags & JSON_ESCAPES) text = json_unescape(text, strings);
    bool ok = civil_parse_us(text, &us);
    if (f->type.kind == SQL_DATE) {
        if (!ok || us % 86400000000 != 0 || text.len > 10) return misfit(d, f, at, NOT_DATE);
        f->out->i[row] = us / 86400000000;
    } else {
        if (!ok) return misfit(d, f, at, NOT_TIMESTAMP);
        f->out->i[row] = cut_to_precision(us, f->type.precision);
    }
    f->out->nulls[row] = 0;
    return true;
}

static bool take_boolean(struct json_decoder *d, struct field *f, struct json_scan *s, int row)
{
    const uint8_t *at = s->at;
    if (!json_skip(s)) return false;
    if (*at != 't' && *at != 'f') return misfit(d, f, at, NOT_BOOLEAN);
    f->out->b[row] = *at == 't';
    f->out->nulls[row] = 0;
    return true;
}

/* False: malformed. A value that does not fit is noted at the field and judged at the end of the record (J2). */
static inline bool value_take(struct json_decoder *d, struct field *f, struct json_scan *s, int row,
                              struct arena *strings)
{
    if (UNLIKELY(f->bad != FITS)) {
        f->bad = FITS;
        d->n_bad--;
    }
    if (UNLIKELY(s->at < s->end && *s->at == 'n')) {
        f->out->nulls[row] = 1;
        return json_skip(s);
    }
    switch (f->type.kind) {
    case SQL_BOOLEAN: return take_boolean(d, f, s, row);
    case SQL_DOUBLE: return take_double(d, f, s, row, strings);
    case SQL_STRING: return take_text(d, f, s, row, strings);
    case SQL_TIMESTAMP:
    case SQL_TIMESTAMP_LTZ:
    case SQL_DATE: return take_time(d, f, s, row, strings);
    default: return take_integer(d, f, s, row);
    }
}

/* ---- records ---- */

static bool object_take(struct json_decoder *d, struct json_scan *s, int row, struct arena *strings)
{
    int field = -1, place = 0;
    json_skip_ws(s);
    if (s->at == s->end || *s->at != '{') return json_fail(s, "expected a JSON object");
    s->at++;
    json_skip_ws(s);
    if (s->at < s->end && *s->at == '}') {
        s->at++;
        goto end;
    }
    for (;; place++) {
        if (s->at == s->end || *s->at != '"') return json_fail(s, "expected a key in quotes");
        s->at++;
        if (!key_take(d, s, &place, strings, &field)) return false;
        json_skip_ws(s);
        if (!(field >= 0 ? value_take(d, &d->fields[field], s, row, strings) : json_skip(s))) return false;
        json_skip_ws(s);
        if (s->at == s->end) return json_fail(s, "the text ends inside the object");
        uint8_t c = *s->at;
        if (c != ',' && c != '}') return json_fail(s, "expected ',' or '}' in the object");
        s->at++;
        if (c == '}') break;
        json_skip_ws(s);
    }
end:
    json_skip_ws(s);
    return s->at == s->end ? true : json_fail(s, "text behind the object");
}

static bool misfits_report(struct json_decoder *d, const struct json_scan *s, char *error)
{
    bool first = true;
    for (int i = 0; i < d->n_fields; i++) {
        struct field *f = &d->fields[i];
        if (f->bad == FITS) continue;
        if (first && error && f->bad_at)
            snprintf(error, JSON_ERROR_MAX, "field \"%.*s\" at byte %zu: %s",
                     (int)(f->name.len > 100 ? 100 : f->name.len), (const char *)f->name.ptr,
                     (size_t)(f->bad_at - s->begin), mismatch_text[f->bad]);
        else if (first && error)
            snprintf(error, JSON_ERROR_MAX, "field \"%.*s\": %s", (int)(f->name.len > 100 ? 100 : f->name.len),
                     (const char *)f->name.ptr, mismatch_text[f->bad]);
        first = false;
        f->bad = FITS;
    }
    d->n_bad = 0;
    return false;
}

bool json_decode(struct json_decoder *d, struct bytes value, int row, struct arena *strings, char *error)
{
    struct json_scan s = {.begin = value.ptr, .at = value.ptr, .end = value.ptr + value.len};
    check(row >= 0 && row < LIMIT_CHUNK_ROWS);
    if (bytes_is_null(value)) {
        if (error) snprintf(error, JSON_ERROR_MAX, "the record has no value");
        return false;
    }
    for (int i = 0; i < d->n_fields; i++)
        d->fields[i].out->nulls[row] = 1;
    if (UNLIKELY(!object_take(d, &s, row, strings))) {
        if (error) snprintf(error, JSON_ERROR_MAX, "byte %zu: %s", (size_t)(s.at - s.begin), s.what);
        return d->n_bad > 0 ? misfits_report(d, &s, NULL) : false;
    }
    for (int i = 0; i < d->n_fields; i++) {
        struct field *f = &d->fields[i];
        if (LIKELY(!f->out->nulls[row])) continue;
        f->out->has_nulls = true;
        if (f->type.not_null && f->bad == FITS) misfit(d, f, NULL, IS_NULL);
    }
    return LIKELY(d->n_bad == 0) ? true : misfits_report(d, &s, error);
}
