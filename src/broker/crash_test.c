/* What it proves: acked ⊆ stored ⊆ sent for appends, offsets, topics and definitions, and exactly-once for a unit of
 * computing, when the power fails at any disk operation of a scripted workload; recovering a second time changes
 * nothing. How: run the script once to count its disk operations, then once for each chosen operation with the power
 * failing there. Seeds are printed on failure. */
#include "broker/test_world.h"

#include "broker/broker_port.h"
#include "broker/group.h"

#define N_STEPS 24
#define TRIALS 120

/* ---- appends, offsets, topics, definitions ---- */
struct script {
    struct world w;
    struct waiting appends[N_STEPS], commits[N_STEPS];
    bool is_topic_acked[N_STEPS], is_definition_acked[N_STEPS];
    int n_sent; /* appends tried */
};

static void topic_name_of(char out[16], int i)
{
    (void)snprintf(out, 16, "topic%d", i);
}

/* One step: an append, a commit, now and then a topic and a definition. Everything may fail: the power may be gone. */
static void step(struct script *s, int i)
{
    struct broker *b = s->w.b;
    struct topic *t = topic_find(b, BYTES_LIT("main"));
    struct append_result r;
    struct buf batch;
    char text[16];

    topic_name_of(text, i);
    if (t == NULL && topic_create(b, BYTES_LIT("main"), 1, NULL, &t, NULL) != ERR_NONE) return;
    s->appends[i].wait.done = waiting_done;
    s->commits[i].wait.done = waiting_done;
    make_batch(&batch, text, 1, WORLD_WALL_MS, 77, i);
    s->n_sent = i + 1;
    if (partition_append(topic_partition(t, 0), batch.ptr, batch.len, &s->appends[i].wait, &r, NULL) != ERR_NONE)
        s->appends[i].rc = ERR_IO;
    buf_deinit(&batch);
    if (i % 3 == 0) {
        struct offset_commit c = {.topic = BYTES_LIT("main"), .partition = 0, .offset = i, .leader_epoch = -1};
        enum group_detail detail;
        bool is_durable = false;
        (void)!group_commit(b, BYTES_LIT("g"), BYTES_LIT(""), BYTES_NULL, -1, &c, 1, &s->commits[i].wait, &is_durable,
                            &detail, NULL);
        if (is_durable) append_cancel(&s->commits[i].wait);
    }
    if (i % 5 == 1) s->is_topic_acked[i] = topic_create(b, bytes_str(text), 2, NULL, NULL, NULL) == ERR_NONE;
    if (i % 5 == 2)
        s->is_definition_acked[i] = broker_define(b, "k", bytes_str(text), bytes_str(text), NULL) == ERR_NONE;
    /* About as long as a sync takes: some appends come while one is under way. */
    struct loop *loop = s->w.sys->loop;
    sim_run_until(s->w.sim, loop->now_ns(loop) + sim_random(s->w.sim, 400000));
}

static bool find_definition(void *arg, struct bytes name, struct bytes text)
{
    assert_true(bytes_equal(name, text));
    if (bytes_equal_str(name, (char *)arg)) ((char *)arg)[15] = 1;
    return true;
}

/* "0:topic3 1:topic5 ": offsets without a gap, numbers that rise. Marks them and returns how many there are. */
static int64_t read_numbers(const char *stored, bool is_stored[N_STEPS])
{
    int64_t n = 0;
    int number, last = -1;
    long long offset;

    for (const char *at = stored; *at != 0; at = strchr(at, ' ') + 1) {
        if (sscanf(at, "%lld:topic%d ", &offset, &number) != 2) fail_msg("stored: %s", stored);
        assert_int_equal(offset, n++);
        assert_in_range(number, last + 1, N_STEPS - 1);
        is_stored[number] = true;
        last = number;
    }
    return n;
}

