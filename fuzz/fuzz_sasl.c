/* fuzz_sasl.c: tokens of a login. The first byte chooses the mechanism and how tokens travel; the rest is cut at each byte 0xff
 * into tokens, sent one after the other. Whatever they are, nobody is logged in, and the server goes on. */
#include "fuzz.h"

#include "door/kafka/kafka_int.h"
#include "door/kafka/test_client.h"

static void send_token(struct kclient_conn *c, bool is_raw, struct bytes token)
{
    struct kafka_sasl_authenticate_request q = {.auth_bytes = token};
    struct buf frame;

    if (!is_raw) {
        kconn_send(c, KAFKA_SASL_AUTHENTICATE, 2, &q);
        return;
    }
    buf_init(&frame, 0);
    buf_put_be32(&frame, (uint32_t)token.len);
    buf_put_bytes(&frame, token);
    kconn_send_bytes(c, buf_bytes(&frame));
    buf_deinit(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    struct sim_options o = {.seed = size, .wall_start_ms = WORLD_WALL_MS};
    struct kafka_door_options ko = {.listen = {.host = "127.0.0.1"}, .sasl = true, .plain_unencrypted = true};
    struct scram_verifier v = {.iterations = LIMIT_SCRAM_ITERATIONS_MIN, .salt_len = 8};
    struct kafka_sasl_handshake_request q;
    struct kafka_metadata_request metadata;
    struct kafka_door *door;
    struct net_address at;
    struct kclient_conn c;
    struct kworld w;

    if (size < 1) return 0;
    kworld_init(&w, &o);
    check(user_set_verifier(w.broker, BYTES_LIT("a"), SCRAM_SHA_256, &v, NULL) == ERR_NONE);
    kafka_door_close(w.door, kworld_door_closed, &w);
    sim_run_ms(w.sim, 10);
    check(w.is_door_closed && kafka_door_open(&door, w.broker, &ko, &at, NULL) == ERR_NONE);
    w.door = door;
    w.address = at;
    w.is_door_closed = false;
    kconn_open(&c, &w);
    q.mechanism = bytes_str(names[data[0] % 3]);
    kconn_send(&c, KAFKA_SASL_HANDSHAKE, data[0] >> 7 ? 0 : 1, &q);
    for (size_t i = 1; i < size;) {
        const uint8_t *cut = memchr(data + i, 0xff, size - i);
        size_t n = cut != NULL ? (size_t)(cut - data) - i : size - i;
        send_token(&c, data[0] >> 7, bytes_of(data + i, n));
        sim_run_ms(w.sim, 2);
        i += n + 1;
    }
    wire_init(&kafka_metadata_request_wire, &metadata);
    kconn_send(&c, KAFKA_METADATA, 1, &metadata);
    sim_run_ms(w.sim, 2000);
    check(c.is_closed);
    kconn_close(&c);
    kworld_deinit(&w);
    return 0;
}
