/* A port in memory. One struct holds everything; a topic partition is an array of batches, a unit is its offsets and a
 * map of state.
 *
 * S1  Nothing is delivered from inside a call: wakes and answers wait for sim_port_pump().
 * S2  A commit is checked when it is made and applied when it is pumped (or kept by a restart): until then no
 *     reader sees a byte.
 * S3  read() hands out a copy, so that a sanitizer catches every use after release().
 * S4  Handles of units and topics stay valid memory until sim_port_destroy, so that a computing side that "died"
 *     may still tidy up.
 * Why no clock and no thread: a test decides when things happen, by pumping. */
#include "port/sim_port.h"

#include <stdlib.h>

#include "base/batch.h"
#include "base/limits.h"
#include "base/map.h"

#define SNAPSHOT_AFTER_COMMITS 8 /* asks for a snapshot this often, so that every test of some length meets one */

struct sim_batch {
    uint8_t *ptr;
    size_t len;
    int64_t base, last;
};
struct sim_partition {
    struct sim_batch *batches;
    size_t n, cap;
    int64_t end;
};
struct sim_topic {
    char *name;
    uint64_t id;
    bool deleted;
    int32_t n_partitions;
    struct sim_partition *partitions;
};
struct sim_watch {
    uint64_t topic;
    void (*wake)(void *arg);
    void *arg;
    bool due, removed;
};
struct sim_state { /* what a unit durably is */
    char *name;
    struct port_offset *offsets;
    size_t n_offsets;
    struct map entries; /* value: struct buf, owned */
    unsigned since_snapshot;
};
/* A deep copy of a struct port_commit. */
struct sim_commit {
    struct port_commit content;
    struct arena arena;
    port_commit_fn done;
    void *arg;
    enum err_code fail;
};
struct port_unit {
    struct sim_state *state;
    struct sim_commit *pending;
    bool closed, dead; /* dead: a fatal answer; only unit_close is allowed */
};
struct sim_definition {
    char *kind;
    struct buf name, text;
};
struct sim_port {
    struct port port;
    struct sim_topic **topics;
    size_t n_topics;
    struct sim_watch **watches;
    size_t n_watches;
    struct sim_state **states;
    size_t n_states;
    struct port_unit **units;
    size_t n_units;
    struct sim_definition **definitions;
    size_t n_definitions;
    uint64_t next_id;
    unsigned fail_in;
    enum err_code fail_with;
    bool held;
    unsigned open_reads;
};

static struct sim_port *sim_of(struct port *p)
{
    return CONTAINER_OF(p, struct sim_port, port);
}

static void *grow(void *list, size_t n, size_t element)
{
    void *r = realloc(list, (n + 1) * element);
    check(r != NULL);
    return r;
}

static void *zalloc(size_t size)
{
    void *r = calloc(1, size);
    check(r != NULL);
    return r;
}

static char *text_dup(struct bytes b)
{
    char *s = zalloc(b.len + 1);
    if (b.len) memcpy(s, b.ptr, b.len);
    return s;
}

/* ---- topics ---- */

static struct sim_topic *topic_by_name(struct sim_port *s, struct bytes name)
{
    for (size_t i = 0; i < s->n_topics; i++)
        if (!s->topics[i]->deleted && bytes_equal_str(name, s->topics[i]->name)) return s->topics[i];
    return NULL;
}

static struct sim_topic *topic_by_id(struct sim_port *s, uint64_t id)
{
    for (size_t i = 0; i < s->n_topics; i++)
        if (s->topics[i]->id == id) return s->topics[i]->deleted ? NULL : s->topics[i];
    return NULL;
}

static struct sim_partition *partition_find(struct sim_port *s, uint64_t topic, int32_t partition, enum err_code *rc,
                                            struct err *e)
{
    struct sim_topic *t = topic_by_id(s, topic);
    if (t == NULL) {
        *rc = err_set(e, ERR_NOT_FOUND, "topic %llu is gone", (unsigned long long)topic);
        return NULL;
    }
    if (partition < 0 || partition >= t->n_partitions) {
        *rc = err_set(e, ERR_NOT_FOUND, "topic %s has no partition %d", t->name, (int)partition);
        return NULL;
    }
    *rc = ERR_NONE;
    return &t->partitions[partition];
}

