/* A member of a consumer group: the classic protocol with the range assignor.
 *
 *   poll: not a member ──▶ JoinGroup ──▶ SyncGroup ──▶ committed offsets ──▶ fetch, heartbeat when due
 *              ▲                │ leader: assigns                                │
 *              └────────────────┴──── rebalance, lost generation ◀──────────────┘
 *
 * Nothing runs between polls; a heartbeat is sent when the last one is a second old, so that a rebalance is noticed
 * soon. Before it rejoins a member commits what it has delivered, so that who gets its partitions goes on there. */
#include <stdlib.h>

#include "app/kclient_int.h"

#define REBALANCE_TIMEOUT_MS 60000
#define SESSION_TIMEOUT_MS 30000
#define HEARTBEAT_MS_MAX 1000

struct kclient_member {
    struct kclient *k;
    struct bytes group_id, instance_id; /* owned by arena */
    struct bytes *topics;
    int n_topics;
    int32_t session_timeout_ms;
    int64_t start;
    struct arena arena;            /* as long as the member */
    struct arena scratch;          /* of one call */
    struct arena generation_arena; /* member id, assignment: until the next join */
    struct bytes member_id;
    struct arena member_id_arena;
    int32_t generation;
    bool is_joined, has_positions;
    struct kclient_cursor *cursors;
    int n_cursors;
    uint64_t heartbeat_at_ns;
};

enum err_code kclient_member_open(struct kclient_member **out, struct kclient *k,
                                  const struct kclient_member_options *o, struct err *e)
{
    struct kclient_member *m;

    *out = NULL;
    if (o->group_id.len == 0 || o->n_topics < 1)
        return err_set(e, ERR_INVALID, "a group member needs a group id and a topic");
    m = calloc(1, sizeof *m);
    check(m != NULL);
    m->k = k;
    arena_init(&m->arena, 0);
    arena_init(&m->scratch, 0);
    arena_init(&m->generation_arena, 0);
    arena_init(&m->member_id_arena, 0);
    m->group_id = arena_copy(&m->arena, o->group_id);
    m->instance_id = arena_copy(&m->arena, o->instance_id);
    m->n_topics = o->n_topics;
    m->topics = arena_array(&m->arena, (size_t)o->n_topics, sizeof *m->topics);
    for (int i = 0; i < o->n_topics; i++)
        m->topics[i] = arena_copy(&m->arena, o->topics[i]);
    m->session_timeout_ms = o->session_timeout_ms > 0 ? o->session_timeout_ms : SESSION_TIMEOUT_MS;
    m->start = o->start == 0 ? KCLIENT_LATEST : o->start;
    m->member_id = BYTES_LIT("");
    m->generation = -1;
    *out = m;
    return ERR_NONE;
}

static void forget_assignment(struct kclient_member *m)
{
    m->is_joined = m->has_positions = false;
    m->n_cursors = 0;
    m->cursors = NULL;
}

static void forget_member_id(struct kclient_member *m)
{
    m->member_id = BYTES_LIT("");
    m->generation = -1;
}

static void heartbeat_later(struct kclient_member *m)
{
    int32_t often = m->session_timeout_ms / 10;

    m->heartbeat_at_ns = kclient_deadline(m->k, often > HEARTBEAT_MS_MAX ? HEARTBEAT_MS_MAX : often);
}

/* ---- what members tell each other ---- */
/* ConsumerProtocolSubscription version 0. */
static struct bytes subscription_make(struct kclient_member *m)
{
    struct buf b;
    struct bytes copy;

    buf_init(&b, 0);
    buf_put_be16(&b, 0);
    buf_put_be32(&b, (uint32_t)m->n_topics);
    for (int i = 0; i < m->n_topics; i++) {
        buf_put_be16(&b, (uint16_t)m->topics[i].len);
        buf_put_bytes(&b, m->topics[i]);
    }
    buf_put_be32(&b, (uint32_t)-1);
    copy = arena_copy(&m->scratch, buf_bytes(&b));
    buf_deinit(&b);
    return copy;
}

static bool subscribes(struct bytes subscription, struct bytes topic)
{
    struct reader r = reader_of(subscription);
    uint32_t n;

    (void)reader_be16(&r);
    n = reader_be32(&r);
    for (uint32_t i = 0; i < n && !r.failed; i++)
        if (bytes_equal(reader_take(&r, reader_be16(&r)), topic) && !r.failed) return true;
    return false;
}

typedef struct kafka_join_group_response_member joined;

