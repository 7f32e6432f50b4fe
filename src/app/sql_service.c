/* sql_service.c: the engine on its own thread.
 *
 *   shard loop                                worker loop (own thread)
 *   ----------                                ------------------------
 *   execute ──post start────────────────────▶ engine_execute ─▶ sink: rows appended to request->filling
 *   drain   ◀──────────────post drain──────── (every step that produced output)
 *   resume  ──post resume───────────────────▶ engine_script_resume
 *   cancel  ──post cancel───────────────────▶ engine_script_cancel ──post release──▶ freed on the shard
 *
 * S1  A request is freed on the shard, after the worker has said its last word about it (`released`).
 * S2  `filling` is the only thing both threads touch; request->lock protects it and the two flags beside it. A message
 *     per row would cost an allocation and a wake-up for each; the lock is held for a memcpy.
 * S3  The worker stops producing (is_full) when REQUEST_BYTES_MAX wait; the shard resumes it after draining. */
#include "app/sql_service.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/text.h"
#include "broker/broker_port.h"
#include "sys/os.h"

#define REQUEST_BYTES_MAX (1u << 20)

struct sql_service {
    /* Shard. */
    struct broker *broker;
    struct loop *shard;
    struct os_thread *thread;
    struct list requests;
    unsigned n_requests;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    struct task stopped_task; /* posted by the worker as its last act */
    /* Worker. */
    struct loop *loop;
    struct clock *clock;
    struct diag *diag;
    struct port *port;
    struct engine *engine;
    struct engine_options engine_options;
    struct task step_task, stop_task;
    struct timer step_timer;
    bool ending;
};

struct sql_request {
    struct sql_service *service;
    enum sql_format format;
    struct buf text;
    /* Shard. */
    struct list link;
    struct sql_client *client; /* NULL: cancelled */
    bool paused, produced;
    struct buf draining;
    struct task drain_task, release_task;
    /* Worker. */
    struct sql_sink sink;
    struct script *script;
    bool starting; /* inside engine_execute: script is not known yet */
    bool ended;
    struct task start_task, resume_task, cancel_task;
    /* Both, under lock (S2). */
    pthread_mutex_t lock;
    struct buf filling, error;
    bool finished, failed;
};

static struct engine_now worker_now(struct sql_service *s)
{
    return (struct engine_now){s->clock->mono_ns(s->clock), s->clock->wall_ms(s->clock)};
}

/* ---- worker: stepping ---- */

static void worker_step(struct sql_service *s)
{
    struct engine_now now = worker_now(s);
    uint64_t deadline = UINT64_MAX;
    if (s->ending || s->engine == NULL) return;
    if (engine_step(s->engine, &now, &deadline)) {
        s->loop->post(s->loop, &s->step_task);
        return;
    }
    if (deadline == UINT64_MAX)
        s->loop->timer_stop(s->loop, &s->step_timer);
    else
        s->loop->timer_start(s->loop, &s->step_timer, deadline);
}

static void on_step_task(struct task *t)
{
    worker_step(CONTAINER_OF(t, struct sql_service, step_task));
}

static void on_step_timer(struct timer *t)
{
    worker_step(CONTAINER_OF(t, struct sql_service, step_timer));
}

static void on_engine_wake(void *arg)
{
    struct sql_service *s = arg;
    s->loop->post(s->loop, &s->step_task);
}

/* ---- worker: the sink ---- */

static struct sql_request *request_of(struct sql_sink *sink)
{
    return CONTAINER_OF(sink, struct sql_request, sink);
}

static void request_unlock_and_tell(struct sql_request *r)
{
    pthread_mutex_unlock(&r->lock);
    r->service->shard->post(r->service->shard, &r->drain_task);
}

static void sink_columns(struct sql_sink *sink, const struct sql_schema *schema)
{
    struct sql_request *r = request_of(sink);
    char type[64];
    if (r->format != SQL_FORMAT_EVENTS) return;
    pthread_mutex_lock(&r->lock);
    buf_put_str(&r->filling, "{\"columns\":[");
    for (int i = 0; i < schema->n; i++) {
        if (i > 0) buf_put_u8(&r->filling, ',');
        buf_put_str(&r->filling, "{\"name\":");
        text_put_json_string(&r->filling, schema->columns[i].name);
        buf_put_str(&r->filling, ",\"type\":");
        text_put_json_string(&r->filling, bytes_str(sql_type_text(schema->columns[i].type, type)));
        buf_put_u8(&r->filling, '}');
    }
    buf_put_str(&r->filling, "]}\n");
    request_unlock_and_tell(r);
}

