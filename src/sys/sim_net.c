/* sim_net.c: streams inside the simulated world.
 *
 *   send ─▶ queue of the sender ─▶ window of the receiver (bytes in flight) ─▶ pieces of 1..n bytes into the receiver's
 * room
 *
 * Pieces, delays and resets come from the seed. A send is `sent` when its last byte is in the receiver's window, as a
 * kernel does it. Every callback runs from a task, never inside a call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sys/sim_int.h"

#define WINDOW_BYTES (256u << 10)
#define FIRST_PORT 20000
#define DELAY_NS 20000u /* of an undisturbed hop */

struct listener {
    struct list link;
    struct sim_net *net;
    struct net_address address;
    accept_fn fn;
    void *arg;
};
struct conn {
    struct list link;
    struct sim_net *net;
    struct conn *peer; /* NULL: gone */
    const struct conn_handler *handler;
    void *user;
    void (*connected)(void *user, struct conn *c);
    struct net_address local, remote;
    struct list sends;
    size_t queued, send_at; /* send_at: bytes of the first send that are in the peer's window */
    struct buf window;      /* received, not yet taken */
    struct task work;
    struct timer arrival;
    struct err error;
    bool reading, closing, closed, eof, busy, is_new, refused;
};
struct sim_net {
    struct net net;
    struct sim *sim;
    struct list conns, listeners, dead;
    uint16_t next_port;
};

static void conn_wake(struct conn *c)
{
    if (c != NULL && !c->closed) c->net->sim->loop.post(&c->net->sim->loop, &c->work);
}

static void conn_close(struct conn *c)
{
    if (c->closing) return;
    c->closing = true;
    conn_wake(c);
}

static void conn_reset(struct conn *c)
{
    if (c == NULL || c->closing) return;
    (void)err_set(&c->error, ERR_CLOSED, "connection reset");
    conn_close(c);
}

/* ---- moving bytes ---- */

static void arrive_later(struct conn *to)
{
    struct sim *s = to->net->sim;
    uint64_t delay = DELAY_NS;
    if (to->arrival.slot != 0) return;
    if (s->options.net_delay_ms_max > 0) delay += sim_random(s, s->options.net_delay_ms_max) * 1000000u;
    timers_start(&s->timers, &to->arrival, s->now_ns + delay);
}

static void on_arrival(struct timer *t)
{
    conn_wake(CONTAINER_OF(t, struct conn, arrival));
}

/* From our queue into the peer's window. */
static void push(struct conn *c)
{
    struct sim *s = c->net->sim;
    while (!list_is_empty(&c->sends) && c->peer != NULL && c->peer->window.len < WINDOW_BYTES) {
        struct send_req *r = CONTAINER_OF(list_first(&c->sends), struct send_req, link);
        size_t skip = c->send_at;
        for (int i = 0; i < r->n; i++) {
            size_t len = r->iov[i].iov_len;
            if (skip >= len) {
                skip -= len;
                continue;
            }
            buf_put(&c->peer->window, (const uint8_t *)r->iov[i].iov_base + skip, len - skip);
            skip = 0;
        }
        c->send_at = 0;
        c->queued -= r->bytes;
        list_remove(&r->link);
        arrive_later(c->peer);
        if (s->options.net_reset_permille > 0 && sim_random(s, 1000) < s->options.net_reset_permille) {
            r->sent(r, true);
            conn_reset(c->peer);
            conn_reset(c);
            return;
        }
        r->sent(r, true);
    }
    if (c->busy && list_is_empty(&c->sends) && !c->closing) {
        c->busy = false;
        if (c->handler->drained != NULL) c->handler->drained(c->user);
    }
}

/* From our window into the handler's room, one piece. */
static void pull(struct conn *c)
{
    struct sim *s = c->net->sim;
    uint8_t *ptr = NULL;
    size_t cap = 0, n = c->window.len;
    if (!c->reading || n == 0 || c->arrival.slot != 0) return;
    c->handler->room(c->user, &ptr, &cap);
    if (cap == 0) {
        c->reading = false;
        return;
    }
    if (n > cap) n = cap;
    if (s->options.net_split_permille > 0 && sim_random(s, 1000) < s->options.net_split_permille)
        n = 1 + sim_random(s, n);
    memcpy(ptr, c->window.ptr, n);
    memmove(c->window.ptr, c->window.ptr + n, c->window.len - n);
    c->window.len -= n;
    conn_wake(c->peer);
    conn_wake(c);
    c->handler->received(c->user, n);
}

static void conn_end(struct conn *c)
{
    struct list *n;
    c->closed = true;
    timers_stop(&c->net->sim->timers, &c->arrival);
    while ((n = list_pop_front(&c->sends)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, false);
    }
    if (c->peer != NULL) {
        c->peer->eof = true;
        c->peer->peer = NULL;
        conn_wake(c->peer);
        c->peer = NULL;
    }
    if (!c->refused) c->handler->closed(c->user, c->error.code == ERR_NONE ? NULL : &c->error);
    list_remove(&c->link);
    list_push_back(&c->net->dead, &c->link);
}

static void on_work(struct task *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, work);
    if (c->closed) return;
    if (c->is_new && !c->closing) {
        c->is_new = false;
        if (c->connected != NULL) c->connected(c->user, c);
    }
    if (!c->closing) push(c);
    if (!c->closing) pull(c);
    if (!c->closing && c->eof && (c->window.len == 0 || !list_is_empty(&c->sends)) && c->reading) conn_close(c);
    if (c->closing) conn_end(c);
}

