/* sasl.c: logging in: SaslHandshake names a mechanism, then tokens go to and fro, bare after version 0 of the handshake,
 * in SaslAuthenticate requests after version 1.
 *
 *   IDLE ──handshake──▶ TOKEN ──token──▶ TOKEN (SCRAM's second) ... ──▶ IDLE, logged in
 *                         │   ──PLAIN──▶ BUSY ── password_check ─────▶ IDLE, logged in
 *                         └── anything wrong ──▶ FAILED ── SASL_FAIL_MS later ──▶ the answer, and the end
 *
 * X1  Nothing but ApiVersions and the login itself is handled before the login is done; the connection has
 *     LIMIT_LOGIN_MS for it.
 * X2  Every failure looks the same and comes after the same work: an unknown user gets an invented salt (SCRAM), or the
 *     same derivation (PLAIN), and the answer of all is late.
 * X3  A login on a connection that is logged in must be the same principal's.
 * X4  PLAIN is offered on encrypted connections only, unless the operator said otherwise.
 * X5  SCRAM as RFC 5802 says: the nonce must come back whole, the channel binding must repeat the header of the first
 *     message, mandatory extensions and "p=" are refused, and delegation tokens (tokenauth) do not exist.
 * X6  One exception: librdkafka before 2.8 repeats its own nonce in front of the whole one (Kafka before 3.7.2 took
 *     anything that ended right). Exactly that is taken, too: our fresh part must still be there, and the proof covers
 *     what was sent. */
#include "door/kafka/kafka_int.h"

#include <stdio.h>
#include <stdlib.h>

#define SASL_FAIL_MS 100 /* Kafka's connection.failed.authentication.delay.ms */
#define SASL_TOKEN_BYTES_MAX 4096u
#define SASL_NONCE_LEN_MAX 256u
#define SASL_NONCE_BYTES 24

enum sasl_state { SASL_IDLE, SASL_TOKEN, SASL_BUSY, SASL_FAILED };
enum sasl_mechanism { SASL_SCRAM_256 = SCRAM_SHA_256, SASL_SCRAM_512 = SCRAM_SHA_512, SASL_PLAIN };

struct kafka_sasl {
    struct kafka_conn *conn;
    enum sasl_state state;
    enum sasl_mechanism mechanism;
    bool is_raw, is_done;
    int step;          /* of SCRAM: tokens seen */
    struct bytes user; /* in name; while a login is under way */
    char name[LIMIT_USER_NAME_LEN_MAX + 1];
    char user_in[LIMIT_USER_NAME_LEN_MAX + 1]; /* who is logged in */
    struct scram_verifier verifier;
    size_t client_nonce_len;
    bool is_user;
    struct buf first, nonce, gs2; /* client-first-bare "," server-first; both nonces; the client's header */
    struct kafka_request *parked;
    struct password_check check;
    struct timer deadline, delay;
    uint64_t expires_ns; /* 0: never */
};

static struct loop *loop_of(const struct kafka_sasl *s)
{
    return s->conn->door->sys->loop;
}

/* ---- answers ---- */
static void answer(struct kafka_sasl *s, struct kafka_request *q, int16_t error, struct bytes token)
{
    struct kafka_sasl_authenticate_response out;

    s->parked = NULL;
    if (error != KE_NONE) s->conn->closes_when_sent = true;
    if (q->message == NULL) { /* a bare token: there is no word for a failure */
        if (error == KE_NONE)
            kafka_reply_raw(q, token);
        else
            kafka_reply_none(q);
        return;
    }
    wire_init(&kafka_sasl_authenticate_response_wire, &out);
    out.error_code = error;
    out.auth_bytes = token;
    if (error != KE_NONE) out.error_message = BYTES_LIT("Authentication failed: invalid credentials");
    if (error == KE_NONE && s->state == SASL_IDLE) out.session_lifetime_ms = s->conn->door->options.login_lifetime_ms;
    kafka_reply(q, &out);
}

static void sasl_cancel(struct kafka_request *q)
{
    struct kafka_sasl *s = q->state;

    s->parked = NULL;
    password_check_cancel(&s->check);
    loop_of(s)->timer_stop(loop_of(s), &s->delay);
}

static void sasl_hurry(struct kafka_request *q)
{
    struct kafka_sasl *s = q->state;

    sasl_cancel(q);
    answer(s, q, KE_SASL_AUTHENTICATION_FAILED, BYTES_NULL);
}

