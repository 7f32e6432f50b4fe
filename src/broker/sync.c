/* sync.c: group commit, and telling those who wait.
 *
 *   append ──▶ dirty list ──turn task──▶ one job for each dirty log: fdatasync ──done──▶ durable moves: its waits are
 *                  ▲                     (several at the same time)                  │   answered, readers woken
 *                  └── appended meanwhile: the log's next job, started at once ◀─────┘
 *
 * S1  At most one job of a partition is under way, and at most LIMIT_JOBS_BESIDE of all. Everything that arrives during
 *     it joins the next; there is no other delay. No partition waits for the sync of another one.
 * S2  Waits of one partition are answered in append order, with ERR_NONE only when their offset is durable.
 * S3  A failed sync is never tried again: the log has stopped, its waits get ERR_STOPPED, reads of what is durable go
 *     on.
 * S4  The turn task is posted only when something is dirty, woken or failed; an idle broker does nothing.
 * S5  Callbacks are called from here with no list of ours in the middle of being walked: each is taken off first, so
 *     they may append, wait, cancel and delete. They must not close the broker. The syncer and its slots outlive the
 *     broker when the loop still holds its task or a job: they free themselves then.
 *
 * Why a job for each log and not one for all: sixteen syncs one after the other took sixteen times as long as one,
 * because the file system writes one journal transaction for all that are asked for at the same time. */
#include "broker/broker_int.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum job_state { JOB_SUBMITTED, JOB_RUNNING, JOB_RAN };

/* One sync under way, or none. */
struct sync_slot {
    struct job job;
    struct syncer *syncer;
    struct partition *partition; /* its topic is referred to. NULL: free, or done by hand (settle) */
    struct log_sync sync;
    uint64_t ns;       /* that it took */
    bool is_out;       /* the job is with the loop */
    _Atomic int state; /* enum job_state */
};

struct syncer {
    struct task turn;
    struct broker *broker;                     /* NULL: gone */
    struct sync_slot slots[LIMIT_JOBS_BESIDE]; /* S1 */
    int n_out;                                 /* jobs that are with the loop */
    int n_due;      /* interval mode: logs at the front of `dirty` that are still to be begun */
    bool is_posted; /* the turn task is with the loop */
    struct clock *clock;
    pthread_mutex_t lock; /* only for waiting in take_back; guards nothing else */
    pthread_cond_t ran;
};

static void turn_run(struct task *t);
static void abandon_job(struct sync_slot *slot);
static void job_run(struct job *j);
static void job_done(struct job *j);

struct syncer *syncer_create(struct broker *b)
{
    struct syncer *s = calloc(1, sizeof(*s));
    check(s != NULL);
    s->turn.run = turn_run;
    s->broker = b;
    s->clock = b->sys->clock;
    for (int i = 0; i < LIMIT_JOBS_BESIDE; i++) {
        s->slots[i].job = (struct job){.run = job_run, .done = job_done};
        s->slots[i].syncer = s;
    }
    check(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->ran, NULL) == 0);
    return s;
}

static void free_when_unheld(struct syncer *s)
{
    if (s->broker != NULL || s->is_posted || s->n_out > 0) return;
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->ran);
    free(s);
}

