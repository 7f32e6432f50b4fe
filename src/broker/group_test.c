/* What it proves: the table of states and answers in group.c, static members, sessions, offsets, and what a restart
 * keeps. How: clients are small structs that record their replies; virtual time runs only when a test lets it. */
#include "broker/test_world.h"

#include "broker/group.h"

struct client {
    struct group_wait wait;
    char member[600], leader[600], protocol[64], assignment[64];
    const char *instance; /* NULL: dynamic */
    int joins, syncs;     /* replies so far */
    enum err_code rc;
    enum group_detail detail;
    int32_t generation;
    int n_members;
    bool skip;
    char seen[256]; /* members' metadata, for the leader */
};

static void copy(char *to, size_t cap, struct bytes from)
{
    (void)snprintf(to, cap, "%.*s", BYTES_ARG(from));
}

static void join_done(struct group_wait *w, const struct group_join_reply *r)
{
    struct client *c = CONTAINER_OF(w, struct client, wait);
    c->joins++;
    c->rc = r->rc;
    c->detail = r->detail;
    c->generation = r->generation;
    c->n_members = r->n_members;
    c->skip = r->skip_assignment;
    copy(c->member, sizeof(c->member), r->member_id);
    copy(c->leader, sizeof(c->leader), r->leader);
    copy(c->protocol, sizeof(c->protocol), r->protocol_name);
    c->seen[0] = 0;
    for (int i = 0; i < r->n_members; i++) {
        size_t at = strlen(c->seen);
        (void)snprintf(c->seen + at, sizeof(c->seen) - at, "%.*s ", BYTES_ARG(r->members[i].metadata));
    }
}

static void sync_done(struct group_wait *w, const struct group_sync_reply *r)
{
    struct client *c = CONTAINER_OF(w, struct client, wait);
    c->syncs++;
    c->rc = r->rc;
    c->detail = r->detail;
    copy(c->assignment, sizeof(c->assignment), r->assignment);
}

struct how {
    const char *protocols; /* one letter each, in order of preference */
    const char *metadata;
    int32_t session_ms, rebalance_ms;
    bool needs_id, skips;
    const char *type;
};

static void join_how(struct world *w, struct client *c, struct how h)
{
    struct group_protocol protocols[8];
    int n = 0;
    for (const char *at = h.protocols ? h.protocols : "r"; *at; at++)
        protocols[n++] = (struct group_protocol){bytes_of(at, 1), bytes_str(h.metadata ? h.metadata : "meta")};
    struct group_join q = {
        .group_id = BYTES_LIT("g"),
        .member_id = bytes_str(c->member),
        .instance_id = c->instance ? bytes_str(c->instance) : BYTES_NULL,
        .client_id = BYTES_LIT("client"),
        .client_host = BYTES_LIT("/127.0.0.1"),
        .protocol_type = bytes_str(h.type ? h.type : "consumer"),
        .session_timeout_ms = h.session_ms ? h.session_ms : 10000,
        .rebalance_timeout_ms = h.rebalance_ms ? h.rebalance_ms : 60000,
        .protocols = protocols,
        .n_protocols = n,
        .requires_known_member = h.needs_id,
        .supports_skip_assignment = h.skips,
    };
    int joins = c->joins;
    c->wait.join_done = join_done;
    c->wait.sync_done = sync_done;
    group_join(w->b, &q, &c->wait);
    assert_int_equal(c->joins, joins); /* never inside the call */
}

static void join(struct world *w, struct client *c)
{
    join_how(w, c, (struct how){0});
}

/* The leader gives each member of `all` its own letter: "A", "B", ... */
static void sync_group(struct world *w, struct client *c, struct client **all, int n)
{
    struct group_assignment list[8];
    for (int i = 0; i < n; i++)
        list[i] = (struct group_assignment){bytes_str(all[i]->member), bytes_of(&"ABCDEFGH"[i], 1)};
    struct group_sync q = {
        .group_id = BYTES_LIT("g"),
        .member_id = bytes_str(c->member),
        .instance_id = c->instance ? bytes_str(c->instance) : BYTES_NULL,
        .protocol_type = BYTES_NULL,
        .protocol_name = BYTES_NULL,
        .generation = c->generation,
        .assignments = list,
        .n_assignments = n,
    };
    group_sync(w->b, &q, &c->wait);
}

