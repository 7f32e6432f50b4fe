/* cli.c: parses what cli.h describes.
 *
 *   weir [global options] COMMAND [SUBCOMMAND] [options] [arguments]
 *
 * Options may stand anywhere after the command; "--" ends them. --opt=value and --opt value are the same, -oVALUE and
 * -o VALUE too. */
#include "app/app_int.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"

#define OPTIONS_MAX 48
#define ARGS_MAX 64
#define GIVEN_MAX 64 /* options with a value on one command line */

struct cli {
    const struct cli_command *command;
    const struct cli_option *options[OPTIONS_MAX]; /* global ones, then the command's */
    const char *values[OPTIONS_MAX];               /* NULL: not given */
    bool owned[OPTIONS_MAX];                       /* value came from the INI file and is ours to free */
    int n_options;
    struct {
        int option;
        const char *value;
    } given[GIVEN_MAX]; /* in order, for options that may be repeated */
    int n_given;
    const char *args[ARGS_MAX];
    int n_args;
    bool json;
    char ini_error[300];
};

static const struct cli_option global_options[] = {
    {"help", 'h', NULL, NULL, "Show help and exit", false},
    {"json", 'J', NULL, NULL, "Print JSON, one object a line, on every command", false},
    {"config", 0, "FILE", NULL, "INI file with the same keys as the long options", false},
    {NULL, 0, NULL, NULL, NULL, false},
};

/* ---- errors ---- */

static int exit_code_of(enum err_code rc)
{
    switch (rc) {
    case ERR_NONE: return EXIT_OK;
    case ERR_INVALID: return EXIT_USAGE;
    case ERR_BUSY:
    case ERR_CLOSED:
    case ERR_TIMEOUT: return EXIT_UNAVAILABLE;
    case ERR_CORRUPT: return EXIT_DAMAGED;
    default: return EXIT_FAILED;
    }
}

static void print_error(bool json, const char *code, const char *text, const char *hint)
{
    struct buf b;
    if (!json) {
        fprintf(stderr, "weir: %s\n", text);
        if (hint != NULL && hint[0] != 0) fprintf(stderr, "  hint: %s\n", hint);
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{\"error\":{\"code\":");
    text_put_json_string(&b, bytes_str(code));
    buf_put_str(&b, ",\"message\":");
    text_put_json_string(&b, bytes_str(text));
    if (hint != NULL && hint[0] != 0) {
        buf_put_str(&b, ",\"hint\":");
        text_put_json_string(&b, bytes_str(hint));
    }
    buf_put_str(&b, "}}\n");
    fwrite(b.ptr, 1, b.len, stderr);
    buf_deinit(&b);
}

int cli_fail(struct cli *c, const struct err *e)
{
    print_error(c->json, err_name(e->code), e->text, e->hint);
    return exit_code_of(e->code);
}

int cli_usage_error(struct cli *c, const char *fmt, ...)
{
    char text[400], hint[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    snprintf(hint, sizeof hint, "weir help%s%s", c->command ? " " : "", c->command ? c->command->name : "");
    print_error(c->json, "usage", text, hint);
    return EXIT_USAGE;
}

/* ---- help ---- */

static void print_options(const struct cli_option *o)
{
    for (; o->name != NULL; o++) {
        char left[64];
        snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-36s %s", left, o->help);
        if (o->fallback != NULL) printf(" [%s]", o->fallback);
        printf("\n");
    }
}

static void print_command_help(const struct cli_command *cmd)
{
    printf("weir %s: %s\n\nUsage: weir %s [options]%s%s\n", cmd->name, cmd->summary, cmd->name,
           cmd->arguments[0] ? " " : "", cmd->arguments);
    if (cmd->details != NULL) printf("\n%s\n", cmd->details);
    if (cmd->options[0].name != NULL) {
        printf("\nOptions:\n");
        print_options(cmd->options);
    }
    printf("\nOptions of every command:\n");
    print_options(global_options);
    printf("\nExamples:\n%s\n", cmd->examples);
}

static void print_overview(void)
{
    printf("weir %s: one log read three ways, computed on with SQL, behind the doors you know\n\n"
           "Usage: weir COMMAND [options]\n\nCommands:\n",
           WEIR_VERSION);
    for (const struct cli_command *cmd = cli_commands; cmd->name != NULL; cmd++)
        printf("  %-18s %s\n", cmd->name, cmd->summary);
    printf("  %-18s %s\n\n", "help [COMMAND]", "Show this, or a command's options and examples");
    printf("Start here:  weir dev     then, in another terminal:  weir sql\n"
           "Each option can also be set in the environment (--data is WEIR_DATA) or in an INI file (--config FILE).\n");
}

/* ---- finding commands and options ---- */

/* Words of a command name that argv matches: 0 none, 1 or 2. */
static int match_command(const struct cli_command *cmd, int argc, char **argv)
{
    const char *blank = strchr(cmd->name, ' ');
    size_t first = blank ? (size_t)(blank - cmd->name) : strlen(cmd->name);
    if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], cmd->name, first) != 0) return 0;
    if (blank == NULL) return 1;
    return argc >= 2 && strcmp(argv[1], blank + 1) == 0 ? 2 : 0;
}

