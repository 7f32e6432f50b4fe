/* Quotas as requests meet them. What is over its limit is answered at once with throttleTimeMs, and the connection is
 * muted for that time: clients wait by themselves since Produce 6 and Fetch 8, older ones are made to.
 *
 * T1  A produce request is charged for its whole frame when it is handled; it is never refused.
 * T2  A fetch is charged for the records that it is about to get. Over the limit it gets none, is charged nothing and
 *     asks again after the wait. It never takes more at once than a whole window allows.
 * T3  Time is that of the handler on the shard, the encoding of its answer included. What a parked request costs later
 *     (a timer, a wake-up) is not counted: it is small, and another's doing. */
#include "door/kafka/kafka_int.h"

#include <math.h>

static struct bytes user(const struct kafka_request *q)
{
    struct bytes name = bytes_str(q->conn->session.principal);

    return name.len >= 5 && memcmp(name.ptr, "User:", 5) == 0 ? bytes_slice(name, 5, name.len - 5) : name;
}

/* Null and empty client ids are one. */
static struct bytes client(const struct kafka_request *q)
{
    return bytes_is_null(q->header.client_id) ? bytes_str("") : q->header.client_id;
}

static uint64_t mono_ns(const struct kafka_request *q)
{
    struct clock *clock = q->conn->door->sys->clock;

    return clock->mono_ns(clock);
}

static void wait_at_least(struct kafka_request *q, uint64_t ms)
{
    if (ms > q->throttle_ms) q->throttle_ms = ms;
}

/* T3. */
static void charge_time(struct kafka_request *q)
{
    uint64_t now;

    if (q->began_ns == 0) return;
    now = mono_ns(q);
    wait_at_least(q, quota_charge(kafka_broker(q), QUOTA_REQUEST, user(q), client(q), (double)(now - q->began_ns) / 1e7,
                                  false)); /* percent of a second */
    q->began_ns = now;
}

void kafka_throttle_begin(struct kafka_request *q)
{
    q->began_ns = mono_ns(q);
}

void kafka_throttle_end(struct kafka_request *q)
{
    charge_time(q);
    q->began_ns = 0;
}

static const struct wire_field *find_throttle_field(const struct wire_message *m, int version)
{
    for (int i = 0; i < m->response->n_fields; i++) {
        const struct wire_field *f = &m->response->fields[i];

        if (f->kind == WIRE_I32 && strcmp(f->name, "throttle_time_ms") == 0)
            return version >= f->low && version <= f->high ? f : NULL;
    }
    return NULL;
}

/* Answers are built by their handlers in memory of their own; the one field is ours. */
void kafka_throttle_reply(struct kafka_request *q, const void *response)
{
    const struct wire_field *f;

    charge_time(q);
    if (q->throttle_ms == 0) return;
    f = find_throttle_field(q->message, kafka_version(q));
    if (f != NULL) *(int32_t *)((uintptr_t)response + f->offset) = (int32_t)q->throttle_ms;
    kafka_conn_mute(q->conn, q->throttle_ms);
}

void kafka_throttle_produce(struct kafka_request *q)
{
    double bytes = (double)(q->frame_end - q->frame);

    wait_at_least(q, quota_charge(kafka_broker(q), QUOTA_PRODUCE, user(q), client(q), bytes, false)); /* T1 */
}

size_t kafka_throttle_fetch_max(const struct kafka_request *q)
{
    double max = quota_window_max(kafka_broker(q), QUOTA_CONSUME, user(q), client(q));

    return max >= (double)LIMIT_FETCH_BYTES_MAX ? LIMIT_FETCH_BYTES_MAX : (size_t)max;
}

bool kafka_throttle_fetch(struct kafka_request *q, size_t bytes)
{
    uint64_t ms = quota_charge(kafka_broker(q), QUOTA_CONSUME, user(q), client(q), (double)bytes, true); /* T2 */

    wait_at_least(q, ms);
    return ms == 0;
}

void kafka_throttle_mutations(struct kafka_request *q, int64_t partitions)
{
    if (partitions <= 0) return;
    wait_at_least(q, quota_charge(kafka_broker(q), QUOTA_MUTATIONS, user(q), client(q), (double)partitions, false));
}
