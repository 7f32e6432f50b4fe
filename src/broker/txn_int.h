/* txn_int.h: what the files of the transactions share. States and rules: txn.c. Thread: the shard. */
#ifndef WEIR_BROKER_TXN_INT_H
#define WEIR_BROKER_TXN_INT_H

#include "broker/group_int.h"
#include "broker/txn.h"

#define TXN_ID_EXPIRY_MS (7ll * 24 * 3600 * 1000) /* Kafka's transactional.id.expiration.ms */
#define TXN_RETRY_MS 1000                         /* markers that a full disk refused */
#define TXN_EPOCH_MAX INT16_MAX                   /* left for fencing: the last epoch that is handed out is one less */

enum txn_state { /* Kafka's numbers, as they are stored */
                 TXN_EMPTY = 0,
                 TXN_ONGOING = 1,
                 TXN_PREPARE_COMMIT = 2,
                 TXN_PREPARE_ABORT = 3,
                 TXN_COMPLETE_COMMIT = 4,
                 TXN_COMPLETE_ABORT = 5,
};

struct txn_part {
    struct bytes topic; /* owned */
    int32_t index;
};

/* One marker, or the offsets, on the way to the disk. */
struct txn_marker {
    struct append_wait wait;
    struct txn *txn;
};

struct txn {
    struct txns *txns;
    struct bytes id; /* owned */
    int64_t producer_id;
    int16_t epoch;
    int64_t last_producer_id; /* before the newest txn_init: its retry is answered as it was. -1: not known */
    int16_t last_epoch;       /* txn_end of the second kind is one, too */
    int64_t next_producer_id; /* while it ends: the epochs of the current one are used up. -1: it stays */
    bool is_v2;               /* the newest end was asked for with the second kind */
    int64_t stored_upto;      /* offset behind its newest record */
    int32_t timeout_ms;
    enum txn_state state;
    struct txn_part *parts; /* owned */
    int n_parts, cap_parts;
    int64_t start_ms, update_ms;
    /* While Prepare*: */
    struct append_wait prepare_wait;
    struct txn_marker *markers; /* owned */
    int n_waiting;
    bool is_starting; /* markers are being appended: no callback may finish it */
    bool has_failed;  /* one of them; tried again by the timer, unless: */
    bool is_stuck;    /* a sync failed: only a restart tells what the disk holds */
    struct list ends; /* struct append_wait of who waits for the end */
};

struct txns {
    struct broker *broker;
    struct map by_id;       /* struct txn */
    struct map by_producer; /* the 8 bytes of the current producer id -> struct txn */
    struct partition *log;  /* of __transaction_state; NULL: not created yet */
    uint64_t compact_at;
    struct append_wait snapshot_wait;
    int64_t snapshot_first; /* trim before it when durable; -1: none under way */
    struct timer timer;     /* armed while something is ongoing or has to be tried again */
    int64_t timer_ms;       /* wall clock it is armed for */
};

static inline bool txn_is_preparing(const struct txn *t)
{
    return t->state == TXN_PREPARE_COMMIT || t->state == TXN_PREPARE_ABORT;
}
static inline struct bytes txn_producer_key(const int64_t *producer_id)
{
    return bytes_of(producer_id, sizeof(*producer_id));
}

/* ---- txn.c ---- */
struct txn *txn_find(struct txns *ts, struct bytes id);
struct txn *txn_make(struct txns *ts, struct bytes id); /* without a producer */
void txn_free(struct txn *t);
void txn_set_producer(struct txn *t, int64_t producer_id, int16_t epoch);
void txn_part_add(struct txn *t, struct bytes topic, int32_t index);
bool txn_part_has(const struct txn *t, struct bytes topic, int32_t index);
void txn_parts_cut(struct txn *t, int n);

/* ---- txn_end.c ---- */
/* -> Prepare*, on its way to the disk; the markers follow by themselves. From Ongoing; is_v2: an abort from any state
 * but Prepare*. */
MUST_USE enum err_code txn_prepare(struct txn *t, bool is_commit, int16_t epoch, bool is_v2, struct err *e);
/* Writes what is missing of the markers, then Complete*. */
void txn_finish(struct txn *t);
void txn_timer_arm(struct txns *ts, int64_t at_ms);
void txn_timer_fire(struct timer *t);
/* At open: goes on where a crash stopped it, and closes what no transaction stands for. */
void txn_resume(struct txns *ts);

/* ---- txn_store.c ---- */
/* Appends the transaction as it stands. wait: as partition_append. */
MUST_USE enum err_code txn_store(struct txn *t, struct append_wait *wait, bool *is_durable, struct err *e);
/* The answer to something that rests on the newest record of the transaction. */
void txn_stored_wait(struct txn *t, struct append_wait *wait, bool *is_durable);
MUST_USE enum err_code txn_load(struct txns *ts, struct err *e);

/* ---- group_txn.c ---- */
/* At open: drops pending offsets that no transaction stands for. */
void txn_offsets_resume(struct broker *b);
/* Applies or drops the pending offsets of a producer, in one batch. *is_durable when there are none. */
MUST_USE enum err_code txn_offsets_end(struct broker *b, int64_t producer_id, bool is_commit, struct append_wait *wait,
                                       bool *is_durable, struct err *e);

#endif
