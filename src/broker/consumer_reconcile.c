/* consumer_reconcile.c: a member's way from what it has to what it is to have.
 *
 *              target keeps all it has, nothing to wait for
 *            ┌────┐
 *            ▼    │        has to give back           gave back, some of its target is still others'
 *          Stable ───────────▶ UnrevokedPartitions ──────────────▶ UnreleasedPartitions ──┐
 *            ▲ │                     │                                    │    ▲          │ others gave back
 *            │ └── target is others' still ───────────────────────────────┼────┘          │
 *            └───────────────────────┴──── all there ─────────────────────┴───────────────┘
 *
 * Every arrow is consumer_reconcile(). First what it has is cut down to the target; only when it has confirmed that (its
 * heartbeat's list no longer shows what is to go) it reaches the target's epoch and gets more.
 *
 * K1  A partition in `assigned` or `revoking` of a member has that member as its owner in the group's table, and no other
 *     entry exists. So no partition is ever given to a second member before the first has confirmed, left or been fenced.
 * K2  A member's epoch never falls, except to 0 when another takes its static place. */
#include "broker/consumer_int.h"

#include <stdlib.h>

/* ---- sets ---- */
bool tp_set_has(const struct tp_set *s, const struct tp *p)
{
    int low = 0, high = s->n;

    while (low < high) {
        int mid = low + (high - low) / 2, c = tp_compare(&s->at[mid], p);
        if (c == 0) return true;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

bool tp_set_is_subset(const struct tp_set *s, const struct tp_set *of)
{
    for (int i = 0; i < s->n; i++)
        if (!tp_set_has(of, &s->at[i])) return false;
    return true;
}

bool tp_set_equal(const struct tp_set *a, const struct tp_set *b)
{
    return a->n == b->n && tp_set_is_subset(a, b);
}

void tp_set_free(struct tp_set *s)
{
    free(s->at);
    *s = (struct tp_set){NULL, 0};
}

static struct tp_set set_sized(int n)
{
    struct tp_set s = {calloc((size_t)n + 1, sizeof(struct tp)), 0};
    check(s.at != NULL);
    return s;
}

void tp_set_copy(struct tp_set *to, const struct tp_set *from)
{
    struct tp_set s = set_sized(from->n);

    for (int i = 0; i < from->n; i++)
        s.at[s.n++] = from->at[i];
    tp_set_free(to);
    *to = s;
}

static int compare(const void *a, const void *b)
{
    return tp_compare(a, b);
}

void tp_set_sort(struct tp_set *s)
{
    int n = 0;

    if (s->n > 1) qsort(s->at, (size_t)s->n, sizeof(*s->at), compare);
    for (int i = 0; i < s->n; i++)
        if (n == 0 || tp_compare(&s->at[n - 1], &s->at[i]) != 0) s->at[n++] = s->at[i];
    s->n = n;
}

/* Those of a that are (is_in) or are not in b. */
static struct tp_set pick(const struct tp_set *a, const struct tp_set *b, bool is_in)
{
    struct tp_set s = set_sized(a->n);

    for (int i = 0; i < a->n; i++)
        if (tp_set_has(b, &a->at[i]) == is_in) s.at[s.n++] = a->at[i];
    return s;
}

/* ---- owners (K1) ---- */
static struct bytes tp_key(const struct tp *p)
{
    _Static_assert(sizeof(struct tp) == 20, "the key has no padding");
    return bytes_of(p, sizeof(*p));
}

void consumer_own(struct consumer_group *cg, const struct tp_set *s, struct consumer_member *m)
{
    for (int i = 0; i < s->n; i++) {
        const struct consumer_member *before = map_put(&cg->owners, tp_key(&s->at[i]), m);
        check(before == NULL || before == m);
    }
}

void consumer_disown(struct consumer_group *cg, const struct tp_set *s, const struct consumer_member *m)
{
    for (int i = 0; i < s->n; i++) {
        const struct consumer_member *before = map_remove(&cg->owners, tp_key(&s->at[i]));
        check(before == NULL || before == m);
    }
}

/* ---- steps ---- */
static bool shows_any(const struct tp_set *owned, const struct tp_set *of)
{
    for (int i = 0; owned != NULL && i < of->n; i++)
        if (tp_set_has(owned, &of->at[i])) return true;
    return owned == NULL && of->n > 0;
}

/* Those of the target that it does not have and nobody else has. *has_more: others are not free yet. */
static struct tp_set take_free(struct consumer_group *cg, const struct consumer_member *m, bool *has_more)
{
    struct tp_set s = set_sized(m->target.n);

    *has_more = false;
    for (int i = 0; i < m->target.n; i++) {
        const struct tp *p = &m->target.at[i];
        const struct consumer_member *owner = map_get(&cg->owners, tp_key(p));
        if (owner == NULL) s.at[s.n++] = *p;
        if (owner != NULL && owner != m) *has_more = true;
    }
    return s;
}

static void add_all(struct tp_set *to, const struct tp_set *more)
{
    struct tp_set s = set_sized(to->n + more->n);

    for (int i = 0; i < to->n; i++)
        s.at[s.n++] = to->at[i];
    for (int i = 0; i < more->n; i++)
        s.at[s.n++] = more->at[i];
    tp_set_sort(&s);
    tp_set_free(to);
    *to = s;
}

static void set_epoch(struct consumer_member *m, int32_t epoch)
{
    check(epoch >= m->epoch);      /* K2 */
    if (epoch == m->epoch) return; /* The epoch before stays good for a lost reply. */
    m->previous_epoch = m->epoch;
    m->epoch = epoch;
}

/* Towards the target, from an epoch at which nothing is left to be revoked. */
static void next_assignment(struct consumer_member *m, int32_t epoch, const struct tp_set *owned)
{
    struct consumer_group *cg = m->group->consumer;
    struct tp_set keeps = pick(&m->assigned, &m->target, true), goes = pick(&m->assigned, &m->target, false);
    bool has_more;

    check(m->revoking.n == 0);
    tp_set_free(&m->assigned);
    m->assigned = keeps;
    if (goes.n > 0 && shows_any(owned, &goes)) {
        tp_set_free(&m->revoking);
        m->revoking = goes;
        m->state = CONSUMER_UNREVOKED;
        set_epoch(m, epoch);
        return;
    }
    consumer_disown(cg, &goes, m);
    tp_set_free(&goes);
    struct tp_set more = take_free(cg, m, &has_more);
    consumer_own(cg, &more, m);
    add_all(&m->assigned, &more);
    tp_set_free(&more);
    m->state = has_more ? CONSUMER_UNRELEASED : CONSUMER_STABLE;
    set_epoch(m, cg->target_epoch);
}

static bool step(struct consumer_member *m, const struct tp_set *owned)
{
    struct consumer_group *cg = m->group->consumer;

    switch (m->state) {
    case CONSUMER_STABLE:
        if (m->epoch == cg->target_epoch) return false;
        next_assignment(m, m->epoch, owned);
        return true;
    case CONSUMER_UNREVOKED:
        if (shows_any(owned, &m->revoking)) return false;
        consumer_disown(cg, &m->revoking, m);
        m->revoking.n = 0;
        next_assignment(m, m->epoch + 1, owned);
        return true;
    case CONSUMER_UNRELEASED: next_assignment(m, m->epoch, owned); return true;
    }
    return false;
}

bool consumer_reconcile(struct consumer_member *m, const struct tp_set *owned)
{
    enum consumer_state state = m->state;
    int32_t epoch = m->epoch;
    int n = m->assigned.n;

    if (!step(m, owned)) return false;
    /* Waiting on without anything new is no news for the log. */
    if (state == CONSUMER_UNRELEASED && m->state == state && m->epoch == epoch && m->assigned.n == n) return false;
    m->dirty |= DIRTY_CURRENT;
    if (m->state == CONSUMER_UNREVOKED)
        consumer_rebalance_start(m);
    else
        group_timer_stop(m->group, &m->rebalance);
    return true;
}
