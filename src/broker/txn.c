/* txn.c: the transaction coordinator: what a producer with a transactional id may do when.
 *
 *             add partitions, offsets                  end                        markers and offsets durable
 *   Empty ───────────────────────────▶ Ongoing ─────────────────▶ PrepareCommit ─────────────────────────────▶ CompleteCommit
 *     ▲  ▲                              │   ▲  └ end, time is up, ▶ PrepareAbort ───────────────────────────▶ CompleteAbort
 *     │  └── init, from Empty and Complete*  │     init by a successor                                           │
 *     └────────────────────────────────── add partitions, from Complete* ◀────────────────────────────────────────┘
 *
 * ending: txn_end.c. Records: txn_store.c. Offsets: group_txn.c. What partitions know: log/producer.h.
 *
 * X1  The table changes when the record is appended, the caller is answered when it is durable. Later records of the
 * log come after it on the disk, so no answer ever rests on something that a crash takes back alone.
 * X2  From a durable Prepare* on the outcome is fixed: markers are written until they are there, across crashes.
 * X3  Complete* is appended only when every marker and the offsets are durable.
 * X4  A partition takes a transactional batch only from the current epoch of an ongoing transaction that holds the
 * partition. So nothing is open in a partition that no transaction stands for.
 * X6  The second kind: a partition is added by the first batch for it, whose append does not wait for the record, but
 * whose acknowledgement does; so does that of every batch behind it. A crash between the two leaves records that no
 * transaction stands for and nobody was told of: they are aborted at the next open, with a marker of a higher epoch, so
 * that their producer's retry is refused instead of being taken for a duplicate of what is aborted.
 * X5  An epoch is handed out once: by init, or by the end of a transaction of the second kind. Time-outs and successors take one for their abort, whose markers fence. */
#include "broker/txn_int.h"

#include <stdlib.h>

/* ---- the table ---- */
struct txn *txn_find(struct txns *ts, struct bytes id)
{
    return map_get(&ts->by_id, id);
}

struct txn *txn_make(struct txns *ts, struct bytes id)
{
    struct txn *t = calloc(1, sizeof(*t));

    check(t != NULL);
    t->txns = ts;
    t->id = group_dup(id);
    t->producer_id = t->last_producer_id = t->next_producer_id = -1;
    t->epoch = t->last_epoch = -1;
    t->start_ms = -1;
    list_init(&t->ends);
    (void)map_put(&ts->by_id, id, t);
    return t;
}

void txn_parts_cut(struct txn *t, int n)
{
    while (t->n_parts > n)
        group_free_bytes(&t->parts[--t->n_parts].topic);
}

/* Out of the tables; for ids that are idle, and for the end of everything. */
void txn_free(struct txn *t)
{
    append_cancel(&t->prepare_wait);
    for (int i = 0; t->markers != NULL && i < t->n_parts + 1; i++)
        append_cancel(&t->markers[i].wait);
    for (struct list *n; (n = list_first(&t->ends)) != NULL;)
        append_cancel(CONTAINER_OF(n, struct append_wait, link));
    if (map_get(&t->txns->by_producer, txn_producer_key(&t->producer_id)) == t)
        (void)map_remove(&t->txns->by_producer, txn_producer_key(&t->producer_id));
    (void)map_remove(&t->txns->by_id, t->id);
    txn_parts_cut(t, 0);
    free(t->parts);
    free(t->markers);
    group_free_bytes(&t->id);
    free(t);
}

void txn_set_producer(struct txn *t, int64_t producer_id, int16_t epoch)
{
    struct map *m = &t->txns->by_producer;

    if (t->producer_id != producer_id) {
        if (map_get(m, txn_producer_key(&t->producer_id)) == t) (void)map_remove(m, txn_producer_key(&t->producer_id));
        t->producer_id = producer_id;
        if (producer_id >= 0) (void)map_put(m, txn_producer_key(&t->producer_id), t);
    }
    t->epoch = epoch;
}

bool txn_part_has(const struct txn *t, struct bytes topic, int32_t index)
{
    for (int i = 0; i < t->n_parts; i++)
        if (t->parts[i].index == index && bytes_equal(t->parts[i].topic, topic)) return true;
    return false;
}

