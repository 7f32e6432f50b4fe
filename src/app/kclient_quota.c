/* kclient_quota.c: quotas of a server. */
#include "app/kclient_int.h"

enum { MATCH_ANY = 2 };
static const char *const type_names[3] = {"user", "client-id", "ip"};

enum err_code kclient_quota_alter(struct kclient *k, const struct quota_entity *entity,
                                  const struct quota_change *changes, int n, struct err *e)
{
    const struct quota_part *parts[3] = {&entity->user, &entity->client, &entity->ip};
    struct kafka_alter_client_quotas_request_entity names[3];
    struct kafka_alter_client_quotas_request_entry entry = {.entity = {names, 0}};
    struct kafka_alter_client_quotas_request q = {{&entry, 1}, false};
    struct kafka_alter_client_quotas_response r;
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    for (int i = 0; i < 3; i++) {
        if (parts[i]->match == QUOTA_ABSENT) continue;
        names[entry.entity.n].entity_type = bytes_str(type_names[i]);
        names[entry.entity.n++].entity_name = parts[i]->match == QUOTA_NAMED ? parts[i]->name : BYTES_NULL;
    }
    entry.ops.n = n;
    entry.ops.at = arena_array(&a, (size_t)n, sizeof *entry.ops.at);
    for (int i = 0; i < n; i++) {
        entry.ops.at[i].key = bytes_str(quota_kind_name(changes[i].kind));
        entry.ops.at[i].value = changes[i].value;
        entry.ops.at[i].remove = changes[i].remove;
    }
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_ALTER_CLIENT_QUOTAS, 1, &q, &a, &r, deadline, e);
    for (int32_t i = 0; rc == ERR_NONE && i < r.entries.n; i++)
        if (r.entries.at[i].error_code != 0)
            rc = kerror_set(e, r.entries.at[i].error_code, r.entries.at[i].error_message, "changing quotas");
    arena_deinit(&a);
    return rc;
}

static void read_part(struct quota_entity *to, struct bytes type, struct bytes name)
{
    struct quota_part *parts[3] = {&to->user, &to->client, &to->ip};

    for (int i = 0; i < 3; i++) {
        if (!bytes_equal_str(type, type_names[i])) continue;
        parts[i]->match = bytes_is_null(name) ? QUOTA_DEFAULT : QUOTA_NAMED;
        parts[i]->name = name;
    }
}

enum err_code kclient_quotas(struct kclient *k,
                             void (*fn)(void *arg, const struct quota_entity *entity,
                                        const struct quota_limits *limits),
                             void *arg, struct err *e)
{
    struct kafka_describe_client_quotas_request q = {.strict = false};
    struct kafka_describe_client_quotas_response r;
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DESCRIBE_CLIENT_QUOTAS, 1, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.error_code != 0) rc = kerror_set(e, r.error_code, r.error_message, "listing quotas");
    for (int32_t i = 0; rc == ERR_NONE && i < r.entries.n; i++) {
        struct quota_entity entity = {0};
        struct quota_limits limits = {0};
        enum quota_kind kind;

        for (int32_t j = 0; j < r.entries.at[i].entity.n; j++)
            read_part(&entity, r.entries.at[i].entity.at[j].entity_type, r.entries.at[i].entity.at[j].entity_name);
        for (int32_t j = 0; j < r.entries.at[i].values.n; j++) {
            if (!quota_kind_find(r.entries.at[i].values.at[j].key, &kind)) continue;
            limits.has[kind] = true;
            limits.value[kind] = r.entries.at[i].values.at[j].value;
        }
        fn(arg, &entity, &limits);
    }
    arena_deinit(&a);
    return rc;
}
