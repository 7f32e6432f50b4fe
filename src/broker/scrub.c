/* scrub.c: reads what nobody reads, so that rot is found while there may still be a copy elsewhere.
 *
 *   timer ──▶ job (another thread): about 1 MiB of a sealed segment, checked as weir verify does ──▶ done ──▶ timer
 *     ▲            pace: 1 MiB / rate                                            segment ends: damage? next one  │
 *     └── a day after the round began ◀── the last segment of the last partition ◀───────────────────────────────┘
 *
 * Q1  One job at a time, beside those of the syncs; one segment file is open at most.
 * Q2  Damage makes the partition read-only and is named, as rot found at a start does. Internal topics live in memory
 *     and are written anew now and then: there it is named only.
 * Q3  What a round finds is not written down: after a restart the partition takes appends again until the next round is
 *     there. A list of damages would be one more file that can be damaged.
 * Q4  Pages that are in the page cache are checked there; the scrubber drops what it has read, so that the next round
 *     asks the disk.
 * The scrubber outlives the broker when the loop still holds its job: it frees itself then. */
#include "broker/broker_int.h"

#include <pthread.h>
#include <stdlib.h>

struct scrubber {
    struct timer timer;
    struct job job;
    struct broker *broker; /* NULL: gone */
    uint64_t rate;         /* bytes a second */
    uint64_t round_began_ns;
    /* Where the round stands. */
    uint8_t topic[16];
    uint64_t topic_seq; /* 0: the round has not begun */
    int32_t partition;
    int64_t from;
    struct log_scrub *segment; /* owned; NULL: to be chosen. The job's while it is out */
    bool is_out;
    /* Of the job. */
    uint64_t n_bytes;
    bool more;
    enum err_code rc;
    struct err error;
    pthread_mutex_t lock; /* held by the job while it runs: destroy waits for it */
};

static void on_timer(struct timer *t);
static void job_run(struct job *j);
static void job_done(struct job *j);

static void arm(struct scrubber *s, uint64_t after_ns)
{
    struct loop *loop = s->broker->sys->loop;
    loop->timer_start(loop, &s->timer, loop->now_ns(loop) + after_ns);
}

struct scrubber *scrubber_create(struct broker *b, uint64_t rate)
{
    struct scrubber *s;

    if (rate == 0) return NULL;
    s = calloc(1, sizeof(*s));
    check(s != NULL && pthread_mutex_init(&s->lock, NULL) == 0);
    s->broker = b;
    s->rate = rate;
    s->timer.fire = on_timer;
    s->job = (struct job){.run = job_run, .done = job_done};
    arm(s, SCRUB_FIRST_MS * 1000000ull);
    return s;
}

