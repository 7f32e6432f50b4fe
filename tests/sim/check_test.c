/* Each rule of the checker is broken by a small history; it must say so, by that rule. A sound history of the same shape
 * must pass: the checker that finds everything wrong finds nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "check.h"

struct story {
    const char *rule; /* NULL: nothing is wrong */
    const char *text;
};
/* Topic 0, one producer (pid 5), an audit by client 9. */
#define SENT_TWO                                                                                                       \
    "init client=1 pid=5\n"                                                                                            \
    "send client=1 op=1 pid=5 seq=0 : 1 2\n"                                                                           \
    "sent client=1 op=1 offset=0\n"
#define AUDIT(start, end) "read client=9 level=2 offset=" start " next=" end " hw=" end " lso=" end " start=" start "\n"
#define STORED_TWO AUDIT("0", "2") "batch client=9 offset=0 next=2 pid=5 seq=0 value=-1 : 0 1 1 2\n"

/* Topic 2: a transaction of two records made of topic 1's; pid 7. */
#define TXN_SEND                                                                                                       \
    "init client=1 txnid=1 pid=7\n"                                                                                    \
    "send client=1 op=1 topic=2 pid=7 txn=1 : 1 0 2 1\n"                                                               \
    "sent client=1 op=1 offset=0\n"
#define TXN_AUDIT(value)                                                                                               \
    "read client=9 level=2 topic=2 next=3 hw=3 lso=3\n"                                                                \
    "batch client=9 topic=2 next=2 pid=7 value=-1 txn=1 : 0 1 1 2\n"                                                   \
    "batch client=9 topic=2 offset=2 next=3 pid=7 value=" value " txn=1\n"
#define COMMIT_ASKED "end client=1 op=2 txn=1 pid=7 value=1\nended client=1 op=2\n"

