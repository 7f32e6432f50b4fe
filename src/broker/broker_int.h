/* broker_int.h: what the files of this room share. The door is broker.h; how it all fits together: broker.c.
 * Everything here belongs to the shard's thread, except where said. */
#ifndef WEIR_BROKER_BROKER_INT_H
#define WEIR_BROKER_BROKER_INT_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/text.h"
#include "broker/broker.h"
#include "log/producer.h"

#define META_TOPIC "_weir_meta"
#define OFFSETS_TOPIC "__consumer_offsets"
#define TXN_TOPIC "__transaction_state"
#define UNIT_TOPIC_PREFIX "_weir_unit_"

#define JOURNAL_COMPACT_BYTES_MIN (8u << 20) /* below it a history is not worth a snapshot */
#define JOURNAL_COMPACT_FACTOR 4u            /* rewrite when the log is so many times its live content */
#define JOURNAL_BATCH_BYTES (512u << 10)     /* snapshots are cut into batches of about this size */
#define PRODUCER_ID_BLOCK 1000 /* ids made durable at once (Kafka's block); unused ones are lost at a restart */
#define SEGMENT_MS_DEFAULT (7ll * 24 * 3600 * 1000)
#define RETENTION_MS_DEFAULT (7ll * 24 * 3600 * 1000)
#define RETENTION_RUN_MS_MAX 60000
#define PRODUCERS_SAVE_BYTES (1u << 20) /* so much new log is worth a snapshot at close although it names no producer */
#define CLEANER_RUN_MS 1000             /* from an append to a compacted topic to the next look for work */
#define CLEANER_WAIT_MS 15000   /* to the next look when only time has to pass (Kafka's log.cleaner.backoff.ms) */
#define SCRUB_FIRST_MS 60000ull /* after an open: it has other things to do */
#define SCRUB_ROUND_MS (24ull * 3600 * 1000) /* from the beginning of a round to that of the next */
#define SCRUB_PIECE_BYTES (1u << 20)         /* read at a time */
#define SCRUB_PAUSE_MS_MIN 1ull              /* between two pieces, however high the rate */
#define DISK_ROOM_BYTES (1u << 20)           /* free space that counts as room again */
#define TOPIC_DIR_NAME_LEN_MAX 200           /* of the topic's name in its directory's name: NAME_MAX is 255 */
#define TOPIC_DIR_LEN_MAX (TOPIC_DIR_NAME_LEN_MAX + 1 + 32)
#define TOPIC_BLOCKS_MAX 12 /* each doubles at least: 2^11 partitions, see LIMIT_PARTITIONS_PER_TOPIC_MAX */
#define DATA_DIR_LEN_MAX (LIMIT_PATH_LEN_MAX - 512) /* leaves room for every name below it */

struct auth;
struct groups;
struct txns;
struct quotas;

struct partition {
    struct topic *topic; /* borrowed: the topic owns its partitions */
    int32_t index;
    char *dir; /* owned */
    struct log_options log_options;
    struct log *log;             /* owned; its reading calls may be used by any thread that holds the topic */
    struct producers *producers; /* owned */
    uint64_t unsaved_bytes;      /* appended since the producers were last saved */
    struct list append_waits;    /* struct append_wait, by rising `upto` */
    struct list read_waits;      /* struct read_wait */
    struct list dirty_link;      /* in broker.dirty: has bytes that no sync covers yet */
    struct list moved_link;      /* in broker.moved: durable moved inside a call; holds a topic reference */
    struct list woken_link;      /* in broker.woken: its readers are to be looked at; holds a topic reference */
    bool wakes_all;              /* ... and all of them to be woken: start moved or topic gone */
    struct sync_slot *sync_slot; /* of the sync under way; NULL: none */
    bool is_stopped;             /* takes no more appends */
};

/* Wants to hear on the shard that a partition of the topic has moved or that the topic is gone. */
struct topic_watch {
    void (*moved)(struct topic_watch *w);
    struct list link;
};

struct topic {
    struct broker *broker; /* borrowed */
    char *name;            /* owned */
    uint8_t uuid[16];
    uint64_t seq; /* creation order */
    struct topic_config given, config;
    /* Owned. In blocks, because partitions never move: syncs, waits and other threads point to them. Block 0 holds
     * those the topic was made with, each further one at least as many as all before. */
    struct partition_block {
        struct partition *at;
        int32_t first, n; /* indexes [first, first + n) */
    } blocks[TOPIC_BLOCKS_MAX];
    int n_blocks;                 /* shard only */
    _Atomic int32_t n_partitions; /* release store after the block is filled: any thread may ask */
    char *dir;                    /* owned */
    struct list watches;          /* struct topic_watch */
    int refs;                     /* the broker's, a running sync's, ports' handles. The last one closes the logs */
    bool is_internal;
    bool is_creating;        /* by this call; a directory that was not there before */
    _Atomic bool is_deleted; /* any thread may look */
    struct list link;        /* in broker.dying, when deleted and still referred to */
};

struct definition {
    char *kind;              /* owned */
    struct bytes name, text; /* owned */
};

