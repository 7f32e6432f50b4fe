/* Fetch sessions, and what ends a fetch's waiting. Method: as requests_test.c; tables where the rule is a table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "door/kafka/fetch_session.h"
#include "door/kafka/test_client.h"

static struct kworld world;
static struct kclient_conn one, two;

static int start(void **state)
{
    (void)state;
    kworld_start(&world, 11);
    kconn_open(&one, &world);
    kconn_open(&two, &world);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kconn_close(&one);
    kconn_close(&two);
    kworld_deinit(&world);
    return 0;
}

/* ---- a reader with a session ---- */
struct reader_of_parts {
    const char *topic;
    int version;
    int32_t session, epoch;
    int32_t wait_ms, min_bytes, max_bytes;
    bool is_committed;
    int32_t n, forget; /* partitions named, from 0; -1: none is forgotten */
    const int64_t *offsets;
};

static struct kafka_fetch_response ask(struct kclient_conn *c, const struct reader_of_parts *r)
{
    struct kafka_fetch_request_partition *p = arena_array(&c->arena, (size_t)r->n, sizeof *p);
    struct kafka_fetch_request_forgotten_topic f = {.name = bytes_str(r->topic), .partitions = {NULL, 1}};
    struct kafka_fetch_request_topic t = {.name = bytes_str(r->topic), .partitions = {p, r->n}};
    struct topic *topic = topic_find(world.broker, t.name);
    struct kafka_fetch_response out;
    struct kafka_fetch_request q;
    int32_t forget = r->forget;

    wire_init(&kafka_fetch_request_wire, &q);
    q.max_wait_ms = r->wait_ms;
    q.min_bytes = r->min_bytes ? r->min_bytes : 1;
    q.max_bytes = r->max_bytes ? r->max_bytes : 1 << 20;
    q.isolation_level = r->is_committed;
    q.session_id = r->session;
    q.session_epoch = r->epoch;
    if (topic != NULL) memcpy(t.topic_id, topic_uuid(topic), 16);
    memcpy(f.topic_id, t.topic_id, 16);
    for (int32_t i = 0; i < r->n; i++) {
        wire_init(&kafka_fetch_request_partition_wire, &p[i]);
        p[i].index = i;
        p[i].fetch_offset = r->offsets ? r->offsets[i] : 0;
        p[i].max_bytes = 1 << 20;
    }
    if (r->n > 0) {
        q.topics.at = &t;
        q.topics.n = 1;
    }
    if (r->forget >= 0) {
        f.partitions.at = &forget;
        q.forgotten_topics.at = &f;
        q.forgotten_topics.n = 1;
    }
    kconn_send(c, KAFKA_FETCH, r->version, &q);
    if (r->wait_ms > 0) return (struct kafka_fetch_response){.error_code = -99};
    check(kconn_receive(c, KAFKA_FETCH, r->version, &out, 5000));
    return out;
}

static int32_t parts_in(const struct kafka_fetch_response *r)
{
    int32_t n = 0;

    for (int32_t i = 0; i < r->topics.n; i++)
        n += r->topics.at[i].partitions.n;
    return n;
}

static struct reader_of_parts opened(int version, int32_t n, const int64_t *offsets)
{
    struct reader_of_parts r = {.topic = "t", .version = version, .n = n, .forget = -1, .offsets = offsets};
    struct kafka_fetch_response a = ask(&one, &r);

    assert_int_equal(a.error_code, 0);
    assert_int_equal(parts_in(&a), n);
    assert_true(a.session_id > 0);
    r.session = a.session_id;
    r.epoch = 1;
    r.n = 0;
    return r;
}