static struct conn *conn_create(struct sim_net *n)
{
    struct conn *c = calloc(1, sizeof *c);
    check(c != NULL);
    c->net = n;
    list_init(&c->sends);
    buf_init(&c->window, 0);
    c->work.run = on_work;
    c->arrival.fire = on_arrival;
    list_push_back(&n->conns, &c->link);
    return c;
}

/* ---- the table ---- */

static struct sim_net *net_of(struct net *n)
{
    return CONTAINER_OF(n, struct sim_net, net);
}

static enum err_code net_listen(struct net *n, const struct net_address *a, accept_fn fn, void *arg,
                                struct listener **out, struct net_address *bound, struct err *e)
{
    struct sim_net *net = net_of(n);
    struct listener *l;
    *out = NULL;
    for (struct list *i = net->listeners.next; a->port != 0 && i != &net->listeners; i = i->next) {
        if (CONTAINER_OF(i, struct listener, link)->address.port == a->port)
            return err_set(e, ERR_BUSY, "listening on %s:%u: address already in use", a->host, (unsigned)a->port);
    }
    l = calloc(1, sizeof *l);
    check(l != NULL);
    l->net = net;
    l->fn = fn;
    l->arg = arg;
    l->address = *a;
    if (strcmp(a->host, "localhost") == 0) snprintf(l->address.host, sizeof l->address.host, "127.0.0.1");
    if (l->address.port == 0) l->address.port = net->next_port++;
    if (bound != NULL) *bound = l->address;
    list_push_back(&net->listeners, &l->link);
    *out = l;
    return ERR_NONE;
}

static void net_listener_close(struct net *n, struct listener *l)
{
    (void)n;
    list_remove(&l->link);
    free(l);
}

static struct listener *find_listener(struct sim_net *net, uint16_t port)
{
    for (struct list *i = net->listeners.next; i != &net->listeners; i = i->next) {
        struct listener *l = CONTAINER_OF(i, struct listener, link);
        if (l->address.port == port) return l;
    }
    return NULL;
}

static enum err_code net_connect(struct net *n, const struct net_address *a, const struct conn_handler *h, void *user,
                                 void (*connected)(void *user, struct conn *c), struct conn **out, struct err *e)
{
    struct sim_net *net = net_of(n);
    struct listener *l = find_listener(net, a->port);
    struct conn *c = conn_create(net), *s;
    (void)e;
    c->handler = h;
    c->user = user;
    c->connected = connected;
    c->is_new = true;
    c->reading = true;
    c->remote = *a;
    c->local = (struct net_address){"127.0.0.1", net->next_port++};
    *out = c;
    if (l == NULL) {
        (void)err_set(&c->error, ERR_CLOSED, "connecting: connection refused");
        conn_close(c);
        return ERR_NONE;
    }
    s = conn_create(net);
    s->local = l->address;
    s->remote = c->local;
    s->peer = c;
    c->peer = s;
    s->reading = true;
    s->user = l->fn(l->arg, s, &s->handler);
    if (s->user == NULL) {
        s->refused = true;
        conn_close(s);
    }
    conn_wake(c);
    return ERR_NONE;
}

static void net_read_start(struct net *n, struct conn *c)
{
    (void)n;
    c->reading = true;
    conn_wake(c);
}

static void net_read_stop(struct net *n, struct conn *c)
{
    (void)n;
    c->reading = false;
}

static void net_send(struct net *n, struct conn *c, struct send_req *r)
{
    (void)n;
    r->bytes = 0;
    for (int i = 0; i < r->n; i++)
        r->bytes += r->iov[i].iov_len;
    c->queued += r->bytes;
    c->busy = true;
    list_push_back(&c->sends, &r->link);
    conn_wake(c);
}

static size_t net_send_queued(struct net *n, struct conn *c)
{
    (void)n;
    return c->queued;
}

static void net_local(struct net *n, struct conn *c, struct net_address *out)
{
    (void)n;
    *out = c->local;
}

static void net_peer(struct net *n, struct conn *c, struct net_address *out)
{
    (void)n;
    *out = c->remote;
}

static void net_close(struct net *n, struct conn *c)
{
    (void)n;
    conn_close(c);
}

/* ---- life ---- */

static void conn_free(struct conn *c)
{
    list_remove(&c->link);
    buf_deinit(&c->window);
    free(c);
}

void sim_net_drop_all(struct sim_net *n)
{
    while (!list_is_empty(&n->conns))
        conn_free(CONTAINER_OF(list_first(&n->conns), struct conn, link));
    while (!list_is_empty(&n->dead))
        conn_free(CONTAINER_OF(list_first(&n->dead), struct conn, link));
    while (!list_is_empty(&n->listeners))
        net_listener_close(&n->net, CONTAINER_OF(list_first(&n->listeners), struct listener, link));
}

struct sim_net *sim_net_create(struct sim *s)
{
    struct sim_net *n = calloc(1, sizeof *n);
    check(n != NULL);
    n->sim = s;
    n->next_port = FIRST_PORT;
    list_init(&n->conns);
    list_init(&n->listeners);
    list_init(&n->dead);
    n->net = (struct net){net_listen, net_listener_close, net_connect, net_read_start, net_read_stop,
                          net_send,   net_send_queued,    net_local,   net_peer,       net_close};
    return n;
}

void sim_net_destroy(struct sim_net *n)
{
    sim_net_drop_all(n);
    free(n);
}

struct net *sim_net_net(struct sim_net *n)
{
    return &n->net;
}
