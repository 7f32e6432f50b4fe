/* What it proves: a transaction is seen whole or not at all, with its offsets, whatever happens when; nobody reads what
 * was aborted or is undecided; a fenced producer writes nothing; each state answers as Kafka's does. How: by calls in a
 * simulated world, and a consume-transform-produce loop whose power fails at chosen disk operations, also while
 * recovering. Seeds are printed. */
#include "broker/test_world.h"
#include "broker/broker_port.h"
#include "broker/txn.h"

#define N_INPUTS 14
#define TRIALS 110

/* ---- calls that wait ---- */
struct actor { /* a transactional producer */
    struct world *w;
    struct txn_producer p;
    int32_t sequence[2];
    enum txn_detail detail;
};

/* The answer of a call: at once or after a while. ERR_TIMEOUT: it never came (the power is gone). */
static enum err_code settled(struct actor *a, enum err_code rc, const struct txn_reply *r, struct waiting *w)
{
    a->detail = r->detail;
    if (rc != ERR_NONE || r->is_durable) return rc;
    for (int i = 0; i < 200 && !w->is_done; i++)
        world_run(a->w, 1);
    append_cancel(&w->wait);
    return w->is_done ? w->rc : ERR_TIMEOUT;
}

static struct waiting fresh(void)
{
    return (struct waiting){.wait.done = waiting_done};
}

static enum err_code init_once(struct actor *a)
{
    struct waiting w = fresh();
    struct txn_reply r;
    struct txn_producer p = {a->p.id, -1, -1, false};
    enum err_code rc = txn_init(a->w->b, &p, 10000, &w.wait, &r, NULL);
    rc = settled(a, rc, &r, &w);
    if (rc == ERR_NONE) {
        a->p.producer_id = r.producer_id;
        a->p.epoch = r.epoch;
        a->sequence[0] = a->sequence[1] = 0;
    }
    return rc;
}

static enum err_code init(struct actor *a, struct world *w, const char *id)
{
    enum err_code rc = ERR_TIMEOUT;
    *a = (struct actor){.w = w, .p = {bytes_str(id), -1, -1, false}};
    for (int i = 0; i < 20; i++) {
        rc = init_once(a);
        if (rc != ERR_TXN_STATE || a->detail != TXN_CONCURRENT) break;
        world_run(w, 5);
    }
    return rc;
}

static enum err_code add(struct actor *a, const char *topic, int32_t partition)
{
    struct txn_partition part = {bytes_str(topic), partition, ERR_NONE};
    struct waiting w = fresh();
    struct txn_reply r;
    return settled(a, txn_add_partitions(a->w->b, &a->p, &part, 1, &w.wait, &r, NULL), &r, &w);
}

static enum err_code end(struct actor *a, bool is_commit)
{
    struct waiting w = fresh();
    struct txn_reply r;
    enum err_code rc = settled(a, txn_end(a->w->b, &a->p, is_commit, &w.wait, &r, NULL), &r, &w);
    if (rc == ERR_NONE && a->p.is_v2) {
        a->p.producer_id = r.producer_id;
        a->p.epoch = r.epoch;
        a->sequence[0] = a->sequence[1] = 0;
    }
    return rc;
}

static enum err_code commit_offset(struct actor *a, int64_t offset)
{
    struct offset_commit c = {.topic = BYTES_LIT("in"), .partition = 0, .offset = offset, .leader_epoch = -1};
    struct waiting w = fresh();
    enum group_detail detail;
    struct txn_reply r;
    enum err_code rc = settled(a, txn_add_offsets(a->w->b, &a->p, BYTES_LIT("g"), &w.wait, &r, NULL), &r, &w);
    if (rc != ERR_NONE) return rc;
    w = fresh();
    rc = txn_commit_offsets(a->w->b, &a->p, BYTES_LIT("g"), BYTES_LIT(""), BYTES_NULL, -1, &c, 1, &w.wait, &r, &detail,
                            NULL);
    rc = settled(a, rc, &r, &w);
    return rc == ERR_NONE ? c.rc : rc;
}

