/* parse_select.c: queries: WITH, SELECT, FROM with window table functions, GROUP BY, ORDER BY, LIMIT.
 * What SQL knows and this version does not is recognised here and named, instead of ending as "unexpected word". */
#include "flow/sql/parse.h"

#include "base/text.h"

static bool parse_item(struct parser *p, struct select_ast *s)
{
    struct select_item *item = arena_new(p->c->arena, struct select_item);

    item->position = parser_position(p);
    if (parser_is_punct(p, 0, '*')) {
        item->expr = ast_new(p, AST_STAR, item->position, NULL, 0);
        p->at++;
    } else if (parser_is_punct(p, 1, '.') && parser_is_punct(p, 2, '*') && parser_peek(p, 0)->kind != TOKEN_PUNCT) {
        item->expr = ast_new(p, AST_STAR, item->position, NULL, 0);
        if (item->expr == NULL || !parser_name(p, "a stream name", &item->expr->qualifier, NULL)) return false;
        p->at += 2;
    } else {
        item->expr = parse_expr(p);
    }
    if (item->expr == NULL) return false;
    sql_list_push(p->c, &s->items, item);
    if (parser_accept_word(p, "AS")) {
        if (parser_peek(p, 0)->kind == TOKEN_STRING) {
            sql_fail(p->c, parser_position(p), "write AS `name`", "names stand in back-quotes, not in single quotes");
            return false;
        }
        if (!parser_name(p, "a name", &item->alias, NULL)) return false;
    } else if (parser_peek(p, 0)->kind == TOKEN_QUOTED ||
               (parser_peek(p, 0)->kind == TOKEN_WORD && !word_ends_table(token_value(p->c, parser_peek(p, 0))))) {
        if (!parser_name(p, "a name", &item->alias, NULL)) return false;
    }
    if (item->expr->kind == AST_STAR && !bytes_is_null(item->alias)) {
        sql_fail(p->c, item->position, NULL, "* takes no alias");
        return false;
    }
    return true;
}

static bool parse_alias(struct parser *p, struct table_ast *t)
{
    const struct token *next;
    if (parser_accept_word(p, "AS")) {
        if (!parser_name(p, "an alias", &t->alias, NULL)) return false;
    } else {
        next = parser_peek(p, 0);
        if (next->kind != TOKEN_QUOTED && (next->kind != TOKEN_WORD || word_ends_table(token_value(p->c, next))))
            return true;
        if (!parser_name(p, "an alias", &t->alias, NULL)) return false;
    }
    if (parser_is_punct(p, 0, '(')) {
        sql_not_yet(p->c, parser_position(p), "a list of column names behind an alias",
                    "name the columns in the SELECT");
        return false;
    }
    return true;
}

static struct table_ast *new_table(struct parser *p, enum table_kind kind, int position)
{
    struct table_ast *t = arena_new(p->c->arena, struct table_ast);
    t->kind = kind;
    t->position = position;
    return t;
}

/* ( SELECT ... ) */
static struct table_ast *parse_subquery(struct parser *p)
{
    struct table_ast *t = new_table(p, TABLE_SUBQUERY, parser_position(p));
    p->at++;
    if (parser_is_word(p, 0, "VALUES")) return sql_not_yet(p->c, parser_position(p), "VALUES", NULL);
    if (!parser_is_word(p, 0, "SELECT") && !parser_is_word(p, 0, "WITH")) return parser_expected(p, "SELECT");
    t->query = parse_select(p);
    if (t->query == NULL) return NULL;
    if (parser_is_word(p, 0, "EMIT"))
        return sql_fail(p->c, parser_position(p), NULL, "EMIT stands at the end of the whole statement");
    return parser_expect_punct(p, ')') ? t : NULL;
}

static struct table_ast *parse_plain_table(struct parser *p)
{
    struct table_ast *t = new_table(p, TABLE_NAME, parser_position(p));
    if (!parser_name(p, "a stream name", &t->name, NULL)) return NULL;
    if (parser_is_punct(p, 0, '.'))
        return sql_fail(p->c, parser_position(p), "a name with a point in it must be quoted: `a.b`",
                        "stream names have one part");
    return t;
}

/* DESCRIPTOR(t) */
static struct ast *parse_descriptor(struct parser *p)
{
    struct ast *a;
    if (!parser_expect_word(p, "DESCRIPTOR") || !parser_expect_punct(p, '(')) return NULL;
    a = ast_new(p, AST_NAME, parser_position(p), NULL, 0);
    if (a == NULL || !parser_name(p, "a column name", &a->name, NULL)) return NULL;
    if (parser_is_punct(p, 0, ','))
        return sql_fail(p->c, parser_position(p), NULL, "DESCRIPTOR takes one column, the time attribute");
    return parser_expect_punct(p, ')') ? a : NULL;
}

