/* damage_test.c: a store whose bits flip and whose side files are cut, zeroed, lost or left over.
 *
 * Promise: every flipped bit of every file is found by verify and named, with offsets when records are concerned; no
 * state of a side file keeps a log from opening, whole. Method: a store of about 100 KB in memory, each bit of it
 * flipped, one at a time; each side file at every length from 0 to its own, and so on. */
#include "log/log_int.h"

#include "log/producer.h"
#include "log/testing.h"

#if defined(__SANITIZE_ADDRESS__)
#define FLIP_STEP 17 /* a sample: the whole takes minutes there */
#elif defined(__SANITIZE_THREAD__)
#define FLIP_STEP 641 /* nothing races here */
#else
#define FLIP_STEP 1
#endif
#define N_LOGS 12
#define N_RECORDS 40

static void log_dir(char out[64], int i)
{
    (void)snprintf(out, 64, DIR_ROOT "/p%d", i);
}

/* One record by a producer, with the content that check_content expects. */
static void batch_by(struct world *w, int64_t offset, int pad, int64_t producer_id, int32_t sequence)
{
    struct batch_builder b;
    char value[512];

    buf_clear(&w->batch);
    batch_begin(&b, &w->batch, CODEC_NONE);
    batch_set_producer(&b, producer_id, 0, sequence);
    int len = snprintf(value, sizeof(value), "r%lld-0", (long long)offset);
    for (; len < pad; len++)
        value[len] = '.';
    batch_add(&b, 1000 + offset, BYTES_NULL, bytes_of(value, (size_t)len), NULL, 0);
    ok(batch_finish(&b, &w->e));
}

/* Two sealed segments and an active one, with indexes of several entries, a checkpoint and a snapshot with producers,
 * open and aborted transactions. Closed cleanly. */
static void make_store(struct world *w, const char *dir)
{
    struct log_options o = options_small();
    struct producers *p = producers_create();
    struct log *l;

    o.segment_bytes = 1u << 20;
    ok(log_open(&l, w->sys, dir, &o, 1, NULL, &w->e));
    for (int i = 0; i < N_RECORDS; i++) {
        struct batch_view v;
        int64_t base;
        batch_by(w, i, 60 + i * 37 % 200, 7 + i % 3, i / 3);
        ok(log_append(l, w->batch.ptr, w->batch.len, w->now_ms, &base, &w->e));
        ok(batch_view_parse(&v, buf_bytes(&w->batch), &w->e));
        producers_record(p, &v, w->now_ms);
        if (i % 5 == 4) segment_close_interval(l->active); /* more entries than so few bytes would make */
        if (i == 14 || i == 29) ok(log_roll(l, &w->e));
    }
    ok(log_sync(l, &w->e));
    ok(producers_save(p, w->fs, dir, log_durable_offset(l), &w->e));
    log_close(l);
    producers_destroy(p);
    check_undamaged(w, dir);
}

struct names {
    char name[16][80];
    uint64_t size[16];
    int n;
    bool wants_side_files;
};

static bool on_file(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct names *all = arg;
    size_t len = strlen(name);

    if (is_dir || (all->wants_side_files && strcmp(name + len - 4, ".log") == 0)) return true;
    assert_true(all->n < 16);
    (void)snprintf(all->name[all->n], sizeof(all->name[0]), "%s", name);
    all->size[all->n++] = size;
    return true;
}

static void test_damage__every_flipped_bit_is_named(void **state)
{
    struct world world, *w = &world;
    uint64_t n_bits = 0, n_bytes = 0, n_named = 0;
    char dir[64], path[160];

    world_open(w, 1);
    for (int i = 0; i < N_LOGS; i++) {
        struct names all = {0};
        log_dir(dir, i);
        make_store(w, dir);
        ok(w->fs->list(w->fs, dir, on_file, &all, &w->e));
        assert_int_equal(all.n, 3 + 3 + 2);
        for (int f = 0; f < all.n; f++) {
            bool is_log = strstr(all.name[f], ".log") != NULL;
            (void)snprintf(path, sizeof(path), "%s/%s", dir, all.name[f]);
            n_bytes += all.size[f];
            for (uint64_t bit = (uint64_t)i % FLIP_STEP; bit < 8 * all.size[f]; bit += FLIP_STEP) {
                struct damages found = {0};
                assert_true(sim_disk_flip_bit(w->sim, path, bit / 8, (unsigned)(bit % 8)));
                enum err_code rc = log_verify(w->sys, dir, note_damage, &found, NULL, &w->e);
                /* A version number whose checksum is right cannot come from one bit. */
                if (rc != ERR_NONE || found.n == 0 || (is_log && (found.n_real == 0 || found.last.offset_from < 0)))
                    fail_msg("%s bit %llu: %s, %d found", path, (unsigned long long)bit, err_name(rc), found.n);
                n_named += is_log;
                assert_true(sim_disk_flip_bit(w->sim, path, bit / 8, (unsigned)(bit % 8)));
                n_bits++;
            }
        }
        check_undamaged(w, dir);
    }
    print_message("%llu bits of %llu bytes, %llu with offsets\n", (unsigned long long)n_bits,
                  (unsigned long long)n_bytes, (unsigned long long)n_named);
    assert_true(n_bytes > 80000);
    world_close(w);
}

