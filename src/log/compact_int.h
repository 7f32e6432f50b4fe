/* compact_int.h: one cleaning under way; shared by compact.c (its course) and compact_filter.c (what stays). */
#ifndef WEIR_LOG_COMPACT_INT_H
#define WEIR_LOG_COMPACT_INT_H

#include "base/batch_edit.h"
#include "base/map.h"
#include "log/compact.h"
#include "log/keymap.h"
#include "log/log_int.h"
#include "log/swap.h"

#define COMPACT_GROUP_MAX 32             /* segments merged into one at a time: their descriptors are open meanwhile */
#define COMPACT_WRITE_BYTES (1u << 20)   /* written at once */
#define COMPACT_SYNC_BYTES (16ull << 20) /* synced after so many: one big sync would hold up those of the log */
_Static_assert(COMPACT_GROUP_MAX < LOG_SEALED_OPEN_MAX, "a group stays open");

enum compact_phase {
    PHASE_SYNC,
    PHASE_MAP,
    PHASE_FILTER,
    PHASE_READY,
    PHASE_SWAP,
    PHASE_SWAPPED,
    PHASE_MARK,
    PHASE_OVER
};

struct compact_source {
    int64_t base, next;
    uint64_t size;
};
/* The segment that is read. */
struct compact_reader {
    struct segment *seg; /* one reference; NULL: none */
    struct scan scan;
    size_t source; /* number */
    /* Of the index interval under way: what Kafka's checksum leaves out must be as the index says. */
    uint32_t entry, heads_crc, batch_count;
};
/* The segment that is written. */
struct compact_writer {
    struct segment *seg; /* one reference; NULL: none */
    struct buf buf;
    uint64_t written, synced; /* bytes of the file; buf follows */
    bool is_lazy;             /* so far all is as in the one source: nothing was written */
    /* Offsets whose records are gone and that are not written yet. */
    int64_t hole_from, hole_to; /* from -1: none */
    int32_t hole_epoch;
    bool is_hole_old; /* it is exactly one empty batch of the source */
};
/* Aborted transactions as the batches pass by, in order of offsets. */
struct compact_txns {
    struct aborted_txn *all; /* owned; by rising first */
    size_t n, next;          /* next: the first that has not begun */
    struct aborted_txn *on;  /* owned; that have begun and not ended */
    size_t n_on, cap_on;
    struct map with_data; /* producer ids whose transaction had data since its last marker */
};

struct compaction {
    struct log *log;
    struct compact_options o;
    enum compact_phase phase;
    enum err_code rc;
    struct err error;
    struct compact_source *sources; /* owned; sealed, durable, stable, old enough; by rising base */
    size_t n_sources;
    int64_t map_from, map_end; /* the keys of [map_from, map_end) are in the map */
    bool is_map_full;
    int64_t horizon_ms; /* the earliest that was left */
    struct producer_last *last;
    size_t n_last;
    struct keymap map;
    struct compact_txns txns;
    struct compact_reader in;
    size_t group_from, group_to; /* sources [from, to) become one segment */
    uint64_t group_left;         /* bytes of them still to come */
    struct compact_writer out;
    int64_t *markers; /* owned: of abort markers that this group drops */
    size_t n_markers, cap_markers;
    struct batch_edit edit;
    struct buf plain, rewritten;
    struct log_sync sync; /* PHASE_SYNC */
    bool is_syncing;
    bool is_committed; /* a swap has begun and is not known to be over: no other cleaning until the next open */
    struct compact_stats stats;
};

/* compact_filter.c */
void compact_txns_reset(struct compact_txns *t);
/* One batch of the stretch whose keys are collected. Sets map_end when the table is full. */
enum err_code compact_collect(struct compaction *c, const struct batch_view *v, struct err *e);
/* One batch into the group's segment: as it is, with fewer records, empty or not at all. */
enum err_code compact_filter(struct compaction *c, const struct batch_view *v, struct err *e);
/* compact_write.c */
enum err_code compact_writer_open(struct compaction *c, struct err *e);
enum err_code compact_write(struct compaction *c, struct bytes batch, bool is_old, struct err *e);
enum err_code compact_hole(struct compaction *c, const struct batch_view *v, struct err *e);
enum err_code compact_writer_finish(struct compaction *c, bool *is_changed, struct err *e);
void compact_writer_drop(struct compaction *c);

#endif
