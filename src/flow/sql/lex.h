/* lex.h: text to tokens. Keywords are ordinary words here: the parser knows from the place whether a word is one. */
#ifndef WEIR_FLOW_SQL_LEX_H
#define WEIR_FLOW_SQL_LEX_H

#include "flow/sql/sql_int.h"

enum token_kind {
    TOKEN_END,
    TOKEN_WORD,    /* keyword or plain name */
    TOKEN_QUOTED,  /* `name` or "name" */
    TOKEN_STRING,  /* 'text' */
    TOKEN_INTEGER, /* 12 */
    TOKEN_NUMBER,  /* 1.5, 1e3 */
    TOKEN_PUNCT,   /* `punct` says which */
};
/* A punctuation mark is its characters as a number, so that '(' and PUNCT2('<', '=') need no table of names. */
#define PUNCT2(a, b) ((uint16_t)((a) << 8 | (b)))
struct token {
    uint8_t kind;
    uint16_t punct;
    uint32_t position, length;
};

/* All tokens of c->text, ended by TOKEN_END; NULL when failed. */
struct token *lex(struct sql_ctx *c, int *n_out);
/* What the token stands for: names and strings without quotes and escapes. A view of the text where nothing was
 * escaped. */
struct bytes token_value(struct sql_ctx *c, const struct token *t);
/* The token for a message: "'price'", "end of statement". */
const char *token_shown(struct sql_ctx *c, const struct token *t);

#endif
