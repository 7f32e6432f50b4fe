/* user.c: users and the check of their passwords. A user is a definition of the kind "user" whose text is
 *
 *   u8 version 1, then for each mechanism: u8 mechanism, u32 iterations, u8 salt length, salt, stored key, server key
 *
 * with the keys as long as the mechanism's hash: what RFC 5802 lets a server know. Integers are big-endian.
 *
 * Why a job for each check: PBKDF2 takes 5 ms, and the loop has better things to do. Checks that wait are bounded, so
 * that a crowd of wrong passwords cannot hold up the syncs that share the job thread for longer than that bound. */
#include "broker/auth_int.h"

#include <stdlib.h>

#include "base/reader.h"

#define USER_RECORD_VERSION 1
#define USER_ITERATIONS 15000u
#define USER_SALT_BYTES 24

enum crypto_hash scram_hash(enum scram_mechanism m)
{
    return m == SCRAM_SHA_256 ? CRYPTO_SHA256 : CRYPTO_SHA512;
}

bool user_is_name(struct bytes name)
{
    if (bytes_is_null(name) || name.len < 1 || name.len > LIMIT_USER_NAME_LEN_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && (c == 0 || strchr("._@+-", c) == NULL)) return false;
    }
    return !bytes_equal_str(name, "ANONYMOUS");
}

/* ---- records ---- */
static void user_encode(struct buf *out, const struct user *u)
{
    buf_put_u8(out, USER_RECORD_VERSION);
    for (int m = SCRAM_SHA_256; m <= SCRAM_MECHANISMS; m++) {
        const struct scram_verifier *v = &u->verifiers[m - 1];
        size_t n = crypto_hash_bytes(scram_hash((enum scram_mechanism)m));
        if (v->iterations == 0) continue;
        buf_put_u8(out, (uint8_t)m);
        buf_put_be32(out, v->iterations);
        buf_put_u8(out, v->salt_len);
        buf_put(out, v->salt, v->salt_len);
        buf_put(out, v->stored_key, n);
        buf_put(out, v->server_key, n);
    }
}

static bool user_decode(struct user *u, struct bytes text)
{
    struct reader r = reader_of(text);

    if (reader_u8(&r) != USER_RECORD_VERSION) return false;
    while (reader_left(&r) > 0) {
        unsigned m = reader_u8(&r);
        if (m < SCRAM_SHA_256 || m > SCRAM_MECHANISMS) return false;
        struct scram_verifier *v = &u->verifiers[m - 1];
        size_t n = crypto_hash_bytes(scram_hash((enum scram_mechanism)m));
        v->iterations = reader_be32(&r);
        v->salt_len = reader_u8(&r);
        if (v->salt_len > SCRAM_SALT_BYTES_MAX) return false;
        struct bytes salt = reader_take(&r, v->salt_len), stored = reader_take(&r, n), server = reader_take(&r, n);
        if (r.failed || v->iterations < LIMIT_SCRAM_ITERATIONS_MIN) return false;
        memcpy(v->salt, salt.ptr, salt.len);
        memcpy(v->stored_key, stored.ptr, n);
        memcpy(v->server_key, server.ptr, n);
    }
    return !r.failed;
}

static void user_free(struct user *u)
{
    if (u == NULL) return;
    free((void *)(uintptr_t)u->name.ptr);
    crypto_forget(u, sizeof(*u));
    free(u);
}

static void table_put(struct auth *a, struct bytes name, const struct user *like)
{
    struct user *u = calloc(1, sizeof(*u));
    uint8_t *copy = malloc(name.len + 1);

    check(u != NULL && copy != NULL);
    memcpy(copy, name.ptr, name.len);
    copy[name.len] = 0;
    *u = *like;
    u->name = bytes_of(copy, name.len);
    user_free(map_put(&a->users, u->name, u));
    free(map_remove(&a->passwords, name));
}

