/* ApiVersions: what this door serves. */
#include "door/kafka/kafka_int.h"

static bool is_alnum(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Kafka's rule for software names and versions: [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? */
static bool is_software_name(struct bytes v)
{
    if (v.len == 0 || !is_alnum(v.ptr[0]) || !is_alnum(v.ptr[v.len - 1])) return false;
    for (size_t i = 0; i < v.len; i++)
        if (!is_alnum(v.ptr[i]) && v.ptr[i] != '-' && v.ptr[i] != '.') return false;
    return true;
}

/* What Kafka calls features. Min is what is supported from; `level` is in force. Before version 4 a client takes a
 * minimum of 0 for an error, so the supported range is not told, but the level is. */
static const struct feature {
    const char *name;
    int16_t min, max, level;
} features[] = {
    {"group.version", 0, 1, 1},       /* 1: KIP-848, ConsumerGroupHeartbeat */
    {"transaction.version", 0, 2, 2}, /* 2: KIP-890, Produce 12, EndTxn 5 */
};

static void put_features(struct kafka_request *q, struct kafka_api_versions_response *out)
{
    out->supported_features.at = arena_array(&q->arena, ARRAY_LEN(features), sizeof *out->supported_features.at);
    out->finalized_features.at = arena_array(&q->arena, ARRAY_LEN(features), sizeof *out->finalized_features.at);
    out->finalized_features_epoch = broker_epoch(kafka_broker(q));
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature *f = &features[i];

        if (f->min > 0 || kafka_version(q) >= 4) {
            out->supported_features.at[out->supported_features.n].name = bytes_str(f->name);
            out->supported_features.at[out->supported_features.n].min_version = f->min;
            out->supported_features.at[out->supported_features.n++].max_version = f->max;
        }
        out->finalized_features.at[i].name = bytes_str(f->name);
        out->finalized_features.at[i].max_version_level = f->level;
        out->finalized_features.at[i].min_version_level = f->level;
    }
    out->finalized_features.n = (int32_t)ARRAY_LEN(features);
}

void kafka_handle_api_versions(struct kafka_request *q, void *body)
{
    const struct kafka_api_versions_request *in = body;
    struct kafka_api_versions_response out;

    wire_init(&kafka_api_versions_response_wire, &out);
    if (kafka_version(q) >= 3 &&
        (!is_software_name(in->client_software_name) || !is_software_name(in->client_software_version))) {
        out.error_code = KE_INVALID_REQUEST;
        kafka_reply(q, &out);
        return;
    }
    out.api_keys.at = arena_array(&q->arena, KAFKA_MESSAGE_COUNT, sizeof *out.api_keys.at);
    out.api_keys.n = KAFKA_MESSAGE_COUNT;
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++) {
        out.api_keys.at[i].key = kafka_messages[i].key;
        out.api_keys.at[i].min_version = kafka_messages[i].low;
        out.api_keys.at[i].max_version = kafka_messages[i].high;
    }
    if (kafka_version(q) >= 3) put_features(q, &out);
    kafka_reply(q, &out);
}

void kafka_reply_api_versions_unsupported(struct kafka_request *q)
{
    struct kafka_api_versions_response_api_key key = {
        .key = KAFKA_API_VERSIONS, .min_version = q->message->low, .max_version = q->message->high};
    struct kafka_api_versions_response out;

    wire_init(&kafka_api_versions_response_wire, &out);
    out.error_code = KE_UNSUPPORTED_VERSION;
    out.api_keys.at = &key;
    out.api_keys.n = 1;
    q->header.version = 0; /* every client can read that */
    kafka_reply(q, &out);
}
