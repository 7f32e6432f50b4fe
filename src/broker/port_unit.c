/* port_unit.c: opening, closing and deleting units. A unit is the internal topic _weir_unit_<name>, of one partition.
 *
 * Closing while a commit is under way leaves it to itself: it goes on (an "orphan") and may still happen. Opening the
 * unit again, or deleting it, cuts the orphan off and lets the journal decide, as after a crash. */
#include "broker/port_int.h"

#include <stdio.h>
#include <stdlib.h>

static bool journal_name(char out[LIMIT_TOPIC_NAME_LEN_MAX + 1], struct bytes name)
{
    size_t prefix = strlen(UNIT_TOPIC_PREFIX);
    if (!text_is_topic_name(name) || prefix + name.len > LIMIT_TOPIC_NAME_LEN_MAX) return false;
    (void)snprintf(out, LIMIT_TOPIC_NAME_LEN_MAX + 1, UNIT_TOPIC_PREFIX "%.*s", BYTES_ARG(name));
    return true;
}

/* A slot for the name, with no orphan. NULL: open. */
static struct unit_slot *slot_take(struct broker *b, const char *topic_name)
{
    struct unit_slot *slot = map_get(&b->open_units, bytes_str(topic_name));

    if (slot != NULL && slot->is_open) return NULL;
    if (slot == NULL) {
        slot = calloc(1, sizeof(*slot));
        check(slot != NULL);
        (void)map_put(&b->open_units, bytes_str(topic_name), slot);
    }
    if (slot->orphan) commit_op_cut(slot->orphan);
    slot->is_open = true;
    return slot;
}

static void slot_give(struct broker *b, const char *topic_name)
{
    free(map_remove(&b->open_units, bytes_str(topic_name)));
}

/* ---- open ---- */
struct open_call {
    struct port_unit *unit;
    struct unit_restore restore;
    enum err_code rc;
    struct err *e;
};

static enum err_code open_journal(struct open_call *c)
{
    struct port_unit *u = c->unit;
    struct broker *b = u->port->broker;
    struct topic_config config = {.retention_ms = -1, .retention_bytes = -1};
    struct topic *t = topic_find(b, bytes_str(u->topic_name));

    enum err_code rc = t ? ERR_NONE : topic_create_any(b, bytes_str(u->topic_name), 1, &config, &t, c->e);
    if (rc != ERR_NONE) return rc;
    /* A commit of before may be on its way to the disk: it happens now or not at all. */
    rc = partition_sync_now(topic_partition(t, 0), c->e);
    if (rc == ERR_NONE) rc = unit_restore_read(&c->restore, topic_partition(t, 0)->log, c->e);
    if (rc == ERR_NONE) rc = unit_restore_apply(&c->restore, b, c->e);
    if (rc == ERR_NONE) rc = broker_producer_id_next(b, &u->producer_id, c->e);
    if (rc != ERR_NONE) return rc;
    topic_ref(t);
    u->journal = t;
    u->commit_number = u->applied = c->restore.commit_number;
    u->marked = c->restore.applied;
    u->since_snapshot = c->restore.since_snapshot;
    u->snapshot_bytes = c->restore.snapshot_bytes;
    unit_write_mark(u); /* Before a partition forgets the producer of what was just appended. */
    return ERR_NONE;
}

static void open_run(void *arg)
{
    struct open_call *c = arg;
    struct port_unit *u = c->unit;
    struct broker *b = u->port->broker;

    if (slot_take(b, u->topic_name) == NULL) {
        c->rc = err_set(c->e, ERR_BUSY, "unit %s is open already", u->topic_name + strlen(UNIT_TOPIC_PREFIX));
        return;
    }
    c->rc = open_journal(c);
    if (c->rc != ERR_NONE) slot_give(b, u->topic_name);
}

void unit_write_mark(struct port_unit *u)
{
    uint8_t number[8];
    struct batch_builder w;
    struct append_result r;
    struct buf batch;

    if (u->marked >= u->applied) return;
    be64_put(number, u->applied);
    buf_init(&batch, 0);
    batch_begin(&w, &batch, CODEC_NONE);
    batch_add(&w, broker_now_ms(u->port->broker), BYTES_LIT("A"), bytes_of(number, sizeof(number)), NULL, 0);
    enum err_code rc = batch_finish(&w, NULL);
    if (rc == ERR_NONE) rc = partition_append_own(topic_partition(u->journal, 0), batch.ptr, batch.len, NULL, &r, NULL);
    if (rc == ERR_NONE) u->marked = u->applied; /* Lost, it only means that recovery looks once more. */
    buf_deinit(&batch);
}

