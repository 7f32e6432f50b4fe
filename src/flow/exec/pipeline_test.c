/* The executor without an engine: the steady path calls no malloc; groups match a naive table; state that is collected
 * and restored goes on the same; watermarks and windows do their arithmetic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "flow/exec/pipeline.h"
#include "flow/exec/source.h"
#include "flow/sql/sql.h"

/* ---- counting: the linker sends the calls of our libraries here (--wrap) ---- */
static unsigned long mallocs;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n)
{
    mallocs++;
    return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t m)
{
    mallocs++;
    return __real_calloc(n, m);
}
void *__wrap_realloc(void *p, size_t n)
{
    mallocs++;
    return __real_realloc(p, n);
}

static uint64_t seed_state = 5;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed_state >> 33) % below;
}

/* ---- a plan from text, fed with records ---- */

struct rig {
    struct sql_catalog catalog;
    struct arena arena;
    const struct stream_def *def;
    struct statement *statement;
    struct source *source;
    struct pipeline *pipeline;
    struct source_time time;
    struct buf out;
    bool keep;
    uint64_t rows, bad, late;
    int64_t offset;
};

static const struct stream_def *find(struct sql_catalog *c, struct bytes name)
{
    (void)name;
    return CONTAINER_OF(c, struct rig, catalog)->def;
}
static void on_rows(void *arg, const struct chunk *c)
{
    struct rig *r = arg;
    const struct sql_column *columns = r->statement->plan->columns;
    struct sql_value v[16];
    struct sql_schema schema = {.columns = columns, .n = c->n_cols};
    r->rows += (uint64_t)c->n_sel;
    for_rows(i, c->sel, r->keep ? c->n_sel : 0)
    {
        struct sql_row row = {.values = v, .change = c->change ? c->change[i] : 1};
        for (int k = 0; k < c->n_cols; k++)
            vector_get(&c->cols[k], i, columns[k].type.kind, &v[k]);
        if (row.change < 0) buf_put_u8(&r->out, '-');
        sql_row_put_json(&r->out, &schema, &row);
        buf_put_u8(&r->out, '\n');
    }
}
static void on_bad(void *arg, const struct row_origin *o, const char *text)
{
    (void)o, (void)text;
    ((struct rig *)arg)->bad++;
}
static void on_late(void *arg, const struct row_origin *o, int64_t end, int64_t watermark)
{
    (void)o, (void)end, (void)watermark;
    ((struct rig *)arg)->late++;
}

#define STREAM                                                                                                         \
    "CREATE STREAM s (k BIGINT, name STRING, v BIGINT, d DOUBLE, t TIMESTAMP(3), WATERMARK FOR t AS t - INTERVAL '1' " \
    "SECOND) "                                                                                                         \
    "WITH ('topic' = 's', 'format' = 'json')"

static void rig_init(struct rig *r, const char *sql)
{
    struct sql_error e;
    struct stream_def *def = NULL;
    memset(r, 0, sizeof *r);
    arena_init(&r->arena, 0);
    buf_init(&r->out, 0);
    r->catalog.find = find;
    assert_int_equal(sql_bind_stream(&def, bytes_str(STREAM), &r->arena, &e), ERR_NONE);
    r->def = def;
    if (sql_bind(&r->statement, bytes_str(sql), &r->catalog, &r->arena, &e) != ERR_NONE) fail_msg("%s", e.err.text);
    const struct plan *scan = r->statement->plan;
    while (scan->kind != PLAN_SCAN)
        scan = scan->input;
    struct pipeline_options o = {.emit = r->statement->emit};
    struct pipeline_hooks h = {.rows = on_rows, .bad = on_bad, .late = on_late, .arg = r};
    assert_int_equal(source_create(&r->source, scan, NULL), ERR_NONE);
    assert_int_equal(pipeline_create(&r->pipeline, r->statement->plan, &o, &h, NULL), ERR_NONE);
    source_time_init(&r->time, 1, 0, &r->arena);
    r->keep = true;
}
static void rig_deinit(struct rig *r)
{
    source_destroy(r->source);
    pipeline_destroy(r->pipeline);
    buf_deinit(&r->out);
    arena_deinit(&r->arena);
}
static void rig_push(struct rig *r, const struct bytes *values, int n)
{
    source_begin(r->source, 0);
    for (int i = 0; i < n; i++) {
        struct record rec = {.offset = r->offset++, .timestamp = 1, .value = values[i]};
        source_add(r->source, &rec);
    }
    const struct chunk *c = source_finish(r->source, &r->time, on_bad, r);
    assert_int_equal(pipeline_push(r->pipeline, c, NULL), ERR_NONE);
    pipeline_watermark(r->pipeline, r->time.watermark);
}

