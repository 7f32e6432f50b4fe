/* Statements from text to rows: streams, bounded and continuous queries, SHOW, errors, backpressure. */
#include "flow/engine_world_test.h"

#define ORDERS                                                                                                         \
    "CREATE STREAM orders (id BIGINT, customer STRING, amount DOUBLE, t TIMESTAMP(3), WATERMARK FOR t AS t - "         \
    "INTERVAL '5' "                                                                                                    \
    "SECOND) WITH ('topic' = 'orders', 'format' = 'json');"

static void orders_put(struct world *w, int id, const char *customer, double amount, const char *time)
{
    char value[200];
    snprintf(value, sizeof value, "{\"id\":%d,\"customer\":\"%s\",\"amount\":%g,\"t\":\"2024-01-01 %s\"}", id, customer,
             amount, time);
    world_put(w, "orders", 0, 1000 + id, customer, value);
}

static void some_orders(struct world *w)
{
    orders_put(w, 1, "ann", 10, "00:00:01");
    orders_put(w, 2, "bob", 5.5, "00:00:02");
    orders_put(w, 3, "ann", 7, "00:00:12");
    orders_put(w, 4, "cid", 1, "00:00:25");
}

static void test_engine__statements_and_messages(void **state)
{
    struct world w;
    world_init(&w);
    assert_string_equal(world_run(&w, ORDERS), "# stream orders created over the new topic orders\n");
    assert_string_equal(world_run(&w, ORDERS), "! stream 'orders' exists\n");
    assert_string_equal(
        world_run(&w, "SHOW STREAMS"),
        "{\"name\":\"orders\",\"kind\":\"stream\",\"topic\":\"orders\",\"partitions\":1,\"columns\":4}\n");
    some_orders(&w);
    assert_string_equal(world_run(&w, "SHOW TOPICS; -- and nothing else\n"),
                        "{\"topic\":\"orders\",\"partitions\":1,\"records\":4}\n");
    assert_string_equal(
        world_run(&w, "DESCRIBE orders"),
        "{\"column\":\"id\",\"type\":\"BIGINT\",\"from\":\"field\",\"note\":null}\n"
        "{\"column\":\"customer\",\"type\":\"STRING\",\"from\":\"field\",\"note\":null}\n"
        "{\"column\":\"amount\",\"type\":\"DOUBLE\",\"from\":\"field\",\"note\":null}\n"
        "{\"column\":\"t\",\"type\":\"TIMESTAMP(3)\",\"from\":\"field\",\"note\":\"time attribute\"}\n");
    assert_non_null(strstr(world_run(&w, "EXPLAIN SELECT id FROM orders WHERE amount > 3"), "\"plan\""));
    assert_string_equal(world_run(&w, ""), "");
    assert_string_equal(world_run(&w, "  ; -- nothing\n ;"), "");
    world_restart(&w, false); /* definitions are loaded again */
    assert_string_equal(world_run(&w, "SELECT COUNT(*) AS n FROM orders"), "{\"n\":4}\n");
    assert_string_equal(world_run(&w, "DROP STREAM orders"),
                        "# stream orders dropped; topic orders and its records stay\n");
    assert_string_equal(world_run(&w, "SHOW STREAMS"), "");
    assert_string_equal(world_run(&w, "DROP STREAM IF EXISTS orders"),
                        "# stream orders does not exist; nothing was changed\n");
    world_deinit(&w);
}

static void test_engine__errors_have_their_place_in_the_script(void **state)
{
    struct world w;
    world_init(&w);
    assert_string_equal(world_run(&w, "SHOW STREAMS;\nSELECT x FROM nowhere;"), "! unknown stream 'nowhere'\n");
    assert_true(strncmp(world_run(&w, "SELECT"), "!", 1) == 0);
    struct buf big;
    buf_init(&big, 0);
    for (size_t i = 0; i <= LIMIT_SQL_BYTES_MAX; i++)
        buf_put_u8(&big, ' ');
    w.done = false;
    buf_clear(&w.out);
    engine_execute(w.engine, buf_bytes(&big), &w.sink, &w.now);
    while (!w.done)
        world_turn(&w);
    assert_string_equal(text_of(&w.out), "! the text is longer than 1024 KiB\n");
    buf_deinit(&big);
    world_deinit(&w);
}

