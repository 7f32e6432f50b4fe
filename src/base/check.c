/* check.c: the end of a process whose invariant broke. Aborts: a core dump of the moment is worth more than an orderly
 * exit from a state that nobody understands. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *expr)
{
    fprintf(stderr, "weir: check failed at %s:%d: %s\n", file, line, expr);
    abort();
}
