/* net_conformance_test.c: what sys.h promises of connections, asked of TCP and of the simulated net by the same cases.
 * The simulated one splits a third of its deliveries and delays them, so the cases may not lean on any framing. */
#include "sys/testing.h"

#include <sys/resource.h>
#include <unistd.h>

#define ROOM 5000
#define N_SENDS 200
#define BULK (3u << 20)

struct end {
    struct world *w;
    struct conn *conn;
    struct listener *listener; /* server: where it came from */
    uint8_t room[ROOM];
    size_t room_cap; /* 0: takes nothing */
    size_t n_received;
    uint64_t sum; /* of received bytes, by place: order matters */
    struct iovec iov[N_SENDS];
    struct send_req sends[N_SENDS];
    int n_sent, n_failed, n_drained, n_connected, n_closed;
    bool is_inside_send, is_echo, has_error;
    uint8_t *echo; /* owned by the test */
    struct send_req echo_send;
    struct iovec echo_iov;
};

static int n_events; /* anything that a test waits for */
static struct end server, client;

static uint64_t fold(uint64_t sum, size_t place, uint8_t byte)
{
    return sum + (uint64_t)(place % 65521 + 1) * byte;
}

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct end *x = user;

    *ptr = x->room;
    *cap = x->room_cap;
}

static void on_received(void *user, size_t n)
{
    struct end *x = user;

    assert_true(n > 0 && n <= x->room_cap);
    for (size_t i = 0; i < n; i++)
        x->sum = fold(x->sum, x->n_received++, x->room[i]);
    n_events++;
}

static void on_drained(void *user)
{
    struct end *x = user;

    assert_false(x->is_inside_send);
    x->n_drained++;
    n_events++;
}

static void on_closed(void *user, const struct err *e)
{
    struct end *x = user;

    assert_int_equal(x->n_closed, 0);
    x->n_closed++;
    x->has_error = e != NULL;
    if (e != NULL) x->w->e = *e;
    x->conn = NULL;
    n_events++;
}

static const struct conn_handler handler = {on_room, on_received, on_drained, on_closed};

static void on_sent(struct send_req *r, bool is_ok)
{
    struct end *x = &client;

    if (!(r >= client.sends && r < client.sends + N_SENDS)) x = &server;
    assert_false(x->is_inside_send);
    assert_int_equal(x->n_closed, 0);
    assert_int_equal(r - x->sends, x->n_sent + x->n_failed); /* in order */
    if (is_ok) {
        assert_int_equal(x->n_failed, 0);
        x->n_sent++;
    } else {
        x->n_failed++;
    }
    n_events++;
}

static void send_bytes(struct end *x, int i, const void *ptr, size_t len)
{
    x->iov[i] = (struct iovec){(void *)(uintptr_t)ptr, len};
    x->sends[i] = (struct send_req){.iov = &x->iov[i], .n = 1, .sent = on_sent};
    x->is_inside_send = true;
    x->w->net->send(x->w->net, x->conn, &x->sends[i]);
    x->is_inside_send = false;
}

static void on_connected(void *user, struct conn *c)
{
    struct end *x = user;

    assert_ptr_equal(x->conn, c);
    x->n_connected++;
    n_events++;
}

static void *on_accept(void *arg, struct conn *c, const struct conn_handler **h)
{
    struct end *x = arg;

    if (x == NULL) return NULL; /* refuses */
    assert_null(x->conn);
    x->conn = c;
    *h = &handler;
    n_events++;
    return x;
}

static struct net_address listen_any(struct world *w, void *arg, struct listener **out)
{
    struct net_address a = {"localhost", 0}, bound = {{0}, 0};

    ok(w->net->listen(w->net, &a, on_accept, arg, out, &bound, &w->e));
    assert_string_equal(bound.host, "127.0.0.1");
    assert_true(bound.port > 0);
    return bound;
}

