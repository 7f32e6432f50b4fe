/* Reading a topic: partitions take turns, records become chunks, chunks go through the pipeline.
 *
 * F1  A read is processed whole: offsets move only at chunk ends, and an owner that wants to stop does so
 *     between reads. So the order in which partitions are read depends on what is in them and on the turn (both
 *     are committed), not on when somebody stopped.
 * F2  A chunk holds rows of one partition. Records are borrowed from the read until their chunk is through.
 * F3  A partition with unread records is never idle, however long nobody looked at it. */
#include "flow/engine_int.h"

static uint64_t idle_timeout_ns(const struct engine *en, const struct stream_def *def)
{
    int64_t ms = def->idle_timeout_ms;
    if (ms == 0) ms = en->options.idle_timeout_ms;
    return ms > 0 ? (uint64_t)ms * 1000000u : 0;
}

static const struct plan *plan_scan(const struct plan *p)
{
    while (p->kind != PLAN_SCAN)
        p = p->input;
    return p;
}

static enum err_code offsets_init(struct feed *f, const struct stream_def *def, bool bounded, struct err *e)
{
    for (int32_t i = 0; i < f->topic.n_partitions; i++) {
        int64_t start, end;
        enum err_code rc = f->engine->port->range(f->engine->port, f->topic.id, i, &start, &end, e);
        if (rc != ERR_NONE) return rc;
        f->next[i] = def->start_latest && !bounded ? end : start;
        f->stop[i] = bounded ? end : INT64_MAX;
        if (bounded && start >= end) f->time.partitions[i].has_ended = f->at_end[i] = true;
    }
    return ERR_NONE;
}

enum err_code feed_open(struct feed *f, struct engine *en, const struct plan *plan, struct pipeline *p, bool bounded,
                        struct err *e)
{
    const struct plan *scan = plan_scan(plan);
    struct port *port = en->port;
    f->engine = en;
    f->pipeline = p;
    arena_init(&f->arena, 0);
    for (size_t i = 0; i < ARRAY_LEN(f->scratch); i++)
        buf_init(&f->scratch[i], 0);
    f->source_topic = arena_copy(&f->arena, scan->stream->topic);
    enum err_code rc = port->topic_find(port, scan->stream->topic, &f->topic, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "stream %.*s", BYTES_ARG(scan->stream->name));
    rc = source_create(&f->source, scan, e);
    if (rc != ERR_NONE) return rc;
    size_t n = (size_t)f->topic.n_partitions;
    f->next = arena_array(&f->arena, n, sizeof *f->next);
    f->stop = arena_array(&f->arena, n, sizeof *f->stop);
    f->at_end = arena_array(&f->arena, n, sizeof *f->at_end);
    source_time_init(&f->time, f->topic.n_partitions, en->now.mono_ns, &f->arena);
    f->idle_ns = bounded ? 0 : idle_timeout_ns(en, scan->stream);
    rc = offsets_init(f, scan->stream, bounded, e);
    if (rc != ERR_NONE || bounded) return rc;
    rc = port->watch(port, f->topic.id, feed_wake, f, e);
    f->is_watched = rc == ERR_NONE;
    return rc;
}

void feed_close(struct feed *f)
{
    if (f->engine == NULL) return;
    if (f->is_watched) f->engine->port->unwatch(f->engine->port, f->topic.id, f);
    source_destroy(f->source);
    for (size_t i = 0; i < ARRAY_LEN(f->scratch); i++)
        buf_deinit(&f->scratch[i]);
    arena_deinit(&f->arena);
    f->engine = NULL;
}

void feed_wake(void *feed)
{
    struct feed *f = feed;
    for (int i = 0; i < f->time.n; i++)
        f->at_end[i] = f->next[i] >= f->stop[i];
    engine_wake(f->engine);
}

/* ---- chunks ---- */

static enum err_code chunk_push(struct feed *f, struct err *e)
{
    int n = source_count(f->source);
    const struct chunk *c = source_finish(f->source, &f->time, f->bad, f->arg);
    if (c == NULL) return ERR_NONE;
    f->rows_in += (uint64_t)n;
    enum err_code rc = pipeline_push(f->pipeline, c, e);
    if (rc == ERR_NONE) pipeline_watermark(f->pipeline, f->time.watermark);
    return rc;
}

/* The records of one batch. *used: decompressed batches that the chunk under way points into. */
static enum err_code batch_push(struct feed *f, int partition, const struct batch_view *view, size_t *used,
                                struct err *e)
{
    struct batch_iter it;
    struct record r;
    bool more;
    if (batch_codec(view) != CODEC_NONE && *used == ARRAY_LEN(f->scratch)) {
        enum err_code rc = chunk_push(f, e);
        if (rc != ERR_NONE) return rc;
        source_begin(f->source, partition);
        *used = 0;
    }
    enum err_code rc = batch_iter_init(&it, view, &f->scratch[*used < ARRAY_LEN(f->scratch) ? *used : 0], e);
    if (rc != ERR_NONE) return rc;
    *used += batch_codec(view) != CODEC_NONE;
    while ((rc = batch_iter_next(&it, &r, &more, e)) == ERR_NONE && more) {
        if (r.offset < f->next[partition]) continue;
        if (r.offset >= f->stop[partition]) return ERR_NONE;
        if (UNLIKELY(source_is_full(f->source))) {
            rc = chunk_push(f, e);
            if (rc != ERR_NONE || pipeline_is_done(f->pipeline)) return rc;
            source_begin(f->source, partition);
            if (*used > 1) { /* only the batch under way is still pointed into */
                struct buf current = f->scratch[*used - 1];
                f->scratch[*used - 1] = f->scratch[0];
                f->scratch[0] = current;
                *used = 1;
            }
        }
        source_add(f->source, &r);
    }
    return rc;
}

