/* Statements that only show: SHOW STREAMS, FLOWS, TOPICS, DESCRIBE, EXPLAIN. Rows as those of a SELECT. */
#include "flow/engine_int.h"

#include <stdio.h>

#define CELLS_MAX 12

/* A small table: columns are text or BIGINT, by the first letter of their description ("s:name", "i:rows_in"). */
struct table {
    struct script *script;
    struct sql_column columns[CELLS_MAX];
    struct sql_schema schema;
    struct sql_value cells[CELLS_MAX];
    int at;
};

static void table_begin(struct table *t, struct script *s, const char *const *columns, int n)
{
    *t = (struct table){.script = s};
    check(n <= CELLS_MAX);
    for (int i = 0; i < n; i++)
        t->columns[i] = (struct sql_column){.name = bytes_str(columns[i] + 2),
                                            .type.kind = columns[i][0] == 'i'   ? SQL_BIGINT
                                                         : columns[i][0] == 't' ? SQL_TIMESTAMP_LTZ
                                                                                : SQL_STRING};
    for (int i = 0; i < n; i++)
        if (columns[i][0] == 't') t->columns[i].type.precision = 3;
    t->schema = (struct sql_schema){.columns = t->columns, .n = n};
    s->sink->columns(s->sink, &t->schema);
}

static void cell_end(struct table *t)
{
    if (++t->at < t->schema.n) return;
    struct sql_row row = {.values = t->cells, .change = 1};
    t->script->sink->row(t->script->sink, &t->schema, &row);
    t->at = 0;
}

static void cell_text(struct table *t, struct bytes text)
{
    t->cells[t->at] = (struct sql_value){.kind = SQL_STRING, .is_null = bytes_is_null(text), .s = text};
    cell_end(t);
}

static void cell_int(struct table *t, int64_t v)
{
    t->cells[t->at] = (struct sql_value){.kind = SQL_BIGINT, .i = v};
    cell_end(t);
}

/* ---- SHOW ---- */

static int64_t topic_records(struct engine *en, struct bytes name, int64_t *n_partitions)
{
    struct port_topic topic;
    int64_t n = 0, start, end;
    *n_partitions = 0;
    if (en->port->topic_find(en->port, name, &topic, NULL) != ERR_NONE) return -1;
    *n_partitions = topic.n_partitions;
    for (int32_t i = 0; i < topic.n_partitions; i++)
        if (en->port->range(en->port, topic.id, i, &start, &end, NULL) == ERR_NONE) n += end - start;
    return n;
}

static void show_streams(struct script *s)
{
    static const char *const columns[] = {"s:name", "s:kind", "s:topic", "i:partitions", "i:columns"};
    struct table t;
    struct map_entry *m;
    uint32_t pos = 0;
    int64_t n_partitions;
    table_begin(&t, s, columns, ARRAY_LEN(columns));
    while ((m = map_next(&s->engine->catalog.streams, &pos)) != NULL) {
        const struct stream *stream = m->value;
        (void)topic_records(s->engine, stream->def->topic, &n_partitions);
        cell_text(&t, stream->def->name);
        cell_text(&t, bytes_str(stream->is_flow ? "flow" : "stream"));
        cell_text(&t, stream->def->topic);
        cell_int(&t, n_partitions);
        cell_int(&t, stream->def->n_columns);
    }
}

static void show_flows(struct script *s)
{
    static const char *const columns[] = {"s:name",     "s:state",     "i:rows_in",     "i:rows_out",
                                          "i:rows_bad", "i:rows_late", "i:lag_records", "i:groups",
                                          "i:commits",  "t:watermark", "s:error"};
    struct table t;
    table_begin(&t, s, columns, ARRAY_LEN(columns));
    for (struct list *l = s->engine->flows.next; l != &s->engine->flows; l = l->next) {
        struct flow_stats f;
        engine_flow_figures(s->engine, CONTAINER_OF(l, struct flow, link), &f);
        cell_text(&t, f.name);
        cell_text(&t, bytes_str(f.state));
        cell_int(&t, (int64_t)f.rows_in);
        cell_int(&t, (int64_t)f.rows_out);
        cell_int(&t, (int64_t)f.rows_bad);
        cell_int(&t, (int64_t)f.rows_late);
        cell_int(&t, f.lag_records);
        cell_int(&t, (int64_t)f.groups);
        cell_int(&t, (int64_t)f.commits);
        t.cells[t.at] = (struct sql_value){.kind = SQL_TIMESTAMP_LTZ, .is_null = f.watermark_ms == INT64_MIN, .i = 0};
        if (f.watermark_ms != INT64_MIN) t.cells[t.at].i = f.watermark_ms * 1000;
        cell_end(&t);
        cell_text(&t, f.error[0] ? bytes_str(f.error) : BYTES_NULL);
    }
}

