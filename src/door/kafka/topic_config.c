/* topic_config.c: a topic's configuration under Kafka's names, for CreateTopics, DescribeConfigs and both ways to alter
 * it.
 *
 * K1  What is accepted is honoured. A name whose behaviour this server does not have takes the one value that
 *     describes what it does, and anything else is refused with that value in the message: a program that asks for
 *     two in-sync replicas must not believe that it has them.
 * K2  What is set is shown as set (source DYNAMIC_TOPIC_CONFIG), and setting every shown value back, as tools do that
 *     alter all of a topic, changes nothing. */
#include "door/kafka/kafka_int.h"

#include "base/text.h"

#include <stdio.h>

enum key {
    KEY_POLICY,
    KEY_BATCH,
    KEY_AHEAD,
    KEY_STAMP,
    KEY_BYTES,
    KEY_MS,
    KEY_SEGMENT_BYTES,
    KEY_SEGMENT_MS,
    KEY_FIXED,
    KEY_NUMBER /* + enum topic_number; the last */
};

#define FOREVER "9223372036854775807"
/* Of a number whose default the broker knows. */
#define NUMBER(name, broker_name, type, number, min)                                                                   \
    {                                                                                                                  \
        name, broker_name, NULL, type, KEY_NUMBER + TOPIC_##number, min,                                               \
            (type) == KAFKA_TYPE_INT ? INT32_MAX : INT64_MAX                                                           \
    }

static const struct definition {
    const char *name;
    const char *broker_name; /* the node's configuration that holds where the topic has none; NULL: not shown */
    const char *builtin;     /* Kafka's default where we have no other; of KEY_FIXED the only value; NULL: a number's */
    int8_t type;
    uint8_t key;
    int64_t min, max; /* of numbers */
} definitions[] = {
    {"cleanup.policy", "log.cleanup.policy", "delete", KAFKA_TYPE_LIST, KEY_POLICY, 0, 0},
    {"compression.type", "compression.type", "producer", KAFKA_TYPE_STRING, KEY_FIXED, 0, 0},
    NUMBER("delete.retention.ms", "log.cleaner.delete.retention.ms", KAFKA_TYPE_LONG, DELETE_RETENTION_MS, 0),
    NUMBER("file.delete.delay.ms", "log.segment.delete.delay.ms", KAFKA_TYPE_LONG, FILE_DELETE_DELAY_MS, 0),
    NUMBER("flush.messages", "log.flush.interval.messages", KAFKA_TYPE_LONG, FLUSH_MESSAGES, 1),
    NUMBER("flush.ms", "log.flush.interval.ms", KAFKA_TYPE_LONG, FLUSH_MS, 0),
    NUMBER("index.interval.bytes", "log.index.interval.bytes", KAFKA_TYPE_INT, INDEX_INTERVAL_BYTES, 0),
    NUMBER("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", KAFKA_TYPE_LONG, MAX_COMPACTION_LAG_MS, 1),
    {"max.message.bytes", "message.max.bytes", "1048588", KAFKA_TYPE_INT, KEY_BATCH, 1, LIMIT_BATCH_BYTES_MAX},
    {"message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", "3600000", KAFKA_TYPE_LONG, KEY_AHEAD, 0,
     INT64_MAX},
    NUMBER("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", KAFKA_TYPE_LONG,
           TIMESTAMP_BEFORE_MS, 0),
    {"message.timestamp.type", "log.message.timestamp.type", "CreateTime", KAFKA_TYPE_STRING, KEY_STAMP, 0, 0},
    NUMBER("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", KAFKA_TYPE_DOUBLE, DIRTY_RATIO_PPM, 0),
    NUMBER("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", KAFKA_TYPE_LONG, MIN_COMPACTION_LAG_MS, 0),
    {"min.insync.replicas", "min.insync.replicas", "1", KAFKA_TYPE_INT, KEY_FIXED, 1, INT32_MAX},
    NUMBER("preallocate", "log.preallocate", KAFKA_TYPE_BOOLEAN, PREALLOCATE, 0),
    {"retention.bytes", "log.retention.bytes", "-1", KAFKA_TYPE_LONG, KEY_BYTES, -1, INT64_MAX},
    {"retention.ms", "log.retention.ms", "604800000", KAFKA_TYPE_LONG, KEY_MS, -1, INT64_MAX},
    {"segment.bytes", "log.segment.bytes", "268435456", KAFKA_TYPE_INT, KEY_SEGMENT_BYTES, LIMIT_SEGMENT_BYTES_MIN,
     LIMIT_SEGMENT_BYTES_MAX},
    NUMBER("segment.index.bytes", "log.index.size.max.bytes", KAFKA_TYPE_INT, SEGMENT_INDEX_BYTES, 4),
    NUMBER("segment.jitter.ms", "log.roll.jitter.ms", KAFKA_TYPE_LONG, SEGMENT_JITTER_MS, 0),
    {"segment.ms", "log.roll.ms", "604800000", KAFKA_TYPE_LONG, KEY_SEGMENT_MS, 1, INT64_MAX},
    NUMBER("unclean.leader.election.enable", "unclean.leader.election.enable", KAFKA_TYPE_BOOLEAN, UNCLEAN_ELECTION, 0),
    /* Known, so that tools may set what is so anyway. */
    {"follower.replication.throttled.replicas", NULL, "", KAFKA_TYPE_LIST, KEY_FIXED, 0, 0},
    {"leader.replication.throttled.replicas", NULL, "", KAFKA_TYPE_LIST, KEY_FIXED, 0, 0},
    {"local.retention.bytes", NULL, "-2", KAFKA_TYPE_LONG, KEY_FIXED, 0, 0},
    {"local.retention.ms", NULL, "-2", KAFKA_TYPE_LONG, KEY_FIXED, 0, 0},
    {"message.timestamp.difference.max.ms", NULL, FOREVER, KAFKA_TYPE_LONG, KEY_FIXED, 0, 0},
    {"remote.log.copy.disable", NULL, "false", KAFKA_TYPE_BOOLEAN, KEY_FIXED, 0, 0},
    {"remote.log.delete.on.disable", NULL, "false", KAFKA_TYPE_BOOLEAN, KEY_FIXED, 0, 0},
    {"remote.storage.enable", NULL, "false", KAFKA_TYPE_BOOLEAN, KEY_FIXED, 0, 0},
};
_Static_assert(ARRAY_LEN(definitions) <= 64, "see kafka_topic_config_index");
_Static_assert(LIMIT_SEGMENT_BYTES_DEFAULT == 268435456 && LIMIT_BATCH_BYTES_DEFAULT == 1048588 &&
                   LIMIT_TIMESTAMP_AHEAD_MS == 3600000,
               "the built-in values above");

