/* minimal_broker.c: the yardstick: the least that a C program must do to be a broker for load.c, and for librdkafka.
 *
 *   minimal_broker FILE          prints `ready kafka=127.0.0.1:PORT`
 *   minimal_broker FILE sendfile the same, fetches by sendfile instead of from the mapping (docs/decisions/0011)
 *   minimal_broker null          the same, but what is produced is thrown away unseen: what the client alone can do
 *
 * It receives Produce requests, checks the batch's CRC-32C, stamps the offset, writes the batch to one file, answers;
 * on Fetch it sends the same bytes from the mapped file. One thread, epoll, no topics, no recovery, no errors, no
 * limits, no second partition: what Weir spends beyond this is the price of being a broker. */
#include "base/buf.h"
#include "base/crc32c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define INPUT_BYTES (2u << 20)
#define FILE_BYTES_MAX (8ull << 30)
#define INDEX_EVERY 4096u

struct conn {
    int fd;
    size_t len;
    uint8_t *input;
};

#define PARTITIONS 16

static bool is_null, by_sendfile;
static uint16_t port;
static int file_fd;
static const uint8_t *mapped;
static uint64_t file_len;
static int64_t end_offset;
/* Sparse index: first batch at or behind each INDEX_EVERY bytes. */
static struct {
    int64_t offset;
    uint64_t at;
} * entries;
static size_t n_entries;

