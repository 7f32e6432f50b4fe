/* lib.c: the embedded library: broker, port and engine in the caller's thread, without sockets and without threads.
 *
 * The loop is the single-threaded one of sys/sim.h: jobs (fdatasync) run inline, and its time is moved by us: to the
 * real time at every call, or only by weir_clock_advance with a manual clock. Storage is os_fs, or that world's memory
 * for ":memory:". So a test with a manual clock is deterministic, and a program that embeds Weir gets no thread it did
 * not start.
 *
 * L1  An append returns after its records are durable: the loop is pumped until the broker says so.
 * L2  A subscription commits its position after the callbacks of a weir_run, never before: a crash delivers again,
 *     never skips. */
#include "app/lib_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/batch.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/text.h"
#include "broker/broker.h"
#include "broker/broker_port.h"
#include "broker/group.h"
#include "flow/engine.h"
#include "sys/os.h"
#include "sys/sim.h"

#define READ_BYTES (1u << 20)
#define COMMIT_INTERVAL_MS 1 /* the caller's weir_run is the pace of commits */
#define RUN_AHEAD_NS (100ull * 1000 * 1000)
#define RUN_AHEAD_STEP_NS (1000ull * 1000)

/* ---- errors ---- */

static int status_of(enum err_code rc)
{
    switch (rc) {
    case ERR_NONE: return WEIR_OK;
    case ERR_INVALID:
    case ERR_TOO_LARGE:
    case ERR_DENIED:
    case ERR_TIMESTAMP: return WEIR_INVALID;
    case ERR_NOT_FOUND: return WEIR_NOT_FOUND;
    case ERR_EXISTS: return WEIR_EXISTS;
    case ERR_BUSY: return WEIR_BUSY;
    case ERR_NO_SPACE: return WEIR_NO_SPACE;
    case ERR_IO: return WEIR_IO;
    case ERR_CORRUPT: return WEIR_CORRUPT;
    case ERR_UNSUPPORTED: return WEIR_UNSUPPORTED;
    case ERR_LIMIT:
    case ERR_FULL: return WEIR_LIMIT;
    case ERR_STOPPED: return WEIR_STOPPED;
    default: return WEIR_FAILED;
    }
}

int lib_fail(weir *w, enum err_code rc, const struct err *e)
{
    snprintf(w->message, sizeof w->message, "%s%s%s", e->text, e->hint[0] ? "; " : "", e->hint);
    return status_of(rc);
}

/* NULL: the handle may be used now. While a callback runs only appends are: it holds what the others would change. */
const char *lib_why_not(const weir *w, bool is_append)
{
    if (w->engine == NULL) return "the handle is not open";
    if (w->in_callback && !is_append) return "a callback may append, and call nothing else of its handle";
    return NULL;
}

int lib_refuse(weir *w, const char *why)
{
    snprintf(w->message, sizeof w->message, "%s", why);
    return WEIR_INVALID;
}

WEIR_API const char *weir_errmsg(const weir *w)
{
    return w == NULL ? "out of memory" : w->message;
}

WEIR_API const char *weir_version(void)
{
    return WEIR_VERSION;
}

/* ---- time ---- */

static uint64_t lib_mono_ns(struct clock *c)
{
    struct lib_clock *l = CONTAINER_OF(c, struct lib_clock, clock);
    return l->mono->mono_ns(l->mono);
}

static int64_t lib_wall_ms(struct clock *c)
{
    struct lib_clock *l = CONTAINER_OF(c, struct lib_clock, clock);
    return l->wall->wall_ms(l->wall);
}

/* Brings the loop's time up to the real one and runs what is due. */
void lib_pump(weir *w)
{
    uint64_t now = w->sys.loop->now_ns(w->sys.loop), target = now;
    if (!w->manual) {
        struct clock *os = os_clock();
        target = w->loop_start_ns + (os->mono_ns(os) - w->real_start_ns);
    }
    sim_run_until(w->sim, target > now ? target : now);
}

static void on_engine_wake(void *arg)
{
    ((weir *)arg)->engine_woken = true;
}

