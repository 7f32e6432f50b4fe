/* Proves: requests are served one after the other whatever way their bytes arrive, refusals carry the right status, a
 * slow reader stops its producer and nobody else, a client that goes away is told about exactly once, and a closing
 * door leaves nothing behind. Method: the whole door on the simulated net, from one seed, virtual time; one smoke test
 * on real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "door/http/http.h"
#include "sys/os.h"
#include "sys/sim.h"

/* ---- a client ---- */

struct client {
    struct net *net;
    struct loop *loop;
    struct conn *conn;
    struct buf in;
    size_t take_max; /* 0: reads all there is; else stops reading after so many bytes */
    bool closed, stop_loop_at_close;
    struct buf out;
    struct iovec iov;
    struct send_req send;
    bool sending;
};

static void client_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct client *c = user;
    *ptr = NULL;
    *cap = 0;
    if (c->take_max != 0 && c->in.len >= c->take_max) return;
    assert_true(buf_reserve(&c->in, 4096));
    *ptr = c->in.ptr + c->in.len;
    *cap = 4096;
}

static void client_received(void *user, size_t n)
{
    ((struct client *)user)->in.len += n;
}

static void client_drained(void *user)
{
    (void)user;
}

static void client_closed(void *user, const struct err *e)
{
    struct client *c = user;
    (void)e;
    c->closed = true;
    if (c->stop_loop_at_close) c->loop->stop(c->loop);
}

static void client_sent(struct send_req *r, bool ok)
{
    (void)ok;
    CONTAINER_OF(r, struct client, send)->sending = false;
}

static const struct conn_handler client_handler = {client_room, client_received, client_drained, client_closed};

static void client_connected(void *user, struct conn *c)
{
    (void)user;
    (void)c;
}

static void client_init(struct client *c, const struct sys *sys, const struct net_address *to)
{
    memset(c, 0, sizeof *c);
    c->net = sys->net;
    c->loop = sys->loop;
    buf_init(&c->in, 0);
    buf_init(&c->out, 0);
    assert_int_equal(sys->net->connect(sys->net, to, &client_handler, c, client_connected, &c->conn, NULL), ERR_NONE);
}

static void client_deinit(struct client *c)
{
    buf_deinit(&c->in);
    buf_deinit(&c->out);
}

static void client_send(struct client *c, const void *ptr, size_t n)
{
    assert_false(c->sending);
    buf_clear(&c->out);
    buf_put(&c->out, ptr, n);
    c->iov = (struct iovec){c->out.ptr, c->out.len};
    c->send = (struct send_req){.iov = &c->iov, .n = 1, .sent = client_sent};
    c->sending = true;
    c->net->send(c->net, c->conn, &c->send);
}

static void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

