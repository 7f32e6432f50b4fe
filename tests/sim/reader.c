/* reader.c: clients that read partitions from their beginning: at either isolation level, as an application does,
 * or (the auditor) everything that is stored, markers included.
 *
 * R1  At read_committed the broker says which transactions were aborted, and the client leaves out their records: from
 *     the first offset of one to its marker. What is left is what the application gets. */
#include <stdlib.h>

#include "agent.h"
#include "door/kafka/kafka_int.h"

#define ABORTED_MAX 64

struct reader {
    struct agent agent;
    enum read_level level;
    int64_t topics[TOPIC_COUNT];
    int n_topics;
    int at; /* which partition is next */
    struct place {
        int64_t position;
        bool is_at_end; /* and nothing new was to come when it asked */
    } places[TOPIC_COUNT * N_PARTITIONS];
    struct buf scratch;
    int n_places;
    bool is_fetching, was_fed;
    int n_groups; /* of which the auditor knows the offsets */
};

static struct reader *self(struct agent *a)
{
    return CONTAINER_OF(a, struct reader, agent);
}

/* ---- what a fetch brought ---- */

/* The ids of producers that are inside of an aborted transaction at this place (R1). */
struct aborted_set {
    int64_t producers[ABORTED_MAX];
    int n;
};

static bool aborted_has(const struct aborted_set *s, int64_t producer_id)
{
    for (int i = 0; i < s->n; i++)
        if (s->producers[i] == producer_id) return true;
    return false;
}

static void aborted_leave(struct aborted_set *s, int64_t producer_id)
{
    for (int i = 0; i < s->n; i++)
        if (s->producers[i] == producer_id) {
            s->producers[i] = s->producers[--s->n];
            return;
        }
}

/* Those that begin at or before the batch. */
static void aborted_enter(struct aborted_set *s, const struct kafka_fetch_response_partition *p, bool *taken,
                          const struct batch_view *v)
{
    for (int i = 0; i < p->aborted_transactions.n && i < ABORTED_MAX; i++) {
        const struct kafka_fetch_response_aborted *t = &p->aborted_transactions.at[i];
        if (taken[i] || t->first_offset > batch_last_offset(v)) continue;
        taken[i] = true;
        if (!aborted_has(s, t->producer_id)) s->producers[s->n++] = t->producer_id;
    }
}

static void items_of_batch(struct reader *r, const struct batch_view *v, int64_t from)
{
    struct batch_iter it;
    struct record rec;
    bool more;

    check(batch_iter_init(&it, v, &r->scratch, NULL) == ERR_NONE);
    for (;;) {
        check(batch_iter_next(&it, &rec, &more, NULL) == ERR_NONE);
        if (!more) return;
        if (rec.offset < from) continue;
        history_item(r->agent.world->history, rec.offset);
        history_item(r->agent.world->history, agent_id_of(rec.value));
    }
}

/* Puts what the application gets as items; returns where to go on. */
static int64_t records_take(struct reader *r, const struct kafka_fetch_response_partition *p, int64_t from)
{
    struct bytes left = p->records;
    struct aborted_set aborted = {.n = 0};
    bool taken[ABORTED_MAX] = {false};
    int64_t next = from;
    struct batch_view v;

    for (; left.len > 0; left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len)) {
        if (batch_view_parse(&v, left, NULL) != ERR_NONE) break; /* cut by max_bytes */
        check(batch_check_crc(&v, NULL) == ERR_NONE);
        next = batch_last_offset(&v) + 1;
        if (r->level == READ_COMMITTED) aborted_enter(&aborted, p, taken, &v);
        if (r->level == READ_AUDIT) continue; /* batches_note */
        if (v.attributes & BATCH_ATTR_CONTROL) {
            aborted_leave(&aborted, v.producer_id);
            continue;
        }
        if (r->level == READ_COMMITTED && (v.attributes & BATCH_ATTR_TRANSACTIONAL) &&
            aborted_has(&aborted, v.producer_id))
            continue;
        items_of_batch(r, &v, from);
    }
    return next;
}

static void batches_note(struct reader *r, const struct kafka_fetch_response_partition *p, const struct event *read)
{
    struct bytes left = p->records;
    struct batch_view v;

    for (; left.len > 0; left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len)) {
        if (batch_view_parse(&v, left, NULL) != ERR_NONE) break;
        if (!(v.attributes & BATCH_ATTR_CONTROL)) items_of_batch(r, &v, 0);
        world_note(r->agent.world, &(struct event){.kind = EVENT_BATCH,
                                                   .client = r->agent.id,
                                                   .topic = read->topic,
                                                   .partition = read->partition,
                                                   .offset = v.base_offset,
                                                   .next = batch_last_offset(&v) + 1,
                                                   .producer_id = v.producer_id,
                                                   .epoch = v.producer_epoch,
                                                   .sequence = v.base_sequence,
                                                   .value = batch_control_of(&v),
                                                   .txn = (v.attributes & BATCH_ATTR_TRANSACTIONAL) != 0});
    }
}

