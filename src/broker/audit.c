/* audit.c: who did what, as JSON records of the internal topic `_weir_audit`. Lines are gathered and appended as one
 * batch by a timer, so that a request never waits for its audit and a burst costs one append.
 *
 * U1  What did not succeed is bounded: LIMIT_AUDIT_FAILURES_PER_S lines a second, the rest is counted and the count
 *     becomes a line. So nobody who has no rights fills the disk.
 * U2  Names that come from outside are cut to AUDIT_NAME_MAX bytes. Passwords and tokens never come here. */
#include "broker/auth_int.h"

#include <stdio.h>

#define AUDIT_DELAY_NS (100 * 1000000ull)
#define AUDIT_WINDOW_NS 1000000000ull
#define AUDIT_NAME_MAX 256u

static void put_field(struct buf *out, const char *name, struct bytes value)
{
    if (value.len > AUDIT_NAME_MAX) value.len = AUDIT_NAME_MAX;
    buf_printf(out, ",\"%s\":", name);
    text_put_json_string(out, value);
}

static void put_line(struct auth *a, const struct session *s, const char *what, struct bytes on, const char *result,
                     uint32_t suppressed)
{
    struct loop *loop = a->b->sys->loop;
    size_t at = a->lines.len;

    buf_put_be32(&a->lines, 0);
    buf_printf(&a->lines, "{\"time\":%lld", (long long)broker_now_ms(a->b));
    put_field(&a->lines, "what", bytes_str(what));
    if (s != NULL) {
        put_field(&a->lines, "who", bytes_str(s->principal));
        put_field(&a->lines, "from", bytes_str(s->peer.host));
        put_field(&a->lines, "door", bytes_str(s->door));
    }
    if (!bytes_is_null(on)) put_field(&a->lines, "on", on);
    put_field(&a->lines, "result", bytes_str(result));
    if (suppressed > 0) buf_printf(&a->lines, ",\"suppressed\":%u", suppressed);
    buf_put_str(&a->lines, "}");
    buf_patch_be32(&a->lines, (uint32_t)at, (uint32_t)(a->lines.len - at - 4));
    if (a->n_lines++ == 0) loop->timer_start(loop, &a->audit_timer, loop->now_ns(loop) + AUDIT_DELAY_NS);
}

/* U1. */
static bool is_over_rate(struct auth *a)
{
    uint64_t now = a->b->sys->loop->now_ns(a->b->sys->loop);

    if (now - a->window_ns >= AUDIT_WINDOW_NS) {
        uint32_t n = a->n_suppressed;
        a->window_ns = now;
        a->n_in_window = a->n_suppressed = 0;
        if (n > 0) put_line(a, NULL, "audit.suppressed", BYTES_NULL, "denied", n);
    }
    return a->n_in_window++ >= LIMIT_AUDIT_FAILURES_PER_S;
}

void audit(struct broker *b, const struct session *s, const char *what, struct bytes on, const char *result)
{
    struct auth *a = b->auth;

    if (!auth_is_on(b) || b->is_closing) return;
    bool is_failure = strcmp(result, "ok") != 0;
    if ((is_failure && is_over_rate(a)) || a->lines.len > LIMIT_AUDIT_QUEUE_BYTES)
        a->n_suppressed++;
    else
        put_line(a, s, what, on, result, 0);
}

static enum err_code audit_topic(struct broker *b, struct err *e)
{
    if (b->audit != NULL) return ERR_NONE;
    struct topic_config c = {0};
    enum err_code rc = topic_create_any(b, BYTES_LIT(AUDIT_TOPIC), 1, &c, &b->audit, e);
    if (rc == ERR_EXISTS) b->audit = topic_find(b, BYTES_LIT(AUDIT_TOPIC));
    return b->audit != NULL ? ERR_NONE : rc;
}

void audit_flush(struct auth *a)
{
    struct broker *b = a->b;
    struct batch_builder builder;
    struct append_result result;
    struct buf batch;
    struct err e = {0};
    int64_t now = broker_now_ms(b);

    if (a->n_lines == 0) return;
    buf_init(&batch, 0);
    enum err_code rc = audit_topic(b, &e);
    batch_begin(&builder, &batch, CODEC_NONE);
    for (size_t at = 0; at < a->lines.len;) {
        uint32_t n = be32_get(a->lines.ptr + at);
        batch_add(&builder, now, BYTES_NULL, bytes_of(a->lines.ptr + at + 4, n), NULL, 0);
        at += 4 + n;
    }
    if (rc == ERR_NONE) rc = batch_finish(&builder, &e);
    if (rc == ERR_NONE)
        rc = partition_append_own(topic_partition(b->audit, 0), batch.ptr, batch.len, NULL, &result, &e);
    if (rc != ERR_NONE)
        diag_printf(b->sys->diag, DIAG_ERROR, "broker", "%u lines of audit lost: %s", a->n_lines, e.text);
    a->n_lines = 0;
    buf_clear(&a->lines);
    buf_deinit(&batch);
}

static void audit_fire(struct timer *t)
{
    audit_flush(CONTAINER_OF(t, struct auth, audit_timer));
}

void audit_init(struct auth *a)
{
    buf_init(&a->lines, 0);
    a->audit_timer.fire = audit_fire;
}

void audit_deinit(struct auth *a)
{
    a->b->sys->loop->timer_stop(a->b->sys->loop, &a->audit_timer);
    buf_deinit(&a->lines);
}
