/* Fetch sessions: a consumer names its partitions once; its later requests say only what has changed, and so do the
 * answers. One table for each listener.
 *
 *        a request looks at          woken: appended, start moved, deleted
 *   ready ────────────────▶ silent ──────▶ idle ──────────────────────────────▶ ready (at the end)
 *     ▲                       │
 *     └── data, an error ─────┘  data: to the end of the list
 *
 * S1  A request costs what is ready, not what the session holds: an idle partition has a wait registered in the broker,
 *     across requests, which puts it back.
 * S2  Served from the front; what gave data goes to the end. None starves behind a busy one.
 * S3  An id is drawn at random, so that a client which comes back after a restart, or after its session's end, does not
 *     meet a stranger's session under it. The epoch counts the session's requests: one that was sent twice, or whose
 *     answer was lost, is noticed.
 * S4  Memory is bounded by LIMIT_FETCH_SESSIONS_MAX and LIMIT_FETCH_SESSION_PARTITIONS_MAX (of all sessions together).
 *     When the slots are taken a new one gets that of a session that was idle for LIMIT_FETCH_SESSION_IDLE_NS, else of
 *     the smallest that is that old and smaller than itself, else none: declining is legal, clients then send all their
 *     partitions each time.
 * S5  One request at a time works on a session; a second one has the first answered. */
#include "door/kafka/fetch_session.h"

#include <stdlib.h>

static struct bytes id_key(const int32_t *id)
{
    return bytes_of(id, sizeof *id);
}

void fetch_sessions_init(struct fetch_sessions *ss, const struct sys *sys)
{
    *ss = (struct fetch_sessions){.loop = sys->loop, .rng = sys->rng};
    map_init(&ss->by_id);
    list_init(&ss->by_use);
}

void fetch_sessions_deinit(struct fetch_sessions *ss)
{
    for (struct list *n; (n = list_first(&ss->by_use)) != NULL;)
        fetch_session_end(CONTAINER_OF(n, struct fetch_session, link));
    check(ss->n_parts == 0);
    map_deinit(&ss->by_id);
}

/* ---- partitions ---- */
void fetch_part_ready(struct fetch_part *p)
{
    if (!list_is_linked(&p->link)) list_push_back(&p->set->ready, &p->link);
}

static void part_wake(struct read_wait *w)
{
    struct fetch_part *p = CONTAINER_OF(w, struct fetch_part, wait);

    fetch_part_ready(p);
    if (p->set->fetch != NULL) fetch_woken(p->set->fetch);
}

static void part_set(struct fetch_part *p, const struct kafka_fetch_request_partition *in)
{
    p->offset = in->fetch_offset;
    p->max_bytes = in->max_bytes;
    p->leader_epoch = in->current_leader_epoch;
}

void fetch_part_init(struct fetch_part *p, struct fetch_set *set, struct fetch_topic *t,
                     const struct kafka_fetch_request_partition *in)
{
    *p = (struct fetch_part){.wait.wake = part_wake,
                             .set = set,
                             .topic = t,
                             .index = in->index,
                             .must_say = true,
                             .said_high = -1,
                             .said_stable = -1,
                             .said_start = -1,
                             .n_aborted = -1};
    part_set(p, in);
    set->n_parts++;
    list_push_back(&set->ready, &p->link);
}

struct part_key {
    const struct fetch_topic *topic;
    int64_t index; /* as wide as the pointer: no padding */
};
_Static_assert(sizeof(struct part_key) == sizeof(void *) + 8, "hashed as bytes");

static struct fetch_topic *topic_of(struct fetch_session *s, struct bytes key, bool may_make)
{
    struct fetch_topic *t = map_get(&s->topics, key);

    if (t != NULL || !may_make) return t;
    t = calloc(1, sizeof *t + key.len);
    check(t != NULL);
    if (s->set.is_by_id) {
        memcpy(t->id, key.ptr, sizeof t->id);
    } else {
        if (key.len > 0) memcpy(t + 1, key.ptr, key.len);
        t->name = bytes_of(t + 1, key.len);
    }
    (void)map_put(&s->topics, key, t);
    return t;
}

static void part_drop(struct fetch_session *s, struct fetch_part *p)
{
    struct fetch_topic *t = p->topic;
    struct part_key key = {t, p->index};

    read_wait_cancel(&p->wait);
    list_remove(&p->link);
    (void)map_remove(&s->parts, bytes_of(&key, sizeof key));
    free(p->aborted);
    free(p);
    s->set.n_parts--;
    s->sessions->n_parts--;
    if (--t->n_parts > 0) return;
    (void)map_remove(&s->topics, s->set.is_by_id ? bytes_of(t->id, sizeof t->id) : t->name);
    free(t);
}

static bool part_put(struct fetch_session *s, struct bytes topic, const struct kafka_fetch_request_partition *in)
{
    struct part_key key = {topic_of(s, topic, true), in->index};
    struct fetch_part *p = map_get(&s->parts, bytes_of(&key, sizeof key));

    if (p != NULL) {
        part_set(p, in);
        fetch_part_ready(p);
        return true;
    }
    if (s->sessions->n_parts >= LIMIT_FETCH_SESSION_PARTITIONS_MAX) return false;
    p = malloc(sizeof *p);
    check(p != NULL);
    fetch_part_init(p, &s->set, map_get(&s->topics, topic), in);
    p->topic->n_parts++;
    s->sessions->n_parts++;
    (void)map_put(&s->parts, bytes_of(&key, sizeof key), p);
    return true;
}

