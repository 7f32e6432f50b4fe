/* agent.c: what all simulated clients share: a connection with requests in flight, a timer, records with ids.
 *
 * A connection that was given up lives on as an orphan until the net says `closed`: what was sent may still arrive. */
#include "agent.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TURN_RETRY_MS 40 /* before a new connection is tried */

struct link {
    struct agent *agent; /* NULL: an orphan */
    struct world *world;
    struct conn *conn;
    struct list conn_link; /* of the world's links */
    struct list calls;     /* in order of their answers */
    struct buf in;
    size_t in_at;
    bool is_connected;
    uint8_t room[2048];
};
struct frame {
    struct send_req req;
    struct iovec iov;
    struct buf buf;
};

static const struct wire_message *message_of(int16_t key)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        if (kafka_messages[i].key == key) return &kafka_messages[i];
    check(false);
    return NULL;
}

/* ---- the connection ---- */

static void link_fail_calls(struct link *l)
{
    struct list *n;

    while ((n = list_pop_front(&l->calls)) != NULL) {
        struct call *c = CONTAINER_OF(n, struct call, link);
        if (l->agent != NULL) c->done(l->agent, c, NULL);
        free(c);
    }
}

/* The agent is told; the connection becomes an orphan. */
static void link_leave(struct link *l)
{
    struct agent *a = l->agent;

    link_fail_calls(l);
    l->agent = NULL;
    if (a == NULL) return;
    a->wire = NULL;
    a->ops->lost(a);
    agent_wake(a, TURN_RETRY_MS);
}

static void on_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct link *l = user;

    *ptr = l->room;
    *cap = sizeof l->room;
}

static void answer_take(struct link *l, struct bytes frame)
{
    struct agent *a = l->agent;
    struct list *n = list_pop_front(&l->calls);
    struct call *c = CONTAINER_OF(n, struct call, link);
    const struct wire_message *m;
    struct err e;

    check(n != NULL && frame.len >= 4 && (int32_t)be32_get(frame.ptr) == c->correlation);
    m = message_of(c->key);
    bool is_flexible = wire_is_flexible(m, c->version);
    size_t skip = is_flexible && c->key != KAFKA_API_VERSIONS ? 5 : 4;
    arena_reset(&a->arena);
    void *answer = arena_alloc_zero(&a->arena, m->response->size);
    if (wire_decode(m->response, c->version, is_flexible, bytes_slice(frame, skip, frame.len - skip), &a->arena, answer,
                    &e) != ERR_NONE)
        check(false);
    c->done(a, c, answer);
    free(c);
}

static void on_received(void *user, size_t n)
{
    struct link *l = user;

    if (l->agent == NULL) return;
    buf_put(&l->in, l->room, n);
    while (l->agent != NULL) {
        size_t left = l->in.len - l->in_at;
        uint32_t size = left >= 4 ? be32_get(l->in.ptr + l->in_at) : 0;
        if (left < 4 || left < size + 4u) break;
        l->in_at += size + 4u;
        answer_take(l, bytes_of(l->in.ptr + l->in_at - size, size));
    }
    if (l->in_at == l->in.len) {
        buf_clear(&l->in);
        l->in_at = 0;
    }
}

static void on_drained(void *user)
{
    (void)user;
}

static void on_closed(void *user, const struct err *e)
{
    struct link *l = user;

    (void)e;
    link_leave(l);
    list_remove(&l->conn_link);
    buf_deinit(&l->in);
    free(l);
}

static void on_connected(void *user, struct conn *c)
{
    struct link *l = user;

    l->is_connected = true;
    l->world->sys->net->read_start(l->world->sys->net, c);
    if (l->agent != NULL) agent_wake(l->agent, 0);
}

static void agent_connect(struct agent *a)
{
    static const struct conn_handler handler = {on_room, on_received, on_drained, on_closed};
    struct world *w = a->world;
    struct link *l = calloc(1, sizeof *l);

    check(l != NULL && a->wire == NULL);
    l->agent = a;
    l->world = w;
    list_init(&l->calls);
    buf_init(&l->in, 0);
    list_push_back(&w->links, &l->conn_link);
    a->wire = l;
    if (w->sys->net->connect(w->sys->net, &w->address, &handler, l, on_connected, &l->conn, NULL) != ERR_NONE)
        check(false);
}

void agent_disconnect(struct agent *a)
{
    struct link *l = a->wire;

    if (l == NULL) return;
    link_leave(l);
    l->world->sys->net->close(l->world->sys->net, l->conn);
}

void agent_close_links(struct world *w)
{
    for (struct list *n = w->links.next; n != &w->links; n = n->next) {
        struct link *l = CONTAINER_OF(n, struct link, conn_link);
        w->sys->net->close(w->sys->net, l->conn);
    }
}

/* ---- the timer ---- */

static bool has_waited_too_long(struct agent *a)
{
    struct list *n = list_first(&a->wire->calls);

    return n != NULL && CONTAINER_OF(n, struct call, link)->give_up_ns <= world_now_ns(a->world);
}

