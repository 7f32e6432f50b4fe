/* fs_conformance_test.c: what sys.h promises of files, asked of the real disk and of the simulated one by the same
 * cases. */
#include "sys/testing.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_fs__open_modes(void **state)
{
    struct world world, *w = &world;
    struct file *f, *again;

    world_open(w, state);
    assert_int_equal(w->fs->open(w->fs, path(w, "a"), FS_READ, &f, &w->e), ERR_NOT_FOUND);
    assert_null(f);
    assert_int_equal(w->fs->open(w->fs, path(w, "none/a"), FS_WRITE, &f, &w->e), ERR_NOT_FOUND);
    assert_false(w->fs->exists(w->fs, path(w, "a")));
    ok(w->fs->open(w->fs, path(w, "a"), FS_CREATE_NEW, &f, &w->e));
    assert_true(w->fs->exists(w->fs, path(w, "a")));
    assert_int_equal(w->fs->open(w->fs, path(w, "a"), FS_CREATE_NEW, &again, &w->e), ERR_EXISTS);
    file_put_at(w, f, "abc", 3, 0);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &again, &w->e)); /* keeps what is there */
    check_file(w, path(w, "a"), "abc");
    w->fs->close(w->fs, f);
    w->fs->close(w->fs, again);
    ok(w->fs->open(w->fs, path(w, "a"), FS_READ, &f, &w->e));
    struct iovec iov = {(void *)(uintptr_t) "x", 1};
    assert_int_equal(w->fs->pwritev(w->fs, f, &iov, 1, 0, &w->e), ERR_IO);
    w->fs->close(w->fs, f);
    w->fs->close(w->fs, NULL);
    world_close(w);
}

static void test_fs__reads_and_gathered_writes(void **state)
{
    static const char zeros[100] = {0};
    struct world world, *w = &world;
    struct iovec iov[1500]; /* more than the kernel takes at once */
    char bytes[1500], got[4000];
    struct file *f;
    uint64_t size;
    size_t n;

    world_open(w, state);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    for (int i = 0; i < 1500; i++) {
        bytes[i] = (char)('a' + i % 26);
        iov[i] = (struct iovec){&bytes[i], i % 7 == 3 ? 0 : 1};
    }
    ok(w->fs->pwritev(w->fs, f, iov, 1500, 100, &w->e)); /* a hole before it */
    ok(w->fs->size(w->fs, f, &size, &w->e));
    assert_int_equal(size, 100 + 1500 - 214);
    ok(w->fs->pread(w->fs, f, got, sizeof(got), 0, &n, &w->e));
    assert_int_equal(n, size);
    assert_memory_equal(got, zeros, 100);
    assert_memory_equal(got + 100, "abcefghijlmn", 12);
    ok(w->fs->pread(w->fs, f, got, 10, size - 3, &n, &w->e));
    assert_int_equal(n, 3);
    ok(w->fs->pread(w->fs, f, got, 10, size + 5, &n, &w->e));
    assert_int_equal(n, 0);
    ok(w->fs->pwritev(w->fs, f, iov, 0, 5000, &w->e)); /* nothing, anywhere, changes nothing */
    ok(w->fs->size(w->fs, f, &size, &w->e));
    assert_int_equal(size, 1386);
    w->fs->close(w->fs, f);
    world_close(w);
}

static void test_fs__truncate_cuts_and_grows_with_zeros(void **state)
{
    struct world world, *w = &world;
    struct file *f;
    char got[32];
    size_t n;

    world_open(w, state);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    file_put_at(w, f, "0123456789", 10, 0);
    ok(w->fs->truncate(w->fs, f, 4, &w->e));
    ok(w->fs->truncate(w->fs, f, 8, &w->e));
    file_put_at(w, f, "xy", 2, 7);
    ok(w->fs->pread(w->fs, f, got, sizeof(got), 0, &n, &w->e));
    assert_int_equal(n, 9);
    assert_memory_equal(got, "0123\0\0\0xy", 9);
    w->fs->close(w->fs, f);
    world_close(w);
}

