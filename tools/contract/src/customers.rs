//! The customers, and the orders of one.

use check::{Database, Outcome, Service};
use serde_json::{Value, json};

use crate::{Format, MALFORMED_IDS, MORE_ITEMS, expect_list, expect_problem, paths_400};

/// `GET /api/customers`: a JSON array of `{id, name, address_id}`, by id.
pub async fn customers_flat(service: &Service, database: &Database) -> Outcome {
    customers(service, database, flat, Format::Array).await
}

/// `GET /api/customers`: a JSON array of
/// `{id, name, address: {flat_number, post_code}}`, by id.
pub async fn customers_nested(service: &Service, database: &Database) -> Outcome {
    customers(service, database, nested, Format::Array).await
}

/// [`customers_flat`] as one object a line, asked for by `Accept`.
pub async fn customers_flat_ndjson(service: &Service, database: &Database) -> Outcome {
    customers(service, database, flat, Format::Lines).await
}

/// [`customers_nested`] as one object a line, asked for by `Accept`.
pub async fn customers_nested_ndjson(service: &Service, database: &Database) -> Outcome {
    customers(service, database, nested, Format::Lines).await
}

/// The customer with this id and name, and the id, flat number and post code of the address.
type Row = fn(i64, &str, [i64; 3]) -> Value;

fn flat(id: i64, name: &str, [address_id, ..]: [i64; 3]) -> Value {
    json!({"id": id, "name": name, "address_id": address_id})
}

fn nested(id: i64, name: &str, [_, flat_number, post_code]: [i64; 3]) -> Value {
    let address = json!({"flat_number": flat_number, "post_code": post_code});
    json!({"id": id, "name": name, "address": address})
}

async fn customers(service: &Service, database: &Database, row: Row, format: Format) -> Outcome {
    let mut expected = vec![
        row(1, "Alex", [1, 101, 10001]),
        row(2, "Blake", [2, 201, 10002]),
        row(3, "Cam", [3, 301, 10003]),
    ];
    expect_list(service, "/api/customers", format, &expected).await?;

    // A customer's id is not that of the address and may be below 1, an address
    // may be shared, and a name may need escapes.
    database
        .execute(
            "INSERT INTO address VALUES (5, 404, 10404);
             INSERT INTO customer VALUES (8, 'Zoë \"Z\" \\ O''Neil', 5), (7, 'Dana', 1),
                                         (0, 'Finn', 2), (-5, 'Eve', 2);",
        )
        .await?;
    expected.insert(0, row(-5, "Eve", [2, 201, 10002]));
    expected.insert(1, row(0, "Finn", [2, 201, 10002]));
    expected.push(row(7, "Dana", [1, 101, 10001]));
    expected.push(row(8, "Zoë \"Z\" \\ O'Neil", [5, 404, 10404]));
    expect_list(service, "/api/customers", format, &expected).await?;

    database
        .execute(
            "DELETE FROM order_items; DELETE FROM orders;
             DELETE FROM customer; DELETE FROM address;",
        )
        .await?;
    expect_list(service, "/api/customers", format, &[]).await
}

// ---- orders of a customer

/// `GET /api/orders/{cust_id}`: `{name, description, price, total}` for each item
/// that the customer has ordered, in the order of ordering; `[]` for a customer
/// without orders, and for an unknown one.
pub async fn orders_of_customer_flat(service: &Service, database: &Database) -> Outcome {
    let row = |name: &str, description: Option<&str>, price: f64, total: f64| json!({"name": name, "description": description, "price": price, "total": total});
    let mut of_alex = vec![
        row("Kit Kat", Some("a chocolate"), 1.0, 4.0),
        row("Bread", Some("a loaf of bread"), 10.5, 21.0),
        row("Milk", Some("1L bottle of milk"), 5.0, 5.0),
    ];
    let of_cam = [
        row("Kit Kat", Some("a chocolate"), 1.0, 2.0),
        row("Onion", Some("an onion"), 2.0, 10.0),
    ];
    expect_list(service, "/api/orders/1", Format::Array, &of_alex).await?;
    expect_list(service, "/api/orders/3", Format::Array, &of_cam).await?;
    // Customer 2 has an order without items.
    expect_list(service, "/api/orders/2", Format::Array, &[]).await?;

    add_orders_of_alex(database).await?;
    of_alex.insert(0, row("Onion", Some("an onion"), 2.0, 6.0));
    of_alex.push(row("Mint", Some("a leaf of mint"), 0.2, 0.2));
    of_alex.push(row("Salt", None, 0.1, 0.7));
    expect_list(service, "/api/orders/1", Format::Array, &of_alex).await?;
    expect_list(service, "/api/orders/3", Format::Array, &of_cam).await?;
    orders_of_unknown_customer_empty(service).await?;
    paths_400(service, "/api/orders/{}", MALFORMED_IDS).await
}