static void test_session__answers_say_what_has_changed(void **state)
{
    (void)state;
    kcreate(&one, "t", 4);
    for (int version = 7; version <= 18; version++) {
        struct reader_of_parts r;
        struct kafka_fetch_response a;
        int64_t end = kproduce(&one, "t", 2, "x", 1).base_offset + 1;
        int64_t at[4] = {0, 0, end, 0};

        r = opened(version, 4, at);
        a = ask(&one, &r);
        assert_int_equal(a.error_code, 0);
        assert_int_equal(a.session_id, r.session);
        assert_int_equal(parts_in(&a), 0);
        (void)kproduce(&one, "t", 2, "x", 2);
        r.epoch++;
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 1);
        assert_int_equal(a.topics.at[0].partitions.at[0].index, 2);
        assert_int_equal(kcount_records(a.topics.at[0].partitions.at[0].records), 2);
        at[2] = end + 2; /* The reader says where it goes on: nothing is left. */
        r.n = 3;
        r.offsets = at;
        r.epoch++;
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 0);
        r.n = 0;
        r.epoch++;
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 0);
    }
}

/* id 0: the session's; other ids as they are. */
static void test_session__wrong_ids_and_epochs_are_told(void **state)
{
    static const struct {
        int32_t id, epoch;
        int16_t error;
        bool has_session;
        int32_t parts;
    } table[] = {
        {0, 2, KE_INVALID_FETCH_SESSION_EPOCH, false, 0},
        {0, 1, KE_NONE, true, 0},
        {0, 1, KE_INVALID_FETCH_SESSION_EPOCH, false, 0}, /* sent twice */
        {0, 2, KE_NONE, true, 0},
        {12345, 1, KE_FETCH_SESSION_ID_NOT_FOUND, false, 0},
        {-1, 1, KE_FETCH_SESSION_ID_NOT_FOUND, false, 0},
        {-2, 7, KE_FETCH_SESSION_ID_NOT_FOUND, false, 0}, /* 0: names none */
        {0, -1, KE_NONE, false, 2},                       /* closes it, full */
        {0, 3, KE_FETCH_SESSION_ID_NOT_FOUND, false, 0},
        {-2, -1, KE_NONE, false, 2}, /* never any */
        {12345, 0, KE_NONE, true, 2},
    };
    struct reader_of_parts r;
    int32_t id;

    (void)state;
    kcreate(&one, "t", 2);
    r = opened(12, 2, NULL);
    id = r.session;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kafka_fetch_response a;

        r.session = table[i].id == 0 ? id : table[i].id == -2 ? 0 : table[i].id;
        r.epoch = table[i].epoch;
        r.n = table[i].epoch <= 0 ? 2 : 0;
        a = ask(&one, &r);
        assert_int_equal(a.error_code, table[i].error);
        assert_int_equal(a.session_id != 0, table[i].has_session);
        assert_int_equal(parts_in(&a), table[i].parts);
    }
    r = opened(12, 2, NULL);
    id = r.session;
    r.epoch = 0; /* the old one ends, the new one has another id */
    r.n = 2;
    r.session = ask(&one, &r).session_id;
    assert_int_not_equal(r.session, id);
    assert_null(fetch_session_find(&world.door->fetch_sessions, id));
    r.n = 0;
    r.epoch = 1;
    r.version = 13; /* opened by names */
    assert_int_equal(ask(&one, &r).error_code, KE_FETCH_SESSION_TOPIC_ID_ERROR);
    r.version = 12;
    fetch_session_find(&world.door->fetch_sessions, r.session)->epoch = INT32_MAX;
    r.epoch = INT32_MAX;
    assert_int_equal(ask(&one, &r).error_code, 0);
    r.epoch = 1;
    assert_int_equal(ask(&one, &r).error_code, 0);
}

