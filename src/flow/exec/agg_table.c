/* A slice: a hash table of groups, their keys and states in one arena. Closing a window frees the arena; no group is
 * ever freed alone. Slots hold the hash beside the group, so that a probe that fails touches no group; the order of
 * creation is a list of its own. */
#include "flow/exec/agg.h"

#include <stdlib.h>

#define SLICE_BLOCK_BYTES (64u << 10)

void slice_init(struct slice *s, int64_t start)
{
    *s = (struct slice){.start = start, .is_sorted = true};
    arena_init(&s->arena, SLICE_BLOCK_BYTES);
}

void slice_deinit(struct slice *s)
{
    arena_deinit(&s->arena);
    free(s->groups);
    free(s->slots);
    free(s->dirty);
    *s = (struct slice){0};
}

void slice_reset(struct slice *s, int64_t start)
{
    arena_reset(&s->arena);
    if (s->slots) memset(s->slots, 0, s->n_slots * sizeof *s->slots);
    s->n_groups = s->n_dirty = 0;
    s->start = start;
    s->is_sorted = true;
}

size_t slice_bytes(const struct slice *s)
{
    return s->arena.used_bytes + s->cap_groups * sizeof(struct group *) + s->n_slots * sizeof *s->slots +
           s->cap_dirty * sizeof(struct group *);
}

struct group *slice_find(const struct slice *s, struct bytes key, uint64_t hash)
{
    if (s->n_slots == 0) return NULL;
    uint32_t mask = s->n_slots - 1;
    for (uint32_t at = (uint32_t)hash & mask; s->slots[at].group; at = (at + 1) & mask) {
        struct group *g = s->slots[at].group;
        if (s->slots[at].hash == hash && g->key.len == key.len && memcmp(g->key.ptr, key.ptr, key.len) == 0) return g;
    }
    return NULL;
}

static void slots_insert(struct slice *s, struct group *g)
{
    uint32_t mask = s->n_slots - 1, at = (uint32_t)g->hash & mask;
    while (s->slots[at].group)
        at = (at + 1) & mask;
    s->slots[at] = (struct group_slot){.hash = g->hash, .group = g};
}

static void *grow(void *list, uint32_t *cap, size_t element)
{
    *cap = *cap ? *cap * 2 : 64;
    list = realloc(list, *cap * element);
    check(list != NULL);
    return list;
}

struct group *slice_add(struct slice *s, struct bytes key, uint64_t hash, int n_aggs)
{
    size_t states = (size_t)n_aggs * sizeof(struct agg_state);
    struct group *g = arena_alloc_zero(&s->arena, sizeof *g + states + key.len);
    uint8_t *copy = (uint8_t *)g->states + states;
    if (key.len) memcpy(copy, key.ptr, key.len);
    g->key = bytes_of(copy, key.len);
    g->hash = hash;
    g->slice = s;
    g->time_ms = INT64_MIN;
    if (s->n_groups == s->cap_groups) s->groups = grow(s->groups, &s->cap_groups, sizeof(struct group *));
    s->groups[s->n_groups++] = g;
    if (s->n_groups * 2 > s->n_slots) {
        s->n_slots = s->n_slots ? s->n_slots * 2 : 128;
        free(s->slots);
        s->slots = calloc(s->n_slots, sizeof *s->slots);
        check(s->slots != NULL);
        for (uint32_t i = 0; i < s->n_groups; i++)
            slots_insert(s, s->groups[i]);
    } else {
        slots_insert(s, g);
    }
    return g;
}

void slice_mark_dirty(struct slice *s, struct group *g)
{
    if (g->flags & GROUP_DIRTY) return;
    g->flags |= GROUP_DIRTY;
    if (s->n_dirty == s->cap_dirty) s->dirty = grow(s->dirty, &s->cap_dirty, sizeof(struct group *));
    s->dirty[s->n_dirty++] = g;
}

static int group_order(const void *a, const void *b)
{
    const struct group *const *x = a, *const *y = b;
    return ((*x)->seq > (*y)->seq) - ((*x)->seq < (*y)->seq);
}

void slice_sort(struct slice *s)
{
    if (s->is_sorted) return;
    qsort(s->groups, s->n_groups, sizeof(struct group *), group_order);
    s->is_sorted = true;
}
