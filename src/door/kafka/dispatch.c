/* From a frame to its handler: which message is it, is that version served, is it well formed. */
#include "door/kafka/kafka_int.h"

typedef void (*handler_fn)(struct kafka_request *q, void *body);

static const struct {
    int16_t key;
    handler_fn handle;
} handlers[KAFKA_MESSAGE_COUNT] = {
    /* The same order as kafka_messages: by key. */
    {KAFKA_PRODUCE, kafka_handle_produce},
    {KAFKA_FETCH, kafka_handle_fetch},
    {KAFKA_LIST_OFFSETS, kafka_handle_list_offsets},
    {KAFKA_METADATA, kafka_handle_metadata},
    {KAFKA_OFFSET_COMMIT, kafka_handle_offset_commit},
    {KAFKA_OFFSET_FETCH, kafka_handle_offset_fetch},
    {KAFKA_FIND_COORDINATOR, kafka_handle_find_coordinator},
    {KAFKA_JOIN_GROUP, kafka_handle_join_group},
    {KAFKA_HEARTBEAT, kafka_handle_heartbeat},
    {KAFKA_LEAVE_GROUP, kafka_handle_leave_group},
    {KAFKA_SYNC_GROUP, kafka_handle_sync_group},
    {KAFKA_DESCRIBE_GROUPS, kafka_handle_describe_groups},
    {KAFKA_LIST_GROUPS, kafka_handle_list_groups},
    {KAFKA_SASL_HANDSHAKE, kafka_handle_sasl_handshake},
    {KAFKA_API_VERSIONS, kafka_handle_api_versions},
    {KAFKA_CREATE_TOPICS, kafka_handle_create_topics},
    {KAFKA_DELETE_TOPICS, kafka_handle_delete_topics},
    {KAFKA_DELETE_RECORDS, kafka_handle_delete_records},
    {KAFKA_INIT_PRODUCER_ID, kafka_handle_init_producer_id},
    {KAFKA_OFFSET_FOR_LEADER_EPOCH, kafka_handle_offset_for_leader_epoch},
    {KAFKA_ADD_PARTITIONS_TO_TXN, kafka_handle_add_partitions_to_txn},
    {KAFKA_ADD_OFFSETS_TO_TXN, kafka_handle_add_offsets_to_txn},
    {KAFKA_END_TXN, kafka_handle_end_txn},
    {KAFKA_TXN_OFFSET_COMMIT, kafka_handle_txn_offset_commit},
    {KAFKA_DESCRIBE_ACLS, kafka_handle_describe_acls},
    {KAFKA_CREATE_ACLS, kafka_handle_create_acls},
    {KAFKA_DELETE_ACLS, kafka_handle_delete_acls},
    {KAFKA_DESCRIBE_CONFIGS, kafka_handle_describe_configs},
    {KAFKA_ALTER_CONFIGS, kafka_handle_alter_configs},
    {KAFKA_DESCRIBE_LOG_DIRS, kafka_handle_describe_log_dirs},
    {KAFKA_SASL_AUTHENTICATE, kafka_handle_sasl_authenticate},
    {KAFKA_CREATE_PARTITIONS, kafka_handle_create_partitions},
    {KAFKA_DELETE_GROUPS, kafka_handle_delete_groups},
    {KAFKA_ELECT_LEADERS, kafka_handle_elect_leaders},
    {KAFKA_INCREMENTAL_ALTER_CONFIGS, kafka_handle_incremental_alter_configs},
    {KAFKA_ALTER_PARTITION_REASSIGNMENTS, kafka_handle_alter_partition_reassignments},
    {KAFKA_LIST_PARTITION_REASSIGNMENTS, kafka_handle_list_partition_reassignments},
    {KAFKA_OFFSET_DELETE, kafka_handle_offset_delete},
    {KAFKA_DESCRIBE_CLIENT_QUOTAS, kafka_handle_describe_client_quotas},
    {KAFKA_ALTER_CLIENT_QUOTAS, kafka_handle_alter_client_quotas},
    {KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, kafka_handle_describe_user_scram_credentials},
    {KAFKA_ALTER_USER_SCRAM_CREDENTIALS, kafka_handle_alter_user_scram_credentials},
    {KAFKA_DESCRIBE_CLUSTER, kafka_handle_describe_cluster},
    {KAFKA_DESCRIBE_PRODUCERS, kafka_handle_describe_producers},
    {KAFKA_DESCRIBE_TRANSACTIONS, kafka_handle_describe_transactions},
    {KAFKA_LIST_TRANSACTIONS, kafka_handle_list_transactions},
    {KAFKA_CONSUMER_GROUP_HEARTBEAT, kafka_handle_consumer_group_heartbeat},
    {KAFKA_CONSUMER_GROUP_DESCRIBE, kafka_handle_consumer_group_describe},
    {KAFKA_LIST_CONFIG_RESOURCES, kafka_handle_list_config_resources},
    {KAFKA_DESCRIBE_TOPIC_PARTITIONS, kafka_handle_describe_topic_partitions},
};

