/* port_commit.c: one commit on its way: journal, then outputs, then the answer.
 *
 *   home    commit(): everything encoded into batches, outputs stamped ──┐
 *   shard        append to the journal ─▶ durable ─▶ append outputs ─▶ durable ──┐
 *   home                                                                          └─▶ done()
 *
 * A commit is one group of record batches in the journal. Records, big-endian:
 *   key                                       value
 *   'H'                                       u8 version 1, u8 flags (1 snapshot), u64 commit number, u64 applied
 *   'O' u64 topic, u32 partition              i64 next offset
 *   'S' key                                   value, null: deleted
 *   'B' uuid[16], u32 partition               the output batch, with producer id, epoch 0 and sequence in place
 *   'E'                                       u64 commit number: the group is complete
 *   'A'                                       u64 commit number: applied (in a batch of its own, after a quiet second)
 *
 * U1  The commit has happened when its 'E' is durable. A group without 'E' is nothing; the next 'H' drops it.
 * U2  Outputs are appended only after that, in order. Every unit_open takes a new producer id, so a partition's last
 *     sequence of that id says which outputs of a commit are in it.
 * U3  One commit at a time: when commit n is written, all before n-1 are applied, and the header says so. Recovery
 *     looks at the outputs of the last one only.
 * U4  An output whose topic was deleted meanwhile is skipped. One that finds the disk full is tried again: the commit
 *     has happened and must not be answered otherwise. */
#include "broker/port_int.h"

#include <stdlib.h>

#include "base/crc32c.h"

#define BATCH_ATTRIBUTES_AT 21u
#define BATCH_PRODUCER_ID_AT 43u
#define BATCH_PRODUCER_EPOCH_AT 51u
#define BATCH_SEQUENCE_AT 53u
#define BATCH_CRC_AT 17u
#define JOURNAL_BATCH_TARGET (1u << 20) /* a group is cut into batches of about this size */

enum op_state { OP_QUEUED, OP_JOURNAL, OP_APPLY, OP_ANSWERED };

struct op_output {
    struct topic *topic; /* referred to while the op is on the shard; home's handle keeps it before */
    int32_t partition;
    struct bytes batch; /* in op->outputs_bytes */
    bool is_appended;
    struct append_wait wait;
    struct commit_op *op;
};

struct commit_op {
    struct broker_port *port;
    struct port_unit *unit; /* NULL: orphan */
    struct unit_slot *slot; /* shard; of an orphan */
    char *slot_name;        /* owned; of an orphan */
    struct topic *journal;  /* referred to */
    enum op_state state;    /* shard */
    bool is_cut;            /* freed by the task that still holds it */
    bool is_snapshot;
    uint64_t number;
    /* The journal's batches, back to back, and where each ends. */
    struct buf journal_bytes;
    size_t *ends;
    int n_ends, cap_ends;
    int64_t journal_first; /* offset of the header */
    struct append_wait journal_wait;
    /* Outputs, stamped. */
    struct buf output_bytes;
    struct op_output *outputs;
    size_t n_outputs, n_waiting;
    struct timer retry;
    /* The answer. */
    port_commit_fn done;
    void *arg;
    enum err_code rc;
    bool wants_snapshot;
    struct err error;
    struct task to_shard, to_home;
    bool holds_refs; /* shard: topics are referred to */
    struct list link;
};

/* ---- home: encoding ---- */
static void op_free(struct commit_op *op)
{
    check(!op->holds_refs);
    buf_deinit(&op->journal_bytes);
    buf_deinit(&op->output_bytes);
    free(op->ends);
    free(op->outputs);
    free(op->slot_name);
    free(op);
}

struct encoder {
    struct commit_op *op;
    struct batch_builder builder;
    bool is_open;
    struct err *e;
    enum err_code rc;
};

static void encoder_flush(struct encoder *w)
{
    struct commit_op *op = w->op;

    if (!w->is_open || w->rc != ERR_NONE) return;
    w->is_open = false;
    w->rc = batch_finish(&w->builder, w->e);
    if (w->rc == ERR_NONE && op->journal_bytes.failed) w->rc = err_set(w->e, ERR_MEMORY, "no memory for a commit");
    if (op->n_ends == op->cap_ends) {
        op->cap_ends = op->cap_ends ? op->cap_ends * 2 : 4;
        op->ends = realloc(op->ends, (size_t)op->cap_ends * sizeof(*op->ends));
        check(op->ends != NULL);
    }
    op->ends[op->n_ends++] = op->journal_bytes.len;
}

