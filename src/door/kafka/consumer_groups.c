/* Consumer groups of the newer protocol (KIP-848): ConsumerGroupHeartbeat and ConsumerGroupDescribe. What happens is the
 * broker's (broker/consumer.h); a reply waits until what it tells is durable. */
#include "door/kafka/kafka_int.h"

#include "broker/consumer.h"

#define CONSUMER_TYPE_CONSUMER 1 /* memberType: of the newer protocol; 0 would be a classic one in such a group */

/* ---- heartbeat ---- */
struct beating {
    struct append_wait wait;
    struct kafka_request *q;
    struct kafka_consumer_group_heartbeat_response out;
};

static void beat_durable(struct append_wait *w, enum err_code rc)
{
    struct beating *s = CONTAINER_OF(w, struct beating, wait);

    if (rc != ERR_NONE) {
        wire_init(&kafka_consumer_group_heartbeat_response_wire, &s->out);
        s->out.error_code = kafka_error_of_group(rc, GROUP_OK);
    }
    kafka_reply(s->q, &s->out);
}

static void beat_cancel(struct kafka_request *q)
{
    struct beating *s = q->state;

    append_cancel(&s->wait);
}

static void beat_fail(struct beating *s, int16_t error, const char *why)
{
    wire_init(&kafka_consumer_group_heartbeat_response_wire, &s->out);
    s->out.error_code = error;
    if (why != NULL && why[0] != '\0') s->out.error_message = bytes_str(arena_strdup(&s->q->arena, why));
    kafka_reply(s->q, &s->out);
}

static bool may_see(void *arg, struct bytes topic)
{
    return kafka_may_see(arg, ACL_DESCRIBE, ACL_TOPIC, topic);
}

static void put_assignment(struct kafka_request *q, const struct consumer_reply *r,
                           struct kafka_consumer_group_heartbeat_response *out)
{
    out->assignment.at = arena_array(&q->arena, 1, sizeof *out->assignment.at);
    out->assignment.n = 1;
    wire_init(&kafka_consumer_group_heartbeat_response_assignment_wire, out->assignment.at);
    out->assignment.at->topic_partitions.n = r->n_assignment;
    out->assignment.at->topic_partitions.at =
        arena_array(&q->arena, (size_t)r->n_assignment, sizeof *out->assignment.at->topic_partitions.at);
    for (int i = 0; i < r->n_assignment; i++) {
        memcpy(out->assignment.at->topic_partitions.at[i].topic_id, r->assignment[i].topic_id, 16);
        out->assignment.at->topic_partitions.at[i].partitions.at = (int32_t *)(uintptr_t)r->assignment[i].partitions;
        out->assignment.at->topic_partitions.at[i].partitions.n = r->assignment[i].n;
    }
}

static struct consumer_beat beat_of(struct kafka_request *q, const struct kafka_consumer_group_heartbeat_request *in)
{
    struct consumer_beat beat = {
        .group_id = in->group_id,
        .member_id = in->member_id,
        .client_id = q->header.client_id.ptr != NULL ? q->header.client_id : BYTES_LIT(""),
        .client_host = bytes_str(arena_printf(&q->arena, "/%s", q->conn->session.peer.host)),
        .instance_id = in->instance_id,
        .rack_id = in->rack_id,
        .regex = in->subscribed_topic_regex,
        .assignor = in->server_assignor,
        .epoch = in->member_epoch,
        .rebalance_timeout_ms = in->rebalance_timeout_ms,
        .topics = in->subscribed_topic_names.at,
        .n_topics = in->subscribed_topic_names.n,
        .n_owned = in->topic_partitions.n,
        .requires_member_id = kafka_version(q) >= 1,
        .may_see = may_see,
        .arg = q,
    };
    struct consumer_partitions *owned =
        arena_array(&q->arena, in->topic_partitions.n > 0 ? (size_t)in->topic_partitions.n : 0, sizeof *owned);

