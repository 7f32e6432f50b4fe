/* os_loop_int.h: what os_net.c needs of os_loop.c. Loop thread only. */
#ifndef WEIR_SYS_OS_LOOP_INT_H
#define WEIR_SYS_OS_LOOP_INT_H

#include <uv.h>

#include "sys/os.h"

uv_loop_t *os_loop_uv(struct loop *l);
/* Something happened: run() tells its caller. */
void os_loop_note(struct loop *l);
/* Takes a posted task back; harmless when it is not posted. */
void os_loop_unpost(struct loop *l, struct task *t);

#endif
