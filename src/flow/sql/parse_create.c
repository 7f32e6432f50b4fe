/* parse_create.c: CREATE STREAM: columns, options, and AS SELECT. CREATE TABLE is the same, for texts written for
 * Flink. */
#include "flow/sql/parse.h"

#include "base/text.h"

/* PRIMARY KEY behind a column or in front of (a, b): accepted when it promises and is not checked. */
static bool parse_not_enforced(struct parser *p, int position)
{
    if (parser_accept_word(p, "NOT")) return parser_expect_word(p, "ENFORCED");
    sql_fail(p->c, position, "write PRIMARY KEY (...) NOT ENFORCED", "a PRIMARY KEY of a stream cannot be enforced");
    return false;
}

static bool push_key(struct parser *p, struct create_ast *create, struct bytes name, int position)
{
    struct ast *a = ast_new(p, AST_NAME, position, NULL, 0);
    if (a == NULL) return false;
    a->name = name;
    sql_list_push(p->c, &create->key, a);
    return true;
}

static bool parse_primary_key(struct parser *p, struct create_ast *create)
{
    int position = parser_position(p);

    p->at++; /* PRIMARY */
    if (!parser_expect_word(p, "KEY")) return false;
    if (create->key.n > 0) {
        sql_fail(p->c, position, NULL, "PRIMARY KEY is given twice");
        return false;
    }
    if (!parser_expect_punct(p, '(')) return false;
    do {
        struct bytes name;
        int name_position;
        if (!parser_name(p, "a column name", &name, &name_position)) return false;
        if (!push_key(p, create, name, name_position)) return false;
    } while (parser_accept_punct(p, ','));
    return parser_expect_punct(p, ')') && parse_not_enforced(p, position);
}

static bool parse_watermark(struct parser *p, struct create_ast *create)
{
    int position = parser_position(p);

    p->at++; /* WATERMARK */
    if (!bytes_is_null(create->rowtime)) {
        sql_fail(p->c, position, NULL, "WATERMARK FOR is given twice");
        return false;
    }
    if (!parser_expect_word(p, "FOR")) return false;
    if (!parser_name(p, "a column name", &create->rowtime, &create->rowtime_position)) return false;
    if (parser_is_punct(p, 0, '.')) {
        sql_not_yet(p->c, parser_position(p), "a WATERMARK for a field of a row", "make it a computed column");
        return false;
    }
    if (!parser_expect_word(p, "AS")) return false;
    create->watermark = parse_expr(p);
    return create->watermark != NULL;
}

/* TYPE, TYPE METADATA [FROM 'key'] [VIRTUAL], or AS expr. */
static bool parse_column_body(struct parser *p, struct create_ast *create, struct column_ast *column)
{
    column->type_position = parser_position(p);
    if (parser_accept_word(p, "AS")) {
        column->source = COLUMN_COMPUTED;
        if (parser_is_word(p, 0, "PROCTIME")) {
            sql_not_yet(p->c, parser_position(p), "processing time (PROCTIME)",
                        "METADATA FROM 'timestamp' is the arrival time");
            return false;
        }
        column->computed = parse_expr(p);
        return column->computed != NULL;
    }
    if (!parse_type(p, &column->type)) return false;
    if (parser_accept_word(p, "METADATA")) {
        column->source = COLUMN_METADATA;
        column->metadata_position = column->position;
        if (parser_accept_word(p, "FROM") &&
            !parser_string(p, "a metadata key", &column->metadata, &column->metadata_position))
            return false;
        (void)parser_accept_word(p, "VIRTUAL");
        return true;
    }
    if (parser_is_word(p, 0, "PRIMARY")) {
        int position = parser_position(p);
        p->at++;
        if (create->key.n > 0) {
            sql_fail(p->c, position, NULL, "PRIMARY KEY is given twice");
            return false;
        }
        if (!parser_expect_word(p, "KEY") || !parse_not_enforced(p, position)) return false;
        if (!push_key(p, create, column->name, column->position)) return false;
    }
    return true;
}

static bool parse_column(struct parser *p, struct create_ast *create)
{
    struct column_ast *column = arena_new(p->c->arena, struct column_ast);
    struct bytes ignored;

    if (create->columns.n >= LIMIT_SQL_COLUMNS_MAX) {
        sql_fail(p->c, parser_position(p), NULL, "more than %d columns", LIMIT_SQL_COLUMNS_MAX);
        return false;
    }
    if (!parser_name(p, "a column name", &column->name, &column->position)) return false;
    if (!parse_column_body(p, create, column)) return false;
    if (parser_accept_word(p, "COMMENT") && !parser_string(p, "a comment in quotes", &ignored, NULL)) return false;
    sql_list_push(p->c, &create->columns, column);
    return true;
}

