/* cmd_quota.c: weir quota set, remove and list. */
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/text.h"
#include "broker/quota.h"

static bool take_part(struct cli *cli, const char *named, const char *any, struct quota_part *out)
{
    bool is_default = cli_has(cli, any);

    *out = (struct quota_part){QUOTA_ABSENT, {NULL, 0}};
    if (cli_get(cli, named) != NULL) *out = (struct quota_part){QUOTA_NAMED, bytes_str(cli_get(cli, named))};
    if (is_default && out->match == QUOTA_NAMED) return false;
    if (is_default) out->match = QUOTA_DEFAULT;
    return true;
}

static bool take_entity(struct cli *cli, struct quota_entity *out)
{
    return take_part(cli, "user", "default-user", &out->user) &&
           take_part(cli, "client-id", "default-client-id", &out->client) &&
           take_part(cli, "ip", "default-ip", &out->ip) &&
           (out->user.match != QUOTA_ABSENT || out->client.match != QUOTA_ABSENT || out->ip.match != QUOTA_ABSENT);
}

/* NAME=VALUE; byte rates as sizes, too. */
static bool take_change(const char *text, struct quota_change *out)
{
    const char *equal = strchr(text, '=');
    struct bytes value = bytes_str(equal != NULL ? equal + 1 : "");
    uint64_t size;

    if (equal == NULL || !quota_kind_find(bytes_of(text, (size_t)(equal - text)), &out->kind)) return false;
    out->remove = false;
    if (text_parse_f64(value, &out->value)) return true;
    if ((out->kind != QUOTA_PRODUCE && out->kind != QUOTA_CONSUME) || !text_parse_size(value, &size)) return false;
    out->value = (double)size;
    return true;
}

static int usage(struct cli *cli)
{
    return cli_usage_error(cli,
                           "whose quota? --user NAME or --default-user, --client-id NAME or --default-client-id, both "
                           "together, or --ip ADDRESS or --default-ip");
}

static int alter(struct cli *cli, const struct quota_entity *entity, const struct quota_change *changes, int n)
{
    struct err e = {0};
    struct client client;
    enum err_code rc = client_open(&client, cli, &e);

    if (rc != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_quota_alter(client.k, entity, changes, n, &e);
    client_close(&client);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

int cmd_quota_set(struct cli *cli)
{
    struct quota_change changes[QUOTA_KINDS];
    struct quota_entity entity;

    if (!take_entity(cli, &entity)) return usage(cli);
    for (int i = 0; i < cli_n_args(cli); i++)
        if (!take_change(cli_arg(cli, i), &changes[i]))
            return cli_usage_error(cli,
                                   "\"%s\" is not NAME=VALUE with one of producer_byte_rate, consumer_byte_rate, "
                                   "request_percentage, controller_mutation_rate, connection_creation_rate",
                                   cli_arg(cli, i));
    return alter(cli, &entity, changes, cli_n_args(cli));
}

int cmd_quota_remove(struct cli *cli)
{
    struct quota_change changes[QUOTA_KINDS];
    struct quota_entity entity;
    int n = 0;

    if (!take_entity(cli, &entity)) return usage(cli);
    for (int i = 0; i < QUOTA_KINDS; i++) {
        bool is_of_ip = i == QUOTA_CONNECTIONS, is_named = cli_n_args(cli) == 0;

        for (int j = 0; j < cli_n_args(cli); j++)
            is_named |= strcmp(cli_arg(cli, j), quota_kind_name((enum quota_kind)i)) == 0;
        if (is_named && is_of_ip == (entity.ip.match != QUOTA_ABSENT))
            changes[n++] = (struct quota_change){(enum quota_kind)i, true, 0};
    }
    if (n < cli_n_args(cli) || n == 0) return cli_usage_error(cli, "there is no quota of that name for it");
    return alter(cli, &entity, changes, n);
}

static void put_part(struct buf *out, const char *type, const struct quota_part *p)
{
    if (p->match == QUOTA_ABSENT) return;
    if (out->len > 0) buf_put_u8(out, ' ');
    buf_printf(out, "%s ", type);
    if (p->match == QUOTA_DEFAULT)
        buf_put_str(out, "<default>");
    else
        buf_put_bytes(out, p->name);
}

static void json_part(struct buf *out, const char *type, const struct quota_part *p)
{
    if (p->match != QUOTA_ABSENT) json_member(out, type, p->match == QUOTA_NAMED ? p->name : BYTES_NULL);
}

static void print_quota(void *arg, const struct quota_entity *entity, const struct quota_limits *limits)
{
    struct cli *cli = arg;
    char number[32];
    struct buf b;

    buf_init(&b, 0);
    if (cli_json(cli)) {
        buf_put_str(&b, "{");
        json_part(&b, "user", &entity->user);
        json_part(&b, "client-id", &entity->client);
        json_part(&b, "ip", &entity->ip);
    } else {
        put_part(&b, "user", &entity->user);
        put_part(&b, "client-id", &entity->client);
        put_part(&b, "ip", &entity->ip);
        buf_put_u8(&b, ':');
    }
    for (int i = 0; i < QUOTA_KINDS; i++) {
        if (!limits->has[i]) continue;
        number[text_format_f64(number, limits->value[i])] = '\0';
        buf_printf(&b, cli_json(cli) ? ",\"%s\":%s" : " %s=%s", quota_kind_name((enum quota_kind)i), number);
    }
    if (cli_json(cli)) {
        json_print_line(&b);
        return;
    }
    printf("%.*s\n", BYTES_ARG(buf_bytes(&b)));
    buf_deinit(&b);
}

int cmd_quota_list(struct cli *cli)
{
    struct err e = {0};
    struct client client;
    enum err_code rc = client_open(&client, cli, &e);

    if (rc != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_quotas(client.k, print_quota, cli, &e);
    client_close(&client);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
