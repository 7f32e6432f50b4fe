/* group_int.h: what the files of the groups share. States: group.c. Thread: the shard. */
#ifndef WEIR_BROKER_GROUP_INT_H
#define WEIR_BROKER_GROUP_INT_H

#include "base/reader.h"
#include "broker/broker_int.h"
#include "broker/group.h"

#define GROUP_OFFSETS_CHECK_MS 600000 /* Kafka's offsets.retention.check.interval.ms */

enum group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE, GROUP_DEAD };

struct group;
struct consumer_group;
struct group_member {
    struct group *group;                               /* borrowed */
    struct bytes id, instance, client_id, client_host; /* owned */
    int32_t session_ms, rebalance_ms;
    struct group_protocol *protocols; /* owned, with their bytes */
    int n_protocols;
    struct bytes assignment; /* owned; never null */
    struct timer session;
    struct group_wait *join_wait, *sync_wait; /* parked requests; borrowed */
    bool has_joined;  /* in the rebalance under way, also when its request was cancelled since */
    bool has_synced;  /* in this generation */
    bool wants_skip;  /* its parked join knows skipAssignment */
    struct list link; /* in group.members, by time of entry */
};

/* A member id that was given out and not used yet. */
struct group_pending {
    struct group *group;
    struct bytes id; /* owned */
    struct timer expiry;
};

struct group_offset {
    struct bytes topic, metadata; /* owned */
    int32_t partition, leader_epoch;
    int64_t offset, commit_ms;
};

struct group {
    struct broker *broker;
    struct bytes id; /* owned */
    enum group_state state;
    int32_t generation;
    struct bytes protocol_type, protocol; /* owned; null: none */
    struct group_member *leader;          /* one of members or NULL */
    struct list members;
    struct map by_id, by_instance; /* struct group_member */
    struct map pending;            /* struct group_pending */
    int n_members;
    /* Preparing: the initial delay, or the time limit of the rebalance. Otherwise: the time limit of the syncs. */
    struct timer timer;
    bool is_initial, has_newcomer;
    int64_t initial_left_ms;
    int64_t state_ms;              /* wall clock, when it became Empty or Stable */
    struct map offsets;            /* "topic\0partition" -> struct group_offset */
    struct bytes stored;           /* owned; the last metadata value in the log; null: none */
    struct append_wait store_wait; /* of the leader's sync under way */
    int32_t store_generation;
    bool is_storing;
    /* Owned. Not NULL: a group of the newer protocol; everything of the classic one above is then empty, except `state`:
     * GROUP_EMPTY without members, else GROUP_STABLE. See consumer_int.h. */
    struct consumer_group *consumer;
};

/* A reply on its way: everything in it is a copy, so that whatever happens before it is delivered does not matter. */
struct group_answer {
    struct group_wait *wait;
    bool is_join;
    struct group_join_reply join;
    struct group_sync_reply sync;
    struct arena arena;
};

struct groups {
    struct broker *broker;
    struct map by_id;      /* struct group */
    struct list answers;   /* struct group_wait.link of answered requests */
    struct partition *log; /* of __consumer_offsets; NULL: not created yet */
    uint64_t compact_at;
    struct append_wait snapshot_wait;
    int64_t snapshot_first; /* trim before it when durable; -1: none under way */
    struct timer offsets_timer;
    struct map txn_pending; /* producer id, 8 bytes -> struct txn_offsets */
};

/* ---- group.c ---- */
struct bytes group_dup(struct bytes b); /* owned copy; null stays null */
void group_free_bytes(struct bytes *b);
void group_replace(struct bytes *to, struct bytes from);
struct group *group_find(struct broker *b, struct bytes id);
struct group *group_get(struct broker *b, struct bytes id); /* makes an empty one */
void group_remove(struct group *g);                         /* from the table; no members */
struct group_member *member_find(const struct group *g, struct bytes id);
/* Known, and not fenced: ERR_MEMBER, ERR_FENCED. */
MUST_USE enum err_code member_check(const struct group *g, struct bytes id, struct bytes instance,
                                    struct group_member **out, struct err *e);
