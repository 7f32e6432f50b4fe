/* Aggregate states: update a chunk at a time, result, bytes and back.
 *
 * G1  Rows are added in row order, straight into the state: a sum of doubles does not depend on how rows were
 *     cut into chunks.
 * G2  NULLs do not count. An aggregate over no rows is NULL, COUNT is 0.
 * G3  Bytes of states are in the machine's order (little-endian wherever this runs); the engine's meta record
 *     versions them. */
#include "flow/exec/agg.h"

#include <math.h>

#include "base/buf.h"
#include "base/reader.h"

__extension__ typedef __int128 i128;

static enum sql_phys agg_phys(const struct agg *a)
{
    return sql_phys(a->arg ? a->arg->type.kind : SQL_BIGINT);
}

static inline void sum_add(struct agg_state *s, int64_t x)
{
    uint64_t lo = s->sum.lo + (uint64_t)x;
    s->sum.hi += (x < 0 ? -1 : 0) + (lo < (uint64_t)x);
    s->sum.lo = lo;
    s->count++;
}

/* NaN is above every number, as in PostgreSQL. */
static inline bool double_less(double a, double b)
{
    return isnan(b) ? !isnan(a) : a < b;
}

static void keep_string(struct group *g, struct agg_state *s, struct bytes v)
{
    if (s->count == 0) s->s.cap = 0;
    if (v.len > s->s.cap) {
        s->s.cap = (uint32_t)(v.len < 16 ? 16 : v.len * 2);
        s->s.ptr = arena_alloc(&g->slice->arena, s->s.cap);
    }
    if (v.len) memcpy(s->s.ptr, v.ptr, v.len);
    s->s.len = (uint32_t)v.len;
}

static void update_string(const struct vector *v, bool want_max, int index, const uint16_t *sel, int n,
                          struct group *const *of_row)
{
    int mask = v->is_const ? 0 : -1;
    for_rows(i, sel, n)
    {
        if (vector_is_null(v, i)) continue;
        struct agg_state *s = &of_row[i]->states[index];
        int c = s->count ? bytes_compare(v->s[i & mask], bytes_of(s->s.ptr, s->s.len)) : 0;
        if (s->count == 0 || (want_max ? c > 0 : c < 0)) keep_string(of_row[i], s, v->s[i & mask]);
        s->count++;
    }
}

/* for each row that is not NULL: x is its value, s its state. */
#define EACH(FIELD, BODY)                                                                                              \
    {                                                                                                                  \
        for_rows(i, sel, n)                                                                                            \
        {                                                                                                              \
            if (v->has_nulls && v->nulls[i & mask]) continue;                                                          \
            __typeof__(*v->FIELD) x = v->FIELD[i & mask];                                                              \
            struct agg_state *s = &of_row[i]->states[index];                                                           \
            BODY;                                                                                                      \
        }                                                                                                              \
        break;                                                                                                         \
    }

static void update_extreme(const struct vector *v, bool want_max, int index, const uint16_t *sel, int n,
                           struct group *const *of_row)
{
    int mask = v->is_const ? 0 : -1;
    switch (v->phys) {
    case PHYS_I64:
        if (want_max) EACH(i, s->i = s->count++ == 0 || x > s->i ? x : s->i)
        EACH(i, s->i = s->count++ == 0 || x < s->i ? x : s->i)
    case PHYS_F64:
        if (want_max) EACH(d, s->d = s->count++ == 0 || double_less(s->d, x) ? x : s->d)
        EACH(d, s->d = s->count++ == 0 || double_less(x, s->d) ? x : s->d)
    case PHYS_BOOL:
        if (want_max) EACH(b, s->i = s->count++ == 0 ? x != 0 : s->i | (x != 0))
        EACH(b, s->i = s->count++ == 0 ? x != 0 : s->i & (x != 0))
    case PHYS_STR: update_string(v, want_max, index, sel, n, of_row); break;
    }
}