static const char *client_text(struct client *c)
{
    buf_put_u8(&c->in, 0);
    c->in.len--;
    return (const char *)c->in.ptr;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* ---- a world with a door and some routes ---- */

struct world {
    struct sim *sim;
    const struct sys *sys;
    struct http_door *door;
    struct net_address address;
    /* The route /later. */
    struct http_reply *later;
    struct timer later_timer;
    int n_closed, n_served;
    bool door_closed;
    /* The route /stream: writes until told to stop by the queue. */
    struct http_reply *stream;
    size_t stream_left;
    int n_drains;
};

static void route_hello(void *arg, const struct http_request *q, struct http_reply *r)
{
    struct world *w = arg;
    (void)q;
    w->n_served++;
    http_reply_send(r, 200, "text/plain", BYTES_LIT("hello\n"));
}

static void route_echo(void *arg, const struct http_request *q, struct http_reply *r)
{
    struct world *w = arg;
    w->n_served++;
    http_reply_send(r, 200, "text/plain", q->body);
}

static void on_gone(void *arg)
{
    struct world *w = arg;
    w->n_closed++;
    w->later = w->stream = NULL;
}

static void later_fire(struct timer *t)
{
    struct world *w = CONTAINER_OF(t, struct world, later_timer);
    if (w->later != NULL) http_reply_send(w->later, 200, "text/plain", BYTES_LIT("later\n"));
    w->later = NULL;
}

static void route_later(void *arg, const struct http_request *q, struct http_reply *r)
{
    struct world *w = arg;
    (void)q;
    w->later = r;
    http_reply_on_close(r, on_gone, w);
    w->later_timer.fire = later_fire;
    w->sys->loop->timer_start(w->sys->loop, &w->later_timer, w->sys->loop->now_ns(w->sys->loop) + 50 * 1000000ull);
}

static void stream_more(struct world *w)
{
    static uint8_t part[10000];
    memset(part, 120, sizeof part);
    while (w->stream_left > 0 && http_reply_queued(w->stream) < 100000) {
        size_t n = w->stream_left < sizeof part ? w->stream_left : sizeof part;
        http_reply_write(w->stream, bytes_of(part, n));
        w->stream_left -= n;
    }
    if (w->stream_left == 0) {
        http_reply_end(w->stream);
        w->stream = NULL;
    }
}

static void stream_drain(void *arg)
{
    struct world *w = arg;
    w->n_drains++;
    if (w->stream != NULL) stream_more(w);
}

static void route_stream(void *arg, const struct http_request *q, struct http_reply *r)
{
    struct world *w = arg;
    (void)q;
    w->stream = r;
    http_reply_on_close(r, on_gone, w);
    http_reply_on_drain(r, stream_drain, w);
    http_reply_begin(r, 200, "text/plain");
    stream_more(w);
}

static void register_routes(struct world *w)
{
    http_door_route(w->door, "GET", "/hello", route_hello, w);
    http_door_route(w->door, "POST", "/echo", route_echo, w);
    http_door_route(w->door, "GET", "/later", route_later, w);
    http_door_route(w->door, "GET", "/stream", route_stream, w);
    http_door_route(w->door, "GET", "/two words", route_hello, w);
}

static void world_init(struct world *w, unsigned split_permille, unsigned delay_ms)
{
    struct sim_options o = {.seed = 4711, .net_split_permille = split_permille, .net_delay_ms_max = delay_ms};
    struct net_address listen = {"127.0.0.1", 0};
    memset(w, 0, sizeof *w);
    assert_int_equal(sim_create(&w->sim, &o, NULL), ERR_NONE);
    w->sys = sim_sys(w->sim);
    assert_int_equal(http_door_open(&w->door, w->sys, &listen, &w->address, NULL), ERR_NONE);
    register_routes(w);
}

static void on_door_closed(void *arg)
{
    ((struct world *)arg)->door_closed = true;
}

static void world_deinit(struct world *w)
{
    if (w->door != NULL) {
        http_door_close(w->door, on_door_closed, w);
        sim_run_ms(w->sim, 100);
        assert_true(w->door_closed);
    }
    w->sys->loop->timer_stop(w->sys->loop, &w->later_timer);
    sim_destroy(w->sim);
}

/* One connection, one text, the answer after ms of virtual time. */
static void expect(struct world *w, const char *request, const char *status, const char *holds)
{
    struct client c;
    char line[64];
    client_init(&c, w->sys, &w->address);
    client_say(&c, request);
    sim_run_ms(w->sim, 1000);
    snprintf(line, sizeof line, "HTTP/1.1 %s", status);
    if (strncmp(client_text(&c), line, strlen(line)) != 0) fail_msg("%s\n-> %s", request, client_text(&c));
    if (holds != NULL && strstr(client_text(&c), holds) == NULL) fail_msg("%s\n-> %s", request, client_text(&c));
    if (!c.closed) w->sys->net->close(w->sys->net, c.conn);
    sim_run_ms(w->sim, 3000);
    assert_true(c.closed);
    client_deinit(&c);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

/* ---- requests ---- */

static void test_http__statuses(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 0, 0);
    expect(&w, GET("/hello"), "200 OK", "\r\n\r\nhello\n");
    expect(&w, GET("/hello?a=b"), "200 OK", NULL);
    expect(&w, GET("/two%20words"), "200 OK", NULL);
    expect(&w, GET("/nothing"), "404 Not Found", "{\"error\":{\"code\":\"not_found\"");
    expect(&w, GET("/hello/"), "404", NULL);
    expect(&w, GET("/%2"), "400", "bad_path");
    expect(&w, "POST /hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab", "405", "Allow: GET, HEAD\r\n");
    expect(&w, GET("/echo"), "405", "Allow: POST\r\n");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "200", "\r\n\r\nabc");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n", "413", "too_large");
    expect(&w, "GET /hello HTTP/3.0\r\nHost: localhost\r\n\r\n", "505", NULL);
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", "501",
           "Connection: close\r\n");
    expect(&w, "rubbish\r\n\r\n", "400", NULL);
    expect(&w, GET("/later"), "200", "later\n");
    world_deinit(&w);
}