static int by_member_id(const void *a, const void *b)
{
    const joined *x = a, *y = b;

    return bytes_compare(x->member_id, y->member_id);
}

struct assigning {
    struct buf *bodies; /* one for each member: topics so far */
    uint32_t *n_topics;
};

/* Range: partitions of a topic in order, members that want it in order of their ids, the first ones get one more. */
static enum err_code assign_topic(struct kclient_member *m, struct bytes topic, const joined *members, int32_t n,
                                  struct assigning *as, uint64_t deadline, struct err *e)
{
    int32_t n_partitions = 0, n_wanting = 0, at = 0, rank = 0;
    enum err_code rc = kclient_partition_count(m->k, topic, &n_partitions, deadline, e);

    if (rc == ERR_NOT_FOUND) return ERR_NONE;
    if (rc != ERR_NONE) return rc;
    for (int32_t i = 0; i < n; i++)
        n_wanting += subscribes(members[i].metadata, topic);
    for (int32_t i = 0; i < n; i++) {
        int32_t share = n_wanting > 0 ? n_partitions / n_wanting + (rank < n_partitions % n_wanting) : 0;

        if (!subscribes(members[i].metadata, topic)) continue;
        rank++;
        if (share == 0) continue;
        as->n_topics[i]++;
        buf_put_be16(&as->bodies[i], (uint16_t)topic.len);
        buf_put_bytes(&as->bodies[i], topic);
        buf_put_be32(&as->bodies[i], (uint32_t)share);
        for (int32_t j = 0; j < share; j++)
            buf_put_be32(&as->bodies[i], (uint32_t)at++);
    }
    return ERR_NONE;
}

/* Every topic that any member names, each once, in the order of their names. */
static int topics_of_all(struct kclient_member *m, const joined *members, int32_t n, struct bytes **out)
{
    struct bytes *topics;
    size_t total = 0;
    int n_topics = 0;

    for (int32_t i = 0; i < n; i++)
        total += members[i].metadata.len / 2 + 1;
    topics = arena_array(&m->scratch, total, sizeof *topics);
    for (int32_t i = 0; i < n; i++) {
        struct reader r = reader_of(members[i].metadata);
        uint32_t count;

        (void)reader_be16(&r);
        count = reader_be32(&r);
        for (uint32_t j = 0; j < count && !r.failed; j++) {
            struct bytes topic = reader_take(&r, reader_be16(&r));
            bool is_known = r.failed;

            for (int t = 0; t < n_topics && !is_known; t++)
                is_known = bytes_equal(topics[t], topic);
            if (!is_known) topics[n_topics++] = topic;
        }
    }
    *out = topics;
    return n_topics;
}

static enum err_code assign(struct kclient_member *m, joined *members, int32_t n, struct kafka_sync_group_request *q,
                            uint64_t deadline, struct err *e)
{
    struct assigning as = {arena_array(&m->scratch, (size_t)n, sizeof(struct buf)),
                           arena_array(&m->scratch, (size_t)n, sizeof(uint32_t))};
    struct bytes *topics;
    int n_topics = topics_of_all(m, members, n, &topics);
    enum err_code rc = ERR_NONE;

    qsort(members, (size_t)n, sizeof *members, by_member_id);
    for (int32_t i = 0; i < n; i++) {
        buf_init(&as.bodies[i], 0);
        buf_put_be16(&as.bodies[i], 0); /* ConsumerProtocolAssignment version 0 */
        buf_put_be32(&as.bodies[i], 0);
    }
    for (int t = 0; rc == ERR_NONE && t < n_topics; t++)
        rc = assign_topic(m, topics[t], members, n, &as, deadline, e);
    q->assignments.n = n;
    q->assignments.at = arena_array(&m->scratch, (size_t)n, sizeof *q->assignments.at);
    for (int32_t i = 0; i < n; i++) {
        buf_patch_be32(&as.bodies[i], 2, as.n_topics[i]);
        buf_put_be32(&as.bodies[i], (uint32_t)-1);
        q->assignments.at[i].member_id = members[i].member_id;
        q->assignments.at[i].assignment = arena_copy(&m->scratch, buf_bytes(&as.bodies[i]));
        buf_deinit(&as.bodies[i]);
    }
    return rc;
}

static enum err_code assignment_take(struct kclient_member *m, struct bytes assignment, struct err *e)
{
    struct reader r;
    uint32_t n_topics;

