/* group_store.c: offsets and groups as records of __consumer_offsets, in Kafka's own layouts, so that its tools can
 * read them.
 *
 *   key    i16 1, group str, topic str, partition i32           value (v3)  i16 3, offset i64, leader epoch i32,
 * metadata str, commit time i64 key    i16 2, group str                                     value (v3)  i16 3, protocol
 * type str, generation i32, protocol str?, leader str?, state time i64, members [...] str: i16 length and bytes, -1
 * null. bytes: i32 length. A null value is a tombstone.
 *
 * Offsets of a transaction that has not ended have keys of a type of ours, 0x5754 (group_txn.c).
 *
 * The topic has one partition in this version and is created at the first need. It is read whole at open; when it has
 * grown, the live records are appended once more and the log is trimmed before them (journal.c J1). R1  Reading accepts
 * every version of these values that is not flexible (offsets v0-3, groups v0-3); unknown keys are skipped. */
#include "broker/consumer_int.h"

#include <stdlib.h>

/* ---- encoding ---- */
void store_put_str(struct buf *out, struct bytes s)
{
    buf_put_be16(out, s.ptr ? (uint16_t)s.len : UINT16_MAX);
    buf_put_bytes(out, s);
}

static void put_blob(struct buf *out, struct bytes s)
{
    buf_put_be32(out, (uint32_t)s.len);
    buf_put_bytes(out, s);
}

void store_put_offset_key(struct buf *out, struct bytes group, struct bytes topic, int32_t partition)
{
    buf_put_be16(out, 1);
    store_put_str(out, group);
    store_put_str(out, topic);
    buf_put_be32(out, (uint32_t)partition);
}

void store_put_offset_value(struct buf *out, const struct group_offset *o)
{
    buf_put_be16(out, 3);
    buf_put_be64(out, (uint64_t)o->offset);
    buf_put_be32(out, (uint32_t)o->leader_epoch);
    store_put_str(out, o->metadata.ptr ? o->metadata : bytes_str(""));
    buf_put_be64(out, (uint64_t)o->commit_ms);
}

void store_put_group_key(struct buf *out, struct bytes group)
{
    buf_put_be16(out, 2);
    store_put_str(out, group);
}

static void put_group_value(struct buf *out, const struct group *g)
{
    bool has_members = g->n_members > 0;

    buf_put_be16(out, 3);
    store_put_str(out, g->protocol_type.ptr ? g->protocol_type : bytes_str(""));
    buf_put_be32(out, (uint32_t)g->generation);
    store_put_str(out, has_members ? g->protocol : BYTES_NULL);
    store_put_str(out, has_members && g->leader ? g->leader->id : BYTES_NULL);
    buf_put_be64(out, (uint64_t)g->state_ms);
    buf_put_be32(out, (uint32_t)g->n_members);
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        const struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        const struct group_protocol *p = member_protocol(m, g->protocol);
        store_put_str(out, m->id);
        store_put_str(out, m->instance);
        store_put_str(out, m->client_id);
        store_put_str(out, m->client_host);
        buf_put_be32(out, (uint32_t)m->rebalance_ms);
        buf_put_be32(out, (uint32_t)m->session_ms);
        put_blob(out, p ? p->metadata : bytes_str(""));
        put_blob(out, m->assignment);
    }
}

/* ---- writing ---- */
enum err_code store_partition(struct broker *b, struct partition **out, struct err *e)
{
    struct groups *gs = b->groups;
    struct topic *t = topic_find(b, bytes_str(OFFSETS_TOPIC));
    struct topic_config c = {.retention_ms = -1, .retention_bytes = -1, .compact = true};
    enum err_code rc = ERR_NONE;

    if (gs->log == NULL && t == NULL) rc = topic_create_any(b, bytes_str(OFFSETS_TOPIC), 1, &c, &t, e);
    if (rc != ERR_NONE) return rc;
    if (gs->log == NULL) {
        gs->log = topic_partition(t, 0);
        gs->compact_at = JOURNAL_COMPACT_BYTES_MIN;
    }
    *out = gs->log;
    return ERR_NONE;
}

