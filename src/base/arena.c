/* arena.c: blocks in two lists, those in use (newest first) and those kept by the last reset.
 *
 * A1  [at, end) lies in the newest block in use, or is empty.
 * A2  Every pointer handed out is 16-byte aligned and valid until the next reset.
 * A3  A reset keeps blocks of up to ARENA_KEEP_BYTES_MAX and frees larger ones: one huge request must not hold its
 *     memory for the life of a connection, and a malloc next to the work of filling a megabyte does not show.
 *
 * Under AddressSanitizer the free room is poisoned, so that an overrun inside a block is found like one of malloc. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(ptr, len) ASAN_POISON_MEMORY_REGION((ptr), (len))
#define UNPOISON(ptr, len) ASAN_UNPOISON_MEMORY_REGION((ptr), (len))
#else
#define POISON(ptr, len) ((void)(ptr), (void)(len))
#define UNPOISON(ptr, len) ((void)(ptr), (void)(len))
#endif

#define ARENA_BLOCK_DEFAULT (16u << 10)
#define ARENA_KEEP_BYTES_MAX (1u << 20)
#define ARENA_ALIGN 16u

struct arena_block {
    struct arena_block *next;
    size_t size; /* of data */
    _Alignas(16) uint8_t data[];
};

void arena_init(struct arena *a, size_t block_size)
{
    *a = (struct arena){.block_size = block_size ? block_size : ARENA_BLOCK_DEFAULT};
}

static void free_list(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        UNPOISON(block->data, block->size);
        free(block);
        block = next;
    }
}

void arena_deinit(struct arena *a)
{
    free_list(a->blocks);
    free_list(a->spare);
    arena_init(a, a->block_size);
}

void arena_reset(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        if (block->size > ARENA_KEEP_BYTES_MAX) {
            block->next = NULL;
            free_list(block);
        } else {
            POISON(block->data, block->size);
            block->next = a->spare;
            a->spare = block;
        }
    }
    a->at = a->end = NULL;
    a->used_bytes = 0;
}

/* Takes the first spare block that is large enough; ordinary requests meet ordinary blocks at once. NULL: no memory. */
static struct arena_block *take_block(struct arena *a, size_t size)
{
    for (struct arena_block **link = &a->spare; *link != NULL; link = &(*link)->next) {
        struct arena_block *block = *link;
        if (block->size >= size) {
            *link = block->next;
            return block;
        }
    }
    if (size < a->block_size) size = a->block_size;
    struct arena_block *block = malloc(sizeof *block + size);
    if (block == NULL) return NULL;
    block->size = size;
    POISON(block->data, size);
    return block;
}

void *arena_alloc(struct arena *a, size_t size)
{
    check(size <= PTRDIFF_MAX - 4096);
    size_t need = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (need == 0) need = ARENA_ALIGN; /* distinct pointers, never NULL */
    if (UNLIKELY(need > (size_t)(a->end - a->at))) {
        struct arena_block *block = take_block(a, need);
        check(block != NULL);
        if (a->blocks != NULL && block->size - need < (size_t)(a->end - a->at)) {
            /* A block of its own: the current one has more room left and stays the newest. */
            block->next = a->blocks->next;
            a->blocks->next = block;
            a->used_bytes += need;
            UNPOISON(block->data, size);
            return block->data;
        }
        block->next = a->blocks;
        a->blocks = block;
        a->at = block->data;
        a->end = block->data + block->size;
    }
    void *ptr = a->at;
    a->at += need;
    a->used_bytes += need;
    UNPOISON(ptr, size);
    return ptr;
}

bool arena_reserve(struct arena *a, size_t size)
{
    if (size > PTRDIFF_MAX - 4096) return false;
    size_t need = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (need <= (size_t)(a->end - a->at)) return true;
    struct arena_block *block = take_block(a, need);
    if (block == NULL) return false;
    block->next = a->blocks;
    a->blocks = block;
    a->at = block->data;
    a->end = block->data + block->size;
    return true;
}

void *arena_alloc_zero(struct arena *a, size_t size)
{
    return memset(arena_alloc(a, size), 0, size);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;
    check(!__builtin_mul_overflow(n, size, &total));
    return arena_alloc_zero(a, total);
}

struct bytes arena_copy(struct arena *a, struct bytes b)
{
    if (b.ptr == NULL) return BYTES_NULL;
    uint8_t *copy = arena_alloc(a, b.len + 1);
    memcpy(copy, b.ptr, b.len);
    copy[b.len] = 0;
    return bytes_of(copy, b.len);
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(arena_alloc(a, n), s, n);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    check(n >= 0);
    char *text = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}
