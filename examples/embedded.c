/* embedded.c: Weir inside a C program: append events, be called for them, ask SQL, and a window that closes when the clock moves.
 *
 *   cc embedded.c $(pkg-config --cflags --libs weir) -o embedded && ./embedded
 *
 * ":memory:" and a manual clock make it a test without ports, threads or waiting; give a directory instead to keep the data. */
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

static int on_payment(void *arg, const struct weir_event *e)
{
    int *seen = arg;
    (*seen)++;
    printf("payment %lld of %.*s: %.*s\n", (long long)e->offset, (int)e->key_size, (const char *)e->key,
           (int)e->value_size, (const char *)e->value);
    return WEIR_OK; /* anything else: the event is delivered again by the next weir_run */
}

static void on_row(void *arg, const char *json, size_t size)
{
    (void)arg;
    printf("row %.*s\n", (int)size, json);
}

static int fail(weir *w, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, weir_errmsg(w));
    weir_close(w);
    return 1;
}

int main(void)
{
    struct weir_options options = {.size = sizeof options, .manual_clock = 1, .clock_start_ms = 1767225600000};
    static const struct {
        const char *card, *json;
    } payments[] = {
        {"c1", "{\"card\":\"c1\",\"amount\":40,\"at\":\"2026-01-01 00:00:01\"}"},
        {"c1", "{\"card\":\"c1\",\"amount\":900,\"at\":\"2026-01-01 00:00:04\"}"},
        {"c2", "{\"card\":\"c2\",\"amount\":15,\"at\":\"2026-01-01 00:00:12\"}"},
    };
    weir *w;
    int seen = 0;

    if (weir_open(":memory:", &options, &w) != WEIR_OK) return fail(w, "open");
    for (size_t i = 0; i < sizeof payments / sizeof payments[0]; i++) {
        if (weir_append(w, "payments", payments[i].card, strlen(payments[i].card), payments[i].json,
                        strlen(payments[i].json), NULL))
            return fail(w, "append");
    }

    /* Called for each event, in order; the position is kept under the name "printer". */
    if (weir_subscribe(w, "printer", "payments", on_payment, &seen) != WEIR_OK || weir_run(w, -1) != WEIR_OK)
        return fail(w, "run");

    /* A flow: sums over 10 seconds of event time, written to the topic "totals". */
    if (weir_sql(w,
                 "CREATE STREAM payments (card STRING, amount BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - "
                 "INTERVAL '1' SECOND);"
                 "CREATE STREAM totals AS SELECT card, COUNT(*) AS n, SUM(amount) AS total, window_end FROM "
                 "TABLE(TUMBLE(TABLE payments, DESCRIPTOR(at), INTERVAL '10' SECOND)) GROUP BY card, window_start, "
                 "window_end;",
                 NULL, NULL) != WEIR_OK)
        return fail(w, "create");

    /* The first window closes by the event of second 12; the last one by a quiet minute. */
    if (weir_clock_advance(w, 60000) != WEIR_OK) return fail(w, "advance");
    if (weir_sql(w, "SELECT * FROM totals", on_row, NULL) != WEIR_OK) return fail(w, "select");
    weir_close(w);
    return seen == 3 ? 0 : 1;
}
