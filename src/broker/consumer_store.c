/* consumer_store.c: consumer groups as records of __consumer_offsets, in Kafka's own layouts (version 0 of each).
 *
 *   key      i16 type, str group, for some types one str more           str: i16 length, bytes
 *   3        the group: i32 epoch; tag 0: i64 hash of its topics
 *   5 +member  its subscription: instance?, rack?, client id, client host, [topic], regex?, i32 rebalance timeout, assignor?
 *   6        the target: i32 epoch; tag 0: i64 when
 *   7 +member  its target: [uuid, [i32 partition]]
 *   8 +member  what it has: i32 epoch, i32 previous epoch, i8 state, assigned and revoking as in 7
 *   16 +regex  what it matches: [topic], i64 version, i64 when
 *
 * Values begin with i16 0 and are in the flexible form: lengths and counts are one more as uvarint, 0 is null, each struct
 * ends with its tags. A null value is a tombstone.
 *
 * V1  A batch has first its tombstones, then the records: a member that has left and come back in between is there.
 * V2  A group is one batch for each heartbeat that changes something: all of it is there after a crash, or nothing. */
#include "broker/consumer_int.h"

#include <stdlib.h>

/* ---- encoding ---- */
static void put_str(struct buf *out, struct bytes s)
{
    buf_put_uvarint(out, s.ptr ? s.len + 1 : 0);
    if (s.ptr) buf_put_bytes(out, s);
}

static void put_names(struct buf *out, const struct bytes *names, int n)
{
    buf_put_uvarint(out, (uint64_t)n + 1);
    for (int i = 0; i < n; i++)
        put_str(out, names[i]);
}

static void put_tag_i64(struct buf *out, int64_t value) /* a section with tag 0 alone */
{
    buf_put_uvarint(out, 1);
    buf_put_uvarint(out, 0);
    buf_put_uvarint(out, 8);
    buf_put_be64(out, (uint64_t)value);
}

static void put_set(struct buf *out, const struct tp_set *s)
{
    int n_topics = 0;

    for (int i = 0; i < s->n; i++)
        n_topics += i == 0 || memcmp(s->at[i].topic, s->at[i - 1].topic, 16) != 0;
    buf_put_uvarint(out, (uint64_t)n_topics + 1);
    for (int i = 0; i < s->n;) {
        int end = i;
        while (end < s->n && memcmp(s->at[end].topic, s->at[i].topic, 16) == 0)
            end++;
        buf_put(out, s->at[i].topic, 16);
        buf_put_uvarint(out, (uint64_t)(end - i) + 1);
        for (; i < end; i++)
            buf_put_be32(out, (uint32_t)s->at[i].partition);
        buf_put_uvarint(out, 0);
    }
}

static void put_key(struct buf *out, const struct consumer_group *cg, int type, struct bytes more)
{
    buf_clear(out);
    buf_put_be16(out, (uint16_t)type);
    store_put_str(out, cg->group->id);
    if (more.ptr) store_put_str(out, more);
}

static void put_group(struct buf *out, const struct consumer_group *cg)
{
    buf_put_be32(out, (uint32_t)cg->epoch);
    put_tag_i64(out, (int64_t)cg->topics_hash);
}

static void put_target(struct buf *out, const struct consumer_group *cg)
{
    buf_put_be32(out, (uint32_t)cg->target_epoch);
    put_tag_i64(out, cg->target_ms);
}

static void put_subscription(struct buf *out, const struct consumer_member *m)
{
    put_str(out, m->instance);
    put_str(out, m->rack);
    put_str(out, m->client_id);
    put_str(out, m->client_host);
    put_names(out, m->topics, m->n_topics);
    put_str(out, m->regex);
    buf_put_be32(out, (uint32_t)m->rebalance_ms);
    put_str(out, m->assignor);
    buf_put_uvarint(out, 0);
}

static void put_current(struct buf *out, const struct consumer_member *m)
{
    buf_put_be32(out, (uint32_t)m->epoch);
    buf_put_be32(out, (uint32_t)m->previous_epoch);
    buf_put_u8(out, (uint8_t)m->state);
    put_set(out, &m->assigned);
    put_set(out, &m->revoking);
    buf_put_uvarint(out, 0);
}

