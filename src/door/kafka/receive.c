/* The memory that frames arrive in. A connection has a buffer only while bytes of it are waiting to be handled:
 *
 *    room: none ──▶ a spare of the door, or malloc, of one step ──▶ doubles as bytes arrive ──▶ the frame is complete
 *                                                                                                 │ handled
 *      door->spare_in ◀── one step ◀── empty ◀───────────────────────────────────────────────────┘
 *                                        └─ larger: stays with a connection that goes on at this pace
 *                                           (guard.c frees it after KAFKA_RECEIVE_KEPT_MS without a byte)
 *
 * V1  An idle connection has no buffer: ten thousand of them cost what their sockets cost.
 * V2  Buffers of more than one step together stay below options.receive_bytes_max, and so do those of one step: who
 *     sends little does not wait behind those who send much. Whoever would pass it is not read from until memory came
 *     back (`starving`, in order), so the kernel's window tells the peer to wait.
 * V3  One connection at a time may go beyond it, up to the one frame that it is receiving. So something always gets on,
 *     also when half frames alone have filled the budget; those that do not get on are closed by guard.c, that one
 *     soon.
 * V4  A buffer that was given out and got no byte (the peer closed, or nothing was there after all) goes back when the
 *     next connection asks: a read follows its room at once (sys.h). Ten thousand peers that close in one turn of the
 *     loop would take 640 MiB otherwise.
 * V5  Memory that is not there is no crash: the connection is closed.
 *
 * Why not one fixed buffer a connection: at 64 KiB each, ten thousand idle ones held 640 MiB. Why spares at all: a
 * malloc of 64 KiB is quick, but its pages go back to the kernel now and then, and come again one fault at a time. */
#include "door/kafka/kafka_int.h"

#include <stdlib.h>

static void starve(struct kafka_conn *c)
{
    if (!list_is_linked(&c->starve_link)) list_push_back(&c->door->starving, &c->starve_link);
    c->frame_ns = 0; /* it is not the peer who is late */
    if (c->door->overdraft != NULL) kafka_guard_hurry(c->door->overdraft);
}

/* The first who wait try again: as many as fit with one step each, one at least. */
static void feed(struct kafka_door *d)
{
    size_t given = 0;

    while (!list_is_empty(&d->starving)) {
        if (given > 0 && d->receive_bytes + given > d->options.receive_bytes_max) return;
        kafka_conn_schedule(CONTAINER_OF(list_pop_front(&d->starving), struct kafka_conn, starve_link));
        given += KAFKA_RECEIVE_STEP;
    }
}

/* Takes the buffer off the connection's account. */
static void account_release(struct kafka_conn *c)
{
    struct kafka_door *d = c->door;

    uint64_t *sum = c->in_cap > KAFKA_RECEIVE_STEP ? &d->receive_bytes : &d->receive_step_bytes;

    check(*sum >= c->in_cap);
    *sum -= c->in_cap;
    c->in = NULL;
    c->in_at = c->in_len = c->in_cap = 0;
    if (d->overdraft == c) d->overdraft = NULL;
    if (!list_is_empty(&d->starving)) feed(d);
}

void kafka_receive_release(struct kafka_conn *c)
{
    struct kafka_door *d = c->door;
    uint8_t *buffer = c->in;
    size_t cap = c->in_cap;

    list_remove(&c->starve_link);
    if (d->last_room == c) d->last_room = NULL;
    if (buffer == NULL) return;
    account_release(c);
    if (cap == KAFKA_RECEIVE_STEP && d->n_spare_in < KAFKA_RECEIVE_SPARE_MAX)
        d->spare_in[d->n_spare_in++] = buffer;
    else
        free(buffer);
}

void kafka_receive_rest(struct kafka_conn *c)
{
    struct kafka_door *d = c->door;

    if (c->in == NULL || c->in_len != c->in_at) return;
    if (c->in_cap == KAFKA_RECEIVE_STEP || c->in_cap > KAFKA_RECEIVE_KEPT || !list_is_empty(&d->starving))
        kafka_receive_release(c);
    else
        kafka_guard_arm(c, d->sys->loop->now_ns(d->sys->loop) + KAFKA_RECEIVE_KEPT_MS * 1000000ull);
}

void kafka_receive_deinit(struct kafka_door *d)
{
    check(d->receive_bytes == 0 && d->receive_step_bytes == 0);
    while (d->n_spare_in > 0)
        free(d->spare_in[--d->n_spare_in]);
}

/* V2, V3. */
static bool may_grow(struct kafka_conn *c, size_t cap)
{
    struct kafka_door *d = c->door;

    uint64_t sum = cap == KAFKA_RECEIVE_STEP         ? d->receive_step_bytes
                   : c->in_cap <= KAFKA_RECEIVE_STEP ? d->receive_bytes
                                                     : d->receive_bytes - c->in_cap;

    if (sum + cap <= d->options.receive_bytes_max || d->overdraft == c) return true;
    if (d->overdraft != NULL) return false;
    d->overdraft = c;
    return true;
}

static bool grow(struct kafka_conn *c, size_t cap)
{
    struct kafka_door *d = c->door;
    uint8_t *buffer;

    if (!may_grow(c, cap)) {
        starve(c);
        return false;
    }
    if (c->in == NULL && cap == KAFKA_RECEIVE_STEP && d->n_spare_in > 0)
        buffer = d->spare_in[--d->n_spare_in];
    else
        buffer = realloc(c->in, cap);
    if (buffer == NULL) {
        kafka_conn_fail(c, "no memory for a request of %zu bytes", cap); /* V5 */
        return false;
    }
    *(c->in_cap > KAFKA_RECEIVE_STEP ? &d->receive_bytes : &d->receive_step_bytes) -= c->in_cap;
    *(cap > KAFKA_RECEIVE_STEP ? &d->receive_bytes : &d->receive_step_bytes) += cap;
    c->in = buffer;
    c->in_cap = cap;
    return true;
}

bool kafka_receive_room(struct kafka_conn *c, uint8_t **ptr, size_t *cap)
{
    struct kafka_conn *last = c->door->last_room;
    size_t size, left, limit;

    if (last != NULL && last != c && last->in_len == 0 && last->in_cap == KAFKA_RECEIVE_STEP)
        kafka_receive_release(last); /* V4 */
    c->door->last_room = c;
    if (c->in_at > 0) { /* what is left goes to the front: less than one step (C4) */
        memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
        c->in_len -= c->in_at;
        c->in_at = 0;
    }
    size = kafka_conn_frame_size(c);
    if (c->in_len == c->in_cap) {
        size_t twice = 2 * c->in_cap;

        if (size > c->in_cap && size < twice) twice = size;
        if (!grow(c, twice < KAFKA_RECEIVE_STEP ? KAFKA_RECEIVE_STEP : twice)) return false;
    }
    left = size > c->in_len ? size - c->in_len : 0;
    limit = left >= KAFKA_RECEIVE_STEP / 4 ? left : KAFKA_RECEIVE_STEP; /* C4 */
    *ptr = c->in + c->in_len;
    *cap = c->in_cap - c->in_len < limit ? c->in_cap - c->in_len : limit;
    return true;
}
