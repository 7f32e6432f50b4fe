/* sim_fs.c: a disk in memory that forgets what was not synced.
 *
 *   directory inode:  current names ──▶ inodes   what lookups see
 *                     durable names ──▶ inodes   what a power cut leaves
 *   journal:          link, unlink, rename, in order, not yet durable
 *
 * D1  Each change of a name goes to `current` at once and to the journal; sync_dir moves the journal's entries of
 *     that directory into `durable`. A rename is one entry: after a cut the file has its old name or its new one.
 * D2  A power cut keeps a part of the journal: by the seed a prefix of all (a file system with an ordered journal) or
 *     each entry by its own (what POSIX promises: nothing).
 * D3  Content is sim_content.c's; it survives by its own sync, whether its name does or not.
 * D4  Handles belong to one life of the process. After a kill or a cut they give ERR_IO, and their locks are gone.
 * D5  When the disk is down nothing works, reading included; the call that brings it down has no effect.
 *
 * Paths are resolved as POSIX does, from the root; a relative path starts at the root, too. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "sys/sim_content.h"

struct inode {
    unsigned refs;    /* names in both worlds, journal, handles */
    unsigned n_names; /* in the current world */
    bool is_dir;
    struct map current, durable; /* directory: name -> inode, referenced */
    struct sim_content content;  /* file */
    struct file *lock;           /* borrowed; NULL: free */
    uint64_t failed_in;          /* life in which a sync of it failed; 0: none */
};
struct file {
    struct list link; /* of the disk's handles */
    struct inode *inode;
    uint64_t life;
    bool is_writable;
    struct sim_storage *mapped; /* NULL: not mapped */
};
enum op_kind { OP_LINK, OP_UNLINK, OP_RENAME };
struct op {
    struct list link;
    enum op_kind kind;
    struct inode *inode, *dir, *to_dir; /* referenced */
    char *name, *to_name;               /* owned */
};
struct sim_disk {
    struct fs fs;
    struct sim *sim;
    struct inode *root;
    struct list journal, handles;
    uint64_t n_ops, crash_at; /* crash_at: of n_ops; 0: never */
    uint64_t life, used_bytes;
    unsigned n_failing_syncs;
    enum sim_fault fault; /* fault_in: calls until it strikes, 0: never */
    uint64_t fault_in, n_faults, n_sync_retries;
    bool is_fault_for_ever;
    bool is_down;
};
/* A path taken apart: the directory it lies in and its last part. */
struct place {
    struct inode *dir;
    struct bytes name;   /* empty: the root itself */
    struct inode *inode; /* NULL: nothing there */
};

static struct sim_disk *self(struct fs *fs)
{
    return CONTAINER_OF(fs, struct sim_disk, fs);
}

/* ---- inodes and names ---- */

static struct inode *inode_create(struct sim_disk *d, bool is_dir)
{
    struct inode *n = calloc(1, sizeof(*n));

    check(n != NULL);
    n->is_dir = is_dir;
    map_init(&n->current);
    map_init(&n->durable);
    n->content.is_recorded = !d->sim->options.disk_is_memory;
    return n;
}

static struct inode *inode_ref(struct inode *n)
{
    n->refs++;
    return n;
}

static void inode_unref(struct sim_disk *d, struct inode *n);

static void names_clear(struct sim_disk *d, struct map *m, bool is_current)
{
    struct map_entry *entry;

    for (uint32_t pos = 0; (entry = map_next(m, &pos)) != NULL;) {
        struct inode *n = entry->value;
        if (is_current && --n->n_names == 0) d->used_bytes -= n->content.size;
        inode_unref(d, n);
    }
    map_deinit(m);
    map_init(m);
}

static void inode_unref(struct sim_disk *d, struct inode *n)
{
    if (n == NULL || --n->refs > 0) return;
    names_clear(d, &n->current, true);
    names_clear(d, &n->durable, false);
    map_deinit(&n->current);
    map_deinit(&n->durable);
    sim_content_deinit(&n->content);
    free(n);
}

