/* Flows end to end over the port in memory: outputs, keys, dead letters, late rows, changes; and the main promise:
 * however rows are cut into batches, and whenever the process dies, the committed output is that of one undisturbed
 * run. */
#include "flow/engine_world_test.h"

#define SOURCE                                                                                                         \
    "CREATE STREAM bids (auction BIGINT, price DOUBLE, who STRING, t TIMESTAMP(3), WATERMARK FOR t AS t - INTERVAL "   \
    "'2' SECOND) "                                                                                                     \
    "WITH ('topic' = 'bids', 'format' = 'json', 'partitions' = '%d', 'scan.watermark.idle-timeout' = '%s');"
#define WINDOWED                                                                                                       \
    "CREATE STREAM per_window AS SELECT auction, window_start, COUNT(*) AS n, SUM(price) AS total, MAX(who) AS w, "    \
    "AVG(price) "                                                                                                      \
    "AS a FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(t), INTERVAL '10' SECOND)) GROUP BY auction, window_start, "        \
    "window_end;"
#define PASSING "CREATE STREAM dear AS SELECT auction, price, t FROM bids WHERE price > 50;"
#define RUNNING "CREATE STREAM totals AS SELECT who, COUNT(*) AS n, SUM(price) AS total FROM bids GROUP BY who;"

static void source_create(struct world *w, int n_partitions, const char *idle)
{
    char text[600];
    snprintf(text, sizeof text, SOURCE, n_partitions, idle);
    assert_true(strncmp(world_run(w, text), "#", 1) == 0);
}

static void bid(struct world *w, int partition, int auction, double price, const char *who, int second)
{
    char value[200], key[20];
    snprintf(value, sizeof value, "{\"auction\":%d,\"price\":%g,\"who\":\"%s\",\"t\":\"2024-01-01 00:%02d:%02d\"}",
             auction, price, who, second / 60, second % 60);
    snprintf(key, sizeof key, "k%d", auction);
    world_put(w, "bids", partition, 5000 + second, key, value);
}

static void test_flow__windows_to_a_topic(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    assert_string_equal(world_run(&w, WINDOWED), "# flow per_window is running; its results go to topic per_window\n");
    bid(&w, 0, 7, 10, "ann", 1);
    bid(&w, 0, 8, 4, "bob", 2);
    bid(&w, 0, 7, 5, "cid", 9);
    bid(&w, 0, 7, 1, "dan", 12);
    world_settle(&w);
    /* Keyed by the grouping column, stamped with the window's end - 1 ms. */
    assert_string_equal(
        world_topic_full(&w, "per_window", true, false),
        "0 @1704067209999 7 {\"auction\":7,\"window_start\":\"2024-01-01 00:00:00.000\",\"n\":2,\"total\":15,"
        "\"w\":\"cid\",\"a\":7.5}\n"
        "0 @1704067209999 8 {\"auction\":8,\"window_start\":\"2024-01-01 00:00:00.000\",\"n\":1,\"total\":4,"
        "\"w\":\"bob\",\"a\":4}\n");
    assert_non_null(strstr(world_run(&w, "SHOW FLOWS"),
                           "{\"name\":\"per_window\",\"state\":\"running\",\"rows_in\":4,\"rows_out\":2"));
    assert_string_equal(world_run(&w, "SELECT COUNT(*) AS n FROM per_window"),
                        "{\"n\":2}\n"); /* a flow is a stream, too */
    assert_string_equal(world_run(&w, "DROP STREAM bids"), "! flow 'per_window' reads stream 'bids'\n");
    assert_string_equal(world_run(&w, "DROP STREAM per_window"),
                        "# flow per_window dropped; topic per_window and its records stay\n");
    assert_string_equal(world_run(&w, "SHOW FLOWS"), "");
    assert_string_equal(world_run(&w, "DROP STREAM bids"), "# stream bids dropped; topic bids and its records stay\n");
    world_deinit(&w);
}

static void test_flow__rows_pass_with_key_time_and_partition(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 3, "1 s");
    assert_true(strncmp(world_run(&w, PASSING), "#", 1) == 0);
    bid(&w, 1, 7, 60, "ann", 1);
    bid(&w, 2, 8, 40, "bob", 2);
    world_put(&w, "bids", 2, 1, NULL, "{\"price\":70}"); /* no key: the partition of its source */
    world_settle(&w);
    const char *got = world_topic_full(&w, "dear", true, false);
    assert_non_null(strstr(got, "@1704067201000 k7 {\"auction\":7,\"price\":60,\"t\":\"2024-01-01 00:00:01.000\"}\n"));
    assert_non_null(strstr(got, "2 @1 - {\"auction\":null,\"price\":70,\"t\":null}\n"));
    assert_null(strstr(got, "k8"));
    world_deinit(&w);
}

