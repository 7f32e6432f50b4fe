/* What it proves: what the simulated disk does not have: two processes on one directory, directories that are moved;
 * and that the same broker works on real files with a real job thread. How: a directory below the current one, a real
 * loop. */
#include "broker/test_world.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/os.h"

#define QUIET_NS 50000000u

struct real {
    struct sys sys;
    struct broker_options options;
    struct broker *b;
    char dir[64];
    struct timer timer;
    bool is_quiet;
};

static void real_open(struct real *r)
{
    struct err e = {0};
    if (broker_open(&r->b, &r->sys, &r->options, &e) != ERR_NONE) fail_msg("opening: %s", e.text);
}

static void real_init(struct real *r)
{
    memset(r, 0, sizeof(*r));
    (void)snprintf(r->dir, sizeof(r->dir), "weir-broker-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->sys = (struct sys){.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .diag = os_diag_create(2, DIAG_ERROR)};
    assert_ok(os_loop_create(&r->sys.loop, NULL));
    r->options = (struct broker_options){.data_dir = r->dir};
    real_open(r);
}

static int remove_entry(const char *path, const struct stat *s, int type, struct FTW *at)
{
    return remove(path);
}

static void quiet(struct timer *t)
{
    CONTAINER_OF(t, struct real, timer)->is_quiet = true;
}

/* A job that was under way comes back to the loop later and frees what it held. */
static void real_close(struct real *r)
{
    struct loop *loop = r->sys.loop;
    broker_close(r->b);
    r->b = NULL;
    r->is_quiet = false;
    r->timer.fire = quiet;
    loop->timer_start(loop, &r->timer, r->sys.clock->mono_ns(r->sys.clock) + QUIET_NS);
    while (!r->is_quiet)
        (void)loop->run(loop, LOOP_ONCE_WAIT);
}

static void real_deinit(struct real *r)
{
    real_close(r);
    os_loop_destroy(r->sys.loop);
    os_diag_destroy(r->sys.diag);
    (void)nftw(r->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool count_entry(void *arg, const char *name, bool is_dir, uint64_t size)
{
    ++*(int *)arg;
    return true;
}

static void test_os__second_process_is_refused(void **state)
{
    struct real r;
    struct broker *second = NULL;

    real_init(&r);
    assert_int_equal(broker_open(&second, &r.sys, &r.options, NULL), ERR_BUSY);
    real_deinit(&r);
}

/* What nobody knows is moved aside, never deleted. */
static void test_os__stray_directories_are_quarantined(void **state)
{
    struct real r;
    char path[160];
    int n = 0;

    real_init(&r);
    assert_ok(topic_create(r.b, BYTES_LIT("mine"), 2, NULL, NULL, NULL));
    real_close(&r);
    (void)snprintf(path, sizeof(path), "%s/topics/stray-0123456789abcdef0123456789abcdef", r.dir);
    assert_ok(r.sys.fs->mkdir(r.sys.fs, path, NULL));
    (void)snprintf(path, sizeof(path), "%s/topics/what", r.dir);
    assert_ok(r.sys.fs->mkdir(r.sys.fs, path, NULL));
    r.sys.diag->level = DIAG_ERROR;
    real_open(&r);
    assert_false(r.sys.fs->exists(r.sys.fs, path));
    (void)snprintf(path, sizeof(path), "%s/quarantine", r.dir);
    assert_ok(r.sys.fs->list(r.sys.fs, path, count_entry, &n, NULL));
    assert_int_equal(n, 2);
    assert_non_null(topic_find(r.b, BYTES_LIT("mine")));
    real_deinit(&r);
}

static int n_seen;

static int check_private(const char *path, const struct stat *s, int type, struct FTW *at)
{
    n_seen++;
    if ((s->st_mode & 07777) != (type == FTW_D ? 0700u : 0600u)) fail_msg("%s has mode %o", path, s->st_mode & 07777);
    return 0;
}

/* Other people of the machine read nothing, whatever the umask says. */
static void test_os__data_is_private(void **state)
{
    struct real r;
    mode_t before = umask(0);

    real_init(&r);
    r.options.spare_bytes = LIMIT_SPARE_BYTES;
    struct topic *t = NULL;
    assert_ok(topic_create(r.b, BYTES_LIT("mine"), 2, NULL, &t, NULL));
    struct append_result a;
    struct buf batch;
    make_batch(&batch, "v", 3, WORLD_WALL_MS, 7, 0);
    assert_ok(partition_append(topic_partition(t, 0), batch.ptr, batch.len, NULL, &a, NULL));
    buf_deinit(&batch);
    real_close(&r);
    real_open(&r); /* indexes, checkpoints, snapshots, the spare */
    assert_int_equal(nftw(r.dir, check_private, 16, FTW_PHYS), 0);
    assert_true(n_seen > 15);
    real_deinit(&r);
    (void)umask(before);
}

static void test_os__group_commit_with_a_job_thread(void **state)
{
    struct real r;
    struct waiting *x = calloc(500, sizeof(*x));
    struct append_result result;
    struct broker_stats stats;
    struct buf batch;
    struct topic *t = NULL;
    int n_done = 0;

    real_init(&r);
    assert_ok(topic_create(r.b, BYTES_LIT("t"), 3, NULL, &t, NULL));
    make_batch(&batch, "v", 4, WORLD_WALL_MS, -1, -1);
    for (int i = 0; i < 500; i++) {
        x[i].wait.done = waiting_done;
        assert_ok(partition_append(topic_partition(t, i % 3), batch.ptr, batch.len, &x[i].wait, &result, NULL));
        if (i % 50 == 49) (void)r.sys.loop->run(r.sys.loop, LOOP_ONCE_NOWAIT);
    }
    for (int i = 0; i < 500; i++) {
        while (!x[i].is_done)
            (void)r.sys.loop->run(r.sys.loop, LOOP_ONCE_WAIT);
        n_done += x[i].rc == ERR_NONE;
    }
    assert_int_equal(n_done, 500);
    broker_stats(r.b, &stats);
    assert_in_range(stats.syncs, 3, 60);
    real_close(&r); /* with nothing, then with a sync under way */
    real_open(&r);
    t = topic_find(r.b, BYTES_LIT("t"));
    assert_int_equal(partition_high_watermark(topic_partition(t, 0)), 167 * 4);
    memset(x, 0, sizeof(*x));
    x->wait.done = waiting_done;
    assert_ok(partition_append(topic_partition(t, 0), batch.ptr, batch.len, &x->wait, &result, NULL));
    (void)r.sys.loop->run(r.sys.loop, LOOP_ONCE_NOWAIT);
    real_close(&r);
    assert_true(x->is_done);
    assert_int_equal(x->rc, ERR_NONE);
    real_open(&r);
    buf_deinit(&batch);
    free(x);
    real_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os__second_process_is_refused),
        cmocka_unit_test(test_os__stray_directories_are_quarantined),
        cmocka_unit_test(test_os__data_is_private),
        cmocka_unit_test(test_os__group_commit_with_a_job_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