static bool load_one(void *arg, struct bytes name, struct bytes text)
{
    struct auth *a = arg;
    struct user u = {0};

    if (!user_is_name(name) || !user_decode(&u, text)) return a->b = NULL, false;
    table_put(a, name, &u);
    return true;
}

enum err_code users_load(struct auth *a, struct err *e)
{
    struct broker *b = a->b;

    broker_definitions(b, USER_KIND, load_one, a);
    if (a->b != NULL) return ERR_NONE;
    a->b = b;
    return err_set(e, ERR_UNSUPPORTED, "%s has a user of an unknown version", META_TOPIC);
}

const struct user *user_find(const struct broker *b, struct bytes name)
{
    return map_get(&b->auth->users, name);
}

const struct user *user_next(const struct broker *b, uint32_t *pos)
{
    struct map_entry *m = map_next(&b->auth->users, pos);
    return m == NULL ? NULL : m->value;
}

static enum err_code user_store(struct broker *b, struct bytes name, const struct user *u, struct err *e)
{
    struct buf text;

    if (!user_is_name(name))
        return err_set(e, ERR_INVALID, "a user's name is 1 to %d of A-Z a-z 0-9 . _ @ + -", LIMIT_USER_NAME_LEN_MAX);
    if (user_find(b, name) == NULL && map_count(&b->auth->users) >= LIMIT_USERS_MAX)
        return err_set(e, ERR_LIMIT, "there are %d users already", LIMIT_USERS_MAX);
    buf_init(&text, 0);
    user_encode(&text, u);
    enum err_code rc = broker_define(b, USER_KIND, name, buf_bytes(&text), e);
    if (rc == ERR_NONE) table_put(b->auth, name, u);
    buf_deinit(&text);
    return rc;
}

void scram_verifier_of_salted(struct scram_verifier *v, enum scram_mechanism m, uint32_t iterations, struct bytes salt,
                              const uint8_t *salted)
{
    enum crypto_hash h = scram_hash(m);
    size_t n = crypto_hash_bytes(h);
    uint8_t client[CRYPTO_HASH_BYTES_MAX];

    check(salt.len <= SCRAM_SALT_BYTES_MAX);
    *v = (struct scram_verifier){.iterations = iterations, .salt_len = (uint8_t)salt.len};
    memcpy(v->salt, salt.ptr, salt.len);
    crypto_hmac(h, bytes_of(salted, n), BYTES_LIT("Client Key"), client);
    crypto_digest(h, bytes_of(client, n), v->stored_key);
    crypto_hmac(h, bytes_of(salted, n), BYTES_LIT("Server Key"), v->server_key);
    crypto_forget(client, sizeof(client));
}

/* saslprep of what clients agree on: text without controls is taken as it is (RFC 4013 for ASCII). */
static bool is_password(struct bytes p)
{
    if (p.len < 1 || p.len > LIMIT_PASSWORD_LEN_MAX || !text_is_utf8(p)) return false;
    for (size_t i = 0; i < p.len; i++)
        if (p.ptr[i] < 0x20 || p.ptr[i] == 0x7f) return false;
    return true;
}

enum err_code user_set_password(struct broker *b, struct bytes name, struct bytes password, struct err *e)
{
    struct user u = {0};
    uint8_t salt[USER_SALT_BYTES], salted[CRYPTO_HASH_BYTES_MAX];

    if (!is_password(password))
        return err_set(e, ERR_INVALID, "a password is 1 to %d bytes of text", LIMIT_PASSWORD_LEN_MAX);
    for (int m = SCRAM_SHA_256; m <= SCRAM_MECHANISMS; m++) {
        struct bytes s = bytes_of(salt, sizeof(salt));
        crypto_random(b->sys->rng, salt, sizeof(salt));
        crypto_pbkdf2(scram_hash((enum scram_mechanism)m), password, s, USER_ITERATIONS, salted);
        scram_verifier_of_salted(&u.verifiers[m - 1], (enum scram_mechanism)m, USER_ITERATIONS, s, salted);
    }
    crypto_forget(salted, sizeof(salted));
    return user_store(b, name, &u, e);
}

