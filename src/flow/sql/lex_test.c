/* Proves that texts are cut into the right tokens, that scripts are split where the parser would end a statement, and
 * that texts outside of the language are refused with their place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "flow/sql/lex.h"

/* The tokens as text, kinds as letters. */
static void assert_tokens(const char *text, const char *want)
{
    static const char kinds[] = "EWQSIN";
    struct arena arena;
    struct sql_error e = {.position = -1};
    struct sql_ctx c = {.text = bytes_str(text), .arena = &arena, .e = &e};
    struct token *tokens;
    const char *got = "";
    int n = 0;

    arena_init(&arena, 0);
    tokens = lex(&c, &n);
    if (tokens == NULL) got = arena_printf(&arena, "%d: %s", e.position, e.err.text);
    for (int i = 0; tokens != NULL && i + 1 < n; i++) {
        struct bytes value = token_value(&c, &tokens[i]);
        if (tokens[i].kind == TOKEN_PUNCT)
            got = arena_printf(&arena, "%s%s%.*s", got, i > 0 ? " " : "", BYTES_ARG(value));
        else
            got = arena_printf(&arena, "%s%s%c:%.*s", got, i > 0 ? " " : "", kinds[tokens[i].kind], BYTES_ARG(value));
    }
    assert_string_equal(got, want);
    arena_deinit(&arena);
}

static void test_lex__tokens(void **state)
{
    (void)state;
    assert_tokens("", "");
    assert_tokens("SELECT a.b, 'it''s' FROM `a``b`", "W:SELECT W:a . W:b , S:it's W:FROM Q:a`b");
    assert_tokens("\"x \"\"y\"", "Q:x \"y");
    assert_tokens("1 12.5 .5 1e3 1.5E-7 7.", "I:1 N:12.5 N:.5 N:1e3 N:1.5E-7 N:7.");
    assert_tokens("a<>b<=c>=d!=e||f=>g->h", "W:a <> W:b <= W:c >= W:d != W:e || W:f => W:g -> W:h");
    assert_tokens("1-2 -- comment\n/* more */ + x$1", "I:1 - I:2 + W:x$1");
    assert_tokens("na\xC3\xAFve\xC2\xA0x", "W:na\xC3\xAFve W:x");
    assert_tokens("''", "S:");
    assert_tokens("\xEF\xBB\xBFSELECT", "W:SELECT");
}

static void test_lex__refuses_with_place(void **state)
{
    (void)state;
    assert_tokens("x 'abc", "2: string without closing quote");
    assert_tokens("x `abc", "2: quoted name without closing quote");
    assert_tokens("x /* abc", "2: comment without closing */");
    assert_tokens("a ``", "2: empty name");
    assert_tokens("a `b\nc`", "4: control character in a name");
    assert_tokens("12abc", "0: malformed number '12abc'");
    assert_tokens("1.2.3", "0: malformed number '1.2.3'");
    assert_tokens("a # b", "2: unexpected character '#'");
    assert_tokens("a \x01 b", "2: control character 0x01");
    assert_tokens("abc\xFF", "3: the text is not UTF-8");
    assert_tokens("a \xE2\x80\x9Cx", "2: typographic quote");
    assert_tokens("SELECT /*+ OPTIONS() */ 1", "7: a hint (/*+ ... */) is not supported yet");
}

static void test_split__ends_where_the_statement_ends(void **state)
{
    static const struct {
        const char *text;
        size_t length;
        bool is_blank;
    } rows[] = {
        {"", 0, true},
        {"  \n-- nothing ; here", 0, true},
        {";", 1, true},
        {" /* ; */ ;x", 10, true},
        {"SELECT 1;", 9, false},
        {"SELECT 1; SELECT 2;", 9, false},
        {"SELECT ';' ; x", 12, false},
        {"SELECT 'it''s;' ; x", 17, false},
        {"SELECT `;` ; x", 12, false},
        {"SELECT \";\" ; x", 12, false},
        {"SELECT -- ;\n1;", 14, false},
        {"SELECT 1", 0, false},
        {"SELECT 'open ;", 0, false},
        {"/* open ;", 0, false},
        {"SELECT /*+ x */ 1;", 18, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool is_blank = false;
        size_t n = sql_split(bytes_str(rows[i].text), &is_blank);
        if (n != rows[i].length || is_blank != rows[i].is_blank)
            fail_msg("'%s': %zu %d, expected %zu %d", rows[i].text, n, is_blank, rows[i].length, rows[i].is_blank);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lex__tokens),
        cmocka_unit_test(test_lex__refuses_with_place),
        cmocka_unit_test(test_split__ends_where_the_statement_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
