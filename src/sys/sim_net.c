/* sim_net.c: streams inside the simulated world.
 *
 *   send ─▶ sends ─▶ │window of the peer│ ─▶ after a hop: a piece into the peer's room
 *                      64 KiB, as a kernel's
 *
 * S1  `sent` means: the last byte is in the peer's window. It comes from a task, as everything else comes from a task
 *     or a timer; nothing calls back inside a call.
 * S2  Bytes arrive in order, in any pieces: whole windows, or (net_split_permille of deliveries) down to one byte.
 * S3  A close reaches the peer behind the bytes before it. A reset (net_reset_permille of sends) reaches both ends at
 *     once and takes what is in flight along.
 * S4  A peer that does not read learns of nothing, as in life; it learns when it reads or writes. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sys/sim_int.h"

#define WINDOW_BYTES (64u << 10)
#define FIRST_PORT 20000
#define HOP_NS 20000u /* of an undisturbed delivery */

struct listener {
    struct list link;
    struct net_address address;
    accept_fn fn;
    void *arg;
    bool is_cut;
};
struct conn {
    struct list link;
    struct sim_net *net;
    struct conn *peer; /* NULL: gone, or not there yet */
    const struct conn_handler *handler;
    void *user;
    void (*connected)(void *user, struct conn *c);
    struct net_address local, remote;
    struct list sends, completed;
    size_t queued_bytes;   /* of sends; r->bytes counts down as they move to the peer's window */
    struct buf window;     /* for us, not yet taken */
    size_t window_at;      /* what was taken of it */
    struct task work;      /* moves sends, tells of them, ends the connection */
    struct timer delivery; /* a piece, or the end */
    struct err error;      /* code ERR_NONE: a clean end */
    bool is_connecting, is_reading, is_ending;
    bool is_closed;    /* told; freed when `work`, posted meanwhile, has run */
    bool is_peer_gone; /* no more bytes than those in the window */
};
struct sim_net {
    struct net net;
    struct sim *sim;
    struct list conns, listeners;
    uint16_t next_port;
};

static struct sim_net *self(struct net *n)
{
    return CONTAINER_OF(n, struct sim_net, net);
}

static void work_later(struct conn *c)
{
    c->net->sim->loop.post(&c->net->sim->loop, &c->work);
}

static void deliver_later(struct conn *c)
{
    struct sim *s = c->net->sim;
    uint64_t delay = HOP_NS + sim_random(s, HOP_NS);

    if (c->delivery.slot != 0) return;
    if (s->options.net_delay_ms_max > 0) delay += sim_random(s, s->options.net_delay_ms_max * 1000000ull + 1);
    timers_start(&s->timers, &c->delivery, s->now_ns + delay);
}

static size_t window_len(const struct conn *c)
{
    return c->window.len - c->window_at;
}

/* ---- the end ---- */

static void conn_end_later(struct conn *c, const char *why)
{
    if (c->is_ending) return;
    c->is_ending = true;
    if (why != NULL)
        (void)err_set(&c->error, ERR_CLOSED, "%s %s:%u: %s", c->is_connecting ? "connecting to" : "connection",
                      c->remote.host, (unsigned)c->remote.port, why);
    work_later(c);
}

static void conn_free(struct conn *c)
{
    timers_stop(&c->net->sim->timers, &c->delivery);
    list_remove(&c->link);
    buf_deinit(&c->window);
    free(c);
}

static void tell_completed(struct conn *c)
{
    struct list batch, *n;

    list_init(&batch);
    while ((n = list_pop_front(&c->completed)) != NULL)
        list_push_back(&batch, n);
    while ((n = list_pop_front(&batch)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, true);
    }
}

