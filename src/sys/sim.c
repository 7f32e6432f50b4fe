/* sim.c: the simulated world: one thread, virtual time, one seed.
 *
 * One turn of the loop, as in os_loop.c: the tasks that are posted at its start, then the timers that are due and were
 * started before it. So neither a task that posts itself nor a timer that starts itself at once keeps others waiting.
 * When nothing is due, time jumps to the next timer; nothing else moves it. Deliveries of the net and completions of
 * jobs are timers of ours in the same heap, so that one order holds for all. A job runs a little later in virtual time,
 * and its done() later again; in between the process can die.
 *
 * Nothing depends on addresses, hash order or real time: same seed, same calls, same history. */
#include "sys/sim_int.h"

#include <stdio.h>
#include <stdlib.h>

#define START_NS 1000000000u /* of the monotonic clock: never zero, as in life */
#define JOB_NS_MAX 200000u   /* a job starts within this, and is done within this after it ran: about an fdatasync */

/* ---- chance: xoshiro256** (Blackman, Vigna), seeded by splitmix64 ---- */

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t state_next(uint64_t s[4])
{
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

static void state_seed(uint64_t s[4], uint64_t from)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (from += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        s[i] = z ^ (z >> 31);
    }
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
    check(below > 0);
    return state_next(s->world_state) % below;
}

bool sim_chance(struct sim *s, unsigned permille)
{
    return permille > 0 && sim_random(s, 1000) < permille;
}

void sim_note(struct sim *s, uint64_t fact)
{
    s->trace = (rotl(s->trace, 5) ^ fact ^ s->now_ns) * 0x9e3779b97f4a7c15u;
}

uint64_t sim_trace(struct sim *s)
{
    return s->trace;
}

/* ---- clock, rng, diag ---- */

static uint64_t sim_mono_ns(struct clock *c)
{
    return CONTAINER_OF(c, struct sim, clock)->now_ns;
}

static int64_t sim_wall_ms(struct clock *c)
{
    struct sim *s = CONTAINER_OF(c, struct sim, clock);

    return s->options.wall_start_ms + s->wall_jumped_ms + (int64_t)((s->now_ns - START_NS) / 1000000u);
}

static uint64_t sim_rng_next(struct rng *r)
{
    return state_next(CONTAINER_OF(r, struct sim, rng)->user_state);
}

static void sim_diag_write(struct diag *d, enum diag_level level, const char *room, const char *text)
{
    struct sim *s = CONTAINER_OF(d, struct sim, diag);

    if (s->options.is_verbose)
        fprintf(stderr, "[%.6f] %d %s: %s\n", (double)(s->now_ns - START_NS) / 1e9, (int)level, room, text);
}

/* ---- the loop ---- */

static struct sim *self(struct loop *l)
{
    return CONTAINER_OF(l, struct sim, loop);
}

static uint64_t sim_loop_now_ns(struct loop *l)
{
    return self(l)->now_ns;
}

static void sim_loop_post(struct loop *l, struct task *t)
{
    struct sim *s = self(l);

    if (t->posted) return;
    t->posted = 1;
    list_push_back(&s->tasks, &t->link);
    s->n_tasks++;
}

static void sim_loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    fn(arg); /* there is one thread only */
}

static void sim_loop_timer_start(struct loop *l, struct timer *t, uint64_t at_ns)
{
    timers_start(&self(l)->timers, t, at_ns);
}

static void sim_loop_timer_stop(struct loop *l, struct timer *t)
{
    timers_stop(&self(l)->timers, t);
}

static void job_timer_start(struct sim *s, struct timer *t, const struct list *queue)
{
    if (!list_is_empty(queue) && t->slot == 0)
        timers_start(&s->timers, t, s->now_ns + 1 + sim_random(s, s->job_ns_max));
}

