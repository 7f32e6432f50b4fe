/* sim_port.h: a port in memory, for tests of flows: topics are arrays of batches, a commit is a memory copy, a restart
 * forgets everything that was not committed. */
#ifndef WEIR_PORT_SIM_PORT_H
#define WEIR_PORT_SIM_PORT_H

#include "port/port.h"

struct port *sim_port_create(void);
void sim_port_destroy(struct port *p);
/* Appends one uncompressed record as a batch of its own, visible at once. The topic must exist. */
MUST_USE enum err_code sim_port_put(struct port *p, const char *topic, int32_t partition, int64_t timestamp_ms,
                                    struct bytes key, struct bytes value, struct err *e);
/* Delivers what is due: wakes and answers of commits. Returns true when anything was delivered. */
bool sim_port_pump(struct port *p);
/* The process dies: units are closed without notice, commits not yet answered are dropped or kept by `keep_pending`. */
void sim_port_restart(struct port *p, bool keep_pending);
/* The n-th commit from now (1: the next) is answered with rc and changes nothing. */
void sim_port_fail_commit(struct port *p, unsigned n, enum err_code rc);
/* While held, commits stay under way (not applied, not answered). */
void sim_port_hold_commits(struct port *p, bool hold);

#endif
