/* member.c: a member of a consumer group, as a client of the classic protocol is one:
 *
 *   JOIN ─▶ SYNC ─▶ OFFSETS ─▶ RUN: fetch, commit, heartbeat ─▶ (now and then) LEAVE ─▶ JOIN
 *    ▲        │        │         │
 *    └────────┴────────┴─────────┴── the group rebalances, or has forgotten us
 *
 * G1  It goes on where the group's offsets say, and commits what it has read.
 * G2  Out of a long sleep it comes back as a zombie: with what it had in hand it tries to commit first. */
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "door/kafka/kafka_int.h"

#define SESSION_MS 6000
#define REBALANCE_MS 3000
#define HEARTBEAT_MS 700
#define GROUP_NAME "members"

enum state { STATE_JOIN, STATE_SYNC, STATE_OFFSETS, STATE_RUN };
struct member {
    struct agent agent;
    enum state state;
    bool is_busy, is_leader, was_fed;
    char id[80]; /* "": none yet */
    int64_t number;
    int32_t generation;
    struct buf assignments; /* the leader's: member ids, one behind a length byte each */
    int n_members;
    bool owns[N_PARTITIONS], is_at_end[N_PARTITIONS];
    int64_t positions[N_PARTITIONS], committed[N_PARTITIONS];
    int at;
    uint64_t heartbeat_ns;
};

static struct member *self(struct agent *a)
{
    return CONTAINER_OF(a, struct member, agent);
}

static void go(struct member *m, enum state s)
{
    m->state = s;
    agent_wake(&m->agent, 1 + world_random(m->agent.world, 20));
}

/* True: the answer was good. */
static bool is_good(struct member *m, int16_t api, int16_t code)
{
    if (!agent_code(&m->agent, api, code)) return true;
    switch (code) {
    case KE_REBALANCE_IN_PROGRESS: go(m, STATE_JOIN); break;
    case KE_UNKNOWN_MEMBER_ID:
    case KE_ILLEGAL_GENERATION:
        m->id[0] = '\0';
        go(m, STATE_JOIN);
        break;
    default: agent_wake(&m->agent, 50); break; /* again */
    }
    return false;
}

/* ---- JOIN ---- */

static void text_take(char *out, size_t cap, struct bytes text)
{
    check(text.len < cap);
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
}

static void on_joined(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_join_group_response *r = answer;
    struct member *m = self(a);

    (void)c;
    m->is_busy = false;
    if (r == NULL) return;
    if (r->error_code == KE_MEMBER_ID_REQUIRED) {
        (void)agent_code(a, KAFKA_JOIN_GROUP, r->error_code);
        text_take(m->id, sizeof m->id, r->member_id);
        m->number = ++a->world->next_member;
        agent_wake(a, 1);
        return;
    }
    if (!is_good(m, KAFKA_JOIN_GROUP, r->error_code)) return;
    m->generation = r->generation_id;
    m->is_leader = bytes_equal(r->leader, r->member_id);
    buf_clear(&m->assignments);
    m->n_members = r->members.n;
    for (int32_t i = 0; i < r->members.n; i++) {
        buf_put_u8(&m->assignments, (uint8_t)r->members.at[i].member_id.len);
        buf_put_bytes(&m->assignments, r->members.at[i].member_id);
    }
    go(m, STATE_SYNC);
}

/* ConsumerProtocolSubscription and -Assignment, version 0. */
static void topic_put(struct buf *out)
{
    struct bytes name = bytes_str(topic_name_of(TOPIC_DATA));

    buf_put_be16(out, 0);
    buf_put_be32(out, 1);
    buf_put_be16(out, (uint16_t)name.len);
    buf_put_bytes(out, name);
}

static struct call *join_send(struct member *m)
{
    struct kafka_join_group_request_protocol protocol = {.name = BYTES_LIT("range")};
    struct kafka_join_group_request q;
    struct buf subscription;