static enum err_code beat(struct world *w, const struct client *c)
{
    enum group_detail detail;
    return group_heartbeat(w->b, BYTES_LIT("g"), bytes_str(c->member),
                           c->instance ? bytes_str(c->instance) : BYTES_NULL, c->generation, &detail, NULL);
}

static enum err_code leave(struct world *w, const char *member, const char *instance)
{
    enum group_detail detail;
    return group_leave(w->b, BYTES_LIT("g"), bytes_str(member), instance ? bytes_str(instance) : BYTES_NULL, &detail,
                       NULL);
}

static const char *state_of(struct world *w)
{
    struct group_description d;
    return group_describe(w->b, BYTES_LIT("g"), &d, NULL, NULL) ? d.state : "none";
}

/* n clients in a stable group; client 0 leads. */
static void make_stable(struct world *w, struct client **all, int n)
{
    for (int i = 0; i < n; i++) {
        int before = all[i]->joins;
        join(w, all[i]);
        for (int k = 0; k < i; k++) {
            join(w, all[k]); /* everybody comes back */
        }
        world_run(w, 10);
        assert_int_equal(all[i]->joins, before + 1);
        for (int k = i; k >= 0; k--)
            sync_group(w, all[k], all, i + 1);
        world_run(w, 10);
        for (int k = 0; k <= i; k++)
            assert_int_equal(all[k]->rc, ERR_NONE);
    }
    assert_string_equal(state_of(w), "Stable");
}

static void start(struct world *w, uint64_t seed)
{
    world_init(w, seed);
    world_open(w);
    world_topic(w, "t", 4);
}

/* ---- joining ---- */
static void test_join__two_members_share(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, *all[] = {&a, &b};

    start(&w, 1);
    make_stable(&w, all, 2);
    assert_int_equal(a.generation, 2);
    assert_string_equal(a.leader, a.member);
    assert_string_equal(b.leader, a.member);
    assert_int_equal(a.n_members, 2);
    assert_int_equal(b.n_members, 0);
    assert_string_equal(a.seen, "meta meta ");
    assert_string_equal(a.assignment, "A");
    assert_string_equal(b.assignment, "B");
    assert_memory_equal(a.member, "client-", 7);
    assert_int_equal(beat(&w, &a), ERR_NONE);

    join(&w, &b); /* an unchanged follower gets what it has */
    world_run(&w, 10);
    assert_int_equal(b.generation, 2);
    assert_string_equal(state_of(&w), "Stable");
    join(&w, &a); /* the leader asks for a new round */
    world_run(&w, 10);
    assert_string_equal(state_of(&w), "PreparingRebalance");
    assert_int_equal(beat(&w, &b), ERR_REBALANCE);
    join(&w, &b);
    world_run(&w, 10);
    assert_int_equal(b.generation, 3);
    assert_int_equal(beat(&w, &b), ERR_NONE); /* CompletingRebalance */
    b.generation = 2;
    assert_int_equal(beat(&w, &b), ERR_GENERATION);
    world_deinit(&w);
}

static void test_join__refusals(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, *all[] = {&a};

    start(&w, 2);
    (void)snprintf(b.member, sizeof(b.member), "nobody");
    join(&w, &b);
    world_run(&w, 1);
    assert_int_equal(b.rc, ERR_MEMBER);
    b.member[0] = 0;
    join_how(&w, &b, (struct how){.session_ms = 100});
    world_run(&w, 1);
    assert_int_equal(b.detail, GROUP_BAD_SESSION_TIMEOUT);
    b.member[0] = 0;
    make_stable(&w, all, 1);
    join_how(&w, &b, (struct how){.protocols = "x"});
    world_run(&w, 1);
    assert_int_equal(b.detail, GROUP_PROTOCOL_MISMATCH);
    join_how(&w, &b, (struct how){.type = "connect"});
    world_run(&w, 1);
    assert_int_equal(b.detail, GROUP_PROTOCOL_MISMATCH);
    assert_string_equal(state_of(&w), "Stable");
    (void)snprintf(b.member, sizeof(b.member), "stranger");
    sync_group(&w, &b, all, 1);
    world_run(&w, 1);
    assert_int_equal(b.rc, ERR_MEMBER);
    assert_int_equal(beat(&w, &b), ERR_MEMBER);
    assert_int_equal(leave(&w, "stranger", NULL), ERR_MEMBER);
    world_deinit(&w);
}

