/* Proves what bound statements are: plans (as text), types, time attributes, emission, needed columns, and that a
 * definition made by a query reads back as the same definition. */
#include "flow/sql/test_catalog.h"

/* An expression over bid: how it is understood (rendered with the parentheses of its tree) and its type. */
static const struct {
    const char *text, *rendered, *type;
} expressions[] = {
    /* precedence */
    {"price + 1 * 2", "price + (1 * 2)", "BIGINT"},
    {"price - 1 - 2", "(price - 1) - 2", "BIGINT"},
    {"(price + 1) * -2", "(price + 1) * -2", "BIGINT"},
    {"NOT ok AND ok OR NOT ok", "(NOT ok AND ok) OR NOT ok", "BOOLEAN"},
    {"price = 1 IS NOT NULL", "(price = 1) IS NOT NULL", "BOOLEAN NOT NULL"},
    {"price BETWEEN 1 AND 2 AND ok", "((price >= 1) AND (price <= 2)) AND ok", "BOOLEAN"},
    {"NOT price + 1 > 2", "NOT ((price + 1) > 2)", "BOOLEAN"},
    {"-price * 2", "-price * 2", "BIGINT"},
    {"- - 5", "--5", "BIGINT NOT NULL"},
    {"channel || 'a' = 'ba'", "(channel || 'a') = 'ba'", "BOOLEAN"},
    /* types and implicit casts */
    {"price + rate", "CAST(price AS DOUBLE) + rate", "DOUBLE"},
    {"price / 2", "price / 2", "BIGINT"},
    {"price / 2.0", "CAST(price AS DOUBLE) / 2", "DOUBLE"},
    {"n + 1", "n + 1", "BIGINT"},
    {"n = 1.5", "CAST(n AS DOUBLE) = 1.5", "BOOLEAN"},
    {"day > ts", "CAST(day AS TIMESTAMP(3)) > ts", "BOOLEAN"},
    {"day = '2024-02-29'", "day = DATE '2024-02-29'", "BOOLEAN"},
    {"'2024-01-01 10:00:00.5' <= ts", "TIMESTAMP '2024-01-01 10:00:00.500' <= ts", "BOOLEAN"},
    {"NULL + 1", "NULL + 1", "BIGINT"},
    {"NULL = NULL", "NULL = NULL", "BOOLEAN"},
    {"COALESCE(n, price, 3)", "COALESCE(n, price, 3)", "BIGINT NOT NULL"},
    {"IFNULL(channel, '?')", "COALESCE(channel, '?')", "STRING NOT NULL"},
    {"GREATEST(n, 2.5)", "GREATEST(CAST(n AS DOUBLE), 2.5)", "DOUBLE"},
    {"NULLIF(price, 0)", "NULLIF(price, 0)", "BIGINT"},
    {"9223372036854775807", "9223372036854775807", "BIGINT NOT NULL"},
    {"-9223372036854775808", "-9223372036854775808", "BIGINT NOT NULL"},
    {"2147483648", "2147483648", "BIGINT NOT NULL"},
    {"1e2", "100", "DOUBLE NOT NULL"},
    /* time */
    {"ts - INTERVAL '1' DAY", "ts - INTERVAL '1' DAY", "TIMESTAMP(3)"},
    {"INTERVAL '90' MINUTE + ts", "ts + INTERVAL '90' MINUTE", "TIMESTAMP(3)"},
    {"day + INTERVAL '1 02:03:04.5' DAY TO SECOND", "CAST(day AS TIMESTAMP(0)) + INTERVAL '93784.500' SECOND",
     "TIMESTAMP(3)"},
    {"n * INTERVAL '1' HOUR", "INTERVAL '1' HOUR * n", "INTERVAL"},
    {"INTERVAL '1' HOUR - INTERVAL '1' MINUTE", "INTERVAL '1' HOUR + INTERVAL '-1' MINUTE", "INTERVAL NOT NULL"},
    {"ts - ts", "ts - ts", "INTERVAL"},
    {"TIMESTAMPDIFF(MINUTE, ts, ts)", "(ts - ts) / 60000000", "BIGINT"},
    {"TIMESTAMPADD(HOUR, n, ts)", "ts + (INTERVAL '1' HOUR * n)", "TIMESTAMP(3)"},
    {"EXTRACT(year FROM ts)", "EXTRACT(YEAR FROM ts)", "BIGINT"},
    {"DAYOFWEEK(day)", "EXTRACT(DOW FROM CAST(day AS TIMESTAMP(0)))", "BIGINT"},
    {"FLOOR(ts TO hour)", "FLOOR(ts TO HOUR)", "TIMESTAMP(3)"},
    {"CEIL(ts TO MINUTE)", "FLOOR(ts + INTERVAL '59.999999' SECOND TO MINUTE)", "TIMESTAMP(3)"},
    {"FLOOR(rate)", "FLOOR(rate)", "DOUBLE"},
    {"TO_TIMESTAMP_LTZ(price, 3)", "TO_TIMESTAMP_LTZ(price, 3)", "TIMESTAMP_LTZ(3)"},
    {"TO_TIMESTAMP_LTZ(price, 3) > ts", "TO_TIMESTAMP_LTZ(price, 3) > CAST(ts AS TIMESTAMP_LTZ(3))", "BOOLEAN"},
    {"TIMESTAMP '2024-01-01 00:00:00.25'", "TIMESTAMP '2024-01-01 00:00:00.25'", "TIMESTAMP(2) NOT NULL"},
    /* casts */
    {"CAST(price AS INT)", "CAST(price AS INT)", "INT"},
    {"CAST(n AS BIGINT)", "n", "BIGINT"},
    {"CAST(channel AS INT)", "CAST(CAST(channel AS BIGINT) AS INT)", "INT"},
    {"TRY_CAST(channel AS DOUBLE)", "TRY(CAST(channel AS DOUBLE))", "DOUBLE"},
    {"CAST(price AS VARCHAR(3))", "CAST(CAST(price AS STRING) AS VARCHAR(3))", "VARCHAR(3)"},
    {"CAST(NULL AS DOUBLE)", "NULL", "DOUBLE"},
    {"CAST('2024-01-01' AS DATE)", "DATE '2024-01-01'", "DATE NOT NULL"},
    {"CAST('soon' AS DATE)", "CAST('soon' AS DATE)", "DATE NOT NULL"},
    {"CAST(ts AS TIMESTAMP(0))", "FLOOR(ts TO SECOND)", "TIMESTAMP(0)"},
    {"CAST(ts AS DATE)", "CAST(ts AS DATE)", "DATE"},
    {"CAST(ok AS STRING)", "CAST(ok AS STRING)", "STRING"},
    /* forms */
    {"price IN (1, 2, 3)", "(price = 1) OR ((price = 2) OR (price = 3))", "BOOLEAN"},
    {"price NOT IN (1)", "NOT (price = 1)", "BOOLEAN"},
    {"price NOT BETWEEN 1 AND 2", "NOT ((price >= 1) AND (price <= 2))", "BOOLEAN"},
    {"channel LIKE 'a%'", "channel LIKE 'a%'", "BOOLEAN"},
    {"channel NOT LIKE 'a!%' ESCAPE '!'", "NOT LIKE(channel, 'a!%', '!')", "BOOLEAN"},
    {"ok IS NOT TRUE", "NOT ok IS TRUE", "BOOLEAN NOT NULL"},
    {"n IS NOT DISTINCT FROM 1", "(n = 1) IS TRUE OR (n IS NULL AND 1 IS NULL)", "BOOLEAN NOT NULL"},
    {"CASE channel WHEN 'a' THEN 1 ELSE 2.5 END", "CASE WHEN channel = 'a' THEN 1 ELSE 2.5 END", "DOUBLE NOT NULL"},
    {"CASE WHEN ok THEN 'x' END", "CASE WHEN ok THEN 'x' ELSE NULL END", "STRING"},
    {"IF(ok, price, NULL)", "CASE WHEN ok THEN price ELSE NULL END", "BIGINT"},
    {"SUBSTRING(channel FROM 2 FOR 3)", "SUBSTRING(channel, 2, 3)", "STRING"},
    {"substr(channel, 2)", "SUBSTRING(channel, 2)", "STRING"},
    {"POSITION('a' IN channel)", "POSITION('a', channel)", "BIGINT"},
    {"INSTR(channel, 'a')", "POSITION('a', channel)", "BIGINT"},
    {"TRIM(channel)", "TRIM(channel)", "STRING"},
    {"TRIM(LEADING FROM channel)", "LTRIM(channel)", "STRING"},
    {"TRIM(TRAILING '/' FROM channel)", "REGEXP_REPLACE(channel, '\\x{2f}+\\z', '')", "STRING"},
    {"MOD(price, 7)", "MOD(price, 7)", "BIGINT"},
    {"MOD(rate, 7)", "rate % 7", "DOUBLE"},
    {"LENGTH(channel)", "CHAR_LENGTH(channel)", "BIGINT"},
    {"CONCAT(channel, 'a', 'b')", "CONCAT(channel, 'a', 'b')", "STRING"},
    {"`price` + bid.n", "price + n", "BIGINT"},
};

