/* Logging in over the wire, and what happens to those who do not: a table of refusals, each of which must end the
 * connection, and rights as the handlers ask for them. A SCRAM client of its own, so that each of its messages can be bent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "door/kafka/kafka_int.h"
#include "door/kafka/test_client.h"

struct login_world {
    struct kworld w;
    struct broker_options broker;
    struct kafka_door_options door;
};

static void world_start(struct login_world *l)
{
    struct sim_options o = {.seed = 5, .wall_start_ms = WORLD_WALL_MS};
    struct kworld *w = &l->w;
    struct err e = {0};

    memset(w, 0, sizeof *w);
    l->broker = (struct broker_options){.data_dir = "data", .group_initial_delay_ms = -1, .super_users = "User:root"};
    l->door.listen = (struct net_address){.host = "127.0.0.1"};
    l->door.node_id = 7;
    l->door.sasl = true;
    assert_int_equal(sim_create(&w->sim, &o, &e), ERR_NONE);
    w->sys = sim_sys(w->sim);
    assert_int_equal(broker_open(&w->broker, w->sys, &l->broker, &e), ERR_NONE);
    assert_int_equal(kafka_door_open(&w->door, w->broker, &l->door, &w->address, &e), ERR_NONE);
    assert_int_equal(user_set_password(w->broker, BYTES_LIT("alice"), BYTES_LIT("pencil"), &e), ERR_NONE);
    assert_int_equal(user_set_password(w->broker, BYTES_LIT("bob"), BYTES_LIT("brush"), &e), ERR_NONE);
    assert_int_equal(user_set_password(w->broker, BYTES_LIT("root"), BYTES_LIT("crown"), &e), ERR_NONE);
}

static int16_t handshake(struct kclient_conn *c, int version, const char *mechanism)
{
    struct kafka_sasl_handshake_request q = {.mechanism = bytes_str(mechanism)};
    struct kafka_sasl_handshake_response r;

    kconn_send(c, KAFKA_SASL_HANDSHAKE, version, &q);
    return kconn_receive(c, KAFKA_SASL_HANDSHAKE, version, &r, 5000) ? r.error_code : -2;
}

/* -2: the connection ended. */
static int16_t token(struct kclient_conn *c, struct bytes in, struct bytes *out)
{
    struct kafka_sasl_authenticate_request q = {.auth_bytes = in};
    struct kafka_sasl_authenticate_response r;

    kconn_send(c, KAFKA_SASL_AUTHENTICATE, 1, &q);
    if (!kconn_receive(c, KAFKA_SASL_AUTHENTICATE, 1, &r, 5000)) return -2;
    *out = r.auth_bytes;
    return r.error_code;
}

/* How one exchange is bent; NULL: as it should be. */
struct bend {
    const char *user, *password, *header, *binding, *nonce, *extension, *first, *final;
    bool flips_proof, doubles_nonce;
};

static struct bytes scram_proof(struct kclient_conn *c, enum crypto_hash h, const char *password,
                                struct bytes first_bare, struct bytes server, struct bytes without, bool flips,
                                uint8_t *server_signature)
{
    uint8_t salted[64], client[64], stored[64], sig[64];
    size_t n = crypto_hash_bytes(h);
    const uint8_t *s = memmem(server.ptr, server.len, ",s=", 3), *i = memmem(server.ptr, server.len, ",i=", 3);
    struct buf salt, text, out;

    assert_non_null(s);
    assert_non_null(i);
    buf_init(&salt, 0);
    buf_init(&text, 0);
    buf_init(&out, 0);
    assert_true(crypto_base64_decode(bytes_of(s + 3, (size_t)(i - s - 3)), &salt));
    int rounds = atoi((const char *)i + 3);
    crypto_pbkdf2(h, bytes_str(password), buf_bytes(&salt), (unsigned)rounds, salted);
    crypto_hmac(h, bytes_of(salted, n), BYTES_LIT("Client Key"), client);
    crypto_digest(h, bytes_of(client, n), stored);
    buf_printf(&text, "%.*s,%.*s,%.*s", BYTES_ARG(first_bare), BYTES_ARG(server), BYTES_ARG(without));
    crypto_hmac(h, bytes_of(stored, n), buf_bytes(&text), sig);
    for (size_t k = 0; k < n; k++)
        client[k] ^= sig[k];
    client[0] ^= flips;
    crypto_hmac(h, bytes_of(salted, n), BYTES_LIT("Server Key"), stored);
    crypto_hmac(h, bytes_of(stored, n), buf_bytes(&text), server_signature);
    crypto_base64_put(&out, bytes_of(client, n));
    struct bytes proof = arena_copy(&c->arena, buf_bytes(&out));
    buf_deinit(&salt);
    buf_deinit(&text);
    buf_deinit(&out);
    return proof;
}

