/* retention.c: removes what is past its time or size, now and then.
 *
 * The timer runs only while some log could have something to remove: it is armed by an append and stays armed as long
 * as a partition with a bound holds records. A log whose newest record is past retention is rolled first, so that a
 * quiet topic ends up empty as a busy one would. */
#include "broker/broker_int.h"

static bool is_bounded(const struct topic *t)
{
    return topic_deletes(t) && (t->config.retention_ms >= 0 || t->config.retention_bytes >= 0);
}

static void retain(struct partition *p, int64_t now_ms)
{
    const struct topic_config *c = &p->topic->config;
    int64_t start = log_start_offset(p->log);
    struct log_slice s = {0};
    struct batch_view v;
    struct err e = {0};

    if (start == log_end_offset(p->log)) return;
    enum err_code rc = log_retain(p->log, now_ms, &e);
    /* A sync under way refers to the active segment: leave it, there is a next time. */
    if (rc == ERR_NONE && c->retention_ms >= 0 && log_durable_offset(p->log) == log_end_offset(p->log) &&
        p->sync_slot == NULL && log_find_max_time(p->log, &s, NULL) == ERR_NONE) {
        bool is_old = batch_view_parse(&v, s.bytes, NULL) == ERR_NONE && v.max_timestamp < now_ms - c->retention_ms;
        log_slice_release(&s);
        if (is_old) rc = log_roll(p->log, &e);
        if (is_old && rc == ERR_NONE) rc = log_retain(p->log, now_ms, &e);
    }
    if (rc != ERR_NONE)
        diag_printf(p->topic->broker->sys->diag, DIAG_WARN, "broker", "retention of %s partition %d: %s",
                    p->topic->name, (int)p->index, e.text);
    if (log_start_offset(p->log) != start) partition_mark_woken(p, true);
}

static int64_t period_ms(struct broker *b)
{
    int64_t ms = RETENTION_RUN_MS_MAX;
    uint32_t pos = 0;
    for (struct topic *t; (t = topic_next(b, &pos)) != NULL;) {
        if (is_bounded(t) && t->config.retention_ms >= 0 && t->config.retention_ms / 10 < ms)
            ms = t->config.retention_ms / 10;
    }
    return ms < 100 ? 100 : ms;
}

void retention_arm(struct broker *b)
{
    struct loop *loop = b->sys->loop;
    if (b->retention_timer.slot != 0 || b->is_closing) return;
    loop->timer_start(loop, &b->retention_timer, loop->now_ns(loop) + (uint64_t)period_ms(b) * 1000000u);
}

void retention_rearm(struct broker *b)
{
    struct loop *loop = b->sys->loop;
    if (b->retention_timer.slot != 0) loop->timer_stop(loop, &b->retention_timer);
    retention_arm(b);
}

void retention_fire(struct timer *timer)
{
    struct broker *b = CONTAINER_OF(timer, struct broker, retention_timer);
    int64_t now_ms = broker_now_ms(b);
    bool is_needed = false;
    uint32_t pos = 0;

    for (struct topic *t; (t = topic_next(b, &pos)) != NULL;) {
        if (!is_bounded(t)) continue;
        for (int32_t i = 0; i < t->n_partitions; i++) {
            struct partition *p = topic_partition(t, i);
            if (p->is_stopped) continue;
            retain(p, now_ms);
            producers_expire(p->producers, now_ms);
            producers_forget(p->producers, log_start_offset(p->log));
            is_needed = is_needed || log_start_offset(p->log) < log_end_offset(p->log);
        }
    }
    if (is_needed) retention_arm(b);
}
