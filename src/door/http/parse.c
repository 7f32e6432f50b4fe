/* parse.c: see parse.h.
 *
 * Refused on purpose: bare LF, folded headers, blanks before the colon, Content-Length together with Transfer-Encoding,
 * two different lengths, a second Host, control characters anywhere in the head, HTTP/2 prefaces. */
#include "door/http/parse.h"

#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"

static bool is_token(uint8_t c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

/* Length of the head including the blank line, 0 when it is not there yet. */
static size_t head_length(struct bytes in)
{
    for (size_t i = 3; i < in.len; i++) {
        if (in.ptr[i] == '\n' && in.ptr[i - 1] == '\r' && in.ptr[i - 2] == '\n' && in.ptr[i - 3] == '\r') return i + 1;
    }
    return 0;
}

/* Takes one line without its CRLF. False: a bare CR, LF or control character. */
static bool take_line(struct bytes *in, struct bytes *line)
{
    for (size_t i = 0; i + 1 < in->len; i++) {
        uint8_t c = in->ptr[i];
        if (c == '\r' && in->ptr[i + 1] == '\n') {
            *line = bytes_slice(*in, 0, i);
            *in = bytes_slice(*in, i + 2, in->len - i - 2);
            return true;
        }
        if (c == '\r' || c == '\n' || c == 0x7f || (c < 0x20 && c != '\t')) return false;
    }
    return false;
}

static struct bytes trim(struct bytes v)
{
    while (v.len > 0 && (v.ptr[0] == ' ' || v.ptr[0] == '\t'))
        v = bytes_slice(v, 1, v.len - 1);
    while (v.len > 0 && (v.ptr[v.len - 1] == ' ' || v.ptr[v.len - 1] == '\t'))
        v.len--;
    return v;
}

static int parse_request_line(struct bytes line, struct http_head *h)
{
    size_t a = 0, b;
    while (a < line.len && is_token(line.ptr[a]))
        a++;
    if (a == 0 || a == line.len || line.ptr[a] != ' ') return -400;
    b = a + 1;
    while (b < line.len && line.ptr[b] > ' ' && line.ptr[b] < 0x7f)
        b++;
    if (b == a + 1 || b == line.len || line.ptr[b] != ' ') return -400;

    struct bytes target = bytes_slice(line, a + 1, b - a - 1);
    struct bytes version = bytes_slice(line, b + 1, line.len - b - 1);
    h->method = bytes_slice(line, 0, a);
    if (version.len != 8 || memcmp(version.ptr, "HTTP/", 5) != 0) return -400;
    if (version.ptr[5] != '1' || version.ptr[6] != '.' || version.ptr[7] < '0' || version.ptr[7] > '9') return -505;
    h->minor = version.ptr[7] == '0' ? 0 : 1;
    h->keep_alive = h->minor == 1;

    /* Only origin form: this is no proxy. */
    if (target.ptr[0] != '/') return -400;
    const uint8_t *question = memchr(target.ptr, '?', target.len);
    size_t path_len = question ? (size_t)(question - target.ptr) : target.len;
    h->path = bytes_slice(target, 0, path_len);
    h->query = question ? bytes_slice(target, path_len + 1, target.len - path_len - 1) : bytes_of("", 0);
    return 0;
}

struct header_seen {
    bool length, transfer, host;
};

static int parse_length(struct bytes value, struct http_head *h, struct header_seen *seen)
{
    int64_t n = 0;
    if (value.len == 0 || value.len > 18) return -400;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') return -400;
        n = n * 10 + (value.ptr[i] - '0');
    }
    if (seen->length && n != h->content_length) return -400;
    seen->length = true;
    h->content_length = n;
    return 0;
}

static int apply_header(struct bytes name, struct bytes value, struct http_head *h, struct header_seen *seen)
{
    if (text_equal_nocase(name, BYTES_LIT("content-length"))) return parse_length(value, h, seen);
    if (text_equal_nocase(name, BYTES_LIT("transfer-encoding"))) {
        if (!text_equal_nocase(value, BYTES_LIT("chunked"))) return -501;
        if (seen->transfer) return -400;
        seen->transfer = true;
        h->chunked = true;
    } else if (text_equal_nocase(name, BYTES_LIT("host"))) {
        if (seen->host) return -400;
        seen->host = true;
        h->host = value;
    } else if (text_equal_nocase(name, BYTES_LIT("connection"))) {
        if (text_equal_nocase(value, BYTES_LIT("close"))) h->keep_alive = false;
        if (text_equal_nocase(value, BYTES_LIT("keep-alive"))) h->keep_alive = true;
    } else if (text_equal_nocase(name, BYTES_LIT("expect"))) {
        h->expect_continue = text_equal_nocase(value, BYTES_LIT("100-continue"));
    } else if (text_equal_nocase(name, BYTES_LIT("origin"))) {
        h->origin = value;
    } else if (text_equal_nocase(name, BYTES_LIT("content-type"))) {
        h->content_type = value;
    } else if (text_equal_nocase(name, BYTES_LIT("accept"))) {
        h->accept = value;
    }
    return 0;
}