    for (int32_t i = 0; i < in->topic_partitions.n; i++) {
        memcpy(owned[i].topic_id, in->topic_partitions.at[i].topic_id, 16);
        owned[i].partitions = in->topic_partitions.at[i].partitions.at;
        owned[i].n = in->topic_partitions.at[i].partitions.n;
    }
    beat.owned = owned;
    return beat;
}

void kafka_handle_consumer_group_heartbeat(struct kafka_request *q, void *body)
{
    const struct kafka_consumer_group_heartbeat_request *in = body;
    struct beating *s = arena_new(&q->arena, struct beating);
    enum group_detail detail = GROUP_OK;
    struct consumer_reply r;
    bool is_durable;
    struct err e = {0};

    s->q = q;
    s->wait.done = beat_durable;
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        beat_fail(s, KE_GROUP_AUTHORIZATION_FAILED, NULL);
        return;
    }
    for (int32_t i = 0; i < in->subscribed_topic_names.n; i++) {
        if (kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, in->subscribed_topic_names.at[i])) continue;
        beat_fail(s, KE_TOPIC_AUTHORIZATION_FAILED, NULL);
        return;
    }
    struct consumer_beat beat = beat_of(q, in);
    kafka_park(q, s, beat_cancel, NULL);
    enum err_code rc = consumer_heartbeat(kafka_broker(q), &beat, &q->arena, &r, &s->wait, &is_durable, &detail, &e);
    if (rc != ERR_NONE) {
        beat_fail(s, kafka_error_of_group(rc, detail), e.text);
        return;
    }
    wire_init(&kafka_consumer_group_heartbeat_response_wire, &s->out);
    s->out.member_id = r.member_id;
    s->out.member_epoch = r.epoch;
    s->out.heartbeat_interval_ms = in->member_epoch < 0 ? 0 : r.heartbeat_ms;
    if (r.has_assignment) put_assignment(q, &r, &s->out);
    if (is_durable) kafka_reply(q, &s->out);
}

/* ---- describe ---- */
struct describing {
    struct kafka_request *q;
    struct kafka_consumer_group_describe_response_group *out;
    int32_t cap;
    bool is_denied;
};

/* Topics that are gone meanwhile have no name to show. */
static const struct topic *topic_of(struct describing *d, const uint8_t id[16])
{
    const struct topic *t = topic_find_id(kafka_broker(d->q), id);

    if (t != NULL && !kafka_may_see(d->q, ACL_DESCRIBE, ACL_TOPIC, topic_name(t))) d->is_denied = true;
    return t;
}

static void put_assigned(struct describing *d, const struct consumer_partitions *from, int n,
                         struct kafka_consumer_group_describe_response_assignment *out)
{
    out->topic_partitions.at = arena_array(&d->q->arena, (size_t)n, sizeof *out->topic_partitions.at);
    for (int i = 0; i < n; i++) {
        const struct topic *t = topic_of(d, from[i].topic_id);

        if (t == NULL) continue;
        struct kafka_consumer_group_describe_response_topic_partition *to =
            &out->topic_partitions.at[out->topic_partitions.n++];
        memcpy(to->topic_id, from[i].topic_id, 16);
        to->topic_name = arena_copy(&d->q->arena, topic_name(t));
        to->partitions.at = (int32_t *)(uintptr_t)from[i].partitions;
        to->partitions.n = from[i].n;
    }
}

_Static_assert(sizeof(struct kafka_consumer_group_describe_response_target) ==
                       sizeof(struct kafka_consumer_group_describe_response_assignment) &&
                   sizeof(struct kafka_consumer_group_describe_response_target_partition) ==
                       sizeof(struct kafka_consumer_group_describe_response_topic_partition),
               "both assignments have the same shape");