    wire_init(&kafka_join_group_request_wire, &q);
    buf_init(&subscription, 0);
    topic_put(&subscription);
    buf_put_be32(&subscription, UINT32_MAX); /* no user data */
    protocol.metadata = buf_bytes(&subscription);
    q.group_id = BYTES_LIT(GROUP_NAME);
    q.session_timeout_ms = SESSION_MS;
    q.rebalance_timeout_ms = REBALANCE_MS;
    q.member_id = bytes_str(m->id);
    q.protocol_type = BYTES_LIT("consumer");
    q.protocols.at = &protocol;
    q.protocols.n = 1;
    struct call *c = agent_call(&m->agent, KAFKA_JOIN_GROUP, 5, &q, on_joined, 2 * REBALANCE_MS + SESSION_MS);
    buf_deinit(&subscription);
    return c;
}

/* ---- SYNC ---- */

static void assignment_take(struct member *m, struct bytes text)
{
    size_t head = 2 + 4 + 2 + strlen(topic_name_of(TOPIC_DATA));

    for (int i = 0; i < N_PARTITIONS; i++)
        m->owns[i] = m->is_at_end[i] = false;
    if (text.len < head + 4) return; /* nothing */
    uint32_t n = be32_get(text.ptr + head);
    check(n <= N_PARTITIONS && text.len >= head + 4 + 4 * n);
    for (uint32_t i = 0; i < n; i++)
        m->owns[be32_get(text.ptr + head + 4 + 4 * i)] = true;
}

static void on_synced(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_sync_group_response *r = answer;
    struct member *m = self(a);

    m->is_busy = false;
    if (r == NULL) {
        go(m, STATE_JOIN);
        return;
    }
    if (!is_good(m, KAFKA_SYNC_GROUP, r->error_code)) return;
    assignment_take(m, r->assignment);
    for (int i = 0; i < N_PARTITIONS; i++) {
        if (!m->owns[i]) continue;
        history_item(a->world->history, TOPIC_DATA);
        history_item(a->world->history, i);
    }
    world_note(a->world, &(struct event){.kind = EVENT_ASSIGNED,
                                         .client = a->id,
                                         .since = c->since,
                                         .group = GROUP_MEMBERS,
                                         .member = m->number,
                                         .generation = m->generation});
    go(m, STATE_OFFSETS);
}

static struct call *sync_send(struct member *m)
{
    struct agent *a = &m->agent;
    int n = m->is_leader ? m->n_members : 0;
    struct kafka_sync_group_request_assignment *as = arena_array(&a->arena, (size_t)n + 1, sizeof *as);
    struct kafka_sync_group_request q;
    const uint8_t *at = m->assignments.ptr;

    wire_init(&kafka_sync_group_request_wire, &q);
    for (int i = 0; i < n; i++, at += 1 + at[0]) {
        struct buf b;
        buf_init(&b, 0);
        topic_put(&b);
        buf_put_be32(&b, (uint32_t)((N_PARTITIONS - i + n - 1) / n)); /* partitions i, i + n, ... */
        for (int k = i; k < N_PARTITIONS; k += n)
            buf_put_be32(&b, (uint32_t)k);
        buf_put_be32(&b, UINT32_MAX);
        as[i].member_id = bytes_of(at + 1, at[0]);
        as[i].assignment = arena_copy(&a->arena, buf_bytes(&b));
        buf_deinit(&b);
    }
    q.group_id = BYTES_LIT(GROUP_NAME);
    q.generation_id = m->generation;
    q.member_id = bytes_str(m->id);
    q.assignments.at = as;
    q.assignments.n = n;
    return agent_call(a, KAFKA_SYNC_GROUP, 3, &q, on_synced, REBALANCE_MS + SESSION_MS);
}

/* ---- OFFSETS ---- */