static void test_fs__reserve_takes_space(void **state)
{
    struct world world, *w = &world;
    struct file *f;
    uint64_t size = 0;
    char byte = 1;
    size_t n;

    world_open(w, state);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    enum err_code rc = w->fs->reserve(w->fs, f, 100000, &w->e);
    if (rc != ERR_UNSUPPORTED) {
        ok(rc);
        ok(w->fs->size(w->fs, f, &size, &w->e));
        assert_int_equal(size, 100000);
        ok(w->fs->pread(w->fs, f, &byte, 1, 99999, &n, &w->e));
        assert_int_equal(n, 1);
        assert_int_equal(byte, 0);
    }
    w->fs->close(w->fs, f);
    world_close(w);
}

/* A mapping reserved beyond the end shows what is written later, through any handle. */
static void test_fs__map_follows_writes(void **state)
{
    struct world world, *w = &world;
    const uint8_t *map, *second;
    struct file *f, *other;

    world_open(w, state);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    ok(w->fs->map(w->fs, f, 64u << 20, &map, &w->e));
    for (int i = 0; i < 300; i++)
        file_put_at(w, f, &i, sizeof(i), (uint64_t)i * 1000);
    for (int i = 0; i < 300; i++)
        assert_memory_equal(map + i * 1000, &i, sizeof(i));
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &other, &w->e));
    ok(w->fs->map(w->fs, other, 4096, &second, &w->e));
    file_put_at(w, other, "over", 4, 2);
    assert_memory_equal(map + 2, "over", 4);
    assert_memory_equal(second + 2, "over", 4);
    w->fs->close(w->fs, other);
    assert_memory_equal(map + 2, "over", 4);
    ok(w->fs->unlink(w->fs, path(w, "a"), &w->e)); /* what is open stays */
    file_put_at(w, f, "gone", 4, 0);
    assert_memory_equal(map, "gone", 4);
    w->fs->close(w->fs, f);
    world_close(w);
}

static void test_fs__rename_replaces(void **state)
{
    struct world world, *w = &world;
    struct file *old;
    char got[8];
    size_t n;

    world_open(w, state);
    file_write(w, path(w, "a"), "new");
    file_write(w, path(w, "b"), "old");
    ok(w->fs->open(w->fs, path(w, "b"), FS_READ, &old, &w->e));
    ok(w->fs->rename(w->fs, path(w, "a"), path(w, "b"), &w->e));
    assert_false(w->fs->exists(w->fs, path(w, "a")));
    check_file(w, path(w, "b"), "new");
    ok(w->fs->pread(w->fs, old, got, 3, 0, &n, &w->e));
    assert_memory_equal(got, "old", 3);
    w->fs->close(w->fs, old);
    ok(w->fs->rename(w->fs, path(w, "b"), path(w, "b"), &w->e));
    check_file(w, path(w, "b"), "new");
    assert_int_equal(w->fs->rename(w->fs, path(w, "a"), path(w, "b"), &w->e), ERR_NOT_FOUND);
    assert_int_equal(w->fs->rename(w->fs, path(w, "b"), path(w, "none/b"), &w->e), ERR_NOT_FOUND);
    world_close(w);
}

