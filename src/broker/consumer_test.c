/* What it proves: the epochs, states and refusals of consumer groups as consumer.c says them (H1 to H5, K1), what a
 * restart keeps, and the change between the two protocols. How: members are small structs that send heartbeats and
 * keep what they were told; virtual time runs only when a test lets it. */
#include "broker/test_world.h"

#include "broker/consumer.h"
#include "broker/consumer_assign.h"
#include "broker/topic_regex.h"

struct member {
    const char *id, *instance, *assignor, *regex, *rack;
    const char *topics[4]; /* up to the first NULL */
    int32_t epoch, rebalance_ms;
    struct tp has[64]; /* what it was told to have, and confirms */
    int n_has;
    /* the last answer */
    enum err_code rc;
    enum group_detail detail;
    bool was_told; /* an assignment was in it */
};

struct beat_opts {
    bool is_full, hides_owned; /* hides: topicPartitions null */
    bool loses_reply;
    const char *group;
};

static void take_assignment(struct member *m, const struct consumer_reply *r)
{
    m->n_has = 0;
    for (int i = 0; i < r->n_assignment; i++) {
        for (int k = 0; k < r->assignment[i].n; k++) {
            memcpy(m->has[m->n_has].topic, r->assignment[i].topic_id, 16);
            m->has[m->n_has++].partition = r->assignment[i].partitions[k];
            assert_true(m->n_has < 64);
        }
    }
}

/* One heartbeat as a client sends it; the reply is taken when it is durable. */
static enum err_code beat_with(struct world *w, struct member *m, struct beat_opts o)
{
    struct consumer_partitions owned[64];
    struct waiting x = {.wait = {.done = waiting_done}};
    struct consumer_reply r;
    struct bytes topics[4];
    struct arena a;
    bool is_durable;
    bool is_full = o.is_full || m->epoch == 0;
    int n_topics = 0;

    arena_init(&a, 0);
    for (int i = 0; i < m->n_has; i++) {
        memcpy(owned[i].topic_id, m->has[i].topic, 16);
        owned[i].partitions = &m->has[i].partition;
        owned[i].n = 1;
    }
    for (; n_topics < 4 && m->topics[n_topics] != NULL; n_topics++)
        topics[n_topics] = bytes_str(m->topics[n_topics]);
    struct consumer_beat q = {
        .group_id = bytes_str(o.group ? o.group : "g"),
        .member_id = bytes_str(m->id ? m->id : ""),
        .instance_id = m->instance ? bytes_str(m->instance) : BYTES_NULL,
        .rack_id = m->rack ? bytes_str(m->rack) : BYTES_NULL,
        .client_id = BYTES_LIT("client"),
        .client_host = BYTES_LIT("/127.0.0.1"),
        .regex = is_full && m->regex ? bytes_str(m->regex) : BYTES_NULL,
        .assignor = is_full && m->assignor ? bytes_str(m->assignor) : BYTES_NULL,
        .epoch = m->epoch,
        .rebalance_timeout_ms = is_full ? (m->rebalance_ms ? m->rebalance_ms : 60000) : -1,
        .topics = topics,
        .n_topics = is_full ? n_topics : -1,
        .owned = owned,
        .n_owned = o.hides_owned   ? -1
                   : m->epoch == 0 ? 0
                                   : m->n_has,
    };
    m->rc = consumer_heartbeat(w->b, &q, &a, &r, &x.wait, &is_durable, &m->detail, NULL);
    m->was_told = false;
    if (m->rc == ERR_NONE) {
        for (int i = 0; !is_durable && !x.is_done && i < 100; i++)
            world_run(w, 1);
        assert_true(is_durable || x.is_done);
        if (!is_durable) m->rc = x.rc;
    }
    if (m->rc == ERR_NONE && !o.loses_reply) {
        m->epoch = r.epoch;
        m->was_told = r.has_assignment;
        if (r.has_assignment) take_assignment(m, &r);
    }
    arena_deinit(&a);
    return m->rc;
}

static enum err_code beat(struct world *w, struct member *m)
{
    return beat_with(w, m, (struct beat_opts){0});
}

static void start(struct world *w, uint64_t seed)
{
    world_init(w, seed);
    world_open(w);
    world_topic(w, "t", 6);
}

