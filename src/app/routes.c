/* routes.c: see routes.h. Metric names follow Prometheus' rules: base units, _total for counters, low cardinality. */
#include "app/routes.h"

#include "broker/auth.h"
#include "broker/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPLY_BYTES_MAX (1u << 20) /* output waiting for a slow reader; the query pauses above */

/* ---- POST /v1/sql ---- */

struct sql_call {
    struct sql_client client;
    struct sql_request *request; /* NULL once done */
    struct http_reply *reply;
    bool begun;
};

static void begin_rows(struct sql_call *c)
{
    if (c->begun) return;
    c->begun = true;
    http_reply_begin(c->reply, 200, "application/x-ndjson");
}

static bool on_output(struct sql_client *client, struct bytes lines)
{
    struct sql_call *c = CONTAINER_OF(client, struct sql_call, client);
    begin_rows(c);
    http_reply_write(c->reply, lines);
    return http_reply_queued(c->reply) < REPLY_BYTES_MAX;
}

static void on_done(struct sql_client *client, bool failed, struct bytes error_json)
{
    struct sql_call *c = CONTAINER_OF(client, struct sql_call, client);
    if (failed && !c->begun) {
        http_reply_send(c->reply, 400, "application/json", error_json);
    } else {
        begin_rows(c);
        http_reply_end(c->reply);
    }
    free(c);
}

static void on_client_gone(void *arg)
{
    struct sql_call *c = arg;
    sql_request_cancel(c->request);
    free(c);
}

static void on_client_drained(void *arg)
{
    struct sql_call *c = arg;
    sql_request_resume(c->request);
}

/* Nobody logs in here: once rights exist, a statement would be a way around them. */
static bool sql_is_refused(const struct routes *r, struct http_reply *reply)
{
    if (!auth_is_on(r->broker)) return false;
    http_reply_error(reply, 403, "denied", "this server has users, and SQL over HTTP has no login", NULL);
    return true;
}

static void route_sql(void *arg, const struct http_request *q, struct http_reply *reply)
{
    struct routes *r = arg;
    struct sql_call *c;
    bool events;

    if (q->body.len == 0) {
        http_reply_error(reply, 400, "empty", "the request has no body", "send the SQL text as the body of the POST");
        return;
    }
    if (!r->ready) {
        http_reply_error(reply, 503, "stopping", "the server is stopping", NULL);
        return;
    }
    if (sql_is_refused(r, reply)) return;
    events = bytes_equal(q->query, BYTES_LIT("format=events"));
    c = calloc(1, sizeof *c);
    check(c != NULL);
    c->client = (struct sql_client){on_output, on_done};
    c->reply = reply;
    http_reply_on_close(reply, on_client_gone, c);
    http_reply_on_drain(reply, on_client_drained, c);
    c->request = sql_service_execute(r->sql, q->body, events ? SQL_FORMAT_EVENTS : SQL_FORMAT_ROWS, &c->client);
    if (c->request != NULL) return;
    http_reply_error(reply, 503, "busy", "as many statements are running as this server takes at once",
                     "end a continuous query that nobody reads");
    free(c);
}

/* ---- health ---- */

static void route_livez(void *arg, const struct http_request *q, struct http_reply *reply)
{
    (void)arg;
    (void)q;
    http_reply_send(reply, 200, "text/plain; charset=utf-8", BYTES_LIT("ok\n"));
}

static void route_readyz(void *arg, const struct http_request *q, struct http_reply *reply)
{
    struct routes *r = arg;
    struct broker_stats st;
    char text[160];
    (void)q;
    broker_stats(r->broker, &st);
    if (!r->ready) {
        http_reply_error(reply, 503, "stopping", "the server is stopping", NULL);
    } else if (st.partitions_stopped > 0) {
        snprintf(text, sizeof text, "%u partition(s) have stopped after a disk error", st.partitions_stopped);
        http_reply_error(reply, 503, "stopped", text, "see the log; restart after the disk is repaired");
    } else if (st.disk_full) {
        http_reply_error(reply, 503, "disk_full", "the disk is full: reads go on, writes are refused",
                         "free some space");
    } else {
        http_reply_send(reply, 200, "text/plain; charset=utf-8", BYTES_LIT("ready\n"));
    }
}