/* ---- open, close ---- */

static bool parse_durability(const char *text, struct broker_options *o)
{
    if (text == NULL || strcmp(text, "sync") == 0) {
        o->durability = DURABILITY_SYNC;
        return true;
    }
    if (strcmp(text, "os") == 0) {
        o->durability = DURABILITY_OS;
        return true;
    }
    if (strncmp(text, "interval:", 9) != 0) return false;
    o->durability = DURABILITY_INTERVAL;
    return text_parse_duration_ms(bytes_str(text + 9), &o->interval_ms) && o->interval_ms > 0;
}

static enum err_code open_all(weir *w, const char *path, const struct weir_options *o, struct err *e)
{
    struct broker_options b = {
        .data_dir = path, .default_partitions = o->default_partitions, .segment_bytes = o->segment_bytes};
    struct engine_options n = {
        .wake = on_engine_wake, .wake_arg = w, .bounded = true, .default_partitions = o->default_partitions};
    struct sim_options s = {.seed = 1, .wall_start_ms = o->clock_start_ms, .disk_is_memory = true};
    bool memory = strcmp(path, ":memory:") == 0;
    enum err_code rc;

    if (o->default_partitions < 0 || o->default_partitions > LIMIT_PARTITIONS_PER_TOPIC_MAX)
        return err_set(e, ERR_INVALID, "default_partitions is %d, must be 1 to %d", o->default_partitions,
                       LIMIT_PARTITIONS_PER_TOPIC_MAX);
    if (!parse_durability(o->durability, &b))
        return err_set(e, ERR_INVALID, "durability \"%s\" is not one of sync, interval:<ms>, os", o->durability);
    rc = sim_create(&w->sim, &s, e);
    if (rc != ERR_NONE) return rc;
    w->sys = *sim_sys(w->sim);
    w->sys.net = NULL;
    w->clock = (struct lib_clock){
        {lib_mono_ns, lib_wall_ms}, sim_sys(w->sim)->clock, w->manual ? sim_sys(w->sim)->clock : os_clock()};
    w->sys.clock = &w->clock.clock;
    w->sys.rng = os_rng();
    w->sys.diag = os_diag_create(2, DIAG_WARN);
    if (memory) {
        b.data_dir = "/weir";
        b.durability = DURABILITY_OS; /* memory has no disk to wait for */
    } else {
        w->sys.fs = os_fs();
    }
    w->real_start_ns = os_clock()->mono_ns(os_clock());
    w->loop_start_ns = w->sys.loop->now_ns(w->sys.loop);
    n.commit_interval_ms = o->commit_interval_ms > 0 ? o->commit_interval_ms : COMMIT_INTERVAL_MS;
    rc = broker_open(&w->broker, &w->sys, &b, e);
    if (rc == ERR_NONE) rc = broker_port_create(&w->port, w->broker, w->sys.loop, e);
    if (rc == ERR_NONE) rc = engine_create(&w->engine, w->port, &n, e);
    if (rc == ERR_NONE) rc = engine_load(w->engine, e);
    return rc;
}

WEIR_API int weir_open(const char *path, const struct weir_options *options, weir **out)
{
    struct weir_options o = {0};
    struct err e = {0};
    enum err_code rc;
    weir *w = calloc(1, sizeof *w);

    if (out == NULL) {
        free(w);
        return WEIR_INVALID;
    }
    *out = w;
    if (w == NULL) return WEIR_LIMIT;
    list_init(&w->subscriptions);
    buf_init(&w->scratch, 0);
    buf_init(&w->message_buf, 0);
    if (options != NULL) memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    w->manual = o.manual_clock != 0;
    if (path == NULL || path[0] == 0) {
        (void)err_set(&e, ERR_INVALID, "the path of the data directory is empty");
        return lib_fail(w, ERR_INVALID, &e);
    }
    rc = open_all(w, path, &o, &e);
    return rc == ERR_NONE ? WEIR_OK : lib_fail(w, rc, &e);
}

