/* crypto.h against published vectors (FIPS 180, RFC 4231, RFC 7677, RFC 7515) and against broken input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sys/crypto.h"
#include "sys/os.h"

static void expect_hex(const uint8_t *got, size_t n, const char *hex)
{
    for (size_t i = 0; i < n; i++) {
        char two[3];
        (void)snprintf(two, sizeof(two), "%02x", got[i]);
        assert_memory_equal(two, hex + 2 * i, 2);
    }
    assert_int_equal(strlen(hex), 2 * n);
}

static void test_crypto__digests_and_hmac_match_the_standards(void **state)
{
    uint8_t out[CRYPTO_HASH_BYTES_MAX];
    (void)state;

    crypto_digest(CRYPTO_SHA256, BYTES_LIT("abc"), out);
    expect_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_digest(CRYPTO_SHA512, BYTES_LIT("abc"), out);
    expect_hex(
        out, 64,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423"
        "643ce80e2a9ac94fa54ca49f");
    crypto_hmac(CRYPTO_SHA256, BYTES_LIT("Jefe"), BYTES_LIT("what do ya want for nothing?"), out);
    expect_hex(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    crypto_hmac(CRYPTO_SHA256, BYTES_NULL, BYTES_NULL, out);
    expect_hex(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 7677's example: user "user", password "pencil". */
