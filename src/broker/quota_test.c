/* Quotas: precedence, windows, what is refused, and that rules survive a restart. Method: a broker in a simulated
 * world; time is moved by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include "broker/quota.h"
#include "broker/test_world.h"

static const struct quota_part none = {QUOTA_ABSENT, {NULL, 0}}, any = {QUOTA_DEFAULT, {NULL, 0}};

static struct quota_part named(const char *name)
{
    return (struct quota_part){QUOTA_NAMED, bytes_str(name)};
}

static enum err_code set(struct world *w, struct quota_part user, struct quota_part client, struct quota_part ip,
                         enum quota_kind kind, double value)
{
    struct quota_entity entity = {user, client, ip};
    struct quota_change change = {kind, false, value};

    return quota_alter(w->b, &entity, &change, 1, false, NULL);
}

static enum err_code unset(struct world *w, struct quota_part user, struct quota_part client, enum quota_kind kind)
{
    struct quota_entity entity = {user, client, none};
    struct quota_change change = {kind, true, 0};

    return quota_alter(w->b, &entity, &change, 1, false, NULL);
}

static double limit_of(struct world *w, const char *user, const char *client)
{
    return quota_window_max(w->b, QUOTA_PRODUCE, bytes_str(user), bytes_str(client)) / 10;
}

static uint64_t produce(struct world *w, const char *user, const char *client, double bytes)
{
    return quota_charge(w->b, QUOTA_PRODUCE, bytes_str(user), bytes_str(client), bytes, false);
}

/* Q3: each step of the order hides the ones after it. */
static void test_quota__the_most_specific_rule_decides(void **state)
{
    struct world w;
    const struct {
        struct quota_part user, client;
    } order[] = {{none, any},       {none, named("c")}, {any, none},       {any, any},
                 {any, named("c")}, {named("u"), none}, {named("u"), any}, {named("u"), named("c")}};

    (void)state;
    world_init(&w, 1);
    world_open(&w);
    assert_false(quotas_any(w.b));
    assert_true(limit_of(&w, "u", "c") > 1e300);
    for (int i = 0; i < 8; i++) {
        assert_ok(set(&w, order[i].user, order[i].client, none, QUOTA_PRODUCE, 100 + i));
        assert_int_equal((int)limit_of(&w, "u", "c"), 100 + i);
    }
    assert_int_equal((int)limit_of(&w, "u", "other"), 106);
    assert_int_equal((int)limit_of(&w, "v", "c"), 104);
    assert_int_equal((int)limit_of(&w, "v", "other"), 103);
    for (int i = 7; i > 0; i--) {
        assert_ok(unset(&w, order[i].user, order[i].client, QUOTA_PRODUCE));
        assert_int_equal((int)limit_of(&w, "u", "c"), 99 + i);
    }
    assert_ok(unset(&w, order[0].user, order[0].client, QUOTA_PRODUCE));
    assert_false(quotas_any(w.b));
    world_deinit(&w);
}

/* Q3: a rule of a user is one bucket for all its programs; one of a client id is one for all users. */
static void test_quota__the_rule_says_whose_bucket_it_is(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 2);
    world_open(&w);
    assert_ok(set(&w, named("u"), none, none, QUOTA_PRODUCE, 100));
    assert_int_equal(produce(&w, "u", "a", 1000), 0); /* the burst of a fresh window: ten seconds' worth */
    assert_true(produce(&w, "u", "b", 100) > 0);
    assert_int_equal(produce(&w, "v", "b", 1e9), 0); /* no rule */
    assert_ok(set(&w, any, any, none, QUOTA_PRODUCE, 100));
    assert_int_equal(produce(&w, "v", "a", 1000), 0);
    assert_int_equal(produce(&w, "v", "b", 1000), 0);
    assert_true(produce(&w, "v", "b", 100) > 0);
    world_deinit(&w);
}

/* Q4: so long that the rate is the limit again afterwards; and over a long time the rate that gets through is the
 * limit. */
static void test_quota__waiting_as_told_keeps_the_rate(void **state)
{
    struct world w;
    double sent = 0;
    uint64_t begin, now, waited = 0;

    (void)state;
    world_init(&w, 3);
    world_open(&w);
    assert_ok(set(&w, any, none, none, QUOTA_PRODUCE, 1000));
    assert_int_equal(produce(&w, "u", "a", 10000), 0);
    assert_int_equal(produce(&w, "u", "a", 1000), 1000); /* 11000 in 10 s is 100 a second too much: 0.1 * 10 s */
    world_run(&w, 12000);                                /* the window is empty again */
    assert_int_equal(produce(&w, "u", "a", 10000), 0);
    world_run(&w, 12000);
    begin = now = w.sys->loop->now_ns(w.sys->loop) / 1000000;
    while (now - begin < 120000) {
        uint64_t wait = produce(&w, "u", "a", 3000);

        sent += 3000;
        waited += wait;
        world_run(&w, wait + 1);
        now = w.sys->loop->now_ns(w.sys->loop) / 1000000;
    }
    assert_true(waited > 0);
    assert_true(sent / (double)(now - begin) * 1000 < 1150); /* the burst at the beginning is in it */
    assert_true(sent / (double)(now - begin) * 1000 > 900);
    world_deinit(&w);
}

