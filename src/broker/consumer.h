/* consumer.h: consumer groups of the newer protocol (KIP-848), where the broker assigns partitions and members only send
 * heartbeats. How it works, states and invariants: consumer.c. Their offsets are those of every group: group.h. Thread:
 * the shard. */
#ifndef WEIR_BROKER_CONSUMER_H
#define WEIR_BROKER_CONSUMER_H

#include "base/arena.h"
#include "broker/group.h"

#define CONSUMER_EPOCH_JOIN 0
#define CONSUMER_EPOCH_LEAVE (-1)
#define CONSUMER_EPOCH_LEAVE_STATIC (-2) /* comes back: its partitions are kept for a session */

struct consumer_partitions {
    uint8_t topic_id[16];
    const int32_t *partitions;
    int n;
};
/* One heartbeat. "Null" says: as before. */
struct consumer_beat {
    struct bytes group_id, member_id /* empty: the broker makes one */, client_id, client_host;
    struct bytes instance_id, rack_id, regex, assignor; /* null possible */
    int32_t epoch, rebalance_timeout_ms /* -1: null */;
    const struct bytes *topics;
    int n_topics; /* -1: null */
    const struct consumer_partitions *owned;
    int n_owned; /* -1: null */
    bool requires_member_id;
    /* May the caller's member see a topic that its expression matches? NULL: all. */
    bool (*may_see)(void *arg, struct bytes topic);
    void *arg;
};
/* Everything in it is in the caller's arena. */
struct consumer_reply {
    struct bytes member_id;
    int32_t epoch, heartbeat_ms;
    bool has_assignment;
    struct consumer_partitions *assignment;
    int n_assignment;
};
/* On ERR_NONE the reply is ready and may be given when `wait` says so (or *is_durable): it never tells of what a power
 * cut could take back. Otherwise *detail says which of Kafka's errors it is, *e in words. */
MUST_USE enum err_code consumer_heartbeat(struct broker *b, const struct consumer_beat *q, struct arena *a,
                                          struct consumer_reply *out, struct append_wait *wait, bool *is_durable,
                                          enum group_detail *detail, struct err *e);

/* ---- administration ---- */
struct consumer_description {
    struct bytes group_id, assignor;
    const char *state; /* "Empty", "Assigning", "Reconciling", "Stable" */
    int32_t epoch, target_epoch;
    int n_members;
};
struct consumer_member_description {
    struct bytes member_id, instance_id, rack_id, client_id, client_host, regex;
    int32_t epoch;
    const struct bytes *topics;
    int n_topics;
    const struct consumer_partitions *assigned, *target; /* by topic */
    int n_assigned, n_target;
};
/* False: no group of this kind. What `member` gets is in the arena, the group's strings are borrowed for the call. */
bool consumer_describe(struct broker *b, struct bytes group_id, struct arena *a, struct consumer_description *out,
                       bool (*member)(void *arg, const struct consumer_member_description *m), void *arg);

#endif
