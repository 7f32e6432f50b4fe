/* txn_store.c: transactions as records of __transaction_state, in Kafka's own layout, so that its tools can read them.
 *
 *   key    i16 0, transactional id str
 *   value  of the second kind as version 1 (below), else
 *          i16 0, producer id i64, epoch i16, timeout i32, state i8, partitions [topic str, [index i32]]? (null: none),
 *          last update i64, start i64        str: i16 length and bytes. [..]: i32 count. A null value is a tombstone.
 *
 * One partition, created at the first need, read whole at open, rewritten when it has grown (journal.c J1). Ids that
 * were idle for a week are left out then, and not taken in at open. */
#include "broker/txn_int.h"

#include <stdlib.h>

#define TAG_PREVIOUS_PRODUCER 0
#define TAG_NEXT_PRODUCER 1
#define TAG_CLIENT_VERSION 2
#define TAG_NEXT_EPOCH 3

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

static void put_value_flexible(struct buf *out, const struct txn *t);

static void put_value(struct buf *out, const struct txn *t)
{
    if (t->is_v2) {
        put_value_flexible(out, t);
        return;
    }
    buf_put_be16(out, 0);
    buf_put_be64(out, (uint64_t)t->producer_id);
    buf_put_be16(out, (uint16_t)t->epoch);
    buf_put_be32(out, (uint32_t)t->timeout_ms);
    buf_put_u8(out, (uint8_t)t->state);
    put_parts(out, t);
    buf_put_be64(out, (uint64_t)t->update_ms);
    buf_put_be64(out, (uint64_t)t->start_ms);
}

/* Version 1 is a flexible one: lengths are uvarint + 1, tagged fields end each struct. It is written only when it says
 * more than version 0, which an older program can read. */
static void put_parts_flexible(struct buf *out, const struct txn *t)
{
    uint64_t n_topics = 0;

    for (int i = 0; i < t->n_parts; i++)
        n_topics += i == 0 || !bytes_equal(t->parts[i].topic, t->parts[i - 1].topic);
    buf_put_uvarint(out, t->n_parts == 0 ? 0 : n_topics + 1);
    for (int i = 0; i < t->n_parts;) {
        int end = i;
        while (end < t->n_parts && bytes_equal(t->parts[end].topic, t->parts[i].topic))
            end++;
        buf_put_uvarint(out, t->parts[i].topic.len + 1);
        buf_put_bytes(out, t->parts[i].topic);
        buf_put_uvarint(out, (uint64_t)(end - i) + 1);
        for (; i < end; i++)
            buf_put_be32(out, (uint32_t)t->parts[i].index);
        buf_put_uvarint(out, 0);
    }
}

static void put_tag64(struct buf *out, uint32_t tag, int64_t v)
{
    buf_put_uvarint(out, tag);
    buf_put_uvarint(out, 8);
    buf_put_be64(out, (uint64_t)v);
}

static void put_tag16(struct buf *out, uint32_t tag, int16_t v)
{
    buf_put_uvarint(out, tag);
    buf_put_uvarint(out, 2);
    buf_put_be16(out, (uint16_t)v);
}

static void put_value_flexible(struct buf *out, const struct txn *t)
{
    bool has_previous = t->last_producer_id >= 0 && t->last_producer_id != t->producer_id;
    bool has_next = t->next_producer_id >= 0;

    buf_put_be16(out, 1);
    buf_put_be64(out, (uint64_t)t->producer_id);
    buf_put_be16(out, (uint16_t)t->epoch);
    buf_put_be32(out, (uint32_t)t->timeout_ms);
    buf_put_u8(out, (uint8_t)t->state);
    put_parts_flexible(out, t);
    buf_put_be64(out, (uint64_t)t->update_ms);
    buf_put_be64(out, (uint64_t)t->start_ms);
    buf_put_uvarint(out, 1u + has_previous + 2u * has_next);
    if (has_previous) put_tag64(out, TAG_PREVIOUS_PRODUCER, t->last_producer_id);
    if (has_next) put_tag64(out, TAG_NEXT_PRODUCER, t->next_producer_id);
    put_tag16(out, TAG_CLIENT_VERSION, 2);
    if (has_next) put_tag16(out, TAG_NEXT_EPOCH, 0);
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
    if (rc == ERR_NONE) {
        *is_durable = r.is_durable;
        t->stored_upto = r.base_offset + 1;
    }
    if (rc == ERR_NONE) compact(ts); /* Not before: what is in the table may still be taken back until here. */
    buf_deinit(&key);
    buf_deinit(&value);
    buf_deinit(&batch);
    return rc;
}

