/* server.h: the server: one shard (loop, broker, doors) and the SQL worker. Runs on the calling thread. */
#ifndef WEIR_APP_SERVER_H
#define WEIR_APP_SERVER_H

#include "broker/broker.h"
#include "sys/sys.h"

struct server_options {
    struct broker_options broker;
    bool kafka_on, http_on;
    struct net_address kafka, http;
    struct net_address kafka_advertise;                       /* host empty: what the client connected to */
    bool kafka_login, kafka_plain_unencrypted;                /* as kafka_door_options' sasl and plain_unencrypted */
    int64_t kafka_login_lifetime_ms;                          /* 0: for ever */
    int64_t kafka_idle_ms;                                    /* 0: the default, as the next two */
    uint32_t kafka_connections_max, kafka_connections_per_ip; /* per listener */
    enum diag_level log_level;
    int64_t commit_interval_ms;
    /* Called once everything accepts; addresses are the bound ones. Runs on the loop. */
    void (*ready)(void *arg, const struct server_options *o, const struct net_address *kafka,
                  const struct net_address *http);
    void *ready_arg;
    bool no_signals; /* leave SIGTERM and SIGINT alone; only server_stop ends it */
};
struct server;
/* Opens everything. On failure nothing is left behind. */
MUST_USE enum err_code server_create(struct server **out, const struct server_options *o, struct err *e);
/* Runs until SIGTERM, SIGINT or server_stop, then closes everything in order. Frees the server. */
MUST_USE enum err_code server_run(struct server *s, struct err *e);
/* Any thread, while server_run runs. */
void server_stop(struct server *s);

#endif
