/* Committed offsets: OffsetCommit waits until they are durable, OffsetFetch answers from memory. */
#include "door/kafka/kafka_int.h"

#include <stdlib.h>

/* ---- commit ---- */
struct commit {
    struct append_wait wait;
    struct kafka_request *q;
    struct kafka_offset_commit_response out;
    struct offset_commit *entries; /* in the order of the response's partitions */
};

static void commit_reply(struct commit *c, int16_t error)
{
    const struct offset_commit *entry = c->entries;

    for (int32_t i = 0; i < c->out.topics.n; i++) {
        for (int32_t j = 0; j < c->out.topics.at[i].partitions.n; j++) {
            int16_t *code = &c->out.topics.at[i].partitions.at[j].error_code;

            if (*code == KE_TOPIC_AUTHORIZATION_FAILED) continue; /* it was left out */
            *code = error != KE_NONE ? error : kafka_error_of_group(entry->rc, GROUP_OK);
            entry++;
        }
    }
    kafka_reply(c->q, &c->out);
}

static void commit_durable(struct append_wait *w, enum err_code rc)
{
    commit_reply(CONTAINER_OF(w, struct commit, wait), kafka_error_of_group(rc, GROUP_OK));
}

static void commit_cancel(struct kafka_request *q)
{
    struct commit *c = q->state;

    append_cancel(&c->wait);
}

static struct commit *commit_begin(struct kafka_request *q, const struct kafka_offset_commit_request *in, int *n_out)
{
    struct commit *c = arena_new(&q->arena, struct commit);
    size_t n = 0, at = 0;

    c->q = q;
    c->wait.done = commit_durable;
    c->out.topics.n = in->topics.n;
    c->out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *c->out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++)
        n += (size_t)in->topics.at[i].partitions.n;
    c->entries = arena_array(&q->arena, n, sizeof *c->entries);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_offset_commit_request_topic *from = &in->topics.at[i];
        struct kafka_offset_commit_response_topic *to = &c->out.topics.at[i];

        to->name = arena_copy(&q->arena, from->name);
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        bool may = kafka_may(q, ACL_READ, ACL_TOPIC, from->name);
        for (int32_t j = 0; j < from->partitions.n; j++) {
            const struct kafka_offset_commit_request_partition *p = &from->partitions.at[j];

            to->partitions.at[j].index = p->index;
            if (!may) to->partitions.at[j].error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            if (!may) continue;
            c->entries[at++] = (struct offset_commit){.topic = from->name,
                                                      .partition = p->index,
                                                      .offset = p->committed_offset,
                                                      .leader_epoch = p->committed_leader_epoch,
                                                      .metadata = p->committed_metadata};
        }
    }
    *n_out = (int)at;
    return c;
}

void kafka_handle_offset_commit(struct kafka_request *q, void *body)
{
    const struct kafka_offset_commit_request *in = body;
    enum group_detail detail = GROUP_OK;
    bool is_durable = true;
    struct err e;
    int n;
    struct commit *c = commit_begin(q, in, &n);
    enum err_code rc = ERR_NONE;

    /* Parked first: the group may answer through the wait. */
    kafka_park(q, c, commit_cancel, NULL);
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        commit_reply(c, KE_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    if (n > 0)
        rc = group_commit(kafka_broker(q), in->group_id, in->member_id, in->group_instance_id, in->generation,
                          c->entries, n, &c->wait, &is_durable, &detail, &e);
    if (rc != ERR_NONE)
        commit_reply(c, kafka_error_of_group(rc, detail));
    else if (is_durable)
        commit_reply(c, KE_NONE);
}

/* ---- fetch ---- */
/* All offsets of a group, collected and then put in order of topic and partition. */
struct collecting {
    struct arena *arena;
    struct committed_offset *at;
    size_t n, cap;
};

static bool collect(void *arg, const struct committed_offset *o)
{
    struct collecting *c = arg;

    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 32;
        struct committed_offset *at = arena_array(c->arena, cap, sizeof *at);

        if (c->n > 0) memcpy(at, c->at, c->n * sizeof *at);
        c->at = at;
        c->cap = cap;
    }
    c->at[c->n++] = *o;
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct committed_offset *x = a, *y = b;
    int c = bytes_compare(x->topic, y->topic);

    return c != 0 ? c : (x->partition > y->partition) - (x->partition < y->partition);
}

static void put_partition(struct kafka_offset_fetch_response_group_partition *to, const struct committed_offset *from)
{
    to->index = from->partition;
    to->committed_offset = from->offset;
    to->committed_leader_epoch = from->offset < 0 ? -1 : from->leader_epoch;
    to->metadata = from->metadata.ptr != NULL ? from->metadata : BYTES_LIT("");
    to->error_code = KE_NONE;
}

typedef struct kafka_offset_fetch_response_group group_out;

