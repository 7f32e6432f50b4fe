/* expr.h: expressions over chunks: compiled once, evaluated a chunk at a time. One thread. Semantics: expr.c; one loop
 * per operation: kernels*.c. */
#ifndef WEIR_FLOW_EXEC_EXPR_H
#define WEIR_FLOW_EXEC_EXPR_H

#include "flow/exec/vector.h"
#include "flow/plan.h"

struct xnode; /* a compiled expression */
struct eval {
    struct arena *arena;       /* strings made while evaluating; reset by its owner when the chunk is done */
    struct row_errors *errors; /* rows that failed */
};
/* Memory comes from `arena`; `e` must outlive the result. ERR_INVALID: a constant regular expression is malformed. */
MUST_USE enum err_code expr_compile(struct xnode **out, const struct expr *e, struct arena *arena, struct err *err);
void expr_release(struct xnode *x); /* what is not arena memory; NULL is harmless */
/* The value for the n selected rows (sel NULL: rows 0 .. n - 1). The result is valid until the next call for x. */
const struct vector *expr_eval(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel, int n);
/* Writes the rows of (sel, n) where `predicate` is true and did not fail to out; returns their number. out may be sel.
 */
int expr_filter(struct xnode *predicate, struct eval *ev, const struct chunk *c, const uint16_t *sel, int n,
                uint16_t *out);

#endif
