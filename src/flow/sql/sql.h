/* sql.h: the door of the SQL front: text to bound statements. Pure functions; hand-written lexer, recursive descent,
 * Pratt expressions. Errors carry line, column, a caret line and a hint. */
#ifndef WEIR_FLOW_SQL_SQL_H
#define WEIR_FLOW_SQL_SQL_H

#include "flow/plan.h"

/* Where the binder finds declared streams. NULL: no such stream. */
struct sql_catalog {
    const struct stream_def *(*find)(struct sql_catalog *c, struct bytes name);
    /* Calls fn for every known name, for "did you mean". */
    void (*names)(struct sql_catalog *c, void (*fn)(void *arg, struct bytes name), void *arg);
};

/* An error with its place in the text. `err.text` is one line; sql_error_render draws it with the source line and a
 * caret. */
struct sql_error {
    struct err err;
    int position;     /* byte offset in the whole text; -1: none */
    int line, column; /* from 1 */
};
void sql_error_render(struct buf *out, const struct sql_error *e, struct bytes text);

/* Length of the first statement of `text` including its ';' (string literals, quoted names and comments understood); 0
 * when no complete statement (no ';') is there. For shells. *is_blank: only blanks and comments. */
size_t sql_split(struct bytes text, bool *is_blank);

/* Parses and binds the one statement in `text` (an optional final ';'). Result and everything in it live in `arena`;
 * literals and names are copied. */
MUST_USE enum err_code sql_bind(struct statement **out, struct bytes text, struct sql_catalog *catalog,
                                struct arena *arena, struct sql_error *e);
/* Binds a stored CREATE STREAM text back to its definition. */
MUST_USE enum err_code sql_bind_stream(struct stream_def **out, struct bytes text, struct arena *arena,
                                       struct sql_error *e);
/* The plan as an indented tree, for EXPLAIN. */
void plan_render(struct buf *out, const struct plan *p);

#endif
