#include "flow/exec/vector.h"

static size_t phys_size(enum sql_phys p)
{
    return p == PHYS_BOOL ? 1 : p == PHYS_STR ? sizeof(struct bytes) : 8;
}

void vector_init(struct vector *v, enum sql_phys phys, struct arena *a)
{
    *v = (struct vector){.phys = phys};
    v->data = arena_array(a, LIMIT_CHUNK_ROWS, phys_size(phys));
    v->nulls = arena_array(a, LIMIT_CHUNK_ROWS, 1);
}

void vector_init_const(struct vector *v, enum sql_phys phys, const struct sql_value *value, struct arena *a)
{
    *v = (struct vector){.phys = phys, .is_const = true, .has_nulls = value->is_null};
    v->data = arena_alloc_zero(a, 16);
    v->nulls = arena_alloc_zero(a, 1);
    vector_set(v, 0, value);
}

void vector_set(struct vector *v, int row, const struct sql_value *value)
{
    v->nulls[row] = value->is_null;
    if (value->is_null) {
        v->has_nulls = true;
        return;
    }
    switch (v->phys) {
    case PHYS_BOOL: v->b[row] = value->b; break;
    case PHYS_I64: v->i[row] = value->i; break;
    case PHYS_F64: v->d[row] = value->d; break;
    case PHYS_STR: v->s[row] = value->s; break;
    }
}

void row_errors_clear(struct row_errors *r)
{
    if (r->count == 0) return;
    memset(r->flag, 0, sizeof r->flag);
    r->count = 0;
}
