/* Proves: everything weir.h promises, on ":memory:" with a manual clock (deterministic) and on a directory (reopen, two
 * opens). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/weir.h>

#define START_MS 1767225600000 /* 2026-01-01 */

static weir *open_memory(int partitions)
{
    struct weir_options o = {
        .size = sizeof o, .manual_clock = 1, .clock_start_ms = START_MS, .default_partitions = partitions};
    weir *w;
    assert_int_equal(weir_open(":memory:", &o, &w), WEIR_OK);
    return w;
}

static int64_t append(weir *w, const char *topic, const char *key, const char *value)
{
    int64_t offset = -1;
    int rc = weir_append(w, topic, key, key ? strlen(key) : 0, value, value ? strlen(value) : 0, &offset);
    if (rc != WEIR_OK) fail_msg("%s", weir_errmsg(w));
    return offset;
}

/* ---- collecting ---- */

struct seen {
    char text[4096];
    int n, fail_at; /* fail_at: the n-th call (from 1) refuses; 0: never */
    weir *append_to;
};

static int on_event(void *arg, const struct weir_event *e)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    if (s->fail_at != 0 && s->n + 1 == s->fail_at) {
        s->fail_at = 0;
        return WEIR_FAILED;
    }
    s->n++;
    snprintf(s->text + len, sizeof s->text - len, "%lld:%.*s=%.*s;", (long long)e->offset, (int)e->key_size,
             e->key ? (const char *)e->key : "", e->value ? (int)e->value_size : 6,
             e->value ? (const char *)e->value : "(null)");
    if (s->append_to != NULL) {
        assert_int_equal(weir_append(s->append_to, "copy", e->key, e->key_size, e->value, e->value_size, NULL),
                         WEIR_OK);
        assert_int_equal(weir_run(s->append_to, 0), WEIR_INVALID);
        assert_int_equal(weir_unsubscribe(s->append_to, "copier"), WEIR_INVALID);
    }
    return WEIR_OK;
}

static void on_row(void *arg, const char *json, size_t size)
{
    struct seen *s = arg;
    size_t len = strlen(s->text);
    s->n++;
    assert_int_equal(strlen(json), size);
    snprintf(s->text + len, sizeof s->text - len, "%s;", json);
}

static void expect_rows(weir *w, const char *sql, const char *rows)
{
    struct seen s = {0};
    if (weir_sql(w, sql, on_row, &s) != WEIR_OK) fail_msg("%s: %s", sql, weir_errmsg(w));
    assert_string_equal(s.text, rows);
}

/* ---- append and read ---- */

static void test_lib__append_and_read(void **state)
{
    weir *w = open_memory(0);
    struct seen s = {0};
    (void)state;
    assert_int_equal(append(w, "t", "a", "1"), 0);
    assert_int_equal(append(w, "t", NULL, "2"), 1);
    assert_int_equal(append(w, "t", "b", NULL), 2);
    assert_int_equal(weir_read(w, "t", 0, 0, 100, on_event, &s), WEIR_OK);
    assert_string_equal(s.text, "0:a=1;1:=2;2:b=(null);");
    memset(&s, 0, sizeof s);
    assert_int_equal(weir_read(w, "t", 0, 1, 2, on_event, &s), WEIR_OK);
    assert_string_equal(s.text, "1:=2;");
    memset(&s, 0, sizeof s);
    s.fail_at = 2;
    assert_int_equal(weir_read(w, "t", 0, 0, 100, on_event, &s), WEIR_FAILED);
    assert_int_equal(s.n, 1);
    assert_int_equal(weir_close(w), WEIR_OK);
}

static int check_headers(void *arg, const struct weir_event *e)
{
    int *n = arg;
    (*n)++;
    assert_int_equal(e->timestamp_ms, 12345);
    assert_int_equal(e->n_headers, 2);
    assert_string_equal(e->headers[0].key, "ce_type");
    assert_memory_equal(e->headers[0].value, "paid", 4);
    assert_int_equal(e->headers[0].size, 4);
    assert_string_equal(e->headers[1].key, "empty");
    assert_null(e->headers[1].value);
    return WEIR_OK;
}

