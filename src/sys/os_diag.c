/* os_diag.c: logfmt on a file descriptor.
 *
 *   ts=2026-03-01T12:00:00.123Z level=info room=log msg="recovered 3 segments"
 *
 * One write() per line, so that lines of several threads and processes do not mix (writes to a pipe are atomic up to
 * PIPE_BUF, 4 KiB; a line is shorter). No buffer and no lock for the same reason; nothing is lost in a crash. */
#include "sys/os.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/civil.h"

#define LINE_MAX_BYTES 2048

struct os_diag {
    struct diag diag;
    int fd; /* borrowed */
};

static const char *level_name(enum diag_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    return (unsigned)level < ARRAY_LEN(names) ? names[level] : "debug";
}

/* Appends text in quotes. Returns the new length; always leaves room for the closing quote and the newline. */
static size_t put_quoted(char *line, size_t len, size_t cap, const char *text)
{
    line[len++] = '"';
    for (const unsigned char *p = (const unsigned char *)text; *p && len + 8 < cap; p++) {
        if (*p == '"' || *p == '\\') {
            line[len++] = '\\';
            line[len++] = (char)*p;
        } else if (*p == '\n') {
            line[len++] = '\\';
            line[len++] = 'n';
        } else if (*p < 0x20 || *p == 0x7f) {
            len += (size_t)snprintf(line + len, 5, "\\x%02x",
                                    *p); /* a peer's bytes do not steer the operator's terminal */
        } else {
            line[len++] = (char)*p;
        }
    }
    line[len++] = '"';
    return len;
}

static void os_diag_write(struct diag *d, enum diag_level level, const char *room, const char *text)
{
    struct os_diag *o = CONTAINER_OF(d, struct os_diag, diag);
    char line[LINE_MAX_BYTES], ts[40];
    size_t len, at = 0;

    if (level > d->level) return;
    len = civil_format_us(ts, os_clock()->wall_ms(os_clock()) * 1000, 3, 'T');
    len = (size_t)snprintf(line, sizeof(line), "ts=%.*sZ level=%s room=%.40s msg=", (int)len, ts, level_name(level),
                           room);
    len = put_quoted(line, len, sizeof(line), text);
    line[len++] = '\n';
    while (at < len) {
        ssize_t n = write(o->fd, line + at, len - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* nobody is left to tell */
        at += (size_t)n;
    }
}

struct diag *os_diag_create(int fd, enum diag_level level)
{
    struct os_diag *o = calloc(1, sizeof(*o));

    check(o != NULL);
    o->diag = (struct diag){.write = os_diag_write, .level = level};
    o->fd = fd;
    return &o->diag;
}

void os_diag_destroy(struct diag *d)
{
    if (d != NULL) free(CONTAINER_OF(d, struct os_diag, diag));
}
