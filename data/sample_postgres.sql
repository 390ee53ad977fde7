-- After the sample data, which brings its own ids: the next ones follow them.
SELECT setval(pg_get_serial_sequence('item', 'id'), max(id)) FROM item;
SELECT setval(pg_get_serial_sequence('address', 'id'), max(id)) FROM address;
SELECT setval(pg_get_serial_sequence('customer', 'id'), max(id)) FROM customer;
SELECT setval(pg_get_serial_sequence('orders', 'id'), max(id)) FROM orders;
SELECT setval(pg_get_serial_sequence('author', 'id'), max(id)) FROM author;
SELECT setval(pg_get_serial_sequence('book', 'id'), max(id)) FROM book;
