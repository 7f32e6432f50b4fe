/* codec.c: gzip, snappy, lz4 and zstd behind two calls.
 *
 * Z1  Nothing is allocated on the word of a header: output grows by doubling as bytes really come out, up to
 *     max_len + 1 bytes, where the one extra byte is the proof of "too long". (A snappy block's length is checked
 *     against what its input could ever expand to.)
 * Z2  The input ends exactly where the compressed data ends. Concatenated gzip members and lz4 or zstd frames are one
 *     stream, as their own tools see it; anything else behind the end is an error.
 *
 * Contexts are made per call: at batch sizes this is a few microseconds, and no thread-local state hides in a library.
 */
#include "base/codec.h"

#include <limits.h>
#include <lz4frame.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "base/snappy.h"

#define GROW_FIRST 4096u
#define ZSTD_LEVEL 3
#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB: no batch needs more, LIMIT_DECOMPRESSED_BYTES_MAX */
#define GZIP_WINDOW_BITS (15 + 16)
#define XERIAL_HEADER_LEN 16u
#define XERIAL_BLOCK_LEN (32u << 10)

static const uint8_t XERIAL_HEADER[XERIAL_HEADER_LEN] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1};

static const char *const NAMES[] = {"none", "gzip", "snappy", "lz4", "zstd"};

const char *codec_name(enum batch_codec codec)
{
    return (unsigned)codec < ARRAY_LEN(NAMES) ? NAMES[codec] : "unknown";
}

bool codec_parse(const char *name, enum batch_codec *out)
{
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            *out = (enum batch_codec)i;
            return true;
        }
    }
    return false;
}

static enum err_code malformed(struct err *e, enum batch_codec codec, const char *why)
{
    return err_set(e, ERR_CORRUPT, "%s data: %s", codec_name(codec), why);
}

static enum err_code too_long(struct err *e, enum batch_codec codec, size_t max_len)
{
    return err_set(e, ERR_CORRUPT, "%s data expands to more than %zu bytes", codec_name(codec), max_len);
}

static enum err_code out_failed(const struct buf *out, struct err *e)
{
    if (out->max != 0)
        return err_set(e, ERR_LIMIT, "the output is larger than its buffer may become (%zu bytes)", out->max);
    return err_set(e, ERR_MEMORY, "no memory for the output");
}

/* Makes room behind out->len: at least one byte, at most up to max_len + 1 in all (Z1). 0: failed. */
static size_t make_room(struct buf *out, size_t max_len)
{
    size_t want = out->len < GROW_FIRST ? GROW_FIRST : out->len;
    size_t most = max_len + 1 - out->len;

    if (out->max != 0 && out->len < out->max && most > out->max - out->len) most = out->max - out->len;
    if (want > most) want = most;
    if (out->cap - out->len < want && !buf_reserve(out, want)) return 0;
    size_t room = out->cap - out->len;
    return room < most ? room : most;
}

/* ---- expanding ---- */

static enum err_code gunzip(struct bytes in, size_t max_len, struct buf *out, struct err *e)
{
    z_stream z = {.next_in = in.ptr, .avail_in = (uInt)in.len};
    enum err_code rc = ERR_NONE;

    if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK) return err_set(e, ERR_MEMORY, "no memory for gzip");
    for (;;) {
        size_t room = make_room(out, max_len);
        if (room == 0) {
            rc = out_failed(out, e);
            break;
        }
        z.next_out = out->ptr + out->len;
        z.avail_out = (uInt)room;
        int r = inflate(&z, Z_NO_FLUSH);
        out->len += room - z.avail_out;
        if (out->len > max_len) {
            rc = too_long(e, CODEC_GZIP, max_len);
            break;
        }
        if (r == Z_STREAM_END) {
            if (z.avail_in == 0) break;
            r = inflateReset(&z); /* the next member */
        }
        if (r == Z_MEM_ERROR) {
            rc = err_set(e, ERR_MEMORY, "no memory for gzip");
            break;
        }
        if (r != Z_OK || (z.avail_in == 0 && z.avail_out != 0)) {
            rc = malformed(e, CODEC_GZIP, z.msg ? z.msg : "cut off");
            break;
        }
    }
    inflateEnd(&z);
    return rc;
}