static void subscription_free(struct subscription *s)
{
    list_remove(&s->link);
    free(s->name);
    free(s->topic);
    free(s->next);
    free(s);
}

WEIR_API int weir_close(weir *w)
{
    if (w == NULL) return WEIR_OK;
    while (!list_is_empty(&w->subscriptions))
        subscription_free(CONTAINER_OF(list_first(&w->subscriptions), struct subscription, link));
    if (w->engine) engine_destroy(w->engine);
    if (w->port) broker_port_destroy(w->port);
    if (w->broker != NULL) {
        broker_close(w->broker);
        /* What the broker left with the loop (a finished sync, a posted turn) ends and frees itself. */
        sim_run_until(w->sim, w->sys.loop->now_ns(w->sys.loop) + RUN_AHEAD_STEP_NS);
    }
    for (int32_t i = 0; i < w->n_outgoing; i++)
        buf_deinit(&w->outgoing[i].buf);
    free(w->outgoing);
    free(w->headers);
    buf_deinit(&w->scratch);
    buf_deinit(&w->message_buf);
    if (w->sim) sim_run_ms(w->sim, 1); /* what the broker still had on the loop frees itself */
    sim_destroy(w->sim);
    if (w->sys.diag) os_diag_destroy(w->sys.diag);
    free(w);
    return WEIR_OK;
}

/* ---- read ---- */

static bool headers_room(weir *w, size_t n)
{
    struct weir_header *grown;
    if (n <= w->headers_cap) return true;
    grown = realloc(w->headers, n * sizeof *grown);
    if (grown == NULL) return false;
    w->headers = grown;
    w->headers_cap = n;
    return true;
}

static int deliver(weir *w, const char *topic, int32_t partition, const struct record *r, weir_event_fn fn, void *arg)
{
    struct bytes headers = r->headers;
    struct record_header h;
    size_t n = 0;
    int rc;
    struct weir_event ev = {.topic = topic,
                            .partition = partition,
                            .offset = r->offset,
                            .timestamp_ms = r->timestamp,
                            .key = r->key.ptr,
                            .key_size = r->key.len,
                            .value = r->value.ptr,
                            .value_size = r->value.len};
    if (!headers_room(w, (size_t)r->header_count)) return WEIR_LIMIT;
    /* Header keys become C strings: the copies live in message_buf for the callback. */
    buf_clear(&w->message_buf);
    if (!buf_reserve(&w->message_buf, r->headers.len + (size_t)r->header_count)) return WEIR_LIMIT;
    while (n < (size_t)r->header_count && record_header_next(&headers, &h)) {
        w->headers[n] =
            (struct weir_header){(const char *)w->message_buf.ptr + w->message_buf.len, h.value.ptr, h.value.len};
        buf_put_bytes(&w->message_buf, h.key);
        buf_put_u8(&w->message_buf, 0);
        n++;
    }
    ev.headers = w->headers;
    ev.n_headers = n;
    w->in_callback = true;
    rc = fn(arg, &ev);
    w->in_callback = false;
    return rc;
}

