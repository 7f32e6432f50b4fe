/* What tools ask about a cluster, answered for one node: where the logs lie, who leads, who moves, who produces.
 *
 * There is one replica of each partition, and it is here: no election is ever needed, and a reassignment to where a
 * partition is already has nothing to do. */
#include "door/kafka/kafka_int.h"

#include <stdlib.h>

#define RESOURCE_TOPIC 2
#define RESOURCE_BROKER 4
#define RESOURCE_BROKER_LOGGER 8
#define RESOURCE_CLIENT_METRICS 16
#define RESOURCE_GROUP 32
#define DESCRIBE_PARTITIONS_MAX 2000 /* of one answer, as Kafka's max.request.partition.size.limit */

static bool may_cluster(const struct kafka_request *q, enum acl_operation op)
{
    return kafka_may(q, op, ACL_CLUSTER, bytes_str(ACL_CLUSTER_NAME));
}

static struct partition *find_partition(struct kafka_request *q, struct bytes topic, int32_t index)
{
    struct topic *t = topic_find(kafka_broker(q), topic);

    return t ? topic_partition(t, index) : NULL;
}

/* ---- where the logs lie ---- */
typedef struct kafka_describe_log_dirs_response_result dir_out;

static void put_dir_topic(struct kafka_request *q, struct topic *t, const int32_t *only, int32_t n_only, dir_out *dir)
{
    struct kafka_describe_log_dirs_response_topic *to = &dir->topics.at[dir->topics.n++];
    int32_t n = only ? n_only : topic_partition_count(t);

    to->name = topic_name(t);
    to->partitions.at = arena_array(&q->arena, (size_t)n, sizeof *to->partitions.at);
    for (int32_t i = 0; i < n; i++) {
        int32_t index = only ? only[i] : i;
        struct partition *p = topic_partition(t, index);

        if (p == NULL) continue;
        to->partitions.at[to->partitions.n].index = index;
        to->partitions.at[to->partitions.n++].size = (int64_t)log_size_bytes(partition_log(p));
    }
}

static void put_dir_topics(struct kafka_request *q, const struct kafka_describe_log_dirs_request *in, dir_out *dir)
{
    struct broker *b = kafka_broker(q);
    uint32_t pos = 0;
    int32_t n = in->topics.n;
    struct topic *t;

    if (n < 0) {
        for (n = 0; topic_next(b, &pos) != NULL;)
            n++;
    }
    dir->topics.at = arena_array(&q->arena, (size_t)n, sizeof *dir->topics.at);
    pos = 0;
    while (in->topics.n < 0 && (t = topic_next(b, &pos)) != NULL)
        put_dir_topic(q, t, NULL, 0, dir);
    for (int32_t i = 0; i < in->topics.n; i++) { /* What is not here has no directory: it is left out. */
        t = topic_find(b, in->topics.at[i].topic);
        if (t != NULL) put_dir_topic(q, t, in->topics.at[i].partitions.at, in->topics.at[i].partitions.n, dir);
    }
}

void kafka_handle_describe_log_dirs(struct kafka_request *q, void *body)
{
    struct kafka_describe_log_dirs_response out;
    const struct sys *sys = q->conn->door->sys;
    struct fs_space space;
    dir_out dir;

    wire_init(&kafka_describe_log_dirs_response_wire, &out);
    wire_init(&kafka_describe_log_dirs_response_result_wire, &dir);
    if (!may_cluster(q, ACL_DESCRIBE)) {
        out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    dir.log_dir = bytes_str(broker_options(kafka_broker(q))->data_dir);
    put_dir_topics(q, body, &dir);
    if (sys->fs->space(sys->fs, broker_options(kafka_broker(q))->data_dir, &space, NULL) == ERR_NONE) {
        dir.total_bytes = (int64_t)space.total_bytes;
        dir.usable_bytes = (int64_t)space.free_bytes;
    }
    out.results.at = &dir;
    out.results.n = 1;
    kafka_reply(q, &out);
}

/* ---- who leads ---- */
void kafka_handle_elect_leaders(struct kafka_request *q, void *body)
{
    const struct kafka_elect_leaders_request *in = body;
    struct kafka_elect_leaders_response out;
    bool may = may_cluster(q, ACL_ALTER);

    wire_init(&kafka_elect_leaders_response_wire, &out);
    if (!may) out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    /* Of all partitions (null) those are told that needed one: none. */
    out.results.n = in->topics.n < 0 ? 0 : in->topics.n;
    out.results.at = arena_array(&q->arena, (size_t)out.results.n, sizeof *out.results.at);
    for (int32_t i = 0; i < out.results.n; i++) {
        struct kafka_elect_leaders_response_result *to = &out.results.at[i];

        to->topic = in->topics.at[i].topic;
        to->partitions.n = in->topics.at[i].partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)to->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < to->partitions.n; j++) {
            struct kafka_elect_leaders_response_partition *p = &to->partitions.at[j];

            p->index = in->topics.at[i].partitions.at[j];
            p->error_message = BYTES_LIT("the leader is the only replica");
            p->error_code = KE_ELECTION_NOT_NEEDED;
            if (find_partition(q, to->topic, p->index) == NULL) {
                p->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
                p->error_message = BYTES_LIT("no such topic or partition");
            }
            if (may) continue;
            p->error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
            p->error_message = BYTES_NULL;
        }
    }
    kafka_reply(q, &out);
}

