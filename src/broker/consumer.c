/* consumer.c: consumer groups of the newer protocol (KIP-848): heartbeats, members, sessions. The broker assigns; members
 * only say what they subscribe to and what they have.
 *
 *   heartbeat ─▶ who is it (join, leave, known epoch) ─▶ subscription or topics changed? group epoch + 1
 *             ─▶ group epoch > target's? compute the target (consumer_target.c)
 *             ─▶ one step of this member towards it (consumer_reconcile.c) ─▶ records (consumer_store.c) ─▶ reply
 *
 * Three epochs: of the group (rises with every change), of its target (the group epoch it was computed for), of each
 * member (the target's epoch it has reached). A group is Assigning while the first two differ, Reconciling while some
 * member has not reached the target, else Stable; without members Empty.
 *
 * H1  A reply tells of nothing that is not durable: it waits for all that its group has appended so far. So epochs never
 *     go back, and after a crash every member finds what it was told.
 * H2  What could not be written stays marked (dirty, gone) and goes with the next batch of the group. Until then the table
 *     is ahead of the log, and nobody has been told (H1).
 * H3  A known member that says epoch 0 starts anew and keeps its place: it has lost its memory, not its life. One that says
 *     its previous epoch and has nothing that it should not have has lost a reply. Every other epoch is fenced.
 * H4  A member that is silent for a session is removed; so is one that does not give back within its rebalance timeout.
 * H5  A static member that leaves with epoch -2 keeps its partitions for a session; who comes with its instance id then
 *     takes its place, target included, and the group does not notice. */
#include "broker/consumer_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the group ---- */
struct consumer_group *consumer_group_create(struct group *g)
{
    struct consumer_group *cg = calloc(1, sizeof(*cg));

    check(cg != NULL && g->consumer == NULL && g->n_members == 0);
    cg->group = g;
    list_init(&cg->members);
    map_init(&cg->by_id);
    map_init(&cg->by_instance);
    map_init(&cg->owners);
    map_init(&cg->regexes);
    map_init(&cg->gone);
    cg->is_epoch_dirty = true;
    g->consumer = cg;
    return cg;
}

void consumer_group_destroy(struct consumer_group *cg)
{
    uint32_t pos = 0;

    if (cg == NULL) return;
    for (struct list *n; (n = list_first(&cg->members)) != NULL;)
        consumer_member_free(CONTAINER_OF(n, struct consumer_member, link));
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;)
        consumer_regex_free(m->value);
    map_deinit(&cg->by_id);
    map_deinit(&cg->by_instance);
    map_deinit(&cg->owners);
    map_deinit(&cg->regexes);
    map_deinit(&cg->gone);
    cg->group->consumer = NULL;
    free(cg);
}

void consumer_group_drop(struct group *g)
{
    struct consumer_group *cg = g->consumer;
    bool is_durable;
    struct err e = {0};

    check(cg->n_members == 0);
    consumer_gone_all(cg);
    cg->is_epoch_dirty = cg->is_target_dirty = false;
    /* Nobody waits: if it is lost, the group is an empty one of this kind again, and can change once more. */
    if (consumer_flush(cg, NULL, &is_durable, &e) != ERR_NONE)
        diag_printf(g->broker->sys->diag, DIAG_WARN, "group", "%.*s: %s", BYTES_ARG(g->id), e.text);
    consumer_group_destroy(cg);
}

const char *consumer_state_name(const struct consumer_group *cg)
{
    if (cg->n_members == 0) return "Empty";
    if (cg->epoch > cg->target_epoch) return "Assigning";
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        if (m->state != CONSUMER_STABLE || m->epoch != cg->target_epoch) return "Reconciling";
    }
    return "Stable";
}

static void bump_epoch(struct consumer_group *cg)
{
    check(cg->epoch < INT32_MAX);
    cg->epoch++;
    cg->is_epoch_dirty = true;
}

