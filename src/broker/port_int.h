/* port_int.h: what the files of the port share. Threads are said at each field: "home" is the computing thread, "shard"
 * the broker's. */
#ifndef WEIR_BROKER_PORT_INT_H
#define WEIR_BROKER_PORT_INT_H

#include "broker/broker_int.h"
#include "broker/broker_port.h"

#define UNIT_SNAPSHOT_BYTES_MIN (16u << 20) /* of journal since the last snapshot, before one is asked for */
#define UNIT_SNAPSHOT_FACTOR 4u
#define UNIT_ROLL_BYTES_MIN (1u << 20) /* a journal below it is not worth a new segment at a snapshot */
#define UNIT_MARK_MS 1000              /* quiet time after which "applied" is written down */
#define UNIT_RETRY_MS 500              /* an output that found the disk full */

/* A topic as the computing thread holds it. Home; the topic's reference is taken and given on the shard. */
struct port_handle {
    uint64_t id;
    struct topic *topic;
    int n_watches;
};

struct port_watch {
    struct topic_watch moved; /* shard: in topic.watches */
    struct task wake_task;    /* shard -> home */
    struct broker_port *port;
    struct port_handle *handle; /* home */
    void (*wake)(void *arg);
    void *arg;
    bool is_removed;  /* home: freed when the task has run */
    struct list link; /* home: in broker_port.watches */
};

struct commit_op;
/* A unit's name while it is in use. Shard: values of broker.open_units. */
struct unit_slot {
    bool is_open;
    struct commit_op *orphan; /* a commit whose unit was closed meanwhile */
};

struct port_unit {
    struct broker_port *port;
    char *topic_name;        /* owned; of the journal */
    struct topic *journal;   /* referred to */
    struct commit_op *op;    /* home: under way; NULL: none */
    bool is_dead;            /* home: only close is allowed */
    struct map sequences;    /* home: uuid and partition -> next sequence + 1, as a pointer's value */
    int64_t producer_id;     /* fixed; new at each open */
    uint64_t commit_number;  /* home: of the last commit that is in the journal */
    uint64_t applied;        /* shard: its outputs, and of all before, are in their partitions */
    uint64_t marked;         /* shard: what the journal says of `applied` */
    uint64_t since_snapshot; /* shard: journal bytes */
    uint64_t snapshot_bytes; /* shard */
    struct timer mark_timer; /* shard */
    struct list link;        /* home: in broker_port.units */
};

struct broker_port {
    struct port port;
    struct broker *broker;      /* borrowed */
    struct loop *home, *shard;  /* borrowed; may be the same */
    struct map handles;         /* home: id -> struct port_handle */
    struct list watches, units; /* home */
    struct list ops;            /* shard: every struct commit_op of this port */
};

static inline struct broker_port *port_of(struct port *p)
{
    return CONTAINER_OF(p, struct broker_port, port);
}

/* Runs fn on the shard and waits. */
void port_call(struct broker_port *bp, void (*fn)(void *arg), void *arg);
static inline uint64_t topic_handle_id(const struct topic *t)
{
    return be64_get(t->uuid);
}
/* Home. NULL: no such topic (any more). */
struct port_handle *port_handle_find(struct broker_port *bp, uint64_t id);

/* ---- port_unit.c ---- */
MUST_USE enum err_code port_unit_open(struct port *p, struct bytes name, const struct port_restore *r,
                                      struct port_unit **out, struct err *e);
void port_unit_close(struct port *p, struct port_unit *u);
MUST_USE enum err_code port_unit_delete(struct port *p, struct bytes name, struct err *e);
void unit_write_mark(struct port_unit *u); /* shard */

/* ---- port_restore.c ---- */
/* What a journal says. Made on the shard, read on home. */
struct unit_restore {
    struct map state;    /* key -> struct bytes *, owned */
    struct map offsets;  /* u64 id, u32 partition -> struct port_offset, owned */
    struct list outputs; /* of commits that are not known to be applied */
    uint64_t commit_number, applied;
    uint64_t since_snapshot, snapshot_bytes;
};
void unit_restore_init(struct unit_restore *r);
void unit_restore_deinit(struct unit_restore *r);
MUST_USE enum err_code unit_restore_read(struct unit_restore *r, struct log *journal, struct err *e);
/* Appends the outputs that are not there yet and makes them durable. */
MUST_USE enum err_code unit_restore_apply(struct unit_restore *r, struct broker *b, struct err *e);

/* ---- port_commit.c ---- */
MUST_USE enum err_code port_commit(struct port *p, struct port_unit *u, const struct port_commit *c,
                                   port_commit_fn done, void *arg, struct err *e);
void commit_op_cut(struct commit_op *op);                            /* shard: it goes no further */
void commit_op_orphan(struct commit_op *op, struct unit_slot *slot); /* shard: its unit is closed */
void commit_ops_cut(struct broker_port *bp);                         /* shard: all of a port */

/* Records of a journal: the first byte of a key says what it is. Layout: port_commit.c. */
#define JOURNAL_HEADER 'H'
#define JOURNAL_OFFSET 'O'
#define JOURNAL_STATE 'S'
#define JOURNAL_OUTPUT 'B'
#define JOURNAL_END 'E'
#define JOURNAL_APPLIED 'A'
#define JOURNAL_VERSION 1u
#define JOURNAL_HEADER_LEN 18u

#endif