static void test_join__member_id_required(void **state)
{
    struct world w;
    struct client a = {0}, b = {0};

    start(&w, 3);
    join_how(&w, &a, (struct how){.needs_id = true});
    world_run(&w, 1);
    assert_int_equal(a.detail, GROUP_MEMBER_ID_REQUIRED);
    assert_true(strlen(a.member) > 0);
    join_how(&w, &a, (struct how){.needs_id = true});
    world_run(&w, 10);
    assert_int_equal(a.rc, ERR_NONE);
    assert_int_equal(a.generation, 1);

    join_how(&w, &b, (struct how){.needs_id = true}); /* takes an id and never comes back */
    world_run(&w, 1);
    assert_int_equal(leave(&w, b.member, NULL), ERR_NONE);
    b.member[0] = 0;
    join_how(&w, &b, (struct how){.needs_id = true, .session_ms = 6000});
    world_run(&w, 7000);
    join(&w, &b); /* too late */
    world_run(&w, 1);
    assert_int_equal(b.rc, ERR_MEMBER);
    world_deinit(&w);
}

/* The delay of an empty group's first round grows while members keep coming, up to the rebalance timeout. */
static void test_join__initial_delay(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, c = {0};

    world_init(&w, 4);
    w.options.group_initial_delay_ms = 3000;
    world_open(&w);
    join(&w, &a);
    world_run(&w, 2000);
    join(&w, &b);
    world_run(&w, 2000);
    assert_int_equal(a.joins + b.joins, 0);
    join(&w, &c);
    world_run(&w, 1500);
    assert_int_equal(a.joins + b.joins + c.joins, 0);
    world_run(&w, 4000);
    assert_int_equal(a.joins + b.joins + c.joins, 3);
    assert_int_equal(a.generation, 1);
    assert_int_equal(a.n_members, 3);
    world_deinit(&w);
}

static void test_join__vote_picks_the_common_favourite(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, c = {0};

    world_init(&w, 5);
    w.options.group_initial_delay_ms = 100;
    world_open(&w);
    join_how(&w, &a, (struct how){.protocols = "xyz"});
    join_how(&w, &b, (struct how){.protocols = "zy"});
    join_how(&w, &c, (struct how){.protocols = "yz"});
    world_run(&w, 1000);
    assert_string_equal(a.protocol, "y"); /* x is not common; y has two votes */
    assert_string_equal(b.protocol, "y");
    world_deinit(&w);
}

/* ---- rebalances ---- */
static void test_rebalance__silent_members_are_evicted(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, c = {0}, *all[] = {&a, &b};

    start(&w, 6);
    make_stable(&w, all, 2);
    join_how(&w, &c, (struct how){.rebalance_ms = 20000, .session_ms = 300000});
    world_run(&w, 10);
    join_how(&w, &a, (struct how){.rebalance_ms = 20000, .session_ms = 300000});
    for (int i = 0; i < 58; i++) { /* b only sends heartbeats; its rebalance timeout is 60 s */
        world_run(&w, 1000);
        assert_int_equal(beat(&w, &b), ERR_REBALANCE);
    }
    assert_string_equal(state_of(&w), "PreparingRebalance");
    world_run(&w, 3000);
    assert_int_equal(a.generation, 3);
    assert_int_equal(c.generation, 3);
    assert_int_equal(a.n_members, 2);
    assert_int_equal(beat(&w, &b), ERR_MEMBER);
    world_deinit(&w);
}

