/* producer.h: what one partition remembers of idempotent producers: the last 5 batches of each, so that a retry is answered with
 * the original offset and a gap is refused. Rebuilt from a snapshot file plus the log's tail. Thread: the shard.
 * Rules: docs/reference and producer.c. */
#ifndef WEIR_LOG_PRODUCER_H
#define WEIR_LOG_PRODUCER_H

#include "base/batch.h"
#include "sys/sys.h"

struct producers;
struct producers *producers_create(void);
void              producers_destroy(struct producers *p);

/* Decides about a batch before it is appended. ERR_NONE: append it, then producers_record. ERR_DUPLICATE: *base_offset is the
 * original's first offset. ERR_FENCED: older epoch. ERR_SEQUENCE: gap. Batches without a producer id are always ERR_NONE. */
MUST_USE enum err_code producers_check(struct producers *p, const struct batch_view *v, int64_t *base_offset, struct err *e);
/* After the append (v->base_offset is final), and for each batch during recovery. */
void producers_record(struct producers *p, const struct batch_view *v, int64_t now_ms);
/* Forgets producers idle for longer than LIMIT_PRODUCER_EXPIRY_MS. */
void   producers_expire(struct producers *p, int64_t now_ms);
size_t producers_count(const struct producers *p);
/* Last sequence of a producer, -1 when unknown; *epoch too. */
int32_t producers_last_sequence(const struct producers *p, int64_t producer_id, int16_t *epoch);

/* Snapshot file in the log's directory, replaced by rename; `offset` is the first offset it does not cover. A damaged or missing
 * snapshot is ERR_NOT_FOUND: scan the whole log instead. */
MUST_USE enum err_code producers_save(const struct producers *p, struct fs *fs, const char *dir, int64_t offset, struct err *e);
/* After a crash the snapshot may be ahead of the log: when *offset > log_end_offset, destroy the state and scan the whole log. */
MUST_USE enum err_code producers_load(struct producers *p, struct fs *fs, const char *dir, int64_t *offset, struct err *e);
/* ERR_UNSUPPORTED when the snapshot is of a newer version; ERR_NONE for a missing, damaged or good one. log_open asks it. */
MUST_USE enum err_code producers_check_version(struct fs *fs, const char *dir, struct err *e);

#endif
