/* world.c: the life of one seed.
 *
 *   build ──▶ faults (faults_ms) ──▶ heal ──▶ everybody gets done ──▶ audit ──▶ restart ──▶ audit
 *                 │       ▲
 *                 └ down ─┘   the broker dies and comes back many times
 *
 * W1  A death takes effect at one instant: from then on nothing reaches the disk, and no answer a client. The memory of
 *     the dead is then taken down at leisure.
 * W2  A failed sync or write is followed by a restart of the machine: an operator would do that, and the partition is
 *     stopped until then. A process that dies right after the failure, before it could note it (log/recover.c R7), while
 *     the machine goes on, is left out: the next one cannot tell the pages that Linux marked clean from good ones.
 * W3  A start may fail only while a disk fault is on. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#include "agent.h"

#define WALL_MS 1700000000000ll
#define PORT 9092
#define DISK_TIGHT_BYTES 3000 /* beyond what is used already: when the disk gets full */

enum fault { FAULT_POWER, FAULT_KILL, FAULT_SYNC, FAULT_WRITE, FAULT_FULL, FAULT_CLOCK, FAULT_RESTART, FAULT_COUNT };

uint64_t world_now_ns(const struct world *w)
{
    return w->sys->loop->now_ns(w->sys->loop);
}

int64_t world_client_ms(const struct world *w)
{
    return WALL_MS + (int64_t)(world_now_ns(w) / 1000000u);
}

uint32_t world_note(struct world *w, const struct event *ev)
{
    w->history->now_us = (int64_t)(world_now_ns(w) / 1000u);
    uint32_t n = history_add(w->history, ev);
    if (w->is_verbose) event_write(w->history, &w->history->events[n], stdout);
    return n;
}

uint64_t world_random(struct world *w, uint64_t below)
{
    return sim_random(w->sim, below);
}

bool world_chance(struct world *w, int permille)
{
    return permille > 0 && sim_random(w->sim, 1000) < (uint64_t)permille;
}

const char *topic_name_of(int64_t number)
{
    static const char *const names[TOPIC_COUNT] = {"data", "in", "out", "churn0", "churn1", "churn2"};

    check(number >= 0 && number < TOPIC_COUNT);
    return names[number];
}

bool world_is_fed(const struct world *w)
{
    for (int i = 0; i < w->n_agents; i++) {
        struct agent *a = w->agents[i];
        if (a->ops->is_feeding != NULL && a->ops->is_feeding(a)) return false;
    }
    return true;
}

uint64_t world_trace(const struct world *w)
{
    return sim_trace(w->sim);
}

/* ---- life and death of the broker ---- */

static void on_door_closed(void *arg)
{
    ((struct world *)arg)->is_door_closed = true;
}

static void door_take_down(struct world *w)
{
    w->is_door_closed = false;
    kafka_door_close(w->door, on_door_closed, w);
    while (!w->is_door_closed && sim_step(w->sim)) {
    }
    check(w->is_door_closed);
    w->door = NULL;
}

/* The process or the machine ends without a word (W1). */
static void broker_die(struct world *w, bool is_power)
{
    if (sim_disk_sync_retries(w->sim) > 0) world_note(w, &(struct event){.kind = EVENT_RETRIED});
    world_note(w, &(struct event){.kind = EVENT_DOWN, .value = is_power});
    for (int i = 0; i < w->n_agents; i++)
        agent_disconnect(w->agents[i]);
    if (w->broker != NULL) {
        struct broker *b = w->broker;
        if (!sim_disk_is_down(w->sim)) sim_disk_crash_at(w->sim, 1);
        w->broker = NULL; /* agents sleep */
        if (w->door != NULL) door_take_down(w);
        broker_abandon(b);
        /* Syncs that are under way end one after the other, and the last one frees what they share. */
        sim_run_ms(w->sim, 1 + 2 * (LIMIT_JOBS_BESIDE + 2) * (uint64_t)w->plan.sync_us_max / 1000);
    }
    if (is_power) {
        sim_disk_power_cycle(w->sim);
    } else {
        sim_process_kill(w->sim);
        sim_disk_crash_at(w->sim, 0);
    }
    agent_close_links(w);
    sim_run_ms(w->sim, 1);
    check(list_is_empty(&w->links));
}

static bool broker_start_once(struct world *w, struct err *e)
{
    struct broker_options bo = {.data_dir = "data",
                                .durability = w->plan.durability,
                                .interval_ms = 50,
                                .no_auto_create = true,
                                .segment_bytes = w->plan.segment_bytes,
                                .group_initial_delay_ms = -1};
    struct kafka_door_options ko = {.listen = {.host = "127.0.0.1", .port = PORT}, .node_id = 1};
    struct broker *b;

    if (broker_open(&b, w->sys, &bo, e) != ERR_NONE) return false;
    check(kafka_door_open(&w->door, b, &ko, &w->address, e) == ERR_NONE);
    w->broker = b;
    world_note(w, &(struct event){.kind = EVENT_UP, .epoch = broker_epoch(b)});
    return true;
}