static void test_session__partitions_are_added_changed_and_forgotten(void **state)
{
    struct reader_of_parts r;
    struct kafka_fetch_response a;
    int64_t back[3] = {0};

    (void)state;
    kcreate(&one, "t", 3);
    (void)kproduce(&one, "t", 1, "x", 3);
    for (int version = 12; version <= 13; version++) {
        int64_t ends[3] = {0, 3, 0};

        r = opened(version, 2, ends);
        r.n = 3;
        r.offsets = ends;
        a = ask(&one, &r); /* 2 is new */
        assert_int_equal(parts_in(&a), 1);
        assert_int_equal(a.topics.at[0].partitions.at[0].index, 2);
        r.n = 0;
        r.epoch++;
        r.forget = 1;
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 0);
        assert_int_equal(world.door->fetch_sessions.n_parts, 2);
        r.forget = -1;
        r.epoch++;
        r.n = 2;
        r.offsets = back; /* from the start again: 1 is new, and has records */
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 1);
        assert_int_equal(kcount_records(a.topics.at[0].partitions.at[0].records), 3);
        r.n = 0;
        for (r.forget = 0; r.forget < 3; r.forget++) {
            r.epoch++;
            a = ask(&one, &r);
        }
        assert_int_equal(a.session_id, 0); /* nothing is left to follow */
        assert_int_equal(world.door->fetch_sessions.n_parts, 0);
        assert_int_equal(map_count(&world.door->fetch_sessions.by_id), 0);
    }
}

static void test_session__an_error_is_told_until_it_is_over(void **state)
{
    struct kafka_fetch_response a;
    struct reader_of_parts r;
    int64_t beyond[2] = {7, 0};

    (void)state;
    kcreate(&one, "t", 2);
    r = opened(12, 2, beyond);
    for (int i = 0; i < 3; i++) {
        a = ask(&one, &r);
        assert_int_equal(parts_in(&a), 1);
        assert_int_equal(a.topics.at[0].partitions.at[0].error_code, KE_OFFSET_OUT_OF_RANGE);
        r.epoch++;
    }
    beyond[0] = 0;
    r.n = 1;
    r.offsets = beyond;
    a = ask(&one, &r); /* told once more that all is well */
    assert_int_equal(parts_in(&a), 1);
    assert_int_equal(a.topics.at[0].partitions.at[0].error_code, 0);
    r.n = 0;
    r.epoch++;
    a = ask(&one, &r);
    assert_int_equal(parts_in(&a), 0);
}

/* Answers for one batch only: each partition has its turn, however full the others are. */
static void test_session__small_answers_serve_in_turn(void **state)
{
    struct reader_of_parts r;
    int64_t at[3] = {0};
    int seen[3] = {0};

    (void)state;
    kcreate(&one, "t", 3);
    for (int32_t i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            (void)kproduce(&one, "t", i, "some words that take room", 1);
    r = (struct reader_of_parts){.topic = "t", .version = 12, .n = 3, .forget = -1, .offsets = at, .max_bytes = 1};
    for (int i = 0; i < 12; i++) {
        struct kafka_fetch_response a = ask(&one, &r);

        if (i == 0) r.session = a.session_id;
        r.epoch = i + 1;
        for (int32_t j = 0; j < a.topics.at[0].partitions.n; j++) {
            const struct kafka_fetch_response_partition *p = &a.topics.at[0].partitions.at[j];

            at[p->index] += kcount_records(p->records);
            seen[p->index] += p->records.len > 0;
        }
        r.offsets = at;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(seen[i], 4);
}

static void test_session__waits_for_any_of_its_partitions(void **state)
{
    struct kafka_fetch_response a;
    struct reader_of_parts r;
    int64_t at[64] = {0};

    (void)state;
    kcreate(&two, "t", 64);
    r = opened(12, 64, at);
    r.wait_ms = 60000;
    for (int i = 0; i < 5; i++) {
        (void)ask(&one, &r);
        sim_run_ms(world.sim, 20);
        assert_int_equal(kproduce(&two, "t", 40 + i, "x", 1).error_code, 0);
        assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &a, 1000));
        assert_int_equal(parts_in(&a), 1);
        assert_int_equal(a.topics.at[0].partitions.at[0].index, 40 + i);
        at[40 + i] = 1;
        r.offsets = at;
        r.n = 64;
        r.epoch++;
    }
}

