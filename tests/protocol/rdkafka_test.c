/* rdkafka_test.c: librdkafka from C, the client under most of the others. Arguments: BROKER first|second; see
 * run_client.py.
 *
 * Each test function proves what its name in the table says and ends the program at the first thing that is not so. */
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT 200
#define PARTITIONS 4
#define WAIT_MS 30000

static const char *broker;

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- clients ---- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[256];

    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        fail("%s=%s: %s", name, value, error);
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    int *n_delivered = opaque;

    (void)rk;
    if (m->err) fail("delivery: %s", rd_kafka_err2str(m->err));
    (*n_delivered)++;
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char error[256];
    rd_kafka_t *rk;

    set(conf, "bootstrap.servers", broker);
    rk = rd_kafka_new(type, conf, error, sizeof error);
    if (rk == NULL) fail("rd_kafka_new: %s", error);
    return rk;
}

static rd_kafka_t *producer(const char *codec, bool idempotent, int *n_delivered)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    set(conf, "compression.codec", codec);
    set(conf, "enable.idempotence", idempotent ? "true" : "false");
    set(conf, "linger.ms", "5");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, n_delivered);
    return client(RD_KAFKA_PRODUCER, conf);
}

static rd_kafka_t *consumer(const char *group)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;

    set(conf, "group.id", group);
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.partition.eof", "true");
    set(conf, "session.timeout.ms", "6000");
    set(conf, "heartbeat.interval.ms", "500");
    set(conf, "fetch.wait.max.ms", "50"); /* or each end of a partition is seen half a second late */
    rk = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

/* ---- messages ---- */

static int64_t timestamp_ms(int i)
{
    return atoll(getenv("TIMESTAMP_BASE_MS")) + i;
}

static int message_value(char *out, size_t size, const char *tag, int i)
{
    int n = snprintf(out, size, "%s %d ", tag, i);

    for (int k = 0; k < i % 20; k++)
        n += snprintf(out + n, size - (size_t)n, "the same words again and ");
    return n;
}

static void send_messages(const char *topic, int32_t partition, const char *codec, bool idempotent, int from, int to)
{
    int n_delivered = 0;
    rd_kafka_t *rk = producer(codec, idempotent, &n_delivered);

    for (int i = from; i < to; i++) {
        char key[32], value[1024];
        int key_len = snprintf(key, sizeof key, "key-%d", i), value_len = message_value(value, sizeof value, codec, i);
        rd_kafka_resp_err_t error = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_KEY(key, (size_t)key_len),
            RD_KAFKA_V_VALUE(value, (size_t)value_len), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_TIMESTAMP(timestamp_ms(i)), RD_KAFKA_V_HEADER("key", key, key_len),
            RD_KAFKA_V_HEADER("null", NULL, 0), RD_KAFKA_V_END);

        if (error) fail("%s: produce: %s", topic, rd_kafka_err2str(error));
        rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, WAIT_MS) != 0 || n_delivered != to - from) fail("%s: %d delivered", topic, n_delivered);
    rd_kafka_destroy(rk);
}

static void check_message(const rd_kafka_message_t *m, const char *tag, int i)
{
    char key[32], value[1024];
    int key_len = snprintf(key, sizeof key, "key-%d", i), value_len = message_value(value, sizeof value, tag, i);
    rd_kafka_headers_t *headers;
    const void *header;
    size_t header_len;

    if (m->offset != i) fail("%s: offset %lld instead of %d", tag, (long long)m->offset, i);
    if (m->key_len != (size_t)key_len || memcmp(m->key, key, m->key_len) != 0) fail("%s: key of %d", tag, i);
    if (m->len != (size_t)value_len || memcmp(m->payload, value, m->len) != 0) fail("%s: value of %d", tag, i);
    if (rd_kafka_message_timestamp(m, NULL) != timestamp_ms(i)) fail("%s: timestamp of %d", tag, i);
    if (rd_kafka_message_headers(m, &headers) || rd_kafka_header_get_last(headers, "key", &header, &header_len) ||
        header_len != (size_t)key_len || memcmp(header, key, header_len) != 0)
        fail("%s: header of %d", tag, i);
    if (rd_kafka_header_get_last(headers, "null", &header, &header_len) || header != NULL)
        fail("%s: null header of %d", tag, i);
}

