/* check_read.c: what readers were given, while everything went wrong.
 *
 * R1  What a reader gets is what the audit finds at that offset (an offset has one value for ever, also before a
 *     crash: the high watermark is what a crash keeps).
 * R2  A fetch skips nothing and repeats nothing: between where it began and where it goes on, the application gets
 *     every record; at read_committed, every record that is not part of an aborted transaction.
 * R3  At read_committed nothing of a transaction is seen before its commit was asked for, nor of one that is aborted.
 * R4  High watermark and last stable offset never go back, whoever asks, also across restarts; nothing beyond them is
 *     given out.
 * R5  An offset that is between begin and end is never refused. */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>

static void mark_add(struct place *p, const struct event *ev)
{
    struct mark m = {ev->number, ev->high_watermark, ev->last_stable};

    if (p->n_marks > 0) {
        const struct mark *last = &p->marks[p->n_marks - 1];
        if (last->high_watermark > m.high_watermark) m.high_watermark = last->high_watermark;
        if (last->last_stable > m.last_stable) m.last_stable = last->last_stable;
    }
    if (p->n_marks == p->cap_marks) {
        p->cap_marks = p->cap_marks ? 2 * p->cap_marks : 64;
        p->marks = realloc(p->marks, p->cap_marks * sizeof *p->marks);
        check(p->marks != NULL);
    }
    p->marks[p->n_marks++] = m;
}

/* What was known when the question left. */
static const struct mark *mark_before(const struct place *p, uint32_t since)
{
    uint32_t low = 0, high = p->n_marks;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (p->marks[middle].number <= since)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &p->marks[low - 1] : NULL;
}

/* R4. */
static void marks_rise(struct checker *c, const struct event *ev)
{
    struct place *p = place_of(c, ev);
    const struct mark *m = mark_before(p, ev->since);

    if (m != NULL && ev->high_watermark < m->high_watermark)
        wrong(c, ev, "R4", "the high watermark was %" PRId64 " before", m->high_watermark);
    if (m != NULL && ev->last_stable < m->last_stable)
        wrong(c, ev, "R4", "the last stable offset was %" PRId64 " before", m->last_stable);
    if (ev->last_stable > ev->high_watermark) wrong(c, ev, "R4", "the last stable offset is beyond the end");
    if (ev->next > (ev->level == READ_COMMITTED ? ev->last_stable : ev->high_watermark))
        wrong(c, ev, "R4", "records beyond what may be seen");
    if (p->is_audited && ev->high_watermark > p->end)
        wrong(c, ev, "R4", "the high watermark is beyond all that is stored (%" PRId64 ")", p->end);
    mark_add(p, ev);
}

/* R3. */
static void is_visible(struct checker *c, const struct event *ev, int64_t id)
{
    int64_t txn = id > 0 && id < c->n_records && c->records[id].send != 0 ? event_at(c, c->records[id].send)->txn : 0;

    if (ev->level != READ_COMMITTED || txn == 0) return;
    if (c->txn_outcomes[txn] == OUTCOME_ABORTED)
        wrong(c, ev, "R3", "record %" PRId64 " is of transaction %" PRId64 ", which is aborted", id, txn);
    else if (c->txn_ends[txn] == 0 || c->txn_ends[txn] > ev->number)
        wrong(c, ev, "R3", "record %" PRId64 " is of transaction %" PRId64 ", which is not committed", id, txn);
}

/* R1, R2: walks the offsets of the fetch beside the records that came. */
static void records_are_all(struct checker *c, const struct event *ev)
{
    const struct place *p = place_of(c, ev);
    const int64_t *items = history_items(c->h, ev);
    uint32_t k = 0;

    for (; k + 1 < ev->n_items; k += 2)
        is_visible(c, ev, items[k + 1]);
    if (!p->is_audited) return;
    k = 0;
    while (k + 1 < ev->n_items && items[k] < p->start)
        k += 2; /* trimmed since then */
    for (int64_t at = ev->offset < p->start ? p->start : ev->offset; at < ev->next && at < p->end; at++) {
        const struct stored *s = &p->at[at];
        bool is_given = k + 1 < ev->n_items && items[k] == at;
        bool is_due = s->id != 0 && (ev->level != READ_COMMITTED || s->outcome != OUTCOME_ABORTED);
        if (is_given && items[k + 1] != s->id) {
            wrong(c, ev, "R1", "offset %" PRId64 " held %" PRId64 ", in the end %" PRId64, at, items[k + 1], s->id);
            return;
        }
        if (is_due && !is_given) {
            wrong(c, ev, "R2", "record %" PRId64 " at offset %" PRId64 " was left out", s->id, at);
            return;
        }
        if (is_given) k += 2;
    }
    if (k + 1 < ev->n_items) wrong(c, ev, "R2", "offset %" PRId64 " came twice, or out of order", items[k]);
}

void check_reads(struct checker *c)
{
    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind != EVENT_READ || is_churn(ev)) continue;
        if (ev->error == 1 && ev->offset >= ev->log_start)
            wrong(c, ev, "R5", "offset %" PRId64 " is there", ev->offset);
        if (ev->error != 0) continue;
        marks_rise(c, ev);
        if (ev->level != READ_AUDIT) records_are_all(c, ev);
    }
}
