/* os_misc.c: clock, randomness, threads and diag of the real world. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/civil.h"
#include "sys/os.h"

static uint64_t mono_ns(struct clock *c)
{
    struct timespec t;
    (void)c;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t wall_ms(struct clock *c)
{
    struct timespec t;
    (void)c;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct clock *os_clock(void)
{
    static struct clock c = {mono_ns, wall_ms};
    return &c;
}

static uint64_t rng_next(struct rng *r)
{
    uint64_t v = 0;
    (void)r;
    while (getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v) {
        check(errno == EINTR);
    }
    return v;
}

struct rng *os_rng(void)
{
    static struct rng r = {rng_next};
    return &r;
}

/* ---- threads ---- */

#define STACK_BYTES (1u << 20)

struct os_thread {
    pthread_t thread;
    void (*fn)(void *arg);
    void *arg;
};

static void *thread_main(void *arg)
{
    struct os_thread *t = arg;
    t->fn(t->arg);
    return NULL;
}

enum err_code os_thread_start(struct os_thread **out, void (*fn)(void *arg), void *arg, struct err *e)
{
    struct os_thread *t = calloc(1, sizeof *t);
    pthread_attr_t attr;
    int rc;
    *out = NULL;
    if (t == NULL) return err_set(e, ERR_MEMORY, "starting a thread: out of memory");
    t->fn = fn;
    t->arg = arg;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    rc = pthread_create(&t->thread, &attr, thread_main, t);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        free(t);
        return err_set_os(e, rc, "starting a thread");
    }
    *out = t;
    return ERR_NONE;
}

void os_thread_join(struct os_thread *t)
{
    if (t == NULL) return;
    pthread_join(t->thread, NULL);
    free(t);
}

/* ---- diag ---- */

struct os_diag {
    struct diag diag;
    int fd;
};

static void diag_write(struct diag *d, enum diag_level level, const char *room, const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    struct os_diag *o = CONTAINER_OF(d, struct os_diag, diag);
    char line[1024], time_text[48];
    size_t n = civil_format_us(time_text, wall_ms(NULL) * 1000, 3, 'T');
    int len;
    ssize_t written;
    time_text[n] = 0;
    len = snprintf(line, sizeof line - 2, "ts=%sZ level=%s room=%s msg=\"", time_text, names[level], room);
    for (const char *p = text; *p != 0 && (size_t)len < sizeof line - 4; p++) {
        if (*p == '"' || *p == '\\') line[len++] = '\\';
        line[len++] = (unsigned char)*p < 0x20 ? ' ' : *p;
    }
    line[len++] = '"';
    line[len++] = '\n';
    /* One call, so that lines of several threads do not mix. Nobody can be told when it fails. */
    written = write(o->fd, line, (size_t)len);
    (void)written;
}

void diag_printf(struct diag *d, enum diag_level level, const char *room, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    if (d == NULL || level > d->level) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    d->write(d, level, room, text);
}

struct diag *os_diag_create(int fd, enum diag_level level)
{
    struct os_diag *o = calloc(1, sizeof *o);
    if (o == NULL) return NULL;
    o->diag = (struct diag){diag_write, level};
    o->fd = fd;
    return &o->diag;
}

void os_diag_destroy(struct diag *d)
{
    if (d != NULL) free(CONTAINER_OF(d, struct os_diag, diag));
}
