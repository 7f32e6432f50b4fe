/* auth.h: who may do what. One authorise() for every door; users, rules and quotas are records of `_weir_meta`.
 * Semantics are Kafka's ACLs (StandardAuthorizer): literal, prefixed and "*" patterns, deny wins, super users. Thread:
 * the shard, except where said.
 *
 * A1  While no user and no rule exists and the server was not told to require a login, everything is allowed
 *     (loopback only; see app). As soon as one exists, what is not allowed is denied.
 * A2  Names of principals are data: never patterns, never parsed beyond "User:" in front.
 * A3  A denial is answered by the door's own error and leaves a record in `_weir_audit`. */
#ifndef WEIR_BROKER_AUTH_H
#define WEIR_BROKER_AUTH_H

#include "broker/broker.h"

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
#define ACL_CLUSTER_NAME "kafka-cluster"

/* Who stands behind a connection. The door's memory; lives as long as the connection. */
struct session {
    const char *principal; /* the door's; "User:alice", "User:CN=..."; "User:ANONYMOUS" when nobody logged in */
    struct net_address peer;
    const char *door; /* "kafka", "http", ...: for the audit */
};

/* May the session do this? Implied operations as Kafka's: Read, Write, Delete and Alter allow Describe, AlterConfigs
 * allows DescribeConfigs. A denial is recorded for the audit. Never blocks. */
bool authorise(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type,
               struct bytes name);

#endif