/* Reads the partition from its beginning to its end. */
static void read_all(const char *topic, const char *tag, int count)
{
    rd_kafka_t *rk = consumer("unused");
    rd_kafka_topic_partition_list_t *places = rd_kafka_topic_partition_list_new(1);
    int n = 0;
    bool at_end = false;

    rd_kafka_topic_partition_list_add(places, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (rd_kafka_assign(rk, places)) fail("%s: assign", topic);
    while (!at_end) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, WAIT_MS);

        if (m == NULL) fail("%s: only %d of %d", topic, n, count);
        at_end = m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (m->err && !at_end) fail("%s: %s", topic, rd_kafka_message_errstr(m));
        if (!at_end) check_message(m, tag, n++);
        rd_kafka_message_destroy(m);
    }
    if (n != count) fail("%s: %d instead of %d", topic, n, count);
    rd_kafka_topic_partition_list_destroy(places);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* ---- administration ---- */

static rd_kafka_resp_err_t wait_admin(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, WAIT_MS);
    const rd_kafka_topic_result_t **results;
    rd_kafka_resp_err_t error;
    size_t n = 0;

    if (event == NULL) fail("admin: no answer");
    if (rd_kafka_event_error(event)) fail("admin: %s", rd_kafka_event_error_string(event));
    results = rd_kafka_event_type(event) == RD_KAFKA_EVENT_CREATETOPICS_RESULT
                  ? rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n)
                  : rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
    if (n != 1) fail("admin: %zu results", n);
    error = rd_kafka_topic_result_error(results[0]);
    rd_kafka_event_destroy(event);
    return error;
}

static rd_kafka_resp_err_t create(const char *topic, int partitions)
{
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, 1, NULL, 0);
    rd_kafka_resp_err_t error;

    rd_kafka_CreateTopics(rk, &t, 1, NULL, queue);
    error = wait_admin(queue);
    rd_kafka_NewTopic_destroy(t);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return error;
}

static rd_kafka_resp_err_t delete_topic(const char *topic)
{
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_resp_err_t error;

    rd_kafka_DeleteTopics(rk, &t, 1, NULL, queue);
    error = wait_admin(queue);
    rd_kafka_DeleteTopic_destroy(t);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return error;
}

/* Number of partitions; 0: no such topic in the list. */
static int list_partitions(const char *topic)
{
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
    const struct rd_kafka_metadata *metadata;
    int found = 0;

    if (rd_kafka_metadata(rk, 1, NULL, &metadata, WAIT_MS)) fail("metadata");
    for (int i = 0; i < metadata->topic_cnt; i++) {
        if (strcmp(metadata->topics[i].topic, topic) == 0) found = metadata->topics[i].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_destroy(rk);
    return found;
}

static void test_admin(void)
{
    if (create("rd-admin", 3) || create("rd-gone", 1)) fail("create");
    if (create("rd-admin", 3) != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) fail("created twice");
    if (list_partitions("rd-admin") != 3 || list_partitions("rd-gone") != 1) fail("list");
    if (delete_topic("rd-gone")) fail("delete");
    if (list_partitions("rd-gone") != 0) fail("deleted but listed");
    if (delete_topic("rd-gone") != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) fail("deleted twice");
}

/* ---- codecs, idempotence ---- */

static const char *const codecs[] = {"none", "gzip", "snappy", "lz4", "zstd"};
#define CODEC_COUNT (sizeof codecs / sizeof *codecs)

static void read_codecs(void)
{
    for (size_t i = 0; i < CODEC_COUNT; i++) {
        char topic[32];

        snprintf(topic, sizeof topic, "rd-%s", codecs[i]);
        read_all(topic, codecs[i], COUNT);
    }
}

static void test_codecs(void)
{
    for (size_t i = 0; i < CODEC_COUNT; i++) {
        char topic[32];

        snprintf(topic, sizeof topic, "rd-%s", codecs[i]);
        send_messages(topic, 0, codecs[i], false, 0, COUNT);
    }
    read_codecs();
}

static void test_idempotent(void)
{
    send_messages("rd-idempotent", 0, "none", true, 0, 1000);
    read_all("rd-idempotent", "none", 1000);
}

static void test_idempotent_again(void)
{
    send_messages("rd-idempotent", 0, "none", true, 1000, 1500);
    read_all("rd-idempotent", "none", 1500);
}

/* ---- groups ---- */

static void subscribe(rd_kafka_t *rk, const char *topic)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(rk, topics)) fail("subscribe");
    rd_kafka_topic_partition_list_destroy(topics);
}

