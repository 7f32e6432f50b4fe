/* Requests of tools about one node as a cluster, transactions of the second kind as a client sends them, and topics by
 * id. Method: as requests_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "door/kafka/kafka_int.h"
#include "door/kafka/test_client.h"

static struct kworld world;
static struct kclient_conn one;

static int start(void **state)
{
    (void)state;
    kworld_start(&world, 31);
    kconn_open(&one, &world);
    kcreate(&one, "t", 3);
    kcreate(&one, "a", 2);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kconn_close(&one);
    kworld_deinit(&world);
    return 0;
}

/* ---- one node as a cluster ---- */
static void test_cluster__log_dirs_are_told(void **state)
{
    int32_t only[2] = {1, 9};
    struct kafka_describe_log_dirs_request_topic t[2] = {{BYTES_LIT("t"), {only, 2}}, {BYTES_LIT("none"), {only, 2}}};
    struct kafka_describe_log_dirs_request q = {.topics = {NULL, -1}};
    struct kafka_describe_log_dirs_response r;

    (void)state;
    (void)kproduce(&one, "t", 1, "x", 3);
    for (int version = 1; version <= 4; version++) {
        kconn_call(&one, KAFKA_DESCRIBE_LOG_DIRS, version, &q, &r);
        assert_int_equal(r.results.n, 1);
        assert_true(bytes_equal_str(r.results.at[0].log_dir, "data"));
        assert_true(r.results.at[0].topics.n >= 3); /* the internal ones, too */
        assert_int_equal(r.results.at[0].total_bytes > 0, version >= 4);
    }
    q.topics.at = t;
    q.topics.n = 2;
    kconn_call(&one, KAFKA_DESCRIBE_LOG_DIRS, 4, &q, &r);
    assert_int_equal(r.results.at[0].topics.n, 1);
    assert_int_equal(r.results.at[0].topics.at[0].partitions.n, 1);
    assert_int_equal(r.results.at[0].topics.at[0].partitions.at[0].index, 1);
    assert_true(r.results.at[0].topics.at[0].partitions.at[0].size > 0);
}

