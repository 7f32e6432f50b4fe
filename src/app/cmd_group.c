/* cmd_group.c: weir group list | describe | reset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/text.h"

int cmd_group_list(struct cli *cli)
{
    struct kclient_group *groups;
    struct client c;
    struct err e = {0};
    struct buf b;
    int n = 0;
    enum err_code rc;
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_groups(c.k, &c.arena, &groups, &n, &e);
    if (rc == ERR_NONE && !cli_json(cli)) printf("%-40s %-20s %s\n", "GROUP", "STATE", "PROTOCOL");
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        if (!cli_json(cli)) {
            printf("%-40.*s %-20.*s %.*s\n", BYTES_ARG(groups[i].group_id), BYTES_ARG(groups[i].state),
                   BYTES_ARG(groups[i].protocol_type));
            continue;
        }
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "group", groups[i].group_id);
        json_member(&b, "state", groups[i].state);
        json_member(&b, "protocol_type", groups[i].protocol_type);
        json_print_line(&b);
    }
    client_close(&c);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

/* Member that holds the partition, or NULL. */
static const struct kclient_group_member *holder_of(const struct kclient_group_info *g, struct bytes topic,
                                                    int32_t partition)
{
    for (int i = 0; i < g->n_members; i++) {
        for (int j = 0; j < g->members[i].n_assignment; j++) {
            if (g->members[i].assignment[j].partition == partition &&
                bytes_equal(g->members[i].assignment[j].topic, topic))
                return &g->members[i];
        }
    }
    return NULL;
}

static void print_offset(struct cli *cli, const struct kclient_group_info *g, const struct kclient_group_offset *o,
                         int64_t end)
{
    const struct kclient_group_member *m = holder_of(g, o->topic, o->partition);
    int64_t lag = end >= o->offset ? end - o->offset : 0;
    struct buf b;
    if (!cli_json(cli)) {
        printf("%-32.*s %9d %12lld %12lld %10lld  %.*s\n", BYTES_ARG(o->topic), (int)o->partition, (long long)o->offset,
               (long long)end, (long long)lag, BYTES_ARG(m ? m->member_id : BYTES_LIT("-")));
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "group", g->group_id);
    json_member(&b, "topic", o->topic);
    json_member_i64(&b, "partition", o->partition);
    json_member_i64(&b, "offset", o->offset);
    json_member_i64(&b, "end_offset", end);
    json_member_i64(&b, "lag", lag);
    json_member(&b, "member", m ? m->member_id : BYTES_NULL);
    json_print_line(&b);
}

static void print_group(struct cli *cli, const struct kclient_group_info *g)
{
    struct buf b;
    if (cli_json(cli)) {
        buf_init(&b, 0);
        buf_put_str(&b, "{");
        json_member(&b, "group", g->group_id);
        json_member(&b, "state", g->state);
        json_member(&b, "protocol", g->protocol);
        json_member_i64(&b, "members", g->n_members);
        json_print_line(&b);
        return;
    }
    printf("group %.*s  state %.*s  protocol %.*s  members %d\n\n", BYTES_ARG(g->group_id), BYTES_ARG(g->state),
           BYTES_ARG(g->protocol), g->n_members);
    for (int i = 0; i < g->n_members; i++)
        printf("member %.*s  client %.*s  host %.*s  partitions %d\n", BYTES_ARG(g->members[i].member_id),
               BYTES_ARG(g->members[i].client_id), BYTES_ARG(g->members[i].client_host), g->members[i].n_assignment);
    printf("%s%-32s %9s %12s %12s %10s  %s\n", g->n_members ? "\n" : "", "TOPIC", "PARTITION", "OFFSET", "END", "LAG",
           "MEMBER");
}

int cmd_group_describe(struct cli *cli)
{
    struct kclient_group_info g;
    struct kclient_group_offset *offsets;
    struct client c;
    struct err e = {0};
    int n = 0;
    enum err_code rc;
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_group_describe(c.k, bytes_str(cli_arg(cli, 0)), &c.arena, &g, &e);
    if (rc == ERR_NONE) rc = kclient_group_offsets(c.k, g.group_id, &c.arena, &offsets, &n, &e);
    if (rc == ERR_NONE) print_group(cli, &g);
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        int64_t end;
        /* A topic that is gone has no end; its offset is shown all the same. */
        if (kclient_offset(c.k, offsets[i].topic, offsets[i].partition, KCLIENT_LATEST, &end, NULL, NULL) != ERR_NONE)
            end = -1;
        print_offset(cli, &g, &offsets[i], end);
    }
    client_close(&c);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}

/* ---- reset ---- */

