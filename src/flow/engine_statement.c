/* The statements that change what exists: CREATE STREAM, CREATE STREAM .. AS, DROP STREAM.
 *
 * Order of a creation: topic, flow, definition. A crash in between leaves at most an empty topic. Order of a drop:
 * flow, unit, definition; the topic stays, because others may read it. */
#include "flow/engine_int.h"

#include <stdio.h>

static int32_t partitions_wanted(const struct engine *en, const struct stream_def *def)
{
    return def->n_partitions > 0 ? def->n_partitions : en->options.default_partitions;
}

/* What stands in the way of a stream of this name. *skip: IF NOT EXISTS, and it does. */
static enum err_code name_is_free(struct script *s, const struct statement *st, bool *skip, struct err *e)
{
    struct engine *en = s->engine;
    struct stream *old = catalog_find(&en->catalog, st->stream->name);
    struct flow *flow = engine_flow(en, st->stream->name);
    *skip = false;
    if (old == NULL && flow == NULL) return ERR_NONE;
    if (st->if_not_exists) {
        *skip = true;
        return ERR_NONE;
    }
    if (!st->or_replace) {
        err_set(e, ERR_EXISTS, "stream '%.*s' exists", BYTES_ARG(st->stream->name));
        err_hint(e, "DROP STREAM first, or say CREATE OR REPLACE STREAM or CREATE STREAM IF NOT EXISTS");
        return ERR_EXISTS;
    }
    struct flow *reader = engine_reader_of(en, st->stream->name);
    if (reader == NULL) return ERR_NONE;
    return err_set(e, ERR_BUSY, "flow '%.*s' reads stream '%.*s'", BYTES_ARG(reader->name),
                   BYTES_ARG(st->stream->name));
}

/* Stops and forgets the flow, and its state. */
static enum err_code flow_drop(struct engine *en, struct flow *f, struct err *e)
{
    struct buf unit;
    buf_init(&unit, 0);
    flow_unit_name(f->name, &unit);
    enum err_code rc = en->port->undefine(en->port, "flow", f->name, e);
    if (rc == ERR_NONE || rc == ERR_NOT_FOUND) {
        flow_stop(f);
        rc = en->port->unit_delete(en->port, buf_bytes(&unit), e);
        if (rc == ERR_NOT_FOUND) rc = ERR_NONE;
        flow_destroy(f);
    }
    buf_deinit(&unit);
    return rc;
}

/* OR REPLACE: what had the name goes first. */
static enum err_code drop_old(struct engine *en, struct bytes name, struct err *e)
{
    struct flow *f = engine_flow(en, name);
    enum err_code rc = ERR_NONE;
    if (f)
        rc = flow_drop(en, f, e);
    else if (catalog_find(&en->catalog, name))
        rc = en->port->undefine(en->port, "stream", name, e);
    if (rc == ERR_NOT_FOUND) rc = ERR_NONE;
    if (rc == ERR_NONE) catalog_remove(&en->catalog, name);
    return rc;
}

static enum err_code topic_ensure(struct engine *en, const struct stream_def *def, bool *created, struct err *e)
{
    struct port_topic topic;
    enum err_code rc = en->port->topic_find(en->port, def->topic, &topic, e);
    *created = rc == ERR_NOT_FOUND;
    if (rc == ERR_NOT_FOUND) rc = en->port->topic_create(en->port, def->topic, partitions_wanted(en, def), &topic, e);
    if (rc != ERR_NONE || *created || def->n_partitions <= 0 || def->n_partitions == topic.n_partitions) return rc;
    return err_set(e, ERR_INVALID, "topic '%.*s' has %d partitions, not %d", BYTES_ARG(def->topic),
                   (int)topic.n_partitions, (int)def->n_partitions);
}

static enum err_code create_stream(struct script *s, const struct statement *st, struct sql_error *e)
{
    struct engine *en = s->engine;
    const struct stream_def *def = st->stream;
    bool skip, created;
    enum err_code rc = name_is_free(s, st, &skip, &e->err);
    if (rc != ERR_NONE) return rc;
    if (skip) {
        script_message(s, "stream %.*s exists; nothing was changed", BYTES_ARG(def->name));
        return ERR_NONE;
    }
    rc = topic_ensure(en, def, &created, &e->err);
    if (rc == ERR_NONE) rc = drop_old(en, def->name, &e->err);
    if (rc == ERR_NONE) rc = en->port->define(en->port, "stream", def->name, def->sql, &e->err);
    if (rc == ERR_NONE) rc = catalog_put_stream(&en->catalog, def->sql, e);
    if (rc != ERR_NONE) return rc;
    script_message(s, "stream %.*s created over %stopic %.*s", BYTES_ARG(def->name), created ? "the new " : "",
                   BYTES_ARG(def->topic));
    return ERR_NONE;
}

