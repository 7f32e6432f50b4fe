/* Users, rules, decisions and the audit.
 *
 * authorise() is held against an evaluator of its own, which reads Kafka's rule straight down the list without any index:
 * random rules and questions over few names, so that patterns, denials and hosts meet all the time. */
#include "broker/test_world.h"

#include "broker/auth.h"
#include "broker/broker_int.h"

static const char *const names[] = {"pay", "pay2", "payments", "p", "orders", "*", "or"};
static const char *const people[] = {"User:alice", "User:bob", "User:*", "User:carl"};
static const char *const hosts[] = {"*", "10.0.0.1", "10.0.0.2"};
#define PICK(w, list) list[sim_random((w)->sim, sizeof(list) / sizeof(list[0]))]

static struct acl random_acl(struct world *w)
{
    static const enum acl_operation ops[] = {ACL_ALL,          ACL_READ,  ACL_WRITE,    ACL_CREATE,
                                             ACL_DELETE,       ACL_ALTER, ACL_DESCRIBE, ACL_DESCRIBE_CONFIGS,
                                             ACL_ALTER_CONFIGS};
    return (struct acl){.type = ACL_TOPIC,
                        .pattern = sim_random(w->sim, 2) ? ACL_LITERAL : ACL_PREFIXED,
                        .op = PICK(w, ops),
                        .permission = sim_random(w->sim, 3) ? ACL_ALLOW : ACL_DENY,
                        .name = bytes_str(PICK(w, names)),
                        .principal = bytes_str(PICK(w, people)),
                        .host = bytes_str(PICK(w, hosts))};
}

/* ---- the evaluator ---- */
static bool covers(const struct acl *a, struct bytes name)
{
    if (a->pattern == ACL_LITERAL) return bytes_equal(a->name, name) || bytes_equal_str(a->name, "*");
    return name.len >= a->name.len && memcmp(name.ptr, a->name.ptr, a->name.len) == 0;
}

static bool implies(enum acl_operation given, enum acl_operation asked)
{
    if (given == asked || given == ACL_ALL) return true;
    if (asked == ACL_DESCRIBE && (given == ACL_READ || given == ACL_WRITE)) return true;
    if (asked == ACL_DESCRIBE && (given == ACL_DELETE || given == ACL_ALTER)) return true;
    return asked == ACL_DESCRIBE_CONFIGS && given == ACL_ALTER_CONFIGS;
}

static bool expected(struct broker *b, const struct session *s, enum acl_operation op, struct bytes name)
{
    bool is_allowed = false, has_rules = false;
    uint32_t pos = 0;

    for (const struct acl *a; (a = acl_next(b, &pos)) != NULL;) {
        if (a->type != ACL_TOPIC || !covers(a, name)) continue;
        has_rules = true;
        if (!bytes_equal_str(a->principal, s->principal) && !bytes_equal_str(a->principal, "User:*")) continue;
        if (!bytes_equal_str(a->host, s->peer.host) && !bytes_equal_str(a->host, "*")) continue;
        if (a->permission == ACL_DENY && (a->op == op || a->op == ACL_ALL)) return false;
        if (a->permission == ACL_ALLOW && implies(a->op, op)) is_allowed = true;
    }
    return is_allowed || (!has_rules && broker_options(b)->allow_without_rules);
}

static void ask_all(struct world *w, unsigned n)
{
    static const char *const asked[] = {"pay", "pay2", "payments-eu", "p", "orders", "order", "x", "*", "o"};
    for (unsigned i = 0; i < n; i++) {
        struct session s = {.principal = PICK(w, people), .door = "test"};
        (void)snprintf(s.peer.host, sizeof(s.peer.host), "%s", hosts[1 + sim_random(w->sim, 2)]);
        struct bytes name = bytes_str(PICK(w, asked));
        enum acl_operation op = (enum acl_operation)(ACL_READ + sim_random(w->sim, 9));
        bool got = authorise_quiet(w->b, &s, op, ACL_TOPIC, name), want = expected(w->b, &s, op, name);
        if (got != want)
            fail_msg("%s from %s, operation %d on %.*s: %d, expected %d", s.principal, s.peer.host, op, BYTES_ARG(name),
                     got, want);
    }
}

static void test_authorise__agrees_with_a_plain_evaluator(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        world_init(&w, seed);
        w.options.login_required = true;
        w.options.allow_without_rules = seed % 4 == 0;
        world_open(&w);
        for (int round = 0; round < 10; round++) {
            for (uint64_t i = 0, n = sim_random(w.sim, 6); i < n; i++) {
                struct acl a = random_acl(&w);
                assert_ok(acl_add(w.b, &a, NULL));
            }
            uint32_t pos = 0;
            const struct acl *victim = acl_next(w.b, &pos);
            if (victim != NULL && round % 3 == 2) assert_ok(acl_remove(w.b, victim, NULL));
            ask_all(&w, 300);
        }
        world_restart(&w);
        ask_all(&w, 300);
        world_deinit(&w);
    }
}

