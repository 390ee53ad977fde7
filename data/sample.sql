-- The sample market. Goes only into a database that has just been created.
INSERT INTO item (id, name, price_cents, description) VALUES
    (1, 'Milk',     500, '1L bottle of milk'),
    (2, 'Kit Kat',  100, 'a chocolate'),
    (3, 'Bread',   1050, 'a loaf of bread'),
    (4, 'Onion',    200, 'an onion');

INSERT INTO address (id, flat_number, post_code) VALUES
    (1, 101, 10001),
    (2, 201, 10002),
    (3, 301, 10003);

INSERT INTO customer (id, name, address_id) VALUES
    (1, 'Alex',  1),
    (2, 'Blake', 2),
    (3, 'Cam',   3);

INSERT INTO orders (id, customer_id, order_time) VALUES
    (1, 1, '2024-03-18 10:30:00'),
    (2, 3, '2024-03-20 11:00:00'),
    (3, 2, '2024-03-25 15:00:00');

-- Order 3 has no items: its total is null, not 0.
INSERT INTO order_items (order_id, item_id, quantity) VALUES
    (1, 2, 4),
    (1, 3, 2),
    (1, 1, 1),
    (2, 2, 2),
    (2, 4, 5);