/* ---- members ---- */
void consumer_set_topics(struct consumer_member *m, const struct bytes *topics, int n)
{
    for (int i = 0; i < m->n_topics; i++)
        group_free_bytes(&m->topics[i]);
    free(m->topics);
    m->topics = calloc((size_t)n + 1, sizeof(*m->topics));
    check(m->topics != NULL);
    for (int i = 0; i < n; i++)
        m->topics[i] = group_dup(topics[i]);
    m->n_topics = n;
}

static void session_fire(struct timer *t);
static void rebalance_fire(struct timer *t);

struct consumer_member *consumer_member_add(struct consumer_group *cg, struct bytes id, struct bytes instance)
{
    struct consumer_member *m = calloc(1, sizeof(*m));

    check(m != NULL);
    m->group = cg->group;
    m->id = group_dup(id);
    m->instance = group_dup(instance);
    m->client_id = group_dup(bytes_str(""));
    m->client_host = group_dup(bytes_str(""));
    m->rebalance_ms = -1;
    m->session.fire = session_fire;
    m->rebalance.fire = rebalance_fire;
    m->dirty = DIRTY_ALL;
    list_push_back(&cg->members, &m->link);
    (void)map_put(&cg->by_id, id, m);
    if (!bytes_is_null(instance)) (void)map_put(&cg->by_instance, instance, m);
    cg->n_members++;
    cg->group->state = GROUP_STABLE;
    return m;
}

void consumer_member_free(struct consumer_member *m)
{
    struct consumer_group *cg = m->group->consumer;

    group_timer_stop(m->group, &m->session);
    group_timer_stop(m->group, &m->rebalance);
    consumer_disown(cg, &m->assigned, m);
    consumer_disown(cg, &m->revoking, m);
    list_remove(&m->link);
    (void)map_remove(&cg->by_id, m->id);
    if (!bytes_is_null(m->instance) && map_get(&cg->by_instance, m->instance) == m)
        (void)map_remove(&cg->by_instance, m->instance);
    cg->n_members--;
    if (cg->n_members == 0) {
        m->group->state = GROUP_EMPTY;
        m->group->state_ms = broker_now_ms(m->group->broker);
    }
    consumer_set_topics(m, NULL, 0);
    free(m->topics);
    tp_set_free(&m->assigned);
    tp_set_free(&m->revoking);
    tp_set_free(&m->target);
    group_free_bytes(&m->id);
    group_free_bytes(&m->client_id);
    group_free_bytes(&m->client_host);
    group_free_bytes(&m->instance);
    group_free_bytes(&m->rack);
    group_free_bytes(&m->regex);
    group_free_bytes(&m->assignor);
    free(m);
}

void consumer_member_remove(struct consumer_member *m)
{
    struct group *g = m->group;
    struct consumer_group *cg = g->consumer;

    consumer_gone_member(cg, m->id);
    consumer_member_free(m);
    cg->topics_seen = 0; /* Less may be subscribed to: the next heartbeat looks. */
    bump_epoch(cg);
    offsets_timer_arm(g->broker->groups);
}

/* Nobody waits for it: lost at a crash, timers find it again. */
static void remove_and_store(struct consumer_member *m)
{
    struct group *g = m->group;
    struct err e = {0};
    bool is_durable;

    consumer_member_remove(m);
    if (consumer_flush(g->consumer, NULL, &is_durable, &e) != ERR_NONE)
        diag_printf(g->broker->sys->diag, DIAG_WARN, "group", "%.*s: %s", BYTES_ARG(g->id), e.text);
}

static void session_fire(struct timer *t)
{
    struct consumer_member *m = CONTAINER_OF(t, struct consumer_member, session);

    diag_printf(m->group->broker->sys->diag, DIAG_INFO, "group", "%.*s: member %.*s has gone silent",
                BYTES_ARG(m->group->id), BYTES_ARG(m->id));
    remove_and_store(m);
}

static void rebalance_fire(struct timer *t)
{
    struct consumer_member *m = CONTAINER_OF(t, struct consumer_member, rebalance);

    check(m->state == CONSUMER_UNREVOKED);
    diag_printf(m->group->broker->sys->diag, DIAG_INFO, "group",
                "%.*s: member %.*s did not give its partitions back in %d ms", BYTES_ARG(m->group->id),
                BYTES_ARG(m->id), (int)m->rebalance_ms);
    remove_and_store(m);
}

