/* The connection: frames in any pieces, replies in order, limits, malformed input, and the end of the door. Method: a
 * door over a simulated broker and network; clients send bytes of their own making; virtual time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "door/kafka/test_client.h"

static void api_versions_send(struct kclient_conn *c)
{
    struct kafka_api_versions_request q = {BYTES_LIT("test"), BYTES_LIT("1.0")};

    kconn_send(c, KAFKA_API_VERSIONS, 3, &q);
}

static void api_versions_expect(struct kclient_conn *c)
{
    struct kafka_api_versions_response r;

    assert_true(kconn_receive(c, KAFKA_API_VERSIONS, 3, &r, 1000));
    assert_int_equal(r.error_code, 0);
    assert_int_equal(r.api_keys.n, KAFKA_MESSAGE_COUNT);
    assert_int_equal(r.api_keys.at[0].key, KAFKA_PRODUCE);
    assert_int_equal(r.api_keys.at[0].min_version, 0); /* librdkafka compresses only then */
}

/* C1: a parked fetch holds back the answers behind it; all come in order once it is through. */
static void test_conn__replies_leave_in_request_order(void **state)
{
    struct kclient_conn c, other;
    struct kafka_fetch_response f;
    struct kworld w;
    int64_t from = 0;

    (void)state;
    kworld_start(&w, 1);
    kconn_open(&c, &w);
    kconn_open(&other, &w);
    kcreate(&c, "t", 1);
    kfetch_send(&c, 11, "t", &from, 1, 1000, 1, 1 << 20);
    for (int i = 0; i < 5; i++)
        api_versions_send(&c);
    sim_run_ms(w.sim, 100);
    assert_int_equal(c.in.len, c.in_at); /* nothing yet */
    assert_int_equal(kproduce(&other, "t", 0, "x", 3).error_code, 0);
    assert_true(kconn_receive(&c, KAFKA_FETCH, 11, &f, 100));
    assert_int_equal(kcount_records(f.topics.at[0].partitions.at[0].records), 3);
    for (int i = 0; i < 5; i++)
        api_versions_expect(&c);
    kconn_close(&c);
    kconn_close(&other);
    kworld_deinit(&w);
}

static void test_conn__frames_may_come_byte_by_byte(void **state)
{
    struct kafka_metadata_request q;
    struct kafka_metadata_response r;
    struct kclient_conn c;
    struct kworld w;
    struct buf b;

    (void)state;
    kworld_start(&w, 2);
    kconn_open(&c, &w);
    buf_init(&b, 0);
    wire_init(&kafka_metadata_request_wire, &q);
    q.topics.n = -1;
    for (int i = 1; i <= 3; i++)
        kframe_put(&b, KAFKA_METADATA, 9, i, &q);
    for (size_t i = 0; i < b.len; i++) {
        kconn_send_bytes(&c, bytes_of(b.ptr + i, 1));
        sim_run_ms(w.sim, 1);
    }
    for (int i = 0; i < 3; i++)
        assert_true(kconn_receive(&c, KAFKA_METADATA, 9, &r, 10));
    assert_int_equal(r.brokers.at[0].port, w.address.port);
    assert_true(bytes_equal_str(r.brokers.at[0].host, "127.0.0.1"));
    buf_deinit(&b);
    kconn_close(&c);
    kworld_deinit(&w);
}

/* The network may split and delay as it likes; large batches cross the receive buffer's borders. */
static void test_conn__large_frames_survive_any_split(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct sim_options o = {
            .seed = seed, .wall_start_ms = WORLD_WALL_MS, .net_split_permille = 500, .net_delay_ms_max = 2};
        static char value[300000];
        struct kclient_conn c;
        struct kworld w;
        int64_t from = 0;
        struct kafka_fetch_response f;

        kworld_init(&w, &o);
        kconn_open(&c, &w);
        kcreate(&c, "t", 1);
        for (int i = 0; i < 8; i++) {
            size_t len = (size_t)sim_random(w.sim, sizeof value - 1);

            memset(value, 'a' + i, len);
            value[len] = '\0';
            assert_int_equal(kproduce(&c, "t", 0, value, 1).base_offset, i);
        }
        kfetch_send(&c, 11, "t", &from, 1, 0, 1, 50 << 20);
        assert_true(kconn_receive(&c, KAFKA_FETCH, 11, &f, 10000));
        assert_int_equal(kcount_records(f.topics.at[0].partitions.at[0].records), 8);
        kconn_close(&c);
        kworld_deinit(&w);
    }
}

