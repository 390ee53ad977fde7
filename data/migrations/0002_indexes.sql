-- Without these, "the orders of one customer" and "the orders between two
-- dates" read every order there is. Both end in id, so that a reader can go on
-- from the last row that it has seen.
CREATE INDEX orders_by_customer ON orders (customer_id, id);
CREATE INDEX orders_by_time ON orders (order_time, id);
