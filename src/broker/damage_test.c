/* What it proves: damage in what the broker keeps for itself is named, never silent, and never the end of the data: a
 * damaged _weir_meta or __transaction_state refuses to open and says how to go on, repair goes on with every topic;
 * damaged offsets do not stop an open; weir.meta and the lock open in every state; a newer format is refused without a
 * changed byte. How: flipped bits and cut files on a simulated disk, a power cut at every write of a repair. */
#include "base/crc32c.h"
#include "broker/test_world.h"

#include "broker/group.h"

#define META_DIR "data/topics/_weir_meta-776569722d6d65746100000000000001/0"

static void commit_offset(struct world *w, int64_t offset)
{
    struct waiting x = {.wait = {.done = waiting_done}};
    struct offset_commit c = {.topic = BYTES_LIT("a"), .partition = 0, .offset = offset, .leader_epoch = -1};
    enum group_detail detail;
    bool is_durable = false;

    assert_ok(
        group_commit(w->b, BYTES_LIT("g"), BYTES_LIT(""), BYTES_NULL, -1, &c, 1, &x.wait, &is_durable, &detail, NULL));
    world_run(w, 50);
    assert_true(is_durable || (x.is_done && x.rc == ERR_NONE));
}

/* Three topics with a record each, a definition, two commits; closed. */
static void make_data(struct world *w, uint64_t seed)
{
    world_init(w, seed);
    world_open(w);
    put(w, topic_partition(world_topic(w, "a", 1), 0), "in a", 1);
    put(w, topic_partition(world_topic(w, "b", 3), 2), "in b", 1);
    assert_ok(broker_define(w->b, "k", BYTES_LIT("name"), BYTES_LIT("text"), NULL));
    put(w, topic_partition(world_topic(w, "c", 1), 0), "in c", 1);
    commit_offset(w, 1);
    commit_offset(w, 2);
    broker_close(w->b);
    w->b = NULL;
    world_run(w, 1);
}

static void check_data(struct world *w)
{
    assert_dump(world_partition(w, "a", 0), "0:in a ");
    assert_dump(world_partition(w, "b", 2), "0:in b ");
    assert_dump(world_partition(w, "c", 0), "0:in c ");
    assert_int_equal(topic_partition_count(topic_find(w->b, BYTES_LIT("b"))), 3);
}

static uint64_t size_of(struct world *w, const char *path)
{
    struct file *f;
    uint64_t size = 0;
    assert_ok(w->sys->fs->open(w->sys->fs, path, FS_READ, &f, NULL));
    assert_ok(w->sys->fs->size(w->sys->fs, f, &size, NULL));
    w->sys->fs->close(w->sys->fs, f);
    return size;
}

static enum err_code open_with(struct world *w, bool repair, struct err *e)
{
    w->options.repair = repair;
    enum err_code rc = broker_open(&w->b, w->sys, &w->options, e);
    w->options.repair = false;
    if (rc != ERR_NONE) world_run(w, 1);
    return rc;
}

/* A byte in the middle of each record of _weir_meta, one at a time. */
static void test_damage__meta_is_refused_and_repaired(void **state)
{
    struct world w;
    uint64_t size = 0;
    int n_refused = 0;

    for (uint64_t at = 30; at == 30 || at < size; at += 41) {
        struct err e = {0};
        make_data(&w, 1);
        size = size_of(&w, META_DIR "/00000000000000000000.log");
        assert_true(sim_disk_flip_bit(w.sim, META_DIR "/00000000000000000000.log", at, (unsigned)(at % 8)));
        enum err_code rc = open_with(&w, false, &e);
        if (rc == ERR_NONE) { /* a bit that nothing of the broker's reads; the log's own check has it */
            broker_close(w.b);
            w.b = NULL;
            world_run(&w, 1);
        } else {
            n_refused++;
            assert_int_equal(rc, ERR_CORRUPT);
            assert_non_null(strstr(e.text, "_weir_meta"));
            assert_non_null(strstr(e.hint, "weir repair"));
        }
        assert_ok(open_with(&w, true, &e));
        check_data(&w);
        put(&w, topic_partition(world_topic(&w, "new", 1), 0), "goes on", 1);
        world_restart(&w); /* without repair */
        check_data(&w);
        assert_dump(world_partition(&w, "new", 0), "0:goes on ");
        commit_offset(&w, 7);
        if (rc != ERR_NONE) assert_true(w.sys->fs->exists(w.sys->fs, "data/quarantine"));
        world_deinit(&w);
    }
    assert_true(n_refused > 10);
}