/* Reads offsets [from, to) of the group's topic, commits, leaves. */
static void group_read(int from, int to)
{
    rd_kafka_t *rk = consumer("rd-half");
    rd_kafka_topic_partition_list_t *places = rd_kafka_topic_partition_list_new(1);
    int64_t end = now_ms() + WAIT_MS;

    subscribe(rk, "rd-group");
    for (int i = from; i < to && now_ms() < end;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);

        if (m == NULL) continue;
        if (!m->err) check_message(m, "none", i++);
        rd_kafka_message_destroy(m);
    }
    if (now_ms() >= end) fail("group: not read in time");
    rd_kafka_topic_partition_list_add(places, "rd-group", 0)->offset = to;
    if (rd_kafka_commit(rk, places, 0)) fail("group: commit");
    rd_kafka_topic_partition_list_destroy(places);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static void test_group_half(void)
{
    send_messages("rd-group", 0, "none", false, 0, COUNT);
    group_read(0, COUNT / 2);
}

static void test_group_rest(void)
{
    group_read(COUNT / 2, COUNT);
}

struct member {
    rd_kafka_t *rk;
    int n_seen;
};

static int assigned(struct member *member)
{
    rd_kafka_topic_partition_list_t *places;
    int n;

    if (rd_kafka_assignment(member->rk, &places)) fail("assignment");
    n = places->cnt;
    rd_kafka_topic_partition_list_destroy(places);
    return n;
}

/* One poll of each member that is there; marks what was seen. */
static void poll_members(struct member *members, int n, bool seen[PARTITIONS][COUNT])
{
    for (int i = 0; i < n; i++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(members[i].rk, 20);

        if (m == NULL) continue;
        if (!m->err) {
            seen[m->partition][m->offset] = true;
            members[i].n_seen++;
        }
        rd_kafka_message_destroy(m);
    }
}

static void test_share(void)
{
    static bool seen[PARTITIONS][COUNT];
    struct member members[2] = {{consumer("rd-share"), 0}, {consumer("rd-share"), 0}};
    int64_t end = now_ms() + WAIT_MS;
    int n = 0;

    if (create("rd-shared", PARTITIONS)) fail("create");
    for (int i = 0; i < 2; i++)
        subscribe(members[i].rk, "rd-shared");
    while (assigned(&members[0]) != 2 || assigned(&members[1]) != 2) {
        poll_members(members, 2, seen);
        if (now_ms() > end) fail("share: %d and %d partitions", assigned(&members[0]), assigned(&members[1]));
    }
    for (int p = 0; p < PARTITIONS; p++)
        send_messages("rd-shared", p, "none", false, 0, 50);
    while (n < 50 * PARTITIONS) {
        poll_members(members, 2, seen);
        if (now_ms() > end) fail("share: %d read", n);
        n = 0;
        for (int p = 0; p < PARTITIONS; p++) {
            for (int i = 0; i < 50; i++)
                n += seen[p][i];
        }
    }
    if (members[0].n_seen == 0 || members[1].n_seen == 0) fail("share: one read all");
    rd_kafka_consumer_close(members[1].rk);
    rd_kafka_destroy(members[1].rk);
    while (assigned(&members[0]) != PARTITIONS) {
        poll_members(members, 1, seen);
        if (now_ms() > end) fail("share: %d partitions after the other left", assigned(&members[0]));
    }
    rd_kafka_consumer_close(members[0].rk);
    rd_kafka_destroy(members[0].rk);
}

