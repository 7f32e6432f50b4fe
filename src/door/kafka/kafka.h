/* kafka.h: the Kafka door: a listener whose connections speak Kafka's wire protocol to one broker. One file per request
 * or class; messages.txt describes the messages, tools/gen_kafka.py makes the codec at build time. Thread: the shard.
 */
#ifndef WEIR_DOOR_KAFKA_KAFKA_H
#define WEIR_DOOR_KAFKA_KAFKA_H

#include "broker/broker.h"
#include "broker/group.h"

struct kafka_door;
/* One door for each listener. */
struct kafka_door_options {
    struct net *net; /* borrowed; NULL: the broker's own, plain TCP */
    struct net_address listen;
    struct net_address advertise; /* host empty: the address each client connected to */
    int32_t node_id;
    int64_t idle_ms;                 /* no byte in either direction for so long: closed. 0: LIMIT_CONN_IDLE_MS */
    uint32_t connections_max;        /* 0: LIMIT_CONNECTIONS_MAX */
    uint32_t connections_per_ip_max; /* 0: as many as of all addresses */
    size_t receive_bytes_max;        /* 0: LIMIT_RECEIVE_BYTES_MAX */
    size_t held_bytes_max;           /* 0: LIMIT_HELD_BYTES_MAX */
    bool sasl;                       /* a login is required */
    bool plain_unencrypted;          /* PLAIN also without TLS: for loopback and tests */
    int64_t login_lifetime_ms;       /* re-authentication is due after it; 0: never */
};
MUST_USE enum err_code kafka_door_open(struct kafka_door **out, struct broker *b, const struct kafka_door_options *o,
                                       struct net_address *bound, struct err *e);
/* Stops accepting, answers what is parked with its protocol's error, closes every connection; done runs on the loop
 * when all are gone and frees the door. */
void kafka_door_close(struct kafka_door *d, void (*done)(void *arg), void *arg);

struct kafka_door_stats {
    uint64_t connections_refused, connections_idle, connections_shed; /* at a limit; closed: idle or slow; for memory */
    uint64_t receive_bytes, held_bytes;                               /* now */
    uint64_t connections_total, requests_total, request_errors_total, bytes_in, bytes_out;
    uint32_t connections, fetch_sessions, fetch_session_partitions;
    uint64_t fetch_sessions_evicted_total;
};
/* Requests served, by message and version; pos from 0, false at the end. */
struct kafka_served {
    const char *name;
    uint64_t count;
    int16_t key;
    int version;
};
bool kafka_door_served(const struct kafka_door *d, uint32_t *pos, struct kafka_served *out);
void kafka_door_stats(const struct kafka_door *d, struct kafka_door_stats *out);

#endif
