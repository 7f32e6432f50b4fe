/* txn_store.c: transactions as records of __transaction_state, in Kafka's own layout, so that its tools can read them.
 *
 *   key    i16 0, transactional id str
 *   value  i16 0, producer id i64, epoch i16, timeout i32, state i8, partitions [topic str, [index i32]]? (null: none),
 *          last update i64, start i64        str: i16 length and bytes. [..]: i32 count. A null value is a tombstone.
 *
 * One partition, created at the first need, read whole at open, rewritten when it has grown (journal.c J1). Ids that
 * were idle for a week are left out then, and not taken in at open. */
#include "broker/txn_int.h"

#include <stdlib.h>

/* ---- encoding ---- */
static void put_key(struct buf *out, const struct txn *t)
{
    buf_put_be16(out, 0);
    store_put_str(out, t->id);
}

static void put_parts(struct buf *out, const struct txn *t)
{
    size_t count_at = out->len;
    uint32_t n_topics = 0;

    buf_put_be32(out, t->n_parts == 0 ? UINT32_MAX : 0);
    for (int i = 0; i < t->n_parts; n_topics++) {
        int end = i;
        while (end < t->n_parts && bytes_equal(t->parts[end].topic, t->parts[i].topic))
            end++;
        store_put_str(out, t->parts[i].topic);
        buf_put_be32(out, (uint32_t)(end - i));
        for (; i < end; i++)
            buf_put_be32(out, (uint32_t)t->parts[i].index);
    }
    if (n_topics > 0 && !out->failed) buf_patch_be32(out, count_at, n_topics);
}

static void put_value(struct buf *out, const struct txn *t)
{
    buf_put_be16(out, 0);
    buf_put_be64(out, (uint64_t)t->producer_id);
    buf_put_be16(out, (uint16_t)t->epoch);
    buf_put_be32(out, (uint32_t)t->timeout_ms);
    buf_put_u8(out, (uint8_t)t->state);
    put_parts(out, t);
    buf_put_be64(out, (uint64_t)t->update_ms);
    buf_put_be64(out, (uint64_t)t->start_ms);
}

static bool is_expired(const struct txn *t)
{
    bool is_idle = t->state != TXN_ONGOING && !txn_is_preparing(t);
    return is_idle && broker_now_ms(t->txns->broker) - t->update_ms > TXN_ID_EXPIRY_MS;
}

/* ---- snapshot ---- */
static uint64_t write_live(struct txns *ts, struct journal_writer *w);

static void write_all(void *arg, struct journal_writer *w)
{
    (void)write_live(arg, w);
}

static uint64_t write_live(struct txns *ts, struct journal_writer *w)
{
    struct buf key, value;
    uint64_t bytes = 0;
    uint32_t pos = 0;

    buf_init(&key, 0);
    buf_init(&value, 0);
    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;) {
        struct txn *t = m->value;
        if (is_expired(t)) {
            txn_free(t);
            continue;
        }
        if (t->producer_id < 0) continue; /* being made by the call that got us here */
        buf_clear(&key);
        buf_clear(&value);
        put_key(&key, t);
        put_value(&value, t);
        journal_put(w, buf_bytes(&key), buf_bytes(&value));
        bytes += key.len + value.len + 16;
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return bytes;
}

static void snapshot_durable(struct append_wait *w, enum err_code rc)
{
    struct txns *ts = CONTAINER_OF(w, struct txns, snapshot_wait);
    struct err e = {0};

    if (rc == ERR_NONE && ts->log != NULL) rc = log_trim(ts->log->log, ts->snapshot_first, &e);
    if (rc != ERR_NONE && rc != ERR_CLOSED)
        diag_printf(ts->broker->sys->diag, DIAG_WARN, "txn", "trimming %s: %s", TXN_TOPIC, e.text);
    ts->snapshot_first = -1;
}

static void compact(struct txns *ts)
{
    struct journal_writer w;
    struct err e = {0};

    if (ts->log == NULL || ts->log->is_stopped || ts->snapshot_first >= 0) return;
    struct log *l = ts->log->log;
    if (log_size_bytes(l) < ts->compact_at) return;
    enum err_code rc = log_roll(l, &e);
    journal_begin(&w, l, broker_now_ms(ts->broker), &e);
    uint64_t live = rc == ERR_NONE ? write_live(ts, &w) : 0;
    enum err_code rc_write = journal_finish(&w);
    if (rc == ERR_NONE) rc = rc_write;
    ts->compact_at = journal_compact_at(live);
    if (rc != ERR_NONE || w.first < 0) {
        ts->compact_at = log_size_bytes(l) + JOURNAL_COMPACT_BYTES_MIN; /* Not at every record. */
        if (rc != ERR_NONE)
            diag_printf(ts->broker->sys->diag, DIAG_WARN, "txn", "snapshot of %s: %s", TXN_TOPIC, e.text);
        if (log_is_stopped(l)) partition_stop(ts->log, &e);
        return;
    }
    ts->snapshot_first = w.first;
    ts->snapshot_wait.done = snapshot_durable;
    if (log_durable_offset(l) < w.end) {
        ts->snapshot_wait.upto = w.end;
        list_push_back(&ts->log->append_waits, &ts->snapshot_wait.link);
        partition_mark_dirty(ts->log);
        return;
    }
    /* Outside of sync mode "durable" says nothing about the disk, and a trim must not run ahead of it. */
    rc = partition_sync_now(ts->log, &e);
    snapshot_durable(&ts->snapshot_wait, rc);
}

