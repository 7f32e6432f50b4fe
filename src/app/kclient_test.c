/* The Kafka client against a door on a real socket: a broker with its loop runs in a thread, the client in the test's.
 * What it proves: each function of kclient.h does what its comment says, errors included. Many brokers and other
 * brokers are out of reach here; retries after a lost broker are shown by the crash tests of the program. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "app/kclient.h"
#include "door/kafka/kafka.h"
#include "sys/os.h"

struct server {
    char dir[64], address[96];
    struct sys sys;
    struct broker *broker;
    struct kafka_door *door;
    struct os_thread *thread;
};
static struct server server;
static struct kclient *client;
static struct arena arena;

static void door_closed(void *arg)
{
    server.sys.loop->stop(server.sys.loop);
}

static void close_door(void *arg)
{
    kafka_door_close(server.door, door_closed, NULL);
}

static void serve(void *arg)
{
    (void)server.sys.loop->run(server.sys.loop, LOOP_RUN);
}

static struct kclient *connect_client(void)
{
    struct kclient_options o = {.bootstrap = server.address, .timeout_ms = 10000};
    struct kclient *k;
    struct err e;

    if (kclient_open(&k, &o, &e) != ERR_NONE) fail_msg("%s", e.text);
    return k;
}

static int start(void **state)
{
    struct broker_options bo = {.data_dir = server.dir, .durability = DURABILITY_OS, .group_initial_delay_ms = -1};
    struct kafka_door_options ko = {.listen = {.host = "127.0.0.1"}, .node_id = 1};
    struct net_address bound;
    struct err e;

    (void)state;
    (void)snprintf(server.dir, sizeof server.dir, "kclient-test-XXXXXX");
    assert_non_null(mkdtemp(server.dir));
    server.sys =
        (struct sys){.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .diag = os_diag_create(2, DIAG_ERROR)};
    assert_int_equal(os_loop_create(&server.sys.loop, &e), ERR_NONE);
    assert_int_equal(os_net_create(&server.sys.net, server.sys.loop, &e), ERR_NONE);
    if (broker_open(&server.broker, &server.sys, &bo, &e) != ERR_NONE) fail_msg("%s", e.text);
    if (kafka_door_open(&server.door, server.broker, &ko, &bound, &e) != ERR_NONE) fail_msg("%s", e.text);
    (void)snprintf(server.address, sizeof server.address, "127.0.0.1:1,localhost:%u",
                   bound.port); /* the first is not there */
    assert_int_equal(os_thread_start(&server.thread, serve, NULL, &e), ERR_NONE);
    arena_init(&arena, 0);
    client = connect_client();
    return 0;
}

static int stop(void **state)
{
    char command[128];

    (void)state;
    kclient_close(client);
    arena_deinit(&arena);
    server.sys.loop->call(server.sys.loop, close_door, NULL);
    os_thread_join(server.thread);
    broker_close(server.broker);
    os_net_destroy(server.sys.net);
    os_loop_destroy(server.sys.loop);
    os_diag_destroy(server.sys.diag);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", server.dir);
    return system(command) == 0 ? 0 : -1;
}