static void test_expressions__bind_to_the_right_tree(void **state)
{
    struct test_catalog c;
    int failures = 0;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
        char text[300], want[300], type[48];
        struct statement *s;
        const char *got;

        (void)snprintf(text, sizeof(text), "SELECT %s AS x FROM bid", expressions[i].text);
        (void)snprintf(want, sizeof(want), "project %s AS x\n", expressions[i].rendered);
        got = plan_text(&c, text);
        s = bind_ok(&c, text);
        (void)sql_type_text(s->plan->columns[0].type, type);
        if (strncmp(got, want, strlen(want)) == 0 && strcmp(type, expressions[i].type) == 0) continue;
        print_error("%s\n  got  %s\n  %.*s\n  want %s\n  %s\n", expressions[i].text, type, (int)strcspn(got, "\n"), got,
                    expressions[i].type, want);
        failures++;
    }
    assert_int_equal(failures, 0);
    catalog_deinit(&c);
}

static const struct {
    const char *text, *plan;
} plans[] = {
    {"SELECT auction, price * 2 AS p FROM bid WHERE price > 100 AND channel LIKE 'a%'",
     "project auction, price * 2 AS p\n"
     "  filter (price > 100) AND (channel LIKE 'a%')\n"
     "    scan bid, topic bids: columns auction, price, channel, ts; watermark ts - INTERVAL '4' SECOND\n"},
    {"SELECT cents, pos FROM bid LIMIT 3 OFFSET 1",
     "limit 3 offset 1\n"
     "  project cents, pos\n"
     "    scan bid, topic bids: columns price, ts, pos, cents; watermark ts - INTERVAL '4' SECOND\n"},
    /* the filter goes below the window when it does not ask about it */
    {"SELECT window_start, COUNT(*) AS n, AVG(price) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' "
     "SECOND)) "
     "WHERE price > 5 GROUP BY window_start, window_end, auction HAVING COUNT(*) > 1",
     "project window_start, COUNT(*) AS n, AVG(price) AS EXPR$2\n"
     "  filter COUNT(*) > 1\n"
     "    aggregate per window: by window_start, window_end, auction; COUNT(*), AVG(price)\n"
     "      window TUMBLE on ts, size INTERVAL '10' SECOND\n"
     "        filter price > 5\n"
     "          scan bid, topic bids: columns auction, price, ts; watermark ts - INTERVAL '4' SECOND\n"},
    {"SELECT price FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '-10' MINUTE) w WHERE "
     "w.window_start > ts",
     "project price\n"
     "  filter window_start > ts\n"
     "    window TUMBLE on ts, size INTERVAL '1' HOUR, offset INTERVAL '50' MINUTE\n"
     "      scan bid, topic bids: columns price, ts; watermark ts - INTERVAL '4' SECOND\n"},
    {"SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE) AS s, channel, MAX(price) FILTER (WHERE ok) AS m FROM bid "
     "GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), channel",
     "project window_start AS s, channel, MAX(price) FILTER (WHERE ok) AS m\n"
     "  aggregate per window: by window_start, window_end, window_time, channel; MAX(price) FILTER (WHERE ok)\n"
     "    window TUMBLE on ts, size INTERVAL '1' MINUTE\n"
     "      scan bid, topic bids: columns price, channel, ts, ok; watermark ts - INTERVAL '4' SECOND\n"},
    /* sort keys that are not selected; an alias in ORDER BY; one aggregate for two uses */
    {"SELECT channel, COUNT(*) AS n FROM bid GROUP BY channel HAVING COUNT(*) > 1 ORDER BY n DESC, MAX(price) NULLS "
     "LAST",
     "project channel, n\n"
     "  sort by n DESC, MAX(price) NULLS LAST\n"
     "    project channel, COUNT(*) AS n, MAX(price)\n"
     "      filter COUNT(*) > 1\n"
     "        aggregate, updating: by channel; COUNT(*), MAX(price)\n"
     "          scan bid, topic bids: columns price, channel, ts; watermark ts - INTERVAL '4' SECOND\n"},
    /* an alias and an expression in GROUP BY; the expression is found inside of a larger one */
    {"SELECT FLOOR(ts TO HOUR) AS h, price % 2 + 1 AS x, SUM(price) FROM bid GROUP BY h, price % 2",
     "project FLOOR(ts TO HOUR) AS h, price % 2 + 1 AS x, SUM(price) AS EXPR$2\n"
     "  aggregate, updating: by FLOOR(ts TO HOUR), price % 2; SUM(price)\n"
     "    scan bid, topic bids: columns price, ts; watermark ts - INTERVAL '4' SECOND\n"},
    /* what a subquery gives and nobody reads is not computed, and its columns are not decoded */
    {"SELECT a FROM (SELECT auction AS a, bidder / 0 AS b, cents FROM bid)",
     "project a\n"
     "  project auction AS a, NULL AS b, NULL AS cents\n"
     "    scan bid, topic bids: columns auction, ts; watermark ts - INTERVAL '4' SECOND\n"},
    {"WITH w AS (SELECT * FROM bid), v AS (SELECT auction, price FROM w WHERE price > 2) SELECT SUM(price) FROM v",
     "project SUM(price) AS EXPR$0\n"
     "  aggregate, updating: SUM(price)\n"
     "    project NULL AS auction, price\n"
     "      filter price > 2\n"
     "        scan bid, topic bids: columns price, ts; watermark ts - INTERVAL '4' SECOND\n"},
    {"SELECT t.* FROM (SELECT k, t FROM ltz) t", "project k, t\n"
                                                 "  project k, t\n"
                                                 "    scan ltz, topic ltz: columns k, ms, t; watermark t\n"},
};