static void on_fetched(struct agent *a, struct call *c, const void *answer)
{
    struct reader *r = self(a);
    struct place *place = &r->places[c->arg];
    const struct kafka_fetch_response_partition *p;

    r->is_fetching = false;
    if (answer == NULL) return;
    agent_wake(a, a->world->is_healing ? 5 : world_random(a->world, 120));
    if (agent_code(a, KAFKA_FETCH, ((const struct kafka_fetch_response *)answer)->error_code)) return;
    p = agent_fetched(answer);
    check(p != NULL);
    struct event ev = {.kind = EVENT_READ,
                       .client = a->id,
                       .since = c->since,
                       .level = r->level,
                       .topic = r->topics[c->arg / N_PARTITIONS],
                       .partition = c->arg % N_PARTITIONS,
                       .offset = place->position,
                       .next = place->position,
                       .high_watermark = p->high_watermark,
                       .last_stable = p->last_stable_offset,
                       .log_start = p->log_start_offset,
                       .error = p->error_code};
    if (p->error_code == KE_OFFSET_OUT_OF_RANGE && p->log_start_offset > place->position)
        ev.next = p->log_start_offset; /* trimmed: go on where there is something */
    if (!agent_code(a, KAFKA_FETCH, p->error_code)) ev.next = records_take(r, p, place->position);
    place->position = ev.next;
    place->is_at_end = r->was_fed && p->error_code == 0 && ev.next >= p->high_watermark;
    /* A topic that is gone has nothing more to read. */
    if (p->error_code == KE_UNKNOWN_TOPIC_OR_PARTITION && ev.topic >= TOPIC_CHURN) place->is_at_end = true;
    world_note(a->world, &ev);
    if (r->level == READ_AUDIT && ev.error == 0) batches_note(r, p, &ev);
}

static const struct {
    const char *name;
    int64_t number, topic;
} audited_groups[] = {{"members", GROUP_MEMBERS, TOPIC_DATA}, {"pipe1", GROUP_PIPELINE + 1, TOPIC_IN}};

static void on_offsets(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_offset_fetch_response *o = answer;
    struct reader *r = self(a);
    int64_t offsets[N_PARTITIONS];

    r->is_fetching = false;
    agent_wake(a, 5);
    if (o == NULL || agent_code(a, KAFKA_OFFSET_FETCH, agent_offsets_code(o))) return;
    agent_offsets_take(a, c, o, audited_groups[r->n_groups].number, audited_groups[r->n_groups].topic, offsets);
    r->n_groups++;
}

static void reader_turn(struct agent *a)
{
    struct reader *r = self(a);

    if (r->is_fetching) return;
    if (r->level == READ_AUDIT && r->n_groups < (int)ARRAY_LEN(audited_groups)) {
        r->is_fetching = agent_offsets(a, audited_groups[r->n_groups].name, audited_groups[r->n_groups].topic, true,
                                       on_offsets) != NULL;
        return;
    }
    for (int i = 0; i < r->n_places; i++) {
        r->at = (r->at + 1) % r->n_places;
        if (r->level != READ_AUDIT || !r->places[r->at].is_at_end) break;
    }
    int64_t topic = r->topics[r->at / N_PARTITIONS];
    r->was_fed = world_is_fed(a->world);
    struct call *c = agent_fetch(a, topic, r->at % N_PARTITIONS, r->places[r->at].position, r->level == READ_COMMITTED,
                                 r->level == READ_AUDIT ? 0 : (int)world_random(a->world, 30), on_fetched);
    if (c == NULL) return;
    c->arg = r->at;
    r->is_fetching = true;
}

static void reader_lost(struct agent *a)
{
    self(a)->is_fetching = false;
}

/* Nothing new comes any more, and it is at the end of everything. */
static bool reader_is_done(struct agent *a)
{
    struct reader *r = self(a);

    if (!world_is_fed(a->world)) return false;
    for (int i = 0; i < r->n_places; i++)
        if (!r->places[i].is_at_end) return false;
    return r->level != READ_AUDIT || r->n_groups == (int)ARRAY_LEN(audited_groups);
}

static void reader_destroy(struct agent *a)
{
    buf_deinit(&self(a)->scratch);
    free(self(a));
}

static struct agent *create(struct world *w, enum read_level level, int n_topics)
{
    static const struct agent_ops reader_ops = {"reader",       reader_turn, reader_lost,
                                                reader_is_done, NULL,        reader_destroy};
    struct reader *r = calloc(1, sizeof *r);

    check(r != NULL);
    r->level = level;
    r->n_topics = n_topics;
    for (int i = 0; i < n_topics; i++)
        r->topics[i] = i;
    r->n_places = n_topics * N_PARTITIONS;
    buf_init(&r->scratch, 0);
    agent_init(&r->agent, w, &reader_ops);
    return &r->agent;
}

struct agent *reader_create(struct world *w, bool is_committed)
{
    return create(w, is_committed ? READ_COMMITTED : READ_UNCOMMITTED, TOPIC_CHURN);
}

struct agent *auditor_create(struct world *w)
{
    return create(w, READ_AUDIT, TOPIC_COUNT);
}
