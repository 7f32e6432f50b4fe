/* Partitions as things of their own: CreatePartitions, DeleteRecords, OffsetForLeaderEpoch. */
#include "door/kafka/kafka_int.h"

#include "base/map.h"

/* ---- more partitions ---- */
static int16_t check_assignments(struct kafka_request *q, const struct kafka_create_partitions_request_topic *in,
                                 int32_t n_new, struct err *e)
{
    int32_t node = q->conn->door->options.node_id;

    if (in->assignments.n < 0) return KE_NONE;
    if (in->assignments.n != n_new) {
        (void)err_set(e, ERR_INVALID, "%d assignments for %d new partitions", (int)in->assignments.n, (int)n_new);
        return KE_INVALID_REPLICA_ASSIGNMENT;
    }
    for (int32_t i = 0; i < in->assignments.n; i++) {
        const struct kafka_create_partitions_request_assignment *a = &in->assignments.at[i];

        if (a->broker_ids.n == 1 && a->broker_ids.at[0] == node) continue;
        (void)err_set(e, ERR_INVALID, "there is one node, %d", (int)node);
        return KE_INVALID_REPLICA_ASSIGNMENT;
    }
    return KE_NONE;
}

static int16_t add_partitions(struct kafka_request *q, const struct kafka_create_partitions_request_topic *in,
                              bool validate_only, struct err *e)
{
    struct topic *t = topic_find(kafka_broker(q), in->name);
    int16_t error;
    enum err_code rc;
    int32_t had;

    if (t == NULL) {
        (void)err_set(e, ERR_NOT_FOUND, "no such topic");
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    rc = topic_add_partitions_check(t, in->count, e);
    if (rc == ERR_DENIED) return KE_INVALID_TOPIC;
    if (rc != ERR_NONE) return KE_INVALID_PARTITIONS;
    error = check_assignments(q, in, in->count - topic_partition_count(t), e);
    if (error != KE_NONE || validate_only) return error;
    had = topic_partition_count(t);
    rc = topic_add_partitions(kafka_broker(q), t, in->count, e);
    if (rc == ERR_NONE) kafka_throttle_mutations(q, in->count - had);
    return kafka_error_of(rc);
}

void kafka_handle_create_partitions(struct kafka_request *q, void *body)
{
    const struct kafka_create_partitions_request *in = body;
    struct kafka_create_partitions_response out;
    struct map names;
    char once, more;
    struct err e;

    wire_init(&kafka_create_partitions_response_wire, &out);
    out.results.n = in->topics.n;
    out.results.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.results.at);
    map_init(&names);
    for (int32_t i = 0; i < in->topics.n; i++)
        if (map_put(&names, in->topics.at[i].name, &once) != NULL) (void)map_put(&names, in->topics.at[i].name, &more);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_create_partitions_response_result *to = &out.results.at[i];

        if (!kafka_answer_fits(q)) goto done;
        wire_init(&kafka_create_partitions_response_result_wire, to);
        to->name = in->topics.at[i].name;
        if (map_get(&names, to->name) != &once) {
            (void)err_set(&e, ERR_INVALID, "the topic is named twice");
            to->error_code = KE_INVALID_REQUEST;
        } else if (!kafka_may(q, ACL_ALTER, ACL_TOPIC, to->name)) {
            (void)err_set(&e, ERR_DENIED, "not allowed to alter this topic");
            to->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        } else {
            to->error_code = add_partitions(q, &in->topics.at[i], in->validate_only, &e);
        }
        if (!in->validate_only) kafka_audit(q, "topic.partitions", to->name, to->error_code);
        if (to->error_code != KE_NONE) to->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);

done:
    map_deinit(&names);
}

/* ---- fewer records ---- */
void kafka_handle_delete_records(struct kafka_request *q, void *body)
{
    const struct kafka_delete_records_request *in = body;
    struct kafka_delete_records_response out;

    wire_init(&kafka_delete_records_response_wire, &out);
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_delete_records_request_topic *from = &in->topics.at[i];
        struct kafka_delete_records_response_topic *to = &out.topics.at[i];
        struct topic *t = topic_find(kafka_broker(q), from->name);
        bool may = kafka_may(q, ACL_DELETE, ACL_TOPIC, from->name);

        to->name = from->name;
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < from->partitions.n; j++) {
            struct kafka_delete_records_response_partition *r = &to->partitions.at[j];
            struct partition *p = t ? topic_partition(t, from->partitions.at[j].partition_index) : NULL;
            enum err_code rc = !may ? ERR_DENIED
                               : p  ? partition_trim(p, from->partitions.at[j].offset, NULL)
                                    : ERR_NOT_FOUND;

            r->partition_index = from->partitions.at[j].partition_index;
            r->error_code = kafka_error_of(rc);
            r->low_watermark = rc == ERR_NONE ? partition_log_start(p) : -1;
        }
        if (may) kafka_audit(q, "topic.delete_records", from->name, KE_NONE);
    }
    kafka_reply(q, &out);
}

/* ---- where an epoch ended ---- */
/* Consumers ask after a change of the leader whether what they have read still stands: their epoch must not end before
 * their position. Above the high watermark nobody has read anything. */
static int16_t epoch_end(struct kafka_request *q, struct partition *p, int32_t current, int32_t epoch,
                         struct kafka_offset_for_leader_epoch_response_partition *out)
{
    int32_t ours = broker_epoch(kafka_broker(q));

    if (p == NULL) return KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (current > ours) return KE_UNKNOWN_LEADER_EPOCH;
    if (current >= 0 && current < ours) return KE_FENCED_LEADER_EPOCH;
    int64_t end = log_epoch_end(partition_log(p), epoch, &out->leader_epoch), watermark = partition_high_watermark(p);

    out->end_offset = end > watermark ? watermark : end;
    return KE_NONE;
}

void kafka_handle_offset_for_leader_epoch(struct kafka_request *q, void *body)
{
    const struct kafka_offset_for_leader_epoch_request *in = body;
    struct kafka_offset_for_leader_epoch_response out;

    wire_init(&kafka_offset_for_leader_epoch_response_wire, &out);
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_offset_for_leader_epoch_request_topic *from = &in->topics.at[i];
        struct kafka_offset_for_leader_epoch_response_topic *to = &out.topics.at[i];
        struct topic *t = topic_find(kafka_broker(q), from->topic);
        bool may = kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, from->topic);

        to->topic = from->topic;
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < from->partitions.n; j++) {
            struct kafka_offset_for_leader_epoch_response_partition *r = &to->partitions.at[j];

            wire_init(&kafka_offset_for_leader_epoch_response_partition_wire, r);
            r->partition = from->partitions.at[j].partition;
            r->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            if (!may) continue;
            r->error_code =
                epoch_end(q, t ? topic_partition(t, r->partition) : NULL, from->partitions.at[j].current_leader_epoch,
                          from->partitions.at[j].leader_epoch, r);
        }
    }
    kafka_reply(q, &out);
}
