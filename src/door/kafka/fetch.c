/* Fetch: whole batches from where each partition's reader stands.
 *
 *    handle ──▶ collect ──┬─ enough bytes, an error, or no time to wait ──▶ reply (slices are held until they are sent)
 *                  ▲      └─ park: one wait per partition, one timer
 *                  │                    │ wake: the timer is moved to now, so that all wakes of a turn collect once
 *                  └────── timer ◀──────┘
 *
 * F1  The minimum is met by the SUM over all partitions.
 * F2  The first partition that has data may exceed every limit by one batch, so that a reader always gets on; the
 *     others not.
 * F3  Which partition is looked at first rotates with each request of the connection: none starves behind a busy one.
 * F4  Between wake and collect a topic may be deleted: partitions are looked up anew at each collect, never kept.
 * F5  A reader of committed records gets nothing from the last stable offset on, and with what it gets a list of the
 *     aborted transactions in it: dropping their records is its part. Sessions are always declined (id 0): legal, and
 *     clients then name all partitions in each request. */
#include "door/kafka/kafka_int.h"

#include <stdlib.h>

struct fetch;
struct fetch_part {
    struct read_wait wait;
    struct fetch *fetch;
    const struct kafka_fetch_response_topic *topic; /* name or id to look up */
    struct kafka_fetch_response_partition *out;
    int64_t offset;
    int32_t max_bytes, leader_epoch;
};
struct fetch {
    struct kafka_request *q;
    struct kafka_fetch_response out;
    struct fetch_part *parts; /* in the request's arena */
    int32_t n_parts, first;
    size_t max_bytes;
    int64_t min_bytes;
    bool is_committed; /* only what is decided */
    uint64_t deadline_ns;
    struct timer timer;
};

static struct partition *find_partition(struct fetch *f, struct fetch_part *part)
{
    struct broker *b = kafka_broker(f->q);
    bool by_id = kafka_version(f->q) >= 13;
    struct topic *t = by_id ? topic_find_id(b, part->topic->topic_id) : topic_find(b, part->topic->name);
    struct partition *p = t ? topic_partition(t, part->out->index) : NULL;

    if (!kafka_may(f->q, ACL_READ, ACL_TOPIC, t != NULL && by_id ? topic_name(t) : part->topic->name))
        part->out->error_code = by_id && t == NULL ? KE_UNKNOWN_TOPIC_ID : KE_TOPIC_AUTHORIZATION_FAILED;
    else if (t == NULL)
        part->out->error_code = by_id ? KE_UNKNOWN_TOPIC_ID : KE_UNKNOWN_TOPIC_OR_PARTITION;
    else if (p == NULL)
        part->out->error_code = KE_UNKNOWN_TOPIC_OR_PARTITION;
    else if (part->leader_epoch >= 0 && part->leader_epoch < broker_epoch(b))
        part->out->error_code = KE_FENCED_LEADER_EPOCH;
    else if (part->leader_epoch > broker_epoch(b))
        part->out->error_code = KE_UNKNOWN_LEADER_EPOCH;
    return part->out->error_code == KE_NONE ? p : NULL;
}

/* Clients before version 10 do not know zstd. */
static bool has_zstd(struct bytes batches)
{
    while (batches.len >= BATCH_HEADER_LEN) {
        size_t len = (size_t)be32_get(batches.ptr + 8) + BATCH_PREFIX_LEN;

        if ((be16_get(batches.ptr + 21) & BATCH_ATTR_CODEC_MASK) == CODEC_ZSTD) return true;
        if (len >= batches.len) break;
        batches = bytes_slice(batches, len, batches.len - len);
    }
    return false;
}

static void release_slices(struct kafka_request *q)
{
    for (int i = 0; i < q->n_slices; i++)
        log_slice_release(&q->slices[i]);
    q->n_slices = 0;
}

/* F5. */
static void put_aborted(struct fetch *f, struct fetch_part *part, struct partition *p, const struct log_slice *s)
{
    struct kafka_fetch_response_partition *out = part->out;
    struct aborted_txn *found = NULL;
    int64_t first = (int64_t)be64_get(s->bytes.ptr);
    size_t n = partition_aborted(p, first, s->next_offset, &found);

    out->aborted_transactions.n = (int32_t)n;
    out->aborted_transactions.at = arena_array(&f->q->arena, n, sizeof *out->aborted_transactions.at);
    for (size_t i = 0; i < n; i++) {
        out->aborted_transactions.at[i].producer_id = found[i].producer_id;
        out->aborted_transactions.at[i].first_offset = found[i].first;
    }
    free(found);
}

