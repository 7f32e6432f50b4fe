/* group_join.c: joining, rebalancing, syncing. The states are drawn in group.c. */
#include "broker/consumer_int.h"

#include <stdlib.h>

/* ---- answers (G1) ---- */
static struct group_answer *answer_new(struct groups *gs, struct group_wait *w, bool is_join)
{
    struct group_answer *a = calloc(1, sizeof(*a));
    check(a != NULL && !list_is_linked(&w->link));
    arena_init(&a->arena, 512);
    a->wait = w;
    a->is_join = is_join;
    w->member = a;
    list_push_back(&gs->answers, &w->link);
    broker_post_turn(gs->broker);
    return a;
}

void answer_join_error(struct groups *gs, struct group_wait *w, enum err_code rc, enum group_detail detail,
                       struct bytes member_id)
{
    struct group_answer *a = answer_new(gs, w, true);
    a->join = (struct group_join_reply){
        .rc = rc,
        .detail = detail,
        .generation = -1,
        .protocol_type = BYTES_NULL,
        .protocol_name = BYTES_NULL,
        .leader = bytes_str(""),
        .member_id = arena_copy(&a->arena, member_id.ptr ? member_id : bytes_str("")),
    };
}

void answer_sync_error(struct groups *gs, struct group_wait *w, enum err_code rc, enum group_detail detail)
{
    struct group_answer *a = answer_new(gs, w, false);
    a->sync = (struct group_sync_reply){.rc = rc, .detail = detail, .assignment = bytes_str("")};
}

/* The generation as it stands, to one member. hides_leader: to a static leader that came back and must not compute. */
static void answer_join_member(struct group_member *m, struct group_wait *w, bool is_leader, bool skips,
                               struct bytes leader)
{
    struct group *g = m->group;
    struct group_answer *a = answer_new(g->broker->groups, w, true);
    struct group_member_info *infos = NULL;
    int n = 0;

    if (is_leader) {
        infos = arena_array(&a->arena, (size_t)g->n_members, sizeof(*infos));
        for (struct list *at = g->members.next; at != &g->members; at = at->next) {
            const struct group_member *other = CONTAINER_OF(at, struct group_member, link);
            const struct group_protocol *p = member_protocol(other, g->protocol);
            infos[n++] = (struct group_member_info){
                .member_id = arena_copy(&a->arena, other->id),
                .instance_id = arena_copy(&a->arena, other->instance),
                .metadata = p ? arena_copy(&a->arena, p->metadata) : bytes_str(""),
            };
        }
    }
    a->join = (struct group_join_reply){
        .generation = g->generation,
        .protocol_type = arena_copy(&a->arena, g->protocol_type),
        .protocol_name = arena_copy(&a->arena, g->protocol),
        .leader = arena_copy(&a->arena, leader),
        .member_id = arena_copy(&a->arena, m->id),
        .skip_assignment = skips,
        .members = infos,
        .n_members = n,
    };
}

static void answer_current(struct group_member *m, struct group_wait *w)
{
    struct group *g = m->group;
    answer_join_member(m, w, g->leader == m, false, g->leader ? g->leader->id : bytes_str(""));
    member_alive(m);
}

void answer_sync_member(struct group_member *m)
{
    struct group *g = m->group;
    struct group_answer *a = answer_new(g->broker->groups, m->sync_wait, false);
    m->sync_wait = NULL;
    a->sync = (struct group_sync_reply){
        .protocol_type = arena_copy(&a->arena, g->protocol_type),
        .protocol_name = arena_copy(&a->arena, g->protocol),
        .assignment = arena_copy(&a->arena, m->assignment),
    };
}

/* ---- rebalance ---- */
static int64_t rebalance_timeout_ms(const struct group *g)
{
    int64_t ms = 0;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        const struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        if (m->rebalance_ms > ms) ms = m->rebalance_ms;
    }
    return ms;
}

void group_rebalance(struct group *g)
{
    struct groups *gs = g->broker->groups;
    bool is_initial = g->state == GROUP_EMPTY;

    check(g->state != GROUP_PREPARING && g->state != GROUP_DEAD);
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        if (m->sync_wait == NULL) continue;
        answer_sync_error(gs, m->sync_wait, ERR_REBALANCE, GROUP_OK);
        m->sync_wait = NULL;
    }
    append_cancel(&g->store_wait);
    g->is_storing = false;
    g->state = GROUP_PREPARING;
    g->is_initial = is_initial;
    g->has_newcomer = false;
    int64_t limit = rebalance_timeout_ms(g), delay = g->broker->options.group_initial_delay_ms;
    if (is_initial && delay > limit) delay = limit;
    g->initial_left_ms = limit - delay;
    group_timer_start(g, &g->timer, is_initial ? delay : limit);
    if (!is_initial) group_rebalance_check(g);
}