static enum err_code target_offset(struct cli *cli, struct client *c, struct bytes topic, int32_t partition,
                                   int64_t *out, struct err *e)
{
    const char *to = cli_get(cli, "to");
    int64_t ms;
    enum err_code rc;
    if (strcmp(to, "start") == 0) return kclient_offset(c->k, topic, partition, KCLIENT_EARLIEST, out, NULL, e);
    if (strcmp(to, "end") == 0) return kclient_offset(c->k, topic, partition, KCLIENT_LATEST, out, NULL, e);
    if (to[0] == '@') {
        if (!client_parse_time(bytes_str(to + 1), os_clock()->wall_ms(os_clock()), &ms))
            return err_set(e, ERR_INVALID, "--to: \"%s\" is not a time", to);
        rc = kclient_offset(c->k, topic, partition, ms, out, NULL, e);
        if (rc == ERR_NONE && *out < 0) rc = kclient_offset(c->k, topic, partition, KCLIENT_LATEST, out, NULL, e);
        return rc;
    }
    if (!text_parse_i64(bytes_str(to), out) || *out < 0) {
        return err_set(e, ERR_INVALID, "--to: \"%s\" is not start, end, an offset or @TIME", to);
    }
    return ERR_NONE;
}

static int64_t committed_of(const struct kclient_group_offset *offsets, int n, struct bytes topic, int32_t partition)
{
    for (int i = 0; i < n; i++) {
        if (offsets[i].partition == partition && bytes_equal(offsets[i].topic, topic)) return offsets[i].offset;
    }
    return -1;
}

static void print_change(struct cli *cli, const struct kclient_group_offset *o, int64_t before)
{
    struct buf b;
    if (!cli_json(cli)) {
        printf("%-32.*s %9d %12lld -> %lld\n", BYTES_ARG(o->topic), (int)o->partition, (long long)before,
               (long long)o->offset);
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "topic", o->topic);
    json_member_i64(&b, "partition", o->partition);
    json_member_i64(&b, "before", before);
    json_member_i64(&b, "after", o->offset);
    json_print_line(&b);
}

static enum err_code reset(struct cli *cli, struct client *c, struct err *e)
{
    struct bytes group = bytes_str(cli_arg(cli, 0)), topic = bytes_str(cli_get(cli, "topic"));
    int32_t only = (int32_t)cli_get_int(cli, "partition", -1, INT32_MAX);
    struct kclient_group_offset *now, *plan;
    struct kclient_topic t;
    int n_now = 0, n = 0;
    enum err_code rc = kclient_topic(c->k, topic, false, &c->arena, &t, e);
    if (rc == ERR_NONE) rc = kclient_group_offsets(c->k, group, &c->arena, &now, &n_now, e);
    if (rc != ERR_NONE) return rc;
    plan = arena_array(&c->arena, (size_t)t.n_partitions, sizeof *plan);
    for (int i = 0; rc == ERR_NONE && i < t.n_partitions; i++) {
        if (only >= 0 && t.partitions[i].index != only) continue;
        plan[n] = (struct kclient_group_offset){
            .topic = topic, .partition = t.partitions[i].index, .metadata = BYTES_LIT("")};
        rc = target_offset(cli, c, topic, plan[n].partition, &plan[n].offset, e);
        n++;
    }
    if (rc != ERR_NONE) return rc;
    if (n == 0) return err_set(e, ERR_NOT_FOUND, "topic %.*s has no partition %d", BYTES_ARG(topic), (int)only);
    for (int i = 0; i < n; i++)
        print_change(cli, &plan[i], committed_of(now, n_now, topic, plan[i].partition));
    if (!cli_has(cli, "yes")) {
        if (!cli_json(cli)) printf("\nNothing was changed. Repeat with --yes to move the offsets.\n");
        return ERR_NONE;
    }
    rc = kclient_group_set_offsets(c->k, group, plan, n, e);
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        if (plan[i].rc != ERR_NONE)
            rc = err_set(e, plan[i].rc, "partition %d: the offset was refused: %s", (int)plan[i].partition,
                         err_name(plan[i].rc));
    }
    if (rc == ERR_NONE && !cli_json(cli)) printf("\nThe offsets have moved.\n");
    return rc;
}

int cmd_group_reset(struct cli *cli)
{
    struct client c;
    struct err e = {0};
    enum err_code rc;
    if (cli_get(cli, "topic") == NULL) return cli_usage_error(cli, "group reset needs --topic");
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = reset(cli, &c, &e);
    client_close(&c);
    if (rc == ERR_MEMBER) err_hint(&e, "stop the consumers of the group first");
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
