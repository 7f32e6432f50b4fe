/* engine_int.h: what the files of the engine share. Private to engine*.c. One thread.
 *
 *   engine ─┬─ catalog: streams by name (engine_catalog.c)
 *           ├─ flows: feed -> pipeline -> outlets -> one port commit an epoch
 *           │         (engine_flow.c, engine_feed.c, engine_rows.c, engine_output.c, engine_commit.c)
 *           └─ scripts: one statement after the other; SELECT is feed -> pipeline -> sink
 *                     (engine_script.c, engine_statement.c, engine_query.c, engine_show.c) */
#ifndef WEIR_FLOW_ENGINE_INT_H
#define WEIR_FLOW_ENGINE_INT_H

#include "base/batch.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "flow/engine.h"
#include "flow/exec/pipeline.h"
#include "flow/exec/source.h"

#define COMMIT_INTERVAL_MS_DEFAULT 20
#define IDLE_TIMEOUT_MS_DEFAULT 1000
#define STATE_BYTES_DEFAULT (512u << 20)
#define READ_BYTES (256u << 10)           /* of one partition, before the next one has its turn */
#define EPOCH_OUTPUT_BYTES_MAX (4u << 20) /* more: the flow commits before it reads on */
#define EPOCH_INPUT_BYTES_MAX (16u << 20) /* the same for what was read: a commit's loss by a crash is bounded */
#define RETRY_MS 200                      /* between tries of a commit that found the disk full */
#define STEP_READS_MAX 8                  /* reads of one flow or query in one engine_step */

/* ---- a topic on its way through a pipeline ---- */
struct feed {
    struct engine *engine;
    struct port_topic topic;
    struct bytes source_topic; /* its name */
    struct arena arena;
    struct source *source;
    struct pipeline *pipeline; /* borrowed from the flow or query */
    struct source_time time;
    int64_t *next;    /* per partition: the first offset not yet processed */
    int64_t *stop;    /* bounded: where to end; else INT64_MAX */
    bool *at_end;     /* nothing was there at the last look */
    int turn;         /* the partition to look at first */
    uint64_t idle_ns; /* 0: never */
    bool has_ended;   /* bounded and all read, or LIMIT reached */
    bool is_watched;
    struct buf scratch[32]; /* decompressed batches of the chunk under way */
    uint64_t rows_in, rows_bad, rows_late;
    size_t bytes_read; /* since the owner reset it */
    void (*bad)(void *arg, const struct row_origin *o, const char *text);
    void *arg;
};
MUST_USE enum err_code feed_open(struct feed *f, struct engine *en, const struct plan *plan, struct pipeline *p,
                                 bool bounded, struct err *e);
void feed_close(struct feed *f);
void feed_wake(void *feed); /* the topic has grown: for port->watch */
/* One read of one partition. *moved: something was read. */
MUST_USE enum err_code feed_read(struct feed *f, uint64_t now_ns, bool *moved, struct err *e);
/* Idleness. *deadline_ns is lowered; true: the time has moved (windows may have closed). */
bool feed_idle(struct feed *f, uint64_t now_ns, uint64_t *deadline_ns);
bool feed_is_drained(const struct feed *f); /* all partitions were at their end at the last look */
int64_t feed_lag(struct feed *f);

/* ---- output batches of an epoch ---- */
struct sealed {
    int32_t partition;
    size_t from, len;
};
struct out_partition {
    struct buf bytes;
    struct batch_builder builder;
    bool is_open;
    struct sealed *sealed; /* finished batches of `bytes` */
    uint32_t n, cap;
};
struct outlet { /* one topic that a flow writes to */
    struct bytes name;
    struct port_topic topic; /* id 0: not created yet */
    int32_t n_partitions;
    struct out_partition *partitions;
    uint64_t rows;
    size_t bytes; /* of this epoch, about */
};
void outlet_init(struct outlet *o, struct bytes name, int32_t n_partitions, struct arena *a);
void outlet_deinit(struct outlet *o);
void outlet_put(struct outlet *o, int32_t partition, int64_t timestamp_ms, struct bytes key, struct bytes value,
                const struct record_header *headers, int n_headers);
void outlet_seal(struct outlet *o);
void outlet_clear(struct outlet *o);
bool outlet_has_rows(const struct outlet *o);
/* Finds or creates its topic. */
MUST_USE enum err_code outlet_open(struct outlet *o, struct port *p, struct err *e);

