/* Batches: what the builder writes the iterator reads back, for every codec; a golden batch fixes the bytes; the header
 * parser is strict (a table of malformed batches) and every truncation and mutation is an error or a clean read, never
 * a bad access. */
#include "base/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/codec.h"
#include "base/crc32c.h"
#include "base/limits.h"

static uint64_t rng = 88172645463325252ull;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* ---- fixtures ---- */

static void build(struct buf *out, enum batch_codec codec, int n)
{
    static const struct record_header HEADERS[3] = {
        {{(const uint8_t *)"ce_type", 7}, {(const uint8_t *)"order.created", 13}},
        {{(const uint8_t *)"", 0}, {(const uint8_t *)"", 0}},
        {{(const uint8_t *)"none", 4}, {NULL, 0}},
    };
    static uint8_t big[40000];
    struct batch_builder b;
    struct err e;

    memset(big, 'v', sizeof big);
    batch_begin(&b, out, codec);
    for (int i = 0; i < n; i++) {
        struct bytes key = i % 3 == 0 ? BYTES_NULL : bytes_of(big, (size_t)(i % 200));
        struct bytes value = i % 5 == 0 ? BYTES_NULL : bytes_of(big, (size_t)i * 37 % (i == 17 ? 40000 : 300));
        batch_add(&b, 1700000000000 + i * 1000 - (i == 3 ? 50000 : 0), key, value, HEADERS, i % 4);
    }
    assert_int_equal(batch_finish(&b, &e), ERR_NONE);
    assert_int_equal(b.count, n);
}

static void assert_reads_back(struct bytes batch, int n)
{
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf scratch;
    struct err e;
    bool more;

    buf_init(&scratch, 0);
    assert_int_equal(batch_view_parse(&v, batch, &e), ERR_NONE);
    assert_int_equal(v.bytes.len, batch.len);
    assert_int_equal(batch_check_crc(&v, &e), ERR_NONE);
    assert_int_equal(v.record_count, n);
    assert_int_equal(batch_last_offset(&v), v.base_offset + n - 1);
    assert_int_equal(batch_iter_init(&it, &v, &scratch, &e), ERR_NONE);
    for (int i = 0; i < n; i++) {
        assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
        assert_true(more);
        assert_int_equal(r.offset, v.base_offset + i);
        assert_int_equal(r.timestamp, 1700000000000 + i * 1000 - (i == 3 ? 50000 : 0));
        assert_int_equal(bytes_is_null(r.key), i % 3 == 0);
        assert_int_equal(r.key.len, i % 3 == 0 ? 0 : i % 200);
        assert_int_equal(bytes_is_null(r.value), i % 5 == 0);
        assert_int_equal(r.value.len, i % 5 == 0 ? 0 : i * 37 % (i == 17 ? 40000 : 300));
        assert_int_equal(r.header_count, i % 4);
        struct bytes headers = r.headers;
        struct record_header h;
        int seen = 0;
        for (; record_header_next(&headers, &h); seen++) {
            assert_true(bytes_equal_str(h.key, seen == 0 ? "ce_type" : seen == 1 ? "" : "none"));
            assert_int_equal(bytes_is_null(h.value), seen == 2);
            if (seen == 0) assert_true(bytes_equal_str(h.value, "order.created"));
        }
        assert_int_equal(seen, i % 4);
        assert_int_equal(headers.len, 0);
    }
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        assert_int_equal(batch_iter_next(&it, &r, &more, &e), ERR_NONE);
        assert_false(more);
    }
    buf_deinit(&scratch);
}

static void fix_crc(uint8_t *p, size_t len)
{
    be32_put(p + 17, crc32c(0, p + BATCH_CRC_FROM, len - BATCH_CRC_FROM));
}

static volatile uint32_t touched; /* keeps the reads of walk() */

/* Reads everything there is to read; touches every byte of what it is given. Returns how it ended. */
static enum err_code walk(struct bytes in, struct buf *scratch)
{
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct record_header h;
    struct err e;
    bool more;
    uint32_t sum = 0;

    enum err_code rc = batch_view_parse(&v, in, &e);
    if (rc != ERR_NONE) return rc;
    (void)batch_last_offset(&v);
    (void)!batch_check_crc(&v, &e);
    rc = batch_iter_init(&it, &v, scratch, &e);
    if (rc != ERR_NONE) return rc;
    for (;;) {
        rc = batch_iter_next(&it, &r, &more, &e);
        if (rc != ERR_NONE || !more) break;
        sum += crc32c(0, r.key.ptr, r.key.len) + crc32c(0, r.value.ptr, r.value.len);
        int n = 0;
        for (struct bytes left = r.headers; record_header_next(&left, &h); n++)
            sum += crc32c(0, h.key.ptr, h.key.len) + crc32c(0, h.value.ptr, h.value.len);
        assert_int_equal(n, r.header_count);
    }
    touched = sum;
    return rc;
}