static int find_message(int16_t key)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        if (kafka_messages[i].key == key) return i;
    return -1;
}

/* Advertised is what messages.txt describes. Of that, Produce below 3 is refused on arrival: it would carry the old
 * record formats, but librdkafka before 2.1 compresses only when version 0 is on offer. */
static bool is_served(const struct wire_message *m, int version)
{
    if (m->key == KAFKA_PRODUCE && version < 3) return false;
    return version >= m->low && version <= m->high;
}

/* A verified client certificate is a login. */
static void introduce(struct kafka_conn *c)
{
    if (c->is_introduced) return;
    c->is_introduced = true;
    struct bytes subject = c->door->net->peer_subject(c->door->net, c->net_conn);
    if (subject.len > LIMIT_PRINCIPAL_LEN_MAX - 5 || (subject.len > 0 && memchr(subject.ptr, 0, subject.len) != NULL))
        kafka_conn_fail(c, "the client certificate's name is too long or has a zero byte");
    else if (subject.len > 0)
        kafka_conn_principal(c, subject);
}

void kafka_dispatch(struct kafka_conn *c, uint8_t *frame, size_t len)
{
    struct bytes bytes = bytes_of(frame, len), body;
    const struct wire_message *m;
    struct kafka_request *q;
    struct wire_header h;
    struct err e;
    bool flexible;
    void *decoded;
    int i;

    introduce(c);
    if (c->is_closing) return;
    if (kafka_sasl_is_raw(c->sasl)) {
        kafka_sasl_token(c, bytes);
        return;
    }
    if (!wire_header_peek(bytes, &h)) {
        kafka_conn_fail(c, "a request shorter than its header");
        return;
    }
    i = find_message(h.key);
    m = i < 0 ? NULL : &kafka_messages[i];
    if (m == NULL || (!is_served(m, h.version) && h.key != KAFKA_API_VERSIONS)) {
        kafka_conn_fail(c, "request key %d%s%s version %d is not served", h.key, m ? " " : "", m ? m->name : "",
                        h.version);
        return;
    }
    check(handlers[i].key == h.key);
    const char *why = kafka_sasl_refuses(c, h.key);
    if (why != NULL) {
        kafka_conn_fail(c, "%s: %s", m->name, why);
        return;
    }
    q = kafka_request_begin(c);
    q->message = m;
    q->header = h;
    q->frame = frame;
    q->frame_end = frame + len;
    if (!is_served(m, h.version)) {
        kafka_reply_api_versions_unsupported(q);
        return;
    }
    flexible = wire_is_flexible(m, h.version);
    if (!wire_header_decode(bytes, flexible, &q->header, &body)) {
        kafka_request_fail(q, "%s version %d: malformed header", m->name, h.version);
        return;
    }
    decoded = arena_alloc(&q->arena, m->request->size);
    if (wire_decode(m->request, h.version, flexible, body, &q->arena, decoded, &e) != ERR_NONE) {
        kafka_request_fail(q, "%s", e.text);
        return;
    }
    check(h.version < KAFKA_VERSIONS_MAX);
    c->door->served[i][h.version]++;
    if (UNLIKELY(quotas_any(c->door->broker))) {
        kafka_throttle_begin(q);
        handlers[i].handle(q, decoded);
        kafka_throttle_end(q);
    } else {
        handlers[i].handle(q, decoded);
    }
    kafka_request_account(q);
}

void kafka_advertised(const struct kafka_request *q, struct net_address *out)
{
    const struct kafka_door *d = q->conn->door;

    if (d->options.advertise.host[0] != '\0')
        *out = d->options.advertise;
    else
        d->net->local(d->net, q->conn->net_conn, out);
}
