/* DescribeClientQuotas, AlterClientQuotas: the rules of broker/quota.h under Kafka's names. */
#include "door/kafka/kafka_int.h"

enum { MATCH_EXACT = 0, MATCH_DEFAULT = 1, MATCH_ANY = 2 }; /* Kafka's */
enum { USER, CLIENT, IP, ENTITY_TYPES };

static const char *const type_names[ENTITY_TYPES] = {"user", "client-id", "ip"};

static bool is_allowed(const struct kafka_request *q, enum acl_operation op)
{
    return kafka_may(q, op, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME));
}

static int find_type(struct bytes name)
{
    for (int i = 0; i < ENTITY_TYPES; i++)
        if (bytes_equal_str(name, type_names[i])) return i;
    return -1;
}

/* ---- describe ---- */
struct describe {
    struct kafka_request *q;
    const struct kafka_describe_client_quotas_request_component *filter[ENTITY_TYPES]; /* NULL: not asked about */
    bool is_strict;
    struct kafka_describe_client_quotas_response out;
    int32_t cap;
};

static int16_t read_filter(struct describe *d, const struct kafka_describe_client_quotas_request *in, struct err *e)
{
    for (int32_t i = 0; i < in->components.n; i++) {
        const struct kafka_describe_client_quotas_request_component *c = &in->components.at[i];
        int type = find_type(c->entity_type);

        if (type < 0) {
            (void)err_set(e, ERR_UNSUPPORTED, "there are quotas of user, client-id and ip only");
            return KE_UNSUPPORTED_VERSION; /* Kafka's answer to custom types */
        }
        if (d->filter[type] != NULL || c->match_type < MATCH_EXACT || c->match_type > MATCH_ANY ||
            (c->match_type == MATCH_EXACT) != !bytes_is_null(c->match)) {
            (void)err_set(e, ERR_INVALID, "the filter of %s is there twice or is not possible", type_names[type]);
            return KE_INVALID_REQUEST;
        }
        d->filter[type] = c;
    }
    if (d->filter[IP] != NULL && (d->filter[USER] != NULL || d->filter[CLIENT] != NULL)) {
        (void)err_set(e, ERR_INVALID, "a quota of an ip has no user and no client-id");
        return KE_INVALID_REQUEST;
    }
    d->is_strict = in->strict;
    return KE_NONE;
}

static bool part_matches(const struct describe *d, int type, const struct quota_part *p)
{
    const struct kafka_describe_client_quotas_request_component *f = d->filter[type];

    if (f == NULL) return p->match == QUOTA_ABSENT || !d->is_strict;
    if (f->match_type == MATCH_EXACT) return p->match == QUOTA_NAMED && bytes_equal(p->name, f->match);
    return f->match_type == MATCH_DEFAULT ? p->match == QUOTA_DEFAULT : p->match != QUOTA_ABSENT;
}

static void put_part(struct describe *d, struct kafka_describe_client_quotas_response_entry *to, int type,
                     const struct quota_part *p)
{
    if (p->match == QUOTA_ABSENT) return;
    to->entity.at[to->entity.n].entity_type = bytes_str(type_names[type]);
    to->entity.at[to->entity.n++].entity_name =
        p->match == QUOTA_NAMED ? arena_copy(&d->q->arena, p->name) : BYTES_NULL;
}

static bool describe_one(void *arg, const struct quota_entity *entity, const struct quota_limits *limits)
{
    struct describe *d = arg;
    struct arena *a = &d->q->arena;
    struct kafka_describe_client_quotas_response_entry *to;

    if (!part_matches(d, USER, &entity->user) || !part_matches(d, CLIENT, &entity->client) ||
        !part_matches(d, IP, &entity->ip))
        return true;
    if (d->out.entries.n == d->cap) {
        void *old = d->out.entries.at;

        d->cap = d->cap > 0 ? 2 * d->cap : 16;
        d->out.entries.at = arena_array(a, (size_t)d->cap, sizeof *d->out.entries.at);
        if (old != NULL) memcpy(d->out.entries.at, old, (size_t)d->out.entries.n * sizeof *d->out.entries.at);
    }
    to = &d->out.entries.at[d->out.entries.n++];
    to->entity.at = arena_array(a, ENTITY_TYPES, sizeof *to->entity.at);
    put_part(d, to, USER, &entity->user);
    put_part(d, to, CLIENT, &entity->client);
    put_part(d, to, IP, &entity->ip);
    to->values.at = arena_array(a, QUOTA_KINDS, sizeof *to->values.at);
    for (int i = 0; i < QUOTA_KINDS; i++) {
        if (!limits->has[i]) continue;
        to->values.at[to->values.n].key = bytes_str(quota_kind_name((enum quota_kind)i));
        to->values.at[to->values.n++].value = limits->value[i];
    }
    return true;
}

