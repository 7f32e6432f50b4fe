/* world.h: one broker behind its Kafka door, on a disk that forgets and a net that breaks, and what goes wrong there:
 * all of it drawn from one seed. Clients are agents (agent.h); what they see goes into the history. */
#ifndef WEIR_SIM_WORLD_H
#define WEIR_SIM_WORLD_H

#include "door/kafka/kafka.h"
#include "base/list.h"
#include "history.h"
#include "sys/sim.h"

#define AGENTS_MAX 24
#define CHURN_TOPICS 3
#define HEALING_MS 60000 /* of virtual time: so long may it take until everybody is done */

/* Topics by the numbers that the history gives them. */
enum sim_topic {
    TOPIC_DATA,  /* idempotent and plain producers; groups read it; it is trimmed */
    TOPIC_IN,    /* what the pipeline reads */
    TOPIC_OUT,   /* what it writes, in transactions */
    TOPIC_CHURN, /* this and the next ones are created and deleted all the time */
    TOPIC_COUNT = TOPIC_CHURN + CHURN_TOPICS,
};
#define N_PARTITIONS 2 /* of each */

/* What a seed turns on (swarm). Everything is 0 in a world without faults. */
struct plan {
    uint64_t seed;
    int faults_ms; /* how long the first phase lasts */
    int power_cut_every_ms, kill_every_ms;
    bool crash_inside_disk_op; /* the power goes at a disk operation, not between two events */
    int sync_error_every_ms, write_error_every_ms;
    int disk_full_every_ms;
    int clock_jump_every_ms;
    int reset_permille, split_permille, delay_ms;
    int sync_us_max;              /* how long an fdatasync takes */
    int pause_permille, pause_ms; /* agents that fall asleep: zombies */
    uint64_t segment_bytes;
    enum durability durability;
    int n_batches; /* of each producer */
    int n_idempotent, n_plain, n_pipelines, n_members, n_readers;
    bool has_admin;
};
void plan_make(struct plan *p, uint64_t seed);
void plan_write(const struct plan *p, FILE *out);

struct agent;
struct world {
    struct plan plan;
    struct sim *sim;
    const struct sys *sys;
    struct history *history;
    struct broker *broker; /* NULL: down */
    struct kafka_door *door;
    struct net_address address;
    struct agent *agents[AGENTS_MAX]; /* owned */
    int n_agents;
    struct list links; /* every connection of an agent that the net still knows */
    int64_t next_id;   /* of a record */
    int64_t next_txn;  /* number of a transaction */
    int64_t next_member;
    uint64_t end_of_faults_ns;
    uint64_t next_fault_ns[8]; /* by fault; 0: never */
    bool is_healing, is_door_closed, is_verbose;
    bool is_disk_suspect; /* a read, write or sync has failed or is going to: a restart is due */
    bool is_disk_tight;
    int64_t wall_off_ms;
};

/* Builds everything, runs both phases and the audits. The history is then complete. */
void world_run(struct world *w, const struct plan *p, struct history *h, bool is_verbose);
uint64_t world_trace(const struct world *w);
void world_free(struct world *w);

uint64_t world_now_ns(const struct world *w);
/* The clients' own clock for timestamps: never jumps. */
int64_t world_client_ms(const struct world *w);
uint32_t world_note(struct world *w, const struct event *ev); /* history_add with the time */
uint64_t world_random(struct world *w, uint64_t below);
bool world_chance(struct world *w, int permille);
const char *topic_name_of(int64_t number);
/* No producer has anything left to send. */
bool world_is_fed(const struct world *w);

#endif
