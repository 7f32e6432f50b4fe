/* parse_stmt.c: which statement it is, and the small ones. */
#include "flow/sql/parse.h"

#include "base/text.h"

/* EMIT FINAL | CHANGES */
static bool parse_emit(struct parser *p, struct statement_ast *s)
{
    s->emit_position = parser_position(p);
    if (!parser_accept_word(p, "EMIT")) return true;
    if (parser_accept_word(p, "FINAL"))
        s->emit = EMIT_FINAL;
    else if (parser_accept_word(p, "CHANGES"))
        s->emit = EMIT_CHANGES;
    else if (parser_is_word(p, 0, "ON") || parser_is_word(p, 0, "PERIODIC")) {
        sql_fail(p->c, parser_position(p), "EMIT FINAL or EMIT CHANGES", "unknown emission mode");
        return false;
    } else {
        parser_expected(p, "FINAL or CHANGES");
        return false;
    }
    return true;
}

static bool parse_query(struct parser *p, struct statement_ast *s)
{
    s->kind = STMT_SELECT;
    s->select = parse_select(p);
    return s->select != NULL && parse_emit(p, s);
}

static bool parse_drop(struct parser *p, struct statement_ast *s)
{
    p->at++; /* DROP */
    s->kind = STMT_DROP_STREAM;
    if (!parser_accept_word(p, "STREAM") && !parser_accept_word(p, "TABLE")) {
        parser_expect_word(p, "STREAM");
        return false;
    }
    if (parser_is_word(p, 0, "IF") && parser_is_word(p, 1, "EXISTS")) {
        p->at += 2;
        s->if_exists = true;
    }
    return parser_name(p, "a stream name", &s->name, &s->name_position);
}

static bool parse_show(struct parser *p, struct statement_ast *s)
{
    static const struct {
        const char *word;
        enum statement_kind kind;
    } shows[] = {{"STREAMS", STMT_SHOW_STREAMS},
                 {"TABLES", STMT_SHOW_STREAMS},
                 {"FLOWS", STMT_SHOW_FLOWS},
                 {"TOPICS", STMT_SHOW_TOPICS}};
    struct suggest s_near;

    p->at++; /* SHOW */
    suggest_init(&s_near, token_value(p->c, parser_peek(p, 0)));
    for (size_t i = 0; i < ARRAY_LEN(shows); i++) {
        suggest_add(&s_near, bytes_str(shows[i].word));
        if (!parser_accept_word(p, shows[i].word)) continue;
        s->kind = shows[i].kind;
        return true;
    }
    sql_fail(p->c, parser_position(p), suggest_hint(p->c, &s_near, NULL), "expected STREAMS, FLOWS or TOPICS, found %s",
             token_shown(p->c, parser_peek(p, 0)));
    return false;
}

static bool parse_explain(struct parser *p, struct statement_ast *s)
{
    bool ok;

    p->at++; /* EXPLAIN */
    if (parser_is_word(p, 0, "PLAN") && parser_is_word(p, 1, "FOR")) p->at += 2;
    if (parser_is_word(p, 0, "SELECT") || parser_is_word(p, 0, "WITH")) {
        ok = parse_query(p, s);
    } else if (parser_is_word(p, 0, "CREATE")) {
        int position = parser_position(p);
        ok = parse_create(p, s) && parse_emit(p, s);
        if (ok && s->kind != STMT_CREATE_STREAM_AS) {
            sql_fail(p->c, position, "EXPLAIN SELECT ... or EXPLAIN CREATE STREAM ... AS SELECT ...",
                     "there is no query to explain");
            return false;
        }
    } else {
        parser_expected(p, "SELECT or CREATE STREAM ... AS SELECT");
        return false;
    }
    s->kind = STMT_EXPLAIN;
    return ok;
}

