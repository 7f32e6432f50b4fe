/* vector.h: columnar chunks: what operators pass to each other. One thread; a chunk belongs to its maker and is valid
 * until the maker is asked for the next one.
 *
 * V1  A vector has room for LIMIT_CHUNK_ROWS values, or is constant: one value stands for all rows.
 * V2  nulls[i] (a byte, not a bit: kernels then vectorise without shuffling) means something only while
 *     has_nulls is set.
 * V3  Only rows of the selection are defined; other places may hold anything, but are readable memory.
 * V4  Strings are views: into record batches, chunk arenas or state. They live as long as the chunk. */
#ifndef WEIR_FLOW_EXEC_VECTOR_H
#define WEIR_FLOW_EXEC_VECTOR_H

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"
#include "flow/types.h"

struct vector {
    enum sql_phys phys;
    bool is_const, has_nulls;
    union {
        uint8_t *b;
        int64_t *i;
        double *d;
        struct bytes *s;
        void *data;
    };
    uint8_t *nulls;
};
/* Where a row comes from, for output keys, times, dead letters and late rows. */
struct row_origin {
    struct bytes key;     /* null: none */
    struct bytes value;   /* the source record's bytes; null for rows made by an aggregate */
    struct bytes headers; /* encoded, of the source record */
    int32_t header_count;
    int32_t partition; /* of the source; -1: none */
    int64_t offset;
    int64_t timestamp_ms; /* of the source record, or the window's end - 1 ms; INT64_MIN: none */
};
struct chunk {
    int n_rows;
    int n_cols;
    struct vector *cols;
    const uint16_t *sel; /* NULL: all rows 0 .. n_rows - 1, and n_sel = n_rows */
    int n_sel;
    const int8_t *change;            /* per row +1 or -1; NULL: all +1 */
    const struct row_origin *origin; /* per row */
    const int64_t *watermark;        /* per row: the watermark when the row came, in us; NULL: watermark_all for all */
    int64_t watermark_all;
};
#define WATERMARK_NONE INT64_MIN
#define WATERMARK_END INT64_MAX

/* Owned memory of a vector of LIMIT_CHUNK_ROWS values, from `a`. */
void vector_init(struct vector *v, enum sql_phys phys, struct arena *a);
/* A constant from a value; the string is borrowed. */
void vector_init_const(struct vector *v, enum sql_phys phys, const struct sql_value *value, struct arena *a);

static inline bool vector_is_null(const struct vector *v, int row)
{
    return v->has_nulls && v->nulls[v->is_const ? 0 : row];
}
/* The value at a row; the kind is the caller's. */
static inline void vector_get(const struct vector *v, int row, enum sql_kind kind, struct sql_value *out)
{
    int at = v->is_const ? 0 : row;
    out->kind = kind;
    out->is_null = v->has_nulls && v->nulls[at];
    if (out->is_null) return;
    switch (v->phys) {
    case PHYS_BOOL: out->b = v->b[at] != 0; break;
    case PHYS_I64: out->i = v->i[at]; break;
    case PHYS_F64: out->d = v->d[at]; break;
    case PHYS_STR: out->s = v->s[at]; break;
    }
}
/* Sets one value of a vector that is not constant. Clear has_nulls before the first row. */
void vector_set(struct vector *v, int row, const struct sql_value *value);

/* for_rows(i, sel, n) { ... }: i runs over the selected rows. */
#define for_rows(i, sel, n) for (int i##_k = 0, i; i##_k < (n) && ((i = (sel) ? (sel)[i##_k] : i##_k), 1); i##_k++)

/* Rows that failed while a chunk was evaluated. The first failure of a row counts. */
struct row_errors {
    int count;
    uint8_t flag[LIMIT_CHUNK_ROWS];
    const char *text[LIMIT_CHUNK_ROWS]; /* in the chunk's arena */
};
void row_errors_clear(struct row_errors *r);

#endif