int http_parse_head(struct bytes in, struct http_head *out)
{
    struct header_seen seen = {false, false, false};
    struct bytes rest, line;
    size_t len = head_length(in);
    int rc;

    memset(out, 0, sizeof *out);
    if (len > LIMIT_HTTP_HEADER_BYTES_MAX || (len == 0 && in.len >= LIMIT_HTTP_HEADER_BYTES_MAX)) return -431;
    if (len == 0) return 0;

    rest = bytes_slice(in, 0, len);
    if (!take_line(&rest, &line)) return -400;
    rc = parse_request_line(line, out);
    if (rc < 0) return rc;
    for (;;) {
        size_t n = 0;
        if (!take_line(&rest, &line)) return -400;
        if (line.len == 0) break;
        while (n < line.len && is_token(line.ptr[n]))
            n++;
        if (n == 0 || n == line.len || line.ptr[n] != ':') return -400;
        rc = apply_header(bytes_slice(line, 0, n), trim(bytes_slice(line, n + 1, line.len - n - 1)), out, &seen);
        if (rc < 0) return rc;
    }
    if (seen.length && seen.transfer) return -400;
    if (out->minor == 1 && !seen.host) return -400;
    return (int)len;
}

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool decode(struct bytes raw, bool is_path, struct buf *out)
{
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t c = raw.ptr[i];
        if (c == '%') {
            int high = i + 1 < raw.len ? hex(raw.ptr[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex(raw.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) return false;
            c = (uint8_t)(high << 4 | low);
            if (is_path && (c < 0x20 || c == 0x7f || c == '/')) return false;
            i += 2;
        } else if (c == '+' && !is_path) {
            c = ' ';
        }
        buf_put_u8(out, c);
    }
    return !out->failed;
}

bool http_decode_path(struct bytes raw, struct buf *out)
{
    return decode(raw, true, out);
}

bool http_query_get(struct bytes query, const char *name, struct buf *out)
{
    size_t name_len = strlen(name);
    while (query.len > 0) {
        const uint8_t *amp = memchr(query.ptr, '&', query.len);
        size_t n = amp ? (size_t)(amp - query.ptr) : query.len;
        if (n > name_len && memcmp(query.ptr, name, name_len) == 0 && query.ptr[name_len] == '=')
            return decode(bytes_slice(query, name_len + 1, n - name_len - 1), false, out);
        query = amp ? bytes_slice(query, n + 1, query.len - n - 1) : bytes_slice(query, query.len, 0);
    }
    return false;
}

int http_parse_chunk(struct bytes in, struct buf *body, bool *done)
{
    size_t size = 0, at = 0;
    *done = false;
    while (at < in.len && hex(in.ptr[at]) >= 0) {
        if (at >= 8) return -400;
        size = size << 4 | (size_t)hex(in.ptr[at]);
        at++;
    }
    if (at == in.len) return at > 8 ? -400 : 0;
    if (at == 0) return -400;
    /* Chunk extensions are allowed and ignored, within reason. */
    while (at < in.len && in.ptr[at] != '\r') {
        if (at > 256 || in.ptr[at] < 0x20) return -400;
        at++;
    }
    if (at + 1 >= in.len) return 0;
    if (in.ptr[at + 1] != '\n') return -400;
    at += 2;
    if (body->max != 0 && body->len + size > body->max) return -413;
    /* The data or the (trailer-free) end, and the CRLF behind it. */
    if (in.len - at < size + 2) return 0;
    if (in.ptr[at + size] != '\r' || in.ptr[at + size + 1] != '\n') return -400;
    buf_put(body, in.ptr + at, size);
    if (body->failed) return -413;
    *done = size == 0;
    return (int)(at + size + 2);
}