void consumer_session_start(struct consumer_member *m)
{
    group_timer_start(m->group, &m->session, m->group->broker->options.consumer_session_ms);
}

void consumer_rebalance_start(struct consumer_member *m)
{
    group_timer_start(m->group, &m->rebalance, m->rebalance_ms);
}

/* ---- is the request possible at all ---- */
static enum err_code bad(enum group_detail *detail, struct err *e, enum group_detail d, const char *what)
{
    *detail = d;
    return err_set(e, ERR_INVALID, "%s", what);
}

static bool is_empty_not_null(struct bytes b)
{
    return !bytes_is_null(b) && b.len == 0;
}

static enum err_code beat_check(const struct consumer_beat *q, enum group_detail *detail, struct err *e)
{
    *detail = GROUP_OK;
    if (!group_id_is_valid(q->group_id)) return bad(detail, e, GROUP_BAD_REQUEST, "GroupId can't be empty.");
    if (is_empty_not_null(q->instance_id)) return bad(detail, e, GROUP_BAD_REQUEST, "InstanceId can't be empty.");
    if (is_empty_not_null(q->rack_id)) return bad(detail, e, GROUP_BAD_REQUEST, "RackId can't be empty.");
    if (q->member_id.len == 0 && (q->requires_member_id || q->epoch != CONSUMER_EPOCH_JOIN))
        return bad(detail, e, GROUP_BAD_REQUEST, "MemberId can't be empty.");
    if (q->member_id.len > LIMIT_GROUP_ID_LEN_MAX || q->instance_id.len > LIMIT_GROUP_ID_LEN_MAX)
        return bad(detail, e, GROUP_BAD_REQUEST, "MemberId or InstanceId is too long.");
    if (q->epoch < CONSUMER_EPOCH_LEAVE_STATIC) return bad(detail, e, GROUP_BAD_REQUEST, "MemberEpoch is invalid.");
    if (q->epoch == CONSUMER_EPOCH_LEAVE_STATIC && bytes_is_null(q->instance_id))
        return bad(detail, e, GROUP_BAD_REQUEST, "InstanceId can't be null.");
    if (q->epoch == CONSUMER_EPOCH_JOIN) {
        if (q->rebalance_timeout_ms < 0)
            return bad(detail, e, GROUP_BAD_REQUEST, "RebalanceTimeoutMs must be provided in first request.");
        if (q->n_owned != 0)
            return bad(detail, e, GROUP_BAD_REQUEST, "TopicPartitions must be empty when (re-)joining.");
        if (q->n_topics < 0 && bytes_is_null(q->regex))
            return bad(detail, e, GROUP_BAD_REQUEST,
                       "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
    }
    if (!bytes_is_null(q->assignor) && assign_find(q->assignor) == NULL) {
        *detail = GROUP_BAD_ASSIGNOR;
        return err_set(e, ERR_INVALID, "ServerAssignor %.*s is not supported. Supported assignors: uniform, range.",
                       BYTES_ARG(q->assignor));
    }
    return ERR_NONE;
}

static enum err_code regex_check(const struct consumer_group *cg, const struct consumer_beat *q,
                                 enum group_detail *detail, struct err *e)
{
    struct topic_regex *r = NULL;

    if (q->regex.len == 0 || (cg && map_get(&cg->regexes, q->regex) != NULL)) return ERR_NONE;
    enum err_code rc = topic_regex_compile(&r, q->regex, e);
    topic_regex_destroy(r);
    if (rc != ERR_NONE) *detail = GROUP_BAD_REGEX;
    return rc;
}

/* ---- who is it ---- */
static enum err_code unknown(enum group_detail *detail, struct err *e, struct bytes id)
{
    *detail = GROUP_OK;
    return err_set(e, ERR_MEMBER, "Member %.*s is not a member of the group.", BYTES_ARG(id));
}

static enum err_code find_group(struct broker *b, const struct consumer_beat *q, struct group **out,
                                enum group_detail *detail, struct err *e)
{
    struct group *g = group_find(b, q->group_id);
    bool may_become = q->epoch == CONSUMER_EPOCH_JOIN && (g == NULL || (g->state == GROUP_EMPTY && g->n_members == 0));

