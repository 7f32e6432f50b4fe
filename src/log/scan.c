/* scan.c: the full check of a batch in its place.
 *
 * A batch is good when its length fits the file and the limits, its header parses (magic 2), its base offset is the one
 * that must follow, its epoch is not below the one before, and its checksum is right. Anything else ends the scan: what
 * follows a bad batch is never trusted, because after a power cut whole records behind a hole are the normal case. */
#include "log/scan.h"

#include <stdlib.h>

#include "base/limits.h"

#define WINDOW_LEN (256u << 10) /* one read for many small batches; measured: no gain above */

void scan_init(struct scan *s, struct fs *fs, struct file *file, uint64_t size, uint64_t position, int64_t next_offset,
               int32_t epoch)
{
    check(position <= size);
    *s = (struct scan){
        .fs = fs, .file = file, .size = size, .position = position, .next_offset = next_offset, .epoch = epoch};
}

void scan_deinit(struct scan *s)
{
    free(s->window);
    s->window = NULL;
}

/* Makes bytes [position, position + need) available; need fits the file. */
static enum err_code fill(struct scan *s, size_t need, struct err *e)
{
    uint64_t have_end = s->window_at + s->window_len;
    if (s->position >= s->window_at && s->position + need <= have_end) return ERR_NONE;

    size_t want = need > WINDOW_LEN ? need : WINDOW_LEN;
    if (want > s->size - s->position) want = (size_t)(s->size - s->position);
    if (want > s->window_cap) {
        free(s->window);
        s->window_cap = 0;
        s->window_len = 0;
        s->window = malloc(want);
        if (s->window == NULL) return err_set(e, ERR_MEMORY, "no memory to read %zu bytes of a segment", want);
        s->window_cap = want;
    }
    size_t n = 0;
    enum err_code rc = s->fs->pread(s->fs, s->file, s->window, want, s->position, &n, e);
    if (rc != ERR_NONE) return rc;
    s->window_at = s->position;
    s->window_len = n;
    return n >= need ? ERR_NONE : err_set(e, ERR_IO, "segment became shorter while it was read");
}

static enum scan_step bad(struct scan *s, const char *what)
{
    s->what = what;
    return SCAN_BAD;
}

enum scan_step scan_next(struct scan *s, struct batch_view *v, struct err *e)
{
    uint64_t left = s->size - s->position;

    s->is_body_only = false;
    if (left == 0) return SCAN_END;
    if (left < BATCH_HEADER_LEN) return bad(s, "the file ends inside a batch header");
    if (fill(s, BATCH_HEADER_LEN, e) != ERR_NONE) return SCAN_ERROR;

    const uint8_t *head = s->window + (s->position - s->window_at);
    uint64_t len = (uint64_t)be32_get(head + 8) + BATCH_PREFIX_LEN;
    if (len < BATCH_HEADER_LEN || len > LIMIT_BATCH_BYTES_MAX) return bad(s, "impossible batch length");
    if (len > left) return bad(s, "the file ends inside a batch");
    if (fill(s, (size_t)len, e) != ERR_NONE) return SCAN_ERROR;

    head = s->window + (s->position - s->window_at);
    if (batch_view_parse(v, bytes_of(head, (size_t)len), NULL) != ERR_NONE) return bad(s, "impossible batch header");
    if (v->base_offset < 0 || v->last_offset_delta < 0) return bad(s, "negative offset");
    if (s->next_offset >= 0 && v->base_offset != s->next_offset)
        return bad(s, "offset does not follow the batch before");
    if (v->leader_epoch < s->epoch) return bad(s, "epoch is below that of the batch before");
    if (batch_check_crc(v, NULL) != ERR_NONE) {
        s->is_body_only = true;
        return bad(s, "checksum does not match");
    }
    scan_skip(s, v);
    return SCAN_BATCH;
}

void scan_skip(struct scan *s, const struct batch_view *v)
{
    s->position += v->bytes.len;
    s->next_offset = batch_last_offset(v) + 1;
    s->epoch = v->leader_epoch;
}

int64_t scan_peek_offset(const struct scan *s, uint64_t position)
{
    uint8_t head[BATCH_HEADER_LEN];
    size_t n = 0;

    if (position + sizeof(head) > s->size) return -1;
    if (s->fs->pread(s->fs, s->file, head, sizeof(head), position, &n, NULL) != ERR_NONE || n < sizeof(head)) return -1;
    return head[16] == 2 ? (int64_t)be64_get(head) : -1;
}