static void test_engine__bounded_selects(void **state)
{
    struct world w;
    world_init(&w);
    world_run(&w, ORDERS);
    some_orders(&w);
    assert_string_equal(
        world_run(&w, "SELECT id, UPPER(customer) AS c, amount * 2 AS d FROM orders WHERE amount >= 5.5"),
        "{\"id\":1,\"c\":\"ANN\",\"d\":20}\n{\"id\":2,\"c\":\"BOB\",\"d\":11}\n{\"id\":3,\"c\":\"ANN\",\"d\":14}\n");
    assert_string_equal(world_run(&w, "SELECT customer, COUNT(*) AS n, SUM(amount) AS s FROM orders GROUP BY customer"),
                        "{\"customer\":\"ann\",\"n\":2,\"s\":17}\n{\"customer\":\"bob\",\"n\":1,\"s\":5.5}\n"
                        "{\"customer\":\"cid\",\"n\":1,\"s\":1}\n");
    assert_string_equal(world_run(&w, "SELECT id FROM orders ORDER BY amount DESC LIMIT 2"),
                        "{\"id\":1}\n{\"id\":3}\n");
    assert_string_equal(world_run(&w, "SELECT id FROM orders LIMIT 1"), "{\"id\":1}\n");
    assert_string_equal(
        world_run(&w, "SELECT window_start, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(t), INTERVAL '10' "
                      "SECOND)) GROUP BY window_start, window_end"),
        "{\"window_start\":\"2024-01-01 00:00:00.000\",\"n\":2}\n{\"window_start\":\"2024-01-01 "
        "00:00:10.000\",\"n\":1}\n"
        "{\"window_start\":\"2024-01-01 00:00:20.000\",\"n\":1}\n");
    world_put(&w, "orders", 0, 1, NULL, "{\"id\":\"x\"}");
    assert_string_equal(
        world_run(&w, "SELECT COUNT(id) AS n FROM orders"),
        "{\"n\":4}\n# 1 bad row was left out; the first: partition 0, offset 4: field \"id\" at byte 6: expected an "
        "integer\n");
    world_deinit(&w);
}

static void test_engine__continuous_selects_and_backpressure(void **state)
{
    struct world w;
    world_init(&w);
    world_run(&w, ORDERS);
    some_orders(&w);
    struct script *s = world_begin(&w, "SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer EMIT CHANGES");
    assert_non_null(s);
    assert_string_equal(
        text_of(&w.out),
        "{\"customer\":\"ann\",\"n\":2}\n{\"customer\":\"bob\",\"n\":1}\n{\"customer\":\"cid\",\"n\":1}\n");
    buf_clear(&w.out);
    w.is_full = true;
    orders_put(&w, 5, "bob", 2, "00:00:26");
    for (int i = 0; i < 10; i++)
        world_turn(&w);
    assert_string_equal(text_of(&w.out), "");
    w.is_full = false;
    engine_script_resume(w.engine, s);
    world_settle(&w);
    assert_string_equal(text_of(&w.out), "-{\"customer\":\"bob\",\"n\":1}\n{\"customer\":\"bob\",\"n\":2}\n");
    engine_script_cancel(w.engine, s);
    assert_false(w.done);
    assert_null(world_begin(&w, "SELECT id FROM orders LIMIT 3 EMIT CHANGES"));
    s = world_begin(&w, "SELECT id FROM orders WHERE id > 4 EMIT CHANGES");
    assert_non_null(s);
    engine_script_cancel(w.engine, s);
    world_deinit(&w);
}

