/* The client's ground: a loop of its own, connections that are made when they are needed, calls, and who leads what.
 *
 * Blocking on top of an event loop: a call is sent, then the loop runs until its answer is there, its deadline has
 * passed or somebody interrupts. Answers of one connection come in the order of its requests, so the first pending call
 * is the one that is answered. A connection that fails fails all its calls with ERR_CLOSED; the next use of the node
 * makes a new one. */
#include "app/kclient.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/kclient_int.h"
#include "base/text.h"
#include "sys/os.h"

/* ---- waiting ---- */
uint64_t kclient_deadline(const struct kclient *k, int64_t ms)
{
    return k->clock->mono_ns(k->clock) + (uint64_t)(ms < 0 ? 0 : ms) * 1000000u;
}

static bool is_cancelled(const struct kclient *k)
{
    return !k->ignores_interrupt && atomic_load(&k->is_interrupted);
}

static void time_up(struct timer *t)
{
    CONTAINER_OF(t, struct kclient, timer)->is_time_up = true;
}

enum err_code kclient_run_until(struct kclient *k, const bool *flag, uint64_t deadline_ns, struct err *e)
{
    k->is_time_up = false;
    k->loop->timer_start(k->loop, &k->timer, deadline_ns);
    while (!*flag && !k->is_time_up && !is_cancelled(k))
        (void)k->loop->run(k->loop, LOOP_ONCE_WAIT);
    k->loop->timer_stop(k->loop, &k->timer);
    if (*flag) return ERR_NONE;
    if (is_cancelled(k)) return err_set(e, ERR_CANCELLED, "interrupted");
    return err_set(e, ERR_TIMEOUT, "no answer in time");
}

enum err_code kclient_pause(struct kclient *k, int64_t ms, uint64_t deadline_ns, struct err *e)
{
    uint64_t until = kclient_deadline(k, ms);
    const bool never = false;
    enum err_code rc;

    if (until > deadline_ns) until = deadline_ns;
    rc = kclient_run_until(k, &never, until, NULL);
    return rc == ERR_CANCELLED ? err_set(e, rc, "interrupted") : ERR_NONE;
}

bool kclient_may_retry(struct kclient *k, uint64_t deadline_ns, struct err *e)
{
    if (k->clock->mono_ns(k->clock) >= deadline_ns) return false;
    return kclient_pause(k, KCLIENT_RETRY_PAUSE_MS, deadline_ns, e) == ERR_NONE;
}

void kclient_interrupt(struct kclient *k)
{
    atomic_store(&k->is_interrupted, true);
    k->loop->stop(k->loop);
}

/* ---- a connection's events ---- */
static void calls_fail(struct kconn *c, enum err_code rc)
{
    struct list *link;

    while ((link = list_pop_front(&c->calls)) != NULL) {
        struct kcall *call = CONTAINER_OF(link, struct kcall, link);

        call->rc = rc;
        call->is_done = true;
    }
}

static void conn_break(struct kconn *c, const char *why)
{
    if (c->error.code == ERR_NONE) (void)err_set(&c->error, ERR_PROTOCOL, "%s", why);
    c->k->net->close(c->k->net, c->conn);
}

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct kconn *c = user;

    if (c->in_len == c->in_cap) {
        c->in_cap = c->in_cap ? 2 * c->in_cap : 64u << 10;
        c->in = realloc(c->in, c->in_cap);
        check(c->in != NULL);
    }
    *ptr = c->in + c->in_len;
    *cap = c->in_cap - c->in_len;
}

static bool take_frame(struct kconn *c, struct bytes frame)
{
    struct list *link = list_first(&c->calls);
    struct kcall *call = link ? CONTAINER_OF(link, struct kcall, link) : NULL;

    if (call == NULL || frame.len < 4 || (int32_t)be32_get(frame.ptr) != call->correlation) return false;
    list_remove(link);
    buf_put_bytes(&call->frame, frame);
    call->rc = ERR_NONE;
    call->is_done = true;
    return true;
}

