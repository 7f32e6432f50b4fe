/* sim_content.h: the bytes of one simulated file: what reads see now, and how to get back to what is durable. */
#ifndef WEIR_SYS_SIM_CONTENT_H
#define WEIR_SYS_SIM_CONTENT_H

#include "sys/sim_int.h"

/* The memory. Counted, because a mapping outlives the file's end and a power cut. */
struct sim_storage {
    uint8_t *base;
    size_t cap;
    bool is_reserved; /* by os_reserve: never moves */
    unsigned refs;
};
struct sim_change;
struct sim_content {
    struct sim_storage *store; /* NULL: empty. S1: bytes in [size, cap) are 0 */
    uint64_t size;
    struct sim_change *changes; /* owned; not durable, oldest first */
    size_t n_changes, cap_changes;
    bool has_doomed;  /* a sync has failed */
    bool is_recorded; /* false: changes are not remembered; there will be no power cut */
};
void sim_content_deinit(struct sim_content *c);
/* Writes the first len bytes of the pieces, as one change. ERR_LIMIT: it is mapped and would outgrow the mapping. */
MUST_USE enum err_code sim_content_write(struct sim_content *c, uint64_t at, const struct iovec *iov, size_t len,
                                         struct err *e);
MUST_USE enum err_code sim_content_truncate(struct sim_content *c, uint64_t size, struct err *e);
void sim_content_sync(struct sim_content *c);
void sim_content_fail_sync(struct sim_content *c);
/* The storage, referenced, with room for at least len bytes; sim_storage_unref gives it back. */
MUST_USE enum err_code sim_content_map(struct sim_content *c, size_t len, struct sim_storage **out, struct err *e);
void sim_storage_unref(struct sim_storage *st);
/* Changes that are not durable are kept, dropped or torn as the seed wants; what is left is durable. */
void sim_content_power_cut(struct sim_content *c, struct sim *s);

#endif
