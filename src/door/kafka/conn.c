/* A connection: frames in, replies out.
 *
 *    received ──▶ frames ──▶ dispatch ──▶ handler ──┬─ kafka_reply now ──┐
 *                                                   └─ parked ... later ─┴─▶ front of the queue ready? ──▶ one send
 *
 * C1  Replies leave strictly in the order of the requests, whatever order they became ready in: only a run of ready
 *     requests at the front of the queue is sent.
 * C2  One send is under way at a time; what becomes ready meanwhile leaves together in the next. So the small replies
 *     of one loop turn share a system call, and a slow peer never makes more than the queue below.
 * C3  At LIMIT_CONN_INFLIGHT_MAX requests, or LIMIT_CONN_SEND_BYTES_MAX bytes of replies, no further frame is handled
 *     and nothing is read until some have left.
 * C4  Memory grows with the bytes that have arrived, never with a length that a peer only claims. The rest of a large
 *     frame is read to where it belongs and nothing beyond it, so that the next frame begins at the start of the
 *     buffer and large frames are never moved.
 * C5  A connection is freed when the net has said its last word, no send is under way and no task is posted. Until
 *     then it is bounded in memory (receive.c, kafka_request_account) and in time (guard.c).
 * C6  Before the login a request has at most LIMIT_BEFORE_LOGIN_BYTES, and only those of the login are handled; while a
 *     password is checked none is (sasl.c). */
#include "door/kafka/kafka_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void conn_turn(struct kafka_conn *c);

/* ---- requests ---- */
static void request_reset(struct kafka_request *q)
{
    q->began_ns = q->throttle_ms = 0;
    for (int i = 0; i < q->n_slices; i++)
        if (q->slices[i].segment != NULL) log_slice_release(&q->slices[i]);
    q->slices = NULL;
    q->n_slices = 0;
    q->splices = NULL;
    q->n_splices = 0;
    q->reply_bytes = q->spliced_bytes = 0;
    q->state = NULL;
    q->cancel = q->hurry = NULL;
    q->is_ready = q->is_silent = false;
    q->message = NULL;
    if (q->arena.used_bytes > KAFKA_REQUEST_MEMORY_KEPT)
        arena_deinit(&q->arena), arena_init(&q->arena, 4096);
    else
        arena_reset(&q->arena);
    if (q->out.cap > KAFKA_REQUEST_MEMORY_KEPT)
        buf_deinit(&q->out), buf_init(&q->out, 0);
    else
        buf_clear(&q->out);
}

void kafka_request_destroy(struct kafka_request *q)
{
    arena_deinit(&q->arena);
    buf_deinit(&q->out);
    free(q);
}

struct kafka_request *kafka_request_begin(struct kafka_conn *c)
{
    struct kafka_door *d = c->door;
    struct list *link = list_pop_front(&d->spare);
    struct kafka_request *q;

    if (link != NULL) {
        q = CONTAINER_OF(link, struct kafka_request, link);
        d->n_spare--;
    } else {
        q = calloc(1, sizeof *q);
        check(q != NULL);
        arena_init(&q->arena, 4096);
        buf_init(&q->out, 0);
    }
    q->conn = c;
    list_push_back(&c->requests, &q->link);
    c->n_requests++;
    d->stats.requests_total++;
    return q;
}

/* Not linked any more. */
static void request_end(struct kafka_request *q)
{
    struct kafka_conn *c = q->conn;
    struct kafka_door *d = c->door;

    check(c->n_requests > 0 && c->reply_bytes >= q->reply_bytes);
    c->n_requests--;
    c->reply_bytes -= q->reply_bytes;
    c->held_bytes -= q->held_bytes;
    d->held_bytes -= q->held_bytes;
    q->held_bytes = 0;
    request_reset(q);
    q->conn = NULL;
    if (d->n_spare >= KAFKA_REQUESTS_SPARE_MAX) {
        kafka_request_destroy(q);
        return;
    }
    list_push_front(&d->spare, &q->link);
    d->n_spare++;
}

