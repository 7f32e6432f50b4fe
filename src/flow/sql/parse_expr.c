/* parse_expr.c: expressions by binding power (Pratt). Powers follow Calcite, whose parser Flink uses:
 *
 *   OR 10 < AND 20 < NOT 30 < IS 40 < = <> < <= > >= 50 < BETWEEN IN LIKE 60 < + - 70 < * / % || 80 < sign 90
 *
 * AND and OR are gathered into one wide node each, because generated texts hold thousands of them and a chain would be
 * as deep. */
#include "flow/sql/parse.h"

#include "base/text.h"

enum {
    BP_OR = 10,
    BP_AND = 20,
    BP_NOT = 30,
    BP_IS = 40,
    BP_COMPARE = 50,
    BP_RANGE = 60,
    BP_SUM = 70,
    BP_PRODUCT = 80,
    BP_SIGN = 90
};

static struct ast *parse_bp(struct parser *p, int bp);

struct ast *ast_new(struct parser *p, enum ast_kind kind, int position, struct ast *const *args, int n_args)
{
    struct ast *a;
    int depth = 0;

    for (int i = 0; i < n_args; i++) {
        if (args[i]->depth > depth) depth = args[i]->depth;
    }
    if (depth + 1 > LIMIT_SQL_DEPTH_MAX)
        return sql_fail(p->c, position, NULL, "expression nested more than %d levels deep", LIMIT_SQL_DEPTH_MAX);
    a = arena_new(p->c->arena, struct ast);
    a->kind = kind;
    a->position = position;
    a->depth = depth + 1;
    a->n_args = n_args;
    if (n_args > 0) {
        a->args = arena_array(p->c->arena, (size_t)n_args, sizeof(struct ast *));
        memcpy(a->args, args, (size_t)n_args * sizeof(struct ast *));
    }
    return a;
}

static struct ast *new_operator(struct parser *p, const char *name, int position, struct ast *const *args, int n_args)
{
    struct ast *a = ast_new(p, AST_OPERATOR, position, args, n_args);
    if (a != NULL) a->name = bytes_str(name);
    return a;
}

static struct ast *new_binary(struct parser *p, const char *name, int position, struct ast *left, struct ast *right)
{
    struct ast *const args[] = {left, right};
    return new_operator(p, name, position, args, 2);
}

struct infix {
    uint16_t punct;
    const char *name;
    int bp;
};
static const struct infix infixes[] = {
    {'=', "=", BP_COMPARE},
    {PUNCT2('<', '>'), "<>", BP_COMPARE},
    {PUNCT2('!', '='), "<>", BP_COMPARE},
    {'<', "<", BP_COMPARE},
    {PUNCT2('<', '='), "<=", BP_COMPARE},
    {'>', ">", BP_COMPARE},
    {PUNCT2('>', '='), ">=", BP_COMPARE},
    {'+', "+", BP_SUM},
    {'-', "-", BP_SUM},
    {'*', "*", BP_PRODUCT},
    {'/', "/", BP_PRODUCT},
    {'%', "%", BP_PRODUCT},
    {PUNCT2('|', '|'), "||", BP_PRODUCT},
};

static const struct infix *find_infix(const struct parser *p)
{
    const struct token *t = parser_peek(p, 0);
    if (t->kind != TOKEN_PUNCT) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(infixes); i++) {
        if (infixes[i].punct == t->punct) return &infixes[i];
    }
    return NULL;
}

/* Operators of other languages, where an operator is expected: say what to write. Otherwise true. */
static bool check_foreign_operator(struct parser *p)
{
    const struct token *t = parser_peek(p, 0);
    const char *hint = NULL;

    if (t->kind != TOKEN_PUNCT) return true;
    if (t->punct == PUNCT2('=', '=')) hint = "equality is written =";
    if (t->punct == PUNCT2('&', '&')) hint = "write AND";
    if (t->punct == PUNCT2(':', ':')) hint = "write CAST(x AS TYPE)";
    if (hint != NULL) {
        sql_fail(p->c, (int)t->position, hint, "there is no operator %s", token_shown(p->c, t));
        return false;
    }
    if (t->punct == '[') {
        sql_not_yet(p->c, (int)t->position, "access to elements of arrays and maps", NULL);
        return false;
    }
    return true;
}

/* a AND b AND c -> one node. `word` is at p->at. */
static struct ast *parse_junction(struct parser *p, struct ast *left, const char *word, int bp)
{
    struct sql_list args = {0};
    int position = parser_position(p);

    sql_list_push(p->c, &args, left);
    while (parser_accept_word(p, word)) {
        struct ast *right = parse_bp(p, bp + 1);
        if (right == NULL) return NULL;
        sql_list_push(p->c, &args, right);
    }
    return new_operator(p, word, position, (struct ast *const *)args.items, args.n);
}

static struct ast *negated(struct parser *p, struct ast *a, int position, bool is_not)
{
    if (a == NULL || !is_not) return a;
    return new_operator(p, "NOT", position, &a, 1);
}

static struct ast *parse_is(struct parser *p, struct ast *left)
{
    int position = parser_position(p);
    bool is_not;

    p->at++; /* IS */
    is_not = parser_accept_word(p, "NOT");
    if (parser_accept_word(p, "NULL")) return new_operator(p, is_not ? "$isnotnull" : "$isnull", position, &left, 1);
    if (parser_accept_word(p, "UNKNOWN")) return new_operator(p, is_not ? "$isnotnull" : "$isnull", position, &left, 1);
    if (parser_accept_word(p, "TRUE"))
        return negated(p, new_operator(p, "$istrue", position, &left, 1), position, is_not);
    if (parser_accept_word(p, "FALSE"))
        return negated(p, new_operator(p, "$isfalse", position, &left, 1), position, is_not);
    if (parser_accept_word(p, "DISTINCT")) {
        struct ast *args[] = {left, NULL}, *a;
        if (!parser_expect_word(p, "FROM")) return NULL;
        args[1] = parse_bp(p, BP_COMPARE);
        if (args[1] == NULL) return NULL;
        a = ast_new(p, AST_IS_DISTINCT, position, args, 2);
        if (a != NULL) a->is_not = is_not;
        return a;
    }
    return parser_expected(p, "NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM");
}

