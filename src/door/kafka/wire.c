/* The encoding, big-endian:
 *
 *   type             older versions                       flexible versions
 *   str              i16 length, bytes; -1 null           uvarint length + 1, bytes; 0 null
 *   bytes, records   i32 length, bytes; -1 null           uvarint length + 1, bytes; 0 null
 *   array            i32 count, elements; -1 null         uvarint count + 1, elements; 0 null
 *   end of a struct  nothing                              tags: uvarint count, then uvarint tag, uvarint size, value
 *
 * W1  Nothing is read outside of the message, and nothing is allocated before the count was compared with the bytes
 *     that are left: an element takes at least its smallest encoding. All arrays of a message together stay below
 *     WIRE_DECODED_BYTES_MAX.
 * W2  Strict: a null where none is allowed, a negative count, tags that do not rise, a known tag that does not fill
 *     its size and bytes left over at the end are all ERR_PROTOCOL. Unknown tags are skipped by their size.
 * W3  After a successful decode every field has a value, also those the version does not carry.
 *
 * Why tables and one interpreter instead of generated code for each message: 20 messages with up to 14 versions are 150
 * KiB of code the one way and 20 KiB the other, and one small interpreter is what a fuzzer covers well. The interpreter
 * costs some 20 ns a field; a request has a dozen of them. */
#include "door/kafka/wire.h"

struct wire_in {
    const uint8_t *at, *end;
    struct arena *arena;
    int version;
    bool is_flexible;
    size_t arrays_bytes;
    const char *wrong; /* the first thing that was wrong; NULL: nothing */
    const char *field;
};

static double f64_of_bits(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint64_t bits_of_f64(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static bool fail(struct wire_in *in, const char *wrong)
{
    if (in->wrong == NULL) in->wrong = wrong;
    return false;
}

static bool need(struct wire_in *in, size_t n)
{
    return LIKELY((size_t)(in->end - in->at) >= n) || fail(in, "the message ends inside of it");
}

static bool read_uvarint(struct wire_in *in, uint32_t *out)
{
    uint64_t value = 0;

    for (int shift = 0; shift < 35; shift += 7) {
        if (!need(in, 1)) return false;
        uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (value > UINT32_MAX) break;
            *out = (uint32_t)value;
            return true;
        }
    }
    return fail(in, "a length is longer than 32 bits");
}

/* -1 is null. `wide`: the older form has 32 bits, not 16. */
static bool read_length(struct wire_in *in, bool wide, int64_t *out)
{
    if (in->is_flexible) {
        uint32_t value;

        if (!read_uvarint(in, &value)) return false;
        *out = (int64_t)value - 1;
    } else if (wide) {
        if (!need(in, 4)) return false;
        *out = (int32_t)be32_get(in->at);
        in->at += 4;
    } else {
        if (!need(in, 2)) return false;
        *out = (int16_t)be16_get(in->at);
        in->at += 2;
    }
    return *out >= -1 || fail(in, "a negative length");
}

static bool field_present(const struct wire_field *f, int version)
{
    return version >= f->low && version <= f->high;
}

static size_t struct_size_min(const struct wire_struct *s, int version, bool is_flexible);

/* The smallest encoding of one value of the kind. */
static size_t value_size_min(const struct wire_field *f, int version, bool is_flexible)
{
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8:
    case WIRE_BOOL: return 1;
    case WIRE_I16: return 2;
    case WIRE_I32: return 4;
    case WIRE_I64:
    case WIRE_F64: return 8;
    case WIRE_UUID: return 16;
    case WIRE_STR: return is_flexible ? 1 : 2;
    case WIRE_BYTES:
    case WIRE_RECORDS: return is_flexible ? 1 : 4;
    case WIRE_STRUCT: return struct_size_min(f->sub, version, is_flexible);
    }
    check(false);
    return 0;
}

static size_t struct_size_min(const struct wire_struct *s, int version, bool is_flexible)
{
    size_t size = is_flexible ? 1 : 0;

    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];

        if (!field_present(f, version) || f->tag >= 0) continue;
        if (f->flags & WIRE_ARRAY)
            size += is_flexible ? 1 : 4;
        else
            size += value_size_min(f, version, is_flexible);
    }
    return size;
}