static bool parse_columns(struct parser *p, struct create_ast *create)
{
    p->at++; /* ( */
    create->has_columns = true;
    do {
        bool ok;
        if (parser_is_word(p, 0, "WATERMARK") && parser_is_word(p, 1, "FOR")) {
            ok = parse_watermark(p, create);
        } else if (parser_is_word(p, 0, "PRIMARY") && parser_is_word(p, 1, "KEY")) {
            ok = parse_primary_key(p, create);
        } else if (parser_is_word(p, 0, "CONSTRAINT")) {
            sql_not_yet(p->c, parser_position(p), "CONSTRAINT", "write PRIMARY KEY (...) NOT ENFORCED");
            ok = false;
        } else {
            ok = parse_column(p, create);
        }
        if (!ok) return false;
    } while (parser_accept_punct(p, ','));
    if (parser_is_punct(p, 0, ')')) {
        p->at++;
        return true;
    }
    parser_expected(p, "',' or ')'");
    return false;
}

static bool parse_options(struct parser *p, struct create_ast *create)
{
    if (!parser_expect_punct(p, '(')) return false;
    do {
        struct option_ast *option = arena_new(p->c->arena, struct option_ast);
        if (parser_peek(p, 0)->kind == TOKEN_WORD || parser_peek(p, 0)->kind == TOKEN_QUOTED) {
            sql_fail(p->c, parser_position(p), "keys and values are strings: 'topic' = 'orders'",
                     "expected a string, found %s", token_shown(p->c, parser_peek(p, 0)));
            return false;
        }
        if (!parser_string(p, "an option", &option->key, &option->key_position)) return false;
        if (!parser_expect_punct(p, '=')) return false;
        if (parser_peek(p, 0)->kind != TOKEN_STRING) {
            sql_fail(p->c, parser_position(p), "values are strings: 'partitions' = '3'", "expected a string, found %s",
                     token_shown(p->c, parser_peek(p, 0)));
            return false;
        }
        if (!parser_string(p, "a value", &option->value, &option->value_position)) return false;
        sql_list_push(p->c, &create->options, option);
    } while (parser_accept_punct(p, ','));
    return parser_expect_punct(p, ')');
}

static bool parse_create_head(struct parser *p, struct statement_ast *s)
{
    static const char *const later[] = {"TEMPORARY", "VIEW",       "FUNCTION", "CATALOG", "DATABASE",
                                        "HANDLER",   "PROJECTION", "SAGA",     "MODEL",   "MATERIALIZED"};
    if (parser_accept_word(p, "OR")) {
        if (!parser_expect_word(p, "REPLACE")) return false;
        s->or_replace = true;
    }
    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (!parser_is_word(p, 0, later[i])) continue;
        sql_not_yet(p->c, parser_position(p), arena_printf(p->c->arena, "CREATE %s", later[i]), NULL);
        return false;
    }
    if (!parser_accept_word(p, "STREAM") && !parser_accept_word(p, "TABLE")) {
        parser_expect_word(p, "STREAM");
        return false;
    }
    if (parser_is_word(p, 0, "IF") && parser_is_word(p, 1, "NOT")) {
        if (s->or_replace) {
            sql_fail(p->c, parser_position(p), NULL, "OR REPLACE and IF NOT EXISTS exclude each other");
            return false;
        }
        p->at += 2;
        if (!parser_expect_word(p, "EXISTS")) return false;
        s->if_not_exists = true;
    }
    if (!parser_name(p, "a stream name", &s->create->name, &s->create->position)) return false;
    if (parser_is_punct(p, 0, '.')) {
        sql_fail(p->c, parser_position(p), "a name with a point in it must be quoted: `a.b`",
                 "stream names have one part");
        return false;
    }
    return true;
}

bool parse_create(struct parser *p, struct statement_ast *s)
{
    struct bytes comment;

    p->at++; /* CREATE */
    s->create = arena_new(p->c->arena, struct create_ast);
    s->kind = STMT_CREATE_STREAM;
    if (!parse_create_head(p, s)) return false;
    if (parser_is_punct(p, 0, '(') && !parse_columns(p, s->create)) return false;
    if (parser_accept_word(p, "COMMENT") && !parser_string(p, "a comment in quotes", &comment, NULL)) return false;
    if (parser_is_word(p, 0, "PARTITIONED")) {
        sql_not_yet(p->c, parser_position(p), "PARTITIONED BY",
                    "WITH ('key.fields' = 'a;b') says what the record key is made of");
        return false;
    }
    if (parser_accept_word(p, "WITH") && !parse_options(p, s->create)) return false;
    if (parser_is_word(p, 0, "LIKE")) {
        sql_not_yet(p->c, parser_position(p), "LIKE", NULL);
        return false;
    }
    if (parser_is_word(p, 0, "AS")) {
        int position = parser_position(p);
        p->at++;
        s->kind = STMT_CREATE_STREAM_AS;
        if (s->create->has_columns) {
            sql_fail(p->c, position, "name and cast the columns in the SELECT",
                     "a stream made by AS SELECT takes no column list");
            return false;
        }
        if (!parser_is_word(p, 0, "SELECT") && !parser_is_word(p, 0, "WITH")) {
            parser_expected(p, "SELECT");
            return false;
        }
        s->select = parse_select(p);
        return s->select != NULL;
    }
    if (!s->create->has_columns) {
        parser_expected(p, "the columns in parentheses, or AS SELECT");
        return false;
    }
    return true;
}
