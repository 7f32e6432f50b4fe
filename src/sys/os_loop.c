/* os_loop.c: the loop on libuv.
 *
 *   any thread ── post ──▶ inbox (locked) ── uv_async ──▶ run() on the loop's thread
 *   timers: one uv_timer armed for the top of a binary heap of (time, sequence)
 *   jobs:   queue (locked) ──▶ job thread ──▶ finished (locked) ── uv_async ──▶ done() on the loop's thread
 *
 * One uv_timer for all because uv's timers are of milliseconds and need a handle each; the heap keeps ties in start
 * order. The lock protects inbox, queue, finished and the two flags beside them; it is held for list operations only.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "sys/os_loop_int.h"

#define JOB_STACK_BYTES (256u << 10)
#define SIGNALS_MAX 2

struct os_loop {
    struct loop loop;
    uv_loop_t uv;
    uv_async_t async;
    uv_timer_t timer;
    uv_signal_t signals[SIGNALS_MAX];
    int n_signals;
    void (*on_signal)(void *arg, int signo);
    void *signal_arg;
    uint64_t now;
    struct timer **heap;
    size_t n_timers, cap_timers;
    uint64_t timer_seq;
    bool progressed; /* something ran in this turn */
    pthread_t owner; /* of the running loop */
    _Atomic int is_running;
    _Atomic int stop_asked;
    /* Under lock. */
    pthread_mutex_t lock;
    pthread_cond_t job_ready;
    struct list inbox, queue, finished;
    struct list mark; /* in the inbox while it is run: where the turn began */
    bool job_thread_on, ending;
    pthread_t job_thread;
};

static struct os_loop *self(struct loop *l)
{
    return CONTAINER_OF(l, struct os_loop, loop);
}

uv_loop_t *os_loop_uv(struct loop *l)
{
    return &self(l)->uv;
}

void os_loop_turn(struct loop *l)
{
    struct os_loop *o = self(l);
    o->now = os_clock()->mono_ns(os_clock());
    o->progressed = true;
}

static uint64_t os_now_ns(struct loop *l)
{
    return self(l)->now;
}

/* ---- timers: binary heap ---- */

