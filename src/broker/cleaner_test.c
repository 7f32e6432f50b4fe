/* cleaner_test.c: compacted topics through the broker: when they are cleaned, what readers and producers see of it, and
 * that a close, a deletion, a kill or a power cut in the middle of a cleaning is no harm. */
#include "broker/broker_int.h"

#include "broker/test_world.h"

#define KEYS 7
#define RECORDS_MAX 4000

static const struct topic_config small = {.compact = true,
                                          .segment_bytes = LIMIT_SEGMENT_BYTES_MIN,
                                          .is_set = 1u << TOPIC_DIRTY_RATIO_PPM,
                                          .number = {[TOPIC_DIRTY_RATIO_PPM] = 0}};

/* What was acknowledged: the newest offset of each key. */
struct told {
    int64_t newest[KEYS];
    int64_t end;
    int32_t sequence;
};

static struct partition *make_topic(struct world *w, const struct topic_config *c)
{
    struct topic *t = NULL;
    assert_ok(topic_create(w->b, BYTES_LIT("t"), 1, c, &t, NULL));
    return topic_partition(t, 0);
}

/* One batch of three records by producer 5, values as long as needed to fill segments. */
static enum err_code send(struct world *w, struct partition *p, struct told *told, int first_key,
                          struct append_wait *wait)
{
    struct batch_builder b;
    struct append_result r;
    struct buf batch;
    char key[8], value[300];

    buf_init(&batch, 0);
    batch_begin(&b, &batch, told->end % 2 ? CODEC_ZSTD : CODEC_NONE);
    batch_set_producer(&b, 5, 0, told->sequence);
    for (int i = 0; i < 3; i++) {
        int n = snprintf(value, sizeof(value), "%lld %0250d", (long long)told->end + i, 0);
        int k = snprintf(key, sizeof(key), "k%d", (first_key + i) % KEYS);
        batch_add(&b, w->sys->clock->wall_ms(w->sys->clock), bytes_of(key, (size_t)k), bytes_of(value, (size_t)n), NULL,
                  0);
    }
    assert_ok(batch_finish(&b, NULL));
    enum err_code rc = partition_append(p, batch.ptr, batch.len, wait, &r, NULL);
    buf_deinit(&batch);
    if (rc != ERR_NONE) return rc;
    assert_int_equal(r.base_offset, told->end);
    told->sequence += 3;
    for (int i = 0; i < 3; i++)
        told->newest[(first_key + i) % KEYS] = told->end + i;
    told->end += 3;
    return rc;
}

static void fill(struct world *w, struct partition *p, struct told *told, int batches)
{
    for (int i = 0; i < batches; i++) {
        assert_ok(send(w, p, told, i, NULL));
        world_run(w, 20);
    }
}

/* Which offsets have a record; each value says its own. */
static int read_all(struct partition *p, int64_t from, bool seen[RECORDS_MAX])
{
    struct buf scratch;
    int n = 0;

    buf_init(&scratch, 0);
    memset(seen, 0, RECORDS_MAX);
    while (from < partition_high_watermark(p)) {
        struct log_slice s = {0};
        assert_ok(partition_read(p, from, 3000, &s, NULL));
        for (struct bytes left = s.bytes; left.len > 0;) {
            struct batch_view v;
            struct batch_iter it;
            struct record r;
            bool more;
            assert_ok(batch_view_parse(&v, left, NULL));
            assert_ok(batch_check_crc(&v, NULL));
            assert_ok(batch_iter_init(&it, &v, &scratch, NULL));
            for (;;) {
                assert_ok(batch_iter_next(&it, &r, &more, NULL));
                if (!more) break;
                assert_int_equal(strtoll((const char *)r.value.ptr, NULL, 10), r.offset);
                seen[r.offset] = true;
                n++;
            }
            left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
        }
        from = s.next_offset;
        log_slice_release(&s);
    }
    buf_deinit(&scratch);
    return n;
}

static void check_newest(struct partition *p, const struct told *told)
{
    bool seen[RECORDS_MAX];
    (void)read_all(p, 0, seen);
    for (int k = 0; k < KEYS; k++)
        if (told->newest[k] > 0 && !seen[told->newest[k]])
            fail_msg("key %d: offset %lld is gone", k, (long long)told->newest[k]);
}

static void test_cleaner__newest_of_each_key_stays(void **state)
{
    struct partition_cleaning look;
    struct broker_stats st;
    struct told told = {0};
    bool seen[RECORDS_MAX];
    struct world w;

    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &small);
    fill(&w, p, &told, 100);
    world_run(&w, 5000);
    check_newest(p, &told);
    assert_true(read_all(p, 0, seen) < 60); /* of 300: the newest, and the active segment */
    partition_cleaning(p, &look);
    assert_int_equal(look.dirty_bytes, 0);
    assert_false(look.is_running || look.is_blocked);
    broker_stats(w.b, &st);
    assert_true(st.cleanings >= 1 && st.cleaned_records > 200 && st.cleaned_bytes_freed > 40000);
    assert_int_equal(st.cleanings_failed, 0);
    /* The producer goes on, also after a restart that has only the log. */
    fill(&w, p, &told, 1);
    world_restart(&w);
    p = world_partition(&w, "t", 0);
    fill(&w, p, &told, 40);
    world_run(&w, 5000);
    check_newest(p, &told);
    assert_true(read_all(p, 0, seen) < 60);
    /* Reads that begin in what is gone begin with a record. */
    struct log_slice s = {0};
    assert_ok(partition_read(p, 0, 1 << 20, &s, NULL));
    assert_false(slice_is_hollow(&s));
    log_slice_release(&s);
    world_deinit(&w);
}