enum err_code user_delete(struct broker *b, struct bytes name, struct err *e)
{
    enum err_code rc = user_find(b, name) == NULL ? ERR_NOT_FOUND : ERR_NONE;

    if (rc != ERR_NONE) return err_set(e, rc, "no user %.*s", BYTES_ARG(name));
    rc = broker_undefine(b, USER_KIND, name, e);
    if (rc != ERR_NONE) return rc;
    free(map_remove(&b->auth->passwords, name));
    struct user *u = map_remove(&b->auth->users, name);
    struct list *next;
    for (struct list *n = b->auth->watches.next; n != &b->auth->watches; n = next) {
        struct auth_watch *w = CONTAINER_OF(n, struct auth_watch, link);
        next = n->next;
        w->user_gone(w, u->name);
    }
    user_free(u);
    return ERR_NONE;
}

enum err_code user_set_verifier(struct broker *b, struct bytes name, enum scram_mechanism m,
                                const struct scram_verifier *v, struct err *e)
{
    const struct user *known = user_find(b, name);
    struct user u = known != NULL ? *known : (struct user){0};

    if (v == NULL && u.verifiers[m - 1].iterations == 0)
        return err_set(e, ERR_NOT_FOUND, "the user has no such credential");
    if (v != NULL && (v->iterations < LIMIT_SCRAM_ITERATIONS_MIN || v->iterations > LIMIT_SCRAM_ITERATIONS_MAX))
        return err_set(e, ERR_INVALID, "%d to %d iterations are possible", LIMIT_SCRAM_ITERATIONS_MIN,
                       LIMIT_SCRAM_ITERATIONS_MAX);
    u.verifiers[m - 1] = v != NULL ? *v : (struct scram_verifier){0};
    bool is_last = u.verifiers[0].iterations == 0 && u.verifiers[1].iterations == 0;
    return is_last ? user_delete(b, name, e) : user_store(b, name, &u, e);
}

bool scram_challenge(struct broker *b, struct bytes name, enum scram_mechanism m, struct scram_verifier *out)
{
    const struct user *u = user_find(b, name);

    if (u != NULL && u->verifiers[m - 1].iterations > 0) {
        *out = u->verifiers[m - 1];
        return true;
    }
    uint8_t invented[CRYPTO_HASH_BYTES_MAX];
    crypto_hmac(scram_hash(m), bytes_of(b->auth->secret, sizeof(b->auth->secret)), name, invented);
    *out = (struct scram_verifier){.iterations = USER_ITERATIONS, .salt_len = USER_SALT_BYTES};
    memcpy(out->salt, invented, USER_SALT_BYTES);
    return false;
}

/* ---- checking a password ---- */
struct check_work {
    struct job job;
    struct list link;  /* auth.checks */
    struct auth *auth; /* NULL: the broker is gone */
    struct password_check *check;
    struct scram_verifier verifier; /* a copy: the user may change meanwhile */
    enum scram_mechanism mechanism;
    bool is_user, is_right;
    size_t name_len, password_len;
    uint8_t name[LIMIT_USER_NAME_LEN_MAX];
    uint8_t password[LIMIT_PASSWORD_LEN_MAX];
};

static void password_digest(const struct auth *a, struct bytes name, struct bytes password, uint8_t out[32])
{
    struct buf text;

    buf_init(&text, 0);
    buf_put_be32(&text, (uint32_t)name.len);
    buf_put_bytes(&text, name);
    buf_put_bytes(&text, password);
    crypto_hmac(CRYPTO_SHA256, bytes_of(a->secret, sizeof(a->secret)), buf_bytes(&text), out);
    crypto_forget(text.ptr, text.len);
    buf_deinit(&text);
}