static void faults_off(struct world *w)
{
    sim_disk_fail_syncs(w->sim, 0);
    sim_disk_fault_at(w->sim, SIM_FAULT_WRITE, 0, false);
    sim_disk_set_capacity(w->sim, 0);
    w->is_disk_tight = false;
}

/* W3. */
static void broker_start(struct world *w)
{
    struct err e = {0};

    while (!broker_start_once(w, &e)) {
        bool was_faulty = sim_disk_is_down(w->sim) || w->is_disk_suspect;
        if (!was_faulty) {
            fprintf(stderr, "the broker does not start: %s\n", e.text);
            world_note(w, &(struct event){.kind = EVENT_STUCK, .client = -1});
            return;
        }
        faults_off(w);
        w->is_disk_suspect = false;
        broker_die(w, w->plan.power_cut_every_ms > 0);
    }
    for (int i = 0; i < w->n_agents; i++)
        agent_revive(w->agents[i]);
}

static void broker_restart(struct world *w, bool is_power)
{
    broker_die(w, is_power);
    broker_start(w);
}

/* ---- what goes wrong ---- */

static int period_ms(const struct plan *p, enum fault f)
{
    switch (f) {
    case FAULT_POWER: return p->power_cut_every_ms;
    case FAULT_KILL: return p->kill_every_ms;
    case FAULT_SYNC: return p->sync_error_every_ms;
    case FAULT_WRITE: return p->write_error_every_ms;
    case FAULT_FULL: return p->disk_full_every_ms;
    case FAULT_CLOCK: return p->clock_jump_every_ms;
    default: return 0;
    }
}

static void fault_plan(struct world *w, enum fault f)
{
    int ms = period_ms(&w->plan, f);

    w->next_fault_ns[f] = ms == 0 ? 0 : world_now_ns(w) + (1 + world_random(w, 2 * (uint64_t)ms)) * 1000000u;
}

/* W2. */
static void restart_soon(struct world *w)
{
    w->is_disk_suspect = true;
    w->next_fault_ns[FAULT_RESTART] = world_now_ns(w) + (1 + world_random(w, 400)) * 1000000u;
}

static void fault_happen(struct world *w, enum fault f)
{
    switch (f) {
    case FAULT_POWER:
        if (w->plan.crash_inside_disk_op)
            sim_disk_crash_at(w->sim, 1 + world_random(w, 30));
        else
            broker_restart(w, true);
        break;
    case FAULT_KILL: broker_restart(w, w->is_disk_suspect); break; /* W2 */
    case FAULT_RESTART:
        faults_off(w);
        w->is_disk_suspect = false;
        broker_restart(w, true);
        w->next_fault_ns[f] = 0;
        return;
    case FAULT_SYNC:
        sim_disk_fail_syncs(w->sim, 1 + (unsigned)world_random(w, 3));
        restart_soon(w);
        break;
    case FAULT_WRITE:
        sim_disk_fault_at(w->sim, world_random(w, 2) ? SIM_FAULT_WRITE : SIM_FAULT_SHORT_WRITE, 1 + world_random(w, 4),
                          world_chance(w, 300));
        restart_soon(w);
        break;
    case FAULT_FULL: { /* comes, and goes with the next one */
        struct fs_space space;
        check(w->sys->fs->space(w->sys->fs, "/", &space, NULL) == ERR_NONE);
        uint64_t used = space.total_bytes - space.free_bytes;
        w->is_disk_tight = !w->is_disk_tight;
        sim_disk_set_capacity(w->sim, w->is_disk_tight ? used + world_random(w, DISK_TIGHT_BYTES) : 0);
        break;
    }
    case FAULT_CLOCK: { /* to within 50 minutes of the truth: clients' timestamps stay acceptable */
        int64_t off = (int64_t)world_random(w, 100 * 60000) - 50 * 60000;
        sim_wall_jump(w->sim, off - w->wall_off_ms);
        w->wall_off_ms = off;
        break;
    }
    case FAULT_COUNT: break;
    }
    fault_plan(w, f);
}

