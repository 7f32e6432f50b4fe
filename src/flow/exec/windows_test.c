/* Windows that overlap, against a model that counts by definition: every row in every window that holds its time and was not
 * over when the row came. The same rows go in whole, one by one, in random pieces, and with the state carried over to
 * another pipeline in between; with panes and with a row for each window. The seed is printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "flow/exec/pipeline.h"
#include "flow/exec/source.h"
#include "flow/exec/window.h"
#include "flow/sql/sql.h"

#define N_ROWS 400
#define N_KEYS 4
#define N_WINDOWS_MAX 4000
#define DELAY_MS 1000

static uint64_t seed_state;
static uint32_t chance(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed_state >> 33) % below;
}

struct row {
    int key;
    int64_t v, t_ms;
    char text[100];
};
static struct row rows[N_ROWS];

static void make_rows(void)
{
    int64_t ms = 1000000 - (int64_t)chance(2000000); /* before and after 1970 */
    for (int i = 0; i < N_ROWS; i++) {
        struct row *r = &rows[i];
        ms += chance(20) == 0 ? chance(40000) : chance(700);
        r->key = (int)chance(N_KEYS);
        r->v = (int64_t)chance(1000) - 500;
        r->t_ms = ms - chance(chance(6) == 0 ? 15000 : 1500);
        snprintf(r->text, sizeof r->text, "{\"k\":%d,\"v\":%lld,\"d\":%d.5,\"t\":%lld}", r->key, (long long)r->v,
                 (int)(r->v / 8), (long long)r->t_ms);
    }
}

/* ---- the model ---- */
struct cell {
    int64_t start_ms, end_ms, n, sum, min, max;
    int key, order; /* of its first row */
    double sum_d;
};
static struct cell cells[N_WINDOWS_MAX];
static int n_cells, n_late;

static void count_in(const struct row *r, int order, int64_t start, int64_t end)
{
    struct cell *c = NULL;
    for (int i = 0; i < n_cells && c == NULL; i++)
        if (cells[i].key == r->key && cells[i].start_ms == start && cells[i].end_ms == end) c = &cells[i];
    if (c == NULL) {
        assert_true(n_cells < N_WINDOWS_MAX);
        c = &cells[n_cells++];
        *c = (struct cell){.start_ms = start, .end_ms = end, .key = r->key, .order = order, .min = r->v, .max = r->v};
    }
    c->n++;
    c->sum += r->v;
    c->sum_d += (double)(int)(r->v / 8) + (r->v / 8 < 0 || (r->v / 8 == 0 && r->v < 0) ? -0.5 : 0.5);
    if (r->v < c->min) c->min = r->v;
    if (r->v > c->max) c->max = r->v;
}