static void on_job_run(struct timer *t)
{
    struct sim *s = CONTAINER_OF(t, struct sim, job_run);
    struct list *n = list_pop_front(&s->jobs);
    struct job *j = CONTAINER_OF(n, struct job, link);

    check(n != NULL);
    j->run(j);
    list_push_back(&s->finished, &j->link);
    job_timer_start(s, &s->job_done, &s->finished);
    job_timer_start(s, &s->job_run, &s->jobs);
}

static void on_job_done(struct timer *t)
{
    struct sim *s = CONTAINER_OF(t, struct sim, job_done);
    struct list *n = list_pop_front(&s->finished);
    struct job *j = CONTAINER_OF(n, struct job, link);

    check(n != NULL);
    job_timer_start(s, &s->job_done, &s->finished);
    j->done(j);
}

static void sim_loop_submit(struct loop *l, struct job *j)
{
    struct sim *s = self(l);

    list_push_back(&s->jobs, &j->link);
    job_timer_start(s, &s->job_run, &s->jobs);
}

/* One thread: what would run beside each other runs in an order of the seed's. */
static void sim_loop_submit_beside(struct loop *l, struct job *j)
{
    struct sim *s = self(l);

    list_push_back(&s->beside, &j->link);
    s->n_beside++;
    job_timer_start(s, &s->beside_run, &s->beside);
}

static void sim_loop_each(struct loop *l, void (*fn)(void *arg, int i), void *arg, int n)
{
    for (int i = 0; i < n; i++)
        fn(arg, i);
}

static void on_beside_run(struct timer *t)
{
    struct sim *s = CONTAINER_OF(t, struct sim, beside_run);
    struct list *n = s->beside.next;

    check(s->n_beside > 0);
    for (uint64_t skip = sim_random(s, s->n_beside); skip > 0; skip--)
        n = n->next;
    list_remove(n);
    s->n_beside--;
    CONTAINER_OF(n, struct job, link)->run(CONTAINER_OF(n, struct job, link));
    list_push_back(&s->finished, n);
    job_timer_start(s, &s->job_done, &s->finished);
    job_timer_start(s, &s->beside_run, &s->beside);
}

static void task_run(struct sim *s)
{
    struct list *n = list_pop_front(&s->tasks);
    struct task *t = CONTAINER_OF(n, struct task, link);

    check(n != NULL && s->n_tasks > 0);
    s->n_tasks--;
    s->batch_left--;
    t->posted = 0;
    sim_note(s, 't');
    t->run(t);
}

/* Fires the next timer that is due and was started before this turn. */
static bool timer_fire(struct sim *s)
{
    struct timer *t = timers_top(&s->timers);

    if (t == NULL || t->at_ns > s->now_ns || t->seq >= s->timers_below) return false;
    timers_stop(&s->timers, t);
    sim_note(s, t->seq);
    t->fire(t);
    return true;
}

/* One thing of the current turn; false: the turn is over. */
static bool turn_step(struct sim *s)
{
    if (s->batch_left > 0) {
        task_run(s);
        return true;
    }
    return timer_fire(s);
}

static bool step(struct sim *s, uint64_t until_ns)
{
    struct timer *t;

    if (turn_step(s)) return true;
    s->batch_left = s->n_tasks;
    s->timers_below = s->timers.seq;
    if (turn_step(s)) return true;
    t = timers_top(&s->timers);
    if (t == NULL || t->at_ns > until_ns) return false;
    if (t->at_ns > s->now_ns) s->now_ns = t->at_ns;
    return turn_step(s);
}

bool sim_step(struct sim *s)
{
    return step(s, UINT64_MAX);
}

void sim_run_until(struct sim *s, uint64_t until_ns)
{
    while (step(s, until_ns)) {
    }
    if (s->now_ns < until_ns) s->now_ns = until_ns;
}

void sim_run_ms(struct sim *s, uint64_t ms)
{
    sim_run_until(s, s->now_ns + ms * 1000000u);
}

void sim_wall_jump(struct sim *s, int64_t ms)
{
    s->wall_jumped_ms += ms;
}

