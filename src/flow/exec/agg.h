/* agg.h: states of aggregate functions, and tables of groups. Private to exec/. */
#ifndef WEIR_FLOW_EXEC_AGG_H
#define WEIR_FLOW_EXEC_AGG_H

#include "flow/exec/vector.h"
#include "flow/plan.h"

/* One aggregate of one group. Fixed size; sums of integers are 128 bit, so that no order of rows can overflow on the
 * way. */
struct agg_state {
    int64_t count; /* of rows that counted */
    union {
        struct {
            uint64_t lo;
            int64_t hi;
        } sum;
        int64_t i;
        double d;
        struct {
            uint8_t *ptr; /* in the slice's arena */
            uint32_t len, cap;
        } s;
    };
};
struct slice;
enum { GROUP_DIRTY = 1, GROUP_CHANGED = 2, GROUP_STORED = 4 };
struct group {
    uint64_t hash; /* of the key */
    uint64_t seq;  /* order of creation in its operator, kept over restarts */
    struct slice *slice;
    struct bytes key;    /* encoded, behind the states */
    struct bytes before; /* while CHANGED: the states as last emitted; null: not emitted before */
    int64_t time_ms;     /* newest source timestamp that went in; INT64_MIN: none */
    unsigned flags;
    struct agg_state states[];
};
struct group_slot {
    uint64_t hash;
    struct group *group; /* NULL: empty */
};
/* The groups of one window, or all of a running aggregate. */
struct slice {
    int64_t start;
    struct arena arena;
    struct group **groups; /* in order of creation */
    uint32_t n_groups, cap_groups;
    struct group_slot *slots; /* open addressing */
    uint32_t n_slots;
    struct group **dirty;
    uint32_t n_dirty, cap_dirty;
    bool is_sorted; /* false after a restore in another order */
};
void slice_init(struct slice *s, int64_t start);
void slice_deinit(struct slice *s);
void slice_reset(struct slice *s, int64_t start); /* empties, keeps memory */
size_t slice_bytes(const struct slice *s);
/* Brings the first slot of a hash into the cache, and then its group: lookups of a chunk overlap their misses. */
static inline void slice_prefetch_slot(const struct slice *s, uint64_t hash)
{
    if (s->n_slots) __builtin_prefetch(&s->slots[(uint32_t)hash & (s->n_slots - 1)]);
}
static inline void slice_prefetch_group(const struct slice *s, uint64_t hash)
{
    if (s->n_slots == 0) return;
    const struct group_slot *slot = &s->slots[(uint32_t)hash & (s->n_slots - 1)];
    if (slot->hash == hash && slot->group) __builtin_prefetch(slot->group, 1);
}
struct group *slice_find(const struct slice *s, struct bytes key, uint64_t hash);
struct group *slice_add(struct slice *s, struct bytes key, uint64_t hash, int n_aggs);
void slice_mark_dirty(struct slice *s, struct group *g);
void slice_sort(struct slice *s); /* groups by seq */

/* One column of a group key, and back. */
void key_put(struct buf *out, const struct vector *v, int row);
/* Reads the next key column of `kind`; false at a malformed key (of a stored state). */
bool key_take(struct bytes *key, enum sql_kind kind, struct sql_value *out);

/* Adds the selected rows; of_row[i] is row i's group. `v` is NULL for COUNT(*). */
void agg_update(const struct agg *a, int index, const struct vector *v, const uint16_t *sel, int n,
                struct group *const *of_row);
/* Adds what another group of the same key has seen, to a group in its slice. */
void agg_merge(const struct agg *aggs, int n, struct group *to, const struct agg_state *from);
/* The result. False: it does not fit its type (SUM of BIGINT). */
bool agg_result(const struct agg *a, const struct agg_state *s, struct sql_value *out);
/* All states of a group as bytes, and back. */
void agg_states_put(struct buf *out, const struct agg *aggs, int n, const struct agg_state *states);
bool agg_states_take(struct bytes *in, const struct agg *aggs, int n, struct agg_state *states, struct arena *strings);

#endif
