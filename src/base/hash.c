/* hash.c: xxh3 compiled in (no call through the library, no run-time dependency), and Kafka's murmur2. */
#include "base/hash.h"

#include "base/check.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash64(const void *ptr, size_t len)
{
    return XXH3_64bits(ptr, len);
}

struct hash128 hash128(const void *ptr, size_t len, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(ptr, len, seed);
    return (struct hash128){h.low64, h.high64};
}

int32_t hash_murmur2(struct bytes key)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *p = key.ptr;
    size_t n = key.len;
    uint32_t h = 0x9747b28cu ^ (uint32_t)n;

    for (; n >= 4; p += 4, n -= 4) {
        uint32_t k; /* little-endian groups */
        memcpy(&k, p, 4);
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    switch (n) {
    case 3: h ^= (uint32_t)p[2] << 16; __attribute__((fallthrough));
    case 2: h ^= (uint32_t)p[1] << 8; __attribute__((fallthrough));
    case 1: h ^= p[0]; h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return (int32_t)h;
}

int32_t hash_partition(struct bytes key, int32_t n_partitions)
{
    check(n_partitions >= 1);
    return (hash_murmur2(key) & 0x7fffffff) % n_partitions;
}
