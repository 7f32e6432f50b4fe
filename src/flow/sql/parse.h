/* parse.h: the parser's inside. Recursive descent for statements, Pratt for expressions. Every function returns NULL or
 * false after the first error, which stands in the context. Recursion is counted in parser_enter, so no text can
 * exhaust the stack. */
#ifndef WEIR_FLOW_SQL_PARSE_H
#define WEIR_FLOW_SQL_PARSE_H

#include "flow/sql/ast.h"
#include "flow/sql/lex.h"

struct parser {
    struct sql_ctx *c;
    struct token *tokens;
    int n, at;
    int depth;
};

/* The whole statement, with an optional final ';'. */
struct statement_ast *parse_statement(struct sql_ctx *c);

/* parse_base.c: tokens */
const struct token *parser_peek(const struct parser *p, int ahead);
int parser_position(const struct parser *p);
bool parser_is_word(const struct parser *p, int ahead, const char *word);
bool parser_is_punct(const struct parser *p, int ahead, uint16_t punct);
bool parser_accept_word(struct parser *p, const char *word);
bool parser_accept_punct(struct parser *p, uint16_t punct);
/* "expected <what>, found ..." */
void *parser_expected(struct parser *p, const char *what);
/* True, and an error there, when the word before this place looks like one of `words`: it was read as an alias. */
bool parser_check_misspelt(struct parser *p, const char *const *words, size_t n);
bool parser_expect_word(struct parser *p, const char *word);
bool parser_expect_punct(struct parser *p, char punct);
/* A name: quoted, or a word that is not reserved. */
bool parser_name(struct parser *p, const char *what, struct bytes *out, int *position);
bool parser_string(struct parser *p, const char *what, struct bytes *out, int *position);
bool parser_enter(struct parser *p); /* false: too deep; pair with parser_leave only when true */
void parser_leave(struct parser *p);
bool word_is_reserved(struct bytes word); /* cannot be a name without quotes */
bool word_ends_table(struct bytes word);  /* cannot be an alias without AS */

/* parse_expr.c */
struct ast *parse_expr(struct parser *p);
/* Without AND, OR, NOT, IS, comparisons, BETWEEN, IN: for places where such a word follows as syntax. */
struct ast *parse_operand(struct parser *p);
struct ast *ast_new(struct parser *p, enum ast_kind kind, int position, struct ast *const *args, int n_args);
/* parse_primary.c */
struct ast *parse_primary(struct parser *p);
/* parse_literal.c */
struct ast *parse_number(struct parser *p, bool is_negative);
struct ast *parse_interval(struct parser *p);     /* at INTERVAL */
struct ast *parse_time_literal(struct parser *p); /* at DATE or TIMESTAMP before a string */
bool parse_timestamp_text(struct bytes text, int64_t *us, int *digits);
bool parse_date_text(struct bytes text, int64_t *days);
bool parse_type(struct parser *p, struct sql_type *out);
/* parse_select.c */
struct select_ast *parse_select(struct parser *p);
/* parse_create.c */
bool parse_create(struct parser *p, struct statement_ast *s);

#endif
