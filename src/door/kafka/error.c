/* The one place where an error of ours becomes a code of Kafka's. What a client does with a code matters more than its
 * name: RETRIABLE ones are tried again for as long as the client's own timeout allows. */
#include "door/kafka/kafka_int.h"

int16_t kafka_error_of(enum err_code rc)
{
    switch (rc) {
    case ERR_NONE: return KE_NONE;
    case ERR_NOT_FOUND: return KE_UNKNOWN_TOPIC_OR_PARTITION; /* retriable, after new metadata */
    case ERR_RANGE: return KE_OFFSET_OUT_OF_RANGE;
    case ERR_EXISTS: return KE_TOPIC_ALREADY_EXISTS;
    case ERR_DENIED: return KE_TOPIC_AUTHORIZATION_FAILED;
    case ERR_TOO_LARGE: return KE_MESSAGE_TOO_LARGE;
    case ERR_TIMESTAMP: return KE_INVALID_TIMESTAMP;
    case ERR_SEQUENCE: return KE_OUT_OF_ORDER_SEQUENCE_NUMBER;
    case ERR_FENCED: return KE_INVALID_PRODUCER_EPOCH;
    case ERR_TXN_STATE: return KE_INVALID_TXN_STATE;
    case ERR_UNSUPPORTED: return KE_UNSUPPORTED_COMPRESSION_TYPE;
    case ERR_INVALID:
    case ERR_PROTOCOL: return KE_INVALID_REQUEST;
    case ERR_LIMIT: return KE_POLICY_VIOLATION;
    case ERR_TIMEOUT:
    case ERR_CANCELLED: return KE_REQUEST_TIMED_OUT;
    case ERR_CLOSED: return KE_LEADER_NOT_AVAILABLE;
    /* Retriable: a full disk may have room later, a stopped partition comes back with a restart. */
    case ERR_CORRUPT:
    case ERR_NO_SPACE:
    case ERR_IO:
    case ERR_MEMORY:
    case ERR_FULL:
    case ERR_BUSY:
    case ERR_STOPPED: return KE_KAFKA_STORAGE_ERROR;
    default: return KE_UNKNOWN;
    }
}

int16_t kafka_error_of_append(enum err_code rc)
{
    switch (rc) {
    case ERR_CORRUPT: return KE_CORRUPT_MESSAGE; /* of the bytes that came, not of the disk */
    case ERR_INVALID:
    case ERR_PROTOCOL: return KE_INVALID_RECORD;
    default: return kafka_error_of(rc);
    }
}

int16_t kafka_error_of_topic(enum err_code rc)
{
    switch (rc) {
    case ERR_INVALID: return KE_INVALID_TOPIC;
    case ERR_LIMIT: return KE_INVALID_PARTITIONS;
    default: return kafka_error_of(rc);
    }
}

int16_t kafka_error_of_group(enum err_code rc, enum group_detail detail)
{
    if (rc == ERR_NONE) return KE_NONE;
    switch (detail) {
    case GROUP_OK: break;
    case GROUP_BAD_GROUP_ID: return KE_INVALID_GROUP_ID;
    case GROUP_BAD_SESSION_TIMEOUT: return KE_INVALID_SESSION_TIMEOUT;
    case GROUP_PROTOCOL_MISMATCH: return KE_INCONSISTENT_GROUP_PROTOCOL;
    case GROUP_MEMBER_ID_REQUIRED: return KE_MEMBER_ID_REQUIRED;
    case GROUP_NON_EMPTY: return KE_NON_EMPTY_GROUP;
    case GROUP_SUBSCRIBED: return KE_GROUP_SUBSCRIBED_TO_TOPIC;
    case GROUP_NOT_FOUND: return KE_GROUP_ID_NOT_FOUND;
    case GROUP_BAD_REQUEST: return KE_INVALID_REQUEST;
    case GROUP_BAD_ASSIGNOR: return KE_UNSUPPORTED_ASSIGNOR;
    case GROUP_BAD_REGEX: return KE_INVALID_REGULAR_EXPRESSION;
    case GROUP_FENCED_EPOCH: return KE_FENCED_MEMBER_EPOCH;
    case GROUP_STALE_EPOCH: return KE_STALE_MEMBER_EPOCH;
    case GROUP_UNRELEASED: return KE_UNRELEASED_INSTANCE_ID;
    }
    switch (rc) {
    case ERR_MEMBER: return KE_UNKNOWN_MEMBER_ID;
    case ERR_GENERATION: return KE_ILLEGAL_GENERATION;
    case ERR_REBALANCE: return KE_REBALANCE_IN_PROGRESS;
    case ERR_FENCED: return KE_FENCED_INSTANCE_ID;
    case ERR_LIMIT: return KE_GROUP_MAX_SIZE_REACHED;
    case ERR_TOO_LARGE: return KE_OFFSET_METADATA_TOO_LARGE;
    case ERR_NOT_FOUND: return KE_UNKNOWN_TOPIC_OR_PARTITION;
    case ERR_INVALID:
    case ERR_PROTOCOL: return KE_INVALID_REQUEST;
    default: return KE_COORDINATOR_NOT_AVAILABLE; /* disk, closing: retriable */
    }
}

int16_t kafka_error_of_txn(enum err_code rc, enum txn_detail detail, int16_t fenced)
{
    if (rc == ERR_NONE) return KE_NONE;
    if (rc == ERR_FENCED) return fenced;
    switch (detail) {
    case TXN_OK: break;
    case TXN_BAD_ID: return KE_INVALID_REQUEST;
    case TXN_BAD_TIMEOUT: return KE_INVALID_TRANSACTION_TIMEOUT;
    case TXN_BAD_MAPPING: return KE_INVALID_PRODUCER_ID_MAPPING;
    case TXN_BAD_STATE: return KE_INVALID_TXN_STATE;
    case TXN_CONCURRENT: return KE_CONCURRENT_TRANSACTIONS; /* retriable */
    }
    return rc == ERR_NOT_FOUND ? KE_UNKNOWN_TOPIC_OR_PARTITION : KE_COORDINATOR_NOT_AVAILABLE; /* retriable both */
}
