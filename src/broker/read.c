/* read.c: reading up to the high watermark, looking up by time, waiting for more, and deleting from the front. */
#include "broker/broker_int.h"

#include <stdlib.h>

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

/* ---- reading ---- */
static bool is_empty_batch(const struct bytes *batches)
{
    return batches->len >= BATCH_HEADER_LEN && be32_get(batches->ptr + 57) == 0;
}

bool slice_is_hollow(const struct log_slice *s)
{
    return is_empty_batch(&s->bytes);
}

/* Empty batches at the front are left out when something follows them: some clients stand still on an answer without a
 * record. */
static void skip_empty(struct partition *p, int64_t limit, size_t max_bytes, struct log_slice *s)
{
    while (UNLIKELY(is_empty_batch(&s->bytes))) {
        struct log_slice next;
        struct bytes left = s->bytes;
        while (is_empty_batch(&left)) {
            size_t len = (size_t)be32_get(left.ptr + 8) + BATCH_PREFIX_LEN;
            left = bytes_slice(left, len, left.len - len);
        }
        if (left.len > 0) {
            s->bytes = left;
            break;
        }
        if (s->next_offset >= limit) break;
        if (log_read(p->log, s->next_offset, limit, max_bytes, &next, NULL) != ERR_NONE) break; /* told next time */
        if (next.bytes.len == 0) break;
        log_slice_release(s);
        *s = next;
    }
}

static enum err_code read_below(struct partition *p, int64_t offset, int64_t limit, size_t max_bytes,
                                struct log_slice *out, struct err *e)
{
    enum err_code rc = log_read(p->log, offset, limit, max_bytes, out, e);
    if (rc == ERR_NONE) skip_empty(p, limit, max_bytes, out);
    return rc;
}

enum err_code partition_read(struct partition *p, int64_t offset, size_t max_bytes, struct log_slice *out,
                             struct err *e)
{
    return read_below(p, offset, log_durable_offset(p->log), max_bytes, out, e);
}

/* ---- committed ---- */
/* In this order: the high watermark first, then what is open (producer.h). */
int64_t partition_last_stable(const struct partition *p)
{
    int64_t end = log_durable_offset(p->log), start = log_start_offset(p->log);
    int64_t open = producers_open_first(p->producers);
    int64_t stable = open < end ? open : end;
    return stable > start ? stable : start; /* Retention may have taken the beginning of an open transaction. */
}

enum err_code partition_read_stable(struct partition *p, int64_t offset, size_t max_bytes, struct log_slice *out,
                                    struct err *e)
{
    int64_t end = log_durable_offset(p->log), stable = partition_last_stable(p);

    *out = (struct log_slice){.bytes = bytes_str(""), .next_offset = offset};
    if (offset > stable && offset <= end) return ERR_NONE; /* There, but not decided. */
    return read_below(p, offset, stable, max_bytes, out, e);
}

size_t partition_aborted(struct partition *p, int64_t from, int64_t to, struct aborted_txn **out)
{
    return producers_aborted(p->producers, from, to, out);
}

static bool is_aborted(const struct batch_view *v, const struct aborted_txn *aborted, size_t n)
{
    if (!(v->attributes & BATCH_ATTR_TRANSACTIONAL) || (v->attributes & BATCH_ATTR_CONTROL)) return false;
    for (size_t i = 0; i < n; i++) {
        const struct aborted_txn *a = &aborted[i];
        if (a->producer_id == v->producer_id && a->first <= v->base_offset && v->base_offset < a->last) return true;
    }
    return false;
}

/* Takes aborted batches off the front, and everything from the first one behind that on. */
static enum err_code cut_aborted(struct log_slice *s, const struct aborted_txn *aborted, size_t n, struct err *e)
{
    const uint8_t *from = s->bytes.ptr;
    struct bytes left = s->bytes;
    int64_t next = -1;

    while (left.len > 0) {
        struct batch_view v;
        enum err_code rc = batch_view_parse(&v, left, e);
        if (rc != ERR_NONE) return rc;
        bool is_void = is_aborted(&v, aborted, n);
        if (is_void && left.ptr != from) break;
        left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        next = batch_last_offset(&v) + 1;
        if (is_void) from = left.ptr;
    }
    if (left.len > 0) s->next_offset = next;
    s->bytes = bytes_of(from, (size_t)(left.ptr - from));
    return ERR_NONE;
}

enum err_code partition_read_committed(struct partition *p, int64_t offset, size_t max_bytes, struct log_slice *out,
                                       struct err *e)
{
    for (;;) {
        struct aborted_txn *aborted = NULL;
        struct batch_view v;
        enum err_code rc = partition_read_stable(p, offset, max_bytes, out, e);
        if (rc != ERR_NONE || out->bytes.len == 0) return rc;
        rc = batch_view_parse(&v, out->bytes, e);
        size_t n = rc == ERR_NONE ? partition_aborted(p, v.base_offset, out->next_offset, &aborted) : 0;
        if (n > 0) rc = cut_aborted(out, aborted, n, e);
        free(aborted);
        if (rc != ERR_NONE) log_slice_release(out);
        if (rc != ERR_NONE || out->bytes.len > 0) return rc;
        offset = out->next_offset;
        log_slice_release(out);
    }
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

struct producers_call {
    void (*fn)(void *arg, const struct partition_producer *x);
    void *arg;
};

static void each_producer(void *arg, const struct producer_state *s)
{
    struct producers_call *c = arg;
    struct partition_producer x = {.producer_id = s->id,
                                   .used_ms = s->used_ms,
                                   .open_first = s->open_first,
                                   .last_sequence = s->last_sequence,
                                   .epoch = s->epoch};
    c->fn(c->arg, &x);
}

bool partition_knows_producer(struct partition *p, int64_t producer_id, int16_t epoch)
{
    int16_t known;
    return producers_last_sequence(p->producers, producer_id, &known) >= 0 && known == epoch;
}

void partition_producers_each(struct partition *p, void (*fn)(void *arg, const struct partition_producer *x), void *arg)
{
    struct producers_call c = {fn, arg};
    producers_each(p->producers, each_producer, &c);
}

void partition_wait(struct partition *p, struct read_wait *w, int64_t beyond)
{
    w->partition = p;
    w->beyond = beyond;
    list_push_back(&p->read_waits, &w->link);
    if ((w->is_committed ? partition_last_stable(p) : log_durable_offset(p->log)) > beyond || p->topic->is_deleted)
        partition_mark_woken(p, p->topic->is_deleted);
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
    partition_settle_sync(p);
    /* Everything goes: a new segment, so that the old one's space is free at once. Without room for one the start moves
     * all the same, and retention or the next trim removes the file. */
    enum err_code rc = before == log_end_offset(p->log) ? log_roll(p->log, &why) : ERR_NONE;
    if (rc == ERR_NONE || rc == ERR_NO_SPACE) rc = log_trim(p->log, before, &why);
    if (log_is_stopped(p->log)) partition_stop(p, &why);
    if (log_start_offset(p->log) != start) partition_mark_woken(p, true);
    if (rc != ERR_NONE && e) *e = why;
    return rc;
}
