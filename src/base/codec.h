/* codec.h: the four compressions of Kafka batches. Output is bounded; trailing garbage is an error. Any thread. */
#ifndef WEIR_BASE_CODEC_H
#define WEIR_BASE_CODEC_H

#include "base/batch.h"

/* Replaces the content of out. Snappy is read in both forms (raw block, xerial framing); lz4 is any legal frame.
 * ERR_CORRUPT: malformed or larger than max_len. ERR_UNSUPPORTED: unknown codec. ERR_LIMIT: larger than out->max.
 * ERR_MEMORY. Memory grows with the bytes that really come out, not with what a header claims. `in` is not part of out.
 * */
MUST_USE enum err_code codec_decompress(enum batch_codec codec, struct bytes in, size_t max_len, struct buf *out,
                                        struct err *e);
/* Appends to out; nothing on failure. `in` is not part of out. ERR_LIMIT, ERR_MEMORY, ERR_TOO_LARGE (2 GiB). Snappy is
 * written in xerial framing, as Java does. */
MUST_USE enum err_code codec_compress(enum batch_codec codec, struct bytes in, struct buf *out, struct err *e);
/* "none", "gzip", "snappy", "lz4", "zstd"; parse: false when unknown. */
const char *codec_name(enum batch_codec codec);
bool codec_parse(const char *name, enum batch_codec *out);

#endif