static void test_plans__as_text(void **state)
{
    struct test_catalog c;
    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(plans); i++)
        assert_string_equal(plan_text(&c, plans[i].text), plans[i].plan);
    catalog_deinit(&c);
}

/* Window keys, aggregates and key columns as the executor reads them. */
static void test_plans__windowed_aggregate(void **state)
{
    struct test_catalog c;
    const struct plan *p;

    (void)state;
    catalog_init(&c);
    p = bind_ok(
            &c,
            "SELECT COUNT(*), SUM(rate), AVG(n), COUNT(n), MIN(channel) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), "
            "INTERVAL '10' SECOND, INTERVAL '3' SECOND)) GROUP BY channel, window_end, window_start")
            ->plan->input;
    assert_int_equal(p->kind, PLAN_AGGREGATE);
    assert_int_equal(p->n_keys, 3);
    assert_int_equal(p->window_start_key, 2);
    assert_int_equal(p->window_end_key, 1);
    assert_int_equal(p->window_time_key, -1);
    assert_int_equal(p->window.size_us, 10000000);
    assert_int_equal(p->window.offset_us, 3000000);
    assert_int_equal(p->n_aggs, 5);
    assert_int_equal(p->aggs[0].op, AGG_COUNT_STAR);
    assert_null(p->aggs[0].arg);
    assert_int_equal(p->aggs[1].op, AGG_SUM_D);
    assert_int_equal(p->aggs[2].op, AGG_AVG_I);
    assert_int_equal(p->aggs[2].type.kind, SQL_BIGINT); /* truncated, as Flink */
    assert_int_equal(p->aggs[3].op, AGG_COUNT);
    assert_int_equal(p->aggs[4].op, AGG_MIN);
    assert_int_equal(p->aggs[4].type.kind, SQL_STRING);
    p = bind_ok(&c, "SELECT channel, COUNT(*) FROM bid GROUP BY channel")->plan->input;
    assert_int_equal(p->window_start_key, -1);
    catalog_deinit(&c);
}