/* The sync jobs of a broker. An object of its own because the loop may still hold them when the broker is gone. */
struct syncer;
struct sync_slot;

struct broker {
    const struct sys *sys; /* borrowed */
    struct broker_options options;
    char *data_dir;    /* owned; options.data_dir points to it */
    struct file *lock; /* owned */
    char cluster_id[23];
    int32_t epoch;

    struct map topics;    /* name -> struct topic, creation order */
    struct map topic_ids; /* uuid -> struct topic */
    struct list dying;
    struct map dead_ids; /* uuids of deleted topics, as far as the meta log remembers; value: any */
    uint64_t topic_seq;
    uint64_t topics_version; /* from 1 on; rises when topics come, go or get partitions */
    struct topic *meta;      /* _weir_meta */
    uint64_t meta_compact_at;
    bool has_names;         /* identity_sync_names was done, by this process or an earlier one */
    struct map definitions; /* "kind\0name" -> struct definition */
    int64_t producer_id_next, producer_id_end;

    struct syncer *syncer;     /* owned, see sync.c */
    struct cleaner *cleaner;   /* owned, see cleaner.c */
    struct scrubber *scrubber; /* owned, see scrub.c; NULL: off */
    struct list dirty, moved, woken, failed_waits;
    struct timer sync_timer, retention_timer;

    struct buf scratch;    /* decompressed records of the batch under check */
    struct groups *groups; /* owned; see group_int.h */
    struct txns *txns;     /* owned; see txn_int.h */
    struct quotas *quotas; /* owned; see quota.c */
    struct auth *auth;     /* owned; see auth_int.h */
    struct topic *audit;   /* _weir_audit; NULL: not made yet */
    struct map open_units; /* of ports: names; value: any */
    struct broker_stats stats;
    bool is_closing;
};

/* ---- identity.c: weir.meta ---- */
MUST_USE enum err_code identity_open(struct broker *b, struct err *e);
/* Makes the names of a new data directory durable. */
MUST_USE enum err_code identity_sync_names(struct broker *b, struct err *e);

/* ---- journal.c: a log that is read whole at open and rewritten when it has grown ---- */
typedef enum err_code (*journal_fn)(void *arg, const struct record *r, struct err *e);
/* Every record from `from` on, in order; makes the tail durable first. */
MUST_USE enum err_code journal_read(struct log *l, int64_t from, journal_fn fn, void *arg, struct err *e);
struct journal_writer {
    struct log *log;
    int64_t now_ms;
    struct buf buf;
    struct batch_builder builder;
    bool is_open;       /* a batch has begun */
    int64_t first, end; /* offsets written; first -1: none yet */
    enum err_code rc;
    struct err *e;
};
/* A run of records in as many batches as needed; the first error sticks and is given by finish. Not synced. */
void journal_begin(struct journal_writer *w, struct log *l, int64_t now_ms, struct err *e);
void journal_put(struct journal_writer *w, struct bytes key, struct bytes value);
MUST_USE enum err_code journal_finish(struct journal_writer *w);
uint64_t journal_compact_at(uint64_t live_bytes);

/* ---- rescue.c: journals with damage in them ---- */
/* As journal_read from the start, checking every batch. Damage: ERR_CORRUPT, or with `goes_around` left out and named. */
MUST_USE enum err_code rescue_read(struct partition *p, bool goes_around, journal_fn fn, void *arg, bool *is_damaged,
                                   struct err *e);
typedef void (*rescue_write_fn)(void *arg, struct journal_writer *w); /* puts every live record */
/* Replaces the partition's log by a new one with these records; the old one goes to quarantine/. */
MUST_USE enum err_code rescue_renew(struct partition *p, rescue_write_fn fn, void *arg, struct err *e);
/* Before the log of an internal topic is opened: ends what a crash interrupted. */
MUST_USE enum err_code rescue_settle(struct partition *p, struct err *e);

/* ---- meta.c: topics, definitions and producer ids as records of _weir_meta ---- */
MUST_USE enum err_code meta_open(struct broker *b, struct err *e);
/* The topic as it is to be: with this many partitions and this configuration. */
MUST_USE enum err_code meta_put_topic(struct broker *b, const struct topic *t, int32_t n_partitions,
                                      const struct topic_config *given, struct err *e);
MUST_USE enum err_code meta_drop_topic(struct broker *b, const struct topic *t, struct err *e);
/* After a change has been taken into the tables: writes a snapshot when the log has grown. */
void meta_changed(struct broker *b);
void meta_deinit(struct broker *b);

/* ---- topic.c ---- */
bool topic_name_is_internal(struct bytes name);
/* As topic_create, for internal names too. */
MUST_USE enum err_code topic_create_any(struct broker *b, struct bytes name, int32_t n_partitions,
                                        const struct topic_config *c, struct topic **out, struct err *e);
/* As topic_delete, for internal topics too. */
MUST_USE enum err_code topic_delete_any(struct broker *b, struct topic *t, struct err *e);
/* A topic without logs, in the tables. */
struct topic *topic_make(struct broker *b, struct bytes name, const uint8_t uuid[16], int32_t n_partitions,
                         const struct topic_config *c, uint64_t seq);