void agg_update(const struct agg *a, int index, const struct vector *v, const uint16_t *sel, int n,
                struct group *const *of_row)
{
    int mask = v && v->is_const ? 0 : -1;
    switch (a->op) {
    case AGG_COUNT_STAR: for_rows(i, sel, n) of_row[i]->states[index].count++; break;
    case AGG_COUNT:
        if (v->has_nulls)
            for_rows(i, sel, n) of_row[i]->states[index].count += !v->nulls[i & mask];
        else
            for_rows(i, sel, n) of_row[i]->states[index].count++;
        break;
    case AGG_SUM_I:
    case AGG_AVG_I: EACH(i, sum_add(s, x))
    case AGG_SUM_D:
    case AGG_AVG_D: EACH(d, s->d += x; s->count++)
    case AGG_MIN:
    case AGG_MAX: update_extreme(v, a->op == AGG_MAX, index, sel, n, of_row); break;
    }
}

static void merge_extreme(const struct agg *a, struct group *g, struct agg_state *to, const struct agg_state *from)
{
    bool is_first = to->count == 0, want_max = a->op == AGG_MAX;
    int c = 0;
    switch (agg_phys(a)) {
    case PHYS_BOOL:
    case PHYS_I64: c = (from->i > to->i) - (from->i < to->i); break;
    case PHYS_F64: c = double_less(to->d, from->d) - double_less(from->d, to->d); break;
    case PHYS_STR:
        if (!is_first) c = bytes_compare(bytes_of(from->s.ptr, from->s.len), bytes_of(to->s.ptr, to->s.len));
        if (is_first || (want_max ? c > 0 : c < 0)) keep_string(g, to, bytes_of(from->s.ptr, from->s.len));
        return;
    }
    if (is_first || (want_max ? c > 0 : c < 0)) to->sum = from->sum;
}

void agg_merge(const struct agg *aggs, int n, struct group *to, const struct agg_state *from)
{
    for (int i = 0; i < n; i++) {
        struct agg_state *s = &to->states[i];
        if (from[i].count == 0) continue;
        switch (aggs[i].op) {
        case AGG_COUNT_STAR:
        case AGG_COUNT: break;
        case AGG_SUM_I:
        case AGG_AVG_I: {
            uint64_t lo = s->sum.lo + from[i].sum.lo;
            s->sum.hi += from[i].sum.hi + (lo < s->sum.lo);
            s->sum.lo = lo;
            break;
        }
        case AGG_SUM_D:
        case AGG_AVG_D: s->d += from[i].d; break;
        case AGG_MIN:
        case AGG_MAX: merge_extreme(&aggs[i], to, s, &from[i]); break;
        }
        s->count += from[i].count;
    }
}

bool agg_result(const struct agg *a, const struct agg_state *s, struct sql_value *out)
{
    out->kind = a->type.kind;
    out->is_null = false;
    if (a->op == AGG_COUNT_STAR || a->op == AGG_COUNT) {
        out->i = s->count;
        return true;
    }
    out->is_null = s->count == 0;
    if (out->is_null) return true;
    i128 sum = (i128)s->sum.hi * ((i128)1 << 64) + s->sum.lo; /* a shift of a negative number is undefined */
    switch (a->op) {
    case AGG_AVG_I:
    case AGG_SUM_I:
        if (a->op == AGG_AVG_I) sum /= s->count; /* truncates towards zero */
        out->i = (int64_t)sum;
        return sum >= INT64_MIN && sum <= INT64_MAX;
    case AGG_SUM_D: out->d = s->d; return true;
    case AGG_AVG_D: out->d = s->d / (double)s->count; return true;
    default: break;
    }
    switch (agg_phys(a)) {
    case PHYS_BOOL: out->b = s->i != 0; break;
    case PHYS_I64: out->i = s->i; break;
    case PHYS_F64: out->d = s->d; break;
    case PHYS_STR: out->s = bytes_of(s->s.ptr ? s->s.ptr : (const uint8_t *)"", s->s.len); break;
    }
    return true;
}