static void ends_reset(struct world *w)
{
    n_events = 0;
    memset(&server, 0, sizeof(server));
    memset(&client, 0, sizeof(client));
    server.w = client.w = w;
    server.room_cap = client.room_cap = ROOM;
}

/* Waits until *flag is n; other events come and go. */
static void wait_for(struct world *w, const int *flag, int n)
{
    while (*flag < n)
        run_until(w, &n_events, n_events + 1);
}

static struct net_address pair_open(struct world *w, struct listener **l)
{
    struct net_address at;

    ends_reset(w);
    at = listen_any(w, &server, l);
    ok(w->net->connect(w->net, &at, &handler, &client, on_connected, &client.conn, &w->e));
    assert_int_equal(client.n_connected, 0); /* never inside the call */
    wait_for(w, &client.n_connected, 1);
    while (server.conn == NULL)
        run_until(w, &n_events, n_events + 1);
    return at;
}

static void pair_close(struct world *w, struct listener *l)
{
    if (client.conn) w->net->close(w->net, client.conn);
    if (client.conn) w->net->close(w->net, client.conn); /* again is harmless */
    if (server.conn) w->net->close(w->net, server.conn);
    wait_for(w, &client.n_closed, 1);
    wait_for(w, &server.n_closed, 1);
    w->net->listener_close(w->net, l);
}

static void test_net__addresses(void **state)
{
    struct world world, *w = &world;
    struct net_address at, a;
    struct listener *l, *second;

    world_open(w, state);
    at = pair_open(w, &l);
    w->net->peer(w->net, client.conn, &a);
    assert_string_equal(a.host, at.host);
    assert_int_equal(a.port, at.port);
    w->net->local(w->net, server.conn, &a);
    assert_string_equal(a.host, at.host);
    assert_int_equal(a.port, at.port);
    w->net->local(w->net, client.conn, &a);
    assert_int_not_equal(a.port, at.port);
    assert_int_equal(w->net->listen(w->net, &at, on_accept, NULL, &second, NULL, &w->e), ERR_BUSY);
    assert_null(second);
    (void)snprintf(a.host, sizeof(a.host), "example.com");
    assert_int_equal(w->net->listen(w->net, &a, on_accept, NULL, &second, NULL, &w->e), ERR_INVALID);
    assert_int_equal(w->net->connect(w->net, &a, &handler, &client, on_connected, &client.conn, &w->e), ERR_INVALID);
    client.conn = NULL;
    w->net->close(w->net, server.conn);
    wait_for(w, &client.n_closed, 1);
    assert_false(client.has_error);
    wait_for(w, &server.n_closed, 1);
    w->net->listener_close(w->net, l);
    world_close(w);
}

/* Many small sends: all arrive, in order, told in order and never inside send; drained comes after the last. */
static void test_net__sends_in_order(void **state)
{
    struct world world, *w = &world;
    struct listener *l;
    static uint8_t bytes[N_SENDS * 10];
    uint64_t sum = 0;
    size_t at = 0;

    world_open(w, state);
    (void)pair_open(w, &l);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    for (int i = 0; i < N_SENDS; i++) {
        size_t len = (size_t)(i % 10); /* some are empty */
        send_bytes(&client, i, bytes + at, len);
        at += len;
    }
    for (size_t i = 0; i < at; i++)
        sum = fold(sum, i, bytes[i]);
    wait_for(w, &client.n_sent, N_SENDS);
    wait_for(w, &client.n_drained, 1);
    while (server.n_received < at)
        run_until(w, &n_events, n_events + 1);
    assert_int_equal(server.sum, sum);
    assert_int_equal(w->net->send_queued(w->net, client.conn), 0);
    pair_close(w, l);
    world_close(w);
}

