/* All codecs round-trip, refuse every truncation and any trailing byte (Z2), and stop at the bound however much a bomb
 * would expand to (Z1). Method: data of several shapes; prefixes in exact-size heap copies; zeros compressed and read
 * with small bounds; bytes written by other programs. */
#include "base/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/check.h"
#include "base/snappy.h"

#define MIB (1u << 20)

static uint64_t rng = 88172645463325252ull;

static uint8_t *make_data(size_t n, bool compressible)
{
    uint8_t *p = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        p[i] = compressible ? (uint8_t)("order-7,EUR,"[i % 12] + (rng % 50 == 0)) : (uint8_t)rng;
    }
    return p;
}

static void test_codec__round_trips(void **state)
{
    static const size_t LENS[] = {0, 1, 2, 100, 4095, 4096, 4097, 32767, 32768, 32769, 65536, 200000, MIB};
    struct buf packed, back;
    struct err e;

    print_message("seed %llu\n", (unsigned long long)rng);
    buf_init(&packed, 0);
    buf_init(&back, 0);
    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        for (size_t i = 0; i < ARRAY_LEN(LENS); i++) {
            for (int kind = 0; kind < 2; kind++) {
                uint8_t *data = make_data(LENS[i], kind);
                struct bytes in = bytes_of(data, LENS[i]);
                buf_clear(&packed);
                buf_put_str(&packed, "keep"); /* compress appends */
                assert_int_equal(codec_compress((enum batch_codec)codec, in, &packed, &e), ERR_NONE);
                assert_memory_equal(packed.ptr, "keep", 4);
                struct bytes body = bytes_slice(buf_bytes(&packed), 4, packed.len - 4);
                if (codec != CODEC_NONE && kind == 1 && LENS[i] >= 4096) assert_true(body.len < LENS[i] * 6 / 10);
                /* The bound may be exact. */
                assert_int_equal(codec_decompress((enum batch_codec)codec, body, LENS[i], &back, &e), ERR_NONE);
                assert_int_equal(back.len, LENS[i]);
                assert_memory_equal(back.ptr ? back.ptr : data, data, LENS[i]);
                if (LENS[i] > 0) {
                    assert_int_equal(codec_decompress((enum batch_codec)codec, body, LENS[i] - 1, &back, &e),
                                     ERR_CORRUPT);
                }
                free(data);
            }
        }
    }
    buf_deinit(&packed);
    buf_deinit(&back);
}

static void test_codec__truncation_and_garbage_are_errors(void **state)
{
    struct buf packed, back;
    struct err e;
    uint8_t *data = make_data(1500, true);

    buf_init(&packed, 0);
    buf_init(&back, 0);
    for (int codec = CODEC_GZIP; codec <= CODEC_ZSTD; codec++) {
        buf_clear(&packed);
        assert_int_equal(codec_compress((enum batch_codec)codec, bytes_of(data, 1500), &packed, &e), ERR_NONE);
        for (size_t cut = 0; cut < packed.len; cut++) {
            /* Java's snappy framing has no end mark: a cut behind its header is an empty stream. */
            if (codec == CODEC_SNAPPY && cut == 16) continue;
            uint8_t *heap = malloc(cut ? cut : 1);
            memcpy(heap, packed.ptr, cut);
            assert_int_equal(codec_decompress((enum batch_codec)codec, bytes_of(heap, cut), MIB, &back, &e),
                             ERR_CORRUPT);
            free(heap);
        }
        for (int n = 1; n < 20; n++) {
            buf_put_u8(&packed, 0x5a);
            assert_int_equal(codec_decompress((enum batch_codec)codec, buf_bytes(&packed), MIB, &back, &e),
                             ERR_CORRUPT);
        }
    }
    buf_deinit(&packed);
    buf_deinit(&back);
    free(data);
}

