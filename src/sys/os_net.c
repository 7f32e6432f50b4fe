/* os_net.c: TCP on libuv.
 *
 * N1  Bytes are read straight into the handler's room; nothing is copied. A room of none stops reading.
 * N2  A send tries the kernel first: in the common case it costs one system call and no allocation. What is left goes
 *     to uv_write, one at a time per connection, so sends complete in order.
 * N3  No callback runs inside a call into this file. `sent` of a send that finished at once comes from a task of the
 *     same turn.
 * N4  Order at the end of a connection: sent(true) of what was written, sent(false) of the rest, closed. Then it is
 *     freed.
 *
 * Descriptors. At EMFILE libuv accepts and closes everything that waits, which looks to clients like a server that is
 * broken. So we stop earlier: the kernel hands out the lowest free descriptor, hence a new connection's number tells
 * how many are in use; when it comes near the limit, the next connection is left unaccepted (libuv then stops polling
 * the listener and the kernel's backlog holds the rest) until one of ours closes.
 *
 * Process-wide, done once at the first net: SIGPIPE is ignored (libuv writes without MSG_NOSIGNAL) and the soft limit
 * of descriptors is raised towards the hard one. */
#include "sys/os_loop_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/limits.h"

#define BACKLOG 1024
#define KEEPALIVE_S 60            /* a peer that vanished without a word is noticed after about this and nine probes */
#define DESCRIPTORS_WANTED 65536u /* more than LIMIT_CONNECTIONS_MAX on every listener, and the segments' files */
#define DESCRIPTORS_KEPT_SHARE 8  /* one part in so many of the limit is kept for files */
#define DESCRIPTORS_KEPT_MIN 32u

_Static_assert(sizeof(struct iovec) == sizeof(uv_buf_t), "a uv_buf_t is an iovec on unix");
_Static_assert(offsetof(struct iovec, iov_base) == offsetof(uv_buf_t, base), "same fields");
_Static_assert(offsetof(struct iovec, iov_len) == offsetof(uv_buf_t, len), "same fields");

struct os_net {
    struct net net;
    struct loop *loop;            /* borrowed */
    struct list listeners, conns; /* open ones; unlinked when uv_close is called on them */
    struct list completed;        /* connections with finished sends to tell of */
    struct task tell;
    size_t n_handles, n_conns;
    unsigned descriptors_max; /* at this number accepting pauses */
    bool is_crowded;          /* the newest descriptor was above it */
    bool is_destroyed;        /* freed with its last handle */
};

struct listener {
    uv_tcp_t tcp;
    struct os_net *net;
    struct list link;
    accept_fn fn;
    void *arg;
    size_t n_conns, refs; /* its connections, and itself while open */
    bool is_closed, holds_one;
};

struct conn {
    uv_tcp_t tcp;
    union {
        uv_write_t write;
        uv_connect_t connect;
    } req;
    struct os_net *net;
    struct listener *listener;          /* NULL: outgoing */
    const struct conn_handler *handler; /* NULL: nobody is told */
    void *user;
    void (*connected)(void *user, struct conn *c);
    struct list link, completed_link;
    struct list sends;     /* not yet with the kernel, in order; the first is in req.write while is_writing */
    struct list completed; /* with the kernel, not yet told */
    size_t waiting_bytes;  /* of sends, without what libuv has */
    int error;             /* libuv's, the reason of the end; 0: clean */
    bool is_connecting, is_writing, is_closing, is_eof, is_read_stopped;
    struct net_address target; /* outgoing: for the words */
};

static struct os_net *self(struct net *n)
{
    return CONTAINER_OF(n, struct os_net, net);
}

static uv_stream_t *stream_of(struct conn *c)
{
    return (uv_stream_t *)&c->tcp;
}

static enum err_code net_error(struct err *e, int status, const char *what, const struct net_address *a)
{
    enum err_code code = ERR_IO;

    if (status == UV_EADDRINUSE) code = ERR_BUSY;
    if (status == UV_EACCES) code = ERR_DENIED;
    if (status == UV_ETIMEDOUT) code = ERR_TIMEOUT;
    if (status == UV_ECONNREFUSED || status == UV_ECONNRESET || status == UV_EPIPE || status == UV_ECANCELED)
        code = ERR_CLOSED;
    if (a != NULL && a->host[0])
        (void)err_set(e, code, "%s %s%s%s:%u: %s", what, strchr(a->host, ':') ? "[" : "", a->host,
                      strchr(a->host, ':') ? "]" : "", (unsigned)a->port, uv_strerror(status));
    else
        (void)err_set(e, code, "%s: %s", what, uv_strerror(status));
    if (e != NULL) e->os_errno = -status;
    if (code == ERR_BUSY) err_hint(e, "another process listens there: stop it or take another port");
    return code;
}

