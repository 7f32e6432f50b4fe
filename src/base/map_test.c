/* The map agrees with a plain array model under random puts and removes, iterates in insertion order, and may lose the
 * current entry while iterating (M3). */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

static int values[4096];

static struct bytes key_of(char *text, int i)
{
    return bytes_of(text, (size_t)snprintf(text, 32, "key-%d", i));
}

static void test_map__put_get_replace_remove(void **state)
{
    struct map m;
    map_init(&m);
    assert_null(map_get_str(&m, "a"));
    assert_null(map_remove(&m, BYTES_LIT("a")));
    assert_null(map_put(&m, BYTES_LIT("a"), &values[1]));
    assert_ptr_equal(map_put(&m, BYTES_LIT("a"), &values[2]), &values[1]);
    assert_ptr_equal(map_get_str(&m, "a"), &values[2]);
    assert_null(map_put(&m, BYTES_LIT(""), &values[3])); /* the empty key is a key */
    assert_ptr_equal(map_get(&m, BYTES_LIT("")), &values[3]);
    assert_null(map_get(&m, BYTES_NULL)); /* null is none */
    assert_null(map_remove(&m, BYTES_NULL));
    assert_int_equal(map_count(&m), 2);
    assert_ptr_equal(map_remove(&m, BYTES_LIT("a")), &values[2]);
    assert_null(map_get_str(&m, "a"));
    assert_int_equal(map_count(&m), 1);
    char key[] = "mine";
    map_put(&m, bytes_str(key), &values[4]);
    key[0] = 'x'; /* keys are copied */
    assert_ptr_equal(map_get_str(&m, "mine"), &values[4]);
    map_deinit(&m);
    assert_int_equal(map_count(&m), 0);
}

static void test_map__agrees_with_a_model(void **state)
{
    enum { KEYS = 700, STEPS = 60000 };
    static int model[KEYS], order[KEYS];
    uint64_t x = 88172645463325252ull;
    struct map m;
    char text[32];
    int clock = 0;

    print_message("seed %llu\n", (unsigned long long)x);
    map_init(&m);
    for (int step = 0; step < STEPS; step++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        int k = (int)(x % KEYS), v = 1 + (int)(x >> 40 & 1023);
        struct bytes key = key_of(text, k);
        void *before = model[k] ? &values[model[k]] : NULL;
        if ((x >> 32 & 3) != 0 && step / 10000 % 2 == 0) {
            if (!model[k]) order[k] = ++clock;
            assert_ptr_equal(map_put(&m, key, &values[v]), before);
            model[k] = v;
        } else {
            assert_ptr_equal(map_remove(&m, key), before);
            model[k] = 0;
        }
        assert_ptr_equal(map_get(&m, key), model[k] ? &values[model[k]] : NULL);
    }
    uint32_t pos = 0, n = 0;
    int last = 0;
    for (struct map_entry *e; (e = map_next(&m, &pos)) != NULL; n++) {
        int k;
        assert_int_equal(sscanf((const char *)e->key.ptr, "key-%d", &k), 1);
        assert_ptr_equal(e->value, &values[model[k]]);
        assert_true(order[k] > last);
        last = order[k];
    }
    assert_int_equal(n, map_count(&m));
    for (int k = 0; k < KEYS; k++)
        n -= model[k] != 0;
    assert_int_equal(n, 0);
    map_deinit(&m);
}

static void test_map__removing_the_current_entry_while_iterating(void **state)
{
    struct map m;
    char text[32];

    map_init(&m);
    for (int i = 0; i < 1000; i++)
        map_put(&m, key_of(text, i), &values[i]);
    uint32_t pos = 0;
    int seen = 0;
    for (struct map_entry *e; (e = map_next(&m, &pos)) != NULL; seen++) {
        assert_ptr_equal(e->value, &values[seen]);
        if (seen % 3 != 0) assert_ptr_equal(map_remove(&m, e->key), &values[seen]); /* its own key: freed in the call */
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(map_count(&m), 334);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(map_get(&m, key_of(text, i)) != NULL, i % 3 == 0);
    map_deinit(&m);
}

static void test_map__churn_does_not_grow(void **state)
{
    struct map m;
    char text[32];

    map_init(&m);
    for (int i = 0; i < 20000; i++) {
        map_put(&m, key_of(text, i), &values[1]);
        if (i >= 10) map_remove(&m, key_of(text, i - 10));
    }
    assert_int_equal(map_count(&m), 10);
    assert_true(m.n_slots <= 64);
    map_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map__put_get_replace_remove),
        cmocka_unit_test(test_map__agrees_with_a_model),
        cmocka_unit_test(test_map__removing_the_current_entry_while_iterating),
        cmocka_unit_test(test_map__churn_does_not_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
