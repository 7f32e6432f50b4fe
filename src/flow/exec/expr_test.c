/* Every operation of fn.def on random rows with NULLs: a chunk at once, a selection of it, and each row alone with its
 * arguments as constants give the same value, the same NULL and the same failure. Arithmetic and comparisons also
 * against plain C. Then what the branches promise: AND, OR, CASE, COALESCE and TRY. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "flow/exec/expr.h"

#define ROWS 300

static const struct {
    const char *name, *args, *flags;
    char result;
} ops[] = {
#define FN(op, name, result, args, flags) {#op, args, flags, result},
#include "flow/fn.def"
#undef FN
};

static uint64_t seed_state = 1;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed_state >> 33) % below;
}

static enum sql_kind kind_of(char letter)
{
    switch (letter) {
    case 'b': return SQL_BOOLEAN;
    case 'd': return SQL_DOUBLE;
    case 's': return SQL_STRING;
    case 't': return SQL_TIMESTAMP;
    case 'l': return SQL_TIMESTAMP_LTZ;
    case 'a': return SQL_DATE;
    case 'v': return SQL_INTERVAL;
    default: return SQL_BIGINT;
    }
}

static struct sql_value random_value(enum sql_kind kind)
{
    static const int64_t ints[] = {
        0, 1, -1, 2, 3, 7, -7, 100, INT64_MAX, INT64_MIN, INT64_MAX - 1, 1ll << 40, INT32_MAX, INT32_MIN};
    static const double doubles[] = {0, -0.0, 1, -1, 0.5, 2.5, -2.5, 1e10, -1e19, 1e300, 3.14159, 9.2e18};
    static const char *const strings[] = {"",
                                          "a",
                                          "abc",
                                          "ABC def",
                                          "\xc3\xa9t\xc3\xa9",
                                          "%b%",
                                          "a_c",
                                          "a%",
                                          "%c",
                                          "[0-9]+",
                                          "b+(c)",
                                          "HOUR",
                                          "MONTH",
                                          "week",
                                          "yyyy-MM-dd HH:mm",
                                          "12",
                                          "-3.5",
                                          "true",
                                          "2024-02-29 10:11:12",
                                          "(",
                                          "  x  ",
                                          "a,b,c",
                                          ",",
                                          "\xf0\x9f\x98\x80",
                                          "\\"};
    struct sql_value v = {.kind = kind, .is_null = chance(6) == 0};
    if (v.is_null) return v;
    switch (kind) {
    case SQL_BOOLEAN: v.b = chance(2); break;
    case SQL_DOUBLE: v.d = chance(3) ? doubles[chance(ARRAY_LEN(doubles))] : (double)chance(1000) / 8; break;
    case SQL_STRING: v.s = bytes_str(strings[chance(ARRAY_LEN(strings))]); break;
    case SQL_TIMESTAMP:
    case SQL_TIMESTAMP_LTZ:
        v.i = chance(20) ? 1700000000000000 + (int64_t)chance(1u << 31) * 40000 : -62135596800000000;
        break;
    case SQL_DATE: v.i = (int64_t)chance(40000) - 10000; break;
    default: v.i = chance(3) ? (int64_t)chance(20) - 5 : ints[chance(ARRAY_LEN(ints))]; break;
    }
    return v;
}

struct rig {
    struct arena arena, scratch;
    struct row_errors errors;
    struct eval eval;
    struct vector cols[4];
    struct sql_value values[4][ROWS];
    struct chunk chunk;
    struct row_origin origin[ROWS];
};
static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    arena_init(&r->arena, 1u << 20);
    arena_init(&r->scratch, 1u << 16);
    r->eval = (struct eval){.arena = &r->scratch, .errors = &r->errors};
}
static void rig_deinit(struct rig *r)
{
    arena_deinit(&r->arena);
    arena_deinit(&r->scratch);
}
static void rig_fill(struct rig *r, const enum sql_kind *kinds, int n)
{
    arena_reset(&r->arena);
    for (int c = 0; c < n; c++) {
        vector_init(&r->cols[c], sql_phys(kinds[c]), &r->arena);
        for (int i = 0; i < ROWS; i++) {
            r->values[c][i] = random_value(kinds[c]);
            vector_set(&r->cols[c], i, &r->values[c][i]);
        }
    }
    r->chunk = (struct chunk){.n_rows = ROWS, .n_cols = n, .cols = r->cols, .n_sel = ROWS, .origin = r->origin};
}

static struct expr *column(struct arena *a, int index, enum sql_kind kind)
{
    struct expr *e = arena_new(a, struct expr);
    *e = (struct expr){.kind = EXPR_COLUMN, .type.kind = kind, .column = index};
    e->type.precision = kind == SQL_TIMESTAMP || kind == SQL_TIMESTAMP_LTZ ? 3 : 0;
    return e;
}
static struct expr *literal(struct arena *a, const struct sql_value *v)
{
    struct expr *e = arena_new(a, struct expr);
    *e = (struct expr){.kind = EXPR_LITERAL, .type.kind = v->kind, .literal = *v};
    e->type.precision = v->kind == SQL_TIMESTAMP || v->kind == SQL_TIMESTAMP_LTZ ? 3 : 0;
    return e;
}
static struct expr *node(struct arena *a, enum expr_kind kind, enum fn_op op, enum sql_kind result, int n,
                         struct expr **args)
{
    struct expr *e = arena_new(a, struct expr);
    *e = (struct expr){.kind = kind, .op = op, .type.kind = result, .n_args = n};
    e->type.precision = result == SQL_TIMESTAMP || result == SQL_TIMESTAMP_LTZ ? 3 : 0;
    e->args = arena_array(a, (size_t)n, sizeof(struct expr *));
    memcpy(e->args, args, (size_t)n * sizeof(struct expr *));
    return e;
}

struct outcome {
    bool failed;
    struct sql_value v;
};
static struct outcome outcome_of(struct rig *r, const struct vector *v, int row, enum sql_kind kind)
{
    struct outcome o = {.failed = r->errors.flag[row]};
    if (!o.failed) vector_get(v, row, kind, &o.v);
    if (!o.failed && !o.v.is_null && v->phys == PHYS_STR) o.v.s = arena_copy(&r->arena, o.v.s);
    return o;
}
static bool same_outcome(const struct outcome *a, const struct outcome *b)
{
    if (a->failed || b->failed) return a->failed == b->failed;
    if (a->v.is_null || b->v.is_null) return a->v.is_null == b->v.is_null;
    switch (sql_phys(a->v.kind)) {
    case PHYS_BOOL: return a->v.b == b->v.b;
    case PHYS_I64: return a->v.i == b->v.i;
    case PHYS_F64: return memcmp(&a->v.d, &b->v.d, 8) == 0 || (a->v.d != a->v.d && b->v.d != b->v.d);
    case PHYS_STR: return bytes_equal(a->v.s, b->v.s);
    }
    return false;
}

/* Evaluates over (sel, n) and keeps each row's outcome. */
static void evaluate(struct rig *r, struct expr *e, const uint16_t *sel, int n, struct outcome *out)
{
    struct xnode *x = NULL;
    row_errors_clear(&r->errors);
    assert_int_equal(expr_compile(&x, e, &r->arena, NULL), ERR_NONE);
    const struct vector *v = expr_eval(x, &r->eval, &r->chunk, sel, n);
    for_rows(i, sel, n) out[i] = outcome_of(r, v, i, e->type.kind);
    expr_release(x);
}

