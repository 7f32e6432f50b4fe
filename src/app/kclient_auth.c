/* kclient_auth.c: users and rules of a server. The password stays here: the server gets what was derived from it. */
#include "app/kclient_int.h"
#include "sys/crypto.h"
#include "sys/os.h"

#define ITERATIONS 15000
#define SALT_BYTES 24

static enum err_code alter_users(struct kclient *k, const struct kafka_alter_user_scram_credentials_request *q,
                                 const char *what, struct bytes name, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_alter_user_scram_credentials_response r;
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, q, &a, &r, deadline, e);
    for (int32_t i = 0; rc == ERR_NONE && i < r.results.n; i++)
        if (r.results.at[i].error_code != 0)
            rc = kerror_set(e, r.results.at[i].error_code, r.results.at[i].error_message, "%s user %.*s", what,
                            BYTES_ARG(name));
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_user_set(struct kclient *k, struct bytes name, struct bytes password, struct err *e)
{
    struct kafka_alter_user_scram_credentials_request_upsertion u[2];
    struct kafka_alter_user_scram_credentials_request q = {.upsertions = {u, 2}};
    uint8_t salt[2][SALT_BYTES], salted[2][CRYPTO_HASH_BYTES_MAX];

    for (int i = 0; i < 2; i++) {
        enum crypto_hash h = i == 0 ? CRYPTO_SHA256 : CRYPTO_SHA512;

        wire_init(&kafka_alter_user_scram_credentials_request_upsertion_wire, &u[i]);
        crypto_random(os_rng(), salt[i], SALT_BYTES);
        crypto_pbkdf2(h, password, bytes_of(salt[i], SALT_BYTES), ITERATIONS, salted[i]);
        u[i].name = name;
        u[i].mechanism = (int8_t)(i + 1);
        u[i].iterations = ITERATIONS;
        u[i].salt = bytes_of(salt[i], SALT_BYTES);
        u[i].salted_password = bytes_of(salted[i], crypto_hash_bytes(h));
    }
    enum err_code rc = alter_users(k, &q, "setting the password of", name, e);
    crypto_forget(salted, sizeof salted);
    return rc;
}

enum err_code kclient_users(struct kclient *k, struct bytes only,
                            void (*fn)(void *arg, struct bytes name, unsigned mask), void *arg, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_describe_user_scram_credentials_request_user user = {.name = only};
    struct kafka_describe_user_scram_credentials_request q = {.users = {&user, bytes_is_null(only) ? -1 : 1}};
    struct kafka_describe_user_scram_credentials_response r;
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.error_code != 0) rc = kerror_set(e, r.error_code, r.error_message, "listing users");
    for (int32_t i = 0; rc == ERR_NONE && i < r.results.n; i++) {
        unsigned mask = 0;

        if (r.results.at[i].error_code != 0) continue; /* no such user */
        for (int32_t j = 0; j < r.results.at[i].credential_infos.n; j++)
            mask |= 1u << (r.results.at[i].credential_infos.at[j].mechanism & 7);
        fn(arg, r.results.at[i].user, mask);
    }
    arena_deinit(&a);
    return rc;
}

static void take_mask(void *arg, struct bytes name, unsigned mask)
{
    (void)name;
    *(unsigned *)arg = mask;
}

enum err_code kclient_user_delete(struct kclient *k, struct bytes name, struct err *e)
{
    struct kafka_alter_user_scram_credentials_request_deletion d[2];
    struct kafka_alter_user_scram_credentials_request q = {.deletions = {d, 0}};
    unsigned mask = 0;

    enum err_code rc = kclient_users(k, name, take_mask, &mask, e);
    if (rc != ERR_NONE) return rc;
    if (mask == 0) return err_set(e, ERR_NOT_FOUND, "no user %.*s", BYTES_ARG(name));
    for (int8_t m = 1; m <= 2; m++)
        if (mask & 1u << m)
            d[q.deletions.n++] =
                (struct kafka_alter_user_scram_credentials_request_deletion){.name = name, .mechanism = m};
    return alter_users(k, &q, "deleting", name, e);
}

