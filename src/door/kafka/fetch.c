/* Fetch: whole batches from where each partition's reader stands.
 *
 *    handle ──▶ collect ──┬─ enough bytes, an error, or no time to wait ──▶ reply (slices are held until they are sent)
 *                  ▲      └─ park: each partition has a wait registered, one timer
 *                  │                    │ wake: the timer is moved to now, so that all wakes of a turn collect once
 *                  └────── timer ◀──────┘
 *
 * F1  The minimum is met by the SUM over all partitions.
 * F2  The first partition that has data may exceed every limit by one batch, so that a reader always gets on; the
 *     others not.
 * F3  Which partition is looked at first rotates: none starves behind a busy one. Without a session it moves by one with
 *     each request of the connection; in a session see fetch_session.c S2.
 * F4  Between wake and collect a topic may be deleted: partitions are looked up anew at each collect, never kept.
 * F5  A reader of committed records gets nothing from the last stable offset on, and with what it gets a list of the
 *     aborted transactions in it: dropping their records is its part.
 * F6  A full answer names every partition; one of a session those with records, an error, or an offset that has moved
 *     since they were last named. A moved offset alone does not end the waiting. */
#include "door/kafka/fetch_session.h"

#include <stdlib.h>

struct fetch {
    struct kafka_request *q;
    struct fetch_set *set; /* the session's or: */
    struct fetch_set own;
    struct fetch_session *session; /* NULL: none */
    bool is_full, is_new;          /* is_new: the session was made by this request */
    int32_t first;                 /* F3 */
    size_t max_bytes;
    int64_t min_bytes;
    uint64_t deadline_ns;
    struct timer timer;
    int slices_cap;
};

static struct partition *find_partition(const struct fetch *f, struct fetch_part *part)
{
    struct broker *b = kafka_broker(f->q);
    const struct fetch_topic *topic = part->topic;
    struct topic *t = f->set->is_by_id ? topic_find_id(b, topic->id) : topic_find(b, topic->name);
    struct partition *p = t ? topic_partition(t, part->index) : NULL;

    part->error = KE_NONE;
    if (!f->set->is_by_id && !kafka_may(f->q, ACL_READ, ACL_TOPIC, topic->name))
        part->error = KE_TOPIC_AUTHORIZATION_FAILED;
    else if (t == NULL)
        part->error = f->set->is_by_id ? KE_UNKNOWN_TOPIC_ID : KE_UNKNOWN_TOPIC_OR_PARTITION;
    else if (f->set->is_by_id && !kafka_may(f->q, ACL_READ, ACL_TOPIC, topic_name(t)))
        part->error = KE_TOPIC_AUTHORIZATION_FAILED;
    else if (p == NULL)
        part->error = KE_UNKNOWN_TOPIC_OR_PARTITION;
    else if (part->leader_epoch >= 0 && part->leader_epoch < broker_epoch(b))
        part->error = KE_FENCED_LEADER_EPOCH;
    else if (part->leader_epoch > broker_epoch(b))
        part->error = KE_UNKNOWN_LEADER_EPOCH;
    return part->error == KE_NONE ? p : NULL;
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

/* ---- a look at the partitions ---- */
static void look_forget(struct fetch *f)
{
    struct kafka_request *q = f->q;

    for (struct list *n = f->set->ready.next; n != &f->set->ready; n = n->next) {
        struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);

        part->look = FETCH_NOT_LOOKED;
        free(part->aborted);
        part->aborted = NULL;
    }
    for (int i = 0; i < q->n_slices; i++)
        log_slice_release(&q->slices[i]);
    q->n_slices = 0;
}

static void slice_keep(struct fetch *f, const struct log_slice *s)
{
    struct kafka_request *q = f->q;

    if (q->n_slices == f->slices_cap) {
        int cap = f->slices_cap ? 2 * f->slices_cap : 8;
        struct log_slice *grown = arena_array(&q->arena, (size_t)cap, sizeof *grown);

        if (q->n_slices > 0) memcpy(grown, q->slices, (size_t)q->n_slices * sizeof *grown);
        q->slices = grown;
        f->slices_cap = cap;
    }
    q->slices[q->n_slices++] = *s;
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
    rc = f->set->is_committed ? partition_read_stable(p, part->offset, max, &slice, &e)
                              : partition_read(p, part->offset, max, &slice, &e);
    if (rc != ERR_NONE) {
        part->error = kafka_error_of(rc);
        if (rc != ERR_RANGE)
            diag_printf(q->conn->door->sys->diag, DIAG_ERROR, "kafka", "fetch offset=%lld error=\"%s\"",
                        (long long)part->offset, e.text);
        return 0;
    }
    if (slice.bytes.len > 0 && kafka_version(q) < 10 && has_zstd(slice.bytes)) {
        part->error = KE_UNSUPPORTED_COMPRESSION_TYPE;
        slice.bytes.len = 0;
    }
    if (slice.bytes.len == 0 || (!is_first && slice.bytes.len > max)) { /* F2 */
        if (slice.segment != NULL) log_slice_release(&slice);
        return 0;
    }
    part->records = slice.bytes;
    if (f->set->is_committed) /* F5 */
        part->n_aborted =
            (int32_t)partition_aborted(p, (int64_t)be64_get(slice.bytes.ptr), slice.next_offset, &part->aborted);
    slice_keep(f, &slice);
    return slice_is_hollow(&slice) ? 0 : slice.bytes.len; /* no reason to answer before the time */
}

