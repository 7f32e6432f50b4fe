/* plan.c: what a seed turns on. Swarm testing: each seed has a random part of all faults, clients and sizes, so that
 * faults that hide each other also come alone. */
#include <stdio.h>

#include "base/limits.h"
#include "world.h"

/* A stream of its own: a new question here does not change what the world does. splitmix64. */
static uint64_t next(uint64_t *state, uint64_t below)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* With that chance a number of [low, high], else 0. */
static int maybe(uint64_t *s, int percent, int low, int high)
{
    int value = low + (int)next(s, (uint64_t)(high - low) + 1);

    return (int)next(s, 100) < percent ? value : 0;
}

void plan_make(struct plan *p, uint64_t seed)
{
    uint64_t s = seed * 0x2545f4914f6cdd1du + 1;

    *p = (struct plan){.seed = seed};
    p->faults_ms = 1500 + (int)next(&s, 6000);
    p->durability = maybe(&s, 15, 1, 1) ? (next(&s, 2) ? DURABILITY_OS : DURABILITY_INTERVAL) : DURABILITY_SYNC;
    bool is_sync = p->durability == DURABILITY_SYNC;
    p->power_cut_every_ms = is_sync ? maybe(&s, 60, 400, 4000) : 0;
    p->crash_inside_disk_op = next(&s, 2) != 0;
    p->kill_every_ms = maybe(&s, 40, 400, 4000);
    p->sync_error_every_ms = is_sync ? maybe(&s, 20, 800, 5000) : 0;
    p->write_error_every_ms = is_sync ? maybe(&s, 20, 800, 5000) : 0;
    p->disk_full_every_ms = maybe(&s, 20, 300, 2000);
    p->clock_jump_every_ms = maybe(&s, 20, 300, 2000);
    p->reset_permille = maybe(&s, 40, 1, 60);
    p->split_permille = maybe(&s, 40, 1, 300);
    p->delay_ms = maybe(&s, 50, 1, 60);
    p->sync_us_max = maybe(&s, 40, 1000, 40000);
    if (p->sync_us_max == 0) p->sync_us_max = 200;
    p->pause_permille = maybe(&s, 40, 1, 40);
    p->pause_ms = 500 + (int)next(&s, 9000);
    p->segment_bytes = LIMIT_SEGMENT_BYTES_MIN + next(&s, 12000);
    p->n_batches = 4 + (int)next(&s, 24);
    p->n_idempotent = maybe(&s, 70, 1, 2);
    p->n_plain = maybe(&s, 40, 1, 1);
    p->n_pipelines = maybe(&s, 50, 1, 3);
    p->n_members = maybe(&s, 40, 1, 3);
    p->n_readers = maybe(&s, 70, 1, 3);
    p->has_admin = maybe(&s, 40, 1, 1);
}

void plan_write(const struct plan *p, FILE *out)
{
    static const char *const durabilities[] = {"sync", "interval", "os"};

    fprintf(
        out,
        "seed %llu: %d ms; %s; power cut every %d ms%s, kill %d, sync error %d, write error %d, disk full %d, clock %d;"
        " resets %d permille, splits %d, delay %d ms; sync %d us; pauses %d permille up to %d ms; segments %llu;"
        " batches %d; idempotent %d, plain %d, pipelines %d, members %d, readers %d, admin %d\n",
        (unsigned long long)p->seed, p->faults_ms, durabilities[p->durability], p->power_cut_every_ms,
        p->crash_inside_disk_op ? " inside disk operations" : "", p->kill_every_ms, p->sync_error_every_ms,
        p->write_error_every_ms, p->disk_full_every_ms, p->clock_jump_every_ms, p->reset_permille, p->split_permille,
        p->delay_ms, p->sync_us_max, p->pause_permille, p->pause_ms, (unsigned long long)p->segment_bytes, p->n_batches,
        p->n_idempotent, p->n_plain, p->n_pipelines, p->n_members, p->n_readers, p->has_admin);
}
