/* weir.h: the embedded library. A whole event platform in your process: no ports, no threads unless asked.
 *
 *   weir *w; const char *ev = "{\"amount\":40}";
 *   if (weir_open("shop.weir", NULL, &w) != WEIR_OK) return 1;
 *   weir_append(w, "orders", "c1", 2, ev, strlen(ev), NULL);
 *
 * Every call on one handle belongs to one thread. Pointers given to callbacks are valid during the callback. Each
 * function says its errors; weir_errmsg() has the sentence. The data directory is the server's: `weir serve --data
 * shop.weir` opens the same. */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef WEIR_API
#define WEIR_API __attribute__((visibility("default")))
#endif

typedef struct weir weir;

enum weir_status {
    WEIR_OK = 0,
    WEIR_INVALID, /* an argument is wrong */
    WEIR_NOT_FOUND,
    WEIR_EXISTS,
    WEIR_BUSY,     /* another process has the directory */
    WEIR_NO_SPACE, /* the disk is full */
    WEIR_IO,
    WEIR_CORRUPT,
    WEIR_UNSUPPORTED, /* e.g. a newer format */
    WEIR_LIMIT,
    WEIR_STOPPED, /* a partition stopped after a failed sync */
    WEIR_FAILED   /* anything else; see weir_errmsg */
};

/* Set size to sizeof(struct weir_options); zero means default everywhere. */
struct weir_options {
    size_t size;
    const char *durability; /* "sync" (default), "interval:<ms>", "os" */
    int default_partitions; /* of topics created on first use; default 1 */
    int manual_clock;       /* 1: time moves only by weir_clock_advance; starts at clock_start_ms */
    int64_t clock_start_ms; /* ms since 1970 */
    uint64_t segment_bytes;
    int64_t commit_interval_ms; /* of flows */
};

/* Opens or creates a data directory; ":memory:" keeps everything in memory. *out is owned by the caller (weir_close)
 * and is set also on failure when memory allows, so that weir_errmsg works; close it then, too. */
WEIR_API int weir_open(const char *path, const struct weir_options *options, weir **out);
/* Stops subscriptions and flows, syncs, frees. NULL is harmless. */
WEIR_API int weir_close(weir *w);
/* The last error of this handle, one line. Never NULL. Valid until the next call. */
WEIR_API const char *weir_errmsg(const weir *w);
WEIR_API const char *weir_version(void);

WEIR_API int weir_topic_create(weir *w, const char *topic, int partitions); /* WEIR_EXISTS when there */

struct weir_header {
    const char *key;
    const void *value; /* NULL: null */
    size_t size;
};
struct weir_event {
    const char *topic;
    int partition;
    int64_t offset;       /* filled on delivery; after an append: where it went */
    int64_t timestamp_ms; /* 0 on append: now */
    const void *key;      /* NULL: no key */
    size_t key_size;
    const void *value; /* NULL: tombstone */
    size_t value_size;
    const struct weir_header *headers;
    size_t n_headers;
};
/* One event, durable when it returns (under sync). The topic is created on first use. key may be NULL (partition 0 of
 * one, else spread). offset may be NULL. */
WEIR_API int weir_append(weir *w, const char *topic, const void *key, size_t key_size, const void *value,
                         size_t value_size, int64_t *offset);
/* Many events in one go and one sync. topic, key, value, headers and timestamp_ms of each are read; partition < 0: by
 * key. Fills partition and offset. All or the first failure: *n_done tells how many are stored (may be NULL). */
WEIR_API int weir_append_many(weir *w, struct weir_event *events, size_t n, size_t *n_done);

/* Called by weir_run for each event in order. Return WEIR_OK to go on; anything else stops this weir_run and the event
 * is delivered again by the next. A callback may append to its handle and call nothing else of it (WEIR_INVALID). */
typedef int (*weir_event_fn)(void *arg, const struct weir_event *e);
/* A named, durable cursor over a topic (created when missing): starts at the beginning, goes on after restart where it
 * stopped. Progress is committed at the end of each weir_run. */
WEIR_API int weir_subscribe(weir *w, const char *name, const char *topic, weir_event_fn fn, void *arg);
WEIR_API int weir_unsubscribe(weir *w, const char *name);

/* Reads stored events without a cursor. from/limit: offsets; stops early when fn returns non-zero (which is returned).
 * */
WEIR_API int weir_read(weir *w, const char *topic, int partition, int64_t from, int64_t limit, weir_event_fn fn,
                       void *arg);

/* Runs SQL: definitions, flows (they run inside weir_run), bounded queries. Each result row as one JSON object. row may
 * be NULL. */
typedef void (*weir_row_fn)(void *arg, const char *json, size_t size);
WEIR_API int weir_sql(weir *w, const char *sql, weir_row_fn row, void *arg);

/* Delivers to subscriptions and computes flows: until nothing is left to do, at most timeout_ms of real time (0: one
 * pass; -1: until nothing is left). */
WEIR_API int weir_run(weir *w, int timeout_ms);
/* With manual_clock: moves time and fires what is due (windows, idleness). */
WEIR_API int weir_clock_advance(weir *w, int64_t ms);

#ifdef __cplusplus
}
#endif
#endif
