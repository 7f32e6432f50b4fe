/* group_txn.c: offsets that are committed inside of a transaction: pending until it ends, then applied or dropped.
 *
 *   key    i16 0x5754, producer id i64, group str, topic str, partition i32      value  as of an offset; null: not
 *   pending any more
 *
 * Z1  The end is one batch of __consumer_offsets: all offsets of the transaction become visible together with their not
 * being pending any more, or nothing of it. A second time there is nothing left to do.
 * Kafka writes pending offsets as transactional batches with markers. A snapshot of this log would have to keep batches
 * apart by producer for that; records with a key of their own need no special case, and readers of Kafka's records skip
 * them until they count. */
#include "broker/txn_int.h"

#include <stdlib.h>

struct txn_offset {
    struct list link;
    struct bytes group;    /* owned */
    struct group_offset o; /* its bytes are owned */
};
struct txn_offsets {
    struct list list; /* struct txn_offset, in order of their first commit */
};

static void pending_free(struct txn_offset *p)
{
    list_remove(&p->link);
    group_free_bytes(&p->group);
    group_free_bytes(&p->o.topic);
    group_free_bytes(&p->o.metadata);
    free(p);
}

static void offsets_free(struct groups *gs, int64_t producer_id)
{
    struct txn_offsets *of = map_remove(&gs->txn_pending, txn_producer_key(&producer_id));

    if (of == NULL) return;
    for (struct list *n; (n = list_first(&of->list)) != NULL;)
        pending_free(CONTAINER_OF(n, struct txn_offset, link));
    free(of);
}

void txn_offsets_deinit(struct groups *gs)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&gs->txn_pending, &pos)) != NULL;) {
        int64_t id;
        memcpy(&id, m->key.ptr, sizeof(id));
        offsets_free(gs, id);
    }
    map_deinit(&gs->txn_pending);
}

static struct txn_offset *find_in(const struct txn_offsets *of, struct bytes group, struct bytes topic,
                                  int32_t partition)
{
    for (struct list *n = of->list.next; n != &of->list; n = n->next) {
        struct txn_offset *p = CONTAINER_OF(n, struct txn_offset, link);
        if (p->o.partition == partition && bytes_equal(p->o.topic, topic) && bytes_equal(p->group, group)) return p;
    }
    return NULL;
}

static void pending_set(struct groups *gs, int64_t producer_id, struct bytes group, const struct group_offset *o)
{
    struct txn_offsets *of = map_get(&gs->txn_pending, txn_producer_key(&producer_id));

    if (of == NULL) {
        of = calloc(1, sizeof(*of));
        check(of != NULL);
        list_init(&of->list);
        (void)map_put(&gs->txn_pending, txn_producer_key(&producer_id), of);
    }
    struct txn_offset *p = find_in(of, group, o->topic, o->partition);
    if (p == NULL) {
        p = calloc(1, sizeof(*p));
        check(p != NULL);
        p->group = group_dup(group);
        p->o.topic = group_dup(o->topic);
        p->o.partition = o->partition;
        list_push_back(&of->list, &p->link);
    }
    p->o.offset = o->offset;
    p->o.leader_epoch = o->leader_epoch;
    p->o.commit_ms = o->commit_ms;
    group_replace(&p->o.metadata, o->metadata.ptr ? o->metadata : bytes_str(""));
}

bool group_offset_is_pending(struct broker *b, struct bytes group_id, struct bytes topic, int32_t partition)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&b->groups->txn_pending, &pos)) != NULL;)
        if (find_in(m->value, group_id, topic, partition) != NULL) return true;
    return false;
}

/* ---- records ---- */
static void put_pending_key(struct buf *out, int64_t producer_id, struct bytes group, struct bytes topic,
                            int32_t partition)
{
    buf_put_be16(out, STORE_PENDING_TYPE);
    buf_put_be64(out, (uint64_t)producer_id);
    store_put_str(out, group);
    store_put_str(out, topic);
    buf_put_be32(out, (uint32_t)partition);
}

