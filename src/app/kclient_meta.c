/* Who is there and who leads what: metadata, leaders, coordinators. */
#include <stdio.h>
#include <stdlib.h>

#include "app/kclient_int.h"

#define METADATA_VERSION_MAX 12

/* ---- nodes and leaders as last told ---- */
static void nodes_take(struct kclient *k, const struct kafka_metadata_response *r)
{
    if (r->brokers.n == 0) return;
    free(k->nodes);
    k->n_nodes = 0;
    k->nodes = calloc((size_t)r->brokers.n, sizeof *k->nodes);
    check(k->nodes != NULL);
    for (int32_t i = 0; i < r->brokers.n; i++) {
        const struct kafka_metadata_response_broker *b = &r->brokers.at[i];
        struct knode *n = &k->nodes[k->n_nodes];

        if (b->host.len >= sizeof n->address.host || b->port < 1 || b->port > 65535) continue;
        n->id = b->node_id;
        memcpy(n->address.host, b->host.ptr, b->host.len);
        n->address.port = (uint16_t)b->port;
        if (strcmp(n->address.host, "localhost") == 0) memcpy(n->address.host, "127.0.0.1", 10);
        k->n_nodes++;
    }
}

static void leaders_take(struct kclient *k, const struct kafka_metadata_response_topic *t)
{
    struct kleaders *l;

    if (t->name.ptr == NULL || t->partitions.n < 0) return;
    if (t->error_code != 0) {
        free(map_remove(&k->leaders, t->name));
        return;
    }
    l = malloc(sizeof *l + (size_t)t->partitions.n * sizeof l->node[0]);
    check(l != NULL);
    l->n = t->partitions.n;
    for (int32_t i = 0; i < l->n; i++)
        l->node[i] = -1;
    for (int32_t i = 0; i < t->partitions.n; i++) {
        const struct kafka_metadata_response_partition *p = &t->partitions.at[i];

        if (p->index >= 0 && p->index < l->n) l->node[p->index] = p->leader_id;
    }
    free(map_put(&k->leaders, t->name, l));
}

/* names NULL: all topics. */
static enum err_code metadata(struct kclient *k, const struct bytes *names, int n, bool auto_create, struct arena *a,
                              struct kafka_metadata_response *out, uint64_t deadline_ns, struct err *e)
{
    struct kafka_metadata_request q;
    enum err_code rc;

    wire_init(&kafka_metadata_request_wire, &q);
    q.allow_auto_topic_creation = auto_create;
    q.topics.n = names != NULL ? n : -1;
    q.topics.at = arena_array(a, (size_t)n, sizeof *q.topics.at);
    for (int i = 0; names != NULL && i < n; i++)
        q.topics.at[i].name = names[i];
    do {
        struct kconn *c;
        int version;

        rc = kclient_any(k, &c, deadline_ns, e);
        if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_METADATA, METADATA_VERSION_MAX, &version, e);
        if (rc != ERR_NONE) return rc;
        /* Version 0 says "all" with an empty list and cannot be asked not to create. */
        q.topics.n = names != NULL ? n : version == 0 ? 0 : -1;
        rc = kcall_do(c, KAFKA_METADATA, METADATA_VERSION_MAX, &q, a, out, deadline_ns, e);
    } while (rc == ERR_CLOSED && kclient_may_retry(k, deadline_ns, e));
    if (rc != ERR_NONE) return rc;
    nodes_take(k, out);
    for (int32_t i = 0; i < out->topics.n; i++)
        leaders_take(k, &out->topics.at[i]);
    return ERR_NONE;
}

static enum err_code refresh(struct kclient *k, struct bytes topic, bool auto_create, uint64_t deadline_ns,
                             struct err *e)
{
    struct kafka_metadata_response r;
    struct arena a;
    enum err_code rc;

    arena_init(&a, 0);
    do {
        arena_reset(&a);
        rc = metadata(k, &topic, 1, auto_create, &a, &r, deadline_ns, e);
        if (rc != ERR_NONE) break;
        if (r.topics.n != 1) {
            rc = err_set(e, ERR_PROTOCOL, "metadata of one topic has %d", (int)r.topics.n);
            break;
        }
        if (r.topics.at[0].error_code == 0) break;
        rc = kerror_set(e, r.topics.at[0].error_code, BYTES_NULL, "topic %.*s", BYTES_ARG(topic));
        /* A broker that is creating the topic says that it does not know it, or its leader, yet. */
        if (!kerror_of(r.topics.at[0].error_code)->is_retriable && !(auto_create && rc == ERR_NOT_FOUND)) break;
    } while (kclient_may_retry(k, deadline_ns, e));
    arena_deinit(&a);
    return rc;
}

