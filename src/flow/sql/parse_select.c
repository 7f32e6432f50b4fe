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

/* The window table functions: TUMBLE(data, time, size [, offset]), and with a step (HOP's slide) in front of the size. */
static const struct window_function {
    const char *name, *step, *example;
    enum window_kind kind;
} window_functions[] = {
    {"TUMBLE", NULL, "TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND)", WINDOW_TUMBLE},
    {"HOP", "SLIDE", "HOP(TABLE s, DESCRIPTOR(t), INTERVAL '5' SECOND, INTERVAL '10' SECOND)", WINDOW_HOP},
    {"CUMULATE", "STEP", "CUMULATE(TABLE s, DESCRIPTOR(t), INTERVAL '1' HOUR, INTERVAL '1' DAY)", WINDOW_CUMULATE},
};

/* TABLE s or ( SELECT ... ) */
static struct table_ast *parse_window_input(struct parser *p, const struct window_function *f)
{
    if (parser_is_punct(p, 0, '(')) return parse_subquery(p);
    if (!parser_accept_word(p, "TABLE"))
        return sql_fail(p->c, parser_position(p), arena_printf(p->c->arena, "for instance %s", f->example),
                        "expected TABLE, found %s", token_shown(p->c, parser_peek(p, 0)));
    return parse_plain_table(p);
}

enum window_argument { WINDOW_DATA, WINDOW_TIMECOL, WINDOW_STEP, WINDOW_SIZE, WINDOW_OFFSET, WINDOW_ARGUMENTS };

static bool parse_window_argument(struct parser *p, const struct window_function *f, struct table_ast *t, int which)
{
    switch (which) {
    case WINDOW_DATA: t->input = parse_window_input(p, f); break;
    case WINDOW_TIMECOL: t->time_column = parse_descriptor(p); break;
    case WINDOW_STEP: t->step = parse_expr(p); break;
    case WINDOW_SIZE: t->size = parse_expr(p); break;
    case WINDOW_OFFSET: t->offset = parse_expr(p); break;
    }
    return !p->c->failed;
}

/* NAME => value, in any order. */
static bool parse_window_named(struct parser *p, const struct window_function *f, struct table_ast *t)
{
    const char *names[WINDOW_ARGUMENTS] = {"DATA", "TIMECOL", f->step, "SIZE", "OFFSET"};
    bool given[WINDOW_ARGUMENTS] = {false};
    do {
        const struct token *token = parser_peek(p, 0);
        struct bytes name = token_value(p->c, token);
        int i = 0;
        if (token->kind != TOKEN_WORD && token->kind != TOKEN_QUOTED) {
            parser_expected(p, "an argument name");
            return false;
        }
        while (i < WINDOW_ARGUMENTS && (names[i] == NULL || !text_equal_nocase(name, bytes_str(names[i]))))
            i++;
        if (i == WINDOW_ARGUMENTS) {
            const char *hint =
                f->step == NULL
                    ? "its arguments are DATA, TIMECOL, SIZE and OFFSET"
                    : arena_printf(p->c->arena, "its arguments are DATA, TIMECOL, %s, SIZE and OFFSET", f->step);
            sql_fail(p->c, (int)token->position, hint, "%s has no argument '%s'", f->name, sql_shown(p->c, name));
            return false;
        }
        if (given[i]) {
            sql_fail(p->c, (int)token->position, NULL, "argument %s is given twice", names[i]);
            return false;
        }
        given[i] = true;
        p->at++;
        if (!parser_accept_punct(p, PUNCT2('=', '>'))) {
            parser_expected(p, "=>");
            return false;
        }
        if (!parse_window_argument(p, f, t, i)) return false;
    } while (parser_accept_punct(p, ','));
    if (t->input != NULL && t->time_column != NULL && t->size != NULL && (f->step == NULL || t->step != NULL))
        return true;
    sql_fail(p->c, t->position,
             f->step == NULL ? "it needs DATA, TIMECOL and SIZE"
                             : arena_printf(p->c->arena, "it needs DATA, TIMECOL, %s and SIZE", f->step),
             "an argument of %s is missing", f->name);
    return false;
}

static bool parse_window_positional(struct parser *p, const struct window_function *f, struct table_ast *t)
{
    for (int i = WINDOW_DATA; i <= WINDOW_SIZE; i++) {
        if (i == WINDOW_STEP && f->step == NULL) continue;
        if (i > WINDOW_DATA && !parser_expect_punct(p, ',')) return false;
        if (!parse_window_argument(p, f, t, i)) return false;
    }
    return !parser_accept_punct(p, ',') || parse_window_argument(p, f, t, WINDOW_OFFSET);
}

/* name( in FROM */
static struct table_ast *parse_table_function(struct parser *p)
{
    static const char *const later[] = {"SESSION", "UNNEST", "LATERAL", "SNAPSHOT", "VALUES"};
    struct table_ast *t = new_table(p, TABLE_WINDOW, parser_position(p));
    const struct window_function *f = NULL;

    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        if (parser_is_word(p, 0, later[i]))
            return sql_not_yet(p->c, t->position, later[i],
                               i < 1 ? "the windows of this version are TUMBLE, HOP and CUMULATE" : NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(window_functions) && f == NULL; i++)
        if (parser_accept_word(p, window_functions[i].name)) f = &window_functions[i];
    if (f == NULL)
        return sql_fail(p->c, t->position, "table functions: TUMBLE, HOP, CUMULATE", "unknown table function %s",
                        token_shown(p->c, parser_peek(p, 0)));
    t->window = f->kind;
    if (!parser_expect_punct(p, '(')) return NULL;
    bool ok = parser_is_punct(p, 1, PUNCT2('=', '>')) ? parse_window_named(p, f, t) : parse_window_positional(p, f, t);
    if (!ok) return NULL;
    if (parser_is_punct(p, 0, ','))
        return sql_fail(p->c, parser_position(p),
                        f->step == NULL ? "TUMBLE(TABLE s, DESCRIPTOR(t), size [, offset])"
                                        : arena_printf(p->c->arena, "%s(TABLE s, DESCRIPTOR(t), %s, size [, offset])",
                                                       f->name, f->kind == WINDOW_HOP ? "slide" : "step"),
                        "too many arguments of %s", f->name);
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