static void on_timer(struct timer *t)
{
    struct agent *a = CONTAINER_OF(t, struct agent, timer);
    struct world *w = a->world;

    if (w->broker == NULL) return; /* agent_revive comes */
    if (!w->is_healing && world_chance(w, w->plan.pause_permille)) {
        agent_wake(a, 1 + world_random(w, (uint64_t)w->plan.pause_ms));
        return;
    }
    if (a->wire == NULL) {
        agent_connect(a);
    } else if (has_waited_too_long(a)) {
        agent_disconnect(a);
    } else if (a->wire->is_connected) {
        arena_reset(&a->arena);
        a->ops->turn(a);
    }
    /* Whatever happens, it looks around again. */
    if (a->timer.slot == 0) agent_wake(a, 200);
}

void agent_init(struct agent *a, struct world *w, const struct agent_ops *ops)
{
    check(w->n_agents < AGENTS_MAX);
    a->ops = ops;
    a->world = w;
    a->id = w->n_agents;
    a->timer.fire = on_timer;
    arena_init(&a->arena, 0);
    w->agents[w->n_agents++] = a;
}

void agent_destroy(struct agent *a)
{
    check(a->wire == NULL);
    arena_deinit(&a->arena);
    a->ops->destroy(a);
}

void agent_wake(struct agent *a, uint64_t ms)
{
    struct loop *loop = a->world->sys->loop;
    uint64_t at = world_now_ns(a->world) + ms * 1000000u;

    if (a->timer.slot == 0 || at < a->timer.at_ns) loop->timer_start(loop, &a->timer, at);
}

void agent_revive(struct agent *a)
{
    agent_disconnect(a);
    agent_wake(a, 1 + world_random(a->world, 50));
}

/* ---- calls ---- */

static void on_sent(struct send_req *r, bool ok)
{
    struct frame *f = CONTAINER_OF(r, struct frame, req);

    (void)ok;
    buf_deinit(&f->buf);
    free(f);
}

struct call *agent_call(struct agent *a, int16_t key, int version, const void *request, call_done_fn done,
                        int timeout_ms)
{
    const struct wire_message *m = message_of(key);
    struct wire_header h = {key, (int16_t)version, ++a->correlation, BYTES_LIT("sim")};
    struct world *w = a->world;
    struct frame *f;
    struct call *c;

    if (a->wire == NULL || !a->wire->is_connected) return NULL;
    f = calloc(1, sizeof *f);
    c = calloc(1, sizeof *c);
    check(f != NULL && c != NULL);
    buf_init(&f->buf, 0);
    buf_put_be32(&f->buf, 0);
    wire_header_encode(&h, wire_is_flexible(m, version), &f->buf);
    struct wire_out out = {.buf = &f->buf};
    wire_encode(m->request, version, wire_is_flexible(m, version), request, &out);
    buf_patch_be32(&f->buf, 0, (uint32_t)(f->buf.len - 4));
    f->iov = (struct iovec){f->buf.ptr, f->buf.len};
    f->req = (struct send_req){.iov = &f->iov, .n = 1, .sent = on_sent};
    *c = (struct call){.key = key,
                       .version = (int16_t)version,
                       .correlation = a->correlation,
                       .give_up_ns = world_now_ns(w) + (uint64_t)timeout_ms * 1000000u,
                       .since = w->history->n - 1,
                       .done = done};
    list_push_back(&a->wire->calls, &c->link);
    w->sys->net->send(w->sys->net, a->wire->conn, &f->req);
    return c;
}

int agent_calls(const struct agent *a)
{
    int n = 0;

    if (a->wire == NULL) return 0;
    for (const struct list *i = a->wire->calls.next; i != &a->wire->calls; i = i->next)
        n++;
    return n;
}

bool agent_code(struct agent *a, int16_t api, int16_t code)
{
    if (code == 0) return false;
    world_note(a->world, &(struct event){.kind = EVENT_CODE, .client = a->id, .api = api, .error = code});
    return true;
}

/* ---- records ---- */

struct bytes agent_batch(struct agent *a, const int64_t *ids, int n, int64_t producer_id, int16_t epoch,
                         int32_t sequence, bool is_transactional)
{
    struct world *w = a->world;
    struct batch_builder b;
    struct bytes copy;
    struct buf out;
    int64_t ms = world_client_ms(w);

    buf_init(&out, 0);
    batch_begin(&b, &out, CODEC_NONE);
    if (producer_id >= 0) batch_set_producer(&b, producer_id, epoch, sequence);
    if (is_transactional) batch_set_attributes(&b, BATCH_ATTR_TRANSACTIONAL);
    for (int i = 0; i < n; i++) {
        char text[160];
        /* Some are long, so that small segments fill up. */
        int pad = (int)(ids[i] * 37 % 120), len = snprintf(text, sizeof text, "%" PRId64 "%*s", ids[i], pad, "");
        batch_add(&b, ms, BYTES_NULL, bytes_of((uint8_t *)text, (size_t)len), NULL, 0);
    }
    check(batch_finish(&b, NULL) == ERR_NONE);
    copy = arena_copy(&a->arena, buf_bytes(&out));
    buf_deinit(&out);
    return copy;
}

