/* sim_test.c: what only the simulated world can do: forget, tear, die, fill up, rot, reset, and do it all again.
 *
 * Method for the disk: the same script under many seeds; each outcome must be one of the allowed ones, and each allowed
 * one must occur, or the simulation would be too kind to find anything. */
#include "sys/testing.h"

#define N_SEEDS 300

static void sim_open(struct world *w, uint64_t seed)
{
    struct sim_options o = {.seed = seed, .wall_start_ms = 1700000000000};
    world_open_sim(w, &o);
}

static struct file *open_new(struct world *w, const char *name)
{
    struct file *f;
    ok(w->fs->open(w->fs, path(w, name), FS_WRITE, &f, &w->e));
    return f;
}

static void sync_names(struct world *w)
{
    ok(w->fs->sync_dir(w->fs, w->root, &w->e));
}

static void put(struct world *w, struct file *f, char c, size_t len, uint64_t at)
{
    char bytes[4096];
    assert_true(len <= sizeof(bytes));
    memset(bytes, c, len);
    file_put_at(w, f, bytes, len, at);
}

static size_t get(struct world *w, const char *name, char *out, size_t cap)
{
    struct file *f;
    size_t n;
    ok(w->fs->open(w->fs, path(w, name), FS_READ, &f, &w->e));
    ok(w->fs->pread(w->fs, f, out, cap, 0, &n, &w->e));
    w->fs->close(w->fs, f);
    return n;
}

/* What was synced is there to the byte; of an append that was not, any sectors, with zeros between. */
static void test_sim__unsynced_append_is_torn(void **state)
{
    int n_none = 0, n_all = 0, n_torn = 0;
    char got[8192];

    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct world world, *w = &world;
        int n_b = 0;
        sim_open(w, seed);
        struct file *f = open_new(w, "f");
        sync_names(w);
        put(w, f, 'a', 1000, 0);
        ok(w->fs->sync(w->fs, f, &w->e));
        put(w, f, 'b', 3000, 1000);
        sim_disk_power_cycle(w->sim);
        w->fs->close(w->fs, f);
        size_t n = get(w, "f", got, sizeof(got));
        assert_true(n >= 1000 && n <= 4000);
        for (size_t i = 0; i < n; i++) {
            assert_true(i < 1000 ? got[i] == 'a' : got[i] == 'b' || got[i] == 0);
            n_b += got[i] == 'b';
            /* The choice is by sector, which starts where sectors of the file do. */
            if (i > 1000 && i % 512 != 0) assert_int_equal(got[i], got[i - 1]);
        }
        n_none += n == 1000;
        n_all += n_b == 3000;
        n_torn += n == 4000 && n_b < 3000;
        world_close(w);
    }
    assert_true(n_none > N_SEEDS / 10 && n_all > N_SEEDS / 10 && n_torn > N_SEEDS / 10);
}

/* Two writes into one sector are lost and kept independently of each other; overwritten bytes are new, old or zero. */
static void test_sim__overwrites_tear(void **state)
{
    int seen[256] = {0}, n_second_only = 0;
    char got[8192];

    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct world world, *w = &world;
        sim_open(w, seed);
        struct file *f = open_new(w, "f");
        put(w, f, 'a', 2048, 0);
        ok(w->fs->sync(w->fs, f, &w->e));
        sync_names(w);
        put(w, f, 'b', 600, 100);
        put(w, f, 'c', 100, 1500);
        ok(w->fs->truncate(w->fs, f, 1800, &w->e));
        sim_disk_power_cycle(w->sim);
        w->fs->close(w->fs, f);
        size_t n = get(w, "f", got, sizeof(got));
        assert_true(n == 1800 || n == 2048);
        seen[(unsigned char)got[100]]++;
        n_second_only += got[100] == 'a' && got[699] == 'a' && got[1599] == 'c';
        assert_true(got[99] == 'a' && got[700] == 'a' && got[1499] == 'a' && got[1600] == 'a');
        world_close(w);
    }
    assert_int_equal(seen['a'] + seen['b'] + seen[0], N_SEEDS);
    assert_true(seen['a'] > 0 && seen['b'] > 0 && seen[0] > 0 && n_second_only > 0);
}