static enum err_code send_batch(struct actor *a, struct partition *p, const char *value, int16_t attributes)
{
    struct waiting w = fresh();
    struct append_result r = {0};
    struct batch_builder builder;
    struct buf batch;

    buf_init(&batch, 0);
    batch_begin(&builder, &batch, CODEC_NONE);
    batch_set_producer(&builder, a->p.producer_id, a->p.epoch, a->sequence[partition_index(p)]);
    batch_set_attributes(&builder, attributes);
    batch_add(&builder, WORLD_WALL_MS, BYTES_LIT("k"), bytes_str(value), NULL, 0);
    assert_ok(batch_finish(&builder, NULL));
    enum err_code rc = partition_append(p, batch.ptr, batch.len, &w.wait, &r, NULL);
    struct txn_reply reply = {.is_durable = r.is_durable};
    rc = settled(a, rc, &reply, &w);
    if (rc == ERR_NONE) a->sequence[partition_index(p)]++;
    buf_deinit(&batch);
    return rc;
}

static enum err_code put_txn(struct actor *a, struct partition *p, const char *value)
{
    return send_batch(a, p, value, BATCH_ATTR_TRANSACTIONAL);
}

/* "a b " of what readers of committed records see. */
static char *dump_committed(struct partition *p)
{
    int64_t at = partition_log_start(p);
    struct buf out, scratch;

    buf_init(&out, 0);
    buf_init(&scratch, 0);
    while (at < partition_last_stable(p)) {
        struct log_slice s = {0};
        assert_ok(partition_read_committed(p, at, 1, &s, NULL));
        for (struct bytes left = s.bytes; left.len > 0;) {
            struct batch_view v;
            struct batch_iter it;
            struct record r;
            bool more = true;
            assert_ok(batch_view_parse(&v, left, NULL));
            assert_ok(batch_iter_init(&it, &v, &scratch, NULL));
            for (;;) {
                assert_ok(batch_iter_next(&it, &r, &more, NULL));
                if (!more) break;
                buf_printf(&out, "%.*s ", BYTES_ARG(r.value));
            }
            left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        }
        assert_true(s.next_offset > at);
        at = s.next_offset;
        log_slice_release(&s);
    }
    buf_put_u8(&out, 0);
    buf_deinit(&scratch);
    return (char *)out.ptr;
}

static void assert_committed(struct partition *p, const char *want)
{
    char *got = dump_committed(p);
    assert_string_equal(got, want);
    free(got);
}

static int64_t group_at(struct world *w)
{
    struct committed_offset o;
    group_offset(w->b, BYTES_LIT("g"), BYTES_LIT("in"), 0, &o);
    return o.offset;
}

/* ---- what is visible when ---- */
static void test_txn__undecided_and_aborted_is_not_seen(void **state)
{
    struct world w;
    struct actor a, b;

    world_init(&w, 1);
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init(&a, &w, "a"));
    assert_ok(init(&b, &w, "b"));
    put(&w, p, "plain", 1);
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a1"));
    assert_ok(add(&b, "t", 0));
    assert_ok(put_txn(&b, p, "b1"));
    put(&w, p, "later", 1);
    assert_int_equal(partition_last_stable(p), 1);
    assert_committed(p, "plain ");
    assert_ok(put_txn(&b, p, "b2"));
    assert_ok(end(&b, true));
    assert_committed(p, "plain "); /* a is still open */
    assert_ok(end(&a, false));
    assert_int_equal(partition_last_stable(p), partition_high_watermark(p));
    assert_committed(p, "plain b1 later b2 ");
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a2"));
    assert_ok(end(&a, true));
    assert_committed(p, "plain b1 later b2 a2 ");
    struct aborted_txn *found;
    assert_int_equal(partition_aborted(p, 0, 3, &found), 1);
    assert_int_equal(found->first, 1);
    free(found);
    assert_int_equal(partition_aborted(p, 7, 9, &found), 0);

    world_restart(&w); /* from the snapshot */
    assert_committed(world_partition(&w, "t", 0), "plain b1 later b2 a2 ");
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, world_partition(&w, "t", 0), "a3"));
    world_die(&w, true); /* without one */
    world_open(&w);
    assert_committed(world_partition(&w, "t", 0), "plain b1 later b2 a2 ");
    assert_ok(init(&a, &w, "a")); /* aborts what was open */
    assert_int_equal(partition_last_stable(world_partition(&w, "t", 0)),
                     partition_high_watermark(world_partition(&w, "t", 0)));
    assert_committed(world_partition(&w, "t", 0), "plain b1 later b2 a2 ");
    world_deinit(&w);
}

