/* check_txn.c: transactions, by what the log says became of them.
 *
 * T1  All or nothing: every batch of a transaction ends by the same marker, whatever partition it is in; what was
 *     acknowledged inside of a committed one is there (L3). None is open at the end.
 * T2  The marker is what the client was told. A transaction whose commit nobody asked for is not committed: the end of
 *     another one never touches it.
 * T3  A fenced producer does not write: what was sent with an old epoch after a newer one had been given out is not
 *     stored.
 * T4  Exactly once: of all committed records made of one input record there is at most one, and one in the end.
 * T5  A producer id is given out once. */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- outcomes ---- */

static void outcome_learn(struct checker *c, const struct event *batch, enum outcome o)
{
    const int64_t *items = history_items(c->h, batch);
    int64_t id = batch->n_items >= 2 ? items[1] : 0;
    const struct event *send;

    if (id <= 0 || id >= c->n_records || c->records[id].send == 0) return; /* L1 has said so */
    send = event_at(c, c->records[id].send);
    if (send->txn == 0) {
        wrong(c, batch, "T1", "record %" PRId64 " was not sent in a transaction", id);
        return;
    }
    enum outcome before = c->txn_outcomes[send->txn];
    if (before != OUTCOME_NONE && before != o)
        wrong(c, batch, "T1", "one part of transaction %" PRId64 " is committed, another one is not", send->txn);
    c->txn_outcomes[send->txn] = o;
}

/* The marker at `end` closes everything of its producer behind the marker before it. */
static void marker_apply(struct checker *c, struct place *p, const struct event *marker)
{
    enum outcome o = marker->value == 1 ? OUTCOME_COMMITTED : OUTCOME_ABORTED;

    for (int64_t at = marker->offset - 1; at >= 0; at--) {
        if (p->at[at].batch == 0) break;
        const struct event *ev = event_at(c, p->at[at].batch);
        if (ev->producer_id != marker->producer_id) continue;
        if (ev->value >= 0) break;
        if (ev->txn == 0 || p->at[at].outcome != OUTCOME_OPEN) continue;
        p->at[at].outcome = o;
        if (at == ev->offset) outcome_learn(c, ev, o);
    }
}

static void place_outcomes(struct checker *c, struct place *p)
{
    uint32_t before = 0;

    for (int64_t at = 0; at < p->end; at++) {
        if (p->at[at].batch == 0) continue;
        const struct event *ev = event_at(c, p->at[at].batch);
        if (ev->value < 0 && ev->txn != 0) p->at[at].outcome = OUTCOME_OPEN;
        if (p->at[at].batch == before) continue;
        before = p->at[at].batch;
        if (ev->value >= 0) marker_apply(c, p, ev);
    }
    for (int64_t at = p->start; at < p->end; at++)
        if (p->at[at].outcome == OUTCOME_OPEN) {
            wrong(c, event_at(c, p->at[at].batch), "T1", "a transaction is still open at the end");
            return;
        }
}

/* ---- T2 ---- */

static void told_is_done(struct checker *c, const struct event *ended)
{
    const struct event *end = event_at(c, c->asked[ended->op]);
    enum outcome o = c->txn_outcomes[end->txn];

    if (ended->error != 0 || o == OUTCOME_NONE) return;
    if (o != (end->value == 1 ? OUTCOME_COMMITTED : OUTCOME_ABORTED))
        wrong(c, ended, "T2", "transaction %" PRId64 " was reported %s, the log says otherwise", end->txn,
              end->value == 1 ? "committed" : "aborted");
}

static void committed_was_asked_for(struct checker *c)
{
    for (int64_t t = 1; t < c->n_txns; t++)
        if (c->txn_outcomes[t] == OUTCOME_COMMITTED && c->txn_ends[t] == 0)
            wrong(c, event_at(c, 1), "T2", "transaction %" PRId64 " is committed, nobody asked for it", t);
}

/* ---- T3, T5 ---- */

/* What init gave out: is it older than something that another one gave out before `number`? */
static bool is_fenced(const struct checker *c, const struct event *send)
{
    int64_t txn_id = 0;

    for (uint32_t i = 1; i < send->number; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_INIT && ev->producer_id == send->producer_id && ev->txn_id != 0) txn_id = ev->txn_id;
    }
    for (uint32_t i = 1; txn_id != 0 && i < send->number; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind != EVENT_INIT || ev->txn_id != txn_id) continue;
        if (ev->producer_id == send->producer_id && ev->epoch > send->epoch) return true;
    }
    return false;
}

