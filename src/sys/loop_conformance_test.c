/* loop_conformance_test.c: what sys.h promises of the loop, asked of libuv's and of the simulated one by the same
 * cases; then what only threads and signals can show, of the real one. Run it under the thread sanitizer, too. */
#include "sys/testing.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

#define N_TASKS 50

static int n_ran, order[4 * N_TASKS];

struct numbered {
    struct task task;
    struct timer timer;
    struct job job;
    struct world *w;
    int number, left;
};

static void note(int number)
{
    assert_true(n_ran < 4 * N_TASKS);
    order[n_ran++] = number;
}

static void on_task(struct task *t)
{
    struct numbered *n = CONTAINER_OF(t, struct numbered, task);
    note(n->number);
    if (n->left-- > 0) n->w->loop->post(n->w->loop, t);
}

static void on_timer(struct timer *t)
{
    struct numbered *n = CONTAINER_OF(t, struct numbered, timer);
    assert_true(n->w->loop->now_ns(n->w->loop) >= t->at_ns);
    note(n->number);
    if (n->left-- > 0) n->w->loop->timer_start(n->w->loop, t, t->at_ns);
}

static void numbered_init(struct numbered *all, int n, struct world *w)
{
    n_ran = 0;
    memset(all, 0, (size_t)n * sizeof(*all));
    for (int i = 0; i < n; i++) {
        all[i].number = i;
        all[i].w = w;
        all[i].task.run = on_task;
        all[i].timer.fire = on_timer;
    }
}

/* Tasks run in the order of posting; posting what is posted is nothing; what a task posts comes after those that wait.
 * */
static void test_loop__tasks_in_order(void **state)
{
    struct world world, *w = &world;
    struct numbered all[N_TASKS];

    world_open(w, state);
    numbered_init(all, N_TASKS, w);
    all[0].left = 1;
    for (int i = 0; i < N_TASKS; i++) {
        w->loop->post(w->loop, &all[i].task);
        w->loop->post(w->loop, &all[i].task);
    }
    assert_int_equal(n_ran, 0); /* never inside post */
    run_until(w, &n_ran, N_TASKS + 1);
    for (int i = 0; i < N_TASKS; i++)
        assert_int_equal(order[i], i);
    assert_int_equal(order[N_TASKS], 0);
    assert_false(w->loop->run(w->loop, LOOP_ONCE_NOWAIT));
    world_close(w);
}

/* By time, then by start; starting again moves to the end of its new time; stopped ones do not fire. */
static void test_loop__timers_in_order(void **state)
{
    struct world world, *w = &world;
    struct numbered all[8];
    uint64_t now;

    world_open(w, state);
    numbered_init(all, 8, w);
    now = w->loop->now_ns(w->loop);
    for (int i = 0; i < 8; i++)
        w->loop->timer_start(w->loop, &all[i].timer, now + (i < 4 ? 3000000 : 2000000));
    w->loop->timer_stop(w->loop, &all[5].timer);
    w->loop->timer_stop(w->loop, &all[5].timer);
    w->loop->timer_start(w->loop, &all[4].timer, now + 2000000);
    w->loop->timer_start(w->loop, &all[3].timer, now);
    run_until(w, &n_ran, 7);
    static const int want[] = {3, 6, 7, 4, 0, 1, 2};
    assert_memory_equal(order, want, sizeof(want));
    world_close(w);
}

static void on_timer_stops_next(struct timer *t)
{
    struct numbered *n = CONTAINER_OF(t, struct numbered, timer);
    note(n->number);
    n->w->loop->timer_stop(n->w->loop, &n[1].timer);
}

static void test_loop__a_timer_stops_a_due_one(void **state)
{
    struct world world, *w = &world;
    struct numbered all[3];

    world_open(w, state);
    numbered_init(all, 3, w);
    all[0].timer.fire = on_timer_stops_next;
    for (int i = 0; i < 3; i++)
        w->loop->timer_start(w->loop, &all[i].timer, w->loop->now_ns(w->loop));
    run_until(w, &n_ran, 2);
    assert_int_equal(order[1], 2);
    world_close(w);
}