int32_t kclient_known_leader(const struct kclient *k, struct bytes topic, int32_t partition)
{
    const struct kleaders *l = map_get(&k->leaders, topic);

    return l != NULL && partition >= 0 && partition < l->n ? l->node[partition] : -1;
}

enum err_code kclient_leader(struct kclient *k, struct bytes topic, int32_t partition, bool again, struct kconn **out,
                             uint64_t deadline_ns, struct err *e)
{
    enum err_code rc;

    for (;;) {
        const struct kleaders *l;

        if (again || map_get(&k->leaders, topic) == NULL) {
            rc = refresh(k, topic, false, deadline_ns, e);
            if (rc != ERR_NONE) return rc;
        }
        l = map_get(&k->leaders, topic);
        if (partition < 0 || partition >= l->n)
            return err_set(e, ERR_NOT_FOUND, "topic %.*s has no partition %d", BYTES_ARG(topic), (int)partition);
        if (l->node[partition] >= 0) {
            rc = kclient_node(k, l->node[partition], out, deadline_ns, e);
            if (rc != ERR_CLOSED && rc != ERR_NOT_FOUND) return rc;
        }
        again = true;
        if (!kclient_may_retry(k, deadline_ns, e))
            return err_set(e, ERR_TIMEOUT, "no leader of %.*s/%d can be reached", BYTES_ARG(topic), (int)partition);
    }
}

enum err_code kclient_partition_count(struct kclient *k, struct bytes topic, int32_t *out, uint64_t deadline_ns,
                                      struct err *e)
{
    const struct kleaders *l = map_get(&k->leaders, topic);
    enum err_code rc = l != NULL ? ERR_NONE : refresh(k, topic, true, deadline_ns, e);

    if (rc != ERR_NONE) return rc;
    l = map_get(&k->leaders, topic);
    *out = l->n;
    return l->n > 0 ? ERR_NONE : err_set(e, ERR_NOT_FOUND, "topic %.*s has no partitions", BYTES_ARG(topic));
}

/* ---- coordinator ---- */
static enum err_code coordinator_ask(struct kclient *k, struct bytes group_id, struct knode *out, int16_t *error,
                                     uint64_t deadline_ns, struct err *e)
{
    struct kafka_find_coordinator_request q;
    struct kafka_find_coordinator_response r;
    struct bytes host, message;
    struct arena a;
    struct kconn *c;
    int version;
    int32_t port;
    enum err_code rc;

    arena_init(&a, 0);
    wire_init(&kafka_find_coordinator_request_wire, &q);
    q.key = group_id;
    q.coordinator_keys.at = &group_id;
    q.coordinator_keys.n = 1;
    rc = kclient_any(k, &c, deadline_ns, e);
    if (rc == ERR_NONE) rc = kcall_version(c, KAFKA_FIND_COORDINATOR, 4, &version, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_FIND_COORDINATOR, 4, &q, &a, &r, deadline_ns, e);
    if (rc != ERR_NONE) goto done;
    if (version >= 4 && r.coordinators.n != 1) {
        rc = err_set(e, ERR_PROTOCOL, "an answer with %d coordinators", (int)r.coordinators.n);
        goto done;
    }
    *error = version >= 4 ? r.coordinators.at[0].error_code : r.error_code;
    host = version >= 4 ? r.coordinators.at[0].host : r.host;
    message = version >= 4 ? r.coordinators.at[0].error_message : r.error_message;
    port = version >= 4 ? r.coordinators.at[0].port : r.port;
    out->id = version >= 4 ? r.coordinators.at[0].node_id : r.node_id;
    if (*error != 0) {
        rc = kerror_set(e, *error, message, "coordinator of group %.*s", BYTES_ARG(group_id));
        goto done;
    }
    if (host.len >= sizeof out->address.host || port < 1 || port > 65535) {
        rc = err_set(e, ERR_PROTOCOL, "the coordinator has no usable address");
        goto done;
    }
    memset(&out->address, 0, sizeof out->address);
    memcpy(out->address.host, host.ptr, host.len);
    out->address.port = (uint16_t)port;
    if (strcmp(out->address.host, "localhost") == 0) memcpy(out->address.host, "127.0.0.1", 10);

done:
    arena_deinit(&a);
    return rc;
}

static void node_remember(struct kclient *k, const struct knode *n)
{
    for (int i = 0; i < k->n_nodes; i++) {
        if (k->nodes[i].id != n->id) continue;
        k->nodes[i].address = n->address;
        return;
    }
    k->nodes = realloc(k->nodes, (size_t)(k->n_nodes + 1) * sizeof *k->nodes);
    check(k->nodes != NULL);
    k->nodes[k->n_nodes++] = *n;
}