static bool name_is_valid(struct bytes name)
{
    if (name.len == 0 || name.len > LIMIT_TOPIC_NAME_LEN_MAX) return false;
    if (bytes_equal_str(name, ".") || bytes_equal_str(name, "..")) return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!ok && c != '.' && c != '_' && c != '-') return false;
    }
    return true;
}

static enum err_code sim_topic_find(struct port *p, struct bytes name, struct port_topic *out, struct err *e)
{
    struct sim_topic *t = topic_by_name(sim_of(p), name);
    if (t == NULL) return err_set(e, ERR_NOT_FOUND, "there is no topic %.*s", BYTES_ARG(name));
    *out = (struct port_topic){.id = t->id, .n_partitions = t->n_partitions};
    return ERR_NONE;
}

static enum err_code sim_topic_create(struct port *p, struct bytes name, int32_t n_partitions, struct port_topic *out,
                                      struct err *e)
{
    struct sim_port *s = sim_of(p);
    if (!name_is_valid(name)) return err_set(e, ERR_INVALID, "bad topic name \"%.*s\"", BYTES_ARG(name));
    if (n_partitions < 1 || n_partitions > LIMIT_PARTITIONS_PER_TOPIC_MAX)
        return err_set(e, ERR_INVALID, "%d partitions", (int)n_partitions);
    if (topic_by_name(s, name)) return err_set(e, ERR_EXISTS, "topic %.*s exists", BYTES_ARG(name));

    struct sim_topic *t = zalloc(sizeof *t);
    t->name = text_dup(name);
    t->id = s->next_id++;
    t->n_partitions = n_partitions;
    t->partitions = zalloc((size_t)n_partitions * sizeof *t->partitions);
    s->topics = grow(s->topics, s->n_topics, sizeof(struct sim_topic *));
    s->topics[s->n_topics++] = t;
    *out = (struct port_topic){.id = t->id, .n_partitions = n_partitions};
    return ERR_NONE;
}

static void watches_mark(struct sim_port *s, uint64_t topic)
{
    for (size_t i = 0; i < s->n_watches; i++)
        if (s->watches[i]->topic == topic) s->watches[i]->due = true;
}

static enum err_code sim_topic_delete(struct port *p, struct bytes name, struct err *e)
{
    struct sim_port *s = sim_of(p);
    struct sim_topic *t = topic_by_name(s, name);
    if (t == NULL) return err_set(e, ERR_NOT_FOUND, "there is no topic %.*s", BYTES_ARG(name));
    t->deleted = true;
    watches_mark(s, t->id);
    return ERR_NONE;
}

static enum err_code sim_range(struct port *p, uint64_t topic, int32_t partition, int64_t *start, int64_t *end,
                               struct err *e)
{
    enum err_code rc;
    struct sim_partition *part = partition_find(sim_of(p), topic, partition, &rc, e);
    if (part == NULL) return rc;
    *start = 0;
    *end = part->end;
    return ERR_NONE;
}

/* ---- source ---- */

static enum err_code sim_read(struct port *p, uint64_t topic, int32_t partition, int64_t offset, size_t max_bytes,
                              struct port_read *out, struct err *e)
{
    enum err_code rc;
    struct sim_port *s = sim_of(p);
    struct sim_partition *part = partition_find(s, topic, partition, &rc, e);
    if (part == NULL) return rc;
    if (offset < 0 || offset > part->end)
        return err_set(e, ERR_RANGE, "offset %lld is outside of 0..%lld", (long long)offset, (long long)part->end);

