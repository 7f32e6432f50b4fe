/* txn_end.c: how a transaction ends: its outcome on disk, then a marker in every partition and the offsets, then
 * Complete*.
 *
 * Y1  Doing it again changes nothing: a partition where the producer has nothing open needs no marker, offsets that are
 * not pending any more were applied. So a crash is answered by doing it again.
 * Y2  A full disk: tried again by the timer. A failed sync: what the disk holds is not known, so nothing more is
 * written about it, and the restart that it takes anyway decides (Y1). */
#include "broker/txn_int.h"

#include <stdlib.h>

/* ---- markers ---- */
static enum err_code append_marker(struct partition *p, int64_t producer_id, int16_t epoch, bool is_commit,
                                   struct append_wait *wait, bool *is_durable, struct err *e)
{
    struct broker *b = p->topic->broker;
    struct append_result r;
    struct batch_builder w;
    struct buf batch;

    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    batch_set_producer(&w, producer_id, epoch, -1);
    batch_set_attributes(&w, BATCH_ATTR_TRANSACTIONAL | BATCH_ATTR_CONTROL);
    batch_add_control(&w, broker_now_ms(b), is_commit ? CONTROL_COMMIT : CONTROL_ABORT, b->epoch);
    enum err_code rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = partition_append_own(p, batch.ptr, batch.len, wait, &r, e);
    if (rc == ERR_NONE) *is_durable = r.is_durable;
    buf_deinit(&batch);
    return rc;
}

static void note_failure(struct txn *t, enum err_code rc, const struct err *e)
{
    struct broker *b = t->txns->broker;

    if (rc == ERR_NOT_FOUND) return; /* The topic is gone, and what was open in it. */
    t->has_failed = true;
    if (rc == ERR_NO_SPACE || rc == ERR_MEMORY) return; /* Y2; said elsewhere */
    t->is_stuck = true;
    if (rc != ERR_CLOSED)
        diag_printf(b->sys->diag, DIAG_ERROR, "txn", "ending %.*s waits for a restart: %s %s", BYTES_ARG(t->id),
                    err_name(rc), e ? e->text : "");
}

static void answer_ends(struct txn *t, enum err_code rc)
{
    struct list now;

    list_init(&now);
    for (struct list *n; (n = list_pop_front(&t->ends)) != NULL;)
        list_push_back(&now, n);
    for (struct list *n; (n = list_pop_front(&now)) != NULL;) {
        struct append_wait *w = CONTAINER_OF(n, struct append_wait, link);
        w->done(w, rc);
    }
}

/* X3. */
static void complete(struct txn *t)
{
    struct err e = {0};
    enum txn_state prepared = t->state;
    int n_parts = t->n_parts;
    int64_t update_ms = t->update_ms, start_ms = t->start_ms;
    int64_t producer_id = t->producer_id, next_id = t->next_producer_id;
    int16_t epoch = t->epoch;
    bool is_durable;

    t->next_producer_id = -1;
    if (next_id >= 0) txn_set_producer(t, next_id, 0);
    t->state = prepared == TXN_PREPARE_COMMIT ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    t->n_parts = 0;
    t->update_ms = broker_now_ms(t->txns->broker);
    t->start_ms = -1;
    enum err_code rc = txn_store(t, NULL, &is_durable, &e);
    t->n_parts = n_parts;
    if (rc != ERR_NONE) {
        txn_set_producer(t, producer_id, epoch);
        t->next_producer_id = next_id;
        t->state = prepared;
        t->update_ms = update_ms;
        t->start_ms = start_ms;
        note_failure(t, rc == ERR_NOT_FOUND ? ERR_STOPPED : rc, &e);
        return;
    }
    txn_parts_cut(t, 0);
    free(t->markers);
    t->markers = NULL;
}

static void finish_check(struct txn *t)
{
    if (t->n_waiting > 0 || t->is_starting) return;
    if (!t->has_failed) complete(t);
    if (t->has_failed && !t->is_stuck) txn_timer_arm(t->txns, broker_now_ms(t->txns->broker) + TXN_RETRY_MS);
    answer_ends(t, ERR_NONE); /* X2: decided, even when a disk keeps it from being seen. */
}

