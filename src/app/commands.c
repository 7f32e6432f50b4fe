/* commands.c: the table of all commands: what help, completion and the reference page are made from. */
#include "app/cli.h"

#define SERVER_OPTIONS(kafka_default, http_default, data_default)                                                       \
    {"data", 'd', "DIR", data_default, "Data directory; created when missing", true},                                   \
        {"kafka", 0, "HOST:PORT", kafka_default, "Kafka door, or off; port 0 takes a free one", true},                  \
        {"http", 0, "HOST:PORT", http_default, "HTTP door (SQL, health, metrics), or off", true},                       \
        {"amqp", 0, "HOST:PORT", "off", "AMQP door; not in this version: off", true},                                   \
        {"registry", 0, "HOST:PORT", "off", "Schema registry door; not in this version: off", true},                    \
        {"kurrent", 0, "HOST:PORT", "off", "KurrentDB door; not in this version: off", true},                           \
        {"kafka-advertise",                                                                                             \
         0,                                                                                                             \
         "HOST:PORT",                                                                                                   \
         "off",                                                                                                         \
         "Address told to Kafka clients; off: the one each connected to",                                               \
         true},                                                                                                         \
        {"durability", 0, "MODE", "sync", "sync, interval:MS or os: what an acknowledgement waits for", true},          \
        {"partitions", 0, "N", "1", "Partitions of topics created without saying how many", true},                      \
        {"auto-create", 0, "on|off", "on", "Create a topic when a client first uses it", true},                         \
        {"retention", 0, "DURATION", "7d", "Delete sealed segments older than this; none: keep", true},                 \
        {"retention-bytes", 0, "SIZE", "none", "Keep at most so much of each partition; none: no bound", true},         \
        {"segment-bytes", 0, "SIZE", "256MiB", "Size at which a new segment file begins", true},                        \
        {"scrub-rate", 0, "SIZE", "4MiB", "Bytes a second of old segments read in search of rot; none: off", true},     \
        {"max-message-bytes", 0, "SIZE", "1048588", "Largest record batch taken from clients", true},                   \
        {"group-initial-delay", 0, "DURATION", "500ms", "First rebalance of an empty group waits this long", true},     \
        {"group-session", 0, "DURATION", "45s", "Silent members of consumer groups (KIP-848) are out after", true},     \
        {"group-heartbeat", 0, "DURATION", "5s", "Members of consumer groups (KIP-848) report this often", true},       \
        {"idle-timeout", 0, "DURATION", "10m", "Close a Kafka connection without a byte for so long", true},            \
        {"max-connections", 0, "N", "10000", "Kafka connections at once; more are closed", true},                       \
        {"max-connections-per-ip", 0, "N", "0", "... of one address; 0: as many as of all", true},                      \
        {"log-level", 0, "LEVEL", "info", "error, warn, info or debug", true},                                          \
        {"login", 0, NULL, NULL, "Kafka clients must log in (SASL); nobody is anonymous any more", true},               \
        {"super-users", 0, "PRINCIPALS", NULL, "May do everything, e.g. \"User:admin;User:ops\"", true},                \
        {"allow-without-rules", 0, NULL, NULL, "Allow what no rule is about, although there are users", true},          \
        {"login-lifetime", 0, "DURATION", "none", "A login must be renewed after this", true},                          \
        {"plain-without-tls", 0, NULL, NULL, "Take passwords (SASL PLAIN) over unencrypted connections", true},         \
        {"insecure-i-know", 0, NULL, NULL, "Allow addresses other than loopback although there is no login yet", true}, \
    {                                                                                                                   \
        NULL, 0, NULL, NULL, NULL, false                                                                                \
    }

static const struct cli_option serve_options[] = {SERVER_OPTIONS("127.0.0.1:9092", "127.0.0.1:8080", "./weir-data")};

#define BROKER_OPTIONS                                                                                                 \
    {"broker", 'b', "HOST:PORT", "127.0.0.1:9092", "Server: Weir or any Kafka broker", true},                          \
    {                                                                                                                  \
        "data", 'd', "DIR", NULL, "Open this data directory instead of asking a server", false                         \
    }

