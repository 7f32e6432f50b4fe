/* sim_content.c: file content with a memory of what was not synced.
 *
 *   now:      |aaaaaaaa|BBBBBBBB|CCCCCCCC|        one image; reads and mappings see it
 *   changes:  write B over (old bytes kept), write C at the end (nothing to keep)
 *
 * S1  Bytes between size and capacity are zero, so that growing needs no clearing.
 * S2  Undoing all changes, newest first, gives the durable content. A sync forgets the changes.
 * S3  A power cut undoes all, then plays each change again, oldest first: a write with a choice of new, old or zero per
 * sector (a third of the writes all new, a third all old, the others mixed), a truncation with a choice of yes or no.
 * S4  A failed sync dooms the changes of that moment: Linux marks the pages clean, no later sync writes them. They are
 * old after the cut, whatever was synced behind them.
 *
 * Why an undo list and not two images: an append, which is what a log does, costs no copy, and a sync costs nothing. */
#include "sys/sim_content.h"

#include <stdlib.h>
#include <string.h>

#include "sys/os.h"

#define SECTOR 512u
#define RESERVE_MIN (16u << 20) /* address space only */

enum change_state { CHANGE_PENDING, CHANGE_DURABLE, CHANGE_DOOMED };
struct sim_change {
    uint64_t at, len; /* truncation: the new size, 0 */
    uint64_t size_before;
    uint8_t *old, *new; /* owned. old: what was overwritten or cut off; new: only during a power cut */
    uint64_t old_len;
    enum change_state state;
    bool is_truncate;
};

/* ---- storage ---- */

static struct sim_storage *storage_create(size_t cap, bool is_reserved)
{
    struct sim_storage *st = calloc(1, sizeof(*st));

    check(st != NULL);
    st->base = is_reserved ? os_reserve(cap) : calloc(1, cap);
    check(st->base != NULL);
    st->cap = cap;
    st->is_reserved = is_reserved;
    st->refs = 1;
    return st;
}

void sim_storage_unref(struct sim_storage *st)
{
    if (st == NULL || --st->refs > 0) return;
    if (st->is_reserved)
        os_release(st->base, st->cap);
    else
        free(st->base);
    free(st);
}

static void storage_replace(struct sim_content *c, size_t cap, bool is_reserved)
{
    struct sim_storage *st = storage_create(cap, is_reserved);

    check(c->size <= cap);
    if (c->size > 0) memcpy(st->base, c->store->base, c->size);
    sim_storage_unref(c->store);
    c->store = st;
}

static enum err_code content_reserve(struct sim_content *c, uint64_t need, struct err *e)
{
    size_t cap = c->store ? c->store->cap : 0;

    if (need <= cap) return ERR_NONE;
    if (c->store != NULL && c->store->refs > 1)
        return err_set(e, ERR_LIMIT, "a file of %llu bytes outgrows its mapping of %zu", (unsigned long long)need, cap);
    if (cap < 1024) cap = 1024;
    while (cap < need)
        cap *= 2;
    storage_replace(c, cap, c->store != NULL && c->store->is_reserved);
    return ERR_NONE;
}

enum err_code sim_content_map(struct sim_content *c, size_t len, struct sim_storage **out, struct err *e)
{
    bool is_shared = c->store != NULL && c->store->refs > 1;

    *out = NULL;
    if (c->store == NULL || !c->store->is_reserved || c->store->cap < len) {
        if (is_shared) return err_set(e, ERR_LIMIT, "mapping %zu bytes: mapped already with fewer", len);
        if (len < c->size) len = c->size;
        storage_replace(c, len < RESERVE_MIN ? RESERVE_MIN : len, true);
    }
    c->store->refs++;
    *out = c->store;
    return ERR_NONE;
}

/* ---- changes ---- */

static void change_deinit(struct sim_change *ch)
{
    free(ch->old);
    free(ch->new);
}

static void changes_clear(struct sim_content *c)
{
    for (size_t i = 0; i < c->n_changes; i++)
        change_deinit(&c->changes[i]);
    free(c->changes);
    c->changes = NULL;
    c->n_changes = c->cap_changes = 0;
    c->has_doomed = false;
}

void sim_content_deinit(struct sim_content *c)
{
    changes_clear(c);
    sim_storage_unref(c->store);
    *c = (struct sim_content){0};
}

static uint8_t *copy_of(const uint8_t *from, uint64_t len)
{
    uint8_t *p = malloc(len);

    check(p != NULL);
    memcpy(p, from, len);
    return p;
}