static void test_rebalance__session_timeout(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, *all[] = {&a, &b};

    start(&w, 7);
    make_stable(&w, all, 2);
    for (int i = 0; i < 5; i++) {
        world_run(&w, 3000);
        enum err_code rc = beat(&w, &a);
        if (i < 3) assert_int_equal(rc, ERR_NONE);
        if (i > 3) assert_int_equal(rc, ERR_REBALANCE); /* b is gone after 10 s */
    }
    join(&w, &a);
    world_run(&w, 10);
    assert_int_equal(a.generation, 3);
    assert_int_equal(a.n_members, 1);
    sync_group(&w, &a, all, 1);
    world_run(&w, 10);
    assert_string_equal(state_of(&w), "Stable");
    assert_int_equal(leave(&w, a.member, NULL), ERR_NONE);
    world_run(&w, 10);
    assert_string_equal(state_of(&w), "Empty");
    assert_int_equal(beat(&w, &a), ERR_MEMBER);
    world_deinit(&w);
}

static void test_rebalance__interrupts_syncs(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, c = {0}, *all[] = {&a, &b};

    start(&w, 8);
    make_stable(&w, all, 2);
    join(&w, &a);
    join(&w, &b);
    world_run(&w, 10);
    int syncs = b.syncs;
    sync_group(&w, &b, all, 2); /* parked: the leader has not spoken */
    world_run(&w, 10);
    assert_int_equal(b.syncs, syncs);
    join(&w, &c);
    world_run(&w, 10);
    assert_int_equal(b.syncs, syncs + 1);
    assert_int_equal(b.rc, ERR_REBALANCE);
    sync_group(&w, &a, all, 2);
    world_run(&w, 10);
    assert_int_equal(a.rc, ERR_REBALANCE);
    world_deinit(&w);
}

static void test_rebalance__members_without_sync_are_evicted(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, *all[] = {&a, &b};

    start(&w, 9);
    make_stable(&w, all, 2);
    join(&w, &a);
    join(&w, &b);
    world_run(&w, 10);
    sync_group(&w, &a, all, 2);
    for (int i = 0; i < 62; i++) {
        world_run(&w, 1000);
        (void)beat(&w, &a);
        (void)beat(&w, &b);
    }
    assert_int_equal(beat(&w, &b), ERR_MEMBER);
    assert_int_equal(beat(&w, &a), ERR_REBALANCE);
    world_deinit(&w);
}

/* A connection that is gone takes its parked request along, and later its member. */
static void test_rebalance__cancelled_request(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, c = {0}, *all[] = {&a, &b};

    start(&w, 10);
    make_stable(&w, all, 2);
    join(&w, &c);
    world_run(&w, 10);
    group_wait_cancel(&c.wait);
    join(&w, &a);
    join(&w, &b);
    world_run(&w, 10);
    assert_int_equal(c.joins, 0);
    assert_int_equal(a.n_members, 3); /* it counts until its session ends */
    for (int i = 0; i < 12; i++) {
        world_run(&w, 1000);
        (void)beat(&w, &a);
        (void)beat(&w, &b);
    }
    join(&w, &a);
    join(&w, &b);
    world_run(&w, 10);
    assert_int_equal(a.n_members, 2);
    join(&w, &a); /* answered, not delivered yet */
    group_wait_cancel(&a.wait);
    world_run(&w, 10);
    world_deinit(&w);
}

