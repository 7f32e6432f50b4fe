/* What it proves: the port over a broker keeps every promise of port/port.h. How: the conformance suite against three
 * worlds: the simulated one (restart: the machine loses power), real files with everything in one thread, real files
 * with the broker on a thread of its own (restart of both: the broker is dropped without a word). */
#include "conformance/port_conformance.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/broker_port.h"
#include "sys/os.h"
#include "sys/sim.h"

#define QUIET_NS 20000000u /* the real worlds: nothing came for so long */

struct world {
    struct sim *sim;   /* or NULL: real files */
    struct sys sys;    /* the broker's */
    struct loop *home; /* the computing thread's loop; the broker's own, when there is one thread */
    struct loop *shard;
    struct os_thread *thread; /* the broker's, or NULL */
    pthread_mutex_t lock;     /* of is_ready */
    pthread_cond_t ready;
    bool is_ready;
    struct diag *diag;
    char dir[64];
    struct broker *broker;
    struct port *port;
    bool is_quiet;
    struct timer timer;
};

static void must(enum err_code rc, const struct err *e)
{
    if (rc == ERR_NONE) return;
    (void)fprintf(stderr, "%s\n", e->text);
    abort();
}

static void open_run(void *arg)
{
    struct world *w = arg;
    struct err e = {0};
    struct broker_options o = {.data_dir = w->sim ? "data" : w->dir};
    must(broker_open(&w->broker, &w->sys, &o, &e), &e);
}

static void abandon_run(void *arg)
{
    struct world *w = arg;
    broker_abandon(w->broker);
    w->broker = NULL;
}

static void close_run(void *arg)
{
    struct world *w = arg;
    broker_close(w->broker);
    w->broker = NULL;
}

static void on_shard(struct world *w, void (*fn)(void *arg))
{
    if (w->thread)
        w->shard->call(w->shard, fn, w);
    else
        fn(w);
}

static void world_open(struct world *w)
{
    struct err e = {0};
    on_shard(w, open_run);
    must(broker_port_create(&w->port, w->broker, w->home, &e), &e);
}

static struct port *world_port(void *world)
{
    return ((struct world *)world)->port;
}

/* ---- simulated ---- */
static void *sim_make(void *arg)
{
    struct world *w = calloc(1, sizeof(*w));
    struct sim_options o = {.seed = 7, .wall_start_ms = 1700000000000ll};
    struct err e = {0};

    must(sim_create(&w->sim, &o, &e), &e);
    w->sys = *sim_sys(w->sim);
    w->home = w->shard = w->sys.loop;
    world_open(w);
    return w;
}

static bool sim_pump(void *world)
{
    struct world *w = world;
    sim_run_ms(w->sim, 50);
    return false;
}

static void sim_restart(void *world)
{
    struct world *w = world;
    sim_disk_crash_at(w->sim, 1);
    broker_port_destroy(w->port);
    abandon_run(w);
    sim_run_ms(w->sim, 1);
    sim_disk_power_cycle(w->sim);
    world_open(w);
}

static void sim_end(void *world)
{
    struct world *w = world;
    broker_port_destroy(w->port);
    close_run(w);
    sim_run_ms(w->sim, 1);
    sim_destroy(w->sim);
    free(w);
}

/* ---- real ---- */
/* The loop is made on the thread that runs it: until its first run a loop takes its maker's thread for its own. */
static void shard_main(void *arg)
{
    struct world *w = arg;
    struct err e = {0};

    must(os_loop_create(&w->shard, &e), &e);
    pthread_mutex_lock(&w->lock);
    w->is_ready = true;
    pthread_cond_signal(&w->ready);
    pthread_mutex_unlock(&w->lock);
    (void)w->shard->run(w->shard, LOOP_RUN);
}

static void shard_start(struct world *w)
{
    struct err e = {0};

    if (pthread_mutex_init(&w->lock, NULL) != 0 || pthread_cond_init(&w->ready, NULL) != 0) abort();
    must(os_thread_start(&w->thread, shard_main, w, &e), &e);
    pthread_mutex_lock(&w->lock);
    while (!w->is_ready)
        pthread_cond_wait(&w->ready, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void *os_make(void *arg)
{
    struct world *w = calloc(1, sizeof(*w));
    bool has_thread = *(bool *)arg;
    struct err e = {0};

    (void)snprintf(w->dir, sizeof(w->dir), "weir-port-XXXXXX");
    if (mkdtemp(w->dir) == NULL) abort();
    must(os_loop_create(&w->home, &e), &e);
    w->shard = w->home;
    if (has_thread) shard_start(w);
    w->diag = os_diag_create(2, DIAG_ERROR);
    w->sys = (struct sys){.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .loop = w->shard, .diag = w->diag};
    world_open(w);
    return w;
}

static void quiet(struct timer *t)
{
    CONTAINER_OF(t, struct world, timer)->is_quiet = true;
}

/* Waits until something ran, or for the quiet time. */
static bool os_pump(void *world)
{
    struct world *w = world;

    if (w->home->run(w->home, LOOP_ONCE_NOWAIT)) return true;
    w->is_quiet = false;
    w->timer.fire = quiet;
    w->home->timer_start(w->home, &w->timer, w->sys.clock->mono_ns(w->sys.clock) + QUIET_NS);
    bool ran = w->home->run(w->home, LOOP_ONCE_WAIT);
    w->home->timer_stop(w->home, &w->timer);
    return ran && !w->is_quiet;
}

static void os_settle(struct world *w)
{
    for (int i = 0; i < 1000 && w->home->run(w->home, LOOP_ONCE_NOWAIT); i++)
        continue;
}

static void os_restart(void *world)
{
    struct world *w = world;
    broker_port_destroy(w->port);
    on_shard(w, abandon_run);
    os_settle(w);
    world_open(w);
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *at)
{
    return remove(path);
}

static void os_end(void *world)
{
    struct world *w = world;

    broker_port_destroy(w->port);
    on_shard(w, close_run);
    os_settle(w);
    if (w->thread) {
        w->shard->stop(w->shard);
        os_thread_join(w->thread);
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->ready);
        os_loop_destroy(w->shard);
    }
    os_loop_destroy(w->home);
    os_diag_destroy(w->diag);
    (void)nftw(w->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
}

int main(void)
{
    static bool no = false, yes = true;
    const struct port_conformance suites[] = {
        {"broker port, simulated", sim_make, world_port, sim_pump, sim_restart, sim_end, NULL},
        {"broker port, one thread", os_make, world_port, os_pump, os_restart, os_end, &no},
        {"broker port, two threads", os_make, world_port, os_pump, os_restart, os_end, &yes},
    };
    int failed = 0;

    for (size_t i = 0; i < ARRAY_LEN(suites); i++)
        failed += port_conformance_run(&suites[i]);
    return failed != 0;
}
