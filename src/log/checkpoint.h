/* checkpoint.h: the small file that says where the log starts and what of it is known to be durable. Format:
 * checkpoint.c. Thread: the shard. */
#ifndef WEIR_LOG_CHECKPOINT_H
#define WEIR_LOG_CHECKPOINT_H

#include "sys/sys.h"

#define CHECKPOINT_VERSION 1u
#define CHECKPOINT_SLOT_LEN 64u
#define CHECKPOINT_SLOT_STRIDE 512u /* a sector each: a torn write hurts one slot only */
#define CHECKPOINT_FILE_LEN (2 * CHECKPOINT_SLOT_STRIDE)
#define CHECKPOINT_NAME "checkpoint"
#define CHECKPOINT_DISTRUST_TAIL 1u /* a sync failed: what lies behind `position` may exist in memory only */

struct checkpoint {
    uint64_t generation; /* checkpoint_write counts it up */
    int64_t start;       /* first offset that may be read */
    int64_t durable;     /* every record below was synced; this offset is at `position` of segment `segment_base` */
    int64_t segment_base;
    uint64_t position;
    int32_t epoch;
    uint32_t flags;
};
struct checkpoint_file {
    /* Borrowed: file system, directory path. */
    struct fs *fs;
    const char *dir;
    /* Owned; NULL until the first write. */
    struct file *file;
    uint64_t generation; /* of the newest slot; 0: none */
    int newest;          /* slot, -1: none */
    int safe;            /* slot known to be on disk; never overwritten. -1: not known */
    bool name_synced;
    bool failed; /* a sync failed: nothing is written any more */
};

void checkpoint_init(struct checkpoint_file *f, struct fs *fs, const char *dir);
void checkpoint_deinit(struct checkpoint_file *f);
/* The newest intact slot. ERR_NOT_FOUND: missing, empty or damaged: scan everything. ERR_UNSUPPORTED: newer version.
 * Writes nothing. */
MUST_USE enum err_code checkpoint_read(struct checkpoint_file *f, struct checkpoint *out, struct err *e);
/* Writes c to the slot that may be lost. With `sync`, returns after it is on disk (and the file's name). */
MUST_USE enum err_code checkpoint_write(struct checkpoint_file *f, const struct checkpoint *c, bool sync,
                                        struct err *e);
/* One slot's bytes; for log_verify as well. */
void checkpoint_encode(uint8_t out[CHECKPOINT_SLOT_LEN], const struct checkpoint *c);
MUST_USE enum err_code checkpoint_decode(const uint8_t in[CHECKPOINT_SLOT_LEN], struct checkpoint *out);

#endif
