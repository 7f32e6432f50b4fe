/* What tools ask about groups: DescribeGroups, ListGroups, DeleteGroups, OffsetDelete. */
#include "door/kafka/kafka_int.h"

struct describing {
    struct kafka_request *q;
    struct kafka_describe_groups_response_group *out;
    int32_t cap;
};

static bool add_member(void *arg, const struct member_description *m)
{
    struct describing *d = arg;
    struct arena *a = &d->q->arena;
    struct kafka_describe_groups_response_member *to;

    if (d->out->members.n == d->cap) {
        int32_t cap = d->cap ? 2 * d->cap : 8;
        struct kafka_describe_groups_response_member *at = arena_array(a, (size_t)cap, sizeof *at);

        if (d->cap > 0) memcpy(at, d->out->members.at, (size_t)d->cap * sizeof *at);
        d->out->members.at = at;
        d->cap = cap;
    }
    to = &d->out->members.at[d->out->members.n++];
    to->member_id = arena_copy(a, m->member_id);
    to->group_instance_id = arena_copy(a, m->instance_id);
    to->client_id = arena_copy(a, m->client_id);
    to->client_host = arena_copy(a, m->client_host);
    to->member_metadata = arena_copy(a, m->metadata);
    to->member_assignment = arena_copy(a, m->assignment);
    return true;
}

void kafka_handle_describe_groups(struct kafka_request *q, void *body)
{
    const struct kafka_describe_groups_request *in = body;
    struct kafka_describe_groups_response out;

    wire_init(&kafka_describe_groups_response_wire, &out);
    out.groups.n = in->groups.n;
    out.groups.at = arena_array(&q->arena, (size_t)in->groups.n, sizeof *out.groups.at);
    for (int32_t i = 0; i < in->groups.n; i++) {
        struct describing d = {q, &out.groups.at[i], 0};
        struct group_description g;

        if (!kafka_answer_fits(q)) return;
        wire_init(&kafka_describe_groups_response_group_wire, d.out);
        d.out->group_id = in->groups.at[i];
        if (!kafka_may(q, ACL_DESCRIBE, ACL_GROUP, in->groups.at[i])) {
            d.out->error_code = KE_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        if (in->include_authorized_operations)
            d.out->authorized_operations =
                authorised_operations(kafka_broker(q), &q->conn->session, ACL_GROUP, in->groups.at[i]);
        if (!group_describe(kafka_broker(q), in->groups.at[i], &g, add_member, &d)) {
            d.out->group_state = BYTES_LIT("Dead"); /* Kafka's way to say that there is none */
            continue;
        }
        d.out->group_state = bytes_str(g.state);
        d.out->protocol_type = arena_copy(&q->arena, g.protocol_type);
        d.out->protocol_data = arena_copy(&q->arena, g.protocol_name);
    }
    kafka_reply(q, &out);
}

struct listing {
    struct kafka_request *q;
    const struct kafka_list_groups_request *in;
    struct kafka_list_groups_response out;
    int32_t cap;
    bool sees_all;
};

static bool state_is_wanted(const struct kafka_list_groups_request *in, const char *state)
{
    for (int32_t i = 0; i < in->states_filter.n; i++)
        if (bytes_equal_str(in->states_filter.at[i], state)) return true;
    return in->states_filter.n == 0;
}

static bool add_group(void *arg, const struct group_description *g)
{
    struct listing *l = arg;
    struct kafka_list_groups_response_group *to;

    if (!state_is_wanted(l->in, g->state)) return true;
    if (!l->sees_all && !kafka_may_see(l->q, ACL_DESCRIBE, ACL_GROUP, g->group_id)) return true;
    if (l->out.groups.n == l->cap) {
        int32_t cap = l->cap ? 2 * l->cap : 16;
        struct kafka_list_groups_response_group *at = arena_array(&l->q->arena, (size_t)cap, sizeof *at);

        if (l->cap > 0) memcpy(at, l->out.groups.at, (size_t)l->cap * sizeof *at);
        l->out.groups.at = at;
        l->cap = cap;
    }
    to = &l->out.groups.at[l->out.groups.n++];
    to->group_id = arena_copy(&l->q->arena, g->group_id);
    to->protocol_type = arena_copy(&l->q->arena, g->protocol_type);
    to->group_state = bytes_str(g->state);
    return true;
}

void kafka_handle_list_groups(struct kafka_request *q, void *body)
{
    struct listing l = {.q = q, .in = body};

    l.sees_all = kafka_may_see(q, ACL_DESCRIBE, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME));

    wire_init(&kafka_list_groups_response_wire, &l.out);
    group_list(kafka_broker(q), add_group, &l);
    kafka_reply(q, &l.out);
}

