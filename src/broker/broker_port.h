/* broker_port.h: the port (port/port.h) over a broker in this process.
 *
 * A unit is the internal topic `_weir_unit_<name>`: a redo journal. One commit is one group of record batches in it:
 * offsets, state changes and outputs. Once the journal is durable, the outputs are appended to their partitions with
 * the unit's producer id and running sequence numbers, so that recovery may append the last commits' outputs again:
 * what is there already is recognised.
 *
 * Thread: the computing thread whose loop is `home`; the port crosses to the shard by loop->call and loop->post. home
 * may be the shard's own loop (embedded): then everything happens in one thread. */
#ifndef WEIR_BROKER_BROKER_PORT_H
#define WEIR_BROKER_BROKER_PORT_H

#include "broker/broker.h"
#include "port/port.h"

MUST_USE enum err_code broker_port_create(struct port **out, struct broker *b, struct loop *home, struct err *e);
/* On the home thread, before broker_close. Units and watches that are still there are closed. The home loop must run
 * once more before it is destroyed: answers on their way free themselves then. A loop that runs on a thread of its own
 * must be made there, or have run once, before a port is used from another thread: until then it takes its maker's
 * thread for its own. */
void broker_port_destroy(struct port *p);

#endif
