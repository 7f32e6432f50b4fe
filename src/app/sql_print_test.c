/* Proves: events of a server become the table or the JSON lines that a user sees, byte for byte; cells do not break
 * lines; errors show their caret as text and their place as JSON. Method: standard output and error are redirected to
 * files for each case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/sql_print.h"

static void show(bool json, const char *const *events, const char *want_out, const char *want_err)
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    int saved[2];
    char got[2][2048];
    struct sql_print p;

    for (int i = 0; i < 2; i++) {
        assert_non_null(files[i]);
        fflush(i == 0 ? stdout : stderr);
        saved[i] = dup(i + 1);
        dup2(fileno(files[i]), i + 1);
    }
    sql_print_init(&p, json, false);
    for (; *events != NULL; events++)
        sql_print_event(&p, bytes_str(*events));
    sql_print_end(&p);
    sql_print_deinit(&p);
    for (int i = 0; i < 2; i++) {
        fflush(i == 0 ? stdout : stderr);
        dup2(saved[i], i + 1);
        close(saved[i]);
        rewind(files[i]);
        got[i][fread(got[i], 1, sizeof got[i] - 1, files[i])] = 0;
        fclose(files[i]);
    }
    assert_string_equal(got[0], want_out);
    assert_string_equal(got[1], want_err);
}

static const char *const rows[] = {
    "{\"columns\":[{\"name\":\"n\",\"type\":\"BIGINT\"},{\"name\":\"name\",\"type\":\"STRING\"}]}",
    "{\"row\":{\"n\":1,\"name\":\"a\\nb\"},\"change\":1}",
    "{\"row\":{\"n\":1,\"name\":\"old\"},\"change\":-1}",
    "{\"row\":{\"n\":12345678901234567,\"name\":null},\"change\":1}",
    "{\"message\":\"stream s created\"}",
    NULL,
};

static void test_sql_print__table(void **state)
{
    (void)state;
    show(false, rows,
         "           n | name\n-------------+-----------------\n           1 | a b\n12345678901234567 | "
         "NULL\n"
         "(2 rows)\nstream s created\n",
         "");
}

static void test_sql_print__json_keeps_the_spelling(void **state)
{
    (void)state;
    show(true, rows, "{\"n\":1,\"name\":\"a\\nb\"}\n{\"n\":12345678901234567,\"name\":null}\n", "stream s created\n");
}

static void test_sql_print__errors(void **state)
{
    static const char *const events[] = {
        "{\"error\":{\"code\":\"invalid\",\"message\":\"m\",\"hint\":\"h\",\"line\":2,\"column\":3,\"rendered\":"
        "\"text\\n  ^\\n\"}}",
        NULL,
    };
    static const char *const rubbish[] = {"<html>", NULL};
    (void)state;
    show(false, events, "", "text\n  ^\n");
    show(true, events, "",
         "{\"error\":{\"code\":\"invalid\",\"message\":\"m\",\"hint\":\"h\",\"line\":2,\"column\":3}}\n");
    show(false, rubbish, "", "the server's answer was not understood\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sql_print__table),
        cmocka_unit_test(test_sql_print__json_keeps_the_spelling),
        cmocka_unit_test(test_sql_print__errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