static void woken(struct read_wait *w)
{
    w->beyond = -1;
}

static void test_txn__readers_of_committed_wake_when_it_is_decided(void **state)
{
    struct world w;
    struct actor a;
    struct read_wait r = {.wake = woken, .is_committed = true};

    world_init(&w, 2);
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a1"));
    partition_wait(p, &r, 0);
    put(&w, p, "plain", 1);
    world_run(&w, 10);
    assert_int_equal(r.beyond, 0);
    assert_ok(end(&a, true));
    world_run(&w, 10);
    assert_int_equal(r.beyond, -1);
    world_deinit(&w);
}

/* ---- states ---- */
static void test_txn__each_state_answers(void **state)
{
    struct world w;
    struct actor a, old;

    world_init(&w, 3);
    world_open(&w);
    (void)world_topic(&w, "t", 2);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init(&a, &w, "a"));
    assert_int_equal(a.p.epoch, 0);
    assert_int_equal(end(&a, true), ERR_TXN_STATE); /* Empty */
    assert_int_equal(a.detail, TXN_BAD_STATE);
    assert_int_equal(put_txn(&a, p, "x"), ERR_TXN_STATE); /* not added */
    assert_int_equal(add(&a, "none", 0), ERR_NOT_FOUND);
    assert_int_equal(add(&a, "__transaction_state", 0), ERR_NOT_FOUND);
    assert_ok(add(&a, "t", 0));
    assert_int_equal(put_txn(&a, world_partition(&w, "t", 1), "x"), ERR_TXN_STATE);
    assert_ok(put_txn(&a, p, "a1"));
    assert_int_equal(send_batch(&a, p, "plain", 0), ERR_TXN_STATE); /* beside its own transaction */
    assert_ok(end(&a, true));
    assert_ok(end(&a, true)); /* a retry */
    assert_int_equal(end(&a, false), ERR_TXN_STATE);
    assert_int_equal(put_txn(&a, p, "late"), ERR_TXN_STATE);

    old = a;
    assert_ok(init(&a, &w, "a"));
    assert_int_equal(a.p.epoch, 1);
    assert_int_equal(add(&old, "t", 0), ERR_FENCED);
    assert_int_equal(end(&old, true), ERR_FENCED);
    old.p.producer_id += 100;
    assert_int_equal(add(&old, "t", 0), ERR_TXN_STATE);
    assert_int_equal(old.detail, TXN_BAD_MAPPING);

    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a2"));
    old = a;
    assert_int_equal(init_once(&a), ERR_TXN_STATE); /* fences, aborts, comes again */
    assert_int_equal(a.detail, TXN_CONCURRENT);
    world_run(&w, 20);
    assert_ok(init_once(&a));
    assert_int_equal(a.p.epoch, 3);
    assert_int_equal(put_txn(&old, p, "zombie"), ERR_FENCED);
    assert_committed(p, "a1 ");
    world_deinit(&w);
}

