/* compact_testing.h: a partition with a model of every record ever sent to it, for the tests of compaction. */
#ifndef WEIR_LOG_COMPACT_TESTING_H
#define WEIR_LOG_COMPACT_TESTING_H

#include "log/compact.h"
#include "log/log_int.h"
#include "log/testing.h"

#define RECORDS_MAX 24000
#define KEYS 40

enum kind { KIND_NONE, KIND_PLAIN, KIND_TXN };
struct sent {
    enum kind kind;
    int key; /* -1: no record (marker) */
    bool is_tombstone, is_aborted;
    int64_t ts;
    int64_t producer_id;
};
struct model {
    struct sent sent[RECORDS_MAX]; /* by offset */
    int64_t end;
};
/* A partition as the broker has it. */
struct part {
    struct world *w;
    struct log *l;
    struct producers *p;
    struct log_options o;
    struct model *m;
    int32_t epoch;
    int32_t sequence[8]; /* next, of producers 1..7 */
    int64_t open[8];     /* first offset of the producer's transaction, -1 */
    bool is_loose;       /* what is read may depend on where one begins */
};

static inline void record_batch(void *arg, const struct batch_view *v)
{
    struct part *p = arg;
    if (v->producer_id >= 0) producers_record(p->p, v, p->w->now_ms);
}

static inline void part_open(struct part *p)
{
    int64_t from = 0;
    struct world *w = p->w;

    ok(log_open(&p->l, w->sys, DIR_LOG, &p->o, ++p->epoch, NULL, &w->e));
    p->p = producers_create();
    if (producers_load(p->p, w->fs, DIR_LOG, &from, NULL) != ERR_NONE || from > log_end_offset(p->l)) {
        producers_destroy(p->p);
        p->p = producers_create();
        from = 0;
    }
    ok(log_scan(p->l, from, record_batch, p, &w->e));
}

static inline void part_close(struct part *p)
{
    log_close(p->l);
    producers_destroy(p->p);
    p->l = NULL;
    p->p = NULL;
}

static inline int key_text(char out[16], int key)
{
    return snprintf(out, 16, "key-%d", key);
}

static inline int value_text(char out[256], int64_t offset)
{
    int n = snprintf(out, 256, "value of %lld ", (long long)offset);
    for (int64_t i = 0; i < offset % 90; i++)
        out[n++] = (char)('a' + i % 26);
    return n;
}

static inline enum err_code append(struct part *p)
{
    struct world *w = p->w;
    struct batch_view v;
    int64_t base;

    ok(batch_view_parse(&v, buf_bytes(&w->batch), &w->e));
    bool opens = (v.attributes & BATCH_ATTR_TRANSACTIONAL) && !(v.attributes & BATCH_ATTR_CONTROL) &&
                 producers_open(p->p, v.producer_id, v.producer_epoch, log_end_offset(p->l));
    enum err_code rc = log_append(p->l, w->batch.ptr, w->batch.len, w->now_ms, &base, &w->e);
    if (rc != ERR_NONE) {
        if (opens) producers_open_undo(p->p, v.producer_id);
        return rc;
    }
    v.base_offset = base;
    assert_int_equal(base, p->m->end);
    p->m->end = base + v.last_offset_delta + 1;
    if (v.producer_id >= 0) producers_record(p->p, &v, w->now_ms);
    return rc;
}