static void fenced_do_not_write(struct checker *c)
{
    for (int t = 0; t < FIRST_CHURN_TOPIC; t++)
        for (int k = 0; k < PLACE_PARTITIONS; k++) {
            const struct place *p = &c->places[t][k];
            uint32_t before = 0;
            for (int64_t at = 0; at < p->end; at++) {
                if (p->at[at].batch == before || p->at[at].id <= 0 || p->at[at].id >= c->n_records) continue;
                before = p->at[at].batch;
                uint32_t send = c->records[p->at[at].id].send;
                if (send == 0 || event_at(c, send)->txn == 0 || !is_fenced(c, event_at(c, send))) continue;
                wrong(c, event_at(c, before), "T3", "was sent (event %u) by a producer that had been fenced", send);
            }
        }
}

static void ids_are_new(struct checker *c)
{
    const struct history *h = c->h;

    for (uint32_t i = 1; i < h->n; i++) {
        const struct event *a = &h->events[i];
        if (a->kind != EVENT_INIT) continue;
        for (uint32_t k = i + 1; k < h->n; k++) {
            const struct event *b = &h->events[k];
            if (b->kind != EVENT_INIT || b->producer_id != a->producer_id) continue;
            if (a->txn_id == 0 || b->txn_id != a->txn_id || b->epoch == a->epoch)
                wrong(c, b, "T5", "event %u had got this id and epoch already", a->number);
        }
    }
}

/* ---- T4 ---- */

struct source {
    int64_t partition, offset, id;
};

static int source_compare(const void *a, const void *b)
{
    const struct source *x = a, *y = b;

    if (x->partition != y->partition) return x->partition < y->partition ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static uint32_t sources_collect(const struct checker *c, struct source **out)
{
    struct source *s = NULL;
    uint32_t n = 0, cap = 0;

    for (int t = 0; t < FIRST_CHURN_TOPIC; t++)
        for (int k = 0; k < PLACE_PARTITIONS; k++) {
            const struct place *p = &c->places[t][k];
            for (int64_t at = 0; at < p->end; at++) {
                int64_t id = p->at[at].id;
                if (p->at[at].outcome != OUTCOME_COMMITTED || id <= 0 || id >= c->n_records) continue;
                const struct event *send = event_at(c, c->records[id].send);
                if (n == cap) s = realloc(s, (cap = cap ? 2 * cap : 64) * sizeof *s);
                check(s != NULL);
                s[n++] = (struct source){send->value, history_items(c->h, send)[2 * c->records[id].index + 1], id};
            }
        }
    if (n > 0) qsort(s, n, sizeof *s, source_compare);
    *out = s;
    return n;
}

/* The topic that a pipeline reads: of the commits inside of transactions; -1: there is none. */
static int64_t source_topic(const struct checker *c)
{
    for (uint32_t i = 1; i < c->h->n; i++)
        if (c->h->events[i].kind == EVENT_COMMIT && c->h->events[i].txn != 0) return c->h->events[i].topic;
    return -1;
}

static void exactly_once(struct checker *c)
{
    int64_t topic = source_topic(c);
    struct source *s;
    uint32_t n = sources_collect(c, &s), k = 0;

    for (uint32_t i = 1; i < n; i++)
        if (source_compare(&s[i - 1], &s[i]) == 0)
            wrong(c, event_at(c, c->records[s[i].id].send), "T4",
                  "input %" PRId64 ":%" PRId64 " was processed twice: records %" PRId64 " and %" PRId64, s[i].partition,
                  s[i].offset, s[i - 1].id, s[i].id);
    for (int64_t p = 0; topic >= 0 && p < PLACE_PARTITIONS; p++) {
        const struct place *in = &c->places[topic][p];
        for (int64_t at = in->start; at < in->end; at++) {
            if (in->at[at].id == 0) continue;
            while (k < n && source_compare(&s[k], &(struct source){p, at, 0}) < 0)
                k++;
            if (k < n && s[k].partition == p && s[k].offset == at) continue;
            wrong(c, event_at(c, in->at[at].batch), "T4", "input %" PRId64 ":%" PRId64 " was never processed", p, at);
            break;
        }
    }
    free(s);
}

void check_transactions(struct checker *c)
{
    bool is_audited = false;

    for (int t = 0; t < FIRST_CHURN_TOPIC; t++)
        for (int k = 0; k < PLACE_PARTITIONS; k++) {
            place_outcomes(c, &c->places[t][k]);
            is_audited |= c->places[t][k].is_audited;
        }
    for (uint32_t i = 1; i < c->h->n; i++)
        if (c->h->events[i].kind == EVENT_ENDED) told_is_done(c, &c->h->events[i]);
    committed_was_asked_for(c);
    fenced_do_not_write(c);
    ids_are_new(c);
    if (is_audited) exactly_once(c);
}
