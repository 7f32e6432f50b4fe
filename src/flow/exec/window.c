/* Watermarks.
 *
 * W1  Every row meets the watermark that the rows before it made ("on event"), so that what is late depends on
 *     the order of the rows and not on how they were cut into chunks.
 * W2  The watermark of the source never moves back: an idle partition that wakes up brings late rows, not an
 *     older watermark.
 * W3  A partition that never had a row holds the watermark back until it is idle or ended.
 * W4  All partitions idle: the watermark stays. Windows are then closed by an explicit step of the engine, which
 *     writes it down. */
#include "flow/exec/window.h"

void source_time_init(struct source_time *t, int n_partitions, uint64_t now_ns, struct arena *a)
{
    t->n = n_partitions;
    t->partitions = arena_array(a, (size_t)n_partitions, sizeof *t->partitions);
    t->watermark = WATERMARK_NONE;
    for (int i = 0; i < n_partitions; i++) {
        t->partitions[i].watermark = WATERMARK_NONE;
        t->partitions[i].last_ns = now_ns;
    }
}

/* Of all that count except `but`; WATERMARK_END: none. */
static int64_t smallest(const struct source_time *t, int but)
{
    int64_t min = WATERMARK_END;
    for (int i = 0; i < t->n; i++) {
        const struct partition_time *p = &t->partitions[i];
        if (i == but || p->is_idle || p->has_ended) continue;
        if (p->watermark < min) min = p->watermark;
    }
    return min;
}

void source_time_rows(struct source_time *t, int partition, const struct vector *marks, const uint16_t *sel, int n,
                      int64_t *before)
{
    struct partition_time *p = &t->partitions[partition];
    int mask = marks->is_const ? 0 : -1;
    check(partition >= 0 && partition < t->n);
    p->is_idle = false;
    int64_t others = smallest(t, partition), mine = p->watermark, now = t->watermark;
    for_rows(i, sel, n)
    {
        before[i] = now;
        if (marks->has_nulls && marks->nulls[i & mask]) continue;
        int64_t mark = marks->i[i & mask];
        mine = mark > mine ? mark : mine;
        int64_t all = mine < others ? mine : others;
        now = all > now ? all : now;
    }
    p->watermark = mine;
    t->watermark = now;
}

uint64_t source_time_idle(struct source_time *t, uint64_t now_ns, uint64_t timeout_ns)
{
    uint64_t next = UINT64_MAX;
    if (timeout_ns == 0) return next;
    for (int i = 0; i < t->n; i++) {
        struct partition_time *p = &t->partitions[i];
        if (p->is_idle || p->has_ended) continue;
        uint64_t at = p->last_ns + timeout_ns;
        if (now_ns >= at)
            p->is_idle = true;
        else if (at < next)
            next = at;
    }
    return next;
}

bool source_time_all_idle(const struct source_time *t)
{
    for (int i = 0; i < t->n; i++)
        if (!t->partitions[i].is_idle && !t->partitions[i].has_ended) return false;
    return true;
}

void source_time_advance(struct source_time *t)
{
    int64_t min = smallest(t, -1);
    if (min != WATERMARK_END && min > t->watermark) t->watermark = min;
}