void txn_part_add(struct txn *t, struct bytes topic, int32_t index)
{
    if (txn_part_has(t, topic, index)) return;
    if (t->n_parts == t->cap_parts) {
        int cap = t->cap_parts ? 2 * t->cap_parts : 8;
        struct txn_part *grown = realloc(t->parts, (size_t)cap * sizeof(*grown));
        check(grown != NULL);
        t->parts = grown;
        t->cap_parts = cap;
    }
    t->parts[t->n_parts++] = (struct txn_part){.topic = group_dup(topic), .index = index};
}

/* ---- checks ---- */
static enum err_code bad(struct txn_reply *out, enum txn_detail detail, struct err *e, const char *why)
{
    out->detail = detail;
    return err_set(e, detail == TXN_BAD_ID || detail == TXN_BAD_TIMEOUT ? ERR_INVALID : ERR_TXN_STATE, "%s", why);
}

static enum err_code fenced(struct err *e, const struct txn_producer *p)
{
    return err_set(e, ERR_FENCED, "epoch %d of producer %lld is not the current one", p->epoch,
                   (long long)p->producer_id);
}

/* The transaction of a caller that must be its current producer. */
static enum err_code producer_check(struct broker *b, const struct txn_producer *p, struct txn **out,
                                    struct txn_reply *reply, struct err *e)
{
    struct txn *t = p->id.len > 0 ? txn_find(b->txns, p->id) : NULL;

    *reply = (struct txn_reply){.producer_id = p->producer_id, .epoch = p->epoch};
    if (p->id.len == 0) return bad(reply, TXN_BAD_ID, e, "no transactional id");
    if (t == NULL || t->producer_id != p->producer_id)
        return bad(reply, TXN_BAD_MAPPING, e, "the transactional id has another producer id");
    if (t->epoch != p->epoch) return fenced(e, p);
    *out = t;
    return ERR_NONE;
}

enum err_code txn_check_append(struct partition *p, int64_t producer_id, int16_t epoch, struct err *e)
{
    struct txns *ts = p->topic->broker->txns;
    const struct txn *t = ts ? map_get(&ts->by_producer, txn_producer_key(&producer_id)) : NULL;

    if (t == NULL) return err_set(e, ERR_TXN_STATE, "producer %lld has no transaction", (long long)producer_id);
    if (epoch != t->epoch)
        return err_set(e, ERR_FENCED, "producer %lld has epoch %d, not %d any more", (long long)producer_id, t->epoch,
                       epoch);
    if (t->state != TXN_ONGOING || !txn_part_has(t, topic_name(p->topic), p->index))
        return err_set(e, ERR_TXN_STATE, "the partition is not in an ongoing transaction of producer %lld",
                       (long long)producer_id);
    return ERR_NONE;
}

/* ---- init ---- */
/* Kafka's rule for producers that say who they are: the current one, or one whose last init was not heard. An init of
 * somebody who did not say fences all before it: then there is no such one. */
static bool is_retry(const struct txn *t, const struct txn_producer *p)
{
    return p->producer_id == t->last_producer_id && p->epoch == t->last_epoch;
}

static enum err_code init_next(struct broker *b, struct txn *t, const struct txn_producer *p, struct append_wait *wait,
                               int32_t timeout_ms, struct txn_reply *out, struct err *e)
{
    const struct txn before = *t;
    int64_t producer_id = t->producer_id;
    enum err_code rc = ERR_NONE;

    /* X5: the last epoch is left for fencing. */
    bool is_new = producer_id < 0 || t->epoch >= TXN_EPOCH_MAX - 1;
    if (is_new) rc = broker_producer_id_next(b, &producer_id, e);
    if (rc != ERR_NONE) return rc;
    t->last_producer_id = p->producer_id < 0 ? -1 : before.producer_id;
    t->last_epoch = p->producer_id < 0 ? -1 : before.epoch;
    txn_set_producer(t, producer_id, is_new ? 0 : (int16_t)(before.epoch + 1));
    t->timeout_ms = timeout_ms;
    t->state = TXN_EMPTY;
    t->is_v2 = false;
    t->start_ms = -1;
    t->update_ms = broker_now_ms(b);
    rc = txn_store(t, wait, &out->is_durable, e);
    if (rc != ERR_NONE) {
        txn_set_producer(t, before.producer_id, before.epoch);
        t->last_producer_id = before.last_producer_id;
        t->last_epoch = before.last_epoch;
        t->is_v2 = before.is_v2;
        t->timeout_ms = before.timeout_ms;
        t->state = before.state;
        t->start_ms = before.start_ms;
        t->update_ms = before.update_ms;
        return rc;
    }
    out->producer_id = t->producer_id;
    out->epoch = t->epoch;
    return ERR_NONE;
}