static struct ast *parse_in(struct parser *p, struct ast *left, int position, bool is_not)
{
    struct sql_list args = {0};
    struct ast *a;

    sql_list_push(p->c, &args, left);
    if (!parser_expect_punct(p, '(')) return NULL;
    if (parser_is_word(p, 0, "SELECT") || parser_is_word(p, 0, "WITH"))
        return sql_not_yet(p->c, parser_position(p), "IN (SELECT ...)", NULL);
    if (parser_is_punct(p, 0, ')')) return parser_expected(p, "at least one value");
    do {
        struct ast *item = parse_expr(p);
        if (item == NULL) return NULL;
        sql_list_push(p->c, &args, item);
    } while (parser_accept_punct(p, ','));
    if (!parser_expect_punct(p, ')')) return NULL;
    a = ast_new(p, AST_IN, position, (struct ast *const *)args.items, args.n);
    if (a != NULL) a->is_not = is_not;
    return a;
}

/* [NOT] BETWEEN | IN | LIKE. */
static struct ast *parse_range(struct parser *p, struct ast *left)
{
    int position = parser_position(p);
    bool is_not = parser_accept_word(p, "NOT");
    struct ast *args[3] = {left, NULL, NULL}, *a;

    if (parser_accept_word(p, "IN")) return parse_in(p, left, position, is_not);
    if (parser_accept_word(p, "LIKE")) {
        int n = 2;
        args[1] = parse_bp(p, BP_RANGE + 1);
        if (args[1] == NULL) return NULL;
        if (parser_accept_word(p, "ESCAPE")) {
            args[n++] = parse_bp(p, BP_RANGE + 1);
            if (args[2] == NULL) return NULL;
        }
        return negated(p, new_operator(p, "$like", position, args, n), position, is_not);
    }
    if (!parser_accept_word(p, "BETWEEN")) return parser_expected(p, "BETWEEN, IN or LIKE");
    if (parser_is_word(p, 0, "SYMMETRIC")) return sql_not_yet(p->c, parser_position(p), "BETWEEN SYMMETRIC", NULL);
    (void)parser_accept_word(p, "ASYMMETRIC");
    args[1] = parse_bp(p, BP_RANGE + 1);
    if (args[1] == NULL || !parser_expect_word(p, "AND")) return NULL;
    args[2] = parse_bp(p, BP_RANGE + 1);
    if (args[2] == NULL) return NULL;
    a = ast_new(p, AST_BETWEEN, position, args, 3);
    if (a != NULL) a->is_not = is_not;
    return a;
}

static bool is_range_word(const struct parser *p)
{
    int ahead = parser_is_word(p, 0, "NOT") ? 1 : 0;
    return parser_is_word(p, ahead, "BETWEEN") || parser_is_word(p, ahead, "IN") || parser_is_word(p, ahead, "LIKE");
}

static struct ast *parse_prefix(struct parser *p)
{
    int position = parser_position(p);
    struct ast *a;

    if (parser_accept_word(p, "NOT")) {
        a = parse_bp(p, BP_NOT);
        return a == NULL ? NULL : negated(p, a, position, true);
    }
    if (parser_accept_punct(p, '-')) {
        uint8_t kind = parser_peek(p, 0)->kind;
        if (kind == TOKEN_INTEGER || kind == TOKEN_NUMBER) return parse_number(p, true);
        a = parse_bp(p, BP_SIGN);
        return a == NULL ? NULL : new_operator(p, "$neg", position, &a, 1);
    }
    if (parser_accept_punct(p, '+')) return parse_bp(p, BP_SIGN);
    return parse_primary(p);
}

/* The loop of the Pratt parser: takes operators that bind at least as tight as `bp`. */
static struct ast *parse_infix(struct parser *p, struct ast *left, int bp)
{
    while (left != NULL) {
        const struct infix *infix = find_infix(p);
        int position = parser_position(p);
        if (infix != NULL) {
            struct ast *right;
            if (infix->bp < bp) break;
            p->at++;
            right = parse_bp(p, infix->bp + 1);
            left = right == NULL ? NULL : new_binary(p, infix->name, position, left, right);
        } else if (parser_is_word(p, 0, "AND")) {
            if (BP_AND < bp) break;
            left = parse_junction(p, left, "AND", BP_AND);
        } else if (parser_is_word(p, 0, "OR")) {
            if (BP_OR < bp) break;
            left = parse_junction(p, left, "OR", BP_OR);
        } else if (parser_is_word(p, 0, "IS")) {
            if (BP_IS < bp) break;
            left = parse_is(p, left);
        } else if (is_range_word(p)) {
            if (BP_RANGE < bp) break;
            left = parse_range(p, left);
        } else {
            if (!check_foreign_operator(p)) return NULL;
            break;
        }
    }
    return left;
}

static struct ast *parse_bp(struct parser *p, int bp)
{
    struct ast *a;
    if (!parser_enter(p)) return NULL;
    a = parse_infix(p, parse_prefix(p), bp);
    parser_leave(p);
    return a;
}

struct ast *parse_expr(struct parser *p)
{
    return parse_bp(p, 0);
}

struct ast *parse_operand(struct parser *p)
{
    return parse_bp(p, BP_RANGE + 1);
}
