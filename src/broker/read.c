/* read.c: reading up to the high watermark, looking up by time, waiting for more, and deleting from the front. */
#include "broker/broker_int.h"

int64_t partition_log_start(const struct partition *p)
{
    return log_start_offset(p->log);
}

int64_t partition_high_watermark(const struct partition *p)
{
    return log_durable_offset(p->log);
}

struct log *partition_log(struct partition *p)
{
    return p->log;
}

struct topic *partition_topic(const struct partition *p)
{
    return p->topic;
}

int32_t partition_index(const struct partition *p)
{
    return p->index;
}

enum err_code partition_read(struct partition *p, int64_t offset, size_t max_bytes, struct log_slice *out,
                             struct err *e)
{
    return log_read(p->log, offset, log_durable_offset(p->log), max_bytes, out, e);
}

/* The first record of the batch whose timestamp is at least ts. */
static enum err_code find_record(struct bytes batch, int64_t ts, int64_t *offset, int64_t *found_ts, struct err *e)
{
    struct batch_view v;
    struct batch_iter it;
    struct record r;
    struct buf scratch;
    bool more = true;

    buf_init(&scratch, 0);
    enum err_code rc = batch_view_parse(&v, batch, e);
    if (rc == ERR_NONE) rc = batch_iter_init(&it, &v, &scratch, e);
    while (rc == ERR_NONE && more) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more || r.timestamp < ts) continue;
        *offset = r.offset;
        *found_ts = r.timestamp;
        goto done;
    }
    /* The records cannot be read, or none is as late as the batch's header claims: the batch is the best answer there
     * is. */
    rc = ERR_NONE;
    *offset = v.base_offset;
    *found_ts = v.max_timestamp;

done:
    buf_deinit(&scratch);
    return rc;
}

/* Takes the slice; a batch that is not below the high watermark is nothing anybody has seen. */
static enum err_code answer_time(struct partition *p, enum err_code rc, struct log_slice *s, int64_t ts, bool is_max,
                                 int64_t *offset, int64_t *found_ts, struct err *e)
{
    struct batch_view v;

    *offset = *found_ts = -1;
    if (rc == ERR_NOT_FOUND) return ERR_NONE;
    if (rc != ERR_NONE) return rc;
    rc = batch_view_parse(&v, s->bytes, e);
    if (rc == ERR_NONE && batch_last_offset(&v) < log_durable_offset(p->log))
        rc = find_record(v.bytes, is_max ? v.max_timestamp : ts, offset, found_ts, e);
    log_slice_release(s);
    return rc;
}

enum err_code partition_offset_for_time(struct partition *p, int64_t ts_ms, int64_t *offset, int64_t *ts, struct err *e)
{
    struct log_slice s = {0};
    enum err_code rc = log_find_time(p->log, ts_ms, &s, e);
    return answer_time(p, rc, &s, ts_ms, false, offset, ts, e);
}

enum err_code partition_offset_of_max_time(struct partition *p, int64_t *offset, int64_t *ts, struct err *e)
{
    struct log_slice s = {0};
    enum err_code rc = log_find_max_time(p->log, &s, e);
    return answer_time(p, rc, &s, 0, true, offset, ts, e);
}

void partition_wait(struct partition *p, struct read_wait *w, int64_t beyond)
{
    w->partition = p;
    w->beyond = beyond;
    list_push_back(&p->read_waits, &w->link);
    if (log_durable_offset(p->log) > beyond || p->topic->is_deleted) partition_mark_woken(p, p->topic->is_deleted);
}

void read_wait_cancel(struct read_wait *w)
{
    list_remove(&w->link);
}

enum err_code partition_trim(struct partition *p, int64_t before, struct err *e)
{
    struct topic *t = p->topic;
    int64_t start = log_start_offset(p->log), durable = log_durable_offset(p->log);
    struct err why = {0};

    if (t->is_internal) return err_set(e, ERR_DENIED, "%s is internal", t->name);
    if (!topic_deletes(t)) return err_set(e, ERR_LIMIT, "cleanup.policy of topic %s does not say delete", t->name);
    if (p->is_stopped) return err_set(e, ERR_STOPPED, "%s partition %d has stopped", t->name, (int)p->index);
    if (before == -1) before = durable;
    if (before < 0 || before > durable)
        return err_set(e, ERR_RANGE, "offset %lld of %s partition %d: the high watermark is %lld", (long long)before,
                       t->name, (int)p->index, (long long)durable);
    if (before <= start) return ERR_NONE;
    /* A sync under way refers to segments that may go. */
    if (p->is_syncing) syncer_settle(t->broker->syncer);
    /* Everything goes: a new segment, so that the old one's space is free at once. Without room for one the start moves
     * all the same, and retention or the next trim removes the file. */
    enum err_code rc = before == log_end_offset(p->log) ? log_roll(p->log, &why) : ERR_NONE;
    if (rc == ERR_NONE || rc == ERR_NO_SPACE) rc = log_trim(p->log, before, &why);
    if (log_is_stopped(p->log)) partition_stop(p, &why);
    if (log_start_offset(p->log) != start) partition_mark_woken(p, true);
    if (rc != ERR_NONE && e) *e = why;
    return rc;
}