static void encoder_put(struct encoder *w, struct bytes key, struct bytes value)
{
    if (w->rc != ERR_NONE) return;
    if (key.len + value.len > LIMIT_BATCH_BYTES_MAX - 1024) {
        w->rc = err_set(w->e, ERR_TOO_LARGE, "a part of %zu bytes in a commit", key.len + value.len);
        return;
    }
    if (w->is_open && batch_size(&w->builder) + key.len + value.len > JOURNAL_BATCH_TARGET) encoder_flush(w);
    if (!w->is_open) {
        batch_begin(&w->builder, &w->op->journal_bytes, CODEC_NONE);
        w->is_open = true;
    }
    batch_add(&w->builder, broker_now_ms(w->op->port->broker), key, value, NULL, 0);
}

static void encode_head(struct encoder *w, uint64_t applied)
{
    uint8_t value[JOURNAL_HEADER_LEN] = {JOURNAL_VERSION, w->op->is_snapshot ? 1 : 0};
    be64_put(value + 2, w->op->number);
    be64_put(value + 10, applied);
    encoder_put(w, BYTES_LIT("H"), bytes_of(value, sizeof(value)));
}

static void encode_offsets_and_state(struct encoder *w, const struct port_commit *c)
{
    struct buf key;

    buf_init(&key, 0);
    for (size_t i = 0; i < c->n_offsets; i++) {
        uint8_t name[13] = {JOURNAL_OFFSET}, value[8];
        be64_put(name + 1, c->offsets[i].topic);
        be32_put(name + 9, (uint32_t)c->offsets[i].partition);
        be64_put(value, (uint64_t)c->offsets[i].next);
        encoder_put(w, bytes_of(name, sizeof(name)), bytes_of(value, sizeof(value)));
    }
    for (size_t i = 0; i < c->n_changes; i++) {
        buf_clear(&key);
        buf_put_u8(&key, JOURNAL_STATE);
        buf_put_bytes(&key, c->changes[i].key);
        encoder_put(w, buf_bytes(&key), c->changes[i].value);
    }
    buf_deinit(&key);
}

static void sequence_key(uint8_t out[20], const struct topic *t, int32_t partition)
{
    memcpy(out, t->uuid, 16);
    be32_put(out + 16, (uint32_t)partition);
}

static int32_t sequence_next(const struct port_unit *u, const struct topic *t, int32_t partition)
{
    uint8_t key[20];
    sequence_key(key, t, partition);
    uintptr_t v = (uintptr_t)map_get(&u->sequences, bytes_of(key, sizeof(key)));
    return v == 0 ? 0 : (int32_t)(v - 1);
}

static void sequence_advance(struct port_unit *u, const struct topic *t, int32_t partition, int32_t n_records)
{
    uint8_t key[20];
    sequence_key(key, t, partition);
    uint32_t next =
        ((uint32_t)sequence_next(u, t, partition) + (uint32_t)n_records) & INT32_MAX; /* wraps to 0, as Kafka's */
    (void)map_put(&u->sequences, bytes_of(key, sizeof(key)), (void *)((uintptr_t)next + 1));
}

static void stamp(uint8_t *batch, size_t len, int64_t producer_id, int32_t sequence)
{
    be64_put(batch + BATCH_PRODUCER_ID_AT, (uint64_t)producer_id);
    be16_put(batch + BATCH_PRODUCER_EPOCH_AT, 0);
    be32_put(batch + BATCH_SEQUENCE_AT, (uint32_t)sequence);
    be32_put(batch + BATCH_CRC_AT, crc32c(0, batch + BATCH_ATTRIBUTES_AT, len - BATCH_ATTRIBUTES_AT));
}

static enum err_code check_output(struct broker_port *bp, const struct port_output *o, struct port_handle **h,
                                  struct batch_view *v, struct err *e)
{
    *h = port_handle_find(bp, o->topic);
    if (*h == NULL || topic_partition((*h)->topic, o->partition) == NULL)
        return err_set(e, ERR_NOT_FOUND, "the topic of an output does not exist (any more)");
    enum err_code rc = batch_view_parse(v, o->batch, e);
    if (rc != ERR_NONE) return rc == ERR_RANGE ? err_set(e, ERR_CORRUPT, "output batch is cut short") : rc;
    if (v->bytes.len != o->batch.len || v->record_count < 1 || v->last_offset_delta != v->record_count - 1)
        return err_set(e, ERR_INVALID, "an output must be one record batch");
    return ERR_NONE;
}