/* A fetch that has to wait takes nothing out of the window. */
static void test_quota__undone_charges_do_not_count(void **state)
{
    struct world w;
    struct bytes u = BYTES_LIT("u"), c = BYTES_LIT("c");
    uint64_t wait;

    (void)state;
    world_init(&w, 4);
    world_open(&w);
    assert_ok(set(&w, none, named("c"), none, QUOTA_CONSUME, 1000));
    assert_int_equal(quota_charge(w.b, QUOTA_CONSUME, u, c, 9000, true), 0);
    wait = quota_charge(w.b, QUOTA_CONSUME, u, c, 2000, true);
    assert_int_equal(wait, 1000);
    assert_int_equal(quota_charge(w.b, QUOTA_CONSUME, u, c, 1000, true), 0);
    assert_int_equal(quota_charge(w.b, QUOTA_CONSUME, u, c, 1, true), 1); /* the window is full */
    world_run(&w, 11000);
    assert_int_equal(quota_charge(w.b, QUOTA_CONSUME, u, c, 10000, true), 0);
    world_deinit(&w);
}

static void test_quota__time_and_connections_wait_a_second_at_most(void **state)
{
    struct world w;

    (void)state;
    world_init(&w, 5);
    world_open(&w);
    assert_ok(set(&w, any, none, none, QUOTA_REQUEST, 0.5));
    assert_int_equal(quota_charge(w.b, QUOTA_REQUEST, bytes_str("u"), bytes_str("c"), 1e6, false), 1000);
    assert_ok(set(&w, none, none, any, QUOTA_CONNECTIONS, 1));
    assert_ok(set(&w, none, none, named("10.0.0.1"), QUOTA_CONNECTIONS, 100));
    for (int i = 0; i < 10; i++)
        assert_int_equal(quota_charge_connection(w.b, bytes_str("10.0.0.2")), 0);
    assert_int_equal(quota_charge_connection(w.b, bytes_str("10.0.0.2")), 1000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(quota_charge_connection(w.b, bytes_str("10.0.0.1")), 0);
    world_deinit(&w);
}

static void test_quota__impossible_rules_are_refused(void **state)
{
    struct world w;
    static char longname[LIMIT_QUOTA_NAME_LEN_MAX + 2];

    (void)state;
    memset(longname, 'n', sizeof longname - 1);
    world_init(&w, 6);
    world_open(&w);
    assert_int_equal(set(&w, none, none, none, QUOTA_PRODUCE, 1), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, named("::1"), QUOTA_PRODUCE, 1), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_CONNECTIONS, 1), ERR_INVALID);
    assert_int_equal(set(&w, none, none, any, QUOTA_PRODUCE, 1), ERR_INVALID);
    assert_int_equal(set(&w, named(""), none, none, QUOTA_PRODUCE, 1), ERR_INVALID);
    assert_int_equal(set(&w, named(longname), none, none, QUOTA_PRODUCE, 1), ERR_INVALID);
    longname[LIMIT_QUOTA_NAME_LEN_MAX] = '\0';
    assert_ok(set(&w, named(longname), none, none, QUOTA_PRODUCE, 1));
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_PRODUCE, 0), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_PRODUCE, -5), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_PRODUCE, 1.5), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_PRODUCE, 0.0 / 0.0), ERR_INVALID);
    assert_int_equal(set(&w, named("u"), none, none, QUOTA_REQUEST, 1.0 / 0.0), ERR_INVALID);
    assert_ok(unset(&w, named("nobody"), none, QUOTA_PRODUCE));
    world_deinit(&w);
}

static bool print_rule(void *arg, const struct quota_entity *entity, const struct quota_limits *limits)
{
    struct buf *out = arg;

    buf_printf(out, "%d:%.*s %d:%.*s %d:%.*s", entity->user.match, BYTES_ARG(entity->user.name), entity->client.match,
               BYTES_ARG(entity->client.name), entity->ip.match, BYTES_ARG(entity->ip.name));
    for (int i = 0; i < QUOTA_KINDS; i++)
        if (limits->has[i]) buf_printf(out, " %s=%g", quota_kind_name((enum quota_kind)i), limits->value[i]);
    buf_put_u8(out, '\n');
    return true;
}

