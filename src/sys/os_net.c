/* os_net.c: TCP streams on libuv.
 *
 * Reading: libuv asks for room, the handler gives its own buffer, the kernel copies into it: no copy of ours.
 * Sending: a queue of requests; the first is tried at once with uv_try_write (one system call in the common case), the
 * rest goes by one uv_write at a time from the head of the queue. `sent` runs from a task, never inside send(), so a
 * caller is not re-entered.
 *
 * N1  requests of one connection finish in the order they were sent.
 * N2  every request gets exactly one `sent`, before `closed`.
 * N3  accept stops nothing: at LIMIT_CONNECTIONS_MAX, and when descriptors run out, a new connection is closed at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "sys/os_loop_int.h"

struct os_net {
    struct net net;
    struct loop *loop;
    unsigned n_conns;
};
struct listener {
    uv_tcp_t tcp;
    struct os_net *net;
    accept_fn fn;
    void *arg;
};
struct conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct os_net *net;
    const struct conn_handler *handler; /* NULL: refused */
    void *user;
    void (*connected)(void *user, struct conn *c);
    struct list sends;    /* not yet with the kernel; the first may be with libuv */
    struct list finished; /* done, `sent` not yet told */
    size_t queued;
    struct task finish_task;
    struct err error;
    bool writing, reading, no_room, closing, was_busy, gone;
};

static struct loop *loop_of(struct conn *c)
{
    return c->net->loop;
}

static void conn_fail(struct conn *c, int uv_code, const char *what)
{
    if (c->error.code == ERR_NONE) (void)err_set(&c->error, ERR_CLOSED, "%s: %s", what, uv_strerror(uv_code));
}

/* ---- sending ---- */

static void tell_finished(struct conn *c, bool ok)
{
    struct list *n;
    while ((n = list_pop_front(&c->finished)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, ok);
    }
}

static void on_finish_task(struct task *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, finish_task);
    if (c->gone) {
        free(c);
        return;
    }
    tell_finished(c, true);
    if (c->was_busy && list_is_empty(&c->sends) && !c->closing) {
        c->was_busy = false;
        if (c->handler->drained) c->handler->drained(c->user);
    }
}

static void finish(struct conn *c, struct send_req *r)
{
    list_remove(&r->link);
    list_push_back(&c->finished, &r->link);
    c->was_busy = true;
    loop_of(c)->post(loop_of(c), &c->finish_task);
}

/* Takes n sent bytes off the front of a request. */
static void advance(struct conn *c, struct send_req *r, size_t n)
{
    c->queued -= n;
    r->bytes -= n;
    while (r->n > 0 && n >= r->iov->iov_len)
        n -= r->iov->iov_len, r->iov++, r->n--;
    if (n > 0) {
        r->iov->iov_base = (uint8_t *)r->iov->iov_base + n;
        r->iov->iov_len -= n;
    }
}

_Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "uv_buf_t is an iovec on Unix");

static uv_buf_t *bufs_of(struct send_req *r)
{
    return (uv_buf_t *)(void *)r->iov;
}

static void write_next(struct conn *c);

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    struct send_req *r;
    os_loop_turn(c->net->loop);
    c->writing = false;
    if (c->closing) return;
    if (status != 0) {
        conn_fail(c, status, "sending");
        c->net->net.close(&c->net->net, c);
        return;
    }
    r = CONTAINER_OF(list_first(&c->sends), struct send_req, link);
    c->queued -= r->bytes;
    r->bytes = 0;
    finish(c, r);
    write_next(c);
}

/* Sends from the head of the queue until the kernel takes no more. */
static void write_next(struct conn *c)
{
    while (!c->writing && !c->closing && !list_is_empty(&c->sends)) {
        struct send_req *r = CONTAINER_OF(list_first(&c->sends), struct send_req, link);
        int n = r->bytes == 0 ? 0 : uv_try_write((uv_stream_t *)&c->tcp, bufs_of(r), (unsigned)r->n);
        if (n < 0 && n != UV_EAGAIN) {
            conn_fail(c, n, "sending");
            c->net->net.close(&c->net->net, c);
            return;
        }
        if (n > 0) advance(c, r, (size_t)n);
        if (r->bytes == 0) {
            finish(c, r);
            continue;
        }
        c->write.data = c;
        n = uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs_of(r), (unsigned)r->n, on_written);
        c->writing = n == 0;
        if (n != 0) {
            conn_fail(c, n, "sending");
            c->net->net.close(&c->net->net, c);
        }
    }
}