static void test_lib__append_many(void **state)
{
    enum { N = 5000 };
    static struct weir_event events[N];
    static char keys[N][8];
    const struct weir_header headers[] = {{"ce_type", "paid", 4}, {"empty", NULL, 0}};
    size_t done = 99;
    int64_t next[4] = {0};
    int n = 0;
    weir *w = open_memory(4);
    (void)state;
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i % 50);
        events[i] = (struct weir_event){.topic = "many",
                                        .partition = -1,
                                        .key = keys[i],
                                        .key_size = strlen(keys[i]),
                                        .value = "some text of some length, so that several batches are needed",
                                        .value_size = 60};
    }
    assert_int_equal(weir_append_many(w, events, N, &done), WEIR_OK);
    assert_int_equal(done, N);
    for (int i = 0; i < N; i++) { /* every event says where it is, without gaps */
        assert_in_range(events[i].partition, 0, 3);
        assert_int_equal(events[i].offset, next[events[i].partition]++);
        if (i >= 50) assert_int_equal(events[i].partition, events[i - 50].partition);
    }
    events[0] = (struct weir_event){.topic = "h",
                                    .partition = 2,
                                    .value = "x",
                                    .value_size = 1,
                                    .timestamp_ms = 12345,
                                    .headers = headers,
                                    .n_headers = 2};
    assert_int_equal(weir_append_many(w, events, 1, NULL), WEIR_OK);
    assert_int_equal(weir_read(w, "h", 2, 0, 10, check_headers, &n), WEIR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(weir_close(w), WEIR_OK);
}

static void test_lib__the_first_failure_stops_append_many(void **state)
{
    struct weir_event events[3] = {{.topic = "good", .partition = -1, .value = "a", .value_size = 1},
                                   {.topic = "not/good", .partition = -1, .value = "b", .value_size = 1},
                                   {.topic = "good", .partition = -1, .value = "c", .value_size = 1}};
    size_t done = 99;
    weir *w = open_memory(0);
    (void)state;
    assert_int_equal(weir_append_many(w, events, 3, &done), WEIR_INVALID);
    assert_int_equal(done, 1);
    assert_non_null(strstr(weir_errmsg(w), "not/good"));
    events[0].partition = 7;
    assert_int_equal(weir_append_many(w, events, 1, &done), WEIR_NOT_FOUND);
    assert_int_equal(done, 0);
    events[0].topic = NULL;
    assert_int_equal(weir_append_many(w, events, 1, &done), WEIR_INVALID);
    assert_int_equal(append(w, "good", NULL, "after"), 1);
    assert_int_equal(weir_close(w), WEIR_OK);
}

/* ---- subscriptions ---- */

static void test_lib__subscriptions_deliver_in_order_and_again(void **state)
{
    weir *w = open_memory(0);
    struct seen s = {.fail_at = 2}, other = {0};
    (void)state;
    append(w, "t", "a", "1");
    append(w, "t", "b", "2");
    append(w, "t", "c", "3");
    assert_int_equal(weir_subscribe(w, "s", "t", on_event, &s), WEIR_OK);
    assert_int_equal(weir_subscribe(w, "s", "t", on_event, &s), WEIR_EXISTS);
    assert_int_equal(weir_run(w, -1), WEIR_FAILED);
    assert_string_equal(s.text, "0:a=1;");
    assert_int_equal(weir_run(w, -1), WEIR_OK); /* the refused one comes again */
    assert_string_equal(s.text, "0:a=1;1:b=2;2:c=3;");
    assert_int_equal(weir_run(w, 0), WEIR_OK);
    assert_int_equal(s.n, 3);
    append(w, "t", "d", "4");
    assert_int_equal(weir_run(w, -1), WEIR_OK);
    assert_int_equal(s.n, 4);
    /* Another name starts from the beginning, the same name where it stopped. */
    assert_int_equal(weir_subscribe(w, "other", "t", on_event, &other), WEIR_OK);
    assert_int_equal(weir_unsubscribe(w, "s"), WEIR_OK);
    assert_int_equal(weir_unsubscribe(w, "s"), WEIR_NOT_FOUND);
    assert_int_equal(weir_subscribe(w, "s", "t", on_event, &s), WEIR_OK);
    assert_int_equal(weir_run(w, -1), WEIR_OK);
    assert_int_equal(s.n, 4);
    assert_int_equal(other.n, 4);
    assert_int_equal(weir_close(w), WEIR_OK);
}