static void check_script(struct script *s)
{
    struct topic *t = topic_find(s->w.b, BYTES_LIT("main"));
    int64_t n_stored = 0, committed = -1;
    bool is_stored[N_STEPS] = {false};
    struct committed_offset o;

    if (t != NULL) {
        char *stored = dump(topic_partition(t, 0));
        n_stored = read_numbers(stored, is_stored);
        assert_int_equal(n_stored, partition_high_watermark(topic_partition(t, 0)));
        free(stored);
    }
    assert_true(n_stored <= s->n_sent);
    group_offset(s->w.b, BYTES_LIT("g"), BYTES_LIT("main"), 0, &o);
    for (int i = 0; i < N_STEPS; i++) {
        char text[16] = {0};
        topic_name_of(text, i);
        if (s->appends[i].is_done && s->appends[i].rc == ERR_NONE) assert_true(is_stored[i]);
        if (s->commits[i].is_done && s->commits[i].rc == ERR_NONE) committed = i;
        if (s->is_topic_acked[i]) assert_int_equal(topic_partition_count(topic_find(s->w.b, bytes_str(text))), 2);
        if (!s->is_definition_acked[i]) continue;
        broker_definitions(s->w.b, "k", find_definition, text);
        assert_int_equal(text[15], 1);
    }
    assert_true(o.offset >= committed);
}

/* crash_at 0: no crash of the disk; the process is killed after n_steps. */
static uint64_t run_script(uint64_t seed, uint64_t crash_at, int n_steps)
{
    struct script *s = calloc(1, sizeof(*s));

    world_init(&s->w, seed);
    if (crash_at > 0) sim_disk_crash_at(s->w.sim, crash_at);
    if (broker_open(&s->w.b, s->w.sys, &s->w.options, NULL) == ERR_NONE) {
        for (int i = 0; i < n_steps; i++)
            step(s, i);
    }
    uint64_t ops = sim_disk_ops(s->w.sim);
    world_die(&s->w, crash_at > 0);
    world_open(&s->w); /* must work */
    check_script(s);
    world_die(&s->w, true); /* recovering again changes nothing */
    world_open(&s->w);
    check_script(s);
    struct topic *t;
    assert_ok(topic_find_or_create(s->w.b, BYTES_LIT("main"), &t, NULL));
    put(&s->w, topic_partition(t, 0), "goes on", 1);
    world_deinit(&s->w);
    free(s);
    return ops;
}

static void test_crash__acked_is_stored_is_sent(void **state)
{
    uint64_t ops = run_script(1, 0, N_STEPS);

    assert_true(ops > 50);
    print_message("%llu disk operations\n", (unsigned long long)ops);
    for (int i = 0; i < TRIALS; i++) {
        uint64_t at = 1 + (uint64_t)i * ops / TRIALS;
        if (i % 40 == 0) print_message("seed %d, crash at %llu\n", i + 1, (unsigned long long)at);
        (void)run_script((uint64_t)i + 1, at, N_STEPS);
    }
    for (int i = 1; i < N_STEPS; i++)
        (void)run_script((uint64_t)i, 0, i);
}

/* ---- a disk that answers with errors but stays up ---- */
static void try_again(struct script *s)
{
    struct append_result r;
    struct buf batch;
    struct waiting x = {.wait = {.done = waiting_done}};
    struct topic *t;

    assert_ok(topic_find_or_create(s->w.b, BYTES_LIT("after"), &t, NULL));
    make_batch(&batch, "after", 1, WORLD_WALL_MS, -1, -1);
    assert_ok(partition_append(topic_partition(t, 0), batch.ptr, batch.len, &x.wait, &r, NULL));
    buf_deinit(&batch);
    world_run(&s->w, 50);
    assert_true(x.is_done && x.rc == ERR_NONE);
}

/* The k-th call that the fault concerns goes wrong, or all from it on. False: there are not so many. */
static bool run_faulty(enum sim_fault fault, uint64_t k, bool is_for_ever, bool power)
{
    struct script *s = calloc(1, sizeof(*s));
    struct broker_stats stats;

    world_init(&s->w, k);
    world_open(&s->w);
    sim_disk_fault_at(s->w.sim, fault, k, is_for_ever);
    for (int i = 0; i < N_STEPS; i++)
        step(s, i);
    world_run(&s->w, 100);
    bool has_struck = sim_disk_faults(s->w.sim) > 0;
    assert_int_equal(sim_disk_sync_retries(s->w.sim), 0);
    if (fault == SIM_FAULT_NO_SPACE) { /* nothing has stopped; with room again all goes on, without a restart */
        broker_stats(s->w.b, &stats);
        assert_int_equal(stats.partitions_stopped, 0);
        if (is_for_ever && has_struck) {
            world_die(&s->w, false);
            world_open(&s->w); /* the disk is full all the time */
            check_script(s);
        }
        sim_disk_fault_at(s->w.sim, fault, 0, false);
        try_again(s);
    }
    if (is_for_ever && has_struck && fault != SIM_FAULT_NO_SPACE) broker_close(s->w.b), s->w.b = NULL;
    sim_disk_fault_at(s->w.sim, fault, 0, false);
    world_die(&s->w, power);
    world_open(&s->w);
    check_script(s);
    try_again(s);
    world_die(&s->w, true);
    world_open(&s->w);
    check_script(s);
    world_deinit(&s->w);
    free(s);
    return has_struck;
}

