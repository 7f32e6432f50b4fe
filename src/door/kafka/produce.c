/* Produce: each partition's batch is checked, stamped in the receive buffer and appended; the reply waits until all of
 * them are durable. Appends of the next request go on meanwhile: only the replies keep their order.
 *
 * acks=1 and acks=all are the same here: one node, durable means durable. acks=0 gets no reply at all; when something
 * is wrong with it, closing the connection is the only way to make the client notice. */
#include "door/kafka/kafka_int.h"

struct produce;
struct produce_part {
    struct append_wait wait;
    struct produce *produce;
    struct kafka_produce_response_partition *out;
    bool is_waiting;
};
struct produce {
    struct kafka_request *q;
    struct kafka_produce_response out;
    struct produce_part *parts; /* in the request's arena */
    int32_t n_parts, n_waiting;
    /* Version 12 on: a transactional batch adds its partition to the transaction. */
    struct append_wait added;
    bool is_adding;
    struct txn_partition *adds;
    int n_adds;
    bool has_txn_right;
    struct timer timer;
    bool is_started; /* the handler is through; before that nothing is answered */
};

static void part_durable(struct append_wait *w, enum err_code rc)
{
    struct produce_part *part = CONTAINER_OF(w, struct produce_part, wait);
    struct produce *p = part->produce;

    check(part->is_waiting && p->n_waiting > 0);
    part->is_waiting = false;
    p->n_waiting--;
    if (rc != ERR_NONE) {
        part->out->error_code = kafka_error_of(rc);
        part->out->base_offset = -1;
    }
    if (p->n_waiting > 0 || !p->is_started) return;
    kafka_loop(p->q)->timer_stop(kafka_loop(p->q), &p->timer);
    kafka_reply(p->q, &p->out);
}

/* The disk is slower than the client's patience. What was appended stays and will be durable: an idempotent producer
 * that tries again is told so, as of a duplicate. */
static void produce_late(struct timer *t)
{
    struct produce *p = CONTAINER_OF(t, struct produce, timer);

    for (int32_t i = 0; i < p->n_parts; i++) {
        struct produce_part *part = &p->parts[i];

        if (!part->is_waiting && (!p->is_adding || part->out->error_code != KE_NONE)) continue;
        append_cancel(&part->wait);
        part->is_waiting = false;
        part->out->error_code = KE_REQUEST_TIMED_OUT;
        part->out->base_offset = -1;
    }
    if (p->is_adding) append_cancel(&p->added);
    p->is_adding = false;
    p->n_waiting = 0;
    kafka_reply(p->q, &p->out);
}

static void added_durable(struct append_wait *w, enum err_code rc)
{
    struct produce *p = CONTAINER_OF(w, struct produce, added);

    p->is_adding = false;
    p->n_waiting--;
    for (int32_t i = 0; rc != ERR_NONE && i < p->n_parts; i++) {
        p->parts[i].out->error_code = kafka_error_of_txn(rc, TXN_OK, KE_NONE);
        p->parts[i].out->base_offset = -1;
    }
    if (p->n_waiting > 0 || !p->is_started) return;
    kafka_loop(p->q)->timer_stop(kafka_loop(p->q), &p->timer);
    kafka_reply(p->q, &p->out);
}

static void produce_cancel(struct kafka_request *q)
{
    struct produce *p = q->state;

    kafka_loop(q)->timer_stop(kafka_loop(q), &p->timer);
    if (p->is_adding) append_cancel(&p->added);

    for (int32_t i = 0; i < p->n_parts; i++)
        if (p->parts[i].is_waiting) append_cancel(&p->parts[i].wait);
}

/* What Kafka asks of a batch before its content is looked at. */
static int16_t check_shape(const struct kafka_request *q, struct bytes records, const char **why)
{
    if (records.ptr == NULL || records.len < BATCH_HEADER_LEN || records.ptr[16] != 2) {
        *why = "not a record batch of format 2";
        return KE_INVALID_RECORD;
    }
    if ((uint64_t)be32_get(records.ptr + 8) + BATCH_PREFIX_LEN != records.len) {
        *why = "a partition takes exactly one record batch a request";
        return KE_INVALID_RECORD;
    }
    if ((be16_get(records.ptr + 21) & BATCH_ATTR_CODEC_MASK) == CODEC_ZSTD && kafka_version(q) < 7) {
        *why = "zstd needs Produce version 7";
        return KE_UNSUPPORTED_COMPRESSION_TYPE;
    }
    return KE_NONE;
}

/* By name, from version 13 on by id. */
static struct topic *find_topic(struct kafka_request *q, const struct kafka_produce_request_topic *in)
{
    struct broker *b = kafka_broker(q);