    if ((g == NULL || g->consumer == NULL) && !may_become) {
        *detail = GROUP_NOT_FOUND;
        return err_set(e, ERR_NOT_FOUND, g ? "Group %.*s is not a consumer group." : "Consumer group %.*s not found.",
                       BYTES_ARG(q->group_id));
    }
    enum err_code rc = regex_check(g ? g->consumer : NULL, q, detail, e);
    if (rc != ERR_NONE) return rc;
    if (g == NULL) g = group_get(b, q->group_id);
    if (g->consumer == NULL) {
        bool is_stored = group_classic_clear(g);
        (void)consumer_group_create(g);
        if (is_stored) consumer_gone(g->consumer, 2, BYTES_NULL); /* GroupMetadata */
    }
    *out = g;
    return ERR_NONE;
}

static struct tp_set owned_set(const struct consumer_beat *q, struct arena *a)
{
    struct tp_set s = {NULL, 0};
    size_t n = 0;

    for (int i = 0; i < q->n_owned; i++)
        n += (size_t)q->owned[i].n;
    s.at = arena_array(a, n, sizeof(*s.at));
    for (int i = 0; i < q->n_owned; i++) {
        for (int k = 0; k < q->owned[i].n; k++) {
            memcpy(s.at[s.n].topic, q->owned[i].topic_id, 16);
            s.at[s.n++].partition = q->owned[i].partitions[k];
        }
    }
    tp_set_sort(&s);
    return s;
}

/* H3 */
static enum err_code epoch_check(const struct consumer_member *m, int32_t epoch, const struct tp_set *owned,
                                 enum group_detail *detail, struct err *e)
{
    if (epoch == m->epoch) return ERR_NONE;
    if (epoch < m->epoch && epoch == m->previous_epoch && owned != NULL && tp_set_is_subset(owned, &m->assigned))
        return ERR_NONE;
    *detail = GROUP_FENCED_EPOCH;
    return err_set(e, ERR_GENERATION,
                   "The consumer group member has a %s member epoch (%d) than the one known by the group coordinator "
                   "(%d). The member must abandon all its partitions and rejoin.",
                   epoch > m->epoch ? "greater" : "smaller", (int)epoch, (int)m->epoch);
}

static enum err_code fenced(enum group_detail *detail, struct err *e, const struct consumer_member *m)
{
    *detail = GROUP_OK;
    return err_set(e, ERR_FENCED, "The instance id %.*s is owned by another member.", BYTES_ARG(m->instance));
}

static enum err_code is_full(const struct consumer_group *cg, enum group_detail *detail, struct err *e)
{
    *detail = GROUP_OK;
    if (cg->n_members < LIMIT_GROUP_MEMBERS_MAX) return ERR_NONE;
    return err_set(e, ERR_LIMIT, "The consumer group has reached its maximum capacity of %d members.",
                   LIMIT_GROUP_MEMBERS_MAX);
}

/* H5. The place of `old`, under another member id. */
static struct consumer_member *replace_static(struct consumer_group *cg, struct consumer_member *old, struct bytes id)
{
    consumer_gone_member(cg, old->id);
    group_timer_stop(old->group, &old->rebalance);
    (void)map_remove(&cg->by_id, old->id);
    group_replace(&old->id, id);
    (void)map_put(&cg->by_id, id, old);
    old->epoch = old->previous_epoch = 0;
    old->state = CONSUMER_STABLE;
    old->dirty = DIRTY_ALL;
    return old;
}

static enum err_code join_static(struct consumer_group *cg, const struct consumer_beat *q, struct bytes id,
                                 struct consumer_member **out, bool *is_new, enum group_detail *detail, struct err *e)
{
    struct consumer_member *old = map_get(&cg->by_instance, q->instance_id);