void kafka_conn_schedule(struct kafka_conn *c)
{
    if (c->is_busy) {
        c->again = true;
    } else if (!c->is_posted) {
        c->is_posted = true;
        c->door->sys->loop->post(c->door->sys->loop, &c->task);
    }
}

static void request_ready(struct kafka_request *q)
{
    check(!q->is_ready);
    q->is_ready = true;
    q->state = NULL;
    q->cancel = q->hurry = NULL;
    if (!q->conn->is_closed) kafka_conn_schedule(q->conn);
}

void kafka_reply(struct kafka_request *q, const void *response)
{
    bool flexible = wire_is_flexible(q->message, kafka_version(q));
    struct wire_out out = {.buf = &q->out, .splices = q->splices, .splices_max = q->n_slices};
    size_t size;

    if (UNLIKELY(quotas_any(q->conn->door->broker))) kafka_throttle_reply(q, response);
    buf_clear(&q->out);
    buf_put_be32(&q->out, 0);
    buf_put_be32(&q->out, (uint32_t)q->header.correlation_id);
    /* The answer to ApiVersions keeps the old header, so that a client of any age can read it. */
    if (flexible && q->header.key != KAFKA_API_VERSIONS) buf_put_uvarint(&q->out, 0);
    wire_encode(q->message->response, kafka_version(q), flexible, response, &out);
    if (q->out.failed) {
        kafka_request_fail(q, "%s: no memory for the answer", q->message->name);
        return;
    }
    size = q->out.len - 4 + out.spliced_bytes;
    check(size <= INT32_MAX);
    buf_patch_be32(&q->out, 0, (uint32_t)size);
    q->n_splices = out.n_splices;
    q->spliced_bytes = out.spliced_bytes;
    q->reply_bytes = q->out.len + out.spliced_bytes;
    q->conn->reply_bytes += q->reply_bytes;
    request_ready(q);
    kafka_request_account(q);
}

void kafka_reply_raw(struct kafka_request *q, struct bytes token)
{
    buf_clear(&q->out);
    buf_put_be32(&q->out, (uint32_t)token.len);
    buf_put_bytes(&q->out, token);
    check(!q->out.failed);
    q->reply_bytes = q->out.len;
    q->conn->reply_bytes += q->reply_bytes;
    request_ready(q);
}

void kafka_conn_principal(struct kafka_conn *c, struct bytes name)
{
    char *principal = malloc(name.len + 6);

    check(principal != NULL);
    (void)snprintf(principal, name.len + 6, "User:%.*s", BYTES_ARG(name));
    free(c->principal);
    c->session.principal = c->principal = principal;
}

void kafka_reply_none(struct kafka_request *q)
{
    if (q->throttle_ms > 0) kafka_conn_mute(q->conn, q->throttle_ms);
    q->is_silent = true;
    request_ready(q);
}

void kafka_park(struct kafka_request *q, void *state, void (*cancel)(struct kafka_request *q),
                void (*hurry)(struct kafka_request *q))
{
    check(!q->is_ready && cancel != NULL);
    q->state = state;
    q->cancel = cancel;
    q->hurry = hurry;
}

/* ---- failing and closing ---- */
void kafka_conn_close(struct kafka_conn *c)
{
    if (c->is_closing || c->is_closed) return;
    c->is_closing = true;
    c->door->net->close(c->door->net, c->net_conn);
}

static void fail_text(struct kafka_conn *c, const char *fmt, va_list args) PRINTF_LIKE(2, 0);
static void fail_text(struct kafka_conn *c, const char *fmt, va_list args)
{
    char text[512];

    (void)vsnprintf(text, sizeof text, fmt, args);
    c->door->stats.request_errors_total++;
    if (!c->is_closing)
        diag_printf(c->door->sys->diag, DIAG_WARN, "kafka", "peer=%s:%u closing=\"%s\"", c->session.peer.host,
                    c->session.peer.port, text);
    kafka_conn_close(c);
}

void kafka_conn_fail(struct kafka_conn *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail_text(c, fmt, args);
    va_end(args);
}

