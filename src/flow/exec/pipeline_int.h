/* pipeline_int.h: what the operators share. Private to pipeline.c, aggregate.c and sort.c. */
#ifndef WEIR_FLOW_EXEC_PIPELINE_INT_H
#define WEIR_FLOW_EXEC_PIPELINE_INT_H

#include "flow/exec/kernels.h"
#include "flow/exec/pipeline.h"

struct aggregate;
struct sorter;
struct op {
    const struct plan *plan;
    struct op *next; /* NULL: the output */
    struct pipeline *pipeline;
    struct eval eval;     /* its arena: of the nearest aggregate below, or of the pipeline */
    struct xnode **nodes; /* predicate, projections, sort keys */
    int n_nodes;
    uint16_t *sel;
    struct vector *cols;    /* output of PROJECT and WINDOW */
    uint16_t *window_sel;   /* WINDOW: rows of one of several windows */
    bool gives_panes;       /* WINDOW: each row once, with its pane: the aggregate above knows the windows */
    int64_t skipped, taken; /* LIMIT */
    bool limit_dirty;
    struct aggregate *aggregate;
    struct sorter *sorter;
    int index; /* in the chain, for state keys */
};
struct pipeline {
    struct op *ops;
    int n_ops;
    struct pipeline_hooks hooks;
    struct pipeline_options options;
    struct arena arena;   /* operators, nodes, vectors */
    struct arena scratch; /* of the chunk under way */
    struct row_errors errors;
    int64_t watermark;
    bool is_done;
};

void op_push(struct op *o, const struct chunk *c);
static inline void op_next(struct op *o, const struct chunk *c)
{
    if (o->next)
        op_push(o->next, c);
    else
        o->pipeline->hooks.rows(o->pipeline->hooks.arg, c);
}
/* Reports rows that failed and takes them out of the selection; returns what is left of n. */
int op_report_bad(struct op *o, const struct chunk *c, const uint16_t *sel, int n, uint16_t *out);

MUST_USE enum err_code aggregate_create(struct op *o, enum emit_mode emit, struct err *e);
struct arena *aggregate_scratch(struct op *o); /* for the operators above */
void aggregate_destroy(struct op *o);
/* Does it want each row once with its pane, instead of once for each window? */
bool aggregate_takes_panes(const struct op *o);
void aggregate_push(struct op *o, const struct chunk *c);
void aggregate_resume(struct op *o, int64_t watermark);
void aggregate_watermark(struct op *o, int64_t watermark);
void aggregate_flush(struct op *o);
void aggregate_end(struct op *o);
int64_t aggregate_newest_end(const struct op *o);
uint64_t aggregate_groups(const struct op *o);
size_t aggregate_bytes(const struct op *o);
void aggregate_collect(struct op *o, bool all, pipeline_state_fn fn, void *arg);
bool aggregate_has_changes(const struct op *o);
bool aggregate_restore(struct op *o, struct bytes key, struct bytes value);

MUST_USE enum err_code sorter_create(struct op *o, struct err *e);
void sorter_destroy(struct op *o);
void sorter_push(struct op *o, const struct chunk *c);
void sorter_end(struct op *o);
size_t sorter_bytes(const struct op *o);

#endif