static void test_txn__a_producer_that_says_who_it_is(void **state)
{
    struct world w;
    struct actor a;
    struct txn_reply r;
    struct waiting wait = fresh();

    world_init(&w, 4);
    w.options.durability = DURABILITY_OS; /* answers at once */
    world_open(&w);
    assert_ok(init(&a, &w, "a"));
    struct txn_producer p = a.p, before = a.p;
    assert_ok(txn_init(w.b, &p, 1000, &wait.wait, &r, NULL)); /* an epoch of its own accord */
    assert_int_equal(r.epoch, 1);
    assert_ok(txn_init(w.b, &before, 1000, &wait.wait, &r, NULL)); /* the answer was lost */
    assert_int_equal(r.epoch, 1);
    p.epoch = r.epoch;
    assert_ok(txn_init(w.b, &p, 1000, &wait.wait, &r, NULL));
    assert_int_equal(txn_init(w.b, &before, 1000, &wait.wait, &r, NULL), ERR_FENCED);
    p.epoch = r.epoch;
    struct txn_producer successor = {.id = p.id, .producer_id = -1, .epoch = -1};
    assert_ok(txn_init(w.b, &successor, 1000, &wait.wait, &r, NULL)); /* fences: no answer of p's was lost */
    assert_int_equal(txn_init(w.b, &p, 1000, &wait.wait, &r, NULL), ERR_FENCED);
    p.epoch = r.epoch;
    assert_int_equal(txn_init(w.b, &p, 0, &wait.wait, &r, NULL), ERR_INVALID);
    assert_int_equal(r.detail, TXN_BAD_TIMEOUT);
    p.id = BYTES_LIT("");
    assert_int_equal(txn_init(w.b, &p, 1000, &wait.wait, &r, NULL), ERR_INVALID);
    world_deinit(&w);
}

static void test_txn__used_up_epochs_bring_a_new_producer_id(void **state)
{
    struct world w;
    struct actor a;

    world_init(&w, 5);
    w.options.durability = DURABILITY_OS;
    world_open(&w);
    assert_ok(init(&a, &w, "a"));
    int64_t first = a.p.producer_id;
    while (a.p.producer_id == first) {
        int16_t epoch = a.p.epoch;
        assert_ok(init_once(&a));
        if (a.p.producer_id == first)
            assert_int_equal(a.p.epoch, epoch + 1);
        else
            assert_int_equal(epoch, INT16_MAX - 1);
    }
    assert_int_equal(a.p.epoch, 0);
    world_deinit(&w);
}

static void test_txn__time_out_aborts_and_fences(void **state)
{
    struct world w;
    struct actor a;

    world_init(&w, 6);
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a1"));
    world_run(&w, 9000);
    assert_int_equal(partition_last_stable(p), 0);
    world_run(&w, 2000);
    assert_int_equal(partition_last_stable(p), 2);
    assert_int_equal(put_txn(&a, p, "late"), ERR_FENCED);
    assert_int_equal(end(&a, true), ERR_FENCED);
    assert_committed(p, "");

    assert_ok(init(&a, &w, "a")); /* and across a restart */
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a2"));
    world_restart(&w);
    p = world_partition(&w, "t", 0);
    assert_true(partition_last_stable(p) < partition_high_watermark(p));
    world_run(&w, 12000);
    assert_int_equal(partition_last_stable(p), partition_high_watermark(p));
    assert_committed(p, "");
    world_deinit(&w);
}

/* ---- offsets ---- */
static void test_txn__offsets_wait_for_the_end(void **state)
{
    struct world w;
    struct actor a;

    world_init(&w, 7);
    world_open(&w);
    (void)world_topic(&w, "in", 1);
    assert_ok(init(&a, &w, "a"));
    assert_ok(commit_offset(&a, 5));
    assert_int_equal(group_at(&w), -1);
    assert_true(group_offset_is_pending(w.b, BYTES_LIT("g"), BYTES_LIT("in"), 0));
    assert_false(group_offset_is_pending(w.b, BYTES_LIT("h"), BYTES_LIT("in"), 0));
    world_die(&w, true);
    world_open(&w);
    assert_true(group_offset_is_pending(w.b, BYTES_LIT("g"), BYTES_LIT("in"), 0));
    assert_ok(end(&a, true)); /* the transaction outlived the broker */
    assert_int_equal(group_at(&w), 5);
    assert_false(group_offset_is_pending(w.b, BYTES_LIT("g"), BYTES_LIT("in"), 0));
    assert_ok(commit_offset(&a, 9));
    assert_ok(end(&a, false));
    assert_int_equal(group_at(&w), 5);
    world_restart(&w);
    assert_int_equal(group_at(&w), 5);
    world_deinit(&w);
}