struct seen {
    int n;
    char ids[8][32];
    int n_assigned[8], n_target[8];
    int32_t epochs[8];
};

static int count(const struct consumer_partitions *p, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += p[i].n;
    return sum;
}

static bool see(void *arg, const struct consumer_member_description *m)
{
    struct seen *s = arg;
    (void)snprintf(s->ids[s->n], sizeof(s->ids[0]), "%.*s", BYTES_ARG(m->member_id));
    s->n_assigned[s->n] = count(m->assigned, m->n_assigned);
    s->n_target[s->n] = count(m->target, m->n_target);
    s->epochs[s->n++] = m->epoch;
    return true;
}

static const char *state_of(struct world *w, int32_t *epoch, struct seen *seen)
{
    struct consumer_description d;
    struct arena a;
    struct seen none;

    arena_init(&a, 0);
    if (seen == NULL) seen = &none;
    seen->n = 0;
    bool is_there = consumer_describe(w->b, BYTES_LIT("g"), &a, &d, see, seen);
    arena_deinit(&a);
    if (is_there && epoch) *epoch = d.epoch;
    return is_there ? d.state : "none";
}

/* ---- the way of a group ---- */
static void test_consumer__one_two_and_one_again(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    struct world w;
    int32_t epoch;

    start(&w, 1);
    assert_string_equal(state_of(&w, NULL, NULL), "none");
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.n_has, 6);
    assert_string_equal(state_of(&w, &epoch, NULL), "Stable");
    assert_int_equal(epoch, 1);
    assert_ok(beat(&w, &a));
    assert_false(a.was_told); /* nothing new */

    assert_ok(beat(&w, &b)); /* its three are still a's */
    assert_int_equal(b.epoch, 2);
    assert_true(b.was_told);
    assert_int_equal(b.n_has, 0);
    assert_string_equal(state_of(&w, NULL, NULL), "Reconciling");
    assert_ok(beat(&w, &b));
    assert_false(b.was_told);
    assert_ok(beat(&w, &a)); /* is told to give back, and keeps its epoch */
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.n_has, 3);
    assert_ok(beat(&w, &b));
    assert_int_equal(b.n_has, 0); /* not before a has confirmed */
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 2);
    assert_ok(beat(&w, &b));
    assert_int_equal(b.n_has, 3);
    assert_string_equal(state_of(&w, NULL, NULL), "Stable");

    b.epoch = -1;
    assert_ok(beat(&w, &b));
    assert_int_equal(b.epoch, -1);
    assert_string_equal(state_of(&w, NULL, NULL), "Assigning");
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 3);
    assert_int_equal(a.n_has, 6);
    a.epoch = -1;
    assert_ok(beat(&w, &a));
    assert_string_equal(state_of(&w, NULL, NULL), "Empty");
    world_deinit(&w);
}

static void test_consumer__topics_change(void **state)
{
    struct member a = {.id = "a", .topics = {"t", "late"}}, r = {.id = "r", .regex = "la.*|nothing"};
    struct topic *late;
    struct world w;

    start(&w, 2);
    assert_ok(beat(&w, &a));
    assert_ok(beat_with(&w, &r, (struct beat_opts){.group = "r"}));
    assert_int_equal(r.n_has, 0);
    world_topic(&w, "other", 3); /* is none of a's */
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 1);
    late = world_topic(&w, "late", 2);
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 2);
    assert_int_equal(a.n_has, 8);
    assert_ok(beat_with(&w, &r, (struct beat_opts){.group = "r"}));
    assert_int_equal(r.n_has, 2);
    assert_ok(topic_add_partitions(w.b, late, 5, NULL));
    assert_ok(beat(&w, &a));
    assert_int_equal(a.n_has, 11);
    assert_ok(beat_with(&w, &r, (struct beat_opts){.group = "r"}));
    assert_int_equal(r.n_has, 5);
    assert_ok(topic_delete(w.b, late, NULL));
    assert_ok(beat(&w, &a));
    assert_int_equal(a.n_has, 6);
    assert_ok(beat(&w, &a));
    assert_string_equal(state_of(&w, NULL, NULL), "Stable");
    a.topics[0] = "other"; /* a change of mind */
    a.topics[1] = NULL;
    assert_ok(beat_with(&w, &a, (struct beat_opts){.is_full = true}));
    assert_ok(beat(&w, &a));
    assert_int_equal(a.n_has, 3);
    world_deinit(&w);
}

