/* Proves that wrong statements are refused at the right place with the right sentence. In the table '^' marks the
 * place; it is taken out before binding (the language has no such character). The hint is compared where a row gives
 * one. */
#include "flow/sql/test_catalog.h"

#include "base/limits.h"

struct wrong {
    const char *text, *message, *hint;
};
static const struct wrong syntax[] = {
    {"^", "there is no statement", NULL},
    {"^;", "there is no statement", NULL},
    {"^SELEC 1 FROM bid", "expected a statement, found 'SELEC'", "did you mean 'SELECT'?"},
    {"^1", "expected a statement, found '1'", NULL},
    {"^INSERT INTO x SELECT 1 FROM bid", "INSERT INTO is not supported yet",
     "CREATE STREAM ... AS SELECT writes the result of a query to a topic"},
    {"^UPDATE bid SET price = 1", "UPDATE is not supported yet", "events do not change: append a new one"},
    {"^VALUES (1)", "VALUES is not supported yet", NULL},
    {"SELECT price FROM bid; ^SELECT 1", "a second statement begins here: give one at a time", NULL},
    {"SELECT price FROM bid ^)", "expected the end of the statement, found ')'", NULL},
    {"SELECT price ^FORM bid", "unexpected word 'FORM'", "did you mean 'FROM'?"},
    {"SELECT price FROM bid ^WERE price > 1", "unexpected word 'WERE'", "did you mean 'WHERE'?"},
    {"SELECT price FROM bid b ^ODER BY price", "expected the end of the statement, found 'ODER'", NULL},
    {"SELECT ^FROM bid", "expected an expression, found the keyword FROM", NULL},
    {"SELECT price, ^FROM bid", "expected an expression, found the keyword FROM", NULL},
    {"SELECT price FROM ^WHERE", "expected a stream name, found the keyword WHERE",
     "quote it when it is meant as a name: `...`"},
    {"SELECT price FROM bid WHERE^", "expected an expression, found the end of the statement", NULL},
    {"^SELECT 1", "SELECT without FROM is not supported yet", NULL},
    {"SELECT ^DISTINCT price FROM bid", "SELECT DISTINCT is not supported yet",
     "GROUP BY the same columns gives each combination once"},
    {"SELECT price AS ^'p' FROM bid", "names stand in back-quotes, not in single quotes", "write AS `name`"},
    {"SELECT (1 + 2 ^FROM bid", "expected ')', found 'FROM'", NULL},
    {"SELECT (1^, 2) FROM bid", "a row value (a, b) is not supported yet", NULL},
    {"SELECT price ^== 1 FROM bid", "there is no operator '=='", "equality is written ="},
    {"SELECT ok ^&& ok FROM bid", "there is no operator '&&'", "write AND"},
    {"SELECT price^::INT FROM bid", "there is no operator '::'", "write CAST(x AS TYPE)"},
    {"SELECT channel^[1] FROM bid", "access to elements of arrays and maps is not supported yet", NULL},
    {"SELECT ^ARRAY[1] FROM bid", "ARRAY is not supported yet", NULL},
    {"SELECT ^MAP['a', 1] FROM bid", "MAP is not supported yet", NULL},
    {"SELECT ^ROW(1, 2) FROM bid", "ROW(...) is not supported yet", NULL},
    {"SELECT (^SELECT 1 FROM bid) FROM bid", "a subquery in an expression is not supported yet", "put it into FROM"},
    {"SELECT price FROM bid WHERE ^EXISTS (SELECT 1 FROM bid)", "EXISTS is not supported yet", NULL},
    {"SELECT price FROM bid WHERE price IN (^SELECT a FROM plain)", "IN (SELECT ...) is not supported yet", NULL},
    {"SELECT price FROM bid WHERE price IN (^)", "expected at least one value, found ')'", NULL},
    {"SELECT SUM(price) ^OVER (ORDER BY ts) FROM bid", "OVER (...) is not supported yet", NULL},
    {"SELECT price FROM bid b ^JOIN plain p ON b.price = p.a", "JOIN is not supported yet", NULL},
    {"SELECT price FROM bid ^LEFT JOIN plain ON TRUE", "JOIN is not supported yet", NULL},
    {"SELECT price FROM bid^, plain", "more than one stream in FROM (a JOIN) is not supported yet", NULL},
    {"SELECT price FROM bid ^UNION ALL SELECT a FROM plain", "UNION is not supported yet", NULL},
    {"SELECT price FROM bid ^EXCEPT SELECT a FROM plain", "EXCEPT is not supported yet", NULL},
    {"SELECT * FROM bid ^MATCH_RECOGNIZE (x)", "MATCH_RECOGNIZE is not supported yet", NULL},
    {"SELECT * FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, ^INTERVAL '3' SECOND))",
     "the size of HOP must be a multiple of its slide", "for instance a size of 10 seconds and steps of 5"},
    {"SELECT * FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '3' SECOND^))", "expected ',', found ')'", NULL},
    {"SELECT * FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), ^INTERVAL '0' SECOND, INTERVAL '3' SECOND))",
     "the slide of a window must be positive", NULL},
    {"SELECT * FROM TABLE(HOP(^bid, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '3' SECOND))",
     "expected TABLE, found 'bid'",
     "for instance HOP(TABLE s, DESCRIPTOR(t), INTERVAL '5' SECOND, INTERVAL '10' SECOND)"},
    {"SELECT * FROM ^CUMULATE(DATA => TABLE bid, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '2' SECOND)",
     "an argument of CUMULATE is missing", "it needs DATA, TIMECOL, STEP and SIZE"},
    {"SELECT * FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND, ^INTERVAL '1' DAY))",
     "a row of this CUMULATE would be in 86400 windows, at most 1440 are possible", NULL},
    {"SELECT * FROM TABLE(HOP(DATA => TABLE bid, ^STEP => INTERVAL '1' SECOND))", "HOP has no argument 'STEP'",
     "its arguments are DATA, TIMECOL, SLIDE, SIZE and OFFSET"},
    {"SELECT * FROM TABLE(^SESSION(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "SESSION is not supported yet",
     "the windows of this version are TUMBLE, HOP and CUMULATE"},
    {"SELECT * FROM TABLE(^TUMBEL(TABLE bid))", "unknown table function 'TUMBEL'", NULL},
    {"SELECT * FROM TABLE(TUMBLE(^bid, DESCRIPTOR(ts), INTERVAL '1' SECOND))", "expected TABLE, found 'bid'", NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, ^ts, INTERVAL '1' SECOND))", "expected DESCRIPTOR, found 'ts'", NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts)^))", "expected ',', found ')'", NULL},
    {"SELECT * FROM TABLE(^TUMBLE(DATA => TABLE bid, SIZE => INTERVAL '1' SECOND))", "an argument of TUMBLE is missing",
     "it needs DATA, TIMECOL and SIZE"},
    {"SELECT * FROM TABLE(TUMBLE(DATA => TABLE bid, ^COLUMN => DESCRIPTOR(ts)))", "TUMBLE has no argument 'COLUMN'",
     "its arguments are DATA, TIMECOL, SIZE and OFFSET"},
    {"SELECT CASE 1 ^END FROM bid", "expected WHEN, found 'END'", NULL},
    {"SELECT CASE WHEN ok THEN 1 ELSE 2 ^FROM bid", "expected END, found 'FROM'", NULL},
    {"SELECT CASE WHEN ok ^1 END FROM bid", "expected THEN, found '1'", NULL},
    {"SELECT CAST(price ^INT) FROM bid", "expected AS, found 'INT'", NULL},
    {"SELECT CAST(price AS ^DECIMAL(10, 2)) FROM bid", "the type DECIMAL is not supported yet",
     "DOUBLE, or BIGINT in the smallest unit"},
    {"SELECT CAST(price AS ^BIGNIT) FROM bid", "unknown type 'BIGNIT'", "did you mean 'BIGINT'?"},
    {"SELECT CAST(price AS VARCHAR^) FROM bid", "VARCHAR needs a length", "write STRING, or VARCHAR(20)"},
    {"SELECT CAST(ts AS TIMESTAMP(^9)) FROM bid", "'9' is out of range: 0 to 6", NULL},
    {"SELECT ^99999999999999999999 FROM bid", "integer 99999999999999999999 is out of range of BIGINT", NULL},
    {"SELECT ^1e999 FROM bid", "number 1e999 is out of range of DOUBLE", NULL},
    {"SELECT INTERVAL ^10 SECOND FROM bid", "expected a string after INTERVAL, found '10'",
     "the number stands in quotes: INTERVAL '10' SECOND"},
    {"SELECT INTERVAL '1' ^MONTH FROM bid", "an interval of months or years is not supported yet",
     "DAY is the largest unit"},
    {"SELECT INTERVAL '1' ^MILLISECOND FROM bid", "there is no interval unit MILLISECOND",
     "write INTERVAL '0.001' SECOND"},
    {"SELECT INTERVAL '1' ^FORTNIGHT FROM bid", "expected DAY, HOUR, MINUTE or SECOND, found 'FORTNIGHT'", NULL},
    {"SELECT INTERVAL ^'ten' SECOND FROM bid", "'ten' is not an interval of this kind", NULL},
    {"SELECT INTERVAL '1' SECOND TO ^DAY FROM bid", "an interval goes from the larger unit to the smaller one", NULL},
    {"SELECT DATE ^'2024-13-01' FROM bid", "'2024-13-01' is not a date", NULL},
    {"SELECT TIMESTAMP ^'yesterday' FROM bid", "'yesterday' is not a timestamp", NULL},
    {"SELECT ^TIME '10:00:00' FROM bid", "the type TIME is not supported yet", NULL},
    {"SELECT 'a' ^'b' FROM bid", "a string follows a string", "join strings with ||"},
    {"SELECT price FROM bid GROUP ^price", "expected BY, found 'price'", NULL},
    {"SELECT price FROM bid GROUP BY ^ROLLUP(price)", "ROLLUP is not supported yet", NULL},
    {"SELECT price FROM bid GROUP BY ^GROUPING SETS ((price))", "GROUPING SETS is not supported yet", NULL},
    {"SELECT price FROM bid LIMIT ^x", "expected a number of rows, found 'x'", NULL},
    {"SELECT price FROM bid FETCH FIRST 3 ^ONLY", "expected ROWS, found 'ONLY'", NULL},
    {"SELECT price FROM bid EMIT ^LATER", "expected FINAL or CHANGES, found 'LATER'", NULL},
    {"SELECT price FROM (SELECT price FROM bid ^EMIT FINAL)", "EMIT stands at the end of the whole statement", NULL},
    {"SHOW ^STREEMS", "expected STREAMS, FLOWS or TOPICS, found 'STREEMS'", "did you mean 'STREAMS'?"},
    {"DROP ^bid", "expected STREAM, found 'bid'", NULL},
    {"EXPLAIN ^DROP STREAM bid", "expected SELECT or CREATE STREAM ... AS SELECT, found 'DROP'", NULL},
    {"EXPLAIN ^CREATE STREAM x (a INT)", "there is no query to explain", NULL},
    {"SELECT ^? FROM bid", "a parameter (?) is not supported yet", NULL},
    {"SELECT bid.price^.x FROM bid", "access to fields of a row is not supported yet", NULL},
    {"SELECT price FROM bid^.price", "stream names have one part", NULL},
    {"WITH ^RECURSIVE a AS (SELECT 1 FROM bid) SELECT 1 FROM a", "WITH RECURSIVE is not supported yet", NULL},
};

