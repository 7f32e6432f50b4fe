/* cmd_consume.c: weir consume: records of a topic by range of offsets or time, or as a member of a group.
 *
 * RANGE grammar (rpk's):  start | end | N | +N | -N | FROM:TO | @TIME | @FROM:TO
 * A range with an end stops there; start and -N go on with what comes, unless --exit. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app_int.h"
#include "app/client.h"
#include "base/text.h"

#define POLL_MS 500

struct consume {
    struct cli *cli;
    struct client client;
    struct kclient_cursor *cursors;
    int64_t *ends; /* per cursor: first offset not wanted; INT64_MAX: none */
    int n_cursors;
    int64_t left; /* records still wanted; -1: no bound */
    const char *format;
    struct buf out;
    bool json, write_failed;
};

static struct kclient *interrupted_client; /* for the signal handler, which has no argument */

static void on_interrupt(int signo)
{
    (void)signo;
    if (interrupted_client != NULL) kclient_interrupt(interrupted_client);
}

/* ---- ranges ---- */

static bool parse_bound(struct bytes t, bool is_time, int64_t now_ms, struct bound *out)
{
    if (is_time) {
        out->kind = BOUND_TIME;
        return client_parse_time(t, now_ms, &out->value);
    }
    if (bytes_equal_str(t, "start"))
        out->kind = BOUND_START;
    else if (bytes_equal_str(t, "end"))
        out->kind = BOUND_END;
    else if (t.len > 1 && (t.ptr[0] == '+' || t.ptr[0] == '-')) {
        out->kind = t.ptr[0] == '+' ? BOUND_AFTER_START : BOUND_BEFORE_END;
        return text_parse_i64(bytes_slice(t, 1, t.len - 1), &out->value) && out->value >= 0;
    } else {
        out->kind = BOUND_OFFSET;
        return text_parse_i64(t, &out->value) && out->value >= 0;
    }
    return true;
}

/* Where FROM ends in FROM:TO. Times hold colons themselves (12:30), so every place is tried, the last first. */
bool consume_parse_range(const char *text, int64_t now_ms, struct bound *from, struct bound *to)
{
    bool is_time = text[0] == '@';
    struct bytes t = bytes_str(text + (is_time ? 1 : 0));
    to->kind = BOUND_NONE;
    if (t.len == 0) return false;
    if (parse_bound(t, is_time, now_ms, from)) return true;
    for (size_t i = t.len; i > 0; i--) {
        struct bytes left = bytes_slice(t, 0, i - 1), right = bytes_slice(t, i, t.len - i);
        if (t.ptr[i - 1] != ':') continue;
        if (right.len > 0 && right.ptr[0] == '@') right = bytes_slice(right, 1, right.len - 1);
        if (parse_bound(left, is_time, now_ms, from) && (right.len == 0 || parse_bound(right, is_time, now_ms, to)))
            return true;
    }
    return false;
}

static enum err_code resolve(struct consume *c, struct kclient_cursor *k, const struct bound *b, int64_t *out,
                             struct err *e)
{
    int64_t start = 0, end = 0;
    enum err_code rc;
    if (b->kind == BOUND_OFFSET) {
        *out = b->value;
        return ERR_NONE;
    }
    if (b->kind == BOUND_TIME) {
        rc = kclient_offset(c->client.k, k->topic, k->partition, b->value, out, NULL, e);
        if (rc == ERR_NONE && *out < 0)
            rc = kclient_offset(c->client.k, k->topic, k->partition, KCLIENT_LATEST, out, NULL, e);
        return rc;
    }
    rc = kclient_offset(c->client.k, k->topic, k->partition, KCLIENT_EARLIEST, &start, NULL, e);
    if (rc == ERR_NONE) rc = kclient_offset(c->client.k, k->topic, k->partition, KCLIENT_LATEST, &end, NULL, e);
    *out = b->kind == BOUND_START         ? start
           : b->kind == BOUND_AFTER_START ? start + b->value
           : b->kind == BOUND_BEFORE_END  ? end - b->value
                                          : end;
    if (*out < start) *out = start;
    return rc;
}

/* ---- output ---- */

static void put_text_value(struct buf *out, struct bytes v)
{
    if (!bytes_is_null(v)) buf_put_bytes(out, v);
}

static void put_headers(struct buf *out, const struct record *r)
{
    struct bytes rest = r->headers;
    struct record_header h;
    bool first = true;
    while (record_header_next(&rest, &h)) {
        if (!first) buf_put_u8(out, ',');
        first = false;
        buf_put_bytes(out, h.key);
        buf_put_u8(out, '=');
        put_text_value(out, h.value);
    }
}