#define ok(call)                                                                                                       \
    do {                                                                                                               \
        struct err e_ = {0}, *e = &e_;                                                                                 \
        if ((call) != ERR_NONE) fail_msg("%s: %s", #call, e_.text);                                                    \
    } while (0)

/* ---- topics ---- */
static void test_topics__create_list_describe_delete(void **state)
{
    struct kclient_config config = {BYTES_LIT("retention.ms"), BYTES_LIT("60000"), false, false}, *configs;
    struct kclient_topic *topics, t;
    struct kclient_cluster cluster;
    bool seen = false;
    int n;

    (void)state;
    ok(kclient_topic_create(client, BYTES_LIT("b"), 3, -1, &config, 1, e));
    ok(kclient_topic_create(client, BYTES_LIT("a"), -1, 1, NULL, 0, e));
    assert_int_equal(kclient_topic_create(client, BYTES_LIT("a"), 1, 1, NULL, 0, NULL), ERR_EXISTS);
    assert_int_equal(kclient_topic_create(client, BYTES_LIT("no name"), 1, 1, NULL, 0, NULL), ERR_INVALID);
    ok(kclient_topics(client, &arena, &topics, &n, e));
    assert_int_equal(n, 2);
    assert_true(bytes_equal_str(topics[0].name, "a") && bytes_equal_str(topics[1].name, "b"));
    assert_int_equal(topics[1].n_partitions, 3);
    assert_int_equal(topics[1].partitions[2].leader, 1);
    ok(kclient_topic_configs(client, BYTES_LIT("b"), &arena, &configs, &n, e));
    for (int i = 0; i < n; i++)
        seen |= bytes_equal_str(configs[i].name, "retention.ms") && bytes_equal_str(configs[i].value, "60000") &&
                !configs[i].is_default;
    assert_true(seen);
    ok(kclient_topic_delete(client, BYTES_LIT("b"), e));
    assert_int_equal(kclient_topic(client, BYTES_LIT("b"), false, &arena, &t, NULL), ERR_NOT_FOUND);
    assert_int_equal(kclient_topic_delete(client, BYTES_LIT("b"), NULL), ERR_NOT_FOUND);
    ok(kclient_topic(client, BYTES_LIT("auto"), true, &arena, &t, e));
    ok(kclient_cluster(client, &arena, &cluster, e));
    assert_int_equal(cluster.controller_id, 1);
    assert_int_equal(cluster.n_brokers, 1);
}

/* ---- produce and fetch ---- */
static uint64_t n_delivered;

static void delivered(void *arg, struct bytes topic, int32_t partition, int64_t base_offset, int32_t n)
{
    n_delivered += (uint64_t)n;
}

static void produce(const char *topic, int from, int to, enum batch_codec codec)
{
    struct kclient_producer_options o = {.codec = codec, .batch_bytes = 2000, .delivered = delivered};
    struct kclient_producer *p;

    n_delivered = 0;
    ok(kclient_producer_open(&p, client, &o, e));
    for (int i = from; i < to; i++) {
        char text[32];

        (void)snprintf(text, sizeof text, "%d", i);
        ok(kclient_produce(p, bytes_str(topic), -1, 1000000 + i, bytes_str(text), bytes_str(text), NULL, 0, e));
    }
    ok(kclient_producer_flush(p, e));
    assert_int_equal(n_delivered, to - from);
    kclient_producer_close(p);
}

struct seen {
    int n, stop_after;
    uint8_t flags[20000];
};

static bool see(void *arg, struct bytes topic, int32_t partition, const struct record *r)
{
    struct seen *s = arg;
    char text[32] = {0};

    memcpy(text, r->value.ptr, r->value.len < 31 ? r->value.len : 31);
    assert_false(s->flags[atoi(text)]++); /* each once */
    return ++s->n != s->stop_after;
}

static void test_produce__everything_is_fetched_once(void **state)
{
    struct kclient_cursor cursors[3] = {{.topic = BYTES_LIT("p"), .partition = 0},
                                        {.topic = BYTES_LIT("p"), .partition = 1},
                                        {.topic = BYTES_LIT("p"), .partition = 2}};
    static struct seen s;
    uint64_t n = 0;

    (void)state;
    memset(&s, 0, sizeof s);
    ok(kclient_topic_create(client, BYTES_LIT("p"), 3, -1, NULL, 0, e));
    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++)
        produce("p", codec * 2000, codec * 2000 + 2000, (enum batch_codec)codec);
    s.stop_after = 5;
    ok(kclient_fetch(client, cursors, 3, 100, see, &s, &n, e));
    assert_int_equal(n, 5);
    s.stop_after = 0;
    for (int i = 0; i < 100 && s.n < 10000; i++)
        ok(kclient_fetch(client, cursors, 3, 100, see, &s, &n, e));
    assert_int_equal(s.n, 10000);
    assert_int_equal(cursors[0].offset + cursors[1].offset + cursors[2].offset, 10000);
    assert_int_equal(cursors[1].high_watermark, cursors[1].offset);
    ok(kclient_fetch(client, cursors, 3, 10, see, &s, &n, e)); /* nothing more */
    assert_int_equal(n, 0);
    cursors[0].offset = 999999;
    cursors[1].topic = BYTES_LIT("gone");
    ok(kclient_fetch(client, cursors, 2, 10, see, &s, &n, e));
    assert_int_equal(cursors[0].rc, ERR_RANGE);
    assert_int_equal(cursors[1].rc, ERR_NOT_FOUND);
}

