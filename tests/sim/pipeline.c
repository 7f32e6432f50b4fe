/* pipeline.c: a client that reads a topic, writes to another one and commits what it has read, all in one transaction:
 *
 *   INIT ─▶ OFFSETS ─▶ FETCH ─▶ ADD_PARTITIONS ─▶ ADD_OFFSETS ─▶ PRODUCE (0, 1) ─▶ COMMIT_OFFSETS ─▶ END ─┐
 *    ▲         ▲         ▲                                                            committed │ aborted   │
 *    │         └─────────┼──────────────────────────────────────────────────────────────────────┼───────────┤
 *    │                   └──────────────────────────────────────────────────────────────────────┘           │
 *    └── fenced, refused, or the connection was lost in between ◀──────────────────────────────────────────┘
 *
 * X1  In the transactions that clients know since 0.11 a late EndTxn or Produce of one transaction may strike the next
 *     one of the same epoch. So a client that lost a connection inside of a transaction takes a new epoch first, which
 *     fences all that may still be under way.
 * X2  Twins share the transactional id and fence each other, also out of a long sleep, in the middle of a transaction. */
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "door/kafka/kafka_int.h"

#define RECORDS_MAX 6
#define RETRY_MS 40
#define RETRIES_MAX 40
#define TXN_TIMEOUT_MS 6000

enum state {
    STATE_INIT,
    STATE_OFFSETS,
    STATE_FETCH,
    STATE_ADD_PARTITIONS,
    STATE_ADD_OFFSETS,
    STATE_PRODUCE,
    STATE_COMMIT_OFFSETS,
    STATE_END,
};
struct output {
    int64_t ids[RECORDS_MAX], sources[RECORDS_MAX];
    int n;
    uint32_t op;
    int32_t next_sequence;
    bool is_sent; /* and acknowledged, in this transaction */
};
struct pipeline {
    struct agent agent;
    int number;
    bool is_twin, is_busy, is_commit, is_stopped;
    char id[16], group[16];
    enum state state;
    int64_t producer_id; /* -1: none */
    int16_t epoch;
    int n_tries, n_ends; /* of a request; of the transaction: how often its end was sent */
    /* The input. */
    int64_t positions[N_PARTITIONS];
    bool is_at_end[N_PARTITIONS]; /* and nothing new was to come when it asked */
    bool was_fed;
    int32_t partition; /* that this transaction reads */
    int64_t next;      /* of the partition, when it is committed */
    /* The transaction. */
    int64_t txn;
    uint32_t commit_op;
    struct output outputs[N_PARTITIONS];
};

static struct pipeline *self(struct agent *a)
{
    return CONTAINER_OF(a, struct pipeline, agent);
}

static void go(struct pipeline *p, enum state s)
{
    p->state = s;
    p->n_tries = 0;
    agent_wake(&p->agent, p->agent.world->is_healing ? 1 : world_random(p->agent.world, 25));
}

static void start_over(struct pipeline *p, bool is_known)
{
    struct world *w = p->agent.world;

    if (!is_known) p->producer_id = -1;
    p->state = STATE_INIT;
    p->n_tries = 0;
    agent_wake(&p->agent, 1 + world_random(w, w->is_healing ? 50 : 1500));
}

/* True: the answer was good. */
static bool is_good(struct pipeline *p, int16_t api, int16_t code)
{
    if (!agent_code(&p->agent, api, code)) return true;
    switch (code) {
    case KE_CONCURRENT_TRANSACTIONS:
    case KE_UNSTABLE_OFFSET_COMMIT:
    case KE_COORDINATOR_LOAD_IN_PROGRESS:
    case KE_COORDINATOR_NOT_AVAILABLE:
    case KE_NOT_COORDINATOR:
    case KE_UNKNOWN_TOPIC_OR_PARTITION:
    case KE_LEADER_NOT_AVAILABLE:
    case KE_REQUEST_TIMED_OUT:
    case KE_KAFKA_STORAGE_ERROR:
        if (++p->n_tries < RETRIES_MAX) {
            agent_wake(&p->agent, RETRY_MS);
            return false;
        }
        start_over(p, true);
        return false;
    default: start_over(p, false); return false;
    }
}