/* A task that always posts itself and a timer that always starts itself at once leave room for each other. */
static void test_loop__nobody_starves(void **state)
{
    struct world world, *w = &world;
    struct numbered all[3];
    int n_tasks = 0;

    world_open(w, state);
    numbered_init(all, 3, w);
    all[0].left = all[1].left = N_TASKS;
    w->loop->post(w->loop, &all[0].task);
    w->loop->timer_start(w->loop, &all[1].timer, w->loop->now_ns(w->loop));
    w->loop->post(w->loop, &all[2].task);
    run_until(w, &n_ran, N_TASKS);
    for (int i = 0; i < N_TASKS; i++)
        n_tasks += order[i] == 0;
    assert_true(n_tasks > 0 && n_tasks < N_TASKS - 1);
    run_until(w, &n_ran, 2 * N_TASKS + 3);
    world_close(w);
}

static pthread_t loop_thread;

static void on_job_run(struct job *j)
{
    struct numbered *n = CONTAINER_OF(j, struct numbered, job);
    if (!n->w->is_sim) assert_false(pthread_equal(pthread_self(), loop_thread));
    n->left = 1;
}

static void on_job_done(struct job *j)
{
    struct numbered *n = CONTAINER_OF(j, struct numbered, job);
    assert_int_equal(n->left, 1);
    assert_true(pthread_equal(pthread_self(), loop_thread));
    note(n->number);
    if (n_ran == N_TASKS / 2) n->w->loop->submit(n->w->loop, &n[N_TASKS].job); /* from a callback, too */
}

static void on_job_done_alone(struct job *j)
{
    struct numbered *n = CONTAINER_OF(j, struct numbered, job);
    assert_int_equal(n->left, 1);
    assert_true(pthread_equal(pthread_self(), loop_thread));
    note(n->number);
}

static void test_loop__jobs_in_order(void **state)
{
    struct world world, *w = &world;
    static struct numbered all[2 * N_TASKS];

    world_open(w, state);
    loop_thread = pthread_self();
    numbered_init(all, 2 * N_TASKS, w);
    for (int i = 0; i < 2 * N_TASKS; i++) {
        all[i].job.run = on_job_run;
        all[i].job.done = on_job_done;
    }
    for (int i = 0; i < N_TASKS; i++)
        w->loop->submit(w->loop, &all[i].job);
    run_until(w, &n_ran, N_TASKS + 1);
    for (int i = 0; i < N_TASKS; i++)
        assert_int_equal(order[i], i);
    world_close(w);
}

/* All jobs that may run beside each other run once, on other threads, and are done on the loop's. */
static void test_loop__jobs_beside_each_other(void **state)
{
    struct world world, *w = &world;
    static struct numbered all[2 * N_TASKS];
    bool is_seen[N_TASKS + 1] = {false};

    world_open(w, state);
    loop_thread = pthread_self();
    numbered_init(all, 2 * N_TASKS, w);
    for (int i = 0; i < 2 * N_TASKS; i++) {
        all[i].job.run = on_job_run;
        all[i].job.done = on_job_done_alone;
    }
    for (int i = 0; i < N_TASKS; i++)
        w->loop->submit_beside(w->loop, &all[i].job);
    run_until(w, &n_ran, N_TASKS);
    for (int i = 0; i < N_TASKS; i++) {
        assert_false(is_seen[order[i]]);
        is_seen[order[i]] = true;
    }
    world_close(w);
}

struct counts {
    _Atomic int of[1000];
};

static void count_one(void *arg, int i)
{
    atomic_fetch_add(&((struct counts *)arg)->of[i], 1);
}

static void test_loop__each_runs_once(void **state)
{
    struct world world, *w = &world;
    static struct counts counts;

    world_open(w, state);
    for (int n = 0; n <= 1000; n += n < 3 ? 1 : 331) {
        memset(&counts, 0, sizeof(counts));
        w->loop->each(w->loop, count_one, &counts, n);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(counts.of[i], i < n);
    }
    world_close(w);
}

struct meeting {
    struct job job;
    pthread_barrier_t *all_here;
    int *n_done;
};

static void meet(struct job *j)
{
    (void)pthread_barrier_wait(CONTAINER_OF(j, struct meeting, job)->all_here);
}

static void have_met(struct job *j)
{
    ++*CONTAINER_OF(j, struct meeting, job)->n_done;
}

