/* identity.c: the file weir.meta: who this data directory is, and how often it was opened. Integers are big-endian.
 *
 *   two slots, at 0 and 512, 64 bytes each:
 *   0 "WEIRMETA" | 8 version u32 | 12 epoch i32 | 16 generation u64 | 24 cluster id, 22 bytes | 46 zero | 60 crc32c of
 * bytes 0..59
 *
 * I1  The intact slot with the higher generation counts; the other one is overwritten, so a torn write loses nothing.
 * I2  The epoch is one higher at each open, and on disk before it is used: no two runs stamp the same epoch.
 * I3  Every version keeps magic, version and checksum at these places, so an older program can tell "newer" from
 *     "damaged".
 * I4  When both slots are lost although there are topics, the epoch goes on from the minutes since 1970: larger than
 *     any count of opens, so that I2 still holds. The file is no reason not to start.
 * I5  An open on a full disk only overwrites. */
#include "broker/broker_int.h"

#include <stdio.h>

#include "base/crc32c.h"

#define IDENTITY_VERSION 1u
#define SLOT_LEN 64u
#define SLOT_STRIDE 512u
#define CLUSTER_ID_LEN 22u

struct identity {
    uint64_t generation;
    int32_t epoch;
    char cluster_id[CLUSTER_ID_LEN + 1];
    int slot; /* -1: none found */
};

static void slot_encode(uint8_t out[SLOT_LEN], const struct identity *id)
{
    memset(out, 0, SLOT_LEN);
    memcpy(out, "WEIRMETA", 8);
    be32_put(out + 8, IDENTITY_VERSION);
    be32_put(out + 12, (uint32_t)id->epoch);
    be64_put(out + 16, id->generation);
    memcpy(out + 24, id->cluster_id, CLUSTER_ID_LEN);
    be32_put(out + 60, crc32c(0, out, 60));
}

static enum err_code slot_decode(const uint8_t *in, struct identity *out)
{
    if (memcmp(in, "WEIRMETA", 8) != 0 || be32_get(in + 60) != crc32c(0, in, 60)) return ERR_CORRUPT;
    if (be32_get(in + 8) > IDENTITY_VERSION) return ERR_UNSUPPORTED;
    out->epoch = (int32_t)be32_get(in + 12);
    out->generation = be64_get(in + 16);
    memcpy(out->cluster_id, in + 24, CLUSTER_ID_LEN);
    out->cluster_id[CLUSTER_ID_LEN] = 0;
    return out->epoch >= 0 ? ERR_NONE : ERR_CORRUPT;
}

static enum err_code identity_read(struct broker *b, struct file *f, struct identity *out, struct err *e)
{
    uint8_t bytes[SLOT_STRIDE + SLOT_LEN];
    size_t n = 0;

    *out = (struct identity){.slot = -1};
    enum err_code rc = b->sys->fs->pread(b->sys->fs, f, bytes, sizeof(bytes), 0, &n, e);
    if (rc != ERR_NONE) return rc;
    for (int i = 0; i < 2; i++) {
        struct identity found;
        if ((size_t)i * SLOT_STRIDE + SLOT_LEN > n) break;
        rc = slot_decode(bytes + (size_t)i * SLOT_STRIDE, &found);
        if (rc == ERR_UNSUPPORTED) return err_set(e, rc, "%s was written by a newer version of Weir", b->data_dir);
        if (rc != ERR_NONE || found.generation <= out->generation) continue;
        *out = found;
        out->slot = i;
    }
    return ERR_NONE;
}

static void cluster_id_make(struct broker *b, char out[CLUSTER_ID_LEN + 1])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct rng *rng = b->sys->rng;
    for (size_t i = 0; i < CLUSTER_ID_LEN; i++)
        out[i] = alphabet[rng->next(rng) >> 58];
    if (out[0] == '-') out[0] = 'A'; /* Command lines would take it for an option. */
    out[CLUSTER_ID_LEN] = 0;
}

static bool note_any(void *arg, const char *name, bool is_dir, uint64_t size)
{
    *(bool *)arg = true;
    return false;
}

static bool has_topics(struct broker *b)
{
    char path[LIMIT_PATH_LEN_MAX];
    bool any = false;
    (void)snprintf(path, sizeof(path), "%s/topics", b->data_dir);
    enum err_code rc = b->sys->fs->list(b->sys->fs, path, note_any, &any, NULL);
    return rc == ERR_NONE && any;
}

enum err_code identity_open(struct broker *b, struct err *e)
{
    struct fs *fs = b->sys->fs;
    struct file *f = NULL;
    struct identity id;
    uint8_t bytes[SLOT_LEN];
    char path[LIMIT_PATH_LEN_MAX];