/* The connection ended under a call. */
static void was_lost(struct pipeline *p)
{
    struct world *w = p->agent.world;

    if (p->state <= STATE_FETCH) return;                       /* ask again */
    if (p->state == STATE_END && world_chance(w, 500)) return; /* the same end once more, then X1 */
    start_over(p, world_chance(w, 700));
}

/* ---- INIT ---- */

static void on_init(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_init_producer_id_response *r = answer;
    struct pipeline *p = self(a);

    p->is_busy = false;
    if (r == NULL || !is_good(p, KAFKA_INIT_PRODUCER_ID, r->error_code)) return;
    p->producer_id = r->producer_id;
    p->epoch = r->producer_epoch;
    for (int i = 0; i < N_PARTITIONS; i++)
        p->outputs[i].next_sequence = 0;
    world_note(a->world, &(struct event){.kind = EVENT_INIT,
                                         .client = a->id,
                                         .since = c->since,
                                         .txn_id = p->number,
                                         .producer_id = r->producer_id,
                                         .epoch = r->producer_epoch});
    go(p, STATE_OFFSETS);
}

static struct call *init_ask(struct pipeline *p)
{
    struct kafka_init_producer_id_request q;

    wire_init(&kafka_init_producer_id_request_wire, &q);
    q.transactional_id = bytes_str(p->id);
    q.transaction_timeout_ms = TXN_TIMEOUT_MS;
    q.producer_id = p->producer_id;
    q.producer_epoch = p->producer_id < 0 ? -1 : p->epoch;
    return agent_call(&p->agent, KAFKA_INIT_PRODUCER_ID, 3, &q, on_init, CALL_TIMEOUT_MS);
}

/* ---- OFFSETS ---- */

static void on_offsets(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_offset_fetch_response *r = answer;
    struct pipeline *p = self(a);

    p->is_busy = false;
    if (r == NULL || !is_good(p, KAFKA_OFFSET_FETCH, agent_offsets_code(r))) return;
    agent_offsets_take(a, c, r, GROUP_PIPELINE + p->number, TOPIC_IN, p->positions);
    for (int i = 0; i < N_PARTITIONS; i++)
        if (p->positions[i] < 0) p->positions[i] = 0;
    go(p, STATE_FETCH);
}

/* ---- FETCH ---- */

/* One output record for each input record, to the partition that its offset says. */
static int outputs_make(struct pipeline *p, struct bytes records, int64_t from)
{
    struct world *w = p->agent.world;
    int n = 0, n_max = 1 + (int)world_random(w, RECORDS_MAX);
    struct batch_view v;

    for (int i = 0; i < N_PARTITIONS; i++)
        p->outputs[i].n = 0;
    for (; records.len > 0 && n < n_max; records = bytes_slice(records, v.bytes.len, records.len - v.bytes.len)) {
        if (batch_view_parse(&v, records, NULL) != ERR_NONE) break;
        for (int64_t at = v.base_offset; at <= batch_last_offset(&v) && n < n_max; at++) {
            struct output *o = &p->outputs[at % N_PARTITIONS];
            if (at < from) continue;
            o->ids[o->n] = w->next_id++;
            o->sources[o->n++] = at;
            p->next = at + 1;
            n++;
        }
    }
    return n;
}

static void on_fetched(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_fetch_response *r = answer;
    struct pipeline *p = self(a);

    p->is_busy = false;
    if (r == NULL) return;
    agent_wake(a, 1 + world_random(a->world, a->world->is_healing ? 5 : 100));
    if (agent_code(a, KAFKA_FETCH, r->error_code)) return;
    const struct kafka_fetch_response_partition *f = agent_fetched(answer);
    check(f != NULL);
    if (agent_code(a, KAFKA_FETCH, f->error_code)) return;
    p->is_at_end[c->arg] = p->was_fed && p->positions[c->arg] >= f->high_watermark;
    p->partition = (int32_t)c->arg;
    if (outputs_make(p, f->records, p->positions[c->arg]) == 0) {
        p->partition = (p->partition + 1) % N_PARTITIONS; /* look at the other one */
        return;
    }
    p->txn = ++a->world->next_txn;
    p->is_commit = world_chance(a->world, a->world->is_healing ? 1000 : 750);
    go(p, STATE_ADD_PARTITIONS);
}

