//! Orders between two dates, and a new order.

use check::{Database, Failure, Outcome, Service, ensure, equal_json, parse_json};
use serde_json::{Value, json};

use crate::{
    Format, WHOLE_NUMBER, expect_400_or, expect_content_type, expect_field, expect_list,
    expect_location, expect_problem, misread, paths_400,
};

// ---- orders between dates

/// `GET /api/orders_between_dates/{before}/{after}`: `{customer, name, price,
/// total}` for each item ordered between the two, both included, by time, then
/// order, then as the customer named the items. The later date comes first; the
/// other way round is `[]`. A date without a time is its midnight; everything
/// else is 400.
pub async fn orders_between_dates(service: &Service, database: &Database) -> Outcome {
    between_dates(service, database, Format::Array).await?;
    let malformed = "yesterday 2024-3-1 2024-13-01 2024-02-30 2024-03-18T10:30:00
        2024-03-18%2010:30 2024-03-18%2025:00:00 2024-03-18%2010:30:00Z %202024-03-18 1710757800";
    for path in ["{}/2024-03-17", "2024-03-22/{}"] {
        let path = format!("/api/orders_between_dates/{path}");
        paths_400(service, &path, malformed).await?;
    }
    Ok(())
}

/// The rows of [`orders_between_dates`] as one object a line, asked for by
/// `Accept`.
pub async fn orders_between_dates_ndjson(service: &Service, database: &Database) -> Outcome {
    between_dates(service, database, Format::Lines).await
}

async fn between_dates(service: &Service, database: &Database, format: Format) -> Outcome {
    let row = |customer: &str, name: &str, price: f64, total: f64| json!({"customer": customer, "name": name, "price": price, "total": total});
    let of_alex = [
        row("Alex", "Kit Kat", 1.0, 4.0),
        row("Alex", "Bread", 10.5, 21.0),
        row("Alex", "Milk", 5.0, 5.0),
    ];
    let of_cam = [
        row("Cam", "Kit Kat", 1.0, 2.0),
        row("Cam", "Onion", 2.0, 10.0),
    ];
    let both = [&of_alex[..], &of_cam].concat();
    for (dates, expected) in [
        ("2024-03-22/2024-03-17", &both[..]),
        // Both ends belong to it.
        ("2024-03-20%2011:00:00/2024-03-18%2010:30:00", &both),
        ("2024-03-20%2011:00:00/2024-03-18%2010:30:01", &of_cam),
        ("2024-03-20%2010:59:59/2024-03-18%2010:30:00", &of_alex),
        ("2024-03-20%2010:59:59/2024-03-18%2010:30:01", &[]),
        // A date is its midnight: order 2 is from 11:00 of that day.
        ("2024-03-20/2024-03-18", &of_alex),
        ("2024-03-21/2024-03-18%2010:30:00", &both),
        // The other way round.
        ("2024-03-17/2024-03-22", &[]),
        // An order without items has no rows.
        ("2024-03-26/2024-03-25", &[]),
    ] {
        let path = format!("/api/orders_between_dates/{dates}");
        expect_list(service, &path, format, expected).await?;
    }

    // A later order with an earlier time, one of the same second as order 2 with
    // its items neither by id nor by name, and one whose id is below 1.
    database
        .execute(
            "INSERT INTO orders (id, customer_id, order_time) VALUES (10, 2, '2024-03-19 09:00:00'),
                                       (11, 2, '2024-03-20 11:00:00'),
                                       (-5, 2, '2024-03-18 10:30:00');
             INSERT INTO order_items VALUES (-5, 3, 2);
             INSERT INTO order_items VALUES (11, 4, 1);
             INSERT INTO order_items VALUES (11, 1, 2);
             INSERT INTO order_items VALUES (11, 2, 1);
             INSERT INTO order_items VALUES (10, 3, 1);",
        )
        .await?;
    let of_blake = [
        row("Blake", "Onion", 2.0, 2.0),
        row("Blake", "Milk", 5.0, 10.0),
        row("Blake", "Kit Kat", 1.0, 1.0),
    ];
    let earlier = [row("Blake", "Bread", 10.5, 10.5)];
    let first = [row("Blake", "Bread", 10.5, 21.0)];
    let all = [&first[..], &of_alex, &earlier, &of_cam, &of_blake].concat();
    // The first time is that of the two first orders.
    for after in ["2024-03-17", "2024-03-18%2010:30:00"] {
        let path = format!("/api/orders_between_dates/2024-03-22/{after}");
        expect_list(service, &path, format, &all).await?;
    }
    Ok(())
}