    size_t from = 0, total = 0, to;
    for (size_t lo = 0, hi = part->n; lo < hi;) { /* the first batch that ends at or after `offset` */
        size_t mid = (lo + hi) / 2;
        if (part->batches[mid].last < offset)
            lo = mid + 1;
        else
            hi = mid;
        from = lo;
    }
    for (to = from; to < part->n; to++) {
        if (to > from && total + part->batches[to].len > max_bytes) break;
        total += part->batches[to].len;
    }
    *out = (struct port_read){.batches = bytes_of("", 0), .next_offset = offset, .end_offset = part->end};
    uint8_t *copy = zalloc(total + 1);
    for (size_t i = from, at = 0; i < to; at += part->batches[i].len, i++)
        memcpy(copy + at, part->batches[i].ptr, part->batches[i].len);
    if (to > from) {
        out->batches = bytes_of(copy, total);
        out->next_offset = part->batches[to - 1].last + 1;
    }
    out->hold = copy;
    s->open_reads++;
    return ERR_NONE;
}

static void sim_release(struct port *p, struct port_read *r)
{
    struct sim_port *s = sim_of(p);
    check(s->open_reads > 0 && r->hold != NULL);
    s->open_reads--;
    free(r->hold);
    r->hold = NULL;
}

static enum err_code sim_watch(struct port *p, uint64_t topic, void (*wake)(void *arg), void *arg, struct err *e)
{
    struct sim_port *s = sim_of(p);
    if (topic_by_id(s, topic) == NULL)
        return err_set(e, ERR_NOT_FOUND, "topic %llu is gone", (unsigned long long)topic);
    for (size_t i = 0; i < s->n_watches; i++)
        if (s->watches[i]->topic == topic && s->watches[i]->arg == arg && !s->watches[i]->removed)
            return err_set(e, ERR_EXISTS, "watched already");
    struct sim_watch *w = zalloc(sizeof *w);
    *w = (struct sim_watch){.topic = topic, .wake = wake, .arg = arg};
    s->watches = grow(s->watches, s->n_watches, sizeof(struct sim_watch *));
    s->watches[s->n_watches++] = w;
    return ERR_NONE;
}

/* Only marks: a pump may be walking the list right now, and sweeps at its end. */
static void sim_unwatch(struct port *p, uint64_t topic, void *arg)
{
    struct sim_port *s = sim_of(p);
    for (size_t i = 0; i < s->n_watches; i++)
        if (s->watches[i]->topic == topic && s->watches[i]->arg == arg) s->watches[i]->removed = true;
}

static void watches_sweep(struct sim_port *s)
{
    size_t keep = 0;
    for (size_t i = 0; i < s->n_watches; i++) {
        if (s->watches[i]->removed)
            free(s->watches[i]);
        else
            s->watches[keep++] = s->watches[i];
    }
    s->n_watches = keep;
}

/* ---- appends and commits ---- */

static enum err_code batch_validate(struct bytes batch, struct err *e)
{
    struct batch_view view;
    enum err_code rc = batch_view_parse(&view, batch, e);
    if (rc != ERR_NONE) return err_set(e, ERR_CORRUPT, "an output is no record batch");
    if (view.bytes.len != batch.len) return err_set(e, ERR_CORRUPT, "an output must be exactly one record batch");
    return batch_check_crc(&view, e);
}

static void partition_append(struct sim_partition *part, struct bytes batch)
{
    struct batch_view view;
    enum err_code rc = batch_view_parse(&view, batch, NULL);
    check(rc == ERR_NONE);
    struct sim_batch b = {.ptr = zalloc(batch.len), .len = batch.len, .base = part->end};
    memcpy(b.ptr, batch.ptr, batch.len);
    batch_stamp(b.ptr, part->end, 0);
    b.last = part->end + view.last_offset_delta;
    if (part->n == part->cap) {
        part->cap = part->cap ? part->cap * 2 : 8;
        part->batches = realloc(part->batches, part->cap * sizeof *part->batches);
        check(part->batches != NULL);
    }
    part->batches[part->n++] = b;
    part->end = b.last + 1;
}

