/* parse_base.c: the parser's view of the tokens, and which words are reserved.
 * Few words are: Flink reserves hundreds ("value", "user", "timestamp"), which makes people quote half of their
 * columns. Here a word is reserved only where reading it as a name would be ambiguous, so texts for Flink parse, quoted
 * or not. */
#include "flow/sql/parse.h"

#include "base/text.h"

static const char *const reserved[] = {
    "ALL",     "AND",   "AS",    "BETWEEN", "BY",        "CASE",     "CAST",   "CREATE",   "CROSS",  "DISTINCT",
    "DROP",    "ELSE",  "END",   "EXCEPT",  "EXISTS",    "FALSE",    "FOR",    "FROM",     "FULL",   "GROUP",
    "HAVING",  "IN",    "INNER", "INSERT",  "INTERSECT", "INTERVAL", "INTO",   "IS",       "JOIN",   "LIKE",
    "NATURAL", "NOT",   "NULL",  "ON",      "OR",        "ORDER",    "OUTER",  "OVER",     "SELECT", "THEN",
    "TRUE",    "UNION", "USING", "WHEN",    "WHERE",     "WITH",     "WITHIN", "TRY_CAST",
};
/* Words that begin the next clause, so that `FROM s EMIT CHANGES` does not call s "EMIT". */
static const char *const clause_words[] = {
    "EMIT", "LIMIT", "OFFSET", "FETCH", "WINDOW", "QUALIFY", "MATCH_RECOGNIZE", "LEFT", "RIGHT", "MINUS", "TABLESAMPLE",
};

static bool is_among(struct bytes word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text_equal_nocase(word, bytes_str(words[i]))) return true;
    }
    return false;
}

bool word_is_reserved(struct bytes word)
{
    return is_among(word, reserved, ARRAY_LEN(reserved));
}

bool word_ends_table(struct bytes word)
{
    return word_is_reserved(word) || is_among(word, clause_words, ARRAY_LEN(clause_words));
}

const struct token *parser_peek(const struct parser *p, int ahead)
{
    int i = p->at + ahead;
    return &p->tokens[i < p->n ? i : p->n - 1];
}

int parser_position(const struct parser *p)
{
    return (int)p->tokens[p->at].position;
}

bool parser_is_word(const struct parser *p, int ahead, const char *word)
{
    const struct token *t = parser_peek(p, ahead);
    return t->kind == TOKEN_WORD && text_equal_nocase(bytes_slice(p->c->text, t->position, t->length), bytes_str(word));
}

bool parser_is_punct(const struct parser *p, int ahead, uint16_t punct)
{
    const struct token *t = parser_peek(p, ahead);
    return t->kind == TOKEN_PUNCT && t->punct == punct;
}

bool parser_accept_word(struct parser *p, const char *word)
{
    if (!parser_is_word(p, 0, word)) return false;
    p->at++;
    return true;
}

bool parser_accept_punct(struct parser *p, uint16_t punct)
{
    if (!parser_is_punct(p, 0, punct)) return false;
    p->at++;
    return true;
}

void *parser_expected(struct parser *p, const char *what)
{
    const struct token *t = parser_peek(p, 0);
    return sql_fail(p->c, (int)t->position, NULL, "expected %s, found %s", what, token_shown(p->c, t));
}

bool parser_expect_word(struct parser *p, const char *word)
{
    const struct token *t = parser_peek(p, 0);
    struct suggest s;

    if (parser_accept_word(p, word)) return true;
    if (t->kind != TOKEN_WORD) {
        parser_expected(p, word);
        return false;
    }
    suggest_init(&s, token_value(p->c, t));
    suggest_add(&s, bytes_str(word));
    sql_fail(p->c, (int)t->position, s.distance == 0 ? NULL : suggest_hint(p->c, &s, NULL), "expected %s, found %s",
             word, token_shown(p->c, t));
    return false;
}

bool parser_check_misspelt(struct parser *p, const char *const *words, size_t n)
{
    const struct token *t = p->at > 0 ? &p->tokens[p->at - 1] : NULL;
    struct suggest s;

    if (t == NULL || t->kind != TOKEN_WORD) return false;
    suggest_init(&s, token_value(p->c, t));
    for (size_t i = 0; i < n; i++)
        suggest_add(&s, bytes_str(words[i]));
    if (s.distance == 0 || s.distance > 2 || strlen(s.want) + 1 < strlen(s.best)) return false;
    sql_fail(p->c, (int)t->position, suggest_hint(p->c, &s, NULL), "unexpected word %s", token_shown(p->c, t));
    return true;
}

bool parser_expect_punct(struct parser *p, char punct)
{
    const char what[] = {'\'', punct, '\'', '\0'};
    if (parser_accept_punct(p, (uint8_t)punct)) return true;
    parser_expected(p, what);
    return false;
}

bool parser_name(struct parser *p, const char *what, struct bytes *out, int *position)
{
    const struct token *t = parser_peek(p, 0);
    struct bytes value = token_value(p->c, t);

    if (t->kind == TOKEN_WORD && word_is_reserved(value)) {
        sql_fail(p->c, (int)t->position, "quote it when it is meant as a name: `...`",
                 "expected %s, found the keyword %s", what, sql_shown(p->c, value));
        return false;
    }
    if (t->kind != TOKEN_WORD && t->kind != TOKEN_QUOTED) {
        parser_expected(p, what);
        return false;
    }
    *out = arena_copy(p->c->arena, value);
    if (position != NULL) *position = (int)t->position;
    p->at++;
    return true;
}

bool parser_string(struct parser *p, const char *what, struct bytes *out, int *position)
{
    const struct token *t = parser_peek(p, 0);
    if (t->kind != TOKEN_STRING) {
        parser_expected(p, what);
        return false;
    }
    *out = arena_copy(p->c->arena, token_value(p->c, t));
    if (position != NULL) *position = (int)t->position;
    p->at++;
    return true;
}

bool parser_enter(struct parser *p)
{
    if (p->depth >= LIMIT_SQL_DEPTH_MAX) {
        sql_fail(p->c, parser_position(p), NULL, "nested more than %d levels deep", LIMIT_SQL_DEPTH_MAX);
        return false;
    }
    p->depth++;
    return true;
}

void parser_leave(struct parser *p)
{
    check(p->depth > 0);
    p->depth--;
}