/* TABLE s or ( SELECT ... ) */
static struct table_ast *parse_tumble_input(struct parser *p)
{
    if (parser_is_punct(p, 0, '(')) return parse_subquery(p);
    if (!parser_accept_word(p, "TABLE"))
        return sql_fail(p->c, parser_position(p), "for instance TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND)",
                        "expected TABLE, found %s", token_shown(p->c, parser_peek(p, 0)));
    return parse_plain_table(p);
}

/* NAME => value, in any order. */
static bool parse_tumble_named(struct parser *p, struct table_ast *t)
{
    static const char *const names[] = {"DATA", "TIMECOL", "SIZE", "OFFSET"};
    do {
        const struct token *token = parser_peek(p, 0);
        struct bytes name = token_value(p->c, token);
        size_t i = 0;
        bool is_again;
        if (token->kind != TOKEN_WORD && token->kind != TOKEN_QUOTED) {
            parser_expected(p, "an argument name");
            return false;
        }
        while (i < ARRAY_LEN(names) && !text_equal_nocase(name, bytes_str(names[i])))
            i++;
        if (i == ARRAY_LEN(names)) {
            sql_fail(p->c, (int)token->position, "its arguments are DATA, TIMECOL, SIZE and OFFSET",
                     "TUMBLE has no argument '%s'", sql_shown(p->c, name));
            return false;
        }
        is_again = i == 0   ? t->input != NULL
                   : i == 1 ? t->time_column != NULL
                   : i == 2 ? t->size != NULL
                            : t->offset != NULL;
        if (is_again) {
            sql_fail(p->c, (int)token->position, NULL, "argument %s is given twice", names[i]);
            return false;
        }
        p->at++;
        if (!parser_accept_punct(p, PUNCT2('=', '>'))) {
            parser_expected(p, "=>");
            return false;
        }
        if (i == 0) t->input = parse_tumble_input(p);
        if (i == 1) t->time_column = parse_descriptor(p);
        if (i == 2) t->size = parse_expr(p);
        if (i == 3) t->offset = parse_expr(p);
        if (p->c->failed) return false;
    } while (parser_accept_punct(p, ','));
    if (t->input != NULL && t->time_column != NULL && t->size != NULL) return true;
    sql_fail(p->c, t->position, "it needs DATA, TIMECOL and SIZE", "an argument of TUMBLE is missing");
    return false;
}

static bool parse_tumble_positional(struct parser *p, struct table_ast *t)
{
    t->input = parse_tumble_input(p);
    if (t->input == NULL || !parser_expect_punct(p, ',')) return false;
    t->time_column = parse_descriptor(p);
    if (t->time_column == NULL || !parser_expect_punct(p, ',')) return false;
    t->size = parse_expr(p);
    if (t->size == NULL) return false;
    if (parser_accept_punct(p, ',')) {
        t->offset = parse_expr(p);
        if (t->offset == NULL) return false;
    }
    return true;
}

/* name( in FROM */
static struct table_ast *parse_table_function(struct parser *p)
{
    static const char *const later[] = {"HOP", "SESSION", "CUMULATE", "UNNEST", "LATERAL", "SNAPSHOT", "VALUES"};
    struct table_ast *t = new_table(p, TABLE_TUMBLE, parser_position(p));
    bool ok;

    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (parser_is_word(p, 0, later[i]))
            return sql_not_yet(p->c, t->position, later[i], i < 3 ? "TUMBLE is the window of this version" : NULL);
    }
    if (!parser_accept_word(p, "TUMBLE"))
        return sql_fail(p->c, t->position, "table functions: TUMBLE", "unknown table function %s",
                        token_shown(p->c, parser_peek(p, 0)));
    if (!parser_expect_punct(p, '(')) return NULL;
    ok = parser_is_punct(p, 1, PUNCT2('=', '>')) ? parse_tumble_named(p, t) : parse_tumble_positional(p, t);
    if (!ok) return NULL;
    if (parser_is_punct(p, 0, ','))
        return sql_fail(p->c, parser_position(p), "TUMBLE(TABLE s, DESCRIPTOR(t), size [, offset])",
                        "too many arguments of TUMBLE");
    return parser_expect_punct(p, ')') ? t : NULL;
}

static struct table_ast *parse_table(struct parser *p)
{
    struct table_ast *t;

