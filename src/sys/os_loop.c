/* os_loop.c: the loop on libuv. One turn:
 *
 *   timers due ─▶ prepare: arm the uv_timer, forget the time ─▶ poll: sockets, signals, uv_async ─▶ check: tasks ─▶ closed
 *                                                                                       ▲
 *   another thread: post ─▶ inbox, under lock ─▶ uv_async_send ─────────────────────────┤
 *   job threads: run() ─▶ finished, under lock ─▶ uv_async_send ────────────────────────┘ done()
 *
 * L1  Tasks run after the sockets of the turn were read, and only those posted before the first of them ran. A task
 *     that posts itself again thus comes in the next turn, after I/O. What many connections ask for in one turn is
 *     served by one task.
 * L2  Tasks of the loop's own thread go to `local` without lock and without a system call; while `local` is not empty
 *     a uv_idle keeps poll from waiting. Others go to `inbox`, under the lock.
 * L3  The time is read at most once per turn, at the first question after poll may have waited.
 * L4  Nothing polls: without sockets, timers and posts the thread sleeps.
 * L5  Two lanes of jobs. The ordered one has one thread. The other one has up to LIMIT_JOBS_BESIDE, each begun when a job
 *     finds all others busy, none ended before the loop: an idle thread costs a stack of a few pages.
 *
 * One uv_timer for all: uv's timers are of milliseconds and a handle each. It is armed rounded up and never trusted:
 * what is due is decided by our clock. The job threads are ours and not uv's pool, because jobs of one loop must run in
 * order and uv_queue_work of 1.44 may not be called from other threads. The lock guards list operations only; it is not
 * a message because it is the mailbox. */
#include "sys/os_loop_int.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/limits.h"
#include "sys/timers.h"

#define JOB_STACK_BYTES                                                                                                \
    (256u << 10) /* a job syncs and deletes files; 8 MiB per loop would be address space for nothing */
#define N_SIGNALS 2

/* A queue of jobs and its threads. */
struct lane {
    struct os_loop *owner;
    int max;
    /* Under the loop's lock, any thread. */
    pthread_cond_t ready;
    struct list jobs;
    int n_jobs; /* in `jobs` */
    int n_idle; /* threads that wait */
    /* Loop thread. */
    int n_threads;
    pthread_t threads[LIMIT_JOBS_BESIDE];
};

struct os_loop {
    struct loop loop;
    /* Loop thread. */
    uv_loop_t uv;
    uv_async_t async;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_signal_t signals[N_SIGNALS];
    void (*on_signal)(void *arg, int signo);
    void *signal_arg;
    bool has_signals, is_idle_on, is_time_known;
    bool is_once, has_run_something; /* of this run() */
    uint64_t now_ns;
    uint64_t armed_ns; /* what the uv_timer is set to; UINT64_MAX: not set */
    struct timers timers;
    struct list local;
    /* Any thread. */
    pthread_t home;         /* the creator until the first run(), then the last runner */
    _Atomic int is_running; /* release store after home is written */
    _Atomic int is_stop_asked;
    /* Under lock, any thread. */
    pthread_mutex_t lock;
    struct list inbox, finished;
    bool is_ending;
    struct lane ordered, beside; /* L5 */
};

static struct os_loop *self(struct loop *l)
{
    return CONTAINER_OF(l, struct os_loop, loop);
}

uv_loop_t *os_loop_uv(struct loop *l)
{
    return &self(l)->uv;
}

void os_loop_note(struct loop *l)
{
    self(l)->has_run_something = true;
}

static bool is_own_thread(struct os_loop *o)
{
    return atomic_load_explicit(&o->is_running, memory_order_acquire) && pthread_equal(o->home, pthread_self());
}

/* Moves everything of `from` to the end of `to`. */
static void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* ---- time and timers ---- */

static uint64_t os_loop_now_ns(struct loop *l)
{
    struct os_loop *o = self(l);

    if (!o->is_time_known) { /* L3 */
        o->now_ns = os_clock()->mono_ns(os_clock());
        o->is_time_known = true;
    }
    return o->now_ns;
}

static void on_uv_timer(uv_timer_t *h)
{
    struct os_loop *o = CONTAINER_OF(h, struct os_loop, timer);
    uint64_t now, below = o->timers.seq;
    struct timer *t;

    o->armed_ns = UINT64_MAX;
    o->is_time_known = false;
    now = os_loop_now_ns(&o->loop);
    /* What is started from here on waits for the next turn, however due it is. */
    while ((t = timers_top(&o->timers)) != NULL && t->at_ns <= now && t->seq < below) {
        timers_stop(&o->timers, t);
        o->has_run_something = true;
        t->fire(t);
        if (atomic_load_explicit(&o->is_stop_asked, memory_order_relaxed)) break;
    }
}

