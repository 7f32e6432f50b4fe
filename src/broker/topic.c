/* topic.c: topics and their directories.
 *
 *   <data dir>/topics/<name>-<uuid in hex>/<partition>/    a log directory (log/log.h)
 *
 * The name in the path is for people (cut at 200 characters); the uuid is what counts. Order of creation and deletion:
 * meta.c M3.
 *
 * T1  A topic object lives while someone refers to it; deletion takes it out of the tables at once, closes its logs
 *     and removes its files when the last reference goes. Slices that are out stay mapped beyond that (log.h).
 * T2  A directory below topics/ that no record names: when a tombstone names its uuid it is a leftover of a deletion
 *     and removed; otherwise it is moved to quarantine/, because what is not understood is never deleted. */
#include "broker/broker_int.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

/* ---- names ---- */
bool topic_name_is_internal(struct bytes name)
{
    return (name.len >= 2 && memcmp(name.ptr, "__", 2) == 0) || (name.len >= 5 && memcmp(name.ptr, "_weir", 5) == 0);
}

void topic_uuid_hex(char out[33], const uint8_t uuid[16])
{
    for (int i = 0; i < 16; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", uuid[i]);
}

bool topic_uuid_parse(uint8_t out[16], const char *hex32)
{
    for (int i = 0; i < 32; i++) {
        char c = hex32[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return false;
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | digit : digit << 4);
    }
    return true;
}

/* ---- objects ---- */
const int64_t topic_number_defaults[TOPIC_NUMBERS] = {
    [TOPIC_DELETE_RETENTION_MS] = 24ll * 3600 * 1000,
    [TOPIC_MIN_COMPACTION_LAG_MS] = 0,
    [TOPIC_MAX_COMPACTION_LAG_MS] = INT64_MAX,
    [TOPIC_DIRTY_RATIO_PPM] = 500000,
    [TOPIC_TIMESTAMP_BEFORE_MS] = INT64_MAX,
    [TOPIC_SEGMENT_JITTER_MS] = 0,
    [TOPIC_FILE_DELETE_DELAY_MS] = 60000,
    [TOPIC_FLUSH_MESSAGES] = INT64_MAX,
    [TOPIC_FLUSH_MS] = INT64_MAX,
    [TOPIC_INDEX_INTERVAL_BYTES] = LIMIT_INDEX_INTERVAL_BYTES,
    [TOPIC_SEGMENT_INDEX_BYTES] = 10485760,
    [TOPIC_PREALLOCATE] = 0,
    [TOPIC_UNCLEAN_ELECTION] = 0,
};
_Static_assert(TOPIC_NUMBERS <= 32, "is_set has a bit for each");

static void config_fill(struct topic_config *c, const struct broker_options *o)
{
    if (c->retention_ms == 0) c->retention_ms = o->retention_ms;
    if (c->retention_bytes == 0) c->retention_bytes = o->retention_bytes;
    if (c->segment_bytes == 0) c->segment_bytes = o->segment_bytes;
    if (c->batch_bytes_max == 0) c->batch_bytes_max = o->batch_bytes_max;
    if (c->segment_ms == 0) c->segment_ms = SEGMENT_MS_DEFAULT;
    if (c->timestamp_ahead_ms == 0) c->timestamp_ahead_ms = LIMIT_TIMESTAMP_AHEAD_MS;
    for (int i = 0; i < TOPIC_NUMBERS; i++)
        if (!(c->is_set & 1u << i)) c->number[i] = topic_number_defaults[i];
    if (c->segment_bytes < LIMIT_SEGMENT_BYTES_MIN) c->segment_bytes = LIMIT_SEGMENT_BYTES_MIN;
    if (c->segment_bytes > LIMIT_SEGMENT_BYTES_MAX) c->segment_bytes = LIMIT_SEGMENT_BYTES_MAX;
}

static void config_set(struct topic *t, const struct topic_config *c)
{
    t->given = t->config = *c;
    config_fill(&t->config, &t->broker->options);
    if (t->is_internal) t->config.batch_bytes_max = LIMIT_BATCH_BYTES_MAX;
}

/* Not part of the topic before n_partitions says so: the caller raises it. */
static void make_block(struct topic *t, int32_t n)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct partition_block *block = &t->blocks[t->n_blocks];

    check(n >= 1 && t->n_blocks < TOPIC_BLOCKS_MAX);
    *block = (struct partition_block){.at = calloc((size_t)n, sizeof(*block->at)), .n = n};
    if (t->n_blocks > 0) block->first = block[-1].first + block[-1].n;
    check(block->at != NULL);
    for (int32_t i = 0; i < n; i++) {
        struct partition *p = &block->at[i];
        p->topic = t;
        p->index = block->first + i;
        (void)snprintf(path, sizeof(path), "%.*s/%d", (int)DATA_DIR_LEN_MAX + TOPIC_DIR_LEN_MAX + 16, t->dir,
                       (int)p->index);
        p->dir = strdup(path);
        check(p->dir != NULL);
        list_init(&p->append_waits);
        list_init(&p->read_waits);
    }
    t->n_blocks++;
}

