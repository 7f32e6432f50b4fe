/* segment.h: one open segment: its file, mapping and index. Format: segment.c.
 * Thread: the owner of the log appends; any thread reads what lies below an offset it learned from the log's durable
 * offset. */
#ifndef WEIR_LOG_SEGMENT_H
#define WEIR_LOG_SEGMENT_H

#include "base/batch.h"
#include "log/index.h"
#include "sys/sys.h"

struct segment {
    _Atomic int refs; /* slices, a running sync, and the log while the segment is in its array */
    /* Borrowed. */
    struct fs *fs;
    const char *dir; /* the log's; used by the owner only */
    /* Fixed. */
    int64_t base;
    struct file *file; /* owned */
    const uint8_t *map;
    size_t map_len; /* no byte is ever written beyond */
    /* Written by the owner, read by any thread. */
    struct index index;
    _Atomic uint64_t size; /* end of the good batches */
    _Atomic int64_t next;  /* offset behind them */
    _Atomic int64_t max_timestamp;
    _Atomic uint64_t populated; /* bytes of the mapping that a reader has asked the kernel for */
    /* The owner's: the interval that is not closed yet. */
    uint64_t open_from;
    uint32_t open_heads_crc, open_batch_count;
    /* The owner's. */
    int32_t epoch;           /* of the last batch; -1: none */
    int64_t first_ms;        /* when the first batch came; INT64_MAX: none yet */
    bool has_damage;         /* its index must stay incomplete, so that the next open looks again */
    bool writes_index;       /* the owner appends to it or rebuilds it */
    struct file *index_file; /* owned; NULL until the first flush */
    uint32_t index_flushed;  /* entries that are in the file */
};

/* "<dir>/<20 digits><suffix>"; out holds LIMIT_PATH_LEN_MAX. */
void segment_path(char *out, const char *dir, int64_t base, const char *suffix);
/* "<20 digits>.log" and the like; false: not such a name. */
bool segment_parse_name(const char *name, const char *suffix, int64_t *base);

/* Opens a segment file. `mode`: FS_CREATE_NEW, FS_WRITE or FS_READ. Maps map_len bytes, or as many as the file has when
 * that is more (0 and an empty file: no mapping). The segment is empty until segment_load_index or segment_note say
 * more. One reference. */
MUST_USE enum err_code segment_open(struct segment **out, struct fs *fs, const char *dir, int64_t base,
                                    enum fs_open mode, size_t map_len, uint64_t *file_size, struct err *e);
/* The same of a file with another name. */
MUST_USE enum err_code segment_open_as(struct segment **out, struct fs *fs, const char *dir, int64_t base,
                                       const char *suffix, enum fs_open mode, size_t map_len, uint64_t *file_size,
                                       struct err *e);
void segment_ref(struct segment *seg);
void segment_unref(struct segment *seg); /* the last one closes and frees. NULL is harmless. Any thread */

/* Takes the entries of the index file that are intact and end at or below `limit`; size and next then stand behind
 * them. */
MUST_USE enum err_code segment_load_index(struct segment *seg, uint64_t limit, struct err *e);
/* Takes note of a batch that lies at `size`: moves size and next, feeds the index. */
void segment_note(struct segment *seg, const struct batch_view *v);
/* Ends the open interval early, so that its heads are covered. */
void segment_close_interval(struct segment *seg);
/* Writes index entries that are not in the file yet. An error is no loss (X4): it may be tried again. */
enum err_code segment_flush_index(struct segment *seg, bool sync, struct err *e);
void segment_close_index(struct segment *seg);

/* ---- reading; any thread ---- */
/* A place between two batches. */
struct segment_place {
    uint64_t position;
    int64_t offset;
};
/* The head of the batch at a place, as far as readers need it. */
struct segment_head {
    const uint8_t *at;
    size_t len;
    int64_t next_offset;
    int64_t max_timestamp;
    int32_t epoch;
};
/* Start of the interval that holds `offset`. */
struct segment_place segment_floor(const struct segment *seg, int64_t offset);
/* False: the bytes at p are no batch of this place (or p is the end). */
bool segment_head_at(const struct segment *seg, struct segment_place p, struct segment_head *out);
/* Moves *p to the batch that holds `offset`. ERR_CORRUPT: an impossible head on the way. */
MUST_USE enum err_code segment_seek(const struct segment *seg, int64_t offset, struct segment_place *p, struct err *e);
/* Whole batches from the one that holds offset, only such as end at or below `limit`. Empty when there is none. */
MUST_USE enum err_code segment_read(struct segment *seg, int64_t offset, int64_t limit, size_t max_bytes,
                                    struct bytes *out, int64_t *next_offset, struct err *e);
/* First batch in [from, limit) whose maximum timestamp is at least ts_ms. ERR_NOT_FOUND: none. */
MUST_USE enum err_code segment_find_timestamp(const struct segment *seg, int64_t from, int64_t limit, int64_t ts_ms,
                                              struct segment_head *out, struct err *e);
/* Maximum timestamp of the batches in [from, limit); INT64_MIN: none. */
MUST_USE enum err_code segment_max_timestamp(const struct segment *seg, int64_t from, int64_t limit, int64_t *out,
                                             struct err *e);

#endif