static void net_unref(struct os_net *o)
{
    o->n_handles--;
    if (o->n_handles == 0 && o->is_destroyed) free(o);
}

/* ---- addresses ---- */

static enum err_code address_parse(const struct net_address *a, struct sockaddr_storage *out, struct err *e)
{
    const char *host = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;

    if (uv_ip4_addr(host, a->port, (struct sockaddr_in *)out) == 0) return ERR_NONE;
    if (uv_ip6_addr(host, a->port, (struct sockaddr_in6 *)out) == 0) return ERR_NONE;
    (void)err_set(e, ERR_INVALID, "\"%s\" is not a numeric IPv4 or IPv6 address", a->host);
    err_hint(e, "names other than localhost are not looked up: write the address");
    return ERR_INVALID;
}

static void address_format(const struct sockaddr_storage *s, struct net_address *out)
{
    memset(out, 0, sizeof(*out));
    if (s->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)s;
        (void)uv_ip4_name(in, out->host, sizeof(out->host));
        out->port = ntohs(in->sin_port);
    } else if (s->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)s;
        (void)uv_ip6_name(in, out->host, sizeof(out->host));
        /* An IPv4 client of a listener on "::" is shown as what it is. */
        if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) memmove(out->host, out->host + 7, strlen(out->host + 7) + 1);
        out->port = ntohs(in->sin6_port);
    }
}

static void os_net_local(struct net *n, struct conn *c, struct net_address *out)
{
    struct sockaddr_storage s = {0};
    int len = (int)sizeof(s);

    (void)uv_tcp_getsockname(&c->tcp, (struct sockaddr *)&s, &len);
    address_format(&s, out);
}

static bool os_net_is_encrypted(struct net *n, struct conn *c)
{
    (void)n;
    (void)c;
    return false;
}

static struct bytes os_net_peer_subject(struct net *n, struct conn *c)
{
    (void)n;
    (void)c;
    return (struct bytes){0};
}

static void os_net_peer(struct net *n, struct conn *c, struct net_address *out)
{
    struct sockaddr_storage s = {0};
    int len = (int)sizeof(s);

    (void)uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&s, &len);
    address_format(&s, out);
}

/* ---- the end of a connection ---- */

static void accept_held(struct os_net *o);
static void listener_unref(struct listener *l);

static void tell_completed(struct conn *c)
{
    struct list *n;

    while ((n = list_pop_front(&c->completed)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, true);
    }
}

static void on_conn_closed(uv_handle_t *h)
{
    struct conn *c = CONTAINER_OF(h, struct conn, tcp);
    struct os_net *o = c->net;
    struct list *n;

    os_loop_note(o->loop);
    list_remove(&c->completed_link);
    tell_completed(c);
    while ((n = list_pop_front(&c->sends)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, false);
    }
    if (c->handler != NULL) {
        struct err e = {0};
        if (c->error != 0) (void)net_error(&e, c->error, c->is_connecting ? "connecting to" : "connection", &c->target);
        c->handler->closed(c->user, c->error != 0 ? &e : NULL);
    }
    if (c->listener != NULL) {
        c->listener->n_conns--;
        listener_unref(c->listener);
    }
    free(c);
    o->n_conns--;
    o->is_crowded = false;
    if (!o->is_destroyed) accept_held(o);
    net_unref(o);
}

/* Ends it; `error` 0 is clean. */
static void conn_end(struct conn *c, int error)
{
    if (c->is_closing) return;
    c->is_closing = true;
    c->error = error;
    list_remove(&c->link);
    uv_close((uv_handle_t *)&c->tcp, on_conn_closed);
}

static void os_net_close(struct net *n, struct conn *c)
{
    conn_end(c, 0);
}

static struct conn *conn_create(struct os_net *o)
{
    struct conn *c = calloc(1, sizeof(*c));