static void name_remove(struct sim_disk *d, struct inode *dir, struct bytes name, bool is_current)
{
    struct inode *n = map_remove(is_current ? &dir->current : &dir->durable, name);

    if (n == NULL) return;
    if (is_current && --n->n_names == 0) d->used_bytes -= n->content.size;
    inode_unref(d, n);
}

static void name_put(struct sim_disk *d, struct inode *dir, struct bytes name, struct inode *n, bool is_current)
{
    inode_ref(n);
    name_remove(d, dir, name, is_current);
    check(map_put(is_current ? &dir->current : &dir->durable, name, n) == NULL);
    if (is_current && n->n_names++ == 0) d->used_bytes += n->content.size;
}

/* The next part of a path; false at its end. "." and doubled slashes are no parts. */
static bool path_next(const char **path, struct bytes *part)
{
    for (;;) {
        size_t len;
        *path += strspn(*path, "/");
        len = strcspn(*path, "/");
        *part = bytes_of(*path, len);
        *path += len;
        if (len == 0) return false;
        if (len != 1 || part->ptr[0] != '.') return true;
    }
}

/* Returns 0 or an errno: the path leads through something that is not a directory. */
static int place_find(struct sim_disk *d, const char *path, struct place *out)
{
    struct bytes part;

    *out = (struct place){.dir = d->root, .name = bytes_of("", 0), .inode = d->root};
    while (path_next(&path, &part)) {
        if (out->inode == NULL) return ENOENT;
        if (!out->inode->is_dir) return ENOTDIR;
        out->dir = out->inode;
        out->name = part;
        out->inode = map_get(&out->dir->current, part);
    }
    return 0;
}

/* ---- journal ---- */

static char *text_of(struct bytes b)
{
    char *p = strndup((const char *)b.ptr, b.len);

    check(p != NULL);
    return p;
}

static void op_free(struct sim_disk *d, struct op *o)
{
    list_remove(&o->link);
    inode_unref(d, o->inode);
    inode_unref(d, o->dir);
    inode_unref(d, o->to_dir);
    free(o->name);
    free(o->to_name);
    free(o);
}

static void op_apply(struct sim_disk *d, const struct op *o, bool is_current)
{
    struct map *m = is_current ? &o->dir->current : &o->dir->durable;
    struct bytes name = bytes_str(o->name);

    if (o->kind == OP_LINK)
        name_put(d, o->dir, name, o->inode, is_current);
    else if (map_get(m, name) == o->inode) /* else: the entry that put it there was lost, or another one followed */
        name_remove(d, o->dir, name, is_current);
    if (o->kind == OP_RENAME) name_put(d, o->to_dir, bytes_str(o->to_name), o->inode, is_current);
}

static void op_do(struct sim_disk *d, enum op_kind kind, struct inode *n, const struct place *p, const struct place *to)
{
    struct op *o = calloc(1, sizeof(*o));

    check(o != NULL);
    o->kind = kind;
    o->inode = inode_ref(n);
    o->dir = inode_ref(p->dir);
    o->name = text_of(p->name);
    if (to != NULL) {
        o->to_dir = inode_ref(to->dir);
        o->to_name = text_of(to->name);
    }
    list_push_back(&d->journal, &o->link);
    op_apply(d, o, true); /* D1 */
    if (d->sim->options.disk_is_memory) {
        op_apply(d, o, false);
        op_free(d, o);
    }
}

/* ---- faults ---- */

static enum err_code refuse(struct err *e, const char *what)
{
    (void)err_set(e, ERR_IO, "%s: the simulated disk is down", what);
    if (e != NULL) e->os_errno = EIO;
    return ERR_IO;
}

/* Counts a mutating call; false: the power is gone (D5). */
static bool mutate(struct sim_disk *d, uint64_t what)
{
    if (d->is_down) return false;
    d->n_ops++;
    if (d->crash_at != 0 && d->n_ops >= d->crash_at) d->is_down = true;
    sim_note(d->sim, what << 32 ^ d->n_ops ^ (uint64_t)d->is_down << 63);
    return !d->is_down;
}