/* Delivers [*next, limit) of one partition; *next follows. Stops early with what fn returned. */
static enum err_code read_partition(weir *w, struct partition *p, const char *topic, int64_t *next, int64_t limit,
                                    weir_event_fn fn, void *arg, int *fn_rc, struct err *e)
{
    *fn_rc = WEIR_OK;
    while (*next < limit) {
        struct log_slice slice;
        struct bytes rest;
        enum err_code rc = partition_read_committed(p, *next, READ_BYTES, &slice, e);
        if (rc != ERR_NONE) return rc;
        rest = slice.bytes;
        if (rest.len == 0) { /* all that was left had been aborted */
            if (slice.next_offset > *next) *next = slice.next_offset < limit ? slice.next_offset : limit;
            log_slice_release(&slice);
            return ERR_NONE;
        }
        while (rc == ERR_NONE && *fn_rc == WEIR_OK && rest.len > 0 && *next < limit) {
            struct batch_view view;
            struct batch_iter it;
            struct record r;
            bool more = true;
            rc = batch_view_parse(&view, rest, e);
            if (rc == ERR_NONE) rc = batch_iter_init(&it, &view, &w->scratch, e);
            while (rc == ERR_NONE && *fn_rc == WEIR_OK) {
                rc = batch_iter_next(&it, &r, &more, e);
                if (rc != ERR_NONE || !more) break;
                if (r.offset >= limit) {
                    *next = limit;
                    break;
                }
                if (r.offset < *next) continue;
                *fn_rc = deliver(w, topic, partition_index(p), &r, fn, arg);
                if (*fn_rc == WEIR_OK) *next = r.offset + 1;
            }
            if (rc != ERR_NONE || *fn_rc != WEIR_OK) break;
            if (!more && *next <= batch_last_offset(&view)) *next = batch_last_offset(&view) + 1;
            rest = bytes_slice(rest, view.bytes.len, rest.len - view.bytes.len);
        }
        log_slice_release(&slice);
        if (rc != ERR_NONE) return rc;
        if (*fn_rc != WEIR_OK) return ERR_NONE;
    }
    return ERR_NONE;
}

WEIR_API int weir_read(weir *w, const char *topic, int partition, int64_t from, int64_t limit, weir_event_fn fn,
                       void *arg)
{
    struct err e = {0};
    struct topic *t;
    struct partition *p;
    enum err_code rc;
    int fn_rc = WEIR_OK;

    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    lib_pump(w);
    t = topic ? topic_find(w->broker, bytes_str(topic)) : NULL;
    p = t ? topic_partition(t, partition) : NULL;
    if (fn == NULL) return lib_fail(w, err_set(&e, ERR_INVALID, "reading needs a function"), &e);
    if (p == NULL)
        return lib_fail(
            w, err_set(&e, ERR_NOT_FOUND, "there is no topic \"%s\" with partition %d", topic ? topic : "", partition),
            &e);
    if (from < partition_log_start(p)) from = partition_log_start(p);
    if (limit > partition_last_stable(p)) limit = partition_last_stable(p);
    rc = read_partition(w, p, topic, &from, limit, fn, arg, &fn_rc, &e);
    return rc == ERR_NONE ? fn_rc : lib_fail(w, rc, &e);
}

/* ---- subscriptions ---- */

static struct subscription *find_subscription(weir *w, const char *name)
{
    for (struct list *n = w->subscriptions.next; n != &w->subscriptions; n = n->next) {
        struct subscription *s = CONTAINER_OF(n, struct subscription, link);
        if (strcmp(s->name, name) == 0) return s;
    }
    return NULL;
}

WEIR_API int weir_subscribe(weir *w, const char *name, const char *topic, weir_event_fn fn, void *arg)
{
    struct err e = {0};
    struct subscription *s;
    struct topic *t;
    enum err_code rc;

    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    if (name == NULL || name[0] == 0 || topic == NULL || fn == NULL)
        return lib_fail(w, err_set(&e, ERR_INVALID, "a subscription needs a name, a topic and a function"), &e);
    if (find_subscription(w, name))
        return lib_fail(w, err_set(&e, ERR_EXISTS, "there is a subscription \"%s\" already", name), &e);
    rc = topic_find_or_create(w->broker, bytes_str(topic), &t, &e);
    if (rc != ERR_NONE) return lib_fail(w, rc, &e);
    s = calloc(1, sizeof *s);
    if (s == NULL) return lib_fail(w, err_set(&e, ERR_MEMORY, "out of memory"), &e);
    s->name = strdup(name);
    s->topic = strdup(topic);
    s->fn = fn;
    s->arg = arg;
    s->opened = t;
    s->n_partitions = topic_partition_count(t);
    s->next = calloc((size_t)s->n_partitions, sizeof *s->next);
    list_push_back(&w->subscriptions, &s->link);
    if (s->name == NULL || s->topic == NULL || s->next == NULL) {
        subscription_free(s);
        return lib_fail(w, err_set(&e, ERR_MEMORY, "out of memory"), &e);
    }
    for (int32_t i = 0; i < s->n_partitions; i++) {
        struct committed_offset o;
        group_offset(w->broker, bytes_str(name), bytes_str(topic), i, &o);
        s->next[i] = o.offset >= 0 ? o.offset : partition_log_start(topic_partition(t, i));
    }
    return WEIR_OK;
}

