/* Producing: records gather in one open batch per partition; full batches are sent, several at a time, and answered in
 * order.
 *
 *   produce ──▶ open batch ── full, flush ──▶ in flight (at most 5) ── acknowledged ──▶ delivered
 *                                                   │ retriable error: let all of them finish, then send
 *                                                   └ the rest again, in order, with the same sequence numbers
 *
 * P1  Batches of a partition are numbered when they are closed and never renumbered, so that the broker recognises a
 *     repeat.
 * P2  After a failure nothing new is sent before everything older is acknowledged: order is kept. */
#include <stdlib.h>

#include "app/kclient_int.h"
#include "base/hash.h"
#include "sys/os.h"

#define IN_FLIGHT_MAX 5
#define BATCH_BYTES_DEFAULT (256u << 10)
#define PRODUCE_VERSION_MAX 9

struct pbatch {
    struct list link; /* producer.in_flight */
    struct ppartition *partition;
    struct buf bytes;
    struct batch_builder builder;
    struct kcall call;
    uint64_t deadline_ns;
};
struct ppartition {
    struct kclient_producer *producer;
    struct bytes topic; /* the key in producer.topics: lives as long as the producer */
    int32_t index, next_sequence;
    struct pbatch *open; /* NULL: none */
};
struct ptopic {
    int32_t n, sticky; /* sticky: where records without a key go now */
    struct ppartition *partitions;
};
struct kclient_producer {
    struct kclient *k;
    struct kclient_producer_options o;
    int64_t producer_id;
    int16_t producer_epoch;
    struct map topics; /* name -> struct ptopic */
    struct list in_flight;
    int n_in_flight;
    struct err failed; /* code not ERR_NONE: final */
};

static enum err_code identity_get(struct kclient_producer *p, struct err *e)
{
    uint64_t deadline = kclient_deadline(p->k, p->k->timeout_ms);
    struct kafka_init_producer_id_response r;
    struct kafka_init_producer_id_request q;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_init_producer_id_request_wire, &q);
    q.transactional_id = BYTES_NULL;
    q.transaction_timeout_ms = -1;
    do {
        r.error_code = 0;
        rc = kclient_any(p->k, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_INIT_PRODUCER_ID, 4, &q, &a, &r, deadline, e);
        if (rc == ERR_NONE && r.error_code != 0)
            rc = kerror_set(e, r.error_code, BYTES_NULL, "asking for a producer id");
    } while ((rc == ERR_CLOSED || kerror_of(r.error_code)->is_retriable) && kclient_may_retry(p->k, deadline, e));
    if (rc == ERR_NONE) {
        p->producer_id = r.producer_id;
        p->producer_epoch = r.producer_epoch;
    }
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_producer_open(struct kclient_producer **out, struct kclient *k,
                                    const struct kclient_producer_options *o, struct err *e)
{
    struct kclient_producer *p = calloc(1, sizeof *p);
    enum err_code rc = ERR_NONE;

    *out = NULL;
    check(p != NULL);
    p->k = k;
    p->o = *o;
    if (p->o.batch_bytes == 0) p->o.batch_bytes = BATCH_BYTES_DEFAULT;
    if (p->o.acks_none) p->o.not_idempotent = true;
    p->producer_id = -1;
    p->producer_epoch = -1;
    map_init(&p->topics);
    list_init(&p->in_flight);
    if (!p->o.not_idempotent) rc = identity_get(p, e);
    if (rc != ERR_NONE) {
        kclient_producer_close(p);
        return rc;
    }
    *out = p;
    return ERR_NONE;
}

static void pbatch_free(struct pbatch *b)
{
    kcall_deinit(&b->call);
    buf_deinit(&b->bytes);
    free(b);
}

static enum err_code fail(struct kclient_producer *p, enum err_code rc, struct err *e)
{
    if (e != NULL) p->failed = *e;
    p->failed.code = rc;
    return rc;
}