int64_t agent_id_of(struct bytes value)
{
    int64_t id = 0;

    if (value.len == 0) return -1;
    for (size_t i = 0; i < value.len && value.ptr[i] != ' '; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') return -1;
        id = id * 10 + (value.ptr[i] - '0');
    }
    return id;
}

struct call *agent_fetch(struct agent *a, int64_t topic, int32_t partition, int64_t offset, bool is_committed,
                         int max_wait_ms, call_done_fn done)
{
    struct kafka_fetch_request_partition p;
    struct kafka_fetch_request_topic t;
    struct kafka_fetch_request q;

    wire_init(&kafka_fetch_request_wire, &q);
    wire_init(&kafka_fetch_request_topic_wire, &t);
    wire_init(&kafka_fetch_request_partition_wire, &p);
    q.max_wait_ms = max_wait_ms;
    q.min_bytes = 1;
    q.isolation_level = is_committed;
    q.topics.at = &t;
    q.topics.n = 1;
    t.name = bytes_str(topic_name_of(topic));
    t.partitions.at = &p;
    t.partitions.n = 1;
    p.index = partition;
    p.fetch_offset = offset;
    /* Small ones, too: a fetch then ends at a batch in the middle. */
    p.max_bytes = world_chance(a->world, 500) ? 300 : 1 << 20;
    q.max_bytes = p.max_bytes;
    struct call *c = agent_call(a, KAFKA_FETCH, 11, &q, done, CALL_TIMEOUT_MS + max_wait_ms);
    if (c != NULL) c->arg = partition;
    return c;
}

const struct kafka_fetch_response_partition *agent_fetched(const void *answer)
{
    const struct kafka_fetch_response *r = answer;

    if (r->topics.n != 1 || r->topics.at[0].partitions.n != 1) return NULL;
    return &r->topics.at[0].partitions.at[0];
}

struct call *agent_produce(struct agent *a, const char *txn_id, int64_t topic, int32_t partition, struct bytes batch,
                           call_done_fn done)
{
    struct kafka_produce_request_partition p = {partition, batch};
    struct kafka_produce_request_topic t = {.name = bytes_str(topic_name_of(topic)), .partitions = {&p, 1}};
    struct kafka_produce_request q = {.acks = -1, .timeout_ms = 1000, .topics = {&t, 1}};

    q.transactional_id = txn_id != NULL ? bytes_str(txn_id) : BYTES_NULL;
    struct call *c = agent_call(a, KAFKA_PRODUCE, 8, &q, done, CALL_TIMEOUT_MS);
    if (c != NULL) c->arg = partition;
    return c;
}

const struct kafka_produce_response_partition *agent_produced(const void *answer)
{
    const struct kafka_produce_response *r = answer;

    check(r->topics.n == 1 && r->topics.at[0].partitions.n == 1);
    return &r->topics.at[0].partitions.at[0];
}

/* ---- offsets of groups ---- */

struct call *agent_offsets(struct agent *a, const char *group, int64_t topic, bool is_stable, call_done_fn done)
{
    int32_t partitions[N_PARTITIONS];
    struct kafka_offset_fetch_request_topic t;
    struct kafka_offset_fetch_request q;

    wire_init(&kafka_offset_fetch_request_wire, &q);
    wire_init(&kafka_offset_fetch_request_topic_wire, &t);
    for (int i = 0; i < N_PARTITIONS; i++)
        partitions[i] = i;
    t.name = bytes_str(topic_name_of(topic));
    t.partitions.at = partitions;
    t.partitions.n = N_PARTITIONS;
    q.group_id = bytes_str(group);
    q.topics.at = &t;
    q.topics.n = 1;
    q.require_stable = is_stable;
    return agent_call(a, KAFKA_OFFSET_FETCH, 7, &q, done, CALL_TIMEOUT_MS);
}

int16_t agent_offsets_code(const struct kafka_offset_fetch_response *r)
{
    if (r->error_code != 0) return r->error_code;
    check(r->topics.n == 1 && r->topics.at[0].partitions.n == N_PARTITIONS);
    for (int i = 0; i < N_PARTITIONS; i++)
        if (r->topics.at[0].partitions.at[i].error_code != 0) return r->topics.at[0].partitions.at[i].error_code;
    return 0;
}

void agent_offsets_take(struct agent *a, const struct call *c, const struct kafka_offset_fetch_response *r,
                        int64_t group, int64_t topic, int64_t offsets[N_PARTITIONS])
{
    for (int i = 0; i < N_PARTITIONS; i++) {
        const struct kafka_offset_fetch_response_partition *o = &r->topics.at[0].partitions.at[i];
        offsets[o->index] = o->committed_offset;
        world_note(a->world, &(struct event){.kind = EVENT_OFFSET,
                                             .client = a->id,
                                             .since = c->since,
                                             .group = group,
                                             .topic = topic,
                                             .partition = o->index,
                                             .offset = o->committed_offset});
    }
}
