/* What it proves: changes to topics that exist - configuration, number of partitions, the start of a log, forgotten
 * offsets - hold at once, survive a power cut, and leave everything else alone. How: a broker in a simulated world. */
#include "broker/group.h"
#include "broker/test_world.h"

static struct topic *topic_of(struct world *w)
{
    struct topic *t = topic_find(w->b, BYTES_LIT("t"));
    if (t == NULL) fail_msg("no topic");
    return t;
}

static void check_altered(struct world *w)
{
    const struct topic_config *given = topic_config_given(topic_of(w)), *all = topic_config(topic_of(w));

    assert_int_equal(given->retention_ms, 60000);
    assert_int_equal(given->retention_bytes, 0);
    assert_int_equal(given->segment_ms, 5000);
    assert_int_equal(given->timestamp_ahead_ms, 10);
    assert_true(given->log_append_time && given->compact && given->compact_and_delete);
    assert_int_equal(all->batch_bytes_max, 2000);
    assert_true(all->segment_bytes > 0);
    assert_int_equal(all->retention_bytes, broker_options(w->b)->retention_bytes);
}

static void test_alter__holds_at_once_and_survives(void **state)
{
    struct topic_config c = {.retention_ms = 60000,
                             .segment_ms = 5000,
                             .timestamp_ahead_ms = 10,
                             .log_append_time = true,
                             .compact = true,
                             .compact_and_delete = true,
                             .batch_bytes_max = 2000},
                        none = {0};
    struct append_result r;
    struct world w;
    struct buf batch;
    uint32_t pos = 0;
    struct err e = {0};

    world_init(&w, 1);
    world_open(&w);
    struct partition *p = topic_partition(world_topic(&w, "t", 2), 1);
    put(&w, p, "before", 1);
    assert_ok(topic_alter(w.b, topic_of(&w), &c, &e));
    check_altered(&w);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    assert_ok(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL));
    assert_true(r.log_append_time_ms > 0);
    buf_deinit(&batch);
    world_die(&w, true);
    world_open(&w);
    check_altered(&w);
    char *stored = dump(world_partition(&w, "t", 1)); /* "v" may have survived: nobody waited for it */
    assert_memory_equal(stored, "0:before ", 9);
    free(stored);
    world_restart(&w);
    check_altered(&w);
    assert_ok(topic_alter(w.b, topic_of(&w), &none, &e));
    world_restart(&w);
    assert_int_equal(topic_config_given(topic_of(&w))->retention_ms, 0);
    assert_false(topic_config(topic_of(&w))->log_append_time);
    assert_int_equal(topic_alter(w.b, topic_next(w.b, &pos), &none, &e), ERR_DENIED);
    world_deinit(&w);
}

/* A shorter retention takes hold without a restart; a topic that is only compacted loses nothing. */
static void test_alter__retention_holds_at_run_time(void **state)
{
    struct topic_config shorter = {.retention_ms = 1000, .segment_bytes = LIMIT_SEGMENT_BYTES_MIN},
                        compact = {.retention_ms = 1000, .compact = true};
    struct world w;

    world_init(&w, 2);
    world_open(&w);
    struct partition *p = topic_partition(world_topic(&w, "t", 1), 0);
    put(&w, p, "v", 100);
    world_run(&w, 120000);
    assert_int_equal(partition_log_start(p), 0);
    assert_ok(topic_alter(w.b, topic_of(&w), &compact, NULL));
    world_run(&w, 120000);
    assert_int_equal(partition_log_start(p), 0);
    assert_ok(topic_alter(w.b, topic_of(&w), &shorter, NULL));
    world_run(&w, 5000);
    assert_int_equal(partition_log_start(p), 100);
    world_deinit(&w);
}

