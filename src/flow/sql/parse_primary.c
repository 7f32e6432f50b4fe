/* parse_primary.c: what expressions are made of: names, calls with their special syntax (CASE, CAST, EXTRACT, TRIM,
 * ...), literals. */
#include "flow/sql/parse.h"

#include "base/text.h"

static struct ast *new_call(struct parser *p, const char *name, int position, struct ast *const *args, int n)
{
    struct ast *a = ast_new(p, AST_CALL, position, args, n);
    if (a != NULL) a->name = bytes_str(name);
    return a;
}

static struct ast *new_string(struct parser *p, int position, struct bytes value)
{
    struct ast *a = ast_new(p, AST_LITERAL, position, NULL, 0);
    if (a == NULL) return NULL;
    a->type = (struct sql_type){.kind = SQL_STRING, .not_null = true};
    a->value = (struct sql_value){.kind = SQL_STRING, .s = value};
    return a;
}

static struct ast *new_boolean(struct parser *p, int position, bool is_null, bool value)
{
    struct ast *a = ast_new(p, AST_LITERAL, position, NULL, 0);
    if (a == NULL) return NULL;
    a->type = (struct sql_type){.kind = is_null ? SQL_NULL : SQL_BOOLEAN, .not_null = !is_null};
    a->value = (struct sql_value){.is_null = is_null, .kind = a->type.kind, .b = value};
    return a;
}

/* One expression and the closing parenthesis. */
static struct ast *parse_last(struct parser *p)
{
    struct ast *a = parse_expr(p);
    return a != NULL && parser_expect_punct(p, ')') ? a : NULL;
}

static struct ast *parse_case(struct parser *p)
{
    struct sql_list args = {0};
    int position = parser_position(p);
    struct ast *operand = NULL, *a;
    bool has_else = false;

    p->at++; /* CASE */
    if (!parser_is_word(p, 0, "WHEN")) {
        operand = parse_expr(p);
        if (operand == NULL) return NULL;
    }
    if (!parser_is_word(p, 0, "WHEN")) return parser_expected(p, "WHEN");
    while (parser_accept_word(p, "WHEN")) {
        struct ast *when = parse_expr(p), *then;
        if (when == NULL || !parser_expect_word(p, "THEN")) return NULL;
        then = parse_expr(p);
        if (then == NULL) return NULL;
        sql_list_push(p->c, &args, when);
        sql_list_push(p->c, &args, then);
    }
    if (parser_accept_word(p, "ELSE")) {
        struct ast *otherwise = parse_expr(p);
        if (otherwise == NULL) return NULL;
        sql_list_push(p->c, &args, otherwise);
        has_else = true;
    }
    if (!parser_is_word(p, 0, "END")) return parser_expected(p, has_else ? "END" : "WHEN, ELSE or END");
    p->at++;
    a = ast_new(p, AST_CASE, position, (struct ast *const *)args.items, args.n);
    if (a == NULL) return NULL;
    if (operand != NULL && operand->depth >= a->depth) a->depth = operand->depth + 1;
    if (a->depth > LIMIT_SQL_DEPTH_MAX)
        return sql_fail(p->c, position, NULL, "expression nested more than %d levels deep", LIMIT_SQL_DEPTH_MAX);
    a->operand = operand;
    a->has_else = has_else;
    return a;
}

static struct ast *parse_cast(struct parser *p, bool is_try)
{
    int position = parser_position(p);
    struct ast *x, *a;
    struct sql_type type;

    p->at++; /* CAST */
    if (!parser_expect_punct(p, '(')) return NULL;
    x = parse_expr(p);
    if (x == NULL || !parser_expect_word(p, "AS") || !parse_type(p, &type) || !parser_expect_punct(p, ')')) return NULL;
    a = ast_new(p, AST_CAST, position, &x, 1);
    if (a == NULL) return NULL;
    a->type = type;
    a->is_try = is_try;
    return a;
}

/* A unit as a string literal, in capitals. Which units exist is the binder's business. */
static struct ast *parse_unit(struct parser *p)
{
    const struct token *t = parser_peek(p, 0);
    int position = parser_position(p);
    struct bytes raw = token_value(p->c, t);
    char *upper;

