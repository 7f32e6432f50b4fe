/* log.h: one partition's log: an append-only sequence of record batches in segment files, byte for byte as they travel.
 * Format, recovery and invariants: log.c, segment.c, docs/format/log.md.
 *
 * Thread: the shard that owns the partition, except where said. The owner calls log_sync_* around a job on the sync
 * thread.
 *
 * Offsets: start <= durable <= end. `end` is the next offset to be given. Readers get data below `durable` only (the
 * high watermark); in LOG_OS mode durable follows end at once. */
#ifndef WEIR_LOG_LOG_H
#define WEIR_LOG_LOG_H

#include "base/batch.h"
#include "sys/sys.h"

struct log;
struct segment;

struct log_options {
    uint64_t segment_bytes;  /* LIMIT_SEGMENT_BYTES_* */
    int64_t segment_ms;      /* roll when the segment's first batch is older; <= 0: never */
    int64_t retention_ms;    /* < 0: for ever. By the newest timestamp of a sealed segment */
    int64_t retention_bytes; /* < 0: unbounded */
    bool sync;               /* false: os mode: durable follows end at once */
};

/* What recovery found; for the diag and `weir verify`. */
struct log_recovery {
    int64_t start_offset, end_offset;
    uint64_t cut_bytes;               /* torn tail that was cut */
    int64_t corrupt_from, corrupt_to; /* rot below the durable offset: first and last offset not readable; -1: none */
    uint64_t scanned_bytes;
    bool index_rebuilt;
};

/* Opens or creates the log in directory `dir` (created). `epoch` is stamped into new batches and must be larger than at
 * every earlier open. Rot below the durable offset does not fail the open: reads of the damaged range give ERR_CORRUPT,
 * appends ERR_CORRUPT. ERR_UNSUPPORTED: a newer format, nothing was touched. */
MUST_USE enum err_code log_open(struct log **out, const struct sys *sys, const char *dir, const struct log_options *o,
                                int32_t epoch, struct log_recovery *r, struct err *e);
/* Writes the checkpoint. Does not sync: call log_sync first for a clean close. NULL is harmless. */
void log_close(struct log *l);
/* Applies to the next roll and the next retention run. */
void log_set_options(struct log *l, const struct log_options *o);

/* Appends one batch that was checked by batch_view_parse and batch_check_crc. Stamps base offset and epoch in place, so
 * `batch` is modified, and only borrowed. Not durable yet. ERR_NO_SPACE: nothing was appended, may be tried again.
 * ERR_IO, ERR_STOPPED: the log has stopped and takes no more appends until reopened. */
MUST_USE enum err_code log_append(struct log *l, uint8_t *batch, size_t len, int64_t now_ms, int64_t *base_offset,
                                  struct err *e);

/* Durability, in three steps so that the middle one can run on another thread:
 *   log_sync_begin  (owner)       takes note of the end; false: nothing to sync or one is under way
 *   log_sync_run    (any thread)  the fdatasync calls
 *   log_sync_end    (owner)       moves durable; a failure stops the log for good */
struct log_sync {
    struct log *log;
    int64_t upto; /* the offset that becomes durable */
    struct file *files[4];
    int n_files;
    enum err_code rc; /* of log_sync_run */
    struct err error;
    uint64_t position; /* log.c's */
    struct segment *segment;
};
bool log_sync_begin(struct log *l, struct log_sync *s);
void log_sync_run(struct log_sync *s);
enum err_code log_sync_end(struct log_sync *s, struct err *e);
/* All three, now. */
MUST_USE enum err_code log_sync(struct log *l, struct err *e);

int64_t log_start_offset(const struct log *l);   /* any thread */
int64_t log_durable_offset(const struct log *l); /* any thread (acquire) */
int64_t log_end_offset(const struct log *l);     /* any thread */
uint64_t log_size_bytes(const struct log *l);
bool log_is_stopped(const struct log *l);
int32_t log_epoch(const struct log *l);
/* First offset of the given leader epoch's successor, i.e. the epoch's end; -1 when unknown. */
int64_t log_epoch_end(const struct log *l, int32_t epoch, int32_t *found_epoch);

/* A stretch of one segment's bytes: whole batches. Holds the segment: its file stays mapped until log_slice_release,
 * even when retention removes it meanwhile. */
