/* What it proves: an implementation of port/port.h keeps P1-P4 and the promises of each call. How: small worlds, one
 * promise each; nothing here knows which implementation it talks to. */
#include "conformance/port_conformance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/batch.h"

#define PUMPS_MAX 10000

static const struct port_conformance *suite;

/* One test's world, and what the callbacks saw. */
struct world {
    void *w;
    unsigned wakes;
    unsigned answers;
    enum err_code rc;
    bool want_snapshot;
    struct buf restored; /* "o<partition>=<next>;" and "<key>=<value>;" in the order restored */
};

static struct port *port_of(struct world *t)
{
    return suite->port(t->w);
}

static int world_setup(void **state)
{
    struct world *t = calloc(1, sizeof *t);
    t->w = suite->make(suite->arg);
    buf_init(&t->restored, 0);
    *state = t;
    return t->w ? 0 : -1;
}

static int world_teardown(void **state)
{
    struct world *t = *state;
    suite->destroy(t->w);
    buf_deinit(&t->restored);
    free(t);
    return 0;
}

static void on_wake(void *arg)
{
    ((struct world *)arg)->wakes++;
}

static void on_commit(void *arg, enum err_code rc, bool want_snapshot, const struct err *e)
{
    struct world *t = arg;
    t->answers++;
    t->rc = rc;
    t->want_snapshot = want_snapshot;
    assert_true((e != NULL) == (rc != ERR_NONE));
}

static void on_offset(void *arg, const struct port_offset *o)
{
    struct world *t = arg;
    buf_printf(&t->restored, "o%d=%lld;", (int)o->partition, (long long)o->next);
}

static void on_state(void *arg, struct bytes key, struct bytes value)
{
    struct world *t = arg;
    buf_printf(&t->restored, "%.*s=%.*s;", BYTES_ARG(key), BYTES_ARG(value));
}

static struct port_unit *unit_open(struct world *t, const char *name)
{
    struct port_restore r = {.offset = on_offset, .state = on_state, .arg = t};
    struct port_unit *u = NULL;
    buf_clear(&t->restored);
    enum err_code rc = port_of(t)->unit_open(port_of(t), bytes_str(name), &r, &u, NULL);
    assert_int_equal(rc, ERR_NONE);
    return u;
}

static void assert_restored(struct world *t, const char *part, bool there)
{
    buf_put_u8(&t->restored, 0);
    t->restored.len--;
    assert_int_equal(strstr((const char *)t->restored.ptr, part) != NULL, there);
}

static struct port_topic topic_make(struct world *t, const char *name, int32_t n)
{
    struct port_topic out = {0};
    assert_int_equal(port_of(t)->topic_create(port_of(t), bytes_str(name), n, &out, NULL), ERR_NONE);
    assert_int_equal(out.n_partitions, n);
    return out;
}

static void batch_make(struct buf *out, const char *value, int n)
{
    struct batch_builder b;
    buf_init(out, 0);
    batch_begin(&b, out, CODEC_NONE);
    for (int i = 0; i < n; i++)
        batch_add(&b, 1000 + i, BYTES_LIT("k"), bytes_str(value), NULL, 0);
    assert_int_equal(batch_finish(&b, NULL), ERR_NONE);
}

static void append(struct world *t, uint64_t topic, int32_t partition, const char *value, int n)
{
    struct buf b;
    batch_make(&b, value, n);
    assert_int_equal(port_of(t)->append(port_of(t), topic, partition, buf_bytes(&b), NULL), ERR_NONE);
    buf_deinit(&b);
}