    if (t->kind != TOKEN_WORD && t->kind != TOKEN_STRING) return parser_expected(p, "a unit such as HOUR");
    p->at++;
    upper = arena_alloc(p->c->arena, raw.len + 1);
    for (size_t i = 0; i < raw.len; i++)
        upper[i] = (char)(raw.ptr[i] >= 'a' && raw.ptr[i] <= 'z' ? raw.ptr[i] - 32 : raw.ptr[i]);
    return new_string(p, position, bytes_of(upper, raw.len));
}

/* EXTRACT(unit FROM t) */
static struct ast *parse_extract(struct parser *p, int position)
{
    struct ast *args[2] = {parse_unit(p), NULL};
    if (args[0] == NULL || !parser_expect_word(p, "FROM")) return NULL;
    args[1] = parse_last(p);
    return args[1] == NULL ? NULL : new_call(p, "$extract", position, args, 2);
}

/* FLOOR(x) or FLOOR(t TO unit), CEIL likewise. */
static struct ast *parse_floor(struct parser *p, int position, bool is_ceil)
{
    struct ast *args[2] = {parse_expr(p), NULL};
    if (args[0] == NULL) return NULL;
    if (parser_accept_word(p, "TO")) {
        args[1] = parse_unit(p);
        if (args[1] == NULL || !parser_expect_punct(p, ')')) return NULL;
        return new_call(p, is_ceil ? "$ceil" : "$floor", position, args, 2);
    }
    if (!parser_expect_punct(p, ')')) return NULL;
    return new_call(p, is_ceil ? "CEIL" : "FLOOR", position, args, 1);
}

/* POSITION(a IN b) */
static struct ast *parse_position(struct parser *p, int position)
{
    struct ast *args[2] = {parse_operand(p), NULL};
    if (args[0] == NULL || !parser_expect_word(p, "IN")) return NULL;
    args[1] = parse_last(p);
    return args[1] == NULL ? NULL : new_call(p, "POSITION", position, args, 2);
}

/* TRIM([BOTH | LEADING | TRAILING] [c] FROM x) or TRIM(x): name decides the side, c goes to the binder. */
static struct ast *parse_trim(struct parser *p, int position)
{
    const char *name = "TRIM";
    bool has_side = true;
    struct ast *args[2] = {NULL, NULL};

    if (parser_accept_word(p, "LEADING"))
        name = "LTRIM";
    else if (parser_accept_word(p, "TRAILING"))
        name = "RTRIM";
    else
        has_side = parser_accept_word(p, "BOTH");

    if (!has_side || !parser_is_word(p, 0, "FROM")) {
        args[1] = parse_expr(p);
        if (args[1] == NULL) return NULL;
    }
    if (!has_side && parser_accept_punct(p, ')')) return new_call(p, name, position, &args[1], 1);
    if (!parser_expect_word(p, "FROM")) return NULL;
    args[0] = parse_last(p);
    return args[0] == NULL ? NULL : new_call(p, name, position, args, args[1] == NULL ? 1 : 2);
}

/* SUBSTRING(x FROM a [FOR b]) or SUBSTRING(x, a [, b]). */
static struct ast *parse_substring(struct parser *p, int position)
{
    struct sql_list args = {0};
    bool has_words = false;
    struct ast *a = parse_expr(p);

    if (a == NULL) return NULL;
    sql_list_push(p->c, &args, a);
    for (;;) {
        if (parser_accept_word(p, args.n == 1 ? "FROM" : "FOR"))
            has_words = true;
        else if (has_words || !parser_accept_punct(p, ','))
            break;
        a = parse_expr(p);
        if (a == NULL) return NULL;
        sql_list_push(p->c, &args, a);
    }
    if (!parser_expect_punct(p, ')')) return NULL;
    return new_call(p, "SUBSTRING", position, (struct ast *const *)args.items, args.n);
}

/* TIMESTAMPDIFF(unit, a, b), TIMESTAMPADD(unit, n, t) */
static struct ast *parse_timestamp_call(struct parser *p, int position, const char *name)
{
    struct ast *args[3] = {parse_unit(p), NULL, NULL};
    if (args[0] == NULL || !parser_expect_punct(p, ',')) return NULL;
    args[1] = parse_expr(p);
    if (args[1] == NULL || !parser_expect_punct(p, ',')) return NULL;
    args[2] = parse_last(p);
    return args[2] == NULL ? NULL : new_call(p, name, position, args, 3);
}

