/* http.c: a small HTTP/1.1 server on the shard's loop.
 *
 *   HEAD ──head_step──▶ BODY ──body_step, conn_route──▶ REPLY ──reply_finish──▶ HEAD, once all is sent (conn_settled)
 *     │ bad head, timeout   │ too large, timeout           │ the client closes: on_close
 *     ▼ conn_refuse         ▼ conn_refuse                  ▼ on_closed
 *   error reply; input is discarded until the client     CLOSED, freed from the loop
 *   closes (LINGER), at most LINGER_TIMEOUT_NS
 *
 * H1  One request of a connection is served at a time; pipelined bytes wait in `in`, bounded by head + body limits.
 * H2  A reply is ended exactly once, by its route or by the close of the connection; on_close runs at most once and
 *     only before the end.
 * H3  Routes may answer from inside their call. Nothing here calls a route from inside a call of that route.
 * H4  Input is never left unread when we close after a refusal: unread bytes make the kernel send a reset, which can
 *     overtake the answer that says why.
 *
 * Why our own: the packaged servers bring a second TLS stack or a second event loop, and limits and authorisation
 * belong in one place. */
#include "door/http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"
#include "door/http/parse.h"

#define HEAD_TIMEOUT_NS (10ull * 1000 * 1000 * 1000) /* a whole head and body must be here by then */
#define IDLE_TIMEOUT_NS (120ull * 1000 * 1000 * 1000)
#define LINGER_TIMEOUT_NS (2ull * 1000 * 1000 * 1000)
#define READ_ROOM 4096u
#define ALLOW_LEN_MAX 64
#define ROUTES_MAX 64

enum conn_state { CONN_HEAD, CONN_BODY, CONN_REPLY, CONN_CLOSED };

struct route {
    const char *method, *path;
    http_route_fn fn;
    void *arg;
};

struct http_reply {
    struct http_conn *conn;
    bool active, begun, head_only, chunked;
    char allow[ALLOW_LEN_MAX]; /* of a 405; else empty */
    void (*on_close)(void *arg);
    void *on_close_arg;
    void (*on_drain)(void *arg);
    void *on_drain_arg;
};

struct http_conn {
    struct http_door *door;
    struct conn *conn;
    struct list link; /* of door->conns */
    enum conn_state state;
    bool closing; /* close when everything is sent */
    bool linger;  /* refused: what still comes in is discarded (H4) */
    bool read_stopped, sending_now, in_process;
    struct buf in, path, body;
    struct http_head head; /* borrows from `in`, valid while head_len stays in front */
    size_t head_len, used; /* bytes of `in` that this request takes */
    struct http_reply reply;
    struct buf out, sending;
    struct iovec iov;
    struct send_req send;
    struct task flush;
    struct timer timeout;
};

struct http_door {
    const struct sys *sys;
    struct listener *listener;
    char host[64]; /* as configured */
    bool is_loopback;
    struct list conns;
    unsigned n_conns;
    struct route routes[ROUTES_MAX];
    int n_routes;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct task closed_task;
};

static void conn_process(struct http_conn *c);

static const char *reason_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 421: return "Misdirected Request";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
    }
}

/* ---- sending ---- */

static void timeout_start(struct http_conn *c, uint64_t after_ns)
{
    struct loop *l = c->door->sys->loop;
    l->timer_start(l, &c->timeout, l->now_ns(l) + after_ns);
}

/* No reply is under way and everything is with the kernel: the next request, or the end. */
static void conn_settled(struct http_conn *c)
{
    if (!c->closing) {
        conn_process(c);
    } else if (c->linger) {
        timeout_start(c, LINGER_TIMEOUT_NS);
    } else {
        c->door->sys->net->close(c->door->sys->net, c->conn);
    }
}

static void conn_sent(struct send_req *r, bool ok)
{
    struct http_conn *c = CONTAINER_OF(r, struct http_conn, send);
    struct http_reply *reply = &c->reply;

    c->sending_now = false;
    buf_clear(&c->sending);
    if (!ok || c->state == CONN_CLOSED) return; /* `closed` follows or has been */
    /* What comes next runs from a task: routes and closing stay out of the net's own call. */
    if (c->out.len > 0 || !reply->active)
        c->door->sys->loop->post(c->door->sys->loop, &c->flush);
    else if (reply->on_drain)
        reply->on_drain(reply->on_drain_arg);
}