void txn_offsets_load(struct groups *gs, struct reader *key, struct bytes value)
{
    int64_t producer_id = (int64_t)reader_be64(key);
    struct bytes group = store_take_str(key), topic = store_take_str(key);
    int32_t partition = (int32_t)reader_be32(key);
    struct txn_offsets *of = map_get(&gs->txn_pending, txn_producer_key(&producer_id));
    struct group_offset o;

    if (key->failed) return;
    if (bytes_is_null(value)) {
        struct txn_offset *p = of ? find_in(of, group, topic, partition) : NULL;
        if (p) pending_free(p);
        if (of && list_is_empty(&of->list)) offsets_free(gs, producer_id);
        return;
    }
    if (!store_take_offset_value(value, &o)) return;
    o.topic = topic;
    o.partition = partition;
    pending_set(gs, producer_id, group, &o);
}

uint64_t txn_offsets_write(struct groups *gs, struct journal_writer *w)
{
    struct buf key, value;
    uint64_t bytes = 0;
    uint32_t pos = 0;

    buf_init(&key, 0);
    buf_init(&value, 0);
    for (struct map_entry *m; (m = map_next(&gs->txn_pending, &pos)) != NULL;) {
        const struct txn_offsets *of = m->value;
        int64_t producer_id;
        memcpy(&producer_id, m->key.ptr, sizeof(producer_id));
        for (struct list *n = of->list.next; n != &of->list; n = n->next) {
            const struct txn_offset *p = CONTAINER_OF(n, struct txn_offset, link);
            buf_clear(&key);
            buf_clear(&value);
            put_pending_key(&key, producer_id, p->group, p->o.topic, p->o.partition);
            store_put_offset_value(&value, &p->o);
            journal_put(w, buf_bytes(&key), buf_bytes(&value));
            bytes += key.len + value.len + 16;
        }
    }
    buf_deinit(&key);
    buf_deinit(&value);
    return bytes;
}

/* ---- commit ---- */
static enum err_code txn_check(struct broker *b, const struct txn_producer *p, struct txn_reply *out, struct err *e)
{
    const struct txn *t = p->id.len > 0 ? txn_find(b->txns, p->id) : NULL;

    *out = (struct txn_reply){.is_durable = true};
    if (t == NULL || t->producer_id != p->producer_id) {
        out->detail = TXN_BAD_MAPPING;
        return err_set(e, ERR_TXN_STATE, "the transactional id has another producer id");
    }
    if (t->epoch != p->epoch)
        return err_set(e, ERR_FENCED, "producer %lld has a newer epoch", (long long)p->producer_id);
    if (txn_is_preparing(t)) {
        out->detail = TXN_CONCURRENT;
        return err_set(e, ERR_TXN_STATE, "the last transaction is being ended");
    }
    if (t->state == TXN_ONGOING && txn_part_has(t, bytes_str(OFFSETS_TOPIC), 0)) return ERR_NONE;
    out->detail = TXN_BAD_STATE;
    return err_set(e, ERR_TXN_STATE, "offsets were not added to an ongoing transaction");
}

enum err_code txn_commit_offsets(struct broker *b, const struct txn_producer *p, struct bytes group_id,
                                 struct bytes member_id, struct bytes instance_id, int32_t generation,
                                 struct offset_commit *offsets, int n, struct append_wait *wait, struct txn_reply *out,
                                 enum group_detail *detail, struct err *e)
{
    struct batch_builder w;
    struct buf batch, key, value;
    int64_t now_ms = broker_now_ms(b);

