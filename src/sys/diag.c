/* diag.c: the formatting half of diag, the same for every implementation. */
#include "sys/sys.h"

#include <stdarg.h>
#include <stdio.h>

#define TEXT_MAX 1024 /* longer words to the operator are cut: a line is for reading */

void diag_printf(struct diag *d, enum diag_level level, const char *room, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list args;

    if (d == NULL || level > d->level) return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    d->write(d, level, room, text);
}
