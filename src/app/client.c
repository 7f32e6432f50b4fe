/* client.c: see client.h. */
#include "app/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/civil.h"
#include "base/limits.h"
#include "base/text.h"

struct local_server {
    struct server *server;
    struct os_thread *thread;
    struct net_address kafka;
    /* Protects `ready`: the starting thread waits for the server's loop to say it. */
    pthread_mutex_t lock;
    pthread_cond_t said;
    bool ready;
};

static void on_ready(void *arg, const struct server_options *o, const struct net_address *kafka,
                     const struct net_address *http)
{
    struct local_server *l = arg;
    (void)o;
    (void)http;
    pthread_mutex_lock(&l->lock);
    l->kafka = *kafka;
    l->ready = true;
    pthread_cond_signal(&l->said);
    pthread_mutex_unlock(&l->lock);
}

static void run(void *arg)
{
    struct local_server *l = arg;
    enum err_code rc = server_run(l->server, NULL);
    check(rc == ERR_NONE);
}

enum err_code local_server_start(struct local_server **out, const char *data_dir, struct net_address *kafka,
                                 struct err *e)
{
    struct local_server *l = calloc(1, sizeof *l);
    struct server_options o = {.broker = {.data_dir = data_dir, .group_initial_delay_ms = -1, .retention_ms = -1},
                               .kafka_on = true,
                               .log_level = DIAG_WARN,
                               .no_signals = true,
                               .ready = on_ready,
                               .ready_arg = l};
    enum err_code rc;
    *out = NULL;
    if (l == NULL) return err_set(e, ERR_MEMORY, "opening %s: out of memory", data_dir);
    snprintf(o.kafka.host, sizeof o.kafka.host, "127.0.0.1");
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->said, NULL);
    rc = server_create(&l->server, &o, e);
    if (rc == ERR_NONE) rc = os_thread_start(&l->thread, run, l, e);
    if (rc != ERR_NONE) {
        free(l);
        return rc;
    }
    pthread_mutex_lock(&l->lock);
    while (!l->ready)
        pthread_cond_wait(&l->said, &l->lock);
    pthread_mutex_unlock(&l->lock);
    *kafka = l->kafka;
    *out = l;
    return ERR_NONE;
}

void local_server_stop(struct local_server *l)
{
    if (l == NULL) return;
    server_stop(l->server);
    os_thread_join(l->thread);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->said);
    free(l);
}

enum err_code client_open(struct client *c, struct cli *cli, struct err *e)
{
    struct kclient_options o = {.bootstrap = cli_get(cli, "broker"), .client_id = "weir-cli"};
    struct net_address kafka;
    char address[96];
    enum err_code rc = ERR_NONE;

    memset(c, 0, sizeof *c);
    if (cli_get(cli, "data") != NULL) {
        rc = local_server_start(&c->local, cli_get(cli, "data"), &kafka, e);
        if (rc != ERR_NONE) return rc;
        snprintf(address, sizeof address, "%s:%u", kafka.host, (unsigned)kafka.port);
        o.bootstrap = address;
    }
    rc = kclient_open(&c->k, &o, e);
    if (rc != ERR_NONE) {
        local_server_stop(c->local);
        if (c->local == NULL)
            err_hint(e, "start one with `weir dev`, or name another with --broker, or open a directory with --data");
        return rc;
    }
    arena_init(&c->arena, 0);
    return ERR_NONE;
}

void client_close(struct client *c)
{
    kclient_close(c->k);
    arena_deinit(&c->arena);
    local_server_stop(c->local);
}

bool client_parse_time(struct bytes text, int64_t now_ms, int64_t *ms)
{
    int64_t us;
    if (text.len > 1 && text.ptr[0] == '-') {
        int64_t age;
        if (!text_parse_duration_ms(bytes_slice(text, 1, text.len - 1), &age)) return false;
        *ms = now_ms - age;
        return true;
    }
    if (text_parse_i64(text, ms)) return true;
    if (!civil_parse_us(text, &us)) return false;
    *ms = us / 1000;
    return true;
}

static void put_name(struct buf *out, const char *name)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{') buf_put_u8(out, ',');
    text_put_json_string(out, bytes_str(name));
    buf_put_u8(out, ':');
}

void json_member(struct buf *out, const char *name, struct bytes value)
{
    put_name(out, name);
    if (bytes_is_null(value))
        buf_put_str(out, "null");
    else
        text_put_json_string(out, value);
}

void json_member_i64(struct buf *out, const char *name, int64_t value)
{
    put_name(out, name);
    buf_printf(out, "%lld", (long long)value);
}

void json_print_line(struct buf *b)
{
    buf_put_str(b, "}\n");
    fwrite(b->ptr, 1, b->len, stdout);
    buf_deinit(b);
}
