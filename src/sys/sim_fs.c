/* sim_fs.c: a disk that forgets what was not synced.
 *
 *   file content   `data` is what reads see; `durable` is what the last sync put down. Sectors (512 bytes) written
 * since then are dirty. At a power cut each dirty sector becomes, by the seed, new, old or zero; the size any that lies
 * between. names          current: what lookups see. durable: what survives. Each create, rename, unlink, mkdir, rmdir
 * is an entry in a journal until its directory is synced; at a power cut a random prefix of each directory's entries
 * survives, as in a file system with an ordered journal.
 *
 * D1  After sync and, for a new name, sync_dir, nothing of it is lost.
 * D2  A failed sync leaves the sectors clean and not durable, as Linux does: the next sync reports success without
 * writing them. D3  A handle opened before a power cut only gives errors afterwards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/map.h"
#include "sys/sim_int.h"

#define SECTOR 512u

struct node {
    unsigned refs; /* names in both namespaces, journal entries, handles */
    bool is_dir, is_mapped;
    uint8_t *data, *durable, *dirty; /* dirty: one byte a sector */
    size_t size, cap, durable_size, durable_cap, dirty_cap;
};
struct file {
    struct sim_disk *disk;
    struct node *node;
    uint64_t generation;
    bool is_lock, is_writable;
    char path[];
};
enum op_kind { OP_LINK, OP_UNLINK, OP_RENAME };
struct op {
    struct list link;
    enum op_kind kind;
    char *path, *to;
    struct node *node;
};
struct sim_disk {
    struct fs fs;
    struct sim *sim;
    struct map names, durable; /* path -> node */
    struct list journal;
    uint64_t n_ops, crash_at, generation, used;
    unsigned failing_syncs;
    bool down;
};

static struct sim_disk *disk_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct sim_disk, fs);
}

/* ---- nodes ---- */

static void node_storage_free(struct node *n)
{
    if (n->is_mapped)
        munmap(n->data, n->cap);
    else
        free(n->data);
    n->data = NULL;
}

static void node_unref(struct node *n)
{
    if (n == NULL || --n->refs > 0) return;
    node_storage_free(n);
    free(n->durable);
    free(n->dirty);
    free(n);
}

static struct node *node_ref(struct node *n)
{
    n->refs++;
    return n;
}

static void grow(uint8_t **p, size_t *cap, size_t need)
{
    size_t next = *cap ? *cap : 4096;
    uint8_t *grown;
    if (need <= *cap) return;
    while (next < need)
        next *= 2;
    grown = realloc(*p, next);
    check(grown != NULL);
    memset(grown + *cap, 0, next - *cap);
    *p = grown;
    *cap = next;
}

static void node_room(struct node *n, size_t need)
{
    if (n->is_mapped)
        check(need <= n->cap);
    else
        grow(&n->data, &n->cap, need);
}

static void mark_dirty(struct node *n, size_t from, size_t to)
{
    if (from >= to) return;
    grow(&n->dirty, &n->dirty_cap, to / SECTOR + 1);
    for (size_t s = from / SECTOR; s <= (to - 1) / SECTOR; s++)
        n->dirty[s] = 1;
}

static void set_size(struct sim_disk *d, struct node *n, size_t size)
{
    node_room(n, size);
    if (size < n->size) memset(n->data + size, 0, n->size - size);
    mark_dirty(n, size < n->size ? size : n->size, size < n->size ? n->size : size);
    d->used += size;
    d->used -= n->size;
    n->size = size;
}

/* ---- namespaces ---- */

static void name_put(struct map *m, const char *path, struct node *n)
{
    node_unref(map_put(m, bytes_str(path), node_ref(n)));
}

static void name_remove(struct map *m, const char *path)
{
    node_unref(map_remove(m, bytes_str(path)));
}

static struct node *name_get(struct map *m, const char *path)
{
    return map_get_str(m, path);
}

static size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool parent_is(const char *path, const char *dir, size_t len)
{
    return parent_len(path) == len && strncmp(path, dir, len) == 0;
}