/* Room for n partitions in all. */
static void make_room(struct topic *t, int32_t n)
{
    const struct partition_block *last = &t->blocks[t->n_blocks - 1];
    int32_t room = last->first + last->n;

    if (n > room) make_block(t, n - room > room ? n - room : room);
}

static struct partition *slot(const struct topic *t, int32_t index)
{
    const struct partition_block *block = t->blocks;

    while (index >= block->first + block->n)
        block++;
    return &block->at[index - block->first];
}

struct topic *topic_make(struct broker *b, struct bytes name, const uint8_t uuid[16], int32_t n_partitions,
                         const struct topic_config *c, uint64_t seq)
{
    char path[LIMIT_PATH_LEN_MAX], hex[33];
    struct topic *t = calloc(1, sizeof(*t));

    check(t != NULL && n_partitions >= 1);
    t->broker = b;
    t->name = strndup((const char *)name.ptr, name.len);
    memcpy(t->uuid, uuid, 16);
    t->seq = seq;
    t->is_internal = topic_name_is_internal(name);
    config_set(t, c);
    topic_uuid_hex(hex, uuid);
    (void)snprintf(path, sizeof(path), "%s/topics/%.*s-%s", b->data_dir, TOPIC_DIR_NAME_LEN_MAX, t->name, hex);
    t->dir = strdup(path);
    check(t->name != NULL && t->dir != NULL);
    list_init(&t->watches);
    make_block(t, n_partitions);
    t->n_partitions = n_partitions;
    t->refs = 1;
    return t;
}

void topic_remake(struct topic *t, int32_t n_partitions, const struct topic_config *c)
{
    config_set(t, c);
    if (n_partitions <= t->n_partitions) return;
    make_room(t, n_partitions);
    t->n_partitions = n_partitions;
}

void topic_enter(struct topic *t)
{
    struct broker *b = t->broker;
    void *old = map_put(&b->topics, bytes_str(t->name), t);
    check(old == NULL);
    old = map_put(&b->topic_ids, bytes_of(t->uuid, 16), t);
    check(old == NULL);
    if (t->seq >= b->topic_seq) b->topic_seq = t->seq + 1;
    b->topics_version++;
}

static void leave_tables(struct topic *t)
{
    (void)map_remove(&t->broker->topics, bytes_str(t->name));
    (void)map_remove(&t->broker->topic_ids, bytes_of(t->uuid, 16));
    t->broker->topics_version++;
}

void partition_close_log(struct partition *p)
{
    list_remove(&p->dirty_link);
    list_remove(&p->woken_link);
    log_close(p->log);
    if (p->producers) producers_destroy(p->producers);
    p->log = NULL;
    p->producers = NULL;
}

static void close_logs(struct topic *t)
{
    for (int32_t i = 0; i < t->n_partitions; i++)
        partition_close_log(slot(t, i));
}

static void topic_free(struct topic *t)
{
    close_logs(t);
    for (int k = 0; k < t->n_blocks; k++) {
        for (int32_t i = 0; i < t->blocks[k].n; i++)
            free(t->blocks[k].at[i].dir);
        free(t->blocks[k].at);
    }
    free(t->name);
    free(t->dir);
    free(t);
}

void topic_forget(struct topic *t)
{
    leave_tables(t);
    topic_free(t);
}

/* Removes the directories of a topic that is not open. What cannot be removed now is removed at the next open. */
static enum err_code remove_files(struct broker *b, const char *dir, int32_t n_partitions, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];
    enum err_code rc = ERR_NONE;

    for (int32_t i = 0; rc == ERR_NONE && i < n_partitions; i++) {
        (void)snprintf(path, sizeof(path), "%.*s/%d", (int)sizeof(path) - 32, dir, (int)i);
        if (fs->exists(fs, path)) rc = log_destroy(b->sys, path, e);
    }
    if (rc == ERR_NONE) rc = fs->rmdir(fs, dir, e);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "removing %s", dir);
}

