/* DescribeUserScramCredentials and AlterUserScramCredentials. The client derives the salted password itself: the
 * password never travels. A user without credentials is gone, so deleting the last one deletes the user. */
#include "door/kafka/kafka_int.h"

#define MECHANISM_UNKNOWN "SCRAM-SHA-256 (1) and SCRAM-SHA-512 (2) are known"

typedef struct kafka_describe_user_scram_credentials_response_result described;

static void describe(struct kafka_request *q, const struct user *u, described *r)
{
    r->user = arena_copy(&q->arena, u->name);
    r->credential_infos.at = arena_array(&q->arena, SCRAM_MECHANISMS, sizeof *r->credential_infos.at);
    for (int m = SCRAM_SHA_256; m <= SCRAM_MECHANISMS; m++) {
        if (u->verifiers[m - 1].iterations == 0) continue;
        r->credential_infos.at[r->credential_infos.n].mechanism = (int8_t)m;
        r->credential_infos.at[r->credential_infos.n++].iterations = (int32_t)u->verifiers[m - 1].iterations;
    }
}

void kafka_handle_describe_user_scram_credentials(struct kafka_request *q, void *body)
{
    const struct kafka_describe_user_scram_credentials_request *in = body;
    struct kafka_describe_user_scram_credentials_response out;
    struct broker *b = kafka_broker(q);
    const struct user *u;
    uint32_t pos = 0;
    int32_t n = 0;

    wire_init(&kafka_describe_user_scram_credentials_response_wire, &out);
    if (!kafka_may(q, ACL_DESCRIBE, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME))) {
        out.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        kafka_reply(q, &out);
        return;
    }
    bool is_all = in->users.n <= 0;
    for (n = is_all ? 0 : in->users.n; is_all && user_next(b, &pos) != NULL;)
        n++;
    out.results.at = arena_array(&q->arena, (size_t)n, sizeof *out.results.at);
    pos = 0;
    for (int32_t i = 0; i < n; i++) {
        described *r = &out.results.at[out.results.n++];

        wire_init(&kafka_describe_user_scram_credentials_response_result_wire, r);
        u = is_all ? user_next(b, &pos) : user_find(b, in->users.at[i].name);
        if (u != NULL) {
            describe(q, u, r);
        } else {
            r->user = in->users.at[i].name;
            r->error_code = KE_RESOURCE_NOT_FOUND;
            r->error_message = BYTES_LIT("no such user");
        }
    }
    kafka_reply(q, &out);
}

typedef struct kafka_alter_user_scram_credentials_request request;

static int16_t error_of(enum err_code rc)
{
    if (rc == ERR_NOT_FOUND) return KE_RESOURCE_NOT_FOUND;
    return rc == ERR_INVALID ? (int16_t)KE_UNACCEPTABLE_CREDENTIAL : kafka_error_of(rc);
}

/* Each user and mechanism once in a request. */
static bool is_named_twice(const request *in, struct bytes name, int8_t mechanism)
{
    int n = 0;

    for (int32_t i = 0; i < in->deletions.n; i++)
        n += in->deletions.at[i].mechanism == mechanism && bytes_equal(in->deletions.at[i].name, name);
    for (int32_t i = 0; i < in->upsertions.n; i++)
        n += in->upsertions.at[i].mechanism == mechanism && bytes_equal(in->upsertions.at[i].name, name);
    return n > 1;
}

static int16_t delete_one(struct kafka_request *q, struct bytes name, int8_t m, struct err *e)
{
    return error_of(user_set_verifier(kafka_broker(q), name, (enum scram_mechanism)m, NULL, e));
}

static int16_t upsert(struct kafka_request *q, const struct kafka_alter_user_scram_credentials_request_upsertion *u,
                      struct err *e)
{
    enum scram_mechanism m = (enum scram_mechanism)u->mechanism;
    struct scram_verifier v;

    if (u->salt.len == 0 || u->salt.len > SCRAM_SALT_BYTES_MAX ||
        u->salted_password.len != crypto_hash_bytes(scram_hash(m))) {
        (void)err_set(e, ERR_INVALID, "the salt has 1 to %d bytes, the salted password as many as the hash",
                      SCRAM_SALT_BYTES_MAX);
        return KE_UNACCEPTABLE_CREDENTIAL;
    }
    scram_verifier_of_salted(&v, m, u->iterations > 0 ? (uint32_t)u->iterations : 0, u->salt, u->salted_password.ptr);
    int16_t error = error_of(user_set_verifier(kafka_broker(q), u->name, m, &v, e));
    crypto_forget(&v, sizeof v);
    return error;
}

void kafka_handle_alter_user_scram_credentials(struct kafka_request *q, void *body)
{
    const request *in = body;
    struct kafka_alter_user_scram_credentials_response out;
    bool may = kafka_may(q, ACL_ALTER, ACL_CLUSTER, BYTES_LIT(ACL_CLUSTER_NAME));

    wire_init(&kafka_alter_user_scram_credentials_response_wire, &out);
    out.results.n = in->deletions.n + in->upsertions.n;
    out.results.at = arena_array(&q->arena, (size_t)out.results.n, sizeof *out.results.at);
    for (int32_t i = 0; i < out.results.n; i++) {
        struct kafka_alter_user_scram_credentials_response_result *r = &out.results.at[i];
        bool is_deletion = i < in->deletions.n;
        int32_t at = is_deletion ? i : i - in->deletions.n;
        struct bytes name = is_deletion ? in->deletions.at[at].name : in->upsertions.at[at].name;
        int8_t m = is_deletion ? in->deletions.at[at].mechanism : in->upsertions.at[at].mechanism;
        struct err e = {0};

        wire_init(&kafka_alter_user_scram_credentials_response_result_wire, r);
        r->user = arena_copy(&q->arena, name);
        if (!may) {
            r->error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
        } else if (m < SCRAM_SHA_256 || m > SCRAM_MECHANISMS) {
            r->error_code = KE_UNSUPPORTED_SASL_MECHANISM;
            (void)err_set(&e, ERR_INVALID, MECHANISM_UNKNOWN);
        } else if (is_named_twice(in, name, m)) {
            r->error_code = KE_DUPLICATE_RESOURCE;
        } else {
            r->error_code = is_deletion ? delete_one(q, name, m, &e) : upsert(q, &in->upsertions.at[at], &e);
            kafka_audit(q, is_deletion ? "user.delete" : "user.set", r->user, r->error_code);
        }
        if (r->error_code != KE_NONE && e.text[0] != 0) r->error_message = bytes_str(arena_strdup(&q->arena, e.text));
    }
    kafka_reply(q, &out);
}
