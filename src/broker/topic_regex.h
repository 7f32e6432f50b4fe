/* topic_regex.h: expressions over topic names as consumers send them, for the broker to evaluate. Any thread; one owner.
 * What is accepted and why: topic_regex.c. */
#ifndef WEIR_BROKER_TOPIC_REGEX_H
#define WEIR_BROKER_TOPIC_REGEX_H

#include "base/bytes.h"
#include "base/err.h"

struct topic_regex;
/* ERR_INVALID says what is wrong with it, for who wrote it. */
MUST_USE enum err_code topic_regex_compile(struct topic_regex **out, struct bytes pattern, struct err *e);
/* The whole name, not a part of it. */
bool topic_regex_matches(const struct topic_regex *r, struct bytes topic);
void topic_regex_destroy(struct topic_regex *r); /* NULL is harmless */

#endif
