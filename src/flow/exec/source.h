/* source.h: records of a topic partition into chunks of a stream's columns. One thread. Records are borrowed until the
 * chunk is done: string columns and origins point into them. */
#ifndef WEIR_FLOW_EXEC_SOURCE_H
#define WEIR_FLOW_EXEC_SOURCE_H

#include "base/batch.h"
#include "flow/exec/window.h"
#include "flow/plan.h"

struct source;
typedef void (*source_bad_fn)(void *arg, const struct row_origin *o, const char *text);
/* For a PLAN_SCAN; decodes only what the plan needs. `scan` outlives the source. */
MUST_USE enum err_code source_create(struct source **out, const struct plan *scan, struct err *e);
void source_destroy(struct source *s);
void source_begin(struct source *s, int32_t partition); /* empties the chunk */
bool source_is_full(const struct source *s);
int source_count(const struct source *s);                  /* rows added since begin */
void source_add(struct source *s, const struct record *r); /* not full */
/* Computed columns, watermarks; rows that failed are reported and left out of the selection. NULL: no row was added. */
const struct chunk *source_finish(struct source *s, struct source_time *t, source_bad_fn bad, void *arg);

#endif
