/* civil.c: days since 1970 in 400-year eras that begin on 1 March, so that the leap day is the last day of a year and
 * month lengths become a linear formula. Exact for every int64 of microseconds. */
#include "base/civil.h"

#include "base/check.h"

__extension__ typedef __int128 int128; /* for saturation only */

#define US_PER_SECOND 1000000ll
#define US_PER_DAY (86400 * US_PER_SECOND)
#define DAYS_PER_ERA 146097 /* 400 years */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t civil_days(int32_t year, int32_t month, int32_t day)
{
    int64_t y = (int64_t)year + floor_div((int64_t)month - 1, 12);
    int64_t m = (int64_t)month - 1 - floor_div((int64_t)month - 1, 12) * 12; /* 0 January */
    if (m < 2) y--;                                                          /* January and February end a year */
    int64_t era = floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((m + 10) % 12) + 2) / 5; /* of the month's first day, from 1 March */
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - 719468 + (int64_t)day - 1;
}

int64_t civil_to_us(const struct civil *c)
{
    int128 us = (int128)civil_days(c->year, c->month, c->day) * US_PER_DAY;
    us += ((int64_t)c->hour * 3600 + (int64_t)c->minute * 60 + c->second) * US_PER_SECOND + c->micro;
    if (us > INT64_MAX) return INT64_MAX;
    if (us < INT64_MIN) return INT64_MIN;
    return (int64_t)us;
}

void civil_from_us(struct civil *c, int64_t us)
{
    int64_t days = floor_div(us, US_PER_DAY);
    int64_t in_day = us % US_PER_DAY;
    if (in_day < 0) in_day += US_PER_DAY;

    int64_t z = days + 719468; /* from 1 March of year 0 */
    int64_t era = floor_div(z, DAYS_PER_ERA);
    int64_t day_of_era = z - era * DAYS_PER_ERA;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t m = (5 * day_of_year + 2) / 153; /* 0 March */
    c->day = (int32_t)(day_of_year - (153 * m + 2) / 5 + 1);
    c->month = (int32_t)(m < 10 ? m + 3 : m - 9);
    c->year = (int32_t)(year_of_era + era * 400 + (m >= 10));

    c->micro = (int32_t)(in_day % US_PER_SECOND);
    int32_t seconds = (int32_t)(in_day / US_PER_SECOND);
    c->hour = seconds / 3600;
    c->minute = seconds / 60 % 60;
    c->second = seconds % 60;
    c->weekday = (int32_t)(((days % 7) + 11) % 7); /* 1970-01-01 was a Thursday */
    c->yearday = (int32_t)(days - civil_days(c->year, 1, 1) + 1);
}

/* Exactly n digits at *at. */
static bool digits(const uint8_t **at, const uint8_t *end, int n, int32_t *out)
{
    int32_t v = 0;
    if (end - *at < n) return false;
    for (int i = 0; i < n; i++) {
        uint8_t c = (uint8_t)((*at)[i] - '0');
        if (c > 9) return false;
        v = v * 10 + c;
    }
    *at += n;
    *out = v;
    return true;
}

static bool accept(const uint8_t **at, const uint8_t *end, char c)
{
    if (*at == end || **at != (uint8_t)c) return false;
    (*at)++;
    return true;
}

static int32_t days_in_month(int32_t year, int32_t month)
{
    return (int32_t)(civil_days(year, month + 1, 1) - civil_days(year, month, 1));
}

static bool parse_date(const uint8_t **p, const uint8_t *end, struct civil *c)
{
    return digits(p, end, 4, &c->year) && accept(p, end, '-') && digits(p, end, 2, &c->month) && accept(p, end, '-') &&
           digits(p, end, 2, &c->day) && c->month >= 1 && c->month <= 12 && c->day >= 1 &&
           c->day <= days_in_month(c->year, c->month);
}

/* [.f{1,9}], cut to microseconds */
static bool parse_fraction(const uint8_t **p, const uint8_t *end, int32_t *micro)
{
    int32_t scale = 100000, n = 0, digit;
    while (n < 9 && digits(p, end, 1, &digit)) {
        *micro += digit * scale;
        scale /= 10;
        n++;
    }
    return n > 0;
}

/* "Z" or "+HH[:MM]"; nothing leaves *offset_us at 0. */
static bool parse_zone(const uint8_t **p, const uint8_t *end, int64_t *offset_us)
{
    int32_t hour, minute = 0;
    if (*p == end || accept(p, end, 'Z')) return true;
    bool west = accept(p, end, '-');
    if (!west && !accept(p, end, '+')) return false;
    if (!digits(p, end, 2, &hour) || hour > 23) return false;
    if (accept(p, end, ':') && (!digits(p, end, 2, &minute) || minute > 59)) return false;
    *offset_us = (west ? -1 : 1) * (int64_t)(hour * 60 + minute) * 60 * US_PER_SECOND;
    return true;
}

bool civil_parse_us(struct bytes text, int64_t *us_out)
{
    struct civil c = {0};
    int64_t offset_us = 0;
    const uint8_t *p = text.ptr;

    if (p == NULL) return false;
    const uint8_t *end = p + text.len;
    if (!parse_date(&p, end, &c)) return false;
    if (p != end) {
        if (!accept(&p, end, 'T') && !accept(&p, end, ' ')) return false;
        if (!digits(&p, end, 2, &c.hour) || !accept(&p, end, ':') || !digits(&p, end, 2, &c.minute)) return false;
        if (accept(&p, end, ':')) {
            if (!digits(&p, end, 2, &c.second)) return false;
            if (accept(&p, end, '.') && !parse_fraction(&p, end, &c.micro)) return false;
        }
        if (c.hour > 23 || c.minute > 59 || c.second > 59) return false;
        if (!parse_zone(&p, end, &offset_us) || p != end) return false;
    }
    *us_out = civil_to_us(&c) - offset_us; /* years 0 to 9999: far from the edges */
    return true;
}

/* v in `width` digits or more. */
static char *put_number(char *out, int64_t v, int width)
{
    char reversed[20];
    int n = 0;
    do {
        reversed[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    while (n < width)
        reversed[n++] = '0';
    while (n > 0)
        *out++ = reversed[--n];
    return out;
}

size_t civil_format_us(char *out, int64_t us, int n_digits, char date_time_sep)
{
    static const int32_t SCALE[7] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    struct civil c;
    char *p = out;

    check(n_digits >= 0 && n_digits <= 6);
    civil_from_us(&c, us);
    if (c.year < 0) *p++ = '-';
    p = put_number(p, c.year < 0 ? -(int64_t)c.year : c.year, 4);
    *p++ = '-';
    p = put_number(p, c.month, 2);
    *p++ = '-';
    p = put_number(p, c.day, 2);
    *p++ = date_time_sep;
    p = put_number(p, c.hour, 2);
    *p++ = ':';
    p = put_number(p, c.minute, 2);
    *p++ = ':';
    p = put_number(p, c.second, 2);
    if (n_digits > 0) {
        *p++ = '.';
        p = put_number(p, c.micro / SCALE[n_digits], n_digits);
    }
    *p = '\0';
    return (size_t)(p - out);
}
