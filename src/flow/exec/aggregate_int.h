/* aggregate_int.h: what aggregate.c and panes.c share. */
#ifndef WEIR_FLOW_EXEC_AGGREGATE_INT_H
#define WEIR_FLOW_EXEC_AGGREGATE_INT_H

#include "base/buf.h"
#include "flow/exec/agg.h"
#include "flow/exec/pipeline_int.h"
#include "flow/exec/window.h"

#define LOCAL_SLOTS (LIMIT_CHUNK_ROWS * 2)
#define SPARE_SLICES_MAX 8

/* A group of the chunk on its way to its state. */
struct wanted {
    struct slice *slice;
    uint64_t hash;
    size_t from, len; /* of its key in chunk_keys */
};
struct aggregate {
    const struct plan *plan;
    bool windowed, emit_changes;
    struct xnode **keys, **args, **filters; /* args and filters: NULL where there is none */
    const struct vector **key_values, **arg_values;
    uint16_t **filter_sel; /* rows that pass the filter of an aggregate */
    int *filter_n;
    int *plain; /* keys that are not window columns */
    int n_plain;
    /* State. */
    struct slice **open; /* by start */
    uint32_t n_open, cap_open;
    struct slice *spare[SPARE_SLICES_MAX];
    int n_spare;
    uint64_t next_seq, n_dirty;
    int64_t watermark;  /* as the operators above know it */
    struct buf deleted; /* state keys of closed windows: length, key */
    /* Panes, see panes.c. */
    bool takes_panes;
    int64_t fired;        /* the latest end of a window that was emitted or needed not be; INT64_MIN: none */
    struct slice *merged; /* HOP: the window under way */
    /* EMIT CHANGES. */
    struct group **changed;
    uint32_t n_changed, cap_changed;
    struct arena befores;
    /* The chunk under way. */
    uint16_t slots[LOCAL_SLOTS];
    uint16_t first[LIMIT_CHUNK_ROWS], local[LIMIT_CHUNK_ROWS], sel[LIMIT_CHUNK_ROWS], sel_late[LIMIT_CHUNK_ROWS];
    uint64_t hash[LIMIT_CHUNK_ROWS];
    int64_t start[LIMIT_CHUNK_ROWS];
    struct group *of_local[LIMIT_CHUNK_ROWS], *of_row[LIMIT_CHUNK_ROWS];
    struct wanted wanted[LIMIT_CHUNK_ROWS];
    int n_local;
    struct buf key, chunk_keys; /* one at a time; those of all groups of the chunk */
    /* Output. */
    struct arena scratch;
    struct vector *cols;
    struct row_origin origins[LIMIT_CHUNK_ROWS];
    int8_t change[LIMIT_CHUNK_ROWS];
    int n_out;
    struct agg_state *old; /* room for one group's states */
};

/* aggregate.c */
struct slice *slice_get(struct aggregate *a, int64_t start);
/* Open slices [from, from + n) are over: their stored groups become deletions, their memory is kept. */
void slices_drop(struct op *o, uint32_t from, uint32_t n);
void group_touch(struct aggregate *a, struct group *g, bool is_new);
/* Rows that are not late, a->start[] filled. */
void aggregate_rows(struct op *o, const struct chunk *c, const uint16_t *sel, int n);
void emit_slice(struct op *o, struct slice *s, int64_t end);
void out_push(struct op *o);

/* panes.c */
void panes_create(struct op *o);
void panes_push(struct op *o, const struct chunk *c);
void panes_watermark(struct op *o, int64_t watermark);
void panes_resume(struct op *o, int64_t watermark);

#endif
