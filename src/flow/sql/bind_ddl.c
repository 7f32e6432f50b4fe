/* bind_ddl.c: CREATE STREAM to a definition, and the definition of the stream that a query makes. */
#include "flow/sql/bind.h"

#include "flow/sql/options.h"

static bool bind_metadata(struct sql_ctx *c, const struct column_ast *a, struct stream_column *out)
{
    static const struct {
        const char *key;
        enum metadata_key metadata;
        const char *types;
    } keys[] = {{"timestamp", META_TIMESTAMP, "TIMESTAMP(3) or TIMESTAMP_LTZ(3)"},
                {"offset", META_OFFSET, "BIGINT"},
                {"partition", META_PARTITION, "INT or BIGINT"},
                {"key", META_KEY, "STRING"},
                {"topic", META_TOPIC, "STRING"}};
    struct bytes key = bytes_is_null(a->metadata) ? a->name : a->metadata;
    struct suggest near;

    suggest_init(&near, key);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        bool ok;
        suggest_add(&near, bytes_str(keys[i].key));
        if (!bytes_equal_str(key, keys[i].key)) continue;
        out->metadata = keys[i].metadata;
        ok = i == 0   ? type_is_time(a->type)
             : i == 1 ? a->type.kind == SQL_BIGINT
             : i == 2 ? type_is_integer(a->type)
                      : a->type.kind == SQL_STRING;
        if (ok) return true;
        sql_fail(c, a->type_position, NULL, "the metadata '%s' is %s, not %s", keys[i].key, keys[i].types,
                 type_shown(c, a->type));
        return false;
    }
    sql_fail(c, a->metadata_position,
             suggest_hint(c, &near, "METADATA FROM 'timestamp', 'offset', 'partition', 'key' or 'topic'"),
             "unknown metadata '%s'", sql_shown(c, key));
    return false;
}

/* Names and declared types; computed columns get theirs later. */
static bool bind_columns(struct binder *b, const struct create_ast *create, struct stream_def *def)
{
    for (int i = 0; i < create->columns.n; i++) {
        const struct column_ast *a = create->columns.items[i];
        struct stream_column *out = &def->columns[i];
        for (int k = 0; k < i; k++) {
            if (!bytes_equal(def->columns[k].name, a->name)) continue;
            sql_fail(b->c, a->position, NULL, "the column '%s' is declared twice", sql_shown(b->c, a->name));
            return false;
        }
        out->name = a->name;
        out->type = a->type;
        out->source = a->source;
        if (a->source == COLUMN_METADATA && !bind_metadata(b->c, a, out)) return false;
    }
    return true;
}

/* The stream's columns as a relation: expressions of the definition see it. Computed columns are nameless while these
 * are bound. */
static struct relation *stream_relation(struct binder *b, const struct stream_def *def, bool has_computed)
{
    struct plan *p = plan_new(b->c, PLAN_SCAN, NULL, def->n_columns);
    for (int i = 0; i < def->n_columns; i++) {
        bool is_hidden = !has_computed && def->columns[i].source == COLUMN_COMPUTED;
        p->columns[i].name = is_hidden ? BYTES_NULL : def->columns[i].name;
        p->columns[i].type = def->columns[i].type;
    }
    return relation_new(b, p, def->name);
}

static bool bind_computed(struct binder *b, const struct create_ast *create, struct stream_def *def)
{
    struct scope s = {
        .b = b, .relation = stream_relation(b, def, false), .place = "a computed column", .computed_of = def};
    int64_t weight = 0;

    for (int i = 0; i < create->columns.n; i++) {
        const struct column_ast *a = create->columns.items[i];
        struct stream_column *out = &def->columns[i];
        if (a->source != COLUMN_COMPUTED) continue;
        out->computed = bind_expr(&s, a->computed);
        if (out->computed == NULL) return false;
        if (out->computed->type.kind == SQL_NULL) {
            sql_fail(b->c, out->computed->position, "give it one: CAST(NULL AS STRING)", "NULL has no type here");
            return false;
        }
        weight += out->computed->weight;
        if (weight > LIMIT_SQL_EXPR_NODES_MAX) {
            expr_too_large(b->c, a->position);
            return false;
        }
        out->type = out->computed->type;
        out->type.is_rowtime = false;
    }
    return true;
}