static size_t value_size_in_memory(const struct wire_field *f)
{
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8: return sizeof(int8_t);
    case WIRE_BOOL: return sizeof(bool);
    case WIRE_I16: return sizeof(int16_t);
    case WIRE_I32: return sizeof(int32_t);
    case WIRE_I64: return sizeof(int64_t);
    case WIRE_F64: return sizeof(double);
    case WIRE_UUID: return 16;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: return sizeof(struct bytes);
    case WIRE_STRUCT: return f->sub->size;
    }
    check(false);
    return 0;
}

/* ---- defaults ---- */
static void set_default(const struct wire_field *f, void *to)
{
    static const uint8_t empty[1];

    if (f->flags & WIRE_ARRAY) {
        *(struct wire_array *)to = (struct wire_array){NULL, (f->flags & WIRE_DEFAULT_NULL) ? -1 : 0};
        return;
    }
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8: *(int8_t *)to = (int8_t)f->default_value; break;
    case WIRE_BOOL: *(bool *)to = f->default_value != 0; break;
    case WIRE_I16: *(int16_t *)to = (int16_t)f->default_value; break;
    case WIRE_I32: *(int32_t *)to = (int32_t)f->default_value; break;
    case WIRE_I64: *(int64_t *)to = f->default_value; break;
    case WIRE_F64: *(double *)to = (double)f->default_value; break;
    case WIRE_UUID: memset(to, 0, 16); break;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: *(struct bytes *)to = (f->flags & WIRE_DEFAULT_NULL) ? BYTES_NULL : bytes_of(empty, 0); break;
    case WIRE_STRUCT: wire_init(f->sub, to); break;
    }
}

void wire_init(const struct wire_struct *s, void *out)
{
    for (int i = 0; i < s->n_fields; i++)
        set_default(&s->fields[i], (uint8_t *)out + s->fields[i].offset);
}

/* ---- decode ---- */
static bool decode_struct(struct wire_in *in, const struct wire_struct *s, void *out);

static bool decode_blob(struct wire_in *in, const struct wire_field *f, struct bytes *out)
{
    int64_t len;

    if (!read_length(in, f->kind != WIRE_STR, &len)) return false;
    if (len < 0) {
        *out = BYTES_NULL;
        return in->version >= f->null_low || fail(in, "null is not allowed");
    }
    if (!need(in, (size_t)len)) return false;
    *out = bytes_of(in->at, (size_t)len);
    in->at += len;
    return true;
}

static bool decode_value(struct wire_in *in, const struct wire_field *f, void *to)
{
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8:
    case WIRE_BOOL:
        if (!need(in, 1)) return false;
        if (f->kind == WIRE_BOOL)
            *(bool *)to = *in->at != 0;
        else
            *(int8_t *)to = (int8_t)*in->at;
        in->at += 1;
        return true;
    case WIRE_I16:
        if (!need(in, 2)) return false;
        *(int16_t *)to = (int16_t)be16_get(in->at);
        in->at += 2;
        return true;
    case WIRE_I32:
        if (!need(in, 4)) return false;
        *(int32_t *)to = (int32_t)be32_get(in->at);
        in->at += 4;
        return true;
    case WIRE_I64:
        if (!need(in, 8)) return false;
        *(int64_t *)to = (int64_t)be64_get(in->at);
        in->at += 8;
        return true;
    case WIRE_F64:
        if (!need(in, 8)) return false;
        *(double *)to = f64_of_bits(be64_get(in->at));
        in->at += 8;
        return true;
    case WIRE_UUID:
        if (!need(in, 16)) return false;
        memcpy(to, in->at, 16);
        in->at += 16;
        return true;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: return decode_blob(in, f, to);
    case WIRE_STRUCT: return decode_struct(in, f->sub, to);
    }
    check(false);
    return false;
}