WEIR_API int weir_unsubscribe(weir *w, const char *name)
{
    struct err e = {0};
    struct subscription *s = name ? find_subscription(w, name) : NULL;
    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    if (s == NULL)
        return lib_fail(w, err_set(&e, ERR_NOT_FOUND, "there is no subscription \"%s\"", name ? name : ""), &e);
    subscription_free(s);
    return WEIR_OK;
}

static enum err_code commit_subscription(weir *w, struct subscription *s, struct err *e)
{
    struct offset_commit *offsets = calloc((size_t)s->n_partitions, sizeof *offsets);
    struct lib_wait wait = {.wait = {.done = lib_wait_done}};
    enum group_detail detail;
    enum err_code rc;
    if (offsets == NULL) return err_set(e, ERR_MEMORY, "out of memory");
    for (int32_t i = 0; i < s->n_partitions; i++)
        offsets[i] = (struct offset_commit){bytes_str(s->topic), i, s->next[i], -1, BYTES_NULL, ERR_NONE};
    rc = group_commit(w->broker, bytes_str(s->name), BYTES_LIT(""), BYTES_NULL, -1, offsets, s->n_partitions,
                      &wait.wait, &wait.answered, &detail, e);
    if (rc == ERR_NONE) rc = lib_wait_durable(w, &wait, e);
    if (rc == ERR_NONE) s->dirty = false;
    free(offsets);
    return rc;
}

/* One pass over a subscription. *moved: something was delivered. */
static enum err_code run_subscription(weir *w, struct subscription *s, bool *moved, int *fn_rc, struct err *e)
{
    if (topic_find(w->broker, bytes_str(s->topic)) != s->opened)
        return err_set(e, ERR_NOT_FOUND, "topic \"%s\" of subscription \"%s\" was deleted", s->topic, s->name);
    *fn_rc = WEIR_OK;
    for (int32_t i = 0; i < s->n_partitions && *fn_rc == WEIR_OK; i++) {
        struct partition *p = topic_partition(s->opened, i);
        int64_t before = s->next[i];
        enum err_code rc;
        if (s->next[i] < partition_log_start(p)) s->next[i] = partition_log_start(p);
        rc = read_partition(w, p, s->topic, &s->next[i], partition_last_stable(p), s->fn, s->arg, fn_rc, e);
        if (s->next[i] != before) s->dirty = *moved = true;
        if (rc != ERR_NONE) return rc;
    }
    return ERR_NONE;
}

/* ---- run ---- */

static struct engine_now lib_now(weir *w)
{
    return (struct engine_now){w->sys.loop->now_ns(w->sys.loop), w->sys.clock->wall_ms(w->sys.clock)};
}

/* One pass over everything. Returns false when nothing moved. *deadline: of the engine. */
static enum err_code run_pass(weir *w, bool *moved, uint64_t *deadline, int *fn_rc, struct err *e)
{
    struct engine_now now;
    enum err_code rc = ERR_NONE;
    *moved = false;
    lib_pump(w);
    w->engine_woken = false;
    now = lib_now(w);
    if (engine_step(w->engine, &now, deadline)) *moved = true;
    for (struct list *n = w->subscriptions.next; rc == ERR_NONE && *fn_rc == WEIR_OK && n != &w->subscriptions;
         n = n->next)
        rc = run_subscription(w, CONTAINER_OF(n, struct subscription, link), moved, fn_rc, e);
    lib_pump(w);
    if (w->engine_woken) *moved = true;
    return rc;
}

static enum err_code commit_all(weir *w, struct err *e)
{
    enum err_code rc = ERR_NONE;
    for (struct list *n = w->subscriptions.next; n != &w->subscriptions; n = n->next) {
        struct subscription *s = CONTAINER_OF(n, struct subscription, link);
        if (rc == ERR_NONE && s->dirty) rc = commit_subscription(w, s, e);
    }
    return rc;
}