/* What may follow the parenthesis of a call: FILTER; and what is known but not served. */
static bool parse_call_tail(struct parser *p, struct ast *a)
{
    if (parser_is_word(p, 0, "WITHIN")) {
        sql_not_yet(p->c, parser_position(p), "WITHIN GROUP", NULL);
        return false;
    }
    if (parser_is_word(p, 0, "FILTER") && parser_is_punct(p, 1, '(')) {
        p->at += 2;
        if (!parser_expect_word(p, "WHERE")) return false;
        a->filter = parse_last(p);
        if (a->filter == NULL) return false;
        if (a->filter->depth >= a->depth) a->depth = a->filter->depth + 1;
        if (a->depth > LIMIT_SQL_DEPTH_MAX) {
            sql_fail(p->c, a->position, NULL, "expression nested more than %d levels deep", LIMIT_SQL_DEPTH_MAX);
            return false;
        }
    }
    if (parser_is_word(p, 0, "OVER")) {
        sql_not_yet(p->c, parser_position(p), "OVER (...)", "a TUMBLE window with GROUP BY covers many such queries");
        return false;
    }
    return true;
}

/* name( is at p->at. */
static struct ast *parse_call(struct parser *p)
{
    const struct token *t = parser_peek(p, 0);
    int position = (int)t->position;
    struct bytes name = arena_copy(p->c->arena, token_value(p->c, t));
    bool is_quoted = t->kind == TOKEN_QUOTED, is_distinct = false;
    struct sql_list args = {0};
    struct ast *a;

    p->at += 2;
    if (!is_quoted) {
        if (text_equal_nocase(name, BYTES_LIT("EXTRACT"))) return parse_extract(p, position);
        if (text_equal_nocase(name, BYTES_LIT("FLOOR"))) return parse_floor(p, position, false);
        if (text_equal_nocase(name, BYTES_LIT("CEIL")) || text_equal_nocase(name, BYTES_LIT("CEILING")))
            return parse_floor(p, position, true);
        if (text_equal_nocase(name, BYTES_LIT("POSITION"))) return parse_position(p, position);
        if (text_equal_nocase(name, BYTES_LIT("TRIM"))) return parse_trim(p, position);
        if (text_equal_nocase(name, BYTES_LIT("SUBSTRING")) || text_equal_nocase(name, BYTES_LIT("SUBSTR")))
            return parse_substring(p, position);
        if (text_equal_nocase(name, BYTES_LIT("TIMESTAMPDIFF")))
            return parse_timestamp_call(p, position, "TIMESTAMPDIFF");
        if (text_equal_nocase(name, BYTES_LIT("TIMESTAMPADD")))
            return parse_timestamp_call(p, position, "TIMESTAMPADD");
        if (text_equal_nocase(name, BYTES_LIT("ROW"))) return sql_not_yet(p->c, position, "ROW(...)", NULL);
        if (text_equal_nocase(name, BYTES_LIT("VALUES"))) return sql_not_yet(p->c, position, "VALUES", NULL);
    }
    if (parser_accept_word(p, "DISTINCT"))
        is_distinct = true;
    else
        (void)parser_accept_word(p, "ALL");
    if (parser_is_punct(p, 0, '*')) {
        struct ast *star = ast_new(p, AST_STAR, parser_position(p), NULL, 0);
        if (star == NULL) return NULL;
        p->at++;
        sql_list_push(p->c, &args, star);
    } else if (!parser_is_punct(p, 0, ')')) {
        do {
            struct ast *arg = parse_expr(p);
            if (arg == NULL) return NULL;
            sql_list_push(p->c, &args, arg);
        } while (parser_accept_punct(p, ','));
    }
    if (!parser_is_punct(p, 0, ')')) return parser_expected(p, args.n > 0 ? "',' or ')'" : "')'");
    p->at++;
    a = ast_new(p, AST_CALL, position, (struct ast *const *)args.items, args.n);
    if (a == NULL) return NULL;
    a->name = name;
    a->is_distinct = is_distinct;
    a->is_quoted = is_quoted;
    return parse_call_tail(p, a) ? a : NULL;
}

/* name or qualifier.name */
static struct ast *parse_column_name(struct parser *p)
{
    struct bytes first, second = BYTES_NULL;
    int position;
    struct ast *a;