static void check_op(struct rig *r, int op)
{
    static struct outcome whole[ROWS], part[ROWS], alone[ROWS];
    enum sql_kind kinds[4], result;
    int n = 0;
    char star = "isdbt"[chance(5)];
    struct expr *args[4], *constants[4];
    uint16_t sel[ROWS];
    for (const char *p = ops[op].args; *p; p++) {
        char letter = *p == '+' ? p[-1] : *p;
        for (int k = 0, times = *p == '+' ? (int)chance(2) : 1; k < times && n < 4; k++)
            kinds[n++] = kind_of(letter == '*' ? star : letter);
    }
    result = kind_of(ops[op].result == '*' ? star : ops[op].result);
    rig_fill(r, kinds, n);
    for (int c = 0; c < n; c++)
        args[c] = column(&r->arena, c, kinds[c]);
    struct expr *e = node(&r->arena, EXPR_CALL, (enum fn_op)op, result, n, args);
    evaluate(r, e, NULL, ROWS, whole);
    for (unsigned density = 2; density <= 20; density += 9) { /* dense and sparse selections take different loops */
        int m = 0;
        for (int i = 0; i < ROWS; i++)
            if (chance(density) == 0) sel[m++] = (uint16_t)i;
        evaluate(r, e, sel, m, part);
        for (int k = 0; k < m; k++)
            if (!same_outcome(&whole[sel[k]], &part[sel[k]]))
                fail_msg("%s: row %d of a selection differs", ops[op].name, sel[k]);
    }
    for (int i = 0; i < ROWS; i += 7) {
        uint16_t one = (uint16_t)i;
        unsigned mix = 1 + chance((1u << n) - 1); /* which arguments are constants */
        for (int c = 0; c < n; c++)
            constants[c] = mix >> c & 1 ? literal(&r->arena, &r->values[c][i]) : args[c];
        struct xnode *x = NULL;
        struct expr *with = node(&r->arena, EXPR_CALL, (enum fn_op)op, result, n, constants);
        if (expr_compile(&x, with, &r->arena, NULL) != ERR_NONE) continue; /* a constant pattern that is malformed */
        expr_release(x);
        evaluate(r, with, &one, 1, alone);
        if (!same_outcome(&whole[i], &alone[i])) fail_msg("%s: row %d with constants %u differs", ops[op].name, i, mix);
        if (i % 21 == 0) { /* all rows, against the constants */
            evaluate(r, with, NULL, ROWS, part);
            if (!same_outcome(&whole[i], &part[i]))
                fail_msg("%s: row %d dense with constants %u differs", ops[op].name, i, mix);
        }
    }
    if (ops[op].flags[0] != 'S') return;
    for (int i = 0; i < ROWS; i++) {
        bool any = false;
        for (int c = 0; c < n; c++)
            any = any || r->values[c][i].is_null;
        if (any && !whole[i].failed && !whole[i].v.is_null) fail_msg("%s is not strict", ops[op].name);
        if (!strchr(ops[op].flags, 'E') && whole[i].failed)
            fail_msg("%s may not fail: %s", ops[op].name, r->errors.text[i]);
    }
}

