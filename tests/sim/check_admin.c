/* check_admin.c: topics that come and go.
 *
 * A1  A topic that was reported created is there until somebody asks to delete it; one that was reported deleted is
 *     gone until somebody asks to create it.
 * A2  A record of a topic that was deleted is never seen again.
 * A3  What was acknowledged is there in the end, if nobody asked to delete the topic since. */
#include "check_int.h"

#include <inttypes.h>

/* The last thing that is known for certain before event `since`: +1 there, -1 gone, 0 unknown. A request without an
 * answer makes it unknown for ever: it may take effect late. */
static int presence(const struct checker *c, int64_t topic, uint32_t since, uint32_t until)
{
    int known = 0;

    for (uint32_t i = 1; i < until; i++) {
        const struct event *ev = &c->h->events[i];
        if ((ev->kind != EVENT_CREATE && ev->kind != EVENT_DELETE) || ev->topic != topic) continue;
        const struct event *answer = answer_to(c, ev->op);
        if (answer == NULL || answer->number > since) return 0;
        if (ev->kind == EVENT_CREATE && (answer->error == 0 || answer->error == 36))
            known = 1;
        else if (ev->kind == EVENT_DELETE && (answer->error == 0 || answer->error == 3))
            known = -1;
        else
            return 0;
    }
    return known;
}

static void topics_are_there(struct checker *c, const struct event *ev)
{
    const int64_t *items = history_items(c->h, ev);

    for (int64_t topic = 0; topic < PLACE_TOPICS; topic++) {
        int known = presence(c, topic, ev->since, ev->number);
        bool is_there = false;
        for (uint32_t i = 0; i < ev->n_items; i++)
            is_there |= items[i] == topic;
        if (known > 0 && !is_there) wrong(c, ev, "A1", "topic %" PRId64 " was created and is gone", topic);
        if (known < 0 && is_there) wrong(c, ev, "A1", "topic %" PRId64 " was deleted and is back", topic);
    }
}

/* The first delete asked for behind an event, answered well before `since`; 0: none. */
static uint32_t deleted_between(const struct checker *c, int64_t topic, uint32_t from, uint32_t since)
{
    for (uint32_t i = from; i < since; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind != EVENT_DELETE || ev->topic != topic) continue;
        const struct event *answer = answer_to(c, ev->op);
        if (answer != NULL && answer->error == 0 && answer->number <= since) return i;
    }
    return 0;
}

/* A2. Batches come right behind the read that brought them. */
static void old_records_are_gone(struct checker *c, const struct event *ev, uint32_t since)
{
    const int64_t *items = history_items(c->h, ev);

    for (uint32_t i = 0; i + 1 < ev->n_items; i += 2) {
        int64_t id = items[i + 1];
        if (id <= 0 || id >= c->n_records || c->records[id].send == 0) {
            wrong(c, ev, "L1", "offset %" PRId64 " holds %" PRId64 ", which nobody sent", items[i], id);
            return;
        }
        const struct event *sent = answer_to(c, event_at(c, c->records[id].send)->op);
        if (sent == NULL) continue;
        uint32_t deleted = deleted_between(c, ev->topic, sent->number, since);
        if (deleted != 0) wrong(c, ev, "A2", "record %" PRId64 " is of a topic deleted at event %u", id, deleted);
    }
}

static bool is_delete_asked(const struct checker *c, int64_t topic)
{
    for (uint32_t i = 1; i < c->h->n; i++)
        if (c->h->events[i].kind == EVENT_DELETE && c->h->events[i].topic == topic) {
            const struct event *answer = answer_to(c, c->h->events[i].op);
            if (answer == NULL || answer->error != 3) return true;
        }
    return false;
}

/* A3: the audit's items, for topics that were never deleted. */
static void acknowledged_is_there(struct checker *c, const struct event *sent)
{
    const struct event *send = event_at(c, c->asked[sent->op]);
    bool is_audited = false;

    if (sent->error != 0 || !is_churn(send) || is_delete_asked(c, send->topic)) return;
    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind != EVENT_BATCH && (ev->kind != EVENT_READ || ev->level != READ_AUDIT)) continue;
        if (ev->topic != send->topic || ev->partition != send->partition) continue;
        is_audited = true;
        if (ev->kind == EVENT_BATCH && ev->offset == sent->offset &&
            history_items(c->h, ev)[1] == history_items(c->h, send)[0])
            return;
    }
    if (is_audited) wrong(c, sent, "A3", "the record was acknowledged and is gone");
}

void check_admin(struct checker *c)
{
    uint32_t since = 0;

    for (uint32_t i = 1; i < c->h->n; i++) {
        const struct event *ev = &c->h->events[i];
        if (ev->kind == EVENT_TOPICS) topics_are_there(c, ev);
        if (ev->kind == EVENT_READ) since = ev->since;
        if ((ev->kind == EVENT_READ || ev->kind == EVENT_BATCH) && is_churn(ev)) old_records_are_gone(c, ev, since);
        if (ev->kind == EVENT_SENT) acknowledged_is_there(c, ev);
    }
}
