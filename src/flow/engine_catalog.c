/* The streams that statements may name. Each is bound from its stored text into memory of its own, so that dropping one
 * frees it. */
#include "flow/engine_int.h"

#include <stdlib.h>

static const struct stream_def *find(struct sql_catalog *c, struct bytes name)
{
    struct stream *s = catalog_find(CONTAINER_OF(c, struct catalog, sql), name);
    return s ? s->def : NULL;
}

static void names(struct sql_catalog *c, void (*fn)(void *arg, struct bytes name), void *arg)
{
    struct catalog *k = CONTAINER_OF(c, struct catalog, sql);
    struct map_entry *m;
    uint32_t pos = 0;
    while ((m = map_next(&k->streams, &pos)) != NULL)
        fn(arg, m->key);
}

static void stream_free(struct stream *s)
{
    if (s == NULL) return;
    arena_deinit(&s->arena);
    free(s);
}

void catalog_init(struct catalog *c)
{
    c->sql = (struct sql_catalog){.find = find, .names = names};
    map_init(&c->streams);
}

void catalog_deinit(struct catalog *c)
{
    struct map_entry *m;
    uint32_t pos = 0;
    while ((m = map_next(&c->streams, &pos)) != NULL)
        stream_free(m->value);
    map_deinit(&c->streams);
    catalog_sweep(c);
}

static void retire(struct catalog *c, struct stream *s)
{
    if (s == NULL) return;
    s->next = c->retired;
    c->retired = s;
}

void catalog_sweep(struct catalog *c)
{
    while (c->retired) {
        struct stream *next = c->retired->next;
        stream_free(c->retired);
        c->retired = next;
    }
}

struct stream *catalog_find(struct catalog *c, struct bytes name)
{
    return map_get(&c->streams, name);
}

/* A stream's definition must not point into another's memory: it is bound again from its own CREATE STREAM text. */
static enum err_code put(struct catalog *c, struct bytes text, bool is_flow, struct sql_error *e)
{
    struct stream *s = calloc(1, sizeof *s);
    struct stream_def *def = NULL;
    check(s != NULL);
    arena_init(&s->arena, 4096);
    enum err_code rc = sql_bind_stream(&def, text, &s->arena, e);
    if (rc != ERR_NONE) {
        stream_free(s);
        return rc;
    }
    s->def = def;
    s->is_flow = is_flow;
    retire(c, map_put(&c->streams, def->name, s));
    return ERR_NONE;
}

enum err_code catalog_put_stream(struct catalog *c, struct bytes text, struct sql_error *e)
{
    return put(c, text, false, e);
}

enum err_code catalog_put_flow(struct catalog *c, struct bytes text, struct sql_error *e)
{
    return put(c, text, true, e);
}

void catalog_remove(struct catalog *c, struct bytes name)
{
    retire(c, map_remove(&c->streams, name));
}
