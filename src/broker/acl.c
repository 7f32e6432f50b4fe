/* acl.c: the rules: how they are stored, found and applied.
 *
 * A rule is a definition of the kind "acl" whose name is the whole rule and whose text is a version byte:
 *
 *   u8 type, u8 pattern, u8 operation, u8 permission, resource name, 0, principal, 0, host
 *
 * Rules of one place (type, pattern, name) hang in one list. A question looks at the literal place, at "*", and at the
 * prefixed places of those lengths that exist for the type: a handful of look-ups, whatever the number of rules.
 * Why no cache of decisions: the look-ups cost a fraction of a microsecond, and a revoked right must end at once. */
#include "broker/auth_int.h"

#include <stdlib.h>

#define ACL_RECORD_VERSION 1

struct acl_place {
    struct list rules; /* struct acl_entry */
};
struct acl_entry {
    struct acl acl; /* strings inside of `key` */
    struct list link;
    uint8_t *key;
};

static void rule_key(struct buf *out, const struct acl *a)
{
    buf_put_u8(out, (uint8_t)a->type);
    buf_put_u8(out, (uint8_t)a->pattern);
    buf_put_u8(out, (uint8_t)a->op);
    buf_put_u8(out, (uint8_t)a->permission);
    buf_put_bytes(out, a->name);
    buf_put_u8(out, 0);
    buf_put_bytes(out, a->principal);
    buf_put_u8(out, 0);
    buf_put_bytes(out, a->host);
}

static bool rule_parse(struct bytes key, struct acl *out)
{
    if (key.len < 6) return false;
    const uint8_t *end = key.ptr + key.len, *name = key.ptr + 4;
    const uint8_t *principal = memchr(name, 0, (size_t)(end - name));
    if (principal == NULL) return false;
    const uint8_t *host = memchr(principal + 1, 0, (size_t)(end - principal - 1));
    if (host == NULL) return false;
    *out = (struct acl){
        .type = (enum acl_resource)key.ptr[0],
        .pattern = (enum acl_pattern)key.ptr[1],
        .op = (enum acl_operation)key.ptr[2],
        .permission = (enum acl_permission)key.ptr[3],
        .name = bytes_of(name, (size_t)(principal - name)),
        .principal = bytes_of(principal + 1, (size_t)(host - principal - 1)),
        .host = bytes_of(host + 1, (size_t)(end - host - 1)),
    };
    return true;
}

/* Which operations a resource knows, as Kafka's AclEntry.supportedOperations. */
static bool op_fits(enum acl_resource type, enum acl_operation op)
{
    static const uint32_t fits[ACL_TYPES] = {
        [ACL_TOPIC] = 1u << ACL_READ | 1u << ACL_WRITE | 1u << ACL_CREATE | 1u << ACL_DESCRIBE | 1u << ACL_DELETE |
                      1u << ACL_ALTER | 1u << ACL_DESCRIBE_CONFIGS | 1u << ACL_ALTER_CONFIGS,
        [ACL_GROUP] = 1u << ACL_READ | 1u << ACL_DESCRIBE | 1u << ACL_DELETE | 1u << ACL_DESCRIBE_CONFIGS |
                      1u << ACL_ALTER_CONFIGS,
        [ACL_CLUSTER] = 1u << ACL_CREATE | 1u << ACL_CLUSTER_ACTION | 1u << ACL_DESCRIBE_CONFIGS |
                        1u << ACL_ALTER_CONFIGS | 1u << ACL_IDEMPOTENT_WRITE | 1u << ACL_ALTER | 1u << ACL_DESCRIBE,
        [ACL_TRANSACTIONAL_ID] = 1u << ACL_DESCRIBE | 1u << ACL_WRITE,
        [ACL_DELEGATION_TOKEN] = 1u << ACL_DESCRIBE,
    };
    return op == ACL_ALL || (op < 32 && (fits[type] >> op & 1));
}

static bool is_text(struct bytes v, size_t max)
{
    if (bytes_is_null(v) || v.len == 0 || v.len > max || !text_is_utf8(v)) return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < 0x20 || v.ptr[i] == 0x7f) return false;
    return true;
}

