/* kclient_alter.c: what the commands change about topics that exist. */
#include <stdlib.h>

#include "app/kclient_int.h"

#define RESOURCE_TOPIC 2
#define OP_SET 0
#define OP_DELETE 1

enum err_code kclient_topic_alter(struct kclient *k, struct bytes name, const struct kclient_config_change *changes,
                                  int n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_incremental_alter_configs_request_resource resource = {.resource_type = RESOURCE_TOPIC,
                                                                        .resource_name = name};
    struct kafka_incremental_alter_configs_request q;
    struct kafka_incremental_alter_configs_response r;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_incremental_alter_configs_request_wire, &q);
    resource.configs.n = n;
    resource.configs.at = arena_array(&a, (size_t)n, sizeof *resource.configs.at);
    for (int i = 0; i < n; i++) {
        resource.configs.at[i].name = changes[i].name;
        resource.configs.at[i].config_operation = changes[i].is_delete ? OP_DELETE : OP_SET;
        resource.configs.at[i].value = changes[i].is_delete ? BYTES_NULL : changes[i].value;
    }
    q.resources.at = &resource;
    q.resources.n = 1;
    do {
        r.responses.n = 0;
        rc = kclient_controller(k, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_INCREMENTAL_ALTER_CONFIGS, 1, &q, &a, &r, deadline, e);
        if (rc != ERR_NONE) break;
        if (r.responses.n != 1)
            rc = err_set(e, ERR_PROTOCOL, "an answer about %d resources", (int)r.responses.n);
        else if (r.responses.at[0].error_code != 0)
            rc = kerror_set(e, r.responses.at[0].error_code, r.responses.at[0].error_message,
                            "configuration of topic %.*s", BYTES_ARG(name));
    } while (rc != ERR_NONE && r.responses.n == 1 && rc != ERR_NOT_FOUND &&
             kerror_of(r.responses.at[0].error_code)->is_retriable && kclient_may_retry(k, deadline, e));
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_topic_add_partitions(struct kclient *k, struct bytes name, int32_t n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_create_partitions_request_topic t = {.name = name, .count = n, .assignments = {NULL, -1}};
    struct kafka_create_partitions_request q;
    struct kafka_create_partitions_response r;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_create_partitions_request_wire, &q);
    q.topics.at = &t;
    q.topics.n = 1;
    q.timeout_ms = k->timeout_ms;
    do {
        r.results.n = 0;
        rc = kclient_controller(k, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_CREATE_PARTITIONS, 3, &q, &a, &r, deadline, e);
        if (rc != ERR_NONE) break;
        if (r.results.n != 1)
            rc = err_set(e, ERR_PROTOCOL, "an answer about %d topics", (int)r.results.n);
        else if (r.results.at[0].error_code != 0)
            rc = kerror_set(e, r.results.at[0].error_code, r.results.at[0].error_message, "partitions of topic %.*s",
                            BYTES_ARG(name));
    } while (rc != ERR_NONE && r.results.n == 1 && rc != ERR_NOT_FOUND &&
             kerror_of(r.results.at[0].error_code)->is_retriable && kclient_may_retry(k, deadline, e));
    free(map_remove(&k->leaders, name));
    arena_deinit(&a);
    return rc;
}

static enum err_code trim_ask(struct kconn *c, struct bytes topic, int32_t partition, int64_t before, int16_t *error,
                              uint64_t deadline, struct err *e)
{
    struct kafka_delete_records_request_partition p = {.partition_index = partition, .offset = before};
    struct kafka_delete_records_request_topic t = {.name = topic, .partitions = {&p, 1}};
    struct kafka_delete_records_request q;
    struct kafka_delete_records_response r;
    struct arena a;

    arena_init(&a, 0);
    wire_init(&kafka_delete_records_request_wire, &q);
    q.topics.at = &t;
    q.topics.n = 1;
    q.timeout_ms = 60000;
    enum err_code rc = kcall_do(c, KAFKA_DELETE_RECORDS, 2, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && (r.topics.n != 1 || r.topics.at[0].partitions.n != 1))
        rc = err_set(e, ERR_PROTOCOL, "an answer about other partitions than asked");
    if (rc == ERR_NONE) *error = r.topics.at[0].partitions.at[0].error_code;
    if (rc == ERR_NONE && *error != 0)
        rc = kerror_set(e, *error, BYTES_NULL, "deleting from topic %.*s partition %d", BYTES_ARG(topic),
                        (int)partition);
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_trim(struct kclient *k, struct bytes topic, int32_t partition, int64_t before, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    bool again = false;
    enum err_code rc;

    do {
        struct kconn *c;
        int16_t error = 0;

        rc = kclient_leader(k, topic, partition, again, &c, deadline, e);
        if (rc == ERR_NONE) rc = trim_ask(c, topic, partition, before, &error, deadline, e);
        if (rc != ERR_CLOSED && !kerror_of(error)->is_retriable) return rc;
        again = true;
    } while (kclient_may_retry(k, deadline, e));
    return rc;
}