// ---- a new order

const NEW_ORDER: &str = "/api/add_new_order";

/// `POST /api/add_new_order`: 201, `{"order_id": n}` and where to find it; the
/// order is stored once, under its customer and not another, at this moment, with
/// its items as they were named.
pub async fn new_order_stored(service: &Service, database: &Database) -> Outcome {
    // Customer 2 first: who stores every order under customer 1 is found out.
    place_order(service, database, 2, &[(4, 3), (1, 2)], 16.0).await?;
    place_order(service, database, 3, &[(3, 1)], 10.5).await?;
    place_order(service, database, 1, &[(2, 4), (3, 6)], 67.0).await?;

    let body = r#"{"customer_id":1,"items":[{"id":2,"quantity":4}]}"#;
    let kind = "Application/JSON; Charset=UTF-8";
    let reply = service.post(NEW_ORDER, kind, body).await?;
    reply.expect_status(201).map(drop)
}

async fn place_order(
    service: &Service,
    database: &Database,
    customer: i64,
    items: &[(i64, i64)],
    total: f64,
) -> Outcome {
    let lines: Value = items.iter().map(|item| line(item.0, item.1)).collect();
    let body = json!({"customer_id": customer, "items": lines});
    let before = database.snapshot().await?;
    let highest: i64 = database.one("SELECT max(id) FROM orders").await?;
    let earliest: String = database.one("SELECT datetime('now', '-2 seconds')").await?;

    let reply = service.post_json(NEW_ORDER, &body).await?;
    reply.expect_status(201)?;
    expect_content_type(&reply, "application/json")?;
    let answer = reply.json()?;
    let id = answer["order_id"].as_i64();
    let id = id.filter(|id| answer == json!({ "order_id": id }));
    let id =
        id.ok_or_else(|| Failure::new(reply.asked(), "{\"order_id\": the order's id}", &answer))?;
    let location = format!("/api/order_total/{id}");
    expect_location(&reply, &location)?;

    let asked = |what: &str| format!("{}\nthen {what}", reply.asked());
    let stored: String = database
        .one(&format!(
            "SELECT json_object(
                 'orders', json((SELECT json_group_array(json_array(id, customer_id))
                                 FROM orders WHERE id > {highest})),
                 'items', json((SELECT json_group_array(json_array(item_id, quantity) ORDER BY rowid)
                                FROM order_items WHERE order_id = {id})),
                 'time', (SELECT order_time FROM orders WHERE id = {id}),
                 'latest', datetime('now', '+2 seconds'))"
        ))
        .await?;
    let stored = parse_json("what is stored", stored.as_bytes())?;
    equal_json(
        asked("the new rows of `orders`: [id, customer_id]"),
        &json!([[id, customer]]),
        &stored["orders"],
    )?;
    let time = stored["time"].as_str().unwrap_or_default();
    let latest = stored["latest"].as_str().unwrap_or_default();
    // Text of this form sorts as time does.
    ensure(
        time.len() == earliest.len() && *earliest <= *time && time <= latest,
        asked("its order_time"),
        format_args!("now in UTC, YYYY-MM-DD HH:MM:SS: from {earliest} to {latest}"),
        time,
    )?;
    equal_json(
        asked("its rows of `order_items`: [item_id, quantity] as they were inserted"),
        &json!(items),
        &stored["items"],
    )?;

    let changes = before.difference(&database.snapshot().await?);
    let new = changes.lines().filter(|line| line.starts_with("new"));
    ensure(
        new.count() == 1 + items.len() && !changes.contains("gone from"),
        asked("what is new in the database"),
        format_args!("1 order and {} items, and nothing gone", items.len()),
        &changes,
    )?;

    let reply = service.get(&location).await?;
    reply.expect_json(200, &json!({ "Order Total": total }))
}

/// `POST /api/add_new_order` refuses with a 422 that names the field: an unknown
/// customer, an unknown item, no items, a quantity below 1, an item named twice.
/// Malformed JSON is 400. After each nothing is stored.
pub async fn new_order_refusals(service: &Service, database: &Database) -> Outcome {
    let good = line(2, 4);
    for (customer, items, field) in [
        (77, json!([good]), "customer_id"),
        (2, json!([good, line(2222, 1)]), "items[1].id"),
        (2, json!([line(2222, 1), good]), "items[0].id"),
        (2, json!([]), "items"),
        (2, json!([line(1, 0)]), "items[0].quantity"),
        (2, json!([good, line(1, -4)]), "items[1].quantity"),
        (2, json!([good, line(3, 1), good]), "items[2].id"),
    ] {
        let body = json!({"customer_id": customer, "items": items});
        refused(service, database, &body, field).await?;
    }
    malformed_orders(service, database).await
}

