/* group.c: consumer groups of the classic protocol: the table, members, sessions, heartbeats, administration.
 *
 *              join (initial delay)                      all rejoined, or time is up
 *   Empty ──────────────────────────▶ PreparingRebalance ─────────────────────────▶ CompletingRebalance
 *     ▲                                 ▲    │   ▲                                     │     │
 *     └──── nobody left (complete_join)─┼────┘   └── join, leave, loss ────────────────┘     │ the leader's sync is
 * stored └─────────── join, leave, loss, changed metadata ── Stable ◀──┘ Empty without offsets, or deleted ──▶ Dead
 * (removed from the table)
 *
 * join, rebalance, sync: group_join.c. Offsets: group_offsets.c. Records: group_store.c.
 *
 * G1  A parked join or sync belongs to its member (join_wait, sync_wait) or is on its way as a group_answer: exactly
 *     one of the two, so it is answered exactly once, and never inside the call that brought it.
 * G2  A member whose join is parked has no session timer: it cannot send heartbeats. It gets a new session when
 *     answered.
 * G3  Generation is compared before state (Kafka's order of checks).
 * G4  A group enters Stable, and a static member is swapped, only after the record that says so is durable. */
#include "broker/consumer_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- small things ---- */
struct bytes group_dup(struct bytes b)
{
    if (bytes_is_null(b)) return BYTES_NULL;
    uint8_t *copy = malloc(b.len + 1);
    check(copy != NULL);
    if (b.len > 0) memcpy(copy, b.ptr, b.len);
    return bytes_of(copy, b.len);
}

void group_free_bytes(struct bytes *b)
{
    free((void *)(uintptr_t)b->ptr);
    *b = BYTES_NULL;
}

void group_replace(struct bytes *to, struct bytes from)
{
    struct bytes copy = group_dup(from);
    group_free_bytes(to);
    *to = copy;
}

bool group_id_is_valid(struct bytes id)
{
    return id.len >= 1 && id.len <= LIMIT_GROUP_ID_LEN_MAX;
}

void group_timer_start(struct group *g, struct timer *t, int64_t ms)
{
    struct loop *loop = g->broker->sys->loop;
    loop->timer_start(loop, t, loop->now_ns(loop) + (uint64_t)(ms > 0 ? ms : 0) * 1000000u);
}

void group_timer_stop(struct group *g, struct timer *t)
{
    struct loop *loop = g->broker->sys->loop;
    loop->timer_stop(loop, t);
}

void member_id_make(struct broker *b, struct bytes prefix, char out[], size_t cap)
{
    struct rng *rng = b->sys->rng;
    size_t most = cap - 18;
    (void)snprintf(out, cap, "%.*s-%016llx", (int)(prefix.len < most ? prefix.len : most),
                   (const char *)(prefix.ptr ? prefix.ptr : (const uint8_t *)""), (unsigned long long)rng->next(rng));
}

/* ---- groups ---- */
struct group *group_find(struct broker *b, struct bytes id)
{
    return map_get(&b->groups->by_id, id);
}

struct group *group_get(struct broker *b, struct bytes id)
{
    struct group *g = group_find(b, id);
    if (g != NULL) return g;
    g = calloc(1, sizeof(*g));
    check(g != NULL);
    g->broker = b;
    g->id = group_dup(id);
    g->state_ms = broker_now_ms(b);
    g->timer.fire = group_timer_fire;
    list_init(&g->members);
    map_init(&g->by_id);
    map_init(&g->by_instance);
    map_init(&g->pending);
    map_init(&g->offsets);
    (void)map_put(&b->groups->by_id, id, g);
    b->stats.n_groups++;
    return g;
}

static void pending_free(struct group_pending *p)
{
    group_timer_stop(p->group, &p->expiry);
    group_free_bytes(&p->id);
    free(p);
}