void topic_ref(struct topic *t)
{
    check(t->refs > 0);
    t->refs++;
}

void topic_unref(struct topic *t)
{
    struct broker *b = t->broker;
    struct err e = {0};

    check(t->refs > 0);
    if (--t->refs > 0) return;
    check(t->is_deleted);
    list_remove(&t->link);
    close_logs(t);
    if (!b->is_closing && remove_files(b, t->dir, t->n_partitions, &e) != ERR_NONE)
        diag_printf(b->sys->diag, DIAG_WARN, "broker", "%s", e.text);
    topic_free(t);
}

/* ---- logs ---- */
static void record_producers(void *arg, const struct batch_view *v)
{
    struct partition *p = arg;
    if (v->producer_id >= 0) producers_record(p->producers, v, broker_now_ms(p->topic->broker));
}

/* From the snapshot and the log's tail. A snapshot that is ahead of the log saw batches that a crash took back: not
 * used. */
static enum err_code restore_producers(struct partition *p, struct err *e)
{
    struct fs *fs = p->topic->broker->sys->fs;
    int64_t from = 0;

    p->producers = producers_create();
    enum err_code rc = producers_load(p->producers, fs, p->dir, &from, NULL);
    bool is_ahead = rc == ERR_NONE && from > log_end_offset(p->log);
    if (rc != ERR_NONE || is_ahead) {
        producers_destroy(p->producers);
        p->producers = producers_create();
        from = 0;
    }
    if (from < log_start_offset(p->log)) from = log_start_offset(p->log);
    if (from < log_end_offset(p->log)) {
        if (from == log_start_offset(p->log)) p->unsaved_bytes = log_size_bytes(p->log);
        rc = log_scan(p->log, from, record_producers, p, e);
        if (rc == ERR_CORRUPT) rc = ERR_NONE; /* Reported by log_open; this partition takes no appends. */
        if (rc != ERR_NONE) return rc;
    }
    producers_expire(p->producers, broker_now_ms(p->topic->broker));
    if (!is_ahead) return ERR_NONE;
    return producers_save(p->producers, fs, p->dir, log_end_offset(p->log), e); /* It must not be believed next time. */
}

static void report_recovery(const struct partition *p, const struct log_recovery *r)
{
    struct diag *d = p->topic->broker->sys->diag;
    if (r->corrupt_from >= 0)
        diag_printf(d, DIAG_ERROR, "broker",
                    "%s partition %d: offsets %lld to %lld are damaged; the partition is read-only", p->topic->name,
                    (int)p->index, (long long)r->corrupt_from, (long long)r->corrupt_to);
    if (r->cut_bytes > 0)
        diag_printf(d, DIAG_INFO, "broker", "%s partition %d: cut %llu bytes that were never acknowledged",
                    p->topic->name, (int)p->index, (unsigned long long)r->cut_bytes);
}

/* Kafka's rules: a compacted topic's segments close early enough for max.compaction.lag.ms, and each partition's a
 * little earlier than the time says, so that not all roll at once. */
static int64_t segment_ms_of(const struct partition *p)
{
    const struct topic_config *c = &p->topic->config;
    int64_t ms = c->segment_ms, jitter = c->number[TOPIC_SEGMENT_JITTER_MS];
    uint8_t seed[20];

    if (c->compact && c->number[TOPIC_MAX_COMPACTION_LAG_MS] < ms) ms = c->number[TOPIC_MAX_COMPACTION_LAG_MS];
    if (jitter > ms) jitter = ms;
    if (jitter <= 0) return ms;
    memcpy(seed, p->topic->uuid, 16);
    be32_put(seed + 16, (uint32_t)p->index);
    ms -= (int64_t)(hash64(seed, sizeof(seed)) % (uint64_t)jitter);
    return ms > 0 ? ms : 1;
}

static struct log_options log_options_of(const struct partition *p)
{
    const struct topic *t = p->topic;
    bool deletes = topic_deletes(t);