static void test_sim__synced_survives(void **state)
{
    char got[8192], want[8192];

    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct world world, *w = &world;
        size_t len = 0;
        sim_open(w, seed);
        ok(w->fs->mkdir(w->fs, path(w, "d"), &w->e));
        struct file *f = open_new(w, "d/f");
        for (int i = 0; i < 20; i++) {
            char c = (char)('a' + i);
            size_t at = sim_random(w->sim, len + 1), n = sim_random(w->sim, 300);
            put(w, f, c, n, at);
            memset(want + at, c, n);
            if (at + n > len) len = at + n;
            if (i == 10) {
                len /= 2;
                ok(w->fs->truncate(w->fs, f, len, &w->e));
            }
        }
        ok(w->fs->sync(w->fs, f, &w->e));
        ok(w->fs->sync_dir(w->fs, path(w, "d"), &w->e));
        sync_names(w);
        for (int cycle = 0; cycle < 2; cycle++) {
            sim_disk_power_cycle(w->sim);
            assert_int_equal(get(w, "d/f", got, sizeof(got)), len);
            assert_memory_equal(got, want, len);
        }
        w->fs->close(w->fs, f);
        world_close(w);
    }
}

/* Names: a create, an unlink and a rename that are not synced happen or not; a rename never loses both names. */
static void test_sim__unsynced_names(void **state)
{
    int n_created = 0, n_unlinked = 0, n_renamed = 0, n_second_only = 0, n_dirs = 0;

    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        struct world world, *w = &world;
        sim_open(w, seed);
        file_write(w, path(w, "gone"), "g");
        file_write(w, path(w, "target"), "old");
        file_write(w, path(w, "tmp"), "new");
        sync_names(w);
        file_write(w, path(w, "created"), "c");
        ok(w->fs->unlink(w->fs, path(w, "gone"), &w->e));
        ok(w->fs->rename(w->fs, path(w, "tmp"), path(w, "target"), &w->e));
        file_write(w, path(w, "second"), "s");
        ok(w->fs->mkdir(w->fs, path(w, "dir"), &w->e));
        file_write(w, path(w, "dir/in"), "i");
        ok(w->fs->sync_dir(w->fs, path(w, "dir"), &w->e)); /* of no use while the directory's own name is not */
        sim_disk_power_cycle(w->sim);
        bool created = w->fs->exists(w->fs, path(w, "created")), second = w->fs->exists(w->fs, path(w, "second"));
        bool renamed = !w->fs->exists(w->fs, path(w, "tmp"));
        check_file(w, path(w, "target"), renamed ? "new" : "old");
        if (created) check_file(w, path(w, "created"), "c");
        n_created += created;
        n_unlinked += !w->fs->exists(w->fs, path(w, "gone"));
        n_renamed += renamed;
        n_second_only += second && !created;
        n_dirs += w->fs->exists(w->fs, path(w, "dir"));
        if (w->fs->exists(w->fs, path(w, "dir")))
            check_file(w, path(w, "dir/in"), "i");
        else
            assert_false(w->fs->exists(w->fs, path(w, "dir/in")));
        /* What is left is durable: another cut changes nothing. */
        sim_disk_power_cycle(w->sim);
        assert_int_equal(created, w->fs->exists(w->fs, path(w, "created")));
        assert_int_equal(renamed, !w->fs->exists(w->fs, path(w, "tmp")));
        world_close(w);
    }
    assert_true(n_created > 0 && n_created < N_SEEDS && n_unlinked > 0 && n_unlinked < N_SEEDS);
    assert_true(n_renamed > 0 && n_renamed < N_SEEDS && n_dirs > 0 && n_dirs < N_SEEDS);
    assert_true(n_second_only > 0); /* no order between them is promised, so none is kept */
}

