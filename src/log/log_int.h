/* log_int.h: what the files of this room share about one open log. Nobody outside includes it. */
#ifndef WEIR_LOG_LOG_INT_H
#define WEIR_LOG_LOG_INT_H

#include <pthread.h>

#include "base/limits.h"
#include "log/checkpoint.h"
#include "log/log.h"
#include "log/scan.h"
#include "log/segment.h"
#include "log/swap.h"

/* Bounds of this room alone. */
#define LOG_DAMAGES_MAX 16     /* ranges kept apart; more: the last one grows to hold them */
#define LOG_SEALED_OPEN_MAX 64 /* sealed segments kept open (descriptor, index memory); more: least used closes */
/* Written after so many synced bytes: recovery reads back no more than this. With 8 MiB a thousand partitions of 10 GiB
 * took 7 s to open after a kill -9. It is a write of 64 bytes into the page cache. */
#define LOG_CHECKPOINT_BYTES (1u << 20)
#define LOG_CHECKPOINT_SYNCS 256                   /* or after so many syncs */
#define LOG_DIR_LEN_MAX (LIMIT_PATH_LEN_MAX - 128) /* leaves room for the names below */
#define LOG_QUARANTINE "quarantine"

struct log_damage_range {
    int64_t from, to; /* both unreadable */
};
/* A place in the array of segments. The last one is the active segment; the fields of sealed ones do not change. */
struct log_slot {
    int64_t base;
    int64_t next; /* sealed: base of the following one */
    int64_t max_timestamp;
    uint64_t size;
    int32_t epoch;       /* of the last batch */
    struct segment *seg; /* one reference; NULL: not open. The active one always is */
    uint64_t used;       /* tick of the last use */
    bool pinned;         /* stays open: compaction is replacing its file */
};

struct log {
    /* Borrowed. Outlives the log. */
    const struct sys *sys;
    struct fs *fs;
    /* Owned, fixed. */
    char *dir, *parent;
    int32_t epoch;
    /* Owner writes, any thread reads. start <= durable <= end. */
    _Atomic int64_t start, durable, end;
    _Atomic uint64_t size;
    _Atomic bool stopped;

    /* `lock` protects the array of segments, their open state and the damage ranges: readers on other threads look
     * segments up in it. Held for lookups (which may open a sealed segment), roll and retention; never while appending
     * or syncing. A message to the owner instead would put every read of a worker thread behind the owner's event loop.
     * Innermost: nothing is taken under it. */
    pthread_mutex_t lock;
    struct log_slot *slots; /* owned */
    size_t n_slots, cap_slots, n_sealed_open;
    uint64_t tick;
    struct log_damage_range damage[LOG_DAMAGES_MAX];
    size_t n_damage;

    /* Owner only from here. */
    struct log_options o;
    struct segment *active; /* borrowed from the last slot */
    bool refuses_appends;   /* recovery found rot */
    struct checkpoint_file checkpoint;
    /* What is known to be on disk: offset `synced` is at synced_position of segment synced_base. In os mode it stays
     * behind. */
    int64_t synced, synced_base;
    uint64_t synced_position;
    bool dir_unsynced, parent_unsynced; /* names were created there */
    uint64_t bytes_since_checkpoint;
    unsigned syncs_since_checkpoint;
    bool checkpoint_stale;
    /* Compaction. `cleaned`: as in the file, without a swap. While a swap runs, no segment is removed; when one has
     * failed half way that holds until the next open, which finishes it. */
    struct swap_record cleaned;
    struct compaction *cleaning; /* borrowed: its own */
    uint64_t n_swaps;            /* begun */
    bool swap_running;
    bool cleaning_blocked; /* a cleaning met rot or a failing disk: no other until the next open */
    /* One sync in flight. Written by log_sync_begin, read by log_sync_run, not touched in between. */
    bool sync_running, sync_names_dir, sync_names_parent;
    struct segment *sync_segments[4]; /* one reference each */
};

static inline size_t log_map_len(const struct log *l)
{
    uint64_t n = l->o.segment_bytes > LIMIT_BATCH_BYTES_MAX ? l->o.segment_bytes : LIMIT_BATCH_BYTES_MAX;
    return n > LIMIT_SEGMENT_BYTES_MAX ? LIMIT_SEGMENT_BYTES_MAX : (size_t)n;
}
/* "<dir>/<name>". */
void log_path(const struct log *l, char out[LIMIT_PATH_LEN_MAX], const char *name);
void log_stop(struct log *l);

/* ---- slots; with the lock held, or before the log is shared ---- */
/* Appends a slot; takes over the caller's reference of seg (NULL: none). */
void log_slot_push(struct log *l, const struct log_slot *slot);
/* The slot whose range holds the offset, or NULL. */
struct log_slot *log_slot_find(struct log *l, int64_t offset);
/* Opens a sealed segment when needed; its index is complete then. The reference is the caller's. */
MUST_USE enum err_code log_slot_acquire(struct log *l, struct log_slot *slot, struct segment **out, struct err *e);
/* Notes an unreadable range, as far as it is not below the start. */
void log_damage_add(struct log *l, int64_t from, int64_t to);
/* The first damage that ends at or behind the offset, or NULL. */
const struct log_damage_range *log_damage_at(const struct log *l, int64_t offset);
enum err_code log_damage_error(const struct log_damage_range *d, struct err *e);

/* Result of checking the rest of a segment, from what its index covers to the end of its file. */
struct log_rest {
    bool cut;     /* the bytes behind seg->size are a torn tail */
    int64_t next; /* offset at which the log goes on */
    uint64_t scanned_bytes;
};
/* Bad bytes below `durable` are rot and noted as damage; at or above it they are a torn tail. next_base: where the
 * following segment starts, INT64_MAX: there is none. */
MUST_USE enum err_code log_scan_rest(struct log *l, struct segment *seg, uint64_t file_size, int64_t durable,
                                     int64_t next_base, struct log_rest *out, struct err *e);

/* Creates the segment at the log's end and makes it the active one. The former one must be sealed. */
MUST_USE enum err_code log_create_active(struct log *l, struct err *e);
/* Writes the checkpoint as things stand, with this start offset. Without `sync` an error is no loss. */
enum err_code log_write_checkpoint(struct log *l, int64_t start, bool sync, uint32_t flags, struct err *e);
/* log_sync_begin for any mode. */
bool log_sync_begin_any(struct log *l, struct log_sync *s);

#endif
