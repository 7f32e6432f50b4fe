/* plan.h: what the SQL front hands to the executor: bound, typed, immutable, in one arena. No names left to resolve.
 *
 *   scan -> filter -> window -> aggregate -> filter (HAVING) -> project -> sort -> limit
 *
 * A plan is a chain of operators now and a tree when joins come: each node has its input in `input`. Every node says
 * its output columns; expressions refer to columns of the input by index. */
#ifndef WEIR_FLOW_PLAN_H
#define WEIR_FLOW_PLAN_H

#include "flow/types.h"

enum fn_op {
#define FN(op, name, result, args, flags) FN_##op,
#include "flow/fn.def"
#undef FN
    FN_COUNT
};

enum expr_kind {
    EXPR_COLUMN,  /* input column `column` */
    EXPR_LITERAL, /* `literal` */
    EXPR_CALL,    /* `op` on args, already cast to what the op wants */
    EXPR_CASE,    /* args: when1, then1, when2, then2, ..., else (always present) */
    EXPR_TRY,     /* args[0]; a row error inside gives NULL instead (TRY_CAST) */
};
struct expr {
    enum expr_kind kind;
    struct sql_type type;
    int column;
    enum fn_op op;
    struct sql_value literal;
    struct expr **args;
    int n_args;
    int position; /* byte offset in the statement text, for errors */
    int weight;   /* nodes of the tree; subtrees may be shared (x in x BETWEEN a AND b) and count each time */
};

enum agg_op { AGG_COUNT_STAR, AGG_COUNT, AGG_SUM_I, AGG_SUM_D, AGG_AVG_I, AGG_AVG_D, AGG_MIN, AGG_MAX };
struct agg {
    enum agg_op op;
    struct expr *arg;    /* NULL for COUNT(*) */
    struct expr *filter; /* FILTER (WHERE ...), or NULL */
    bool distinct;       /* refused by the binder while the executor has none */
    struct sql_type type;
};

enum column_source { COLUMN_PHYSICAL, COLUMN_METADATA, COLUMN_COMPUTED };
enum metadata_key { META_TIMESTAMP, META_OFFSET, META_PARTITION, META_KEY, META_TOPIC };
struct stream_column {
    struct bytes name;
    struct sql_type type;
    enum column_source source;
    enum metadata_key metadata;
    struct expr *computed; /* over the stream's columns, by their index */
};
/* A declared stream: a topic and how to read it. */
struct stream_def {
    struct bytes name, topic;
    struct stream_column *columns;
    int n_columns;
    int rowtime;              /* column index of WATERMARK FOR, -1: none */
    struct expr *watermark;   /* over the stream's columns */
    int64_t idle_timeout_ms;  /* 'scan.watermark.idle-timeout'; 0: not said, < 0 ('0 s'): never idle */
    bool start_latest;        /* 'scan.startup.mode' = 'latest-offset' */
    int32_t n_partitions;     /* for the topic when it must be created; 0: default */
    struct bytes *key_fields; /* 'key.fields': columns that make the record key on output */
    int n_key_fields;
    struct bytes sql; /* the CREATE statement that makes exactly this */
};

/* Windows of event time. HOP: `size` long, one begins every `step`. CUMULATE: one ends every `step`, all from the same
 * beginning until they are `size` long. TUMBLE: step is size. So a window ends at every multiple of `step` (plus
 * `offset`), and what lies between two ends, a pane, is in the same windows. size is a multiple of step. */
enum window_kind { WINDOW_TUMBLE, WINDOW_HOP, WINDOW_CUMULATE };
struct window_spec {
    enum window_kind kind;
    int64_t size_us, step_us, offset_us; /* 0 <= offset < size */
};

enum plan_kind { PLAN_SCAN, PLAN_FILTER, PLAN_PROJECT, PLAN_WINDOW, PLAN_AGGREGATE, PLAN_SORT, PLAN_LIMIT };
struct sort_key {
    struct expr *expr;
    bool descending, nulls_first;
};
struct plan {
    enum plan_kind kind;
    struct plan *input;
    struct sql_column *columns; /* output */
    int n_columns;
    int rowtime; /* output column that is a time attribute, or -1 */

    /* SCAN: outputs all columns of the stream; `needed` marks those the plan touches: the rest need not be decoded. */
    const struct stream_def *stream;
    bool *needed;
    /* FILTER */
    struct expr *predicate;
    /* PROJECT */
    struct expr **exprs;
    /* WINDOW: appends window_start, window_end, window_time to the input's columns; a row comes once for each of its
     * windows. */
    int time_column;
    struct window_spec window; /* AGGREGATE: of its window keys */
    /* AGGREGATE: output = keys then aggregates. window_start_key/end/time: index among the keys of the window columns,
     * -1: not a windowed aggregate (a running changelog). */
    struct expr **keys;
    int n_keys;
    struct agg *aggs;
    int n_aggs;
    int window_start_key, window_end_key, window_time_key;
    /* SORT (bounded queries only), LIMIT */
    struct sort_key *sort;
    int n_sort;
    int64_t limit, skip;
};

enum emit_mode { EMIT_DEFAULT, EMIT_FINAL, EMIT_CHANGES };
enum statement_kind {
    STMT_SELECT,
    STMT_CREATE_STREAM,
    STMT_CREATE_STREAM_AS,
    STMT_DROP_STREAM,
    STMT_SHOW_STREAMS,
    STMT_SHOW_FLOWS,
    STMT_SHOW_TOPICS,
    STMT_DESCRIBE,
    STMT_EXPLAIN,
};
/* One bound statement. Everything lives in the arena given to sql_bind. */
struct statement {
    enum statement_kind kind;
    struct bytes text; /* this statement's own text */
    struct plan *plan; /* SELECT, CREATE_STREAM_AS, EXPLAIN */
    /* SELECT: as written; EMIT_DEFAULT: bounded. CREATE_STREAM_AS: FINAL or CHANGES. Says what the topmost aggregate
     * does; those below it (windowed, always) give final rows. */
    enum emit_mode emit;
    bool is_updating;          /* rows may be retracted: unwindowed aggregate, or a windowed one with EMIT CHANGES */
    struct stream_def *stream; /* CREATE_STREAM*, and the output stream of AS */
    struct bytes name;         /* DROP, DESCRIBE */
    bool if_exists, if_not_exists, or_replace;
};

#endif
