/* amqp_load.c: load for RabbitMQ through librabbitmq.
 *
 *   amqp_load port=P [connections=1] [bytes=100] [records=100000] [window=1000]
 *
 * Publishes persistent messages to durable queues, one for each connection, with publisher confirms and at most `window` messages not
 * confirmed; then consumes all of them without acknowledgements. Prints `published`, waits for a line, and ends with one JSON
 * object. */
#include <amqp.h>
#include <amqp_tcp_socket.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECTIONS_MAX 64

struct settings {
    long port, connections, bytes, records, window;
};
struct link {
    const struct settings *s;
    pthread_t thread;
    int index;
    char queue[32];
    amqp_connection_state_t amqp;
};

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("amqp_load: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void must(struct link *l, const char *what)
{
    amqp_rpc_reply_t r = amqp_get_rpc_reply(l->amqp);

    if (r.reply_type != AMQP_RESPONSE_NORMAL)
        fail("%s: %s", what,
             r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ? amqp_error_string2(r.library_error) : "refused");
}

static void dial(struct link *l)
{
    amqp_socket_t *socket;
    amqp_rpc_reply_t r;

    (void)snprintf(l->queue, sizeof l->queue, "bench-%d", l->index);
    l->amqp = amqp_new_connection();
    socket = amqp_tcp_socket_new(l->amqp);
    if (socket == NULL || amqp_socket_open(socket, "127.0.0.1", (int)l->s->port) != 0) fail("cannot connect");
    r = amqp_login(l->amqp, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest");
    if (r.reply_type != AMQP_RESPONSE_NORMAL) fail("login refused");
    (void)amqp_channel_open(l->amqp, 1), must(l, "channel");
    (void)amqp_queue_declare(l->amqp, 1, amqp_cstring_bytes(l->queue), 0, 1, 0, 0, amqp_empty_table), must(l, "queue");
}

/* Confirms may come for many at once: the highest tag is what counts. */
static uint64_t next_confirm(struct link *l)
{
    amqp_frame_t frame;
    int rc = amqp_simple_wait_frame(l->amqp, &frame);

    if (rc != AMQP_STATUS_OK) fail("waiting for a confirm: %s", amqp_error_string2(rc));
    if (frame.frame_type != AMQP_FRAME_METHOD) return 0;
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) fail("a message was not confirmed");
    return ((amqp_basic_ack_t *)frame.payload.method.decoded)->delivery_tag;
}

static void *publish(void *arg)
{
    struct link *l = arg;
    amqp_basic_properties_t persistent = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    uint64_t n = (uint64_t)(l->s->records / l->s->connections), sent = 0, confirmed = 0;
    amqp_bytes_t body = amqp_bytes_malloc((size_t)l->s->bytes);

    memset(body.bytes, 'x', body.len);
    (void)amqp_confirm_select(l->amqp, 1), must(l, "confirms");
    while (confirmed < n) {
        while (sent < n && sent - confirmed < (uint64_t)l->s->window) {
            if (amqp_basic_publish(l->amqp, 1, amqp_empty_bytes, amqp_cstring_bytes(l->queue), 0, 0, &persistent,
                                   body) != AMQP_STATUS_OK)
                fail("publishing");
            sent++;
        }
        uint64_t tag = next_confirm(l);
        if (tag > confirmed) confirmed = tag;
    }
    amqp_bytes_free(body);
    return NULL;
}

static void *consume(void *arg)
{
    struct link *l = arg;
    long n = l->s->records / l->s->connections;

    (void)amqp_basic_consume(l->amqp, 1, amqp_cstring_bytes(l->queue), amqp_empty_bytes, 0, 1, 0, amqp_empty_table),
        must(l, "consuming");
    for (long i = 0; i < n; i++) {
        amqp_envelope_t envelope;

        amqp_maybe_release_buffers(l->amqp);
        if (amqp_consume_message(l->amqp, &envelope, NULL, 0).reply_type != AMQP_RESPONSE_NORMAL) fail("consuming");
        amqp_destroy_envelope(&envelope);
    }
    return NULL;
}

static double all(struct link *links, const struct settings *s, void *(*run)(void *))
{
    double begin = now();

    for (int i = 0; i < s->connections; i++)
        if (pthread_create(&links[i].thread, NULL, run, &links[i]) != 0) fail("a thread");
    for (int i = 0; i < s->connections; i++)
        pthread_join(links[i].thread, NULL);
    return now() - begin;
}

static void read_setting(struct settings *s, const char *text)
{
    const struct {
        const char *name;
        long *number;
    } known[] = {{"port=", &s->port},
                 {"connections=", &s->connections},
                 {"bytes=", &s->bytes},
                 {"records=", &s->records},
                 {"window=", &s->window}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(text, known[i].name, strlen(known[i].name)) != 0) continue;
        *known[i].number = strtol(text + strlen(known[i].name), NULL, 10);
        return;
    }
    fail("there is no setting %s", text);
}

int main(int argc, char **argv)
{
    static struct link links[CONNECTIONS_MAX];
    struct settings s = {.connections = 1, .bytes = 100, .records = 100000, .window = 1000};
    double published;

    for (int i = 1; i < argc; i++)
        read_setting(&s, argv[i]);
    if (s.port <= 0 || s.connections < 1 || s.connections > CONNECTIONS_MAX || s.bytes < 1 || s.window < 1)
        fail("a setting is out of range");
    s.records -= s.records % s.connections;
    for (int i = 0; i < s.connections; i++) {
        links[i].s = &s;
        links[i].index = i;
        dial(&links[i]);
    }
    published = all(links, &s, publish);
    printf("published\n");
    fflush(stdout);
    if (getchar() == EOF) return 0; /* so that the caller can look at the server's CPU in between */
    printf("{\"records\":%ld,\"seconds\":%.6f,\"fetch_seconds\":%.6f}\n", s.records, published,
           all(links, &s, consume));
    return 0;
}