/* ---- ADD_PARTITIONS, ADD_OFFSETS ---- */

static void on_partitions_added(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_add_partitions_to_txn_response *r = answer;
    struct pipeline *p = self(a);

    (void)c;
    p->is_busy = false;
    if (r == NULL) {
        was_lost(p);
        return;
    }
    for (int32_t i = 0; i < r->results.n; i++)
        for (int32_t k = 0; k < r->results.at[i].results.n; k++)
            if (!is_good(p, KAFKA_ADD_PARTITIONS_TO_TXN, r->results.at[i].results.at[k].error_code)) return;
    go(p, STATE_ADD_OFFSETS);
}

static struct call *partitions_add(struct pipeline *p)
{
    struct kafka_add_partitions_to_txn_request_topic t;
    struct kafka_add_partitions_to_txn_request q;
    int32_t partitions[N_PARTITIONS];
    int32_t n = 0;

    wire_init(&kafka_add_partitions_to_txn_request_wire, &q);
    wire_init(&kafka_add_partitions_to_txn_request_topic_wire, &t);
    for (int i = 0; i < N_PARTITIONS; i++) {
        p->outputs[i].is_sent = false;
        p->outputs[i].op = 0;
        if (p->outputs[i].n > 0) partitions[n++] = i;
    }
    t.name = bytes_str(topic_name_of(TOPIC_OUT));
    t.partitions.at = partitions;
    t.partitions.n = n;
    q.transactional_id = bytes_str(p->id);
    q.producer_id = p->producer_id;
    q.producer_epoch = p->epoch;
    q.topics.at = &t;
    q.topics.n = 1;
    return agent_call(&p->agent, KAFKA_ADD_PARTITIONS_TO_TXN, 2, &q, on_partitions_added, CALL_TIMEOUT_MS);
}

static void on_offsets_added(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_add_offsets_to_txn_response *r = answer;
    struct pipeline *p = self(a);

    (void)c;
    p->is_busy = false;
    if (r == NULL)
        was_lost(p);
    else if (is_good(p, KAFKA_ADD_OFFSETS_TO_TXN, r->error_code))
        go(p, STATE_PRODUCE);
}

static struct call *offsets_add(struct pipeline *p)
{
    struct kafka_add_offsets_to_txn_request q = {.transactional_id = bytes_str(p->id),
                                                 .producer_id = p->producer_id,
                                                 .producer_epoch = p->epoch,
                                                 .group_id = bytes_str(p->group)};

    return agent_call(&p->agent, KAFKA_ADD_OFFSETS_TO_TXN, 2, &q, on_offsets_added, CALL_TIMEOUT_MS);
}

/* ---- PRODUCE ---- */

static struct output *output_due(struct pipeline *p, int32_t *partition)
{
    for (int32_t i = 0; i < N_PARTITIONS; i++) {
        *partition = i;
        if (p->outputs[i].n > 0 && !p->outputs[i].is_sent) return &p->outputs[i];
    }
    return NULL;
}

static void on_produced(struct agent *a, struct call *c, const void *answer)
{
    struct pipeline *p = self(a);
    struct output *o = &p->outputs[c->arg];

    p->is_busy = false;
    if (answer == NULL) {
        was_lost(p);
        return;
    }
    const struct kafka_produce_response_partition *r = agent_produced(answer);
    world_note(a->world,
               &(struct event){
                   .kind = EVENT_SENT, .client = a->id, .op = c->op, .offset = r->base_offset, .error = r->error_code});
    if (!is_good(p, KAFKA_PRODUCE, r->error_code)) return;
    o->is_sent = true;
    o->next_sequence += o->n;
    int32_t partition;
    go(p, output_due(p, &partition) != NULL ? STATE_PRODUCE : STATE_COMMIT_OFFSETS);
}