    arena_reset(&m->generation_arena);
    r = reader_of(arena_copy(&m->generation_arena, assignment));
    forget_assignment(m);
    m->is_joined = true;
    if (assignment.len == 0) return ERR_NONE;
    m->cursors = arena_array(&m->generation_arena, assignment.len / 4 + 1, sizeof *m->cursors);
    (void)reader_be16(&r);
    n_topics = reader_be32(&r);
    for (uint32_t i = 0; i < n_topics && !r.failed; i++) {
        struct bytes topic = reader_take(&r, reader_be16(&r));
        uint32_t n = reader_be32(&r);

        for (uint32_t j = 0; j < n && !r.failed; j++) {
            int32_t partition = (int32_t)reader_be32(&r);

            if (!r.failed)
                m->cursors[m->n_cursors++] = (struct kclient_cursor){
                    .topic = topic, .partition = partition, .high_watermark = -1, .log_start = -1};
        }
    }
    return r.failed ? err_set(e, ERR_PROTOCOL, "the assignment is malformed") : ERR_NONE;
}

/* ---- join and sync ---- */
/* *again: not a member yet, try again at once or after a pause. */
static enum err_code join_once(struct kclient_member *m, struct kafka_join_group_response *r, bool *again,
                               uint64_t deadline, struct err *e)
{
    struct kafka_join_group_request_protocol protocol = {BYTES_LIT("range"), BYTES_NULL};
    struct kafka_join_group_request q;
    struct kconn *c;
    enum err_code rc;

    *again = false;
    protocol.metadata = subscription_make(m);
    wire_init(&kafka_join_group_request_wire, &q);
    q.group_id = m->group_id;
    q.session_timeout_ms = m->session_timeout_ms;
    q.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
    q.member_id = m->member_id;
    q.group_instance_id = m->instance_id;
    q.protocol_type = BYTES_LIT("consumer");
    q.protocols.at = &protocol;
    q.protocols.n = 1;
    rc = kclient_coordinator(m->k, m->group_id, &c, deadline, e);
    if (rc == ERR_NONE)
        rc = kcall_do(c, KAFKA_JOIN_GROUP, 7, &q, &m->scratch, r,
                      kclient_deadline(m->k, REBALANCE_TIMEOUT_MS + m->k->timeout_ms), e);
    if (rc != ERR_NONE) {
        *again = rc == ERR_CLOSED;
        return rc;
    }
    if (r->error_code == 79) {
        arena_reset(&m->member_id_arena);
        m->member_id = arena_copy(&m->member_id_arena, r->member_id);
    } else if (r->error_code == 25) {
        forget_member_id(m);
    }
    *again =
        r->error_code == 79 || r->error_code == 25 || r->error_code == 27 || kerror_of(r->error_code)->is_retriable;
    if (r->error_code != 0)
        return kerror_set(e, r->error_code, BYTES_NULL, "joining group %.*s", BYTES_ARG(m->group_id));
    m->generation = r->generation_id;
    if (!bytes_equal(m->member_id, r->member_id)) {
        arena_reset(&m->member_id_arena);
        m->member_id = arena_copy(&m->member_id_arena, r->member_id);
    }
    return ERR_NONE;
}

static enum err_code sync_once(struct kclient_member *m, struct kafka_join_group_response *joined_as, bool *again,
                               uint64_t deadline, struct err *e)
{
    struct kafka_sync_group_response r;
    struct kafka_sync_group_request q;
    struct kconn *c;
    enum err_code rc = ERR_NONE;

    *again = false;
    wire_init(&kafka_sync_group_request_wire, &q);
    q.group_id = m->group_id;
    q.generation_id = m->generation;
    q.member_id = m->member_id;
    q.group_instance_id = m->instance_id;
    q.protocol_type = BYTES_LIT("consumer");
    q.protocol_name = BYTES_LIT("range");
    if (bytes_equal(joined_as->leader, m->member_id))
        rc = assign(m, joined_as->members.at, joined_as->members.n, &q, deadline, e);
    if (rc == ERR_NONE) rc = kclient_coordinator(m->k, m->group_id, &c, deadline, e);
    if (rc == ERR_NONE)
        rc = kcall_do(c, KAFKA_SYNC_GROUP, 5, &q, &m->scratch, &r,
                      kclient_deadline(m->k, REBALANCE_TIMEOUT_MS + m->k->timeout_ms), e);
    if (rc != ERR_NONE) {
        *again = rc == ERR_CLOSED;
        return rc;
    }
    if (r.error_code == 25) forget_member_id(m);
    *again = r.error_code == 22 || r.error_code == 25 || r.error_code == 27 || kerror_of(r.error_code)->is_retriable;
    if (r.error_code != 0) return kerror_set(e, r.error_code, BYTES_NULL, "syncing group %.*s", BYTES_ARG(m->group_id));
    return assignment_take(m, r.assignment, e);
}

