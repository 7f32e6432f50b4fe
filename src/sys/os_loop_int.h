/* os_loop_int.h: what os_net.c needs of the loop. */
#ifndef WEIR_SYS_OS_LOOP_INT_H
#define WEIR_SYS_OS_LOOP_INT_H

#include <uv.h>

#include "sys/os.h"

uv_loop_t *os_loop_uv(struct loop *l);
/* Reads the time anew; at the start of each callback from libuv. */
void os_loop_turn(struct loop *l);

#endif
