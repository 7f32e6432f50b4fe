/* ast.h: what the parser makes: statements as written, names not yet looked up. Lives in the arena of the statement. */
#ifndef WEIR_FLOW_SQL_AST_H
#define WEIR_FLOW_SQL_AST_H

#include "flow/sql/sql_int.h"

enum ast_kind {
    AST_NAME,        /* [qualifier.]name */
    AST_STAR,        /* * or qualifier.*: a select item, or the argument of COUNT */
    AST_LITERAL,     /* `value` of `type` */
    AST_OPERATOR,    /* `name` as in fn.def on args; AND and OR may have more than two */
    AST_CALL,        /* name(args) [FILTER (WHERE filter)] */
    AST_CASE,        /* [operand], args: when, then, ..., else (else only when has_else) */
    AST_CAST,        /* args[0] to `type`; is_try */
    AST_IN,          /* args[0] [NOT] IN (args[1..]) */
    AST_BETWEEN,     /* args[0] [NOT] BETWEEN args[1] AND args[2] */
    AST_IS_DISTINCT, /* args[0] IS [NOT] DISTINCT FROM args[1] */
};
struct ast {
    enum ast_kind kind;
    int position;
    int depth; /* of the tree below, at most LIMIT_SQL_DEPTH_MAX */
    struct bytes name, qualifier;
    struct ast **args;
    int n_args;
    struct ast *operand, *filter;
    struct sql_value value;
    struct sql_type type;
    bool is_not, is_try, is_distinct, has_else;
    bool is_quoted; /* a call by a quoted name is never a built-in syntax */
};

struct select_item {
    struct ast *expr;
    struct bytes alias; /* null: none */
    int position;
};
struct order_item {
    struct ast *expr;
    bool descending, nulls_first;
};

enum table_kind { TABLE_NAME, TABLE_SUBQUERY, TABLE_WINDOW };
struct table_ast {
    enum table_kind kind;
    int position;
    struct bytes name;
    struct bytes alias; /* null: none */
    struct select_ast *query;
    /* TABLE_WINDOW */
    int window; /* enum window_kind */
    struct table_ast *input;
    struct ast *time_column;          /* AST_NAME */
    struct ast *step, *size, *offset; /* step: not of TUMBLE; offset: NULL when not given */
};
struct cte_ast {
    struct bytes name;
    int position;
    struct select_ast *query;
};
struct select_ast {
    int position;
    struct sql_list ctes;  /* struct cte_ast */
    struct sql_list items; /* struct select_item */
    struct table_ast *from;
    struct ast *where, *having;
    struct sql_list group_by; /* struct ast */
    struct sql_list order_by; /* struct order_item */
    int order_position, limit_position;
    int64_t limit, skip; /* limit -1: none */
};

struct column_ast {
    struct bytes name;
    int position, type_position;
    enum column_source source;
    struct sql_type type;
    struct bytes metadata; /* null: the column's name */
    int metadata_position;
    struct ast *computed;
};
struct option_ast {
    struct bytes key, value;
    int key_position, value_position;
};
struct create_ast {
    struct bytes name;
    int position;
    bool has_columns;
    struct sql_list columns; /* struct column_ast */
    struct sql_list options; /* struct option_ast */
    struct sql_list key;     /* PRIMARY KEY: struct ast, names */
    struct bytes rowtime;    /* null: no WATERMARK FOR */
    int rowtime_position;
    struct ast *watermark;
};

struct statement_ast {
    enum statement_kind kind;
    int position;
    struct select_ast *select;
    struct create_ast *create;
    enum emit_mode emit;
    int emit_position;
    struct bytes name; /* DROP, DESCRIBE */
    int name_position;
    bool if_exists, if_not_exists, or_replace;
};

#endif
