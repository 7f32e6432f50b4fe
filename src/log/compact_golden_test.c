/* compact_golden_test.c: a compacted log that an earlier version wrote is opened and read right, and this version still
 * writes the same bytes. `compact_golden_test --write DIR` writes a new golden directory. */
#include "log/compact_testing.h"
#include "sys/os.h"

static const char *const golden_files[] = {"00000000000000000000.idx",
                                           "00000000000000000000.log",
                                           "00000000000000000013.idx",
                                           "00000000000000000013.log",
                                           "checkpoint",
                                           "compaction",
                                           "producers.snap"};

/* Eleven records of two keys by producer 3, a tombstone, an aborted transaction of producer 5, all sealed and cleaned
 * twice; then two more records. */
static void write_store(struct part *p)
{
    struct world *w = p->w;
    struct batch_builder b;

    for (int i = 0; i < 5; i++) {
        buf_clear(&w->batch);
        batch_begin(&b, &w->batch, CODEC_NONE);
        if (i != 2) batch_set_producer(&b, i == 3 ? 5 : 3, 0, p->sequence[i == 3 ? 5 : 3]);
        if (i == 3) batch_set_attributes(&b, BATCH_ATTR_TRANSACTIONAL);
        for (int k = 0; k < 3; k++)
            batch_add(&b, w->now_ms + 10 * i + k, k == 1 ? BYTES_LIT("b") : BYTES_LIT("a"),
                      i == 2 && k == 1 ? BYTES_NULL : BYTES_LIT("value"), NULL, 0);
        ok(batch_finish(&b, &w->e));
        ok(append(p));
        if (i != 2) p->sequence[i == 3 ? 5 : 3] += 3;
        if (i == 3) {
            p->open[5] = 9;
            ok(end_txn(p, 5, false));
            seal(p);
            ok(clean(p, &options_test, NULL));
            w->now_ms += 1000;
            ok(clean(p, &options_test, NULL));
        }
    }
    ok(log_sync(p->l, &w->e));
    ok(producers_save(p->p, w->fs, DIR_LOG, log_durable_offset(p->l), &w->e));
    part_close(p);
}

static void read_real(struct world *w, const char *name, struct buf *out)
{
    struct world real = *w;
    char path[512];
    real.fs = os_fs();
    (void)snprintf(path, sizeof(path), GOLDEN_DIR "/v1-compacted/%s", name);
    if (!file_read(&real, path, out)) fail_msg("%s is missing", path);
}

static void test_golden__compacted_store_is_written(void **state)
{
    struct world world, *w = &world;
    struct part part, *p = &part;
    struct buf want, have;
    char path[128];

    part_begin(p, w, 1);
    write_store(p);
    buf_init(&want, 0);
    buf_init(&have, 0);
    for (size_t i = 0; i < ARRAY_LEN(golden_files); i++) {
        read_real(w, golden_files[i], &want);
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", golden_files[i]);
        assert_true(file_read(w, path, &have));
        assert_int_equal(have.len, want.len);
        assert_memory_equal(have.ptr, want.ptr, want.len);
    }
    buf_deinit(&want);
    buf_deinit(&have);
    free(p->m);
    world_close(w);
}

/* "offset:count" of each batch. */
static void test_golden__compacted_store_is_read(void **state)
{
    static const char want[] = "0-2:0 3-5:0 6-8:2 9-11:0 12-12:1 13-15:3 ";
    struct world world, *w = &world;
    struct log_options o = options_small();
    struct log_recovery r;
    struct log_slice s;
    struct batch_view v;
    struct buf text, b;
    struct log *l;
    char path[128];

    world_open(w, 1);
    buf_init(&text, 0);
    buf_init(&b, 0);
    ok(w->fs->mkdir(w->fs, DIR_LOG, &w->e));
    for (size_t i = 0; i < ARRAY_LEN(golden_files); i++) {
        read_real(w, golden_files[i], &b);
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", golden_files[i]);
        file_write(w, path, buf_bytes(&b));
    }
    check_undamaged(w, DIR_LOG);
    ok(log_open(&l, w->sys, DIR_LOG, &o, 2, &r, &w->e));
    assert_int_equal(r.end_offset, 16);
    assert_int_equal(r.cut_bytes, 0);
    assert_int_equal(l->cleaned.clean_until, 13);
    for (int64_t offset = 0; offset < 16; offset = s.next_offset) {
        ok(log_read(l, offset, 16, 1, &s, &w->e));
        ok(batch_view_parse(&v, s.bytes, &w->e));
        ok(batch_check_crc(&v, &w->e));
        buf_printf(&text, "%lld-%lld:%d ", (long long)v.base_offset, (long long)batch_last_offset(&v),
                   (int)v.record_count);
        log_slice_release(&s);
    }
    buf_put_u8(&text, 0);
    assert_string_equal((char *)text.ptr, want);
    buf_deinit(&text);
    buf_deinit(&b);
    log_close(l);
    world_close(w);
}

static bool copy_out(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct world *w = ((void **)arg)[0];
    const char *dir = ((void **)arg)[1];
    struct world real = *w;
    struct buf b;
    char path[512];

    if (is_dir) return true;
    buf_init(&b, 0);
    (void)snprintf(path, sizeof(path), DIR_LOG "/%s", name);
    assert_true(file_read(w, path, &b));
    real.fs = os_fs();
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file_write(&real, path, buf_bytes(&b));
    buf_deinit(&b);
    return true;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        struct world world, *w = &world;
        struct part part, *p = &part;
        void *arg[2] = {w, argv[2]};
        part_begin(p, w, 1);
        write_store(p);
        ok(w->fs->list(w->fs, DIR_LOG, copy_out, arg, &w->e));
        free(p->m);
        world_close(w);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__compacted_store_is_read),
        cmocka_unit_test(test_golden__compacted_store_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