    if (parser_is_punct(p, 0, '(')) {
        t = parse_subquery(p);
    } else if (parser_is_word(p, 0, "TABLE") && parser_is_punct(p, 1, '(')) {
        p->at += 2;
        t = parse_table_function(p);
        if (t != NULL && !parser_expect_punct(p, ')')) return NULL;
    } else if (parser_is_punct(p, 1, '(') && parser_peek(p, 0)->kind == TOKEN_WORD) {
        t = parse_table_function(p);
    } else {
        t = parse_plain_table(p);
    }
    if (t == NULL || !parse_alias(p, t)) return NULL;
    return t;
}

/* Known words behind a table that this version does not serve. */
static bool check_after_table(struct parser *p)
{
    static const char *const joins[] = {"JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL"};
    static const char *const others[] = {"MATCH_RECOGNIZE", "TABLESAMPLE", "WINDOW", "QUALIFY"};

    for (size_t i = 0; i < ARRAY_LEN(joins); i++) {
        if (!parser_is_word(p, 0, joins[i])) continue;
        sql_not_yet(p->c, parser_position(p), "JOIN", NULL);
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        if (!parser_is_word(p, 0, others[i])) continue;
        sql_not_yet(p->c, parser_position(p), others[i], NULL);
        return false;
    }
    if (parser_is_word(p, 0, "FOR")) {
        sql_not_yet(p->c, parser_position(p), "FOR SYSTEM_TIME AS OF", NULL);
        return false;
    }
    if (parser_is_punct(p, 0, ',')) {
        sql_not_yet(p->c, parser_position(p), "more than one stream in FROM (a JOIN)", NULL);
        return false;
    }
    return true;
}

/* Lists are compared item by item later: none is longer than the widest result. */
static bool check_count(struct parser *p, int n, const char *what)
{
    if (n < LIMIT_SQL_COLUMNS_MAX) return true;
    sql_fail(p->c, parser_position(p), NULL, "more than %d %s", LIMIT_SQL_COLUMNS_MAX, what);
    return false;
}

static bool parse_group_by(struct parser *p, struct select_ast *s)
{
    if (!parser_expect_word(p, "BY")) return false;
    if (parser_is_word(p, 0, "GROUPING") && parser_is_word(p, 1, "SETS")) {
        sql_not_yet(p->c, parser_position(p), "GROUPING SETS", NULL);
        return false;
    }
    do {
        struct ast *a;
        if (parser_is_punct(p, 1, '(') && (parser_is_word(p, 0, "ROLLUP") || parser_is_word(p, 0, "CUBE"))) {
            sql_not_yet(p->c, parser_position(p), parser_is_word(p, 0, "CUBE") ? "CUBE" : "ROLLUP", NULL);
            return false;
        }
        a = parse_expr(p);
        if (a == NULL || !check_count(p, s->group_by.n, "expressions in GROUP BY")) return false;
        sql_list_push(p->c, &s->group_by, a);
    } while (parser_accept_punct(p, ','));
    return true;
}

static bool parse_order_by(struct parser *p, struct select_ast *s)
{
    s->order_position = parser_position(p);
    p->at++; /* ORDER */
    if (!parser_expect_word(p, "BY")) return false;
    do {
        struct order_item *item = arena_new(p->c->arena, struct order_item);
        item->expr = parse_expr(p);
        if (item->expr == NULL || !check_count(p, s->order_by.n, "expressions in ORDER BY")) return false;
        item->descending = parser_accept_word(p, "DESC");
        if (!item->descending) (void)parser_accept_word(p, "ASC");
        item->nulls_first = !item->descending; /* Flink: NULL is the smallest value */
        if (parser_accept_word(p, "NULLS")) {
            item->nulls_first = parser_accept_word(p, "FIRST");
            if (!item->nulls_first && !parser_expect_word(p, "LAST")) return false;
        }
        sql_list_push(p->c, &s->order_by, item);
    } while (parser_accept_punct(p, ','));
    return true;
}

static bool parse_count(struct parser *p, int64_t *out)
{
    const struct token *t = parser_peek(p, 0);
    if (t->kind != TOKEN_INTEGER) {
        parser_expected(p, "a number of rows");
        return false;
    }
    if (!text_parse_i64(token_value(p->c, t), out)) {
        sql_fail(p->c, (int)t->position, NULL, "number of rows out of range");
        return false;
    }
    p->at++;
    return true;
}

