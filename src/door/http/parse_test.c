/* Proves: the head parser takes what curl and browsers send, refuses what two servers could read differently, needs
 * more at every cut, and never reads past its input (run under ASan with exact-size copies). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "door/http/parse.h"

static int parse(const char *text, struct http_head *h)
{
    return http_parse_head(bytes_str(text), h);
}

static void test_head__ordinary_request(void **state)
{
    struct http_head h;
    const char *text = "POST /v1/sql?format=events HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: text/plain\r\n"
                       "Content-Length: 12\r\nOrigin: http://localhost:8080\r\nAccept: */*\r\n\r\nSELECT 1;";
    (void)state;
    assert_int_equal(parse(text, &h), (int)(strstr(text, "\r\n\r\n") - text) + 4);
    assert_true(bytes_equal_str(h.method, "POST"));
    assert_true(bytes_equal_str(h.path, "/v1/sql"));
    assert_true(bytes_equal_str(h.query, "format=events"));
    assert_true(bytes_equal_str(h.host, "localhost:8080"));
    assert_true(bytes_equal_str(h.origin, "http://localhost:8080"));
    assert_int_equal(h.content_length, 12);
    assert_true(h.keep_alive);
    assert_false(h.chunked);
}

static void test_head__every_cut_needs_more(void **state)
{
    const char *text = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct http_head h;
    (void)state;
    for (size_t n = 0; n < strlen(text); n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, text, n);
        assert_int_equal(http_parse_head(bytes_of(exact, n), &h), 0);
        free(exact);
    }
    assert_int_equal(parse(text, &h), (int)strlen(text));
    assert_false(h.keep_alive);
}

static void test_head__refusals(void **state)
{
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400}, /* no Host */
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"GET / HTTX/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400}, /* not a proxy */
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},        /* blank before the colon */
        {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400}, /* bare LF */
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999999\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\r\n\r\n\r\n\r\n", 400},
    };
    struct http_head h;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(parse(cases[i].text, &h), -cases[i].status);
}

static void test_head__too_large_is_431_at_the_limit(void **state)
{
    struct http_head h;
    size_t n = LIMIT_HTTP_HEADER_BYTES_MAX;
    char *text = malloc(n + 1);
    const char *start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    (void)state;
    memset(text, 'x', n);
    memcpy(text, start, strlen(start));
    assert_int_equal(http_parse_head(bytes_of(text, n), &h), -431);
    memcpy(text + n - 4, "\r\n\r\n", 4);
    assert_int_equal(http_parse_head(bytes_of(text, n), &h), (int)n);
    free(text);
}

static void test_path__decoding(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 0);
    assert_true(http_decode_path(BYTES_LIT("/a%20b+c"), &b));
    assert_true(bytes_equal_str(buf_bytes(&b), "/a b+c"));
    assert_false(http_decode_path(BYTES_LIT("/a%2fb"), &b));
    assert_false(http_decode_path(BYTES_LIT("/a%00"), &b));
    assert_false(http_decode_path(BYTES_LIT("/a%4"), &b));
    buf_clear(&b);
    assert_true(http_query_get(BYTES_LIT("a=1&name=x+y%21"), "name", &b));
    assert_true(bytes_equal_str(buf_bytes(&b), "x y!"));
    assert_false(http_query_get(BYTES_LIT("nam=1"), "name", &b));
    buf_deinit(&b);
}

static void test_chunk__whole_cut_and_bad(void **state)
{
    struct buf b;
    bool done;
    const char *text = "5;ext=1\r\nhello\r\n";
    (void)state;
    buf_init(&b, 8);
    for (size_t n = 0; n < strlen(text); n++)
        assert_int_equal(http_parse_chunk(bytes_of(text, n), &b, &done), 0);
    assert_int_equal(http_parse_chunk(bytes_str(text), &b, &done), (int)strlen(text));
    assert_true(bytes_equal_str(buf_bytes(&b), "hello"));
    assert_false(done);
    assert_int_equal(http_parse_chunk(BYTES_LIT("0\r\n\r\n"), &b, &done), 5);
    assert_true(done);
    assert_int_equal(http_parse_chunk(BYTES_LIT("4\r\nmore\r\n"), &b, &done), -413);
    assert_int_equal(http_parse_chunk(BYTES_LIT("x\r\n"), &b, &done), -400);
    assert_int_equal(http_parse_chunk(BYTES_LIT("fffffffff\r\n"), &b, &done), -400);
    assert_int_equal(http_parse_chunk(BYTES_LIT("1\r\nab\r\n"), &b, &done), -400);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head__ordinary_request), cmocka_unit_test(test_head__every_cut_needs_more),
        cmocka_unit_test(test_head__refusals),         cmocka_unit_test(test_head__too_large_is_431_at_the_limit),
        cmocka_unit_test(test_path__decoding),         cmocka_unit_test(test_chunk__whole_cut_and_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
