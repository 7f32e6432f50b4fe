/* broker_port.c: topics, reading, watching, appends and definitions of the port. Units: port_unit.c, port_commit.c.
 *
 * N1  A handle's id is made of the topic's uuid: it means the same topic after a restart, and never another one.
 * N2  A handle keeps the topic's logs open, so a read on the computing thread never races a deletion; it finds
 *     is_deleted and says ERR_NOT_FOUND. A handle of a deleted topic is given back when nothing of this port uses it.
 * N3  Only reads touch a partition from the computing thread; everything else runs on the shard (port_call). */
#include "broker/port_int.h"

#include <stdlib.h>

void port_call(struct broker_port *bp, void (*fn)(void *arg), void *arg)
{
    if (bp->home == bp->shard)
        fn(arg);
    else
        bp->shard->call(bp->shard, fn, arg);
}

/* ---- handles ---- */
static void unref_run(void *arg)
{
    topic_unref(arg);
}

static struct bytes id_key(const uint64_t *id)
{
    return bytes_of(id, sizeof(*id));
}

static void handle_drop(struct broker_port *bp, struct port_handle *h)
{
    (void)map_remove(&bp->handles, id_key(&h->id));
    port_call(bp, unref_run, h->topic);
    free(h);
}

/* N2. */
static void handle_drop_dead(struct broker_port *bp, struct port_handle *h)
{
    if (!h->topic->is_deleted || h->n_watches > 0) return;
    for (struct list *n = bp->units.next; n != &bp->units; n = n->next) {
        if (CONTAINER_OF(n, struct port_unit, link)->op != NULL) return;
    }
    handle_drop(bp, h);
}

/* Takes over the reference that was taken on the shard. */
static struct port_handle *handle_make(struct broker_port *bp, struct topic *t)
{
    uint64_t id = topic_handle_id(t);
    struct port_handle *h = map_get(&bp->handles, id_key(&id));

    if (h != NULL) {
        port_call(bp, unref_run, t);
        return h;
    }
    h = calloc(1, sizeof(*h));
    check(h != NULL);
    h->id = id;
    h->topic = t;
    (void)map_put(&bp->handles, id_key(&id), h);
    return h;
}

struct topic_call {
    struct broker *broker;
    uint64_t id;
    struct bytes name;
    int32_t n_partitions;
    struct topic *topic; /* out; referred to */
    enum err_code rc;
    struct err *e;
};

static void find_id_run(void *arg)
{
    struct topic_call *c = arg;
    uint32_t pos = 0;
    for (struct topic *t; (t = topic_next(c->broker, &pos)) != NULL;) {
        if (topic_handle_id(t) != c->id) continue;
        topic_ref(t);
        c->topic = t;
        return;
    }
}

struct port_handle *port_handle_find(struct broker_port *bp, uint64_t id)
{
    struct port_handle *h = map_get(&bp->handles, id_key(&id));

    if (h == NULL) { /* an id from before a restart */
        struct topic_call c = {.broker = bp->broker, .id = id};
        port_call(bp, find_id_run, &c);
        return c.topic ? handle_make(bp, c.topic) : NULL;
    }
    if (!h->topic->is_deleted) return h;
    handle_drop_dead(bp, h);
    return NULL;
}

static struct partition *partition_find(struct broker_port *bp, uint64_t topic, int32_t partition, struct err *e)
{
    struct port_handle *h = port_handle_find(bp, topic);
    struct partition *p = h ? topic_partition(h->topic, partition) : NULL;
    if (p == NULL) (void)err_set(e, ERR_NOT_FOUND, "no such topic or partition (any more)");
    return p;
}

/* ---- topics ---- */
static void find_run(void *arg)
{
    struct topic_call *c = arg;
    c->topic = topic_find(c->broker, c->name);
    if (c->topic)
        topic_ref(c->topic);
    else
        c->rc = err_set(c->e, ERR_NOT_FOUND, "no topic %.*s", BYTES_ARG(c->name));
}