static int by_end_then_order(const void *a, const void *b)
{
    const struct cell *x = a, *y = b;
    if (x->end_ms != y->end_ms) return x->end_ms < y->end_ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static int64_t floor_to(int64_t t, int64_t size)
{
    int64_t rest = t % size;
    return t - (rest < 0 ? rest + size : rest);
}

static void model(enum window_kind kind, int64_t step, int64_t size, int64_t offset)
{
    int64_t watermark = INT64_MIN;
    n_cells = n_late = 0;
    for (int i = 0; i < N_ROWS; i++) {
        int64_t t = rows[i].t_ms;
        bool counted = false;
        for (int64_t end = floor_to(t - offset, step) + offset + step; end <= t + size; end += step) {
            int64_t start = kind == WINDOW_HOP ? end - size : floor_to(end - step - offset, size) + offset;
            if (t < start || t >= end) continue;
            if (watermark != INT64_MIN && watermark >= end - 1) continue;
            count_in(&rows[i], i, start, end);
            counted = true;
        }
        n_late += !counted;
        if (t - DELAY_MS > watermark) watermark = t - DELAY_MS;
    }
    qsort(cells, (size_t)n_cells, sizeof cells[0], by_end_then_order);
}

/* ---- the pipeline ---- */
struct rig {
    struct sql_catalog catalog;
    struct arena arena;
    const struct stream_def *def;
    struct statement *statement;
    struct source *source;
    struct pipeline *pipeline;
    struct source_time time;
    struct buf out;
    int late;
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
    for_rows(i, c->sel, c->n_sel)
    {
        struct sql_row row = {.values = v, .change = 1};
        for (int k = 0; k < c->n_cols; k++)
            vector_get(&c->cols[k], i, columns[k].type.kind, &v[k]);
        sql_row_put_json(&r->out, &schema, &row);
        buf_put_u8(&r->out, '\n');
    }
}
static void on_bad(void *arg, const struct row_origin *o, const char *text)
{
    (void)arg, (void)o;
    fail_msg("a bad row: %s", text);
}
static void on_late(void *arg, const struct row_origin *o, int64_t end, int64_t watermark)
{
    (void)o;
    assert_true(window_is_over(end, watermark));
    ((struct rig *)arg)->late++;
}

static void rig_pipeline(struct rig *r)
{
    struct pipeline_options o = {.emit = r->statement->emit};
    struct pipeline_hooks h = {.rows = on_rows, .bad = on_bad, .late = on_late, .arg = r};
    assert_int_equal(pipeline_create(&r->pipeline, r->statement->plan, &o, &h, NULL), ERR_NONE);
}
static void rig_init(struct rig *r, const char *sql)
{
    static const char stream[] =
        "CREATE STREAM s (k BIGINT, v BIGINT, d DOUBLE, t TIMESTAMP(3), WATERMARK FOR t AS t - "
        "INTERVAL '1' SECOND) WITH ('topic' = 's', 'format' = 'json')";
    struct sql_error e;
    struct stream_def *def = NULL;
    memset(r, 0, sizeof *r);
    arena_init(&r->arena, 0);
    buf_init(&r->out, 0);
    r->catalog.find = find;
    assert_int_equal(sql_bind_stream(&def, bytes_str(stream), &r->arena, &e), ERR_NONE);
    r->def = def;
    if (sql_bind(&r->statement, bytes_str(sql), &r->catalog, &r->arena, &e) != ERR_NONE)
        fail_msg("%s: %s", sql, e.err.text);
    const struct plan *scan = r->statement->plan;
    while (scan->kind != PLAN_SCAN)
        scan = scan->input;
    assert_int_equal(source_create(&r->source, scan, NULL), ERR_NONE);
    rig_pipeline(r);
    source_time_init(&r->time, 1, 0, &r->arena);
}
static void rig_deinit(struct rig *r)
{
    source_destroy(r->source);
    pipeline_destroy(r->pipeline);
    buf_deinit(&r->out);
    arena_deinit(&r->arena);
}
static void rig_push(struct rig *r, int from, int n)
{
    source_begin(r->source, 0);
    for (int i = from; i < from + n; i++) {
        struct record rec = {.offset = r->offset++, .timestamp = 1, .value = bytes_str(rows[i].text)};
        source_add(r->source, &rec);
    }
    const struct chunk *c = source_finish(r->source, &r->time, on_bad, r);
    assert_int_equal(pipeline_push(r->pipeline, c, NULL), ERR_NONE);
    pipeline_watermark(r->pipeline, r->time.watermark);
}
static void on_state(void *arg, struct bytes key, struct bytes value)
{
    assert_false(bytes_is_null(value));
    assert_true(pipeline_restore(arg, key, value));
}
static void rig_restart(struct rig *r)
{
    struct pipeline *old = r->pipeline;
    rig_pipeline(r);
    pipeline_collect(old, true, on_state, r->pipeline);
    pipeline_resume(r->pipeline, r->time.watermark);
    pipeline_destroy(old);
}

enum feeding { WHOLE, ONE_BY_ONE, PIECES, PIECES_AND_RESTARTS, FEEDINGS };
static void run(struct rig *r, const char *sql, enum feeding how)
{
    rig_init(r, sql);
    for (int at = 0, n; at < N_ROWS; at += n) {
        n = how == WHOLE ? N_ROWS : how == ONE_BY_ONE ? 1 : 1 + (int)chance(60);
        if (n > N_ROWS - at) n = N_ROWS - at;
        rig_push(r, at, n);
        if (how == PIECES_AND_RESTARTS && chance(3) == 0) rig_restart(r);
    }
    pipeline_end(r->pipeline);
    buf_put_u8(&r->out, 0);
}

static void model_put(struct buf *out)
{
    struct sql_type time = {.kind = SQL_TIMESTAMP, .precision = 3};
    buf_clear(out);
    for (int i = 0; i < n_cells; i++) {
        const struct cell *c = &cells[i];
        struct sql_value start = {.kind = SQL_TIMESTAMP, .i = c->start_ms * 1000},
                         end = {.kind = SQL_TIMESTAMP, .i = c->end_ms * 1000};
        buf_printf(out, "{\"k\":%d,\"a\":", c->key);
        sql_value_put_json(out, &start, time);
        buf_put_str(out, ",\"b\":");
        sql_value_put_json(out, &end, time);
        buf_printf(out, ",\"n\":%lld,\"s\":%lld,\"lo\":%lld,\"hi\":%lld}\n", (long long)c->n, (long long)c->sum,
                   (long long)c->min, (long long)c->max);
    }
    buf_put_u8(out, 0);
}

static void test_windows__match_the_definition(void **state)
{
    static const char *const items[] = {
        "k, window_start AS a, window_end AS b, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS lo, MAX(v) AS hi",
        /* Asks for the window itself, so a row comes once for each window. */
        "k, window_start AS a, window_end AS b, COUNT(*) FILTER (WHERE window_end > window_start) AS n, SUM(v) AS s, "
        "MIN(v) AS lo, MAX(v) AS hi",
    };
    struct buf want;
    (void)state;
    buf_init(&want, 0);
    for (int round = 0; round < 60; round++) {
        enum window_kind kind = chance(2) ? WINDOW_HOP : WINDOW_CUMULATE;
        int64_t step = 500 * (1 + chance(12)), size = step * (1 + chance(8)), offset = chance(3) ? 0 : chance(9000);
        make_rows();
        model(kind, step, size, offset % size);
        model_put(&want);
        for (int q = 0; q < 2; q++) {
            for (enum feeding how = WHOLE; how < FEEDINGS; how++) {
                char sql[600];
                struct rig r;
                snprintf(sql, sizeof sql,
                         "SELECT %s FROM TABLE(%s(TABLE s, DESCRIPTOR(t), INTERVAL '%lld.%03lld' SECOND, INTERVAL "
                         "'%lld.%03lld' SECOND, INTERVAL '%lld.%03lld' SECOND)) GROUP BY k, window_start, window_end",
                         items[q], kind == WINDOW_HOP ? "HOP" : "CUMULATE", (long long)step / 1000,
                         (long long)step % 1000, (long long)size / 1000, (long long)size % 1000,
                         (long long)offset / 1000, (long long)offset % 1000);
                run(&r, sql, how);
                if (strcmp((const char *)r.out.ptr, (const char *)want.ptr) != 0)
                    fail_msg("round %d, feeding %d: %s\n--- want\n%s--- got\n%s", round, how, sql, want.ptr, r.out.ptr);
                assert_int_equal(r.late, n_late);
                rig_deinit(&r);
            }
        }
    }
    buf_deinit(&want);
}

/* Without an aggregate every row comes once for each window, in the order of their ends. */
static void test_windows__a_row_is_in_each_of_its_windows(void **state)
{
    struct rig r;
    (void)state;
    snprintf(rows[0].text, sizeof rows[0].text, "{\"k\":1,\"t\":7000}");
    rig_init(&r, "SELECT k, window_start AS a, window_time AS c FROM TABLE(HOP(TABLE s, DESCRIPTOR(t), INTERVAL '5' "
                 "SECOND, INTERVAL '10' SECOND))");
    rig_push(&r, 0, 1);
    buf_put_u8(&r.out, 0);
    assert_string_equal(r.out.ptr, "{\"k\":1,\"a\":\"1970-01-01 00:00:00.000\",\"c\":\"1970-01-01 00:00:09.999\"}\n"
                                   "{\"k\":1,\"a\":\"1970-01-01 00:00:05.000\",\"c\":\"1970-01-01 00:00:14.999\"}\n");
    rig_deinit(&r);
    rig_init(&r, "SELECT k, window_start AS a, window_end AS b FROM TABLE(CUMULATE(DATA => TABLE s, TIMECOL => "
                 "DESCRIPTOR(t), STEP => INTERVAL '3' SECOND, SIZE => INTERVAL '9' SECOND))");
    rig_push(&r, 0, 1);
    buf_put_u8(&r.out, 0);
    assert_string_equal(r.out.ptr, "{\"k\":1,\"a\":\"1970-01-01 00:00:00.000\",\"b\":\"1970-01-01 00:00:09.000\"}\n");
    rig_deinit(&r);
}

static void test_windows__group_by_hop_is_the_same(void **state)
{
    struct rig r, old;
    (void)state;
    make_rows();
    run(&r,
        "SELECT k, window_start AS a, window_end AS b, window_time AS c, COUNT(*) AS n FROM TABLE(HOP(TABLE s, "
        "DESCRIPTOR(t), "
        "INTERVAL '2' SECOND, INTERVAL '6' SECOND)) GROUP BY k, window_start, window_end, window_time",
        WHOLE);
    run(&old,
        "SELECT k, HOP_START(t, INTERVAL '2' SECOND, INTERVAL '6' SECOND) AS a, HOP_END(t, INTERVAL '2' SECOND, "
        "INTERVAL "
        "'6' SECOND) AS b, HOP_ROWTIME(t, INTERVAL '2' SECOND, INTERVAL '6' SECOND) AS c, COUNT(*) AS n FROM s GROUP "
        "BY "
        "k, HOP(t, INTERVAL '2' SECOND, INTERVAL '6' SECOND)",
        PIECES);
    assert_true(r.out.len > 1000);
    assert_string_equal(r.out.ptr, old.out.ptr);
    rig_deinit(&r);
    rig_deinit(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows__match_the_definition),
        cmocka_unit_test(test_windows__a_row_is_in_each_of_its_windows),
        cmocka_unit_test(test_windows__group_by_hop_is_the_same),
    };
    const char *seed = getenv("SEED");
    seed_state = seed != NULL ? strtoull(seed, NULL, 10) : 11;
    printf("seed %llu\n", (unsigned long long)seed_state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