static void marker_done(struct append_wait *w, enum err_code rc)
{
    struct txn *t = CONTAINER_OF(w, struct txn_marker, wait)->txn;

    t->n_waiting--;
    if (rc != ERR_NONE) note_failure(t, rc, NULL);
    finish_check(t);
}

static void marker_sent(struct txn *t, enum err_code rc, bool is_durable, const struct err *e)
{
    if (rc != ERR_NONE) note_failure(t, rc, e);
    if (rc == ERR_NONE && !is_durable) t->n_waiting++;
}

void txn_finish(struct txn *t)
{
    struct broker *b = t->txns->broker;
    bool is_commit = t->state == TXN_PREPARE_COMMIT, is_durable = true;
    struct err e = {0};

    if (b->is_closing || t->n_waiting > 0 || t->is_stuck) return;
    t->is_starting = true;
    t->has_failed = false;
    free(t->markers);
    t->markers = calloc((size_t)t->n_parts + 1, sizeof(*t->markers));
    check(t->markers != NULL);
    for (int i = 0; i <= t->n_parts; i++) {
        t->markers[i].txn = t;
        t->markers[i].wait.done = marker_done;
    }
    for (int i = 0; i < t->n_parts; i++) {
        const struct topic *topic = topic_find(b, t->parts[i].topic);
        struct partition *p = topic && !topic->is_internal ? topic_partition(topic, t->parts[i].index) : NULL;
        if (p == NULL || producers_open_of(p->producers, t->producer_id, NULL) < 0) continue; /* Y1 */
        enum err_code rc = append_marker(p, t->producer_id, t->epoch, is_commit, &t->markers[i].wait, &is_durable, &e);
        marker_sent(t, rc, is_durable, &e);
    }
    enum err_code rc = txn_offsets_end(b, t->producer_id, is_commit, &t->markers[t->n_parts].wait, &is_durable, &e);
    marker_sent(t, rc, is_durable, &e);
    t->is_starting = false;
    finish_check(t);
}

/* ---- the outcome ---- */
static void prepared(struct append_wait *w, enum err_code rc)
{
    struct txn *t = CONTAINER_OF(w, struct txn, prepare_wait);

    if (rc == ERR_NONE && !t->txns->broker->is_closing) {
        txn_finish(t);
        return;
    }
    if (rc != ERR_NONE) t->is_stuck = true; /* It may be on the disk: only a restart tells. */
    answer_ends(t, rc);
}

enum err_code txn_prepare(struct txn *t, bool is_commit, int16_t epoch, bool is_v2, struct err *e)
{
    const struct txn before = *t;
    bool is_durable = false;

    check(t->state == TXN_ONGOING || (is_v2 && !is_commit && !txn_is_preparing(t)));
    t->is_v2 = is_v2;
    if (is_v2) { /* What a retry of this end will say. */
        t->last_producer_id = t->producer_id;
        t->last_epoch = t->epoch;
    }
    t->state = is_commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    t->epoch = epoch;
    t->update_ms = broker_now_ms(t->txns->broker);
    t->has_failed = t->is_stuck = false;
    t->prepare_wait.done = prepared;
    enum err_code rc = txn_store(t, &t->prepare_wait, &is_durable, e);
    if (rc != ERR_NONE) {
        t->state = before.state;
        t->epoch = before.epoch;
        t->update_ms = before.update_ms;
        t->is_v2 = before.is_v2;
        t->last_producer_id = before.last_producer_id;
        t->last_epoch = before.last_epoch;
        return rc;
    }
    if (is_durable) txn_finish(t);
    return ERR_NONE;
}

/* ---- time-outs ---- */
void txn_timer_arm(struct txns *ts, int64_t at_ms)
{
    struct loop *loop = ts->broker->sys->loop;
    int64_t now_ms = broker_now_ms(ts->broker);

    if (ts->broker->is_closing || (ts->timer.slot != 0 && ts->timer_ms <= at_ms)) return;
    ts->timer_ms = at_ms;
    uint64_t in_ms = at_ms > now_ms ? (uint64_t)(at_ms - now_ms) : 1;
    loop->timer_start(loop, &ts->timer, loop->now_ns(loop) + in_ms * 1000000u);
}