static void on_offsets(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_offset_fetch_response *r = answer;
    struct member *m = self(a);

    m->is_busy = false;
    if (r == NULL || !is_good(m, KAFKA_OFFSET_FETCH, agent_offsets_code(r))) return;
    agent_offsets_take(a, c, r, GROUP_MEMBERS, TOPIC_DATA, m->committed);
    for (int i = 0; i < N_PARTITIONS; i++)
        m->positions[i] = m->committed[i] < 0 ? 0 : m->committed[i];
    m->heartbeat_ns = world_now_ns(a->world);
    go(m, STATE_RUN);
}

/* ---- RUN ---- */

static void on_fetched(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_fetch_response *r = answer;
    struct member *m = self(a);
    int64_t at = m->positions[c->arg];
    struct batch_view v;

    m->is_busy = false;
    if (r == NULL) return;
    agent_wake(a, 1 + world_random(a->world, a->world->is_healing ? 10 : 100));
    if (agent_code(a, KAFKA_FETCH, r->error_code)) return;
    const struct kafka_fetch_response_partition *p = agent_fetched(answer);
    check(p != NULL);
    if (p->error_code == KE_OFFSET_OUT_OF_RANGE && p->log_start_offset > at) m->positions[c->arg] = p->log_start_offset;
    if (agent_code(a, KAFKA_FETCH, p->error_code)) return;
    for (struct bytes b = p->records; b.len > 0; b = bytes_slice(b, v.bytes.len, b.len - v.bytes.len)) {
        if (batch_view_parse(&v, b, NULL) != ERR_NONE) break;
        at = batch_last_offset(&v) + 1;
    }
    m->positions[c->arg] = at;
    m->is_at_end[c->arg] = m->was_fed && at >= p->high_watermark;
}

static void on_heartbeat(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_heartbeat_response *r = answer;
    struct member *m = self(a);

    (void)c;
    m->is_busy = false;
    if (r != NULL && is_good(m, KAFKA_HEARTBEAT, r->error_code)) go(m, STATE_RUN);
}

static struct call *heartbeat_send(struct member *m)
{
    struct kafka_heartbeat_request q;

    wire_init(&kafka_heartbeat_request_wire, &q);
    q.group_id = BYTES_LIT(GROUP_NAME);
    q.generation_id = m->generation;
    q.member_id = bytes_str(m->id);
    m->heartbeat_ns = world_now_ns(m->agent.world) + HEARTBEAT_MS * 1000000ull;
    return agent_call(&m->agent, KAFKA_HEARTBEAT, 3, &q, on_heartbeat, CALL_TIMEOUT_MS);
}

static void on_committed(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_offset_commit_response *r = answer;
    struct member *m = self(a);

    m->is_busy = false;
    if (r == NULL) return;
    check(r->topics.n == 1 && r->topics.at[0].partitions.n == 1);
    int32_t partition = r->topics.at[0].partitions.at[0].index;
    int16_t code = r->topics.at[0].partitions.at[0].error_code;
    world_note(a->world, &(struct event){.kind = EVENT_COMMITTED, .client = a->id, .op = c->op, .error = code});
    if (!is_good(m, KAFKA_OFFSET_COMMIT, code)) return;
    m->committed[partition] = c->arg;
    agent_wake(a, 1);
}

static struct call *commit_send(struct member *m, int32_t partition)
{
    struct kafka_offset_commit_request_partition o;
    struct kafka_offset_commit_request_topic t;
    struct kafka_offset_commit_request q;
    struct agent *a = &m->agent;

