/* nats_load.c: load for NATS JetStream, which speaks lines of text.
 *
 *   nats_load port=P [connections=1] [bytes=100] [records=1000000] [window=1000]
 *
 * Makes a stream with file storage, publishes with an acknowledgement asked for each message, at most `window` of them outstanding on a
 * connection, as its own clients do it; then fetches all of it through a pull consumer without acknowledgements. Prints one JSON
 * object. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define BUFFER_BYTES (1u << 20)

struct settings {
    long port, connections, bytes, records, window;
};
struct link {
    const struct settings *s;
    pthread_t thread;
    int fd, index;
    char *in;
    size_t len, at;
    char out[BUFFER_BYTES];
    size_t out_len;
};

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("nats_load: ", stderr);
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

static void flush_out(struct link *l)
{
    for (size_t at = 0; at < l->out_len;) {
        ssize_t n = send(l->fd, l->out + at, l->out_len - at, MSG_NOSIGNAL);

        if (n <= 0) fail("the server closed the connection");
        at += (size_t)n;
    }
    l->out_len = 0;
}

static void put(struct link *l, const void *data, size_t n)
{
    if (l->out_len + n > sizeof l->out) flush_out(l);
    memcpy(l->out + l->out_len, data, n);
    l->out_len += n;
}

static void __attribute__((format(printf, 2, 3))) put_text(struct link *l, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof text) fail("a line is too long");
    put(l, text, (size_t)n);
}

static void more(struct link *l)
{
    ssize_t n;

    memmove(l->in, l->in + l->at, l->len - l->at);
    l->len -= l->at;
    l->at = 0;
    if (l->len == BUFFER_BYTES) fail("a line is too long");
    n = recv(l->fd, l->in + l->len, BUFFER_BYTES - l->len, 0);
    if (n <= 0) fail("the server closed the connection");
    l->len += (size_t)n;
}

/* The next line without its end; the payload of a MSG or HMSG line follows and is to be skipped by the caller. */
static char *line(struct link *l)
{
    for (;;) {
        char *from = l->in + l->at, *end = memchr(from, '\n', l->len - l->at);

        if (end != NULL) {
            *end = '\0';
            if (end > from && end[-1] == '\r') end[-1] = '\0';
            l->at = (size_t)(end + 1 - l->in);
            return from;
        }
        more(l);
    }
}

/* Waits for one message; answers the server's pings on the way. The payload's length; it is left at *payload. */
static size_t message(struct link *l, char **payload)
{
    for (;;) {
        char *text = line(l), *last;
        size_t n;

        if (strncmp(text, "PING", 4) == 0) {
            put_text(l, "PONG\r\n");
            flush_out(l);
            continue;
        }
        if (strncmp(text, "-ERR", 4) == 0) fail("%s", text);
        if (strncmp(text, "MSG", 3) != 0 && strncmp(text, "HMSG", 4) != 0) continue;
        last = strrchr(text, ' ');
        n = strtoul(last + 1, NULL, 10);
        while (l->len - l->at < n + 2)
            more(l);
        *payload = l->in + l->at;
        l->at += n + 2;
        return n;
    }
}

