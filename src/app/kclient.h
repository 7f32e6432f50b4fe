/* kclient.h: a small blocking Kafka client for the command line: topics, produce, fetch, offsets, groups. It speaks the
 * protocol of any Kafka-compatible broker (one or many nodes) with the codec that door/kafka generates.
 *
 * Thread: one at a time; each call blocks until its answer, its timeout (options.timeout_ms unless said) or
 * kclient_interrupt. The client owns its event loop, so nothing runs between calls: a group member must poll more often
 * than its session timeout. Results that need memory go to the arena of the caller. Errors: ERR_TIMEOUT, ERR_CLOSED
 * (connection lost, broker away), ERR_CANCELLED (interrupted), ERR_UNSUPPORTED (the broker is too old or too new), else
 * the broker's answer translated; the text names what was tried and Kafka's own name of the error. Retriable answers
 * (leader moving, coordinator loading) are retried inside the timeout. */
#ifndef WEIR_APP_KCLIENT_H
#define WEIR_APP_KCLIENT_H

#include "broker/auth.h"
#include "broker/quota.h"
#include "base/arena.h"
#include "base/batch.h"
#include "base/err.h"

struct kclient;
struct kclient_options {
    const char *bootstrap; /* "host:port[,host:port...]"; a missing port is 9092 */
    const char *client_id; /* NULL: "weir" */
    int32_t timeout_ms;    /* 0: 10000 */
};
/* Connects to the first bootstrap server that answers ApiVersions. */
MUST_USE enum err_code kclient_open(struct kclient **out, const struct kclient_options *o, struct err *e);
void kclient_close(struct kclient *k); /* NULL is harmless */
/* Any thread, also a signal handler: the running call and all further ones give ERR_CANCELLED, except close, leave and
 * one flush. */
void kclient_interrupt(struct kclient *k);

/* ---- cluster and topics ---- */
struct kclient_broker {
    int32_t node_id;
    struct bytes host;
    int32_t port;
};
struct kclient_cluster {
    struct bytes cluster_id; /* null: not told */
    int32_t controller_id;
    struct kclient_broker *brokers;
    int n_brokers;
};
MUST_USE enum err_code kclient_cluster(struct kclient *k, struct arena *a, struct kclient_cluster *out, struct err *e);

struct kclient_partition {
    int32_t index, leader /* -1: none */, leader_epoch, n_replicas, n_isr;
    enum err_code rc;
};
struct kclient_topic {
    struct bytes name;
    uint8_t id[16]; /* zero: the broker has no ids */
    bool is_internal;
    struct kclient_partition *partitions; /* by index */
    int n_partitions;
};
/* All topics, sorted by name. */
MUST_USE enum err_code kclient_topics(struct kclient *k, struct arena *a, struct kclient_topic **out, int *n,
                                      struct err *e);
/* One. ERR_NOT_FOUND; with auto_create the broker may create it (if it allows that). */
MUST_USE enum err_code kclient_topic(struct kclient *k, struct bytes name, bool auto_create, struct arena *a,
                                     struct kclient_topic *out, struct err *e);
struct kclient_config {
    struct bytes name, value; /* value null: not set or sensitive */
    bool is_default, is_read_only;
};
/* n_partitions, replication -1: the broker's default. Only name and value of configs are used. ERR_EXISTS, ERR_INVALID.
 * */
MUST_USE enum err_code kclient_topic_create(struct kclient *k, struct bytes name, int32_t n_partitions,
                                            int16_t replication, const struct kclient_config *configs, int n_configs,
                                            struct err *e);
MUST_USE enum err_code kclient_topic_delete(struct kclient *k, struct bytes name, struct err *e);
MUST_USE enum err_code kclient_topic_configs(struct kclient *k, struct bytes name, struct arena *a,
                                             struct kclient_config **out, int *n, struct err *e);
/* One change to what is set on a topic; `value` is not looked at when is_delete. */
struct kclient_config_change {
    struct bytes name, value;
    bool is_delete;
};
/* All changes or none. ERR_INVALID, ERR_NOT_FOUND; ERR_UNSUPPORTED: a broker without IncrementalAlterConfigs. */
MUST_USE enum err_code kclient_topic_alter(struct kclient *k, struct bytes name,
                                           const struct kclient_config_change *changes, int n, struct err *e);