/* ---- streams ---- */
struct stream {
    struct arena arena;
    const struct stream_def *def;
    bool is_flow;
    struct stream *next; /* in catalog.retired */
};
struct catalog {
    struct sql_catalog sql;
    struct map streams;     /* name -> struct stream, owned */
    struct stream *retired; /* dropped, but a running query may still point into them */
};
void catalog_init(struct catalog *c);
void catalog_deinit(struct catalog *c);
struct stream *catalog_find(struct catalog *c, struct bytes name);
/* Binds the stored text again, into memory of its own. Replaces. */
MUST_USE enum err_code catalog_put_stream(struct catalog *c, struct bytes text, struct sql_error *e);
MUST_USE enum err_code catalog_put_flow(struct catalog *c, struct bytes text, struct sql_error *e);
void catalog_remove(struct catalog *c, struct bytes name);
void catalog_sweep(struct catalog *c); /* nothing points into dropped streams any more */

/* ---- flows ---- */
enum flow_state { FLOW_RUNNING, FLOW_FAILED };
enum commit_state { COMMIT_NONE, COMMIT_READY, COMMIT_UNDER_WAY }; /* READY: built, to be handed to the port (again) */
struct flow {
    struct list link;
    struct engine *engine;
    struct arena arena; /* statement, outlets */
    struct statement *statement;
    struct bytes name;
    enum flow_state state;
    struct err error;
    struct port_unit *unit;
    struct pipeline *pipeline;
    struct feed feed;
    bool feed_is_open;
    struct outlet out, late, dead;
    int *key_columns; /* output columns that make the key; n 0: the origin's key */
    int n_key_columns;
    struct bytes *labels; /* {"name": of each output column */
    struct buf key, value;
    int64_t wall_ms;
    uint32_t text_crc;
    /* Commits. */
    enum commit_state commit;
    struct port_commit content;
    struct arena epoch;            /* of the commit under way */
    struct port_offset *committed; /* per partition, as of the last commit */
    uint64_t last_commit_ns, retry_ns, commits, rows_out;
    bool want_snapshot, meta_dirty, has_meta, has_started;
};
/* Binds the CREATE STREAM .. AS text. What goes wrong is visible in the flow: state FLOW_FAILED. It starts with its
 * first step. */
struct flow *flow_create(struct engine *en, struct bytes name, struct bytes text);
void flow_start(struct flow *f, const struct engine_now *now);
void flow_stop(struct flow *f); /* unit closed, nothing is written any more */
void flow_destroy(struct flow *f);
bool flow_step(struct flow *f, const struct engine_now *now, uint64_t *deadline_ns);
bool flow_is_idle(const struct flow *f);
void flow_fail(struct flow *f, const struct err *e);
/* engine_commit.c */
bool flow_commit_due(const struct flow *f, uint64_t now_ns);
bool flow_has_changes(const struct flow *f);
void flow_commit(struct flow *f, uint64_t now_ns);
bool flow_restore_meta(struct flow *f, struct bytes value);
void flow_unit_name(struct bytes flow, struct buf *out);
/* engine_rows.c: hooks of the pipeline */
void flow_on_rows(void *flow, const struct chunk *c);
void flow_on_bad(void *flow, const struct row_origin *o, const char *text);
void flow_on_late(void *flow, const struct row_origin *o, int64_t window_end_us, int64_t watermark_us);
void flow_rows_prepare(struct flow *f);

/* ---- scripts ---- */
struct query;
struct script {
    struct list link;
    struct engine *engine;
    struct buf text;
    size_t at; /* of the next statement */
    struct sql_sink *sink;
    struct arena arena;                         /* of the statement under way */
    struct query *query;                        /* a SELECT under way */
    bool is_cancelled, is_too_long, is_running; /* running: inside of script_step */
};
bool script_step(struct script *s, const struct engine_now *now,
                 uint64_t *deadline_ns); /* false and done: unlinked and freed */
void script_destroy(struct script *s);
bool script_is_idle(const struct script *s);
/* One statement. */
enum err_code statement_run(struct script *s, struct statement *st, const struct engine_now *now, struct sql_error *e);
/* engine_show.c */
enum err_code show_run(struct script *s, const struct statement *st, struct err *e);
void script_message(struct script *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* engine_query.c */
MUST_USE enum err_code query_create(struct query **out, struct script *s, const struct statement *st, struct err *e);
void query_destroy(struct query *q);
/* True: more can be done at once. *done: it has ended, well or (rc) not. */
bool query_step(struct query *q, const struct engine_now *now, uint64_t *deadline_ns, bool *done, enum err_code *rc,
                struct err *e);
bool query_is_idle(const struct query *q);

struct engine {
    struct port *port;
    struct engine_options options;
    struct catalog catalog;
    struct list flows, scripts; /* in order of creation */
    struct engine_now now;
    bool has_loaded;
};
struct flow *engine_flow(struct engine *en, struct bytes name);
void engine_wake(struct engine *en);
void engine_flow_figures(struct engine *en, struct flow *f, struct flow_stats *out);
/* A flow or stream that reads `stream`, or NULL. */
struct flow *engine_reader_of(struct engine *en, struct bytes stream);

#endif