static const struct wrong names_and_types[] = {
    {"SELECT ^pric FROM bid", "unknown column 'pric'", "did you mean 'price'?"},
    {"SELECT ^Price FROM bid", "unknown column 'Price'", "names are case-sensitive: did you mean 'price'?"},
    {"SELECT ^window_start FROM bid", "unknown column 'window_start'",
     "the window columns come with FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(t), INTERVAL '10' SECOND))"},
    {"SELECT ^b.price FROM bid", "there is no stream 'b' in FROM", "FROM calls it 'bid'"},
    {"SELECT ^x.* FROM bid", "there is no stream 'x' in FROM", NULL},
    {"SELECT ^price FROM (SELECT auction AS price, bidder AS price FROM bid)", "the column 'price' is ambiguous", NULL},
    {"SELECT 1 FROM ^bids", "unknown stream 'bids'", "did you mean 'bid'?"},
    {"SELECT 1 FROM ^nothing_like_it", "unknown stream 'nothing_like_it'",
     "CREATE STREAM declares one; SHOW STREAMS lists them"},
    {"DESCRIBE ^BID", "unknown stream 'BID'", "names are case-sensitive: did you mean 'bid'?"},
    {"DROP STREAM ^bit", "unknown stream 'bit'", "did you mean 'bid'?"},
    {"SELECT ^UPER(channel) FROM bid", "unknown function 'UPER'", "did you mean 'UPPER'?"},
    {"SELECT ^CUONT(*) FROM bid", "unknown function 'CUONT'", "did you mean 'COUNT'?"},
    {"SELECT ^ROW_NUMBER() FROM bid", "ROW_NUMBER is not supported yet", NULL},
    {"SELECT ^NOW() FROM bid", "NOW is not supported yet", NULL},
    {"SELECT ^UPPER() FROM bid", "wrong number of arguments of UPPER: 0", "UPPER(STRING)"},
    {"SELECT ^UPPER(channel, 1) FROM bid", "wrong number of arguments of UPPER: 2", "UPPER(STRING)"},
    {"SELECT ^UPPER(price) FROM bid", "UPPER does not take (BIGINT)", "UPPER(STRING)"},
    {"SELECT ^POWER(channel, 2) FROM bid", "POWER does not take (STRING, INT)", "POWER(DOUBLE, DOUBLE)"},
    {"SELECT 'a' ^+ 1 FROM bid", "+ does not take STRING and INT",
     "strings are joined with ||; CAST(x AS BIGINT) makes a number of a string"},
    {"SELECT channel ^* 2 FROM bid", "* does not take STRING and INT", "CAST(x AS BIGINT) makes a number of a string"},
    {"SELECT price ^|| 'x' FROM bid", "|| does not take BIGINT and STRING",
     "CAST(x AS STRING) makes a string of a value"},
    {"SELECT ok ^+ 1 FROM bid", "+ does not take BOOLEAN and INT", NULL},
    {"SELECT ts ^+ 1 FROM bid", "+ does not take TIMESTAMP(3) and INT", NULL},
    {"SELECT ^-channel FROM bid", "- does not take (STRING)", NULL},
    {"SELECT price ^= channel FROM bid", "BIGINT and STRING cannot be compared", "CAST one of them"},
    {"SELECT ok ^< ok FROM bid", "< does not take BOOLEAN", "only = and <> compare conditions"},
    {"SELECT ts > ^'noon' FROM bid", "'noon' is not a timestamp", NULL},
    {"SELECT price FROM bid WHERE price IN (1, ^'x')", "BIGINT and STRING cannot be compared", NULL},
    {"SELECT price FROM bid WHERE ^price", "WHERE must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT price FROM bid WHERE ok AND ^price", "a side of AND must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT NOT ^price FROM bid", "the argument of NOT must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT ^price IS TRUE FROM bid", "what IS TRUE or IS FALSE asks must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT CASE WHEN ok THEN 1 ELSE ^'x' END FROM bid", "the results of CASE have no common type: INT and STRING",
     "CAST one of them"},
    {"SELECT CASE WHEN ^price THEN 1 END FROM bid", "WHEN must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT COALESCE(price, ^channel) FROM bid", "the arguments of COALESCE have no common type: BIGINT and STRING",
     NULL},
    {"SELECT ^NULL FROM bid", "NULL has no type here", "give it one: CAST(NULL AS STRING)"},
    {"SELECT ^CAST(price AS TIMESTAMP(3)) FROM bid", "BIGINT cannot be cast to TIMESTAMP(3)",
     "TO_TIMESTAMP_LTZ(milliseconds, 3) makes a timestamp of a number"},
    {"SELECT ^CAST(ok AS DATE) FROM bid", "BOOLEAN cannot be cast to DATE", NULL},
    {"SELECT EXTRACT(^HOURS FROM ts) FROM bid", "EXTRACT has no unit HOURS", "did you mean 'HOUR'?"},
    {"SELECT EXTRACT(HOUR FROM ^price) FROM bid", "EXTRACT does not take BIGINT", NULL},
    {"SELECT HOUR(^channel) FROM bid", "HOUR does not take STRING", NULL},
    {"SELECT FLOOR(ts TO ^CENTURY) FROM bid", "FLOOR has no unit CENTURY", NULL},
    {"SELECT FLOOR(^price TO HOUR) FROM bid", "FLOOR(... TO HOUR) does not take BIGINT", NULL},
    {"SELECT CEIL(ts TO ^MONTH) FROM bid", "CEIL(t TO MONTH) is not supported yet", NULL},
    {"SELECT TIMESTAMPDIFF(^MONTH, ts, ts) FROM bid", "TIMESTAMPDIFF in units of MONTH is not supported yet", NULL},
    {"SELECT TO_TIMESTAMP_LTZ(price, ^6) FROM bid", "the precision in TO_TIMESTAMP_LTZ is 0 or 3", NULL},
    {"SELECT TRIM(^'ab' FROM channel) FROM bid", "TRIM of more than one character is not supported yet", NULL},
    {"SELECT IF(^price, 1, 2) FROM bid", "the first argument of IF must be a condition (BOOLEAN), not BIGINT", NULL},
    {"SELECT ^IF(ok, 1) FROM bid", "wrong number of arguments of IF: 2", "IF(condition, then, else)"},
    {"SELECT UPPER(^*) FROM bid", "'*' is not a value here", NULL},
};

