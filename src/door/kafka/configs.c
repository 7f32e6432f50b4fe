/* The configuration of topics and of the node under Kafka's names: DescribeConfigs, and what CreateTopics accepts. */
#include "door/kafka/kafka_int.h"

#include "base/text.h"

enum { TYPE_BOOLEAN = 1, TYPE_STRING = 2, TYPE_INT = 3, TYPE_SHORT = 4, TYPE_LONG = 5, TYPE_DOUBLE = 6, TYPE_LIST = 7 };
enum { SOURCE_TOPIC = 1, SOURCE_STATIC_BROKER = 4, SOURCE_DEFAULT = 5 };
enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

/* Kafka's names that programs set out of habit and that change nothing here. They are accepted with any value and not
 * stored: batches are kept as they come, there is one replica, and every acknowledged write is on the disk. */
static const char *const accepted[] = {"compression.type",
                                       "delete.retention.ms",
                                       "file.delete.delay.ms",
                                       "flush.messages",
                                       "flush.ms",
                                       "index.interval.bytes",
                                       "max.compaction.lag.ms",
                                       "message.downconversion.enable",
                                       "message.format.version",
                                       "message.timestamp.after.max.ms",
                                       "message.timestamp.before.max.ms",
                                       "message.timestamp.difference.max.ms",
                                       "min.cleanable.dirty.ratio",
                                       "min.compaction.lag.ms",
                                       "min.insync.replicas",
                                       "preallocate",
                                       "segment.index.bytes",
                                       "segment.jitter.ms",
                                       "segment.ms",
                                       "unclean.leader.election.enable"};

static void put(struct kafka_config_view *out, int *n, const char *name, struct bytes value, int8_t type,
                bool is_default)
{
    check(*n < KAFKA_TOPIC_CONFIGS_MAX);
    out[(*n)++] = (struct kafka_config_view){name, value, type, is_default};
}

static struct bytes number(struct arena *a, int64_t v)
{
    return bytes_str(arena_printf(a, "%lld", (long long)v));
}

static int64_t or_forever(int64_t v)
{
    return v < 0 ? -1 : v;
}

int kafka_topic_configs(struct broker *b, const struct topic_config *c, struct arena *a, struct kafka_config_view *out)
{
    const struct broker_options *o = broker_options(b);
    int n = 0;

    put(out, &n, "cleanup.policy", c->compact ? BYTES_LIT("compact") : BYTES_LIT("delete"), TYPE_LIST, !c->compact);
    put(out, &n, "compression.type", BYTES_LIT("producer"), TYPE_STRING, true);
    put(out, &n, "max.message.bytes", number(a, c->batch_bytes_max), TYPE_INT,
        c->batch_bytes_max == o->batch_bytes_max);
    put(out, &n, "message.timestamp.type", c->log_append_time ? BYTES_LIT("LogAppendTime") : BYTES_LIT("CreateTime"),
        TYPE_STRING, !c->log_append_time);
    put(out, &n, "min.insync.replicas", BYTES_LIT("1"), TYPE_INT, true);
    put(out, &n, "retention.bytes", number(a, or_forever(c->retention_bytes)), TYPE_LONG,
        c->retention_bytes == o->retention_bytes);
    put(out, &n, "retention.ms", number(a, or_forever(c->retention_ms)), TYPE_LONG, c->retention_ms == o->retention_ms);
    put(out, &n, "segment.bytes", number(a, (int64_t)c->segment_bytes), TYPE_INT, c->segment_bytes == o->segment_bytes);
    return n;
}

