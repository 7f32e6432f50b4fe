SELECT MAX(n), MIN(window_end) FROM (SELECT auction, window_start, window_end, COUNT(*) n FROM TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY auction, window_start, window_end)