static const struct wrong aggregates[] = {
    {"SELECT price FROM bid WHERE ^COUNT(*) > 1", "the aggregate COUNT is not allowed in WHERE",
     "conditions on aggregates stand in HAVING"},
    {"SELECT price FROM bid GROUP BY ^SUM(price)", "the aggregate SUM is not allowed in GROUP BY", NULL},
    {"SELECT SUM(^COUNT(*)) FROM bid", "COUNT inside of another aggregate",
     "compute the inner one in a subquery in FROM"},
    {"SELECT ^COUNT(DISTINCT price) FROM bid", "COUNT(DISTINCT ...) is not supported yet", NULL},
    {"SELECT SUM(^*) FROM bid", "SUM(*) means nothing", "only COUNT takes *"},
    {"SELECT ^COUNT() FROM bid", "wrong number of arguments of COUNT: 0", "COUNT(*) or COUNT(x)"},
    {"SELECT SUM(^channel) FROM bid", "SUM does not take STRING", NULL},
    {"SELECT AVG(^ts) FROM bid", "AVG does not take TIMESTAMP(3)", NULL},
    {"SELECT MAX(^ok) FROM bid", "MAX does not take BOOLEAN", NULL},
    {"SELECT UPPER(channel) FILTER (WHERE ^ok) FROM bid", "FILTER belongs to an aggregate, not to UPPER", NULL},
    {"SELECT COUNT(*) FILTER (WHERE ^price) FROM bid", "FILTER (WHERE ...) must be a condition (BOOLEAN), not BIGINT",
     NULL},
    {"SELECT ^LISTAGG(channel) FROM bid", "LISTAGG is not supported yet", NULL},
    {"SELECT ^price, COUNT(*) FROM bid", "the column 'price' is neither grouped nor aggregated",
     "add it to GROUP BY, or put it into an aggregate such as MAX(...)"},
    {"SELECT channel, ^price + 1 FROM bid GROUP BY channel, price + 2",
     "the column 'price' is neither grouped nor aggregated", NULL},
    {"SELECT ^* FROM bid GROUP BY channel", "the column 'auction' is neither grouped nor aggregated", NULL},
    {"SELECT channel FROM bid GROUP BY channel HAVING ^price > 1",
     "the column 'price' is neither grouped nor aggregated", NULL},
    {"SELECT channel, COUNT(*) FROM bid GROUP BY channel ORDER BY ^price",
     "the column 'price' is neither grouped nor aggregated", NULL},
    {"SELECT price FROM bid GROUP BY ^1", "GROUP BY takes no positions", NULL},
    {"SELECT price + 1 AS x, price + 2 AS x FROM bid GROUP BY ^x", "the alias 'x' is ambiguous", NULL},
    {"SELECT price FROM bid ORDER BY ^2", "ORDER BY position 2 is not in the select list of 1 columns", NULL},
    {"SELECT price FROM (SELECT price FROM bid ^ORDER BY price)", "ORDER BY in a subquery is not supported yet", NULL},
    {"SELECT price FROM (SELECT price FROM bid ^LIMIT 3)", "LIMIT in a subquery is not supported yet", NULL},
    {"^SELECT MAX(c) FROM (SELECT channel, COUNT(*) c FROM bid GROUP BY channel)",
     "an aggregate over an updating query is not supported yet", NULL},
    {"SELECT channel, COUNT(*) FROM bid GROUP BY channel ^EMIT FINAL",
     "EMIT FINAL needs rows that become final, but GROUP BY without a window updates its rows for ever",
     "group by window_start, window_end of a TUMBLE window, or say EMIT CHANGES"},
    {"SELECT * FROM TABLE(TUMBLE(TABLE plain, DESCRIPTOR(^t), INTERVAL '1' SECOND))",
     "the column 't' is not a time attribute", "WATERMARK FOR in CREATE STREAM makes a column a time attribute"},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(^price), INTERVAL '1' SECOND))",
     "the column 'price' is not a time attribute", "the time attribute here is 'ts'"},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(^tss), INTERVAL '1' SECOND))", "unknown column 'tss'",
     "did you mean 'ts'?"},
    {"SELECT * FROM TABLE(TUMBLE((SELECT ts + INTERVAL '1' SECOND AS t FROM bid), DESCRIPTOR(^t), INTERVAL '1' "
     "SECOND))",
     "the column 't' is not a time attribute",
     "only an unchanged column keeps this property; above a window it is window_time"},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), ^10))", "the size of a window must be an INTERVAL literal",
     NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), ^INTERVAL '0' SECOND))",
     "the size of a window must be positive", NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), ^INTERVAL '0.0001' SECOND))",
     "the size of a window must be whole milliseconds", NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), ^INTERVAL '99999' DAY))",
     "the size of a window is at most 36500 days", NULL},
    {"SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND, ^price))",
     "the offset of a window must be an INTERVAL literal", NULL},
    {"SELECT COUNT(*) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY ^window_start",
     "window_start and window_end stand in GROUP BY together", "GROUP BY window_start, window_end"},
    {"SELECT COUNT(*) FROM bid GROUP BY TUMBLE(^price, INTERVAL '1' SECOND)",
     "the column 'price' is not a time attribute", NULL},
    {"SELECT COUNT(*) FROM bid GROUP BY ^HOP(ts, INTERVAL '1' SECOND)", "wrong number of arguments of HOP: 2",
     "GROUP BY HOP(t, INTERVAL '5' SECOND, INTERVAL '10' SECOND)"},
    {"SELECT ^TUMBLE_START(ts, INTERVAL '1' SECOND, INTERVAL '2' SECOND) FROM bid GROUP BY HOP(ts, INTERVAL '1' "
     "SECOND, "
     "INTERVAL '2' SECOND)",
     "TUMBLE_START of a window that is not in GROUP BY", NULL},
    {"SELECT ^TUMBLE_START(ts, INTERVAL '1' SECOND) FROM bid", "TUMBLE_START is not allowed here",
     "it belongs to GROUP BY TUMBLE(t, ...)"},
    {"SELECT ^TUMBLE_END(ts, INTERVAL '2' SECOND) FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)",
     "TUMBLE_END of a window that is not in GROUP BY", NULL},
    {"SELECT ^TUMBLE(ts, INTERVAL '1' SECOND) FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' SECOND)",
     "TUMBLE has no value of its own", NULL},
    {"SELECT * FROM ^TUMBLE((SELECT ts AS window_start, ts FROM bid), DESCRIPTOR(ts), INTERVAL '1' SECOND)",
     "the input of TUMBLE already has a column 'window_start'", "rename it in the subquery with AS"},
    {"WITH a AS (SELECT 1 x FROM bid), ^a AS (SELECT 2 x FROM bid) SELECT x FROM a", "'a' is defined twice in WITH",
     NULL},
};