static void os_send(struct net *net, struct conn *c, struct send_req *r)
{
    (void)net;
    r->bytes = 0;
    for (int i = 0; i < r->n; i++)
        r->bytes += r->iov[i].iov_len;
    if (c->closing) { /* told with the others when the handle is closed */
        list_push_back(&c->sends, &r->link);
        c->queued += r->bytes;
        return;
    }
    c->queued += r->bytes;
    list_push_back(&c->sends, &r->link);
    write_next(c);
}

static size_t os_send_queued(struct net *net, struct conn *c)
{
    (void)net;
    return c->queued;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
    struct conn *c = h->data;
    uint8_t *ptr = NULL;
    size_t cap = 0;
    (void)hint;
    os_loop_turn(c->net->loop);
    c->handler->room(c->user, &ptr, &cap);
    *buf = uv_buf_init((char *)ptr, (unsigned)(cap > (1u << 30) ? (1u << 30) : cap));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = s->data;
    (void)buf;
    if (n > 0) {
        c->handler->received(c->user, (size_t)n);
    } else if (n == UV_ENOBUFS) {
        uv_read_stop(s);
        c->reading = false;
    } else if (n < 0) {
        if (n != UV_EOF) conn_fail(c, (int)n, "receiving");
        c->net->net.close(&c->net->net, c);
    }
}

static void os_read_start(struct net *net, struct conn *c)
{
    (void)net;
    if (c->reading || c->closing) return;
    c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
}

static void os_read_stop(struct net *net, struct conn *c)
{
    (void)net;
    if (!c->reading || c->closing) return;
    uv_read_stop((uv_stream_t *)&c->tcp);
    c->reading = false;
}

/* ---- closing ---- */

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct list *n;
    os_loop_turn(c->net->loop);
    tell_finished(c, true);
    while ((n = list_pop_front(&c->sends)) != NULL)
        list_push_back(&c->finished, n);
    tell_finished(c, false);
    c->net->n_conns--;
    if (c->handler != NULL) c->handler->closed(c->user, c->error.code == ERR_NONE ? NULL : &c->error);
    /* A finish task may be queued: it frees then. */
    c->gone = true;
    loop_of(c)->post(loop_of(c), &c->finish_task);
}

static void os_close(struct net *net, struct conn *c)
{
    (void)net;
    if (c->closing) return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

/* ---- making connections ---- */

static enum err_code parse_address(const struct net_address *a, struct sockaddr_storage *out, struct err *e)
{
    const char *host = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;
    memset(out, 0, sizeof *out);
    if (uv_ip4_addr(host, a->port, (struct sockaddr_in *)(void *)out) == 0) return ERR_NONE;
    if (uv_ip6_addr(host, a->port, (struct sockaddr_in6 *)(void *)out) == 0) return ERR_NONE;
    return err_set(e, ERR_INVALID, "\"%s\" is not a numeric address or localhost", a->host);
}

static void print_address(const struct sockaddr_storage *s, struct net_address *out)
{
    const struct sockaddr_in *v4 = (const void *)s;
    const struct sockaddr_in6 *v6 = (const void *)s;
    memset(out, 0, sizeof *out);
    if (s->ss_family == AF_INET6) {
        uv_ip6_name(v6, out->host, sizeof out->host);
        out->port = (uint16_t)(v6->sin6_port >> 8 | v6->sin6_port << 8);
    } else if (s->ss_family == AF_INET) {
        uv_ip4_name(v4, out->host, sizeof out->host);
        out->port = (uint16_t)(v4->sin_port >> 8 | v4->sin_port << 8);
    }
}

static struct conn *conn_create(struct os_net *o)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->net = o;
    list_init(&c->sends);
    list_init(&c->finished);
    c->finish_task.run = on_finish_task;
    if (uv_tcp_init(os_loop_uv(o->loop), &c->tcp) != 0) {
        free(c);
        return NULL;
    }
    c->tcp.data = c;
    o->n_conns++;
    return c;
}