/* ---- who moves ---- */
static int16_t reassign(struct kafka_request *q, struct bytes topic,
                        const struct kafka_alter_partition_reassignments_request_partition *in, struct bytes *why)
{
    int32_t node = q->conn->door->options.node_id;

    if (find_partition(q, topic, in->index) == NULL) {
        *why = BYTES_LIT("no such topic or partition");
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (in->replicas.n < 0) {
        *why = BYTES_LIT("nothing is being moved");
        return KE_NO_REASSIGNMENT_IN_PROGRESS;
    }
    if (in->replicas.n == 1 && in->replicas.at[0] == node) return KE_NONE; /* It is there. */
    *why = bytes_str(arena_printf(&q->arena, "there is one node, %d", (int)node));
    return KE_INVALID_REPLICA_ASSIGNMENT;
}

void kafka_handle_alter_partition_reassignments(struct kafka_request *q, void *body)
{
    const struct kafka_alter_partition_reassignments_request *in = body;
    struct kafka_alter_partition_reassignments_response out;

    wire_init(&kafka_alter_partition_reassignments_response_wire, &out);
    out.error_message = BYTES_NULL;
    out.allow_replication_factor_change = in->allow_replication_factor_change;
    if (!may_cluster(q, ACL_ALTER)) {
        out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    out.responses.n = in->topics.n;
    out.responses.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.responses.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_alter_partition_reassignments_response_topic *to = &out.responses.at[i];

        to->name = in->topics.at[i].name;
        to->partitions.n = in->topics.at[i].partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)to->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < to->partitions.n; j++) {
            to->partitions.at[j].index = in->topics.at[i].partitions.at[j].index;
            to->partitions.at[j].error_message = BYTES_NULL;
            to->partitions.at[j].error_code =
                reassign(q, to->name, &in->topics.at[i].partitions.at[j], &to->partitions.at[j].error_message);
        }
    }
    kafka_reply(q, &out);
}

void kafka_handle_list_partition_reassignments(struct kafka_request *q, void *body)
{
    struct kafka_list_partition_reassignments_response out;

    (void)body;
    wire_init(&kafka_list_partition_reassignments_response_wire, &out);
    out.error_message = BYTES_NULL;
    if (!may_cluster(q, ACL_DESCRIBE)) out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    kafka_reply(q, &out);
}

/* ---- who produces ---- */
struct producing {
    struct arena *arena;
    struct kafka_describe_producers_response_partition *out;
    int32_t cap;
};

static void put_producer(void *arg, const struct partition_producer *from)
{
    struct producing *l = arg;
    struct kafka_describe_producers_response_producer *to;

    if (l->out->producers.n == l->cap) {
        int32_t cap = l->cap ? 2 * l->cap : 16;
        struct kafka_describe_producers_response_producer *at = arena_array(l->arena, (size_t)cap, sizeof *at);

        if (l->cap > 0) memcpy(at, l->out->producers.at, (size_t)l->cap * sizeof *at);
        l->out->producers.at = at;
        l->cap = cap;
    }
    to = &l->out->producers.at[l->out->producers.n++];
    to->producer_id = from->producer_id;
    to->producer_epoch = from->epoch;
    to->last_sequence = from->last_sequence;
    to->last_timestamp = from->used_ms;
    to->coordinator_epoch = -1; /* not kept */
    to->current_txn_start_offset = from->open_first;
}

