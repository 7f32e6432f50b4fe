/* The codec against itself and against bytes from outside.
 *   - random structs of every message and version survive encode and decode;
 *   - every truncation of them is an error, never a crash (run under the address sanitizer);
 *   - golden.txt, made by another program from Kafka's message definitions, is read and written byte for byte;
 *   - each rule of W1 and W2 has its malformed message. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "door/kafka/kafka_codec.h"

static uint64_t seed_state;

static uint64_t next_random(void)
{
    seed_state ^= seed_state << 13;
    seed_state ^= seed_state >> 7;
    seed_state ^= seed_state << 17;
    return seed_state;
}

static void fill_struct(const struct wire_struct *s, int version, struct arena *a, void *out);

static void fill_value(const struct wire_field *f, int version, struct arena *a, void *to)
{
    size_t len;
    uint8_t *p;

    switch ((enum wire_kind)f->kind) {
    case WIRE_I8: *(int8_t *)to = (int8_t)next_random(); break;
    case WIRE_BOOL: *(bool *)to = next_random() & 1; break;
    case WIRE_I16: *(int16_t *)to = (int16_t)next_random(); break;
    case WIRE_I32: *(int32_t *)to = (int32_t)next_random(); break;
    case WIRE_I64: *(int64_t *)to = (int64_t)next_random(); break;
    case WIRE_F64: *(double *)to = (double)(int64_t)next_random(); break;
    case WIRE_UUID:
        for (int i = 0; i < 16; i++)
            ((uint8_t *)to)[i] = (uint8_t)next_random();
        break;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS:
        if (version >= f->null_low && next_random() % 3 == 0) {
            *(struct bytes *)to = BYTES_NULL;
            break;
        }
        len = next_random() % 4 == 0 ? next_random() % 300 : next_random() % 4;
        p = arena_alloc(a, len + 1);
        memset(p, 'a' + (int)(next_random() % 26), len);
        *(struct bytes *)to = bytes_of(p, len);
        break;
    case WIRE_STRUCT: fill_struct(f->sub, version, a, to); break;
    }
}

static size_t element_size(const struct wire_field *f)
{
    static const size_t sizes[] = {
        1, 2, 4, 8, 8, sizeof(bool), 16, sizeof(struct bytes), sizeof(struct bytes), sizeof(struct bytes)};

    return f->kind == WIRE_STRUCT ? f->sub->size : sizes[f->kind];
}

static void fill_struct(const struct wire_struct *s, int version, struct arena *a, void *out)
{
    wire_init(s, out);
    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];
        void *to = (uint8_t *)out + f->offset;
        struct wire_array *array = to;

        if (version < f->low || version > f->high) continue;
        if (!(f->flags & WIRE_ARRAY)) {
            fill_value(f, version, a, to);
            continue;
        }
        array->n = (int32_t)(next_random() % 4) - (version >= f->null_low);
        if (f->flags & WIRE_MARKED) array->n = next_random() & 1 ? 1 : -1;
        if (array->n <= 0) continue;
        array->at = arena_array(a, (size_t)array->n, element_size(f));
        for (int32_t j = 0; j < array->n; j++)
            fill_value(f, version, a, (uint8_t *)array->at + (size_t)j * element_size(f));
    }
}

static bool struct_equal(const struct wire_struct *s, const void *a, const void *b);

static bool value_equal(const struct wire_field *f, const void *a, const void *b)
{
    switch ((enum wire_kind)f->kind) {
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: return bytes_equal(*(const struct bytes *)a, *(const struct bytes *)b);
    case WIRE_STRUCT: return struct_equal(f->sub, a, b);
    default: return memcmp(a, b, element_size(f)) == 0;
    }
}

static bool struct_equal(const struct wire_struct *s, const void *a, const void *b)
{
    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];
        const uint8_t *pa = (const uint8_t *)a + f->offset, *pb = (const uint8_t *)b + f->offset;

        if (f->flags & WIRE_ARRAY) {
            const struct wire_array *aa = (const void *)pa, *ab = (const void *)pb;

            if (aa->n != ab->n) return false;
            for (int32_t j = 0; j < aa->n; j++) {
                size_t at = (size_t)j * element_size(f);
                if (!value_equal(f, (const uint8_t *)aa->at + at, (const uint8_t *)ab->at + at)) return false;
            }
        } else if (!value_equal(f, pa, pb)) {
            return false;
        }
    }
    return true;
}

/* Decodes from memory of exactly that size. */
static enum err_code decode_exact(const struct wire_struct *s, int version, bool flexible, struct bytes in,
                                  struct arena *a, void *out, struct err *e)
{
    uint8_t *copy = malloc(in.len ? in.len : 1);
    enum err_code rc;

