/* sim_int.h: what the parts of the simulated world share. */
#ifndef WEIR_SYS_SIM_INT_H
#define WEIR_SYS_SIM_INT_H

#include "sys/sim.h"
#include "sys/timers.h"

struct sim_disk;
struct sim_net;

struct sim {
    struct sys sys;
    struct clock clock;
    struct rng rng;
    struct loop loop;
    struct diag diag;
    struct sim_options options;
    struct sim_disk *disk;   /* owned */
    struct sim_net *network; /* owned */
    uint64_t now_ns;
    int64_t wall_jumped_ms;
    uint64_t job_ns_max;
    uint64_t world_state[4]; /* of the world's own choices; users draw from another stream, so that a new */
    uint64_t user_state[4];  /* question of theirs does not change the weather */
    uint64_t trace;
    /* The loop. */
    struct list tasks, jobs, beside, finished;
    size_t n_tasks, batch_left, n_beside;
    uint64_t timers_below; /* timers with a lower seq belong to this turn */
    struct timers timers;
    struct timer job_run, beside_run, job_done;
    bool is_stop_asked;
};

/* Folds a fact into the trace. */
void sim_note(struct sim *s, uint64_t fact);
bool sim_chance(struct sim *s, unsigned permille);

/* sim_fs.c */
struct sim_disk *sim_disk_create(struct sim *s);
void sim_disk_destroy(struct sim_disk *d);
struct fs *sim_disk_fs(struct sim_disk *d);
void sim_disk_forget_handles(struct sim_disk *d); /* files that are open now are dead */

/* sim_net.c */
struct sim_net *sim_net_create(struct sim *s);
void sim_net_destroy(struct sim_net *n);
struct net *sim_net_net(struct sim_net *n);
void sim_net_cut(struct sim_net *n); /* connections and listeners go silent */

#endif