struct log_slice {
    struct bytes bytes;
    struct segment *segment;
    int64_t next_offset; /* where to go on reading */
};
/* Whole batches from the one that contains `offset`, inside one segment, at most max_bytes but at least one batch, only
 * below `limit` (pass log_durable_offset). Empty bytes: offset == limit. ERR_RANGE, ERR_CORRUPT (damaged range). Any
 * thread. */
MUST_USE enum err_code log_read(struct log *l, int64_t offset, int64_t limit, size_t max_bytes, struct log_slice *out,
                                struct err *e);
void log_slice_release(struct log_slice *s); /* any thread */

/* First offset whose record timestamp is >= ts: batch precision in *batch (a slice of that one batch); the caller finds
 * the record. ERR_NOT_FOUND: none. */
MUST_USE enum err_code log_find_time(struct log *l, int64_t ts_ms, struct log_slice *batch, struct err *e);
/* The largest timestamp stored and the slice of its batch. ERR_NOT_FOUND: empty. */
MUST_USE enum err_code log_find_max_time(struct log *l, struct log_slice *batch, struct err *e);

/* Removes sealed segments that are past retention, or wholly below `before`. Moves the start offset. */
MUST_USE enum err_code log_retain(struct log *l, int64_t now_ms, struct err *e);
MUST_USE enum err_code log_trim(struct log *l, int64_t before, struct err *e);
/* Closes the active segment so that a following trim can remove it. */
MUST_USE enum err_code log_roll(struct log *l, struct err *e);
/* The same when its first batch came before the time given and all of it is durable; else nothing. */
MUST_USE enum err_code log_roll_older(struct log *l, int64_t before_ms, struct err *e);
/* Removes the whole directory of a log that is not open. */
MUST_USE enum err_code log_destroy(const struct sys *sys, const char *dir, struct err *e);

/* Reads everything and reports each damage; changes nothing. For `weir verify`; the log must not be open. */
enum log_damage_kind {
    LOG_DAMAGE_DATA, /* acknowledged records are lost or not as they were written */
    LOG_DAMAGE_TAIL, /* a torn tail: harmless, never acknowledged, cut at the next open */
    LOG_DAMAGE_SIDE, /* a file that is only a cache: harmless, made again at the next open */
};
struct log_damage {
    enum log_damage_kind kind;
    const char *file;               /* base name */
    int64_t offset_from, offset_to; /* -1: not known */
    uint64_t position;              /* byte in file */
    const char *what;               /* one sentence */
};
typedef void (*log_damage_fn)(void *arg, const struct log_damage *d);
MUST_USE enum err_code log_verify(const struct sys *sys, const char *dir, log_damage_fn fn, void *arg,
                                  uint64_t *n_batches, struct err *e);

/* Looking a sealed, durable segment of an open log through, as log_verify does, in pieces:
 *   log_scrub_next, _create (owner)       which one comes at or behind an offset; false: none
 *   log_scrub_run           (any thread)  reads about max_bytes more of it, in a file handle of its own
 *   log_scrub_end           (owner)       true: damage was found and is refused to readers from now on, the log takes no
 *                                         more appends. Frees. l NULL: the log is gone */
struct log_scrub_place {
    int64_t base, next;
    uint64_t size;
};
struct log_scrub;
bool log_scrub_next(struct log *l, int64_t from, struct log_scrub_place *out);
struct log_scrub *log_scrub_create(struct log *l, const struct log_scrub_place *place);
MUST_USE enum err_code log_scrub_run(struct log_scrub *s, uint64_t max_bytes, uint64_t *n_bytes, bool *more,
                                     struct err *e);
bool log_scrub_end(struct log *l, struct log_scrub *s, int64_t *from, int64_t *to);

/* What producer.h knows of an aborted transaction: the batches of the producer from first to last, the marker's offset,
 * are void. */
struct aborted_txn {
    int64_t producer_id, first, last;
    int64_t stable; /* nothing before it was open when this one ended */
};

/* ---- producer.h keeps the idempotence state of one log; recovery feeds it through this. Called for every batch header
 * from `from` on, in order (headers only, no CRC). */
typedef void (*log_batch_fn)(void *arg, const struct batch_view *v);
MUST_USE enum err_code log_scan(struct log *l, int64_t from, log_batch_fn fn, void *arg, struct err *e);

#endif
