/* os_map.c: a mapped page that the disk cannot read is an error and not the end of the process.
 *
 *   touch of a bad page ──▶ SIGBUS, in the touching thread ──▶ find the mapping ──▶ note the page, put zeros there
 *                                                                      └── none of ours: as before (the process ends)
 *   reader, after touching ──▶ os_map_has_failed ──▶ ERR_IO
 *
 * M1  The table is blocks of entries that are never freed and only read and written atomically: the handler takes no
 *     lock and allocates nothing. The thread that touches a mapping holds its file, so its entry does not change.
 * M2  The failed range is written before the zeros are in place: who sees them finds it.
 * M3  The range of an entry only grows until the mapping ends. A later open of the file reads the disk again.
 *
 * Why not sigsetjmp around each touch: readers touch bytes in many places (heads, checksums, records, columns), on
 * several threads, and a jump would leave their locks and memory behind. Why not fail-stop: one bad sector of an old
 * segment would take all topics down, and again after each restart as soon as someone reads there. What the kernel
 * touches for us (a send from the page cache) answers EFAULT by itself and closes that connection. */
#include "sys/os_map.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "sys/os.h"

#define BLOCK_ENTRIES 256

struct os_map {
    _Atomic uintptr_t start, end;             /* end 0: free */
    _Atomic uintptr_t failed_from, failed_to; /* addresses; to 0: none */
};
struct block {
    struct os_map entries[BLOCK_ENTRIES];
    struct block *_Atomic next;
};

static struct block first_block;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of those that enter; entries are taken under it */
static struct sigaction before;
static long page_bytes;

struct os_map *os_map_enter(const void *start, size_t len)
{
    struct os_map *found = NULL;
    struct block *b = &first_block;

    pthread_mutex_lock(&lock);
    while (found == NULL && b != NULL) {
        for (int i = 0; i < BLOCK_ENTRIES && found == NULL; i++)
            if (atomic_load(&b->entries[i].end) == 0) found = &b->entries[i];
        struct block *next = atomic_load(&b->next);
        if (found == NULL && next == NULL) {
            next = calloc(1, sizeof(*next));
            if (next != NULL) atomic_store(&b->next, next);
        }
        b = next;
    }
    if (found != NULL) {
        atomic_store(&found->failed_to, 0);
        atomic_store(&found->start, (uintptr_t)start);
        atomic_store(&found->end, (uintptr_t)start + len);
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void os_map_leave(struct os_map *m)
{
    if (m != NULL) atomic_store(&m->end, 0);
}

bool os_map_has_failed(struct os_map *m, uint64_t from, size_t len)
{
    if (m == NULL) return false;
    uintptr_t to = atomic_load(&m->failed_to);
    if (to == 0) return false;
    uintptr_t start = atomic_load(&m->start);
    return atomic_load(&m->failed_from) < start + from + len && start + from < to;
}

/* ---- in the signal handler ---- */

static struct os_map *find(uintptr_t at)
{
    for (struct block *b = &first_block; b != NULL; b = atomic_load(&b->next))
        for (int i = 0; i < BLOCK_ENTRIES; i++)
            if (at >= atomic_load(&b->entries[i].start) && at < atomic_load(&b->entries[i].end)) return &b->entries[i];
    return NULL;
}

static void note(struct os_map *m, uintptr_t from, uintptr_t to)
{
    uintptr_t known_to = atomic_load(&m->failed_to), known_from = atomic_load(&m->failed_from);

    if (known_to == 0 || from < known_from) atomic_store(&m->failed_from, from);
    if (to > known_to) atomic_store(&m->failed_to, to);
}

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
    static const char words[] = "weir: the disk failed to read a page of a mapped file; its readers get an error\n";
    uintptr_t at = (uintptr_t)info->si_addr & ~((uintptr_t)page_bytes - 1);
    struct os_map *m = find(at);

    if (m != NULL) {
        bool is_first = atomic_load(&m->failed_to) == 0;
        note(m, at, at + (uintptr_t)page_bytes); /* M2 */
        void *page = (void *)at;                 /* NOLINT: an address is what a signal gives */
        if (mmap(page, (size_t)page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) {
            if (is_first) (void)!write(STDERR_FILENO, words, sizeof(words) - 1);
            return;
        }
    }
    (void)sigaction(signo, &before, NULL); /* Touching it again ends as it would have without us. */
}

static void install(void)
{
    struct sigaction a;

    page_bytes = sysconf(_SC_PAGESIZE);
    check(page_bytes > 0);
    memset(&a, 0, sizeof(a));
    a.sa_sigaction = on_sigbus;
    a.sa_flags = SA_SIGINFO;
    (void)sigemptyset(&a.sa_mask);
    check(sigaction(SIGBUS, &a, &before) == 0);
}

void os_fs_catch_bus_errors(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    check(pthread_once(&once, install) == 0);
}
