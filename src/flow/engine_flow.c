/* A flow: CREATE STREAM .. AS SELECT, running.
 *
 *   created ──first step──▶ running ──error──▶ failed (shown with its reason; ends by a restart or DROP)
 *
 *   running:  read ─▶ ... ─▶ read ─▶ commit built ─▶ under way ─▶ answered ─▶ read
 *                                       ▲  disk full: again, the same │
 *                                       └─────────────────────────────┘
 *
 * L1  A flow holds at most one epoch: while a commit is under way nothing is read. What an epoch may read and
 *     write is bounded.
 * L2  An epoch is committed when commit_interval_ms have passed since the last commit, or when it is full. Quiet
 *     flows commit nothing.
 * L3  After a restart the flow goes on from the last commit: offsets, groups, watermark, idleness and the
 *     partition whose turn it is are all in it, so that the output is that of an undisturbed run. */
#include "flow/engine_int.h"

#include <stdlib.h>

#include "base/crc32c.h"

struct flow *flow_create(struct engine *en, struct bytes name, struct bytes text)
{
    struct flow *f = calloc(1, sizeof *f);
    struct sql_error e;
    check(f != NULL);
    f->engine = en;
    arena_init(&f->arena, 0);
    arena_init(&f->epoch, 256u << 10);
    buf_init(&f->key, 0);
    buf_init(&f->value, 0);
    f->name = arena_copy(&f->arena, name);
    f->text_crc = crc32c(0, text.ptr, text.len);
    list_push_back(&en->flows, &f->link);
    enum err_code rc = sql_bind(&f->statement, text, &en->catalog.sql, &f->arena, &e);
    if (rc == ERR_NONE && f->statement->kind != STMT_CREATE_STREAM_AS)
        rc = err_set(&e.err, ERR_CORRUPT, "the definition of flow %.*s is not CREATE STREAM .. AS", BYTES_ARG(name));
    if (rc != ERR_NONE) flow_fail(f, &e.err);
    return f;
}

/* May be called inside of an answer of the port: the unit is closed by the next step. */
void flow_fail(struct flow *f, const struct err *e)
{
    f->state = FLOW_FAILED;
    f->error = *e;
    f->commit = COMMIT_NONE;
    engine_wake(f->engine);
}

void flow_stop(struct flow *f)
{
    if (f->unit) f->engine->port->unit_close(f->engine->port, f->unit);
    f->unit = NULL;
    if (f->feed_is_open) feed_close(&f->feed);
    f->feed_is_open = false;
    f->commit = COMMIT_NONE;
}

void flow_destroy(struct flow *f)
{
    if (f == NULL) return;
    flow_stop(f);
    list_remove(&f->link);
    pipeline_destroy(f->pipeline);
    outlet_deinit(&f->out);
    outlet_deinit(&f->late);
    outlet_deinit(&f->dead);
    buf_deinit(&f->key);
    buf_deinit(&f->value);
    arena_deinit(&f->epoch);
    arena_deinit(&f->arena);
    free(f);
}

/* ---- starting ---- */

/* Late and dead events go to as many partitions as the source has, or those that are there: the source may have got
 * more since. */
static void side_outlet_init(struct flow *f, struct outlet *o, struct bytes name)
{
    struct port_topic topic = {.n_partitions = f->feed.topic.n_partitions};
    if (f->engine->port->topic_find(f->engine->port, name, &topic, NULL) != ERR_NONE)
        topic.n_partitions = f->feed.topic.n_partitions;
    outlet_init(o, name, topic.n_partitions, &f->arena);
}

static enum err_code outlets_open(struct flow *f, struct err *e)
{
    const struct stream_def *def = f->statement->stream;
    int32_t n_source = f->feed.topic.n_partitions;
    struct port_topic topic = {.n_partitions = def->n_partitions > 0 ? def->n_partitions : n_source};
    struct buf name;
    enum err_code rc = f->engine->port->topic_find(f->engine->port, def->topic, &topic, e);
    if (rc != ERR_NONE && rc != ERR_NOT_FOUND) return rc;
    if (rc == ERR_NONE && topic.id == f->feed.topic.id)
        return err_set(e, ERR_INVALID, "the flow would write to the topic it reads, %.*s", BYTES_ARG(def->topic));
    outlet_init(&f->out, def->topic, topic.n_partitions, &f->arena);
    buf_init(&name, 0);
    flow_unit_name(f->name, &name);
    size_t len = name.len;
    buf_put_str(&name, "_late");
    side_outlet_init(f, &f->late, buf_bytes(&name));
    name.len = len;
    buf_put_str(&name, "_dlq");
    side_outlet_init(f, &f->dead, buf_bytes(&name));
    buf_deinit(&name);
    return outlet_open(&f->out, f->engine->port, e);
}

static void on_restored_offset(void *arg, const struct port_offset *o)
{
    struct flow *f = arg;
    if (o->topic != f->feed.topic.id || o->partition >= f->feed.time.n) return;
    f->feed.next[o->partition] = f->committed[o->partition].next = o->next;
}

