/* admin.c: the client that makes the topics; asked to, it goes on to create, fill and delete some again and again, and
 * to delete records. One thing at a time; what was under way when the connection ended has an unknown outcome. */
#include <stdlib.h>

#include "agent.h"
#include "door/kafka/kafka_int.h"

struct admin {
    struct agent agent;
    int n_made; /* of the topics that everybody uses */
    int left;   /* things to do */
    bool is_busy;
};

static struct admin *self(struct agent *a)
{
    return CONTAINER_OF(a, struct admin, agent);
}

static void answered(struct agent *a, enum event_kind kind, const struct call *c, int16_t api, int16_t code)
{
    (void)agent_code(a, api, code);
    world_note(a->world, &(struct event){.kind = kind, .client = a->id, .op = c->op, .error = code});
    agent_wake(a, world_random(a->world, 100));
}

/* ---- create ---- */

static void on_created(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_create_topics_response *r = answer;

    self(a)->is_busy = false;
    if (r == NULL) return;
    check(r->topics.n == 1);
    int16_t code = r->topics.at[0].error_code;
    if (c->arg < TOPIC_CHURN && (code == 0 || code == KE_TOPIC_ALREADY_EXISTS)) self(a)->n_made = (int)c->arg + 1;
    answered(a, EVENT_CREATED, c, KAFKA_CREATE_TOPICS, code);
}

static struct call *topic_make(struct agent *a, int64_t topic)
{
    struct kafka_create_topics_request_topic t;
    struct kafka_create_topics_request q;
    struct world *w = a->world;

    wire_init(&kafka_create_topics_request_wire, &q);
    wire_init(&kafka_create_topics_request_topic_wire, &t);
    t.name = bytes_str(topic_name_of(topic));
    t.num_partitions = N_PARTITIONS;
    t.replication_factor = 1;
    q.topics.at = &t;
    q.topics.n = 1;
    struct call *c = agent_call(a, KAFKA_CREATE_TOPICS, 4, &q, on_created, CALL_TIMEOUT_MS);
    if (c == NULL) return NULL;
    c->arg = topic;
    c->op = history_op(w->history);
    world_note(w, &(struct event){.kind = EVENT_CREATE, .client = a->id, .op = c->op, .topic = topic});
    return c;
}

/* ---- fill ---- */

static void on_filled(struct agent *a, struct call *c, const void *answer)
{
    self(a)->is_busy = false;
    if (answer == NULL) return;
    const struct kafka_produce_response_partition *p = agent_produced(answer);
    (void)agent_code(a, KAFKA_PRODUCE, p->error_code);
    world_note(a->world,
               &(struct event){
                   .kind = EVENT_SENT, .client = a->id, .op = c->op, .offset = p->base_offset, .error = p->error_code});
}

static struct call *topic_fill(struct agent *a, int64_t topic)
{
    struct world *w = a->world;
    int32_t partition = (int32_t)world_random(w, N_PARTITIONS);
    int64_t ids[3];
    int n = 1 + (int)world_random(w, 3);

    for (int i = 0; i < n; i++)
        ids[i] = w->next_id++;
    struct call *c = agent_produce(a, NULL, topic, partition, agent_batch(a, ids, n, -1, -1, -1, false), on_filled);
    if (c == NULL) return NULL;
    c->op = history_op(w->history);
    for (int i = 0; i < n; i++)
        history_item(w->history, ids[i]);
    world_note(w, &(struct event){.kind = EVENT_SEND,
                                  .client = a->id,
                                  .op = c->op,
                                  .topic = topic,
                                  .partition = partition,
                                  .producer_id = -1,
                                  .epoch = -1,
                                  .sequence = -1});
    return c;
}

/* ---- delete ---- */

static void on_deleted(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_delete_topics_response *r = answer;

    self(a)->is_busy = false;
    if (r == NULL) return;
    check(r->responses.n == 1);
    answered(a, EVENT_DELETED, c, KAFKA_DELETE_TOPICS, r->responses.at[0].error_code);
}

static struct call *topic_remove(struct agent *a, int64_t topic)
{
    struct bytes name = bytes_str(topic_name_of(topic));
    struct kafka_delete_topics_request q;
    struct world *w = a->world;

    wire_init(&kafka_delete_topics_request_wire, &q);
    q.topic_names.at = &name;
    q.topic_names.n = 1;
    q.timeout_ms = 1000;
    struct call *c = agent_call(a, KAFKA_DELETE_TOPICS, 4, &q, on_deleted, CALL_TIMEOUT_MS);
    if (c == NULL) return NULL;
    c->op = history_op(w->history);
    world_note(w, &(struct event){.kind = EVENT_DELETE, .client = a->id, .op = c->op, .topic = topic});
    return c;
}