static void test_produce__errors_are_final_and_clear(void **state)
{
    struct kclient_producer_options o = {.not_idempotent = true};
    struct kclient_producer *p;
    struct err why;

    (void)state;
    ok(kclient_topic_create(client, BYTES_LIT("e"), 1, -1, NULL, 0, e));
    ok(kclient_producer_open(&p, client, &o, e));
    assert_int_equal(kclient_produce(p, BYTES_LIT("e"), 5, -1, BYTES_NULL, BYTES_LIT("x"), NULL, 0, &why),
                     ERR_NOT_FOUND);
    assert_int_equal(kclient_producer_flush(p, &why), ERR_NOT_FOUND);
    kclient_producer_close(p);
    ok(kclient_producer_open(&p, client, &o, e));
    ok(kclient_produce(p, BYTES_LIT("e"), 0, 5000000000000000, BYTES_NULL, BYTES_LIT("x"), NULL, 0,
                       e)); /* a time far ahead */
    assert_int_equal(kclient_producer_flush(p, &why), ERR_TIMESTAMP);
    assert_non_null(strstr(why.text, "INVALID_TIMESTAMP"));
    kclient_producer_close(p);
}

static void test_produce__without_answers_it_still_arrives(void **state)
{
    struct kclient_producer_options o = {.acks_none = true};
    struct kclient_producer *p;
    int64_t end = 0;

    (void)state;
    ok(kclient_topic_create(client, BYTES_LIT("n"), 1, -1, NULL, 0, e));
    ok(kclient_producer_open(&p, client, &o, e));
    ok(kclient_produce(p, BYTES_LIT("n"), 0, -1, BYTES_NULL, BYTES_LIT("x"), NULL, 0, e));
    ok(kclient_producer_flush(p, e));
    ok(kclient_offset(client, BYTES_LIT("n"), 0, KCLIENT_LATEST, &end, NULL, e)); /* behind it on the same connection */
    assert_int_equal(end, 1);
    kclient_producer_close(p);
}

static void test_offset__ends_and_times(void **state)
{
    int64_t offset, ts;

    (void)state;
    ok(kclient_topic_create(client, BYTES_LIT("o"), 1, -1, NULL, 0, e));
    produce("o", 0, 100, CODEC_LZ4);
    ok(kclient_offset(client, BYTES_LIT("o"), 0, KCLIENT_EARLIEST, &offset, NULL, e));
    assert_int_equal(offset, 0);
    ok(kclient_offset(client, BYTES_LIT("o"), 0, KCLIENT_LATEST, &offset, NULL, e));
    assert_int_equal(offset, 100);
    ok(kclient_offset(client, BYTES_LIT("o"), 0, 1000042, &offset, &ts, e));
    assert_int_equal(offset, 42);
    assert_int_equal(ts, 1000042);
    ok(kclient_offset(client, BYTES_LIT("o"), 0, 2000000, &offset, &ts, e));
    assert_int_equal(offset, -1);
    assert_int_equal(kclient_offset(client, BYTES_LIT("o"), 3, 0, &offset, &ts, NULL), ERR_NOT_FOUND);
    assert_int_equal(kclient_offset(client, BYTES_LIT("none"), 0, 0, &offset, &ts, NULL), ERR_NOT_FOUND);
}

/* ---- groups ---- */
struct member_run {
    struct kclient *k;
    struct seen seen;
    _Atomic int n_assigned, wants_stop;
};
static struct member_run runs[2];
static const char group_topic[] = "g";

static struct kclient_member *open_member(struct kclient *k)
{
    struct bytes topic = bytes_str(group_topic);
    struct kclient_member_options o = {.group_id = BYTES_LIT("group"),
                                       .topics = &topic,
                                       .n_topics = 1,
                                       .session_timeout_ms = 6000,
                                       .start = KCLIENT_EARLIEST};
    struct kclient_member *m;
    struct err e;

    if (kclient_member_open(&m, k, &o, &e) != ERR_NONE) abort();
    return m;
}

/* Not the test's thread: no assertions here. */
static void member_thread(void *arg)
{
    struct member_run *run = arg;
    struct kclient_member *m = open_member(run->k);
    struct err e;
    int n;

    while (!run->wants_stop) {
        if (kclient_member_poll(m, 50, see, &run->seen, NULL, &e) != ERR_NONE) break;
        (void)kclient_member_assignment(m, &n);
        run->n_assigned = n;
    }
    (void)!kclient_member_commit(m, NULL);
    kclient_member_close(m);
}

static bool wait_assigned(int a, int b)
{
    struct err e;
    const uint64_t until = os_clock()->mono_ns(os_clock()) + 20000000000ull;

    while (os_clock()->mono_ns(os_clock()) < until) {
        struct kclient_cluster c;

        if (runs[0].n_assigned == a && runs[1].n_assigned == b) return true;
        arena_reset(&arena);
        if (kclient_cluster(client, &arena, &c, &e) != ERR_NONE) return false; /* gives the others time */
    }
    return false;
}

