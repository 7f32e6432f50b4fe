/* Metadata, DescribeCluster and FindCoordinator: who is there. One node is broker, leader, controller and coordinator
 * of everything. A topic that Metadata creates is usable in the same answer. */
#include "door/kafka/kafka_int.h"

#include "base/text.h"

static int32_t cluster_operations(const struct kafka_request *q)
{
    return authorised_operations(kafka_broker(q), &q->conn->session, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME));
}

typedef struct kafka_metadata_response_topic topic_out;

static void describe_topic(struct kafka_request *q, const struct topic *t, topic_out *out)
{
    int32_t *self = arena_new(&q->arena, int32_t);

    *self = q->conn->door->options.node_id;
    out->name = arena_copy(&q->arena, topic_name(t));
    memcpy(out->topic_id, topic_uuid(t), 16);
    out->is_internal = topic_is_internal(t);
    out->partitions.n = topic_partition_count(t);
    out->partitions.at = arena_array(&q->arena, (size_t)out->partitions.n, sizeof *out->partitions.at);
    for (int32_t i = 0; i < out->partitions.n; i++) {
        struct kafka_metadata_response_partition *p = &out->partitions.at[i];

        p->index = i;
        p->leader_id = *self;
        p->leader_epoch = broker_epoch(kafka_broker(q));
        p->replica_nodes.at = p->isr_nodes.at = self;
        p->replica_nodes.n = p->isr_nodes.n = 1;
    }
}

static void find_by_id(struct kafka_request *q, const uint8_t id[16], topic_out *out)
{
    const struct topic *t = topic_find_id(kafka_broker(q), id);

    memcpy(out->topic_id, id, 16);
    out->name = BYTES_NULL;
    if (t == NULL || !kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t)))
        out->error_code = KE_UNKNOWN_TOPIC_ID;
    else
        describe_topic(q, t, out);
}

static bool broker_creates(const struct kafka_request *q, struct bytes name)
{
    return !broker_options(kafka_broker(q))->no_auto_create && text_is_topic_name(name);
}

static void find_by_name(struct kafka_request *q, struct bytes name, bool may_create, topic_out *out)
{
    struct topic *t = topic_find(kafka_broker(q), name);
    enum err_code rc = t ? ERR_NONE : ERR_NOT_FOUND;
    struct err e;

    out->name = name;
    if (!kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, name)) {
        out->error_code = KE_TOPIC_AUTHORIZATION_FAILED; /* whether it exists or not */
        return;
    }
    if (t == NULL && may_create && broker_creates(q, name) && !kafka_may_create_topic(q, name)) {
        out->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        return;
    }
    if (t == NULL && may_create) rc = topic_find_or_create(kafka_broker(q), name, &t, &e);
    out->error_code = rc == ERR_DENIED ? KE_UNKNOWN_TOPIC_OR_PARTITION : kafka_error_of_topic(rc);
    if (rc == ERR_NONE) describe_topic(q, t, out);
}

/* Weir's own bookkeeping topics are shown to who asks for them by name only; those that Kafka has too are listed. */
static bool is_listed(const struct topic *t)
{
    struct bytes name = topic_name(t);

    return !topic_is_internal(t) || (name.len >= 2 && memcmp(name.ptr, "__", 2) == 0);
}

static void list_all(struct kafka_request *q, struct kafka_metadata_response *out)
{
    struct broker *b = kafka_broker(q);
    const struct topic *t;
    uint32_t pos = 0;
    int32_t n = 0;

    while ((t = topic_next(b, &pos)) != NULL)
        n += is_listed(t) && kafka_may_see(q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t));
    out->topics.at = arena_array(&q->arena, (size_t)n, sizeof *out->topics.at);
    pos = 0;
    while ((t = topic_next(b, &pos)) != NULL) {
        topic_out *topic = &out->topics.at[out->topics.n];

        if (!is_listed(t) || !kafka_may_see(q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t))) continue;
        wire_init(&kafka_metadata_response_topic_wire, topic);
        describe_topic(q, t, topic);
        out->topics.n++;
    }
}