static enum err_code create_flow(struct script *s, const struct statement *st, const struct engine_now *now,
                                 struct sql_error *e)
{
    struct engine *en = s->engine;
    const struct stream_def *def = st->stream;
    bool skip;
    size_t n_flows = 0;
    for (struct list *l = en->flows.next; l != &en->flows; l = l->next)
        n_flows++;
    enum err_code rc = name_is_free(s, st, &skip, &e->err);
    if (rc != ERR_NONE) return rc;
    if (skip) {
        script_message(s, "stream %.*s exists; nothing was changed", BYTES_ARG(def->name));
        return ERR_NONE;
    }
    if (n_flows >= LIMIT_FLOWS_MAX) return err_set(&e->err, ERR_LIMIT, "there are %d flows already", LIMIT_FLOWS_MAX);
    rc = drop_old(en, def->name, &e->err);
    if (rc != ERR_NONE) return rc;
    struct flow *f = flow_create(en, def->name, st->text);
    flow_start(f, now);
    rc = f->error.code;
    if (rc != ERR_NONE) {
        e->err = f->error;
        flow_destroy(f);
        return rc;
    }
    rc = en->port->define(en->port, "flow", def->name, st->text, &e->err);
    if (rc == ERR_NONE) rc = catalog_put_flow(&en->catalog, def->sql, e);
    if (rc != ERR_NONE) {
        struct err ignored = {0};
        enum err_code undone = flow_drop(en, f, &ignored);
        (void)undone;
        return rc;
    }
    engine_wake(en); /* the new flow was not yet stepped */
    script_message(s, "flow %.*s is running; its results go to topic %.*s", BYTES_ARG(def->name),
                   BYTES_ARG(def->topic));
    return ERR_NONE;
}

static enum err_code drop_stream(struct script *s, const struct statement *st, struct sql_error *e)
{
    struct engine *en = s->engine;
    struct stream *old = catalog_find(&en->catalog, st->name);
    struct flow *f = engine_flow(en, st->name), *reader = engine_reader_of(en, st->name);
    char topic[LIMIT_TOPIC_NAME_LEN_MAX + 1] = "";
    bool is_flow = f != NULL;
    if (old == NULL && f == NULL) {
        if (!st->if_exists) return err_set(&e->err, ERR_NOT_FOUND, "unknown stream '%.*s'", BYTES_ARG(st->name));
        script_message(s, "stream %.*s does not exist; nothing was changed", BYTES_ARG(st->name));
        return ERR_NONE;
    }
    if (reader && reader != f) {
        err_set(&e->err, ERR_BUSY, "flow '%.*s' reads stream '%.*s'", BYTES_ARG(reader->name), BYTES_ARG(st->name));
        err_hint(&e->err, "DROP STREAM %.*s first", BYTES_ARG(reader->name));
        return ERR_BUSY;
    }
    if (old) snprintf(topic, sizeof topic, "%.*s", BYTES_ARG(old->def->topic));
    enum err_code rc = drop_old(en, st->name, &e->err);
    if (rc != ERR_NONE) return rc;
    script_message(s, "%s %.*s dropped; topic %s and its records stay", is_flow ? "flow" : "stream",
                   BYTES_ARG(st->name), topic[0] ? topic : "of its results");
    return ERR_NONE;
}

enum err_code statement_run(struct script *s, struct statement *st, const struct engine_now *now, struct sql_error *e)
{
    switch (st->kind) {
    case STMT_SELECT: return query_create(&s->query, s, st, &e->err);
    case STMT_CREATE_STREAM: return create_stream(s, st, e);
    case STMT_CREATE_STREAM_AS: return create_flow(s, st, now, e);
    case STMT_DROP_STREAM: return drop_stream(s, st, e);
    default: return show_run(s, st, &e->err);
    }
}
