/* bytes.h: a borrowed view of memory. Owns nothing; valid as long as what it points into. Any thread. */
#ifndef WEIR_BASE_BYTES_H
#define WEIR_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *ptr; /* NULL means absent (a Kafka null); an empty value has a non-NULL ptr */
    size_t len;
};

#define BYTES_NULL ((struct bytes){NULL, 0})
#define BYTES_LIT(s) ((struct bytes){(const uint8_t *)("" s), sizeof(s) - 1})
/* The same as an initializer of static data, where ISO C wants no compound literal. */
#define BYTES_INIT(s)                                                                                                  \
    {                                                                                                                  \
        (const uint8_t *)("" s), sizeof(s) - 1                                                                         \
    }
/* For printf("%.*s", BYTES_ARG(b)). */
#define BYTES_ARG(b) (int)(b).len, (const char *)((b).ptr ? (b).ptr : (const uint8_t *)"")

static inline struct bytes bytes_of(const void *ptr, size_t len)
{
    return (struct bytes){(const uint8_t *)ptr, len};
}
static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}
static inline bool bytes_is_null(struct bytes b)
{
    return b.ptr == NULL;
}
/* Null equals only null. */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    if ((a.ptr == NULL) != (b.ptr == NULL)) return false;
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool bytes_equal_str(struct bytes a, const char *s)
{
    size_t n = strlen(s);
    return a.ptr != NULL && a.len == n && memcmp(a.ptr, s, n) == 0;
}
/* Byte-wise order, shorter first on a common prefix. <0, 0, >0. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}
static inline struct bytes bytes_slice(struct bytes b, size_t from, size_t len)
{
    return (struct bytes){b.ptr + from, len};
}

#endif
