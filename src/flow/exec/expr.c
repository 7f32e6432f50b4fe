/* Evaluation of expressions over chunks: a tree of nodes, each with one result vector of its own.
 *
 * X1  Strict operations are NULL when an argument is; their kernels see no NULL row, unless the kernel is dense,
 *     where a value under a NULL does no harm.
 * X2  A failed row (overflow, division by zero, malformed text) is marked in eval.errors and never looked at
 *     again: kernels that could stumble get a selection without failed rows.
 * X3  AND, OR, CASE and COALESCE evaluate a branch only for the rows that need it: `x <> 0 AND 10 / x > 1` does
 *     not fail. A right side that cannot fail and is cheap is computed for all rows: a dense loop beats a
 *     selection.
 * X4  Literals are constants of one value; no operation materialises them.
 * Why a tree walk and not compiled code: a node costs some 20 ns a chunk, the loops do the work. */
#include "flow/exec/expr.h"

#include <stdarg.h>
#include <stdio.h>

#include "flow/exec/kernels.h"

struct xnode {
    const struct expr *expr;
    const struct kernel *kernel;
    bool strict, is_cheap; /* is_cheap: the whole subtree is dense kernels, columns and literals */
    struct xnode **args;
    const struct vector **values;
    struct vector out;
    uint16_t *sel_a, *sel_b;
    struct row_errors *try_errors;
    struct regex_cache *regex;
};

/* ---- compiling ---- */

static bool is_regex_op(enum fn_op op)
{
    return op == FN_REGEXP || op == FN_REGEXP_EXTRACT || op == FN_REGEXP_REPLACE;
}

static enum err_code compile_call(struct xnode *x, const struct expr *e, struct err *err)
{
    x->kernel = &kernels[e->op];
    x->strict = fn_flags[e->op][0] == 'S';
    x->is_cheap = (x->kernel->flags & KERNEL_DENSE) || e->op == FN_AND || e->op == FN_OR;
    for (int i = 0; i < e->n_args; i++)
        x->is_cheap = x->is_cheap && x->args[i]->is_cheap;
    if (is_regex_op(e->op) && e->args[1]->kind == EXPR_LITERAL && !e->args[1]->literal.is_null)
        return regex_check(e->args[1]->literal.s, err);
    return ERR_NONE;
}

enum err_code expr_compile(struct xnode **out, const struct expr *e, struct arena *arena, struct err *err)
{
    struct xnode *x = arena_new(arena, struct xnode);
    x->expr = e;
    *out = x;
    if (e->kind == EXPR_COLUMN || e->kind == EXPR_LITERAL) {
        x->is_cheap = true;
        if (e->kind == EXPR_LITERAL) {
            struct sql_value v = e->literal;
            if (e->type.kind == SQL_NULL) v.is_null = true;
            vector_init_const(&x->out, sql_phys(e->type.kind), &v, arena);
        }
        return ERR_NONE;
    }
    x->args = arena_array(arena, (size_t)e->n_args, sizeof(struct xnode *));
    x->values = arena_array(arena, (size_t)e->n_args, sizeof(struct vector *));
    for (int i = 0; i < e->n_args; i++) {
        enum err_code rc = expr_compile(&x->args[i], e->args[i], arena, err);
        if (rc != ERR_NONE) return rc;
    }
    vector_init(&x->out, sql_phys(e->type.kind), arena);
    x->sel_a = arena_array(arena, LIMIT_CHUNK_ROWS, sizeof(uint16_t));
    if (e->kind == EXPR_CASE || (e->kind == EXPR_CALL && e->op == FN_COALESCE))
        x->sel_b = arena_array(arena, LIMIT_CHUNK_ROWS, sizeof(uint16_t));
    if (e->kind == EXPR_TRY) x->try_errors = arena_new(arena, struct row_errors);
    return e->kind == EXPR_CALL ? compile_call(x, e, err) : ERR_NONE;
}

void expr_release(struct xnode *x)
{
    if (x == NULL) return;
    for (int i = 0; x->args && i < x->expr->n_args; i++)
        expr_release(x->args[i]);
    regex_cache_destroy(x->regex);
    x->regex = NULL;
}

/* ---- failures ---- */

void row_fail(struct call *k, int row, const char *text)
{
    struct row_errors *r = k->ev->errors;
    if (r->flag[row]) return;
    r->flag[row] = 1;
    r->text[row] = text;
    r->count++;
}