static void park(struct kafka_sasl *s, struct kafka_request *q)
{
    if (s->parked == NULL) kafka_park(q, s, sasl_cancel, sasl_hurry);
    s->parked = q;
}

static void delay_fire(struct timer *t)
{
    struct kafka_sasl *s = CONTAINER_OF(t, struct kafka_sasl, delay);

    if (s->parked != NULL) answer(s, s->parked, KE_SASL_AUTHENTICATION_FAILED, BYTES_NULL);
}

/* X2 */
static void fail(struct kafka_sasl *s, struct kafka_request *q)
{
    struct loop *loop = loop_of(s);

    s->state = SASL_FAILED;
    audit(s->conn->door->broker, &s->conn->session, "login", s->user.ptr ? s->user : BYTES_LIT(""), "denied");
    park(s, q);
    loop->timer_start(loop, &s->delay, loop->now_ns(loop) + SASL_FAIL_MS * 1000000ull);
}

static void succeed(struct kafka_sasl *s, struct kafka_request *q, struct bytes token)
{
    int64_t lifetime_ms = s->conn->door->options.login_lifetime_ms;

    if (s->is_done && !bytes_equal_str(s->user, s->user_in)) { /* X3 */
        fail(s, q);
        return;
    }
    (void)snprintf(s->user_in, sizeof s->user_in, "%.*s", BYTES_ARG(s->user));
    if (!s->is_done) kafka_conn_principal(s->conn, s->user);
    s->is_done = true;
    s->is_raw = false;
    s->state = SASL_IDLE;
    s->expires_ns = lifetime_ms > 0 ? loop_of(s)->now_ns(loop_of(s)) + (uint64_t)lifetime_ms * 1000000u : 0;
    loop_of(s)->timer_stop(loop_of(s), &s->deadline);
    audit(s->conn->door->broker, &s->conn->session, "login", BYTES_NULL, "ok");
    answer(s, q, KE_NONE, token);
}

static bool take_user(struct kafka_sasl *s, struct bytes user)
{
    s->user = BYTES_NULL;
    if (!user_is_name(user)) return false;
    memcpy(s->name, user.ptr, user.len);
    s->name[user.len] = 0;
    s->user = bytes_of(s->name, user.len);
    return true;
}

/* ---- PLAIN: [authzid] 0 user 0 password ---- */
static void plain_checked(struct password_check *check, enum err_code rc)
{
    struct kafka_sasl *s = CONTAINER_OF(check, struct kafka_sasl, check);
    struct kafka_request *q = s->parked;

    check(q != NULL && s->state == SASL_BUSY);
    if (rc == ERR_NONE)
        succeed(s, q, BYTES_LIT(""));
    else
        fail(s, q);
}

static void plain(struct kafka_sasl *s, struct kafka_request *q, struct bytes token)
{
    const uint8_t *end = token.ptr + token.len;
    const uint8_t *user = token.len > 0 ? memchr(token.ptr, 0, token.len) : NULL;
    const uint8_t *secret = user != NULL ? memchr(user + 1, 0, (size_t)(end - user - 1)) : NULL;

    if (secret == NULL) {
        fail(s, q);
        return;
    }
    struct bytes authzid = bytes_of(token.ptr, (size_t)(user - token.ptr));
    struct bytes name = bytes_of(user + 1, (size_t)(secret - user - 1));
    struct bytes password = bytes_of(secret + 1, (size_t)(end - secret - 1));
    if ((authzid.len > 0 && !bytes_equal(authzid, name)) || !take_user(s, name)) {
        fail(s, q);
        return;
    }
    enum err_code rc = password_check(s->conn->door->broker, &s->check, name, password);
    if (rc == ERR_BUSY) {
        s->state = SASL_BUSY;
        park(s, q);
    } else if (rc == ERR_NONE) {
        succeed(s, q, BYTES_LIT(""));
    } else {
        fail(s, q);
    }
}

/* ---- SCRAM ---- */
/* Cuts "x=value" off the front of *at, with its comma. */
static bool attribute(struct bytes *at, char *name, struct bytes *value)
{
    if (at->len < 2 || at->ptr[1] != '=') return false;
    const uint8_t *comma = memchr(at->ptr, ',', at->len);
    size_t n = comma != NULL ? (size_t)(comma - at->ptr) : at->len;

    *name = (char)at->ptr[0];
    *value = bytes_slice(*at, 2, n - 2);
    if (comma != NULL && n + 1 == at->len) return false; /* a comma with nothing behind it */
    *at = bytes_slice(*at, comma != NULL ? n + 1 : n, at->len - n - (comma != NULL ? 1 : 0));
    return true;
}

