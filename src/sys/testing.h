/* testing.h: what the tests of this room share: one world of each kind, so that a promise is asked of both. Only tests
 * include it. Cases are registered with BOTH and take the kind from *state. */
#ifndef WEIR_SYS_TESTING_H
#define WEIR_SYS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sys/os.h"
#include "sys/sim.h"

#define BOTH(fn)                                                                                                       \
    {#fn " (os)", fn, NULL, NULL, (void *)(uintptr_t) "os"},                                                           \
    {                                                                                                                  \
#fn " (sim)", fn, NULL, NULL, (void *)(uintptr_t) "sim"                                                        \
    }
#define DEADLINE_MS 20000 /* a test that waits longer has failed */

struct world {
    bool is_sim;
    struct sim *sim;
    struct clock *clock;
    struct fs *fs;
    struct loop *loop;
    struct net *net;
    char root[64];
    char path_text[4][160];
    unsigned n_paths;
    struct timer deadline;
    struct err e;
};

static inline void ok_at(enum err_code rc, const struct err *e, int line)
{
    if (rc != ERR_NONE) fail_msg("line %d: %s: %s", line, err_name(rc), e->text);
}
#define ok(call) ok_at((call), &w->e, __LINE__)

/* A path below the world's own directory; the last four are valid. */
static inline const char *path(struct world *w, const char *name)
{
    char *text = w->path_text[w->n_paths++ % 4];
    (void)snprintf(text, sizeof(w->path_text[0]), "%s/%s", w->root, name);
    return text;
}

static inline void world_open_sim(struct world *w, const struct sim_options *o)
{
    memset(w, 0, sizeof(*w));
    w->is_sim = true;
    ok(sim_create(&w->sim, o, &w->e));
    w->clock = sim_sys(w->sim)->clock;
    w->fs = sim_sys(w->sim)->fs;
    w->loop = sim_sys(w->sim)->loop;
    w->net = sim_sys(w->sim)->net;
    (void)snprintf(w->root, sizeof(w->root), "/test");
    ok(w->fs->mkdir(w->fs, w->root, &w->e));
    ok(w->fs->sync_dir(w->fs, "/", &w->e));
}

static inline void world_open(struct world *w, void **state)
{
    struct sim_options o = {
        .seed = 7, .wall_start_ms = 1700000000000, .net_split_permille = 300, .net_delay_ms_max = 3};
    const char *tmp = getenv("TMPDIR");

    if (strcmp(*state, "sim") == 0) {
        world_open_sim(w, &o);
        return;
    }
    memset(w, 0, sizeof(*w));
    w->clock = os_clock();
    w->fs = os_fs();
    ok(os_loop_create(&w->loop, &w->e));
    ok(os_net_create(&w->net, w->loop, &w->e));
    (void)snprintf(w->root, sizeof(w->root), "%.40s/weir-sys-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(w->root));
}

struct removal {
    struct world *w;
    const char *dir;
};
static inline void tree_remove(struct world *w, const char *dir);
static inline bool remove_one(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct removal *r = arg;
    char text[256];
    (void)snprintf(text, sizeof(text), "%s/%s", r->dir, name);
    if (is_dir)
        tree_remove(r->w, text);
    else
        (void)!r->w->fs->unlink(r->w->fs, text, NULL);
    return true;
}
static inline void tree_remove(struct world *w, const char *dir)
{
    struct removal r = {w, dir};
    (void)!w->fs->list(w->fs, dir, remove_one, &r, NULL);
    (void)!w->fs->rmdir(w->fs, dir, NULL);
}

static inline void world_close(struct world *w)
{
    if (w->is_sim) {
        sim_destroy(w->sim);
        return;
    }
    tree_remove(w, w->root);
    os_net_destroy(w->net);
    os_loop_destroy(w->loop);
}

static inline void on_deadline(struct timer *t)
{
    fail_msg("nothing happened for %d ms", DEADLINE_MS);
}

/* Runs the loop until *flag is at least n. */
static inline void run_until(struct world *w, const int *flag, int n)
{
    w->deadline.fire = on_deadline;
    w->loop->timer_start(w->loop, &w->deadline, w->clock->mono_ns(w->clock) + DEADLINE_MS * 1000000ull);
    while (*flag < n)
        assert_true(w->loop->run(w->loop, LOOP_ONCE_WAIT));
    w->loop->timer_stop(w->loop, &w->deadline);
}

/* ---- files, whole ---- */

static inline void file_put_at(struct world *w, struct file *f, const void *ptr, size_t len, uint64_t at)
{
    struct iovec iov = {(void *)(uintptr_t)ptr, len};
    ok(w->fs->pwritev(w->fs, f, &iov, 1, at, &w->e));
}

static inline void file_write(struct world *w, const char *at, const char *text)
{
    struct file *f;
    ok(w->fs->open(w->fs, at, FS_WRITE, &f, &w->e));
    ok(w->fs->truncate(w->fs, f, 0, &w->e));
    file_put_at(w, f, text, strlen(text), 0);
    ok(w->fs->sync(w->fs, f, &w->e));
    w->fs->close(w->fs, f);
}

static inline void check_file(struct world *w, const char *at, const char *text)
{
    char got[256] = {0};
    struct file *f;
    size_t n;
    ok(w->fs->open(w->fs, at, FS_READ, &f, &w->e));
    ok(w->fs->pread(w->fs, f, got, sizeof(got) - 1, 0, &n, &w->e));
    assert_string_equal(got, text);
    assert_int_equal(n, strlen(text));
    w->fs->close(w->fs, f);
}

#endif