int kafka_topic_config_index(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++)
        if (bytes_equal_str(name, definitions[i].name)) return (int)i;
    return -1;
}

/* ---- cleanup.policy ---- */
#define POLICY_DELETE 1u
#define POLICY_COMPACT 2u

static unsigned policy_of(const struct topic_config *c)
{
    if (!c->compact) return POLICY_DELETE;
    return POLICY_COMPACT | (c->compact_and_delete ? POLICY_DELETE : 0);
}

static void policy_set(struct topic_config *c, unsigned policy)
{
    c->compact = policy & POLICY_COMPACT;
    c->compact_and_delete = policy == (POLICY_COMPACT | POLICY_DELETE);
}

/* "delete", "compact" or both, in any order; 0: something else. */
static unsigned policy_parse(struct bytes v)
{
    unsigned policy = 0;

    while (v.len > 0) {
        const uint8_t *comma = memchr(v.ptr, ',', v.len);
        struct bytes word = bytes_of(v.ptr, comma ? (size_t)(comma - v.ptr) : v.len);

        v = comma ? bytes_slice(v, word.len + 1, v.len - word.len - 1) : bytes_of(v.ptr + v.len, 0);
        while (word.len > 0 && word.ptr[0] == ' ')
            word = bytes_slice(word, 1, word.len - 1);
        while (word.len > 0 && word.ptr[word.len - 1] == ' ')
            word.len--;
        if (bytes_equal_str(word, "compact"))
            policy |= POLICY_COMPACT;
        else if (bytes_equal_str(word, "delete"))
            policy |= POLICY_DELETE;
        else
            return 0;
    }
    return policy;
}

/* ---- numbers: 0 stands for "the default" in topic_config, so the smallest time and size are 1 ---- */
static int64_t number_of(const struct topic_config *c, uint8_t key)
{
    switch (key) {
    case KEY_BATCH: return c->batch_bytes_max;
    case KEY_AHEAD: return c->timestamp_ahead_ms;
    case KEY_BYTES: return c->retention_bytes;
    case KEY_MS: return c->retention_ms;
    case KEY_SEGMENT_BYTES: return (int64_t)c->segment_bytes;
    case KEY_SEGMENT_MS: return c->segment_ms;
    default: return key >= KEY_NUMBER ? c->number[key - KEY_NUMBER] : 0;
    }
}

static void number_set(struct topic_config *c, uint8_t key, int64_t v)
{
    switch (key) {
    case KEY_BATCH: c->batch_bytes_max = (uint32_t)v; break;
    case KEY_AHEAD: c->timestamp_ahead_ms = v; break;
    case KEY_BYTES: c->retention_bytes = v; break;
    case KEY_MS: c->retention_ms = v; break;
    case KEY_SEGMENT_BYTES: c->segment_bytes = (uint64_t)v; break;
    case KEY_SEGMENT_MS: c->segment_ms = v; break;
    default:
        check(key >= KEY_NUMBER);
        c->number[key - KEY_NUMBER] = v;
        c->is_set |= 1u << (key - KEY_NUMBER);
    }
}