/* A data directory of before there were segment.ms and the rest: the record has no place for them. */
static void test_alter__records_of_version_1_are_read(void **state)
{
    uint8_t key[17] = {'t', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, value[43] = {1};
    struct batch_builder builder;
    struct world w;
    struct buf batch;
    uint32_t pos = 0;
    int64_t base;

    world_init(&w, 8);
    world_open(&w);
    be64_put(value + 1, 9);     /* creation order */
    be32_put(value + 9, 2);     /* partitions */
    be64_put(value + 13, 5000); /* retention.ms */
    value[41] = 2;              /* log append time */
    value[42] = 't';
    buf_init(&batch, 0);
    batch_begin(&builder, &batch, CODEC_NONE);
    batch_add(&builder, WORLD_WALL_MS, bytes_of(key, sizeof key), bytes_of(value, sizeof value), NULL, 0);
    assert_ok(batch_finish(&builder, NULL));
    struct log *meta = partition_log(topic_partition(topic_next(w.b, &pos), 0));
    assert_ok(log_append(meta, batch.ptr, batch.len, WORLD_WALL_MS, &base, NULL));
    assert_ok(log_sync(meta, NULL));
    buf_deinit(&batch);
    world_restart(&w);
    assert_int_equal(topic_partition_count(topic_of(&w)), 2);
    assert_int_equal(topic_config_given(topic_of(&w))->retention_ms, 5000);
    assert_int_equal(topic_config_given(topic_of(&w))->segment_ms, 0);
    assert_true(topic_config(topic_of(&w))->log_append_time);
    put(&w, world_partition(&w, "t", 1), "v", 1);
    world_deinit(&w);
}

static void test_alter__failed_write_changes_nothing(void **state)
{
    struct topic_config c = {.retention_ms = 1234};
    struct world w;
    struct err e = {0};

    world_init(&w, 3);
    world_open(&w);
    world_topic(&w, "t", 1);
    sim_disk_set_capacity(w.sim, 1);
    assert_int_equal(topic_alter(w.b, topic_of(&w), &c, &e), ERR_NO_SPACE);
    assert_int_equal(topic_add_partitions(w.b, topic_of(&w), 3, &e), ERR_NO_SPACE);
    assert_int_equal(topic_config_given(topic_of(&w))->retention_ms, 0);
    assert_int_equal(topic_partition_count(topic_of(&w)), 1);
    sim_disk_set_capacity(w.sim, UINT64_MAX);
    assert_ok(topic_add_partitions(w.b, topic_of(&w), 3, &e));
    world_restart(&w);
    assert_int_equal(topic_partition_count(topic_of(&w)), 3);
    world_deinit(&w);
}

static void test_partitions__are_added_for_good(void **state)
{
    struct world w;
    struct err e = {0};
    uint32_t pos = 0;

    world_init(&w, 4);
    world_open(&w);
    struct topic *t = world_topic(&w, "t", 1);
    struct partition *first = topic_partition(t, 0);
    put(&w, first, "a", 1);
    assert_int_equal(topic_add_partitions(w.b, t, 1, &e), ERR_RANGE);
    assert_int_equal(topic_add_partitions(w.b, t, 0, &e), ERR_RANGE);
    assert_int_equal(topic_add_partitions(w.b, t, LIMIT_PARTITIONS_PER_TOPIC_MAX + 1, &e), ERR_LIMIT);
    assert_int_equal(topic_add_partitions(w.b, topic_next(w.b, &pos), 2, &e), ERR_DENIED);
    for (int32_t n = 2; n <= 9; n++)
        assert_ok(topic_add_partitions(w.b, t, n, &e));
    assert_int_equal(topic_partition_count(t), 9);
    assert_ptr_equal(topic_partition(t, 0), first); /* partitions do not move */
    assert_null(topic_partition(t, 9));
    for (int32_t i = 0; i < 9; i++)
        assert_int_equal(partition_index(topic_partition(t, i)), i);
    put(&w, topic_partition(t, 8), "b", 1);
    world_die(&w, true);
    world_open(&w);
    t = topic_of(&w);
    assert_int_equal(topic_partition_count(t), 9);
    assert_dump(topic_partition(t, 0), "0:a ");
    assert_dump(topic_partition(t, 8), "0:b ");
    assert_ok(topic_add_partitions(w.b, t, 40, &e));
    put(&w, topic_partition(t, 39), "c", 1);
    world_restart(&w);
    assert_dump(world_partition(&w, "t", 39), "0:c ");
    assert_ok(topic_delete(w.b, topic_of(&w), &e));
    world_restart(&w);
    assert_null(topic_find(w.b, BYTES_LIT("t")));
    world_deinit(&w);
}

/* Whatever the moment of a power cut, the topic has the old or the new number and all its data. */
static void test_partitions__crash_at_every_write(void **state)
{
    bool is_over = false;

    for (uint64_t at = 1; !is_over; at++) {
        struct world w;

        assert_true(at < 200);
        world_init(&w, 100 + at);
        world_open(&w);
        put(&w, topic_partition(world_topic(&w, "t", 2), 1), "a", 1);
        sim_disk_crash_at(w.sim, at);
        enum err_code rc = topic_add_partitions(w.b, topic_of(&w), 4, NULL);
        is_over = rc == ERR_NONE && !sim_disk_is_down(w.sim);
        broker_abandon(w.b);
        w.b = NULL;
        world_run(&w, 1);
        sim_disk_power_cycle(w.sim);
        world_open(&w);
        int32_t n = topic_partition_count(topic_of(&w));
        assert_true(n == 4 || (n == 2 && rc != ERR_NONE));
        assert_dump(world_partition(&w, "t", 1), "0:a ");
        if (n == 2) assert_ok(topic_add_partitions(w.b, topic_of(&w), 3, NULL));
        put(&w, world_partition(&w, "t", 2), "b", 1);
        assert_dump(world_partition(&w, "t", 2), "0:b ");
        world_deinit(&w);
    }
}

struct wake {
    struct read_wait wait;
    int n;
};

static void count_wake(struct read_wait *w)
{
    CONTAINER_OF(w, struct wake, wait)->n++;
}

static void trim_and_look(enum durability durability)
{
    struct topic_config compact = {.compact = true}, both = {.compact = true, .compact_and_delete = true};
    struct wake k = {.wait = {.wake = count_wake}};
    struct world w;
    struct err e = {0};
    uint32_t pos = 0;

    world_init(&w, 5);
    w.options.durability = durability;
    w.options.interval_ms = 1000;
    world_open(&w);
    struct partition *p = topic_partition(world_topic(&w, "t", 1), 0);
    put(&w, p, "v", 4);
    put(&w, p, "w", 2);
    partition_wait(p, &k.wait, 100);
    assert_int_equal(partition_trim(p, 7, &e), ERR_RANGE);
    assert_int_equal(partition_trim(p, -2, &e), ERR_RANGE);
    assert_ok(partition_trim(p, 0, &e));
    world_run(&w, 5);
    assert_int_equal(k.n, 0);
    assert_ok(partition_trim(p, 4, &e));
    assert_int_equal(partition_log_start(p), 4);
    assert_int_equal(k.n, 0); /* not inside the call */
    world_run(&w, 5);
    assert_int_equal(k.n, 1);
    assert_ok(partition_trim(p, 2, &e)); /* gone already */
    assert_int_equal(partition_log_start(p), 4);
    assert_dump(p, "4:w-0 5:w-1 ");

    assert_ok(topic_alter(w.b, topic_of(&w), &compact, &e));
    assert_int_equal(partition_trim(p, -1, &e), ERR_LIMIT);
    assert_ok(topic_alter(w.b, topic_of(&w), &both, &e));
    assert_int_equal(partition_trim(topic_partition(topic_next(w.b, &pos), 0), -1, &e), ERR_DENIED);
    world_die(&w, false);
    world_open(&w);
    p = world_partition(&w, "t", 0);
    assert_dump(p, "4:w-0 5:w-1 ");
    assert_ok(partition_trim(p, -1, &e));
    assert_int_equal(partition_log_start(p), 6);
    assert_int_equal(log_size_bytes(partition_log(p)), 0);
    assert_int_equal(put(&w, p, "x", 1), 6);
    if (durability == DURABILITY_SYNC) {
        world_die(&w, true);
        world_open(&w);
    } else {
        world_restart(&w);
    }
    p = world_partition(&w, "t", 0);
    assert_int_equal(partition_log_start(p), 6);
    assert_dump(p, "6:x ");
    world_deinit(&w);
}

static void test_trim__moves_the_start_for_good(void **state)
{
    trim_and_look(DURABILITY_SYNC);
    trim_and_look(DURABILITY_INTERVAL);
    trim_and_look(DURABILITY_OS);
}

/* A sync is under way while the records before it go. */
static void test_trim__during_a_sync(void **state)
{
    struct waiting x = {.wait = {.done = waiting_done}};
    struct append_result r;
    struct world w;
    struct buf batch;

    world_init(&w, 6);
    world_open(&w);
    struct partition *p = topic_partition(world_topic(&w, "t", 1), 0);
    put(&w, p, "a", 3);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    assert_ok(partition_append(p, batch.ptr, batch.len, &x.wait, &r, NULL));
    buf_deinit(&batch);
    assert_ok(partition_trim(p, -1, NULL));
    assert_true(partition_log_start(p) >= 3);
    world_run(&w, 50);
    assert_true(x.is_done);
    assert_int_equal(x.rc, ERR_NONE);
    world_restart(&w);
    assert_int_equal(partition_high_watermark(world_partition(&w, "t", 0)), 4);
    world_deinit(&w);
}

static enum err_code forget(struct world *w, const char *group, struct offset_delete *d, int n,
                            enum group_detail *detail)
{
    return group_delete_offsets(w->b, bytes_str(group), d, n, detail, NULL);
}

static void test_offsets__are_forgotten_for_good(void **state)
{
    struct offset_commit c[2] = {{.topic = BYTES_LIT("t"), .partition = 0, .offset = 5},
                                 {.topic = BYTES_LIT("t"), .partition = 1, .offset = 6}};
    struct offset_delete d[4] = {
        {BYTES_LIT("t"), 0, 0}, {BYTES_LIT("t"), 0, 0}, {BYTES_LIT("t"), 9, 0}, {BYTES_LIT("u"), 0, 0}};
    struct waiting x = {.wait = {.done = waiting_done}};
    struct committed_offset o;
    enum group_detail detail;
    bool is_durable;
    struct world w;

    world_init(&w, 7);
    world_open(&w);
    world_topic(&w, "t", 2);
    assert_int_equal(forget(&w, "g", d, 4, &detail), ERR_NOT_FOUND);
    assert_int_equal(detail, GROUP_NOT_FOUND);
    assert_ok(
        group_commit(w.b, BYTES_LIT("g"), BYTES_LIT(""), BYTES_NULL, -1, c, 2, &x.wait, &is_durable, &detail, NULL));
    world_run(&w, 10);
    assert_ok(forget(&w, "g", d, 4, &detail));
    assert_int_equal(d[0].rc, ERR_NONE);
    assert_int_equal(d[1].rc, ERR_NONE);
    assert_int_equal(d[2].rc, ERR_NOT_FOUND);
    assert_int_equal(d[3].rc, ERR_NOT_FOUND);
    world_die(&w, true);
    world_open(&w);
    group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("t"), 0, &o);
    assert_int_equal(o.offset, -1);
    group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("t"), 1, &o);
    assert_int_equal(o.offset, 6);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alter__holds_at_once_and_survives),
        cmocka_unit_test(test_alter__retention_holds_at_run_time),
        cmocka_unit_test(test_alter__records_of_version_1_are_read),
        cmocka_unit_test(test_alter__failed_write_changes_nothing),
        cmocka_unit_test(test_partitions__are_added_for_good),
        cmocka_unit_test(test_partitions__crash_at_every_write),
        cmocka_unit_test(test_trim__moves_the_start_for_good),
        cmocka_unit_test(test_trim__during_a_sync),
        cmocka_unit_test(test_offsets__are_forgotten_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