/* ---- tests ---- */

static void test_batch__builder_and_iterator_agree(void **state)
{
    static const int COUNTS[] = {1, 2, 18, 63, 64, 65, 1000};
    struct buf out;

    buf_init(&out, 0);
    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        for (size_t i = 0; i < ARRAY_LEN(COUNTS); i++) {
            buf_clear(&out);
            buf_put_str(&out, "before"); /* a batch is appended */
            build(&out, (enum batch_codec)codec, COUNTS[i]);
            assert_memory_equal(out.ptr, "before", 6);
            struct bytes batch = bytes_slice(buf_bytes(&out), 6, out.len - 6);
            assert_reads_back(batch, COUNTS[i]);
            batch_stamp(out.ptr + 6, 123456789012, 7); /* R2: no new checksum needed */
            assert_reads_back(batch, COUNTS[i]);
        }
    }
    buf_deinit(&out);
}

/* One record (key "k", value "hello", header "h" without value), laid out by hand from the format's description. */
static void test_batch__golden_bytes(void **state)
{
    static const uint8_t WANT_TAIL[] = {
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00,             /* attributes, last offset delta */
        0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, /* base timestamp 1700000000000 */
        0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, /* max timestamp */
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, /* producer id */
        0x00, 0x02, 0x00, 0x00, 0x00, 0x05,             /* epoch, base sequence */
        0x00, 0x00, 0x00, 0x01,                         /* count */
        0x1e, 0x00, 0x00, 0x00, 0x02, 'k',  0x0a, 'h',  'e', 'l', 'l', 'o', 0x02, 0x02, 'h', 0x01,
    };
    struct record_header header = {BYTES_LIT("h"), BYTES_NULL};
    struct batch_builder b;
    struct buf out;

    buf_init(&out, 0);
    batch_begin(&b, &out, CODEC_NONE);
    batch_set_producer(&b, 9, 2, 5);
    batch_add(&b, 1700000000000, BYTES_LIT("k"), BYTES_LIT("hello"), &header, 1);
    assert_int_equal(batch_size(&b), 61 + 16);
    assert_int_equal(batch_finish(&b, NULL), ERR_NONE);
    assert_int_equal(out.len, 61 + 16);
    assert_memory_equal(out.ptr, "\0\0\0\0\0\0\0\0\0\0\0\x41\xff\xff\xff\xff\x02", 17);
    assert_int_equal(sizeof WANT_TAIL, 61 - 21 + 16);
    assert_memory_equal(out.ptr + 21, WANT_TAIL, sizeof WANT_TAIL);
    assert_int_equal(be32_get(out.ptr + 17), crc32c_portable(0, out.ptr + 21, out.len - 21));
    struct batch_view v;
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), NULL), ERR_NONE);
    assert_int_equal(v.producer_id, 9);
    assert_int_equal(v.producer_epoch, 2);
    assert_int_equal(v.base_sequence, 5);
    assert_int_equal(v.leader_epoch, -1);
    buf_deinit(&out);
}

static void test_batch__extreme_timestamps_come_back(void **state)
{
    static const int64_t TIMES[] = {INT64_MAX, INT64_MIN, 0, -1, INT64_MIN, INT64_MAX};
    struct batch_builder b;
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf out;
    bool more;

    buf_init(&out, 0);
    batch_begin(&b, &out, CODEC_NONE);
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++)
        batch_add(&b, TIMES[i], BYTES_NULL, BYTES_NULL, NULL, 0);
    assert_int_equal(batch_finish(&b, NULL), ERR_NONE);
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), NULL), ERR_NONE);
    assert_true(v.max_timestamp == INT64_MAX);
    assert_int_equal(batch_iter_init(&it, &v, NULL, NULL), ERR_NONE);
    for (size_t i = 0; i < ARRAY_LEN(TIMES); i++) {
        assert_int_equal(batch_iter_next(&it, &r, &more, NULL), ERR_NONE);
        assert_true(r.timestamp == TIMES[i]);
    }
    batch_stamp(out.ptr, INT64_MAX, 0); /* offsets wrap, no undefined behaviour */
    (void)walk(buf_bytes(&out), NULL);
    buf_deinit(&out);
}