/* ---- writing ---- */
static enum err_code store_open(struct txns *ts, struct err *e)
{
    struct broker *b = ts->broker;
    struct topic *t = topic_find(b, bytes_str(TXN_TOPIC));
    struct topic_config c = {.retention_ms = -1, .retention_bytes = -1, .compact = true};

    if (ts->log != NULL) return ERR_NONE;
    enum err_code rc = t ? ERR_NONE : topic_create_any(b, bytes_str(TXN_TOPIC), 1, &c, &t, e);
    if (rc != ERR_NONE) return rc;
    ts->log = topic_partition(t, 0);
    ts->compact_at = JOURNAL_COMPACT_BYTES_MIN;
    return ERR_NONE;
}

enum err_code txn_store(struct txn *t, struct append_wait *wait, bool *is_durable, struct err *e)
{
    struct txns *ts = t->txns;
    struct append_result r;
    struct batch_builder w;
    struct buf key, value, batch;

    enum err_code rc = store_open(ts, e);
    if (rc != ERR_NONE) return rc;
    buf_init(&key, 0);
    buf_init(&value, 0);
    buf_init(&batch, 0);
    put_key(&key, t);
    put_value(&value, t);
    batch_begin(&w, &batch, CODEC_NONE);
    batch_add(&w, broker_now_ms(ts->broker), buf_bytes(&key), buf_bytes(&value), NULL, 0);
    rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = partition_append_own(ts->log, batch.ptr, batch.len, wait, &r, e);
    if (rc == ERR_NONE) *is_durable = r.is_durable;
    if (rc == ERR_NONE) compact(ts); /* Not before: what is in the table may still be taken back until here. */
    buf_deinit(&key);
    buf_deinit(&value);
    buf_deinit(&batch);
    return rc;
}

/* ---- reading back ---- */
static void load_parts(struct txn *t, struct reader *r)
{
    int32_t n_topics = (int32_t)reader_be32(r);

    txn_parts_cut(t, 0);
    for (; n_topics > 0 && !r->failed; n_topics--) {
        struct bytes topic = store_take_str(r);
        int32_t n = (int32_t)reader_be32(r);
        for (; n > 0 && !r->failed; n--) {
            int32_t index = (int32_t)reader_be32(r);
            if (!r->failed) txn_part_add(t, topic, index);
        }
    }
}

static enum err_code load_record(void *arg, const struct record *rec, struct err *e)
{
    struct txns *ts = arg;
    struct reader key = reader_of(rec->key), r = reader_of(rec->value);
    int type = reader_be16(&key);
    struct bytes id = store_take_str(&key);

    if (key.failed || type != 0 || id.len == 0) return ERR_NONE;
    struct txn *t = txn_find(ts, id);
    if (bytes_is_null(rec->value)) {
        if (t) txn_free(t);
        return ERR_NONE;
    }
    if (reader_be16(&r) != 0) return err_set(e, ERR_UNSUPPORTED, "a transaction of a newer version");
    if (t == NULL) t = txn_make(ts, id);
    int64_t producer_id = (int64_t)reader_be64(&r);
    int16_t epoch = (int16_t)reader_be16(&r);
    t->timeout_ms = (int32_t)reader_be32(&r);
    int state = reader_u8(&r);
    load_parts(t, &r);
    t->update_ms = (int64_t)reader_be64(&r);
    t->start_ms = (int64_t)reader_be64(&r);
    if (r.failed || state > TXN_COMPLETE_ABORT || producer_id < 0)
        return err_set(e, ERR_CORRUPT, "transaction %.*s at offset %lld is not readable", BYTES_ARG(id),
                       (long long)rec->offset);
    t->state = (enum txn_state)state;
    txn_set_producer(t, producer_id, epoch);
    return ERR_NONE;
}

enum err_code txn_load(struct txns *ts, struct err *e)
{
    struct topic *topic = topic_find(ts->broker, bytes_str(TXN_TOPIC));
    uint32_t pos = 0;
    bool is_damaged = false;

    if (topic == NULL) return ERR_NONE;
    ts->log = topic_partition(topic, 0);
    enum err_code rc = rescue_read(ts->log, ts->broker->options.repair, load_record, ts, &is_damaged, e);
    if (rc == ERR_NONE && is_damaged) rc = rescue_renew(ts->log, write_all, ts, e);
    if (rc != ERR_NONE) {
        rc = err_wrap(e, rc, "reading the broker's own topic %s", TXN_TOPIC);
        if (is_damaged)
            err_hint(e,
                     "a promised commit may be lost; nothing was changed: see weir verify, then go on by weir repair, "
                     "which aborts what has no decision");
        return rc;
    }
    for (struct map_entry *m; (m = map_next(&ts->by_id, &pos)) != NULL;)
        if (is_expired(m->value)) txn_free(m->value);
    ts->compact_at = journal_compact_at((uint64_t)map_count(&ts->by_id) * 100);
    return ERR_NONE;
}
