/* sys.h: the outside world, handed in. Nothing outside os_*.c calls time(), rand(), open() or socket() (a test greps).
 *
 * Each part is a table of functions with its object in front (struct embedding; cast by CONTAINER_OF). Two
 * implementations of each: os_*.c on libuv, pwrite and fdatasync; sim_*.c, all in one thread from one seed.
 *
 * Threads: a loop belongs to one thread. Only loop->post and loop->call may be called from another. fs calls are
 * synchronous and may be made from any thread (one thread per file at a time, except pread, map and sync). net belongs
 * to the loop's thread. */
#ifndef WEIR_SYS_SYS_H
#define WEIR_SYS_SYS_H

#include <sys/uio.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"

/* ---- clock and randomness ---- */
struct clock {
    uint64_t (*mono_ns)(struct clock *c); /* never goes back; for every timeout. Any thread */
    int64_t (*wall_ms)(struct clock *c);  /* since 1970; for timestamps only. Any thread */
};
struct rng {
    uint64_t (*next)(struct rng *r);
};

/* ---- files ---- */
struct file; /* the implementation's */
enum fs_open {
    FS_READ,       /* must exist */
    FS_WRITE,      /* read and write, created when missing, 0600 */
    FS_CREATE_NEW, /* as FS_WRITE, ERR_EXISTS when it is there */
};
struct fs_space {
    uint64_t total_bytes, free_bytes;
};
/* Return false to stop the listing. `name` is without path and borrowed. */
typedef bool (*fs_list_fn)(void *arg, const char *name, bool is_dir, uint64_t size);
struct fs {
    enum err_code (*open)(struct fs *fs, const char *path, enum fs_open mode, struct file **out, struct err *e);
    void (*close)(struct fs *fs, struct file *f); /* NULL is harmless; unmaps */
    /* Reads up to len bytes; *n < len only at the end of the file. */
    enum err_code (*pread)(struct fs *fs, struct file *f, void *buf, size_t len, uint64_t at, size_t *n, struct err *e);
    /* Writes all or fails; a failed write may have written a part. */
    enum err_code (*pwritev)(struct fs *fs, struct file *f, const struct iovec *iov, int n, uint64_t at, struct err *e);
    enum err_code (*truncate)(struct fs *fs, struct file *f, uint64_t size, struct err *e);
    /* Makes the file `size` bytes long and takes the space for them, without writing. ERR_UNSUPPORTED: not here. */
    enum err_code (*reserve)(struct fs *fs, struct file *f, uint64_t size, struct err *e);
    enum err_code (*size)(struct fs *fs, struct file *f, uint64_t *out, struct err *e);
    /* fdatasync. After a failure the content is unknown: never retry (stop and recover). */
    enum err_code (*sync)(struct fs *fs, struct file *f, struct err *e);
    /* Maps [0, len) for reading; len may lie beyond the end of the file, but only bytes below it may be touched. One
     * mapping per file, valid until close. */
    enum err_code (*map)(struct fs *fs, struct file *f, size_t len, const uint8_t **out, struct err *e);
    /* [from, from + len) of the mapping, all below the end of the file, is about to be read: makes one system call of
     * what would be a page fault for every few pages. ERR_IO: the disk failed to read it. Any thread. */
    enum err_code (*populate)(struct fs *fs, struct file *f, uint64_t from, size_t len, struct err *e);
    /* True: the disk has failed to read some of [from, from + len) of the mapping, and what was seen there may be zeros
     * (os_fs_catch_bus_errors). Ask after touching. Any thread. */
    bool (*map_failed)(struct fs *fs, struct file *f, uint64_t from, size_t len);
    /* A hint: [from, from + len) is not read again soon; the page cache need not keep it. Mapped pages stay. */
    void (*forget)(struct fs *fs, struct file *f, uint64_t from, uint64_t len);
    enum err_code (*sync_dir)(struct fs *fs, const char *dir, struct err *e);
    enum err_code (*rename)(struct fs *fs, const char *from, const char *to, struct err *e);
    enum err_code (*unlink)(struct fs *fs, const char *path, struct err *e);
    enum err_code (*mkdir)(struct fs *fs, const char *path, struct err *e); /* 0700; existing is ERR_NONE */
    enum err_code (*rmdir)(struct fs *fs, const char *path, struct err *e);
    enum err_code (*list)(struct fs *fs, const char *dir, fs_list_fn fn, void *arg, struct err *e);
    bool (*exists)(struct fs *fs, const char *path);
    enum err_code (*space)(struct fs *fs, const char *path, struct fs_space *out, struct err *e);
    /* Takes an exclusive lock held until close; ERR_BUSY names the holder when known. Creates the file. */
    enum err_code (*lock)(struct fs *fs, const char *path, struct file **out, struct err *e);
};

/* ---- loop: tasks, timers, blocking jobs ---- */
struct task {
    void (*run)(struct task *t); /* on the loop's thread */
    struct list link;            /* the loop's while posted */
    _Atomic int posted;          /* 1 while queued: posting again is then a no-op */
};
struct timer {
    void (*fire)(struct timer *t);
    uint64_t at_ns; /* of mono_ns */
    uint64_t seq;   /* the loop's: ties fire in start order */
    size_t slot;    /* the loop's heap index + 1; 0: not started */
};
/* Work that blocks (fdatasync, deleting files). run: on a thread of the loop; done: on the loop's own. An object is free
 * again when done runs. */
