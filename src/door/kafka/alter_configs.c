/* AlterConfigs and IncrementalAlterConfigs: the older one replaces all that is set on a topic, the newer one changes
 * what it names. A resource is altered whole or not at all, and the answer says that it is durable and holds. */
#include "door/kafka/kafka_int.h"

#include "base/map.h"

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };

/* A topic may be named once in a request: what two changes at once would mean is anybody's guess. */
struct seen {
    struct map names;
    char once, more;
};

static void seen_add(struct seen *s, int8_t type, struct bytes name)
{
    if (type == RESOURCE_TOPIC && map_put(&s->names, name, &s->once) != NULL) (void)map_put(&s->names, name, &s->more);
}

static int16_t find(struct kafka_request *q, const struct seen *s, int8_t type, struct bytes name, struct topic **out,
                    struct err *e)
{
    if (!(type == RESOURCE_TOPIC ? kafka_may(q, ACL_ALTER_CONFIGS, ACL_TOPIC, name)
                                 : kafka_may(q, ACL_ALTER_CONFIGS, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME)))) {
        (void)err_set(e, ERR_DENIED, "not allowed to alter this configuration");
        return type == RESOURCE_TOPIC ? KE_TOPIC_AUTHORIZATION_FAILED : KE_CLUSTER_AUTHORIZATION_FAILED;
    }
    if (type != RESOURCE_TOPIC) {
        (void)err_set(e, ERR_UNSUPPORTED,
                      type == RESOURCE_BROKER ? "the broker's configuration is given when it is started"
                                              : "only topics (2) can be altered");
        return KE_INVALID_REQUEST;
    }
    if (map_get(&s->names, name) != &s->once) {
        (void)err_set(e, ERR_INVALID, "the topic is named twice");
        return KE_INVALID_REQUEST;
    }
    *out = topic_find(kafka_broker(q), name);
    if (*out == NULL) {
        (void)err_set(e, ERR_NOT_FOUND, "no such topic");
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (topic_is_internal(*out)) {
        (void)err_set(e, ERR_DENIED, "the topic is internal");
        return KE_INVALID_TOPIC;
    }
    return KE_NONE;
}

static int16_t apply(struct kafka_request *q, struct topic *t, const struct topic_config *c, bool validate_only,
                     struct err *e)
{
    if (validate_only) return KE_NONE;
    int16_t error = kafka_error_of(topic_alter(kafka_broker(q), t, c, e));
    kafka_audit(q, "topic.configs", topic_name(t), error);
    return error;
}

void kafka_handle_alter_configs(struct kafka_request *q, void *body)
{
    const struct kafka_alter_configs_request *in = body;
    struct kafka_alter_configs_response out;
    struct seen seen;
    struct err e;

    wire_init(&kafka_alter_configs_response_wire, &out);
    out.responses.n = in->resources.n;
    out.responses.at = arena_array(&q->arena, (size_t)in->resources.n, sizeof *out.responses.at);
    map_init(&seen.names);
    for (int32_t i = 0; i < in->resources.n; i++)
        seen_add(&seen, in->resources.at[i].resource_type, in->resources.at[i].resource_name);
    for (int32_t i = 0; i < in->resources.n; i++) {
        const struct kafka_alter_configs_request_resource *r = &in->resources.at[i];
        struct kafka_alter_configs_response_response *to = &out.responses.at[i];
        struct topic_config config = {0};
        struct topic *t = NULL;

        if (!kafka_answer_fits(q)) goto done;
        wire_init(&kafka_alter_configs_response_response_wire, to);
        to->resource_type = r->resource_type;
        to->resource_name = r->resource_name;
        to->error_code = find(q, &seen, r->resource_type, r->resource_name, &t, &e);
        for (int32_t j = 0; to->error_code == KE_NONE && j < r->configs.n; j++)
            to->error_code =
                kafka_topic_config_change(&config, KAFKA_CONFIG_SET, r->configs.at[j].name, r->configs.at[j].value, &e);
        if (to->error_code == KE_NONE) to->error_code = apply(q, t, &config, in->validate_only, &e);
        if (to->error_code != KE_NONE) to->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);

done:
    map_deinit(&seen.names);
}

static int16_t change(struct topic_config *c, const struct kafka_incremental_alter_configs_request_config *in,
                      uint64_t *done, struct err *e)
{
    int index = kafka_topic_config_index(in->name);

    if (index >= 0 && *done & 1ull << index) {
        (void)err_set(e, ERR_INVALID, "%.*s is changed twice", BYTES_ARG(in->name));
        return KE_INVALID_REQUEST;
    }
    if (index >= 0) *done |= 1ull << index;
    return kafka_topic_config_change(c, in->config_operation, in->name, in->value, e);
}

void kafka_handle_incremental_alter_configs(struct kafka_request *q, void *body)
{
    const struct kafka_incremental_alter_configs_request *in = body;
    struct kafka_incremental_alter_configs_response out;
    struct seen seen;
    struct err e;

    wire_init(&kafka_incremental_alter_configs_response_wire, &out);
    out.responses.n = in->resources.n;
    out.responses.at = arena_array(&q->arena, (size_t)in->resources.n, sizeof *out.responses.at);
    map_init(&seen.names);
    for (int32_t i = 0; i < in->resources.n; i++)
        seen_add(&seen, in->resources.at[i].resource_type, in->resources.at[i].resource_name);
    for (int32_t i = 0; i < in->resources.n; i++) {
        const struct kafka_incremental_alter_configs_request_resource *r = &in->resources.at[i];
        struct kafka_incremental_alter_configs_response_response *to = &out.responses.at[i];
        struct topic_config config = {0};
        struct topic *t = NULL;
        uint64_t done = 0;

        if (!kafka_answer_fits(q)) goto done;
        wire_init(&kafka_incremental_alter_configs_response_response_wire, to);
        to->resource_type = r->resource_type;
        to->resource_name = r->resource_name;
        to->error_code = find(q, &seen, r->resource_type, r->resource_name, &t, &e);
        if (to->error_code == KE_NONE) config = *topic_config_given(t);
        for (int32_t j = 0; to->error_code == KE_NONE && j < r->configs.n; j++)
            to->error_code = change(&config, &r->configs.at[j], &done, &e);
        if (to->error_code == KE_NONE) to->error_code = apply(q, t, &config, in->validate_only, &e);
        if (to->error_code != KE_NONE) to->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);

done:
    map_deinit(&seen.names);
}