/* "/" and "" are the root, which is always there. */
static size_t dir_len(const char *dir)
{
    return strcmp(dir, "/") == 0 ? 0 : strlen(dir);
}

static bool dir_exists(struct sim_disk *d, const char *dir)
{
    struct node *n = name_get(&d->names, dir);
    return dir_len(dir) == 0 || (n != NULL && n->is_dir);
}

static bool parent_exists(struct sim_disk *d, const char *path)
{
    char dir[4096];
    size_t n = parent_len(path);
    if (n == 0) return true;
    if (n >= sizeof dir) return false;
    memcpy(dir, path, n);
    dir[n] = 0;
    return name_get(&d->names, dir) != NULL && name_get(&d->names, dir)->is_dir;
}

static void op_apply(struct map *m, const struct op *o)
{
    if (o->kind == OP_LINK)
        name_put(m, o->path, o->node);
    else
        name_remove(m, o->path);
    if (o->kind == OP_RENAME) name_put(m, o->to, o->node);
}

static void op_free(struct op *o)
{
    list_remove(&o->link);
    node_unref(o->node);
    free(o->path);
    free(o->to);
    free(o);
}

/* Into the current namespace at once, into the durable one with the directory's sync. */
static void op_do(struct sim_disk *d, enum op_kind kind, const char *path, const char *to, struct node *n)
{
    struct op *o = calloc(1, sizeof *o);
    check(o != NULL);
    o->kind = kind;
    o->path = strdup(path);
    o->to = to ? strdup(to) : NULL;
    o->node = n ? node_ref(n) : NULL;
    list_push_back(&d->journal, &o->link);
    op_apply(&d->names, o);
}

/* The directory whose sync makes an entry durable: a rename's is that of its target. */
static const char *op_place(const struct op *o)
{
    return o->kind == OP_RENAME ? o->to : o->path;
}

/* ---- failures ---- */

static enum err_code refuse(struct sim_disk *d, struct err *e)
{
    (void)d;
    return err_set(e, ERR_IO, "the simulated disk is down");
}

/* Counts a mutating call; false: the power is gone. */
static bool mutate(struct sim_disk *d)
{
    if (d->down) return false;
    d->n_ops++;
    if (d->crash_at != 0 && d->n_ops >= d->crash_at) d->down = true;
    return !d->down;
}

static bool is_alive(const struct file *f)
{
    return f->generation == f->disk->generation && !f->disk->down;
}

/* ---- files ---- */

static enum err_code handle_create(struct sim_disk *d, struct node *n, const char *path, enum fs_open mode,
                                   struct file **out)
{
    size_t len = strlen(path) + 1;
    struct file *f = calloc(1, sizeof *f + len);
    check(f != NULL);
    f->disk = d;
    f->node = node_ref(n);
    f->generation = d->generation;
    f->is_writable = mode != FS_READ;
    memcpy(f->path, path, len);
    *out = f;
    return ERR_NONE;
}

static enum err_code fs_open_file(struct fs *fs, const char *path, enum fs_open mode, struct file **out, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct node *n = name_get(&d->names, path);
    *out = NULL;
    if (d->down) return refuse(d, e);
    if (n != NULL && n->is_dir) return err_set(e, ERR_IO, "opening %s: it is a directory", path);
    if (n != NULL && mode == FS_CREATE_NEW) return err_set(e, ERR_EXISTS, "opening %s: it exists", path);
    if (n == NULL && mode == FS_READ) return err_set(e, ERR_NOT_FOUND, "opening %s: there is no such file", path);
    if (n == NULL) {
        if (!parent_exists(d, path)) return err_set(e, ERR_NOT_FOUND, "opening %s: there is no such directory", path);
        if (!mutate(d)) return refuse(d, e);
        n = calloc(1, sizeof *n);
        check(n != NULL);
        op_do(d, OP_LINK, path, NULL, n);
    }
    return handle_create(d, n, path, mode, out);
}

