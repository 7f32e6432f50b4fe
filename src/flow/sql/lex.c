/* lex.c: the lexer and the statement splitter. Both step over blanks, comments and quotes with the same functions, so
 * that a shell cuts a script where the parser would. */
#include "flow/sql/lex.h"

#include "base/text.h"

static bool is_digit(uint8_t ch)
{
    return ch >= '0' && ch <= '9';
}

/* Bytes above 0x7F belong to names: letters of all scripts are welcome, and the text is known to be UTF-8. */
static bool is_name_start(uint8_t ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || ch >= 0x80;
}

static bool is_name(uint8_t ch)
{
    return is_name_start(ch) || is_digit(ch) || ch == '$';
}

/* Length of a blank at `at`, 0: none. The no-break space comes with text copied from web pages. */
static size_t blank_length(struct bytes t, size_t at)
{
    uint8_t ch = t.ptr[at];
    if (ch == ' ' || (ch >= '\t' && ch <= '\r')) return 1;
    if (ch == 0xC2 && at + 1 < t.len && t.ptr[at + 1] == 0xA0) return 2;
    if (ch == 0xEF && at == 0 && t.len >= 3 && t.ptr[1] == 0xBB && t.ptr[2] == 0xBF) return 3; /* byte order mark */
    return 0;
}

/* Steps over blanks and comments. False: a comment does not end; *at is where it begins. */
static bool skip_blanks(struct bytes t, size_t *at)
{
    size_t i = *at, n;
    while (i < t.len) {
        if ((n = blank_length(t, i)) > 0) {
            i += n;
        } else if (t.ptr[i] == '-' && i + 1 < t.len && t.ptr[i + 1] == '-') {
            while (i < t.len && t.ptr[i] != '\n')
                i++;
        } else if (t.ptr[i] == '/' && i + 1 < t.len && t.ptr[i + 1] == '*') {
            const uint8_t *end = NULL;
            if (i + 2 < t.len) end = memmem(t.ptr + i + 2, t.len - i - 2, "*/", 2);
            *at = i;
            if (end == NULL) return false;
            if (t.ptr[i + 2] == '+') return true; /* a hint is not a comment: the caller sees the '/' */
            i = (size_t)(end - t.ptr) + 2;
        } else {
            break;
        }
    }
    *at = i;
    return true;
}

/* `at` is an opening quote. Returns the offset behind the closing one, 0: it does not end. A doubled quote is one
 * inside. */
static size_t skip_quoted(struct bytes t, size_t at)
{
    uint8_t quote = t.ptr[at];
    for (size_t i = at + 1; i < t.len; i++) {
        if (t.ptr[i] != quote) continue;
        if (i + 1 < t.len && t.ptr[i + 1] == quote) {
            i++;
            continue;
        }
        return i + 1;
    }
    return 0;
}

size_t sql_split(struct bytes text, bool *is_blank)
{
    size_t at = 0;
    bool blank = true;
    size_t found = 0;

    while (at < text.len) {
        if (!skip_blanks(text, &at)) {
            blank = false; /* a comment that does not end is an error to be said, not nothing */
            break;
        }
        if (at >= text.len) break;
        if (text.ptr[at] == ';') {
            found = at + 1;
            break;
        }
        blank = false;
        if (text.ptr[at] == '\'' || text.ptr[at] == '"' || text.ptr[at] == '`') {
            at = skip_quoted(text, at);
            if (at == 0) break;
        } else {
            at++;
        }
    }
    if (is_blank != NULL) *is_blank = blank;
    return found;
}

