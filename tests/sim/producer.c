/* producer.c: a client that writes records, with retries, up to five batches in flight.
 *
 * P1  An idempotent one keeps its order: after a failure it waits until nothing is in flight, then sends all that is not
 *     acknowledged again, from the first on, with the same sequences. Until a partition has acknowledged something of
 *     it, one batch is in flight: a broker that does not know a producer takes any sequence (Kafka's rule), also that of
 *     the second batch when the first one failed.
 * P2  A batch is never given up: until its acknowledgement it is sent again. That the first one of all that are
 *     not acknowledged is refused for its sequence must not happen; it is noted, and the producer begins anew.
 * P3  A plain one sends again, too, and so may write twice and out of order. */
#include <stdlib.h>

#include "agent.h"
#include "door/kafka/kafka_int.h"

#define IN_FLIGHT_MAX 5
#define RECORDS_MAX 4

struct lot {
    struct list link;
    uint32_t op;
    int32_t sequence;
    int64_t ids[RECORDS_MAX];
    int n;
    bool is_in_flight, was_refused;
};
struct producer {
    struct agent agent;
    int64_t topic;
    bool is_idempotent, is_asking_id;
    int64_t producer_id; /* -1: none yet */
    int16_t epoch;
    int left; /* batches still to make */
    struct partition_state {
        struct list lots; /* not acknowledged, in order */
        int32_t next_sequence;
        bool is_recovering, is_known; /* P1 */
    } partitions[N_PARTITIONS];
};

static struct producer *self(struct agent *a)
{
    return CONTAINER_OF(a, struct producer, agent);
}

static int n_in_flight(struct partition_state *p)
{
    int n = 0;

    for (struct list *i = p->lots.next; i != &p->lots; i = i->next)
        n += CONTAINER_OF(i, struct lot, link)->is_in_flight;
    return n;
}

static struct lot *lot_of(struct partition_state *p, uint32_t op)
{
    for (struct list *i = p->lots.next; i != &p->lots; i = i->next) {
        struct lot *l = CONTAINER_OF(i, struct lot, link);
        if (l->op == op) return l;
    }
    return NULL;
}

/* ---- the id ---- */

/* A new identity: what is not acknowledged is dropped (its outcome stays unknown), as a real client fails it. */
static void identity_drop(struct producer *p)
{
    struct list *n;

    p->producer_id = -1;
    for (int i = 0; i < N_PARTITIONS; i++) {
        while ((n = list_pop_front(&p->partitions[i].lots)) != NULL)
            free(CONTAINER_OF(n, struct lot, link));
        p->partitions[i].next_sequence = 0;
        p->partitions[i].is_recovering = p->partitions[i].is_known = false;
    }
}

static void on_identity(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_init_producer_id_response *r = answer;
    struct producer *p = self(a);

    p->is_asking_id = false;
    if (r == NULL || agent_code(a, KAFKA_INIT_PRODUCER_ID, r->error_code)) return;
    p->producer_id = r->producer_id;
    p->epoch = r->producer_epoch;
    world_note(a->world, &(struct event){.kind = EVENT_INIT,
                                         .client = a->id,
                                         .since = c->since,
                                         .producer_id = r->producer_id,
                                         .epoch = r->producer_epoch});
    agent_wake(a, 0);
}

static void identity_ask(struct producer *p)
{
    struct kafka_init_producer_id_request q;

    wire_init(&kafka_init_producer_id_request_wire, &q);
    q.transactional_id = BYTES_NULL;
    q.transaction_timeout_ms = 60000;
    q.producer_id = -1;
    q.producer_epoch = -1;
    p->is_asking_id = agent_call(&p->agent, KAFKA_INIT_PRODUCER_ID, 3, &q, on_identity, CALL_TIMEOUT_MS) != NULL;
}

/* ---- batches ---- */

static struct lot *lot_make(struct producer *p, int32_t partition)
{
    struct partition_state *s = &p->partitions[partition];
    struct world *w = p->agent.world;
    struct lot *l = calloc(1, sizeof *l);

    check(l != NULL);
    l->op = history_op(w->history);
    l->n = 1 + (int)world_random(w, RECORDS_MAX);
    l->sequence = s->next_sequence;
    s->next_sequence += l->n;
    for (int i = 0; i < l->n; i++) {
        l->ids[i] = w->next_id++;
        history_item(w->history, l->ids[i]);
    }
    world_note(w, &(struct event){.kind = EVENT_SEND,
                                  .client = p->agent.id,
                                  .op = l->op,
                                  .topic = p->topic,
                                  .partition = partition,
                                  .producer_id = p->producer_id,
                                  .epoch = p->epoch,
                                  .sequence = p->is_idempotent ? l->sequence : -1});
    list_push_back(&s->lots, &l->link);
    p->left--;
    return l;
}

