/* cmd_auth.c: weir user and weir acl.
 *
 * With --broker they ask a running server. With --data they open the directory themselves, without any door: so the first
 * user of a server is made before it is started, and nobody else can come in meanwhile. A password never stands in the
 * arguments: it is read from a file, from standard input, or asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/limits.h"
#include "broker/auth.h"

/* A server, or a directory. */
struct target {
    struct client client;
    struct sys sys;
    struct broker *broker; /* NULL: a server */
};

static enum err_code target_open(struct target *t, struct cli *cli, struct err *e)
{
    *t = (struct target){0};
    if (cli_get(cli, "data") == NULL) return client_open(&t->client, cli, e);
    struct broker_options o = {.data_dir = cli_get(cli, "data"), .retention_ms = -1};
    t->sys = (struct sys){.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .diag = os_diag_create(2, DIAG_WARN)};
    enum err_code rc = os_loop_create(&t->sys.loop, e);
    if (rc == ERR_NONE) rc = broker_open(&t->broker, &t->sys, &o, e);
    if (rc == ERR_NONE) return rc;
    if (t->sys.loop != NULL) os_loop_destroy(t->sys.loop);
    os_diag_destroy(t->sys.diag);
    return rc;
}

static void target_close(struct target *t)
{
    if (t->broker == NULL) {
        client_close(&t->client);
        return;
    }
    broker_close(t->broker);
    (void)t->sys.loop->run(t->sys.loop, LOOP_ONCE_NOWAIT); /* what the broker still had there frees itself */
    (void)t->sys.loop->run(t->sys.loop, LOOP_ONCE_NOWAIT);
    os_loop_destroy(t->sys.loop);
    os_diag_destroy(t->sys.diag);
}

/* ---- users ---- */
static bool first_line(const char *text, size_t len, size_t cap, struct bytes *line)
{
    size_t n = strcspn(text, "\r\n");

    if (n == len && len == cap - 1) return false; /* cut */
    *line = bytes_of(text, n);
    return true;
}

static bool read_line(FILE *f, char *out, size_t cap, struct bytes *line)
{
    return fgets(out, (int)cap, f) != NULL && first_line(out, strlen(out), cap, line);
}

static bool ask(char *out, size_t cap, struct bytes *line)
{
    struct termios before, quiet;

    if (tcgetattr(STDIN_FILENO, &before) != 0) return false;
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    fprintf(stderr, "Password: ");
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    bool ok = read_line(stdin, out, cap, line);
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return ok;
}

static enum err_code read_password(struct cli *cli, char *out, size_t cap, struct bytes *password, struct err *e)
{
    const char *path = cli_get(cli, "password-file");
    bool ok;

    if (path != NULL && strcmp(path, "-") != 0) {
        struct file *f = NULL;
        size_t n = 0;
        enum err_code rc = os_fs()->open(os_fs(), path, FS_READ, &f, e);
        if (rc == ERR_NONE) rc = os_fs()->pread(os_fs(), f, out, cap - 1, 0, &n, e);
        os_fs()->close(os_fs(), f);
        if (rc != ERR_NONE) return err_wrap(e, rc, "the password file");
        out[n] = 0;
        ok = first_line(out, n, cap, password);
    } else if (isatty(STDIN_FILENO)) {
        ok = ask(out, cap, password);
    } else {
        ok = read_line(stdin, out, cap, password);
    }
    if (ok && password->len > 0) return ERR_NONE;
    enum err_code rc = err_set(e, ERR_INVALID, "no password, or one longer than %d bytes", LIMIT_PASSWORD_LEN_MAX);
    err_hint(e, "the first line of --password-file FILE or of standard input is taken");
    return rc;
}

struct finding {
    struct bytes name;
    bool is_found;
};
static void find_user(void *arg, struct bytes name, unsigned mask)
{
    struct finding *f = arg;
    (void)mask;
    f->is_found |= bytes_equal(name, f->name);
}

static enum err_code user_exists(struct target *t, struct bytes name, bool *out, struct err *e)
{
    struct finding f = {.name = name};

    if (t->broker != NULL) {
        *out = user_find(t->broker, name) != NULL;
        return ERR_NONE;
    }
    enum err_code rc = kclient_users(t->client.k, name, find_user, &f, e);
    *out = f.is_found;
    return rc;
}

