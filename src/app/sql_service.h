/* sql_service.h: runs the SQL engine on a thread of its own, so that a heavy query never delays an ack, and hands
 * results to the shard as text. Thread: the shard, for every call here and every callback. */
#ifndef WEIR_APP_SQL_SERVICE_H
#define WEIR_APP_SQL_SERVICE_H

#include "broker/broker.h"
#include "flow/engine.h"

struct sql_service;
struct sql_service_options {
    int64_t commit_interval_ms; /* 0: the engine's default */
    int32_t default_partitions;
};
/* Starts the worker thread and, on it, the flows that are defined. */
MUST_USE enum err_code sql_service_start(struct sql_service **out, struct broker *b,
                                         const struct sql_service_options *o, struct err *e);
/* Ends scripts and flows; done runs on the loop when the thread is gone, then the service is freed. */
void sql_service_stop(struct sql_service *s, void (*done)(void *arg), void *arg);

enum sql_format {
    SQL_FORMAT_ROWS,   /* each row a JSON object in a line; an error after rows is a last line {"error":{..}} */
    SQL_FORMAT_EVENTS, /* lines {"columns":[..]}, {"row":{..},"change":1}, {"message":".."}, {"error":{..}} in order */
};
struct sql_client {
    /* Output is there. Whole lines, borrowed. Return false to stop the flow until sql_request_resume. */
    bool (*output)(struct sql_client *c, struct bytes lines);
    /* The last call. failed_early: nothing was output and `error` (a JSON object text) says why. */
    void (*done)(struct sql_client *c, bool failed, struct bytes error_json);
};
struct sql_request;
/* NULL: LIMIT_SQL_REQUESTS_MAX are under way; nothing was called and nothing will be. */
struct sql_request *sql_service_execute(struct sql_service *s, struct bytes text, enum sql_format format,
                                        struct sql_client *c);
void sql_request_resume(struct sql_request *r);
void sql_request_cancel(struct sql_request *r); /* no more calls; r is gone */

/* Figures of the flows, as Prometheus text; fn runs on the loop. */
void sql_service_metrics(struct sql_service *s, void (*fn)(void *arg, struct bytes text), void *arg);

#endif