static void test_http__head_has_no_body(void **state)
{
    struct world w;
    struct client c;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    client_say(&c, "HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n" GET("/hello"));
    sim_run_ms(w.sim, 100);
    assert_int_equal(count(client_text(&c), "Content-Length: 6\r\n"), 2);
    assert_int_equal(count(client_text(&c), "hello\n"), 1);
    /* The end of a stream without chunks is the end of the connection. */
    w.stream_left = 5000;
    client_say(&c, "HEAD /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
    sim_run_ms(w.sim, 100);
    assert_true(c.closed);
    assert_null(strstr(client_text(&c), "xxx"));
    client_deinit(&c);
    world_deinit(&w);
}

static void test_http__head_too_large(void **state)
{
    struct world w;
    struct buf b;
    (void)state;
    world_init(&w, 0, 0);
    buf_init(&b, 0);
    buf_put_str(&b, "GET /hello HTTP/1.1\r\nHost: localhost\r\nX: ");
    for (size_t i = 0; i < LIMIT_HTTP_HEADER_BYTES_MAX; i++)
        buf_put_u8(&b, 'a');
    buf_put_u8(&b, 0);
    expect(&w, (const char *)b.ptr, "431", "Connection: close");
    buf_deinit(&b);
    world_deinit(&w);
}

static void test_http__pipelined_requests_are_answered_in_order(void **state)
{
    struct world w;
    struct client c;
    const char *later, *echo;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    client_say(
        &c, GET("/hello")
                GET("/later") "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\necho" GET("/hello"));
    sim_run_ms(w.sim, 500);
    assert_int_equal(count(client_text(&c), "HTTP/1.1 200 OK"), 4);
    later = strstr(client_text(&c), "later\n");
    echo = strstr(client_text(&c), "\r\necho");
    assert_true(later != NULL && echo != NULL && strstr(client_text(&c), "hello\n") < later && later < echo);
    assert_non_null(strstr(echo, "hello\n"));
    assert_false(c.closed);
    client_deinit(&c);
    world_deinit(&w);
}

/* A pipelined request that is longer than what is read ahead during a reply: reading must go on after it. */
static void test_http__long_request_behind_a_slow_reply(void **state)
{
    struct world w;
    struct client c;
    struct buf b;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    buf_init(&b, 0);
    buf_put_str(&b, GET("/later") "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n");
    for (int i = 0; i < 300000; i++)
        buf_put_u8(&b, 'z');
    client_send(&c, b.ptr, b.len);
    sim_run_ms(w.sim, 1000);
    assert_int_equal(count(client_text(&c), "HTTP/1.1 200 OK"), 2);
    assert_int_equal(w.n_served, 1);
    buf_deinit(&b);
    client_deinit(&c);
    world_deinit(&w);
}

static void test_http__bytes_arrive_in_any_pieces(void **state)
{
    struct world w;
    struct client c;
    (void)state;
    world_init(&w, 1000, 3);
    client_init(&c, w.sys, &w.address);
    for (int i = 0; i < 20; i++) {
        client_say(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\n\r\n" GET("/hello"));
        sim_run_ms(w.sim, 2000);
    }
    assert_int_equal(count(client_text(&c), "\r\n\r\nabcdefgh"), 20);
    assert_int_equal(count(client_text(&c), "hello\n"), 20);
    assert_int_equal(w.n_served, 40);
    client_deinit(&c);
    world_deinit(&w);
}

/* 1 MiB in chunks of one byte is six times as many bytes of framing: taken, and one byte more is refused. */
static void test_http__many_small_chunks(void **state)
{
    struct world w;
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        struct client c;
        struct buf b;
        world_init(&w, 0, 0);
        client_init(&c, w.sys, &w.address);
        buf_init(&b, 0);
        buf_put_str(&b, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < LIMIT_HTTP_BODY_BYTES_MAX + extra; i++)
            buf_put_str(&b, "1\r\nq\r\n");
        buf_put_str(&b, "0\r\n\r\n");
        client_send(&c, b.ptr, b.len);
        sim_run_ms(w.sim, 1000);
        assert_int_equal(strncmp(client_text(&c), extra ? "HTTP/1.1 413" : "HTTP/1.1 200", 12), 0);
        buf_deinit(&b);
        client_deinit(&c);
        world_deinit(&w);
    }
}

static void test_http__expect_continue(void **state)
{
    struct world w;
    struct client c;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    sim_run_ms(w.sim, 100);
    assert_string_equal(client_text(&c), "HTTP/1.1 100 Continue\r\n\r\n");
    client_say(&c, "ok");
    sim_run_ms(w.sim, 100);
    assert_non_null(strstr(client_text(&c), "HTTP/1.1 200 OK"));
    client_deinit(&c);
    world_deinit(&w);
}

static void test_http__old_clients(void **state)
{
    struct world w;
    struct client c;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    client_say(&c, "GET /hello HTTP/1.0\r\n\r\n");
    sim_run_ms(w.sim, 100);
    assert_non_null(strstr(client_text(&c), "Connection: close"));
    assert_true(c.closed);
    client_deinit(&c);

    client_init(&c, w.sys, &w.address);
    client_say(&c, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    sim_run_ms(w.sim, 100);
    assert_non_null(strstr(client_text(&c), "Connection: keep-alive"));
    assert_false(c.closed);
    w.stream_left = 30000;
    client_say(&c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    sim_run_ms(w.sim, 100);
    assert_null(strstr(client_text(&c), "chunked"));
    assert_true(c.closed);
    client_deinit(&c);
    world_deinit(&w);
}

/* ---- time ---- */

static void test_http__timeouts(void **state)
{
    struct world w;
    struct client half, silent, idle;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&half, w.sys, &w.address);
    client_init(&silent, w.sys, &w.address);
    client_init(&idle, w.sys, &w.address);
    client_say(&half, "GET /hello HTTP/1.1\r\nHo");
    client_say(&idle, GET("/hello"));
    sim_run_ms(w.sim, 9000);
    assert_false(half.closed);
    sim_run_ms(w.sim, 4000);
    assert_int_equal(strncmp(client_text(&half), "HTTP/1.1 408", 12), 0);
    assert_true(half.closed);
    assert_true(silent.closed);
    assert_int_equal(silent.in.len, 0);
    assert_false(idle.closed);
    sim_run_ms(w.sim, 120000);
    assert_true(idle.closed);
    client_deinit(&half);
    client_deinit(&silent);
    client_deinit(&idle);
    world_deinit(&w);
}

/* ---- streaming ---- */

static void test_http__slow_reader_stops_the_producer(void **state)
{
    struct world w;
    struct client slow, other;
    size_t left;
    (void)state;
    world_init(&w, 0, 0);
    w.stream_left = 4u << 20;
    client_init(&slow, w.sys, &w.address);
    slow.take_max = 1000;
    client_say(&slow, GET("/stream"));
    sim_run_ms(w.sim, 500);
    left = w.stream_left;
    assert_true(left > 3u << 20);
    assert_true(http_reply_queued(w.stream) < 200000);
    sim_run_ms(w.sim, 500);
    assert_int_equal(w.stream_left, left);

    client_init(&other, w.sys, &w.address);
    client_say(&other, GET("/hello"));
    sim_run_ms(w.sim, 100);
    assert_non_null(strstr(client_text(&other), "hello\n"));

    slow.take_max = 0;
    w.sys->net->read_start(w.sys->net, slow.conn);
    sim_run_ms(w.sim, 5000);
    assert_int_equal(w.stream_left, 0);
    assert_true(w.n_drains > 10);
    assert_true(slow.in.len > 4u << 20);
    assert_memory_equal(slow.in.ptr + slow.in.len - 5, "0\r\n\r\n", 5);
    assert_int_equal(w.n_closed, 0);
    /* The connection goes on. */
    slow.in.len = 0;
    client_say(&slow, GET("/hello"));
    sim_run_ms(w.sim, 100);
    assert_non_null(strstr(client_text(&slow), "hello\n"));
    client_deinit(&slow);
    client_deinit(&other);
    world_deinit(&w);
}

static void test_http__client_goes_away(void **state)
{
    struct world w;
    struct client c;
    (void)state;
    world_init(&w, 0, 0);
    client_init(&c, w.sys, &w.address);
    client_say(&c, GET("/later"));
    sim_run_ms(w.sim, 10);
    assert_non_null(w.later);
    w.sys->net->close(w.sys->net, c.conn);
    sim_run_ms(w.sim, 100);
    assert_int_equal(w.n_closed, 1);
    client_deinit(&c);

    w.stream_left = 1u << 20;
    client_init(&c, w.sys, &w.address);
    c.take_max = 1000;
    client_say(&c, GET("/stream"));
    sim_run_ms(w.sim, 10);
    w.sys->net->close(w.sys->net, c.conn);
    sim_run_ms(w.sim, 100);
    assert_int_equal(w.n_closed, 2);
    client_deinit(&c);

    /* After its answer a reply hears of no close. */
    client_init(&c, w.sys, &w.address);
    client_say(&c, GET("/later"));
    sim_run_ms(w.sim, 200);
    w.sys->net->close(w.sys->net, c.conn);
    sim_run_ms(w.sim, 100);
    assert_int_equal(w.n_closed, 2);
    client_deinit(&c);
    world_deinit(&w);
}

static void test_http__door_closes_with_open_connections(void **state)
{
    struct world w;
    struct client c[3], late;
    (void)state;
    world_init(&w, 0, 0);
    for (int i = 0; i < 3; i++)
        client_init(&c[i], w.sys, &w.address);
    client_say(&c[0], GET("/later"));
    client_say(&c[1], "GET /hel");
    client_say(&c[2], GET("/hello"));
    sim_run_ms(w.sim, 10);
    http_door_close(w.door, on_door_closed, &w);
    w.door = NULL;
    sim_run_ms(w.sim, 100);
    assert_true(w.door_closed);
    assert_int_equal(w.n_closed, 1);
    client_init(&late, w.sys, &w.address);
    sim_run_ms(w.sim, 100);
    assert_true(late.closed);
    for (int i = 0; i < 3; i++) {
        assert_true(c[i].closed);
        client_deinit(&c[i]);
    }
    client_deinit(&late);
    world_deinit(&w);
}

/* ---- who asks ---- */

static void test_http__foreign_pages_are_refused(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 0, 0);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421", "wrong_host");
    expect(&w, "GET /hello HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", "421", NULL);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", "421", NULL);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", "200", NULL);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "200", NULL);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: LOCALHOST:8080\r\n\r\n", "200", NULL);
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://evil.example\r\nContent-Length: 1\r\n\r\na",
           "403", "foreign_origin");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost:1\r\nOrigin: null\r\nContent-Length: 1\r\n\r\na", "403", NULL);
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:2\r\nContent-Length: 1\r\n\r\na",
           "403", NULL);
    expect(&w, "POST /echo HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\nContent-Length: 1\r\n\r\na",
           "200", NULL);
    world_deinit(&w);
}