/* ---- refusals ---- */
static void assert_refused(struct world *w, struct member m, enum group_detail detail)
{
    assert_int_equal(beat(w, &m), ERR_INVALID);
    assert_int_equal(m.detail, detail);
}

static void test_consumer__bad_requests(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}};
    struct world w;

    start(&w, 3);
    assert_refused(&w, (struct member){.id = "", .topics = {"t"}, .epoch = 3}, GROUP_BAD_REQUEST);
    assert_refused(&w, (struct member){.id = "a", .topics = {"t"}, .epoch = -3}, GROUP_BAD_REQUEST);
    assert_refused(&w, (struct member){.id = "a", .topics = {"t"}, .epoch = -2}, GROUP_BAD_REQUEST);
    assert_refused(&w, (struct member){.id = "a", .topics = {"t"}, .instance = ""}, GROUP_BAD_REQUEST);
    assert_refused(&w, (struct member){.id = "a", .topics = {"t"}, .rack = ""}, GROUP_BAD_REQUEST);
    assert_refused(&w, (struct member){.id = "a", .topics = {"t"}, .assignor = "sticky"}, GROUP_BAD_ASSIGNOR);
    assert_refused(&w, (struct member){.id = "a", .regex = "(a"}, GROUP_BAD_REGEX);
    assert_refused(&w, (struct member){.id = "a", .regex = "(a)\\1"}, GROUP_BAD_REGEX);
    assert_string_equal(state_of(&w, NULL, NULL), "none"); /* nothing of all that made a group */
    a.epoch = 5;
    assert_int_equal(beat(&w, &a), ERR_NOT_FOUND);
    assert_int_equal(a.detail, GROUP_NOT_FOUND);
    a.epoch = -1;
    assert_int_equal(beat(&w, &a), ERR_NOT_FOUND);
    a.epoch = 0;
    assert_ok(beat(&w, &a));
    struct member stranger = {.id = "x", .topics = {"t"}, .epoch = 1};
    assert_int_equal(beat(&w, &stranger), ERR_MEMBER);
    stranger.epoch = -1;
    assert_int_equal(beat(&w, &stranger), ERR_MEMBER);
    world_deinit(&w);
}

static void test_consumer__epochs_fence(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}}, old;
    struct world w;

    start(&w, 4);
    assert_ok(beat(&w, &a));
    a.epoch = 7;
    assert_int_equal(beat(&w, &a), ERR_GENERATION);
    assert_int_equal(a.detail, GROUP_FENCED_EPOCH);
    a.epoch = 0; /* what a fenced member does */
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, 1); /* It is the same member: nothing has changed. */
    assert_int_equal(a.n_has, 6);

    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &a)); /* gives back */
    old = a;
    assert_ok(beat_with(&w, &a, (struct beat_opts){.loses_reply = true}));
    assert_int_equal(a.epoch, 1);
    assert_ok(beat_with(&w, &a, (struct beat_opts){0})); /* the previous epoch, with what it may have */
    assert_int_equal(a.epoch, 2);
    assert_true(a.was_told);
    assert_int_equal(beat_with(&w, &old, (struct beat_opts){.hides_owned = true}), ERR_GENERATION);
    memset(&old.has[old.n_has++], 7, sizeof(struct tp)); /* something that was never its */
    assert_int_equal(beat(&w, &old), ERR_GENERATION);
    assert_int_equal(old.detail, GROUP_FENCED_EPOCH);
    world_deinit(&w);
}

static void test_consumer__group_is_full(void **state)
{
    char id[16]; /* of the last one is used below */
    struct member m = {.topics = {"none"}}, last = {.id = "last", .topics = {"none"}};
    struct world w;

    start(&w, 5);
    for (int i = 0; i < LIMIT_GROUP_MEMBERS_MAX; i++) {
        (void)snprintf(id, sizeof(id), "m%d", i);
        m.id = id;
        m.epoch = 0;
        assert_ok(beat(&w, &m));
    }
    assert_int_equal(beat(&w, &last), ERR_LIMIT);
    assert_ok(beat(&w, &m)); /* who is there stays */
    world_deinit(&w);
}

