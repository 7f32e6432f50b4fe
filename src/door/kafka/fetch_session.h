/* fetch_session.h: which partitions a reader follows, and what it was told of each: for the length of one request, or
 * across the requests of a fetch session. Rules: fetch_session.c; how they are read: fetch.c. Thread: the shard. */
#ifndef WEIR_DOOR_KAFKA_FETCH_SESSION_H
#define WEIR_DOOR_KAFKA_FETCH_SESSION_H

#include "door/kafka/kafka_int.h"

struct fetch;
struct fetch_set;

struct fetch_topic {
    struct bytes name; /* by name, else: */
    uint8_t id[16];
    int32_t n_parts;
    struct kafka_fetch_response_topic *out; /* of the answer being built */
    uint64_t out_of;                        /* which answer that is */
};
enum fetch_look { FETCH_NOT_LOOKED, FETCH_SILENT, FETCH_SAYS };
struct fetch_part {
    struct read_wait wait; /* registered: the set hears when there is more */
    struct list link;      /* fetch_set.ready; not linked: nothing to look at until `wait` wakes */
    struct fetch_set *set;
    struct fetch_topic *topic;
    int64_t offset;
    int32_t index, max_bytes, leader_epoch;
    bool must_say;                              /* new, or the last answer was an error */
    int64_t said_high, said_stable, said_start; /* in the last answer; -1: nothing was said */
    /* Of the look under way. */
    enum fetch_look look;
    int16_t error;
    int64_t high, stable, start;
    struct bytes records;
    struct aborted_txn *aborted; /* owned */
    int32_t n_aborted;           /* -1: null */
};
struct fetch_set {
    struct list ready; /* struct fetch_part, in the order in which they are served */
    uint64_t answers;  /* counts */
    int32_t n_parts;
    bool is_by_id, is_committed;
    struct fetch *fetch; /* the request that works on it; NULL: none */
};

struct fetch_session {
    struct fetch_set set;
    struct fetch_sessions *sessions;
    int32_t id, epoch; /* epoch: of the next request */
    uint64_t made_ns, used_ns;
    struct list link;  /* fetch_sessions.by_use */
    struct map topics; /* name or id -> struct fetch_topic, owned */
    struct map parts;  /* address of the topic, index -> struct fetch_part, owned */
};
void fetch_sessions_init(struct fetch_sessions *ss, const struct sys *sys);
void fetch_sessions_deinit(struct fetch_sessions *ss); /* no request works on any of them */

/* A partition that must be told of, at the end of the ready list. */
void fetch_part_init(struct fetch_part *p, struct fetch_set *set, struct fetch_topic *t,
                     const struct kafka_fetch_request_partition *in);
/* Back among those that are looked at. */
void fetch_part_ready(struct fetch_part *p);

/* NULL: declined; the reader goes on without a session. */
struct fetch_session *fetch_session_make(struct fetch_sessions *ss, const struct kafka_fetch_request *in,
                                         bool is_by_id);
struct fetch_session *fetch_session_find(struct fetch_sessions *ss, int32_t id);
/* The request's changes: partitions new or changed, and forgotten ones. False: no room for them. */
bool fetch_session_update(struct fetch_session *s, const struct kafka_fetch_request *in);
void fetch_session_used(struct fetch_session *s);
void fetch_session_end(struct fetch_session *s); /* no request works on it */

/* fetch.c: something about the set has changed: the request that waits on it looks again. */
void fetch_woken(struct fetch *f);
/* The request that works on it is answered now, with what there is. */
void fetch_answer_now(struct fetch *f);

#endif