/* A while later: the kernel has written what the close left to it. Without its checkpoint a log takes the first bad batch
 * for a torn tail. */
static void sync_checkpoint(struct world *w)
{
    struct file *f;
    assert_ok(w->sys->fs->open(w->sys->fs, META_DIR "/checkpoint", FS_WRITE, &f, NULL));
    assert_ok(w->sys->fs->sync(w->sys->fs, f, NULL));
    w->sys->fs->close(w->sys->fs, f);
    assert_ok(w->sys->fs->sync_dir(w->sys->fs, META_DIR, NULL));
}

/* The power goes at each write of a repair: afterwards it can be repaired or has been. */
static void test_damage__repair_survives_power_cuts(void **state)
{
    for (uint64_t k = 1;; k++) {
        struct world w;
        struct err e = {0};

        make_data(&w, k);
        sync_checkpoint(&w);
        assert_true(sim_disk_flip_bit(w.sim, META_DIR "/00000000000000000000.log", 100, 1));
        sim_disk_crash_at(w.sim, k);
        enum err_code rc = open_with(&w, true, &e);
        bool went_through = !sim_disk_is_down(w.sim);
        if (rc == ERR_NONE) world_die(&w, true);
        sim_disk_crash_at(w.sim, 0);
        sim_disk_power_cycle(w.sim);
        rc = open_with(&w, false, &e);
        if (rc != ERR_NONE) {
            assert_int_equal(rc, ERR_CORRUPT);
            if (open_with(&w, true, &e) != ERR_NONE) fail_msg("cut at %d: %s", (int)k, e.text);
        }
        check_data(&w);
        world_restart(&w);
        check_data(&w);
        world_deinit(&w);
        if (went_through) {
            assert_true(k > 10);
            break;
        }
    }
}

struct found_dir {
    const char *prefix;
    char path[256];
};

static bool on_dir(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct found_dir *f = arg;
    if (strncmp(name, f->prefix, strlen(f->prefix)) != 0) return true;
    (void)snprintf(f->path, sizeof(f->path), "data/topics/%s/0/00000000000000000000.log", name);
    return false;
}

/* Older offsets are served, named, and commits go on at once. */
static void test_damage__offsets_do_not_stop_an_open(void **state)
{
    struct committed_offset o;
    struct world w;
    struct found_dir f = {.prefix = "__consumer_offsets-"};
    uint64_t size = 0;

    for (uint64_t at = 30; at == 30 || at < size; at += 53) {
        make_data(&w, 3);
        assert_ok(w.sys->fs->list(w.sys->fs, "data/topics", on_dir, &f, NULL));
        size = size_of(&w, f.path);
        assert_true(sim_disk_flip_bit(w.sim, f.path, at, 2));
        world_open(&w);
        check_data(&w);
        group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("a"), 0, &o);
        assert_true(o.offset == 2 || o.offset == 1 || o.offset == -1);
        commit_offset(&w, 9);
        world_die(&w, true);
        world_open(&w);
        group_offset(w.b, BYTES_LIT("g"), BYTES_LIT("a"), 0, &o);
        assert_int_equal(o.offset, 9);
        world_deinit(&w);
    }
}

static void write_file(struct world *w, const char *path, const uint8_t *bytes, size_t len)
{
    struct file *f;
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    assert_ok(w->sys->fs->open(w->sys->fs, path, FS_WRITE, &f, NULL));
    assert_ok(w->sys->fs->truncate(w->sys->fs, f, 0, NULL));
    if (len > 0) assert_ok(w->sys->fs->pwritev(w->sys->fs, f, &iov, 1, 0, NULL));
    w->sys->fs->close(w->sys->fs, f);
}