    *detail = GROUP_OK;
    enum err_code rc = txn_check(b, p, out, e);
    if (rc != ERR_NONE) return rc;
    rc = offsets_check(b, group_id, member_id, instance_id, generation, true, detail, e);
    if (rc == ERR_FENCED) rc = ERR_MEMBER; /* Of the instance, not of the producer. */
    if (rc != ERR_NONE) return rc;
    buf_init(&batch, 0);
    buf_init(&key, 0);
    buf_init(&value, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    for (int i = 0; i < n; i++) {
        struct offset_commit *c = &offsets[i];
        struct group_offset o = {
            .metadata = c->metadata, .leader_epoch = c->leader_epoch, .offset = c->offset, .commit_ms = now_ms};
        c->rc = offsets_entry_check(b, c);
        if (c->rc != ERR_NONE) continue;
        buf_clear(&key);
        buf_clear(&value);
        put_pending_key(&key, p->producer_id, group_id, c->topic, c->partition);
        store_put_offset_value(&value, &o);
        batch_add(&w, now_ms, buf_bytes(&key), buf_bytes(&value), NULL, 0);
    }
    if (w.count > 0) rc = batch_finish(&w, e);
    if (w.count > 0 && rc == ERR_NONE) rc = store_append(b, &batch, wait, &out->is_durable, e);
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        const struct offset_commit *c = &offsets[i];
        struct group_offset o = {.topic = c->topic,
                                 .partition = c->partition,
                                 .metadata = c->metadata,
                                 .leader_epoch = c->leader_epoch,
                                 .offset = c->offset,
                                 .commit_ms = now_ms};
        if (c->rc == ERR_NONE) pending_set(b->groups, p->producer_id, group_id, &o);
    }
    buf_deinit(&batch);
    buf_deinit(&key);
    buf_deinit(&value);
    if (rc == ERR_NONE) store_compact(b->groups);
    return rc;
}

/* ---- end ---- */
static void encode_end(struct broker *b, const struct txn_offsets *of, int64_t producer_id, bool is_commit,
                       struct batch_builder *w)
{
    struct buf key, value;
    int64_t now_ms = broker_now_ms(b);

    buf_init(&key, 0);
    buf_init(&value, 0);
    for (struct list *n = of->list.next; n != &of->list; n = n->next) {
        const struct txn_offset *p = CONTAINER_OF(n, struct txn_offset, link);
        if (is_commit && topic_find(b, p->o.topic) != NULL) {
            buf_clear(&key);
            buf_clear(&value);
            store_put_offset_key(&key, p->group, p->o.topic, p->o.partition);
            store_put_offset_value(&value, &p->o);
            batch_add(w, now_ms, buf_bytes(&key), buf_bytes(&value), NULL, 0);
        }
        buf_clear(&key);
        put_pending_key(&key, producer_id, p->group, p->o.topic, p->o.partition);
        batch_add(w, now_ms, buf_bytes(&key), BYTES_NULL, NULL, 0);
    }
    buf_deinit(&key);
    buf_deinit(&value);
}

void txn_offsets_resume(struct broker *b)
{
    uint32_t pos = 0;
    struct err e = {0};
    bool is_durable;

    for (struct map_entry *m; (m = map_next(&b->groups->txn_pending, &pos)) != NULL;) {
        const struct txn *t = map_get(&b->txns->by_producer, m->key);
        int64_t producer_id;

        if (t && (t->state == TXN_ONGOING || txn_is_preparing(t)) && txn_part_has(t, bytes_str(OFFSETS_TOPIC), 0))
            continue;
        memcpy(&producer_id, m->key.ptr, sizeof(producer_id));
        if (txn_offsets_end(b, producer_id, false, NULL, &is_durable, &e) == ERR_NONE) continue;
        diag_printf(b->sys->diag, DIAG_WARN, "txn", "offsets that no transaction stands for stay pending: %s", e.text);
    }
}

enum err_code txn_offsets_end(struct broker *b, int64_t producer_id, bool is_commit, struct append_wait *wait,
                              bool *is_durable, struct err *e)
{
    struct txn_offsets *of = map_get(&b->groups->txn_pending, txn_producer_key(&producer_id));
    struct batch_builder w;
    struct buf batch;

    *is_durable = true;
    if (of == NULL) return ERR_NONE;
    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    encode_end(b, of, producer_id, is_commit, &w);
    enum err_code rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = store_append(b, &batch, wait, is_durable, e);
    buf_deinit(&batch);
    if (rc != ERR_NONE) return rc;
    for (struct list *n = of->list.next; is_commit && n != &of->list; n = n->next) {
        const struct txn_offset *p = CONTAINER_OF(n, struct txn_offset, link);
        if (topic_find(b, p->o.topic) == NULL) continue;
        offset_set(group_get(b, p->group), p->o.topic, p->o.partition, p->o.offset, p->o.leader_epoch, p->o.metadata,
                   p->o.commit_ms);
    }
    offsets_free(b->groups, producer_id);
    if (is_commit) offsets_timer_arm(b->groups);
    store_compact(b->groups);
    return ERR_NONE;
}