/* A time attribute stays one only while it is passed on unchanged; above a window it is window_time. */
static void test_rowtime__is_kept_and_lost(void **state)
{
    static const struct {
        const char *text;
        int rowtime;
    } rows[] = {
        {"SELECT price, ts FROM bid", 1},
        {"SELECT ts AS x, price FROM bid", 0},
        {"SELECT ts + INTERVAL '1' SECOND AS ts FROM bid", -1},
        {"SELECT CAST(ts AS TIMESTAMP(3)) AS ts FROM bid", -1},
        {"SELECT COALESCE(ts, ts) AS ts FROM bid", -1},
        {"SELECT a, t FROM plain", -1},
        {"SELECT t FROM (SELECT k, t FROM ltz WHERE k = 'x')", 0},
        {"SELECT ts, window_start, window_time FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND))", 2},
        {"SELECT window_time, COUNT(*) FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND) "
         "GROUP BY window_start, window_end, window_time",
         0},
        {"SELECT window_end, COUNT(*) FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND) GROUP BY "
         "window_start, window_end",
         -1},
        {"SELECT TUMBLE_ROWTIME(ts, INTERVAL '1' SECOND), COUNT(*) FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)",
         0},
        {"SELECT ts, COUNT(*) FROM bid GROUP BY ts", -1},
    };
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int got = bind_ok(&c, rows[i].text)->plan->rowtime;
        if (got != rows[i].rowtime) fail_msg("%s: %d, expected %d", rows[i].text, got, rows[i].rowtime);
    }
    /* so windows can be put on windows */
    (void)bind_ok(&c, "SELECT window_start, MAX(n) FROM TUMBLE((SELECT window_start AS ws, window_time AS t, COUNT(*) "
                      "AS n FROM TUMBLE("
                      "TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND) GROUP BY window_start, window_end, "
                      "window_time), DESCRIPTOR(t), "
                      "INTERVAL '1' MINUTE) GROUP BY window_start, window_end");
    catalog_deinit(&c);
}