/* A reader that stops holds the sender up; when it goes on, every byte arrives. */
static void test_net__backpressure(void **state)
{
    struct world world, *w = &world;
    struct listener *l;
    uint8_t *bulk = malloc(BULK);
    uint64_t sum = 0;
    size_t queued;

    world_open(w, state);
    (void)pair_open(w, &l);
    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = (uint8_t)(i ^ i >> 9);
        sum = fold(sum, i, bulk[i]);
    }
    w->net->read_stop(w->net, server.conn);
    for (int i = 0; i < 8; i++)
        send_bytes(&client, i, bulk + (size_t)i * (BULK / 8), BULK / 8);
    while (w->loop->run(w->loop, LOOP_ONCE_NOWAIT)) {
    }
    assert_int_equal(server.n_received, 0);
    queued = w->net->send_queued(w->net, client.conn);
    if (w->is_sim) assert_true(queued > 0 && queued < BULK); /* a kernel may take it all */
    server.room_cap = 0;                                     /* the other way to stop */
    w->net->read_start(w->net, server.conn);
    while (w->loop->run(w->loop, LOOP_ONCE_NOWAIT)) {
    }
    assert_int_equal(server.n_received, 0);
    server.room_cap = 4000;
    w->net->read_start(w->net, server.conn);
    while (server.n_received < BULK)
        run_until(w, &n_events, n_events + 1);
    assert_int_equal(server.sum, sum);
    wait_for(w, &client.n_sent, 8);
    assert_int_equal(w->net->send_queued(w->net, client.conn), 0);
    pair_close(w, l);
    world_close(w);
    free(bulk);
}

/* A close tells of every send, before `closed`; the peer gets what was on its way and then a clean end. */
static void test_net__close_tells_all(void **state)
{
    struct world world, *w = &world;
    struct listener *l;
    uint8_t *bulk = calloc(1, BULK);

    world_open(w, state);
    (void)pair_open(w, &l);
    send_bytes(&client, 0, "first", 5);
    wait_for(w, &client.n_sent, 1);
    w->net->read_stop(w->net, server.conn);
    for (int i = 1; i < 20; i++)
        send_bytes(&client, i, bulk, BULK);
    w->net->close(w->net, client.conn);
    send_bytes(&client, 20, bulk, BULK); /* too late, told all the same */
    w->net->read_start(w->net, client.conn);
    assert_int_equal(client.n_closed, 0);
    wait_for(w, &client.n_closed, 1);
    assert_int_equal(client.n_sent + client.n_failed, 21);
    assert_true(client.n_failed > 0);
    assert_false(client.has_error);
    w->net->read_start(w->net, server.conn);
    wait_for(w, &server.n_closed, 1);
    assert_true(server.n_received >= 5);
    w->net->listener_close(w->net, l);
    world_close(w);
    free(bulk);
}

static void test_net__refused(void **state)
{
    struct world world, *w = &world;
    struct listener *l;
    struct net_address at;

    world_open(w, state);
    ends_reset(w);
    at = listen_any(w, NULL, &l); /* accepts nobody */
    ok(w->net->connect(w->net, &at, &handler, &client, on_connected, &client.conn, &w->e));
    wait_for(w, &client.n_closed, 1);
    w->net->listener_close(w->net, l);
    while (w->loop->run(w->loop, LOOP_ONCE_NOWAIT)) {
    }
    ends_reset(w);
    ok(w->net->connect(w->net, &at, &handler, &client, on_connected, &client.conn, &w->e));
    send_bytes(&client, 0, "x", 1); /* waits for the connection that does not come */
    wait_for(w, &client.n_closed, 1);
    assert_int_equal(client.n_connected, 0);
    assert_int_equal(client.n_failed, 1);
    assert_true(client.has_error);
    assert_int_equal(w->e.code, ERR_CLOSED);
    assert_non_null(strstr(w->e.text, "refused"));
    world_close(w);
}