/* The name that most members prefer among those that all of them know; ties go to the leader's order. */
static struct bytes vote(const struct group *g)
{
    const struct group_member *leader = g->leader;
    struct bytes best = BYTES_NULL;
    int best_votes = -1;

    for (int i = 0; i < leader->n_protocols; i++) {
        struct bytes name = leader->protocols[i].name;
        int votes = 0;
        bool is_common = true;
        for (struct list *n = g->members.next; n != &g->members && is_common; n = n->next)
            is_common = member_protocol(CONTAINER_OF(n, struct group_member, link), name) != NULL;
        if (!is_common) continue;
        for (struct list *n = g->members.next; n != &g->members; n = n->next) {
            const struct group_member *m = CONTAINER_OF(n, struct group_member, link);
            /* A member's vote: its first protocol that the others know too. */
            for (int k = 0; k < m->n_protocols; k++) {
                bool all = true;
                for (struct list *o = g->members.next; o != &g->members && all; o = o->next)
                    all = member_protocol(CONTAINER_OF(o, struct group_member, link), m->protocols[k].name) != NULL;
                if (!all) continue;
                votes += bytes_equal(m->protocols[k].name, name);
                break;
            }
        }
        if (votes > best_votes) {
            best = name;
            best_votes = votes;
        }
    }
    return best;
}

static void become_empty(struct group *g)
{
    struct err e = {0};
    bool is_durable;

    g->state = GROUP_EMPTY;
    g->generation++;
    g->state_ms = broker_now_ms(g->broker);
    group_timer_stop(g, &g->timer);
    group_free_bytes(&g->protocol);
    /* Nobody waits for it: lost at a crash, it is made again by session timeouts. */
    if (store_group(g, NULL, &is_durable, &e) != ERR_NONE)
        diag_printf(g->broker->sys->diag, DIAG_WARN, "group", "%.*s: %s", BYTES_ARG(g->id), e.text);
    offsets_timer_arm(g->broker->groups);
}

/* Silent dynamic members are out; silent static ones stay until their session ends. */
static void evict_silent(struct group *g)
{
    for (struct list *n = g->members.next, *next; n != &g->members; n = next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        next = n->next;
        if (!m->has_joined && bytes_is_null(m->instance)) member_free(m);
    }
}

static bool elect_leader(struct group *g)
{
    if (g->leader && g->leader->has_joined) return true;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        if (!m->has_joined) continue;
        g->leader = m;
        return true;
    }
    return false;
}

static void complete_join(struct group *g)
{
    check(g->state == GROUP_PREPARING);
    evict_silent(g);
    if (g->n_members == 0) {
        become_empty(g);
        return;
    }
    if (!elect_leader(g)) { /* Only silent static members: wait for their sessions to end. */
        group_timer_start(g, &g->timer, rebalance_timeout_ms(g));
        return;
    }
    g->generation++;
    g->is_initial = false;
    g->state = GROUP_COMPLETING;
    group_replace(&g->protocol, vote(g));
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        struct group_wait *w = m->join_wait;
        m->has_synced = !m->has_joined; /* A silent static member has no sync to come. */
        m->has_joined = false;
        m->join_wait = NULL;
        if (w) answer_current(m, w);
    }
    group_timer_start(g, &g->timer, rebalance_timeout_ms(g)); /* for the syncs */
}

void group_rebalance_check(struct group *g)
{
    if (g->state != GROUP_PREPARING || g->is_initial) {
        if (g->state == GROUP_PREPARING && g->n_members == 0) complete_join(g);
        return;
    }
    if (map_count(&g->pending) > 0) return;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        if (!CONTAINER_OF(n, struct group_member, link)->has_joined) return;
    }
    complete_join(g);
}

static void evict_unsynced(struct group *g)
{
    struct groups *gs = g->broker->groups;
    bool any = false;

    for (struct list *n = g->members.next, *next; n != &g->members; n = next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        next = n->next;
        if (m->has_synced) continue;
        if (m->sync_wait) answer_sync_error(gs, m->sync_wait, ERR_MEMBER, GROUP_OK);
        member_free(m);
        any = true;
    }
    if (any) group_rebalance(g);
}