static enum err_code join(struct kclient_member *m, struct err *e)
{
    uint64_t deadline = kclient_deadline(m->k, REBALANCE_TIMEOUT_MS + m->k->timeout_ms);
    enum err_code rc;
    bool again;

    do {
        struct kafka_join_group_response r;

        arena_reset(&m->scratch);
        forget_assignment(m);
        rc = join_once(m, &r, &again, deadline, e);
        if (rc == ERR_NONE) rc = sync_once(m, &r, &again, deadline, e);
        if (rc == ERR_NONE) break;
        if (again && rc == ERR_MEMBER && m->member_id.len > 0) continue; /* the id was just given: no pause */
        if (again && !kclient_may_retry(m->k, deadline, e)) break;
    } while (again);
    if (rc == ERR_NONE) heartbeat_later(m);
    return rc;
}

/* ---- positions ---- */
static int64_t committed_of(const struct kclient_group_offset *offsets, int n, const struct kclient_cursor *c)
{
    for (int i = 0; i < n; i++)
        if (offsets[i].partition == c->partition && bytes_equal(offsets[i].topic, c->topic)) return offsets[i].offset;
    return -1;
}

static enum err_code positions_get(struct kclient_member *m, struct err *e)
{
    struct kclient_group_offset *offsets;
    int n;
    enum err_code rc;

    arena_reset(&m->scratch);
    rc = kclient_group_offsets(m->k, m->group_id, &m->scratch, &offsets, &n, e);
    for (int i = 0; rc == ERR_NONE && i < m->n_cursors; i++) {
        struct kclient_cursor *c = &m->cursors[i];

        c->offset = committed_of(offsets, n, c);
        if (c->offset < 0) rc = kclient_offset(m->k, c->topic, c->partition, m->start, &c->offset, NULL, e);
    }
    if (rc == ERR_NONE) m->has_positions = true;
    return rc;
}

/* ---- staying a member ---- */
/* True: the error means that the partitions are not ours any more; the next poll joins again. */
static bool is_lost(struct kclient_member *m, int16_t error)
{
    if (error != 22 && error != 25 && error != 27) return false;
    forget_assignment(m);
    if (error == 25) forget_member_id(m);
    return true;
}

static enum err_code heartbeat(struct kclient_member *m, struct err *e)
{
    uint64_t deadline = kclient_deadline(m->k, m->k->timeout_ms);
    struct kafka_heartbeat_response r;
    struct kafka_heartbeat_request q;
    struct kconn *c;
    enum err_code rc;

    if (m->k->clock->mono_ns(m->k->clock) < m->heartbeat_at_ns) return ERR_NONE;
    arena_reset(&m->scratch);
    wire_init(&kafka_heartbeat_request_wire, &q);
    q.group_id = m->group_id;
    q.generation_id = m->generation;
    q.member_id = m->member_id;
    q.group_instance_id = m->instance_id;
    rc = kclient_coordinator(m->k, m->group_id, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_HEARTBEAT, 4, &q, &m->scratch, &r, deadline, e);
    if (rc == ERR_CLOSED) return ERR_NONE; /* the next poll tries again */
    if (rc != ERR_NONE) return rc;
    heartbeat_later(m);
    if (r.error_code == 0 || kerror_of(r.error_code)->is_retriable) return ERR_NONE;
    if (r.error_code == 27)
        (void)!kclient_member_commit(m, NULL); /* best effort: who comes next may see some records again */
    if (is_lost(m, r.error_code)) return ERR_NONE;
    return kerror_set(e, r.error_code, BYTES_NULL, "heartbeat to group %.*s", BYTES_ARG(m->group_id));
}