static void conn_end(struct conn *c)
{
    struct list *n;

    tell_completed(c);
    while ((n = list_pop_front(&c->sends)) != NULL) {
        struct send_req *r = CONTAINER_OF(n, struct send_req, link);
        r->sent(r, false);
    }
    if (c->peer != NULL) {
        c->peer->peer = NULL;
        c->peer->is_peer_gone = true;
        deliver_later(c->peer); /* S3 */
        if (!list_is_empty(&c->peer->sends)) work_later(c->peer);
        c->peer = NULL;
    }
    sim_note(c->net->sim, 'e');
    if (c->handler != NULL) c->handler->closed(c->user, c->error.code == ERR_NONE ? NULL : &c->error);
    c->is_closed = true;
    if (!c->work.posted) conn_free(c);
}

static void reset_both(struct conn *c)
{
    if (c->peer != NULL) {
        buf_clear(&c->peer->window);
        c->peer->window_at = 0;
        conn_end_later(c->peer, "reset by peer");
    }
    conn_end_later(c, "reset by peer");
}

/* ---- bytes ---- */

/* Moves up to n bytes off the front of a send into the peer's window. */
static void send_move(struct conn *c, struct send_req *r, size_t n)
{
    r->bytes -= n;
    c->queued_bytes -= n;
    while (n > 0) {
        size_t piece = r->iov->iov_len < n ? r->iov->iov_len : n;
        if (piece > 0) buf_put(&c->peer->window, r->iov->iov_base, piece);
        n -= piece;
        r->iov->iov_base = (char *)r->iov->iov_base + piece;
        r->iov->iov_len -= piece;
        if (r->iov->iov_len == 0) {
            r->iov++;
            r->n--;
        }
    }
}

static void sends_move(struct conn *c)
{
    struct sim *s = c->net->sim;
    struct list *first;

    while (!c->is_ending && !c->is_connecting && (first = list_first(&c->sends)) != NULL) {
        struct send_req *r = CONTAINER_OF(first, struct send_req, link);
        size_t room, n;
        if (c->peer == NULL) {
            conn_end_later(c, "reset by peer"); /* S4: it writes to nobody */
            return;
        }
        room = window_len(c->peer) < WINDOW_BYTES ? WINDOW_BYTES - window_len(c->peer) : 0;
        n = r->bytes < room ? r->bytes : room;
        if (n == 0 && r->bytes > 0) return; /* the peer's reading goes on with it */
        if (sim_chance(s, s->options.net_reset_permille)) {
            reset_both(c);
            return;
        }
        send_move(c, r, n);
        if (n > 0) deliver_later(c->peer);
        if (r->bytes > 0) return;
        list_remove(&r->link);
        list_push_back(&c->completed, &r->link);
    }
}

static void on_work(struct task *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, work);

    if (c->is_closed) {
        conn_free(c);
        return;
    }
    sends_move(c);
    if (!list_is_empty(&c->completed)) {
        tell_completed(c);
        if (!c->is_ending && list_is_empty(&c->sends) && c->handler->drained) c->handler->drained(c->user);
    }
    if (c->is_ending) conn_end(c);
}

static size_t piece_size(struct sim *s, size_t n)
{
    if (!sim_chance(s, s->options.net_split_permille)) return n;
    return sim_random(s, 2) == 0 ? 1 : 1 + sim_random(s, n);
}

static void conn_connected(struct conn *c);

static void on_delivery(struct timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, delivery);
    uint8_t *ptr = NULL;
    size_t cap = 0, n = window_len(c);

    if (c->is_ending) return;
    if (c->is_connecting) {
        conn_connected(c);
        return;
    }
    if (!c->is_reading) return; /* read_start asks again */
    if (n == 0) {
        if (c->is_peer_gone) conn_end_later(c, NULL);
        return;
    }
    c->handler->room(c->user, &ptr, &cap);
    if (cap == 0) {
        c->is_reading = false;
        return;
    }
    n = piece_size(c->net->sim, n < cap ? n : cap);
    memcpy(ptr, c->window.ptr + c->window_at, n);
    c->window_at += n;
    if (c->window_at == c->window.len || c->window_at >= WINDOW_BYTES) {
        memmove(c->window.ptr, c->window.ptr + c->window_at, window_len(c));
        c->window.len -= c->window_at;
        c->window_at = 0;
    }
    sim_note(c->net->sim, n);
    if (window_len(c) > 0 || c->is_peer_gone) deliver_later(c);
    if (c->peer != NULL && !list_is_empty(&c->peer->sends)) work_later(c->peer);
    c->handler->received(c->user, n);
}

