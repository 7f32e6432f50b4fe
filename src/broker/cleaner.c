/* cleaner.c: which compacted partition is cleaned when, and the cleaning itself, slice by slice.
 *
 *   append, alter ──▶ timer ──▶ choose ──▶ log_compact_begin ──▶ job: log_compact_run ──▶ done: log_compact_turn ─┐
 *                       ▲                                          ▲                                            │
 *                       └───────────── done, failed ───────────────┴──────────────── more ─────────────────────────┘
 *
 * C1  One cleaning at a time, of the partition with the largest share of dirty bytes; before it one whose oldest dirty
 *     record has passed max.compaction.lag.ms, or whose tombstones have passed their horizon.
 * C2  A slice is about a mebibyte of the log, on the loop's job thread: jobs of others come in between.
 * C3  The shard only looks at the array of segments, and writes one checkpoint in a cleaning.
 * C4  Before abort markers go, the index of aborted transactions has forgotten them on disk (F5 in log/compact.c).
 * C5  The timer runs only while there is something that could become worth cleaning: an idle broker does nothing.
 * C6  The cleaner outlives the broker when the loop still holds its job: it frees itself then. */
#include "broker/broker_int.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "log/compact.h"

enum job_state { JOB_SUBMITTED, JOB_RUNNING, JOB_RAN };

struct cleaner {
    struct job job;
    struct timer timer;
    struct broker *broker; /* NULL: gone */
    /* The cleaning under way; NULL: none. Its topic is referred to. */
    struct partition *partition;
    struct compaction *work;
    bool is_out;          /* the job is with the loop */
    _Atomic int state;    /* enum job_state */
    pthread_mutex_t lock; /* only for waiting in cleaner_destroy; guards nothing else */
    pthread_cond_t ran;
};

static void job_run(struct job *j)
{
    struct cleaner *c = CONTAINER_OF(j, struct cleaner, job);
    int expected = JOB_SUBMITTED;

    if (!atomic_compare_exchange_strong(&c->state, &expected, JOB_RUNNING)) return; /* taken back */
    log_compact_run(c->work);
    pthread_mutex_lock(&c->lock);
    c->state = JOB_RAN;
    pthread_cond_broadcast(&c->ran);
    pthread_mutex_unlock(&c->lock);
}

static void submit(struct cleaner *c)
{
    struct loop *loop = c->broker->sys->loop;

    c->state = JOB_SUBMITTED;
    c->is_out = true;
    loop->submit(loop, &c->job);
}

static void arm_in(struct cleaner *c, int64_t ms)
{
    struct loop *loop = c->broker->sys->loop;

    if (c->broker->is_closing) return;
    loop->timer_start(loop, &c->timer, loop->now_ns(loop) + (uint64_t)ms * 1000000u);
}

/* ---- choosing ---- */

static struct compact_options options_of(const struct partition *p)
{
    const struct topic_config *c = &p->topic->config;

    return (struct compact_options){.limit = partition_last_stable(p),
                                    .now_ms = broker_now_ms(p->topic->broker),
                                    .min_lag_ms = c->number[TOPIC_MIN_COMPACTION_LAG_MS],
                                    .delete_retention_ms = c->number[TOPIC_DELETE_RETENTION_MS],
                                    .segment_bytes = c->segment_bytes,
                                    .producers = p->producers};
}

/* Records in the active segment cannot be cleaned: past the maximum lag it is closed. */
static void roll_for_lag(struct partition *p, int64_t lag_ms, int64_t now_ms)
{
    struct err e = {0};

    if (lag_ms == INT64_MAX || p->is_stopped) return;
    if (log_roll_older(p->log, now_ms - lag_ms, &e) == ERR_NONE) return;
    if (log_is_stopped(p->log)) partition_stop(p, &e);
}

/* How urgent; 0: not at all. *wait: time alone may make it so. */
static double urgency(struct partition *p, bool *wait)
{
    const struct topic_config *c = &p->topic->config;
    struct compact_options o = options_of(p);
    int64_t lag_ms = c->number[TOPIC_MAX_COMPACTION_LAG_MS];
    struct compact_look look;

    if (p->is_stopped || log_start_offset(p->log) == log_end_offset(p->log)) return 0;
    roll_for_lag(p, lag_ms, o.now_ms);
    log_compact_look(p->log, &o, &look);
    if (!look.is_possible) return 0;
    *wait |= look.is_waiting || look.horizon_ms < INT64_MAX || lag_ms < INT64_MAX;
    uint64_t all = look.clean_bytes + look.dirty_bytes;
    if (all == 0) return 0;
    double ratio = (double)look.dirty_bytes / (double)all;
    if (look.horizon_ms <= o.now_ms) return 2 + ratio;
    if (look.dirty_bytes > 0 && lag_ms < INT64_MAX) {
        int64_t since_ms = log_compact_dirty_since(p->log);
        if (since_ms >= 0 && o.now_ms - since_ms > lag_ms) return 2 + ratio;
    }
    return ratio > (double)c->number[TOPIC_DIRTY_RATIO_PPM] / 1e6 ? ratio : 0;
}

static bool is_compacted(const struct topic *t)
{
    return t->config.compact && !t->is_internal;
}

static struct partition *choose(struct broker *b, bool *wait)
{
    struct partition *best = NULL;
    double most = 0;
    uint32_t pos = 0;

    for (struct topic *t; (t = topic_next(b, &pos)) != NULL;) {
        for (int32_t i = 0; is_compacted(t) && i < t->n_partitions; i++) {
            struct partition *p = topic_partition(t, i);
            double u = urgency(p, wait);
            if (u <= most) continue;
            most = u;
            best = p;
        }
    }
    return best;
}

