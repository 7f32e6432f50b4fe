/* test_world.h: a broker in a simulated world, for the tests of this room. Everything fails the test at once when it
 * goes wrong. */
#ifndef WEIR_BROKER_TEST_WORLD_H
#define WEIR_BROKER_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "broker/broker.h"
#include "sys/sim.h"

#define WORLD_WALL_MS 1700000000000ll

struct world {
    struct sim *sim;
    const struct sys *sys;
    struct broker_options options;
    struct broker *b;
};

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        enum err_code rc_ = (call);                                                                                    \
        if (rc_ != ERR_NONE) fail_msg("%s: %s", #call, err_name(rc_));                                                 \
    } while (0)

UNUSED static void world_open(struct world *w)
{
    struct err e = {0};
    if (broker_open(&w->b, w->sys, &w->options, &e) != ERR_NONE) fail_msg("opening: %s", e.text);
}

UNUSED static void world_init(struct world *w, uint64_t seed)
{
    struct sim_options o = {.seed = seed, .wall_start_ms = WORLD_WALL_MS};
    memset(w, 0, sizeof(*w));
    assert_ok(sim_create(&w->sim, &o, NULL));
    w->sys = sim_sys(w->sim);
    w->options = (struct broker_options){.data_dir = "data", .group_initial_delay_ms = -1};
}

UNUSED static void world_run(struct world *w, uint64_t ms)
{
    sim_run_ms(w->sim, ms);
}

UNUSED static void world_deinit(struct world *w)
{
    broker_close(w->b);
    w->b = NULL;
    world_run(w, 1);
    sim_destroy(w->sim);
}

UNUSED static void world_restart(struct world *w)
{
    broker_close(w->b);
    world_run(w, 1);
    world_open(w);
}

/* The process ends without a word; with `power` the machine does. */
UNUSED static void world_die(struct world *w, bool power)
{
    if (power) sim_disk_crash_at(w->sim, 1); /* nothing below reaches the disk */
    broker_abandon(w->b);
    w->b = NULL;
    world_run(w, 1); /* what the loop still holds frees itself */
    if (power)
        sim_disk_power_cycle(w->sim);
    else
        sim_process_kill(w->sim);
}

UNUSED static struct topic *world_topic(struct world *w, const char *name, int32_t n)
{
    struct topic *t = NULL;
    assert_ok(topic_create(w->b, bytes_str(name), n, NULL, &t, NULL));
    return t;
}

UNUSED static struct partition *world_partition(struct world *w, const char *topic, int32_t index)
{
    struct topic *t = topic_find(w->b, bytes_str(topic));
    if (t == NULL) fail_msg("no topic %s", topic);
    return topic_partition(t, index);
}

/* n records "value-0" ... with timestamps ts, ts+1, ... pid < 0: no producer. */
UNUSED static void make_batch(struct buf *out, const char *value, int n, int64_t ts, int64_t pid, int32_t sequence)
{
    struct batch_builder w;
    buf_init(out, 0);
    batch_begin(&w, out, CODEC_NONE);
    if (pid >= 0) batch_set_producer(&w, pid, 0, sequence);
    for (int i = 0; i < n; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), n == 1 ? "%s" : "%s-%d", value, i);
        batch_add(&w, ts + i, BYTES_LIT("k"), bytes_str(text), NULL, 0);
    }
    assert_ok(batch_finish(&w, NULL));
}

/* One batch, durable when it returns. */
UNUSED static int64_t put(struct world *w, struct partition *p, const char *value, int n)
{
    struct append_result r;
    struct buf batch;
    make_batch(&batch, value, n, WORLD_WALL_MS, -1, -1);
    assert_ok(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL));
    buf_deinit(&batch);
    world_run(w, 50);
    assert_true(partition_high_watermark(p) > r.base_offset);
    return r.base_offset;
}

/* "0:a 1:b " of all that is visible. The result is the caller's. */
UNUSED static char *dump(struct partition *p)
{
    int64_t at = partition_log_start(p);
    struct buf out, scratch;

    buf_init(&out, 0);
    buf_init(&scratch, 0);
    while (at < partition_high_watermark(p)) {
        struct log_slice s = {0};
        assert_ok(partition_read(p, at, 1 << 20, &s, NULL));
        for (struct bytes left = s.bytes; left.len > 0;) {
            struct batch_view v;
            struct batch_iter it;
            struct record r;
            bool more = true;
            assert_ok(batch_view_parse(&v, left, NULL));
            assert_ok(batch_check_crc(&v, NULL));
            assert_ok(batch_iter_init(&it, &v, &scratch, NULL));
            for (;;) {
                assert_ok(batch_iter_next(&it, &r, &more, NULL));
                if (!more) break;
                buf_printf(&out, "%lld:%.*s ", (long long)r.offset, BYTES_ARG(r.value));
            }
            left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        }
        at = s.next_offset;
        log_slice_release(&s);
    }
    buf_put_u8(&out, 0);
    buf_deinit(&scratch);
    return (char *)out.ptr;
}

UNUSED static void assert_dump(struct partition *p, const char *want)
{
    char *got = dump(p);
    assert_string_equal(got, want);
    free(got);
}

/* An append that says how it ended. */
struct waiting {
    struct append_wait wait;
    bool is_done;
    enum err_code rc;
};

UNUSED static void waiting_done(struct append_wait *w, enum err_code rc)
{
    struct waiting *x = CONTAINER_OF(w, struct waiting, wait);
    assert_false(x->is_done);
    x->is_done = true;
    x->rc = rc;
}

#endif
