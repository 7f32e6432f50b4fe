/* quota.h: how much a user, a program or an address may ask for in a second. Rules are Kafka's: the same entities, names
 * and order of precedence; they are definitions of kind "quota" in `_weir_meta` (docs/format/data-directory.md). Design:
 * quota.c. Thread: the shard.
 *
 * Q1  Without a rule nothing is counted and nobody waits: quotas_any() is the one branch that a request costs.
 * Q2  What is charged has happened already. The answer is how long the one who asked is to wait before he is heard
 *     again; a fetch that is to wait is answered empty and charged nothing. */
#ifndef WEIR_BROKER_QUOTA_H
#define WEIR_BROKER_QUOTA_H

#include "broker/broker.h"

enum quota_kind {
    QUOTA_PRODUCE,     /* producer_byte_rate: bytes a second of requests */
    QUOTA_CONSUME,     /* consumer_byte_rate: bytes a second of answers */
    QUOTA_REQUEST,     /* request_percentage: of the shard's time; 100 is all of it */
    QUOTA_MUTATIONS,   /* controller_mutation_rate: partitions a second created or deleted */
    QUOTA_CONNECTIONS, /* connection_creation_rate: of one address */
    QUOTA_KINDS
};
const char *quota_kind_name(enum quota_kind kind);             /* Kafka's */
bool quota_kind_find(struct bytes name, enum quota_kind *out); /* false: there is no such quota */

enum quota_match { QUOTA_ABSENT, QUOTA_DEFAULT, QUOTA_NAMED };
struct quota_part {
    enum quota_match match;
    struct bytes name; /* of QUOTA_NAMED; borrowed */
};
/* A user, a client id, both, or an address; each by name or as the default of those without a rule of their own. */
struct quota_entity {
    struct quota_part user, client, ip;
};
struct quota_change {
    enum quota_kind kind;
    bool remove;
    double value;
};
struct quota_limits {
    bool has[QUOTA_KINDS];
    double value[QUOTA_KINDS];
};

/* All changes or none; `validate_only`: none, but the same answer. Blocks until durable. ERR_INVALID: an impossible
 * entity, a kind that does not go with it, or a value that is not above zero (or not whole where Kafka wants it whole).
 * ERR_LIMIT, ERR_NO_SPACE, ERR_STOPPED. Removing what is not set is no error. */
MUST_USE enum err_code quota_alter(struct broker *b, const struct quota_entity *entity,
                                   const struct quota_change *changes, size_t n, bool validate_only, struct err *e);
/* In the order in which they were first set; false ends it. */
void quota_each(struct broker *b,
                bool (*fn)(void *arg, const struct quota_entity *entity, const struct quota_limits *limits), void *arg);

/* ---- charging ---- */
bool quotas_any(const struct broker *b);
/* Milliseconds to wait; 0: within the limit, or there is none. `user` is the principal without "User:".
 * `undo_when_over`: what leads to a wait is not counted. */
uint64_t quota_charge(struct broker *b, enum quota_kind kind, struct bytes user, struct bytes client, double amount,
                      bool undo_when_over);
/* One connection of that address (numeric). */
uint64_t quota_charge_connection(struct broker *b, struct bytes ip);
/* The most that can be charged at once and still be within the limit in a whole window; infinite without a limit. */
double quota_window_max(struct broker *b, enum quota_kind kind, struct bytes user, struct bytes client);

struct quota_stats {
    uint64_t throttled[QUOTA_KINDS], throttled_ms[QUOTA_KINDS]; /* answers that told to wait, and for how long */
    uint32_t rules, buckets;
};
void quota_stats(const struct broker *b, struct quota_stats *out);

#endif