static void sim_net_read_start(struct net *n, struct conn *c)
{
    if (c->is_reading || c->is_ending) return;
    c->is_reading = true;
    if (!c->is_connecting && (window_len(c) > 0 || c->is_peer_gone)) deliver_later(c);
}

static void sim_net_read_stop(struct net *n, struct conn *c)
{
    c->is_reading = false;
}

static void sim_net_send(struct net *n, struct conn *c, struct send_req *r)
{
    r->bytes = 0;
    for (int i = 0; i < r->n; i++)
        r->bytes += r->iov[i].iov_len;
    c->queued_bytes += r->bytes;
    list_push_back(&c->sends, &r->link);
    work_later(c);
}

static size_t sim_net_send_queued(struct net *n, struct conn *c)
{
    return c->queued_bytes;
}

/* ---- making connections ---- */

static struct conn *conn_create(struct sim_net *o)
{
    struct conn *c = calloc(1, sizeof(*c));

    check(c != NULL);
    c->net = o;
    c->work.run = on_work;
    c->delivery.fire = on_delivery;
    c->is_reading = true;
    list_init(&c->sends);
    list_init(&c->completed);
    buf_init(&c->window, 0);
    list_push_back(&o->conns, &c->link);
    return c;
}

static enum err_code address_check(const struct net_address *a, struct net_address *out, struct err *e)
{
    uint8_t raw[16];

    *out = *a;
    if (strcmp(a->host, "localhost") == 0) (void)snprintf(out->host, sizeof(out->host), "127.0.0.1");
    if (inet_pton(AF_INET, out->host, raw) == 1 || inet_pton(AF_INET6, out->host, raw) == 1) return ERR_NONE;
    return err_set(e, ERR_INVALID, "\"%s\" is not a numeric IPv4 or IPv6 address", a->host);
}

static struct listener *listener_find(struct sim_net *o, const struct net_address *a)
{
    for (struct list *i = o->listeners.next; i != &o->listeners; i = i->next) {
        struct listener *l = CONTAINER_OF(i, struct listener, link);
        bool is_any = strcmp(l->address.host, "0.0.0.0") == 0 || strcmp(l->address.host, "::") == 0;
        if (!l->is_cut && l->address.port == a->port && (is_any || strcmp(l->address.host, a->host) == 0)) return l;
    }
    return NULL;
}

static enum err_code sim_net_listen(struct net *n, const struct net_address *a, accept_fn fn, void *arg,
                                    struct listener **out, struct net_address *bound, struct err *e)
{
    struct sim_net *o = self(n);
    struct net_address address;
    struct listener *l;
    enum err_code rc = address_check(a, &address, e);

    *out = NULL;
    if (rc != ERR_NONE) return rc;
    if (address.port == 0) address.port = o->next_port++;
    if (listener_find(o, &address) != NULL)
        return err_set(e, ERR_BUSY, "listening on %s:%u: address already in use", address.host, (unsigned)address.port);
    l = calloc(1, sizeof(*l));
    check(l != NULL);
    l->address = address;
    l->fn = fn;
    l->arg = arg;
    list_push_back(&o->listeners, &l->link);
    if (bound != NULL) *bound = address;
    *out = l;
    return ERR_NONE;
}

static void sim_net_listener_close(struct net *n, struct listener *l)
{
    if (l == NULL) return;
    list_remove(&l->link);
    free(l);
}

