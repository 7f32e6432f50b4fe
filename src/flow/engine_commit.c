/* The commit of an epoch: offsets, changed groups, bookkeeping of time, and outputs, in one call of the port.
 *
 * C1  A commit is built once and kept until it is answered: after ERR_NO_SPACE the same content is handed over again.
 * C2  What the engine itself must remember is one entry, "m":
 *       version u8 (1), crc32c of the query's text be32, watermark, turn, rows in, out, bad, late,
 *       number of partitions, then for each partition: watermark, idle u8.
 *     Integers without a note are varints. Entries of groups begin with "g", of LIMIT with "l" (pipeline.h). */
#include "flow/engine_int.h"

#include <stdio.h>

#include "base/reader.h"

#define META_VERSION 1

/* Letters, digits, '.', '_' and '-' stay; every other byte becomes _xHH: units and topics have narrower names than
 * streams. */
void flow_unit_name(struct bytes flow, struct buf *out)
{
    for (size_t i = 0; i < flow.len; i++) {
        uint8_t c = flow.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                     c == '_' || c == '-';
        if (plain)
            buf_put_u8(out, c);
        else
            buf_printf(out, "_x%02x", c);
    }
}

/* ---- the engine's own entry ---- */

static struct bytes meta_make(struct flow *f)
{
    const struct source_time *t = &f->feed.time;
    struct buf b;
    buf_init(&b, 0);
    buf_put_u8(&b, META_VERSION);
    buf_put_be32(&b, f->text_crc);
    buf_put_varint(&b, t->watermark);
    buf_put_uvarint(&b, (uint64_t)f->feed.turn);
    buf_put_uvarint(&b, f->feed.rows_in);
    buf_put_uvarint(&b, f->rows_out);
    buf_put_uvarint(&b, f->feed.rows_bad);
    buf_put_uvarint(&b, f->feed.rows_late);
    buf_put_uvarint(&b, (uint64_t)t->n);
    for (int i = 0; i < t->n; i++) {
        buf_put_varint(&b, t->partitions[i].watermark);
        buf_put_u8(&b, t->partitions[i].is_idle);
    }
    struct bytes copy = arena_copy(&f->epoch, buf_bytes(&b));
    buf_deinit(&b);
    return copy;
}

bool flow_restore_meta(struct flow *f, struct bytes value)
{
    struct source_time *t = &f->feed.time;
    struct reader r = reader_of(value);
    if (reader_u8(&r) != META_VERSION || reader_be32(&r) != f->text_crc) return false;
    t->watermark = reader_varint64(&r);
    f->feed.turn = (int)reader_uvarint32(&r);
    f->feed.rows_in = reader_uvarint64(&r);
    f->rows_out = reader_uvarint64(&r);
    f->feed.rows_bad = reader_uvarint64(&r);
    f->feed.rows_late = reader_uvarint64(&r);
    uint64_t n = reader_uvarint64(&r);
    for (uint64_t i = 0; i < n && !r.failed && i < (uint64_t)t->n; i++) {
        t->partitions[i].watermark = reader_varint64(&r);
        t->partitions[i].is_idle = reader_u8(&r) != 0;
    }
    f->has_meta = true;
    if (f->feed.turn >= t->n) f->feed.turn = 0;
    return !r.failed && n <= (uint64_t)t->n;
}

/* ---- building ---- */

bool flow_has_changes(const struct flow *f)
{
    if (f->meta_dirty || outlet_has_rows(&f->out) || outlet_has_rows(&f->late) || outlet_has_rows(&f->dead))
        return true;
    for (int i = 0; i < f->feed.time.n; i++)
        if (f->feed.next[i] != f->committed[i].next) return true;
    return pipeline_has_changes(f->pipeline);
}

/* A growing list of changes in the epoch's arena: chunks double, and the whole is copied together once. */
struct change_list {
    struct arena *arena;
    struct port_state_change *items;
    size_t n, cap;
};

static void change_add(void *arg, struct bytes key, struct bytes value)
{
    struct change_list *l = arg;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct port_state_change *items = arena_array(l->arena, cap, sizeof *items);
        if (l->n) memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n].key = arena_copy(l->arena, key);
    l->items[l->n].value = arena_copy(l->arena, value);
    l->n++;
}

