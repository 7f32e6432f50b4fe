/* The requests of transactional producers: AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn. What may
 * happen when is broker/txn.h's; here is only the form. Each waits until what it says is durable.
 *
 * A producer that was fenced hears INVALID_PRODUCER_EPOCH in the versions before 2, whose clients know no other word
 * for it, and PRODUCER_FENCED from there on. */
#include "door/kafka/kafka_int.h"

static int16_t fenced_word(const struct kafka_request *q)
{
    return kafka_version(q) >= 2 ? KE_PRODUCER_FENCED : KE_INVALID_PRODUCER_EPOCH;
}

/* ---- partitions ---- */
struct adding {
    struct append_wait wait;
    struct kafka_request *q;
    struct kafka_add_partitions_to_txn_response out;
    struct txn_partition *parts; /* in the order of the response's partitions */
};

static int16_t part_error(enum err_code rc)
{
    if (rc == ERR_CANCELLED) return KE_OPERATION_NOT_ATTEMPTED;
    return kafka_error_of(rc);
}

/* all: for every partition; KE_NONE: each its own. */
static void adding_reply(struct adding *a, int16_t all)
{
    const struct txn_partition *part = a->parts;

    for (int32_t i = 0; i < a->out.results.n; i++) {
        for (int32_t j = 0; j < a->out.results.at[i].results.n; j++, part++)
            a->out.results.at[i].results.at[j].error_code = all != KE_NONE ? all : part_error(part->rc);
    }
    kafka_reply(a->q, &a->out);
}

static void adding_durable(struct append_wait *w, enum err_code rc)
{
    struct adding *a = CONTAINER_OF(w, struct adding, wait);

    adding_reply(a, kafka_error_of_txn(rc, TXN_OK, KE_NONE));
}

static void adding_cancel(struct kafka_request *q)
{
    append_cancel(&((struct adding *)q->state)->wait);
}

static struct adding *adding_begin(struct kafka_request *q, const struct kafka_add_partitions_to_txn_request *in,
                                   int *n_out)
{
    struct adding *a = arena_new(&q->arena, struct adding);
    size_t n = 0, at = 0;

    a->q = q;
    a->wait.done = adding_durable;
    a->out.results.n = in->topics.n;
    a->out.results.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *a->out.results.at);
    for (int32_t i = 0; i < in->topics.n; i++)
        n += (size_t)in->topics.at[i].partitions.n;
    a->parts = arena_array(&q->arena, n, sizeof *a->parts);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_add_partitions_to_txn_request_topic *from = &in->topics.at[i];
        struct kafka_add_partitions_to_txn_response_topic *to = &a->out.results.at[i];

        to->name = arena_copy(&q->arena, from->name);
        to->results.n = from->partitions.n;
        to->results.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->results.at);
        for (int32_t j = 0; j < from->partitions.n; j++, at++) {
            to->results.at[j].index = from->partitions.at[j];
            a->parts[at] = (struct txn_partition){.topic = to->name, .partition = from->partitions.at[j]};
        }
    }
    *n_out = (int)n;
    return a;
}

/* All or nothing: one topic that may not be written keeps the others out, too. */
static bool adding_may(struct adding *a, int n)
{
    bool may = true;

    for (int i = 0; i < n; i++) {
        bool is_ok = kafka_may(a->q, ACL_WRITE, ACL_TOPIC, a->parts[i].topic);

        a->parts[i].rc = is_ok ? ERR_CANCELLED : ERR_DENIED;
        may = may && is_ok;
    }
    return may;
}

void kafka_handle_add_partitions_to_txn(struct kafka_request *q, void *body)
{
    const struct kafka_add_partitions_to_txn_request *in = body;
    struct txn_producer p = {in->transactional_id, in->producer_id, in->producer_epoch, false};
    struct txn_reply r;
    struct err e;
    int n;
    struct adding *a = adding_begin(q, in, &n);

    kafka_park(q, a, adding_cancel, NULL);
    if (!kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id)) {
        adding_reply(a, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return;
    }
    if (!adding_may(a, n)) {
        adding_reply(a, KE_NONE);
        return;
    }
    enum err_code rc = txn_add_partitions(kafka_broker(q), &p, a->parts, n, &a->wait, &r, &e);
    if (rc == ERR_NOT_FOUND)
        adding_reply(a, KE_NONE);
    else if (rc != ERR_NONE)
        adding_reply(a, kafka_error_of_txn(rc, r.detail, fenced_word(q)));
    else if (r.is_durable)
        adding_reply(a, KE_NONE);
}