static void test_flow__changes_are_upserts_and_tombstones(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    assert_true(strncmp(world_run(&w, RUNNING), "#", 1) == 0);
    assert_true(
        strncmp(world_run(
                    &w, "CREATE STREAM small AS SELECT who, COUNT(*) AS n FROM bids GROUP BY who HAVING COUNT(*) < 3;"),
                "#", 1) == 0);
    bid(&w, 0, 1, 1, "ann", 1);
    bid(&w, 0, 1, 2, "ann", 2);
    bid(&w, 0, 1, 3, "bob", 3);
    world_settle(&w);
    bid(&w, 0, 1, 4, "ann", 4);
    world_settle(&w);
    /* Several changes of a key inside one epoch are folded. */
    assert_string_equal(world_topic(&w, "totals"),
                        "0 ann {\"who\":\"ann\",\"n\":2,\"total\":3}\n0 bob {\"who\":\"bob\",\"n\":1,\"total\":3}\n"
                        "0 ann {\"who\":\"ann\",\"n\":3,\"total\":7}\n");
    assert_string_equal(world_topic(&w, "small"),
                        "0 ann {\"who\":\"ann\",\"n\":2}\n0 bob {\"who\":\"bob\",\"n\":1}\n0 ann (null)\n");
    world_deinit(&w);
}

static void test_flow__bad_and_late_rows_are_kept(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    assert_true(strncmp(world_run(&w, WINDOWED), "#", 1) == 0);
    bid(&w, 0, 7, 10, "ann", 1);
    world_put(&w, "bids", 0, 77, "bad", "{\"auction\":");
    bid(&w, 0, 7, 10, "ann", 13);
    bid(&w, 0, 9, 10, "eve", 8); /* the window of 00:00:00 is closed by now */
    world_settle(&w);
    assert_string_equal(
        world_topic_full(&w, "per_window_dlq", true, true),
        "0 @77 bad {\"auction\": weir-error=byte 11: the text ends inside a value weir-topic=bids weir-partition=0 "
        "weir-offset=1\n");
    assert_string_equal(
        world_topic_full(&w, "per_window_late", false, true),
        "0 k9 {\"auction\":9,\"price\":10,\"who\":\"eve\",\"t\":\"2024-01-01 00:00:08\"} "
        "weir-window-end-ms=1704067210000 weir-watermark-ms=1704067211000 weir-topic=bids weir-partition=0 "
        "weir-offset=3\n");
    assert_non_null(strstr(world_run(&w, "SHOW FLOWS"), "\"rows_in\":4,\"rows_out\":1,\"rows_bad\":1,\"rows_late\":1"));
    world_deinit(&w);
}

static void test_flow__idle_partitions_and_idle_closing(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 2, "1 s");
    assert_true(strncmp(world_run(&w, WINDOWED), "#", 1) == 0);
    bid(&w, 0, 7, 10, "ann", 1);
    bid(&w, 0, 7, 10, "ann", 13);
    world_settle(&w);
    assert_string_equal(world_topic(&w, "per_window"), ""); /* partition 1 holds the time back */
    world_advance(&w, 900);
    bid(&w, 0, 7, 10, "ann", 14);
    world_settle(&w);
    world_advance(&w, 200); /* partition 1 is idle now, partition 0 is not */
    world_settle(&w);
    assert_non_null(strstr(world_topic(&w, "per_window"), "\"window_start\":\"2024-01-01 00:00:00.000\""));
    assert_null(strstr(world_topic(&w, "per_window"), "00:00:10.000"));
    world_restart(&w, false);
    world_advance(&w, 5000); /* all idle: everything open is closed */
    world_settle(&w);
    world_advance(&w, 5000);
    world_settle(&w);
    assert_non_null(strstr(world_topic(&w, "per_window"), "00:00:10.000"));
    world_restart(&w, true);
    bid(&w, 1, 7, 10, "eve", 15); /* and what comes for it now is late, also after a restart */
    world_settle(&w);
    assert_non_null(strstr(world_topic(&w, "per_window_late"), "eve"));
    world_deinit(&w);
}

