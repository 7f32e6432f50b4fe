/* cmd_produce.c: weir produce: records from standard input, one a line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/cli.h"
#include "app/client.h"
#include "base/codec.h"
#include "base/limits.h"
#include "base/text.h"

#define HEADERS_MAX 64

struct produce {
    struct cli *cli;
    struct kclient_producer *producer;
    struct bytes topic, key, delimiter;
    struct record_header header;
    bool has_header, null_empty, json;
    int32_t partition;
    int64_t timestamp, line, n_records;
};

static enum err_code send_line(struct produce *p, struct bytes line, struct err *e)
{
    struct bytes key = p->key, value = line;
    if (!bytes_is_null(p->delimiter)) {
        const uint8_t *at = memmem(line.ptr, line.len, p->delimiter.ptr, p->delimiter.len);
        if (at == NULL)
            return err_set(e, ERR_INVALID, "line %lld has no key delimiter \"%.*s\"", (long long)p->line,
                           BYTES_ARG(p->delimiter));
        key = bytes_slice(line, 0, (size_t)(at - line.ptr));
        value = bytes_slice(line, key.len + p->delimiter.len, line.len - key.len - p->delimiter.len);
    }
    if (p->null_empty && value.len == 0) value = BYTES_NULL;
    return kclient_produce(p->producer, p->topic, p->partition, p->timestamp, key, value,
                           p->has_header ? &p->header : NULL, p->has_header ? 1 : 0, e);
}

/* A member that may be text, null or any other JSON value (taken as its JSON text, to be freed). */
static struct bytes member_bytes(json_t *o, const char *name, char **owned)
{
    json_t *v = json_object_get(o, name);
    *owned = NULL;
    if (v == NULL || json_is_null(v)) return BYTES_NULL;
    if (json_is_string(v)) return bytes_of(json_string_value(v), json_string_length(v));
    *owned = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    return bytes_str(*owned ? *owned : "");
}

static enum err_code send_json(struct produce *p, struct bytes line, struct err *e)
{
    struct record_header headers[HEADERS_MAX];
    json_error_t je;
    json_t *o = json_loadb((const char *)line.ptr, line.len, JSON_REJECT_DUPLICATES, &je), *h, *t, *part, *v;
    char *key_owned, *value_owned;
    struct bytes key, value;
    const char *name;
    int32_t n = 0, partition = p->partition;
    int64_t timestamp = p->timestamp;
    enum err_code rc;

    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, ERR_INVALID, "line %lld is not a JSON object%s%s", (long long)p->line, o ? "" : ": ",
                       o ? "" : je.text);
    }
    key = member_bytes(o, "key", &key_owned);
    value = member_bytes(o, "value", &value_owned);
    t = json_object_get(o, "timestamp");
    part = json_object_get(o, "partition");
    if (timestamp < 0 && json_is_integer(t)) timestamp = json_integer_value(t);
    if (partition < 0 && json_is_integer(part)) partition = (int32_t)json_integer_value(part);
    h = json_object_get(o, "headers");
    json_object_foreach(h, name, v)
    {
        if (n == HEADERS_MAX) break;
        headers[n].key = bytes_str(name);
        headers[n].value = json_is_string(v) ? bytes_of(json_string_value(v), json_string_length(v)) : BYTES_NULL;
        n++;
    }
    rc = kclient_produce(p->producer, p->topic, partition, timestamp, key, value, headers, n, e);
    free(key_owned);
    free(value_owned);
    json_decref(o);
    return rc;
}

static enum err_code send_all(struct produce *p, struct err *e)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    enum err_code rc = ERR_NONE;
    while (rc == ERR_NONE && (len = getline(&line, &cap, stdin)) >= 0) {
        if (len > 0 && line[len - 1] == '\n') len--;
        p->line++;
        if (p->json && len == 0) continue;
        rc = p->json ? send_json(p, bytes_of(line, (size_t)len), e) : send_line(p, bytes_of(line, (size_t)len), e);
        if (rc == ERR_NONE) p->n_records++;
    }
    free(line);
    if (rc == ERR_NONE && ferror(stdin)) rc = err_set(e, ERR_IO, "standard input could not be read");
    return rc;
}

static int read_options(struct produce *p, struct kclient_producer_options *o)
{
    struct cli *cli = p->cli;
    const char *header = cli_get(cli, "header"), *equals = header ? strchr(header, '=') : NULL,
               *input = cli_get(cli, "input");
    p->topic = bytes_str(cli_arg(cli, 0));
    p->key = cli_get(cli, "key") ? bytes_str(cli_get(cli, "key")) : BYTES_NULL;
    p->delimiter = cli_get(cli, "key-delimiter") ? bytes_str(cli_get(cli, "key-delimiter")) : BYTES_NULL;
    p->null_empty = cli_has(cli, "null");
    p->partition = (int32_t)cli_get_int(cli, "partition", -1, INT32_MAX);
    p->timestamp = cli_get(cli, "timestamp") ? cli_get_int(cli, "timestamp", 0, INT64_MAX) : -1;
    if (header != NULL && equals == NULL) return cli_usage_error(cli, "--header needs NAME=VALUE, got \"%s\"", header);
    if (header != NULL) {
        p->header = (struct record_header){bytes_of(header, (size_t)(equals - header)), bytes_str(equals + 1)};
        p->has_header = true;
    }
    if (!codec_parse(cli_get(cli, "compression"), &o->codec))
        return cli_usage_error(cli, "--compression: \"%s\" is not one of none, gzip, snappy, lz4, zstd",
                               cli_get(cli, "compression"));
    p->json = strcmp(input, "json") == 0;
    if (!p->json && strcmp(input, "lines") != 0)
        return cli_usage_error(cli, "--input: \"%s\" is not lines or json", input);
    if (p->delimiter.ptr != NULL && p->delimiter.len == 0) return cli_usage_error(cli, "--key-delimiter is empty");
    return 0;
}

int cmd_produce(struct cli *cli)
{
    struct produce p = {.cli = cli};
    struct kclient_producer_options o = {0};
    struct client c;
    struct kclient_topic t;
    struct err e = {0};
    enum err_code rc;
    int usage = read_options(&p, &o);

    if (usage != 0) return usage;
    if (client_open(&c, cli, &e) != ERR_NONE) return cli_fail(cli, &e);
    rc = kclient_topic(c.k, p.topic, true, &c.arena, &t, &e);
    if (rc == ERR_NONE) rc = kclient_producer_open(&p.producer, c.k, &o, &e);
    if (rc == ERR_NONE) rc = send_all(&p, &e);
    /* What was read before a bad line is sent all the same. */
    if (p.producer != NULL) {
        enum err_code flush_rc = kclient_producer_flush(p.producer, rc == ERR_NONE ? &e : NULL);
        if (rc == ERR_NONE) rc = flush_rc;
    }
    kclient_producer_close(p.producer);
    client_close(&c);
    if (cli_json(cli)) printf("{\"topic\":\"%.*s\",\"records\":%lld}\n", BYTES_ARG(p.topic), (long long)p.n_records);
    return rc == ERR_NONE ? EXIT_OK : cli_fail(cli, &e);
}
