/* Scripts: one statement after the other; the first failure ends the script. All of it happens inside engine_step, so
 * that a sink is never called from engine_execute. */
#include "flow/engine_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STATEMENTS_PER_STEP_MAX 16

struct script *engine_execute(struct engine *en, struct bytes text, struct sql_sink *sink, const struct engine_now *now)
{
    struct script *s = calloc(1, sizeof *s);
    check(s != NULL);
    en->now = *now;
    s->engine = en;
    s->sink = sink;
    s->is_too_long = text.len > LIMIT_SQL_BYTES_MAX;
    buf_init(&s->text, 0);
    if (!s->is_too_long) buf_put_bytes(&s->text, text);
    arena_init(&s->arena, 0);
    list_push_back(&en->scripts, &s->link);
    engine_wake(en);
    return s;
}

void script_destroy(struct script *s)
{
    if (s == NULL) return;
    struct engine *en = s->engine;
    list_remove(&s->link);
    query_destroy(s->query);
    arena_deinit(&s->arena);
    buf_deinit(&s->text);
    free(s);
    if (list_is_empty(&en->scripts)) catalog_sweep(&en->catalog);
}

void engine_script_cancel(struct engine *en, struct script *s)
{
    if (s->is_running)
        s->is_cancelled = true; /* from inside of a sink: it is freed when the step is over */
    else
        script_destroy(s);
}

void engine_script_resume(struct engine *en, struct script *s)
{
    engine_wake(en);
}

void script_message(struct script *s, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    s->sink->message(s->sink, text);
}

/* ---- ending ---- */

/* The place in the whole script of an error in the statement at `from`. */
static void place_in_script(const struct script *s, size_t from, struct sql_error *e)
{
    if (e->position < 0) return;
    e->position += (int)from;
    e->line = e->column = 1;
    for (size_t i = 0; i < (size_t)e->position && i < s->text.len; i++) {
        uint8_t c = s->text.ptr[i];
        if (c == '\n') {
            e->line++;
            e->column = 1;
        } else if ((c & 0xc0) != 0x80) {
            e->column++;
        }
    }
}

static void script_end(struct script *s, const struct sql_error *e)
{
    struct buf rendered;
    buf_init(&rendered, 0);
    if (e) sql_error_render(&rendered, e, buf_bytes(&s->text));
    if (!s->is_cancelled) s->sink->done(s->sink, e, buf_bytes(&rendered));
    buf_deinit(&rendered);
    script_destroy(s);
}

/* ---- stepping ---- */

enum progress { PROGRESS_MORE, PROGRESS_WAIT, PROGRESS_ENDED };

/* Takes the next statement. ENDED with e->err.code ERR_NONE: there is none. */
static enum progress statement_next(struct script *s, const struct engine_now *now, struct sql_error *e)
{
    struct bytes rest = bytes_slice(buf_bytes(&s->text), s->at, s->text.len - s->at);
    struct statement *st = NULL;
    bool is_blank = false;
    size_t from = s->at, n = sql_split(rest, &is_blank);
    if (n == 0) n = rest.len;
    s->at += n;
    if (is_blank || n == 0) return s->at >= s->text.len ? PROGRESS_ENDED : PROGRESS_MORE;
    arena_reset(&s->arena);
    enum err_code rc = sql_bind(&st, bytes_slice(rest, 0, n), &s->engine->catalog.sql, &s->arena, e);
    if (rc == ERR_NONE) {
        e->position = -1;
        rc = statement_run(s, st, now, e);
    }
    if (rc == ERR_NONE) return PROGRESS_MORE;
    place_in_script(s, from, e);
    return PROGRESS_ENDED;
}

static enum progress query_progress(struct script *s, const struct engine_now *now, uint64_t *deadline_ns,
                                    struct sql_error *e)
{
    bool done;
    enum err_code rc;
    bool more = query_step(s->query, now, deadline_ns, &done, &rc, &e->err);
    if (!done) return more ? PROGRESS_MORE : PROGRESS_WAIT;
    query_destroy(s->query);
    s->query = NULL;
    return rc == ERR_NONE ? PROGRESS_MORE : PROGRESS_ENDED;
}

bool script_step(struct script *s, const struct engine_now *now, uint64_t *deadline_ns)
{
    struct sql_error e = {.position = -1};
    enum progress p = PROGRESS_MORE;
    s->is_running = true;
    if (s->is_too_long) {
        (void)err_set(&e.err, ERR_LIMIT, "the text is longer than %u KiB", LIMIT_SQL_BYTES_MAX >> 10);
        p = PROGRESS_ENDED;
    }
    for (int i = 0; i < STATEMENTS_PER_STEP_MAX && p == PROGRESS_MORE && !s->is_cancelled; i++) {
        bool in_query = s->query != NULL;
        p = in_query ? query_progress(s, now, deadline_ns, &e) : statement_next(s, now, &e);
        if (in_query && s->query && p == PROGRESS_MORE) break; /* a slice of work is done */
    }
    s->is_running = false;
    if (p == PROGRESS_ENDED || s->is_cancelled) {
        script_end(s, e.err.code == ERR_NONE ? NULL : &e);
        return false;
    }
    return p == PROGRESS_MORE;
}

bool script_is_idle(const struct script *s)
{
    return s->query && query_is_idle(s->query);
}
