/* history.c: events, and their form as text. One table says for each kind which fields it has; writing and reading
 * follow it. */
#include "history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"

#define FIELDS_MAX 14

enum field {
    F_END,
    F_SINCE,
    F_OP,
    F_CLIENT,
    F_TOPIC,
    F_PARTITION,
    F_OFFSET,
    F_NEXT,
    F_HIGH_WATERMARK,
    F_LAST_STABLE,
    F_LOG_START,
    F_PRODUCER_ID,
    F_EPOCH,
    F_SEQUENCE,
    F_ERROR,
    F_API,
    F_LEVEL,
    F_TXN,
    F_TXN_ID,
    F_GROUP,
    F_MEMBER,
    F_GENERATION,
    F_VALUE,
    FIELD_COUNT,
};

static const char *const field_names[FIELD_COUNT] = {
    [F_SINCE] = "since",
    [F_OP] = "op",
    [F_CLIENT] = "client",
    [F_TOPIC] = "topic",
    [F_PARTITION] = "partition",
    [F_OFFSET] = "offset",
    [F_NEXT] = "next",
    [F_HIGH_WATERMARK] = "hw",
    [F_LAST_STABLE] = "lso",
    [F_LOG_START] = "start",
    [F_PRODUCER_ID] = "pid",
    [F_EPOCH] = "epoch",
    [F_SEQUENCE] = "seq",
    [F_ERROR] = "error",
    [F_API] = "api",
    [F_LEVEL] = "level",
    [F_TXN] = "txn",
    [F_TXN_ID] = "txnid",
    [F_GROUP] = "group",
    [F_MEMBER] = "member",
    [F_GENERATION] = "gen",
    [F_VALUE] = "value",
};

/* What each kind has to say. Items stand behind a colon. */
static const struct kind {
    const char *name;
    uint8_t fields[FIELDS_MAX];
} kinds[EVENT_KIND_COUNT] = {
    [EVENT_NONE] = {"none", {F_END}},
    [EVENT_OPTION] = {"option", {F_VALUE}},
    [EVENT_UP] = {"up", {F_EPOCH}},
    [EVENT_DOWN] = {"down", {F_VALUE}}, /* 1: the power, 0: the process */
    [EVENT_HEAL] = {"heal", {F_END}},   /* from here on nothing fails */
    /* A client was answered with an error. */
    [EVENT_CODE] = {"code", {F_CLIENT, F_API, F_ERROR}},
    /* Items: the ids, in order. A pipeline's: pairs of id and the input's offset (partition `value` of the input). */
    [EVENT_SEND] = {"send", {F_CLIENT, F_OP, F_TOPIC, F_PARTITION, F_PRODUCER_ID, F_EPOCH, F_SEQUENCE, F_TXN, F_VALUE}},
    [EVENT_SENT] = {"sent", {F_CLIENT, F_OP, F_OFFSET, F_ERROR}},
    /* A fetch from `offset`; the client goes on at `next`. Items: pairs of offset and id that the application got. */
    [EVENT_READ] = {"read",
                    {F_CLIENT, F_SINCE, F_LEVEL, F_TOPIC, F_PARTITION, F_OFFSET, F_NEXT, F_HIGH_WATERMARK,
                     F_LAST_STABLE, F_LOG_START, F_ERROR}},
    /* Behind a read of level 2: a batch as it is stored. `value`: -1 data, 0 abort marker, 1 commit marker. `next`: the
     * offset behind it. Items: pairs of offset and id. */
    [EVENT_BATCH] = {"batch",
                     {F_CLIENT, F_TOPIC, F_PARTITION, F_OFFSET, F_NEXT, F_PRODUCER_ID, F_EPOCH, F_SEQUENCE, F_VALUE,
                      F_TXN}},
    /* A producer id was given out; to a transactional id, or (txnid 0) to an idempotent producer. */
    [EVENT_INIT] = {"init", {F_CLIENT, F_SINCE, F_TXN_ID, F_PRODUCER_ID, F_EPOCH}},
    [EVENT_END] = {"end", {F_CLIENT, F_OP, F_TXN, F_PRODUCER_ID, F_EPOCH, F_VALUE}}, /* value 1: commit */
    [EVENT_ENDED] = {"ended", {F_CLIENT, F_OP, F_ERROR}},
    /* A group's offset; within a transaction or not. */
    [EVENT_COMMIT] = {"commit",
                      {F_CLIENT, F_OP, F_GROUP, F_MEMBER, F_GENERATION, F_TOPIC, F_PARTITION, F_OFFSET, F_TXN}},
    [EVENT_COMMITTED] = {"committed", {F_CLIENT, F_OP, F_ERROR}},
    [EVENT_OFFSET] = {"offset", {F_CLIENT, F_SINCE, F_GROUP, F_TOPIC, F_PARTITION, F_OFFSET}},
    /* Items: pairs of topic and partition. */
    [EVENT_ASSIGNED] = {"assigned", {F_CLIENT, F_SINCE, F_GROUP, F_MEMBER, F_GENERATION}},
    [EVENT_CREATE] = {"create", {F_CLIENT, F_OP, F_TOPIC}},
    [EVENT_CREATED] = {"created", {F_CLIENT, F_OP, F_ERROR}},
    [EVENT_DELETE] = {"delete", {F_CLIENT, F_OP, F_TOPIC}},
    [EVENT_DELETED] = {"deleted", {F_CLIENT, F_OP, F_ERROR}},
    [EVENT_TRIM] = {"trim", {F_CLIENT, F_OP, F_TOPIC, F_PARTITION, F_OFFSET}},
    [EVENT_TRIMMED] = {"trimmed", {F_CLIENT, F_OP, F_ERROR, F_OFFSET}},
    [EVENT_TOPICS] = {"topics", {F_CLIENT, F_SINCE}}, /* items: the topics that are there */
    /* The next batch of an idempotent producer was refused although all before it were acknowledged. */
    [EVENT_REFUSED] = {"refused", {F_CLIENT, F_OP, F_ERROR}},
    /* A client did not get done in time after everything was healed; or (client -1) the broker did not start. */
    [EVENT_STUCK] = {"stuck", {F_CLIENT, F_VALUE}},
    [EVENT_RETRIED] = {"retried", {F_END}}, /* a file was synced again after a sync of it had failed */
};

