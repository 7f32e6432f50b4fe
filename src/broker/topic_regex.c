/* topic_regex.c: expressions of consumers, in the part of PCRE2's language that RE2 has too (RE2 is what Kafka's brokers
 * understand).
 *
 * E1  What needs backtracking is refused: references back, looking around, atomic groups, possessive repeats, recursion,
 *     conditions, verbs. What is left PCRE2 matches with its automaton, which follows all paths at once and never goes
 *     back: a name of at most 249 bytes costs at most its length times the square of the active states.
 * E2  The active states are bounded by the workspace. An expression that needs more is no match; that it needs more
 *     for some name can only be found out by that name.
 * E3  Anchored at both ends, as in Kafka: "orders" does not match "orders-eu"; "orders.*" does. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "broker/topic_regex.h"

#include <pcre2.h>
#include <stdlib.h>

#include "base/limits.h"

#define WORKSPACE_INTS                                                                                                 \
    (20 + 2 * 3 * LIMIT_TOPIC_REGEX_STATES_MAX) /* of the automaton: two lists of three ints a state */

struct topic_regex {
    pcre2_code *code;
    pcre2_match_data *match;
};

/* Length of a [class] from its bracket on; 0: not closed. */
static size_t class_len(struct bytes p, size_t at)
{
    size_t i = at + 1;

    if (i < p.len && p.ptr[i] == '^') i++;
    if (i < p.len && p.ptr[i] == ']') i++;
    for (; i < p.len; i++) {
        if (p.ptr[i] == '\\')
            i++;
        else if (p.ptr[i] == '[' && i + 1 < p.len && p.ptr[i + 1] == ':')
            i += 1; /* [:alpha:] ends with ":]", which the search below passes as any other byte */
        else if (p.ptr[i] == ':' && i + 1 < p.len && p.ptr[i + 1] == ']' && i + 2 < p.len)
            i++;
        else if (p.ptr[i] == ']')
            return i + 1 - at;
    }
    return 0;
}

/* "(?": flags, a group without a number, or a name. */
static bool group_is_plain(struct bytes p, size_t at)
{
    size_t i = at + 2;

    if (i >= p.len) return false;
    if (p.ptr[i] == 'P') return i + 1 < p.len && p.ptr[i + 1] == '<';
    if (p.ptr[i] == '<') return i + 1 < p.len && p.ptr[i + 1] != '=' && p.ptr[i + 1] != '!';
    while (i < p.len && (p.ptr[i] == 'i' || p.ptr[i] == 'm' || p.ptr[i] == 's' || p.ptr[i] == '-'))
        i++;
    return i < p.len && (p.ptr[i] == ':' || p.ptr[i] == ')');
}

static const char *refusal(struct bytes p)
{
    bool was_repeat = false;

    for (size_t i = 0; i < p.len; i++) {
        uint8_t c = p.ptr[i];
        bool is_repeat = c == '*' || c == '+' || c == '?';

        if (c == '\\') {
            uint8_t next = i + 1 < p.len ? p.ptr[i + 1] : 0;
            if ((next >= '1' && next <= '9') || (next != 0 && strchr("gkKGRXZuUlLNCo", next)))
                return "the escape is not one of RE2's";
            i++;
        } else if (c == '[') {
            size_t len = class_len(p, i);
            if (len == 0) return "a [ is not closed";
            i += len - 1;
        } else if (c == '(' && i + 1 < p.len && p.ptr[i + 1] == '*') {
            return "verbs are not in RE2";
        } else if (c == '(' && i + 1 < p.len && p.ptr[i + 1] == '?') {
            if (!group_is_plain(p, i)) return "looking around, atomic groups and conditions are not in RE2";
            i++; /* The "?" is no repeat. */
            is_repeat = false;
        } else if (was_repeat && (c == '+' || c == '*')) {
            return "repeats of repeats are not in RE2";
        }
        was_repeat = is_repeat || c == '}';
    }
    return NULL;
}

enum err_code topic_regex_compile(struct topic_regex **out, struct bytes pattern, struct err *e)
{
    const uint8_t *text = pattern.ptr ? pattern.ptr : (const uint8_t *)"";
    PCRE2_UCHAR why[100];
    PCRE2_SIZE at;
    int number;

    if (pattern.len > LIMIT_TOPIC_REGEX_LEN_MAX)
        return err_set(e, ERR_INVALID, "an expression of %zu bytes; %d are the most", pattern.len,
                       LIMIT_TOPIC_REGEX_LEN_MAX);
    const char *reason = refusal(bytes_of(text, pattern.len));
    if (reason) return err_set(e, ERR_INVALID, "\"%.*s\": %s", BYTES_ARG(pattern), reason);
    pcre2_code *code = pcre2_compile(text, pattern.len,
                                     PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_POSSESS |
                                         PCRE2_NO_START_OPTIMIZE | PCRE2_DOLLAR_ENDONLY,
                                     &number, &at, NULL);
    if (code == NULL) {
        pcre2_get_error_message(number, why, sizeof(why));
        return err_set(e, ERR_INVALID, "\"%.*s\", character %zu: %s", BYTES_ARG(pattern), (size_t)at + 1,
                       (const char *)why);
    }
    struct topic_regex *r = calloc(1, sizeof(*r));
    check(r != NULL);
    r->code = code;
    r->match = pcre2_match_data_create(1, NULL);
    check(r->match != NULL);
    *out = r;
    return ERR_NONE;
}

bool topic_regex_matches(const struct topic_regex *r, struct bytes topic)
{
    int workspace[WORKSPACE_INTS];

    check(topic.len <= LIMIT_TOPIC_NAME_LEN_MAX);
    int rc =
        pcre2_dfa_match(r->code, topic.ptr, topic.len, 0, PCRE2_ANCHORED, r->match, NULL, workspace, WORKSPACE_INTS);
    /* The automaton finds the longest match; 0 says that there are shorter ones, too. E2: an error is no match. */
    return rc >= 0 && pcre2_get_ovector_pointer(r->match)[1] == topic.len;
}

void topic_regex_destroy(struct topic_regex *r)
{
    if (r == NULL) return;
    pcre2_match_data_free(r->match);
    pcre2_code_free(r->code);
    free(r);
}