static void on_produced(struct agent *a, struct call *c, const void *answer)
{
    struct producer *p = self(a);
    struct partition_state *s = &p->partitions[c->arg];
    struct lot *l = lot_of(s, c->op);
    int16_t code;

    if (l == NULL) return; /* of an identity that was dropped */
    l->is_in_flight = false;
    agent_wake(a, world_random(a->world, 30));
    if (answer == NULL) {
        s->is_recovering = true;
        return;
    }
    code = agent_produced(answer)->error_code;
    if (!agent_code(a, KAFKA_PRODUCE, code)) {
        world_note(a->world, &(struct event){.kind = EVENT_SENT,
                                             .client = a->id,
                                             .op = l->op,
                                             .offset = agent_produced(answer)->base_offset});
        list_remove(&l->link);
        free(l);
        s->is_known = true;
        return;
    }
    world_note(a->world, &(struct event){.kind = EVENT_SENT, .client = a->id, .op = l->op, .error = code});
    if (code == KE_OUT_OF_ORDER_SEQUENCE_NUMBER && list_first(&s->lots) == &l->link && !s->is_recovering) { /* P2 */
        world_note(a->world, &(struct event){.kind = EVENT_REFUSED, .client = a->id, .op = l->op, .error = code});
        identity_drop(p);
        return;
    }
    s->is_recovering = true;
}

static void lot_send(struct producer *p, int32_t partition, struct lot *l)
{
    struct agent *a = &p->agent;
    struct bytes batch = agent_batch(a, l->ids, l->n, p->producer_id, p->epoch, l->sequence, false);
    struct call *c = agent_produce(a, NULL, p->topic, partition, batch, on_produced);

    if (c == NULL) return;
    c->op = l->op;
    l->is_in_flight = true;
}

static int in_flight_max(const struct producer *p, const struct partition_state *s)
{
    return p->is_idempotent && !s->is_known ? 1 : IN_FLIGHT_MAX;
}

static void partition_turn(struct producer *p, int32_t partition)
{
    struct partition_state *s = &p->partitions[partition];
    struct world *w = p->agent.world;

    if (s->is_recovering) {
        if (n_in_flight(s) > 0) return;
        s->is_recovering = false;
        for (struct list *i = s->lots.next; i != &s->lots; i = i->next)
            lot_send(p, partition, CONTAINER_OF(i, struct lot, link));
    }
    while (p->left > 0 && n_in_flight(s) < in_flight_max(p, s) && world_chance(w, 600))
        lot_send(p, partition, lot_make(p, partition));
}

static void producer_turn(struct agent *a)
{
    struct producer *p = self(a);

    if (p->is_idempotent && p->producer_id < 0) {
        if (!p->is_asking_id) identity_ask(p);
        return;
    }
    for (int32_t i = 0; i < N_PARTITIONS; i++)
        partition_turn(p, i);
    agent_wake(a, 1 + world_random(a->world, a->world->is_healing ? 20 : 250));
}

static void producer_lost(struct agent *a)
{
    self(a)->is_asking_id = false;
}

static bool producer_is_done(struct agent *a)
{
    struct producer *p = self(a);

    for (int i = 0; i < N_PARTITIONS; i++)
        if (!list_is_empty(&p->partitions[i].lots)) return false;
    return p->left == 0;
}

static bool producer_is_feeding(struct agent *a)
{
    return !producer_is_done(a);
}

static void producer_destroy(struct agent *a)
{
    identity_drop(self(a));
    free(self(a));
}

struct agent *producer_create(struct world *w, int64_t topic, bool is_idempotent)
{
    static const struct agent_ops ops = {"producer",       producer_turn,       producer_lost,
                                         producer_is_done, producer_is_feeding, producer_destroy};
    struct producer *p = calloc(1, sizeof *p);

    check(p != NULL);
    p->topic = topic;
    p->is_idempotent = is_idempotent;
    p->producer_id = -1;
    p->left = w->plan.n_batches;
    for (int i = 0; i < N_PARTITIONS; i++)
        list_init(&p->partitions[i].lots);
    agent_init(&p->agent, w, &ops);
    return &p->agent;
}
