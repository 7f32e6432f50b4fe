/* journal.c: reading a log whole and writing runs of records, for the broker's own topics.
 *
 * J1  A journal's records are changes to a table: applying one again, or a snapshot behind the changes it sums up,
 * gives the same table. Hence a snapshot needs no marker: roll, write the live entries, sync, trim before them; a crash
 * in between is harmless. */
#include "broker/broker_int.h"

static enum err_code read_batch(const struct batch_view *v, int64_t from, struct buf *scratch, journal_fn fn, void *arg,
                                struct err *e)
{
    struct batch_iter it;
    struct record r;
    bool more = true;

    enum err_code rc = batch_iter_init(&it, v, scratch, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (r.offset >= from) rc = fn(arg, &r, e);
    }
    return rc;
}

static enum err_code read_slice(struct bytes at, int64_t from, struct buf *scratch, journal_fn fn, void *arg,
                                struct err *e)
{
    while (at.len > 0) {
        struct batch_view v;
        enum err_code rc = batch_view_parse(&v, at, e);
        if (rc == ERR_NONE) rc = batch_check_crc(&v, e);
        if (rc == ERR_NONE) rc = read_batch(&v, from, scratch, fn, arg, e);
        if (rc != ERR_NONE) return rc;
        at = bytes_slice(at, v.bytes.len, at.len - v.bytes.len);
    }
    return ERR_NONE;
}

enum err_code journal_read(struct log *l, int64_t from, journal_fn fn, void *arg, struct err *e)
{
    struct buf scratch;
    int64_t at = from > log_start_offset(l) ? from : log_start_offset(l);
    enum err_code rc = ERR_NONE;

    buf_init(&scratch, 0);
    if (log_durable_offset(l) < log_end_offset(l)) rc = log_sync(l, e);
    while (rc == ERR_NONE && at < log_durable_offset(l)) {
        struct log_slice s = {0};
        rc = log_read(l, at, log_durable_offset(l), 1u << 20, &s, e);
        if (rc != ERR_NONE) break;
        if (s.bytes.len > 0) {
            rc = read_slice(s.bytes, at, &scratch, fn, arg, e);
            at = s.next_offset;
        } else {
            rc = err_set(e, ERR_CORRUPT, "nothing readable at offset %lld", (long long)at);
        }
        log_slice_release(&s);
    }
    buf_deinit(&scratch);
    return rc;
}

void journal_begin(struct journal_writer *w, struct log *l, int64_t now_ms, struct err *e)
{
    *w = (struct journal_writer){.log = l, .now_ms = now_ms, .first = -1, .e = e};
    buf_init(&w->buf, 0);
}

static void writer_flush(struct journal_writer *w)
{
    int64_t base = 0;

    if (!w->is_open) return;
    w->is_open = false;
    if (w->rc == ERR_NONE) w->rc = batch_finish(&w->builder, w->e);
    if (w->rc == ERR_NONE && w->buf.failed) w->rc = err_set(w->e, ERR_MEMORY, "no memory for a batch");
    if (w->rc == ERR_NONE) w->rc = log_append(w->log, w->buf.ptr, w->buf.len, w->now_ms, &base, w->e);
    if (w->rc == ERR_NONE && w->first < 0) w->first = base;
    if (w->rc == ERR_NONE) w->end = log_end_offset(w->log);
    buf_clear(&w->buf);
}

void journal_put(struct journal_writer *w, struct bytes key, struct bytes value)
{
    if (w->rc != ERR_NONE) return;
    if (w->is_open && batch_size(&w->builder) + key.len + value.len > JOURNAL_BATCH_BYTES) writer_flush(w);
    if (!w->is_open) {
        batch_begin(&w->builder, &w->buf, CODEC_NONE);
        w->is_open = true;
    }
    batch_add(&w->builder, w->now_ms, key, value, NULL, 0);
}

enum err_code journal_finish(struct journal_writer *w)
{
    writer_flush(w);
    buf_deinit(&w->buf);
    return w->rc;
}

uint64_t journal_compact_at(uint64_t live_bytes)
{
    uint64_t at = live_bytes * JOURNAL_COMPACT_FACTOR;
    return at > JOURNAL_COMPACT_BYTES_MIN ? at : JOURNAL_COMPACT_BYTES_MIN;
}