static void on_restored_state(void *arg, struct bytes key, struct bytes value)
{
    struct flow *f = arg;
    bool ok = bytes_equal_str(key, "m") ? flow_restore_meta(f, value) : pipeline_restore(f->pipeline, key, value);
    if (!ok && f->error.code == ERR_NONE)
        err_set(&f->error, ERR_CORRUPT,
                "the stored state does not belong to this query; drop the flow and create it again");
}

static enum err_code unit_open(struct flow *f, struct err *e)
{
    struct port *port = f->engine->port;
    struct port_restore restore = {.offset = on_restored_offset, .state = on_restored_state, .arg = f};
    struct buf name;
    f->committed = arena_array(&f->arena, (size_t)f->feed.time.n, sizeof *f->committed);
    for (int32_t i = 0; i < f->feed.time.n; i++)
        f->committed[i] = (struct port_offset){.topic = f->feed.topic.id, .partition = i, .next = -1};
    buf_init(&name, 0);
    flow_unit_name(f->name, &name);
    enum err_code rc = port->unit_open(port, buf_bytes(&name), &restore, &f->unit, e);
    buf_deinit(&name);
    if (rc != ERR_NONE) return rc;
    if (f->error.code != ERR_NONE) {
        *e = f->error;
        return e->code;
    }
    pipeline_resume(f->pipeline, f->feed.time.watermark);
    f->meta_dirty = !f->has_meta; /* the first commit writes down where reading began */
    return ERR_NONE;
}

static enum err_code start(struct flow *f, struct err *e)
{
    struct engine *en = f->engine;
    struct pipeline_options o = {.emit = f->statement->emit,
                                 .want_keys = f->statement->stream->n_key_fields == 0,
                                 .state_bytes_max = en->options.state_bytes_max};
    struct pipeline_hooks hooks = {.rows = flow_on_rows, .bad = flow_on_bad, .late = flow_on_late, .arg = f};
    enum err_code rc = pipeline_create(&f->pipeline, f->statement->plan, &o, &hooks, e);
    if (rc != ERR_NONE) return rc;
    f->feed_is_open = true;
    f->feed.bad = flow_on_bad;
    f->feed.arg = f;
    rc = feed_open(&f->feed, en, f->statement->plan, f->pipeline, false, e);
    if (rc == ERR_NONE) rc = outlets_open(f, e);
    if (rc == ERR_NONE) rc = unit_open(f, e);
    if (rc == ERR_NONE) flow_rows_prepare(f);
    return rc;
}

void flow_start(struct flow *f, const struct engine_now *now)
{
    struct err e = {0};
    f->has_started = true;
    f->engine->now = *now;
    f->last_commit_ns = now->mono_ns;
    if (f->state == FLOW_RUNNING && start(f, &e) != ERR_NONE) flow_fail(f, &e);
}

/* ---- running ---- */

static bool epoch_is_full(const struct flow *f)
{
    return f->out.bytes + f->late.bytes + f->dead.bytes >= EPOCH_OUTPUT_BYTES_MAX ||
           f->feed.bytes_read >= EPOCH_INPUT_BYTES_MAX;
}

static bool flow_read(struct flow *f, uint64_t now_ns)
{
    struct err e = {0};
    bool any = false, moved = true;
    for (int i = 0; i < STEP_READS_MAX && moved && !epoch_is_full(f); i++) {
        if (feed_read(&f->feed, now_ns, &moved, &e) != ERR_NONE) {
            flow_fail(f, &e);
            return false;
        }
        any = any || moved;
    }
    return any;
}

bool flow_step(struct flow *f, const struct engine_now *now, uint64_t *deadline_ns)
{
    if (!f->has_started) flow_start(f, now);
    if (f->state == FLOW_FAILED) flow_stop(f);
    if (f->state != FLOW_RUNNING || f->commit == COMMIT_UNDER_WAY) return false;
    f->wall_ms = now->wall_ms;
    if (now->mono_ns < f->retry_ns) {
        if (f->retry_ns < *deadline_ns) *deadline_ns = f->retry_ns;
        return false;
    }
    if (f->commit == COMMIT_READY) {
        flow_commit(f, now->mono_ns);
        return false;
    }
    bool any = flow_read(f, now->mono_ns);
    if (f->state != FLOW_RUNNING) return false;
    if (feed_idle(&f->feed, now->mono_ns, deadline_ns)) f->meta_dirty = true;
    if (!flow_has_changes(f)) return any;
    uint64_t due = f->last_commit_ns + (uint64_t)f->engine->options.commit_interval_ms * 1000000u;
    if (!epoch_is_full(f) && now->mono_ns < due) {
        if (due < *deadline_ns) *deadline_ns = due;
        return any;
    }
    flow_commit(f, now->mono_ns);
    return f->commit == COMMIT_NONE && f->state == FLOW_RUNNING && now->mono_ns >= f->retry_ns;
}

bool flow_is_idle(const struct flow *f)
{
    if (f->state != FLOW_RUNNING) return true;
    return f->has_started && f->commit == COMMIT_NONE && feed_is_drained(&f->feed) && !flow_has_changes(f);
}