/* n in all. ERR_INVALID: not more than there are. */
MUST_USE enum err_code kclient_topic_add_partitions(struct kclient *k, struct bytes name, int32_t n, struct err *e);
/* Deletes the records before an offset. ERR_RANGE: above the end. ERR_DENIED: the topic is compacted only. */
MUST_USE enum err_code kclient_trim(struct kclient *k, struct bytes topic, int32_t partition, int64_t before,
                                    struct err *e);

/* ---- offsets of a partition ---- */
#define KCLIENT_LATEST (-1)
#define KCLIENT_EARLIEST (-2)
/* ts_ms: a time, or one of the two above. No record at or after that time: *offset = -1. found_ts_ms may be NULL. */
MUST_USE enum err_code kclient_offset(struct kclient *k, struct bytes topic, int32_t partition, int64_t ts_ms,
                                      int64_t *offset, int64_t *found_ts_ms, struct err *e);

/* ---- produce ---- */
struct kclient_producer;
struct kclient_producer_options {
    enum batch_codec codec;
    bool acks_none;       /* acks=0: no answer is waited for */
    bool not_idempotent;  /* for brokers without InitProducerId; default: idempotent, acks=all, in order */
    uint32_t batch_bytes; /* 0: 256 KiB before compression; a batch is sent when it is full or at a flush */
    /* Each batch once it is acknowledged; offset -1 with acks_none. May be NULL. */
    void (*delivered)(void *arg, struct bytes topic, int32_t partition, int64_t base_offset, int32_t n_records);
    void *arg;
};
MUST_USE enum err_code kclient_producer_open(struct kclient_producer **out, struct kclient *k,
                                             const struct kclient_producer_options *o, struct err *e);
/* Copies the record into the open batch of its partition. partition -1: by murmur2 of the key as the Java client;
 * without a key one partition per batch, in turn. timestamp_ms -1: now. May send and wait. An error is final for this
 * producer. */
MUST_USE enum err_code kclient_produce(struct kclient_producer *p, struct bytes topic, int32_t partition,
                                       int64_t timestamp_ms, struct bytes key, struct bytes value,
                                       const struct record_header *headers, int32_t n_headers, struct err *e);
/* Sends everything; returns when all of it is acknowledged. */
MUST_USE enum err_code kclient_producer_flush(struct kclient_producer *p, struct err *e);
void kclient_producer_close(struct kclient_producer *p); /* drops what was not flushed. NULL is harmless */

/* ---- fetch ---- */
struct kclient_cursor {
    struct bytes topic;
    int32_t partition;
    int64_t offset;         /* next one wanted; moves forward as records are delivered */
    int64_t high_watermark; /* out; -1 before the first answer */
    int64_t log_start;      /* out; -1: not told */
    bool is_paused;         /* not asked for */
    enum err_code rc;       /* out: ERR_RANGE: offset is not stored (offset stays), ERR_NOT_FOUND: topic is gone */
};
/* false: stop here; the cursor is then behind this record. Everything is borrowed for the call. */
typedef bool (*kclient_record_fn)(void *arg, struct bytes topic, int32_t partition, const struct record *r);
/* One round over all cursors: returns when something came or after max_wait_ms. *n_records may be NULL. A problem of
 * one partition is in its cursor's rc and does not fail the call. */
MUST_USE enum err_code kclient_fetch(struct kclient *k, struct kclient_cursor *cursors, int n, int32_t max_wait_ms,
                                     kclient_record_fn fn, void *arg, uint64_t *n_records, struct err *e);

/* ---- group member: classic protocol, range assignor ---- */
struct kclient_member;
struct kclient_member_options {
    struct bytes group_id, instance_id /* null: dynamic */;
    const struct bytes *topics;
    int n_topics;
    int32_t session_timeout_ms; /* 0: 30000 */
    int64_t start;              /* where nothing is committed: KCLIENT_EARLIEST or KCLIENT_LATEST; 0: KCLIENT_LATEST */
};
/* Nothing is sent yet: the first poll joins. Topics are copied. */
MUST_USE enum err_code kclient_member_open(struct kclient_member **out, struct kclient *k,
                                           const struct kclient_member_options *o, struct err *e);