static bool bind_watermark(struct binder *b, const struct create_ast *create, struct stream_def *def)
{
    struct scope s = {.b = b, .place = "WATERMARK FOR"};
    struct sql_ctx *c = b->c;
    struct stream_column *column;
    struct suggest near;

    def->rowtime = -1;
    if (bytes_is_null(create->rowtime)) return true;
    suggest_init(&near, create->rowtime);
    for (int i = 0; i < def->n_columns; i++) {
        if (bytes_equal(def->columns[i].name, create->rowtime)) def->rowtime = i;
        suggest_add(&near, def->columns[i].name);
    }
    if (def->rowtime < 0) {
        sql_fail(c, create->rowtime_position, suggest_hint(c, &near, NULL), "WATERMARK FOR an unknown column '%s'",
                 sql_shown(c, create->rowtime));
        return false;
    }
    column = &def->columns[def->rowtime];
    if (!type_is_time(column->type)) {
        const char *hint = type_is_integer(column->type)
                               ? "a computed column makes one: t AS TO_TIMESTAMP_LTZ(milliseconds, 3)"
                           : column->type.kind == SQL_STRING ? "a computed column makes one: t AS TO_TIMESTAMP(text)"
                                                             : NULL;
        sql_fail(c, create->rowtime_position, hint,
                 "the column of WATERMARK FOR must be TIMESTAMP(3) or TIMESTAMP_LTZ(3), not %s",
                 type_shown(c, column->type));
        return false;
    }
    s.relation = stream_relation(b, def, true);
    def->watermark = bind_expr(&s, create->watermark);
    if (def->watermark == NULL) return false;
    if (def->watermark->type.kind != column->type.kind) {
        sql_fail(c, def->watermark->position, "for instance t - INTERVAL '5' SECOND",
                 "the watermark must be %s as its column, not %s", type_shown(c, column->type),
                 def->watermark->type.kind == SQL_NULL ? "NULL" : type_shown(c, def->watermark->type));
        return false;
    }
    column->type.is_rowtime = true;
    return true;
}

/* PRIMARY KEY NOT ENFORCED changes nothing, as long as it names stored columns. */
static bool check_primary_key(struct binder *b, const struct create_ast *create, const struct stream_def *def)
{
    for (int i = 0; i < create->key.n; i++) {
        const struct ast *a = create->key.items[i];
        struct suggest near;
        int k = 0;
        suggest_init(&near, a->name);
        for (; k < def->n_columns && !bytes_equal(def->columns[k].name, a->name); k++)
            suggest_add(&near, def->columns[k].name);
        if (k == def->n_columns) {
            sql_fail(b->c, a->position, suggest_hint(b->c, &near, NULL), "PRIMARY KEY names an unknown column '%s'",
                     sql_shown(b->c, a->name));
            return false;
        }
        if (def->columns[k].source != COLUMN_PHYSICAL) {
            sql_fail(b->c, a->position, NULL, "PRIMARY KEY column '%s' is not stored", sql_shown(b->c, a->name));
            return false;
        }
    }
    return true;
}

static struct stream_def *stream_new(struct binder *b, struct bytes name, int n_columns)
{
    struct stream_def *def = arena_new(b->c->arena, struct stream_def);
    def->name = name;
    def->n_columns = n_columns;
    def->columns = arena_array(b->c->arena, (size_t)n_columns + 1, sizeof(*def->columns));
    def->rowtime = -1;
    return def;
}

struct stream_def *bind_create_stream(struct binder *b, const struct create_ast *create)
{
    struct stream_def *def = stream_new(b, create->name, create->columns.n);

    if (create->columns.n == 0) return sql_fail(b->c, create->position, NULL, "a stream needs at least one column");
    if (!bind_columns(b, create, def) || !bind_computed(b, create, def) || !bind_watermark(b, create, def)) return NULL;
    if (!check_primary_key(b, create, def) || !bind_options(b->c, create, def)) return NULL;
    return def;
}

/* ---- the stream of CREATE STREAM ... AS SELECT ---- */

/* The column of the scan that the root's time attribute is, when it came up unchanged. -1: a window made it. */
static int trace_rowtime(const struct plan *p, const struct stream_def **def)
{
    int column = p->rowtime;
    for (; column >= 0; p = p->input) {
        switch (p->kind) {
        case PLAN_SCAN: *def = p->stream; return column;
        case PLAN_PROJECT: column = p->exprs[column]->column; break;
        case PLAN_WINDOW:
        case PLAN_AGGREGATE: return -1;
        default: break;
        }
    }
    return -1;
}