void kafka_handle_describe_producers(struct kafka_request *q, void *body)
{
    const struct kafka_describe_producers_request *in = body;
    struct kafka_describe_producers_response out;

    wire_init(&kafka_describe_producers_response_wire, &out);
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_describe_producers_response_topic *to = &out.topics.at[i];
        bool may = kafka_may(q, ACL_READ, ACL_TOPIC, in->topics.at[i].name);

        to->name = in->topics.at[i].name;
        to->partitions.n = in->topics.at[i].partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)to->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < to->partitions.n; j++) {
            struct producing l = {.arena = &q->arena, .out = &to->partitions.at[j]};
            struct partition *p = find_partition(q, to->name, in->topics.at[i].partitions.at[j]);

            if (!kafka_answer_fits(q)) return;
            wire_init(&kafka_describe_producers_response_partition_wire, l.out);
            l.out->index = in->topics.at[i].partitions.at[j];
            if (!may)
                l.out->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            else if (p == NULL)
                l.out->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
            else
                partition_producers_each(p, put_producer, &l);
        }
    }
    kafka_reply(q, &out);
}

/* ---- what has a configuration ---- */
static bool is_listed(const struct topic *t)
{
    struct bytes name = topic_name(t);

    return !topic_is_internal(t) || (name.len >= 2 && memcmp(name.ptr, "__", 2) == 0);
}

static bool type_wanted(const struct kafka_list_config_resources_request *in, int version, int8_t type)
{
    if (version == 0) return type == RESOURCE_CLIENT_METRICS; /* The version knew nothing else. */
    for (int32_t i = 0; i < in->resource_types.n; i++)
        if (in->resource_types.at[i] == type) return true;
    return in->resource_types.n == 0;
}

void kafka_handle_list_config_resources(struct kafka_request *q, void *body)
{
    const struct kafka_list_config_resources_request *in = body;
    struct kafka_list_config_resources_response out;
    struct broker *b = kafka_broker(q);
    uint32_t pos = 0;
    int32_t n = 1;

    wire_init(&kafka_list_config_resources_response_wire, &out);
    if (!may_cluster(q, ACL_DESCRIBE_CONFIGS)) out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    for (int32_t i = 0; i < in->resource_types.n; i++) {
        int8_t t = in->resource_types.at[i];

        if (t != RESOURCE_TOPIC && t != RESOURCE_BROKER && t != RESOURCE_BROKER_LOGGER &&
            t != RESOURCE_CLIENT_METRICS && t != RESOURCE_GROUP)
            out.error_code = KE_UNSUPPORTED_VERSION;
    }
    if (out.error_code != KE_NONE) {
        kafka_reply(q, &out);
        return;
    }
    while (topic_next(b, &pos) != NULL)
        n++;
    out.resources.at = arena_array(&q->arena, (size_t)n, sizeof *out.resources.at);
    pos = 0;
    for (const struct topic *t;
         type_wanted(in, kafka_version(q), RESOURCE_TOPIC) && (t = topic_next(b, &pos)) != NULL;) {
        if (!is_listed(t)) continue;
        out.resources.at[out.resources.n].name = topic_name(t);
        out.resources.at[out.resources.n++].type = RESOURCE_TOPIC;
    }
    if (type_wanted(in, kafka_version(q), RESOURCE_BROKER)) {
        out.resources.at[out.resources.n].name =
            bytes_str(arena_printf(&q->arena, "%d", (int)q->conn->door->options.node_id));
        out.resources.at[out.resources.n++].type = RESOURCE_BROKER;
    }
    kafka_reply(q, &out);
}

/* ---- DescribeTopicPartitions: topics by name, in portions ---- */
typedef struct kafka_describe_topic_partitions_response_topic portion_out;

