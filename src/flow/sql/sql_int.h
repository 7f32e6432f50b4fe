/* sql_int.h: what the files of the SQL front share: the context of one statement, failing with a place, "did you mean",
 * and growing pointer lists in the arena. Included only from sql/. */
#ifndef WEIR_FLOW_SQL_SQL_INT_H
#define WEIR_FLOW_SQL_SQL_INT_H

#include "base/limits.h"
#include "flow/sql/sql.h"

/* One statement on its way from text to plan. Nothing is freed one by one: all of it lives in the arena. */
struct sql_ctx {
    struct bytes text;
    struct arena *arena;
    struct sql_error *e;
    bool failed; /* set by the first sql_fail; later ones keep the first error */
    int n_exprs; /* bound nodes so far, against LIMIT_SQL_EXPR_NODES_MAX */
};

/* Records the first error. `hint` may be NULL or "". Always returns NULL, so that callers can `return sql_fail(...)`.
 */
void *sql_fail(struct sql_ctx *c, int position, const char *hint, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The same with the code "known, but not served in this version". */
void *sql_fail_unsupported(struct sql_ctx *c, int position, const char *hint, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* "<what> is not supported yet" */
void *sql_not_yet(struct sql_ctx *c, int position, const char *what, const char *hint);
/* A short, printable copy of outside text for a message: control characters become blanks, long text is cut. */
const char *sql_shown(struct sql_ctx *c, struct bytes b);

/* Nearest of some names, without regard to case. */
struct suggest {
    char want[65];
    char best[65];
    unsigned distance;
};
void suggest_init(struct suggest *s, struct bytes want);
void suggest_add(struct suggest *s, struct bytes name);
/* "did you mean 'price'?" or `otherwise` (may be NULL). */
const char *suggest_hint(struct sql_ctx *c, const struct suggest *s, const char *otherwise);

/* A growing list of pointers in the arena. */
struct sql_list {
    void **items;
    int n, cap;
};
void sql_list_push(struct sql_ctx *c, struct sql_list *l, void *item);

/* The canonical spelling of a name: back-quoted, back-quotes doubled. A string: the same with '. */
void sql_put_quoted(struct buf *out, struct bytes name, char quote);

#endif
