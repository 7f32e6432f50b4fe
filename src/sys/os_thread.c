/* os_thread.c: a thread of its own, and address space reserved for a purpose. */
#include "sys/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

struct os_thread {
    pthread_t id;
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
    struct os_thread *t = calloc(1, sizeof(*t));
    int rc;

    *out = NULL;
    if (t == NULL) return err_set(e, ERR_MEMORY, "starting a thread: out of memory");
    t->fn = fn;
    t->arg = arg;
    rc = pthread_create(&t->id, NULL, thread_main, t);
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
    check(pthread_join(t->id, NULL) == 0);
    free(t);
}

void *os_reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) return NULL;
    (void)madvise(p, bytes, MADV_NOHUGEPAGE); /* a small file must not cost a huge page */
    return p;
}

void os_release(void *p, size_t bytes)
{
    if (p != NULL) check(munmap(p, bytes) == 0);
}