/* As many as the limit says really run at once: each waits for all others. */
static void test_loop__jobs_meet(void **state)
{
    struct world world, *w = &world;
    struct meeting all[LIMIT_JOBS_BESIDE];
    pthread_barrier_t all_here;
    int n_done = 0;

    world_open(w, state);
    for (int round = 1; round <= 3; round++) {
        assert_int_equal(pthread_barrier_init(&all_here, NULL, LIMIT_JOBS_BESIDE), 0);
        for (int i = 0; i < LIMIT_JOBS_BESIDE; i++) {
            all[i] = (struct meeting){{.run = meet, .done = have_met}, &all_here, &n_done};
            w->loop->submit_beside(w->loop, &all[i].job);
        }
        run_until(w, &n_done, round * LIMIT_JOBS_BESIDE);
        assert_int_equal(pthread_barrier_destroy(&all_here), 0);
    }
    world_close(w);
}

static void on_task_stops(struct task *t)
{
    struct numbered *n = CONTAINER_OF(t, struct numbered, task);
    note(n->number);
    n->w->loop->stop(n->w->loop);
}

static void add_one(void *arg)
{
    ++*(int *)arg;
}

static void test_loop__stop_and_run_again(void **state)
{
    struct world world, *w = &world;
    struct numbered all[2];
    int n_calls = 0;

    world_open(w, state);
    numbered_init(all, 2, w);
    for (int i = 0; i < 2; i++) {
        all[i].task.run = on_task_stops;
        w->loop->post(w->loop, &all[i].task);
        assert_true(w->loop->run(w->loop, LOOP_RUN));
        assert_int_equal(n_ran, i + 1);
    }
    w->loop->call(w->loop, add_one, &n_calls); /* own thread: at once */
    assert_int_equal(n_calls, 1);
    world_close(w);
}

static void test_loop__time_does_not_go_back(void **state)
{
    struct world world, *w = &world;
    struct numbered all[1];
    uint64_t before;

    world_open(w, state);
    numbered_init(all, 1, w);
    before = w->loop->now_ns(w->loop);
    w->loop->timer_start(w->loop, &all[0].timer, before + 5000000);
    run_until(w, &n_ran, 1);
    assert_true(w->loop->now_ns(w->loop) >= before + 5000000);
    assert_true(w->clock->mono_ns(w->clock) >= w->loop->now_ns(w->loop));
    world_close(w);
}

/* ---- the real one ---- */

#define N_THREADS 4
#define N_PER_THREAD 2000

struct poster {
    struct task task;
    struct loop *loop;
    struct os_thread *thread;
    int n_runs;       /* loop thread */
    int n_calls;      /* loop thread */
    _Atomic int sent; /* poster's thread */
    int *n_finished;  /* loop thread */
};

static void on_poster_task(struct task *t)
{
    CONTAINER_OF(t, struct poster, task)->n_runs++;
}

static void poster_called(void *arg)
{
    struct poster *p = arg;
    p->n_calls++;
}

static void poster_finished(void *arg)
{
    struct poster *p = arg;
    ++*p->n_finished;
}

static void poster_main(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < N_PER_THREAD; i++) {
        atomic_fetch_add(&p->sent, 1);
        p->loop->post(p->loop, &p->task);
        if (i % 16 == 0) p->loop->call(p->loop, poster_called, p);
    }
    p->loop->call(p->loop, poster_finished, p);
}

/* Posts and calls from other threads arrive, each call exactly once, while jobs run beside them. */
static void test_loop__other_threads(void **state)
{
    struct world world, *w = &world;
    struct poster posters[N_THREADS] = {0};
    static struct numbered all[N_TASKS];
    int n_finished = 0;

    world_open(w, state);
    loop_thread = pthread_self();
    numbered_init(all, N_TASKS, w);
    for (int i = 0; i < N_TASKS / 2 - 1; i++) {
        all[i].job = (struct job){.run = on_job_run, .done = on_job_done};
        w->loop->submit(w->loop, &all[i].job);
    }
    for (int i = 0; i < N_THREADS; i++) {
        posters[i] = (struct poster){.task.run = on_poster_task, .loop = w->loop, .n_finished = &n_finished};
        ok(os_thread_start(&posters[i].thread, poster_main, &posters[i], &w->e));
    }
    run_until(w, &n_finished, N_THREADS);
    run_until(w, &n_ran, N_TASKS / 2 - 1);
    for (int i = 0; i < N_THREADS; i++) {
        os_thread_join(posters[i].thread);
        assert_int_equal(posters[i].n_calls, N_PER_THREAD / 16);
        assert_true(posters[i].n_runs > 0 && posters[i].n_runs <= N_PER_THREAD);
    }
    world_close(w);
}

