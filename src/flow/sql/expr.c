/* expr.c: making, comparing and walking bound expressions. */
#include "flow/sql/bind.h"

void *expr_too_large(struct sql_ctx *c, int position)
{
    return sql_fail(c, position, NULL, "the expressions of this statement are too large: more than %d parts",
                    LIMIT_SQL_EXPR_NODES_MAX);
}

struct expr *expr_new(struct sql_ctx *c, enum expr_kind kind, struct sql_type type, struct expr *const *args, int n,
                      int position)
{
    struct expr *e;
    int weight = 1;

    for (int i = 0; i < n; i++) {
        if (args[i] == NULL) return NULL;
        weight += args[i]->weight; /* cannot overflow: each is within the limit and n within the text */
        if (weight > LIMIT_SQL_EXPR_NODES_MAX) break;
    }
    if (weight > LIMIT_SQL_EXPR_NODES_MAX || ++c->n_exprs > LIMIT_SQL_EXPR_NODES_MAX)
        return expr_too_large(c, position);
    e = arena_new(c->arena, struct expr);
    e->kind = kind;
    e->type = type;
    e->type.is_rowtime = kind == EXPR_COLUMN && type.is_rowtime;
    e->position = position;
    e->weight = weight;
    e->n_args = n;
    if (n > 0) {
        e->args = arena_array(c->arena, (size_t)n, sizeof(*e->args));
        memcpy(e->args, args, (size_t)n * sizeof(*e->args));
    }
    return e;
}

struct expr *expr_call(struct sql_ctx *c, enum fn_op op, struct sql_type type, struct expr *const *args, int n,
                       int position)
{
    struct expr *e = expr_new(c, EXPR_CALL, type, args, n, position);
    if (e != NULL) e->op = op;
    return e;
}

struct expr *expr_column(struct sql_ctx *c, int column, struct sql_type type, int position)
{
    struct expr *e = expr_new(c, EXPR_COLUMN, type, NULL, 0, position);
    if (e != NULL) e->column = column;
    return e;
}

struct expr *expr_literal(struct sql_ctx *c, struct sql_value value, struct sql_type type, int position)
{
    struct expr *e = expr_new(c, EXPR_LITERAL, type, NULL, 0, position);
    if (e == NULL) return NULL;
    e->literal = value;
    e->literal.kind = type.kind;
    e->type.not_null = !value.is_null;
    return e;
}

struct expr *expr_i64(struct sql_ctx *c, enum sql_kind kind, int64_t value, int position)
{
    return expr_literal(c, (struct sql_value){.kind = kind, .i = value}, (struct sql_type){.kind = kind}, position);
}

struct expr *expr_string(struct sql_ctx *c, const char *value, int position)
{
    return expr_literal(c, (struct sql_value){.kind = SQL_STRING, .s = arena_copy(c->arena, bytes_str(value))},
                        (struct sql_type){.kind = SQL_STRING}, position);
}

struct expr *expr_null(struct sql_ctx *c, struct sql_type type, int position)
{
    return expr_literal(c, (struct sql_value){.is_null = true, .kind = type.kind}, type, position);
}

static bool literal_equal(const struct sql_value *a, const struct sql_value *b)
{
    if (a->kind != b->kind || a->is_null != b->is_null) return false;
    if (a->is_null) return true;
    switch (sql_phys(a->kind)) {
    case PHYS_BOOL: return a->b == b->b;
    case PHYS_F64: return memcmp(&a->d, &b->d, sizeof(a->d)) == 0;
    case PHYS_STR: return bytes_equal(a->s, b->s);
    default: return a->i == b->i;
    }
}

bool expr_equal(const struct expr *a, const struct expr *b)
{
    if (a == b) return true;
    if (a->kind != b->kind || a->weight != b->weight || a->n_args != b->n_args || a->type.kind != b->type.kind)
        return false;
    if (a->kind == EXPR_COLUMN && a->column != b->column) return false;
    if (a->kind == EXPR_LITERAL && !literal_equal(&a->literal, &b->literal)) return false;
    if (a->kind == EXPR_CALL && a->op != b->op) return false;
    for (int i = 0; i < a->n_args; i++) {
        if (!expr_equal(a->args[i], b->args[i])) return false;
    }
    return true;
}

void expr_mark(const struct expr *e, bool *mark, int n)
{
    if (e == NULL) return;
    if (e->kind == EXPR_COLUMN) {
        check(e->column >= 0 && e->column < n);
        mark[e->column] = true;
    }
    for (int i = 0; i < e->n_args; i++)
        expr_mark(e->args[i], mark, n);
}
