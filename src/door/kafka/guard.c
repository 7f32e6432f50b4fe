/* Time limits of a connection. One timer each, and lazily: it is only ever moved to an earlier time; when it fires it
 * looks at what is really due and sets itself anew. So the usual request moves a few numbers and no timer.
 *
 * G1  Without a byte in either direction for options.idle_ms a connection is closed, except while we owe it an answer
 *     or keep it waiting ourselves. This holds for a peer that does not read what it asked for, too: its slices would
 *     keep deleted segments on the disk for ever.
 * G2  A frame that has begun must get on: no pause of LIMIT_FRAME_MS between its bytes, and after that time only as
 *     long as they have come at LIMIT_FRAME_BYTES_PER_S on average. So a peer that sends a byte now and then holds
 *     memory for half a minute; LIMIT_FRAME_AWAITED_MS without a byte when others wait for it (receive.c, V3).
 * G3  A muted connection is not read from, and its frames are not handled, until its time is over; answers leave. */
#include "door/kafka/kafka_int.h"

#define SEND_LOOKS 4u /* a send under way is looked at so often in options.idle_ms */

static uint64_t now_ns(const struct kafka_conn *c)
{
    return c->door->sys->loop->now_ns(c->door->sys->loop);
}

static uint64_t idle_ns(const struct kafka_conn *c)
{
    return (uint64_t)c->door->options.idle_ms * 1000000u;
}

void kafka_guard_arm(struct kafka_conn *c, uint64_t at_ns)
{
    struct loop *loop = c->door->sys->loop;

    if (c->guard.slot == 0 || at_ns < c->guard.at_ns) loop->timer_start(loop, &c->guard, at_ns);
}

static uint64_t frame_deadline(const struct kafka_conn *c)
{
    uint64_t last = c->moved_ns > c->frame_ns ? c->moved_ns : c->frame_ns;
    uint64_t paid = (c->in_len - c->in_at) * (1000000000ull / LIMIT_FRAME_BYTES_PER_S);

    if (c->door->overdraft == c && !list_is_empty(&c->door->starving))
        return last + LIMIT_FRAME_AWAITED_MS * 1000000ull;
    return (last < c->frame_ns + paid ? last : c->frame_ns + paid) + LIMIT_FRAME_MS * 1000000ull;
}

void kafka_guard_hurry(struct kafka_conn *c)
{
    if (c->frame_ns != 0) kafka_guard_arm(c, frame_deadline(c));
}

void kafka_guard_look(struct kafka_conn *c)
{
    if (c->in_len == c->in_at || kafka_conn_is_full(c) || list_is_linked(&c->starve_link)) {
        c->frame_ns = 0;
    } else if (c->frame_ns == 0) {
        c->frame_ns = now_ns(c);
        kafka_guard_arm(c, frame_deadline(c));
    } else if (c->door->overdraft == c) {
        kafka_guard_arm(c, frame_deadline(c));
    }
    if (c->is_sending) kafka_guard_arm(c, now_ns(c) + idle_ns(c) / SEND_LOOKS);
}

/* True: it is over. */
static bool check_idle(struct kafka_conn *c, uint64_t now)
{
    struct kafka_door *d = c->door;

    if (c->is_sending) {
        size_t left = d->net->send_queued(d->net, c->net_conn);

        if (left != c->send_left) c->moved_ns = now;
        c->send_left = left;
    } else if (c->n_requests > 0 || c->muted_until_ns != 0 || list_is_linked(&c->starve_link)) {
        c->moved_ns = now; /* it waits for us */
    }
    if (now < c->moved_ns + idle_ns(c)) return false;
    d->stats.connections_idle++;
    diag_printf(d->sys->diag, DIAG_DEBUG, "kafka", "peer=%s:%u closing=\"no byte for %lld ms%s\"", c->session.peer.host,
                c->session.peer.port, (long long)d->options.idle_ms, c->is_sending ? ", not reading its answer" : "");
    kafka_conn_close(c);
    return true;
}

static bool check_frame(struct kafka_conn *c, uint64_t now)
{
    if (c->frame_ns == 0 || now < frame_deadline(c)) return false;
    c->door->stats.connections_idle++;
    kafka_conn_fail(c, "a request begun %llu ms ago is not complete: %zu bytes have come",
                    (unsigned long long)((now - c->frame_ns) / 1000000), c->in_len - c->in_at);
    return true;
}

/* The earliest of what is due later. */
static void arm_next(struct kafka_conn *c, uint64_t now)
{
    uint64_t at = c->is_sending ? now + idle_ns(c) / SEND_LOOKS : c->moved_ns + idle_ns(c);

    if (c->frame_ns != 0 && frame_deadline(c) < at) at = frame_deadline(c);
    if (c->muted_until_ns != 0 && c->muted_until_ns < at) at = c->muted_until_ns;
    kafka_guard_arm(c, at);
}

static void guard_fire(struct timer *t)
{
    struct kafka_conn *c = CONTAINER_OF(t, struct kafka_conn, guard);
    uint64_t now = now_ns(c);

    if (c->is_closed || c->is_closing) return;
    if (c->muted_until_ns != 0 && now >= c->muted_until_ns) {
        c->muted_until_ns = 0;
        c->moved_ns = now;
        if (c->closes_at_unmute) {
            kafka_conn_close(c);
            return;
        }
        kafka_conn_schedule(c);
    }
    if (check_frame(c, now) || check_idle(c, now)) return;
    arm_next(c, now);
    if (c->in == NULL || c->in_len != c->in_at) return;
    if (now >= c->moved_ns + KAFKA_RECEIVE_KEPT_MS * 1000000ull)
        kafka_receive_release(c);
    else
        kafka_guard_arm(c, c->moved_ns + KAFKA_RECEIVE_KEPT_MS * 1000000ull);
}

void kafka_guard_start(struct kafka_conn *c)
{
    c->guard.fire = guard_fire;
    c->moved_ns = now_ns(c);
    c->send_left = SIZE_MAX;
    kafka_guard_arm(c, c->moved_ns + idle_ns(c));
}

void kafka_guard_stop(struct kafka_conn *c)
{
    c->door->sys->loop->timer_stop(c->door->sys->loop, &c->guard);
}

void kafka_conn_mute(struct kafka_conn *c, uint64_t ms)
{
    uint64_t until = now_ns(c) + ms * 1000000u;

    if (until > c->muted_until_ns) c->muted_until_ns = until;
    if (!c->is_closed && !c->is_closing) kafka_guard_arm(c, until);
}
