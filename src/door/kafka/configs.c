/* DescribeConfigs: the configuration of topics (topic_config.c) and of the node under Kafka's names. */
#include "door/kafka/kafka_int.h"

#include "base/text.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

static void put(struct kafka_config_view *out, int *n, const char *name, struct bytes value, int8_t type,
                bool is_default)
{
    check(*n < KAFKA_CONFIGS_MAX);
    int8_t source = is_default ? KAFKA_SOURCE_DEFAULT : KAFKA_SOURCE_BROKER;
    out[(*n)++] = (struct kafka_config_view){
        .name = name, .value = value, .type = type, .source = source, .synonyms = {{name, value, source}}, 1};
}

static struct bytes number(struct arena *a, int64_t v)
{
    return bytes_str(arena_printf(a, "%lld", (long long)v));
}

static int64_t or_forever(int64_t v)
{
    return v < 0 ? -1 : v;
}

static int node_configs(struct kafka_request *q, struct kafka_config_view *out)
{
    const struct broker_options *o = broker_options(kafka_broker(q));
    struct arena *a = &q->arena;
    int n = 0;

    put(out, &n, "auto.create.topics.enable", o->no_auto_create ? BYTES_LIT("false") : BYTES_LIT("true"),
        KAFKA_TYPE_BOOLEAN, !o->no_auto_create);
    put(out, &n, "broker.id", number(a, q->conn->door->options.node_id), KAFKA_TYPE_INT, true);
    put(out, &n, "default.replication.factor", BYTES_LIT("1"), KAFKA_TYPE_INT, true);
    put(out, &n, "delete.topic.enable", BYTES_LIT("true"), KAFKA_TYPE_BOOLEAN, true);
    put(out, &n, "fetch.max.bytes", number(a, LIMIT_FETCH_BYTES_MAX), KAFKA_TYPE_INT, true);
    put(out, &n, "group.initial.rebalance.delay.ms",
        number(a, o->group_initial_delay_ms < 0 ? 0 : o->group_initial_delay_ms), KAFKA_TYPE_INT, true);
    put(out, &n, "group.max.session.timeout.ms", number(a, LIMIT_SESSION_TIMEOUT_MAX_MS), KAFKA_TYPE_INT, true);
    put(out, &n, "group.min.session.timeout.ms", number(a, LIMIT_SESSION_TIMEOUT_MIN_MS), KAFKA_TYPE_INT, true);
    put(out, &n, "log.cleanup.policy", BYTES_LIT("delete"), KAFKA_TYPE_LIST, true);
    put(out, &n, "log.retention.bytes", number(a, or_forever(o->retention_bytes)), KAFKA_TYPE_LONG, true);
    put(out, &n, "log.retention.ms", number(a, or_forever(o->retention_ms)), KAFKA_TYPE_LONG, true);
    put(out, &n, "log.segment.bytes", number(a, (int64_t)o->segment_bytes), KAFKA_TYPE_INT, true);
    put(out, &n, "message.max.bytes", number(a, o->batch_bytes_max), KAFKA_TYPE_INT, true);
    put(out, &n, "min.insync.replicas", BYTES_LIT("1"), KAFKA_TYPE_INT, true);
    put(out, &n, "num.partitions", number(a, o->default_partitions), KAFKA_TYPE_INT, true);
    put(out, &n, "offset.metadata.max.bytes", number(a, LIMIT_OFFSET_METADATA_LEN_MAX), KAFKA_TYPE_INT, true);
    put(out, &n, "offsets.retention.minutes", number(a, o->offsets_retention_ms / 60000), KAFKA_TYPE_INT, true);
    put(out, &n, "socket.request.max.bytes", number(a, LIMIT_REQUEST_BYTES_MAX), KAFKA_TYPE_INT, true);
    return n;
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

static void put_synonyms(struct arena *a, const struct kafka_config_view *v,
                         struct kafka_describe_configs_response_config *c)
{
    c->synonyms.at = arena_array(a, (size_t)v->n_synonyms, sizeof *c->synonyms.at);
    c->synonyms.n = v->n_synonyms;
    for (int i = 0; i < v->n_synonyms; i++) {
        c->synonyms.at[i].name = bytes_str(v->synonyms[i].name);
        c->synonyms.at[i].value = v->synonyms[i].value;
        c->synonyms.at[i].source = v->synonyms[i].source;
    }
}

static void describe(struct kafka_request *q, const resource_in *in, bool synonyms, result_out *out)
{
    struct kafka_config_view views[KAFKA_CONFIGS_MAX];
    struct topic *t = in->resource_type == RESOURCE_TOPIC ? topic_find(kafka_broker(q), in->resource_name) : NULL;
    bool is_topic = in->resource_type == RESOURCE_TOPIC;
    int64_t id = -1;
    int n;

    if (!(is_topic ? kafka_may(q, ACL_DESCRIBE_CONFIGS, ACL_TOPIC, in->resource_name)
                   : kafka_may(q, ACL_DESCRIBE_CONFIGS, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME)))) {
        out->error_code = is_topic ? KE_TOPIC_AUTHORIZATION_FAILED : KE_CLUSTER_AUTHORIZATION_FAILED;
        out->error_message = BYTES_LIT("not allowed to see this configuration");
        return;
    }
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
    n = is_topic ? kafka_topic_configs(kafka_broker(q), topic_config_given(t), &q->arena, views)
                 : node_configs(q, views);
    out->configs.at = arena_array(&q->arena, (size_t)n, sizeof *out->configs.at);
    for (int i = 0; i < n; i++) {
        struct kafka_describe_configs_response_config *c = &out->configs.at[out->configs.n];

        if (!is_wanted(in, views[i].name)) continue;
        wire_init(&kafka_describe_configs_response_config_wire, c);
        c->name = bytes_str(views[i].name);
        c->value = views[i].value;
        c->config_type = views[i].type;
        c->is_default = views[i].source == KAFKA_SOURCE_DEFAULT;
        c->read_only = !is_topic;
        c->config_source = views[i].source;
        if (synonyms) put_synonyms(&q->arena, &views[i], c);
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