/* Of a nullable struct: -1 null, else it follows. */
static bool read_marker(struct wire_in *in, int64_t *n)
{
    if (!need(in, 1)) return false;
    *n = (int8_t)*in->at++ < 0 ? -1 : 1;
    return true;
}

static bool decode_array(struct wire_in *in, const struct wire_field *f, struct wire_array *out)
{
    size_t size = value_size_in_memory(f), left;
    int64_t n;

    if (!((f->flags & WIRE_MARKED) ? read_marker(in, &n) : read_length(in, true, &n))) return false;
    *out = (struct wire_array){NULL, (int32_t)n};
    if (n < 0) return in->version >= f->null_low || fail(in, "null is not allowed");
    if (n == 0) return true;
    left = (size_t)(in->end - in->at); /* W1 */
    if ((uint64_t)n > left || (uint64_t)n > left / value_size_min(f, in->version, in->is_flexible))
        return fail(in, "more elements than bytes");
    in->arrays_bytes += (size_t)n * size;
    if (in->arrays_bytes > WIRE_DECODED_BYTES_MAX) return fail(in, "too many elements");
    if (!arena_reserve(in->arena, (size_t)n * size)) return fail(in, "no memory");
    out->at = arena_array(in->arena, (size_t)n, size);
    for (int64_t i = 0; i < n; i++)
        if (!decode_value(in, f, (uint8_t *)out->at + (size_t)i * size)) return false;
    return true;
}

static bool decode_field(struct wire_in *in, const struct wire_field *f, void *out)
{
    void *to = (uint8_t *)out + f->offset;

    if ((f->flags & WIRE_ARRAY) ? decode_array(in, f, to) : decode_value(in, f, to)) return true;
    if (in->field == NULL) in->field = f->name;
    return false;
}

static const struct wire_field *find_tag(const struct wire_struct *s, int version, uint32_t tag)
{
    for (int i = 0; i < s->n_fields; i++)
        if (s->fields[i].tag >= 0 && (uint32_t)s->fields[i].tag == tag && field_present(&s->fields[i], version))
            return &s->fields[i];
    return NULL;
}

static bool decode_tags(struct wire_in *in, const struct wire_struct *s, void *out)
{
    const uint8_t *end = in->end;
    int64_t last = -1;
    uint32_t n;

    if (!read_uvarint(in, &n)) return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct wire_field *f;
        uint32_t tag, size;

        if (!read_uvarint(in, &tag) || !read_uvarint(in, &size) || !need(in, size)) return false;
        if ((int64_t)tag <= last) return fail(in, "tags do not rise");
        last = tag;
        f = find_tag(s, in->version, tag);
        if (f == NULL) {
            in->at += size;
            continue;
        }
        in->end = in->at + size;
        if (!decode_field(in, f, out)) return false;
        if (in->at != in->end) return fail(in, "a tagged field does not fill its size");
        in->end = end;
    }
    return true;
}

static bool decode_struct(struct wire_in *in, const struct wire_struct *s, void *out)
{
    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];

        if (!field_present(f, in->version) || f->tag >= 0)
            set_default(f, (uint8_t *)out + f->offset);
        else if (!decode_field(in, f, out))
            return false;
    }
    return !in->is_flexible || decode_tags(in, s, out);
}

enum err_code wire_decode(const struct wire_struct *s, int version, bool is_flexible, struct bytes in, struct arena *a,
                          void *out, struct err *e)
{
    struct wire_in state = {
        .at = in.ptr, .end = in.ptr + in.len, .arena = a, .version = version, .is_flexible = is_flexible};

    if (decode_struct(&state, s, out) && state.at != state.end) (void)fail(&state, "bytes are left over");
    if (state.wrong == NULL) return ERR_NONE;
    return err_set(e, ERR_PROTOCOL, "%s v%d: %s%s%s", s->name, version, state.field ? state.field : "",
                   state.field ? ": " : "", state.wrong);
}

/* ---- encode ---- */
static void encode_struct(const struct wire_struct *s, int version, bool is_flexible, const void *in,
                          struct wire_out *out);

