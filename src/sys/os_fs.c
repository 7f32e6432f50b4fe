/* os_fs.c: files by plain system calls. Stateless: one static object serves every thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/limits.h"
#include "sys/os.h"

#define IOV_BATCH 64

struct file {
    int fd;
    const uint8_t *map;
    size_t map_len;
    char path[];
};

static enum err_code file_create(struct file **out, int fd, const char *path, struct err *e)
{
    size_t n = strlen(path) + 1;
    struct file *f = calloc(1, sizeof *f + n);
    *out = f;
    if (f == NULL) {
        close(fd);
        return err_set(e, ERR_MEMORY, "opening %s: out of memory", path);
    }
    f->fd = fd;
    memcpy(f->path, path, n);
    return ERR_NONE;
}

static enum err_code os_open(struct fs *fs, const char *path, enum fs_open mode, struct file **out, struct err *e)
{
    int flags = O_CLOEXEC | (mode == FS_READ ? O_RDONLY : O_RDWR | O_CREAT) | (mode == FS_CREATE_NEW ? O_EXCL : 0);
    int fd;
    (void)fs;
    *out = NULL;
    do
        fd = open(path, flags, 0600);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return err_set_os(e, errno, "opening %s", path);
    return file_create(out, fd, path, e);
}

static void os_close(struct fs *fs, struct file *f)
{
    (void)fs;
    if (f == NULL) return;
    if (f->map != NULL) munmap((void *)(uintptr_t)f->map, f->map_len);
    close(f->fd);
    free(f);
}

static enum err_code os_pread(struct fs *fs, struct file *f, void *buf, size_t len, uint64_t at, size_t *n,
                              struct err *e)
{
    size_t done = 0;
    (void)fs;
    while (done < len) {
        ssize_t r = pread(f->fd, (uint8_t *)buf + done, len - done, (off_t)(at + done));
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_set_os(e, errno, "reading %s at %llu", f->path, (unsigned long long)at);
        if (r == 0) break;
        done += (size_t)r;
    }
    *n = done;
    return ERR_NONE;
}

static enum err_code os_pwritev(struct fs *fs, struct file *f, const struct iovec *iov, int n, uint64_t at,
                                struct err *e)
{
    (void)fs;
    while (n > 0) {
        int k = n < IOV_BATCH ? n : IOV_BATCH;
        ssize_t r = pwritev(f->fd, iov, k, (off_t)at);
        size_t left;
        if (r < 0 && errno == EINTR) continue;
        if (r < 0) return err_set_os(e, errno, "writing %s at %llu", f->path, (unsigned long long)at);
        at += (uint64_t)r;
        left = (size_t)r;
        while (n > 0 && left >= iov->iov_len)
            left -= iov->iov_len, iov++, n--;
        /* A short write inside one piece: the rest of it goes alone. */
        while (left > 0) {
            r = pwrite(f->fd, (const uint8_t *)iov->iov_base + left, iov->iov_len - left, (off_t)at);
            if (r < 0 && errno == EINTR) continue;
            if (r < 0) return err_set_os(e, errno, "writing %s at %llu", f->path, (unsigned long long)at);
            at += (uint64_t)r;
            left += (size_t)r;
            if (left == iov->iov_len) left = 0, iov++, n--;
        }
    }
    return ERR_NONE;
}

static enum err_code os_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *e)
{
    (void)fs;
    while (ftruncate(f->fd, (off_t)size) != 0) {
        if (errno != EINTR) return err_set_os(e, errno, "cutting %s to %llu bytes", f->path, (unsigned long long)size);
    }
    return ERR_NONE;
}

static enum err_code os_size(struct fs *fs, struct file *f, uint64_t *out, struct err *e)
{
    struct stat st;
    (void)fs;
    if (fstat(f->fd, &st) != 0) return err_set_os(e, errno, "asking for the size of %s", f->path);
    *out = (uint64_t)st.st_size;
    return ERR_NONE;
}

static enum err_code os_sync(struct fs *fs, struct file *f, struct err *e)
{
    (void)fs;
    while (fdatasync(f->fd) != 0) {
        if (errno != EINTR) return err_set_os(e, errno, "syncing %s", f->path);
    }
    return ERR_NONE;
}