static enum err_code read_isolated(struct fetch *f, struct partition *p, int64_t offset, size_t max,
                                   struct log_slice *out, struct err *e)
{
    return f->is_committed ? partition_read_stable(p, offset, max, out, e) : partition_read(p, offset, max, out, e);
}

/* Takes what the partition has within the budget; returns the number of bytes. */
static size_t read_partition(struct fetch *f, struct fetch_part *part, struct partition *p, size_t budget,
                             bool is_first)
{
    struct kafka_request *q = f->q;
    size_t max = part->max_bytes < 0 ? 0 : (size_t)part->max_bytes;
    struct log_slice slice = {0};
    struct err e;
    enum err_code rc;

    if (max > budget) max = budget;
    rc = read_isolated(f, p, part->offset, max, &slice, &e);
    if (rc != ERR_NONE) {
        part->out->error_code = kafka_error_of(rc);
        if (rc != ERR_RANGE)
            diag_printf(q->conn->door->sys->diag, DIAG_ERROR, "kafka", "fetch offset=%lld error=\"%s\"",
                        (long long)part->offset, e.text);
        return 0;
    }
    if (slice.bytes.len > 0 && kafka_version(q) < 10 && has_zstd(slice.bytes)) {
        part->out->error_code = KE_UNSUPPORTED_COMPRESSION_TYPE;
        slice.bytes.len = 0;
    }
    if (slice.bytes.len == 0 || (!is_first && slice.bytes.len > max)) { /* F2 */
        if (slice.segment != NULL) log_slice_release(&slice);
        return 0;
    }
    part->out->records = slice.bytes;
    if (f->is_committed) put_aborted(f, part, p, &slice);
    q->slices[q->n_slices++] = slice;
    return slice_is_hollow(&slice) ? 0 : slice.bytes.len; /* no reason to answer before the time */
}

/* One look at every partition. True: there is something to say. */
static bool collect(struct fetch *f)
{
    size_t sum = 0;
    bool has_error = false;

    release_slices(f->q);
    for (int32_t i = 0; i < f->n_parts; i++) {
        struct fetch_part *part = &f->parts[(f->first + i) % f->n_parts];
        struct partition *p;

        read_wait_cancel(&part->wait);
        part->out->error_code = KE_NONE;
        part->out->records = BYTES_LIT(""); /* never null: librdkafka refuses that */
        part->out->high_watermark = part->out->last_stable_offset = part->out->log_start_offset = -1;
        p = find_partition(f, part);
        if (p != NULL) {
            part->out->high_watermark = partition_high_watermark(p);
            part->out->last_stable_offset = partition_last_stable(p);
            part->out->aborted_transactions.n = f->is_committed ? 0 : -1;
            part->out->log_start_offset = partition_log_start(p);
            if (sum < f->max_bytes || sum == 0)
                sum += read_partition(f, part, p, f->max_bytes > sum ? f->max_bytes - sum : 0, sum == 0);
        }
        has_error |= part->out->error_code != KE_NONE;
    }
    return has_error || (int64_t)sum >= f->min_bytes; /* F1 */
}

static void stop_waiting(struct fetch *f)
{
    struct loop *loop = kafka_loop(f->q);

    loop->timer_stop(loop, &f->timer);
    for (int32_t i = 0; i < f->n_parts; i++)
        read_wait_cancel(&f->parts[i].wait);
}

/* Over the quota: nothing this time (throttle.c, T2). */
static void obey_quota(struct fetch *f)
{
    size_t bytes = 0;

    for (int i = 0; i < f->q->n_slices; i++)
        bytes += f->q->slices[i].bytes.len;
    if (bytes == 0 || kafka_throttle_fetch(f->q, bytes)) return;
    release_slices(f->q);
    f->out.topics.n = 0;
}

static void fetch_reply(struct fetch *f)
{
    stop_waiting(f);
    if (UNLIKELY(quotas_any(kafka_broker(f->q)))) obey_quota(f);
    kafka_reply(f->q, &f->out);
}

static void wake(struct read_wait *w)
{
    struct fetch *f = CONTAINER_OF(w, struct fetch_part, wait)->fetch;
    struct loop *loop = kafka_loop(f->q);

    loop->timer_start(loop, &f->timer, loop->now_ns(loop));
}

/* The slices are given back while waiting: they would keep deleted segments alive. */
static void park(struct fetch *f)
{
    struct loop *loop = kafka_loop(f->q);

    release_slices(f->q);
    for (int32_t i = 0; i < f->n_parts; i++) {
        struct fetch_part *part = &f->parts[i];
        struct partition *p = find_partition(f, part);

        if (p != NULL)
            partition_wait(p, &part->wait, f->is_committed ? part->out->last_stable_offset : part->out->high_watermark);
    }
    loop->timer_start(loop, &f->timer, f->deadline_ns);
}

