/* consumer_assign.h: who gets which partition. Pure functions; any thread. Rules: consumer_assign.c. */
#ifndef WEIR_BROKER_CONSUMER_ASSIGN_H
#define WEIR_BROKER_CONSUMER_ASSIGN_H

#include "base/arena.h"

struct tp { /* a partition of a topic */
    uint8_t topic[16];
    int32_t partition;
};
struct tp_set { /* sorted by tp_compare, without doubles */
    struct tp *at;
    int n;
};
static inline int tp_compare(const struct tp *a, const struct tp *b)
{
    int c = memcmp(a->topic, b->topic, sizeof(a->topic));
    return c != 0 ? c : (a->partition > b->partition) - (a->partition < b->partition);
}

struct assign_topic {
    uint8_t id[16];
    int32_t n_partitions;
};
struct assign_member {
    struct bytes id, instance; /* instance null: dynamic */
    const int *topics;         /* indexes of the topics it subscribes to, rising */
    int n_topics;
    struct tp_set current; /* what it was to have before; kept as far as balance allows */
    struct tp_set out;     /* the result; in the arena */
};
/* topics by rising id. Every partition of a topic that somebody subscribes to goes to exactly one of its subscribers. */
typedef void (*assign_fn)(struct arena *a, const struct assign_topic *topics, int n_topics,
                          struct assign_member *members, int n_members);
void assign_uniform(struct arena *a, const struct assign_topic *topics, int n_topics, struct assign_member *members,
                    int n_members);
void assign_range(struct arena *a, const struct assign_topic *topics, int n_topics, struct assign_member *members,
                  int n_members);
/* "uniform", "range"; NULL: no such assignor. */
assign_fn assign_find(struct bytes name);

#endif
