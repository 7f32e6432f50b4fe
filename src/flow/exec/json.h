/* json.h: the field-selective JSON decoder of the hot path: one record (an object) into one row of column vectors. One
 * thread per decoder. Rules, invariants and speed: json.c. */
#ifndef WEIR_FLOW_EXEC_JSON_H
#define WEIR_FLOW_EXEC_JSON_H

#include "flow/exec/vector.h"

struct json_field {
    struct bytes name;
    struct sql_type type;
    struct vector *out; /* of sql_phys(type.kind); clear has_nulls before the first row of a chunk */
};
struct json_decoder;
/* Fields are copied; everything lives in `arena`. */
struct json_decoder *json_decoder_create(const struct json_field *fields, int n, struct arena *arena);
/* Decodes `value` into row `row`. Strings are views into `value`, or into `strings` when they had escapes. False: a bad
 * row, and `error` (at least JSON_ERROR_MAX bytes) says what, which field and at which byte; the row's places are then
 * undefined. */
#define JSON_ERROR_MAX 240
MUST_USE bool json_decode(struct json_decoder *d, struct bytes value, int row, struct arena *strings, char *error);

#endif