/* Statements SQL or Flink knows and this version does not; else "expected a statement". */
static bool refuse_statement(struct parser *p)
{
    static const struct {
        const char *word, *what, *hint;
    } known[] = {
        {"INSERT", "INSERT INTO", "CREATE STREAM ... AS SELECT writes the result of a query to a topic"},
        {"UPDATE", "UPDATE", "events do not change: append a new one"},
        {"DELETE", "DELETE", "events do not change: append a new one"},
        {"ALTER", "ALTER", "CREATE OR REPLACE STREAM replaces a definition"},
        {"VALUES", "VALUES", NULL},
        {"SET", "SET", NULL},
        {"RESET", "RESET", NULL},
        {"USE", "USE", NULL},
        {"BEGIN", "BEGIN", NULL},
        {"EXECUTE", "EXECUTE", NULL},
        {"ANALYZE", "ANALYZE", NULL},
        {"TRUNCATE", "TRUNCATE", NULL},
        {"CALL", "CALL", NULL},
        {"LOAD", "LOAD", NULL},
        {"MERGE", "MERGE", NULL},
        {"ADD", "ADD", NULL},
    };
    static const char *const words[] = {"SELECT", "CREATE", "DROP", "SHOW", "DESCRIBE", "EXPLAIN", "WITH"};
    const struct token *t = parser_peek(p, 0);
    struct suggest s;

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!parser_is_word(p, 0, known[i].word)) continue;
        sql_not_yet(p->c, (int)t->position, known[i].what, known[i].hint);
        return false;
    }
    if (t->kind == TOKEN_END || parser_is_punct(p, 0, ';')) {
        sql_fail(p->c, (int)t->position, NULL, "there is no statement");
        return false;
    }
    suggest_init(&s, token_value(p->c, t));
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        suggest_add(&s, bytes_str(words[i]));
    sql_fail(p->c, (int)t->position,
             suggest_hint(p->c, &s, "statements: SELECT, CREATE STREAM, DROP STREAM, SHOW, DESCRIBE, EXPLAIN"),
             "expected a statement, found %s", token_shown(p->c, t));
    return false;
}

static bool parse_by_word(struct parser *p, struct statement_ast *s)
{
    if (parser_is_word(p, 0, "SELECT") || parser_is_word(p, 0, "WITH")) return parse_query(p, s);
    if (parser_is_word(p, 0, "CREATE")) return parse_create(p, s) && parse_emit(p, s);
    if (parser_is_word(p, 0, "DROP")) return parse_drop(p, s);
    if (parser_is_word(p, 0, "SHOW")) return parse_show(p, s);
    if (parser_is_word(p, 0, "EXPLAIN")) return parse_explain(p, s);
    if (parser_accept_word(p, "DESCRIBE") || parser_accept_word(p, "DESC")) {
        s->kind = STMT_DESCRIBE;
        return parser_name(p, "a stream name", &s->name, &s->name_position);
    }
    return refuse_statement(p);
}

struct statement_ast *parse_statement(struct sql_ctx *c)
{
    static const char *const clauses[] = {"WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "EMIT", "WITH"};
    struct parser p = {.c = c};
    struct statement_ast *s = arena_new(c->arena, struct statement_ast);

    p.tokens = lex(c, &p.n);
    if (p.tokens == NULL) return NULL;
    s->position = parser_position(&p);
    if (!parse_by_word(&p, s)) return NULL;
    if (s->kind == STMT_CREATE_STREAM && s->emit != EMIT_DEFAULT)
        return sql_fail(c, s->emit_position, NULL, "EMIT belongs to a query");
    (void)parser_accept_punct(&p, ';');
    if (parser_peek(&p, 0)->kind != TOKEN_END) {
        if (parser_is_punct(&p, -1, ';'))
            return sql_fail(c, parser_position(&p), NULL, "a second statement begins here: give one at a time");
        if (parser_check_misspelt(&p, clauses, ARRAY_LEN(clauses))) return NULL;
        return parser_expected(&p, "the end of the statement");
    }
    check(p.depth == 0);
    return s;
}