/* ---- silence ---- */
static void test_consumer__session_ends(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    struct world w;

    start(&w, 6);
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_int_equal(b.n_has, 3);
    for (int i = 0; i < 10; i++) {
        world_run(&w, 5000);
        assert_ok(beat(&w, &b));
    }
    assert_int_equal(b.n_has, 6);
    assert_int_equal(beat(&w, &a), ERR_MEMBER);
    world_deinit(&w);
}

static void test_consumer__who_does_not_give_back_is_fenced(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}, .rebalance_ms = 20000}, b = {.id = "b", .topics = {"t"}};
    struct world w;

    start(&w, 7);
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    struct member stubborn = a; /* never confirms */
    assert_ok(beat(&w, &a));
    for (int i = 0; i < 3; i++) {
        world_run(&w, 5000);
        stubborn.n_has = 6;
        assert_ok(beat_with(&w, &stubborn, (struct beat_opts){.hides_owned = i == 1}));
        assert_int_equal(stubborn.epoch, 1);
        assert_ok(beat(&w, &b));
        assert_int_equal(b.n_has, 0);
    }
    world_run(&w, 6000);
    assert_int_equal(beat(&w, &stubborn), ERR_MEMBER);
    assert_ok(beat(&w, &b));
    assert_int_equal(b.n_has, 6);
    world_deinit(&w);
}

/* ---- static members ---- */
static void test_consumer__static_members(void **state)
{
    struct member a = {.id = "a1", .instance = "a", .topics = {"t"}},
                  b = {.id = "b1", .instance = "b", .topics = {"t"}};
    struct member thief = {.id = "a2", .instance = "a", .topics = {"t"}};
    struct world w;
    int32_t before, after;

    start(&w, 8);
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_string_equal(state_of(&w, &before, NULL), "Stable");
    assert_int_equal(beat(&w, &thief), ERR_FENCED);
    assert_int_equal(thief.detail, GROUP_UNRELEASED);

    a.epoch = -2;
    assert_ok(beat(&w, &a));
    assert_int_equal(a.epoch, -2);
    world_run(&w, 30000); /* shorter than a session; b goes on and gets nothing */
    assert_ok(beat(&w, &b));
    assert_int_equal(b.n_has, 3);
    assert_ok(beat(&w, &thief)); /* now it may */
    assert_int_equal(thief.n_has, 3);
    assert_string_equal(state_of(&w, &after, NULL), "Stable");
    assert_int_equal(after, before); /* H5: the group did not notice */
    a.epoch = before;
    assert_int_equal(beat(&w, &a), ERR_FENCED);
    assert_int_equal(a.detail, GROUP_OK);

    thief.epoch = -2;
    assert_ok(beat(&w, &thief));
    for (int i = 0; i < 10; i++) {
        world_run(&w, 5000);
        assert_ok(beat(&w, &b));
    }
    assert_int_equal(b.n_has, 6); /* its session was over */
    world_deinit(&w);
}

/* ---- the log ---- */
static void run_restart(bool power, bool snapshot)
{
    struct member a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .regex = "t|u.*", .assignor = "range"};
    struct member s = {.id = "s", .instance = "i", .topics = {"t"}};
    struct world w;
    struct seen before, after;
    int32_t epoch_before, epoch_after;

    start(&w, 9);
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &s));
    assert_ok(beat(&w, &a));
    assert_string_equal(state_of(&w, &epoch_before, &before), "Reconciling");
    if (snapshot)
        world_restart(&w);
    else
        world_die(&w, power);
    if (!snapshot) world_open(&w);
    assert_string_equal(state_of(&w, &epoch_after, &after), "Reconciling");
    assert_int_equal(epoch_before, epoch_after);
    assert_memory_equal(&before.n_assigned, &after.n_assigned, sizeof(int) * 3);
    assert_memory_equal(&before.n_target, &after.n_target, sizeof(int) * 3);
    assert_memory_equal(&before.epochs, &after.epochs, sizeof(int32_t) * 3);
    assert_ok(beat(&w, &a)); /* goes on where it was */
    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &s));
    assert_ok(beat(&w, &a));
    assert_int_equal(a.n_has + b.n_has + s.n_has, 6);
    assert_string_equal(state_of(&w, &epoch_after, NULL), "Stable");
    assert_int_equal(epoch_before, epoch_after);
    world_topic(&w, "u1", 2);
    for (int i = 0; i < 3; i++) {
        assert_ok(beat(&w, &a));
        assert_ok(beat(&w, &b));
        assert_ok(beat(&w, &s));
    }
    assert_int_equal(a.n_has + b.n_has + s.n_has, 8);
    world_run(&w, 60000); /* all are silent */
    assert_string_equal(state_of(&w, NULL, NULL), "Empty");
    world_die(&w, true);
    world_open(&w);
    world_deinit(&w);
}