static int16_t scram(struct kclient_conn *c, enum crypto_hash h, const struct bend *b)
{
    const char *header = b->header ? b->header : "n,,";
    struct arena *a = &c->arena;
    uint8_t signature[64];
    struct bytes server = BYTES_NULL, last = BYTES_NULL;
    struct buf b64;

    char *bare = arena_printf(a, "n=%s,r=abc%s", b->user ? b->user : "alice", b->extension ? b->extension : "");
    char *first = b->first ? arena_strdup(a, b->first) : arena_printf(a, "%s%s", header, bare);
    int16_t error = token(c, bytes_str(first), &server);
    if (error != 0) return error;
    const uint8_t *comma = memchr(server.ptr, ',', server.len);
    char *nonce = arena_printf(a, "%.*s", (int)(comma - server.ptr) - 2, (const char *)server.ptr + 2);
    buf_init(&b64, 0);
    crypto_base64_put(&b64, bytes_str(header));
    struct bytes binding = b->binding ? bytes_str(b->binding) : buf_bytes(&b64);
    char *without = arena_printf(a, "c=%.*s,r=%s%s", BYTES_ARG(binding), b->doubles_nonce ? "abc" : "",
                                 b->nonce ? b->nonce : nonce);
    buf_deinit(&b64);
    struct bytes proof = scram_proof(c, h, b->password ? b->password : "pencil", bytes_str(bare), server,
                                     bytes_str(without), b->flips_proof, signature);
    char *final = arena_printf(a, "%s,p=%.*s", without, BYTES_ARG(proof));
    error = token(c, bytes_str(b->final ? b->final : final), &last);
    if (error != 0) return error;
    struct buf v;
    buf_init(&v, 0);
    buf_put_str(&v, "v=");
    crypto_base64_put(&v, bytes_of(signature, crypto_hash_bytes(h)));
    assert_true(bytes_equal(buf_bytes(&v), last)); /* the server knows the password, too */
    buf_deinit(&v);
    return 0;
}

static int16_t login(struct kclient_conn *c, const char *user, const char *password)
{
    struct bend b = {.user = user, .password = password};
    int16_t error = handshake(c, 1, "SCRAM-SHA-256");
    return error != 0 ? error : scram(c, CRYPTO_SHA256, &b);
}

static void expect_end(struct kclient_conn *c)
{
    for (int i = 0; i < 1000 && !c->is_closed; i++)
        sim_run_ms(c->w->sim, 1);
    assert_true(c->is_closed);
}