static bool is_nonce(struct bytes v)
{
    if (v.len == 0 || v.len > SASL_NONCE_LEN_MAX) return false;
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < 0x21 || v.ptr[i] > 0x7e || v.ptr[i] == ',') return false;
    return true;
}

/* What may follow: extensions. Their names may be longer than one letter in Kafka's use. */
static bool extensions_are_fine(struct bytes rest)
{
    while (rest.len > 0) {
        const uint8_t *comma = memchr(rest.ptr, ',', rest.len);
        size_t n = comma != NULL ? (size_t)(comma - rest.ptr) : rest.len;
        struct bytes one = bytes_slice(rest, 0, n);

        if (n < 2 || memchr(one.ptr, '=', n) == NULL || (one.ptr[0] == 'm' && one.ptr[1] == '=')) return false;
        if (n >= 10 && memcmp(one.ptr, "tokenauth=", 10) == 0) return false;
        rest = comma != NULL ? bytes_slice(rest, n + 1, rest.len - n - 1) : BYTES_LIT("");
    }
    return true;
}

/* n,[a=authzid],n=user,r=nonce[,extensions] */
static bool scram_first(struct kafka_sasl *s, struct bytes token, struct bytes *nonce)
{
    struct bytes authzid = BYTES_NULL, user;
    char name;

    if (token.len < 3 || (token.ptr[0] != 'n' && token.ptr[0] != 'y') || token.ptr[1] != ',') return false;
    const uint8_t *comma = memchr(token.ptr + 2, ',', token.len - 2);
    if (comma == NULL) return false;
    size_t header = (size_t)(comma - token.ptr) + 1;
    if (header > 3) {
        if (header < 6 || token.ptr[2] != 'a' || token.ptr[3] != '=') return false;
        authzid = bytes_slice(token, 4, header - 5);
    }
    buf_put(&s->gs2, token.ptr, header);
    struct bytes rest = bytes_slice(token, header, token.len - header);
    buf_put_bytes(&s->first, rest);
    if (!attribute(&rest, &name, &user) || name != 'n' || !take_user(s, user)) return false;
    if (!attribute(&rest, &name, nonce) || name != 'r' || !is_nonce(*nonce)) return false;
    if (authzid.ptr != NULL && !bytes_equal(authzid, user)) return false;
    return extensions_are_fine(rest);
}

static void scram_begin(struct kafka_sasl *s, struct kafka_request *q, struct bytes token)
{
    const struct sys *sys = s->conn->door->sys;
    uint8_t chance[SASL_NONCE_BYTES];
    struct bytes nonce;

    if (!scram_first(s, token, &nonce)) {
        fail(s, q);
        return;
    }
    s->is_user = scram_challenge(s->conn->door->broker, s->user, (enum scram_mechanism)s->mechanism, &s->verifier);
    buf_put_bytes(&s->nonce, nonce);
    s->client_nonce_len = nonce.len;
    crypto_random(sys->rng, chance, sizeof chance);
    crypto_base64_put(&s->nonce, bytes_of(chance, sizeof chance));
    buf_put_str(&s->first, ",");
    size_t at = s->first.len;
    buf_put_str(&s->first, "r=");
    buf_put_bytes(&s->first, buf_bytes(&s->nonce));
    buf_put_str(&s->first, ",s=");
    crypto_base64_put(&s->first, bytes_of(s->verifier.salt, s->verifier.salt_len));
    buf_printf(&s->first, ",i=%u", s->verifier.iterations);
    s->step = 1;
    answer(s, q, KE_NONE, bytes_of(s->first.ptr + at, s->first.len - at));
}

/* X6 */
static bool is_our_nonce(const struct kafka_sasl *s, struct bytes got)
{
    struct bytes whole = buf_bytes(&s->nonce), client = bytes_slice(whole, 0, s->client_nonce_len);

    if (bytes_equal(got, whole)) return true;
    return got.len == client.len + whole.len && bytes_equal(bytes_slice(got, 0, client.len), client) &&
           bytes_equal(bytes_slice(got, client.len, whole.len), whole);
}

