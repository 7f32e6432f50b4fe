/* scan.h: walks the batches of a segment file and checks each one wholly. For recovery, index rebuilding and verify;
 * the reading path uses the mapping instead. Reads with pread, so that a failing disk is an error and not a signal. One
 * owner. */
#ifndef WEIR_LOG_SCAN_H
#define WEIR_LOG_SCAN_H

#include "base/batch.h"
#include "sys/sys.h"

enum scan_step {
    SCAN_BATCH, /* a good batch, in *v; the scan stands behind it */
    SCAN_END,   /* exactly at the end of the file */
    SCAN_BAD,   /* not a good batch; the scan stands before it; `what` says why */
    SCAN_ERROR, /* the read failed; in e */
};
struct scan {
    /* Borrowed. */
    struct fs *fs;
    struct file *file;
    /* The reader's place. */
    uint64_t size; /* of the file */
    uint64_t position;
    int64_t next_offset; /* that the batch must have; -1: any */
    int32_t epoch;       /* of the batch before; must not fall */
    const char *what;    /* after SCAN_BAD */
    bool is_body_only;   /* after SCAN_BAD: the head fits, *v is filled, scan_skip may step over it */
    /* Owned: what has been read. */
    uint8_t *window;
    size_t window_cap, window_len;
    uint64_t window_at;
};
void scan_init(struct scan *s, struct fs *fs, struct file *file, uint64_t size, uint64_t position, int64_t next_offset,
               int32_t epoch);
void scan_deinit(struct scan *s);
/* v->bytes is valid until the next call. */
MUST_USE enum scan_step scan_next(struct scan *s, struct batch_view *v, struct err *e);
void scan_skip(struct scan *s, const struct batch_view *v);
/* Base offset in the head at a later position; -1: no head there. */
int64_t scan_peek_offset(const struct scan *s, uint64_t position);

#endif
