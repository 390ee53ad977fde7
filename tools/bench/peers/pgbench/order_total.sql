-- The total of a random order.
\set id random(1, 100000)
SELECT EXISTS (SELECT 1 FROM orders WHERE orders.id = asked.id),
       (SELECT SUM(item.price_cents * order_items.quantity)::bigint
        FROM order_items
        JOIN item ON item.id = order_items.item_id
        WHERE order_items.order_id = asked.id)
FROM unnest(ARRAY[:id]::bigint[]) WITH ORDINALITY AS asked (id, key)
ORDER BY asked.key;
