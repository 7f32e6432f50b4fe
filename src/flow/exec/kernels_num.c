/* Kernels over numbers, booleans and comparisons. The macros make one tight loop for each combination of column and
 * constant, which compilers turn into vector instructions; the loop over a selection is plain. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif
#include "flow/exec/kernels.h"

#include <math.h>

/* out.FR[i] = EXPR of x (a[0].FA) and y (a[1].FB). */
#define BINARY(NAME, FA, FB, FR, EXPR)                                                                                 \
    void kernel_##NAME(struct call *k)                                                                                 \
    {                                                                                                                  \
        const __typeof__(*k->out->FA) *restrict a = k->a[0]->FA;                                                       \
        const __typeof__(*k->out->FB) *restrict b = k->a[1]->FB;                                                       \
        __typeof__(*k->out->FR) *restrict r = k->out->FR;                                                              \
        int n = k->n;                                                                                                  \
        if (k->sel || (k->a[0]->is_const && k->a[1]->is_const)) {                                                      \
            int ma = call_mask(k, 0), mb = call_mask(k, 1);                                                            \
            for_rows(i, k->sel, n)                                                                                     \
            {                                                                                                          \
                __typeof__(*a) x = a[i & ma];                                                                          \
                __typeof__(*b) y = b[i & mb];                                                                          \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        } else if (k->a[0]->is_const) {                                                                                \
            __typeof__(*a) x = a[0];                                                                                   \
            for (int i = 0; i < n; i++) {                                                                              \
                __typeof__(*b) y = b[i];                                                                               \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        } else if (k->a[1]->is_const) {                                                                                \
            __typeof__(*b) y = b[0];                                                                                   \
            for (int i = 0; i < n; i++) {                                                                              \
                __typeof__(*a) x = a[i];                                                                               \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        } else {                                                                                                       \
            for (int i = 0; i < n; i++) {                                                                              \
                __typeof__(*a) x = a[i];                                                                               \
                __typeof__(*b) y = b[i];                                                                               \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
    }
/* out.FR[i] = EXPR of x (a[0].FA). */
#define UNARY(NAME, FA, FR, EXPR)                                                                                      \
    void kernel_##NAME(struct call *k)                                                                                 \
    {                                                                                                                  \
        const __typeof__(*k->out->FA) *restrict a = k->a[0]->FA;                                                       \
        __typeof__(*k->out->FR) *restrict r = k->out->FR;                                                              \
        if (k->sel || k->a[0]->is_const) {                                                                             \
            int ma = call_mask(k, 0);                                                                                  \
            for_rows(i, k->sel, k->n)                                                                                  \
            {                                                                                                          \
                __typeof__(*a) x = a[i & ma];                                                                          \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        } else {                                                                                                       \
            for (int i = 0; i < k->n; i++) {                                                                           \
                __typeof__(*a) x = a[i];                                                                               \
                r[i] = (EXPR);                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
    }
/* As UNARY, but rows where BAD holds fail with TEXT. */
#define UNARY_CHECKED(NAME, FA, FR, BAD, TEXT, EXPR)                                                                   \
    void kernel_##NAME(struct call *k)                                                                                 \
    {                                                                                                                  \
        int ma = call_mask(k, 0);                                                                                      \
        for_rows(i, k->sel, k->n)                                                                                      \
        {                                                                                                              \
            __typeof__(*k->out->FA) x = k->a[0]->FA[i & ma];                                                           \
            if (UNLIKELY(BAD))                                                                                         \
                row_fail(k, i, TEXT);                                                                                  \
            else                                                                                                       \
                k->out->FR[i] = (EXPR);                                                                                \
        }                                                                                                              \
    }
#define BINARY_CHECKED(NAME, FA, FB, FR, BAD, TEXT, EXPR)                                                              \
    void kernel_##NAME(struct call *k)                                                                                 \
    {                                                                                                                  \
        int ma = call_mask(k, 0), mb = call_mask(k, 1);                                                                \
        for_rows(i, k->sel, k->n)                                                                                      \
        {                                                                                                              \
            __typeof__(*k->out->FA) x = k->a[0]->FA[i & ma];                                                           \
            __typeof__(*k->out->FB) y = k->a[1]->FB[i & mb];                                                           \
            if (UNLIKELY(BAD))                                                                                         \
                row_fail(k, i, TEXT);                                                                                  \
            else                                                                                                       \
                k->out->FR[i] = (EXPR);                                                                                \
        }                                                                                                              \
    }

/* ---- arithmetic ---- */

static const char overflow[] = "integer overflow";

/* Addition and subtraction: one vectorised pass that gathers the overflow bit, and a second one that finds the rows
 * when it is set. */
#define OVERFLOWING(FUNCTION, BUILTIN, OP, BIT)                                                                        \
    static void FUNCTION(struct call *k)                                                                               \
    {                                                                                                                  \
        const int64_t *restrict a = k->a[0]->i, *restrict b = k->a[1]->i;                                              \
        int64_t *restrict r = k->out->i;                                                                               \
        int ma = call_mask(k, 0), mb = call_mask(k, 1), n = k->n;                                                      \
        if (k->sel == NULL && ma + mb != 0) {                                                                          \
            int64_t carry = 0;                                                                                         \
            if (ma && mb) {                                                                                            \
                for (int i = 0; i < n; i++) {                                                                          \
                    int64_t x = a[i], y = b[i], z = (int64_t)((uint64_t)x OP(uint64_t) y);                             \
                    carry |= (BIT);                                                                                    \
                    r[i] = z;                                                                                          \
                }                                                                                                      \
            } else if (ma) {                                                                                           \
                int64_t y = b[0];                                                                                      \
                for (int i = 0; i < n; i++) {                                                                          \
                    int64_t x = a[i], z = (int64_t)((uint64_t)x OP(uint64_t) y);                                       \
                    carry |= (BIT);                                                                                    \
                    r[i] = z;                                                                                          \
                }                                                                                                      \
            } else {                                                                                                   \
                int64_t x = a[0];                                                                                      \
                for (int i = 0; i < n; i++) {                                                                          \
                    int64_t y = b[i], z = (int64_t)((uint64_t)x OP(uint64_t) y);                                       \
                    carry |= (BIT);                                                                                    \
                    r[i] = z;                                                                                          \
                }                                                                                                      \
            }                                                                                                          \
            if (LIKELY(carry >= 0)) return;                                                                            \
        }                                                                                                              \
        for_rows(i, k->sel, n) if (UNLIKELY(BUILTIN(a[i & ma], b[i & mb], &r[i]))) row_fail(k, i, overflow);           \
    }
OVERFLOWING(add, __builtin_add_overflow, +, (x ^ z) & (y ^ z))
OVERFLOWING(subtract, __builtin_sub_overflow, -, (x ^ y) & (x ^ z))

static void multiply(struct call *k)
{
    const int64_t *a = k->a[0]->i, *b = k->a[1]->i;
    int ma = call_mask(k, 0), mb = call_mask(k, 1);
    for_rows(i, k->sel, k->n) if (UNLIKELY(__builtin_mul_overflow(a[i & ma], b[i & mb], &k->out->i[i])))
        row_fail(k, i, overflow);
}

#define ALIAS(NAME, FUNCTION)                                                                                          \
    void kernel_##NAME(struct call *k)                                                                                 \
    {                                                                                                                  \
        FUNCTION(k);                                                                                                   \
    }
ALIAS(ADD_I, add)
ALIAS(ADD_TV, add)
ALIAS(ADD_LV, add)
ALIAS(ADD_VV, add)
ALIAS(SUB_I, subtract)
ALIAS(SUB_TV, subtract)
ALIAS(SUB_LV, subtract)
ALIAS(SUB_TT, subtract)
ALIAS(SUB_LL, subtract)
ALIAS(MUL_I, multiply)
ALIAS(MUL_VI, multiply)

static void divide(struct call *k, bool rest)
{
    int ma = call_mask(k, 0), mb = call_mask(k, 1);
    for_rows(i, k->sel, k->n)
    {
        int64_t x = k->a[0]->i[i & ma], y = k->a[1]->i[i & mb];
        if (UNLIKELY(y == 0))
            row_fail(k, i, "division by zero");
        else if (UNLIKELY(y == -1)) { /* INT64_MIN / -1 traps */
            if (rest)
                k->out->i[i] = 0;
            else if (__builtin_sub_overflow((int64_t)0, x, &k->out->i[i]))
                row_fail(k, i, overflow);
        } else
            k->out->i[i] = rest ? x % y : x / y;
    }
}
void kernel_DIV_I(struct call *k)
{
    divide(k, false);
}
void kernel_MOD_I(struct call *k)
{
    divide(k, true);
}
void kernel_MOD_F(struct call *k)
{
    divide(k, true);
}
BINARY(ADD_D, d, d, d, x + y)
BINARY(SUB_D, d, d, d, x - y)
BINARY(MUL_D, d, d, d, x *y)
BINARY(DIV_D, d, d, d, x / y)
BINARY(MOD_D, d, d, d, fmod(x, y))
UNARY_CHECKED(NEG_I, i, i, x == INT64_MIN, overflow, -x)
UNARY(NEG_D, d, d, -x)

/* ---- comparison ---- */
BINARY(EQ_I, i, i, b, x == y)
BINARY(NE_I, i, i, b, x != y)
BINARY(LT_I, i, i, b, x < y)
BINARY(LE_I, i, i, b, x <= y)
BINARY(GT_I, i, i, b, x > y)
BINARY(GE_I, i, i, b, x >= y)
BINARY(EQ_D, d, d, b, x == y)
BINARY(NE_D, d, d, b, x != y)
BINARY(LT_D, d, d, b, x < y)
BINARY(LE_D, d, d, b, x <= y)
BINARY(GT_D, d, d, b, x > y)
BINARY(GE_D, d, d, b, x >= y)
BINARY(EQ_S, s, s, b, bytes_equal(x, y))
BINARY(NE_S, s, s, b, !bytes_equal(x, y))
BINARY(LT_S, s, s, b, bytes_compare(x, y) < 0)
BINARY(LE_S, s, s, b, bytes_compare(x, y) <= 0)
BINARY(GT_S, s, s, b, bytes_compare(x, y) > 0)
BINARY(GE_S, s, s, b, bytes_compare(x, y) >= 0)
BINARY(EQ_B, b, b, b, (x != 0) == (y != 0))
BINARY(NE_B, b, b, b, (x != 0) != (y != 0))

/* ---- math ---- */
UNARY_CHECKED(ABS_I, i, i, x == INT64_MIN, overflow, x < 0 ? -x : x)
UNARY(ABS_D, d, d, fabs(x))
UNARY(SIGN_I, i, i, (x > 0) - (x < 0))
UNARY(SIGN_D, d, d, (double)((x > 0) - (x < 0)))
UNARY(FLOOR_I, i, i, x)
UNARY(CEIL_I, i, i, x)
UNARY(FLOOR_D, d, d, floor(x))
UNARY(CEIL_D, d, d, ceil(x))
UNARY(ROUND_D, d, d, round(x)) /* half away from zero */
UNARY(TRUNC_D, d, d, trunc(x))

static double round_at(double x, int64_t digits)
{
    if (digits > 300 || !isfinite(x)) return x;
    if (digits < -300) return 0;
    double scale = pow(10, (double)(digits < 0 ? -digits : digits));
    double r = digits < 0 ? round(x / scale) * scale : round(x * scale) / scale;
    return isfinite(r) ? r : x;
}
BINARY(ROUND_DI, d, i, d, round_at(x, y))
BINARY(POWER, d, d, d, pow(x, y))
UNARY_CHECKED(SQRT, d, d, x < 0, "square root of a negative number", sqrt(x))
UNARY(EXP, d, d, exp(x))
UNARY_CHECKED(LN, d, d, x <= 0, "logarithm of a number that is not positive", log(x))
UNARY_CHECKED(LOG10, d, d, x <= 0, "logarithm of a number that is not positive", log10(x))

/* ---- casts between numbers ---- */
UNARY(CAST_I_D, i, d, (double)x)
UNARY_CHECKED(CAST_D_I, d, i, !(x >= -9223372036854775808.0 && x < 9223372036854775808.0),
              "the number does not fit BIGINT", (int64_t)x)
UNARY_CHECKED(CAST_I_INT, i, i, x<INT32_MIN || x> INT32_MAX, "the number does not fit INT", x)
UNARY(CAST_B_I, b, i, x != 0)
UNARY(CAST_I_B, i, b, x != 0)

/* ---- logic ---- */
UNARY(NOT, b, b, !x)

static void is_null(struct call *k, bool want)
{
    const struct vector *v = k->a[0];
    for_rows(i, k->sel, k->n) k->out->b[i] = vector_is_null(v, i) == want;
}
void kernel_IS_NULL(struct call *k)
{
    is_null(k, true);
}
void kernel_IS_NOT_NULL(struct call *k)
{
    is_null(k, false);
}
void kernel_IS_TRUE(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->b[i] = !arg_null(k, 0, i) && ARG_B(k, 0, i);
}
void kernel_IS_FALSE(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->b[i] = !arg_null(k, 0, i) && !ARG_B(k, 0, i);
}
/* Evaluated by expr.c. */
void kernel_AND(struct call *k)
{
    check(k == NULL);
}
void kernel_OR(struct call *k)
{
    check(k == NULL);
}
void kernel_COALESCE(struct call *k)
{
    check(k == NULL);
}

static int value_compare(const struct vector *a, int ia, const struct vector *b, int ib)
{
    switch (a->phys) {
    case PHYS_BOOL: return (a->b[ia] != 0) - (b->b[ib] != 0);
    case PHYS_I64: return (a->i[ia] > b->i[ib]) - (a->i[ia] < b->i[ib]);
    case PHYS_F64: return (a->d[ia] > b->d[ib]) - (a->d[ia] < b->d[ib]);
    case PHYS_STR: return bytes_compare(a->s[ia], b->s[ib]);
    }
    return 0;
}

static void value_copy(struct vector *out, int row, const struct vector *v, int at)
{
    switch (out->phys) {
    case PHYS_BOOL: out->b[row] = v->b[at]; break;
    case PHYS_I64: out->i[row] = v->i[at]; break;
    case PHYS_F64: out->d[row] = v->d[at]; break;
    case PHYS_STR: out->s[row] = v->s[at]; break;
    }
}

void kernel_NULLIF(struct call *k)
{
    int ma = call_mask(k, 0), mb = call_mask(k, 1);
    for_rows(i, k->sel, k->n)
    {
        bool null = arg_null(k, 0, i);
        if (null || (!arg_null(k, 1, i) && value_compare(k->a[0], i & ma, k->a[1], i & mb) == 0))
            out_null(k, i);
        else
            value_copy(k->out, i, k->a[0], i & ma);
    }
}

static void extreme(struct call *k, int sign)
{
    for_rows(i, k->sel, k->n)
    {
        int best = -1;
        for (int a = 0; a < k->n_args; a++) {
            if (arg_null(k, a, i)) {
                best = -1;
                break;
            }
            if (best < 0 || sign * value_compare(k->a[a], i & call_mask(k, a), k->a[best], i & call_mask(k, best)) > 0)
                best = a;
        }
        if (best < 0)
            out_null(k, i);
        else
            value_copy(k->out, i, k->a[best], i & call_mask(k, best));
    }
}
void kernel_GREATEST(struct call *k)
{
    extreme(k, 1);
}
void kernel_LEAST(struct call *k)
{
    extreme(k, -1);
}