/* A snapshot says it again in another place, but not before what it is made of is durable: the end of the log will do. */
void txn_stored_wait(struct txn *t, struct append_wait *wait, bool *is_durable)
{
    struct partition *p = t->txns->log;

    *is_durable = p == NULL || t->stored_upto == 0;
    if (!*is_durable) partition_wait_durable(p, t->stored_upto, wait, is_durable);
}

/* ---- reading back ---- */
static void load_parts_flexible(struct txn *t, struct reader *r)
{
    uint32_t n_topics = reader_uvarint32(r);

    txn_parts_cut(t, 0);
    for (; n_topics > 1 && !r->failed; n_topics--) {
        uint32_t len = reader_uvarint32(r);
        struct bytes topic = reader_take(r, len ? len - 1 : 0);
        uint32_t n = reader_uvarint32(r);
        for (; n > 1 && !r->failed; n--) {
            int32_t index = (int32_t)reader_be32(r);
            if (!r->failed) txn_part_add(t, topic, index);
        }
        for (uint32_t tags = reader_uvarint32(r); tags > 0 && !r->failed; tags--) {
            (void)reader_uvarint32(r);
            (void)reader_take(r, reader_uvarint32(r));
        }
    }
}

static void load_tags(struct txn *t, struct reader *r)
{
    for (uint32_t n = reader_uvarint32(r); n > 0 && !r->failed; n--) {
        uint32_t tag = reader_uvarint32(r);
        struct reader v = reader_of(reader_take(r, reader_uvarint32(r)));

        if (tag == TAG_PREVIOUS_PRODUCER) t->last_producer_id = (int64_t)reader_be64(&v);
        if (tag == TAG_NEXT_PRODUCER) t->next_producer_id = (int64_t)reader_be64(&v);
        if (tag == TAG_CLIENT_VERSION) t->is_v2 = reader_be16(&v) >= 2;
        if (v.failed) r->failed = true;
    }
}

/* Who may ask again for the end that the record tells of. */
static void load_last(struct txn *t)
{
    if (!t->is_v2 || t->state == TXN_EMPTY || t->state == TXN_ONGOING) return;
    bool is_same = t->last_producer_id < 0 || t->last_producer_id == t->producer_id;
    t->last_epoch = is_same ? (int16_t)(t->epoch - 1) : TXN_EPOCH_MAX - 1;
    if (is_same) t->last_producer_id = t->producer_id;
}

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
    int version = reader_be16(&r);
    if (version > 1) return err_set(e, ERR_UNSUPPORTED, "a transaction of a newer version");
    if (t == NULL) t = txn_make(ts, id);
    int64_t producer_id = (int64_t)reader_be64(&r);
    int16_t epoch = (int16_t)reader_be16(&r);
    t->timeout_ms = (int32_t)reader_be32(&r);
    int state = reader_u8(&r);
    t->last_producer_id = t->next_producer_id = -1;
    t->last_epoch = -1;
    t->is_v2 = false;
    if (version == 0)
        load_parts(t, &r);
    else
        load_parts_flexible(t, &r);
    t->update_ms = (int64_t)reader_be64(&r);
    t->start_ms = (int64_t)reader_be64(&r);
    if (version > 0) load_tags(t, &r);
    if (r.failed || state > TXN_COMPLETE_ABORT || producer_id < 0)
        return err_set(e, ERR_CORRUPT, "transaction %.*s at offset %lld is not readable", BYTES_ARG(id),
                       (long long)rec->offset);
    t->state = (enum txn_state)state;
    txn_set_producer(t, producer_id, epoch);
    load_last(t);
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