/* ---- showing ---- */
static bool is_set(const struct topic_config *c, const struct definition *d)
{
    switch (d->key) {
    case KEY_POLICY: return c->compact;
    case KEY_STAMP: return c->log_append_time;
    default: return d->key >= KEY_NUMBER ? c->is_set >> (d->key - KEY_NUMBER) & 1 : number_of(c, d->key) != 0;
    }
}

/* A number as its type is written. */
static struct bytes number_text(const struct definition *d, int64_t v, struct arena *a)
{
    if (d->type == KAFKA_TYPE_BOOLEAN) return v ? BYTES_LIT("true") : BYTES_LIT("false");
    if (d->type == KAFKA_TYPE_DOUBLE) { /* millionths: "0.5", "0.123", "1.0" */
        char *text = arena_printf(a, "%lld.%06lld", (long long)(v / 1000000), (long long)(v % 1000000));
        size_t len = strlen(text);
        while (text[len - 1] == '0' && text[len - 2] != '.')
            len--;
        return bytes_of(text, len);
    }
    return bytes_str(arena_printf(a, "%lld", (long long)v));
}

static struct bytes value_of(const struct topic_config *c, const struct definition *d, struct arena *a)
{
    static const char *const policies[] = {"", "delete", "compact", "compact,delete"};
    int64_t v = number_of(c, d->key);

    if (d->key == KEY_POLICY) return bytes_str(policies[policy_of(c)]);
    if (d->key == KEY_STAMP) return c->log_append_time ? BYTES_LIT("LogAppendTime") : BYTES_LIT("CreateTime");
    return number_text(d, v < 0 ? -1 : v, a);
}

static struct bytes builtin_of(const struct definition *d, struct arena *a)
{
    return d->builtin ? bytes_str(d->builtin) : number_text(d, topic_number_defaults[d->key - KEY_NUMBER], a);
}

static void put_synonym(struct kafka_config_view *v, const char *name, struct bytes value, int8_t source)
{
    v->synonyms[v->n_synonyms].name = name;
    v->synonyms[v->n_synonyms].value = value;
    v->synonyms[v->n_synonyms++].source = source;
}

int kafka_topic_configs(struct broker *b, const struct topic_config *given, struct arena *a,
                        struct kafka_config_view *out)
{
    const struct broker_options *o = broker_options(b);
    struct topic_config node = {.retention_ms = o->retention_ms,
                                .retention_bytes = o->retention_bytes,
                                .segment_bytes = o->segment_bytes,
                                .batch_bytes_max = o->batch_bytes_max};
    int n = 0;

    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        const struct definition *d = &definitions[i];
        struct kafka_config_view *v = &out[n];

        if (d->broker_name == NULL) continue;
        struct bytes builtin = builtin_of(d, a);
        check(n++ < KAFKA_CONFIGS_MAX);
        *v = (struct kafka_config_view){.name = d->name, .type = d->type};
        if (is_set(given, d)) put_synonym(v, d->name, value_of(given, d, a), KAFKA_SOURCE_TOPIC);
        if (is_set(&node, d) && !bytes_equal(value_of(&node, d, a), builtin))
            put_synonym(v, d->broker_name, value_of(&node, d, a), KAFKA_SOURCE_BROKER);
        put_synonym(v, d->broker_name, builtin, KAFKA_SOURCE_DEFAULT);
        v->value = v->synonyms[0].value;
        v->source = v->synonyms[0].source;
    }
    return n;
}

/* ---- changing ---- */
static int16_t bad(struct err *e, struct bytes name, const char *what)
{
    (void)err_set(e, ERR_INVALID, "%.*s: %s", BYTES_ARG(name), what);
    return KE_INVALID_CONFIG;
}

static int16_t unknown(struct err *e, struct bytes name)
{
    char text[65];
    const char *near = NULL;
    unsigned best = name.len < 12 ? 3 : (unsigned)(name.len / 3);

    (void)snprintf(text, sizeof text, "%.*s", BYTES_ARG(name));
    for (size_t i = 0; i < ARRAY_LEN(definitions); i++) {
        unsigned distance = text_distance(text, definitions[i].name);

        if (distance > best || (near != NULL && distance == best)) continue;
        best = distance;
        near = definitions[i].name;
    }
    (void)err_set(e, ERR_INVALID, "there is no topic configuration \"%s\"%s%s%s", text, near ? "; did you mean " : "",
                  near ? near : "", near ? "?" : "");
    return KE_INVALID_CONFIG;
}