/* n records by a producer (0: nobody), in a codec. */
static inline enum err_code send(struct part *p, int producer, bool is_txn, int n, enum batch_codec codec)
{
    struct world *w = p->w;
    struct batch_builder b;
    char key[16], value[256];

    buf_clear(&w->batch);
    batch_begin(&b, &w->batch, codec);
    for (int i = 0; i < n; i++) {
        int64_t offset = p->m->end + i;
        struct sent *s = &p->m->sent[offset];
        struct record_header h = {BYTES_LIT("n"), BYTES_LIT("v")};
        *s = (struct sent){.kind = is_txn ? KIND_TXN : KIND_PLAIN,
                           .key = (int)sim_random(w->sim, KEYS),
                           .is_tombstone = sim_random(w->sim, 5) == 0,
                           .ts = w->now_ms - (int64_t)sim_random(w->sim, 50),
                           .producer_id = producer ? producer : -1};
        int k = key_text(key, s->key), len = value_text(value, offset);
        batch_add(&b, s->ts, bytes_of(key, (size_t)k), s->is_tombstone ? BYTES_NULL : bytes_of(value, (size_t)len), &h,
                  (int)(offset % 2));
    }
    if (producer) batch_set_producer(&b, producer, 0, p->sequence[producer]);
    if (is_txn) batch_set_attributes(&b, BATCH_ATTR_TRANSACTIONAL);
    ok(batch_finish(&b, &w->e));
    int64_t first = p->m->end;
    enum err_code rc = append(p);
    if (rc != ERR_NONE) return rc;
    if (producer) p->sequence[producer] += n;
    if (is_txn && p->open[producer] < 0) p->open[producer] = first;
    return rc;
}

static inline enum err_code end_txn(struct part *p, int producer, bool is_commit)
{
    struct world *w = p->w;
    struct batch_builder b;

    buf_clear(&w->batch);
    batch_begin(&b, &w->batch, CODEC_NONE);
    batch_set_producer(&b, producer, 0, -1);
    batch_set_attributes(&b, BATCH_ATTR_TRANSACTIONAL | BATCH_ATTR_CONTROL);
    batch_add_control(&b, w->now_ms, is_commit ? CONTROL_COMMIT : CONTROL_ABORT, 0);
    ok(batch_finish(&b, &w->e));
    p->m->sent[p->m->end] = (struct sent){.kind = KIND_NONE, .key = -1};
    int64_t marker = p->m->end;
    enum err_code rc = append(p);
    if (rc != ERR_NONE) return rc;
    for (int64_t i = p->open[producer]; !is_commit && i < marker; i++)
        if (p->m->sent[i].kind == KIND_TXN && p->m->sent[i].producer_id == producer) p->m->sent[i].is_aborted = true;
    p->open[producer] = -1;
    return rc;
}

/* One random thing that a client does. */
static inline enum err_code act(struct part *p)
{
    struct world *w = p->w;
    int producer = (int)sim_random(w->sim, 8), n = 1 + (int)sim_random(w->sim, 12);
    enum batch_codec codec = (enum batch_codec)sim_random(w->sim, 5);

    if (producer >= 4) {
        if (p->open[producer] >= 0 && sim_random(w->sim, 3) == 0) return end_txn(p, producer, sim_random(w->sim, 2));
        return send(p, producer, true, n, codec);
    }
    return send(p, producer, false, n, codec);
}

static inline int64_t stable_of(const struct part *p)
{
    int64_t durable = log_durable_offset(p->l), open = producers_open_first(p->p);
    return open < durable ? open : durable;
}

/* Whole, as the broker's cleaner does it. */
static inline enum err_code clean(struct part *p, const struct compact_options *from, struct compact_stats *stats)
{
    struct compact_options o = *from;
    struct world *w = p->w;
    struct compaction *c;
    enum compact_state state = COMPACT_MORE;

    o.limit = stable_of(p);
    o.now_ms = w->now_ms;
    o.producers = p->p;
    enum err_code rc = log_compact_begin(&c, p->l, &o, &w->e);
    if (rc != ERR_NONE) return rc;
    for (int slices = 0; state == COMPACT_MORE; slices++) {
        const int64_t *offsets;
        assert_true(slices < 100000);
        log_compact_run(c);
        size_t n = log_compact_markers(c, &offsets);
        if (n > 0) {
            producers_forget_markers(p->p, offsets, n);
            if (producers_save(p->p, w->fs, DIR_LOG, log_durable_offset(p->l), &w->e) != ERR_NONE) {
                rc = w->e.code;
                break;
            }
        }
        state = log_compact_turn(c, &w->e);
    }
    if (state == COMPACT_FAILED) rc = w->e.code;
    if (stats != NULL) log_compact_stats(c, stats);
    log_compact_end(c);
    return rc;
}

/* ---- what must hold ---- */

struct reading {
    bool *seen; /* by offset */
    int64_t n_batches, n_empty;
};