static void sink_row(struct sql_sink *sink, const struct sql_schema *schema, const struct sql_row *row)
{
    struct sql_request *r = request_of(sink);
    bool events = r->format == SQL_FORMAT_EVENTS;
    /* Plain rows are upserts: the old image of an update says nothing new. */
    if (!events && row->change < 0) return;
    pthread_mutex_lock(&r->lock);
    if (events) buf_put_str(&r->filling, "{\"row\":");
    sql_row_put_json(&r->filling, schema, row);
    if (events) buf_printf(&r->filling, ",\"change\":%d}", row->change);
    buf_put_u8(&r->filling, '\n');
    request_unlock_and_tell(r);
}

static void sink_message(struct sql_sink *sink, const char *text)
{
    struct sql_request *r = request_of(sink);
    if (r->format != SQL_FORMAT_EVENTS) return;
    pthread_mutex_lock(&r->lock);
    buf_put_str(&r->filling, "{\"message\":");
    text_put_json_string(&r->filling, bytes_str(text));
    buf_put_str(&r->filling, "}\n");
    request_unlock_and_tell(r);
}

static void put_error(struct buf *out, const struct sql_error *e, struct bytes rendered)
{
    buf_put_str(out, "{\"error\":{\"code\":");
    text_put_json_string(out, bytes_str(err_name(e->err.code)));
    buf_put_str(out, ",\"message\":");
    text_put_json_string(out, bytes_str(e->err.text));
    if (e->err.hint[0] != 0) {
        buf_put_str(out, ",\"hint\":");
        text_put_json_string(out, bytes_str(e->err.hint));
    }
    if (e->position >= 0) buf_printf(out, ",\"line\":%d,\"column\":%d", e->line, e->column);
    buf_put_str(out, ",\"rendered\":");
    text_put_json_string(out, rendered);
    buf_put_str(out, "}}\n");
}

static void sink_done(struct sql_sink *sink, const struct sql_error *e, struct bytes rendered)
{
    struct sql_request *r = request_of(sink);
    r->script = NULL;
    r->ended = true;
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    r->failed = e != NULL;
    if (e != NULL) put_error(&r->error, e, rendered);
    request_unlock_and_tell(r);
}

static bool sink_is_full(struct sql_sink *sink)
{
    struct sql_request *r = request_of(sink);
    bool full;
    pthread_mutex_lock(&r->lock);
    full = r->filling.len >= REQUEST_BYTES_MAX;
    pthread_mutex_unlock(&r->lock);
    return full;
}

static void on_start(struct task *t)
{
    struct sql_request *r = CONTAINER_OF(t, struct sql_request, start_task);
    struct sql_service *s = r->service;
    struct engine_now now = worker_now(s);
    struct script *script;
    if (s->ending || s->engine == NULL) {
        struct sql_error e = {.position = -1};
        (void)err_set(&e.err, ERR_CLOSED, "the server is stopping");
        sink_done(&r->sink, &e, bytes_str(e.err.text));
        return;
    }
    script = engine_execute(s->engine, buf_bytes(&r->text), &r->sink, &now);
    if (!r->ended) r->script = script;
    s->loop->post(s->loop, &s->step_task);
}

static void on_resume(struct task *t)
{
    struct sql_request *r = CONTAINER_OF(t, struct sql_request, resume_task);
    if (r->script == NULL || r->service->engine == NULL) return;
    engine_script_resume(r->service->engine, r->script);
    r->service->loop->post(r->service->loop, &r->service->step_task);
}

/* The worker's last word about a request (S1). */
static void on_cancel(struct task *t)
{
    struct sql_request *r = CONTAINER_OF(t, struct sql_request, cancel_task);
    if (r->script != NULL && r->service->engine != NULL) engine_script_cancel(r->service->engine, r->script);
    r->script = NULL;
    r->service->shard->post(r->service->shard, &r->release_task);
}

/* ---- shard: requests ---- */

static void stop_when_empty(struct sql_service *s)
{
    if (s->stopping && list_is_empty(&s->requests)) s->loop->post(s->loop, &s->stop_task);
}

static void on_release(struct task *t)
{
    struct sql_request *r = CONTAINER_OF(t, struct sql_request, release_task);
    struct sql_service *s = r->service;
    list_remove(&r->link);
    s->n_requests--;
    pthread_mutex_destroy(&r->lock);
    buf_deinit(&r->text);
    buf_deinit(&r->filling);
    buf_deinit(&r->draining);
    buf_deinit(&r->error);
    free(r);
    /* glibc keeps what two threads freed in turn: after 300 stalled queries, 684 MB. When the last is gone it goes back. */
    if (s->n_requests == 0) malloc_trim(0);
    stop_when_empty(s);
}

