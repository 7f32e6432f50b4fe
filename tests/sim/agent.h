/* agent.h: a simulated client. It has one connection at a time and one timer; `turn` looks at its state and does the
 * next thing. Answers come back to the call that asked; a connection that ends takes its calls along.
 *
 *   turn ──▶ agent_call ──▶ frame ──net──▶ door ──▶ broker
 *     ▲                                              │
 *     └── done(agent, call, answer or NULL) ◀────────┘
 *
 * A call that waits longer than its time is given up with the connection: the request may still take effect, as in
 * life. Thread: the one of the world. */
#ifndef WEIR_SIM_AGENT_H
#define WEIR_SIM_AGENT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "door/kafka/kafka_codec.h"
#include "world.h"

#define CALL_TIMEOUT_MS 3000

struct agent;
struct call;
/* `answer` is the decoded response of that API, valid for the callback; NULL: the connection ended. */
typedef void (*call_done_fn)(struct agent *a, struct call *c, const void *answer);
struct call {
    struct list link;
    int16_t key, version;
    int32_t correlation;
    uint64_t give_up_ns;
    uint32_t since; /* the last event of the history before the question left */
    uint32_t op;    /* the caller's */
    int64_t arg;    /* the caller's */
    call_done_fn done;
};
struct agent_ops {
    const char *name;
    void (*turn)(struct agent *a);       /* connected */
    void (*lost)(struct agent *a);       /* after the calls of the connection got NULL */
    bool (*is_done)(struct agent *a);    /* has nothing more to do */
    bool (*is_feeding)(struct agent *a); /* may still write records; NULL: never does */
    void (*destroy)(struct agent *a);
};
struct agent {
    const struct agent_ops *ops;
    struct world *world;
    int32_t id; /* in the history */
    struct timer timer;
    struct link *wire; /* owned; NULL: no connection */
    int32_t correlation;
    struct arena arena; /* of the request being made, and of the answer being read */
    bool is_awake;      /* the timer runs */
};

void agent_init(struct agent *a, struct world *w, const struct agent_ops *ops);
void agent_destroy(struct agent *a);
/* Another turn in so many milliseconds at the latest. */
void agent_wake(struct agent *a, uint64_t ms);
/* The broker is dead or back: forgets the connection, starts over. */
void agent_revive(struct agent *a);
void agent_disconnect(struct agent *a);
/* Ends what is left of all connections; the loop then frees them. */
void agent_close_links(struct world *w);
/* Sends a request; the call lives until `done`. NULL when there is no connection (then done is not called). */
struct call *agent_call(struct agent *a, int16_t key, int version, const void *request, call_done_fn done,
                        int timeout_ms);
int agent_calls(const struct agent *a); /* under way */
/* Notes an error code that the client was told; returns whether it was one. */
bool agent_code(struct agent *a, int16_t api, int16_t code);
/* One record batch with the ids as values. */
struct bytes agent_batch(struct agent *a, const int64_t *ids, int n, int64_t producer_id, int16_t epoch,
                         int32_t sequence, bool is_transactional);
/* The id that a record carries; -1: none of ours. */
int64_t agent_id_of(struct bytes value);
/* Fetch one partition, v11. */
struct call *agent_fetch(struct agent *a, int64_t topic, int32_t partition, int64_t offset, bool is_committed,
                         int max_wait_ms, call_done_fn done);
/* The answer for the one partition that was asked for. */
const struct kafka_fetch_response_partition *agent_fetched(const void *answer);
/* Produce one batch to one partition, v8, acks=all. */
struct call *agent_produce(struct agent *a, const char *txn_id, int64_t topic, int32_t partition, struct bytes batch,
                           call_done_fn done);
const struct kafka_produce_response_partition *agent_produced(const void *answer);

/* OffsetFetch v7 of all partitions of a topic. */
struct call *agent_offsets(struct agent *a, const char *group, int64_t topic, bool is_stable, call_done_fn done);
/* The first error in it; 0: none. */
int16_t agent_offsets_code(const struct kafka_offset_fetch_response *r);
/* Notes them; -1: none committed. */
void agent_offsets_take(struct agent *a, const struct call *c, const struct kafka_offset_fetch_response *r,
                        int64_t group, int64_t topic, int64_t offsets[N_PARTITIONS]);

/* Groups by the numbers that the history gives them: pipelines have these names and numbers plus their own. */
#define GROUP_MEMBERS 1
#define GROUP_PIPELINE 100

/* ---- the kinds ---- */
struct agent *producer_create(struct world *w, int64_t topic, bool is_idempotent);
/* Several with the same number share a transactional id and fence each other; only the first has to get done. */
struct agent *pipeline_create(struct world *w, int number, bool is_twin);
struct agent *reader_create(struct world *w, bool is_committed);
struct agent *member_create(struct world *w);
struct agent *admin_create(struct world *w);
/* Reads everything that is stored, once, and is done. */
struct agent *auditor_create(struct world *w);

#endif