/* ---- rough seas: resets, splits, delays ---- */

static void test_http__resets_leave_nothing_behind(void **state)
{
    struct sim_options o = {.seed = 77, .net_split_permille = 500, .net_reset_permille = 100, .net_delay_ms_max = 5};
    struct net_address listen = {"127.0.0.1", 0};
    struct world w = {0};
    (void)state;
    assert_int_equal(sim_create(&w.sim, &o, NULL), ERR_NONE);
    w.sys = sim_sys(w.sim);
    assert_int_equal(http_door_open(&w.door, w.sys, &listen, &w.address, NULL), ERR_NONE);
    register_routes(&w);
    for (int i = 0; i < 200; i++) {
        struct client c;
        w.stream_left = 100000;
        client_init(&c, w.sys, &w.address);
        client_say(&c, i % 3 == 0 ? GET("/hello") GET("/hello") : i % 3 == 1 ? GET("/stream") : GET("/later"));
        sim_run_ms(w.sim, 1000);
        if (!c.closed) w.sys->net->close(w.sys->net, c.conn);
        sim_run_ms(w.sim, 100);
        assert_true(c.closed);
        assert_null(w.stream);
        assert_null(w.later);
        client_deinit(&c);
    }
    world_deinit(&w);
}

/* ---- real sockets ---- */

