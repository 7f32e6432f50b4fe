/* port_restore.c: what a unit's journal says (records: port_commit.c). Folds it from the first record that is there,
 * which is a snapshot or the very first commit, keeps the outputs that are not known to be applied, and appends those
 * that are missing. */
#include "broker/port_int.h"

#include <stdlib.h>

struct part { /* a record of a group that is not complete yet, or a pending output */
    struct list link;
    uint64_t number;
    size_t key_len, value_len;
    bool is_null;
    uint8_t bytes[];
};

static struct bytes part_key(const struct part *p)
{
    return bytes_of(p->bytes, p->key_len);
}

static struct bytes part_value(const struct part *p)
{
    return p->is_null ? BYTES_NULL : bytes_of(p->bytes + p->key_len, p->value_len);
}

static struct part *part_make(const struct record *r)
{
    struct part *p = malloc(sizeof(*p) + r->key.len + r->value.len);
    check(p != NULL);
    *p = (struct part){.key_len = r->key.len, .value_len = r->value.len, .is_null = bytes_is_null(r->value)};
    if (r->key.len > 0) memcpy(p->bytes, r->key.ptr, r->key.len);
    if (r->value.len > 0) memcpy(p->bytes + r->key.len, r->value.ptr, r->value.len);
    return p;
}

static void parts_free(struct list *l)
{
    for (struct list *n; (n = list_pop_front(l)) != NULL;)
        free(CONTAINER_OF(n, struct part, link));
}

/* ---- folding ---- */
struct fold {
    struct unit_restore *r;
    struct list group; /* of the commit being read */
    bool in_group, is_snapshot;
    uint64_t number, applied, bytes;
};

static void free_values(struct map *m)
{
    uint32_t pos = 0;
    for (struct map_entry *entry; (entry = map_next(m, &pos)) != NULL;)
        free(entry->value);
    map_deinit(m);
    map_init(m);
}

void unit_restore_init(struct unit_restore *r)
{
    *r = (struct unit_restore){0};
    map_init(&r->state);
    map_init(&r->offsets);
    list_init(&r->outputs);
}

void unit_restore_deinit(struct unit_restore *r)
{
    free_values(&r->state);
    free_values(&r->offsets);
    map_deinit(&r->state);
    map_deinit(&r->offsets);
    parts_free(&r->outputs);
}

static void drop_applied(struct unit_restore *r, uint64_t applied)
{
    if (applied > r->applied) r->applied = applied;
    for (struct list *n = r->outputs.next, *next; n != &r->outputs; n = next) {
        struct part *p = CONTAINER_OF(n, struct part, link);
        next = n->next;
        if (p->number > r->applied) continue;
        list_remove(n);
        free(p);
    }
}

static void take_state(struct unit_restore *r, struct bytes key, struct bytes value)
{
    if (bytes_is_null(value)) {
        free(map_remove(&r->state, key));
        return;
    }
    struct bytes *copy = malloc(sizeof(*copy) + value.len);
    check(copy != NULL);
    *copy = bytes_of((uint8_t *)(copy + 1), value.len);
    if (value.len > 0) memcpy(copy + 1, value.ptr, value.len);
    free(map_put(&r->state, key, copy));
}

static void take_offset(struct unit_restore *r, struct bytes key, struct bytes value)
{
    if (key.len != 12 || value.len != 8) return;
    struct port_offset *o = malloc(sizeof(*o));
    check(o != NULL);
    *o = (struct port_offset){
        .topic = be64_get(key.ptr), .partition = (int32_t)be32_get(key.ptr + 8), .next = (int64_t)be64_get(value.ptr)};
    free(map_put(&r->offsets, key, o));
}

/* The group is complete: it has happened (U1). */
static void apply_group(struct fold *f)
{
    struct unit_restore *r = f->r;

    if (f->is_snapshot) {
        free_values(&r->state);
        free_values(&r->offsets);
        r->snapshot_bytes = f->bytes;
        r->since_snapshot = 0;
    } else {
        r->since_snapshot += f->bytes;
    }
    r->commit_number = f->number;
    drop_applied(r, f->applied);
    for (struct list *n; (n = list_pop_front(&f->group)) != NULL;) {
        struct part *p = CONTAINER_OF(n, struct part, link);
        struct bytes key = part_key(p), rest = bytes_slice(key, 1, key.len - 1);
        if (key.ptr[0] == JOURNAL_STATE) take_state(r, rest, part_value(p));
        if (key.ptr[0] == JOURNAL_OFFSET) take_offset(r, rest, part_value(p));
        if (key.ptr[0] == JOURNAL_OUTPUT && f->number > r->applied) {
            p->number = f->number;
            list_push_back(&r->outputs, &p->link);
            continue;
        }
        free(p);
    }
    f->in_group = false;
}