    if (!parser_name(p, "an expression", &first, &position)) return NULL;
    if (parser_accept_punct(p, '.')) {
        if (parser_is_punct(p, 0, '*'))
            return sql_fail(p->c, parser_position(p), "name.* stands alone in the select list",
                            "'*' is not a value here");
        if (!parser_name(p, "a column name", &second, NULL)) return NULL;
        if (parser_is_punct(p, 0, '.')) return sql_not_yet(p->c, parser_position(p), "access to fields of a row", NULL);
    }
    a = ast_new(p, AST_NAME, position, NULL, 0);
    if (a == NULL) return NULL;
    a->qualifier = bytes_is_null(second) ? BYTES_NULL : first;
    a->name = bytes_is_null(second) ? first : second;
    return a;
}

static struct ast *parse_parenthesised(struct parser *p)
{
    struct ast *a;
    p->at++;
    if (parser_is_word(p, 0, "SELECT") || parser_is_word(p, 0, "WITH"))
        return sql_not_yet(p->c, parser_position(p), "a subquery in an expression", "put it into FROM");
    a = parse_expr(p);
    if (a == NULL) return NULL;
    if (parser_is_punct(p, 0, ',')) return sql_not_yet(p->c, parser_position(p), "a row value (a, b)", NULL);
    return parser_expect_punct(p, ')') ? a : NULL;
}

static struct ast *parse_word(struct parser *p)
{
    int position = parser_position(p);

    if (parser_accept_word(p, "TRUE")) return new_boolean(p, position, false, true);
    if (parser_accept_word(p, "FALSE")) return new_boolean(p, position, false, false);
    if (parser_accept_word(p, "NULL")) return new_boolean(p, position, true, false);
    if (parser_is_word(p, 0, "CASE")) return parse_case(p);
    if (parser_is_word(p, 0, "CAST")) return parse_cast(p, false);
    if (parser_is_word(p, 0, "TRY_CAST")) return parse_cast(p, true);
    if (parser_is_word(p, 0, "INTERVAL")) return parse_interval(p);
    if (parser_is_word(p, 0, "EXISTS")) return sql_not_yet(p->c, position, "EXISTS", NULL);
    if (parser_is_word(p, 0, "SELECT")) return sql_not_yet(p->c, position, "a subquery in an expression", NULL);
    if (parser_peek(p, 1)->kind == TOKEN_STRING) {
        if (parser_is_word(p, 0, "DATE") || parser_is_word(p, 0, "TIMESTAMP")) return parse_time_literal(p);
        if (parser_is_word(p, 0, "TIME")) return sql_not_yet(p->c, position, "the type TIME", NULL);
    }
    if (parser_is_punct(p, 1, '[') && (parser_is_word(p, 0, "ARRAY") || parser_is_word(p, 0, "MAP")))
        return sql_not_yet(p->c, position, parser_is_word(p, 0, "MAP") ? "MAP" : "ARRAY", NULL);
    /* LEFT( and RIGHT( are functions although the words are reserved for joins elsewhere. */
    if (parser_is_punct(p, 1, '(') && !word_is_reserved(token_value(p->c, parser_peek(p, 0)))) return parse_call(p);
    return parse_column_name(p);
}

struct ast *parse_primary(struct parser *p)
{
    const struct token *t = parser_peek(p, 0);

    switch (t->kind) {
    case TOKEN_INTEGER:
    case TOKEN_NUMBER: return parse_number(p, false);
    case TOKEN_STRING: {
        struct bytes value;
        int position;
        if (!parser_string(p, "a string", &value, &position)) return NULL;
        if (parser_peek(p, 0)->kind == TOKEN_STRING)
            return sql_fail(p->c, parser_position(p), "join strings with ||", "a string follows a string");
        return new_string(p, position, value);
    }
    case TOKEN_WORD: return parse_word(p);
    case TOKEN_QUOTED: return parser_is_punct(p, 1, '(') ? parse_call(p) : parse_column_name(p);
    case TOKEN_PUNCT:
        if (t->punct == '(') return parse_parenthesised(p);
        if (t->punct == '?') return sql_not_yet(p->c, (int)t->position, "a parameter (?)", NULL);
        return parser_expected(p, "an expression");
    default: return parser_expected(p, "an expression");
    }
}