static void put_regex(struct buf *out, const struct consumer_group *cg, const struct consumer_regex *r)
{
    put_names(out, r->topics, r->n_topics);
    buf_put_be64(out, r->seen);
    buf_put_be64(out, (uint64_t)broker_now_ms(cg->group->broker));
    buf_put_uvarint(out, 0);
}

/* ---- where records go: a batch, or a snapshot ---- */
struct sink {
    struct batch_builder *batch;
    struct journal_writer *journal;
    int64_t now_ms;
    uint64_t bytes;
    struct buf key, value;
};

static void sink_init(struct sink *s, struct batch_builder *batch, struct journal_writer *journal, int64_t now_ms)
{
    *s = (struct sink){.batch = batch, .journal = journal, .now_ms = now_ms};
    buf_init(&s->key, 0);
    buf_init(&s->value, 0);
}

static void sink_deinit(struct sink *s)
{
    buf_deinit(&s->key);
    buf_deinit(&s->value);
}

static struct buf *sink_begin(struct sink *s, const struct consumer_group *cg, int type, struct bytes more)
{
    put_key(&s->key, cg, type, more);
    buf_clear(&s->value);
    buf_put_be16(&s->value, 0);
    return &s->value;
}

static void sink_end(struct sink *s)
{
    s->bytes += s->key.len + s->value.len + 16;
    if (s->batch)
        batch_add(s->batch, s->now_ms, buf_bytes(&s->key), buf_bytes(&s->value), NULL, 0);
    else
        journal_put(s->journal, buf_bytes(&s->key), buf_bytes(&s->value));
}

static void sink_member(struct sink *s, const struct consumer_group *cg, const struct consumer_member *m, unsigned what)
{
    if (what & DIRTY_SUBSCRIPTION) {
        put_subscription(sink_begin(s, cg, CONSUMER_RECORD_MEMBER, m->id), m);
        sink_end(s);
    }
    if (what & DIRTY_TARGET) {
        put_set(sink_begin(s, cg, CONSUMER_RECORD_TARGET_MEMBER, m->id), &m->target);
        buf_put_uvarint(&s->value, 0);
        sink_end(s);
    }
    if (what & DIRTY_CURRENT) {
        put_current(sink_begin(s, cg, CONSUMER_RECORD_CURRENT, m->id), m);
        sink_end(s);
    }
}

static void sink_group(struct sink *s, const struct consumer_group *cg, bool is_all)
{
    uint32_t pos = 0;

    if (is_all || cg->is_epoch_dirty) {
        put_group(sink_begin(s, cg, CONSUMER_RECORD_GROUP, BYTES_NULL), cg);
        sink_end(s);
    }
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;) {
        const struct consumer_regex *r = m->value;
        if (!is_all && !r->is_dirty) continue;
        put_regex(sink_begin(s, cg, CONSUMER_RECORD_REGEX, r->pattern), cg, r);
        sink_end(s);
    }
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        sink_member(s, cg, m, is_all ? DIRTY_ALL : m->dirty);
    }
    if (is_all || cg->is_target_dirty) {
        put_target(sink_begin(s, cg, CONSUMER_RECORD_TARGET, BYTES_NULL), cg);
        sink_end(s);
    }
}

uint64_t consumer_write_live(const struct consumer_group *cg, struct journal_writer *w)
{
    struct sink s;

    sink_init(&s, NULL, w, 0);
    sink_group(&s, cg, true);
    sink_deinit(&s);
    return s.bytes;
}

/* ---- tombstones ---- */
void consumer_gone(struct consumer_group *cg, int type, struct bytes more)
{
    struct buf key;

    buf_init(&key, 0);
    put_key(&key, cg, type, more);
    (void)map_put(&cg->gone, buf_bytes(&key), cg); /* any value */
    buf_deinit(&key);
}