/* LIMIT n | ALL, OFFSET n [ROWS], FETCH FIRST n ROWS ONLY, in any order, each once. */
static bool parse_limit(struct parser *p, struct select_ast *s)
{
    bool has_limit = false, has_offset = false;

    for (;;) {
        int position = parser_position(p);
        if (!has_limit && parser_accept_word(p, "LIMIT")) {
            has_limit = true;
            if (!parser_accept_word(p, "ALL") && !parse_count(p, &s->limit)) return false;
        } else if (!has_limit && parser_accept_word(p, "FETCH")) {
            has_limit = true;
            s->limit = 1;
            if (!parser_accept_word(p, "FIRST") && !parser_expect_word(p, "NEXT")) return false;
            if (parser_peek(p, 0)->kind == TOKEN_INTEGER && !parse_count(p, &s->limit)) return false;
            if (!parser_accept_word(p, "ROW") && !parser_expect_word(p, "ROWS")) return false;
            if (!parser_expect_word(p, "ONLY")) return false;
        } else if (!has_offset && parser_accept_word(p, "OFFSET")) {
            has_offset = true;
            if (!parse_count(p, &s->skip)) return false;
            if (!parser_accept_word(p, "ROWS")) (void)parser_accept_word(p, "ROW");
        } else {
            return true;
        }
        if (s->limit_position < 0) s->limit_position = position;
    }
}

static bool parse_ctes(struct parser *p, struct select_ast *s)
{
    if (parser_is_word(p, 0, "RECURSIVE")) {
        sql_not_yet(p->c, parser_position(p), "WITH RECURSIVE", NULL);
        return false;
    }
    do {
        struct cte_ast *cte = arena_new(p->c->arena, struct cte_ast);
        if (!check_count(p, s->ctes.n, "queries in WITH")) return false;
        if (!parser_name(p, "a name", &cte->name, &cte->position)) return false;
        if (parser_is_punct(p, 0, '(')) {
            sql_not_yet(p->c, parser_position(p), "a list of column names here", "name the columns in the SELECT");
            return false;
        }
        if (!parser_expect_word(p, "AS")) return false;
        if (!parser_is_punct(p, 0, '(')) {
            parser_expected(p, "'('");
            return false;
        }
        {
            struct table_ast *t = parse_subquery(p);
            if (t == NULL) return false;
            cte->query = t->query;
        }
        sql_list_push(p->c, &s->ctes, cte);
    } while (parser_accept_punct(p, ','));
    return true;
}

static bool check_set_operation(struct parser *p)
{
    static const char *const words[] = {"UNION", "INTERSECT", "EXCEPT", "MINUS"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!parser_is_word(p, 0, words[i])) continue;
        sql_not_yet(p->c, parser_position(p), words[i], NULL);
        return false;
    }
    return true;
}

static bool parse_select_body(struct parser *p, struct select_ast *s)
{
    static const char *const clauses[] = {"FROM"};
    if (parser_accept_word(p, "WITH") && !parse_ctes(p, s)) return false;
    s->position = parser_position(p);
    if (!parser_expect_word(p, "SELECT")) return false;
    if (parser_is_word(p, 0, "DISTINCT")) {
        sql_not_yet(p->c, parser_position(p), "SELECT DISTINCT",
                    "GROUP BY the same columns gives each combination once");
        return false;
    }
    (void)parser_accept_word(p, "ALL");
    do {
        if (!check_count(p, s->items.n, "columns")) return false;
        if (!parse_item(p, s)) return false;
    } while (parser_accept_punct(p, ','));
    if (!parser_is_word(p, 0, "FROM")) {
        if (parser_peek(p, 0)->kind == TOKEN_END || parser_is_punct(p, 0, ';') || parser_is_punct(p, 0, ')'))
            sql_not_yet(p->c, s->position, "SELECT without FROM", NULL);
        else if (!parser_check_misspelt(p, clauses, 1))
            parser_expect_word(p, "FROM");
        return false;
    }
    p->at++;
    s->from = parse_table(p);
    if (s->from == NULL || !check_after_table(p)) return false;
    if (parser_accept_word(p, "WHERE") && (s->where = parse_expr(p)) == NULL) return false;
    if (parser_accept_word(p, "GROUP") && !parse_group_by(p, s)) return false;
    if (parser_accept_word(p, "HAVING") && (s->having = parse_expr(p)) == NULL) return false;
    if (!check_after_table(p) || !check_set_operation(p)) return false;
    if (parser_is_word(p, 0, "ORDER") && !parse_order_by(p, s)) return false;
    return parse_limit(p, s) && check_set_operation(p);
}

struct select_ast *parse_select(struct parser *p)
{
    struct select_ast *s = arena_new(p->c->arena, struct select_ast);
    bool ok;

    s->limit = -1;
    s->order_position = s->limit_position = -1;
    if (!parser_enter(p)) return NULL;
    ok = parse_select_body(p, s);
    parser_leave(p);
    return ok ? s : NULL;
}
