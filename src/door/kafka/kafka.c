/* The door itself: listener, list of connections, and its end. */
#include "door/kafka/kafka.h"

#include "door/kafka/fetch_session.h"

#include <stdlib.h>

static void door_free(struct kafka_door *d)
{
    struct list *link;
    void (*closed)(void *arg) = d->closed;
    void *arg = d->closed_arg;

    auth_unwatch(&d->auth_watch);
    d->sys->loop->timer_stop(d->sys->loop, &d->drain_timer);
    while ((link = list_pop_front(&d->spare)) != NULL)
        kafka_request_destroy(CONTAINER_OF(link, struct kafka_request, link));
    fetch_sessions_deinit(&d->fetch_sessions);
    kafka_receive_deinit(d);
    free(d);
    if (closed != NULL) closed(arg);
}

/* Whose right to be here has ended. */
static void user_gone(struct auth_watch *w, struct bytes name)
{
    struct kafka_door *d = CONTAINER_OF(w, struct kafka_door, auth_watch);

    for (struct list *link = d->conns.next; link != &d->conns; link = link->next) {
        struct kafka_conn *c = CONTAINER_OF(link, struct kafka_conn, link);

        if (kafka_sasl_is_user(c->sasl, name)) kafka_conn_close(c);
    }
}

static void options_fill(struct kafka_door_options *o)
{
    if (o->idle_ms <= 0) o->idle_ms = LIMIT_CONN_IDLE_MS;
    if (o->connections_max == 0) o->connections_max = LIMIT_CONNECTIONS_MAX;
    if (o->receive_bytes_max == 0) o->receive_bytes_max = LIMIT_RECEIVE_BYTES_MAX;
    if (o->held_bytes_max == 0) o->held_bytes_max = LIMIT_HELD_BYTES_MAX;
}

enum err_code kafka_door_open(struct kafka_door **out, struct broker *b, const struct kafka_door_options *o,
                              struct net_address *bound, struct err *e)
{
    const struct sys *sys = broker_sys(b);
    struct kafka_door *d = calloc(1, sizeof *d);
    enum err_code rc;

    *out = NULL;
    check(d != NULL);
    d->broker = b;
    d->sys = sys;
    d->options = *o;
    d->net = o->net != NULL ? o->net : sys->net;
    check(d->net != NULL);
    options_fill(&d->options);
    list_init(&d->starving);
    list_init(&d->conns);
    list_init(&d->spare);
    fetch_sessions_init(&d->fetch_sessions, sys);
    rc = d->net->listen(d->net, &o->listen, kafka_conn_accept, d, &d->listener, bound, e);
    if (rc != ERR_NONE) {
        fetch_sessions_deinit(&d->fetch_sessions);
        free(d);
        return err_wrap(e, rc, "opening the Kafka door");
    }
    d->auth_watch.user_gone = user_gone;
    auth_watch(b, &d->auth_watch);
    *out = d;
    return ERR_NONE;
}

/* What has not left by now does not leave any more. */
static void drain_fire(struct timer *t)
{
    struct kafka_door *d = CONTAINER_OF(t, struct kafka_door, drain_timer);

    if (list_is_empty(&d->conns)) {
        door_free(d);
        return;
    }
    for (struct list *link = d->conns.next; link != &d->conns; link = link->next)
        kafka_conn_close(CONTAINER_OF(link, struct kafka_conn, link));
}

void kafka_door_conn_gone(struct kafka_door *d)
{
    /* Not here and now: the caller may still look at the door. */
    if (d->is_closing && list_is_empty(&d->conns))
        d->sys->loop->timer_start(d->sys->loop, &d->drain_timer, d->sys->loop->now_ns(d->sys->loop));
}

void kafka_door_close(struct kafka_door *d, void (*done)(void *arg), void *arg)
{
    struct loop *loop = d->sys->loop;
    struct list *link, *next;

    check(!d->is_closing);
    d->is_closing = true;
    d->closed = done;
    d->closed_arg = arg;
    d->net->listener_close(d->net, d->listener);
    d->drain_timer.fire = drain_fire;
    loop->timer_start(loop, &d->drain_timer, loop->now_ns(loop) + KAFKA_DRAIN_MS * 1000000ull);
    for (link = d->conns.next; link != &d->conns; link = next) {
        next = link->next;
        kafka_conn_hurry(CONTAINER_OF(link, struct kafka_conn, link));
    }
    if (list_is_empty(&d->conns)) loop->timer_start(loop, &d->drain_timer, loop->now_ns(loop));
}

void kafka_door_stats(const struct kafka_door *d, struct kafka_door_stats *out)
{
    *out = d->stats;
    out->fetch_sessions = map_count(&d->fetch_sessions.by_id);
    out->fetch_session_partitions = d->fetch_sessions.n_parts;
    out->fetch_sessions_evicted_total = d->fetch_sessions.evicted_total;
    out->receive_bytes = d->receive_bytes + d->receive_step_bytes;
    out->held_bytes = d->held_bytes;
}

bool kafka_door_served(const struct kafka_door *d, uint32_t *pos, struct kafka_served *out)
{
    for (; *pos < KAFKA_MESSAGE_COUNT * KAFKA_VERSIONS_MAX; (*pos)++) {
        const struct wire_message *m = &kafka_messages[*pos / KAFKA_VERSIONS_MAX];
        int version = (int)(*pos % KAFKA_VERSIONS_MAX);
        uint64_t count = d->served[*pos / KAFKA_VERSIONS_MAX][version];

        if (count == 0) continue;
        *out = (struct kafka_served){m->name, count, m->key, version};
        (*pos)++;
        return true;
    }
    return false;
}
