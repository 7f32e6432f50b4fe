/* pipeline.h: a plan as a chain of operators: chunks of the source go in, chunks of the plan's output come out. One
 * thread. Knows neither records nor topics nor time of day. */
#ifndef WEIR_FLOW_EXEC_PIPELINE_H
#define WEIR_FLOW_EXEC_PIPELINE_H

#include "flow/exec/expr.h"

struct pipeline;
/* Calls happen inside pipeline_push, _watermark, _flush and _end; what they are given is valid for the call. */
struct pipeline_hooks {
    /* Output: columns of the plan, of the selected rows. c->origin is always set. */
    void (*rows)(void *arg, const struct chunk *c);
    /* A row failed. It is in no result. */
    void (*bad)(void *arg, const struct row_origin *o, const char *text);
    /* A row came after its window was closed. It is in no result. */
    void (*late)(void *arg, const struct row_origin *o, int64_t window_end_us, int64_t watermark_us);
    void *arg;
};
struct pipeline_options {
    enum emit_mode emit;    /* of the topmost aggregate; EMIT_DEFAULT and EMIT_FINAL: once, when it is final */
    bool want_keys;         /* make keys from the grouping columns for rows of aggregates */
    size_t state_bytes_max; /* beyond: ERR_LIMIT */
};
/* `plan` outlives the pipeline. ERR_UNSUPPORTED, ERR_INVALID: the plan asks for what this executor has not. */
MUST_USE enum err_code pipeline_create(struct pipeline **out, const struct plan *plan, const struct pipeline_options *o,
                                       const struct pipeline_hooks *h, struct err *e);
void pipeline_destroy(struct pipeline *p);

/* A chunk of the scan's columns, with origins and watermarks. ERR_LIMIT: the state is too large; the pipeline is then
 * unusable. */
MUST_USE enum err_code pipeline_push(struct pipeline *p, const struct chunk *c, struct err *e);
/* The watermark has moved: closes windows. Never moves back. */
void pipeline_watermark(struct pipeline *p, int64_t watermark_us);
/* After pipeline_restore, before the first push: the watermark up to which windows were closed. */
void pipeline_resume(struct pipeline *p, int64_t watermark_us);
/* EMIT CHANGES: emits what changed since the last flush, one change per group. */
void pipeline_flush(struct pipeline *p);
/* The input is at its end: closes everything, sorts, emits the rest. */
void pipeline_end(struct pipeline *p);
/* LIMIT is reached: no further row can come out. */
bool pipeline_is_done(const struct pipeline *p);

/* The latest end of an open window, INT64_MIN: none is open. */
int64_t pipeline_newest_window_end(const struct pipeline *p);
uint64_t pipeline_groups(const struct pipeline *p);
size_t pipeline_state_bytes(const struct pipeline *p);

/* State. `all`: every entry; else what changed since the last collect (value null: gone). Keys begin with 'g' or 'l'.
 */
typedef void (*pipeline_state_fn)(void *arg, struct bytes key, struct bytes value);
void pipeline_collect(struct pipeline *p, bool all, pipeline_state_fn fn, void *arg);
bool pipeline_has_changes(const struct pipeline *p); /* something to flush or to collect */
/* Before the first push. False: not an entry of this plan. */
MUST_USE bool pipeline_restore(struct pipeline *p, struct bytes key, struct bytes value);

#endif
