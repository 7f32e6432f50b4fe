/* sql_print.c: see sql_print.h. */
#include "app/sql_print.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void sql_print_init(struct sql_print *p, bool json, bool is_terminal)
{
    memset(p, 0, sizeof *p);
    p->json = json;
    p->is_terminal = is_terminal;
    buf_init(&p->line, 0);
}

void sql_print_deinit(struct sql_print *p)
{
    buf_deinit(&p->line);
}

static void flush_line(struct sql_print *p)
{
    if (fwrite(p->line.ptr, 1, p->line.len, stdout) != p->line.len) p->write_failed = true;
    if (p->is_terminal) fflush(stdout);
    buf_clear(&p->line);
}

void sql_print_end(struct sql_print *p)
{
    if (p->in_rows && !p->json) printf("(%llu row%s)\n", (unsigned long long)p->n_rows, p->n_rows == 1 ? "" : "s");
    p->in_rows = false;
    fflush(stdout);
}

/* ---- tables ---- */

/* Characters, not bytes: continuation bytes do not count. */
static int display_width(struct bytes t)
{
    int n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += (t.ptr[i] & 0xc0) != 0x80;
    return n;
}

static void put_cell(struct sql_print *p, int column, struct bytes text)
{
    int pad = p->width[column] - display_width(text);
    if (column > 0) buf_put_str(&p->line, " | ");
    if (p->right[column])
        for (; pad > 0; pad--)
            buf_put_u8(&p->line, ' ');
    for (size_t i = 0; i < text.len; i++)
        buf_put_u8(&p->line, text.ptr[i] < 0x20 ? ' ' : text.ptr[i]);
    if (!p->right[column] && column + 1 < p->n_columns)
        for (; pad > 0; pad--)
            buf_put_u8(&p->line, ' ');
}

static int type_width(const char *type)
{
    if (strncmp(type, "TIMESTAMP", 9) == 0) return 23;
    if (strncmp(type, "VARCHAR", 7) == 0 || strncmp(type, "STRING", 6) == 0) return 16;
    if (strncmp(type, "BOOLEAN", 7) == 0) return 5;
    if (strncmp(type, "DATE", 4) == 0) return 10;
    return 12;
}

static void add_column(struct sql_print *p, struct bytes name, const char *type)
{
    int wide = display_width(name), by_type = type_width(type);
    if (p->n_columns == SQL_PRINT_COLUMNS_MAX) return;
    p->width[p->n_columns] = wide > by_type ? wide : by_type;
    p->right[p->n_columns] = strstr(type, "INT") != NULL || strncmp(type, "DOUBLE", 6) == 0;
    p->n_columns++;
}

static void begin_columns(struct sql_print *p)
{
    sql_print_end(p);
    p->n_columns = 0;
    p->n_rows = 0;
    p->in_rows = true;
}

static void put_rule(struct sql_print *p)
{
    buf_put_u8(&p->line, '\n');
    for (int i = 0; i < p->n_columns; i++) {
        if (i > 0) buf_put_str(&p->line, "-+-");
        for (int k = 0; k < p->width[i]; k++)
            buf_put_u8(&p->line, '-');
    }
    buf_put_u8(&p->line, '\n');
    flush_line(p);
}

void sql_print_schema(struct sql_print *p, const struct sql_schema *schema)
{
    char type[64];
    begin_columns(p);
    if (p->json) return;
    for (int i = 0; i < schema->n; i++)
        add_column(p, schema->columns[i].name, sql_type_text(schema->columns[i].type, type));
    for (int i = 0; i < p->n_columns; i++)
        put_cell(p, i, schema->columns[i].name);
    put_rule(p);
}

void sql_print_row(struct sql_print *p, const struct sql_schema *schema, const struct sql_row *row)
{
    struct buf cell;
    if (row->change < 0) return; /* the new image follows */
    p->n_rows++;
    if (p->json) {
        sql_row_put_json(&p->line, schema, row);
        buf_put_u8(&p->line, '\n');
        flush_line(p);
        return;
    }
    buf_init(&cell, 0);
    for (int i = 0; i < p->n_columns && i < schema->n; i++) {
        buf_clear(&cell);
        sql_value_put_text(&cell, &row->values[i], schema->columns[i].type);
        put_cell(p, i, buf_bytes(&cell));
    }
    buf_deinit(&cell);
    buf_put_u8(&p->line, '\n');
    flush_line(p);
}

void sql_print_message(struct sql_print *p, struct bytes text)
{
    sql_print_end(p);
    if (p->json)
        fprintf(stderr, "%.*s\n", BYTES_ARG(text));
    else
        printf("%.*s\n", BYTES_ARG(text));
}