static void test_sasl__scram_lets_in_who_knows_the_password(void **state)
{
    struct login_world l = {0};
    struct kclient_conn c;
    struct bend b = {0}, y = {.header = "y,,"}, z = {.header = "n,a=alice,", .extension = ",x=whatever"};
    (void)state;

    world_start(&l);
    kconn_open(&c, &l.w);
    assert_int_equal(handshake(&c, 1, "SCRAM-SHA-256"), 0);
    assert_int_equal(scram(&c, CRYPTO_SHA256, &b), 0);
    kconn_close(&c);
    kconn_open(&c, &l.w);
    assert_int_equal(handshake(&c, 1, "SCRAM-SHA-512"), 0);
    assert_int_equal(scram(&c, CRYPTO_SHA512, &y), 0);
    kconn_close(&c);
    kconn_open(&c, &l.w);
    assert_int_equal(handshake(&c, 1, "SCRAM-SHA-512"), 0);
    assert_int_equal(scram(&c, CRYPTO_SHA512, &z), 0);
    kconn_close(&c);
    struct bend old = {.doubles_nonce = true}; /* librdkafka 2.0 */
    kconn_open(&c, &l.w);
    assert_int_equal(handshake(&c, 1, "SCRAM-SHA-256"), 0);
    assert_int_equal(scram(&c, CRYPTO_SHA256, &old), 0);
    kconn_close(&c);
    kworld_deinit(&l.w);
}

static void test_sasl__whatever_is_wrong_is_refused_late_and_ends_the_connection(void **state)
{
    static const struct {
        const char *what;
        struct bend bend;
    } table[] = {
        {"wrong password", {.password = "Pencil"}},
        {"empty password", {.password = ""}},
        {"unknown user", {.user = "nobody"}},
        {"user *", {.user = "*"}},
        {"user User:*", {.user = "User:*"}},
        {"empty user", {.user = ""}},
        {"user with an escape", {.user = "ali=2Cce"}},
        {"look-alike", {.user = "\xd0\xb0lice"}},
        {"control characters", {.user = "alice\r\n"}},
        {"wrong nonce", {.nonce = "abcdef"}},
        {"binding of another header", {.binding = "eSws"}},
        {"binding that is asked for", {.first = "p=tls-unique,,n=alice,r=abc"}},
        {"other identity", {.header = "n,a=bob,"}},
        {"mandatory extension", {.first = "n,,m=ext,n=alice,r=abc"}},
        {"token login", {.extension = ",tokenauth=true"}},
        {"no nonce", {.first = "n,,n=alice"}},
        {"nothing", {.first = ""}},
        {"proof bent", {.flips_proof = true}},
        {"no proof", {.final = "c=biws,r=abc"}},
        {"garbage", {.final = "\x01\x02,,,,===="}},
    };
    struct login_world l = {0};
    (void)state;

    world_start(&l);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct kclient_conn c;

        kconn_open(&c, &l.w);
        assert_int_equal(handshake(&c, 1, "SCRAM-SHA-256"), 0);
        uint64_t before = l.w.sys->clock->mono_ns(l.w.sys->clock);
        int16_t error = scram(&c, CRYPTO_SHA256, &table[i].bend);
        if (error != KE_SASL_AUTHENTICATION_FAILED) fail_msg("%s: %d", table[i].what, error);
        assert_true(l.w.sys->clock->mono_ns(l.w.sys->clock) - before >= 100 * 1000000ull);
        expect_end(&c);
        kconn_close(&c);
    }
    kworld_deinit(&l.w);
}

static void test_sasl__nothing_else_is_handled_before_the_login(void **state)
{
    struct kafka_api_versions_request versions = {BYTES_LIT("test"), BYTES_LIT("1.0")};
    struct kafka_api_versions_response r;
    struct login_world l = {0};
    struct kclient_conn c;
    struct buf batch;
    (void)state;

    world_start(&l);
    kconn_open(&c, &l.w);
    kconn_call(&c, KAFKA_API_VERSIONS, 3, &versions, &r);
    kbatch(&batch, "v", 1, -1, -1, CODEC_NONE);
    kproduce_send(&c, 9, -1, "t", 0, buf_bytes(&batch));
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w); /* between the handshake and its token */
    assert_int_equal(handshake(&c, 1, "SCRAM-SHA-256"), 0);
    kproduce_send(&c, 9, -1, "t", 0, buf_bytes(&batch));
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w); /* tokens without a handshake */
    struct kafka_sasl_authenticate_request q = {.auth_bytes = BYTES_LIT("n,,n=alice,r=abc")};
    kconn_send(&c, KAFKA_SASL_AUTHENTICATE, 1, &q);
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w); /* a large frame */
    kconn_send_bytes(&c, bytes_of("\x00\x01\x00\x00\x00\x12\x00\x03", 8));
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w); /* silence */
    sim_run_ms(l.w.sim, LIMIT_LOGIN_MS - 500);
    assert_false(c.is_closed);
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w);
    assert_int_equal(handshake(&c, 1, "GSSAPI"), KE_UNSUPPORTED_SASL_MECHANISM);
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w); /* no encryption here */
    assert_int_equal(handshake(&c, 1, "PLAIN"), KE_UNSUPPORTED_SASL_MECHANISM);
    kconn_close(&c);
    assert_null(topic_find(l.w.broker, BYTES_LIT("t")));
    buf_deinit(&batch);
    kworld_deinit(&l.w);
}

