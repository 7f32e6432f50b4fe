/* producer.h: what one partition remembers of idempotent producers: the last 5 batches of each, so that a retry is
 * answered with the original offset and a gap is refused; which of them has a transaction open here and where it began;
 * and which stretches were aborted. Rebuilt from a snapshot file plus the log's tail. Thread: the shard, except where
 * said. Rules: docs/reference and producer.c. */
#ifndef WEIR_LOG_PRODUCER_H
#define WEIR_LOG_PRODUCER_H

#include "base/batch.h"
#include "log/log.h"
#include "sys/sys.h"

struct producers;
struct producers *producers_create(void);
void producers_destroy(struct producers *p);

/* Decides about a batch before it is appended. ERR_NONE: append it, then producers_record. ERR_DUPLICATE: *base_offset
 * is the original's first offset. ERR_FENCED: older epoch. ERR_SEQUENCE: gap. Batches without a producer id are always
 * ERR_NONE. */
MUST_USE enum err_code producers_check(struct producers *p, const struct batch_view *v, int64_t *base_offset,
                                       struct err *e);
/* After the append (v->base_offset is final), and for each batch during recovery. */
void producers_record(struct producers *p, const struct batch_view *v, int64_t now_ms);
/* Forgets producers idle for longer than LIMIT_PRODUCER_EXPIRY_MS. */
void producers_expire(struct producers *p, int64_t now_ms);
size_t producers_count(const struct producers *p);
/* Last sequence of a producer, -1 when unknown; *epoch too. */
int32_t producers_last_sequence(const struct producers *p, int64_t producer_id, int16_t *epoch);

/* What is known of one producer; open_first: of its open transaction, -1: none. */
struct producer_state {
    int64_t id, used_ms, open_first;
    int32_t last_sequence; /* -1: not known */
    int16_t epoch;
};
/* By time of first appearance; fn must not change anything here. */
void producers_each(const struct producers *p, void (*fn)(void *arg, const struct producer_state *s), void *arg);

/* ---- transactions ---- */
/* First offset of the oldest open transaction; INT64_MAX: none is open. Any thread. Of a reader that first loads the
 * durable offset and then asks here, nothing below the smaller of the two is undecided. */
int64_t producers_open_first(const struct producers *p);
/* First offset of the producer's open transaction, -1: none. */
int64_t producers_open_of(const struct producers *p, int64_t producer_id, int16_t *epoch);
/* Calls fn for each open transaction, oldest first; fn must not change anything here. */
void producers_open_each(const struct producers *p, void (*fn)(void *arg, int64_t producer_id, int16_t epoch),
                         void *arg);
/* Before the append of a transactional batch, so that no reader sees its records in between: true when it opened a
 * transaction, which producers_open_undo takes back when the append fails. */
bool producers_open(struct producers *p, int64_t producer_id, int16_t epoch, int64_t first);
void producers_open_undo(struct producers *p, int64_t producer_id);
/* Those that overlap [from, to), by rising `last`; *out is the caller's to free, NULL when there are none. Any thread.
 * */
size_t producers_aborted(const struct producers *p, int64_t from, int64_t to, struct aborted_txn **out);
/* Forgets what ended before this offset: retention took the records. */
void producers_forget(struct producers *p, int64_t before);
/* Forgets those with a marker at one of these offsets (rising): compaction takes the marker, and took the records
 * before. */
void producers_forget_markers(struct producers *p, const int64_t *offsets, size_t n);
/* Where the newest batch of each producer lies; *out, by rising id, is the caller's to free. For compaction, which must
 * not lose a live producer's sequence. */
struct producer_last {
    int64_t id;
    int64_t base_offset; /* of its newest batch with a sequence; -1: it has none */
    int16_t epoch;
};
size_t producers_last(const struct producers *p, struct producer_last **out);

/* Snapshot file in the log's directory, replaced by rename; `offset` is the first offset it does not cover. A damaged
 * or missing snapshot is ERR_NOT_FOUND: scan the whole log instead. */
MUST_USE enum err_code producers_save(const struct producers *p, struct fs *fs, const char *dir, int64_t offset,
                                      struct err *e);
/* After a crash the snapshot may be ahead of the log: when *offset > log_end_offset, destroy the state and scan the
 * whole log. */
MUST_USE enum err_code producers_load(struct producers *p, struct fs *fs, const char *dir, int64_t *offset,
                                      struct err *e);
/* ERR_UNSUPPORTED when the snapshot is of a newer version; ERR_NONE for a missing, damaged or good one. log_open asks
 * it. */
MUST_USE enum err_code producers_check_version(struct fs *fs, const char *dir, struct err *e);

#endif
