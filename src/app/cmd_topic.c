/* cmd_topic.c: weir topic create | list | describe | alter | trim | delete; weir version. */
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/limits.h"

static void say(struct cli *cli, const char *what, const char *topic)
{
    struct buf b;
    if (!cli_json(cli)) {
        printf("topic %s %s\n", topic, what);
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "topic", bytes_str(topic));
    json_member(&b, "result", bytes_str(what));
    json_print_line(&b);
}

#define CHANGES_MAX 64

/* The --set options, then the --delete ones of a command that has them. -1: a usage error was told. */
static int take_changes(struct cli *cli, bool with_delete, struct kclient_config_change out[CHANGES_MAX])
{
    const char *given;
    int n = 0;

    for (int i = 0; n < CHANGES_MAX && (given = cli_get_nth(cli, "set", i)) != NULL; i++) {
        const char *equals = strchr(given, '=');
        if (equals == NULL || equals == given) {
            (void)cli_usage_error(cli, "--set needs KEY=VALUE, got \"%s\"", given);
            return -1;
        }
        out[n++] = (struct kclient_config_change){.name = bytes_of(given, (size_t)(equals - given)),
                                                  .value = bytes_str(equals + 1)};
    }
    for (int i = 0; with_delete && n < CHANGES_MAX && (given = cli_get_nth(cli, "delete", i)) != NULL; i++)
        out[n++] = (struct kclient_config_change){.name = bytes_str(given), .is_delete = true};
    return n;
}

int cmd_topic_create(struct cli *cli)
{
    const char *topic = cli_arg(cli, 0);
    int32_t partitions = (int32_t)cli_get_int(cli, "partitions", 1, LIMIT_PARTITIONS_PER_TOPIC_MAX);
    struct kclient_config_change changes[CHANGES_MAX];
    struct kclient_config configs[CHANGES_MAX] = {0};
    int n = take_changes(cli, false, changes);
    struct client c;
    struct err e = {0};
    enum err_code rc;

    if (n < 0) return EXIT_USAGE;
    for (int i = 0; i < n; i++)
        configs[i] = (struct kclient_config){.name = changes[i].name, .value = changes[i].value};
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_topic_create(c.k, bytes_str(topic), partitions, 1, n > 0 ? configs : NULL, n, &e);
    client_close(&c);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    say(cli, "created", topic);
    return EXIT_OK;
}

int cmd_topic_alter(struct cli *cli)
{
    struct bytes topic = bytes_str(cli_arg(cli, 0));
    bool more = cli_has(cli, "partitions");
    int32_t partitions = more ? (int32_t)cli_get_int(cli, "partitions", 1, LIMIT_PARTITIONS_PER_TOPIC_MAX) : 0;
    struct kclient_config_change changes[CHANGES_MAX];
    int n = take_changes(cli, true, changes);
    struct client c;
    struct err e = {0};
    enum err_code rc = ERR_NONE;

    if (n < 0) return EXIT_USAGE;
    if (n == 0 && !more) return cli_usage_error(cli, "topic alter needs --set, --delete or --partitions");
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    if (n > 0) rc = kclient_topic_alter(c.k, topic, changes, n, &e);
    if (rc == ERR_NONE && more) rc = kclient_topic_add_partitions(c.k, topic, partitions, &e);
    client_close(&c);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    say(cli, "altered", cli_arg(cli, 0));
    return EXIT_OK;
}

int cmd_topic_delete(struct cli *cli)
{
    struct client c;
    struct err e = {0};
    enum err_code rc;
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_topic_delete(c.k, bytes_str(cli_arg(cli, 0)), &e);
    client_close(&c);
    if (rc != ERR_NONE) return cli_fail(cli, &e);
    say(cli, "deleted", cli_arg(cli, 0));
    return EXIT_OK;
}