static void arm(struct os_loop *o)
{
    struct timer *t = timers_top(&o->timers);
    uint64_t at = t ? t->at_ns : UINT64_MAX, now;

    if (at == o->armed_ns) return;
    o->armed_ns = at;
    if (t == NULL) {
        check(uv_timer_stop(&o->timer) == 0);
        return;
    }
    now = os_clock()->mono_ns(os_clock());
    uv_update_time(&o->uv);
    check(uv_timer_start(&o->timer, on_uv_timer, at > now ? (at - now) / 1000000 + ((at - now) % 1000000 != 0) : 0,
                         0) == 0);
}

static void os_loop_timer_start(struct loop *l, struct timer *t, uint64_t at_ns)
{
    timers_start(&self(l)->timers, t, at_ns);
}

static void os_loop_timer_stop(struct loop *l, struct timer *t)
{
    timers_stop(&self(l)->timers, t);
}

/* ---- tasks ---- */

static void on_idle(uv_idle_t *h)
{
    /* Being there is all it does (L2). */
}

static void on_prepare(uv_prepare_t *h)
{
    struct os_loop *o = CONTAINER_OF(h, struct os_loop, prepare);

    /* uv_run(ONCE) would wait for I/O even when its timers have just run. */
    if ((!list_is_empty(&o->local) || (o->is_once && o->has_run_something)) && !o->is_idle_on) {
        check(uv_idle_start(&o->idle, on_idle) == 0);
        o->is_idle_on = true;
    }
    arm(o);
    o->is_time_known = false;
}

static void on_check(uv_check_t *h)
{
    struct os_loop *o = CONTAINER_OF(h, struct os_loop, check);
    struct list batch, *n;

    list_init(&batch);
    list_splice(&batch, &o->local); /* L1 */
    while ((n = list_pop_front(&batch)) != NULL) {
        struct task *t = CONTAINER_OF(n, struct task, link);
        atomic_store_explicit(&t->posted, 0, memory_order_release);
        o->has_run_something = true;
        t->run(t);
    }
    if (list_is_empty(&o->local) && o->is_idle_on) {
        check(uv_idle_stop(&o->idle) == 0);
        o->is_idle_on = false;
    }
}

static void on_async(uv_async_t *h)
{
    struct os_loop *o = CONTAINER_OF(h, struct os_loop, async);
    struct list finished, *n;

    list_init(&finished);
    pthread_mutex_lock(&o->lock);
    list_splice(&finished, &o->finished);
    list_splice(&o->local, &o->inbox);
    pthread_mutex_unlock(&o->lock);
    while ((n = list_pop_front(&finished)) != NULL) {
        struct job *j = CONTAINER_OF(n, struct job, link);
        o->has_run_something = true;
        j->done(j);
    }
    if (atomic_load_explicit(&o->is_stop_asked, memory_order_acquire)) uv_stop(&o->uv);
}

static void os_loop_post(struct loop *l, struct task *t)
{
    struct os_loop *o = self(l);

    if (atomic_exchange_explicit(&t->posted, 1, memory_order_acq_rel)) return;
    if (is_own_thread(o)) {
        list_push_back(&o->local, &t->link);
        return;
    }
    pthread_mutex_lock(&o->lock);
    list_push_back(&o->inbox, &t->link);
    pthread_mutex_unlock(&o->lock);
    check(uv_async_send(&o->async) == 0);
}

void os_loop_unpost(struct loop *l, struct task *t)
{
    struct os_loop *o = self(l);

    if (!atomic_load_explicit(&t->posted, memory_order_acquire)) return;
    pthread_mutex_lock(&o->lock); /* it may be in either list */
    list_remove(&t->link);
    pthread_mutex_unlock(&o->lock);
    atomic_store_explicit(&t->posted, 0, memory_order_release);
}

struct call {
    struct task task;
    void (*fn)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void call_run(struct task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, task);

    c->fn(c->arg);
    pthread_mutex_lock(&c->lock);
    c->is_done = true;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->lock);
}

static void os_loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct os_loop *o = self(l);
    struct call c = {.task.run = call_run, .fn = fn, .arg = arg};

    /* Before and between runs the loop's thread is the one that made or ran it. */
    if (pthread_equal(o->home, pthread_self())) {
        fn(arg);
        return;
    }
    check(pthread_mutex_init(&c.lock, NULL) == 0 && pthread_cond_init(&c.done, NULL) == 0);
    os_loop_post(l, &c.task);
    pthread_mutex_lock(&c.lock);
    while (!c.is_done)
        pthread_cond_wait(&c.done, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.done);
    pthread_mutex_destroy(&c.lock);
}