/* Copies and stamps all outputs. Their sequences are the unit's only when the commit is known to be in the journal:
 * until then they are counted from `sequences` and kept in the copy. */
static enum err_code take_outputs(struct commit_op *op, struct port_unit *u, const struct port_commit *c, struct err *e)
{
    size_t at = 0, total = 0;

    for (size_t i = 0; i < c->n_outputs; i++)
        total += c->outputs[i].batch.len;
    op->outputs = calloc(c->n_outputs + 1, sizeof(*op->outputs));
    if (op->outputs == NULL || !buf_reserve(&op->output_bytes, total))
        return err_set(e, ERR_MEMORY, "no memory for a commit");
    op->n_outputs = c->n_outputs;
    for (size_t i = 0; i < c->n_outputs; i++) {
        const struct port_output *o = &c->outputs[i];
        struct port_handle *h;
        struct batch_view v;
        enum err_code rc = check_output(op->port, o, &h, &v, e);
        if (rc != ERR_NONE) return rc;
        buf_put_bytes(&op->output_bytes, o->batch);
        uint8_t *copy = op->output_bytes.ptr + at;
        at += o->batch.len;
        stamp(copy, o->batch.len, u->producer_id, sequence_next(u, h->topic, o->partition));
        sequence_advance(u, h->topic, o->partition, v.record_count);
        op->outputs[i] = (struct op_output){
            .topic = h->topic, .partition = o->partition, .batch = bytes_of(copy, o->batch.len), .op = op};
    }
    return ERR_NONE;
}

static void encode_outputs(struct encoder *w)
{
    for (size_t i = 0; i < w->op->n_outputs; i++) {
        const struct op_output *o = &w->op->outputs[i];
        uint8_t key[21] = {JOURNAL_OUTPUT};
        sequence_key(key + 1, o->topic, o->partition);
        encoder_put(w, bytes_of(key, sizeof(key)), o->batch);
    }
}

static enum err_code encode(struct commit_op *op, struct port_unit *u, const struct port_commit *c, struct err *e)
{
    struct encoder w = {.op = op, .e = e};
    uint8_t number[8];

    enum err_code rc = take_outputs(op, u, c, e);
    if (rc != ERR_NONE) return rc;
    encode_head(&w, u->commit_number);
    encode_offsets_and_state(&w, c);
    encode_outputs(&w);
    be64_put(number, op->number);
    encoder_put(&w, BYTES_LIT("E"), bytes_of(number, sizeof(number)));
    encoder_flush(&w);
    return w.rc;
}

/* A commit that did not get into the journal gives its sequences back. */
static void sequences_back(struct port_unit *u, const struct commit_op *op)
{
    for (size_t i = op->n_outputs; i-- > 0;) {
        const struct op_output *o = &op->outputs[i];
        uint8_t key[20];
        if (o->topic == NULL) continue; /* not taken */
        sequence_key(key, o->topic, o->partition);
        uintptr_t first = (uintptr_t)be32_get(o->batch.ptr + BATCH_SEQUENCE_AT);
        (void)map_put(&u->sequences, bytes_of(key, sizeof(key)), (void *)(first + 1));
    }
}

/* ---- shard ---- */
/* Until then home's handles keep the topics: none is dropped while a commit is under way. */
static void refs_take(struct commit_op *op)
{
    if (op->holds_refs) return;
    op->holds_refs = true;
    topic_ref(op->journal);
    for (size_t i = 0; i < op->n_outputs; i++)
        topic_ref(op->outputs[i].topic);
    list_push_back(&op->port->ops, &op->link);
}

static void refs_give(struct commit_op *op)
{
    if (!op->holds_refs) return;
    op->holds_refs = false;
    for (size_t i = 0; i < op->n_outputs; i++)
        topic_unref(op->outputs[i].topic);
    topic_unref(op->journal);
    list_remove(&op->link);
}

static void op_end(struct commit_op *op, enum err_code rc, const struct err *e)
{
    struct broker *b = op->port->broker;

    op->state = OP_ANSWERED;
    op->rc = rc;
    if (e) op->error = *e;
    refs_give(op);
    if (op->slot != NULL) { /* orphan: nobody to tell */
        free(map_remove(&b->open_units, bytes_str(op->slot_name)));
        op_free(op);
        return;
    }
    op->port->home->post(op->port->home, &op->to_home);
}

