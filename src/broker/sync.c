/* sync.c: group commit, and telling those who wait.
 *
 *   append ──▶ dirty list ──turn task──▶ one job: fdatasync of every dirty log ──done──▶ durable moves: waits are
 *                  ▲                                                                │     answered, readers woken
 *                  └── appended meanwhile: the next job, started at once ◀──────────┘
 *
 * S1  At most one job is under way. Everything that arrives during it joins the next; there is no other delay.
 * S2  Waits of one partition are answered in append order, with ERR_NONE only when their offset is durable.
 * S3  A failed sync is never tried again: the log has stopped, its waits get ERR_STOPPED, reads of what is durable go
 *     on.
 * S4  The turn task is posted only when something is dirty, woken or failed; an idle broker does nothing.
 * S5  Callbacks are called from here with no list of ours in the middle of being walked: each is taken off first, so
 *     they may append, wait, cancel and delete. They must not close the broker. The syncer outlives the broker when
 *     the loop still holds its task or job: it frees itself then. */
#include "broker/broker_int.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum job_state { JOB_IDLE, JOB_SUBMITTED, JOB_RUNNING, JOB_RAN };

struct sync_entry {
    struct partition *partition; /* its topic is referred to */
    struct log_sync sync;
};

struct syncer {
    struct task turn;
    struct job job;
    struct broker *broker; /* NULL: gone */
    struct sync_entry *entries;
    int n, cap;
    bool is_posted;      /* the turn task is with the loop */
    bool is_job_out;     /* the job is with the loop */
    _Atomic int state;   /* enum job_state */
    _Atomic uint64_t ns; /* of the last job */
    struct clock *clock;
    pthread_mutex_t lock; /* only for waiting in take_back; guards nothing else */
    pthread_cond_t ran;
};

static void turn_run(struct task *t);
static void abandon_job(struct syncer *s);
static void job_run(struct job *j);
static void job_done(struct job *j);

struct syncer *syncer_create(struct broker *b)
{
    struct syncer *s = calloc(1, sizeof(*s));
    check(s != NULL);
    s->turn.run = turn_run;
    s->job.run = job_run;
    s->job.done = job_done;
    s->broker = b;
    s->clock = b->sys->clock;
    check(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->ran, NULL) == 0);
    return s;
}

static void free_when_unheld(struct syncer *s)
{
    if (s->broker != NULL || s->is_posted || s->is_job_out) return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->ran);
    free(s->entries);
    free(s);
}

void syncer_destroy(struct syncer *s)
{
    if (s == NULL) return;
    if (s->n > 0) abandon_job(s);
    s->broker = NULL;
    free_when_unheld(s);
}

void broker_post_turn(struct broker *b)
{
    struct syncer *s = b->syncer;
    if (s->is_posted || b->is_closing) return;
    s->is_posted = true;
    b->sys->loop->post(b->sys->loop, &s->turn);
}

/* ---- marks ---- */
void partition_mark_dirty(struct partition *p)
{
    struct broker *b = p->topic->broker;
    if (!list_is_linked(&p->dirty_link)) list_push_back(&b->dirty, &p->dirty_link);
    if (b->syncer->n == 0) broker_post_turn(b); /* else it joins the next job */
}

void partition_mark_woken(struct partition *p, bool wakes_all)
{
    struct broker *b = p->topic->broker;
    if (list_is_empty(&p->read_waits) && list_is_empty(&p->topic->watches)) return;
    if (wakes_all) p->wakes_all = true;
    if (!list_is_linked(&p->woken_link)) {
        list_push_back(&b->woken, &p->woken_link);
        topic_ref(p->topic);
    }
    broker_post_turn(b);
}

void partition_fail_waits(struct partition *p, enum err_code rc)
{
    struct broker *b = p->topic->broker;
    for (struct list *n; (n = list_pop_front(&p->append_waits)) != NULL;) {
        CONTAINER_OF(n, struct append_wait, link)->upto = (int64_t)rc;
        list_push_back(&b->failed_waits, n);
    }
    if (!list_is_empty(&b->failed_waits)) broker_post_turn(b);
}

void partition_stop(struct partition *p, const struct err *e)
{
    struct broker *b = p->topic->broker;
    if (p->is_stopped) return;
    p->is_stopped = true;
    b->stats.partitions_stopped++;
    list_remove(&p->dirty_link);
    diag_printf(b->sys->diag, DIAG_ERROR, "broker",
                "%s partition %d has stopped and takes no appends until a restart: %s", p->topic->name, (int)p->index,
                e->text);
    partition_fail_waits(p, ERR_STOPPED);
}

