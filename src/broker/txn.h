/* txn.h: Kafka's transactions (the protocol that clients speak since 0.11): who may write inside of which transaction,
 * and how it ends. States and rules: txn.c (drawn there). Thread: the shard.
 *
 * Every call that changes something answers when the change is durable: ERR_NONE with *is_durable, or later through
 * `wait` (append_cancel takes it back). Errors: ERR_FENCED (a newer epoch exists), ERR_TXN_STATE (see `detail`),
 * ERR_INVALID (id, timeout: see `detail`), those of groups for offsets, and those of appends. */
#ifndef WEIR_BROKER_TXN_H
#define WEIR_BROKER_TXN_H

#include "broker/group.h"

#define TXN_TIMEOUT_MS_MAX 900000 /* Kafka's transaction.max.timeout.ms */

enum txn_detail { /* why, where one err_code stands for several Kafka answers */
                  TXN_OK,
                  TXN_BAD_ID,
                  TXN_BAD_TIMEOUT,
                  TXN_BAD_MAPPING /* the producer id is not this transactional id's */,
                  TXN_BAD_STATE,
                  TXN_CONCURRENT /* the last one is being ended: try again */,
};
struct txn_producer {
    struct bytes id; /* the transactional id */
    int64_t producer_id;
    int16_t epoch;
    bool
        is_v2; /* Speaks the second kind (KIP-890): adds by writing, takes a new epoch with the end of a transaction. */
};
struct txn_reply {
    enum txn_detail detail;
    bool is_durable;
    int64_t producer_id; /* of txn_init, and of txn_end of the second kind: for what follows */
    int16_t epoch;
};

/* The id's next epoch; fences every earlier user. p->producer_id and epoch: what the caller has, -1: nothing. An
 * ongoing transaction is aborted and the answer is TXN_CONCURRENT, so that the caller comes again. */
MUST_USE enum err_code txn_init(struct broker *b, const struct txn_producer *p, int32_t timeout_ms,
                                struct append_wait *wait, struct txn_reply *out, struct err *e);

struct txn_partition {
    struct bytes topic;
    int32_t partition;
    enum err_code rc; /* out: ERR_NOT_FOUND, ERR_DENIED (internal), ERR_CANCELLED: not tried because of another one */
};
/* All of them or none; begins the transaction when none is ongoing. An entry's rc: then the call is ERR_NOT_FOUND. Of
 * the second kind: before each batch; nothing is written when they are in it, but the answer still waits until that is
 * durable, and a batch must not be acknowledged before (txn.c X6). */
MUST_USE enum err_code txn_add_partitions(struct broker *b, const struct txn_producer *p, struct txn_partition *parts,
                                          int n, struct append_wait *wait, struct txn_reply *out, struct err *e);
/* The transaction is going to commit offsets of groups. Of the second kind: as above. */
MUST_USE enum err_code txn_add_offsets(struct broker *b, const struct txn_producer *p, struct bytes group_id,
                                       struct append_wait *wait, struct txn_reply *out, struct err *e);
/* As group_commit, but they count only when the transaction is committed. */
MUST_USE enum err_code txn_commit_offsets(struct broker *b, const struct txn_producer *p, struct bytes group_id,
                                          struct bytes member_id, struct bytes instance_id, int32_t generation,
                                          struct offset_commit *offsets, int n, struct append_wait *wait,
                                          struct txn_reply *out, enum group_detail *detail, struct err *e);
/* The second kind: out->producer_id and epoch are what the next transaction is to use, also in the answer to a retry;
 * an abort is possible when nothing was begun. Answered when the outcome is durable and, unless a disk refuses, visible to readers. */
MUST_USE enum err_code txn_end(struct broker *b, const struct txn_producer *p, bool is_commit, struct append_wait *wait,
                               struct txn_reply *out, struct err *e);

/* True: a transaction that has not ended yet holds an offset for this partition. */
bool group_offset_is_pending(struct broker *b, struct bytes group_id, struct bytes topic, int32_t partition);

/* ---- administration ---- */
struct txn_description {
    struct bytes id;
    const char *state; /* "Empty", "Ongoing", "PrepareCommit", ... */
    int64_t producer_id, start_ms /* -1: none ongoing */;
    int32_t timeout_ms, n_partitions;
    int16_t epoch;
    const void *txn; /* for txn_description_partition */
};
/* By time of entry; return false to stop. */
void txn_list(struct broker *b, bool (*fn)(void *arg, const struct txn_description *t), void *arg);
bool txn_describe(struct broker *b, struct bytes id, struct txn_description *out); /* false: unknown */
struct bytes txn_description_partition(const struct txn_description *d, int i, int32_t *partition);

#endif