static void trim_journal(struct commit_op *op)
{
    struct partition *p = topic_partition(op->journal, 0);
    struct err e = {0};
    enum err_code rc = ERR_NONE;

    if (log_size_bytes(p->log) < UNIT_ROLL_BYTES_MIN) return;
    if (!broker_is_sync(op->port->broker)) rc = partition_sync_now(p, &e); /* A trim must not run ahead of the disk. */
    if (rc == ERR_NONE) rc = log_trim(p->log, op->journal_first, &e);
    if (rc != ERR_NONE) diag_printf(op->port->broker->sys->diag, DIAG_WARN, "port", "trimming a journal: %s", e.text);
}

static void op_applied(struct commit_op *op)
{
    struct port_unit *u = op->unit;

    if (op->is_snapshot) trim_journal(op);
    if (u != NULL) {
        struct loop *loop = op->port->shard;
        uint64_t limit = u->snapshot_bytes * UNIT_SNAPSHOT_FACTOR;
        u->applied = op->number;
        if (op->is_snapshot) {
            u->snapshot_bytes = op->journal_bytes.len;
            u->since_snapshot = 0;
        } else {
            u->since_snapshot += op->journal_bytes.len;
        }
        op->wants_snapshot = u->since_snapshot > (limit > UNIT_SNAPSHOT_BYTES_MIN ? limit : UNIT_SNAPSHOT_BYTES_MIN);
        if (op->n_outputs > 0)
            loop->timer_start(loop, &u->mark_timer, loop->now_ns(loop) + (uint64_t)UNIT_MARK_MS * 1000000u);
    }
    op_end(op, ERR_NONE, NULL);
}

static void op_failed(struct commit_op *op, enum err_code rc, const struct err *e)
{
    for (size_t i = 0; i < op->n_outputs; i++)
        append_cancel(&op->outputs[i].wait);
    op->port->shard->timer_stop(op->port->shard, &op->retry);
    op_end(op, rc, e);
}

static void output_durable(struct append_wait *w, enum err_code rc)
{
    struct op_output *o = CONTAINER_OF(w, struct op_output, wait);
    struct commit_op *op = o->op;
    struct err e = {0};

    if (rc != ERR_NONE && !o->topic->is_deleted) {
        (void)err_set(&e, rc, "appending an output to %s: %s", o->topic->name, err_name(rc));
        op_failed(op, rc, &e);
        return;
    }
    if (--op->n_waiting == 0) op_applied(op);
}

/* Appends what is not appended yet. n_waiting holds one for this function, so that it ends the commit at most once. */
static void apply(struct commit_op *op)
{
    struct loop *loop = op->port->shard;
    struct append_result r;
    struct err e = {0};

    op->state = OP_APPLY;
    op->n_waiting++;
    for (size_t i = 0; i < op->n_outputs; i++) {
        struct op_output *o = &op->outputs[i];
        if (o->is_appended || o->topic->is_deleted) continue; /* U4 */
        struct partition *p = topic_partition(o->topic, o->partition);
        o->wait = (struct append_wait){.done = output_durable};
        enum err_code rc = partition_append_own(p, (uint8_t *)(uintptr_t)o->batch.ptr, o->batch.len, &o->wait, &r, &e);
        if (rc == ERR_NO_SPACE) {
            loop->timer_start(loop, &op->retry, loop->now_ns(loop) + (uint64_t)UNIT_RETRY_MS * 1000000u);
            return; /* keeps the one of n_waiting until the retry */
        }
        if (rc != ERR_NONE) {
            op_failed(op, rc == ERR_SEQUENCE || rc == ERR_CORRUPT ? ERR_STOPPED : rc, &e);
            return;
        }
        o->is_appended = true;
        if (!r.is_durable) op->n_waiting++;
    }
    if (--op->n_waiting == 0) op_applied(op);
}

static void retry_fire(struct timer *t)
{
    struct commit_op *op = CONTAINER_OF(t, struct commit_op, retry);
    op->n_waiting--;
    apply(op);
}

static void journal_durable(struct append_wait *w, enum err_code rc)
{
    struct commit_op *op = CONTAINER_OF(w, struct commit_op, journal_wait);
    struct err e = {0};

    if (rc == ERR_NONE) {
        apply(op);
        return;
    }
    (void)err_set(&e, rc, "the journal %s: %s", op->journal->name, err_name(rc));
    op_failed(op, rc, &e);
}

