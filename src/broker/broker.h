/* broker.h: topics, partitions and the things that are known by name. One broker owns one data directory. Design and
 * files on disk: broker.c, docs/format/data-directory.md.
 *
 * Thread: the shard's loop thread, except where said. Callbacks run on the loop, never inside the call that registered
 * them. The broker event-sources itself: topics and definitions are records of the internal topic `_weir_meta`,
 * committed offsets and groups of `__consumer_offsets` (Kafka's own record layouts); both are rewritten in full
 * (snapshot, then trim) when they have grown.
 *
 * B1  A topic that was reported created is usable at once by every door and survives a crash.
 * B2  An append is acknowledged (append_wait.done) only when it is durable, in sync mode.
 * B3  Producer ids are never handed out twice, also across crashes.
 * B4  Names are checked here, whichever door they come through. */
#ifndef WEIR_BROKER_BROKER_H
#define WEIR_BROKER_BROKER_H

#include "base/batch.h"
#include "log/log.h"
#include "sys/sys.h"

struct broker;
struct topic;
struct partition;

enum durability { DURABILITY_SYNC, DURABILITY_INTERVAL, DURABILITY_OS };
struct broker_options {
    const char *data_dir; /* created when missing */
    enum durability durability;
    int64_t interval_ms;        /* of DURABILITY_INTERVAL */
    int32_t default_partitions; /* 0: 1 */
    bool no_auto_create;
    uint64_t segment_bytes;                /* 0: default */
    int64_t retention_ms, retention_bytes; /* 0: 7 days; unbounded. Negative: for ever */
    uint32_t batch_bytes_max;              /* 0: LIMIT_BATCH_BYTES_DEFAULT */
    int64_t group_initial_delay_ms;        /* first rebalance of an empty group; < 0: 0; 0: default 500 */
    int64_t consumer_session_ms;           /* of members of consumer groups (KIP-848); 0: 45 s */
    int64_t consumer_heartbeat_ms;         /* how often they are told to send heartbeats; 0: 5 s */
    int64_t offsets_retention_ms;          /* 0: 7 days */
    bool login_required;                   /* rules hold even while there is no user (auth.h A1) */
    bool allow_without_rules;              /* Kafka's allow.everyone.if.no.acl.found */
    uint64_t spare_bytes;                  /* kept free for a start and a close on a full disk; 0: none */
    uint64_t scrub_bytes_per_s;            /* pace of looking through old segments for rot; 0: not at all */
    bool repair; /* damaged internal topics are read as far as they can be and written anew (`weir repair`) */
    const char *super_users; /* principals, separated by ';': "User:admin;User:CN=ops". NULL: none */
};
/* Takes the directory's lock, recovers everything. ERR_CORRUPT: _weir_meta or __transaction_state is damaged, and only
 * `repair` goes on then; nothing was changed. ERR_BUSY: another process has it. ERR_UNSUPPORTED: newer format,
 * untouched. Partitions with rot open read-only and are reported to the diag. `sys` is borrowed. */
MUST_USE enum err_code broker_open(struct broker **out, const struct sys *sys, const struct broker_options *o,
                                   struct err *e);
/* Syncs and checkpoints everything, fails what waits with ERR_CLOSED, frees. Blocks for the disk. NULL is harmless. Not
 * from a callback of the broker. Let the loop run once more before it is destroyed: what it still holds of the broker
 * frees itself then. */
void broker_close(struct broker *b);
/* For a crash test: frees memory without a close's work. On a simulated disk take the power away first
 * (sim_disk_crash_at). */
void broker_abandon(struct broker *b);

/* For weir verify, of a directory that nobody has open: what is wrong with weir.meta, in one sentence, or NULL. Whatever it
 * is, a start is not kept by it. Changes nothing. ERR_UNSUPPORTED: a newer format. */
MUST_USE enum err_code broker_verify_identity(const struct sys *sys, const char *data_dir, const char **what,
                                              struct err *e);