static void test_lib__a_callback_may_append(void **state)
{
    weir *w = open_memory(0);
    struct seen s = {.append_to = w}, copies = {0};
    (void)state;
    append(w, "t", "a", "1");
    append(w, "t", "b", "2");
    assert_int_equal(weir_subscribe(w, "copier", "t", on_event, &s), WEIR_OK);
    assert_int_equal(weir_run(w, -1), WEIR_OK);
    assert_int_equal(weir_read(w, "copy", 0, 0, 10, on_event, &copies), WEIR_OK);
    assert_string_equal(copies.text, "0:a=1;1:b=2;");
    assert_int_equal(weir_close(w), WEIR_OK);
}

/* ---- SQL and time ---- */

static void test_lib__windows_close_when_the_clock_moves(void **state)
{
    weir *w = open_memory(0);
    (void)state;
    append(w, "p", "c1", "{\"card\":\"c1\",\"amount\":40,\"at\":\"2026-01-01 00:00:01\"}");
    append(w, "p", "c1", "{\"card\":\"c1\",\"amount\":2,\"at\":\"2026-01-01 00:00:09\"}");
    append(w, "p", "c2", "{\"card\":\"c2\",\"amount\":5,\"at\":\"2026-01-01 00:00:12\"}");
    expect_rows(
        w,
        "CREATE STREAM p (card STRING, amount BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' SECOND);"
        "CREATE STREAM sums AS SELECT card, SUM(amount) AS total FROM "
        "TABLE(TUMBLE(TABLE p, DESCRIPTOR(at), INTERVAL '10' SECOND)) GROUP BY card, window_start, window_end;",
        "");
    assert_int_equal(weir_run(w, -1), WEIR_OK);
    expect_rows(w, "SELECT * FROM sums", "{\"card\":\"c1\",\"total\":42};");
    assert_int_equal(weir_clock_advance(w, 500), WEIR_OK);
    expect_rows(w, "SELECT * FROM sums", "{\"card\":\"c1\",\"total\":42};");
    assert_int_equal(weir_clock_advance(w, 60000), WEIR_OK);
    expect_rows(w, "SELECT * FROM sums", "{\"card\":\"c1\",\"total\":42};{\"card\":\"c2\",\"total\":5};");
    assert_int_equal(weir_clock_advance(w, -1), WEIR_INVALID);
    assert_int_equal(weir_close(w), WEIR_OK);
}

static void test_lib__sql_errors(void **state)
{
    weir *w = open_memory(0);
    (void)state;
    assert_int_equal(weir_sql(w, NULL, NULL, NULL), WEIR_INVALID);
    assert_int_equal(weir_sql(w, "SELEC 1", NULL, NULL), WEIR_INVALID);
    assert_non_null(strstr(weir_errmsg(w), "line 1, column 1"));
    assert_int_equal(weir_sql(w, "SELECT a FROM nothing", NULL, NULL), WEIR_NOT_FOUND);
    assert_non_null(strstr(weir_errmsg(w), "nothing"));
    assert_int_equal(weir_close(w), WEIR_OK);
}

/* ---- directories ---- */

