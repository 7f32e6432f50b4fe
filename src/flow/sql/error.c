/* error.c: errors with a place. The first error of a statement is kept: what follows is usually its echo. */
#include "flow/sql/sql_int.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

enum { SHOWN_BYTES_MAX = 60, LINE_SHOWN_MAX = 160 };

/* Line and column (in characters) of a byte offset. */
static void find_place(struct bytes text, int position, int *line, int *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < (size_t)position && i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            ++*line;
            *column = 1;
        } else if ((text.ptr[i] & 0xC0) != 0x80) {
            ++*column;
        }
    }
}

static void fail_v(struct sql_ctx *c, enum err_code code, int position, const char *hint, const char *fmt, va_list args)
{
    char text[sizeof(c->e->err.text)];

    if (c->failed) return;
    c->failed = true;
    vsnprintf(text, sizeof(text), fmt, args);
    err_clear(&c->e->err);
    (void)err_set(&c->e->err, code, "%s", text);
    if (hint != NULL && hint[0] != '\0') err_hint(&c->e->err, "%s", hint);
    if (position > (int)c->text.len) position = (int)c->text.len;
    c->e->position = position;
    c->e->line = c->e->column = 0;
    if (position >= 0) find_place(c->text, position, &c->e->line, &c->e->column);
}

void *sql_fail(struct sql_ctx *c, int position, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_v(c, ERR_INVALID, position, hint, fmt, args);
    va_end(args);
    return NULL;
}

void *sql_fail_unsupported(struct sql_ctx *c, int position, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_v(c, ERR_UNSUPPORTED, position, hint, fmt, args);
    va_end(args);
    return NULL;
}

void *sql_not_yet(struct sql_ctx *c, int position, const char *what, const char *hint)
{
    return sql_fail_unsupported(c, position, hint, "%s is not supported yet", what);
}

const char *sql_shown(struct sql_ctx *c, struct bytes b)
{
    size_t n = b.len;
    bool is_cut = n > SHOWN_BYTES_MAX;
    char *out;

    if (is_cut) {
        n = SHOWN_BYTES_MAX - 3;
        while (n > 0 && (b.ptr[n] & 0xC0) == 0x80)
            n--; /* never half a character */
    }
    out = arena_alloc(c->arena, n + 4);
    for (size_t i = 0; i < n; i++)
        out[i] = b.ptr[i] < 0x20 || b.ptr[i] == 0x7F ? ' ' : (char)b.ptr[i];
    memcpy(out + n, is_cut ? "..." : "", is_cut ? 4 : 1);
    return out;
}

static void lower_into(char *out, struct bytes in)
{
    size_t n = in.len < 64 ? in.len : 64;
    for (size_t i = 0; i < n; i++) {
        char ch = (char)in.ptr[i];
        out[i] = (char)(ch >= 'A' && ch <= 'Z' ? ch + 32 : ch);
    }
    out[n] = '\0';
}

void suggest_init(struct suggest *s, struct bytes want)
{
    memset(s, 0, sizeof(*s));
    lower_into(s->want, want);
    s->distance = UINT32_MAX;
}

void suggest_add(struct suggest *s, struct bytes name)
{
    char low[65];
    unsigned d;

    if (name.len == 0 || name.len > 64) return;
    lower_into(low, name);
    d = text_distance(s->want, low);
    if (d >= s->distance) return;
    s->distance = d;
    memcpy(s->best, name.ptr, name.len);
    s->best[name.len] = '\0';
}

const char *suggest_hint(struct sql_ctx *c, const struct suggest *s, const char *otherwise)
{
    size_t length = strlen(s->want);
    if (s->best[0] == '\0' || s->distance > (length < 6 ? 1u + (length > 3) : (unsigned)length / 3)) return otherwise;
    if (s->distance == 0) return arena_printf(c->arena, "names are case-sensitive: did you mean '%s'?", s->best);
    return arena_printf(c->arena, "did you mean '%s'?", s->best);
}

void sql_list_push(struct sql_ctx *c, struct sql_list *l, void *item)
{
    if (l->n == l->cap) {
        int cap = l->cap == 0 ? 4 : l->cap * 2;
        void **items = arena_array(c->arena, (size_t)cap, sizeof(*items));
        if (l->n > 0) memcpy(items, l->items, (size_t)l->n * sizeof(*items));
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

void sql_put_quoted(struct buf *out, struct bytes name, char quote)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == (uint8_t)quote) buf_put_u8(out, (uint8_t)quote);
        buf_put_u8(out, name.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

/* One source line around the place, at most LINE_SHOWN_MAX bytes of it, and a caret below. */
static void render_line(struct buf *out, size_t position, struct bytes text)
{
    size_t from = position, to = position, at;

    while (from > 0 && text.ptr[from - 1] != '\n')
        from--;
    while (to < text.len && text.ptr[to] != '\n' && text.ptr[to] != '\r')
        to++;
    if (position - from > LINE_SHOWN_MAX / 2) {
        from = position - LINE_SHOWN_MAX / 2;
        while (from < position && (text.ptr[from] & 0xC0) == 0x80)
            from++;
    }
    if (to - from > LINE_SHOWN_MAX) {
        to = from + LINE_SHOWN_MAX;
        while (to > position && to > from && (text.ptr[to] & 0xC0) == 0x80)
            to--;
    }
    for (at = from; at < to; at++) {
        uint8_t ch = text.ptr[at];
        buf_put_u8(out, ch != '\t' && (ch < 0x20 || ch == 0x7F) ? ' ' : ch);
    }
    buf_put_u8(out, '\n');
    for (at = from; at < position; at++) {
        if ((text.ptr[at] & 0xC0) != 0x80) buf_put_u8(out, text.ptr[at] == '\t' ? '\t' : ' ');
    }
    buf_put_str(out, "^\n");
}

void sql_error_render(struct buf *out, const struct sql_error *e, struct bytes text)
{
    if (e->position >= 0 && (size_t)e->position <= text.len && e->line > 0) {
        buf_printf(out, "error at line %d, column %d: %s\n", e->line, e->column, e->err.text);
        render_line(out, (size_t)e->position, text);
    } else {
        buf_printf(out, "error: %s\n", e->err.text);
    }
    if (e->err.hint[0] != '\0') buf_printf(out, "hint: %s\n", e->err.hint);
}
