/* test_client.h: a broker with a Kafka door in a simulated world, and clients that speak frames to it. For tests and
 * the fuzz target: everything that must not fail is checked, so that it works without a test framework. */
#ifndef WEIR_DOOR_KAFKA_TEST_CLIENT_H
#define WEIR_DOOR_KAFKA_TEST_CLIENT_H

#include <stdlib.h>

#include "door/kafka/kafka.h"
#include "door/kafka/kafka_codec.h"
#include "sys/sim.h"

#define WORLD_WALL_MS 1700000000000ll

struct kworld {
    struct sim *sim;
    const struct sys *sys;
    struct broker *broker;
    struct kafka_door *door;
    struct net_address address;
    bool is_door_closed;
};
struct kclient_conn {
    struct kworld *w;
    struct conn *conn;
    bool is_connected, is_closed;
    int32_t correlation, answered; /* sent; received so far */
    struct buf in;                 /* received, from in_at on not taken */
    size_t in_at;
    struct arena arena;
    uint8_t room[4096];
};

/* ---- world ---- */
UNUSED static void kworld_init_door(struct kworld *w, const struct sim_options *o,
                                    const struct kafka_door_options *door)
{
    struct broker_options bo = {.data_dir = "data", .group_initial_delay_ms = -1};
    struct kafka_door_options ko = *door;
    struct err e = {0};

    ko.listen = (struct net_address){.host = "127.0.0.1"};
    ko.node_id = 7;
    memset(w, 0, sizeof *w);
    check(sim_create(&w->sim, o, &e) == ERR_NONE);
    w->sys = sim_sys(w->sim);
    check(broker_open(&w->broker, w->sys, &bo, &e) == ERR_NONE);
    check(kafka_door_open(&w->door, w->broker, &ko, &w->address, &e) == ERR_NONE);
}

UNUSED static void kworld_init(struct kworld *w, const struct sim_options *o)
{
    struct kafka_door_options door = {.idle_ms = 0};

    kworld_init_door(w, o, &door);
}

UNUSED static void kworld_start(struct kworld *w, uint64_t seed)
{
    struct sim_options o = {.seed = seed, .wall_start_ms = WORLD_WALL_MS};

    kworld_init(w, &o);
}

UNUSED static void kworld_door_closed(void *arg)
{
    ((struct kworld *)arg)->is_door_closed = true;
}

UNUSED static void kworld_deinit(struct kworld *w)
{
    if (!w->is_door_closed) {
        kafka_door_close(w->door, kworld_door_closed, w);
        sim_run_ms(w->sim, 10000);
        check(w->is_door_closed);
    }
    broker_close(w->broker);
    sim_run_ms(w->sim, 1);
    sim_destroy(w->sim);
}

/* ---- a client's connection ---- */
UNUSED static void kconn_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct kclient_conn *c = user;

    *ptr = c->room;
    *cap = sizeof c->room;
}
UNUSED static void kconn_received(void *user, size_t n)
{
    struct kclient_conn *c = user;

    buf_put(&c->in, c->room, n);
}
UNUSED static void kconn_drained(void *user)
{
}
UNUSED static void kconn_closed(void *user, const struct err *e)
{
    ((struct kclient_conn *)user)->is_closed = true;
}
UNUSED static void kconn_connected(void *user, struct conn *conn)
{
    struct kclient_conn *c = user;

    c->is_connected = true;
    c->w->sys->net->read_start(c->w->sys->net, conn);
}

UNUSED static void kconn_open(struct kclient_conn *c, struct kworld *w)
{
    static const struct conn_handler handler = {kconn_room, kconn_received, kconn_drained, kconn_closed};
    struct err e;

    memset(c, 0, sizeof *c);
    c->w = w;
    buf_init(&c->in, 0);
    arena_init(&c->arena, 0);
    check(w->sys->net->connect(w->sys->net, &w->address, &handler, c, kconn_connected, &c->conn, &e) == ERR_NONE);
    for (int i = 0; i < 100 && !c->is_connected && !c->is_closed; i++)
        sim_run_ms(w->sim, 1);
}

