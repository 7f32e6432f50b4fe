/* broker.c: opening and closing; the rest of the room is beside it.
 *
 *   broker.c     open, close, figures            append.c     one batch in: checks, duplicates, waits
 *   identity.c   weir.meta: cluster id, epoch    sync.c       group commit; waking readers
 *   journal.c    logs that are read whole        read.c       reads, look-ups by time, read waits
 *   meta.c       _weir_meta: topics, definitions retention.c  removing what is old
 *   topic.c      topics, directories, leftovers  group*.c     consumer groups and offsets
 *   cleaner.c    compaction
 *   txn*.c       transactions                    port*.c      port/port.h over all of it
 *   quota.c      rules and windows of quotas
 *
 * Order of opening: lock, identity (new epoch on disk), _weir_meta whole, every topic's logs, leftovers, groups,
 * transactions.
 * Nothing is written before the identity says that the format is ours. */
#include "broker/auth_int.h"

#include <stdio.h>
#include <stdlib.h>

static void options_fill(struct broker_options *o)
{
    if (o->default_partitions <= 0) o->default_partitions = 1;
    if (o->segment_bytes == 0) o->segment_bytes = LIMIT_SEGMENT_BYTES_DEFAULT;
    if (o->retention_ms == 0) o->retention_ms = RETENTION_MS_DEFAULT;
    if (o->retention_bytes == 0) o->retention_bytes = -1;
    if (o->batch_bytes_max == 0) o->batch_bytes_max = LIMIT_BATCH_BYTES_DEFAULT;
    if (o->batch_bytes_max > LIMIT_BATCH_BYTES_MAX) o->batch_bytes_max = LIMIT_BATCH_BYTES_MAX;
    if (o->group_initial_delay_ms == 0) o->group_initial_delay_ms = 500;
    if (o->group_initial_delay_ms < 0) o->group_initial_delay_ms = 0;
    if (o->consumer_session_ms <= 0) o->consumer_session_ms = 45000;
    if (o->consumer_heartbeat_ms <= 0) o->consumer_heartbeat_ms = 5000;
    if (o->offsets_retention_ms == 0) o->offsets_retention_ms = 7ll * 24 * 3600 * 1000;
    if (o->interval_ms < 1) o->interval_ms = 1;
}

static enum err_code prepare_directory(struct broker *b, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];

    if (strlen(b->data_dir) > DATA_DIR_LEN_MAX) return err_set(e, ERR_INVALID, "the data directory's path is too long");
    enum err_code rc = fs->mkdir(fs, b->data_dir, e);
    if (rc != ERR_NONE) return rc;
    (void)snprintf(path, sizeof(path), "%s/weir.lock", b->data_dir);
    return fs->lock(fs, path, &b->lock, e);
}

static enum err_code prepare_topics(struct broker *b, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];

    (void)snprintf(path, sizeof(path), "%s/topics", b->data_dir);
    if (fs->exists(fs, path)) return ERR_NONE;
    return fs->mkdir(fs, path, e);
}

static void broker_free(struct broker *b)
{
    struct loop *loop = b->sys->loop;
    uint32_t pos = 0;

    b->is_closing = true;
    cleaner_destroy(b->cleaner);
    loop->timer_stop(loop, &b->sync_timer);
    loop->timer_stop(loop, &b->retention_timer);
    quotas_destroy(b);
    auth_destroy(b);
    txns_destroy(b);
    groups_destroy(b);
    for (struct list *n; (n = list_pop_front(&b->moved)) != NULL;)
        topic_unref(CONTAINER_OF(n, struct partition, moved_link)->topic);
    for (struct list *n; (n = list_pop_front(&b->woken)) != NULL;)
        topic_unref(CONTAINER_OF(n, struct partition, woken_link)->topic);
    scrubber_destroy(b->scrubber);
    syncer_destroy(b->syncer);
    for (struct map_entry *m; (m = map_next(&b->topics, &pos)) != NULL;)
        topic_forget(m->value);
    for (struct list *n; (n = list_pop_front(&b->dying)) != NULL;) {
        struct topic *t = CONTAINER_OF(n, struct topic, link);
        t->refs = 1; /* A handle that was never given back. */
        topic_unref(t);
    }
    map_deinit(&b->topics);
    map_deinit(&b->topic_ids);
    map_deinit(&b->open_units);
    meta_deinit(b);
    buf_deinit(&b->scratch);
    b->sys->fs->close(b->sys->fs, b->lock);
    free(b->data_dir);
    free(b);
}

enum err_code broker_open(struct broker **out, const struct sys *sys, const struct broker_options *o, struct err *e)
{
    struct broker *b = calloc(1, sizeof(*b));