/* Nothing moves at this instant, but something is under way: a commit that is due in a moment, a sync that takes its
 * time. Lets the loop's time run to it, *ahead_ns in all since something last moved. False: what is left is further
 * away than RUN_AHEAD_NS. */
static bool run_ahead(weir *w, uint64_t deadline, uint64_t *ahead_ns)
{
    uint64_t now = w->sys.loop->now_ns(w->sys.loop), step = RUN_AHEAD_STEP_NS;
    if (*ahead_ns >= RUN_AHEAD_NS) return false;
    if (deadline > now && deadline - now < step) step = deadline - now;
    *ahead_ns += step;
    sim_run_until(w->sim, now + step);
    return true;
}

/* Until nothing is left, or real time has passed until_ns (UINT64_MAX: never). */
static enum err_code run_until_quiet(weir *w, uint64_t until_ns, uint64_t *deadline, int *fn_rc, struct err *e)
{
    struct clock *os = os_clock();
    uint64_t ahead_ns = 0;
    bool moved;

    for (;;) {
        enum err_code rc = run_pass(w, &moved, deadline, fn_rc, e);
        if (rc != ERR_NONE || *fn_rc != WEIR_OK) return rc;
        if (until_ns != UINT64_MAX && os->mono_ns(os) >= until_ns) return ERR_NONE;
        if (moved) {
            ahead_ns = 0;
        } else if (engine_is_idle(w->engine) || !run_ahead(w, *deadline, &ahead_ns)) {
            return ERR_NONE;
        }
    }
}

static int run_end(weir *w, enum err_code rc, int fn_rc, struct err *e)
{
    enum err_code commit_rc = commit_all(w, rc == ERR_NONE ? e : NULL);
    if (rc == ERR_NONE) rc = commit_rc;
    return rc == ERR_NONE ? fn_rc : lib_fail(w, rc, e);
}

WEIR_API int weir_run(weir *w, int timeout_ms)
{
    struct err e = {0};
    uint64_t until_ns = timeout_ms < 0 ? UINT64_MAX : os_clock()->mono_ns(os_clock()) + (uint64_t)timeout_ms * 1000000u;
    uint64_t deadline = UINT64_MAX;
    int fn_rc = WEIR_OK;
    enum err_code rc;

    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    rc = run_until_quiet(w, until_ns, &deadline, &fn_rc, &e);
    return run_end(w, rc, fn_rc, &e);
}

/* Stops at every moment at which the engine asked to be called, so that what happens in between happens in order. */
WEIR_API int weir_clock_advance(weir *w, int64_t ms)
{
    struct err e = {0};
    uint64_t deadline = UINT64_MAX, target;
    int fn_rc = WEIR_OK;
    enum err_code rc;

    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    if (!w->manual || ms < 0)
        return lib_fail(
            w,
            err_set(&e, ERR_INVALID, "the clock moves by hand only when opened with manual_clock, and only forwards"),
            &e);
    target = w->sys.loop->now_ns(w->sys.loop) + (uint64_t)ms * 1000000u;
    for (;;) {
        uint64_t now, next;
        rc = run_until_quiet(w, UINT64_MAX, &deadline, &fn_rc, &e);
        now = w->sys.loop->now_ns(w->sys.loop);
        if (rc != ERR_NONE || fn_rc != WEIR_OK || now >= target) break;
        next = deadline > now && deadline < target ? deadline : target;
        sim_run_until(w->sim, next);
    }
    return run_end(w, rc, fn_rc, &e);
}

/* ---- SQL ---- */

/* Passes everything on and notes the end. */
struct script_watch {
    struct sql_sink sink;
    struct sql_sink *inner;
    bool done;
};

static struct sql_sink *inner_of(struct sql_sink *sink)
{
    return CONTAINER_OF(sink, struct script_watch, sink)->inner;
}