UNUSED static void kconn_close(struct kclient_conn *c)
{
    if (!c->is_closed) c->w->sys->net->close(c->w->sys->net, c->conn);
    for (int i = 0; i < 100 && !c->is_closed; i++)
        sim_run_ms(c->w->sim, 1);
    check(c->is_closed);
    buf_deinit(&c->in);
    arena_deinit(&c->arena);
}

struct kconn_send {
    struct send_req req;
    struct iovec iov;
    struct buf buf;
};
UNUSED static void kconn_sent(struct send_req *r, bool ok)
{
    struct kconn_send *s = CONTAINER_OF(r, struct kconn_send, req);

    buf_deinit(&s->buf);
    free(s);
}

UNUSED static void kconn_send_bytes(struct kclient_conn *c, struct bytes bytes)
{
    struct kconn_send *s = calloc(1, sizeof *s);

    if (c->is_closed || bytes.len == 0) {
        free(s);
        return;
    }
    check(s != NULL);
    buf_init(&s->buf, 0);
    buf_put_bytes(&s->buf, bytes);
    s->iov = (struct iovec){s->buf.ptr, s->buf.len};
    s->req = (struct send_req){.iov = &s->iov, .n = 1, .sent = kconn_sent};
    c->w->sys->net->send(c->w->sys->net, c->conn, &s->req);
}

UNUSED static const struct wire_message *kmessage(int16_t key)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        if (kafka_messages[i].key == key) return &kafka_messages[i];
    check(false);
    return NULL;
}

/* Appends a whole frame. */
UNUSED static void kframe_put(struct buf *out, int16_t key, int version, int32_t correlation, const void *request)
{
    const struct wire_message *m = kmessage(key);
    struct wire_header h = {key, (int16_t)version, correlation, BYTES_LIT("test")};
    struct wire_out w = {.buf = out};
    size_t start = out->len;

    buf_put_be32(out, 0);
    wire_header_encode(&h, wire_is_flexible(m, version), out);
    wire_encode(m->request, version, wire_is_flexible(m, version), request, &w);
    buf_patch_be32(out, start, (uint32_t)(out->len - start - 4));
}

UNUSED static void kconn_send(struct kclient_conn *c, int16_t key, int version, const void *request)
{
    struct buf b;

    buf_init(&b, 0);
    kframe_put(&b, key, version, ++c->correlation, request);
    kconn_send_bytes(c, buf_bytes(&b));
    buf_deinit(&b);
}

/* One whole frame without its size, if it is there. */
UNUSED static bool kconn_take(struct kclient_conn *c, struct bytes *frame)
{
    size_t left = c->in.len - c->in_at;
    uint32_t size;

    if (left < 4) return false;
    size = be32_get(c->in.ptr + c->in_at);
    if (left < size + 4u) return false;
    *frame = bytes_of(c->in.ptr + c->in_at + 4, size);
    c->in_at += size + 4u;
    return true;
}

/* Runs the world until an answer is there; false after max_ms of its time, or when the connection is closed. */
UNUSED static bool kconn_wait(struct kclient_conn *c, struct bytes *frame, uint64_t max_ms)
{
    for (uint64_t ms = 0; ms <= max_ms; ms++) {
        if (kconn_take(c, frame)) return true;
        if (c->is_closed) return false;
        sim_run_ms(c->w->sim, 1);
    }
    return false;
}

/* The next answer, which must be that of the next request in order. */
UNUSED static bool kconn_receive(struct kclient_conn *c, int16_t key, int version, void *response, uint64_t max_ms)
{
    const struct wire_message *m = kmessage(key);
    bool flexible = wire_is_flexible(m, version);
    size_t skip = flexible && key != KAFKA_API_VERSIONS ? 5 : 4;
    struct bytes frame;
    struct err e;

    if (!kconn_wait(c, &frame, max_ms)) return false;
    check(frame.len >= skip && (int32_t)be32_get(frame.ptr) == ++c->answered);
    frame = arena_copy(&c->arena, bytes_slice(frame, skip, frame.len - skip));
    check(wire_decode(m->response, version, flexible, frame, &c->arena, response, &e) == ERR_NONE);
    return true;
}

UNUSED static void kconn_call(struct kclient_conn *c, int16_t key, int version, const void *request, void *response)
{
    kconn_send(c, key, version, request);
    check(kconn_receive(c, key, version, response, 5000));
}