const char *broker_cluster_id(const struct broker *b);               /* 22 characters, made once per data directory */
int32_t broker_epoch(const struct broker *b);                        /* leader epoch: rises with every open */
const struct broker_options *broker_options(const struct broker *b); /* with defaults filled in */
const struct sys *broker_sys(const struct broker *b);

/* ---- topics ---- */
/* What a topic may set besides the fields of topic_config; the number is stored in its record. */
enum topic_number {
    TOPIC_DELETE_RETENTION_MS, /* tombstones stay so long after the cleaning that first met them */
    TOPIC_MIN_COMPACTION_LAG_MS,
    TOPIC_MAX_COMPACTION_LAG_MS,
    TOPIC_DIRTY_RATIO_PPM, /* cleaned when the dirty part is more than this many millionths of all sealed bytes */
    TOPIC_TIMESTAMP_BEFORE_MS,
    TOPIC_SEGMENT_JITTER_MS,
    /* Taken and shown, and nothing else: docs/reference/kafka.md says why that is harmless. */
    TOPIC_FILE_DELETE_DELAY_MS,
    TOPIC_FLUSH_MESSAGES,
    TOPIC_FLUSH_MS,
    TOPIC_INDEX_INTERVAL_BYTES,
    TOPIC_SEGMENT_INDEX_BYTES,
    TOPIC_PREALLOCATE,
    TOPIC_UNCLEAN_ELECTION,
    TOPIC_NUMBERS
};
extern const int64_t topic_number_defaults[TOPIC_NUMBERS];
struct topic_config {                      /* per topic; 0: the broker's default */
    int64_t retention_ms, retention_bytes; /* negative: for ever */
    uint64_t segment_bytes;
    uint32_t batch_bytes_max;
    bool compact;               /* of the records with one key the newest stays; nothing is deleted by age or size */
    bool compact_and_delete;    /* with `compact`: retention holds all the same */
    bool log_append_time;       /* message.timestamp.type */
    int64_t segment_ms;         /* a segment whose first batch is older is closed at the next append */
    int64_t timestamp_ahead_ms; /* a producer's timestamp may be so far ahead of our clock */
    uint32_t is_set;            /* bit n: number[n] is given here; the others hold the default, 0 included */
    int64_t number[TOPIC_NUMBERS];
};
/* Names: 1..LIMIT_TOPIC_NAME_LEN_MAX of [A-Za-z0-9._-], not "." or "..". Names starting with "__" or "_weir" are
 * internal: created by the broker only (ERR_DENIED). Blocks until durable. ERR_EXISTS, ERR_INVALID, ERR_LIMIT,
 * ERR_NO_SPACE. */
MUST_USE enum err_code topic_create(struct broker *b, struct bytes name, int32_t n_partitions,
                                    const struct topic_config *c, struct topic **out, struct err *e);
/* Validates as topic_create would, creates nothing. */
MUST_USE enum err_code topic_create_check(struct broker *b, struct bytes name, int32_t n_partitions, struct err *e);
/* Existing, or created with defaults when auto-creation is on and the name allows it. */
MUST_USE enum err_code topic_find_or_create(struct broker *b, struct bytes name, struct topic **out, struct err *e);
struct topic *topic_find(struct broker *b, struct bytes name); /* NULL: none */
struct topic *topic_find_id(struct broker *b, const uint8_t id[16]);
struct topic *topic_next(struct broker *b, uint32_t *pos); /* in creation order; *pos from 0; internal ones too */
/* Everything waiting on it fails with ERR_NOT_FOUND; readers' slices stay valid. Blocks until durable. ERR_DENIED:
 * internal. */
MUST_USE enum err_code topic_delete(struct broker *b, struct topic *t, struct err *e);
struct bytes topic_name(const struct topic *t);
const uint8_t *topic_uuid(const struct topic *t); /* 16 bytes, never zero, new at re-creation */
bool topic_is_internal(const struct topic *t);
int32_t topic_partition_count(const struct topic *t);
const struct topic_config *topic_config(const struct topic *t);       /* with defaults filled in */
const struct topic_config *topic_config_given(const struct topic *t); /* as set; 0: the default holds */
/* Replaces what is set on the topic; holds for everything after the call. Blocks until durable. ERR_DENIED: internal.
 * */