static void timer_fire(struct timer *timer)
{
    struct cleaner *c = CONTAINER_OF(timer, struct cleaner, timer);
    bool wait = false;
    struct err e = {0};

    if (c->work != NULL || c->is_out || c->broker->is_closing) return; /* done arms it again */
    struct partition *p = choose(c->broker, &wait);
    if (p == NULL) {
        if (wait) arm_in(c, CLEANER_WAIT_MS);
        return;
    }
    struct compact_options o = options_of(p);
    enum err_code rc = log_compact_begin(&c->work, p->log, &o, &e);
    if (rc != ERR_NONE) { /* a sync is under way */
        arm_in(c, CLEANER_RUN_MS);
        return;
    }
    c->partition = p;
    topic_ref(p->topic);
    c->broker->stats.is_cleaning = true;
    submit(c);
}

/* ---- a cleaning ---- */

static void count(struct cleaner *c)
{
    struct broker_stats *st = &c->broker->stats;
    struct compact_stats s;

    log_compact_stats(c->work, &s);
    st->cleaned_bytes += s.bytes_read;
    st->cleaned_records += s.records_removed;
    if (s.bytes_before > s.bytes_after) st->cleaned_bytes_freed += s.bytes_before - s.bytes_after;
}

static void end(struct cleaner *c)
{
    struct topic *t = c->partition->topic;

    log_compact_end(c->work);
    c->work = NULL;
    c->partition = NULL;
    topic_unref(t);
}

/* C4. ERR_NONE also when there is nothing to forget. */
static enum err_code forget_markers(struct cleaner *c, struct err *e)
{
    struct partition *p = c->partition;
    const int64_t *offsets;
    size_t n = log_compact_markers(c->work, &offsets);

    if (n == 0) return ERR_NONE;
    producers_forget_markers(p->producers, offsets, n);
    return producers_save(p->producers, c->broker->sys->fs, p->dir, log_end_offset(p->log), e);
}

static void report_failure(struct cleaner *c, enum err_code rc, const struct err *e)
{
    struct partition *p = c->partition;

    if (rc == ERR_RANGE || rc == ERR_BUSY) return; /* a trim or a sync came between: no fault */
    c->broker->stats.cleanings_failed++;
    diag_printf(c->broker->sys->diag, rc == ERR_NO_SPACE ? DIAG_WARN : DIAG_ERROR, "broker",
                "compaction of %s partition %d: %s", p->topic->name, (int)p->index, e->text);
}

static void job_done(struct job *j)
{
    struct cleaner *c = CONTAINER_OF(j, struct cleaner, job);
    enum compact_state state = COMPACT_FAILED;
    struct err e = {0};

    c->is_out = false;
    if (c->broker == NULL) {
        pthread_mutex_destroy(&c->lock);
        pthread_cond_destroy(&c->ran);
        free(c);
        return;
    }
    enum err_code rc = c->partition->topic->is_deleted ? ERR_RANGE : forget_markers(c, &e);
    if (rc == ERR_NONE) {
        state = log_compact_turn(c->work, &e);
        rc = state == COMPACT_FAILED ? e.code : ERR_NONE;
    }
    if (state == COMPACT_MORE) {
        submit(c);
        return;
    }
    count(c);
    if (state == COMPACT_DONE) c->broker->stats.cleanings++;
    if (state == COMPACT_FAILED) report_failure(c, rc, &e);
    if (log_is_stopped(c->partition->log) && !c->partition->topic->is_deleted) partition_stop(c->partition, &e);
    end(c);
    c->broker->stats.is_cleaning = false;
    arm_in(c, state == COMPACT_DONE ? 0 : CLEANER_WAIT_MS);
}

/* ---- the door ---- */

struct cleaner *cleaner_create(struct broker *b)
{
    struct cleaner *c = calloc(1, sizeof(*c));

    check(c != NULL);
    c->broker = b;
    c->job = (struct job){.run = job_run, .done = job_done};
    c->timer.fire = timer_fire;
    check(pthread_mutex_init(&c->lock, NULL) == 0 && pthread_cond_init(&c->ran, NULL) == 0);
    return c;
}

void cleaner_destroy(struct cleaner *c)
{
    int expected = JOB_SUBMITTED;

    if (c == NULL) return;
    struct loop *loop = c->broker->sys->loop;
    loop->timer_stop(loop, &c->timer);
    if (c->is_out && !atomic_compare_exchange_strong(&c->state, &expected, JOB_RAN)) {
        pthread_mutex_lock(&c->lock);
        while (c->state != JOB_RAN)
            pthread_cond_wait(&c->ran, &c->lock);
        pthread_mutex_unlock(&c->lock);
    }
    if (c->work != NULL) end(c);
    c->broker->cleaner = NULL;
    c->broker = NULL;
    if (c->is_out) return; /* C6 */
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->ran);
    free(c);
}

void cleaner_arm(struct broker *b)
{
    struct cleaner *c = b->cleaner;

    if (c == NULL || c->work != NULL || c->is_out) return;
    uint64_t at = b->sys->loop->now_ns(b->sys->loop) + CLEANER_RUN_MS * 1000000ull;
    if (c->timer.slot == 0 || c->timer.at_ns > at) arm_in(c, CLEANER_RUN_MS);
}

void partition_cleaning(struct partition *p, struct partition_cleaning *out)
{
    const struct cleaner *c = p->topic->broker->cleaner;
    struct compact_options o = options_of(p);
    struct compact_look look;

    log_compact_look(p->log, &o, &look);
    bool is_running = c != NULL && c->partition == p;
    *out = (struct partition_cleaning){.clean_bytes = look.clean_bytes,
                                       .dirty_bytes = look.dirty_bytes,
                                       .is_running = is_running,
                                       .is_blocked = !look.is_possible && !is_running};
}