    return (struct log_options){
        .segment_bytes = t->config.segment_bytes,
        .segment_ms = segment_ms_of(p),
        .retention_ms = deletes ? t->config.retention_ms : -1,
        .retention_bytes = deletes ? t->config.retention_bytes : -1,
        .sync = broker_is_sync(t->broker) || bytes_equal_str(bytes_str(t->name), META_TOPIC),
    };
}

/* May run beside that of other partitions. */
static enum err_code open_log(struct partition *p, struct log_recovery *r, struct err *e)
{
    struct topic *t = p->topic;
    struct broker *b = t->broker;

    p->log_options = log_options_of(p);
    enum err_code rc = t->is_internal ? rescue_settle(p, e) : ERR_NONE;
    if (rc == ERR_NONE) rc = log_open(&p->log, b->sys, p->dir, &p->log_options, b->epoch, r, e);
    if (rc == ERR_NONE) rc = restore_producers(p, e);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "topic %s partition %d", t->name, (int)p->index);
}

static void log_opened(struct partition *p, const struct log_recovery *r)
{
    report_recovery(p, r);
    if (r->corrupt_from < 0) return;
    p->is_stopped = true; /* read-only */
    p->topic->broker->stats.partitions_stopped++;
}

enum err_code partition_open_log(struct partition *p, struct err *e)
{
    struct log_recovery r = {.corrupt_from = -1, .corrupt_to = -1};

    enum err_code rc = open_log(p, &r, e);
    if (rc == ERR_NONE) log_opened(p, &r);
    return rc;
}

struct opening {
    struct partition *partition;
    struct log_recovery recovery;
    enum err_code rc;
    struct err error;
};

static void open_one(void *arg, int i)
{
    struct opening *o = (struct opening *)arg + i;
    o->rc = open_log(o->partition, &o->recovery, &o->error);
}

/* Opens many side by side: after a crash each has a tail to check and to sync. */
static enum err_code topics_open_logs(struct broker *b, struct topic **topics, size_t n_topics, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];
    enum err_code rc = ERR_NONE;
    size_t n = 0, at = 0;
    bool is_new = false;

    for (size_t i = 0; i < n_topics && rc == ERR_NONE; i++) {
        /* Names further down are synced by the log, with the first data that needs them; meta's by
         * identity_sync_names. */
        is_new |= !fs->exists(fs, topics[i]->dir) && !bytes_equal_str(bytes_str(topics[i]->name), META_TOPIC);
        n += (size_t)topics[i]->n_partitions;
        rc = fs->mkdir(fs, topics[i]->dir, e);
    }
    if (rc != ERR_NONE) return rc;
    struct opening *all = calloc(n + 1, sizeof(*all));
    check(all != NULL);
    for (size_t i = 0; i < n_topics; i++) {
        for (int32_t k = 0; k < topics[i]->n_partitions; k++)
            all[at++] =
                (struct opening){.partition = slot(topics[i], k), .recovery = {.corrupt_from = -1, .corrupt_to = -1}};
    }
    b->sys->loop->each(b->sys->loop, open_one, all, (int)n);
    for (size_t i = 0; i < n; i++) {
        if (all[i].rc == ERR_NONE) {
            log_opened(all[i].partition, &all[i].recovery);
        } else if (rc == ERR_NONE) {
            rc = all[i].rc;
            if (e) *e = all[i].error;
        }
    }
    free(all);
    (void)snprintf(path, sizeof(path), "%s/topics", b->data_dir);
    return rc == ERR_NONE && is_new ? fs->sync_dir(fs, path, e) : rc;
}

enum err_code topic_open_logs(struct topic *t, struct err *e)
{
    return topics_open_logs(t->broker, &t, 1, e);
}

/* ---- leftovers (T2) ---- */
struct leftovers {
    struct broker *broker;
    char *names[64]; /* more are looked after at the next open */
    int n;
};

static bool find_leftover(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct leftovers *l = arg;
    uint8_t uuid[16];
    size_t len = strlen(name);
    bool is_ours = is_dir && len > 33 && name[len - 33] == '-' && topic_uuid_parse(uuid, name + len - 32);

    if (is_ours && map_get(&l->broker->topic_ids, bytes_of(uuid, 16))) return true;
    if (l->n < (int)ARRAY_LEN(l->names)) l->names[l->n++] = strdup(name);
    return l->n < (int)ARRAY_LEN(l->names);
}

