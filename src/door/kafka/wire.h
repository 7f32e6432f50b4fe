/* wire.h: reads and writes Kafka messages by the tables that tools/gen_kafka.py makes of messages.txt. Pure functions.
 *
 * In memory a message is a plain C struct: integers, struct bytes for strings and blobs, {at, n} for arrays. Decoded
 * strings and blobs are views into the message; arrays lie in the arena. Rules of the encoding: wire.c. */
#ifndef WEIR_DOOR_KAFKA_WIRE_H
#define WEIR_DOOR_KAFKA_WIRE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/err.h"

enum wire_kind {
    WIRE_I8,
    WIRE_I16,
    WIRE_I32,
    WIRE_I64,
    WIRE_F64,
    WIRE_BOOL,
    WIRE_UUID,
    WIRE_STR,
    WIRE_BYTES,
    WIRE_RECORDS,
    WIRE_STRUCT
};
#define WIRE_ARRAY 1        /* [kind] */
#define WIRE_DEFAULT_NULL 2 /* null where absent; otherwise empty */
#define WIRE_MARKED 4       /* with WIRE_ARRAY: one struct that may be null, n is 1 or -1; on the wire a marker byte */

struct wire_struct;
struct wire_field {
    const char *name;
    const struct wire_struct *sub; /* of WIRE_STRUCT */
    int64_t default_value;         /* of integers */
    uint16_t offset;               /* in the C struct */
    uint8_t kind, flags;
    int8_t low, high; /* versions that carry it */
    int8_t null_low;  /* may be null from this version; 127: never */
    int8_t tag;       /* -1: not tagged */
};
struct wire_struct {
    const char *name;
    const struct wire_field *fields;
    uint16_t n_fields, size;
};
struct wire_message {
    const char *name;
    const struct wire_struct *request, *response;
    int16_t key;
    int8_t low, high, flexible; /* versions described; first flexible one */
};
/* The generic shape of an array; n = -1 is null. */
struct wire_array {
    void *at;
    int32_t n;
};

/* One message's arrays may take so much memory; more: malformed. A produce request for 100,000 partitions needs 5 MiB.
 */
#define WIRE_DECODED_BYTES_MAX (64u << 20)

/* Sets every field to the value it has when absent. */
void wire_init(const struct wire_struct *s, void *out);
/* The whole of `in` is one struct of that version; sets every field of *out. ERR_PROTOCOL names the field that was
 * wrong; *out is then not to be used. */
MUST_USE enum err_code wire_decode(const struct wire_struct *s, int version, bool is_flexible, struct bytes in,
                                   struct arena *a, void *out, struct err *e);

/* Where bytes belong into the output without having been copied there. */
struct wire_splice {
    size_t at; /* position in buf before which they go */
    struct bytes bytes;
};
struct wire_out {
    struct buf *buf;
    struct wire_splice *splices; /* NULL: `records` are copied as everything else */
    int n_splices, splices_max;  /* records beyond the maximum are copied */
    size_t spliced_bytes;
};
/* Appends. A null pointer in a field that cannot be null is written as empty, so that zeroed structs are legal. */
void wire_encode(const struct wire_struct *s, int version, bool is_flexible, const void *in, struct wire_out *out);

static inline bool wire_is_flexible(const struct wire_message *m, int version)
{
    return version >= m->flexible;
}

/* ---- request header ---- */
struct wire_header {
    int16_t key, version;
    int32_t correlation_id;
    struct bytes client_id; /* null possible */
};
/* The fixed first 8 bytes: enough to know which message it is. */
bool wire_header_peek(struct bytes frame, struct wire_header *out);
/* The rest of the header; *body is what follows it. False: malformed. */
bool wire_header_decode(struct bytes frame, bool is_flexible, struct wire_header *out, struct bytes *body);
void wire_header_encode(const struct wire_header *h, bool is_flexible, struct buf *out);

#endif