void row_failf(struct call *k, int row, const char *fmt, ...)
{
    char text[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    row_fail(k, row, arena_strdup(k->ev->arena, text));
}

/* ---- evaluation ---- */

static void copy_rows(struct vector *dst, const struct vector *src, const uint16_t *sel, int n)
{
    int mask = src->is_const ? 0 : -1;
    if (src->has_nulls) {
        dst->has_nulls = true;
        for_rows(i, sel, n) dst->nulls[i] = src->nulls[i & mask];
    } else {
        for_rows(i, sel, n) dst->nulls[i] = 0;
    }
    switch (dst->phys) {
    case PHYS_BOOL: for_rows(i, sel, n) dst->b[i] = src->b[i & mask]; break;
    case PHYS_I64: for_rows(i, sel, n) dst->i[i] = src->i[i & mask]; break;
    case PHYS_F64: for_rows(i, sel, n) dst->d[i] = src->d[i & mask]; break;
    case PHYS_STR: for_rows(i, sel, n) dst->s[i] = src->s[i & mask]; break;
    }
}

/* Splits the rows by whether v is true; failed rows are in neither. `rest` may be `sel`. */
static int split_true(const struct vector *v, const struct row_errors *err, const uint16_t *sel, int n, uint16_t *yes,
                      uint16_t *rest, int *n_rest)
{
    int mask = v->is_const ? 0 : -1, n_yes = 0, n_no = 0;
    for_rows(i, sel, n)
    {
        if (err->count && err->flag[i]) continue;
        bool is_true = v->b[i & mask] && !(v->has_nulls && v->nulls[i & mask]);
        if (is_true)
            yes[n_yes++] = (uint16_t)i;
        else
            rest[n_no++] = (uint16_t)i;
    }
    *n_rest = n_no;
    return n_yes;
}

static const struct vector *eval_case(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel,
                                      int n)
{
    int n_args = x->expr->n_args;
    x->out.has_nulls = false;
    for (int i = 0; i + 1 < n_args && n > 0; i += 2) {
        const struct vector *when = expr_eval(x->args[i], ev, c, sel, n);
        int n_yes = split_true(when, ev->errors, sel, n, x->sel_b, x->sel_a, &n);
        sel = x->sel_a;
        if (n_yes > 0) copy_rows(&x->out, expr_eval(x->args[i + 1], ev, c, x->sel_b, n_yes), x->sel_b, n_yes);
    }
    if (n > 0) copy_rows(&x->out, expr_eval(x->args[n_args - 1], ev, c, sel, n), sel, n);
    return &x->out;
}

static const struct vector *eval_coalesce(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel,
                                          int n)
{
    x->out.has_nulls = false;
    for (int a = 0; a < x->expr->n_args && n > 0; a++) {
        const struct vector *v = expr_eval(x->args[a], ev, c, sel, n);
        int n_have = 0, n_rest = 0;
        for_rows(i, sel, n)
        {
            if (ev->errors->count && ev->errors->flag[i]) continue;
            if (vector_is_null(v, i))
                x->sel_a[n_rest++] = (uint16_t)i;
            else
                x->sel_b[n_have++] = (uint16_t)i;
        }
        copy_rows(&x->out, v, x->sel_b, n_have);
        sel = x->sel_a;
        n = n_rest;
    }
    for (int k = 0; k < n; k++)
        x->out.nulls[sel[k]] = 1;
    if (n > 0) x->out.has_nulls = true;
    return &x->out;
}

static const struct vector *eval_try(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel,
                                     int n)
{
    struct eval inner = {.arena = ev->arena, .errors = x->try_errors};
    row_errors_clear(x->try_errors);
    const struct vector *v = expr_eval(x->args[0], &inner, c, sel, n);
    if (x->try_errors->count == 0) return v;
    x->out.has_nulls = false;
    copy_rows(&x->out, v, sel, n);
    for_rows(i, sel, n)
    {
        if (!x->try_errors->flag[i]) continue;
        x->out.nulls[i] = 1;
        x->out.has_nulls = true;
    }
    return &x->out;
}

/* Three-valued AND (and OR, its mirror). */
static void combine(struct vector *out, const struct vector *l, const struct vector *r, bool is_or, const uint16_t *sel,
                    int n)
{
    int lm = l->is_const ? 0 : -1, rm = r->is_const ? 0 : -1;
    if (!l->has_nulls && !r->has_nulls) {
        if (is_or)
            for_rows(i, sel, n) out->b[i] = l->b[i & lm] | r->b[i & rm];
        else
            for_rows(i, sel, n) out->b[i] = l->b[i & lm] & r->b[i & rm];
        if (out->has_nulls) for_rows(i, sel, n) out->nulls[i] = 0;
        return;
    }
    for_rows(i, sel, n)
    {
        bool ln = l->has_nulls && l->nulls[i & lm], rn = r->has_nulls && r->nulls[i & rm];
        bool lv = l->b[i & lm], rv = r->b[i & rm];
        bool decided = (!ln && lv == is_or) || (!rn && rv == is_or);
        out->b[i] = decided ? is_or : !is_or;
        out->nulls[i] = !decided && (ln || rn);
    }
    out->has_nulls = true;
}

static const struct vector *eval_logic(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel,
                                       int n)
{
    bool is_or = x->expr->op == FN_OR;
    const struct vector *l = expr_eval(x->args[0], ev, c, sel, n);
    x->out.has_nulls = false;
    if (x->args[1]->is_cheap) {
        combine(&x->out, l, expr_eval(x->args[1], ev, c, sel, n), is_or, sel, n);
        return &x->out;
    }
    int open = 0, mask = l->is_const ? 0 : -1;
    for_rows(i, sel, n)
    {
        if (ev->errors->count && ev->errors->flag[i]) continue;
        x->out.b[i] = is_or;
        x->out.nulls[i] = 0;
        if ((l->has_nulls && l->nulls[i & mask]) || (bool)l->b[i & mask] != is_or) x->sel_a[open++] = (uint16_t)i;
    }
    if (open == 0) return &x->out;
    const struct vector *r = expr_eval(x->args[1], ev, c, x->sel_a, open);
    x->out.has_nulls = l->has_nulls || r->has_nulls;
    combine(&x->out, l, r, is_or, x->sel_a, open);
    return &x->out;
}

/* Sets the NULLs of a strict operation. False: all rows are NULL. */
static bool strict_nulls(struct xnode *x, int n_rows, bool *any)
{
    uint8_t *out = x->out.nulls;
    *any = false;
    for (int a = 0; a < x->expr->n_args; a++) {
        const struct vector *v = x->values[a];
        if (!v->has_nulls) continue;
        if (v->is_const) {
            if (!v->nulls[0]) continue;
            memset(out, 1, (size_t)n_rows);
            x->out.has_nulls = true;
            return false;
        }
        if (!*any)
            memcpy(out, v->nulls, (size_t)n_rows);
        else
            for (int i = 0; i < n_rows; i++)
                out[i] |= v->nulls[i];
        *any = true;
    }
    x->out.has_nulls = *any;
    return true;
}

static const struct vector *eval_call(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel,
                                      int n)
{
    bool any_null = false, dense = x->kernel->flags & KERNEL_DENSE;
    struct call k = {.a = x->values,
                     .n_args = x->expr->n_args,
                     .out = &x->out,
                     .sel = sel,
                     .n = n,
                     .ev = ev,
                     .expr = x->expr,
                     .regex = &x->regex};
    for (int i = 0; i < x->expr->n_args; i++)
        x->values[i] = expr_eval(x->args[i], ev, c, sel, n);
    x->out.has_nulls = false;
    if (x->strict) {
        if (!strict_nulls(x, c->n_rows, &any_null)) return &x->out;
    } else {
        memset(x->out.nulls, 0, (size_t)c->n_rows);
    }
    if (dense) {
        if (sel && n * 4 >= c->n_rows) { /* a loop without indices is several times as fast */
            k.sel = NULL;
            k.n = c->n_rows;
        }
    } else if (any_null || ev->errors->count > 0) {
        int live = 0;
        for_rows(i, sel, n) if (!(any_null && x->out.nulls[i]) && !ev->errors->flag[i]) x->sel_a[live++] = (uint16_t)i;
        k.sel = x->sel_a;
        k.n = live;
    }
    if (k.n > 0) x->kernel->run(&k);
    return &x->out;
}

const struct vector *expr_eval(struct xnode *x, struct eval *ev, const struct chunk *c, const uint16_t *sel, int n)
{
    switch (x->expr->kind) {
    case EXPR_COLUMN: return &c->cols[x->expr->column];
    case EXPR_LITERAL: return &x->out;
    case EXPR_CASE: return eval_case(x, ev, c, sel, n);
    case EXPR_TRY: return eval_try(x, ev, c, sel, n);
    case EXPR_CALL: break;
    }
    if (x->expr->op == FN_AND || x->expr->op == FN_OR) return eval_logic(x, ev, c, sel, n);
    if (x->expr->op == FN_COALESCE) return eval_coalesce(x, ev, c, sel, n);
    return eval_call(x, ev, c, sel, n);
}

int expr_filter(struct xnode *predicate, struct eval *ev, const struct chunk *c, const uint16_t *sel, int n,
                uint16_t *out)
{
    const struct vector *v = expr_eval(predicate, ev, c, sel, n);
    if (v->is_const) {
        if (!v->b[0] || (v->has_nulls && v->nulls[0])) return 0;
        for_rows(i, sel, n) out[i_k] = (uint16_t)i;
        return n;
    }
    int kept = 0;
    if (v->has_nulls || ev->errors->count > 0) {
        for_rows(i, sel, n)
        {
            bool keep = v->b[i] && !(v->has_nulls && v->nulls[i]) && !ev->errors->flag[i];
            out[kept] = (uint16_t)i;
            kept += keep;
        }
        return kept;
    }
    for_rows(i, sel, n)
    {
        out[kept] = (uint16_t)i; /* no branch: written always, kept when true */
        kept += v->b[i] != 0;
    }
    return kept;
}
