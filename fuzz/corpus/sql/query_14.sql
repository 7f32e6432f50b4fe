SELECT price + 1, price+1+2 FROM bid GROUP BY price + 1