/* A failed sync loses what it was asked to keep, also when a later one succeeds; what came after it is kept. */
static void test_sim__failed_sync_dooms(void **state)
{
    char got[64];

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world world, *w = &world;
        sim_open(w, seed);
        struct file *f = open_new(w, "f");
        sync_names(w);
        put(w, f, 'a', 10, 0);
        ok(w->fs->sync(w->fs, f, &w->e));
        put(w, f, 'b', 10, 5);
        put(w, f, 'b', 10, 15);
        sim_disk_fail_syncs(w->sim, 1);
        assert_int_equal(w->fs->sync(w->fs, f, &w->e), ERR_IO);
        put(w, f, 'c', 5, 20);
        ok(w->fs->sync(w->fs, f, &w->e)); /* says yes, as Linux does */
        assert_int_equal(get(w, "f", got, sizeof(got)), 25);
        assert_memory_equal(got, "aaaaabbbbbbbbbbbbbbbccccc", 25);
        sim_disk_power_cycle(w->sim);
        w->fs->close(w->fs, f);
        assert_int_equal(get(w, "f", got, sizeof(got)), 25);
        assert_memory_equal(got, "aaaaaaaaaa\0\0\0\0\0\0\0\0\0\0ccccc", 25);
        world_close(w);
    }
}

static void test_sim__crash_at_stops_everything(void **state)
{
    struct world world, *w = &world;
    struct fs_space space;
    const uint8_t *map;
    struct file *g;
    uint64_t size;
    char got[8];
    size_t n;

    sim_open(w, 1);
    struct file *f = open_new(w, "f");
    uint64_t ops = sim_disk_ops(w->sim);
    sim_disk_crash_at(w->sim, 3);
    put(w, f, 'a', 4, 0);
    ok(w->fs->sync(w->fs, f, &w->e));
    assert_false(sim_disk_is_down(w->sim));
    struct iovec iov = {got, sizeof(got)};
    assert_int_equal(w->fs->pwritev(w->fs, f, &iov, 1, 0, &w->e), ERR_IO);
    assert_true(sim_disk_is_down(w->sim));
    assert_int_equal(sim_disk_ops(w->sim), ops + 3);
    assert_int_equal(w->fs->pread(w->fs, f, got, 4, 0, &n, &w->e), ERR_IO);
    assert_int_equal(w->fs->size(w->fs, f, &size, &w->e), ERR_IO);
    assert_int_equal(w->fs->sync(w->fs, f, &w->e), ERR_IO);
    assert_int_equal(w->fs->truncate(w->fs, f, 0, &w->e), ERR_IO);
    assert_int_equal(w->fs->map(w->fs, f, 10, &map, &w->e), ERR_IO);
    assert_int_equal(w->fs->open(w->fs, path(w, "f"), FS_READ, &g, &w->e), ERR_IO);
    assert_int_equal(w->fs->lock(w->fs, path(w, "f"), &g, &w->e), ERR_IO);
    assert_int_equal(w->fs->rename(w->fs, path(w, "f"), path(w, "g"), &w->e), ERR_IO);
    assert_int_equal(w->fs->unlink(w->fs, path(w, "f"), &w->e), ERR_IO);
    assert_int_equal(w->fs->mkdir(w->fs, path(w, "d"), &w->e), ERR_IO);
    assert_int_equal(w->fs->rmdir(w->fs, path(w, "d"), &w->e), ERR_IO);
    assert_int_equal(w->fs->sync_dir(w->fs, w->root, &w->e), ERR_IO);
    assert_int_equal(w->fs->list(w->fs, w->root, NULL, NULL, &w->e), ERR_IO);
    assert_int_equal(w->fs->space(w->fs, w->root, &space, &w->e), ERR_IO);
    assert_false(w->fs->exists(w->fs, path(w, "f")));
    assert_int_equal(sim_disk_ops(w->sim), ops + 3);
    sim_disk_crash_at(w->sim, 0);
    ok(w->fs->pread(w->fs, f, got, 4, 0, &n, &w->e));
    assert_memory_equal(got, "aaaa", 4); /* the call that failed did nothing */
    w->fs->close(w->fs, f);
    world_close(w);
}

static void never(struct task *t)
{
    fail_msg("the dead do not run");
}
static void never_fires(struct timer *t)
{
    fail_msg("the dead do not run");
}
static void never_job(struct job *j)
{
    fail_msg("the dead do not run");
}

