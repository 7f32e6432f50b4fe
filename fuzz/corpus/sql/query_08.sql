SELECT a FROM (SELECT auction a, price / 0 b, cents FROM bid)
