/* Reading: where partitions begin and end, and fetching from them. */
#include <stdlib.h>

#include "app/kclient_int.h"

#define FETCH_VERSION_MAX 12 /* the last one that names topics by name */
#define ISOLATION_COMMITTED 1
#define FETCH_BYTES (16u << 20)
#define FETCH_PARTITION_BYTES (4u << 20)

/* ---- offsets ---- */
static enum err_code offset_ask(struct kconn *c, struct bytes topic, int32_t index, int64_t ts_ms, int64_t *offset,
                                int64_t *found_ts, int16_t *error, uint64_t deadline, struct err *e)
{
    struct kafka_list_offsets_request_partition partition;
    struct kafka_list_offsets_request_topic t = {.name = topic, .partitions = {&partition, 1}};
    const struct kafka_list_offsets_response_partition *p;
    struct kafka_list_offsets_response r;
    struct kafka_list_offsets_request q;
    struct arena a;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_list_offsets_request_wire, &q);
    wire_init(&kafka_list_offsets_request_partition_wire, &partition);
    partition.index = index;
    partition.timestamp = ts_ms;
    q.replica_id = -1;
    q.isolation_level = ISOLATION_COMMITTED;
    q.topics.at = &t;
    q.topics.n = 1;
    rc = kcall_do(c, KAFKA_LIST_OFFSETS, 7, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && (r.topics.n != 1 || r.topics.at[0].partitions.n != 1))
        rc = err_set(e, ERR_PROTOCOL, "an answer of another shape than the request");
    if (rc != ERR_NONE) goto done;
    p = &r.topics.at[0].partitions.at[0];
    *error = p->error_code;
    if (p->error_code != 0) {
        rc = kerror_set(e, p->error_code, BYTES_NULL, "offsets of %.*s/%d", BYTES_ARG(topic), (int)index);
        goto done;
    }
    *offset = p->old_style_offsets.n > 0 ? p->old_style_offsets.at[0] : p->offset;
    if (found_ts != NULL) *found_ts = p->timestamp;

done:
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_offset(struct kclient *k, struct bytes topic, int32_t partition, int64_t ts_ms, int64_t *offset,
                             int64_t *found_ts_ms, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    bool again = false;
    enum err_code rc;

    do {
        struct kconn *c;
        int16_t error = 0;

        rc = kclient_leader(k, topic, partition, again, &c, deadline, e);
        if (rc == ERR_NONE) rc = offset_ask(c, topic, partition, ts_ms, offset, found_ts_ms, &error, deadline, e);
        if (rc != ERR_CLOSED && !kerror_of(error)->is_retriable) return rc;
        again = true;
    } while (kclient_may_retry(k, deadline, e));
    return rc;
}

/* ---- fetch ---- */
/* One request to one leader. */
struct part_fetch {
    struct kconn *conn;
    struct kcall call;
    int *cursors; /* indexes, in the order of the request */
    int n;
};
struct delivery {
    kclient_record_fn fn;
    void *arg;
    uint64_t n_records;
    bool is_stopped;
    struct buf scratch;
};

/* Sends what this leader has to answer. Each topic stands in the request once for each of its partitions: legal, and
 * simple. */
static enum err_code part_send(struct part_fetch *f, const struct kclient_cursor *cursors, int32_t max_wait_ms,
                               struct err *e)
{
    struct kafka_fetch_request q;
    struct arena a;
    struct kafka_fetch_request_partition *partitions;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_fetch_request_wire, &q);
    q.max_wait_ms = max_wait_ms;
    q.isolation_level = ISOLATION_COMMITTED;
    q.min_bytes = 1;
    q.max_bytes = FETCH_BYTES;
    partitions = arena_array(&a, (size_t)f->n, sizeof *partitions);
    q.topics.at = arena_array(&a, (size_t)f->n, sizeof *q.topics.at);
    for (int i = 0; i < f->n; i++) {
        const struct kclient_cursor *c = &cursors[f->cursors[i]];
        struct kafka_fetch_request_topic *t;

        wire_init(&kafka_fetch_request_partition_wire, &partitions[i]);
        partitions[i].index = c->partition;
        partitions[i].fetch_offset = c->offset;
        partitions[i].max_bytes = FETCH_PARTITION_BYTES;
        if (q.topics.n > 0 && bytes_equal(q.topics.at[q.topics.n - 1].name, c->topic)) {
            q.topics.at[q.topics.n - 1].partitions.n++;
            continue;
        }
        t = &q.topics.at[q.topics.n++];
        t->name = c->topic;
        t->partitions.at = &partitions[i];
        t->partitions.n = 1;
    }
    rc = kcall_start(&f->call, f->conn, KAFKA_FETCH, FETCH_VERSION_MAX, &q, e);
    arena_deinit(&a);
    return rc;
}

