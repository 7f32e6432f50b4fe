/* meta.c: what the broker knows by name, as records of the internal topic _weir_meta. Integers are big-endian.
 *
 *   key                      value (null: gone)
 *   't' uuid[16]             a topic:  u8 version 2, u64 creation order, u32 partitions, i64 retention ms,
 *                          i64 retention bytes, u64 segment bytes, u32 batch bytes max, u8 flags (1 compact, 2 append
 *                          time, 4 compact and delete), i64 segment ms, i64 timestamp ahead ms, the name.
 *                          Version 1 has no segment ms and no timestamp ahead ms. Version 3, written only when
 *                          one of them is set, has before the name: u8 count, each: u8 enum topic_number, i64.
 *   'd' kind 0 name        a definition: its text
 *   'p'                    i64: every producer id below may have been given out
 *
 * M1  A change is appended and synced before anything shows it (broker.h B1); all calls here block for that sync.
 * M2  Producer ids are made durable in blocks before one of the block is given out (B3).
 * M3  A topic's directory exists before its record does, and is removed after its tombstone: a crash in between leaves
 * a directory without a record, never a record without a directory. Leftovers: topics_open. The topic itself has a
 * fixed uuid and no record: something must be there first. */
#include "broker/broker_int.h"

#include <stdlib.h>

static const uint8_t meta_uuid[16] = {'w', 'e', 'i', 'r', '-', 'm', 'e', 't', 'a', 0, 0, 0, 0, 0, 0, 1};

#define TOPIC_VERSION 3u
#define TOPIC_V1_LEN 42u
#define TOPIC_VALUE_LEN 58u
#define TOPIC_FLAG_COMPACT 1u
#define TOPIC_FLAG_APPEND_TIME 2u
#define TOPIC_FLAG_COMPACT_AND_DELETE 4u

static struct bytes bytes_dup(struct bytes b)
{
    uint8_t *copy = malloc(b.len + 1);
    check(copy != NULL);
    if (b.len > 0) memcpy(copy, b.ptr, b.len);
    copy[b.len] = 0;
    return bytes_of(copy, b.len);
}

static void definition_free(struct definition *d)
{
    if (d == NULL) return;
    free(d->kind);
    free((void *)(uintptr_t)d->name.ptr);
    free((void *)(uintptr_t)d->text.ptr);
    free(d);
}

/* ---- encoding ---- */
static void topic_key(uint8_t out[17], const uint8_t uuid[16])
{
    out[0] = 't';
    memcpy(out + 1, uuid, 16);
}

static void topic_encode(struct buf *out, const struct topic *t, int32_t n_partitions, const struct topic_config *c)
{
    /* Without numbers the older version says all there is, and an older program can read it. */
    buf_put_u8(out, c->is_set ? TOPIC_VERSION : 2);
    buf_put_be64(out, t->seq);
    buf_put_be32(out, (uint32_t)n_partitions);
    buf_put_be64(out, (uint64_t)c->retention_ms);
    buf_put_be64(out, (uint64_t)c->retention_bytes);
    buf_put_be64(out, c->segment_bytes);
    buf_put_be32(out, c->batch_bytes_max);
    buf_put_u8(out, (c->compact ? TOPIC_FLAG_COMPACT : 0) | (c->log_append_time ? TOPIC_FLAG_APPEND_TIME : 0) |
                        (c->compact_and_delete ? TOPIC_FLAG_COMPACT_AND_DELETE : 0));
    buf_put_be64(out, (uint64_t)c->segment_ms);
    buf_put_be64(out, (uint64_t)c->timestamp_ahead_ms);
    check(out->len == TOPIC_VALUE_LEN);
    if (c->is_set) buf_put_u8(out, (uint8_t)__builtin_popcount(c->is_set));
    for (int i = 0; i < TOPIC_NUMBERS; i++) {
        if (!(c->is_set & 1u << i)) continue;
        buf_put_u8(out, (uint8_t)i);
        buf_put_be64(out, (uint64_t)c->number[i]);
    }
    buf_put_str(out, t->name);
}

/* The numbers of version 3; *head moves behind them. False: one is not known. */
static bool decode_numbers(struct bytes in, size_t *head, struct topic_config *c)
{
    size_t n = in.len > *head ? in.ptr[*head] : 0;

    *head += 1;
    if (in.len < *head + 9 * n) return false;
    for (; n > 0; n--, *head += 9) {
        uint8_t id = in.ptr[*head];
        if (id >= TOPIC_NUMBERS || c->is_set & 1u << id) return false;
        c->is_set |= 1u << id;
        c->number[id] = (int64_t)be64_get(in.ptr + *head + 1);
    }
    return true;
}