static void conn_flush(struct task *t)
{
    struct http_conn *c = CONTAINER_OF(t, struct http_conn, flush);
    struct buf swap;
    if (c->state == CONN_CLOSED || c->sending_now) return;
    if (c->out.len == 0) {
        /* All is with the kernel, or a stream without chunks ended with nothing more to send. */
        if (!c->reply.active) conn_settled(c);
        return;
    }
    swap = c->sending;
    c->sending = c->out;
    c->out = swap;
    c->iov = (struct iovec){c->sending.ptr, c->sending.len};
    c->send = (struct send_req){.iov = &c->iov, .n = 1, .sent = conn_sent};
    c->sending_now = true;
    c->door->sys->net->send(c->door->sys->net, c->conn, &c->send);
}

static void conn_flush_later(struct http_conn *c)
{
    c->door->sys->loop->post(c->door->sys->loop, &c->flush);
}

static void put_head(struct http_conn *c, int status, const char *content_type, int64_t length)
{
    struct buf *o = &c->out;
    buf_printf(o, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    if (content_type != NULL) buf_printf(o, "Content-Type: %s\r\n", content_type);
    if (length >= 0) buf_printf(o, "Content-Length: %lld\r\n", (long long)length);
    if (c->reply.chunked) buf_put_str(o, "Transfer-Encoding: chunked\r\n");
    if (c->reply.allow[0] != 0) buf_printf(o, "Allow: %s\r\n", c->reply.allow);
    buf_put_str(o, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    if (c->closing)
        buf_put_str(o, "Connection: close\r\n");
    else if (c->head.minor == 0)
        buf_put_str(o, "Connection: keep-alive\r\n");
    buf_put_str(o, "\r\n");
}

/* The request is served: its bytes leave `in`, what is behind them is next. */
static void reply_finish(struct http_conn *c)
{
    c->reply.active = false;
    c->reply.on_close = NULL;
    c->reply.on_drain = NULL;
    if (c->used > 0) {
        memmove(c->in.ptr, c->in.ptr + c->used, c->in.len - c->used);
        c->in.len -= c->used;
    }
    c->used = c->head_len = 0;
    buf_clear(&c->body);
    c->state = CONN_HEAD;
    timeout_start(c, c->in.len > 0 && !c->closing ? HEAD_TIMEOUT_NS : IDLE_TIMEOUT_NS);
    conn_flush_later(c);
}

void http_reply_send(struct http_reply *r, int status, const char *content_type, struct bytes body)
{
    struct http_conn *c = r->conn;
    check(r->active && !r->begun);
    put_head(c, status, content_type, (int64_t)body.len);
    if (!r->head_only) buf_put_bytes(&c->out, body);
    reply_finish(c);
}

void http_reply_error(struct http_reply *r, int status, const char *code, const char *message, const char *hint)
{
    struct buf b;
    buf_init(&b, 0);
    buf_put_str(&b, "{\"error\":{\"code\":");
    text_put_json_string(&b, bytes_str(code));
    buf_put_str(&b, ",\"message\":");
    text_put_json_string(&b, bytes_str(message));
    if (hint != NULL && hint[0] != 0) {
        buf_put_str(&b, ",\"hint\":");
        text_put_json_string(&b, bytes_str(hint));
    }
    buf_put_str(&b, "}}\n");
    http_reply_send(r, status, "application/json", buf_bytes(&b));
    buf_deinit(&b);
}

void http_reply_begin(struct http_reply *r, int status, const char *content_type)
{
    check(r->active && !r->begun);
    r->begun = true;
    r->chunked = r->conn->head.minor == 1 && !r->head_only;
    /* Without chunks the end of an HTTP/1.0 stream is the end of the connection. */
    if (!r->chunked) r->conn->closing = true;
    put_head(r->conn, status, content_type, -1);
    conn_flush_later(r->conn);
}

void http_reply_write(struct http_reply *r, struct bytes part)
{
    struct buf *o = &r->conn->out;
    check(r->active && r->begun);
    if (part.len == 0 || r->head_only) return;
    if (r->chunked) buf_printf(o, "%zx\r\n", part.len);
    buf_put_bytes(o, part);
    if (r->chunked) buf_put_str(o, "\r\n");
    conn_flush_later(r->conn);
}

void http_reply_end(struct http_reply *r)
{
    check(r->active && r->begun);
    if (r->chunked) buf_put_str(&r->conn->out, "0\r\n\r\n");
    reply_finish(r->conn);
}

size_t http_reply_queued(const struct http_reply *r)
{
    return r->conn->out.len + r->conn->sending.len;
}

void http_reply_on_close(struct http_reply *r, void (*fn)(void *arg), void *arg)
{
    r->on_close = fn;
    r->on_close_arg = arg;
}

void http_reply_on_drain(struct http_reply *r, void (*fn)(void *arg), void *arg)
{
    r->on_drain = fn;
    r->on_drain_arg = arg;
}

/* ---- requests ---- */

static void conn_refuse(struct http_conn *c, int status, const char *code, const char *message)
{
    c->closing = c->linger = true;
    c->used = c->in.len;
    c->state = CONN_REPLY;
    c->reply = (struct http_reply){.conn = c, .active = true};
    http_reply_error(&c->reply, status, code, message, NULL);
}

static const char *refusal_text(int status)
{
    switch (status) {
    case 413: return "the request body is larger than this server takes";
    case 431: return "the request head is larger than this server takes";
    case 501: return "this transfer coding is not supported; use chunked or Content-Length";
    case 505: return "this HTTP version is not supported; use HTTP/1.1";
    default: return "the request is not well-formed HTTP/1.1";
    }
}

/* The name part of a Host or Origin authority: "[::1]:80" -> "[::1]". */
static struct bytes authority_host(struct bytes a)
{
    for (size_t i = a.len; i > 0; i--) {
        if (a.ptr[i - 1] == ']') break;
        if (a.ptr[i - 1] == ':') return bytes_slice(a, 0, i - 1);
    }
    return a;
}

/* A page on some other site whose name was re-bound to this address sends its own name as Host: only addresses,
 * localhost and the configured host are ours. */
static bool host_is_ours(const struct http_door *d, struct bytes host)
{
    bool numeric = true;
    /* Reachable from elsewhere, it has names that only its users know. */
    if (!d->is_loopback) return true;
    host = authority_host(host);
    if (host.len == 0 || text_equal_nocase(host, BYTES_LIT("localhost")) || bytes_equal_str(host, d->host)) return true;
    if (host.ptr[0] == '[') return true;
    for (size_t i = 0; i < host.len; i++)
        numeric = numeric && ((host.ptr[i] >= '0' && host.ptr[i] <= '9') || host.ptr[i] == '.');
    return numeric;
}

static bool origin_is_ours(const struct http_head *h)
{
    struct bytes o = h->origin;
    if (bytes_is_null(o)) return true;
    if (o.len > 7 && memcmp(o.ptr, "http://", 7) == 0)
        o = bytes_slice(o, 7, o.len - 7);
    else if (o.len > 8 && memcmp(o.ptr, "https://", 8) == 0)
        o = bytes_slice(o, 8, o.len - 8);
    else
        return false;
    return text_equal_nocase(o, h->host);
}

static void add_allowed(char *allow, const char *method)
{
    size_t n = strlen(allow);
    snprintf(allow + n, ALLOW_LEN_MAX - n, "%s%s%s", n > 0 ? ", " : "", method,
             strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

static void conn_route(struct http_conn *c)
{
    struct http_door *d = c->door;
    struct http_request q = {.method = c->head.method,
                             .query = c->head.query,
                             .body = buf_bytes(&c->body),
                             .content_type = c->head.content_type,
                             .accept = c->head.accept};
    bool head_only = bytes_equal_str(q.method, "HEAD");
    struct bytes method = head_only ? BYTES_LIT("GET") : q.method;
    char allow[ALLOW_LEN_MAX] = "";

    c->state = CONN_REPLY;
    d->sys->loop->timer_stop(d->sys->loop, &c->timeout);
    c->reply = (struct http_reply){.conn = c, .active = true, .head_only = head_only};
    if (!c->head.keep_alive) c->closing = true;
    buf_clear(&c->path);
    if (!http_decode_path(c->head.path, &c->path)) {
        http_reply_error(&c->reply, 400, "bad_path", "the path is not correctly percent-encoded", NULL);
        return;
    }
    q.path = buf_bytes(&c->path);
    if (!host_is_ours(d, c->head.host)) {
        http_reply_error(&c->reply, 421, "wrong_host", "the Host header names another server",
                         "use localhost or the address of this server");
        return;
    }
    if (!bytes_equal_str(method, "GET") && !origin_is_ours(&c->head)) {
        http_reply_error(&c->reply, 403, "foreign_origin", "a page of another origin may not send this request", NULL);
        return;
    }
    for (int i = 0; i < d->n_routes; i++) {
        if (!bytes_equal_str(q.path, d->routes[i].path)) continue;
        if (!bytes_equal_str(method, d->routes[i].method)) {
            add_allowed(allow, d->routes[i].method);
            continue;
        }
        d->routes[i].fn(d->routes[i].arg, &q, &c->reply);
        return;
    }
    if (allow[0] == 0) {
        http_reply_error(&c->reply, 404, "not_found", "there is nothing at this path", NULL);
        return;
    }
    memcpy(c->reply.allow, allow, sizeof allow);
    http_reply_error(&c->reply, 405, "method_not_allowed", "this path does not take this method", NULL);
}

static bool body_step(struct http_conn *c)
{
    if (!c->head.chunked) {
        size_t need = (size_t)c->head.content_length;
        if (c->in.len - c->head_len < need) return false;
        buf_put(&c->body, c->in.ptr + c->head_len, need);
        c->used = c->head_len + need;
        return true;
    }
    for (;;) {
        bool done;
        int n = http_parse_chunk(bytes_slice(buf_bytes(&c->in), c->used, c->in.len - c->used), &c->body, &done);
        if (n < 0) {
            conn_refuse(c, -n, n == -413 ? "too_large" : "bad_request", refusal_text(-n));
            return false;
        }
        c->used += (size_t)n;
        if (done) return true;
        if (n > 0) continue;
        /* Decoded chunks leave `in`, so that a body of many small ones is bounded by its data, not by its framing. */
        memmove(c->in.ptr + c->head_len, c->in.ptr + c->used, c->in.len - c->used);
        c->in.len -= c->used - c->head_len;
        c->used = c->head_len;
        return false;
    }
}

/* Reads one head from `in`. False: not complete, or refused. */
static bool head_step(struct http_conn *c)
{
    int n = http_parse_head(buf_bytes(&c->in), &c->head);
    if (n < 0) conn_refuse(c, -n, "bad_request", refusal_text(-n));
    if (n <= 0) return false;
    c->head_len = c->used = (size_t)n;
    if (!c->head.chunked && c->head.content_length > (int64_t)LIMIT_HTTP_BODY_BYTES_MAX) {
        conn_refuse(c, 413, "too_large", refusal_text(413));
        return false;
    }
    if (c->head.expect_continue && c->head.minor == 1) {
        buf_put_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn_flush_later(c);
    }
    c->state = CONN_BODY;
    return true;
}

/* Bytes of `in` that may wait: a request under way must fit; while a reply is under way only a little is read ahead,
 * enough to notice the end of the connection. */
static bool has_room(const struct http_conn *c)
{
    size_t limit =
        c->state == CONN_REPLY ? 2 * READ_ROOM : LIMIT_HTTP_HEADER_BYTES_MAX + 2u * LIMIT_HTTP_BODY_BYTES_MAX;
    return c->in.len + READ_ROOM <= limit;
}

/* Serves as many complete requests as have arrived (H1, H3). */
static void conn_process(struct http_conn *c)
{
    if (c->in_process) return;
    c->in_process = true;
    while (c->state == CONN_HEAD || c->state == CONN_BODY) {
        /* The answer before is still on its way; conn_settled goes on. */
        if (c->state == CONN_HEAD && (c->closing || c->sending_now || c->out.len > 0)) break;
        if (c->state == CONN_HEAD && !head_step(c)) break;
        /* A growing `in` may have moved since the head was parsed: parse again, it is short. */
        if (http_parse_head(buf_bytes(&c->in), &c->head) <= 0) break;
        if (!body_step(c)) break;
        conn_route(c);
    }
    c->in_process = false;
    if (c->read_stopped && c->state != CONN_CLOSED && has_room(c)) {
        c->read_stopped = false;
        c->door->sys->net->read_start(c->door->sys->net, c->conn);
    }
}

/* ---- connection ---- */

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct http_conn *c = user;
    *cap = 0;
    *ptr = NULL;
    if (c->linger) buf_clear(&c->in);
    if (!has_room(c) || !buf_reserve(&c->in, READ_ROOM)) {
        c->read_stopped = true;
        return;
    }
    *ptr = c->in.ptr + c->in.len;
    *cap = c->in.cap - c->in.len < 65536 ? c->in.cap - c->in.len : 65536;
}

static void on_received(void *user, size_t n)
{
    struct http_conn *c = user;
    if (c->linger) return;
    if (c->in.len == 0 && c->state == CONN_HEAD) timeout_start(c, HEAD_TIMEOUT_NS);
    c->in.len += n;
    conn_process(c);
}

static void on_drained(void *user)
{
    (void)user;
}

static void door_closed_run(struct task *t)
{
    struct http_door *d = CONTAINER_OF(t, struct http_door, closed_task);
    void (*closed)(void *arg) = d->closed;
    void *arg = d->closed_arg;
    free(d);
    if (closed) closed(arg);
}

static void door_close_if_done(struct http_door *d)
{
    if (!d->closing || d->n_conns > 0) return;
    d->closed_task.run = door_closed_run;
    d->sys->loop->post(d->sys->loop, &d->closed_task);
}

static void conn_free_run(struct task *t)
{
    struct http_conn *c = CONTAINER_OF(t, struct http_conn, flush);
    struct http_door *d = c->door;
    buf_deinit(&c->in);
    buf_deinit(&c->path);
    buf_deinit(&c->body);
    buf_deinit(&c->out);
    buf_deinit(&c->sending);
    free(c);
    d->n_conns--;
    door_close_if_done(d);
}

static void on_closed(void *user, const struct err *e)
{
    struct http_conn *c = user;
    struct loop *l = c->door->sys->loop;
    (void)e;
    c->state = CONN_CLOSED;
    l->timer_stop(l, &c->timeout);
    list_remove(&c->link);
    if (c->reply.active && c->reply.on_close) {
        void (*fn)(void *arg) = c->reply.on_close;
        c->reply.on_close = NULL;
        fn(c->reply.on_close_arg);
    }
    c->reply.active = false;
    /* A flush may be queued with this very task; freeing through it keeps the order right. */
    c->flush.run = conn_free_run;
    l->post(l, &c->flush);
}

static void on_timeout(struct timer *t)
{
    struct http_conn *c = CONTAINER_OF(t, struct http_conn, timeout);
    if (c->state == CONN_CLOSED) return;
    if (c->in.len > 0 && c->state != CONN_REPLY && !c->closing)
        conn_refuse(c, 408, "timeout", "the request did not arrive in time");
    else
        c->door->sys->net->close(c->door->sys->net, c->conn);
}

static const struct conn_handler handler = {on_room, on_received, on_drained, on_closed};

static void *on_accept(void *arg, struct conn *conn, const struct conn_handler **h)
{
    struct http_door *d = arg;
    struct http_conn *c;
    if (d->closing || d->n_conns >= LIMIT_CONNECTIONS_MAX) return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->door = d;
    c->conn = conn;
    c->reply.conn = c;
    buf_init(&c->in, 0);
    buf_init(&c->path, LIMIT_HTTP_HEADER_BYTES_MAX);
    buf_init(&c->body, LIMIT_HTTP_BODY_BYTES_MAX);
    buf_init(&c->out, 0);
    buf_init(&c->sending, 0);
    c->flush.run = conn_flush;
    c->timeout.fire = on_timeout;
    list_push_back(&d->conns, &c->link);
    d->n_conns++;
    timeout_start(c, HEAD_TIMEOUT_NS);
    *h = &handler;
    return c;
}

/* ---- door ---- */

enum err_code http_door_open(struct http_door **out, const struct sys *sys, const struct net_address *listen,
                             struct net_address *bound, struct err *e)
{
    struct http_door *d = calloc(1, sizeof *d);
    enum err_code rc;
    *out = NULL;
    if (d == NULL) return err_set(e, ERR_MEMORY, "HTTP listener: out of memory");
    d->sys = sys;
    list_init(&d->conns);
    rc = sys->net->listen(sys->net, listen, on_accept, d, &d->listener, bound, e);
    if (rc != ERR_NONE) {
        free(d);
        return err_wrap(e, rc, "HTTP listener");
    }
    memcpy(d->host, listen->host, sizeof d->host);
    d->is_loopback =
        strncmp(d->host, "127.", 4) == 0 || strcmp(d->host, "::1") == 0 || strcmp(d->host, "localhost") == 0;
    *out = d;
    return ERR_NONE;
}

void http_door_route(struct http_door *d, const char *method, const char *path, http_route_fn fn, void *arg)
{
    check(d->n_routes < ROUTES_MAX);
    d->routes[d->n_routes++] = (struct route){method, path, fn, arg};
}

void http_door_close(struct http_door *d, void (*done)(void *arg), void *arg)
{
    struct list *n, *next;
    d->closing = true;
    d->closed = done;
    d->closed_arg = arg;
    d->sys->net->listener_close(d->sys->net, d->listener);
    for (n = d->conns.next; n != &d->conns; n = next) {
        next = n->next;
        d->sys->net->close(d->sys->net, CONTAINER_OF(n, struct http_conn, link)->conn);
    }
    door_close_if_done(d);
}