/* ---- no malloc ---- */

static void test_pipeline__steady_path_calls_no_malloc(void **state)
{
    static const char *const queries[] = {
        "SELECT k, UPPER(name) AS n, v * 2 + k AS w, CASE WHEN d > 1 THEN 'x' ELSE name || '!' END AS c FROM s WHERE v "
        "% 3 <> 0 "
        "AND name LIKE '%a%' AND REGEXP(name, '[a-z]+')",
        "SELECT name, window_start, COUNT(*) AS n, SUM(v) AS sv, AVG(d) AS a, MAX(name) AS m FROM TABLE(TUMBLE(TABLE "
        "s, "
        "DESCRIPTOR(t), INTERVAL '1' SECOND)) GROUP BY name, window_start, window_end",
        "SELECT k, COUNT(*) AS n, MIN(d) AS m FROM s GROUP BY k EMIT CHANGES",
    };
    enum { N = 1500 };
    static char text[N][160];
    static struct bytes values[N];
    for (size_t q = 0; q < ARRAY_LEN(queries); q++) {
        struct rig r;
        rig_init(&r, queries[q]);
        r.keep = false;
        int64_t ms = 1700000000000;
        unsigned long before = 0;
        for (int round = 0; round < 40; round++) {
            for (int i = 0; i < N; i++) {
                int n = snprintf(text[i], sizeof text[i],
                                 "{\"k\":%d,\"name\":\"name%d\\u0061\",\"v\":%u,\"d\":%u.5,\"t\":%lld}", i % 50, i % 70,
                                 chance(1000), chance(9), (long long)(ms += 1));
                values[i] = bytes_of(text[i], (size_t)n);
            }
            rig_push(&r, values, N);
            pipeline_flush(r.pipeline);
            if (round == 20) before = mallocs;
        }
        assert_true(before > 0); /* the counter counts */
        assert_int_equal(mallocs - before, 0);
        assert_true(r.rows > 1000);
        assert_int_equal(r.bad, 0);
        rig_deinit(&r);
    }
}

/* ---- groups against a naive table ---- */

struct naive {
    int used, n, n_v, n_d, big;
    int64_t sum, max;
    double sum_d;
};