static void definition_key(struct buf *out, const char *kind, struct bytes name)
{
    buf_put_u8(out, 'd');
    buf_put_str(out, kind);
    buf_put_u8(out, 0);
    buf_put_bytes(out, name);
}

/* ---- reading back ---- */
static enum err_code apply_topic(struct broker *b, const struct record *r, struct err *e)
{
    const uint8_t *uuid = r->key.ptr + 1;
    struct topic *known = map_get(&b->topic_ids, bytes_of(uuid, 16));

    if (bytes_is_null(r->value)) {
        if (known) topic_forget(known);
        (void)map_put(&b->dead_ids, bytes_of(uuid, 16), b);
        return ERR_NONE;
    }
    unsigned version = r->value.len > 0 ? r->value.ptr[0] : 0;
    size_t head = version == 1 ? TOPIC_V1_LEN : TOPIC_VALUE_LEN;
    if (version < 1 || version > TOPIC_VERSION || r->value.len <= head)
        return err_set(e, ERR_UNSUPPORTED, "%s has a topic record of an unknown version", META_TOPIC);
    const uint8_t *at = r->value.ptr;
    struct topic_config c = {
        .retention_ms = (int64_t)be64_get(at + 13),
        .retention_bytes = (int64_t)be64_get(at + 21),
        .segment_bytes = be64_get(at + 29),
        .batch_bytes_max = be32_get(at + 37),
        .compact = at[41] & TOPIC_FLAG_COMPACT,
        .log_append_time = at[41] & TOPIC_FLAG_APPEND_TIME,
        .compact_and_delete = at[41] & TOPIC_FLAG_COMPACT_AND_DELETE,
        .segment_ms = version >= 2 ? (int64_t)be64_get(at + 42) : 0,
        .timestamp_ahead_ms = version >= 2 ? (int64_t)be64_get(at + 50) : 0,
    };
    if (version >= 3 && (!decode_numbers(r->value, &head, &c) || r->value.len <= head))
        return err_set(e, ERR_UNSUPPORTED, "%s has a topic with a configuration that is not known", META_TOPIC);
    uint32_t n = be32_get(at + 9);
    struct bytes name = bytes_slice(r->value, head, r->value.len - head);
    if (!text_is_topic_name(name) || n < 1 || n > LIMIT_PARTITIONS_PER_TOPIC_MAX || map_get(&b->topics, name) != known)
        return err_set(e, ERR_CORRUPT, "%s has an impossible topic record", META_TOPIC);
    if (known)
        topic_remake(known, (int32_t)n, &c); /* a change, or a snapshot (J1) */
    else
        topic_enter(topic_make(b, name, uuid, (int32_t)n, &c, be64_get(at + 1)));
    return ERR_NONE;
}

/* Key without its 'd'. A replaced definition keeps its place in the order. */
static void definition_set(struct broker *b, struct bytes key, struct bytes text)
{
    if (bytes_is_null(text)) {
        definition_free(map_remove(&b->definitions, key));
        return;
    }
    size_t kind_len = strnlen((const char *)key.ptr, key.len);
    struct definition *d = calloc(1, sizeof(*d));
    check(d != NULL);
    d->kind = (char *)(uintptr_t)bytes_dup(bytes_slice(key, 0, kind_len)).ptr;
    d->name = bytes_dup(bytes_slice(key, kind_len + 1, key.len - kind_len - 1));
    d->text = bytes_dup(text);
    definition_free(map_put(&b->definitions, key, d));
}

static enum err_code apply(void *arg, const struct record *r, struct err *e)
{
    struct broker *b = arg;

    if (r->key.len == 17 && r->key.ptr[0] == 't') return apply_topic(b, r, e);
    if (r->key.len >= 2 && r->key.ptr[0] == 'd' && memchr(r->key.ptr + 1, 0, r->key.len - 1) != NULL) {
        definition_set(b, bytes_slice(r->key, 1, r->key.len - 1), r->value);
        return ERR_NONE;
    }
    if (r->key.len == 1 && r->key.ptr[0] == 'p' && r->value.len == 8) {
        int64_t end = (int64_t)be64_get(r->value.ptr);
        if (end > b->producer_id_end) b->producer_id_end = end;
        return ERR_NONE;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s has a record of an unknown kind: written by a newer version of Weir?",
                   META_TOPIC);
}

static uint64_t live_bytes(const struct broker *b)
{
    uint64_t n = 0;
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&b->definitions, &pos)) != NULL;)
        n += m->key.len + ((struct definition *)m->value)->text.len + 16;
    return n + map_count(&b->topics) * (uint64_t)(TOPIC_VALUE_LEN + 64);
}