static enum err_code sim_append(struct port *p, uint64_t topic, int32_t partition, struct bytes batch, struct err *e)
{
    enum err_code rc;
    struct sim_port *s = sim_of(p);
    struct sim_partition *part = partition_find(s, topic, partition, &rc, e);
    if (part == NULL) return rc;
    rc = batch_validate(batch, e);
    if (rc != ERR_NONE) return rc;
    partition_append(part, batch);
    watches_mark(s, topic);
    return ERR_NONE;
}

static struct sim_state *state_find(struct sim_port *s, struct bytes name)
{
    for (size_t i = 0; i < s->n_states; i++)
        if (bytes_equal_str(name, s->states[i]->name)) return s->states[i];
    return NULL;
}

static void state_clear(struct sim_state *st)
{
    uint32_t pos = 0;
    struct map_entry *m;
    while ((m = map_next(&st->entries, &pos)) != NULL) {
        buf_deinit(m->value);
        free(m->value);
    }
    map_deinit(&st->entries);
    map_init(&st->entries);
    st->n_offsets = 0;
}

static void state_put(struct sim_state *st, const struct port_state_change *c)
{
    struct buf *b = NULL;
    if (!bytes_is_null(c->value)) {
        b = zalloc(sizeof *b);
        buf_init(b, 0);
        buf_put_bytes(b, c->value);
    }
    struct buf *old = b ? map_put(&st->entries, c->key, b) : map_remove(&st->entries, c->key);
    if (old) {
        buf_deinit(old);
        free(old);
    }
}

static void state_put_offset(struct sim_state *st, const struct port_offset *o)
{
    for (size_t i = 0; i < st->n_offsets; i++)
        if (st->offsets[i].topic == o->topic && st->offsets[i].partition == o->partition) {
            st->offsets[i].next = o->next;
            return;
        }
    st->offsets = grow(st->offsets, st->n_offsets, sizeof *st->offsets);
    st->offsets[st->n_offsets++] = *o;
}

static void commit_apply(struct sim_port *s, struct sim_state *st, const struct port_commit *c)
{
    if (c->is_snapshot) state_clear(st);
    st->since_snapshot = c->is_snapshot ? 0 : st->since_snapshot + 1;
    for (size_t i = 0; i < c->n_offsets; i++)
        state_put_offset(st, &c->offsets[i]);
    for (size_t i = 0; i < c->n_changes; i++)
        state_put(st, &c->changes[i]);
    for (size_t i = 0; i < c->n_outputs; i++) {
        enum err_code rc;
        struct sim_partition *part = partition_find(s, c->outputs[i].topic, c->outputs[i].partition, &rc, NULL);
        if (part == NULL) continue; /* deleted since the commit was made */
        partition_append(part, c->outputs[i].batch);
        watches_mark(s, c->outputs[i].topic);
    }
}

static void pending_free(struct port_unit *u)
{
    if (u->pending == NULL) return;
    arena_deinit(&u->pending->arena);
    free(u->pending);
    u->pending = NULL;
}

static struct sim_commit *commit_copy(const struct port_commit *c)
{
    struct sim_commit *k = zalloc(sizeof *k);
    arena_init(&k->arena, 0);
    struct port_offset *offsets = arena_array(&k->arena, c->n_offsets + 1, sizeof *offsets);
    struct port_state_change *changes = arena_array(&k->arena, c->n_changes + 1, sizeof *changes);
    struct port_output *outputs = arena_array(&k->arena, c->n_outputs + 1, sizeof *outputs);
    for (size_t i = 0; i < c->n_offsets; i++)
        offsets[i] = c->offsets[i];
    for (size_t i = 0; i < c->n_changes; i++) {
        changes[i].key = arena_copy(&k->arena, c->changes[i].key);
        changes[i].value = arena_copy(&k->arena, c->changes[i].value);
    }
    for (size_t i = 0; i < c->n_outputs; i++) {
        outputs[i] = c->outputs[i];
        outputs[i].batch = arena_copy(&k->arena, c->outputs[i].batch);
    }
    k->content = *c;
    k->content.offsets = offsets;
    k->content.changes = changes;
    k->content.outputs = outputs;
    return k;
}