/* Joins and rejoins, heartbeats, fetches once (at most max_wait_ms), delivers. Positions are committed by
 * kclient_member_commit, and before partitions are given up in a rebalance (at least once). */
MUST_USE enum err_code kclient_member_poll(struct kclient_member *m, int32_t max_wait_ms, kclient_record_fn fn,
                                           void *arg, uint64_t *n_records, struct err *e);
/* Everything delivered so far. ERR_REBALANCE, ERR_MEMBER, ERR_GENERATION: lost the partitions meanwhile; the next poll
 * rejoins. */
MUST_USE enum err_code kclient_member_commit(struct kclient_member *m, struct err *e);
/* The current assignment with positions; borrowed until the next poll. */
const struct kclient_cursor *kclient_member_assignment(const struct kclient_member *m, int *n);
/* Leaves the group and frees. Does not commit. NULL is harmless. */
void kclient_member_close(struct kclient_member *m);

/* ---- groups ---- */
struct kclient_group {
    struct bytes group_id, protocol_type, state /* null: the broker does not tell in a list */;
};
MUST_USE enum err_code kclient_groups(struct kclient *k, struct arena *a, struct kclient_group **out, int *n,
                                      struct err *e);

struct kclient_topic_partition {
    struct bytes topic;
    int32_t partition;
};
struct kclient_group_member {
    struct bytes member_id, instance_id, client_id, client_host;
    struct kclient_topic_partition *assignment; /* consumer protocol only */
    int n_assignment;
};
struct kclient_group_info {
    struct bytes group_id, state, protocol_type, protocol;
    struct kclient_group_member *members;
    int n_members;
};
/* ERR_NOT_FOUND: no such group (a broker may answer a "Dead" one instead; translated). */
MUST_USE enum err_code kclient_group_describe(struct kclient *k, struct bytes group_id, struct arena *a,
                                              struct kclient_group_info *out, struct err *e);
struct kclient_group_offset {
    struct bytes topic;
    int32_t partition;
    int64_t offset;
    struct bytes metadata;
    enum err_code rc;
};
/* All committed offsets, sorted by topic and partition. */
MUST_USE enum err_code kclient_group_offsets(struct kclient *k, struct bytes group_id, struct arena *a,
                                             struct kclient_group_offset **out, int *n, struct err *e);
/* Commits from outside (`group reset`); refused with ERR_MEMBER while the group has members. rc of each entry is set.
 * */
MUST_USE enum err_code kclient_group_set_offsets(struct kclient *k, struct bytes group_id,
                                                 struct kclient_group_offset *offsets, int n, struct err *e);
MUST_USE enum err_code kclient_group_delete(struct kclient *k, struct bytes group_id, struct err *e);

/* ---- users and rules (kclient_auth.c) ---- */
/* New, or with a new password: only what SCRAM derives from it is sent. */
MUST_USE enum err_code kclient_user_set(struct kclient *k, struct bytes name, struct bytes password, struct err *e);
MUST_USE enum err_code kclient_user_delete(struct kclient *k, struct bytes name, struct err *e); /* ERR_NOT_FOUND */
/* only: one user; null: all. Bit n of the mask: mechanism n of SCRAM. */
MUST_USE enum err_code kclient_users(struct kclient *k, struct bytes only,
                                     void (*fn)(void *arg, struct bytes name, unsigned mask), void *arg, struct err *e);
MUST_USE enum err_code kclient_acl_add(struct kclient *k, const struct acl *rule, struct err *e);
/* *n grows by the number of rules removed. */
MUST_USE enum err_code kclient_acl_remove(struct kclient *k, const struct acl *filter, int *n, struct err *e);
MUST_USE enum err_code kclient_acls(struct kclient *k, const struct acl *filter,
                                    void (*fn)(void *arg, const struct acl *a), void *arg, struct err *e);

/* ---- quotas (kclient_quota.c) ---- */
MUST_USE enum err_code kclient_quota_alter(struct kclient *k, const struct quota_entity *entity,
                                           const struct quota_change *changes, int n, struct err *e);
MUST_USE enum err_code kclient_quotas(struct kclient *k,
                                      void (*fn)(void *arg, const struct quota_entity *entity,
                                                 const struct quota_limits *limits),
                                      void *arg, struct err *e);

#endif