static struct call *output_send(struct pipeline *p)
{
    struct agent *a = &p->agent;
    int32_t partition;
    struct output *o = output_due(p, &partition);
    struct bytes batch = agent_batch(a, o->ids, o->n, p->producer_id, p->epoch, o->next_sequence, true);
    struct call *c = agent_produce(a, p->id, TOPIC_OUT, partition, batch, on_produced);

    if (c == NULL) return NULL;
    if (o->op == 0) { /* a retry is the same */
        o->op = history_op(a->world->history);
        for (int i = 0; i < o->n; i++) {
            history_item(a->world->history, o->ids[i]);
            history_item(a->world->history, o->sources[i]);
        }
        world_note(a->world, &(struct event){.kind = EVENT_SEND,
                                             .client = a->id,
                                             .op = o->op,
                                             .topic = TOPIC_OUT,
                                             .partition = partition,
                                             .producer_id = p->producer_id,
                                             .epoch = p->epoch,
                                             .sequence = o->next_sequence,
                                             .txn = p->txn,
                                             .value = p->partition});
    }
    c->op = o->op;
    return c;
}

/* ---- COMMIT_OFFSETS ---- */

static void on_offsets_committed(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_txn_offset_commit_response *r = answer;
    struct pipeline *p = self(a);

    p->is_busy = false;
    if (r == NULL) {
        was_lost(p);
        return;
    }
    check(r->topics.n == 1 && r->topics.at[0].partitions.n == 1);
    int16_t code = r->topics.at[0].partitions.at[0].error_code;
    world_note(a->world, &(struct event){.kind = EVENT_COMMITTED, .client = a->id, .op = c->op, .error = code});
    if (is_good(p, KAFKA_TXN_OFFSET_COMMIT, code)) go(p, STATE_END);
}

static struct call *offsets_commit(struct pipeline *p)
{
    struct kafka_txn_offset_commit_request_partition o;
    struct kafka_txn_offset_commit_request_topic t;
    struct kafka_txn_offset_commit_request q;
    struct agent *a = &p->agent;

    wire_init(&kafka_txn_offset_commit_request_wire, &q);
    wire_init(&kafka_txn_offset_commit_request_topic_wire, &t);
    wire_init(&kafka_txn_offset_commit_request_partition_wire, &o);
    o.index = p->partition;
    o.committed_offset = p->next;
    t.name = bytes_str(topic_name_of(TOPIC_IN));
    t.partitions.at = &o;
    t.partitions.n = 1;
    q.transactional_id = bytes_str(p->id);
    q.group_id = bytes_str(p->group);
    q.producer_id = p->producer_id;
    q.producer_epoch = p->epoch;
    q.topics.at = &t;
    q.topics.n = 1;
    struct call *c = agent_call(a, KAFKA_TXN_OFFSET_COMMIT, 3, &q, on_offsets_committed, CALL_TIMEOUT_MS);
    if (c == NULL) return NULL;
    c->op = history_op(a->world->history);
    world_note(a->world, &(struct event){.kind = EVENT_COMMIT,
                                         .client = a->id,
                                         .op = c->op,
                                         .group = GROUP_PIPELINE + p->number,
                                         .member = -1,
                                         .generation = -1,
                                         .topic = TOPIC_IN,
                                         .partition = p->partition,
                                         .offset = p->next,
                                         .txn = p->txn});
    return c;
}

/* ---- END ---- */

static void on_ended(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_end_txn_response *r = answer;
    struct pipeline *p = self(a);

    p->is_busy = false;
    if (r == NULL) {
        was_lost(p);
        return;
    }
    world_note(a->world, &(struct event){.kind = EVENT_ENDED, .client = a->id, .op = c->op, .error = r->error_code});
    if (!is_good(p, KAFKA_END_TXN, r->error_code)) return;
    if (c->arg != 0) {
        start_over(p, true); /* X1: the end before it was lost */
        return;
    }
    if (!p->is_commit) {
        go(p, STATE_OFFSETS);
        return;
    }
    p->positions[p->partition] = p->next;
    p->is_at_end[p->partition] = false;
    p->partition = (p->partition + 1) % N_PARTITIONS;
    go(p, STATE_FETCH);
}

