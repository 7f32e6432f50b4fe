/* A SELECT of a session: feed -> pipeline -> sink. No commits, nothing is kept.
 *
 * Q1  Without EMIT (or in an engine that is bounded) it reads from the start to the ends it saw when it began,
 *     then ends.
 * Q2  A full sink stops reading; rows that a closing window or a sort holds come out together all the same.
 * Q3  Bad and late rows are counted, and said once at the end with the first one's place. */
#include "flow/engine_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

struct query {
    struct script *script;
    const struct plan *plan;
    struct pipeline *pipeline;
    struct feed feed;
    bool is_bounded, emit_changes;
    struct sql_schema schema;
    struct sql_value *values;
    uint64_t n_bad, n_late;
    char first_bad[300];
};

static void on_rows(void *arg, const struct chunk *c)
{
    struct query *q = arg;
    for_rows(i, c->sel, c->n_sel)
    {
        struct sql_row row = {.values = q->values, .change = c->change ? c->change[i] : 1};
        for (int k = 0; k < q->schema.n; k++)
            vector_get(&c->cols[k], i, q->schema.columns[k].type.kind, &q->values[k]);
        q->script->sink->row(q->script->sink, &q->schema, &row);
    }
}

static void on_bad(void *arg, const struct row_origin *o, const char *text)
{
    struct query *q = arg;
    if (q->n_bad++ > 0) return;
    if (o->partition >= 0)
        snprintf(q->first_bad, sizeof q->first_bad, "partition %d, offset %lld: %s", (int)o->partition,
                 (long long)o->offset, text);
    else
        snprintf(q->first_bad, sizeof q->first_bad, "%s", text);
}

static void on_late(void *arg, const struct row_origin *o, int64_t window_end_us, int64_t watermark_us)
{
    struct query *q = arg;
    q->n_late++;
}

enum err_code query_create(struct query **out, struct script *s, const struct statement *st, struct err *e)
{
    struct engine *en = s->engine;
    struct query *q = calloc(1, sizeof *q);
    check(q != NULL);
    q->script = s;
    q->plan = st->plan;
    q->is_bounded = en->options.bounded || st->emit == EMIT_DEFAULT;
    q->emit_changes = st->emit == EMIT_CHANGES;
    q->schema = (struct sql_schema){.columns = st->plan->columns, .n = st->plan->n_columns};
    q->values = arena_array(&s->arena, (size_t)q->schema.n, sizeof *q->values);
    q->feed.bad = on_bad;
    q->feed.arg = q;
    struct pipeline_options o = {.emit = q->emit_changes ? EMIT_CHANGES : EMIT_FINAL,
                                 .state_bytes_max = en->options.state_bytes_max};
    struct pipeline_hooks hooks = {.rows = on_rows, .bad = on_bad, .late = on_late, .arg = q};
    enum err_code rc = pipeline_create(&q->pipeline, st->plan, &o, &hooks, e);
    if (rc == ERR_NONE) rc = feed_open(&q->feed, en, st->plan, q->pipeline, q->is_bounded, e);
    if (rc != ERR_NONE) {
        query_destroy(q);
        return rc;
    }
    s->sink->columns(s->sink, &q->schema);
    *out = q;
    return ERR_NONE;
}

void query_destroy(struct query *q)
{
    if (q == NULL) return;
    feed_close(&q->feed);
    pipeline_destroy(q->pipeline);
    free(q);
}

static bool sink_is_full(const struct query *q)
{
    struct sql_sink *sink = q->script->sink;
    return sink->is_full && sink->is_full(sink);
}

static void query_end(struct query *q)
{
    pipeline_end(q->pipeline);
    if (q->n_bad > 0)
        script_message(q->script, "%" PRIu64 " bad row%s left out; the first: %s", q->n_bad,
                       q->n_bad == 1 ? " was" : "s were", q->first_bad);
    if (q->n_late > 0)
        script_message(q->script, "%" PRIu64 " row%s came after the window was closed", q->n_late,
                       q->n_late == 1 ? "" : "s");
}

bool query_step(struct query *q, const struct engine_now *now, uint64_t *deadline_ns, bool *done, enum err_code *rc,
                struct err *e)
{
    bool moved = true, any = false;
    *done = false;
    *rc = ERR_NONE;
    for (int i = 0; i < STEP_READS_MAX && moved && !q->feed.has_ended; i++) {
        if (sink_is_full(q)) return false; /* engine_script_resume wakes */
        *rc = feed_read(&q->feed, now->mono_ns, &moved, e);
        *done = *rc != ERR_NONE;
        if (*done) return false;
        if (q->emit_changes) pipeline_flush(q->pipeline);
        any = any || moved;
    }
    if (feed_idle(&q->feed, now->mono_ns, deadline_ns) && q->emit_changes) pipeline_flush(q->pipeline);
    if (q->feed.has_ended || pipeline_is_done(q->pipeline)) {
        query_end(q);
        *done = true;
        return false;
    }
    return any;
}

bool query_is_idle(const struct query *q)
{
    return !q->is_bounded && feed_is_drained(&q->feed);
}