static void test_consumer__restart_keeps_everything(void **state)
{
    run_restart(false, false);
    run_restart(true, false);
    run_restart(false, true);
}

static void test_consumer__a_full_disk_takes_nothing_back(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    struct world w;

    start(&w, 10);
    assert_ok(beat(&w, &a));
    sim_disk_set_capacity(w.sim, 1);
    assert_int_equal(beat(&w, &b), ERR_NO_SPACE);
    assert_int_equal(b.epoch, 0);
    sim_disk_set_capacity(w.sim, 0);
    assert_ok(beat(&w, &a)); /* carries what could not be written */
    world_die(&w, true);
    world_open(&w);
    assert_ok(beat(&w, &b));
    assert_ok(beat(&w, &a));
    assert_ok(beat(&w, &b));
    assert_int_equal(a.n_has, 3);
    assert_int_equal(b.n_has, 3);
    world_deinit(&w);
}

/* ---- offsets, and the other protocol ---- */
static enum err_code commit(struct world *w, const char *member, int32_t epoch, enum group_detail *detail)
{
    struct offset_commit c = {.topic = BYTES_LIT("t"), .partition = 0, .offset = 5};
    struct waiting x = {.wait = {.done = waiting_done}};
    bool is_durable;

    enum err_code rc = group_commit(w->b, BYTES_LIT("g"), bytes_str(member), BYTES_NULL, epoch, &c, 1, &x.wait,
                                    &is_durable, detail, NULL);
    world_run(w, 50);
    return rc;
}

static void test_consumer__offsets_need_the_epoch(void **state)
{
    struct offset_delete d = {BYTES_LIT("t"), 0, 0};
    struct member a = {.id = "a", .topics = {"t"}};
    enum group_detail detail;
    struct world w;

    start(&w, 11);
    assert_int_equal(commit(&w, "a", 1, &detail), ERR_GENERATION);
    assert_int_equal(detail, GROUP_NOT_FOUND);
    assert_ok(beat(&w, &a));
    assert_ok(commit(&w, "a", 1, &detail));
    assert_int_equal(commit(&w, "a", 2, &detail), ERR_GENERATION);
    assert_int_equal(detail, GROUP_STALE_EPOCH);
    assert_int_equal(commit(&w, "b", 1, &detail), ERR_MEMBER);
    assert_int_equal(commit(&w, "", -1, &detail), ERR_MEMBER);
    assert_ok(group_fetch_check(w.b, BYTES_LIT("g"), BYTES_LIT("a"), 1, &detail, NULL));
    assert_ok(group_fetch_check(w.b, BYTES_LIT("g"), BYTES_NULL, -1, &detail, NULL));
    assert_int_equal(group_fetch_check(w.b, BYTES_LIT("g"), BYTES_LIT("a"), 9, &detail, NULL), ERR_GENERATION);
    assert_int_equal(detail, GROUP_STALE_EPOCH);
    assert_ok(group_delete_offsets(w.b, BYTES_LIT("g"), &d, 1, &detail, NULL));
    assert_int_equal(d.rc, ERR_BUSY); /* it subscribes to it */
    assert_int_equal(group_delete(w.b, BYTES_LIT("g"), &detail, NULL), ERR_BUSY);
    a.epoch = -1;
    assert_ok(beat(&w, &a));
    assert_ok(commit(&w, "", -1, &detail)); /* a tool may, when nobody is there */
    assert_ok(group_delete(w.b, BYTES_LIT("g"), &detail, NULL));
    assert_string_equal(state_of(&w, NULL, NULL), "none");
    world_die(&w, true);
    world_open(&w);
    assert_string_equal(state_of(&w, NULL, NULL), "none");
    world_deinit(&w);
}

struct classic {
    struct group_wait wait;
    char member[64];
    enum err_code rc;
    enum group_detail detail;
    int n;
};

