CREATE OR REPLACE STREAM s (a INT NOT NULL, `odd ``name` VARCHAR(10) COMMENT 'x', c DOUBLE PRECISION, d TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, e AS a + 1, WATERMARK FOR d AS d - INTERVAL '0.001' SECOND, PRIMARY KEY (a) NOT ENFORCED) COMMENT 'text' WITH ('connector' = 'kafka', 'topic' = 't', 'format' = 'json', 'key.fields' = 'a;c', 'scan.startup.mode' = 'latest-offset', 'partitions' = '3');
-- comment ; 'quote
CREATE TABLE IF NOT EXISTS t (a TIMESTAMP(3) WITHOUT TIME ZONE); /* ; */ DROP TABLE t; SHOW FLOWS; SHOW TOPICS
