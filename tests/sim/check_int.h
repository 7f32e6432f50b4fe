/* check_int.h: what the parts of the checker share: a history, and what follows from it at once. */
#ifndef WEIR_SIM_CHECK_INT_H
#define WEIR_SIM_CHECK_INT_H

#include "base/bytes.h"
#include "base/check.h"
#include "check.h"

#define PLACE_TOPICS 16
#define PLACE_PARTITIONS 4
#define FIRST_CHURN_TOPIC 3 /* topics from here on come and go: their offsets begin again */

/* One batch of the last audit, and what became of its transaction. */
enum outcome { OUTCOME_NONE /* no transaction */, OUTCOME_OPEN, OUTCOME_ABORTED, OUTCOME_COMMITTED };
/* What the audit found at one offset. */
struct stored {
    int64_t id; /* 0: a marker, or nothing */
    uint32_t batch;
    enum outcome outcome;
};
/* The highest that any read up to an event has told. */
struct mark {
    uint32_t number;
    int64_t high_watermark, last_stable;
};
struct place {
    struct stored *at; /* owned; by offset, below end */
    int64_t start, end, cap;
    bool is_audited;
    struct mark *marks; /* owned */
    uint32_t n_marks, cap_marks;
    int64_t trimmed; /* the highest offset that anybody asked to trim to */
};
struct sent_record {
    uint32_t send, index; /* the event, the place among its items; send 0: nobody sent it */
};
struct checker {
    const struct history *h;
    FILE *out;
    int n_wrong;
    bool has_power_cuts;
    uint32_t n_ops;
    uint32_t *asked, *answered;  /* owned; by op: the events; 0: none */
    struct sent_record *records; /* owned; by id */
    int64_t n_records;
    struct place places[PLACE_TOPICS][PLACE_PARTITIONS];
    enum outcome *txn_outcomes; /* owned; by transaction: as the log says; OUTCOME_NONE: nothing of it is there */
    int64_t n_txns;
    uint32_t *txn_ends; /* owned; by transaction: the first EVENT_END that asked for a commit; 0: none */
};

/* Says what is wrong, with the event. */
void wrong(struct checker *c, const struct event *ev, const char *rule, const char *fmt, ...) PRINTF_LIKE(4, 5);
const struct event *event_at(const struct checker *c, uint32_t number);
struct place *place_of(struct checker *c, const struct event *ev);
/* The answer to an op; NULL: none came. */
const struct event *answer_to(const struct checker *c, uint32_t op);
/* How many numbers a send has for each record: 2 when they come with their source. */
uint32_t items_per_record(const struct event *send);
bool is_churn(const struct event *ev);

void check_log(struct checker *c);
void check_transactions(struct checker *c);
void check_reads(struct checker *c);
void check_groups(struct checker *c);
void check_admin(struct checker *c);

#endif
