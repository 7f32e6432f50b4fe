/* check.h: judges a history. What must hold, whoever wrote it: the list stands above each part. Pure: it reads the
 * history and writes what is wrong to a stream. */
#ifndef WEIR_SIM_CHECK_H
#define WEIR_SIM_CHECK_H

#include "history.h"

/* The number of things that are wrong; each is one line on `out`. */
int history_check(const struct history *h, FILE *out);

#endif