static inline void check_one(const struct part *p, const struct record *r)
{
    const struct sent *s = &p->m->sent[r->offset];
    char key[16], value[256];

    assert_true(r->offset < p->m->end && s->key >= 0);
    assert_true(bytes_equal(r->key, bytes_of(key, (size_t)key_text(key, s->key))));
    assert_int_equal(r->timestamp, s->ts);
    assert_int_equal(bytes_is_null(r->value), s->is_tombstone);
    if (!s->is_tombstone) assert_true(bytes_equal(r->value, bytes_of(value, (size_t)value_text(value, r->offset))));
    assert_int_equal(r->header_count, r->offset % 2);
}

/* Reads [from, end) and notes which offsets have a record. */
static inline void read_from(struct part *p, int64_t from, struct reading *rd)
{
    struct world *w = p->w;
    int64_t end = log_durable_offset(p->l);
    struct log_slice s;

    while (from < end) {
        ok(log_read(p->l, from, end, 1 + sim_random(w->sim, 5000), &s, &w->e));
        struct bytes rest = s.bytes;
        assert_true(rest.len > 0 && s.next_offset > from);
        int64_t next = -1;
        while (rest.len > 0) {
            struct batch_view v;
            struct batch_iter it;
            struct record r;
            bool more;
            ok(batch_view_parse(&v, rest, &w->e));
            ok(batch_check_crc(&v, &w->e));
            if (next >= 0) assert_int_equal(v.base_offset, next); /* F8 */
            next = batch_last_offset(&v) + 1;
            rd->n_batches++;
            rd->n_empty += v.record_count == 0;
            ok(batch_iter_init(&it, &v, &w->scratch, &w->e));
            for (;;) {
                ok(batch_iter_next(&it, &r, &more, &w->e));
                if (!more) break;
                check_one(p, &r);
                rd->seen[r.offset] = true;
            }
            rest = bytes_slice(rest, v.bytes.len, rest.len - v.bytes.len);
        }
        assert_int_equal(next, s.next_offset);
        from = s.next_offset;
        log_slice_release(&s);
    }
}

/* `cleaned`: all keys below were collected; 0: not known. `gone_tombstones`: horizons may have passed. */
static inline void check_all(struct part *p, int64_t cleaned, bool gone_tombstones, struct reading *out)
{
    struct model *m = p->m;
    struct reading rd = {.seen = calloc((size_t)m->end + 1, 1)};
    int64_t newest[KEYS], newest_ever[KEYS];

    assert_int_equal(log_start_offset(p->l), 0);
    read_from(p, 0, &rd);
    for (int k = 0; k < KEYS; k++)
        newest[k] = newest_ever[k] = -1;
    for (int64_t i = 0; i < log_durable_offset(p->l); i++) {
        const struct sent *s = &m->sent[i];
        if (s->key < 0 || s->is_aborted) continue;
        newest_ever[s->key] = i;
        if (i < cleaned) newest[s->key] = i;
    }
    for (int64_t i = 0; i < log_durable_offset(p->l); i++) {
        const struct sent *s = &m->sent[i];
        if (s->key < 0) continue;
        bool is_newest = newest_ever[s->key] == i;
        if (is_newest && !rd.seen[i] && !(s->is_tombstone && gone_tombstones))
            fail_msg("the newest record of key %d, offset %lld, is gone", s->key, (long long)i);
        if (i >= cleaned && cleaned > 0 && !s->is_aborted && !rd.seen[i])
            fail_msg("offset %lld is gone without having been cleaned", (long long)i);
        if (i < cleaned && rd.seen[i] && newest[s->key] != i)
            fail_msg("offset %lld is there, but key %d has offset %lld", (long long)i, s->key,
                     (long long)newest[s->key]);
    }
    /* From any offset the rest is the same. */
    for (int k = 0; k < 20 && m->end > 0 && !p->is_loose; k++) {
        int64_t from = (int64_t)sim_random(p->w->sim, (uint64_t)log_durable_offset(p->l) + 1);
        struct reading part = {.seen = calloc((size_t)m->end + 1, 1)};
        read_from(p, from, &part);
        for (int64_t i = from; i < log_durable_offset(p->l); i++)
            assert_int_equal(part.seen[i], rd.seen[i]);
        free(part.seen);
    }
    free(rd.seen);
    rd.seen = NULL;
    if (out != NULL) *out = rd;
}

