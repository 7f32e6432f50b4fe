SELECT pric FROM bid
