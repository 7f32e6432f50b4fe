/* The requests of group members: JoinGroup, SyncGroup, Heartbeat, LeaveGroup. States and answers are the group's
 * (broker/group.h); here is only the form. Join and sync are parked until the group answers. */
#include "door/kafka/kafka_int.h"

struct parked {
    struct group_wait wait;
    struct kafka_request *q;
    struct bytes member_id; /* of the request: echoed when the join fails */
};

static void parked_cancel(struct kafka_request *q)
{
    struct parked *p = q->state;

    group_wait_cancel(&p->wait);
}

static struct parked *park(struct kafka_request *q, struct bytes member_id, void (*hurry)(struct kafka_request *q))
{
    struct parked *p = arena_new(&q->arena, struct parked);

    p->q = q;
    p->member_id = arena_copy(&q->arena, member_id);
    kafka_park(q, p, parked_cancel, hurry);
    return p;
}

/* ---- join ---- */
static void join_done(struct group_wait *w, const struct group_join_reply *r)
{
    struct parked *p = CONTAINER_OF(w, struct parked, wait);
    struct kafka_request *q = p->q;
    struct kafka_join_group_response out;

    wire_init(&kafka_join_group_response_wire, &out);
    out.error_code = kafka_error_of_group(r->rc, r->detail);
    out.member_id = r->member_id.ptr != NULL ? r->member_id : p->member_id;
    if (out.error_code == KE_NONE) {
        out.generation_id = r->generation;
        out.protocol_type = r->protocol_type;
        out.protocol_name = r->protocol_name;
        out.leader = r->leader;
        out.skip_assignment = r->skip_assignment;
        out.members.n = r->n_members;
        out.members.at = arena_array(&q->arena, (size_t)r->n_members, sizeof *out.members.at);
        for (int i = 0; i < r->n_members; i++) {
            out.members.at[i].member_id = r->members[i].member_id;
            out.members.at[i].group_instance_id = r->members[i].instance_id;
            out.members.at[i].metadata = r->members[i].metadata;
        }
    }
    kafka_reply(q, &out);
}

static void join_hurry(struct kafka_request *q)
{
    struct parked *p = q->state;
    struct kafka_join_group_response out;

    group_wait_cancel(&p->wait);
    wire_init(&kafka_join_group_response_wire, &out);
    out.error_code = KE_COORDINATOR_NOT_AVAILABLE;
    out.member_id = p->member_id;
    kafka_reply(q, &out);
}

void kafka_handle_join_group(struct kafka_request *q, void *body)
{
    const struct kafka_join_group_request *in = body;

    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        struct kafka_join_group_response out;

        wire_init(&kafka_join_group_response_wire, &out);
        out.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        out.member_id = in->member_id;
        kafka_reply(q, &out);
        return;
    }
    struct group_protocol *protocols = arena_array(&q->arena, (size_t)in->protocols.n, sizeof *protocols);
    struct parked *p = park(q, in->member_id, join_hurry);
    struct group_join join = {
        .group_id = in->group_id,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .client_id = q->header.client_id.ptr != NULL ? q->header.client_id : BYTES_LIT(""),
        .client_host = bytes_str(arena_printf(&q->arena, "/%s", q->conn->session.peer.host)),
        .protocol_type = in->protocol_type,
        .session_timeout_ms = in->session_timeout_ms,
        /* Version 0 has one time for both. */
        .rebalance_timeout_ms = in->rebalance_timeout_ms < 0 ? in->session_timeout_ms : in->rebalance_timeout_ms,
        .protocols = protocols,
        .n_protocols = in->protocols.n,
        .requires_known_member = kafka_version(q) >= 4,
        .supports_skip_assignment = kafka_version(q) >= 9,
    };

    for (int32_t i = 0; i < in->protocols.n; i++) {
        protocols[i].name = in->protocols.at[i].name;
        protocols[i].metadata = in->protocols.at[i].metadata;
    }
    p->wait.join_done = join_done;
    group_join(kafka_broker(q), &join, &p->wait);
}

