/* cmd_verify.c: weir verify: reads a whole data directory and says what is wrong with it. Changes nothing; takes the
 * directory's lock so that no server writes meanwhile. */
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/limits.h"
#include "broker/broker.h"
#include "log/log.h"
#include "sys/os.h"

struct verify {
    struct cli *cli;
    struct sys sys;
    char path[LIMIT_PATH_LEN_MAX];
    const char *topic, *partition; /* directory names */
    int topic_len;                 /* of the name in front of the topic's id */
    uint64_t n_logs, n_batches, n_damages, n_torn, n_side;
    enum err_code rc;
    struct err e;
};

static void on_damage(void *arg, const struct log_damage *d)
{
    struct verify *v = arg;
    struct buf b;
    static const char *const words[] = {
        [LOG_DAMAGE_DATA] = "DAMAGED", [LOG_DAMAGE_TAIL] = "tail   ", [LOG_DAMAGE_SIDE] = "cache  "};
    static const char *const kinds[] = {
        [LOG_DAMAGE_DATA] = "damage", [LOG_DAMAGE_TAIL] = "torn_tail", [LOG_DAMAGE_SIDE] = "cache"};

    v->n_damages += d->kind == LOG_DAMAGE_DATA;
    v->n_torn += d->kind == LOG_DAMAGE_TAIL;
    v->n_side += d->kind == LOG_DAMAGE_SIDE;
    if (!cli_json(v->cli)) {
        printf("%s  %.*s/%s  %s at byte %llu: %s", words[d->kind], v->topic_len, v->topic, v->partition, d->file,
               (unsigned long long)d->position, d->what);
        if (d->offset_from >= 0) printf(" (offsets %lld to %lld)", (long long)d->offset_from, (long long)d->offset_to);
        printf("\n");
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "kind", bytes_str(kinds[d->kind]));
    json_member(&b, "topic", bytes_of(v->topic, (size_t)v->topic_len));
    json_member(&b, "directory", bytes_str(v->topic));
    json_member(&b, "partition", bytes_str(v->partition));
    json_member(&b, "file", bytes_str(d->file));
    json_member_i64(&b, "position", (int64_t)d->position);
    json_member_i64(&b, "offset_from", d->offset_from);
    json_member_i64(&b, "offset_to", d->offset_to);
    json_member(&b, "what", bytes_str(d->what));
    json_print_line(&b);
}

/* A topic's directory is NAME-ID with 32 hexadecimal digits. */
static int name_len(const char *dir)
{
    const char *dash = strrchr(dir, '-');
    return dash != NULL && strspn(dash + 1, "0123456789abcdef") == 32 && dash[33] == 0 ? (int)(dash - dir)
                                                                                       : (int)strlen(dir);
}

static bool is_number(const char *s)
{
    return s[0] != 0 && s[strspn(s, "0123456789")] == 0;
}

static bool on_partition(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct verify *v = arg;
    char dir[LIMIT_PATH_LEN_MAX];
    uint64_t n = 0;
    (void)size;
    if (!is_dir || !is_number(name)) return true;
    if ((size_t)snprintf(dir, sizeof dir, "%s/topics/%s/%s", v->path, v->topic, name) >= sizeof dir) return true;
    v->partition = name;
    v->rc = log_verify(&v->sys, dir, on_damage, v, &n, &v->e);
    v->n_logs++;
    v->n_batches += n;
    return v->rc == ERR_NONE;
}

static bool on_topic(void *arg, const char *name, bool is_dir, uint64_t size)
{
    struct verify *v = arg;
    char dir[LIMIT_PATH_LEN_MAX];
    (void)size;
    if (!is_dir) return true;
    if ((size_t)snprintf(dir, sizeof dir, "%s/topics/%s", v->path, name) >= sizeof dir) return true;
    v->topic = name;
    v->topic_len = name_len(name);
    if (v->sys.fs->list(v->sys.fs, dir, on_partition, v, &v->e) != ERR_NONE && v->rc == ERR_NONE) v->rc = v->e.code;
    return v->rc == ERR_NONE;
}

static void verify_identity(struct verify *v)
{
    const char *what;
    struct buf b;

    v->rc = broker_verify_identity(&v->sys, v->path, &what, &v->e);
    if (v->rc != ERR_NONE || what == NULL) return;
    v->n_side++;
    if (!cli_json(v->cli)) {
        printf("cache    weir.meta: %s\n", what);
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "kind", BYTES_LIT("cache"));
    json_member(&b, "file", BYTES_LIT("weir.meta"));
    json_member(&b, "what", bytes_str(what));
    json_print_line(&b);
}

static void summary(struct verify *v)
{
    if (cli_json(v->cli)) {
        printf(
            "{\"partitions\":%llu,\"batches\":%llu,\"damages\":%llu,\"torn_tails\":%llu,\"caches\":%llu,\"ok\":%s}\n",
            (unsigned long long)v->n_logs, (unsigned long long)v->n_batches, (unsigned long long)v->n_damages,
            (unsigned long long)v->n_torn, (unsigned long long)v->n_side, v->n_damages == 0 ? "true" : "false");
        return;
    }
    printf("%llu partitions, %llu batches read: ", (unsigned long long)v->n_logs, (unsigned long long)v->n_batches);
    if (v->n_damages == 0)
        printf("no damage");
    else
        printf("%llu damage(s)", (unsigned long long)v->n_damages);
    if (v->n_torn > 0)
        printf("; %llu torn tail(s), never acknowledged, cut at the next start", (unsigned long long)v->n_torn);
    if (v->n_side > 0)
        printf("; %llu damaged cache(s), harmless, made again at the next start", (unsigned long long)v->n_side);
    printf("\n");
}

int cmd_verify(struct cli *cli)
{
    struct verify v = {.cli = cli};
    struct file *lock = NULL;
    char path[LIMIT_PATH_LEN_MAX + 16];
    int exit_code;

    v.sys = (struct sys){.clock = os_clock(), .rng = os_rng(), .fs = os_fs(), .diag = os_diag_create(2, DIAG_WARN)};
    snprintf(v.path, sizeof v.path, "%s", cli_get(cli, "data"));
    snprintf(path, sizeof path, "%s/topics", v.path);
    if (!v.sys.fs->exists(v.sys.fs, path)) {
        v.rc = err_set(&v.e, ERR_NOT_FOUND, "%s is not a Weir data directory", v.path);
        exit_code = cli_fail(cli, &v.e);
    } else {
        snprintf(path, sizeof path, "%s/weir.lock", v.path);
        v.rc = v.sys.fs->lock(v.sys.fs, path, &lock, &v.e);
        if (v.rc == ERR_NONE) verify_identity(&v);
        snprintf(path, sizeof path, "%s/topics", v.path);
        if (v.rc == ERR_NONE) {
            enum err_code rc = v.sys.fs->list(v.sys.fs, path, on_topic, &v, &v.e);
            if (v.rc == ERR_NONE) v.rc = rc;
        }
        if (v.rc == ERR_NONE) summary(&v);
        exit_code = v.rc != ERR_NONE ? cli_fail(cli, &v.e) : v.n_damages > 0 ? EXIT_DAMAGED : EXIT_OK;
    }
    v.sys.fs->close(v.sys.fs, lock);
    os_diag_destroy(v.sys.diag);
    return exit_code;
}