static void test_pipeline__groups_match_a_naive_table(void **state)
{
    enum { ROUNDS = 12, N = 500 };
    static char text[N][160];
    static struct bytes values[N];
    static struct naive want[12][9];
    struct rig r;
    rig_init(&r, "SELECT k, name, COUNT(*) AS n, COUNT(v) AS nv, SUM(v) AS sv, MAX(v) AS mv, SUM(d) AS sd, COUNT(*) "
                 "FILTER (WHERE v > "
                 "500) AS big FROM s GROUP BY k, name");
    memset(want, 0, sizeof want);
    struct pipeline_options o = {.emit = EMIT_FINAL};
    struct pipeline_hooks h = {.rows = on_rows, .bad = on_bad, .late = on_late, .arg = &r};
    pipeline_destroy(r.pipeline);
    assert_int_equal(pipeline_create(&r.pipeline, r.statement->plan, &o, &h, NULL), ERR_NONE);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < N; i++) {
            unsigned k = chance(12), name = chance(9);
            int64_t v = (int64_t)chance(1000) - 200, d = chance(100);
            bool has_v = chance(5) != 0;
            int at = snprintf(text[i], sizeof text[i], "{\"d\":%d.25", (int)d);
            if (k > 0) at += snprintf(text[i] + at, sizeof text[i] - (size_t)at, ",\"k\":%u", k); /* 0: NULL */
            if (name > 0)
                at +=
                    snprintf(text[i] + at, sizeof text[i] - (size_t)at, ",\"name\":\"%.*s\"", (int)name, "abcdefghij");
            if (has_v) at += snprintf(text[i] + at, sizeof text[i] - (size_t)at, ",\"v\":%d", (int)v);
            at += snprintf(text[i] + at, sizeof text[i] - (size_t)at, "}");
            values[i] = bytes_of(text[i], (size_t)at);
            struct naive *w = &want[k][name];
            if (has_v && (w->n_v == 0 || v > w->max)) w->max = v;
            w->n++;
            w->n_v += has_v;
            w->sum += has_v ? v : 0;
            w->sum_d += (double)d + 0.25;
            w->big += has_v && v > 500;
        }
        rig_push(&r, values, N);
    }
    pipeline_end(r.pipeline);
    buf_put_u8(&r.out, 0);
    int found = 0;
    for (unsigned k = 0; k < 12; k++) {
        for (unsigned name = 0; name < 9; name++) {
            struct naive *w = &want[k][name];
            char line[300], key[20] = "null", quoted[20] = "null";
            if (k > 0) snprintf(key, sizeof key, "%u", k);
            if (name > 0) snprintf(quoted, sizeof quoted, "\"%.*s\"", (int)name, "abcdefghij");
            if (w->n == 0) continue;
            assert_true(w->n_v > 0);
            snprintf(line, sizeof line,
                     "{\"k\":%s,\"name\":%s,\"n\":%d,\"nv\":%d,\"sv\":%lld,\"mv\":%lld,\"sd\":%.15g,\"big\":%d}\n", key,
                     quoted, w->n, w->n_v, (long long)w->sum, (long long)w->max, w->sum_d, w->big);
            if (strstr((const char *)r.out.ptr, line) == NULL) fail_msg("missing: %s", line);
            found++;
        }
    }
    assert_int_equal(r.rows, found);
    rig_deinit(&r);
}

/* ---- state ---- */

struct copy {
    struct rig *into;
};
static void on_state(void *arg, struct bytes key, struct bytes value)
{
    struct copy *c = arg;
    assert_false(bytes_is_null(value));
    assert_true(pipeline_restore(c->into->pipeline, key, value));
}

static void test_pipeline__restored_state_goes_on_the_same(void **state)
{
    static const char sql[] =
        "SELECT name, COUNT(*) AS n, MIN(name) AS lo, SUM(v) AS sv, AVG(d) AS a, window_end FROM TABLE(TUMBLE(TABLE "
        "s, DESCRIPTOR(t), INTERVAL '10' SECOND)) GROUP BY name, window_start, window_end";
    enum { N = 200 };
    static char text[N][160];
    static struct bytes values[N];
    struct rig a, b;
    rig_init(&a, sql);
    int64_t ms = 0;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < N; i++) {
            int n = snprintf(text[i], sizeof text[i], "{\"name\":\"n%u\",\"v\":%u,\"d\":%u.125,\"t\":%lld}", chance(9),
                             chance(99), chance(9), (long long)(ms += 30));
            values[i] = bytes_of(text[i], (size_t)n);
        }
        if (round == 4) { /* b takes over here what a holds */
            struct copy c = {.into = &b};
            rig_init(&b, sql);
            pipeline_collect(a.pipeline, true, on_state, &c);
            b.time.watermark = a.time.watermark;
            b.time.partitions[0].watermark = a.time.partitions[0].watermark;
            pipeline_watermark(b.pipeline, b.time.watermark);
            assert_int_equal(pipeline_groups(a.pipeline), pipeline_groups(b.pipeline));
            assert_true(pipeline_groups(a.pipeline) > 0);
            assert_false(pipeline_has_changes(a.pipeline));
            buf_clear(&a.out);
        }
        rig_push(&a, values, N);
        if (round >= 4) rig_push(&b, values, N);
    }
    pipeline_end(a.pipeline);
    pipeline_end(b.pipeline);
    assert_true(a.out.len > 100);
    assert_true(bytes_equal(buf_bytes(&a.out), buf_bytes(&b.out)));
    assert_false(pipeline_restore(a.pipeline, BYTES_LIT("g"), BYTES_LIT("")));
    assert_false(pipeline_restore(a.pipeline, BYTES_LIT("gzz"), BYTES_LIT("1")));
    assert_false(pipeline_restore(a.pipeline, BYTES_LIT("x1"), BYTES_LIT("1")));
    rig_deinit(&a);
    rig_deinit(&b);
}