static int by_name(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* The names asked for (none: all that are listed and may be seen), sorted, each once. */
static struct bytes *sorted_names(struct kafka_request *q, const struct kafka_describe_topic_partitions_request *in,
                                  int32_t *n_out)
{
    struct broker *b = kafka_broker(q);
    struct bytes *names;
    uint32_t pos = 0;
    int32_t n = in->topics.n, unique = 0;

    for (; in->topics.n <= 0 && topic_next(b, &pos) != NULL;)
        n = n < 0 ? 1 : n + 1;
    names = arena_array(&q->arena, (size_t)n + 1, sizeof *names);
    pos = 0;
    n = 0;
    for (int32_t i = 0; i < in->topics.n; i++)
        names[n++] = in->topics.at[i].name;
    for (const struct topic *t; in->topics.n <= 0 && (t = topic_next(b, &pos)) != NULL;)
        if (is_listed(t) && kafka_may_see(q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t))) names[n++] = topic_name(t);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int32_t i = 0; i < n; i++)
        if (unique == 0 || !bytes_equal(names[unique - 1], names[i])) names[unique++] = names[i];
    *n_out = unique;
    return names;
}

/* Partitions [from, from + room); the number of the next one, or -1: all are told. */
static int32_t put_portion(struct kafka_request *q, struct bytes name, int32_t from, int32_t room, portion_out *out)
{
    struct topic *t = topic_find(kafka_broker(q), name);
    int32_t *self = arena_new(&q->arena, int32_t);
    int32_t n;

    wire_init(&kafka_describe_topic_partitions_response_topic_wire, out);
    out->name = name;
    if (!kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, name))
        out->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
    else if (t == NULL)
        out->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
    if (out->error_code != KE_NONE) return -1;
    *self = q->conn->door->options.node_id;
    memcpy(out->topic_id, topic_uuid(t), 16);
    out->is_internal = topic_is_internal(t);
    n = topic_partition_count(t) - from;
    if (n < 0) n = 0;
    if (n > room) n = room;
    out->partitions.n = n;
    out->partitions.at = arena_array(&q->arena, (size_t)n, sizeof *out->partitions.at);
    for (int32_t i = 0; i < n; i++) {
        struct kafka_describe_topic_partitions_response_partition *p = &out->partitions.at[i];

        wire_init(&kafka_describe_topic_partitions_response_partition_wire, p);
        p->index = from + i;
        p->leader_id = *self;
        p->leader_epoch = broker_epoch(kafka_broker(q));
        p->replica_nodes.at = p->isr_nodes.at = self;
        p->replica_nodes.n = p->isr_nodes.n = 1;
    }
    return from + n < topic_partition_count(t) ? from + n : -1;
}

void kafka_handle_describe_topic_partitions(struct kafka_request *q, void *body)
{
    const struct kafka_describe_topic_partitions_request *in = body;
    struct kafka_describe_topic_partitions_response out;
    struct kafka_describe_topic_partitions_response_next_cursor cursor;
    struct bytes start = in->cursor.n == 1 ? in->cursor.at[0].topic_name : BYTES_LIT("");
    int32_t room = in->response_partition_limit, n;
    struct bytes *names = sorted_names(q, in, &n);

    wire_init(&kafka_describe_topic_partitions_response_wire, &out);
    if (room < 1 || room > DESCRIBE_PARTITIONS_MAX) room = DESCRIBE_PARTITIONS_MAX;
    out.topics.at = arena_array(&q->arena, (size_t)n, sizeof *out.topics.at);
    for (int32_t i = 0; i < n; i++) {
        bool is_first = in->cursor.n == 1 && bytes_equal(names[i], start);
        int32_t from = is_first && in->cursor.at[0].partition_index > 0 ? in->cursor.at[0].partition_index : 0;

        if (bytes_compare(names[i], start) < 0) continue;
        if (!kafka_answer_fits(q)) return;
        if (room > 0) {
            portion_out *to = &out.topics.at[out.topics.n++];

            from = put_portion(q, names[i], from, room, to);
            room -= to->partitions.n;
            if (from < 0) continue;
        }
        cursor.topic_name = names[i];
        cursor.partition_index = from;
        out.next_cursor.at = &cursor;
        out.next_cursor.n = 1;
        break;
    }
    kafka_reply(q, &out);
}
