/* parse.h: the head of an HTTP/1.x request and chunked bodies, from bytes. Pure functions, strict: what two servers
 * could read differently is refused (RFC 9112, request smuggling). Any thread; results borrow from the input. */
#ifndef WEIR_DOOR_HTTP_PARSE_H
#define WEIR_DOOR_HTTP_PARSE_H

#include "base/buf.h"
#include "base/bytes.h"

struct http_head {
    struct bytes method, path, query; /* path still percent-encoded; query without '?', may be empty */
    struct bytes host, origin, content_type, accept;
    int64_t content_length; /* 0 when there is none */
    int minor;              /* HTTP/1.minor: 0 or 1 */
    bool keep_alive, chunked, expect_continue;
};

/* > 0: bytes of the complete head. 0: more input is needed. < 0: refuse with this status, negated (400, 431, 501, 505).
 * */
int http_parse_head(struct bytes in, struct http_head *out);

/* Decodes "%41" in a path. False: malformed, or an encoded NUL, slash or control character. */
bool http_decode_path(struct bytes raw, struct buf *out);

/* Incremental decoder of a chunked body: appends data to `body`. > 0: bytes of `in` used up, *done tells whether the
 * body is complete; 0: more input is needed; < 0: refuse with this status, negated (400; 413 above body->max). */
int http_parse_chunk(struct bytes in, struct buf *body, bool *done);

/* Value of `name` in a query string ("a=1&b=2"), percent-decoded ('+' is a blank) into out. False: not there or
 * malformed. */
bool http_query_get(struct bytes query, const char *name, struct buf *out);

#endif