void txn_timer_fire(struct timer *timer)
{
    struct txns *ts = CONTAINER_OF(timer, struct txns, timer);
    int64_t now_ms = broker_now_ms(ts->broker), next_ms = INT64_MAX;
    struct err e = {0};
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;) {
        struct txn *t = m->value;
        if (txn_is_preparing(t) && t->has_failed) txn_finish(t);
        if (t->state != TXN_ONGOING) continue;
        int64_t at_ms = t->start_ms + t->timeout_ms;
        if (at_ms <= now_ms) {
            diag_printf(ts->broker->sys->diag, DIAG_INFO, "txn", "%.*s: not ended in %d ms, aborted", BYTES_ARG(t->id),
                        (int)t->timeout_ms);
            if (txn_prepare(t, false, (int16_t)(t->epoch + 1), false, &e) == ERR_NONE) continue;
            at_ms = now_ms + TXN_RETRY_MS;
        }
        if (at_ms < next_ms) next_ms = at_ms;
    }
    if (next_ms < INT64_MAX) txn_timer_arm(ts, next_ms);
}

/* ---- open ---- */
struct orphans {
    struct partition *partition;
    struct {
        int64_t producer_id;
        int16_t epoch;
    } at[64]; /* more are found at the next round */
    int n;
};

static void find_orphan(void *arg, int64_t producer_id, int16_t epoch)
{
    struct orphans *o = arg;
    const struct partition *p = o->partition;
    const struct txn *t = map_get(&p->topic->broker->txns->by_producer, txn_producer_key(&producer_id));

    if (t && (t->state == TXN_ONGOING || txn_is_preparing(t)) && txn_part_has(t, topic_name(p->topic), p->index))
        return;
    if (o->n == (int)ARRAY_LEN(o->at)) return;
    o->at[o->n].producer_id = producer_id;
    o->at[o->n++].epoch = epoch;
}

/* X6: a producer that lives on must not take a retry of what is aborted here for stored. */
static int16_t orphan_epoch(int16_t epoch)
{
    return epoch < TXN_EPOCH_MAX ? (int16_t)(epoch + 1) : epoch;
}

/* What no transaction stands for was never committed: without syncs a crash may lose a transaction and keep its records,
 * and in the second kind the one is not waited for before the other is written. */
static void close_orphans(struct partition *p)
{
    struct diag *d = p->topic->broker->sys->diag;
    struct orphans o = {.partition = p};
    struct err e = {0};
    enum err_code rc = ERR_NONE;
    bool is_durable;

    do {
        o.n = 0;
        producers_open_each(p->producers, find_orphan, &o);
        for (int i = 0; rc == ERR_NONE && i < o.n; i++)
            rc = append_marker(p, o.at[i].producer_id, orphan_epoch(o.at[i].epoch), false, NULL, &is_durable, &e);
        if (o.n > 0)
            diag_printf(d, DIAG_WARN, "txn", "%s partition %d: %d transactions that nobody stands for, aborted%s%s",
                        p->topic->name, (int)p->index, o.n, rc == ERR_NONE ? "" : ": ", rc == ERR_NONE ? "" : e.text);
    } while (rc == ERR_NONE && o.n == (int)ARRAY_LEN(o.at));
}

void txn_resume(struct txns *ts)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;) {
        struct txn *t = m->value;
        if (t->state == TXN_ONGOING) txn_timer_arm(ts, t->start_ms + t->timeout_ms);
        if (txn_is_preparing(t)) txn_finish(t);
    }
    txn_offsets_resume(ts->broker);
    pos = 0;
    for (struct topic *t; (t = topic_next(ts->broker, &pos)) != NULL;) {
        for (int32_t i = 0; i < t->n_partitions; i++) {
            struct partition *p = topic_partition(t, i);
            if (producers_open_first(p->producers) < INT64_MAX) close_orphans(p);
        }
    }
}