static void create_run(void *arg)
{
    struct topic_call *c = arg;
    c->rc = topic_create(c->broker, c->name, c->n_partitions, NULL, &c->topic, c->e);
    if (c->rc == ERR_NONE) topic_ref(c->topic);
}

static void delete_run(void *arg)
{
    struct topic_call *c = arg;
    struct topic *t = topic_find(c->broker, c->name);
    if (t == NULL)
        c->rc = err_set(c->e, ERR_NOT_FOUND, "no topic %.*s", BYTES_ARG(c->name));
    else {
        c->id = topic_handle_id(t);
        c->rc = topic_delete(c->broker, t, c->e);
    }
}

static enum err_code find_or_create(struct port *p, void (*run)(void *arg), struct bytes name, int32_t n,
                                    struct port_topic *out, struct err *e)
{
    struct broker_port *bp = port_of(p);
    struct topic_call c = {.broker = bp->broker, .name = name, .n_partitions = n, .e = e};

    port_call(bp, run, &c);
    if (c.rc != ERR_NONE) return c.rc;
    struct port_handle *h = handle_make(bp, c.topic);
    *out = (struct port_topic){.id = h->id, .n_partitions = topic_partition_count(h->topic)};
    return ERR_NONE;
}

static enum err_code port_topic_find(struct port *p, struct bytes name, struct port_topic *out, struct err *e)
{
    return find_or_create(p, find_run, name, 0, out, e);
}

static enum err_code port_topic_create(struct port *p, struct bytes name, int32_t n, struct port_topic *out,
                                       struct err *e)
{
    return find_or_create(p, create_run, name, n, out, e);
}

static enum err_code port_topic_delete(struct port *p, struct bytes name, struct err *e)
{
    struct broker_port *bp = port_of(p);
    struct topic_call c = {.broker = bp->broker, .name = name, .e = e};

    port_call(bp, delete_run, &c);
    struct port_handle *h = c.rc == ERR_NONE ? map_get(&bp->handles, id_key(&c.id)) : NULL;
    if (h) handle_drop_dead(bp, h);
    return c.rc;
}

/* ---- reading (N3) ---- */
static enum err_code port_range(struct port *p, uint64_t topic, int32_t partition, int64_t *start, int64_t *end,
                                struct err *e)
{
    struct partition *part = partition_find(port_of(p), topic, partition, e);
    if (part == NULL) return ERR_NOT_FOUND;
    *start = partition_log_start(part);
    *end = partition_last_stable(part);
    return ERR_NONE;
}

/* Clients of a door check what they get; nobody else would notice a flipped bit in what a flow reads. */
static enum err_code check_batches(struct bytes left, struct err *e)
{
    while (left.len > 0) {
        struct batch_view v;
        enum err_code rc = batch_view_parse(&v, left, e);
        if (rc == ERR_NONE) rc = batch_check_crc(&v, e);
        if (rc != ERR_NONE) return rc;
        left = bytes_slice(left, v.bytes.len, left.len - v.bytes.len);
    }
    return ERR_NONE;
}

static enum err_code port_read(struct port *p, uint64_t topic, int32_t partition, int64_t offset, size_t max_bytes,
                               struct port_read *out, struct err *e)
{
    struct partition *part = partition_find(port_of(p), topic, partition, e);
    struct log_slice s = {0};

    if (part == NULL) return ERR_NOT_FOUND;
    int64_t end = partition_last_stable(part);
    enum err_code rc = partition_read_committed(part, offset, max_bytes, &s, e);
    if (rc == ERR_NONE) rc = check_batches(s.bytes, e);
    if (rc != ERR_NONE) {
        log_slice_release(&s);
        return rc;
    }
    *out = (struct port_read){.batches = s.bytes, .next_offset = s.next_offset, .end_offset = end, .hold = s.segment};
    return ERR_NONE;
}

static void port_release(struct port *p, struct port_read *r)
{
    struct log_slice s = {.bytes = r->batches, .segment = r->hold};
    log_slice_release(&s);
    r->batches = bytes_str("");
    r->hold = NULL;
}

