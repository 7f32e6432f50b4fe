/* cmd_serve.c: `weir serve` and `weir dev`.
 *
 * The ready line of serve is a fixed point that scripts rely on: "ready kafka=HOST:PORT http=HOST:PORT" on standard
 * output, doors that are off left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli.h"
#include "app/server.h"
#include "base/limits.h"
#include "base/text.h"

static void put_address(char *out, size_t cap, const struct net_address *a)
{
    snprintf(out, cap, strchr(a->host, ':') ? "[%s]:%u" : "%s:%u", a->host, (unsigned)a->port);
}

static void on_ready(void *arg, const struct server_options *o, const struct net_address *kafka,
                     const struct net_address *http)
{
    char k[96], h[96];
    (void)arg;
    (void)o;
    printf("ready");
    if (kafka != NULL) {
        put_address(k, sizeof k, kafka);
        printf(" kafka=%s", k);
    }
    if (http != NULL) {
        put_address(h, sizeof h, http);
        printf(" http=%s", h);
    }
    printf("\n");
    fflush(stdout);
}

static void on_dev_ready(void *arg, const struct server_options *o, const struct net_address *kafka,
                         const struct net_address *http)
{
    char k[96], h[96];
    on_ready(arg, o, kafka, http);
    put_address(k, sizeof k, kafka);
    put_address(h, sizeof h, http);
    printf("\nweir %s, data in %s\n"
           "  Kafka    %s      any Kafka client; try: echo hello | kcat -P -b %s -t greetings\n"
           "  SQL      http://%s      weir sql --server http://%s\n"
           "  Metrics  http://%s/metrics\n"
           "Stop with Ctrl-C.\n",
           WEIR_VERSION, o->broker.data_dir, k, k, h, h, h);
    fflush(stdout);
}

static bool is_loopback(const struct net_address *a)
{
    return strncmp(a->host, "127.", 4) == 0 || strcmp(a->host, "localhost") == 0 || strcmp(a->host, "::1") == 0;
}

static enum err_code read_durability(struct cli *c, struct broker_options *o, struct err *e)
{
    const char *v = cli_get(c, "durability");
    if (strcmp(v, "sync") == 0) {
        o->durability = DURABILITY_SYNC;
        return ERR_NONE;
    }
    if (strcmp(v, "os") == 0) {
        o->durability = DURABILITY_OS;
        return ERR_NONE;
    }
    if (strncmp(v, "interval:", 9) == 0 && text_parse_duration_ms(bytes_str(v + 9), &o->interval_ms) &&
        o->interval_ms > 0 && o->interval_ms <= 60000) {
        o->durability = DURABILITY_INTERVAL;
        return ERR_NONE;
    }
    err_set(e, ERR_INVALID, "--durability: \"%s\" is not one of sync, interval:MS (1 to 60000), os", v);
    return ERR_INVALID;
}

static enum diag_level read_log_level(struct cli *c, struct err *e, enum err_code *rc)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(cli_get(c, "log-level"), names[i]) == 0) return (enum diag_level)i;
    }
    *rc =
        err_set(e, ERR_INVALID, "--log-level: \"%s\" is not one of error, warn, info, debug", cli_get(c, "log-level"));
    return DIAG_INFO;
}

static enum err_code read_auto_create(struct cli *c, struct broker_options *o, struct err *e)
{
    const char *v = cli_get(c, "auto-create");
    o->no_auto_create = strcmp(v, "off") == 0;
    if (o->no_auto_create || strcmp(v, "on") == 0) return ERR_NONE;
    return err_set(e, ERR_INVALID, "--auto-create: \"%s\" is not on or off", v);
}

static enum err_code read_off_only(struct cli *c, const char *option, struct err *e)
{
    if (strcmp(cli_get(c, option), "off") == 0) return ERR_NONE;
    return err_set(e, ERR_UNSUPPORTED, "--%s: this door is not in this version; only off is accepted", option);
}

static enum err_code read_options(struct cli *c, struct server_options *o, struct err *e)
{
    enum err_code rc = read_durability(c, &o->broker, e);
    bool advertise;

    o->broker.data_dir = cli_get(c, "data");
    o->broker.default_partitions = (int32_t)cli_get_int(c, "partitions", 1, LIMIT_PARTITIONS_PER_TOPIC_MAX);
    o->broker.segment_bytes = cli_get_size(c, "segment-bytes");
    o->broker.retention_ms = cli_get_duration_ms(c, "retention");
    o->broker.retention_bytes =
        strcmp(cli_get(c, "retention-bytes"), "none") == 0 ? -1 : (int64_t)cli_get_size(c, "retention-bytes");
    o->broker.scrub_bytes_per_s = strcmp(cli_get(c, "scrub-rate"), "none") == 0 ? 0 : cli_get_size(c, "scrub-rate");
    o->broker.batch_bytes_max = (uint32_t)cli_get_size(c, "max-message-bytes");
    o->broker.group_initial_delay_ms = cli_get_duration_ms(c, "group-initial-delay");
    if (o->broker.group_initial_delay_ms == 0) o->broker.group_initial_delay_ms = -1;
    o->broker.consumer_session_ms = cli_get_duration_ms(c, "group-session");
    o->broker.consumer_heartbeat_ms = cli_get_duration_ms(c, "group-heartbeat");
    o->kafka_login = o->broker.login_required = cli_has(c, "login");
    o->kafka_plain_unencrypted = cli_has(c, "plain-without-tls");
    o->kafka_login_lifetime_ms = cli_get_duration_ms(c, "login-lifetime");
    if (o->kafka_login_lifetime_ms < 0) o->kafka_login_lifetime_ms = 0;
    o->broker.super_users = cli_get(c, "super-users");
    o->broker.allow_without_rules = cli_has(c, "allow-without-rules");
    o->kafka_idle_ms = cli_get_duration_ms(c, "idle-timeout");
    if (o->kafka_idle_ms <= 0) o->kafka_idle_ms = INT64_MAX / 2000000; /* none */
    o->kafka_connections_max = (uint32_t)cli_get_int(c, "max-connections", 1, LIMIT_CONNECTIONS_MAX);
    o->kafka_connections_per_ip = (uint32_t)cli_get_int(c, "max-connections-per-ip", 0, LIMIT_CONNECTIONS_MAX);
    cli_get_address(c, "kafka", &o->kafka, &o->kafka_on);
    cli_get_address(c, "http", &o->http, &o->http_on);
    cli_get_address(c, "kafka-advertise", &o->kafka_advertise, &advertise);
    if (rc == ERR_NONE) rc = read_off_only(c, "amqp", e);
    if (rc == ERR_NONE) rc = read_off_only(c, "registry", e);
    if (rc == ERR_NONE) rc = read_off_only(c, "kurrent", e);
    if (rc == ERR_NONE) rc = read_auto_create(c, &o->broker, e);
    if (rc != ERR_NONE) return rc;
    o->log_level = read_log_level(c, e, &rc);
    if (rc != ERR_NONE) return rc;
    if (o->broker.segment_bytes < LIMIT_SEGMENT_BYTES_MIN || o->broker.segment_bytes > LIMIT_SEGMENT_BYTES_MAX)
        return err_set(e, ERR_INVALID, "--segment-bytes must be from %u to %u", LIMIT_SEGMENT_BYTES_MIN,
                       LIMIT_SEGMENT_BYTES_MAX);
    if (((o->kafka_on && !is_loopback(&o->kafka)) || (o->http_on && !is_loopback(&o->http))) &&
        !cli_has(c, "insecure-i-know")) {
        rc = err_set(e, ERR_INVALID, "this version has no users and no TLS, so it listens on loopback addresses only");
        err_hint(e, "use 127.0.0.1, or --insecure-i-know inside a container or a network that you trust");
        return rc;
    }
    return ERR_NONE;
}

static int run_server(struct cli *c, struct server_options *o)
{
    struct err e = {0};
    struct server *s;
    enum err_code rc = server_create(&s, o, &e);
    if (rc == ERR_NONE) rc = server_run(s, &e);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(c, &e);
}

int cmd_serve(struct cli *c)
{
    struct server_options o = {.ready = on_ready};
    struct err e = {0};
    if (read_options(c, &o, &e) != ERR_NONE) return cli_fail(c, &e);
    return run_server(c, &o);
}

int cmd_dev(struct cli *c)
{
    struct server_options o = {.ready = on_dev_ready};
    struct err e = {0};
    if (read_options(c, &o, &e) != ERR_NONE) return cli_fail(c, &e);
    if (!o.kafka_on || !o.http_on)
        return cli_usage_error(c, "weir dev has its doors on; use weir serve to turn one off");
    return run_server(c, &o);
}