static void test_expr__every_op_is_the_same_in_every_shape(void **state)
{
    struct rig *r = malloc(sizeof *r);
    rig_init(r);
    for (int round = 0; round < 4; round++)
        for (int op = 0; op < FN_COUNT; op++)
            check_op(r, op);
    rig_deinit(r);
    free(r);
}

/* ---- against plain C ---- */

static struct outcome reference(enum fn_op op, const struct sql_value *a, const struct sql_value *b)
{
    struct outcome o = {.v.kind = SQL_BIGINT};
    if (a->is_null || b->is_null) {
        o.v.is_null = true;
        return o;
    }
    switch (op) {
    case FN_ADD_I: o.failed = __builtin_add_overflow(a->i, b->i, &o.v.i); break;
    case FN_SUB_I: o.failed = __builtin_sub_overflow(a->i, b->i, &o.v.i); break;
    case FN_MUL_I: o.failed = __builtin_mul_overflow(a->i, b->i, &o.v.i); break;
    case FN_DIV_I:
        o.failed = b->i == 0 || (a->i == INT64_MIN && b->i == -1);
        if (!o.failed) o.v.i = a->i / b->i;
        break;
    case FN_MOD_I:
        o.failed = b->i == 0;
        if (!o.failed) o.v.i = b->i == -1 ? 0 : a->i % b->i;
        break;
    default:
        o.v.kind = SQL_BOOLEAN;
        o.v.b = op == FN_EQ_I   ? a->i == b->i
                : op == FN_NE_I ? a->i != b->i
                : op == FN_LT_I ? a->i < b->i
                : op == FN_LE_I ? a->i <= b->i
                : op == FN_GT_I ? a->i > b->i
                                : a->i >= b->i;
    }
    return o;
}

static void test_expr__integers_match_plain_c(void **state)
{
    static const enum fn_op todo[] = {FN_ADD_I, FN_SUB_I, FN_MUL_I, FN_DIV_I, FN_MOD_I, FN_EQ_I,
                                      FN_NE_I,  FN_LT_I,  FN_LE_I,  FN_GT_I,  FN_GE_I};
    static struct outcome got[ROWS];
    struct rig *r = malloc(sizeof *r);
    rig_init(r);
    for (size_t k = 0; k < ARRAY_LEN(todo) * 5; k++) {
        enum fn_op op = todo[k % ARRAY_LEN(todo)];
        enum sql_kind kinds[2] = {SQL_BIGINT, SQL_BIGINT};
        rig_fill(r, kinds, 2);
        struct expr *args[2] = {column(&r->arena, 0, SQL_BIGINT), column(&r->arena, 1, SQL_BIGINT)};
        evaluate(r, node(&r->arena, EXPR_CALL, op, op >= FN_EQ_I ? SQL_BOOLEAN : SQL_BIGINT, 2, args), NULL, ROWS, got);
        for (int i = 0; i < ROWS; i++) {
            struct outcome want = reference(op, &r->values[0][i], &r->values[1][i]);
            if (!same_outcome(&want, &got[i])) fail_msg("%s row %d", ops[op].name, i);
        }
    }
    rig_deinit(r);
    free(r);
}

