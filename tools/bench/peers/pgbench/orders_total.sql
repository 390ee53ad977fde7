-- The totals of ten random orders.
\set a random(1, 100000)
\set b random(1, 100000)
\set c random(1, 100000)
\set d random(1, 100000)
\set e random(1, 100000)
\set f random(1, 100000)
\set g random(1, 100000)
\set h random(1, 100000)
\set i random(1, 100000)
\set j random(1, 100000)
SELECT EXISTS (SELECT 1 FROM orders WHERE orders.id = asked.id),
       (SELECT SUM(item.price_cents * order_items.quantity)::bigint
        FROM order_items
        JOIN item ON item.id = order_items.item_id
        WHERE order_items.order_id = asked.id)
FROM unnest(ARRAY[:a, :b, :c, :d, :e, :f, :g, :h, :i, :j]::bigint[]) WITH ORDINALITY AS asked (id, key)
ORDER BY asked.key;
