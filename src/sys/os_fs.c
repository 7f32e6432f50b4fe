/* os_fs.c: files by plain system calls.
 *
 * F1  Every descriptor is O_CLOEXEC; files are 0600, directories 0700: a log holds other people's data.
 * F2  Interrupted calls are called again, short reads and writes are carried on. fdatasync is called again after
 *     EINTR only, which is no answer; any other failure is final (see sys.h).
 * F3  A mapping is shared and reserved up to the asked length at once, so that bytes written later are seen without
 *     mapping again.
 * F4  The lock is flock: the kernel drops it when the process dies, however it dies. The pid in the file is only for
 *     the words.
 *
 * Stateless: one static object, any thread. Why not libuv's files: they run on its pool, which would take the order of
 * the syncs out of our hands. */
#include "sys/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "sys/os_map.h"

#define IOV_WINDOW 64 /* pieces that are copied at a time to carry on after a short write */

struct file {
    int fd;
    void *map; /* NULL: none */
    size_t map_len;
    struct os_map *entry; /* of the mapping */
};

static int open_retry(const char *path, int flags)
{
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC, 0600);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static enum err_code os_fs_open(struct fs *fs, const char *path, enum fs_open mode, struct file **out, struct err *e)
{
    static const int flags[] = {
        [FS_READ] = O_RDONLY, [FS_WRITE] = O_RDWR | O_CREAT, [FS_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL};
    struct file *f;
    int fd;

    *out = NULL;
    check((unsigned)mode < ARRAY_LEN(flags));
    fd = open_retry(path, flags[mode]);
    if (fd < 0) return err_set_os(e, errno, "opening %s", path);
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        (void)close(fd);
        return err_set(e, ERR_MEMORY, "opening %s: out of memory", path);
    }
    f->fd = fd;
    *out = f;
    return ERR_NONE;
}

static void os_fs_close(struct fs *fs, struct file *f)
{
    if (f == NULL) return;
    os_map_leave(f->entry);
    if (f->map != NULL) check(munmap(f->map, f->map_len) == 0);
    (void)close(f->fd); /* Linux frees the descriptor even at EINTR; write errors are the sync's to report. */
    free(f);
}

static enum err_code os_fs_pread(struct fs *fs, struct file *f, void *buf, size_t len, uint64_t at, size_t *n,
                                 struct err *e)
{
    *n = 0;
    while (*n < len) {
        ssize_t got = pread(f->fd, (char *)buf + *n, len - *n, (off_t)(at + *n));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_set_os(e, errno, "reading %zu bytes at %llu", len, (unsigned long long)at);
        if (got == 0) break;
        *n += (size_t)got;
    }
    return ERR_NONE;
}

/* Copies a window of the pieces with the first `skip` bytes left out. */
static int iov_rest(struct iovec *to, const struct iovec *iov, int n, size_t skip)
{
    int n_to = 0;

    for (int i = 0; i < n && n_to < IOV_WINDOW; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        to[n_to++] = (struct iovec){(char *)iov[i].iov_base + skip, iov[i].iov_len - skip};
        skip = 0;
    }
    return n_to;
}

static enum err_code os_fs_pwritev(struct fs *fs, struct file *f, const struct iovec *iov, int n, uint64_t at,
                                   struct err *e)
{
    struct iovec window[IOV_WINDOW];
    size_t total = 0, done = 0;

    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    while (done < total) {
        bool is_whole = done == 0 && n <= IOV_MAX;
        int n_window = is_whole ? 0 : iov_rest(window, iov, n, done);
        ssize_t put = pwritev(f->fd, is_whole ? iov : window, is_whole ? n : n_window, (off_t)(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return err_set_os(e, errno, "writing %zu bytes at %llu", total, (unsigned long long)at);
        if (put == 0) return err_set_os(e, EIO, "writing %zu bytes at %llu", total, (unsigned long long)at);
        done += (size_t)put;
    }
    return ERR_NONE;
}

static enum err_code os_fs_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *e)
{
    int rc;