static void timer_fire(struct timer *t)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, timer);
    struct loop *loop = kafka_loop(f->q);

    if (collect(f) || loop->now_ns(loop) >= f->deadline_ns)
        fetch_reply(f);
    else
        park(f);
}

static void fetch_cancel(struct kafka_request *q)
{
    stop_waiting(q->state);
}

static void fetch_hurry(struct kafka_request *q)
{
    struct fetch *f = q->state;

    (void)collect(f);
    fetch_reply(f);
}

static struct fetch *fetch_begin(struct kafka_request *q, const struct kafka_fetch_request *in)
{
    struct fetch *f = arena_new(&q->arena, struct fetch);
    struct fetch_part *part;

    f->q = q;
    f->timer.fire = timer_fire;
    f->is_committed = in->isolation_level == 1;
    f->out.topics.n = in->topics.n;
    f->out.topics.at = arena_array(&q->arena, (size_t)in->topics.n, sizeof *f->out.topics.at);
    for (int32_t i = 0; i < in->topics.n; i++)
        f->n_parts += in->topics.at[i].partitions.n;
    f->parts = part = arena_array(&q->arena, (size_t)f->n_parts, sizeof *f->parts);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_fetch_request_topic *from = &in->topics.at[i];
        struct kafka_fetch_response_topic *to = &f->out.topics.at[i];

        to->name = arena_copy(&q->arena, from->name);
        memcpy(to->topic_id, from->topic_id, 16);
        to->partitions.n = from->partitions.n;
        to->partitions.at = arena_array(&q->arena, (size_t)from->partitions.n, sizeof *to->partitions.at);
        for (int32_t j = 0; j < from->partitions.n; j++, part++) {
            wire_init(&kafka_fetch_response_partition_wire, &to->partitions.at[j]);
            to->partitions.at[j].index = from->partitions.at[j].index;
            to->partitions.at[j].aborted_transactions.n = -1;
            *part = (struct fetch_part){.wait.wake = wake,
                                        .wait.is_committed = in->isolation_level == 1,
                                        .fetch = f,
                                        .topic = to,
                                        .out = &to->partitions.at[j]};
            part->offset = from->partitions.at[j].fetch_offset;
            part->max_bytes = from->partitions.at[j].max_bytes;
            part->leader_epoch = from->partitions.at[j].current_leader_epoch;
        }
    }
    q->slices = arena_array(&q->arena, (size_t)f->n_parts, sizeof *q->slices);
    q->splices = arena_array(&q->arena, (size_t)f->n_parts, sizeof *q->splices);
    return f;
}

static void refuse(struct kafka_request *q, int16_t error)
{
    struct kafka_fetch_response out;

    wire_init(&kafka_fetch_response_wire, &out);
    out.error_code = error;
    kafka_reply(q, &out);
}

void kafka_handle_fetch(struct kafka_request *q, void *body)
{
    const struct kafka_fetch_request *in = body;
    struct fetch *f;
    int64_t wait_ms = in->max_wait_ms > 0 ? in->max_wait_ms : 0;

    if (in->session_id != 0) {
        refuse(q, KE_FETCH_SESSION_ID_NOT_FOUND);
        return;
    }
    if (in->session_epoch > 0) {
        refuse(q, KE_INVALID_FETCH_SESSION_EPOCH);
        return;
    }
    f = fetch_begin(q, in);
    f->min_bytes = in->min_bytes;
    f->max_bytes = in->max_bytes < 0 ? 0 : (size_t)in->max_bytes;
    if (f->max_bytes > LIMIT_FETCH_BYTES_MAX) f->max_bytes = LIMIT_FETCH_BYTES_MAX;
    if (UNLIKELY(quotas_any(kafka_broker(q)))) {
        size_t most = kafka_throttle_fetch_max(q);

        if (f->max_bytes > most) f->max_bytes = most;
    }
    if (f->n_parts > 0) f->first = (int32_t)(q->conn->fetch_rotation++ % (uint32_t)f->n_parts); /* F3 */
    f->deadline_ns = kafka_loop(q)->now_ns(kafka_loop(q)) + (uint64_t)wait_ms * 1000000u;
    if (collect(f) || wait_ms == 0 || f->n_parts == 0) {
        fetch_reply(f);
        return;
    }
    kafka_park(q, f, fetch_cancel, fetch_hurry);
    park(f);
}