static void on_received(void *user, size_t n)
{
    struct kconn *c = user;
    size_t at = 0;

    c->in_len += n;
    while (c->in_len - at >= 4) {
        uint32_t size = be32_get(c->in + at);

        if (size > KCLIENT_RESPONSE_BYTES_MAX) {
            conn_break(c, "an answer of impossible size: is this a Kafka port?");
            break;
        }
        if (c->in_len - at < size + 4u) break;
        if (!take_frame(c, bytes_of(c->in + at + 4, size))) {
            conn_break(c, "an answer that nobody asked for");
            break;
        }
        at += size + 4u;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void on_drained(void *user)
{
}

static void on_closed(void *user, const struct err *e)
{
    struct kconn *c = user;

    if (c->error.code == ERR_NONE && e != NULL) c->error = *e;
    if (c->error.code == ERR_NONE) (void)err_set(&c->error, ERR_CLOSED, "the broker closed the connection");
    c->state = KCONN_GONE;
    c->is_settled = true;
    calls_fail(c, ERR_CLOSED);
}

static void on_connected(void *user, struct conn *conn)
{
    struct kconn *c = user;

    c->conn = conn;
    c->state = KCONN_OPEN;
    c->is_settled = true;
    c->k->net->read_start(c->k->net, conn);
}

static const struct conn_handler handler = {on_room, on_received, on_drained, on_closed};

static void kconn_free(struct kconn *c)
{
    check(c->state == KCONN_GONE && list_is_empty(&c->calls));
    list_remove(&c->link);
    free(c->in);
    free(c);
}

/* ---- calls ---- */
struct sending {
    struct send_req req;
    struct iovec iov;
    struct buf buf;
};

static void on_sent(struct send_req *r, bool ok)
{
    struct sending *s = CONTAINER_OF(r, struct sending, req);

    buf_deinit(&s->buf);
    free(s);
}

static int message_index(int16_t key)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        if (kafka_messages[i].key == key) return i;
    check(false);
    return -1;
}

enum err_code kcall_version(const struct kconn *c, int16_t key, int high, int *out, struct err *e)
{
    int i = message_index(key);
    const struct wire_message *m = &kafka_messages[i];
    const struct kversions *v = &c->versions[i];

    if (high > m->high) high = m->high;
    if (v->high < 0)
        return err_set(e, ERR_UNSUPPORTED, "%s:%u does not serve %s", c->address.host, c->address.port, m->name);
    *out = v->high < high ? v->high : high;
    if (*out < m->low || *out < v->low)
        return err_set(e, ERR_UNSUPPORTED, "%s:%u serves %s in versions %d to %d; this client speaks %d to %d",
                       c->address.host, c->address.port, m->name, v->low, v->high, m->low, high);
    return ERR_NONE;
}

static void call_send(struct kcall *call, struct kconn *c, const void *request)
{
    struct sending *s = calloc(1, sizeof *s);
    const struct wire_message *m = call->message;
    bool flexible = wire_is_flexible(m, call->version);
    struct wire_header h = {m->key, (int16_t)call->version, c->next_correlation++, bytes_str(c->k->client_id)};
    struct wire_out out;

    check(s != NULL);
    buf_init(&s->buf, 0);
    out = (struct wire_out){.buf = &s->buf};
    buf_put_be32(&s->buf, 0);
    wire_header_encode(&h, flexible, &s->buf);
    wire_encode(m->request, call->version, flexible, request, &out);
    check(!s->buf.failed && s->buf.len <= INT32_MAX);
    buf_patch_be32(&s->buf, 0, (uint32_t)(s->buf.len - 4));
    call->conn = c;
    call->correlation = h.correlation_id;
    call->is_done = call->wants_no_answer;
    call->rc = ERR_NONE;
    if (!call->wants_no_answer) list_push_back(&c->calls, &call->link);
    s->iov = (struct iovec){s->buf.ptr, s->buf.len};
    s->req = (struct send_req){.iov = &s->iov, .n = 1, .sent = on_sent};
    c->k->net->send(c->k->net, c->conn, &s->req);
}

enum err_code kcall_start(struct kcall *call, struct kconn *c, int16_t key, int high, const void *request,
                          struct err *e)
{
    bool wants_no_answer = call->wants_no_answer;
    enum err_code rc;

    *call = (struct kcall){.message = &kafka_messages[message_index(key)], .wants_no_answer = wants_no_answer};
    buf_init(&call->frame, 0);
    if (c->state != KCONN_OPEN)
        return err_set(e, ERR_CLOSED, "%s:%u: %s", c->address.host, c->address.port, c->error.text);
    rc = kcall_version(c, key, high, &call->version, e);
    if (rc == ERR_NONE) call_send(call, c, request);
    return rc;
}

enum err_code kcall_wait(struct kcall *call, uint64_t deadline_ns, struct err *e)
{
    struct kconn *c = call->conn;
    enum err_code rc = kclient_run_until(c->k, &call->is_done, deadline_ns, e);

    if (rc == ERR_NONE && call->rc != ERR_NONE) rc = err_set(e, call->rc, "%s", c->error.text);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "%s to %s:%u", call->message->name, c->address.host, c->address.port);
}