static void on_drain(struct task *t)
{
    struct sql_request *r = CONTAINER_OF(t, struct sql_request, drain_task);
    struct sql_client *client = r->client;
    struct buf swap;
    bool finished, failed;
    if (client == NULL || r->paused) return;

    buf_clear(&r->draining);
    pthread_mutex_lock(&r->lock);
    swap = r->filling;
    r->filling = r->draining;
    r->draining = swap;
    finished = r->finished;
    failed = r->failed;
    pthread_mutex_unlock(&r->lock);

    /* An error after output is one more line of it. */
    if (finished && failed && (r->produced || r->draining.len > 0)) buf_put_bytes(&r->draining, buf_bytes(&r->error));
    if (r->draining.len > 0) {
        r->produced = true;
        if (!client->output(client, buf_bytes(&r->draining))) r->paused = true;
        if (r->client == NULL) return; /* cancelled inside the call */
    }
    if (finished) {
        r->client = NULL;
        client->done(client, failed, buf_bytes(&r->error));
        r->service->loop->post(r->service->loop, &r->cancel_task);
        return;
    }
    if (!r->paused) r->service->loop->post(r->service->loop, &r->resume_task);
}

struct sql_request *sql_service_execute(struct sql_service *s, struct bytes text, enum sql_format format,
                                        struct sql_client *c)
{
    struct sql_request *r;
    if (s->n_requests >= LIMIT_SQL_REQUESTS_MAX) return NULL;
    r = calloc(1, sizeof *r);
    check(r != NULL);
    r->service = s;
    r->format = format;
    r->client = c;
    buf_init(&r->text, 0);
    buf_put_bytes(&r->text, text);
    buf_init(&r->filling, 0);
    buf_init(&r->draining, 0);
    buf_init(&r->error, 0);
    pthread_mutex_init(&r->lock, NULL);
    r->sink = (struct sql_sink){sink_columns, sink_row, sink_message, sink_done, sink_is_full};
    r->drain_task.run = on_drain;
    r->release_task.run = on_release;
    r->start_task.run = on_start;
    r->resume_task.run = on_resume;
    r->cancel_task.run = on_cancel;
    list_push_back(&s->requests, &r->link);
    s->n_requests++;
    s->loop->post(s->loop, &r->start_task);
    return r;
}

void sql_request_resume(struct sql_request *r)
{
    if (!r->paused) return;
    r->paused = false;
    r->service->shard->post(r->service->shard, &r->drain_task);
}

void sql_request_cancel(struct sql_request *r)
{
    if (r->client == NULL) return;
    r->client = NULL;
    r->service->loop->post(r->service->loop, &r->cancel_task);
}

/* ---- metrics ---- */

struct metrics_job {
    struct sql_service *service;
    void (*fn)(void *arg, struct bytes text);
    void *arg;
    struct buf out;
    struct task ask, answer;
};

static void put_label(struct buf *out, struct bytes name)
{
    buf_put_str(out, "{flow=\"");
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"' || name.ptr[i] == '\\') buf_put_u8(out, '\\');
        buf_put_u8(out, name.ptr[i] == '\n' ? ' ' : name.ptr[i]);
    }
    buf_put_str(out, "\"} ");
}

static const struct {
    const char *name, *type, *help;
} flow_metrics[] = {
    {"weir_flow_rows_in_total", "counter", "Rows read by the flow."},
    {"weir_flow_rows_out_total", "counter", "Rows written by the flow."},
    {"weir_flow_rows_bad_total", "counter", "Rows that could not be read or computed; kept in the dead-letter topic."},
    {"weir_flow_rows_late_total", "counter", "Rows that came after their window closed; kept in the late topic."},
    {"weir_flow_commits_total", "counter", "Commits of offsets, state and output."},
    {"weir_flow_state_bytes", "gauge", "Memory of the flow's state."},
    {"weir_flow_lag_records", "gauge", "Records of the source not yet read."},
    {"weir_flow_running", "gauge", "1 while the flow runs, 0 when it has failed."},
};

struct metric_pick {
    struct buf *out;
    int which;
};

static void put_flow_metric(void *arg, const struct flow_stats *st)
{
    struct metric_pick *p = arg;
    uint64_t values[] = {st->rows_in,
                         st->rows_out,
                         st->rows_bad,
                         st->rows_late,
                         st->commits,
                         st->state_bytes,
                         (uint64_t)st->lag_records,
                         strcmp(st->state, "running") == 0};
    buf_put_str(p->out, flow_metrics[p->which].name);
    put_label(p->out, st->name);
    buf_printf(p->out, "%llu\n", (unsigned long long)values[p->which]);
}