/* ---- offsets of a group, and the end: one code each ---- */
struct simple {
    struct append_wait wait;
    struct kafka_request *q;
    struct txn_reply reply;
};

static void simple_reply(struct simple *s, int16_t error)
{
    struct kafka_request *q = s->q;
    struct kafka_end_txn_response end;
    struct kafka_add_offsets_to_txn_response add;

    if (q->header.key == KAFKA_END_TXN) {
        wire_init(&kafka_end_txn_response_wire, &end);
        end.error_code = error;
        if (error == KE_NONE) {
            end.producer_id = s->reply.producer_id;
            end.producer_epoch = s->reply.epoch;
        }
        kafka_reply(q, &end);
    } else {
        wire_init(&kafka_add_offsets_to_txn_response_wire, &add);
        add.error_code = error;
        kafka_reply(q, &add);
    }
}

static void simple_durable(struct append_wait *w, enum err_code rc)
{
    simple_reply(CONTAINER_OF(w, struct simple, wait), kafka_error_of_txn(rc, TXN_OK, KE_NONE));
}

static void simple_cancel(struct kafka_request *q)
{
    append_cancel(&((struct simple *)q->state)->wait);
}

static struct simple *simple_begin(struct kafka_request *q)
{
    struct simple *s = arena_new(&q->arena, struct simple);

    s->q = q;
    s->wait.done = simple_durable;
    kafka_park(q, s, simple_cancel, NULL);
    return s;
}

static void simple_answer(struct simple *s, enum err_code rc)
{
    if (rc != ERR_NONE)
        simple_reply(s, kafka_error_of_txn(rc, s->reply.detail, fenced_word(s->q)));
    else if (s->reply.is_durable)
        simple_reply(s, KE_NONE);
}