/* Does this call go wrong? */
static bool strikes(struct sim_disk *d, enum sim_fault concerned)
{
    if (d->fault_in == 0 || d->fault != concerned) return false;
    if (d->fault_in > 1) {
        d->fault_in--;
        return false;
    }
    if (!d->is_fault_for_ever) d->fault_in = 0;
    d->n_faults++;
    return true;
}

static bool is_usable(struct sim_disk *d, const struct file *f)
{
    return !d->is_down && f->life == d->life;
}

/* ---- files ---- */

static struct file *handle_create(struct sim_disk *d, struct inode *n, bool is_writable)
{
    struct file *f = calloc(1, sizeof(*f));

    check(f != NULL);
    f->inode = inode_ref(n);
    f->life = d->life;
    f->is_writable = is_writable;
    list_push_back(&d->handles, &f->link);
    return f;
}

static enum err_code sim_fs_open(struct fs *fs, const char *path, enum fs_open mode, struct file **out, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct place p;
    int os = place_find(d, path, &p);

    *out = NULL;
    if (d->is_down) return refuse(e, "opening a file");
    if (os == 0 && p.inode == NULL && mode == FS_READ) os = ENOENT;
    if (os == 0 && p.inode != NULL && mode == FS_CREATE_NEW) os = EEXIST;
    if (os == 0 && p.inode != NULL && p.inode->is_dir) os = EISDIR;
    if (os != 0) return err_set_os(e, os, "opening %s", path);
    if (p.inode == NULL) {
        if (!mutate(d, 'c')) return refuse(e, "creating a file");
        if (strikes(d, SIM_FAULT_NO_SPACE)) return err_set_os(e, ENOSPC, "opening %s", path);
        p.inode = inode_create(d, false);
        op_do(d, OP_LINK, p.inode, &p, NULL);
    }
    *out = handle_create(d, p.inode, mode != FS_READ);
    return ERR_NONE;
}

static void sim_fs_close(struct fs *fs, struct file *f)
{
    struct sim_disk *d = self(fs);

    if (f == NULL) return;
    list_remove(&f->link);
    if (f->inode->lock == f) f->inode->lock = NULL;
    sim_storage_unref(f->mapped);
    inode_unref(d, f->inode);
    free(f);
}

static enum err_code sim_fs_pread(struct fs *fs, struct file *f, void *buf, size_t len, uint64_t at, size_t *n,
                                  struct err *e)
{
    const struct sim_content *c = &f->inode->content;

    *n = 0;
    if (!is_usable(self(fs), f)) return refuse(e, "reading");
    if (strikes(self(fs), SIM_FAULT_READ)) return err_set_os(e, EIO, "reading %zu bytes", len);
    if (at < c->size) *n = c->size - at < len ? c->size - at : len;
    if (*n > 0) memcpy(buf, c->store->base + at, *n);
    return ERR_NONE;
}

/* How many of len bytes at `at` fit the disk. */
static size_t space_for(struct sim_disk *d, const struct inode *n, uint64_t at, size_t len)
{
    uint64_t capacity = d->sim->options.disk_capacity_bytes, end = at + len, fits;

    if (capacity == 0 || n->n_names == 0 || end <= n->content.size) return len;
    fits = n->content.size + (capacity > d->used_bytes ? capacity - d->used_bytes : 0);
    return end <= fits ? len : fits > at ? fits - at : 0;
}

static enum err_code sim_fs_pwritev(struct fs *fs, struct file *f, const struct iovec *iov, int n, uint64_t at,
                                    struct err *e)
{
    struct sim_disk *d = self(fs);
    struct inode *node = f->inode;
    size_t len = 0, room;
    uint64_t size_before = node->content.size;
    enum err_code rc;

