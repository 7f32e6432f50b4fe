/* The requests: what a client gets for each of them, errors included. Method: as conn_test.c; each test is one story.
 * */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "door/kafka/kafka_int.h"
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

static struct kafka_metadata_response_topic metadata_of(const char *name, int version, bool may_create)
{
    struct kafka_metadata_request_topic t = {.name = bytes_str(name)};
    struct kafka_metadata_request q;
    struct kafka_metadata_response r;

    wire_init(&kafka_metadata_request_wire, &q);
    q.allow_auto_topic_creation = may_create;
    q.topics.at = &t;
    q.topics.n = 1;
    kconn_call(&one, KAFKA_METADATA, version, &q, &r);
    check(r.topics.n == 1);
    return r.topics.at[0];
}

/* ---- metadata ---- */
static void test_metadata__creates_a_topic_that_is_usable_at_once(void **state)
{
    (void)state;
    assert_int_equal(metadata_of("auto", 4, false).error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(metadata_of("auto", 4, true).error_code, 0);
    assert_int_equal(metadata_of("auto", 12, false).partitions.n, 1);
    assert_int_equal(metadata_of("auto", 12, false).partitions.at[0].leader_id, 7);
    assert_int_equal(kproduce(&one, "auto", 0, "x", 1).error_code, 0);
    assert_int_equal(metadata_of("not a name", 4, true).error_code, KE_INVALID_TOPIC);
    assert_int_equal(metadata_of("_weir_meta", 4, true).error_code, 0);
    assert_true(metadata_of("_weir_meta", 4, true).is_internal);
    assert_int_equal(metadata_of("_weir_new", 4, true).error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
}

static void test_metadata__all_means_another_thing_in_version_0(void **state)
{
    struct kafka_metadata_request q;
    struct kafka_metadata_response r;

    (void)state;
    kcreate(&one, "a", 1);
    kcreate(&one, "b", 1);
    wire_init(&kafka_metadata_request_wire, &q);
    q.topics.n = 0;
    kconn_call(&one, KAFKA_METADATA, 0, &q, &r);
    assert_int_equal(r.topics.n, 2); /* Weir's own topics are not listed */
    kconn_call(&one, KAFKA_METADATA, 1, &q, &r);
    assert_int_equal(r.topics.n, 0);
    q.topics.n = -1;
    for (int version = 1; version <= 13; version++) {
        kconn_call(&one, KAFKA_METADATA, version, &q, &r);
        assert_int_equal(r.topics.n, 2);
        assert_int_equal(r.controller_id, 7);
    }
}

/* ---- produce and fetch ---- */
static void test_produce__answers_are_kafkas(void **state)
{
    struct kafka_produce_response r;
    struct kafka_produce_response_partition p;
    struct buf batch;

    (void)state;
    kcreate(&one, "t", 2);
    assert_int_equal(kproduce(&one, "t", 0, "x", 5).base_offset, 0);
    assert_int_equal(kproduce(&one, "t", 0, "x", 5).base_offset, 5);
    p = kproduce(&one, "t", 2, "x", 1);
    assert_int_equal(p.error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(p.base_offset, -1);
    assert_true(p.error_message.len > 0);
    assert_int_equal(kproduce(&one, "none", 0, "x", 1).error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(kproduce(&one, "_weir_meta", 0, "x", 1).error_code, KE_INVALID_TOPIC);
    kbatch(&batch, "x", 1, -1, -1, CODEC_ZSTD);
    kproduce_send(&one, 6, 1, "t", 0, buf_bytes(&batch));
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 6, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    kproduce_send(&one, 7, 5, "t", 0, buf_bytes(&batch));
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 7, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_INVALID_REQUIRED_ACKS);
    batch.ptr[batch.len - 1] ^= 1;
    kproduce_send(&one, 8, 1, "t", 0, buf_bytes(&batch));
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 8, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_CORRUPT_MESSAGE);
    batch.ptr[batch.len - 1] ^= 1;
    buf_put(&batch, "more", 4);
    kproduce_send(&one, 8, 1, "t", 0, buf_bytes(&batch));
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 8, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_INVALID_RECORD);
    kproduce_send(&one, 8, 1, "t", 0, BYTES_NULL);
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 8, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_INVALID_RECORD);
    buf_deinit(&batch);
}