static void test_crash__each_call_that_fails(void **state)
{
    static const enum sim_fault faults[] = {SIM_FAULT_WRITE, SIM_FAULT_SHORT_WRITE, SIM_FAULT_NO_SPACE, SIM_FAULT_SYNC};

    for (size_t f = 0; f < ARRAY_LEN(faults); f++) {
        uint64_t k = 1;
        for (bool has_struck = true; has_struck; k++) {
            has_struck = false;
            for (int mode = 0; mode < 4; mode++)
                has_struck |= run_faulty(faults[f], k, mode & 1, mode & 2);
        }
        print_message("fault %d: %llu calls\n", (int)faults[f], (unsigned long long)k);
        assert_true(k > 20);
    }
}

/* ---- a unit of computing ---- */
#define N_INPUTS 30

/* A flow that numbers its inputs: offset, a counter as state, one output per input, and two to a second topic now and
 * then. */
struct flow {
    struct world w;
    struct port *port;
    struct port_unit *unit;
    struct port_topic in, out, side;
    int64_t next; /* restored or counted */
    int64_t counter;
    int64_t reported; /* highest input whose commit was reported done */
    bool is_busy, is_dead, wants_snapshot;
};

static void restore_offset(void *arg, const struct port_offset *o)
{
    ((struct flow *)arg)->next = o->next;
}

static void restore_state(void *arg, struct bytes key, struct bytes value)
{
    assert_true(bytes_equal_str(key, "n"));
    ((struct flow *)arg)->counter = (int64_t)be64_get(value.ptr);
}

static void committed(void *arg, enum err_code rc, bool want_snapshot, const struct err *e)
{
    struct flow *f = arg;
    f->is_busy = false;
    if (rc == ERR_NONE) {
        f->reported = f->counter;
        f->next = f->counter;
    } else {
        f->is_dead = true;
    }
}

static bool flow_start(struct flow *f)
{
    struct port_restore r = {.offset = restore_offset, .state = restore_state, .arg = f};

    f->next = f->counter = 0;
    f->is_busy = f->is_dead = false;
    f->unit = NULL;
    f->port = NULL;
    if (broker_open(&f->w.b, f->w.sys, &f->w.options, NULL) != ERR_NONE) return false;
    assert_ok(broker_port_create(&f->port, f->w.b, f->w.sys->loop, NULL));
    struct port *p = f->port;
    if (p->topic_find(p, BYTES_LIT("in"), &f->in, NULL) != ERR_NONE &&
        p->topic_create(p, BYTES_LIT("in"), 1, &f->in, NULL) != ERR_NONE)
        return false;
    if (p->topic_find(p, BYTES_LIT("out"), &f->out, NULL) != ERR_NONE &&
        p->topic_create(p, BYTES_LIT("out"), 1, &f->out, NULL) != ERR_NONE)
        return false;
    if (p->topic_find(p, BYTES_LIT("side"), &f->side, NULL) != ERR_NONE &&
        p->topic_create(p, BYTES_LIT("side"), 2, &f->side, NULL) != ERR_NONE)
        return false;
    return p->unit_open(p, BYTES_LIT("numbers"), &r, &f->unit, NULL) == ERR_NONE;
}

