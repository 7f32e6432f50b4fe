/* options.h: WITH ('key' = 'value', ...) of CREATE STREAM. */
#ifndef WEIR_FLOW_SQL_OPTIONS_H
#define WEIR_FLOW_SQL_OPTIONS_H

#include "flow/sql/ast.h"

/* Sets topic, start, idleness, partitions and key of `def`, whose name and columns are there. False: failed. */
bool bind_options(struct sql_ctx *c, const struct create_ast *create, struct stream_def *def);

#endif