void consumer_gone_member(struct consumer_group *cg, struct bytes id)
{
    consumer_gone(cg, CONSUMER_RECORD_CURRENT, id);
    consumer_gone(cg, CONSUMER_RECORD_TARGET_MEMBER, id);
    consumer_gone(cg, CONSUMER_RECORD_MEMBER, id);
}

void consumer_gone_all(struct consumer_group *cg)
{
    uint32_t pos = 0;

    check(cg->n_members == 0);
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;)
        consumer_gone(cg, CONSUMER_RECORD_REGEX, m->key);
    consumer_gone(cg, CONSUMER_RECORD_TARGET, BYTES_NULL);
    consumer_gone(cg, CONSUMER_RECORD_GROUP, BYTES_NULL);
}

static void put_gone(const struct consumer_group *cg, struct batch_builder *w, int64_t now_ms)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&cg->gone, &pos)) != NULL;)
        batch_add(w, now_ms, m->key, BYTES_NULL, NULL, 0);
}

void consumer_put_tombstones(struct consumer_group *cg, struct batch_builder *w, int64_t now_ms)
{
    consumer_gone_all(cg);
    /* Should the batch not be written, the group is still there, and its next record says so. */
    cg->is_epoch_dirty = cg->is_target_dirty = true;
    put_gone(cg, w, now_ms);
}

/* ---- writing ---- */
static bool is_dirty(const struct consumer_group *cg)
{
    uint32_t pos = 0;

    if (cg->is_epoch_dirty || cg->is_target_dirty || map_count(&cg->gone) > 0) return true;
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next)
        if (CONTAINER_OF(n, struct consumer_member, link)->dirty) return true;
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;)
        if (((const struct consumer_regex *)m->value)->is_dirty) return true;
    return false;
}

static void set_clean(struct consumer_group *cg)
{
    uint32_t pos = 0;

    cg->is_epoch_dirty = cg->is_target_dirty = false;
    map_deinit(&cg->gone);
    map_init(&cg->gone);
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next)
        CONTAINER_OF(n, struct consumer_member, link)->dirty = 0;
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;)
        ((struct consumer_regex *)m->value)->is_dirty = false;
}

enum err_code consumer_flush(struct consumer_group *cg, struct append_wait *wait, bool *is_durable, struct err *e)
{
    struct broker *b = cg->group->broker;
    struct groups *gs = b->groups;
    struct batch_builder w;
    struct buf batch;
    struct sink s;

    *is_durable = true;
    if (!is_dirty(cg)) { /* H1 */
        if (gs->log != NULL && wait != NULL) partition_wait_durable(gs->log, cg->stored_upto, wait, is_durable);
        return ERR_NONE;
    }
    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    put_gone(cg, &w, broker_now_ms(b));
    sink_init(&s, &w, NULL, broker_now_ms(b));
    sink_group(&s, cg, false);
    sink_deinit(&s);
    enum err_code rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = store_append(b, &batch, wait, is_durable, e);
    buf_deinit(&batch);
    if (rc != ERR_NONE) return rc; /* H2 */
    set_clean(cg);
    cg->stored_upto = log_end_offset(gs->log->log);
    return ERR_NONE;
}

/* ---- reading back ---- */
static struct bytes take_str(struct reader *r)
{
    uint32_t len = reader_uvarint32(r);
    return len == 0 ? BYTES_NULL : reader_take(r, len - 1);
}

static int take_count(struct reader *r)
{
    uint32_t n = reader_uvarint32(r);
    if (n == 0) return 0;
    if (n - 1 > reader_left(r)) r->failed = true; /* each element has at least a byte */
    return r->failed ? 0 : (int)(n - 1);
}

/* The tags at the end of a struct; tag 0 as an i64 when it is one. */
static int64_t take_tags(struct reader *r)
{
    int64_t value = 0;

    for (uint32_t n = reader_uvarint32(r); n > 0 && !r->failed; n--) {
        uint32_t tag = reader_uvarint32(r);
        struct bytes v = reader_take(r, reader_uvarint32(r));
        if (!r->failed && tag == 0 && v.len == 8) value = (int64_t)be64_get(v.ptr);
    }
    return value;
}