void kafka_handle_add_offsets_to_txn(struct kafka_request *q, void *body)
{
    const struct kafka_add_offsets_to_txn_request *in = body;
    struct txn_producer p = {in->transactional_id, in->producer_id, in->producer_epoch, false};
    struct simple *s = simple_begin(q);
    struct err e;

    if (!kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id)) {
        simple_reply(s, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return;
    }
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        simple_reply(s, KE_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    enum err_code rc = txn_add_offsets(kafka_broker(q), &p, in->group_id, &s->wait, &s->reply, &e);
    if (rc == ERR_INVALID && in->transactional_id.len > 0)
        simple_reply(s, KE_INVALID_GROUP_ID);
    else
        simple_answer(s, rc);
}

void kafka_handle_end_txn(struct kafka_request *q, void *body)
{
    const struct kafka_end_txn_request *in = body;
    struct txn_producer p = {in->transactional_id, in->producer_id, in->producer_epoch, kafka_version(q) >= 5};
    struct simple *s = simple_begin(q);
    struct err e;

    if (!kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id)) {
        simple_reply(s, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return;
    }
    enum err_code rc = txn_end(kafka_broker(q), &p, in->committed, &s->wait, &s->reply, &e);
    simple_answer(s, rc);
}

/* ---- committed offsets ---- */
/* From version 5 on the group is added to the transaction by this, and the answer waits for that, too. */
struct committing {
    struct append_wait wait, added;
    int n_waiting;
    enum err_code rc; /* of what was waited for */
    struct kafka_request *q;
    struct kafka_txn_offset_commit_response out;
    struct offset_commit *entries; /* in the order of the response's partitions */
};

static void committing_reply(struct committing *c, int16_t all)
{
    const struct offset_commit *entry = c->entries;

    for (int32_t i = 0; i < c->out.topics.n; i++) {
        for (int32_t j = 0; j < c->out.topics.at[i].partitions.n; j++) {
            int16_t *code = &c->out.topics.at[i].partitions.at[j].error_code;

            /* Those were left out. */
            if (*code == KE_TOPIC_AUTHORIZATION_FAILED || *code == KE_UNKNOWN_TOPIC_ID) continue;
            *code = all != KE_NONE ? all : kafka_error_of_group(entry->rc, GROUP_OK);
            entry++;
        }
    }
    kafka_reply(c->q, &c->out);
}

static void committing_check(struct committing *c, enum err_code rc)
{
    if (rc != ERR_NONE) c->rc = rc;
    if (--c->n_waiting == 0) committing_reply(c, kafka_error_of_group(c->rc, GROUP_OK));
}

static void committing_durable(struct append_wait *w, enum err_code rc)
{
    committing_check(CONTAINER_OF(w, struct committing, wait), rc);
}

static void added_durable(struct append_wait *w, enum err_code rc)
{
    committing_check(CONTAINER_OF(w, struct committing, added), rc);
}

static void committing_cancel(struct kafka_request *q)
{
    append_cancel(&((struct committing *)q->state)->wait);
    append_cancel(&((struct committing *)q->state)->added);
}

/* By name, from version 6 on by id; empty: no topic has it. */
static struct bytes offsets_topic(const struct kafka_request *q, const struct kafka_txn_offset_commit_request_topic *in)
{
    const struct topic *t;

    if (kafka_version(q) < 6) return in->name;
    t = topic_find_id(kafka_broker(q), in->topic_id);
    return t ? topic_name(t) : bytes_str("");
}

static struct committing *committing_begin(struct kafka_request *q, const struct kafka_txn_offset_commit_request *in,
                                           int *n_out)
{
    struct committing *c = arena_new(&q->arena, struct committing);
    size_t n = 0, at = 0;

    c->q = q;
    c->wait.done = committing_durable;
    c->added.done = added_durable;
    c->out.topics.n = in->topics.n;
    c->out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *c->out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++)
        n += (size_t)in->topics.at[i].partitions.n;
    c->entries = arena_array(&q->arena, n, sizeof *c->entries);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_txn_offset_commit_request_topic *from = &in->topics.at[i];
        struct kafka_txn_offset_commit_response_topic *to = &c->out.topics.at[i];

        to->name = arena_copy(&q->arena, offsets_topic(q, from));
        memcpy(to->topic_id, from->topic_id, 16);
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        bool is_unknown = to->name.len == 0 && kafka_version(q) >= 6;
        bool may = is_unknown || kafka_may(q, ACL_READ, ACL_TOPIC, to->name);
        for (int32_t j = 0; j < from->partitions.n; j++) {
            const struct kafka_txn_offset_commit_request_partition *p = &from->partitions.at[j];

            to->partitions.at[j].index = p->index;
            if (is_unknown) to->partitions.at[j].error_code = KE_UNKNOWN_TOPIC_ID;
            if (!is_unknown && !may) to->partitions.at[j].error_code = KE_TOPIC_AUTHORIZATION_FAILED;
            if (is_unknown || !may) continue;
            c->entries[at++] = (struct offset_commit){.topic = to->name,
                                                      .partition = p->index,
                                                      .offset = p->committed_offset,
                                                      .leader_epoch = p->committed_leader_epoch,
                                                      .metadata = p->committed_metadata};
        }
    }
    *n_out = (int)at;
    return c;
}

void kafka_handle_txn_offset_commit(struct kafka_request *q, void *body)
{
    const struct kafka_txn_offset_commit_request *in = body;
    struct txn_producer p = {in->transactional_id, in->producer_id, in->producer_epoch, kafka_version(q) >= 5};
    enum group_detail detail = GROUP_OK;
    struct txn_reply r, added = {.is_durable = true};
    enum err_code rc = ERR_NONE;
    struct err e;
    int n;
    struct committing *c = committing_begin(q, in, &n);

    kafka_park(q, c, committing_cancel, NULL);
    if (!kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id)) {
        committing_reply(c, KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        return;
    }
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        committing_reply(c, KE_GROUP_AUTHORIZATION_FAILED);
        return;
    }
    if (p.is_v2) rc = txn_add_offsets(kafka_broker(q), &p, in->group_id, &c->added, &added, &e);
    r = added;
    if (rc == ERR_NONE)
        rc = txn_commit_offsets(kafka_broker(q), &p, in->group_id, in->member_id, in->group_instance_id, in->generation,
                                c->entries, n, &c->wait, &r, &detail, &e);
    if (rc != ERR_NONE) append_cancel(&c->added);
    c->n_waiting = !added.is_durable + !r.is_durable;
    /* What fences a member's instance is told by the group; the producer's own epoch has one word in every version. */
    if (rc == ERR_FENCED || r.detail != TXN_OK)
        committing_reply(c, kafka_error_of_txn(rc, r.detail, KE_INVALID_PRODUCER_EPOCH));
    else if (rc != ERR_NONE)
        committing_reply(c, kafka_error_of_group(rc, detail));
    else if (c->n_waiting == 0)
        committing_reply(c, KE_NONE);
}
