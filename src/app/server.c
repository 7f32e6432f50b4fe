/* server.c: composition of the server.
 *
 *   create: loop, net, broker (recovers), SQL worker, Kafka door, HTTP door ──▶ ready
 *   stop:   doors close (nothing new comes in) ──▶ SQL worker ends ──▶ broker syncs and checkpoints ──▶ loop ends
 *
 * The order of stopping matters: the worker calls into the shard's loop while it ends, so the loop runs until the
 * worker is gone; the broker goes last because everything stands on it. */
#include "app/server.h"

#include <stdlib.h>
#include <string.h>

#include "app/routes.h"
#include "app/sql_service.h"
#include "base/limits.h"
#include "door/http/http.h"
#include "door/kafka/kafka.h"
#include "sys/os.h"

struct server {
    struct server_options options;
    struct sys sys;
    struct broker *broker;
    struct sql_service *sql;
    struct kafka_door *kafka;
    struct http_door *http;
    struct routes routes;
    struct net_address kafka_bound, http_bound;
    struct task stop_task, ready_task;
    int doors_open;
    bool stopping;
};

static void on_sql_stopped(void *arg)
{
    struct server *s = arg;
    s->sql = NULL;
    s->sys.loop->stop(s->sys.loop);
}

static void doors_closed(struct server *s)
{
    if (s->doors_open > 0) return;
    if (s->sql != NULL)
        sql_service_stop(s->sql, on_sql_stopped, s);
    else
        s->sys.loop->stop(s->sys.loop);
}

static void on_door_closed(void *arg)
{
    struct server *s = arg;
    s->doors_open--;
    doors_closed(s);
}

static void stop(struct server *s)
{
    struct kafka_door *kafka = s->kafka;
    struct http_door *http = s->http;
    if (s->stopping) return;
    s->stopping = true;
    s->routes.ready = false;
    s->routes.kafka = NULL;
    s->kafka = NULL;
    s->http = NULL;
    s->doors_open = (kafka != NULL) + (http != NULL);
    if (kafka != NULL) kafka_door_close(kafka, on_door_closed, s);
    if (http != NULL) http_door_close(http, on_door_closed, s);
    if (kafka == NULL && http == NULL) doors_closed(s);
}

static void on_stop_task(struct task *t)
{
    stop(CONTAINER_OF(t, struct server, stop_task));
}

static void on_signal(void *arg, int signo)
{
    (void)signo;
    stop(arg);
}

static void on_ready(struct task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, ready_task);
    if (s->stopping || s->options.ready == NULL) return;
    s->options.ready(s->options.ready_arg, &s->options, s->options.kafka_on ? &s->kafka_bound : NULL,
                     s->options.http_on ? &s->http_bound : NULL);
}

static enum err_code open_doors(struct server *s, struct err *e)
{
    enum err_code rc = ERR_NONE;
    if (s->options.kafka_on) {
        struct kafka_door_options o = {.listen = s->options.kafka,
                                       .advertise = s->options.kafka_advertise,
                                       .node_id = 1,
                                       .sasl = s->options.kafka_login,
                                       .plain_unencrypted = s->options.kafka_plain_unencrypted,
                                       .login_lifetime_ms = s->options.kafka_login_lifetime_ms,
                                       .idle_ms = s->options.kafka_idle_ms,
                                       .connections_max = s->options.kafka_connections_max,
                                       .connections_per_ip_max = s->options.kafka_connections_per_ip};
        rc = kafka_door_open(&s->kafka, s->broker, &o, &s->kafka_bound, e);
    }
    if (rc == ERR_NONE && s->options.http_on)
        rc = http_door_open(&s->http, &s->sys, &s->options.http, &s->http_bound, e);
    s->routes = (struct routes){.broker = s->broker,
                                .kafka = s->kafka,
                                .sql = s->sql,
                                .ready = true,
                                .started_ns = s->sys.clock->mono_ns(s->sys.clock)};
    if (rc == ERR_NONE && s->http != NULL) routes_register(&s->routes, s->http);
    return rc;
}

static void server_free(struct server *s)
{
    if (s->broker != NULL) {
        broker_close(s->broker);
        /* What the broker left with the loop (a finished sync, a posted turn) ends and frees itself. */
        s->sys.loop->run(s->sys.loop, LOOP_ONCE_NOWAIT);
    }
    if (s->sys.loop)
        (void)s->sys.loop->run(s->sys.loop, LOOP_ONCE_NOWAIT); /* what the broker still had there frees itself */
    if (s->sys.net) os_net_destroy(s->sys.net);
    if (s->sys.loop) os_loop_destroy(s->sys.loop);
    if (s->sys.diag) os_diag_destroy(s->sys.diag);
    free(s);
}

enum err_code server_create(struct server **out, const struct server_options *o, struct err *e)
{
    struct server *s = calloc(1, sizeof *s);
    enum err_code rc;
    *out = NULL;
    if (s == NULL) return err_set(e, ERR_MEMORY, "starting the server: out of memory");
    s->options = *o;
    s->options.broker.spare_bytes = LIMIT_SPARE_BYTES;
    s->stop_task.run = on_stop_task;
    s->ready_task.run = on_ready;
    s->sys.clock = os_clock();
    s->sys.rng = os_rng();
    s->sys.fs = os_fs();
    s->sys.diag = os_diag_create(2, o->log_level);
    os_fs_catch_bus_errors();
    rc = os_loop_create(&s->sys.loop, e);
    if (rc == ERR_NONE) rc = os_net_create(&s->sys.net, s->sys.loop, e);
    if (rc == ERR_NONE) rc = broker_open(&s->broker, &s->sys, &s->options.broker, e);
    if (rc == ERR_NONE) {
        struct sql_service_options q = {.commit_interval_ms = o->commit_interval_ms,
                                        .default_partitions = o->broker.default_partitions};
        rc = sql_service_start(&s->sql, s->broker, &q, e);
    }
    if (rc == ERR_NONE) rc = open_doors(s, e);
    if (rc != ERR_NONE) {
        /* What is open closes the ordinary way: the loop runs until the worker and the doors are gone. */
        if (s->sql != NULL || s->kafka != NULL || s->http != NULL) {
            s->sys.loop->post(s->sys.loop, &s->stop_task);
            s->sys.loop->run(s->sys.loop, LOOP_RUN);
        }
        server_free(s);
        return rc;
    }
    *out = s;
    return ERR_NONE;
}

enum err_code server_run(struct server *s, struct err *e)
{
    (void)e;
    if (!s->options.no_signals) os_loop_on_signal(s->sys.loop, on_signal, s);
    s->sys.loop->post(s->sys.loop, &s->ready_task);
    s->sys.loop->run(s->sys.loop, LOOP_RUN);
    server_free(s);
    return ERR_NONE;
}

void server_stop(struct server *s)
{
    s->sys.loop->post(s->sys.loop, &s->stop_task);
}
