/* history.h: what clients of a broker did and were told, in the order in which it happened. The simulator writes one;
 * a run against a real server may write one, too: the checker (check.h) needs nothing else.
 *
 * As text, one event a line: `KIND field=value ... [: item item ...]`, fields in any order, those that are 0 may be
 * left out; `#` begins a comment. The number of an event is its place, from 1. Kinds and their fields: history.c.
 *
 * H1  An event is written when the client does or learns it, never later: the order is the clients' real time.
 * H2  What a client asks and what it is told are two events with the same `op`. An op without an answer has an unknown
 *     outcome: it may happen late, or never.
 * H3  Answers to questions that change nothing are one event; `since` is the number of the last event before the
 *     question left.
 * H4  Every record has an id of its own, for ever; its value says it. */
#ifndef WEIR_SIM_HISTORY_H
#define WEIR_SIM_HISTORY_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum event_kind {
    EVENT_NONE,
    EVENT_OPTION, /* `value` of what the run was given: 1 brings `power`: a power cut may come */
    EVENT_UP,
    EVENT_DOWN,
    EVENT_HEAL,
    EVENT_CODE,
    EVENT_SEND,
    EVENT_SENT,
    EVENT_READ,
    EVENT_BATCH,
    EVENT_INIT,
    EVENT_END,
    EVENT_ENDED,
    EVENT_COMMIT,
    EVENT_COMMITTED,
    EVENT_OFFSET,
    EVENT_ASSIGNED,
    EVENT_CREATE,
    EVENT_CREATED,
    EVENT_DELETE,
    EVENT_DELETED,
    EVENT_TRIM,
    EVENT_TRIMMED,
    EVENT_TOPICS,
    EVENT_REFUSED,
    EVENT_STUCK,
    EVENT_RETRIED,
    EVENT_KIND_COUNT,
};
enum read_level { READ_UNCOMMITTED, READ_COMMITTED, READ_AUDIT };

struct event {
    enum event_kind kind;
    uint32_t number; /* its place in the history */
    uint32_t since, op;
    int64_t at_us, client;
    int64_t topic, partition, offset, next, high_watermark, last_stable, log_start;
    int64_t producer_id, epoch, sequence, error, api, level;
    int64_t txn;    /* a number for each transaction ever begun; 0: none */
    int64_t txn_id; /* a number for each transactional id; 0: none */
    int64_t group, member, generation;
    int64_t value;
    uint32_t first_item, n_items; /* in the history's items */
};
struct history {
    struct event *events; /* owned; [0] is not used */
    int64_t *items;       /* owned */
    uint32_t n, cap, n_items, cap_items, n_ops;
    int64_t now_us; /* stamps what is added */
};

void history_init(struct history *h);
void history_deinit(struct history *h);
/* Adds a copy; its number, time and items (of the ones put after the last event) are filled in. */
uint32_t history_add(struct history *h, const struct event *ev);
void history_item(struct history *h, int64_t item); /* of the event that is added next */
uint32_t history_op(struct history *h);             /* a new one */
const int64_t *history_items(const struct history *h, const struct event *ev);

const char *event_name(enum event_kind kind);
void event_write(const struct history *h, const struct event *ev, FILE *out);
void history_write(const struct history *h, FILE *out);
/* ERR_INVALID: says which line is wrong. */
MUST_USE enum err_code history_read(struct history *h, FILE *in, struct err *e);

#endif
