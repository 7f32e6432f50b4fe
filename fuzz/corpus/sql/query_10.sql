WITH w AS (SELECT auction, price FROM bid), v AS (SELECT * FROM w WHERE price > 2) SELECT SUM(price) FROM v