static int node_configs(struct kafka_request *q, struct kafka_config_view *out)
{
    const struct broker_options *o = broker_options(kafka_broker(q));
    struct arena *a = &q->arena;
    int n = 0;

    put(out, &n, "auto.create.topics.enable", o->no_auto_create ? BYTES_LIT("false") : BYTES_LIT("true"), TYPE_BOOLEAN,
        !o->no_auto_create);
    put(out, &n, "broker.id", number(a, q->conn->door->options.node_id), TYPE_INT, true);
    put(out, &n, "default.replication.factor", BYTES_LIT("1"), TYPE_INT, true);
    put(out, &n, "delete.topic.enable", BYTES_LIT("true"), TYPE_BOOLEAN, true);
    put(out, &n, "fetch.max.bytes", number(a, LIMIT_FETCH_BYTES_MAX), TYPE_INT, true);
    put(out, &n, "group.initial.rebalance.delay.ms",
        number(a, o->group_initial_delay_ms < 0 ? 0 : o->group_initial_delay_ms), TYPE_INT, true);
    put(out, &n, "group.max.session.timeout.ms", number(a, LIMIT_SESSION_TIMEOUT_MAX_MS), TYPE_INT, true);
    put(out, &n, "group.min.session.timeout.ms", number(a, LIMIT_SESSION_TIMEOUT_MIN_MS), TYPE_INT, true);
    put(out, &n, "log.cleanup.policy", BYTES_LIT("delete"), TYPE_LIST, true);
    put(out, &n, "log.retention.bytes", number(a, or_forever(o->retention_bytes)), TYPE_LONG, true);
    put(out, &n, "log.retention.ms", number(a, or_forever(o->retention_ms)), TYPE_LONG, true);
    put(out, &n, "log.segment.bytes", number(a, (int64_t)o->segment_bytes), TYPE_INT, true);
    put(out, &n, "message.max.bytes", number(a, o->batch_bytes_max), TYPE_INT, true);
    put(out, &n, "min.insync.replicas", BYTES_LIT("1"), TYPE_INT, true);
    put(out, &n, "num.partitions", number(a, o->default_partitions), TYPE_INT, true);
    put(out, &n, "offset.metadata.max.bytes", number(a, LIMIT_OFFSET_METADATA_LEN_MAX), TYPE_INT, true);
    put(out, &n, "offsets.retention.minutes", number(a, o->offsets_retention_ms / 60000), TYPE_INT, true);
    put(out, &n, "socket.request.max.bytes", number(a, LIMIT_REQUEST_BYTES_MAX), TYPE_INT, true);
    return n;
}

/* ---- setting ---- */
static int16_t bad(struct err *e, struct bytes name, const char *what)
{
    (void)err_set(e, ERR_INVALID, "%.*s: %s", BYTES_ARG(name), what);
    return KE_INVALID_CONFIG;
}

/* "delete", "compact" or both, in any order. */
static bool parse_policy(struct bytes v, bool *compact)
{
    bool any = false;

    *compact = false;
    while (v.len > 0) {
        const uint8_t *comma = memchr(v.ptr, ',', v.len);
        struct bytes word = bytes_of(v.ptr, comma ? (size_t)(comma - v.ptr) : v.len);

        v = comma ? bytes_slice(v, word.len + 1, v.len - word.len - 1) : bytes_of(v.ptr + v.len, 0);
        while (word.len > 0 && word.ptr[0] == ' ')
            word = bytes_slice(word, 1, word.len - 1);
        if (bytes_equal_str(word, "compact"))
            *compact = true;
        else if (!bytes_equal_str(word, "delete"))
            return false;
        any = true;
    }
    return any;
}

/* 0 stands for "the default" in topic_config; the smallest time and size are 1. */
static int64_t bound(int64_t v)
{
    return v < 0 ? -1 : v == 0 ? 1 : v;
}

int16_t kafka_topic_config_set(struct topic_config *c, struct bytes name, struct bytes value, struct err *e)
{
    int64_t v = 0;
    bool is_number = value.ptr != NULL && text_parse_i64(value, &v);

    for (size_t i = 0; i < ARRAY_LEN(accepted); i++)
        if (bytes_equal_str(name, accepted[i])) return KE_NONE;
    if (value.ptr == NULL) return bad(e, name, "a value is missing");
    if (bytes_equal_str(name, "cleanup.policy"))
        return parse_policy(value, &c->compact) ? (int16_t)KE_NONE : bad(e, name, "delete, compact or both");
    if (bytes_equal_str(name, "message.timestamp.type")) {
        c->log_append_time = bytes_equal_str(value, "LogAppendTime");
        if (c->log_append_time || bytes_equal_str(value, "CreateTime")) return KE_NONE;
        return bad(e, name, "CreateTime or LogAppendTime");
    }
    if (bytes_equal_str(name, "retention.ms") || bytes_equal_str(name, "retention.bytes")) {
        if (!is_number || v < -1) return bad(e, name, "a number, or -1 for no bound");
        if (bytes_equal_str(name, "retention.ms"))
            c->retention_ms = bound(v);
        else
            c->retention_bytes = bound(v);
        return KE_NONE;
    }
    if (bytes_equal_str(name, "segment.bytes")) {
        if (!is_number || v < (int64_t)LIMIT_SEGMENT_BYTES_MIN || v > (int64_t)LIMIT_SEGMENT_BYTES_MAX)
            return bad(e, name, "4096 to 1073741824");
        c->segment_bytes = (uint64_t)v;
        return KE_NONE;
    }
    if (bytes_equal_str(name, "max.message.bytes")) {
        if (!is_number || v < 1 || v > (int64_t)LIMIT_BATCH_BYTES_MAX) return bad(e, name, "1 to 67108864");
        c->batch_bytes_max = (uint32_t)v;
        return KE_NONE;
    }
    return bad(e, name, "no such configuration");
}