    assert_non_null(copy);
    memcpy(copy, in.ptr, in.len);
    rc = wire_decode(s, version, flexible, bytes_of(copy, in.len), a, out, e);
    free(copy);
    return rc;
}

static void round_trip(const struct wire_message *m, const struct wire_struct *s, int version, int rounds)
{
    struct arena a;
    struct buf b;
    bool flexible = wire_is_flexible(m, version);

    arena_init(&a, 0);
    buf_init(&b, 0);
    for (int i = 0; i < rounds; i++) {
        void *in, *out;
        struct wire_out w = {.buf = &b};
        struct err e;

        arena_reset(&a);
        buf_clear(&b);
        in = arena_alloc_zero(&a, s->size + 1u);
        out = arena_alloc(&a, s->size + 1u);
        fill_struct(s, version, &a, in);
        wire_encode(s, version, flexible, in, &w);
        if (wire_decode(s, version, flexible, buf_bytes(&b), &a, out, &e) != ERR_NONE) fail_msg("%s", e.text);
        if (!struct_equal(s, in, out)) fail_msg("%s v%d differs", s->name, version);
        for (size_t cut = 0; cut < b.len; cut++)
            if (decode_exact(s, version, flexible, bytes_of(b.ptr, cut), &a, out, NULL) == ERR_NONE)
                fail_msg("%s v%d cut at %zu of %zu is accepted", s->name, version, cut, b.len);
        buf_put_u8(&b, 0);
        assert_int_equal(decode_exact(s, version, flexible, buf_bytes(&b), &a, out, NULL), ERR_PROTOCOL);
    }
    buf_deinit(&b);
    arena_deinit(&a);
}

static void test_wire__random_structs_survive_and_truncations_are_errors(void **state)
{
    const char *given = getenv("WEIR_TEST_SEED");

    (void)state;
    seed_state = given ? strtoull(given, NULL, 10) : 20260711;
    printf("seed %llu\n", (unsigned long long)seed_state);
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++) {
        const struct wire_message *m = &kafka_messages[i];

        for (int version = m->low; version <= m->high; version++) {
            round_trip(m, m->request, version, 5);
            round_trip(m, m->response, version, 5);
        }
    }
}

/* Any byte may change to anything: an answer, no crash, no wild allocation. */
static void test_wire__damaged_bytes_are_harmless(void **state)
{
    struct arena a;
    struct buf b;

    (void)state;
    seed_state = 7;
    arena_init(&a, 0);
    buf_init(&b, 0);
    for (int round = 0; round < 20000; round++) {
        const struct wire_message *m = &kafka_messages[next_random() % KAFKA_MESSAGE_COUNT];
        const struct wire_struct *s = next_random() & 1 ? m->request : m->response;
        int version = m->low + (int)(next_random() % (uint64_t)(m->high - m->low + 1));
        struct wire_out w = {.buf = &b};
        void *p;

        arena_reset(&a);
        buf_clear(&b);
        p = arena_alloc_zero(&a, s->size + 1u);
        fill_struct(s, version, &a, p);
        wire_encode(s, version, wire_is_flexible(m, version), p, &w);
        for (int i = 0; i < 3 && b.len > 0; i++)
            b.ptr[next_random() % b.len] = (uint8_t)(next_random() % 3 ? next_random() : 0xff);
        (void)decode_exact(s, version, wire_is_flexible(m, version), buf_bytes(&b), &a, p, NULL);
    }
    buf_deinit(&b);
    arena_deinit(&a);
}

struct malformed {
    const char *what;
    const struct wire_struct *s;
    int version;
    bool flexible;
    uint8_t bytes[24];
    size_t len;
};