enum err_code kcall_decode(struct kcall *call, struct arena *a, void *response, struct err *e)
{
    bool flexible = wire_is_flexible(call->message, call->version);
    struct bytes body = buf_bytes(&call->frame);
    /* Correlation id, then the header's tags: none is known to us, so an empty section is what comes. */
    size_t skip = flexible && call->message->key != KAFKA_API_VERSIONS ? 5 : 4;
    enum err_code rc;

    if (body.len < skip || (skip == 5 && body.ptr[4] != 0))
        return err_set(e, ERR_PROTOCOL, "malformed header of an answer");
    rc = wire_decode(call->message->response, call->version, flexible, bytes_slice(body, skip, body.len - skip), a,
                     response, e);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "answer of %s:%u", call->conn->address.host, call->conn->address.port);
}

void kcall_deinit(struct kcall *call)
{
    /* The answer of a call that is given up would be taken for that of the next one: the connection is of no use any
     * more. */
    if (call->conn != NULL && !call->is_done) {
        list_remove(&call->link);
        call->conn->is_ready = false;
        conn_break(call->conn, "an answer was not waited for");
    }
    buf_deinit(&call->frame);
    call->conn = NULL;
}

enum err_code kcall_do(struct kconn *c, int16_t key, int high, const void *request, struct arena *a, void *response,
                       uint64_t deadline_ns, struct err *e)
{
    struct kcall call = {0};
    enum err_code rc = kcall_start(&call, c, key, high, request, e);

    if (rc == ERR_NONE) rc = kcall_wait(&call, deadline_ns, e);
    if (rc == ERR_NONE) {
        struct bytes copy = arena_copy(a, buf_bytes(&call.frame));
        struct kcall view = call;

        view.frame = (struct buf){.ptr = (uint8_t *)(uintptr_t)copy.ptr, .len = copy.len, .cap = copy.len};
        rc = kcall_decode(&view, a, response, e);
    }
    kcall_deinit(&call);
    return rc;
}

/* ---- making connections ---- */
static void versions_set(struct kconn *c, const struct kafka_api_versions_response *r)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        c->versions[i] = (struct kversions){0, -1};
    for (int32_t i = 0; i < r->api_keys.n; i++)
        for (int j = 0; j < KAFKA_MESSAGE_COUNT; j++)
            if (kafka_messages[j].key == r->api_keys.at[i].key)
                c->versions[j] = (struct kversions){r->api_keys.at[i].min_version, r->api_keys.at[i].max_version};
}

/* Asks in version 3, and in version 0 when the broker answers that it does not know 3. That answer is itself of version
 * 0. */
static enum err_code versions_ask(struct kconn *c, uint64_t deadline_ns, struct err *e)
{
    int i = message_index(KAFKA_API_VERSIONS);
    struct kafka_api_versions_request q = {BYTES_LIT("weir"), BYTES_LIT(WEIR_VERSION)};
    struct kafka_api_versions_response r;
    struct arena a;
    enum err_code rc = ERR_NONE;

    arena_init(&a, 0);
    for (int version = 3; version >= 0; version -= 3) {
        struct kcall call = {0};

        c->versions[i] = (struct kversions){0, (int16_t)version};
        rc = kcall_start(&call, c, KAFKA_API_VERSIONS, version, &q, e);
        if (rc == ERR_NONE) rc = kcall_wait(&call, deadline_ns, e);
        if (rc == ERR_NONE && version > 0 && call.frame.len >= 6 && be16_get(call.frame.ptr + 4) == 35) {
            kcall_deinit(&call);
            continue;
        }
        if (rc == ERR_NONE) rc = kcall_decode(&call, &a, &r, e);
        if (rc == ERR_NONE && r.error_code != 0)
            rc = kerror_set(e, r.error_code, BYTES_NULL, "asking for API versions");
        if (rc == ERR_NONE) versions_set(c, &r);
        kcall_deinit(&call);
        break;
    }
    arena_deinit(&a);
    return rc;
}

