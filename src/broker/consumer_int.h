/* consumer_int.h: what the files of the consumer groups share. How it works: consumer.c. Thread: the shard. */
#ifndef WEIR_BROKER_CONSUMER_INT_H
#define WEIR_BROKER_CONSUMER_INT_H

#include "broker/consumer.h"
#include "broker/consumer_assign.h"
#include "broker/group_int.h"
#include "broker/topic_regex.h"

enum consumer_state { /* of a member; Kafka's numbers, as they are stored */
                      CONSUMER_STABLE = 0,
                      CONSUMER_UNREVOKED = 1,
                      CONSUMER_UNRELEASED = 2,
};
enum { /* what of a member is not in the log yet */
       DIRTY_SUBSCRIPTION = 1,
       DIRTY_TARGET = 2,
       DIRTY_CURRENT = 4,
       DIRTY_ALL = 7,
};

enum { /* keys in __consumer_offsets, Kafka's numbers */
       CONSUMER_RECORD_GROUP = 3,
       CONSUMER_RECORD_MEMBER = 5,
       CONSUMER_RECORD_TARGET = 6,
       CONSUMER_RECORD_TARGET_MEMBER = 7,
       CONSUMER_RECORD_CURRENT = 8,
       CONSUMER_RECORD_REGEX = 16,
};

struct consumer_member {
    struct group *group;                          /* borrowed */
    struct bytes id, client_id, client_host;      /* owned */
    struct bytes instance, rack, regex, assignor; /* owned; null possible; regex empty is null */
    struct bytes *topics;                         /* owned, sorted, no doubles */
    int n_topics;
    int32_t rebalance_ms;
    int32_t epoch /* or CONSUMER_EPOCH_LEAVE_STATIC */, previous_epoch;
    enum consumer_state state;
    struct tp_set assigned, revoking, target; /* owned; the first two are disjoint */
    struct timer session, rebalance;
    unsigned dirty;
    bool has_subscription; /* while loading: its record was there */
    struct list link;      /* in consumer_group.members, by time of entry */
};

/* An expression that members subscribe with, and what it matches. */
struct consumer_regex {
    struct bytes pattern; /* owned */
    struct topic_regex *compiled;
    struct bytes *topics; /* owned, sorted */
    int n_topics;
    uint64_t seen;  /* broker.topics_version it was resolved for; 0: not by this process */
    bool is_in_use; /* by some member, while looking */
    bool is_dirty;
};

struct consumer_group {
    struct group *group; /* borrowed: it owns this */
    int32_t epoch, target_epoch;
    int64_t target_ms; /* when the target was computed */
    uint64_t topics_hash, topics_seen;
    struct list members; /* struct consumer_member */
    int n_members;
    struct map by_id, by_instance;
    struct map owners;  /* struct tp -> struct consumer_member that has it assigned or has not given it back */
    struct map regexes; /* pattern -> struct consumer_regex */
    struct map gone;    /* keys of records whose tombstones are not written yet */
    bool is_epoch_dirty, is_target_dirty;
    int64_t stored_upto; /* end of its last batch in the log */
};

/* ---- consumer.c ---- */
struct consumer_group *consumer_group_create(struct group *g);
void consumer_group_destroy(struct consumer_group *cg); /* memory only */
/* Out of the group, with tombstones; it has no members. */
void consumer_group_drop(struct group *g);
struct consumer_member *consumer_member_add(struct consumer_group *cg, struct bytes id, struct bytes instance);
void consumer_set_topics(struct consumer_member *m, const struct bytes *topics, int n); /* copies */
void consumer_member_free(struct consumer_member *m); /* out of the tables; what it had is free */
/* Its partitions are free, its records go, the group has a new epoch. */
void consumer_member_remove(struct consumer_member *m);
void consumer_session_start(struct consumer_member *m);
void consumer_rebalance_start(struct consumer_member *m);
const char *consumer_state_name(const struct consumer_group *cg);
/* May this member commit, or fetch with an epoch? ERR_MEMBER, ERR_GENERATION. */
MUST_USE enum err_code consumer_epoch_check(const struct group *g, struct bytes member_id, int32_t epoch,
                                            enum group_detail *detail, struct err *e);
bool consumer_subscribes(const struct consumer_group *cg, struct bytes topic);
/* A static member, by an administrator. */
MUST_USE enum err_code consumer_leave_static(struct group *g, struct bytes instance, struct err *e);

/* ---- consumer_target.c ---- */
/* Resolves what is subscribed to. True: the topics or their partitions are not those of before. */
bool consumer_refresh(struct consumer_group *cg, const struct consumer_beat *q);
void consumer_target_compute(struct consumer_group *cg);
struct bytes consumer_assignor(const struct consumer_group *cg);
void consumer_regex_free(struct consumer_regex *r);

/* ---- consumer_reconcile.c ---- */
/* One step of the member towards its target. True: what it has, gives back or its epoch is different now. */
bool consumer_reconcile(struct consumer_member *m, const struct tp_set *owned /* NULL: not told */);
bool tp_set_has(const struct tp_set *s, const struct tp *p);
bool tp_set_is_subset(const struct tp_set *s, const struct tp_set *of);
bool tp_set_equal(const struct tp_set *a, const struct tp_set *b);
void tp_set_free(struct tp_set *s);
void tp_set_copy(struct tp_set *to, const struct tp_set *from); /* what `to` had is freed */
void tp_set_sort(struct tp_set *s);                             /* and without doubles */
void consumer_own(struct consumer_group *cg, const struct tp_set *s, struct consumer_member *m);
void consumer_disown(struct consumer_group *cg, const struct tp_set *s, const struct consumer_member *m);

/* ---- consumer_store.c ---- */
/* Appends what is dirty. `wait` as partition_append: it also waits for what was appended before. NULL: nobody waits. */
MUST_USE enum err_code consumer_flush(struct consumer_group *cg, struct append_wait *wait, bool *is_durable,
                                      struct err *e);
void consumer_gone(struct consumer_group *cg, int type, struct bytes more); /* notes a tombstone */
void consumer_gone_member(struct consumer_group *cg, struct bytes id);
void consumer_gone_all(struct consumer_group *cg); /* of the group itself */
/* Every tombstone of a group without members, for a batch of the caller's. */
void consumer_put_tombstones(struct consumer_group *cg, struct batch_builder *w, int64_t now_ms);
uint64_t consumer_write_live(const struct consumer_group *cg, struct journal_writer *w);
bool consumer_is_record(int type);
void consumer_load(struct groups *gs, int type, struct reader *key, struct bytes value);
void consumer_loaded(struct group *g); /* after the last record: tables, timers */

#endif
