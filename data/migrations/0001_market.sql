-- The market: customers at addresses place orders of items.
-- Columns and units: ../README.md. STRICT makes SQLite refuse a value of the
-- wrong type instead of storing it as it came.

CREATE TABLE item (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    -- Whole cents: sums of integers are exact, sums of floats are not.
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    description TEXT
) STRICT;

CREATE TABLE address (
    id          INTEGER PRIMARY KEY,
    flat_number INTEGER NOT NULL,
    post_code   INTEGER NOT NULL
) STRICT;

CREATE TABLE customer (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    address_id INTEGER NOT NULL REFERENCES address (id)
) STRICT;

CREATE TABLE orders (
    id          INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customer (id),
    -- UTC, 'YYYY-MM-DD HH:MM:SS': text that sorts as time does.
    order_time  TEXT    NOT NULL
) STRICT;

-- An item stands in an order once. The table keeps its rowid, since the rowid
-- is the order in which the customer named the items.
CREATE TABLE order_items (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    item_id  INTEGER NOT NULL REFERENCES item (id),
    quantity INTEGER NOT NULL CHECK (quantity >= 1),
    PRIMARY KEY (order_id, item_id)
) STRICT;