static void test_txn__a_topic_may_vanish(void **state)
{
    struct world w;
    struct actor a;

    world_init(&w, 8);
    world_open(&w);
    struct topic *t = world_topic(&w, "t", 1);
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, topic_partition(t, 0), "a1"));
    assert_ok(topic_delete(w.b, t, NULL));
    (void)world_topic(&w, "t", 1); /* another one */
    assert_ok(end(&a, true));
    assert_committed(world_partition(&w, "t", 0), "");
    assert_int_equal(partition_high_watermark(world_partition(&w, "t", 0)), 0);
    world_deinit(&w);
}

/* ---- a disk that is full for a while ---- */
static void test_txn__markers_are_written_when_there_is_room_again(void **state)
{
    struct world w;
    struct actor a;
    bool has_ended = false;

    world_init(&w, 9);
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "a1"));
    sim_disk_set_capacity(w.sim, 1);
    for (int i = 0; i < 5 && !has_ended; i++) /* as a client would */
        has_ended = end(&a, true) == ERR_NONE;
    sim_disk_set_capacity(w.sim, 0);
    for (int i = 0; i < 5 && !has_ended; i++)
        has_ended = end(&a, true) == ERR_NONE;
    assert_true(has_ended);
    world_run(&w, 3000);
    assert_committed(p, "a1 ");
    world_deinit(&w);
}

/* ---- readers that compute ---- */
static void test_txn__a_port_reads_committed_records_only(void **state)
{
    struct world w;
    struct actor a;
    struct port *port;
    struct port_topic t;
    struct port_read r;
    int64_t from, to;

    world_init(&w, 10);
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(broker_port_create(&port, w.b, w.sys->loop, NULL));
    assert_ok(port->topic_find(port, BYTES_LIT("t"), &t, NULL));
    assert_ok(init(&a, &w, "a"));
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "void"));
    assert_ok(port->range(port, t.id, 0, &from, &to, NULL));
    assert_int_equal(to, 0);
    assert_ok(port->read(port, t.id, 0, 0, 1 << 20, &r, NULL));
    assert_int_equal(r.batches.len, 0);
    assert_int_equal(r.next_offset, 0);
    port->release(port, &r);
    assert_ok(end(&a, false));
    assert_ok(port->read(port, t.id, 0, 0, 1 << 20, &r, NULL)); /* the marker is all there is */
    assert_int_equal(r.next_offset, 2);
    assert_int_equal(r.end_offset, 2);
    port->release(port, &r);
    broker_port_destroy(port);
    world_deinit(&w);
}

/* ---- consume, transform, produce; with crashes ---- */
struct ctp {
    struct world w;
    struct actor a;
    int64_t reported; /* inputs whose commit was answered */
    int n_tries;
};

static bool ctp_start(struct ctp *c)
{
    struct topic *t;

    if (broker_open(&c->w.b, c->w.sys, &c->w.options, NULL) != ERR_NONE) return false;
    if (topic_find(c->w.b, BYTES_LIT("in")) == NULL &&
        topic_create(c->w.b, BYTES_LIT("in"), 1, NULL, &t, NULL) != ERR_NONE)
        return false;
    if (topic_find(c->w.b, BYTES_LIT("out")) == NULL &&
        topic_create(c->w.b, BYTES_LIT("out"), 2, NULL, &t, NULL) != ERR_NONE)
        return false;
    return init(&c->a, &c->w, "ctp") == ERR_NONE;
}

/* One input: its output in two partitions and its offset, committed or, now and then, aborted. */
static bool ctp_step(struct ctp *c)
{
    int64_t next = group_at(&c->w) < 0 ? 0 : group_at(&c->w);
    bool is_void = c->n_tries++ % 4 == 2;
    char text[32];

    (void)snprintf(text, sizeof(text), is_void ? "void%lld" : "n%lld", (long long)next);
    for (int32_t i = 0; i < 2; i++) {
        if (add(&c->a, "out", i) != ERR_NONE) return false;
        if (put_txn(&c->a, world_partition(&c->w, "out", i), text) != ERR_NONE) return false;
    }
    if (commit_offset(&c->a, next + 1) != ERR_NONE) return false;
    if (end(&c->a, !is_void) != ERR_NONE) return false;
    if (!is_void) c->reported = next + 1;
    return true;
}

