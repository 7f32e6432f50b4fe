/* crypto.c: see crypto.h. One thin layer over libcrypto's EVP interface; base64 is our own because libcrypto's skips
 * what it does not understand, and a verifier must not. */
#include "sys/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#define RSA_BITS_MIN 2048
#define RSA_BYTES_MAX 2048 /* 16,384 bits: libcrypto's own bound for verification */

static const EVP_MD *md_of(enum crypto_hash h)
{
    switch (h) {
    case CRYPTO_SHA256: return EVP_sha256();
    case CRYPTO_SHA384: return EVP_sha384();
    case CRYPTO_SHA512: return EVP_sha512();
    }
    check(false);
    return NULL;
}

size_t crypto_hash_bytes(enum crypto_hash h)
{
    return h == CRYPTO_SHA256 ? 32 : h == CRYPTO_SHA384 ? 48 : 64;
}

void crypto_digest(enum crypto_hash h, struct bytes in, uint8_t *out)
{
    unsigned n = 0;
    check(EVP_Digest(in.ptr, in.len, out, &n, md_of(h), NULL) == 1 && n == crypto_hash_bytes(h));
}

void crypto_hmac(enum crypto_hash h, struct bytes key, struct bytes in, uint8_t *out)
{
    unsigned n = 0;
    static const uint8_t nothing[1];
    check(HMAC(md_of(h), key.ptr ? key.ptr : nothing, (int)key.len, in.ptr ? in.ptr : nothing, in.len, out, &n) !=
          NULL);
    check(n == crypto_hash_bytes(h));
}

void crypto_pbkdf2(enum crypto_hash h, struct bytes password, struct bytes salt, unsigned iterations, uint8_t *out)
{
    check(iterations > 0);
    const char *secret = password.ptr ? (const char *)password.ptr : "";
    check(PKCS5_PBKDF2_HMAC(secret, (int)password.len, salt.ptr, (int)salt.len, (int)iterations, md_of(h),
                            (int)crypto_hash_bytes(h), out) == 1);
}

bool crypto_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void crypto_forget(void *p, size_t n)
{
    if (n > 0) OPENSSL_cleanse(p, n);
}

void crypto_random(struct rng *rng, void *out, size_t n)
{
    uint8_t *at = out;

    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = rng->next(rng);
        memcpy(at + i, &v, n - i < 8 ? n - i : 8);
    }
}

/* ---- base64 ---- */
void crypto_base64_put(struct buf *out, struct bytes in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t v =
            (uint32_t)in.ptr[i] << 16 | (n > 1 ? (uint32_t)in.ptr[i + 1] << 8 : 0) | (n > 2 ? in.ptr[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};
        buf_put(out, four, 4);
    }
}

static int digit_of(uint8_t c, bool is_url)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == (is_url ? '-' : '+')) return 62;
    if (c == (is_url ? '_' : '/')) return 63;
    return -1;
}

/* Digits only. */
static bool decode(struct bytes in, bool is_url, struct buf *out)
{
    size_t before = out->len;
    uint32_t v = 0;
    unsigned bits = 0;

    if (in.len % 4 == 1) return false;
    for (size_t i = 0; i < in.len; i++) {
        int d = digit_of(in.ptr[i], is_url);
        if (d < 0) goto bad;
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_put_u8(out, (uint8_t)(v >> bits));
            v &= (1u << bits) - 1;
        }
    }
    if (v == 0 && !out->failed) return true; /* Spare bits that are not zero would be a second spelling. */
bad:
    out->len = before;
    return false;
}

bool crypto_base64_decode(struct bytes in, struct buf *out)
{
    if (in.len % 4 != 0) return false;
    for (int i = 0; i < 2 && in.len > 0 && in.ptr[in.len - 1] == '='; i++)
        in.len--;
    return decode(in, false, out);
}

bool crypto_base64url_decode(struct bytes in, struct buf *out)
{
    return decode(in, true, out);
}

/* ---- signatures ---- */
struct crypto_key {
    EVP_PKEY *pkey;
    bool is_rsa;
    enum crypto_curve curve;
};