static void fetch_all(struct kafka_request *q, struct bytes group_id, bool is_stable, group_out *out)
{
    struct collecting c = {.arena = &q->arena};
    int32_t n_topics = 0;

    group_offsets(kafka_broker(q), group_id, collect, &c);
    if (c.n == 0) return;
    qsort(c.at, c.n, sizeof *c.at, compare);
    for (size_t i = 0; i < c.n; i++)
        n_topics += i == 0 || !bytes_equal(c.at[i].topic, c.at[i - 1].topic);
    out->topics.at = arena_array(&q->arena, (size_t)n_topics, sizeof *out->topics.at);
    for (size_t i = 0; i < c.n;) {
        struct kafka_offset_fetch_response_group_topic *topic = &out->topics.at[out->topics.n++];
        size_t end = i;

        while (end < c.n && bytes_equal(c.at[end].topic, c.at[i].topic))
            end++;
        if (!kafka_may_see(q, ACL_DESCRIBE, ACL_TOPIC, c.at[i].topic)) {
            out->topics.n--;
            i = end;
            continue;
        }
        topic->name = c.at[i].topic;
        topic->partitions.at = arena_array(&q->arena, end - i, sizeof *topic->partitions.at);
        for (; i < end; i++) {
            struct kafka_offset_fetch_response_group_partition *p = &topic->partitions.at[topic->partitions.n++];

            put_partition(p, &c.at[i]);
            if (!is_stable || !group_offset_is_pending(kafka_broker(q), group_id, topic->name, p->index)) continue;
            p->committed_offset = -1;
            p->error_code = KE_UNSTABLE_OFFSET_COMMIT;
        }
    }
}

static void fetch_named(struct kafka_request *q, struct bytes group_id,
                        const struct kafka_offset_fetch_request_group_topic *topics, int32_t n, bool is_stable,
                        group_out *out)
{
    out->topics.n = n;
    out->topics.at = arena_array(&q->arena, (size_t)n, sizeof *out->topics.at);
    for (int32_t i = 0; i < n; i++) {
        struct kafka_offset_fetch_response_group_topic *to = &out->topics.at[i];
        bool may = kafka_may(q, ACL_DESCRIBE, ACL_TOPIC, topics[i].name);

        to->name = topics[i].name;
        to->partitions.n = topics[i].partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)topics[i].partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < topics[i].partitions.n; j++) {
            struct committed_offset o = {.offset = -1};

            group_offset(kafka_broker(q), group_id, topics[i].name, topics[i].partitions.at[j], &o);
            o.partition = topics[i].partitions.at[j];
            if (!may) {
                put_partition(&to->partitions.at[j],
                              &(struct committed_offset){.offset = -1, .partition = o.partition});
                to->partitions.at[j].error_code = KE_TOPIC_AUTHORIZATION_FAILED;
                continue;
            }
            if (is_stable && group_offset_is_pending(kafka_broker(q), group_id, topics[i].name, o.partition)) {
                put_partition(&to->partitions.at[j],
                              &(struct committed_offset){.offset = -1, .partition = o.partition});
                to->partitions.at[j].error_code = KE_UNSTABLE_OFFSET_COMMIT;
                continue;
            }
            put_partition(&to->partitions.at[j], &o);
        }
    }
}

_Static_assert(sizeof(struct kafka_offset_fetch_request_topic) == sizeof(struct kafka_offset_fetch_request_group_topic),
               "the older form of the request has the same topics");
_Static_assert(sizeof(struct kafka_offset_fetch_response_topic) ==
                   sizeof(struct kafka_offset_fetch_response_group_topic),
               "the older form of the response has the same topics");
_Static_assert(sizeof(struct kafka_offset_fetch_response_partition) ==
                   sizeof(struct kafka_offset_fetch_response_group_partition),
               "the older form of the response has the same partitions");

/* Before version 2 there is no place for one error: each partition says it. */
static void refuse_old(struct kafka_request *q, const struct kafka_offset_fetch_request *in,
                       struct kafka_offset_fetch_response *out, group_out *one)
{
    out->error_code = KE_GROUP_AUTHORIZATION_FAILED;
    if (kafka_version(q) >= 2) return;
    fetch_named(q, BYTES_LIT(""), (const void *)in->topics.at, in->topics.n > 0 ? in->topics.n : 0, false, one);
    for (int32_t i = 0; i < one->topics.n; i++)
        for (int32_t j = 0; j < one->topics.at[i].partitions.n; j++)
            one->topics.at[i].partitions.at[j].error_code = KE_GROUP_AUTHORIZATION_FAILED;
}

void kafka_handle_offset_fetch(struct kafka_request *q, void *body)
{
    const struct kafka_offset_fetch_request *in = body;
    struct kafka_offset_fetch_response out;
    group_out one;

    wire_init(&kafka_offset_fetch_response_wire, &out);
    if (kafka_version(q) < 8) {
        wire_init(&kafka_offset_fetch_response_group_wire, &one);
        if (!kafka_may(q, ACL_DESCRIBE, ACL_GROUP, in->group_id))
            refuse_old(q, in, &out, &one);
        else if (in->topics.n < 0)
            fetch_all(q, in->group_id, in->require_stable, &one);
        else
            fetch_named(q, in->group_id, (const void *)in->topics.at, in->topics.n, in->require_stable, &one);
        out.topics.at = (void *)one.topics.at;
        out.topics.n = one.topics.n;
        kafka_reply(q, &out);
        return;
    }
    out.groups.n = in->groups.n;
    out.groups.at = arena_array(&q->arena, (size_t)in->groups.n, sizeof *out.groups.at);
    for (int32_t i = 0; i < in->groups.n; i++) {
        const struct kafka_offset_fetch_request_group *g = &in->groups.at[i];
        group_out *to = &out.groups.at[i];

        if (!kafka_answer_fits(q)) return;
        wire_init(&kafka_offset_fetch_response_group_wire, to);
        to->group_id = g->group_id;
        if (!kafka_may(q, ACL_DESCRIBE, ACL_GROUP, g->group_id))
            to->error_code = KE_GROUP_AUTHORIZATION_FAILED;
        else if (g->topics.n < 0)
            fetch_all(q, g->group_id, in->require_stable, to);
        else
            fetch_named(q, g->group_id, g->topics.at, g->topics.n, in->require_stable, to);
    }
    kafka_reply(q, &out);
}
