/* check_group.c: groups and their offsets.
 *
 * G1  An offset that is told was committed: by a commit that was answered well, or whose outcome is unknown, and that
 *     had not been overwritten by a later one when the question was asked. None is told only when none was
 *     acknowledged. So none is lost, and none comes back.
 * G2  A commit of an old generation is refused once a member knows of a newer one.
 * G3  A partition has one owner in a generation.
 *
 * A commit within a transaction counts as made when its transaction's commit was asked for, and as acknowledged when
 * that was answered. */
#include "check_int.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- G1 ---- */

enum fate { FATE_REFUSED, FATE_UNKNOWN, FATE_DONE };
struct commit {
    const struct event *ev;
    uint32_t asked, done; /* events; done: FATE_DONE only */
    enum fate fate;
};

/* These say for certain that nothing was stored. */
static bool is_refusal(int64_t code)
{
    return code == 22 || code == 25 || code == 27 || code == 47 || code == 90 || code == 3 || code == 51 || code == 48;
}

static struct commit plain_fate(const struct checker *c, const struct event *ev)
{
    const struct event *answer = answer_to(c, ev->op);
    struct commit m = {.ev = ev, .asked = ev->number, .fate = FATE_UNKNOWN};

    if (answer != NULL && is_refusal(answer->error)) m.fate = FATE_REFUSED;
    if (answer != NULL && answer->error == 0) {
        m.fate = FATE_DONE;
        m.done = answer->number;
    }
    return m;
}

/* Of a transaction: the answer to any end of it that asked for a commit. */
static uint32_t txn_commit_answer(const struct checker *c, int64_t txn)
{
    for (uint32_t i = c->txn_ends[txn]; i > 0 && i < c->h->n; i++) {
        const struct event *ev = event_at(c, i);
        if (ev->kind == EVENT_ENDED && ev->error == 0 && event_at(c, c->asked[ev->op])->txn == txn) return i;
    }
    return 0;
}

static struct commit txn_fate(const struct checker *c, const struct event *ev)
{
    struct commit m = plain_fate(c, ev);

    if (m.fate == FATE_REFUSED) return m;
    m.asked = c->txn_ends[ev->txn];
    m.done = txn_commit_answer(c, ev->txn);
    m.fate = FATE_UNKNOWN;
    if (m.asked == 0 || c->txn_outcomes[ev->txn] == OUTCOME_ABORTED) m.fate = FATE_REFUSED;
    if (m.fate == FATE_UNKNOWN && m.done != 0) m.fate = FATE_DONE;
    return m;
}

struct commits {
    struct commit *at;
    uint32_t n, cap;
};

static bool is_same_place(const struct event *a, const struct event *b)
{
    return a->group == b->group && a->topic == b->topic && a->partition == b->partition;
}

static bool is_overwritten(const struct commits *all, const struct commit *m, uint32_t since)
{
    for (uint32_t i = 0; i < all->n; i++) {
        const struct commit *o = &all->at[i];
        if (o->fate != FATE_DONE || !is_same_place(o->ev, m->ev) || o->done > since) continue;
        if (m->fate == FATE_DONE && o->asked > m->done) return true;
    }
    return false;
}

static void offset_was_committed(struct checker *c, const struct commits *all, const struct event *ev)
{
    bool is_any_done = false;

    for (uint32_t i = 0; i < all->n; i++) {
        const struct commit *m = &all->at[i];
        if (m->fate == FATE_REFUSED || !is_same_place(m->ev, ev)) continue;
        if (m->fate == FATE_DONE && m->done <= ev->since) is_any_done = true;
        if (m->ev->offset == ev->offset && m->asked < ev->number && !is_overwritten(all, m, ev->since)) return;
    }
    if (ev->offset < 0 && !is_any_done) return;
    if (ev->offset < 0)
        wrong(c, ev, "G1", "a committed offset is lost");
    else
        wrong(c, ev, "G1", "offset %" PRId64 " was not committed, or had been overwritten", ev->offset);
}

static void offsets_hold(struct checker *c)
{
    struct commits all = {0};

    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind != EVENT_COMMIT) continue;
        if (all.n == all.cap) {
            all.cap = all.cap ? 2 * all.cap : 64;
            all.at = realloc(all.at, all.cap * sizeof *all.at);
            check(all.at != NULL);
        }
        all.at[all.n++] = ev->txn != 0 ? txn_fate(c, ev) : plain_fate(c, ev);
    }
    for (uint32_t i = 1; i < c->h->n; i++)
        if (c->h->events[i].kind == EVENT_OFFSET) offset_was_committed(c, &all, &c->h->events[i]);
    free(all.at);
}

/* ---- G2, G3 ---- */

static void generation_is_new(struct checker *c, const struct event *committed)
{
    const struct event *commit = event_at(c, c->asked[committed->op]);

    if (committed->error != 0 || commit->generation < 0) return;
    for (uint32_t i = 1; i < commit->number; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_ASSIGNED && ev->group == commit->group && ev->generation > commit->generation) {
            wrong(c, committed, "G2", "generation %" PRId64 " may not commit: there was %" PRId64, commit->generation,
                  ev->generation);
            return;
        }
    }
}

static bool shares_partition(const struct checker *c, const struct event *a, const struct event *b)
{
    const int64_t *x = history_items(c->h, a), *y = history_items(c->h, b);

    for (uint32_t i = 0; i + 1 < a->n_items; i += 2)
        for (uint32_t k = 0; k + 1 < b->n_items; k += 2)
            if (x[i] == y[k] && x[i + 1] == y[k + 1]) return true;
    return false;
}

static void has_one_owner(struct checker *c, const struct event *ev)
{
    for (uint32_t i = 1; i < ev->number; i++) {
        const struct event *o = &c->h->events[i];
        if (o->kind != EVENT_ASSIGNED || o->group != ev->group || o->generation != ev->generation) continue;
        if (o->member != ev->member && shares_partition(c, o, ev))
            wrong(c, ev, "G3", "event %u gave the same partition to member %" PRId64, i, o->member);
    }
}

void check_groups(struct checker *c)
{
    offsets_hold(c);
    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_COMMITTED) generation_is_new(c, ev);
        if (ev->kind == EVENT_ASSIGNED) has_one_owner(c, ev);
    }
}
