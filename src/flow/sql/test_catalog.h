/* test_catalog.h: three streams for the tests of the SQL front, and shorthands to bind. Included only from tests. */
#ifndef WEIR_FLOW_SQL_TEST_CATALOG_H
#define WEIR_FLOW_SQL_TEST_CATALOG_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "flow/sql/sql.h"

static const char *const catalog_texts[] = {
    "CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, ts TIMESTAMP(3), ok BOOLEAN,"
    " rate DOUBLE, day DATE, n INT, pos BIGINT METADATA FROM 'offset' VIRTUAL, cents AS price * 100,"
    " WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH ('topic' = 'bids', 'format' = 'json')",
    "CREATE STREAM plain (a BIGINT, b STRING, t TIMESTAMP(3))",
    "CREATE STREAM ltz (k STRING, ms BIGINT, t AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR t AS t)",
};
struct test_catalog {
    struct sql_catalog base;
    struct arena arena;
    struct stream_def *defs[ARRAY_LEN(catalog_texts)];
};

static const struct stream_def *catalog_find(struct sql_catalog *c, struct bytes name)
{
    struct test_catalog *catalog = CONTAINER_OF(c, struct test_catalog, base);
    for (size_t i = 0; i < ARRAY_LEN(catalog_texts); i++) {
        if (bytes_equal(catalog->defs[i]->name, name)) return catalog->defs[i];
    }
    return NULL;
}

static void catalog_names(struct sql_catalog *c, void (*fn)(void *arg, struct bytes name), void *arg)
{
    struct test_catalog *catalog = CONTAINER_OF(c, struct test_catalog, base);
    for (size_t i = 0; i < ARRAY_LEN(catalog_texts); i++)
        fn(arg, catalog->defs[i]->name);
}

static void catalog_init(struct test_catalog *c)
{
    struct sql_error e;
    c->base = (struct sql_catalog){catalog_find, catalog_names};
    arena_init(&c->arena, 0);
    for (size_t i = 0; i < ARRAY_LEN(catalog_texts); i++) {
        if (sql_bind_stream(&c->defs[i], bytes_str(catalog_texts[i]), &c->arena, &e) != ERR_NONE)
            fail_msg("%s", e.err.text);
    }
}

static void catalog_deinit(struct test_catalog *c)
{
    arena_deinit(&c->arena);
}

/* Binds what must bind. */
static struct statement *bind_ok(struct test_catalog *c, const char *text)
{
    struct statement *s = NULL;
    struct sql_error e;
    if (sql_bind(&s, bytes_str(text), &c->base, &c->arena, &e) != ERR_NONE)
        fail_msg("%s\nat %d:%d: %s (%s)", text, e.line, e.column, e.err.text, e.err.hint);
    return s;
}

UNUSED static const char *plan_text(struct test_catalog *c, const char *text)
{
    struct statement *s = bind_ok(c, text);
    struct buf out;
    const char *copy;

    buf_init(&out, 0);
    plan_render(&out, s->plan);
    copy = arena_printf(&c->arena, "%.*s", BYTES_ARG(buf_bytes(&out)));
    buf_deinit(&out);
    return copy;
}

#endif