static void topic_row(struct table *t, struct map *seen, struct bytes name)
{
    int64_t n_partitions, records = topic_records(t->script->engine, name, &n_partitions);
    if (records < 0 || map_put(seen, name, t)) return;
    cell_text(t, name);
    cell_int(t, n_partitions);
    cell_int(t, records);
}

/* The port knows topics by name only: shown are those that streams and flows read or write. */
static void show_topics(struct script *s)
{
    static const char *const columns[] = {"s:topic", "i:partitions", "i:records"};
    struct table t;
    struct map seen;
    struct map_entry *m;
    uint32_t pos = 0;
    map_init(&seen);
    table_begin(&t, s, columns, ARRAY_LEN(columns));
    while ((m = map_next(&s->engine->catalog.streams, &pos)) != NULL)
        topic_row(&t, &seen, ((const struct stream *)m->value)->def->topic);
    for (struct list *l = s->engine->flows.next; l != &s->engine->flows; l = l->next) {
        const struct flow *f = CONTAINER_OF(l, struct flow, link);
        if (f->late.n_partitions == 0) continue; /* never started */
        topic_row(&t, &seen, f->late.name);
        topic_row(&t, &seen, f->dead.name);
    }
    map_deinit(&seen);
}

/* ---- DESCRIBE, EXPLAIN ---- */

static const char *source_text(const struct stream_column *c, char *out, size_t size)
{
    static const char *const keys[] = {"timestamp", "offset", "partition", "key", "topic"};
    if (c->source == COLUMN_PHYSICAL) return "field";
    if (c->source == COLUMN_COMPUTED) return "computed";
    snprintf(out, size, "metadata '%s'", keys[c->metadata]);
    return out;
}

static enum err_code describe(struct script *s, struct bytes name, struct err *e)
{
    static const char *const columns[] = {"s:column", "s:type", "s:from", "s:note"};
    struct stream *stream = catalog_find(&s->engine->catalog, name);
    struct table t;
    if (stream == NULL) return err_set(e, ERR_NOT_FOUND, "unknown stream '%.*s'", BYTES_ARG(name));
    table_begin(&t, s, columns, ARRAY_LEN(columns));
    for (int i = 0; i < stream->def->n_columns; i++) {
        const struct stream_column *c = &stream->def->columns[i];
        char type[64], source[64];
        bool is_key = false;
        for (int k = 0; k < stream->def->n_key_fields; k++)
            is_key = is_key || bytes_equal(stream->def->key_fields[k], c->name);
        cell_text(&t, c->name);
        cell_text(&t, bytes_str(sql_type_text(c->type, type)));
        cell_text(&t, bytes_str(source_text(c, source, sizeof source)));
        cell_text(&t, i == stream->def->rowtime ? bytes_str("time attribute") : is_key ? bytes_str("key") : BYTES_NULL);
    }
    return ERR_NONE;
}

static void explain(struct script *s, const struct plan *p)
{
    static const char *const columns[] = {"s:plan"};
    struct table t;
    struct buf text;
    buf_init(&text, 0);
    plan_render(&text, p);
    table_begin(&t, s, columns, 1);
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.ptr + at, '\n', text.len - at);
        size_t n = end ? (size_t)(end - text.ptr) - at : text.len - at;
        cell_text(&t, bytes_of(text.ptr + at, n));
        at += n + 1;
    }
    buf_deinit(&text);
}

enum err_code show_run(struct script *s, const struct statement *st, struct err *e)
{
    switch (st->kind) {
    case STMT_SHOW_STREAMS: show_streams(s); return ERR_NONE;
    case STMT_SHOW_FLOWS: show_flows(s); return ERR_NONE;
    case STMT_SHOW_TOPICS: show_topics(s); return ERR_NONE;
    case STMT_DESCRIBE: return describe(s, st->name, e);
    case STMT_EXPLAIN: explain(s, st->plan); return ERR_NONE;
    default: return err_set(e, ERR_UNSUPPORTED, "this statement is not executed here");
    }
}