static struct call *end_send(struct pipeline *p)
{
    struct kafka_end_txn_request q = {.transactional_id = bytes_str(p->id),
                                      .producer_id = p->producer_id,
                                      .producer_epoch = p->epoch,
                                      .committed = p->is_commit};
    struct agent *a = &p->agent;
    struct call *c = agent_call(a, KAFKA_END_TXN, 2, &q, on_ended, CALL_TIMEOUT_MS);

    if (c == NULL) return NULL;
    c->op = history_op(a->world->history);
    c->arg = p->n_ends++;
    world_note(a->world, &(struct event){.kind = EVENT_END,
                                         .client = a->id,
                                         .op = c->op,
                                         .txn = p->txn,
                                         .producer_id = p->producer_id,
                                         .epoch = p->epoch,
                                         .value = p->is_commit});
    return c;
}

/* ---- the agent ---- */

static bool pipeline_is_done(struct agent *a);

/* Nothing new comes into the input. */
static bool input_is_fed(const struct world *w)
{
    for (int i = 0; i < w->n_agents; i++) {
        struct agent *a = w->agents[i];
        if (a->ops->is_done != pipeline_is_done && a->ops->is_feeding != NULL && a->ops->is_feeding(a)) return false;
    }
    return true;
}

static void pipeline_turn(struct agent *a)
{
    struct pipeline *p = self(a);
    struct call *c = NULL;

    if (p->is_twin && a->world->is_healing) p->is_stopped = true;
    if (p->is_busy || p->is_stopped) return;
    switch (p->state) {
    case STATE_INIT: c = init_ask(p); break;
    case STATE_OFFSETS: c = agent_offsets(a, p->group, TOPIC_IN, true, on_offsets); break;
    case STATE_FETCH:
        p->was_fed = input_is_fed(a->world);
        c = agent_fetch(a, TOPIC_IN, p->partition, p->positions[p->partition], true, 20, on_fetched);
        break;
    case STATE_ADD_PARTITIONS:
        p->n_ends = 0;
        c = partitions_add(p);
        break;
    case STATE_ADD_OFFSETS: c = offsets_add(p); break;
    case STATE_PRODUCE: c = output_send(p); break;
    case STATE_COMMIT_OFFSETS: c = offsets_commit(p); break;
    case STATE_END: c = end_send(p); break;
    }
    p->is_busy = c != NULL;
}

static void pipeline_lost(struct agent *a)
{
    struct pipeline *p = self(a);

    /* Between two requests of a transaction: nothing of ours is under way, it may go on. */
    p->is_busy = false;
}

static bool pipeline_is_done(struct agent *a)
{
    struct pipeline *p = self(a);

    if (p->is_twin) return a->world->is_healing;
    if (p->state != STATE_FETCH || !input_is_fed(a->world)) return false;
    for (int i = 0; i < N_PARTITIONS; i++)
        if (!p->is_at_end[i]) return false;
    return true;
}

static bool pipeline_is_feeding(struct agent *a)
{
    return !pipeline_is_done(a);
}

static void pipeline_destroy(struct agent *a)
{
    free(self(a));
}

struct agent *pipeline_create(struct world *w, int number, bool is_twin)
{
    static const struct agent_ops ops = {"pipeline",       pipeline_turn,       pipeline_lost,
                                         pipeline_is_done, pipeline_is_feeding, pipeline_destroy};
    struct pipeline *p = calloc(1, sizeof *p);

    check(p != NULL);
    p->number = number;
    p->is_twin = is_twin;
    p->producer_id = -1;
    (void)snprintf(p->id, sizeof p->id, "pipe%d", number);
    (void)snprintf(p->group, sizeof p->group, "pipe%d", number);
    agent_init(&p->agent, w, &ops);
    return &p->agent;
}