void sql_print_error(struct sql_print *p, const struct sql_print_fault *f)
{
    sql_print_end(p);
    p->failed = true;
    if (!p->json) {
        struct bytes shown = f->rendered.len > 0 ? f->rendered : f->text;
        fprintf(stderr, "%.*s%s", BYTES_ARG(shown), shown.len > 0 && shown.ptr[shown.len - 1] == '\n' ? "" : "\n");
        return;
    }
    buf_put_str(&p->line, "{\"error\":{\"code\":");
    text_put_json_string(&p->line, f->code);
    buf_put_str(&p->line, ",\"message\":");
    text_put_json_string(&p->line, f->text);
    if (f->hint.len > 0) {
        buf_put_str(&p->line, ",\"hint\":");
        text_put_json_string(&p->line, f->hint);
    }
    if (f->line > 0) buf_printf(&p->line, ",\"line\":%d,\"column\":%d", f->line, f->column);
    buf_put_str(&p->line, "}}\n");
    fwrite(p->line.ptr, 1, p->line.len, stderr);
    buf_clear(&p->line);
}

/* ---- events of a server ---- */

static struct bytes json_text(json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    return json_is_string(v) ? bytes_of(json_string_value(v), json_string_length(v)) : BYTES_NULL;
}

static void event_columns(struct sql_print *p, json_t *columns)
{
    size_t i;
    json_t *c;
    begin_columns(p);
    if (p->json) return;
    json_array_foreach(columns, i, c)
        add_column(p, json_text(c, "name"), json_string_value(json_object_get(c, "type")));
    json_array_foreach(columns, i, c)
    {
        if ((int)i < p->n_columns) put_cell(p, (int)i, json_text(c, "name"));
    }
    put_rule(p);
}

static void event_row(struct sql_print *p, json_t *row)
{
    const char *name;
    json_t *v;
    int i = 0;
    p->n_rows++;
    json_object_foreach(row, name, v)
    {
        char *text;
        if (i == p->n_columns) break;
        if (json_is_string(v)) {
            put_cell(p, i, bytes_of(json_string_value(v), json_string_length(v)));
        } else {
            text = json_is_null(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
            put_cell(p, i, bytes_str(text ? text : "NULL"));
            free(text);
        }
        i++;
    }
    buf_put_u8(&p->line, '\n');
    flush_line(p);
}

/* The row inside {"row":...,"change":1}, byte for byte: numbers keep their spelling. False: this is no row, or an old
 * image. */
static bool row_text(struct bytes line, struct bytes *row, bool *old_image)
{
    static const char head[] = "{\"row\":", tail[] = ",\"change\":1}", old[] = ",\"change\":-1}";
    size_t h = sizeof head - 1, t = sizeof tail - 1, o = sizeof old - 1;
    if (line.len < h + t || memcmp(line.ptr, head, h) != 0) return false;
    *old_image = line.len >= h + o && memcmp(line.ptr + line.len - o, old, o) == 0;
    if (!*old_image && memcmp(line.ptr + line.len - t, tail, t) != 0) return false;
    *row = bytes_slice(line, h, line.len - h - (*old_image ? o : t));
    return true;
}

static void other_event(struct sql_print *p, struct bytes line)
{
    json_error_t je;
    json_t *o = json_loadb((const char *)line.ptr, line.len, 0, &je), *v;
    if ((v = json_object_get(o, "columns")) != NULL) {
        event_columns(p, v);
    } else if ((v = json_object_get(o, "message")) != NULL) {
        sql_print_message(p, json_text(o, "message"));
    } else if ((v = json_object_get(o, "error")) != NULL) {
        struct sql_print_fault f = {json_text(v, "code"),
                                    json_text(v, "message"),
                                    json_text(v, "hint"),
                                    json_text(v, "rendered"),
                                    (int)json_integer_value(json_object_get(v, "line")),
                                    (int)json_integer_value(json_object_get(v, "column"))};
        sql_print_error(p, &f);
    } else {
        sql_print_error(p, &(struct sql_print_fault){BYTES_LIT("protocol"),
                                                     BYTES_LIT("the server's answer was not understood"), BYTES_NULL,
                                                     BYTES_NULL, 0, 0});
    }
    json_decref(o);
}

void sql_print_event(struct sql_print *p, struct bytes line)
{
    struct bytes row;
    bool old_image = false;
    json_error_t je;
    json_t *o;
    if (line.len == 0) return;
    if (!row_text(line, &row, &old_image)) {
        other_event(p, line);
        return;
    }
    if (old_image) return;
    if (p->json) {
        p->n_rows++;
        buf_put_bytes(&p->line, row);
        buf_put_u8(&p->line, '\n');
        flush_line(p);
        return;
    }
    o = json_loadb((const char *)row.ptr, row.len, 0, &je);
    if (o != NULL) event_row(p, o);
    json_decref(o);
}