static bool before(const struct timer *a, const struct timer *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void place(struct os_loop *o, size_t i, struct timer *t)
{
    o->heap[i] = t;
    t->slot = i + 1;
}

static void sift(struct os_loop *o, size_t i, struct timer *t)
{
    while (i > 0 && before(t, o->heap[(i - 1) / 2])) {
        place(o, i, o->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= o->n_timers) break;
        if (child + 1 < o->n_timers && before(o->heap[child + 1], o->heap[child])) child++;
        if (!before(o->heap[child], t)) break;
        place(o, i, o->heap[child]);
        i = child;
    }
    place(o, i, t);
}

static void on_uv_timer(uv_timer_t *h);

static void arm(struct os_loop *o)
{
    uint64_t now = os_clock()->mono_ns(os_clock()), wait_ms = 0;
    if (o->n_timers == 0) {
        uv_timer_stop(&o->timer);
        return;
    }
    if (o->heap[0]->at_ns > now) wait_ms = (o->heap[0]->at_ns - now + 999999) / 1000000;
    uv_update_time(&o->uv);
    uv_timer_start(&o->timer, on_uv_timer, wait_ms, 0);
}

static void heap_remove(struct os_loop *o, struct timer *t)
{
    size_t i = t->slot - 1;
    struct timer *last = o->heap[--o->n_timers];
    t->slot = 0;
    if (last != t) sift(o, i, last);
}

static void os_timer_stop(struct loop *l, struct timer *t)
{
    struct os_loop *o = self(l);
    bool was_top = t->slot == 1;
    if (t->slot == 0) return;
    heap_remove(o, t);
    if (was_top) arm(o);
}

static void os_timer_start(struct loop *l, struct timer *t, uint64_t at_ns)
{
    struct os_loop *o = self(l);
    if (t->slot != 0) heap_remove(o, t);
    if (o->n_timers == o->cap_timers) {
        size_t cap = o->cap_timers ? 2 * o->cap_timers : 16;
        o->heap = realloc(o->heap, cap * sizeof(struct timer *));
        check(o->heap != NULL);
        o->cap_timers = cap;
    }
    t->at_ns = at_ns;
    t->seq = o->timer_seq++;
    o->n_timers++;
    sift(o, o->n_timers - 1, t);
    if (t->slot == 1) arm(o);
}

static void on_uv_timer(uv_timer_t *h)
{
    struct os_loop *o = h->data;
    uint64_t now;
    os_loop_turn(&o->loop);
    now = o->now;
    while (o->n_timers > 0 && o->heap[0]->at_ns <= now) {
        struct timer *t = o->heap[0];
        heap_remove(o, t);
        t->fire(t);
    }
    arm(o);
}

/* ---- tasks ---- */

static void os_post(struct loop *l, struct task *t)
{
    struct os_loop *o = self(l);
    if (atomic_exchange_explicit(&t->posted, 1, memory_order_acq_rel)) return;
    pthread_mutex_lock(&o->lock);
    list_push_back(&o->inbox, &t->link);
    pthread_mutex_unlock(&o->lock);
    uv_async_send(&o->async);
}

static struct list *take(struct os_loop *o, struct list *from)
{
    struct list *n;
    pthread_mutex_lock(&o->lock);
    n = list_pop_front(from);
    pthread_mutex_unlock(&o->lock);
    return n;
}

/* Everything that was there at the start of the turn; what that posts comes next turn. */
static void run_inbox(struct os_loop *o)
{
    struct list *n;
    pthread_mutex_lock(&o->lock);
    list_push_back(&o->inbox, &o->mark);
    pthread_mutex_unlock(&o->lock);
    while ((n = take(o, &o->inbox)) != &o->mark) {
        struct task *t;
        check(n != NULL);
        t = CONTAINER_OF(n, struct task, link);
        atomic_store_explicit(&t->posted, 0, memory_order_release);
        t->run(t);
    }
}

static void on_async(uv_async_t *h)
{
    struct os_loop *o = h->data;
    struct list *n;
    bool more;
    os_loop_turn(&o->loop);
    while ((n = take(o, &o->finished)) != NULL) {
        struct job *j = CONTAINER_OF(n, struct job, link);
        j->done(j);
    }
    run_inbox(o);
    pthread_mutex_lock(&o->lock);
    more = !list_is_empty(&o->inbox) || !list_is_empty(&o->finished);
    pthread_mutex_unlock(&o->lock);
    if (more) uv_async_send(&o->async);
    if (o->stop_asked) uv_stop(&o->uv);
}

struct call {
    struct task task;
    void (*fn)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t done_cond;
    bool done;
};

static void run_call(struct task *t)
{
    struct call *c = CONTAINER_OF(t, struct call, task);
    c->fn(c->arg);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->done_cond);
    pthread_mutex_unlock(&c->lock);
}

static void os_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct os_loop *o = self(l);
    struct call c = {.task.run = run_call, .fn = fn, .arg = arg};
    /* A loop that does not run has no other thread in it: before its start and after its end the caller is alone. */
    if (!o->is_running || pthread_equal(o->owner, pthread_self())) {
        fn(arg);
        return;
    }
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.done_cond, NULL);
    os_post(l, &c.task);
    pthread_mutex_lock(&c.lock);
    while (!c.done)
        pthread_cond_wait(&c.done_cond, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.done_cond);
    pthread_mutex_destroy(&c.lock);
}

/* ---- jobs ---- */

static void *job_main(void *arg)
{
    struct os_loop *o = arg;
    for (;;) {
        struct list *n;
        struct job *j;
        pthread_mutex_lock(&o->lock);
        while (list_is_empty(&o->queue) && !o->ending)
            pthread_cond_wait(&o->job_ready, &o->lock);
        n = list_pop_front(&o->queue);
        pthread_mutex_unlock(&o->lock);
        if (n == NULL) return NULL;
        j = CONTAINER_OF(n, struct job, link);
        j->run(j);
        pthread_mutex_lock(&o->lock);
        list_push_back(&o->finished, &j->link);
        pthread_mutex_unlock(&o->lock);
        uv_async_send(&o->async);
    }
}