static void test_emit__defaults(void **state)
{
#define WINDOWED                                                                                                       \
    "SELECT window_end, COUNT(*) AS c FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND) GROUP BY "           \
    "window_start, window_end"
    static const struct {
        const char *text;
        enum emit_mode emit;
        bool is_updating;
    } rows[] = {
        {"SELECT price FROM bid", EMIT_DEFAULT, false},
        {"SELECT price FROM bid EMIT CHANGES", EMIT_CHANGES, false},
        {"SELECT price FROM bid EMIT FINAL", EMIT_FINAL, false},
        {WINDOWED, EMIT_DEFAULT, false},
        {"CREATE STREAM x AS " WINDOWED, EMIT_FINAL, false},
        {"CREATE STREAM x AS SELECT price FROM bid", EMIT_FINAL, false},
        {"CREATE STREAM x AS SELECT channel, COUNT(*) AS c FROM bid GROUP BY channel", EMIT_CHANGES, true},
        {WINDOWED " EMIT CHANGES", EMIT_CHANGES, true},
        {"SELECT channel, COUNT(*) FROM bid GROUP BY channel", EMIT_DEFAULT, true},
        {"SELECT COUNT(*) FROM bid EMIT CHANGES", EMIT_CHANGES, true},
        {"SELECT c FROM (SELECT COUNT(*) AS c FROM bid) WHERE c > 3", EMIT_DEFAULT, true},
        {"SELECT MAX(c) FROM (" WINDOWED ")", EMIT_DEFAULT, true},
    };
#undef WINDOWED
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct statement *s = bind_ok(&c, rows[i].text);
        if (s->emit != rows[i].emit || s->is_updating != rows[i].is_updating)
            fail_msg("%s: %d %d", rows[i].text, s->emit, s->is_updating);
    }
    catalog_deinit(&c);
}