static void put_escape(struct buf *out, char c)
{
    if (c == 'n')
        buf_put_u8(out, '\n');
    else if (c == 't')
        buf_put_u8(out, '\t');
    else if (c == 'r')
        buf_put_u8(out, '\r');
    else if (c == '0')
        buf_put_u8(out, 0);
    else
        buf_put_u8(out, (uint8_t)c);
}

static void put_formatted(struct consume *c, struct bytes topic, int32_t partition, const struct record *r)
{
    struct buf *out = &c->out;
    for (const char *f = c->format; *f != 0; f++) {
        if (*f == '\\' && f[1] != 0) {
            put_escape(out, *++f);
            continue;
        }
        if (*f != '%' || f[1] == 0) {
            buf_put_u8(out, (uint8_t)*f);
            continue;
        }
        switch (*++f) {
        case 'k': put_text_value(out, r->key); break;
        case 'v': put_text_value(out, r->value); break;
        case 't': buf_put_bytes(out, topic); break;
        case 'p': buf_printf(out, "%d", (int)partition); break;
        case 'o': buf_printf(out, "%lld", (long long)r->offset); break;
        case 'T': buf_printf(out, "%lld", (long long)r->timestamp); break;
        case 's': buf_printf(out, "%lld", bytes_is_null(r->value) ? -1ll : (long long)r->value.len); break;
        case 'h': put_headers(out, r); break;
        default: buf_put_u8(out, (uint8_t)*f);
        }
    }
}

static void put_json(struct consume *c, struct bytes topic, int32_t partition, const struct record *r)
{
    struct bytes rest = r->headers;
    struct record_header h;
    struct buf *out = &c->out;
    bool first = true;
    buf_put_u8(out, '{');
    buf_put_str(out, "\"topic\":");
    text_put_json_string(out, topic);
    buf_printf(out, ",\"partition\":%d,\"offset\":%lld,\"timestamp\":%lld,\"key\":", (int)partition,
               (long long)r->offset, (long long)r->timestamp);
    if (bytes_is_null(r->key))
        buf_put_str(out, "null");
    else
        text_put_json_string(out, r->key);
    json_member(out, "value", r->value);
    buf_put_str(out, ",\"headers\":{");
    while (record_header_next(&rest, &h)) {
        if (!first) buf_put_u8(out, ',');
        first = false;
        text_put_json_string(out, h.key);
        buf_put_u8(out, ':');
        if (bytes_is_null(h.value))
            buf_put_str(out, "null");
        else
            text_put_json_string(out, h.value);
    }
    buf_put_str(out, "}}\n");
}

static bool on_record(void *arg, struct bytes topic, int32_t partition, const struct record *r)
{
    struct consume *c = arg;
    for (int i = 0; i < c->n_cursors; i++) {
        if (c->cursors[i].partition == partition && r->offset >= c->ends[i]) return true; /* past the range: dropped */
    }
    buf_clear(&c->out);
    if (c->json)
        put_json(c, topic, partition, r);
    else
        put_formatted(c, topic, partition, r);
    if (fwrite(c->out.ptr, 1, c->out.len, stdout) != c->out.len) c->write_failed = true;
    if (c->left > 0) c->left--;
    return c->left != 0 && !c->write_failed;
}

/* ---- reading ---- */

static enum err_code open_cursors(struct consume *c, struct err *e)
{
    struct kclient_topic t;
    struct bytes topic = bytes_str(cli_arg(c->cli, 0));
    int32_t only = (int32_t)cli_get_int(c->cli, "partition", -1, INT32_MAX);
    enum err_code rc = kclient_topic(c->client.k, topic, false, &c->client.arena, &t, e);
    if (rc != ERR_NONE) return rc;
    if (only >= t.n_partitions)
        return err_set(e, ERR_NOT_FOUND, "topic %s has %d partition(s), there is no %d", cli_arg(c->cli, 0),
                       t.n_partitions, (int)only);
    c->cursors = arena_array(&c->client.arena, (size_t)t.n_partitions, sizeof *c->cursors);
    c->ends = arena_array(&c->client.arena, (size_t)t.n_partitions, sizeof *c->ends);
    for (int i = 0; i < t.n_partitions; i++) {
        if (only >= 0 && t.partitions[i].index != only) continue;
        c->cursors[c->n_cursors] =
            (struct kclient_cursor){.topic = topic, .partition = t.partitions[i].index, .high_watermark = -1};
        c->ends[c->n_cursors++] = INT64_MAX;
    }
    return ERR_NONE;
}