static void test_flow__full_disk_is_waited_for_other_failures_are_shown(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    assert_true(strncmp(world_run(&w, RUNNING), "#", 1) == 0);
    world_settle(&w);
    sim_port_fail_commit(w.port, 1, ERR_NO_SPACE);
    bid(&w, 0, 1, 1, "ann", 1);
    world_settle(&w);
    assert_string_equal(world_topic(&w, "totals"), "0 ann {\"who\":\"ann\",\"n\":1,\"total\":1}\n");
    sim_port_fail_commit(w.port, 1, ERR_STOPPED);
    bid(&w, 0, 1, 1, "ann", 1);
    world_settle(&w);
    assert_non_null(strstr(world_run(&w, "SHOW FLOWS"), "\"state\":\"failed\""));
    assert_non_null(strstr(text_of(&w.out), "simulated failure"));
    world_restart(&w, false);
    world_settle(&w);
    assert_non_null(strstr(world_run(&w, "SHOW FLOWS"), "\"state\":\"running\",\"rows_in\":2,\"rows_out\":2"));
    assert_string_equal(world_topic(&w, "totals"),
                        "0 ann {\"who\":\"ann\",\"n\":1,\"total\":1}\n0 ann {\"who\":\"ann\",\"n\":2,\"total\":2}\n");
    world_deinit(&w);
}

/* A flow reads what another one writes; a window above a window. */
static void test_flow__chains(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    assert_true(strncmp(world_run(&w, WINDOWED), "#", 1) == 0);
    const char *got =
        world_run(&w, "CREATE STREAM busiest AS SELECT auction, MAX(n) AS best FROM per_window GROUP BY auction;");
    if (got[0] != '#') fail_msg("%s", got);
    assert_string_equal(world_run(&w, "DROP STREAM per_window"), "! flow 'busiest' reads stream 'per_window'\n");
    for (int i = 0; i < 40; i++)
        bid(&w, 0, 7, 1, "ann", i + i % 3);
    world_settle(&w);
    world_restart(&w, true);
    world_advance(&w, 3000);
    world_settle(&w);
    world_advance(&w, 3000);
    world_settle(&w);
    assert_non_null(strstr(world_topic(&w, "busiest"), "0 7 {\"auction\":7,\"best\":10}"));
    assert_non_null(strstr(world_run(&w, "SHOW FLOWS"), "\"name\":\"busiest\",\"state\":\"running\""));
    world_deinit(&w);
}

/* EMIT CHANGES on a window: the counts grow in place, keyed by group and window. */
static void test_flow__windows_with_changes(void **state)
{
    struct world w;
    world_init(&w);
    source_create(&w, 1, "1 s");
    const char *got =
        world_run(&w, "CREATE STREAM live AS SELECT auction, window_start, window_end, COUNT(*) AS n FROM "
                      "TABLE(TUMBLE(TABLE bids, DESCRIPTOR(t), INTERVAL '10' SECOND)) GROUP BY auction, "
                      "window_start, window_end EMIT CHANGES;");
    if (got[0] != '#') fail_msg("%s", got);
    bid(&w, 0, 7, 1, "ann", 1);
    world_settle(&w);
    bid(&w, 0, 7, 1, "ann", 2);
    bid(&w, 0, 7, 1, "ann", 25);
    world_settle(&w);
    got = world_topic(&w, "live");
    assert_non_null(strstr(got, "\"window_end\":\"2024-01-01 00:00:10.000\",\"n\":1}"));
    assert_non_null(strstr(got, "\"window_end\":\"2024-01-01 00:00:10.000\",\"n\":2}"));
    assert_non_null(strstr(got, "\"window_end\":\"2024-01-01 00:00:30.000\",\"n\":1}"));
    assert_null(strstr(got, "(null)"));
    world_deinit(&w);
}

/* ---- random input ---- */

static uint64_t seed_state;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed_state >> 33) % below;
}

struct input {
    char key[16], value[120];
    int64_t time;
};
#define INPUTS 600
static struct input inputs[INPUTS];

/* Times rise by about half a second a row, out of order by up to 4 s (more than the watermark allows), some rows
 * malformed. */
static void inputs_make(uint64_t seed, unsigned disorder_ms)
{
    static const char *const names[] = {"ann", "bob", "cid", "dan", "eve", "\\u00e9lan", "a\\\"b"};
    seed_state = seed;
    for (int i = 0; i < INPUTS; i++) {
        struct input *in = &inputs[i];
        int64_t ms = 100000 + i * 500 - (int64_t)(disorder_ms ? chance(disorder_ms) : 0);
        in->time = 1700000000000 + i;
        snprintf(in->key, sizeof in->key, "k%u", chance(20));
        if (disorder_ms && chance(40) == 0)
            snprintf(in->value, sizeof in->value, "{\"auction\":\"no\"}");
        else
            snprintf(in->value, sizeof in->value, "{\"auction\":%u,\"price\":%u.%u,\"who\":\"%s\",\"t\":%lld}",
                     chance(9), chance(100), disorder_ms ? chance(1000) : 0, names[chance(7)], (long long)ms);
    }
    snprintf(inputs[INPUTS - 1].value, sizeof inputs[0].value,
             "{\"auction\":1,\"t\":900000000}"); /* closes all before it */
}