enum err_code kclient_member_poll(struct kclient_member *m, int32_t max_wait_ms, kclient_record_fn fn, void *arg,
                                  uint64_t *n_records, struct err *e)
{
    uint64_t next_ns;
    enum err_code rc = ERR_NONE;

    if (n_records != NULL) *n_records = 0;
    if (m->is_joined) rc = heartbeat(m, e);
    if (rc == ERR_NONE && !m->is_joined) rc = join(m, e);
    if (rc == ERR_NONE && !m->has_positions) rc = positions_get(m, e);
    if (rc != ERR_NONE) return rc;
    /* Not longer than to the next heartbeat. */
    next_ns = m->k->clock->mono_ns(m->k->clock);
    next_ns = m->heartbeat_at_ns > next_ns ? (m->heartbeat_at_ns - next_ns) / 1000000u : 0;
    if (max_wait_ms > 0 && (uint64_t)max_wait_ms > next_ns) max_wait_ms = (int32_t)next_ns;
    rc = kclient_fetch(m->k, m->cursors, m->n_cursors, max_wait_ms, fn, arg, n_records, e);
    for (int i = 0; rc == ERR_NONE && i < m->n_cursors; i++) {
        struct kclient_cursor *c = &m->cursors[i];

        /* Retention has taken what was next. */
        if (c->rc == ERR_RANGE) rc = kclient_offset(m->k, c->topic, c->partition, m->start, &c->offset, NULL, e);
    }
    return rc;
}

enum err_code kclient_member_commit(struct kclient_member *m, struct err *e)
{
    uint64_t deadline = kclient_deadline(m->k, m->k->timeout_ms);
    struct kafka_offset_commit_request_partition *partitions;
    struct kafka_offset_commit_response r;
    struct kafka_offset_commit_request q;
    struct kconn *c;
    enum err_code rc;

    if (!m->has_positions || m->n_cursors == 0) return ERR_NONE;
    arena_reset(&m->scratch);
    wire_init(&kafka_offset_commit_request_wire, &q);
    q.group_id = m->group_id;
    q.generation = m->generation;
    q.member_id = m->member_id;
    q.group_instance_id = m->instance_id;
    partitions = arena_array(&m->scratch, (size_t)m->n_cursors, sizeof *partitions);
    q.topics.at = arena_array(&m->scratch, (size_t)m->n_cursors, sizeof *q.topics.at);
    q.topics.n = m->n_cursors;
    for (int i = 0; i < m->n_cursors; i++) {
        wire_init(&kafka_offset_commit_request_partition_wire, &partitions[i]);
        partitions[i].index = m->cursors[i].partition;
        partitions[i].committed_offset = m->cursors[i].offset;
        partitions[i].committed_metadata = BYTES_LIT("");
        q.topics.at[i].name = m->cursors[i].topic;
        q.topics.at[i].partitions.at = &partitions[i];
        q.topics.at[i].partitions.n = 1;
    }
    do {
        r.topics.n = 0;
        rc = kclient_coordinator(m->k, m->group_id, &c, deadline, e);
        if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_OFFSET_COMMIT, 8, &q, &m->scratch, &r, deadline, e);
    } while (rc == ERR_CLOSED && kclient_may_retry(m->k, deadline, e));
    for (int32_t i = 0; rc == ERR_NONE && i < r.topics.n; i++) {
        int16_t code = r.topics.at[i].partitions.n == 1 ? r.topics.at[i].partitions.at[0].error_code : -1;

        if (code == 0) continue;
        rc = kerror_set(e, code, BYTES_NULL, "committing to group %.*s", BYTES_ARG(m->group_id));
        (void)is_lost(m, code);
    }
    return rc;
}

const struct kclient_cursor *kclient_member_assignment(const struct kclient_member *m, int *n)
{
    *n = m->n_cursors;
    return m->cursors;
}

static void leave(struct kclient_member *m)
{
    uint64_t deadline = kclient_deadline(m->k, 2000);
    struct kafka_leave_group_request_member self = {m->member_id, m->instance_id, BYTES_NULL};
    struct kafka_leave_group_response r;
    struct kafka_leave_group_request q;
    struct kconn *c;

    arena_reset(&m->scratch);
    wire_init(&kafka_leave_group_request_wire, &q);
    q.group_id = m->group_id;
    q.member_id = m->member_id;
    q.members.at = &self;
    q.members.n = 1;
    if (kclient_coordinator(m->k, m->group_id, &c, deadline, NULL) != ERR_NONE) return;
    /* Nothing depends on the answer: a broker that did not hear it waits for the session's end. */
    (void)!kcall_do(c, KAFKA_LEAVE_GROUP, 5, &q, &m->scratch, &r, deadline, NULL);
}

void kclient_member_close(struct kclient_member *m)
{
    if (m == NULL) return;
    if (m->member_id.len > 0 && m->instance_id.ptr == NULL) {
        m->k->ignores_interrupt = true;
        leave(m);
        m->k->ignores_interrupt = false;
    }
    arena_deinit(&m->arena);
    arena_deinit(&m->scratch);
    arena_deinit(&m->generation_arena);
    arena_deinit(&m->member_id_arena);
    free(m);
}