static enum err_code rule_check(const struct acl *a, struct err *e)
{
    if (a->type < ACL_TOPIC || a->type > ACL_TRANSACTIONAL_ID)
        return err_set(e, ERR_INVALID, "a rule is about a topic, a group, the cluster or a transactional id");
    if (a->pattern != ACL_LITERAL && a->pattern != ACL_PREFIXED)
        return err_set(e, ERR_INVALID, "a rule's pattern is literal or prefixed");
    if (a->permission != ACL_ALLOW && a->permission != ACL_DENY)
        return err_set(e, ERR_INVALID, "a rule allows or denies");
    if (!op_fits(a->type, a->op)) return err_set(e, ERR_INVALID, "no such operation on this kind of resource");
    if (!is_text(a->name, LIMIT_ACL_NAME_LEN_MAX))
        return err_set(e, ERR_INVALID, "a rule needs a resource name of 1 to %d printable bytes",
                       LIMIT_ACL_NAME_LEN_MAX);
    if (a->type == ACL_CLUSTER && !bytes_equal_str(a->name, ACL_CLUSTER_NAME))
        return err_set(e, ERR_INVALID, "the cluster's name is " ACL_CLUSTER_NAME);
    if (!is_text(a->principal, LIMIT_PRINCIPAL_LEN_MAX) || a->principal.len < 6 ||
        memcmp(a->principal.ptr, "User:", 5) != 0)
        return err_set(e, ERR_INVALID, "a principal is User: and a name");
    if (!is_text(a->host, sizeof(((struct net_address *)0)->host) - 1))
        return err_set(e, ERR_INVALID, "a host is a numeric address or *");
    return ERR_NONE;
}

/* ---- the tables ---- */
static size_t place_key(uint8_t *out, enum acl_resource type, enum acl_pattern pattern, struct bytes name)
{
    out[0] = (uint8_t)type;
    out[1] = (uint8_t)pattern;
    memcpy(out + 2, name.ptr, name.len);
    return name.len + 2;
}

static struct acl_place *place_find(const struct auth *auth, enum acl_resource type, enum acl_pattern pattern,
                                    struct bytes name)
{
    uint8_t key[LIMIT_ACL_NAME_LEN_MAX + 2];
    if (name.len > LIMIT_ACL_NAME_LEN_MAX) return NULL;
    return map_get(&auth->places, bytes_of(key, place_key(key, type, pattern, name)));
}

static void table_add(struct auth *auth, struct bytes key)
{
    uint8_t place[LIMIT_ACL_NAME_LEN_MAX + 2];
    struct acl_entry *entry = calloc(1, sizeof(*entry));

    check(entry != NULL && (entry->key = malloc(key.len)) != NULL);
    memcpy(entry->key, key.ptr, key.len);
    check(rule_parse(bytes_of(entry->key, key.len), &entry->acl));
    const struct acl *a = &entry->acl;
    struct acl_place *at = place_find(auth, a->type, a->pattern, a->name);
    if (at == NULL) {
        at = calloc(1, sizeof(*at));
        check(at != NULL);
        list_init(&at->rules);
        (void)map_put(&auth->places, bytes_of(place, place_key(place, a->type, a->pattern, a->name)), at);
        if (a->pattern == ACL_PREFIXED) auth->n_prefixes[a->type][a->name.len]++;
    }
    list_push_back(&at->rules, &entry->link);
    check(map_put(&auth->acls, key, entry) == NULL);
}

static void entry_free(struct acl_entry *entry)
{
    free(entry->key);
    free(entry);
}

static void table_remove(struct auth *auth, struct bytes key)
{
    uint8_t place[LIMIT_ACL_NAME_LEN_MAX + 2];
    struct acl_entry *entry = map_remove(&auth->acls, key);

    check(entry != NULL);
    const struct acl *a = &entry->acl;
    struct acl_place *at = place_find(auth, a->type, a->pattern, a->name);
    check(at != NULL);
    list_remove(&entry->link);
    if (list_is_empty(&at->rules)) {
        (void)map_remove(&auth->places, bytes_of(place, place_key(place, a->type, a->pattern, a->name)));
        if (a->pattern == ACL_PREFIXED) auth->n_prefixes[a->type][a->name.len]--;
        free(at);
    }
    entry_free(entry);
}