/* kill -9: nothing that was written is lost, nothing that was pending happens, what the dead held is free. */
static void test_sim__kill_keeps_data_and_drops_work(void **state)
{
    struct world world, *w = &world;
    struct task t = {.run = never};
    struct timer timer = {.fire = never_fires};
    struct job j = {.run = never_job, .done = never_job};
    struct file *lock, *again;
    const uint8_t *map;
    char got[8];
    size_t n;

    sim_open(w, 1);
    struct file *f = open_new(w, "f");
    put(w, f, 'a', 4, 0);
    ok(w->fs->map(w->fs, f, 100, &map, &w->e));
    ok(w->fs->lock(w->fs, path(w, "lock"), &lock, &w->e));
    w->loop->post(w->loop, &t);
    w->loop->timer_start(w->loop, &timer, 0);
    w->loop->submit(w->loop, &j);
    sim_process_kill(w->sim);
    assert_false(sim_step(w->sim));
    sim_run_ms(w->sim, 100);
    assert_int_equal(t.posted, 0);
    assert_int_equal(timer.slot, 0);
    assert_int_equal(w->fs->pread(w->fs, f, got, 4, 0, &n, &w->e), ERR_IO);
    assert_memory_equal(map, "aaaa", 4); /* a pointer of the dead may still be looked through */
    ok(w->fs->lock(w->fs, path(w, "lock"), &again, &w->e));
    w->fs->close(w->fs, lock);
    assert_int_equal(w->fs->lock(w->fs, path(w, "lock"), &lock, &w->e), ERR_BUSY);
    check_file(w, path(w, "f"), "aaaa");
    w->fs->close(w->fs, again);
    world_close(w); /* f is never closed by anyone */
}

static void test_sim__full_disk(void **state)
{
    struct world world, *w = &world;
    struct fs_space space;
    char bytes[1000] = {0};
    struct iovec iov = {bytes, sizeof(bytes)};
    uint64_t size;

    sim_open(w, 1);
    sim_disk_set_capacity(w->sim, 2500);
    file_write(w, path(w, "other"), "1234567890");
    struct file *f = open_new(w, "f");
    put(w, f, 'a', 2000, 0);
    assert_int_equal(w->fs->pwritev(w->fs, f, &iov, 1, 2000, &w->e), ERR_NO_SPACE);
    ok(w->fs->size(w->fs, f, &size, &w->e));
    assert_int_equal(size, 2490);                    /* a part is there, as on a real disk */
    ok(w->fs->pwritev(w->fs, f, &iov, 1, 0, &w->e)); /* in place there is room */
    ok(w->fs->space(w->fs, w->root, &space, &w->e));
    assert_int_equal(space.total_bytes, 2500);
    assert_int_equal(space.free_bytes, 0);
    ok(w->fs->unlink(w->fs, path(w, "other"), &w->e));
    ok(w->fs->truncate(w->fs, f, 2000, &w->e));
    ok(w->fs->space(w->fs, w->root, &space, &w->e));
    assert_int_equal(space.free_bytes, 500);
    sim_disk_set_capacity(w->sim, 0);
    ok(w->fs->pwritev(w->fs, f, &iov, 1, 2000, &w->e));
    w->fs->close(w->fs, f);
    world_close(w);
}

static void test_sim__rot(void **state)
{
    struct world world, *w = &world;

    sim_open(w, 1);
    file_write(w, path(w, "f"), "abc");
    sync_names(w);
    assert_true(sim_disk_flip_bit(w->sim, path(w, "f"), 1, 0));
    check_file(w, path(w, "f"), "acc");
    sim_disk_power_cycle(w->sim);
    check_file(w, path(w, "f"), "acc");
    assert_false(sim_disk_flip_bit(w->sim, path(w, "f"), 3, 0));
    assert_false(sim_disk_flip_bit(w->sim, path(w, "none"), 0, 0));
    assert_false(sim_disk_flip_bit(w->sim, w->root, 0, 0));
    world_close(w);
}

/* Time moves only to the next timer, to the nanosecond, or to where the test wants it. */
static void on_fire(struct timer *t)
{
    t->at_ns = 0;
}