static void test_authorise__is_open_until_there_is_a_rule_or_a_user(void **state)
{
    struct session s = {.principal = "User:ANONYMOUS", .peer = {.host = "127.0.0.1"}, .door = "test"};
    struct world w;
    (void)state;

    world_init(&w, 1);
    w.options.super_users = "User:root;User:CN=ops,O=x";
    world_open(&w);
    assert_true(authorise(w.b, &s, ACL_WRITE, ACL_TOPIC, BYTES_LIT("t")));
    assert_ok(user_set_password(w.b, BYTES_LIT("alice"), BYTES_LIT("secret"), NULL));
    assert_false(authorise(w.b, &s, ACL_WRITE, ACL_TOPIC, BYTES_LIT("t")));
    s.principal = "User:CN=ops,O=x";
    assert_true(authorise(w.b, &s, ACL_WRITE, ACL_TOPIC, BYTES_LIT("t")));
    s.principal = "User:rootling";
    assert_false(authorise(w.b, &s, ACL_WRITE, ACL_TOPIC, BYTES_LIT("t")));
    world_deinit(&w);
}

static void test_acl__what_makes_no_sense_is_refused(void **state)
{
    struct acl good = {ACL_TOPIC,      ACL_LITERAL,         ACL_READ,      ACL_ALLOW,
                       BYTES_LIT("t"), BYTES_LIT("User:a"), BYTES_LIT("*")};
    char longer[LIMIT_ACL_NAME_LEN_MAX + 2];
    struct world w;
    struct acl a;
    (void)state;

    world_init(&w, 1);
    world_open(&w);
    memset(longer, 'x', sizeof(longer));
    assert_ok(acl_add(w.b, &good, NULL));
    assert_ok(acl_add(w.b, &good, NULL)); /* again: the same */
    a = good, a.name = bytes_of(longer, LIMIT_ACL_NAME_LEN_MAX);
    assert_ok(acl_add(w.b, &a, NULL));
    a.name = bytes_of(longer, LIMIT_ACL_NAME_LEN_MAX + 1);
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.name = bytes_of("a\0b", 3);
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.principal = BYTES_LIT("alice");
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.op = ACL_IDEMPOTENT_WRITE;
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.type = ACL_CLUSTER, a.op = ACL_ALTER;
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.host = BYTES_LIT("");
    assert_int_equal(acl_add(w.b, &a, NULL), ERR_INVALID);
    a = good, a.host = BYTES_LIT("10.0.0.1");
    assert_int_equal(acl_remove(w.b, &a, NULL), ERR_NOT_FOUND);
    world_deinit(&w);
}

/* ---- users ---- */
struct checking {
    struct password_check check;
    bool is_done;
    enum err_code rc;
};
static void checked(struct password_check *c, enum err_code rc)
{
    struct checking *x = CONTAINER_OF(c, struct checking, check);
    x->is_done = true;
    x->rc = rc;
}

static enum err_code check_now(struct world *w, struct bytes user, struct bytes password)
{
    struct checking x = {.check.done = checked};
    enum err_code rc = password_check(w->b, &x.check, user, password);
    if (rc != ERR_BUSY) return rc;
    world_run(w, 10);
    assert_true(x.is_done);
    return x.rc;
}

static void test_user__passwords_are_checked_and_changed(void **state)
{
    struct world w;
    (void)state;

    world_init(&w, 3);
    world_open(&w);
    assert_ok(user_set_password(w.b, BYTES_LIT("alice"), BYTES_LIT("pencil"), NULL));
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("pencil")), ERR_NONE);
    struct checking x = {.check.done = checked};
    assert_int_equal(password_check(w.b, &x.check, BYTES_LIT("alice"), BYTES_LIT("pencil")), ERR_NONE); /* at once */
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("Pencil")), ERR_DENIED);
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("")), ERR_DENIED);
    assert_int_equal(check_now(&w, BYTES_LIT("bob"), BYTES_LIT("pencil")), ERR_DENIED);
    world_restart(&w);
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("pencil")), ERR_NONE);
    assert_ok(user_set_password(w.b, BYTES_LIT("alice"), BYTES_LIT("brush"), NULL));
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("pencil")), ERR_DENIED);
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("brush")), ERR_NONE);
    /* Deleted while it is computed: no longer right. */
    assert_ok(user_set_password(w.b, BYTES_LIT("carl"), BYTES_LIT("pencil"), NULL));
    struct checking late = {.check.done = checked};
    assert_int_equal(password_check(w.b, &late.check, BYTES_LIT("carl"), BYTES_LIT("pencil")), ERR_BUSY);
    assert_ok(user_delete(w.b, BYTES_LIT("carl"), NULL));
    world_run(&w, 10);
    assert_true(late.is_done);
    assert_int_equal(late.rc, ERR_DENIED);
    /* Given up, and given up by the broker's end. */
    struct checking gone = {.check.done = checked}, left = {.check.done = checked};
    assert_int_equal(password_check(w.b, &gone.check, BYTES_LIT("alice"), BYTES_LIT("x")), ERR_BUSY);
    password_check_cancel(&gone.check);
    assert_int_equal(password_check(w.b, &left.check, BYTES_LIT("alice"), BYTES_LIT("y")), ERR_BUSY);
    world_deinit(&w);
    assert_false(gone.is_done || left.is_done);
}

