/* engine_world_test.h: an engine over a port in memory, for tests: statements in, text out. Time moves only when a test
 * says so. */
#ifndef WEIR_FLOW_ENGINE_WORLD_TEST_H
#define WEIR_FLOW_ENGINE_WORLD_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/batch.h"
#include "base/limits.h"
#include "flow/engine.h"
#include "port/sim_port.h"

struct world {
    struct sql_sink sink;
    struct port *port;
    struct engine *engine;
    struct engine_options options;
    struct engine_now now;
    struct buf out; /* rows as JSON lines ("-" in front: retracted), messages as "# text", errors as "! text" */
    struct buf dump;
    bool done, is_full;
    uint64_t deadline;
};

static inline struct world *world_of(struct sql_sink *s)
{
    return CONTAINER_OF(s, struct world, sink);
}
static inline void world_columns(struct sql_sink *s, const struct sql_schema *schema)
{
    (void)s, (void)schema;
}
static inline void world_row(struct sql_sink *s, const struct sql_schema *schema, const struct sql_row *row)
{
    struct world *w = world_of(s);
    if (row->change < 0) buf_put_u8(&w->out, '-');
    sql_row_put_json(&w->out, schema, row);
    buf_put_u8(&w->out, '\n');
}
static inline void world_message(struct sql_sink *s, const char *text)
{
    buf_printf(&world_of(s)->out, "# %s\n", text);
}
static inline void world_done(struct sql_sink *s, const struct sql_error *e, struct bytes rendered)
{
    world_of(s)->done = true;
    if (e) buf_printf(&world_of(s)->out, "! %s\n", e->err.text);
    assert_int_equal(e != NULL, rendered.len > 0);
}
static inline bool world_is_full(struct sql_sink *s)
{
    return world_of(s)->is_full;
}

static inline void world_start(struct world *w)
{
    assert_int_equal(engine_create(&w->engine, w->port, &w->options, NULL), ERR_NONE);
    assert_int_equal(engine_load(w->engine, NULL), ERR_NONE);
}

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->sink = (struct sql_sink){world_columns, world_row, world_message, world_done, world_is_full};
    w->port = sim_port_create();
    w->now = (struct engine_now){.mono_ns = 1000000000000, .wall_ms = 1700000000000};
    buf_init(&w->out, 0);
    buf_init(&w->dump, 0);
    world_start(w);
}

static inline void world_deinit(struct world *w)
{
    engine_destroy(w->engine);
    sim_port_destroy(w->port);
    buf_deinit(&w->out);
    buf_deinit(&w->dump);
}

/* The process dies and comes back. */
static inline void world_restart(struct world *w, bool keep_pending)
{
    sim_port_restart(w->port, keep_pending);
    engine_destroy(w->engine);
    world_start(w);
}

static inline bool world_turn(struct world *w)
{
    bool moved = sim_port_pump(w->port);
    return engine_step(w->engine, &w->now, &w->deadline) || moved;
}

static inline void world_advance(struct world *w, int64_t ms)
{
    w->now.mono_ns += (uint64_t)ms * 1000000u;
    w->now.wall_ms += ms;
}

/* Until everything there is has been read and committed. Passes at most some commit intervals of time. */
static inline void world_settle(struct world *w)
{
    for (int i = 0; i < 100000; i++) {
        if (world_turn(w)) continue;
        if (engine_is_idle(w->engine)) return;
        world_advance(w, 5);
    }
    fail_msg("the engine does not come to rest");
}

static inline const char *text_of(struct buf *b)
{
    buf_put_u8(b, 0);
    b->len--;
    return (const char *)b->ptr;
}

/* Runs a script to its end (or to rest, for a continuous SELECT: then *script stays); returns what came out. */
static inline struct script *world_begin(struct world *w, const char *text)
{
    w->done = false;
    buf_clear(&w->out);
    struct script *s = engine_execute(w->engine, bytes_str(text), &w->sink, &w->now);
    for (int i = 0; i < 100000 && !w->done; i++)
        if (!world_turn(w) && engine_is_idle(w->engine)) break;
    return w->done ? NULL : s;
}
static inline const char *world_run(struct world *w, const char *text)
{
    struct script *s = world_begin(w, text);
    assert_null(s);
    return text_of(&w->out);
}

static inline void world_put(struct world *w, const char *topic, int partition, int64_t ts, const char *key,
                             const char *value)
{
    struct err e = {0};
    if (sim_port_put(w->port, topic, partition, ts, key ? bytes_str(key) : BYTES_NULL,
                     value ? bytes_str(value) : BYTES_NULL, &e) != ERR_NONE)
        fail_msg("%s", e.text);
}

/* "0 key value\n" for every record of a topic, partition after partition; "(no topic)". With headers: " name=value"
 * behind. */
static inline const char *world_topic_full(struct world *w, const char *topic, bool with_time, bool with_headers)
{
    struct port *p = w->port;
    struct port_topic t;
    struct buf scratch;
    buf_clear(&w->dump);
    if (p->topic_find(p, bytes_str(topic), &t, NULL) != ERR_NONE) return "(no topic)";
    buf_init(&scratch, 0);
    for (int32_t k = 0; k < t.n_partitions; k++) {
        struct port_read r;
        assert_int_equal(p->read(p, t.id, k, 0, 1u << 30, &r, NULL), ERR_NONE);
        struct bytes left = r.batches;
        while (left.len > 0) {
            struct batch_view v;
            struct batch_iter it;
            struct record rec;
            bool more;
            assert_int_equal(batch_view_parse(&v, left, NULL), ERR_NONE);
            assert_int_equal(batch_iter_init(&it, &v, &scratch, NULL), ERR_NONE);
            while (batch_iter_next(&it, &rec, &more, NULL) == ERR_NONE && more) {
                struct bytes key = bytes_is_null(rec.key) ? BYTES_LIT("-") : rec.key;
                struct bytes value = bytes_is_null(rec.value) ? BYTES_LIT("(null)") : rec.value;
                buf_printf(&w->dump, "%d ", (int)k);
                if (with_time) buf_printf(&w->dump, "@%lld ", (long long)rec.timestamp);
                buf_printf(&w->dump, "%.*s %.*s", BYTES_ARG(key), BYTES_ARG(value));
                struct record_header h;
                while (with_headers && record_header_next(&rec.headers, &h))
                    buf_printf(&w->dump, " %.*s=%.*s", BYTES_ARG(h.key), BYTES_ARG(h.value));
                buf_put_u8(&w->dump, '\n');
            }
            left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        }
        p->release(p, &r);
    }
    buf_deinit(&scratch);
    return text_of(&w->dump);
}
static inline const char *world_topic(struct world *w, const char *topic)
{
    return world_topic_full(w, topic, false, false);
}

#endif