static size_t look(struct fetch *f, struct fetch_part *part, size_t sum)
{
    struct partition *p = find_partition(f, part);
    size_t n = 0;

    part->records = BYTES_LIT(""); /* never null: librdkafka refuses that */
    part->high = part->stable = part->start = -1;
    part->n_aborted = -1;
    if (p != NULL) {
        part->high = partition_high_watermark(p);
        part->stable = partition_last_stable(p);
        part->start = partition_log_start(p);
        if (f->set->is_committed) part->n_aborted = 0;
        if (sum < f->max_bytes || sum == 0)
            n = read_partition(f, part, p, f->max_bytes > sum ? f->max_bytes - sum : 0, sum == 0);
    }
    part->look = f->is_full || part->must_say || part->error != KE_NONE || n > 0 || part->high != part->said_high ||
                         part->stable != part->said_stable || part->start != part->said_start
                     ? FETCH_SAYS
                     : FETCH_SILENT;
    return n;
}

/* True: there is something to say. What a session has no room for any more keeps its place at the front. */
static bool collect(struct fetch *f)
{
    struct list *at = f->set->ready.next;
    size_t sum = 0;
    bool has_error = false;

    look_forget(f);
    for (int32_t i = 0; i < f->first; i++)
        at = at->next;
    for (struct list *n = at; n != NULL;) {
        if (n != &f->set->ready) {
            struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);

            sum += look(f, part, sum);
            has_error |= part->error != KE_NONE;
        }
        n = n->next;
        if (n == at || (!f->is_full && sum > 0 && sum >= f->max_bytes)) break;
    }
    return has_error || (int64_t)sum >= f->min_bytes; /* F1 */
}

/* ---- waiting ---- */
/* In a session the wait stays when the request is answered, and may be used with another isolation: it is about the
 * high watermark, behind which no last stable offset moves. */
static void part_wait(struct fetch *f, struct fetch_part *part)
{
    struct partition *p = list_is_linked(&part->wait.link) ? NULL : find_partition(f, part);

    if (p == NULL) return;
    part->wait.is_committed = f->set->is_committed && f->session == NULL;
    partition_wait(p, &part->wait, part->wait.is_committed ? part->stable : part->high);
}

static void fetch_leave(struct fetch *f)
{
    struct loop *loop = kafka_loop(f->q);

    loop->timer_stop(loop, &f->timer);
    f->set->fetch = NULL;
    if (f->session != NULL) return;
    for (struct list *n = f->set->ready.next; n != &f->set->ready; n = n->next)
        read_wait_cancel(&CONTAINER_OF(n, struct fetch_part, link)->wait);
}

void fetch_woken(struct fetch *f)
{
    struct loop *loop = kafka_loop(f->q);

    loop->timer_start(loop, &f->timer, loop->now_ns(loop));
}

/* The slices are given back while waiting: they would keep deleted segments alive. */
static void park(struct fetch *f)
{
    struct loop *loop = kafka_loop(f->q);

    for (struct list *n = f->set->ready.next, *next; n != &f->set->ready; n = next) {
        struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);

        next = n->next;
        part_wait(f, part);
        if (f->session != NULL && part->look == FETCH_SILENT && list_is_linked(&part->wait.link)) list_remove(n);
    }
    look_forget(f);
    loop->timer_start(loop, &f->timer, f->deadline_ns);
}

