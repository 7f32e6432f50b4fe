/* consumer_assign.c: the assignors of consumer groups.
 *
 *   uniform   every member gets the same number of partitions, within one, where subscriptions allow it; a partition
 *             moves only when balance needs it
 *   range     each topic by itself: its subscribers in order, each the next run of partitions, so that topics with the
 *             same number of partitions and the same subscribers are split alike
 *
 * B1  Every partition of a topic with subscribers has exactly one owner, and that one subscribes to the topic.
 * B2  The result depends on the input only: members in the order given, no hash order, no chance.
 * B3  uniform: while some member could give a partition to a subscriber that has at least two fewer, it does. Each such
 *     move makes the sum of the squares of the loads smaller, so it ends; with equal subscriptions the loads then differ
 *     by one at most, and no more than the surplus has moved.
 *
 * Partitions are numbered through, topic after topic (`base`), so that owners are one array. */
#include "broker/consumer_assign.h"

#include <stdlib.h>

struct plan {
    struct arena *arena;
    const struct assign_topic *topics;
    struct assign_member *members;
    int n_topics, n_members;
    int *base;                /* n_topics + 1: number of the first partition */
    int *owner;               /* by number; -1: none */
    int *load;                /* by member */
    int *subscribers, *first; /* first[t]..first[t+1] of subscribers: members of topic t, rising */
};

static void plan_init(struct plan *p, struct arena *a, const struct assign_topic *topics, int n_topics,
                      struct assign_member *members, int n_members)
{
    size_t total = 0, nt = (size_t)n_topics + 1;

    *p = (struct plan){.arena = a, .topics = topics, .members = members, .n_topics = n_topics, .n_members = n_members};
    p->base = arena_array(a, nt, sizeof(*p->base));
    p->first = arena_array(a, nt, sizeof(*p->first));
    p->load = arena_array(a, (size_t)n_members + 1, sizeof(*p->load));
    for (int i = 0; i < n_topics; i++)
        p->base[i + 1] = p->base[i] + topics[i].n_partitions;
    p->owner = arena_array(a, (size_t)p->base[n_topics] + 1, sizeof(*p->owner));
    for (int i = 0; i < p->base[n_topics]; i++)
        p->owner[i] = -1;
    for (int m = 0; m < n_members; m++)
        total += (size_t)members[m].n_topics;
    p->subscribers = arena_array(a, total + 1, sizeof(*p->subscribers));
    for (int m = 0; m < n_members; m++)
        for (int k = 0; k < members[m].n_topics; k++)
            p->first[members[m].topics[k] + 1]++;
    for (int t = 0; t < n_topics; t++)
        p->first[t + 1] += p->first[t];
    int *at = arena_array(a, nt, sizeof(*at));
    memcpy(at, p->first, nt * sizeof(*at));
    for (int m = 0; m < n_members; m++)
        for (int k = 0; k < members[m].n_topics; k++)
            p->subscribers[at[members[m].topics[k]]++] = m;
}

static void give(struct plan *p, int number, int member)
{
    if (p->owner[number] >= 0) p->load[p->owner[number]]--;
    p->owner[number] = member;
    p->load[member]++;
}

static void plan_finish(struct plan *p)
{
    for (int m = 0; m < p->n_members; m++) {
        p->members[m].out.at = arena_array(p->arena, (size_t)p->load[m], sizeof(struct tp));
        p->members[m].out.n = 0;
    }
    for (int t = 0; t < p->n_topics; t++) {
        for (int i = p->base[t]; i < p->base[t + 1]; i++) {
            if (p->owner[i] < 0) continue;
            struct tp_set *s = &p->members[p->owner[i]].out;
            memcpy(s->at[s->n].topic, p->topics[t].id, 16);
            s->at[s->n++].partition = i - p->base[t];
        }
    }
}

