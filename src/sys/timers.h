/* timers.h: the timers of one loop: a binary heap by (time, start order). Both loops use it, so both break ties alike.
 */
#ifndef WEIR_SYS_TIMERS_H
#define WEIR_SYS_TIMERS_H

#include "sys/sys.h"

struct timers {
    struct timer **heap; /* owned; heap[i]->slot == i + 1 */
    size_t n, cap;
    uint64_t seq;
};
void timers_deinit(struct timers *ts); /* timers that are still in it are forgotten: their slot becomes 0 */
void timers_start(struct timers *ts, struct timer *t, uint64_t at_ns); /* started already: moves it */
void timers_stop(struct timers *ts, struct timer *t);                  /* harmless when not started */
struct timer *timers_top(const struct timers *ts);                     /* NULL: none */

#endif