static void stopper_main(void *arg)
{
    struct world *w = arg;
    w->loop->stop(w->loop);
}

static void test_loop__stop_from_another_thread(void **state)
{
    struct world world, *w = &world;
    struct os_thread *thread;

    world_open(w, state);
    ok(os_thread_start(&thread, stopper_main, w, &w->e));
    w->loop->run(w->loop, LOOP_RUN);
    os_thread_join(thread);
    world_close(w);
}

/* Idle costs nothing: the loop sleeps until its timer. */
static void test_loop__idle_uses_no_cpu(void **state)
{
    struct world world, *w = &world;
    struct numbered all[1];
    struct timespec before, after;

    world_open(w, state);
    numbered_init(all, 1, w);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    w->loop->timer_start(w->loop, &all[0].timer, w->loop->now_ns(w->loop) + 200000000);
    run_until(w, &n_ran, 1);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec - before.tv_nsec < 50000000l);
    world_close(w);
}

static void on_signal(void *arg, int signo)
{
    note(signo);
}

static void test_loop__signals_arrive_in_the_loop(void **state)
{
    struct world world, *w = &world;

    world_open(w, state);
    n_ran = 0;
    os_loop_on_signal(w->loop, on_signal, NULL);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    run_until(w, &n_ran, 1);
    assert_int_equal(order[0], SIGTERM);
    assert_int_equal(kill(getpid(), SIGINT), 0);
    run_until(w, &n_ran, 2);
    assert_int_equal(order[1], SIGINT);
    world_close(w);
}

/* One line, one write; what a peer sent does not end the line or steer the terminal. */
static void test_diag__one_line(void **state)
{
    char line[4096], big[3000];
    int ends[2];
    ssize_t n;

    assert_int_equal(pipe(ends), 0);
    struct diag *d = os_diag_create(ends[1], DIAG_INFO);
    diag_printf(d, DIAG_DEBUG, "sys", "not shown");
    diag_printf(d, DIAG_WARN, "sys", "a \"b\"\n\x1b[1m %d", 7);
    n = read(ends[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    line[n] = 0;
    assert_non_null(strstr(line, "Z level=warn room=sys msg=\"a \\\"b\\\"\\n\\x1b[1m 7\"\n"));
    assert_memory_equal(line, "ts=", 3);
    assert_ptr_equal(strchr(line, '\n'), line + n - 1);
    memset(big, '"', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    d->write(d, DIAG_ERROR, "sys", big);
    n = read(ends[0], line, sizeof(line) - 1);
    assert_true(n > 1000 && n <= 2048);
    assert_memory_equal(line + n - 2, "\"\n", 2);
    os_diag_destroy(d);
    diag_printf(NULL, DIAG_ERROR, "sys", "nobody listens");
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    void *os = (void *)(uintptr_t) "os";
    const struct CMUnitTest tests[] = {
        BOTH(test_loop__tasks_in_order),
        BOTH(test_loop__timers_in_order),
        BOTH(test_loop__a_timer_stops_a_due_one),
        BOTH(test_loop__nobody_starves),
        BOTH(test_loop__jobs_in_order),
        BOTH(test_loop__jobs_beside_each_other),
        BOTH(test_loop__each_runs_once),
        cmocka_unit_test_prestate(test_loop__jobs_meet, os),
        BOTH(test_loop__stop_and_run_again),
        BOTH(test_loop__time_does_not_go_back),
        cmocka_unit_test_prestate(test_loop__other_threads, os),
        cmocka_unit_test_prestate(test_loop__stop_from_another_thread, os),
        cmocka_unit_test_prestate(test_loop__idle_uses_no_cpu, os),
        cmocka_unit_test_prestate(test_loop__signals_arrive_in_the_loop, os),
        cmocka_unit_test(test_diag__one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