static bool lex_number(struct sql_ctx *c, size_t *at, struct token *t)
{
    struct bytes s = c->text;
    size_t i = *at;

    t->kind = TOKEN_INTEGER;
    while (i < s.len && is_digit(s.ptr[i]))
        i++;
    if (i < s.len && s.ptr[i] == '.') {
        t->kind = TOKEN_NUMBER;
        i++;
        while (i < s.len && is_digit(s.ptr[i]))
            i++;
    }
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        size_t k = i + 1;
        if (k < s.len && (s.ptr[k] == '+' || s.ptr[k] == '-')) k++;
        if (k < s.len && is_digit(s.ptr[k])) {
            t->kind = TOKEN_NUMBER;
            while (k < s.len && is_digit(s.ptr[k]))
                k++;
            i = k;
        }
    }
    if (i < s.len && (is_name(s.ptr[i]) || s.ptr[i] == '.')) {
        while (i < s.len && (is_name(s.ptr[i]) || s.ptr[i] == '.'))
            i++;
        sql_fail(c, (int)*at, "a name that begins with a digit must be quoted: `1st`", "malformed number '%s'",
                 sql_shown(c, bytes_slice(s, *at, i - *at)));
        return false;
    }
    *at = i;
    return true;
}

static bool lex_quoted(struct sql_ctx *c, size_t *at, struct token *t)
{
    struct bytes s = c->text;
    bool is_string = s.ptr[*at] == '\'';
    size_t end = skip_quoted(s, *at);

    t->kind = is_string ? TOKEN_STRING : TOKEN_QUOTED;
    if (end == 0) {
        if (is_string)
            sql_fail(c, (int)*at, "a quote inside of a string is doubled: 'it''s'", "string without closing quote");
        else
            sql_fail(c, (int)*at, "strings stand in single quotes", "quoted name without closing quote");
        return false;
    }
    if (!is_string) {
        if (end - *at == 2) {
            sql_fail(c, (int)*at, NULL, "empty name");
            return false;
        }
        for (size_t i = *at; i < end; i++) {
            if (s.ptr[i] >= 0x20 && s.ptr[i] != 0x7F) continue;
            sql_fail(c, (int)i, NULL, "control character in a name");
            return false;
        }
    }
    *at = end;
    return true;
}

/* Curly quotes come from word processors; as names they would give baffling errors later. */
static bool is_curly_quote(struct bytes s, size_t i)
{
    return i + 2 < s.len && s.ptr[i] == 0xE2 && s.ptr[i + 1] == 0x80 && s.ptr[i + 2] >= 0x98 && s.ptr[i + 2] <= 0x9F;
}

static bool lex_punct(struct sql_ctx *c, size_t *at, struct token *t)
{
    static const char *const pairs[] = {"<>", "<=", ">=", "!=", "||", "=>", "->", "==", "::", "&&"};
    struct bytes s = c->text;
    uint8_t ch = s.ptr[*at];

    t->kind = TOKEN_PUNCT;
    if (*at + 1 < s.len) {
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
            if (ch != (uint8_t)pairs[i][0] || s.ptr[*at + 1] != (uint8_t)pairs[i][1]) continue;
            t->punct = PUNCT2(ch, s.ptr[*at + 1]);
            *at += 2;
            return true;
        }
    }
    if (ch == '/' && *at + 2 < s.len && s.ptr[*at + 1] == '*' && s.ptr[*at + 2] == '+') {
        sql_not_yet(c, (int)*at, "a hint (/*+ ... */)", "give the options in CREATE STREAM ... WITH (...)");
        return false;
    }
    if (ch == 0 || strchr("()[],;.+-*/%=<>{}?:", ch) == NULL) {
        if (ch < 0x20 || ch == 0x7F)
            sql_fail(c, (int)*at, NULL, "control character 0x%02x", ch);
        else
            sql_fail(c, (int)*at, NULL, "unexpected character '%c'", ch);
        return false;
    }
    t->punct = ch;
    ++*at;
    return true;
}

