/* compact.h: cleaning a log by keys: of the records with the same key the newest stays. What that means: compact.c.
 *
 * One cleaning of one log at a time, in slices. Between slices it belongs to the owner of the log, during one to any one
 * thread:
 *
 *      log_compact_begin (owner) ──▶ log_compact_run (any thread) ──▶ log_compact_turn (owner) ──▶ COMPACT_MORE: again
 *                                          ▲                                 │
 *                                          └─────────────────────────────────┘ COMPACT_DONE, or an error: end
 *
 * Meanwhile the log is read, appended to, synced and trimmed as always. */
#ifndef WEIR_LOG_COMPACT_H
#define WEIR_LOG_COMPACT_H

#include "log/log.h"
#include "log/producer.h"

struct compaction;
struct compact_options {
    int64_t limit;               /* nothing at or above is touched: the last stable offset */
    int64_t now_ms;              /* for horizons */
    int64_t min_lag_ms;          /* records younger than this stay as they are */
    int64_t delete_retention_ms; /* so long tombstones and markers stay after the cleaning that first meets them */
    uint64_t segment_bytes;      /* neighbours are merged up to this size */
    size_t map_bytes_max;        /* 0: LIMIT_COMPACT_MAP_BYTES */
    uint64_t slice_bytes;        /* 0: LIMIT_COMPACT_SLICE_BYTES */
    const struct producers *producers; /* asked once, in begin */
};

/* What there is to do. Owner. */
struct compact_look {
    uint64_t clean_bytes,
        dirty_bytes;    /* of the segments that may be cleaned: below and from the first dirty offset on */
    int64_t horizon_ms; /* when tombstones or markers may go; INT64_MAX: none waits */
    bool is_waiting;    /* sealed records are too young or not stable yet */
    bool is_possible;   /* false: stopped, damaged, or an earlier cleaning has failed on the disk */
};
void log_compact_look(struct log *l, const struct compact_options *o, struct compact_look *out);
/* The largest timestamp of the first sealed batch that is not cleaned; -1: there is none. May open a segment. */
int64_t log_compact_dirty_since(struct log *l);

/* ERR_NOT_FOUND: nothing to clean. */
MUST_USE enum err_code log_compact_begin(struct compaction **out, struct log *l, const struct compact_options *o,
                                         struct err *e);
/* One slice; blocks for the disk. Any thread, one at a time. */
void log_compact_run(struct compaction *c);
/* Offsets of abort markers that the next turn will take away. The caller makes its index of aborted transactions forget
 * them first, durably (P7 in producer.c would otherwise name a transaction without an end). Rising; valid until the
 * turn. */
size_t log_compact_markers(const struct compaction *c, const int64_t **offsets);
enum compact_state { COMPACT_MORE, COMPACT_DONE, COMPACT_FAILED };
/* FAILED: e says why; the log is as it was, or as far as it was cleaned. ERR_NO_SPACE: may be tried again. */
enum compact_state log_compact_turn(struct compaction *c, struct err *e);
/* At any time between slices; after DONE and FAILED, too. NULL is harmless. */
void log_compact_end(struct compaction *c);

struct compact_stats {
    uint64_t bytes_read, bytes_before, bytes_after; /* before, after: of the segments that were replaced */
    uint64_t records_removed, segments_before, segments_after;
    bool has_more; /* the table of keys was full: there is another pass to do */
};
void log_compact_stats(const struct compaction *c, struct compact_stats *out);

#endif