static void ctp_run(struct ctp *c, int n)
{
    for (int i = 0; i < n && group_at(&c->w) < N_INPUTS; i++)
        if (!ctp_step(c)) return;
}

/* All or nothing: both partitions and the offset say the same, and at least what was answered. */
static void ctp_check(struct ctp *c)
{
    char want[1024] = {0};
    int64_t n = group_at(&c->w) < 0 ? 0 : group_at(&c->w);

    assert_true(n >= c->reported);
    for (int64_t i = 0; i < n; i++)
        (void)sprintf(want + strlen(want), "n%lld ", (long long)i);
    for (int32_t i = 0; i < 2; i++) {
        struct partition *p = world_partition(&c->w, "out", i);
        assert_committed(p, want);
        assert_int_equal(partition_last_stable(p), partition_high_watermark(p));
    }
}

static uint64_t run_ctp(uint64_t seed, uint64_t crash_at, uint64_t again_at)
{
    struct ctp c = {0};

    world_init(&c.w, seed);
    if (crash_at > 0) sim_disk_crash_at(c.w.sim, crash_at);
    if (ctp_start(&c)) ctp_run(&c, 100);
    uint64_t ops = sim_disk_ops(c.w.sim);
    struct actor zombie = c.a;
    world_die(&c.w, crash_at > 0);
    if (again_at > 0) {
        sim_disk_crash_at(c.w.sim, again_at);
        if (ctp_start(&c)) ctp_run(&c, 3);
        world_die(&c.w, true);
    }
    assert_true(ctp_start(&c)); /* fences and aborts what was open */
    world_run(&c.w, 10);
    ctp_check(&c);
    if (zombie.p.id.len > 0 && zombie.p.epoch >= 0) {
        assert_int_equal(put_txn(&zombie, world_partition(&c.w, "out", 0), "zombie"), ERR_FENCED);
        assert_int_equal(end(&zombie, true), ERR_FENCED);
    }
    ctp_run(&c, 100);
    assert_int_equal(group_at(&c.w), N_INPUTS);
    ctp_check(&c);
    world_restart(&c.w);
    ctp_check(&c);
    world_deinit(&c.w);
    return ops;
}

static void test_txn__exactly_once_through_power_cuts(void **state)
{
    uint64_t ops = run_ctp(1, 0, 0);

    print_message("%llu disk operations\n", (unsigned long long)ops);
    for (int i = 0; i < TRIALS; i++) {
        uint64_t at = 1 + (uint64_t)i * ops / TRIALS;
        if (i % 30 == 0) print_message("seed %d, crash at %llu\n", i + 1, (unsigned long long)at);
        (void)run_ctp((uint64_t)i + 1, at, i % 3 == 0 ? 1 + (uint64_t)i % 37 : 0);
    }
}

/* ---- the second kind ---- */
/* As the door does it: the partition is added and the batch appended at once, the answer waits for both. */
static enum err_code put_v2(struct actor *a, const char *topic, int32_t partition, const char *value)
{
    struct txn_partition part = {bytes_str(topic), partition, ERR_NONE};
    struct waiting added = fresh();
    struct txn_reply r;
    enum err_code rc = txn_add_partitions(a->w->b, &a->p, &part, 1, &added.wait, &r, NULL);
    if (rc != ERR_NONE) return settled(a, rc, &r, &added);
    rc = put_txn(a, world_partition(a->w, topic, partition), value);
    if (rc != ERR_NONE) {
        append_cancel(&added.wait);
        return rc;
    }
    rc = settled(a, ERR_NONE, &r, &added);
    if (rc != ERR_NONE) a->sequence[partition]--; /* not heard of: comes again */
    return rc;
}

static enum err_code init_v2(struct actor *a, struct world *w, const char *id)
{
    enum err_code rc = init(a, w, id);
    a->p.is_v2 = true;
    return rc;
}