/* Remembers what [at, at + old_len) holds now. */
static void change_add(struct sim_content *c, uint64_t at, uint64_t len, uint64_t old_len, bool is_truncate)
{
    if (!c->is_recorded) return;
    if (c->n_changes == c->cap_changes) {
        c->cap_changes = c->cap_changes ? 2 * c->cap_changes : 8;
        c->changes = realloc(c->changes, c->cap_changes * sizeof(*c->changes));
        check(c->changes != NULL);
    }
    c->changes[c->n_changes++] = (struct sim_change){.at = at,
                                                     .len = len,
                                                     .size_before = c->size,
                                                     .old = old_len ? copy_of(c->store->base + at, old_len) : NULL,
                                                     .old_len = old_len,
                                                     .is_truncate = is_truncate};
}

static void set_size(struct sim_content *c, uint64_t size)
{
    if (size < c->size) memset(c->store->base + size, 0, c->size - size); /* S1 */
    c->size = size;
}

enum err_code sim_content_write(struct sim_content *c, uint64_t at, const struct iovec *iov, size_t len, struct err *e)
{
    uint64_t end = at + len, covered = c->size <= at ? 0 : c->size - at;
    enum err_code rc = content_reserve(c, end, e);

    if (rc != ERR_NONE || len == 0) return rc;
    change_add(c, at, len, covered < len ? covered : len, false);
    for (; at < end; iov++) {
        size_t piece = iov->iov_len < end - at ? iov->iov_len : end - at;
        if (piece > 0) memcpy(c->store->base + at, iov->iov_base, piece);
        at += piece;
    }
    if (end > c->size) c->size = end;
    return ERR_NONE;
}

enum err_code sim_content_truncate(struct sim_content *c, uint64_t size, struct err *e)
{
    enum err_code rc = content_reserve(c, size, e);

    if (rc != ERR_NONE || size == c->size) return rc;
    change_add(c, size, 0, size < c->size ? c->size - size : 0, true);
    set_size(c, size);
    return ERR_NONE;
}

void sim_content_sync(struct sim_content *c)
{
    if (!c->has_doomed) {
        changes_clear(c); /* S2 */
        return;
    }
    for (size_t i = 0; i < c->n_changes; i++) {
        if (c->changes[i].state == CHANGE_PENDING) c->changes[i].state = CHANGE_DURABLE; /* S4: kept for the order */
    }
}

void sim_content_fail_sync(struct sim_content *c)
{
    for (size_t i = 0; i < c->n_changes; i++) {
        if (c->changes[i].state != CHANGE_PENDING) continue;
        c->changes[i].state = CHANGE_DOOMED;
        c->has_doomed = true;
    }
}

/* ---- the power cut ---- */

static void change_undo(struct sim_content *c, struct sim_change *ch)
{
    uint8_t *base = c->store->base;

    if (!ch->is_truncate) ch->new = copy_of(base + ch->at, ch->len);
    set_size(c, ch->size_before);
    if (ch->old_len > 0) memcpy(base + ch->at, ch->old, ch->old_len);
}

static void piece_apply(struct sim_content *c, const struct sim_change *ch, uint64_t from, uint64_t to, bool is_zero)
{
    if (is_zero)
        memset(c->store->base + from, 0, to - from);
    else
        memcpy(c->store->base + from, ch->new + (from - ch->at), to - from);
    if (to > c->size) c->size = to;
}

/* S3, S4. */
static void write_redo(struct sim_content *c, const struct sim_change *ch, struct sim *s)
{
    uint64_t end = ch->at + ch->len, mood;

    if (ch->state == CHANGE_DOOMED) return;
    mood = ch->state == CHANGE_DURABLE ? 0 : sim_random(s, 3);
    if (mood == 0) piece_apply(c, ch, ch->at, end, false);
    if (mood != 2) return;
    for (uint64_t from = ch->at, to; from < end; from = to) {
        uint64_t choice = sim_random(s, 3); /* new, zero, old */
        to = (from / SECTOR + 1) * SECTOR;
        if (to > end) to = end;
        if (choice < 2) piece_apply(c, ch, from, to, choice == 1);
    }
}

void sim_content_power_cut(struct sim_content *c, struct sim *s)
{
    if (c->n_changes == 0) return;
    /* Mappings of the dead keep what they saw. */
    if (c->store->refs > 1) storage_replace(c, c->store->cap, c->store->is_reserved);
    for (size_t i = c->n_changes; i-- > 0;)
        change_undo(c, &c->changes[i]);
    for (size_t i = 0; i < c->n_changes; i++) {
        struct sim_change *ch = &c->changes[i];
        if (!ch->is_truncate)
            write_redo(c, ch, s);
        else if (ch->state == CHANGE_DURABLE || (ch->state == CHANGE_PENDING && sim_random(s, 2) == 0))
            set_size(c, ch->at);
    }
    changes_clear(c);
}
