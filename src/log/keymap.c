/* keymap.c: an open-addressing table from 128-bit hashes of keys to offsets, 24 bytes a place.
 *
 * K1  A key stands in the table by its hash alone. Two keys with the same hash would make the older one's record look
 *     replaced: with 128 bits and a seed that nobody outside knows this needs about 2^64 keys to become likely, which is
 *     less often than the disk returns a wrong sector with a right checksum. Comparing the bytes would mean a random
 *     read of the log for each record.
 * K2  At most 3/4 of the places are taken, so a look-up ends soon. The table doubles until it has reached its bound;
 *     then it takes no new key, and the cleaning is cut into several passes. */
#include "log/keymap.h"

#include <stdlib.h>

#include "base/check.h"

#define SLOTS_MIN 64u

void keymap_init(struct keymap *m, size_t bytes_max, uint64_t seed)
{
    size_t slots = SLOTS_MIN;

    while (2 * slots * sizeof(struct keymap_entry) <= bytes_max)
        slots *= 2;
    *m = (struct keymap){.n_max = slots / 4 * 3, .seed = seed};
}

void keymap_deinit(struct keymap *m)
{
    free(m->entries);
    m->entries = NULL;
    m->n = m->n_slots = 0;
}

static struct keymap_entry *find(const struct keymap *m, struct hash128 h)
{
    size_t mask = m->n_slots - 1, at = (size_t)h.low & mask;

    while (m->entries[at].offset >= 0 && (m->entries[at].key.low != h.low || m->entries[at].key.high != h.high))
        at = (at + 1) & mask;
    return &m->entries[at];
}

static void grow(struct keymap *m)
{
    struct keymap old = *m;

    m->n_slots = old.n_slots ? 2 * old.n_slots : SLOTS_MIN;
    m->entries = malloc(m->n_slots * sizeof(*m->entries));
    check(m->entries != NULL);
    for (size_t i = 0; i < m->n_slots; i++)
        m->entries[i].offset = -1;
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.entries[i].offset >= 0) *find(m, old.entries[i].key) = old.entries[i];
    free(old.entries);
}

bool keymap_put(struct keymap *m, struct bytes key, int64_t offset)
{
    struct hash128 h = hash128(key.ptr, key.len, m->seed);

    check(offset >= 0);
    if (m->n_slots == 0) grow(m);
    struct keymap_entry *entry = find(m, h);
    if (entry->offset < 0) {
        if (m->n >= m->n_max) return false; /* K2 */
        if (m->n >= m->n_slots / 4 * 3) {
            grow(m);
            entry = find(m, h);
        }
        entry->key = h;
        m->n++;
    }
    entry->offset = offset;
    return true;
}

int64_t keymap_get(const struct keymap *m, struct bytes key)
{
    return m->n_slots == 0 ? -1 : find(m, hash128(key.ptr, key.len, m->seed))->offset;
}