    if (old == NULL && map_get(&cg->by_id, id) != NULL) return unknown(detail, e, id); /* known, and not static */
    if (old == NULL) {
        enum err_code rc = is_full(cg, detail, e);
        if (rc != ERR_NONE) return rc;
        *out = consumer_member_add(cg, id, q->instance_id);
        *is_new = true;
        return ERR_NONE;
    }
    if (bytes_equal(old->id, id)) {
        if (old->epoch == CONSUMER_EPOCH_LEAVE_STATIC) old = replace_static(cg, old, id);
        *out = old;
        return ERR_NONE;
    }
    if (old->epoch != CONSUMER_EPOCH_LEAVE_STATIC) {
        *detail = GROUP_UNRELEASED;
        return err_set(
            e, ERR_FENCED,
            "Static member %.*s with instance id %.*s cannot join the group because the instance id is owned "
            "by %.*s member.",
            BYTES_ARG(id), BYTES_ARG(q->instance_id), BYTES_ARG(old->id));
    }
    if (map_get(&cg->by_id, id) != NULL) return unknown(detail, e, id);
    *out = replace_static(cg, old, id);
    return ERR_NONE;
}

static enum err_code find_member(struct consumer_group *cg, const struct consumer_beat *q, struct bytes id,
                                 const struct tp_set *owned, struct consumer_member **out, bool *is_new,
                                 enum group_detail *detail, struct err *e)
{
    bool is_static = !bytes_is_null(q->instance_id);
    struct consumer_member *m = is_static ? map_get(&cg->by_instance, q->instance_id) : map_get(&cg->by_id, id);

    *is_new = false;
    if (q->epoch == CONSUMER_EPOCH_JOIN && is_static) return join_static(cg, q, id, out, is_new, detail, e);
    if (q->epoch == CONSUMER_EPOCH_JOIN && m == NULL) {
        enum err_code rc = is_full(cg, detail, e);
        if (rc != ERR_NONE) return rc;
        m = consumer_member_add(cg, id, BYTES_NULL);
        *is_new = true;
    }
    *out = m;
    if (m == NULL) return unknown(detail, e, id);
    if (is_static && !bytes_equal(m->id, id)) return fenced(detail, e, m);
    return q->epoch == CONSUMER_EPOCH_JOIN ? ERR_NONE : epoch_check(m, q->epoch, owned, detail, e);
}

/* ---- what it says about itself ---- */
static bool set_bytes(struct bytes *to, struct bytes from)
{
    if (bytes_equal(*to, from)) return false;
    group_replace(to, from);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool set_topics(struct consumer_member *m, const struct consumer_beat *q, struct arena *a)
{
    struct bytes *sorted = arena_array(a, (size_t)q->n_topics + 1, sizeof(*sorted));
    int n = 0;
    bool is_same;

    for (int i = 0; i < q->n_topics; i++)
        sorted[i] = q->topics[i].ptr ? q->topics[i] : bytes_str("");
    if (q->n_topics > 1) qsort(sorted, (size_t)q->n_topics, sizeof(*sorted), by_name);
    for (int i = 0; i < q->n_topics; i++)
        if (n == 0 || !bytes_equal(sorted[n - 1], sorted[i])) sorted[n++] = sorted[i];
    is_same = n == m->n_topics;
    for (int i = 0; is_same && i < n; i++)
        is_same = bytes_equal(sorted[i], m->topics[i]);
    if (!is_same) consumer_set_topics(m, sorted, n);
    return !is_same;
}

/* True: its subscription or its assignor is another one. */
static bool take_metadata(struct consumer_member *m, const struct consumer_beat *q, struct arena *a)
{
    bool has_changed = false, is_subscription = false;

    if (!bytes_is_null(q->rack_id)) is_subscription |= set_bytes(&m->rack, q->rack_id);
    if (q->n_topics >= 0) is_subscription |= set_topics(m, q, a);
    if (!bytes_is_null(q->regex)) is_subscription |= set_bytes(&m->regex, q->regex.len ? q->regex : BYTES_NULL);
    if (!bytes_is_null(q->assignor)) is_subscription |= set_bytes(&m->assignor, q->assignor);
    has_changed |= set_bytes(&m->client_id, q->client_id.ptr ? q->client_id : bytes_str(""));
    has_changed |= set_bytes(&m->client_host, q->client_host.ptr ? q->client_host : bytes_str(""));
    if (q->rebalance_timeout_ms >= 0 && q->rebalance_timeout_ms != m->rebalance_ms) {
        m->rebalance_ms = q->rebalance_timeout_ms;
        has_changed = true;
    }
    if (has_changed || is_subscription) m->dirty |= DIRTY_SUBSCRIPTION;
    return is_subscription;
}

/* ---- replies ---- */
static struct consumer_partitions *by_topic(const struct tp_set *s, struct arena *a, int *n_out)
{
    struct consumer_partitions *out = arena_array(a, (size_t)s->n, sizeof(*out));
    int32_t *partitions = arena_array(a, (size_t)s->n, sizeof(*partitions));
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        partitions[i] = s->at[i].partition;
        if (n == 0 || memcmp(out[n - 1].topic_id, s->at[i].topic, 16) != 0) {
            memcpy(out[n].topic_id, s->at[i].topic, 16);
            out[n].n = 0;
            out[n++].partitions = &partitions[i];
        }
        out[n - 1].n++;
    }
    *n_out = n;
    return out;
}

static enum err_code leave(struct broker *b, const struct consumer_beat *q, struct arena *a, struct consumer_reply *out,
                           struct append_wait *wait, bool *is_durable, enum group_detail *detail, struct err *e)
{
    struct group *g = group_find(b, q->group_id);
    bool is_static = !bytes_is_null(q->instance_id);