static void outputs_add(struct outlet *o, struct port_output *outputs, size_t *n)
{
    for (int32_t i = 0; i < o->n_partitions; i++) {
        struct out_partition *p = &o->partitions[i];
        for (uint32_t k = 0; k < p->n; k++)
            outputs[(*n)++] =
                (struct port_output){.topic = o->topic.id,
                                     .partition = i,
                                     .batch = bytes_of(p->bytes.ptr + p->sealed[k].from, p->sealed[k].len)};
    }
}

static size_t outputs_count(const struct outlet *o)
{
    size_t n = 0;
    for (int32_t i = 0; i < o->n_partitions; i++)
        n += o->partitions[i].n;
    return n;
}

static enum err_code commit_build(struct flow *f, struct err *e)
{
    struct outlet *outlets[] = {&f->out, &f->late, &f->dead};
    struct change_list changes = {.arena = &f->epoch};
    size_t n_outputs = 0, n_offsets = 0;
    pipeline_flush(f->pipeline);
    for (size_t i = 0; i < ARRAY_LEN(outlets); i++) {
        enum err_code rc = outlet_has_rows(outlets[i]) ? outlet_open(outlets[i], f->engine->port, e) : ERR_NONE;
        if (rc != ERR_NONE) return rc;
        outlet_seal(outlets[i]);
        n_outputs += outputs_count(outlets[i]);
    }
    struct port_output *outputs = arena_array(&f->epoch, n_outputs + 1, sizeof *outputs);
    struct port_offset *offsets = arena_array(&f->epoch, (size_t)f->feed.time.n, sizeof *offsets);
    n_outputs = 0;
    for (size_t i = 0; i < ARRAY_LEN(outlets); i++)
        outputs_add(outlets[i], outputs, &n_outputs);
    for (int i = 0; i < f->feed.time.n; i++) {
        if (f->feed.next[i] == f->committed[i].next && !f->want_snapshot) continue;
        offsets[n_offsets] = f->committed[i];
        offsets[n_offsets++].next = f->feed.next[i];
    }
    pipeline_collect(f->pipeline, f->want_snapshot, change_add, &changes);
    change_add(&changes, BYTES_LIT("m"), meta_make(f));
    f->content = (struct port_commit){.offsets = offsets,
                                      .n_offsets = n_offsets,
                                      .changes = changes.items,
                                      .n_changes = changes.n,
                                      .outputs = outputs,
                                      .n_outputs = n_outputs,
                                      .is_snapshot = f->want_snapshot};
    return ERR_NONE;
}

/* ---- handing over ---- */

static void on_commit(void *arg, enum err_code rc, bool want_snapshot, const struct err *e)
{
    struct flow *f = arg;
    check(f->commit == COMMIT_UNDER_WAY);
    if (rc == ERR_NO_SPACE) { /* C1: again, when there may be room */
        f->commit = COMMIT_READY;
        f->retry_ns = f->engine->now.mono_ns + RETRY_MS * 1000000ull;
        engine_wake(f->engine);
        return;
    }
    if (rc != ERR_NONE) {
        struct err fallback = {0};
        if (e == NULL) err_set(&fallback, rc, "a commit failed");
        flow_fail(f, e ? e : &fallback);
        return;
    }
    for (size_t i = 0; i < f->content.n_offsets; i++)
        f->committed[f->content.offsets[i].partition].next = f->content.offsets[i].next;
    outlet_clear(&f->out);
    outlet_clear(&f->late);
    outlet_clear(&f->dead);
    arena_reset(&f->epoch);
    f->feed.bytes_read = 0;
    f->want_snapshot = want_snapshot;
    f->meta_dirty = false;
    f->commit = COMMIT_NONE;
    f->commits++;
    engine_wake(f->engine);
}

void flow_commit(struct flow *f, uint64_t now_ns)
{
    struct port *port = f->engine->port;
    struct err e = {0};
    enum err_code rc;
    if (f->commit == COMMIT_NONE) {
        rc = commit_build(f, &e);
        if (rc == ERR_NO_SPACE) { /* a topic could not be made: nothing is built yet */
            f->retry_ns = now_ns + RETRY_MS * 1000000ull;
            return;
        }
        if (rc != ERR_NONE) {
            flow_fail(f, &e);
            return;
        }
    }
    f->commit = COMMIT_UNDER_WAY;
    f->last_commit_ns = now_ns;
    rc = port->commit(port, f->unit, &f->content, on_commit, f, &e);
    if (rc == ERR_NO_SPACE) {
        f->commit = COMMIT_READY;
        f->retry_ns = now_ns + RETRY_MS * 1000000ull;
    } else if (rc != ERR_NONE) {
        flow_fail(f, &e);
    }
}
