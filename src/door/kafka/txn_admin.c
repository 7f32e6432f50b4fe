/* What tools ask about transactions: DescribeTransactions, ListTransactions. */
#include "door/kafka/kafka_int.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_LEN_MAX 1024    /* longer: INVALID_REGULAR_EXPRESSION */
#define PATTERN_STEPS_MAX 10000 /* of one match; more: it does not match */

static void describe(struct kafka_request *q, const struct txn_description *d,
                     struct kafka_describe_transactions_response_state *out)
{
    out->state = bytes_str(d->state);
    out->timeout_ms = d->timeout_ms;
    out->start_time_ms = d->start_ms;
    out->producer_id = d->producer_id;
    out->producer_epoch = d->epoch;
    out->topics.at = arena_array(&q->arena, (size_t)d->n_partitions, sizeof *out->topics.at);
    for (int i = 0; i < d->n_partitions; i++) {
        int32_t index;
        struct bytes name = txn_description_partition(d, i, &index);
        int32_t at = 0;

        if (!kafka_may_see(q, ACL_DESCRIBE, ACL_TOPIC, name)) continue;
        while (at < out->topics.n && !bytes_equal(out->topics.at[at].name, name))
            at++;
        if (at == out->topics.n) {
            out->topics.n++;
            out->topics.at[at].name = name;
            out->topics.at[at].partitions.at = arena_array(&q->arena, (size_t)(d->n_partitions - i), sizeof(int32_t));
        }
        out->topics.at[at].partitions.at[out->topics.at[at].partitions.n++] = index;
    }
}

void kafka_handle_describe_transactions(struct kafka_request *q, void *body)
{
    const struct kafka_describe_transactions_request *in = body;
    struct kafka_describe_transactions_response out;

    wire_init(&kafka_describe_transactions_response_wire, &out);
    out.states.n = in->transactional_ids.n;
    out.states.at = arena_array(&q->arena, (size_t)in->transactional_ids.n, sizeof *out.states.at);
    for (int32_t i = 0; i < in->transactional_ids.n; i++) {
        struct txn_description d;

        if (!kafka_answer_fits(q)) return;
        wire_init(&kafka_describe_transactions_response_state_wire, &out.states.at[i]);
        out.states.at[i].transactional_id = in->transactional_ids.at[i];
        if (!kafka_may(q, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, in->transactional_ids.at[i])) {
            out.states.at[i].error_code = KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            continue;
        }
        if (txn_describe(kafka_broker(q), in->transactional_ids.at[i], &d))
            describe(q, &d, &out.states.at[i]);
        else
            out.states.at[i].error_code = KE_TRANSACTIONAL_ID_NOT_FOUND;
    }
    kafka_reply(q, &out);
}

struct listing {
    struct kafka_request *q;
    const struct kafka_list_transactions_request *in;
    struct kafka_list_transactions_response out;
    int32_t cap;
    int64_t now_ms;
    pcre2_code *pattern; /* NULL: all */
    pcre2_match_data *match;
    pcre2_match_context *limits;
};

/* Kafka's is RE2; of it PCRE2 knows what people write. The whole id has to match. */
static bool pattern_begin(struct listing *l, struct bytes text)
{
    int error;
    size_t at;

    if (text.len == 0) return true;
    if (text.len > PATTERN_LEN_MAX) return false;
    l->pattern =
        pcre2_compile(text.ptr, text.len, PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C,
                      &error, &at, NULL);
    if (l->pattern == NULL) return false;
    l->match = pcre2_match_data_create_from_pattern(l->pattern, NULL);
    l->limits = pcre2_match_context_create(NULL);
    check(l->match != NULL && l->limits != NULL);
    (void)pcre2_set_match_limit(l->limits, PATTERN_STEPS_MAX);
    return true;
}

static void pattern_end(struct listing *l)
{
    pcre2_match_context_free(l->limits);
    pcre2_match_data_free(l->match);
    pcre2_code_free(l->pattern);
}

static bool pattern_matches(const struct listing *l, struct bytes id)
{
    return l->pattern == NULL || pcre2_match(l->pattern, id.ptr, id.len, 0, 0, l->match, l->limits) >= 0;
}

static bool is_wanted(const struct listing *l, const struct txn_description *t)
{
    bool is_state = l->in->state_filters.n == 0, is_producer = l->in->producer_id_filters.n == 0;

    for (int32_t i = 0; i < l->in->state_filters.n; i++)
        is_state |= bytes_equal_str(l->in->state_filters.at[i], t->state);
    for (int32_t i = 0; i < l->in->producer_id_filters.n; i++)
        is_producer |= l->in->producer_id_filters.at[i] == t->producer_id;
    if (l->in->duration_filter >= 0 && (t->start_ms < 0 || l->now_ms - t->start_ms <= l->in->duration_filter))
        return false;
    return is_state && is_producer && pattern_matches(l, t->id);
}

static bool list_one(void *arg, const struct txn_description *t)
{
    struct listing *l = arg;
    struct kafka_list_transactions_response_state *to;

    if (!is_wanted(l, t) || !kafka_may_see(l->q, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, t->id)) return true;
    if (l->out.states.n == l->cap) {
        int32_t cap = l->cap ? 2 * l->cap : 32;
        struct kafka_list_transactions_response_state *at = arena_array(&l->q->arena, (size_t)cap, sizeof *at);

        if (l->cap > 0) memcpy(at, l->out.states.at, (size_t)l->cap * sizeof *at);
        l->out.states.at = at;
        l->cap = cap;
    }
    to = &l->out.states.at[l->out.states.n++];
    to->transactional_id = t->id;
    to->producer_id = t->producer_id;
    to->state = bytes_str(t->state);
    return true;
}

void kafka_handle_list_transactions(struct kafka_request *q, void *body)
{
    static const char *const states[] = {"Empty",          "Ongoing",       "PrepareCommit", "PrepareAbort",
                                         "CompleteCommit", "CompleteAbort", "Dead",          "PrepareEpochFence"};
    struct listing l = {.q = q, .in = body};

    wire_init(&kafka_list_transactions_response_wire, &l.out);
    l.now_ms = q->conn->door->sys->clock->wall_ms(q->conn->door->sys->clock);
    l.out.unknown_state_filters.at =
        arena_array(&q->arena, (size_t)l.in->state_filters.n, sizeof *l.out.unknown_state_filters.at);
    for (int32_t i = 0; i < l.in->state_filters.n; i++) {
        bool is_known = false;

        for (size_t j = 0; j < ARRAY_LEN(states); j++)
            is_known |= bytes_equal_str(l.in->state_filters.at[i], states[j]);
        if (!is_known) l.out.unknown_state_filters.at[l.out.unknown_state_filters.n++] = l.in->state_filters.at[i];
    }
    if (pattern_begin(&l, l.in->transactional_id_pattern))
        txn_list(kafka_broker(q), list_one, &l);
    else
        l.out.error_code = KE_INVALID_REGULAR_EXPRESSION;
    pattern_end(&l);
    kafka_reply(q, &l.out);
}