/* "0:a 1:a 2:b " of everything that is visible from `offset` on. */
static void read_all(struct world *t, uint64_t topic, int32_t partition, int64_t offset, size_t max_bytes,
                     struct buf *out)
{
    struct port *p = port_of(t);
    struct buf scratch;
    buf_init(&scratch, 0);
    buf_clear(out);
    for (int turn = 0; turn < PUMPS_MAX; turn++) {
        struct port_read r = {0};
        assert_int_equal(p->read(p, topic, partition, offset, max_bytes, &r, NULL), ERR_NONE);
        struct bytes left = r.batches;
        while (left.len > 0) {
            struct batch_view v;
            struct batch_iter it;
            struct record rec;
            bool more;
            assert_int_equal(batch_view_parse(&v, left, NULL), ERR_NONE);
            assert_int_equal(batch_check_crc(&v, NULL), ERR_NONE);
            assert_int_equal(batch_iter_init(&it, &v, &scratch, NULL), ERR_NONE);
            while (batch_iter_next(&it, &rec, &more, NULL) == ERR_NONE && more)
                if (rec.offset >= offset) buf_printf(out, "%lld:%.*s ", (long long)rec.offset, BYTES_ARG(rec.value));
            left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        }
        bool end = r.batches.len == 0;
        assert_true(r.next_offset >= offset);
        assert_true(end || r.next_offset > offset);
        offset = r.next_offset;
        p->release(p, &r);
        if (end) break;
    }
    buf_deinit(&scratch);
    buf_put_u8(out, 0);
}

static void assert_topic(struct world *t, uint64_t topic, int32_t partition, const char *want)
{
    struct buf got;
    buf_init(&got, 0);
    read_all(t, topic, partition, 0, 1 << 20, &got);
    assert_string_equal((const char *)got.ptr, want);
    buf_deinit(&got);
}

static void pump_until_answers(struct world *t, unsigned n)
{
    for (int i = 0; i < PUMPS_MAX && t->answers < n; i++)
        (void)suite->pump(t->w);
    assert_int_equal(t->answers, n);
}

static void pump_dry(struct world *t)
{
    for (int i = 0; i < PUMPS_MAX && suite->pump(t->w); i++) {
    }
}

/* One commit: offset of partition 0 of `source`, one state entry, one output. Parts that are NULL or 0 are left out. */
struct mini {
    uint64_t source, sink;
    int64_t next;
    const char *key, *value, *output;
    bool is_snapshot;
};
static enum err_code commit_start(struct world *t, struct port_unit *u, const struct mini *m)
{
    struct port_offset o = {.topic = m->source, .partition = 0, .next = m->next};
    struct port_state_change c = {.key = m->key ? bytes_str(m->key) : BYTES_NULL,
                                  .value = m->value ? bytes_str(m->value) : BYTES_NULL};
    struct buf b = {0};
    if (m->output) batch_make(&b, m->output, 1);
    struct port_output out = {.topic = m->sink, .partition = 0, .batch = buf_bytes(&b)};
    struct port_commit commit = {.offsets = &o,
                                 .n_offsets = m->source != 0,
                                 .changes = &c,
                                 .n_changes = m->key != NULL,
                                 .outputs = &out,
                                 .n_outputs = m->output != NULL,
                                 .is_snapshot = m->is_snapshot};
    enum err_code rc = port_of(t)->commit(port_of(t), u, &commit, on_commit, t, NULL);
    memset(&commit, 0x5a, sizeof commit); /* borrowed for the call only */
    if (m->output) {
        memset(b.ptr, 0x5a, b.len);
        buf_deinit(&b);
    }
    return rc;
}

static void commit_done(struct world *t, struct port_unit *u, const struct mini *m)
{
    unsigned before = t->answers;
    assert_int_equal(commit_start(t, u, m), ERR_NONE);
    assert_int_equal(t->answers, before); /* never inside the call */
    pump_until_answers(t, before + 1);
    assert_int_equal(t->rc, ERR_NONE);
}

/* ---- topics, definitions ---- */

