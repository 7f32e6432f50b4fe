/* auth_int.h: what auth.c, acl.c, user.c and audit.c share. */
#ifndef WEIR_BROKER_AUTH_INT_H
#define WEIR_BROKER_AUTH_INT_H

#include "broker/auth.h"
#include "broker/broker_int.h"

#define ACL_TYPES 8
#define ACL_KIND "acl"
#define USER_KIND "user"

struct auth {
    struct broker *b;                                           /* borrowed */
    struct map users;                                           /* name -> struct user, owned */
    struct map acls;                                            /* encoded rule -> struct acl_entry, owned */
    struct map places;                                          /* type, pattern, name -> struct acl_place, owned */
    uint32_t n_prefixes[ACL_TYPES][LIMIT_ACL_NAME_LEN_MAX + 1]; /* prefixed places by length: which look-ups pay */
    struct map super_users;                                     /* principal -> any */
    struct list watches;                                        /* struct auth_watch */
    uint8_t secret[32];   /* of this process: invented salts, digests of passwords */
    struct map passwords; /* user name -> its digest[32], owned: right before */
    struct list checks;   /* struct check_work, under way */
    uint32_t n_checks;

    /* Audit. */
    struct buf lines; /* u32 length and JSON, back to back */
    uint32_t n_lines;
    struct timer audit_timer;
    uint64_t window_ns;
    uint32_t n_in_window, n_suppressed;
};

/* Opens with the broker, after meta and topics. */
MUST_USE enum err_code auth_open(struct broker *b, struct err *e);
void auth_close(struct broker *b);   /* flushes the audit */
void auth_destroy(struct broker *b); /* harmless when it was never opened */

/* acl.c */
MUST_USE enum err_code acls_load(struct auth *a, struct err *e);
void acls_free(struct auth *a);
/* user.c */
MUST_USE enum err_code users_load(struct auth *a, struct err *e);
void users_free(struct auth *a);
/* audit.c */
void audit_init(struct auth *a);
void audit_flush(struct auth *a);
void audit_deinit(struct auth *a);

#endif
