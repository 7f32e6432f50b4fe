/* Kernels over timestamps and dates, and the casts that read or write text. Everything is UTC: the session zone is,
 * too. */
#include "flow/exec/kernels.h"

#include "base/civil.h"
#include "base/text.h"

#define SECOND_US 1000000ll
#define MINUTE_US (60 * SECOND_US)
#define HOUR_US (60 * MINUTE_US)
#define DAY_US (24 * HOUR_US)

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b < 0);
}
static int64_t floor_to(int64_t us, int64_t unit)
{
    return floor_div(us, unit) * unit;
}

enum unit {
    UNIT_YEAR,
    UNIT_QUARTER,
    UNIT_MONTH,
    UNIT_WEEK,
    UNIT_DAY,
    UNIT_HOUR,
    UNIT_MINUTE,
    UNIT_SECOND,
    UNIT_MILLISECOND,
    UNIT_MICROSECOND,
    UNIT_DOW,
    UNIT_DOY,
    UNIT_EPOCH,
    UNIT_UNKNOWN
};
static const char *const unit_names[] = {"YEAR",   "QUARTER",     "MONTH",       "WEEK", "DAY", "HOUR", "MINUTE",
                                         "SECOND", "MILLISECOND", "MICROSECOND", "DOW",  "DOY", "EPOCH"};
static enum unit unit_parse(struct bytes name)
{
    for (int u = 0; u < UNIT_UNKNOWN; u++)
        if (text_equal_nocase(name, bytes_str(unit_names[u]))) return (enum unit)u;
    return UNIT_UNKNOWN;
}

/* ISO 8601: weeks begin on Monday; week 1 holds the year's first Thursday. */
static int64_t iso_week(int64_t us)
{
    int64_t day = floor_div(us, DAY_US), thursday = floor_div(day + 3, 7) * 7; /* 1970-01-01 was one */
    struct civil c;
    civil_from_us(&c, thursday * DAY_US);
    return (c.yearday - 1) / 7 + 1;
}

static int64_t extract(enum unit u, int64_t us)
{
    struct civil c;
    switch (u) {
    case UNIT_HOUR: return floor_div(us - floor_to(us, DAY_US), HOUR_US);
    case UNIT_MINUTE: return floor_div(us - floor_to(us, HOUR_US), MINUTE_US);
    case UNIT_SECOND: return floor_div(us - floor_to(us, MINUTE_US), SECOND_US);
    case UNIT_MILLISECOND:
        return (us - floor_to(us, MINUTE_US)) / 1000; /* with the seconds, as in SQL:2016's neighbours */
    case UNIT_MICROSECOND: return us - floor_to(us, MINUTE_US);
    case UNIT_EPOCH: return floor_div(us, SECOND_US);
    case UNIT_WEEK: return iso_week(us);
    default: break;
    }
    civil_from_us(&c, us);
    switch (u) {
    case UNIT_YEAR: return c.year;
    case UNIT_QUARTER: return (c.month - 1) / 3 + 1;
    case UNIT_MONTH: return c.month;
    case UNIT_DAY: return c.day;
    case UNIT_DOW: return c.weekday + 1; /* Sunday is 1, as Flink */
    default: return c.yearday;
    }
}

static void extract_rows(struct call *k)
{
    enum unit u = UNIT_UNKNOWN;
    for_rows(i, k->sel, k->n)
    {
        if (!k->a[0]->is_const || i_k == 0) u = unit_parse(ARG_S(k, 0, i));
        if (u == UNIT_UNKNOWN)
            row_failf(k, i, "unknown time unit %.*s", BYTES_ARG(ARG_S(k, 0, i)));
        else
            k->out->i[i] = extract(u, ARG_I(k, 1, i));
    }
}
void kernel_EXTRACT_T(struct call *k)
{
    extract_rows(k);
}
void kernel_EXTRACT_L(struct call *k)
{
    extract_rows(k);
}

static int64_t truncate_to(enum unit u, int64_t us)
{
    struct civil c;
    switch (u) {
    case UNIT_MILLISECOND: return floor_to(us, 1000);
    case UNIT_SECOND: return floor_to(us, SECOND_US);
    case UNIT_MINUTE: return floor_to(us, MINUTE_US);
    case UNIT_HOUR: return floor_to(us, HOUR_US);
    case UNIT_DAY: return floor_to(us, DAY_US);
    case UNIT_WEEK: return (floor_div(floor_div(us, DAY_US) + 3, 7) * 7 - 3) * DAY_US; /* Monday */
    default: break;
    }
    civil_from_us(&c, us);
    int month = u == UNIT_YEAR ? 1 : u == UNIT_QUARTER ? (c.month - 1) / 3 * 3 + 1 : c.month;
    return civil_days(c.year, month, 1) * DAY_US;
}

