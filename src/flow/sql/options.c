/* options.c: WITH ('key' = 'value'): what a stream can be told. Unknown keys are errors; keys that Flink's texts carry
 * and that mean nothing here are accepted, so that a text for Flink can be used as it is. */
#include "flow/sql/options.h"

#include "base/text.h"

static bool bad_value(struct sql_ctx *c, const struct option_ast *o, const char *hint)
{
    sql_fail(c, o->value_position, hint, "'%s' is not a value of '%s'", sql_shown(c, o->value), sql_shown(c, o->key));
    return false;
}

static bool set_topic(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    if (!text_is_topic_name(o->value))
        return bad_value(c, o, "topic names: letters, digits, '.', '_', '-', at most 249");
    def->topic = o->value;
    return true;
}

static bool set_startup(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    static const char *const known[] = {"group-offsets", "timestamp", "specific-offsets"};
    def->start_latest = bytes_equal_str(o->value, "latest-offset");
    if (def->start_latest || bytes_equal_str(o->value, "earliest-offset")) return true;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!bytes_equal_str(o->value, known[i])) continue;
        sql_not_yet(c, o->value_position, arena_printf(c->arena, "'scan.startup.mode' = '%s'", known[i]),
                    "earliest-offset or latest-offset");
        return false;
    }
    return bad_value(c, o, "earliest-offset or latest-offset");
}

/* "5 s", "500ms", "1 min", "2 hours": Flink's spelling. Milliseconds; a bare number is milliseconds. */
static bool parse_duration(struct bytes text, int64_t *ms)
{
    static const struct {
        const char *names;
        int64_t ms;
    } units[] = {{" ms milli millis millisecond milliseconds ", 1},
                 {" s sec secs second seconds ", 1000},
                 {" m min minute minutes ", 60 * 1000},
                 {" h hour hours ", 3600 * 1000},
                 {" d day days ", 86400 * 1000}};
    size_t at = 0;
    int64_t v = 0;
    char word[20] = " ";
    size_t n = 1;

    while (at < text.len && text.ptr[at] == ' ')
        at++;
    if (at == text.len) return false;
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++) {
        n = 0;
        v = v * 10 + (text.ptr[at] - '0');
        if (v > 1000ll * 86400 * 1000) return false; /* far beyond any sense, and far from overflow */
    }
    if (n != 0) return false; /* no digit */
    while (at < text.len && text.ptr[at] == ' ')
        at++;
    for (n = 1; at < text.len && text.ptr[at] != ' '; at++) {
        uint8_t ch = text.ptr[at];
        if (n + 2 >= sizeof(word)) return false;
        word[n++] = (char)(ch >= 'A' && ch <= 'Z' ? ch + 32 : ch);
    }
    while (at < text.len && text.ptr[at] == ' ')
        at++;
    if (at < text.len) return false;
    *ms = v;
    if (n == 1) return true;
    word[n] = ' ';
    word[n + 1] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strstr(units[i].names, word) == NULL) continue;
        return !__builtin_mul_overflow(v, units[i].ms, ms);
    }
    return false;
}

static bool set_idle(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    int64_t ms;
    if (!parse_duration(o->value, &ms))
        return bad_value(c, o, "a duration such as '5 s', '500ms' or '1 min'; '0 s' is never");
    def->idle_timeout_ms = ms == 0 ? -1 : ms;
    return true;
}

static bool set_partitions(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    int64_t n;
    if (!text_parse_i64(o->value, &n) || n < 1 || n > LIMIT_PARTITIONS_PER_TOPIC_MAX)
        return bad_value(c, o, "a number from 1 to 1024");
    def->n_partitions = (int32_t)n;
    return true;
}

