/* append.c: one record batch into one partition: check, deduplicate, stamp, append, wait.
 *
 * A1  Nothing is appended before every check has passed, and a batch is appended whole or not at all.
 * A2  Compressed batches are not opened: their CRC says that they are what the client made, and re-encoding would
 *     cost more than all the rest. Readers check the records.
 * A3  A duplicate is answered as its original: it waits until the original is durable. */
#include "broker/broker_int.h"

static enum err_code check_shape(const struct batch_view *v, size_t len, struct err *e)
{
    if (v->bytes.len != len) return err_set(e, ERR_INVALID, "%zu bytes follow the record batch", len - v->bytes.len);
    enum err_code rc = batch_check_crc(v, e);
    if (rc != ERR_NONE) return rc;
    if (v->attributes & BATCH_ATTR_CONTROL) return err_set(e, ERR_INVALID, "control batches are the broker's own");
    if (v->record_count < 1 || v->last_offset_delta != v->record_count - 1)
        return err_set(e, ERR_INVALID, "%d records with a last offset delta of %d", (int)v->record_count,
                       (int)v->last_offset_delta);
    if (batch_codec(v) > CODEC_ZSTD)
        return err_set(e, ERR_UNSUPPORTED, "compression %d is unknown", (int)batch_codec(v));
    if ((v->attributes & BATCH_ATTR_TRANSACTIONAL) && v->producer_id < 0)
        return err_set(e, ERR_INVALID, "a transactional batch without a producer");
    if (v->producer_id >= 0 && (v->base_sequence < 0 || v->producer_epoch < 0))
        return err_set(e, ERR_INVALID, "producer %lld without a sequence", (long long)v->producer_id);
    return ERR_NONE;
}

/* Memory of a batch that was large or a bomb is not kept. */
static void scratch_trim(struct buf *scratch)
{
    if (scratch->cap <= LIMIT_BATCH_BYTES_DEFAULT) return;
    buf_deinit(scratch);
    buf_init(scratch, 0);
}

/* message.timestamp.before.max.ms: of every record. The header tells the newest only, so records are looked at where
 * the bound is set. */
static enum err_code check_oldest(const struct partition *p, const struct batch_view *v, int64_t now_ms, struct err *e)
{
    int64_t bound = now_ms - p->topic->config.number[TOPIC_TIMESTAMP_BEFORE_MS];
    struct buf *scratch = &p->topic->broker->scratch;
    struct batch_iter it;
    struct record r;
    bool more = true;

    enum err_code rc = batch_iter_init(&it, v, scratch, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (r.timestamp < bound)
            rc = err_set(e, ERR_TIMESTAMP, "timestamp %lld lies too far in the past", (long long)r.timestamp);
    }
    scratch_trim(scratch);
    return rc;
}

/* A5  A record of a compacted topic has a key: nothing could ever replace one without. Only there are records looked
 * at, compressed ones too: what cannot be read would stay for ever. */
static enum err_code check_keys(struct broker *b, const struct batch_view *v, struct err *e)
{
    struct batch_iter it;
    struct record r;
    bool more = true;

    enum err_code rc = batch_iter_init(&it, v, &b->scratch, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (bytes_is_null(r.key))
            rc = err_set(e, ERR_INVALID, "record %d has no key; the topic is compacted", (int)it.last_delta);
    }
    scratch_trim(&b->scratch);
    return rc;
}

static enum err_code check_batch(const struct partition *p, const uint8_t *batch, size_t len, struct batch_view *v,
                                 struct err *e)
{
    const struct topic_config *c = &p->topic->config;