/* ---- requests that every test needs ---- */
UNUSED static void kbatch(struct buf *out, const char *value, int n, int64_t producer_id, int32_t sequence,
                          enum batch_codec codec)
{
    struct batch_builder b;

    buf_init(out, 0);
    batch_begin(&b, out, codec);
    if (producer_id >= 0) batch_set_producer(&b, producer_id, 0, sequence);
    for (int i = 0; i < n; i++)
        batch_add(&b, WORLD_WALL_MS + i, BYTES_LIT("k"), bytes_str(value), NULL, 0);
    check(batch_finish(&b, NULL) == ERR_NONE);
}

/* Creates the topic with n partitions. */
UNUSED static void kcreate(struct kclient_conn *c, const char *name, int32_t n)
{
    struct kafka_create_topics_request_topic t;
    struct kafka_create_topics_request q;
    struct kafka_create_topics_response r;

    wire_init(&kafka_create_topics_request_wire, &q);
    wire_init(&kafka_create_topics_request_topic_wire, &t);
    t.name = bytes_str(name);
    t.num_partitions = n;
    t.replication_factor = 1;
    q.topics.at = &t;
    q.topics.n = 1;
    kconn_call(c, KAFKA_CREATE_TOPICS, 4, &q, &r);
    check(r.topics.n == 1 && r.topics.at[0].error_code == 0);
}

UNUSED static void kproduce_send(struct kclient_conn *c, int version, int16_t acks, const char *topic,
                                 int32_t partition, struct bytes batch)
{
    struct kafka_produce_request_partition p = {partition, batch};
    struct kafka_produce_request_topic t = {.name = bytes_str(topic), .partitions = {&p, 1}};
    struct kafka_produce_request q = {.acks = acks, .timeout_ms = 1000, .topics = {&t, 1}};

    kconn_send(c, KAFKA_PRODUCE, version, &q);
}

/* Produces n records and gives the answer for the partition. */
UNUSED static struct kafka_produce_response_partition kproduce(struct kclient_conn *c, const char *topic,
                                                               int32_t partition, const char *value, int n)
{
    struct kafka_produce_response r;
    struct buf batch;

    kbatch(&batch, value, n, -1, -1, CODEC_NONE);
    kproduce_send(c, 9, -1, topic, partition, buf_bytes(&batch));
    buf_deinit(&batch);
    check(kconn_receive(c, KAFKA_PRODUCE, 9, &r, 5000));
    check(r.topics.n == 1 && r.topics.at[0].partitions.n == 1);
    return r.topics.at[0].partitions.at[0];
}

UNUSED static void kfetch_send(struct kclient_conn *c, int version, const char *topic, const int64_t *offsets,
                               int32_t n, int32_t max_wait_ms, int32_t min_bytes, int32_t max_bytes)
{
    struct kafka_fetch_request_partition *p = arena_array(&c->arena, (size_t)n, sizeof *p);
    struct kafka_fetch_request_topic t;
    struct kafka_fetch_request q;

    wire_init(&kafka_fetch_request_wire, &q);
    wire_init(&kafka_fetch_request_topic_wire, &t);
    q.max_wait_ms = max_wait_ms;
    q.min_bytes = min_bytes;
    q.max_bytes = max_bytes;
    q.topics.at = &t;
    q.topics.n = 1;
    t.name = bytes_str(topic);
    if (version >= 13) memcpy(t.topic_id, topic_uuid(topic_find(c->w->broker, t.name)), 16);
    t.partitions.at = p;
    t.partitions.n = n;
    for (int32_t i = 0; i < n; i++) {
        wire_init(&kafka_fetch_request_partition_wire, &p[i]);
        p[i].index = i;
        p[i].fetch_offset = offsets[i];
        p[i].max_bytes = max_bytes;
    }
    kconn_send(c, KAFKA_FETCH, version, &q);
}

/* Number of records in a fetched partition; -1: not whole batches. */
UNUSED static int kcount_records(struct bytes records)
{
    int n = 0;

    while (records.len > 0) {
        struct batch_view v;

        if (batch_view_parse(&v, records, NULL) != ERR_NONE || batch_check_crc(&v, NULL) != ERR_NONE) return -1;
        n += v.record_count;
        records = bytes_slice(records, v.bytes.len, records.len - v.bytes.len);
    }
    return n;
}

#endif
