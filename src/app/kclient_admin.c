/* What the commands do to topics and groups. */
#include <stdlib.h>

#include "app/kclient_int.h"

/* ---- topics ---- */
/* Only the controller of a cluster creates and deletes. */
enum err_code kclient_controller(struct kclient *k, struct kconn **out, uint64_t deadline, struct err *e)
{
    struct kclient_cluster cluster;
    struct arena a;
    enum err_code rc;

    arena_init(&a, 0);
    rc = kclient_cluster(k, &a, &cluster, e);
    if (rc == ERR_NONE)
        rc = cluster.controller_id < 0 ? kclient_any(k, out, deadline, e)
                                       : kclient_node(k, cluster.controller_id, out, deadline, e);
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_topic_create(struct kclient *k, struct bytes name, int32_t n_partitions, int16_t replication,
                                   const struct kclient_config *configs, int n_configs, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_create_topics_request_topic t;
    struct kafka_create_topics_request q;
    struct kafka_create_topics_response r;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_create_topics_request_wire, &q);
    wire_init(&kafka_create_topics_request_topic_wire, &t);
    t.name = name;
    t.num_partitions = n_partitions;
    t.replication_factor = replication;
    t.configs.n = n_configs;
    t.configs.at = arena_array(&a, (size_t)n_configs, sizeof *t.configs.at);
    for (int i = 0; i < n_configs; i++)
        t.configs.at[i] = (struct kafka_create_topics_request_config){configs[i].name, configs[i].value};
    q.topics.at = &t;
    q.topics.n = 1;
    q.timeout_ms = k->timeout_ms;
    do {
        rc = kclient_controller(k, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_CREATE_TOPICS, 7, &q, &a, &r, deadline, e);
        if (rc != ERR_NONE) break;
        if (r.topics.n != 1)
            rc = err_set(e, ERR_PROTOCOL, "an answer about %d topics", (int)r.topics.n);
        else if (r.topics.at[0].error_code != 0)
            rc = kerror_set(e, r.topics.at[0].error_code, r.topics.at[0].error_message, "creating topic %.*s",
                            BYTES_ARG(name));
    } while (rc != ERR_NONE && r.topics.n == 1 && kerror_of(r.topics.at[0].error_code)->is_retriable &&
             kclient_may_retry(k, deadline, e));
    free(map_remove(&k->leaders, name));
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_topic_delete(struct kclient *k, struct bytes name, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_delete_topics_request_topic t;
    struct kafka_delete_topics_request q;
    struct kafka_delete_topics_response r;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_delete_topics_request_wire, &q);
    wire_init(&kafka_delete_topics_request_topic_wire, &t);
    t.name = name;
    q.topics.at = &t;
    q.topics.n = q.topic_names.n = 1;
    q.topic_names.at = &name;
    q.timeout_ms = k->timeout_ms;
    do {
        rc = kclient_controller(k, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DELETE_TOPICS, 6, &q, &a, &r, deadline, e);
        if (rc != ERR_NONE) break;
        if (r.responses.n != 1)
            rc = err_set(e, ERR_PROTOCOL, "an answer about %d topics", (int)r.responses.n);
        else if (r.responses.at[0].error_code != 0)
            rc = kerror_set(e, r.responses.at[0].error_code, r.responses.at[0].error_message, "deleting topic %.*s",
                            BYTES_ARG(name));
    } while (rc != ERR_NONE && r.responses.n == 1 && kerror_of(r.responses.at[0].error_code)->is_retriable &&
             kclient_may_retry(k, deadline, e));
    free(map_remove(&k->leaders, name));
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_topic_configs(struct kclient *k, struct bytes name, struct arena *a, struct kclient_config **out,
                                    int *n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_describe_configs_request_resource resource;
    struct kafka_describe_configs_request q;
    struct kafka_describe_configs_response r;
    struct kconn *c;
    int version;
    enum err_code rc;

    wire_init(&kafka_describe_configs_request_wire, &q);
    resource = (struct kafka_describe_configs_request_resource){.resource_type = 2, .resource_name = name};
    resource.configuration_keys.n = -1;
    q.resources.at = &resource;
    q.resources.n = 1;
    rc = kclient_any(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_DESCRIBE_CONFIGS, 4, &version, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DESCRIBE_CONFIGS, 4, &q, a, &r, deadline, e);
    if (rc != ERR_NONE) return rc;
    if (r.results.n != 1) return err_set(e, ERR_PROTOCOL, "an answer about %d resources", (int)r.results.n);
    if (r.results.at[0].error_code != 0)
        return kerror_set(e, r.results.at[0].error_code, r.results.at[0].error_message, "configuration of topic %.*s",
                          BYTES_ARG(name));
    *n = r.results.at[0].configs.n;
    *out = arena_array(a, (size_t)*n, sizeof **out);
    for (int i = 0; i < *n; i++) {
        const struct kafka_describe_configs_response_config *from = &r.results.at[0].configs.at[i];

        (*out)[i] = (struct kclient_config){.name = from->name, .value = from->value, .is_read_only = from->read_only};
        (*out)[i].is_default = version == 0 ? from->is_default : from->config_source != 1;
    }
    return ERR_NONE;
}

/* ---- groups ---- */
enum err_code kclient_groups(struct kclient *k, struct arena *a, struct kclient_group **out, int *n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_list_groups_request q;
    struct kclient_cluster cluster;
    int cap = 0;
    enum err_code rc = kclient_cluster(k, a, &cluster, e);

    *n = 0;
    *out = NULL;
    wire_init(&kafka_list_groups_request_wire, &q);
    for (int i = 0; rc == ERR_NONE && i < cluster.n_brokers; i++) { /* each broker knows those it coordinates */
        struct kafka_list_groups_response r;
        struct kconn *c;
        int version = 0;

        rc = kclient_node(k, cluster.brokers[i].node_id, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_LIST_GROUPS, 4, &version, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_LIST_GROUPS, 4, &q, a, &r, deadline, e);
        if (rc == ERR_NONE && r.error_code != 0) rc = kerror_set(e, r.error_code, BYTES_NULL, "listing groups");
        if (rc != ERR_NONE) break;
        if (*n + r.groups.n > cap) {
            struct kclient_group *more = arena_array(a, (size_t)(*n + r.groups.n) * 2, sizeof *more);

            if (*n > 0) memcpy(more, *out, (size_t)*n * sizeof *more);
            *out = more;
            cap = (*n + r.groups.n) * 2;
        }
        for (int32_t j = 0; j < r.groups.n; j++)
            (*out)[(*n)++] = (struct kclient_group){r.groups.at[j].group_id, r.groups.at[j].protocol_type,
                                                    version >= 4 ? r.groups.at[j].group_state : BYTES_NULL};
    }
    return rc;
}

/* ConsumerProtocolAssignment: version, topics with partitions; what follows is of no interest. */
static void assignment_take(struct bytes assignment, struct arena *a, struct kclient_group_member *out)
{
    struct kclient_topic_partition *found;
    struct reader r = reader_of(assignment);
    uint32_t n_topics, n = 0;

    (void)reader_be16(&r);
    n_topics = reader_be32(&r);
    found = arena_array(a, assignment.len / 4 + 1, sizeof *found); /* each partition takes four bytes */
    for (uint32_t i = 0; i < n_topics && !r.failed; i++) {
        struct bytes topic = reader_take(&r, reader_be16(&r));
        uint32_t n_partitions = reader_be32(&r);

        for (uint32_t j = 0; j < n_partitions && !r.failed; j++) {
            int32_t partition = (int32_t)reader_be32(&r);

            if (!r.failed) found[n++] = (struct kclient_topic_partition){topic, partition};
        }
    }
    if (r.failed) return;
    out->assignment = found;
    out->n_assignment = (int)n;
}

enum err_code kclient_group_describe(struct kclient *k, struct bytes group_id, struct arena *a,
                                     struct kclient_group_info *out, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_describe_groups_response r;
    struct kafka_describe_groups_request q;
    const struct kafka_describe_groups_response_group *g;
    struct kconn *c;
    enum err_code rc;

    wire_init(&kafka_describe_groups_request_wire, &q);
    q.groups.at = &group_id;
    q.groups.n = 1;
    rc = kclient_coordinator(k, group_id, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DESCRIBE_GROUPS, 5, &q, a, &r, deadline, e);
    if (rc != ERR_NONE) return rc;
    if (r.groups.n != 1) return err_set(e, ERR_PROTOCOL, "an answer about %d groups", (int)r.groups.n);
    g = &r.groups.at[0];
    if (g->error_code != 0) return kerror_set(e, g->error_code, BYTES_NULL, "group %.*s", BYTES_ARG(group_id));
    if (bytes_equal_str(g->group_state, "Dead"))
        return err_set(e, ERR_NOT_FOUND, "group %.*s: there is no such group", BYTES_ARG(group_id));
    *out = (struct kclient_group_info){g->group_id,      g->group_state, g->protocol_type,
                                       g->protocol_data, NULL,           g->members.n};
    out->members = arena_array(a, (size_t)g->members.n, sizeof *out->members);
    for (int32_t i = 0; i < g->members.n; i++) {
        const struct kafka_describe_groups_response_member *m = &g->members.at[i];

        out->members[i] =
            (struct kclient_group_member){m->member_id, m->group_instance_id, m->client_id, m->client_host, NULL, 0};
        if (bytes_equal_str(g->protocol_type, "consumer") && m->member_assignment.len > 0)
            assignment_take(m->member_assignment, a, &out->members[i]);
    }
    return ERR_NONE;
}

static int by_partition(const void *a, const void *b)
{
    const struct kclient_group_offset *x = a, *y = b;
    int c = bytes_compare(x->topic, y->topic);

    return c != 0 ? c : (x->partition > y->partition) - (x->partition < y->partition);
}

enum err_code kclient_group_offsets(struct kclient *k, struct bytes group_id, struct arena *a,
                                    struct kclient_group_offset **out, int *n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_offset_fetch_response r;
    struct kafka_offset_fetch_request q;
    size_t total = 0;
    struct kconn *c;
    int version;
    enum err_code rc;

    wire_init(&kafka_offset_fetch_request_wire, &q);
    q.group_id = group_id;
    q.topics.n = -1;
    rc = kclient_coordinator(k, group_id, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_OFFSET_FETCH, 7, &version, e);
    if (rc == ERR_NONE && version < 2)
        rc = err_set(e, ERR_UNSUPPORTED, "the broker cannot list the offsets of a group");
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_OFFSET_FETCH, 7, &q, a, &r, deadline, e);
    if (rc != ERR_NONE) return rc;
    if (r.error_code != 0) return kerror_set(e, r.error_code, BYTES_NULL, "offsets of group %.*s", BYTES_ARG(group_id));
    for (int32_t i = 0; i < r.topics.n; i++)
        total += (size_t)r.topics.at[i].partitions.n;
    *n = 0;
    *out = arena_array(a, total, sizeof **out);
    for (int32_t i = 0; i < r.topics.n; i++) {
        for (int32_t j = 0; j < r.topics.at[i].partitions.n; j++) {
            const struct kafka_offset_fetch_response_partition *p = &r.topics.at[i].partitions.at[j];

            if (p->committed_offset < 0) continue;
            (*out)[(*n)++] = (struct kclient_group_offset){r.topics.at[i].name, p->index, p->committed_offset,
                                                           p->metadata.ptr ? p->metadata : BYTES_LIT(""),
                                                           kerror_of(p->error_code)->rc};
        }
    }
    qsort(*out, (size_t)*n, sizeof **out, by_partition);
    return ERR_NONE;
}

