/* consumer_target.c: what a consumer group subscribes to, and the target assignment over it.
 *
 * J1  Looking at every topic costs; it is done when a subscription has changed or the broker's topics have
 *     (broker.topics_version), not at each heartbeat.
 * J2  The group gets a new epoch only when the subscribed topics are really others, have other ids or other numbers of
 *     partitions: their hash is stored with the group, so a restart alone changes nothing.
 * J3  Expressions match what ordinary topics there are, not the broker's own; those can be subscribed to by name. */
#include "broker/consumer_int.h"

#include <stdlib.h>

/* ---- the subscribed topics ---- */
struct subscribed {
    struct assign_topic *topics; /* by rising id */
    int n;
};

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct assign_topic *)a)->id, ((const struct assign_topic *)b)->id, 16);
}

static const struct consumer_regex *regex_of(const struct consumer_group *cg, const struct consumer_member *m)
{
    return bytes_is_null(m->regex) ? NULL : map_get(&cg->regexes, m->regex);
}

static void collect(struct broker *b, struct map *found, const struct bytes *names, int n)
{
    for (int i = 0; i < n; i++) {
        struct topic *t = topic_find(b, names[i]);
        if (t) (void)map_put(found, bytes_of(t->uuid, 16), t);
    }
}

static struct subscribed subscribed_make(const struct consumer_group *cg, struct arena *a)
{
    struct broker *b = cg->group->broker;
    struct subscribed s = {0};
    struct map found;
    uint32_t pos = 0;

    map_init(&found);
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        const struct consumer_regex *r = regex_of(cg, m);
        collect(b, &found, m->topics, m->n_topics);
        if (r) collect(b, &found, r->topics, r->n_topics);
    }
    s.topics = arena_array(a, map_count(&found) + 1u, sizeof(*s.topics));
    for (struct map_entry *m; (m = map_next(&found, &pos)) != NULL;) {
        const struct topic *t = m->value;
        memcpy(s.topics[s.n].id, t->uuid, 16);
        s.topics[s.n++].n_partitions = topic_partition_count(t);
    }
    map_deinit(&found);
    if (s.n > 1) qsort(s.topics, (size_t)s.n, sizeof(*s.topics), by_id);
    return s;
}

/* FNV-1a. It is stored, so it must not change. */
static uint64_t subscribed_hash(const struct subscribed *s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (int i = 0; i < s->n; i++) {
        uint8_t bytes[20];
        memcpy(bytes, s->topics[i].id, 16);
        be32_put(bytes + 16, (uint32_t)s->topics[i].n_partitions);
        for (size_t k = 0; k < sizeof(bytes); k++)
            h = (h ^ bytes[k]) * 0x100000001b3u;
    }
    return s->n ? h : 0;
}

/* ---- expressions ---- */
static void names_free(struct bytes *names, int n)
{
    for (int i = 0; i < n; i++)
        group_free_bytes(&names[i]);
    free(names);
}

static int by_name(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool is_same(const struct consumer_regex *r, const struct bytes *names, int n)
{
    if (r->n_topics != n) return false;
    for (int i = 0; i < n; i++)
        if (!bytes_equal(r->topics[i], names[i])) return false;
    return true;
}

static void resolve(struct broker *b, struct consumer_regex *r, const struct consumer_beat *q)
{
    struct bytes *names = calloc(map_count(&b->topics) + 1u, sizeof(*names));
    uint32_t pos = 0;
    int n = 0;

    check(names != NULL);
    for (struct topic *t; r->compiled != NULL && (t = topic_next(b, &pos)) != NULL;) {
        struct bytes name = topic_name(t);
        if (t->is_internal || !topic_regex_matches(r->compiled, name)) continue; /* J3 */
        if (q == NULL || q->may_see == NULL || q->may_see(q->arg, name)) names[n++] = group_dup(name);
    }
    if (n > 1) qsort(names, (size_t)n, sizeof(*names), by_name);
    r->seen = b->topics_version;
    if (is_same(r, names, n)) {
        names_free(names, n);
        return;
    }
    names_free(r->topics, r->n_topics);
    r->topics = names;
    r->n_topics = n;
    r->is_dirty = true;
}

static struct consumer_regex *regex_get(struct consumer_group *cg, struct bytes pattern)
{
    struct consumer_regex *r = map_get(&cg->regexes, pattern);

    if (r == NULL) {
        r = calloc(1, sizeof(*r));
        check(r != NULL);
        r->pattern = group_dup(pattern);
        r->is_dirty = true;
        (void)map_put(&cg->regexes, pattern, r);
    }
    /* It was looked at when the member sent it; one from the log that no longer compiles matches nothing. */
    if (r->compiled == NULL) (void)!topic_regex_compile(&r->compiled, pattern, NULL);
    return r;
}

void consumer_regex_free(struct consumer_regex *r)
{
    names_free(r->topics, r->n_topics);
    topic_regex_destroy(r->compiled);
    group_free_bytes(&r->pattern);
    free(r);
}

static void refresh_regexes(struct consumer_group *cg, const struct consumer_beat *q)
{
    struct broker *b = cg->group->broker;
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;)
        ((struct consumer_regex *)m->value)->is_in_use = false;
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        if (!bytes_is_null(m->regex)) regex_get(cg, m->regex)->is_in_use = true;
    }
    pos = 0;
    for (struct map_entry *m; (m = map_next(&cg->regexes, &pos)) != NULL;) {
        struct consumer_regex *r = m->value;
        if (r->is_in_use && r->seen != b->topics_version) resolve(b, r, q);
        if (r->is_in_use) continue;
        consumer_gone(cg, CONSUMER_RECORD_REGEX, r->pattern);
        (void)map_remove(&cg->regexes, r->pattern);
        consumer_regex_free(r);
    }
}