bool fetch_session_update(struct fetch_session *s, const struct kafka_fetch_request *in)
{
    bool is_committed = in->isolation_level == 1;
    uint32_t pos = 0;

    for (int32_t i = 0; i < in->topics.n; i++) {
        const struct kafka_fetch_request_topic *t = &in->topics.at[i];

        for (int32_t j = 0; j < t->partitions.n; j++)
            if (!part_put(s, s->set.is_by_id ? bytes_of(t->topic_id, 16) : t->name, &t->partitions.at[j])) return false;
    }
    for (int32_t i = 0; i < in->forgotten_topics.n; i++) {
        const struct kafka_fetch_request_forgotten_topic *t = &in->forgotten_topics.at[i];

        for (int32_t j = 0; j < t->partitions.n; j++) {
            struct fetch_topic *topic = topic_of(s, s->set.is_by_id ? bytes_of(t->topic_id, 16) : t->name, false);
            struct part_key key = {topic, t->partitions.at[j]};
            struct fetch_part *p = topic ? map_get(&s->parts, bytes_of(&key, sizeof key)) : NULL;

            if (p != NULL) part_drop(s, p);
        }
    }
    if (is_committed != s->set.is_committed) { /* Another end of the log counts now. */
        for (struct map_entry *m; (m = map_next(&s->parts, &pos)) != NULL;)
            fetch_part_ready(m->value);
    }
    s->set.is_committed = is_committed;
    return true;
}

/* ---- sessions ---- */
void fetch_session_end(struct fetch_session *s)
{
    struct fetch_sessions *ss = s->sessions;
    uint32_t pos = 0;

    check(s->set.fetch == NULL);
    for (struct map_entry *m; (m = map_next(&s->parts, &pos)) != NULL;)
        part_drop(s, m->value);
    pos = 0;
    for (struct map_entry *m; (m = map_next(&s->topics, &pos)) != NULL;) /* made for a partition that had no room */
        free(m->value);
    map_deinit(&s->parts);
    map_deinit(&s->topics);
    list_remove(&s->link);
    (void)map_remove(&ss->by_id, id_key(&s->id));
    free(s);
}

struct fetch_session *fetch_session_find(struct fetch_sessions *ss, int32_t id)
{
    return map_get(&ss->by_id, id_key(&id));
}

void fetch_session_used(struct fetch_session *s)
{
    s->used_ns = s->sessions->loop->now_ns(s->sessions->loop);
    list_remove(&s->link);
    list_push_back(&s->sessions->by_use, &s->link);
}

/* S4. A session that a request works on keeps its slot. */
static bool make_room(struct fetch_sessions *ss, int32_t n_parts)
{
    uint64_t now_ns = ss->loop->now_ns(ss->loop);
    struct fetch_session *victim = NULL;

    if (map_count(&ss->by_id) < LIMIT_FETCH_SESSIONS_MAX) return true;
    for (struct list *n = ss->by_use.next; n != &ss->by_use; n = n->next) {
        struct fetch_session *s = CONTAINER_OF(n, struct fetch_session, link);

        if (s->set.fetch != NULL) continue;
        if (now_ns - s->used_ns >= LIMIT_FETCH_SESSION_IDLE_NS) {
            victim = s;
            break;
        }
        if (now_ns - s->made_ns < LIMIT_FETCH_SESSION_IDLE_NS || s->set.n_parts >= n_parts) continue;
        if (victim == NULL || s->set.n_parts < victim->set.n_parts) victim = s;
    }
    if (victim == NULL) return false;
    ss->evicted_total++;
    fetch_session_end(victim);
    return true;
}

struct fetch_session *fetch_session_make(struct fetch_sessions *ss, const struct kafka_fetch_request *in, bool is_by_id)
{
    struct fetch_session *s;
    int32_t n_parts = 0;

    for (int32_t i = 0; i < in->topics.n; i++)
        n_parts += in->topics.at[i].partitions.n;
    if (n_parts == 0 || !make_room(ss, n_parts)) return NULL;
    s = calloc(1, sizeof *s);
    check(s != NULL);
    s->sessions = ss;
    s->epoch = 1;
    s->made_ns = s->used_ns = ss->loop->now_ns(ss->loop);
    s->set.is_by_id = is_by_id;
    s->set.is_committed = in->isolation_level == 1;
    list_init(&s->set.ready);
    map_init(&s->topics);
    map_init(&s->parts);
    do { /* S3 */
        s->id = (int32_t)(ss->rng->next(ss->rng) & INT32_MAX);
    } while (s->id == 0 || fetch_session_find(ss, s->id) != NULL);
    (void)map_put(&ss->by_id, id_key(&s->id), s);
    list_push_back(&ss->by_use, &s->link);
    if (fetch_session_update(s, in)) return s;
    fetch_session_end(s);
    return NULL;
}