void kafka_handle_metadata(struct kafka_request *q, void *body)
{
    const struct kafka_metadata_request *in = body;
    struct kafka_metadata_response_broker self = {.node_id = q->conn->door->options.node_id};
    struct kafka_metadata_response out;
    struct net_address address;

    wire_init(&kafka_metadata_response_wire, &out);
    kafka_advertised(q, &address);
    self.host = bytes_str(address.host);
    self.port = address.port;
    out.brokers.at = &self;
    out.brokers.n = 1;
    out.cluster_id = bytes_str(broker_cluster_id(kafka_broker(q)));
    out.controller_id = self.node_id;
    if (in->topics.n < 0 || (in->topics.n == 0 && kafka_version(q) == 0)) {
        list_all(q, &out);
    } else {
        out.topics.n = in->topics.n;
        out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
        for (int32_t i = 0; i < in->topics.n; i++) {
            topic_out *topic = &out.topics.at[i];

            if (!kafka_answer_fits(q)) return;
            wire_init(&kafka_metadata_response_topic_wire, topic);
            if (in->topics.at[i].name.ptr == NULL)
                find_by_id(q, in->topics.at[i].topic_id, topic);
            else
                find_by_name(q, in->topics.at[i].name, in->allow_auto_topic_creation, topic);
        }
    }
    for (int32_t i = 0; in->include_topic_authorized_operations && i < out.topics.n; i++)
        if (out.topics.at[i].error_code == KE_NONE)
            out.topics.at[i].authorized_operations =
                authorised_operations(kafka_broker(q), &q->conn->session, ACL_TOPIC, out.topics.at[i].name);
    if (in->include_cluster_authorized_operations) out.cluster_authorized_operations = cluster_operations(q);
    kafka_reply(q, &out);
}

void kafka_handle_describe_cluster(struct kafka_request *q, void *body)
{
    const struct kafka_describe_cluster_request *in = body;
    struct kafka_describe_cluster_response_broker self = {.broker_id = q->conn->door->options.node_id};
    struct kafka_describe_cluster_response out;
    struct net_address address;

    wire_init(&kafka_describe_cluster_response_wire, &out);
    kafka_advertised(q, &address);
    self.host = bytes_str(address.host);
    self.port = address.port;
    out.brokers.at = &self;
    out.brokers.n = 1;
    out.cluster_id = bytes_str(broker_cluster_id(kafka_broker(q)));
    out.controller_id = self.broker_id;
    if (in->include_cluster_authorized_operations) out.cluster_authorized_operations = cluster_operations(q);
    if (in->endpoint_type != 1) { /* controllers are no endpoint of their own here */
        out.error_code = KE_INVALID_REQUEST;
        out.error_message = BYTES_LIT("only endpoint type 1 (brokers) is served");
        out.brokers.n = 0;
    }
    kafka_reply(q, &out);
}

/* Groups and transactions live here. */
static int16_t coordinator_error(int8_t key_type, struct bytes *message)
{
    if (key_type == 0 || key_type == 1) return KE_NONE;
    *message = BYTES_LIT("only coordinators of groups and transactions are served");
    return KE_INVALID_REQUEST;
}

/* Whoever asks for a coordinator must be allowed to know of what it coordinates. */
static int16_t coordinator_right(const struct kafka_request *q, int8_t key_type, struct bytes key)
{
    if (key_type == 0 && !kafka_may(q, ACL_DESCRIBE, ACL_GROUP, key)) return KE_GROUP_AUTHORIZATION_FAILED;
    if (key_type == 1 && !kafka_may(q, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, key))
        return KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    return KE_NONE;
}

void kafka_handle_find_coordinator(struct kafka_request *q, void *body)
{
    const struct kafka_find_coordinator_request *in = body;
    struct kafka_find_coordinator_response out;
    struct net_address address;
    int16_t error;
    struct bytes message = BYTES_NULL;
    int32_t node_id = q->conn->door->options.node_id;

    wire_init(&kafka_find_coordinator_response_wire, &out);
    kafka_advertised(q, &address);
    error = coordinator_error(in->key_type, &message);
    if (error == KE_NONE && kafka_version(q) < 4) error = coordinator_right(q, in->key_type, in->key);
    out.error_code = error;
    out.error_message = message;
    out.node_id = error ? -1 : node_id;
    out.host = bytes_str(error ? "" : address.host);
    out.port = error ? -1 : address.port;
    out.coordinators.n = in->coordinator_keys.n;
    out.coordinators.at = arena_array(&q->arena, (size_t)in->coordinator_keys.n, sizeof *out.coordinators.at);
    for (int32_t i = 0; i < in->coordinator_keys.n; i++) {
        struct kafka_find_coordinator_response_coordinator *c = &out.coordinators.at[i];

        int16_t right = error != KE_NONE ? error : coordinator_right(q, in->key_type, in->coordinator_keys.at[i]);

        c->key = in->coordinator_keys.at[i];
        c->node_id = right ? -1 : out.node_id;
        c->host = right ? BYTES_LIT("") : out.host;
        c->port = right ? -1 : out.port;
        c->error_code = right;
        c->error_message = message;
    }
    kafka_reply(q, &out);
}