static void test_crypto__pbkdf2_gives_scrams_keys(void **state)
{
    struct buf salt, proof;
    uint8_t salted[32], client[32], stored[32], signature[32];
    const char *auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                       "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    (void)state;

    buf_init(&salt, 0);
    buf_init(&proof, 0);
    assert_true(crypto_base64_decode(BYTES_LIT("W22ZaJ0SNY7soEsUEjb6gQ=="), &salt));
    crypto_pbkdf2(CRYPTO_SHA256, BYTES_LIT("pencil"), buf_bytes(&salt), 4096, salted);
    crypto_hmac(CRYPTO_SHA256, bytes_of(salted, 32), BYTES_LIT("Client Key"), client);
    crypto_digest(CRYPTO_SHA256, bytes_of(client, 32), stored);
    crypto_hmac(CRYPTO_SHA256, bytes_of(stored, 32), bytes_str(auth), signature);
    for (int i = 0; i < 32; i++)
        client[i] ^= signature[i];
    crypto_base64_put(&proof, bytes_of(client, 32));
    assert_true(bytes_equal_str(buf_bytes(&proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    buf_deinit(&salt);
    buf_deinit(&proof);
}

static void test_crypto__base64_is_strict(void **state)
{
    static const char *const good[][2] = {
        {"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"+/A=", "\xfb\xf0"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm9v\n", "Z m8=", "====", "-_A=", "Zg==Zg=="};
    struct buf out;
    (void)state;

    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        buf_clear(&out);
        assert_true(crypto_base64_decode(bytes_str(good[i][0]), &out));
        assert_true(bytes_equal_str(buf_bytes(&out), good[i][1]));
        buf_clear(&out);
        crypto_base64_put(&out, bytes_str(good[i][1]));
        assert_true(bytes_equal_str(buf_bytes(&out), good[i][0]));
    }
    buf_clear(&out);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(crypto_base64_decode(bytes_str(bad[i]), &out));
        assert_int_equal(out.len, 0);
    }
    assert_true(crypto_base64url_decode(BYTES_LIT("-_A"), &out));
    assert_false(crypto_base64url_decode(BYTES_LIT("-_A="), &out));
    buf_deinit(&out);
}

static struct bytes url_decoded(struct buf *b, const char *text)
{
    buf_init(b, 0);
    assert_true(crypto_base64url_decode(bytes_str(text), b));
    return buf_bytes(b);
}

/* RFC 7515, A.3 (ES256). */
static void test_crypto__an_ec_signature_is_checked(void **state)
{
    static const char text[] = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
                               "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    struct buf x, y, sig;
    struct crypto_key *k = NULL;
    struct err e = {0};
    (void)state;

    struct bytes px = url_decoded(&x, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    struct bytes py = url_decoded(&y, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    struct bytes s = url_decoded(&sig, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3"
                                       "-Kg6NU1Q");
    assert_int_equal(crypto_key_ec(&k, CRYPTO_P256, px, py, &e), ERR_NONE);
    assert_true(crypto_verify(k, CRYPTO_SHA256, bytes_str(text), s));
    assert_false(crypto_verify(k, CRYPTO_SHA256, BYTES_LIT("something else"), s));
    sig.ptr[10] ^= 1;
    assert_false(crypto_verify(k, CRYPTO_SHA256, bytes_str(text), s));
    assert_false(crypto_verify(k, CRYPTO_SHA256, bytes_str(text), bytes_slice(s, 0, 63)));
    crypto_key_destroy(k);
    y.ptr[0] ^= 1;
    assert_int_equal(crypto_key_ec(&k, CRYPTO_P256, px, py, &e), ERR_INVALID);
    buf_deinit(&x);
    buf_deinit(&y);
    buf_deinit(&sig);
}

/* Key and signature made by the program openssl. */
static void test_crypto__an_rsa_signature_is_checked(void **state)
{
    struct buf n, sig;
    struct crypto_key *k = NULL;
    struct err e = {0};
    (void)state;

    struct bytes modulus =
        url_decoded(&n, "8fee_LBMlCJe8QNjdfn3mCRAml5ZnMazM_8YRW9xRUvGbQnwN95lVuiMRGTft5y43BIs01EMB2VPxlsH"
                        "SqN6B3n9Xv-mHnAgyrXu6VJUV9x3AUGH4VmxPg9qHcqw7MV8wTuUVAoSNHuRuSWXCfzgGBAqqOa1qAYH"
                        "-_1-U0aJ9qIlJLpnU0vFReyKDKb6RaSzx5b1pDkD6vlNJsdVEexGRxnVgoof18OYwuFowd4yNScsQq9n"
                        "sf4X4G9l2H6uq-KUAxMgcoFW0fDWzO5J8934Ta_Zr6bKvbTSdiA0CV4jAU8G-SAIiKhw2pc7qyxkg5Af"
                        "VWiu0yeekpthpcNwzYOorw");
    struct bytes s =
        url_decoded(&sig, "5yxbwWmZvgIviMuFMF270e7KvMn1teIcIcXVg9v2Aj1EZMigjpzniOEVZ9tCLmvW2D9H7aqmrzgAO3Tk"
                          "C9fVDAQKQ10nqGUZ9gBuDb0KUqMYRmiocMpjWxeKpn_YnRlK-LRHt3f4IKEPX2aRSdzrPhhft60XiS7v"
                          "7uwvBqDKr5nAHg0tIiStaOoWN_RUZw9yPXZURei0WpyNWqzs2xFQG5_TyxKspwRLNq9I9mm4jo4QjYq9"
                          "128DuA517L5rVVVoTU6ZWzvvof52Ooyi96rDAXDuZUxljllY9D8MeuWMH3YK3ME_WHPPIwO2gx1YLpky"
                          "CqvYY3sXLZIx-lJz8yzXrA");
    assert_int_equal(crypto_key_rsa(&k, modulus, bytes_of("\x01\x00\x01", 3), &e), ERR_NONE);
    assert_true(crypto_key_is_rsa(k));
    assert_true(crypto_verify(k, CRYPTO_SHA256, BYTES_LIT("a text to sign"), s));
    assert_false(crypto_verify(k, CRYPTO_SHA512, BYTES_LIT("a text to sign"), s));
    assert_false(crypto_verify(k, CRYPTO_SHA256, BYTES_LIT("a text to sigh"), s));
    assert_false(crypto_verify(k, CRYPTO_SHA256, BYTES_LIT("a text to sign"), bytes_slice(s, 1, s.len - 1)));
    crypto_key_destroy(k);
    buf_deinit(&n);
    buf_deinit(&sig);
}

static void test_crypto__small_rsa_keys_are_refused(void **state)
{
    uint8_t n[255];
    struct crypto_key *k = NULL;
    struct err e = {0};
    (void)state;

    memset(n, 0xff, sizeof(n));
    assert_int_equal(crypto_key_rsa(&k, bytes_of(n, sizeof(n)), BYTES_LIT("\x01\x00\x01"), &e), ERR_INVALID);
    assert_null(k);
}

static void test_crypto__chance_fills_every_byte(void **state)
{
    uint8_t seen[13] = {0};
    (void)state;

    for (int turn = 0; turn < 64; turn++) {
        uint8_t out[13] = {0};
        crypto_random(os_rng(), out, sizeof(out));
        for (size_t i = 0; i < sizeof(out); i++)
            seen[i] |= out[i];
    }
    for (size_t i = 0; i < sizeof(seen); i++)
        assert_int_not_equal(seen[i], 0);
    assert_true(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("abc")));
    assert_false(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("abd")));
    assert_false(crypto_equal(BYTES_LIT("abc"), BYTES_LIT("ab")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crypto__digests_and_hmac_match_the_standards),
        cmocka_unit_test(test_crypto__pbkdf2_gives_scrams_keys),
        cmocka_unit_test(test_crypto__base64_is_strict),
        cmocka_unit_test(test_crypto__an_ec_signature_is_checked),
        cmocka_unit_test(test_crypto__an_rsa_signature_is_checked),
        cmocka_unit_test(test_crypto__small_rsa_keys_are_refused),
        cmocka_unit_test(test_crypto__chance_fills_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
