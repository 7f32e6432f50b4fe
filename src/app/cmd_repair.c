/* cmd_repair.c: weir repair: opens a data directory whose internal topics are damaged, so that what can be read of them is
 * written anew, and closes it again. What it left out it says; what it replaced is in quarantine/. */
#include <stdio.h>

#include "app/cli.h"
#include "base/limits.h"
#include "broker/broker.h"
#include "sys/os.h"

int cmd_repair(struct cli *cli)
{
    struct sys sys = {.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .diag = os_diag_create(2, DIAG_WARN)};
    struct broker_options o = {.data_dir = cli_get(cli, "data"), .repair = true};
    struct broker_stats stats = {0};
    struct broker *b = NULL;
    struct err e = {0};
    char path[LIMIT_PATH_LEN_MAX];
    enum err_code rc = ERR_NONE;

    (void)snprintf(path, sizeof path, "%s/topics", o.data_dir);
    if (!sys.fs->exists(sys.fs, path)) rc = err_set(&e, ERR_NOT_FOUND, "%s is not a Weir data directory", o.data_dir);
    os_fs_catch_bus_errors();
    if (rc == ERR_NONE) rc = os_loop_create(&sys.loop, &e);
    if (rc == ERR_NONE) rc = broker_open(&b, &sys, &o, &e);
    if (rc == ERR_NONE) {
        broker_stats(b, &stats);
        broker_close(b);
        (void)sys.loop->run(sys.loop, LOOP_ONCE_NOWAIT); /* what it left with the loop frees itself */
    }
    if (sys.loop != NULL) os_loop_destroy(sys.loop);
    os_diag_destroy(sys.diag);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    if (cli_json(cli))
        printf("{\"topics\":%u,\"partitions\":%u,\"read_only\":%u}\n", stats.n_topics, stats.n_partitions,
               stats.partitions_stopped);
    else
        printf("%u topics, %u partitions can be opened; %u of them are damaged and read-only\n", stats.n_topics,
               stats.n_partitions, stats.partitions_stopped);
    return EXIT_OK;
}