static bool count_partitions(void *arg, const char *name, bool is_dir, uint64_t size)
{
    int32_t *n = arg;
    int32_t index = (int32_t)strtol(name, NULL, 10);
    if (is_dir && index >= *n) *n = index + 1;
    return true;
}

static enum err_code handle_leftover(struct broker *b, const char *name, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char from[LIMIT_PATH_LEN_MAX], to[LIMIT_PATH_LEN_MAX];
    uint8_t uuid[16];
    size_t len = strlen(name);

    (void)snprintf(from, sizeof(from), "%s/topics/%s", b->data_dir, name);
    if (len > 33 && topic_uuid_parse(uuid, name + len - 32) && map_get(&b->dead_ids, bytes_of(uuid, 16))) {
        int32_t n = 0;
        enum err_code rc = fs->list(fs, from, count_partitions, &n, e);
        return rc == ERR_NONE ? remove_files(b, from, n, e) : rc;
    }
    (void)snprintf(to, sizeof(to), "%s/quarantine", b->data_dir);
    enum err_code rc = fs->mkdir(fs, to, e);
    if (rc != ERR_NONE) return rc;
    (void)snprintf(to, sizeof(to), "%s/quarantine/%d-%s", b->data_dir, (int)b->epoch, name);
    diag_printf(b->sys->diag, DIAG_WARN, "broker", "topics/%s belongs to no topic: moved to quarantine/%d-%s", name,
                (int)b->epoch, name);
    return fs->rename(fs, from, to, e);
}

static bool adopt_one(void *arg, const char *dir, bool is_dir, uint64_t size)
{
    static const struct topic_config internal = {.retention_ms = -1, .retention_bytes = -1, .compact = true}, usual;
    struct broker *b = arg;
    char path[LIMIT_PATH_LEN_MAX];
    uint8_t uuid[16];
    size_t len = strlen(dir);
    int32_t n = 0;

    if (!is_dir || len <= 33 || dir[len - 33] != '-' || !topic_uuid_parse(uuid, dir + len - 32)) return true;
    struct bytes id = bytes_of(uuid, 16), name = bytes_of(dir, len - 33);
    if (map_get(&b->topic_ids, id) || map_get(&b->dead_ids, id) || map_get(&b->topics, name)) return true;
    (void)snprintf(path, sizeof(path), "%s/topics/%s", b->data_dir, dir);
    enum err_code rc = b->sys->fs->list(b->sys->fs, path, count_partitions, &n, NULL);
    /* A name that filled its place may have been longer: then it is a leftover, and moved to quarantine. */
    if (rc != ERR_NONE || n < 1 || n > LIMIT_PARTITIONS_PER_TOPIC_MAX || name.len >= TOPIC_DIR_NAME_LEN_MAX ||
        !text_is_topic_name(name))
        return true;
    topic_enter(topic_make(b, name, uuid, n, topic_name_is_internal(name) ? &internal : &usual, b->topic_seq));
    diag_printf(b->sys->diag, DIAG_WARN, "broker",
                "topic %.*s: its record is lost, its %d partition(s) are there; it "
                "has the default configuration now",
                BYTES_ARG(name), (int)n);
    return true;
}

void topics_adopt(struct broker *b)
{
    char path[LIMIT_PATH_LEN_MAX];

    (void)snprintf(path, sizeof(path), "%s/topics", b->data_dir);
    (void)b->sys->fs->list(b->sys->fs, path, adopt_one, b, NULL);
}

enum err_code topics_open(struct broker *b, struct err *e)
{
    char path[LIMIT_PATH_LEN_MAX];
    struct leftovers l = {.broker = b};
    struct err why = {0};
    uint32_t pos = 0;
    size_t n = 0;

    struct topic **topics = calloc(map_count(&b->topics) + 1u, sizeof(struct topic *));
    check(topics != NULL);
    for (struct map_entry *m; (m = map_next(&b->topics, &pos)) != NULL;)
        if (m->value != b->meta) topics[n++] = m->value;
    enum err_code rc = topics_open_logs(b, topics, n, e);
    free(topics);
    if (rc != ERR_NONE) return rc;
    (void)snprintf(path, sizeof(path), "%s/topics", b->data_dir);
    rc = b->sys->fs->list(b->sys->fs, path, find_leftover, &l, e);
    for (int i = 0; i < l.n; i++) {
        /* No reason not to start. */
        if (rc == ERR_NONE && handle_leftover(b, l.names[i], &why) != ERR_NONE)
            diag_printf(b->sys->diag, DIAG_WARN, "broker", "leftover %s: %s", l.names[i], why.text);
        free(l.names[i]);
    }
    return rc;
}