void kafka_request_fail(struct kafka_request *q, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail_text(q->conn, fmt, args);
    va_end(args);
    kafka_reply_none(q);
}

bool kafka_answer_fits(struct kafka_request *q)
{
    if (q->arena.used_bytes <= KAFKA_ANSWER_BYTES_MAX) return true;
    kafka_request_fail(q, "%s: the answer would be larger than %u bytes", q->message->name, KAFKA_ANSWER_BYTES_MAX);
    return false;
}

/* Closes the connection that holds most, until the rest is within the bound. */
static void door_shed(struct kafka_door *d)
{
    for (;;) {
        struct kafka_conn *largest = NULL;
        size_t sum = 0;

        for (struct list *link = d->conns.next; link != &d->conns; link = link->next) {
            struct kafka_conn *c = CONTAINER_OF(link, struct kafka_conn, link);

            if (c->is_closing || c->is_closed) continue;
            sum += c->held_bytes;
            if (largest == NULL || c->held_bytes > largest->held_bytes) largest = c;
        }
        if (largest == NULL || sum <= d->options.held_bytes_max) return;
        d->stats.connections_shed++;
        kafka_conn_fail(largest, "its requests and answers hold %zu bytes, the most of all; together %zu are allowed",
                        largest->held_bytes, d->options.held_bytes_max);
    }
}

void kafka_request_account(struct kafka_request *q)
{
    struct kafka_conn *c = q->conn;
    size_t held = q->arena.used_bytes + q->out.cap;

    if (held <= KAFKA_REQUEST_MEMORY_KEPT) held = 0; /* small ones are bounded by their number */
    if (held <= q->held_bytes) return;
    c->held_bytes += held - q->held_bytes;
    c->door->held_bytes += held - q->held_bytes;
    q->held_bytes = held;
    if (c->door->held_bytes > c->door->options.held_bytes_max) door_shed(c->door);
}

static void requests_drop(struct kafka_conn *c)
{
    struct list *link;

    while ((link = list_pop_front(&c->requests)) != NULL) {
        struct kafka_request *q = CONTAINER_OF(link, struct kafka_request, link);

        if (q->cancel != NULL) q->cancel(q);
        request_end(q);
    }
}

static void conn_free_when_quiet(struct kafka_conn *c)
{
    struct kafka_door *d = c->door;

    if (!c->is_closed || c->is_sending || c->is_posted || c->is_busy) return; /* C5 */
    check(c->n_requests == 0);
    list_remove(&c->link);
    d->stats.connections--;
    kafka_sasl_destroy(c->sasl);
    free(c->principal);
    kafka_receive_release(c);
    free(c->iov);
    free(c);
    kafka_door_conn_gone(d);
}

void kafka_conn_hurry(struct kafka_conn *c)
{
    struct list *link, *next;

    c->is_busy = true;
    for (link = c->requests.next; link != &c->requests; link = next) {
        struct kafka_request *q = CONTAINER_OF(link, struct kafka_request, link);

        next = link->next;
        if (q->hurry != NULL) q->hurry(q);
    }
    c->is_busy = false;
    conn_turn(c);
}

/* ---- out ---- */
static struct iovec *iov_add(struct kafka_conn *c, const void *ptr, size_t len)
{
    if (c->n_iov == c->iov_cap) {
        c->iov_cap = c->iov_cap ? 2 * c->iov_cap : 16;
        c->iov = realloc(c->iov, (size_t)c->iov_cap * sizeof *c->iov);
        check(c->iov != NULL);
    }
    c->iov[c->n_iov] = (struct iovec){(void *)(uintptr_t)ptr, len};
    return &c->iov[c->n_iov++];
}

static void iov_add_request(struct kafka_conn *c, const struct kafka_request *q)
{
    size_t at = 0;

    for (int i = 0; i < q->n_splices; i++) {
        if (q->splices[i].at > at) iov_add(c, q->out.ptr + at, q->splices[i].at - at);
        iov_add(c, q->splices[i].bytes.ptr, q->splices[i].bytes.len);
        at = q->splices[i].at;
    }
    if (q->out.len > at) iov_add(c, q->out.ptr + at, q->out.len - at);
}