enum err_code kclient_coordinator(struct kclient *k, struct bytes group_id, struct kconn **out, uint64_t deadline_ns,
                                  struct err *e)
{
    enum err_code rc;

    do {
        struct knode node = {0};
        int16_t error = 0;

        rc = coordinator_ask(k, group_id, &node, &error, deadline_ns, e);
        if (rc == ERR_NONE) {
            node_remember(k, &node);
            rc = kclient_node(k, node.id, out, deadline_ns, e);
            if (rc == ERR_NONE) return rc;
        }
        if (rc != ERR_CLOSED && !(error != 0 && kerror_of(error)->is_retriable)) return rc;
    } while (kclient_may_retry(k, deadline_ns, e));
    return rc;
}

/* ---- the door ---- */
enum err_code kclient_cluster(struct kclient *k, struct arena *a, struct kclient_cluster *out, struct err *e)
{
    struct kafka_metadata_response r;
    struct bytes none = BYTES_NULL;
    enum err_code rc = metadata(k, &none, 0, false, a, &r, kclient_deadline(k, k->timeout_ms), e);

    if (rc != ERR_NONE) return rc;
    *out = (struct kclient_cluster){
        .cluster_id = r.cluster_id, .controller_id = r.controller_id, .n_brokers = r.brokers.n};
    out->brokers = arena_array(a, (size_t)r.brokers.n, sizeof *out->brokers);
    for (int32_t i = 0; i < r.brokers.n; i++)
        out->brokers[i] = (struct kclient_broker){r.brokers.at[i].node_id, r.brokers.at[i].host, r.brokers.at[i].port};
    return ERR_NONE;
}

static int by_index(const void *a, const void *b)
{
    const struct kclient_partition *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

static int by_name(const void *a, const void *b)
{
    return bytes_compare(((const struct kclient_topic *)a)->name, ((const struct kclient_topic *)b)->name);
}

static void topic_take(const struct kafka_metadata_response_topic *from, struct arena *a, struct kclient_topic *to)
{
    *to = (struct kclient_topic){
        .name = from->name, .is_internal = from->is_internal, .n_partitions = from->partitions.n};
    memcpy(to->id, from->topic_id, 16);
    to->partitions = arena_array(a, (size_t)from->partitions.n, sizeof *to->partitions);
    for (int32_t i = 0; i < from->partitions.n; i++) {
        const struct kafka_metadata_response_partition *p = &from->partitions.at[i];

        to->partitions[i] = (struct kclient_partition){.index = p->index,
                                                       .leader = p->leader_id,
                                                       .leader_epoch = p->leader_epoch,
                                                       .n_replicas = p->replica_nodes.n,
                                                       .n_isr = p->isr_nodes.n,
                                                       .rc = kerror_of(p->error_code)->rc};
    }
    qsort(to->partitions, (size_t)to->n_partitions, sizeof *to->partitions, by_index);
}

enum err_code kclient_topics(struct kclient *k, struct arena *a, struct kclient_topic **out, int *n, struct err *e)
{
    struct kafka_metadata_response r;
    enum err_code rc = metadata(k, NULL, 0, false, a, &r, kclient_deadline(k, k->timeout_ms), e);

    if (rc != ERR_NONE) return rc;
    *n = 0;
    *out = arena_array(a, (size_t)r.topics.n, sizeof **out);
    for (int32_t i = 0; i < r.topics.n; i++)
        if (r.topics.at[i].error_code == 0 && r.topics.at[i].name.ptr != NULL)
            topic_take(&r.topics.at[i], a, &(*out)[(*n)++]);
    qsort(*out, (size_t)*n, sizeof **out, by_name);
    return ERR_NONE;
}

enum err_code kclient_topic(struct kclient *k, struct bytes name, bool auto_create, struct arena *a,
                            struct kclient_topic *out, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_metadata_response r;
    enum err_code rc = refresh(k, name, auto_create, deadline, e);

    if (rc == ERR_NONE) rc = metadata(k, &name, 1, false, a, &r, deadline, e);
    if (rc != ERR_NONE) return rc;
    if (r.topics.n != 1 || r.topics.at[0].name.ptr == NULL)
        return err_set(e, ERR_PROTOCOL, "metadata of another topic than asked for");
    if (r.topics.at[0].error_code != 0)
        return kerror_set(e, r.topics.at[0].error_code, BYTES_NULL, "topic %.*s", BYTES_ARG(name));
    topic_take(&r.topics.at[0], a, out);
    return ERR_NONE;
}
