/* crc32c.c: CRC-32C three ways: SSE4.2 with PCLMULQDQ, the ARMv8 CRC instructions, and slice-by-8 tables.
 *
 * The crc32 instruction has a latency of 3 cycles and a throughput of 1, so one stream runs at a third of what the unit
 * can do. Longer input is cut into three lanes of equal length and a tail of 8 bytes:
 *
 *   | lane a: L bytes | lane b: L bytes | lane c: L bytes | 8 bytes |
 *
 * The CRC of a must then be moved over 2L + 8 bytes and that of b over L + 8. Moving over n bytes is a multiplication
 * by x^(8n) mod P; as a carry-less product is 64 bits long and the crc32 instruction reduces 64 bits, the products are
 * xored into the 8 bytes of the tail and reduced for free. The constant is x^(8n - 33) mod P, bits reflected: 32 of the
 * 33 come from the reduction of the 64-bit word, one from the reflected product being one bit short.
 *
 * Why not isa-l or VPCLMULQDQ: faster again on large blocks, but batches are 1 to 64 KiB, where the checksum is already
 * a small part of the copying around it; and one more library.
 *
 * Thread: the choice is stored in a relaxed atomic; racing first uses compute the same value. */
#include "base/crc32c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"

#define POLY_REFLECTED 0x82f63b78u

/* ---- slice-by-8 ---- */

static uint32_t tables[8][256]; /* constant after tables_once */
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void tables_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) ? POLY_REFLECTED : 0);
        tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int t = 1; t < 8; t++)
            tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
    }
}

uint32_t crc32c_portable(uint32_t crc, const void *ptr, size_t len)
{
    const uint8_t *p = ptr;

    pthread_once(&tables_once, tables_fill);
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint32_t lo, hi;
        memcpy(&lo, p, 4);
        memcpy(&hi, p + 4, 4);
        lo ^= crc;
        crc = tables[7][lo & 0xff] ^ tables[6][lo >> 8 & 0xff] ^ tables[5][lo >> 16 & 0xff] ^ tables[4][lo >> 24] ^
              tables[3][hi & 0xff] ^ tables[2][hi >> 8 & 0xff] ^ tables[1][hi >> 16 & 0xff] ^ tables[0][hi >> 24];
    }
    for (; len > 0; p++, len--)
        crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

typedef uint32_t crc32c_fn(uint32_t crc, const void *ptr, size_t len);

/* ---- x86-64 ---- */

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET_SSE42 __attribute__((target("sse4.2,pclmul")))

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* The part of the tail word that moves `crc` over as many bytes as `factor` stands for. */
TARGET_SSE42 static inline uint64_t moved(uint64_t crc, uint32_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)factor), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* Consumes 3 * lane + 8 bytes. */
TARGET_SSE42 static inline uint64_t three_lanes(uint64_t a, const uint8_t *p, size_t lane, uint32_t over_2,
                                                uint32_t over_1)
{
    uint64_t b = 0, c = 0;

    for (size_t i = 0; i < lane; i += 8) {
        a = _mm_crc32_u64(a, load64(p + i));
        b = _mm_crc32_u64(b, load64(p + lane + i));
        c = _mm_crc32_u64(c, load64(p + 2 * lane + i));
    }
    return _mm_crc32_u64(c, load64(p + 3 * lane) ^ moved(a, over_2) ^ moved(b, over_1));
}

TARGET_SSE42 static uint32_t crc32c_sse42(uint32_t crc, const void *ptr, size_t len)
{
    const uint8_t *p = ptr;
    uint64_t state = (uint32_t)~crc;

    for (; len >= 3 * 1360 + 8; p += 3 * 1360 + 8, len -= 3 * 1360 + 8)
        state = three_lanes(state, p, 1360, 0x7b454cb3, 0x79113270);
    for (; len >= 3 * 336 + 8; p += 3 * 336 + 8, len -= 3 * 336 + 8)
        state = three_lanes(state, p, 336, 0xe417f38a, 0x8f158014);
    for (; len >= 3 * 104 + 8; p += 3 * 104 + 8, len -= 3 * 104 + 8)
        state = three_lanes(state, p, 104, 0x8462d800, 0x47db8317);
    for (; len >= 8; p += 8, len -= 8)
        state = _mm_crc32_u64(state, load64(p));
    for (; len > 0; p++, len--)
        state = _mm_crc32_u8((uint32_t)state, *p);
    return ~(uint32_t)state;
}

static crc32c_fn *choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) return crc32c_sse42;
    return crc32c_portable;
}

/* ---- ARMv8 ---- */

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

#define HWCAP_CRC32_BIT (1ul << 7) /* HWCAP_CRC32 of asm/hwcap.h */

/* Instructions by name: arm_acle.h hides the intrinsics of a target attribute on older compilers. */
static uint32_t crc32c_armv8(uint32_t crc, const void *ptr, size_t len)
{
    const uint8_t *p = ptr;

    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    }
    for (; len > 0; p++, len--)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p));
    return ~crc;
}

static crc32c_fn *choose(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) ? crc32c_armv8 : crc32c_portable;
}

#else
static crc32c_fn *choose(void)
{
    return crc32c_portable;
}
#endif

uint32_t crc32c(uint32_t crc, const void *ptr, size_t len)
{
    static _Atomic(crc32c_fn *) chosen;

    crc32c_fn *fn = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (UNLIKELY(fn == NULL)) {
        fn = choose();
        atomic_store_explicit(&chosen, fn, memory_order_relaxed);
    }
    return fn(crc, ptr, len);
}
