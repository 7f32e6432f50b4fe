/* kclient_int.h: what the files of the Kafka client share: connections, calls, and the errors of the protocol. */
#ifndef WEIR_APP_KCLIENT_INT_H
#define WEIR_APP_KCLIENT_INT_H

#include <stdatomic.h>

#include "app/kclient.h"
#include "base/list.h"
#include "base/map.h"
#include "base/reader.h"
#include "door/kafka/kafka_codec.h"
#include "sys/sys.h"

#define KCLIENT_RETRY_PAUSE_MS 100
#define KCLIENT_RESPONSE_BYTES_MAX (256u << 20) /* a larger answer ends the connection */
#define KCLIENT_ADDRESSES_MAX 16

enum kconn_state { KCONN_CONNECTING, KCONN_OPEN, KCONN_GONE };
struct kversions {
    int16_t low, high; /* high -1: not served */
};
struct kconn {
    struct list link; /* kclient.conns */
    struct kclient *k;
    struct net_address address;
    struct conn *conn;
    enum kconn_state state;
    bool is_settled; /* connected, or failed to */
    bool is_ready;   /* versions are known; may be used */
    int32_t next_correlation;
    uint8_t *in;
    size_t in_len, in_cap;
    struct list calls; /* struct kcall, in the order of sending */
    struct kversions versions[KAFKA_MESSAGE_COUNT];
    struct err error; /* why it is gone */
};
/* One request and its answer. The caller's memory until done. */
struct kcall {
    struct list link; /* kconn.calls while pending */
    struct kconn *conn;
    const struct wire_message *message;
    int version;
    int32_t correlation;
    bool is_done, wants_no_answer;
    enum err_code rc; /* when done: ERR_NONE or why there is no answer */
    struct buf frame; /* the answer with its header; must be deinited (kcall_deinit) */
};
struct knode {
    int32_t id;
    struct net_address address;
    bool is_known; /* address can be used */
};
/* Leaders of one topic as last told. */
struct kleaders {
    int32_t n;
    int32_t node[]; /* by partition; -1: none */
};
struct kclient {
    struct loop *loop;   /* owned */
    struct net *net;     /* owned */
    struct clock *clock; /* borrowed */
    char *client_id;     /* owned */
    int32_t timeout_ms;
    struct net_address bootstrap[KCLIENT_ADDRESSES_MAX];
    int n_bootstrap;
    struct list conns;
    struct knode *nodes; /* owned */
    int n_nodes;
    struct map leaders; /* topic -> struct kleaders, owned */
    struct timer timer;
    bool is_time_up;
    atomic_bool is_interrupted;
    bool ignores_interrupt; /* while closing a member or a producer's last flush */
    bool has_flushed_after_interrupt;
};

uint64_t kclient_deadline(const struct kclient *k, int64_t ms);
/* Runs the loop until *flag, the deadline or an interrupt. */
MUST_USE enum err_code kclient_run_until(struct kclient *k, const bool *flag, uint64_t deadline_ns, struct err *e);
MUST_USE enum err_code kclient_pause(struct kclient *k, int64_t ms, uint64_t deadline_ns, struct err *e);

/* ---- connections ---- */
/* To any node that answers. */
MUST_USE enum err_code kclient_any(struct kclient *k, struct kconn **out, uint64_t deadline_ns, struct err *e);
MUST_USE enum err_code kclient_node(struct kclient *k, int32_t node_id, struct kconn **out, uint64_t deadline_ns,
                                    struct err *e);
/* The leader of a partition; asks for metadata when it is not known or `refresh`. ERR_NOT_FOUND. */
MUST_USE enum err_code kclient_leader(struct kclient *k, struct bytes topic, int32_t partition, bool refresh,
                                      struct kconn **out, uint64_t deadline_ns, struct err *e);
/* The node that changes topics. */
MUST_USE enum err_code kclient_controller(struct kclient *k, struct kconn **out, uint64_t deadline_ns, struct err *e);
MUST_USE enum err_code kclient_coordinator(struct kclient *k, struct bytes group_id, struct kconn **out,
                                           uint64_t deadline_ns, struct err *e);
/* Number of partitions; creates the topic where the broker does so. */
MUST_USE enum err_code kclient_partition_count(struct kclient *k, struct bytes topic, int32_t *out,
                                               uint64_t deadline_ns, struct err *e);
int32_t kclient_known_leader(const struct kclient *k, struct bytes topic,
                             int32_t partition); /* node id, -1: not known */

/* ---- calls ---- */
/* Highest version both sides know, at most `high`. ERR_UNSUPPORTED. */
MUST_USE enum err_code kcall_version(const struct kconn *c, int16_t key, int high, int *out, struct err *e);
/* Sends; the call is pending until is_done. */
MUST_USE enum err_code kcall_start(struct kcall *call, struct kconn *c, int16_t key, int high, const void *request,
                                   struct err *e);
MUST_USE enum err_code kcall_wait(struct kcall *call, uint64_t deadline_ns, struct err *e);
/* The answer; its views point into call->frame. */
MUST_USE enum err_code kcall_decode(struct kcall *call, struct arena *a, void *response, struct err *e);
void kcall_deinit(struct kcall *call); /* pending: forgets the answer */
/* All of it. The answer's bytes are copied into the arena. */
MUST_USE enum err_code kcall_do(struct kconn *c, int16_t key, int high, const void *request, struct arena *a,
                                void *response, uint64_t deadline_ns, struct err *e);

/* ---- kclient_error.c ---- */
struct kerror {
    int16_t code;
    enum err_code rc;
    bool is_retriable, needs_metadata;
    const char *name;
};
const struct kerror *kerror_of(int16_t code);
/* Sets e to "<what>: <Kafka's name>[: message]"; returns the translated code. */
enum err_code kerror_set(struct err *e, int16_t code, struct bytes message, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* For rc ERR_CLOSED or a retriable answer: waits a little and is true when there is time for another try. */
bool kclient_may_retry(struct kclient *k, uint64_t deadline_ns, struct err *e);

#endif
