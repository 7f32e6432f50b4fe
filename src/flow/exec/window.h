/* window.h: event time: the watermark of a source with several partitions, and the arithmetic of windows. Pure; the time
 * is handed in. */
#ifndef WEIR_FLOW_EXEC_WINDOW_H
#define WEIR_FLOW_EXEC_WINDOW_H

#include "flow/exec/vector.h"
#include "flow/plan.h"

#define WINDOW_LAST_US 1000 /* a window [s, e) fires when the watermark is at e - 1 ms */

/* What is known of one partition's time. */
struct partition_time {
    int64_t watermark; /* us, WATERMARK_NONE before the first row */
    bool is_idle;      /* no row for the idle timeout: does not hold the others back */
    bool has_ended;    /* a bounded read is at its end */
    uint64_t last_ns;  /* when the last row came, or reading began; not kept over a restart */
};
/* The watermark of a source: the smallest of its partitions that are neither idle nor ended; it never moves back. */
struct source_time {
    struct partition_time *partitions;
    int n;
    int64_t watermark;
};
void source_time_init(struct source_time *t, int n_partitions, uint64_t now_ns, struct arena *a);
/* Rows of one partition came, in order: fills before[i] with the watermark each row met, and moves on. `marks`: the
 * value of the WATERMARK FOR expression per row, NULL where it has none. `sel`: the good rows. */
void source_time_rows(struct source_time *t, int partition, const struct vector *marks, const uint16_t *sel, int n,
                      int64_t *before);
/* Marks partitions idle. Returns when the next may become so (UINT64_MAX: none). timeout_ns 0: never idle. */
uint64_t source_time_idle(struct source_time *t, uint64_t now_ns, uint64_t timeout_ns);
bool source_time_all_idle(const struct source_time *t);
/* After a partition became idle or ended: the others may allow a later watermark. */
void source_time_advance(struct source_time *t);

static inline int64_t window_start(int64_t t, int64_t size, int64_t offset)
{
    int64_t rest = (t - offset) % size;
    return t - (rest < 0 ? rest + size : rest);
}
/* The pane of a time, by its start; the window ends on the grid of panes. */
static inline int64_t window_pane(const struct window_spec *w, int64_t t)
{
    return window_start(t, w->step_us, w->offset_us);
}
/* The end of the last window that a pane (or a time) is in; the first one ends where the pane does. */
static inline int64_t window_last_end(const struct window_spec *w, int64_t t)
{
    return (w->kind == WINDOW_HOP ? window_pane(w, t) : window_start(t, w->size_us, w->offset_us)) + w->size_us;
}
/* Where the window that ends at `end` begins. */
static inline int64_t window_begin(const struct window_spec *w, int64_t end)
{
    return w->kind == WINDOW_CUMULATE ? window_start(end - w->step_us, w->size_us, w->offset_us) : end - w->size_us;
}
static inline bool window_is_over(int64_t end, int64_t watermark)
{
    return watermark >= end - WINDOW_LAST_US;
}

#endif
