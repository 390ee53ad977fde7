-- A client that does not know whether its order was stored sends it again with the same
-- key. The index makes sure that the database has it once; orders without a key are not in
-- the index.
ALTER TABLE orders ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX orders_by_key ON orders (idempotency_key)
    WHERE idempotency_key IS NOT NULL;