/* ---- static members ---- */
static void test_static__returns_without_rebalance(void **state)
{
    struct world w;
    struct client a = {.instance = "one"}, b = {.instance = "two"}, *all[] = {&a, &b};
    char old[600];

    start(&w, 11);
    make_stable(&w, all, 2);
    int32_t generation = b.generation;
    (void)snprintf(old, sizeof(old), "%s", b.member);
    b.member[0] = 0; /* the process restarts */
    join(&w, &b);
    world_run(&w, 10);
    assert_int_equal(b.rc, ERR_NONE);
    assert_int_equal(b.generation, generation);
    assert_string_not_equal(b.member, old);
    assert_string_equal(state_of(&w), "Stable");
    sync_group(&w, &b, all, 0);
    world_run(&w, 10);
    assert_string_equal(b.assignment, "B");
    struct client ghost = b;
    (void)snprintf(ghost.member, sizeof(ghost.member), "%s", old);
    assert_int_equal(beat(&w, &ghost), ERR_FENCED);
    assert_int_equal(beat(&w, &b), ERR_NONE);

    a.member[0] = 0; /* the leader comes back: it must not compute */
    join_how(&w, &a, (struct how){.skips = true});
    world_run(&w, 10);
    assert_true(a.skip);
    assert_string_equal(a.leader, a.member);
    assert_int_equal(a.n_members, 2);
    a.member[0] = 0;
    join(&w, &a); /* an old client cannot skip: somebody else seems to lead */
    world_run(&w, 10);
    assert_false(a.skip);
    assert_string_not_equal(a.leader, a.member);

    b.member[0] = 0; /* back with another subscription: that is a rebalance */
    join_how(&w, &b, (struct how){.metadata = "other"});
    world_run(&w, 10);
    assert_string_equal(state_of(&w), "PreparingRebalance");
    assert_int_equal(leave(&w, "", "two"), ERR_NONE); /* an administrator removes it */
    world_run(&w, 10);
    assert_int_equal(b.rc, ERR_MEMBER);
    b.member[0] = 'x';
    assert_int_equal(beat(&w, &b), ERR_MEMBER);
    world_deinit(&w);
}

static void test_static__survives_a_crash_of_the_broker(void **state)
{
    struct world w;
    struct client a = {.instance = "one"}, b = {0}, *all[] = {&a, &b};

    start(&w, 12);
    make_stable(&w, all, 2);
    a.member[0] = 0;
    join(&w, &a);
    world_run(&w, 10);
    world_die(&w, true);
    world_open(&w);
    assert_string_equal(state_of(&w), "Stable");
    assert_int_equal(beat(&w, &a), ERR_NONE); /* the new id, as answered */
    assert_int_equal(beat(&w, &b), ERR_NONE);
    sync_group(&w, &b, all, 0);
    world_run(&w, 10);
    assert_string_equal(b.assignment, "B");
    world_run(&w, 20000); /* nobody says anything more */
    assert_string_equal(state_of(&w), "Empty");
    world_deinit(&w);
}

/* ---- offsets ---- */
static enum err_code commit(struct world *w, const char *member, int32_t generation, int32_t partition, int64_t offset,
                            struct waiting *x)
{
    enum group_detail detail;
    bool is_durable;
    struct offset_commit c = {.topic = BYTES_LIT("t"),
                              .partition = partition,
                              .offset = offset,
                              .leader_epoch = 3,
                              .metadata = BYTES_LIT("note")};
    x->wait.done = waiting_done;
    x->is_done = false;
    enum err_code rc = group_commit(w->b, BYTES_LIT("g"), bytes_str(member), BYTES_NULL, generation, &c, 1, &x->wait,
                                    &is_durable, &detail, NULL);
    if (rc == ERR_NONE) assert_false(is_durable);
    return rc;
}

static int64_t committed_of(struct world *w, int32_t partition)
{
    struct committed_offset o;
    group_offset(w->b, BYTES_LIT("g"), BYTES_LIT("t"), partition, &o);
    if (o.offset >= 0) {
        assert_true(bytes_equal_str(o.metadata, "note"));
        assert_int_equal(o.leader_epoch, 3);
    }
    return o.offset;
}

static void test_offsets__simple_consumer_across_crashes(void **state)
{
    struct world w;
    struct waiting x = {0};

    start(&w, 13);
    assert_int_equal(committed_of(&w, 0), -1);
    assert_int_equal(commit(&w, "", 5, 0, 1, &x), ERR_GENERATION);
    for (int i = 0; i < 6; i++) {
        assert_ok(commit(&w, "", -1, i % 2, 100 + i, &x));
        assert_false(x.is_done);
        world_run(&w, 50);
        assert_true(x.is_done);
        if (i % 2) {
            world_die(&w, true);
            world_open(&w);
        } else {
            world_restart(&w);
        }
        assert_int_equal(committed_of(&w, i % 2), 100 + i);
    }
    assert_string_equal(state_of(&w), "Empty");
    world_deinit(&w);
}