/* How far the output may be out of order, as text "`t` - INTERVAL ..": rows of one window carry the same time, so the
 * watermark stays 1 ms behind it; rows that pass through are as disordered as their source, so its delay is kept. */
static bool output_watermark(struct sql_ctx *c, const struct relation *r, struct expr **watermark, int64_t *delay_us)
{
    const struct stream_def *def = NULL;
    struct plan *p = r->plan;
    struct sql_type type = p->columns[p->rowtime].type;
    int column = trace_rowtime(p, &def);
    struct expr *args[2];

    *delay_us = 1000;
    if (column >= 0) {
        const struct expr *w = def->watermark;
        bool is_minus = w->kind == EXPR_CALL && (w->op == FN_SUB_TV || w->op == FN_SUB_LV) &&
                        w->args[0]->kind == EXPR_COLUMN && w->args[1]->kind == EXPR_LITERAL;
        *delay_us = is_minus ? w->args[1]->literal.i : 0;
        if (*delay_us < 0) *delay_us = 0;
    }
    type.is_rowtime = false;
    args[0] = expr_column(c, p->rowtime, type, 0);
    if (args[0] == NULL) return false;
    *watermark = args[0];
    if (*delay_us == 0) return true;
    args[1] = expr_i64(c, SQL_INTERVAL, *delay_us, 0);
    *watermark =
        args[1] == NULL ? NULL : expr_call(c, type.kind == SQL_TIMESTAMP ? FN_SUB_TV : FN_SUB_LV, type, args, 2, 0);
    return *watermark != NULL;
}

static bool copy_column(struct binder *b, const struct create_ast *create, const struct relation *r, int i,
                        struct stream_def *def)
{
    const struct sql_column *from = &r->plan->columns[i];
    struct stream_column *to = &def->columns[i];

    for (int k = 0; k < i; k++) {
        if (!bytes_equal(def->columns[k].name, from->name)) continue;
        sql_fail(b->c, create->position, "name one of them with AS", "the query gives two columns the name '%s'",
                 sql_shown(b->c, from->name));
        return false;
    }
    if (from->type.kind == SQL_INTERVAL) {
        sql_fail(b->c, create->position, "TIMESTAMPDIFF(SECOND, a, b) gives a number",
                 "the column '%s' is an INTERVAL, which cannot be stored", sql_shown(b->c, from->name));
        return false;
    }
    to->name = arena_copy(b->c->arena, from->name);
    to->type = from->type;
    to->type.not_null = false; /* a promise of the query; readers of the topic need not rely on it */
    to->type.is_rowtime = i == r->plan->rowtime;
    to->source = COLUMN_PHYSICAL;
    return true;
}

static void put_option(struct buf *out, const char *key, struct bytes value)
{
    buf_printf(out, "%s'%s' = ", out->ptr[out->len - 1] == '(' ? "" : ", ", key);
    sql_put_quoted(out, value, '\'');
}

static void put_key_fields(struct buf *out, const struct stream_def *def)
{
    struct buf joined;
    buf_init(&joined, 0);
    for (int i = 0; i < def->n_key_fields; i++) {
        if (i > 0) buf_put_u8(&joined, ';');
        buf_put_bytes(&joined, def->key_fields[i]);
    }
    put_option(out, "key.fields", buf_bytes(&joined));
    buf_deinit(&joined);
}

static void put_delay(struct buf *out, int64_t us)
{
    buf_printf(out, " - INTERVAL '%lld", (long long)(us / 1000000));
    if (us % 1000 != 0)
        buf_printf(out, ".%06lld", (long long)(us % 1000000));
    else if (us % 1000000 != 0)
        buf_printf(out, ".%03lld", (long long)(us % 1000000 / 1000));
    buf_put_str(out, "' SECOND");
}

/* The CREATE STREAM text that makes exactly this definition. */
static struct bytes definition_text(struct sql_ctx *c, const struct stream_def *def, int64_t delay_us)
{
    struct buf out;
    struct bytes text;
    char number[48];