static enum err_code os_map(struct fs *fs, struct file *f, size_t len, const uint8_t **out, struct err *e)
{
    void *p;
    (void)fs;
    check(f->map == NULL);
    p = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, f->fd, 0);
    if (p == MAP_FAILED) return err_set_os(e, errno, "mapping %s", f->path);
    f->map = p;
    f->map_len = len;
    *out = f->map;
    return ERR_NONE;
}

static enum err_code os_sync_dir(struct fs *fs, const char *dir, struct err *e)
{
    int rc, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved;
    (void)fs;
    if (fd < 0) return err_set_os(e, errno, "opening directory %s", dir);
    do
        rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    saved = errno;
    close(fd);
    return rc == 0 ? ERR_NONE : err_set_os(e, saved, "syncing directory %s", dir);
}

static enum err_code os_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    (void)fs;
    return rename(from, to) == 0 ? ERR_NONE : err_set_os(e, errno, "renaming %s to %s", from, to);
}

static enum err_code os_unlink(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    return unlink(path) == 0 ? ERR_NONE : err_set_os(e, errno, "removing %s", path);
}

static enum err_code os_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct stat st;
    (void)fs;
    if (mkdir(path, 0700) == 0) return ERR_NONE;
    if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return ERR_NONE;
    return err_set_os(e, errno == EEXIST ? ENOTDIR : errno, "creating directory %s", path);
}

static enum err_code os_rmdir(struct fs *fs, const char *path, struct err *e)
{
    (void)fs;
    return rmdir(path) == 0 ? ERR_NONE : err_set_os(e, errno, "removing directory %s", path);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Sorted, so that what follows from a listing does not depend on the file system. */
static enum err_code os_list(struct fs *fs, const char *dir, fs_list_fn fn, void *arg, struct err *e)
{
    struct dirent **names;
    bool more = true;
    int n = scandir(dir, &names, NULL, by_name);
    (void)fs;
    if (n < 0) return err_set_os(e, errno, "listing directory %s", dir);
    for (int i = 0; i < n; i++) {
        char path[LIMIT_PATH_LEN_MAX];
        struct stat st;
        const char *name = names[i]->d_name;
        if (more && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            (size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path && stat(path, &st) == 0)
            more = fn(arg, name, S_ISDIR(st.st_mode), (uint64_t)st.st_size);
        free(names[i]);
    }
    free(names);
    return ERR_NONE;
}

static bool os_exists(struct fs *fs, const char *path)
{
    (void)fs;
    return access(path, F_OK) == 0;
}

static enum err_code os_space(struct fs *fs, const char *path, struct fs_space *out, struct err *e)
{
    struct statvfs v;
    (void)fs;
    if (statvfs(path, &v) != 0) return err_set_os(e, errno, "asking for the space of %s", path);
    out->total_bytes = (uint64_t)v.f_blocks * v.f_frsize;
    out->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return ERR_NONE;
}

static enum err_code os_lock(struct fs *fs, const char *path, struct file **out, struct err *e)
{
    char pid[32] = "";
    int n;
    enum err_code rc = os_open(fs, path, FS_WRITE, out, e);
    if (rc != ERR_NONE) return rc;
    if (flock((*out)->fd, LOCK_EX | LOCK_NB) != 0) {
        int saved = errno;
        n = (int)pread((*out)->fd, pid, sizeof pid - 1, 0);
        os_close(fs, *out);
        *out = NULL;
        if (saved != EWOULDBLOCK) return err_set_os(e, saved, "locking %s", path);
        pid[n > 0 ? n : 0] = 0;
        pid[strcspn(pid, "\n")] = 0;
        rc = err_set(e, ERR_BUSY, "%s is locked by another process%s%s", path, pid[0] ? ", pid " : "", pid);
        err_hint(e, "stop that process, or use another data directory");
        return rc;
    }
    n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* The pid only helps the reader of the error above; the lock is the flock. */
    if (ftruncate((*out)->fd, 0) != 0 || pwrite((*out)->fd, pid, (size_t)n, 0) != n) return ERR_NONE;
    return ERR_NONE;
}

struct fs *os_fs(void)
{
    static struct fs fs = {os_open,  os_close, os_pread,    os_pwritev, os_truncate, os_size,
                           os_sync,  os_map,   os_sync_dir, os_rename,  os_unlink,   os_mkdir,
                           os_rmdir, os_list,  os_exists,   os_space,   os_lock};
    return &fs;
}