static void fs_close_file(struct fs *fs, struct file *f)
{
    (void)fs;
    if (f == NULL) return;
    node_unref(f->node);
    free(f);
}

static enum err_code fs_pread(struct fs *fs, struct file *f, void *buf, size_t len, uint64_t at, size_t *n,
                              struct err *e)
{
    size_t size = f->node->size;
    if (!is_alive(f)) return refuse(disk_of(fs), e);
    *n = at >= size ? 0 : size - at < len ? size - at : len;
    if (*n > 0) memcpy(buf, f->node->data + at, *n);
    return ERR_NONE;
}

static enum err_code fs_pwritev(struct fs *fs, struct file *f, const struct iovec *iov, int n, uint64_t at,
                                struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    size_t len = 0, end;
    if (!is_alive(f) || !mutate(d)) return refuse(d, e);
    if (!f->is_writable) return err_set(e, ERR_DENIED, "writing %s: opened for reading", f->path);
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    end = at + len;
    if (end > f->node->size) {
        uint64_t capacity = d->sim->options.disk_capacity_bytes;
        if (capacity != 0 && d->used + (end - f->node->size) > capacity)
            return err_set(e, ERR_NO_SPACE, "writing %s: the simulated disk is full", f->path);
        node_room(f->node, end);
        mark_dirty(f->node, f->node->size, end);
        d->used += end - f->node->size;
        f->node->size = end;
    }
    mark_dirty(f->node, at, end);
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > 0) memcpy(f->node->data + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    return ERR_NONE;
}

static enum err_code fs_truncate(struct fs *fs, struct file *f, uint64_t size, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    if (!is_alive(f) || !mutate(d)) return refuse(d, e);
    set_size(d, f->node, size);
    return ERR_NONE;
}

static enum err_code fs_size(struct fs *fs, struct file *f, uint64_t *out, struct err *e)
{
    if (!is_alive(f)) return refuse(disk_of(fs), e);
    *out = f->node->size;
    return ERR_NONE;
}

static void node_sync(struct node *n)
{
    grow(&n->durable, &n->durable_cap, n->size);
    for (size_t at = 0; at < n->size; at += SECTOR) {
        size_t len = n->size - at < SECTOR ? n->size - at : SECTOR;
        if (at / SECTOR < n->dirty_cap && n->dirty[at / SECTOR]) memcpy(n->durable + at, n->data + at, len);
    }
    if (n->size < n->durable_size) memset(n->durable + n->size, 0, n->durable_size - n->size);
    n->durable_size = n->size;
    if (n->dirty_cap > 0) memset(n->dirty, 0, n->dirty_cap);
}

static enum err_code fs_sync(struct fs *fs, struct file *f, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    if (!is_alive(f) || !mutate(d)) return refuse(d, e);
    if (d->failing_syncs > 0) { /* D2 */
        d->failing_syncs--;
        if (f->node->dirty_cap > 0) memset(f->node->dirty, 0, f->node->dirty_cap);
        return err_set(e, ERR_IO, "syncing %s: simulated failure", f->path);
    }
    node_sync(f->node);
    return ERR_NONE;
}

static enum err_code fs_map(struct fs *fs, struct file *f, size_t len, const uint8_t **out, struct err *e)
{
    struct node *n = f->node;
    uint8_t *p;
    if (!is_alive(f)) return refuse(disk_of(fs), e);
    if (!n->is_mapped) {
        if (len < n->size) len = n->size;
        p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return err_set(e, ERR_MEMORY, "mapping %s: out of address space", f->path);
        if (n->size > 0) memcpy(p, n->data, n->size);
        free(n->data);
        n->data = p;
        n->cap = len;
        n->is_mapped = true;
    }
    check(len <= n->cap);
    *out = n->data;
    return ERR_NONE;
}

/* ---- names ---- */