static void put_length(struct wire_out *out, bool is_flexible, bool wide, int64_t len)
{
    if (is_flexible)
        buf_put_uvarint(out->buf, (uint64_t)(len + 1));
    else if (wide)
        buf_put_be32(out->buf, (uint32_t)(int32_t)len);
    else
        buf_put_be16(out->buf, (uint16_t)(int16_t)len);
}

static void encode_blob(const struct wire_field *f, int version, bool is_flexible, struct bytes v, struct wire_out *out)
{
    bool is_null = v.ptr == NULL && version >= f->null_low;

    /* A string that does not fit the older form's 16 bits is cut: only texts of ours for people can be that long. */
    if (f->kind == WIRE_STR && !is_flexible && v.len > INT16_MAX) v.len = INT16_MAX;
    put_length(out, is_flexible, f->kind != WIRE_STR, is_null ? -1 : (int64_t)v.len);
    if (v.len == 0) return;
    if (f->kind == WIRE_RECORDS && out->splices != NULL && out->n_splices < out->splices_max) {
        out->splices[out->n_splices++] = (struct wire_splice){out->buf->len, v};
        out->spliced_bytes += v.len;
        return;
    }
    buf_put_bytes(out->buf, v);
}

static void encode_value(const struct wire_field *f, int version, bool is_flexible, const void *from,
                         struct wire_out *out)
{
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8: buf_put_u8(out->buf, (uint8_t) * (const int8_t *)from); break;
    case WIRE_BOOL: buf_put_u8(out->buf, *(const bool *)from ? 1 : 0); break;
    case WIRE_I16: buf_put_be16(out->buf, (uint16_t) * (const int16_t *)from); break;
    case WIRE_I32: buf_put_be32(out->buf, (uint32_t) * (const int32_t *)from); break;
    case WIRE_I64: buf_put_be64(out->buf, (uint64_t) * (const int64_t *)from); break;
    case WIRE_F64: buf_put_be64(out->buf, bits_of_f64(*(const double *)from)); break;
    case WIRE_UUID: buf_put(out->buf, from, 16); break;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: encode_blob(f, version, is_flexible, *(const struct bytes *)from, out); break;
    case WIRE_STRUCT: encode_struct(f->sub, version, is_flexible, from, out); break;
    }
}

static void encode_field(const struct wire_field *f, int version, bool is_flexible, const void *in,
                         struct wire_out *out)
{
    const void *from = (const uint8_t *)in + f->offset;
    const struct wire_array *array = from;
    size_t size;

    if (!(f->flags & WIRE_ARRAY)) {
        encode_value(f, version, is_flexible, from, out);
        return;
    }
    if (f->flags & WIRE_MARKED)
        buf_put_u8(out->buf, array->n == 1 ? 1 : UINT8_MAX);
    else
        put_length(out, is_flexible, true, array->n < 0 && version < f->null_low ? 0 : array->n);
    size = value_size_in_memory(f);
    for (int32_t i = 0; i < array->n; i++)
        encode_value(f, version, is_flexible, (const uint8_t *)array->at + (size_t)i * size, out);
}

static bool field_is_default(const struct wire_field *f, const void *in)
{
    const uint8_t *from = (const uint8_t *)in + f->offset;
    static const uint8_t zero[16];

    if (f->flags & WIRE_ARRAY)
        return ((const struct wire_array *)(const void *)from)->n == ((f->flags & WIRE_DEFAULT_NULL) ? -1 : 0);
    switch ((enum wire_kind)f->kind) {
    case WIRE_I8: return *(const int8_t *)from == f->default_value;
    case WIRE_BOOL: return *(const bool *)from == (f->default_value != 0);
    case WIRE_I16: return *(const int16_t *)(const void *)from == f->default_value;
    case WIRE_I32: return *(const int32_t *)(const void *)from == f->default_value;
    case WIRE_I64: return *(const int64_t *)(const void *)from == f->default_value;
    case WIRE_F64: return *(const double *)(const void *)from == (double)f->default_value;
    case WIRE_UUID: return memcmp(from, zero, 16) == 0;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_RECORDS: {
        const struct bytes *v = (const void *)from;
        return (f->flags & WIRE_DEFAULT_NULL) ? v->ptr == NULL : v->len == 0;
    }
    case WIRE_STRUCT:
        for (int i = 0; i < f->sub->n_fields; i++)
            if (!field_is_default(&f->sub->fields[i], from)) return false;
        return true;
    }
    check(false);
    return false;
}