static void test_txn2__each_transaction_has_an_epoch(void **state)
{
    struct world w;
    struct actor a, before, first;

    world_init(&w, 21);
    world_open(&w);
    (void)world_topic(&w, "in", 1);
    (void)world_topic(&w, "t", 2);
    struct partition *p = world_partition(&w, "t", 0);
    assert_ok(init_v2(&a, &w, "a"));
    assert_int_equal(end(&a, true), ERR_TXN_STATE); /* nothing to commit */
    assert_ok(end(&a, false));                      /* but to abort */
    assert_int_equal(a.p.epoch, 1);
    first = a;
    assert_ok(put_v2(&a, "t", 0, "a1"));
    assert_ok(put_v2(&a, "t", 0, "a2"));
    assert_ok(put_v2(&a, "t", 1, "b1"));
    assert_int_equal(put_v2(&a, "none", 0, "x"), ERR_NOT_FOUND);
    before = a;
    assert_ok(end(&a, true));
    assert_int_equal(a.p.epoch, 2);
    assert_committed(p, "a1 a2 ");
    for (int i = 0; i < 2; i++) {
        struct actor again = before;
        assert_ok(end(&again, true)); /* the answer was lost */
        assert_int_equal(again.p.epoch, 2);
        again = before;
        assert_int_equal(end(&again, false), ERR_TXN_STATE);
        assert_int_equal(put_txn(&before, p, "late"), ERR_FENCED);
        world_restart(&w); /* it is remembered */
        p = world_partition(&w, "t", 0);
    }
    assert_int_equal(end(&a, true), ERR_TXN_STATE); /* no retry: its own epoch, and nothing is ongoing */
    assert_ok(put_v2(&a, "t", 0, "a3"));
    assert_int_equal(end(&before, true), ERR_FENCED); /* X7: the delayed end of the last transaction */
    assert_int_equal(end(&before, false), ERR_FENCED);
    assert_int_equal(end(&first, false), ERR_FENCED);
    assert_ok(end(&a, false));
    assert_int_equal(a.p.epoch, 3);
    assert_committed(p, "a1 a2 ");
    assert_ok(end(&a, false)); /* from Complete, too */
    assert_int_equal(a.p.epoch, 4);
    assert_ok(put_v2(&a, "t", 0, "a4"));
    assert_ok(commit_offset(&a, 7));
    assert_ok(end(&a, true));
    assert_committed(p, "a1 a2 a4 ");
    a.p.is_v2 = false; /* an older client goes on with the same id */
    assert_ok(init(&a, &w, "a"));
    assert_int_equal(a.p.epoch, 6);
    assert_ok(add(&a, "t", 0));
    assert_ok(put_txn(&a, p, "old"));
    assert_ok(end(&a, true));
    assert_int_equal(a.p.epoch, 6);
    assert_committed(p, "a1 a2 a4 old ");
    world_deinit(&w);
}

static void test_txn2__used_up_epochs_bring_a_new_producer_id(void **state)
{
    struct world w;
    struct actor a, before;

    world_init(&w, 22);
    w.options.durability = DURABILITY_OS;
    world_open(&w);
    (void)world_topic(&w, "t", 1);
    assert_ok(init_v2(&a, &w, "a"));
    int64_t first = a.p.producer_id;
    while (a.p.epoch < INT16_MAX - 1)
        assert_ok(end(&a, false));
    assert_int_equal(a.p.producer_id, first);
    assert_ok(put_v2(&a, "t", 0, "last"));
    before = a;
    assert_ok(end(&a, true));
    assert_int_not_equal(a.p.producer_id, first);
    assert_int_equal(a.p.epoch, 0);
    world_restart(&w);
    struct actor again = before;
    assert_ok(end(&again, true));
    assert_int_equal(again.p.producer_id, a.p.producer_id);
    assert_int_equal(again.p.epoch, 0);
    assert_int_equal(put_txn(&before, world_partition(&w, "t", 0), "late"), ERR_FENCED);
    assert_ok(put_v2(&a, "t", 0, "next"));
    assert_int_equal(end(&before, true), ERR_TXN_STATE);
    assert_int_equal(before.detail, TXN_BAD_MAPPING);
    assert_ok(end(&a, true));
    assert_committed(world_partition(&w, "t", 0), "last next ");
    world_deinit(&w);
}