static void test_cluster__nothing_moves_and_nobody_is_elected(void **state)
{
    int32_t parts[2] = {0, 7}, self[1] = {7}, others[2] = {7, 8};
    struct kafka_elect_leaders_request_topic et = {BYTES_LIT("t"), {parts, 2}};
    struct kafka_elect_leaders_request eq = {.topics = {&et, 1}};
    struct kafka_elect_leaders_response er;
    struct kafka_alter_partition_reassignments_request_partition ap[4] = {
        {0, {self, 1}}, {0, {others, 2}}, {0, {NULL, -1}}, {7, {self, 1}}};
    static const int16_t errors[4] = {KE_NONE, KE_INVALID_REPLICA_ASSIGNMENT, KE_NO_REASSIGNMENT_IN_PROGRESS,
                                      KE_UNKNOWN_TOPIC_OR_PARTITION};
    struct kafka_alter_partition_reassignments_request_topic at = {BYTES_LIT("t"), {ap, 4}};
    struct kafka_alter_partition_reassignments_request aq = {.topics = {&at, 1}};
    struct kafka_alter_partition_reassignments_response ar;
    struct kafka_list_partition_reassignments_request lq = {.topics = {NULL, -1}};
    struct kafka_list_partition_reassignments_response lr;

    (void)state;
    for (int version = 0; version <= 2; version++) {
        kconn_call(&one, KAFKA_ELECT_LEADERS, version, &eq, &er);
        assert_int_equal(er.results.at[0].partitions.at[0].error_code, KE_ELECTION_NOT_NEEDED);
        assert_int_equal(er.results.at[0].partitions.at[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    }
    eq.topics.n = -1;
    kconn_call(&one, KAFKA_ELECT_LEADERS, 2, &eq, &er);
    assert_int_equal(er.results.n, 0);
    for (int version = 0; version <= 1; version++) {
        kconn_call(&one, KAFKA_ALTER_PARTITION_REASSIGNMENTS, version, &aq, &ar);
        for (int i = 0; i < 4; i++)
            assert_int_equal(ar.responses.at[0].partitions.at[i].error_code, errors[i]);
    }
    kconn_call(&one, KAFKA_LIST_PARTITION_REASSIGNMENTS, 0, &lq, &lr);
    assert_int_equal(lr.error_code, 0);
    assert_int_equal(lr.topics.n, 0);
}

static void test_cluster__config_resources_are_listed(void **state)
{
    static const struct {
        int version;
        int8_t type; /* 0: all */
        int16_t error;
        int n;
    } table[] = {{0, 0, KE_NONE, 0},  {1, 0, KE_NONE, 3},  {1, 2, KE_NONE, 2}, {1, 4, KE_NONE, 1},
                 {1, 16, KE_NONE, 0}, {1, 32, KE_NONE, 0}, {1, 8, KE_NONE, 0}, {1, 5, KE_UNSUPPORTED_VERSION, 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int8_t type = table[i].type;
        struct kafka_list_config_resources_request q = {.resource_types = {&type, type != 0}};
        struct kafka_list_config_resources_response r;

        kconn_call(&one, KAFKA_LIST_CONFIG_RESOURCES, table[i].version, &q, &r);
        assert_int_equal(r.error_code, table[i].error);
        assert_int_equal(r.resources.n, table[i].n);
    }
}

/* In portions of two partitions: a/0 a/1, t/0 t/1, t/2; a cursor says where the next one begins. */
static void test_cluster__topics_are_described_in_portions(void **state)
{
    static const struct {
        const char *topic;
        int first, n;
    } want[] = {{"a", 0, 2}, {"t", 0, 2}, {"t", 2, 1}};
    struct kafka_describe_topic_partitions_request_topic names[3] = {
        {BYTES_LIT("t")}, {BYTES_LIT("a")}, {BYTES_LIT("none")}};
    struct kafka_describe_topic_partitions_request_cursor cursor;
    struct kafka_describe_topic_partitions_request q = {.response_partition_limit = 2, .cursor = {NULL, -1}};
    struct kafka_describe_topic_partitions_response r;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        kconn_call(&one, KAFKA_DESCRIBE_TOPIC_PARTITIONS, 0, &q, &r);
        assert_int_equal(r.topics.n, 1);
        assert_true(bytes_equal_str(r.topics.at[0].name, want[i].topic));
        assert_int_equal(r.topics.at[0].partitions.n, want[i].n);
        assert_int_equal(r.topics.at[0].partitions.at[0].index, want[i].first);
        assert_int_equal(r.topics.at[0].partitions.at[0].leader_id, 7);
        assert_int_equal(r.next_cursor.n == 1, i + 1 < ARRAY_LEN(want));
        if (r.next_cursor.n != 1) break;
        cursor.topic_name = r.next_cursor.at[0].topic_name;
        cursor.partition_index = r.next_cursor.at[0].partition_index;
        q.cursor.at = &cursor;
        q.cursor.n = 1;
    }
    q.cursor.n = -1;
    q.response_partition_limit = 2000;
    q.topics.at = names;
    q.topics.n = 3;
    kconn_call(&one, KAFKA_DESCRIBE_TOPIC_PARTITIONS, 0, &q, &r);
    assert_int_equal(r.topics.n, 3);
    assert_int_equal(r.topics.at[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(r.topics.at[2].partitions.n, 3);
    assert_int_equal(r.next_cursor.n, -1);
}

static void test_cluster__features_and_brokers(void **state)
{
    struct kafka_api_versions_request q = {BYTES_LIT("test"), BYTES_LIT("1.0")};
    struct kafka_api_versions_response r;
    struct kafka_describe_cluster_request cq = {.endpoint_type = 1};
    struct kafka_describe_cluster_response cr;

    (void)state;
    for (int version = 2; version <= 4; version++) {
        int found = 0;

        kconn_call(&one, KAFKA_API_VERSIONS, version, &q, &r);
        for (int32_t i = 0; i < r.supported_features.n; i++)
            assert_true(r.supported_features.at[i].min_version > 0 || version >= 4);
        for (int32_t i = 0; i < r.finalized_features.n; i++)
            if (bytes_equal_str(r.finalized_features.at[i].name, "transaction.version"))
                found = r.finalized_features.at[i].max_version_level;
        assert_int_equal(found, version >= 3 ? 2 : 0);
        assert_int_equal(r.finalized_features_epoch >= 0, version >= 3);
    }
    for (int version = 0; version <= 2; version++) {
        kconn_call(&one, KAFKA_DESCRIBE_CLUSTER, version, &cq, &cr);
        assert_int_equal(cr.brokers.n, 1);
        assert_false(cr.brokers.at[0].is_fenced);
    }
}

/* ---- by id ---- */
static void test_ids__produce_and_fetch_find_topics_by_them(void **state)
{
    struct kafka_produce_request_partition p = {0, {0}};
    struct kafka_produce_request_topic t = {.partitions = {&p, 1}};
    struct kafka_produce_request q = {.acks = -1, .timeout_ms = 1000, .topics = {&t, 1}};
    struct kafka_produce_response r;
    struct kafka_fetch_response f;
    int64_t from[1] = {0};
    struct buf batch;

    (void)state;
    kbatch(&batch, "x", 2, -1, -1, CODEC_NONE);
    p.records = buf_bytes(&batch);
    memcpy(t.topic_id, topic_uuid(topic_find(world.broker, BYTES_LIT("t"))), 16);
    kconn_send(&one, KAFKA_PRODUCE, 13, &q);
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 13, &r, 1000));
    assert_memory_equal(r.topics.at[0].topic_id, t.topic_id, 16);
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
    kfetch_send(&one, 13, "t", from, 1, 0, 1, 1 << 20);
    assert_true(kconn_receive(&one, KAFKA_FETCH, 13, &f, 1000));
    assert_int_equal(kcount_records(f.topics.at[0].partitions.at[0].records), 2);
    t.topic_id[3] ^= 1;
    kconn_send(&one, KAFKA_PRODUCE, 13, &q);
    assert_true(kconn_receive(&one, KAFKA_PRODUCE, 13, &r, 1000));
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNKNOWN_TOPIC_ID);
    buf_deinit(&batch);
}

/* ---- a transaction of the second kind, as a client sends it ---- */
struct producing {
    int64_t id;
    int16_t epoch;
};

static struct producing init_producer(int version)
{
    struct kafka_init_producer_id_request q = {
        .transactional_id = BYTES_LIT("tx"), .transaction_timeout_ms = 60000, .producer_id = -1, .producer_epoch = -1};
    struct kafka_init_producer_id_response r;

    kconn_call(&one, KAFKA_INIT_PRODUCER_ID, version, &q, &r);
    assert_int_equal(r.error_code, 0);
    return (struct producing){r.producer_id, r.producer_epoch};
}

static int16_t produce_in(const struct producing *who, int version, int32_t partition, int32_t sequence)
{
    struct kafka_produce_request_partition p = {partition, {0}};
    struct kafka_produce_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_produce_request q = {
        .transactional_id = BYTES_LIT("tx"), .acks = -1, .timeout_ms = 1000, .topics = {&t, 1}};
    struct kafka_produce_response r;
    struct batch_builder b;
    struct buf batch;

    memcpy(t.topic_id, topic_uuid(topic_find(world.broker, t.name)), 16);
    buf_init(&batch, 0);
    batch_begin(&b, &batch, CODEC_NONE);
    batch_set_producer(&b, who->id, who->epoch, sequence);
    batch_set_attributes(&b, BATCH_ATTR_TRANSACTIONAL);
    batch_add(&b, WORLD_WALL_MS, BYTES_LIT("k"), BYTES_LIT("v"), NULL, 0);
    check(batch_finish(&b, NULL) == ERR_NONE);
    p.records = buf_bytes(&batch);
    kconn_call(&one, KAFKA_PRODUCE, version, &q, &r);
    buf_deinit(&batch);
    return r.topics.at[0].partitions.at[0].error_code;
}

static int16_t commit_in(const struct producing *who, int version, int64_t offset)
{
    struct kafka_txn_offset_commit_request_partition p = {0, offset, -1, BYTES_LIT("")};
    struct kafka_txn_offset_commit_request_topic t = {.name = BYTES_LIT("a"), .partitions = {&p, 1}};
    struct kafka_txn_offset_commit_request q = {.transactional_id = BYTES_LIT("tx"),
                                                .group_id = BYTES_LIT("g"),
                                                .producer_id = who->id,
                                                .producer_epoch = who->epoch,
                                                .generation = -1,
                                                .member_id = BYTES_LIT(""),
                                                .group_instance_id = BYTES_NULL,
                                                .topics = {&t, 1}};
    struct kafka_txn_offset_commit_response r;

    memcpy(t.topic_id, topic_uuid(topic_find(world.broker, t.name)), 16);
    kconn_call(&one, KAFKA_TXN_OFFSET_COMMIT, version, &q, &r);
    return r.topics.at[0].partitions.at[0].error_code;
}

static int16_t end_in(struct producing *who, int version, bool is_commit)
{
    struct kafka_end_txn_request q = {.transactional_id = BYTES_LIT("tx"),
                                      .producer_id = who->id,
                                      .producer_epoch = who->epoch,
                                      .committed = is_commit};
    struct kafka_end_txn_response r;

    kconn_call(&one, KAFKA_END_TXN, version, &q, &r);
    if (r.error_code == KE_NONE && version >= 5) *who = (struct producing){r.producer_id, r.producer_epoch};
    return r.error_code;
}

static void test_txn2__partitions_and_groups_are_added_by_writing(void **state)
{
    struct topic *t = topic_find(world.broker, BYTES_LIT("t"));

    (void)state;
    for (int version = 12; version <= 13; version++) {
        struct producing who = init_producer(5), late, stranger;
        struct committed_offset o;

        assert_int_equal(produce_in(&who, 11, 0, 0), KE_TRANSACTION_ABORTABLE); /* the first kind: not added */
        assert_int_equal(produce_in(&who, 10, 0, 0), KE_INVALID_TXN_STATE);
        assert_int_equal(produce_in(&who, version, 0, 4), KE_OUT_OF_ORDER_SEQUENCE_NUMBER); /* begins at 0 */
        assert_int_equal(produce_in(&who, version, 0, 0), 0);
        assert_int_equal(produce_in(&who, version, 0, 1), 0);
        assert_int_equal(produce_in(&who, version, 2, 0), 0);
        assert_true(partition_last_stable(topic_partition(t, 0)) < partition_high_watermark(topic_partition(t, 0)));
        assert_int_equal(commit_in(&who, 4, 5), KE_INVALID_TXN_STATE); /* the group was not added */
        assert_int_equal(commit_in(&who, version - 7, version), 0);
        stranger = who;
        stranger.id += 77;
        assert_int_equal(produce_in(&stranger, version, 0, 0), KE_INVALID_PRODUCER_ID_MAPPING);
        late = who;
        assert_int_equal(end_in(&who, 5, true), 0);
        assert_int_equal(who.epoch, late.epoch + 1);
        assert_int_equal(partition_last_stable(topic_partition(t, 0)), partition_high_watermark(topic_partition(t, 0)));
        group_offset(world.broker, BYTES_LIT("g"), BYTES_LIT("a"), 0, &o);
        assert_int_equal(o.offset, version);
        assert_int_equal(produce_in(&late, version, 0, 2), KE_INVALID_PRODUCER_EPOCH);
        assert_int_equal(produce_in(&late, version, 1, 0), KE_INVALID_PRODUCER_EPOCH);
        stranger = late;
        assert_int_equal(end_in(&stranger, 5, true), 0); /* again */
        assert_int_equal(stranger.epoch, who.epoch);
        assert_int_equal(produce_in(&who, version, 0, 0), 0);
        assert_int_equal(end_in(&late, 5, true), KE_PRODUCER_FENCED);
        assert_int_equal(end_in(&who, 5, false), 0);
        assert_int_equal(end_in(&who, 5, false), 0); /* nothing was begun */
        assert_int_equal(end_in(&who, 5, true), KE_INVALID_TXN_STATE);
    }
}

static void test_txn2__tools_see_producers_and_transactions(void **state)
{
    static const struct {
        const char *pattern;
        int16_t error;
        int n;
    } table[] = {{"", 0, 1}, {"t.*", 0, 1}, {"t", 0, 0}, {"x+", 0, 0}, {"(", KE_INVALID_REGULAR_EXPRESSION, 0}};
    int32_t parts[3] = {0, 1, 9};
    struct kafka_describe_producers_request_topic t = {BYTES_LIT("t"), {parts, 3}};
    struct kafka_describe_producers_request q = {.topics = {&t, 1}};
    struct kafka_describe_producers_response r;
    struct producing who = init_producer(5);

    (void)state;
    (void)kproduce(&one, "t", 0, "x", 2);
    assert_int_equal(produce_in(&who, 12, 0, 0), 0);
    kconn_call(&one, KAFKA_DESCRIBE_PRODUCERS, 0, &q, &r);
    assert_int_equal(r.topics.at[0].partitions.n, 3);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.n, 1);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.at[0].producer_id, who.id);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.at[0].last_sequence, 0);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.at[0].current_txn_start_offset, 2);
    assert_int_equal(r.topics.at[0].partitions.at[1].producers.n, 0);
    assert_int_equal(r.topics.at[0].partitions.at[2].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kafka_list_transactions_request lq;
        struct kafka_list_transactions_response lr;

        wire_init(&kafka_list_transactions_request_wire, &lq);
        lq.transactional_id_pattern = bytes_str(table[i].pattern);
        kconn_call(&one, KAFKA_LIST_TRANSACTIONS, 2, &lq, &lr);
        assert_int_equal(lr.error_code, table[i].error);
        assert_int_equal(lr.states.n, table[i].n);
    }
    assert_int_equal(end_in(&who, 5, true), 0);
    kconn_call(&one, KAFKA_DESCRIBE_PRODUCERS, 0, &q, &r);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.at[0].current_txn_start_offset, -1);
    assert_int_equal(r.topics.at[0].partitions.at[0].producers.at[0].producer_epoch, who.epoch);
}

