/* auth.c: the state behind auth.h, and the door's decision. Rules: acl.c. Users: user.c. Audit: audit.c. */
#include "broker/auth_int.h"

#include <stdlib.h>

static enum err_code super_users_parse(struct auth *a, const char *list, struct err *e)
{
    while (list != NULL && *list != 0) {
        size_t n = strcspn(list, ";");
        struct bytes one = bytes_of(list, n);
        if (n > 5 && n <= LIMIT_PRINCIPAL_LEN_MAX && memcmp(list, "User:", 5) == 0)
            (void)map_put(&a->super_users, one, a);
        else if (n > 0)
            return err_set(e, ERR_INVALID, "super user %.*s: write User: and a name", BYTES_ARG(one));
        list += n + (list[n] == ';');
    }
    return ERR_NONE;
}

enum err_code auth_open(struct broker *b, struct err *e)
{
    struct auth *a = calloc(1, sizeof(*a));

    check(a != NULL);
    a->b = b;
    b->auth = a;
    map_init(&a->users);
    map_init(&a->acls);
    map_init(&a->places);
    map_init(&a->super_users);
    map_init(&a->passwords);
    list_init(&a->watches);
    list_init(&a->checks);
    audit_init(a);
    crypto_random(b->sys->rng, a->secret, sizeof(a->secret));
    b->audit = topic_find(b, BYTES_LIT(AUDIT_TOPIC));
    enum err_code rc = super_users_parse(a, b->options.super_users, e);
    if (rc == ERR_NONE) rc = users_load(a, e);
    if (rc == ERR_NONE) rc = acls_load(a, e);
    return rc;
}

void auth_close(struct broker *b)
{
    audit_flush(b->auth);
}

void auth_destroy(struct broker *b)
{
    struct auth *a = b->auth;

    if (a == NULL) return;
    b->auth = NULL;
    audit_deinit(a);
    users_free(a);
    acls_free(a);
    map_deinit(&a->super_users);
    crypto_forget(a->secret, sizeof(a->secret));
    free(a);
}

bool auth_is_on(const struct broker *b)
{
    const struct auth *a = b->auth;
    return b->options.login_required || map_count(&a->users) > 0 || map_count(&a->acls) > 0;
}

bool authorise(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type,
               struct bytes name)
{
    static const char *const ops[] = {"",
                                      "",
                                      "all",
                                      "read",
                                      "write",
                                      "create",
                                      "delete",
                                      "alter",
                                      "describe",
                                      "cluster_action",
                                      "describe_configs",
                                      "alter_configs",
                                      "idempotent_write"};

    check((unsigned)op < sizeof(ops) / sizeof(ops[0]));
    bool may = authorise_quiet(b, s, op, type, name);
    if (!may) audit(b, s, ops[op], name, "denied");
    return may;
}

void auth_watch(struct broker *b, struct auth_watch *w)
{
    list_push_back(&b->auth->watches, &w->link);
}

void auth_unwatch(struct auth_watch *w)
{
    list_remove(&w->link);
}
