/* auth.h: who may do what. One authorise() for every door; users and rules are records of `_weir_meta`. Semantics are
 * Kafka's ACLs (StandardAuthorizer): literal, prefixed and "*" patterns, deny wins, super users. Thread: the shard,
 * except where said. Format of the records: docs/format/data-directory.md.
 *
 * A1  While no user and no rule exists and the server was not told to require a login, everything is allowed
 *     (loopback only; see app). As soon as one exists, what is not allowed is denied.
 * A2  Names of principals are data: never patterns, never parsed beyond "User:" in front.
 * A3  A denial is answered by the door's own error and leaves a record in `_weir_audit`.
 * A4  Of a password only SCRAM verifiers are stored. An unknown user costs the same work as a wrong password.
 * A5  A change holds at once: nothing caches a decision, and doors are told of a deleted user (auth_watch). */
#ifndef WEIR_BROKER_AUTH_H
#define WEIR_BROKER_AUTH_H

#include "broker/broker.h"
#include "sys/crypto.h"

/* Kafka's numbers, as they travel and are stored. */
enum acl_resource {
    ACL_RESOURCE_ANY = 1,
    ACL_TOPIC = 2,
    ACL_GROUP = 3,
    ACL_CLUSTER = 4, /* its one name is "kafka-cluster" */
    ACL_TRANSACTIONAL_ID = 5,
    ACL_DELEGATION_TOKEN = 6,
    ACL_USER = 7,
};
enum acl_operation {
    ACL_OPERATION_ANY = 1,
    ACL_ALL = 2,
    ACL_READ = 3,
    ACL_WRITE = 4,
    ACL_CREATE = 5,
    ACL_DELETE = 6,
    ACL_ALTER = 7,
    ACL_DESCRIBE = 8,
    ACL_CLUSTER_ACTION = 9,
    ACL_DESCRIBE_CONFIGS = 10,
    ACL_ALTER_CONFIGS = 11,
    ACL_IDEMPOTENT_WRITE = 12,
};
enum acl_pattern { ACL_PATTERN_ANY = 1, ACL_MATCH = 2, ACL_LITERAL = 3, ACL_PREFIXED = 4 };
enum acl_permission { ACL_PERMISSION_ANY = 1, ACL_DENY = 2, ACL_ALLOW = 3 };
#define ACL_CLUSTER_NAME "kafka-cluster"

/* Who stands behind a connection. The door's memory; lives as long as the connection. */
struct session {
    const char *principal; /* the door's; "User:alice", "User:CN=..."; "User:ANONYMOUS" when nobody logged in */
    struct net_address peer;
    const char *door; /* "kafka", "http", ...: for the audit */
};

/* Are there rules at all (A1)? */
bool auth_is_on(const struct broker *b);
/* May the session do this? Implied operations as Kafka's: Read, Write, Delete and Alter allow Describe, AlterConfigs
 * allows DescribeConfigs. A denial is recorded for the audit. Never blocks. */
bool authorise(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type,
               struct bytes name);
/* The same without a record of a denial: for what is only left out of a list. */
bool authorise_quiet(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type,
                     struct bytes name);
/* Is there any resource of that type on which the session may do this? */
bool authorise_any(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type);
/* Kafka's bit field: bit n set: operation n is allowed. */
int32_t authorised_operations(struct broker *b, const struct session *s, enum acl_resource type, struct bytes name);

/* ---- rules ---- */
struct acl { /* strings are the broker's when given by it */
    enum acl_resource type;
    enum acl_pattern pattern;
    enum acl_operation op;
    enum acl_permission permission;
    struct bytes name, principal, host; /* host: numeric address or "*" */
};
/* Durable when the call returns; one that exists: ERR_NONE. ERR_INVALID, ERR_LIMIT. */
MUST_USE enum err_code acl_add(struct broker *b, const struct acl *a, struct err *e);
MUST_USE enum err_code acl_remove(struct broker *b, const struct acl *a, struct err *e); /* ERR_NOT_FOUND */
/* As Kafka's filters: null strings and ..._ANY match everything; ACL_MATCH: every pattern that covers the name. */
bool acl_filter_matches(const struct acl *filter, const struct acl *a);
const struct acl *acl_next(const struct broker *b, uint32_t *pos); /* *pos from 0 */