/* After a send: is there a reply to send, a frame to handle, reading to resume, or an end to be made? */
static bool conn_has_work(struct kafka_conn *c)
{
    struct list *first = list_first(&c->requests);

    if (first != NULL && CONTAINER_OF(first, struct kafka_request, link)->is_ready) return true;
    if (c->closes_when_sent) return true;
    return c->is_read_stopped || c->in_len - c->in_at >= 4 || c->door->is_closing;
}

static void on_sent(struct send_req *r, bool ok)
{
    struct kafka_conn *c = CONTAINER_OF(r, struct kafka_conn, send);
    struct list *link;

    while ((link = list_pop_front(&c->sending)) != NULL) {
        struct kafka_request *q = CONTAINER_OF(link, struct kafka_request, link);

        if (ok) {
            c->door->stats.bytes_out += q->reply_bytes;
            if (q->spliced_bytes > 0) broker_count_out(c->door->broker, q->spliced_bytes);
        }
        request_end(q);
    }
    c->is_sending = false;
    c->send_left = SIZE_MAX;
    c->moved_ns = c->door->sys->loop->now_ns(c->door->sys->loop);
    if (c->is_closed)
        conn_free_when_quiet(c);
    else if (conn_has_work(c))
        kafka_conn_schedule(c); /* not now: the net may be about to say that it is over */
}

static void conn_flush(struct kafka_conn *c)
{
    if (c->is_sending || c->is_closing || c->is_closed) return;
    c->n_iov = 0;
    for (struct list *link = list_first(&c->requests); link != NULL; link = list_first(&c->requests)) { /* C1 */
        struct kafka_request *q = CONTAINER_OF(link, struct kafka_request, link);

        if (!q->is_ready) break;
        list_remove(link);
        if (q->is_silent) {
            request_end(q);
            c->again = true; /* there is room for another request */
            continue;
        }
        iov_add_request(c, q);
        list_push_back(&c->sending, link);
    }
    if (c->n_iov == 0) return;
    c->is_sending = true;
    c->send = (struct send_req){.iov = c->iov, .n = c->n_iov, .sent = on_sent};
    c->door->net->send(c->door->net, c->net_conn, &c->send);
}

/* ---- in ---- */
bool kafka_conn_is_full(const struct kafka_conn *c)
{
    if (c->muted_until_ns != 0) return true;
    if (c->closes_when_sent || kafka_sasl_is_busy(c->sasl)) return true;                            /* C6 */
    return c->n_requests >= LIMIT_CONN_INFLIGHT_MAX || c->reply_bytes >= LIMIT_CONN_SEND_BYTES_MAX; /* C3 */
}

static uint32_t frame_size_max(const struct kafka_conn *c)
{
    return kafka_sasl_is_done(c->sasl) ? LIMIT_REQUEST_BYTES_MAX : LIMIT_BEFORE_LOGIN_BYTES - 4;
}

size_t kafka_conn_frame_size(const struct kafka_conn *c)
{
    int32_t size;

    if (c->in_len - c->in_at < 4) return 0;
    size = (int32_t)be32_get(c->in + c->in_at);
    if (size < (kafka_sasl_is_raw(c->sasl) ? 0 : 8) || (uint32_t)size > frame_size_max(c)) return SIZE_MAX;
    return (size_t)size + 4;
}

static void conn_process(struct kafka_conn *c)
{
    while (!c->is_closing && !c->is_closed && !c->door->is_closing && !kafka_conn_is_full(c)) {
        size_t size = kafka_conn_frame_size(c);

        if (size == SIZE_MAX) {
            kafka_conn_fail(c, "a request of %d bytes; 8 to %u are possible", (int)(int32_t)be32_get(c->in + c->in_at),
                            frame_size_max(c));
            return;
        }
        if (size == 0 || c->in_len - c->in_at < size) return;
        kafka_dispatch(c, c->in + c->in_at + 4, size - 4);
        c->in_at += size;
        c->frame_ns = 0;
    }
}

