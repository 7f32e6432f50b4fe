/* kafka_int.h: what the files of this room share: a connection, a request, and the handlers of the requests.
 *
 * A request lives from the moment its frame is complete until its reply is with the kernel. A handler gets the decoded
 * body and ends in exactly one of kafka_reply, kafka_reply_none and kafka_request_fail, now or later. What it needs
 * later it keeps in the request's arena: the body's strings and blobs are views of the receive buffer and valid only
 * during the call. */
#ifndef WEIR_DOOR_KAFKA_KAFKA_INT_H
#define WEIR_DOOR_KAFKA_KAFKA_INT_H

#include "base/limits.h"
#include "base/map.h"
#include "broker/auth.h"
#include "broker/quota.h"
#include "broker/txn.h"
#include "door/kafka/kafka.h"
#include "door/kafka/kafka_codec.h"

#define KAFKA_VERSIONS_MAX 20                 /* no message has more */
#define KAFKA_REQUESTS_SPARE_MAX 128          /* kept for reuse, per door; more are freed */
#define KAFKA_REQUEST_MEMORY_KEPT (64u << 10) /* a request that used more gives it back when it ends */
#define KAFKA_ANSWER_BYTES_MAX                                                                                         \
    (128u << 20)                       /* arena of one request while it is answered; more: the connection closes  \
                                             */
#define KAFKA_RECEIVE_STEP (64u << 10) /* the receive buffer starts at this and at most doubles as bytes arrive */
#define KAFKA_RECEIVE_KEPT (2u << 20)  /* an empty receive buffer above this is given back at once */
#define KAFKA_RECEIVE_KEPT_MS 1000     /* ... and one below it after so long without a byte */
#define KAFKA_RECEIVE_SPARE_MAX 16     /* buffers of one step kept for reuse, per door */
#define KAFKA_ANONYMOUS "User:ANONYMOUS"
#define KAFKA_DRAIN_MS 3000 /* a closing door waits so long for replies to leave */

struct fetch_session;
struct fetch_sessions { /* fetch_session.c */
    struct map by_id;   /* the 4 bytes of the id -> struct fetch_session */
    struct list by_use; /* the one that was used longest ago first */
    struct loop *loop;
    struct rng *rng;
    uint32_t n_parts; /* of all */
    uint64_t evicted_total;
};

struct kafka_door {
    struct broker *broker; /* borrowed */
    const struct sys *sys; /* borrowed */
    struct net *net;       /* borrowed; of this listener */
    struct kafka_door_options options;
    struct listener *listener;
    struct list conns; /* struct kafka_conn */
    struct list spare; /* struct kafka_request, for reuse */
    uint32_t n_spare;
    struct kafka_door_stats stats;
    struct fetch_sessions fetch_sessions;
    uint64_t served[KAFKA_MESSAGE_COUNT][KAFKA_VERSIONS_MAX]; /* well-formed requests, by message and version */

    /* Receive buffers: receive.c. */
    uint8_t *spare_in[KAFKA_RECEIVE_SPARE_MAX];
    uint32_t n_spare_in;
    uint64_t receive_bytes, receive_step_bytes; /* of all connections: larger ones, those of one step */
    struct kafka_conn *last_room;               /* who was given room last; NULL: nobody, or it is gone */
    struct list starving;                       /* connections that wait for memory, in order */
    struct kafka_conn *overdraft;               /* the one that may go beyond the budget; NULL: none does */
    size_t held_bytes;                          /* of requests that are not answered or whose answers have not left */
    struct auth_watch auth_watch;
    bool is_closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct timer drain_timer;
};

struct kafka_conn {
    struct list link; /* door->conns */
    struct kafka_door *door;
    struct conn *net_conn;
    struct session session;
    struct kafka_sasl *sasl; /* owned; NULL: this listener wants no login */
    char *principal;         /* owned; what session.principal points to unless nobody is known */
    bool is_introduced;      /* the first frame is here: the transport knows who the peer is */
    bool closes_when_sent;   /* handles no more frames; closes when the last reply is with the kernel */

