/* os_clock.c: the clocks of the system. CLOCK_MONOTONIC and not CLOCK_BOOTTIME: timeouts of peers do not run while the
 * machine sleeps. */
#include "sys/os.h"

#include <time.h>

static uint64_t os_mono_ns(struct clock *c)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int64_t os_wall_ms(struct clock *c)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct clock *os_clock(void)
{
    static struct clock the_clock = {os_mono_ns, os_wall_ms};
    return &the_clock;
}
