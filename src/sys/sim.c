/* sim.c: the simulated world: one thread, virtual time, one seed.
 *
 * The loop runs posted tasks in order; when there are none, time jumps to the next timer. A job (an fdatasync, say)
 * runs a little later in virtual time, one after the other, and its done() is a task. Nothing depends on addresses or
 * on real time, so the same seed and the same calls give the same history. */
#include "sys/sim_int.h"

#include <stdlib.h>
#include <string.h>

#define START_NS 1000000000u /* of the monotonic clock: never zero, as in life */
#define JOB_NS_MAX 200000u   /* virtual time of a job: 1 ns to this */

/* xoshiro256** (Blackman, Vigna), seeded by splitmix64. */
static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t sim_next(uint64_t s[4])
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

static void seed(uint64_t s[4], uint64_t from)
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
    return sim_next(s->seed_state) % below;
}

/* ---- clock, rng, diag ---- */

static uint64_t mono_ns(struct clock *c)
{
    return CONTAINER_OF(c, struct sim, clock)->now_ns;
}

static int64_t wall_ms(struct clock *c)
{
    struct sim *s = CONTAINER_OF(c, struct sim, clock);
    return s->options.wall_start_ms + (int64_t)((s->now_ns - START_NS) / 1000000u);
}

static uint64_t rng_next(struct rng *r)
{
    return sim_next(CONTAINER_OF(r, struct sim, rng)->user_state);
}

static void diag_write(struct diag *d, enum diag_level level, const char *room, const char *text)
{
    (void)d;
    (void)level;
    (void)room;
    (void)text;
}

/* ---- loop ---- */

static uint64_t loop_now(struct loop *l)
{
    return CONTAINER_OF(l, struct sim, loop)->now_ns;
}

static void loop_post(struct loop *l, struct task *t)
{
    struct sim *s = CONTAINER_OF(l, struct sim, loop);
    if (t->posted) return;
    t->posted = 1;
    list_push_back(&s->tasks, &t->link);
}

static void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    (void)l;
    fn(arg);
}

static void loop_timer_start(struct loop *l, struct timer *t, uint64_t at_ns)
{
    timers_start(&CONTAINER_OF(l, struct sim, loop)->timers, t, at_ns);
}

static void loop_timer_stop(struct loop *l, struct timer *t)
{
    timers_stop(&CONTAINER_OF(l, struct sim, loop)->timers, t);
}

static void arm_job(struct sim *s)
{
    if (list_is_empty(&s->jobs) || s->job_timer.slot != 0) return;
    timers_start(&s->timers, &s->job_timer, s->now_ns + 1 + sim_random(s, JOB_NS_MAX));
}

static void on_job(struct timer *t)
{
    struct sim *s = CONTAINER_OF(t, struct sim, job_timer);
    struct job *j = CONTAINER_OF(list_pop_front(&s->jobs), struct job, link);
    j->run(j);
    j->done(j);
    arm_job(s);
}

static void loop_submit(struct loop *l, struct job *j)
{
    struct sim *s = CONTAINER_OF(l, struct sim, loop);
    list_push_back(&s->jobs, &j->link);
    arm_job(s);
}

static bool run_task(struct sim *s)
{
    struct list *n = list_pop_front(&s->tasks);
    struct task *t;
    if (n == NULL) return false;
    t = CONTAINER_OF(n, struct task, link);
    t->posted = 0;
    t->run(t);
    return true;
}

static bool fire_timer(struct sim *s, uint64_t until_ns)
{
    struct timer *t = timers_top(&s->timers);
    if (t == NULL || t->at_ns > until_ns) return false;
    if (t->at_ns > s->now_ns) s->now_ns = t->at_ns;
    timers_stop(&s->timers, t);
    t->fire(t);
    return true;
}

bool sim_step(struct sim *s)
{
    return run_task(s) || fire_timer(s, UINT64_MAX);
}

void sim_run_until(struct sim *s, uint64_t until_ns)
{
    while (run_task(s) || fire_timer(s, until_ns)) {
    }
    if (s->now_ns < until_ns) s->now_ns = until_ns;
}

void sim_run_ms(struct sim *s, uint64_t ms)
{
    sim_run_until(s, s->now_ns + ms * 1000000u);
}

static bool loop_run(struct loop *l, int mode)
{
    struct sim *s = CONTAINER_OF(l, struct sim, loop);
    bool any = false;
    if (mode == LOOP_ONCE_WAIT) return sim_step(s);
    if (mode == LOOP_ONCE_NOWAIT) {
        while (run_task(s) || fire_timer(s, s->now_ns))
            any = true;
        return any;
    }
    s->stopped = false;
    while (!s->stopped && sim_step(s))
        any = true;
    return any;
}

static void loop_stop(struct loop *l)
{
    CONTAINER_OF(l, struct sim, loop)->stopped = true;
}

/* The process is gone: its tasks, timers and jobs with it. They are unlinked, so that freeing their owners is safe. */
void sim_process_kill(struct sim *s)
{
    struct list *n;
    while ((n = list_pop_front(&s->tasks)) != NULL)
        CONTAINER_OF(n, struct task, link)->posted = 0;
    while (list_pop_front(&s->jobs) != NULL) {
    }
    while (timers_top(&s->timers) != NULL)
        timers_stop(&s->timers, timers_top(&s->timers));
    sim_net_drop_all(s->network);
}

enum err_code sim_create(struct sim **out, const struct sim_options *o, struct err *e)
{
    struct sim *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL) return err_set(e, ERR_MEMORY, "creating a simulated world: out of memory");
    s->options = *o;
    seed(s->seed_state, o->seed);
    seed(s->user_state, ~o->seed);
    list_init(&s->tasks);
    list_init(&s->jobs);
    s->job_timer.fire = on_job;
    s->now_ns = START_NS;
    s->clock = (struct clock){mono_ns, wall_ms};
    s->rng = (struct rng){rng_next};
    s->diag = (struct diag){diag_write, DIAG_WARN};
    s->loop = (struct loop){loop_now,        loop_post,   loop_call, loop_timer_start,
                            loop_timer_stop, loop_submit, loop_run,  loop_stop};
    s->disk = sim_disk_create(s);
    s->network = sim_net_create(s);
    s->sys = (struct sys){&s->clock, &s->rng, sim_disk_fs(s->disk), &s->loop, sim_net_net(s->network), &s->diag};
    *out = s;
    return ERR_NONE;
}

void sim_destroy(struct sim *s)
{
    if (s == NULL) return;
    sim_process_kill(s);
    sim_net_destroy(s->network);
    sim_disk_destroy(s->disk);
    timers_deinit(&s->timers);
    free(s);
}

const struct sys *sim_sys(struct sim *s)
{
    return &s->sys;
}