/* Appends inputs [from, to) as one batch. */
static void inputs_append(struct world *w, int partition, int from, int to, enum batch_codec codec)
{
    struct batch_builder b;
    struct buf out;
    struct port_topic t;
    buf_init(&out, 0);
    assert_int_equal(w->port->topic_find(w->port, BYTES_LIT("bids"), &t, NULL), ERR_NONE);
    batch_begin(&b, &out, codec);
    for (int i = from; i < to; i++)
        batch_add(&b, inputs[i].time, bytes_str(inputs[i].key), bytes_str(inputs[i].value), NULL, 0);
    assert_int_equal(batch_finish(&b, NULL), ERR_NONE);
    assert_int_equal(w->port->append(w->port, t.id, partition, buf_bytes(&out), NULL), ERR_NONE);
    buf_deinit(&out);
}

static void flows_create(struct world *w, int n_partitions)
{
    source_create(w, n_partitions, "0 s"); /* never idle */
    assert_true(strncmp(world_run(w, WINDOWED), "#", 1) == 0);
    assert_true(strncmp(world_run(w, PASSING), "#", 1) == 0);
    assert_true(strncmp(world_run(w, RUNNING), "#", 1) == 0);
}

static char *topics_text(struct world *w, const char *const *names)
{
    struct buf all;
    buf_init(&all, 0);
    for (; *names; names++)
        buf_printf(&all, "== %s\n%s", *names, world_topic_full(w, *names, true, true));
    buf_put_u8(&all, 0);
    return (char *)all.ptr;
}
static const char *const final_topics[] = {
    "per_window", "per_window_late", "per_window_dlq", "dear", "dear_dlq", "totals_dlq", NULL};

/* The last value of each key of an upsert topic. */
static char *folded(struct world *w, const char *topic)
{
    static char last[64][160];
    char key[64];
    int n = 0;
    struct buf all;
    const char *p = world_topic(w, topic);
    memset(last, 0, sizeof last);
    while (*p) {
        const char *end = strchr(p, '\n');
        int k = 0, len = (int)(end - p);
        sscanf(p, "%*d %60s", key);
        size_t key_len = strlen(key);
        for (; k < n; k++)
            if (strncmp(last[k] + 2, key, key_len) == 0 && last[k][2 + key_len] == ' ') break;
        if (k == n) n++;
        assert_true(k < 64);
        snprintf(last[k], sizeof last[k], "%.*s", len, p);
        p = end + 1;
    }
    buf_init(&all, 0);
    for (int k = 0; k < n; k++)
        buf_printf(&all, "%s\n", last[k]);
    buf_put_u8(&all, 0);
    return (char *)all.ptr;
}

/* However the same rows are cut into batches, compressed and fed: the same output, late rows and dead letters included.
 */
static void test_flow__batches_make_no_difference(void **state)
{
    char *want = NULL, *want_totals = NULL;
    inputs_make(4711, 4000);
    for (int mode = 0; mode < 5; mode++) {
        struct world w;
        world_init(&w);
        flows_create(&w, 1);
        for (int i = 0; i < INPUTS;) {
            int n = mode == 0 ? INPUTS : mode == 1 ? 1 : 1 + (int)chance(50);
            if (i + n > INPUTS) n = INPUTS - i;
            inputs_append(&w, 0, i, i + n, mode < 2 ? CODEC_NONE : (enum batch_codec)chance(5));
            if (mode >= 3) world_settle(&w);
            i += n;
        }
        world_settle(&w);
        char *got = topics_text(&w, final_topics), *totals = folded(&w, "totals");
        if (mode == 0) {
            want = got;
            want_totals = totals;
            assert_non_null(strstr(want, "weir-watermark-ms"));
            assert_non_null(strstr(want, "weir-error"));
        } else {
            assert_string_equal(got, want);
            assert_string_equal(totals, want_totals);
            free(got);
            free(totals);
        }
        world_deinit(&w);
    }
    free(want);
    free(want_totals);
}

