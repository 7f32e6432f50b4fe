/* snappy.h: the raw snappy block format, without framing. Pure functions; any thread. Format: snappy.c.
 * Own code because libsnappy brings the C++ run-time library along. */
#ifndef WEIR_BASE_SNAPPY_H
#define WEIR_BASE_SNAPPY_H

#include "base/bytes.h"
#include "base/check.h"

/* Bytes that snappy_block_compress may write for n bytes of input. n <= INT32_MAX. */
size_t snappy_block_bound(size_t n);
/* Returns the length written to out, which holds snappy_block_bound(in.len) bytes and does not overlap `in`. Uses 32
 * KiB of stack. */
size_t snappy_block_compress(struct bytes in, uint8_t *out);
/* What the block says it expands to; false when malformed, or when no block of this length can expand so far. */
MUST_USE bool snappy_block_length(struct bytes in, size_t *len);
/* Expands to exactly len bytes (from snappy_block_length). False: malformed; out then holds rubbish. */
MUST_USE bool snappy_block_decompress(struct bytes in, uint8_t *out, size_t len);

#endif
