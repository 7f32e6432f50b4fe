/* http_client.c: see http_client.h.
 *
 *   connect ─▶ send ─▶ HEAD ─▶ BODY (chunked, by length, or to the end) ─▶ done */
#include "app/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/text.h"
#include "door/http/parse.h"
#include "sys/os.h"

#define HEAD_BYTES_MAX (64u << 10)

struct exchange {
    struct loop *loop;
    struct net *net;
    struct conn *conn;
    struct buf request, in, body;
    struct iovec iov;
    struct send_req send;
    int *status;
    http_line_fn fn;
    void *arg;
    bool in_body, chunked, stopped, closed, finished, interrupted;
    int64_t left; /* of a body with a length; -1: to the end */
    struct err error;
};

static void emit_lines(struct exchange *x, bool at_end)
{
    size_t from = 0;
    while (!x->stopped && from < x->body.len) {
        const uint8_t *nl = memchr(x->body.ptr + from, '\n', x->body.len - from);
        size_t n = nl ? (size_t)(nl - x->body.ptr) - from : x->body.len - from;
        if (nl == NULL && !at_end) break;
        if (!x->fn(x->arg, bytes_of(x->body.ptr + from, n))) x->stopped = true;
        from += n + (nl ? 1 : 0);
    }
    if (!x->stopped && from > 0 && !x->fn(x->arg, BYTES_NULL)) x->stopped = true;
    if (from > 0) {
        memmove(x->body.ptr, x->body.ptr + from, x->body.len - from);
        x->body.len -= from;
    }
}

static void drop_front(struct buf *b, size_t n)
{
    memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
}

static void parse_header_line(struct exchange *x, struct bytes line)
{
    const uint8_t *colon = memchr(line.ptr, ':', line.len);
    struct bytes name, value;
    if (colon == NULL) return;
    name = bytes_slice(line, 0, (size_t)(colon - line.ptr));
    value = bytes_slice(line, name.len + 1, line.len - name.len - 1);
    while (value.len > 0 && value.ptr[0] == ' ')
        value = bytes_slice(value, 1, value.len - 1);
    if (text_equal_nocase(name, BYTES_LIT("transfer-encoding")))
        x->chunked = text_equal_nocase(value, BYTES_LIT("chunked"));
    if (text_equal_nocase(name, BYTES_LIT("content-length")) && !text_parse_i64(value, &x->left)) x->left = -1;
}

/* False: more is needed, or the answer is not HTTP (error is set). */
static bool parse_head(struct exchange *x)
{
    const uint8_t *end = memmem(x->in.ptr, x->in.len, "\r\n\r\n", 4);
    struct bytes rest;
    int minor;
    if (end == NULL) {
        if (x->in.len > HEAD_BYTES_MAX) (void)err_set(&x->error, ERR_PROTOCOL, "the answer is not HTTP");
        return false;
    }
    rest = bytes_of(x->in.ptr, (size_t)(end - x->in.ptr) + 2);
    x->in.ptr[rest.len] = 0;
    if (sscanf((const char *)x->in.ptr, "HTTP/1.%d %d", &minor, x->status) != 2) {
        (void)err_set(&x->error, ERR_PROTOCOL, "the answer is not HTTP; is this the address of the HTTP door?");
        return false;
    }
    x->left = -1;
    while (rest.len > 0) {
        const uint8_t *nl = memmem(rest.ptr, rest.len, "\r\n", 2);
        size_t n = (size_t)(nl - rest.ptr);
        parse_header_line(x, bytes_slice(rest, 0, n));
        rest = bytes_slice(rest, n + 2, rest.len - n - 2);
    }
    drop_front(&x->in, (size_t)(end - x->in.ptr) + 4);
    x->in_body = *x->status != 100;
    return true;
}

static void take_body(struct exchange *x)
{
    while (x->chunked && !x->finished) {
        bool done;
        int n = http_parse_chunk(buf_bytes(&x->in), &x->body, &done);
        if (n < 0) {
            (void)err_set(&x->error, ERR_PROTOCOL, "the answer is cut or malformed");
            return;
        }
        if (n == 0) break;
        drop_front(&x->in, (size_t)n);
        x->finished = done;
    }
    if (!x->chunked) {
        size_t n = x->left >= 0 && (size_t)x->left < x->in.len ? (size_t)x->left : x->in.len;
        buf_put(&x->body, x->in.ptr, n);
        drop_front(&x->in, n);
        if (x->left >= 0) x->left -= (int64_t)n;
        x->finished = x->left == 0;
    }
    emit_lines(x, x->finished);
}

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct exchange *x = user;
    *ptr = NULL;
    *cap = 0;
    if (!buf_reserve(&x->in, 65536)) return;
    *ptr = x->in.ptr + x->in.len;
    *cap = 65536;
}

