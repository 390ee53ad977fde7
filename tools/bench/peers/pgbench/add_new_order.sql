-- A new order of two items.
\set customer random(1, 10000)
BEGIN;
INSERT INTO orders (customer_id, idempotency_key) VALUES (:customer, NULL)
ON CONFLICT (idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING id AS order \gset
INSERT INTO order_items (order_id, item_id, quantity)
SELECT :order, item.id, new.quantity
FROM unnest(
    ARRAY[1 + :customer % 2, 3 + :customer % 2]::bigint[],
    ARRAY[1 + :customer % 9, 1 + :customer % 7]::bigint[]
) WITH ORDINALITY AS new (id, quantity, key)
JOIN item ON item.id = new.id
ORDER BY new.key;
COMMIT;
