SELECT * FROM bid JOIN plain ON 1=1
