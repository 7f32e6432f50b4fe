/* http_client.h: one blocking HTTP/1.1 exchange for the command line, the answer streamed line by line. Own loop; one
 * thread. */
#ifndef WEIR_APP_HTTP_CLIENT_H
#define WEIR_APP_HTTP_CLIENT_H

#include "base/bytes.h"
#include "base/err.h"

/* Called for each line of the body, without its end; the rest without a line end comes last. A null line: no more is
 * here right now (a good moment to flush). False: stop and close. */
typedef bool (*http_line_fn)(void *arg, struct bytes line);
/* url: "http://HOST[:PORT]" (port 80 when missing); target: "/v1/sql?format=events". *status is the answer's.
 * ERR_CLOSED: no server there or it went away; ERR_PROTOCOL: not HTTP; ERR_INVALID: bad url; ERR_CANCELLED: SIGINT or
 * SIGTERM came. */
MUST_USE enum err_code http_post(const char *url, const char *target, const char *content_type, struct bytes body,
                                 int *status, http_line_fn fn, void *arg, struct err *e);

#endif