void group_timer_fire(struct timer *t)
{
    struct group *g = CONTAINER_OF(t, struct group, timer);

    if (g->state == GROUP_PREPARING && g->is_initial && g->has_newcomer && g->initial_left_ms > 0) {
        int64_t delay = g->broker->options.group_initial_delay_ms;
        if (delay > g->initial_left_ms) delay = g->initial_left_ms;
        g->initial_left_ms -= delay;
        g->has_newcomer = false;
        group_timer_start(g, &g->timer, delay);
    } else if (g->state == GROUP_PREPARING) {
        complete_join(g);
    } else if (g->state == GROUP_COMPLETING || g->state == GROUP_STABLE) {
        evict_unsynced(g);
    }
}

/* ---- join ---- */
static bool same_protocols(const struct group_member *m, const struct group_join *q)
{
    if (m->n_protocols != q->n_protocols) return false;
    for (int i = 0; i < m->n_protocols; i++) {
        if (!bytes_equal(m->protocols[i].name, q->protocols[i].name)) return false;
        if (m->protocols[i].metadata.len != q->protocols[i].metadata.len) return false;
        if (!bytes_equal(m->protocols[i].metadata, q->protocols[i].metadata)) return false;
    }
    return true;
}

static void member_update(struct group_member *m, const struct group_join *q)
{
    struct group_protocol *copy = calloc((size_t)q->n_protocols, sizeof(*copy));
    check(copy != NULL);
    for (int i = 0; i < q->n_protocols; i++) {
        copy[i].name = group_dup(q->protocols[i].name);
        copy[i].metadata = group_dup(q->protocols[i].metadata.ptr ? q->protocols[i].metadata : bytes_str(""));
    }
    for (int i = 0; i < m->n_protocols; i++) {
        group_free_bytes(&m->protocols[i].name);
        group_free_bytes(&m->protocols[i].metadata);
    }
    free(m->protocols);
    m->protocols = copy;
    m->n_protocols = q->n_protocols;
    m->session_ms = q->session_timeout_ms;
    m->rebalance_ms = q->rebalance_timeout_ms > 0 ? q->rebalance_timeout_ms : q->session_timeout_ms;
    group_replace(&m->client_id, q->client_id.ptr ? q->client_id : bytes_str(""));
    group_replace(&m->client_host, q->client_host.ptr ? q->client_host : bytes_str(""));
}

static void park_join(struct group_member *m, struct group_wait *w)
{
    struct group *g = m->group;

    if (m->join_wait && m->join_wait != w) /* a retry on a new connection replaces the old request */
        answer_join_error(g->broker->groups, m->join_wait, ERR_REBALANCE, GROUP_OK, m->id);
    m->join_wait = w;
    m->has_joined = true;
    w->member = m;
    group_timer_stop(g, &m->session); /* G2 */
}

/* The member is parked; the group goes to, or on in, Preparing. */
static void join_and_rebalance(struct group_member *m, struct group_wait *w)
{
    struct group *g = m->group;

    park_join(m, w);
    if (g->state == GROUP_PREPARING)
        group_rebalance_check(g);
    else
        group_rebalance(g);
}

static void join_new(struct group *g, const struct group_join *q, struct bytes id, struct group_wait *w)
{
    bool was_empty = g->n_members == 0 && g->state == GROUP_EMPTY;
    struct group_member *m = member_add(g, id, q->instance_id);

    member_update(m, q);
    if (was_empty) group_replace(&g->protocol_type, q->protocol_type);
    if (g->state == GROUP_PREPARING) g->has_newcomer = true;
    join_and_rebalance(m, w);
}

static void join_known(struct group_member *m, const struct group_join *q, struct group_wait *w)
{
    struct group *g = m->group;
    bool is_same = same_protocols(m, q);

    if (g->state == GROUP_EMPTY || g->state == GROUP_DEAD) {
        answer_join_error(g->broker->groups, w, ERR_MEMBER, GROUP_OK, q->member_id);
        return;
    }
    bool is_current =
        (g->state == GROUP_COMPLETING && is_same) || (g->state == GROUP_STABLE && is_same && g->leader != m);
    member_update(m, q);
    if (is_current)
        answer_current(m, w);
    else
        join_and_rebalance(m, w);
}

/* A static member is back with a new id. Stable and the same subscription: no rebalance. */
static void join_static(struct group *g, struct group_member *m, const struct group_join *q, struct bytes new_id,
                        struct group_wait *w)
{
    struct groups *gs = g->broker->groups;
    struct bytes old_id = m->id; /* kept until the end */
    struct err e = {0};
    bool is_durable, is_leader = g->leader == m;
    bool is_same = g->state == GROUP_STABLE && same_protocols(m, q);

