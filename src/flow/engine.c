/* The engine: streams, flows and scripts over one port, stepped by its owner.
 *
 * E1  Nothing happens but inside of engine_step and engine_load: wakes of the port and answers of commits only
 *     note and call `wake`.
 * E2  Each step is bounded: a few reads per flow and per query, in order of creation. More work: true.
 * E3  A definition that cannot be loaded does not stop the others: a flow is then shown as failed, with the
 *     reason. */
#include "flow/engine_int.h"

#include <stdio.h>
#include <stdlib.h>

enum err_code engine_create(struct engine **out, struct port *port, const struct engine_options *o, struct err *e)
{
    struct engine *en = calloc(1, sizeof *en);
    if (en == NULL) return err_set(e, ERR_MEMORY, "no memory for an engine");
    en->port = port;
    en->options = *o;
    if (en->options.commit_interval_ms <= 0) en->options.commit_interval_ms = COMMIT_INTERVAL_MS_DEFAULT;
    if (en->options.idle_timeout_ms == 0) en->options.idle_timeout_ms = IDLE_TIMEOUT_MS_DEFAULT;
    if (en->options.default_partitions <= 0) en->options.default_partitions = 1;
    if (en->options.state_bytes_max == 0) en->options.state_bytes_max = STATE_BYTES_DEFAULT;
    catalog_init(&en->catalog);
    list_init(&en->flows);
    list_init(&en->scripts);
    *out = en;
    return ERR_NONE;
}

void engine_destroy(struct engine *en)
{
    struct list *l;
    if (en == NULL) return;
    en->options.wake = NULL;
    while ((l = list_first(&en->scripts)) != NULL)
        script_destroy(CONTAINER_OF(l, struct script, link));
    while ((l = list_first(&en->flows)) != NULL)
        flow_destroy(CONTAINER_OF(l, struct flow, link));
    catalog_deinit(&en->catalog);
    free(en);
}

void engine_wake(struct engine *en)
{
    if (en->options.wake) en->options.wake(en->options.wake_arg);
}

/* ---- loading ---- */

static bool on_stream(void *arg, struct bytes name, struct bytes text)
{
    struct engine *en = arg;
    struct sql_error e;
    /* A stream this version cannot read any more is unknown to statements; its definition stays stored. */
    (void)!catalog_put_stream(&en->catalog, text, &e);
    return true;
}

static bool on_flow(void *arg, struct bytes name, struct bytes text)
{
    struct engine *en = arg;
    struct flow *f = flow_create(en, name, text);
    if (f->state == FLOW_RUNNING) {
        struct sql_error e;
        if (catalog_put_flow(&en->catalog, f->statement->stream->sql, &e) != ERR_NONE) flow_fail(f, &e.err);
    }
    return true;
}

enum err_code engine_load(struct engine *en, struct err *e)
{
    check(!en->has_loaded);
    en->has_loaded = true;
    enum err_code rc = en->port->definitions(en->port, "stream", on_stream, en, e);
    if (rc == ERR_NONE) rc = en->port->definitions(en->port, "flow", on_flow, en, e);
    engine_wake(en);
    return rc;
}

/* ---- stepping ---- */

bool engine_step(struct engine *en, const struct engine_now *now, uint64_t *deadline_ns)
{
    uint64_t deadline = UINT64_MAX;
    bool more = false;
    en->now = *now;
    for (struct list *l = en->flows.next, *next; l != &en->flows; l = next) {
        next = l->next;
        more |= flow_step(CONTAINER_OF(l, struct flow, link), now, &deadline);
    }
    for (struct list *l = en->scripts.next, *next; l != &en->scripts; l = next) {
        next = l->next;
        more |= script_step(CONTAINER_OF(l, struct script, link), now, &deadline);
    }
    if (deadline_ns) *deadline_ns = deadline;
    return more;
}

bool engine_is_idle(const struct engine *en)
{
    for (struct list *l = en->flows.next; l != &en->flows; l = l->next)
        if (!flow_is_idle(CONTAINER_OF(l, struct flow, link))) return false;
    for (struct list *l = en->scripts.next; l != &en->scripts; l = l->next)
        if (!script_is_idle(CONTAINER_OF(l, struct script, link))) return false;
    return true;
}

/* ---- flows ---- */

struct flow *engine_flow(struct engine *en, struct bytes name)
{
    for (struct list *l = en->flows.next; l != &en->flows; l = l->next) {
        struct flow *f = CONTAINER_OF(l, struct flow, link);
        if (bytes_equal(f->name, name)) return f;
    }
    return NULL;
}

struct flow *engine_reader_of(struct engine *en, struct bytes stream)
{
    for (struct list *l = en->flows.next; l != &en->flows; l = l->next) {
        struct flow *f = CONTAINER_OF(l, struct flow, link);
        const struct plan *p = f->statement ? f->statement->plan : NULL;
        while (p && p->kind != PLAN_SCAN)
            p = p->input;
        if (p && bytes_equal(p->stream->name, stream)) return f;
    }
    return NULL;
}

void engine_flow_figures(struct engine *en, struct flow *f, struct flow_stats *out)
{
    *out = (struct flow_stats){
        .name = f->name, .state = f->state == FLOW_RUNNING ? "running" : "failed", .watermark_ms = INT64_MIN};
    snprintf(out->error, sizeof out->error, "%.199s", f->state == FLOW_FAILED ? f->error.text : "");
    out->rows_in = f->feed.rows_in;
    out->rows_out = f->rows_out;
    out->rows_bad = f->feed.rows_bad;
    out->rows_late = f->feed.rows_late;
    out->commits = f->commits;
    if (f->pipeline) {
        out->state_bytes = pipeline_state_bytes(f->pipeline);
        out->groups = pipeline_groups(f->pipeline);
    }
    if (!f->feed_is_open) return;
    int64_t us = f->feed.time.watermark;
    if (us != WATERMARK_NONE) out->watermark_ms = (us - (us % 1000 < 0 ? us % 1000 + 1000 : us % 1000)) / 1000;
    out->lag_records = feed_lag(&f->feed);
}

void engine_flow_stats(struct engine *en, void (*fn)(void *arg, const struct flow_stats *s), void *arg)
{
    for (struct list *l = en->flows.next; l != &en->flows; l = l->next) {
        struct flow_stats s;
        engine_flow_figures(en, CONTAINER_OF(l, struct flow, link), &s);
        fn(arg, &s);
    }
}