static void group_free(struct group *g)
{
    uint32_t pos = 0;

    group_timer_stop(g, &g->timer);
    append_cancel(&g->store_wait);
    consumer_group_destroy(g->consumer);
    for (struct list *n; (n = list_first(&g->members)) != NULL;)
        member_free(CONTAINER_OF(n, struct group_member, link));
    for (struct map_entry *m; (m = map_next(&g->pending, &pos)) != NULL;)
        pending_free(m->value);
    pos = 0;
    for (struct map_entry *m; (m = map_next(&g->offsets, &pos)) != NULL;)
        offset_free(m->value);
    map_deinit(&g->by_id);
    map_deinit(&g->by_instance);
    map_deinit(&g->pending);
    map_deinit(&g->offsets);
    group_free_bytes(&g->id);
    group_free_bytes(&g->protocol_type);
    group_free_bytes(&g->protocol);
    group_free_bytes(&g->stored);
    free(g);
}

void group_remove(struct group *g)
{
    struct broker *b = g->broker;
    check(g->n_members == 0 && (g->consumer == NULL || g->consumer->n_members == 0));
    g->state = GROUP_DEAD;
    (void)map_remove(&b->groups->by_id, g->id);
    b->stats.n_groups--;
    group_free(g);
}

/* ---- members ---- */
struct group_member *member_find(const struct group *g, struct bytes id)
{
    return id.len > 0 ? map_get(&g->by_id, id) : NULL;
}

enum err_code member_check(const struct group *g, struct bytes id, struct bytes instance, struct group_member **out,
                           struct err *e)
{
    if (!bytes_is_null(instance)) {
        struct group_member *m = map_get(&g->by_instance, instance);
        if (m == NULL) return err_set(e, ERR_MEMBER, "no member with instance id %.*s", BYTES_ARG(instance));
        if (!bytes_equal(m->id, id))
            return err_set(e, ERR_FENCED, "instance id %.*s was taken over", BYTES_ARG(instance));
        *out = m;
        return ERR_NONE;
    }
    *out = member_find(g, id);
    return *out ? ERR_NONE : err_set(e, ERR_MEMBER, "no member %.*s", BYTES_ARG(id));
}

static void session_fire(struct timer *t)
{
    struct group_member *m = CONTAINER_OF(t, struct group_member, session);
    struct group *g = m->group;
    diag_printf(g->broker->sys->diag, DIAG_INFO, "group", "%.*s: member %.*s has gone silent", BYTES_ARG(g->id),
                BYTES_ARG(m->id));
    member_lost(m, ERR_MEMBER);
}

struct group_member *member_add(struct group *g, struct bytes id, struct bytes instance)
{
    struct group_member *m = calloc(1, sizeof(*m));
    check(m != NULL);
    m->group = g;
    m->id = group_dup(id);
    m->instance = group_dup(instance);
    m->assignment = group_dup(bytes_str(""));
    m->session.fire = session_fire;
    list_push_back(&g->members, &m->link);
    (void)map_put(&g->by_id, id, m);
    if (!bytes_is_null(instance)) (void)map_put(&g->by_instance, instance, m);
    if (g->leader == NULL) g->leader = m;
    g->n_members++;
    return m;
}

void member_free(struct group_member *m)
{
    struct group *g = m->group;

    group_timer_stop(g, &m->session);
    list_remove(&m->link);
    (void)map_remove(&g->by_id, m->id);
    if (!bytes_is_null(m->instance)) (void)map_remove(&g->by_instance, m->instance);
    g->n_members--;
    if (g->leader == m)
        g->leader = g->n_members ? CONTAINER_OF(list_first(&g->members), struct group_member, link) : NULL;
    for (int i = 0; i < m->n_protocols; i++) {
        group_free_bytes(&m->protocols[i].name);
        group_free_bytes(&m->protocols[i].metadata);
    }
    free(m->protocols);
    group_free_bytes(&m->id);
    group_free_bytes(&m->instance);
    group_free_bytes(&m->client_id);
    group_free_bytes(&m->client_host);
    group_free_bytes(&m->assignment);
    free(m);
}

void member_alive(struct group_member *m)
{
    if (m->join_wait == NULL) group_timer_start(m->group, &m->session, m->session_ms); /* G2 */
}

