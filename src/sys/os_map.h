/* os_map.h: which addresses are mapped files, so that a failed read of one can be answered. Format of the table and the
 * signal handler: os_map.c. */
#ifndef WEIR_SYS_OS_MAP_H
#define WEIR_SYS_OS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct os_map; /* one mapping's entry */
/* NULL: no memory; the mapping works all the same. Any thread. */
struct os_map *os_map_enter(const void *start, size_t len);
void os_map_leave(struct os_map *m); /* after munmap nobody may touch the range. NULL is harmless */
/* Has some page of [from, from + len), counted from the start of the mapping, been replaced by zeros? Any thread. */
bool os_map_has_failed(struct os_map *m, uint64_t from, size_t len);

#endif