static void test_topics__found_created_deleted(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic found, again;
    struct err e = {0};
    int64_t start, end;
    assert_int_equal(p->topic_find(p, BYTES_LIT("orders"), &found, &e), ERR_NOT_FOUND);
    struct port_topic made = topic_make(t, "orders", 3);
    assert_int_equal(p->topic_find(p, BYTES_LIT("orders"), &found, &e), ERR_NONE);
    assert_true(found.id == made.id && found.n_partitions == 3);
    assert_int_equal(p->topic_create(p, BYTES_LIT("orders"), 1, &again, &e), ERR_EXISTS);
    assert_int_equal(p->topic_create(p, BYTES_LIT("no spaces"), 1, &again, &e), ERR_INVALID);
    assert_int_equal(p->topic_delete(p, BYTES_LIT("orders"), &e), ERR_NONE);
    assert_int_equal(p->topic_find(p, BYTES_LIT("orders"), &found, &e), ERR_NOT_FOUND);
    assert_int_equal(p->topic_delete(p, BYTES_LIT("orders"), &e), ERR_NOT_FOUND);
    assert_int_equal(p->range(p, made.id, 0, &start, &end, &e), ERR_NOT_FOUND);
}

static bool on_definition(void *arg, struct bytes name, struct bytes text)
{
    buf_printf(arg, "%.*s=%.*s;", BYTES_ARG(name), BYTES_ARG(text));
    return true;
}

static void assert_definitions(struct world *t, const char *kind, const char *want)
{
    struct buf got;
    struct port *p = port_of(t);
    buf_init(&got, 0);
    assert_int_equal(p->definitions(p, kind, on_definition, &got, NULL), ERR_NONE);
    buf_put_u8(&got, 0);
    assert_string_equal((const char *)got.ptr, want);
    buf_deinit(&got);
}

static void test_definitions__kept_in_order_across_restart(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    assert_definitions(t, "stream", "");
    assert_int_equal(p->define(p, "stream", BYTES_LIT("b"), BYTES_LIT("1"), NULL), ERR_NONE);
    assert_int_equal(p->define(p, "stream", BYTES_LIT("a"), BYTES_LIT("2"), NULL), ERR_NONE);
    assert_int_equal(p->define(p, "flow", BYTES_LIT("a"), BYTES_LIT("3"), NULL), ERR_NONE);
    assert_int_equal(p->define(p, "stream", BYTES_LIT("a"), BYTES_LIT("4"), NULL), ERR_NONE);
    assert_definitions(t, "stream", "b=1;a=4;");
    assert_definitions(t, "flow", "a=3;");
    suite->restart(t->w);
    p = port_of(t);
    assert_definitions(t, "stream", "b=1;a=4;");
    assert_int_equal(p->undefine(p, "stream", BYTES_LIT("b"), NULL), ERR_NONE);
    assert_int_equal(p->undefine(p, "stream", BYTES_LIT("b"), NULL), ERR_NOT_FOUND);
    assert_definitions(t, "stream", "a=4;");
    assert_definitions(t, "flow", "a=3;");
}

/* ---- reading ---- */

static void test_read__whole_batches_and_ranges(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic top = topic_make(t, "in", 2);
    struct port_read r = {0};
    int64_t start, end;
    struct buf got;
    buf_init(&got, 0);
    assert_int_equal(p->range(p, top.id, 1, &start, &end, NULL), ERR_NONE);
    assert_true(start == 0 && end == 0);
    assert_int_equal(p->read(p, top.id, 1, 0, 100, &r, NULL), ERR_NONE); /* nothing there yet */
    assert_int_equal(r.batches.len, 0);
    assert_int_equal(r.next_offset, 0);
    p->release(p, &r);

    append(t, top.id, 1, "a", 3);
    append(t, top.id, 1, "b", 2);
    assert_topic(t, top.id, 0, "");
    assert_topic(t, top.id, 1, "0:a 1:a 2:a 3:b 4:b ");
    read_all(t, top.id, 1, 1, 1, &got); /* max_bytes below one batch: still one batch at a time */
    assert_string_equal((const char *)got.ptr, "1:a 2:a 3:b 4:b ");
    assert_int_equal(p->range(p, top.id, 1, &start, &end, NULL), ERR_NONE);
    assert_true(start == 0 && end == 5);
    assert_int_equal(p->read(p, top.id, 1, 6, 100, &r, NULL), ERR_RANGE);
    assert_int_equal(p->read(p, top.id, 1, -1, 100, &r, NULL), ERR_RANGE);
    assert_int_equal(p->read(p, top.id, 2, 0, 100, &r, NULL), ERR_NOT_FOUND);
    buf_deinit(&got);
}

