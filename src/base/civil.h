/* civil.h: proleptic Gregorian calendar in UTC, without libc's global state. Pure functions; microseconds since 1970.
 * */
#ifndef WEIR_BASE_CIVIL_H
#define WEIR_BASE_CIVIL_H

#include "base/bytes.h"

struct civil {
    int32_t year;
    int32_t month, day;           /* 1..12, 1..31 */
    int32_t hour, minute, second; /* 0..23, 0..59, 0..59 */
    int32_t micro;                /* 0..999999 */
    int32_t weekday;              /* 0 Sunday; output only */
    int32_t yearday;              /* 1..366; output only */
};
/* Days since 1970-01-01. Month and day may lie outside of their ranges and carry over: month 13 is the next January. */
int64_t civil_days(int32_t year, int32_t month, int32_t day);
int64_t civil_to_us(const struct civil *c); /* fields carry over; saturates at the ends of int64 */
void civil_from_us(struct civil *c, int64_t us);
/* Accepts "YYYY-MM-DD", "YYYY-MM-DD[ T]HH:MM[:SS[.f{1,9}]]" and an optional "Z" or "+HH[:MM]" (applied). Whole input or
 * false. */
bool civil_parse_us(struct bytes text, int64_t *us_out);
/* "YYYY-MM-DD HH:MM:SS[.fff[fff]]" with `digits` (0..6) fraction digits. out holds at least 40 bytes; returns the
 * length. */
size_t civil_format_us(char *out, int64_t us, int digits, char date_time_sep);

#endif