    if (p->topic->is_internal) return err_set(e, ERR_DENIED, "%s is internal", p->topic->name);
    if (len > c->batch_bytes_max)
        return err_set(e, ERR_TOO_LARGE, "batch of %zu bytes; %u are the most", len, (unsigned)c->batch_bytes_max);
    enum err_code rc = batch_view_parse(v, bytes_of(batch, len), e);
    if (rc == ERR_RANGE) rc = err_set(e, ERR_CORRUPT, "record batch is cut short");
    if (rc == ERR_NONE) rc = check_shape(v, len, e);
    if (rc == ERR_NONE && UNLIKELY(c->compact)) rc = check_keys(p->topic->broker, v, e);
    if (rc != ERR_NONE || c->log_append_time) return rc;
    if (v->attributes & BATCH_ATTR_LOG_APPEND_TIME)
        return err_set(e, ERR_TIMESTAMP, "the topic keeps the producer's timestamps, the batch says otherwise");
    int64_t now_ms = broker_now_ms(p->topic->broker);
    if (v->max_timestamp > now_ms && v->max_timestamp - now_ms > c->timestamp_ahead_ms)
        return err_set(e, ERR_TIMESTAMP, "timestamp %lld lies in the future", (long long)v->max_timestamp);
    if (c->number[TOPIC_TIMESTAMP_BEFORE_MS] < INT64_MAX) return check_oldest(p, v, now_ms, e);
    return ERR_NONE;
}

/* Waits are kept by rising `upto`; almost always the newest goes last. */
static void queue_wait(struct partition *p, struct append_wait *w, int64_t upto)
{
    struct list *at = &p->append_waits;
    w->upto = upto;
    while (at->prev != &p->append_waits && CONTAINER_OF(at->prev, struct append_wait, link)->upto > upto)
        at = at->prev;
    list_push_back(at, &w->link); /* in front of `at` */
}

static void answer(struct partition *p, int64_t upto, struct append_wait *wait, struct append_result *out)
{
    out->log_start_offset = log_start_offset(p->log);
    /* Outside of sync mode the log calls everything durable at once. */
    out->is_durable = upto <= log_durable_offset(p->log);
    if (!out->is_durable && wait) queue_wait(p, wait, upto);
}

void partition_wait_durable(struct partition *p, int64_t upto, struct append_wait *wait, bool *is_durable)
{
    *is_durable = upto <= log_durable_offset(p->log);
    if (!*is_durable && wait) queue_wait(p, wait, upto);
}

static void note_failure(struct partition *p, enum err_code rc, const struct err *e)
{
    struct broker *b = p->topic->broker;

    if (rc == ERR_NO_SPACE && !b->stats.disk_full) {
        b->stats.disk_full = true;
        diag_printf(b->sys->diag, DIAG_ERROR, "broker", "disk full: appends are refused until there is room (%s)",
                    e->text);
    }
    if (log_is_stopped(p->log)) partition_stop(p, e);
}

static void note_success(struct partition *p, const struct batch_view *v, int64_t now_ms)
{
    struct broker *b = p->topic->broker;

    if (v->producer_id >= 0) producers_record(p->producers, v, now_ms);
    if (v->attributes & BATCH_ATTR_CONTROL) partition_mark_woken(p, false); /* The last stable offset moved. */
    b->stats.batches_in++;
    b->stats.records_in += (uint64_t)v->record_count;
    b->stats.bytes_in += v->bytes.len;
    if (b->stats.disk_full) {
        b->stats.disk_full = false;
        diag_printf(b->sys->diag, DIAG_INFO, "broker", "there is room on the disk again");
        spare_make(b);
    }
    p->unsaved_bytes += v->bytes.len;
    if (p->unsaved_bytes > p->topic->config.segment_bytes) {
        /* A cache: the next open looks at no more than the heads of about one segment. */
        p->unsaved_bytes = 0;
        producers_forget(p->producers, log_start_offset(p->log));
        (void)!producers_save(p->producers, b->sys->fs, p->dir, log_end_offset(p->log), NULL);
    }
    if (b->options.durability != DURABILITY_OS) partition_mark_dirty(p);
    if (!broker_is_sync(b)) partition_mark_woken(p, false);
    retention_arm(b);
    if (p->topic->config.compact) cleaner_arm(b);
}

/* A4  A producer's plain batch must not slip into its open transaction, nor a transactional one beside it: nothing
 * would ever close it, and readers of committed records would wait for ever. */