static bool load_one(void *arg, struct bytes name, struct bytes text)
{
    struct auth *auth = arg;
    struct acl a;

    /* What cannot be read as a whole must not be left out: a lost denial would be a right. */
    if (text.len != 1 || text.ptr[0] != ACL_RECORD_VERSION || !rule_parse(name, &a) || rule_check(&a, NULL) != ERR_NONE)
        return auth->b = NULL, false;
    table_add(auth, name);
    return true;
}

enum err_code acls_load(struct auth *a, struct err *e)
{
    struct broker *b = a->b;

    broker_definitions(b, ACL_KIND, load_one, a);
    if (a->b != NULL) return ERR_NONE;
    a->b = b;
    return err_set(e, ERR_UNSUPPORTED, "%s has a rule of an unknown version", META_TOPIC);
}

void acls_free(struct auth *a)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&a->acls, &pos)) != NULL;)
        entry_free(m->value);
    pos = 0;
    for (struct map_entry *m; (m = map_next(&a->places, &pos)) != NULL;)
        free(m->value);
    map_deinit(&a->acls);
    map_deinit(&a->places);
}

enum err_code acl_add(struct broker *b, const struct acl *a, struct err *e)
{
    static const uint8_t version = ACL_RECORD_VERSION;
    struct buf key;

    enum err_code rc = rule_check(a, e);
    if (rc != ERR_NONE) return rc;
    buf_init(&key, 0);
    rule_key(&key, a);
    bool is_known = map_get(&b->auth->acls, buf_bytes(&key)) != NULL;
    if (!is_known && map_count(&b->auth->acls) >= LIMIT_ACLS_MAX)
        rc = err_set(e, ERR_LIMIT, "there are %d rules already", LIMIT_ACLS_MAX);
    if (!is_known && rc == ERR_NONE) rc = broker_define(b, ACL_KIND, buf_bytes(&key), bytes_of(&version, 1), e);
    if (!is_known && rc == ERR_NONE) table_add(b->auth, buf_bytes(&key));
    buf_deinit(&key);
    return rc;
}

enum err_code acl_remove(struct broker *b, const struct acl *a, struct err *e)
{
    struct buf key;

    buf_init(&key, 0);
    rule_key(&key, a);
    enum err_code rc = ERR_NONE;
    if (map_get(&b->auth->acls, buf_bytes(&key)) == NULL) rc = err_set(e, ERR_NOT_FOUND, "no such rule");
    if (rc == ERR_NONE) rc = broker_undefine(b, ACL_KIND, buf_bytes(&key), e);
    if (rc == ERR_NONE) table_remove(b->auth, buf_bytes(&key));
    buf_deinit(&key);
    return rc;
}

const struct acl *acl_next(const struct broker *b, uint32_t *pos)
{
    struct map_entry *m = map_next(&b->auth->acls, pos);
    return m == NULL ? NULL : &((struct acl_entry *)m->value)->acl;
}

static bool starts_with(struct bytes name, struct bytes prefix)
{
    return name.len >= prefix.len && memcmp(name.ptr, prefix.ptr, prefix.len) == 0;
}

static bool name_filter_matches(const struct acl *f, const struct acl *a)
{
    if (f->pattern != ACL_PATTERN_ANY && f->pattern != ACL_MATCH && f->pattern != a->pattern) return false;
    if (bytes_is_null(f->name)) return true;
    if (f->pattern != ACL_MATCH) return bytes_equal(f->name, a->name);
    if (a->pattern == ACL_PREFIXED) return starts_with(f->name, a->name);
    return bytes_equal(f->name, a->name) || bytes_equal_str(a->name, "*");
}

bool acl_filter_matches(const struct acl *f, const struct acl *a)
{
    if (f->type != ACL_RESOURCE_ANY && f->type != a->type) return false;
    if (f->op != ACL_OPERATION_ANY && f->op != a->op) return false;
    if (f->permission != ACL_PERMISSION_ANY && f->permission != a->permission) return false;
    if (!bytes_is_null(f->principal) && !bytes_equal(f->principal, a->principal)) return false;
    if (!bytes_is_null(f->host) && !bytes_equal(f->host, a->host)) return false;
    return name_filter_matches(f, a);
}

/* ---- decisions ---- */
struct question {
    struct bytes principal, host;
    enum acl_operation op;
    bool has_rules, is_denied, is_allowed;
};

