/* From records to columns: JSON fields, metadata, computed columns, watermarks.
 *
 * S1  Of the physical columns only those are decoded that the plan, a computed column it needs, or the watermark
 *     touches; the record is checked in full all the same, so that what is a bad row does not depend on the
 *     query's column list.
 * S2  A record without a value is a bad row unless no physical column is declared: nothing is dropped unseen. */
#include "flow/exec/source.h"

#include "flow/exec/expr.h"
#include "flow/exec/json.h"

struct source {
    const struct stream_def *def;
    struct arena arena, scratch;
    struct row_errors errors;
    struct eval eval;
    bool *needed;
    bool has_physical;
    struct vector *cols;
    struct xnode **computed; /* per column */
    struct xnode *mark;      /* WATERMARK FOR, or NULL */
    struct json_decoder *json;
    int32_t partition;
    struct row_origin origins[LIMIT_CHUNK_ROWS];
    int64_t before[LIMIT_CHUNK_ROWS];
    uint16_t sel[LIMIT_CHUNK_ROWS];
    struct chunk chunk;
};

/* Marks what an expression over the stream's columns needs; computed columns bring their own. */
static void need_expr(struct source *s, const struct expr *e)
{
    if (e->kind == EXPR_COLUMN) {
        check(e->column >= 0 && e->column < s->def->n_columns);
        if (s->needed[e->column]) return;
        s->needed[e->column] = true;
        if (s->def->columns[e->column].source == COLUMN_COMPUTED) need_expr(s, s->def->columns[e->column].computed);
    }
    for (int i = 0; i < e->n_args; i++)
        need_expr(s, e->args[i]);
}

static void needs_find(struct source *s, const struct plan *scan)
{
    s->needed = arena_array(&s->arena, (size_t)s->def->n_columns, sizeof(bool));
    for (int i = 0; i < s->def->n_columns; i++) {
        const struct stream_column *c = &s->def->columns[i];
        s->has_physical = s->has_physical || c->source == COLUMN_PHYSICAL;
        if (scan->needed == NULL || !scan->needed[i] || s->needed[i]) continue;
        s->needed[i] = true;
        if (c->source == COLUMN_COMPUTED) need_expr(s, c->computed);
    }
    if (s->def->rowtime >= 0 && s->def->watermark) need_expr(s, s->def->watermark);
}

static enum err_code columns_create(struct source *s, struct err *e)
{
    int n = s->def->n_columns, n_fields = 0;
    struct json_field *fields = arena_array(&s->arena, (size_t)n, sizeof *fields);
    s->cols = arena_array(&s->arena, (size_t)n, sizeof *s->cols);
    s->computed = arena_array(&s->arena, (size_t)n, sizeof(struct xnode *));
    for (int i = 0; i < n; i++) {
        const struct stream_column *c = &s->def->columns[i];
        if (!s->needed[i]) { /* never looked at; a NULL constant keeps the indices */
            vector_init_const(&s->cols[i], sql_phys(c->type.kind), &(struct sql_value){.is_null = true}, &s->arena);
            continue;
        }
        if (c->source == COLUMN_METADATA && c->metadata == META_TOPIC) {
            struct sql_value topic = {.kind = SQL_STRING, .s = s->def->topic};
            vector_init_const(&s->cols[i], PHYS_STR, &topic, &s->arena);
            continue;
        }
        vector_init(&s->cols[i], sql_phys(c->type.kind), &s->arena);
        if (c->source == COLUMN_PHYSICAL) {
            fields[n_fields++] = (struct json_field){.name = c->name, .type = c->type, .out = &s->cols[i]};
        } else if (c->source == COLUMN_COMPUTED) {
            enum err_code rc = expr_compile(&s->computed[i], c->computed, &s->arena, e);
            if (rc != ERR_NONE) return rc;
        }
    }
    s->json = json_decoder_create(fields, n_fields, &s->arena);
    if (s->def->rowtime < 0 || s->def->watermark == NULL) return ERR_NONE;
    return expr_compile(&s->mark, s->def->watermark, &s->arena, e);
}

enum err_code source_create(struct source **out, const struct plan *scan, struct err *e)
{
    struct arena arena;
    check(scan->kind == PLAN_SCAN);
    arena_init(&arena, 256u << 10);
    struct source *s = arena_new(&arena, struct source);
    s->arena = arena;
    s->def = scan->stream;
    arena_init(&s->scratch, 64u << 10);
    s->eval = (struct eval){.arena = &s->scratch, .errors = &s->errors};
    needs_find(s, scan);
    enum err_code rc = columns_create(s, e);
    if (rc != ERR_NONE) {
        source_destroy(s);
        return rc;
    }
    source_begin(s, 0);
    *out = s;
    return ERR_NONE;
}