/* C3: more requests than may be in flight are all answered, a part at a time. */
static void test_conn__more_requests_than_the_limit_wait_their_turn(void **state)
{
    struct kclient_conn c;
    struct kworld w;

    (void)state;
    kworld_start(&w, 3);
    kconn_open(&c, &w);
    for (int i = 0; i < 20 * LIMIT_CONN_INFLIGHT_MAX; i++)
        api_versions_send(&c);
    for (int i = 0; i < 20 * LIMIT_CONN_INFLIGHT_MAX; i++)
        api_versions_expect(&c);
    kconn_close(&c);
    kworld_deinit(&w);
}

static void expect_closed(const uint8_t *bytes, size_t len)
{
    struct kafka_door_stats before, after;
    struct kclient_conn c;
    struct kworld w;
    struct bytes frame;

    kworld_start(&w, 4);
    kafka_door_stats(w.door, &before);
    kconn_open(&c, &w);
    kconn_send_bytes(&c, bytes_of(bytes, len));
    assert_false(kconn_wait(&c, &frame, 100));
    assert_true(c.is_closed);
    kafka_door_stats(w.door, &after);
    assert_int_equal(after.request_errors_total, before.request_errors_total + 1);
    assert_int_equal(after.connections, 0);
    kconn_close(&c);
    kworld_deinit(&w);
}