struct job {
    void (*run)(struct job *j);
    void (*done)(struct job *j); /* on the loop's thread */
    struct list link;
};
struct loop {
    uint64_t (*now_ns)(struct loop *l);           /* mono, read once per turn */
    void (*post)(struct loop *l, struct task *t); /* any thread */
    /* Runs fn(arg) on the loop's thread and waits for it. From the loop's own thread: a direct call. Never call it from
     * a thread that the loop may be waiting for. */
    void (*call)(struct loop *l, void (*fn)(void *arg), void *arg);
    void (*timer_start)(struct loop *l, struct timer *t, uint64_t at_ns); /* started already: moves it */
    void (*timer_stop)(struct loop *l, struct timer *t);                  /* harmless when not started */
    void (*submit)(struct loop *l, struct job *j);        /* one after the other, in the order of submission */
    void (*submit_beside)(struct loop *l, struct job *j); /* in any order, up to LIMIT_JOBS_BESIDE at the same time */
    /* Runs fn(arg, i) for each i below n, up to LIMIT_JOBS_BESIDE at the same time, and returns when all have run. Any
     * thread; the loop need not run. */
    void (*each)(struct loop *l, void (*fn)(void *arg, int i), void *arg, int n);
    /* Runs until stop(), or for LOOP_ONCE_NOWAIT just what is due now. Returns true when anything ran. */
    bool (*run)(struct loop *l, int mode);
    void (*stop)(struct loop *l); /* any thread */
};
#define LOOP_RUN 0
#define LOOP_ONCE_NOWAIT 1
#define LOOP_ONCE_WAIT 2 /* waits for the next thing, runs it, returns */

/* ---- net: TCP streams ---- */
struct conn; /* the implementation's */
struct listener;
struct net_address {
    char host[64]; /* numeric */
    uint16_t port;
};
struct conn_handler {
    /* Where the next received bytes go: at least 1 byte of room. Called right before a read: what is read is there, and
     * `received` was called, before another connection's room is asked. *cap = 0: stop reading
     * (conn_read_start resumes). */
    void (*room)(void *user, uint8_t **ptr, size_t *cap);
    void (*received)(void *user, size_t n); /* n bytes are in the room just given */
    /* All sends so far are with the kernel. */
    void (*drained)(void *user);
    /* The last call. e is NULL for a clean close by the peer or by us. */
    void (*closed)(void *user, const struct err *e);
};
/* Memory of a send stays until `sent` runs. ok = false: the connection ended first. */
struct send_req {
    struct iovec *iov; /* borrowed until sent; may be modified by the implementation */
    int n;
    void (*sent)(struct send_req *r, bool ok);
    struct list link;
    size_t bytes; /* the implementation's */
};
/* Returns the user pointer and handler of the new connection, or NULL to refuse it. */
typedef void *(*accept_fn)(void *arg, struct conn *c, const struct conn_handler **handler);
struct net {
    /* Port 0 takes a free one; *bound tells. Loop thread. */
    enum err_code (*listen)(struct net *n, const struct net_address *a, accept_fn fn, void *arg, struct listener **out,
                            struct net_address *bound, struct err *e);
    void (*listener_close)(struct net *n, struct listener *l);
    /* Connects; handler->closed reports a failure, `connected` success. */
    enum err_code (*connect)(struct net *n, const struct net_address *a, const struct conn_handler *h, void *user,
                             void (*connected)(void *user, struct conn *c), struct conn **out, struct err *e);
    /* Reading is on from the start, in both directions of making a connection. */
    void (*read_start)(struct net *n, struct conn *c);
    void (*read_stop)(struct net *n, struct conn *c);
    void (*send)(struct net *n, struct conn *c, struct send_req *r);
    size_t (*send_queued)(struct net *n, struct conn *c);                  /* bytes not yet with the kernel */
    void (*local)(struct net *n, struct conn *c, struct net_address *out); /* the address the peer connected to */
    void (*peer)(struct net *n, struct conn *c, struct net_address *out);
    /* What the transport knows of the peer (sys/tls.h); TCP alone says false and nothing. From accept or `connected` on
     * for is_encrypted, from the first received byte on for peer_subject: the distinguished name of a verified client
     * certificate in RFC 2253 form, empty without one; borrowed until closed. */
    bool (*is_encrypted)(struct net *n, struct conn *c);
    struct bytes (*peer_subject)(struct net *n, struct conn *c);
    void (*close)(struct net *n, struct conn *c); /* handler->closed follows, from the loop; again: harmless */
};

/* ---- diag: words to the operator, one logfmt line each on standard error ---- */
enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };
struct diag {
    void (*write)(struct diag *d, enum diag_level level, const char *room, const char *text); /* any thread */
    enum diag_level level;
};
void diag_printf(struct diag *d, enum diag_level level, const char *room, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* What a room gets. All borrowed; outlive the room (owner: app). */
struct sys {
    struct clock *clock;
    struct rng *rng;
    struct fs *fs;
    struct loop *loop; /* of the shard */
    struct net *net;   /* NULL when embedded without doors */
    struct diag *diag;
};

#endif
