/* quota.c: rules, and the windows in which they are counted.
 *
 *   rule      who (user and client id, or address) -> up to five limits. A definition of kind "quota":
 *             name  user=alice,client-id=<default>       parts in this order; a name's bytes outside of [A-Za-z0-9._-]
 *                                                        are %XX, so that <default> is never a name
 *             text  1 producer_byte_rate=1048576 ...     version, then kinds in any order
 *   bucket    (kind, user, client id) as the rule in force says -> eleven samples of a second each
 *
 * Q3  Precedence is Kafka's: the most specific rule that has the kind decides, and it also decides whose bucket it is:
 *       user + client id, user + default client id          -> of this user and client id
 *       user                                                -> of this user, all its client ids together
 *       default user + client id, + default client id       -> of this user and client id
 *       default user                                        -> of this user
 *       client id, default client id                        -> of this client id, whoever uses it
 * Q4  Rate, window and wait are computed as Kafka's Rate, SampledStat and QuotaUtils do it (quota.window.num 11,
 *     quota.window.size.seconds 1): a fresh bucket counts as ten empty seconds, so a limit of r allows a burst of 10 r.
 *     The wait is what brings the rate back to the limit; for time and connections at most one second.
 * Q5  Buckets are bounded: those whose samples are all over go first; when all LIMIT_QUOTA_BUCKETS_MAX are in use, the
 *     rest shares one. A client that makes up client ids cannot grow them.
 *
 * Time is the loop's: nothing here reads a clock, and in a simulated world the windows move with it. */
#include "broker/quota.h"

#include <math.h>
#include <stdlib.h>

#include "broker/broker_int.h"

#define SAMPLES 11
#define SAMPLE_MS 1000u
#define WAIT_BOUND_MS 1000u   /* of QUOTA_REQUEST and QUOTA_CONNECTIONS, as Kafka */
#define WAIT_MS_MAX INT32_MAX /* throttleTimeMs is an i32 */
#define RULE_VERSION "1"
#define KIND "quota"

struct rule {
    struct quota_limits limits;
};
struct bucket {
    uint64_t used_ms; /* of the last charge */
    uint64_t start_ms[SAMPLES];
    double amount[SAMPLES];
    uint8_t current, n;
};
struct quotas {
    struct map rules;   /* entity_key -> struct rule */
    struct map buckets; /* kind, user, client -> struct bucket */
    struct bucket shared[QUOTA_KINDS];
    uint32_t n_limits; /* of all rules and kinds */
    struct quota_stats stats;
    struct buf key; /* scratch */
};

static const struct {
    const char *name;
    bool is_whole; /* Kafka keeps it as an integer */
    bool is_ip;    /* else of users and client ids */
} kinds[QUOTA_KINDS] = {
    [QUOTA_PRODUCE] = {"producer_byte_rate", true, false},
    [QUOTA_CONSUME] = {"consumer_byte_rate", true, false},
    [QUOTA_REQUEST] = {"request_percentage", false, false},
    [QUOTA_MUTATIONS] = {"controller_mutation_rate", false, false},
    [QUOTA_CONNECTIONS] = {"connection_creation_rate", true, true},
};

const char *quota_kind_name(enum quota_kind kind)
{
    return kinds[kind].name;
}

bool quota_kind_find(struct bytes name, enum quota_kind *out)
{
    for (int i = 0; i < QUOTA_KINDS; i++) {
        if (!bytes_equal_str(name, kinds[i].name)) continue;
        *out = (enum quota_kind)i;
        return true;
    }
    return false;
}