static void test_sasl__plain_and_bare_tokens(void **state)
{
    static const struct {
        struct bytes token;
        int16_t error;
    } table[] = {
        {BYTES_INIT("\0alice\0pencil"), 0},
        {BYTES_INIT("alice\0alice\0pencil"), 0},
        {BYTES_INIT("bob\0alice\0pencil"), 58},
        {BYTES_INIT("\0alice\0penci"), 58},
        {BYTES_INIT("\0alice\0"), 58},
        {BYTES_INIT("\0nobody\0pencil"), 58},
        {BYTES_INIT("\0\0pencil"), 58},
        {BYTES_INIT("alice pencil"), 58},
        {BYTES_INIT(""), 58},
        {BYTES_INIT("\0alice\0pencil\0x"), 58},
    };
    struct login_world l = {.door.plain_unencrypted = true};
    struct kclient_conn c;
    struct bytes out;
    (void)state;

    world_start(&l);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        kconn_open(&c, &l.w);
        assert_int_equal(handshake(&c, 1, "PLAIN"), 0);
        assert_int_equal(token(&c, table[i].token, &out), table[i].error);
        kconn_close(&c);
    }
    for (int good = 0; good < 2; good++) { /* version 0: i32 and bytes */
        struct bytes frame;
        kconn_open(&c, &l.w);
        assert_int_equal(handshake(&c, 0, "PLAIN"), 0);
        if (good)
            kconn_send_bytes(&c, bytes_of("\0\0\0\x0d\0alice\0pencil", 17));
        else
            kconn_send_bytes(&c, bytes_of("\0\0\0\x05\0a\0bc", 9));
        assert_int_equal(kconn_wait(&c, &frame, 1000), good);
        if (good) assert_int_equal(frame.len, 0);
        if (!good) expect_end(&c);
        kconn_close(&c);
    }
    kworld_deinit(&l.w);
}

static void test_sasl__a_second_login_must_be_the_same_user(void **state)
{
    struct login_world l = {.door.login_lifetime_ms = 60000};
    struct kafka_metadata_request q;
    struct kafka_metadata_response r;
    struct kclient_conn c;
    (void)state;

    world_start(&l);
    wire_init(&kafka_metadata_request_wire, &q);
    kconn_open(&c, &l.w);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    kconn_call(&c, KAFKA_METADATA, 5, &q, &r);
    assert_int_equal(login(&c, "bob", "brush"), KE_SASL_AUTHENTICATION_FAILED);
    expect_end(&c);
    kconn_close(&c);
    kconn_open(&c, &l.w);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    sim_run_ms(l.w.sim, 61000);
    kconn_send(&c, KAFKA_METADATA, 5, &q); /* too old */
    expect_end(&c);
    kconn_close(&c);
    kworld_deinit(&l.w);
}

static void test_sasl__a_deleted_user_is_cut_off(void **state)
{
    struct login_world l = {0};
    struct kclient_conn c, other;
    (void)state;

    world_start(&l);
    kconn_open(&c, &l.w);
    kconn_open(&other, &l.w);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    assert_int_equal(login(&other, "bob", "brush"), 0);
    assert_int_equal(user_delete(l.w.broker, BYTES_LIT("alice"), NULL), ERR_NONE);
    sim_run_ms(l.w.sim, 100);
    assert_true(c.is_closed);
    assert_false(other.is_closed);
    kconn_close(&c);
    kconn_close(&other);
    kworld_deinit(&l.w);
}