    if (c == NULL) return NULL;
    check(uv_tcp_init(os_loop_uv(o->loop), &c->tcp) == 0);
    c->net = o;
    list_init(&c->sends);
    list_init(&c->completed);
    list_push_back(&o->conns, &c->link);
    o->n_handles++;
    o->n_conns++;
    return c;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = CONTAINER_OF(h, struct conn, tcp);
    uint8_t *ptr = NULL;
    size_t cap = 0;

    c->handler->room(c->user, &ptr, &cap); /* N1 */
    *buf = uv_buf_init((char *)ptr, 0);
    buf->len = cap;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = CONTAINER_OF(s, struct conn, tcp);

    if (n == 0) return; /* nothing there after all */
    os_loop_note(c->net->loop);
    if (n > 0) {
        c->handler->received(c->user, (size_t)n);
    } else if (n == UV_ENOBUFS) {
        (void)uv_read_stop(s); /* no room: read_start resumes */
    } else if (n == UV_EOF) {
        c->is_eof = true;
        (void)uv_read_stop(s);
        if (list_is_empty(&c->sends)) conn_end(c, 0); /* else answers on their way leave first */
    } else {
        conn_end(c, (int)n);
    }
}

static void os_net_read_start(struct net *n, struct conn *c)
{
    int rc;

    c->is_read_stopped = false;
    if (c->is_closing || c->is_eof || c->is_connecting || c->handler == NULL) return;
    rc = uv_read_start(stream_of(c), on_alloc, on_read);
    if (rc != 0 && rc != UV_EALREADY) conn_end(c, rc);
}

static void os_net_read_stop(struct net *n, struct conn *c)
{
    c->is_read_stopped = true;
    if (!c->is_closing) (void)uv_read_stop(stream_of(c));
}

/* ---- sending ---- */

static void on_tell(struct task *t)
{
    struct os_net *o = CONTAINER_OF(t, struct os_net, tell);
    struct list batch, *n;

    /* What these callbacks send is told of next time. */
    list_init(&batch);
    while ((n = list_pop_front(&o->completed)) != NULL)
        list_push_back(&batch, n);
    while ((n = list_pop_front(&batch)) != NULL) {
        struct conn *c = CONTAINER_OF(n, struct conn, completed_link);
        tell_completed(c);
        if (!c->is_closing && list_is_empty(&c->sends) && c->handler->drained) c->handler->drained(c->user);
    }
}

static void send_complete(struct conn *c, struct send_req *r)
{
    list_remove(&r->link);
    list_push_back(&c->completed, &r->link);
    if (!list_is_linked(&c->completed_link)) list_push_back(&c->net->completed, &c->completed_link);
    c->net->loop->post(c->net->loop, &c->net->tell); /* N3 */
}

/* Takes n bytes off the front. */
static void send_advance(struct conn *c, struct send_req *r, size_t n)
{
    check(n <= r->bytes);
    r->bytes -= n;
    c->waiting_bytes -= n;
    while (r->n > 0 && n >= r->iov->iov_len) {
        n -= r->iov->iov_len;
        r->iov++;
        r->n--;
    }
    if (n > 0) {
        r->iov->iov_base = (char *)r->iov->iov_base + n;
        r->iov->iov_len -= n;
    }
}

static void on_written(uv_write_t *req, int status);

static void sends_pump(struct conn *c)
{
    struct list *first;

    while (!c->is_closing && !c->is_writing && !c->is_connecting && (first = list_first(&c->sends)) != NULL) {
        struct send_req *r = CONTAINER_OF(first, struct send_req, link);
        int rc = r->bytes == 0 ? 0 : uv_try_write(stream_of(c), (uv_buf_t *)r->iov, (unsigned)r->n); /* N2 */
        if (rc < 0 && rc != UV_EAGAIN) {
            conn_end(c, rc);
            return;
        }
        if (rc > 0) send_advance(c, r, (size_t)rc);
        if (r->bytes == 0) {
            send_complete(c, r);
            continue;
        }
        rc = uv_write(&c->req.write, stream_of(c), (uv_buf_t *)r->iov, (unsigned)r->n, on_written);
        if (rc != 0) {
            conn_end(c, rc);
            return;
        }
        c->is_writing = true;
        c->waiting_bytes -= r->bytes; /* libuv counts them from here on */
    }
    if (c->is_eof && list_is_empty(&c->sends)) conn_end(c, 0);
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = CONTAINER_OF(req, struct conn, req.write);

    os_loop_note(c->net->loop);
    c->is_writing = false;
    if (c->is_closing) return; /* on_conn_closed tells of it */
    if (status != 0) {
        conn_end(c, status);
        return;
    }
    send_complete(c, CONTAINER_OF(list_first(&c->sends), struct send_req, link));
    sends_pump(c);
}