    if (m->join_wait) answer_join_error(gs, m->join_wait, ERR_FENCED, GROUP_OK, m->id);
    if (m->sync_wait) answer_sync_error(gs, m->sync_wait, ERR_FENCED, GROUP_OK);
    m->join_wait = m->sync_wait = NULL;
    (void)map_remove(&g->by_id, old_id);
    m->id = group_dup(new_id);
    (void)map_put(&g->by_id, new_id, m);
    member_update(m, q);
    if (!is_same) {
        join_and_rebalance(m, w);
        group_free_bytes(&old_id);
        return;
    }
    enum err_code rc = store_group(g, NULL, &is_durable, &e);
    /* G4. A swap is rare: sync here instead of parking it once more. */
    if (rc == ERR_NONE && !is_durable) rc = partition_sync_now(gs->log, &e);
    if (rc != ERR_NONE)
        answer_join_error(gs, w, rc, GROUP_OK, m->id);
    else if (is_leader && !q->supports_skip_assignment)
        answer_join_member(m, w, false, false, old_id); /* Old clients must not take themselves for the leader. */
    else
        answer_join_member(m, w, is_leader, is_leader, g->leader->id);
    member_alive(m);
    group_free_bytes(&old_id);
}

static enum err_code join_check(const struct group_join *q, enum group_detail *detail)
{
    *detail = GROUP_OK;
    if (!group_id_is_valid(q->group_id))
        *detail = GROUP_BAD_GROUP_ID;
    else if (q->session_timeout_ms < LIMIT_SESSION_TIMEOUT_MIN_MS ||
             q->session_timeout_ms > LIMIT_SESSION_TIMEOUT_MAX_MS)
        *detail = GROUP_BAD_SESSION_TIMEOUT;
    else if (q->protocol_type.len == 0 || q->n_protocols < 1)
        *detail = GROUP_PROTOCOL_MISMATCH;
    return *detail == GROUP_OK ? ERR_NONE : ERR_INVALID;
}

/* Kafka's rule: some protocol of the request is known to every member. */
static bool protocols_fit(const struct group *g, const struct group_join *q)
{
    if (g->n_members == 0) return true;
    if (!bytes_equal(g->protocol_type, q->protocol_type)) return false;
    for (int i = 0; i < q->n_protocols; i++) {
        bool all = true;
        for (struct list *n = g->members.next; n != &g->members && all; n = n->next)
            all = member_protocol(CONTAINER_OF(n, struct group_member, link), q->protocols[i].name) != NULL;
        if (all) return true;
    }
    return false;
}

static bool is_full(const struct group *g)
{
    return g->n_members + (int)map_count(&g->pending) >= LIMIT_GROUP_MEMBERS_MAX;
}

static void join_without_id(struct group *g, const struct group_join *q, struct group_wait *w)
{
    struct groups *gs = g->broker->groups;
    bool is_static = !bytes_is_null(q->instance_id);
    struct group_member *known = is_static ? map_get(&g->by_instance, q->instance_id) : NULL;
    char id[LIMIT_GROUP_ID_LEN_MAX];

    member_id_make(g->broker, is_static ? q->instance_id : q->client_id, id, sizeof(id));
    if (known) {
        join_static(g, known, q, bytes_str(id), w);
    } else if (is_full(g)) {
        answer_join_error(gs, w, ERR_LIMIT, GROUP_OK, BYTES_NULL);
    } else if (!is_static && q->requires_known_member) {
        pending_add(g, bytes_str(id), q->session_timeout_ms);
        answer_join_error(gs, w, ERR_MEMBER, GROUP_MEMBER_ID_REQUIRED, bytes_str(id));
    } else {
        join_new(g, q, bytes_str(id), w);
    }
}

void group_join(struct broker *b, const struct group_join *q, struct group_wait *w)
{
    struct groups *gs = b->groups;
    struct group_member *m = NULL;
    enum group_detail detail;

    w->link = (struct list){NULL, NULL};
    w->member = NULL;
    enum err_code rc = join_check(q, &detail);
    struct group *g = rc == ERR_NONE ? group_find(b, q->group_id) : NULL;
    if (rc == ERR_NONE && g == NULL && q->member_id.len > 0) rc = ERR_MEMBER;
    if (rc == ERR_NONE && g != NULL && g->consumer != NULL && g->consumer->n_members == 0) {
        if (q->member_id.len == 0)
            consumer_group_drop(g); /* An empty group may change its protocol. */
        else
            rc = ERR_MEMBER;
    }
    if (rc == ERR_NONE && g != NULL && (g->consumer != NULL || !protocols_fit(g, q))) {
        rc = ERR_INVALID;
        detail = GROUP_PROTOCOL_MISMATCH;
    }
    if (rc != ERR_NONE) {
        answer_join_error(gs, w, rc, detail, q->member_id);
        return;
    }
    if (g == NULL) g = group_get(b, q->group_id);
    if (q->member_id.len == 0) {
        join_without_id(g, q, w);
        return;
    }
    if (pending_take(g, q->member_id)) {
        join_new(g, q, q->member_id, w);
        return;
    }
    rc = member_check(g, q->member_id, q->instance_id, &m, NULL);
    if (rc != ERR_NONE)
        answer_join_error(gs, w, rc, GROUP_OK, q->member_id);
    else
        join_known(m, q, w);
}