static void check_run(struct job *j)
{
    struct check_work *w = CONTAINER_OF(j, struct check_work, job);
    enum crypto_hash h = scram_hash(w->mechanism);
    struct bytes salt = bytes_of(w->verifier.salt, w->verifier.salt_len);
    struct scram_verifier got;
    uint8_t salted[CRYPTO_HASH_BYTES_MAX];
    size_t n = crypto_hash_bytes(h);

    crypto_pbkdf2(h, bytes_of(w->password, w->password_len), salt, w->verifier.iterations, salted);
    scram_verifier_of_salted(&got, w->mechanism, w->verifier.iterations, salt, salted);
    w->is_right = crypto_equal(bytes_of(got.stored_key, n), bytes_of(w->verifier.stored_key, n)) && w->is_user;
    crypto_forget(salted, sizeof(salted));
}

static void check_done(struct job *j)
{
    struct check_work *w = CONTAINER_OF(j, struct check_work, job);
    struct bytes name = bytes_of(w->name, w->name_len);
    struct auth *a = w->auth;
    struct password_check *c = w->check;
    bool is_right = false;

    if (a != NULL) {
        list_remove(&w->link);
        a->n_checks--;
        const struct user *u = map_get(&a->users, name);
        /* Deleted or changed while we computed: no longer right. */
        is_right =
            w->is_right && u != NULL && memcmp(&u->verifiers[w->mechanism - 1], &w->verifier, sizeof(w->verifier)) == 0;
        uint8_t *digest = is_right ? malloc(32) : NULL;
        if (digest != NULL) {
            password_digest(a, name, bytes_of(w->password, w->password_len), digest);
            free(map_put(&a->passwords, name, digest));
        }
    }
    crypto_forget(w->password, sizeof(w->password));
    free(w);
    if (c == NULL || a == NULL) return;
    c->work = NULL;
    c->done(c, is_right ? ERR_NONE : ERR_DENIED);
}

enum err_code password_check(struct broker *b, struct password_check *c, struct bytes user, struct bytes password)
{
    struct auth *a = b->auth;
    const uint8_t *digest = map_get(&a->passwords, user);

    c->work = NULL;
    if (!user_is_name(user) || !is_password(password)) return ERR_DENIED;
    if (digest != NULL) {
        uint8_t got[32];
        password_digest(a, user, password, got);
        if (crypto_equal(bytes_of(got, 32), bytes_of(digest, 32))) return ERR_NONE;
    }
    if (a->n_checks >= LIMIT_PASSWORD_CHECKS_MAX) return ERR_DENIED;
    struct check_work *w = calloc(1, sizeof(*w));
    check(w != NULL);
    w->auth = a;
    w->check = c;
    w->mechanism = SCRAM_SHA_256;
    const struct user *u = user_find(b, user);
    if (u != NULL && u->verifiers[0].iterations == 0) w->mechanism = SCRAM_SHA_512;
    w->is_user = scram_challenge(b, user, w->mechanism, &w->verifier);
    w->name_len = user.len;
    memcpy(w->name, user.ptr, user.len);
    w->password_len = password.len;
    memcpy(w->password, password.ptr, password.len);
    w->job.run = check_run;
    w->job.done = check_done;
    c->work = w;
    list_push_back(&a->checks, &w->link);
    a->n_checks++;
    b->sys->loop->submit(b->sys->loop, &w->job);
    return ERR_BUSY;
}

void password_check_cancel(struct password_check *c)
{
    struct check_work *w = c->work;

    if (w == NULL) return;
    w->check = NULL;
    c->work = NULL;
}

void users_free(struct auth *a)
{
    uint32_t pos = 0;

    for (struct list *n; (n = list_pop_front(&a->checks)) != NULL;) {
        struct check_work *w = CONTAINER_OF(n, struct check_work, link);
        w->auth = NULL; /* The loop frees it when the job has run. */
        w->check = NULL;
    }
    for (struct map_entry *m; (m = map_next(&a->users, &pos)) != NULL;)
        user_free(m->value);
    pos = 0;
    for (struct map_entry *m; (m = map_next(&a->passwords, &pos)) != NULL;)
        free(m->value);
    map_deinit(&a->users);
    map_deinit(&a->passwords);
}