static void os_net_send(struct net *n, struct conn *c, struct send_req *r)
{
    r->bytes = 0;
    for (int i = 0; i < r->n; i++)
        r->bytes += r->iov[i].iov_len;
    c->waiting_bytes += r->bytes;
    list_push_back(&c->sends, &r->link);
    if (list_first(&c->sends) == &r->link) sends_pump(c);
}

static size_t os_net_send_queued(struct net *n, struct conn *c)
{
    return c->waiting_bytes + (c->is_writing ? uv_stream_get_write_queue_size(stream_of(c)) : 0);
}

/* ---- listening ---- */

static void listener_unref(struct listener *l)
{
    if (--l->refs == 0) free(l);
}

static void on_listener_closed(uv_handle_t *h)
{
    struct listener *l = CONTAINER_OF(h, struct listener, tcp);
    struct os_net *o = l->net;

    listener_unref(l);
    net_unref(o);
}

static void conn_options(struct conn *c)
{
    /* Answers are whole when they are sent: waiting for more (Nagle) would only delay them. */
    (void)uv_tcp_nodelay(&c->tcp, 1);
    (void)uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
}

static void accept_one(struct listener *l)
{
    struct os_net *o = l->net;
    struct conn *c = conn_create(o);
    uv_os_fd_t fd = -1;

    if (c == NULL) {
        l->holds_one = true; /* no memory: as without descriptors */
        return;
    }
    c->listener = l;
    l->refs++;
    l->n_conns++;
    if (uv_accept((uv_stream_t *)&l->tcp, stream_of(c)) != 0) {
        conn_end(c, 0);
        return;
    }
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0) o->is_crowded = (unsigned)fd >= o->descriptors_max;
    if (l->n_conns > LIMIT_CONNECTIONS_MAX) {
        conn_end(c, 0);
        return;
    }
    conn_options(c);
    c->user = l->fn(l->arg, c, &c->handler);
    if (c->user == NULL) {
        c->handler = NULL;
        conn_end(c, 0);
        return;
    }
    check(c->handler != NULL);
    if (!c->is_read_stopped) os_net_read_start(&o->net, c);
}

static void on_connection(uv_stream_t *s, int status)
{
    struct listener *l = CONTAINER_OF(s, struct listener, tcp);

    if (status != 0) return; /* the connection was gone before it was accepted */
    os_loop_note(l->net->loop);
    if (l->net->is_crowded && l->net->n_conns > 0)
        l->holds_one = true;
    else
        accept_one(l);
}

/* Goes on where descriptors or memory had run out. */
static void accept_held(struct os_net *o)
{
    struct list *n, *next;

    for (n = o->listeners.next; n != &o->listeners; n = next) {
        struct listener *l = CONTAINER_OF(n, struct listener, link);
        next = n->next;
        if (!l->holds_one || (o->is_crowded && o->n_conns > 0)) continue;
        l->holds_one = false;
        l->refs++; /* accepting may close it */
        accept_one(l);
        next = l->is_closed ? &o->listeners : n->next;
        listener_unref(l);
    }
}

static void os_net_listener_close(struct net *n, struct listener *l)
{
    if (l == NULL || l->is_closed) return;
    l->is_closed = true;
    list_remove(&l->link);
    uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
}

static enum err_code os_net_listen(struct net *n, const struct net_address *a, accept_fn fn, void *arg,
                                   struct listener **out, struct net_address *bound, struct err *e)
{
    struct os_net *o = self(n);
    struct sockaddr_storage s = {0};
    struct listener *l;
    int rc, len = (int)sizeof(s);
    enum err_code code = address_parse(a, &s, e);

