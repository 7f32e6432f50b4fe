SELECT price FROM bids