static const struct cli_command *find_command(int argc, char **argv, int *words)
{
    for (const struct cli_command *cmd = cli_commands; cmd->name != NULL; cmd++) {
        *words = match_command(cmd, argc, argv);
        if (*words > 0) return cmd;
    }
    return NULL;
}

static int unknown_command(struct cli *c, int argc, char **argv)
{
    char given[128];
    const char *near = NULL;
    unsigned best = 4;
    bool is_group = false;
    snprintf(given, sizeof given, "%s%s%s", argv[0], argc > 1 && argv[1][0] != '-' ? " " : "",
             argc > 1 && argv[1][0] != '-' ? argv[1] : "");
    for (const struct cli_command *cmd = cli_commands; cmd->name != NULL; cmd++) {
        unsigned a = text_distance(given, cmd->name), b = text_distance(argv[0], cmd->name);
        if (b < a) a = b;
        if (a < best) {
            best = a;
            near = cmd->name;
        }
        is_group = is_group || (strncmp(cmd->name, argv[0], strlen(argv[0])) == 0 && cmd->name[strlen(argv[0])] == ' ');
    }
    if (is_group && near == NULL)
        return cli_usage_error(c, "\"%s\" needs a subcommand; see the list in `weir help`", argv[0]);
    if (near != NULL) return cli_usage_error(c, "there is no command \"%s\"; did you mean \"%s\"?", given, near);
    return cli_usage_error(c, "there is no command \"%s\"", given);
}

static void add_options(struct cli *c, const struct cli_option *o)
{
    for (; o->name != NULL; o++) {
        check(c->n_options < OPTIONS_MAX);
        c->options[c->n_options++] = o;
    }
}

static int find_option(const struct cli *c, const char *name, size_t len)
{
    for (int i = 0; i < c->n_options; i++) {
        if (strlen(c->options[i]->name) == len && strncmp(c->options[i]->name, name, len) == 0) return i;
    }
    return -1;
}

/* Nearest option name of this command, or of any command when `any`. */
static const char *nearest_option(const struct cli *c, const char *name, bool any)
{
    const char *near = NULL;
    unsigned best = 4;
    for (int i = 0; i < c->n_options; i++) {
        unsigned d = text_distance(name, c->options[i]->name);
        if (d < best) best = d, near = c->options[i]->name;
    }
    for (const struct cli_command *cmd = cli_commands; any && cmd->name != NULL; cmd++) {
        for (const struct cli_option *o = cmd->options; o->name != NULL; o++) {
            unsigned d = o->is_config ? text_distance(name, o->name) : best;
            if (d < best) best = d, near = o->name;
        }
    }
    return near;
}