static void conn_turn(struct kafka_conn *c)
{
    struct net *net = c->door->net;

    if (c->is_busy) {
        c->again = true;
        return;
    }
    c->is_busy = true;
    do {
        c->again = false;
        conn_process(c);
        conn_flush(c);
    } while (c->again);
    c->is_busy = false;
    bool is_over = c->door->is_closing || c->closes_when_sent;
    if (is_over && list_is_empty(&c->requests) && !c->is_sending) kafka_conn_close(c);
    if (c->is_read_stopped && !c->is_closing && !c->is_closed && !kafka_conn_is_full(c) &&
        !list_is_linked(&c->starve_link)) {
        c->is_read_stopped = false;
        net->read_start(net, c->net_conn);
    }
    if (!c->is_closed) {
        kafka_receive_rest(c);
        kafka_guard_look(c);
    }
    conn_free_when_quiet(c);
}

static void task_run(struct task *t)
{
    struct kafka_conn *c = CONTAINER_OF(t, struct kafka_conn, task);

    c->is_posted = false;
    if (c->is_closed)
        conn_free_when_quiet(c);
    else
        conn_turn(c);
}

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct kafka_conn *c = user;

    *ptr = NULL;
    *cap = 0;
    c->is_read_stopped =
        c->is_closing || c->door->is_closing || kafka_conn_is_full(c) || !kafka_receive_room(c, ptr, cap);
}

static void on_received(void *user, size_t n)
{
    struct kafka_conn *c = user;

    c->in_len += n;
    check(c->in_len <= c->in_cap);
    c->door->stats.bytes_in += n;
    c->moved_ns = c->door->sys->loop->now_ns(c->door->sys->loop);
    conn_turn(c);
}

static void on_drained(void *user)
{
}

static void on_closed(void *user, const struct err *e)
{
    struct kafka_conn *c = user;

    if (e != NULL)
        diag_printf(c->door->sys->diag, DIAG_DEBUG, "kafka", "peer=%s:%u gone=\"%s\"", c->session.peer.host,
                    c->session.peer.port, e->text);
    c->is_closed = true;
    kafka_guard_stop(c);
    kafka_sasl_abort(c->sasl);
    requests_drop(c);
    conn_free_when_quiet(c);
}

static const struct conn_handler conn_handler = {on_room, on_received, on_drained, on_closed};

static bool is_crowded(struct kafka_door *d, const struct net_address *peer)
{
    uint32_t n = 0;

    if (d->stats.connections >= d->options.connections_max) return true;
    if (d->options.connections_per_ip_max == 0) return false;
    for (struct list *link = d->conns.next; link != &d->conns; link = link->next)
        n += strcmp(CONTAINER_OF(link, struct kafka_conn, link)->session.peer.host, peer->host) == 0;
    return n >= d->options.connections_per_ip_max;
}

void *kafka_conn_accept(void *door, struct conn *net_conn, const struct conn_handler **handler)
{
    struct kafka_door *d = door;
    struct net_address peer;
    struct kafka_conn *c;
    uint64_t wait_ms;

    d->net->peer(d->net, net_conn, &peer);
    c = d->is_closing || is_crowded(d, &peer) ? NULL : calloc(1, sizeof *c);
    if (c == NULL) {
        d->stats.connections_refused++;
        return NULL;
    }
    c->door = d;
    c->net_conn = net_conn;
    c->task.run = task_run;
    list_init(&c->requests);
    list_init(&c->sending);
    list_push_back(&d->conns, &c->link);
    c->session.peer = peer;
    c->session.door = "kafka";
    c->session.principal = KAFKA_ANONYMOUS;
    if (d->options.sasl) c->sasl = kafka_sasl_create(c);
    d->stats.connections++;
    d->stats.connections_total++;
    *handler = &conn_handler;
    kafka_guard_start(c);
    wait_ms = quota_charge_connection(d->broker, bytes_str(peer.host));
    if (wait_ms > 0) { /* held, so that it does not come again at once, and closed after that */
        c->closes_at_unmute = true;
        kafka_conn_mute(c, wait_ms);
    }
    return c;
}