static size_t read_file(struct world *w, const char *path, uint8_t *bytes, size_t cap)
{
    struct file *f;
    size_t n = 0;
    assert_ok(w->sys->fs->open(w->sys->fs, path, FS_READ, &f, NULL));
    assert_ok(w->sys->fs->pread(w->sys->fs, f, bytes, cap, 0, &n, NULL));
    w->sys->fs->close(w->sys->fs, f);
    return n;
}

/* weir.meta and the lock: cut at every length, zeros from there on, lost. The epoch never falls. */
static void test_damage__identity_in_any_state(void **state)
{
    static const char *const files[] = {"data/weir.meta", "data/weir.lock"};
    uint8_t good[1024], spoilt[1024];
    struct world w;

    make_data(&w, 4);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        size_t n = read_file(&w, files[i], good, sizeof(good));
        for (size_t cut = 0; cut <= n; cut++) {
            for (int how = 0; how < 2; how++) {
                memcpy(spoilt, good, n);
                memset(spoilt + cut, 0, n - cut);
                write_file(&w, files[i], spoilt, how ? n : cut);
                if (cut == n && how) assert_ok(w.sys->fs->unlink(w.sys->fs, files[i], NULL));
                world_open(&w);
                check_data(&w);
                broker_close(w.b);
                w.b = NULL;
                world_run(&w, 1);
                /* Two opens later than `good`: the epoch of the logs is higher than its own. */
                n = read_file(&w, files[i], good, sizeof(good));
            }
        }
    }
    world_open(&w);
    world_deinit(&w);
}

/* Every bit of weir.meta. */
static void test_damage__identity_is_verified(void **state)
{
    struct world w;
    const char *what;

    make_data(&w, 7);
    world_open(&w); /* both slots */
    broker_close(w.b);
    w.b = NULL;
    world_run(&w, 1);
    assert_ok(broker_verify_identity(w.sys, "data", &what, NULL));
    assert_null(what);
    uint64_t size = size_of(&w, "data/weir.meta");
    assert_int_equal(size, 576);
    for (uint64_t bit = 0; bit < 8 * size; bit++) {
        assert_true(sim_disk_flip_bit(w.sim, "data/weir.meta", bit / 8, (unsigned)(bit % 8)));
        assert_ok(broker_verify_identity(w.sys, "data", &what, NULL));
        if (what == NULL) fail_msg("bit %d", (int)bit);
        assert_true(sim_disk_flip_bit(w.sim, "data/weir.meta", bit / 8, (unsigned)(bit % 8)));
    }
    assert_ok(w.sys->fs->unlink(w.sys->fs, "data/weir.meta", NULL));
    assert_ok(broker_verify_identity(w.sys, "data", &what, NULL));
    assert_non_null(what);
    world_open(&w);
    world_deinit(&w);
}

/* ---- rot that nobody reads ---- */
static void fill(struct world *w, const char *topic, int n)
{
    struct partition *p = topic_partition(world_topic(w, topic, 1), 0);
    for (int i = 0; i < n; i++)
        put(w, p, "a record of which there are so many that its topic has several segments", 8);
}