static enum err_code fs_sync_dir(struct fs *fs, const char *dir, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    size_t len = dir_len(dir);
    struct list *n, *next;
    if (!mutate(d)) return refuse(d, e);
    if (!dir_exists(d, dir))
        return err_set(e, ERR_NOT_FOUND, "syncing %s: there is no such directory", dir);
    for (n = d->journal.next; n != &d->journal; n = next) {
        struct op *o = CONTAINER_OF(n, struct op, link);
        next = n->next;
        if (!parent_is(op_place(o), dir, len)) continue;
        op_apply(&d->durable, o);
        op_free(o);
    }
    return ERR_NONE;
}

static enum err_code fs_rename(struct fs *fs, const char *from, const char *to, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct node *n = name_get(&d->names, from), *old = name_get(&d->names, to);
    if (d->down) return refuse(d, e);
    if (n == NULL || !parent_exists(d, to))
        return err_set(e, ERR_NOT_FOUND, "renaming %s to %s: there is no such file", from, to);
    if (n->is_dir) return err_set(e, ERR_UNSUPPORTED, "renaming %s: directories are not renamed here", from);
    if (!mutate(d)) return refuse(d, e);
    if (old != NULL && old != n) d->used -= old->size;
    op_do(d, OP_RENAME, from, to, n);
    return ERR_NONE;
}

static enum err_code fs_unlink(struct fs *fs, const char *path, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct node *n = name_get(&d->names, path);
    if (d->down) return refuse(d, e);
    if (n == NULL || n->is_dir) return err_set(e, ERR_NOT_FOUND, "removing %s: there is no such file", path);
    if (!mutate(d)) return refuse(d, e);
    d->used -= n->size;
    op_do(d, OP_UNLINK, path, NULL, NULL);
    return ERR_NONE;
}

static enum err_code fs_mkdir(struct fs *fs, const char *path, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct node *n = name_get(&d->names, path);
    if (d->down) return refuse(d, e);
    if (n != NULL && n->is_dir) return ERR_NONE;
    if (n != NULL) return err_set(e, ERR_EXISTS, "creating directory %s: a file is there", path);
    if (!parent_exists(d, path)) return err_set(e, ERR_NOT_FOUND, "creating directory %s: its parent is missing", path);
    if (!mutate(d)) return refuse(d, e);
    n = calloc(1, sizeof *n);
    check(n != NULL);
    n->is_dir = true;
    op_do(d, OP_LINK, path, NULL, n);
    return ERR_NONE;
}

static enum err_code fs_rmdir(struct fs *fs, const char *path, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct node *n = name_get(&d->names, path);
    struct map_entry *entry;
    size_t len = strlen(path);
    if (d->down) return refuse(d, e);
    if (n == NULL || !n->is_dir) return err_set(e, ERR_NOT_FOUND, "removing directory %s: there is none", path);
    for (uint32_t pos = 0; (entry = map_next(&d->names, &pos)) != NULL;) {
        if (parent_is((const char *)entry->key.ptr, path, len))
            return err_set(e, ERR_IO, "removing directory %s: it is not empty", path);
    }
    if (!mutate(d)) return refuse(d, e);
    op_do(d, OP_UNLINK, path, NULL, NULL);
    return ERR_NONE;
}