    return kafka_version(q) >= 13 ? topic_find_id(b, in->topic_id) : topic_find(b, in->name);
}

/* What a batch says of its producer, in its fixed header. */
struct sender {
    int64_t producer_id;
    int32_t sequence;
    int16_t epoch;
    bool is_transactional;
};

static struct sender sender_of(struct bytes records)
{
    struct sender s = {-1, -1, -1, false};

    if (records.ptr == NULL || records.len < BATCH_HEADER_LEN) return s;
    s.is_transactional = be16_get(records.ptr + 21) & BATCH_ATTR_TRANSACTIONAL;
    s.producer_id = (int64_t)be64_get(records.ptr + 43);
    s.epoch = (int16_t)be16_get(records.ptr + 51);
    s.sequence = (int32_t)be32_get(records.ptr + 53);
    return s;
}

/* The second kind of transactions: all partitions of the request are added at once. An error is all partitions'. */
static int16_t add_to_transaction(struct produce *p, const struct kafka_produce_request *in, struct err *e)
{
    struct kafka_request *q = p->q;
    struct sender who = {-1, -1, -1, false};
    struct txn_reply r;

    p->adds = arena_array(&q->arena, (size_t)p->n_parts, sizeof *p->adds);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct topic *t = find_topic(q, &in->topics.at[i]);

        for (int32_t j = 0; t != NULL && j < in->topics.at[i].partitions.n; j++) {
            const struct kafka_produce_request_partition *from = &in->topics.at[i].partitions.at[j];
            struct sender s = sender_of(from->records);

            if (!kafka_may(q, ACL_WRITE, ACL_TOPIC, topic_name(t))) break; /* told at its append */
            if (!s.is_transactional || topic_is_internal(t) || topic_partition(t, from->index) == NULL) continue;
            if (p->n_adds > 0 && (s.producer_id != who.producer_id || s.epoch != who.epoch)) {
                (void)err_set(e, ERR_INVALID, "batches of more than one producer in one request");
                return KE_INVALID_PRODUCER_ID_MAPPING;
            }
            who = s;
            p->adds[p->n_adds++] = (struct txn_partition){topic_name(t), from->index, ERR_NONE};
        }
    }
    if (p->n_adds == 0) return KE_NONE;
    struct txn_producer producer = {in->transactional_id, who.producer_id, who.epoch, true};
    p->added.done = added_durable;
    enum err_code rc = txn_add_partitions(kafka_broker(q), &producer, p->adds, p->n_adds, &p->added, &r, e);
    if (rc != ERR_NONE) return kafka_error_of_txn(rc, r.detail, KE_INVALID_PRODUCER_EPOCH);
    p->is_adding = !r.is_durable;
    p->n_waiting += p->is_adding;
    return KE_NONE;
}

/* Each transaction of the second kind has an epoch of its own, so what a partition does not know begins at 0. */
static bool may_start(struct partition *partition, struct bytes records)
{
    struct sender s = sender_of(records);

    return s.sequence == 0 || !s.is_transactional || partition_knows_producer(partition, s.producer_id, s.epoch);
}

