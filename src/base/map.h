/* map.h: hash table from byte strings to pointers. Keys are copied. Iteration is in insertion order (deterministic:
 * never pointer or hash order); removing the current entry while iterating is allowed, putting is not. One owner. */
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

#include "base/bytes.h"
#include "base/check.h"

struct map_entry {
    struct bytes key; /* owned by the map; key.ptr == NULL marks a removed slot inside the map */
    void *value;      /* the caller's */
    uint64_t hash;
};
struct map {
    struct map_entry *entries; /* insertion order, with holes */
    uint32_t *slots;           /* open addressing: entry index + 1, 0 empty, UINT32_MAX removed */
    uint32_t n_entries, cap_entries, n_slots, n_live, n_tombs;
};

void map_init(struct map *m);
void map_deinit(struct map *m);                       /* keys only; values are the caller's */
void *map_get(const struct map *m, struct bytes key); /* NULL when absent */
void *map_get_str(const struct map *m, const char *key);
/* Returns the value that was there before (NULL: none). `value` must not be NULL. */
void *map_put(struct map *m, struct bytes key, void *value);
void *map_remove(struct map *m, struct bytes key); /* the value removed, or NULL */
uint32_t map_count(const struct map *m);
/* *pos starts at 0; NULL at the end. */
struct map_entry *map_next(const struct map *m, uint32_t *pos);

#endif