MUST_USE enum err_code topic_alter(struct broker *b, struct topic *t, const struct topic_config *c, struct err *e);
/* n in all, more than there are. The new ones are empty and usable at once; partitions that exist stay where they are,
 * keys may map to others from now on. Blocks until durable; a failure changes nothing. ERR_DENIED: internal. ERR_RANGE:
 * not more. ERR_LIMIT. */
MUST_USE enum err_code topic_add_partitions(struct broker *b, struct topic *t, int32_t n, struct err *e);
/* Says what topic_add_partitions would, changes nothing. */
MUST_USE enum err_code topic_add_partitions_check(const struct topic *t, int32_t n, struct err *e);
struct partition *topic_partition(const struct topic *t,
                                  int32_t index); /* NULL: out of range. Any thread that holds the topic */

/* ---- append ---- */
/* Caller's memory; stays until done or append_cancel. */
struct append_wait {
    void (*done)(struct append_wait *w, enum err_code rc); /* ERR_NONE: durable. On the loop */
    struct list link;
    int64_t upto; /* the broker's */
};
struct append_result {
    int64_t base_offset, log_append_time_ms /* -1: CreateTime */, log_start_offset;
    bool is_duplicate;
    bool is_durable; /* nothing to wait for: `wait` was not queued */
};
/* One record batch as a client sent it: checked (shape, CRC, counts, size, timestamp, no control, codec known; a
 * transactional one: that its producer's transaction is ongoing and holds this partition, else ERR_TXN_STATE),
 * deduplicated, stamped in place and appended. `wait` NULL: do not wait (acks=0). A duplicate of a batch that is not
 * durable yet waits as the original does. Errors: ERR_CORRUPT, ERR_TOO_LARGE, ERR_INVALID (record), ERR_SEQUENCE,
 * ERR_FENCED, ERR_TIMESTAMP, ERR_UNSUPPORTED (codec), ERR_DENIED (internal topic), ERR_NO_SPACE, ERR_STOPPED (failed
 * sync, or rot: read-only), ERR_CLOSED: nothing was appended and wait is not queued. */
MUST_USE enum err_code partition_append(struct partition *p, uint8_t *batch, size_t len, struct append_wait *wait,
                                        struct append_result *out, struct err *e);
void append_cancel(struct append_wait *w);

/* ---- read ---- */
int64_t partition_log_start(const struct partition *p);      /* any thread */
int64_t partition_high_watermark(const struct partition *p); /* any thread */
struct log *partition_log(struct partition *p);
struct topic *partition_topic(const struct partition *p);
int32_t partition_index(const struct partition *p);
/* Where transactions that are still open begin, else the high watermark. Any thread. */
int64_t partition_last_stable(const struct partition *p);
/* As partition_read, up to the last stable offset and without aborted records: a slice ends before the first aborted
 * batch, so the next one may begin behind a gap; empty bytes with next_offset beyond `offset`: only such records were
 * there. Any thread. */
MUST_USE enum err_code partition_read_committed(struct partition *p, int64_t offset, size_t max_bytes,
                                                struct log_slice *out, struct err *e);
/* As partition_read, up to the last stable offset, aborted records included. Any thread. */
MUST_USE enum err_code partition_read_stable(struct partition *p, int64_t offset, size_t max_bytes,
                                             struct log_slice *out, struct err *e);
/* The aborted transactions that overlap [from, to); *out is the caller's to free, NULL: none. Any thread. */
size_t partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted_txn **out);
/* log_read up to the high watermark. Any thread that holds the topic alive (doors: the shard; ports: their handle). */
MUST_USE enum err_code partition_read(struct partition *p, int64_t offset, size_t max_bytes, struct log_slice *out,
                                      struct err *e);