    /* Receive buffer: [at, len) is not handled yet. */
    uint8_t *in;
    size_t in_at, in_len, in_cap;
    struct list starve_link; /* door->starving */

    /* Requests in the order of their arrival; replies leave from the front. */
    struct list requests;
    uint32_t n_requests; /* in `requests` and `sending` */
    size_t reply_bytes;  /* encoded and not yet with the kernel */
    uint32_t fetch_rotation;

    /* The one send under way. */
    struct list sending;
    struct send_req send;
    struct iovec *iov;
    int n_iov, iov_cap;
    bool is_sending;

    struct task task; /* a turn of the connection */
    bool is_posted, is_busy, again;
    bool is_read_stopped;  /* told the net to stop; conn_turn starts again */
    bool is_closing;       /* net->close was called */
    bool closes_at_unmute; /* made too fast: quotas of addresses */

    /* guard.c */
    struct timer guard;
    uint64_t moved_ns; /* the last byte in either direction */
    uint64_t frame_ns; /* since when an incomplete frame is here; 0: there is none */
    uint64_t muted_until_ns;
    size_t send_left;  /* of the send under way, when the guard looked last */
    size_t held_bytes; /* its part of the door's */
    bool is_closed;    /* the net's last word */
};

struct kafka_request {
    struct list link;
    struct kafka_conn *conn;
    const struct wire_message *message;
    struct wire_header header;
    uint8_t *frame; /* of the call: the same bytes the body's views point into, for stamping in place */
    const uint8_t *frame_end;
    struct arena arena;
    size_t held_bytes;    /* as accounted in the door */
    uint64_t began_ns;    /* the handler's; 0: not counted, or it is through */
    uint64_t throttle_ms; /* what the answer will say */

    bool is_ready, is_silent;
    struct buf out; /* size, header and body without the spliced records */
    struct wire_splice *splices;
    int n_splices;
    size_t reply_bytes, spliced_bytes;
    struct log_slice *slices; /* what the splices point into; released when sent */
    int n_slices;

    /* While parked. */
    void *state;
    void (*cancel)(struct kafka_request *q); /* the connection is gone: leave every list; no reply */
    void (*hurry)(struct kafka_request *q);  /* the door closes: reply now. NULL: the reply comes by itself soon */
};

/* Encodes the reply and queues it. The request is not to be touched afterwards. */
void kafka_reply(struct kafka_request *q, const void *response);
/* Nothing is sent (acks=0). */
void kafka_reply_none(struct kafka_request *q);
/* Says why and closes the connection. */
void kafka_request_fail(struct kafka_request *q, const char *fmt, ...) PRINTF_LIKE(2, 3);
void kafka_park(struct kafka_request *q, void *state, void (*cancel)(struct kafka_request *q),
                void (*hurry)(struct kafka_request *q));

/* For loops whose answer may be much larger than the question: false when it has grown too large and the request was
 * failed. */
bool kafka_answer_fits(struct kafka_request *q);

static inline struct broker *kafka_broker(const struct kafka_request *q)
{
    return q->conn->door->broker;
}
static inline struct loop *kafka_loop(const struct kafka_request *q)
{
    return q->conn->door->sys->loop;
}
static inline int kafka_version(const struct kafka_request *q)
{
    return q->header.version;
}
/* May who sent this request do that? */
static inline bool kafka_may(const struct kafka_request *q, enum acl_operation op, enum acl_resource type,
                             struct bytes name)
{
    return authorise(kafka_broker(q), &q->conn->session, op, type, name);
}
/* The same for what is only left out of a list: no audit. */
static inline bool kafka_may_see(const struct kafka_request *q, enum acl_operation op, enum acl_resource type,
                                 struct bytes name)
{
    return authorise_quiet(kafka_broker(q), &q->conn->session, op, type, name);
}
static inline bool kafka_may_create_topic(const struct kafka_request *q, struct bytes name)
{
    return kafka_may_see(q, ACL_CREATE, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME)) ||
           kafka_may(q, ACL_CREATE, ACL_TOPIC, name);
}
/* For changes that an administrator makes. */
static inline void kafka_audit(const struct kafka_request *q, const char *what, struct bytes on, int16_t error)
{
    audit(kafka_broker(q), &q->conn->session, what, on, error == 0 ? "ok" : "failed");
}
/* Where clients find this node: the configured address, or the one this client connected to. */
void kafka_advertised(const struct kafka_request *q, struct net_address *out);