void syncer_destroy(struct syncer *s)
{
    if (s == NULL) return;
    for (int i = 0; i < LIMIT_JOBS_BESIDE; i++)
        if (s->slots[i].partition != NULL) abandon_job(&s->slots[i]);
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
    if (p->sync_slot == NULL && b->syncer->n_out < LIMIT_JOBS_BESIDE)
        broker_post_turn(b); /* else a job that ends does */
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

/* ---- the jobs ---- */
static void sync_one(struct sync_slot *slot)
{
    struct clock *clock = slot->syncer->clock;
    uint64_t from = clock->mono_ns(clock);

    log_sync_run(&slot->sync);
    slot->ns = clock->mono_ns(clock) - from;
}

static void job_run(struct job *j)
{
    struct sync_slot *slot = CONTAINER_OF(j, struct sync_slot, job);
    struct syncer *s = slot->syncer;
    int expected = JOB_SUBMITTED;

    if (!atomic_compare_exchange_strong(&slot->state, &expected, JOB_RUNNING)) return; /* settle did it */
    sync_one(slot);
    pthread_mutex_lock(&s->lock);
    slot->state = JOB_RAN;
    pthread_cond_broadcast(&s->ran);
    pthread_mutex_unlock(&s->lock);
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

static struct sync_slot *free_slot(struct syncer *s)
{
    for (int i = 0; i < LIMIT_JOBS_BESIDE; i++)
        if (!s->slots[i].is_out) return &s->slots[i];
    return NULL;
}

/* Begins up to max syncs of dirty logs, as far as there are free slots, and returns how many of max are left. */
static int start_jobs(struct syncer *s, int max)
{
    struct broker *b = s->broker;
    struct list later;
    struct sync_slot *slot;

    list_init(&later);
    while (max > 0 && !list_is_empty(&b->dirty) && (slot = free_slot(s)) != NULL) {
        struct partition *p = CONTAINER_OF(list_pop_front(&b->dirty), struct partition, dirty_link);
        max--;
        if (p->sync_slot != NULL) { /* S1 */
            list_push_back(&later, &p->dirty_link);
            continue;
        }
        if (!begin_sync(p, &slot->sync)) continue;
        slot->partition = p;
        p->sync_slot = slot;
        topic_ref(p->topic);
        slot->state = JOB_SUBMITTED;
        slot->is_out = true;
        s->n_out++;
        b->sys->loop->submit_beside(b->sys->loop, &slot->job);
    }
    for (struct list *n; (n = list_pop_front(&later)) != NULL;)
        list_push_back(&b->dirty, n);
    return max;
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

static void answer_sync(struct partition *p, const struct log_sync *sync, enum err_code rc, const struct err *e,
                        bool is_inside_call)
{
    if (rc != ERR_NONE) {
        if (!p->topic->is_deleted) partition_stop(p, e); /* S3 */
        return;
    }
    if (p->topic->is_deleted) return;
    if (sync->upto < log_end_offset(p->log)) partition_mark_dirty(p); /* One sync covers four segments at most. */
    if (is_inside_call)
        mark_moved(p);
    else
        partition_durable_moved(p);
}

/* Callbacks may append, which touches only the dirty list. */
static void finish_slot(struct sync_slot *slot, bool is_inside_call)
{
    struct broker *b = slot->syncer->broker;
    struct partition *p = slot->partition;
    struct err e = {0};

    enum err_code rc = log_sync_end(&slot->sync, &e);
    p->sync_slot = NULL;
    slot->partition = NULL;
    b->stats.syncs++;
    b->stats.sync_ns_total += slot->ns;
    answer_sync(p, &slot->sync, rc, &e, is_inside_call);
    topic_unref(p->topic);
}

static void wake_readers(struct broker *b);

static void job_done(struct job *j)
{
    struct sync_slot *slot = CONTAINER_OF(j, struct sync_slot, job);
    struct syncer *s = slot->syncer;

    s->n_out--;
    if (s->broker == NULL) {
        slot->is_out = false;
        free_when_unheld(s);
        return;
    }
    if (slot->partition != NULL) finish_slot(slot, false); /* else settle did it */
    slot->is_out = false;
    if (broker_is_sync(s->broker)) {
        (void)start_jobs(s, INT32_MAX);
    } else {
        s->n_due = start_jobs(s, s->n_due);
        if (!list_is_empty(&s->broker->dirty)) broker_post_turn(s->broker); /* which starts the timer */
    }
    wake_readers(s->broker);
}

/* Takes the job back from the loop, or waits until it has run. True: it has not run and will not. */
static bool take_back(struct sync_slot *slot)
{
    struct syncer *s = slot->syncer;
    int expected = JOB_SUBMITTED;

    if (atomic_compare_exchange_strong(&slot->state, &expected, JOB_RUNNING)) return true;
    pthread_mutex_lock(&s->lock);
    while (slot->state != JOB_RAN)
        pthread_cond_wait(&s->ran, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return false;
}

void partition_settle_sync(struct partition *p)
{
    struct sync_slot *slot = p->sync_slot;

    if (slot == NULL) return;
    if (take_back(slot)) sync_one(slot);
    finish_slot(slot, true);
}

void syncer_settle(struct syncer *s)
{
    for (int i = 0; i < LIMIT_JOBS_BESIDE; i++)
        if (s->slots[i].partition != NULL) partition_settle_sync(s->slots[i].partition);
}

enum err_code partition_sync_now(struct partition *p, struct err *e)
{
    struct broker *b = p->topic->broker;
    struct err why = {0};

    partition_settle_sync(p);
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
static void abandon_job(struct sync_slot *slot)
{
    struct topic *t = slot->partition->topic;

    if (take_back(slot)) sync_one(slot);
    (void)log_sync_end(&slot->sync, NULL);
    slot->partition->sync_slot = NULL;
    slot->partition = NULL;
    topic_unref(t);
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
        (void)start_jobs(s, INT32_MAX); /* First: the disk works while we talk. */
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
    struct syncer *s = b->syncer;

    s->n_due = 0;
    for (struct list *n = b->dirty.next; n != &b->dirty; n = n->next)
        s->n_due++;
    s->n_due = start_jobs(s, s->n_due);
}