/* ---- watching ---- */
static void watch_moved(struct topic_watch *t)
{
    struct port_watch *w = CONTAINER_OF(t, struct port_watch, moved);
    w->port->home->post(w->port->home, &w->wake_task);
}

static void watch_wake(struct task *t)
{
    struct port_watch *w = CONTAINER_OF(t, struct port_watch, wake_task);
    if (w->is_removed)
        free(w);
    else
        w->wake(w->arg);
}

static void watch_run(void *arg)
{
    struct port_watch *w = arg;
    struct topic *t = w->handle->topic;
    list_push_back(&t->watches, &w->moved.link);
}

static void unwatch_run(void *arg)
{
    struct port_watch *w = arg;
    list_remove(&w->moved.link);
}

static enum err_code port_watch(struct port *p, uint64_t topic, void (*wake)(void *arg), void *arg, struct err *e)
{
    struct broker_port *bp = port_of(p);
    struct port_handle *h = port_handle_find(bp, topic);

    if (h == NULL) return err_set(e, ERR_NOT_FOUND, "no such topic (any more)");
    struct port_watch *w = calloc(1, sizeof(*w));
    check(w != NULL);
    w->moved.moved = watch_moved;
    w->wake_task.run = watch_wake;
    w->port = bp;
    w->handle = h;
    w->wake = wake;
    w->arg = arg;
    h->n_watches++;
    list_push_back(&bp->watches, &w->link);
    port_call(bp, watch_run, w);
    return ERR_NONE;
}

static void watch_remove(struct port_watch *w)
{
    struct port_handle *h = w->handle;
    struct broker_port *bp = w->port;

    port_call(bp, unwatch_run, w);
    list_remove(&w->link);
    h->n_watches--;
    w->is_removed = true;
    if (!w->wake_task.posted) free(w); /* Nobody posts it any more: it is with the loop now or never. */
    handle_drop_dead(bp, h);
}

static void port_unwatch(struct port *p, uint64_t topic, void *arg)
{
    struct broker_port *bp = port_of(p);
    for (struct list *n = bp->watches.next; n != &bp->watches; n = n->next) {
        struct port_watch *w = CONTAINER_OF(n, struct port_watch, link);
        if (w->arg != arg || w->handle->id != topic) continue;
        watch_remove(w);
        return;
    }
}

/* ---- appends ---- */
struct append_call {
    struct partition *partition;
    struct buf copy;
    enum err_code rc;
    struct err *e;
};

static void append_run(void *arg)
{
    struct append_call *c = arg;
    struct append_result r;

    c->rc = partition_append(c->partition, c->copy.ptr, c->copy.len, NULL, &r, c->e);
    if (c->rc == ERR_NONE && !r.is_durable) c->rc = partition_sync_now(c->partition, c->e);
}

static enum err_code port_append(struct port *p, uint64_t topic, int32_t partition, struct bytes batch, struct err *e)
{
    struct broker_port *bp = port_of(p);
    struct append_call c = {.partition = partition_find(bp, topic, partition, e), .e = e};

    if (c.partition == NULL) return ERR_NOT_FOUND;
    buf_init(&c.copy, 0);
    buf_put_bytes(&c.copy, batch);
    if (c.copy.failed)
        c.rc = err_set(e, ERR_MEMORY, "no memory for a batch");
    else
        port_call(bp, append_run, &c);
    buf_deinit(&c.copy);
    return c.rc;
}

/* ---- definitions ---- */
struct definition_call {
    struct broker *broker;
    const char *kind;
    struct bytes name, text;
    struct buf all; /* name and text, each with a 32-bit length in front */
    enum err_code rc;
    struct err *e;
};

static void define_run(void *arg)
{
    struct definition_call *c = arg;
    c->rc = broker_define(c->broker, c->kind, c->name, c->text, c->e);
}

static void undefine_run(void *arg)
{
    struct definition_call *c = arg;
    c->rc = broker_undefine(c->broker, c->kind, c->name, c->e);
}