static void allow(struct login_world *l, enum acl_resource type, enum acl_pattern pattern, const char *name,
                  enum acl_operation op, enum acl_permission permission)
{
    struct acl a = {type, pattern, op, permission, bytes_str(name), BYTES_LIT("User:alice"), BYTES_LIT("*")};
    assert_int_equal(acl_add(l->w.broker, &a, NULL), ERR_NONE);
}

static int16_t fetch_error(struct kclient_conn *c, const char *topic)
{
    struct kafka_fetch_response r;
    int64_t at = 0;

    kfetch_send(c, 11, topic, &at, 1, 0, 1, 1 << 20);
    assert_true(kconn_receive(c, KAFKA_FETCH, 11, &r, 5000));
    return r.topics.at[0].partitions.at[0].error_code;
}

static int16_t heartbeat_error(struct kclient_conn *c, const char *group)
{
    struct kafka_heartbeat_request q;
    struct kafka_heartbeat_response r;

    wire_init(&kafka_heartbeat_request_wire, &q);
    q.group_id = bytes_str(group);
    kconn_call(c, KAFKA_HEARTBEAT, 3, &q, &r);
    return r.error_code;
}

static int16_t init_error(struct kclient_conn *c, const char *id)
{
    struct kafka_init_producer_id_request q;
    struct kafka_init_producer_id_response r;

    wire_init(&kafka_init_producer_id_request_wire, &q);
    q.transactional_id = id != NULL ? bytes_str(id) : BYTES_NULL;
    q.transaction_timeout_ms = 1000;
    kconn_call(c, KAFKA_INIT_PRODUCER_ID, 3, &q, &r);
    return r.error_code;
}

static int32_t topics_seen(struct kclient_conn *c)
{
    struct kafka_metadata_request q;
    struct kafka_metadata_response r;
    int32_t n = 0;

    wire_init(&kafka_metadata_request_wire, &q);
    q.topics.n = -1;
    kconn_call(c, KAFKA_METADATA, 5, &q, &r);
    for (int32_t i = 0; i < r.topics.n; i++)
        n += !r.topics.at[i].is_internal;
    return n;
}