static enum err_code sim_commit(struct port *p, struct port_unit *u, const struct port_commit *c, port_commit_fn done,
                                void *arg, struct err *e)
{
    struct sim_port *s = sim_of(p);
    enum err_code rc;
    if (u->closed || u->dead) return err_set(e, ERR_FENCED, "unit %s has ended", u->state->name);
    if (u->pending) return err_set(e, ERR_BUSY, "a commit of unit %s is under way", u->state->name);
    for (size_t i = 0; i < c->n_outputs; i++) {
        if (partition_find(s, c->outputs[i].topic, c->outputs[i].partition, &rc, e) == NULL) return rc;
        rc = batch_validate(c->outputs[i].batch, e);
        if (rc != ERR_NONE) return rc;
    }
    struct sim_commit *k = commit_copy(c);
    k->done = done;
    k->arg = arg;
    if (s->fail_in > 0 && --s->fail_in == 0) k->fail = s->fail_with;
    u->pending = k;
    return ERR_NONE;
}

/* Newest key first: the port promises no order, and nobody may come to rely on one. */
static void state_restore(const struct sim_state *st, const struct port_restore *r)
{
    struct map_entry **all = zalloc((map_count(&st->entries) + 1) * sizeof(struct map_entry *));
    struct map_entry *m;
    uint32_t pos = 0, n = 0;
    while ((m = map_next(&st->entries, &pos)) != NULL)
        all[n++] = m;
    while (n > 0) {
        m = all[--n];
        r->state(r->arg, m->key, buf_bytes(m->value));
    }
    free(all);
}

static enum err_code sim_unit_open(struct port *p, struct bytes name, const struct port_restore *r,
                                   struct port_unit **out, struct err *e)
{
    struct sim_port *s = sim_of(p);
    struct sim_state *st = state_find(s, name);
    for (size_t i = 0; st && i < s->n_units; i++) {
        struct port_unit *u = s->units[i];
        if (u->state != st) continue;
        if (!u->closed) return err_set(e, ERR_BUSY, "unit %s is open already", st->name);
        /* A commit left under way by unit_close is decided now: it may not appear after the restore (P2). */
        if (u->pending && u->pending->fail == ERR_NONE && !s->held) commit_apply(s, st, &u->pending->content);
        pending_free(u);
    }
    if (st == NULL) {
        st = zalloc(sizeof *st);
        st->name = text_dup(name);
        map_init(&st->entries);
        s->states = grow(s->states, s->n_states, sizeof(struct sim_state *));
        s->states[s->n_states++] = st;
    }
    for (size_t i = 0; r && r->offset && i < st->n_offsets; i++)
        r->offset(r->arg, &st->offsets[i]);
    if (r && r->state) state_restore(st, r);

    struct port_unit *u = zalloc(sizeof *u);
    u->state = st;
    s->units = grow(s->units, s->n_units, sizeof(struct port_unit *));
    s->units[s->n_units++] = u;
    *out = u;
    return ERR_NONE;
}

static void sim_unit_close(struct port *p, struct port_unit *u)
{
    if (u == NULL) return;
    u->closed = true;
    if (u->pending) u->pending->done = NULL;
}

static enum err_code sim_unit_delete(struct port *p, struct bytes name, struct err *e)
{
    struct sim_port *s = sim_of(p);
    struct sim_state *st = state_find(s, name);
    if (st == NULL) return err_set(e, ERR_NOT_FOUND, "there is no unit %.*s", BYTES_ARG(name));
    for (size_t i = 0; i < s->n_units; i++)
        if (s->units[i]->state == st && !s->units[i]->closed) return err_set(e, ERR_BUSY, "unit %s is open", st->name);
    for (size_t i = 0; i < s->n_units; i++)
        if (s->units[i]->state == st) pending_free(s->units[i]);
    state_clear(st);
    st->since_snapshot = 0;
    st->name[0] = '\0'; /* no unit has an empty name: the slot is forgotten */
    return ERR_NONE;
}

