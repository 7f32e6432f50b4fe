/* check_log.c: what is stored, as the audits at the end found it. Topics that come and go are check_admin.c's.
 *
 * L1  Everything stored was sent, to that partition, and a batch is stored whole, as it was sent: no phantom, no tear.
 * L2  An offset has one value for ever; an audit after a restart finds what the one before it found.
 * L3  What was acknowledged is stored at its offset, unless somebody asked to trim it.
 * L4  Offsets have no gaps, and records are gone only where somebody asked to trim.
 * L5  Batches of a producer id and epoch are stored in sequence, each once: no repetition, no gap, no exchange.
 * L6  An idempotent producer's record is stored once. */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- taking in an audit ---- */

static void place_grow(struct place *p, int64_t end)
{
    if (end > p->cap) {
        int64_t cap = 2 * end + 64;
        p->at = realloc(p->at, (size_t)cap * sizeof *p->at);
        check(p->at != NULL);
        for (int64_t i = p->cap; i < cap; i++)
            p->at[i] = (struct stored){0};
        p->cap = cap;
    }
    if (end > p->end) p->end = end;
}

/* L1: the batch is one send, whole. */
static void batch_is_whole(struct checker *c, const struct event *batch)
{
    const int64_t *items = history_items(c->h, batch);
    const struct event *send = NULL;

    for (uint32_t i = 0; i + 1 < batch->n_items; i += 2) {
        int64_t id = items[i + 1];
        const struct sent_record *r = id > 0 && id < c->n_records ? &c->records[id] : NULL;
        if (r == NULL || r->send == 0) {
            wrong(c, batch, "L1", "offset %" PRId64 " holds %" PRId64 ", which nobody sent", items[i], id);
            return;
        }
        if (send == NULL) send = event_at(c, r->send);
        if (r->send != send->number || r->index != i / 2) {
            wrong(c, batch, "L1", "the batch is not as it was sent: record %" PRId64, id);
            return;
        }
    }
    if (send == NULL) {
        wrong(c, batch, "L1", "an empty batch");
        return;
    }
    if (send->topic != batch->topic || send->partition != batch->partition)
        wrong(c, batch, "L1", "sent to topic %" PRId64 " partition %" PRId64, send->topic, send->partition);
    if (batch->n_items / 2 != send->n_items / items_per_record(send)) wrong(c, batch, "L1", "a part of what was sent");
    if (send->sequence >= 0 &&
        (batch->producer_id != send->producer_id || batch->epoch != send->epoch || batch->sequence != send->sequence))
        wrong(c, batch, "L1", "sent with another producer id, epoch or sequence");
}

static void batch_take(struct checker *c, const struct event *ev, bool is_first_audit)
{
    struct place *p = place_of(c, ev);
    const int64_t *items = history_items(c->h, ev);

    if (is_churn(ev)) return;
    if (ev->value < 0 && is_first_audit) batch_is_whole(c, ev);
    place_grow(p, ev->next);
    for (int64_t at = ev->offset; at < ev->next; at++) {
        int64_t k = 2 * (at - ev->offset);
        int64_t id = ev->value < 0 && k + 1 < ev->n_items ? items[k + 1] : 0;
        struct stored *s = &p->at[at];
        if (s->batch != 0 && s->id != id)
            wrong(c, ev, "L2", "offset %" PRId64 " held %" PRId64 ", now %" PRId64, at, s->id, id);
        if (s->batch == 0 && !is_first_audit && at >= p->start)
            wrong(c, ev, "L2", "offset %" PRId64 " was not there at the first audit", at);
        if (s->batch == 0) *s = (struct stored){.id = id, .batch = ev->number};
    }
}

/* The bounds of a partition, by the reads of an audit. */
static void audit_read(struct checker *c, const struct event *ev, bool is_first_audit)
{
    struct place *p = place_of(c, ev);

    if (is_churn(ev) || ev->error != 0) return;
    if (is_first_audit && !p->is_audited) {
        p->start = ev->log_start;
        p->is_audited = true;
        place_grow(p, ev->high_watermark);
    }
    if (ev->log_start > p->trimmed)
        wrong(c, ev, "L4", "the partition begins at %" PRId64 ", nobody asked to trim beyond %" PRId64, ev->log_start,
              p->trimmed);
    if (!is_first_audit && ev->high_watermark != p->end)
        wrong(c, ev, "L2", "it ended at %" PRId64 " before the restart", p->end);
}