static void test_batch__append_time_replaces_every_timestamp(void **state)
{
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf out;
    bool more;

    buf_init(&out, 0);
    build(&out, CODEC_NONE, 5);
    batch_stamp_append_time(out.ptr, out.len, 42);
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), NULL), ERR_NONE);
    assert_int_equal(batch_check_crc(&v, NULL), ERR_NONE);
    assert_int_equal(v.max_timestamp, 42);
    assert_true(v.attributes & BATCH_ATTR_LOG_APPEND_TIME);
    assert_int_equal(batch_iter_init(&it, &v, NULL, NULL), ERR_NONE);
    while (batch_iter_next(&it, &r, &more, NULL) == ERR_NONE && more)
        assert_int_equal(r.timestamp, 42);
    assert_false(more);
    buf_deinit(&out);
}

static void test_batch__parse_says_how_much_is_needed(void **state)
{
    struct batch_view v;
    struct buf out;
    struct err e;

    buf_init(&out, 0);
    build(&out, CODEC_NONE, 20);
    for (size_t n = 0; n < out.len; n++) {
        uint8_t *heap = malloc(n ? n : 1);
        memcpy(heap, out.ptr, n);
        assert_int_equal(batch_view_parse(&v, bytes_of(heap, n), &e), ERR_RANGE);
        assert_int_equal(v.bytes.len, n < BATCH_PREFIX_LEN ? 0 : out.len);
        if (n >= BATCH_HEADER_LEN) assert_int_equal(v.record_count, 20);
        free(heap);
    }
    size_t whole = out.len;
    build(&out, CODEC_ZSTD, 3); /* a second one behind it */
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), &e), ERR_NONE);
    assert_int_equal(v.bytes.len, whole);
    assert_int_equal(batch_view_parse(&v, BYTES_NULL, NULL), ERR_RANGE);
    buf_deinit(&out);
}

/* Each row breaks one field of a good batch of 4 records. */
static void test_batch__malformed_headers_are_corrupt(void **state)
{
    static const struct {
        const char *what;
        int at, width;
        uint32_t value;
    } CASES[] = {
        {"length 0", 8, 4, 0},
        {"length 48", 8, 4, 48},
        {"length -1", 8, 4, UINT32_MAX},
        {"length INT32_MIN", 8, 4, 0x80000000},
        {"length INT32_MAX", 8, 4, INT32_MAX},
        {"length above every limit", 8, 4, LIMIT_REQUEST_BYTES_MAX},
        {"magic 0", 16, 1, 0},
        {"magic 1", 16, 1, 1},
        {"magic 3", 16, 1, 3},
        {"magic -1", 16, 1, 0xff},
        {"last offset delta -1", 23, 4, UINT32_MAX},
        {"last offset delta below the count", 23, 4, 2},
        {"count -1", 57, 4, UINT32_MAX},
        {"count above the delta", 57, 4, 5},
        {"count INT32_MAX", 57, 4, INT32_MAX},
    };
    struct batch_view v;
    struct buf out;

    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct err e = {0};
        buf_init(&out, 0);
        build(&out, CODEC_NONE, 4);
        if (CASES[i].width == 1) {
            out.ptr[CASES[i].at] = (uint8_t)CASES[i].value;
        } else {
            be32_put(out.ptr + CASES[i].at, CASES[i].value);
        }
        enum err_code rc = batch_view_parse(&v, buf_bytes(&out), &e);
        if (rc != ERR_CORRUPT) print_message("%s\n", CASES[i].what);
        assert_int_equal(rc, ERR_CORRUPT);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_int_equal(v.bytes.len, 0);
        buf_deinit(&out);
    }
    /* More records than the bytes could hold (R4), though the delta allows them. */
    buf_init(&out, 0);
    build(&out, CODEC_NONE, 4);
    be32_put(out.ptr + 23, INT32_MAX);
    be32_put(out.ptr + 57, (uint32_t)(out.len - 61) / 7 + 1);
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), NULL), ERR_CORRUPT);
    buf_deinit(&out);
}

/* A batch around hand-written record bytes. */
static enum err_code walk_records(struct bytes records, int32_t count, int32_t last_delta)
{
    size_t len = BATCH_HEADER_LEN + records.len;
    uint8_t *p = calloc(1, len);
    be32_put(p + 8, (uint32_t)(len - 12));
    p[16] = 2;
    be32_put(p + 23, (uint32_t)last_delta);
    be32_put(p + 57, (uint32_t)count);
    if (records.len > 0) memcpy(p + BATCH_HEADER_LEN, records.ptr, records.len);
    fix_crc(p, len);
    enum err_code rc = walk(bytes_of(p, len), NULL);
    free(p);
    return rc;
}

