/* rdkafka_load.c: load from an unmodified client library, librdkafka, with its defaults except where named.
 *
 *   rdkafka_load produce broker=H:P topic=T [producers=1] [bytes=100] [records=1000000] [acks=all]
 *   rdkafka_load consume broker=H:P topic=T [partitions=1] [records=N]
 *   rdkafka_load latency broker=H:P topic=T [rate=1000] [seconds=5] [bytes=100]
 *
 * Prints one JSON object. Each producer is a thread with a client of its own and writes to the partition of its number. Latency is from
 * the call of produce to the message in the consumer, both in this process, with linger.ms 0 on one side and fetch.wait.max.ms at its
 * default on the other. The client's own CPU seconds are given, too: on a small machine they are the larger part. */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PRODUCERS_MAX 64
#define QUEUE_MESSAGES 200000L

struct settings {
    const char *broker, *topic, *acks;
    long producers, partitions, bytes, records, rate, seconds;
};
struct producer {
    const struct settings *s;
    pthread_t thread;
    int index;
    long delivered, failed;
};

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("rdkafka_load: ", stderr);
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

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) fail("%s", why);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const struct settings *s)
{
    char why[256];
    rd_kafka_t *rk;

    set(conf, "bootstrap.servers", s->broker);
    rk = rd_kafka_new(type, conf, why, sizeof why);
    if (rk == NULL) fail("%s", why);
    return rk;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct producer *p = opaque;

    (void)rk;
    if (m->err)
        p->failed++;
    else
        p->delivered++;
}

static rd_kafka_t *producer_client(struct producer *p, const char *linger_ms)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char queue[32];

    (void)snprintf(queue, sizeof queue, "%ld", QUEUE_MESSAGES);
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    set(conf, "acks", p->s->acks);
    set(conf, "linger.ms", linger_ms);
    set(conf, "queue.buffering.max.messages", queue);
    return client(RD_KAFKA_PRODUCER, conf, p->s);
}

static void *produce(void *arg)
{
    struct producer *p = arg;
    rd_kafka_t *rk = producer_client(p, "5");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, p->s->topic, NULL);
    char *value = malloc((size_t)p->s->bytes);
    long n = p->s->records / p->s->producers;

    if (value == NULL || topic == NULL) fail("memory");
    memset(value, 'x', (size_t)p->s->bytes);
    for (long i = 0; i < n; i++) {
        while (rd_kafka_produce(topic, p->index, RD_KAFKA_MSG_F_COPY, value, (size_t)p->s->bytes, NULL, 0, NULL) != 0) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                fail("%s", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(rk, 10);
        }
        if (i % 256 == 0) rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, 120000) != RD_KAFKA_RESP_ERR_NO_ERROR || p->failed > 0) fail("not everything was delivered");
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    free(value);
    return NULL;
}

static void run_produce(const struct settings *s)
{
    struct producer p[PRODUCERS_MAX] = {0};
    uint64_t begin = now_ns();
    long delivered = 0;

    for (int i = 0; i < s->producers; i++) {
        p[i] = (struct producer){.s = s, .index = i};
        if (pthread_create(&p[i].thread, NULL, produce, &p[i]) != 0) fail("a thread");
    }
    for (int i = 0; i < s->producers; i++) {
        pthread_join(p[i].thread, NULL);
        delivered += p[i].delivered;
    }
    printf("{\"records\":%ld,\"seconds\":%.6f,\"client_cpu_seconds\":%.3f}\n", delivered,
           (double)(now_ns() - begin) / 1e9, cpu_seconds());
}

