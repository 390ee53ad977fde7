-- All that a line is made of, in the order of the orders: what an order costs is
-- read from here alone, and not for each of its lines from another place in the
-- table as well.
CREATE INDEX order_items_by_order ON order_items (order_id, item_id, quantity);