static void write_live(void *arg, struct journal_writer *w);

/* Something is missing: what the directories tell, and producer ids that nobody can have. */
static enum err_code repair(struct broker *b, struct topic *t, struct err *e)
{
    struct partition *p = topic_partition(t, 0);

    topics_adopt(b);
    if (b->producer_id_end < broker_now_ms(b)) b->producer_id_end = broker_now_ms(b);
    /* Tombstones may be missing, too: what no record names and cannot be adopted goes to quarantine (topics_open). */
    enum err_code rc = identity_sync_names(b, e);
    return rc == ERR_NONE ? rescue_renew(p, write_live, b, e) : rc;
}

enum err_code meta_open(struct broker *b, struct err *e)
{
    bool is_damaged = false;
    struct topic_config c = {.retention_ms = -1, .retention_bytes = -1};

    struct topic *t = topic_make(b, bytes_str(META_TOPIC), meta_uuid, 1, &c, 0);
    topic_enter(t);
    enum err_code rc = topic_open_logs(t, e);
    if (rc == ERR_NONE) rc = rescue_read(topic_partition(t, 0), b->options.repair, apply, b, &is_damaged, e);
    if (rc == ERR_NONE && is_damaged) rc = repair(b, t, e);
    if (rc != ERR_NONE) {
        rc = err_wrap(e, rc, "reading the broker's own topic %s", META_TOPIC);
        if (is_damaged)
            err_hint(
                e, "topics, definitions, users or rules may be lost; nothing was changed: see weir verify, then go on "
                   "with what can be read by weir repair");
        return rc;
    }
    b->meta = t;
    b->has_names = log_end_offset(topic_partition(t, 0)->log) > 0; /* put() syncs them first */
    b->producer_id_next = b->producer_id_end; /* What is left of the last block is given up (M2). */
    b->meta_compact_at = journal_compact_at(live_bytes(b));
    return ERR_NONE;
}

void meta_deinit(struct broker *b)
{
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&b->definitions, &pos)) != NULL;)
        definition_free(m->value);
    map_deinit(&b->definitions);
    map_deinit(&b->dead_ids);
}

/* ---- writing ---- */
static void write_live(void *arg, struct journal_writer *w)
{
    struct broker *b = arg;
    struct buf buf;
    uint8_t key[17], value[8];
    uint32_t pos = 0;

    buf_init(&buf, 0);
    be64_put(value, (uint64_t)b->producer_id_end);
    journal_put(w, BYTES_LIT("p"), bytes_of(value, sizeof(value)));
    for (struct map_entry *m; (m = map_next(&b->topics, &pos)) != NULL;) {
        const struct topic *t = m->value;
        if (memcmp(t->uuid, meta_uuid, sizeof(meta_uuid)) == 0) continue;
        topic_key(key, t->uuid);
        buf_clear(&buf);
        topic_encode(&buf, t, t->n_partitions, &t->given);
        journal_put(w, bytes_of(key, sizeof(key)), buf_bytes(&buf));
    }
    /* Directories that still wait for their last reader: their tombstones must outlive the trim (M3). */
    for (struct list *n = b->dying.next; n != &b->dying; n = n->next) {
        topic_key(key, CONTAINER_OF(n, struct topic, link)->uuid);
        journal_put(w, bytes_of(key, sizeof(key)), BYTES_NULL);
    }
    pos = 0;
    for (struct map_entry *m; (m = map_next(&b->definitions, &pos)) != NULL;) {
        const struct definition *d = m->value;
        buf_clear(&buf);
        definition_key(&buf, d->kind, d->name);
        journal_put(w, buf_bytes(&buf), d->text);
    }
    buf_deinit(&buf);
}

static enum err_code compact(struct broker *b, struct err *e)
{
    struct log *l = topic_partition(b->meta, 0)->log;
    struct journal_writer w;

    enum err_code rc = log_roll(l, e);
    if (rc != ERR_NONE) return rc;
    journal_begin(&w, l, broker_now_ms(b), e);
    write_live(b, &w);
    rc = journal_finish(&w);
    if (rc == ERR_NONE) rc = log_sync(l, e);
    if (rc == ERR_NONE) rc = log_trim(l, w.first, e);
    return rc;
}

static enum err_code put(struct broker *b, struct bytes key, struct bytes value, struct err *e)
{
    struct partition *p = topic_partition(b->meta, 0);
    struct journal_writer w;
    struct err why = {0};