/* ---- definitions ---- */

static struct sim_definition *definition_find(struct sim_port *s, const char *kind, struct bytes name, size_t *index)
{
    for (size_t i = 0; i < s->n_definitions; i++) {
        struct sim_definition *d = s->definitions[i];
        if (strcmp(d->kind, kind) != 0 || !bytes_equal(buf_bytes(&d->name), name)) continue;
        *index = i;
        return d;
    }
    return NULL;
}

static enum err_code sim_define(struct port *p, const char *kind, struct bytes name, struct bytes text, struct err *e)
{
    struct sim_port *s = sim_of(p);
    size_t index;
    struct sim_definition *d = definition_find(s, kind, name, &index);
    if (name.len == 0) return err_set(e, ERR_INVALID, "a definition needs a name");
    if (d == NULL) {
        d = zalloc(sizeof *d);
        d->kind = text_dup(bytes_str(kind));
        buf_init(&d->name, 0);
        buf_init(&d->text, 0);
        buf_put_bytes(&d->name, name);
        s->definitions = grow(s->definitions, s->n_definitions, sizeof(struct sim_definition *));
        s->definitions[s->n_definitions++] = d;
    }
    buf_clear(&d->text);
    buf_put_bytes(&d->text, text);
    return ERR_NONE;
}

static void definition_free(struct sim_definition *d)
{
    free(d->kind);
    buf_deinit(&d->name);
    buf_deinit(&d->text);
    free(d);
}

static enum err_code sim_undefine(struct port *p, const char *kind, struct bytes name, struct err *e)
{
    struct sim_port *s = sim_of(p);
    size_t index = 0;
    struct sim_definition *d = definition_find(s, kind, name, &index);
    if (d == NULL) return err_set(e, ERR_NOT_FOUND, "there is no %s %.*s", kind, BYTES_ARG(name));
    definition_free(d);
    s->n_definitions--;
    memmove(s->definitions + index, s->definitions + index + 1,
            (s->n_definitions - index) * sizeof(struct sim_definition *));
    return ERR_NONE;
}

static enum err_code sim_definitions(struct port *p, const char *kind, port_definition_fn fn, void *arg, struct err *e)
{
    struct sim_port *s = sim_of(p);
    for (size_t i = 0; i < s->n_definitions; i++) {
        struct sim_definition *d = s->definitions[i];
        if (strcmp(d->kind, kind) == 0 && !fn(arg, buf_bytes(&d->name), buf_bytes(&d->text))) break;
    }
    return ERR_NONE;
}

/* ---- the test's side ---- */

struct port *sim_port_create(void)
{
    struct sim_port *s = zalloc(sizeof *s);
    s->next_id = 1;
    s->port = (struct port){
        .topic_find = sim_topic_find,
        .topic_create = sim_topic_create,
        .topic_delete = sim_topic_delete,
        .range = sim_range,
        .read = sim_read,
        .release = sim_release,
        .watch = sim_watch,
        .unwatch = sim_unwatch,
        .unit_open = sim_unit_open,
        .commit = sim_commit,
        .unit_close = sim_unit_close,
        .unit_delete = sim_unit_delete,
        .append = sim_append,
        .define = sim_define,
        .undefine = sim_undefine,
        .definitions = sim_definitions,
    };
    return &s->port;
}

static void topic_free(struct sim_topic *t)
{
    for (int32_t k = 0; k < t->n_partitions; k++) {
        for (size_t j = 0; j < t->partitions[k].n; j++)
            free(t->partitions[k].batches[j].ptr);
        free(t->partitions[k].batches);
    }
    free(t->partitions);
    free(t->name);
    free(t);
}