static void test_watch__wakes_between_calls_until_unwatched(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic top = topic_make(t, "in", 2);
    assert_int_equal(p->watch(p, top.id, on_wake, t, NULL), ERR_NONE);
    pump_dry(t);
    t->wakes = 0;
    append(t, top.id, 0, "a", 1);
    append(t, top.id, 1, "a", 1);
    assert_int_equal(t->wakes, 0); /* not inside append */
    pump_dry(t);
    assert_in_range(t->wakes, 1, 2); /* merged or not, but at least once */
    unsigned seen = t->wakes;
    pump_dry(t);
    assert_int_equal(t->wakes, seen);
    append(t, top.id, 0, "b", 1);
    pump_dry(t);
    assert_true(t->wakes > seen);
    seen = t->wakes;
    assert_int_equal(p->topic_delete(p, BYTES_LIT("in"), NULL), ERR_NONE);
    pump_dry(t);
    assert_true(t->wakes > seen);
    p->unwatch(p, top.id, t);

    struct port_topic other = topic_make(t, "other", 1);
    assert_int_equal(p->watch(p, other.id, on_wake, t, NULL), ERR_NONE);
    p->unwatch(p, other.id, t);
    seen = t->wakes;
    append(t, other.id, 0, "c", 1);
    pump_dry(t);
    assert_int_equal(t->wakes, seen);
}

/* ---- commits ---- */

static void test_commit__restores_offsets_state_outputs(void **state)
{
    struct world *t = *state;
    struct port_topic in = topic_make(t, "in", 1), out = topic_make(t, "out", 1);
    append(t, in.id, 0, "x", 4);
    struct port_unit *u = unit_open(t, "flow-a");
    assert_int_equal(t->restored.len, 0);
    commit_done(
        t, u, &(struct mini){.source = in.id, .next = 2, .key = "k1", .value = "v1", .sink = out.id, .output = "one"});
    commit_done(
        t, u, &(struct mini){.source = in.id, .next = 3, .key = "k2", .value = "v2", .sink = out.id, .output = "two"});
    commit_done(t, u, &(struct mini){.source = in.id, .next = 4, .key = "k1", .value = "v3"});
    commit_done(t, u, &(struct mini){.key = "k2"}); /* deletes */
    assert_topic(t, out.id, 0, "0:one 1:two ");     /* P4 */
    port_of(t)->unit_close(port_of(t), u);

    u = unit_open(t, "flow-a");
    assert_restored(t, "o0=4;", true);
    assert_restored(t, "k1=v3;", true);
    assert_restored(t, "k2=", false);
    port_of(t)->unit_close(port_of(t), u);
    suite->restart(t->w);
    u = unit_open(t, "flow-a");
    assert_restored(t, "o0=4;", true);
    assert_restored(t, "k1=v3;", true);
    assert_restored(t, "k2=", false);
    struct port_unit *v = unit_open(t, "flow-b");
    assert_int_equal(t->restored.len, 0); /* units do not see each other */
    port_of(t)->unit_close(port_of(t), u);
    port_of(t)->unit_close(port_of(t), v);
}