static char *temporary(void)
{
    static char path[64];
    snprintf(path, sizeof path, P_tmpdir "/weir-lib-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_tree(const char *path)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static void test_lib__a_directory_is_kept(void **state)
{
    const char *dir = temporary();
    struct seen s = {0};
    weir *w, *second;
    (void)state;
    assert_int_equal(weir_open(dir, NULL, &w), WEIR_OK);
    append(w, "t", "a", "1");
    append(w, "t", "b", "2");
    assert_int_equal(weir_subscribe(w, "s", "t", on_event, &s), WEIR_OK);
    assert_int_equal(weir_run(w, -1), WEIR_OK);
    assert_int_equal(
        weir_sql(w, "CREATE STREAM n (i BIGINT); CREATE STREAM big AS SELECT i FROM n WHERE i > 10", NULL, NULL),
        WEIR_OK);
    append(w, "n", NULL, "{\"i\":50}");
    append(w, "n", NULL, "{\"i\":5}");
    assert_int_equal(weir_run(w, -1), WEIR_OK);

    assert_int_equal(weir_open(dir, NULL, &second), WEIR_BUSY);
    assert_non_null(strstr(weir_errmsg(second), "in use"));
    assert_int_equal(weir_run(second, 0), WEIR_INVALID);
    assert_int_equal(weir_append(second, "t", NULL, 0, "x", 1, NULL), WEIR_INVALID);
    assert_int_equal(weir_close(second), WEIR_OK);
    assert_int_equal(weir_close(w), WEIR_OK);

    memset(&s, 0, sizeof s);
    assert_int_equal(weir_open(dir, NULL, &w), WEIR_OK);
    assert_int_equal(append(w, "t", "c", "3"), 2);
    append(w, "n", NULL, "{\"i\":51}");
    assert_int_equal(weir_subscribe(w, "s", "t", on_event, &s), WEIR_OK);
    assert_int_equal(weir_run(w, 2000), WEIR_OK);
    assert_string_equal(s.text, "2:c=3;");
    expect_rows(w, "SELECT * FROM big", "{\"i\":50};{\"i\":51};");
    assert_int_equal(weir_clock_advance(w, 1), WEIR_INVALID);
    assert_int_equal(weir_close(w), WEIR_OK);
    remove_tree(dir);
}

static void test_lib__wrong_options(void **state)
{
    struct weir_options o = {.size = sizeof o, .durability = "perhaps"};
    weir *w;
    (void)state;
    assert_int_equal(weir_open("", NULL, &w), WEIR_INVALID);
    weir_close(w);
    assert_int_equal(weir_open(":memory:", &o, &w), WEIR_INVALID);
    assert_non_null(strstr(weir_errmsg(w), "perhaps"));
    weir_close(w);
    o.durability = "interval:50ms";
    o.default_partitions = -1;
    assert_int_equal(weir_open(":memory:", &o, &w), WEIR_INVALID);
    weir_close(w);
    assert_int_equal(weir_open("/proc/no/such/place", NULL, &w), WEIR_NOT_FOUND);
    assert_string_not_equal(weir_errmsg(w), "");
    weir_close(w);
    assert_int_equal(weir_open(NULL, NULL, NULL), WEIR_INVALID);
    assert_int_equal(weir_close(NULL), WEIR_OK);
    w = open_memory(0);
    assert_int_equal(weir_topic_create(w, "t", 3), WEIR_OK);
    assert_int_equal(weir_topic_create(w, "t", 3), WEIR_EXISTS);
    assert_int_equal(weir_topic_create(w, NULL, 3), WEIR_INVALID);
    assert_int_equal(weir_topic_create(w, "..", 1), WEIR_INVALID);
    assert_int_equal(weir_read(w, "t", 3, 0, 1, on_event, NULL), WEIR_NOT_FOUND);
    assert_int_equal(weir_read(w, "nothing", 0, 0, 1, on_event, NULL), WEIR_NOT_FOUND);
    assert_int_equal(weir_subscribe(w, "", "t", on_event, NULL), WEIR_INVALID);
    weir_close(w);
    assert_string_not_equal(weir_version(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lib__append_and_read),
        cmocka_unit_test(test_lib__append_many),
        cmocka_unit_test(test_lib__the_first_failure_stops_append_many),
        cmocka_unit_test(test_lib__subscriptions_deliver_in_order_and_again),
        cmocka_unit_test(test_lib__a_callback_may_append),
        cmocka_unit_test(test_lib__windows_close_when_the_clock_moves),
        cmocka_unit_test(test_lib__sql_errors),
        cmocka_unit_test(test_lib__a_directory_is_kept),
        cmocka_unit_test(test_lib__wrong_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