static void truncate_rows(struct call *k)
{
    enum unit u = UNIT_UNKNOWN;
    for_rows(i, k->sel, k->n)
    {
        if (!k->a[1]->is_const || i_k == 0) u = unit_parse(ARG_S(k, 1, i));
        if (u > UNIT_MILLISECOND)
            row_failf(k, i, "cannot truncate to %.*s", BYTES_ARG(ARG_S(k, 1, i)));
        else
            k->out->i[i] = truncate_to(u, ARG_I(k, 0, i));
    }
}
void kernel_TRUNC_T(struct call *k)
{
    truncate_rows(k);
}
void kernel_TRUNC_L(struct call *k)
{
    truncate_rows(k);
}

/* ---- DATE_FORMAT: Java's letters ---- */

static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};
static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

static size_t put_name(char *out, const char *name, size_t count)
{
    size_t n = strlen(name);
    if (count < 4 && n > 3) n = 3;
    memcpy(out, name, n);
    return n;
}

static size_t put_number(char *out, int64_t v, size_t width)
{
    char digits[24];
    size_t n = text_format_i64(digits, v), pad = n < width ? width - n : 0;
    memset(out, '0', pad);
    memcpy(out + pad, digits, n);
    return pad + n;
}

/* One run of `count` equal letters (at most 9); 0: not a letter we know. */
static size_t format_letters(char *out, char letter, size_t count, const struct civil *c)
{
    switch (letter) {
    case 'y':
    case 'u': return count == 2 ? put_number(out, c->year % 100, 2) : put_number(out, c->year, count);
    case 'M':
    case 'L': return count >= 3 ? put_name(out, month_names[c->month - 1], count) : put_number(out, c->month, count);
    case 'd': return put_number(out, c->day, count);
    case 'D': return put_number(out, c->yearday, count);
    case 'H': return put_number(out, c->hour, count);
    case 'k': return put_number(out, c->hour == 0 ? 24 : c->hour, count);
    case 'h': return put_number(out, c->hour % 12 == 0 ? 12 : c->hour % 12, count);
    case 'K': return put_number(out, c->hour % 12, count);
    case 'm': return put_number(out, c->minute, count);
    case 's': return put_number(out, c->second, count);
    case 'a': return put_name(out, c->hour < 12 ? "AM" : "PM", 4);
    case 'E': return put_name(out, day_names[c->weekday], count);
    case 'S': {
        char digits[12];
        put_number(digits, c->micro, 6);
        memcpy(digits + 6, "000", 3);
        memcpy(out, digits, count);
        return count;
    }
    default: return 0;
    }
}

static bool date_format(struct call *k, int row, int64_t us, struct bytes format)
{
    char *out = (char *)text_room(k, row, format.len * 10);
    if (out == NULL) return true; /* the row is bad already */
    size_t n = 0;
    struct civil c;
    civil_from_us(&c, us);
    for (size_t i = 0; i < format.len;) {
        uint8_t letter = format.ptr[i];
        size_t count = 1;
        if (letter == '\'') {
            size_t from = i + 1;
            const uint8_t *close = memchr(format.ptr + from, '\'', format.len - from);
            if (close == NULL) return false;
            size_t len = (size_t)(close - format.ptr) - from;
            if (len == 0)
                out[n++] = '\'';
            else
                memcpy(out + n, format.ptr + from, len);
            n += len;
            i = from + len + 1;
            continue;
        }
        if (((letter | 0x20) < 'a') || ((letter | 0x20) > 'z')) {
            out[n++] = (char)letter;
            i++;
            continue;
        }
        while (i + count < format.len && count < 9 && format.ptr[i + count] == letter)
            count++;
        size_t put = format_letters(out + n, (char)letter, count, &c);
        if (put == 0) return false;
        n += put;
        i += count;
    }
    k->out->s[row] = bytes_of(out, n);
    return true;
}

static void date_format_rows(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        if (!date_format(k, i, ARG_I(k, 0, i), ARG_S(k, 1, i)))
            row_failf(k, i, "DATE_FORMAT does not know the pattern '%.*s'", BYTES_ARG(ARG_S(k, 1, i)));
    }
}
void kernel_DATE_FORMAT_T(struct call *k)
{
    date_format_rows(k);
}
void kernel_DATE_FORMAT_L(struct call *k)
{
    date_format_rows(k);
}

/* ---- text to time and back ---- */

static int64_t cut_fraction(int64_t us, int precision)
{
    static const int64_t steps[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    return floor_to(us, steps[precision < 0 ? 0 : precision > 6 ? 6 : precision]);
}

static struct bytes trimmed(struct bytes s)
{
    while (s.len && s.ptr[0] == ' ')
        s = bytes_slice(s, 1, s.len - 1);
    while (s.len && s.ptr[s.len - 1] == ' ')
        s.len--;
    return s;
}

void kernel_TO_TIMESTAMP(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        int64_t us;
        if (arg_null(k, 0, i) || !civil_parse_us(trimmed(ARG_S(k, 0, i)), &us))
            out_null(k, i);
        else
            k->out->i[i] = cut_fraction(us, k->expr->type.precision);
    }
}