    wire_init(&kafka_offset_commit_request_wire, &q);
    wire_init(&kafka_offset_commit_request_topic_wire, &t);
    wire_init(&kafka_offset_commit_request_partition_wire, &o);
    o.index = partition;
    o.committed_offset = m->positions[partition];
    t.name = bytes_str(topic_name_of(TOPIC_DATA));
    t.partitions.at = &o;
    t.partitions.n = 1;
    q.group_id = BYTES_LIT(GROUP_NAME);
    q.generation = m->generation;
    q.member_id = bytes_str(m->id);
    q.topics.at = &t;
    q.topics.n = 1;
    struct call *c = agent_call(a, KAFKA_OFFSET_COMMIT, 7, &q, on_committed, CALL_TIMEOUT_MS);
    if (c == NULL) return NULL;
    c->op = history_op(a->world->history);
    c->arg = o.committed_offset;
    world_note(a->world, &(struct event){.kind = EVENT_COMMIT,
                                         .client = a->id,
                                         .op = c->op,
                                         .group = GROUP_MEMBERS,
                                         .member = m->number,
                                         .generation = m->generation,
                                         .topic = TOPIC_DATA,
                                         .partition = partition,
                                         .offset = o.committed_offset});
    return c;
}

static void on_left(struct agent *a, struct call *c, const void *answer)
{
    const struct kafka_leave_group_response *r = answer;
    struct member *m = self(a);

    (void)c;
    m->is_busy = false;
    if (r != NULL) (void)agent_code(a, KAFKA_LEAVE_GROUP, r->error_code);
    m->id[0] = '\0';
    go(m, STATE_JOIN);
}

static struct call *leave_send(struct member *m)
{
    struct kafka_leave_group_request q;

    wire_init(&kafka_leave_group_request_wire, &q);
    q.group_id = BYTES_LIT(GROUP_NAME);
    q.member_id = bytes_str(m->id);
    return agent_call(&m->agent, KAFKA_LEAVE_GROUP, 2, &q, on_left, CALL_TIMEOUT_MS);
}

static struct call *run(struct member *m)
{
    struct world *w = m->agent.world;

    for (int32_t i = 0; i < N_PARTITIONS; i++) /* G2: before the heartbeat that would tell us */
        if (m->owns[i] && m->positions[i] != m->committed[i] && m->positions[i] > 0 && world_chance(w, 300))
            return commit_send(m, i);
    if (world_now_ns(w) >= m->heartbeat_ns) return heartbeat_send(m);
    if (!w->is_healing && world_chance(w, 10)) return leave_send(m);
    for (int i = 0; i < N_PARTITIONS; i++) {
        m->at = (m->at + 1) % N_PARTITIONS;
        if (!m->owns[m->at]) continue;
        m->was_fed = world_is_fed(w);
        return agent_fetch(&m->agent, TOPIC_DATA, m->at, m->positions[m->at], false, 20, on_fetched);
    }
    return NULL;
}

static void member_turn(struct agent *a)
{
    struct member *m = self(a);
    struct call *c = NULL;

    if (m->is_busy) return;
    switch (m->state) {
    case STATE_JOIN: c = join_send(m); break;
    case STATE_SYNC: c = sync_send(m); break;
    case STATE_OFFSETS: c = agent_offsets(a, GROUP_NAME, TOPIC_DATA, true, on_offsets); break;
    case STATE_RUN: c = run(m); break;
    }
    m->is_busy = c != NULL;
}

static void member_lost(struct agent *a)
{
    self(a)->is_busy = false;
}

static bool member_is_done(struct agent *a)
{
    struct member *m = self(a);

    if (m->state != STATE_RUN || !world_is_fed(a->world)) return false;
    for (int i = 0; i < N_PARTITIONS; i++) {
        if (!m->owns[i]) continue;
        if (!m->is_at_end[i] || (m->positions[i] != m->committed[i] && m->positions[i] > 0)) return false;
    }
    return true;
}

static void member_destroy(struct agent *a)
{
    buf_deinit(&self(a)->assignments);
    free(self(a));
}

struct agent *member_create(struct world *w)
{
    static const struct agent_ops ops = {"member", member_turn, member_lost, member_is_done, NULL, member_destroy};
    struct member *m = calloc(1, sizeof *m);

    check(m != NULL);
    buf_init(&m->assignments, 0);
    agent_init(&m->agent, w, &ops);
    return &m->agent;
}