static void test_member__two_share_and_one_takes_over(void **state)
{
    struct os_thread *threads[2];
    struct kclient_group_offset *offsets;
    struct kclient_group_info info;
    struct kclient_group *groups;
    int64_t committed = 0;
    int n;

    (void)state;
    memset(runs, 0, sizeof runs);
    ok(kclient_topic_create(client, bytes_str(group_topic), 4, -1, NULL, 0, e));
    produce("g", 0, 1000, CODEC_NONE);
    for (int i = 0; i < 2; i++) {
        runs[i].k = connect_client();
        ok(os_thread_start(&threads[i], member_thread, &runs[i], e));
        assert_true(i == 0 ? wait_assigned(4, 0) : wait_assigned(2, 2));
    }
    ok(kclient_group_describe(client, BYTES_LIT("group"), &arena, &info, e));
    assert_true(bytes_equal_str(info.state, "Stable") && bytes_equal_str(info.protocol, "range"));
    assert_int_equal(info.n_members, 2);
    assert_int_equal(info.members[0].n_assignment, 2);
    assert_int_equal(kclient_group_delete(client, BYTES_LIT("group"), NULL), ERR_BUSY);
    runs[0].wants_stop = 1;
    os_thread_join(threads[0]);
    assert_true(wait_assigned(2, 4)); /* the first one's last number stays */
    runs[1].wants_stop = 1;
    os_thread_join(threads[1]);
    kclient_close(runs[0].k);
    kclient_close(runs[1].k);
    assert_int_equal(runs[0].seen.n + runs[1].seen.n, 1000);
    ok(kclient_group_offsets(client, BYTES_LIT("group"), &arena, &offsets, &n, e));
    assert_int_equal(n, 4);
    for (int i = 0; i < n; i++)
        committed += offsets[i].offset;
    assert_int_equal(committed, 1000);
    offsets[1].offset = 7;
    ok(kclient_group_set_offsets(client, BYTES_LIT("group"), &offsets[1], 1, e));
    ok(kclient_group_offsets(client, BYTES_LIT("group"), &arena, &offsets, &n, e));
    assert_int_equal(offsets[1].offset, 7);
    ok(kclient_groups(client, &arena, &groups, &n, e));
    assert_int_equal(n, 1);
    assert_true(bytes_equal_str(groups[0].group_id, "group") && bytes_equal_str(groups[0].state, "Empty"));
    ok(kclient_group_delete(client, BYTES_LIT("group"), e));
    assert_int_equal(kclient_group_describe(client, BYTES_LIT("group"), &arena, &info, NULL), ERR_NOT_FOUND);
}

static void interrupt_thread(void *arg)
{
    kclient_interrupt(arg);
}

static void test_interrupt__ends_a_long_wait(void **state)
{
    struct kclient_cursor c = {.topic = BYTES_LIT("i")};
    struct os_thread *thread;
    struct kclient *k;
    static struct seen s;

    (void)state;
    ok(kclient_topic_create(client, BYTES_LIT("i"), 1, -1, NULL, 0, e));
    k = connect_client();
    ok(os_thread_start(&thread, interrupt_thread, k, e));
    assert_int_equal(kclient_fetch(k, &c, 1, 60000, see, &s, NULL, NULL), ERR_CANCELLED);
    os_thread_join(thread);
    kclient_close(k);
}

static void test_open__says_what_is_wrong(void **state)
{
    struct kclient_options o = {.bootstrap = "127.0.0.1:1", .timeout_ms = 200};
    struct kclient *k;
    struct err e;

    (void)state;
    assert_int_equal(kclient_open(&k, &o, &e), ERR_CLOSED);
    assert_null(k);
    o.bootstrap = "127.0.0.1:port";
    assert_int_equal(kclient_open(&k, &o, &e), ERR_INVALID);
    o.bootstrap = "";
    assert_int_equal(kclient_open(&k, &o, &e), ERR_INVALID);
    kclient_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_topics__create_list_describe_delete, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__everything_is_fetched_once, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__errors_are_final_and_clear, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__without_answers_it_still_arrives, start, stop),
        cmocka_unit_test_setup_teardown(test_offset__ends_and_times, start, stop),
        cmocka_unit_test_setup_teardown(test_member__two_share_and_one_takes_over, start, stop),
        cmocka_unit_test_setup_teardown(test_interrupt__ends_a_long_wait, start, stop),
        cmocka_unit_test_setup_teardown(test_open__says_what_is_wrong, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