static void test_statements__small_ones(void **state)
{
    static const struct {
        const char *text;
        enum statement_kind kind;
        const char *name;
    } rows[] = {
        {"show streams", STMT_SHOW_STREAMS, NULL},
        {"SHOW TABLES;", STMT_SHOW_STREAMS, NULL},
        {"Show Flows ; ", STMT_SHOW_FLOWS, NULL},
        {"SHOW TOPICS -- all", STMT_SHOW_TOPICS, NULL},
        {"DESCRIBE bid", STMT_DESCRIBE, "bid"},
        {"desc `bid`", STMT_DESCRIBE, "bid"},
        {"DROP STREAM bid", STMT_DROP_STREAM, "bid"},
        {"DROP TABLE IF EXISTS nothing", STMT_DROP_STREAM, "nothing"},
        {"EXPLAIN PLAN FOR SELECT price FROM bid", STMT_EXPLAIN, NULL},
        {"EXPLAIN CREATE STREAM x AS SELECT price FROM bid", STMT_EXPLAIN, "x"},
        {"CREATE TABLE IF NOT EXISTS x (a INT)", STMT_CREATE_STREAM, "x"},
        {"CREATE OR REPLACE STREAM x AS SELECT price FROM bid", STMT_CREATE_STREAM_AS, "x"},
    };
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct statement *s = bind_ok(&c, rows[i].text);
        assert_int_equal(s->kind, rows[i].kind);
        if (rows[i].name != NULL) assert_true(bytes_equal_str(s->name, rows[i].name));
    }
    assert_true(bind_ok(&c, "DROP TABLE IF EXISTS nothing")->if_exists);
    assert_true(bind_ok(&c, "CREATE TABLE IF NOT EXISTS x (a INT)")->if_not_exists);
    assert_true(bind_ok(&c, "CREATE OR REPLACE STREAM x AS SELECT price FROM bid")->or_replace);
    assert_true(bytes_equal_str(bind_ok(&c, "  SHOW FLOWS ; ")->text, "SHOW FLOWS"));
    catalog_deinit(&c);
}

static void test_create__every_part(void **state)
{
    struct test_catalog c;
    const struct stream_def *d;

    (void)state;
    catalog_init(&c);
    d = bind_ok(&c,
                "CREATE STREAM IF NOT EXISTS s (id INT NOT NULL PRIMARY KEY NOT ENFORCED COMMENT 'the id', `odd "
                "``name` VARCHAR(10),"
                " d DOUBLE PRECISION, at TIMESTAMP(3) WITH LOCAL TIME ZONE METADATA FROM 'timestamp' VIRTUAL, part INT "
                "METADATA FROM"
                " 'partition', `key` STRING METADATA VIRTUAL, twice AS id * 2, WATERMARK FOR at AS at - INTERVAL "
                "'0.001' SECOND)"
                " COMMENT 'words' WITH ('connector' = 'kafka', 'topic' = 't.1', 'value.format' = 'json', 'key.fields' "
                "= 'id;d',"
                " 'scan.startup.mode' = 'latest-offset', 'scan.watermark.idle-timeout' = '1 min', 'partitions' = '3',"
                " 'properties.bootstrap.servers' = 'localhost:9092');")
            ->stream;
    assert_true(bytes_equal_str(d->name, "s"));
    assert_true(bytes_equal_str(d->topic, "t.1"));
    assert_int_equal(d->n_columns, 7);
    assert_true(d->columns[0].type.not_null);
    assert_true(bytes_equal_str(d->columns[1].name, "odd `name"));
    assert_int_equal(d->columns[1].type.precision, 10);
    assert_int_equal(d->columns[3].type.kind, SQL_TIMESTAMP_LTZ);
    assert_int_equal(d->columns[3].metadata, META_TIMESTAMP);
    assert_int_equal(d->columns[4].metadata, META_PARTITION);
    assert_int_equal(d->columns[5].metadata, META_KEY);
    assert_int_equal(d->columns[6].source, COLUMN_COMPUTED);
    assert_int_equal(d->columns[6].computed->op, FN_MUL_I);
    assert_int_equal(d->rowtime, 3);
    assert_int_equal(d->watermark->op, FN_SUB_LV);
    assert_int_equal(d->watermark->args[1]->literal.i, 1000);
    assert_int_equal(d->idle_timeout_ms, 60000);
    assert_true(d->start_latest);
    assert_int_equal(d->n_partitions, 3);
    assert_int_equal(d->n_key_fields, 2);
    d = bind_ok(&c, "CREATE STREAM s (id INT) WITH ('scan.watermark.idle-timeout' = '0 s')")->stream;
    assert_true(bytes_equal_str(d->topic, "s"));
    assert_int_equal(d->rowtime, -1);
    assert_true(d->idle_timeout_ms < 0);
    catalog_deinit(&c);
}