static void take_set(struct reader *r, struct tp_set *out)
{
    int n_topics = take_count(r), cap = 0;

    tp_set_free(out);
    for (int i = 0; i < n_topics && !r->failed; i++) {
        struct bytes id = reader_take(r, 16);
        int n = take_count(r);
        if (r->failed) return;
        if (out->n + n > cap) {
            cap = 2 * (out->n + n);
            out->at = realloc(out->at, (size_t)cap * sizeof(*out->at));
            check(out->at != NULL);
        }
        for (int k = 0; k < n && !r->failed; k++) {
            memcpy(out->at[out->n].topic, id.ptr, 16);
            out->at[out->n++].partition = (int32_t)reader_be32(r);
        }
        (void)take_tags(r);
    }
    tp_set_sort(out);
}

static struct bytes *take_names(struct reader *r, int *n_out)
{
    int n = take_count(r);
    struct bytes *names = calloc((size_t)n + 1, sizeof(*names));

    check(names != NULL);
    for (int i = 0; i < n; i++) {
        struct bytes name = take_str(r);
        names[i] = name.ptr ? name : bytes_str("");
    }
    *n_out = n;
    return names;
}

static struct consumer_group *group_of(struct groups *gs, struct bytes id, bool may_make)
{
    struct group *g = may_make ? group_get(gs->broker, id) : group_find(gs->broker, id);

    if (g == NULL) return NULL;
    if (g->consumer == NULL && may_make && g->n_members == 0) (void)consumer_group_create(g);
    return g->consumer;
}

static void load_subscription(struct consumer_member *m, struct reader *r)
{
    struct consumer_group *cg = m->group->consumer;
    struct bytes instance = take_str(r), rack = take_str(r), client = take_str(r), host = take_str(r);
    int n;
    struct bytes *names = take_names(r, &n);
    struct bytes regex = take_str(r);
    int32_t rebalance = (int32_t)reader_be32(r);
    struct bytes assignor = take_str(r);

    if (!r->failed) {
        group_replace(&m->rack, rack);
        group_replace(&m->client_id, client.ptr ? client : bytes_str(""));
        group_replace(&m->client_host, host.ptr ? host : bytes_str(""));
        group_replace(&m->regex, regex.len > 0 ? regex : BYTES_NULL);
        group_replace(&m->assignor, assign_find(assignor) ? assignor : BYTES_NULL);
        consumer_set_topics(m, names, n);
        m->rebalance_ms = rebalance;
        m->has_subscription = true;
        if (instance.ptr && bytes_is_null(m->instance)) {
            m->instance = group_dup(instance);
            (void)map_put(&cg->by_instance, instance, m);
        }
    }
    free(names);
}

static void load_current(struct consumer_member *m, struct reader *r)
{
    m->epoch = (int32_t)reader_be32(r);
    m->previous_epoch = (int32_t)reader_be32(r);
    int state = reader_u8(r);
    m->state =
        state == CONSUMER_UNREVOKED || state == CONSUMER_UNRELEASED ? (enum consumer_state)state : CONSUMER_STABLE;
    take_set(r, &m->assigned);
    take_set(r, &m->revoking);
}

static void load_member(struct groups *gs, int type, struct bytes group, struct bytes id, struct bytes value)
{
    bool is_gone = bytes_is_null(value);
    struct consumer_group *cg = group_of(gs, group, !is_gone);
    struct reader r = reader_of(value);

    if (cg == NULL) return;
    struct consumer_member *m = map_get(&cg->by_id, id);
    if (is_gone) {
        if (m != NULL && type == CONSUMER_RECORD_MEMBER) consumer_member_free(m);
        return;
    }
    if (reader_be16(&r) != 0) return;
    if (m == NULL) m = consumer_member_add(cg, id, BYTES_NULL);
    if (type == CONSUMER_RECORD_MEMBER) load_subscription(m, &r);
    if (type == CONSUMER_RECORD_TARGET_MEMBER) take_set(&r, &m->target);
    if (type == CONSUMER_RECORD_CURRENT) load_current(m, &r);
}