static void joined(struct group_wait *w, const struct group_join_reply *r)
{
    struct classic *c = CONTAINER_OF(w, struct classic, wait);
    c->rc = r->rc;
    c->detail = r->detail;
    c->n++;
    (void)snprintf(c->member, sizeof(c->member), "%.*s", BYTES_ARG(r->member_id));
}

static enum err_code classic_join(struct world *w, struct classic *c)
{
    struct group_protocol p = {BYTES_LIT("range"), BYTES_LIT("")};
    struct group_join q = {
        .group_id = BYTES_LIT("g"),
        .member_id = BYTES_LIT(""),
        .client_id = BYTES_LIT("c"),
        .client_host = BYTES_LIT("/h"),
        .protocol_type = BYTES_LIT("consumer"),
        .session_timeout_ms = 10000,
        .rebalance_timeout_ms = 10000,
        .protocols = &p,
        .n_protocols = 1,
    };
    c->wait.join_done = joined;
    group_join(w->b, &q, &c->wait);
    world_run(w, 100);
    assert_true(c->n > 0);
    return c->rc;
}

static int64_t committed(struct world *w)
{
    struct committed_offset o;
    group_offset(w->b, BYTES_LIT("g"), BYTES_LIT("t"), 0, &o);
    return o.offset;
}

static void test_consumer__an_empty_group_changes_its_protocol(void **state)
{
    struct member a = {.id = "a", .topics = {"t"}};
    struct group_description d;
    enum group_detail detail;
    struct classic c = {0};
    struct world w;

    start(&w, 12);
    assert_ok(beat(&w, &a));
    assert_ok(commit(&w, "a", 1, &detail));
    assert_int_equal(classic_join(&w, &c), ERR_INVALID);
    assert_int_equal(c.detail, GROUP_PROTOCOL_MISMATCH);
    a.epoch = -1;
    assert_ok(beat(&w, &a));
    assert_ok(classic_join(&w, &c)); /* consumer -> classic, with the offsets */
    assert_int_equal(committed(&w), 5);
    a.epoch = 0;
    assert_int_equal(beat(&w, &a), ERR_NOT_FOUND);
    assert_int_equal(a.detail, GROUP_NOT_FOUND);
    assert_ok(group_leave(w.b, BYTES_LIT("g"), bytes_str(c.member), BYTES_NULL, &detail, NULL));
    world_run(&w, 100);
    assert_ok(beat(&w, &a)); /* classic -> consumer */
    assert_int_equal(a.n_has, 6);
    assert_int_equal(committed(&w), 5);
    world_die(&w, true);
    world_open(&w);
    assert_true(group_describe(w.b, BYTES_LIT("g"), &d, NULL, NULL));
    assert_true(d.is_consumer);
    assert_int_equal(committed(&w), 5);
    assert_ok(beat(&w, &a));
    a.epoch = -1;
    assert_ok(beat(&w, &a));
    assert_ok(classic_join(&w, &c));
    assert_ok(group_leave(w.b, BYTES_LIT("g"), bytes_str(c.member), BYTES_NULL, &detail, NULL));
    world_run(&w, 100);
    world_die(&w, true);
    world_open(&w);
    assert_true(group_describe(w.b, BYTES_LIT("g"), &d, NULL, NULL));
    assert_false(d.is_consumer);
    assert_int_equal(committed(&w), 5);
    world_deinit(&w);
}

static void test_consumer__offsets_of_a_live_group_expire_with_the_subscription(void **state)
{
    struct offset_commit c[2] = {{.topic = BYTES_LIT("t"), .partition = 0, .offset = 5},
                                 {.topic = BYTES_LIT("u"), .partition = 0, .offset = 6}};
    struct member a = {.id = "a", .topics = {"t"}};
    struct waiting x = {.wait = {.done = waiting_done}};
    struct committed_offset o;
    enum group_detail detail;
    bool is_durable;
    struct world w;

    world_init(&w, 13);
    w.options.offsets_retention_ms = 100000;
    world_open(&w);
    world_topic(&w, "t", 1);
    world_topic(&w, "u", 1);
    assert_ok(beat(&w, &a));
    assert_ok(
        group_commit(w.b, BYTES_LIT("g"), BYTES_LIT("a"), BYTES_NULL, 1, c, 2, &x.wait, &is_durable, &detail, NULL));
    for (int i = 0; i < 13; i++) {
        world_run(&w, 10000);
        assert_ok(beat(&w, &a));
    }
    assert_int_equal(committed(&w), 5);
    group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("u"), 0, &o);
    assert_int_equal(o.offset, -1);
    a.epoch = -1;
    assert_ok(beat(&w, &a));
    for (int i = 0; i < 13; i++)
        world_run(&w, 10000);
    assert_int_equal(committed(&w), -1);
    assert_string_equal(state_of(&w, NULL, NULL), "none");
    world_deinit(&w);
}