#define RECORDS(s) (const uint8_t *)(s), sizeof(s) - 1

static void test_batch__malformed_records_are_corrupt(void **state)
{
    static const struct {
        const uint8_t *ptr;
        size_t len;
        int32_t count, last_delta;
        bool good;
    } CASES[] = {
        {RECORDS(""), 0, 0, true}, /* emptied by compaction */
        {RECORDS(""), 0, 9, true},
        {RECORDS("\x0c\0\0\0\1\1\0"), 1, 0, true},
        {RECORDS("\x0c\0\0\x0a\1\1\0"), 1, 5, true}, /* offset 5 of a compacted batch */
        {RECORDS("\x0c\0\0\0\1\1\0\x0c\0\0\4\1\1\0"), 2, 2, true},
        {RECORDS("\x10\0\0\0\1\1\2\0\1"), 1, 0, true}, /* header with an empty key and null value */
        {RECORDS("\0"), 0, 0, false},                  /* bytes behind the last record */
        {RECORDS("\x0c\0\0\0\1\1\0x"), 1, 0, false},
        {RECORDS("\x0a\0\0\0\1\1\0"), 1, 0, false}, /* length below 6 */
        {RECORDS("\x01\0\0\0\1\1\0"), 1, 0, false}, /* length -1 */
        {RECORDS("\xff\xff\xff\xff\x0f\0\0"), 1, 0, false},
        {RECORDS("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 1, 0, false}, /* no end of the varint */
        {RECORDS("\x0e\0\0\0\1\1\0"), 1, 0, false},                             /* length behind the end */
        {RECORDS("\x0c\0\0\2\1\1\0"), 1, 0, false},                             /* offset above the last delta */
        {RECORDS("\x0c\0\0\1\1\1\0"), 1, 0, false},                             /* offset -1 */
        {RECORDS("\x0c\0\0\0\1\1\0\x0c\0\0\0\1\1\0"), 2, 2, false},             /* offset twice */
        {RECORDS("\x0c\0\0\2\1\1\0\x0c\0\0\0\1\1\0"), 2, 2, false},             /* offsets fall */
        {RECORDS("\x0c\0\0\0\3\1\0"), 1, 0, false},                             /* key length -2 */
        {RECORDS("\x0c\0\0\0\1\3\0"), 1, 0, false},                             /* value length -2 */
        {RECORDS("\x0c\0\0\0\x7e\1\0"), 1, 0, false},                           /* key longer than the record */
        {RECORDS("\x0c\0\0\0\1\2\0"), 1, 0, false},                             /* no room for the header count */
        {RECORDS("\x0c\0\0\0\1\1\1"), 1, 0, false},                             /* header count -1 */
        {RECORDS("\x0c\0\0\0\1\1\2"), 1, 0, false},                             /* header missing */
        {RECORDS("\x0e\0\0\0\1\1\0\0"), 1, 0, false},                           /* byte behind the headers */
        {RECORDS("\x10\0\0\0\1\1\2\1\1"), 1, 0, false},                         /* null header key */
        {RECORDS("\x10\0\0\0\1\1\2\0\3"), 1, 0, false},                         /* header value length -2 */
        {RECORDS("\x0e\0\0\0\1\1\x82\x10"), 1, 0, false},                       /* 1025 headers */
        {RECORDS("\x0e\0\x80\0\0\1\1\0"), 1, 0, true},                          /* padded timestamp */
        {RECORDS("\x1e\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\2\0\1\1\0"), 1, 0, false}, /* timestamp above 64 bit */
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        enum err_code rc = walk_records(bytes_of(CASES[i].ptr, CASES[i].len), CASES[i].count, CASES[i].last_delta);
        if (rc != (CASES[i].good ? ERR_NONE : ERR_CORRUPT)) print_message("case %zu\n", i);
        assert_int_equal(rc, CASES[i].good ? ERR_NONE : ERR_CORRUPT);
    }
}

static void test_batch__every_flipped_bit_is_noticed(void **state)
{
    struct batch_view v;
    struct buf out;

    buf_init(&out, 0);
    build(&out, CODEC_NONE, 2);
    for (size_t at = BATCH_CRC_FROM; at < out.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            out.ptr[at] ^= (uint8_t)(1 << bit);
            enum err_code rc = batch_view_parse(&v, buf_bytes(&out), NULL);
            assert_true(rc == ERR_CORRUPT || batch_check_crc(&v, NULL) == ERR_CORRUPT);
            out.ptr[at] ^= (uint8_t)(1 << bit);
        }
    }
    buf_deinit(&out);
}

static void test_batch__mutations_stay_inside(void **state)
{
    struct buf out, scratch;

    print_message("seed %llu\n", (unsigned long long)rng);
    buf_init(&out, 0);
    buf_init(&scratch, 0);
    for (int codec = CODEC_NONE; codec <= CODEC_ZSTD; codec++) {
        for (int round = 0; round < (codec == CODEC_NONE ? 20000 : 500); round++) {
            buf_clear(&out);
            build(&out, (enum batch_codec)codec, 6);
            uint8_t *heap = malloc(out.len);
            memcpy(heap, out.ptr, out.len);
            for (int i = 0; i < 1 + round % 3; i++)
                heap[next_random() % out.len] = (uint8_t)next_random();
            (void)walk(bytes_of(heap, out.len), &scratch);
            free(heap);
        }
    }
    buf_deinit(&out);
    buf_deinit(&scratch);
}

static void test_batch__compressed_batches_are_bounded_and_strict(void **state)
{
    struct buf out, scratch, packed;
    struct batch_view v;
    struct batch_iter it;
    struct err e;
    size_t len = LIMIT_DECOMPRESSED_BYTES_MAX + 1;
    uint8_t *zeros = calloc(1, len);

    buf_init(&out, 0);
    buf_init(&scratch, 0);
    buf_init(&packed, 0);
    build(&out, CODEC_ZSTD, 4);
    out.ptr[22] = 5; /* a codec nobody knows */
    assert_int_equal(batch_view_parse(&v, buf_bytes(&out), &e), ERR_NONE);
    assert_int_equal(batch_iter_init(&it, &v, &scratch, &e), ERR_CORRUPT);
    out.ptr[22] = CODEC_LZ4; /* the wrong one */
    assert_int_equal(walk(buf_bytes(&out), &scratch), ERR_CORRUPT);
    out.ptr[22] = CODEC_ZSTD;
    assert_int_equal(walk(buf_bytes(&out), &scratch), ERR_NONE);
    be32_put(out.ptr + 23, INT32_MAX); /* more records than come out (R4) */
    be32_put(out.ptr + 57, INT32_MAX);
    assert_int_equal(walk(buf_bytes(&out), &scratch), ERR_CORRUPT);

    assert_int_equal(codec_compress(CODEC_ZSTD, bytes_of(zeros, len), &packed, &e), ERR_NONE);
    out.len = BATCH_HEADER_LEN;
    buf_put_bytes(&out, buf_bytes(&packed));
    be32_put(out.ptr + 8, (uint32_t)(out.len - 12));
    be32_put(out.ptr + 57, 1);
    assert_int_equal(walk(buf_bytes(&out), &scratch), ERR_CORRUPT);
    free(zeros);
    buf_deinit(&out);
    buf_deinit(&scratch);
    buf_deinit(&packed);
}

static void test_batch__a_full_buffer_leaves_nothing_behind(void **state)
{
    for (size_t max = 6; max < 400; max += 3) {
        struct batch_builder b;
        struct buf out;
        struct err e;
        buf_init(&out, max);
        buf_put_str(&out, "before");
        batch_begin(&b, &out, CODEC_NONE);
        for (int i = 0; i < 10; i++)
            batch_add(&b, i, BYTES_LIT("key"), BYTES_LIT("some value of a length"), NULL, 0);
        assert_int_equal(batch_finish(&b, &e), max < 6 + 61 + 10 * 32 ? ERR_LIMIT : ERR_NONE);
        if (out.failed) assert_int_equal(out.len, 6);
        if (!out.failed) assert_int_equal(out.len, 6 + 61 + 10 * 32);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch__builder_and_iterator_agree),
        cmocka_unit_test(test_batch__golden_bytes),
        cmocka_unit_test(test_batch__extreme_timestamps_come_back),
        cmocka_unit_test(test_batch__append_time_replaces_every_timestamp),
        cmocka_unit_test(test_batch__parse_says_how_much_is_needed),
        cmocka_unit_test(test_batch__malformed_headers_are_corrupt),
        cmocka_unit_test(test_batch__malformed_records_are_corrupt),
        cmocka_unit_test(test_batch__every_flipped_bit_is_noticed),
        cmocka_unit_test(test_batch__mutations_stay_inside),
        cmocka_unit_test(test_batch__compressed_batches_are_bounded_and_strict),
        cmocka_unit_test(test_batch__a_full_buffer_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
