/* From rows to output records: JSON values, keys, partitions, times; dead letters and late rows.
 *
 * Key: key.fields of the output stream, else the grouping columns (from the aggregate), else the source record's key.
 * One column is plain text, several are a JSON array. Partition: Kafka's hash of the key; without a key that of the
 * source record. Time: the row's time attribute, else the window's end - 1 ms, else that of the source record. */
#include "flow/engine_int.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/text.h"

#define HEADERS_MAX 64

void flow_rows_prepare(struct flow *f)
{
    const struct plan *p = f->statement->plan;
    const struct stream_def *def = f->statement->stream;
    f->labels = arena_array(&f->arena, (size_t)p->n_columns, sizeof *f->labels);
    f->key_columns = arena_array(&f->arena, (size_t)def->n_key_fields, sizeof *f->key_columns);
    for (int i = 0; i < p->n_columns; i++) {
        buf_clear(&f->value);
        buf_put_u8(&f->value, i == 0 ? '{' : ',');
        text_put_json_string(&f->value, p->columns[i].name);
        buf_put_u8(&f->value, ':');
        f->labels[i] = arena_copy(&f->arena, buf_bytes(&f->value));
    }
    for (int k = 0; k < def->n_key_fields; k++)
        for (int i = 0; i < p->n_columns; i++)
            if (bytes_equal(p->columns[i].name, def->key_fields[k])) f->key_columns[f->n_key_columns++] = i;
}

/* The record key of a row; the bytes are in f->key or the origin's. */
static struct bytes row_key(struct flow *f, const struct chunk *c, int row)
{
    const struct sql_column *columns = f->statement->plan->columns;
    struct sql_value v;
    if (f->n_key_columns == 0) return c->origin[row].key;
    buf_clear(&f->key);
    if (f->n_key_columns > 1) buf_put_u8(&f->key, '[');
    for (int k = 0; k < f->n_key_columns; k++) {
        int at = f->key_columns[k];
        vector_get(&c->cols[at], row, columns[at].type.kind, &v);
        if (f->n_key_columns == 1) {
            if (v.is_null && !f->statement->is_updating) return BYTES_NULL;
            sql_value_put_text(&f->key, &v, columns[at].type);
            break;
        }
        if (k > 0) buf_put_u8(&f->key, ',');
        sql_value_put_json(&f->key, &v, columns[at].type);
    }
    if (f->n_key_columns > 1) buf_put_u8(&f->key, ']');
    return buf_bytes(&f->key);
}

static struct bytes row_value(struct flow *f, const struct chunk *c, int row)
{
    const struct plan *p = f->statement->plan;
    struct sql_value v;
    buf_clear(&f->value);
    for (int i = 0; i < p->n_columns; i++) {
        buf_put_bytes(&f->value, f->labels[i]);
        vector_get(&c->cols[i], row, p->columns[i].type.kind, &v);
        sql_value_put_json(&f->value, &v, p->columns[i].type);
    }
    buf_put_u8(&f->value, '}');
    return buf_bytes(&f->value);
}

static int64_t row_time(const struct flow *f, const struct chunk *c, int row)
{
    int rowtime = f->statement->plan->rowtime;
    if (rowtime >= 0 && !vector_is_null(&c->cols[rowtime], row)) {
        struct sql_value v;
        vector_get(&c->cols[rowtime], row, SQL_TIMESTAMP, &v);
        return (v.i - (v.i % 1000 < 0 ? v.i % 1000 + 1000 : v.i % 1000)) / 1000;
    }
    return c->origin[row].timestamp_ms != INT64_MIN ? c->origin[row].timestamp_ms : f->wall_ms;
}

static int32_t row_partition(const struct outlet *o, struct bytes key, const struct row_origin *origin)
{
    if (!bytes_is_null(key)) return hash_partition(key, o->n_partitions);
    return origin->partition >= 0 ? origin->partition % o->n_partitions : 0;
}

