/* fuzz_sql: any bytes as a script: every statement is split off, bound against a fixed catalog, and what binds is
 * rendered; a definition made by AS SELECT must read back. Found errors must be inside of the text. */
#include "fuzz.h"

#include "flow/sql/sql.h"

static const char *const definitions[] = {
    "CREATE STREAM bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, ts TIMESTAMP(3), ok BOOLEAN,"
    " rate DOUBLE, day DATE, n INT, o BIGINT METADATA FROM 'offset' VIRTUAL, cents AS price * 100,"
    " WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)",
    "CREATE STREAM log (k STRING, ms BIGINT, t AS TO_TIMESTAMP_LTZ(ms, 3), WATERMARK FOR t AS t)",
};
struct catalog {
    struct sql_catalog base;
    struct stream_def *defs[ARRAY_LEN(definitions)];
};

static const struct stream_def *find(struct sql_catalog *c, struct bytes name)
{
    struct catalog *catalog = CONTAINER_OF(c, struct catalog, base);
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        if (bytes_equal(catalog->defs[i]->name, name)) return catalog->defs[i];
    }
    return NULL;
}

static void names(struct sql_catalog *c, void (*fn)(void *arg, struct bytes name), void *arg)
{
    struct catalog *catalog = CONTAINER_OF(c, struct catalog, base);
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++)
        fn(arg, catalog->defs[i]->name);
}

static void bind_one(struct catalog *catalog, struct bytes text, struct arena *arena)
{
    struct statement *s;
    struct stream_def *def;
    struct sql_error e;
    struct buf out;

    buf_init(&out, 1 << 20);
    if (sql_bind(&s, text, &catalog->base, arena, &e) != ERR_NONE) {
        check(e.position >= -1 && e.position <= (int)text.len);
        check(e.err.text[0] != '\0');
        sql_error_render(&out, &e, text);
    } else {
        if (s->plan != NULL) plan_render(&out, s->plan);
        if (s->stream != NULL) check(sql_bind_stream(&def, s->stream->sql, arena, &e) == ERR_NONE);
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct catalog catalog = {.base = {find, names}};
    struct bytes rest = bytes_of(data, size);
    size_t n;
    bool is_blank;

    arena_init(&arena, 0);
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++)
        check(sql_bind_stream(&catalog.defs[i], bytes_str(definitions[i]), &arena, NULL) == ERR_NONE);
    while ((n = sql_split(rest, &is_blank)) > 0) {
        check(n <= rest.len);
        bind_one(&catalog, bytes_slice(rest, 0, n), &arena);
        rest = bytes_slice(rest, n, rest.len - n);
    }
    bind_one(&catalog, rest, &arena);
    arena_deinit(&arena);
    return 0;
}
