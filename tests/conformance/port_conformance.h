/* port_conformance.h: the suite that judges every implementation of port/port.h. Each promise of the header is one
 * test; an implementation hands in how to make, restart and pump its world, and gets the number of failed tests back.
 */
#ifndef WEIR_TESTS_PORT_CONFORMANCE_H
#define WEIR_TESTS_PORT_CONFORMANCE_H

#include "port/port.h"

struct port_conformance {
    const char *name;
    /* A new, empty world; `arg` is the implementation's. */
    void *(*make)(void *arg);
    struct port *(*port)(void *world);
    /* Delivers due wakes and answers of commits. May block until there is something; false: nothing is under way. */
    bool (*pump)(void *world);
    /* The process dies and comes back: port(world) may be another one afterwards. A commit under way may be kept or
     * lost. */
    void (*restart)(void *world);
    void (*destroy)(void *world);
    void *arg;
};
/* Runs all tests under cmocka; returns the number of failures. */
int port_conformance_run(const struct port_conformance *c);

#endif