/* ---- entities as text and as keys ---- */
static void put_part_text(struct buf *out, const char *type, const struct quota_part *p)
{
    if (p->match == QUOTA_ABSENT) return;
    if (out->len > 0) buf_put_u8(out, ',');
    buf_printf(out, "%s=", type);
    if (p->match == QUOTA_DEFAULT) {
        buf_put_str(out, "<default>");
        return;
    }
    for (size_t i = 0; i < p->name.len; i++) {
        uint8_t c = p->name.ptr[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
            c == '-')
            buf_put_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

static void put_entity_text(struct buf *out, const struct quota_entity *entity)
{
    put_part_text(out, "user", &entity->user);
    put_part_text(out, "client-id", &entity->client);
    put_part_text(out, "ip", &entity->ip);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The value behind "type=" up to a comma; names are decoded to the end of *scratch, which is never moved. */
static bool read_part(struct bytes *left, const char *type, struct buf *scratch, struct quota_part *out)
{
    size_t prefix = strlen(type), n;
    const uint8_t *comma;
    struct bytes value;

    if (left->len <= prefix || memcmp(left->ptr, type, prefix) != 0 || left->ptr[prefix] != '=') return true;
    *left = bytes_slice(*left, prefix + 1, left->len - prefix - 1);
    comma = memchr(left->ptr, ',', left->len);
    n = comma != NULL ? (size_t)(comma - left->ptr) : left->len;
    value = bytes_slice(*left, 0, n);
    *left = bytes_slice(*left, n + (comma != NULL), left->len - n - (comma != NULL));
    if (bytes_equal_str(value, "<default>")) {
        out->match = QUOTA_DEFAULT;
        return true;
    }
    out->match = QUOTA_NAMED;
    out->name = bytes_of(scratch->ptr + scratch->len, 0);
    for (size_t i = 0; i < n; i++) {
        if (value.ptr[i] != '%') {
            buf_put_u8(scratch, value.ptr[i]);
        } else {
            if (n - i < 3 || hex_digit(value.ptr[i + 1]) < 0 || hex_digit(value.ptr[i + 2]) < 0) return false;
            buf_put_u8(scratch, (uint8_t)(hex_digit(value.ptr[i + 1]) << 4 | hex_digit(value.ptr[i + 2])));
            i += 2;
        }
        out->name.len++;
    }
    return true;
}

static bool read_entity_text(struct bytes text, struct buf *scratch, struct quota_entity *out)
{
    memset(out, 0, sizeof *out);
    buf_clear(scratch);
    if (!buf_reserve(scratch, text.len + 1)) return false; /* so that views into it stay */
    return read_part(&text, "user", scratch, &out->user) && read_part(&text, "client-id", scratch, &out->client) &&
           read_part(&text, "ip", scratch, &out->ip) && text.len == 0;
}

static void put_part_key(struct buf *out, const struct quota_part *p)
{
    buf_put_u8(out, (uint8_t)p->match);
    if (p->match != QUOTA_NAMED) return;
    buf_put_be16(out, (uint16_t)p->name.len);
    buf_put_bytes(out, p->name);
}

static struct bytes entity_key(struct quotas *q, const struct quota_entity *entity)
{
    buf_clear(&q->key);
    put_part_key(&q->key, &entity->user);
    put_part_key(&q->key, &entity->client);
    put_part_key(&q->key, &entity->ip);
    return buf_bytes(&q->key);
}

/* ---- rules ---- */
static uint32_t limits_count(const struct quota_limits *l)
{
    uint32_t n = 0;

    for (int i = 0; i < QUOTA_KINDS; i++)
        n += l->has[i];
    return n;
}

/* Without limits the rule goes. */
static void rule_put(struct quotas *q, const struct quota_entity *entity, const struct quota_limits *limits)
{
    struct bytes key = entity_key(q, entity);
    struct rule *r = map_get(&q->rules, key);

    if (r != NULL) q->n_limits -= limits_count(&r->limits);
    q->n_limits += limits_count(limits);
    if (limits_count(limits) == 0) {
        free(map_remove(&q->rules, key));
        return;
    }
    if (r == NULL) {
        r = calloc(1, sizeof *r);
        check(r != NULL);
        (void)map_put(&q->rules, key, r);
    }
    r->limits = *limits;
}

static bool read_limits(struct bytes text, struct quota_limits *out)
{
    bool is_first = true;

    memset(out, 0, sizeof *out);
    while (text.len > 0) {
        const uint8_t *space = memchr(text.ptr, ' ', text.len), *equal;
        struct bytes word = bytes_slice(text, 0, space != NULL ? (size_t)(space - text.ptr) : text.len);
        enum quota_kind kind;

        text = bytes_slice(text, word.len + (space != NULL), text.len - word.len - (space != NULL));
        if (is_first) {
            if (!bytes_equal_str(word, RULE_VERSION)) return false;
            is_first = false;
            continue;
        }
        equal = memchr(word.ptr, '=', word.len);
        if (equal == NULL || !quota_kind_find(bytes_slice(word, 0, (size_t)(equal - word.ptr)), &kind)) return false;
        word = bytes_slice(word, (size_t)(equal + 1 - word.ptr), word.len - (size_t)(equal + 1 - word.ptr));
        if (!text_parse_f64(word, &out->value[kind]) || !(out->value[kind] > 0)) return false;
        out->has[kind] = true;
    }
    return !is_first;
}

struct opening {
    struct quotas *quotas;
    struct buf scratch;
    enum err_code rc;
    struct err *e;
};

static bool open_one(void *arg, struct bytes name, struct bytes text)
{
    struct opening *o = arg;
    struct quota_entity entity;
    struct quota_limits limits;

    if (read_entity_text(name, &o->scratch, &entity) && read_limits(text, &limits)) {
        rule_put(o->quotas, &entity, &limits);
        return true;
    }
    /* Not skipped: a limit that somebody relies on must not vanish quietly. */
    o->rc = err_set(o->e, ERR_UNSUPPORTED, "the quota of %.*s is not understood: written by a newer version of Weir?",
                    BYTES_ARG(name));
    return false;
}

enum err_code quotas_open(struct broker *b, struct err *e)
{
    struct opening o = {.rc = ERR_NONE, .e = e};

    o.quotas = b->quotas = calloc(1, sizeof *b->quotas);
    check(b->quotas != NULL);
    map_init(&b->quotas->rules);
    map_init(&b->quotas->buckets);
    buf_init(&b->quotas->key, 0);
    buf_init(&o.scratch, 0);
    broker_definitions(b, KIND, open_one, &o);
    buf_deinit(&o.scratch);
    return o.rc;
}

void quotas_destroy(struct broker *b)
{
    struct quotas *q = b->quotas;
    uint32_t pos = 0;

    if (q == NULL) return;
    for (struct map_entry *m; (m = map_next(&q->rules, &pos)) != NULL;)
        free(m->value);
    pos = 0;
    for (struct map_entry *m; (m = map_next(&q->buckets, &pos)) != NULL;)
        free(m->value);
    map_deinit(&q->rules);
    map_deinit(&q->buckets);
    buf_deinit(&q->key);
    free(q);
    b->quotas = NULL;
}

static enum err_code check_part(const char *type, const struct quota_part *p, struct err *e)
{
    if (p->match != QUOTA_NAMED) return ERR_NONE;
    if (p->name.len == 0) return err_set(e, ERR_INVALID, "an empty %s; the default has no name at all", type);
    if (p->name.len > LIMIT_QUOTA_NAME_LEN_MAX)
        return err_set(e, ERR_INVALID, "a %s of more than %d bytes", type, LIMIT_QUOTA_NAME_LEN_MAX);
    return ERR_NONE;
}

static enum err_code check_entity(const struct quota_entity *entity, struct err *e)
{
    bool is_ip = entity->ip.match != QUOTA_ABSENT;
    bool is_client = entity->user.match != QUOTA_ABSENT || entity->client.match != QUOTA_ABSENT;
    enum err_code rc;

    if (!is_ip && !is_client) return err_set(e, ERR_INVALID, "a quota is of a user, a client-id or an ip");
    if (is_ip && is_client) return err_set(e, ERR_INVALID, "a quota of an ip has no user and no client-id");
    rc = check_part("user", &entity->user, e);
    if (rc == ERR_NONE) rc = check_part("client-id", &entity->client, e);
    if (rc == ERR_NONE) rc = check_part("ip", &entity->ip, e);
    return rc;
}

static enum err_code check_change(const struct quota_entity *entity, const struct quota_change *c, struct err *e)
{
    bool is_ip = entity->ip.match != QUOTA_ABSENT;
    const char *name = kinds[c->kind].name;

    if (kinds[c->kind].is_ip != is_ip)
        return err_set(e, ERR_INVALID, "%s is a quota of %s", name, is_ip ? "users and client-ids" : "an ip");
    if (c->remove) return ERR_NONE;
    if (!(c->value > 0) || isinf(c->value)) return err_set(e, ERR_INVALID, "%s must be a number above 0", name);
    if (kinds[c->kind].is_whole && (c->value != floor(c->value) || c->value >= 0x1p63))
        return err_set(e, ERR_INVALID, "%s must be a whole number", name);
    return ERR_NONE;
}

static enum err_code store(struct broker *b, const struct quota_entity *entity, const struct quota_limits *limits,
                           bool is_known, struct err *e)
{
    struct buf name, text;
    enum err_code rc = ERR_NONE;

    buf_init(&name, 0);
    buf_init(&text, 0);
    put_entity_text(&name, entity);
    buf_put_str(&text, RULE_VERSION);
    for (int i = 0; i < QUOTA_KINDS; i++) {
        char number[32];

        if (!limits->has[i]) continue;
        number[text_format_f64(number, limits->value[i])] = '\0';
        buf_printf(&text, " %s=%s", kinds[i].name, number);
    }
    if (limits_count(limits) > 0)
        rc = broker_define(b, KIND, buf_bytes(&name), buf_bytes(&text), e);
    else if (is_known)
        rc = broker_undefine(b, KIND, buf_bytes(&name), e);
    buf_deinit(&name);
    buf_deinit(&text);
    return rc;
}

enum err_code quota_alter(struct broker *b, const struct quota_entity *entity, const struct quota_change *changes,
                          size_t n, bool validate_only, struct err *e)
{
    struct quotas *q = b->quotas;
    struct quota_limits limits = {0};
    const struct rule *known;
    enum err_code rc = check_entity(entity, e);

    if (rc != ERR_NONE) return rc;
    known = map_get(&q->rules, entity_key(q, entity));
    if (known != NULL) limits = known->limits;
    for (size_t i = 0; i < n; i++) {
        rc = check_change(entity, &changes[i], e);
        if (rc != ERR_NONE) return rc;
        limits.has[changes[i].kind] = !changes[i].remove;
        limits.value[changes[i].kind] = changes[i].remove ? 0 : changes[i].value;
    }
    if (known == NULL && map_count(&q->rules) >= LIMIT_QUOTAS_MAX)
        return err_set(e, ERR_LIMIT, "there are %d quotas already", LIMIT_QUOTAS_MAX);
    if (validate_only) return ERR_NONE;
    rc = store(b, entity, &limits, known != NULL, e);
    if (rc == ERR_NONE) rule_put(q, entity, &limits);
    return rc;
}

static bool key_part(struct bytes *left, struct quota_part *out)
{
    size_t len;

    out->match = (enum quota_match)left->ptr[0];
    *left = bytes_slice(*left, 1, left->len - 1);
    if (out->match != QUOTA_NAMED) return true;
    len = be16_get(left->ptr);
    out->name = bytes_slice(*left, 2, len);
    *left = bytes_slice(*left, 2 + len, left->len - 2 - len);
    return true;
}

void quota_each(struct broker *b,
                bool (*fn)(void *arg, const struct quota_entity *entity, const struct quota_limits *limits), void *arg)
{
    uint32_t pos = 0;

    for (struct map_entry *m; (m = map_next(&b->quotas->rules, &pos)) != NULL;) {
        struct quota_entity entity = {0};
        struct bytes left = m->key;

        (void)(key_part(&left, &entity.user) && key_part(&left, &entity.client) && key_part(&left, &entity.ip));
        check(left.len == 0);
        if (!fn(arg, &entity, &((struct rule *)m->value)->limits)) return;
    }
}

/* ---- which rule, whose bucket ---- */
static const struct quota_limits *find_rule(struct quotas *q, enum quota_match user_match, struct bytes user,
                                            enum quota_match client_match, struct bytes client, enum quota_kind kind)
{
    struct quota_entity entity = {.user = {user_match, user}, .client = {client_match, client}};
    const struct rule *r;

    if (user_match == QUOTA_NAMED && (user.len == 0 || user.len > LIMIT_QUOTA_NAME_LEN_MAX)) return NULL;
    if (client_match == QUOTA_NAMED && (client.len == 0 || client.len > LIMIT_QUOTA_NAME_LEN_MAX)) return NULL;
    r = map_get(&q->rules, entity_key(q, &entity));
    return r != NULL && r->limits.has[kind] ? &r->limits : NULL;
}

/* Q3. *user and *client become those of the bucket: empty where all share it. */
static double find_limit(struct quotas *q, enum quota_kind kind, struct bytes *user, struct bytes *client)
{
    static const struct {
        enum quota_match user, client;
    } order[] = {
        {QUOTA_NAMED, QUOTA_NAMED},   {QUOTA_NAMED, QUOTA_DEFAULT},   {QUOTA_NAMED, QUOTA_ABSENT},
        {QUOTA_DEFAULT, QUOTA_NAMED}, {QUOTA_DEFAULT, QUOTA_DEFAULT}, {QUOTA_DEFAULT, QUOTA_ABSENT},
        {QUOTA_ABSENT, QUOTA_NAMED},  {QUOTA_ABSENT, QUOTA_DEFAULT},
    };

    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const struct quota_limits *l = find_rule(q, order[i].user, *user, order[i].client, *client, kind);

        if (l == NULL) continue;
        if (order[i].user == QUOTA_ABSENT) *user = bytes_str("");
        if (order[i].client == QUOTA_ABSENT) *client = bytes_str("");
        return l->value[kind];
    }
    return INFINITY;
}

/* Q5: frees what has not been charged for a whole window; false: nothing was. */
static bool buckets_sweep(struct quotas *q, uint64_t now_ms)
{
    uint32_t pos = 0, before = map_count(&q->buckets);

    for (struct map_entry *m; (m = map_next(&q->buckets, &pos)) != NULL;) {
        struct bucket *bucket = m->value;

        if (now_ms - bucket->used_ms >= SAMPLES * SAMPLE_MS) free(map_remove(&q->buckets, m->key));
    }
    return map_count(&q->buckets) < before;
}

static struct bucket *find_bucket(struct quotas *q, enum quota_kind kind, struct bytes user, struct bytes client,
                                  uint64_t now_ms)
{
    struct bucket *bucket;

    if (user.len > LIMIT_QUOTA_NAME_LEN_MAX || client.len > LIMIT_QUOTA_NAME_LEN_MAX) return &q->shared[kind];
    buf_clear(&q->key);
    buf_put_u8(&q->key, (uint8_t)kind);
    buf_put_be16(&q->key, (uint16_t)user.len);
    buf_put_bytes(&q->key, user);
    buf_put_bytes(&q->key, client);
    bucket = map_get(&q->buckets, buf_bytes(&q->key));
    if (bucket != NULL) return bucket;
    if (map_count(&q->buckets) >= LIMIT_QUOTA_BUCKETS_MAX && !buckets_sweep(q, now_ms)) return &q->shared[kind];
    bucket = calloc(1, sizeof *bucket);
    if (bucket == NULL) return &q->shared[kind];
    (void)map_put(&q->buckets, buf_bytes(&q->key), bucket);
    return bucket;
}

/* ---- the window ---- */
static void bucket_add(struct bucket *b, uint64_t now_ms, double amount)
{
    if (b->n == 0) {
        b->n = 1;
        b->current = 0;
        b->start_ms[0] = now_ms;
        b->amount[0] = 0;
    } else if (now_ms - b->start_ms[b->current] >= SAMPLE_MS) {
        b->current = (uint8_t)((b->current + 1) % SAMPLES);
        if (b->n < SAMPLES) b->n++;
        b->start_ms[b->current] = now_ms;
        b->amount[b->current] = 0;
    }
    b->amount[b->current] += amount;
    b->used_ms = now_ms;
}

/* What was charged in the window, and the window's length in milliseconds. */
static double bucket_sum(struct bucket *b, uint64_t now_ms, uint64_t *window_ms)
{
    uint64_t oldest = now_ms, full;
    double sum = 0;

    for (int i = 0; i < b->n; i++) {
        if (now_ms - b->start_ms[i] >= SAMPLES * SAMPLE_MS) {
            b->start_ms[i] = now_ms;
            b->amount[i] = 0;
        }
        if (b->start_ms[i] < oldest) oldest = b->start_ms[i];
        sum += b->amount[i];
    }
    *window_ms = now_ms - oldest;
    full = *window_ms / SAMPLE_MS;
    if (full < SAMPLES - 1) *window_ms += (SAMPLES - 1 - full) * SAMPLE_MS;
    return sum;
}

/* Q4. */
static uint64_t charge(struct quotas *q, struct bucket *bucket, enum quota_kind kind, double limit, double amount,
                       uint64_t now_ms, bool undo_when_over)
{
    uint64_t window_ms, wait_ms;
    double sum, over;

    bucket_add(bucket, now_ms, amount);
    sum = bucket_sum(bucket, now_ms, &window_ms);
    over = sum - limit * (double)window_ms / 1000;
    if (!(over > 0)) return 0;
    if (undo_when_over) {
        if (sum <= amount) return 0; /* more than a whole window at once: else it would never get through */
        bucket->amount[bucket->current] -= amount;
    }
    over = over / limit * 1000; /* (rate - limit) / limit * window */
    wait_ms = over >= WAIT_MS_MAX ? WAIT_MS_MAX : (uint64_t)(over + 0.5);
    if ((kind == QUOTA_REQUEST || kind == QUOTA_CONNECTIONS) && wait_ms > WAIT_BOUND_MS) wait_ms = WAIT_BOUND_MS;
    if (wait_ms == 0) return 0;
    q->stats.throttled[kind]++;
    q->stats.throttled_ms[kind] += wait_ms;
    return wait_ms;
}

static uint64_t now_ms(const struct broker *b)
{
    return b->sys->loop->now_ns(b->sys->loop) / 1000000;
}

bool quotas_any(const struct broker *b)
{
    return b->quotas->n_limits > 0;
}

uint64_t quota_charge(struct broker *b, enum quota_kind kind, struct bytes user, struct bytes client, double amount,
                      bool undo_when_over)
{
    struct quotas *q = b->quotas;
    double limit;

    if (q->n_limits == 0) return 0; /* Q1 */
    limit = find_limit(q, kind, &user, &client);
    if (isinf(limit)) return 0;
    return charge(q, find_bucket(q, kind, user, client, now_ms(b)), kind, limit, amount, now_ms(b), undo_when_over);
}

uint64_t quota_charge_connection(struct broker *b, struct bytes ip)
{
    struct quotas *q = b->quotas;
    struct quota_entity entity = {.ip = {QUOTA_NAMED, ip}};
    const struct rule *r;

    if (q->n_limits == 0) return 0; /* Q1 */
    r = map_get(&q->rules, entity_key(q, &entity));
    if (r == NULL) {
        entity.ip.match = QUOTA_DEFAULT;
        r = map_get(&q->rules, entity_key(q, &entity));
    }
    if (r == NULL || !r->limits.has[QUOTA_CONNECTIONS]) return 0;
    return charge(q, find_bucket(q, QUOTA_CONNECTIONS, ip, bytes_str(""), now_ms(b)), QUOTA_CONNECTIONS,
                  r->limits.value[QUOTA_CONNECTIONS], 1, now_ms(b), false);
}

double quota_window_max(struct broker *b, enum quota_kind kind, struct bytes user, struct bytes client)
{
    if (b->quotas->n_limits == 0) return INFINITY;
    return find_limit(b->quotas, kind, &user, &client) * (SAMPLES - 1) * SAMPLE_MS / 1000;
}

void quota_stats(const struct broker *b, struct quota_stats *out)
{
    *out = b->quotas->stats;
    out->rules = map_count(&b->quotas->rules);
    out->buckets = map_count(&b->quotas->buckets);
}