static void flow_step(struct flow *f)
{
    uint8_t value[8];
    struct buf out[3];
    char text[16];
    bool has_side = f->next % 3 == 0;

    (void)snprintf(text, sizeof(text), "n%lld", (long long)f->next);
    for (int i = 0; i < 3; i++)
        make_batch(&out[i], text, 1, WORLD_WALL_MS, -1, -1);
    f->counter = f->next + 1;
    be64_put(value, (uint64_t)f->counter);
    struct port_offset o = {f->in.id, 0, f->counter};
    struct port_state_change c = {BYTES_LIT("n"), bytes_of(value, sizeof(value))};
    struct port_output outputs[3] = {
        {f->out.id, 0, buf_bytes(&out[0])}, {f->side.id, 0, buf_bytes(&out[1])}, {f->side.id, 1, buf_bytes(&out[2])}};
    struct port_commit commit = {.offsets = &o,
                                 .n_offsets = 1,
                                 .changes = &c,
                                 .n_changes = 1,
                                 .outputs = outputs,
                                 .n_outputs = has_side ? 3 : 1,
                                 .is_snapshot = f->next % 7 == 6};
    f->is_busy = true;
    if (f->port->commit(f->port, f->unit, &commit, committed, f, NULL) != ERR_NONE) f->is_dead = true;
    for (int i = 0; i < 3; i++)
        buf_deinit(&out[i]);
}

static void flow_run(struct flow *f, int n)
{
    for (int i = 0; i < n && !f->is_dead && f->next < N_INPUTS; i++) {
        flow_step(f);
        for (int k = 0; k < 100 && f->is_busy && !f->is_dead; k++)
            world_run(&f->w, 1 + sim_random(f->w.sim, 3));
        if (f->is_busy) f->is_dead = true;
    }
}

static void flow_die(struct flow *f, bool power)
{
    if (power) sim_disk_crash_at(f->w.sim, 1);
    broker_port_destroy(f->port);
    f->port = NULL;
    world_die(&f->w, power);
}

static void check_outputs(struct flow *f, const char *topic, int32_t partition, int every)
{
    char want[2048] = {0};
    int offset = 0;
    for (int i = 0; i < N_INPUTS; i += every)
        (void)sprintf(want + strlen(want), "%d:n%d ", offset++, i);
    assert_dump(world_partition(&f->w, topic, partition), want);
}

static uint64_t run_flow(uint64_t seed, uint64_t crash_at, uint64_t again_at)
{
    struct flow f = {0};
    uint64_t ops;

    world_init(&f.w, seed);
    if (crash_at > 0) sim_disk_crash_at(f.w.sim, crash_at);
    if (flow_start(&f)) flow_run(&f, N_INPUTS);
    ops = sim_disk_ops(f.w.sim);
    int64_t reported = f.reported;
    flow_die(&f, crash_at > 0);
    if (again_at > 0) { /* and once more while recovering or a little later */
        sim_disk_crash_at(f.w.sim, again_at);
        if (flow_start(&f)) flow_run(&f, 3);
        if (f.reported > reported) reported = f.reported;
        flow_die(&f, true);
    }
    assert_true(flow_start(&f));
    assert_true(f.next >= reported); /* P2 */
    assert_int_equal(f.counter, f.next);
    flow_run(&f, N_INPUTS);
    assert_false(f.is_dead);
    assert_int_equal(f.next, N_INPUTS);
    check_outputs(&f, "out", 0, 1); /* P1, P3, P4: each exactly once, in order */
    check_outputs(&f, "side", 0, 3);
    check_outputs(&f, "side", 1, 3);
    broker_port_destroy(f.port);
    world_deinit(&f.w);
    return ops;
}

static void test_crash__unit_outputs_exactly_once(void **state)
{
    uint64_t ops = run_flow(1, 0, 0);

    print_message("%llu disk operations\n", (unsigned long long)ops);
    for (int i = 0; i < TRIALS; i++) {
        uint64_t at = 1 + (uint64_t)i * ops / TRIALS;
        if (i % 40 == 0) print_message("seed %d, crash at %llu\n", i + 1, (unsigned long long)at);
        (void)run_flow((uint64_t)i + 1, at, i % 3 == 0 ? 1 + (uint64_t)i % 29 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash__acked_is_stored_is_sent),
        cmocka_unit_test(test_crash__each_call_that_fails),
        cmocka_unit_test(test_crash__unit_outputs_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