static void assert_same_stream(const struct stream_def *a, const struct stream_def *b)
{
    assert_true(bytes_equal(a->name, b->name));
    assert_true(bytes_equal(a->topic, b->topic));
    assert_int_equal(a->n_columns, b->n_columns);
    for (int i = 0; i < a->n_columns; i++) {
        assert_true(bytes_equal(a->columns[i].name, b->columns[i].name));
        assert_int_equal(a->columns[i].type.kind, b->columns[i].type.kind);
        assert_int_equal(a->columns[i].type.precision, b->columns[i].type.precision);
        assert_int_equal(a->columns[i].type.is_rowtime, b->columns[i].type.is_rowtime);
        assert_int_equal(a->columns[i].source, b->columns[i].source);
    }
    assert_int_equal(a->rowtime, b->rowtime);
    assert_int_equal(a->watermark == NULL, b->watermark == NULL);
    if (a->watermark != NULL) {
        assert_int_equal(a->watermark->kind, b->watermark->kind);
        assert_int_equal(a->watermark->op, b->watermark->op);
        if (a->watermark->n_args == 2)
            assert_int_equal(a->watermark->args[1]->literal.i, b->watermark->args[1]->literal.i);
    }
    assert_int_equal(a->idle_timeout_ms, b->idle_timeout_ms);
    assert_int_equal(a->start_latest, b->start_latest);
    assert_int_equal(a->n_partitions, b->n_partitions);
    assert_int_equal(a->n_key_fields, b->n_key_fields);
    for (int i = 0; i < a->n_key_fields; i++)
        assert_true(bytes_equal(a->key_fields[i], b->key_fields[i]));
}