static void test_fs__directories(void **state)
{
    struct world world, *w = &world;

    world_open(w, state);
    ok(w->fs->mkdir(w->fs, path(w, "d"), &w->e));
    ok(w->fs->mkdir(w->fs, path(w, "d"), &w->e));
    ok(w->fs->mkdir(w->fs, path(w, "d/in"), &w->e));
    assert_int_equal(w->fs->mkdir(w->fs, path(w, "x/y"), &w->e), ERR_NOT_FOUND);
    file_write(w, path(w, "d/in/f"), "text");
    assert_int_equal(w->fs->mkdir(w->fs, path(w, "d/in/f"), &w->e), ERR_EXISTS);
    assert_int_equal(w->fs->mkdir(w->fs, path(w, "d/in/f/g"), &w->e), ERR_IO);
    assert_int_equal(w->fs->rmdir(w->fs, path(w, "d/in"), &w->e), ERR_IO);
    assert_int_not_equal(w->fs->unlink(w->fs, path(w, "d/in"), &w->e), ERR_NONE);
    assert_int_equal(w->fs->rmdir(w->fs, path(w, "none"), &w->e), ERR_NOT_FOUND);
    ok(w->fs->rename(w->fs, path(w, "d"), path(w, "e"), &w->e)); /* with all that is below */
    check_file(w, path(w, "e/in/f"), "text");
    check_file(w, path(w, "e//./in/f"), "text");
    assert_false(w->fs->exists(w->fs, path(w, "d")));
    assert_int_not_equal(w->fs->rename(w->fs, path(w, "e"), path(w, "e/in/e"), &w->e), ERR_NONE);
    ok(w->fs->unlink(w->fs, path(w, "e/in/f"), &w->e));
    assert_int_equal(w->fs->unlink(w->fs, path(w, "e/in/f"), &w->e), ERR_NOT_FOUND);
    ok(w->fs->sync_dir(w->fs, path(w, "e/in"), &w->e));
    ok(w->fs->rmdir(w->fs, path(w, "e/in"), &w->e));
    assert_int_equal(w->fs->sync_dir(w->fs, path(w, "e/in"), &w->e), ERR_NOT_FOUND);
    world_close(w);
}

struct seen {
    struct world *w;
    int n, n_dirs, stop_at;
    uint64_t bytes;
    bool is_deleting;
};

static bool on_name(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct seen *s = arg;

    s->n++;
    s->n_dirs += is_dir;
    if (!is_dir) s->bytes += size;
    if (s->is_deleting && !is_dir) ok_at(s->w->fs->unlink(s->w->fs, path(s->w, name), &s->w->e), &s->w->e, __LINE__);
    return s->n != s->stop_at;
}

static void test_fs__list(void **state)
{
    struct world world, *w = &world;
    struct seen all = {w}, three = {w, .stop_at = 3}, deleting = {w, .is_deleting = true}, rest = {w};
    char name[16];

    world_open(w, state);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof(name), "f%d", i);
        file_write(w, path(w, name), "12345");
    }
    ok(w->fs->mkdir(w->fs, path(w, "dir"), &w->e));
    ok(w->fs->list(w->fs, w->root, on_name, &all, &w->e));
    assert_int_equal(all.n, 21);
    assert_int_equal(all.n_dirs, 1);
    assert_int_equal(all.bytes, 100);
    ok(w->fs->list(w->fs, w->root, on_name, &three, &w->e));
    assert_int_equal(three.n, 3);
    ok(w->fs->list(w->fs, w->root, on_name, &deleting, &w->e));
    assert_int_equal(deleting.n, 21);
    ok(w->fs->list(w->fs, w->root, on_name, &rest, &w->e));
    assert_int_equal(rest.n, 1);
    assert_int_equal(w->fs->list(w->fs, path(w, "none"), on_name, &rest, &w->e), ERR_NOT_FOUND);
    world_close(w);
}

static void test_fs__lock_excludes_until_close(void **state)
{
    struct world world, *w = &world;
    struct file *lock, *second;
    char pid[24];

    world_open(w, state);
    ok(w->fs->lock(w->fs, path(w, "lock"), &lock, &w->e));
    assert_int_equal(w->fs->lock(w->fs, path(w, "lock"), &second, &w->e), ERR_BUSY);
    assert_null(second);
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    if (!w->is_sim) assert_non_null(strstr(w->e.text, pid));
    w->fs->close(w->fs, lock);
    ok(w->fs->lock(w->fs, path(w, "lock"), &second, &w->e));
    w->fs->close(w->fs, second);
    world_close(w);
}