static void test_codec__mutations_are_harmless(void **state)
{
    struct buf packed, back;
    struct err e;
    uint8_t *data = make_data(700, true);

    buf_init(&packed, 0);
    buf_init(&back, 0);
    for (int codec = CODEC_GZIP; codec <= CODEC_ZSTD; codec++) {
        for (int round = 0; round < 1000; round++) {
            buf_clear(&packed);
            buf_clear(&back);
            if (round % 50 == 0) data[round % 700] ^= 1;
            assert_int_equal(codec_compress((enum batch_codec)codec, bytes_of(data, 700), &packed, &e), ERR_NONE);
            for (int i = 0; i < 1 + round % 3; i++) {
                rng ^= rng << 13;
                rng ^= rng >> 7;
                rng ^= rng << 17;
                packed.ptr[rng % packed.len] = (uint8_t)(rng >> 32);
            }
            enum err_code rc = codec_decompress((enum batch_codec)codec, buf_bytes(&packed), 100000, &back, &e);
            assert_true(rc == ERR_NONE || rc == ERR_CORRUPT);
            assert_true(back.len <= 100001);
        }
    }
    buf_deinit(&packed);
    buf_deinit(&back);
    free(data);
}

static void test_codec__bombs_stop_at_the_bound(void **state)
{
    struct buf packed, back;
    struct err e;
    uint8_t *zeros = calloc(1, 16 * MIB);

    buf_init(&packed, 0);
    for (int codec = CODEC_GZIP; codec <= CODEC_ZSTD; codec++) {
        buf_clear(&packed);
        assert_int_equal(codec_compress((enum batch_codec)codec, bytes_of(zeros, 16 * MIB), &packed, &e), ERR_NONE);
        assert_true(packed.len < MIB);
        buf_init(&back, 0);
        assert_int_equal(codec_decompress((enum batch_codec)codec, buf_bytes(&packed), 100000, &back, &e), ERR_CORRUPT);
        assert_true(back.cap <= 2 * 131072); /* and not what the frame's header claims */
        buf_deinit(&back);
        buf_init(&back, 50000); /* the buffer's own bound */
        assert_int_equal(codec_decompress((enum batch_codec)codec, buf_bytes(&packed), MIB, &back, &e), ERR_LIMIT);
        assert_true(back.cap <= 50000);
        buf_deinit(&back);
    }
    /* 28 bytes that promise 2 GiB in a raw block, and in a frame. */
    static const uint8_t RAW[28] = {0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 'a'};
    buf_init(&back, 0);
    assert_int_equal(codec_decompress(CODEC_SNAPPY, bytes_of(RAW, sizeof RAW), MIB, &back, &e), ERR_CORRUPT);
    assert_int_equal(back.cap, 0);
    buf_deinit(&back);
    buf_deinit(&packed);
    free(zeros);
}

static void assert_expands(enum batch_codec codec, const char *bytes, size_t n, const char *want)
{
    struct buf back;
    struct err e = {0};
    buf_init(&back, 0);
    enum err_code rc = codec_decompress(codec, bytes_of(bytes, n), MIB, &back, &e);
    if (rc != ERR_NONE) print_message("%s\n", e.text);
    assert_int_equal(rc, ERR_NONE);
    assert_true(bytes_equal_str(buf_bytes(&back), want));
    buf_deinit(&back);
}

#define EXPANDS(codec, bytes, want) assert_expands((codec), (bytes), sizeof(bytes) - 1, (want))

/* Written by gzip 1.12, lz4 1.9.4 (with content size, checksums and linked blocks) and zstd 1.5.4 from "order-7\n". */
static void test_codec__reads_other_programs(void **state)
{
    EXPANDS(CODEC_GZIP,
            "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x2f\x4a\x49\x2d\xd2\x35\xe7\x02\x00\x83\xed\xd8\x54\x08\x00"
            "\x00\x00",
            "order-7\n");
    EXPANDS(CODEC_GZIP,
            "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x2f\x4a\x49\x2d\xd2\x35\xe7\x02\x00\x83\xed\xd8\x54\x08\x00"
            "\x00\x00\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x2f\x4a\x49\x2d\xd2\x35\xe7\x02\x00\x83\xed\xd8\x54"
            "\x08\x00\x00\x00",
            "order-7\norder-7\n");
    EXPANDS(CODEC_LZ4,
            "\x04\x22\x4d\x18\x74\x40\xbd\x08\x00\x00\x80\x6f\x72\x64\x65\x72\x2d\x37\x0a\x65\x4a\x98\x86\x00\x00\x00"
            "\x00\x65\x4a\x98\x86",
            "order-7\n");
    EXPANDS(CODEC_LZ4,
            "\x04\x22\x4d\x18\x74\x40\xbd\x08\x00\x00\x80\x6f\x72\x64\x65\x72\x2d\x37\x0a\x65\x4a\x98\x86\x00\x00\x00"
            "\x00\x65\x4a\x98\x86\x04\x22\x4d\x18\x74\x40\xbd\x08\x00\x00\x80\x6f\x72\x64\x65\x72\x2d\x37\x0a\x65\x4a"
            "\x98\x86\x00\x00\x00\x00\x65\x4a\x98\x86",
            "order-7\norder-7\n");
    EXPANDS(CODEC_ZSTD, "\x28\xb5\x2f\xfd\x04\x58\x41\x00\x00\x6f\x72\x64\x65\x72\x2d\x37\x0a\x94\x59\x5e\x11",
            "order-7\n");
    EXPANDS(CODEC_ZSTD,
            "\x28\xb5\x2f\xfd\x04\x58\x41\x00\x00\x6f\x72\x64\x65\x72\x2d\x37\x0a\x94\x59\x5e\x11\x28\xb5\x2f\xfd\x04"
            "\x58\x41\x00\x00\x6f\x72\x64\x65\x72\x2d\x37\x0a\x94\x59\x5e\x11",
            "order-7\norder-7\n");
}

