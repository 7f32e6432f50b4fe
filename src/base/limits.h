/* limits.h: every bound of the program in one place, with unit, reason and what happens at the edge. Relations are
 * asserted at the end. Rooms add theirs here, nowhere else. */
#ifndef WEIR_BASE_LIMITS_H
#define WEIR_BASE_LIMITS_H

/* ---- names ---- */
#define LIMIT_TOPIC_NAME_LEN_MAX 249 /* Kafka's; longer: invalid topic. Alphabet [A-Za-z0-9._-] */
#define LIMIT_GROUP_ID_LEN_MAX 512   /* longer: invalid group id */
#define LIMIT_PATH_LEN_MAX 4096      /* PATH_MAX; longer: refused when building the path */

/* ---- batches and requests ---- */
#define LIMIT_BATCH_BYTES_DEFAULT 1048588u        /* Kafka's message.max.bytes; larger: MESSAGE_TOO_LARGE */
#define LIMIT_BATCH_BYTES_MAX (64u << 20)         /* internal topics (flow commits); larger commits are split */
#define LIMIT_REQUEST_BYTES_MAX (100u << 20)      /* Kafka's socket.request.max.bytes; larger: connection closed */
#define LIMIT_FETCH_BYTES_MAX (55u << 20)         /* Kafka's fetch.max.bytes; more is cut, clients ask again */
#define LIMIT_DECOMPRESSED_BYTES_MAX (128u << 20) /* one batch; larger: corrupt (decompression bomb) */
#define LIMIT_RECORD_HEADERS_MAX 1024             /* per record; more: invalid record */

/* ---- connections ---- */
#define LIMIT_CONNECTIONS_MAX 10000           /* per listener; more: closed at accept */
#define LIMIT_CONN_INFLIGHT_MAX 32            /* requests of one connection not yet answered; more: reading pauses */
#define LIMIT_CONN_SEND_BYTES_MAX (64u << 20) /* queued replies; more: reading pauses */
#define LIMIT_FETCH_SESSIONS_MAX 1000         /* Kafka's; per listener; more: the oldest idle one goes, else declined */
#define LIMIT_FETCH_SESSION_PARTITIONS_MAX 200000u         /* of all sessions, about 350 bytes each; more: declined */
#define LIMIT_FETCH_SESSION_IDLE_NS (120ull * 1000000000u) /* Kafka's; younger ones keep their slot */
#define LIMIT_CONN_IDLE_MS (10ll * 60 * 1000)       /* Kafka's connections.max.idle.ms; longer without a byte: closed */
#define LIMIT_FRAME_MS 30000                        /* a begun frame may take so long, and longer only when ... */
#define LIMIT_FRAME_AWAITED_MS 2000                 /* without a byte, when others wait for the frame's memory */
#define LIMIT_FRAME_BYTES_PER_S 1024u               /* ... its bytes come faster than this; else: closed */
#define LIMIT_RECEIVE_BYTES_MAX ((size_t)128 << 20) /* begun frames of one door; more: reading waits, one goes on */
#define LIMIT_HELD_BYTES_MAX ((size_t)128 << 20)    /* requests and answers of one door; more: the largest is closed */
#define LIMIT_HTTP_HEADER_BYTES_MAX (16u << 10)     /* larger: 431 */
#define LIMIT_HTTP_BODY_BYTES_MAX (1u << 20)        /* larger: 413 */

/* ---- log ---- */
#define LIMIT_SEGMENT_BYTES_DEFAULT (256u << 20) /* rolls at the batch that would pass it */
#define LIMIT_SEGMENT_BYTES_MIN (4u << 10)
#define LIMIT_SEGMENT_BYTES_MAX (1u << 30) /* positions are 32 bit; mapping is reserved at this size */
#define LIMIT_INDEX_INTERVAL_BYTES 4096u   /* Kafka's; one sparse index entry per so many log bytes */
#define LIMIT_PARTITIONS_PER_TOPIC_MAX 1024
#define LIMIT_PRODUCER_BATCHES 5 /* remembered per idempotent producer and partition, as Kafka */
#define LIMIT_PRODUCER_EXPIRY_MS (24ll * 3600 * 1000)
#define LIMIT_COMPACT_MAP_BYTES                                                                                        \
    (64u << 20) /* table of keys of one cleaning, 24 bytes a key; more keys: several passes */
