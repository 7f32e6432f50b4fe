SELECT auction, price * 2 AS p FROM bid WHERE price > 100 AND channel LIKE 'a%'