static void test_sim__virtual_time(void **state)
{
    struct world world, *w = &world;
    struct timer timer = {.fire = on_fire};

    sim_open(w, 1);
    uint64_t start = w->loop->now_ns(w->loop);
    assert_int_equal(w->clock->wall_ms(w->clock), 1700000000000);
    w->loop->timer_start(w->loop, &timer, start + 3600ull * 1000000000 + 7);
    sim_run_until(w->sim, start + 1000);
    assert_int_equal(w->loop->now_ns(w->loop), start + 1000);
    assert_true(sim_step(w->sim));
    assert_int_equal(timer.at_ns, 0);
    assert_int_equal(w->clock->mono_ns(w->clock), start + 3600ull * 1000000000 + 7);
    assert_int_equal(w->clock->wall_ms(w->clock), 1700003600000);
    assert_false(sim_step(w->sim));
    sim_run_ms(w->sim, 5);
    assert_int_equal(w->clock->wall_ms(w->clock), 1700003600005);
    world_close(w);
}

/* ---- a small life: an echo over a bad net that writes what it hears to a bad disk ---- */

struct life {
    struct world world;
    struct listener *listener;
    struct file *file;
    uint64_t written;
    int n_open, n_bytes;
    bool has_reset, is_over;
    struct life_end *accepted; /* the last one */
};
struct life_end {
    struct life *life;
    struct conn *conn;
    struct send_req send;
    struct iovec iov;
    bool is_client, is_busy;
    uint8_t room[64];
};

static void life_send(struct life_end *x, size_t n);

static void life_sent(struct send_req *r, bool is_ok)
{
    CONTAINER_OF(r, struct life_end, send)->is_busy = false;
}

static void life_send(struct life_end *x, size_t n)
{
    struct net *net = x->life->world.net;
    if (x->is_busy) return;
    x->is_busy = true;
    x->iov = (struct iovec){x->room, n};
    x->send = (struct send_req){.iov = &x->iov, .n = 1, .sent = life_sent};
    net->send(net, x->conn, &x->send);
}

static void life_room(void *user, uint8_t **ptr, size_t *cap)
{
    struct life_end *x = user;
    *ptr = x->room;
    *cap = sizeof(x->room);
}

static void life_received(void *user, size_t n)
{
    struct life_end *x = user;
    struct world *w = &x->life->world;
    struct iovec iov = {x->room, n};
    x->life->n_bytes += (int)n;
    if (x->is_client) {
        if (x->life->is_over)
            w->net->close(w->net, x->conn);
        else
            life_send(x, 1 + sim_random(w->sim, sizeof(x->room)));
        return;
    }
    if (w->fs->pwritev(w->fs, x->life->file, &iov, 1, x->life->written, NULL) == ERR_NONE) x->life->written += n;
    life_send(x, n);
}

static void life_closed(void *user, const struct err *e)
{
    struct life_end *x = user;
    x->life->n_open--;
    x->life->has_reset |= e != NULL;
    free(x);
}

static const struct conn_handler life_handler = {life_room, life_received, NULL, life_closed};

static struct life_end *life_end_create(struct life *l, bool is_client)
{
    struct life_end *x = calloc(1, sizeof(*x));
    assert_non_null(x);
    x->life = l;
    x->is_client = is_client;
    l->n_open++;
    return x;
}

static void *life_accept(void *arg, struct conn *c, const struct conn_handler **h)
{
    struct life_end *x = life_end_create(arg, false);
    x->conn = c;
    x->life->accepted = x;
    *h = &life_handler;
    return x;
}

static void life_connected(void *user, struct conn *c)
{
    life_send(user, 9);
}

static void life_connect(struct life *l, const struct net_address *at)
{
    struct world *w = &l->world;
    struct life_end *x = life_end_create(l, true);
    ok(w->net->connect(w->net, at, &life_handler, x, life_connected, &x->conn, &w->e));
}