/* ---- leader epochs: one rule in every request that carries one ---- */
static void test_epochs__one_rule_everywhere(void **state)
{
    int32_t ours = broker_epoch(world.broker);
    const struct {
        int32_t epoch;
        int16_t error;
    } table[] = {
        {-1, KE_NONE}, {ours, KE_NONE}, {ours - 1, KE_FENCED_LEADER_EPOCH}, {ours + 1, KE_UNKNOWN_LEADER_EPOCH}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kafka_list_offsets_request_partition lp = {
            .index = 0, .current_leader_epoch = table[i].epoch, .timestamp = -1};
        struct kafka_list_offsets_request_topic lt = {BYTES_LIT("t"), {&lp, 1}};
        struct kafka_list_offsets_request lq = {.replica_id = -1, .topics = {&lt, 1}};
        struct kafka_list_offsets_response lr;
        struct kafka_offset_for_leader_epoch_request_partition ep = {0, table[i].epoch, ours};
        struct kafka_offset_for_leader_epoch_request_topic et = {BYTES_LIT("t"), {&ep, 1}};
        struct kafka_offset_for_leader_epoch_request eq = {.replica_id = -1, .topics = {&et, 1}};
        struct kafka_offset_for_leader_epoch_response er;
        struct kafka_fetch_request_partition fp;
        struct kafka_fetch_request_topic ft = {.name = BYTES_LIT("t"), .partitions = {&fp, 1}};
        struct kafka_fetch_request fq;
        struct kafka_fetch_response fr;

        kconn_call(&one, KAFKA_LIST_OFFSETS, 10, &lq, &lr);
        assert_int_equal(lr.topics.at[0].partitions.at[0].error_code, table[i].error);
        kconn_call(&one, KAFKA_OFFSET_FOR_LEADER_EPOCH, 4, &eq, &er);
        assert_int_equal(er.topics.at[0].partitions.at[0].error_code, table[i].error);
        wire_init(&kafka_fetch_request_wire, &fq);
        wire_init(&kafka_fetch_request_partition_wire, &fp);
        fp.max_bytes = 1000;
        fp.current_leader_epoch = table[i].epoch;
        fq.topics.at = &ft;
        fq.topics.n = 1;
        kconn_call(&one, KAFKA_FETCH, 12, &fq, &fr);
        assert_int_equal(fr.topics.at[0].partitions.at[0].error_code, table[i].error);
    }
}