/* ---- branches ---- */

/* 10 / x > 1 */
static struct expr *ten_over_x_is_large(struct arena *a, struct expr *x)
{
    struct sql_value ten = {.kind = SQL_BIGINT, .i = 10}, one = {.kind = SQL_BIGINT, .i = 1};
    struct expr *div[2] = {literal(a, &ten), x}, *gt[2];
    gt[0] = node(a, EXPR_CALL, FN_DIV_I, SQL_BIGINT, 2, div);
    gt[1] = literal(a, &one);
    return node(a, EXPR_CALL, FN_GT_I, SQL_BOOLEAN, 2, gt);
}

static void test_expr__branches_run_only_where_needed(void **state)
{
    static struct outcome got[ROWS];
    struct rig *r = malloc(sizeof *r);
    enum sql_kind kind = SQL_BIGINT;
    struct sql_value zero = {.kind = SQL_BIGINT, .i = 0}, yes = {.kind = SQL_BOOLEAN, .b = true};
    rig_init(r);
    rig_fill(r, &kind, 1);
    struct arena *a = &r->arena;
    struct expr *x = column(a, 0, SQL_BIGINT), *ne[2] = {x, literal(a, &zero)};
    struct expr *guarded[2] = {node(a, EXPR_CALL, FN_NE_I, SQL_BOOLEAN, 2, ne), ten_over_x_is_large(a, x)};
    struct expr *eq = node(a, EXPR_CALL, FN_EQ_I, SQL_BOOLEAN, 2, ne), *or_args[2] = {eq, guarded[1]};
    struct expr *case_args[3] = {eq, literal(a, &yes), guarded[1]}, *try_args[1] = {guarded[1]};
    struct expr *shapes[4] = {
        node(a, EXPR_CALL, FN_AND, SQL_BOOLEAN, 2, guarded), node(a, EXPR_CALL, FN_OR, SQL_BOOLEAN, 2, or_args),
        node(a, EXPR_CASE, FN_COUNT, SQL_BOOLEAN, 3, case_args), node(a, EXPR_TRY, FN_COUNT, SQL_BOOLEAN, 1, try_args)};
    for (int s = 0; s < 4; s++) {
        evaluate(r, shapes[s], NULL, ROWS, got);
        for (int i = 0; i < ROWS; i++) {
            const struct sql_value *v = &r->values[0][i];
            bool large = !v->is_null && v->i != 0 && 10 / v->i > 1;
            assert_false(got[i].failed);
            if (v->is_null) {
                assert_true(got[i].v.is_null);
            } else if (v->i == 0) {
                assert_int_equal(got[i].v.is_null, s == 3);
                if (s < 3) assert_int_equal(got[i].v.b, s != 0);
            } else {
                assert_int_equal(got[i].v.b, large);
            }
        }
    }
    evaluate(r, guarded[1], NULL, ROWS, got); /* without a guard the rows with zero fail, and only those */
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(got[i].failed, !r->values[0][i].is_null && r->values[0][i].i == 0);
    rig_deinit(r);
    free(r);
}

static void test_expr__filter_keeps_true_rows(void **state)
{
    struct rig *r = malloc(sizeof *r);
    enum sql_kind kinds[2] = {SQL_BIGINT, SQL_BIGINT};
    struct xnode *x = NULL;
    uint16_t sel[ROWS], out[ROWS];
    rig_init(r);
    rig_fill(r, kinds, 2);
    struct expr *args[2] = {column(&r->arena, 0, SQL_BIGINT), column(&r->arena, 1, SQL_BIGINT)};
    assert_int_equal(expr_compile(&x, node(&r->arena, EXPR_CALL, FN_LT_I, SQL_BOOLEAN, 2, args), &r->arena, NULL),
                     ERR_NONE);
    int m = 0, n = 0;
    for (int i = 0; i < ROWS; i += 1 + (int)chance(3))
        sel[m++] = (uint16_t)i;
    int kept = expr_filter(x, &r->eval, &r->chunk, sel, m, out);
    for (int k = 0; k < m; k++) {
        const struct sql_value *v = &r->values[0][sel[k]], *w = &r->values[1][sel[k]];
        if (!v->is_null && !w->is_null && v->i < w->i) assert_int_equal(out[n++], sel[k]);
    }
    assert_int_equal(kept, n);
    expr_release(x);
    rig_deinit(r);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expr__every_op_is_the_same_in_every_shape),
        cmocka_unit_test(test_expr__integers_match_plain_c),
        cmocka_unit_test(test_expr__branches_run_only_where_needed),
        cmocka_unit_test(test_expr__filter_keeps_true_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
