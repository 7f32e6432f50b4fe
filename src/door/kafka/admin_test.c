/* The requests of administration tools, in every version: configurations, partitions, deleted records, epochs,
 * forgotten offsets. Method: as requests_test.c; each test is one story. */
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
    kworld_start(&world, 21);
    kconn_open(&one, &world);
    kconn_open(&two, &world);
    kcreate(&one, "t", 1);
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

/* ---- configurations ---- */
static struct kafka_describe_configs_response_config described(const char *name)
{
    struct bytes key = bytes_str(name);
    struct kafka_describe_configs_request_resource r = {
        .resource_type = 2, .resource_name = BYTES_LIT("t"), .configuration_keys = {&key, 1}};
    struct kafka_describe_configs_request q = {.resources = {&r, 1}, .include_synonyms = true};
    struct kafka_describe_configs_response out;

    kconn_call(&one, KAFKA_DESCRIBE_CONFIGS, 4, &q, &out);
    check(out.results.n == 1 && out.results.at[0].configs.n == 1);
    return out.results.at[0].configs.at[0];
}

static bool is_value(const char *name, const char *value, int source)
{
    struct kafka_describe_configs_response_config c = described(name);
    return bytes_equal_str(c.value, value) && c.config_source == source;
}

static struct bytes last_message;

static int16_t incremental(int version, int op, const char *name, const char *value)
{
    struct kafka_incremental_alter_configs_request_config c = {bytes_str(name), (int8_t)op,
                                                               value ? bytes_str(value) : BYTES_NULL};
    struct kafka_incremental_alter_configs_request_resource r = {
        .resource_type = 2, .resource_name = BYTES_LIT("t"), .configs = {&c, 1}};
    struct kafka_incremental_alter_configs_request q = {.resources = {&r, 1}};
    struct kafka_incremental_alter_configs_response out;

    kconn_call(&one, KAFKA_INCREMENTAL_ALTER_CONFIGS, version, &q, &out);
    check(out.responses.n == 1);
    last_message = out.responses.at[0].error_message;
    return out.responses.at[0].error_code;
}

static void test_configs__one_by_one(void **state)
{
    struct kafka_describe_configs_response_config c;

    (void)state;
    assert_true(is_value("retention.ms", "604800000", 5));
    assert_int_equal(described("retention.ms").synonyms.n, 1);
    assert_int_equal(incremental(0, 0, "retention.ms", "5000"), 0);
    assert_true(is_value("retention.ms", "5000", 1));
    c = described("retention.ms");
    assert_int_equal(c.synonyms.n, 2);
    assert_true(bytes_equal_str(c.synonyms.at[1].name, "log.retention.ms"));
    assert_int_equal(c.synonyms.at[1].source, 5);
    assert_int_equal(c.config_type, 5);
    assert_false(c.read_only);
    assert_int_equal(incremental(1, 0, "segment.bytes", "16384"), 0);
    assert_true(is_value("retention.ms", "5000", 1)); /* what is not named stays */
    assert_int_equal(incremental(1, 1, "retention.ms", NULL), 0);
    assert_true(is_value("retention.ms", "604800000", 5));
    assert_true(is_value("segment.bytes", "16384", 1));
    assert_int_equal(incremental(1, 2, "cleanup.policy", "compact"), 0);
    assert_true(is_value("cleanup.policy", "compact,delete", 1));
    assert_int_equal(incremental(1, 3, "cleanup.policy", "compact"), 0);
    assert_true(is_value("cleanup.policy", "delete", 5));
    assert_int_equal(incremental(1, 3, "cleanup.policy", "delete"), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 2, "retention.ms", "1"), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 9, "retention.ms", "1"), KE_INVALID_REQUEST);
    assert_int_equal(incremental(1, 0, "retention.ms", NULL), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 0, "retention.ms", "-2"), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 0, "segment.bytes", "1"), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 0, "message.timestamp.type", "LogAppendTime"), 0);
    assert_true(kproduce(&one, "t", 0, "x", 1).log_append_time_ms > 0);
    assert_int_equal(incremental(1, 0, "max.message.bytes", "70"), 0);
    assert_int_equal(kproduce(&one, "t", 0, "xxxxxxxxxxxxxxxxxxxx", 1).error_code, KE_MESSAGE_TOO_LARGE);
}

