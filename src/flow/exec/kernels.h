/* kernels.h: what expr.c and the kernels share. A kernel computes one operation for some rows. Private to exec/. */
#ifndef WEIR_FLOW_EXEC_KERNELS_H
#define WEIR_FLOW_EXEC_KERNELS_H

#include "flow/exec/expr.h"

struct regex_cache;
struct call {
    const struct vector *const *a; /* arguments; constant ones have one value */
    int n_args;
    struct vector *out;  /* never constant; nulls are set already for strict operations */
    const uint16_t *sel; /* rows to compute; NULL: 0 .. n - 1 */
    int n;
    struct eval *ev;
    const struct expr *expr;
    struct regex_cache **regex; /* of the node */
};
enum kernel_flags {
    KERNEL_DENSE = 1, /* may run over rows that are not selected or NULL: cannot fail, follows no pointers */
};
struct kernel {
    void (*run)(struct call *k);
    unsigned flags;
};
extern const struct kernel kernels[FN_COUNT];
/* The flags string of fn.def. */
extern const char *const fn_flags[FN_COUNT];

/* Room for n bytes of text. NULL: the row is bad, since the texts computed for its chunk would pass a bound; a few rows
 * of nested REPLACE must not take the server's memory and time. What a row's result is then does not matter. */
uint8_t *text_room(struct call *k, int row, size_t n);
/* Marks a row as bad. `text` is not copied. */
void row_fail(struct call *k, int row, const char *text);
void row_failf(struct call *k, int row, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Index masks: a constant's only value is at 0. */
static inline int call_mask(const struct call *k, int arg)
{
    return k->a[arg]->is_const ? 0 : -1;
}
static inline void out_null(struct call *k, int row)
{
    k->out->nulls[row] = 1;
    k->out->has_nulls = true;
}
static inline bool arg_null(const struct call *k, int arg, int row)
{
    return vector_is_null(k->a[arg], row);
}
/* Arguments by row, for kernels that are not about speed. */
#define ARG_B(k, j, row) ((k)->a[j]->b[(row)&call_mask(k, j)])
#define ARG_I(k, j, row) ((k)->a[j]->i[(row)&call_mask(k, j)])
#define ARG_D(k, j, row) ((k)->a[j]->d[(row)&call_mask(k, j)])
#define ARG_S(k, j, row) ((k)->a[j]->s[(row)&call_mask(k, j)])

/* Kernels by family; names are those of fn.def. */
#define KERNEL(name) void kernel_##name(struct call *k);
#define FN(op, text, result, args, flags) KERNEL(op)
#include "flow/fn.def"
#undef FN
#undef KERNEL

void regex_cache_destroy(struct regex_cache *r);
MUST_USE enum err_code regex_check(struct bytes pattern, struct err *e); /* compiles? */

/* UTF-8 by code points; malformed bytes count as one each and are never read past the end. */
size_t utf8_length(struct bytes s);
size_t utf8_offset(struct bytes s, size_t characters); /* byte offset behind so many characters; at most s.len */
static inline const uint8_t *utf8_step(const uint8_t *p, const uint8_t *end)
{
    p++;
    while (p < end && (*p & 0xc0) == 0x80)
        p++;
    return p;
}

#endif