    if (!is_usable(d, f) || !mutate(d, 'w')) return refuse(e, "writing");
    if (!f->is_writable) return err_set_os(e, EBADF, "writing");
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    if (strikes(d, SIM_FAULT_WRITE)) return err_set_os(e, EIO, "writing %zu bytes", len);
    bool is_short = strikes(d, SIM_FAULT_SHORT_WRITE),
         is_full = at + len > node->content.size && strikes(d, SIM_FAULT_NO_SPACE);
    room = is_short || is_full ? len / 2 : space_for(d, node, at, len);
    rc = sim_content_write(&node->content, at, iov, room, e);
    if (rc != ERR_NONE) return rc;
    if (node->n_names > 0) d->used_bytes += node->content.size - size_before;
    if (is_short) return err_set_os(e, EIO, "writing %zu bytes at %llu", len, (unsigned long long)at);
    return room == len ? ERR_NONE : err_set_os(e, ENOSPC, "writing %zu bytes at %llu", len, (unsigned long long)at);
}

static enum err_code sim_fs_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *e)
{
    struct sim_disk *d = self(fs);
    uint64_t before = f->inode->content.size;
    enum err_code rc;

    if (!is_usable(d, f) || !mutate(d, 't')) return refuse(e, "setting the size");
    if (!f->is_writable) return err_set_os(e, EBADF, "setting the size");
    bool is_full = size > before &&
                   (strikes(d, SIM_FAULT_NO_SPACE) || space_for(d, f->inode, before, size - before) < size - before);
    if (is_full) return err_set_os(e, ENOSPC, "setting the size to %llu", (unsigned long long)size);
    rc = sim_content_truncate(&f->inode->content, size, e);
    if (f->inode->n_names > 0) d->used_bytes += f->inode->content.size - before;
    return rc;
}

static enum err_code sim_fs_size(struct fs *fs, struct file *f, uint64_t *out, struct err *e)
{
    *out = 0;
    if (!is_usable(self(fs), f)) return refuse(e, "asking for the size");
    *out = f->inode->content.size;
    return ERR_NONE;
}

static enum err_code sim_fs_sync(struct fs *fs, struct file *f, struct err *e)
{
    struct sim_disk *d = self(fs);

    if (!is_usable(d, f) || !mutate(d, 's')) return refuse(e, "fdatasync");
    if (f->inode->failed_in == d->life) d->n_sync_retries++;
    if (d->n_failing_syncs > 0 || strikes(d, SIM_FAULT_SYNC)) {
        if (d->n_failing_syncs > 0) d->n_failing_syncs--;
        f->inode->failed_in = d->life;
        sim_content_fail_sync(&f->inode->content);
        return err_set_os(e, EIO, "fdatasync");
    }
    sim_content_sync(&f->inode->content);
    return ERR_NONE;
}

static enum err_code sim_fs_map(struct fs *fs, struct file *f, size_t len, const uint8_t **out, struct err *e)
{
    enum err_code rc;

    *out = NULL;
    check(f->mapped == NULL && len > 0);
    if (!is_usable(self(fs), f)) return refuse(e, "mapping");
    rc = sim_content_map(&f->inode->content, len, &f->mapped, e);
    if (rc == ERR_NONE) *out = f->mapped->base;
    return rc;
}

/* SIM_FAULT_READ reaches a mapping here only: the bytes themselves are always there. */
static enum err_code sim_fs_populate(struct fs *fs, struct file *f, uint64_t from, size_t len, struct err *e)
{
    if (strikes(self(fs), SIM_FAULT_READ)) return err_set_os(e, EIO, "reading %zu bytes", len);
    return ERR_NONE;
}

static bool sim_fs_map_failed(struct fs *fs, struct file *f, uint64_t from, size_t len)
{
    return false;
}

static void sim_fs_forget(struct fs *fs, struct file *f, uint64_t from, uint64_t len)
{
    (void)fs;
    (void)f;
    (void)from;
    (void)len;
}

static enum err_code sim_fs_lock(struct fs *fs, const char *path, struct file **out, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct file *f;
    enum err_code rc = sim_fs_open(fs, path, FS_WRITE, &f, e);

    *out = NULL;
    if (rc != ERR_NONE) return rc;
    if (f->inode->lock != NULL && f->inode->lock->life == d->life) { /* D4 */
        sim_fs_close(fs, f);
        return err_set(e, ERR_BUSY, "%s is in use", path);
    }
    f->inode->lock = f;
    *out = f;
    return ERR_NONE;
}