static enum err_code fold_header(struct fold *f, const struct record *rec, struct err *e)
{
    if (rec->value.len < JOURNAL_HEADER_LEN || rec->value.ptr[0] != JOURNAL_VERSION)
        return err_set(e, ERR_UNSUPPORTED, "the journal has a commit of an unknown version");
    parts_free(&f->group);
    f->in_group = true;
    f->bytes = 0;
    f->is_snapshot = rec->value.ptr[1] & 1;
    f->number = be64_get(rec->value.ptr + 2);
    f->applied = be64_get(rec->value.ptr + 10);
    return ERR_NONE;
}

static enum err_code fold_record(void *arg, const struct record *rec, struct err *e)
{
    struct fold *f = arg;
    uint8_t kind = rec->key.len > 0 ? rec->key.ptr[0] : 0;
    bool has_number = rec->value.len == 8;

    f->bytes += rec->key.len + rec->value.len + 16;
    switch (kind) {
    case JOURNAL_HEADER: return fold_header(f, rec, e);
    case JOURNAL_OFFSET:
    case JOURNAL_STATE:
    case JOURNAL_OUTPUT:
        if (f->in_group) list_push_back(&f->group, &part_make(rec)->link);
        return ERR_NONE;
    case JOURNAL_END:
        if (f->in_group && has_number && be64_get(rec->value.ptr) == f->number) apply_group(f);
        return ERR_NONE;
    case JOURNAL_APPLIED:
        if (has_number) drop_applied(f->r, be64_get(rec->value.ptr));
        return ERR_NONE;
    default: return err_set(e, ERR_UNSUPPORTED, "the journal has a record of an unknown kind");
    }
}

enum err_code unit_restore_read(struct unit_restore *r, struct log *journal, struct err *e)
{
    struct fold f = {.r = r};

    list_init(&f.group);
    enum err_code rc = journal_read(journal, 0, fold_record, &f, e);
    parts_free(&f.group);
    return rc;
}

/* ---- outputs ---- */
/* U2: sequences of one producer in one partition only rise (within 2^31). */
static bool is_there(const struct partition *p, const struct batch_view *v)
{
    int16_t epoch;
    int32_t last = producers_last_sequence(p->producers, v->producer_id, &epoch);
    uint32_t end = ((uint32_t)v->base_sequence + (uint32_t)v->last_offset_delta) & INT32_MAX;
    uint32_t ahead = (end - (uint32_t)last) & INT32_MAX;
    return last >= 0 && (ahead == 0 || ahead > INT32_MAX / 2);
}

static enum err_code apply_output(struct broker *b, struct part *part, struct map *touched, struct err *e)
{
    struct bytes key = part_key(part), batch = part_value(part);
    struct append_result r;
    struct batch_view v;

    if (key.len != 21) return err_set(e, ERR_CORRUPT, "the journal has an impossible output");
    const struct topic *t = topic_find_id(b, key.ptr + 1);
    struct partition *p = t ? topic_partition(t, (int32_t)be32_get(key.ptr + 17)) : NULL;
    if (p == NULL) return ERR_NONE; /* U4 */
    enum err_code rc = batch_view_parse(&v, batch, e);
    if (rc != ERR_NONE) return rc;
    (void)map_put(touched, key, p); /* also what is there may not be durable yet */
    if (is_there(p, &v)) return ERR_NONE;
    return partition_append_own(p, (uint8_t *)(uintptr_t)batch.ptr, batch.len, NULL, &r, e);
}

enum err_code unit_restore_apply(struct unit_restore *r, struct broker *b, struct err *e)
{
    struct map touched;
    enum err_code rc = ERR_NONE;
    uint32_t pos = 0;

    map_init(&touched);
    for (struct list *n = r->outputs.next; rc == ERR_NONE && n != &r->outputs; n = n->next)
        rc = apply_output(b, CONTAINER_OF(n, struct part, link), &touched, e);
    for (struct map_entry *m; rc == ERR_NONE && (m = map_next(&touched, &pos)) != NULL;)
        rc = partition_sync_now(m->value, e);
    map_deinit(&touched);
    if (rc == ERR_NONE) r->applied = r->commit_number;
    return rc;
}
