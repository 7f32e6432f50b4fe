/* Proves: what the INI file takes and refuses, the grammar of ranges and times, and that the table of commands is
 * sound: what the end to end test of the program (tests/cli) cannot reach cheaply. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/app_int.h"
#include "app/client.h"

#define NOW 1767225600000 /* 2026-01-01T00:00:00Z */

static void ini(const char *text, int line, const char *why_holds)
{
    char why[300];
    assert_int_equal(cli_check_ini(text, why, sizeof why), line);
    if (strstr(why, why_holds) == NULL) fail_msg("%s", why);
}

static void test_cli__ini_files(void **state)
{
    (void)state;
    ini("", 0, "");
    ini("# comment\n; comment\n\ndata = /var/lib/weir\nkafka=127.0.0.1:0\n", 0, "");
    ini("server = http://127.0.0.1:8080\n", 0, ""); /* of another command: one file serves them all */
    ini("data = x\ndatta = y\n", 2, "did you mean \"data\"?");
    ini("execute = SELECT 1\n", 1, "unknown key \"execute\""); /* no configuration: an argument of one call */
    ini("[weir]\ndata = x\n", 2, "no sections");
    ini("just words\n", 1, "key = value");
    ini("zzzzzzzzzzzzzz = 1\n", 1, "unknown key \"zzzzzzzzzzzzzz\"");
}

static void range(const char *text, enum bound_kind from, int64_t a, enum bound_kind to, int64_t b)
{
    struct bound f = {BOUND_NONE, 0}, t = {BOUND_NONE, 0};
    if (!consume_parse_range(text, NOW, &f, &t)) fail_msg("\"%s\" is refused", text);
    assert_int_equal(f.kind, from);
    assert_int_equal(f.value, a);
    assert_int_equal(t.kind, to);
    assert_int_equal(t.value, b);
}

static void test_cli__ranges(void **state)
{
    static const char *const bad[] = {
        "", "@", ":", "x", "1:x", "-", "+", "1:2:3", "@yesterday", "@:", "--1", "+-1", "99999999999999999999"};
    (void)state;
    range("start", BOUND_START, 0, BOUND_NONE, 0);
    range("end", BOUND_END, 0, BOUND_NONE, 0);
    range("7", BOUND_OFFSET, 7, BOUND_NONE, 0);
    range("+7", BOUND_AFTER_START, 7, BOUND_NONE, 0);
    range("-7", BOUND_BEFORE_END, 7, BOUND_NONE, 0);
    range("2:5", BOUND_OFFSET, 2, BOUND_OFFSET, 5);
    range("2:", BOUND_OFFSET, 2, BOUND_NONE, 0);
    range("start:-1", BOUND_START, 0, BOUND_BEFORE_END, 1);
    range("@5", BOUND_TIME, 5, BOUND_NONE, 0);
    range("@-10m", BOUND_TIME, NOW - 600000, BOUND_NONE, 0);
    range("@5:9", BOUND_TIME, 5, BOUND_TIME, 9);
    range("@-2h:-1h", BOUND_TIME, NOW - 7200000, BOUND_TIME, NOW - 3600000);
    range("@2026-01-01", BOUND_TIME, NOW, BOUND_NONE, 0);
    range("@2026-01-01T00:00:01", BOUND_TIME, NOW + 1000, BOUND_NONE, 0);
    range("@2026-01-01T00:00:01:2026-01-01T00:00:02", BOUND_TIME, NOW + 1000, BOUND_TIME, NOW + 2000);
    range("@2026-01-01T00:00:@2026-01-01T00:01", BOUND_TIME, NOW, BOUND_TIME, NOW + 60000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bound f, t;
        if (consume_parse_range(bad[i], NOW, &f, &t)) fail_msg("\"%s\" is taken", bad[i]);
    }
}

static void test_cli__every_command_is_described(void **state)
{
    (void)state;
    for (const struct cli_command *cmd = cli_commands; cmd->name != NULL; cmd++) {
        assert_non_null(cmd->run);
        assert_true(strlen(cmd->summary) > 5);
        assert_non_null(strstr(cmd->examples, "weir "));
        assert_true(cmd->min_args <= cmd->max_args);
        for (const struct cli_option *o = cmd->options; o->name != NULL; o++) {
            assert_true(strlen(o->help) > 5);
            for (const struct cli_option *other = o + 1; other->name != NULL; other++) {
                assert_string_not_equal(o->name, other->name);
                assert_true(o->letter == 0 || o->letter != other->letter);
            }
            assert_true(o->letter != 'h' && o->letter != 'J');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli__ini_files),
        cmocka_unit_test(test_cli__ranges),
        cmocka_unit_test(test_cli__every_command_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