enum err_code txn_init(struct broker *b, const struct txn_producer *p, int32_t timeout_ms, struct append_wait *wait,
                       struct txn_reply *out, struct err *e)
{
    struct txns *ts = b->txns;

    *out = (struct txn_reply){.producer_id = -1, .epoch = -1};
    if (p->id.len == 0 || p->id.len > INT16_MAX)
        return bad(out, TXN_BAD_ID, e, "a transactional id has 1 to 32767 bytes");
    if (timeout_ms <= 0 || timeout_ms > TXN_TIMEOUT_MS_MAX)
        return bad(out, TXN_BAD_TIMEOUT, e, "a transaction's time-out is between 1 ms and 15 minutes");
    struct txn *t = txn_find(ts, p->id);
    bool is_new = t == NULL;
    if (is_new) t = txn_make(ts, p->id);
    if (p->producer_id >= 0 && !is_new && !(p->producer_id == t->producer_id && p->epoch == t->epoch)) {
        if (!is_retry(t, p)) return fenced(e, p);
        if (t->state == TXN_EMPTY) { /* It was done, the answer was lost. A record behind it makes sure of the disk. */
            out->producer_id = t->producer_id;
            out->epoch = t->epoch;
            return txn_store(t, wait, &out->is_durable, e);
        }
    }
    if (txn_is_preparing(t)) return bad(out, TXN_CONCURRENT, e, "the last transaction is being ended");
    if (t->state == TXN_ONGOING) {
        enum err_code rc = txn_prepare(t, false, (int16_t)(t->epoch + 1), false, e);
        return rc == ERR_NONE ? bad(out, TXN_CONCURRENT, e, "the last transaction is being aborted") : rc;
    }
    enum err_code rc = init_next(b, t, p, wait, timeout_ms, out, e);
    if (rc != ERR_NONE && is_new) txn_free(t);
    return rc;
}

/* ---- add ---- */
/* Parts from n_before on are new. Makes it Ongoing. */
static enum err_code add_store(struct txn *t, int n_before, struct append_wait *wait, struct txn_reply *out,
                               struct err *e)
{
    struct broker *b = t->txns->broker;
    enum txn_state state = t->state;
    int64_t start_ms = t->start_ms, update_ms = t->update_ms;

    t->update_ms = broker_now_ms(b);
    if (state != TXN_ONGOING) t->start_ms = t->update_ms;
    t->state = TXN_ONGOING;
    enum err_code rc = txn_store(t, wait, &out->is_durable, e);
    if (rc != ERR_NONE) {
        txn_parts_cut(t, n_before);
        t->state = state;
        t->start_ms = start_ms;
        t->update_ms = update_ms;
        return rc;
    }
    txn_timer_arm(t->txns, t->start_ms + t->timeout_ms);
    return ERR_NONE;
}

enum err_code txn_add_partitions(struct broker *b, const struct txn_producer *p, struct txn_partition *parts, int n,
                                 struct append_wait *wait, struct txn_reply *out, struct err *e)
{
    struct txn *t = NULL;
    bool is_good = true;

    for (int i = 0; i < n; i++) {
        const struct topic *topic = topic_find(b, parts[i].topic);
        parts[i].rc = topic == NULL || topic_partition(topic, parts[i].partition) == NULL ? ERR_NOT_FOUND
                      : topic_is_internal(topic)                                          ? ERR_DENIED
                                                                                          : ERR_NONE;
        is_good = is_good && parts[i].rc == ERR_NONE;
    }
    enum err_code rc = producer_check(b, p, &t, out, e);
    if (rc != ERR_NONE) return rc;
    if (txn_is_preparing(t)) return bad(out, TXN_CONCURRENT, e, "the last transaction is being ended");
    if (!is_good) {
        for (int i = 0; i < n; i++)
            if (parts[i].rc == ERR_NONE) parts[i].rc = ERR_CANCELLED;
        return err_set(e, ERR_NOT_FOUND, "not all of the partitions exist");
    }
    int before = t->n_parts;
    bool is_in = p->is_v2 && t->state == TXN_ONGOING;
    for (int i = 0; is_in && i < n; i++)
        is_in = txn_part_has(t, parts[i].topic, parts[i].partition);
    if (is_in) {
        txn_stored_wait(t, wait, &out->is_durable);
        return ERR_NONE;
    }
    for (int i = 0; i < n; i++)
        txn_part_add(t, parts[i].topic, parts[i].partition);
    return add_store(t, before, wait, out, e);
}

