/* map.c: an insertion-ordered hash table: an array of entries, and open-addressed slots that hold indexes into it.
 *
 * M1  n_entries = live entries + holes; cap_entries = 3/4 of n_slots, so a probe always meets an empty slot.
 * M2  A live entry has exactly one slot. A removed entry leaves a hole (key.ptr NULL) and a tombstone slot.
 * M3  Only map_put moves entries (rebuild drops the holes). map_remove moves nothing: iteration goes on.
 * Why not chained buckets: one malloc per entry less, and iteration order is that of insertion, on every machine. */
#include "base/map.h"

#include <stdlib.h>

#include "base/hash.h"

#define SLOT_EMPTY 0u
#define SLOT_TOMB UINT32_MAX
#define SLOTS_MIN 8u
#define SLOTS_MAX (1u << 30)

void map_init(struct map *m)
{
    *m = (struct map){0};
}

static void free_key(struct bytes key)
{
    union { /* the map made this memory; -Wcast-qual does not know */
        const uint8_t *borrowed;
        void *owned;
    } p = {.borrowed = key.ptr};
    free(p.owned);
}

void map_deinit(struct map *m)
{
    for (uint32_t i = 0; i < m->n_entries; i++)
        free_key(m->entries[i].key);
    free(m->entries);
    free(m->slots);
    map_init(m);
}

/* The slot that holds `key`, or UINT32_MAX. *free_slot, when asked for, is where it would go. */
static uint32_t find(const struct map *m, struct bytes key, uint64_t hash, uint32_t *free_slot)
{
    uint32_t mask = m->n_slots - 1;
    uint32_t tomb = UINT32_MAX;

    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        uint32_t slot = m->slots[i];
        if (slot == SLOT_EMPTY) {
            if (free_slot) *free_slot = tomb != UINT32_MAX ? tomb : i;
            return UINT32_MAX;
        }
        if (slot == SLOT_TOMB) {
            if (tomb == UINT32_MAX) tomb = i;
            continue;
        }
        const struct map_entry *entry = &m->entries[slot - 1];
        if (entry->hash == hash && bytes_equal(entry->key, key)) return i;
    }
}

void *map_get(const struct map *m, struct bytes key)
{
    if (m->n_live == 0 || key.ptr == NULL) return NULL;
    uint32_t slot = find(m, key, hash64(key.ptr, key.len), NULL);
    return slot == UINT32_MAX ? NULL : m->entries[m->slots[slot] - 1].value;
}

void *map_get_str(const struct map *m, const char *key)
{
    return map_get(m, bytes_str(key));
}

/* Drops holes and tombstones, and leaves room for as many entries again as there are. */
static void rebuild(struct map *m)
{
    uint32_t n_slots = SLOTS_MIN;
    while (n_slots / 4 * 3 < 2 * (m->n_live + 1))
        n_slots *= 2;
    check(n_slots <= SLOTS_MAX);

    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n_entries; i++) {
        if (m->entries[i].key.ptr != NULL) m->entries[n++] = m->entries[i];
    }
    check(n == m->n_live);
    m->cap_entries = n_slots / 4 * 3;
    struct map_entry *entries = realloc(m->entries, m->cap_entries * sizeof *entries);
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    check(entries != NULL && slots != NULL);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)entries[i].hash & (n_slots - 1);
        while (slots[at] != SLOT_EMPTY)
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    free(m->slots);
    m->entries = entries;
    m->slots = slots;
    m->n_slots = n_slots;
    m->n_entries = n;
    m->n_tombs = 0;
}

void *map_put(struct map *m, struct bytes key, void *value)
{
    check(key.ptr != NULL && value != NULL);
    uint64_t hash = hash64(key.ptr, key.len);
    uint32_t at = 0;

    if (m->n_slots != 0) {
        uint32_t slot = find(m, key, hash, &at);
        if (slot != UINT32_MAX) {
            struct map_entry *entry = &m->entries[m->slots[slot] - 1];
            void *before = entry->value;
            entry->value = value;
            return before;
        }
    }
    uint8_t *copy = malloc(key.len + 1); /* before rebuild: `key` may be the caller's view of anything */
    check(copy != NULL);
    memcpy(copy, key.ptr, key.len);
    copy[key.len] = 0;
    if (m->n_entries == m->cap_entries) {
        rebuild(m);
        check(find(m, bytes_of(copy, key.len), hash, &at) == UINT32_MAX);
    }
    if (m->slots[at] == SLOT_TOMB) m->n_tombs--;
    m->entries[m->n_entries] = (struct map_entry){.key = bytes_of(copy, key.len), .value = value, .hash = hash};
    m->slots[at] = ++m->n_entries;
    m->n_live++;
    return NULL;
}

void *map_remove(struct map *m, struct bytes key)
{
    if (m->n_live == 0 || key.ptr == NULL) return NULL;
    uint32_t slot = find(m, key, hash64(key.ptr, key.len), NULL);
    if (slot == UINT32_MAX) return NULL;
    struct map_entry *entry = &m->entries[m->slots[slot] - 1];
    void *value = entry->value;
    free_key(entry->key); /* `key` may be this very memory: not touched below */
    *entry = (struct map_entry){0};
    m->slots[slot] = SLOT_TOMB;
    m->n_tombs++;
    m->n_live--;
    return value;
}

uint32_t map_count(const struct map *m)
{
    return m->n_live;
}

struct map_entry *map_next(const struct map *m, uint32_t *pos)
{
    while (*pos < m->n_entries) {
        struct map_entry *entry = &m->entries[(*pos)++];
        if (entry->key.ptr != NULL) return entry;
    }
    return NULL;
}
