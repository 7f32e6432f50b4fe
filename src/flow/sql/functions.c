/* functions.c: from a name and arguments to the operation of fn.def: the first entry whose arguments fit exactly, else
 * the first that fits after implicit casts. */
#include "flow/sql/bind.h"

#include <stdio.h>

#include "base/text.h"

struct fn_info {
    const char *name;
    char result;
    const char *args, *flags;
};
static const struct fn_info fns[FN_COUNT] = {
#define FN(op, name, result, args, flags) [FN_##op] = {name, result, args, flags},
#include "flow/fn.def"
#undef FN
};

bool type_is_integer(struct sql_type t)
{
    return t.kind == SQL_INT || t.kind == SQL_BIGINT;
}

bool type_is_time(struct sql_type t)
{
    return t.kind == SQL_TIMESTAMP || t.kind == SQL_TIMESTAMP_LTZ;
}

const char *type_shown(struct sql_ctx *c, struct sql_type t)
{
    char *out = arena_alloc(c->arena, 48);
    t.not_null = false;
    if (t.kind == SQL_STRING) t.precision = 0; /* the length of a string is never what does not fit */
    return sql_type_text(t, out);
}

static struct sql_type type_of_letter(char letter)
{
    switch (letter) {
    case 'b': return (struct sql_type){.kind = SQL_BOOLEAN};
    case 'i': return (struct sql_type){.kind = SQL_BIGINT};
    case 'd': return (struct sql_type){.kind = SQL_DOUBLE};
    case 's': return (struct sql_type){.kind = SQL_STRING};
    case 't': return (struct sql_type){.kind = SQL_TIMESTAMP, .precision = 3};
    case 'l': return (struct sql_type){.kind = SQL_TIMESTAMP_LTZ, .precision = 3};
    case 'a': return (struct sql_type){.kind = SQL_DATE};
    case 'v': return (struct sql_type){.kind = SQL_INTERVAL, .precision = 3};
    default: return (struct sql_type){.kind = SQL_NULL};
    }
}

enum fit { FIT_NONE, FIT_CAST, FIT_EXACT };

static enum fit fit_letter(char letter, struct sql_type t)
{
    struct sql_type want = type_of_letter(letter);
    if (letter == '*' || t.kind == SQL_NULL || t.kind == want.kind) return FIT_EXACT;
    if (letter == 'i' && t.kind == SQL_INT) return FIT_EXACT;
    if (letter == 'd' && type_is_integer(t)) return FIT_CAST;
    if (letter == 't' && t.kind == SQL_DATE) return FIT_CAST;
    return FIT_NONE;
}

/* Letter of argument i; '\0': there is no such argument. */
static char letter_at(const char *args, int i)
{
    size_t length = strlen(args);
    if (length > 0 && args[length - 1] == '+') {
        size_t n = length - 1;
        return args[(size_t)i < n ? (size_t)i : n - 1];
    }
    return (size_t)i < length ? args[i] : '\0';
}

static bool count_fits(const char *args, int n)
{
    size_t length = strlen(args);
    if (length > 0 && args[length - 1] == '+') return n >= (int)length - 1;
    return n == (int)length;
}

static enum fit fit_all(const struct fn_info *f, struct expr **args, int n)
{
    enum fit worst = FIT_EXACT;
    if (!count_fits(f->args, n)) return FIT_NONE;
    for (int i = 0; i < n; i++) {
        enum fit fit = fit_letter(letter_at(f->args, i), args[i]->type);
        if (fit < worst) worst = fit;
    }
    return worst;
}

/* "(STRING, BIGINT)" */
static const char *signature(struct sql_ctx *c, const char *args)
{
    char out[200];
    size_t at = 0;

    at += (size_t)snprintf(out, sizeof(out), "(");
    for (size_t i = 0; args[i] != '\0' && at < sizeof(out); i++) {
        char text[48];
        struct sql_type t = type_of_letter(args[i]);
        if (args[i] == '+') {
            at += (size_t)snprintf(out + at, sizeof(out) - at, ", ...");
            continue;
        }
        t.precision = 0;
        if (type_is_time(t))
            (void)snprintf(text, sizeof(text), "%s", t.kind == SQL_TIMESTAMP ? "TIMESTAMP" : "TIMESTAMP_LTZ");
        else if (args[i] == '*')
            (void)snprintf(text, sizeof(text), "any");
        else
            (void)sql_type_text(t, text);
        at += (size_t)snprintf(out + at, sizeof(out) - at, "%s%s", i > 0 ? ", " : "", text);
    }
    return arena_printf(c->arena, "%s)", out);
}

static const char *argument_types(struct sql_ctx *c, struct expr **args, int n)
{
    const char *out = "";
    for (int i = 0; i < n && i < 6; i++) {
        const char *type = args[i]->type.kind == SQL_NULL ? "NULL" : type_shown(c, args[i]->type);
        out = i == 0 ? type : arena_printf(c->arena, "%s, %s", out, type);
    }
    return n > 6 ? arena_printf(c->arena, "%s, ...", out) : out;
}