/* ---- trim ---- */

static void on_trimmed(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_delete_records_response *r = answer;

    self(a)->is_busy = false;
    if (r == NULL) return;
    check(r->topics.n == 1 && r->topics.at[0].partitions.n == 1);
    answered(a, EVENT_TRIMMED, c, KAFKA_DELETE_RECORDS, r->topics.at[0].partitions.at[0].error_code);
}

static struct call *records_delete(struct agent *a)
{
    struct world *w = a->world;
    struct kafka_delete_records_request_partition p = {(int32_t)world_random(w, N_PARTITIONS),
                                                       (int64_t)world_random(w, 60)};
    struct kafka_delete_records_request_topic t = {.name = bytes_str(topic_name_of(TOPIC_DATA)), .partitions = {&p, 1}};
    struct kafka_delete_records_request q = {.topics = {&t, 1}, .timeout_ms = 1000};

    struct call *c = agent_call(a, KAFKA_DELETE_RECORDS, 1, &q, on_trimmed, CALL_TIMEOUT_MS);
    if (c == NULL) return NULL;
    c->op = history_op(w->history);
    world_note(w, &(struct event){.kind = EVENT_TRIM,
                                  .client = a->id,
                                  .op = c->op,
                                  .topic = TOPIC_DATA,
                                  .partition = p.partition_index,
                                  .offset = p.offset});
    return c;
}

/* ---- what is there ---- */

static int64_t number_of_topic(struct bytes name)
{
    for (int64_t i = 0; i < TOPIC_COUNT; i++)
        if (bytes_equal_str(name, topic_name_of(i))) return i;
    return -1;
}

static void on_metadata(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_metadata_response *r = answer;

    self(a)->is_busy = false;
    if (r == NULL) return;
    for (int32_t i = 0; i < r->topics.n; i++) {
        int64_t topic = number_of_topic(r->topics.at[i].name);
        if (topic >= 0 && r->topics.at[i].error_code == 0) history_item(a->world->history, topic);
    }
    world_note(a->world, &(struct event){.kind = EVENT_TOPICS, .client = a->id, .since = c->since});
}

static struct call *topics_ask(struct agent *a)
{
    struct kafka_metadata_request q;

    wire_init(&kafka_metadata_request_wire, &q);
    q.topics.n = -1;
    q.allow_auto_topic_creation = false;
    return agent_call(a, KAFKA_METADATA, 5, &q, on_metadata, CALL_TIMEOUT_MS);
}

static void admin_turn(struct agent *a)
{
    struct admin *m = self(a);
    struct world *w = a->world;
    int64_t churn = TOPIC_CHURN + (int64_t)world_random(w, CHURN_TOPICS);
    struct call *c;

    if (m->is_busy) return;
    if (m->n_made < TOPIC_CHURN) {
        m->is_busy = topic_make(a, m->n_made) != NULL;
        return;
    }
    if (m->left < 0) return;
    if (m->left == 0) {
        c = topics_ask(a); /* once more at the very end */
    } else {
        switch (world_random(w, 7)) {
        case 0:
        case 1: c = topic_make(a, churn); break;
        case 2:
        case 3: c = topic_fill(a, churn); break;
        case 4: c = topic_remove(a, churn); break;
        case 5: c = records_delete(a); break;
        default: c = topics_ask(a); break;
        }
    }
    m->is_busy = c != NULL;
    m->left -= c != NULL;
    agent_wake(a, 1 + world_random(w, w->is_healing ? 20 : 200));
}

static void admin_lost(struct agent *a)
{
    struct admin *m = self(a);

    m->is_busy = false;
    if (m->left < 0) m->left = 0;
}

static bool admin_is_done(struct agent *a)
{
    return self(a)->n_made == TOPIC_CHURN && self(a)->left < 0 && !self(a)->is_busy;
}

static bool admin_is_feeding(struct agent *a)
{
    return !admin_is_done(a);
}

static void admin_destroy(struct agent *a)
{
    free(self(a));
}

struct agent *admin_create(struct world *w)
{
    static const struct agent_ops ops = {"admin",       admin_turn,       admin_lost,
                                         admin_is_done, admin_is_feeding, admin_destroy};
    struct admin *m = calloc(1, sizeof *m);

    check(m != NULL);
    m->left = w->plan.has_admin ? w->plan.n_batches * 2 : 0;
    agent_init(&m->agent, w, &ops);
    return &m->agent;
}