/* ---- sending ---- */
static enum err_code batch_send(struct pbatch *b, bool again, struct err *e)
{
    struct kclient_producer *p = b->partition->producer;
    struct kafka_produce_request_partition partition = {b->partition->index, buf_bytes(&b->bytes)};
    struct kafka_produce_request_topic topic = {.name = b->partition->topic, .partitions = {&partition, 1}};
    struct kafka_produce_request q = {.topics = {&topic, 1}};
    struct kconn *c;
    int version = 0;
    enum err_code rc = kclient_leader(p->k, b->partition->topic, b->partition->index, again, &c, b->deadline_ns, e);

    q.acks = p->o.acks_none ? 0 : -1;
    q.timeout_ms = p->k->timeout_ms;
    b->call.wants_no_answer = p->o.acks_none;
    if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_PRODUCE, PRODUCE_VERSION_MAX, &version, e);
    if (rc == ERR_NONE && version < 3) rc = err_set(e, ERR_UNSUPPORTED, "the broker is too old for record batches");
    if (rc == ERR_NONE) rc = kcall_start(&b->call, c, KAFKA_PRODUCE, PRODUCE_VERSION_MAX, &q, e);
    return rc;
}

/* ---- answers ---- */
struct outcome {
    enum err_code rc;
    bool may_repeat;
    int64_t base_offset;
};

/* The call is done. */
static struct outcome batch_outcome(struct pbatch *b, struct err *e)
{
    struct outcome o = {ERR_NONE, false, -1};
    struct kafka_produce_response r;
    struct arena a;
    const struct kerror *k;

    if (b->call.wants_no_answer) return o;
    if (b->call.rc != ERR_NONE) {
        o.rc = err_set(e, b->call.rc, "%s", b->call.conn->error.text);
        o.may_repeat = true;
        return o;
    }
    arena_init(&a, 0);
    o.rc = kcall_decode(&b->call, &a, &r, e);
    if (o.rc != ERR_NONE) goto done;
    if (r.topics.n != 1 || r.topics.at[0].partitions.n != 1) {
        o.rc = err_set(e, ERR_PROTOCOL, "a produce answer of another shape than the request");
        goto done;
    }
    o.base_offset = r.topics.at[0].partitions.at[0].base_offset;
    k = kerror_of(r.topics.at[0].partitions.at[0].error_code);
    if (k->code == 0 || k->rc == ERR_DUPLICATE) goto done;
    o.rc = kerror_set(e, r.topics.at[0].partitions.at[0].error_code, r.topics.at[0].partitions.at[0].error_message,
                      "producing to %.*s/%d", BYTES_ARG(b->partition->topic), (int)b->partition->index);
    /* A gap is no error of its own: it follows from an older batch that failed. */
    o.may_repeat = k->is_retriable || k->needs_metadata || k->rc == ERR_SEQUENCE;

done:
    arena_deinit(&a);
    return o;
}

static void batch_delivered(struct pbatch *b, int64_t base_offset)
{
    struct kclient_producer *p = b->partition->producer;

    list_remove(&b->link);
    p->n_in_flight--;
    if (p->o.delivered != NULL)
        p->o.delivered(p->o.arg, b->partition->topic, b->partition->index, base_offset, b->builder.count);
    pbatch_free(b);
}

/* P2: everything that is out is waited for; what failed is sent again, one after the other in the old order. */
static enum err_code recover(struct kclient_producer *p, struct err *e)
{
    struct list *link, *next;

    for (link = p->in_flight.next; link != &p->in_flight; link = next) {
        struct pbatch *b = CONTAINER_OF(link, struct pbatch, link);
        bool is_first = true;

        next = link->next;
        for (;;) {
            struct outcome o = {ERR_CLOSED, true, -1};

            if (b->call.conn != NULL) {
                enum err_code rc = kclient_run_until(p->k, &b->call.is_done, b->deadline_ns, e);

                if (rc != ERR_NONE) return rc;
                o = batch_outcome(b, e);
            }
            if (o.rc == ERR_NONE) {
                batch_delivered(b, o.base_offset);
                break;
            }
            if (!o.may_repeat) return o.rc;
            kcall_deinit(&b->call);
            if (!is_first && !kclient_may_retry(p->k, b->deadline_ns, e)) return o.rc;
            is_first = false;
            o.rc = batch_send(b, true, e);
            if (o.rc != ERR_NONE && o.rc != ERR_CLOSED) return o.rc;
        }
    }
    return ERR_NONE;
}