static void die(const char *what)
{
    fprintf(stderr, "minimal_broker: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Sends everything; waits when the socket is full, which a broker with more than one client could not. */
static void send_parts(int fd, struct iovec *iov, int n)
{
    while (n > 0) {
        ssize_t sent = writev(fd, iov, n);

        if (sent < 0 && errno == EAGAIN) {
            struct epoll_event unused, want = {.events = EPOLLOUT};
            int ep = epoll_create1(0);

            epoll_ctl(ep, EPOLL_CTL_ADD, fd, &want);
            (void)!epoll_wait(ep, &unused, 1, 1000);
            close(ep);
            continue;
        }
        if (sent < 0) die("writev");
        for (; n > 0 && (size_t)sent >= iov->iov_len; iov++, n--)
            sent -= (ssize_t)iov->iov_len;
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
}

static void append(uint8_t *batch, size_t len)
{
    if (crc32c(0, batch + 21, len - 21) != be32_get(batch + 17)) die("checksum");
    be64_put(batch, (uint64_t)end_offset);
    if (n_entries == 0 || file_len - entries[n_entries - 1].at >= INDEX_EVERY) {
        if ((n_entries & (n_entries - 1)) == 0)
            entries = realloc(entries, (n_entries ? n_entries * 2 : 1) * sizeof *entries);
        if (entries == NULL) die("memory");
        entries[n_entries].offset = end_offset;
        entries[n_entries++].at = file_len;
    }
    if (pwrite(file_fd, batch, len, (off_t)file_len) != (ssize_t)len) die("pwrite");
    end_offset += (int32_t)be32_get(batch + 23) + 1;
    file_len += len;
}

static void answer(struct conn *c, struct buf *b, const uint8_t *records, size_t len)
{
    struct iovec iov[2] = {{b->ptr, b->len}, {(void *)(uintptr_t)records, len}};

    be32_put(b->ptr, (uint32_t)(b->len - 4 + len));
    send_parts(c->fd, iov, len > 0 ? 2 : 1);
}

static void wait_for_room(int fd)
{
    struct epoll_event unused, want = {.events = EPOLLOUT};
    int ep = epoll_create1(0);

    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &want);
    (void)epoll_wait(ep, &unused, 1, -1);
    close(ep);
}

static void answer_from_file(struct conn *c, struct buf *b, uint64_t from, size_t len)
{
    off_t at = (off_t)from;

    be32_put(b->ptr, (uint32_t)(b->len - 4 + len));
    if (send(c->fd, b->ptr, b->len, MSG_MORE) != (ssize_t)b->len) die("send");
    while (len > 0) {
        ssize_t n = sendfile(c->fd, file_fd, &at, len);

        if (n < 0 && errno == EAGAIN)
            wait_for_room(c->fd);
        else if (n <= 0)
            die("sendfile");
        else
            len -= (size_t)n;
    }
}

static void begin_answer(struct buf *b, const uint8_t *request)
{
    buf_clear(b);
    buf_put_be32(b, 0);
    buf_put(b, request + 4, 4); /* correlation id */
}

static void produce(struct conn *c, struct buf *b, uint8_t *request, size_t at)
{
    uint16_t topic_len;
    uint8_t *topic;
    int64_t base = end_offset;
    size_t len;

    at += 2 + 2 + 4 + 4; /* transactional id, acks, timeout, one topic */
    topic = request + at;
    topic_len = be16_get(topic);
    at += 2u + topic_len + 4 + 4; /* one partition, its index */
    len = be32_get(request + at);
    if (!is_null) append(request + at + 4, len);
    begin_answer(b, request);
    buf_put_be32(b, 1);
    buf_put(b, topic, 2u + topic_len);
    buf_put_be32(b, 1);
    buf_put_be32(b, 0);
    buf_put_be16(b, 0);
    buf_put_be64(b, (uint64_t)base);
    buf_put_be64(b, UINT64_MAX);
    buf_put_be64(b, 0);
    buf_put_be32(b, 0);
    answer(c, b, NULL, 0);
}

/* The file position of the batch that holds the offset. */
static uint64_t find(int64_t offset)
{
    size_t low = 0, high = n_entries;
    uint64_t at;

    while (high - low > 1) {
        size_t middle = (low + high) / 2;

        if (entries[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    at = n_entries > 0 ? entries[low].at : 0;
    while (at < file_len && (int64_t)be64_get(mapped + at) + (int32_t)be32_get(mapped + at + 23) < offset)
        at += 12 + be32_get(mapped + at + 8);
    return at;
}

static void fetch(struct conn *c, struct buf *b, const uint8_t *request, size_t at)
{
    const uint8_t *topic;
    uint16_t topic_len;
    uint64_t from, to, most;

    at += 4 + 4 + 4 + 4 + 1 + 4;
    topic = request + at;
    topic_len = be16_get(topic);
    at += 2u + topic_len + 4 + 4;
    from = to = find((int64_t)be64_get(request + at));
    most = be32_get(request + at + 8);
    while (to < file_len && to + 12 + be32_get(mapped + to + 8) - from <= most)
        to += 12 + be32_get(mapped + to + 8);
    begin_answer(b, request);
    buf_put_be32(b, 0);
    buf_put_be32(b, 1);
    buf_put(b, topic, 2u + topic_len);
    buf_put_be32(b, 1);
    buf_put_be32(b, 0);
    buf_put_be16(b, 0);
    buf_put_be64(b, (uint64_t)end_offset);
    buf_put_be64(b, (uint64_t)end_offset);
    buf_put_be32(b, UINT32_MAX);
    buf_put_be32(b, (uint32_t)(to - from));
    if (by_sendfile)
        answer_from_file(c, b, from, to - from);
    else
        answer(c, b, mapped + from, to - from);
}

/* ---- what librdkafka asks before it begins ---- */
static void versions(struct conn *c, struct buf *b, const uint8_t *request)
{
    static const uint16_t served[][2] = {{0, 7}, {1, 4}, {2, 1}, {3, 1}, {18, 0}};

    begin_answer(b, request);
    buf_put_be16(b, be16_get(request + 2) > 0 ? 35 : 0); /* a newer question: ask again with version 0 */
    buf_put_be32(b, 5);
    for (int i = 0; i < 5; i++) {
        buf_put_be16(b, served[i][0]);
        buf_put_be16(b, served[i][1]);
        buf_put_be16(b, served[i][1]);
    }
    answer(c, b, NULL, 0);
}

static void metadata(struct conn *c, struct buf *b, const uint8_t *request, size_t at)
{
    uint32_t n = be32_get(request + at);

    begin_answer(b, request);
    buf_put_be32(b, 1); /* one node, 1 */
    buf_put_be32(b, 1);
    buf_put_be16(b, 9);
    buf_put(b, "127.0.0.1", 9);
    buf_put_be32(b, port);
    buf_put_be16(b, UINT16_MAX);
    buf_put_be32(b, 1);
    buf_put_be32(b, n == UINT32_MAX ? 0 : n);
    at += 4;
    for (uint32_t i = 0; n != UINT32_MAX && i < n; i++) { /* every topic is there */
        buf_put_be16(b, 0);
        buf_put(b, request + at, 2u + be16_get(request + at));
        at += 2u + be16_get(request + at);
        buf_put_u8(b, 0);
        buf_put_be32(b, PARTITIONS);
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            buf_put_be16(b, 0);
            buf_put_be32(b, p);
            buf_put_be32(b, 1);
            buf_put_be32(b, 1), buf_put_be32(b, 1);
            buf_put_be32(b, 1), buf_put_be32(b, 1);
        }
    }
    answer(c, b, NULL, 0);
}

/* The beginning, whatever was asked. */
static void list_offsets(struct conn *c, struct buf *b, const uint8_t *request, size_t at)
{
    const uint8_t *topic = request + at + 8;
    size_t topic_len = 2u + be16_get(topic);

    begin_answer(b, request);
    buf_put_be32(b, 1);
    buf_put(b, topic, topic_len);
    buf_put_be32(b, 1);
    buf_put(b, topic + topic_len + 4, 4);
    buf_put_be16(b, 0);
    buf_put_be64(b, UINT64_MAX);
    buf_put_be64(b, 0);
    answer(c, b, NULL, 0);
}

static void handle_request(struct conn *c, struct buf *b, uint8_t *request)
{
    size_t at = 8 + 2 + (size_t)be16_get(request + 8); /* behind the client id */

    switch (be16_get(request)) {
    case 0: produce(c, b, request, at); break;
    case 1: fetch(c, b, request, at); break;
    case 2: list_offsets(c, b, request, at); break;
    case 3: metadata(c, b, request, at); break;
    case 18: versions(c, b, request); break;
    default: break; /* no answer: nobody needs one */
    }
}

static void receive(struct conn *c, struct buf *b)
{
    ssize_t n = read(c->fd, c->input + c->len, INPUT_BYTES - c->len);
    size_t at = 0;

    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        close(c->fd);
        free(c->input);
        free(c);
        return;
    }
    c->len += (size_t)n;
    while (c->len - at >= 4 && c->len - at - 4 >= be32_get(c->input + at)) {
        uint32_t len = be32_get(c->input + at);

        handle_request(c, b, c->input + at + 4);
        at += 4u + len;
    }
    memmove(c->input, c->input + at, c->len - at);
    c->len -= at;
}

static void accept_one(int listener, int ep)
{
    struct conn *c = calloc(1, sizeof *c);
    int on = 1;

    if (c == NULL || (c->input = malloc(INPUT_BYTES)) == NULL) die("memory");
    c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (c->fd < 0) die("accept");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = c});
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0);
    struct buf b;
    void *map;

    if (argc < 2) return 2;
    by_sendfile = argc > 2 && strcmp(argv[2], "sendfile") == 0;
    is_null = strcmp(argv[1], "null") == 0;
    file_fd = is_null ? open("/dev/zero", O_RDWR) : open(argv[1], O_CREAT | O_TRUNC | O_RDWR, 0600);
    if (file_fd < 0) die(argv[1]);
    map = mmap(NULL, FILE_BYTES_MAX, PROT_READ, MAP_SHARED | MAP_NORESERVE, file_fd, 0);
    if (map == MAP_FAILED) die("mmap");
    mapped = map;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &address_len);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.ptr = NULL});
    buf_init(&b, 0);
    port = ntohs(address.sin_port);
    printf("ready kafka=127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(ep, events, 64, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_one(listener, ep);
            else
                receive(events[i].data.ptr, &b);
        }
    }
}