void history_init(struct history *h)
{
    *h = (struct history){.n = 1};
}

void history_deinit(struct history *h)
{
    free(h->events);
    free(h->items);
    *h = (struct history){0};
}

uint32_t history_add(struct history *h, const struct event *ev)
{
    struct event *to;
    uint32_t first = 0;

    if (h->n >= h->cap) {
        h->cap = h->cap ? 2 * h->cap : 1024;
        h->events = realloc(h->events, h->cap * sizeof *h->events);
        check(h->events != NULL);
        h->events[0] = (struct event){0};
    }
    if (h->n > 1) first = h->events[h->n - 1].first_item + h->events[h->n - 1].n_items;
    to = &h->events[h->n];
    *to = *ev;
    to->number = h->n;
    to->at_us = h->now_us;
    to->first_item = first;
    to->n_items = h->n_items - first;
    return h->n++;
}

void history_item(struct history *h, int64_t item)
{
    if (h->n_items == h->cap_items) {
        h->cap_items = h->cap_items ? 2 * h->cap_items : 4096;
        h->items = realloc(h->items, h->cap_items * sizeof *h->items);
        check(h->items != NULL);
    }
    h->items[h->n_items++] = item;
}

uint32_t history_op(struct history *h)
{
    return ++h->n_ops;
}

const int64_t *history_items(const struct history *h, const struct event *ev)
{
    return h->items + ev->first_item;
}

const char *event_name(enum event_kind kind)
{
    return kinds[kind].name;
}

/* ---- text ---- */

static int64_t field_get(const struct event *ev, enum field f)
{
    switch (f) {
    case F_SINCE: return ev->since;
    case F_OP: return ev->op;
    case F_CLIENT: return ev->client;
    case F_TOPIC: return ev->topic;
    case F_PARTITION: return ev->partition;
    case F_OFFSET: return ev->offset;
    case F_NEXT: return ev->next;
    case F_HIGH_WATERMARK: return ev->high_watermark;
    case F_LAST_STABLE: return ev->last_stable;
    case F_LOG_START: return ev->log_start;
    case F_PRODUCER_ID: return ev->producer_id;
    case F_EPOCH: return ev->epoch;
    case F_SEQUENCE: return ev->sequence;
    case F_ERROR: return ev->error;
    case F_API: return ev->api;
    case F_LEVEL: return ev->level;
    case F_TXN: return ev->txn;
    case F_TXN_ID: return ev->txn_id;
    case F_GROUP: return ev->group;
    case F_MEMBER: return ev->member;
    case F_GENERATION: return ev->generation;
    case F_VALUE: return ev->value;
    default: return 0;
    }
}