static void test_commit__many_live_through_restart(void **state)
{
    struct world *t = *state;
    struct port_topic in = topic_make(t, "in", 1), out = topic_make(t, "out", 1);
    struct port_unit *u = unit_open(t, "f");
    struct buf want;
    buf_init(&want, 0);
    bool snapshot = false;
    for (int i = 0; i < 60; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k%d", i % 7);
        snprintf(value, sizeof value, "v%d", i);
        buf_printf(&want, "%d:%s ", i, value);
        struct mini m = {.source = in.id, .next = i + 1, .key = key, .value = value, .sink = out.id, .output = value};
        if (snapshot) { /* what was before is dropped: only this entry lives on */
            m.is_snapshot = true;
            snapshot = false;
        } else if (t->want_snapshot && i < 50) {
            snapshot = true;
        }
        commit_done(t, u, &m);
        if (i % 13 == 12) {
            suite->restart(t->w);
            u = unit_open(t, "f");
            char offset[16], entry[40];
            snprintf(offset, sizeof offset, "o0=%d;", i + 1);
            snprintf(entry, sizeof entry, "%s=%s;", key, value);
            assert_restored(t, offset, true);
            assert_restored(t, entry, true);
        }
    }
    buf_put_u8(&want, 0);
    assert_topic(t, out.id, 0, (const char *)want.ptr);
    buf_deinit(&want);
    port_of(t)->unit_close(port_of(t), u);
}

static void test_commit__snapshot_drops_what_was_before(void **state)
{
    struct world *t = *state;
    struct port_topic in = topic_make(t, "in", 1);
    struct port_unit *u = unit_open(t, "f");
    commit_done(t, u, &(struct mini){.source = in.id, .next = 0, .key = "old", .value = "1"});
    commit_done(t, u, &(struct mini){.source = in.id, .next = 0, .key = "new", .value = "2", .is_snapshot = true});
    suite->restart(t->w);
    u = unit_open(t, "f");
    assert_restored(t, "old=", false);
    assert_restored(t, "new=2;", true);
    commit_done(t, u, &(struct mini){.key = "later", .value = "3"});
    suite->restart(t->w);
    u = unit_open(t, "f");
    assert_restored(t, "new=2;", true);
    assert_restored(t, "later=3;", true);
    port_of(t)->unit_close(port_of(t), u);
}

/* P1, P2, P3: a commit under way when the process dies appears whole or not at all, and exactly once. */
static void test_commit__under_way_is_all_or_nothing(void **state)
{
    struct world *t = *state;
    struct port_topic in = topic_make(t, "in", 1), out = topic_make(t, "out", 1);
    append(t, in.id, 0, "x", 4);
    struct port_unit *u = unit_open(t, "f");
    commit_done(t, u,
                &(struct mini){.source = in.id, .next = 1, .key = "k", .value = "1", .sink = out.id, .output = "one"});
    assert_int_equal(
        commit_start(
            t, u,
            &(struct mini){.source = in.id, .next = 2, .key = "k", .value = "2", .sink = out.id, .output = "two"}),
        ERR_NONE);
    suite->restart(t->w);
    pump_dry(t);
    u = unit_open(t, "f");
    buf_put_u8(&t->restored, 0);
    bool kept = strstr((const char *)t->restored.ptr, "o0=2;") != NULL;
    t->restored.len--;
    assert_restored(t, kept ? "k=2;" : "k=1;", true);
    assert_restored(t, kept ? "k=1;" : "k=2;", false);
    assert_topic(t, out.id, 0, kept ? "0:one 1:two " : "0:one ");
    commit_done(
        t, u, &(struct mini){.source = in.id, .next = 3, .key = "k", .value = "3", .sink = out.id, .output = "three"});
    assert_topic(t, out.id, 0, kept ? "0:one 1:two 2:three " : "0:one 1:three ");
    port_of(t)->unit_close(port_of(t), u);
}

static void test_commit__close_under_way_is_decided_at_open(void **state)
{
    struct world *t = *state;
    struct port_topic in = topic_make(t, "in", 1), out = topic_make(t, "out", 1);
    struct port_unit *u = unit_open(t, "f");
    assert_int_equal(
        commit_start(
            t, u,
            &(struct mini){.source = in.id, .next = 0, .key = "k", .value = "1", .sink = out.id, .output = "one"}),
        ERR_NONE);
    port_of(t)->unit_close(port_of(t), u);
    u = unit_open(t, "f");
    buf_put_u8(&t->restored, 0);
    bool kept = strstr((const char *)t->restored.ptr, "k=1;") != NULL;
    pump_dry(t);
    assert_int_equal(t->answers, 0); /* done is not called after unit_close */
    assert_topic(t, out.id, 0, kept ? "0:one " : "");
    port_of(t)->unit_close(port_of(t), u);
}