/* Two requests on one session, the connection that breaks, a session that ends under a parked request. */
static void test_session__one_request_at_a_time(void **state)
{
    struct kafka_fetch_response a;
    struct reader_of_parts r;
    struct kclient_conn gone;
    int64_t at[2] = {0};

    (void)state;
    kcreate(&two, "t", 2);
    r = opened(12, 2, at);
    r.wait_ms = 60000;
    (void)ask(&one, &r);
    sim_run_ms(world.sim, 10);
    r.wait_ms = 0;
    r.epoch = 2;
    a = ask(&two, &r); /* answers the first */
    assert_int_equal(a.error_code, 0);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &a, 100));
    assert_int_equal(parts_in(&a), 0);
    r.epoch = 3;
    r.wait_ms = 60000;
    (void)ask(&one, &r);
    sim_run_ms(world.sim, 10);
    r.wait_ms = 0;
    r.epoch = -1;
    r.n = 2;
    assert_int_equal(ask(&two, &r).session_id, 0);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &a, 100));
    assert_int_equal(map_count(&world.door->fetch_sessions.by_id), 0);
    kconn_open(&gone, &world);
    r.session = 0;
    r.epoch = 0;
    r.wait_ms = 60000;
    r.offsets = at;
    (void)ask(&gone, &r);
    sim_run_ms(world.sim, 10);
    assert_int_equal(map_count(&world.door->fetch_sessions.by_id), 1);
    kconn_close(&gone);
    sim_run_ms(world.sim, 10);
    assert_int_equal(map_count(&world.door->fetch_sessions.by_id), 0); /* nobody has heard of it */
}

/* ---- S4 ---- */
static void test_session__slots_and_memory_are_bounded(void **state)
{
    struct fetch_sessions *ss = &world.door->fetch_sessions;
    struct reader_of_parts r = {.topic = "t", .version = 12, .n = 2, .forget = -1};
    struct kafka_fetch_response a;
    int32_t first;

    (void)state;
    kcreate(&one, "t", 4);
    first = ask(&one, &r).session_id;
    for (int i = 1; i < LIMIT_FETCH_SESSIONS_MAX; i++)
        assert_true(ask(&one, &r).session_id > 0);
    a = ask(&one, &r);
    assert_int_equal(a.session_id, 0); /* declined, and answered all the same */
    assert_int_equal(parts_in(&a), 2);
    sim_run_ms(world.sim, LIMIT_FETCH_SESSION_IDLE_NS / 1000000);
    r.session = first;
    r.epoch = 1;
    r.n = 0;
    assert_int_equal(ask(&one, &r).session_id, first); /* not idle any more */
    r.session = 0;
    r.epoch = 0;
    r.n = 2;
    assert_true(ask(&one, &r).session_id > 0);
    assert_non_null(fetch_session_find(ss, first));
    assert_int_equal(ss->evicted_total, 1);
    assert_int_equal(map_count(&ss->by_id), LIMIT_FETCH_SESSIONS_MAX);
    for (struct list *n = ss->by_use.next; n != &ss->by_use; n = n->next) /* in use, and old */
        CONTAINER_OF(n, struct fetch_session, link)->used_ns = world.sys->loop->now_ns(world.sys->loop);
    assert_int_equal(ask(&one, &r).session_id, 0); /* none is smaller */
    r.n = 4;
    assert_true(ask(&one, &r).session_id > 0);
    assert_int_equal(ss->evicted_total, 2);
    fetch_sessions_deinit(ss);
    fetch_sessions_init(ss, world.sys);
    ss->n_parts = LIMIT_FETCH_SESSION_PARTITIONS_MAX - 3;
    assert_int_equal(ask(&one, &r).session_id, 0);
    assert_int_equal(ss->n_parts, LIMIT_FETCH_SESSION_PARTITIONS_MAX - 3);
    r.n = 3;
    r.session = ask(&one, &r).session_id;
    assert_true(r.session > 0);
    r.n = 4;
    r.epoch = 1;
    assert_int_equal(ask(&one, &r).error_code, KE_FETCH_SESSION_ID_NOT_FOUND); /* the client starts anew */
    assert_int_equal(ss->n_parts, LIMIT_FETCH_SESSION_PARTITIONS_MAX - 3);
    ss->n_parts = 0;
}