static enum err_code resolve_all(struct consume *c, const struct bound *from, const struct bound *to, struct err *e)
{
    static const struct bound end = {BOUND_END, 0};
    enum err_code rc = ERR_NONE;
    for (int i = 0; rc == ERR_NONE && i < c->n_cursors; i++) {
        rc = resolve(c, &c->cursors[i], from, &c->cursors[i].offset, e);
        if (rc == ERR_NONE && to->kind != BOUND_NONE)
            rc = resolve(c, &c->cursors[i], to, &c->ends[i], e);
        else if (rc == ERR_NONE && cli_has(c->cli, "exit"))
            rc = resolve(c, &c->cursors[i], &end, &c->ends[i], e);
    }
    return rc;
}

static enum err_code read_range(struct consume *c, struct err *e)
{
    while (c->left != 0 && !c->write_failed) {
        int open = 0;
        enum err_code rc;
        for (int i = 0; i < c->n_cursors; i++) {
            c->cursors[i].is_paused = c->cursors[i].offset >= c->ends[i];
            open += !c->cursors[i].is_paused;
        }
        if (open == 0) break;
        rc = kclient_fetch(c->client.k, c->cursors, c->n_cursors, POLL_MS, on_record, c, NULL, e);
        if (rc != ERR_NONE) return rc;
        fflush(stdout);
        for (int i = 0; i < c->n_cursors; i++) {
            if (c->cursors[i].is_paused || c->cursors[i].rc == ERR_NONE) continue;
            return err_set(e, c->cursors[i].rc, "partition %d, offset %lld: %s", (int)c->cursors[i].partition,
                           (long long)c->cursors[i].offset, err_name(c->cursors[i].rc));
        }
    }
    return ERR_NONE;
}

static enum err_code read_group(struct consume *c, struct err *e)
{
    struct bytes topic = bytes_str(cli_arg(c->cli, 0));
    struct kclient_member_options o = {.group_id = bytes_str(cli_get(c->cli, "group")),
                                       .instance_id = BYTES_NULL,
                                       .topics = &topic,
                                       .n_topics = 1,
                                       .start = strcmp(cli_get(c->cli, "offset"), "end") == 0 ? KCLIENT_LATEST
                                                                                              : KCLIENT_EARLIEST};
    struct kclient_member *m = NULL;
    uint64_t n;
    int quiet = 0;
    enum err_code rc = kclient_member_open(&m, c->client.k, &o, e);
    while (rc == ERR_NONE && c->left != 0 && !c->write_failed) {
        int n_assigned = 0;
        rc = kclient_member_poll(m, POLL_MS, on_record, c, &n, e);
        if (rc != ERR_NONE) break;
        fflush(stdout);
        if (n > 0) rc = kclient_member_commit(m, e);
        if (rc == ERR_REBALANCE || rc == ERR_GENERATION || rc == ERR_MEMBER) rc = ERR_NONE;
        (void)kclient_member_assignment(m, &n_assigned);
        quiet = n == 0 && n_assigned > 0 ? quiet + 1 : 0;
        if (cli_has(c->cli, "exit") && quiet >= 2) break;
    }
    kclient_member_close(m);
    return rc;
}

int cmd_consume(struct cli *cli)
{
    struct consume c = {.cli = cli, .format = cli_get(cli, "format"), .json = cli_json(cli)};
    struct bound from, to;
    struct err e = {0};
    enum err_code rc;
    bool in_group = cli_get(cli, "group") != NULL;

    c.left = cli_get_int(cli, "num", 0, INT64_MAX);
    if (c.left == 0) c.left = -1;
    if (!consume_parse_range(cli_get(cli, "offset"), os_clock()->wall_ms(os_clock()), &from, &to))
        return cli_usage_error(cli, "--offset: \"%s\" is not a range", cli_get(cli, "offset"));
    if (client_open(&c.client, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    buf_init(&c.out, 0);
    interrupted_client = c.client.k;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    if (in_group) {
        rc = read_group(&c, &e);
    } else {
        rc = open_cursors(&c, &e);
        if (rc == ERR_NONE) rc = resolve_all(&c, &from, &to, &e);
        if (rc == ERR_NONE) rc = read_range(&c, &e);
    }
    interrupted_client = NULL;
    client_close(&c.client);
    buf_deinit(&c.out);
    if (rc == ERR_CANCELLED) rc = ERR_NONE; /* the user ended it */
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