static void faults_run(struct world *w)
{
    for (int f = 0; f < FAULT_COUNT; f++)
        fault_plan(w, (enum fault)f);
    while (world_now_ns(w) < w->end_of_faults_ns && w->broker != NULL) {
        int first = -1;
        for (int f = 0; f < FAULT_COUNT; f++)
            if (w->next_fault_ns[f] != 0 && (first < 0 || w->next_fault_ns[f] < w->next_fault_ns[first])) first = f;
        uint64_t until = first < 0 ? w->end_of_faults_ns : w->next_fault_ns[first];
        while (world_now_ns(w) < until && !sim_disk_is_down(w->sim) && sim_step(w->sim)) {
        }
        if (sim_disk_is_down(w->sim))
            broker_restart(w, true);
        else if (first >= 0)
            fault_happen(w, (enum fault)first);
    }
}

/* ---- healing ---- */

/* False: somebody did not get done. */
static bool run_until_done(struct world *w, int first_agent)
{
    uint64_t until = world_now_ns(w) + HEALING_MS * 1000000ull;

    while (world_now_ns(w) < until) {
        bool is_done = true;
        for (int i = first_agent; is_done && i < w->n_agents; i++)
            is_done = w->agents[i]->ops->is_done(w->agents[i]);
        if (is_done) return true;
        sim_run_ms(w->sim, 20);
    }
    for (int i = first_agent; i < w->n_agents; i++) {
        struct agent *a = w->agents[i];
        if (a->ops->is_done(a)) continue;
        world_note(w, &(struct event){.kind = EVENT_STUCK, .client = a->id});
        fprintf(stderr, "client %d (%s) does not get done\n", a->id, a->ops->name);
    }
    return false;
}

static void heal(struct world *w)
{
    bool is_restart_due = w->is_disk_suspect || sim_disk_is_down(w->sim);

    if (!sim_disk_is_down(w->sim)) sim_disk_crash_at(w->sim, 0);
    w->is_disk_suspect = false;
    sim_net_set_faults(w->sim, 0, 0, 0);
    sim_set_job_ns_max(w->sim, 200000);
    faults_off(w);
    w->is_healing = true;
    world_note(w, &(struct event){.kind = EVENT_HEAL});
    if (is_restart_due) broker_restart(w, true);
}

static void audit(struct world *w)
{
    int first = w->n_agents;

    agent_revive(auditor_create(w));
    (void)run_until_done(w, first);
}

/* ---- the whole ---- */

static void agents_create(struct world *w)
{
    const struct plan *p = &w->plan;

    (void)admin_create(w); /* makes the topics, and goes on if it is asked to */
    for (int i = 0; i < p->n_idempotent; i++)
        (void)producer_create(w, TOPIC_DATA, true);
    for (int i = 0; i < p->n_plain; i++)
        (void)producer_create(w, TOPIC_DATA, false);
    if (p->n_pipelines > 0) (void)producer_create(w, TOPIC_IN, true);
    for (int i = 0; i < p->n_pipelines; i++)
        (void)pipeline_create(w, 1, i > 0);
    for (int i = 0; i < p->n_readers; i++)
        (void)reader_create(w, i % 2 == 0);
    for (int i = 0; i < p->n_members; i++)
        (void)member_create(w);
}

static void world_build(struct world *w, const struct plan *p, struct history *h, bool is_verbose)
{
    struct sim_options o = {.seed = p->seed,
                            .wall_start_ms = WALL_MS,
                            .is_verbose = is_verbose,
                            .net_split_permille = (unsigned)p->split_permille,
                            .net_reset_permille = (unsigned)p->reset_permille,
                            .net_delay_ms_max = (unsigned)p->delay_ms};

    *w = (struct world){.plan = *p, .history = h, .next_id = 1, .is_verbose = is_verbose};
    list_init(&w->links);
    check(sim_create(&w->sim, &o, NULL) == ERR_NONE);
    w->sys = sim_sys(w->sim);
    sim_set_job_ns_max(w->sim, (uint64_t)p->sync_us_max * 1000u);
    w->end_of_faults_ns = world_now_ns(w) + (uint64_t)p->faults_ms * 1000000u;
    world_note(w, &(struct event){.kind = EVENT_OPTION, .value = p->power_cut_every_ms > 0});
}

void world_run(struct world *w, const struct plan *p, struct history *h, bool is_verbose)
{
    world_build(w, p, h, is_verbose);
    agents_create(w);
    broker_start(w);
    faults_run(w);
    if (w->broker == NULL) return;
    heal(w);
    if (w->broker == NULL || !run_until_done(w, 0)) return;
    audit(w);
    /* What is durable now is all of it: in every mode after a kill, in sync mode whatever happens. */
    broker_restart(w, p->durability == DURABILITY_SYNC);
    if (w->broker == NULL) return;
    audit(w);
}

void world_free(struct world *w)
{
    if (w->broker != NULL) broker_die(w, false);
    for (int i = 0; i < w->n_agents; i++) {
        w->sys->loop->timer_stop(w->sys->loop, &w->agents[i]->timer);
        agent_destroy(w->agents[i]);
    }
    sim_destroy(w->sim);
}