static void test_offsets__members_and_generations(void **state)
{
    struct world w;
    struct waiting x = {0};
    struct client a = {0}, b = {0}, *all[] = {&a, &b};
    struct offset_commit c[3] = {{.topic = BYTES_LIT("t"), .partition = 0, .offset = 1},
                                 {.topic = BYTES_LIT("t"), .partition = 99, .offset = 1},
                                 {.topic = BYTES_LIT("none"), .partition = 0, .offset = 1}};
    enum group_detail detail;
    bool is_durable;

    start(&w, 14);
    make_stable(&w, all, 2);
    assert_int_equal(commit(&w, "", -1, 0, 1, &x), ERR_MEMBER); /* a live group */
    assert_int_equal(commit(&w, a.member, a.generation - 1, 0, 1, &x), ERR_GENERATION);
    assert_int_equal(commit(&w, "stranger", a.generation, 0, 1, &x), ERR_MEMBER);
    assert_ok(commit(&w, a.member, a.generation, 0, 7, &x));
    world_run(&w, 10);
    join(&w, &a);
    world_run(&w, 10);
    assert_ok(commit(&w, b.member, b.generation, 1, 8, &x)); /* before it rejoins */
    world_run(&w, 10);
    join(&w, &b);
    world_run(&w, 10);
    assert_int_equal(commit(&w, b.member, b.generation, 1, 9, &x), ERR_REBALANCE);
    assert_int_equal(committed_of(&w, 0), 7);
    assert_int_equal(committed_of(&w, 1), 8);

    sync_group(&w, &a, all, 2);
    sync_group(&w, &b, all, 2);
    world_run(&w, 10);
    assert_ok(group_commit(w.b, BYTES_LIT("g"), bytes_str(a.member), BYTES_NULL, a.generation, c, 3, &x.wait,
                           &is_durable, &detail, NULL));
    assert_int_equal(c[0].rc, ERR_NONE);
    assert_int_equal(c[1].rc, ERR_NOT_FOUND);
    assert_int_equal(c[2].rc, ERR_NOT_FOUND);
    world_run(&w, 10);
    assert_int_equal(group_delete(w.b, BYTES_LIT("g"), &detail, NULL), ERR_BUSY);
    assert_int_equal(detail, GROUP_NON_EMPTY);
    world_deinit(&w);
}

static void test_offsets__go_with_group_and_topic(void **state)
{
    struct world w;
    struct waiting x = {0};
    enum group_detail detail;

    start(&w, 15);
    assert_ok(commit(&w, "", -1, 0, 5, &x));
    world_run(&w, 50);
    assert_ok(group_delete(w.b, BYTES_LIT("g"), &detail, NULL));
    assert_int_equal(group_delete(w.b, BYTES_LIT("g"), &detail, NULL), ERR_NOT_FOUND);
    world_die(&w, true);
    world_open(&w);
    assert_string_equal(state_of(&w), "none");
    assert_int_equal(committed_of(&w, 0), -1);
    assert_ok(commit(&w, "", -1, 0, 6, &x));
    world_run(&w, 50);
    assert_ok(topic_delete(w.b, topic_find(w.b, BYTES_LIT("t")), NULL));
    assert_int_equal(committed_of(&w, 0), -1);
    world_run(&w, 50);
    world_topic(&w, "t", 1);
    world_restart(&w);
    assert_int_equal(committed_of(&w, 0), -1);
    world_deinit(&w);
}

static void test_offsets__expire(void **state)
{
    struct world w;
    struct waiting x = {0};

    world_init(&w, 16);
    w.options.offsets_retention_ms = 100000;
    world_open(&w);
    world_topic(&w, "t", 2);
    assert_ok(commit(&w, "", -1, 0, 5, &x));
    world_run(&w, 60000);
    assert_ok(commit(&w, "", -1, 1, 6, &x));
    world_run(&w, 60000);
    assert_int_equal(committed_of(&w, 0), -1);
    assert_int_equal(committed_of(&w, 1), 6);
    world_run(&w, 200000);
    assert_string_equal(state_of(&w), "none");
    world_restart(&w);
    assert_string_equal(state_of(&w), "none");
    world_deinit(&w);
}

