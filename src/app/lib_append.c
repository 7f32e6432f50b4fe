/* lib_append.c: appending through the embedded library: events become batches, one per partition and flush, one wait
 * for all (L1 of lib.c). */
#include "app/lib_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define FLUSH_BYTES (512u << 10) /* of one batch under construction in weir_append_many */

void lib_wait_done(struct append_wait *wait, enum err_code rc)
{
    struct lib_wait *w = CONTAINER_OF(wait, struct lib_wait, wait);
    w->answered = true;
    w->rc = rc;
}

enum err_code lib_wait_durable(weir *w, struct lib_wait *wait, struct err *e)
{
    while (!wait->answered) {
        if (!sim_step(w->sim)) return err_set(e, ERR_STOPPED, "the broker did not answer an append");
    }
    return wait->rc == ERR_NONE ? ERR_NONE
                                : err_set(e, wait->rc, "the append could not be made durable: %s", err_name(wait->rc));
}

static enum err_code outgoing_room(weir *w, int32_t n, struct err *e)
{
    struct outgoing *grown;
    if (n <= w->n_outgoing) return ERR_NONE;
    grown = realloc(w->outgoing, (size_t)n * sizeof *grown);
    if (grown == NULL) return err_set(e, ERR_MEMORY, "out of memory");
    w->outgoing = grown;
    for (; w->n_outgoing < n; w->n_outgoing++) {
        w->outgoing[w->n_outgoing] = (struct outgoing){.open = false};
        buf_init(&w->outgoing[w->n_outgoing].buf, 0);
    }
    return ERR_NONE;
}

static enum err_code flush(weir *w, struct topic *t, struct lib_wait *waits, struct err *e)
{
    enum err_code rc = ERR_NONE;
    int32_t n = topic_partition_count(t);
    for (int32_t i = 0; i < n; i++) {
        struct outgoing *o = &w->outgoing[i];
        struct append_result result;
        waits[i] = (struct lib_wait){.wait = {.done = lib_wait_done}, .answered = true};
        if (!o->open) continue;
        o->open = false;
        if (rc == ERR_NONE) rc = batch_finish(&o->builder, e);
        if (rc == ERR_NONE)
            rc = partition_append(topic_partition(t, i), o->buf.ptr, o->buf.len, &waits[i].wait, &result, e);
        if (rc == ERR_NONE) {
            waits[i].answered = result.is_durable;
            o->base_offset = result.base_offset;
        }
        buf_clear(&o->buf);
    }
    for (int32_t i = 0; i < n; i++) {
        enum err_code wait_rc = lib_wait_durable(w, &waits[i], rc == ERR_NONE ? e : NULL);
        if (rc == ERR_NONE) rc = wait_rc;
    }
    return rc;
}

static enum err_code add_event(weir *w, struct topic *t, struct weir_event *ev, int64_t now_ms, bool *full,
                               struct err *e)
{
    struct record_header headers[16], *h = headers;
    struct bytes key = ev->key ? bytes_of(ev->key, ev->key_size) : BYTES_NULL;
    struct bytes value = ev->value ? bytes_of(ev->value, ev->value_size) : BYTES_NULL;
    int32_t n = topic_partition_count(t);
    struct outgoing *o;

    if (ev->n_headers > ARRAY_LEN(headers))
        return err_set(e, ERR_LIMIT, "an event has %zu headers; at most %zu are taken", ev->n_headers,
                       ARRAY_LEN(headers));
    for (size_t i = 0; i < ev->n_headers; i++) {
        if (ev->headers[i].key == NULL) return err_set(e, ERR_INVALID, "header %zu has no key", i);
        h[i].key = bytes_str(ev->headers[i].key);
        h[i].value = ev->headers[i].value ? bytes_of(ev->headers[i].value, ev->headers[i].size) : BYTES_NULL;
    }
    if (ev->partition >= n)
        return err_set(e, ERR_NOT_FOUND, "topic \"%s\" has %d partition(s), there is no %d", ev->topic, (int)n,
                       ev->partition);
    if (ev->partition < 0)
        ev->partition = bytes_is_null(key) ? (int)(w->spread++ % (uint32_t)n) : hash_partition(key, n);
    o = &w->outgoing[ev->partition];
    if (!o->open) {
        batch_begin(&o->builder, &o->buf, CODEC_NONE);
        o->open = true;
    }
    ev->offset = o->builder.count;
    batch_add(&o->builder, ev->timestamp_ms ? ev->timestamp_ms : now_ms, key, value, h, (int32_t)ev->n_headers);
    *full = batch_size(&o->builder) >= FLUSH_BYTES;
    return ERR_NONE;
}