/* c=header,r=nonce[,extensions],p=proof; *without is what the proof is about. */
static bool scram_final(struct kafka_sasl *s, struct bytes token, struct buf *proof, struct bytes *without)
{
    struct bytes rest = token, binding, nonce;
    struct buf header;
    char name;

    if (!attribute(&rest, &name, &binding) || name != 'c') return false;
    buf_init(&header, 0);
    bool is_same = crypto_base64_decode(binding, &header) && bytes_equal(buf_bytes(&header), buf_bytes(&s->gs2));
    buf_deinit(&header);
    if (!is_same) return false; /* X5 */
    if (!attribute(&rest, &name, &nonce) || name != 'r' || !is_our_nonce(s, nonce)) return false;
    size_t at = rest.len;
    while (at > 0 && rest.ptr[at - 1] != ',')
        at--;
    if (rest.len - at < 2 || rest.ptr[at] != 'p' || rest.ptr[at + 1] != '=') return false;
    if (at > 0 && !extensions_are_fine(bytes_slice(rest, 0, at - 1))) return false;
    *without = bytes_of(token.ptr, (size_t)(rest.ptr + at - token.ptr) - 1);
    return crypto_base64_decode(bytes_slice(rest, at + 2, rest.len - at - 2), proof);
}

static void scram_end(struct kafka_sasl *s, struct kafka_request *q, struct bytes token)
{
    enum crypto_hash h = scram_hash((enum scram_mechanism)s->mechanism);
    size_t n = crypto_hash_bytes(h);
    uint8_t key[CRYPTO_HASH_BYTES_MAX] = {0}, stored[CRYPTO_HASH_BYTES_MAX];
    struct scram_verifier now;
    struct bytes without;
    struct buf proof, out;

    buf_init(&proof, 0);
    buf_init(&out, 0);
    bool ok = scram_final(s, token, &proof, &without) && proof.len == n;
    if (ok) {
        buf_put_str(&s->first, ",");
        buf_put_bytes(&s->first, without);
        crypto_hmac(h, bytes_of(s->verifier.stored_key, n), buf_bytes(&s->first), key);
        for (size_t i = 0; i < n; i++)
            key[i] ^= proof.ptr[i];
        crypto_digest(h, bytes_of(key, n), stored);
        ok = crypto_equal(bytes_of(stored, n), bytes_of(s->verifier.stored_key, n)) && s->is_user;
    }
    /* Deleted, or another password since the first message? */
    ok = ok && scram_challenge(s->conn->door->broker, s->user, (enum scram_mechanism)s->mechanism, &now) &&
         crypto_equal(bytes_of(now.stored_key, n), bytes_of(s->verifier.stored_key, n));
    if (ok) {
        crypto_hmac(h, bytes_of(s->verifier.server_key, n), buf_bytes(&s->first), key);
        buf_put_str(&out, "v=");
        crypto_base64_put(&out, bytes_of(key, n));
        succeed(s, q, buf_bytes(&out));
    } else {
        fail(s, q);
    }
    buf_deinit(&proof);
    buf_deinit(&out);
}

static void take_token(struct kafka_sasl *s, struct kafka_request *q, struct bytes token)
{
    if (token.ptr == NULL || token.len > SASL_TOKEN_BYTES_MAX)
        fail(s, q);
    else if (s->mechanism == SASL_PLAIN)
        plain(s, q, token);
    else if (s->step == 0)
        scram_begin(s, q, token);
    else
        scram_end(s, q, token);
}

void kafka_sasl_token(struct kafka_conn *c, struct bytes token)
{
    take_token(c->sasl, kafka_request_begin(c), token);
}

/* ---- requests ---- */
static const struct {
    const char *name;
    enum sasl_mechanism mechanism;
} mechanisms[] = {
    {"SCRAM-SHA-256", SASL_SCRAM_256}, {"SCRAM-SHA-512", SASL_SCRAM_512}, {"PLAIN", SASL_PLAIN} /* last: X4 */
};

static int offered(const struct kafka_conn *c)
{
    const struct kafka_door *d = c->door;
    bool is_safe = d->options.plain_unencrypted || d->net->is_encrypted(d->net, c->net_conn);
    return (int)ARRAY_LEN(mechanisms) - !is_safe;
}

