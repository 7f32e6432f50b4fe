/* load.c: a load generator that costs little itself: it speaks just enough of Kafka's protocol and sends batches made
 * once.
 *
 *   load produce host=H port=P topic=T [partitions=1] [connections=1] [inflight=5] [batch=100] [bytes=100]
 *                [records=1000000]
 *   load fetch   host=H port=P topic=T records=N
 *   load sync    dir=D [count=500] [bytes=200]      what one append with fdatasync takes on this disk
 *
 * Prints one JSON object. Each connection is a thread and writes to one partition. Latency is that of a request, sent
 * to answered. Produce v7 and Fetch v4 are the newest without tagged fields; minimal_broker.c understands exactly
 * these. */
#include "base/batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define INFLIGHT_MAX 64
#define ANSWER_BYTES_MAX (8u << 20)

struct settings {
    const char *host, *topic, *dir;
    long port, partitions, connections, inflight, batch, bytes, records, count;
};

struct worker {
    const struct settings *s;
    pthread_t thread;
    int index, fd;
    long n_requests;
    uint64_t *latency_ns; /* n_requests of them */
    uint8_t *answer;
};

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("load: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- bytes to and from the socket ---- */

static int dial(const struct settings *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    if (fd < 0 || inet_pton(AF_INET, s->host, &address.sin_addr) != 1) fail("bad address %s", s->host);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_all(int fd, const uint8_t *at, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n <= 0) fail("write: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

static void receive_all(int fd, uint8_t *at, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, at, len);

        if (n <= 0) fail("read: %s", n == 0 ? "the server closed the connection" : strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

/* One answer into the worker's buffer; returns its length. */
static size_t receive_answer(struct worker *w)
{
    uint8_t prefix[4];
    uint32_t len;

    receive_all(w->fd, prefix, sizeof prefix);
    len = be32_get(prefix);
    if (len > ANSWER_BYTES_MAX) fail("an answer of %u bytes", len);
    receive_all(w->fd, w->answer, len);
    return len;
}

static void put_string(struct buf *b, const char *text)
{
    buf_put_be16(b, (uint16_t)strlen(text));
    buf_put_str(b, text);
}

/* Length prefix (patched later) and request header version 1. */
static void begin_request(struct buf *b, uint16_t key, uint16_t version)
{
    buf_put_be32(b, 0);
    buf_put_be16(b, key);
    buf_put_be16(b, version);
    buf_put_be32(b, 7); /* correlation id: answers come in order, nobody looks */
    put_string(b, "load");
}

/* ---- produce ---- */

/* A whole Produce v7 request around one batch of incompressible records. */
static void make_produce(struct buf *b, const struct settings *s, int32_t partition)
{
    struct batch_builder builder;
    struct buf batch;
    uint8_t *value = malloc((size_t)s->bytes);
    uint64_t seed = 88172645463325252u + (uint64_t)partition;
    struct timespec wall;

    if (value == NULL) fail("no memory");
    clock_gettime(CLOCK_REALTIME, &wall);
    buf_init(&batch, 0);
    batch_begin(&builder, &batch, CODEC_NONE);
    for (long i = 0; i < s->batch; i++) {
        for (long k = 0; k < s->bytes; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            value[k] = (uint8_t)seed;
        }
        batch_add(&builder, (int64_t)wall.tv_sec * 1000, bytes_of(NULL, 0), bytes_of(value, (size_t)s->bytes), NULL, 0);
    }
    if (batch_finish(&builder, NULL) != ERR_NONE) fail("cannot make a batch");
    begin_request(b, 0, 7);
    buf_put_be16(b, 0xffff); /* no transactional id */
    buf_put_be16(b, 0xffff); /* acks = all */
    buf_put_be32(b, 30000);
    buf_put_be32(b, 1);
    put_string(b, s->topic);
    buf_put_be32(b, 1);
    buf_put_be32(b, (uint32_t)partition);
    buf_put_be32(b, (uint32_t)batch.len);
    buf_put(b, batch.ptr, batch.len);
    buf_patch_be32(b, 0, (uint32_t)(b->len - 4));
    buf_deinit(&batch);
    free(value);
}

static void *produce_thread(void *arg)
{
    struct worker *w = arg;
    uint64_t sent_ns[INFLIGHT_MAX];
    struct buf request;
    long n_sent = 0;
    size_t error_at = 4 + 4 + 2 + strlen(w->s->topic) + 4 + 4;

    buf_init(&request, 0);
    make_produce(&request, w->s, (int32_t)(w->index % w->s->partitions));
    for (long n_answered = 0; n_answered < w->n_requests; n_answered++) {
        while (n_sent < w->n_requests && n_sent - n_answered < w->s->inflight) {
            sent_ns[n_sent++ % w->s->inflight] = now_ns();
            send_all(w->fd, request.ptr, request.len);
        }
        if (receive_answer(w) < error_at + 2) fail("a short answer");
        if (be16_get(w->answer + error_at) != 0)
            fail("produce: error code %d", (int16_t)be16_get(w->answer + error_at));
        w->latency_ns[n_answered] = now_ns() - sent_ns[n_answered % w->s->inflight];
    }
    buf_deinit(&request);
    return NULL;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_result(uint64_t spent_ns, long records, uint64_t *latency_ns, long n)
{
    qsort(latency_ns, (size_t)n, sizeof *latency_ns, compare_u64);
    printf("{\"seconds\":%.6f,\"records\":%ld,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", (double)spent_ns / 1e9, records,
           (double)latency_ns[n / 2] / 1e3, (double)latency_ns[n * 99 / 100] / 1e3);
}

static void produce(const struct settings *s)
{
    static struct worker workers[CONNECTIONS_MAX];
    long each = s->records / s->batch / s->connections;
    uint64_t *latency_ns, begin;

    if (each < 1 || s->connections > CONNECTIONS_MAX || s->inflight > INFLIGHT_MAX) fail("settings out of range");
    latency_ns = calloc((size_t)(each * s->connections), sizeof *latency_ns);
    if (latency_ns == NULL) fail("no memory");
    for (int i = 0; i < s->connections; i++) {
        workers[i] =
            (struct worker){.s = s, .index = i, .fd = dial(s), .n_requests = each, .latency_ns = latency_ns + i * each};
        workers[i].answer = malloc(ANSWER_BYTES_MAX);
        if (workers[i].answer == NULL) fail("no memory");
    }
    begin = now_ns();
    for (int i = 0; i < s->connections; i++) {
        if (pthread_create(&workers[i].thread, NULL, produce_thread, &workers[i]) != 0) fail("no thread");
    }
    for (int i = 0; i < s->connections; i++)
        pthread_join(workers[i].thread, NULL);
    print_result(now_ns() - begin, each * s->connections * s->batch, latency_ns, each * s->connections);
    for (int i = 0; i < s->connections; i++) {
        close(workers[i].fd);
        free(workers[i].answer);
    }
    free(latency_ns);
}

/* ---- fetch ---- */

static void make_fetch(struct buf *b, const struct settings *s, int64_t offset)
{
    buf_clear(b);
    begin_request(b, 1, 4);
    buf_put_be32(b, 0xffffffff); /* a consumer */
    buf_put_be32(b, 500);
    buf_put_be32(b, 1);
    buf_put_be32(b, 4u << 20);
    buf_put_u8(b, 0);
    buf_put_be32(b, 1);
    put_string(b, s->topic);
    buf_put_be32(b, 1);
    buf_put_be32(b, 0);
    buf_put_be64(b, (uint64_t)offset);
    buf_put_be32(b, 1u << 20);
    buf_patch_be32(b, 0, (uint32_t)(b->len - 4));
}

/* Goes over the batches of a Fetch v4 answer; returns the offset behind the last whole one. */
static int64_t next_offset(const uint8_t *answer, size_t len, const struct settings *s, int64_t offset)
{
    size_t at = 4 + 4 + 4 + 2 + strlen(s->topic) + 4 + 4;
    size_t end;

    if (len < at + 2 + 8 + 8 + 4 + 4) fail("a short answer");
    if (be16_get(answer + at) != 0) fail("fetch: error code %d", (int16_t)be16_get(answer + at));
    at += 2 + 8 + 8;
    if (be32_get(answer + at) != 0xffffffff && be32_get(answer + at) != 0) fail("aborted transactions");
    end = at + 8 + be32_get(answer + at + 4);
    at += 8;
    if (end > len) fail("records beyond the answer");
    while (at + BATCH_HEADER_LEN <= end && at + 12 + be32_get(answer + at + 8) <= end) {
        offset = (int64_t)be64_get(answer + at) + (int32_t)be32_get(answer + at + 23) + 1;
        at += 12 + be32_get(answer + at + 8);
    }
    return offset;
}

static void fetch(const struct settings *s)
{
    struct worker w = {.s = s, .fd = dial(s), .answer = malloc(ANSWER_BYTES_MAX)};
    struct buf request;
    int64_t offset = 0;
    uint64_t begin = now_ns(), latency_ns = 0;

    if (w.answer == NULL) fail("no memory");
    buf_init(&request, 0);
    while (offset < s->records) {
        int64_t before = offset;

        make_fetch(&request, s, offset);
        send_all(w.fd, request.ptr, request.len);
        offset = next_offset(w.answer, receive_answer(&w), s, offset);
        if (offset == before) fail("nothing more after %lld records", (long long)offset);
    }
    print_result(now_ns() - begin, (long)offset, &latency_ns, 1);
    buf_deinit(&request);
    close(w.fd);
    free(w.answer);
}

/* ---- what the disk does ---- */

static void sync_alone(const struct settings *s)
{
    char path[4096], block[4096] = {0};
    uint64_t *latency_ns = calloc((size_t)s->count, sizeof *latency_ns), begin = now_ns();
    int fd;

    snprintf(path, sizeof path, "%s/sync-alone", s->dir);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0 || latency_ns == NULL || s->bytes > (long)sizeof block) fail("%s: %s", path, strerror(errno));
    for (long i = 0; i < s->count; i++) {
        uint64_t at = now_ns();

        if (pwrite(fd, block, (size_t)s->bytes, i * s->bytes) != s->bytes || fdatasync(fd) != 0)
            fail("%s", strerror(errno));
        latency_ns[i] = now_ns() - at;
    }
    print_result(now_ns() - begin, s->count, latency_ns, s->count);
    close(fd);
    unlink(path);
    free(latency_ns);
}

/* ---- settings ---- */

static void parse(struct settings *s, const char *argument)
{
    const struct {
        const char *name;
        long *number;
        const char **text;
    } known[] = {
        {"host", NULL, &s->host},         {"topic", NULL, &s->topic},           {"dir", NULL, &s->dir},
        {"port", &s->port, NULL},         {"partitions", &s->partitions, NULL}, {"connections", &s->connections, NULL},
        {"inflight", &s->inflight, NULL}, {"batch", &s->batch, NULL},           {"bytes", &s->bytes, NULL},
        {"records", &s->records, NULL},   {"count", &s->count, NULL},
    };
    const char *equals = strchr(argument, '=');

    for (size_t i = 0; equals != NULL && i < sizeof known / sizeof *known; i++) {
        if (strlen(known[i].name) != (size_t)(equals - argument) ||
            strncmp(argument, known[i].name, strlen(known[i].name)) != 0)
            continue;
        if (known[i].text != NULL) *known[i].text = equals + 1;
        if (known[i].number != NULL) *known[i].number = atol(equals + 1);
        return;
    }
    fail("unknown setting %s", argument);
}

int main(int argc, char **argv)
{
    struct settings s = {.host = "127.0.0.1",
                         .topic = "bench",
                         .dir = ".",
                         .partitions = 1,
                         .connections = 1,
                         .inflight = 5,
                         .batch = 100,
                         .bytes = 100,
                         .records = 1000000,
                         .count = 500};

    for (int i = 2; i < argc; i++)
        parse(&s, argv[i]);
    if (argc > 1 && strcmp(argv[1], "produce") == 0)
        produce(&s);
    else if (argc > 1 && strcmp(argv[1], "fetch") == 0)
        fetch(&s);
    else if (argc > 1 && strcmp(argv[1], "sync") == 0)
        sync_alone(&s);
    else
        fail("produce, fetch or sync?");
    return 0;
}