/* The offsets' log is rewritten when it has grown, and says the same afterwards. */
static void test_offsets__snapshot_replaces_history(void **state)
{
    struct world w;
    struct waiting x = {0};
    struct client a = {.instance = "one"}, *all[] = {&a};
    char *metadata = calloc(1, 4001);

    start(&w, 17);
    make_stable(&w, all, 1);
    memset(metadata, 'm', 4000);
    struct offset_commit c = {.topic = BYTES_LIT("t"), .metadata = bytes_str(metadata)};
    for (int i = 0; i < 2500; i++) { /* 10 MB of history */
        enum group_detail detail;
        bool is_durable;
        c.partition = i % 4;
        c.offset = i;
        x = (struct waiting){.wait = {.done = waiting_done}};
        assert_ok(group_commit(w.b, BYTES_LIT("g"), bytes_str(a.member), bytes_str(a.instance), a.generation, &c, 1,
                               &x.wait, &is_durable, &detail, NULL));
        world_run(&w, 2);
        assert_true(x.is_done);
    }
    struct log *l = partition_log(world_partition(&w, "__consumer_offsets", 0));
    assert_true(log_start_offset(l) > 0);
    assert_true(log_size_bytes(l) < 4u << 20);
    world_die(&w, true);
    world_open(&w);
    for (int i = 0; i < 4; i++) {
        struct committed_offset o;
        group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("t"), i, &o);
        assert_int_equal(o.offset, 2496 + i);
    }
    assert_int_equal(beat(&w, &a), ERR_NONE);
    free(metadata);
    world_deinit(&w);
}

static void test_describe__members(void **state)
{
    struct world w;
    struct client a = {0}, b = {0}, *all[] = {&a, &b};
    struct group_description d;

    start(&w, 18);
    make_stable(&w, all, 2);
    assert_true(group_describe(w.b, BYTES_LIT("g"), &d, NULL, NULL));
    assert_int_equal(d.n_members, 2);
    assert_true(bytes_equal_str(d.protocol_type, "consumer"));
    assert_true(bytes_equal_str(d.protocol_name, "r"));
    assert_false(group_describe(w.b, BYTES_LIT("nope"), &d, NULL, NULL));
    struct broker_stats s;
    broker_stats(w.b, &s);
    assert_int_equal(s.n_groups, 1);
    broker_close(w.b); /* parked requests are answered */
    world_run(&w, 1);
    world_open(&w);
    join(&w, &a);
    world_run(&w, 1);
    int joins = a.joins;
    broker_close(w.b);
    w.b = NULL;
    assert_int_equal(a.joins, joins + 1);
    assert_int_equal(a.rc, ERR_CLOSED);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join__two_members_share),
        cmocka_unit_test(test_join__refusals),
        cmocka_unit_test(test_join__member_id_required),
        cmocka_unit_test(test_join__initial_delay),
        cmocka_unit_test(test_join__vote_picks_the_common_favourite),
        cmocka_unit_test(test_rebalance__silent_members_are_evicted),
        cmocka_unit_test(test_rebalance__session_timeout),
        cmocka_unit_test(test_rebalance__interrupts_syncs),
        cmocka_unit_test(test_rebalance__members_without_sync_are_evicted),
        cmocka_unit_test(test_rebalance__cancelled_request),
        cmocka_unit_test(test_static__returns_without_rebalance),
        cmocka_unit_test(test_static__survives_a_crash_of_the_broker),
        cmocka_unit_test(test_offsets__simple_consumer_across_crashes),
        cmocka_unit_test(test_offsets__members_and_generations),
        cmocka_unit_test(test_offsets__go_with_group_and_topic),
        cmocka_unit_test(test_offsets__expire),
        cmocka_unit_test(test_offsets__snapshot_replaces_history),
        cmocka_unit_test(test_describe__members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