/* Durable before the answer: what was acknowledged is below the high watermark. */
static void test_produce__idempotent_repeats_keep_their_offset(void **state)
{
    struct kafka_init_producer_id_request q = {.transactional_id = BYTES_NULL, .producer_id = -1, .producer_epoch = -1};
    struct kafka_init_producer_id_response id;
    struct kafka_produce_response r;
    struct buf batch;

    (void)state;
    kcreate(&one, "t", 1);
    kconn_call(&one, KAFKA_INIT_PRODUCER_ID, 4, &q, &id);
    assert_int_equal(id.error_code, 0);
    assert_int_equal(id.producer_epoch, 0);
    for (int i = 0; i < 3; i++) {
        kbatch(&batch, "x", 4, id.producer_id, 0, CODEC_NONE);
        kproduce_send(&one, 9, -1, "t", 0, buf_bytes(&batch));
        buf_deinit(&batch);
        assert_true(kconn_receive(&one, KAFKA_PRODUCE, 9, &r, 1000));
        assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
        assert_int_equal(r.topics.at[0].partitions.at[0].base_offset, 0);
    }
    assert_int_equal(partition_high_watermark(topic_partition(topic_find(world.broker, BYTES_LIT("t")), 0)), 4);
    kbatch(&batch, "x", 1, id.producer_id, 9, CODEC_NONE);
    kproduce_send(&one, 9, -1, "t", 0, buf_bytes(&batch));
    buf_deinit(&batch);
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 9, &r, 1000));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_OUT_OF_ORDER_SEQUENCE_NUMBER);
    q.transactional_id = BYTES_LIT("mine");
    kconn_call(&one, KAFKA_INIT_PRODUCER_ID, 0, &q, &id);
    assert_int_equal(id.error_code, KE_INVALID_TRANSACTION_TIMEOUT);
    q.transaction_timeout_ms = 60000;
    kconn_call(&one, KAFKA_INIT_PRODUCER_ID, 0, &q, &id);
    assert_int_equal(id.error_code, KE_NONE);
    assert_int_equal(id.producer_epoch, 0);
    kconn_call(&one, KAFKA_INIT_PRODUCER_ID, 0, &q, &id);
    assert_int_equal(id.producer_epoch, 1);
}

static void test_produce__acks_0_has_no_answer_and_errors_close(void **state)
{
    struct kafka_produce_response_partition p;
    struct bytes frame;
    struct buf batch;

    (void)state;
    kcreate(&one, "t", 1);
    kbatch(&batch, "x", 2, -1, -1, CODEC_NONE);
    kproduce_send(&one, 9, 0, "t", 0, buf_bytes(&batch));
    one.answered++; /* there is none */
    p = kproduce(&one, "t", 0, "x", 1);
    assert_int_equal(p.base_offset, 2);
    kproduce_send(&one, 9, 0, "t", 1, buf_bytes(&batch));
    assert_false(kconn_wait(&one, &frame, 100));
    assert_true(one.is_closed);
    buf_deinit(&batch);
}

static void test_fetch__every_version_gets_the_same_records(void **state)
{
    struct kafka_fetch_response r;
    int64_t from = 3;

    (void)state;
    kcreate(&one, "t", 1);
    (void)kproduce(&one, "t", 0, "x", 5);
    for (int version = 4; version <= 16; version++) {
        const struct kafka_fetch_response_partition *p;

        kfetch_send(&one, version, "t", &from, 1, 0, 1, 1 << 20);
        assert_true(kconn_receive(&one, KAFKA_FETCH, version, &r, 100));
        assert_int_equal(r.session_id, 0);
        p = &r.topics.at[0].partitions.at[0];
        assert_int_equal(p->error_code, 0);
        assert_int_equal(p->high_watermark, 5);
        assert_int_equal(p->aborted_transactions.n, -1);
        assert_int_equal(kcount_records(p->records), 5); /* the batch that contains the offset */
    }
}

