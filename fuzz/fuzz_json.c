/* JSON rows: any bytes decode or fail with a reason, inside their memory, and the remembered key order changes nothing:
 * the same record decoded twice, and once by a decoder that has seen nothing, gives the same. */
#include <stdlib.h>

#include "flow/exec/json.h"
#include "fuzz.h"

enum { FIELDS = 7 };
static const struct {
    const char *name;
    struct sql_type type;
} fields[FIELDS] = {{"a", {.kind = SQL_BOOLEAN}},
                    {"b", {.kind = SQL_INT}},
                    {"c", {.kind = SQL_BIGINT, .not_null = true}},
                    {"d", {.kind = SQL_DOUBLE}},
                    {"e", {.kind = SQL_STRING, .precision = 9}},
                    {"time", {.kind = SQL_TIMESTAMP, .precision = 3}},
                    {"day", {.kind = SQL_DATE}}};

struct rig {
    struct vector cols[FIELDS];
    struct json_decoder *decoder;
};

static void rig_make(struct rig *r, struct arena *a)
{
    struct json_field f[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        vector_init(&r->cols[i], sql_phys(fields[i].type.kind), a);
        f[i] = (struct json_field){.name = bytes_str(fields[i].name), .type = fields[i].type, .out = &r->cols[i]};
    }
    r->decoder = json_decoder_create(f, FIELDS, a);
}

static void same(const struct rig *x, int row_x, const struct rig *y, int row_y)
{
    for (int i = 0; i < FIELDS; i++) {
        struct sql_value v, w;
        vector_get(&x->cols[i], row_x, fields[i].type.kind, &v);
        vector_get(&y->cols[i], row_y, fields[i].type.kind, &w);
        check(v.is_null == w.is_null);
        if (v.is_null) continue;
        switch (sql_phys(v.kind)) {
        case PHYS_BOOL: check(v.b == w.b); break;
        case PHYS_I64: check(v.i == w.i); break;
        case PHYS_F64: check(memcmp(&v.d, &w.d, 8) == 0); break;
        case PHYS_STR: check(bytes_equal(v.s, w.s)); break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena a, strings; /* memory only: reset, so that an input costs microseconds */
    struct rig seen, fresh;
    char first[JSON_ERROR_MAX] = "", second[JSON_ERROR_MAX] = "";
    if (a.block_size == 0) {
        arena_init(&a, 1u << 20);
        arena_init(&strings, 0);
    }
    arena_reset(&a);
    arena_reset(&strings);
    rig_make(&seen, &a);
    rig_make(&fresh, &a);
    uint8_t *copy = malloc(size ? size : 1); /* ends where the input ends */
    if (size) memcpy(copy, data, size);
    bool ok = json_decode(seen.decoder, bytes_of(copy, size), 0, &strings, first);
    check(json_decode(seen.decoder, bytes_of(copy, size), 1, &strings, second) == ok);
    check(ok || (first[0] != '\0' && strcmp(first, second) == 0));
    check(json_decode(fresh.decoder, bytes_of(copy, size), 0, &strings, second) == ok);
    if (ok) {
        same(&seen, 0, &seen, 1);
        same(&seen, 0, &fresh, 0);
    }
    free(copy);
    return 0;
}
