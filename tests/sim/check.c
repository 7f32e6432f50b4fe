/* check.c: reads a history once for what everybody needs, then lets each part judge. Rules without a part of their own:
 *
 * S1  Everybody gets done after the healing; a broker starts whatever a crash left (EVENT_STUCK).
 * S2  The next batch of an idempotent producer is not refused (EVENT_REFUSED).
 * S3  Clients are told documented error codes only, those that the request may bring.
 * S4  A failed sync is never tried again by the same process: a success would prove nothing (EVENT_RETRIED). */
#include "check_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

void wrong(struct checker *c, const struct event *ev, const char *rule, const char *fmt, ...)
{
    va_list args;

    c->n_wrong++;
    if (c->n_wrong > 20) return;
    fprintf(c->out, "%s: ", rule);
    va_start(args, fmt);
    vfprintf(c->out, fmt, args);
    va_end(args);
    fputs("\n    ", c->out);
    event_write(c->h, ev, c->out);
}

const struct event *event_at(const struct checker *c, uint32_t number)
{
    check(number > 0 && number < c->h->n);
    return &c->h->events[number];
}

struct place *place_of(struct checker *c, const struct event *ev)
{
    check(ev->topic >= 0 && ev->topic < PLACE_TOPICS && ev->partition >= 0 && ev->partition < PLACE_PARTITIONS);
    return &c->places[ev->topic][ev->partition];
}

const struct event *answer_to(const struct checker *c, uint32_t op)
{
    return c->answered[op] != 0 ? event_at(c, c->answered[op]) : NULL;
}

uint32_t items_per_record(const struct event *send)
{
    return send->txn != 0 ? 2 : 1;
}

bool is_churn(const struct event *ev)
{
    return ev->topic >= FIRST_CHURN_TOPIC;
}

/* ---- what follows at once ---- */

static void learn_send(struct checker *c, const struct event *ev)
{
    const int64_t *items = history_items(c->h, ev);

    for (uint32_t i = 0; i < ev->n_items; i += items_per_record(ev)) {
        check(items[i] > 0);
        if (items[i] >= c->n_records) {
            int64_t n = 2 * items[i] + 64;
            c->records = realloc(c->records, (size_t)n * sizeof *c->records);
            check(c->records != NULL);
            for (; c->n_records < n; c->n_records++)
                c->records[c->n_records] = (struct sent_record){0};
        }
        c->records[items[i]] = (struct sent_record){ev->number, i / items_per_record(ev)};
    }
}

static void learn(struct checker *c, const struct event *ev)
{
    switch (ev->kind) {
    case EVENT_OPTION: c->has_power_cuts = ev->value != 0; break;
    case EVENT_SEND:
        learn_send(c, ev);
        c->asked[ev->op] = ev->number;
        break;
    case EVENT_COMMIT:
    case EVENT_CREATE:
    case EVENT_DELETE: c->asked[ev->op] = ev->number; break;
    case EVENT_TRIM:
        c->asked[ev->op] = ev->number;
        if (ev->offset > place_of(c, ev)->trimmed) place_of(c, ev)->trimmed = ev->offset;
        break;
    case EVENT_END:
        c->asked[ev->op] = ev->number;
        if (ev->value == 1 && c->txn_ends[ev->txn] == 0) c->txn_ends[ev->txn] = ev->number;
        break;
    case EVENT_SENT:
        /* An error may be followed by a retry: only the last answer counts, and success for ever. */
        if (c->answered[ev->op] == 0 || event_at(c, c->answered[ev->op])->error != 0) c->answered[ev->op] = ev->number;
        break;
    case EVENT_ENDED:
    case EVENT_COMMITTED:
    case EVENT_CREATED:
    case EVENT_DELETED:
    case EVENT_TRIMMED: c->answered[ev->op] = ev->number; break;
    default: break;
    }
}

