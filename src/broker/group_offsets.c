/* group_offsets.c: committed offsets: commit, look up, expire.
 *
 * O1  A commit is one batch of __consumer_offsets, acknowledged when it is durable; the table shows it from the
 *     append on.
 * O2  Offsets of an empty group expire offsets_retention_ms after the later of their commit and the time their group
 *     became empty; those of a group with members after their commit, if nobody subscribes to the topic any more. Those
 *     that a transaction is about to replace stay. A deleted topic takes its offsets along. */
#include "broker/consumer_int.h"

#include "base/reader.h"
#include "broker/txn.h"

#include <stdlib.h>

/* ---- table ---- */
static void offset_key(struct buf *out, struct bytes topic, int32_t partition)
{
    buf_put_bytes(out, topic);
    buf_put_u8(out, 0);
    buf_put_be32(out, (uint32_t)partition);
}

void offset_free(struct group_offset *o)
{
    if (o == NULL) return;
    group_free_bytes(&o->topic);
    group_free_bytes(&o->metadata);
    free(o);
}

void offset_set(struct group *g, struct bytes topic, int32_t partition, int64_t offset, int32_t leader_epoch,
                struct bytes metadata, int64_t commit_ms)
{
    struct buf key;

    buf_init(&key, 0);
    offset_key(&key, topic, partition);
    struct group_offset *o = map_get(&g->offsets, buf_bytes(&key));
    if (o == NULL) {
        o = calloc(1, sizeof(*o));
        check(o != NULL);
        o->topic = group_dup(topic);
        o->partition = partition;
        (void)map_put(&g->offsets, buf_bytes(&key), o);
    }
    o->offset = offset;
    o->leader_epoch = leader_epoch;
    o->commit_ms = commit_ms;
    group_replace(&o->metadata, metadata.ptr ? metadata : bytes_str(""));
    buf_deinit(&key);
}

void offset_drop(struct group *g, struct bytes topic, int32_t partition)
{
    struct buf key;

    buf_init(&key, 0);
    offset_key(&key, topic, partition);
    offset_free(map_remove(&g->offsets, buf_bytes(&key)));
    buf_deinit(&key);
}

static const struct group_offset *offset_find(struct group *g, struct bytes topic, int32_t partition)
{
    struct buf key;

    buf_init(&key, 0);
    offset_key(&key, topic, partition);
    const struct group_offset *o = map_get(&g->offsets, buf_bytes(&key));
    buf_deinit(&key);
    return o;
}