    if (g == NULL || g->consumer == NULL) {
        *detail = GROUP_NOT_FOUND;
        return err_set(e, ERR_NOT_FOUND, "Group %.*s not found.", BYTES_ARG(q->group_id));
    }
    struct consumer_group *cg = g->consumer;
    struct consumer_member *m =
        is_static ? map_get(&cg->by_instance, q->instance_id) : map_get(&cg->by_id, q->member_id);
    if (m == NULL) return unknown(detail, e, q->member_id);
    if (!bytes_equal(m->id, q->member_id)) return fenced(detail, e, m);
    out->member_id = arena_copy(a, m->id);
    out->epoch = q->epoch;
    if (q->epoch == CONSUMER_EPOCH_LEAVE) {
        consumer_member_remove(m);
    } else { /* H5. What it was to give back it has: it is gone. */
        consumer_disown(cg, &m->revoking, m);
        m->revoking.n = 0;
        m->epoch = CONSUMER_EPOCH_LEAVE_STATIC;
        m->previous_epoch = 0;
        m->state = CONSUMER_STABLE;
        m->dirty |= DIRTY_CURRENT;
        group_timer_stop(g, &m->rebalance);
    }
    return consumer_flush(cg, wait, is_durable, e);
}

static bool is_full_request(const struct consumer_beat *q)
{
    return q->epoch == CONSUMER_EPOCH_JOIN ||
           (q->rebalance_timeout_ms >= 0 && q->n_owned >= 0 && (q->n_topics >= 0 || !bytes_is_null(q->regex)));
}

/* What has changed around the member, and its step. True: it has to be told its assignment. */
static bool advance(struct consumer_group *cg, struct consumer_member *m, const struct consumer_beat *q,
                    bool has_changed, const struct tp_set *owned)
{
    struct tp_set before = {NULL, 0};

    if (has_changed || cg->topics_seen != cg->group->broker->topics_version) has_changed |= consumer_refresh(cg, q);
    if (has_changed) bump_epoch(cg);
    if (cg->epoch > cg->target_epoch) consumer_target_compute(cg);
    tp_set_copy(&before, &m->assigned);
    (void)consumer_reconcile(m, owned);
    bool is_other = !tp_set_equal(&before, &m->assigned);
    tp_set_free(&before);
    return is_other;
}

enum err_code consumer_heartbeat(struct broker *b, const struct consumer_beat *q, struct arena *a,
                                 struct consumer_reply *out, struct append_wait *wait, bool *is_durable,
                                 enum group_detail *detail, struct err *e)
{
    struct consumer_member *m = NULL;
    struct group *g = NULL;
    char made[64];
    bool is_new;