/* ---- names ---- */

static enum err_code sim_fs_sync_dir(struct fs *fs, const char *dir, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct place p;
    struct list *n, *next;
    int os = place_find(d, dir, &p);

    if (d->is_down) return refuse(e, "syncing a directory");
    if (os == 0 && p.inode == NULL) os = ENOENT;
    if (os == 0 && !p.inode->is_dir) os = ENOTDIR;
    if (os != 0) return err_set_os(e, os, "opening the directory %s", dir);
    if (!mutate(d, 'd')) return refuse(e, "syncing a directory");
    if (strikes(d, SIM_FAULT_SYNC)) return err_set_os(e, EIO, "syncing the directory %s", dir);
    for (n = d->journal.next; n != &d->journal; n = next) {
        struct op *o = CONTAINER_OF(n, struct op, link);
        next = n->next;
        if (o->dir != p.inode && o->to_dir != p.inode) continue;
        op_apply(d, o, false); /* D1 */
        op_free(d, o);
    }
    return ERR_NONE;
}

static bool is_below(struct inode *dir, const struct inode *what)
{
    struct map_entry *entry;

    if (dir == what) return true;
    for (uint32_t pos = 0; dir->is_dir && (entry = map_next(&dir->current, &pos)) != NULL;) {
        if (is_below(entry->value, what)) return true;
    }
    return false;
}

static int rename_refusal(const struct place *from, const struct place *to)
{
    if (from->inode == NULL) return ENOENT;
    if (from->name.len == 0 || to->name.len == 0) return EBUSY; /* the root */
    if (from->inode->is_dir && is_below(from->inode, to->dir)) return EINVAL;
    if (to->inode == NULL) return 0;
    if (from->inode->is_dir && !to->inode->is_dir) return ENOTDIR;
    if (!from->inode->is_dir && to->inode->is_dir) return EISDIR;
    return to->inode->is_dir && map_count(&to->inode->current) > 0 ? ENOTEMPTY : 0;
}

static enum err_code sim_fs_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct place a, b;
    int os = place_find(d, from, &a);

    if (d->is_down) return refuse(e, "renaming");
    if (os == 0) os = place_find(d, to, &b);
    if (os == 0) os = rename_refusal(&a, &b);
    if (os != 0) return err_set_os(e, os, "renaming %s to %s", from, to);
    if (a.inode == b.inode) return ERR_NONE;
    if (!mutate(d, 'r')) return refuse(e, "renaming");
    op_do(d, OP_RENAME, a.inode, &a, &b);
    return ERR_NONE;
}

static enum err_code remove_name(struct sim_disk *d, const char *path, bool is_dir, struct err *e)
{
    struct place p;
    int os = place_find(d, path, &p);

    if (d->is_down) return refuse(e, "deleting");
    if (os == 0 && p.inode == NULL) os = ENOENT;
    if (os == 0 && p.inode->is_dir != is_dir) os = is_dir ? ENOTDIR : EISDIR;
    if (os == 0 && p.name.len == 0) os = EBUSY;
    if (os == 0 && is_dir && map_count(&p.inode->current) > 0) os = ENOTEMPTY;
    if (os != 0) return err_set_os(e, os, "deleting %s", path);
    if (!mutate(d, 'u')) return refuse(e, "deleting");
    op_do(d, OP_UNLINK, p.inode, &p, NULL);
    return ERR_NONE;
}

static enum err_code sim_fs_unlink(struct fs *fs, const char *path, struct err *e)
{
    return remove_name(self(fs), path, false, e);
}

static enum err_code sim_fs_rmdir(struct fs *fs, const char *path, struct err *e)
{
    return remove_name(self(fs), path, true, e);
}