static void watch_columns(struct sql_sink *sink, const struct sql_schema *schema)
{
    inner_of(sink)->columns(inner_of(sink), schema);
}

static void watch_row(struct sql_sink *sink, const struct sql_schema *schema, const struct sql_row *row)
{
    inner_of(sink)->row(inner_of(sink), schema, row);
}

static void watch_message(struct sql_sink *sink, const char *text)
{
    inner_of(sink)->message(inner_of(sink), text);
}

static void watch_done(struct sql_sink *sink, const struct sql_error *e, struct bytes rendered)
{
    CONTAINER_OF(sink, struct script_watch, sink)->done = true;
    inner_of(sink)->done(inner_of(sink), e, rendered);
}

static bool watch_is_full(struct sql_sink *sink)
{
    return inner_of(sink)->is_full != NULL && inner_of(sink)->is_full(inner_of(sink));
}

struct lib_sink {
    struct sql_sink sink;
    weir *w;
    weir_row_fn row;
    void *arg;
    struct buf json;
    enum err_code rc;
};

static void sink_columns(struct sql_sink *sink, const struct sql_schema *schema)
{
    (void)sink;
    (void)schema;
}

static void sink_row(struct sql_sink *sink, const struct sql_schema *schema, const struct sql_row *row)
{
    struct lib_sink *s = CONTAINER_OF(sink, struct lib_sink, sink);
    if (s->row == NULL || row->change < 0) return;
    buf_clear(&s->json);
    sql_row_put_json(&s->json, schema, row);
    buf_put_u8(&s->json, 0);
    s->w->in_callback = true;
    s->row(s->arg, (const char *)s->json.ptr, s->json.len - 1);
    s->w->in_callback = false;
}

static void sink_message(struct sql_sink *sink, const char *text)
{
    (void)sink;
    (void)text;
}

static void sink_done(struct sql_sink *sink, const struct sql_error *e, struct bytes rendered)
{
    struct lib_sink *s = CONTAINER_OF(sink, struct lib_sink, sink);
    s->rc = e ? e->err.code : ERR_NONE;
    if (e) snprintf(s->w->message, sizeof s->w->message, "%.*s", BYTES_ARG(rendered));
}

bool weir_run_script(weir *w, struct bytes text, struct sql_sink *sink)
{
    struct script_watch watch = {.sink = {watch_columns, watch_row, watch_message, watch_done, watch_is_full},
                                 .inner = sink};
    struct err e = {0};
    struct engine_now now;
    struct script *script;
    uint64_t deadline = UINT64_MAX, ahead_ns = 0;

    lib_pump(w);
    now = lib_now(w);
    script = engine_execute(w->engine, text, &watch.sink, &now);
    while (!watch.done) {
        bool moved;
        lib_pump(w);
        now = lib_now(w);
        w->engine_woken = false;
        moved = engine_step(w->engine, &now, &deadline);
        if (watch.done) break;
        if (moved || w->engine_woken) {
            ahead_ns = 0;
            continue;
        }
        /* Bounded queries need no time to pass; what is left is a commit or a sync under way. */
        if (run_ahead(w, deadline, &ahead_ns)) continue;
        engine_script_cancel(w->engine, script);
        (void)lib_fail(w, err_set(&e, ERR_TIMEOUT, "the statement waits for something that cannot happen here"), &e);
        return false;
    }
    return true;
}

WEIR_API int weir_sql(weir *w, const char *sql, weir_row_fn row, void *arg)
{
    struct lib_sink s = {
        .sink = {sink_columns, sink_row, sink_message, sink_done, NULL}, .w = w, .row = row, .arg = arg};
    struct err e = {0};
    bool ended;
    if (lib_why_not(w, false)) return lib_refuse(w, lib_why_not(w, false));
    if (sql == NULL) return lib_fail(w, err_set(&e, ERR_INVALID, "there is no SQL text"), &e);
    buf_init(&s.json, 0);
    ended = weir_run_script(w, bytes_str(sql), &s.sink);
    buf_deinit(&s.json);
    return ended ? status_of(s.rc) : WEIR_FAILED;
}
