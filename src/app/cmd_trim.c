/* cmd_trim.c: weir topic trim: shows what would go, and with --yes deletes it. */
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/text.h"

struct trim {
    int32_t partition;
    int64_t start, before;
};

static enum err_code target(struct cli *cli, struct client *c, struct bytes topic, struct trim *t, struct err *e)
{
    const char *before = cli_get(cli, "before");
    int64_t end, ms;

    enum err_code rc = kclient_offset(c->k, topic, t->partition, KCLIENT_EARLIEST, &t->start, NULL, e);
    if (rc == ERR_NONE) rc = kclient_offset(c->k, topic, t->partition, KCLIENT_LATEST, &end, NULL, e);
    if (rc != ERR_NONE) return rc;
    if (strcmp(before, "end") == 0) {
        t->before = end;
    } else if (before[0] == '@') {
        if (!client_parse_time(bytes_str(before + 1), os_clock()->wall_ms(os_clock()), &ms))
            return err_set(e, ERR_INVALID, "--before: \"%s\" is not a time", before);
        rc = kclient_offset(c->k, topic, t->partition, ms, &t->before, NULL, e);
        if (rc == ERR_NONE && t->before < 0) t->before = end; /* all of it is older */
    } else if (!text_parse_i64(bytes_str(before), &t->before) || t->before < 0) {
        return err_set(e, ERR_INVALID, "--before: \"%s\" is not an offset, @TIME or end", before);
    } else if (t->before > end) {
        return err_set(e, ERR_RANGE, "partition %d ends at offset %lld, before %lld", (int)t->partition, (long long)end,
                       (long long)t->before);
    }
    if (t->before < t->start) t->before = t->start;
    return rc;
}

static void print_trim(struct cli *cli, struct bytes topic, const struct trim *t)
{
    struct buf b;

    if (!cli_json(cli)) {
        printf("%-32.*s %9d %12lld -> %-12lld %12lld\n", BYTES_ARG(topic), (int)t->partition, (long long)t->start,
               (long long)t->before, (long long)(t->before - t->start));
        return;
    }
    buf_init(&b, 0);
    buf_put_str(&b, "{");
    json_member(&b, "topic", topic);
    json_member_i64(&b, "partition", t->partition);
    json_member_i64(&b, "start_offset", t->start);
    json_member_i64(&b, "before", t->before);
    json_print_line(&b);
}

static enum err_code trim(struct cli *cli, struct client *c, struct err *e)
{
    struct bytes topic = bytes_str(cli_arg(cli, 0));
    int32_t only = (int32_t)cli_get_int(cli, "partition", -1, INT32_MAX);
    struct kclient_topic t;
    struct trim *plan;
    int n = 0;

    enum err_code rc = kclient_topic(c->k, topic, false, &c->arena, &t, e);
    if (rc != ERR_NONE) return rc;
    plan = arena_array(&c->arena, (size_t)t.n_partitions, sizeof *plan);
    for (int i = 0; rc == ERR_NONE && i < t.n_partitions; i++) {
        if (only >= 0 && t.partitions[i].index != only) continue;
        plan[n].partition = t.partitions[i].index;
        rc = target(cli, c, topic, &plan[n++], e);
    }
    if (rc != ERR_NONE) return rc;
    if (n == 0) return err_set(e, ERR_NOT_FOUND, "topic %.*s has no partition %d", BYTES_ARG(topic), (int)only);
    if (!cli_json(cli)) printf("%-32s %9s %12s    %-12s %12s\n", "TOPIC", "PARTITION", "START", "NEW START", "RECORDS");
    for (int i = 0; i < n; i++)
        print_trim(cli, topic, &plan[i]);
    if (!cli_has(cli, "yes")) {
        if (!cli_json(cli)) printf("\nNothing was changed. Repeat with --yes to delete these records.\n");
        return ERR_NONE;
    }
    for (int i = 0; rc == ERR_NONE && i < n; i++) {
        if (plan[i].before > plan[i].start) rc = kclient_trim(c->k, topic, plan[i].partition, plan[i].before, e);
    }
    if (rc == ERR_NONE && !cli_json(cli)) printf("\nThe records are deleted.\n");
    return rc;
}

int cmd_topic_trim(struct cli *cli)
{
    struct client c;
    struct err e = {0};
    enum err_code rc;

    if (cli_get(cli, "before") == NULL) return cli_usage_error(cli, "topic trim needs --before");
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = trim(cli, &c, &e);
    client_close(&c);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