struct group_member *member_add(struct group *g, struct bytes id, struct bytes instance);
void member_free(struct group_member *m);  /* out of the tables; its parked requests must be answered */
void member_alive(struct group_member *m); /* starts its session anew */
void member_lost(struct group_member *m, enum err_code rc); /* answers, removes, and the group goes on without */
void member_id_make(struct broker *b, struct bytes prefix, char out[], size_t cap);
/* Forgets that an empty group was a classic one. True: there is a record of it in the log. */
bool group_classic_clear(struct group *g);
/* The tombstones of an empty group, without its offsets'. */
void group_put_tombstones(struct group *g, struct batch_builder *w, int64_t now_ms);
void pending_add(struct group *g, struct bytes id, int32_t timeout_ms);
bool pending_take(struct group *g, struct bytes id);
void group_timer_start(struct group *g, struct timer *t, int64_t ms);
void group_timer_stop(struct group *g, struct timer *t);
bool group_id_is_valid(struct bytes id);
const struct group_protocol *member_protocol(const struct group_member *m, struct bytes name);

/* ---- group_join.c ---- */
void answer_join_error(struct groups *gs, struct group_wait *w, enum err_code rc, enum group_detail detail,
                       struct bytes member_id);
void answer_sync_error(struct groups *gs, struct group_wait *w, enum err_code rc, enum group_detail detail);
void answer_sync_member(struct group_member *m); /* its parked sync, with its assignment */
void group_rebalance(struct group *g);           /* -> Preparing */
void group_rebalance_check(struct group *g);     /* Preparing: complete when everybody is there */
void group_timer_fire(struct timer *t);

/* ---- group_store.c ---- */
MUST_USE enum err_code store_partition(struct broker *b, struct partition **out, struct err *e);
/* Appends the group's metadata as it stands and remembers it. wait: as partition_append. */
MUST_USE enum err_code store_group(struct group *g, struct append_wait *wait, bool *is_durable, struct err *e);
void store_put_offset_key(struct buf *out, struct bytes group, struct bytes topic, int32_t partition);
void store_put_offset_value(struct buf *out, const struct group_offset *o);
void store_put_str(struct buf *out, struct bytes s);
struct bytes store_take_str(struct reader *r);
/* False: malformed or newer. */
bool store_take_offset_value(struct bytes value, struct group_offset *out);
void store_put_group_key(struct buf *out, struct bytes group);
/* Appends one batch; w as partition_append. */
MUST_USE enum err_code store_append(struct broker *b, struct buf *batch, struct append_wait *wait, bool *is_durable,
                                    struct err *e);
void store_compact(struct groups *gs); /* when the log has grown */
MUST_USE enum err_code store_load(struct groups *gs, struct err *e);

/* ---- group_txn.c: offsets of transactions that have not ended ---- */
#define STORE_PENDING_TYPE 0x5754
void txn_offsets_load(struct groups *gs, struct reader *key, struct bytes value);
uint64_t txn_offsets_write(struct groups *gs, struct journal_writer *w);
void txn_offsets_deinit(struct groups *gs);

/* ---- group_offsets.c ---- */
/* May this caller commit? ERR_MEMBER, ERR_GENERATION, ERR_FENCED, ERR_REBALANCE, ERR_INVALID. */
MUST_USE enum err_code offsets_check(struct broker *b, struct bytes group_id, struct bytes member_id,
                                     struct bytes instance_id, int32_t generation, bool is_txn,
                                     enum group_detail *detail, struct err *e);
enum err_code offsets_entry_check(struct broker *b, const struct offset_commit *c);
void offset_set(struct group *g, struct bytes topic, int32_t partition, int64_t offset, int32_t leader_epoch,
                struct bytes metadata, int64_t commit_ms);
void offset_drop(struct group *g, struct bytes topic, int32_t partition);
void offset_free(struct group_offset *o);
void offsets_timer_fire(struct timer *t);
void offsets_timer_arm(struct groups *gs);

#endif
