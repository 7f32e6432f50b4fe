/* The record batches that an epoch writes, one growing buffer per output partition. */
#include "flow/engine_int.h"

#include <stdlib.h>

#define BATCH_BYTES_MAX (512u << 10) /* a batch is finished at this size; well below LIMIT_BATCH_BYTES_DEFAULT */

void outlet_init(struct outlet *o, struct bytes name, int32_t n_partitions, struct arena *a)
{
    *o = (struct outlet){.name = arena_copy(a, name), .n_partitions = n_partitions};
    o->partitions = arena_array(a, (size_t)n_partitions, sizeof *o->partitions);
    for (int32_t i = 0; i < n_partitions; i++)
        buf_init(&o->partitions[i].bytes, 0);
}

void outlet_deinit(struct outlet *o)
{
    for (int32_t i = 0; i < o->n_partitions; i++) {
        buf_deinit(&o->partitions[i].bytes);
        free(o->partitions[i].sealed);
    }
    o->n_partitions = 0;
}

static void partition_seal(struct out_partition *p, int32_t partition)
{
    if (!p->is_open) return;
    size_t from = p->builder.start;
    enum err_code rc = batch_finish(&p->builder, NULL);
    check(rc == ERR_NONE); /* not compressed: nothing can fail but memory */
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 4;
        p->sealed = realloc(p->sealed, p->cap * sizeof *p->sealed);
        check(p->sealed != NULL);
    }
    p->sealed[p->n++] = (struct sealed){.partition = partition, .from = from, .len = p->bytes.len - from};
    p->is_open = false;
}

void outlet_put(struct outlet *o, int32_t partition, int64_t timestamp_ms, struct bytes key, struct bytes value,
                const struct record_header *headers, int n_headers)
{
    check(partition >= 0 && partition < o->n_partitions);
    struct out_partition *p = &o->partitions[partition];
    if (!p->is_open) {
        batch_begin(&p->builder, &p->bytes, CODEC_NONE);
        p->is_open = true;
    }
    batch_add(&p->builder, timestamp_ms, key, value, headers, n_headers);
    o->rows++;
    o->bytes += key.len + value.len + 16;
    if (batch_size(&p->builder) >= BATCH_BYTES_MAX) partition_seal(p, partition);
}

void outlet_seal(struct outlet *o)
{
    for (int32_t i = 0; i < o->n_partitions; i++)
        partition_seal(&o->partitions[i], i);
}

void outlet_clear(struct outlet *o)
{
    for (int32_t i = 0; i < o->n_partitions; i++) {
        check(!o->partitions[i].is_open);
        buf_clear(&o->partitions[i].bytes);
        o->partitions[i].n = 0;
    }
    o->bytes = 0;
}

bool outlet_has_rows(const struct outlet *o)
{
    return o->bytes > 0;
}

enum err_code outlet_open(struct outlet *o, struct port *p, struct err *e)
{
    if (o->topic.id != 0) return ERR_NONE;
    enum err_code rc = p->topic_find(p, o->name, &o->topic, e);
    if (rc == ERR_NOT_FOUND) rc = p->topic_create(p, o->name, o->n_partitions, &o->topic, e);
    if (rc == ERR_NONE && o->topic.n_partitions < o->n_partitions)
        rc = err_set(e, ERR_INVALID, "topic %.*s has %d partitions, %d are needed", BYTES_ARG(o->name),
                     (int)o->topic.n_partitions, (int)o->n_partitions);
    if (rc != ERR_NONE) o->topic.id = 0;
    return rc;
}