/* The peer closes with answers still to come to it: a send then ends the connection, in one way or another. */
static void test_net__sends_into_a_closed_peer(void **state)
{
    struct world world, *w = &world;
    struct listener *l;

    world_open(w, state);
    (void)pair_open(w, &l);
    w->net->read_stop(w->net, server.conn); /* so that it does not see the end */
    w->net->close(w->net, client.conn);
    wait_for(w, &client.n_closed, 1);
    for (int i = 0; i < N_SENDS && server.n_closed == 0; i++) {
        send_bytes(&server, i, "answer", 6);
        run_until(w, &n_events, n_events + 1);
    }
    assert_int_equal(server.n_closed, 1);
    w->net->listener_close(w->net, l);
    world_close(w);
}

/* ---- the real one ---- */

#define N_CROWD 30

struct guest {
    struct conn *conn; /* client's end */
    bool is_closed;
};
static struct guest guests[N_CROWD];
static struct conn *accepted[N_CROWD];
static int n_accepted, n_left, n_guests;

static void guest_room(void *user, uint8_t **ptr, size_t *cap)
{
    static uint8_t nothing_comes[16];
    *ptr = nothing_comes;
    *cap = sizeof(nothing_comes);
}
static void guest_closed(void *user, const struct err *e)
{
    struct guest *g = user;
    g->is_closed = true;
    n_events++;
}
static void guest_connected(void *user, struct conn *c)
{
    n_guests++;
    n_events++;
}
static void host_closed(void *user, const struct err *e)
{
    n_left++;
    n_events++;
}
static void *host_accept(void *arg, struct conn *c, const struct conn_handler **h)
{
    static const struct conn_handler hosts = {guest_room, on_received, NULL, host_closed};
    accepted[n_accepted++] = c;
    *h = &hosts;
    n_events++;
    return &server;
}

/* As the kernel gives the lowest one that is free, so many are in use. */
static unsigned descriptors_used(void)
{
    int fd = dup(0);
    assert_true(fd >= 0);
    (void)close(fd);
    return (unsigned)fd;
}

/* Near the limit of descriptors connections wait instead of being closed, and come in as others leave. */
static void test_net__crowd_waits(void **state)
{
    static const struct conn_handler guest_handler = {guest_room, on_received, NULL, guest_closed};
    struct world world, *w = &world;
    struct rlimit before, low;
    struct listener *l;
    struct net_address at = {"127.0.0.1", 0};
    struct net *n;

    world_open(w, state);
    ends_reset(w);
    n_accepted = n_left = n_guests = 0;
    memset(guests, 0, sizeof(guests));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = descriptors_used() + N_CROWD + N_CROWD / 2 + 32; /* the guests, half of the hosts, what is kept */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    ok(os_net_create(&n, w->loop, &w->e));
    ok(n->listen(n, &at, host_accept, NULL, &l, &at, &w->e));
    for (int i = 0; i < N_CROWD; i++)
        ok(w->net->connect(w->net, &at, &guest_handler, &guests[i], guest_connected, &guests[i].conn, &w->e));
    wait_for(w, &n_guests, N_CROWD); /* the kernel greets them all */
    while (w->loop->run(w->loop, LOOP_ONCE_NOWAIT)) {
    }
    assert_true(n_accepted > 3 && n_accepted < N_CROWD);
    for (int i = 0; i < N_CROWD; i++)
        assert_false(guests[i].is_closed);
    for (int i = 0; i < N_CROWD; i++) {
        wait_for(w, &n_accepted, i + 1);
        n->close(n, accepted[i]);
        wait_for(w, &n_left, i + 1);
    }
    for (int i = 0; i < N_CROWD; i++) {
        while (!guests[i].is_closed)
            run_until(w, &n_events, n_events + 1);
    }
    n->listener_close(n, l);
    os_net_destroy(n);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_net__addresses),
        BOTH(test_net__sends_in_order),
        BOTH(test_net__backpressure),
        BOTH(test_net__close_tells_all),
        BOTH(test_net__refused),
        BOTH(test_net__sends_into_a_closed_peer),
        cmocka_unit_test_prestate(test_net__crowd_waits, (void *)(uintptr_t) "os"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