static void test_damage__rot_is_found_by_looking(void **state)
{
    struct world w;
    struct broker_stats stats;
    struct log_slice slice;
    struct append_result r;
    struct buf batch;
    struct found_dir f = {.prefix = "rotten-"}, index = {.prefix = "fine-"};
    struct err e = {0};

    world_init(&w, 6);
    w.options.segment_bytes = LIMIT_SEGMENT_BYTES_MIN;
    w.options.scrub_bytes_per_s = 1u << 20;
    world_open(&w);
    fill(&w, "rotten", 40);
    fill(&w, "fine", 40);
    assert_ok(w.sys->fs->list(w.sys->fs, "data/topics", on_dir, &f, NULL));
    assert_ok(w.sys->fs->list(w.sys->fs, "data/topics", on_dir, &index, NULL));
    memcpy(index.path + strlen(index.path) - 3, "idx", 3);
    assert_true(sim_disk_flip_bit(w.sim, f.path, 300, 3));    /* a body */
    assert_true(sim_disk_flip_bit(w.sim, index.path, 30, 3)); /* a cache */
    struct partition *p = world_partition(&w, "rotten", 0);
    make_batch(&batch, "v", 1, WORLD_WALL_MS, -1, -1);
    assert_ok(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL));
    world_run(&w, 3 * 60000);
    broker_stats(w.b, &stats);
    assert_int_equal(stats.scrub_damages, 1);
    assert_int_equal(stats.scrub_rounds, 1);
    assert_int_equal(stats.partitions_stopped, 1);
    assert_true(stats.scrub_bytes > 20000);
    assert_int_equal(partition_append(p, batch.ptr, batch.len, NULL, &r, NULL), ERR_STOPPED);
    assert_int_equal(partition_read(p, 0, 1 << 20, &slice, &e), ERR_CORRUPT);
    assert_ok(partition_read(p, 100, 1 << 20, &slice, &e));
    log_slice_release(&slice);
    put(&w, world_partition(&w, "fine", 0), "goes on", 1);
    world_run(&w, 22ull * 3600 * 1000);
    broker_stats(w.b, &stats);
    assert_int_equal(stats.scrub_rounds, 1); /* it rests */
    world_run(&w, 2ull * 3600 * 1000);
    broker_stats(w.b, &stats);
    assert_int_equal(stats.scrub_rounds, 2);
    assert_int_equal(stats.scrub_damages, 1);
    buf_deinit(&batch);
    world_deinit(&w);
}

/* ---- a newer format ---- */
static uint32_t tree_crc;

static bool hash_entry(void *arg, const char *name, bool is_dir, uint64_t size);
struct walk {
    struct world *w;
    const char *dir;
};

static void hash_tree(struct world *w, const char *dir)
{
    struct walk walk = {w, dir};
    assert_ok(w->sys->fs->list(w->sys->fs, dir, hash_entry, &walk, NULL));
}

static bool hash_entry(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct walk *walk = arg;
    static uint8_t bytes[1 << 16];
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", walk->dir, name);
    if (strcmp(name, "weir.lock") == 0) return true; /* who holds it: no format */
    tree_crc += crc32c(0, (const uint8_t *)path, strlen(path));
    if (is_dir) {
        hash_tree(walk->w, path);
        return true;
    }
    size_t n = read_file(walk->w, path, bytes, sizeof(bytes));
    tree_crc += crc32c((uint32_t)strlen(path), bytes, n);
    return true;
}

static void test_damage__newer_format_is_left_alone(void **state)
{
    struct world w;
    uint8_t bytes[1024];

    make_data(&w, 5);
    world_open(&w);
    broker_close(w.b);
    w.b = NULL;
    world_run(&w, 1);
    size_t n = read_file(&w, "data/weir.meta", bytes, sizeof(bytes));
    assert_true(n >= 576);
    for (size_t slot = 0; slot < 2; slot++) {
        uint8_t newer[1024];
        struct err e = {0};
        if (memcmp(bytes + slot * 512, "WEIRMETA", 8) != 0) continue; /* written by the second open */
        memcpy(newer, bytes, n);
        be32_put(newer + slot * 512 + 8, 2);
        be32_put(newer + slot * 512 + 60, crc32c(0, newer + slot * 512, 60));
        write_file(&w, "data/weir.meta", newer, n);
        tree_crc = 0;
        hash_tree(&w, "data");
        uint32_t before = tree_crc;
        assert_int_equal(broker_open(&w.b, w.sys, &w.options, &e), ERR_UNSUPPORTED);
        world_run(&w, 1);
        tree_crc = 0;
        hash_tree(&w, "data");
        assert_int_equal(tree_crc, before);
        assert_non_null(strstr(e.text, "newer"));
    }
    write_file(&w, "data/weir.meta", bytes, n);
    world_open(&w);
    check_data(&w);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage__meta_is_refused_and_repaired),
        cmocka_unit_test(test_damage__repair_survives_power_cuts),
        cmocka_unit_test(test_damage__offsets_do_not_stop_an_open),
        cmocka_unit_test(test_damage__identity_in_any_state),
        cmocka_unit_test(test_damage__identity_is_verified),
        cmocka_unit_test(test_damage__rot_is_found_by_looking),
        cmocka_unit_test(test_damage__newer_format_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