    *out = NULL;
    if (code != ERR_NONE) return code;
    l = calloc(1, sizeof(*l));
    if (l == NULL) return err_set(e, ERR_MEMORY, "listening on %s: out of memory", a->host);
    check(uv_tcp_init(os_loop_uv(o->loop), &l->tcp) == 0);
    l->net = o;
    l->fn = fn;
    l->arg = arg;
    l->refs = 1;
    list_push_back(&o->listeners, &l->link);
    o->n_handles++;
    /* libuv sets SO_REUSEADDR, so a restart does not wait for old connections to be forgotten. */
    rc = uv_tcp_bind(&l->tcp, (struct sockaddr *)&s, 0);
    if (rc == 0) rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
    if (rc == 0) rc = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&s, &len);
    if (rc != 0) {
        os_net_listener_close(n, l);
        return net_error(e, rc, "listening on", a);
    }
    if (bound != NULL) address_format(&s, bound);
    *out = l;
    return ERR_NONE;
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = CONTAINER_OF(req, struct conn, req.connect);

    os_loop_note(c->net->loop);
    if (c->is_closing) return;
    if (status != 0) {
        conn_end(c, status);
        return;
    }
    c->is_connecting = false;
    conn_options(c);
    os_net_read_start(&c->net->net, c);
    c->connected(c->user, c);
    sends_pump(c);
}

static enum err_code os_net_connect(struct net *n, const struct net_address *a, const struct conn_handler *h,
                                    void *user, void (*connected)(void *user, struct conn *c), struct conn **out,
                                    struct err *e)
{
    struct os_net *o = self(n);
    struct sockaddr_storage s = {0};
    struct conn *c;
    int rc;
    enum err_code code = address_parse(a, &s, e);

    *out = NULL;
    if (code != ERR_NONE) return code;
    c = conn_create(o);
    if (c == NULL) return err_set(e, ERR_MEMORY, "connecting to %s: out of memory", a->host);
    c->target = *a;
    c->is_connecting = true;
    c->handler = h;
    c->user = user;
    c->connected = connected;
    rc = uv_tcp_connect(&c->req.connect, &c->tcp, (struct sockaddr *)&s, on_connected);
    if (rc != 0) conn_end(c, rc); /* `closed` reports it, as every other failure */
    *out = c;
    return ERR_NONE;
}

/* ---- the net ---- */

static void process_prepare(void)
{
    static _Atomic int is_done;
    struct rlimit limit;

    if (atomic_exchange(&is_done, 1)) return;
    (void)signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS_WANTED) return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max : DESCRIPTORS_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static unsigned descriptors_max(void)
{
    struct rlimit limit;
    unsigned n, kept;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return DESCRIPTORS_WANTED;
    n = limit.rlim_cur > INT32_MAX ? INT32_MAX : (unsigned)limit.rlim_cur;
    kept = n / DESCRIPTORS_KEPT_SHARE > DESCRIPTORS_KEPT_MIN ? n / DESCRIPTORS_KEPT_SHARE : DESCRIPTORS_KEPT_MIN;
    return n > kept ? n - kept : 0;
}

enum err_code os_net_create(struct net **out, struct loop *os_loop, struct err *e)
{
    struct os_net *o = calloc(1, sizeof(*o));

    *out = NULL;
    if (o == NULL) return err_set(e, ERR_MEMORY, "creating the network: out of memory");
    process_prepare();
    o->net = (struct net){
        .listen = os_net_listen,
        .listener_close = os_net_listener_close,
        .connect = os_net_connect,
        .read_start = os_net_read_start,
        .read_stop = os_net_read_stop,
        .send = os_net_send,
        .send_queued = os_net_send_queued,
        .local = os_net_local,
        .peer = os_net_peer,
        .is_encrypted = os_net_is_encrypted,
        .peer_subject = os_net_peer_subject,
        .close = os_net_close,
    };
    o->loop = os_loop;
    o->tell.run = on_tell;
    o->descriptors_max = descriptors_max();
    list_init(&o->listeners);
    list_init(&o->conns);
    list_init(&o->completed);
    *out = &o->net;
    return ERR_NONE;
}

/* What is still open is closed without a word; the memory goes with the last handle, when the loop runs or is
 * destroyed. */
void os_net_destroy(struct net *n)
{
    struct os_net *o;
    struct list *link;

    if (n == NULL) return;
    o = self(n);
    os_loop_unpost(o->loop, &o->tell);
    o->is_destroyed = true;
    while ((link = list_first(&o->listeners)) != NULL)
        os_net_listener_close(n, CONTAINER_OF(link, struct listener, link));
    while ((link = list_first(&o->conns)) != NULL) {
        struct conn *c = CONTAINER_OF(link, struct conn, link);
        list_init(&c->sends);
        list_init(&c->completed);
        c->handler = NULL;
        conn_end(c, 0);
    }
    if (o->n_handles == 0) free(o);
}