/* Records of one batch that are at or behind the cursor. */
static enum err_code deliver_batch(struct kclient_cursor *c, const struct batch_view *v, struct delivery *d,
                                   struct err *e)
{
    struct batch_iter it;
    struct record r;
    enum err_code rc = batch_check_crc(v, e);

    bool more = (v->attributes & BATCH_ATTR_CONTROL) == 0;

    if (rc == ERR_NONE && more) rc = batch_iter_init(&it, v, &d->scratch, e);
    while (rc == ERR_NONE && more) {
        rc = batch_iter_next(&it, &r, &more, e);
        if (rc != ERR_NONE || !more || r.offset < c->offset) continue;
        c->offset = r.offset + 1;
        d->n_records++;
        if (d->fn(d->arg, c->topic, c->partition, &r)) continue;
        d->is_stopped = true;
        return ERR_NONE;
    }
    if (rc != ERR_NONE)
        return err_wrap(e, rc, "%.*s/%d at offset %lld", BYTES_ARG(c->topic), (int)c->partition, (long long)c->offset);
    /* Compaction may have taken the last records; the batch covers their offsets all the same. */
    if (batch_last_offset(v) + 1 > c->offset) c->offset = batch_last_offset(v) + 1;
    return ERR_NONE;
}

/* The broker sends aborted records too, and says whose they are and where each transaction began; it ends with an abort
 * marker of that producer. Entries that are behind us or done have producer id -1. */
static bool is_aborted(const struct kafka_fetch_response_partition *p, const struct batch_view *v)
{
    bool is_marker = (v->attributes & BATCH_ATTR_CONTROL) != 0;

    if (!(v->attributes & BATCH_ATTR_TRANSACTIONAL)) return false;
    for (int32_t i = 0; i < p->aborted_transactions.n; i++) {
        struct kafka_fetch_response_aborted *a = &p->aborted_transactions.at[i];

        if (a->producer_id != v->producer_id || a->first_offset > v->base_offset) continue;
        if (!is_marker) return true;
        if (batch_control_of(v) == CONTROL_ABORT) a->producer_id = -1;
        return false;
    }
    return false;
}

static enum err_code deliver(struct kclient_cursor *c, const struct kafka_fetch_response_partition *p,
                             struct delivery *d, struct err *e)
{
    struct bytes records = p->records;

    while (records.len > 0 && !d->is_stopped) {
        struct batch_view v;
        enum err_code rc = batch_view_parse(&v, records, e);

        if (rc == ERR_RANGE) return ERR_NONE; /* a broker may cut the last batch */
        if (rc == ERR_NONE && is_aborted(p, &v))
            c->offset = batch_last_offset(&v) + 1;
        else if (rc == ERR_NONE)
            rc = deliver_batch(c, &v, d, e);
        if (rc != ERR_NONE) return rc;
        records = bytes_slice(records, v.bytes.len, records.len - v.bytes.len);
    }
    return ERR_NONE;
}

static struct kclient_cursor *cursor_of(struct kclient_cursor *cursors, const struct part_fetch *f, struct bytes topic,
                                        int32_t partition)
{
    for (int i = 0; i < f->n; i++)
        if (cursors[f->cursors[i]].partition == partition && bytes_equal(cursors[f->cursors[i]].topic, topic))
            return &cursors[f->cursors[i]];
    return NULL;
}

static enum err_code partition_take(struct kclient *k, struct kclient_cursor *c,
                                    const struct kafka_fetch_response_partition *p, struct delivery *d, struct err *e)
{
    const struct kerror *error = kerror_of(p->error_code);

    if (p->error_code == 0) {
        /* What is not decided yet is not there for us. */
        c->high_watermark = p->last_stable_offset >= 0 ? p->last_stable_offset : p->high_watermark;
        c->log_start = p->log_start_offset;
        return deliver(c, p, d, e);
    }
    if (p->error_code == 1) {
        c->high_watermark = p->high_watermark;
        c->log_start = p->log_start_offset;
    }
    /* Retriable: the next round asks again, after new metadata where that may help. */
    if (error->needs_metadata) free(map_remove(&k->leaders, c->topic));
    if (!error->is_retriable) c->rc = error->rc;
    return ERR_NONE;
}