/* ---- after the audits ---- */

/* L4. */
static void place_has_no_gaps(struct checker *c, const struct place *p)
{
    for (int64_t at = p->start; at < p->end; at++) {
        if (p->at[at].batch != 0) continue;
        wrong(c,
              &(struct event){.kind = EVENT_READ,
                              .topic = (p - &c->places[0][0]) / PLACE_PARTITIONS,
                              .partition = (p - &c->places[0][0]) % PLACE_PARTITIONS,
                              .offset = at},
              "L4", "nothing is at offset %" PRId64, at);
        return;
    }
}

/* L5: the batches of one place in order; looks back for the last one of the same producer and epoch. */
static void place_is_in_sequence(struct checker *c, const struct place *p)
{
    struct last {
        int64_t producer_id, epoch, next;
    } *last = NULL;
    uint32_t n = 0, k, before = 0;

    for (int64_t at = p->start; at < p->end; at++) {
        if (p->at[at].batch == 0 || p->at[at].batch == before) continue;
        const struct event *ev = event_at(c, before = p->at[at].batch);
        if (ev->value >= 0 || ev->producer_id < 0) continue;
        for (k = 0; k < n && last[k].producer_id != ev->producer_id; k++) {
        }
        if (k == n) {
            last = realloc(last, ++n * sizeof *last);
            check(last != NULL);
        } else if (ev->epoch < last[k].epoch) {
            wrong(c, ev, "L5", "epoch %" PRId64 " has written here before", last[k].epoch);
        } else if (ev->epoch == last[k].epoch && ev->sequence != last[k].next) {
            wrong(c, ev, "L5", "sequence %" PRId64 " was due", last[k].next);
        } else if (ev->epoch > last[k].epoch && ev->sequence != 0) {
            wrong(c, ev, "L5", "a new epoch begins at 0");
        }
        last[k] = (struct last){ev->producer_id, ev->epoch, ev->sequence + ev->n_items / 2};
    }
    free(last);
}

/* L3. */
static void acknowledged_is_stored(struct checker *c, const struct event *sent)
{
    const struct event *send = event_at(c, c->asked[sent->op]);
    struct place *p = place_of(c, send);
    const int64_t *items = history_items(c->h, send);
    uint32_t step = items_per_record(send);

    if (is_churn(send) || !p->is_audited) return;
    for (uint32_t i = 0; i < send->n_items / step; i++) {
        int64_t at = sent->offset + i;
        if (at < p->start) continue;
        if (at < p->end && p->at[at].id == items[i * step]) continue;
        wrong(c, sent, "L3", "record %" PRId64 " was acknowledged and is not at offset %" PRId64, items[i * step], at);
        return;
    }
}

/* L6. */
static void stored_once(struct checker *c)
{
    uint8_t *seen = calloc((size_t)c->n_records + 1, 1);

    check(seen != NULL);
    for (int t = 0; t < FIRST_CHURN_TOPIC; t++)
        for (int k = 0; k < PLACE_PARTITIONS; k++) {
            const struct place *p = &c->places[t][k];
            for (int64_t at = p->start; at < p->end; at++) {
                int64_t id = p->at[at].id;
                if (id <= 0 || id >= c->n_records || c->records[id].send == 0) continue;
                if (event_at(c, c->records[id].send)->sequence >= 0 && seen[id])
                    wrong(c, event_at(c, p->at[at].batch), "L6", "record %" PRId64 " is stored twice", id);
                seen[id] = 1;
            }
        }
    free(seen);
}

void check_log(struct checker *c)
{
    int64_t first_auditor = -1;

    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        bool is_audit = (ev->kind == EVENT_READ && ev->level == READ_AUDIT) || ev->kind == EVENT_BATCH;
        if (!is_audit) continue;
        if (first_auditor < 0) first_auditor = ev->client;
        if (ev->kind == EVENT_READ) audit_read(c, ev, ev->client == first_auditor);
        if (ev->kind == EVENT_BATCH) batch_take(c, ev, ev->client == first_auditor);
    }
    for (int t = 0; t < FIRST_CHURN_TOPIC; t++)
        for (int k = 0; k < PLACE_PARTITIONS; k++) {
            place_has_no_gaps(c, &c->places[t][k]);
            place_is_in_sequence(c, &c->places[t][k]);
        }
    stored_once(c);
    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_SENT && ev->error == 0) acknowledged_is_stored(c, ev);
    }
}