/* ---- values ---- */

static int give(struct cli *c, int option, const char *value)
{
    if (c->n_given == GIVEN_MAX) return cli_usage_error(c, "more than %d options", GIVEN_MAX);
    c->values[option] = value;
    c->given[c->n_given].option = option;
    c->given[c->n_given++].value = value;
    return 0;
}

static int parse_long(struct cli *c, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    int i = find_option(c, name, len);
    if (i < 0) {
        char given[64];
        const char *near;
        snprintf(given, sizeof given, "%.*s", (int)(len < 63 ? len : 63), name);
        near = nearest_option(c, given, false);
        if (near != NULL) return cli_usage_error(c, "there is no option --%s; did you mean --%s?", given, near);
        return cli_usage_error(c, "there is no option --%s", given);
    }
    if (c->options[i]->arg == NULL) {
        if (equals) return cli_usage_error(c, "--%s takes no value", c->options[i]->name);
        c->values[i] = "true";
        return 0;
    }
    if (equals) return give(c, i, equals + 1);
    if (*at + 1 < argc) return give(c, i, argv[++*at]);
    return cli_usage_error(c, "--%s needs a value (%s)", c->options[i]->name, c->options[i]->arg);
}

static int parse_short(struct cli *c, int argc, char **argv, int *at)
{
    for (const char *p = argv[*at] + 1; *p != 0; p++) {
        int i = 0;
        while (i < c->n_options && c->options[i]->letter != *p)
            i++;
        if (i == c->n_options) return cli_usage_error(c, "there is no option -%c", *p);
        if (c->options[i]->arg == NULL) {
            c->values[i] = "true";
            continue;
        }
        if (p[1] != 0) return give(c, i, p + 1);
        if (*at + 1 < argc) return give(c, i, argv[++*at]);
        return cli_usage_error(c, "-%c needs a value (%s)", *p, c->options[i]->arg);
    }
    return 0;
}

static int parse_args(struct cli *c, int argc, char **argv)
{
    bool only_args = false;
    for (int at = 0; at < argc; at++) {
        int rc = 0;
        if (!only_args && strcmp(argv[at], "--") == 0)
            only_args = true;
        else if (!only_args && argv[at][0] == '-' && argv[at][1] == '-')
            rc = parse_long(c, argc, argv, &at);
        else if (!only_args && argv[at][0] == '-' && argv[at][1] != 0)
            rc = parse_short(c, argc, argv, &at);
        else if (c->n_args < ARGS_MAX)
            c->args[c->n_args++] = argv[at];
        else
            rc = cli_usage_error(c, "more than %d arguments", ARGS_MAX);
        if (rc != 0) return rc;
    }
    return 0;
}

static void environment_name(const char *option, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "WEIR_%s", option);
    for (size_t i = 5; i < n && i < cap; i++) {
        if (out[i] == '-')
            out[i] = '_';
        else if (out[i] >= 'a' && out[i] <= 'z')
            out[i] = (char)(out[i] - 'a' + 'A');
    }
}

static void apply_environment(struct cli *c)
{
    char name[80];
    for (int i = 0; i < c->n_options; i++) {
        const char *v;
        if (!c->options[i]->is_config) continue;
        environment_name(c->options[i]->name, name, sizeof name);
        v = getenv(name);
        if (c->values[i] == NULL && v != NULL && v[0] != 0) c->values[i] = v;
    }
}

/* A key is known when any command has it as a configurable option: one file serves them all. */
static bool is_config_key(const char *name)
{
    for (const struct cli_command *cmd = cli_commands; cmd->name != NULL; cmd++) {
        for (const struct cli_option *o = cmd->options; o->name != NULL; o++) {
            if (o->is_config && strcmp(o->name, name) == 0) return true;
        }
    }
    return false;
}

static void cli_free(struct cli *c)
{
    for (int i = 0; i < c->n_options; i++) {
        if (c->owned[i]) free((char *)(uintptr_t)c->values[i]);
    }
    free(c);
}