static void test_commit__errors_change_nothing(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic in = topic_make(t, "in", 1), gone = topic_make(t, "gone", 1);
    struct port_unit *u = unit_open(t, "f"), *second = NULL;
    assert_int_equal(p->topic_delete(p, BYTES_LIT("gone"), NULL), ERR_NONE);
    enum err_code rc = commit_start(
        t, u, &(struct mini){.source = in.id, .next = 0, .key = "k", .value = "1", .sink = gone.id, .output = "x"});
    if (rc == ERR_NONE) { /* refused later, by the answer */
        pump_until_answers(t, 1);
        rc = t->rc;
    }
    assert_int_equal(rc, ERR_NOT_FOUND);
    struct port_restore none = {0};
    assert_int_equal(p->unit_open(p, BYTES_LIT("f"), &none, &second, NULL), ERR_BUSY);
    assert_int_equal(p->unit_delete(p, BYTES_LIT("f"), NULL), ERR_BUSY);
    p->unit_close(p, u);
    u = unit_open(t, "f");
    assert_restored(t, "k=", false);
    p->unit_close(p, u);
}

static void test_unit_delete__forgets(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic in = topic_make(t, "in", 1);
    struct port_unit *u = unit_open(t, "f");
    commit_done(t, u, &(struct mini){.source = in.id, .next = 0, .key = "k", .value = "1"});
    p->unit_close(p, u);
    assert_int_equal(p->unit_delete(p, BYTES_LIT("f"), NULL), ERR_NONE);
    u = unit_open(t, "f");
    assert_int_equal(t->restored.len, 0);
    p->unit_close(p, u);
    suite->restart(t->w);
    u = unit_open(t, "f");
    assert_int_equal(t->restored.len, 0);
    port_of(t)->unit_close(port_of(t), u);
}

static void test_append__bad_batches_are_refused(void **state)
{
    struct world *t = *state;
    struct port *p = port_of(t);
    struct port_topic in = topic_make(t, "in", 1);
    struct buf b;
    batch_make(&b, "x", 1);
    b.ptr[b.len - 2] ^= 0x40;
    assert_int_equal(p->append(p, in.id, 0, buf_bytes(&b), NULL), ERR_CORRUPT);
    assert_int_equal(p->append(p, in.id, 0, bytes_slice(buf_bytes(&b), 0, b.len - 1), NULL), ERR_CORRUPT);
    assert_topic(t, in.id, 0, "");
    buf_deinit(&b);
}

int port_conformance_run(const struct port_conformance *c)
{
#define PORT_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        PORT_TEST(test_topics__found_created_deleted),
        PORT_TEST(test_definitions__kept_in_order_across_restart),
        PORT_TEST(test_read__whole_batches_and_ranges),
        PORT_TEST(test_watch__wakes_between_calls_until_unwatched),
        PORT_TEST(test_commit__restores_offsets_state_outputs),
        PORT_TEST(test_commit__many_live_through_restart),
        PORT_TEST(test_commit__snapshot_drops_what_was_before),
        PORT_TEST(test_commit__under_way_is_all_or_nothing),
        PORT_TEST(test_commit__close_under_way_is_decided_at_open),
        PORT_TEST(test_commit__errors_change_nothing),
        PORT_TEST(test_unit_delete__forgets),
        PORT_TEST(test_append__bad_batches_are_refused),
    };
    suite = c;
    return _cmocka_run_group_tests(c->name, tests, ARRAY_LEN(tests), NULL, NULL);
}