/* ---- jobs ---- */

static void *job_main(void *arg)
{
    struct lane *lane = arg;
    struct os_loop *o = lane->owner;

    pthread_mutex_lock(&o->lock);
    for (;;) {
        struct list *n = list_pop_front(&lane->jobs);
        struct job *j;
        if (n == NULL && o->is_ending) break;
        if (n == NULL) {
            lane->n_idle++;
            pthread_cond_wait(&lane->ready, &o->lock);
            lane->n_idle--;
            continue;
        }
        lane->n_jobs--;
        pthread_mutex_unlock(&o->lock);
        j = CONTAINER_OF(n, struct job, link);
        j->run(j);
        pthread_mutex_lock(&o->lock);
        list_push_back(&o->finished, &j->link);
        check(uv_async_send(&o->async) == 0);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* False: the system has no thread for us; those that are there do the work. */
static bool job_thread_start(struct lane *lane)
{
    pthread_attr_t attr;
    sigset_t all, before;

    /* Signals are for the thread that waits for them. */
    (void)sigfillset(&all);
    check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    check(pthread_attr_init(&attr) == 0);
    check(pthread_attr_setstacksize(&attr, JOB_STACK_BYTES) == 0);
    bool is_started = pthread_create(&lane->threads[lane->n_threads], &attr, job_main, lane) == 0;
    check(pthread_attr_destroy(&attr) == 0);
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (is_started) lane->n_threads++;
    return is_started;
}

static void lane_init(struct lane *lane, struct os_loop *o, int max)
{
    lane->owner = o;
    lane->max = max;
    list_init(&lane->jobs);
    check(pthread_cond_init(&lane->ready, NULL) == 0);
}

static void lane_submit(struct lane *lane, struct job *j)
{
    pthread_mutex_t *lock = &lane->owner->lock;

    pthread_mutex_lock(lock);
    list_push_back(&lane->jobs, &j->link);
    bool is_short = ++lane->n_jobs > lane->n_idle; /* those that were woken and do not run yet count as idle */
    pthread_cond_signal(&lane->ready);
    pthread_mutex_unlock(lock);
    if (is_short && lane->n_threads < lane->max) check(job_thread_start(lane) || lane->n_threads > 0);
}

static void lane_deinit(struct lane *lane)
{
    pthread_mutex_lock(&lane->owner->lock);
    lane->owner->is_ending = true;
    pthread_cond_broadcast(&lane->ready);
    pthread_mutex_unlock(&lane->owner->lock);
    for (int i = 0; i < lane->n_threads; i++)
        check(pthread_join(lane->threads[i], NULL) == 0);
    pthread_cond_destroy(&lane->ready);
}

static void os_loop_submit(struct loop *l, struct job *j)
{
    lane_submit(&self(l)->ordered, j);
}

static void os_loop_submit_beside(struct loop *l, struct job *j)
{
    lane_submit(&self(l)->beside, j);
}

struct each {
    void (*fn)(void *arg, int i);
    void *arg;
    int n;
    _Atomic int next;
};

static void *each_main(void *arg)
{
    struct each *each = arg;

    for (int i; (i = atomic_fetch_add(&each->next, 1)) < each->n;)
        each->fn(each->arg, i);
    return NULL;
}

static void os_loop_each(struct loop *l, void (*fn)(void *arg, int i), void *arg, int n)
{
    struct each each = {.fn = fn, .arg = arg, .n = n};
    pthread_t threads[LIMIT_JOBS_BESIDE];
    sigset_t all, before;
    int n_threads = 0;

    (void)sigfillset(&all);
    check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    /* The caller works, too; a thread that the system does not give is not missed. */
    while (n_threads < LIMIT_JOBS_BESIDE && n_threads + 1 < n &&
           pthread_create(&threads[n_threads], NULL, each_main, &each) == 0)
        n_threads++;
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    (void)each_main(&each);
    for (int i = 0; i < n_threads; i++)
        check(pthread_join(threads[i], NULL) == 0);
}

/* ---- running ---- */

static bool os_loop_run(struct loop *l, int mode)
{
    struct os_loop *o = self(l);

    check(!atomic_load(&o->is_running));
    if (!pthread_equal(o->home, pthread_self())) o->home = pthread_self();
    atomic_store_explicit(&o->is_running, 1, memory_order_release);
    o->has_run_something = false;
    o->is_once = mode == LOOP_ONCE_WAIT;
    o->is_time_known = false;
    arm(o);
    if (mode == LOOP_ONCE_NOWAIT) {
        (void)uv_run(&o->uv, UV_RUN_NOWAIT);
    } else {
        while (!atomic_load_explicit(&o->is_stop_asked, memory_order_acquire)) {
            (void)uv_run(&o->uv, mode == LOOP_RUN ? UV_RUN_DEFAULT : UV_RUN_ONCE);
            if (mode == LOOP_ONCE_WAIT && o->has_run_something) break;
        }
    }
    atomic_store_explicit(&o->is_stop_asked, 0, memory_order_relaxed);
    atomic_store_explicit(&o->is_running, 0, memory_order_release);
    o->is_time_known = false;
    return o->has_run_something;
}

static void os_loop_stop(struct loop *l)
{
    struct os_loop *o = self(l);

    atomic_store_explicit(&o->is_stop_asked, 1, memory_order_release);
    if (is_own_thread(o))
        uv_stop(&o->uv);
    else
        check(uv_async_send(&o->async) == 0);
}

static void on_uv_signal(uv_signal_t *h, int signo)
{
    struct os_loop *o = h->data;

    o->has_run_something = true;
    o->on_signal(o->signal_arg, signo);
}

void os_loop_on_signal(struct loop *l, void (*fn)(void *arg, int signo), void *arg)
{
    static const int numbers[N_SIGNALS] = {SIGTERM, SIGINT};
    struct os_loop *o = self(l);

    o->on_signal = fn;
    o->signal_arg = arg;
    if (o->has_signals) return;
    o->has_signals = true;
    for (int i = 0; i < N_SIGNALS; i++) {
        check(uv_signal_init(&o->uv, &o->signals[i]) == 0);
        o->signals[i].data = o;
        check(uv_signal_start(&o->signals[i], on_uv_signal, numbers[i]) == 0);
    }
}

static const struct loop loop_functions = {
    .now_ns = os_loop_now_ns,
    .post = os_loop_post,
    .call = os_loop_call,
    .timer_start = os_loop_timer_start,
    .timer_stop = os_loop_timer_stop,
    .submit = os_loop_submit,
    .submit_beside = os_loop_submit_beside,
    .each = os_loop_each,
    .run = os_loop_run,
    .stop = os_loop_stop,
};

enum err_code os_loop_create(struct loop **out, struct err *e)
{
    struct os_loop *o = calloc(1, sizeof(*o));
    int rc;

    *out = NULL;
    if (o == NULL) return err_set(e, ERR_MEMORY, "creating an event loop: out of memory");
    rc = uv_loop_init(&o->uv);
    if (rc != 0) {
        free(o);
        return err_set_os(e, -rc, "creating an event loop");
    }
    rc = uv_async_init(&o->uv, &o->async, on_async);
    if (rc != 0) {
        check(uv_loop_close(&o->uv) == 0);
        free(o);
        return err_set_os(e, -rc, "creating an event loop");
    }
    o->loop = loop_functions;
    check(uv_timer_init(&o->uv, &o->timer) == 0);
    check(uv_prepare_init(&o->uv, &o->prepare) == 0 && uv_prepare_start(&o->prepare, on_prepare) == 0);
    check(uv_check_init(&o->uv, &o->check) == 0 && uv_check_start(&o->check, on_check) == 0);
    check(uv_idle_init(&o->uv, &o->idle) == 0);
    o->armed_ns = UINT64_MAX;
    o->home = pthread_self();
    list_init(&o->local);
    list_init(&o->inbox);
    list_init(&o->finished);
    check(pthread_mutex_init(&o->lock, NULL) == 0);
    lane_init(&o->ordered, o, 1);
    lane_init(&o->beside, o, LIMIT_JOBS_BESIDE);
    *out = &o->loop;
    return ERR_NONE;
}

void os_loop_destroy(struct loop *l)
{
    struct os_loop *o;

    if (l == NULL) return;
    o = self(l);
    check(!atomic_load(&o->is_running));
    lane_deinit(&o->ordered);
    lane_deinit(&o->beside);
    /* Tasks and completions that are left are not run: who posted them may be gone. */
    uv_close((uv_handle_t *)&o->async, NULL);
    uv_close((uv_handle_t *)&o->timer, NULL);
    uv_close((uv_handle_t *)&o->prepare, NULL);
    uv_close((uv_handle_t *)&o->check, NULL);
    uv_close((uv_handle_t *)&o->idle, NULL);
    for (int i = 0; o->has_signals && i < N_SIGNALS; i++)
        uv_close((uv_handle_t *)&o->signals[i], NULL);
    (void)uv_run(&o->uv, UV_RUN_DEFAULT);
    check(uv_loop_close(&o->uv) == 0);
    free(o->timers.heap); /* not timers_deinit: the timers may be gone, too */
    pthread_mutex_destroy(&o->lock);
    free(o);
}
