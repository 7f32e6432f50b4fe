/* The block codec: round trips at all shapes, known blocks of the reference implementation's format, every truncation
 * and many mutations of valid blocks never leave the buffers (exact-size heap copies, run under AddressSanitizer). */
#include "base/snappy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static uint64_t rng = 88172645463325252ull;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* kind 0: random, 1: zeros, 2: words, 3: random with far repeats, 4: short periods */
static void fill(uint8_t *p, size_t n, int kind)
{
    static const char WORDS[] = "order customer amount currency EUR timestamp payload ";
    size_t period = 1 + next_random() % 20;
    for (size_t i = 0; i < n; i++) {
        switch (kind) {
        case 0: p[i] = (uint8_t)next_random(); break;
        case 1: p[i] = 0; break;
        case 2: p[i] = (uint8_t)WORDS[(i + (next_random() % 31 == 0)) % (sizeof WORDS - 1)]; break;
        case 3: p[i] = i >= 3000 && i % 4000 < 1000 ? p[i - 3000] : (uint8_t)next_random(); break;
        default: p[i] = i >= period ? p[i - period] : (uint8_t)next_random(); break;
        }
    }
}

static void round_trip(const uint8_t *data, size_t n)
{
    uint8_t *packed = malloc(snappy_block_bound(n));
    size_t len = snappy_block_compress(bytes_of(data, n), packed), claimed;
    assert_true(len <= snappy_block_bound(n));
    assert_true(snappy_block_length(bytes_of(packed, len), &claimed));
    assert_int_equal(claimed, n);
    uint8_t *back = malloc(n ? n : 1);
    assert_true(snappy_block_decompress(bytes_of(packed, len), back, n));
    assert_memory_equal(back, data, n);
    free(back);
    free(packed);
}

static void test_snappy__round_trips(void **state)
{
    static const size_t LENS[] = {65535, 65536, 65537, 131072 + 14, 131072 + 15, 1 << 20};
    uint8_t *data = malloc(1 << 20);

    print_message("seed %llu\n", (unsigned long long)rng);
    for (int kind = 0; kind < 5; kind++) {
        for (size_t n = 0; n < 400; n++) {
            fill(data, n, kind);
            round_trip(data, n);
        }
        for (size_t i = 0; i < sizeof LENS / sizeof LENS[0]; i++) {
            fill(data, LENS[i], kind);
            round_trip(data, LENS[i]);
        }
    }
    free(data);
}

static void test_snappy__compresses_what_repeats(void **state)
{
    uint8_t *data = malloc(65536), *packed = malloc(snappy_block_bound(65536));
    fill(data, 65536, 1);
    assert_true(snappy_block_compress(bytes_of(data, 65536), packed) < 65536 / 20);
    fill(data, 65536, 0);
    assert_true(snappy_block_compress(bytes_of(data, 65536), packed) < 65536 + 64);
    free(packed);
    free(data);
}

/* Expands into an exact-size buffer; NULL when refused. The caller frees. */
static uint8_t *expand(struct bytes in, size_t *len)
{
    if (!snappy_block_length(in, len)) return NULL;
    uint8_t *out = malloc(*len ? *len : 1);
    if (snappy_block_decompress(in, out, *len)) return out;
    free(out);
    return NULL;
}

