/* crypto.h: digests, key derivation, signatures: the part of libcrypto that Weir uses, so that no other room knows that
 * library. Any thread. A failure of the library itself is a check failure: none of these can fail on valid arguments.
 *
 * Chance is not here: nonces and salts come from sys->rng, so that a simulated world repeats itself. */
#ifndef WEIR_SYS_CRYPTO_H
#define WEIR_SYS_CRYPTO_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"
#include "sys/sys.h"

enum crypto_hash { CRYPTO_SHA256, CRYPTO_SHA384, CRYPTO_SHA512 };
#define CRYPTO_HASH_BYTES_MAX 64

size_t crypto_hash_bytes(enum crypto_hash h);
/* out: crypto_hash_bytes(h). */
void crypto_digest(enum crypto_hash h, struct bytes in, uint8_t *out);
void crypto_hmac(enum crypto_hash h, struct bytes key, struct bytes in, uint8_t *out);
/* PBKDF2 with HMAC, one block: SCRAM's Hi(). 15,000 rounds take about 5 ms: mind the loop. */
void crypto_pbkdf2(enum crypto_hash h, struct bytes password, struct bytes salt, unsigned iterations, uint8_t *out);
/* In time that depends on the length only. */
MUST_USE bool crypto_equal(struct bytes a, struct bytes b);
/* Memory that held a secret: really overwritten. */
void crypto_forget(void *p, size_t n);
/* n bytes of chance. */
void crypto_random(struct rng *rng, void *out, size_t n);

/* base64 (RFC 4648, with padding) and base64url without. Decoding is strict: alphabet, length, zero spare bits; false:
 * out is as before. */
void crypto_base64_put(struct buf *out, struct bytes in);
MUST_USE bool crypto_base64_decode(struct bytes in, struct buf *out);
MUST_USE bool crypto_base64url_decode(struct bytes in, struct buf *out);

/* ---- signatures, for tokens ---- */
struct crypto_key;
enum crypto_curve { CRYPTO_P256, CRYPTO_P384, CRYPTO_P521 };
/* Modulus and exponent, big-endian, as in a JWK. ERR_INVALID: not a key, or below 2,048 bits. */
MUST_USE enum err_code crypto_key_rsa(struct crypto_key **out, struct bytes n, struct bytes exponent, struct err *e);
/* A point of the curve. ERR_INVALID: not one. */
MUST_USE enum err_code crypto_key_ec(struct crypto_key **out, enum crypto_curve curve, struct bytes x, struct bytes y,
                                     struct err *e);
void crypto_key_destroy(struct crypto_key *k); /* NULL is harmless */
/* RSA: PKCS#1 v1.5. EC: r and s one after the other, each as long as the curve (JWS's form). */
MUST_USE bool crypto_verify(const struct crypto_key *k, enum crypto_hash h, struct bytes text, struct bytes signature);
bool crypto_key_is_rsa(const struct crypto_key *k);
enum crypto_curve crypto_key_curve(const struct crypto_key *k); /* of an EC key */

#endif