static const struct wrong definitions[] = {
    {"CREATE ^STREEM x (a INT)", "expected STREAM, found 'STREEM'", "did you mean 'STREAM'?"},
    {"CREATE ^VIEW x AS SELECT 1 FROM bid", "CREATE VIEW is not supported yet", NULL},
    {"CREATE OR REPLACE STREAM ^IF NOT EXISTS x (a INT)", "OR REPLACE and IF NOT EXISTS exclude each other", NULL},
    {"CREATE STREAM ^", "expected a stream name, found the end of the statement", NULL},
    {"CREATE STREAM x^", "expected the columns in parentheses, or AS SELECT, found the end of the statement", NULL},
    {"CREATE STREAM x (^)", "expected a column name, found ')'", NULL},
    {"CREATE STREAM x (a INT^", "expected ',' or ')', found the end of the statement", NULL},
    {"CREATE STREAM x (a ^ROW<b INT>)", "the type ROW is not supported yet", NULL},
    {"CREATE STREAM x (a ^INTERVAL)", "the type INTERVAL is not supported yet", NULL},
    {"CREATE STREAM x (a INT, ^a BIGINT)", "the column 'a' is declared twice", NULL},
    {"CREATE STREAM x (a BIGINT METADATA FROM ^'ofset')", "unknown metadata 'ofset'", "did you mean 'offset'?"},
    {"CREATE STREAM x (^a BIGINT METADATA)", "unknown metadata 'a'", NULL},
    {"CREATE STREAM x (a ^STRING METADATA FROM 'offset')", "the metadata 'offset' is BIGINT, not STRING", NULL},
    {"CREATE STREAM x (a BIGINT, WATERMARK FOR ^a AS a)",
     "the column of WATERMARK FOR must be TIMESTAMP(3) or TIMESTAMP_LTZ(3), not BIGINT",
     "a computed column makes one: t AS TO_TIMESTAMP_LTZ(milliseconds, 3)"},
    {"CREATE STREAM x (a STRING, WATERMARK FOR ^a AS a)",
     "the column of WATERMARK FOR must be TIMESTAMP(3) or TIMESTAMP_LTZ(3), not STRING",
     "a computed column makes one: t AS TO_TIMESTAMP(text)"},
    {"CREATE STREAM x (a TIMESTAMP(3), WATERMARK FOR ^b AS a)", "WATERMARK FOR an unknown column 'b'", NULL},
    {"CREATE STREAM x (a TIMESTAMP(3), WATERMARK FOR a AS ^5)",
     "the watermark must be TIMESTAMP(3) as its column, not INT", NULL},
    {"CREATE STREAM x (a TIMESTAMP(3), WATERMARK FOR a AS a ^- 5)", "- does not take TIMESTAMP(3) and INT", NULL},
    {"CREATE STREAM x (a TIMESTAMP(3), WATERMARK FOR a AS a, ^WATERMARK FOR a AS a)", "WATERMARK FOR is given twice",
     NULL},
    {"CREATE STREAM x (a INT, b AS a + 1, c AS ^b + 1)", "a computed column cannot read the computed column 'b'",
     "repeat its expression"},
    {"CREATE STREAM x (a INT, b AS ^COUNT(*))", "the aggregate COUNT is not allowed in a computed column", NULL},
    {"CREATE STREAM x (a INT, p AS ^PROCTIME())", "processing time (PROCTIME) is not supported yet", NULL},
    {"CREATE STREAM x (a INT, ^PRIMARY KEY (a))", "a PRIMARY KEY of a stream cannot be enforced",
     "write PRIMARY KEY (...) NOT ENFORCED"},
    {"CREATE STREAM x (a INT, PRIMARY KEY (^b) NOT ENFORCED)", "PRIMARY KEY names an unknown column 'b'",
     "did you mean 'a'?"},
    {"CREATE STREAM x (a INT) WITH (^'topik' = 't')", "unknown option 'topik'", "did you mean 'topic'?"},
    {"CREATE STREAM x (a INT) WITH ('topic' = 't', ^'topic' = 'u')", "option 'topic' is given twice", NULL},
    {"CREATE STREAM x (a INT) WITH ('topic' = ^'a b')", "'a b' is not a value of 'topic'", NULL},
    {"CREATE STREAM x (a INT) WITH ('format' = ^'avro')", "'avro' is not a value of 'format'", "only json"},
    {"CREATE STREAM x (a INT) WITH ('partitions' = ^'0')", "'0' is not a value of 'partitions'",
     "a number from 1 to 1024"},
    {"CREATE STREAM x (a INT) WITH ('partitions' = ^3)", "expected a string, found '3'",
     "values are strings: 'partitions' = '3'"},
    {"CREATE STREAM x (a INT) WITH (^topic = 'x')", "expected a string, found 'topic'",
     "keys and values are strings: 'topic' = 'orders'"},
    {"CREATE STREAM x (a INT) WITH ('scan.startup.mode' = ^'timestamp')",
     "'scan.startup.mode' = 'timestamp' is not supported yet", "earliest-offset or latest-offset"},
    {"CREATE STREAM x (a INT) WITH ('scan.watermark.idle-timeout' = ^'5 parsecs')",
     "'5 parsecs' is not a value of 'scan.watermark.idle-timeout'", NULL},
    {"CREATE STREAM x (a INT) WITH ('key.fields' = ^'a;b')", "'key.fields' names an unknown column 'b'",
     "did you mean 'a'?"},
    {"CREATE STREAM ^`a b` (a INT)", "'a b' cannot be the name of a topic", NULL},
    {"CREATE STREAM x ^PARTITIONED BY (a)", "PARTITIONED BY is not supported yet", NULL},
    {"CREATE STREAM x (a INT) ^LIKE bid", "LIKE is not supported yet", NULL},
    {"CREATE STREAM x (a INT) ^EMIT FINAL", "EMIT belongs to a query", NULL},
    {"CREATE STREAM x (a INT) ^AS SELECT price FROM bid", "a stream made by AS SELECT takes no column list", NULL},
    {"CREATE STREAM ^x AS SELECT price, price FROM bid", "the query gives two columns the name 'price'",
     "name one of them with AS"},
    {"CREATE STREAM ^x AS SELECT ts - ts AS d FROM bid", "the column 'd' is an INTERVAL, which cannot be stored", NULL},
    {"CREATE STREAM x AS SELECT price FROM bid ^ORDER BY price",
     "ORDER BY needs an end, and a query that goes on has none", NULL},
    {"SELECT price FROM bid ^ORDER BY price EMIT CHANGES", "ORDER BY needs an end, and a query that goes on has none",
     "without EMIT the query reads what is there and ends"},
    {"CREATE STREAM x AS SELECT price FROM bid ^LIMIT 5", "LIMIT needs an end, and a stream has none", NULL},
    {"CREATE STREAM bid AS SELECT price FROM ^bid", "the stream 'bid' cannot be made of itself", NULL},
    {"CREATE STREAM ^x AS SELECT COUNT(*) AS c FROM bid GROUP BY channel",
     "the query updates its rows, and its output lacks the group column channel",
     "select all columns of GROUP BY, or say WITH ('key.fields' = '...')"},
};