static void test_snappy__reads_every_element_kind(void **state)
{
    static const struct {
        struct bytes in;
        const char *want;
    } CASES[] = {
        {{(const uint8_t *)"\x00", 1}, ""},
        {{(const uint8_t *)"\x03\x08"
                           "abc",
          5},
         "abc"},
        {{(const uint8_t *)"\x08\x0c"
                           "abcd\x01\x04",
          8},
         "abcdabcd"}, /* copy, 1-byte offset */
        {{(const uint8_t *)"\x06\x08"
                           "abc\x0a\x03\x00",
          8},
         "abcabc"}, /* 2-byte offset */
        {{(const uint8_t *)"\x06\x08"
                           "abc\x0b\x03\x00\x00\x00",
          10},
         "abcabc"}, /* 4-byte offset */
        {{(const uint8_t *)"\x07\x00"
                           "a\x16\x01\x00",
          6},
         "aaaaaaa"}, /* overlapping */
        {{(const uint8_t *)"\x03\xf0\x02"
                           "abc",
          6},
         "abc"}, /* literal lengths in 1, 2, 3 and 4 bytes */
        {{(const uint8_t *)"\x03\xf4\x02\x00"
                           "abc",
          7},
         "abc"},
        {{(const uint8_t *)"\x03\xf8\x02\x00\x00"
                           "abc",
          8},
         "abc"},
        {{(const uint8_t *)"\x03\xfc\x02\x00\x00\x00"
                           "abc",
          9},
         "abc"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t len;
        uint8_t *out = expand(CASES[i].in, &len);
        assert_non_null(out);
        assert_int_equal(len, strlen(CASES[i].want));
        assert_memory_equal(out, CASES[i].want, len);
        free(out);
    }
}

static void test_snappy__refuses_malformed_blocks(void **state)
{
    static const struct bytes CASES[] = {
        {(const uint8_t *)"", 0},                             /* no length */
        {(const uint8_t *)"\x80", 1},                         /* length cut off */
        {(const uint8_t *)"\xff\xff\xff\xff\x1f\x00", 6},     /* length above 32 bit */
        {(const uint8_t *)"\x80\x80\x80\x80\x80\x00", 6},     /* length too long */
        {(const uint8_t *)"\xff\xff\xff\xff\x0f\x00\x61", 7}, /* cannot expand so far */
        {(const uint8_t *)"\x00\x00\x61", 3},                 /* more than claimed */
        {(const uint8_t *)"\x02\x00\x61", 3},                 /* less than claimed */
        {(const uint8_t *)"\x03\x08\x61\x62", 4},             /* literal cut off */
        {(const uint8_t *)"\x04\x00\x61\x01\x00", 5},         /* offset 0 */
        {(const uint8_t *)"\x05\x00\x61\x01\x02", 5},         /* offset before the start */
        {(const uint8_t *)"\x05\x00\x61\x01", 4},             /* offset cut off */
        {(const uint8_t *)"\x05\x00\x61\x0e\x01", 5},         /* the same, 2 bytes */
        {(const uint8_t *)"\x05\x00\x61\x0f\x01\x00\x00", 7}, /* the same, 4 bytes */
        {(const uint8_t *)"\x04\x00\x61\x01\x01", 5},         /* copy past the claimed end */
        {(const uint8_t *)"\x03\xfc\xff\xff\xff\xff\x61", 7}, /* literal of 4 GiB */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t len;
        uint8_t *heap = malloc(CASES[i].len ? CASES[i].len : 1);
        memcpy(heap, CASES[i].ptr, CASES[i].len);
        assert_null(expand(bytes_of(heap, CASES[i].len), &len));
        free(heap);
    }
}

static void test_snappy__every_truncation_is_refused(void **state)
{
    uint8_t data[3000], packed[4000];
    size_t len;
    for (int kind = 0; kind < 5; kind++) {
        fill(data, sizeof data, kind);
        size_t n = snappy_block_compress(bytes_of(data, sizeof data), packed);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *heap = malloc(cut ? cut : 1);
            memcpy(heap, packed, cut);
            assert_null(expand(bytes_of(heap, cut), &len));
            free(heap);
        }
    }
}

static void test_snappy__mutations_stay_inside(void **state)
{
    uint8_t data[600], packed[1000];
    size_t len;
    for (int round = 0; round < 20000; round++) {
        fill(data, sizeof data, round % 5);
        size_t n = snappy_block_compress(bytes_of(data, sizeof data), packed);
        for (int i = 0; i < 1 + round % 4; i++)
            packed[next_random() % n] = (uint8_t)next_random();
        uint8_t *heap = malloc(n);
        memcpy(heap, packed, n);
        free(expand(bytes_of(heap, n), &len));
        free(heap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snappy__round_trips),
        cmocka_unit_test(test_snappy__compresses_what_repeats),
        cmocka_unit_test(test_snappy__reads_every_element_kind),
        cmocka_unit_test(test_snappy__refuses_malformed_blocks),
        cmocka_unit_test(test_snappy__every_truncation_is_refused),
        cmocka_unit_test(test_snappy__mutations_stay_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