void partition_durable_moved(struct partition *p)
{
    int64_t durable = log_durable_offset(p->log);
    for (;;) {
        struct list *n = list_first(&p->append_waits);
        struct append_wait *w = n ? CONTAINER_OF(n, struct append_wait, link) : NULL;
        if (w == NULL || w->upto > durable) break;
        list_remove(n);
        w->done(w, ERR_NONE);
    }
    partition_mark_woken(p, false);
}

/* ---- the job ---- */
static void sync_all(struct syncer *s)
{
    uint64_t from = s->clock->mono_ns(s->clock);
    for (int i = 0; i < s->n; i++)
        log_sync_run(&s->entries[i].sync);
    s->ns = s->clock->mono_ns(s->clock) - from;
}

static void job_run(struct job *j)
{
    struct syncer *s = CONTAINER_OF(j, struct syncer, job);
    int expected = JOB_SUBMITTED;
    if (!atomic_compare_exchange_strong(&s->state, &expected, JOB_RUNNING)) return; /* syncer_settle did it */
    sync_all(s);
    pthread_mutex_lock(&s->lock);
    s->state = JOB_RAN;
    pthread_cond_broadcast(&s->ran);
    pthread_mutex_unlock(&s->lock);
}

static bool grow(struct syncer *s)
{
    if (s->n < s->cap) return true;
    int cap = s->cap ? s->cap * 2 : 16;
    struct sync_entry *entries = realloc(s->entries, (size_t)cap * sizeof(*entries));
    if (entries == NULL) return false;
    s->entries = entries;
    s->cap = cap;
    return true;
}

/* In interval mode the log runs as in os mode (acknowledged at once) and is asked for a sync now and then. */
static bool begin_sync(struct partition *p, struct log_sync *s)
{
    struct log_options o = p->log_options;

    if (o.sync) return log_sync_begin(p->log, s);
    o.sync = true;
    log_set_options(p->log, &o);
    bool begun = log_sync_begin(p->log, s);
    log_set_options(p->log, &p->log_options);
    return begun;
}

static void start_job(struct syncer *s)
{
    struct broker *b = s->broker;

    if (s->n > 0 || s->is_job_out) return; /* S1 */
    while (!list_is_empty(&b->dirty) && grow(s)) {
        struct partition *p = CONTAINER_OF(list_pop_front(&b->dirty), struct partition, dirty_link);
        struct sync_entry *entry = &s->entries[s->n];
        if (!begin_sync(p, &entry->sync)) continue;
        entry->partition = p;
        p->is_syncing = true;
        topic_ref(p->topic);
        s->n++;
    }
    if (s->n == 0) return;
    s->state = JOB_SUBMITTED;
    s->is_job_out = true;
    b->sys->loop->submit(b->sys->loop, &s->job);
}

static void mark_moved(struct partition *p)
{
    struct broker *b = p->topic->broker;
    if (!list_is_linked(&p->moved_link)) {
        list_push_back(&b->moved, &p->moved_link);
        topic_ref(p->topic);
    }
    broker_post_turn(b);
}

static void finish_entry(struct broker *b, struct sync_entry *entry, bool is_inside_call)
{
    struct partition *p = entry->partition;
    struct err e = {0};

    enum err_code rc = log_sync_end(&entry->sync, &e);
    p->is_syncing = false;
    b->stats.syncs++;
    if (rc != ERR_NONE) {
        if (!p->topic->is_deleted) partition_stop(p, &e); /* S3 */
        return;
    }
    if (p->topic->is_deleted) return;
    if (entry->sync.upto < log_end_offset(p->log)) partition_mark_dirty(p); /* One sync covers four segments at most. */
    if (is_inside_call)
        mark_moved(p);
    else
        partition_durable_moved(p);
}

/* Callbacks may append, which touches only the dirty list: no job starts before n is 0 again. */
static void finish_job(struct syncer *s, bool is_inside_call)
{
    struct broker *b = s->broker;

    b->stats.sync_ns_total += s->ns;
    for (int i = 0; i < s->n; i++)
        finish_entry(b, &s->entries[i], is_inside_call);
    for (int i = 0; i < s->n; i++)
        topic_unref(s->entries[i].partition->topic);
    s->n = 0;
    s->state = JOB_IDLE;
}

static void wake_readers(struct broker *b);

static void job_done(struct job *j)
{
    struct syncer *s = CONTAINER_OF(j, struct syncer, job);

    s->is_job_out = false;
    if (s->broker == NULL) {
        free_when_unheld(s);
        return;
    }
    if (s->n > 0) finish_job(s, false); /* else syncer_settle did it */
    if (broker_is_sync(s->broker)) start_job(s);
    if (!list_is_empty(&s->broker->dirty)) broker_post_turn(s->broker);
    wake_readers(s->broker);
}

