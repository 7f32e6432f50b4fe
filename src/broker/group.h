/* group.h: groups of the classic protocol, and the committed offsets of all groups. States and answers: group.c (drawn
 * there), reference: Kafka's. Thread: the shard. Error mapping is the door's: ERR_MEMBER unknown member,
 * ERR_GENERATION, ERR_REBALANCE, ERR_FENCED (static instance taken over), ERR_INVALID (group id, session timeout: see
 * `detail`), ERR_LIMIT (group full). */
#ifndef WEIR_BROKER_GROUP_H
#define WEIR_BROKER_GROUP_H

#include "broker/broker.h"

enum group_detail { /* why, where one err_code stands for several Kafka answers */
                    GROUP_OK,
                    GROUP_BAD_GROUP_ID,
                    GROUP_BAD_SESSION_TIMEOUT,
                    GROUP_PROTOCOL_MISMATCH,
                    GROUP_MEMBER_ID_REQUIRED,
                    GROUP_NON_EMPTY,
                    GROUP_SUBSCRIBED,
                    GROUP_NOT_FOUND,
                    /* consumer groups (consumer.h) */
                    GROUP_BAD_REQUEST,
                    GROUP_BAD_ASSIGNOR,
                    GROUP_BAD_REGEX,
                    GROUP_FENCED_EPOCH,
                    GROUP_STALE_EPOCH,
                    GROUP_UNRELEASED, /* the instance id is another member's */
};
struct group_protocol {
    struct bytes name, metadata;
};
struct group_join {
    struct bytes group_id, member_id, instance_id /* null: dynamic */, client_id, client_host, protocol_type;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    const struct group_protocol *protocols;
    int n_protocols;
    bool
        requires_known_member; /* JoinGroup v4+: an empty member id is answered GROUP_MEMBER_ID_REQUIRED with a new one */
    bool supports_skip_assignment; /* v9 */
};
struct group_member_info {
    struct bytes member_id, instance_id, metadata;
};
struct group_join_reply {
    enum err_code rc;
    enum group_detail detail;
    int32_t generation;
    struct bytes protocol_type, protocol_name, leader, member_id;
    bool skip_assignment;
    const struct group_member_info *members; /* leader only */
    int n_members;
};
struct group_sync_reply {
    enum err_code rc;
    enum group_detail detail;
    struct bytes protocol_type, protocol_name, assignment;
};
/* A parked request: caller's memory until its reply or group_wait_cancel (connection gone). Exactly one reply, on the
 * loop; may come inside a later call into the broker. Everything in the reply is borrowed for the callback. */
struct group_wait {
    void (*join_done)(struct group_wait *w, const struct group_join_reply *r);
    void (*sync_done)(struct group_wait *w, const struct group_sync_reply *r);
    struct list link;
    void *member; /* the group's */
};
void group_join(struct broker *b, const struct group_join *q, struct group_wait *w);

struct group_assignment {
    struct bytes member_id, assignment;
};
struct group_sync {
    struct bytes group_id, member_id, instance_id, protocol_type, protocol_name; /* null: not given */
    int32_t generation;
    const struct group_assignment *assignments;
    int n_assignments;
};
void group_sync(struct broker *b, const struct group_sync *q, struct group_wait *w);
void group_wait_cancel(struct group_wait *w);

MUST_USE enum err_code group_heartbeat(struct broker *b, struct bytes group_id, struct bytes member_id,
                                       struct bytes instance_id, int32_t generation, enum group_detail *detail,
                                       struct err *e);
/* One member; by instance id when member_id is empty. */
MUST_USE enum err_code group_leave(struct broker *b, struct bytes group_id, struct bytes member_id,
                                   struct bytes instance_id, enum group_detail *detail, struct err *e);

/* ---- offsets ---- */
struct offset_commit {
    struct bytes topic;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;  /* -1: none */
    struct bytes metadata; /* null is "" */
    enum err_code rc;      /* out, per entry: ERR_NOT_FOUND topic or partition, ERR_TOO_LARGE metadata */
};
/* generation -1 with an empty member id: a simple consumer. On ERR_NONE `wait` is queued until durable (or is_durable);
 * the entries with rc ERR_NONE are then committed. */
MUST_USE enum err_code group_commit(struct broker *b, struct bytes group_id, struct bytes member_id,
                                    struct bytes instance_id, int32_t generation, struct offset_commit *offsets, int n,
                                    struct append_wait *wait, bool *is_durable, enum group_detail *detail,
                                    struct err *e);
/* May who says this member and epoch look at offsets? Only members of consumer groups are asked. ERR_MEMBER,
 * ERR_GENERATION (GROUP_STALE_EPOCH). */
MUST_USE enum err_code group_fetch_check(struct broker *b, struct bytes group_id, struct bytes member_id, int32_t epoch,
                                         enum group_detail *detail, struct err *e);
struct committed_offset {
    struct bytes topic, metadata;
    int32_t partition, leader_epoch;
    int64_t offset; /* -1: none committed */
};
/* None committed: offset -1, metadata "". Borrowed until the next commit. */
void group_offset(struct broker *b, struct bytes group_id, struct bytes topic, int32_t partition,
                  struct committed_offset *out);
/* All of a group. Return false to stop. */
void group_offsets(struct broker *b, struct bytes group_id, bool (*fn)(void *arg, const struct committed_offset *o),
                   void *arg);

/* ---- administration ---- */
struct offset_delete {
    struct bytes topic;
    int32_t partition;
    enum err_code
        rc; /* out, per entry: ERR_NOT_FOUND topic or partition; ERR_BUSY: a member is subscribed to the topic */
};
/* Forgets committed offsets; one that is not there is fine. ERR_NOT_FOUND (GROUP_NOT_FOUND); ERR_BUSY
 * (GROUP_NON_EMPTY): members that are no consumers. Blocks until durable. */
MUST_USE enum err_code group_delete_offsets(struct broker *b, struct bytes group_id, struct offset_delete *offsets,
                                            int n, enum group_detail *detail, struct err *e);
struct group_description {
    struct bytes group_id, protocol_type, protocol_name;
    const char *state; /* "Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"; of a consumer group
                        * as in consumer.h */
    bool is_consumer;  /* of the newer protocol: consumer_describe() knows more */
    int32_t generation;
    int n_members;
};
struct member_description {
    struct bytes member_id, instance_id, client_id, client_host, metadata, assignment;
};
void group_list(struct broker *b, bool (*fn)(void *arg, const struct group_description *g), void *arg);
bool group_describe(struct broker *b, struct bytes group_id, struct group_description *out,
                    bool (*member)(void *arg, const struct member_description *m),
                    void *arg); /* false: no such group */
/* Removes an empty group with its offsets. Blocks until durable. */
MUST_USE enum err_code group_delete(struct broker *b, struct bytes group_id, enum group_detail *detail, struct err *e);

#endif