/* One token at c->text[*at]; moves behind it. False: failed. */
static bool lex_one(struct sql_ctx *c, size_t *at, struct token *t)
{
    struct bytes s = c->text;
    uint8_t ch;
    size_t from;
    bool ok = true;

    *t = (struct token){.kind = TOKEN_END};
    if (!skip_blanks(s, at)) {
        sql_fail(c, (int)*at, NULL, "comment without closing */");
        return false;
    }
    from = *at;
    t->position = (uint32_t)from;
    if (from >= s.len) return true;
    ch = s.ptr[from];
    if (is_curly_quote(s, from)) {
        sql_fail(c, (int)from, "use ' for strings and ` for names", "typographic quote");
        return false;
    }
    if (is_digit(ch) || (ch == '.' && from + 1 < s.len && is_digit(s.ptr[from + 1]))) {
        ok = lex_number(c, at, t);
    } else if (ch == '\'' || ch == '"' || ch == '`') {
        ok = lex_quoted(c, at, t);
    } else if (is_name_start(ch)) {
        t->kind = TOKEN_WORD;
        while (*at < s.len && is_name(s.ptr[*at]) && blank_length(s, *at) == 0 && !is_curly_quote(s, *at))
            ++*at;
    } else {
        ok = lex_punct(c, at, t);
    }
    t->length = (uint32_t)(*at - from);
    return ok;
}

/* Offset of the first byte that is not part of well-formed UTF-8. */
static size_t first_bad_byte(struct bytes t)
{
    size_t i = 0;
    while (i < t.len) {
        uint8_t ch = t.ptr[i];
        size_t n = ch < 0x80 ? 1 : ch < 0xE0 ? 2 : ch < 0xF0 ? 3 : 4;
        if (i + n > t.len || !text_is_utf8(bytes_slice(t, i, n))) break;
        i += n;
    }
    return i;
}

struct token *lex(struct sql_ctx *c, int *n_out)
{
    struct token *tokens, t;
    size_t at = 0;
    int n = 0;

    if (c->text.len > LIMIT_SQL_BYTES_MAX)
        return sql_fail(c, -1, NULL, "the statement has %zu bytes; at most %u are read", c->text.len,
                        (unsigned)LIMIT_SQL_BYTES_MAX);
    if (!text_is_utf8(c->text)) return sql_fail(c, (int)first_bad_byte(c->text), NULL, "the text is not UTF-8");
    do { /* counts first: a token is small, but an array that doubles in an arena leaves its halves behind */
        if (!lex_one(c, &at, &t)) return NULL;
        n++;
    } while (t.kind != TOKEN_END);
    tokens = arena_array(c->arena, (size_t)n, sizeof(*tokens));
    at = 0;
    for (int i = 0; i < n; i++) {
        if (!lex_one(c, &at, &tokens[i])) return NULL;
    }
    check(tokens[n - 1].kind == TOKEN_END);
    *n_out = n;
    return tokens;
}

struct bytes token_value(struct sql_ctx *c, const struct token *t)
{
    struct bytes raw = bytes_slice(c->text, t->position, t->length);
    uint8_t quote, *out;
    size_t n = 0;

    if (t->kind != TOKEN_QUOTED && t->kind != TOKEN_STRING) return raw;
    quote = raw.ptr[0];
    raw = bytes_slice(raw, 1, raw.len - 2);
    if (raw.len == 0) return BYTES_LIT("");
    if (memchr(raw.ptr, quote, raw.len) == NULL) return raw;
    out = arena_alloc(c->arena, raw.len);
    for (size_t i = 0; i < raw.len; i++) {
        out[n++] = raw.ptr[i];
        if (raw.ptr[i] == quote) i++;
    }
    return bytes_of(out, n);
}

const char *token_shown(struct sql_ctx *c, const struct token *t)
{
    struct bytes raw = bytes_slice(c->text, t->position, t->length);
    if (t->kind == TOKEN_END) return "the end of the statement";
    if (t->kind == TOKEN_STRING) return arena_printf(c->arena, "the string %s", sql_shown(c, raw));
    return arena_printf(c->arena, "'%s'", sql_shown(c, raw));
}
