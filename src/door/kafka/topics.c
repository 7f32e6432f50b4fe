/* CreateTopics and DeleteTopics. Both answer when the change is durable, so that every request after the reply agrees
 * with it.
 *
 * One node has one copy of everything. A replication factor above 1, which many programs have built in, is taken as 1
 * and the reply says so, instead of refusing them all. */
#include "door/kafka/kafka_int.h"

#include "base/map.h"

typedef struct kafka_create_topics_request_topic topic_in;
typedef struct kafka_create_topics_response_topic topic_out;

/* Explicit assignments: each partition once, from 0 without gaps, each to this node. */
static int16_t check_assignments(struct kafka_request *q, const topic_in *in, struct err *e)
{
    uint8_t *seen = arena_array(&q->arena, (size_t)in->assignments.n + 1, 1);

    if (in->num_partitions != -1 || in->replication_factor != -1) {
        (void)err_set(e, ERR_INVALID, "with assignments, the numbers of partitions and replicas are -1");
        return KE_INVALID_REQUEST;
    }
    for (int32_t i = 0; i < in->assignments.n; i++) {
        const struct kafka_create_topics_request_assignment *a = &in->assignments.at[i];

        if (a->partition_index < 0 || a->partition_index >= in->assignments.n || seen[a->partition_index]++) {
            (void)err_set(e, ERR_INVALID, "partitions are assigned from 0 without gaps");
            return KE_INVALID_REPLICA_ASSIGNMENT;
        }
        if (a->broker_ids.n != 1 || a->broker_ids.at[0] != q->conn->door->options.node_id) {
            (void)err_set(e, ERR_INVALID, "there is one node, %d", (int)q->conn->door->options.node_id);
            return KE_INVALID_REPLICA_ASSIGNMENT;
        }
    }
    return KE_NONE;
}

/* Names that occur more than once have a value other than `once`. */
static void count_names(const struct kafka_create_topics_request *in, struct map *names, void *once, void *more)
{
    map_init(names);
    for (int32_t i = 0; i < in->topics.n; i++)
        if (map_put(names, in->topics.at[i].name, once) != NULL) (void)map_put(names, in->topics.at[i].name, more);
}

static int16_t create(struct kafka_request *q, const topic_in *in, bool validate_only, topic_out *out, struct err *e)
{
    struct broker *b = kafka_broker(q);
    struct topic_config config = {0};
    struct topic *t = NULL;
    int32_t n = in->num_partitions;
    int16_t error = KE_NONE;
    enum err_code rc;

    if (in->assignments.n > 0) {
        error = check_assignments(q, in, e);
        n = in->assignments.n;
    } else if (in->replication_factor == 0 || in->replication_factor < -1) {
        (void)err_set(e, ERR_INVALID, "a replication factor of %d", in->replication_factor);
        error = KE_INVALID_REPLICATION_FACTOR;
    }
    if (error != KE_NONE) return error;
    if (n == -1) n = broker_options(b)->default_partitions;
    if (n < 1 || n > LIMIT_PARTITIONS_PER_TOPIC_MAX) {
        (void)err_set(e, ERR_LIMIT, "%d partitions; 1 to %d are possible", (int)n, LIMIT_PARTITIONS_PER_TOPIC_MAX);
        return KE_INVALID_PARTITIONS;
    }
    for (int32_t i = 0; i < in->configs.n && error == KE_NONE; i++)
        error =
            kafka_topic_config_change(&config, KAFKA_CONFIG_SET, in->configs.at[i].name, in->configs.at[i].value, e);
    if (error != KE_NONE) return error;
    rc = validate_only ? topic_create_check(b, in->name, n, e) : topic_create(b, in->name, n, &config, &t, e);
    if (rc == ERR_DENIED) return KE_INVALID_TOPIC;
    if (rc != ERR_NONE) return kafka_error_of_topic(rc);
    out->num_partitions = n;
    out->replication_factor = 1;
    if (t != NULL) memcpy(out->topic_id, topic_uuid(t), 16);
    if (t != NULL) kafka_throttle_mutations(q, n);
    if (kafka_version(q) >= 5) {
        struct kafka_config_view views[KAFKA_CONFIGS_MAX];

        out->configs.n = kafka_topic_configs(b, &config, &q->arena, views);
        out->configs.at = arena_array(&q->arena, (size_t)out->configs.n, sizeof *out->configs.at);
        for (int32_t i = 0; i < out->configs.n; i++) {
            out->configs.at[i].name = bytes_str(views[i].name);
            out->configs.at[i].value = views[i].value;
            out->configs.at[i].config_source = views[i].source;
        }
    }
    return KE_NONE;
}

