/* A broken invariant ends the process with SIGABRT and says where; a kept one costs nothing. Method: a child process
 * breaks one, and the parent reads its stderr. */
#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_check__broken_invariant_aborts_and_names_itself(void **state)
{
    int ends[2], status;
    char text[512] = {0};

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        int apples = 2;
        check(apples == 3);
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t r;
    while (n < sizeof text - 1 && (r = read(ends[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)r;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "check_test.c:"));
    assert_non_null(strstr(text, "apples == 3"));
}

static void test_check__kept_invariant_evaluates_once(void **state)
{
    int calls = 0;
    check(++calls == 1);
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check__broken_invariant_aborts_and_names_itself),
        cmocka_unit_test(test_check__kept_invariant_evaluates_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
