/* batch_edit.h: a record batch with some of its records taken out, as compaction does it. Offsets, timestamps, headers,
 * producer, sequence, codec and last offset delta stay: to a reader the batch is the old one with holes. Pure
 * functions. */
#ifndef WEIR_BASE_BATCH_EDIT_H
#define WEIR_BASE_BATCH_EDIT_H

#include "base/batch.h"

struct batch_edit_item {
    const uint8_t *fields; /* from the key's length to the end of the record; borrowed */
    uint32_t len;
    int32_t offset_delta;
    int64_t timestamp;
};
struct batch_edit {
    /* Owned; kept from batch to batch. */
    struct batch_edit_item *items;
    size_t n, cap;
    struct buf plain; /* records before compression */
    /* Of the batch under way. */
    struct batch_view view;
};

void batch_edit_init(struct batch_edit *x);
void batch_edit_deinit(struct batch_edit *x);
/* A new batch, of which nothing is kept yet. */
void batch_edit_begin(struct batch_edit *x, const struct batch_view *v);
/* Keeps the record that `it` has just given out; its bytes must stay until batch_edit_finish. */
void batch_edit_keep(struct batch_edit *x, const struct batch_iter *it, const struct record *r);
/* Appends the batch with what was kept, at least one record, to out. horizon_ms >= 0 is written into its header;
 * negative: the horizon stays as it is, or absent. On failure `out` is as before. ERR_LIMIT, ERR_MEMORY, ERR_TOO_LARGE:
 * the batch with its codec has become larger than a batch may be. */
MUST_USE enum err_code batch_edit_finish(struct batch_edit *x, int64_t horizon_ms, struct buf *out, struct err *e);

/* When tombstones and markers of the batch may go; -1: not decided yet. */
static inline int64_t batch_horizon(const struct batch_view *v)
{
    return v->attributes & BATCH_ATTR_HORIZON ? v->base_timestamp : -1;
}
/* A batch without records that takes the offsets first .. last, with Kafka's shape of an emptied batch. `like` NULL:
 * nobody's. Else it keeps attributes but for codec and horizon, producer and sequence of that one. */
void batch_empty(uint8_t out[BATCH_HEADER_LEN], int64_t first, int64_t last, int32_t leader_epoch,
                 const struct batch_view *like);

#endif
