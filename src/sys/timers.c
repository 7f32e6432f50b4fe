/* timers.c: sifting, with the place of each timer kept in the timer itself so that stopping is O(log n). */
#include "sys/timers.h"

#include <stdlib.h>

static bool before(const struct timer *a, const struct timer *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void place(struct timers *ts, size_t i, struct timer *t)
{
    ts->heap[i] = t;
    t->slot = i + 1;
}

/* Puts t into the hole i, moving others up or down. */
static void sift(struct timers *ts, size_t i, struct timer *t)
{
    while (i > 0 && before(t, ts->heap[(i - 1) / 2])) {
        place(ts, i, ts->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= ts->n) break;
        if (child + 1 < ts->n && before(ts->heap[child + 1], ts->heap[child])) child++;
        if (before(t, ts->heap[child])) break;
        place(ts, i, ts->heap[child]);
        i = child;
    }
    place(ts, i, t);
}

void timers_stop(struct timers *ts, struct timer *t)
{
    size_t i = t->slot - 1;
    struct timer *last;

    if (t->slot == 0) return;
    check(i < ts->n && ts->heap[i] == t);
    t->slot = 0;
    last = ts->heap[--ts->n];
    if (last != t) sift(ts, i, last);
}

void timers_start(struct timers *ts, struct timer *t, uint64_t at_ns)
{
    timers_stop(ts, t);
    if (ts->n == ts->cap) {
        ts->cap = ts->cap ? 2 * ts->cap : 16;
        ts->heap = realloc(ts->heap, ts->cap * sizeof(struct timer *));
        check(ts->heap != NULL);
    }
    t->at_ns = at_ns;
    t->seq = ts->seq++;
    ts->n++;
    sift(ts, ts->n - 1, t);
}

struct timer *timers_top(const struct timers *ts)
{
    return ts->n ? ts->heap[0] : NULL;
}

void timers_deinit(struct timers *ts)
{
    for (size_t i = 0; i < ts->n; i++)
        ts->heap[i]->slot = 0;
    free(ts->heap);
    *ts = (struct timers){0};
}