/* ---- dispatch.c ---- */
/* One complete frame without its size; malformed or unknown: the connection is closing afterwards. */
void kafka_dispatch(struct kafka_conn *c, uint8_t *frame, size_t len);
/* conn.c: a request at the end of the connection's queue. */
struct kafka_request *kafka_request_begin(struct kafka_conn *c);
void kafka_conn_fail(struct kafka_conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void kafka_conn_hurry(struct kafka_conn *c);
void kafka_conn_close(struct kafka_conn *c);
void kafka_conn_schedule(struct kafka_conn *c); /* a turn soon */
/* May another frame of it be handled now? */
bool kafka_conn_is_full(const struct kafka_conn *c);
/* Size of the frame at in_at with its prefix; 0: the prefix is not there yet; SIZE_MAX: impossible. */
size_t kafka_conn_frame_size(const struct kafka_conn *c);
/* Counts what the request holds; too much of all connections: the one that holds most is closed. */
void kafka_request_account(struct kafka_request *q);

/* ---- receive.c: the memory that frames arrive in ---- */
/* Room for the next bytes. False: none now; reading stops and goes on by a turn. */
bool kafka_receive_room(struct kafka_conn *c, uint8_t **ptr, size_t *cap);
void kafka_receive_rest(struct kafka_conn *c);    /* after a turn: an empty buffer goes back */
void kafka_receive_release(struct kafka_conn *c); /* the buffer goes back, whatever is in it */
void kafka_receive_deinit(struct kafka_door *d);

/* ---- guard.c: time limits of a connection ---- */
void kafka_guard_start(struct kafka_conn *c);
void kafka_guard_look(struct kafka_conn *c); /* after a turn */
void kafka_guard_arm(struct kafka_conn *c, uint64_t at_ns);
void kafka_guard_hurry(struct kafka_conn *c); /* others wait for its frame to get on */
void kafka_guard_stop(struct kafka_conn *c);
void kafka_conn_mute(struct kafka_conn *c, uint64_t ms);

/* ---- throttle.c: quotas of requests; only called while there are any ---- */
void kafka_throttle_begin(struct kafka_request *q); /* around the handler */
void kafka_throttle_end(struct kafka_request *q);
void kafka_throttle_reply(struct kafka_request *q, const void *response);
/* Charges what a fetch is about to send; false: it is to be answered empty. */
bool kafka_throttle_fetch(struct kafka_request *q, size_t bytes);
/* The most one fetch may take. */
size_t kafka_throttle_fetch_max(const struct kafka_request *q);
void kafka_throttle_produce(struct kafka_request *q);
void kafka_throttle_mutations(struct kafka_request *q, int64_t partitions);
void *kafka_conn_accept(void *door, struct conn *net_conn, const struct conn_handler **handler);
void kafka_door_conn_gone(struct kafka_door *d); /* kafka.c: after a connection was freed */
void kafka_request_destroy(struct kafka_request *q);

void kafka_reply_raw(struct kafka_request *q, struct bytes token); /* size and bytes: SASL's first version */
/* C6: the connection belongs to this principal from now on. */
void kafka_conn_principal(struct kafka_conn *c, struct bytes name);

/* ---- sasl.c: logging in ---- */
struct kafka_sasl *kafka_sasl_create(struct kafka_conn *c);
void kafka_sasl_destroy(struct kafka_sasl *s); /* NULL is harmless */
void kafka_sasl_abort(struct kafka_sasl *s);   /* the connection is gone; NULL is harmless */
bool kafka_sasl_is_done(const struct kafka_sasl *s);
bool kafka_sasl_is_raw(const struct kafka_sasl *s);  /* the next frame is a token without a header */
bool kafka_sasl_is_busy(const struct kafka_sasl *s); /* a check is under way: no frame is handled meanwhile */
void kafka_sasl_token(struct kafka_conn *c, struct bytes token);
/* May this request be handled in the state the login is in? NULL: yes, else why not. */
const char *kafka_sasl_refuses(struct kafka_conn *c, int16_t key);
bool kafka_sasl_is_user(const struct kafka_sasl *s, struct bytes name);
void kafka_handle_sasl_handshake(struct kafka_request *q, void *body);
void kafka_handle_sasl_authenticate(struct kafka_request *q, void *body);

/* ---- error.c ---- */
enum kafka_error {
    KE_UNKNOWN = -1,
    KE_NONE = 0,
    KE_OFFSET_OUT_OF_RANGE = 1,
    KE_CORRUPT_MESSAGE = 2,
    KE_UNKNOWN_TOPIC_OR_PARTITION = 3,
    KE_LEADER_NOT_AVAILABLE = 5,
    KE_REQUEST_TIMED_OUT = 7,
    KE_MESSAGE_TOO_LARGE = 10,
    KE_OFFSET_METADATA_TOO_LARGE = 12,
    KE_COORDINATOR_LOAD_IN_PROGRESS = 14,
    KE_COORDINATOR_NOT_AVAILABLE = 15,
    KE_NOT_COORDINATOR = 16,
    KE_INVALID_TOPIC = 17,
    KE_INVALID_REQUIRED_ACKS = 21,
    KE_ILLEGAL_GENERATION = 22,
    KE_INCONSISTENT_GROUP_PROTOCOL = 23,
    KE_INVALID_GROUP_ID = 24,
    KE_UNKNOWN_MEMBER_ID = 25,
    KE_INVALID_SESSION_TIMEOUT = 26,
    KE_REBALANCE_IN_PROGRESS = 27,
    KE_TOPIC_AUTHORIZATION_FAILED = 29,
    KE_GROUP_AUTHORIZATION_FAILED = 30,
    KE_CLUSTER_AUTHORIZATION_FAILED = 31,
    KE_INVALID_TIMESTAMP = 32,
    KE_UNSUPPORTED_SASL_MECHANISM = 33,
    KE_ILLEGAL_SASL_STATE = 34,
    KE_UNSUPPORTED_VERSION = 35,
    KE_TOPIC_ALREADY_EXISTS = 36,
    KE_INVALID_PARTITIONS = 37,
    KE_INVALID_REPLICATION_FACTOR = 38,
    KE_INVALID_REPLICA_ASSIGNMENT = 39,
    KE_INVALID_CONFIG = 40,
    KE_INVALID_REQUEST = 42,
    KE_POLICY_VIOLATION = 44,
    KE_OUT_OF_ORDER_SEQUENCE_NUMBER = 45,
    KE_INVALID_PRODUCER_EPOCH = 47,
    KE_INVALID_TXN_STATE = 48,
    KE_INVALID_PRODUCER_ID_MAPPING = 49,
    KE_INVALID_TRANSACTION_TIMEOUT = 50,
    KE_CONCURRENT_TRANSACTIONS = 51,
    KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53,
    KE_OPERATION_NOT_ATTEMPTED = 55,
    KE_KAFKA_STORAGE_ERROR = 56,
    KE_SASL_AUTHENTICATION_FAILED = 58,
    KE_NON_EMPTY_GROUP = 68,
    KE_GROUP_ID_NOT_FOUND = 69,
    KE_FETCH_SESSION_ID_NOT_FOUND = 70,
    KE_INVALID_FETCH_SESSION_EPOCH = 71,
    KE_FENCED_LEADER_EPOCH = 74,
    KE_UNKNOWN_LEADER_EPOCH = 75,
    KE_UNSUPPORTED_COMPRESSION_TYPE = 76,
    KE_MEMBER_ID_REQUIRED = 79,
    KE_GROUP_MAX_SIZE_REACHED = 81,
    KE_FENCED_INSTANCE_ID = 82,
    KE_ELECTION_NOT_NEEDED = 84,
    KE_NO_REASSIGNMENT_IN_PROGRESS = 85,
    KE_GROUP_SUBSCRIBED_TO_TOPIC = 86,
    KE_INVALID_RECORD = 87,
    KE_UNSTABLE_OFFSET_COMMIT = 88,
    KE_PRODUCER_FENCED = 90,
    KE_RESOURCE_NOT_FOUND = 91,
    KE_DUPLICATE_RESOURCE = 92,
    KE_UNACCEPTABLE_CREDENTIAL = 93,
    KE_UNKNOWN_TOPIC_ID = 100,
    KE_INCONSISTENT_TOPIC_ID = 103,
    KE_TRANSACTIONAL_ID_NOT_FOUND = 105,
    KE_FETCH_SESSION_TOPIC_ID_ERROR = 106,
    KE_FENCED_MEMBER_EPOCH = 110,
    KE_UNRELEASED_INSTANCE_ID = 111,
    KE_UNSUPPORTED_ASSIGNOR = 112,
    KE_STALE_MEMBER_EPOCH = 113,
    KE_TRANSACTION_ABORTABLE = 120,
    KE_INVALID_REGULAR_EXPRESSION = 128,
};
/* What a failed call into topics, partitions or the log is for a client. */
int16_t kafka_error_of(enum err_code rc);
int16_t kafka_error_of_append(enum err_code rc);
int16_t kafka_error_of_topic(enum err_code rc);
int16_t kafka_error_of_group(enum err_code rc, enum group_detail detail);
/* fenced: what the version of the request calls a producer with an older epoch. */
int16_t kafka_error_of_txn(enum err_code rc, enum txn_detail detail, int16_t fenced);

/* ---- topic_config.c: a topic's configuration under Kafka's names ---- */
enum { /* Kafka's ConfigType and ConfigSource */
       KAFKA_TYPE_BOOLEAN = 1,
       KAFKA_TYPE_STRING = 2,
       KAFKA_TYPE_INT = 3,
       KAFKA_TYPE_LONG = 5,
       KAFKA_TYPE_DOUBLE = 6,
       KAFKA_TYPE_LIST = 7,
       KAFKA_SOURCE_TOPIC = 1,
       KAFKA_SOURCE_BROKER = 4, /* given when the server was started */
       KAFKA_SOURCE_DEFAULT = 5,
};
/* Synonyms tell where the value comes from: itself first, then what would hold without it. */
struct kafka_config_view {
    const char *name;
    struct bytes value;
    int8_t type, source;
    struct {
        const char *name;
        struct bytes value;
        int8_t source;
    } synonyms[3];
    int n_synonyms;
};
#define KAFKA_CONFIGS_MAX 48
/* What DescribeConfigs and CreateTopics tell of a topic on which this is set; values are in the arena. */
int kafka_topic_configs(struct broker *b, const struct topic_config *given, struct arena *a,
                        struct kafka_config_view *out);
enum kafka_config_op { KAFKA_CONFIG_SET, KAFKA_CONFIG_DELETE, KAFKA_CONFIG_APPEND, KAFKA_CONFIG_SUBTRACT };
/* One change to what is set on a topic. KE_INVALID_CONFIG (KE_INVALID_REQUEST: no such op), the reason in *e. */
int16_t kafka_topic_config_change(struct topic_config *c, int op, struct bytes name, struct bytes value, struct err *e);
/* Which configuration it is, below 64; -1: none of ours. */
int kafka_topic_config_index(struct bytes name);

/* ---- the handlers, one file each; body is the decoded request ---- */
void kafka_handle_api_versions(struct kafka_request *q, void *body); /* api_versions.c */
void kafka_handle_metadata(struct kafka_request *q, void *body);     /* metadata.c */
void kafka_handle_describe_cluster(struct kafka_request *q, void *body);
void kafka_handle_find_coordinator(struct kafka_request *q, void *body);
void kafka_handle_produce(struct kafka_request *q, void *body);      /* produce.c */
void kafka_handle_fetch(struct kafka_request *q, void *body);        /* fetch.c */
void kafka_handle_list_offsets(struct kafka_request *q, void *body); /* list_offsets.c */
void kafka_handle_join_group(struct kafka_request *q, void *body);   /* groups.c */
void kafka_handle_sync_group(struct kafka_request *q, void *body);
void kafka_handle_heartbeat(struct kafka_request *q, void *body);
void kafka_handle_leave_group(struct kafka_request *q, void *body);
void kafka_handle_describe_groups(struct kafka_request *q, void *body); /* group_admin.c */
void kafka_handle_list_groups(struct kafka_request *q, void *body);
void kafka_handle_delete_groups(struct kafka_request *q, void *body);
void kafka_handle_offset_delete(struct kafka_request *q, void *body);
void kafka_handle_consumer_group_heartbeat(struct kafka_request *q, void *body); /* consumer_groups.c */
void kafka_handle_consumer_group_describe(struct kafka_request *q, void *body);
void kafka_handle_offset_commit(struct kafka_request *q, void *body); /* offsets.c */
void kafka_handle_offset_fetch(struct kafka_request *q, void *body);
void kafka_handle_create_topics(struct kafka_request *q, void *body); /* topics.c */
void kafka_handle_delete_topics(struct kafka_request *q, void *body);
void kafka_handle_create_partitions(struct kafka_request *q, void *body); /* partitions.c */
void kafka_handle_delete_records(struct kafka_request *q, void *body);
void kafka_handle_offset_for_leader_epoch(struct kafka_request *q, void *body);
void kafka_handle_init_producer_id(struct kafka_request *q, void *body);      /* producer_id.c */
void kafka_handle_add_partitions_to_txn(struct kafka_request *q, void *body); /* txn.c */
void kafka_handle_add_offsets_to_txn(struct kafka_request *q, void *body);
void kafka_handle_end_txn(struct kafka_request *q, void *body);
void kafka_handle_txn_offset_commit(struct kafka_request *q, void *body);
void kafka_handle_describe_transactions(struct kafka_request *q, void *body); /* txn_admin.c */
void kafka_handle_list_transactions(struct kafka_request *q, void *body);
void kafka_handle_describe_log_dirs(struct kafka_request *q, void *body); /* cluster_admin.c */
void kafka_handle_elect_leaders(struct kafka_request *q, void *body);
void kafka_handle_alter_partition_reassignments(struct kafka_request *q, void *body);
void kafka_handle_list_partition_reassignments(struct kafka_request *q, void *body);
void kafka_handle_describe_producers(struct kafka_request *q, void *body);
void kafka_handle_list_config_resources(struct kafka_request *q, void *body);
void kafka_handle_describe_topic_partitions(struct kafka_request *q, void *body);
void kafka_handle_describe_configs(struct kafka_request *q, void *body); /* configs.c */
void kafka_handle_alter_configs(struct kafka_request *q, void *body);    /* alter_configs.c */
void kafka_handle_incremental_alter_configs(struct kafka_request *q, void *body);

void kafka_handle_describe_client_quotas(struct kafka_request *q, void *body); /* quotas.c */
void kafka_handle_alter_client_quotas(struct kafka_request *q, void *body);
void kafka_handle_describe_acls(struct kafka_request *q, void *body); /* acls.c */
void kafka_handle_create_acls(struct kafka_request *q, void *body);
void kafka_handle_delete_acls(struct kafka_request *q, void *body);
void kafka_handle_describe_user_scram_credentials(struct kafka_request *q, void *body); /* scram_users.c */
void kafka_handle_alter_user_scram_credentials(struct kafka_request *q, void *body);

/* The answer to an ApiVersions request of a version that is not served: version 0 with the range of ApiVersions. */
void kafka_reply_api_versions_unsupported(struct kafka_request *q);

#endif