static enum err_code unlz4(struct bytes in, size_t max_len, struct buf *out, struct err *e)
{
    LZ4F_dctx *ctx = NULL;
    enum err_code rc = ERR_NONE;
    size_t at = 0, hint = 1;

    if (LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION))) {
        return err_set(e, ERR_MEMORY, "no memory for lz4");
    }
    for (;;) {
        if (at == in.len && hint == 0) break; /* a frame ended where the input ends */
        size_t produced = make_room(out, max_len), consumed = in.len - at;
        if (produced == 0) {
            rc = out_failed(out, e);
            break;
        }
        hint = LZ4F_decompress(ctx, out->ptr + out->len, &produced, in.ptr + at, &consumed, NULL);
        if (LZ4F_isError(hint)) {
            rc = malformed(e, CODEC_LZ4, LZ4F_getErrorName(hint));
            break;
        }
        out->len += produced;
        at += consumed;
        if (out->len > max_len) {
            rc = too_long(e, CODEC_LZ4, max_len);
            break;
        }
        if (hint != 0 && produced == 0 && consumed == 0) {
            rc = malformed(e, CODEC_LZ4, "cut off");
            break;
        }
    }
    LZ4F_freeDecompressionContext(ctx);
    return rc;
}

static enum err_code unzstd(struct bytes in, size_t max_len, struct buf *out, struct err *e)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_inBuffer src = {.src = in.ptr, .size = in.len, .pos = 0};
    enum err_code rc = ERR_NONE;
    size_t hint = 1;

    if (ctx == NULL) return err_set(e, ERR_MEMORY, "no memory for zstd");
    check(!ZSTD_isError(ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)));
    for (;;) {
        if (src.pos == src.size && hint == 0) break;
        size_t room = make_room(out, max_len), before = src.pos;
        if (room == 0) {
            rc = out_failed(out, e);
            break;
        }
        ZSTD_outBuffer dst = {.dst = out->ptr + out->len, .size = room, .pos = 0};
        hint = ZSTD_decompressStream(ctx, &dst, &src);
        if (ZSTD_isError(hint)) {
            rc = malformed(e, CODEC_ZSTD, ZSTD_getErrorName(hint));
            break;
        }
        out->len += dst.pos;
        if (out->len > max_len) {
            rc = too_long(e, CODEC_ZSTD, max_len);
            break;
        }
        if (hint != 0 && dst.pos == 0 && src.pos == before) {
            rc = malformed(e, CODEC_ZSTD, "cut off");
            break;
        }
    }
    ZSTD_freeDCtx(ctx);
    return rc;
}

static enum err_code unsnappy_block(struct bytes block, size_t max_len, struct buf *out, struct err *e)
{
    size_t len;

    if (!snappy_block_length(block, &len)) return malformed(e, CODEC_SNAPPY, "impossible block length");
    if (len > max_len - out->len) return too_long(e, CODEC_SNAPPY, max_len);
    uint8_t *at = buf_extend(out, len);
    if (at == NULL) return out_failed(out, e);
    if (!snappy_block_decompress(block, at, len)) return malformed(e, CODEC_SNAPPY, "malformed block");
    return ERR_NONE;
}

/* Two forms: Java's framing of blocks with a length before each, known by its first 8 bytes, or one raw block. */
static enum err_code unsnappy(struct bytes in, size_t max_len, struct buf *out, struct err *e)
{
    if (in.len < 8 || memcmp(in.ptr, XERIAL_HEADER, 8) != 0) return unsnappy_block(in, max_len, out, e);
    if (in.len < XERIAL_HEADER_LEN) return malformed(e, CODEC_SNAPPY, "cut off");
    for (size_t at = XERIAL_HEADER_LEN; at < in.len;) {
        if (in.len - at < 4) return malformed(e, CODEC_SNAPPY, "cut off");
        size_t len = be32_get(in.ptr + at);
        at += 4;
        if (len > in.len - at) return malformed(e, CODEC_SNAPPY, "cut off");
        enum err_code rc = unsnappy_block(bytes_slice(in, at, len), max_len, out, e);
        if (rc != ERR_NONE) return rc;
        at += len;
    }
    return ERR_NONE;
}