static int run_table(const struct wrong *rows, size_t n)
{
    struct test_catalog c;
    int failures = 0;

    catalog_init(&c);
    for (size_t i = 0; i < n; i++) {
        char text[400];
        const char *mark = strchr(rows[i].text, '^');
        size_t before;
        struct statement *s = NULL;
        struct sql_error e;

        assert_non_null(mark);
        before = (size_t)(mark - rows[i].text);
        (void)snprintf(text, sizeof(text), "%.*s%s", (int)before, rows[i].text, mark + 1);
        if (sql_bind(&s, bytes_str(text), &c.base, &c.arena, &e) == ERR_NONE) {
            print_error("binds: %s\n", text);
            failures++;
        } else if ((size_t)e.position != before ||
                   (rows[i].message != NULL && strcmp(e.err.text, rows[i].message) != 0) ||
                   (rows[i].hint != NULL && strcmp(e.err.hint, rows[i].hint) != 0)) {
            print_error("%s\n  got at %d: %s | %s\n  expected at %zu: %s\n", text, e.position, e.err.text, e.err.hint,
                        before, rows[i].message);
            failures++;
        }
    }
    catalog_deinit(&c);
    return failures;
}

static void test_errors__syntax(void **state)
{
    (void)state;
    assert_int_equal(run_table(syntax, ARRAY_LEN(syntax)), 0);
}

