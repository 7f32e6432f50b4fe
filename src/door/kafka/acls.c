/* DescribeAcls, CreateAcls, DeleteAcls: the rules, for who may describe and alter the cluster. */
#include "door/kafka/kafka_int.h"

static bool is_allowed(const struct kafka_request *q, enum acl_operation op)
{
    return kafka_may(q, op, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME));
}

/* A filter's numbers must be known ones; strings are the request's. */
static int16_t filter_check(const struct acl *f, struct bytes *why)
{
    bool ok = f->type >= ACL_RESOURCE_ANY && f->type <= ACL_USER && f->pattern >= ACL_PATTERN_ANY &&
              f->pattern <= ACL_PREFIXED && f->op >= ACL_OPERATION_ANY && f->op <= ACL_IDEMPOTENT_WRITE &&
              f->permission >= ACL_PERMISSION_ANY && f->permission <= ACL_ALLOW;

    if (ok) return KE_NONE;
    *why = BYTES_LIT("the filter has an unknown type, pattern, operation or permission");
    return KE_INVALID_REQUEST;
}

static bool same_resource(const struct acl *a, const struct kafka_describe_acls_response_resource *r)
{
    return (int8_t)a->type == r->resource_type && (int8_t)a->pattern == r->pattern_type &&
           bytes_equal(a->name, r->resource_name);
}

/* One resource and all of its rules that match, from `first` on. */
static void put_resource(struct kafka_request *q, const struct acl *const *all, bool *used, int n, int first,
                         struct kafka_describe_acls_response_resource *r)
{
    r->resource_type = (int8_t)all[first]->type;
    r->pattern_type = (int8_t)all[first]->pattern;
    r->resource_name = all[first]->name;
    int32_t count = 0;
    for (int i = first; i < n; i++)
        count += !used[i] && same_resource(all[i], r);
    r->acls.at = arena_array(&q->arena, (size_t)count, sizeof *r->acls.at);
    for (int i = first; i < n; i++) {
        if (used[i] || !same_resource(all[i], r)) continue;
        used[i] = true;
        r->acls.at[r->acls.n].principal = all[i]->principal;
        r->acls.at[r->acls.n].host = all[i]->host;
        r->acls.at[r->acls.n].operation = (int8_t)all[i]->op;
        r->acls.at[r->acls.n++].permission_type = (int8_t)all[i]->permission;
    }
}

/* Those that match, in the arena. */
static int find(struct kafka_request *q, const struct acl *filter, const struct acl ***out)
{
    struct broker *b = kafka_broker(q);
    const struct acl *a;
    uint32_t pos = 0;
    int n = 0;

    while ((a = acl_next(b, &pos)) != NULL)
        n += acl_filter_matches(filter, a);
    *out = arena_array(&q->arena, (size_t)n, sizeof **out);
    n = 0;
    pos = 0;
    while ((a = acl_next(b, &pos)) != NULL)
        if (acl_filter_matches(filter, a)) (*out)[n++] = a;
    return n;
}

void kafka_handle_describe_acls(struct kafka_request *q, void *body)
{
    const struct kafka_describe_acls_request *in = body;
    struct kafka_describe_acls_response out;
    struct acl filter = {(enum acl_resource)in->resource_type_filter,
                         (enum acl_pattern)in->pattern_type_filter,
                         (enum acl_operation)in->operation,
                         (enum acl_permission)in->permission_type,
                         in->resource_name_filter,
                         in->principal_filter,
                         in->host_filter};
    const struct acl **all;

    wire_init(&kafka_describe_acls_response_wire, &out);
    out.error_code = filter_check(&filter, &out.error_message);
    if (!is_allowed(q, ACL_DESCRIBE)) out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    if (out.error_code == KE_NONE) {
        int n = find(q, &filter, &all);
        bool *used = arena_array(&q->arena, (size_t)n, sizeof *used);
        out.resources.at = arena_array(&q->arena, (size_t)n, sizeof *out.resources.at);
        for (int i = 0; i < n; i++)
            if (!used[i]) put_resource(q, all, used, n, i, &out.resources.at[out.resources.n++]);
    }
    kafka_reply(q, &out);
}