void kafka_handle_describe_client_quotas(struct kafka_request *q, void *body)
{
    struct describe d = {.q = q};
    struct err e = {0};

    wire_init(&kafka_describe_client_quotas_response_wire, &d.out);
    if (!is_allowed(q, ACL_DESCRIBE_CONFIGS)) {
        d.out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        (void)err_set(&e, ERR_DENIED, "not allowed to describe the configuration of the cluster");
    } else {
        d.out.error_code = read_filter(&d, body, &e);
    }
    if (d.out.error_code == KE_NONE) {
        quota_each(kafka_broker(q), describe_one, &d);
    } else {
        d.out.error_message = bytes_str(arena_strdup(&q->arena, e.text));
        d.out.entries.n = -1;
    }
    kafka_reply(q, &d.out);
}

/* ---- alter ---- */
static int16_t read_entity(const struct kafka_alter_client_quotas_request_entry *in, struct quota_entity *out,
                           struct err *e)
{
    struct quota_part *parts[ENTITY_TYPES] = {&out->user, &out->client, &out->ip};

    memset(out, 0, sizeof *out);
    for (int32_t i = 0; i < in->entity.n; i++) {
        int type = find_type(in->entity.at[i].entity_type);
        struct bytes name = in->entity.at[i].entity_name;

        if (type < 0 || parts[type]->match != QUOTA_ABSENT) {
            (void)err_set(e, ERR_INVALID, "an entity is a user, a client-id, both, or an ip, each once");
            return KE_INVALID_REQUEST;
        }
        parts[type]->match = bytes_is_null(name) ? QUOTA_DEFAULT : QUOTA_NAMED;
        parts[type]->name = name;
    }
    return KE_NONE;
}

static int16_t alter_entry(struct kafka_request *q, const struct kafka_alter_client_quotas_request_entry *in,
                           bool validate_only, struct err *e)
{
    struct quota_change *changes = arena_array(&q->arena, (size_t)in->ops.n, sizeof *changes);
    struct quota_entity entity;
    int16_t error = read_entity(in, &entity, e);
    enum err_code rc;

    if (error != KE_NONE) return error;
    for (int32_t i = 0; i < in->ops.n; i++) {
        struct bytes key = in->ops.at[i].key;

        if (!quota_kind_find(key, &changes[i].kind)) {
            (void)err_set(e, ERR_INVALID, "there is no quota named %.*s", key.len > 100 ? 100 : (int)key.len, key.ptr);
            return KE_INVALID_REQUEST;
        }
        changes[i].remove = in->ops.at[i].remove;
        changes[i].value = in->ops.at[i].value;
    }
    rc = quota_alter(kafka_broker(q), &entity, changes, (size_t)in->ops.n, validate_only, e);
    return rc == ERR_INVALID || rc == ERR_LIMIT ? KE_INVALID_REQUEST : kafka_error_of(rc);
}

void kafka_handle_alter_client_quotas(struct kafka_request *q, void *body)
{
    const struct kafka_alter_client_quotas_request *in = body;
    struct kafka_alter_client_quotas_response out;
    bool allowed = is_allowed(q, ACL_ALTER_CONFIGS);

    wire_init(&kafka_alter_client_quotas_response_wire, &out);
    out.entries.n = in->entries.n;
    out.entries.at = arena_array(&q->arena, (size_t)in->entries.n, sizeof *out.entries.at);
    for (int32_t i = 0; i < in->entries.n; i++) {
        const struct kafka_alter_client_quotas_request_entry *from = &in->entries.at[i];
        struct kafka_alter_client_quotas_response_entry *to = &out.entries.at[i];
        struct err e = {0};

        to->entity.n = from->entity.n;
        to->entity.at = arena_array(&q->arena, (size_t)from->entity.n, sizeof *to->entity.at);
        for (int32_t j = 0; j < from->entity.n; j++) {
            to->entity.at[j].entity_type = from->entity.at[j].entity_type;
            to->entity.at[j].entity_name = from->entity.at[j].entity_name;
        }
        if (!allowed) (void)err_set(&e, ERR_DENIED, "not allowed to alter the configuration of the cluster");
        to->error_code = allowed ? alter_entry(q, from, in->validate_only, &e) : KE_CLUSTER_AUTHORIZATION_FAILED;
        if (to->error_code != KE_NONE) to->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    if (allowed && !in->validate_only) kafka_audit(q, "quotas", BYTES_LIT(""), KE_NONE);
    if (kafka_answer_fits(q)) kafka_reply(q, &out);
}
