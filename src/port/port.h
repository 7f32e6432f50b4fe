/* port.h: what computing may see: source, sink, state, commit. Flows, reactions and projections stand on this and on
 * nothing of the log, so that the same definition runs embedded, in the server or against another system. Conformance:
 * tests/conformance/port_*.
 *
 * Threads: a port is used from one computing thread; every callback runs on that thread, between calls, never inside
 * one. Topic and definition calls may block for a disk sync. read() never blocks. Time is not the port's business:
 * computing is handed `now`.
 *
 * P1  commit() is all or nothing: source offsets, state changes and outputs appear together or not at all, also across
 *     a crash.
 * P2  After open(), the restored offsets and state are exactly those of the last commit that was reported done, or of a
 *     later one that was under way when the process ended.
 * P3  An output is never visible to any reader before its commit is durable, and appears exactly once.
 * P4  Outputs of successive commits to one partition appear in commit order. */
#ifndef WEIR_PORT_PORT_H
#define WEIR_PORT_PORT_H

#include "base/bytes.h"
#include "base/err.h"

struct port;

struct port_topic {
    uint64_t id; /* the port's handle; stays valid while the topic exists */
    int32_t n_partitions;
};

/* Whole record batches (base/batch.h), back to back. The first may begin before the offset asked for: skip. */
struct port_read {
    struct bytes batches; /* valid until release; empty: nothing there yet */
    int64_t next_offset;  /* where to go on reading */
    int64_t end_offset;   /* visible end (high watermark) at the time of the read */
    void *hold;           /* the port's */
};

struct port_output {
    uint64_t topic;
    int32_t partition;  /* 0 <= partition < n_partitions */
    struct bytes batch; /* one record batch; borrowed for the call. Producer fields are the port's to fill */
};
struct port_offset {
    uint64_t topic;
    int32_t partition;
    int64_t next; /* first offset not yet consumed */
};
struct port_state_change {
    struct bytes key;
    struct bytes value; /* null: delete */
};
struct port_commit {
    const struct port_offset *offsets;
    size_t n_offsets;
    const struct port_state_change *changes;
    size_t n_changes;
    const struct port_output *outputs;
    size_t n_outputs;
    bool is_snapshot; /* `changes` and `offsets` are the whole state: what was before is dropped */
};
/* want_snapshot: the change history has grown enough that the next commit should be a snapshot. */
typedef void (*port_commit_fn)(void *arg, enum err_code rc, bool want_snapshot, const struct err *e);

/* One exactly-once unit of computing (a flow, a projection), known by name. */
struct port_unit;
struct port_restore {
    void (*offset)(void *arg, const struct port_offset *o);
    void (*state)(void *arg, struct bytes key, struct bytes value); /* live entries only; borrowed */
    void *arg;
};

typedef bool (*port_definition_fn)(void *arg, struct bytes name, struct bytes text); /* false stops */

struct port {
    /* ---- topics ---- */
    enum err_code (*topic_find)(struct port *p, struct bytes name, struct port_topic *out,
                                struct err *e); /* ERR_NOT_FOUND */
    enum err_code (*topic_create)(struct port *p, struct bytes name, int32_t n_partitions, struct port_topic *out,
                                  struct err *e);
    enum err_code (*topic_delete)(struct port *p, struct bytes name, struct err *e);
    /* First stored offset and visible end. */
    enum err_code (*range)(struct port *p, uint64_t topic, int32_t partition, int64_t *start, int64_t *end,
                           struct err *e);

    /* ---- source ---- */
    /* At least one batch when there is one, whatever max_bytes says. ERR_RANGE: offset below the start or above the
     * end. ERR_NOT_FOUND: the topic is gone. Every successful read is released once. */
    enum err_code (*read)(struct port *p, uint64_t topic, int32_t partition, int64_t offset, size_t max_bytes,
                          struct port_read *out, struct err *e);
    void (*release)(struct port *p, struct port_read *r);
    /* Calls wake(arg) after the visible end of any partition of the topic has grown since the last wake (merged, so
     * look at all partitions). One watch per (topic, arg). Deleting the topic wakes once more. */
    enum err_code (*watch)(struct port *p, uint64_t topic, void (*wake)(void *arg), void *arg, struct err *e);
    void (*unwatch)(struct port *p, uint64_t topic, void *arg);

    /* ---- commit ---- */
    /* Creates the unit or restores it. ERR_BUSY: open already. */
    enum err_code (*unit_open)(struct port *p, struct bytes name, const struct port_restore *r, struct port_unit **out,
                               struct err *e);
    /* One commit of a unit at a time. Everything in c is borrowed for the call only. An error returned here or given to
     * done with ERR_STOPPED, ERR_IO or ERR_FENCED ends the unit: close it; ERR_NO_SPACE may be tried again with the
     * same content. */
    enum err_code (*commit)(struct port *p, struct port_unit *u, const struct port_commit *c, port_commit_fn done,
                            void *arg, struct err *e);
    void (*unit_close)(struct port *p,
                       struct port_unit *u); /* a commit under way may still happen; done is not called */
    /* Forgets offsets and state for good. Not open. */
    enum err_code (*unit_delete)(struct port *p, struct bytes name, struct err *e);

    /* ---- appends outside of a unit: dead rows of ad-hoc queries, tests, examples ---- */
    /* Durable when it returns. */
    enum err_code (*append)(struct port *p, uint64_t topic, int32_t partition, struct bytes batch, struct err *e);

    /* ---- definitions: small named texts, in creation order (kind: "stream", "flow", ...) ---- */
    enum err_code (*define)(struct port *p, const char *kind, struct bytes name, struct bytes text,
                            struct err *e); /* replaces */
    enum err_code (*undefine)(struct port *p, const char *kind, struct bytes name, struct err *e);
    enum err_code (*definitions)(struct port *p, const char *kind, port_definition_fn fn, void *arg, struct err *e);
};

#endif
