/* The rarer half of JSON scanning: escapes, UTF-8 and nested values. */
#include "flow/exec/json_scan.h"

#include "base/text.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at p, or -1. */
static int32_t hex4(const uint8_t *p, const uint8_t *end)
{
    int32_t v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Length of the escape at p (a backslash); 0: malformed. Surrogates must come in pairs. *code: its code point. */
static size_t escape_length(const uint8_t *p, const uint8_t *end, uint32_t *code)
{
    if (end - p < 2) return 0;
    switch (p[1]) {
    case '"': *code = '"'; return 2;
    case '\\': *code = '\\'; return 2;
    case '/': *code = '/'; return 2;
    case 'b': *code = '\b'; return 2;
    case 'f': *code = '\f'; return 2;
    case 'n': *code = '\n'; return 2;
    case 'r': *code = '\r'; return 2;
    case 't': *code = '\t'; return 2;
    case 'u': break;
    default: return 0;
    }
    int32_t v = hex4(p + 2, end);
    if (v < 0 || (v >= 0xdc00 && v <= 0xdfff)) return 0;
    *code = (uint32_t)v;
    if (v < 0xd800 || v > 0xdbff) return 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u') return 0;
    int32_t low = hex4(p + 8, end);
    if (low < 0xdc00 || low > 0xdfff) return 0;
    *code = 0x10000 + (((uint32_t)v - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return 12;
}

bool json_string_slow(struct json_scan *s, const uint8_t *from, unsigned flags)
{
    bool high = flags & JSON_HIGH;
    uint32_t code;
    for (; s->at < s->end; s->at++) {
        uint8_t c = *s->at;
        if (c == '"') break;
        if (c < 0x20) return json_fail(s, "control character inside a string");
        if (c & 0x80) high = true;
        if (c != '\\') continue;
        size_t n = escape_length(s->at, s->end, &code);
        if (n == 0) return json_fail(s, "malformed escape");
        s->at += n - 1;
    }
    if (s->at == s->end) return json_fail(s, "unterminated string");
    if (high && !text_is_utf8(bytes_of(from, (size_t)(s->at - from)))) return json_fail(s, "string is not UTF-8");
    s->at++;
    return true;
}

static size_t utf8_put(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

struct bytes json_unescape(struct bytes raw, struct arena *arena)
{
    uint8_t *out = arena_alloc(arena, raw.len + 1), *w = out;
    const uint8_t *p = raw.ptr, *end = raw.ptr + raw.len;
    while (p < end) {
        if (*p != '\\') {
            *w++ = *p++;
            continue;
        }
        uint32_t code = 0;
        size_t n = escape_length(p, end, &code);
        check(n > 0);
        p += n;
        w += utf8_put(w, code); /* never longer than the escape */
    }
    return bytes_of(out, (size_t)(w - out));
}

static bool literal(struct json_scan *s, const char *word, size_t n)
{
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) return json_fail(s, "expected a value");
    s->at += n;
    return true;
}

/* `"key" :` of an object. */
static bool skip_key(struct json_scan *s)
{
    unsigned flags;
    json_skip_ws(s);
    if (s->at == s->end || *s->at != '"') return json_fail(s, "expected a key in quotes");
    s->at++;
    if (!json_string(s, &flags)) return false;
    json_skip_ws(s);
    if (s->at == s->end || *s->at != ':') return json_fail(s, "expected ':' after a key");
    s->at++;
    return true;
}

/* Behind a whole value inside of containers: closes what ends. True with *more: another value follows. */
static bool skip_closers(struct json_scan *s, const uint64_t *is_object, unsigned base, unsigned *depth, bool *more)
{
    *more = false;
    while (*depth > base) {
        bool object = is_object[*depth / 64] >> (*depth % 64) & 1;
        json_skip_ws(s);
        uint8_t c = s->at < s->end ? *s->at : 0;
        if (c == ',') {
            s->at++;
            *more = true;
            return object ? skip_key(s) : true;
        }
        if (c != (object ? '}' : ']'))
            return json_fail(s, object ? "expected ',' or '}' in an object" : "expected ',' or ']' in an array");
        s->at++;
        --*depth;
    }
    return true;
}

bool json_skip_value(struct json_scan *s, unsigned depth)
{
    uint64_t is_object[JSON_DEPTH_MAX / 64 + 1];
    unsigned base = depth, flags;
    bool is_integer, more = true, ok = true;
    while (more) {
        json_skip_ws(s);
        if (s->at == s->end) return json_fail(s, "the text ends inside a value");
        uint8_t c = *s->at;
        if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX) return json_fail(s, "nested too deeply");
            s->at++;
            is_object[depth / 64] &= ~(1ull << (depth % 64));
            if (c == '{') is_object[depth / 64] |= 1ull << (depth % 64);
            json_skip_ws(s);
            if (s->at == s->end || *s->at != (c == '{' ? '}' : ']')) {
                if (c == '{' && !skip_key(s)) return false;
                continue;
            }
            s->at++;
            depth--;
        } else if (c == '"') {
            s->at++;
            ok = json_string(s, &flags);
        } else if (c == 't') {
            ok = literal(s, "true", 4);
        } else if (c == 'f') {
            ok = literal(s, "false", 5);
        } else if (c == 'n') {
            ok = literal(s, "null", 4);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            ok = json_number(s, &is_integer);
        } else {
            return json_fail(s, "expected a value");
        }
        if (!ok || !skip_closers(s, is_object, base, &depth, &more)) return false;
    }
    return true;
}