/* ---- what ends the waiting ---- */
static void no_end(void)
{
}
static void end_append(void)
{
    (void)kproduce(&two, "t", 0, "x", 1);
}
static void end_delete(void)
{
    assert_int_equal(topic_delete(world.broker, topic_find(world.broker, BYTES_LIT("t")), NULL), ERR_NONE);
}
static void end_trim(void)
{
    struct topic *t = topic_find(world.broker, BYTES_LIT("t"));
    assert_int_equal(partition_trim(topic_partition(t, 0), -1, NULL), ERR_NONE);
}
static bool is_closing;
static void end_close(void)
{
    is_closing = true;
    kafka_door_close(world.door, kworld_door_closed, &world);
}

static void test_fetch__each_reason_wakes(void **state)
{
    static const struct {
        void (*happens)(void);
        int64_t offset; /* of two records, or three after an append */
        int16_t error;
        int32_t records;
        bool is_awake;
    } table[] = {
        {end_append, 2, KE_NONE, 1, true},
        {end_trim, 2, KE_NONE, 0, false}, /* the reader is not before the start: goes on waiting */
        {no_end, 2, KE_NONE, 0, false},
        {end_delete, 2, KE_UNKNOWN_TOPIC_OR_PARTITION, 0, true},
        {end_close, 0, KE_UNKNOWN_TOPIC_OR_PARTITION, 0, true},
    };

    (void)state;
    for (int with_session = 0; with_session <= 1; with_session++) {
        for (size_t i = 0; i < ARRAY_LEN(table); i++) {
            int64_t at[1] = {table[i].offset};
            struct kafka_fetch_response a;
            struct reader_of_parts r;

            if (table[i].happens == end_close && !with_session) continue;
            kcreate(&two, "t", 1);
            (void)kproduce(&two, "t", 0, "x", 2);
            if (table[i].happens == end_close) at[0] = 2;
            r = opened(12, 1, at);
            if (!with_session) {
                r.session = 0;
                r.epoch = -1;
                r.n = 1;
            }
            r.wait_ms = 2000;
            r.offsets = at;
            (void)ask(&one, &r);
            sim_run_ms(world.sim, 50);
            table[i].happens();
            assert_int_equal(kconn_receive(&one, KAFKA_FETCH, 12, &a, 100), table[i].is_awake);
            if (!table[i].is_awake) assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &a, 3000));
            if (table[i].happens == end_close) break;
            if (parts_in(&a) > 0) {
                assert_int_equal(a.topics.at[0].partitions.at[0].error_code, table[i].error);
                assert_int_equal(kcount_records(a.topics.at[0].partitions.at[0].records), table[i].records);
            } else {
                assert_int_equal(table[i].error, 0);
                assert_int_equal(table[i].records, 0);
            }
            if (table[i].happens != end_delete) end_delete();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session__answers_say_what_has_changed, start, stop),
        cmocka_unit_test_setup_teardown(test_session__wrong_ids_and_epochs_are_told, start, stop),
        cmocka_unit_test_setup_teardown(test_session__partitions_are_added_changed_and_forgotten, start, stop),
        cmocka_unit_test_setup_teardown(test_session__an_error_is_told_until_it_is_over, start, stop),
        cmocka_unit_test_setup_teardown(test_session__small_answers_serve_in_turn, start, stop),
        cmocka_unit_test_setup_teardown(test_session__waits_for_any_of_its_partitions, start, stop),
        cmocka_unit_test_setup_teardown(test_session__one_request_at_a_time, start, stop),
        cmocka_unit_test_setup_teardown(test_session__slots_and_memory_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__each_reason_wakes, start, stop),
    };

    return cmocka_run_group_tests_name("kafka_fetch", tests, NULL, NULL);
}