static void test_create_as__definition_reads_back(void **state)
{
    static const struct {
        const char *text, *sql;
    } rows[] = {
        {"CREATE STREAM x AS SELECT price, channel FROM bid",
         "CREATE STREAM `x` (`price` BIGINT, `channel` STRING) WITH ('topic' = 'x', 'format' = 'json')"},
        /* rows that pass through are as disordered as their source */
        {"CREATE STREAM x AS SELECT ts, price AS `p``q` FROM bid WHERE ok",
         "CREATE STREAM `x` (`ts` TIMESTAMP(3), `p``q` BIGINT, WATERMARK FOR `ts` AS `ts` - INTERVAL '4' SECOND) WITH "
         "('topic' = 'x', "
         "'format' = 'json')"},
        {"CREATE STREAM x AS SELECT t FROM (SELECT t FROM ltz)",
         "CREATE STREAM `x` (`t` TIMESTAMP_LTZ(3), WATERMARK FOR `t` AS `t`) WITH ('topic' = 'x', 'format' = 'json')"},
        /* rows of one window have one time: 1 ms behind it none of them is late */
        {"CREATE STREAM x WITH ('topic' = 'y', 'partitions' = '4', 'scan.startup.mode' = 'latest-offset', 'key.fields' "
         "= 'auction', "
         "'scan.watermark.idle-timeout' = '5 s') AS SELECT window_time, auction, COUNT(*) AS c FROM TUMBLE(TABLE bid, "
         "DESCRIPTOR(ts), "
         "INTERVAL '1' SECOND) GROUP BY window_start, window_end, window_time, auction",
         "CREATE STREAM `x` (`window_time` TIMESTAMP(3), `auction` BIGINT, `c` BIGINT, WATERMARK FOR `window_time` AS "
         "`window_time` - "
         "INTERVAL '0.001' SECOND) WITH ('topic' = 'y', 'format' = 'json', 'scan.startup.mode' = 'latest-offset', "
         "'scan.watermark.idle-timeout' = '5000 ms', 'partitions' = '4', 'key.fields' = 'auction')"},
        /* the groups of an updating query are its key */
        {"CREATE STREAM x AS SELECT COUNT(*) AS c, channel AS ch, day FROM bid GROUP BY day, channel",
         "CREATE STREAM `x` (`c` BIGINT, `ch` STRING, `day` DATE) WITH ('topic' = 'x', 'format' = 'json', 'key.fields' "
         "= 'day;ch')"},
        {"CREATE STREAM x AS SELECT window_start AS s, window_end AS e, COUNT(*) AS c FROM TUMBLE(TABLE bid, "
         "DESCRIPTOR(ts), INTERVAL '1' "
         "SECOND) GROUP BY window_start, window_end EMIT CHANGES",
         "CREATE STREAM `x` (`s` TIMESTAMP(3), `e` TIMESTAMP(3), `c` BIGINT) WITH ('topic' = 'x', 'format' = 'json', "
         "'key.fields' = 's;e')"},
        {"CREATE STREAM x WITH ('scan.watermark.idle-timeout' = '0') AS SELECT CAST(channel AS VARCHAR(7)) AS c FROM "
         "bid",
         "CREATE STREAM `x` (`c` VARCHAR(7)) WITH ('topic' = 'x', 'format' = 'json', 'scan.watermark.idle-timeout' = "
         "'0 ms')"},
    };
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct statement *s = bind_ok(&c, rows[i].text);
        struct stream_def *again;
        char sql[800];
        (void)snprintf(sql, sizeof(sql), "%.*s", BYTES_ARG(s->stream->sql));
        assert_string_equal(sql, rows[i].sql);
        assert_int_equal(sql_bind_stream(&again, s->stream->sql, &c.arena, NULL), ERR_NONE);
        assert_same_stream(s->stream, again);
        assert_true(bytes_equal(again->sql, s->stream->sql));
    }
    catalog_deinit(&c);
}

/* A declared stream's own text gives the same definition, comments and all. */
static void test_create__text_reads_back(void **state)
{
    static const char *const texts[] = {
        " CREATE OR REPLACE STREAM s (a INT, -- first\n t TIMESTAMP(3) METADATA FROM 'timestamp', b AS a + 1, "
        "WATERMARK FOR t AS t) ; ",
        "CREATE TABLE IF NOT EXISTS s (`a;` INT) WITH ('topic' = 'x')",
    };
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct statement *s = bind_ok(&c, texts[i]);
        struct stream_def *again;
        assert_int_equal(sql_bind_stream(&again, s->stream->sql, &c.arena, NULL), ERR_NONE);
        assert_same_stream(s->stream, again);
    }
    {
        struct stream_def *again;
        struct sql_error e;
        assert_int_equal(sql_bind_stream(&again, BYTES_LIT("SHOW STREAMS"), &c.arena, &e), ERR_INVALID);
        assert_string_equal(e.err.text, "the stored definition is not a CREATE STREAM statement");
    }
    catalog_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expressions__bind_to_the_right_tree),
        cmocka_unit_test(test_plans__as_text),
        cmocka_unit_test(test_plans__windowed_aggregate),
        cmocka_unit_test(test_rowtime__is_kept_and_lost),
        cmocka_unit_test(test_emit__defaults),
        cmocka_unit_test(test_statements__small_ones),
        cmocka_unit_test(test_create__every_part),
        cmocka_unit_test(test_create_as__definition_reads_back),
        cmocka_unit_test(test_create__text_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