static unsigned uvarint_len(uint64_t v)
{
    unsigned n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* The size comes before the value: the value is written first and moved up by the width of its size. */
static void encode_tag(const struct wire_field *f, int version, const void *in, struct wire_out *out)
{
    struct wire_out plain = {.buf = out->buf};
    size_t start, len;
    unsigned width;

    buf_put_uvarint(out->buf, (uint64_t)f->tag);
    start = out->buf->len;
    encode_field(f, version, true, in, &plain);
    if (out->buf->failed) return;
    len = out->buf->len - start;
    width = uvarint_len(len);
    if (buf_extend(out->buf, width) == NULL) return;
    memmove(out->buf->ptr + start + width, out->buf->ptr + start, len);
    out->buf->len = start;
    buf_put_uvarint(out->buf, len);
    out->buf->len = start + width + len;
}

static void encode_tags(const struct wire_struct *s, int version, const void *in, struct wire_out *out)
{
    unsigned n = 0;

    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];
        n += f->tag >= 0 && field_present(f, version) && !field_is_default(f, in);
    }
    buf_put_uvarint(out->buf, n);
    for (int tag = 0; n > 0; tag++) {
        const struct wire_field *f = find_tag(s, version, (uint32_t)tag);

        if (f == NULL || field_is_default(f, in)) continue;
        encode_tag(f, version, in, out);
        n--;
    }
}

static void encode_struct(const struct wire_struct *s, int version, bool is_flexible, const void *in,
                          struct wire_out *out)
{
    for (int i = 0; i < s->n_fields; i++) {
        const struct wire_field *f = &s->fields[i];

        if (field_present(f, version) && f->tag < 0) encode_field(f, version, is_flexible, in, out);
    }
    if (is_flexible) encode_tags(s, version, in, out);
}

void wire_encode(const struct wire_struct *s, int version, bool is_flexible, const void *in, struct wire_out *out)
{
    encode_struct(s, version, is_flexible, in, out);
}

/* ---- request header ---- */
bool wire_header_peek(struct bytes frame, struct wire_header *out)
{
    if (frame.len < 8) return false;
    *out = (struct wire_header){
        .key = (int16_t)be16_get(frame.ptr),
        .version = (int16_t)be16_get(frame.ptr + 2),
        .correlation_id = (int32_t)be32_get(frame.ptr + 4),
    };
    return true;
}

bool wire_header_decode(struct bytes frame, bool is_flexible, struct wire_header *out, struct bytes *body)
{
    static const struct wire_struct nothing = {"header", NULL, 0, 0};
    static const struct wire_field client_id = {.name = "clientId", .kind = WIRE_STR, .tag = -1};
    struct wire_in in = {.at = frame.ptr, .end = frame.ptr + frame.len};

    if (!wire_header_peek(frame, out)) return false;
    in.at += 8;
    /* The client id keeps the older form in every version. */
    if (!decode_blob(&in, &client_id, &out->client_id)) return false;
    in.is_flexible = is_flexible;
    if (is_flexible && !decode_tags(&in, &nothing, NULL)) return false;
    *body = bytes_of(in.at, (size_t)(in.end - in.at));
    return true;
}

void wire_header_encode(const struct wire_header *h, bool is_flexible, struct buf *out)
{
    buf_put_be16(out, (uint16_t)h->key);
    buf_put_be16(out, (uint16_t)h->version);
    buf_put_be32(out, (uint32_t)h->correlation_id);
    buf_put_be16(out, (uint16_t)(h->client_id.ptr == NULL ? -1 : (int)h->client_id.len));
    buf_put_bytes(out, h->client_id);
    if (is_flexible) buf_put_uvarint(out, 0);
}