/* ---- uniform ---- */
static int find_topic(const struct plan *p, const uint8_t id[16])
{
    int low = 0, high = p->n_topics;

    while (low < high) {
        int mid = low + (high - low) / 2;
        int c = memcmp(p->topics[mid].id, id, 16);
        if (c == 0) return mid;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

static bool subscribes(const struct assign_member *m, int topic)
{
    int low = 0, high = m->n_topics;

    while (low < high) {
        int mid = low + (high - low) / 2;
        if (m->topics[mid] == topic) return true;
        if (m->topics[mid] < topic)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

static void keep_current(struct plan *p)
{
    for (int m = 0; m < p->n_members; m++) {
        const struct tp_set *s = &p->members[m].current;
        for (int i = 0; i < s->n; i++) {
            int t = find_topic(p, s->at[i].topic);
            if (t < 0 || s->at[i].partition >= p->topics[t].n_partitions || !subscribes(&p->members[m], t)) continue;
            if (p->owner[p->base[t] + s->at[i].partition] < 0) give(p, p->base[t] + s->at[i].partition, m);
        }
    }
}

static int least_loaded(const struct plan *p, int topic)
{
    int best = -1;
    for (int i = p->first[topic]; i < p->first[topic + 1]; i++) {
        if (best < 0 || p->load[p->subscribers[i]] < p->load[best]) best = p->subscribers[i];
    }
    return best;
}

struct by_subscribers {
    int topic, n;
};

static int fewer_subscribers(const void *a, const void *b)
{
    const struct by_subscribers *x = a, *y = b;
    return x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->topic > y->topic) - (x->topic < y->topic);
}

/* Topics with few subscribers first: their partitions have fewer places to go to. */
static void give_the_rest(struct plan *p)
{
    struct by_subscribers *order = arena_array(p->arena, (size_t)p->n_topics + 1, sizeof(*order));

    for (int t = 0; t < p->n_topics; t++)
        order[t] = (struct by_subscribers){t, p->first[t + 1] - p->first[t]};
    if (p->n_topics > 1) qsort(order, (size_t)p->n_topics, sizeof(*order), fewer_subscribers);
    for (int i = 0; i < p->n_topics; i++) {
        int t = order[i].topic;
        for (int k = p->base[t]; order[i].n > 0 && k < p->base[t + 1]; k++)
            if (p->owner[k] < 0) give(p, k, least_loaded(p, t));
    }
}

static bool balance_topic(struct plan *p, int topic)
{
    bool has_moved = false;

    for (;;) {
        int to = least_loaded(p, topic), from = -1;
        for (int i = p->base[topic]; to >= 0 && i < p->base[topic + 1]; i++)
            if (from < 0 || p->load[p->owner[i]] >= p->load[p->owner[from]]) from = i; /* the last of the fullest */
        if (from < 0 || p->load[p->owner[from]] < p->load[to] + 2) return has_moved;
        give(p, from, to);
        has_moved = true;
    }
}

void assign_uniform(struct arena *a, const struct assign_topic *topics, int n_topics, struct assign_member *members,
                    int n_members)
{
    struct plan p;
    bool has_moved = true;

    plan_init(&p, a, topics, n_topics, members, n_members);
    keep_current(&p);
    give_the_rest(&p);
    while (has_moved) { /* B3 */
        has_moved = false;
        for (int t = 0; t < n_topics; t++)
            has_moved |= balance_topic(&p, t);
    }
    plan_finish(&p);
}

/* ---- range ---- */
struct ranked {
    const struct assign_member *member;
    int index;
};

/* Static members first, by their lasting name: so they get the same ranges whatever ids they come back with. */
static int by_rank(const void *a, const void *b)
{
    const struct assign_member *x = ((const struct ranked *)a)->member, *y = ((const struct ranked *)b)->member;

    if (bytes_is_null(x->instance) != bytes_is_null(y->instance)) return bytes_is_null(x->instance) ? 1 : -1;
    return bytes_is_null(x->instance) ? bytes_compare(x->id, y->id) : bytes_compare(x->instance, y->instance);
}

void assign_range(struct arena *a, const struct assign_topic *topics, int n_topics, struct assign_member *members,
                  int n_members)
{
    struct ranked *ranked = arena_array(a, (size_t)n_members + 1, sizeof(*ranked));
    struct plan p;

    plan_init(&p, a, topics, n_topics, members, n_members);
    for (int t = 0; t < n_topics; t++) {
        int n = p.first[t + 1] - p.first[t], at = p.base[t];
        for (int i = 0; i < n; i++) {
            int m = p.subscribers[p.first[t] + i];
            ranked[i] = (struct ranked){&members[m], m};
        }
        if (n > 1) qsort(ranked, (size_t)n, sizeof(*ranked), by_rank);
        for (int i = 0; i < n; i++) {
            int quota = topics[t].n_partitions / n + (i < topics[t].n_partitions % n);
            while (quota-- > 0)
                give(&p, at++, ranked[i].index);
        }
    }
    plan_finish(&p);
}

assign_fn assign_find(struct bytes name)
{
    if (bytes_equal_str(name, "uniform")) return assign_uniform;
    if (bytes_equal_str(name, "range")) return assign_range;
    return NULL;
}