static void test_fetch__ends_are_empty_and_beyond_is_an_error(void **state)
{
    struct kafka_fetch_response r;
    struct kafka_fetch_response_partition *p;
    int64_t from = 5;

    (void)state;
    kcreate(&one, "t", 1);
    (void)kproduce(&one, "t", 0, "x", 5);
    kfetch_send(&one, 12, "t", &from, 1, 10, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &r, 100));
    p = &r.topics.at[0].partitions.at[0];
    assert_int_equal(p->error_code, 0);
    assert_non_null(p->records.ptr); /* empty, not null */
    assert_int_equal(p->records.len, 0);
    from = 6;
    kfetch_send(&one, 12, "t", &from, 1, 60000, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &r, 100)); /* at once */
    p = &r.topics.at[0].partitions.at[0];
    assert_int_equal(p->error_code, KE_OFFSET_OUT_OF_RANGE);
    assert_int_equal(p->high_watermark, 5);
    assert_int_equal(p->log_start_offset, 0);
    kfetch_send(&one, 12, "other", &from, 1, 60000, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 12, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
}

/* F1: the minimum counts all partitions together; a wake that does not reach it parks again; the time runs out as
 * asked. */
static void test_fetch__waits_for_the_sum_or_the_time(void **state)
{
    struct kafka_fetch_response r;
    int64_t from[3] = {0, 0, 0};
    size_t size;
    struct buf batch;

    (void)state;
    kcreate(&one, "t", 3);
    kbatch(&batch, "x", 1, -1, -1, CODEC_NONE);
    size = batch.len;
    buf_deinit(&batch);
    kfetch_send(&one, 11, "t", from, 3, 10000, (int32_t)(3 * size), 1 << 20);
    for (int32_t i = 0; i < 3; i++) {
        assert_false(kconn_receive(&one, KAFKA_FETCH, 11, &r, 20));
        assert_int_equal(kproduce(&two, "t", i, "x", 1).error_code, 0);
    }
    assert_true(kconn_receive(&one, KAFKA_FETCH, 11, &r, 20));
    for (int32_t i = 0; i < 3; i++)
        assert_int_equal(kcount_records(r.topics.at[0].partitions.at[i].records), 1);
    kfetch_send(&one, 11, "t", from, 3, 200, (int32_t)(4 * size), 1 << 20);
    assert_false(kconn_receive(&one, KAFKA_FETCH, 11, &r, 190));
    assert_true(kconn_receive(&one, KAFKA_FETCH, 11, &r, 20));
    assert_int_equal(kcount_records(r.topics.at[0].partitions.at[2].records), 1);
}

/* F2, F3: with a small maximum one partition is served a time, and each gets its turn. */
static void test_fetch__small_limits_serve_partitions_in_turn(void **state)
{
    struct kafka_fetch_response r;
    int64_t from[3] = {0, 0, 0};

    (void)state;
    kcreate(&one, "t", 3);
    for (int32_t i = 0; i < 3; i++)
        (void)kproduce(&one, "t", i, "x", 10);
    for (int round = 0; round < 3; round++) {
        int served = 0;

        kfetch_send(&one, 11, "t", from, 3, 0, 1, 1);
        assert_true(kconn_receive(&one, KAFKA_FETCH, 11, &r, 20));
        for (int32_t i = 0; i < 3; i++) {
            if (kcount_records(r.topics.at[0].partitions.at[i].records) == 0) continue;
            from[i] = 10;
            served++;
        }
        assert_int_equal(served, 1);
    }
    assert_int_equal(from[0] + from[1] + from[2], 30);
}

static void test_fetch__a_deleted_topic_wakes_its_readers(void **state)
{
    struct kafka_delete_topics_response d;
    struct kafka_delete_topics_request q;
    struct kafka_fetch_response r;
    struct bytes name = BYTES_LIT("t");
    int64_t from = 0;

    (void)state;
    kcreate(&one, "t", 1);
    kfetch_send(&one, 11, "t", &from, 1, 60000, 1, 1 << 20);
    sim_run_ms(world.sim, 5);
    wire_init(&kafka_delete_topics_request_wire, &q);
    q.topic_names.at = &name;
    q.topic_names.n = 1;
    kconn_call(&two, KAFKA_DELETE_TOPICS, 5, &q, &d);
    assert_int_equal(d.responses.at[0].error_code, 0);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 11, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    kconn_call(&two, KAFKA_DELETE_TOPICS, 5, &q, &d);
    assert_int_equal(d.responses.at[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
}

static void test_fetch__zstd_is_kept_from_clients_that_do_not_know_it(void **state)
{
    struct kafka_produce_response p;
    struct kafka_fetch_response r;
    struct buf batch;
    int64_t from = 0;

    (void)state;
    kcreate(&one, "t", 1);
    kbatch(&batch, "x", 50, -1, -1, CODEC_ZSTD);
    kproduce_send(&one, 7, 1, "t", 0, buf_bytes(&batch));
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 7, &p, 100));
    assert_int_equal(p.topics.at[0].partitions.at[0].error_code, 0);
    kfetch_send(&one, 9, "t", &from, 1, 0, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 9, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNSUPPORTED_COMPRESSION_TYPE);
    assert_int_equal(r.topics.at[0].partitions.at[0].records.len, 0);
    kfetch_send(&one, 10, "t", &from, 1, 0, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 10, &r, 100));
    assert_int_equal(r.topics.at[0].partitions.at[0].records.len, batch.len);
    buf_deinit(&batch);
}

