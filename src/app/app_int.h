/* app_int.h: parts of the command line that stand in one file and are tested from another. */
#ifndef WEIR_APP_APP_INT_H
#define WEIR_APP_APP_INT_H

#include "app/cli.h"

/* ---- cmd_consume.c ---- */
enum bound_kind { BOUND_NONE, BOUND_START, BOUND_END, BOUND_OFFSET, BOUND_AFTER_START, BOUND_BEFORE_END, BOUND_TIME };
struct bound {
    enum bound_kind kind;
    int64_t value;
};
/* --offset of `weir consume`. False: not a range. to->kind BOUND_NONE: no end was given. */
bool consume_parse_range(const char *text, int64_t now_ms, struct bound *from, struct bound *to);

/* ---- cli.c ---- */
/* Lines of an INI file in memory, against the options of the command that `serve` is: 0, or the number of the first bad
 * line and why. */
int cli_check_ini(const char *text, char *why, size_t why_cap);

#endif