void member_lost(struct group_member *m, enum err_code rc)
{
    struct group *g = m->group;
    struct groups *gs = g->broker->groups;

    if (m->join_wait) answer_join_error(gs, m->join_wait, rc, GROUP_OK, m->id);
    if (m->sync_wait) answer_sync_error(gs, m->sync_wait, rc, GROUP_OK);
    member_free(m);
    if (g->state == GROUP_PREPARING)
        group_rebalance_check(g);
    else if (g->state == GROUP_COMPLETING || g->state == GROUP_STABLE)
        group_rebalance(g);
}

const struct group_protocol *member_protocol(const struct group_member *m, struct bytes name)
{
    for (int i = 0; i < m->n_protocols; i++) {
        if (bytes_equal(m->protocols[i].name, name)) return &m->protocols[i];
    }
    return NULL;
}

/* ---- ids given out and not used yet ---- */
static void pending_fire(struct timer *t)
{
    struct group_pending *p = CONTAINER_OF(t, struct group_pending, expiry);
    struct group *g = p->group;
    (void)map_remove(&g->pending, p->id);
    pending_free(p);
    group_rebalance_check(g);
    if (g->state == GROUP_EMPTY && map_count(&g->pending) == 0 && map_count(&g->offsets) == 0 &&
        bytes_is_null(g->stored) && g->consumer == NULL)
        group_remove(g);
}

void pending_add(struct group *g, struct bytes id, int32_t timeout_ms)
{
    struct group_pending *p = calloc(1, sizeof(*p));
    check(p != NULL);
    p->group = g;
    p->id = group_dup(id);
    p->expiry.fire = pending_fire;
    (void)map_put(&g->pending, id, p);
    group_timer_start(g, &p->expiry, timeout_ms);
}

bool pending_take(struct group *g, struct bytes id)
{
    struct group_pending *p = id.len > 0 ? map_remove(&g->pending, id) : NULL;
    if (p == NULL) return false;
    pending_free(p);
    return true;
}

bool group_classic_clear(struct group *g)
{
    bool is_stored = !bytes_is_null(g->stored);
    uint32_t pos = 0;

    check(g->state == GROUP_EMPTY && g->n_members == 0);
    for (struct map_entry *m; (m = map_next(&g->pending, &pos)) != NULL;) {
        struct group_pending *p = m->value;
        (void)map_remove(&g->pending, p->id);
        pending_free(p);
    }
    group_timer_stop(g, &g->timer);
    group_free_bytes(&g->protocol_type);
    group_free_bytes(&g->protocol);
    group_free_bytes(&g->stored);
    g->generation = 0;
    return is_stored;
}

/* ---- heartbeat, leave ---- */
static enum err_code no_group(struct bytes id, struct err *e)
{
    return err_set(e, ERR_MEMBER, "no group %.*s", BYTES_ARG(id));
}