/* ---- answering ---- */
static void put_part(struct fetch *f, const struct fetch_part *part, struct kafka_fetch_response_partition *out)
{
    wire_init(&kafka_fetch_response_partition_wire, out);
    out->index = part->index;
    out->error_code = part->error;
    out->high_watermark = part->high;
    out->last_stable_offset = part->stable;
    out->log_start_offset = part->start;
    out->records = part->records;
    out->aborted_transactions.n = part->n_aborted;
    if (part->n_aborted <= 0) return;
    out->aborted_transactions.at =
        arena_array(&f->q->arena, (size_t)part->n_aborted, sizeof *out->aborted_transactions.at);
    for (int32_t i = 0; i < part->n_aborted; i++) {
        out->aborted_transactions.at[i].producer_id = part->aborted[i].producer_id;
        out->aborted_transactions.at[i].first_offset = part->aborted[i].first;
    }
}

/* Groups what is to be said by topic, in the order of the list. */
static void build(struct fetch *f, struct kafka_fetch_response *out)
{
    struct list *ready = &f->set->ready;
    int32_t n_says = 0;

    f->set->answers++;
    for (struct list *n = ready->next; n != ready; n = n->next)
        n_says += CONTAINER_OF(n, struct fetch_part, link)->look == FETCH_SAYS;
    out->topics.at = arena_array(&f->q->arena, (size_t)n_says, sizeof *out->topics.at);
    for (struct list *n = ready->next; n != ready; n = n->next) {
        const struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);
        struct fetch_topic *t = part->topic;

        if (part->look != FETCH_SAYS) continue;
        if (t->out_of != f->set->answers) {
            t->out_of = f->set->answers;
            t->out = &out->topics.at[out->topics.n++];
            t->out->name = t->name;
            memcpy(t->out->topic_id, t->id, sizeof t->id);
        }
        t->out->partitions.n++;
    }
    for (int32_t i = 0; i < out->topics.n; i++) {
        struct kafka_fetch_response_topic *t = &out->topics.at[i];

        t->partitions.at = arena_array(&f->q->arena, (size_t)t->partitions.n, sizeof *t->partitions.at);
        t->partitions.n = 0;
    }
    for (struct list *n = ready->next; n != ready; n = n->next) {
        const struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);
        struct kafka_fetch_response_topic *t = part->topic->out;

        if (part->look == FETCH_SAYS) put_part(f, part, &t->partitions.at[t->partitions.n++]);
    }
}

/* After the answer: who had data goes to the end, who had nothing to say waits. */
static void settle(struct fetch *f)
{
    struct list *ready = &f->set->ready, *last = ready->prev;

    if (list_is_empty(ready)) return;
    for (struct list *n = ready->next, *next;; n = next) {
        struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);
        bool is_last = n == last;

        next = n->next;
        if (part->look == FETCH_SAYS) {
            part->must_say = part->error != KE_NONE;
            part->said_high = part->high;
            part->said_stable = part->stable;
            part->said_start = part->start;
            if (part->records.len > 0) {
                list_remove(n);
                list_push_back(ready, n);
            }
        } else if (part->look == FETCH_SILENT) {
            part_wait(f, part);
            if (list_is_linked(&part->wait.link)) list_remove(n);
        }
        if (is_last) return;
    }
}

/* Over the quota: nothing this time (throttle.c, T2), and a session that was to begin does not. */
static bool is_throttled(struct fetch *f)
{
    size_t bytes = 0;

    for (int i = 0; i < f->q->n_slices; i++)
        bytes += f->q->slices[i].bytes.len;
    if (bytes == 0 || kafka_throttle_fetch(f->q, bytes)) return false;
    look_forget(f);
    if (f->is_new) {
        fetch_session_end(f->session);
        f->session = NULL;
        f->set = &f->own;
        list_init(&f->own.ready);
    }
    return true;
}

static void fetch_reply(struct fetch *f)
{
    struct kafka_request *q = f->q;
    struct kafka_fetch_response out;

    wire_init(&kafka_fetch_response_wire, &out);
    fetch_leave(f);
    bool says = !UNLIKELY(quotas_any(kafka_broker(q))) || !is_throttled(f);
    if (says) build(f, &out);
    q->splices = arena_array(&q->arena, (size_t)q->n_slices + 1, sizeof *q->splices);
    if (f->session != NULL) {
        out.session_id = f->session->id;
        if (says) settle(f);
        fetch_session_used(f->session);
    }
    for (struct list *n = f->set->ready.next; n != &f->set->ready; n = n->next) {
        struct fetch_part *part = CONTAINER_OF(n, struct fetch_part, link);

        free(part->aborted);
        part->aborted = NULL;
    }
    kafka_reply(q, &out);
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
    struct fetch *f = q->state;

    look_forget(f);
    fetch_leave(f);
    if (f->is_new) fetch_session_end(f->session); /* Nobody has heard of it. */
}