/* ---- rules ---- */
enum err_code kclient_acl_add(struct kclient *k, const struct acl *rule, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_create_acls_request_creation creation = {
        .resource_type = (int8_t)rule->type,
        .resource_name = rule->name,
        .resource_pattern_type = (int8_t)rule->pattern,
        .principal = rule->principal,
        .host = rule->host,
        .operation = (int8_t)rule->op,
        .permission_type = (int8_t)rule->permission,
    };
    struct kafka_create_acls_request q = {.creations = {&creation, 1}};
    struct kafka_create_acls_response r;
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_CREATE_ACLS, 2, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.results.n != 1) rc = err_set(e, ERR_PROTOCOL, "an answer about other rules than asked");
    if (rc == ERR_NONE && r.results.at[0].error_code != 0)
        rc = kerror_set(e, r.results.at[0].error_code, r.results.at[0].error_message, "adding a rule");
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_acl_remove(struct kclient *k, const struct acl *filter, int *n, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_delete_acls_request_filter f = {
        .resource_type_filter = (int8_t)filter->type,
        .resource_name_filter = filter->name,
        .pattern_type_filter = (int8_t)filter->pattern,
        .principal_filter = filter->principal,
        .host_filter = filter->host,
        .operation = (int8_t)filter->op,
        .permission_type = (int8_t)filter->permission,
    };
    struct kafka_delete_acls_request q = {.filters = {&f, 1}};
    struct kafka_delete_acls_response r;
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DELETE_ACLS, 2, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.filter_results.n != 1)
        rc = err_set(e, ERR_PROTOCOL, "an answer about other rules than asked");
    if (rc == ERR_NONE && r.filter_results.at[0].error_code != 0)
        rc = kerror_set(e, r.filter_results.at[0].error_code, r.filter_results.at[0].error_message, "removing rules");
    if (rc == ERR_NONE) *n += r.filter_results.at[0].matching_acls.n;
    arena_deinit(&a);
    return rc;
}

enum err_code kclient_acls(struct kclient *k, const struct acl *filter, void (*fn)(void *arg, const struct acl *a),
                           void *arg, struct err *e)
{
    uint64_t deadline = kclient_deadline(k, k->timeout_ms);
    struct kafka_describe_acls_request q = {
        .resource_type_filter = (int8_t)filter->type,
        .resource_name_filter = filter->name,
        .pattern_type_filter = (int8_t)filter->pattern,
        .principal_filter = filter->principal,
        .host_filter = filter->host,
        .operation = (int8_t)filter->op,
        .permission_type = (int8_t)filter->permission,
    };
    struct kafka_describe_acls_response r;
    struct kconn *c;
    struct arena a;

    arena_init(&a, 0);
    enum err_code rc = kclient_controller(k, &c, deadline, e);
    if (rc == ERR_NONE) rc = kcall_do(c, KAFKA_DESCRIBE_ACLS, 2, &q, &a, &r, deadline, e);
    if (rc == ERR_NONE && r.error_code != 0) rc = kerror_set(e, r.error_code, r.error_message, "listing rules");
    for (int32_t i = 0; rc == ERR_NONE && i < r.resources.n; i++) {
        const struct kafka_describe_acls_response_resource *at = &r.resources.at[i];

        for (int32_t j = 0; j < at->acls.n; j++)
            fn(arg, &(struct acl){(enum acl_resource)at->resource_type, (enum acl_pattern)at->pattern_type,
                                  (enum acl_operation)at->acls.at[j].operation,
                                  (enum acl_permission)at->acls.at[j].permission_type, at->resource_name,
                                  at->acls.at[j].principal, at->acls.at[j].host});
    }
    arena_deinit(&a);
    return rc;
}