static int on_ini(void *user, const char *section, const char *name, const char *value)
{
    struct cli *c = user;
    int i;
    if (section[0] != 0) {
        snprintf(c->ini_error, sizeof c->ini_error, "section [%s]: there are no sections, only `key = value` lines",
                 section);
        return 0;
    }
    if (!is_config_key(name)) {
        const char *near = nearest_option(c, name, true);
        snprintf(c->ini_error, sizeof c->ini_error, "unknown key \"%s\"%s%s%s", name, near ? "; did you mean \"" : "",
                 near ? near : "", near ? "\"?" : "");
        return 0;
    }
    i = find_option(c, name, strlen(name));
    if (i >= 0 && c->options[i]->is_config && c->values[i] == NULL) {
        c->values[i] = strdup(value);
        c->owned[i] = true;
    }
    return 1;
}

static int apply_ini(struct cli *c)
{
    int i = find_option(c, "config", 6), line;
    const char *path = c->values[i] ? c->values[i] : getenv("WEIR_CONFIG");
    if (path == NULL || path[0] == 0) return 0;
    line = ini_parse(path, on_ini, c);
    if (line == -1) return cli_usage_error(c, "configuration file %s cannot be read", path);
    if (line != 0)
        return cli_usage_error(c, "configuration file %s, line %d: %s", path, line,
                               c->ini_error[0] ? c->ini_error : "this is not a `key = value` line");
    return 0;
}

int cli_check_ini(const char *text, char *why, size_t why_cap)
{
    struct cli *c = calloc(1, sizeof *c);
    int line;
    check(c != NULL);
    add_options(c, global_options);
    add_options(c, cli_commands[0].options);
    line = ini_parse_string(text, on_ini, c);
    snprintf(why, why_cap, "%s", line == 0 || c->ini_error[0] ? c->ini_error : "not a `key = value` line");
    cli_free(c);
    return line;
}

/* ---- questions ---- */

static int option_index(struct cli *c, const char *option)
{
    int i = find_option(c, option, strlen(option));
    check(i >= 0);
    return i;
}

const char *cli_get(struct cli *c, const char *option)
{
    int i = option_index(c, option);
    return c->values[i] ? c->values[i] : c->options[i]->fallback;
}

bool cli_has(struct cli *c, const char *option)
{
    const char *v = c->values[option_index(c, option)];
    return v != NULL && strcmp(v, "false") != 0 && strcmp(v, "no") != 0;
}

int cli_n_args(struct cli *c)
{
    return c->n_args;
}

const char *cli_get_nth(struct cli *c, const char *option, int n)
{
    int wanted = option_index(c, option);
    for (int i = 0; i < c->n_given; i++) {
        if (c->given[i].option == wanted && n-- == 0) return c->given[i].value;
    }
    return NULL;
}

const char *cli_arg(struct cli *c, int i)
{
    return i < c->n_args ? c->args[i] : NULL;
}

bool cli_json(struct cli *c)
{
    return c->json;
}

NORETURN static void bad_value(struct cli *c, const char *option, const char *want)
{
    exit(cli_usage_error(c, "--%s: \"%s\" is not %s", option, cli_get(c, option), want));
}

int64_t cli_get_int(struct cli *c, const char *option, int64_t min, int64_t max)
{
    const char *v = cli_get(c, option);
    int64_t n;
    char want[80];
    check(v != NULL);
    snprintf(want, sizeof want, "a whole number from %lld to %lld", (long long)min, (long long)max);
    if (!text_parse_i64(bytes_str(v), &n) || n < min || n > max) bad_value(c, option, want);
    return n;
}

uint64_t cli_get_size(struct cli *c, const char *option)
{
    const char *v = cli_get(c, option);
    uint64_t n;
    check(v != NULL);
    if (!text_parse_size(bytes_str(v), &n)) bad_value(c, option, "a size like 64MiB");
    return n;
}

