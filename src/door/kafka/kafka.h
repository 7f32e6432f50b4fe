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
};
MUST_USE enum err_code kafka_door_open(struct kafka_door **out, struct broker *b, const struct kafka_door_options *o,
                                       struct net_address *bound, struct err *e);
/* Stops accepting, answers what is parked with its protocol's error, closes every connection; done runs on the loop
 * when all are gone and frees the door. */
void kafka_door_close(struct kafka_door *d, void (*done)(void *arg), void *arg);

struct kafka_door_stats {
    uint64_t connections_total, requests_total, request_errors_total, bytes_in, bytes_out;
    uint32_t connections, fetch_sessions, fetch_session_partitions;
    uint64_t fetch_sessions_evicted_total;
};
void kafka_door_stats(const struct kafka_door *d, struct kafka_door_stats *out);

#endif