static enum err_code part_take(struct kclient *k, struct part_fetch *f, struct kclient_cursor *cursors,
                               struct delivery *d, uint64_t deadline, struct err *e)
{
    struct kafka_fetch_response r;
    struct arena a;
    enum err_code rc = kcall_wait(&f->call, deadline, e);

    arena_init(&a, 0);
    if (rc == ERR_NONE) rc = kcall_decode(&f->call, &a, &r, e);
    if (rc == ERR_NONE && r.error_code != 0) rc = kerror_set(e, r.error_code, BYTES_NULL, "fetching");
    for (int32_t i = 0; rc == ERR_NONE && i < r.topics.n; i++) {
        for (int32_t j = 0; rc == ERR_NONE && j < r.topics.at[i].partitions.n && !d->is_stopped; j++) {
            const struct kafka_fetch_response_partition *p = &r.topics.at[i].partitions.at[j];
            struct kclient_cursor *c = cursor_of(cursors, f, r.topics.at[i].name, p->index);

            if (c != NULL) rc = partition_take(k, c, p, d, e);
        }
    }
    arena_deinit(&a);
    return rc;
}

/* Groups the cursors by leader. A partition whose leader cannot be found is left out of this round. */
static enum err_code parts_make(struct kclient *k, struct kclient_cursor *cursors, int n, struct part_fetch *parts,
                                int *n_parts, uint64_t deadline, struct err *e)
{
    *n_parts = 0;
    for (int i = 0; i < n; i++) {
        struct kconn *c;
        enum err_code rc;
        int p = 0;

        cursors[i].rc = ERR_NONE;
        if (cursors[i].is_paused) continue;
        rc = kclient_leader(k, cursors[i].topic, cursors[i].partition, false, &c, deadline, e);
        if (rc == ERR_NOT_FOUND) {
            cursors[i].rc = rc;
            continue;
        }
        if (rc != ERR_NONE) return rc;
        while (p < *n_parts && parts[p].conn != c)
            p++;
        if (p == *n_parts) {
            parts[p] = (struct part_fetch){.conn = c, .cursors = calloc((size_t)n, sizeof(int))};
            check(parts[p].cursors != NULL);
            (*n_parts)++;
        }
        parts[p].cursors[parts[p].n++] = i;
    }
    return ERR_NONE;
}

enum err_code kclient_fetch(struct kclient *k, struct kclient_cursor *cursors, int n, int32_t max_wait_ms,
                            kclient_record_fn fn, void *arg, uint64_t *n_records, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, (int64_t)k->timeout_ms + max_wait_ms);
    struct delivery d = {.fn = fn, .arg = arg};
    struct part_fetch *parts = calloc((size_t)n + 1, sizeof *parts); /* never more leaders than cursors */
    int n_parts = 0;
    enum err_code rc;

    if (n_records != NULL) *n_records = 0;
    check(parts != NULL);
    buf_init(&d.scratch, 0);
    rc = parts_make(k, cursors, n, parts, &n_parts, deadline, e);
    for (int i = 0; rc == ERR_NONE && i < n_parts; i++)
        rc = part_send(&parts[i], cursors, n_parts == 1 ? max_wait_ms : max_wait_ms / n_parts, e);
    for (int i = 0; rc == ERR_NONE && i < n_parts; i++)
        rc = part_take(k, &parts[i], cursors, &d, deadline, e);
    if (rc == ERR_NONE && n_parts == 0) rc = kclient_pause(k, max_wait_ms, deadline, e);
    /* The connection broke: the next round finds the leader anew, and fails if it cannot in time. */
    if (rc == ERR_CLOSED) rc = kclient_pause(k, KCLIENT_RETRY_PAUSE_MS, deadline, e);
    for (int i = 0; i < n_parts; i++) {
        kcall_deinit(&parts[i].call);
        free(parts[i].cursors);
    }
    if (n_records != NULL) *n_records = d.n_records;
    buf_deinit(&d.scratch);
    free(parts);
    return rc;
}
