/* hash.h: hash functions. Any thread. */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include "base/bytes.h"

/* xxh3 64 bit, seed 0. For in-memory tables only: never stored. */
uint64_t hash64(const void *ptr, size_t len);
/* xxh3 128 bit with a seed: wide enough to stand for the bytes themselves. Of 2^40 keys two have the same value with a
 * probability of 2^-49. In memory only, like hash64. */
struct hash128 {
    uint64_t low, high;
};
struct hash128 hash128(const void *ptr, size_t len, uint64_t seed);
/* Kafka's murmur2 (seed 0x9747b28c), as a signed value: "order-7" gives 323129857. */
int32_t hash_murmur2(struct bytes key);
/* Kafka's default partition of a non-null key. n >= 1. */
int32_t hash_partition(struct bytes key, int32_t n_partitions);

#endif