enum err_code txn_add_offsets(struct broker *b, const struct txn_producer *p, struct bytes group_id,
                              struct append_wait *wait, struct txn_reply *out, struct err *e)
{
    struct txn *t = NULL;

    enum err_code rc = producer_check(b, p, &t, out, e);
    if (rc != ERR_NONE) return rc;
    if (!group_id_is_valid(group_id)) return bad(out, TXN_BAD_ID, e, "bad group id");
    if (txn_is_preparing(t)) return bad(out, TXN_CONCURRENT, e, "the last transaction is being ended");
    if (p->is_v2 && t->state == TXN_ONGOING && txn_part_has(t, bytes_str(OFFSETS_TOPIC), 0)) {
        txn_stored_wait(t, wait, &out->is_durable);
        return ERR_NONE;
    }
    int before = t->n_parts;
    txn_part_add(t, bytes_str(OFFSETS_TOPIC), 0);
    return add_store(t, before, wait, out, e);
}

/* ---- end ---- */
static enum err_code end_wait(struct txn *t, struct append_wait *wait, struct txn_reply *out)
{
    out->is_durable = !txn_is_preparing(t) || (t->has_failed && t->n_waiting == 0);
    if (!out->is_durable) list_push_back(&t->ends, &wait->link);
    return ERR_NONE;
}

static enum err_code end_complete(const struct txn *t, bool is_commit, struct txn_reply *out, struct err *e)
{
    if ((t->state == TXN_COMPLETE_COMMIT) != is_commit) return bad(out, TXN_BAD_STATE, e, "it ended the other way");
    out->producer_id = t->producer_id;
    out->epoch = t->epoch;
    out->is_durable = true; /* Its Prepare* is, or it would not be complete. */
    return ERR_NONE;
}

static enum err_code end_preparing(const struct txn *t, bool is_commit, struct txn_reply *out, struct err *e)
{
    if ((t->state == TXN_PREPARE_COMMIT) != is_commit) return bad(out, TXN_BAD_STATE, e, "it is ending the other way");
    return bad(out, TXN_CONCURRENT, e, "it is being ended");
}

/* X7  In the second kind the end takes an epoch for itself, so that a request of this transaction that is late is older
 * than anything of the next. A retry of the end, whose answer was lost, has the epoch before and is known by it. */
static enum err_code end_v2(struct broker *b, const struct txn_producer *p, bool is_commit, struct append_wait *wait,
                            struct txn_reply *out, struct err *e)
{
    struct txn *t = p->id.len > 0 ? txn_find(b->txns, p->id) : NULL;
    bool may_retry = t != NULL && t->is_v2 && is_retry(t, p) && t->state != TXN_ONGOING && t->state != TXN_EMPTY;

    if (may_retry) {
        *out = (struct txn_reply){.producer_id = -1, .epoch = -1};
        return txn_is_preparing(t) ? end_preparing(t, is_commit, out, e) : end_complete(t, is_commit, out, e);
    }
    enum err_code rc = producer_check(b, p, &t, out, e);
    if (rc != ERR_NONE) return rc;
    if (txn_is_preparing(t)) return bad(out, TXN_CONCURRENT, e, "the last transaction is being ended");
    if (t->state != TXN_ONGOING && is_commit) return bad(out, TXN_BAD_STATE, e, "no transaction is ongoing");
    int64_t next_id = -1;
    if (t->epoch >= TXN_EPOCH_MAX - 1) rc = broker_producer_id_next(b, &next_id, e); /* X5 */
    if (rc != ERR_NONE) return rc;
    t->next_producer_id = next_id;
    out->producer_id = next_id >= 0 ? next_id : t->producer_id;
    out->epoch = next_id >= 0 ? 0 : (int16_t)(t->epoch + 1);
    rc = txn_prepare(t, is_commit, (int16_t)(t->epoch + 1), true, e);
    if (rc != ERR_NONE) t->next_producer_id = -1;
    return rc == ERR_NONE ? end_wait(t, wait, out) : rc;
}