static enum err_code check_transaction(struct partition *p, const struct batch_view *v, struct err *e)
{
    if (v->attributes & BATCH_ATTR_TRANSACTIONAL) return txn_check_append(p, v->producer_id, v->producer_epoch, e);
    if (v->producer_id < 0 || producers_open_of(p->producers, v->producer_id, NULL) < 0) return ERR_NONE;
    return err_set(e, ERR_TXN_STATE, "producer %lld has a transaction open", (long long)v->producer_id);
}

static enum err_code append_to_log(struct partition *p, struct batch_view *v, uint8_t *batch, int64_t now_ms,
                                   int64_t *base, struct err *e)
{
    bool opens = (v->attributes & BATCH_ATTR_TRANSACTIONAL) && !(v->attributes & BATCH_ATTR_CONTROL) &&
                 producers_open(p->producers, v->producer_id, v->producer_epoch, log_end_offset(p->log));

    enum err_code rc = log_append(p->log, batch, v->bytes.len, now_ms, base, e);
    if (rc != ERR_NONE && opens) producers_open_undo(p->producers, v->producer_id);
    return rc;
}

static enum err_code append(struct partition *p, struct batch_view *v, uint8_t *batch, bool is_own,
                            struct append_wait *wait, struct append_result *out, struct err *e)
{
    struct broker *b = p->topic->broker;
    int64_t now_ms = broker_now_ms(b), base = -1;
    struct err why = {0};

    *out = (struct append_result){.log_append_time_ms = -1};
    if (p->is_stopped) return err_set(e, ERR_STOPPED, "%s partition %d has stopped", p->topic->name, (int)p->index);
    if (b->is_closing || p->topic->is_deleted) return err_set(e, ERR_CLOSED, "closing");

    enum err_code rc = producers_check(p->producers, v, &base, e);
    if (rc == ERR_DUPLICATE) {
        b->stats.duplicates++;
        out->is_duplicate = true;
        out->base_offset = base;
        answer(p, base + v->last_offset_delta + 1, wait, out);
        return ERR_NONE;
    }
    enum err_code rc_txn = is_own ? ERR_NONE : check_transaction(p, v, rc == ERR_NONE ? e : NULL);
    if (rc == ERR_NONE) rc = rc_txn;
    if (rc == ERR_SEQUENCE && rc_txn == ERR_FENCED) rc = err_set(e, ERR_FENCED, "the producer has a newer epoch");
    if (rc != ERR_NONE) return rc;
    if (p->topic->config.log_append_time) {
        batch_stamp_append_time(batch, v->bytes.len, now_ms);
        out->log_append_time_ms = now_ms;
        v->attributes |= BATCH_ATTR_LOG_APPEND_TIME;
        v->max_timestamp = now_ms;
    }
    rc = append_to_log(p, v, batch, now_ms, &base, &why);
    if (rc != ERR_NONE) {
        note_failure(p, rc, &why);
        if (e) *e = why;
        return rc;
    }
    v->base_offset = out->base_offset = base;
    note_success(p, v, now_ms);
    answer(p, base + v->last_offset_delta + 1, wait, out);
    return ERR_NONE;
}

enum err_code partition_append(struct partition *p, uint8_t *batch, size_t len, struct append_wait *wait,
                               struct append_result *out, struct err *e)
{
    struct batch_view v;

    enum err_code rc = check_batch(p, batch, len, &v, e);
    if (rc == ERR_NONE) rc = append(p, &v, batch, false, wait, out, e);
    if (rc != ERR_NONE) p->topic->broker->stats.appends_failed++;
    return rc;
}

enum err_code partition_append_own(struct partition *p, uint8_t *batch, size_t len, struct append_wait *wait,
                                   struct append_result *out, struct err *e)
{
    struct batch_view v;

    enum err_code rc = batch_view_parse(&v, bytes_of(batch, len), e);
    if (rc == ERR_NONE) rc = append(p, &v, batch, true, wait, out, e);
    return rc;
}

void append_cancel(struct append_wait *w)
{
    list_remove(&w->link);
}