void agg_states_put(struct buf *out, const struct agg *aggs, int n, const struct agg_state *states)
{
    for (int i = 0; i < n; i++) {
        const struct agg_state *s = &states[i];
        bool extreme = aggs[i].op == AGG_MIN || aggs[i].op == AGG_MAX;
        buf_put_varint(out, s->count);
        if (aggs[i].op == AGG_COUNT_STAR || aggs[i].op == AGG_COUNT || s->count == 0) continue;
        if (extreme && agg_phys(&aggs[i]) == PHYS_STR) {
            buf_put_uvarint(out, s->s.len);
            buf_put(out, s->s.ptr, s->s.len);
        } else {
            uint8_t raw[16];
            memcpy(raw, &s->sum, 16);
            buf_put(out, raw, aggs[i].op == AGG_SUM_I || aggs[i].op == AGG_AVG_I ? 16 : 8);
        }
    }
}

bool agg_states_take(struct bytes *in, const struct agg *aggs, int n, struct agg_state *states, struct arena *strings)
{
    struct reader r = reader_of(*in);
    for (int i = 0; i < n; i++) {
        struct agg_state *s = &states[i];
        bool extreme = aggs[i].op == AGG_MIN || aggs[i].op == AGG_MAX;
        memset(s, 0, sizeof *s);
        s->count = reader_varint64(&r);
        if (aggs[i].op == AGG_COUNT_STAR || aggs[i].op == AGG_COUNT || s->count == 0) continue;
        if (extreme && agg_phys(&aggs[i]) == PHYS_STR) {
            struct bytes text = reader_take(&r, reader_uvarint32(&r));
            if (r.failed) break;
            s->s.cap = s->s.len = (uint32_t)text.len;
            s->s.ptr = arena_alloc(strings, text.len + 1);
            if (text.len) memcpy(s->s.ptr, text.ptr, text.len);
        } else {
            size_t size = aggs[i].op == AGG_SUM_I || aggs[i].op == AGG_AVG_I ? 16 : 8;
            struct bytes raw = reader_take(&r, size);
            if (!r.failed) memcpy(&s->sum, raw.ptr, size);
        }
    }
    *in = bytes_of(r.at, reader_left(&r));
    return !r.failed;
}

/* ---- keys: a tag byte (0: NULL), then 1 byte, 8 bytes, or length and text ---- */

void key_put(struct buf *out, const struct vector *v, int row)
{
    int at = v->is_const ? 0 : row;
    if (v->has_nulls && v->nulls[at]) {
        buf_put_u8(out, 0);
        return;
    }
    buf_put_u8(out, 1);
    switch (v->phys) {
    case PHYS_BOOL: buf_put_u8(out, v->b[at] != 0); break;
    case PHYS_I64: buf_put(out, &v->i[at], 8); break;
    case PHYS_F64: {
        double d = v->d[at];
        if (d == 0) d = 0; /* -0.0 is the same group */
        if (isnan(d)) d = NAN;
        buf_put(out, &d, 8);
        break;
    }
    case PHYS_STR:
        buf_put_uvarint(out, v->s[at].len);
        if (v->s[at].len) buf_put(out, v->s[at].ptr, v->s[at].len);
        break;
    }
}

bool key_take(struct bytes *key, enum sql_kind kind, struct sql_value *out)
{
    struct reader r = reader_of(*key);
    struct bytes raw;
    out->kind = kind;
    out->is_null = reader_u8(&r) == 0;
    if (!out->is_null) {
        switch (sql_phys(kind)) {
        case PHYS_BOOL: out->b = reader_u8(&r) != 0; break;
        case PHYS_I64:
            raw = reader_take(&r, 8);
            if (!r.failed) memcpy(&out->i, raw.ptr, 8);
            break;
        case PHYS_F64:
            raw = reader_take(&r, 8);
            if (!r.failed) memcpy(&out->d, raw.ptr, 8);
            break;
        case PHYS_STR:
            raw = reader_take(&r, reader_uvarint32(&r));
            out->s = bytes_of(raw.ptr ? raw.ptr : (const uint8_t *)"", raw.len);
            break;
        }
    }
    *key = bytes_of(r.at, reader_left(&r));
    return !r.failed;
}