static bool op_allows(enum acl_operation given, enum acl_operation asked)
{
    if (given == ACL_ALL || given == asked) return true;
    if (asked == ACL_DESCRIBE)
        return given == ACL_READ || given == ACL_WRITE || given == ACL_DELETE || given == ACL_ALTER;
    return asked == ACL_DESCRIBE_CONFIGS && given == ACL_ALTER_CONFIGS;
}

static bool is_about(const struct acl *a, const struct question *q)
{
    bool is_him = bytes_equal(a->principal, q->principal) || bytes_equal_str(a->principal, "User:*");
    return is_him && (bytes_equal_str(a->host, "*") || bytes_equal(a->host, q->host));
}

static void ask_place(const struct acl_place *at, struct question *q)
{
    if (at == NULL) return;
    q->has_rules = true;
    for (struct list *n = at->rules.next; n != &at->rules; n = n->next) {
        const struct acl *a = &CONTAINER_OF(n, struct acl_entry, link)->acl;
        if (!is_about(a, q)) continue;
        if (a->permission == ACL_DENY)
            q->is_denied = q->is_denied || a->op == ACL_ALL || a->op == q->op;
        else
            q->is_allowed = q->is_allowed || op_allows(a->op, q->op);
    }
}

static bool is_super(const struct auth *auth, const char *principal)
{
    return map_get_str(&auth->super_users, principal) != NULL;
}

bool authorise_quiet(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type,
                     struct bytes name)
{
    const struct auth *auth = b->auth;
    struct question q = {.principal = bytes_str(s->principal), .host = bytes_str(s->peer.host), .op = op};

    check(type < ACL_TYPES);
    if (!auth_is_on(b) || is_super(auth, s->principal)) return true;
    if (name.ptr == NULL) name = BYTES_LIT("");
    ask_place(place_find(auth, type, ACL_LITERAL, name), &q);
    ask_place(place_find(auth, type, ACL_LITERAL, BYTES_LIT("*")), &q);
    for (size_t n = 1; n <= name.len && n <= LIMIT_ACL_NAME_LEN_MAX; n++)
        if (auth->n_prefixes[type][n] > 0) ask_place(place_find(auth, type, ACL_PREFIXED, bytes_slice(name, 0, n)), &q);
    if (q.is_denied) return false;
    return q.is_allowed || (!q.has_rules && b->options.allow_without_rules);
}

/* Would what this rule allows be left after the denials? */
static bool is_dominated(const struct auth *auth, const struct acl *given, const struct question *ask)
{
    struct question q = *ask;

    ask_place(place_find(auth, given->type, ACL_LITERAL, BYTES_LIT("*")), &q);
    bool is_star = given->pattern == ACL_LITERAL && bytes_equal_str(given->name, "*");
    if (!is_star && given->pattern == ACL_LITERAL)
        ask_place(place_find(auth, given->type, ACL_LITERAL, given->name), &q);
    for (size_t n = 1; !is_star && n <= given->name.len; n++)
        if (auth->n_prefixes[given->type][n] > 0)
            ask_place(place_find(auth, given->type, ACL_PREFIXED, bytes_slice(given->name, 0, n)), &q);
    return q.is_denied;
}

bool authorise_any(struct broker *b, const struct session *s, enum acl_operation op, enum acl_resource type)
{
    struct question q = {.principal = bytes_str(s->principal), .host = bytes_str(s->peer.host), .op = op};
    uint32_t pos = 0;

    if (!auth_is_on(b) || is_super(b->auth, s->principal)) return true;
    for (const struct acl *a; (a = acl_next(b, &pos)) != NULL;) {
        if (a->type != type || a->permission != ACL_ALLOW || !is_about(a, &q) || !op_allows(a->op, op)) continue;
        if (!is_dominated(b->auth, a, &q)) return true;
    }
    if (!b->options.allow_without_rules) return false;
    ask_place(place_find(b->auth, type, ACL_LITERAL, BYTES_LIT("*")), &q);
    return !q.is_denied;
}

int32_t authorised_operations(struct broker *b, const struct session *s, enum acl_resource type, struct bytes name)
{
    int32_t bits = 0;

    for (int op = ACL_READ; op <= ACL_IDEMPOTENT_WRITE; op++)
        if (op_fits(type, (enum acl_operation)op) && authorise_quiet(b, s, (enum acl_operation)op, type, name))
            bits |= 1 << op;
    return bits;
}
