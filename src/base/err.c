/* err.c: see err.h. Text is formatted into a local buffer first, so that arguments may point into the error itself
 * (err_wrap(e, rc, "%s", e->text) is legal). Text is kept on one line: bytes below space become a space, because a file
 * name or a client id may carry anything and diag lines are read by machines. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const NAMES[ERR_CODE_COUNT] = {
    [ERR_NONE] = "none",
    [ERR_INVALID] = "invalid",
    [ERR_PROTOCOL] = "protocol",
    [ERR_CORRUPT] = "corrupt",
    [ERR_NOT_FOUND] = "not-found",
    [ERR_EXISTS] = "exists",
    [ERR_FULL] = "full",
    [ERR_NO_SPACE] = "no-space",
    [ERR_IO] = "io",
    [ERR_MEMORY] = "memory",
    [ERR_LIMIT] = "limit",
    [ERR_TOO_LARGE] = "too-large",
    [ERR_UNSUPPORTED] = "unsupported",
    [ERR_BUSY] = "busy",
    [ERR_DENIED] = "denied",
    [ERR_CLOSED] = "closed",
    [ERR_TIMEOUT] = "timeout",
    [ERR_CANCELLED] = "cancelled",
    [ERR_RANGE] = "range",
    [ERR_SEQUENCE] = "sequence",
    [ERR_DUPLICATE] = "duplicate",
    [ERR_FENCED] = "fenced",
    [ERR_MEMBER] = "member",
    [ERR_GENERATION] = "generation",
    [ERR_REBALANCE] = "rebalance",
    [ERR_TIMESTAMP] = "timestamp",
    [ERR_TXN_STATE] = "txn_state",
    [ERR_STOPPED] = "stopped",
};

const char *err_name(enum err_code code)
{
    if ((unsigned)code >= ERR_CODE_COUNT) return "unknown";
    return NAMES[code];
}

bool err_is_retriable(enum err_code code)
{
    switch (code) {
    case ERR_FULL:
    case ERR_NO_SPACE:
    case ERR_MEMORY:
    case ERR_BUSY:
    case ERR_TIMEOUT:
    case ERR_REBALANCE: return true;
    default: return false;
    }
}

/* Copies `text` into `out`, cut to fit, on one line. */
static void put_line(char *out, size_t size, const char *text)
{
    size_t n = 0;
    while (text[n] != '\0' && n + 1 < size) {
        out[n] = (unsigned char)text[n] < 0x20 ? ' ' : text[n];
        n++;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
}

static void set_place(struct err *e, enum err_code code, int os_errno, const char *file, int line)
{
    e->code = code;
    e->os_errno = os_errno;
    e->file = file;
    e->line = line;
    e->hint[0] = '\0';
}

enum err_code err_set_at(struct err *e, enum err_code code, const char *file, int line, const char *fmt, ...)
{
    char text[sizeof e->text];
    va_list ap;

    if (e == NULL) return code;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    set_place(e, code, 0, file, line);
    put_line(e->text, sizeof e->text, text);
    return code;
}

static enum err_code code_of_errno(int os_errno)
{
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT: return ERR_NO_SPACE;
    case EACCES:
    case EPERM: return ERR_DENIED;
    case ENOENT: return ERR_NOT_FOUND;
    case EEXIST: return ERR_EXISTS;
    case ENOMEM: return ERR_MEMORY;
    default: return ERR_IO;
    }
}

enum err_code err_set_os_at(struct err *e, int os_errno, const char *file, int line, const char *fmt, ...)
{
    enum err_code code = code_of_errno(os_errno);
    char text[sizeof e->text + 128];
    char reason[96];
    va_list ap;
    int n;

    if (e == NULL) return code;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    /* A long path must not push the reason out of the text. */
    if ((size_t)n > sizeof e->text - sizeof reason) n = (int)(sizeof e->text - sizeof reason);
    snprintf(text + n, sizeof text - (size_t)n, ": %s", strerror_r(os_errno, reason, sizeof reason));
    set_place(e, code, os_errno, file, line);
    put_line(e->text, sizeof e->text, text);
    return code;
}

enum err_code err_wrap(struct err *e, enum err_code rc, const char *fmt, ...)
{
    char text[2 * sizeof e->text];
    va_list ap;
    int n;

    if (e == NULL || rc == ERR_NONE) return rc;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    if ((size_t)n >= sizeof e->text) n = (int)sizeof e->text - 1;
    if (e->code == ERR_NONE) { /* a leaf that returns codes only */
        set_place(e, rc, 0, NULL, 0);
        put_line(e->text, sizeof e->text, err_name(rc));
    }
    snprintf(text + n, sizeof text - (size_t)n, ": %s", e->text);
    put_line(e->text, sizeof e->text, text);
    return rc;
}

void err_hint(struct err *e, const char *fmt, ...)
{
    char text[sizeof e->hint];
    va_list ap;

    if (e == NULL) return;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    put_line(e->hint, sizeof e->hint, text);
}

void err_clear(struct err *e)
{
    if (e == NULL) return;
    set_place(e, ERR_NONE, 0, NULL, 0);
    e->text[0] = '\0';
}