static void *refuse(struct sql_ctx *c, const char *name, const char *shown, struct expr **args, int n, int position)
{
    const char *hint = NULL;
    bool is_count = false, is_operator = !(name[0] >= 'A' && name[0] <= 'Z') && name[0] != '$';

    for (int op = 0; op < FN_COUNT; op++) {
        if (strcmp(fns[op].name, name) != 0) continue;
        if (count_fits(fns[op].args, n)) is_count = true;
        hint = hint == NULL ? arena_printf(c->arena, "%s%s", shown, signature(c, fns[op].args))
                            : arena_printf(c->arena, "%s or %s", hint, signature(c, fns[op].args));
    }
    if (is_operator && n == 2) {
        bool has_string = args[0]->type.kind == SQL_STRING || args[1]->type.kind == SQL_STRING;
        hint = strcmp(name, "||") == 0 ? "CAST(x AS STRING) makes a string of a value"
               : has_string && name[0] == '+'
                   ? "strings are joined with ||; CAST(x AS BIGINT) makes a number of a string"
               : has_string ? "CAST(x AS BIGINT) makes a number of a string"
                            : NULL;
        return sql_fail(c, position, hint, "%s does not take %s and %s", shown, argument_types(c, &args[0], 1),
                        argument_types(c, &args[1], 1));
    }
    if (!is_count) return sql_fail(c, position, hint, "wrong number of arguments of %s: %d", shown, n);
    return sql_fail(c, position, hint, "%s does not take (%s)", shown, argument_types(c, args, n));
}

/* All "*" arguments to one type. */
static bool unify_any(struct sql_ctx *c, const struct fn_info *f, const char *shown, struct expr **args, int n,
                      struct sql_type *out)
{
    *out = (struct sql_type){.kind = SQL_NULL};
    for (int i = 0; i < n; i++) {
        struct sql_type both;
        if (letter_at(f->args, i) != '*') continue;
        if (!type_common(*out, args[i]->type, &both)) {
            sql_fail(c, args[i]->position, "CAST one of them", "the arguments of %s have no common type: %s and %s",
                     shown, type_shown(c, *out), type_shown(c, args[i]->type));
            return false;
        }
        *out = both;
    }
    if (out->kind == SQL_NULL) *out = (struct sql_type){.kind = SQL_BIGINT};
    return true;
}

static struct sql_type result_type(const struct fn_info *f, enum fn_op op, struct sql_type any, struct expr **args,
                                   int n)
{
    struct sql_type t = f->result == '*' ? any : type_of_letter(f->result);
    bool all = true, some = false, is_strict = strchr(f->flags, 'S') != NULL;
    int16_t precision = -1;

    for (int i = 0; i < n; i++) {
        struct sql_type a = args[i]->type;
        all = all && a.not_null;
        some = some || a.not_null;
        if ((type_is_time(a) || a.kind == SQL_INTERVAL) && a.precision > precision) precision = a.precision;
    }
    if (f->result != '*' && (type_is_time(t) || t.kind == SQL_INTERVAL) && precision >= 0) t.precision = precision;
    t.is_rowtime = false;
    t.not_null = is_strict ? all : false;
    if (op == FN_AND || op == FN_OR) t.not_null = all;
    if (op == FN_COALESCE) t.not_null = some;
    if (op == FN_IS_NULL || op == FN_IS_NOT_NULL || op == FN_IS_TRUE || op == FN_IS_FALSE) t.not_null = true;
    return t;
}

struct expr *fn_resolve(struct sql_ctx *c, const char *name, const char *shown, struct expr **args, int n, int position)
{
    int best = -1;
    enum fit best_fit = FIT_NONE;
    struct sql_type any = {.kind = SQL_NULL};
    const struct fn_info *f;

    for (int i = 0; i < n; i++) {
        if (args[i] == NULL) return NULL;
    }
    for (int op = 0; op < FN_COUNT; op++) {
        enum fit fit;
        if (strcmp(fns[op].name, name) != 0) continue;
        fit = fit_all(&fns[op], args, n);
        if (fit <= best_fit) continue;
        best = op;
        best_fit = fit;
    }
    if (best < 0) return refuse(c, name, shown, args, n, position);
    f = &fns[best];
    if (strchr(f->args, '*') != NULL && !unify_any(c, f, shown, args, n, &any)) return NULL;
    for (int i = 0; i < n; i++) {
        char letter = letter_at(f->args, i);
        struct sql_type to = letter == '*' ? any : type_of_letter(letter);
        if (type_is_time(to) || to.kind == SQL_INTERVAL) to.precision = args[i]->type.precision;
        args[i] = cast_implicit(c, args[i], to);
        if (args[i] == NULL) return c->failed ? NULL : refuse(c, name, shown, args, i, position);
    }
    return expr_call(c, (enum fn_op)best, result_type(f, (enum fn_op)best, any, args, n), args, n, position);
}

const char *fn_find_name(struct sql_ctx *c, struct bytes name, struct suggest *s)
{
    for (int op = 0; op < FN_COUNT; op++) {
        const char *known = fns[op].name;
        if (!(known[0] >= 'A' && known[0] <= 'Z') || op == FN_AND || op == FN_OR || op == FN_NOT) continue;
        if (text_equal_nocase(name, bytes_str(known))) return known;
        suggest_add(s, bytes_str(known));
    }
    return NULL;
}
