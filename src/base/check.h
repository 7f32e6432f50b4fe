/* check.h: assertions that stay on, and the few macros every file uses.
 *
 * check() guards our own invariants and is active in every build: a broken invariant must stop the process
 * before it reaches the log. It is never used for outside data (bytes from a socket, a file or a user):
 * those get an error. check_slow() may walk whole structures; it is compiled only with -DWEIR_CHECK_SLOW. */
#ifndef WEIR_BASE_CHECK_H
#define WEIR_BASE_CHECK_H

#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Prints place and expression on stderr and aborts. */
NORETURN void check_failed(const char *file, int line, const char *expr);

#define check(cond) (LIKELY(cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

#ifdef WEIR_CHECK_SLOW
#define check_slow(cond) check(cond)
#else
#define check_slow(cond) ((void)0)
#endif

#endif