struct listed {
    const char *name;
    const struct node *node;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* A copy first: the callback may rename and unlink. */
static enum err_code fs_list(struct fs *fs, const char *dir, fs_list_fn fn, void *arg, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    struct map_entry *entry;
    struct listed *all;
    size_t n = 0, len = dir_len(dir);
    bool more = true;
    if (d->down) return refuse(d, e);
    if (!dir_exists(d, dir))
        return err_set(e, ERR_NOT_FOUND, "listing %s: there is no such directory", dir);
    all = calloc(map_count(&d->names) + 1u, sizeof *all);
    check(all != NULL);
    for (uint32_t pos = 0; (entry = map_next(&d->names, &pos)) != NULL;) {
        const char *path = (const char *)entry->key.ptr;
        if (!parent_is(path, dir, len)) continue;
        all[n++] = (struct listed){strdup(path + len + 1), node_ref(entry->value)};
    }
    qsort(all, n, sizeof *all, by_name);
    for (size_t i = 0; i < n; i++) {
        if (more) more = fn(arg, all[i].name, all[i].node->is_dir, all[i].node->size);
        free((char *)(uintptr_t)all[i].name);
        node_unref((struct node *)(uintptr_t)all[i].node);
    }
    free(all);
    return ERR_NONE;
}

static bool fs_exists(struct fs *fs, const char *path)
{
    return dir_len(path) == 0 || name_get(&disk_of(fs)->names, path) != NULL;
}

static enum err_code fs_space_left(struct fs *fs, const char *path, struct fs_space *out, struct err *e)
{
    struct sim_disk *d = disk_of(fs);
    uint64_t capacity = d->sim->options.disk_capacity_bytes;
    (void)path;
    if (d->down) return refuse(d, e);
    out->total_bytes = capacity ? capacity : 1ull << 50;
    out->free_bytes = out->total_bytes > d->used ? out->total_bytes - d->used : 0;
    return ERR_NONE;
}

static enum err_code fs_lock(struct fs *fs, const char *path, struct file **out, struct err *e)
{
    /* One process lives here; what a second one would see is tested against the real files. */
    return fs_open_file(fs, path, FS_WRITE, out, e);
}

/* ---- faults ---- */

uint64_t sim_disk_ops(struct sim *s)
{
    return s->disk->n_ops;
}

void sim_disk_crash_at(struct sim *s, uint64_t n)
{
    s->disk->crash_at = n == 0 ? 0 : s->disk->n_ops + n;
}

bool sim_disk_is_down(struct sim *s)
{
    return s->disk->down;
}

void sim_disk_fail_syncs(struct sim *s, unsigned n)
{
    s->disk->failing_syncs = n;
}

void sim_disk_set_capacity(struct sim *s, uint64_t bytes)
{
    s->options.disk_capacity_bytes = bytes;
}

bool sim_disk_flip_bit(struct sim *s, const char *path, uint64_t byte, unsigned bit)
{
    struct node *n = name_get(&s->disk->names, path);
    if (n == NULL || n->is_dir || byte >= n->size || bit > 7) return false;
    n->data[byte] ^= (uint8_t)(1u << bit);
    if (byte < n->durable_size) n->durable[byte] ^= (uint8_t)(1u << bit);
    return true;
}

/* One dirty sector at a power cut. */
static void lose_sector(struct sim *s, struct node *n, size_t at, size_t len)
{
    size_t known = at >= n->durable_size ? 0 : n->durable_size - at < len ? n->durable_size - at : len;
    switch (sim_random(s, 4)) {
    case 0: /* it had reached the disk */
    case 1: return;
    case 2: /* it had not */
        memset(n->data + at, 0, len);
        if (known > 0) memcpy(n->data + at, n->durable + at, known);
        return;
    default:
        if (known == 0)
            memset(n->data + at, 0, len);
        else
            memcpy(n->data + at, n->durable + at, known);
    }
}

static void node_power_cut(struct sim_disk *d, struct node *n)
{
    size_t low = n->size < n->durable_size ? n->size : n->durable_size;
    size_t high = n->size < n->durable_size ? n->durable_size : n->size;
    size_t size;
    if (n->is_dir) return;
    /* What a failed sync dropped (D2) is neither dirty nor durable: it is old again. */
    node_room(n, high);
    for (size_t at = 0; at < high; at += SECTOR) {
        size_t len = high - at < SECTOR ? high - at : SECTOR, known = at >= n->durable_size ? 0 : n->durable_size - at;
        if (known > len) known = len;
        if (at / SECTOR < n->dirty_cap && n->dirty[at / SECTOR]) {
            lose_sector(d->sim, n, at, len);
        } else {
            memset(n->data + at, 0, len);
            if (known > 0) memcpy(n->data + at, n->durable + at, known);
        }
    }
    size = high > low ? low + sim_random(d->sim, high - low + 1) : low;
    if (sim_random(d->sim, 2) == 0) size = sim_random(d->sim, 2) ? low : high;
    if (size < high) memset(n->data + size, 0, high - size);
    n->size = size;
    if (n->dirty_cap > 0) memset(n->dirty, 0, n->dirty_cap);
    mark_dirty(n, 0, high);
    node_sync(n);
}

/* Keeps a random prefix of each directory's journal entries. */
static void names_power_cut(struct sim_disk *d)
{
    while (!list_is_empty(&d->journal)) {
        struct op *first = CONTAINER_OF(list_first(&d->journal), struct op, link);
        char *dir = strndup(op_place(first), parent_len(op_place(first)));
        size_t len = strlen(dir), n = 0, keep;
        struct list *l, *next;
        for (l = d->journal.next; l != &d->journal; l = l->next)
            n += parent_is(op_place(CONTAINER_OF(l, struct op, link)), dir, len);
        keep = sim_random(d->sim, n + 1);
        for (l = d->journal.next; l != &d->journal; l = next) {
            struct op *o = CONTAINER_OF(l, struct op, link);
            next = l->next;
            if (!parent_is(op_place(o), dir, len)) continue;
            if (keep > 0) op_apply(&d->durable, o), keep--;
            op_free(o);
        }
        free(dir);
    }
}

static void map_clear(struct map *m)
{
    struct map_entry *entry;
    for (uint32_t pos = 0; (entry = map_next(m, &pos)) != NULL;)
        node_unref(entry->value);
    map_deinit(m);
    map_init(m);
}

/* A name whose directory did not survive is gone, too. */
static bool is_reachable(struct map *durable, const char *path)
{
    char dir[4096];
    size_t n = parent_len(path);
    if (n == 0) return true;
    if (n >= sizeof dir) return false;
    memcpy(dir, path, n);
    dir[n] = 0;
    return name_get(durable, dir) != NULL && is_reachable(durable, dir);
}

void sim_disk_power_cycle(struct sim *s)
{
    struct sim_disk *d = s->disk;
    struct map_entry *entry;
    sim_process_kill(s);
    names_power_cut(d);
    map_clear(&d->names);
    for (uint32_t pos = 0; (entry = map_next(&d->durable, &pos)) != NULL;) {
        if (is_reachable(&d->durable, (const char *)entry->key.ptr))
            name_put(&d->names, (const char *)entry->key.ptr, entry->value);
    }
    map_clear(&d->durable);
    d->used = 0;
    for (uint32_t pos = 0; (entry = map_next(&d->names, &pos)) != NULL;) {
        struct node *n = entry->value;
        node_power_cut(d, n);
        d->used += n->size;
        name_put(&d->durable, (const char *)entry->key.ptr, n);
    }
    d->down = false;
    d->crash_at = 0;
    d->failing_syncs = 0;
    d->generation++;
}

struct sim_disk *sim_disk_create(struct sim *s)
{
    struct sim_disk *d = calloc(1, sizeof *d);
    check(d != NULL);
    d->sim = s;
    map_init(&d->names);
    map_init(&d->durable);
    list_init(&d->journal);
    d->fs = (struct fs){fs_open_file, fs_close_file, fs_pread,    fs_pwritev,    fs_truncate, fs_size,
                        fs_sync,      fs_map,        fs_sync_dir, fs_rename,     fs_unlink,   fs_mkdir,
                        fs_rmdir,     fs_list,       fs_exists,   fs_space_left, fs_lock};
    return d;
}

void sim_disk_destroy(struct sim_disk *d)
{
    while (!list_is_empty(&d->journal))
        op_free(CONTAINER_OF(list_first(&d->journal), struct op, link));
    map_clear(&d->names);
    map_clear(&d->durable);
    map_deinit(&d->names);
    map_deinit(&d->durable);
    free(d);
}

struct fs *sim_disk_fs(struct sim_disk *d)
{
    return &d->fs;
}