static enum err_code key_make(struct crypto_key **out, const char *type, OSSL_PARAM_BLD *build, struct err *e)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);

    check(params != NULL && ctx != NULL);
    bool ok = EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    if (ok) {
        ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        check(ctx != NULL);
        ok = EVP_PKEY_public_check(ctx) == 1;
        EVP_PKEY_CTX_free(ctx);
    }
    if (!ok) {
        EVP_PKEY_free(pkey);
        return err_set(e, ERR_INVALID, "not a public key of the kind %s", type);
    }
    *out = calloc(1, sizeof(**out));
    check(*out != NULL);
    (*out)->pkey = pkey;
    return ERR_NONE;
}

enum err_code crypto_key_rsa(struct crypto_key **out, struct bytes n, struct bytes exponent, struct err *e)
{
    *out = NULL;
    if (n.len < RSA_BITS_MIN / 8 || n.len > RSA_BYTES_MAX || exponent.len < 1 || exponent.len > 8)
        return err_set(e, ERR_INVALID, "an RSA key needs at least %d bits and a short exponent", RSA_BITS_MIN);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn(n.ptr, (int)n.len, NULL), *exp = BN_bin2bn(exponent.ptr, (int)exponent.len, NULL);
    check(build != NULL && modulus != NULL && exp != NULL);
    check(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1);
    check(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exp) == 1);
    enum err_code rc = key_make(out, "RSA", build, e);
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exp);
    if (rc != ERR_NONE) return rc;
    (*out)->is_rsa = true;
    if (EVP_PKEY_get_bits((*out)->pkey) >= RSA_BITS_MIN) return ERR_NONE;
    crypto_key_destroy(*out);
    *out = NULL;
    return err_set(e, ERR_INVALID, "an RSA key needs at least %d bits", RSA_BITS_MIN);
}

static size_t curve_bytes(enum crypto_curve c)
{
    return c == CRYPTO_P256 ? 32 : c == CRYPTO_P384 ? 48 : 66;
}

enum err_code crypto_key_ec(struct crypto_key **out, enum crypto_curve curve, struct bytes x, struct bytes y,
                            struct err *e)
{
    static const char *const names[] = {"P-256", "P-384", "P-521"};
    uint8_t point[1 + 2 * 66];
    size_t n = curve_bytes(curve);

    *out = NULL;
    if (x.len != n || y.len != n)
        return err_set(e, ERR_INVALID, "a point of %s has two numbers of %zu bytes", names[curve], n);
    point[0] = 4; /* uncompressed */
    memcpy(point + 1, x.ptr, n);
    memcpy(point + 1 + n, y.ptr, n);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    check(build != NULL);
    check(OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, names[curve], 0) == 1);
    check(OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * n) == 1);
    enum err_code rc = key_make(out, "EC", build, e);
    OSSL_PARAM_BLD_free(build);
    if (rc == ERR_NONE) (*out)->curve = curve;
    return rc;
}

void crypto_key_destroy(struct crypto_key *k)
{
    if (k == NULL) return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

bool crypto_key_is_rsa(const struct crypto_key *k)
{
    return k->is_rsa;
}

enum crypto_curve crypto_key_curve(const struct crypto_key *k)
{
    return k->curve;
}

/* r || s as the DER that libcrypto wants; NULL: not a signature of this curve. To be freed with OPENSSL_free. */
static uint8_t *der_of(const struct crypto_key *k, struct bytes signature, size_t *len)
{
    size_t n = curve_bytes(k->curve);
    uint8_t *der = NULL;

    if (signature.len != 2 * n) return NULL;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(signature.ptr, (int)n, NULL), *s = BN_bin2bn(signature.ptr + n, (int)n, NULL);
    check(sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1);
    int made = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    check(made > 0);
    *len = (size_t)made;
    return der;
}

bool crypto_verify(const struct crypto_key *k, enum crypto_hash h, struct bytes text, struct bytes signature)
{
    uint8_t *der = NULL;

    if (!k->is_rsa) {
        size_t len = 0;
        der = der_of(k, signature, &len);
        if (der == NULL) return false;
        signature = bytes_of(der, len);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    check(ctx != NULL);
    bool ok = EVP_DigestVerifyInit(ctx, NULL, md_of(h), NULL, k->pkey) == 1 &&
              EVP_DigestVerify(ctx, signature.ptr, signature.len, text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return ok;
}