static void test_conn__malformed_frames_close_the_connection(void **state)
{
    static const uint8_t huge[] = {0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 1},
                         negative[] = {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 1};
    static const uint8_t tiny[] = {0, 0, 0, 4, 0, 3, 0, 1}, http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    static const uint8_t unknown_key[] = {0, 0, 0, 10, 3, 0xe8, 0, 0, 0, 0, 0, 1, 0xff, 0xff};
    static const uint8_t unknown_version[] = {0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff};
    static const uint8_t produce_v2[] = {0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t bad_header[] = {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff};
    static const uint8_t bad_count[] = {0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff};
    static const uint8_t left_over[] = {0, 0, 0, 15, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 9};

    (void)state;
    expect_closed(huge, sizeof huge);
    expect_closed(negative, sizeof negative);
    expect_closed(tiny, sizeof tiny);
    expect_closed(http, sizeof http - 1);
    expect_closed(unknown_key, sizeof unknown_key);
    expect_closed(unknown_version, sizeof unknown_version);
    expect_closed(produce_v2, sizeof produce_v2);
    expect_closed(bad_header, sizeof bad_header);
    expect_closed(bad_count, sizeof bad_count);
    expect_closed(left_over, sizeof left_over);
}

/* ApiVersions is the one request that is answered in any version: with version 0 and the range to try again in. */
static void test_conn__too_new_api_versions_are_told_the_range(void **state)
{
    static const uint8_t v99[] = {0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0, 1};
    struct kafka_api_versions_response r;
    struct kclient_conn c;
    struct kworld w;

    (void)state;
    kworld_start(&w, 5);
    kconn_open(&c, &w);
    kconn_send_bytes(&c, bytes_of(v99, sizeof v99));
    assert_true(kconn_receive(&c, KAFKA_API_VERSIONS, 0, &r, 100));
    assert_int_equal(r.error_code, 35);
    assert_int_equal(r.api_keys.n, 1);
    assert_int_equal(r.api_keys.at[0].key, KAFKA_API_VERSIONS);
    assert_int_equal(r.api_keys.at[0].max_version, 4);
    c.correlation = 1;
    api_versions_send(&c);
    api_versions_expect(&c);
    kconn_close(&c);
    kworld_deinit(&w);
}

/* A client that goes away while its requests are parked, or while a large answer is on its way, leaves nothing behind
 * (the address sanitizer looks). */
static void test_conn__a_client_may_vanish_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct sim_options o = {
            .seed = seed, .wall_start_ms = WORLD_WALL_MS, .net_split_permille = 100, .net_delay_ms_max = 3};
        struct kclient_conn c[3];
        struct kafka_door_stats stats;
        struct kworld w;
        int64_t from[2] = {0, 0};
        struct buf batch;

        kworld_init(&w, &o);
        for (int i = 0; i < 3; i++)
            kconn_open(&c[i], &w);
        kcreate(&c[0], "t", 2);
        kbatch(&batch, "some value that is not short", 500, -1, -1, CODEC_NONE);
        for (int i = 0; i < 40; i++) {
            struct kclient_conn *one = &c[sim_random(w.sim, 3)];

            if (one->is_closed) continue;
            switch (sim_random(w.sim, 4)) {
            case 0:
                kfetch_send(one, 12, "t", from, 2, (int32_t)sim_random(w.sim, 50), 1 << (int)sim_random(w.sim, 20),
                            1 << 20);
                break;
            case 1:
                kproduce_send(one, 8, (int16_t)sim_random(w.sim, 2), "t", (int32_t)sim_random(w.sim, 2),
                              buf_bytes(&batch));
                break;
            case 2: api_versions_send(one); break;
            default: sim_run_ms(w.sim, sim_random(w.sim, 5));
            }
            if (sim_random(w.sim, 15) == 0)
                w.sys->net->close(w.sys->net, one->conn), sim_run_ms(w.sim, sim_random(w.sim, 2));
        }
        buf_deinit(&batch);
        for (int i = 0; i < 3; i++)
            kconn_close(&c[i]);
        sim_run_ms(w.sim, 100);
        kafka_door_stats(w.door, &stats);
        assert_int_equal(stats.connections, 0);
        assert_int_equal(stats.connections_total, 3);
        kworld_deinit(&w);
    }
}

/* The door closes: a parked fetch and a parked join are answered, then the connections end. */
static void test_conn__closing_the_door_answers_what_is_parked(void **state)
{
    struct kafka_fetch_response f;
    struct kclient_conn c, idle;
    struct kworld w;
    struct bytes frame;
    int64_t from = 0;

    (void)state;
    kworld_start(&w, 6);
    kconn_open(&c, &w);
    kconn_open(&idle, &w);
    kcreate(&c, "t", 1);
    kfetch_send(&c, 11, "t", &from, 1, 60000, 1, 1 << 20);
    sim_run_ms(w.sim, 10);
    kafka_door_close(w.door, kworld_door_closed, &w);
    assert_true(kconn_receive(&c, KAFKA_FETCH, 11, &f, 100));
    assert_int_equal(f.topics.at[0].partitions.at[0].records.len, 0);
    assert_false(kconn_wait(&c, &frame, 100));
    sim_run_ms(w.sim, 100);
    assert_true(c.is_closed && idle.is_closed && w.is_door_closed);
    kconn_close(&c);
    kconn_close(&idle);
    kworld_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conn__replies_leave_in_request_order),
        cmocka_unit_test(test_conn__frames_may_come_byte_by_byte),
        cmocka_unit_test(test_conn__large_frames_survive_any_split),
        cmocka_unit_test(test_conn__more_requests_than_the_limit_wait_their_turn),
        cmocka_unit_test(test_conn__malformed_frames_close_the_connection),
        cmocka_unit_test(test_conn__too_new_api_versions_are_told_the_range),
        cmocka_unit_test(test_conn__a_client_may_vanish_at_any_moment),
        cmocka_unit_test(test_conn__closing_the_door_answers_what_is_parked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
