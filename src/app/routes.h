/* routes.h: what the server offers over HTTP: POST /v1/sql, /livez, /readyz, /metrics. Thread: the shard. */
#ifndef WEIR_APP_ROUTES_H
#define WEIR_APP_ROUTES_H

#include "app/sql_service.h"
#include "door/http/http.h"
#include "door/kafka/kafka.h"

struct routes {
    struct broker *broker;
    struct kafka_door *kafka; /* NULL: off */
    struct sql_service *sql;
    uint64_t started_ns;
    bool ready; /* false while stopping */
};
/* `r` is borrowed and outlives the door. */
void routes_register(struct routes *r, struct http_door *d);

#endif