/// `GET /api/orders/{cust_id}`: the customer's orders by id, each
/// `{order_id, customer: {name}, order_time, items}` with its items
/// `{name, price, quantity, total}` in the order of ordering; `[]` for a customer
/// without orders.
pub async fn orders_of_customer_nested(service: &Service, database: &Database) -> Outcome {
    let order = |id: i64, customer: &str, time: &str, items: &[Value]| {
        json!({
            "order_id": id,
            "customer": {"name": customer},
            "order_time": time,
            "items": items,
        })
    };
    let item = |name: &str, price: f64, quantity: i64, total: f64| json!({"name": name, "price": price, "quantity": quantity, "total": total});
    let items_of_alex = [
        item("Kit Kat", 1.0, 4, 4.0),
        item("Bread", 10.5, 2, 21.0),
        item("Milk", 5.0, 1, 5.0),
    ];
    let items_of_cam = [item("Kit Kat", 1.0, 2, 2.0), item("Onion", 2.0, 5, 10.0)];
    let mut of_alex = vec![order(1, "Alex", "2024-03-18 10:30:00", &items_of_alex)];
    let of_blake = [order(3, "Blake", "2024-03-25 15:00:00", &[])];
    let of_cam = [order(2, "Cam", "2024-03-20 11:00:00", &items_of_cam)];
    expect_list(service, "/api/orders/1", Format::Array, &of_alex).await?;
    expect_list(service, "/api/orders/2", Format::Array, &of_blake).await?;
    expect_list(service, "/api/orders/3", Format::Array, &of_cam).await?;

    add_orders_of_alex(database).await?;
    database
        .execute("INSERT INTO customer VALUES (4, 'Dana', 1);")
        .await?;
    let items = [item("Onion", 2.0, 3, 6.0)];
    of_alex.insert(0, order(-5, "Alex", "2024-03-02 08:00:00", &items));
    let items = [item("Mint", 0.2, 1, 0.2), item("Salt", 0.1, 7, 0.7)];
    of_alex.push(order(10, "Alex", "2024-03-01 08:00:00", &items));
    expect_list(service, "/api/orders/1", Format::Array, &of_alex).await?;
    expect_list(service, "/api/orders/3", Format::Array, &of_cam).await?;
    expect_list(service, "/api/orders/4", Format::Array, &[]).await?;
    paths_400(service, "/api/orders/{}", MALFORMED_IDS).await
}

/// One placed later than order 1, though its time is earlier, with its items not
/// by id and not by name; and one whose id is below 1.
async fn add_orders_of_alex(database: &Database) -> Outcome {
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "INSERT INTO orders (id, customer_id, order_time) VALUES (10, 1, '2024-03-01 08:00:00'),
                                       (-5, 1, '2024-03-02 08:00:00');
             INSERT INTO order_items VALUES (-5, 4, 3);
             INSERT INTO order_items VALUES (10, 12, 1);
             INSERT INTO order_items VALUES (10, 11, 7);",
        )
        .await
}

/// `GET /api/orders/{cust_id}` of an unknown customer is `[]`.
pub async fn orders_of_unknown_customer_empty(service: &Service) -> Outcome {
    expect_list(service, "/api/orders/77", Format::Array, &[]).await
}

/// `GET /api/orders/{cust_id}` of an unknown customer is 404.
pub async fn orders_of_unknown_customer_404(service: &Service) -> Outcome {
    expect_problem(&service.get("/api/orders/77").await?, 404)
}