    if (p->is_stopped) return err_set(e, ERR_STOPPED, "%s has stopped after a disk error", META_TOPIC);
    enum err_code rc = b->has_names ? ERR_NONE : identity_sync_names(b, e);
    if (rc != ERR_NONE) return rc;
    b->has_names = true;
    journal_begin(&w, p->log, broker_now_ms(b), &why);
    journal_put(&w, key, value);
    rc = journal_finish(&w);
    if (rc == ERR_NONE) rc = log_sync(p->log, &why);
    if (log_is_stopped(p->log)) partition_stop(p, &why);
    b->stats.disk_full = rc == ERR_NO_SPACE;
    if (rc != ERR_NONE) {
        if (e) *e = why;
        return rc;
    }
    partition_mark_woken(p, false);
    return ERR_NONE;
}

void meta_changed(struct broker *b)
{
    struct err e = {0};

    if (log_size_bytes(topic_partition(b->meta, 0)->log) < b->meta_compact_at) return;
    if (compact(b, &e) != ERR_NONE)
        diag_printf(b->sys->diag, DIAG_WARN, "broker", "snapshot of %s: %s", META_TOPIC, e.text);
    b->meta_compact_at = journal_compact_at(live_bytes(b));
    uint64_t size = log_size_bytes(topic_partition(b->meta, 0)->log);
    if (b->meta_compact_at < size)
        b->meta_compact_at = size + JOURNAL_COMPACT_BYTES_MIN; /* It failed: not at every call. */
}

enum err_code meta_put_topic(struct broker *b, const struct topic *t, int32_t n_partitions,
                             const struct topic_config *given, struct err *e)
{
    uint8_t key[17];
    struct buf value;

    topic_key(key, t->uuid);
    buf_init(&value, 0);
    topic_encode(&value, t, n_partitions, given);
    enum err_code rc = put(b, bytes_of(key, sizeof(key)), buf_bytes(&value), e);
    buf_deinit(&value);
    return rc;
}

enum err_code meta_drop_topic(struct broker *b, const struct topic *t, struct err *e)
{
    uint8_t key[17];
    topic_key(key, t->uuid);
    return put(b, bytes_of(key, sizeof(key)), BYTES_NULL, e);
}

static enum err_code change_definition(struct broker *b, const char *kind, struct bytes name, struct bytes text,
                                       struct err *e)
{
    struct buf key;

    buf_init(&key, 0);
    definition_key(&key, kind, name);
    enum err_code rc = put(b, buf_bytes(&key), text, e);
    if (rc == ERR_NONE) {
        definition_set(b, bytes_of(key.ptr + 1, key.len - 1), text);
        meta_changed(b);
    }
    buf_deinit(&key);
    return rc;
}

enum err_code broker_define(struct broker *b, const char *kind, struct bytes name, struct bytes text, struct err *e)
{
    if (kind[0] == 0 || name.len == 0) return err_set(e, ERR_INVALID, "a definition needs a kind and a name");
    if (text.len + name.len > LIMIT_BATCH_BYTES_DEFAULT) return err_set(e, ERR_TOO_LARGE, "definition is too large");
    return change_definition(b, kind, name, bytes_is_null(text) ? bytes_str("") : text, e);
}

enum err_code broker_undefine(struct broker *b, const char *kind, struct bytes name, struct err *e)
{
    struct buf key;

    buf_init(&key, 0);
    definition_key(&key, kind, name);
    bool known = map_get(&b->definitions, bytes_of(key.ptr + 1, key.len - 1)) != NULL;
    buf_deinit(&key);
    if (!known) return err_set(e, ERR_NOT_FOUND, "no %s named %.*s", kind, BYTES_ARG(name));
    return change_definition(b, kind, name, BYTES_NULL, e);
}

void broker_definitions(struct broker *b, const char *kind, bool (*fn)(void *arg, struct bytes name, struct bytes text),
                        void *arg)
{
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&b->definitions, &pos)) != NULL;) {
        const struct definition *d = m->value;
        if (strcmp(d->kind, kind) == 0 && !fn(arg, d->name, d->text)) return;
    }
}

enum err_code broker_producer_id_next(struct broker *b, int64_t *id, struct err *e)
{
    if (b->producer_id_next == b->producer_id_end) {
        uint8_t value[8];
        be64_put(value, (uint64_t)(b->producer_id_end + PRODUCER_ID_BLOCK));
        enum err_code rc = put(b, BYTES_LIT("p"), bytes_of(value, sizeof(value)), e);
        if (rc != ERR_NONE) return rc; /* M2. It may be durable all the same: ids are skipped, never repeated. */
        b->producer_id_end += PRODUCER_ID_BLOCK;
        meta_changed(b);
    }
    *id = b->producer_id_next++;
    return ERR_NONE;
}
