/* bind.h: the binder's inside: names to columns, spellings to operations, queries to plans.
 *
 * B1  A bound expression never has the type SQL_NULL, except while its surroundings still decide what a NULL is.
 * B2  Bound expressions are immutable once built: subtrees may be shared, changes copy.
 * B3  Every node is made by expr_new, which counts: neither memory nor the executor's work can grow beyond
 *     LIMIT_SQL_EXPR_NODES_MAX, although sharing makes trees larger than the text. */
#ifndef WEIR_FLOW_SQL_BIND_H
#define WEIR_FLOW_SQL_BIND_H

#include "flow/sql/ast.h"

/* ---- relations: the output of a plan, with what the plan does not say ---- */
enum window_role { ROLE_NONE, ROLE_START, ROLE_END, ROLE_TIME };
struct relation {
    struct plan *plan;
    struct bytes name; /* alias or stream name, null: none */
    int n_visible;     /* columns beyond are the window columns of GROUP BY TUMBLE(...) */
    uint8_t *roles;    /* enum window_role per column */
    struct window_spec window;
    bool is_updating;
    int depth; /* of nested queries */
    int n_aggregates;
};

struct cte {
    struct cte *next;
    struct bytes name;
    struct relation *relation;
};
struct binder {
    struct sql_ctx *c;
    struct sql_catalog *catalog; /* NULL: no streams */
    struct cte *ctes;            /* innermost first */
    struct bytes self;           /* the stream being created; it cannot read itself */
    int depth;
};

/* ---- expressions ---- */
/* While a query is bound, aggregates are columns from AGG_BASE on; bind_select puts them behind the keys. */
enum { AGG_BASE = 1 << 20 };
struct scope {
    struct binder *b;
    struct relation *relation;
    const char *place;     /* "WHERE", "a computed column": for messages */
    struct sql_list *aggs; /* struct agg; NULL: aggregates are not allowed here */
    bool in_aggregate;
    const struct ast *window;             /* GROUP BY TUMBLE(...) of this query */
    const struct stream_def *computed_of; /* a computed column of it: the others are not visible */
    /* ORDER BY sees the select list by its names. */
    const struct sql_column *aliases;
    struct expr **alias_exprs;
    int n_aliases;
};
struct expr *bind_expr(struct scope *s, const struct ast *a);
struct expr *bind_predicate(struct scope *s, const struct ast *a);                                         /* BOOLEAN */
void *unknown_qualifier(struct binder *b, const struct relation *r, struct bytes qualifier, int position); /* fails */
/* bind_call.c */
struct expr *bind_call(struct scope *s, const struct ast *a);
bool call_is_named(const struct ast *a, const char *name);
/* bind_agg.c */
bool call_is_aggregate(const struct ast *a);
bool call_is_group_window(const struct ast *a);
struct expr *bind_aggregate(struct scope *s, const struct ast *a);
struct expr *bind_group_window_call(struct scope *s, const struct ast *a, enum window_role role);
void suggest_aggregates(struct suggest *s);
/* bind_time.c */
struct expr *bind_extract_unit(struct scope *s, const char *unit, struct expr *t, const char *shown, int position);
struct expr *bind_extract(struct scope *s, const struct ast *a);
struct expr *bind_floor_to(struct scope *s, const struct ast *a);
struct expr *bind_timestamp_call(struct scope *s, const struct ast *a);
struct expr *bind_trim_of(struct scope *s, const struct ast *a);
/* bind_expr.c */
struct expr *bind_column(struct scope *s, struct bytes qualifier, struct bytes name, int position);
struct expr *bind_compare(struct sql_ctx *c, const char *op, struct expr *left, struct expr *right, int position);
struct expr *bind_junction(struct sql_ctx *c, enum fn_op op, struct expr **args, int n, int position);
/* WHEN/THEN pairs and the ELSE, to one type. */
struct expr *bind_case(struct sql_ctx *c, struct expr **args, int n, int position);