enum err_code codec_decompress(enum batch_codec codec, struct bytes in, size_t max_len, struct buf *out, struct err *e)
{
    buf_clear(out);
    if (max_len > INT_MAX) max_len = INT_MAX;
    if (in.len > INT_MAX) return err_set(e, ERR_TOO_LARGE, "%zu bytes of compressed data", in.len);
    if (in.len == 0 && codec != CODEC_NONE) return malformed(e, codec, "empty");
    switch (codec) {
    case CODEC_NONE:
        if (in.len > max_len) return too_long(e, codec, max_len);
        buf_put_bytes(out, in);
        return out->failed ? out_failed(out, e) : ERR_NONE;
    case CODEC_GZIP: return gunzip(in, max_len, out, e);
    case CODEC_SNAPPY: return unsnappy(in, max_len, out, e);
    case CODEC_LZ4: return unlz4(in, max_len, out, e);
    case CODEC_ZSTD: return unzstd(in, max_len, out, e);
    }
    return err_set(e, ERR_UNSUPPORTED, "unknown compression %d", (int)codec);
}

/* ---- compressing: each appends, or leaves out->len where it was ---- */

static enum err_code gzip(struct bytes in, struct buf *out, struct err *e)
{
    z_stream z = {0};

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return err_set(e, ERR_MEMORY, "no memory for gzip");
    }
    size_t bound = deflateBound(&z, in.len);
    if (!buf_reserve(out, bound)) {
        deflateEnd(&z);
        return out_failed(out, e);
    }
    z.next_in = in.ptr;
    z.avail_in = (uInt)in.len;
    z.next_out = out->ptr + out->len;
    z.avail_out = (uInt)bound;
    int r = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    check(r == Z_STREAM_END);
    out->len += bound - z.avail_out;
    return ERR_NONE;
}

static enum err_code lz4(struct bytes in, struct buf *out, struct err *e)
{
    const LZ4F_preferences_t prefs = {.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    size_t bound = LZ4F_compressFrameBound(in.len, &prefs);

    if (!buf_reserve(out, bound)) return out_failed(out, e);
    size_t n = LZ4F_compressFrame(out->ptr + out->len, bound, in.ptr, in.len, &prefs);
    if (LZ4F_isError(n)) return err_set(e, ERR_MEMORY, "lz4: %s", LZ4F_getErrorName(n));
    out->len += n;
    return ERR_NONE;
}

static enum err_code zstd(struct bytes in, struct buf *out, struct err *e)
{
    size_t bound = ZSTD_compressBound(in.len);

    if (!buf_reserve(out, bound)) return out_failed(out, e);
    size_t n = ZSTD_compress(out->ptr + out->len, bound, in.ptr, in.len, ZSTD_LEVEL);
    if (ZSTD_isError(n)) return err_set(e, ERR_MEMORY, "zstd: %s", ZSTD_getErrorName(n));
    out->len += n;
    return ERR_NONE;
}

static enum err_code snappy(struct bytes in, struct buf *out, struct err *e)
{
    size_t blocks = in.len / XERIAL_BLOCK_LEN + 1;
    size_t bound = XERIAL_HEADER_LEN + blocks * (4 + snappy_block_bound(XERIAL_BLOCK_LEN));

    if (!buf_reserve(out, bound)) return out_failed(out, e);
    buf_put(out, XERIAL_HEADER, XERIAL_HEADER_LEN);
    for (size_t at = 0; at < in.len;) {
        size_t n = in.len - at < XERIAL_BLOCK_LEN ? in.len - at : XERIAL_BLOCK_LEN;
        uint8_t *to = out->ptr + out->len;
        size_t len = snappy_block_compress(bytes_slice(in, at, n), to + 4);
        be32_put(to, (uint32_t)len);
        out->len += 4 + len;
        at += n;
    }
    check(out->len <= out->cap);
    return ERR_NONE;
}

enum err_code codec_compress(enum batch_codec codec, struct bytes in, struct buf *out, struct err *e)
{
    if (in.len > INT_MAX / 2) return err_set(e, ERR_TOO_LARGE, "%zu bytes to compress", in.len);
    switch (codec) {
    case CODEC_NONE: buf_put_bytes(out, in); return out->failed ? out_failed(out, e) : ERR_NONE;
    case CODEC_GZIP: return gzip(in, out, e);
    case CODEC_SNAPPY: return snappy(in, out, e);
    case CODEC_LZ4: return lz4(in, out, e);
    case CODEC_ZSTD: return zstd(in, out, e);
    }
    return err_set(e, ERR_UNSUPPORTED, "unknown compression %d", (int)codec);
}