#define LIMIT_COMPACT_SLICE_BYTES (1u << 20)     /* of the log, looked at by a cleaning before it lets others work */
#define LIMIT_TIMESTAMP_AHEAD_MS (3600ll * 1000) /* message.timestamp.after.max.ms; later: invalid timestamp */

#define LIMIT_SPARE_BYTES (4u << 20) /* kept in a data directory for a start and a close on a full disk */

/* ---- threads ---- */
#define LIMIT_JOBS_BESIDE 16 /* blocking jobs of one loop at a time, a thread each while they run; more: they queue */

/* ---- groups ---- */
#define LIMIT_SESSION_TIMEOUT_MIN_MS 6000
#define LIMIT_SESSION_TIMEOUT_MAX_MS 1800000
#define LIMIT_GROUP_MEMBERS_MAX 1000
#define LIMIT_OFFSET_METADATA_LEN_MAX 4096
#define LIMIT_TOPIC_REGEX_LEN_MAX 4096   /* of an expression over topic names; longer: invalid expression */
#define LIMIT_TOPIC_REGEX_STATES_MAX 512 /* followed at once while matching a name; more: no match */

/* ---- quotas ---- */
#define LIMIT_QUOTAS_MAX 10000         /* rules; more: refused */
#define LIMIT_QUOTA_NAME_LEN_MAX 1024  /* of a user, client id or address in a rule; longer: refused, never matches */
#define LIMIT_QUOTA_BUCKETS_MAX 10000u /* windows, about 200 bytes each; further ones share one */

/* ---- users and rules ---- */
#define LIMIT_USER_NAME_LEN_MAX 128          /* longer: refused, unknown at login */
#define LIMIT_PASSWORD_LEN_MAX 1024          /* longer: refused, wrong at login */
#define LIMIT_USERS_MAX 10000                /* more: refused */
#define LIMIT_ACLS_MAX 20000                 /* more: refused */
#define LIMIT_ACL_NAME_LEN_MAX 512           /* of a rule's resource, as LIMIT_GROUP_ID_LEN_MAX; longer: refused */
#define LIMIT_PRINCIPAL_LEN_MAX 512          /* longer: the rule is refused, the connection closed */
#define LIMIT_SCRAM_ITERATIONS_MIN 4096      /* Kafka's and RFC 7677's; fewer: refused */
#define LIMIT_SCRAM_ITERATIONS_MAX 16384     /* Kafka's; more: refused (each login would cost the server more) */
#define LIMIT_PASSWORD_CHECKS_MAX 64         /* derivations waiting, 5 ms each; more: the login fails */
#define LIMIT_BEFORE_LOGIN_BYTES (64u << 10) /* one request before login; larger: closed */
#define LIMIT_LOGIN_MS 10000                 /* a connection without login after that: closed */
#define LIMIT_AUDIT_FAILURES_PER_S 50        /* audited; more are counted only */
#define LIMIT_AUDIT_QUEUE_BYTES (1u << 20)   /* lines not appended yet; more are counted only */

/* ---- flows ---- */
#define LIMIT_CHUNK_ROWS 2048          /* rows of a columnar batch */
#define LIMIT_SQL_BYTES_MAX (1u << 20) /* statement text; longer: refused */
#define LIMIT_SQL_DEPTH_MAX 200        /* nesting of expressions and queries; deeper: refused */
#define LIMIT_SQL_COLUMNS_MAX 1024
#define LIMIT_SQL_EXPR_NODES_MAX 100000 /* of one statement, shared ones counted each time; more: refused */
#define LIMIT_SQL_REQUESTS_MAX 128      /* of all clients at once, about 4 MB each when stalled; more: 503 */
#define LIMIT_FLOWS_MAX 1024
#define LIMIT_WINDOW_PANES_MAX 1440 /* windows one row is in (a day by minutes); more: refused */

_Static_assert(LIMIT_BATCH_BYTES_MAX < LIMIT_SEGMENT_BYTES_MAX, "a batch fits a segment");
_Static_assert(LIMIT_BATCH_BYTES_DEFAULT < LIMIT_REQUEST_BYTES_MAX, "a batch fits a request");

#endif
