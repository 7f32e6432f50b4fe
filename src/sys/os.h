/* os.h: the real world: libuv 1.44 for loop and sockets, plain system calls for files. */
#ifndef WEIR_SYS_OS_H
#define WEIR_SYS_OS_H

#include "sys/sys.h"

struct clock *os_clock(void); /* static object */
struct rng *os_rng(void);     /* getrandom; static object */
struct fs *os_fs(void);       /* static object; stateless */
/* From now on a disk that fails to read a mapped page does not end the process by SIGBUS: the page reads as zeros and
 * fs->map_failed tells. For programs of our own; the library leaves its host's signals alone. Once is enough. */
void os_fs_catch_bus_errors(void);
struct diag *os_diag_create(int fd, enum diag_level level);
void os_diag_destroy(struct diag *d);
/* A loop with its job thread (started at the first submit). Runs on the thread that calls run(). */
MUST_USE enum err_code os_loop_create(struct loop **out, struct err *e);
void os_loop_destroy(struct loop *l); /* not running; all handles closed; joins the job thread */
MUST_USE enum err_code os_net_create(struct net **out, struct loop *os_loop, struct err *e);
void os_net_destroy(struct net *n);
/* Runs fn on the loop's thread for SIGTERM and SIGINT. */
void os_loop_on_signal(struct loop *l, void (*fn)(void *arg, int signo), void *arg);
/* Address space of zeros that costs memory only where it is touched. NULL: none left. */
void *os_reserve(size_t bytes);
void os_release(void *p, size_t bytes); /* NULL is harmless */
/* A thread of its own. */
struct os_thread;
MUST_USE enum err_code os_thread_start(struct os_thread **out, void (*fn)(void *arg), void *arg, struct err *e);
void os_thread_join(struct os_thread *t);

#endif
