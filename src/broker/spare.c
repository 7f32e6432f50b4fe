/* spare.c: room that is kept for the day when there is none. A file of 4 MiB, allocated and never written, is deleted when a
 * start or a close meets a full disk, so that both can finish; it is made again when there is plenty.
 *
 * A start and a close only overwrite what is there (identity.c I5, log/recover.c R9): on most file systems they need no
 * new block at all. The spare is for the others: those that copy on write, and directories that must grow. */
#include "broker/broker_int.h"

#include <stdio.h>

#define SPARE_PLENTY 16u /* times its size free: made again */

static void path_of(const struct broker *b, char out[LIMIT_PATH_LEN_MAX])
{
    (void)snprintf(out, LIMIT_PATH_LEN_MAX, "%s/weir.spare", b->data_dir);
}

static uint64_t free_bytes(const struct broker *b)
{
    struct fs_space space;
    enum err_code rc = b->sys->fs->space(b->sys->fs, b->data_dir, &space, NULL);
    return rc == ERR_NONE ? space.free_bytes : UINT64_MAX;
}

void spare_release(struct broker *b)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];

    path_of(b, path);
    if (b->options.spare_bytes == 0 || free_bytes(b) >= DISK_ROOM_BYTES || !fs->exists(fs, path)) return;
    if (fs->unlink(fs, path, NULL) == ERR_NONE)
        diag_printf(b->sys->diag, DIAG_WARN, "broker", "the disk is full: %s is given up to have room to work", path);
}

void spare_make(struct broker *b)
{
    struct fs *fs = b->sys->fs;
    char path[LIMIT_PATH_LEN_MAX];
    struct file *f = NULL;

    path_of(b, path);
    if (b->options.spare_bytes == 0 || fs->exists(fs, path)) return;
    if (free_bytes(b) < SPARE_PLENTY * b->options.spare_bytes) return;
    enum err_code rc = fs->open(fs, path, FS_CREATE_NEW, &f, NULL);
    if (rc == ERR_NONE) rc = fs->reserve(fs, f, b->options.spare_bytes, NULL);
    fs->close(fs, f);
    if (rc != ERR_NONE) (void)fs->unlink(fs, path, NULL); /* The next open tries again. */
}