static void mark_fire(struct timer *t)
{
    unit_write_mark(CONTAINER_OF(t, struct port_unit, mark_timer));
}

static void unit_free(struct port_unit *u)
{
    map_deinit(&u->sequences);
    free(u->topic_name);
    free(u);
}

static void hand_out(const struct unit_restore *from, const struct port_restore *to)
{
    uint32_t pos = 0;

    for (struct map_entry *m; to->offset != NULL && (m = map_next(&from->offsets, &pos)) != NULL;)
        to->offset(to->arg, m->value);
    pos = 0;
    for (struct map_entry *m; to->state != NULL && (m = map_next(&from->state, &pos)) != NULL;)
        to->state(to->arg, m->key, *(struct bytes *)m->value);
}

enum err_code port_unit_open(struct port *p, struct bytes name, const struct port_restore *r, struct port_unit **out,
                             struct err *e)
{
    struct broker_port *bp = port_of(p);
    char topic_name[LIMIT_TOPIC_NAME_LEN_MAX + 1];

    if (!journal_name(topic_name, name))
        return err_set(e, ERR_INVALID, "'%.*s' is no name for a unit", BYTES_ARG(name));
    struct port_unit *u = calloc(1, sizeof(*u));
    check(u != NULL);
    u->port = bp;
    u->topic_name = strdup(topic_name);
    check(u->topic_name != NULL);
    u->mark_timer.fire = mark_fire;
    map_init(&u->sequences);
    struct open_call c = {.unit = u, .e = e};
    unit_restore_init(&c.restore);
    port_call(bp, open_run, &c);
    if (c.rc == ERR_NONE) {
        hand_out(&c.restore, r);
        list_push_back(&bp->units, &u->link);
        *out = u;
    } else {
        unit_free(u);
    }
    unit_restore_deinit(&c.restore);
    return c.rc == ERR_NONE ? c.rc : err_wrap(e, c.rc, "unit %.*s", BYTES_ARG(name));
}

/* ---- close, delete ---- */
static void close_run(void *arg)
{
    struct port_unit *u = arg;
    struct broker *b = u->port->broker;
    struct unit_slot *slot = map_get(&b->open_units, bytes_str(u->topic_name));

    check(slot != NULL && slot->is_open);
    u->port->shard->timer_stop(u->port->shard, &u->mark_timer);
    slot->is_open = false;
    if (u->op != NULL)
        commit_op_orphan(u->op, slot);
    else if (!u->is_dead)
        unit_write_mark(u);
    if (slot->orphan == NULL) slot_give(b, u->topic_name);
    topic_unref(u->journal);
}

void port_unit_close(struct port *p, struct port_unit *u)
{
    if (u == NULL) return;
    port_call(port_of(p), close_run, u);
    list_remove(&u->link);
    unit_free(u);
}

struct delete_call {
    struct broker *broker;
    const char *topic_name;
    enum err_code rc;
    struct err *e;
};

static void delete_run(void *arg)
{
    struct delete_call *c = arg;
    struct broker *b = c->broker;

    if (slot_take(b, c->topic_name) == NULL) {
        c->rc = err_set(c->e, ERR_BUSY, "the unit is open");
        return;
    }
    struct topic *t = topic_find(b, bytes_str(c->topic_name));
    c->rc = t ? topic_delete_any(b, t, c->e) : err_set(c->e, ERR_NOT_FOUND, "no such unit");
    slot_give(b, c->topic_name);
}

enum err_code port_unit_delete(struct port *p, struct bytes name, struct err *e)
{
    char topic_name[LIMIT_TOPIC_NAME_LEN_MAX + 1];

    if (!journal_name(topic_name, name))
        return err_set(e, ERR_INVALID, "'%.*s' is no name for a unit", BYTES_ARG(name));
    struct delete_call c = {.broker = port_of(p)->broker, .topic_name = topic_name, .e = e};
    port_call(port_of(p), delete_run, &c);
    return c.rc;
}