bool consumer_refresh(struct consumer_group *cg, const struct consumer_beat *q)
{
    struct arena a;

    arena_init(&a, 0);
    refresh_regexes(cg, q);
    cg->topics_seen = cg->group->broker->topics_version;
    struct subscribed s = subscribed_make(cg, &a);
    uint64_t hash = subscribed_hash(&s);
    arena_deinit(&a);
    if (hash == cg->topics_hash) return false;
    cg->topics_hash = hash;
    return true;
}

bool consumer_subscribes(const struct consumer_group *cg, struct bytes topic)
{
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        const struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        const struct consumer_regex *r = regex_of(cg, m);
        for (int i = 0; i < m->n_topics; i++)
            if (bytes_equal(m->topics[i], topic)) return true;
        if (r && r->n_topics > 0 && bsearch(&topic, r->topics, (size_t)r->n_topics, sizeof(topic), by_name))
            return true;
    }
    return false;
}

/* ---- the target ---- */
struct bytes consumer_assignor(const struct consumer_group *cg)
{
    int n_range = 0, n_uniform = 0;

    for (struct list *n = cg->members.next; n != &cg->members; n = n->next) {
        struct bytes name = CONTAINER_OF(n, struct consumer_member, link)->assignor;
        n_range += bytes_equal_str(name, "range");
        n_uniform += bytes_equal_str(name, "uniform");
    }
    return n_range > n_uniform ? BYTES_LIT("range") : BYTES_LIT("uniform");
}

static int rising(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static int add_indexes(struct broker *b, const struct subscribed *s, const struct bytes *names, int n_names, int *out,
                       int n)
{
    for (int i = 0; i < n_names; i++) {
        const struct topic *t = topic_find(b, names[i]);
        struct assign_topic key;
        if (t == NULL || s->n == 0) continue;
        memcpy(key.id, t->uuid, 16);
        const struct assign_topic *found = bsearch(&key, s->topics, (size_t)s->n, sizeof(key), by_id);
        if (found) out[n++] = (int)(found - s->topics);
    }
    return n;
}

static void fill_member(const struct consumer_group *cg, const struct consumer_member *m, const struct subscribed *s,
                        struct arena *a, struct assign_member *out)
{
    struct broker *b = cg->group->broker;
    const struct consumer_regex *r = regex_of(cg, m);
    int *topics = arena_array(a, (size_t)m->n_topics + (size_t)(r ? r->n_topics : 0) + 1u, sizeof(*topics));
    int n = add_indexes(b, s, m->topics, m->n_topics, topics, 0), n_unique = 0;

    if (r) n = add_indexes(b, s, r->topics, r->n_topics, topics, n);
    if (n > 1) qsort(topics, (size_t)n, sizeof(*topics), rising);
    for (int i = 0; i < n; i++)
        if (n_unique == 0 || topics[n_unique - 1] != topics[i]) topics[n_unique++] = topics[i];
    *out = (struct assign_member){
        .id = m->id, .instance = m->instance, .topics = topics, .n_topics = n_unique, .current = m->target};
}

void consumer_target_compute(struct consumer_group *cg)
{
    struct assign_member *members;
    struct arena a;
    int i = 0;

    arena_init(&a, 0);
    struct subscribed s = subscribed_make(cg, &a);
    members = arena_array(&a, (size_t)cg->n_members + 1u, sizeof(*members));
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next)
        fill_member(cg, CONTAINER_OF(n, struct consumer_member, link), &s, &a, &members[i++]);
    assign_find(consumer_assignor(cg))(&a, s.topics, s.n, members, cg->n_members);
    i = 0;
    for (struct list *n = cg->members.next; n != &cg->members; n = n->next, i++) {
        struct consumer_member *m = CONTAINER_OF(n, struct consumer_member, link);
        if (tp_set_equal(&m->target, &members[i].out)) continue;
        tp_set_copy(&m->target, &members[i].out);
        m->dirty |= DIRTY_TARGET;
    }
    cg->target_epoch = cg->epoch;
    cg->target_ms = broker_now_ms(cg->group->broker);
    cg->is_target_dirty = true;
    arena_deinit(&a);
}