/* A producer that lives on while the server's power fails, and asks again what was not answered. */
static enum err_code ctp_op(struct ctp *c, int op, const char *text, int64_t next, bool is_void)
{
    if (op < 2) return put_v2(&c->a, "out", op, text);
    return op == 2 ? commit_offset(&c->a, next + 1) : end(&c->a, !is_void);
}

static enum err_code ctp_op_again(struct ctp *c, uint64_t *crash_at, int op, const char *text, int64_t next,
                                  bool is_void)
{
    for (;;) {
        enum err_code rc = ctp_op(c, op, text, next, is_void);
        if (*crash_at == 0 || sim_disk_ops(c->w.sim) < *crash_at) return rc;
        *crash_at = 0;
        world_die(&c->w, true);
        world_open(&c->w);
        world_run(&c->w, 10);
        if (rc == ERR_NONE) return rc; /* answered before */
    }
}

static bool survivor_step(struct ctp *c, uint64_t *crash_at)
{
    int64_t next = group_at(&c->w) < 0 ? 0 : group_at(&c->w);
    bool is_void = c->n_tries++ % 4 == 2;
    enum err_code rc = ERR_NONE;
    char text[32];

    (void)snprintf(text, sizeof(text), is_void ? "void%lld" : "n%lld", (long long)next);
    for (int op = 0; op < 4 && rc == ERR_NONE; op++)
        rc = ctp_op_again(c, crash_at, op, text, next, is_void);
    if (rc == ERR_NONE && !is_void) c->reported = next + 1;
    if (rc == ERR_NONE) return true;
    if (ctp_op_again(c, crash_at, 3, text, next, true) == ERR_NONE) return true; /* aborted, and on */
    return init_v2(&c->a, &c->w, "ctp") == ERR_NONE;
}

static uint64_t run_survivor(uint64_t seed, uint64_t crash_at)
{
    struct ctp c = {0};

    world_init(&c.w, seed);
    assert_true(ctp_start(&c));
    c.a.p.is_v2 = true;
    uint64_t from = sim_disk_ops(c.w.sim);
    if (crash_at > 0) crash_at += from;
    if (crash_at > 0) sim_disk_crash_at(c.w.sim, crash_at - from);
    for (int i = 0; i < 100 && group_at(&c.w) < N_INPUTS; i++)
        assert_true(survivor_step(&c, &crash_at));
    assert_int_equal(group_at(&c.w), N_INPUTS);
    uint64_t ops = sim_disk_ops(c.w.sim) - from;
    ctp_check(&c);
    world_restart(&c.w);
    ctp_check(&c);
    world_deinit(&c.w);
    return ops;
}

static void test_txn2__a_producer_lives_on_through_power_cuts(void **state)
{
    uint64_t ops = run_survivor(1, 0);

    print_message("%llu disk operations\n", (unsigned long long)ops);
    for (int i = 0; i < TRIALS; i++)
        (void)run_survivor((uint64_t)i + 1, 1 + (uint64_t)i * ops / TRIALS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_txn__undecided_and_aborted_is_not_seen),
        cmocka_unit_test(test_txn__readers_of_committed_wake_when_it_is_decided),
        cmocka_unit_test(test_txn__each_state_answers),
        cmocka_unit_test(test_txn__a_producer_that_says_who_it_is),
        cmocka_unit_test(test_txn__used_up_epochs_bring_a_new_producer_id),
        cmocka_unit_test(test_txn__time_out_aborts_and_fences),
        cmocka_unit_test(test_txn__offsets_wait_for_the_end),
        cmocka_unit_test(test_txn__a_topic_may_vanish),
        cmocka_unit_test(test_txn__markers_are_written_when_there_is_room_again),
        cmocka_unit_test(test_txn__a_port_reads_committed_records_only),
        cmocka_unit_test(test_txn__exactly_once_through_power_cuts),
        cmocka_unit_test(test_txn2__each_transaction_has_an_epoch),
        cmocka_unit_test(test_txn2__used_up_epochs_bring_a_new_producer_id),
        cmocka_unit_test(test_txn2__a_producer_lives_on_through_power_cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