static int set_password(struct cli *cli, bool must_exist)
{
    struct bytes name = bytes_str(cli_arg(cli, 0)), password;
    char text[LIMIT_PASSWORD_LEN_MAX + 3];
    struct err e = {0};
    struct target t;
    bool exists = false;

    if (!user_is_name(name)) return cli_usage_error(cli, "a user's name is letters, digits and . _ @ + -");
    enum err_code rc = read_password(cli, text, sizeof text, &password, &e);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    rc = target_open(&t, cli, &e);
    if (rc == ERR_NONE) {
        rc = user_exists(&t, name, &exists, &e);
        if (rc == ERR_NONE && exists && !must_exist)
            rc = err_set(&e, ERR_EXISTS, "there is a user %.*s already", BYTES_ARG(name));
        if (rc == ERR_NONE && !exists && must_exist) rc = err_set(&e, ERR_NOT_FOUND, "no user %.*s", BYTES_ARG(name));
        if (rc == ERR_NONE)
            rc = t.broker != NULL ? user_set_password(t.broker, name, password, &e)
                                  : kclient_user_set(t.client.k, name, password, &e);
        target_close(&t);
    }
    crypto_forget(text, sizeof text);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

int cmd_user_add(struct cli *cli)
{
    return set_password(cli, false);
}

int cmd_user_passwd(struct cli *cli)
{
    return set_password(cli, true);
}

int cmd_user_delete(struct cli *cli)
{
    struct bytes name = bytes_str(cli_arg(cli, 0));
    struct err e = {0};
    struct target t;

    enum err_code rc = target_open(&t, cli, &e);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    rc = t.broker != NULL ? user_delete(t.broker, name, &e) : kclient_user_delete(t.client.k, name, &e);
    target_close(&t);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

static void print_user(void *arg, struct bytes name, unsigned mask)
{
    struct cli *cli = arg;
    const char *m = mask == 6 ? "SCRAM-SHA-256,SCRAM-SHA-512" : mask == 4 ? "SCRAM-SHA-512" : "SCRAM-SHA-256";

    if (cli_json(cli)) {
        struct buf b;
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "user", name);
        json_member(&b, "mechanisms", bytes_str(m));
        json_print_line(&b);
    } else {
        printf("%-32.*s %s\n", BYTES_ARG(name), m);
    }
}

int cmd_user_list(struct cli *cli)
{
    struct err e = {0};
    struct target t;
    uint32_t pos = 0;

    enum err_code rc = target_open(&t, cli, &e);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    if (t.broker == NULL) rc = kclient_users(t.client.k, BYTES_NULL, print_user, cli, &e);
    for (const struct user *u; t.broker != NULL && (u = user_next(t.broker, &pos)) != NULL;)
        print_user(cli, u->name, (u->verifiers[0].iterations > 0) * 2u + (u->verifiers[1].iterations > 0) * 4u);
    target_close(&t);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

/* ---- rules ---- */
static const char *const type_names[] = {"", "any", "topic", "group", "cluster", "transactional-id"};
static const char *const op_names[] = {"",
                                       "any",
                                       "all",
                                       "read",
                                       "write",
                                       "create",
                                       "delete",
                                       "alter",
                                       "describe",
                                       "cluster-action",
                                       "describe-configs",
                                       "alter-configs",
                                       "idempotent-write"};

static int op_of(const char *name)
{
    for (int i = ACL_ALL; i <= ACL_IDEMPOTENT_WRITE; i++)
        if (strcmp(name, op_names[i]) == 0) return i;
    return -1;
}

/* What the options say; what they leave out is null or ANY. False: a usage error, told already. */
static bool rule_read(struct cli *cli, struct acl *a, int *exit_code)
{
    const char *allow = cli_get(cli, "allow"), *deny = cli_get(cli, "deny"), *host = cli_get(cli, "host");
    int n = 0;

    *a = (struct acl){ACL_RESOURCE_ANY, ACL_PATTERN_ANY, ACL_OPERATION_ANY, ACL_PERMISSION_ANY,
                      BYTES_NULL,       BYTES_NULL,      BYTES_NULL};
    for (int type = ACL_TOPIC; type <= ACL_TRANSACTIONAL_ID; type++) {
        if (!cli_has(cli, type_names[type])) continue;
        n++;
        a->type = (enum acl_resource)type;
        a->name = bytes_str(type == ACL_CLUSTER ? ACL_CLUSTER_NAME : cli_get(cli, type_names[type]));
        a->pattern = cli_has(cli, "prefix") ? ACL_PREFIXED : ACL_LITERAL;
    }
    if (n > 1 || (allow != NULL && deny != NULL)) {
        *exit_code = cli_usage_error(cli, "one resource, and one of --allow and --deny");
        return false;
    }
    if (allow != NULL || deny != NULL) a->permission = allow != NULL ? ACL_ALLOW : ACL_DENY;
    if (allow != NULL || deny != NULL) a->principal = bytes_str(allow != NULL ? allow : deny);
    if (host != NULL) a->host = bytes_str(host);
    return true;
}

static enum err_code one_rule(struct cli *cli, struct target *t, struct acl *a, bool is_add, int *n, struct err *e)
{
    (void)cli;
    if (is_add) {
        if (bytes_is_null(a->host)) a->host = BYTES_LIT("*");
        ++*n;
        return t->broker != NULL ? acl_add(t->broker, a, e) : kclient_acl_add(t->client.k, a, e);
    }
    if (t->broker == NULL) return kclient_acl_remove(t->client.k, a, n, e);
    uint32_t pos = 0;
    enum err_code rc = ERR_NONE;
    for (const struct acl *x; rc == ERR_NONE && (x = acl_next(t->broker, &pos)) != NULL;) {
        if (!acl_filter_matches(a, x)) continue;
        rc = acl_remove(t->broker, x, e);
        ++*n;
    }
    return rc;
}

static int change_rules(struct cli *cli, bool is_add)
{
    struct err e = {0};
    struct target t;
    struct acl a;
    int exit_code = 0, n = 0;

    if (!rule_read(cli, &a, &exit_code)) return exit_code;
    if (a.permission == ACL_PERMISSION_ANY || a.type == ACL_RESOURCE_ANY || cli_get_nth(cli, "operation", 0) == NULL)
        return cli_usage_error(cli, "a rule needs --allow or --deny, --operation, and a resource: --topic, --group, "
                                    "--transactional-id or --cluster");
    for (int i = 0; cli_get_nth(cli, "operation", i) != NULL; i++)
        if (op_of(cli_get_nth(cli, "operation", i)) < 0)
            return cli_usage_error(cli, "--operation: \"%s\" is none", cli_get_nth(cli, "operation", i));
    enum err_code rc = target_open(&t, cli, &e);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    for (int i = 0; rc == ERR_NONE && cli_get_nth(cli, "operation", i) != NULL; i++) {
        a.op = (enum acl_operation)op_of(cli_get_nth(cli, "operation", i));
        rc = one_rule(cli, &t, &a, is_add, &n, &e);
    }
    if (rc == ERR_NONE && n == 0) rc = err_set(&e, ERR_NOT_FOUND, "no such rule");
    target_close(&t);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

int cmd_acl_add(struct cli *cli)
{
    return change_rules(cli, true);
}

int cmd_acl_remove(struct cli *cli)
{
    return change_rules(cli, false);
}

static void print_rule(void *arg, const struct acl *a)
{
    struct cli *cli = arg;
    const char *pattern = a->pattern == ACL_PREFIXED ? "prefixed" : "literal";
    const char *permission = a->permission == ACL_DENY ? "deny" : "allow";
    const char *type = a->type <= ACL_TRANSACTIONAL_ID ? type_names[a->type] : "other";
    const char *op = a->op <= ACL_IDEMPOTENT_WRITE ? op_names[a->op] : "other";

    if (cli_json(cli)) {
        struct buf b;
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "permission", bytes_str(permission));
        json_member(&b, "principal", a->principal);
        json_member(&b, "host", a->host);
        json_member(&b, "operation", bytes_str(op));
        json_member(&b, "resource", bytes_str(type));
        json_member(&b, "pattern", bytes_str(pattern));
        json_member(&b, "name", a->name);
        json_print_line(&b);
        return;
    }
    printf("%-5s %-24.*s %-16.*s %-16s %s %s %.*s\n", permission, BYTES_ARG(a->principal), BYTES_ARG(a->host), op, type,
           pattern, BYTES_ARG(a->name));
}

int cmd_acl_list(struct cli *cli)
{
    struct acl all = {ACL_RESOURCE_ANY, ACL_PATTERN_ANY, ACL_OPERATION_ANY, ACL_PERMISSION_ANY,
                      BYTES_NULL,       BYTES_NULL,      BYTES_NULL};
    struct err e = {0};
    struct target t;
    uint32_t pos = 0;

    enum err_code rc = target_open(&t, cli, &e);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    if (t.broker == NULL) rc = kclient_acls(t.client.k, &all, print_rule, cli, &e);
    for (const struct acl *a; t.broker != NULL && (a = acl_next(t.broker, &pos)) != NULL;)
        print_rule(cli, a);
    target_close(&t);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