static void op_start(struct commit_op *op)
{
    struct partition *p = topic_partition(op->journal, 0);
    struct append_result r = {0};
    struct err e = {0};
    enum err_code rc = ERR_NONE;
    size_t from = 0;

    if (op->unit) op->port->shard->timer_stop(op->port->shard, &op->unit->mark_timer);
    refs_take(op);
    op->state = OP_JOURNAL;
    op->journal_wait.done = journal_durable;
    if (op->is_snapshot && log_size_bytes(p->log) >= UNIT_ROLL_BYTES_MIN && !p->is_stopped) rc = log_roll(p->log, &e);
    for (int i = 0; rc == ERR_NONE && i < op->n_ends; i++) {
        bool is_last = i == op->n_ends - 1;
        rc = partition_append_own(p, op->journal_bytes.ptr + from, op->ends[i] - from,
                                  is_last ? &op->journal_wait : NULL, &r, &e);
        if (i == 0) op->journal_first = r.base_offset;
        from = op->ends[i];
    }
    if (rc != ERR_NONE)
        op_failed(op, rc, &e);
    else if (r.is_durable)
        apply(op);
}

static void to_shard_run(struct task *t)
{
    struct commit_op *op = CONTAINER_OF(t, struct commit_op, to_shard);

    if (op->is_cut)
        op_free(op);
    else
        op_start(op);
}

static void to_home_run(struct task *t)
{
    struct commit_op *op = CONTAINER_OF(t, struct commit_op, to_home);
    struct port_unit *u = op->unit;

    if (op->is_cut) {
        op_free(op);
        return;
    }
    /* Everything that is needed is taken out first: done() may close the unit or start the next commit. */
    port_commit_fn done = op->done;
    void *arg = op->arg;
    enum err_code rc = op->rc;
    bool wants_snapshot = op->wants_snapshot;
    struct err e = op->error;
    if (rc == ERR_NONE) u->commit_number = op->number;
    if (rc != ERR_NONE) sequences_back(u, op);
    if (rc != ERR_NONE && rc != ERR_NO_SPACE) u->is_dead = true;
    u->op = NULL;
    op_free(op);
    done(arg, rc, wants_snapshot, rc == ERR_NONE ? NULL : &e);
}

/* ---- shard: ends before its time ---- */
void commit_op_cut(struct commit_op *op)
{
    struct loop *shard = op->port->shard;

    append_cancel(&op->journal_wait);
    for (size_t i = 0; i < op->n_outputs; i++)
        append_cancel(&op->outputs[i].wait);
    shard->timer_stop(shard, &op->retry);
    if (op->slot != NULL) op->slot->orphan = NULL;
    refs_give(op);
    op->is_cut = true;
    if (op->state != OP_QUEUED && op->state != OP_ANSWERED) op_free(op);
}

void commit_op_orphan(struct commit_op *op, struct unit_slot *slot)
{
    op->unit = NULL;
    if (op->state == OP_ANSWERED) { /* Its task frees it. */
        op->is_cut = true;
        return;
    }
    refs_take(op);
    op->slot = slot;
    op->slot_name = strdup(op->journal->name);
    check(op->slot_name != NULL);
    slot->orphan = op;
}

void commit_ops_cut(struct broker_port *bp)
{
    struct broker *b = bp->broker;

    for (struct list *n; (n = list_first(&bp->ops)) != NULL;) {
        struct commit_op *op = CONTAINER_OF(n, struct commit_op, link);
        if (op->slot != NULL) free(map_remove(&b->open_units, bytes_str(op->slot_name)));
        op->slot = NULL;
        commit_op_cut(op);
    }
}

/* ---- home: the door ---- */
enum err_code port_commit(struct port *p, struct port_unit *u, const struct port_commit *c, port_commit_fn done,
                          void *arg, struct err *e)
{
    struct broker_port *bp = port_of(p);

    check(u->op == NULL); /* one at a time */
    if (u->is_dead) return err_set(e, ERR_STOPPED, "the unit has ended; close it");
    struct commit_op *op = calloc(1, sizeof(*op));
    if (op == NULL) return err_set(e, ERR_MEMORY, "no memory for a commit");
    op->port = bp;
    op->unit = u;
    op->journal = u->journal;
    op->is_snapshot = c->is_snapshot;
    op->number = u->commit_number + 1;
    op->done = done;
    op->arg = arg;
    op->to_shard.run = to_shard_run;
    op->to_home.run = to_home_run;
    op->retry.fire = retry_fire;
    buf_init(&op->journal_bytes, 0);
    buf_init(&op->output_bytes, 0);
    enum err_code rc = encode(op, u, c, e);
    if (rc != ERR_NONE) {
        sequences_back(u, op);
        op_free(op);
        return rc;
    }
    u->op = op;
    if (bp->home == bp->shard)
        op_start(op);
    else
        bp->shard->post(bp->shard, &op->to_shard);
    return ERR_NONE;
}