void sim_port_destroy(struct port *p)
{
    if (p == NULL) return;
    struct sim_port *s = sim_of(p);
    check(s->open_reads == 0); /* every read was released once */
    for (size_t i = 0; i < s->n_units; i++) {
        pending_free(s->units[i]);
        free(s->units[i]);
    }
    for (size_t i = 0; i < s->n_states; i++) {
        state_clear(s->states[i]);
        map_deinit(&s->states[i]->entries);
        free(s->states[i]->offsets);
        free(s->states[i]->name);
        free(s->states[i]);
    }
    for (size_t i = 0; i < s->n_topics; i++)
        topic_free(s->topics[i]);
    for (size_t i = 0; i < s->n_watches; i++)
        free(s->watches[i]);
    for (size_t i = 0; i < s->n_definitions; i++)
        definition_free(s->definitions[i]);
    free(s->units);
    free(s->states);
    free(s->topics);
    free(s->watches);
    free(s->definitions);
    free(s);
}

enum err_code sim_port_put(struct port *p, const char *topic, int32_t partition, int64_t timestamp_ms, struct bytes key,
                           struct bytes value, struct err *e)
{
    struct port_topic t;
    enum err_code rc = p->topic_find(p, bytes_str(topic), &t, e);
    if (rc != ERR_NONE) return rc;
    struct buf out;
    struct batch_builder b;
    buf_init(&out, 0);
    batch_begin(&b, &out, CODEC_NONE);
    batch_add(&b, timestamp_ms, key, value, NULL, 0);
    rc = batch_finish(&b, e);
    if (rc == ERR_NONE) rc = p->append(p, t.id, partition, buf_bytes(&out), e);
    buf_deinit(&out);
    return rc;
}

/* Answers the pending commit of one unit. The callback may commit again at once: that one waits for the next pump. */
static void unit_answer(struct sim_port *s, struct port_unit *u)
{
    struct sim_commit *k = u->pending;
    struct err e = {0};
    enum err_code rc = k->fail;
    u->pending = NULL;
    if (rc == ERR_NONE)
        commit_apply(s, u->state, &k->content);
    else
        err_set(&e, rc, "simulated failure of a commit");
    if (rc == ERR_STOPPED || rc == ERR_IO || rc == ERR_FENCED) u->dead = true;
    bool want_snapshot = rc == ERR_NONE && u->state->since_snapshot >= SNAPSHOT_AFTER_COMMITS;
    if (k->done && !u->closed) k->done(k->arg, rc, want_snapshot, rc == ERR_NONE ? NULL : &e);
    arena_deinit(&k->arena);
    free(k);
}

bool sim_port_pump(struct port *p)
{
    struct sim_port *s = sim_of(p);
    bool any = false;
    size_t n_units = s->n_units, n_watches = s->n_watches;
    for (size_t i = 0; i < n_units && !s->held; i++) {
        if (s->units[i]->pending == NULL) continue;
        unit_answer(s, s->units[i]);
        any = true;
    }
    for (size_t i = 0; i < n_watches; i++) {
        struct sim_watch *w = s->watches[i];
        if (!w->due || w->removed) continue;
        w->due = false;
        w->wake(w->arg);
        any = true;
    }
    watches_sweep(s);
    return any;
}

void sim_port_restart(struct port *p, bool keep_pending)
{
    struct sim_port *s = sim_of(p);
    for (size_t i = 0; i < s->n_units; i++) {
        struct port_unit *u = s->units[i];
        if (u->pending && keep_pending && u->pending->fail == ERR_NONE) commit_apply(s, u->state, &u->pending->content);
        pending_free(u);
        u->closed = true;
    }
    for (size_t i = 0; i < s->n_watches; i++)
        s->watches[i]->removed = true;
    watches_sweep(s);
}

void sim_port_fail_commit(struct port *p, unsigned n, enum err_code rc)
{
    check(rc != ERR_NONE);
    sim_of(p)->fail_in = n;
    sim_of(p)->fail_with = rc;
}

void sim_port_hold_commits(struct port *p, bool hold)
{
    sim_of(p)->held = hold;
}