/* ---- assignors: random subscriptions and histories against B1 to B3 ---- */
#define MANY 12
static void check_plan(const struct assign_topic *topics, int n_topics, const struct assign_member *members,
                       int n_members, bool is_uniform, bool is_equal)
{
    int low = INT32_MAX, high = 0;

    for (int t = 0; t < n_topics; t++) {
        bool is_wanted = false;
        for (int m = 0; m < n_members; m++)
            for (int k = 0; k < members[m].n_topics; k++)
                is_wanted |= members[m].topics[k] == t;
        for (int p = 0; p < topics[t].n_partitions; p++) {
            int owners = 0;
            for (int m = 0; m < n_members; m++) {
                for (int k = 0; k < members[m].out.n; k++) {
                    const struct tp *tp = &members[m].out.at[k];
                    if (memcmp(tp->topic, topics[t].id, 16) != 0 || tp->partition != p) continue;
                    bool subscribes = false;
                    for (int j = 0; j < members[m].n_topics; j++)
                        subscribes |= members[m].topics[j] == t;
                    assert_true(subscribes);
                    owners++;
                }
            }
            assert_int_equal(owners, is_wanted ? 1 : 0);
        }
    }
    for (int m = 0; m < n_members; m++) {
        if (members[m].out.n < low) low = members[m].out.n;
        if (members[m].out.n > high) high = members[m].out.n;
    }
    if (is_uniform && is_equal && n_members > 0) assert_true(high - low <= 1);
}

static void test_assign__random_plans_hold(void **state)
{
    struct sim_options o = {.seed = 4242};
    struct sim *sim;
    struct arena a;

    assert_ok(sim_create(&sim, &o, NULL));
    for (int round = 0; round < 400; round++) {
        struct assign_topic topics[MANY] = {0};
        struct assign_member members[MANY] = {0};
        int indexes[MANY][MANY];
        char ids[MANY][8];
        int n_topics = (int)sim_random(sim, MANY), n_members = 1 + (int)sim_random(sim, MANY - 1);
        bool is_equal = sim_random(sim, 2) == 0;

        arena_init(&a, 0);
        for (int t = 0; t < n_topics; t++) {
            topics[t].id[0] = (uint8_t)(t + 1);
            topics[t].n_partitions = (int32_t)sim_random(sim, 9);
        }
        for (int m = 0; m < n_members; m++) {
            (void)snprintf(ids[m], sizeof(ids[m]), "m%d", m);
            members[m].id = bytes_str(ids[m]);
            members[m].topics = indexes[m];
            for (int t = 0; t < n_topics; t++)
                if (is_equal || sim_random(sim, 3) > 0) indexes[m][members[m].n_topics++] = t;
        }
        for (int step = 0; step < 4; step++) {
            int n = step == 0 ? n_members : 1 + (int)sim_random(sim, (uint64_t)n_members);
            int moved = 0;
            assign_uniform(&a, topics, n_topics, members, n);
            check_plan(topics, n_topics, members, n, true, is_equal);
            for (int m = 0; m < n_members; m++)
                members[m].current = m < n ? members[m].out : (struct tp_set){NULL, 0};
            assign_uniform(&a, topics, n_topics, members, n); /* the same again moves nothing */
            for (int m = 0; m < n; m++)
                for (int k = 0; k < members[m].out.n; k++)
                    moved +=
                        k >= members[m].current.n || tp_compare(&members[m].out.at[k], &members[m].current.at[k]) != 0;
            assert_int_equal(moved, 0);
        }
        assign_range(&a, topics, n_topics, members, n_members);
        check_plan(topics, n_topics, members, n_members, false, is_equal);
        arena_deinit(&a);
    }
    sim_destroy(sim);
}