static int16_t append(struct produce *p, const struct kafka_produce_request *in,
                      const struct kafka_produce_request_topic *topic,
                      const struct kafka_produce_request_partition *from, struct produce_part *part, struct err *e)
{
    struct kafka_request *q = p->q;
    struct topic *t = find_topic(q, topic);
    struct partition *partition = t ? topic_partition(t, from->index) : NULL;
    struct append_result result;
    const char *why = NULL;
    enum err_code rc;
    int16_t error;

    if (in->acks < -1 || in->acks > 1) {
        (void)err_set(e, ERR_INVALID, "acks is -1, 0 or 1");
        return KE_INVALID_REQUIRED_ACKS;
    }
    if (t == NULL && kafka_version(q) >= 13) {
        (void)err_set(e, ERR_NOT_FOUND, "no topic has this id");
        return KE_UNKNOWN_TOPIC_ID;
    }
    if (!p->has_txn_right) {
        (void)err_set(e, ERR_DENIED, "not allowed to use this transactional id");
        return KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    if (!kafka_may(q, ACL_WRITE, ACL_TOPIC, t != NULL ? topic_name(t) : topic->name)) {
        (void)err_set(e, ERR_DENIED, "not allowed to write to this topic");
        return KE_TOPIC_AUTHORIZATION_FAILED;
    }
    if (partition == NULL) {
        (void)err_set(e, ERR_NOT_FOUND, "no such topic or partition");
        return KE_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (topic_is_internal(t)) {
        (void)err_set(e, ERR_DENIED, "the topic is internal");
        return KE_INVALID_TOPIC;
    }
    error = check_shape(q, from->records, &why);
    if (error != KE_NONE) {
        (void)err_set(e, ERR_INVALID, "%s", why);
        return error;
    }
    if (kafka_version(q) >= 12 && !may_start(partition, from->records)) {
        (void)err_set(e, ERR_SEQUENCE, "a transaction's first batch has sequence 0");
        return KE_OUT_OF_ORDER_SEQUENCE_NUMBER;
    }
    part->wait.done = part_durable;
    check(from->records.ptr >= q->frame && from->records.ptr + from->records.len <= q->frame_end);
    rc = partition_append(partition, q->frame + (from->records.ptr - q->frame), from->records.len,
                          in->acks == 0 ? NULL : &part->wait, &result, e);
    /* Clients that know the word may abort and go on, where the other one is the end of them. */
    if (rc == ERR_TXN_STATE && kafka_version(q) >= 11) return KE_TRANSACTION_ABORTABLE;
    if (rc != ERR_NONE) return kafka_error_of_append(rc);
    part->out->base_offset = result.base_offset;
    part->out->log_append_time_ms = result.log_append_time_ms;
    part->out->log_start_offset = result.log_start_offset;
    part->is_waiting = in->acks != 0 && !result.is_durable;
    p->n_waiting += part->is_waiting;
    return KE_NONE;
}

/* Counts the partitions and makes room for their answers. */
static struct produce *produce_begin(struct kafka_request *q, const struct kafka_produce_request *in)
{
    struct produce *p = arena_new(&q->arena, struct produce);

    p->q = q;
    p->out.topics.n = in->topics.n;
    p->out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *p->out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++) {
        struct kafka_produce_response_topic *t = &p->out.topics.at[i];

        t->name = arena_copy(&q->arena, in->topics.at[i].name);
        memcpy(t->topic_id, in->topics.at[i].topic_id, 16);
        t->partitions.n = in->topics.at[i].partitions.n;
        t->partitions.at = arena_array(&q->arena, (size_t)t->partitions.n, sizeof *t->partitions.at);
        p->n_parts += t->partitions.n;
    }
    p->parts = arena_array(&q->arena, (size_t)p->n_parts, sizeof *p->parts);
    return p;
}

void kafka_handle_produce(struct kafka_request *q, void *body)
{
    const struct kafka_produce_request *in = body;
    struct produce *p = produce_begin(q, in);
    struct produce_part *part = p->parts;
    int16_t first_error = KE_NONE, refused = KE_NONE;
    struct err e;

    p->has_txn_right =
        in->transactional_id.ptr == NULL || kafka_may(q, ACL_WRITE, ACL_TRANSACTIONAL_ID, in->transactional_id);
    if (UNLIKELY(quotas_any(kafka_broker(q)))) kafka_throttle_produce(q);
    kafka_park(q, p, produce_cancel, NULL);
    if (kafka_version(q) >= 12 && p->has_txn_right && in->transactional_id.ptr != NULL)
        refused = add_to_transaction(p, in, &e);
    for (int32_t i = 0; i < in->topics.n; i++) {
        for (int32_t j = 0; j < in->topics.at[i].partitions.n; j++, part++) {
            const struct kafka_produce_request_partition *from = &in->topics.at[i].partitions.at[j];

            part->produce = p;
            part->out = &p->out.topics.at[i].partitions.at[j];
            wire_init(&kafka_produce_response_partition_wire, part->out);
            part->out->index = from->index;
            part->out->base_offset = -1;
            part->out->error_code = refused != KE_NONE ? refused : append(p, in, &in->topics.at[i], from, part, &e);
            if (part->out->error_code == KE_NONE) continue;
            part->out->error_message = bytes_str(arena_strdup(&q->arena, e.text));
            if (first_error == KE_NONE) first_error = part->out->error_code;
        }
    }
    p->is_started = true;
    if (in->acks == 0 && first_error != KE_NONE)
        kafka_request_fail(q, "produce with acks=0 failed with error %d", first_error);
    else if (in->acks == 0)
        kafka_reply_none(q);
    else if (p->n_waiting == 0)
        kafka_reply(q, &p->out);
    else if (in->timeout_ms > 0) { /* 0 has no meaning here: Kafka answers such a request without waiting */
        p->timer.fire = produce_late;
        kafka_loop(q)->timer_start(kafka_loop(q), &p->timer,
                                   kafka_loop(q)->now_ns(kafka_loop(q)) + (uint64_t)in->timeout_ms * 1000000u);
    }
}