enum err_code kclient_group_set_offsets(struct kclient *k, struct bytes group_id, struct kclient_group_offset *offsets,
                                        int n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_offset_commit_response r;
    struct kafka_offset_commit_request q;
    struct kafka_offset_commit_request_partition *partitions;
    struct arena a;
    struct kconn *c;
    int16_t first_error = 0;
    enum err_code rc;

    if (n == 0) return ERR_NONE;
    arena_init(&a, 0);
    wire_init(&kafka_offset_commit_request_wire, &q);
    q.group_id = group_id;
    partitions = arena_array(&a, (size_t)n, sizeof *partitions);
    q.topics.at = arena_array(&a, (size_t)n, sizeof *q.topics.at);
    q.topics.n = n; /* one partition each: the answer then is in the order of the offsets */
    for (int i = 0; i < n; i++) {
        wire_init(&kafka_offset_commit_request_partition_wire, &partitions[i]);
        partitions[i].index = offsets[i].partition;
        partitions[i].committed_offset = offsets[i].offset;
        partitions[i].committed_metadata = offsets[i].metadata.ptr ? offsets[i].metadata : BYTES_LIT("");
        q.topics.at[i].name = offsets[i].topic;
        q.topics.at[i].partitions.at = &partitions[i];
        q.topics.at[i].partitions.n = 1;
    }
    rc = kclient_coordinator(k, group_id, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_OFFSET_COMMIT, 8, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.topics.n != n)
        rc = err_set(e, ERR_PROTOCOL, "an answer about %d topics instead of %d", (int)r.topics.n, n);
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        int16_t code = r.topics.at[i].partitions.n == 1 ? r.topics.at[i].partitions.at[0].error_code : -1;

        offsets[i].rc = kerror_of(code)->rc;
        if (first_error == 0) first_error = code;
    }
    if (rc == ERR_NONE && first_error != 0)
        rc = kerror_set(e, first_error, first_error == 25 ? BYTES_LIT("the group has members") : BYTES_NULL,
                        "setting offsets of group %.*s", BYTES_ARG(group_id));
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_group_delete(struct kclient *k, struct bytes group_id, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_delete_groups_response r;
    struct kafka_delete_groups_request q;
    struct arena a;
    struct kconn *c;
    enum err_code rc;

    arena_init(&a, 0);
    q.groups_names.at = &group_id;
    q.groups_names.n = 1;
    rc = kclient_coordinator(k, group_id, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DELETE_GROUPS, 2, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.results.n != 1)
        rc = err_set(e, ERR_PROTOCOL, "an answer about %d groups", (int)r.results.n);
    if (rc == ERR_NONE && r.results.at[0].error_code != 0)
        rc = kerror_set(e, r.results.at[0].error_code, BYTES_NULL, "deleting group %.*s", BYTES_ARG(group_id));
    arena_deinit(&a);
    return rc;
}