/* A ratio of a half: not before more than half of the sealed bytes are dirty. */
static void test_cleaner__dirty_ratio(void **state)
{
    struct topic_config c = small, half = small;
    struct partition_cleaning look;
    struct broker_stats st;
    struct told told = {0};
    struct world w;

    half.number[TOPIC_DIRTY_RATIO_PPM] = 500000;
    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &c);
    fill(&w, p, &told, 30);
    world_run(&w, 3000);
    assert_ok(topic_alter(w.b, partition_topic(p), &half, NULL));
    broker_stats(w.b, &st);
    uint64_t before = st.cleanings;
    for (int i = 0; i < 40; i++) {
        partition_cleaning(p, &look);
        uint64_t dirty = look.dirty_bytes, clean = look.clean_bytes;
        broker_stats(w.b, &st);
        if (st.cleanings > before) break;
        assert_true(dirty <= clean || i == 0);
        fill(&w, p, &told, 2);
        world_run(&w, 3000);
    }
    assert_true(st.cleanings > before);
    check_newest(p, &told);
    world_deinit(&w);
}

/* min.compaction.lag.ms holds records back, max.compaction.lag.ms closes even a quiet segment. */
static void test_cleaner__lags(void **state)
{
    struct topic_config young = small, old = small;
    struct told told = {0};
    bool seen[RECORDS_MAX];
    struct world w;

    young.is_set |= 1u << TOPIC_MIN_COMPACTION_LAG_MS;
    young.number[TOPIC_MIN_COMPACTION_LAG_MS] = 3600000;
    old.is_set |= 1u << TOPIC_MAX_COMPACTION_LAG_MS;
    old.number[TOPIC_MAX_COMPACTION_LAG_MS] = 60000;
    old.number[TOPIC_DIRTY_RATIO_PPM] = 1000000; /* never because of the ratio */
    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &young);
    fill(&w, p, &told, 40);
    world_run(&w, 60000);
    assert_int_equal(read_all(p, 0, seen), 120);
    world_run(&w, 3700000);
    assert_true(read_all(p, 0, seen) < 60);
    check_newest(p, &told);
    assert_ok(topic_alter(w.b, partition_topic(p), &old, NULL));
    fill(&w, p, &told, 3);
    world_run(&w, 150000);
    assert_int_equal(read_all(p, 0, seen), KEYS); /* nothing is left in an active segment */
    check_newest(p, &told);
    world_deinit(&w);
}

/* The horizon of tombstones passes on a quiet topic: they go all the same. */
static void test_cleaner__tombstones_go_in_time(void **state)
{
    struct topic_config c = small;
    struct told told = {0};
    struct append_result r;
    struct buf batch;
    struct batch_builder b;
    struct log_slice s = {0};
    bool seen[RECORDS_MAX];
    struct world w;

    c.is_set |= 1u << TOPIC_DELETE_RETENTION_MS | 1u << TOPIC_MAX_COMPACTION_LAG_MS;
    c.number[TOPIC_DELETE_RETENTION_MS] = 100000;
    c.number[TOPIC_MAX_COMPACTION_LAG_MS] = 1000;
    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &c);
    fill(&w, p, &told, 2);
    buf_init(&batch, 0);
    batch_begin(&b, &batch, CODEC_NONE);
    for (int k = 0; k < KEYS; k++) {
        char key[8];
        int n = snprintf(key, sizeof(key), "k%d", k);
        batch_add(&b, WORLD_WALL_MS, bytes_of(key, (size_t)n), BYTES_NULL, NULL, 0);
    }
    assert_ok(batch_finish(&b, NULL));
    assert_ok(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL));
    buf_deinit(&batch);
    world_run(&w, 60000);
    assert_ok(partition_read(p, 0, 1 << 20, &s, NULL));
    assert_int_equal(be32_get(s.bytes.ptr + 57), KEYS); /* the tombstones, and nothing before them */
    log_slice_release(&s);
    world_run(&w, 120000);
    assert_int_equal(read_all(p, 0, seen), 0);
    assert_ok(partition_read(p, 0, 1 << 20, &s, NULL));
    assert_true(slice_is_hollow(&s) && s.next_offset == partition_high_watermark(p));
    log_slice_release(&s);
    world_deinit(&w);
}

