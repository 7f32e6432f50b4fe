/* text.h: small text helpers shared by configuration, command line, SQL and JSON output. Pure functions. */
#ifndef WEIR_BASE_TEXT_H
#define WEIR_BASE_TEXT_H

#include "base/buf.h"
#include "base/bytes.h"

/* Whole input is a decimal integer in range, or false. */
bool text_parse_i64(struct bytes t, int64_t *out);
/* Whole input is a decimal number, "NaN" or "Infinity" with an optional sign, or false. Correctly rounded; out of range
 * gives infinity or zero. No hexadecimal, no locale. */
bool text_parse_f64(struct bytes t, double *out);
/* "10", "64KiB", "1MB", "1GiB" -> bytes. k, m, g with optional i and B; decimal without i. */
bool text_parse_size(struct bytes t, uint64_t *out);
/* "250ms", "10s", "5m", "2h", "7d" -> milliseconds. A bare number is milliseconds. */
bool text_parse_duration_ms(struct bytes t, int64_t *out);
/* Shortest %.15g, %.16g or %.17g that reads back as the same double; "NaN", "Infinity", "-Infinity". out >= 32 bytes;
 * returns the length. */
size_t text_format_f64(char *out, double v);
size_t text_format_i64(char *out, int64_t v);
/* Appends a JSON string with quotes and escapes. Bytes that are not UTF-8 become U+FFFD. */
void text_put_json_string(struct buf *out, struct bytes v);
bool text_is_utf8(struct bytes t);
/* ASCII case-insensitive equality. */
bool text_equal_nocase(struct bytes a, struct bytes b);
/* Edit distance, for "did you mean"; a swap of neighbours counts one. Inputs above 64 bytes: UINT_MAX. */
unsigned text_distance(const char *a, const char *b);

/* Names of topics, streams, units: 1 to LIMIT_TOPIC_NAME_LEN_MAX of [A-Za-z0-9._-], not "." or "..". The one rule for
 * every door. */
bool text_is_topic_name(struct bytes name);

#endif