static void conns_sweep(struct kclient *k)
{
    struct list *link, *next;

    for (link = k->conns.next; link != &k->conns; link = next) {
        next = link->next;
        if (CONTAINER_OF(link, struct kconn, link)->state == KCONN_GONE)
            kconn_free(CONTAINER_OF(link, struct kconn, link));
    }
}

static bool address_equal(const struct net_address *a, const struct net_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* An open connection to the address, an old one or a new one. One try. */
static enum err_code connect_to(struct kclient *k, const struct net_address *address, struct kconn **out,
                                uint64_t deadline_ns, struct err *e)
{
    struct kconn *c;
    enum err_code rc;

    for (struct list *link = k->conns.next; link != &k->conns; link = link->next) {
        c = CONTAINER_OF(link, struct kconn, link);
        if (c->state == KCONN_OPEN && c->is_ready && address_equal(&c->address, address)) {
            *out = c;
            return ERR_NONE;
        }
    }
    c = calloc(1, sizeof *c);
    check(c != NULL);
    c->k = k;
    c->address = *address;
    list_init(&c->calls);
    list_push_back(&k->conns, &c->link);
    rc = k->net->connect(k->net, address, &handler, c, on_connected, &c->conn, e);
    if (rc != ERR_NONE) {
        c->state = KCONN_GONE;
        kconn_free(c);
        return err_wrap(e, rc, "connecting to %s:%u", address->host, address->port);
    }
    rc = kclient_run_until(k, &c->is_settled, deadline_ns, e);
    if (rc == ERR_NONE && c->state == KCONN_GONE) rc = err_set(e, ERR_CLOSED, "%s", c->error.text);
    if (rc != ERR_NONE) {
        if (c->state == KCONN_CONNECTING) conn_break(c, "given up");
        return err_wrap(e, rc, "connecting to %s:%u", address->host, address->port);
    }
    rc = versions_ask(c, deadline_ns, e);
    if (rc != ERR_NONE) {
        if (c->state == KCONN_OPEN) conn_break(c, "no API versions");
        return rc;
    }
    c->is_ready = true;
    *out = c;
    return ERR_NONE;
}

enum err_code kclient_any(struct kclient *k, struct kconn **out, uint64_t deadline_ns, struct err *e)
{
    enum err_code rc = ERR_NONE;

    do {
        conns_sweep(k);
        for (struct list *link = k->conns.next; link != &k->conns; link = link->next) {
            struct kconn *c = CONTAINER_OF(link, struct kconn, link);

            if (c->state != KCONN_OPEN || !c->is_ready) continue;
            *out = c;
            return ERR_NONE;
        }
        for (int i = 0; i < k->n_bootstrap + k->n_nodes; i++) {
            const struct net_address *a = i < k->n_bootstrap ? &k->bootstrap[i] : &k->nodes[i - k->n_bootstrap].address;

            rc = connect_to(k, a, out, deadline_ns, e);
            if (rc == ERR_NONE || rc == ERR_CANCELLED || rc == ERR_UNSUPPORTED) return rc;
        }
    } while (kclient_may_retry(k, deadline_ns, e));
    return atomic_load(&k->is_interrupted) && !k->ignores_interrupt ? err_set(e, ERR_CANCELLED, "interrupted") : rc;
}

enum err_code kclient_node(struct kclient *k, int32_t node_id, struct kconn **out, uint64_t deadline_ns, struct err *e)
{
    enum err_code rc = ERR_NONE;

    do {
        struct net_address address = {0};

        conns_sweep(k);
        for (int i = 0; i < k->n_nodes; i++)
            if (k->nodes[i].id == node_id) address = k->nodes[i].address;
        if (address.port == 0) return err_set(e, ERR_NOT_FOUND, "node %d is not known", (int)node_id);
        rc = connect_to(k, &address, out, deadline_ns, e);
        if (rc == ERR_NONE || rc == ERR_CANCELLED || rc == ERR_UNSUPPORTED) return rc;
    } while (kclient_may_retry(k, deadline_ns, e));
    return rc;
}

/* ---- opening and closing ---- */
static enum err_code parse_address(struct bytes text, struct net_address *out, struct err *e)
{
    const uint8_t *colon = NULL;
    int64_t port = 9092;

    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == ':') colon = text.ptr + i;
    if (text.len > 0 && text.ptr[0] == '[') { /* [::1]:9092 */
        const uint8_t *close = memchr(text.ptr, ']', text.len);

        if (close == NULL) return err_set(e, ERR_INVALID, "\"%.*s\" has no ]", BYTES_ARG(text));
        if (colon != NULL && colon < close) colon = NULL;
        if (colon == NULL) text.len = (size_t)(close + 1 - text.ptr);
    }
    if (colon != NULL) {
        struct bytes digits = bytes_of(colon + 1, (size_t)(text.ptr + text.len - colon - 1));

        if (!text_parse_i64(digits, &port) || port < 1 || port > 65535)
            return err_set(e, ERR_INVALID, "\"%.*s\" has no valid port", BYTES_ARG(text));
        text.len = (size_t)(colon - text.ptr);
    }
    if (text.len >= 2 && text.ptr[0] == '[') text = bytes_slice(text, 1, text.len - 2);
    if (text.len == 0 || text.len >= sizeof out->host)
        return err_set(e, ERR_INVALID, "\"%.*s\" is no host name", BYTES_ARG(text));
    memset(out, 0, sizeof *out);
    memcpy(out->host, text.ptr, text.len);
    /* The net takes numbers only; this name means the same everywhere. */
    if (strcmp(out->host, "localhost") == 0) memcpy(out->host, "127.0.0.1", 10);
    out->port = (uint16_t)port;
    return ERR_NONE;
}