/* ---- sync ---- */
static void become_stable(struct group *g)
{
    g->state = GROUP_STABLE;
    g->state_ms = broker_now_ms(g->broker);
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        if (m->sync_wait) answer_sync_member(m);
    }
}

static void storing_failed(struct group *g, enum err_code rc)
{
    diag_printf(g->broker->sys->diag, DIAG_WARN, "group", "%.*s: the assignment could not be stored (%s)",
                BYTES_ARG(g->id), err_name(rc));
    group_rebalance(g); /* Everybody comes back and tries again. */
}

static void stored(struct append_wait *w, enum err_code rc)
{
    struct group *g = CONTAINER_OF(w, struct group, store_wait);

    if (!g->is_storing || g->store_generation != g->generation || g->state != GROUP_COMPLETING) return;
    g->is_storing = false;
    if (rc == ERR_NONE)
        become_stable(g);
    else
        storing_failed(g, rc);
}

static void store_assignment(struct group *g, const struct group_sync *q)
{
    struct err e = {0};
    bool is_durable;

    if (g->is_storing) return;
    for (struct list *n = g->members.next; n != &g->members; n = n->next) {
        struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        struct bytes mine = bytes_str("");
        for (int i = 0; i < q->n_assignments; i++) {
            if (bytes_equal(q->assignments[i].member_id, m->id)) mine = q->assignments[i].assignment;
        }
        group_replace(&m->assignment, mine.ptr ? mine : bytes_str(""));
    }
    g->is_storing = true;
    g->store_generation = g->generation;
    g->store_wait.done = stored;
    g->state_ms = broker_now_ms(g->broker);
    enum err_code rc = store_group(g, &g->store_wait, &is_durable, &e);
    if (rc == ERR_NONE && !is_durable) return;
    g->is_storing = false;
    if (rc == ERR_NONE)
        become_stable(g);
    else
        storing_failed(g, rc);
}

static enum err_code sync_check(struct broker *b, const struct group_sync *q, struct group_member **m,
                                enum group_detail *detail)
{
    *detail = group_id_is_valid(q->group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return ERR_INVALID;
    struct group *g = group_find(b, q->group_id);
    if (g == NULL) return ERR_MEMBER;
    enum err_code rc = member_check(g, q->member_id, q->instance_id, m, NULL);
    if (rc != ERR_NONE) return rc;
    if (q->generation != g->generation) return ERR_GENERATION; /* G3 */
    bool fits = (bytes_is_null(q->protocol_type) || bytes_equal(q->protocol_type, g->protocol_type)) &&
                (bytes_is_null(q->protocol_name) || bytes_equal(q->protocol_name, g->protocol));
    if (g->state == GROUP_EMPTY || g->state == GROUP_DEAD) return ERR_MEMBER;
    if (!fits) *detail = GROUP_PROTOCOL_MISMATCH;
    if (!fits) return ERR_INVALID;
    return g->state == GROUP_PREPARING ? ERR_REBALANCE : ERR_NONE;
}

void group_sync(struct broker *b, const struct group_sync *q, struct group_wait *w)
{
    struct group_member *m = NULL;
    enum group_detail detail;

    w->link = (struct list){NULL, NULL};
    w->member = NULL;
    enum err_code rc = sync_check(b, q, &m, &detail);
    if (rc != ERR_NONE) {
        answer_sync_error(b->groups, w, rc, detail);
        return;
    }
    struct group *g = m->group;
    if (m->sync_wait && m->sync_wait != w) answer_sync_error(b->groups, m->sync_wait, ERR_REBALANCE, GROUP_OK);
    m->sync_wait = w;
    w->member = m;
    m->has_synced = true;
    member_alive(m);
    if (g->state == GROUP_STABLE)
        answer_sync_member(m);
    else if (g->leader == m)
        store_assignment(g, q);
}