/* ---- the door ---- */
static enum err_code create_check(struct broker *b, struct bytes name, int32_t n_partitions, struct err *e)
{
    if (!text_is_topic_name(name))
        return err_set(e, ERR_INVALID, "'%.*s' is no topic name: 1 to %d of [A-Za-z0-9._-]", BYTES_ARG(name),
                       LIMIT_TOPIC_NAME_LEN_MAX);
    if (map_get(&b->topics, name)) return err_set(e, ERR_EXISTS, "topic %.*s exists", BYTES_ARG(name));
    if (n_partitions < 1 || n_partitions > LIMIT_PARTITIONS_PER_TOPIC_MAX)
        return err_set(e, ERR_LIMIT, "%d partitions: 1 to %d are possible", (int)n_partitions,
                       LIMIT_PARTITIONS_PER_TOPIC_MAX);
    return ERR_NONE;
}

enum err_code topic_create_check(struct broker *b, struct bytes name, int32_t n_partitions, struct err *e)
{
    enum err_code rc = create_check(b, name, n_partitions, e);
    if (rc == ERR_NONE && topic_name_is_internal(name))
        return err_set(e, ERR_DENIED, "topic names beginning with __ or _weir are internal");
    return rc;
}

enum err_code topic_create_any(struct broker *b, struct bytes name, int32_t n_partitions, const struct topic_config *c,
                               struct topic **out, struct err *e)
{
    static const struct topic_config defaults;
    struct rng *rng = b->sys->rng;
    uint8_t uuid[16];

    enum err_code rc = create_check(b, name, n_partitions, e);
    if (rc != ERR_NONE) return rc;
    if (b->is_closing) return err_set(e, ERR_CLOSED, "the broker is closing");
    be64_put(uuid, rng->next(rng) | 1); /* Each half is never zero: the first is a port's handle. */
    be64_put(uuid + 8, rng->next(rng) | 1);

    struct topic *t = topic_make(b, name, uuid, n_partitions, c ? c : &defaults, b->topic_seq);
    rc = topic_open_logs(t, e);
    if (rc == ERR_NONE) rc = meta_put_topic(b, t, n_partitions, &t->given, e);
    if (rc != ERR_NONE) {
        close_logs(t);
        /* After a failed sync the record may be durable all the same: then the directory must stay (M3). */
        if (!topic_partition(b->meta, 0)->is_stopped) (void)remove_files(b, t->dir, n_partitions, NULL);
        topic_free(t);
        return err_wrap(e, rc, "creating topic %.*s", BYTES_ARG(name));
    }
    topic_enter(t);
    meta_changed(b);
    *out = t;
    return ERR_NONE;
}

enum err_code topic_create(struct broker *b, struct bytes name, int32_t n_partitions, const struct topic_config *c,
                           struct topic **out, struct err *e)
{
    struct topic *t = NULL;
    enum err_code rc = topic_create_check(b, name, n_partitions, e);
    if (rc == ERR_NONE) rc = topic_create_any(b, name, n_partitions, c, &t, e);
    if (rc == ERR_NONE && out) *out = t;
    return rc;
}

enum err_code topic_find_or_create(struct broker *b, struct bytes name, struct topic **out, struct err *e)
{
    struct topic *t = topic_find(b, name);
    if (t == NULL && b->options.no_auto_create) return err_set(e, ERR_NOT_FOUND, "no topic %.*s", BYTES_ARG(name));
    if (t == NULL) return topic_create(b, name, b->options.default_partitions, NULL, out, e);
    *out = t;
    return ERR_NONE;
}

struct topic *topic_find(struct broker *b, struct bytes name)
{
    return map_get(&b->topics, name);
}

struct topic *topic_find_id(struct broker *b, const uint8_t id[16])
{
    return map_get(&b->topic_ids, bytes_of(id, 16));
}

struct topic *topic_next(struct broker *b, uint32_t *pos)
{
    struct map_entry *m = map_next(&b->topics, pos);
    return m ? m->value : NULL;
}

enum err_code topic_delete(struct broker *b, struct topic *t, struct err *e)
{
    if (t->is_internal) return err_set(e, ERR_DENIED, "%s is internal", t->name);
    return topic_delete_any(b, t, e);
}

