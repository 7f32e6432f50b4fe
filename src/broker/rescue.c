/* rescue.c: a journal of the broker's own with damage in it: read around the damage, then written anew.
 *
 *   0/ (damaged) ──read what is intact──▶ table ──snapshot──▶ 0.repair/ ──synced──▶ 0/ ─▶ quarantine/, 0.repair/ ─▶ 0/
 *
 * E1  Nothing is lost that could be read: the damaged log is moved to quarantine/, never deleted.
 * E2  The new log is complete and synced before the old one moves. A crash between the two renames leaves no 0/ and a
 *     whole 0.repair/, which rescue_settle takes at the next open.
 * E3  Every batch is checked here, checksum and all: a sealed segment is not looked through when it is opened, and a
 *     flipped bit must not become a wrong topic.
 * Why this is not done to _weir_meta and __transaction_state without being asked: a record that is missing there may
 * have been a rule that keeps somebody out, or a commit that was promised (docs/decisions/0006). */
#include "broker/broker_int.h"

#include <stdio.h>

struct reading {
    struct partition *partition;
    bool goes_around;
    journal_fn fn;
    void *arg;
    struct buf scratch;
    int64_t at;
    bool is_damaged;
};

static enum err_code read_records(struct reading *r, const struct batch_view *v, struct err *e)
{
    struct batch_iter it;
    struct record record;
    bool more = true;

    enum err_code rc = batch_iter_init(&it, v, &r->scratch, e);
    while (rc == ERR_NONE) {
        rc = batch_iter_next(&it, &record, &more, e);
        if (rc != ERR_NONE || !more) break;
        if (record.offset >= r->at) rc = r->fn(r->arg, &record, e);
    }
    return rc;
}

/* ERR_CORRUPT, or what follows goes on behind the range. */
static enum err_code skip(struct reading *r, int64_t to, struct err *e)
{
    struct partition *p = r->partition;
    struct diag *d = p->topic->broker->sys->diag;

    r->is_damaged = true;
    if (!r->goes_around)
        return err_set(e, ERR_CORRUPT, "offsets %lld to %lld of %s are damaged on disk", (long long)r->at,
                       (long long)to, p->topic->name);
    diag_printf(d, DIAG_ERROR, "broker", "%s: offsets %lld to %lld are damaged and left out", p->topic->name,
                (long long)r->at, (long long)to);
    r->at = to + 1;
    return ERR_NONE;
}

static enum err_code read_slice(struct reading *r, struct bytes left, struct err *e)
{
    enum err_code rc = ERR_NONE;

    while (left.len > 0 && rc == ERR_NONE) {
        struct batch_view v;
        if (batch_view_parse(&v, left, NULL) != ERR_NONE) return skip(r, r->at, e);
        if (batch_check_crc(&v, NULL) == ERR_NONE)
            rc = read_records(r, &v, e);
        else
            rc = skip(r, batch_last_offset(&v), e);
        if (rc != ERR_NONE) break;
        r->at = batch_last_offset(&v) + 1;
        left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
    }
    return rc;
}

/* The first offset behind `at` from which something can be read, or the end. */
static int64_t readable_behind(struct log *l, int64_t at)
{
    struct log_slice s;

    for (at++; at < log_durable_offset(l); at++) {
        if (log_read(l, at, log_durable_offset(l), 1, &s, NULL) != ERR_NONE) continue;
        bool is_there = s.bytes.len > 0;
        log_slice_release(&s);
        if (is_there) break;
    }
    return at;
}

enum err_code rescue_read(struct partition *p, bool goes_around, journal_fn fn, void *arg, bool *is_damaged,
                          struct err *e)
{
    struct log *l = p->log;
    struct reading r = {.partition = p, .goes_around = goes_around, .fn = fn, .arg = arg, .at = log_start_offset(l)};
    enum err_code rc = ERR_NONE;