static void load_regex(struct groups *gs, struct bytes group, struct bytes pattern, struct bytes value)
{
    struct consumer_group *cg = group_of(gs, group, !bytes_is_null(value));
    struct reader r = reader_of(value);

    if (cg == NULL) return;
    struct consumer_regex *old = map_remove(&cg->regexes, pattern);
    if (old) consumer_regex_free(old);
    if (bytes_is_null(value) || reader_be16(&r) != 0) return;
    struct consumer_regex *x = calloc(1, sizeof(*x));
    check(x != NULL);
    x->pattern = group_dup(pattern);
    x->topics = take_names(&r, &x->n_topics);
    for (int i = 0; i < x->n_topics; i++)
        x->topics[i] = group_dup(x->topics[i]);
    (void)map_put(&cg->regexes, pattern, x);
}

static void load_group(struct groups *gs, int type, struct bytes id, struct bytes value)
{
    struct consumer_group *cg = group_of(gs, id, !bytes_is_null(value));
    struct reader r = reader_of(value);

    if (cg == NULL) return;
    if (bytes_is_null(value)) {
        struct group *g = cg->group;
        if (type != CONSUMER_RECORD_GROUP) return;
        consumer_group_destroy(cg);
        g->state = GROUP_EMPTY;
        if (map_count(&g->offsets) == 0 && bytes_is_null(g->stored)) group_remove(g);
        return;
    }
    if (reader_be16(&r) != 0) return;
    int32_t epoch = (int32_t)reader_be32(&r);
    int64_t tag = take_tags(&r);
    if (r.failed) return;
    if (type == CONSUMER_RECORD_GROUP) {
        cg->epoch = epoch;
        cg->topics_hash = (uint64_t)tag;
    } else {
        cg->target_epoch = epoch;
        cg->target_ms = tag;
    }
}

bool consumer_is_record(int type)
{
    return type == CONSUMER_RECORD_GROUP || type == CONSUMER_RECORD_REGEX ||
           (type >= CONSUMER_RECORD_MEMBER && type <= CONSUMER_RECORD_CURRENT);
}

void consumer_load(struct groups *gs, int type, struct reader *key, struct bytes value)
{
    struct bytes group = store_take_str(key), more = BYTES_NULL;
    bool is_group = type == CONSUMER_RECORD_GROUP || type == CONSUMER_RECORD_TARGET;

    if (!is_group) more = store_take_str(key);
    if (key->failed || group.len == 0 || (!is_group && more.len == 0)) return;
    if (is_group)
        load_group(gs, type, group, value);
    else if (type == CONSUMER_RECORD_REGEX)
        load_regex(gs, group, more, value);
    else
        load_member(gs, type, group, more, value);
}

/* A damaged log may name a partition twice: the first keeps it, the other takes its next step without it. */
static void own_loaded(struct consumer_group *cg, struct tp_set *s, struct consumer_member *m)
{
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        struct tp_set one = {&s->at[i], 1};
        if (map_get(&cg->owners, bytes_of(&s->at[i], sizeof(struct tp))) != NULL) continue;
        consumer_own(cg, &one, m);
        s->at[n++] = s->at[i];
    }
    if (n < s->n) m->dirty |= DIRTY_CURRENT;
    s->n = n;
}

void consumer_loaded(struct group *g)
{
    struct consumer_group *cg = g->consumer;

    cg->stored_upto = log_end_offset(g->broker->groups->log->log);
    set_clean(cg);
    if (cg->target_epoch > cg->epoch) cg->epoch = cg->target_epoch;
    for (struct list *n = cg->members.next, *next; n != &cg->members; n = next) {
        struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        next = n->next;
        if (!m->has_subscription) {
            consumer_gone_member(cg, m->id);
            tp_set_free(&m->assigned);
            tp_set_free(&m->revoking);
            consumer_member_free(m);
            continue;
        }
        own_loaded(cg, &m->assigned, m);
        own_loaded(cg, &m->revoking, m);
        /* One session from now to say that it is still there. */
        consumer_session_start(m);
        if (m->state == CONSUMER_UNREVOKED) consumer_rebalance_start(m);
    }
}
