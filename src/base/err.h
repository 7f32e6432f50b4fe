/* err.h: the one error type of the code base.
 *
 * Leaf functions return an err_code; the door of a room also fills the caller's struct err, so that failing
 * allocates nothing. An error is handled once: returned or written to the diag, never both.
 * `struct err *e` may always be NULL where a caller needs only the code.
 *
 *   return err_set(e, ERR_CORRUPT, "batch at %llu: checksum does not match", off);
 *   return err_wrap(e, rc, "opening partition %s", dir);      (prefixes the text that is there) */
#ifndef WEIR_BASE_ERR_H
#define WEIR_BASE_ERR_H

#include <stdbool.h>

#include "base/check.h"

enum err_code {
    ERR_NONE = 0,
    ERR_INVALID,  /* the caller's argument or a user's input is wrong */
    ERR_PROTOCOL, /* malformed bytes from a peer */
    ERR_CORRUPT,  /* bytes on disk are not what was written */
    ERR_NOT_FOUND,
    ERR_EXISTS,
    ERR_FULL,     /* a bounded thing is full: try later or roll */
    ERR_NO_SPACE, /* the disk is full; resumes by itself when space returns */
    ERR_IO,       /* the operating system failed a read, write or sync; errno in os_errno */
    ERR_MEMORY,
    ERR_LIMIT,       /* a named limit would be exceeded */
    ERR_TOO_LARGE,   /* one message or batch above its limit */
    ERR_UNSUPPORTED, /* known but not served here (version, type, codec) */
    ERR_BUSY,        /* in use by another process or owner */
    ERR_DENIED,      /* not permitted */
    ERR_CLOSED,      /* the thing is closed or shutting down */
    ERR_TIMEOUT,
    ERR_CANCELLED,
    ERR_RANGE,      /* offset outside of what is stored */
    ERR_SEQUENCE,   /* out of order sequence of an idempotent producer */
    ERR_DUPLICATE,  /* already stored; the original's place is given */
    ERR_FENCED,     /* an older epoch or incarnation than the current one */
    ERR_MEMBER,     /* unknown group member */
    ERR_GENERATION, /* wrong group generation */
    ERR_REBALANCE,  /* group is rebalancing: rejoin */
    ERR_TIMESTAMP,  /* timestamp outside of what the topic accepts */
    ERR_TXN_STATE,  /* not possible in the state the transaction is in */
    ERR_STOPPED,    /* this partition stopped after a failed sync; needs recovery */
    ERR_CODE_COUNT
};

struct err {
    enum err_code code;
    int os_errno;     /* 0 when the operating system is not involved */
    const char *file; /* where it was first set */
    int line;
    char text[400]; /* what, where; one line, no trailing newline */
    char hint[160]; /* what to do; may be empty */
};

/* Short stable name, e.g. "corrupt". */
const char *err_name(enum err_code code);
/* True when the same call may succeed later without a change by the caller. */
bool err_is_retriable(enum err_code code);

enum err_code err_set_at(struct err *e, enum err_code code, const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* Appends ": strerror(os_errno)". ENOSPC/EDQUOT become ERR_NO_SPACE, EACCES/EPERM ERR_DENIED, ENOENT ERR_NOT_FOUND,
 * EEXIST ERR_EXISTS, ENOMEM ERR_MEMORY, all others ERR_IO. Returns that code. */
enum err_code err_set_os_at(struct err *e, int os_errno, const char *file, int line, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
/* Puts "<fmt>: " in front of the text; code and place stay. Returns rc. */
enum err_code err_wrap(struct err *e, enum err_code rc, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Sets the hint; keeps everything else. */
void err_hint(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
void err_clear(struct err *e);

#define err_set(e, code, ...) err_set_at((e), (code), __FILE__, __LINE__, __VA_ARGS__)
#define err_set_os(e, os, ...) err_set_os_at((e), (os), __FILE__, __LINE__, __VA_ARGS__)

#endif