static void test_rights__hold_for_what_clients_do(void **state)
{
    struct login_world l = {0};
    struct kclient_conn root, c;
    (void)state;

    world_start(&l);
    kconn_open(&root, &l.w);
    assert_int_equal(login(&root, "root", "crown"), 0);
    kcreate(&root, "pay", 1);
    kcreate(&root, "pay2", 1);
    kcreate(&root, "ledger", 1);
    assert_int_equal(kproduce(&root, "ledger", 0, "v", 1).error_code, 0);
    sim_run_ms(l.w.sim, 500);
    assert_int_equal(kproduce(&root, "_weir_audit", 0, "v", 1).error_code, KE_INVALID_TOPIC); /* nobody writes there */
    kconn_open(&c, &l.w);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    assert_int_equal(topics_seen(&c), 0);
    assert_int_equal(init_error(&c, NULL), KE_CLUSTER_AUTHORIZATION_FAILED);
    allow(&l, ACL_TOPIC, ACL_PREFIXED, "pay", ACL_WRITE, ACL_ALLOW);
    allow(&l, ACL_TOPIC, ACL_LITERAL, "pay2", ACL_WRITE, ACL_DENY);
    allow(&l, ACL_TOPIC, ACL_LITERAL, "ledger", ACL_DESCRIBE, ACL_ALLOW);
    allow(&l, ACL_GROUP, ACL_LITERAL, "mine", ACL_READ, ACL_ALLOW);
    allow(&l, ACL_TRANSACTIONAL_ID, ACL_LITERAL, "tx", ACL_WRITE, ACL_ALLOW);
    assert_int_equal(topics_seen(&c), 3);
    assert_int_equal(kproduce(&c, "pay", 0, "v", 1).error_code, 0);
    assert_int_equal(kproduce(&c, "pay2", 0, "v", 1).error_code, KE_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(kproduce(&c, "ledger", 0, "v", 1).error_code, KE_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(kproduce(&c, "nothing", 0, "v", 1).error_code, KE_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(fetch_error(&c, "ledger"), KE_TOPIC_AUTHORIZATION_FAILED); /* Describe alone does not read */
    assert_int_equal(heartbeat_error(&c, "mine"), KE_UNKNOWN_MEMBER_ID);
    assert_int_equal(heartbeat_error(&c, "other"), KE_GROUP_AUTHORIZATION_FAILED);
    assert_int_equal(init_error(&c, NULL), 0);
    assert_int_equal(init_error(&c, "tx"), 0);
    assert_int_equal(init_error(&c, "tx2"), KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    /* A right that is gone is gone for connections that are there. */
    struct acl a = {ACL_TOPIC,     ACL_PREFIXED, ACL_WRITE, ACL_ALLOW, BYTES_LIT("pay"), BYTES_LIT("User:alice"),
                    BYTES_LIT("*")};
    assert_int_equal(acl_remove(l.w.broker, &a, NULL), ERR_NONE);
    assert_int_equal(kproduce(&c, "pay", 0, "v", 1).error_code, KE_TOPIC_AUTHORIZATION_FAILED);
    kconn_close(&c);
    kconn_close(&root);
    kworld_deinit(&l.w);
}

static void test_rights__rules_and_users_are_administered_over_the_wire(void **state)
{
    struct kafka_create_acls_request_creation creation;
    struct kafka_create_acls_request create = {.creations = {&creation, 1}};
    struct kafka_create_acls_response created;
    struct kafka_describe_acls_request describe;
    struct kafka_describe_acls_response described;
    struct kafka_delete_acls_request_filter filter;
    struct kafka_delete_acls_request delete = {.filters = {&filter, 1}};
    struct kafka_delete_acls_response deleted;
    struct kafka_describe_user_scram_credentials_request users;
    struct kafka_describe_user_scram_credentials_response shown;
    struct login_world l = {0};
    struct kclient_conn root, c;
    (void)state;

    world_start(&l);
    kconn_open(&root, &l.w);
    kconn_open(&c, &l.w);
    assert_int_equal(login(&root, "root", "crown"), 0);
    assert_int_equal(login(&c, "alice", "pencil"), 0);
    wire_init(&kafka_create_acls_request_creation_wire, &creation);
    creation.resource_type = ACL_TOPIC;
    creation.resource_name = BYTES_LIT("t");
    creation.principal = BYTES_LIT("User:alice");
    creation.host = BYTES_LIT("*");
    creation.operation = ACL_READ;
    creation.permission_type = ACL_ALLOW;
    for (int version = 1; version <= 3; version++) {
        kconn_call(&c, KAFKA_CREATE_ACLS, version, &create, &created);
        assert_int_equal(created.results.at[0].error_code, KE_CLUSTER_AUTHORIZATION_FAILED);
        kconn_call(&root, KAFKA_CREATE_ACLS, version, &create, &created);
        assert_int_equal(created.results.at[0].error_code, 0);
    }
    wire_init(&kafka_describe_acls_request_wire, &describe);
    describe.resource_name_filter = describe.principal_filter = describe.host_filter = BYTES_NULL;
    describe.resource_type_filter = ACL_RESOURCE_ANY;
    describe.pattern_type_filter = ACL_PATTERN_ANY;
    describe.operation = ACL_OPERATION_ANY;
    describe.permission_type = ACL_PERMISSION_ANY;
    kconn_call(&c, KAFKA_DESCRIBE_ACLS, 2, &describe, &described);
    assert_int_equal(described.error_code, KE_CLUSTER_AUTHORIZATION_FAILED);
    kconn_call(&root, KAFKA_DESCRIBE_ACLS, 2, &describe, &described);
    assert_int_equal(described.resources.n, 1);
    assert_int_equal(described.resources.at[0].acls.n, 1);
    wire_init(&kafka_delete_acls_request_filter_wire, &filter);
    filter.principal_filter = filter.host_filter = BYTES_NULL;
    filter.resource_type_filter = ACL_TOPIC;
    filter.pattern_type_filter = ACL_MATCH;
    filter.resource_name_filter = BYTES_LIT("t");
    filter.operation = ACL_OPERATION_ANY;
    filter.permission_type = ACL_PERMISSION_ANY;
    kconn_call(&c, KAFKA_DELETE_ACLS, 2, &delete, &deleted);
    assert_int_equal(deleted.filter_results.at[0].error_code, KE_CLUSTER_AUTHORIZATION_FAILED);
    kconn_call(&root, KAFKA_DELETE_ACLS, 2, &delete, &deleted);
    assert_int_equal(deleted.filter_results.at[0].matching_acls.n, 1);
    wire_init(&kafka_describe_user_scram_credentials_request_wire, &users);
    users.users.n = -1;
    kconn_call(&c, KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, &users, &shown);
    assert_int_equal(shown.error_code, KE_CLUSTER_AUTHORIZATION_FAILED);
    kconn_call(&root, KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, &users, &shown);
    assert_int_equal(shown.results.n, 3);
    kconn_close(&c);
    kconn_close(&root);
    kworld_deinit(&l.w);
}

static void test_rights__a_user_made_over_the_wire_can_log_in(void **state)
{
    struct kafka_alter_user_scram_credentials_request_upsertion u;
    struct kafka_alter_user_scram_credentials_request q = {.upsertions = {&u, 1}};
    struct kafka_alter_user_scram_credentials_response r;
    struct login_world l = {0};
    struct kclient_conn root, c;
    uint8_t salted[32];
    (void)state;

    world_start(&l);
    kconn_open(&root, &l.w);
    assert_int_equal(login(&root, "root", "crown"), 0);
    wire_init(&kafka_alter_user_scram_credentials_request_upsertion_wire, &u);
    u.name = BYTES_LIT("dora");
    u.mechanism = 1;
    u.iterations = 4096;
    u.salt = BYTES_LIT("0123456789");
    crypto_pbkdf2(CRYPTO_SHA256, BYTES_LIT("shell"), u.salt, 4096, salted);
    u.salted_password = bytes_of(salted, 32);
    kconn_call(&root, KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, &q, &r);
    assert_int_equal(r.results.at[0].error_code, 0);
    u.iterations = 4095;
    kconn_call(&root, KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, &q, &r);
    assert_int_equal(r.results.at[0].error_code, KE_UNACCEPTABLE_CREDENTIAL);
    kconn_open(&c, &l.w);
    assert_int_equal(login(&c, "dora", "shell"), 0);
    u.iterations = 5000;
    kconn_call(&c, KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, &q, &r);
    assert_int_equal(r.results.at[0].error_code, KE_CLUSTER_AUTHORIZATION_FAILED);
    kconn_close(&c);
    kconn_close(&root);
    kworld_deinit(&l.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sasl__scram_lets_in_who_knows_the_password),
        cmocka_unit_test(test_sasl__whatever_is_wrong_is_refused_late_and_ends_the_connection),
        cmocka_unit_test(test_sasl__nothing_else_is_handled_before_the_login),
        cmocka_unit_test(test_sasl__plain_and_bare_tokens),
        cmocka_unit_test(test_sasl__a_second_login_must_be_the_same_user),
        cmocka_unit_test(test_sasl__a_deleted_user_is_cut_off),
        cmocka_unit_test(test_rights__hold_for_what_clients_do),
        cmocka_unit_test(test_rights__rules_and_users_are_administered_over_the_wire),
        cmocka_unit_test(test_rights__a_user_made_over_the_wire_can_log_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
