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