static void test_fs__space(void **state)
{
    struct world world, *w = &world;
    struct fs_space space;

    world_open(w, state);
    ok(w->fs->space(w->fs, w->root, &space, &w->e));
    assert_true(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    assert_int_equal(w->fs->space(w->fs, path(w, "none"), &space, &w->e), ERR_NOT_FOUND);
    world_close(w);
}

/* Other people of the machine do not read a log, and children do not inherit its files. */
static void test_fs__files_are_private(void **state)
{
    struct world world, *w = &world;
    struct file *f;
    struct stat st;
    int n_open = 0;

    world_open(w, state);
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    ok(w->fs->mkdir(w->fs, path(w, "d"), &w->e));
    assert_int_equal(stat(path(w, "a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(path(w, "d"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    for (int fd = 3; fd < 64; fd++) {
        char text[64], target[256] = {0};
        (void)snprintf(text, sizeof(text), "/proc/self/fd/%d", fd);
        if (readlink(text, target, sizeof(target) - 1) < 0 || strcmp(target, path(w, "a")) != 0) continue;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        n_open++;
    }
    assert_int_equal(n_open, 1);
    w->fs->close(w->fs, f);
    world_close(w);
}

/* A page that cannot be read does not end the process: here because somebody cut the file under the mapping, which the
 * kernel answers as it answers a bad sector. */
static void test_fs__an_unreadable_page_is_told(void **state)
{
    struct world world, *w = &world;
    const uint8_t *map, *whole;
    struct file *f, *other;
    uint8_t page[4096];

    world_open(w, state);
    os_fs_catch_bus_errors();
    memset(page, 7, sizeof(page));
    ok(w->fs->open(w->fs, path(w, "a"), FS_WRITE, &f, &w->e));
    ok(w->fs->open(w->fs, path(w, "b"), FS_WRITE, &other, &w->e));
    for (uint64_t at = 0; at < 4 * sizeof(page); at += sizeof(page)) {
        file_put_at(w, f, page, sizeof(page), at);
        file_put_at(w, other, page, sizeof(page), at);
    }
    ok(w->fs->map(w->fs, f, 4 * sizeof(page), &map, &w->e));
    ok(w->fs->map(w->fs, other, 4 * sizeof(page), &whole, &w->e));
    ok(w->fs->populate(w->fs, f, 0, 4 * sizeof(page), &w->e));
    ok(w->fs->truncate(w->fs, f, 2 * sizeof(page), &w->e));
    assert_false(w->fs->map_failed(w->fs, f, 0, 4 * sizeof(page)));
    enum err_code rc = w->fs->populate(w->fs, f, 0, 4 * sizeof(page), &w->e);
    assert_true(rc == ERR_IO || rc == ERR_NONE); /* old kernels cannot tell */
    assert_int_equal(map[3 * sizeof(page) + 10], 0);
    assert_int_equal(map[sizeof(page)], 7);
    assert_true(w->fs->map_failed(w->fs, f, 0, 4 * sizeof(page)));
    assert_true(w->fs->map_failed(w->fs, f, 3 * sizeof(page), 1));
    assert_false(w->fs->map_failed(w->fs, f, 0, 3 * sizeof(page)));
    assert_int_equal(whole[3 * sizeof(page)], 7);
    assert_false(w->fs->map_failed(w->fs, other, 0, 4 * sizeof(page)));
    w->fs->close(w->fs, f);
    w->fs->close(w->fs, other);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_fs__open_modes),
        BOTH(test_fs__reads_and_gathered_writes),
        BOTH(test_fs__truncate_cuts_and_grows_with_zeros),
        BOTH(test_fs__reserve_takes_space),
        BOTH(test_fs__map_follows_writes),
        BOTH(test_fs__rename_replaces),
        BOTH(test_fs__directories),
        BOTH(test_fs__list),
        BOTH(test_fs__lock_excludes_until_close),
        BOTH(test_fs__space),
        cmocka_unit_test_prestate(test_fs__an_unreadable_page_is_told, (void *)(uintptr_t) "os"),
        cmocka_unit_test_prestate(test_fs__files_are_private, (void *)(uintptr_t) "os"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
