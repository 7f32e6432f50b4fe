/* sql.c: the door: text -> tokens -> tree -> bound statement. */
#include "flow/sql/sql.h"

#include "flow/sql/bind.h"
#include "flow/sql/parse.h"

/* Without blanks around it and the final ';', as a copy. */
static struct bytes trimmed(struct arena *arena, struct bytes t)
{
    while (t.len > 0 && (t.ptr[t.len - 1] == ';' || t.ptr[t.len - 1] == ' ' ||
                         (t.ptr[t.len - 1] >= '\t' && t.ptr[t.len - 1] <= '\r')))
        t.len--;
    while (t.len > 0 && (t.ptr[0] == ' ' || (t.ptr[0] >= '\t' && t.ptr[0] <= '\r')))
        t = bytes_slice(t, 1, t.len - 1);
    return arena_copy(arena, bytes_is_null(t) ? BYTES_LIT("") : t);
}

/* What EMIT means: a SELECT without it reads what is there and ends; with it, and every flow, goes on for ever, with
 * rows that are final or rows that change. */
static bool bind_emit(struct binder *b, const struct statement_ast *ast, const struct relation *r, struct statement *s)
{
    bool is_flow = ast->create != NULL;
    const struct plan *top = r->plan;

    while (top != NULL && top->kind != PLAN_AGGREGATE)
        top = top->input;
    s->emit = ast->emit;
    s->is_updating = r->is_updating || (top != NULL && ast->emit == EMIT_CHANGES);
    if (r->is_updating && ast->emit == EMIT_FINAL) {
        sql_fail(b->c, ast->emit_position, "group by window_start, window_end of a TUMBLE window, or say EMIT CHANGES",
                 "EMIT FINAL needs rows that become final, but GROUP BY without a window updates its rows for ever");
        return false;
    }
    if (is_flow && s->emit == EMIT_DEFAULT) s->emit = r->is_updating ? EMIT_CHANGES : EMIT_FINAL;
    if (ast->select->order_by.n > 0 && (is_flow || s->emit != EMIT_DEFAULT)) {
        sql_fail(b->c, ast->select->order_position,
                 is_flow ? "ORDER BY belongs to the SELECT that reads the stream"
                         : "without EMIT the query reads what is there and ends",
                 "ORDER BY needs an end, and a query that goes on has none");
        return false;
    }
    if (is_flow && ast->select->limit_position >= 0) {
        sql_fail(b->c, ast->select->limit_position, "LIMIT belongs to the SELECT that reads the stream",
                 "LIMIT needs an end, and a stream has none");
        return false;
    }
    return true;
}

static bool bind_query(struct binder *b, const struct statement_ast *ast, struct statement *s)
{
    struct relation *r;
    bool is_flow = ast->create != NULL;

    if (is_flow) b->self = ast->create->name;
    r = bind_select(b, ast->select);
    if (r == NULL) return false;
    if (!bind_emit(b, ast, r, s)) return false;
    if (is_flow) {
        struct relation updating = *r;
        updating.is_updating = s->is_updating;
        s->stream = bind_stream_of_query(b, ast->create, &updating);
        if (s->stream == NULL) return false;
    }
    plan_prune(b->c, r->plan);
    s->plan = r->plan;
    return !b->c->failed && plan_check_weight(b->c, r->plan);
}

static void suggest_name(void *arg, struct bytes name)
{
    suggest_add(arg, name);
}

/* DROP and DESCRIBE name a stream that must be there. */
static bool bind_existing(struct binder *b, const struct statement_ast *ast, struct statement *s)
{
    struct suggest near;

    s->name = ast->name;
    if (ast->if_exists || b->catalog == NULL || b->catalog->find(b->catalog, ast->name) != NULL) return true;
    suggest_init(&near, ast->name);
    if (b->catalog->names != NULL) b->catalog->names(b->catalog, suggest_name, &near);
    sql_fail(b->c, ast->name_position, suggest_hint(b->c, &near, "SHOW STREAMS lists them"), "unknown stream '%s'",
             sql_shown(b->c, ast->name));
    b->c->e->err.code = ERR_NOT_FOUND;
    return false;
}

static bool bind_statement(struct binder *b, const struct statement_ast *ast, struct statement *s)
{
    s->kind = ast->kind;
    s->if_exists = ast->if_exists;
    s->if_not_exists = ast->if_not_exists;
    s->or_replace = ast->or_replace;
    if (ast->create != NULL) s->name = ast->create->name;
    switch (ast->kind) {
    case STMT_SELECT:
    case STMT_CREATE_STREAM_AS:
    case STMT_EXPLAIN: return bind_query(b, ast, s);
    case STMT_CREATE_STREAM: s->stream = bind_create_stream(b, ast->create); return s->stream != NULL;
    case STMT_DROP_STREAM:
    case STMT_DESCRIBE: return bind_existing(b, ast, s);
    case STMT_SHOW_STREAMS:
    case STMT_SHOW_FLOWS:
    case STMT_SHOW_TOPICS: return true;
    }
    check(false);
    return false;
}

enum err_code sql_bind(struct statement **out, struct bytes text, struct sql_catalog *catalog, struct arena *arena,
                       struct sql_error *e)
{
    struct sql_error local;
    struct sql_ctx c = {.text = text, .arena = arena, .e = e == NULL ? &local : e};
    struct binder b = {.c = &c, .catalog = catalog};
    const struct statement_ast *ast;
    struct statement *s;

    memset(c.e, 0, sizeof(*c.e));
    c.e->position = -1;
    *out = NULL;
    if (bytes_is_null(c.text)) c.text = BYTES_LIT("");
    ast = parse_statement(&c);
    if (ast == NULL) {
        check(c.failed);
        return c.e->err.code;
    }
    s = arena_new(arena, struct statement);
    s->text = trimmed(arena, c.text);
    if (!bind_statement(&b, ast, s)) {
        check(c.failed);
        return c.e->err.code;
    }
    if (s->kind == STMT_CREATE_STREAM) s->stream->sql = s->text;
    *out = s;
    return ERR_NONE;
}

enum err_code sql_bind_stream(struct stream_def **out, struct bytes text, struct arena *arena, struct sql_error *e)
{
    struct sql_error local;
    struct statement *s;
    enum err_code rc;

    if (e == NULL) e = &local;
    *out = NULL;
    rc = sql_bind(&s, text, NULL, arena, e);
    if (rc != ERR_NONE) return rc;
    if (s->kind != STMT_CREATE_STREAM) {
        struct sql_ctx c = {.text = text, .arena = arena, .e = e};
        sql_fail(&c, -1, NULL, "the stored definition is not a CREATE STREAM statement");
        return e->err.code;
    }
    *out = s->stream;
    return ERR_NONE;
}