static bool print_definition(void *arg, struct bytes name, struct bytes text)
{
    buf_printf(arg, "%.*s: %.*s\n", BYTES_ARG(name), BYTES_ARG(text));
    return true;
}

/* The stored form is a promise (docs/format): names that look like the default or like more than one part stay what
 * they are. */
static void test_quota__rules_survive_a_restart(void **state)
{
    struct world w;
    struct buf out;

    (void)state;
    world_init(&w, 7);
    world_open(&w);
    assert_ok(set(&w, named("CN=a,O=b c"), any, none, QUOTA_PRODUCE, 1048576));
    assert_ok(set(&w, named("CN=a,O=b c"), any, none, QUOTA_REQUEST, 12.5));
    assert_ok(set(&w, none, named("<default>"), none, QUOTA_CONSUME, 9007199254740993.0));
    assert_ok(set(&w, any, none, none, QUOTA_MUTATIONS, 0.1));
    assert_ok(set(&w, none, none, named("::1"), QUOTA_CONNECTIONS, 5));
    assert_ok(set(&w, named("gone"), none, none, QUOTA_PRODUCE, 5));
    assert_ok(unset(&w, named("gone"), none, QUOTA_PRODUCE));
    world_restart(&w);
    buf_init(&out, 0);
    broker_definitions(w.b, "quota", print_definition, &out);
    quota_each(w.b, print_rule, &out);
    buf_put_u8(&out, 0);
    assert_string_equal((char *)out.ptr, "user=CN%3Da%2CO%3Db%20c,client-id=<default>: 1 producer_byte_rate=1048576 "
                                         "request_percentage=12.5\n"
                                         "client-id=%3Cdefault%3E: 1 consumer_byte_rate=9007199254740992\n"
                                         "user=<default>: 1 controller_mutation_rate=0.1\n"
                                         "ip=%3A%3A1: 1 connection_creation_rate=5\n"
                                         "2:CN=a,O=b c 1: 0: producer_byte_rate=1.04858e+06 request_percentage=12.5\n"
                                         "0: 2:<default> 0: consumer_byte_rate=9.0072e+15\n"
                                         "1: 0: 0: controller_mutation_rate=0.1\n"
                                         "0: 0: 2:::1 connection_creation_rate=5\n");
    buf_deinit(&out);
    assert_true(quotas_any(w.b));
    world_deinit(&w);
}

static void test_quota__a_rule_of_another_version_stops_the_start(void **state)
{
    struct world w;
    struct err e = {0};

    (void)state;
    world_init(&w, 8);
    world_open(&w);
    assert_ok(broker_define(w.b, "quota", bytes_str("user=u"), bytes_str("2 producer_byte_rate=1"), NULL));
    broker_close(w.b);
    world_run(&w, 1);
    assert_int_equal(broker_open(&w.b, w.sys, &w.options, &e), ERR_UNSUPPORTED);
    world_run(&w, 1);
    sim_destroy(w.sim);
}

/* Q5. */
static void test_quota__made_up_client_ids_do_not_grow_the_buckets(void **state)
{
    struct quota_stats stats;
    struct world w;
    uint64_t wait = 0;

    (void)state;
    world_init(&w, 9);
    world_open(&w);
    assert_ok(set(&w, none, any, none, QUOTA_PRODUCE, 10));
    for (unsigned i = 0; i < LIMIT_QUOTA_BUCKETS_MAX + 50; i++) {
        char client[16];

        (void)snprintf(client, sizeof client, "c%u", i);
        wait = produce(&w, "u", client, 10);
    }
    quota_stats(w.b, &stats);
    assert_int_equal(stats.buckets, LIMIT_QUOTA_BUCKETS_MAX);
    assert_true(wait > 0); /* those beyond share one */
    world_run(&w, 12000);
    assert_int_equal(produce(&w, "u", "later", 10), 0);
    quota_stats(w.b, &stats);
    assert_int_equal(stats.buckets, 1);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota__the_most_specific_rule_decides),
        cmocka_unit_test(test_quota__the_rule_says_whose_bucket_it_is),
        cmocka_unit_test(test_quota__waiting_as_told_keeps_the_rate),
        cmocka_unit_test(test_quota__undone_charges_do_not_count),
        cmocka_unit_test(test_quota__time_and_connections_wait_a_second_at_most),
        cmocka_unit_test(test_quota__impossible_rules_are_refused),
        cmocka_unit_test(test_quota__rules_survive_a_restart),
        cmocka_unit_test(test_quota__a_rule_of_another_version_stops_the_start),
        cmocka_unit_test(test_quota__made_up_client_ids_do_not_grow_the_buckets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
