/* sql_print.h: shows the events of a SQL script: a table with fixed column widths (rows appear as they come, so widths
 * cannot wait for the last), or one JSON object a row. Errors go to standard error. */
#ifndef WEIR_APP_SQL_PRINT_H
#define WEIR_APP_SQL_PRINT_H

#include "base/buf.h"
#include "flow/types.h"

#define SQL_PRINT_COLUMNS_MAX 256

struct sql_print {
    bool json, is_terminal;
    bool failed, write_failed;
    int n_columns;
    int width[SQL_PRINT_COLUMNS_MAX];
    bool right[SQL_PRINT_COLUMNS_MAX];
    uint64_t n_rows;
    bool in_rows;
    struct buf line;
};
void sql_print_init(struct sql_print *p, bool json, bool is_terminal);
void sql_print_deinit(struct sql_print *p);
/* From the engine. */
void sql_print_schema(struct sql_print *p, const struct sql_schema *schema);
void sql_print_row(struct sql_print *p, const struct sql_schema *schema, const struct sql_row *row);
void sql_print_message(struct sql_print *p, struct bytes text);
struct sql_print_fault {
    struct bytes code, text, hint /* may be null */;
    struct bytes rendered; /* the text with its caret line; null: `text` is shown */
    int line, column;      /* from 1; 0: the error has no place in the text */
};
void sql_print_error(struct sql_print *p, const struct sql_print_fault *f);
/* From a server: one line of POST /v1/sql?format=events, or an error answer. */
void sql_print_event(struct sql_print *p, struct bytes line);
/* The script is over: the row count of a table. */
void sql_print_end(struct sql_print *p);

#endif