void sim_set_job_ns_max(struct sim *s, uint64_t ns)
{
    check(ns > 0);
    s->job_ns_max = ns;
}

void sim_net_set_faults(struct sim *s, unsigned split_permille, unsigned reset_permille, unsigned delay_ms_max)
{
    s->options.net_split_permille = split_permille;
    s->options.net_reset_permille = reset_permille;
    s->options.net_delay_ms_max = delay_ms_max;
}

static bool sim_loop_run(struct loop *l, int mode)
{
    struct sim *s = self(l);
    bool has_run = false;

    if (mode == LOOP_ONCE_WAIT) return sim_step(s);
    if (mode == LOOP_ONCE_NOWAIT) {
        s->batch_left = s->n_tasks;
        s->timers_below = s->timers.seq;
        while (turn_step(s))
            has_run = true;
        return has_run;
    }
    while (!s->is_stop_asked && sim_step(s))
        has_run = true;
    s->is_stop_asked = false;
    return has_run;
}

static void sim_loop_stop(struct loop *l)
{
    self(l)->is_stop_asked = true;
}

/* ---- life and death ---- */

void sim_process_kill(struct sim *s)
{
    struct list *n;
    struct timer *t;

    while ((n = list_pop_front(&s->tasks)) != NULL)
        CONTAINER_OF(n, struct task, link)->posted = 0;
    s->n_tasks = s->batch_left = 0;
    while (list_pop_front(&s->jobs) != NULL || list_pop_front(&s->beside) != NULL ||
           list_pop_front(&s->finished) != NULL) {
    }
    s->n_beside = 0;
    while ((t = timers_top(&s->timers)) != NULL)
        timers_stop(&s->timers, t);
    s->is_stop_asked = false;
    sim_net_cut(s->network);
    sim_disk_forget_handles(s->disk);
    sim_note(s, 'k');
}

enum err_code sim_create(struct sim **out, const struct sim_options *o, struct err *e)
{
    struct sim *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (s == NULL) return err_set(e, ERR_MEMORY, "creating a simulated world: out of memory");
    s->options = *o;
    state_seed(s->world_state, o->seed);
    state_seed(s->user_state, ~o->seed);
    list_init(&s->tasks);
    list_init(&s->jobs);
    list_init(&s->beside);
    list_init(&s->finished);
    s->job_run.fire = on_job_run;
    s->beside_run.fire = on_beside_run;
    s->job_done.fire = on_job_done;
    s->now_ns = START_NS;
    s->job_ns_max = JOB_NS_MAX;
    s->clock = (struct clock){sim_mono_ns, sim_wall_ms};
    s->rng = (struct rng){sim_rng_next};
    s->diag = (struct diag){.write = sim_diag_write, .level = o->is_verbose ? DIAG_DEBUG : DIAG_ERROR};
    s->loop = (struct loop){
        .now_ns = sim_loop_now_ns,
        .post = sim_loop_post,
        .call = sim_loop_call,
        .timer_start = sim_loop_timer_start,
        .timer_stop = sim_loop_timer_stop,
        .submit = sim_loop_submit,
        .submit_beside = sim_loop_submit_beside,
        .each = sim_loop_each,
        .run = sim_loop_run,
        .stop = sim_loop_stop,
    };
    s->disk = sim_disk_create(s);
    s->network = sim_net_create(s);
    s->sys = (struct sys){
        .clock = &s->clock,
        .rng = &s->rng,
        .fs = sim_disk_fs(s->disk),
        .loop = &s->loop,
        .net = sim_net_net(s->network),
        .diag = &s->diag,
    };
    *out = s;
    return ERR_NONE;
}

/* Tasks and timers of others that are left are not touched: who started them may be gone. */
void sim_destroy(struct sim *s)
{
    if (s == NULL) return;
    sim_net_destroy(s->network);
    sim_disk_destroy(s->disk);
    free(s->timers.heap);
    free(s);
}

const struct sys *sim_sys(struct sim *s)
{
    return &s->sys;
}
