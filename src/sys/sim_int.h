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
    struct sim_disk *disk;
    struct sim_net *network;
    uint64_t now_ns;
    uint64_t seed_state[4]; /* of the world's own choices; users draw from another stream */
    uint64_t user_state[4];
    struct list tasks, jobs;
    struct timers timers;
    struct timer job_timer;
    bool stopped;
};

uint64_t sim_next(uint64_t state[4]);

struct sim_disk *sim_disk_create(struct sim *s);
void sim_disk_destroy(struct sim_disk *d);
struct fs *sim_disk_fs(struct sim_disk *d);
struct sim_net *sim_net_create(struct sim *s);
void sim_net_destroy(struct sim_net *n);
struct net *sim_net_net(struct sim_net *n);
/* Every connection and listener is gone, without a word: the process that held them is dead. */
void sim_net_drop_all(struct sim_net *n);

#endif