/* What a record of an existing topic says; before its logs are open. Partitions only become more. */
void topic_remake(struct topic *t, int32_t n_partitions, const struct topic_config *c);
MUST_USE enum err_code topic_open_logs(struct topic *t, struct err *e);
void topic_enter(struct topic *t);  /* into the tables */
void topic_forget(struct topic *t); /* out of the tables; frees; files stay */
MUST_USE enum err_code topics_open(struct broker *b,
                                   struct err *e); /* opens what meta_open found; looks after leftovers */
void topic_ref(struct topic *t);
void topic_unref(struct topic *t); /* the last one of a deleted topic removes its files */
/* For rescue.c: the log of a partition alone. */
MUST_USE enum err_code partition_open_log(struct partition *p, struct err *e);
void partition_close_log(struct partition *p);
/* Topics whose directories are there although no record names them, with the default configuration. */
void topics_adopt(struct broker *b);
void topic_uuid_hex(char out[33], const uint8_t uuid[16]);
bool topic_uuid_parse(uint8_t out[16], const char *hex32);

/* ---- append.c ---- */
/* No checks of content: bytes made by ourselves, internal topics allowed. Deduplicates. */
MUST_USE enum err_code partition_append_own(struct partition *p, uint8_t *batch, size_t len, struct append_wait *wait,
                                            struct append_result *out, struct err *e);

/* Calls back when what lies before `upto` is durable; *is_durable: it is, and nothing is queued. */
void partition_wait_durable(struct partition *p, int64_t upto, struct append_wait *wait, bool *is_durable);

/* ---- sync.c ---- */
struct syncer *syncer_create(struct broker *b);
void syncer_destroy(struct syncer *s); /* nothing of it runs any more, or the loop frees it later */
void syncer_settle(struct syncer *s);  /* ends the jobs under way now; their waits are answered on the next turn */
void partition_settle_sync(struct partition *p); /* the same for one partition; harmless when none is under way */
void broker_post_turn(struct broker *b);         /* the turn task will look at what is marked */
/* Blocks for the disk. Waits are answered on the next turn. */
MUST_USE enum err_code partition_sync_now(struct partition *p, struct err *e);
void partition_mark_dirty(struct partition *p);
void partition_mark_woken(struct partition *p, bool wakes_all);
void partition_stop(struct partition *p, const struct err *e);
/* Moves all append waits of p to the list that is answered with rc on the next turn. */
void partition_fail_waits(struct partition *p, enum err_code rc);
void partition_durable_moved(struct partition *p);
void sync_timer_fire(struct timer *t);

/* ---- spare.c ---- */
void spare_release(struct broker *b); /* when the disk is full */
void spare_make(struct broker *b);    /* when there is plenty */

/* ---- scrub.c ---- */
struct scrubber *scrubber_create(struct broker *b, uint64_t rate); /* bytes a second; 0: NULL, there is none */
void scrubber_destroy(struct scrubber *s);

/* ---- retention.c ---- */
void retention_arm(struct broker *b);
void retention_rearm(struct broker *b); /* some topic's bounds have changed */
/* Compacted topics keep their records unless cleanup.policy says delete, too. */
static inline bool topic_deletes(const struct topic *t)
{
    return (!t->is_internal || t == t->broker->audit) && (!t->config.compact || t->config.compact_and_delete);
}
void retention_fire(struct timer *t);

/* ---- cleaner.c: compaction, one partition at a time ---- */
struct cleaner;
struct cleaner *cleaner_create(struct broker *b);
/* Takes back or waits for the slice under way; nothing of it runs any more, or the loop frees it later. */
void cleaner_destroy(struct cleaner *c);
void cleaner_arm(struct broker *b); /* something may have become worth cleaning */

/* ---- groups ---- */
MUST_USE enum err_code groups_open(struct broker *b, struct err *e);
void groups_deliver(struct broker *b); /* calls what is answered */
void groups_close(struct broker *b);   /* answers parked requests with ERR_CLOSED */
void groups_destroy(struct broker *b);
void groups_topic_deleted(struct broker *b, struct bytes topic);

/* ---- quota.c ---- */
MUST_USE enum err_code quotas_open(struct broker *b, struct err *e);
void quotas_destroy(struct broker *b);

/* ---- txn*.c ---- */
MUST_USE enum err_code txns_open(struct broker *b, struct err *e);
void txns_close(struct broker *b); /* answers what waits with ERR_CLOSED */
void txns_destroy(struct broker *b);
void txns_topic_deleted(struct broker *b, const struct topic *t);
/* May this producer append to this partition inside of its transaction? ERR_TXN_STATE, ERR_FENCED. */
MUST_USE enum err_code txn_check_append(struct partition *p, int64_t producer_id, int16_t epoch, struct err *e);

static inline int64_t broker_now_ms(const struct broker *b)
{
    return b->sys->clock->wall_ms(b->sys->clock);
}
static inline bool broker_is_sync(const struct broker *b)
{
    return b->options.durability == DURABILITY_SYNC;
}

#endif