static enum err_code read_push(struct feed *f, int partition, const struct port_read *read, struct err *e)
{
    struct bytes left = read->batches;
    struct batch_view view;
    size_t used = 0;
    source_begin(f->source, partition);
    while (left.len > 0 && !pipeline_is_done(f->pipeline)) {
        enum err_code rc = batch_view_parse(&view, left, e);
        if (rc != ERR_NONE) return err_wrap(e, rc, "partition %d", partition);
        left = bytes_slice(left, view.bytes.len, left.len - view.bytes.len);
        if (batch_last_offset(&view) < f->next[partition] || (view.attributes & BATCH_ATTR_CONTROL)) continue;
        if (view.base_offset >= f->stop[partition]) break;
        rc = batch_push(f, partition, &view, &used, e);
        if (rc == ERR_CORRUPT)
            return err_wrap(e, rc, "partition %d, batch at %lld", partition, (long long)view.base_offset);
        if (rc != ERR_NONE) return rc;
    }
    return pipeline_is_done(f->pipeline) ? ERR_NONE : chunk_push(f, e);
}

/* ---- reading ---- */

static void partition_ended(struct feed *f, int partition)
{
    f->at_end[partition] = true;
    if (f->next[partition] < f->stop[partition]) return;
    f->time.partitions[partition].has_ended = true;
    source_time_advance(&f->time);
    pipeline_watermark(f->pipeline, f->time.watermark);
}

/* Records before the first stored one are gone by retention: go on behind the gap. */
static enum err_code skip_gap(struct feed *f, int partition, struct err *e)
{
    struct port *port = f->engine->port;
    int64_t start, end;
    enum err_code rc = port->range(port, f->topic.id, partition, &start, &end, e);
    if (rc != ERR_NONE) return rc;
    if (f->next[partition] < start)
        f->next[partition] = start;
    else if (f->next[partition] > end)
        f->next[partition] = end;
    return ERR_NONE;
}

static enum err_code partition_read(struct feed *f, int partition, uint64_t now_ns, bool *moved, struct err *e)
{
    struct port *port = f->engine->port;
    struct port_read r = {0};
    enum err_code rc = port->read(port, f->topic.id, partition, f->next[partition], READ_BYTES, &r, e);
    if (rc == ERR_RANGE) {
        rc = skip_gap(f, partition, e);
        if (rc == ERR_NONE) rc = port->read(port, f->topic.id, partition, f->next[partition], READ_BYTES, &r, e);
    }
    if (rc != ERR_NONE) return err_wrap(e, rc, "reading partition %d", partition);
    if (r.batches.len > 0) {
        f->time.partitions[partition].last_ns = now_ns;
        f->bytes_read += r.batches.len;
        rc = read_push(f, partition, &r, e);
        *moved = true;
    }
    if (rc == ERR_NONE) f->next[partition] = r.next_offset < f->stop[partition] ? r.next_offset : f->stop[partition];
    if (rc == ERR_NONE &&
        (r.batches.len == 0 || f->next[partition] >= r.end_offset || f->next[partition] >= f->stop[partition]))
        partition_ended(f, partition);
    port->release(port, &r);
    return rc;
}

enum err_code feed_read(struct feed *f, uint64_t now_ns, bool *moved, struct err *e)
{
    int n = f->time.n;
    *moved = false;
    for (int tries = 0; tries < n && !*moved && !f->has_ended; tries++) {
        int partition = f->turn;
        f->turn = (f->turn + 1) % n;
        if (f->at_end[partition]) continue;
        enum err_code rc = partition_read(f, partition, now_ns, moved, e);
        if (rc != ERR_NONE) return rc;
    }
    if (pipeline_is_done(f->pipeline)) f->has_ended = true;
    int ended = 0;
    for (int i = 0; i < n; i++)
        ended += f->next[i] >= f->stop[i];
    if (ended == n) f->has_ended = true;
    return ERR_NONE;
}

bool feed_is_drained(const struct feed *f)
{
    for (int i = 0; i < f->time.n; i++)
        if (!f->at_end[i]) return false;
    return true;
}

bool feed_idle(struct feed *f, uint64_t now_ns, uint64_t *deadline_ns)
{
    if (f->idle_ns == 0) return false;
    int64_t before = f->time.watermark;
    for (int i = 0; i < f->time.n; i++)
        if (!f->at_end[i]) f->time.partitions[i].last_ns = now_ns; /* F3 */
    uint64_t next = source_time_idle(&f->time, now_ns, f->idle_ns);
    if (next < *deadline_ns) *deadline_ns = next;
    source_time_advance(&f->time);
    pipeline_watermark(f->pipeline, f->time.watermark);
    if (source_time_all_idle(&f->time)) {
        /* Nobody is going to move the time: close every window that holds rows. Windows above windows open as those
         * below close. */
        for (int64_t end; (end = pipeline_newest_window_end(f->pipeline)) != INT64_MIN;) {
            if (end - WINDOW_LAST_US > f->time.watermark) f->time.watermark = end - WINDOW_LAST_US;
            pipeline_watermark(f->pipeline, f->time.watermark);
        }
    }
    return f->time.watermark != before;
}

int64_t feed_lag(struct feed *f)
{
    int64_t lag = 0, start, end;
    for (int i = 0; i < f->time.n; i++)
        if (f->engine->port->range(f->engine->port, f->topic.id, i, &start, &end, NULL) == ERR_NONE && end > f->next[i])
            lag += end - f->next[i];
    return lag;
}
