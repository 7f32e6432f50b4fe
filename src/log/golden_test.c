/* golden_test.c: logs that earlier versions wrote are opened and read right, and this version still writes the same
 * bytes. `golden_test --write DIR` writes a new golden directory; a change of format gets a new one (v2, ...) and keeps
 * the old. */
#include "log/log_int.h"

#include "log/producer.h"
#include "log/testing.h"
#include "sys/os.h"

#define N_BATCHES 12
static const char *const golden_files[] = {"00000000000000000000.idx",
                                           "00000000000000000000.log",
                                           "00000000000000000018.idx",
                                           "00000000000000000018.log",
                                           "checkpoint",
                                           "producers.snap"};

/* Offsets 0..35: batches of three records with keys and headers; a new segment at 18. */
static void write_golden(struct world *w, const char *dir)
{
    struct log_options o = options_small();
    struct producers *p = producers_create();
    struct log *l;
    struct batch_view v;

    ok(log_open(&l, w->sys, dir, &o, 1, NULL, &w->e));
    for (int i = 0; i < N_BATCHES; i++) {
        struct batch_builder b;
        struct record_header header = {BYTES_LIT("ce_type"), BYTES_LIT("order.placed")};
        int64_t base;
        buf_clear(&w->batch);
        batch_begin(&b, &w->batch, CODEC_NONE);
        batch_set_producer(&b, 42, 0, 3 * i);
        for (int k = 0; k < 3; k++) {
            char key[32], value[64];
            int offset = 3 * i + k;
            int n_key = snprintf(key, sizeof(key), "order-%d", offset % 5);
            int n_value = snprintf(value, sizeof(value), "{\"n\":%d,\"amount\":%d.25}", offset, 100 + offset);
            batch_add(&b, 1700000000000 + 1000 * offset, bytes_of(key, (size_t)n_key), bytes_of(value, (size_t)n_value),
                      &header, 1);
        }
        ok(batch_finish(&b, &w->e));
        if (i == N_BATCHES / 2) ok(log_roll(l, &w->e));
        ok(log_append(l, w->batch.ptr, w->batch.len, 1700000000000 + 3000 * i, &base, &w->e));
        ok(batch_view_parse(&v, buf_bytes(&w->batch), &w->e));
        producers_record(p, &v, 1700000000000);
    }
    ok(log_sync(l, &w->e));
    ok(producers_save(p, w->fs, dir, log_durable_offset(l), &w->e));
    log_close(l);
    producers_destroy(p);
}

static void read_real(struct world *w, const char *name, struct buf *out)
{
    struct world real = *w;
    char path[512];
    real.fs = os_fs();
    (void)snprintf(path, sizeof(path), GOLDEN_DIR "/v1/%s", name);
    if (!file_read(&real, path, out)) fail_msg("%s is missing", path);
}

static void test_golden__v1_is_read(void **state)
{
    struct world world, *w = &world;
    struct log_options o = options_small();
    struct log_recovery r;
    struct log_slice s;
    struct batch_view v;
    struct batch_iter it;
    struct record rec;
    struct buf b;
    struct log *l;
    int64_t offset = 0;
    char path[128];
    bool more;

    world_open(w, 1);
    buf_init(&b, 0);
    ok(w->fs->mkdir(w->fs, DIR_LOG, &w->e));
    for (size_t i = 0; i < ARRAY_LEN(golden_files); i++) {
        read_real(w, golden_files[i], &b);
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", golden_files[i]);
        file_write(w, path, buf_bytes(&b));
    }
    check_undamaged(w, DIR_LOG);
    ok(log_open(&l, w->sys, DIR_LOG, &o, 2, &r, &w->e));
    assert_int_equal(r.start_offset, 0);
    assert_int_equal(r.end_offset, 36);
    assert_int_equal(r.scanned_bytes, 0);
    assert_int_equal(r.cut_bytes, 0);
    while (offset < 36) {
        ok(log_read(l, offset, 36, 1, &s, &w->e));
        ok(batch_view_parse(&v, s.bytes, &w->e));
        ok(batch_check_crc(&v, &w->e));
        assert_int_equal(v.leader_epoch, 1);
        ok(batch_iter_init(&it, &v, &w->scratch, &w->e));
        for (ok(batch_iter_next(&it, &rec, &more, &w->e)); more; ok(batch_iter_next(&it, &rec, &more, &w->e))) {
            char value[64];
            (void)snprintf(value, sizeof(value), "{\"n\":%d,\"amount\":%d.25}", (int)offset, 100 + (int)offset);
            assert_int_equal(rec.offset, offset);
            assert_int_equal(rec.timestamp, 1700000000000 + 1000 * offset);
            assert_true(bytes_equal_str(rec.value, value));
            assert_int_equal(rec.header_count, 1);
            offset++;
        }
        assert_int_equal(s.next_offset, offset);
        log_slice_release(&s);
    }
    struct producers *p = producers_create();
    int64_t covered;
    ok(producers_load(p, w->fs, DIR_LOG, &covered, &w->e));
    assert_int_equal(covered, 36);
    assert_int_equal(producers_last_sequence(p, 42, NULL), 35);
    producers_destroy(p);
    log_close(l);
    buf_deinit(&b);
    world_close(w);
}

static void test_golden__v1_is_written(void **state)
{
    struct world world, *w = &world;
    struct buf want, have;
    char path[128];

    world_open(w, 1);
    buf_init(&want, 0);
    buf_init(&have, 0);
    write_golden(w, DIR_LOG);
    for (size_t i = 0; i < ARRAY_LEN(golden_files); i++) {
        read_real(w, golden_files[i], &want);
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", golden_files[i]);
        assert_true(file_read(w, path, &have));
        assert_int_equal(have.len, want.len);
        assert_memory_equal(have.ptr, want.ptr, want.len);
    }
    buf_deinit(&want);
    buf_deinit(&have);
    world_close(w);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        struct world world, *w = &world;
        struct sys real;
        world_open(w, 1);
        real = *w->sys;
        real.fs = w->fs = os_fs();
        w->sys = &real;
        write_golden(w, argv[2]);
        world_close(w);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__v1_is_read),
        cmocka_unit_test(test_golden__v1_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
