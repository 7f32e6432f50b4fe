/* os_rng.c: chance from the kernel. No pool of ours: it is asked for identifiers, not per record, and holds no state to
 * share. */
#include "sys/os.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t os_rng_next(struct rng *r)
{
    uint64_t v;
    ssize_t n;

    do
        n = getrandom(&v, sizeof(v), 0);
    while (n < 0 && errno == EINTR);
    check(n == (ssize_t)sizeof(v));
    return v;
}

struct rng *os_rng(void)
{
    static struct rng the_rng = {os_rng_next};
    return &the_rng;
}
