/* cli.h: the frame of the command line: one table says each command's options, help and examples; flags, environment
 * and INI file mean the same. A value comes from, in this order: the flag --data X, the environment WEIR_DATA=X, the
 * INI line `data = X` of the file named by --config or WEIR_CONFIG, the default. Unknown flags and keys are errors with
 * the nearest known name. Main thread only. */
#ifndef WEIR_APP_CLI_H
#define WEIR_APP_CLI_H

#include "base/bytes.h"
#include "base/err.h"
#include "sys/sys.h"

/* Exit codes, documented in docs/reference/cli.md. */
enum cli_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      /* it was tried and did not work */
    EXIT_USAGE = 2,       /* wrong flags, arguments, configuration */
    EXIT_UNAVAILABLE = 3, /* no server there, or the directory is in use */
    EXIT_DAMAGED = 4,     /* verify found damage */
};

struct cli_option {
    const char *name;     /* long, without dashes */
    char letter;          /* 0: none */
    const char *arg;      /* metavariable; NULL: a switch */
    const char *fallback; /* default shown in help and used; NULL: none */
    const char *help;
    bool is_config; /* may stand in the environment and the INI file, too */
};

struct cli;
struct cli_command {
    const char *name; /* "serve", "topic create" */
    const char *summary;
    const char *arguments;            /* after the options in the usage line, e.g. "TOPIC" */
    const struct cli_option *options; /* ends with name NULL; besides the global ones */
    const char *details;              /* paragraphs for help; may be NULL */
    const char *examples;
    int (*run)(struct cli *c);
    int min_args, max_args; /* positional arguments */
};
/* All commands; ends with name NULL. commands.c. */
extern const struct cli_command cli_commands[];

/* ---- what a command may ask ---- */
const char *cli_get(struct cli *c,
                    const char *option);         /* NULL: not given and no default. Must be an option of the command */
bool cli_has(struct cli *c, const char *option); /* a switch, or given explicitly */
const char *cli_get_nth(struct cli *c, const char *option, int n); /* on the command line, from 0; NULL: not so often */
int cli_n_args(struct cli *c);
const char *cli_arg(struct cli *c, int i); /* positional; NULL beyond */
bool cli_json(struct cli *c);              /* --json */

/* Typed; a malformed value is reported and ends the program with EXIT_USAGE. */
int64_t cli_get_int(struct cli *c, const char *option, int64_t min, int64_t max);
uint64_t cli_get_size(struct cli *c, const char *option);       /* "64MiB" */
int64_t cli_get_duration_ms(struct cli *c, const char *option); /* "7d"; "none" or "-1": -1 */
/* "HOST:PORT" (host may be [v6]); "off": *on = false. */
void cli_get_address(struct cli *c, const char *option, struct net_address *out, bool *on);

/* Reports an error (text or, with --json, {"error":{..}} on standard error) and returns the exit code that fits its
 * class. */
int cli_fail(struct cli *c, const struct err *e);
int cli_usage_error(struct cli *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

int cli_main(int argc, char **argv);

/* ---- commands (cmd_*.c) ---- */
int cmd_serve(struct cli *c);
int cmd_dev(struct cli *c);
int cmd_topic_create(struct cli *c);
int cmd_topic_list(struct cli *c);
int cmd_topic_describe(struct cli *c);
int cmd_topic_delete(struct cli *c);
int cmd_topic_alter(struct cli *c);
int cmd_topic_trim(struct cli *c);
int cmd_produce(struct cli *c);
int cmd_consume(struct cli *c);
int cmd_sql(struct cli *c);
int cmd_group_list(struct cli *c);
int cmd_group_describe(struct cli *c);
int cmd_group_reset(struct cli *c);
int cmd_user_add(struct cli *c);
int cmd_user_passwd(struct cli *c);
int cmd_user_delete(struct cli *c);
int cmd_user_list(struct cli *c);
int cmd_acl_add(struct cli *c);
int cmd_acl_remove(struct cli *c);
int cmd_acl_list(struct cli *c);
int cmd_quota_set(struct cli *c);
int cmd_quota_remove(struct cli *c);
int cmd_quota_list(struct cli *c);
int cmd_verify(struct cli *c);
int cmd_repair(struct cli *c);
int cmd_version(struct cli *c);

#endif
