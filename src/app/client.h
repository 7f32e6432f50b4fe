/* client.h: what topic, produce, consume and group share: a Kafka client to the server of --broker, or to a server of
 * our own in this process over the directory of --data (loopback, a port the system picks, gone with the command). */
#ifndef WEIR_APP_CLIENT_H
#define WEIR_APP_CLIENT_H

#include "app/cli.h"
#include "app/kclient.h"
#include "app/server.h"
#include "sys/os.h"

struct local_server;
/* Starts a server over `data_dir` on a thread; *kafka is where it listens. */
MUST_USE enum err_code local_server_start(struct local_server **out, const char *data_dir, struct net_address *kafka,
                                          struct err *e);
/* Stops it cleanly and waits. NULL is harmless. */
void local_server_stop(struct local_server *l);

struct client {
    struct kclient *k;
    struct local_server *local; /* with --data */
    struct arena arena;
};
/* On failure nothing is left open. */
MUST_USE enum err_code client_open(struct client *c, struct cli *cli, struct err *e);
void client_close(struct client *c);

/* A time as users write it: ms since 1970, an ISO date or date-time (UTC), or an age like -10m. False: none of these.
 * */
bool client_parse_time(struct bytes text, int64_t now_ms, int64_t *ms);
/* "name: value" pairs of one JSON object: prints {"a":..} a member at a time. */
void json_member(struct buf *out, const char *name, struct bytes value); /* adds the comma; null stays null */
void json_member_i64(struct buf *out, const char *name, int64_t value);
/* Closes the object, prints it as a line on standard output and frees the buffer. */
void json_print_line(struct buf *b);

#endif