/* Takes the job back from the loop, or waits until it has run. True: it has not run and will not. */
static bool take_back(struct syncer *s)
{
    int expected = JOB_SUBMITTED;

    if (atomic_compare_exchange_strong(&s->state, &expected, JOB_RUNNING)) return true;
    pthread_mutex_lock(&s->lock);
    while (s->state != JOB_RAN)
        pthread_cond_wait(&s->ran, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return false;
}

void syncer_settle(struct syncer *s)
{
    if (s->n == 0) return;
    if (take_back(s)) sync_all(s);
    finish_job(s, true);
}

enum err_code partition_sync_now(struct partition *p, struct err *e)
{
    struct broker *b = p->topic->broker;
    struct err why = {0};

    if (p->is_syncing) syncer_settle(b->syncer);
    if (p->is_stopped) return err_set(e, ERR_STOPPED, "%s partition %d has stopped", p->topic->name, (int)p->index);
    enum err_code rc = log_sync(p->log, &why);
    b->stats.syncs++;
    if (rc == ERR_NONE) {
        list_remove(&p->dirty_link);
        mark_moved(p);
        return rc;
    }
    partition_stop(p, &why);
    if (e) *e = why;
    return rc;
}

/* For broker_abandon. A sync more than the process would have done hurts nobody; on a disk that is down it fails. */
static void abandon_job(struct syncer *s)
{
    if (take_back(s)) sync_all(s);
    for (int i = 0; i < s->n; i++) {
        (void)log_sync_end(&s->entries[i].sync, NULL);
        topic_unref(s->entries[i].partition->topic);
    }
    s->n = 0;
}

/* ---- the turn ---- */
static void fail_waits(struct broker *b)
{
    for (struct list *n; (n = list_pop_front(&b->failed_waits)) != NULL;) {
        struct append_wait *w = CONTAINER_OF(n, struct append_wait, link);
        w->done(w, (enum err_code)w->upto);
    }
}

static void answer_moved(struct broker *b)
{
    for (struct list *n; (n = list_pop_front(&b->moved)) != NULL;) {
        struct partition *p = CONTAINER_OF(n, struct partition, moved_link);
        if (!p->topic->is_deleted) partition_durable_moved(p);
        topic_unref(p->topic);
    }
}

static void wake_partition(struct partition *p)
{
    int64_t high_watermark = log_durable_offset(p->log), stable = partition_last_stable(p);
    struct list due, watches;

    list_init(&due);
    for (struct list *n = p->read_waits.next, *next; n != &p->read_waits; n = next) {
        struct read_wait *w = CONTAINER_OF(n, struct read_wait, link);
        next = n->next;
        if (!p->wakes_all && (w->is_committed ? stable : high_watermark) <= w->beyond) continue;
        list_remove(n);
        list_push_back(&due, n);
    }
    p->wakes_all = false;
    for (struct list *n; (n = list_pop_front(&due)) != NULL;) {
        struct read_wait *w = CONTAINER_OF(n, struct read_wait, link);
        w->wake(w);
    }
    /* A watch stays registered: move each to the end of the list once. */
    list_init(&watches);
    for (struct list *n; (n = list_pop_front(&p->topic->watches)) != NULL;)
        list_push_back(&watches, n);
    for (struct list *n; (n = list_pop_front(&watches)) != NULL;) {
        list_push_back(&p->topic->watches, n);
        CONTAINER_OF(n, struct topic_watch, link)->moved(CONTAINER_OF(n, struct topic_watch, link));
    }
}

static void wake_readers(struct broker *b)
{
    struct list now;

    /* Only what is woken now: callbacks may wake more, which is for the next turn. */
    list_init(&now);
    for (struct list *n; (n = list_pop_front(&b->woken)) != NULL;)
        list_push_back(&now, n);
    for (struct list *n; (n = list_pop_front(&now)) != NULL;) {
        struct partition *p = CONTAINER_OF(n, struct partition, woken_link);
        wake_partition(p);
        topic_unref(p->topic);
    }
}

static void turn_run(struct task *t)
{
    struct syncer *s = CONTAINER_OF(t, struct syncer, turn);
    struct broker *b = s->broker;

    s->is_posted = false;
    if (b == NULL) {
        free_when_unheld(s);
        return;
    }
    if (broker_is_sync(b)) {
        start_job(s); /* First: the disk works while we talk. */
    } else if (!list_is_empty(&b->dirty) && b->sync_timer.slot == 0) {
        struct loop *loop = b->sys->loop;
        loop->timer_start(loop, &b->sync_timer, loop->now_ns(loop) + (uint64_t)b->options.interval_ms * 1000000u);
    }
    answer_moved(b);
    fail_waits(b);
    groups_deliver(b);
    wake_readers(b);
}

void sync_timer_fire(struct timer *t)
{
    struct broker *b = CONTAINER_OF(t, struct broker, sync_timer);
    start_job(b->syncer);
}