/* ---- sync ---- */
static void sync_done(struct group_wait *w, const struct group_sync_reply *r)
{
    struct parked *p = CONTAINER_OF(w, struct parked, wait);
    struct kafka_sync_group_response out;

    wire_init(&kafka_sync_group_response_wire, &out);
    out.error_code = kafka_error_of_group(r->rc, r->detail);
    if (out.error_code == KE_NONE) {
        out.protocol_type = r->protocol_type;
        out.protocol_name = r->protocol_name;
        out.assignment = r->assignment;
    }
    kafka_reply(p->q, &out);
}

static void sync_hurry(struct kafka_request *q)
{
    struct parked *p = q->state;
    struct kafka_sync_group_response out;

    group_wait_cancel(&p->wait);
    wire_init(&kafka_sync_group_response_wire, &out);
    out.error_code = KE_COORDINATOR_NOT_AVAILABLE;
    kafka_reply(q, &out);
}

void kafka_handle_sync_group(struct kafka_request *q, void *body)
{
    const struct kafka_sync_group_request *in = body;

    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        struct kafka_sync_group_response out;

        wire_init(&kafka_sync_group_response_wire, &out);
        out.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    struct group_assignment *assignments = arena_array(&q->arena, (size_t)in->assignments.n, sizeof *assignments);
    struct parked *p = park(q, in->member_id, sync_hurry);
    struct group_sync sync = {
        .group_id = in->group_id,
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .protocol_type = in->protocol_type,
        .protocol_name = in->protocol_name,
        .generation = in->generation_id,
        .assignments = assignments,
        .n_assignments = in->assignments.n,
    };

    for (int32_t i = 0; i < in->assignments.n; i++) {
        assignments[i].member_id = in->assignments.at[i].member_id;
        assignments[i].assignment = in->assignments.at[i].assignment;
    }
    p->wait.sync_done = sync_done;
    group_sync(kafka_broker(q), &sync, &p->wait);
}

/* ---- heartbeat, leave ---- */
void kafka_handle_heartbeat(struct kafka_request *q, void *body)
{
    const struct kafka_heartbeat_request *in = body;
    struct kafka_heartbeat_response out;
    enum group_detail detail = GROUP_OK;
    struct err e;

    wire_init(&kafka_heartbeat_response_wire, &out);
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        out.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    enum err_code rc = group_heartbeat(kafka_broker(q), in->group_id, in->member_id, in->group_instance_id,
                                       in->generation_id, &detail, &e);
    out.error_code = kafka_error_of_group(rc, detail);
    kafka_reply(q, &out);
}

void kafka_handle_leave_group(struct kafka_request *q, void *body)
{
    const struct kafka_leave_group_request *in = body;
    struct kafka_leave_group_response out;
    enum group_detail detail = GROUP_OK;
    struct err e;
    enum err_code rc;

    wire_init(&kafka_leave_group_response_wire, &out);
    if (!kafka_may(q, ACL_READ, ACL_GROUP, in->group_id)) {
        out.error_code = KE_GROUP_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    if (kafka_version(q) < 3) {
        rc = group_leave(kafka_broker(q), in->group_id, in->member_id, BYTES_NULL, &detail, &e);
        out.error_code = kafka_error_of_group(rc, detail);
        kafka_reply(q, &out);
        return;
    }
    out.members.n = in->members.n;
    out.members.at = arena_array(&q->arena, (size_t)in->members.n, sizeof *out.members.at);
    for (int32_t i = 0; i < in->members.n; i++) {
        const struct kafka_leave_group_request_member *from = &in->members.at[i];
        struct kafka_leave_group_response_member *to = &out.members.at[i];

        detail = GROUP_OK;
        rc = group_leave(kafka_broker(q), in->group_id, from->member_id, from->group_instance_id, &detail, &e);
        to->member_id = from->member_id;
        to->group_instance_id = from->group_instance_id;
        to->error_code = kafka_error_of_group(rc, detail);
    }
    kafka_reply(q, &out);
}