    do
        rc = ftruncate(f->fd, (off_t)size);
    while (rc < 0 && errno == EINTR);
    return rc == 0 ? ERR_NONE : err_set_os(e, errno, "setting the size to %llu", (unsigned long long)size);
}

static enum err_code os_fs_reserve(struct fs *fs, struct file *f, uint64_t size, struct err *e)
{
    int rc;

    do
        rc = fallocate(f->fd, 0, 0, (off_t)size);
    while (rc < 0 && errno == EINTR);
    if (rc == 0) return ERR_NONE;
    if (errno == EOPNOTSUPP) return err_set(e, ERR_UNSUPPORTED, "the file system cannot reserve space");
    return err_set_os(e, errno, "reserving %llu bytes", (unsigned long long)size);
}

static enum err_code os_fs_size(struct fs *fs, struct file *f, uint64_t *out, struct err *e)
{
    struct stat st;

    *out = 0;
    if (fstat(f->fd, &st) != 0) return err_set_os(e, errno, "asking for the size");
    *out = (uint64_t)st.st_size;
    return ERR_NONE;
}

static enum err_code os_fs_sync(struct fs *fs, struct file *f, struct err *e)
{
    int rc;

    do
        rc = fdatasync(f->fd);
    while (rc < 0 && errno == EINTR); /* F2 */
    return rc == 0 ? ERR_NONE : err_set_os(e, errno, "fdatasync");
}

static enum err_code os_fs_map(struct fs *fs, struct file *f, size_t len, const uint8_t **out, struct err *e)
{
    void *p;

    check(f->map == NULL && len > 0);
    *out = NULL;
    p = mmap(NULL, len, PROT_READ, MAP_SHARED, f->fd, 0); /* F3 */
    if (p == MAP_FAILED) return err_set_os(e, errno, "mapping %zu bytes", len);
    f->map = p;
    f->map_len = len;
    f->entry = os_map_enter(p, len);
    *out = p;
    return ERR_NONE;
}

static enum err_code os_fs_populate(struct fs *fs, struct file *f, uint64_t from, size_t len, struct err *e)
{
    static const int populate_read = 22; /* MADV_POPULATE_READ of Linux 5.14, not in Debian 12's headers */
    uint64_t start = from & ~(uint64_t)4095;

    if (f->map == NULL || from + len > f->map_len) return ERR_NONE;
    /* An older kernel refuses it, and the pages come by faults as before. EFAULT: touching would be a SIGBUS. */
    if (madvise((uint8_t *)f->map + start, (size_t)(from + len - start), populate_read) == 0 ||
        (errno != EFAULT && errno != EHWPOISON))
        return ERR_NONE;
    return err_set_os(e, EIO, "reading %zu bytes at %llu", len, (unsigned long long)from);
}

static bool os_fs_map_failed(struct fs *fs, struct file *f, uint64_t from, size_t len)
{
    return os_map_has_failed(f->entry, from, len);
}

static void os_fs_forget(struct fs *fs, struct file *f, uint64_t from, uint64_t len)
{
    (void)posix_fadvise(f->fd, (off_t)from, (off_t)len, POSIX_FADV_DONTNEED);
}

static enum err_code os_fs_sync_dir(struct fs *fs, const char *dir, struct err *e)
{
    enum err_code rc = ERR_NONE;
    int fd = open_retry(dir, O_RDONLY | O_DIRECTORY), done;

    if (fd < 0) return err_set_os(e, errno, "opening the directory %s", dir);
    do
        done = fsync(fd);
    while (done < 0 && errno == EINTR);
    if (done < 0) rc = err_set_os(e, errno, "syncing the directory %s", dir);
    (void)close(fd);
    return rc;
}

static enum err_code os_fs_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    return rename(from, to) == 0 ? ERR_NONE : err_set_os(e, errno, "renaming %s to %s", from, to);
}

static enum err_code os_fs_unlink(struct fs *fs, const char *path, struct err *e)
{
    return unlink(path) == 0 ? ERR_NONE : err_set_os(e, errno, "deleting %s", path);
}