/* 'a;b': names of stored columns. */
static bool set_key_fields(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    struct bytes rest = o->value;
    struct bytes fields[64];
    int n = 0;

    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.ptr, ';', rest.len);
        size_t length = end == NULL ? rest.len : (size_t)(end - rest.ptr);
        struct bytes name = bytes_slice(rest, 0, length);
        struct suggest near;
        int i = 0;

        suggest_init(&near, name);
        for (; i < def->n_columns; i++) {
            if (def->columns[i].source != COLUMN_PHYSICAL) continue;
            if (bytes_equal(def->columns[i].name, name)) break;
            suggest_add(&near, def->columns[i].name);
        }
        if (i == def->n_columns) {
            sql_fail(c, o->value_position, suggest_hint(c, &near, "names of columns, separated by ';'"),
                     "'key.fields' names an unknown column '%s'", sql_shown(c, name));
            return false;
        }
        if (n == (int)ARRAY_LEN(fields)) return bad_value(c, o, "at most 64 columns");
        fields[n++] = name;
        rest = bytes_slice(rest, end == NULL ? length : length + 1, rest.len - (end == NULL ? length : length + 1));
    }
    if (n == 0) return bad_value(c, o, "names of columns, separated by ';'");
    def->key_fields = arena_array(c->arena, (size_t)n, sizeof(*def->key_fields));
    memcpy(def->key_fields, fields, (size_t)n * sizeof(*fields));
    def->n_key_fields = n;
    return true;
}

static bool is_among(struct bytes value, const char *words)
{
    while (*words != '\0') {
        size_t n = strcspn(words, "|");
        if (value.len == n && memcmp(value.ptr, words, n) == 0) return true;
        words += words[n] == '|' ? n + 1 : n;
    }
    return false;
}

struct option_row {
    const char *key;
    bool (*set)(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def);
    const char *values; /* when set is NULL: the values that change nothing, by '|'; NULL: any */
};
static const struct option_row rows[] = {
    {"topic", set_topic, NULL},
    {"format", NULL, "json"},
    {"value.format", NULL, "json"},
    {"scan.startup.mode", set_startup, NULL},
    {"scan.watermark.idle-timeout", set_idle, NULL},
    {"key.fields", set_key_fields, NULL},
    {"partitions", set_partitions, NULL},
    {"connector", NULL, "kafka|weir"},
    {"key.format", NULL, "raw|json"},
    {"value.fields-include", NULL, "ALL"},
    {"properties.bootstrap.servers", NULL, NULL},
    {"properties.group.id", NULL, NULL},
    {"json.ignore-parse-errors", NULL, "true"},
    {"json.fail-on-missing-field", NULL, "false"},
    {"json.timestamp-format.standard", NULL, "SQL"},
};

static bool set_option(struct sql_ctx *c, const struct option_ast *o, struct stream_def *def)
{
    struct suggest near;

    suggest_init(&near, o->key);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        suggest_add(&near, bytes_str(rows[i].key));
        if (!bytes_equal_str(o->key, rows[i].key)) continue;
        if (rows[i].set != NULL) return rows[i].set(c, o, def);
        if (rows[i].values == NULL || is_among(o->value, rows[i].values)) return true;
        return bad_value(c, o, arena_printf(c->arena, "only %s", rows[i].values));
    }
    sql_fail(
        c, o->key_position,
        suggest_hint(c, &near,
                     "keys: topic, format, scan.startup.mode, scan.watermark.idle-timeout, key.fields, partitions"),
        "unknown option '%s'", sql_shown(c, o->key));
    return false;
}

bool bind_options(struct sql_ctx *c, const struct create_ast *create, struct stream_def *def)
{
    def->topic = def->name;
    for (int i = 0; i < create->options.n; i++) {
        const struct option_ast *o = create->options.items[i];
        for (int k = 0; k < i; k++) {
            if (!bytes_equal(o->key, ((struct option_ast *)create->options.items[k])->key)) continue;
            sql_fail(c, o->key_position, NULL, "option '%s' is given twice", sql_shown(c, o->key));
            return false;
        }
        if (!set_option(c, o, def)) return false;
    }
    if (text_is_topic_name(def->topic)) return true;
    sql_fail(c, create->position, "WITH ('topic' = '...') names another; letters, digits, '.', '_', '-'",
             "'%s' cannot be the name of a topic", sql_shown(c, def->topic));
    return false;
}
