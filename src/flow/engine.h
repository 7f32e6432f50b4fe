/* engine.h: the door of the flow room: runs SQL over a port. One engine per computing thread; not thread-safe.
 *
 * The engine never blocks on events and has no clock: its owner calls engine_step(now) when woken (by the `wake` of a
 * watch, a new statement, an answered commit) or when the deadline it returned has come. A flow = CREATE STREAM .. AS
 * SELECT: runs until dropped, restarts with the engine, exactly once through port commits. A query = SELECT of a
 * session: results to its sink, no commits. */
#ifndef WEIR_FLOW_ENGINE_H
#define WEIR_FLOW_ENGINE_H

#include "flow/sql/sql.h"
#include "flow/types.h"
#include "port/port.h"

struct engine;
struct engine_now {
    uint64_t mono_ns; /* for idleness and commit pacing */
    int64_t wall_ms;  /* for timestamps of outputs */
};
struct engine_options {
    void (*wake)(void *arg); /* called (on the engine's thread) when engine_step has something to do */
    void *wake_arg;
    int64_t commit_interval_ms; /* of flows; 0: default 20 */
    int64_t idle_timeout_ms;    /* default for streams that say none: 0 takes 1000; < 0 never */
    int32_t default_partitions; /* of topics that statements create; 0: 1 */
    bool bounded;               /* every SELECT ends at the end of its input (no server behind) */
    size_t state_bytes_max;     /* per query or flow; 0: 512 MiB. Beyond: that query fails with ERR_LIMIT */
};
MUST_USE enum err_code engine_create(struct engine **out, struct port *port, const struct engine_options *o,
                                     struct err *e);
void engine_destroy(struct engine *en); /* stops everything; nothing uncommitted is kept */
/* Loads the definitions and starts the flows. */
MUST_USE enum err_code engine_load(struct engine *en, struct err *e);
/* Does a bounded slice of work. Returns true when more can be done at once. *deadline_ns: when to call again at the
 * latest even without a wake (UINT64_MAX: never). */
bool engine_step(struct engine *en, const struct engine_now *now, uint64_t *deadline_ns);
/* True when every flow and query has read all there is, and every commit is answered. */
bool engine_is_idle(const struct engine *en);

/* Where the results of a script go. Calls happen inside engine_step or engine_execute. */
struct sql_sink {
    /* A statement with rows begins. */
    void (*columns)(struct sql_sink *s, const struct sql_schema *schema);
    void (*row)(struct sql_sink *s, const struct sql_schema *schema, const struct sql_row *row);
    /* A statement without rows is done ("stream orders created"). */
    void (*message)(struct sql_sink *s, const char *text);
    /* The last call: the whole script is done, or its first failure (e != NULL; rendered: text with caret line). */
    void (*done)(struct sql_sink *s, const struct sql_error *e, struct bytes rendered);
    /* True: no more rows now; engine_script_resume when there is room. May be NULL. */
    bool (*is_full)(struct sql_sink *s);
};
/* Runs the statements of `text` one after the other. The script is the engine's; it ends with sink->done. Text above
 * LIMIT_SQL_BYTES_MAX: done with an error. */
struct script;
struct script *engine_execute(struct engine *en, struct bytes text, struct sql_sink *sink,
                              const struct engine_now *now);
void engine_script_cancel(struct engine *en, struct script *s); /* sink->done is not called */
void engine_script_resume(struct engine *en, struct script *s);

/* Figures per flow, for metrics and SHOW FLOWS. */
struct flow_stats {
    struct bytes name;
    const char *state; /* "running", "failed" */
    char error[200];   /* why failed */
    uint64_t rows_in, rows_out, rows_bad, rows_late, commits, state_bytes, groups;
    int64_t watermark_ms; /* INT64_MIN: none yet */
    int64_t lag_records;
};
void engine_flow_stats(struct engine *en, void (*fn)(void *arg, const struct flow_stats *s), void *arg);

#endif