enum err_code store_append(struct broker *b, struct buf *batch, struct append_wait *wait, bool *is_durable,
                           struct err *e)
{
    struct partition *log;
    struct append_result r;

    if (batch->failed) return err_set(e, ERR_MEMORY, "no memory for a batch");
    enum err_code rc = store_partition(b, &log, e);
    if (rc == ERR_NONE) rc = partition_append_own(log, batch->ptr, batch->len, wait, &r, e);
    if (rc == ERR_NONE) *is_durable = r.is_durable;
    return rc;
}

enum err_code store_group(struct group *g, struct append_wait *wait, bool *is_durable, struct err *e)
{
    struct broker *b = g->broker;
    struct batch_builder w;
    struct buf key, value, batch;

    buf_init(&key, 0);
    buf_init(&value, 0);
    buf_init(&batch, 0);
    store_put_group_key(&key, g->id);
    put_group_value(&value, g);
    batch_begin(&w, &batch, CODEC_NONE);
    batch_add(&w, broker_now_ms(b), buf_bytes(&key), buf_bytes(&value), NULL, 0);
    enum err_code rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = store_append(b, &batch, wait, is_durable, e);
    if (rc == ERR_NONE) {
        group_replace(&g->stored, buf_bytes(&value));
        store_compact(b->groups);
    }
    buf_deinit(&key);
    buf_deinit(&value);
    buf_deinit(&batch);
    return rc;
}

/* ---- snapshot ---- */
static uint64_t write_live(struct groups *gs, struct journal_writer *w);

static void write_all(void *arg, struct journal_writer *w)
{
    (void)write_live(arg, w);
}

static uint64_t write_live(struct groups *gs, struct journal_writer *w)
{
    struct buf key, value;
    uint64_t bytes = 0;
    uint32_t pos = 0;

    buf_init(&key, 0);
    buf_init(&value, 0);
    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;) {
        const struct group *g = m->value;
        uint32_t at = 0;
        if (g->stored.ptr != NULL) {
            buf_clear(&key);
            store_put_group_key(&key, g->id);
            journal_put(w, buf_bytes(&key), g->stored);
            bytes += key.len + g->stored.len + 16;
        }
        if (g->consumer) bytes += consumer_write_live(g->consumer, w);
        for (struct map_entry *o; (o = map_next(&g->offsets, &at)) != NULL;) {
            const struct group_offset *offset = o->value;
            buf_clear(&key);
            buf_clear(&value);
            store_put_offset_key(&key, g->id, offset->topic, offset->partition);
            store_put_offset_value(&value, offset);
            journal_put(w, buf_bytes(&key), buf_bytes(&value));
            bytes += key.len + value.len + 16;
        }
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return bytes + txn_offsets_write(gs, w);
}

static void snapshot_durable(struct append_wait *w, enum err_code rc)
{
    struct groups *gs = CONTAINER_OF(w, struct groups, snapshot_wait);
    struct err e = {0};

    if (rc == ERR_NONE && gs->log != NULL) rc = log_trim(gs->log->log, gs->snapshot_first, &e);
    if (rc != ERR_NONE && rc != ERR_CLOSED)
        diag_printf(gs->broker->sys->diag, DIAG_WARN, "group", "trimming %s: %s", OFFSETS_TOPIC, e.text);
    gs->snapshot_first = -1;
}