static bool collect(void *arg, struct bytes name, struct bytes text)
{
    struct buf *all = arg;
    buf_put_be32(all, (uint32_t)name.len);
    buf_put_bytes(all, name);
    buf_put_be32(all, (uint32_t)text.len);
    buf_put_bytes(all, text);
    return !all->failed;
}

static void definitions_run(void *arg)
{
    struct definition_call *c = arg;
    broker_definitions(c->broker, c->kind, collect, &c->all);
}

static enum err_code port_define(struct port *p, const char *kind, struct bytes name, struct bytes text, struct err *e)
{
    struct definition_call c = {.broker = port_of(p)->broker, .kind = kind, .name = name, .text = text, .e = e};
    port_call(port_of(p), define_run, &c);
    return c.rc;
}

static enum err_code port_undefine(struct port *p, const char *kind, struct bytes name, struct err *e)
{
    struct definition_call c = {.broker = port_of(p)->broker, .kind = kind, .name = name, .e = e};
    port_call(port_of(p), undefine_run, &c);
    return c.rc;
}

/* Copied on the shard, so that fn runs on the computing thread and may define and undefine. */
static enum err_code port_definitions(struct port *p, const char *kind, port_definition_fn fn, void *arg, struct err *e)
{
    struct definition_call c = {.broker = port_of(p)->broker, .kind = kind};
    bool more = true;

    buf_init(&c.all, 0);
    port_call(port_of(p), definitions_run, &c);
    for (size_t at = 0; more && at < c.all.len && !c.all.failed;) {
        size_t name_len = be32_get(c.all.ptr + at);
        struct bytes name = bytes_of(c.all.ptr + at + 4, name_len);
        at += 4 + name_len;
        size_t text_len = be32_get(c.all.ptr + at);
        struct bytes text = bytes_of(c.all.ptr + at + 4, text_len);
        at += 4 + text_len;
        more = fn(arg, name, text);
    }
    enum err_code rc = c.all.failed ? err_set(e, ERR_MEMORY, "no memory for the definitions") : ERR_NONE;
    buf_deinit(&c.all);
    return rc;
}

/* ---- life ---- */
enum err_code broker_port_create(struct port **out, struct broker *b, struct loop *home, struct err *e)
{
    static const struct port functions = {
        .topic_find = port_topic_find,
        .topic_create = port_topic_create,
        .topic_delete = port_topic_delete,
        .range = port_range,
        .read = port_read,
        .release = port_release,
        .watch = port_watch,
        .unwatch = port_unwatch,
        .unit_open = port_unit_open,
        .commit = port_commit,
        .unit_close = port_unit_close,
        .unit_delete = port_unit_delete,
        .append = port_append,
        .define = port_define,
        .undefine = port_undefine,
        .definitions = port_definitions,
    };
    struct broker_port *bp = calloc(1, sizeof(*bp));

    if (bp == NULL) return err_set(e, ERR_MEMORY, "no memory for a port");
    bp->port = functions;
    bp->broker = b;
    bp->home = home;
    bp->shard = b->sys->loop;
    map_init(&bp->handles);
    list_init(&bp->watches);
    list_init(&bp->units);
    list_init(&bp->ops);
    *out = &bp->port;
    return ERR_NONE;
}

static void cut_run(void *arg)
{
    commit_ops_cut(arg);
}

/* What is still open is closed: a process that "died" in a test, or one that ends in a hurry. */
void broker_port_destroy(struct port *p)
{
    if (p == NULL) return;
    struct broker_port *bp = port_of(p);
    uint32_t pos = 0;

    for (struct list *n; (n = list_first(&bp->units)) != NULL;)
        port_unit_close(p, CONTAINER_OF(n, struct port_unit, link));
    port_call(bp, cut_run, bp);
    for (struct list *n; (n = list_first(&bp->watches)) != NULL;)
        watch_remove(CONTAINER_OF(n, struct port_watch, link));
    for (struct map_entry *m; (m = map_next(&bp->handles, &pos)) != NULL;)
        handle_drop(bp, m->value);
    map_deinit(&bp->handles);
    free(bp);
}