static void checker_init(struct checker *c, const struct history *h, FILE *out)
{
    *c = (struct checker){.h = h, .out = out, .n_ops = h->n_ops + 1};
    for (uint32_t i = 1; i < h->n; i++)
        if (h->events[i].txn >= c->n_txns) c->n_txns = h->events[i].txn + 1;
    c->asked = calloc(c->n_ops, sizeof *c->asked);
    c->answered = calloc(c->n_ops, sizeof *c->answered);
    c->txn_outcomes = calloc((size_t)c->n_txns + 1, sizeof *c->txn_outcomes);
    c->txn_ends = calloc((size_t)c->n_txns + 1, sizeof *c->txn_ends);
    check(c->asked != NULL && c->answered != NULL && c->txn_outcomes != NULL && c->txn_ends != NULL);
    for (uint32_t i = 1; i < h->n; i++)
        learn(c, &h->events[i]);
}

static void checker_deinit(struct checker *c)
{
    for (int t = 0; t < PLACE_TOPICS; t++)
        for (int p = 0; p < PLACE_PARTITIONS; p++) {
            free(c->places[t][p].at);
            free(c->places[t][p].marks);
        }
    free(c->asked);
    free(c->answered);
    free(c->records);
    free(c->txn_outcomes);
    free(c->txn_ends);
}

/* ---- S1 to S3 ---- */

#define CODES_MAX 20
/* What Kafka documents for each request, by its key; 0 ends. 15, 16, 5, 7 and 56 send a client back to try again. */
static const struct {
    int16_t api;
    int16_t codes[CODES_MAX];
} codes_of_api[] = {
    {0, {3, 5, 7, 10, 45, 47, 48, 49, 56, 59, 90}},
    {1, {1, 3, 5, 56, 70, 71, 74, 75, 100}},
    {8, {3, 5, 7, 14, 15, 16, 22, 25, 27, 56}},
    {9, {3, 14, 15, 16, 56, 88}},
    {11, {7, 14, 15, 16, 22, 25, 27, 56, 79, 81}},
    {12, {14, 15, 16, 22, 25, 27, 56}},
    {13, {14, 15, 16, 25, 56}},
    {14, {7, 14, 15, 16, 22, 25, 27, 56}},
    {19, {5, 7, 36, 41, 56}},
    {20, {3, 5, 7, 41, 56}},
    {21, {1, 3, 5, 7, 56}},
    {22, {5, 7, 14, 15, 16, 47, 49, 51, 56, 90}},
    {24, {3, 5, 7, 14, 15, 16, 47, 48, 49, 51, 55, 56, 90}},
    {25, {5, 7, 14, 15, 16, 47, 48, 49, 51, 56, 90}},
    {26, {5, 7, 14, 15, 16, 47, 48, 49, 51, 56, 90}},
    {28, {3, 5, 7, 14, 15, 16, 22, 25, 47, 48, 49, 51, 56, 90}},
};

static bool is_documented(int64_t api, int64_t code)
{
    for (size_t i = 0; i < ARRAY_LEN(codes_of_api); i++) {
        if (codes_of_api[i].api != api) continue;
        for (int k = 0; k < CODES_MAX && codes_of_api[i].codes[k] != 0; k++)
            if (codes_of_api[i].codes[k] == code) return true;
    }
    return false;
}

static void check_single_events(struct checker *c)
{
    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_STUCK && ev->client < 0) wrong(c, ev, "S1", "the broker does not start");
        if (ev->kind == EVENT_STUCK && ev->client >= 0)
            wrong(c, ev, "S1", "client %" PRId64 " does not get done", ev->client);
        if (ev->kind == EVENT_RETRIED) wrong(c, ev, "S4", "a file was synced again after a sync of it had failed");
        if (ev->kind == EVENT_REFUSED)
            wrong(c, ev, "S2", "the next batch was refused as out of order: what was acknowledged has been forgotten");
        if (ev->kind == EVENT_CODE && !is_documented(ev->api, ev->error))
            wrong(c, ev, "S3", "request %" PRId64 " must not be answered %" PRId64, ev->api, ev->error);
    }
}

int history_check(const struct history *h, FILE *out)
{
    struct checker c;

    checker_init(&c, h, out);
    check_single_events(&c);
    check_log(&c);
    check_transactions(&c);
    check_reads(&c);
    check_groups(&c);
    check_admin(&c);
    checker_deinit(&c);
    return c.n_wrong;
}