enum err_code txn_end(struct broker *b, const struct txn_producer *p, bool is_commit, struct append_wait *wait,
                      struct txn_reply *out, struct err *e)
{
    struct txn *t = NULL;

    if (p->is_v2) return end_v2(b, p, is_commit, wait, out, e);
    enum err_code rc = producer_check(b, p, &t, out, e);
    if (rc != ERR_NONE) return rc;
    switch (t->state) {
    case TXN_ONGOING: break;
    case TXN_COMPLETE_COMMIT:
    case TXN_COMPLETE_ABORT: return end_complete(t, is_commit, out, e);
    case TXN_PREPARE_COMMIT:
    case TXN_PREPARE_ABORT: return end_preparing(t, is_commit, out, e);
    case TXN_EMPTY: return bad(out, TXN_BAD_STATE, e, "no transaction is ongoing");
    }
    rc = txn_prepare(t, is_commit, t->epoch, false, e);
    return rc == ERR_NONE ? end_wait(t, wait, out) : rc;
}

/* ---- administration ---- */
static struct txn_description description(const struct txn *t)
{
    static const char *const names[] = {"Empty",        "Ongoing",        "PrepareCommit",
                                        "PrepareAbort", "CompleteCommit", "CompleteAbort"};
    return (struct txn_description){.id = t->id,
                                    .state = names[t->state],
                                    .producer_id = t->producer_id,
                                    .start_ms = t->start_ms,
                                    .timeout_ms = t->timeout_ms,
                                    .n_partitions = t->n_parts,
                                    .epoch = t->epoch,
                                    .txn = t};
}

void txn_list(struct broker *b, bool (*fn)(void *arg, const struct txn_description *t), void *arg)
{
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&b->txns->by_id, &pos)) != NULL;) {
        struct txn_description d = description(m->value);
        if (!fn(arg, &d)) return;
    }
}

bool txn_describe(struct broker *b, struct bytes id, struct txn_description *out)
{
    const struct txn *t = txn_find(b->txns, id);
    if (t != NULL) *out = description(t);
    return t != NULL;
}

struct bytes txn_description_partition(const struct txn_description *d, int i, int32_t *partition)
{
    const struct txn *t = d->txn;
    check(i >= 0 && i < t->n_parts);
    *partition = t->parts[i].index;
    return t->parts[i].topic;
}

/* ---- life ---- */
enum err_code txns_open(struct broker *b, struct err *e)
{
    struct txns *ts = calloc(1, sizeof(*ts));

    check(ts != NULL);
    ts->broker = b;
    ts->snapshot_first = -1;
    ts->timer.fire = txn_timer_fire;
    map_init(&ts->by_id);
    map_init(&ts->by_producer);
    b->txns = ts;
    enum err_code rc = txn_load(ts, e);
    if (rc == ERR_NONE) txn_resume(ts);
    return rc;
}

void txns_topic_deleted(struct broker *b, const struct topic *t)
{
    if (b->txns != NULL && b->txns->log != NULL && b->txns->log->topic == t) b->txns->log = NULL;
}

void txns_close(struct broker *b)
{
    struct txns *ts = b->txns;
    uint32_t pos = 0;

    if (ts == NULL) return;
    b->sys->loop->timer_stop(b->sys->loop, &ts->timer);
    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;) {
        struct txn *t = m->value;
        for (struct list *n; (n = list_pop_front(&t->ends)) != NULL;) {
            struct append_wait *w = CONTAINER_OF(n, struct append_wait, link);
            w->done(w, ERR_CLOSED);
        }
    }
}

void txns_destroy(struct broker *b)
{
    struct txns *ts = b->txns;
    uint32_t pos = 0;

    if (ts == NULL) return;
    b->sys->loop->timer_stop(b->sys->loop, &ts->timer);
    append_cancel(&ts->snapshot_wait);
    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;)
        txn_free(m->value);
    map_deinit(&ts->by_id);
    map_deinit(&ts->by_producer);
    free(ts);
    b->txns = NULL;
}
