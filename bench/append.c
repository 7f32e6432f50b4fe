/* append.c: appends in the process itself, through the C library: 100-byte events in batches of 1,000, one core.
 *
 *   append DIRECTORY DURABILITY EVENTS
 *
 * Prints one JSON object with wall-clock and CPU seconds (this thread's; the disk's sync does not count as CPU). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weir/weir.h>

#define BATCH 1000
#define EVENT_BYTES 100

static double seconds(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static struct weir_event events[BATCH];
    static char values[BATCH][EVENT_BYTES];
    struct weir_options options = {.size = sizeof options};
    weir *w;
    long n_events, n_done = 0;
    double wall, cpu;

    if (argc != 4) return 2;
    options.durability = argv[2];
    n_events = atol(argv[3]);
    if (weir_open(argv[1], &options, &w) != WEIR_OK) {
        fprintf(stderr, "append: %s\n", weir_errmsg(w));
        return 1;
    }
    memset(values, 'v', sizeof values);
    wall = seconds(CLOCK_MONOTONIC);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (n_done < n_events) {
        size_t n = 0;

        for (int i = 0; i < BATCH; i++)
            events[i] =
                (struct weir_event){.topic = "bench", .partition = 0, .value = values[i], .value_size = EVENT_BYTES};
        if (weir_append_many(w, events, BATCH, &n) != WEIR_OK) {
            fprintf(stderr, "append: %s\n", weir_errmsg(w));
            return 1;
        }
        n_done += (long)n;
    }
    printf("{\"events\":%ld,\"seconds\":%.6f,\"cpu_seconds\":%.6f}\n", n_done, seconds(CLOCK_MONOTONIC) - wall,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return weir_close(w) == WEIR_OK ? 0 : 1;
}