/* What verify says of a side file is harmless, the log opens with everything, and is in order afterwards. */
static void check_opens_whole(struct world *w, const char *dir, const char *what, uint64_t n)
{
    struct log_options o = options_small();
    struct damages found = {0};
    struct log_recovery r;
    struct log *l;

    o.segment_bytes = 1u << 20;
    ok(log_verify(w->sys, dir, note_damage, &found, NULL, &w->e));
    if (found.n_real > 0) fail_msg("%s %llu: %s: %s", what, (unsigned long long)n, found.file, found.what);
    ok(log_open(&l, w->sys, dir, &o, 2, &r, &w->e));
    if (r.start_offset != 0 || r.end_offset != N_RECORDS || r.corrupt_from != -1 || r.cut_bytes != 0)
        fail_msg("%s %llu: opens with %lld to %lld", what, (unsigned long long)n, (long long)r.start_offset,
                 (long long)r.end_offset);
    check_content(w, l, 0, N_RECORDS, 1 << 20, 0);
    log_close(l);
}

static void test_damage__side_files_in_any_state(void **state)
{
    struct world world, *w = &world;
    struct names all = {.wants_side_files = true};
    struct buf good[16], spoilt;
    char path[160];
    uint64_t n_states = 0;

    world_open(w, 2);
    buf_init(&spoilt, 0);
    make_store(w, DIR_LOG);
    ok(w->fs->list(w->fs, DIR_LOG, on_file, &all, &w->e));
    assert_int_equal(all.n, 3 + 2);
    for (int f = 0; f < all.n; f++) {
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", all.name[f]);
        buf_init(&good[f], 0);
        assert_true(file_read(w, path, &good[f]));
    }
    for (int f = 0; f < all.n; f++) {
        for (uint64_t cut = 0; cut <= all.size[f] + 1; cut++) {
            for (int how = 0; how < 3; how++) { /* cut; zeros from there on; zeros up to there */
                for (int i = 0; i < all.n; i++) {
                    (void)snprintf(path, sizeof(path), DIR_LOG "/%s", all.name[i]);
                    file_write(w, path, buf_bytes(&good[i]));
                }
                (void)snprintf(path, sizeof(path), DIR_LOG "/%s", all.name[f]);
                buf_clear(&spoilt);
                buf_put(&spoilt, good[f].ptr, good[f].len);
                size_t at = cut < good[f].len ? (size_t)cut : good[f].len;
                if (how == 1) memset(spoilt.ptr + at, 0, spoilt.len - at);
                if (how == 2) memset(spoilt.ptr, 0, at);
                file_write(w, path, bytes_of(spoilt.ptr, how == 0 ? at : spoilt.len));
                if (cut > all.size[f]) ok(w->fs->unlink(w->fs, path, &w->e));
                check_opens_whole(w, DIR_LOG, path, cut);
                n_states++;
            }
        }
    }
    print_message("%llu states\n", (unsigned long long)n_states);
    for (int f = 0; f < all.n; f++)
        buf_deinit(&good[f]);
    buf_deinit(&spoilt);
    world_close(w);
}

/* Replacements half made, names that look like ours, directories in the way. */
static void test_damage__stray_files(void **state)
{
    static const char *const strays[] = {"producers.snap.tmp",
                                         "checkpoint.tmp",
                                         "00000000000000000000.log.tmp",
                                         "00000000000000000000.idx.tmp",
                                         ".tmp",
                                         "x.tmp",
                                         "0.log",
                                         "note.txt",
                                         "00000000000000000007.idx",
                                         "99999999999999999999.log"};
    struct world world, *w = &world;
    char path[160];

    world_open(w, 3);
    make_store(w, DIR_LOG);
    for (size_t i = 0; i < ARRAY_LEN(strays); i++) {
        (void)snprintf(path, sizeof(path), DIR_LOG "/%s", strays[i]);
        file_write(w, path, BYTES_LIT("left over"));
        check_opens_whole(w, DIR_LOG, strays[i], i);
    }
    ok(w->fs->mkdir(w->fs, DIR_LOG "/directory.tmp", &w->e));
    check_opens_whole(w, DIR_LOG, "directory.tmp", 0);
    assert_false(w->fs->exists(w->fs, DIR_LOG "/producers.snap.tmp"));
    assert_true(w->fs->exists(w->fs, DIR_LOG "/note.txt"));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage__every_flipped_bit_is_named),
        cmocka_unit_test(test_damage__side_files_in_any_state),
        cmocka_unit_test(test_damage__stray_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