static void test_codec__snappy_is_read_in_both_forms(void **state)
{
    uint8_t *data = make_data(100000, true), *block = malloc(snappy_block_bound(100000));
    struct buf back, framed;
    struct err e;

    buf_init(&back, 0);
    buf_init(&framed, 0);
    size_t n = snappy_block_compress(bytes_of(data, 100000), block);
    assert_int_equal(codec_decompress(CODEC_SNAPPY, bytes_of(block, n), MIB, &back, &e), ERR_NONE);
    assert_true(bytes_equal(buf_bytes(&back), bytes_of(data, 100000)));
    assert_int_equal(codec_compress(CODEC_SNAPPY, bytes_of(data, 100000), &framed, &e), ERR_NONE);
    assert_memory_equal(framed.ptr, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
    assert_int_equal(codec_decompress(CODEC_SNAPPY, buf_bytes(&framed), MIB, &back, &e), ERR_NONE);
    assert_true(bytes_equal(buf_bytes(&back), bytes_of(data, 100000)));
    EXPANDS(CODEC_SNAPPY, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", ""); /* nothing was written */
    EXPANDS(CODEC_SNAPPY, "\x82SNAPPY\0\0\0\0\2\0\0\0\1\0\0\0\4\2\4ab\0\0\0\3\1\0c",
            "abc"); /* version is not looked at */
    static const struct bytes BAD[] = {
        BYTES_INIT("\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\0"),             /* block length cut off */
        BYTES_INIT("\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\0\0"),           /* a block of 0 bytes is no block */
        BYTES_INIT("\x82SNAPPY\0\0\0\0\1\0\0\0\1\xff\xff\xff\xff\1"), /* longer than the input */
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_int_equal(codec_decompress(CODEC_SNAPPY, BAD[i], MIB, &back, &e), ERR_CORRUPT);
    buf_deinit(&back);
    buf_deinit(&framed);
    free(block);
    free(data);
}

static void test_codec__names(void **state)
{
    enum batch_codec codec;
    struct buf out;
    for (int i = CODEC_NONE; i <= CODEC_ZSTD; i++) {
        assert_true(codec_parse(codec_name((enum batch_codec)i), &codec));
        assert_int_equal(codec, i);
    }
    assert_false(codec_parse("brotli", &codec));
    assert_string_equal(codec_name((enum batch_codec)7), "unknown");
    buf_init(&out, 0);
    assert_int_equal(codec_decompress((enum batch_codec)5, BYTES_LIT("abc"), 10, &out, NULL), ERR_UNSUPPORTED);
    assert_int_equal(codec_compress((enum batch_codec)5, BYTES_LIT("abc"), &out, NULL), ERR_UNSUPPORTED);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec__round_trips),
        cmocka_unit_test(test_codec__truncation_and_garbage_are_errors),
        cmocka_unit_test(test_codec__mutations_are_harmless),
        cmocka_unit_test(test_codec__bombs_stop_at_the_bound),
        cmocka_unit_test(test_codec__reads_other_programs),
        cmocka_unit_test(test_codec__snappy_is_read_in_both_forms),
        cmocka_unit_test(test_codec__names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