static void test_user__names_that_mean_something_else_are_refused(void **state)
{
    static const char *const bad[] = {"",       "*",         "User:*",       "#",  "a b", "a,b", "a=b",
                                      "a\r\nb", "ANONYMOUS", "\xd0\xb0lice", "a/b"};
    char longest[LIMIT_USER_NAME_LEN_MAX + 1];
    struct world w;
    (void)state;

    world_init(&w, 1);
    world_open(&w);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(user_set_password(w.b, bytes_str(bad[i]), BYTES_LIT("secret"), NULL), ERR_INVALID);
    assert_int_equal(user_set_password(w.b, bytes_of("a\0b", 3), BYTES_LIT("secret"), NULL), ERR_INVALID);
    memset(longest, 'a', sizeof(longest));
    assert_ok(user_set_password(w.b, bytes_of(longest, LIMIT_USER_NAME_LEN_MAX), BYTES_LIT("s"), NULL));
    assert_int_equal(user_set_password(w.b, bytes_of(longest, sizeof(longest)), BYTES_LIT("s"), NULL), ERR_INVALID);
    assert_int_equal(user_set_password(w.b, BYTES_LIT("a"), BYTES_LIT(""), NULL), ERR_INVALID);
    assert_int_equal(user_set_password(w.b, BYTES_LIT("a"), BYTES_LIT("x\ny"), NULL), ERR_INVALID);
    struct scram_verifier v = {.iterations = LIMIT_SCRAM_ITERATIONS_MIN - 1, .salt_len = 8};
    assert_int_equal(user_set_verifier(w.b, BYTES_LIT("a"), SCRAM_SHA_256, &v, NULL), ERR_INVALID);
    v.iterations = LIMIT_SCRAM_ITERATIONS_MAX + 1;
    assert_int_equal(user_set_verifier(w.b, BYTES_LIT("a"), SCRAM_SHA_256, &v, NULL), ERR_INVALID);
    v.iterations = LIMIT_SCRAM_ITERATIONS_MIN;
    assert_ok(user_set_verifier(w.b, BYTES_LIT("a"), SCRAM_SHA_256, &v, NULL));
    assert_ok(user_set_verifier(w.b, BYTES_LIT("a"), SCRAM_SHA_256, NULL, NULL));
    assert_null(user_find(w.b, BYTES_LIT("a")));
    world_deinit(&w);
}

static void test_user__checks_that_wait_are_bounded(void **state)
{
    static struct checking all[LIMIT_PASSWORD_CHECKS_MAX + 1];
    struct world w;
    (void)state;

    world_init(&w, 3);
    world_open(&w);
    for (int i = 0; i < LIMIT_PASSWORD_CHECKS_MAX; i++) {
        all[i] = (struct checking){.check.done = checked};
        assert_int_equal(password_check(w.b, &all[i].check, BYTES_LIT("a"), BYTES_LIT("x")), ERR_BUSY);
    }
    struct checking *more = &all[LIMIT_PASSWORD_CHECKS_MAX];
    more->check.done = checked;
    assert_int_equal(password_check(w.b, &more->check, BYTES_LIT("a"), BYTES_LIT("x")), ERR_DENIED);
    world_run(&w, 1000);
    assert_true(all[LIMIT_PASSWORD_CHECKS_MAX - 1].is_done);
    assert_int_equal(check_now(&w, BYTES_LIT("a"), BYTES_LIT("x")), ERR_DENIED);
    world_deinit(&w);
}