void fetch_answer_now(struct fetch *f)
{
    (void)collect(f);
    fetch_reply(f);
}

static void fetch_hurry(struct kafka_request *q)
{
    fetch_answer_now(q->state);
}

/* ---- asking ---- */
/* Without a session: everything is of this request. */
static void own_set(struct fetch *f, const struct kafka_fetch_request *in)
{
    struct arena *a = &f->q->arena;
    struct fetch_part *part;
    int32_t n = 0;

    f->set = &f->own;
    f->own.is_by_id = kafka_version(f->q) >= 13;
    f->own.is_committed = in->isolation_level == 1;
    list_init(&f->own.ready);
    for (int32_t i = 0; i < in->topics.n; i++)
        n += in->topics.at[i].partitions.n;
    part = arena_array(a, (size_t)n, sizeof *part);
    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_fetch_request_topic *from = &in->topics.at[i];
        struct fetch_topic *t = arena_new(a, struct fetch_topic);

        t->name = arena_copy(a, from->name);
        memcpy(t->id, from->topic_id, sizeof t->id);
        for (int32_t j = 0; j < from->partitions.n; j++, part++)
            fetch_part_init(part, &f->own, t, &from->partitions.at[j]);
    }
    if (n > 0) f->first = (int32_t)(f->q->conn->fetch_rotation++ % (uint32_t)n); /* F3 */
}

/* The session that the request is about, as it is to be read; an error ends the request. */
static int16_t session_set(struct fetch *f, const struct kafka_fetch_request *in)
{
    struct fetch_sessions *ss = &f->q->conn->door->fetch_sessions;
    struct fetch_session *s = in->session_id != 0 ? fetch_session_find(ss, in->session_id) : NULL;
    bool is_by_id = kafka_version(f->q) >= 13;

    if (in->session_epoch <= 0) { /* 0: a new one, -1: none. Either ends the one that is named. */
        f->is_full = true;
        if (s != NULL && s->set.fetch != NULL) fetch_answer_now(s->set.fetch);
        if (s != NULL) fetch_session_end(s);
        f->session = in->session_epoch == 0 && kafka_version(f->q) >= 7 ? fetch_session_make(ss, in, is_by_id) : NULL;
        f->is_new = f->session != NULL;
        return KE_NONE;
    }
    if (s == NULL) return KE_FETCH_SESSION_ID_NOT_FOUND;
    if (s->epoch != in->session_epoch) return KE_INVALID_FETCH_SESSION_EPOCH;
    if (s->set.is_by_id != is_by_id) return KE_FETCH_SESSION_TOPIC_ID_ERROR;
    if (s->set.fetch != NULL) fetch_answer_now(s->set.fetch);
    if (!fetch_session_update(s, in)) {
        fetch_session_end(s);
        return KE_FETCH_SESSION_ID_NOT_FOUND; /* The client starts anew with a full fetch. */
    }
    if (s->set.n_parts == 0) { /* As Kafka: the id 0 in the answer tells that it has ended. */
        fetch_session_end(s);
        return KE_NONE;
    }
    f->session = s;
    s->epoch = s->epoch == INT32_MAX ? 1 : s->epoch + 1;
    return KE_NONE;
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
    struct fetch *f = arena_new(&q->arena, struct fetch);
    uint64_t wait_ms = in->max_wait_ms > 0 ? (uint64_t)in->max_wait_ms : 0;
    int16_t error;

    f->q = q;
    f->timer.fire = timer_fire;
    error = session_set(f, in);
    if (error != KE_NONE) {
        refuse(q, error);
        return;
    }
    if (f->session != NULL)
        f->set = &f->session->set;
    else
        own_set(f, in);
    f->set->fetch = f;
    f->min_bytes = in->min_bytes;
    f->max_bytes = in->max_bytes < 0 ? 0 : (size_t)in->max_bytes;
    if (f->max_bytes > LIMIT_FETCH_BYTES_MAX) f->max_bytes = LIMIT_FETCH_BYTES_MAX;
    if (UNLIKELY(quotas_any(kafka_broker(q)))) {
        size_t most = kafka_throttle_fetch_max(q);

        if (f->max_bytes > most) f->max_bytes = most;
    }
    f->deadline_ns = kafka_loop(q)->now_ns(kafka_loop(q)) + wait_ms * 1000000u;
    kafka_park(q, f, fetch_cancel, fetch_hurry);
    if (collect(f) || wait_ms == 0 || f->set->n_parts == 0)
        fetch_reply(f);
    else
        park(f);
}