static void test_errors__names_and_types(void **state)
{
    (void)state;
    assert_int_equal(run_table(names_and_types, ARRAY_LEN(names_and_types)), 0);
}

static void test_errors__aggregates_and_windows(void **state)
{
    (void)state;
    assert_int_equal(run_table(aggregates, ARRAY_LEN(aggregates)), 0);
}

static void test_errors__definitions(void **state)
{
    (void)state;
    assert_int_equal(run_table(definitions, ARRAY_LEN(definitions)), 0);
}

static void assert_rendered(const char *text, const char *want)
{
    struct test_catalog c;
    struct statement *s = NULL;
    struct sql_error e;
    struct buf out;

    catalog_init(&c);
    buf_init(&out, 0);
    assert_int_not_equal(sql_bind(&s, bytes_str(text), &c.base, &c.arena, &e), ERR_NONE);
    sql_error_render(&out, &e, bytes_str(text));
    buf_put_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, want);
    buf_deinit(&out);
    catalog_deinit(&c);
}

static void test_render__points_at_the_place(void **state)
{
    (void)state;
    assert_rendered("SELECT auction,\n       pric\nFROM bid", "error at line 2, column 8: unknown column 'pric'\n"
                                                              "       pric\n"
                                                              "       ^\n"
                                                              "hint: did you mean 'price'?\n");
    assert_rendered("SELECT\t'\xC3\xA4\xC3\xB6' , x FROM bid", "error at line 1, column 15: unknown column 'x'\n"
                                                               "SELECT\t'\xC3\xA4\xC3\xB6' , x FROM bid\n"
                                                               "      \t       ^\n"
                                                               "hint: did you mean 'n'?\n");
    assert_rendered("SELECT 1 FROM",
                    "error at line 1, column 14: expected a stream name, found the end of the statement\n"
                    "SELECT 1 FROM\n"
                    "             ^\n");
}

