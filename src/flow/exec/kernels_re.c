/* LIKE and regular expressions.
 *
 * LIKE patterns of the forms 'x', 'x%', '%x' and '%x%' are comparisons; the rest is matched with one backtrack point
 * (the last %), which is enough for a language whose only repetition is "anything". Regular expressions are PCRE2:
 * compiled once per pattern, matched with bounded work, so that a bad pattern costs a bad row and not the engine. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "flow/exec/kernels.h"

#include <stdio.h>
#include <stdlib.h>

#include <pcre2.h>

#define MATCH_STEPS_MAX 200000u /* backtracking steps of one row; more: bad row */
#define MATCH_HEAP_KIB_MAX 4096u

/* ---- LIKE ---- */

static bool like_match(struct bytes s, struct bytes p, int escape)
{
    const uint8_t *at = s.ptr, *end = s.ptr + s.len, *pat = p.ptr, *pat_end = p.ptr + p.len;
    const uint8_t *star_pat = NULL, *star_at = NULL; /* behind the last %, and where its rest was tried */
    for (;;) {
        bool ok = false;
        if (pat < pat_end && *pat == '%' && *pat != escape) {
            star_pat = ++pat;
            star_at = at;
            continue;
        }
        if (pat == pat_end) {
            if (at == end) return true;
        } else if (at < end) {
            if (*pat == '_' && *pat != escape) {
                pat++;
                at = utf8_step(at, end);
                ok = true;
            } else {
                const uint8_t *c = *pat == escape && pat + 1 < pat_end ? pat + 1 : pat;
                ok = *c == *at;
                if (ok) {
                    pat = c + 1;
                    at++;
                }
            }
        }
        if (ok) continue;
        if (star_pat == NULL || star_at == end) return false;
        star_at = utf8_step(star_at, end);
        at = star_at;
        pat = star_pat;
    }
}

enum like_form { LIKE_EXACT, LIKE_PREFIX, LIKE_SUFFIX, LIKE_CONTAINS, LIKE_GENERAL };
static enum like_form like_classify(struct bytes p, struct bytes *text)
{
    bool first = p.len > 0 && p.ptr[0] == '%', last = p.len > (size_t)first && p.ptr[p.len - 1] == '%';
    *text = bytes_slice(p, first, p.len - first - last);
    if (memchr(text->ptr, '%', text->len) || memchr(text->ptr, '_', text->len)) return LIKE_GENERAL;
    return first ? (last ? LIKE_CONTAINS : LIKE_SUFFIX) : (last ? LIKE_PREFIX : LIKE_EXACT);
}

static bool like_simple(enum like_form form, struct bytes s, struct bytes t)
{
    if (s.len < t.len) return false;
    switch (form) {
    case LIKE_EXACT: return s.len == t.len && memcmp(s.ptr, t.ptr, t.len) == 0;
    case LIKE_PREFIX: return memcmp(s.ptr, t.ptr, t.len) == 0;
    case LIKE_SUFFIX: return memcmp(s.ptr + s.len - t.len, t.ptr, t.len) == 0;
    case LIKE_CONTAINS: return t.len == 0 || memmem(s.ptr, s.len, t.ptr, t.len) != NULL;
    case LIKE_GENERAL: break;
    }
    return false;
}

void kernel_LIKE(struct call *k)
{
    struct bytes text = BYTES_NULL;
    enum like_form form = k->a[1]->is_const ? like_classify(k->a[1]->s[0], &text) : LIKE_GENERAL;
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        k->out->b[i] = form == LIKE_GENERAL ? like_match(s, ARG_S(k, 1, i), -1) : like_simple(form, s, text);
    }
}

void kernel_LIKE_ESC(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes escape = ARG_S(k, 2, i), p = ARG_S(k, 1, i);
        if (escape.len != 1 || escape.ptr[0] >= 128) {
            row_fail(k, i, "ESCAPE takes one ASCII character");
            continue;
        }
        size_t last = p.len;
        while (last > 0 && p.ptr[last - 1] == escape.ptr[0])
            last--;
        if ((p.len - last) % 2 == 1)
            row_fail(k, i, "the LIKE pattern ends with its escape character");
        else
            k->out->b[i] = like_match(ARG_S(k, 0, i), p, escape.ptr[0]);
    }
}

/* ---- regular expressions ---- */

struct regex_cache {
    uint8_t *pattern; /* the compiled one; a copy */
    size_t pattern_len;
    pcre2_code *code; /* NULL: malformed, `error` says why */
    pcre2_match_data *match;
    pcre2_match_context *context;
    char error[160];
};

