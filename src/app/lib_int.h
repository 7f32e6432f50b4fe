/* lib_int.h: the embedded library from inside: its state, shared by lib*.c, and what the command line needs beyond
 * weir.h. */
#ifndef WEIR_APP_LIB_INT_H
#define WEIR_APP_LIB_INT_H

#include "base/batch.h"
#include "broker/broker.h"
#include "flow/engine.h"
#include "sys/sim.h"
#include "weir/weir.h"

struct subscription {
    struct list link;
    char *name, *topic;
    weir_event_fn fn;
    void *arg;
    struct topic *opened;
    int64_t *next; /* per partition */
    int32_t n_partitions;
    bool dirty;
};

/* A batch under construction for one partition of the topic at hand. */
struct outgoing {
    struct buf buf;
    struct batch_builder builder;
    bool open;
    int64_t base_offset;
};

struct lib_clock {
    struct clock clock;
    struct clock *mono, *wall;
};

struct weir {
    struct sim *sim;
    struct sys sys;
    struct lib_clock clock;
    bool manual;
    uint64_t real_start_ns, loop_start_ns;
    struct broker *broker;
    struct port *port;
    struct engine *engine;
    bool engine_woken, in_callback;
    struct list subscriptions;
    struct outgoing *outgoing;
    int32_t n_outgoing;
    uint32_t spread; /* partition of the next event without key */
    struct buf scratch, message_buf;
    struct weir_header *headers;
    size_t headers_cap;
    char message[600];
};

/* Runs a script with a sink of the caller's. Returns when sink->done was called; false: the script waits for what
 * cannot happen here and was cancelled (weir_errmsg says so; done was not called). */
bool weir_run_script(weir *w, struct bytes text, struct sql_sink *sink);

/* ---- lib.c ---- */
/* Keeps the text for weir_errmsg; returns the status. */
int lib_fail(weir *w, enum err_code rc, const struct err *e);
/* NULL: the handle may be used now. While a callback runs only appends are: it holds what the others would change. */
const char *lib_why_not(const weir *w, bool is_append);
int lib_refuse(weir *w, const char *why);
/* Brings the loop's time up to the real one and runs what is due. */
void lib_pump(weir *w);

/* ---- lib_append.c ---- */
struct lib_wait {
    struct append_wait wait;
    bool answered;
    enum err_code rc;
};
void lib_wait_done(struct append_wait *wait, enum err_code rc);
/* Pumps the loop until the broker has answered (L1). */
MUST_USE enum err_code lib_wait_durable(weir *w, struct lib_wait *wait, struct err *e);

#endif