/* ---- expr.c: making and comparing expressions ---- */
struct expr *expr_new(struct sql_ctx *c, enum expr_kind kind, struct sql_type type, struct expr *const *args, int n,
                      int position);
struct expr *expr_call(struct sql_ctx *c, enum fn_op op, struct sql_type type, struct expr *const *args, int n,
                       int position);
struct expr *expr_column(struct sql_ctx *c, int column, struct sql_type type, int position);
struct expr *expr_literal(struct sql_ctx *c, struct sql_value value, struct sql_type type, int position);
struct expr *expr_i64(struct sql_ctx *c, enum sql_kind kind, int64_t value, int position);
struct expr *expr_string(struct sql_ctx *c, const char *value, int position);
struct expr *expr_null(struct sql_ctx *c, struct sql_type type, int position);
void *expr_too_large(struct sql_ctx *c, int position); /* fails */
bool expr_equal(const struct expr *a, const struct expr *b);
/* Sets mark[column] for every column read. */
void expr_mark(const struct expr *e, bool *mark, int n);

/* ---- functions.c: which operation, which casts ---- */
/* A call of an operation by its name in fn.def. NULL: failed. `shown` is the name for messages. */
struct expr *fn_resolve(struct sql_ctx *c, const char *name, const char *shown, struct expr **args, int n,
                        int position);
/* The name as fn.def spells it; NULL: there is none that users may call. Fills `s` with all names for a hint. */
const char *fn_find_name(struct sql_ctx *c, struct bytes name, struct suggest *s);
bool type_is_integer(struct sql_type t);
bool type_is_time(struct sql_type t); /* TIMESTAMP, TIMESTAMP_LTZ */
const char *type_shown(struct sql_ctx *c, struct sql_type t);

/* ---- cast.c ---- */
/* What both can become without loss. False: nothing. */
bool type_common(struct sql_type a, struct sql_type b, struct sql_type *out);
/* NULL: not possible (no error set). Keeps what already fits. */
struct expr *cast_implicit(struct sql_ctx *c, struct expr *e, struct sql_type to);
/* CAST(e AS to). NULL: failed. */
struct expr *cast_explicit(struct sql_ctx *c, struct expr *e, struct sql_type to, int position);
/* A string literal next to a timestamp or date becomes one. Others come back as they are. NULL: failed. */
struct expr *cast_time_literal(struct sql_ctx *c, struct expr *e, struct sql_type like);

/* ---- queries and definitions ---- */
struct relation *bind_select(struct binder *b, const struct select_ast *s);
struct relation *bind_table(struct binder *b, const struct table_ast *t); /* bind_table.c */
struct relation *relation_new(struct binder *b, struct plan *plan, struct bytes name);
/* GROUP BY TUMBLE(t, size) and its siblings: the relation with hidden window columns. */
struct relation *bind_group_window(struct binder *b, struct relation *input, const struct ast *call);
const char *window_name(enum window_kind kind); /* "HOP" */
/* An interval literal; `what` for messages. */
bool bind_interval(struct scope *s, const struct ast *a, const char *what, int64_t *us);
struct plan *plan_new(struct sql_ctx *c, enum plan_kind kind, struct plan *input, int n_columns);
void plan_set_rowtime(struct plan *p);
/* plan_prune.c: marks needed columns, and empties projections nobody reads. */
void plan_prune(struct sql_ctx *c, struct plan *root);
bool plan_check_weight(struct sql_ctx *c, const struct plan *root); /* false: failed */
/* bind_ddl.c */
struct stream_def *bind_create_stream(struct binder *b, const struct create_ast *create);
struct stream_def *bind_stream_of_query(struct binder *b, const struct create_ast *create, const struct relation *r);

/* render.c */
void expr_render(struct buf *out, const struct expr *e, const struct sql_column *columns, int n_columns);

#endif