void store_compact(struct groups *gs)
{
    struct journal_writer w;
    struct err e = {0};

    if (gs->log == NULL || gs->log->is_stopped || gs->snapshot_first >= 0) return;
    struct log *l = gs->log->log;
    if (log_size_bytes(l) < gs->compact_at) return;
    enum err_code rc = log_roll(l, &e);
    journal_begin(&w, l, broker_now_ms(gs->broker), &e);
    uint64_t live = rc == ERR_NONE ? write_live(gs, &w) : 0;
    enum err_code rc_write = journal_finish(&w);
    if (rc == ERR_NONE) rc = rc_write;
    gs->compact_at = journal_compact_at(live);
    if (rc != ERR_NONE || w.first < 0) {
        gs->compact_at = log_size_bytes(l) + JOURNAL_COMPACT_BYTES_MIN; /* Not at every commit. */
        if (rc != ERR_NONE)
            diag_printf(gs->broker->sys->diag, DIAG_WARN, "group", "snapshot of %s: %s", OFFSETS_TOPIC, e.text);
        if (log_is_stopped(l)) partition_stop(gs->log, &e);
        return;
    }
    gs->snapshot_first = w.first;
    gs->snapshot_wait.done = snapshot_durable;
    if (log_durable_offset(l) < w.end) {
        gs->snapshot_wait.upto = w.end;
        list_push_back(&gs->log->append_waits, &gs->snapshot_wait.link);
        partition_mark_dirty(gs->log);
        return;
    }
    /* Outside of sync mode "durable" says nothing about the disk, and a trim must not run ahead of it. */
    rc = partition_sync_now(gs->log, &e);
    snapshot_durable(&gs->snapshot_wait, rc);
}

/* ---- reading back ---- */
struct bytes store_take_str(struct reader *r)
{
    int16_t len = (int16_t)reader_be16(r);
    return len < 0 ? BYTES_NULL : reader_take(r, (size_t)len);
}

static struct bytes take_blob(struct reader *r)
{
    int32_t len = (int32_t)reader_be32(r);
    return len < 0 ? BYTES_NULL : reader_take(r, (size_t)len);
}

bool store_take_offset_value(struct bytes value, struct group_offset *out)
{
    struct reader r = reader_of(value);
    int version = reader_be16(&r);

    *out = (struct group_offset){.offset = (int64_t)reader_be64(&r)};
    out->leader_epoch = version >= 3 ? (int32_t)reader_be32(&r) : -1;
    out->metadata = store_take_str(&r);
    out->commit_ms = (int64_t)reader_be64(&r);
    return !r.failed && version <= 3;
}

static void load_offset(struct groups *gs, struct reader *key, struct bytes value)
{
    struct bytes group = store_take_str(key), topic = store_take_str(key);
    int32_t partition = (int32_t)reader_be32(key);
    struct group_offset o;

    if (key->failed) return;
    if (bytes_is_null(value)) {
        struct group *g = group_find(gs->broker, group);
        if (g) offset_drop(g, topic, partition);
        return;
    }
    if (store_take_offset_value(value, &o))
        offset_set(group_get(gs->broker, group), topic, partition, o.offset, o.leader_epoch, o.metadata, o.commit_ms);
}

static bool load_member(struct group *g, struct reader *r, int version)
{
    struct bytes id = store_take_str(r);
    struct bytes instance = version >= 3 ? store_take_str(r) : BYTES_NULL;
    struct bytes client = store_take_str(r), host = store_take_str(r);
    int32_t rebalance = version >= 1 ? (int32_t)reader_be32(r) : -1;
    int32_t session = (int32_t)reader_be32(r);
    struct bytes metadata = take_blob(r), assignment = take_blob(r);

    if (r->failed || id.len == 0 || map_get(&g->by_id, id)) return false;
    struct group_member *m = member_add(g, id, instance);
    m->session_ms = session > 0 ? session : LIMIT_SESSION_TIMEOUT_MIN_MS;
    m->rebalance_ms = rebalance > 0 ? rebalance : m->session_ms;
    m->client_id = group_dup(client.ptr ? client : bytes_str(""));
    m->client_host = group_dup(host.ptr ? host : bytes_str(""));
    m->protocols = calloc(1, sizeof(*m->protocols));
    check(m->protocols != NULL);
    m->n_protocols = 1;
    m->protocols[0].name = group_dup(g->protocol.ptr ? g->protocol : bytes_str(""));
    m->protocols[0].metadata = group_dup(metadata.ptr ? metadata : bytes_str(""));
    group_replace(&m->assignment, assignment.ptr ? assignment : bytes_str(""));
    m->has_synced = true;
    return true;
}