static void free_scrubber(struct scrubber *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void scrubber_destroy(struct scrubber *s)
{
    if (s == NULL) return;
    s->broker->sys->loop->timer_stop(s->broker->sys->loop, &s->timer);
    pthread_mutex_lock(&s->lock); /* a job that runs ends first, one that has not begun finds nothing to do */
    if (s->segment != NULL) (void)log_scrub_end(NULL, s->segment, NULL, NULL);
    s->segment = NULL;
    s->broker = NULL;
    bool is_out = s->is_out;
    pthread_mutex_unlock(&s->lock);
    if (!is_out) free_scrubber(s);
}

/* ---- which segment ---- */
/* The topic at or behind the place of the round, in creation order. */
static struct topic *topic_from(struct scrubber *s)
{
    struct topic *found = NULL;
    uint32_t pos = 0;

    for (struct topic *t; (t = topic_next(s->broker, &pos)) != NULL;)
        if (t->seq >= s->topic_seq && (found == NULL || t->seq < found->seq)) found = t;
    return found;
}

static struct partition *partition_of(struct scrubber *s)
{
    const struct topic *t = topic_find_id(s->broker, s->topic);
    return t ? topic_partition(t, s->partition) : NULL;
}

/* False: the round is over. */
static bool choose_segment(struct scrubber *s)
{
    struct log_scrub_place place;

    for (struct topic *t; (t = topic_from(s)) != NULL;) {
        if (t->seq != s->topic_seq || memcmp(s->topic, t->uuid, 16) != 0) {
            s->topic_seq = t->seq;
            memcpy(s->topic, t->uuid, 16);
            s->partition = 0;
            s->from = 0;
        }
        for (; s->partition < t->n_partitions; s->partition++, s->from = 0) {
            struct partition *p = topic_partition(t, s->partition);
            if (p->is_stopped || !log_scrub_next(p->log, s->from, &place)) continue;
            s->from = place.next;
            s->segment = log_scrub_create(p->log, &place);
            return true;
        }
        s->topic_seq++;
    }
    return false;
}

static void on_timer(struct timer *t)
{
    struct scrubber *s = CONTAINER_OF(t, struct scrubber, timer);
    struct loop *loop = s->broker->sys->loop;
    const uint64_t round_ns = SCRUB_ROUND_MS * 1000000ull;

    if (s->segment == NULL && s->topic_seq == 0) s->round_began_ns = loop->now_ns(loop);
    if (s->segment == NULL && !choose_segment(s)) {
        uint64_t spent = loop->now_ns(loop) - s->round_began_ns;
        s->topic_seq = 0;
        memset(s->topic, 0, sizeof(s->topic));
        s->broker->stats.scrub_rounds++;
        arm(s, spent < round_ns ? round_ns - spent : SCRUB_FIRST_MS * 1000000ull);
        return;
    }
    s->is_out = true;
    loop->submit_beside(loop, &s->job);
}

/* ---- a piece ---- */
static void job_run(struct job *j)
{
    struct scrubber *s = CONTAINER_OF(j, struct scrubber, job);

    pthread_mutex_lock(&s->lock);
    s->more = false;
    s->n_bytes = 0;
    err_clear(&s->error);
    if (s->segment != NULL) s->rc = log_scrub_run(s->segment, SCRUB_PIECE_BYTES, &s->n_bytes, &s->more, &s->error);
    pthread_mutex_unlock(&s->lock);
}

static void report(struct scrubber *s, struct partition *p, int64_t from, int64_t to)
{
    struct broker *b = s->broker;
    struct err e;

    b->stats.scrub_damages++;
    err_clear(&e);
    (void)err_set(&e, ERR_CORRUPT, "offsets %lld to %lld are damaged on disk, found by looking through old segments",
                  (long long)from, (long long)to);
    if (!p->topic->is_internal)
        partition_stop(p, &e); /* Q2 */
    else
        diag_printf(b->sys->diag, DIAG_ERROR, "broker", "%s: %s", p->topic->name, e.text);
}

static void end_segment(struct scrubber *s)
{
    struct partition *p = partition_of(s);
    struct broker *b = s->broker;
    int64_t from, to;

    bool is_known = p != NULL && !p->is_stopped;
    bool is_damaged = log_scrub_end(is_known ? p->log : NULL, s->segment, &from, &to);
    s->segment = NULL;
    if (is_damaged) report(s, p, from, to);
    if (s->rc == ERR_NONE || s->rc == ERR_NOT_FOUND || !is_known) return; /* retention was faster */
    b->stats.scrub_damages++;
    diag_printf(b->sys->diag, DIAG_ERROR, "broker", "%s partition %d: a segment before offset %lld cannot be read: %s",
                p->topic->name, (int)p->index, (long long)s->from, s->error.text);
}

static void job_done(struct job *j)
{
    struct scrubber *s = CONTAINER_OF(j, struct scrubber, job);

    s->is_out = false;
    if (s->broker == NULL) {
        free_scrubber(s);
        return;
    }
    s->broker->stats.scrub_bytes += s->n_bytes;
    if (!s->more) end_segment(s);
    uint64_t pause_ns = s->n_bytes * 1000000000u / s->rate;
    arm(s, pause_ns < SCRUB_PAUSE_MS_MIN * 1000000ull ? SCRUB_PAUSE_MS_MIN * 1000000ull : pause_ns);
}