/* True: it holds nothing but empty batches, which compaction leaves where records were: all up to the limit of the read
 * is gone. A reader goes on behind it; there is nothing to hand on at once. */
bool slice_is_hollow(const struct log_slice *s);
/* Timestamp -> offset with record precision (decompresses one batch). None: *offset = -1, *ts = -1. */
MUST_USE enum err_code partition_offset_for_time(struct partition *p, int64_t ts_ms, int64_t *offset, int64_t *ts,
                                                 struct err *e);
MUST_USE enum err_code partition_offset_of_max_time(struct partition *p, int64_t *offset, int64_t *ts, struct err *e);
/* Woken (once per registration; re-register) when the high watermark (is_committed: the last stable offset) passes
 * `beyond`, the log start moves, or the topic is deleted. */
struct read_wait {
    void (*wake)(struct read_wait *w); /* on the loop, after the call that moved it */
    struct list link;
    int64_t beyond;
    struct partition *partition;
    bool is_committed; /* the caller's: it is about the last stable offset */
};
/* Deletes the records before an offset: the log start is moved durably, everybody who waits on the partition wakes. -1:
 * all below the high watermark. An offset that is gone already: nothing happens. Slices that are out stay valid. Blocks
 * for the disk. ERR_RANGE: above the high watermark. ERR_LIMIT: cleanup.policy does not allow deletion. ERR_DENIED:
 * internal. ERR_STOPPED, ERR_NO_SPACE. */
MUST_USE enum err_code partition_trim(struct partition *p, int64_t before, struct err *e);
void partition_wait(struct partition *p, struct read_wait *w,
                    int64_t beyond); /* already beyond: wakes on the next loop turn */
void read_wait_cancel(struct read_wait *w);

/* ---- compaction ---- */
/* How it stands with a partition of a compacted topic; owner's thread. */
struct partition_cleaning {
    uint64_t clean_bytes, dirty_bytes; /* sealed and cleaned; sealed and not */
    bool is_running;
    bool is_blocked; /* damaged, or a cleaning failed on the disk: until a restart */
};
void partition_cleaning(struct partition *p, struct partition_cleaning *out);

/* ---- producer ids ---- */
MUST_USE enum err_code broker_producer_id_next(struct broker *b, int64_t *id, struct err *e);

/* What a partition remembers of its producers (log/producer.h). */
struct partition_producer {
    int64_t producer_id, used_ms, open_first /* of its open transaction, -1: none */;
    int32_t last_sequence; /* -1: not known */
    int16_t epoch;
};
/* True: it has stored batches of this producer and epoch. */
bool partition_knows_producer(struct partition *p, int64_t producer_id, int16_t epoch);
void partition_producers_each(struct partition *p, void (*fn)(void *arg, const struct partition_producer *x),
                              void *arg);

/* ---- definitions (streams, flows, ...): durable when the call returns ---- */
MUST_USE enum err_code broker_define(struct broker *b, const char *kind, struct bytes name, struct bytes text,
                                     struct err *e);
MUST_USE enum err_code broker_undefine(struct broker *b, const char *kind, struct bytes name, struct err *e);
void broker_definitions(struct broker *b, const char *kind, bool (*fn)(void *arg, struct bytes name, struct bytes text),
                        void *arg);

/* ---- figures, counted since open; for /metrics ---- */
struct broker_stats {
    uint64_t batches_in, records_in, bytes_in, bytes_out, duplicates, syncs, sync_ns_total, appends_failed;
    uint64_t scrub_bytes, scrub_rounds, scrub_damages;
    uint32_t n_topics, n_partitions, n_groups, partitions_stopped;
    bool disk_full;
    /* Compaction: cleanings that ended, that failed; bytes of the log looked at and freed, records taken out. */
    uint64_t cleanings, cleanings_failed, cleaned_bytes, cleaned_bytes_freed, cleaned_records;
    bool is_cleaning;
};
void broker_stats(const struct broker *b, struct broker_stats *out);
void broker_count_out(struct broker *b, uint64_t bytes); /* doors report what they sent of the log */

#endif
