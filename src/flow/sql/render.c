/* render.c: plans and expressions as text, for EXPLAIN and for the names of unnamed columns in it. Reads like SQL, with
 * the names of the input's columns. */
#include "flow/sql/bind.h"

static const char *const op_names[FN_COUNT] = {
#define FN(op, name, result, args, flags) [FN_##op] = name,
#include "flow/fn.def"
#undef FN
};

static bool is_infix(const struct expr *e)
{
    const char *name;
    if (e->kind != EXPR_CALL || e->n_args != 2) return false;
    name = op_names[e->op];
    return e->op == FN_AND || e->op == FN_OR || strcmp(name, "$tsdiff") == 0 || strcmp(name, "$like") == 0 ||
           !((name[0] >= 'A' && name[0] <= 'Z') || name[0] == '$');
}

static void put_name(struct buf *out, struct bytes name)
{
    bool is_plain = name.len > 0;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t ch = name.ptr[i];
        if (!(ch >= 'a' && ch <= 'z') && !(ch >= 'A' && ch <= 'Z') && !(ch >= '0' && ch <= '9') && ch != '_' &&
            ch != '$' && ch < 0x80)
            is_plain = false;
    }
    /* Above an aggregate the names are expressions: SUM(price) is shown as it is. */
    if (is_plain || memchr(name.ptr, '(', name.len) != NULL || memchr(name.ptr, ' ', name.len) != NULL)
        buf_put_bytes(out, name);
    else
        sql_put_quoted(out, name, '`');
}

static void put_interval(struct buf *out, int64_t us)
{
    static const struct {
        int64_t us;
        const char *name;
    } units[] = {{86400000000ll, "DAY"}, {3600000000ll, "HOUR"}, {60000000ll, "MINUTE"}, {1000000ll, "SECOND"}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (us % units[i].us != 0 || (us == 0 && i < 3)) continue;
        buf_printf(out, "INTERVAL '%lld' %s", (long long)(us / units[i].us), units[i].name);
        return;
    }
    buf_printf(out, "INTERVAL '%s%lld.%0*lld' SECOND", us < 0 ? "-" : "", (long long)(us < 0 ? -us : us) / 1000000,
               us % 1000 == 0 ? 3 : 6, ((long long)(us < 0 ? -us : us) % 1000000) / (us % 1000 == 0 ? 1000 : 1));
}

static void put_literal(struct buf *out, const struct expr *e)
{
    const struct sql_value *v = &e->literal;
    if (v->is_null) {
        buf_put_str(out, "NULL");
        return;
    }
    switch (e->type.kind) {
    case SQL_STRING: sql_put_quoted(out, v->s, '\''); return;
    case SQL_INTERVAL: put_interval(out, v->i); return;
    case SQL_TIMESTAMP:
    case SQL_TIMESTAMP_LTZ:
    case SQL_DATE:
        buf_put_str(out, e->type.kind == SQL_DATE ? "DATE '" : "TIMESTAMP '");
        sql_value_put_text(out, v, e->type);
        buf_put_u8(out, '\'');
        return;
    default: sql_value_put_text(out, v, e->type); return;
    }
}

static void render_operand(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    bool has_parentheses = is_infix(e);
    if (has_parentheses) buf_put_u8(out, '(');
    expr_render(out, e, columns, n);
    if (has_parentheses) buf_put_u8(out, ')');
}

static void render_args(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    for (int i = 0; i < e->n_args; i++) {
        if (i > 0) buf_put_str(out, ", ");
        expr_render(out, e->args[i], columns, n);
    }
    buf_put_u8(out, ')');
}

/* Operations whose spelling is not name(args). True: done. */
static bool render_special(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    static const struct {
        const char *name, *before, *after;
    } forms[] = {{"$isnull", "", " IS NULL"}, {"$isnotnull", "", " IS NOT NULL"},
                 {"$istrue", "", " IS TRUE"}, {"$isfalse", "", " IS FALSE"},
                 {"NOT", "NOT ", ""},         {"$neg", "-", ""}};
    const char *name = op_names[e->op];
    char type[48];

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (strcmp(name, forms[i].name) != 0) continue;
        buf_put_str(out, forms[i].before);
        render_operand(out, e->args[0], columns, n);
        buf_put_str(out, forms[i].after);
        return true;
    }
    if (strcmp(name, "$cast") == 0 || strcmp(name, "$castint") == 0 || strcmp(name, "$castlen") == 0) {
        struct sql_type shown = e->type;
        shown.not_null = false;
        buf_put_str(out, "CAST(");
        expr_render(out, e->args[0], columns, n);
        buf_printf(out, " AS %s)", sql_type_text(shown, type));
        return true;
    }
    if (strcmp(name, "$extract") == 0 && e->args[0]->kind == EXPR_LITERAL) {
        buf_printf(out, "EXTRACT(%.*s FROM ", BYTES_ARG(e->args[0]->literal.s));
        expr_render(out, e->args[1], columns, n);
        buf_put_u8(out, ')');
        return true;
    }
    if (strcmp(name, "$floor") == 0 && e->args[1]->kind == EXPR_LITERAL) {
        buf_put_str(out, "FLOOR(");
        expr_render(out, e->args[0], columns, n);
        buf_printf(out, " TO %.*s)", BYTES_ARG(e->args[1]->literal.s));
        return true;
    }
    return false;
}