    *is_durable = true;
    *out = (struct consumer_reply){.heartbeat_ms = (int32_t)b->options.consumer_heartbeat_ms};
    enum err_code rc = beat_check(q, detail, e);
    if (rc != ERR_NONE) return rc;
    if (q->epoch < 0) return leave(b, q, a, out, wait, is_durable, detail, e);
    rc = find_group(b, q, &g, detail, e);
    if (rc != ERR_NONE) return rc;
    struct bytes id = q->member_id;
    if (id.len == 0) { /* 128 bits of chance, as Kafka's */
        (void)snprintf(made, sizeof(made), "%016llx%016llx", (unsigned long long)b->sys->rng->next(b->sys->rng),
                       (unsigned long long)b->sys->rng->next(b->sys->rng));
        id = bytes_str(made);
    }
    struct consumer_group *cg = g->consumer;
    struct tp_set owned_room = owned_set(q, a);
    const struct tp_set *owned = q->n_owned >= 0 ? &owned_room : NULL;
    rc = find_member(cg, q, id, owned, &m, &is_new, detail, e);
    if (rc != ERR_NONE) return rc;
    bool has_lost_reply = q->epoch != m->epoch;
    bool has_changed = take_metadata(m, q, a) || is_new;
    bool is_other = advance(cg, m, q, has_changed, owned);
    consumer_session_start(m);
    out->member_id = arena_copy(a, m->id);
    out->epoch = m->epoch;
    out->has_assignment = is_other || has_lost_reply || is_full_request(q);
    if (out->has_assignment) out->assignment = by_topic(&m->assigned, a, &out->n_assignment);
    rc = consumer_flush(cg, wait, is_durable, e);
    if (rc == ERR_NONE) store_compact(b->groups);
    return rc;
}

/* ---- for offsets and administration ---- */
enum err_code consumer_epoch_check(const struct group *g, struct bytes member_id, int32_t epoch,
                                   enum group_detail *detail, struct err *e)
{
    const struct consumer_member *m = member_id.len > 0 ? map_get(&g->consumer->by_id, member_id) : NULL;

    if (m == NULL) return unknown(detail, e, member_id);
    if (m->epoch == epoch) return ERR_NONE;
    *detail = GROUP_STALE_EPOCH;
    return err_set(e, ERR_GENERATION, "The received member epoch %d does not match the expected member epoch %d.",
                   (int)epoch, (int)m->epoch);
}

enum err_code consumer_leave_static(struct group *g, struct bytes instance, struct err *e)
{
    struct consumer_member *m = bytes_is_null(instance) ? NULL : map_get(&g->consumer->by_instance, instance);

    if (m == NULL) return err_set(e, ERR_MEMBER, "no member with instance id %.*s", BYTES_ARG(instance));
    remove_and_store(m);
    return ERR_NONE;
}

bool consumer_describe(struct broker *b, struct bytes group_id, struct arena *a, struct consumer_description *out,
                       bool (*member)(void *arg, const struct consumer_member_description *m), void *arg)
{
    const struct group *g = group_find(b, group_id);

    if (g == NULL || g->consumer == NULL) return false;
    const struct consumer_group *cg = g->consumer;
    *out = (struct consumer_description){
        .group_id = g->id,
        .assignor = consumer_assignor(cg),
        .state = consumer_state_name(cg),
        .epoch = cg->epoch,
        .target_epoch = cg->target_epoch,
        .n_members = cg->n_members,
    };
    for (struct list *n = cg->members.next; member != NULL && n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        struct consumer_member_description d = {
            .member_id = m->id,
            .instance_id = m->instance,
            .rack_id = m->rack,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .regex = m->regex,
            .epoch = m->epoch,
            .topics = m->topics,
            .n_topics = m->n_topics,
        };
        d.assigned = by_topic(&m->assigned, a, &d.n_assigned);
        d.target = by_topic(&m->target, a, &d.n_target);
        if (!member(arg, &d)) break;
    }
    return true;
}
