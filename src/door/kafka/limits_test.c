/* What one client may take: quotas and the waits they cause, time limits, and bounds of memory. Method: a door over a
 * simulated broker and network; time is virtual, so minutes cost nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "broker/quota.h"
#include "door/kafka/test_client.h"

static void world(struct kworld *w, uint64_t seed, struct kafka_door_options door)
{
    struct sim_options o = {.seed = seed, .wall_start_ms = WORLD_WALL_MS};

    kworld_init_door(w, &o, &door);
}

static struct kafka_door_stats stats_of(struct kworld *w)
{
    struct kafka_door_stats s;

    kafka_door_stats(w->door, &s);
    return s;
}

static void metadata_send(struct kclient_conn *c)
{
    struct kafka_metadata_request q;

    wire_init(&kafka_metadata_request_wire, &q);
    kconn_send(c, KAFKA_METADATA, 9, &q);
}

/* Milliseconds until the answer, -1: none. */
static int64_t metadata_wait(struct kclient_conn *c, int32_t *throttle_ms)
{
    struct kafka_metadata_response r;
    uint64_t begin = c->w->sys->loop->now_ns(c->w->sys->loop);

    if (!kconn_receive(c, KAFKA_METADATA, 9, &r, 100000)) return -1;
    if (throttle_ms != NULL) *throttle_ms = r.throttle_time_ms;
    return (int64_t)((c->w->sys->loop->now_ns(c->w->sys->loop) - begin) / 1000000);
}

/* One change through the protocol; the error. */
static int16_t alter(struct kclient_conn *c, const char *type, const char *name, const char *key, double value)
{
    struct kafka_alter_client_quotas_request_entity entity = {bytes_str(type), name ? bytes_str(name) : BYTES_NULL};
    struct kafka_alter_client_quotas_request_op op = {bytes_str(key), value < 0 ? 0 : value, value < 0};
    struct kafka_alter_client_quotas_request_entry entry = {{&entity, 1}, {&op, 1}};
    struct kafka_alter_client_quotas_request q = {{&entry, 1}, false};
    struct kafka_alter_client_quotas_response r;

    kconn_call(c, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q, &r);
    assert_int_equal(r.entries.n, 1);
    assert_int_equal(r.entries.at[0].entity.n, 1);
    assert_true(bytes_equal_str(r.entries.at[0].entity.at[0].entity_type, type));
    assert_true(r.entries.at[0].error_code == 0 || r.entries.at[0].error_message.len > 0);
    return r.entries.at[0].error_code;
}

static int32_t produce(struct kclient_conn *c, int acks, const char *value)
{
    struct kafka_produce_response r;
    struct buf batch;

    kbatch(&batch, value, 1, -1, -1, CODEC_NONE);
    kproduce_send(c, 9, (int16_t)acks, "t", 0, buf_bytes(&batch));
    buf_deinit(&batch);
    if (acks == 0) {
        c->answered++;
        return 0;
    }
    assert_true(kconn_receive(c, KAFKA_PRODUCE, 9, &r, 100000));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
    return r.throttle_time_ms;
}

static char kilobytes[20001];