fn line(id: i64, quantity: i64) -> Value {
    json!({"id": id, "quantity": quantity})
}

/// The order is a 422 that names this one field, and nothing is stored.
async fn refused(service: &Service, database: &Database, body: &Value, field: &str) -> Outcome {
    let before = database.snapshot().await?;
    let reply = service.post_json(NEW_ORDER, body).await?;
    // First, since a half-stored order is worse than a wrong status.
    database.expect_unchanged(reply.asked(), &before).await?;
    expect_field(&reply, 422, field)
}

/// `POST /api/add_new_order` before transactions are known: an unknown customer or
/// item, a quantity below 1, an item named twice, and malformed JSON are 400. An
/// order may stay behind without items; items do not, and without a customer
/// nothing does.
pub async fn new_order_refusals_400(service: &Service, database: &Database) -> Outcome {
    let good = line(2, 4);
    for (customer, items) in [
        (77, json!([good])),
        (2, json!([good, line(2222, 1)])),
        (2, json!([good, line(1, 0)])),
        (2, json!([good, line(1, -4)])),
        (2, json!([good, good])),
    ] {
        let before = database.snapshot().await?;
        let body = json!({"customer_id": customer, "items": items});
        let reply = service.post_json(NEW_ORDER, &body).await?;
        expect_problem(&reply, 400)?;
        let changes = before.difference(&database.snapshot().await?);
        let allowed = |line: &str| customer == 2 && line.starts_with("new in orders:");
        ensure(
            changes.lines().all(allowed),
            reply.asked(),
            "no items stored, and nothing gone",
            &changes,
        )?;
    }
    malformed_orders(service, database).await
}

async fn malformed_orders(service: &Service, database: &Database) -> Outcome {
    let before = database.snapshot().await?;
    // JSON, yet no order: a service may call it malformed or refuse the field.
    for body in [
        json!({"items": [line(2, 4)]}),
        json!({"customer_id": 2}),
        json!({"customer_id": "2", "items": [line(2, 4)]}),
        json!({"customer_id": 2, "items": [{"id": 2, "quantity": 1.5}]}),
        json!({"customer_id": 2, "items": line(2, 4)}),
    ] {
        let reply = service.post_json(NEW_ORDER, &body).await?;
        expect_400_or(422, &reply, "")?;
    }
    let order = |customer, items| format!(r#"{{"customer_id":{customer},"items":[{items}]}}"#);
    let item = r#"{"id":2,"quantity":4}"#;
    let good = order("2", item);
    let two = |second: &str| format!("{},{second}", &good[..good.len() - 1]);
    let wrong = [
        (two(r#""customer_id":1}"#), "`customer_id`"),
        (two(r#""items":[{"id":3,"quantity":4}]}"#), "`items`"),
        (order("2", r#"{"id":3,"id":2,"quantity":4}"#), "`id`"),
        (
            order("2", r#"{"id":2,"quantity":1,"quantity":9}"#),
            "`quantity`",
        ),
        (order("2.0", item), WHOLE_NUMBER),
        (order("2", r#"{"id":2,"quantity":1e2}"#), WHOLE_NUMBER),
        (order("2", r#"{"id":2E0,"quantity":4}"#), WHOLE_NUMBER),
        // Python's writer makes these; they are not JSON.
        (order("NaN", item), "JSON"),
        (order("2", r#"{"id":2,"quantity":Infinity}"#), "JSON"),
    ];
    misread(service, &format!("POST {NEW_ORDER}"), &good, &wrong).await?;
    let asked = "malformed orders, then all rows";
    database.expect_unchanged(asked, &before).await
}

/// `POST /api/add_new_order` with a quantity whose total leaves the range of an
/// integer is 422, and nothing is stored: otherwise no total of this order could
/// ever be answered.
pub async fn new_order_overflow_422(service: &Service, database: &Database) -> Outcome {
    let body = json!({"customer_id": 2, "items": [{"id": 1, "quantity": i64::MAX}]});
    refused(service, database, &body, "items[0].quantity").await
}