enum err_code topic_delete_any(struct broker *b, struct topic *t, struct err *e)
{
    check(t != b->meta);
    enum err_code rc = meta_drop_topic(b, t, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "deleting topic %s", t->name);

    leave_tables(t);
    t->is_deleted = true;
    list_push_back(&b->dying, &t->link);
    for (int32_t i = 0; i < t->n_partitions; i++) {
        struct partition *p = slot(t, i);
        if (p->is_stopped) b->stats.partitions_stopped--;
        list_remove(&p->dirty_link);
        partition_fail_waits(p, ERR_NOT_FOUND);
        partition_mark_woken(p, true);
    }
    groups_topic_deleted(b, bytes_str(t->name));
    txns_topic_deleted(b, t);
    topic_unref(t);
    meta_changed(b);
    return ERR_NONE;
}

enum err_code topic_alter(struct broker *b, struct topic *t, const struct topic_config *c, struct err *e)
{
    if (t->is_internal) return err_set(e, ERR_DENIED, "%s is internal", t->name);
    enum err_code rc = meta_put_topic(b, t, t->n_partitions, c, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "configuration of topic %s", t->name);

    config_set(t, c);
    for (int32_t i = 0; i < t->n_partitions; i++) {
        struct partition *p = slot(t, i);
        p->log_options = log_options_of(p);
        log_set_options(p->log, &p->log_options);
    }
    retention_rearm(b);
    cleaner_arm(b);
    meta_changed(b);
    return ERR_NONE;
}

enum err_code topic_add_partitions_check(const struct topic *t, int32_t n, struct err *e)
{
    if (t->is_internal) return err_set(e, ERR_DENIED, "%s is internal", t->name);
    if (n <= t->n_partitions)
        return err_set(e, ERR_RANGE, "topic %s has %d partitions; their number can only grow, not become %d", t->name,
                       (int)t->n_partitions, (int)n);
    if (n > LIMIT_PARTITIONS_PER_TOPIC_MAX)
        return err_set(e, ERR_LIMIT, "%d partitions: 1 to %d are possible", (int)n, LIMIT_PARTITIONS_PER_TOPIC_MAX);
    return ERR_NONE;
}

enum err_code topic_add_partitions(struct broker *b, struct topic *t, int32_t n, struct err *e)
{
    int32_t before = t->n_partitions, opened = before;
    char path[LIMIT_PATH_LEN_MAX];

    enum err_code rc = topic_add_partitions_check(t, n, e);
    if (rc != ERR_NONE) return rc;
    make_room(t, n);
    /* As at creation: first the directories, then the record, then the number that everybody sees (M1, M3). */
    for (; rc == ERR_NONE && opened < n; opened++)
        rc = partition_open_log(slot(t, opened), e);
    if (rc == ERR_NONE) rc = meta_put_topic(b, t, n, &t->given, e);
    if (rc != ERR_NONE) {
        bool is_known = topic_partition(b->meta, 0)->is_stopped; /* the record may be durable all the same */
        for (int32_t i = before; i < opened; i++) {
            struct partition *p = slot(t, i);
            if (p->is_stopped) b->stats.partitions_stopped--;
            p->is_stopped = false;
            partition_close_log(p);
            (void)snprintf(path, sizeof(path), "%s", p->dir);
            if (!is_known && b->sys->fs->exists(b->sys->fs, path)) (void)!log_destroy(b->sys, path, NULL);
        }
        return err_wrap(e, rc, "adding partitions to topic %s", t->name);
    }
    atomic_store_explicit(&t->n_partitions, n, memory_order_release);
    b->topics_version++;
    meta_changed(b);
    return ERR_NONE;
}

struct bytes topic_name(const struct topic *t)
{
    return bytes_str(t->name);
}

const uint8_t *topic_uuid(const struct topic *t)
{
    return t->uuid;
}

bool topic_is_internal(const struct topic *t)
{
    return t->is_internal;
}

int32_t topic_partition_count(const struct topic *t)
{
    return atomic_load_explicit(&t->n_partitions, memory_order_acquire);
}

const struct topic_config *topic_config(const struct topic *t)
{
    return &t->config;
}

const struct topic_config *topic_config_given(const struct topic *t)
{
    return &t->given;
}

struct partition *topic_partition(const struct topic *t, int32_t index)
{
    return index >= 0 && index < topic_partition_count(t) ? slot(t, index) : NULL;
}