static void render_call(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    const char *name = op_names[e->op];

    if (render_special(out, e, columns, n)) return;
    if (is_infix(e)) {
        render_operand(out, e->args[0], columns, n);
        buf_printf(out, " %s ", strcmp(name, "$tsdiff") == 0 ? "-" : strcmp(name, "$like") == 0 ? "LIKE" : name);
        render_operand(out, e->args[1], columns, n);
        return;
    }
    buf_printf(out, "%s(", name[0] == '$' ? "LIKE" : name);
    render_args(out, e, columns, n);
}

static void render_case(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    buf_put_str(out, "CASE");
    for (int i = 0; i + 1 < e->n_args; i += 2) {
        buf_put_str(out, " WHEN ");
        expr_render(out, e->args[i], columns, n);
        buf_put_str(out, " THEN ");
        expr_render(out, e->args[i + 1], columns, n);
    }
    buf_put_str(out, " ELSE ");
    expr_render(out, e->args[e->n_args - 1], columns, n);
    buf_put_str(out, " END");
}

void expr_render(struct buf *out, const struct expr *e, const struct sql_column *columns, int n)
{
    switch (e->kind) {
    case EXPR_COLUMN:
        if (e->column < n)
            put_name(out, columns[e->column].name);
        else
            buf_printf(out, "#%d", e->column);
        return;
    case EXPR_LITERAL: put_literal(out, e); return;
    case EXPR_CALL: render_call(out, e, columns, n); return;
    case EXPR_CASE: render_case(out, e, columns, n); return;
    case EXPR_TRY:
        buf_put_str(out, "TRY(");
        render_args(out, e, columns, n);
        return;
    }
}

static void render_scan(struct buf *out, const struct plan *p)
{
    const char *separator = " columns ";

    buf_put_str(out, "scan ");
    put_name(out, p->stream->name);
    buf_put_str(out, ", topic ");
    put_name(out, p->stream->topic);
    buf_put_u8(out, ':');
    for (int i = 0; i < p->n_columns; i++) {
        if (p->needed != NULL && !p->needed[i]) continue;
        buf_put_str(out, separator);
        put_name(out, p->columns[i].name);
        separator = ", ";
    }
    if (p->stream->watermark != NULL) {
        buf_put_str(out, "; watermark ");
        expr_render(out, p->stream->watermark, p->columns, p->n_columns);
    }
}

static void render_project(struct buf *out, const struct plan *p)
{
    buf_put_str(out, "project ");
    for (int i = 0; i < p->n_columns; i++) {
        const struct expr *e = p->exprs[i];
        if (i > 0) buf_put_str(out, ", ");
        expr_render(out, e, p->input->columns, p->input->n_columns);
        if (e->kind == EXPR_COLUMN && bytes_equal(p->columns[i].name, p->input->columns[e->column].name)) continue;
        buf_put_str(out, " AS ");
        put_name(out, p->columns[i].name);
    }
}

static void render_aggregate(struct buf *out, const struct plan *p)
{
    bool is_windowed = p->window_start_key >= 0;

    buf_put_str(out, is_windowed ? "aggregate per window" : "aggregate, updating");
    for (int i = 0; i < p->n_keys; i++) {
        buf_put_str(out, i == 0 ? ": by " : ", ");
        expr_render(out, p->keys[i], p->input->columns, p->input->n_columns);
    }
    for (int i = 0; i < p->n_aggs; i++) {
        buf_put_str(out, i > 0 ? ", " : p->n_keys > 0 ? "; " : ": ");
        buf_put_bytes(out, p->columns[p->n_keys + i].name);
    }
}

static void render_node(struct buf *out, const struct plan *p)
{
    switch (p->kind) {
    case PLAN_SCAN: render_scan(out, p); break;
    case PLAN_FILTER:
        buf_put_str(out, "filter ");
        expr_render(out, p->predicate, p->columns, p->n_columns);
        break;
    case PLAN_PROJECT: render_project(out, p); break;
    case PLAN_WINDOW:
        buf_printf(out, "window %s on ", window_name(p->window.kind));
        put_name(out, p->input->columns[p->time_column].name);
        if (p->window.kind != WINDOW_TUMBLE) {
            buf_put_str(out, p->window.kind == WINDOW_HOP ? ", slide " : ", step ");
            put_interval(out, p->window.step_us);
        }
        buf_put_str(out, ", size ");
        put_interval(out, p->window.size_us);
        if (p->window.offset_us != 0) {
            buf_put_str(out, ", offset ");
            put_interval(out, p->window.offset_us);
        }
        break;
    case PLAN_AGGREGATE: render_aggregate(out, p); break;
    case PLAN_SORT:
        buf_put_str(out, "sort by ");
        for (int i = 0; i < p->n_sort; i++) {
            if (i > 0) buf_put_str(out, ", ");
            expr_render(out, p->sort[i].expr, p->columns, p->n_columns);
            if (p->sort[i].descending) buf_put_str(out, " DESC");
            if (p->sort[i].nulls_first == p->sort[i].descending)
                buf_put_str(out, p->sort[i].nulls_first ? " NULLS FIRST" : " NULLS LAST");
        }
        break;
    case PLAN_LIMIT:
        buf_put_str(out, "limit");
        if (p->limit != INT64_MAX) buf_printf(out, " %lld", (long long)p->limit);
        if (p->skip > 0) buf_printf(out, " offset %lld", (long long)p->skip);
        break;
    }
}

void plan_render(struct buf *out, const struct plan *p)
{
    int depth = 0;
    for (; p != NULL; p = p->input, depth++) {
        for (int i = 0; i < depth && i < 40; i++)
            buf_put_str(out, "  ");
        render_node(out, p);
        buf_put_u8(out, '\n');
    }
}