static int16_t set_ratio(struct topic_config *c, const struct definition *d, struct bytes value, struct err *e)
{
    double v;

    if (!text_parse_f64(value, &v) || !(v >= 0 && v <= 1)) {
        (void)err_set(e, ERR_INVALID, "%s: \"%.*s\" is not a number from 0 to 1", d->name, BYTES_ARG(value));
        return KE_INVALID_CONFIG;
    }
    number_set(c, d->key, (int64_t)(v * 1e6 + 0.5));
    return KE_NONE;
}

static int16_t set(struct topic_config *c, const struct definition *d, struct bytes name, struct bytes value,
                   struct err *e)
{
    unsigned policy;
    int64_t v;

    switch (d->key) {
    case KEY_FIXED:
        if (bytes_equal_str(value, d->builtin)) return KE_NONE;
        /* Programs that hard-code three replicas hard-code this beside it; both are taken as 1. */
        if (d->max > 0 && text_parse_i64(value, &v) && v >= d->min && v <= d->max) return KE_NONE;
        (void)err_set(e, ERR_INVALID, "%s: \"%.*s\" is not possible here, it is always %s", d->name, BYTES_ARG(value),
                      d->builtin);
        return KE_INVALID_CONFIG;
    case KEY_POLICY:
        policy = policy_parse(value);
        if (policy == 0) return bad(e, name, "delete, compact or both");
        policy_set(c, policy);
        return KE_NONE;
    case KEY_STAMP:
        if (!bytes_equal_str(value, "LogAppendTime") && !bytes_equal_str(value, "CreateTime"))
            return bad(e, name, "CreateTime or LogAppendTime");
        c->log_append_time = bytes_equal_str(value, "LogAppendTime");
        return KE_NONE;
    default: break;
    }
    if (d->type == KAFKA_TYPE_DOUBLE) return set_ratio(c, d, value, e);
    if (d->type == KAFKA_TYPE_BOOLEAN) {
        bool is_true = bytes_equal_str(value, "true");
        if (!is_true && !bytes_equal_str(value, "false")) return bad(e, name, "true or false");
        number_set(c, d->key, is_true);
        return KE_NONE;
    }
    if (!text_parse_i64(value, &v) || v < d->min || v > d->max) {
        (void)err_set(e, ERR_INVALID, "%s: \"%.*s\" is not a number from %lld to %lld%s", d->name, BYTES_ARG(value),
                      (long long)d->min, (long long)d->max, d->min == -1 ? " (-1: no bound)" : "");
        return KE_INVALID_CONFIG;
    }
    number_set(c, d->key, v == 0 && d->key < KEY_NUMBER ? 1 : v);
    return KE_NONE;
}

static void reset(struct topic_config *c, const struct definition *d)
{
    switch (d->key) {
    case KEY_FIXED: break;
    case KEY_POLICY: policy_set(c, POLICY_DELETE); break;
    case KEY_STAMP: c->log_append_time = false; break;
    default:
        number_set(c, d->key, 0);
        if (d->key >= KEY_NUMBER) c->is_set &= ~(1u << (d->key - KEY_NUMBER));
    }
}

/* cleanup.policy is the one list. */
static int16_t edit_list(struct topic_config *c, const struct definition *d, bool append, struct bytes name,
                         struct bytes value, struct err *e)
{
    unsigned words = policy_parse(value), policy = policy_of(c);

    if (d->key != KEY_POLICY) return bad(e, name, "only lists (cleanup.policy) can be appended to and subtracted from");
    if (words == 0) return bad(e, name, "delete, compact or both");
    policy = append ? policy | words : policy & ~words;
    if (policy == 0) return bad(e, name, "nothing would be left: delete, compact or both");
    policy_set(c, policy);
    return KE_NONE;
}

int16_t kafka_topic_config_change(struct topic_config *c, int op, struct bytes name, struct bytes value, struct err *e)
{
    int i = kafka_topic_config_index(name);

    if (i < 0) return unknown(e, name);
    if (op != KAFKA_CONFIG_DELETE && value.ptr == NULL) return bad(e, name, "a value is missing");
    switch (op) {
    case KAFKA_CONFIG_SET: return set(c, &definitions[i], name, value, e);
    case KAFKA_CONFIG_DELETE: reset(c, &definitions[i]); return KE_NONE;
    case KAFKA_CONFIG_APPEND:
    case KAFKA_CONFIG_SUBTRACT: return edit_list(c, &definitions[i], op == KAFKA_CONFIG_APPEND, name, value, e);
    default:
        (void)err_set(e, ERR_INVALID, "%.*s: operation %d is unknown", BYTES_ARG(name), op);
        return KE_INVALID_REQUEST;
    }
}