int cmd_topic_list(struct cli *cli)
{
    struct kclient_topic *topics;
    struct client c;
    struct err e = {0};
    struct buf b;
    int n = 0;
    enum err_code rc;

    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_topics(c.k, &c.arena, &topics, &n, &e);
    if (rc == ERR_NONE && !cli_json(cli)) printf("%-40s %s\n", "TOPIC", "PARTITIONS");
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        if (topics[i].is_internal && !cli_has(cli, "internal")) continue;
        if (!cli_json(cli)) {
            printf("%-40.*s %d\n", BYTES_ARG(topics[i].name), topics[i].n_partitions);
            continue;
        }
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "topic", topics[i].name);
        json_member_i64(&b, "partitions", topics[i].n_partitions);
        buf_put_str(&b, topics[i].is_internal ? ",\"internal\":true" : ",\"internal\":false");
        json_print_line(&b);
    }
    client_close(&c);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

/* Compaction takes records and leaves their offsets. */
static bool is_compacted(const struct kclient_config *configs, int n)
{
    for (int i = 0; i < n; i++)
        if (bytes_equal_str(configs[i].name, "cleanup.policy"))
            return configs[i].value.len >= 7 && memcmp(configs[i].value.ptr, "compact", 7) == 0;
    return false;
}

static enum err_code describe_partitions(struct cli *cli, struct client *c, const struct kclient_topic *t,
                                         const char *span, struct err *e)
{
    if (!cli_json(cli))
        printf("topic %.*s\n\n%-10s %12s %12s %12s\n", BYTES_ARG(t->name), "PARTITION", "START", "END", span);
    for (int i = 0; i < t->n_partitions; i++) {
        int64_t start, end;
        struct buf b;
        enum err_code rc = kclient_offset(c->k, t->name, t->partitions[i].index, KCLIENT_EARLIEST, &start, NULL, e);
        if (rc == ERR_NONE) rc = kclient_offset(c->k, t->name, t->partitions[i].index, KCLIENT_LATEST, &end, NULL, e);
        if (rc != ERR_NONE) return rc;
        if (!cli_json(cli)) {
            printf("%-10d %12lld %12lld %12lld\n", (int)t->partitions[i].index, (long long)start, (long long)end,
                   (long long)(end - start));
            continue;
        }
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "topic", t->name);
        json_member_i64(&b, "partition", t->partitions[i].index);
        json_member_i64(&b, "start_offset", start);
        json_member_i64(&b, "end_offset", end);
        json_print_line(&b);
    }
    return ERR_NONE;
}

static void describe_configs(struct cli *cli, struct bytes topic, const struct kclient_config *configs, int n)
{
    struct buf b;

    if (!cli_json(cli)) printf("\n%-32s %s\n", "CONFIGURATION", "VALUE");
    for (int i = 0; i < n; i++) {
        if (!cli_json(cli)) {
            printf("%-32.*s %.*s%s\n", BYTES_ARG(configs[i].name), BYTES_ARG(configs[i].value),
                   configs[i].is_default ? "  (default)" : "");
            continue;
        }
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "topic", topic);
        json_member(&b, "config", configs[i].name);
        json_member(&b, "value", configs[i].value);
        json_print_line(&b);
    }
}

int cmd_topic_describe(struct cli *cli)
{
    struct kclient_config *configs = NULL;
    struct kclient_topic t;
    struct client c;
    struct err e = {0};
    enum err_code rc;
    int n = 0;
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_topic(c.k, bytes_str(cli_arg(cli, 0)), false, &c.arena, &t, &e);
    if (rc == ERR_NONE) rc = kclient_topic_configs(c.k, t.name, &c.arena, &configs, &n, &e);
    if (rc == ERR_NONE) rc = describe_partitions(cli, &c, &t, is_compacted(configs, n) ? "OFFSETS" : "RECORDS", &e);
    if (rc == ERR_NONE) describe_configs(cli, t.name, configs, n);
    client_close(&c);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

int cmd_version(struct cli *cli)
{
    if (cli_json(cli))
        printf("{\"version\":\"%s\"}\n", WEIR_VERSION);
    else
        printf("weir %s\n", WEIR_VERSION);
    return EXIT_OK;
}