static const struct story stories[] = {
    {NULL, SENT_TWO STORED_TWO},
    {"S1", "stuck client=3\n"},
    {"S2", "refused client=3 error=45\n"},
    {"S4", "retried\n"},
    {"S3", "code client=1 api=0 error=29\n"},
    {"L1", SENT_TWO AUDIT("0", "2") "batch client=9 offset=0 next=2 pid=5 seq=0 value=-1 : 0 1 1 3\n"},
    {"L1", SENT_TWO AUDIT("0", "1") "batch client=9 offset=0 next=1 pid=5 seq=0 value=-1 : 0 1\n"},
    {"L1", SENT_TWO AUDIT("0", "2") "batch client=9 offset=0 next=2 pid=6 seq=0 value=-1 : 0 1 1 2\n"},
    {"L2", SENT_TWO STORED_TWO "read client=10 level=2 next=2 hw=2 lso=2\n"
                               "batch client=10 next=2 pid=5 value=-1 : 0 2 1 1\n"},
    {"L2", SENT_TWO STORED_TWO "read client=10 level=2 next=0 hw=0 lso=0\n"},
    {"L3", SENT_TWO "send client=1 op=2 pid=5 seq=2 : 3\nsent client=1 op=2 offset=2\n" STORED_TWO},
    {"L4", SENT_TWO "read client=9 level=2 offset=1 next=2 hw=2 lso=2 start=1\n"},
    {NULL, SENT_TWO "trim client=3 op=9 offset=1\n"
                    "read client=9 level=2 offset=1 next=2 hw=2 lso=2 start=1 : 1 2\n"
                    "batch client=9 next=2 pid=5 value=-1 : 0 1 1 2\n"},
    {"L4", SENT_TWO AUDIT("0", "3") "batch client=9 offset=1 next=3 pid=5 value=-1 : 1 1 2 2\n"},
    {"L5", SENT_TWO "send client=1 op=2 pid=5 seq=2 : 3\n" AUDIT(
               "0", "3") "batch client=9 next=1 pid=5 seq=2 value=-1 : 0 3\n"
                         "batch client=9 offset=1 next=3 pid=5 value=-1 : 1 1 2 2\n"},
    {"L6", SENT_TWO AUDIT("0", "4") "batch client=9 next=2 pid=5 value=-1 : 0 1 1 2\n"
                                    "batch client=9 offset=2 next=4 pid=5 value=-1 : 2 1 3 2\n"},
    {NULL, TXN_SEND COMMIT_ASKED TXN_AUDIT("1")},
    {"T1", TXN_SEND COMMIT_ASKED "read client=9 level=2 topic=2 next=2 hw=2 lso=0\n"
                                 "batch client=9 topic=2 next=2 pid=7 value=-1 txn=1 : 0 1 1 2\n"},
    {"T1", TXN_SEND "send client=1 op=3 topic=2 partition=1 pid=7 txn=1 : 3 2\n" COMMIT_ASKED TXN_AUDIT(
               "1") "read client=9 level=2 topic=2 partition=1 next=2 hw=2 lso=2\n"
                    "batch client=9 topic=2 partition=1 next=1 pid=7 value=-1 txn=1 : 0 3\n"
                    "batch client=9 topic=2 partition=1 offset=1 next=2 pid=7 value=0 txn=1\n"},
    {"T2", TXN_SEND COMMIT_ASKED TXN_AUDIT("0")},
    {"T2", TXN_SEND TXN_AUDIT("1")},
    {"T3", "init client=1 txnid=1 pid=7\ninit client=2 txnid=1 pid=7 epoch=1\n"
           "send client=1 op=1 topic=2 pid=7 txn=1 : 1 0 2 1\n" TXN_AUDIT("0")},
    {"T4", TXN_SEND "send client=1 op=3 topic=2 pid=7 seq=2 txn=2 : 3 0\n" COMMIT_ASKED
                    "end client=1 op=4 txn=2 pid=7 value=1\nended client=1 op=4\n"
                    "read client=9 level=2 topic=2 next=5 hw=5 lso=5\n"
                    "batch client=9 topic=2 next=2 pid=7 value=-1 txn=1 : 0 1 1 2\n"
                    "batch client=9 topic=2 offset=2 next=3 pid=7 value=1 txn=1\n"
                    "batch client=9 topic=2 offset=3 next=4 pid=7 seq=2 value=-1 txn=1 : 3 3\n"
                    "batch client=9 topic=2 offset=4 next=5 pid=7 value=1 txn=1\n"},
    {"T5", "init client=1 pid=5\ninit client=2 pid=5\n"},
    {"R1", SENT_TWO "read client=4 next=2 hw=2 lso=2 : 0 2 1 1\n" STORED_TWO},
    {"R2", SENT_TWO "read client=4 next=2 hw=2 lso=2 : 0 1\n" STORED_TWO},
    {"R2", SENT_TWO "read client=4 next=2 hw=2 lso=2 : 0 1 1 2 1 2\n" STORED_TWO},
    {"R3", TXN_SEND "read client=4 level=1 topic=2 next=3 hw=3 lso=3 : 0 1 1 2\n" TXN_AUDIT("0")},
    {"R3", TXN_SEND "read client=4 level=1 topic=2 next=2 hw=2 lso=2 : 0 1 1 2\n" COMMIT_ASKED TXN_AUDIT("1")},
    {"R4", SENT_TWO "read client=4 next=2 hw=2 lso=2 : 0 1 1 2\n"
                    "read client=4 since=4 next=0 hw=1 lso=1\n" STORED_TWO},
    {"R4", SENT_TWO "read client=4 next=2 hw=2 lso=2 : 0 1 1 2\n"
                    "read client=4 since=4 offset=2 next=2 hw=2 lso=1\n" STORED_TWO},
    {"R4", SENT_TWO "read client=4 next=2 hw=1 lso=1 : 0 1 1 2\n" STORED_TWO},
    {"R5", SENT_TWO "read client=4 offset=1 next=1 hw=-1 lso=-1 error=1\n" STORED_TWO},
    {NULL, "commit client=1 op=1 group=1 gen=1 offset=4\ncommitted client=1 op=1\noffset client=2 since=2 group=1 "
           "offset=4\n"},
    {"G1", "commit client=1 op=1 group=1 gen=1 offset=4\ncommitted client=1 op=1\noffset client=2 since=2 group=1 "
           "offset=-1\n"},
    {"G1", "offset client=2 group=1 offset=4\n"},
    {"G1", "commit client=1 op=1 group=1 gen=1 offset=4\ncommitted client=1 op=1\n"
           "commit client=1 op=2 group=1 gen=1 offset=6\ncommitted client=1 op=2\n"
           "offset client=2 since=4 group=1 offset=4\n"},
    {"G2", "assigned client=1 group=1 member=1 gen=1 : 0 0\nassigned client=2 since=1 group=1 member=2 gen=2 : 0 0\n"
           "commit client=1 op=1 group=1 member=1 gen=1 offset=4\ncommitted client=1 op=1\n"},
    {"G3", "assigned client=1 group=1 member=1 gen=1 : 0 0\nassigned client=2 group=1 member=2 gen=1 : 0 1 0 0\n"},
    {"A1", "create client=1 op=1 topic=3\ncreated client=1 op=1\ntopics client=1 since=2 : 0 1\n"},
    {"A1", "delete client=1 op=1 topic=3\ndeleted client=1 op=1\ntopics client=1 since=2 : 0 3\n"},
    {"A2", "send client=1 op=1 topic=3 pid=-1 seq=-1 : 1\nsent client=1 op=1\ndelete client=1 op=2 topic=3\n"
           "deleted client=1 op=2\nread client=4 since=4 topic=3 next=1 hw=1 lso=1 : 0 1\n"},
    {"A3", "send client=1 op=1 topic=3 pid=-1 seq=-1 : 1\nsent client=1 op=1\n"
           "read client=9 level=2 topic=3 next=0 hw=0 lso=0\n"},
};

static void test_check__finds_what_each_rule_forbids(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(stories); i++) {
        const struct story *s = &stories[i];
        char *said = NULL, want[8];
        size_t len = 0;
        struct history h;
        struct err e = {0};

        FILE *in = fmemopen((void *)(uintptr_t)s->text, strlen(s->text), "r"), *out = open_memstream(&said, &len);
        assert_true(in != NULL && out != NULL);
        history_init(&h);
        if (history_read(&h, in, &e) != ERR_NONE) fail_msg("story %zu: %s", i, e.text);
        int n = history_check(&h, out);
        fclose(in);
        fclose(out);
        history_deinit(&h);
        if (s->rule == NULL && n != 0) fail_msg("story %zu is sound, said:\n%s", i, said);
        (void)snprintf(want, sizeof want, "%s: ", s->rule != NULL ? s->rule : "");
        if (s->rule != NULL && strstr(said, want) == NULL) fail_msg("story %zu breaks %s, said:\n%s", i, s->rule, said);
        free(said);
    }
}

static void test_history__says_which_line_is_wrong(void **state)
{
    static const char *const bad[] = {"nonsense\n", "up epoch\n", "up epoch=x\n", "up offset=1\n", "up : a\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct history h;
        struct err e = {0};
        char text[64];

        (void)snprintf(text, sizeof text, "# fine\n\nheal\n%s", bad[i]);
        FILE *in = fmemopen(text, strlen(text), "r");
        history_init(&h);
        assert_int_equal(history_read(&h, in, &e), ERR_INVALID);
        assert_non_null(strstr(e.text, "line 4"));
        fclose(in);
        history_deinit(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check__finds_what_each_rule_forbids),
        cmocka_unit_test(test_history__says_which_line_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