/* read_committed by Kafka's rule: what the index of aborted transactions and the markers say, as a client applies it. */
static inline void check_committed(struct part *p)
{
    struct world *w = p->w;
    int64_t end = stable_of(p), from = 0;
    struct log_slice s;
    struct aborted_txn *aborted;
    bool *seen = calloc((size_t)p->m->end + 1, 1), *stored = calloc((size_t)p->m->end + 1, 1);
    struct reading rd = {.seen = stored};

    read_from(p, 0, &rd);
    while (from < end) {
        bool on[8] = {false};
        ok(log_read(p->l, from, end, 1 + sim_random(w->sim, 9000), &s, &w->e));
        if (s.bytes.len == 0) break;
        size_t n = producers_aborted(p->p, (int64_t)be64_get(s.bytes.ptr), s.next_offset, &aborted);
        size_t used = 0;
        for (size_t i = 1; i < n; i++) /* by rising first, as clients sort them */
            for (size_t j = i; j > 0 && aborted[j].first < aborted[j - 1].first; j--) {
                struct aborted_txn t = aborted[j];
                aborted[j] = aborted[j - 1];
                aborted[j - 1] = t;
            }
        struct bytes rest = s.bytes;
        while (rest.len > 0) {
            struct batch_view v;
            struct batch_iter it;
            struct record r;
            bool more;
            ok(batch_view_parse(&v, rest, &w->e));
            while (used < n && aborted[used].first <= batch_last_offset(&v))
                on[aborted[used++].producer_id] = true;
            if (batch_control_of(&v) == CONTROL_ABORT) on[v.producer_id] = false;
            ok(batch_iter_init(&it, &v, &w->scratch, &w->e));
            for (;;) {
                ok(batch_iter_next(&it, &r, &more, &w->e));
                if (!more) break;
                bool is_void = (v.attributes & BATCH_ATTR_TRANSACTIONAL) && on[v.producer_id];
                if (p->m->sent[r.offset].is_aborted != is_void)
                    fail_msg("offset %lld: aborted %d, to a client %d", (long long)r.offset,
                             p->m->sent[r.offset].is_aborted, is_void);
                if (!is_void) seen[r.offset] = true;
            }
            rest = bytes_slice(rest, v.bytes.len, rest.len - v.bytes.len);
        }
        free(aborted);
        from = s.next_offset;
        log_slice_release(&s);
    }
    for (int64_t i = 0; i < end; i++)
        if (seen[i] != (stored[i] && !p->m->sent[i].is_aborted))
            fail_msg("offset %lld: stored %d, aborted %d, seen %d, stable %lld", (long long)i, stored[i],
                     p->m->sent[i].is_aborted, seen[i], (long long)end);
    free(seen);
    free(stored);
}

/* A retry of each producer's newest batch is known. */
static inline void check_producers(struct part *p)
{
    for (int i = 1; i < 8; i++) {
        int16_t epoch;
        if (p->sequence[i] == 0) continue;
        assert_int_equal(producers_last_sequence(p->p, i, &epoch), p->sequence[i] - 1);
        assert_int_equal(producers_open_of(p->p, i, &epoch), p->open[i]);
    }
}

static inline void part_begin(struct part *p, struct world *w, uint64_t seed)
{
    world_open(w, seed);
    *p = (struct part){.w = w, .o = options_small(), .m = calloc(1, sizeof(struct model))};
    for (int i = 0; i < 8; i++)
        p->open[i] = -1;
    part_open(p);
}

static inline void part_finish(struct part *p)
{
    part_close(p);
    free(p->m);
    world_close(p->w);
}

static const struct compact_options options_test = {.delete_retention_ms = 10000, .segment_bytes = 16384};

/* Everything durable and sealed. */
static inline void seal(struct part *p)
{
    struct world *w = p->w;
    ok(log_sync(p->l, &w->e));
    ok(log_roll(p->l, &w->e));
    ok(log_sync(p->l, &w->e));
}

#endif