/* ---- time ---- */

static void test_window__starts_are_floors(void **state)
{
    assert_int_equal(window_start(450, 300, 0), 300);
    assert_int_equal(window_start(300, 300, 0), 300);
    assert_int_equal(window_start(-1, 300, 0), -300);
    assert_int_equal(window_start(450, 300, 120), 420); /* 00:07:30 with an offset of 2 minutes, in seconds */
    assert_int_equal(window_start(450, 300, -120), 180);
    assert_int_equal(window_start(450, 300, 420), 420);
    for (int i = 0; i < 10000; i++) {
        int64_t t = (int64_t)chance(1000000) - 500000, size = 1 + (int64_t)chance(5000),
                offset = (int64_t)chance(9000) - 4000;
        int64_t s = window_start(t, size, offset);
        assert_true(s <= t && t < s + size && (s - offset) % size == 0);
    }
    assert_true(window_is_over(10000, 9000));
    assert_false(window_is_over(10000, 8999));
}

static void rows(struct source_time *t, int partition, int64_t *marks, int n, int64_t *before)
{
    struct arena a;
    struct vector v;
    arena_init(&a, 0);
    vector_init(&v, PHYS_I64, &a);
    for (int i = 0; i < n; i++) {
        struct sql_value x = {.kind = SQL_TIMESTAMP, .i = marks[i], .is_null = marks[i] == 999};
        vector_set(&v, i, &x);
    }
    source_time_rows(t, partition, &v, NULL, n, before);
    arena_deinit(&a);
}

static void test_window__watermark_is_the_smallest_of_busy_partitions(void **state)
{
    struct source_time t;
    struct arena a;
    int64_t before[8];
    arena_init(&a, 0);
    source_time_init(&t, 3, 0, &a);
    rows(&t, 0, (int64_t[]){5, 3, 999, 9}, 4, before);
    assert_true(t.watermark == WATERMARK_NONE); /* the others have said nothing yet */
    rows(&t, 1, (int64_t[]){7}, 1, before);
    rows(&t, 2, (int64_t[]){4, 6}, 2, before);
    assert_true(before[0] == WATERMARK_NONE && before[1] == 4); /* each row meets what those before it made */
    assert_int_equal(t.watermark, 6);
    t.partitions[0].last_ns = 100;
    assert_int_equal(source_time_idle(&t, 50, 60), 60);
    assert_int_equal(source_time_idle(&t, 60, 60), 160); /* 1 and 2 are idle now */
    source_time_advance(&t);
    assert_int_equal(t.watermark, 9);
    assert_false(source_time_all_idle(&t));
    rows(&t, 2, (int64_t[]){7}, 1, before); /* wakes up behind: the watermark does not move back */
    assert_int_equal(before[0], 9);
    assert_int_equal(t.watermark, 9);
    t.partitions[2].has_ended = true;
    rows(&t, 0, (int64_t[]){20}, 1, before);
    assert_int_equal(t.watermark, 20);
    assert_true(source_time_idle(&t, 1000, 60) == UINT64_MAX);
    assert_true(source_time_all_idle(&t));
    source_time_advance(&t);
    assert_int_equal(t.watermark, 20); /* W4 */
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipeline__steady_path_calls_no_malloc),
        cmocka_unit_test(test_pipeline__groups_match_a_naive_table),
        cmocka_unit_test(test_pipeline__restored_state_goes_on_the_same),
        cmocka_unit_test(test_window__starts_are_floors),
        cmocka_unit_test(test_window__watermark_is_the_smallest_of_busy_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