static void dial(struct link *l, const struct settings *s, int index)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;

    l->s = s;
    l->index = index;
    l->in = malloc(BUFFER_BYTES);
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (l->in == NULL || l->fd < 0 || connect(l->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("cannot connect");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    put_text(l,
             "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\nSUB "
             "_INBOX.%d.* 1\r\n",
             index);
}

static void request(struct link *l, const char *subject, const char *json)
{
    char *payload;
    size_t n;

    put_text(l, "PUB %s _INBOX.%d.r %zu\r\n%s\r\n", subject, l->index, strlen(json), json);
    flush_out(l);
    n = message(l, &payload);
    if (memmem(payload, n, "\"error\"", 7) != NULL) fail("%s: %.*s", subject, (int)n, payload);
}

static void *publish(void *arg)
{
    struct link *l = arg;
    char *value = malloc((size_t)l->s->bytes), *payload;
    long n = l->s->records / l->s->connections, outstanding = 0;

    if (value == NULL) fail("memory");
    memset(value, 'x', (size_t)l->s->bytes);
    for (long i = 0; i < n || outstanding > 0;) {
        while (i < n && outstanding < l->s->window) {
            put_text(l, "PUB bench.%d _INBOX.%d.a %ld\r\n", l->index, l->index, l->s->bytes);
            put(l, value, (size_t)l->s->bytes);
            put(l, "\r\n", 2);
            i++, outstanding++;
        }
        flush_out(l);
        do {
            size_t len = message(l, &payload);

            if (memmem(payload, len, "\"seq\"", 5) == NULL) fail("%.*s", (int)len, payload);
            outstanding--;
        } while (outstanding > 0 && memchr(l->in + l->at, '\n', l->len - l->at) != NULL);
    }
    free(value);
    return NULL;
}

static double fetch(struct link *l, long records)
{
    char *payload;
    double begin;

    request(l, "$JS.API.CONSUMER.DURABLE.CREATE.BENCH.c",
            "{\"stream_name\":\"BENCH\",\"config\":{\"durable_name\":\"c\",\"ack_policy\":\"none\",\"deliver_policy\":"
            "\"all\"}}");
    begin = now();
    for (long n = 0; n < records;) {
        long batch = records - n < 10000 ? records - n : 10000;
        char json[64];

        (void)snprintf(json, sizeof json, "{\"batch\":%ld}", batch);
        put_text(l, "PUB $JS.API.CONSUMER.MSG.NEXT.BENCH.c _INBOX.%d.f %zu\r\n%s\r\n", l->index, strlen(json), json);
        flush_out(l);
        for (long i = 0; i < batch; i++)
            (void)message(l, &payload);
        n += batch;
    }
    return now() - begin;
}

static void read_setting(struct settings *s, const char *text)
{
    const struct {
        const char *name;
        long *number;
    } all[] = {{"port=", &s->port},
               {"connections=", &s->connections},
               {"bytes=", &s->bytes},
               {"records=", &s->records},
               {"window=", &s->window}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strncmp(text, all[i].name, strlen(all[i].name)) != 0) continue;
        *all[i].number = strtol(text + strlen(all[i].name), NULL, 10);
        return;
    }
    fail("there is no setting %s", text);
}

int main(int argc, char **argv)
{
    static struct link links[CONNECTIONS_MAX + 1];
    struct settings s = {.connections = 1, .bytes = 100, .records = 100000, .window = 1000};
    struct link *control = &links[CONNECTIONS_MAX];
    double begin, published;

    for (int i = 1; i < argc; i++)
        read_setting(&s, argv[i]);
    if (s.port <= 0 || s.connections < 1 || s.connections > CONNECTIONS_MAX || s.bytes < 1 || s.bytes > 65536)
        fail("a setting is out of range");
    s.records -= s.records % s.connections;
    dial(control, &s, CONNECTIONS_MAX);
    request(control, "$JS.API.STREAM.CREATE.BENCH",
            "{\"name\":\"BENCH\",\"subjects\":[\"bench.*\"],\"storage\":\"file\",\"retention\":\"limits\",\"num_"
            "replicas\":1}");
    begin = now();
    for (int i = 0; i < s.connections; i++) {
        dial(&links[i], &s, i);
        if (pthread_create(&links[i].thread, NULL, publish, &links[i]) != 0) fail("a thread");
    }
    for (int i = 0; i < s.connections; i++)
        pthread_join(links[i].thread, NULL);
    published = now() - begin;
    printf("published\n");
    fflush(stdout);
    if (getchar() == EOF) return 0; /* so that the caller can look at the server's CPU in between */
    printf("{\"records\":%ld,\"seconds\":%.6f,\"fetch_seconds\":%.6f}\n", s.records, published,
           fetch(control, s.records));
    return 0;
}