/* ---- nothing secret on the disk, and the audit ---- */
static bool topic_has(struct world *w, const char *topic, const char *text)
{
    struct partition *p = world_partition(w, topic, 0);
    bool found = false;

    for (int64_t at = partition_log_start(p); at < partition_high_watermark(p) && !found;) {
        struct log_slice s = {0};
        assert_ok(partition_read(p, at, 1 << 20, &s, NULL));
        found = s.bytes.len > 0 && memmem(s.bytes.ptr, s.bytes.len, text, strlen(text)) != NULL;
        at = s.next_offset;
        log_slice_release(&s);
    }
    return found;
}

static void test_audit__says_who_was_denied_and_no_secret(void **state)
{
    struct session s = {.principal = "User:mallory", .peer = {.host = "10.1.2.3"}, .door = "kafka"};
    struct world w;
    (void)state;

    world_init(&w, 1);
    world_open(&w);
    assert_ok(user_set_password(w.b, BYTES_LIT("alice"), BYTES_LIT("open-sesame-77"), NULL));
    assert_int_equal(check_now(&w, BYTES_LIT("alice"), BYTES_LIT("open-sesame-77")), ERR_NONE);
    assert_false(authorise(w.b, &s, ACL_READ, ACL_TOPIC, BYTES_LIT("ledger\"\n")));
    world_run(&w, 500);
    assert_true(topic_has(&w, AUDIT_TOPIC, "\"what\":\"read\",\"who\":\"User:mallory\",\"from\":\"10.1.2.3\""));
    assert_true(topic_has(&w, AUDIT_TOPIC, "ledger\\\"\\n"));
    assert_true(topic_has(&w, META_TOPIC, "alice"));
    assert_false(topic_has(&w, AUDIT_TOPIC, "sesame"));
    assert_false(topic_has(&w, META_TOPIC, "sesame"));
    world_restart(&w);
    assert_true(topic_has(&w, AUDIT_TOPIC, "mallory"));
    world_deinit(&w);
}

static void test_audit__a_flood_of_denials_is_bounded_and_counted(void **state)
{
    struct session s = {.principal = "User:mallory", .peer = {.host = "10.1.2.3"}, .door = "kafka"};
    struct world w;
    (void)state;

    world_init(&w, 1);
    w.options.login_required = true;
    world_open(&w);
    for (int i = 0; i < 10000; i++)
        assert_false(authorise(w.b, &s, ACL_READ, ACL_TOPIC, BYTES_LIT("t")));
    world_run(&w, 1500);
    assert_false(authorise(w.b, &s, ACL_READ, ACL_TOPIC, BYTES_LIT("t")));
    world_run(&w, 500);
    assert_int_equal(partition_high_watermark(world_partition(&w, AUDIT_TOPIC, 0)), LIMIT_AUDIT_FAILURES_PER_S + 2);
    assert_true(topic_has(&w, AUDIT_TOPIC, "\"suppressed\":9950"));
    world_deinit(&w);
}

static void test_authorise_any__needs_a_right_that_no_denial_covers(void **state)
{
    struct session s = {.principal = "User:alice", .peer = {.host = "10.0.0.1"}, .door = "kafka"};
    struct acl a = {ACL_TOPIC,     ACL_PREFIXED, ACL_WRITE, ACL_ALLOW, BYTES_LIT("pay"), BYTES_LIT("User:alice"),
                    BYTES_LIT("*")};
    struct world w;
    (void)state;

    world_init(&w, 1);
    w.options.login_required = true;
    world_open(&w);
    assert_false(authorise_any(w.b, &s, ACL_WRITE, ACL_TOPIC));
    assert_ok(acl_add(w.b, &a, NULL));
    assert_true(authorise_any(w.b, &s, ACL_WRITE, ACL_TOPIC));
    assert_false(authorise_any(w.b, &s, ACL_WRITE, ACL_GROUP));
    a.permission = ACL_DENY;
    a.name = BYTES_LIT("p");
    assert_ok(acl_add(w.b, &a, NULL));
    assert_false(authorise_any(w.b, &s, ACL_WRITE, ACL_TOPIC));
    assert_int_equal(authorised_operations(w.b, &s, ACL_TOPIC, BYTES_LIT("pay")), 1 << ACL_DESCRIBE);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authorise__agrees_with_a_plain_evaluator),
        cmocka_unit_test(test_authorise__is_open_until_there_is_a_rule_or_a_user),
        cmocka_unit_test(test_acl__what_makes_no_sense_is_refused),
        cmocka_unit_test(test_user__passwords_are_checked_and_changed),
        cmocka_unit_test(test_user__names_that_mean_something_else_are_refused),
        cmocka_unit_test(test_user__checks_that_wait_are_bounded),
        cmocka_unit_test(test_audit__says_who_was_denied_and_no_secret),
        cmocka_unit_test(test_audit__a_flood_of_denials_is_bounded_and_counted),
        cmocka_unit_test(test_authorise_any__needs_a_right_that_no_denial_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