static pcre2_code *regex_compile(struct bytes pattern, char *error, size_t error_size)
{
    int number;
    PCRE2_SIZE at;
    PCRE2_UCHAR text[100];
    pcre2_code *code = pcre2_compile(pattern.ptr ? pattern.ptr : (const uint8_t *)"", pattern.len,
                                     PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &number, &at, NULL);
    if (code == NULL) {
        pcre2_get_error_message(number, text, sizeof text);
        snprintf(error, error_size, "bad regular expression at character %zu: %s", (size_t)at + 1, (const char *)text);
    }
    return code;
}

enum err_code regex_check(struct bytes pattern, struct err *e)
{
    char error[160];
    pcre2_code *code = regex_compile(pattern, error, sizeof error);
    if (code == NULL) return err_set(e, ERR_INVALID, "%s", error);
    pcre2_code_free(code);
    return ERR_NONE;
}

void regex_cache_destroy(struct regex_cache *r)
{
    if (r == NULL) return;
    pcre2_code_free(r->code);
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    free(r->pattern);
    free(r);
}

/* The cache of this node, holding `pattern`. */
static struct regex_cache *regex_for(struct call *k, struct bytes pattern)
{
    struct regex_cache *r = *k->regex;
    if (r && r->pattern_len == pattern.len && (pattern.len == 0 || memcmp(r->pattern, pattern.ptr, pattern.len) == 0))
        return r;
    regex_cache_destroy(r);
    r = calloc(1, sizeof *r);
    check(r != NULL);
    *k->regex = r;
    r->pattern = malloc(pattern.len + 1);
    check(r->pattern != NULL);
    if (pattern.len) memcpy(r->pattern, pattern.ptr, pattern.len);
    r->pattern_len = pattern.len;
    r->code = regex_compile(pattern, r->error, sizeof r->error);
    if (r->code == NULL) return r;
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs: only slower */
    r->match = pcre2_match_data_create_from_pattern(r->code, NULL);
    r->context = pcre2_match_context_create(NULL);
    check(r->match && r->context);
    pcre2_set_match_limit(r->context, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(r->context, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(r->context, MATCH_HEAP_KIB_MAX);
    return r;
}

/* > 0: matched, 0: not, < 0: the row has failed. */
static int regex_match(struct call *k, int row, struct bytes s, struct regex_cache *r)
{
    if (r->code == NULL) {
        row_failf(k, row, "%s", r->error);
        return -1;
    }
    int rc = pcre2_match(r->code, s.ptr ? s.ptr : (const uint8_t *)"", s.len, 0, 0, r->match, r->context);
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc >= 0) return rc == 0 ? 1 : rc;
    row_failf(k, row, "the regular expression gave up after %u steps", MATCH_STEPS_MAX);
    return -1;
}

void kernel_REGEXP(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->b[i] = regex_match(k, i, ARG_S(k, 0, i), regex_for(k, ARG_S(k, 1, i))) > 0;
}

void kernel_REGEXP_EXTRACT(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        if (arg_null(k, 0, i) || arg_null(k, 1, i) || arg_null(k, 2, i)) {
            out_null(k, i);
            continue;
        }
        struct bytes s = ARG_S(k, 0, i);
        struct regex_cache *r = regex_for(k, ARG_S(k, 1, i));
        int64_t group = ARG_I(k, 2, i);
        int groups = regex_match(k, i, s, r);
        if (groups < 0) continue;
        PCRE2_SIZE *at = groups > 0 ? pcre2_get_ovector_pointer(r->match) : NULL;
        if (groups == 0 || group < 0 || group >= groups || at[2 * group] == PCRE2_UNSET ||
            at[2 * group] > at[2 * group + 1])
            out_null(k, i);
        else
            k->out->s[i] = bytes_slice(s, at[2 * group], at[2 * group + 1] - at[2 * group]);
    }
}

/* As Flink: every match, and the replacement is taken literally. */
void kernel_REGEXP_REPLACE(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i), to = ARG_S(k, 2, i);
        struct regex_cache *r = regex_for(k, ARG_S(k, 1, i));
        int matched = regex_match(k, i, s, r);
        if (matched <= 0) {
            k->out->s[i] = s;
            continue;
        }
        PCRE2_SIZE size = s.len * 2 + to.len + 64;
        uint32_t flags = PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_LITERAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH;
        uint8_t *out = text_room(k, i, size);
        if (out == NULL) continue;
        int rc = pcre2_substitute(r->code, s.ptr, s.len, 0, flags, r->match, r->context,
                                  to.ptr ? to.ptr : (const uint8_t *)"", to.len, out, &size);
        if (rc == PCRE2_ERROR_NOMEMORY) {
            out = text_room(k, i, size);
            if (out == NULL) continue;
            rc = pcre2_substitute(r->code, s.ptr, s.len, 0, flags, r->match, r->context,
                                  to.ptr ? to.ptr : (const uint8_t *)"", to.len, out, &size);
        }
        if (rc < 0)
            row_failf(k, i, "the regular expression gave up after %u steps", MATCH_STEPS_MAX);
        else
            k->out->s[i] = bytes_of(out, size);
    }
}