/* Every way to nest, far beyond the limit, and a text beyond its limit: refused, without using the stack or the memory
 * up. */
static void test_limits__deep_and_large_texts_are_refused(void **state)
{
    static const struct {
        const char *repeat, *middle, *close;
    } shapes[] = {
        {"(", "1", ")"},
        {"NOT ", "ok", ""},
        {"- ", "price", ""},
        {"ABS(", "price", ")"},
        {"1 + ", "1", ""},
        {"CASE WHEN ok THEN ", "1", " END"},
        {"CAST(", "1", " AS INT)"},
        {"1 IN (", "1", ") "},
        {"CASE ", "1", " WHEN 1 THEN 2 END"},
        {"1 BETWEEN 1 AND ", "1", ""},
        {"COUNT(*) FILTER (WHERE ", "ok", ")"},
    };
    struct test_catalog c;

    (void)state;
    catalog_init(&c);
    for (size_t i = 0; i < ARRAY_LEN(shapes) + 1; i++) {
        struct statement *s = NULL;
        struct sql_error e;
        struct buf text;
        bool is_query = i == ARRAY_LEN(shapes);
        buf_init(&text, 0);
        buf_put_str(&text, is_query ? "" : "SELECT ");
        for (int k = 0; k < 5000; k++)
            buf_put_str(&text, is_query ? "SELECT * FROM (" : shapes[i].repeat);
        buf_put_str(&text, is_query ? "SELECT * FROM bid" : shapes[i].middle);
        for (int k = 0; k < 5000; k++)
            buf_put_str(&text, is_query ? ")" : shapes[i].close);
        buf_put_str(&text, is_query ? "" : " FROM bid");
        assert_int_not_equal(sql_bind(&s, buf_bytes(&text), &c.base, &c.arena, &e), ERR_NONE);
        if (strstr(e.err.text, "levels deep") == NULL) fail_msg("shape %zu: %s", i, e.err.text);
        buf_deinit(&text);
    }
    catalog_deinit(&c);
}

