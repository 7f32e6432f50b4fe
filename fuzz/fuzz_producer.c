/* fuzz_producer.c: any bytes as the snapshot of idempotent producers: loading ends in state or in "scan the log"; state
 * that was loaded can be used, saved and loaded again with the same result. */
#include <stdint.h>

#include "log/producer.h"
#include "sys/sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct producers *p, struct fs *fs)
{
    struct producers *again = producers_create();
    int64_t offset;

    for (int16_t epoch = 0; epoch < 3; epoch++) {
        struct batch_view v = {.producer_id = 42, .producer_epoch = epoch, .base_sequence = 0, .last_offset_delta = 3};
        if (producers_check(p, &v, &offset, NULL) == ERR_NONE) producers_record(p, &v, 1);
    }
    check(producers_save(p, fs, "/d", 7, NULL) == ERR_NONE);
    check(producers_load(again, fs, "/d", &offset, NULL) == ERR_NONE && offset == 7);
    check(producers_count(again) == producers_count(p));
    check(producers_last_sequence(again, 42, NULL) == producers_last_sequence(p, 42, NULL));
    producers_expire(again, INT64_MAX / 2);
    producers_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_options o = {.seed = 1, .wall_start_ms = 1700000000000};
    struct iovec iov = {(void *)(uintptr_t)data, size};
    struct producers *p = producers_create();
    struct sim *sim;
    struct file *f;
    int64_t offset;

    check(sim_create(&sim, &o, NULL) == ERR_NONE);
    struct fs *fs = sim_sys(sim)->fs;
    check(fs->mkdir(fs, "/d", NULL) == ERR_NONE);
    check(fs->open(fs, "/d/producers.snap", FS_WRITE, &f, NULL) == ERR_NONE);
    if (size > 0) check(fs->pwritev(fs, f, &iov, 1, 0, NULL) == ERR_NONE);
    fs->close(fs, f);
    (void)!producers_check_version(fs, "/d", NULL);
    if (producers_load(p, fs, "/d", &offset, NULL) == ERR_NONE) use(p, fs);
    producers_destroy(p);
    sim_destroy(sim);
    return 0;
}