static void test_configs__only_what_is_honoured(void **state)
{
    (void)state;
    assert_int_equal(incremental(1, 0, "compression.type", "producer"), 0);
    assert_int_equal(incremental(1, 0, "compression.type", "zstd"), KE_INVALID_CONFIG);
    assert_true(
        bytes_equal_str(last_message, "compression.type: \"zstd\" is not possible here, it is always producer"));
    assert_int_equal(incremental(1, 0, "min.insync.replicas", "2"), KE_NONE); /* and is 1 */
    assert_int_equal(incremental(1, 0, "min.insync.replicas", "0"), KE_INVALID_CONFIG);
    assert_int_equal(incremental(1, 0, "flush.ms", "9223372036854775807"), 0);
    assert_int_equal(incremental(1, 0, "retention.sm", "1"), KE_INVALID_CONFIG);
    assert_true(
        bytes_equal_str(last_message, "there is no topic configuration \"retention.sm\"; did you mean retention.ms?"));
    assert_int_equal(incremental(1, 1, "quite.another.thing", NULL), KE_INVALID_CONFIG);
    assert_true(is_value("min.insync.replicas", "1", 5));
    assert_true(is_value("compression.type", "producer", 5));
}

/* The older request replaces everything; a tool that sends back all it was shown changes nothing. */
static void test_configs__all_at_once(void **state)
{
    struct kafka_describe_configs_request_resource r = {
        .resource_type = 2, .resource_name = BYTES_LIT("t"), .configuration_keys = {NULL, -1}};
    struct kafka_describe_configs_request dq = {.resources = {&r, 1}};
    struct kafka_describe_configs_response d;
    struct kafka_alter_configs_request_config c[32] = {{BYTES_LIT("retention.ms"), BYTES_LIT("1000")}};
    struct kafka_alter_configs_request_resource a[5] = {
        {.resource_type = 2, .resource_name = BYTES_LIT("t"), .configs = {c, 1}},
        {.resource_type = 2, .resource_name = BYTES_LIT("none"), .configs = {c, 1}},
        {.resource_type = 4, .resource_name = BYTES_LIT("7"), .configs = {c, 1}},
        {.resource_type = 2, .resource_name = BYTES_LIT("_weir_meta"), .configs = {c, 1}},
        {.resource_type = 8, .resource_name = BYTES_LIT("7"), .configs = {c, 1}},
    };
    struct kafka_alter_configs_request q = {.resources = {a, 5}, .validate_only = true};
    struct kafka_alter_configs_response out;

    (void)state;
    assert_int_equal(incremental(1, 0, "segment.ms", "1000"), 0);
    kconn_call(&one, KAFKA_ALTER_CONFIGS, 0, &q, &out);
    assert_int_equal(out.responses.at[0].error_code, 0);
    assert_true(is_value("retention.ms", "604800000", 5)); /* only validated */
    q.validate_only = false;
    for (int version = 0; version <= 2; version++) {
        kconn_call(&one, KAFKA_ALTER_CONFIGS, version, &q, &out);
        assert_int_equal(out.responses.at[0].error_code, 0);
        assert_int_equal(out.responses.at[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
        assert_int_equal(out.responses.at[2].error_code, KE_INVALID_REQUEST);
        assert_int_equal(out.responses.at[3].error_code, KE_INVALID_TOPIC);
        assert_int_equal(out.responses.at[4].error_code, KE_INVALID_REQUEST);
    }
    assert_true(is_value("retention.ms", "1000", 1));
    assert_true(is_value("segment.ms", "604800000", 5));

    kconn_call(&one, KAFKA_DESCRIBE_CONFIGS, 4, &dq, &d);
    assert_true(d.results.at[0].configs.n >= 11 && d.results.at[0].configs.n <= 32);
    for (int32_t i = 0; i < d.results.at[0].configs.n; i++)
        c[i] = (struct kafka_alter_configs_request_config){d.results.at[0].configs.at[i].name,
                                                           d.results.at[0].configs.at[i].value};
    a[0].configs.n = d.results.at[0].configs.n;
    q.resources.n = 1;
    kconn_call(&one, KAFKA_ALTER_CONFIGS, 2, &q, &out);
    assert_int_equal(out.responses.at[0].error_code, 0);
    assert_true(is_value("retention.ms", "1000", 1));
    assert_true(is_value("retention.bytes", "-1", 1));
    a[1] = a[0];
    q.resources.n = 2;
    kconn_call(&one, KAFKA_ALTER_CONFIGS, 2, &q, &out);
    assert_int_equal(out.responses.at[1].error_code, KE_INVALID_REQUEST);
}

/* ---- partitions ---- */
static int16_t more(int version, const char *name, int32_t count, const int32_t *brokers, int32_t n, bool validate_only)
{
    struct kafka_create_partitions_request_assignment a[4] = {0};
    struct kafka_create_partitions_request_topic t = {
        .name = bytes_str(name), .count = count, .assignments = {a, brokers ? n : -1}};
    struct kafka_create_partitions_request q = {.topics = {&t, 1}, .timeout_ms = 1000, .validate_only = validate_only};
    struct kafka_create_partitions_response r;

    for (int32_t i = 0; i < n; i++) {
        a[i].broker_ids.at = (int32_t *)(uintptr_t)&brokers[i];
        a[i].broker_ids.n = 1;
    }
    kconn_call(&one, KAFKA_CREATE_PARTITIONS, version, &q, &r);
    check(r.results.n == 1 && (r.results.at[0].error_code == 0) == (r.results.at[0].error_message.ptr == NULL));
    return r.results.at[0].error_code;
}

static void test_partitions__become_more(void **state)
{
    int32_t brokers[] = {7, 7}, wrong[] = {7, 8};

    (void)state;
    assert_int_equal(more(0, "t", 1, NULL, 0, false), KE_INVALID_PARTITIONS);
    assert_int_equal(more(0, "t", 5000, NULL, 0, false), KE_INVALID_PARTITIONS);
    assert_int_equal(more(0, "none", 5, NULL, 0, false), KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(more(0, "_weir_meta", 5, NULL, 0, false), KE_INVALID_TOPIC);
    assert_int_equal(more(0, "t", 2, NULL, 0, true), 0);
    assert_int_equal(kproduce(&one, "t", 1, "x", 1).error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    for (int version = 0; version <= 3; version++)
        assert_int_equal(more(version, "t", version + 2, NULL, 0, false), 0);
    assert_int_equal(kproduce(&one, "t", 4, "x", 1).error_code, 0);
    assert_int_equal(more(3, "t", 7, brokers, 1, false), KE_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(more(3, "t", 7, wrong, 2, false), KE_INVALID_REPLICA_ASSIGNMENT);
    assert_int_equal(more(3, "t", 7, brokers, 2, false), 0);
    assert_int_equal(kproduce(&one, "t", 6, "x", 1).error_code, 0);
}

/* ---- records ---- */
static struct kafka_delete_records_response_partition delete_before(int version, int64_t offset)
{
    struct kafka_delete_records_request_partition p = {0, offset};
    struct kafka_delete_records_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_delete_records_request q = {.topics = {&t, 1}, .timeout_ms = 1000};
    struct kafka_delete_records_response r;

    kconn_call(&one, KAFKA_DELETE_RECORDS, version, &q, &r);
    check(r.topics.n == 1 && r.topics.at[0].partitions.n == 1);
    return r.topics.at[0].partitions.at[0];
}

static void test_records__are_deleted_and_readers_told(void **state)
{
    struct kafka_delete_records_request_partition p = {3, 0};
    struct kafka_delete_records_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_delete_records_request q = {.topics = {&t, 1}};
    struct kafka_delete_records_response r;
    struct kafka_fetch_response f;
    int64_t offset = 1;

    (void)state;
    (void)kproduce(&one, "t", 0, "x", 5);
    for (int version = 0; version <= 2; version++) {
        assert_int_equal(delete_before(version, version + 1).error_code, 0);
        assert_int_equal(delete_before(version, 0).low_watermark, version + 1);
    }
    assert_int_equal(delete_before(2, 6).error_code, KE_OFFSET_OUT_OF_RANGE);
    assert_int_equal(delete_before(2, 6).low_watermark, -1);
    kfetch_send(&two, 11, "t", &offset, 1, 1000, 1, 1 << 20);
    assert_true(kconn_receive(&two, KAFKA_FETCH, 11, &f, 100));
    assert_int_equal(f.topics.at[0].partitions.at[0].error_code, KE_OFFSET_OUT_OF_RANGE);
    offset = 4; /* parked: wants more than there is */
    kfetch_send(&two, 11, "t", &offset, 1, 60000, 100000, 1 << 20);
    assert_false(kconn_receive(&two, KAFKA_FETCH, 11, &f, 100));
    assert_int_equal(delete_before(2, -1).low_watermark, 5);
    assert_true(kconn_receive(&two, KAFKA_FETCH, 11, &f, 100));
    assert_int_equal(f.topics.at[0].partitions.at[0].error_code, KE_OFFSET_OUT_OF_RANGE);
    kconn_call(&one, KAFKA_DELETE_RECORDS, 2, &q, &r);
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    assert_int_equal(incremental(1, 0, "cleanup.policy", "compact"), 0);
    assert_int_equal(delete_before(2, -1).error_code, KE_POLICY_VIOLATION);
}

/* ---- epochs ---- */
static void test_epochs__end_where_the_log_does(void **state)
{
    int32_t ours = broker_epoch(world.broker);
    struct kafka_offset_for_leader_epoch_request_partition p[4] = {
        {0, -1, ours}, {0, ours, ours + 5}, {0, ours + 1, ours}, {9, -1, ours}};
    struct kafka_offset_for_leader_epoch_request_topic t = {.topic = BYTES_LIT("t"), .partitions = {p, 4}};
    struct kafka_offset_for_leader_epoch_request q = {.replica_id = -1, .topics = {&t, 1}};
    struct kafka_offset_for_leader_epoch_response r;

    (void)state;
    (void)kproduce(&one, "t", 0, "x", 5);
    for (int version = 0; version <= 4; version++) {
        kconn_call(&one, KAFKA_OFFSET_FOR_LEADER_EPOCH, version, &q, &r);
        assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
        assert_int_equal(r.topics.at[0].partitions.at[0].end_offset, 5);
        assert_int_equal(r.topics.at[0].partitions.at[0].leader_epoch, version >= 1 ? ours : -1);
        assert_int_equal(r.topics.at[0].partitions.at[1].end_offset, -1);
        assert_int_equal(r.topics.at[0].partitions.at[2].error_code, version >= 2 ? KE_UNKNOWN_LEADER_EPOCH : 0);
        assert_int_equal(r.topics.at[0].partitions.at[3].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    }
}

/* ---- offsets ---- */
static struct kafka_offset_delete_response forget(const char *group)
{
    struct kafka_offset_delete_request_partition p[2] = {{0}, {9}};
    struct kafka_offset_delete_request_topic t = {.name = BYTES_LIT("t"), .partitions = {p, 2}};
    struct kafka_offset_delete_request q = {.group_id = bytes_str(group), .topics = {&t, 1}};
    struct kafka_offset_delete_response r;

    kconn_call(&one, KAFKA_OFFSET_DELETE, 0, &q, &r);
    return r;
}

static void test_offsets__subscribed_topics_keep_theirs(void **state)
{
    struct kafka_offset_commit_request_partition p;
    struct kafka_offset_commit_request_topic t = {.name = BYTES_LIT("t"), .partitions = {&p, 1}};
    struct kafka_offset_commit_request c;
    struct kafka_offset_commit_response cr;
    struct kafka_join_group_request_protocol protocol = {BYTES_LIT("range"),
                                                         bytes_of("\0\0\0\0\0\1\0\1t\xff\xff\xff\xff", 13)};
    struct kafka_join_group_request j;
    struct kafka_join_group_response jr;
    struct committed_offset o;

    (void)state;
    assert_int_equal(forget("simple").error_code, KE_GROUP_ID_NOT_FOUND);
    wire_init(&kafka_offset_commit_request_wire, &c);
    wire_init(&kafka_offset_commit_request_partition_wire, &p);
    c.group_id = BYTES_LIT("simple");
    c.topics.at = &t;
    c.topics.n = 1;
    p.committed_offset = 3;
    kconn_call(&one, KAFKA_OFFSET_COMMIT, 8, &c, &cr);
    wire_init(&kafka_join_group_request_wire, &j);
    j.group_id = BYTES_LIT("simple");
    j.session_timeout_ms = 10000;
    j.rebalance_timeout_ms = 10000;
    j.member_id = BYTES_LIT("");
    j.protocol_type = BYTES_LIT("consumer");
    j.protocols.at = &protocol;
    j.protocols.n = 1;
    kconn_call(&two, KAFKA_JOIN_GROUP, 3, &j, &jr);
    assert_int_equal(jr.error_code, 0);
    assert_int_equal(forget("simple").topics.at[0].partitions.at[0].error_code, KE_GROUP_SUBSCRIBED_TO_TOPIC);
    protocol.metadata = bytes_of("\0\0\0\0\0\1\0\1u\xff\xff\xff\xff", 13);
    j.member_id = jr.member_id;
    kconn_call(&two, KAFKA_JOIN_GROUP, 3, &j, &jr);
    assert_int_equal(jr.error_code, 0);
    struct kafka_offset_delete_response r = forget("simple");
    assert_int_equal(r.error_code, 0);
    assert_int_equal(r.topics.at[0].partitions.at[0].error_code, 0);
    assert_int_equal(r.topics.at[0].partitions.at[1].error_code, KE_UNKNOWN_TOPIC_OR_PARTITION);
    group_offset(world.broker, BYTES_LIT("simple"), BYTES_LIT("t"), 0, &o);
    assert_int_equal(o.offset, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_configs__one_by_one, start, stop),
        cmocka_unit_test_setup_teardown(test_configs__only_what_is_honoured, start, stop),
        cmocka_unit_test_setup_teardown(test_configs__all_at_once, start, stop),
        cmocka_unit_test_setup_teardown(test_partitions__become_more, start, stop),
        cmocka_unit_test_setup_teardown(test_records__are_deleted_and_readers_told, start, stop),
        cmocka_unit_test_setup_teardown(test_epochs__end_where_the_log_does, start, stop),
        cmocka_unit_test_setup_teardown(test_offsets__subscribed_topics_keep_theirs, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