static void test_wire__each_malformed_form_is_refused(void **state)
{
    static const struct malformed cases[] = {
        {"null group id", &kafka_heartbeat_request_wire, 0, false, {0xff, 0xff, 0, 0, 0, 1, 0, 0}, 8},
        {"length -2", &kafka_heartbeat_request_wire, 3, false, {0, 0, 0, 0, 0, 1, 0, 0, 0xff, 0xfe}, 10},
        {"length beyond the end", &kafka_heartbeat_request_wire, 0, false, {0x7f, 0xff, 'a'}, 3},
        {"count beyond the end", &kafka_delete_groups_request_wire, 0, false, {0x7f, 0xff, 0xff, 0xff, 0, 1}, 6},
        {"count -1 where null is not allowed",
         &kafka_delete_groups_request_wire,
         0,
         false,
         {0xff, 0xff, 0xff, 0xff},
         4},
        {"null array", &kafka_delete_groups_request_wire, 2, true, {0, 0}, 2},
        {"uvarint of six bytes", &kafka_delete_groups_request_wire, 2, true, {0x80, 0x80, 0x80, 0x80, 0x80, 1, 0}, 7},
        {"uvarint above 32 bits", &kafka_delete_groups_request_wire, 2, true, {0xff, 0xff, 0xff, 0xff, 0x7f, 0}, 6},
        {"tag size beyond the end", &kafka_delete_groups_request_wire, 2, true, {1, 1, 9, 5, 0}, 5},
        {"tags fall", &kafka_delete_groups_request_wire, 2, true, {1, 2, 9, 0, 8, 0}, 6},
        {"a tag twice", &kafka_delete_groups_request_wire, 2, true, {1, 2, 9, 0, 9, 0}, 6},
        {"known tag too long", &kafka_api_versions_response_wire, 3, true, {0, 0, 1, 0, 0, 0, 0, 1, 3, 2, 0, 0}, 12},
        {"known tag too short",
         &kafka_api_versions_response_wire,
         3,
         true,
         {0, 0, 1, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0},
         14},
        {"bytes left over", &kafka_delete_groups_request_wire, 2, true, {1, 0, 0}, 3},
    };
    struct arena a;
    union {
        struct kafka_heartbeat_request h;
        struct kafka_delete_groups_request d;
        struct kafka_api_versions_response v;
    } out;

    (void)state;
    arena_init(&a, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct malformed *c = &cases[i];
        struct err e;

        if (decode_exact(c->s, c->version, c->flexible, bytes_of(c->bytes, c->len), &a, &out, &e) != ERR_PROTOCOL)
            fail_msg("accepted: %s", c->what);
    }
    assert_true(a.used_bytes < 1024);
    arena_deinit(&a);
}

static void test_wire__unknown_tags_are_skipped(void **state)
{
    static const uint8_t bytes[] = {2, 2, 'g', 2, 5, 3, 1, 2, 3, 100, 0};
    struct kafka_delete_groups_request q;
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(
        wire_decode(&kafka_delete_groups_request_wire, 2, true, bytes_of(bytes, sizeof bytes), &a, &q, NULL), ERR_NONE);
    assert_int_equal(q.groups_names.n, 1);
    assert_true(bytes_equal_str(q.groups_names.at[0], "g"));
    arena_deinit(&a);
}

static void test_wire__absent_fields_have_their_defaults(void **state)
{
    static const uint8_t v0[] = {0, 1, 'g', 0, 0, 0, 9, 0, 0};
    struct kafka_heartbeat_request q;
    struct kafka_fetch_request f;
    struct arena a;

    (void)state;
    arena_init(&a, 0);
    assert_int_equal(wire_decode(&kafka_heartbeat_request_wire, 0, false, bytes_of(v0, sizeof v0), &a, &q, NULL),
                     ERR_NONE);
    assert_int_equal(q.generation_id, 9);
    assert_null(q.group_instance_id.ptr);
    assert_non_null(q.member_id.ptr);
    wire_init(&kafka_fetch_request_wire, &f);
    assert_int_equal(f.max_bytes, INT32_MAX);
    assert_int_equal(f.session_epoch, -1);
    assert_int_equal(f.replica_state.replica_epoch, -1);
    assert_null(f.cluster_id.ptr);
    assert_non_null(f.rack_id.ptr);
    arena_deinit(&a);
}

/* Records are named, not copied; with their bytes put in, the result is what the plain encoder writes. */
static void test_wire__spliced_records_equal_copied_ones(void **state)
{
    struct kafka_fetch_response_partition p[3];
    struct kafka_fetch_response_topic t = {.name = BYTES_LIT("t"), .partitions = {p, 3}};
    struct kafka_fetch_response r = {.topics = {&t, 1}};
    struct buf plain, cut, joined;
    struct wire_splice splices[2];
    struct wire_out whole = {.buf = &plain}, parts = {.buf = &cut, .splices = splices, .splices_max = 2};
    size_t at = 0;

    (void)state;
    buf_init(&plain, 0);
    buf_init(&cut, 0);
    buf_init(&joined, 0);
    for (int i = 0; i < 3; i++) {
        wire_init(&kafka_fetch_response_partition_wire, &p[i]);
        p[i].index = i;
        p[i].records = bytes_of("recordsrecords", (size_t)i * 7);
    }
    for (int version = 4; version <= 16; version++) {
        buf_clear(&plain), buf_clear(&cut), buf_clear(&joined);
        parts.n_splices = 0, parts.spliced_bytes = 0, at = 0;
        wire_encode(&kafka_fetch_response_wire, version, version >= 12, &r, &whole);
        wire_encode(&kafka_fetch_response_wire, version, version >= 12, &r, &parts);
        assert_int_equal(parts.n_splices, 2);
        assert_int_equal(parts.spliced_bytes, 21);
        for (int i = 0; i < 2; i++) {
            buf_put(&joined, cut.ptr + at, splices[i].at - at);
            buf_put_bytes(&joined, splices[i].bytes);
            at = splices[i].at;
        }
        buf_put(&joined, cut.ptr + at, cut.len - at);
        assert_true(bytes_equal(buf_bytes(&joined), buf_bytes(&plain)));
    }
    buf_deinit(&plain), buf_deinit(&cut), buf_deinit(&joined);
}