/* ---- metrics ---- */

static void put_metric(struct buf *o, const char *name, const char *type, const char *help, double value)
{
    buf_printf(o, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static void put_kafka_requests(struct buf *o, const struct kafka_door *d)
{
    struct kafka_served s;
    buf_put_str(o, "# HELP weir_kafka_api_requests_total Kafka requests served, by request and version.\n"
                   "# TYPE weir_kafka_api_requests_total counter\n");
    for (uint32_t pos = 0; kafka_door_served(d, &pos, &s);)
        buf_printf(o, "weir_kafka_api_requests_total{key=\"%d\",request=\"%s\",version=\"%d\"} %llu\n", s.key, s.name,
                   s.version, (unsigned long long)s.count);
}

static void put_partition_offsets(struct buf *o, struct broker *b)
{
    struct topic *t;
    buf_put_str(o, "# HELP weir_topic_partition_end_offset First offset that is not yet visible to consumers.\n"
                   "# TYPE weir_topic_partition_end_offset gauge\n");
    for (uint32_t pos = 0; (t = topic_next(b, &pos)) != NULL;) {
        if (topic_is_internal(t)) continue;
        for (int32_t i = 0; i < topic_partition_count(t); i++)
            buf_printf(o, "weir_topic_partition_end_offset{topic=\"%.*s\",partition=\"%d\"} %lld\n",
                       BYTES_ARG(topic_name(t)), (int)i, (long long)partition_high_watermark(topic_partition(t, i)));
    }
}

static void put_compaction(struct buf *o, struct broker *b, const struct broker_stats *st)
{
    uint64_t clean = 0, dirty = 0;
    unsigned blocked = 0;
    struct topic *t;

    for (uint32_t pos = 0; (t = topic_next(b, &pos)) != NULL;) {
        for (int32_t i = 0; topic_config(t)->compact && !topic_is_internal(t) && i < topic_partition_count(t); i++) {
            struct partition_cleaning c;
            partition_cleaning(topic_partition(t, i), &c);
            clean += c.clean_bytes;
            dirty += c.dirty_bytes;
            blocked += c.is_blocked;
        }
    }
    put_metric(o, "weir_compaction_clean_bytes", "gauge", "Bytes of compacted topics that were cleaned.",
               (double)clean);
    put_metric(o, "weir_compaction_dirty_bytes", "gauge", "Bytes of compacted topics that may be cleaned.",
               (double)dirty);
    put_metric(o, "weir_compaction_blocked_partitions", "gauge",
               "Partitions that are not cleaned until a restart: damaged, or a cleaning failed on the disk.", blocked);
    put_metric(o, "weir_compaction_running", "gauge", "1 while a partition is being cleaned.", st->is_cleaning);
    put_metric(o, "weir_compactions_total", "counter", "Cleanings that ended.", (double)st->cleanings);
    put_metric(o, "weir_compactions_failed_total", "counter", "Cleanings that failed.", (double)st->cleanings_failed);
    put_metric(o, "weir_compaction_read_bytes_total", "counter", "Log bytes that cleanings have looked at.",
               (double)st->cleaned_bytes);
    put_metric(o, "weir_compaction_freed_bytes_total", "counter", "Log bytes that cleanings have freed.",
               (double)st->cleaned_bytes_freed);
    put_metric(o, "weir_compaction_records_removed_total", "counter", "Records that cleanings have taken out.",
               (double)st->cleaned_records);
}

static double resident_bytes(struct broker *b)
{
    const struct sys *sys = broker_sys(b);
    struct file *f;
    char text[128];
    size_t n = 0;
    long size = 0, resident = 0;
    if (sys->fs->open(sys->fs, "/proc/self/statm", FS_READ, &f, NULL) != ERR_NONE) return 0;
    if (sys->fs->pread(sys->fs, f, text, sizeof text - 1, 0, &n, NULL) != ERR_NONE) n = 0;
    sys->fs->close(sys->fs, f);
    text[n] = 0;
    if (sscanf(text, "%ld %ld", &size, &resident) != 2) return 0;
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void put_quota_metrics(struct buf *o, struct broker *b)
{
    struct quota_stats q;

    quota_stats(b, &q);
    put_metric(o, "weir_quotas", "gauge", "Rules of quotas.", q.rules);
    buf_put_str(o, "# HELP weir_quota_throttled_total Answers that told a client to wait.\n"
                   "# TYPE weir_quota_throttled_total counter\n");
    for (int i = 0; i < QUOTA_KINDS; i++)
        buf_printf(o, "weir_quota_throttled_total{quota=\"%s\"} %llu\n", quota_kind_name((enum quota_kind)i),
                   (unsigned long long)q.throttled[i]);
    buf_put_str(o, "# HELP weir_quota_throttled_seconds_total For how long.\n"
                   "# TYPE weir_quota_throttled_seconds_total counter\n");
    for (int i = 0; i < QUOTA_KINDS; i++)
        buf_printf(o, "weir_quota_throttled_seconds_total{quota=\"%s\"} %.3f\n", quota_kind_name((enum quota_kind)i),
                   (double)q.throttled_ms[i] / 1000);
}

static void put_broker_metrics(struct buf *o, struct routes *r)
{
    struct broker_stats st;
    const struct sys *sys = broker_sys(r->broker);
    broker_stats(r->broker, &st);
    put_metric(o, "weir_uptime_seconds", "gauge", "Time since the server became ready.",
               (double)(sys->clock->mono_ns(sys->clock) - r->started_ns) / 1e9);
    put_metric(o, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes(r->broker));
    put_metric(o, "weir_durability_sync", "gauge", "1 when acks wait for the disk.",
               broker_options(r->broker)->durability == DURABILITY_SYNC);
    put_metric(o, "weir_log_batches_appended_total", "counter", "Record batches appended.", (double)st.batches_in);
    put_metric(o, "weir_log_records_appended_total", "counter", "Records appended.", (double)st.records_in);
    put_metric(o, "weir_log_appended_bytes_total", "counter", "Bytes appended.", (double)st.bytes_in);
    put_metric(o, "weir_log_read_bytes_total", "counter", "Log bytes sent to consumers.", (double)st.bytes_out);
    put_metric(o, "weir_log_duplicate_batches_total", "counter",
               "Batches recognised as retries of an idempotent producer.", (double)st.duplicates);
    put_metric(o, "weir_log_appends_failed_total", "counter", "Appends refused or failed.", (double)st.appends_failed);
    put_metric(o, "weir_log_syncs_total", "counter", "Group commits (fdatasync rounds).", (double)st.syncs);
    put_metric(o, "weir_log_sync_seconds_total", "counter", "Time spent in group commits.",
               (double)st.sync_ns_total / 1e9);
    put_metric(o, "weir_topics", "gauge", "Topics, internal ones included.", st.n_topics);
    put_metric(o, "weir_partitions", "gauge", "Partitions, internal ones included.", st.n_partitions);
    put_metric(o, "weir_partitions_stopped", "gauge", "Partitions that take no writes after a disk error.",
               st.partitions_stopped);
    put_metric(o, "weir_scrub_bytes_total", "counter", "Bytes of old segments read in search of rot.",
               (double)st.scrub_bytes);
    put_metric(o, "weir_scrub_rounds_total", "counter", "Times that all old segments were looked through.",
               (double)st.scrub_rounds);
    put_metric(o, "weir_scrub_damages_total", "counter", "Damaged or unreadable segments found so.",
               (double)st.scrub_damages);
    put_metric(o, "weir_consumer_groups", "gauge", "Consumer groups.", st.n_groups);
    put_metric(o, "weir_disk_full", "gauge", "1 while writes are refused for lack of space.", st.disk_full);
    put_compaction(o, r->broker, &st);
    if (r->kafka != NULL) {
        struct kafka_door_stats k;
        kafka_door_stats(r->kafka, &k);
        put_metric(o, "weir_kafka_connections", "gauge", "Open Kafka connections.", k.connections);
        put_metric(o, "weir_kafka_connections_total", "counter", "Kafka connections accepted.",
                   (double)k.connections_total);
        put_metric(o, "weir_kafka_requests_total", "counter", "Kafka requests served.", (double)k.requests_total);
        put_metric(o, "weir_kafka_request_errors_total", "counter", "Kafka requests refused or malformed.",
                   (double)k.request_errors_total);
        put_metric(o, "weir_kafka_received_bytes_total", "counter", "Bytes received from Kafka clients.",
                   (double)k.bytes_in);
        put_metric(o, "weir_kafka_connections_refused_total", "counter",
                   "Kafka connections over a limit of their number.", (double)k.connections_refused);
        put_metric(o, "weir_kafka_connections_idle_total", "counter",
                   "Kafka connections closed because nothing moved, or a request did not get on.",
                   (double)k.connections_idle);
        put_metric(o, "weir_kafka_connections_shed_total", "counter",
                   "Kafka connections closed because their answers held the most memory.", (double)k.connections_shed);
        put_metric(o, "weir_kafka_receive_buffer_bytes", "gauge", "Memory of requests that are arriving.",
                   (double)k.receive_bytes);
        put_metric(o, "weir_kafka_held_bytes", "gauge", "Memory of large requests and answers that have not left.",
                   (double)k.held_bytes);
        put_metric(o, "weir_kafka_sent_bytes_total", "counter", "Bytes sent to Kafka clients.", (double)k.bytes_out);
        put_metric(o, "weir_kafka_fetch_sessions", "gauge", "Fetch sessions.", k.fetch_sessions);
        put_metric(o, "weir_kafka_fetch_session_partitions", "gauge", "Partitions that fetch sessions follow.",
                   k.fetch_session_partitions);
        put_metric(o, "weir_kafka_fetch_sessions_evicted_total", "counter", "Fetch sessions that lost their slot.",
                   (double)k.fetch_sessions_evicted_total);
        put_kafka_requests(o, r->kafka);
    }
    put_quota_metrics(o, r->broker);
    put_partition_offsets(o, r->broker);
}

struct metrics_call {
    struct routes *routes;
    struct http_reply *reply; /* NULL: the client went away meanwhile */
};

static void on_metrics_client_gone(void *arg)
{
    ((struct metrics_call *)arg)->reply = NULL;
}

static void on_flow_metrics(void *arg, struct bytes flows)
{
    struct metrics_call *c = arg;
    struct buf out;
    if (c->reply != NULL) {
        buf_init(&out, 0);
        put_broker_metrics(&out, c->routes);
        buf_put_bytes(&out, flows);
        http_reply_send(c->reply, 200, "text/plain; version=0.0.4; charset=utf-8", buf_bytes(&out));
        buf_deinit(&out);
    }
    free(c);
}

static void route_metrics(void *arg, const struct http_request *q, struct http_reply *reply)
{
    struct routes *r = arg;
    struct metrics_call *c = calloc(1, sizeof *c);
    (void)q;
    check(c != NULL);
    c->routes = r;
    c->reply = reply;
    http_reply_on_close(reply, on_metrics_client_gone, c);
    sql_service_metrics(r->sql, on_flow_metrics, c);
}

void routes_register(struct routes *r, struct http_door *d)
{
    http_door_route(d, "POST", "/v1/sql", route_sql, r);
    http_door_route(d, "GET", "/livez", route_livez, r);
    http_door_route(d, "GET", "/readyz", route_readyz, r);
    http_door_route(d, "GET", "/v1/status/ready", route_readyz, r);
    http_door_route(d, "GET", "/metrics", route_metrics, r);
}