/* ---- expressions ---- */
static void test_regex__what_is_taken_and_what_not(void **state)
{
    static const struct {
        const char *pattern, *yes, *no;
    } good[] = {
        {"orders", "orders", "orders-eu"},
        {"^orders.*$", "orders-eu", "my-orders"},
        {"a|b", "b", "ab"},
        {"(?i)AB+", "abB", "a"},
        {"[a-c]{2,3}[^x]", "abz", "abx"},
        {"(?:x|y)*z", "xyxyz", "xyx"},
        {"\\d+\\.\\w+", "12.ab", "a.b"},
        {"[]a]+", "a]", "b"},
        {"[[:alpha:]]+", "ab", "1"},
        {"(?P<name>t)\\Q.\\E1", "t.1", "tx1"},
        {"", "", "x"},
        {".*?x", "aax", "aay"},
    };
    static const char *const bad[] = {"(",      "[a",   "(a)\\1",  "(?=a)a", "(?<=a)b", "(?>a)", "a++",
                                      "a*+",    "(?R)", "(*FAIL)", "\\K",    "(?(1)a)", "(?#x)", "a{2}+",
                                      "\\k<n>", "a**",  "(?P=n)",  "\\g1",   "\\"};
    struct topic_regex *r;
    struct err e;

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        if (topic_regex_compile(&r, bytes_str(good[i].pattern), &e) != ERR_NONE) fail_msg("%s", e.text);
        if (!topic_regex_matches(r, bytes_str(good[i].yes)))
            fail_msg("%s does not match %s", good[i].pattern, good[i].yes);
        if (topic_regex_matches(r, bytes_str(good[i].no))) fail_msg("%s matches %s", good[i].pattern, good[i].no);
        topic_regex_destroy(r);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (topic_regex_compile(&r, bytes_str(bad[i]), &e) != ERR_INVALID) fail_msg("%s was taken", bad[i]);
    char *longer = calloc(1, LIMIT_TOPIC_REGEX_LEN_MAX + 2);
    memset(longer, 'a', LIMIT_TOPIC_REGEX_LEN_MAX + 1);
    assert_int_equal(topic_regex_compile(&r, bytes_str(longer), &e), ERR_INVALID);
    longer[LIMIT_TOPIC_REGEX_LEN_MAX] = 0;
    assert_ok(topic_regex_compile(&r, bytes_str(longer), &e));
    topic_regex_destroy(r);
    free(longer);
}

/* What takes a matcher that goes back for ever takes this one no time: E1. */
static void test_regex__no_pattern_is_slow(void **state)
{
    static const char *const evil[] = {
        "(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)b", "((a{0,30}){0,30})b", "(a?){50}a{50}b"};
    char name[LIMIT_TOPIC_NAME_LEN_MAX + 1];
    struct topic_regex *r;
    struct err e;

    memset(name, 'a', LIMIT_TOPIC_NAME_LEN_MAX);
    name[LIMIT_TOPIC_NAME_LEN_MAX] = 0;
    for (size_t i = 0; i < sizeof(evil) / sizeof(*evil); i++) {
        if (topic_regex_compile(&r, bytes_str(evil[i]), &e) != ERR_NONE) continue; /* refusing it is fine, too */
        assert_false(topic_regex_matches(r, bytes_str(name)));
        topic_regex_destroy(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_consumer__one_two_and_one_again),
        cmocka_unit_test(test_consumer__topics_change),
        cmocka_unit_test(test_consumer__bad_requests),
        cmocka_unit_test(test_consumer__epochs_fence),
        cmocka_unit_test(test_consumer__group_is_full),
        cmocka_unit_test(test_consumer__session_ends),
        cmocka_unit_test(test_consumer__who_does_not_give_back_is_fenced),
        cmocka_unit_test(test_consumer__static_members),
        cmocka_unit_test(test_consumer__restart_keeps_everything),
        cmocka_unit_test(test_consumer__a_full_disk_takes_nothing_back),
        cmocka_unit_test(test_consumer__offsets_need_the_epoch),
        cmocka_unit_test(test_consumer__an_empty_group_changes_its_protocol),
        cmocka_unit_test(test_consumer__offsets_of_a_live_group_expire_with_the_subscription),
        cmocka_unit_test(test_assign__random_plans_hold),
        cmocka_unit_test(test_regex__what_is_taken_and_what_not),
        cmocka_unit_test(test_regex__no_pattern_is_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