/* ---- offsets of partitions ---- */
static struct kafka_list_offsets_response_partition offset_of(int version, int64_t time)
{
    struct kafka_list_offsets_request_partition p;
    struct kafka_list_offsets_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_list_offsets_request q = {.replica_id = -1, .topics = {&t, 1}};
    struct kafka_list_offsets_response r;

    wire_init(&kafka_list_offsets_request_partition_wire, &p);
    p.timestamp = time;
    kconn_call(&one, KAFKA_LIST_OFFSETS, version, &q, &r);
    return r.topics.at[0].partitions.at[0];
}

static void test_list_offsets__times_and_ends(void **state)
{
    (void)state;
    kcreate(&one, "t", 1);
    assert_int_equal(offset_of(1, WORLD_WALL_MS).offset, -1);
    (void)kproduce(&one, "t", 0, "x", 10); /* timestamps rise by one */
    for (int version = 1; version <= 8; version++) {
        assert_int_equal(offset_of(version, -1).offset, 10);
        assert_int_equal(offset_of(version, -2).offset, 0);
        assert_int_equal(offset_of(version, WORLD_WALL_MS + 4).offset, 4);
        assert_int_equal(offset_of(version, WORLD_WALL_MS + 4).timestamp, WORLD_WALL_MS + 4);
        assert_int_equal(offset_of(version, WORLD_WALL_MS + 100).offset, -1);
        assert_int_equal(offset_of(version, WORLD_WALL_MS + 100).error_code, 0);
    }
    assert_int_equal(offset_of(7, -3).offset, 9);
    assert_int_equal(offset_of(8, -4).offset, 0);
    assert_int_equal(offset_of(6, -3).error_code, KE_INVALID_REQUEST);
    assert_int_equal(offset_of(0, -1).old_style_offsets.n, 1);
    assert_int_equal(offset_of(0, -1).old_style_offsets.at[0], 10);
}

/* ---- groups ---- */
static void join_send(struct kclient_conn *c, struct bytes member_id, int version)
{
    struct kafka_join_group_request_protocol p = {BYTES_LIT("range"), BYTES_LIT("metadata")};
    struct kafka_join_group_request q;

    wire_init(&kafka_join_group_request_wire, &q);
    q.group_id = BYTES_LIT("g");
    q.session_timeout_ms = 10000;
    q.rebalance_timeout_ms = 10000;
    q.member_id = member_id;
    q.protocol_type = BYTES_LIT("consumer");
    q.protocols.at = &p;
    q.protocols.n = 1;
    kconn_send(c, KAFKA_JOIN_GROUP, version, &q);
}

static struct kafka_join_group_response join(struct kclient_conn *c, struct bytes member_id, int version)
{
    struct kafka_join_group_response r;

    join_send(c, member_id, version);
    check(kconn_receive(c, KAFKA_JOIN_GROUP, version, &r, 15000));
    return r;
}

static void sync_send(struct kclient_conn *c, const struct kafka_join_group_response *as)
{
    struct kafka_sync_group_request_assignment a[2];
    struct kafka_sync_group_request q;

    wire_init(&kafka_sync_group_request_wire, &q);
    q.group_id = BYTES_LIT("g");
    q.generation_id = as->generation_id;
    q.member_id = as->member_id;
    for (int32_t i = 0; i < as->members.n; i++)
        a[i] = (struct kafka_sync_group_request_assignment){as->members.at[i].member_id, as->members.at[i].member_id};
    q.assignments.at = a;
    q.assignments.n = as->members.n;
    kconn_send(c, KAFKA_SYNC_GROUP, 4, &q);
}