/* Waits until at most `n` batches are out. */
static enum err_code drain(struct kclient_producer *p, int n, struct err *e)
{
    while (p->n_in_flight > n) {
        struct pbatch *b = CONTAINER_OF(list_first(&p->in_flight), struct pbatch, link);
        struct outcome o;
        enum err_code rc = kclient_run_until(p->k, &b->call.is_done, b->deadline_ns, e);

        if (rc != ERR_NONE) return rc;
        o = batch_outcome(b, e);
        if (o.rc == ERR_NONE) {
            batch_delivered(b, o.base_offset);
            continue;
        }
        if (!o.may_repeat) return o.rc;
        rc = recover(p, e);
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

/* Closes the open batch and sends it. */
static enum err_code partition_send(struct ppartition *t, struct err *e)
{
    struct kclient_producer *p = t->producer;
    struct pbatch *b = t->open;
    enum err_code rc;

    if (b == NULL) return ERR_NONE;
    t->open = NULL;
    if (p->producer_id >= 0) {
        batch_set_producer(&b->builder, p->producer_id, p->producer_epoch, t->next_sequence); /* P1 */
        t->next_sequence = (int32_t)(((uint32_t)t->next_sequence + (uint32_t)b->builder.count) & 0x7fffffff);
    }
    rc = batch_finish(&b->builder, e);
    if (rc == ERR_NONE) rc = drain(p, IN_FLIGHT_MAX - 1, e);
    if (rc != ERR_NONE) {
        pbatch_free(b);
        return rc;
    }
    b->deadline_ns = kclient_deadline(p->k, p->k->timeout_ms);
    list_push_back(&p->in_flight, &b->link);
    p->n_in_flight++;
    rc = batch_send(b, false, e);
    /* Gone between two batches: connect again and repeat whatever was not answered. */
    return rc == ERR_CLOSED ? recover(p, e) : rc;
}

/* ---- records ---- */
static enum err_code topic_get(struct kclient_producer *p, struct bytes name, struct ptopic **out, struct err *e)
{
    struct ptopic *t = map_get(&p->topics, name);
    uint32_t pos = 0;
    struct map_entry *entry;
    int32_t n;
    enum err_code rc;

    *out = t;
    if (t != NULL) return ERR_NONE;
    rc = kclient_partition_count(p->k, name, &n, kclient_deadline(p->k, p->k->timeout_ms), e);
    if (rc != ERR_NONE) return rc;
    t = calloc(1, sizeof *t);
    check(t != NULL);
    t->n = n;
    t->sticky = (int32_t)(os_rng()->next(os_rng()) % (uint64_t)n); /* many short runs share the partitions, too */
    t->partitions = calloc((size_t)n, sizeof *t->partitions);
    check(t->partitions != NULL);
    (void)map_put(&p->topics, name, t);
    while ((entry = map_next(&p->topics, &pos)) != NULL)
        if (entry->value == t) name = entry->key;
    for (int32_t i = 0; i < n; i++)
        t->partitions[i] = (struct ppartition){.producer = p, .topic = name, .index = i};
    *out = t;
    return ERR_NONE;
}

static void batch_open(struct kclient_producer *p, struct ppartition *t)
{
    t->open = calloc(1, sizeof *t->open);
    check(t->open != NULL);
    t->open->partition = t;
    buf_init(&t->open->bytes, 0);
    batch_begin(&t->open->builder, &t->open->bytes, p->o.codec);
}

static enum err_code produce(struct kclient_producer *p, struct bytes topic, int32_t partition, int64_t timestamp_ms,
                             struct bytes key, struct bytes value, const struct record_header *headers,
                             int32_t n_headers, struct err *e)
{
    struct ptopic *t;
    struct ppartition *to;
    enum err_code rc = topic_get(p, topic, &t, e);

    if (rc != ERR_NONE) return rc;
    if (partition >= t->n)
        return err_set(e, ERR_NOT_FOUND, "topic %.*s has no partition %d", BYTES_ARG(topic), (int)partition);
    if (partition < 0) partition = key.ptr != NULL ? hash_partition(key, t->n) : t->sticky;
    to = &t->partitions[partition];
    if (to->open == NULL) batch_open(p, to);
    batch_add(&to->open->builder, timestamp_ms < 0 ? p->k->clock->wall_ms(p->k->clock) : timestamp_ms, key, value,
              headers, n_headers);
    if (batch_size(&to->open->builder) < p->o.batch_bytes) return ERR_NONE;
    if (key.ptr == NULL) t->sticky = (t->sticky + 1) % t->n;
    return partition_send(to, e);
}

enum err_code kclient_produce(struct kclient_producer *p, struct bytes topic, int32_t partition, int64_t timestamp_ms,
                              struct bytes key, struct bytes value, const struct record_header *headers,
                              int32_t n_headers, struct err *e)
{
    struct err own;
    enum err_code rc;

    if (e == NULL) e = &own;
    if (p->failed.code != ERR_NONE) {
        *e = p->failed;
        return e->code;
    }
    rc = produce(p, topic, partition, timestamp_ms, key, value, headers, n_headers, e);
    return rc == ERR_NONE ? rc : fail(p, rc, e);
}

static enum err_code flush(struct kclient_producer *p, struct err *e)
{
    struct map_entry *entry;
    uint32_t pos = 0;

    while ((entry = map_next(&p->topics, &pos)) != NULL) {
        struct ptopic *t = entry->value;

        for (int32_t i = 0; i < t->n; i++) {
            enum err_code rc = partition_send(&t->partitions[i], e);

            if (rc != ERR_NONE) return rc;
        }
        t->sticky = (t->sticky + 1) % t->n;
    }
    return drain(p, 0, e);
}

/* Without answers, being with the kernel is all that can be waited for. */
static enum err_code flush_unanswered(struct kclient_producer *p, struct err *e)
{
    uint64_t deadline = kclient_deadline(p->k, p->k->timeout_ms);
    enum err_code rc = ERR_NONE;
    size_t queued;

    do {
        queued = 0;
        for (struct list *link = p->k->conns.next; link != &p->k->conns; link = link->next) {
            struct kconn *c = CONTAINER_OF(link, struct kconn, link);

            if (c->state == KCONN_OPEN) queued += p->k->net->send_queued(p->k->net, c->conn);
        }
        if (queued > 0) rc = kclient_pause(p->k, 1, deadline, e);
        if (queued > 0 && rc == ERR_NONE && p->k->clock->mono_ns(p->k->clock) >= deadline)
            rc = err_set(e, ERR_TIMEOUT, "the broker takes no more");
    } while (queued > 0 && rc == ERR_NONE);
    return rc;
}

enum err_code kclient_producer_flush(struct kclient_producer *p, struct err *e)
{
    struct kclient *k = p->k;
    struct err own;
    enum err_code rc;

    if (e == NULL) e = &own;
    if (p->failed.code != ERR_NONE && p->failed.code != ERR_CANCELLED) {
        *e = p->failed;
        return e->code;
    }
    /* What was taken before the interrupt is still sent, once. */
    if (atomic_load(&k->is_interrupted) && !k->has_flushed_after_interrupt)
        k->has_flushed_after_interrupt = k->ignores_interrupt = true;
    rc = flush(p, e);
    if (rc == ERR_NONE && p->o.acks_none) rc = flush_unanswered(p, e);
    k->ignores_interrupt = false;
    return rc == ERR_NONE ? rc : fail(p, rc, e);
}

void kclient_producer_close(struct kclient_producer *p)
{
    struct map_entry *entry;
    struct list *link;
    uint32_t pos = 0;

    if (p == NULL) return;
    while ((link = list_pop_front(&p->in_flight)) != NULL)
        pbatch_free(CONTAINER_OF(link, struct pbatch, link));
    while ((entry = map_next(&p->topics, &pos)) != NULL) {
        struct ptopic *t = entry->value;

        for (int32_t i = 0; i < t->n; i++)
            if (t->partitions[i].open != NULL) pbatch_free(t->partitions[i].open);
        free(t->partitions);
        free(t);
    }
    map_deinit(&p->topics);
    free(p);
}
