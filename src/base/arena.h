/* arena.h: memory with one common end of life. Allocation is a pointer bump; arena_reset() takes everything back and
 * keeps the blocks (those above 1 MiB are freed), so that a steady request path calls no malloc. Not thread-safe: one
 * owner. Out of memory is a check failure for small control-plane allocations by design: limits are enforced before. */
#ifndef WEIR_BASE_ARENA_H
#define WEIR_BASE_ARENA_H

#include "base/bytes.h"
#include "base/check.h"

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    struct arena_block *spare;  /* kept by reset */
    uint8_t *at, *end;          /* free room of the newest block */
    size_t block_size;          /* size of an ordinary block; larger requests get a block of their own */
    size_t used_bytes;          /* handed out since the last reset */
};

void arena_init(struct arena *a, size_t block_size); /* no allocation until first use; 0 takes 16 KiB */
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a);
/* 16-byte aligned, not zeroed. Never NULL. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_alloc_zero(struct arena *a, size_t size);
/* n * size with overflow check. Zeroed. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* Copies; null stays null. The copy is followed by a NUL byte that is not counted. */
struct bytes arena_copy(struct arena *a, struct bytes b);
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for the next allocation of up to so many bytes, for sizes that come from outside. False: no memory; nothing has
 * changed. */
bool arena_reserve(struct arena *a, size_t size);

#define arena_new(a, type) ((type *)arena_alloc_zero((a), sizeof(type)))

#endif
