SELECT 'a' + 1 FROM bid