/* ---- commit ---- */
enum err_code offsets_check(struct broker *b, struct bytes group_id, struct bytes member_id, struct bytes instance_id,
                            int32_t generation, bool is_txn, enum group_detail *detail, struct err *e)
{
    struct group_member *m = NULL;

    *detail = group_id_is_valid(group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return err_set(e, ERR_INVALID, "bad group id");
    struct group *g = group_find(b, group_id);
    if (g == NULL && generation >= 0) {
        if (!is_txn) *detail = GROUP_NOT_FOUND;
        return err_set(e, ERR_GENERATION, "no group %.*s", BYTES_ARG(group_id));
    }
    if (g == NULL) return ERR_NONE;
    if (generation < 0 && g->state == GROUP_EMPTY) return ERR_NONE; /* a simple consumer */
    /* Before TxnOffsetCommit version 3 a transaction did not say who it consumes for. */
    if (is_txn && generation < 0 && member_id.len == 0 && instance_id.ptr == NULL) return ERR_NONE;
    if (g->consumer) {
        enum err_code rc = consumer_epoch_check(g, member_id, generation, detail, e);
        if (is_txn) *detail = GROUP_OK; /* In a transaction Kafka says ILLEGAL_GENERATION. */
        return rc;
    }
    enum err_code rc = member_check(g, member_id, instance_id, &m, e);
    if (rc != ERR_NONE) return rc;
    if (generation != g->generation) return err_set(e, ERR_GENERATION, "generation is %d", (int)g->generation);
    if (g->state == GROUP_COMPLETING && !is_txn) return err_set(e, ERR_REBALANCE, "the group is rebalancing");
    member_alive(m);
    return ERR_NONE;
}

enum err_code group_fetch_check(struct broker *b, struct bytes group_id, struct bytes member_id, int32_t epoch,
                                enum group_detail *detail, struct err *e)
{
    const struct group *g = group_find(b, group_id);

    *detail = GROUP_OK;
    if (g == NULL || g->consumer == NULL || (bytes_is_null(member_id) && epoch < 0)) return ERR_NONE;
    return consumer_epoch_check(g, member_id, epoch, detail, e);
}

enum err_code offsets_entry_check(struct broker *b, const struct offset_commit *c)
{
    const struct topic *t = topic_find(b, c->topic);
    if (t == NULL || topic_partition(t, c->partition) == NULL) return ERR_NOT_FOUND;
    return c->metadata.len > LIMIT_OFFSET_METADATA_LEN_MAX ? ERR_TOO_LARGE : ERR_NONE;
}

static int encode_commit(struct broker *b, struct bytes group_id, struct offset_commit *offsets, int n, int64_t now_ms,
                         struct batch_builder *w, struct buf *batch)
{
    struct buf key, value;
    int n_good = 0;

    buf_init(&key, 0);
    buf_init(&value, 0);
    batch_begin(w, batch, CODEC_NONE);
    for (int i = 0; i < n; i++) {
        struct offset_commit *c = &offsets[i];
        c->rc = offsets_entry_check(b, c);
        if (c->rc != ERR_NONE) continue;
        struct group_offset o = {
            .metadata = c->metadata, .leader_epoch = c->leader_epoch, .offset = c->offset, .commit_ms = now_ms};
        buf_clear(&key);
        buf_clear(&value);
        store_put_offset_key(&key, group_id, c->topic, c->partition);
        store_put_offset_value(&value, &o);
        batch_add(w, now_ms, buf_bytes(&key), buf_bytes(&value), NULL, 0);
        n_good++;
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return n_good;
}

enum err_code group_commit(struct broker *b, struct bytes group_id, struct bytes member_id, struct bytes instance_id,
                           int32_t generation, struct offset_commit *offsets, int n, struct append_wait *wait,
                           bool *is_durable, enum group_detail *detail, struct err *e)
{
    struct batch_builder w;
    struct buf batch;
    int64_t now_ms = broker_now_ms(b);

    *is_durable = true;
    enum err_code rc = offsets_check(b, group_id, member_id, instance_id, generation, false, detail, e);
    if (rc != ERR_NONE) return rc;
    buf_init(&batch, 0);
    int n_good = encode_commit(b, group_id, offsets, n, now_ms, &w, &batch);
    if (n_good > 0) {
        rc = batch_finish(&w, e);
        if (rc == ERR_NONE) rc = store_append(b, &batch, wait, is_durable, e);
    }
    buf_deinit(&batch);
    if (rc != ERR_NONE || n_good == 0) return rc;

    struct group *g = group_get(b, group_id);
    for (int i = 0; i < n; i++) {
        const struct offset_commit *c = &offsets[i];
        if (c->rc == ERR_NONE) offset_set(g, c->topic, c->partition, c->offset, c->leader_epoch, c->metadata, now_ms);
    }
    offsets_timer_arm(b->groups);
    store_compact(b->groups);
    return ERR_NONE;
}

/* ---- look up ---- */
static struct committed_offset committed(const struct group_offset *o)
{
    return (struct committed_offset){
        .topic = o->topic,
        .metadata = o->metadata,
        .partition = o->partition,
        .leader_epoch = o->leader_epoch,
        .offset = o->offset,
    };
}

void group_offset(struct broker *b, struct bytes group_id, struct bytes topic, int32_t partition,
                  struct committed_offset *out)
{
    struct group *g = group_find(b, group_id);
    const struct group_offset *o = g ? offset_find(g, topic, partition) : NULL;

    *out = (struct committed_offset){
        .topic = topic, .metadata = bytes_str(""), .partition = partition, .leader_epoch = -1, .offset = -1};
    if (o) *out = committed(o);
}

void group_offsets(struct broker *b, struct bytes group_id, bool (*fn)(void *arg, const struct committed_offset *o),
                   void *arg)
{
    struct group *g = group_find(b, group_id);
    uint32_t pos = 0;

    if (g == NULL) return;
    for (struct map_entry *m; (m = map_next(&g->offsets, &pos)) != NULL;) {
        struct committed_offset c = committed(m->value);
        if (!fn(arg, &c)) return;
    }
}

/* ---- expiry and deletion ---- */
typedef bool (*doomed_fn)(const struct group *g, const struct group_offset *o, const void *arg);

/* Removes what is doomed, with tombstones. True: the group has offsets left. */
static bool drop_offsets(struct group *g, doomed_fn is_doomed, const void *arg, struct batch_builder *w)
{
    struct buf key;
    uint32_t pos = 0;

    buf_init(&key, 0);
    for (struct map_entry *m; (m = map_next(&g->offsets, &pos)) != NULL;) {
        struct group_offset *o = m->value;
        if (!is_doomed(g, o, arg)) continue;
        buf_clear(&key);
        store_put_offset_key(&key, g->id, o->topic, o->partition);
        batch_add(w, broker_now_ms(g->broker), buf_bytes(&key), BYTES_NULL, NULL, 0);
        (void)map_remove(&g->offsets, m->key);
        offset_free(o);
    }
    buf_deinit(&key);
    return map_count(&g->offsets) > 0;
}

/* Nobody waits: a tombstone that is lost comes again at the next check. */
static void write_tombstones(struct broker *b, struct batch_builder *w, struct buf *batch)
{
    struct err e = {0};
    bool is_durable;

    if (w->count > 0) {
        enum err_code rc = batch_finish(w, &e);
        if (rc == ERR_NONE) rc = store_append(b, batch, NULL, &is_durable, &e);
        if (rc != ERR_NONE) diag_printf(b->sys->diag, DIAG_WARN, "group", "removing offsets: %s", e.text);
    }
    buf_deinit(batch);
}

static bool is_of_topic(const struct group *g, const struct group_offset *o, const void *arg)
{
    return bytes_equal(o->topic, *(const struct bytes *)arg);
}

void groups_topic_deleted(struct broker *b, struct bytes topic)
{
    struct batch_builder w;
    struct buf batch;
    uint32_t pos = 0;

    if (b->groups == NULL || b->groups->log == NULL) return;
    if (b->groups->log->topic->is_deleted) { /* It was the offsets' own. */
        b->groups->log = NULL;
        return;
    }
    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    for (struct map_entry *m; (m = map_next(&b->groups->by_id, &pos)) != NULL;)
        (void)drop_offsets(m->value, is_of_topic, &topic, &w);
    write_tombstones(b, &w, &batch);
}

/* ConsumerProtocolSubscription begins with a version and the names. What cannot be read may name anything. */
static bool subscription_names(struct bytes metadata, struct bytes topic)
{
    struct reader r = reader_of(metadata);

    (void)reader_be16(&r);
    for (uint32_t n = reader_be32(&r); n > 0 && !r.failed; n--)
        if (bytes_equal(reader_take(&r, reader_be16(&r)), topic)) return true;
    return r.failed;
}

/* Only of groups whose members are consumers. */
static bool group_subscribes(const struct group *g, struct bytes topic)
{
    if (g->consumer) return consumer_subscribes(g->consumer, topic);
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        const struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        for (int i = 0; i < m->n_protocols; i++)
            if (subscription_names(m->protocols[i].metadata, topic)) return true;
    }
    return false;
}

static enum err_code delete_check(struct broker *b, struct group *g, const struct offset_delete *d)
{
    const struct topic *t = topic_find(b, d->topic);

    if (t == NULL || topic_partition(t, d->partition) == NULL) return ERR_NOT_FOUND;
    return group_subscribes(g, d->topic) ? ERR_BUSY : ERR_NONE;
}

enum err_code group_delete_offsets(struct broker *b, struct bytes group_id, struct offset_delete *offsets, int n,
                                   enum group_detail *detail, struct err *e)
{
    struct group *g = group_find(b, group_id);
    struct partition *log;
    struct buf batch, key;
    struct batch_builder w;
    bool is_durable;
    enum err_code rc = ERR_NONE;

    *detail = group_id_is_valid(group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return err_set(e, ERR_INVALID, "bad group id");
    if (g == NULL) {
        *detail = GROUP_NOT_FOUND;
        return err_set(e, ERR_NOT_FOUND, "no group %.*s", BYTES_ARG(group_id));
    }
    if (g->n_members > 0 && !bytes_equal_str(g->protocol_type, "consumer")) {
        *detail = GROUP_NON_EMPTY;
        return err_set(e, ERR_BUSY, "group %.*s has members that are no consumers", BYTES_ARG(group_id));
    }
    buf_init(&batch, 0);
    buf_init(&key, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    for (int i = 0; i < n; i++) {
        offsets[i].rc = delete_check(b, g, &offsets[i]);
        if (offsets[i].rc != ERR_NONE || offset_find(g, offsets[i].topic, offsets[i].partition) == NULL) continue;
        buf_clear(&key);
        store_put_offset_key(&key, g->id, offsets[i].topic, offsets[i].partition);
        batch_add(&w, broker_now_ms(b), buf_bytes(&key), BYTES_NULL, NULL, 0);
    }
    if (w.count > 0) {
        rc = batch_finish(&w, e);
        if (rc == ERR_NONE) rc = store_append(b, &batch, NULL, &is_durable, e);
        if (rc == ERR_NONE) rc = store_partition(b, &log, e);
        if (rc == ERR_NONE) rc = partition_sync_now(log, e);
    }
    for (int i = 0; rc == ERR_NONE && i < n; i++)
        if (offsets[i].rc == ERR_NONE) offset_drop(g, offsets[i].topic, offsets[i].partition);
    buf_deinit(&batch);
    buf_deinit(&key);
    return rc;
}

/* O2 */
static bool is_expired(const struct group *g, const struct group_offset *o, const void *arg)
{
    int64_t now_ms = *(const int64_t *)arg;
    int64_t from = o->commit_ms;

    if (g->state == GROUP_EMPTY && g->protocol_type.ptr != NULL && g->state_ms > from) from = g->state_ms;
    if (now_ms - from <= g->broker->options.offsets_retention_ms) return false;
    if (group_offset_is_pending(g->broker, g->id, o->topic, o->partition)) return false;
    return g->state == GROUP_EMPTY || !group_subscribes(g, o->topic);
}

/* Could any of its offsets expire now? Not while it is not known what its members subscribe to. */
static bool may_expire(const struct group *g)
{
    if (g->state == GROUP_EMPTY) return map_count(&g->pending) == 0;
    return g->state == GROUP_STABLE && (g->consumer != NULL || bytes_equal_str(g->protocol_type, "consumer"));
}

void offsets_timer_arm(struct groups *gs)
{
    struct loop *loop = gs->broker->sys->loop;
    int64_t ms = gs->broker->options.offsets_retention_ms / 10;

    if (gs->offsets_timer.slot != 0 || gs->broker->options.offsets_retention_ms < 0) return;
    if (ms > GROUP_OFFSETS_CHECK_MS) ms = GROUP_OFFSETS_CHECK_MS;
    if (ms < 100) ms = 100;
    loop->timer_start(loop, &gs->offsets_timer, loop->now_ns(loop) + (uint64_t)ms * 1000000u);
}

void offsets_timer_fire(struct timer *t)
{
    struct groups *gs = CONTAINER_OF(t, struct groups, offsets_timer);
    struct broker *b = gs->broker;
    int64_t now_ms = broker_now_ms(b);
    struct batch_builder w;
    struct buf batch;
    uint32_t pos = 0;
    bool is_needed = false;

    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;) {
        struct group *g = m->value;
        if (!may_expire(g)) continue;
        if (drop_offsets(g, is_expired, &now_ms, &w)) {
            is_needed = true;
            continue;
        }
        if (g->state != GROUP_EMPTY || now_ms - g->state_ms <= b->options.offsets_retention_ms) continue;
        group_put_tombstones(g, &w, now_ms);
        group_remove(g);
    }
    write_tombstones(b, &w, &batch);
    if (is_needed || map_count(&gs->by_id) > 0) offsets_timer_arm(gs);
}