static rd_kafka_t *consumer_client(const struct settings *s, int64_t offset)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)s->partitions);
    rd_kafka_t *rk;

    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    rk = client(RD_KAFKA_CONSUMER, conf, s);
    rd_kafka_poll_set_consumer(rk);
    for (int32_t i = 0; i < s->partitions; i++)
        rd_kafka_topic_partition_list_add(list, s->topic, i)->offset = offset;
    if (rd_kafka_assign(rk, list) != RD_KAFKA_RESP_ERR_NO_ERROR) fail("assigning");
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static void run_consume(const struct settings *s)
{
    rd_kafka_t *rk = consumer_client(s, RD_KAFKA_OFFSET_BEGINNING);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_message_t *batch[10000];
    uint64_t begin = now_ns(), first = 0;
    long n = 0;

    while (n < s->records) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 20000, batch, 10000);

        if (got <= 0) fail("nothing more after %ld records", n);
        if (first == 0) first = now_ns();
        for (ssize_t i = 0; i < got; i++) {
            if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR) n++;
            rd_kafka_message_destroy(batch[i]);
        }
    }
    printf("{\"records\":%ld,\"seconds\":%.6f,\"from_start_seconds\":%.6f,\"client_cpu_seconds\":%.3f}\n", n,
           (double)(now_ns() - first) / 1e9, (double)(now_ns() - begin) / 1e9, cpu_seconds());
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* ---- latency ---- */
static void *produce_paced(void *arg)
{
    const struct settings *s = arg;
    struct producer p = {.s = s};
    rd_kafka_t *rk = producer_client(&p, "0");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, s->topic, NULL);
    char *value = calloc(1, (size_t)s->bytes);
    uint64_t step = 1000000000ull / (uint64_t)s->rate, next = now_ns();

    if (value == NULL || topic == NULL) fail("memory");
    for (long i = 0; i < s->rate * s->seconds; i++, next += step) {
        uint64_t now;

        while ((now = now_ns()) < next) {
            struct timespec pause = {0, (long)(next - now)};
            nanosleep(&pause, NULL);
        }
        memcpy(value, &now, sizeof now);
        if (rd_kafka_produce(topic, 0, RD_KAFKA_MSG_F_COPY, value, (size_t)s->bytes, NULL, 0, NULL) != 0)
            fail("produce");
        rd_kafka_poll(rk, 0);
    }
    rd_kafka_flush(rk, 20000);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    free(value);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void run_latency(const struct settings *s)
{
    long total = s->rate * s->seconds, n = 0, skip = s->rate / 2; /* the first half second warms up */
    uint64_t *ns = calloc((size_t)total, sizeof *ns);
    pthread_t thread;
    rd_kafka_t *rk = consumer_client(s, RD_KAFKA_OFFSET_BEGINNING);

    if (ns == NULL || pthread_create(&thread, NULL, produce_paced, (void *)(uintptr_t)s) != 0) fail("memory");
    while (n < total) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 20000);
        uint64_t sent;

        if (m == NULL) fail("nothing more after %ld records", n);
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->len >= sizeof sent) {
            memcpy(&sent, m->payload, sizeof sent);
            ns[n++] = now_ns() - sent;
        }
        rd_kafka_message_destroy(m);
    }
    pthread_join(thread, NULL);
    if (skip >= n) skip = 0;
    qsort(ns + skip, (size_t)(n - skip), sizeof *ns, by_value);
    printf("{\"records\":%ld,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", n,
           (double)ns[skip + (n - skip) / 2] / 1e3, (double)ns[skip + (n - skip) * 99 / 100] / 1e3,
           (double)ns[n - 1] / 1e3);
    free(ns);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static void read_setting(struct settings *s, char *text)
{
    char *value = strchr(text, '=');
    const struct {
        const char *name;
        const char **text;
        long *number;
    } all[] = {{"broker", &s->broker, NULL},
               {"topic", &s->topic, NULL},
               {"acks", &s->acks, NULL},
               {"producers", NULL, &s->producers},
               {"partitions", NULL, &s->partitions},
               {"bytes", NULL, &s->bytes},
               {"records", NULL, &s->records},
               {"rate", NULL, &s->rate},
               {"seconds", NULL, &s->seconds}};

    if (value == NULL) fail("%s: NAME=VALUE is expected", text);
    *value++ = '\0';
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(text, all[i].name) != 0) continue;
        if (all[i].text != NULL)
            *all[i].text = value;
        else
            *all[i].number = strtol(value, NULL, 10);
        return;
    }
    fail("there is no setting %s", text);
}

int main(int argc, char **argv)
{
    struct settings s = {
        .acks = "all", .producers = 1, .partitions = 1, .bytes = 100, .records = 1000000, .rate = 1000, .seconds = 5};

    for (int i = 2; i < argc; i++)
        read_setting(&s, argv[i]);
    if (argc < 2 || s.broker == NULL || s.topic == NULL)
        fail("which of produce, consume, latency? broker= and topic= are needed");
    if (s.producers < 1 || s.producers > PRODUCERS_MAX || s.partitions < 1 || s.bytes < 8 || s.rate < 1)
        fail("a setting is out of range");
    if (strcmp(argv[1], "produce") == 0)
        run_produce(&s);
    else if (strcmp(argv[1], "consume") == 0)
        run_consume(&s);
    else if (strcmp(argv[1], "latency") == 0)
        run_latency(&s);
    else
        fail("%s is not produce, consume or latency", argv[1]);
    return 0;
}