static int16_t heartbeat(struct kclient_conn *c, const struct kafka_join_group_response *as)
{
    struct kafka_heartbeat_request q = {BYTES_LIT("g"), as->generation_id, as->member_id, BYTES_NULL};
    struct kafka_heartbeat_response r;

    kconn_call(c, KAFKA_HEARTBEAT, 4, &q, &r);
    return r.error_code;
}

/* One member, then two, then one again; each gets what its leader assigned. */
static void test_groups__members_come_and_go(void **state)
{
    struct kafka_join_group_response a, b;
    struct kafka_sync_group_response s;
    struct kafka_leave_group_request_member m;
    struct kafka_leave_group_request leave;
    struct kafka_leave_group_response left;
    bool a_leads;

    (void)state;
    a = join(&one, BYTES_LIT(""), 7);
    assert_int_equal(a.error_code, KE_MEMBER_ID_REQUIRED);
    a = join(&one, a.member_id, 7);
    assert_int_equal(a.error_code, 0);
    assert_true(bytes_equal(a.leader, a.member_id));
    assert_int_equal(a.members.n, 1);
    sync_send(&one, &a);
    assert_true(kconn_receive(&one, KAFKA_SYNC_GROUP, 4, &s, 1000));
    assert_true(bytes_equal(s.assignment, a.member_id));
    assert_int_equal(heartbeat(&one, &a), 0);

    join_send(&two, BYTES_LIT(""), 3); /* before version 4 the id comes with the answer; the join waits for the other */
    sim_run_ms(world.sim, 50);
    assert_int_equal(heartbeat(&one, &a), KE_REBALANCE_IN_PROGRESS);
    a = join(&one, a.member_id, 7);
    assert_true(kconn_receive(&two, KAFKA_JOIN_GROUP, 3, &b, 1000));
    assert_int_equal(a.error_code, 0);
    assert_int_equal(b.error_code, 0);
    assert_int_equal(a.generation_id, b.generation_id);
    assert_int_equal(a.members.n + b.members.n, 2); /* only the leader hears of all */
    a_leads = a.members.n == 2;
    sync_send(a_leads ? &two : &one, a_leads ? &b : &a);
    sim_run_ms(world.sim, 20);
    sync_send(a_leads ? &one : &two, a_leads ? &a : &b);
    assert_true(kconn_receive(&one, KAFKA_SYNC_GROUP, 4, &s, 1000));
    assert_true(bytes_equal(s.assignment, a.member_id));
    assert_true(kconn_receive(&two, KAFKA_SYNC_GROUP, 4, &s, 1000));
    assert_true(bytes_equal(s.assignment, b.member_id));

    m = (struct kafka_leave_group_request_member){b.member_id, BYTES_NULL, BYTES_NULL};
    wire_init(&kafka_leave_group_request_wire, &leave);
    leave.group_id = BYTES_LIT("g");
    leave.members.at = &m;
    leave.members.n = 1;
    kconn_call(&two, KAFKA_LEAVE_GROUP, 4, &leave, &left);
    assert_int_equal(left.members.at[0].error_code, 0);
    assert_int_equal(heartbeat(&two, &b), KE_UNKNOWN_MEMBER_ID);
    assert_int_equal(heartbeat(&one, &a), KE_REBALANCE_IN_PROGRESS);
}

/* A join that is parked when its connection ends is forgotten; when the door closes it is answered. */
static void test_groups__parked_joins_end_with_their_connection_or_the_door(void **state)
{
    struct kafka_join_group_response a, b;

    (void)state;
    a = join(&one, BYTES_LIT(""), 3);
    join_send(&two, BYTES_LIT(""), 3);
    sim_run_ms(world.sim, 10);
    world.sys->net->close(world.sys->net, two.conn);
    sim_run_ms(world.sim, 10);
    assert_int_equal(heartbeat(&one, &a), KE_REBALANCE_IN_PROGRESS);
    join_send(&one, a.member_id, 3);
    sim_run_ms(world.sim, 10);
    kafka_door_close(world.door, kworld_door_closed, &world);
    assert_true(kconn_receive(&one, KAFKA_JOIN_GROUP, 3, &b, 100));
    assert_true(b.error_code == KE_COORDINATOR_NOT_AVAILABLE || b.error_code == 0);
    sim_run_ms(world.sim, 100);
    assert_true(one.is_closed && world.is_door_closed);
}

