/* An error keeps code, place and a one-line text whatever is put into it, and callers may pass NULL everywhere. */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static void test_err__set_keeps_code_place_and_text(void **state)
{
    struct err e = {.hint = "old", .os_errno = 7};
    assert_int_equal(err_set(&e, ERR_CORRUPT, "batch at %d", 42), ERR_CORRUPT);
    assert_int_equal(e.code, ERR_CORRUPT);
    assert_int_equal(e.os_errno, 0);
    assert_string_equal(e.text, "batch at 42");
    assert_string_equal(e.hint, "");
    assert_non_null(strstr(e.file, "err_test.c"));
    assert_int_equal(e.line, __LINE__ - 6);
    err_hint(&e, "try %s", "again");
    assert_string_equal(e.hint, "try again");
    assert_string_equal(e.text, "batch at 42");
    err_clear(&e);
    assert_int_equal(e.code, ERR_NONE);
    assert_string_equal(e.text, "");
    assert_string_equal(e.hint, "");
}

static void test_err__null_is_allowed(void **state)
{
    assert_int_equal(err_set(NULL, ERR_FULL, "x"), ERR_FULL);
    assert_int_equal(err_set_os(NULL, ENOENT, "x"), ERR_NOT_FOUND);
    assert_int_equal(err_wrap(NULL, ERR_IO, "x"), ERR_IO);
    err_hint(NULL, "x");
    err_clear(NULL);
}

static void test_err__os_errors_map_and_name_the_reason(void **state)
{
    static const struct {
        int os;
        enum err_code code;
    } CASES[] = {{ENOSPC, ERR_NO_SPACE}, {EDQUOT, ERR_NO_SPACE},  {EACCES, ERR_DENIED},
                 {EPERM, ERR_DENIED},    {ENOENT, ERR_NOT_FOUND}, {EEXIST, ERR_EXISTS},
                 {ENOMEM, ERR_MEMORY},   {EIO, ERR_IO},           {EBADF, ERR_IO}};
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        assert_int_equal(err_set_os(&e, CASES[i].os, "opening %s", "f"), CASES[i].code);
        assert_int_equal(e.os_errno, CASES[i].os);
        assert_memory_equal(e.text, "opening f: ", 11);
        assert_true(strlen(e.text) > 11);
    }
    char path[1000];
    memset(path, 'p', sizeof path);
    path[999] = 0;
    assert_int_equal(err_set_os(&e, ENOENT, "%s", path), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, ": No such file or directory"));
}

static void test_err__wrap_prefixes_and_keeps_the_cause(void **state)
{
    struct err e = {0};
    assert_int_equal(err_set_os(&e, EIO, "reading"), ERR_IO);
    int line = e.line;
    assert_int_equal(err_wrap(&e, ERR_IO, "partition %d", 3), ERR_IO);
    assert_memory_equal(e.text, "partition 3: reading: ", 22);
    assert_int_equal(e.line, line);
    assert_int_equal(e.os_errno, EIO);
    /* Arguments may point into the error. */
    (void)err_set(&e, ERR_INVALID, "inner");
    (void)err_wrap(&e, ERR_INVALID, "%s", e.text);
    assert_string_equal(e.text, "inner: inner");
    /* A leaf that only returned a code. */
    err_clear(&e);
    assert_int_equal(err_wrap(&e, ERR_FULL, "appending"), ERR_FULL);
    assert_int_equal(e.code, ERR_FULL);
    assert_string_equal(e.text, "appending: full");
    /* Success passes through. */
    err_clear(&e);
    assert_int_equal(err_wrap(&e, ERR_NONE, "appending"), ERR_NONE);
    assert_string_equal(e.text, "");
}

static void test_err__text_is_cut_and_stays_on_one_line(void **state)
{
    struct err e = {0};
    char text[2000];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    (void)err_set(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    for (int i = 0; i < 5; i++)
        (void)err_wrap(&e, ERR_IO, "%s", text);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    (void)err_set(&e, ERR_IO, "a\nb\tc\n");
    assert_string_equal(e.text, "a b c");
}

static void test_err__every_code_has_a_name(void **state)
{
    for (int i = 0; i < ERR_CODE_COUNT; i++) {
        assert_non_null(err_name((enum err_code)i));
        assert_string_not_equal(err_name((enum err_code)i), "unknown");
        for (int j = 0; j < i; j++)
            assert_string_not_equal(err_name((enum err_code)i), err_name((enum err_code)j));
    }
    assert_string_equal(err_name(ERR_CODE_COUNT), "unknown");
    assert_true(err_is_retriable(ERR_NO_SPACE));
    assert_false(err_is_retriable(ERR_CORRUPT));
    assert_false(err_is_retriable(ERR_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err__set_keeps_code_place_and_text),
        cmocka_unit_test(test_err__null_is_allowed),
        cmocka_unit_test(test_err__os_errors_map_and_name_the_reason),
        cmocka_unit_test(test_err__wrap_prefixes_and_keeps_the_cause),
        cmocka_unit_test(test_err__text_is_cut_and_stays_on_one_line),
        cmocka_unit_test(test_err__every_code_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