void kafka_handle_create_topics(struct kafka_request *q, void *body)
{
    const struct kafka_create_topics_request *in = body;
    struct kafka_create_topics_response out;
    struct map names;
    char once, more;
    struct err e;

    wire_init(&kafka_create_topics_response_wire, &out);
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    count_names(in, &names, &once, &more);
    for (int32_t i = 0; i < in->topics.n; i++) {
        topic_out *topic = &out.topics.at[i];

        if (!kafka_answer_fits(q)) goto done;
        wire_init(&kafka_create_topics_response_topic_wire, topic);
        topic->name = in->topics.at[i].name;
        if (map_get(&names, topic->name) != &once) {
            (void)err_set(&e, ERR_INVALID, "the topic is named twice");
            topic->error_code = KE_INVALID_REQUEST;
        } else if (!kafka_may_create_topic(q, topic->name)) {
            (void)err_set(&e, ERR_DENIED, "not allowed to create this topic");
            topic->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        } else {
            topic->error_code = create(q, &in->topics.at[i], in->validate_only, topic, &e);
        }
        if (!in->validate_only) kafka_audit(q, "topic.create", topic->name, topic->error_code);
        if (topic->error_code != KE_NONE) topic->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);

done:
    map_deinit(&names);
}

static int16_t delete (struct kafka_request *q, struct topic *t, bool by_id, struct err *e)
{
    enum err_code rc;
    int32_t n;

    if (t == NULL) {
        (void)err_set(e, ERR_NOT_FOUND, "no such topic");
        return by_id ? KE_UNKNOWN_TOPIC_ID : KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (topic_is_internal(t)) {
        (void)err_set(e, ERR_DENIED, "the topic is internal");
        return KE_INVALID_TOPIC;
    }
    n = topic_partition_count(t);
    rc = topic_delete(kafka_broker(q), t, e);
    if (rc == ERR_NONE) kafka_throttle_mutations(q, n);
    return kafka_error_of_topic(rc);
}

static bool may_delete(const struct kafka_request *q, struct bytes name, struct err *e)
{
    if (kafka_may(q, ACL_DELETE, ACL_TOPIC, name)) return true;
    (void)err_set(e, ERR_DENIED, "not allowed to delete this topic");
    return false;
}

void kafka_handle_delete_topics(struct kafka_request *q, void *body)
{
    const struct kafka_delete_topics_request *in = body;
    struct broker *b = kafka_broker(q);
    struct kafka_delete_topics_response out;
    bool is_old = kafka_version(q) < 6;
    struct err e;

    wire_init(&kafka_delete_topics_response_wire, &out);
    out.responses.n = is_old ? in->topic_names.n : in->topics.n;
    out.responses.at = arena_array(&q->arena, (size_t)out.responses.n, sizeof *out.responses.at);
    for (int32_t i = 0; i < out.responses.n; i++) {
        struct kafka_delete_topics_response_response *r = &out.responses.at[i];
        struct topic *t;

        wire_init(&kafka_delete_topics_response_response_wire, r);
        r->name = is_old ? in->topic_names.at[i] : in->topics.at[i].name;
        if (r->name.ptr != NULL) {
            t = topic_find(b, r->name);
            if (may_delete(q, r->name, &e)) {
                if (t != NULL) memcpy(r->topic_id, topic_uuid(t), 16);
                r->error_code = delete (q, t, false, &e);
            } else {
                r->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            }
        } else {
            memcpy(r->topic_id, in->topics.at[i].topic_id, 16);
            t = topic_find_id(b, r->topic_id);
            if (t != NULL && !kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t))) t = NULL;
            if (t != NULL) r->name = arena_copy(&q->arena, topic_name(t));
            r->error_code = t != NULL && !may_delete(q, r->name, &e) ? (int16_t)KE_TOPIC_AUTHORIZATION_FAILED
                                                                     : delete (q, t, true, &e);
        }
        kafka_audit(q, "topic.delete", r->name, r->error_code);
        if (r->error_code != KE_NONE) r->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);
}