static void os_submit(struct loop *l, struct job *j)
{
    struct os_loop *o = self(l);
    pthread_attr_t attr;
    if (!o->job_thread_on) {
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, JOB_STACK_BYTES);
        check(pthread_create(&o->job_thread, &attr, job_main, o) == 0);
        pthread_attr_destroy(&attr);
        o->job_thread_on = true;
    }
    pthread_mutex_lock(&o->lock);
    list_push_back(&o->queue, &j->link);
    pthread_cond_signal(&o->job_ready);
    pthread_mutex_unlock(&o->lock);
}

/* ---- running ---- */

static bool os_run(struct loop *l, int mode)
{
    struct os_loop *o = self(l);
    o->owner = pthread_self();
    o->is_running = 1;
    o->progressed = false;
    o->now = os_clock()->mono_ns(os_clock());
    arm(o);
    if (mode == LOOP_RUN) {
        while (!o->stop_asked)
            uv_run(&o->uv, UV_RUN_DEFAULT);
        o->stop_asked = 0;
    } else {
        uv_run(&o->uv, mode == LOOP_ONCE_NOWAIT ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    }
    o->is_running = 0;
    return o->progressed;
}

static void os_stop(struct loop *l)
{
    struct os_loop *o = self(l);
    o->stop_asked = 1;
    uv_async_send(&o->async);
}

static void on_uv_signal(uv_signal_t *h, int signo)
{
    struct os_loop *o = h->data;
    os_loop_turn(&o->loop);
    o->on_signal(o->signal_arg, signo);
}

void os_loop_on_signal(struct loop *l, void (*fn)(void *arg, int signo), void *arg)
{
    static const int numbers[SIGNALS_MAX] = {SIGTERM, SIGINT};
    struct os_loop *o = self(l);
    o->on_signal = fn;
    o->signal_arg = arg;
    for (; o->n_signals < SIGNALS_MAX; o->n_signals++) {
        uv_signal_t *s = &o->signals[o->n_signals];
        check(uv_signal_init(&o->uv, s) == 0);
        s->data = o;
        uv_unref((uv_handle_t *)s);
        check(uv_signal_start(s, on_uv_signal, numbers[o->n_signals]) == 0);
    }
}

enum err_code os_loop_create(struct loop **out, struct err *e)
{
    struct os_loop *o = calloc(1, sizeof *o);
    int rc;
    *out = NULL;
    if (o == NULL) return err_set(e, ERR_MEMORY, "creating an event loop: out of memory");
    o->loop = (struct loop){os_now_ns, os_post, os_call, os_timer_start, os_timer_stop, os_submit, os_run, os_stop};
    list_init(&o->inbox);
    list_init(&o->queue);
    list_init(&o->finished);
    rc = uv_loop_init(&o->uv);
    if (rc != 0) {
        free(o);
        return err_set(e, ERR_IO, "creating an event loop: %s", uv_strerror(rc));
    }
    check(uv_async_init(&o->uv, &o->async, on_async) == 0);
    check(uv_timer_init(&o->uv, &o->timer) == 0);
    o->async.data = o;
    o->timer.data = o;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->job_ready, NULL);
    o->now = os_clock()->mono_ns(os_clock());
    *out = &o->loop;
    return ERR_NONE;
}

void os_loop_destroy(struct loop *l)
{
    struct os_loop *o;
    if (l == NULL) return;
    o = self(l);
    if (o->job_thread_on) {
        pthread_mutex_lock(&o->lock);
        o->ending = true;
        pthread_cond_signal(&o->job_ready);
        pthread_mutex_unlock(&o->lock);
        pthread_join(o->job_thread, NULL);
    }
    /* What was posted last (the end of connections) still runs. */
    while (!list_is_empty(&o->inbox) || !list_is_empty(&o->finished))
        on_async(&o->async);
    uv_close((uv_handle_t *)&o->async, NULL);
    uv_close((uv_handle_t *)&o->timer, NULL);
    for (int i = 0; i < o->n_signals; i++)
        uv_close((uv_handle_t *)&o->signals[i], NULL);
    uv_run(&o->uv, UV_RUN_DEFAULT);
    check(uv_loop_close(&o->uv) == 0);
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->job_ready);
    free(o->heap);
    free(o);
}