void kafka_handle_create_acls(struct kafka_request *q, void *body)
{
    const struct kafka_create_acls_request *in = body;
    struct kafka_create_acls_response out;
    bool may = is_allowed(q, ACL_ALTER);

    wire_init(&kafka_create_acls_response_wire, &out);
    out.results.n = in->creations.n;
    out.results.at = arena_array(&q->arena, (size_t)in->creations.n, sizeof *out.results.at);
    for (int32_t i = 0; i < in->creations.n; i++) {
        const struct kafka_create_acls_request_creation *c = &in->creations.at[i];
        struct kafka_create_acls_response_result *r = &out.results.at[i];
        struct acl a = {(enum acl_resource)c->resource_type,
                        (enum acl_pattern)c->resource_pattern_type,
                        (enum acl_operation)c->operation,
                        (enum acl_permission)c->permission_type,
                        c->resource_name,
                        c->principal,
                        c->host};
        struct err e;

        wire_init(&kafka_create_acls_response_result_wire, r);
        if (!may) {
            r->error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
            continue;
        }
        enum err_code rc = acl_add(kafka_broker(q), &a, &e);
        r->error_code = kafka_error_of(rc);
        if (rc != ERR_NONE) r->error_message = bytes_str(arena_strdup(&q->arena, e.text));
        kafka_audit(q, "acl.add", a.principal, r->error_code);
    }
    kafka_reply(q, &out);
}

typedef struct kafka_delete_acls_response_filter_result result_out;

static void delete_matching(struct kafka_request *q, const struct acl *filter, result_out *r)
{
    const struct acl **all;
    int n = find(q, filter, &all);

    r->matching_acls.at = arena_array(&q->arena, (size_t)n, sizeof *r->matching_acls.at);
    r->matching_acls.n = n;
    for (int i = 0; i < n; i++) {
        struct kafka_delete_acls_response_matching *m = &r->matching_acls.at[i];
        struct err e;

        wire_init(&kafka_delete_acls_response_matching_wire, m);
        m->resource_type = (int8_t)all[i]->type;
        m->pattern_type = (int8_t)all[i]->pattern;
        m->operation = (int8_t)all[i]->op;
        m->permission_type = (int8_t)all[i]->permission;
        m->resource_name = arena_copy(&q->arena, all[i]->name);
        m->principal = arena_copy(&q->arena, all[i]->principal);
        m->host = arena_copy(&q->arena, all[i]->host);
        m->error_code = kafka_error_of(acl_remove(kafka_broker(q), all[i], &e));
        if (m->error_code != KE_NONE) m->error_message = bytes_str(arena_strdup(&q->arena, e.text));
        kafka_audit(q, "acl.remove", m->principal, m->error_code);
    }
}

void kafka_handle_delete_acls(struct kafka_request *q, void *body)
{
    const struct kafka_delete_acls_request *in = body;
    struct kafka_delete_acls_response out;
    bool may = is_allowed(q, ACL_ALTER);

    wire_init(&kafka_delete_acls_response_wire, &out);
    out.filter_results.n = in->filters.n;
    out.filter_results.at = arena_array(&q->arena, (size_t)in->filters.n, sizeof *out.filter_results.at);
    for (int32_t i = 0; i < in->filters.n; i++) {
        const struct kafka_delete_acls_request_filter *f = &in->filters.at[i];
        result_out *r = &out.filter_results.at[i];
        struct acl filter = {(enum acl_resource)f->resource_type_filter,
                             (enum acl_pattern)f->pattern_type_filter,
                             (enum acl_operation)f->operation,
                             (enum acl_permission)f->permission_type,
                             f->resource_name_filter,
                             f->principal_filter,
                             f->host_filter};

        if (!kafka_answer_fits(q)) return;
        wire_init(&kafka_delete_acls_response_filter_result_wire, r);
        r->error_code = filter_check(&filter, &r->error_message);
        if (!may) r->error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        if (r->error_code == KE_NONE) delete_matching(q, &filter, r);
    }
    kafka_reply(q, &out);
}