void kernel_TO_TIMESTAMP_LTZ(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        int64_t unit = ARG_I(k, 1, i);
        if (unit != 0 && unit != 3)
            row_fail(k, i, "TO_TIMESTAMP_LTZ takes precision 0 (seconds) or 3 (milliseconds)");
        else if (__builtin_mul_overflow(ARG_I(k, 0, i), unit == 0 ? SECOND_US : 1000ll, &k->out->i[i]))
            row_fail(k, i, "the time is out of range");
    }
}

void kernel_UNIX_TIMESTAMP(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->i[i] = floor_div(ARG_I(k, 0, i), SECOND_US);
}

static void time_to_text(struct call *k, int64_t scale, int digits)
{
    for_rows(i, k->sel, k->n)
    {
        char *out = arena_alloc(k->ev->arena, 48);
        size_t n = civil_format_us(out, ARG_I(k, 0, i) * scale, digits, ' ');
        k->out->s[i] = bytes_of(out, scale == DAY_US && n > 9 ? n - 9 : n); /* a date has no " 00:00:00" */
    }
}
void kernel_CAST_T_S(struct call *k)
{
    time_to_text(k, 1, k->expr->args[0]->type.precision);
}
void kernel_CAST_L_S(struct call *k)
{
    time_to_text(k, 1, k->expr->args[0]->type.precision);
}
void kernel_CAST_A_S(struct call *k)
{
    time_to_text(k, DAY_US, 0);
}

static void text_to_time(struct call *k, const char *what, bool to_date)
{
    for_rows(i, k->sel, k->n)
    {
        int64_t us;
        struct bytes s = trimmed(ARG_S(k, 0, i));
        if (!civil_parse_us(s, &us))
            row_failf(k, i, "'%.*s' is no %s", (int)(s.len > 60 ? 60 : s.len), (const char *)s.ptr, what);
        else
            k->out->i[i] = to_date ? floor_div(us, DAY_US) : cut_fraction(us, k->expr->type.precision);
    }
}
void kernel_CAST_S_T(struct call *k)
{
    text_to_time(k, "TIMESTAMP", false);
}
void kernel_CAST_S_L(struct call *k)
{
    text_to_time(k, "TIMESTAMP_LTZ", false);
}
void kernel_CAST_S_A(struct call *k)
{
    text_to_time(k, "DATE", true);
}

void kernel_CAST_T_L(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->i[i] = ARG_I(k, 0, i);
}
void kernel_CAST_L_T(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->i[i] = ARG_I(k, 0, i);
}
void kernel_CAST_T_A(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->i[i] = floor_div(ARG_I(k, 0, i), DAY_US);
}
void kernel_CAST_A_T(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        if (__builtin_mul_overflow(ARG_I(k, 0, i), DAY_US, &k->out->i[i])) row_fail(k, i, "the date is out of range");
    }
}

/* ---- text to numbers and back ---- */

void kernel_CAST_I_S(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        char *out = arena_alloc(k->ev->arena, 24);
        k->out->s[i] = bytes_of(out, text_format_i64(out, ARG_I(k, 0, i)));
    }
}
void kernel_CAST_D_S(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        char *out = arena_alloc(k->ev->arena, 40);
        k->out->s[i] = bytes_of(out, text_format_f64(out, ARG_D(k, 0, i)));
    }
}
void kernel_CAST_B_S(struct call *k)
{
    for_rows(i, k->sel, k->n) k->out->s[i] = ARG_B(k, 0, i) ? bytes_str("TRUE") : bytes_str("FALSE");
}

static void not_a(struct call *k, int row, struct bytes s, const char *what)
{
    row_failf(k, row, "'%.*s' is no %s", (int)(s.len > 60 ? 60 : s.len),
              (const char *)(s.ptr ? s.ptr : (const uint8_t *)""), what);
}
void kernel_CAST_S_I(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        if (!text_parse_i64(trimmed(s), &k->out->i[i])) not_a(k, i, s, "BIGINT");
    }
}
void kernel_CAST_S_D(struct call *k)
{
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = ARG_S(k, 0, i);
        if (!text_parse_f64(trimmed(s), &k->out->d[i])) not_a(k, i, s, "DOUBLE");
    }
}
void kernel_CAST_S_B(struct call *k)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "1"}, *const no[] = {"false", "f", "no", "n", "0"};
    for_rows(i, k->sel, k->n)
    {
        struct bytes s = trimmed(ARG_S(k, 0, i));
        int v = -1;
        for (int w = 0; w < 5; w++) {
            if (text_equal_nocase(s, bytes_str(yes[w]))) v = 1;
            if (text_equal_nocase(s, bytes_str(no[w]))) v = 0;
        }
        if (v < 0)
            not_a(k, i, s, "BOOLEAN");
        else
            k->out->b[i] = (uint8_t)v;
    }
}