static void on_metrics_answer(struct task *t)
{
    struct metrics_job *j = CONTAINER_OF(t, struct metrics_job, answer);
    j->fn(j->arg, buf_bytes(&j->out));
    buf_deinit(&j->out);
    free(j);
}

static void on_metrics_ask(struct task *t)
{
    struct metrics_job *j = CONTAINER_OF(t, struct metrics_job, ask);
    struct sql_service *s = j->service;
    if (s->engine != NULL) {
        for (int i = 0; i < (int)ARRAY_LEN(flow_metrics); i++) {
            struct metric_pick pick = {&j->out, i};
            buf_printf(&j->out, "# HELP %s %s\n# TYPE %s %s\n", flow_metrics[i].name, flow_metrics[i].help,
                       flow_metrics[i].name, flow_metrics[i].type);
            engine_flow_stats(s->engine, put_flow_metric, &pick);
        }
    }
    s->shard->post(s->shard, &j->answer);
}

void sql_service_metrics(struct sql_service *s, void (*fn)(void *arg, struct bytes text), void *arg)
{
    struct metrics_job *j = calloc(1, sizeof *j);
    check(j != NULL);
    j->service = s;
    j->fn = fn;
    j->arg = arg;
    buf_init(&j->out, 0);
    j->ask.run = on_metrics_ask;
    j->answer.run = on_metrics_answer;
    s->loop->post(s->loop, &j->ask);
}

/* ---- life ---- */

static void on_stop(struct task *t)
{
    struct sql_service *s = CONTAINER_OF(t, struct sql_service, stop_task);
    s->ending = true;
    s->loop->timer_stop(s->loop, &s->step_timer);
    s->loop->stop(s->loop);
}

static void worker_main(void *arg)
{
    struct sql_service *s = arg;
    struct err e;
    if (broker_port_create(&s->port, s->broker, s->loop, &e) != ERR_NONE ||
        engine_create(&s->engine, s->port, &s->engine_options, &e) != ERR_NONE ||
        engine_load(s->engine, &e) != ERR_NONE) {
        diag_printf(s->diag, DIAG_ERROR, "sql", "flows are not running: %s", e.text);
    }
    s->loop->post(s->loop, &s->step_task);
    s->loop->run(s->loop, LOOP_RUN);
    if (s->engine) engine_destroy(s->engine);
    if (s->port) broker_port_destroy(s->port);
    s->shard->post(s->shard, &s->stopped_task);
}

static void on_stopped(struct task *t)
{
    struct sql_service *s = CONTAINER_OF(t, struct sql_service, stopped_task);
    void (*stopped)(void *arg) = s->stopped;
    void *arg = s->stopped_arg;
    os_thread_join(s->thread);
    os_loop_destroy(s->loop);
    free(s);
    if (stopped) stopped(arg);
}

enum err_code sql_service_start(struct sql_service **out, struct broker *b, const struct sql_service_options *o,
                                struct err *e)
{
    struct sql_service *s = calloc(1, sizeof *s);
    enum err_code rc;
    *out = NULL;
    if (s == NULL) return err_set(e, ERR_MEMORY, "starting the SQL worker: out of memory");
    s->broker = b;
    s->shard = broker_sys(b)->loop;
    s->clock = broker_sys(b)->clock;
    s->diag = broker_sys(b)->diag;
    list_init(&s->requests);
    s->stopped_task.run = on_stopped;
    s->step_task.run = on_step_task;
    s->stop_task.run = on_stop;
    s->step_timer.fire = on_step_timer;
    s->engine_options = (struct engine_options){.wake = on_engine_wake,
                                                .wake_arg = s,
                                                .commit_interval_ms = o->commit_interval_ms,
                                                .default_partitions = o->default_partitions};
    rc = os_loop_create(&s->loop, e);
    if (rc == ERR_NONE) rc = os_thread_start(&s->thread, worker_main, s, e);
    if (rc != ERR_NONE) {
        if (s->loop) os_loop_destroy(s->loop);
        free(s);
        return err_wrap(e, rc, "starting the SQL worker");
    }
    *out = s;
    return ERR_NONE;
}

void sql_service_stop(struct sql_service *s, void (*done)(void *arg), void *arg)
{
    struct list *n, *next;
    s->stopping = true;
    s->stopped = done;
    s->stopped_arg = arg;
    for (n = s->requests.next; n != &s->requests; n = next) {
        next = n->next;
        sql_request_cancel(CONTAINER_OF(n, struct sql_request, link));
    }
    stop_when_empty(s);
}