static const struct cli_option topic_create_options[] = {
    BROKER_OPTIONS,
    {"partitions", 'p', "N", "1", "Number of partitions", false},
    {"set", 's', "KEY=VALUE", NULL, "Topic configuration, e.g. retention.ms=86400000; may be repeated", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option broker_options[] = {BROKER_OPTIONS, {NULL, 0, NULL, NULL, NULL, false}};
static const struct cli_option topic_list_options[] = {
    BROKER_OPTIONS,
    {"internal", 0, NULL, NULL, "Show internal topics, too", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option topic_alter_options[] = {
    BROKER_OPTIONS,
    {"set", 's', "KEY=VALUE", NULL, "Set a configuration; may be repeated", false},
    {"delete", 'D', "KEY", NULL, "Go back to the server's value; may be repeated", false},
    {"partitions", 'p', "N", NULL, "So many partitions in all; only more than there are", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option topic_trim_options[] = {
    BROKER_OPTIONS,
    {"before", 0, "WHERE", NULL, "Delete what is before: an offset, @TIME (ms since 1970, ISO date, or -1h), or end",
     false},
    {"partition", 'p', "N", "-1", "One partition; -1: all", false},
    {"yes", 'y', NULL, NULL, "Do it; without this the change is only shown", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option produce_options[] = {
    BROKER_OPTIONS,
    {"key-delimiter", 'K', "TEXT", NULL, "Each line is KEY, this text, VALUE", false},
    {"key", 'k', "KEY", NULL, "The same key for every record", false},
    {"header", 'H', "NAME=VALUE", NULL, "Add a header to every record", false},
    {"partition", 'p', "N", "-1", "Partition; -1: by key", false},
    {"compression", 'z', "CODEC", "none", "none, gzip, snappy, lz4 or zstd", false},
    {"null", 'Z', NULL, NULL, "An empty value is a null value (tombstone)", false},
    {"timestamp", 't', "MS", NULL, "Timestamp of every record, ms since 1970; default: now", false},
    {"input", 'i', "FORMAT", "lines", "lines, or json: objects with key, value, headers, timestamp, partition", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option consume_options[] = {
    BROKER_OPTIONS,
    {"offset", 'o', "RANGE", "start", "start, end, N, +N, -N, FROM:TO, @TIME, @FROM:TO (see below)", false},
    {"partition", 'p', "N", "-1", "One partition; -1: all", false},
    {"group", 'g', "GROUP", NULL, "Read as a member of this consumer group and commit", false},
    {"num", 'n', "N", "0", "Stop after so many records; 0: no bound", false},
    {"exit", 'e', NULL, NULL, "Stop at the end of the topic instead of waiting for more", false},
    {"format", 'f', "FORMAT", "%v\\n",
     "Output: %k key %v value %t topic %p partition %o offset %T timestamp ms %h headers %s size", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option sql_options[] = {
    {"server", 's', "URL", "http://127.0.0.1:8080", "Server to talk to", true},
    {"data", 'd', "DIR", NULL, "Open this data directory instead of asking a server", false},
    {"execute", 'e', "SQL", NULL, "Run this text and exit", false},
    {"file", 'f', "FILE", NULL, "Run the statements of this file and exit; - is standard input", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option reset_options[] = {
    BROKER_OPTIONS,
    {"topic", 't', "TOPIC", NULL, "Topic whose offsets move", false},
    {"partition", 'p', "N", "-1", "One partition; -1: all", false},
    {"to", 0, "WHERE", "start", "start, end, an offset, or @TIME (ms since 1970, ISO date, or -1h)", false},
    {"yes", 'y', NULL, NULL, "Do it; without this the change is only shown", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option verify_options[] = {
    {"data", 'd', "DIR", "./weir-data", "Data directory; no server may have it open", true},
    {NULL, 0, NULL, NULL, NULL, false},
};
#define AUTH_OPTIONS                                                                                                   \
    {"broker", 'b', "HOST:PORT", "127.0.0.1:9092", "Server: Weir or any Kafka broker", true},                          \
    {                                                                                                                  \
        "data", 'd', "DIR", NULL, "Change this data directory, which no server has open", false                        \
    }
static const struct cli_option auth_options[] = {AUTH_OPTIONS, {NULL, 0, NULL, NULL, NULL, false}};
static const struct cli_option password_options[] = {
    AUTH_OPTIONS,
    {"password-file", 0, "FILE", NULL, "The password is the first line of this file; -: of standard input", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
static const struct cli_option rule_options[] = {
    AUTH_OPTIONS,
    {"allow", 0, "PRINCIPAL", NULL, "Who may, e.g. User:alice; User:* is everybody", false},
    {"deny", 0, "PRINCIPAL", NULL, "Who may not; stronger than any --allow", false},
    {"operation", 'o', "NAME", NULL,
     "read, write, create, delete, alter, describe, describe-configs, alter-configs, cluster-action, "
     "idempotent-write or all; may be repeated",
     false},
    {"topic", 't', "NAME", NULL, "On this topic; * is every topic", false},
    {"group", 'g', "NAME", NULL, "On this consumer group", false},
    {"transactional-id", 0, "NAME", NULL, "On this transactional id", false},
    {"cluster", 0, NULL, NULL, "On the server as a whole", false},
    {"prefix", 0, NULL, NULL, "On everything whose name begins so", false},
    {"host", 0, "ADDRESS", NULL, "Only from this numeric address", false},
    {NULL, 0, NULL, NULL, NULL, false},
};
#define QUOTA_OPTIONS                                                                                                  \
    BROKER_OPTIONS, {"user", 'u', "NAME", NULL, "Of this user; without login everybody is ANONYMOUS", false},          \
        {"default-user", 0, NULL, NULL, "Of each user without a quota of its own", false},                             \
        {"client-id", 'c', "NAME", NULL, "Of this client.id; with --user: of that user's", false},                     \
        {"default-client-id", 0, NULL, NULL, "Of each client.id without a quota of its own", false},                   \
        {"ip", 0, "ADDRESS", NULL, "Of this numeric address (connection_creation_rate)", false},                       \
        {"default-ip", 0, NULL, NULL, "Of each address without a quota of its own", false},                            \
    {                                                                                                                  \
        NULL, 0, NULL, NULL, NULL, false                                                                               \
    }
static const struct cli_option quota_options[] = {QUOTA_OPTIONS};
static const struct cli_option no_options[] = {{NULL, 0, NULL, NULL, NULL, false}};

const struct cli_command cli_commands[] = {
    {"serve", "Run the server", "", serve_options,
     "Prints one line `ready kafka=HOST:PORT http=HOST:PORT` once it accepts; stops cleanly on SIGTERM.\n"
     "durability: with sync every acknowledged record is on the disk (one fdatasync serves all that wait); "
     "interval:MS\n"
     "may lose the last MS milliseconds at a power cut, os what the kernel has not written. None loses anything at "
     "kill -9.",
     "  weir serve --data /var/lib/weir\n"
     "  weir serve --data d --kafka 127.0.0.1:0 --http off\n"
     "  WEIR_DATA=d weir serve --config weir.ini",
     cmd_serve, 0, 0},
    {"dev", "Run a server for development with everything on and print its addresses", "", serve_options,
     "The same server and options as `weir serve`, with friendlier words.",
     "  weir dev\n  weir dev --data try --kafka 127.0.0.1:0", cmd_dev, 0, 0},
    {"topic create", "Create a topic", "TOPIC", topic_create_options, NULL,
     "  weir topic create orders --partitions 8\n  weir topic create audit --set retention.ms=-1", cmd_topic_create, 1,
     1},
    {"topic list", "List topics", "", topic_list_options, NULL, "  weir topic list\n  weir topic list --json",
     cmd_topic_list, 0, 0},
    {"topic describe", "Show partitions, offsets and configuration of a topic", "TOPIC", broker_options, NULL,
     "  weir topic describe orders", cmd_topic_describe, 1, 1},
    {"topic alter", "Change the configuration of a topic, or give it more partitions", "TOPIC", topic_alter_options,
     "What is not named stays as it is. The change is durable and holds when the program ends.\n"
     "More partitions: what is stored stays where it is, but keys may go to another partition from now on.",
     "  weir topic alter orders --set retention.ms=86400000 --set segment.bytes=16777216\n"
     "  weir topic alter orders --delete retention.ms\n"
     "  weir topic alter orders --partitions 8",
     cmd_topic_alter, 1, 1},
    {"topic trim", "Delete the oldest records of a topic", "TOPIC", topic_trim_options,
     "Shows the change first; --yes makes it. Deleted records do not come back.",
     "  weir topic trim orders --before @-7d\n"
     "  weir topic trim orders --before 1000 --partition 0 --yes\n"
     "  weir topic trim orders --before end --yes",
     cmd_topic_trim, 1, 1},
    {"topic delete", "Delete a topic with all its records", "TOPIC", broker_options, NULL, "  weir topic delete orders",
     cmd_topic_delete, 1, 1},
    {"produce", "Write records from standard input", "TOPIC", produce_options,
     "One record a line. Records are written by an idempotent producer and acknowledged before the program ends.",
     "  echo hello | weir produce greetings\n"
     "  printf 'c1:{\"amount\":40}\\n' | weir produce payments -K:\n"
     "  weir consume a --json | weir produce b --input json",
     cmd_produce, 1, 1},
    {"consume", "Read records", "TOPIC", consume_options,
     "RANGE: start and end; N is an offset, +N counts from the start, -N from the end; FROM:TO is half-open; @TIME "
     "begins at a time:\n"
     "ms since 1970, 2026-01-31 or 2026-01-31T12:00, or an age like -10m; @FROM:TO reads a stretch of time. A range "
     "ends by itself.",
     "  weir consume orders -o start -e\n"
     "  weir consume orders -o -10 -f '%o %k %v\\n'\n"
     "  weir consume orders -o @-1h --json\n"
     "  weir consume orders -g billing",
     cmd_consume, 1, 1},
    {"sql", "Run SQL: a shell, or -e TEXT, or -f FILE", "", sql_options,
     "SELECT without EMIT reads what is there and ends; EMIT FINAL and EMIT CHANGES go on as events arrive.\n"
     "With --json each row is one JSON object in a line. In the shell a statement ends with ;  and .help lists its "
     "commands.",
     "  weir sql\n"
     "  weir sql -e \"SELECT * FROM orders LIMIT 5\" --json\n"
     "  weir sql --data ./weir-data -f report.sql",
     cmd_sql, 0, 0},
    {"group list", "List consumer groups", "", broker_options, NULL, "  weir group list", cmd_group_list, 0, 0},
    {"group describe", "Show members, offsets and lag of a group", "GROUP", broker_options, NULL,
     "  weir group describe billing", cmd_group_describe, 1, 1},
    {"group reset", "Move the offsets of a group that has no members", "GROUP", reset_options,
     "Shows the change first; --yes makes it.",
     "  weir group reset billing --topic orders --to start\n"
     "  weir group reset billing --topic orders --to @-1h --yes",
     cmd_group_reset, 1, 1},
    {"user add", "Add a user", "NAME", password_options,
     "The password is asked for, or read from standard input or --password-file; never an argument. Make the first "
     "user "
     "of a server with --data, before it starts.",
     "  weir user add admin --data /var/lib/weir\n"
     "  weir user add alice --password-file alice.secret",
     cmd_user_add, 1, 1},
    {"user passwd", "Change a user's password", "NAME", password_options, NULL, "  weir user passwd alice",
     cmd_user_passwd, 1, 1},
    {"user delete", "Delete a user; connections of that user are closed", "NAME", auth_options, NULL,
     "  weir user delete alice", cmd_user_delete, 1, 1},
    {"user list", "List users", "", auth_options, NULL, "  weir user list", cmd_user_list, 0, 0},
    {"acl add", "Allow or deny something to somebody", "", rule_options,
     "As soon as there is a user or a rule, what no rule allows is denied, except to super users.",
     "  weir acl add --allow User:alice --operation read --topic orders\n"
     "  weir acl add --allow User:alice --operation read --group billing\n"
     "  weir acl add --allow User:bob -o write -o create --topic pay --prefix",
     cmd_acl_add, 0, 0},
    {"acl remove", "Remove rules", "", rule_options, "Named as they were added; without --host: from every host.",
     "  weir acl remove --allow User:alice --operation read --topic orders", cmd_acl_remove, 0, 0},
    {"acl list", "List all rules", "", auth_options, NULL, "  weir acl list\n  weir acl list --json", cmd_acl_list, 0,
     0},
    {"quota set", "Limit what a user, a program or an address may ask for", "NAME=VALUE...", quota_options,
     "producer_byte_rate and consumer_byte_rate are bytes a second (10MB is taken, too), request_percentage is of the\n"
     "server's thread (100: all of it), controller_mutation_rate partitions a second created or deleted,\n"
     "connection_creation_rate connections a second. The rule that says most decides: user and client id, user, client "
     "id.",
     "  weir quota set --user alice producer_byte_rate=10MB consumer_byte_rate=20MB\n"
     "  weir quota set --default-client-id request_percentage=50\n"
     "  weir quota set --default-ip connection_creation_rate=20",
     cmd_quota_set, 1, 5},
    {"quota remove", "Take limits away again", "[NAME...]", quota_options, "Without names: all of it.",
     "  weir quota remove --user alice producer_byte_rate\n  weir quota remove --default-client-id", cmd_quota_remove,
     0, 5},
    {"quota list", "List all quotas", "", broker_options, NULL, "  weir quota list\n  weir quota list --json",
     cmd_quota_list, 0, 0},
    {"verify", "Read a whole data directory and say what is wrong with it", "", verify_options,
     "Changes nothing. Each finding is one of: DAMAGED (acknowledged records are lost or altered, with their offsets), "
     "tail\n(torn, never acknowledged, cut at the next start), cache (a file that is made again at the next start).\n"
     "Exit code 0: no acknowledged record is damaged, 4: some are.",
     "  weir verify --data /var/lib/weir", cmd_verify, 0, 0},
    {"repair", "Open a data directory whose internal topics are damaged", "", verify_options,
     "For a server that refuses to start because _weir_meta or __transaction_state is damaged. Reads what can be "
     "read,\n"
     "writes it anew, moves the damaged log to quarantine/. Names on standard error what it had to leave out: topics\n"
     "keep their records but may have the default configuration; definitions, users and rules may be missing: look\n"
     "through them before you let anybody in. Transactions without a decision are aborted.",
     "  weir repair --data /var/lib/weir", cmd_repair, 0, 0},
    {"version", "Print the version", "", no_options, NULL, "  weir version", cmd_version, 0, 0},
    {NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0},
};