static enum err_code sim_fs_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct place p;
    int os = place_find(d, path, &p);

    if (d->is_down) return refuse(e, "making a directory");
    if (os == 0 && p.inode != NULL && !p.inode->is_dir) os = EEXIST;
    if (os != 0) return err_set_os(e, os, "making the directory %s", path);
    if (p.inode != NULL) return ERR_NONE;
    if (!mutate(d, 'm')) return refuse(e, "making a directory");
    if (strikes(d, SIM_FAULT_NO_SPACE)) return err_set_os(e, ENOSPC, "making the directory %s", path);
    op_do(d, OP_LINK, inode_create(d, true), &p, NULL);
    return ERR_NONE;
}

static enum err_code sim_fs_list(struct fs *fs, const char *dir, fs_list_fn fn, void *arg, struct err *e)
{
    struct sim_disk *d = self(fs);
    struct map_entry *entry;
    struct place p;
    char **names;
    size_t n = 0;
    bool wants_more = true;
    int os = place_find(d, dir, &p);

    if (d->is_down) return refuse(e, "listing");
    if (os == 0 && p.inode == NULL) os = ENOENT;
    if (os == 0 && !p.inode->is_dir) os = ENOTDIR;
    if (os != 0) return err_set_os(e, os, "listing %s", dir);
    names = calloc(map_count(&p.inode->current) + 1u, sizeof(*names)); /* fn may rename and delete */
    check(names != NULL);
    for (uint32_t pos = 0; (entry = map_next(&p.inode->current, &pos)) != NULL;)
        names[n++] = text_of(entry->key);
    inode_ref(p.inode);
    for (size_t i = 0; i < n; i++) {
        struct inode *found = map_get_str(&p.inode->current, names[i]);
        if (wants_more && found != NULL) wants_more = fn(arg, names[i], found->is_dir, found->content.size);
        free(names[i]);
    }
    inode_unref(d, p.inode);
    free(names);
    return ERR_NONE;
}

static bool sim_fs_exists(struct fs *fs, const char *path)
{
    struct place p;

    return !self(fs)->is_down && place_find(self(fs), path, &p) == 0 && p.inode != NULL;
}

static enum err_code sim_fs_space(struct fs *fs, const char *path, struct fs_space *out, struct err *e)
{
    struct sim_disk *d = self(fs);
    uint64_t capacity = d->sim->options.disk_capacity_bytes;

    *out = (struct fs_space){0};
    if (d->is_down) return refuse(e, "asking for the space");
    if (!sim_fs_exists(fs, path)) return err_set_os(e, ENOENT, "asking for the space of %s", path);
    out->total_bytes = capacity ? capacity : 1ull << 50;
    out->free_bytes = out->total_bytes > d->used_bytes ? out->total_bytes - d->used_bytes : 0;
    return ERR_NONE;
}

/* ---- what the test does to the disk ---- */

uint64_t sim_disk_ops(struct sim *s)
{
    return s->disk->n_ops;
}

void sim_disk_crash_at(struct sim *s, uint64_t n)
{
    s->disk->crash_at = n == 0 ? 0 : s->disk->n_ops + n;
    s->disk->is_down = false;
}

bool sim_disk_is_down(struct sim *s)
{
    return s->disk->is_down;
}

void sim_disk_fail_syncs(struct sim *s, unsigned n)
{
    s->disk->n_failing_syncs = n;
}

void sim_disk_fault_at(struct sim *s, enum sim_fault fault, uint64_t n, bool is_for_ever)
{
    s->disk->fault = fault;
    s->disk->fault_in = n;
    s->disk->is_fault_for_ever = is_for_ever;
}

uint64_t sim_disk_faults(struct sim *s)
{
    return s->disk->n_faults;
}

uint64_t sim_disk_sync_retries(struct sim *s)
{
    return s->disk->n_sync_retries;
}

void sim_disk_set_capacity(struct sim *s, uint64_t bytes)
{
    s->options.disk_capacity_bytes = bytes;
}

bool sim_disk_flip_bit(struct sim *s, const char *path, uint64_t byte, unsigned bit)
{
    struct place p;

    if (place_find(s->disk, path, &p) != 0 || p.inode == NULL || p.inode->is_dir) return false;
    if (byte >= p.inode->content.size || bit > 7) return false;
    p.inode->content.store->base[byte] ^= (uint8_t)(1u << bit);
    return true;
}