static void on_received(void *user, size_t n)
{
    struct exchange *x = user;
    x->in.len += n;
    while (!x->in_body && x->error.code == ERR_NONE && parse_head(x)) {
    }
    if (x->in_body && x->error.code == ERR_NONE) take_body(x);
    if (x->finished || x->stopped || x->error.code != ERR_NONE) x->net->close(x->net, x->conn);
}

static void on_drained(void *user)
{
    (void)user;
}

static void on_closed(void *user, const struct err *e)
{
    struct exchange *x = user;
    x->closed = true;
    if (!x->finished && !x->stopped && x->error.code == ERR_NONE) {
        if (e != NULL)
            (void)err_set(&x->error, ERR_CLOSED, "%s", e->text);
        else if (x->in_body && !x->chunked && x->left < 0)
            x->finished = true;
        else
            (void)err_set(&x->error, ERR_CLOSED, "the server closed the connection before the end of its answer");
    }
    x->loop->stop(x->loop);
}

static void on_sent(struct send_req *r, bool ok)
{
    (void)r;
    (void)ok;
}

static void on_connected(void *user, struct conn *c)
{
    struct exchange *x = user;
    x->conn = c;
    x->iov = (struct iovec){x->request.ptr, x->request.len};
    x->send = (struct send_req){.iov = &x->iov, .n = 1, .sent = on_sent};
    x->net->send(x->net, c, &x->send);
    x->net->read_start(x->net, c);
}

static void on_signal(void *arg, int signo)
{
    struct exchange *x = arg;
    x->interrupted = true;
    x->net->close(x->net, x->conn);
}

static enum err_code parse_url(const char *url, struct net_address *a, struct err *e)
{
    const char *host = url, *end, *colon;
    int64_t port = 80;
    size_t len;
    if (strncmp(url, "http://", 7) != 0)
        return err_set(e, ERR_INVALID, "\"%s\" is not a URL like http://127.0.0.1:8080", url);
    host += 7;
    end = host + strcspn(host, "/");
    colon = memrchr(host, ':', (size_t)(end - host));
    if (colon != NULL && !text_parse_i64(bytes_of(colon + 1, (size_t)(end - colon - 1)), &port)) port = -1;
    len = (size_t)((colon ? colon : end) - host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') host++, len -= 2;
    if (port < 1 || port > 65535 || len == 0 || len >= sizeof a->host)
        return err_set(e, ERR_INVALID, "\"%s\" is not a URL like http://127.0.0.1:8080", url);
    memset(a, 0, sizeof *a);
    memcpy(a->host, host, len);
    a->port = (uint16_t)port;
    return ERR_NONE;
}

static void put_request(struct buf *b, const struct net_address *a, const char *target, const char *content_type,
                        struct bytes body)
{
    buf_printf(b,
               "POST %s HTTP/1.1\r\nHost: %s:%u\r\nUser-Agent: weir/%s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
               "Connection: close\r\n\r\n",
               target, a->host, (unsigned)a->port, WEIR_VERSION, content_type, body.len);
    buf_put_bytes(b, body);
}

enum err_code http_post(const char *url, const char *target, const char *content_type, struct bytes body, int *status,
                        http_line_fn fn, void *arg, struct err *e)
{
    static const struct conn_handler handler = {on_room, on_received, on_drained, on_closed};
    struct exchange x = {.status = status, .fn = fn, .arg = arg};
    struct net_address a;
    enum err_code rc = parse_url(url, &a, e);

    *status = 0;
    if (rc != ERR_NONE) return rc;
    buf_init(&x.request, 0);
    buf_init(&x.in, 0);
    buf_init(&x.body, 0);
    put_request(&x.request, &a, target, content_type, body);
    rc = os_loop_create(&x.loop, e);
    if (rc == ERR_NONE) rc = os_net_create(&x.net, x.loop, e);
    if (rc == ERR_NONE) rc = x.net->connect(x.net, &a, &handler, &x, on_connected, &x.conn, e);
    if (rc == ERR_NONE) {
        os_loop_on_signal(x.loop, on_signal, &x);
        x.loop->run(x.loop, LOOP_RUN);
        rc = x.error.code;
        if (rc != ERR_NONE && e != NULL) *e = x.error;
        if (x.interrupted && !x.finished)
            rc = err_set(e, ERR_CANCELLED, "interrupted");
        else if (rc != ERR_NONE)
            rc = err_wrap(e, rc, "%s", url);
    }
    if (x.net) os_net_destroy(x.net);
    if (x.loop) os_loop_destroy(x.loop);
    buf_deinit(&x.request);
    buf_deinit(&x.in);
    buf_deinit(&x.body);
    return rc;
}
