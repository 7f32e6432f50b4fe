SELECT price, COUNT(*) FROM bid
