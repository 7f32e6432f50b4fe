/* fuzz_kafka_conn.c: connections as state machines: several peers of one door, before and after a login, who send, stop in the middle,
 * read or not, wait and vanish, while memory is scarce and quotas are low. Nothing may crash or hang, and when all are gone
 * nothing is left of them.
 *
 *   input: u8 flags (1: a login is required, 2: a quota of bytes, 4: of time and connections), then steps:
 *          u8: low 2 bits the peer, the rest what it does: 0 send the next bytes (u16 length, bytes); 1 send a frame head that
 *          claims a length (u32); 2 let time pass (u8 in tenths of a second); 3 close; 4 stop reading; 5 go on reading;
 *          6 a Metadata request that is in order; anything else: send the next bytes
 * Seeds: connections of real clients, cut into steps. */
#include "fuzz.h"

#include "broker/quota.h"
#include "door/kafka/kafka_int.h"
#include "door/kafka/test_client.h"

#define PEERS 4
#define STEPS_MAX 200

struct play {
    struct kworld w;
    struct kclient_conn peers[PEERS];
    bool is_open[PEERS];
    const uint8_t *at, *end;
};

static unsigned take(struct play *p, int n)
{
    unsigned v = 0;

    for (int i = 0; i < n && p->at < p->end; i++)
        v = v << 8 | *p->at++;
    return v;
}

static void set_quota(struct play *p, struct quota_entity entity, enum quota_kind kind, double value)
{
    struct quota_change change = {kind, false, value};

    check(quota_alter(p->w.broker, &entity, &change, 1, false, NULL) == ERR_NONE);
}

static void start(struct play *p, unsigned flags)
{
    struct sim_options o = {.seed = flags, .wall_start_ms = WORLD_WALL_MS, .net_split_permille = 200};
    struct kafka_door_options door = {.idle_ms = 5000,
                                      .connections_max = PEERS,
                                      .receive_bytes_max = 200000,
                                      .held_bytes_max = 200000,
                                      .sasl = flags & 1,
                                      .plain_unencrypted = true};

    kworld_init_door(&p->w, &o, &door);
    if (flags & 2) {
        set_quota(p, (struct quota_entity){.client = {QUOTA_DEFAULT, BYTES_NULL}}, QUOTA_PRODUCE, 1000);
        set_quota(p, (struct quota_entity){.client = {QUOTA_DEFAULT, BYTES_NULL}}, QUOTA_CONSUME, 1000);
    }
    if (flags & 4) {
        set_quota(p, (struct quota_entity){.user = {QUOTA_DEFAULT, BYTES_NULL}}, QUOTA_REQUEST, 0.001);
        set_quota(p, (struct quota_entity){.ip = {QUOTA_DEFAULT, BYTES_NULL}}, QUOTA_CONNECTIONS, 1);
    }
}

static void close_peer(struct play *p, unsigned i)
{
    if (p->is_open[i]) kconn_close(&p->peers[i]);
    p->is_open[i] = false;
}

static void send_next(struct play *p, struct kclient_conn *c)
{
    size_t n = take(p, 2);

    if (n > (size_t)(p->end - p->at)) n = (size_t)(p->end - p->at);
    kconn_send_bytes(c, bytes_of(p->at, n));
    p->at += n;
}

static void step(struct play *p)
{
    unsigned op = take(p, 1), i = op % PEERS;
    struct net *net = p->w.sys->net;
    struct kclient_conn *c = &p->peers[i];
    struct kafka_metadata_request metadata;
    uint8_t head[4];

    if (p->is_open[i] && c->is_closed) close_peer(p, i);
    if (!p->is_open[i]) {
        kconn_open(c, &p->w);
        p->is_open[i] = true;
        if (c->is_closed) return;
    }
    switch (op / PEERS) {
    case 1:
        be32_put(head, take(p, 4));
        kconn_send_bytes(c, bytes_of(head, 4));
        break;
    case 2: sim_run_ms(p->w.sim, take(p, 1) * 100); break;
    case 3: close_peer(p, i); break;
    case 4: net->read_stop(net, c->conn); break;
    case 5: net->read_start(net, c->conn); break;
    case 6:
        wire_init(&kafka_metadata_request_wire, &metadata);
        kconn_send(c, KAFKA_METADATA, 9, &metadata);
        break;
    default: send_next(p, c);
    }
    sim_run_ms(p->w.sim, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play p = {.at = data + 1, .end = data + size};
    struct kafka_door_stats stats;

    if (size < 2) return 0;
    start(&p, data[0]);
    for (int i = 0; i < STEPS_MAX && p.at < p.end; i++)
        step(&p);
    for (unsigned i = 0; i < PEERS; i++)
        close_peer(&p, i);
    sim_run_ms(p.w.sim, 10000);
    kafka_door_stats(p.w.door, &stats);
    check(stats.connections == 0 && stats.receive_bytes == 0 && stats.held_bytes == 0);
    kworld_deinit(&p.w);
    return 0;
}