int64_t cli_get_duration_ms(struct cli *c, const char *option)
{
    const char *v = cli_get(c, option);
    int64_t n;
    check(v != NULL);
    if (strcmp(v, "none") == 0 || strcmp(v, "-1") == 0) return -1;
    if (!text_parse_duration_ms(bytes_str(v), &n) || n < 0)
        bad_value(c, option, "a duration like 500ms, 10s, 7d or none");
    return n;
}

void cli_get_address(struct cli *c, const char *option, struct net_address *out, bool *on)
{
    const char *v = cli_get(c, option), *colon, *host;
    size_t len;
    int64_t port;
    check(v != NULL);
    memset(out, 0, sizeof *out);
    *on = strcmp(v, "off") != 0;
    if (!*on) return;
    colon = strrchr(v, ':');
    if (colon == NULL || !text_parse_i64(bytes_str(colon + 1), &port) || port < 0 || port > 65535)
        bad_value(c, option, "HOST:PORT or off");
    host = v;
    len = (size_t)(colon - v);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') host++, len -= 2;
    if (len == 0 || len >= sizeof out->host) bad_value(c, option, "HOST:PORT or off");
    memcpy(out->host, host, len);
    out->port = (uint16_t)port;
}

/* ---- main ---- */

static int run_help(struct cli *c, int argc, char **argv)
{
    const struct cli_command *cmd;
    int words;
    bool any = false;
    if (argc == 0) {
        print_overview();
        return EXIT_OK;
    }
    cmd = find_command(argc, argv, &words);
    if (cmd != NULL) {
        print_command_help(cmd);
        return EXIT_OK;
    }
    /* "weir help topic": all of that noun. */
    for (cmd = cli_commands; cmd->name != NULL; cmd++) {
        size_t n = strlen(argv[0]);
        if (strncmp(cmd->name, argv[0], n) != 0 || cmd->name[n] != ' ') continue;
        if (any) printf("\n");
        print_command_help(cmd);
        any = true;
    }
    return any ? EXIT_OK : unknown_command(c, argc, argv);
}

static int run_command(struct cli *c, int argc, char **argv)
{
    int words, rc;
    c->command = find_command(argc, argv, &words);
    if (c->command == NULL) {
        if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) return run_help(c, 1, argv);
        return unknown_command(c, argc, argv);
    }
    add_options(c, global_options);
    add_options(c, c->command->options);
    rc = parse_args(c, argc - words, argv + words);
    if (rc != 0) return rc;
    if (cli_has(c, "help")) {
        print_command_help(c->command);
        return EXIT_OK;
    }
    c->json = c->json || cli_has(c, "json");
    apply_environment(c);
    rc = apply_ini(c);
    if (rc != 0) return rc;
    if (c->n_args < c->command->min_args)
        return cli_usage_error(c, "%s needs %s", c->command->name, c->command->arguments);
    if (c->n_args > c->command->max_args)
        return cli_usage_error(c, "unexpected argument \"%s\"", c->args[c->command->max_args]);
    return c->command->run(c);
}

int cli_main(int argc, char **argv)
{
    struct cli *c = calloc(1, sizeof *c);
    int at = 1, rc;
    check(c != NULL);
    for (; at < argc && (strcmp(argv[at], "--json") == 0 || strcmp(argv[at], "-J") == 0); at++)
        c->json = true;
    if (at == argc || strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
        print_overview();
        rc = at == argc ? EXIT_USAGE : EXIT_OK;
    } else if (strcmp(argv[at], "help") == 0) {
        rc = run_help(c, argc - at - 1, argv + at + 1);
    } else if (strcmp(argv[at], "--version") == 0) {
        printf("weir %s\n", WEIR_VERSION);
        rc = EXIT_OK;
    } else {
        rc = run_command(c, argc - at, argv + at);
    }
    cli_free(c);
    return rc;
}