/* Do two rows of a chunk have the same output key? */
static bool same_key(const struct flow *f, const struct chunk *c, int a, int b)
{
    for (int k = 0; k < f->n_key_columns; k++) {
        const struct vector *v = &c->cols[f->key_columns[k]];
        bool null = vector_is_null(v, a);
        if (null != vector_is_null(v, b)) return false;
        if (null || v->is_const) continue;
        switch (v->phys) {
        case PHYS_BOOL:
            if ((v->b[a] != 0) != (v->b[b] != 0)) return false;
            break;
        case PHYS_I64:
            if (v->i[a] != v->i[b]) return false;
            break;
        case PHYS_F64:
            if (v->d[a] != v->d[b]) return false;
            break;
        case PHYS_STR:
            if (!bytes_equal(v->s[a], v->s[b])) return false;
            break;
        }
    }
    return true;
}

void flow_on_rows(void *arg, const struct chunk *c)
{
    struct flow *f = arg;
    for (int k = 0; k < c->n_sel; k++) {
        int row = c->sel ? c->sel[k] : k;
        bool is_delete = c->change && c->change[row] < 0;
        struct bytes key = row_key(f, c, row);
        if (is_delete && k + 1 < c->n_sel) {
            /* An update is the old row and then the new one, of the same group: the new value alone replaces it. */
            int next = c->sel ? c->sel[k + 1] : k + 1;
            if (next == row + 1 && c->change[next] > 0 && same_key(f, c, row, next)) continue;
        }
        outlet_put(&f->out, row_partition(&f->out, key, &c->origin[row]), row_time(f, c, row), key,
                   is_delete ? BYTES_NULL : row_value(f, c, row), NULL, 0);
        f->rows_out++;
    }
}

/* ---- rows that are kept aside ---- */

struct headers {
    struct record_header items[HEADERS_MAX];
    int n;
    char numbers[4][32];
    int n_numbers;
};

static void header_add(struct headers *h, const char *key, struct bytes value)
{
    if (h->n < HEADERS_MAX) h->items[h->n++] = (struct record_header){.key = bytes_str(key), .value = value};
}

static void header_number(struct headers *h, const char *key, int64_t v)
{
    char *text = h->numbers[h->n_numbers++];
    header_add(h, key, bytes_of(text, text_format_i64(text, v)));
}

/* Where the record is from, and then the headers it had. */
static void headers_origin(struct flow *f, struct headers *h, const struct row_origin *o)
{
    struct bytes rest = o->headers;
    struct record_header header;
    header_add(h, "weir-topic", f->feed.source_topic);
    if (o->partition >= 0) header_number(h, "weir-partition", o->partition);
    if (o->offset >= 0) header_number(h, "weir-offset", o->offset);
    while (h->n < HEADERS_MAX && record_header_next(&rest, &header))
        h->items[h->n++] = header;
}

static void keep_aside(struct flow *f, struct outlet *o, const struct row_origin *origin, const struct headers *h)
{
    int64_t time = origin->timestamp_ms != INT64_MIN ? origin->timestamp_ms : f->wall_ms;
    outlet_put(o, origin->partition >= 0 ? origin->partition % o->n_partitions : 0, time, origin->key, origin->value,
               h->items, h->n);
}

void flow_on_bad(void *arg, const struct row_origin *o, const char *text)
{
    struct flow *f = arg;
    struct headers h = {.n = 0};
    f->feed.rows_bad++;
    header_add(&h, "weir-error", bytes_str(text));
    headers_origin(f, &h, o);
    keep_aside(f, &f->dead, o, &h);
}

void flow_on_late(void *arg, const struct row_origin *o, int64_t window_end_us, int64_t watermark_us)
{
    struct flow *f = arg;
    struct headers h = {.n = 0};
    f->feed.rows_late++;
    if (o->partition < 0)
        return; /* made by an aggregate below: its rows are not late by construction, and no record exists */
    header_number(&h, "weir-window-end-ms", window_end_us / 1000);
    header_number(&h, "weir-watermark-ms", watermark_us / 1000);
    headers_origin(f, &h, o);
    keep_aside(f, &f->late, o, &h);
}