    check(b != NULL && o->data_dir != NULL);
    b->sys = sys;
    b->options = *o;
    b->data_dir = strdup(o->data_dir);
    check(b->data_dir != NULL);
    b->options.data_dir = b->data_dir;
    options_fill(&b->options);
    map_init(&b->topics);
    map_init(&b->topic_ids);
    map_init(&b->dead_ids);
    map_init(&b->definitions);
    map_init(&b->open_units);
    list_init(&b->dying);
    list_init(&b->dirty);
    list_init(&b->moved);
    list_init(&b->woken);
    list_init(&b->failed_waits);
    b->topic_seq = 1;
    b->topics_version = 1;
    b->sync_timer.fire = sync_timer_fire;
    b->retention_timer.fire = retention_fire;
    b->syncer = syncer_create(b);
    b->cleaner = cleaner_create(b);
    buf_init(&b->scratch, 0);

    enum err_code rc = prepare_directory(b, e);
    if (rc == ERR_NONE) rc = identity_open(b, e);
    if (rc == ERR_NONE) spare_release(b);
    if (rc == ERR_NONE) rc = prepare_topics(b, e);
    if (rc == ERR_NONE) rc = meta_open(b, e);
    if (rc == ERR_NONE) rc = topics_open(b, e);
    if (rc == ERR_NONE) rc = groups_open(b, e);
    if (rc == ERR_NONE) rc = txns_open(b, e);
    if (rc == ERR_NONE) rc = quotas_open(b, e);
    if (rc == ERR_NONE) rc = auth_open(b, e);
    if (rc != ERR_NONE) {
        broker_free(b);
        return err_wrap(e, rc, "data directory %s", o->data_dir);
    }
    retention_arm(b);
    cleaner_arm(b);
    spare_make(b);
    b->scrubber = scrubber_create(b, b->options.scrub_bytes_per_s);
    *out = b;
    return ERR_NONE;
}

static void close_partition(struct partition *p)
{
    struct broker *b = p->topic->broker;
    struct err e = {0};

    if (!p->is_stopped && log_sync(p->log, &e) != ERR_NONE) partition_stop(p, &e);
    if (!p->is_stopped) partition_durable_moved(p);
    partition_fail_waits(p, ERR_CLOSED);
    bool is_worth_it =
        p->unsaved_bytes > PRODUCERS_SAVE_BYTES || (p->unsaved_bytes > 0 && producers_count(p->producers) > 0);
    if (!p->is_stopped && is_worth_it)
        (void)!producers_save(p->producers, b->sys->fs, p->dir, log_end_offset(p->log), NULL);
}

void broker_close(struct broker *b)
{
    uint32_t pos = 0;

    if (b == NULL) return;
    cleaner_destroy(b->cleaner);
    spare_release(b);
    syncer_settle(b->syncer);
    groups_close(b);
    txns_close(b);
    auth_close(b);
    b->is_closing = true;
    for (struct topic *t; (t = topic_next(b, &pos)) != NULL;) {
        for (int32_t i = 0; i < t->n_partitions; i++)
            close_partition(topic_partition(t, i));
    }
    for (struct list *n; (n = list_pop_front(&b->failed_waits)) != NULL;) {
        struct append_wait *w = CONTAINER_OF(n, struct append_wait, link);
        w->done(w, (enum err_code)w->upto);
    }
    broker_free(b);
}

void broker_abandon(struct broker *b)
{
    if (b != NULL) broker_free(b);
}

const char *broker_cluster_id(const struct broker *b)
{
    return b->cluster_id;
}

int32_t broker_epoch(const struct broker *b)
{
    return b->epoch;
}

const struct broker_options *broker_options(const struct broker *b)
{
    return &b->options;
}

const struct sys *broker_sys(const struct broker *b)
{
    return b->sys;
}

void broker_stats(const struct broker *b, struct broker_stats *out)
{
    uint32_t pos = 0;

    *out = b->stats;
    if (out->disk_full) { /* Nobody may have tried again since. */
        struct fs_space space;
        enum err_code rc = b->sys->fs->space(b->sys->fs, b->data_dir, &space, NULL);
        if (rc == ERR_NONE && space.free_bytes > DISK_ROOM_BYTES) out->disk_full = false;
    }
    out->n_topics = map_count(&b->topics);
    out->n_partitions = 0;
    for (struct map_entry *m; (m = map_next(&b->topics, &pos)) != NULL;)
        out->n_partitions += (uint32_t)((struct topic *)m->value)->n_partitions;
}

void broker_count_out(struct broker *b, uint64_t bytes)
{
    b->stats.bytes_out += bytes;
}