    buf_init(&out, 0);
    buf_put_str(&out, "CREATE STREAM ");
    sql_put_quoted(&out, def->name, '`');
    for (int i = 0; i < def->n_columns; i++) {
        buf_put_str(&out, i == 0 ? " (" : ", ");
        sql_put_quoted(&out, def->columns[i].name, '`');
        buf_printf(&out, " %s", sql_type_text(def->columns[i].type, number));
    }
    if (def->rowtime >= 0) {
        buf_put_str(&out, ", WATERMARK FOR ");
        sql_put_quoted(&out, def->columns[def->rowtime].name, '`');
        buf_put_str(&out, " AS ");
        sql_put_quoted(&out, def->columns[def->rowtime].name, '`');
        if (delay_us > 0) put_delay(&out, delay_us);
    }
    buf_put_str(&out, ") WITH (");
    put_option(&out, "topic", def->topic);
    buf_put_str(&out, ", 'format' = 'json'");
    if (def->start_latest) buf_put_str(&out, ", 'scan.startup.mode' = 'latest-offset'");
    if (def->idle_timeout_ms != 0)
        buf_printf(&out, ", 'scan.watermark.idle-timeout' = '%lld ms'",
                   (long long)(def->idle_timeout_ms < 0 ? 0 : def->idle_timeout_ms));
    if (def->n_partitions > 0) buf_printf(&out, ", 'partitions' = '%d'", (int)def->n_partitions);
    if (def->n_key_fields > 0) put_key_fields(&out, def);
    buf_put_u8(&out, ')');
    check(!out.failed);
    text = arena_copy(c->arena, buf_bytes(&out));
    buf_deinit(&out);
    return text;
}

/* The rows of an updating query replace each other by its group: that is the record key, unless WITH says otherwise. */
static bool default_key(struct binder *b, const struct create_ast *create, const struct relation *r,
                        struct stream_def *def)
{
    const struct plan *aggregate = r->plan;
    int n = 0;

    while (aggregate != NULL && aggregate->kind != PLAN_AGGREGATE)
        aggregate = aggregate->input;
    if (def->n_key_fields > 0 || aggregate == NULL || aggregate->n_keys == 0) return true;
    def->key_fields = arena_array(b->c->arena, (size_t)r->plan->n_columns, sizeof(*def->key_fields));
    for (int key = 0; key < aggregate->n_keys; key++) {
        int found = -1;
        if (key == aggregate->window_time_key) continue; /* follows from the window's end */
        for (int i = 0; i < r->plan->n_columns && found < 0; i++) {
            const struct plan *p = r->plan;
            int column = i;
            for (; p != aggregate && column >= 0; p = p->input) { /* down to the aggregate, through unchanged columns */
                if (p->kind == PLAN_PROJECT)
                    column = p->exprs[column]->kind == EXPR_COLUMN ? p->exprs[column]->column : -1;
            }
            if (column == key) found = i;
        }
        if (found < 0) {
            sql_fail(b->c, create->position, "select all columns of GROUP BY, or say WITH ('key.fields' = '...')",
                     "the query updates its rows, and its output lacks the group column %s",
                     sql_shown(b->c, aggregate->columns[key].name));
            return false;
        }
        if (memchr(def->columns[found].name.ptr, ';', def->columns[found].name.len) != NULL) {
            sql_fail(b->c, create->position, "give it another name with AS",
                     "a key column cannot have ';' in its name");
            return false;
        }
        def->key_fields[n++] = def->columns[found].name;
    }
    def->n_key_fields = n;
    return true;
}

struct stream_def *bind_stream_of_query(struct binder *b, const struct create_ast *create, const struct relation *r)
{
    struct plan *p = r->plan;
    struct stream_def *def = stream_new(b, create->name, p->n_columns);
    int64_t delay_us = 0;

    for (int i = 0; i < p->n_columns; i++) {
        if (!copy_column(b, create, r, i, def)) return NULL;
    }
    def->rowtime = p->rowtime;
    if (p->rowtime >= 0 && !output_watermark(b->c, r, &def->watermark, &delay_us)) return NULL;
    if (create->key.n > 0 && !check_primary_key(b, create, def)) return NULL;
    if (!bind_options(b->c, create, def)) return NULL;
    if (r->is_updating && !default_key(b, create, r, def)) return NULL;
    def->sql = definition_text(b->c, def, delay_us);
    return def;
}