static enum err_code parse_bootstrap(struct kclient *k, const char *text, struct err *e)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        struct bytes one = bytes_of(text, len);
        enum err_code rc;

        if (k->n_bootstrap == KCLIENT_ADDRESSES_MAX) break;
        rc = parse_address(one, &k->bootstrap[k->n_bootstrap], e);
        if (rc != ERR_NONE) return rc;
        k->n_bootstrap++;
        text += len + (text[len] == ',');
    }
    return k->n_bootstrap > 0 ? ERR_NONE : err_set(e, ERR_INVALID, "no broker address is given");
}

enum err_code kclient_open(struct kclient **out, const struct kclient_options *o, struct err *e)
{
    struct kclient *k = calloc(1, sizeof *k);
    struct kconn *c;
    enum err_code rc;

    *out = NULL;
    check(k != NULL);
    list_init(&k->conns);
    map_init(&k->leaders);
    k->clock = os_clock();
    k->timer.fire = time_up;
    k->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : 10000;
    k->client_id = strdup(o->client_id ? o->client_id : "weir");
    check(k->client_id != NULL);
    rc = parse_bootstrap(k, o->bootstrap, e);
    if (rc == ERR_NONE) rc = os_loop_create(&k->loop, e);
    if (rc == ERR_NONE) rc = os_net_create(&k->net, k->loop, e);
    if (rc == ERR_NONE) rc = kclient_any(k, &c, kclient_deadline(k, k->timeout_ms < 3000 ? k->timeout_ms : 3000), e);
    if (rc == ERR_NONE)
        *out = k;
    else
        kclient_close(k);
    return rc;
}

static bool all_gone(struct kclient *k)
{
    conns_sweep(k);
    return list_is_empty(&k->conns);
}

void kclient_close(struct kclient *k)
{
    struct map_entry *entry;
    uint32_t pos = 0;

    if (k == NULL) return;
    k->ignores_interrupt = true;
    for (struct list *link = k->conns.next; link != &k->conns; link = link->next) {
        struct kconn *c = CONTAINER_OF(link, struct kconn, link);

        if (c->state != KCONN_GONE && c->conn != NULL) k->net->close(k->net, c->conn);
    }
    for (int i = 0; i < 100 && !all_gone(k); i++)
        if (kclient_pause(k, 10, UINT64_MAX, NULL) != ERR_NONE) break;
    if (k->net != NULL) os_net_destroy(k->net);
    if (k->loop != NULL) os_loop_destroy(k->loop);
    while ((entry = map_next(&k->leaders, &pos)) != NULL)
        free(entry->value);
    map_deinit(&k->leaders);
    free(k->nodes);
    free(k->client_id);
    free(k);
}