/* Lets the engine work until a commit is under way, unanswered. */
static void run_into_commit(struct world *w)
{
    for (int i = 0; i < 30; i++) {
        if (!engine_step(w->engine, &w->now, &w->deadline)) world_advance(w, 2);
    }
}

/* Dies after every few rows, with the commit under way kept or lost; the committed output is that of an undisturbed
 * run. */
static void test_flow__restarts_change_nothing(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        char *want = NULL, *want_totals = NULL;
        inputs_make(seed * 97, 4000);
        for (int mode = 0; mode < 4; mode++) { /* undisturbed, all kept, all lost, by chance */
            struct world w;
            world_init(&w);
            flows_create(&w, 1);
            seed_state = seed;
            for (int i = 0; i < INPUTS;) {
                int n = 1 + (int)chance(40);
                if (i + n > INPUTS) n = INPUTS - i;
                inputs_append(&w, 0, i, i + n, CODEC_NONE);
                i += n;
                bool keep = mode == 1 || (mode == 3 && chance(2)), answered = chance(2);
                if (mode == 0 || answered) world_settle(&w);
                if (mode == 0) continue;
                run_into_commit(&w);
                if (mode == 3 && chance(3) == 0) (void)sim_port_pump(w.port);
                world_restart(&w, keep);
            }
            world_settle(&w);
            char *got = topics_text(&w, final_topics), *totals = folded(&w, "totals");
            if (mode == 0) {
                want = got;
                want_totals = totals;
                world_deinit(&w);
                continue;
            }
            if (strcmp(got, want) != 0 || strcmp(totals, want_totals) != 0)
                print_message("seed %d mode %d\n", (int)seed, mode);
            assert_string_equal(got, want);
            assert_string_equal(totals, want_totals);
            free(got);
            free(totals);
            world_deinit(&w);
        }
        free(want);
        free(want_totals);
    }
}

static int line_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *sorted_lines(struct world *w, const char *topic)
{
    static char *lines[4000];
    size_t n = 0;
    struct buf all;
    char *copy = strdup(world_topic(w, topic));
    for (char *p = strtok(copy, "\n"); p && n < ARRAY_LEN(lines); p = strtok(NULL, "\n"))
        lines[n++] = p;
    qsort(lines, n, sizeof(char *), line_order);
    buf_init(&all, 0);
    for (size_t i = 0; i < n; i++)
        buf_printf(&all, "%s\n", lines[i]);
    buf_put_u8(&all, 0);
    free(copy);
    return (char *)all.ptr;
}

/* Three partitions, in order each: the rows of the result are the same, though their order may differ with the
 * interleaving. */
static void test_flow__partitions_and_restarts(void **state)
{
    char *want[3] = {NULL};
    static const char *const topics[] = {"per_window", "dear", "per_window_late"};
    inputs_make(11, 0);
    for (int i = INPUTS - 3; i < INPUTS - 1; i++) /* the end of time on each partition */
        strcpy(inputs[i].value, inputs[INPUTS - 1].value);
    for (int mode = 0; mode < 3; mode++) {
        struct world w;
        world_init(&w);
        flows_create(&w, 3);
        for (int i = 0; i < INPUTS; i++) {
            inputs_append(&w, i % 3, i, i + 1, CODEC_NONE);
            if (mode == 0 || chance(10) != 0) continue;
            if (mode == 2) world_settle(&w);
            run_into_commit(&w);
            world_restart(&w, chance(2));
        }
        world_settle(&w);
        for (size_t k = 0; k < ARRAY_LEN(topics); k++) {
            char *got = sorted_lines(&w, topics[k]);
            if (mode == 0) {
                want[k] = got;
                continue;
            }
            assert_string_equal(got, want[k]);
            free(got);
        }
        world_deinit(&w);
    }
    for (size_t k = 0; k < ARRAY_LEN(topics); k++)
        free(want[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow__windows_to_a_topic),
        cmocka_unit_test(test_flow__rows_pass_with_key_time_and_partition),
        cmocka_unit_test(test_flow__changes_are_upserts_and_tombstones),
        cmocka_unit_test(test_flow__bad_and_late_rows_are_kept),
        cmocka_unit_test(test_flow__idle_partitions_and_idle_closing),
        cmocka_unit_test(test_flow__full_disk_is_waited_for_other_failures_are_shown),
        cmocka_unit_test(test_flow__chains),
        cmocka_unit_test(test_flow__windows_with_changes),
        cmocka_unit_test(test_flow__batches_make_no_difference),
        cmocka_unit_test(test_flow__restarts_change_nothing),
        cmocka_unit_test(test_flow__partitions_and_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