void source_destroy(struct source *s)
{
    if (s == NULL) return;
    for (int i = 0; s->computed && i < s->def->n_columns; i++)
        expr_release(s->computed[i]);
    expr_release(s->mark);
    arena_deinit(&s->scratch);
    struct arena arena = s->arena;
    arena_deinit(&arena);
}

void source_begin(struct source *s, int32_t partition)
{
    s->partition = partition;
    s->chunk = (struct chunk){
        .n_cols = s->def->n_columns, .cols = s->cols, .origin = s->origins, .watermark_all = WATERMARK_NONE};
    for (int i = 0; i < s->def->n_columns; i++)
        if (s->needed[i] && !s->cols[i].is_const) s->cols[i].has_nulls = false;
    arena_reset(&s->scratch);
    row_errors_clear(&s->errors);
}

bool source_is_full(const struct source *s)
{
    return s->chunk.n_rows == LIMIT_CHUNK_ROWS;
}

int source_count(const struct source *s)
{
    return s->chunk.n_rows;
}

static void metadata_set(struct source *s, int column, int row, const struct record *r)
{
    struct vector *v = &s->cols[column];
    struct sql_value value = {.is_null = false};
    switch (s->def->columns[column].metadata) {
    case META_TIMESTAMP: value.i = r->timestamp * 1000; break;
    case META_OFFSET: value.i = r->offset; break;
    case META_PARTITION: value.i = s->partition; break;
    case META_KEY:
        value.is_null = bytes_is_null(r->key);
        value.s = r->key;
        break;
    case META_TOPIC: return;
    }
    vector_set(v, row, &value);
}

void source_add(struct source *s, const struct record *r)
{
    int row = s->chunk.n_rows++;
    char error[JSON_ERROR_MAX];
    check(row < LIMIT_CHUNK_ROWS);
    s->origins[row] = (struct row_origin){.key = r->key,
                                          .value = r->value,
                                          .headers = r->headers,
                                          .header_count = r->header_count,
                                          .partition = s->partition,
                                          .offset = r->offset,
                                          .timestamp_ms = r->timestamp};
    for (int i = 0; i < s->def->n_columns; i++)
        if (s->needed[i] && s->def->columns[i].source == COLUMN_METADATA) metadata_set(s, i, row, r);
    if (!s->has_physical || LIKELY(json_decode(s->json, r->value, row, &s->scratch, error))) return;
    s->errors.flag[row] = 1;
    s->errors.text[row] = arena_strdup(&s->scratch, error);
    s->errors.count++;
}

/* The selection of rows that have not failed so far. */
static void select_good(struct source *s, const uint16_t **sel, int *n)
{
    *sel = NULL;
    *n = s->chunk.n_rows;
    if (s->errors.count == 0) return;
    *n = 0;
    for (int i = 0; i < s->chunk.n_rows; i++)
        if (!s->errors.flag[i]) s->sel[(*n)++] = (uint16_t)i;
    *sel = s->sel;
}

const struct chunk *source_finish(struct source *s, struct source_time *t, source_bad_fn bad, void *arg)
{
    const uint16_t *sel;
    int n;
    if (s->chunk.n_rows == 0) return NULL;
    select_good(s, &sel, &n);
    for (int i = 0; i < s->def->n_columns; i++) {
        if (s->computed[i] == NULL) continue;
        s->cols[i] = *expr_eval(s->computed[i], &s->eval, &s->chunk, sel, n); /* a view of the node's result */
        select_good(s, &sel, &n);
    }
    if (s->mark) {
        const struct vector *marks = expr_eval(s->mark, &s->eval, &s->chunk, sel, n);
        select_good(s, &sel, &n);
        source_time_rows(t, s->partition, marks, sel, n, s->before);
        s->chunk.watermark = s->before;
    }
    for (int i = 0; s->errors.count > 0 && i < s->chunk.n_rows; i++)
        if (s->errors.flag[i]) bad(arg, &s->origins[i], s->errors.text[i]);
    row_errors_clear(&s->errors);
    s->chunk.sel = sel;
    s->chunk.n_sel = n;
    return &s->chunk;
}