/* ---- transactions ---- */

static void must(rd_kafka_error_t *error, const char *what)
{
    if (error != NULL) fail("%s: %s", what, rd_kafka_error_string(error));
}

static void txn_send(rd_kafka_t *rk, int round)
{
    for (int i = 0; i < 10; i++) {
        char value[32];
        int len = snprintf(value, sizeof value, "%d-%d", round, i);
        rd_kafka_resp_err_t rc = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("rd-txn"), RD_KAFKA_V_PARTITION(0),
                                                   RD_KAFKA_V_VALUE(value, (size_t)len),
                                                   RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        if (rc) fail("txn produce: %s", rd_kafka_err2str(rc));
    }
}

/* Rounds 0, 2, 4 and nothing else, to the end of what is stable. */
static void txn_read(void)
{
    rd_kafka_t *rk = consumer("unused"); /* reads committed records by default */
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    int n = 0;

    rd_kafka_topic_partition_list_add(list, "rd-txn", 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (rd_kafka_assign(rk, list)) fail("txn assign");
    rd_kafka_topic_partition_list_destroy(list);
    for (int64_t end = now_ms() + WAIT_MS; n < 30;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
        char want[32];
        if (now_ms() > end) fail("txn: only %d", n);
        if (m == NULL) continue;
        int len = snprintf(want, sizeof want, "%d-%d", n / 10 * 2, n % 10);
        if (!m->err && (m->len != (size_t)len || memcmp(m->payload, want, m->len) != 0))
            fail("txn: %.*s instead of %s", (int)m->len, (const char *)m->payload, want);
        n += !m->err;
        rd_kafka_message_destroy(m);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static void test_transactions(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (create("rd-txn", 1)) fail("create");
    set(conf, "transactional.id", "rd-tx");
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    must(rd_kafka_init_transactions(rk, WAIT_MS), "init");
    for (int round = 0; round < 5; round++) {
        must(rd_kafka_begin_transaction(rk), "begin");
        txn_send(rk, round);
        if (round % 2 == 0)
            must(rd_kafka_commit_transaction(rk, WAIT_MS), "commit");
        else
            must(rd_kafka_abort_transaction(rk, WAIT_MS), "abort");
    }
    rd_kafka_destroy(rk);
    txn_read();
}

/* ---- the table ---- */

static const struct {
    const char *phase, *name;
    void (*run)(void);
} tests[] = {
    {"first", "admin creates, lists and deletes topics", test_admin},
    {"first", "each codec comes back byte for byte, with key, header and timestamp", test_codecs},
    {"first", "a group reads a part and commits", test_group_half},
    {"first", "two consumers share a topic, and one takes over when the other leaves", test_share},
    {"first", "an idempotent producer stores each message once and in order", test_idempotent},
    {"first", "transactions are committed and aborted", test_transactions},
    {"second", "what was committed and what was aborted is so after the restart", txn_read},
    {"second", "each codec is still there after the restart", read_codecs},
    {"second", "the committed offset survived the restart: the group goes on there", test_group_rest},
    {"second", "another idempotent producer goes on after the restart", test_idempotent_again},
};

int main(int argc, char **argv)
{
    if (argc != 3) fail("usage: rdkafka_test BROKER first|second");
    broker = argv[1];
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].phase, argv[2]) != 0) continue;
        tests[i].run();
        printf("ok librdkafka: %s\n", tests[i].name);
        fflush(stdout);
    }
    return 0;
}