void kafka_handle_delete_groups(struct kafka_request *q, void *body)
{
    const struct kafka_delete_groups_request *in = body;
    struct kafka_delete_groups_response out;

    wire_init(&kafka_delete_groups_response_wire, &out);
    out.results.n = in->groups_names.n;
    out.results.at = arena_array(&q->arena, (size_t)in->groups_names.n, sizeof *out.results.at);
    for (int32_t i = 0; i < in->groups_names.n; i++) {
        enum group_detail detail = GROUP_OK;
        struct err e;

        out.results.at[i].group_id = in->groups_names.at[i];
        if (!kafka_may(q, ACL_DELETE, ACL_GROUP, in->groups_names.at[i])) {
            out.results.at[i].error_code = KE_GROUP_AUTHORIZATION_FAILED;
            continue;
        }
        enum err_code rc = group_delete(kafka_broker(q), in->groups_names.at[i], &detail, &e);
        out.results.at[i].error_code =
            rc == ERR_NOT_FOUND ? (int16_t)KE_GROUP_ID_NOT_FOUND : kafka_error_of_group(rc, detail);
    }
    kafka_reply(q, &out);
}

static bool topic_right(const struct kafka_request *q, struct bytes name)
{
    return kafka_may_see(q, ACL_READ, ACL_TOPIC, name);
}

void kafka_handle_offset_delete(struct kafka_request *q, void *body)
{
    const struct kafka_offset_delete_request *in = body;
    struct kafka_offset_delete_response out;
    enum group_detail detail = GROUP_OK;
    struct offset_delete *entries;
    size_t n = 0, at = 0;
    struct err e;

    wire_init(&kafka_offset_delete_response_wire, &out);
    if (!kafka_may(q, ACL_DELETE, ACL_GROUP, in->group_id)) {
        out.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    for (int32_t i = 0; i < in->topics.n; i++)
        n += (size_t)in->topics.at[i].partitions.n;
    entries = arena_array(&q->arena, n, sizeof *entries);
    for (int32_t i = 0; i < in->topics.n; i++)
        for (int32_t j = 0; topic_right(q, in->topics.at[i].name) && j < in->topics.at[i].partitions.n; j++)
            entries[at++] = (struct offset_delete){.topic = in->topics.at[i].name,
                                                   .partition = in->topics.at[i].partitions.at[j].partition_index};
    enum err_code rc = group_delete_offsets(kafka_broker(q), in->group_id, entries, (int)at, &detail, &e);
    out.error_code = kafka_error_of_group(rc, detail);
    if (rc != ERR_NONE) {
        kafka_reply(q, &out);
        return;
    }
    at = 0;
    out.topics.n = in->topics.n;
    out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_offset_delete_response_topic *to = &out.topics.at[i];

        to->name = in->topics.at[i].name;
        to->partitions.n = in->topics.at[i].partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)to->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < to->partitions.n; j++) {
            to->partitions.at[j].partition_index = in->topics.at[i].partitions.at[j].partition_index;
            to->partitions.at[j].error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            if (!topic_right(q, to->name)) continue;
            to->partitions.at[j].error_code =
                kafka_error_of_group(entries[at].rc, entries[at].rc == ERR_BUSY ? GROUP_SUBSCRIBED : GROUP_OK);
            at++;
        }
    }
    kafka_reply(q, &out);
}