static void test_offsets__names_of_places(void **state)
{
    static const struct {
        int64_t time;
        int version;
        int16_t error;
        int64_t offset;
    } table[] = {{-1, 10, 0, 3},
                 {-2, 10, 0, 0},
                 {-3, 10, 0, 0},
                 {-4, 8, 0, 0},
                 {-5, 9, 0, -1},
                 {-5, 10, 0, -1},
                 {-5, 8, KE_INVALID_REQUEST, -1},
                 {-6, 10, KE_INVALID_REQUEST, -1}};

    (void)state;
    for (int i = 0; i < 3; i++)
        (void)kproduce(&one, "t", 0, "x", 1);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kafka_list_offsets_request_partition p = {
            .index = 0, .current_leader_epoch = -1, .timestamp = table[i].time};
        struct kafka_list_offsets_request_topic t = {BYTES_LIT("t"), {&p, 1}};
        struct kafka_list_offsets_request q = {.replica_id = -1, .topics = {&t, 1}};
        struct kafka_list_offsets_response r;

        kconn_call(&one, KAFKA_LIST_OFFSETS, table[i].version, &q, &r);
        assert_int_equal(r.topics.at[0].partitions.at[0].error_code, table[i].error);
        assert_int_equal(r.topics.at[0].partitions.at[0].offset, table[i].offset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cluster__log_dirs_are_told, start, stop),
        cmocka_unit_test_setup_teardown(test_cluster__nothing_moves_and_nobody_is_elected, start, stop),
        cmocka_unit_test_setup_teardown(test_cluster__config_resources_are_listed, start, stop),
        cmocka_unit_test_setup_teardown(test_cluster__topics_are_described_in_portions, start, stop),
        cmocka_unit_test_setup_teardown(test_cluster__features_and_brokers, start, stop),
        cmocka_unit_test_setup_teardown(test_ids__produce_and_fetch_find_topics_by_them, start, stop),
        cmocka_unit_test_setup_teardown(test_txn2__partitions_and_groups_are_added_by_writing, start, stop),
        cmocka_unit_test_setup_teardown(test_txn2__tools_see_producers_and_transactions, start, stop),
        cmocka_unit_test_setup_teardown(test_epochs__one_rule_everywhere, start, stop),
        cmocka_unit_test_setup_teardown(test_offsets__names_of_places, start, stop),
    };

    return cmocka_run_group_tests_name("kafka_cluster", tests, NULL, NULL);
}