enum err_code group_heartbeat(struct broker *b, struct bytes group_id, struct bytes member_id, struct bytes instance_id,
                              int32_t generation, enum group_detail *detail, struct err *e)
{
    struct group_member *m;

    *detail = group_id_is_valid(group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return err_set(e, ERR_INVALID, "bad group id");
    struct group *g = group_find(b, group_id);
    if (g == NULL) return no_group(group_id, e);
    enum err_code rc = member_check(g, member_id, instance_id, &m, e);
    if (rc != ERR_NONE) return rc;
    if (generation != g->generation) return err_set(e, ERR_GENERATION, "generation is %d", (int)g->generation); /* G3 */
    if (g->state == GROUP_EMPTY || g->state == GROUP_DEAD) return no_group(group_id, e);
    member_alive(m);
    return g->state == GROUP_PREPARING ? err_set(e, ERR_REBALANCE, "the group is rebalancing") : ERR_NONE;
}

enum err_code group_leave(struct broker *b, struct bytes group_id, struct bytes member_id, struct bytes instance_id,
                          enum group_detail *detail, struct err *e)
{
    struct group_member *m = NULL;

    *detail = group_id_is_valid(group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return err_set(e, ERR_INVALID, "bad group id");
    struct group *g = group_find(b, group_id);
    if (g == NULL) return no_group(group_id, e);
    if (g->consumer && member_id.len == 0) return consumer_leave_static(g, instance_id, e);
    if (member_id.len == 0 && !bytes_is_null(instance_id)) {
        m = map_get(&g->by_instance, instance_id); /* an administrator's tool */
        if (m == NULL) return err_set(e, ERR_MEMBER, "no member with instance id %.*s", BYTES_ARG(instance_id));
    } else if (pending_take(g, member_id)) {
        group_rebalance_check(g);
        return ERR_NONE;
    } else {
        enum err_code rc = member_check(g, member_id, instance_id, &m, e);
        if (rc != ERR_NONE) return rc;
    }
    member_lost(m, ERR_MEMBER);
    return ERR_NONE;
}

/* ---- administration ---- */
void group_put_tombstones(struct group *g, struct batch_builder *w, int64_t now_ms)
{
    struct buf key;

    if (g->consumer) consumer_put_tombstones(g->consumer, w, now_ms);
    buf_init(&key, 0);
    store_put_group_key(&key, g->id);
    batch_add(w, now_ms, buf_bytes(&key), BYTES_NULL, NULL, 0);
    buf_deinit(&key);
}

static const char *state_name(enum group_state s)
{
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"};
    return names[s];
}

static struct group_description describe(const struct group *g)
{
    if (g->consumer)
        return (struct group_description){
            .group_id = g->id,
            .protocol_type = bytes_str("consumer"),
            .protocol_name = consumer_assignor(g->consumer),
            .state = consumer_state_name(g->consumer),
            .generation = g->consumer->epoch,
            .n_members = g->consumer->n_members,
            .is_consumer = true,
        };
    return (struct group_description){
        .group_id = g->id,
        .protocol_type = g->protocol_type.ptr ? g->protocol_type : bytes_str(""),
        .protocol_name = g->protocol.ptr ? g->protocol : bytes_str(""),
        .state = state_name(g->state),
        .generation = g->generation,
        .n_members = g->n_members,
    };
}

void group_list(struct broker *b, bool (*fn)(void *arg, const struct group_description *g), void *arg)
{
    uint32_t pos = 0;
    for (struct map_entry *m; (m = map_next(&b->groups->by_id, &pos)) != NULL;) {
        struct group_description d = describe(m->value);
        if (!fn(arg, &d)) return;
    }
}

bool group_describe(struct broker *b, struct bytes group_id, struct group_description *out,
                    bool (*member)(void *arg, const struct member_description *m), void *arg)
{
    const struct group *g = group_find(b, group_id);

    if (g == NULL) return false;
    *out = describe(g);
    for (struct list *n = g->members.next; member != NULL && n != &g->members; n = n->next) {
        const struct group_member *m = CONTAINER_OF(n, struct group_member, link);
        const struct group_protocol *p = g->state == GROUP_STABLE ? member_protocol(m, g->protocol) : NULL;
        struct member_description d = {
            .member_id = m->id,
            .instance_id = m->instance,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .metadata = p ? p->metadata : bytes_str(""),
            .assignment = g->state == GROUP_STABLE ? m->assignment : bytes_str(""),
        };
        if (!member(arg, &d)) break;
    }
    return true;
}

enum err_code group_delete(struct broker *b, struct bytes group_id, enum group_detail *detail, struct err *e)
{
    struct group *g = group_find(b, group_id);
    struct partition *log;
    struct buf batch, key;
    struct batch_builder w;
    bool is_durable;
    uint32_t pos = 0;

    *detail = group_id_is_valid(group_id) ? GROUP_OK : GROUP_BAD_GROUP_ID;
    if (*detail != GROUP_OK) return err_set(e, ERR_INVALID, "bad group id");
    *detail = g == NULL ? GROUP_NOT_FOUND : g->state != GROUP_EMPTY ? GROUP_NON_EMPTY : GROUP_OK;
    if (*detail == GROUP_NOT_FOUND) return err_set(e, ERR_NOT_FOUND, "no group %.*s", BYTES_ARG(group_id));
    if (*detail == GROUP_NON_EMPTY) return err_set(e, ERR_BUSY, "group %.*s has members", BYTES_ARG(group_id));

    buf_init(&batch, 0);
    buf_init(&key, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    for (struct map_entry *m; (m = map_next(&g->offsets, &pos)) != NULL;) {
        const struct group_offset *o = m->value;
        buf_clear(&key);
        store_put_offset_key(&key, g->id, o->topic, o->partition);
        batch_add(&w, broker_now_ms(b), buf_bytes(&key), BYTES_NULL, NULL, 0);
    }
    group_put_tombstones(g, &w, broker_now_ms(b));
    enum err_code rc = batch_finish(&w, e);
    if (rc == ERR_NONE) rc = store_append(b, &batch, NULL, &is_durable, e);
    if (rc == ERR_NONE) rc = store_partition(b, &log, e);
    if (rc == ERR_NONE) rc = partition_sync_now(log, e);
    buf_deinit(&batch);
    buf_deinit(&key);
    if (rc == ERR_NONE) group_remove(g);
    return rc;
}

/* ---- life of the table ---- */
enum err_code groups_open(struct broker *b, struct err *e)
{
    struct groups *gs = calloc(1, sizeof(*gs));
    check(gs != NULL);
    b->groups = gs;
    gs->broker = b;
    gs->snapshot_first = -1;
    gs->offsets_timer.fire = offsets_timer_fire;
    map_init(&gs->by_id);
    map_init(&gs->txn_pending);
    list_init(&gs->answers);
    return store_load(gs, e);
}

static void deliver(struct group_wait *w)
{
    struct group_answer *a = w->member;

    w->member = NULL;
    if (a->is_join)
        w->join_done(w, &a->join);
    else
        w->sync_done(w, &a->sync);
    arena_deinit(&a->arena);
    free(a);
}

void groups_deliver(struct broker *b)
{
    if (b->groups == NULL) return;
    for (struct list *n; (n = list_pop_front(&b->groups->answers)) != NULL;)
        deliver(CONTAINER_OF(n, struct group_wait, link));
}

void group_wait_cancel(struct group_wait *w)
{
    if (list_is_linked(&w->link)) {
        struct group_answer *a = w->member;
        list_remove(&w->link);
        arena_deinit(&a->arena);
        free(a);
    } else if (w->member != NULL) {
        struct group_member *m = w->member;
        if (m->sync_wait == w) m->sync_wait = NULL;
        if (m->join_wait == w) {
            m->join_wait = NULL;
            member_alive(m); /* It still counts as joined, but has a session again (G2). */
        }
    }
    w->member = NULL;
}

void groups_close(struct broker *b)
{
    struct groups *gs = b->groups;
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;) {
        struct group *g = m->value;
        for (struct list *n = g->members.next; n != &g->members; n = n->next) {
            struct group_member *member = CONTAINER_OF(n, struct group_member, link);
            if (member->join_wait) answer_join_error(gs, member->join_wait, ERR_CLOSED, GROUP_OK, member->id);
            if (member->sync_wait) answer_sync_error(gs, member->sync_wait, ERR_CLOSED, GROUP_OK);
            member->join_wait = member->sync_wait = NULL;
        }
    }
    groups_deliver(b);
}

void groups_destroy(struct broker *b)
{
    struct groups *gs = b->groups;
    uint32_t pos = 0;

    if (gs == NULL) return;
    b->sys->loop->timer_stop(b->sys->loop, &gs->offsets_timer);
    append_cancel(&gs->snapshot_wait);
    for (struct list *n; (n = list_first(&gs->answers)) != NULL;)
        group_wait_cancel(CONTAINER_OF(n, struct group_wait, link));
    for (struct map_entry *m; (m = map_next(&gs->by_id, &pos)) != NULL;)
        group_free(m->value);
    map_deinit(&gs->by_id);
    txn_offsets_deinit(gs);
    free(gs);
    b->groups = NULL;
}
