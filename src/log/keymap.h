/* keymap.h: the newest offset of each key of a stretch of a log; what compaction knows about keys. Bounded. One owner
 * at a time. */
#ifndef WEIR_LOG_KEYMAP_H
#define WEIR_LOG_KEYMAP_H

#include "base/bytes.h"
#include "base/hash.h"

struct keymap_entry {
    struct hash128 key;
    int64_t offset; /* -1: free */
};
struct keymap {
    struct keymap_entry *entries; /* owned */
    size_t n_slots, n, n_max;
    uint64_t seed;
};

/* Holds at most bytes_max of memory (LIMIT_COMPACT_MAP_BYTES), but room for a few keys in any case. */
void keymap_init(struct keymap *m, size_t bytes_max, uint64_t seed);
void keymap_deinit(struct keymap *m);
/* Offsets must rise from call to call. False: the key is new and there is no room; nothing changed. */
bool keymap_put(struct keymap *m, struct bytes key, int64_t offset);
/* -1: the key is not known. */
int64_t keymap_get(const struct keymap *m, struct bytes key);

#endif
