/* crc32c.h: CRC-32C (Castagnoli), as in Kafka record batches. SSE4.2 (three streams folded, for all but short input)
 * where the processor has it, table elsewhere; chosen once at first use. Any thread. */
#ifndef WEIR_BASE_CRC32C_H
#define WEIR_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Starts with crc 0; crc32c(crc32c(0, a), b) is the checksum of a then b. "123456789" gives 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *ptr, size_t len);
/* The table version, for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *ptr, size_t len);

#endif
