/* Kafka's error codes: their names, what they are for us, and what may be tried again. */
#include "app/kclient_int.h"

#include <stdarg.h>
#include <stdio.h>

static const struct kerror errors[] = {
    {0, ERR_NONE, false, false, "NONE"},
    {1, ERR_RANGE, false, false, "OFFSET_OUT_OF_RANGE"},
    {2, ERR_CORRUPT, false, false, "CORRUPT_MESSAGE"},
    {3, ERR_NOT_FOUND, false, true, "UNKNOWN_TOPIC_OR_PARTITION"},
    {5, ERR_BUSY, true, true, "LEADER_NOT_AVAILABLE"},
    {6, ERR_BUSY, true, true, "NOT_LEADER_OR_FOLLOWER"},
    {7, ERR_TIMEOUT, true, false, "REQUEST_TIMED_OUT"},
    {8, ERR_CLOSED, false, false, "BROKER_NOT_AVAILABLE"},
    {9, ERR_BUSY, true, true, "REPLICA_NOT_AVAILABLE"},
    {10, ERR_TOO_LARGE, false, false, "MESSAGE_TOO_LARGE"},
    {12, ERR_TOO_LARGE, false, false, "OFFSET_METADATA_TOO_LARGE"},
    {13, ERR_CLOSED, true, true, "NETWORK_EXCEPTION"},
    {14, ERR_BUSY, true, false, "COORDINATOR_LOAD_IN_PROGRESS"},
    {15, ERR_BUSY, true, true, "COORDINATOR_NOT_AVAILABLE"},
    {16, ERR_BUSY, true, true, "NOT_COORDINATOR"},
    {17, ERR_INVALID, false, false, "INVALID_TOPIC_EXCEPTION"},
    {18, ERR_TOO_LARGE, false, false, "RECORD_LIST_TOO_LARGE"},
    {19, ERR_BUSY, true, false, "NOT_ENOUGH_REPLICAS"},
    {20, ERR_BUSY, true, false, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"},
    {21, ERR_INVALID, false, false, "INVALID_REQUIRED_ACKS"},
    {22, ERR_GENERATION, false, false, "ILLEGAL_GENERATION"},
    {23, ERR_INVALID, false, false, "INCONSISTENT_GROUP_PROTOCOL"},
    {24, ERR_INVALID, false, false, "INVALID_GROUP_ID"},
    {25, ERR_MEMBER, false, false, "UNKNOWN_MEMBER_ID"},
    {26, ERR_INVALID, false, false, "INVALID_SESSION_TIMEOUT"},
    {27, ERR_REBALANCE, false, false, "REBALANCE_IN_PROGRESS"},
    {29, ERR_DENIED, false, false, "TOPIC_AUTHORIZATION_FAILED"},
    {30, ERR_DENIED, false, false, "GROUP_AUTHORIZATION_FAILED"},
    {31, ERR_DENIED, false, false, "CLUSTER_AUTHORIZATION_FAILED"},
    {32, ERR_TIMESTAMP, false, false, "INVALID_TIMESTAMP"},
    {35, ERR_UNSUPPORTED, false, false, "UNSUPPORTED_VERSION"},
    {36, ERR_EXISTS, false, false, "TOPIC_ALREADY_EXISTS"},
    {37, ERR_INVALID, false, false, "INVALID_PARTITIONS"},
    {38, ERR_INVALID, false, false, "INVALID_REPLICATION_FACTOR"},
    {39, ERR_INVALID, false, false, "INVALID_REPLICA_ASSIGNMENT"},
    {40, ERR_INVALID, false, false, "INVALID_CONFIG"},
    {41, ERR_BUSY, true, true, "NOT_CONTROLLER"},
    {42, ERR_INVALID, false, false, "INVALID_REQUEST"},
    {44, ERR_DENIED, false, false, "POLICY_VIOLATION"},
    {45, ERR_SEQUENCE, false, false, "OUT_OF_ORDER_SEQUENCE_NUMBER"},
    {46, ERR_DUPLICATE, false, false, "DUPLICATE_SEQUENCE_NUMBER"},
    {47, ERR_FENCED, false, false, "INVALID_PRODUCER_EPOCH"},
    {53, ERR_DENIED, false, false, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"},
    {56, ERR_IO, true, true, "KAFKA_STORAGE_ERROR"},
    {59, ERR_SEQUENCE, false, false, "UNKNOWN_PRODUCER_ID"},
    {68, ERR_BUSY, false, false, "NON_EMPTY_GROUP"},
    {69, ERR_NOT_FOUND, false, false, "GROUP_ID_NOT_FOUND"},
    {72, ERR_BUSY, true, true, "LISTENER_NOT_FOUND"},
    {74, ERR_BUSY, true, true, "FENCED_LEADER_EPOCH"},
    {75, ERR_BUSY, true, true, "UNKNOWN_LEADER_EPOCH"},
    {76, ERR_UNSUPPORTED, false, false, "UNSUPPORTED_COMPRESSION_TYPE"},
    {78, ERR_BUSY, true, false, "OFFSET_NOT_AVAILABLE"},
    {79, ERR_MEMBER, false, false, "MEMBER_ID_REQUIRED"},
    {81, ERR_LIMIT, false, false, "GROUP_MAX_SIZE_REACHED"},
    {82, ERR_FENCED, false, false, "FENCED_INSTANCE_ID"},
    {86, ERR_BUSY, false, false, "GROUP_SUBSCRIBED_TO_TOPIC"},
    {87, ERR_INVALID, false, false, "INVALID_RECORD"},
    {88, ERR_BUSY, true, false, "UNSTABLE_OFFSET_COMMIT"},
    {89, ERR_BUSY, true, false, "THROTTLING_QUOTA_EXCEEDED"},
    {100, ERR_NOT_FOUND, false, true, "UNKNOWN_TOPIC_ID"},
};

const struct kerror *kerror_of(int16_t code)
{
    static const struct kerror unknown = {-1, ERR_PROTOCOL, false, false, "UNKNOWN_SERVER_ERROR"};

    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (errors[i].code == code) return &errors[i];
    return &unknown;
}

enum err_code kerror_set(struct err *e, int16_t code, struct bytes message, const char *fmt, ...)
{
    const struct kerror *k = kerror_of(code);
    char what[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return err_set(e, k->rc, "%s: %s (%d)%s%.*s", what, k->name, code, message.len > 0 ? ": " : "", BYTES_ARG(message));
}