static void load_group(struct groups *gs, struct reader *key, struct bytes value)
{
    struct bytes id = store_take_str(key);
    struct reader r = reader_of(value);

    if (key->failed) return;
    struct group *g = bytes_is_null(value) ? group_find(gs->broker, id) : group_get(gs->broker, id);
    if (g == NULL) return;
    for (struct list *n; (n = list_first(&g->members)) != NULL;) /* The record replaces all of them. */
        member_free(CONTAINER_OF(n, struct group_member, link));
    if (bytes_is_null(value)) { /* Deleted, or it has become one of the newer protocol and keeps its offsets. */
        group_free_bytes(&g->stored);
        group_free_bytes(&g->protocol_type);
        group_free_bytes(&g->protocol);
        g->state = g->consumer && g->consumer->n_members > 0 ? GROUP_STABLE : GROUP_EMPTY;
        if (g->consumer == NULL && map_count(&g->offsets) == 0) group_remove(g);
        return;
    }
    if (g->consumer) consumer_group_destroy(g->consumer); /* Its tombstones were in the batch before. */
    int version = reader_be16(&r);
    struct bytes type = store_take_str(&r);
    int32_t generation = (int32_t)reader_be32(&r);
    struct bytes protocol = store_take_str(&r), leader = store_take_str(&r);
    int64_t state_ms = version >= 2 ? (int64_t)reader_be64(&r) : -1;
    int32_t n = (int32_t)reader_be32(&r);
    if (r.failed || version > 3) return;
    group_replace(&g->protocol_type, type);
    group_replace(&g->protocol, protocol);
    group_replace(&g->stored, value);
    g->generation = generation;
    if (state_ms >= 0) g->state_ms = state_ms;
    for (int32_t i = 0; i < n && load_member(g, &r, version); i++)
        continue;
    g->leader = member_find(g, leader) ? member_find(g, leader) : g->leader;
    g->state = g->n_members > 0 ? GROUP_STABLE : GROUP_EMPTY;
}

static enum err_code load_record(void *arg, const struct record *rec, struct err *e)
{
    struct groups *gs = arg;
    struct reader key = reader_of(rec->key);
    int type = reader_be16(&key);

    if (key.failed) return ERR_NONE; /* R1 */
    if (type <= 1) load_offset(gs, &key, rec->value);
    if (type == 2) load_group(gs, &key, rec->value);
    if (consumer_is_record(type)) consumer_load(gs, type, &key, rec->value);
    if (type == STORE_PENDING_TYPE) txn_offsets_load(gs, &key, rec->value);
    return ERR_NONE;
}

static uint64_t live_bytes(const struct groups *gs)
{
    uint64_t bytes = 0;
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;) {
        const struct group *g = m->value;
        bytes += g->stored.len + (uint64_t)map_count(&g->offsets) * 100;
    }
    return bytes;
}

enum err_code store_load(struct groups *gs, struct err *e)
{
    struct topic *t = topic_find(gs->broker, bytes_str(OFFSETS_TOPIC));
    uint32_t pos = 0;
    bool is_damaged = false;

    if (t == NULL) return ERR_NONE;
    gs->log = topic_partition(t, 0);
    /* Offsets of before the damage are better than not to start: consumers read some records twice. */
    enum err_code rc = rescue_read(gs->log, true, load_record, gs, &is_damaged, e);
    if (rc == ERR_NONE && is_damaged) {
        diag_printf(gs->broker->sys->diag, DIAG_ERROR, "group", "%s is damaged: offsets may be older than committed",
                    OFFSETS_TOPIC);
        rc = rescue_renew(gs->log, write_all, gs, e);
    }
    if (rc != ERR_NONE) return err_wrap(e, rc, "reading the broker's own topic %s", OFFSETS_TOPIC);
    gs->compact_at = journal_compact_at(live_bytes(gs));
    /* Members of a restored group have one session from now to say that they are still there. */
    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;) {
        struct group *g = m->value;
        if (g->consumer) consumer_loaded(g);
        for (struct list *n = g->members.next; n != &g->members; n = n->next)
            member_alive(CONTAINER_OF(n, struct group_member, link));
    }
    if (map_count(&gs->by_id) > 0) offsets_timer_arm(gs);
    return ERR_NONE;
}