static struct kafka_offset_commit_response commit(int version, int32_t partition, int64_t offset)
{
    struct kafka_offset_commit_request_partition p;
    struct kafka_offset_commit_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_offset_commit_request q;
    struct kafka_offset_commit_response r;

    wire_init(&kafka_offset_commit_request_wire, &q);
    wire_init(&kafka_offset_commit_request_partition_wire, &p);
    q.group_id = BYTES_LIT("simple");
    q.topics.at = &t;
    q.topics.n = 1;
    p.index = partition;
    p.committed_offset = offset;
    p.committed_metadata = BYTES_LIT("note");
    kconn_call(&one, KAFKA_OFFSET_COMMIT, version, &q, &r);
    return r;
}

static void test_offsets__committed_ones_are_found_in_every_version(void **state)
{
    int32_t partitions[] = {0, 1};
    struct kafka_offset_fetch_request_topic t = {.name = BYTES_LIT("t"), .partitions = {partitions, 2}};
    struct kafka_offset_fetch_request_group g = {.group_id = BYTES_LIT("simple")};
    struct kafka_offset_fetch_request q;
    struct kafka_offset_fetch_response r;

    (void)state;
    kcreate(&one, "t", 2);
    for (int version = 1; version <= 9; version++)
        assert_int_equal(commit(version, 0, 40 + version).topics.at[0].partitions.at[0].error_code, 0);
    assert_int_equal(commit(8, 5, 1).topics.at[0].partitions.at[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    wire_init(&kafka_offset_fetch_request_wire, &q);
    q.group_id = BYTES_LIT("simple");
    q.topics.at = &t;
    q.topics.n = 1;
    for (int version = 1; version <= 7; version++) {
        kconn_call(&one, KAFKA_OFFSET_FETCH, version, &q, &r);
        assert_int_equal(r.topics.at[0].partitions.at[0].committed_offset, 49);
        assert_true(bytes_equal_str(r.topics.at[0].partitions.at[0].metadata, "note"));
        assert_int_equal(r.topics.at[0].partitions.at[1].committed_offset, -1);
        assert_int_equal(r.topics.at[0].partitions.at[1].error_code, 0);
    }
    q.topics.n = -1;
    kconn_call(&one, KAFKA_OFFSET_FETCH, 5, &q, &r);
    assert_int_equal(r.topics.n, 1);
    assert_int_equal(r.topics.at[0].partitions.n, 1);
    g.topics.n = -1;
    q.groups.at = &g;
    q.groups.n = 1;
    for (int version = 8; version <= 9; version++) {
        kconn_call(&one, KAFKA_OFFSET_FETCH, version, &q, &r);
        assert_int_equal(r.groups.at[0].topics.at[0].partitions.at[0].committed_offset, 49);
    }
}

static void test_group_admin__lists_describes_deletes(void **state)
{
    struct kafka_describe_groups_response d;
    struct kafka_describe_groups_request dq = {.include_authorized_operations = true};
    struct kafka_list_groups_response l;
    struct kafka_list_groups_request lq = {0};
    struct kafka_delete_groups_response x;
    struct bytes names[] = {BYTES_LIT("g"), BYTES_LIT("none")}, stable = BYTES_LIT("Stable");
    struct kafka_delete_groups_request xq = {.groups_names = {names, 2}};
    struct kafka_join_group_response a = join(&one, BYTES_LIT(""), 3);
    struct kafka_sync_group_response s;

    (void)state;
    sync_send(&one, &a);
    assert_true(kconn_receive(&one, KAFKA_SYNC_GROUP, 4, &s, 1000));
    dq.groups.at = names;
    dq.groups.n = 2;
    for (int version = 0; version <= 5; version++) {
        kconn_call(&one, KAFKA_DESCRIBE_GROUPS, version, &dq, &d);
        assert_true(bytes_equal_str(d.groups.at[0].group_state, "Stable"));
        assert_true(bytes_equal_str(d.groups.at[0].protocol_data, "range"));
        assert_int_equal(d.groups.at[0].members.n, 1);
        assert_true(bytes_equal_str(d.groups.at[0].members.at[0].client_id, "test"));
        assert_true(bytes_equal_str(d.groups.at[1].group_state, "Dead"));
    }
    lq.states_filter.at = &stable;
    lq.states_filter.n = 1;
    kconn_call(&one, KAFKA_LIST_GROUPS, 4, &lq, &l);
    assert_int_equal(l.groups.n, 1);
    assert_true(bytes_equal_str(l.groups.at[0].group_state, "Stable"));
    kconn_call(&one, KAFKA_DELETE_GROUPS, 2, &xq, &x);
    assert_int_equal(x.results.at[0].error_code, KE_NON_EMPTY_GROUP);
    assert_int_equal(x.results.at[1].error_code, KE_GROUP_ID_NOT_FOUND);
}

/* ---- administration ---- */
static struct kafka_create_topics_response_topic create(const struct kafka_create_topics_request_topic *t,
                                                        bool validate_only)
{
    struct kafka_create_topics_request q = {.topics = {(void *)(uintptr_t)t, 1}, .validate_only = validate_only};
    struct kafka_create_topics_response r;

    kconn_call(&one, KAFKA_CREATE_TOPICS, 7, &q, &r);
    return r.topics.at[0];
}

static void test_topics__creation_checks_and_tells(void **state)
{
    struct kafka_create_topics_request_config config = {BYTES_LIT("retention.ms"), BYTES_LIT("5000")};
    int32_t self = 7, other = 8;
    struct kafka_create_topics_request_assignment a[2] = {{1, {&self, 1}}, {0, {&self, 1}}};
    struct kafka_create_topics_request_topic t = {
        .name = BYTES_LIT("t"), .num_partitions = -1, .replication_factor = -1};
    struct kafka_create_topics_response_topic r;

    (void)state;
    assert_int_equal(create(&t, true).error_code, 0);
    assert_null(topic_find(world.broker, t.name));
    t.configs.at = &config;
    t.configs.n = 1;
    r = create(&t, false);
    assert_int_equal(r.error_code, 0);
    assert_int_equal(r.num_partitions, 1);
    assert_int_equal(r.replication_factor, 1);
    assert_memory_equal(r.topic_id, topic_uuid(topic_find(world.broker, t.name)), 16);
    assert_int_equal(topic_config(topic_find(world.broker, t.name))->retention_ms, 5000);
    assert_int_equal(create(&t, false).error_code, KE_TOPIC_ALREADY_EXISTS);
    t.name = BYTES_LIT("u");
    config.value = BYTES_LIT("soon");
    assert_int_equal(create(&t, false).error_code, KE_INVALID_CONFIG);
    config.name = BYTES_LIT("no.such");
    assert_int_equal(create(&t, false).error_code, KE_INVALID_CONFIG);
    t.configs.n = 0;
    t.num_partitions = 0;
    assert_int_equal(create(&t, false).error_code, KE_INVALID_PARTITIONS);
    t.num_partitions = 100000;
    assert_int_equal(create(&t, false).error_code, KE_INVALID_PARTITIONS);
    t.num_partitions = 1;
    t.replication_factor = 3; /* taken as 1 */
    assert_int_equal(create(&t, false).replication_factor, 1);
    t.name = BYTES_LIT("no/name");
    assert_int_equal(create(&t, false).error_code, KE_INVALID_TOPIC);
    t.name = BYTES_LIT("v");
    t.num_partitions = -1;
    t.replication_factor = -1;
    t.assignments.at = a;
    t.assignments.n = 2;
    assert_int_equal(create(&t, false).num_partitions, 2);
    a[0].broker_ids.at = &other;
    t.name = BYTES_LIT("w");
    assert_int_equal(create(&t, false).error_code, KE_INVALID_REPLICA_ASSIGNMENT);
}

static void test_configs__are_told_under_kafkas_names(void **state)
{
    struct bytes key = BYTES_LIT("cleanup.policy");
    struct kafka_describe_configs_request_resource r[3] = {
        {.resource_type = 2, .resource_name = BYTES_LIT("t"), .configuration_keys = {&key, 1}},
        {.resource_type = 4, .resource_name = BYTES_LIT("7"), .configuration_keys = {NULL, -1}},
        {.resource_type = 4, .resource_name = BYTES_LIT("8"), .configuration_keys = {NULL, -1}},
    };
    struct kafka_describe_configs_request q = {.resources = {r, 3}, .include_synonyms = true};
    struct kafka_describe_configs_response out;

    (void)state;
    kcreate(&one, "t", 1);
    for (int version = 0; version <= 4; version++) {
        kconn_call(&one, KAFKA_DESCRIBE_CONFIGS, version, &q, &out);
        assert_int_equal(out.results.at[0].configs.n, 1);
        assert_true(bytes_equal_str(out.results.at[0].configs.at[0].value, "delete"));
        assert_true(out.results.at[1].configs.n > 10);
        assert_int_equal(out.results.at[2].error_code, KE_INVALID_REQUEST);
    }
}

static void test_cluster__one_node_is_everything(void **state)
{
    struct bytes keys[] = {BYTES_LIT("g1"), BYTES_LIT("g2")};
    struct kafka_find_coordinator_request q = {.key = BYTES_LIT("g"), .coordinator_keys = {keys, 2}};
    struct kafka_find_coordinator_response r;
    struct kafka_describe_cluster_request dq = {.endpoint_type = 1};
    struct kafka_describe_cluster_response d;

    (void)state;
    for (int version = 0; version <= 3; version++) {
        kconn_call(&one, KAFKA_FIND_COORDINATOR, version, &q, &r);
        assert_int_equal(r.error_code, 0);
        assert_int_equal(r.node_id, 7);
        assert_int_equal(r.port, world.address.port);
    }
    for (int version = 4; version <= 6; version++) {
        kconn_call(&one, KAFKA_FIND_COORDINATOR, version, &q, &r);
        assert_int_equal(r.coordinators.n, 2);
        assert_int_equal(r.coordinators.at[1].node_id, 7);
    }
    q.key_type = 1;
    kconn_call(&one, KAFKA_FIND_COORDINATOR, 2, &q, &r);
    assert_int_equal(r.error_code, KE_NONE);
    q.key_type = 2;
    kconn_call(&one, KAFKA_FIND_COORDINATOR, 2, &q, &r);
    assert_int_equal(r.error_code, KE_INVALID_REQUEST);
    for (int version = 0; version <= 1; version++) {
        kconn_call(&one, KAFKA_DESCRIBE_CLUSTER, version, &dq, &d);
        assert_int_equal(d.brokers.n, 1);
        assert_int_equal(d.controller_id, 7);
        assert_int_equal(d.cluster_id.len, 22);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_metadata__creates_a_topic_that_is_usable_at_once, start, stop),
        cmocka_unit_test_setup_teardown(test_metadata__all_means_another_thing_in_version_0, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__answers_are_kafkas, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__idempotent_repeats_keep_their_offset, start, stop),
        cmocka_unit_test_setup_teardown(test_produce__acks_0_has_no_answer_and_errors_close, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__every_version_gets_the_same_records, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__ends_are_empty_and_beyond_is_an_error, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__waits_for_the_sum_or_the_time, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__small_limits_serve_partitions_in_turn, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__a_deleted_topic_wakes_its_readers, start, stop),
        cmocka_unit_test_setup_teardown(test_fetch__zstd_is_kept_from_clients_that_do_not_know_it, start, stop),
        cmocka_unit_test_setup_teardown(test_list_offsets__times_and_ends, start, stop),
        cmocka_unit_test_setup_teardown(test_groups__members_come_and_go, start, stop),
        cmocka_unit_test_setup_teardown(test_groups__parked_joins_end_with_their_connection_or_the_door, start, stop),
        cmocka_unit_test_setup_teardown(test_offsets__committed_ones_are_found_in_every_version, start, stop),
        cmocka_unit_test_setup_teardown(test_group_admin__lists_describes_deletes, start, stop),
        cmocka_unit_test_setup_teardown(test_topics__creation_checks_and_tells, start, stop),
        cmocka_unit_test_setup_teardown(test_configs__are_told_under_kafkas_names, start, stop),
        cmocka_unit_test_setup_teardown(test_cluster__one_node_is_everything, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