    buf_init(&r.scratch, 0);
    if (log_durable_offset(l) < log_end_offset(l)) rc = log_sync(l, e);
    while (rc == ERR_NONE && r.at < log_durable_offset(l)) {
        struct log_slice s = {0};
        rc = log_read(l, r.at, log_durable_offset(l), 1u << 20, &s, e);
        if (rc == ERR_CORRUPT || (rc == ERR_NONE && s.bytes.len == 0))
            rc = skip(&r, readable_behind(l, r.at) - 1, e);
        else if (rc == ERR_NONE)
            rc = read_slice(&r, s.bytes, e);
        log_slice_release(&s);
    }
    buf_deinit(&r.scratch);
    *is_damaged = r.is_damaged;
    return rc;
}

static void repair_dir(const struct partition *p, char out[LIMIT_PATH_LEN_MAX])
{
    (void)snprintf(out, LIMIT_PATH_LEN_MAX, "%.*s.repair", LIMIT_PATH_LEN_MAX - 16, p->dir);
}

enum err_code rescue_settle(struct partition *p, struct err *e)
{
    struct fs *fs = p->topic->broker->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];

    repair_dir(p, path);
    if (!fs->exists(fs, path)) return ERR_NONE;
    if (fs->exists(fs, p->dir)) { /* half made: the old log still counts */
        (void)!log_destroy(p->topic->broker->sys, path, NULL);
        return ERR_NONE;
    }
    enum err_code rc = fs->rename(fs, path, p->dir, e); /* E2 */
    return rc == ERR_NONE ? fs->sync_dir(fs, p->topic->dir, e) : rc;
}

static enum err_code write_anew(struct partition *p, const char *dir, rescue_write_fn fn, void *arg, struct err *e)
{
    struct broker *b = p->topic->broker;
    struct log_options o = p->log_options;
    struct journal_writer w;
    struct log *l = NULL;

    o.sync = true;
    enum err_code rc = log_open(&l, b->sys, dir, &o, b->epoch, NULL, e);
    if (rc != ERR_NONE) return rc;
    journal_begin(&w, l, broker_now_ms(b), e);
    fn(arg, &w);
    rc = journal_finish(&w);
    if (rc == ERR_NONE) rc = log_sync(l, e);
    log_close(l);
    return rc == ERR_NONE ? b->sys->fs->sync_dir(b->sys->fs, p->topic->dir, e) : rc;
}

enum err_code rescue_renew(struct partition *p, rescue_write_fn fn, void *arg, struct err *e)
{
    struct broker *b = p->topic->broker;
    struct fs *fs = b->sys->fs;
    char fresh[LIMIT_PATH_LEN_MAX], aside[LIMIT_PATH_LEN_MAX];

    repair_dir(p, fresh);
    enum err_code rc = rescue_settle(p, e);
    if (rc == ERR_NONE) rc = write_anew(p, fresh, fn, arg, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "writing %s anew", p->topic->name);

    partition_close_log(p);
    if (p->is_stopped) b->stats.partitions_stopped--;
    p->is_stopped = false;
    (void)snprintf(aside, sizeof(aside), "%s/quarantine", b->data_dir);
    rc = fs->mkdir(fs, aside, e);
    if (rc != ERR_NONE) return rc;
    (void)snprintf(aside, sizeof(aside), "%s/quarantine/%d-%s-%d", b->data_dir, (int)b->epoch, p->topic->name,
                   (int)p->index);
    rc = fs->rename(fs, p->dir, aside, e); /* E1 */
    if (rc == ERR_NONE) rc = fs->rename(fs, fresh, p->dir, e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, p->topic->dir, e);
    if (rc == ERR_NONE) rc = partition_open_log(p, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "replacing the damaged log of %s", p->topic->name);
    diag_printf(b->sys->diag, DIAG_WARN, "broker",
                "%s was damaged: written anew from what could be read, the old log is %s", p->topic->name, aside);
    return ERR_NONE;
}