static void field_set(struct event *ev, enum field f, int64_t v)
{
    switch (f) {
    case F_SINCE: ev->since = (uint32_t)v; break;
    case F_OP: ev->op = (uint32_t)v; break;
    case F_CLIENT: ev->client = v; break;
    case F_TOPIC: ev->topic = v; break;
    case F_PARTITION: ev->partition = v; break;
    case F_OFFSET: ev->offset = v; break;
    case F_NEXT: ev->next = v; break;
    case F_HIGH_WATERMARK: ev->high_watermark = v; break;
    case F_LAST_STABLE: ev->last_stable = v; break;
    case F_LOG_START: ev->log_start = v; break;
    case F_PRODUCER_ID: ev->producer_id = v; break;
    case F_EPOCH: ev->epoch = v; break;
    case F_SEQUENCE: ev->sequence = v; break;
    case F_ERROR: ev->error = v; break;
    case F_API: ev->api = v; break;
    case F_LEVEL: ev->level = v; break;
    case F_TXN: ev->txn = v; break;
    case F_TXN_ID: ev->txn_id = v; break;
    case F_GROUP: ev->group = v; break;
    case F_MEMBER: ev->member = v; break;
    case F_GENERATION: ev->generation = v; break;
    case F_VALUE: ev->value = v; break;
    default: break;
    }
}

void event_write(const struct history *h, const struct event *ev, FILE *out)
{
    const struct kind *k = &kinds[ev->kind];
    const int64_t *items = history_items(h, ev);

    fputs(k->name, out);
    for (int i = 0; i < FIELDS_MAX && k->fields[i] != F_END; i++) {
        int64_t v = field_get(ev, k->fields[i]);
        if (v != 0) fprintf(out, " %s=%" PRId64, field_names[k->fields[i]], v);
    }
    if (ev->n_items > 0) fputs(" :", out);
    for (uint32_t i = 0; i < ev->n_items; i++)
        fprintf(out, " %" PRId64, items[i]);
    fprintf(out, " # %u, %" PRId64 ".%06d s\n", ev->number, ev->at_us / 1000000, (int)(ev->at_us % 1000000));
}

void history_write(const struct history *h, FILE *out)
{
    for (uint32_t i = 1; i < h->n; i++)
        event_write(h, &h->events[i], out);
}

static bool kind_parse(const char *word, struct event *ev)
{
    for (int k = 1; k < EVENT_KIND_COUNT; k++) {
        if (strcmp(word, kinds[k].name) != 0) continue;
        ev->kind = (enum event_kind)k;
        return true;
    }
    return false;
}

static bool number_parse(const char *word, int64_t *out)
{
    char *end;

    *out = strtoll(word, &end, 10);
    return end != word && *end == '\0';
}

static bool field_parse(char *word, struct event *ev)
{
    char *value = strchr(word, '=');
    int64_t v;

    if (value == NULL) return false;
    *value++ = '\0';
    if (!number_parse(value, &v)) return false;
    for (int i = 0; i < FIELDS_MAX && kinds[ev->kind].fields[i] != F_END; i++) {
        if (strcmp(word, field_names[kinds[ev->kind].fields[i]]) != 0) continue;
        field_set(ev, kinds[ev->kind].fields[i], v);
        return true;
    }
    return false;
}

/* One line without its comment; an empty one is fine. */
static bool line_parse(struct history *h, char *line)
{
    struct event ev = {0};
    bool in_items = false;
    char *save = NULL;
    int64_t item;

    for (char *word = strtok_r(line, " \t\r\n", &save); word != NULL; word = strtok_r(NULL, " \t\r\n", &save)) {
        if (ev.kind == EVENT_NONE) {
            if (!kind_parse(word, &ev)) return false;
        } else if (in_items) {
            if (!number_parse(word, &item)) return false;
            history_item(h, item);
        } else if (strcmp(word, ":") == 0) {
            in_items = true;
        } else if (!field_parse(word, &ev)) {
            return false;
        }
    }
    if (ev.op > h->n_ops) h->n_ops = ev.op;
    if (ev.kind != EVENT_NONE) (void)history_add(h, &ev);
    return true;
}

enum err_code history_read(struct history *h, FILE *in, struct err *e)
{
    size_t cap = 0, line_number = 0;
    char *line = NULL;
    enum err_code rc = ERR_NONE;

    while (rc == ERR_NONE && getline(&line, &cap, in) >= 0) {
        line_number++;
        line[strcspn(line, "#")] = '\0';
        if (!line_parse(h, line)) rc = err_set(e, ERR_INVALID, "history: line %zu is no event", line_number);
    }
    free(line);
    return rc;
}
