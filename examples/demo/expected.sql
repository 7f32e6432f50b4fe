-- The same two results in SQLite, from the same file, in the form in which the demo compares them. DATA, WINDOWS and STRONG are file names.
CREATE TABLE lines (line TEXT);
.mode ascii
.separator "\037" "\n"
.import DATA lines
CREATE TABLE quakes AS
SELECT line ->> 'id' AS id, line ->> 'time' AS time, line ->> 'mag' AS mag, line ->> 'depth' AS depth, line ->> 'net' AS net,
       line ->> 'place' AS place
FROM lines;
.mode list
.separator "|" "\n"
.output WINDOWS
SELECT net, time / 21600000 * 21600000, COUNT(*), printf('%.3f', MAX(mag)), printf('%.3f', MIN(depth)), printf('%.9f', AVG(mag))
FROM quakes GROUP BY 1, 2 ORDER BY 1, 2;
.output STRONG
SELECT id, time, printf('%.3f', mag), printf('%.3f', depth), UPPER(net), place FROM quakes WHERE mag >= 4.5 ORDER BY 1;