static void test_wire__request_header_is_strict(void **state)
{
    static const uint8_t v1[] = {0, 3, 0, 1, 0, 0, 0, 9, 0, 2, 'm', 'e', 0xaa};
    static const uint8_t v2[] = {0, 3, 0, 9, 0, 0, 0, 9, 0xff, 0xff, 1, 0, 2, 1, 2, 0xaa};
    struct wire_header h;
    struct bytes body;

    (void)state;
    assert_true(wire_header_decode(bytes_of(v1, sizeof v1), false, &h, &body));
    assert_int_equal(h.correlation_id, 9);
    assert_true(bytes_equal_str(h.client_id, "me"));
    assert_int_equal(body.len, 1);
    assert_true(wire_header_decode(bytes_of(v2, sizeof v2), true, &h, &body));
    assert_null(h.client_id.ptr);
    assert_int_equal(body.len, 1);
    for (size_t cut = 0; cut < 12; cut++)
        assert_false(wire_header_decode(bytes_of(v1, cut), false, &h, &body));
    for (size_t cut = 0; cut < 15; cut++)
        assert_false(wire_header_decode(bytes_of(v2, cut), true, &h, &body));
}

static const struct wire_message *message_of(const char *name)
{
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        if (strcmp(kafka_messages[i].name, name) == 0) return &kafka_messages[i];
    return NULL;
}

/* Lines of golden.txt: NAME q|r VERSION HEX. */
static void test_wire__golden_bytes_are_read_and_written(void **state)
{
    FILE *file = fopen(GOLDEN_FILE, "r");
    static char line[16384], name[64], hex[16384];
    unsigned seen = 0, expected = 0;
    struct arena a;
    struct buf in, out;

    (void)state;
    assert_non_null(file);
    arena_init(&a, 0);
    buf_init(&in, 0);
    buf_init(&out, 0);
    while (fgets(line, sizeof line, file)) {
        const struct wire_message *m;
        const struct wire_struct *s;
        char side;
        int version;
        void *p;
        struct err e;
        struct wire_out w = {.buf = &out};

        if (sscanf(line, "%63s %c %d %16383s", name, &side, &version, hex) != 4 || name[0] == '#') continue;
        m = message_of(name);
        assert_non_null(m);
        s = side == 'q' ? m->request : m->response;
        buf_clear(&in), buf_clear(&out), arena_reset(&a);
        for (const char *h = hex; *h != '\0' && *h != '-'; h += 2) {
            unsigned byte;
            assert_int_equal(sscanf(h, "%2x", &byte), 1);
            buf_put_u8(&in, (uint8_t)byte);
        }
        p = arena_alloc(&a, s->size + 1u);
        if (wire_decode(s, version, wire_is_flexible(m, version), buf_bytes(&in), &a, p, &e) != ERR_NONE)
            fail_msg("%s", e.text);
        wire_encode(s, version, wire_is_flexible(m, version), p, &w);
        if (!bytes_equal(buf_bytes(&in), buf_bytes(&out)))
            fail_msg("%s %c v%d is written differently", name, side, version);
        seen++;
    }
    for (int i = 0; i < KAFKA_MESSAGE_COUNT; i++)
        expected += 2u * (unsigned)(kafka_messages[i].high - kafka_messages[i].low + 1);
    assert_int_equal(seen, expected);
    (void)fclose(file);
    buf_deinit(&in), buf_deinit(&out), arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire__random_structs_survive_and_truncations_are_errors),
        cmocka_unit_test(test_wire__damaged_bytes_are_harmless),
        cmocka_unit_test(test_wire__each_malformed_form_is_refused),
        cmocka_unit_test(test_wire__unknown_tags_are_skipped),
        cmocka_unit_test(test_wire__absent_fields_have_their_defaults),
        cmocka_unit_test(test_wire__spliced_records_equal_copied_ones),
        cmocka_unit_test(test_wire__request_header_is_strict),
        cmocka_unit_test(test_wire__golden_bytes_are_read_and_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