/* Events [0, n) of one topic, in as few batches as fit. *done: how many are stored. */
static enum err_code append_run(weir *w, struct topic *t, struct weir_event *events, size_t n, size_t *done,
                                struct err *e)
{
    struct lib_wait *waits = calloc((size_t)topic_partition_count(t), sizeof *waits);
    int64_t now_ms = w->sys.clock->wall_ms(w->sys.clock);
    enum err_code rc = waits ? outgoing_room(w, topic_partition_count(t), e) : ERR_MEMORY;
    size_t flushed = 0;

    *done = 0;
    for (size_t i = 0; rc == ERR_NONE && i < n; i++) {
        bool full = false;
        rc = add_event(w, t, &events[i], now_ms, &full, e);
        if (rc != ERR_NONE || (!full && i + 1 < n)) continue;
        rc = flush(w, t, waits, e);
        if (rc != ERR_NONE) break;
        for (; flushed <= i; flushed++)
            events[flushed].offset += w->outgoing[events[flushed].partition].base_offset;
        *done = flushed;
    }
    for (int32_t i = 0; i < w->n_outgoing; i++) {
        if (w->outgoing[i].open) buf_clear(&w->outgoing[i].buf);
        w->outgoing[i].open = false;
    }
    free(waits);
    return rc;
}

WEIR_API int weir_append_many(weir *w, struct weir_event *events, size_t n, size_t *n_done)
{
    struct err e = {0};
    enum err_code rc = ERR_NONE;
    size_t at = 0, done;

    if (n_done != NULL) *n_done = 0;
    if (lib_why_not(w, true)) return lib_refuse(w, lib_why_not(w, true));
    lib_pump(w);
    while (rc == ERR_NONE && at < n) {
        struct topic *t = NULL;
        size_t end = at + 1;
        if (events[at].topic == NULL) {
            rc = err_set(&e, ERR_INVALID, "event %zu has no topic", at);
            break;
        }
        rc = topic_find_or_create(w->broker, bytes_str(events[at].topic), &t, &e);
        if (rc != ERR_NONE) break;
        while (end < n && (events[end].topic == events[at].topic ||
                           (events[end].topic && !strcmp(events[end].topic, events[at].topic))))
            end++;
        rc = append_run(w, t, events + at, end - at, &done, &e);
        at += done;
    }
    if (n_done != NULL) *n_done = at;
    return rc == ERR_NONE ? WEIR_OK : lib_fail(w, rc, &e);
}

WEIR_API int weir_append(weir *w, const char *topic, const void *key, size_t key_size, const void *value,
                         size_t value_size, int64_t *offset)
{
    struct weir_event ev = {
        .topic = topic, .partition = -1, .key = key, .key_size = key_size, .value = value, .value_size = value_size};
    int rc = weir_append_many(w, &ev, 1, NULL);
    if (rc == WEIR_OK && offset != NULL) *offset = ev.offset;
    return rc;
}

WEIR_API int weir_topic_create(weir *w, const char *topic, int partitions)
{
    struct err e = {0};
    enum err_code rc;
    if (lib_why_not(w, true)) return lib_refuse(w, lib_why_not(w, true));
    if (topic == NULL) return lib_fail(w, err_set(&e, ERR_INVALID, "the topic has no name"), &e);
    rc = topic_create(w->broker, bytes_str(topic), partitions, NULL, NULL, &e);
    return rc == ERR_NONE ? WEIR_OK : lib_fail(w, rc, &e);
}