/* EMIT FINAL: windows are closed by the watermark, and by idleness with no further event. */
static void test_engine__windows_close_by_watermark_and_idleness(void **state)
{
    struct world w;
    world_init(&w);
    world_run(&w, ORDERS);
    some_orders(&w);
    struct script *s =
        world_begin(&w, "SELECT window_end, SUM(amount) AS s FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(t), "
                        "INTERVAL '10' SECOND)) GROUP BY window_start, window_end EMIT FINAL");
    assert_non_null(s);
    /* newest row 00:00:25, minus 5 s: 00:00:20 closes two windows */
    assert_string_equal(text_of(&w.out), "{\"window_end\":\"2024-01-01 00:00:10.000\",\"s\":15.5}\n"
                                         "{\"window_end\":\"2024-01-01 00:00:20.000\",\"s\":7}\n");
    buf_clear(&w.out);
    world_advance(&w, 999);
    world_settle(&w);
    assert_string_equal(text_of(&w.out), "");
    assert_true(w.deadline <= w.now.mono_ns + 2000000); /* the engine asks to be called when the time has come */
    world_advance(&w, 2);
    world_settle(&w);
    assert_string_equal(text_of(&w.out), "{\"window_end\":\"2024-01-01 00:00:30.000\",\"s\":1}\n");
    engine_script_cancel(w.engine, s);
    world_deinit(&w);
}

/* What is above an aggregate, below one, and around it. */
static void test_engine__scripts_subqueries_and_limits(void **state)
{
    struct world w;
    world_init(&w);
    world_run(&w, ORDERS);
    some_orders(&w);
    assert_string_equal(world_run(&w, "SELECT id FROM orders LIMIT 1; SELECT id FROM orders WHERE id = 4;"),
                        "{\"id\":1}\n{\"id\":4}\n");
    assert_string_equal(
        world_run(&w, "SELECT c, n FROM (SELECT customer AS c, COUNT(*) AS n FROM orders GROUP BY customer) "
                      "AS x WHERE n > 1"),
        "{\"c\":\"ann\",\"n\":2}\n");
    assert_string_equal(world_run(&w, "SELECT COUNT(*) AS n, SUM(amount) AS s FROM orders WHERE id > 100"),
                        "{\"n\":0,\"s\":null}\n");
    assert_string_equal(
        world_run(&w, "SELECT id FROM orders ORDER BY customer DESC, id LIMIT 2 OFFSET 1 -- EMIT CHANGES\n"),
        "{\"id\":2}\n{\"id\":1}\n");
    assert_string_equal(world_run(&w, "SELECT id FROM orders LIMIT 0"), "");
    assert_string_equal(world_run(&w,
                                  "CREATE OR REPLACE STREAM orders (id BIGINT) WITH ('topic' = 'orders', 'format' = "
                                  "'json'); SELECT * FROM orders LIMIT 1"),
                        "# stream orders created over topic orders\n{\"id\":1}\n");
    world_deinit(&w);
}

static void test_engine__state_is_bounded(void **state)
{
    struct world w;
    world_init(&w);
    world_run(&w, ORDERS);
    engine_destroy(w.engine);
    w.options.state_bytes_max = 200000;
    world_start(&w);
    for (int i = 0; i < 3000; i++) {
        char value[100];
        snprintf(value, sizeof value, "{\"id\":%d}", i);
        world_put(&w, "orders", 0, 1, NULL, value);
    }
    assert_non_null(
        strstr(world_run(&w, "SELECT id, COUNT(*) AS n FROM orders GROUP BY id"), "! the state of the query takes"));
    assert_string_equal(world_run(&w, "SELECT COUNT(*) AS n FROM orders"), "{\"n\":3000}\n");
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine__statements_and_messages),
        cmocka_unit_test(test_engine__errors_have_their_place_in_the_script),
        cmocka_unit_test(test_engine__bounded_selects),
        cmocka_unit_test(test_engine__continuous_selects_and_backpressure),
        cmocka_unit_test(test_engine__windows_close_by_watermark_and_idleness),
        cmocka_unit_test(test_engine__scripts_subqueries_and_limits),
        cmocka_unit_test(test_engine__state_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