static void test_http__on_real_sockets(void **state)
{
    struct sys sys = {.clock = os_clock(), .rng = os_rng(), .fs = os_fs()};
    struct net_address listen = {"127.0.0.1", 0};
    struct world w = {0};
    struct client c;
    (void)state;
    assert_int_equal(os_loop_create(&sys.loop, NULL), ERR_NONE);
    assert_int_equal(os_net_create(&sys.net, sys.loop, NULL), ERR_NONE);
    w.sys = &sys;
    assert_int_equal(http_door_open(&w.door, &sys, &listen, &w.address, NULL), ERR_NONE);
    assert_int_not_equal(w.address.port, 0);
    register_routes(&w);
    w.stream_left = 3u << 20;
    client_init(&c, &sys, &w.address);
    c.stop_loop_at_close = true;
    client_say(&c, GET("/later") GET("/stream") "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    sys.loop->run(sys.loop, LOOP_RUN);
    assert_true(c.closed);
    assert_int_equal(count(client_text(&c), "HTTP/1.1 200 OK"), 3);
    assert_true(c.in.len > 3u << 20);
    assert_memory_equal(c.in.ptr + c.in.len - 6, "hello\n", 6);
    http_door_close(w.door, on_door_closed, &w);
    while (!w.door_closed)
        sys.loop->run(sys.loop, LOOP_ONCE_WAIT);
    os_net_destroy(sys.net);
    os_loop_destroy(sys.loop);
    client_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http__statuses),
        cmocka_unit_test(test_http__head_has_no_body),
        cmocka_unit_test(test_http__head_too_large),
        cmocka_unit_test(test_http__pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_http__long_request_behind_a_slow_reply),
        cmocka_unit_test(test_http__bytes_arrive_in_any_pieces),
        cmocka_unit_test(test_http__many_small_chunks),
        cmocka_unit_test(test_http__expect_continue),
        cmocka_unit_test(test_http__old_clients),
        cmocka_unit_test(test_http__timeouts),
        cmocka_unit_test(test_http__slow_reader_stops_the_producer),
        cmocka_unit_test(test_http__client_goes_away),
        cmocka_unit_test(test_http__door_closes_with_open_connections),
        cmocka_unit_test(test_http__foreign_pages_are_refused),
        cmocka_unit_test(test_http__resets_leave_nothing_behind),
        cmocka_unit_test(test_http__on_real_sockets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
