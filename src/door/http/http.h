/* http.h: the HTTP door: POST /v1/sql, /livez, /readyz, /metrics on a small HTTP/1.1 server of our own (one loop, one
 * place for limits). Upper features register their routes; the door knows none of them. Thread: the shard. */
#ifndef WEIR_DOOR_HTTP_HTTP_H
#define WEIR_DOOR_HTTP_HTTP_H

#include "base/buf.h"
#include "sys/sys.h"

struct http_door;
struct http_request {
    struct bytes method, path, query; /* path is percent-decoded; query raw, without '?' */
    struct bytes body;
    struct bytes content_type, accept;
};
/* One reply under way. A route answers at once or later; exactly one http_reply_* ends it. */
struct http_reply;
/* Whole answer. */
void http_reply_send(struct http_reply *r, int status, const char *content_type, struct bytes body);
/* JSON error {"error":{"code":..,"message":..,"hint":..}}. */
void http_reply_error(struct http_reply *r, int status, const char *code, const char *message, const char *hint);
/* Streamed answer (chunked): begin, any number of writes, end. */
void http_reply_begin(struct http_reply *r, int status, const char *content_type);
void http_reply_write(struct http_reply *r, struct bytes part); /* copied; sent at the end of the loop turn */
void http_reply_end(struct http_reply *r);
size_t http_reply_queued(const struct http_reply *r); /* bytes not yet with the kernel: producers stop above a bound */
/* The client went away: called at most once, then r is dead and must not be used. drained: queued bytes are all gone.
 * */
void http_reply_on_close(struct http_reply *r, void (*fn)(void *arg), void *arg);
void http_reply_on_drain(struct http_reply *r, void (*fn)(void *arg), void *arg);
struct sys;
typedef void (*http_route_fn)(void *arg, const struct http_request *q, struct http_reply *r);

MUST_USE enum err_code http_door_open(struct http_door **out, const struct sys *sys, const struct net_address *listen,
                                      struct net_address *bound, struct err *e);
/* Exact path; method "GET" answers HEAD too. Unknown path: 404; other method: 405 with Allow. Before the first request.
 * */
void http_door_route(struct http_door *d, const char *method, const char *path, http_route_fn fn, void *arg);
void http_door_close(struct http_door *d, void (*done)(void *arg), void *arg);

#endif