/* The answer comes at once and says how long; the next request is handled when that time is over. */
static void test_limits__a_producer_over_its_quota_waits(void **state)
{
    struct quota_stats quota;
    struct kclient_conn c, other;
    struct kworld w;
    int32_t throttle = 0;
    int64_t waited;

    (void)state;
    world(&w, 1, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    kcreate(&c, "t", 1);
    assert_int_equal(alter(&c, "client-id", "test", "producer_byte_rate", 2500), 0);
    assert_int_equal(produce(&c, -1, kilobytes), 0); /* 20 KB of the 25 KB that a fresh window has */
    throttle = produce(&c, -1, kilobytes);
    assert_true(throttle > 5500 && throttle < 6500); /* 15 KB too much at 2500 a second */
    metadata_send(&c);
    kconn_open(&other, &w);
    metadata_send(&other);
    assert_true(metadata_wait(&other, NULL) < 10); /* nobody else waits */
    waited = metadata_wait(&c, NULL);
    assert_true(waited > throttle - 100 && waited < throttle + 100);
    sim_run_ms(w.sim, 12000);
    assert_int_equal(produce(&c, -1, kilobytes), 0);
    (void)produce(&c, 0, kilobytes); /* no answer says so, but the connection is not read from */
    metadata_send(&c);
    assert_true(metadata_wait(&c, NULL) > 5000);
    quota_stats(w.broker, &quota);
    assert_int_equal(quota.throttled[QUOTA_PRODUCE], 2);
    assert_int_equal(alter(&c, "client-id", "test", "producer_byte_rate", -1), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(produce(&c, -1, kilobytes), 0);
    kconn_close(&c);
    kconn_close(&other);
    kworld_deinit(&w);
}

/* Empty and with a time; afterwards everything arrives, and never more at once than a window has. */
static void test_limits__a_consumer_over_its_quota_gets_nothing_yet(void **state)
{
    struct kclient_conn c;
    struct kworld w;
    int64_t at = 0;
    int throttled = 0, records = 0;

    (void)state;
    world(&w, 2, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    kcreate(&c, "t", 1);
    for (int i = 0; i < 10; i++)
        (void)produce(&c, -1, kilobytes);
    assert_int_equal(alter(&c, "user", NULL, "consumer_byte_rate", 5000), 0);
    for (int i = 0; i < 100 && records < 10; i++) {
        struct kafka_fetch_response r;
        int n;

        kfetch_send(&c, 11, "t", &at, 1, 0, 1, 1 << 20);
        assert_true(kconn_receive(&c, KAFKA_FETCH, 11, &r, 100000));
        if (r.throttle_time_ms > 0) {
            assert_int_equal(r.topics.n, 0);
            throttled++;
            continue;
        }
        n = kcount_records(r.topics.at[0].partitions.at[0].records);
        assert_in_range(n, 1, 3); /* 50 KB is a whole window */
        at += n;
        records += n;
    }
    assert_int_equal(records, 10);
    assert_true(throttled >= 2);
    kconn_close(&c);
    kworld_deinit(&w);
}

static uint64_t slow_ns;
static struct clock *real_clock;
static uint64_t (*real_mono)(struct clock *c);
static uint64_t slow_mono(struct clock *c)
{
    slow_ns += 50000000; /* each look at the clock takes 50 ms */
    return real_mono(c) + slow_ns;
}

static void test_limits__time_on_the_shard_is_a_quota(void **state)
{
    struct kclient_conn c;
    struct kworld w;
    int32_t throttle = 0, seen = 0;

    (void)state;
    world(&w, 3, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    assert_int_equal(alter(&c, "user", "ANONYMOUS", "request_percentage", 5), 0);
    real_clock = w.sys->clock;
    real_mono = real_clock->mono_ns;
    real_clock->mono_ns = slow_mono;
    for (int i = 0; i < 20; i++) {
        metadata_send(&c);
        assert_true(metadata_wait(&c, &throttle) >= 0);
        if (throttle > seen) seen = throttle;
    }
    real_clock->mono_ns = real_mono;
    assert_in_range(seen, 1, 1000); /* a second at most */
    kconn_close(&c);
    kworld_deinit(&w);
}

static void test_limits__topics_made_in_a_rush_are_a_quota(void **state)
{
    struct kafka_create_topics_request_topic t;
    struct kafka_create_topics_request q;
    struct kafka_create_topics_response r;
    struct kclient_conn c;
    struct kworld w;

    (void)state;
    world(&w, 4, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    assert_int_equal(alter(&c, "user", NULL, "controller_mutation_rate", 1), 0);
    wire_init(&kafka_create_topics_request_wire, &q);
    wire_init(&kafka_create_topics_request_topic_wire, &t);
    t.name = bytes_str("many");
    t.num_partitions = 20;
    t.replication_factor = 1;
    q.topics.at = &t;
    q.topics.n = 1;
    kconn_call(&c, KAFKA_CREATE_TOPICS, 4, &q, &r);
    assert_int_equal(r.topics.at[0].error_code, 0);
    assert_int_equal(r.throttle_time_ms, 10000); /* 20 in a window of ten seconds, one a second allowed */
    kconn_close(&c);
    kworld_deinit(&w);
}

static void test_limits__quotas_are_described_as_they_were_set(void **state)
{
    struct kafka_describe_client_quotas_request_component any = {BYTES_LIT("user"), 2, BYTES_NULL},
                                                          twice[2] = {any, any};
    struct kafka_describe_client_quotas_request q = {{&any, 1}, true};
    struct kafka_describe_client_quotas_response r;
    struct kclient_conn c;
    struct kworld w;

    (void)state;
    world(&w, 5, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    assert_int_equal(alter(&c, "user", "alice", "consumer_byte_rate", 5e9), 0);
    assert_int_equal(alter(&c, "user", "alice", "request_percentage", 12.5), 0);
    assert_int_equal(alter(&c, "user", NULL, "consumer_byte_rate", 7), 0);
    assert_int_equal(alter(&c, "client-id", "x", "consumer_byte_rate", 8), 0);
    assert_int_equal(alter(&c, "ip", "127.0.0.1", "connection_creation_rate", 100), 0);
    assert_int_equal(alter(&c, "ip", "127.0.0.1", "producer_byte_rate", 100), 42);
    assert_int_equal(alter(&c, "host", "x", "producer_byte_rate", 100), 42);
    assert_int_equal(alter(&c, "user", "x", "no_such_rate", 100), 42);
    assert_int_equal(alter(&c, "user", "x", "producer_byte_rate", 0.5), 42);
    kconn_call(&c, KAFKA_DESCRIBE_CLIENT_QUOTAS, 1, &q, &r);
    assert_int_equal(r.error_code, 0);
    assert_int_equal(r.entries.n, 2);
    assert_true(bytes_equal_str(r.entries.at[0].entity.at[0].entity_name, "alice"));
    assert_int_equal(r.entries.at[0].values.n, 2);
    assert_true(r.entries.at[0].values.at[0].value == 5e9 && r.entries.at[0].values.at[1].value == 12.5);
    assert_true(bytes_is_null(r.entries.at[1].entity.at[0].entity_name));
    q.components.n = 0;
    q.strict = false;
    kconn_call(&c, KAFKA_DESCRIBE_CLIENT_QUOTAS, 0, &q, &r);
    assert_int_equal(r.entries.n, 4);
    any.match_type = 1;
    q.components.n = 1;
    kconn_call(&c, KAFKA_DESCRIBE_CLIENT_QUOTAS, 1, &q, &r);
    assert_int_equal(r.entries.n, 1);
    q.components.at = twice;
    q.components.n = 2;
    kconn_call(&c, KAFKA_DESCRIBE_CLIENT_QUOTAS, 1, &q, &r);
    assert_int_equal(r.error_code, 42);
    assert_int_equal(r.entries.n, -1);
    kconn_close(&c);
    kworld_deinit(&w);
}

/* ---- connections ---- */
static void test_limits__an_address_that_connects_too_often_is_held_and_closed(void **state)
{
    struct kclient_conn c, many[12];
    struct kworld w;
    uint64_t begin;

    (void)state;
    world(&w, 6, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    assert_int_equal(alter(&c, "ip", NULL, "connection_creation_rate", 1), 0);
    for (int i = 0; i < 12; i++)
        kconn_open(&many[i], &w);
    begin = w.sys->loop->now_ns(w.sys->loop);
    metadata_send(&many[0]);
    metadata_send(&many[11]);
    assert_true(metadata_wait(&many[0], NULL) >= 0);
    assert_int_equal(metadata_wait(&many[11], NULL), -1);
    assert_true(w.sys->loop->now_ns(w.sys->loop) - begin > 900000000u);
    for (int i = 0; i < 12; i++)
        kconn_close(&many[i]);
    kconn_close(&c);
    kworld_deinit(&w);
}

static void test_limits__connections_have_a_maximum_in_all_and_of_an_address(void **state)
{
    struct kclient_conn c[4];
    struct kworld w;

    (void)state;
    for (int per_ip = 0; per_ip < 2; per_ip++) {
        world(&w, 7,
              (struct kafka_door_options){.connections_max = per_ip ? 0 : 3, .connections_per_ip_max = per_ip ? 3 : 0});
        for (int i = 0; i < 4; i++)
            kconn_open(&c[i], &w);
        sim_run_ms(w.sim, 10);
        assert_true(c[3].is_closed && !c[2].is_closed);
        assert_int_equal(stats_of(&w).connections_refused, 1);
        kconn_close(&c[0]);
        sim_run_ms(w.sim, 10);
        kconn_close(&c[3]);
        kconn_open(&c[3], &w);
        metadata_send(&c[3]);
        assert_true(metadata_wait(&c[3], NULL) >= 0);
        for (int i = 1; i < 4; i++)
            kconn_close(&c[i]);
        kworld_deinit(&w);
    }
}

/* G1: silence ends a connection after the time; a parked fetch is not silence. */
static void test_limits__idle_connections_are_closed(void **state)
{
    struct kafka_fetch_response f;
    struct kclient_conn idle, busy, parked;
    struct kworld w;
    int64_t from = 0;

    (void)state;
    world(&w, 8, (struct kafka_door_options){.idle_ms = 10000});
    kconn_open(&idle, &w);
    kconn_open(&busy, &w);
    kconn_open(&parked, &w);
    kcreate(&parked, "t", 1);
    kfetch_send(&parked, 11, "t", &from, 1, 35000, 1, 1 << 20);
    for (int i = 0; i < 3; i++) {
        sim_run_ms(w.sim, 9000);
        assert_int_equal(idle.is_closed, i > 0);
        metadata_send(&busy);
        assert_true(metadata_wait(&busy, NULL) >= 0);
    }
    assert_true(kconn_receive(&parked, KAFKA_FETCH, 11, &f, 20000));
    sim_run_ms(w.sim, 15000);
    assert_true(busy.is_closed && parked.is_closed);
    assert_int_equal(stats_of(&w).connections_idle, 3);
    kconn_close(&idle);
    kconn_close(&busy);
    kconn_close(&parked);
    kworld_deinit(&w);
}

/* G1: who asked for megabytes and reads none of them is closed, and lets go of what it held. One that reads slowly is
 * left alone. */
static void test_limits__a_peer_that_does_not_read_is_closed(void **state)
{
    struct kclient_conn stopped, slow;
    struct net *net;
    struct kworld w;
    int64_t from = 0;

    (void)state;
    world(&w, 9, (struct kafka_door_options){.idle_ms = 10000});
    net = w.sys->net;
    kconn_open(&stopped, &w);
    kcreate(&stopped, "t", 1);
    for (int i = 0; i < 200; i++)
        (void)produce(&stopped, -1, kilobytes);
    kconn_open(&slow, &w);
    net->read_stop(net, stopped.conn);
    net->read_stop(net, slow.conn);
    kfetch_send(&stopped, 11, "t", &from, 1, 0, 1, 50 << 20);
    kfetch_send(&slow, 11, "t", &from, 1, 0, 1, 50 << 20);
    for (int i = 0; i < 10; i++) { /* a few windows of 64 KiB each time */
        sim_run_ms(w.sim, 6000);
        net->read_start(net, slow.conn);
        sim_run_until(w.sim, w.sys->loop->now_ns(w.sys->loop) + 100000);
        net->read_stop(net, slow.conn);
    }
    net->read_start(net, stopped.conn);
    sim_run_ms(w.sim, 100);
    assert_true(stopped.is_closed);
    assert_false(slow.is_closed);
    net->read_start(net, slow.conn);
    sim_run_ms(w.sim, 100);
    assert_int_equal(stats_of(&w).connections_idle, 1);
    kconn_close(&stopped);
    kconn_close(&slow);
    kworld_deinit(&w);
}

/* G2. */
static void test_limits__half_a_frame_has_a_deadline(void **state)
{
    struct kafka_metadata_response r;
    struct kclient_conn trickle, steady;
    struct kworld w;
    struct buf frame;
    uint8_t head[4] = {0, 1, 0x86, 0xa0}; /* 100,000 bytes are said to come */

    (void)state;
    world(&w, 10, (struct kafka_door_options){0});
    kconn_open(&trickle, &w);
    kconn_open(&steady, &w);
    buf_init(&frame, 0);
    buf_put(&frame, head, 4);
    be32_put(frame.ptr, 100000);
    while (frame.len < 100004)
        buf_put_be32(&frame, 0); /* the body is nonsense: the frame only has to be long */
    kconn_send_bytes(&trickle, bytes_of(head, 4));
    for (unsigned s = 0; s < 60; s++) {
        sim_run_ms(w.sim, 1000);
        assert_int_equal(trickle.is_closed, s >= 30);
        if (!trickle.is_closed) kconn_send_bytes(&trickle, bytes_of("x", 1));
        kconn_send_bytes(&steady, bytes_of(frame.ptr + s * 1500, 1500));
    }
    assert_false(steady.is_closed); /* 90 KB in 60 s are enough */
    buf_deinit(&frame);
    kconn_close(&trickle);
    kconn_close(&steady);
    kconn_open(&steady, &w); /* a frame that began late is not held against the next ones */
    for (int i = 0; i < 5; i++) {
        struct kafka_metadata_request q;

        buf_init(&frame, 0);
        wire_init(&kafka_metadata_request_wire, &q);
        kframe_put(&frame, KAFKA_METADATA, 9, ++steady.correlation, &q);
        kconn_send_bytes(&steady, bytes_of(frame.ptr, 6));
        sim_run_ms(w.sim, 20000);
        kconn_send_bytes(&steady, bytes_of(frame.ptr + 6, frame.len - 6));
        assert_true(kconn_receive(&steady, KAFKA_METADATA, 9, &r, 100));
        buf_deinit(&frame);
    }
    kconn_close(&steady);
    kworld_deinit(&w);
}

/* ---- memory ---- */
/* V1. */
static void test_limits__idle_connections_hold_no_buffer(void **state)
{
    struct kclient_conn c[50];
    struct kworld w;

    (void)state;
    world(&w, 11, (struct kafka_door_options){0});
    for (int i = 0; i < 50; i++) {
        kconn_open(&c[i], &w);
        metadata_send(&c[i]);
        assert_true(metadata_wait(&c[i], NULL) >= 0);
    }
    assert_int_equal(stats_of(&w).receive_bytes, 0);
    kcreate(&c[0], "t", 1);
    for (int i = 0; i < 4; i++) { /* larger than a step: the buffer stays for a moment */
        char *value = malloc(200001);

        assert_non_null(value);
        memset(value, 'x', 200000), value[200000] = '\0';
        (void)produce(&c[0], -1, value);
        free(value);
        assert_in_range(stats_of(&w).receive_bytes, 200000, 1 << 20);
    }
    sim_run_ms(w.sim, 2500);
    assert_int_equal(stats_of(&w).receive_bytes, 0);
    for (int i = 0; i < 50; i++)
        kconn_close(&c[i]);
    kworld_deinit(&w);
}

/* V2, V3: begun frames of ten connections want four times the budget. It is kept but for one frame, all get through in
 * the end, and half frames that never go on do not stop the others for longer than their deadline. */
static void test_limits__begun_frames_share_a_budget(void **state)
{
    enum { N = 10, BYTES = 400000, BUDGET = 1 << 20 };
    struct kafka_produce_response r;
    struct kclient_conn c[N], small;
    struct kworld w;
    struct buf frame[N];
    char *value = malloc(BYTES + 1);
    uint64_t most = 0;
    int answered = 0;

    (void)state;
    assert_non_null(value);
    memset(value, 'v', BYTES), value[BYTES] = '\0';
    world(&w, 12, (struct kafka_door_options){.receive_bytes_max = BUDGET});
    for (int i = 0; i < N; i++) {
        struct kafka_produce_request_partition p = {0};
        struct kafka_produce_request_topic t = {.name = bytes_str("t"), .partitions = {&p, 1}};
        struct kafka_produce_request q = {.acks = -1, .timeout_ms = 1000, .topics = {&t, 1}};
        struct buf batch;

        kconn_open(&c[i], &w);
        if (i == 0) kcreate(&c[0], "t", 1);
        kbatch(&batch, value, 1, -1, -1, CODEC_NONE);
        p.records = buf_bytes(&batch);
        buf_init(&frame[i], 0);
        kframe_put(&frame[i], KAFKA_PRODUCE, 9, ++c[i].correlation, &q);
        buf_deinit(&batch);
    }
    for (size_t at = 0; at < BYTES - 100000; at += 50000) /* nobody is complete */
        for (int i = 0; i < N; i++) {
            kconn_send_bytes(&c[i], bytes_of(frame[i].ptr + at, 50000));
            sim_run_ms(w.sim, 1);
            if (stats_of(&w).receive_bytes > most) most = stats_of(&w).receive_bytes;
        }
    assert_in_range(most, BUDGET / 2, BUDGET + 2 * BYTES);
    kconn_open(&small, &w); /* who sends little does not wait */
    metadata_send(&small);
    assert_true(metadata_wait(&small, NULL) < 10);
    kconn_close(&small);
    for (int i = N - 1; i > 2; i--) /* the first three never go on */
        kconn_send_bytes(&c[i], bytes_of(frame[i].ptr + (BYTES - 100000), frame[i].len - (BYTES - 100000)));
    for (int s = 0; s < 100; s++) {
        sim_run_ms(w.sim, 1000);
        if (stats_of(&w).receive_bytes > most) most = stats_of(&w).receive_bytes;
    }
    for (int i = 3; i < N; i++)
        answered += kconn_receive(&c[i], KAFKA_PRODUCE, 9, &r, 10);
    assert_int_equal(answered, N - 3);
    assert_true(c[0].is_closed && c[1].is_closed && c[2].is_closed);
    assert_in_range(most, BUDGET / 2, BUDGET + 2 * BYTES);
    assert_int_equal(stats_of(&w).receive_bytes, 0);
    for (int i = 0; i < N; i++)
        kconn_close(&c[i]), buf_deinit(&frame[i]);
    free(value);
    kworld_deinit(&w);
}

/* Answers that nobody takes: the connection that holds most of them goes, the others stay. */
static void test_limits__the_largest_holder_of_answers_is_closed(void **state)
{
    struct kclient_conn c, modest, greedy;
    struct kafka_metadata_request q;
    struct kworld w;
    struct net *net;

    (void)state;
    world(&w, 13, (struct kafka_door_options){.held_bytes_max = 1 << 20});
    net = w.sys->net;
    kconn_open(&c, &w);
    kcreate(&c, "wide", 1000); /* an answer of about 100 KB */
    kconn_open(&modest, &w);
    kconn_open(&greedy, &w);
    net->read_stop(net, modest.conn);
    net->read_stop(net, greedy.conn);
    wire_init(&kafka_metadata_request_wire, &q);
    q.topics.n = -1;
    kconn_send(&modest, KAFKA_METADATA, 9, &q);
    for (int i = 0; i < 20; i++)
        kconn_send(&greedy, KAFKA_METADATA, 9, &q);
    sim_run_ms(w.sim, 100);
    assert_int_equal(stats_of(&w).connections_shed, 1);
    assert_true(stats_of(&w).held_bytes <= 1 << 20);
    net->read_start(net, greedy.conn);
    net->read_start(net, modest.conn);
    sim_run_ms(w.sim, 100);
    assert_true(greedy.is_closed && !modest.is_closed);
    metadata_send(&c);
    assert_true(metadata_wait(&c, NULL) >= 0);
    kconn_close(&c);
    kconn_close(&modest);
    kconn_close(&greedy);
    kworld_deinit(&w);
}

/* ---- a slow disk ---- */
static struct list held_jobs;
static void (*real_submit)(struct loop *l, struct job *j);
static void hold_job(struct loop *l, struct job *j)
{
    (void)l;
    list_push_back(&held_jobs, &j->link);
}

/* The client is told in its time; what was appended stays, so that the same batch again is answered as a duplicate. */
static void test_limits__produce_keeps_its_timeout(void **state)
{
    struct kafka_produce_response r;
    struct kclient_conn c;
    struct kworld w;
    struct buf batch;
    struct list *link;

    (void)state;
    world(&w, 14, (struct kafka_door_options){0});
    kconn_open(&c, &w);
    kcreate(&c, "t", 1);
    list_init(&held_jobs);
    real_submit = w.sys->loop->submit_beside;
    w.sys->loop->submit_beside = hold_job;
    kbatch(&batch, "once", 1, 5, 0, CODEC_NONE);
    kproduce_send(&c, 9, -1, "t", 0, buf_bytes(&batch)); /* timeout 1000 ms */
    sim_run_ms(w.sim, 990);
    assert_int_equal(c.in.len, c.in_at);
    assert_true(kconn_receive(&c, KAFKA_PRODUCE, 9, &r, 20));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 7);
    assert_int_equal(r.topics.at[0].partitions.at[0].base_offset, -1);
    kproduce_send(&c, 9, -1, "t", 0, buf_bytes(&batch));
    sim_run_ms(w.sim, 100);
    w.sys->loop->submit_beside = real_submit;
    while ((link = list_pop_front(&held_jobs)) != NULL)
        real_submit(w.sys->loop, CONTAINER_OF(link, struct job, link));
    assert_true(kconn_receive(&c, KAFKA_PRODUCE, 9, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
    assert_int_equal(r.topics.at[0].partitions.at[0].base_offset, 0);
    assert_int_equal(partition_high_watermark(topic_partition(topic_find(w.broker, bytes_str("t")), 0)), 1);
    buf_deinit(&batch);
    kconn_close(&c);
    kworld_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits__a_producer_over_its_quota_waits),
        cmocka_unit_test(test_limits__a_consumer_over_its_quota_gets_nothing_yet),
        cmocka_unit_test(test_limits__time_on_the_shard_is_a_quota),
        cmocka_unit_test(test_limits__topics_made_in_a_rush_are_a_quota),
        cmocka_unit_test(test_limits__quotas_are_described_as_they_were_set),
        cmocka_unit_test(test_limits__an_address_that_connects_too_often_is_held_and_closed),
        cmocka_unit_test(test_limits__connections_have_a_maximum_in_all_and_of_an_address),
        cmocka_unit_test(test_limits__idle_connections_are_closed),
        cmocka_unit_test(test_limits__a_peer_that_does_not_read_is_closed),
        cmocka_unit_test(test_limits__half_a_frame_has_a_deadline),
        cmocka_unit_test(test_limits__idle_connections_hold_no_buffer),
        cmocka_unit_test(test_limits__begun_frames_share_a_budget),
        cmocka_unit_test(test_limits__the_largest_holder_of_answers_is_closed),
        cmocka_unit_test(test_limits__produce_keeps_its_timeout),
    };

    memset(kilobytes, 'k', sizeof kilobytes - 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