static void test_cleaner__what_a_compacted_topic_refuses(void **state)
{
    struct topic_config bounded = {.is_set = 1u << TOPIC_TIMESTAMP_BEFORE_MS,
                                   .number = {[TOPIC_TIMESTAMP_BEFORE_MS] = 1000}};
    struct append_result r;
    struct batch_builder b;
    struct buf batch;
    struct world w;

    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &small);
    for (int codec = 0; codec <= CODEC_ZSTD; codec++) {
        for (int bad = 0; bad < 4; bad++) { /* without a key: none, the first, the last, both */
            buf_init(&batch, 0);
            batch_begin(&b, &batch, (enum batch_codec)codec);
            batch_add(&b, WORLD_WALL_MS, bad & 1 ? BYTES_NULL : BYTES_LIT(""), BYTES_LIT("v"), NULL, 0);
            batch_add(&b, WORLD_WALL_MS, bad & 2 ? BYTES_NULL : BYTES_LIT("k"), BYTES_NULL, NULL, 0);
            assert_ok(batch_finish(&b, NULL));
            assert_int_equal(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL), bad ? ERR_INVALID : ERR_NONE);
            buf_deinit(&batch);
        }
    }
    assert_ok(topic_alter(w.b, partition_topic(p), &bounded, NULL));
    for (int age = 999; age <= 1001; age++) {
        buf_init(&batch, 0);
        batch_begin(&b, &batch, CODEC_GZIP);
        int64_t now = w.sys->clock->wall_ms(w.sys->clock);
        batch_add(&b, now, BYTES_NULL, BYTES_LIT("v"), NULL, 0);
        batch_add(&b, now - age, BYTES_NULL, BYTES_LIT("v"), NULL, 0);
        assert_ok(batch_finish(&b, NULL));
        assert_int_equal(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL),
                         age > 1000 ? ERR_TIMESTAMP : ERR_NONE);
        buf_deinit(&batch);
    }
    world_deinit(&w);
}

/* Numbers are in the topic's record; without any it has the form of before. */
static void test_cleaner__configuration_survives(void **state)
{
    struct topic_config all = {.compact = true}, none = {.compact = true};
    struct world w;

    for (int i = 0; i < TOPIC_NUMBERS; i++) {
        all.is_set |= 1u << i;
        all.number[i] = i * 1000 + 1;
    }
    world_init(&w, 1);
    world_open(&w);
    struct partition *p = make_topic(&w, &all);
    world_restart(&w);
    p = world_partition(&w, "t", 0);
    assert_memory_equal(topic_config_given(partition_topic(p)), &all, sizeof(all));
    assert_ok(topic_alter(w.b, partition_topic(p), &none, NULL));
    world_restart(&w);
    p = world_partition(&w, "t", 0);
    assert_int_equal(topic_config_given(partition_topic(p))->is_set, 0);
    for (int i = 0; i < TOPIC_NUMBERS; i++)
        assert_int_equal(topic_config(partition_topic(p))->number[i], topic_number_defaults[i]);
    world_deinit(&w);
}

enum ending { END_CLOSE, END_DELETE, END_KILL, END_POWER, ENDINGS };

/* After each step of the world, in the middle of whatever the cleaner does. */
static void test_cleaner__an_end_at_any_step(void **state)
{
    for (int ending = 0; ending < ENDINGS; ending++) {
        bool was_cleaning = true;
        int n_cleaning = 0;
        for (int steps = 0; steps < 400 && (was_cleaning || steps < 40); steps++) {
            struct told told = {0};
            struct broker_stats st;
            struct world w;
            world_init(&w, (uint64_t)steps + 1);
            world_open(&w);
            struct partition *p = make_topic(&w, &small);
            for (int i = 0; i < 40; i++) {
                assert_ok(send(&w, p, &told, i, NULL));
                world_run(&w, 1);
            }
            world_run(&w, 950);
            for (int i = 0; i < steps; i++)
                (void)sim_step(w.sim);
            broker_stats(w.b, &st);
            was_cleaning = st.is_cleaning;
            n_cleaning += was_cleaning;
            if (ending == END_DELETE) {
                assert_ok(topic_delete(w.b, partition_topic(p), NULL));
                world_run(&w, 100);
                assert_null(topic_find(w.b, BYTES_LIT("t")));
                world_deinit(&w);
                continue;
            }
            if (ending == END_CLOSE)
                world_restart(&w);
            else
                world_die(&w, ending == END_POWER);
            if (ending != END_CLOSE) world_open(&w);
            p = world_partition(&w, "t", 0);
            assert_int_equal(partition_high_watermark(p), told.end);
            check_newest(p, &told);
            assert_ok(send(&w, p, &told, 3, NULL)); /* the producer's sequence is known */
            world_run(&w, 5000);
            check_newest(p, &told);
            world_deinit(&w);
        }
        assert_true(n_cleaning > 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cleaner__newest_of_each_key_stays),
        cmocka_unit_test(test_cleaner__dirty_ratio),
        cmocka_unit_test(test_cleaner__lags),
        cmocka_unit_test(test_cleaner__tombstones_go_in_time),
        cmocka_unit_test(test_cleaner__what_a_compacted_topic_refuses),
        cmocka_unit_test(test_cleaner__configuration_survives),
        cmocka_unit_test(test_cleaner__an_end_at_any_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
