/* sim.h: a whole world in one thread from one seed: virtual time, a disk that forgets what was not synced, a network
 * that splits, delays and resets. Nothing here is random except through the seed. */
#ifndef WEIR_SYS_SIM_H
#define WEIR_SYS_SIM_H

#include "sys/sys.h"

struct sim;
struct sim_options {
    uint64_t seed;
    int64_t wall_start_ms;
    /* Disk faults. */
    uint64_t disk_capacity_bytes; /* 0: unbounded; beyond: ERR_NO_SPACE */
    bool disk_is_memory;          /* no power cuts: un-synced changes are not remembered, which saves their memory */
    bool is_verbose;              /* diag goes to standard error */
    /* Net faults: per mille of sends. */
    unsigned net_split_permille, net_reset_permille, net_delay_ms_max;
};
MUST_USE enum err_code sim_create(struct sim **out, const struct sim_options *o, struct err *e);
void sim_destroy(struct sim *s);
const struct sys *sim_sys(struct sim *s); /* clock, rng, fs, loop, net, diag */

/* Runs everything due, advancing virtual time to the next timer, until `until_ns` of virtual time or nothing is left.
 * */
void sim_run_until(struct sim *s, uint64_t until_ns);
void sim_run_ms(struct sim *s, uint64_t ms);
/* Somebody sets the clock of the wall; the monotonic one knows nothing of it. */
void sim_wall_jump(struct sim *s, int64_t ms);
/* How long a job (an fdatasync) waits at most before it runs, and again before it is done. */
void sim_set_job_ns_max(struct sim *s, uint64_t ns);
/* The net is as from now on. */
void sim_net_set_faults(struct sim *s, unsigned split_permille, unsigned reset_permille, unsigned delay_ms_max);
bool sim_step(struct sim *s); /* one thing; false: nothing due and no timer */
uint64_t sim_random(struct sim *s, uint64_t below);
/* A hash of everything that happened so far: disk calls, deliveries, timers. Same seed and same calls: same trace. */
uint64_t sim_trace(struct sim *s);

/* ---- disk ---- */
/* Counts every mutating disk call (pwritev, truncate, sync, sync_dir, rename, unlink, create, mkdir, rmdir). */
uint64_t sim_disk_ops(struct sim *s);
/* From the n-th mutating call on (counting from 1), every disk call fails with ERR_IO as if the power were gone; 0
 * turns it off. */
void sim_disk_crash_at(struct sim *s, uint64_t n);
bool sim_disk_is_down(struct sim *s);
/* Power comes back: keeps what was synced, and of each un-synced write a seeded choice per 512-byte sector of new, old
 * or zero; un-synced names (create, rename, unlink) are kept or undone by the seed. All open files are dead. Pending
 * loop work is dropped. */
void sim_disk_power_cycle(struct sim *s);
/* As after kill -9: everything written is kept. Pending loop work is dropped. All open files are dead, locks are free;
 * connections and listeners go silent: they call nobody any more, but net->close (then `closed` follows) and
 * listener_close still work. */
void sim_process_kill(struct sim *s);
/* The next `n` syncs fail with ERR_IO; their un-synced data is then dropped at the next power cycle. */
void sim_disk_fail_syncs(struct sim *s, unsigned n);
/* From now on the n-th call (from 1) that the fault concerns goes wrong, and all behind it when is_for_ever; n = 0: none
 * does any more. Other than sim_disk_crash_at the disk stays up. */
enum sim_fault {
    SIM_FAULT_WRITE,       /* pwritev: ERR_IO, nothing written */
    SIM_FAULT_SHORT_WRITE, /* pwritev: half of it, then ERR_IO */
    SIM_FAULT_NO_SPACE,    /* pwritev beyond the end: half of it, then ERR_NO_SPACE; names, growing: ERR_NO_SPACE */
    SIM_FAULT_SYNC,        /* sync, sync_dir: ERR_IO; what was not synced is lost at the next power cycle */
    SIM_FAULT_READ,        /* pread, populate: ERR_IO */
};
void sim_disk_fault_at(struct sim *s, enum sim_fault fault, uint64_t n, bool is_for_ever);
uint64_t sim_disk_faults(struct sim *s); /* how many calls have gone wrong */
/* How often a file was synced by the same process again after a sync of it had failed: a success proves nothing. */
uint64_t sim_disk_sync_retries(struct sim *s);
void sim_disk_set_capacity(struct sim *s, uint64_t bytes);
/* Flips one bit of a stored file, as rot does. False: no such file or place. */
bool sim_disk_flip_bit(struct sim *s, const char *path, uint64_t byte, unsigned bit);

#endif