static enum err_code sim_net_connect(struct net *n, const struct net_address *a, const struct conn_handler *h,
                                     void *user, void (*connected)(void *user, struct conn *c), struct conn **out,
                                     struct err *e)
{
    struct sim_net *o = self(n);
    struct net_address address;
    struct conn *c;
    enum err_code rc = address_check(a, &address, e);

    *out = NULL;
    if (rc != ERR_NONE) return rc;
    c = conn_create(o);
    c->handler = h;
    c->user = user;
    c->connected = connected;
    c->is_connecting = true;
    c->remote = address;
    c->local = address;
    c->local.port = o->next_port++;
    deliver_later(c);
    *out = c;
    return ERR_NONE;
}

/* The hop of a connect is over: the other end comes into being. */
static void conn_connected(struct conn *c)
{
    struct listener *l = listener_find(c->net, &c->remote);
    struct conn *other;

    if (l == NULL) {
        conn_end_later(c, "connection refused");
        return;
    }
    c->is_connecting = false;
    other = conn_create(c->net);
    other->local = c->remote;
    other->remote = c->local;
    other->peer = c;
    c->peer = other;
    other->user = l->fn(l->arg, other, &other->handler);
    if (other->user == NULL) { /* refused: to the client it opens and closes */
        other->handler = NULL;
        other->is_reading = false;
        conn_end_later(other, NULL);
    }
    c->connected(c->user, c);
    if (!list_is_empty(&c->sends)) work_later(c);
}

static void sim_net_local(struct net *n, struct conn *c, struct net_address *out)
{
    *out = c->local;
}

static bool sim_net_is_encrypted(struct net *n, struct conn *c)
{
    (void)n;
    (void)c;
    return false;
}

static struct bytes sim_net_peer_subject(struct net *n, struct conn *c)
{
    (void)n;
    (void)c;
    return (struct bytes){0};
}

static void sim_net_peer(struct net *n, struct conn *c, struct net_address *out)
{
    *out = c->remote;
}

static void sim_net_close(struct net *n, struct conn *c)
{
    conn_end_later(c, NULL);
}

/* ---- the net ---- */

/* Tasks and timers are gone already: what is left waits for its owner's close, or for the end of the world. */
void sim_net_cut(struct sim_net *o)
{
    struct list *next;

    for (struct list *i = o->conns.next; i != &o->conns; i = next) {
        struct conn *c = CONTAINER_OF(i, struct conn, link);
        next = i->next;
        if (c->is_closed) {
            conn_free(c);
            continue;
        }
        c->peer = NULL;
        c->is_reading = false;
        c->is_ending = false;
        buf_clear(&c->window);
        c->window_at = 0;
    }
    for (struct list *i = o->listeners.next; i != &o->listeners; i = i->next)
        CONTAINER_OF(i, struct listener, link)->is_cut = true;
}

struct sim_net *sim_net_create(struct sim *s)
{
    struct sim_net *o = calloc(1, sizeof(*o));

    check(o != NULL);
    o->net = (struct net){
        .listen = sim_net_listen,
        .listener_close = sim_net_listener_close,
        .connect = sim_net_connect,
        .read_start = sim_net_read_start,
        .read_stop = sim_net_read_stop,
        .send = sim_net_send,
        .send_queued = sim_net_send_queued,
        .local = sim_net_local,
        .peer = sim_net_peer,
        .is_encrypted = sim_net_is_encrypted,
        .peer_subject = sim_net_peer_subject,
        .close = sim_net_close,
    };
    o->sim = s;
    o->next_port = FIRST_PORT;
    list_init(&o->conns);
    list_init(&o->listeners);
    return o;
}

void sim_net_destroy(struct sim_net *o)
{
    struct list *n;

    while ((n = list_first(&o->conns)) != NULL)
        conn_free(CONTAINER_OF(n, struct conn, link));
    while ((n = list_first(&o->listeners)) != NULL)
        sim_net_listener_close(&o->net, CONTAINER_OF(n, struct listener, link));
    free(o);
}

struct net *sim_net_net(struct sim_net *n)
{
    return &n->net;
}