/* D2. */
static void journal_power_cut(struct sim_disk *d)
{
    bool is_ordered = sim_random(d->sim, 2) == 0;
    struct list *n;
    uint64_t count = 0, keep;

    for (n = d->journal.next; n != &d->journal; n = n->next)
        count++;
    keep = sim_random(d->sim, count + 1);
    while ((n = list_first(&d->journal)) != NULL) {
        struct op *o = CONTAINER_OF(n, struct op, link);
        bool is_kept = is_ordered ? keep > 0 : sim_random(d->sim, 2) == 0;
        if (is_kept) op_apply(d, o, false);
        if (keep > 0) keep--;
        op_free(d, o);
    }
}

/* Makes the durable tree the current one. */
static void tree_power_cut(struct sim_disk *d, struct inode *dir)
{
    struct map_entry *entry;

    names_clear(d, &dir->current, true);
    for (uint32_t pos = 0; (entry = map_next(&dir->durable, &pos)) != NULL;) {
        struct inode *n = entry->value;
        if (n->is_dir && n->n_names == 0) tree_power_cut(d, n);
        if (!n->is_dir && n->n_names == 0) sim_content_power_cut(&n->content, d->sim);
        name_put(d, dir, entry->key, n, true);
    }
}

/* Forgets all current names first, so that the walk meets every inode once. */
static void tree_forget(struct sim_disk *d, struct inode *dir)
{
    struct map_entry *entry;

    for (uint32_t pos = 0; (entry = map_next(&dir->current, &pos)) != NULL;) {
        struct inode *n = entry->value;
        if (n->is_dir) tree_forget(d, n);
    }
    names_clear(d, &dir->current, true);
}

void sim_disk_power_cycle(struct sim *s)
{
    struct sim_disk *d = s->disk;

    check(!s->options.disk_is_memory);
    sim_process_kill(s);
    journal_power_cut(d);
    tree_forget(d, d->root);
    tree_power_cut(d, d->root);
    d->is_down = false;
    d->crash_at = 0;
    d->n_failing_syncs = 0;
    sim_note(s, d->used_bytes);
}

void sim_disk_forget_handles(struct sim_disk *d)
{
    d->life++; /* D4 */
}

struct sim_disk *sim_disk_create(struct sim *s)
{
    struct sim_disk *d = calloc(1, sizeof(*d));

    check(d != NULL);
    d->fs = (struct fs){
        .open = sim_fs_open,
        .close = sim_fs_close,
        .pread = sim_fs_pread,
        .pwritev = sim_fs_pwritev,
        .truncate = sim_fs_truncate,
        .reserve = sim_fs_truncate,
        .size = sim_fs_size,
        .sync = sim_fs_sync,
        .map = sim_fs_map,
        .populate = sim_fs_populate,
        .map_failed = sim_fs_map_failed,
        .forget = sim_fs_forget,
        .sync_dir = sim_fs_sync_dir,
        .rename = sim_fs_rename,
        .unlink = sim_fs_unlink,
        .mkdir = sim_fs_mkdir,
        .rmdir = sim_fs_rmdir,
        .list = sim_fs_list,
        .exists = sim_fs_exists,
        .space = sim_fs_space,
        .lock = sim_fs_lock,
    };
    d->sim = s;
    d->life = 1;
    list_init(&d->journal);
    list_init(&d->handles);
    d->root = inode_ref(inode_create(d, true));
    return d;
}

void sim_disk_destroy(struct sim_disk *d)
{
    struct list *n;

    while ((n = list_first(&d->handles)) != NULL) /* of the dead, who close nothing */
        sim_fs_close(&d->fs, CONTAINER_OF(n, struct file, link));
    while ((n = list_first(&d->journal)) != NULL)
        op_free(d, CONTAINER_OF(n, struct op, link));
    tree_forget(d, d->root);
    inode_unref(d, d->root);
    free(d);
}

struct fs *sim_disk_fs(struct sim_disk *d)
{
    return &d->fs;
}