void kafka_handle_sasl_handshake(struct kafka_request *q, void *body)
{
    const struct kafka_sasl_handshake_request *in = body;
    struct kafka_conn *c = q->conn;
    struct kafka_sasl *s = c->sasl;
    struct kafka_sasl_handshake_response out;
    struct bytes names[ARRAY_LEN(mechanisms)];
    int found = -1;

    wire_init(&kafka_sasl_handshake_response_wire, &out);
    if (s == NULL || (s->is_done && kafka_version(q) == 0)) {
        out.error_code = KE_ILLEGAL_SASL_STATE;
        kafka_reply(q, &out);
        return;
    }
    out.mechanisms.at = names;
    out.mechanisms.n = offered(c);
    for (int i = 0; i < out.mechanisms.n; i++) {
        names[i] = bytes_str(mechanisms[i].name);
        if (bytes_equal(names[i], in->mechanism)) found = i;
    }
    if (found < 0) {
        out.error_code = KE_UNSUPPORTED_SASL_MECHANISM;
        c->closes_when_sent = true;
        audit(c->door->broker, &c->session, "login", in->mechanism, "no such mechanism");
    } else {
        s->mechanism = mechanisms[found].mechanism;
        s->state = SASL_TOKEN;
        s->is_raw = kafka_version(q) == 0;
        s->step = 0;
        s->user = BYTES_NULL;
        buf_clear(&s->first);
        buf_clear(&s->nonce);
        buf_clear(&s->gs2);
    }
    kafka_reply(q, &out);
}

void kafka_handle_sasl_authenticate(struct kafka_request *q, void *body)
{
    const struct kafka_sasl_authenticate_request *in = body;
    struct kafka_sasl_authenticate_response out;

    if (q->conn->sasl != NULL) {
        take_token(q->conn->sasl, q, in->auth_bytes);
        return;
    }
    wire_init(&kafka_sasl_authenticate_response_wire, &out);
    out.error_code = KE_ILLEGAL_SASL_STATE;
    out.error_message = BYTES_LIT("this listener wants no login");
    kafka_reply(q, &out);
}

/* ---- what the connection asks ---- */
const char *kafka_sasl_refuses(struct kafka_conn *c, int16_t key)
{
    const struct kafka_sasl *s = c->sasl;

    if (s == NULL) return NULL;
    if (s->state == SASL_TOKEN) return key == KAFKA_SASL_AUTHENTICATE ? NULL : "only SaslAuthenticate may follow here";
    if (key == KAFKA_SASL_AUTHENTICATE) return "SaslHandshake comes first";
    if (key == KAFKA_SASL_HANDSHAKE || (key == KAFKA_API_VERSIONS && s->state == SASL_IDLE)) return NULL;
    if (!s->is_done) {
        audit(c->door->broker, &c->session, "login", BYTES_NULL, "skipped");
        return "a login is required first";
    }
    if (s->expires_ns != 0 && loop_of(s)->now_ns(loop_of(s)) > s->expires_ns) return "a new login is due";
    return NULL;
}

bool kafka_sasl_is_done(const struct kafka_sasl *s)
{
    return s == NULL || s->is_done;
}

bool kafka_sasl_is_raw(const struct kafka_sasl *s)
{
    return s != NULL && s->is_raw && s->state == SASL_TOKEN;
}

bool kafka_sasl_is_busy(const struct kafka_sasl *s)
{
    return s != NULL && (s->state == SASL_BUSY || s->state == SASL_FAILED);
}

bool kafka_sasl_is_user(const struct kafka_sasl *s, struct bytes name)
{
    return s != NULL && s->is_done && bytes_equal_str(name, s->user_in);
}

static void deadline_fire(struct timer *t)
{
    struct kafka_sasl *s = CONTAINER_OF(t, struct kafka_sasl, deadline);

    kafka_conn_fail(s->conn, "no login within %d ms", LIMIT_LOGIN_MS); /* X1 */
}

struct kafka_sasl *kafka_sasl_create(struct kafka_conn *c)
{
    struct kafka_sasl *s = calloc(1, sizeof *s);
    struct loop *loop = c->door->sys->loop;

    check(s != NULL);
    s->conn = c;
    buf_init(&s->first, 0);
    buf_init(&s->nonce, 0);
    buf_init(&s->gs2, 0);
    s->check.done = plain_checked;
    s->delay.fire = delay_fire;
    s->deadline.fire = deadline_fire;
    loop->timer_start(loop, &s->deadline, loop->now_ns(loop) + LIMIT_LOGIN_MS * 1000000ull);
    return s;
}

void kafka_sasl_abort(struct kafka_sasl *s)
{
    if (s == NULL) return;
    password_check_cancel(&s->check);
    loop_of(s)->timer_stop(loop_of(s), &s->delay);
    loop_of(s)->timer_stop(loop_of(s), &s->deadline);
}

void kafka_sasl_destroy(struct kafka_sasl *s)
{
    if (s == NULL) return;
    kafka_sasl_abort(s);
    buf_deinit(&s->first);
    buf_deinit(&s->nonce);
    buf_deinit(&s->gs2);
    crypto_forget(&s->verifier, sizeof s->verifier);
    free(s);
}