/* Returns the trace of 100 ms of life, a power cut and what was read after it. */
static uint64_t life_of(uint64_t seed, bool *has_reset)
{
    struct life life = {0}, *l = &life;
    struct world *w = &l->world;
    struct sim_options o = {.seed = seed,
                            .net_split_permille = 500,
                            .net_reset_permille = 20,
                            .net_delay_ms_max = 2,
                            .disk_capacity_bytes = 5000};
    struct net_address at = {"127.0.0.1", 0};
    char got[8192];
    uint64_t trace;

    world_open_sim(w, &o);
    l->file = open_new(w, "f");
    sync_names(w);
    ok(w->net->listen(w->net, &at, life_accept, l, &l->listener, &at, &w->e));
    for (int i = 0; i < 20; i++) {
        life_connect(l, &at);
        sim_run_ms(w->sim, 5);
        (void)!w->fs->sync(w->fs, l->file, &w->e);
    }
    assert_true(l->n_bytes > 100);
    w->net->listener_close(w->net, l->listener);
    l->is_over = true;
    while (l->n_open > 0)
        assert_true(sim_step(w->sim));
    sim_disk_power_cycle(w->sim);
    w->fs->close(w->fs, l->file);
    trace = sim_trace(w->sim) + get(w, "f", got, sizeof(got));
    *has_reset = l->has_reset;
    assert_int_equal(l->n_open, 0);
    world_close(w);
    return trace;
}

/* Same seed, same history; another seed, another one. */
static void test_sim__same_seed_same_trace(void **state)
{
    int n_resets = 0;
    uint64_t last = 0;

    for (uint64_t seed = 1; seed <= 10; seed++) {
        bool has_reset;
        uint64_t trace = life_of(seed, &has_reset);
        n_resets += has_reset;
        assert_int_equal(trace, life_of(seed, &has_reset));
        assert_int_not_equal(trace, last);
        last = trace;
    }
    assert_true(n_resets > 0);
}

/* A kill silences connections; their owners may still close them, and the world still ends cleanly when they do not. */
static void test_sim__connections_of_the_dead(void **state)
{
    struct life life = {0}, *l = &life;
    struct world *w = &l->world;
    struct net_address at = {"127.0.0.1", 0};
    struct life_end *kept;

    sim_open(w, 3);
    l->file = open_new(w, "f");
    ok(w->net->listen(w->net, &at, life_accept, l, &l->listener, &at, &w->e));
    kept = life_end_create(l, true);
    ok(w->net->connect(w->net, &at, &life_handler, kept, life_connected, &kept->conn, &w->e));
    sim_run_ms(w->sim, 2);
    assert_int_equal(l->n_open, 2);
    sim_process_kill(w->sim);
    int n_bytes = l->n_bytes;
    sim_run_ms(w->sim, 100);
    assert_int_equal(l->n_bytes, n_bytes);
    w->net->close(w->net, kept->conn);
    sim_run_ms(w->sim, 1);
    assert_int_equal(l->n_open, 1);
    kept = life_end_create(l, true); /* nobody listens any more */
    ok(w->net->connect(w->net, &at, &life_handler, kept, life_connected, &kept->conn, &w->e));
    sim_run_ms(w->sim, 1);
    assert_int_equal(l->n_open, 1);
    w->net->listener_close(w->net, l->listener);
    w->fs->close(w->fs, l->file);
    world_close(w);
    free(l->accepted); /* its owner is dead, its connection went with the world */
}

/* A disk that is only memory keeps no account of what is not synced, and works the same. */
static void test_sim__memory_disk(void **state)
{
    struct world world, *w = &world;
    struct sim_options o = {.seed = 1, .disk_is_memory = true};

    world_open_sim(w, &o);
    file_write(w, path(w, "a"), "text");
    ok(w->fs->rename(w->fs, path(w, "a"), path(w, "b"), &w->e));
    sync_names(w);
    sim_process_kill(w->sim);
    check_file(w, path(w, "b"), "text");
    ok(w->fs->unlink(w->fs, path(w, "b"), &w->e));
    assert_false(w->fs->exists(w->fs, path(w, "b")));
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim__unsynced_append_is_torn),
        cmocka_unit_test(test_sim__overwrites_tear),
        cmocka_unit_test(test_sim__synced_survives),
        cmocka_unit_test(test_sim__unsynced_names),
        cmocka_unit_test(test_sim__failed_sync_dooms),
        cmocka_unit_test(test_sim__crash_at_stops_everything),
        cmocka_unit_test(test_sim__kill_keeps_data_and_drops_work),
        cmocka_unit_test(test_sim__full_disk),
        cmocka_unit_test(test_sim__rot),
        cmocka_unit_test(test_sim__virtual_time),
        cmocka_unit_test(test_sim__same_seed_same_trace),
        cmocka_unit_test(test_sim__connections_of_the_dead),
        cmocka_unit_test(test_sim__memory_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