/* ---- users ---- */
enum scram_mechanism { SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 }; /* Kafka's numbers */
#define SCRAM_MECHANISMS 2
#define SCRAM_SALT_BYTES_MAX 64
struct scram_verifier {
    uint32_t iterations; /* 0: the user has none for this mechanism */
    uint8_t salt_len;
    uint8_t salt[SCRAM_SALT_BYTES_MAX];
    uint8_t stored_key[CRYPTO_HASH_BYTES_MAX], server_key[CRYPTO_HASH_BYTES_MAX];
};
struct user {
    struct bytes name;                                 /* the broker's */
    struct scram_verifier verifiers[SCRAM_MECHANISMS]; /* by mechanism - 1 */
};
enum crypto_hash scram_hash(enum scram_mechanism m);
/* 1 to LIMIT_USER_NAME_LEN_MAX of [A-Za-z0-9._@+-]; not ANONYMOUS. */
bool user_is_name(struct bytes name);
const struct user *user_find(const struct broker *b, struct bytes name); /* valid until the next change of users */
const struct user *user_next(const struct broker *b, uint32_t *pos);
/* The keys of a password that was salted already. */
void scram_verifier_of_salted(struct scram_verifier *v, enum scram_mechanism m, uint32_t iterations, struct bytes salt,
                              const uint8_t *salted);
/* New or changed, all mechanisms from one password; takes about 10 ms. ERR_INVALID: the name, or a password that is
 * empty, too long, or has control characters. */
MUST_USE enum err_code user_set_password(struct broker *b, struct bytes name, struct bytes password, struct err *e);
/* NULL takes the mechanism away; the last one deletes the user. ERR_NOT_FOUND, ERR_INVALID, ERR_LIMIT. */
MUST_USE enum err_code user_set_verifier(struct broker *b, struct bytes name, enum scram_mechanism m,
                                         const struct scram_verifier *v, struct err *e);
MUST_USE enum err_code user_delete(struct broker *b, struct bytes name, struct err *e);
/* What a SCRAM exchange shows for this name: of an unknown one the same invented salt each time (A4). False: unknown,
 * or has no such mechanism. */
bool scram_challenge(struct broker *b, struct bytes name, enum scram_mechanism m, struct scram_verifier *out);

/* A password to be checked. Deriving the keys runs off the loop; a password that was right before is known by a keyed
 * digest in memory and answered at once. */
struct password_check {
    void (*done)(struct password_check *c, enum err_code rc); /* ERR_NONE, or ERR_DENIED */
    void *work;                                               /* the broker's */
};
/* ERR_NONE: right. ERR_DENIED: wrong, no such user, or too many at once. ERR_BUSY: `done` follows on the loop. The
 * strings are copied. */
MUST_USE enum err_code password_check(struct broker *b, struct password_check *c, struct bytes user,
                                      struct bytes password);
void password_check_cancel(struct password_check *c); /* done will not be called; harmless when not under way */

/* Doors close the connections of a user that is gone. */
struct auth_watch {
    void (*user_gone)(struct auth_watch *w, struct bytes name);
    struct list link;
};
void auth_watch(struct broker *b, struct auth_watch *w);
void auth_unwatch(struct auth_watch *w);

/* ---- audit ---- */
#define AUDIT_TOPIC "_weir_audit"
/* One line of the audit: what ("login", "topic.create", "acl.add", ...), on which, with which result ("ok", "denied",
 * an error's name). Appended in batches, never waits; dropped while A1 allows everything. Results other than "ok" are
 * bounded in rate, and a line says how many were left out. No secrets. */
void audit(struct broker *b, const struct session *s, const char *what, struct bytes on, const char *result);

#endif
