CREATE STREAM quakes (
    id STRING, `time` BIGINT, mag DOUBLE, depth DOUBLE, net STRING, place STRING,
    happened AS TO_TIMESTAMP_LTZ(`time`, 3),
    WATERMARK FOR happened AS happened - INTERVAL '10' MINUTE
) WITH ('topic' = 'quakes', 'format' = 'json', 'scan.watermark.idle-timeout' = '4 s');

-- How many and how strong, for each network in windows of six hours.
CREATE STREAM quakes_6h WITH ('topic' = 'quakes_6h', 'format' = 'json') AS
SELECT net, window_start, COUNT(*) AS n, MAX(mag) AS strongest, MIN(depth) AS shallowest, AVG(mag) AS mean
FROM TABLE(TUMBLE(TABLE quakes, DESCRIPTOR(happened), INTERVAL '6' HOUR))
GROUP BY net, window_start, window_end
EMIT FINAL;

-- The strong ones.
CREATE STREAM strong_quakes WITH ('topic' = 'strong_quakes', 'format' = 'json') AS
SELECT id, happened, mag, depth, UPPER(net) AS net, place
FROM quakes
WHERE mag >= 4.5;
