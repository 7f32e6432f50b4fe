/* swap.h: putting a cleaned segment in the place of those it was made of, so that a crash at any point either finishes
 * it or undoes it; and the small file `compaction` that says how far a log is cleaned. Format and order: swap.c,
 * docs/format/log.md. */
#ifndef WEIR_LOG_SWAP_H
#define WEIR_LOG_SWAP_H

#include "base/bytes.h"
#include "base/err.h"
#include "sys/sys.h"

#define SWAP_VERSION 1u
#define SWAP_RECORD_LEN 64u
#define SWAP_RECORD_NAME "compaction"
#define SWAP_SUFFIX ".cleaned"

struct swap_record {
    int64_t clean_until; /* every segment below was cleaned with the keys up to here */
    int64_t horizon_ms;  /* the next time at which tombstones or markers may go; INT64_MAX: none waits */
    int64_t base;        /* of the swap under way; -1: none */
    int64_t end;         /* the segments with bases in [base, end) are replaced by one */
    uint64_t size;       /* of that one */
};

void swap_encode(uint8_t out[SWAP_RECORD_LEN], const struct swap_record *r);
/* ERR_CORRUPT, ERR_UNSUPPORTED (newer). */
MUST_USE enum err_code swap_decode(struct bytes in, struct swap_record *out);
/* ERR_NONE with an empty record when the file is missing, empty or damaged. */
MUST_USE enum err_code swap_read(struct fs *fs, const char *dir, struct swap_record *out, struct err *e);
/* Writes and syncs it. */
MUST_USE enum err_code swap_write(struct fs *fs, const char *dir, const struct swap_record *r, struct err *e);
/* A swap that a crash has left: *is_done: the directory now holds the one segment in the place of all, without an
 * index; false: there is nothing to finish, and cleaned files are leftovers. */
MUST_USE enum err_code swap_finish(struct fs *fs, const char *dir, const struct swap_record *r, const int64_t *bases,
                                   size_t n_bases, bool *is_done, struct err *e);
/* Without changing anything: is the segment to be read from its cleaned file? */
bool swap_is_ahead(struct fs *fs, const char *dir, const struct swap_record *r);

#endif