static bool add_member(void *arg, const struct consumer_member_description *m)
{
    struct describing *d = arg;
    struct arena *a = &d->q->arena;

    if (d->out->members.n == d->cap) {
        int32_t cap = d->cap ? 2 * d->cap : 8;
        struct kafka_consumer_group_describe_response_member *at = arena_array(a, (size_t)cap, sizeof *at);

        if (d->cap > 0) memcpy(at, d->out->members.at, (size_t)d->cap * sizeof *at);
        d->out->members.at = at;
        d->cap = cap;
    }
    struct kafka_consumer_group_describe_response_member *to = &d->out->members.at[d->out->members.n++];
    wire_init(&kafka_consumer_group_describe_response_member_wire, to);
    to->member_id = arena_copy(a, m->member_id);
    to->instance_id = arena_copy(a, m->instance_id);
    to->rack_id = arena_copy(a, m->rack_id);
    to->member_epoch = m->epoch;
    to->client_id = arena_copy(a, m->client_id);
    to->client_host = arena_copy(a, m->client_host);
    to->subscribed_topic_names.at = arena_array(a, (size_t)m->n_topics, sizeof(struct bytes));
    to->subscribed_topic_names.n = m->n_topics;
    for (int i = 0; i < m->n_topics; i++) {
        to->subscribed_topic_names.at[i] = arena_copy(a, m->topics[i]);
        if (!kafka_may_see(d->q, ACL_DESCRIBE, ACL_TOPIC, m->topics[i])) d->is_denied = true;
    }
    to->subscribed_topic_regex = arena_copy(a, m->regex);
    put_assigned(d, m->assigned, m->n_assigned, &to->assignment);
    put_assigned(d, m->target, m->n_target, (void *)&to->target_assignment);
    to->member_type = CONSUMER_TYPE_CONSUMER;
    return d->q->arena.used_bytes <= KAFKA_ANSWER_BYTES_MAX; /* more: the request fails below */
}

static void describe_one(struct describing *d, struct bytes group_id, bool with_operations)
{
    struct kafka_request *q = d->q;
    struct consumer_description g;

    wire_init(&kafka_consumer_group_describe_response_group_wire, d->out);
    d->out->group_id = group_id;
    if (!kafka_may(q, ACL_DESCRIBE, ACL_GROUP, group_id)) {
        d->out->error_code = KE_GROUP_AUTHORIZATION_FAILED;
        return;
    }
    if (!consumer_describe(kafka_broker(q), group_id, &q->arena, &g, add_member, d)) {
        d->out->error_code = KE_GROUP_ID_NOT_FOUND;
        d->out->error_message =
            bytes_str(arena_printf(&q->arena, "Group %.*s is not a consumer group.", BYTES_ARG(group_id)));
        return;
    }
    if (d->is_denied) { /* As Kafka: nothing of a group whose topics may not be seen. */
        wire_init(&kafka_consumer_group_describe_response_group_wire, d->out);
        d->out->group_id = group_id;
        d->out->error_code = KE_TOPIC_AUTHORIZATION_FAILED;
        d->out->error_message =
            BYTES_LIT("The group has described topic(s) that the client is not authorized to describe.");
        return;
    }
    d->out->group_state = bytes_str(g.state);
    d->out->group_epoch = g.epoch;
    d->out->assignment_epoch = g.target_epoch;
    d->out->assignor_name = g.assignor;
    if (with_operations)
        d->out->authorized_operations = authorised_operations(kafka_broker(q), &q->conn->session, ACL_GROUP, group_id);
}

void kafka_handle_consumer_group_describe(struct kafka_request *q, void *body)
{
    const struct kafka_consumer_group_describe_request *in = body;
    struct kafka_consumer_group_describe_response out;

    wire_init(&kafka_consumer_group_describe_response_wire, &out);
    out.groups.n = in->group_ids.n;
    out.groups.at = arena_array(&q->arena, (size_t)in->group_ids.n, sizeof *out.groups.at);
    for (int32_t i = 0; i < in->group_ids.n; i++) {
        struct describing d = {.q = q, .out = &out.groups.at[i]};

        if (!kafka_answer_fits(q)) return;
        describe_one(&d, in->group_ids.at[i], in->include_authorized_operations);
    }
    if (!kafka_answer_fits(q)) return;
    kafka_reply(q, &out);
}