static enum err_code os_fs_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct stat st;

    if (mkdir(path, 0700) == 0) return ERR_NONE;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return ERR_NONE;
    return err_set_os(e, errno, "making the directory %s", path);
}

static enum err_code os_fs_rmdir(struct fs *fs, const char *path, struct err *e)
{
    return rmdir(path) == 0 ? ERR_NONE : err_set_os(e, errno, "deleting the directory %s", path);
}

static enum err_code os_fs_list(struct fs *fs, const char *dir, fs_list_fn fn, void *arg, struct err *e)
{
    enum err_code rc = ERR_NONE;
    DIR *d = opendir(dir);
    struct dirent *entry;

    if (d == NULL) return err_set_os(e, errno, "listing %s", dir);
    for (;;) {
        struct stat st;
        errno = 0;
        entry = readdir(d);
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue; /* gone meanwhile */
        if (!fn(arg, entry->d_name, S_ISDIR(st.st_mode), (uint64_t)st.st_size)) break;
    }
    if (entry == NULL && errno != 0) rc = err_set_os(e, errno, "listing %s", dir);
    (void)closedir(d);
    return rc;
}

static bool os_fs_exists(struct fs *fs, const char *path)
{
    return access(path, F_OK) == 0;
}

static enum err_code os_fs_space(struct fs *fs, const char *path, struct fs_space *out, struct err *e)
{
    struct statvfs st;
    int rc;

    *out = (struct fs_space){0};
    do
        rc = statvfs(path, &st);
    while (rc < 0 && errno == EINTR);
    if (rc != 0) return err_set_os(e, errno, "asking for the space of %s", path);
    out->total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    out->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return ERR_NONE;
}

/* Who holds the lock, as far as the file tells. 0: unknown. */
static long lock_holder(struct fs *fs, struct file *f)
{
    char text[24] = {0};
    size_t n;

    if (os_fs_pread(fs, f, text, sizeof(text) - 1, 0, &n, NULL) != ERR_NONE) return 0;
    return strtol(text, NULL, 10);
}

static enum err_code os_fs_lock(struct fs *fs, const char *path, struct file **out, struct err *e)
{
    struct file *f;
    char text[24];
    int rc;
    enum err_code code = os_fs_open(fs, path, FS_WRITE, &f, e);

    *out = NULL;
    if (code != ERR_NONE) return code;
    do
        rc = flock(f->fd, LOCK_EX | LOCK_NB);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        int cause = errno;
        long pid = lock_holder(fs, f);
        os_fs_close(fs, f);
        if (cause != EWOULDBLOCK) return err_set_os(e, cause, "locking %s", path);
        if (pid > 0) return err_set(e, ERR_BUSY, "%s is in use by process %ld", path, pid);
        return err_set(e, ERR_BUSY, "%s is in use by another process", path);
    }
    /* On a full disk the pid does not fit; the lock holds all the same (F4). */
    struct iovec iov = {text, (size_t)snprintf(text, sizeof(text), "%ld\n", (long)getpid())};
    if (os_fs_truncate(fs, f, 0, NULL) == ERR_NONE) (void)!os_fs_pwritev(fs, f, &iov, 1, 0, NULL);
    *out = f;
    return ERR_NONE;
}

struct fs *os_fs(void)
{
    static struct fs the_fs = {
        .open = os_fs_open,
        .close = os_fs_close,
        .pread = os_fs_pread,
        .pwritev = os_fs_pwritev,
        .truncate = os_fs_truncate,
        .reserve = os_fs_reserve,
        .size = os_fs_size,
        .sync = os_fs_sync,
        .map = os_fs_map,
        .populate = os_fs_populate,
        .map_failed = os_fs_map_failed,
        .forget = os_fs_forget,
        .sync_dir = os_fs_sync_dir,
        .rename = os_fs_rename,
        .unlink = os_fs_unlink,
        .mkdir = os_fs_mkdir,
        .rmdir = os_fs_rmdir,
        .list = os_fs_list,
        .exists = os_fs_exists,
        .space = os_fs_space,
        .lock = os_fs_lock,
    };
    return &the_fs;
}