static void on_connection(uv_stream_t *s, int status)
{
    struct listener *l = s->data;
    struct conn *c;
    os_loop_turn(l->net->loop);
    if (status < 0) return;
    c = conn_create(l->net);
    if (c == NULL) return;
    if (uv_accept(s, (uv_stream_t *)&c->tcp) != 0) {
        os_close(&l->net->net, c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    c->user = l->fn(l->arg, c, &c->handler);
    if (c->user == NULL) {
        c->handler = NULL;
        os_close(&l->net->net, c);
        return;
    }
    os_read_start(&l->net->net, c);
}

static void on_listener_closed(uv_handle_t *h)
{
    free(h->data);
}

static void os_listener_close(struct net *net, struct listener *l)
{
    (void)net;
    uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}

static enum err_code os_listen(struct net *net, const struct net_address *a, accept_fn fn, void *arg,
                               struct listener **out, struct net_address *bound, struct err *e)
{
    struct os_net *o = CONTAINER_OF(net, struct os_net, net);
    struct sockaddr_storage address;
    struct listener *l;
    int rc, len = sizeof address;
    enum err_code code = parse_address(a, &address, e);
    *out = NULL;
    if (code != ERR_NONE) return code;
    l = calloc(1, sizeof *l);
    if (l == NULL) return err_set(e, ERR_MEMORY, "listening: out of memory");
    l->net = o;
    l->fn = fn;
    l->arg = arg;
    l->tcp.data = l;
    rc = uv_tcp_init(os_loop_uv(o->loop), &l->tcp);
    check(rc == 0);
    l->tcp.data = l;
    rc = uv_tcp_bind(&l->tcp, (const struct sockaddr *)&address, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&l->tcp, 1024, on_connection);
    if (rc == 0) rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&address, &len);
    if (rc != 0) {
        os_listener_close(net, l);
        code = rc == UV_EADDRINUSE ? ERR_BUSY : rc == UV_EACCES ? ERR_DENIED : ERR_IO;
        return err_set(e, code, "listening on %s:%u: %s", a->host, (unsigned)a->port, uv_strerror(rc));
    }
    if (bound != NULL) print_address(&address, bound);
    *out = l;
    return ERR_NONE;
}

static void on_connect(uv_connect_t *r, int status)
{
    struct conn *c = r->data;
    os_loop_turn(c->net->loop);
    if (c->closing) return;
    if (status != 0) {
        conn_fail(c, status, "connecting");
        os_close(&c->net->net, c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    c->connected(c->user, c);
}

static enum err_code os_connect(struct net *net, const struct net_address *a, const struct conn_handler *h, void *user,
                                void (*connected)(void *user, struct conn *c), struct conn **out, struct err *e)
{
    struct os_net *o = CONTAINER_OF(net, struct os_net, net);
    struct sockaddr_storage address;
    struct conn *c;
    int rc;
    enum err_code code = parse_address(a, &address, e);
    *out = NULL;
    if (code != ERR_NONE) return code;
    c = conn_create(o);
    if (c == NULL) return err_set(e, ERR_MEMORY, "connecting: out of memory");
    c->handler = h;
    c->user = user;
    c->connected = connected;
    c->connect.data = c;
    rc = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&address, on_connect);
    if (rc != 0) { /* `closed` reports it */
        conn_fail(c, rc, "connecting");
        os_close(net, c);
    }
    *out = c;
    return ERR_NONE;
}

static void os_local(struct net *net, struct conn *c, struct net_address *out)
{
    struct sockaddr_storage s = {0};
    int len = sizeof s;
    (void)net;
    (void)uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&s, &len);
    print_address(&s, out);
}

static void os_peer(struct net *net, struct conn *c, struct net_address *out)
{
    struct sockaddr_storage s = {0};
    int len = sizeof s;
    (void)net;
    (void)uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&s, &len);
    print_address(&s, out);
}

enum err_code os_net_create(struct net **out, struct loop *os_loop, struct err *e)
{
    struct os_net *o = calloc(1, sizeof *o);
    *out = NULL;
    if (o == NULL) return err_set(e, ERR_MEMORY, "creating the network: out of memory");
    o->net = (struct net){os_listen, os_listener_close, os_connect, os_read_start, os_read_stop,
                          os_send,   os_send_queued,    os_local,   os_peer,       os_close};
    o->loop = os_loop;
    *out = &o->net;
    return ERR_NONE;
}

void os_net_destroy(struct net *n)
{
    if (n != NULL) free(CONTAINER_OF(n, struct os_net, net));
}