/* ---- describing ---- */
typedef struct kafka_describe_configs_response_result result_out;
typedef struct kafka_describe_configs_request_resource resource_in;

static bool is_wanted(const resource_in *in, const char *name)
{
    for (int32_t i = 0; i < in->configuration_keys.n; i++)
        if (bytes_equal_str(in->configuration_keys.at[i], name)) return true;
    return in->configuration_keys.n <= 0;
}

/* Kafka tells where a value comes from: itself first, then what would hold without it. */
static void put_synonym(struct arena *a, struct kafka_describe_configs_response_config *c)
{
    c->synonyms.at = arena_new(a, struct kafka_describe_configs_response_synonym);
    c->synonyms.n = 1;
    c->synonyms.at[0].name = c->name;
    c->synonyms.at[0].value = c->value;
    c->synonyms.at[0].source = c->config_source;
}

static void describe(struct kafka_request *q, const resource_in *in, bool synonyms, result_out *out)
{
    struct kafka_config_view views[KAFKA_TOPIC_CONFIGS_MAX];
    struct topic *t = in->resource_type == RESOURCE_TOPIC ? topic_find(kafka_broker(q), in->resource_name) : NULL;
    bool is_topic = in->resource_type == RESOURCE_TOPIC;
    int64_t id = -1;
    int n;

    if (is_topic && t == NULL) {
        out->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
        out->error_message = BYTES_LIT("no such topic");
        return;
    }
    if (!is_topic && in->resource_type != RESOURCE_BROKER) {
        out->error_code = KE_INVALID_REQUEST;
        out->error_message = BYTES_LIT("only topics (2) and brokers (4) have configurations here");
        return;
    }
    if (!is_topic && in->resource_name.len > 0 &&
        (!text_parse_i64(in->resource_name, &id) || id != q->conn->door->options.node_id)) {
        out->error_code = KE_INVALID_REQUEST;
        out->error_message = BYTES_LIT("no such broker");
        return;
    }
    n = is_topic ? kafka_topic_configs(kafka_broker(q), topic_config(t), &q->arena, views) : node_configs(q, views);
    out->configs.at = arena_array(&q->arena, (size_t)n, sizeof *out->configs.at);
    for (int i = 0; i < n; i++) {
        struct kafka_describe_configs_response_config *c = &out->configs.at[out->configs.n];

        if (!is_wanted(in, views[i].name)) continue;
        wire_init(&kafka_describe_configs_response_config_wire, c);
        c->name = bytes_str(views[i].name);
        c->value = views[i].value;
        c->config_type = views[i].type;
        c->is_default = views[i].is_default;
        c->read_only = !is_topic;
        c->config_source = views[i].is_default ? SOURCE_DEFAULT : is_topic ? SOURCE_TOPIC : SOURCE_STATIC_BROKER;
        if (synonyms) put_synonym(&q->arena, c);
        out->configs.n++;
    }
}

void kafka_handle_describe_configs(struct kafka_request *q, void *body)
{
    const struct kafka_describe_configs_request *in = body;
    struct kafka_describe_configs_response out;

    wire_init(&kafka_describe_configs_response_wire, &out);
    out.results.n = in->resources.n;
    out.results.at = arena_array(&q->arena, (size_t)in->resources.n, sizeof *out.results.at);
    for (int32_t i = 0; i < in->resources.n; i++) {
        result_out *r = &out.results.at[i];

        if (!kafka_answer_fits(q)) return;
        wire_init(&kafka_describe_configs_response_result_wire, r);
        r->resource_type = in->resources.at[i].resource_type;
        r->resource_name = in->resources.at[i].resource_name;
        describe(q, &in->resources.at[i], in->include_synonyms, r);
    }
    kafka_reply(q, &out);
}
