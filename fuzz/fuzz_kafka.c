/* fuzz_kafka.c: bytes of a Kafka peer. The first byte of an input says which part gets the rest:
 *   0  the next three bytes choose message, side and version; the rest is decoded, and what was understood is encoded and decoded
 *      again: the second reading must agree with the first
 *   1  a whole connection: the rest goes, in pieces, to a door over a simulated broker
 * Seeds: real clients' connections as recorded, and the golden messages. */
#include "fuzz.h"

#include "door/kafka/kafka_int.h"
#include "door/kafka/test_client.h"

static void fuzz_message(const uint8_t *data, size_t size)
{
    const struct wire_message *m = &kafka_messages[data[0] % KAFKA_MESSAGE_COUNT];
    const struct wire_struct *s = data[1] & 1 ? m->response : m->request;
    int version = m->low + data[2] % (m->high - m->low + 1);
    bool flexible = wire_is_flexible(m, version);
    struct buf first, second;
    struct wire_out w1 = {.buf = &first}, w2 = {.buf = &second};
    struct arena a;
    struct err e;
    void *p;

    arena_init(&a, 0);
    buf_init(&first, 0);
    buf_init(&second, 0);
    p = arena_alloc(&a, s->size + 1u);
    if (wire_decode(s, version, flexible, bytes_of(data + 3, size - 3), &a, p, &e) == ERR_NONE) {
        wire_encode(s, version, flexible, p, &w1);
        check(wire_decode(s, version, flexible, buf_bytes(&first), &a, p, &e) == ERR_NONE);
        wire_encode(s, version, flexible, p, &w2);
        check(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_deinit(&first);
    buf_deinit(&second);
    arena_deinit(&a);
}

static void fuzz_connection(const uint8_t *data, size_t size)
{
    struct sim_options o = {.seed = size, .wall_start_ms = WORLD_WALL_MS, .net_split_permille = 200};
    struct kclient_conn c;
    struct kworld w;
    struct bytes frame;

    kworld_init(&w, &o);
    kconn_open(&c, &w);
    kconn_send_bytes(&c, bytes_of(data, size));
    sim_run_ms(w.sim, 20);
    while (kconn_take(&c, &frame))
        check(frame.len >= 4);
    kconn_close(&c);
    kworld_deinit(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 4 && data[0] == 0) fuzz_message(data + 1, size - 1);
    if (size >= 2 && data[0] == 1) fuzz_connection(data + 1, size - 1);
    return 0;
}