static void test_limits__shared_operands_do_not_explode(void **state)
{
    struct test_catalog c;
    struct statement *s = NULL;
    struct sql_error e;
    struct buf text;

    (void)state;
    catalog_init(&c);
    buf_init(&text, 0);
    buf_put_str(&text, "SELECT ");
    for (int k = 0; k < 100; k++)
        buf_put_str(&text, "(");
    buf_put_str(&text, "ok");
    for (int k = 0; k < 100; k++)
        buf_put_str(&text, " IN (TRUE, FALSE))"); /* doubles its left side each time */
    buf_put_str(&text, " FROM bid");
    assert_int_not_equal(sql_bind(&s, buf_bytes(&text), &c.base, &c.arena, &e), ERR_NONE);
    assert_string_equal(e.err.text, "the expressions of this statement are too large: more than 100000 parts");
    buf_clear(&text);
    for (int i = 0; i < 20; i++) { /* each is allowed, together they are not */
        buf_put_str(&text, i == 0 ? "SELECT " : ", ");
        for (int k = 0; k < 12; k++)
            buf_put_str(&text, "(");
        buf_put_str(&text, "ok");
        for (int k = 0; k < 12; k++)
            buf_put_str(&text, " IN (TRUE, FALSE))");
    }
    buf_put_str(&text, " FROM bid");
    assert_int_not_equal(sql_bind(&s, buf_bytes(&text), &c.base, &c.arena, &e), ERR_NONE);
    assert_string_equal(e.err.text, "the expressions of this statement are too large: more than 100000 parts");
    buf_clear(&text);
    buf_put_str(&text, "SELECT price FROM bid WHERE FALSE");
    for (int k = 0; k < 5000; k++)
        buf_printf(&text, " OR price = %d", k); /* wide is fine */
    assert_int_equal(sql_bind(&s, buf_bytes(&text), &c.base, &c.arena, &e), ERR_NONE);
    buf_clear(&text);
    while (text.len <= LIMIT_SQL_BYTES_MAX)
        buf_put_str(&text, "SELECT price FROM bid ");
    assert_int_not_equal(sql_bind(&s, buf_bytes(&text), &c.base, &c.arena, &e), ERR_NONE);
    assert_non_null(strstr(e.err.text, "at most"));
    assert_int_equal(e.position, -1);
    buf_deinit(&text);
    catalog_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors__syntax),
        cmocka_unit_test(test_errors__names_and_types),
        cmocka_unit_test(test_errors__aggregates_and_windows),
        cmocka_unit_test(test_errors__definitions),
        cmocka_unit_test(test_render__points_at_the_place),
        cmocka_unit_test(test_limits__deep_and_large_texts_are_refused),
        cmocka_unit_test(test_limits__shared_operands_do_not_explode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