    (void)snprintf(path, sizeof(path), "%s/weir.meta", b->data_dir);
    enum err_code rc = fs->open(fs, path, FS_WRITE, &f, e);
    if (rc != ERR_NONE) return err_wrap(e, rc, "opening the data directory");
    rc = identity_read(b, f, &id, e);
    if (rc != ERR_NONE) goto done;

    if (id.slot < 0) {
        cluster_id_make(b, id.cluster_id);
        if (has_topics(b)) { /* I4 */
            id.epoch = (int32_t)(broker_now_ms(b) / 60000);
            diag_printf(b->sys->diag, DIAG_WARN, "broker", "%s is damaged: the cluster id is new, topics are kept",
                        path);
        }
    }
    /* Full length at once: later opens then take no new space (I5). */
    uint64_t size = 0;
    rc = fs->size(fs, f, &size, e);
    if (rc == ERR_NONE && size < SLOT_STRIDE + SLOT_LEN) (void)fs->truncate(fs, f, SLOT_STRIDE + SLOT_LEN, NULL);
    if (rc != ERR_NONE) goto done;
    id.epoch++;
    id.generation++;
    id.slot = id.slot == 0 ? 1 : 0;
    slot_encode(bytes, &id);
    struct iovec iov = {bytes, sizeof(bytes)};
    rc = fs->pwritev(fs, f, &iov, 1, (uint64_t)id.slot * SLOT_STRIDE, e);
    if (rc == ERR_NONE) rc = fs->sync(fs, f, e); /* I2 */
    if (rc != ERR_NONE) goto done;
    b->epoch = id.epoch;
    memcpy(b->cluster_id, id.cluster_id, sizeof(b->cluster_id));

done:
    fs->close(fs, f);
    return rc == ERR_NONE ? rc : err_wrap(e, rc, "%s", path);
}

enum err_code identity_sync_names(struct broker *b, struct err *e)
{
    struct fs *fs = b->sys->fs;
    char parent[LIMIT_PATH_LEN_MAX];
    size_t len = strlen(b->data_dir);

    (void)snprintf(parent, sizeof(parent), "%s/topics", b->data_dir);
    enum err_code rc = fs->sync_dir(fs, parent, e);
    if (rc == ERR_NONE) rc = fs->sync_dir(fs, b->data_dir, e);
    if (rc != ERR_NONE) return rc;
    while (len > 1 && b->data_dir[len - 1] == '/')
        len--;
    while (len > 0 && b->data_dir[len - 1] != '/')
        len--;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(len > 1 ? len - 1 : len), b->data_dir);
    if (len == 0) (void)snprintf(parent, sizeof(parent), ".");
    rc = fs->sync_dir(fs, parent, e);
    if (rc == ERR_NOT_FOUND && len <= 1) rc = fs->sync_dir(fs, "", e); /* the root of a simulated disk */
    return rc;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0) return false;
    return true;
}

enum err_code broker_verify_identity(const struct sys *sys, const char *data_dir, const char **what, struct err *e)
{
    static const char *const words[] = {
        "Both slots are lost; a start makes a new cluster id and keeps the topics.",
        "A slot is damaged; the other one counts.",
        "Bytes between the slots are not zero; nobody reads them.",
    };
    uint8_t bytes[SLOT_STRIDE + SLOT_LEN] = {0};
    char path[LIMIT_PATH_LEN_MAX];
    struct file *f = NULL;
    struct identity id;
    int n_good = 0, n_bad = 0;
    size_t n = 0;

    *what = NULL;
    (void)snprintf(path, sizeof(path), "%s/weir.meta", data_dir);
    enum err_code rc = sys->fs->open(sys->fs, path, FS_READ, &f, e);
    if (rc == ERR_NONE) rc = sys->fs->pread(sys->fs, f, bytes, sizeof(bytes), 0, &n, e);
    sys->fs->close(sys->fs, f);
    if (rc != ERR_NONE && rc != ERR_NOT_FOUND) return rc;
    for (size_t at = 0; at <= SLOT_STRIDE; at += SLOT_STRIDE) {
        rc = slot_decode(bytes + at, &id);
        if (rc == ERR_UNSUPPORTED) return err_set(e, rc, "%s was written by a newer version of Weir", path);
        n_good += rc == ERR_NONE;
        n_bad += rc != ERR_NONE && !all_zero(bytes + at, SLOT_LEN);
    }
    if (n_good == 0)
        *what = words[0];
    else if (n_bad > 0)
        *what = words[1];
    else if (!all_zero(bytes + SLOT_LEN, SLOT_STRIDE - SLOT_LEN))
        *what = words[2];
    return ERR_NONE;
}
