//! The contract of the service's HTTP interface, as checks that hold for every
//! step that has the endpoint and for `marketsvc`.
//!
//! Each check takes a service over a fresh [`Database::sample`] of its own and
//! may add rows to it, so that an answer that was only written down for the
//! sample data is found out. The service must already run over that database.
//!
//! Where the contract grew with the steps there is a check for each form:
//! - `_flat` until step 07, `_nested` from step 08 on and in `marketsvc`;
//! - [`new_order_refusals_400`] until step 05, [`new_order_refusals`] from
//!   step 06 on and in `marketsvc`;
//! - [`order_total_null_when_unknown`] in the steps,
//!   [`order_total_404_when_unknown`] in `marketsvc`.
//!
//! Prices and totals are JSON numbers and are compared exactly.

mod hostile;

use axum::http::Method;
use serde_json::{Value, json};

use self::hostile::expect_no_leak;
use check::{Database, Failure, OrFail, Outcome, Reply, Service, ensure, equal, equal_json};

pub use self::hostile::{JsonEndpoint, Surface, hostile_input};

/// `GET /` greets.
///
/// # Errors
/// What was not as it should be.
pub async fn welcome(service: &Service) -> Outcome {
    let reply = service.get("/").await?;
    reply.expect_json(200, &json!("Welcome to Marketplace!"))?;
    expect_content_type(&reply, "application/json")
}

/// In the problem for a number such as 2.0 or 1e2.
const WHOLE_NUMBER: &str = "without a point or exponent";

/// Bodies that a client gets wrong without meaning to: each of `wrong`, and
/// `good` in encodings that are not UTF-8 alone. Each answer is a 400 or 422
/// that says why: it has the words that stand beside the body, or "once" for a
/// key that is given twice.
async fn misread(
    service: &Service,
    (method, path): (Method, &str),
    good: &str,
    wrong: &[(&str, &str)],
) -> Outcome {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| good.encode_utf16().flat_map(bytes).collect();
    let little: Vec<u8> = utf16(u16::to_le_bytes);
    let big: Vec<u8> = utf16(u16::to_be_bytes);
    let mut bodies: Vec<_> = wrong
        .iter()
        .map(|(body, words)| ((*body).into(), *words))
        .collect();
    bodies.push((
        [b"\xef\xbb\xbf", good.as_bytes()].concat(),
        "byte order mark",
    ));
    bodies.push(([&b"\xff\xfe"[..], &little].concat(), "UTF-8"));
    bodies.push(([&b"\xfe\xff"[..], &big].concat(), "UTF-8"));
    bodies.push((little, "UTF-8"));
    bodies.push((big, "UTF-8"));
    for (body, words) in bodies {
        let json = [("content-type", "application/json")];
        let reply = service.send(method.clone(), path, &json, body).await?;
        let status = if reply.status == 422 { 422 } else { 400 };
        expect_problem(&reply, status)?;
        let text = reply.text();
        let once = words.starts_with('`') && text.contains("once");
        ensure(
            text.contains(words) || once,
            reply.asked(),
            format_args!("a problem that says why, with the words: {words}"),
            text,
        )?;
    }
    Ok(())
}

/// Fails unless the answer is a problem document (RFC 9457) with this status,
/// whose text gives nothing of the service's inside away.
///
/// # Errors
/// A [`Failure`] with the status, content type or member that is wrong.
pub fn expect_problem(reply: &Reply, status: u16) -> Outcome {
    reply.expect_status(status)?;
    expect_content_type(reply, "application/problem+json")?;
    let problem = reply.json()?;
    let well_formed = problem["type"].is_string()
        && problem["title"].is_string()
        && problem["detail"].is_string()
        && problem["status"] == status;
    ensure(
        well_formed,
        reply.asked(),
        format_args!("a problem: texts type, title and detail, and status {status}"),
        &problem,
    )?;
    expect_no_leak(reply.asked(), &reply.text(), None)
}

fn expect_content_type(reply: &Reply, expected: &str) -> Outcome {
    let got = reply.header("content-type").unwrap_or("none");
    // Parameters such as a charset may follow.
    let media = got.split(';').next().unwrap_or_default().trim();
    ensure(
        media.eq_ignore_ascii_case(expected),
        reply.asked(),
        format_args!("content type {expected}"),
        format_args!("content type {got}"),
    )
}

// ---- customers

/// `GET /api/customers`: a JSON array of `{id, name, address_id}`, by id.
///
/// # Errors
/// What was not as it should be.
pub async fn customers_flat(service: &Service, database: &Database) -> Outcome {
    customers(service, database, Shape::Flat, Format::Array).await
}

/// `GET /api/customers`: a JSON array of
/// `{id, name, address: {flat_number, post_code}}`, by id.
///
/// # Errors
/// What was not as it should be.
pub async fn customers_nested(service: &Service, database: &Database) -> Outcome {
    customers(service, database, Shape::Nested, Format::Array).await
}

/// [`customers_flat`] as one object a line, asked for by `Accept`.
///
/// # Errors
/// What was not as it should be.
pub async fn customers_flat_ndjson(service: &Service, database: &Database) -> Outcome {
    customers(service, database, Shape::Flat, Format::Lines).await
}

/// [`customers_nested`] as one object a line, asked for by `Accept`.
///
/// # Errors
/// What was not as it should be.
pub async fn customers_nested_ndjson(service: &Service, database: &Database) -> Outcome {
    customers(service, database, Shape::Nested, Format::Lines).await
}

#[derive(Clone, Copy)]
enum Shape {
    Flat,
    Nested,
}

#[derive(Clone, Copy)]
enum Format {
    Array,
    Lines,
}

async fn customers(
    service: &Service,
    database: &Database,
    shape: Shape,
    format: Format,
) -> Outcome {
    let row = |id: i64, name: &str, address_id: i64, flat_number: i64, post_code: i64| match shape {
        Shape::Flat => json!({"id": id, "name": name, "address_id": address_id}),
        Shape::Nested => json!({
            "id": id,
            "name": name,
            "address": {"flat_number": flat_number, "post_code": post_code},
        }),
    };
    let mut expected = vec![
        row(1, "Alex", 1, 101, 10001),
        row(2, "Blake", 2, 201, 10002),
        row(3, "Cam", 3, 301, 10003),
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
    expected.insert(0, row(-5, "Eve", 2, 201, 10002));
    expected.insert(1, row(0, "Finn", 2, 201, 10002));
    expected.push(row(7, "Dana", 1, 101, 10001));
    expected.push(row(8, "Zoë \"Z\" \\ O'Neil", 5, 404, 10404));
    expect_list(service, "/api/customers", format, &expected).await?;

    database
        .execute(
            "DELETE FROM order_items; DELETE FROM orders;
             DELETE FROM customer; DELETE FROM address;",
        )
        .await?;
    expect_list(service, "/api/customers", format, &[]).await
}

/// Fails unless `GET path` answers these rows, in this order and this format.
async fn expect_list(service: &Service, path: &str, format: Format, expected: &[Value]) -> Outcome {
    match format {
        Format::Array => {
            let reply = service.get(path).await?;
            reply.expect_json(200, &json!(expected))?;
            expect_content_type(&reply, "application/json")
        }
        Format::Lines => {
            let accept = [("accept", "application/x-ndjson")];
            let reply = service.get_with(path, &accept).await?;
            reply.expect_status(200)?;
            expect_content_type(&reply, "application/x-ndjson")?;
            let text = reply.text();
            let rows = text
                .split_terminator('\n')
                .map(|line| {
                    serde_json::from_str(line).map_err(|error| {
                        Failure::new(
                            reply.asked(),
                            "one JSON object a line",
                            format_args!("{error} in the line {line:?}"),
                        )
                    })
                })
                .collect::<Result<Vec<Value>, _>>()?;
            equal_json(reply.asked(), &json!(expected), &json!(rows))?;
            ensure(
                text.is_empty() || text.ends_with('\n'),
                reply.asked(),
                "a line feed after each line, the last one too",
                format_args!("{text:?}"),
            )
        }
    }
}

/// `GET path` has the format that `Accept` prefers (RFC 9110, 12.5.1):
/// lines for a client that wants them more than an array, else an array, also
/// for one that accepts neither. Names are case-insensitive, a range with a
/// malformed weight counts for nothing, and of the ranges that cover a format the
/// most specific one says its weight.
///
/// # Errors
/// What was not as it should be.
pub async fn format_by_accept(service: &Service, path: &str) -> Outcome {
    let lines = [
        &["application/x-ndjson"][..],
        &["Application/X-NDJSON; Q=0.5"],
        &["text/html, application/x-ndjson"],
        &["text/html", "application/x-ndjson"],
        &["text/html;x=\"a,b\", application/x-ndjson"],
        &["application/json;q=0.5, application/x-ndjson"],
        &["application/json;Q=0.5", "application/x-ndjson;q=0.501"],
        &["application/x-ndjson, */*;q=0.5"],
        &["*/*;q=0.5, application/*;q=0.2, application/x-ndjson;q=0.3"],
        // All else is as welcome as the lines, yet they are named.
        &["application/x-ndjson, */*"],
        &["*/*, application/json;q=0"],
        &["application/x-ndjson;q=0.1, application/json;q=1.5"],
        &["no range, application/x-ndjson"],
    ];
    let array = [
        &[][..],
        &[""],
        &["*/*"],
        &["application/*"],
        &["application/json"],
        &["text/html"],
        &["text/html;x=\", application/x-ndjson\""],
        &["application/json, application/x-ndjson"],
        &["application/x-ndjson, application/json"],
        &["application/x-ndjson;q=0"],
        &["application/x-ndjson;Q=0"],
        &["application/x-ndjson ; Q=0.000"],
        &["*/*, application/x-ndjson;q=0"],
        &["application/x-ndjson;q=1.5"],
        &["application/x-ndjson;q=inf"],
        &["application/x-ndjson;q=NaN"],
        &["application/x-ndjson;q=-1"],
        &["application/x-ndjson;q=much"],
        &["application/x-ndjson;q="],
        &["application/x-ndjson;q=0.1, application/json;q=0.2"],
        &["application/x-ndjson;q=0.5, */*"],
        &["application/*;q=0.9, application/x-ndjson;q=0.5"],
        &["application/x-ndjsonx"],
        &["application/x-ndjson+json"],
        &[",;q="],
    ];
    let lines = lines.map(|accept| (accept, "application/x-ndjson"));
    let array = array.map(|accept| (accept, "application/json"));
    for (accept, expected) in lines.into_iter().chain(array) {
        let headers: Vec<_> = accept.iter().map(|value| ("accept", *value)).collect();
        let reply = service.get_with(path, &headers).await?;
        reply.expect_status(200)?;
        let got = reply.header("content-type").unwrap_or("none");
        ensure(
            got == expected,
            reply.asked(),
            format_args!("content type {expected}"),
            format_args!("content type {got}"),
        )?;
    }
    Ok(())
}

// ---- orders of a customer

/// Items whose totals and order show mistakes: one without a description, two
/// whose prices do not add up as floats.
const MORE_ITEMS: &str = "INSERT INTO item (id, name, price_cents, description) VALUES
    (11, 'Salt', 10, NULL), (12, 'Mint', 20, 'a leaf of mint'), (13, 'Clove', 1, 'a clove');";

/// `GET /api/orders/{cust_id}`: `{name, description, price, total}` for each item
/// that the customer has ordered, in the order of ordering; `[]` for a customer
/// without orders, and for an unknown one.
///
/// # Errors
/// What was not as it should be.
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
    malformed_ids_400(service, "/api/orders/").await
}

/// `GET /api/orders/{cust_id}`: the customer's orders by id, each
/// `{order_id, customer: {name}, order_time, items}` with its items
/// `{name, price, quantity, total}` in the order of ordering; `[]` for a customer
/// without orders.
///
/// # Errors
/// What was not as it should be.
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
    malformed_ids_400(service, "/api/orders/").await
}

/// One placed later than order 1, though its time is earlier, with its items not
/// by id and not by name; and one whose id is below 1.
async fn add_orders_of_alex(database: &Database) -> Outcome {
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "INSERT INTO orders VALUES (10, 1, '2024-03-01 08:00:00'),
                                       (-5, 1, '2024-03-02 08:00:00');
             INSERT INTO order_items VALUES (-5, 4, 3);
             INSERT INTO order_items VALUES (10, 12, 1);
             INSERT INTO order_items VALUES (10, 11, 7);",
        )
        .await
}

/// `GET /api/orders/{cust_id}` of an unknown customer is `[]`.
///
/// # Errors
/// What was not as it should be.
pub async fn orders_of_unknown_customer_empty(service: &Service) -> Outcome {
    expect_list(service, "/api/orders/77", Format::Array, &[]).await
}

/// `GET /api/orders/{cust_id}` of an unknown customer is 404.
///
/// # Errors
/// What was not as it should be.
pub async fn orders_of_unknown_customer_404(service: &Service) -> Outcome {
    expect_problem(&service.get("/api/orders/77").await?, 404)
}

// ---- totals

/// `GET /api/order_total/{order_id}`: `{"Order Total": 30}`, exact to the cent;
/// `null` for an order without items; 400 for what is no id.
///
/// # Errors
/// What was not as it should be.
pub async fn order_total(service: &Service, database: &Database) -> Outcome {
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "INSERT INTO orders VALUES (10, 2, '2024-03-26 12:00:00');
             INSERT INTO order_items VALUES (10, 11, 1), (10, 12, 1);",
        )
        .await?;
    // 0.1 + 0.2 is not 0.3 in floats.
    for (order, total) in [(1, Some(30.0)), (2, Some(12.0)), (3, None), (10, Some(0.3))] {
        let reply = service.get(&format!("/api/order_total/{order}")).await?;
        reply.expect_json(200, &json!({ "Order Total": total }))?;
        expect_content_type(&reply, "application/json")?;
    }
    malformed_ids_400(service, "/api/order_total/").await
}

/// `GET /api/order_total/{order_id}` of an unknown order is
/// `{"Order Total": null}`.
///
/// # Errors
/// What was not as it should be.
pub async fn order_total_null_when_unknown(service: &Service) -> Outcome {
    let reply = service.get("/api/order_total/77").await?;
    reply.expect_json(200, &json!({ "Order Total": null }))
}

/// `GET /api/order_total/{order_id}` of an unknown order is 404.
///
/// # Errors
/// What was not as it should be.
pub async fn order_total_404_when_unknown(service: &Service) -> Outcome {
    expect_problem(&service.get("/api/order_total/77").await?, 404)
}

/// What is no whole number of 64 bits after `path` is 400.
async fn malformed_ids_400(service: &Service, path: &str) -> Outcome {
    for id in ["abc", "1.5", "1x", "9223372036854775808"] {
        expect_problem(&service.get(&format!("{path}{id}")).await?, 400)?;
    }
    Ok(())
}

/// `GET /api/orders_total`, asked by `?orders=1,2` and by `{"orders":[1,2]}`: a
/// total for each id in the order asked, `null` where an order is unknown or
/// empty, an id asked twice answered twice; 1,000 ids are answered, more are 400,
/// as is everything that is no list of ids.
///
/// # Errors
/// What was not as it should be.
pub async fn orders_total(service: &Service, database: &Database) -> Outcome {
    const PATH: &str = "/api/orders_total";

    let ask = [
        (vec![1, 2, 3], json!([30.0, 12.0, null])),
        (vec![3, 2, 77, 1], json!([null, 12.0, null, 30.0])),
        (vec![2, 1, 2, 2, 1], json!([12.0, 30.0, 12.0, 12.0, 30.0])),
        (vec![2], json!([12.0])),
    ];
    for (ids, expected) in &ask {
        expect_totals(service, ids, expected).await?;
    }

    // Many different totals, asked in neither the order of their ids nor its
    // reverse: who answers as the queries end does not get them right by chance.
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
             INSERT INTO orders SELECT 100 + i, 1 + i % 3, '2024-03-27 12:00:00' FROM n;
             INSERT INTO order_items SELECT id, 13, id - 100 FROM orders WHERE id > 100;",
        )
        .await?;
    let shuffled: Vec<i64> = (1..=40).map(|i| 100 + i * 17 % 41).collect();
    let totals = shuffled.iter().map(|id| {
        // Small whole numbers of cents.
        f64::from(i32::try_from(id - 100).unwrap_or_default()) / 100.0
    });
    let totals: Value = totals.collect();
    expect_totals(service, &shuffled, &totals).await?;

    let many: Vec<i64> = (0..1000).map(|i| 1 + i % 3).collect();
    let totals: Value = (0..1000)
        .map(|i| [json!(30.0), json!(12.0), Value::Null][i % 3].clone())
        .collect();
    expect_totals(service, &many, &totals).await?;
    let too_many: Vec<i64> = (0..1001).map(|i| 1 + i % 3).collect();
    expect_problem(&service.get(&totals_query(&too_many)).await?, 400)?;
    let body = json!({ "orders": too_many });
    expect_problem(&service.get_json_body(PATH, &body).await?, 400)?;

    for query in [
        "orders=1,x",
        "orders=1,,2",
        "orders=1.5",
        "orders=9223372036854775808",
        "orders=1&orders=2",
    ] {
        expect_problem(&service.get(&format!("{PATH}?{query}")).await?, 400)?;
    }
    for body in [
        json!({"orders": "1"}),
        json!({"orders": [1, "x"]}),
        json!({}),
    ] {
        expect_problem(&service.get_json_body(PATH, &body).await?, 400)?;
    }
    misread(
        service,
        (Method::GET, PATH),
        r#"{"orders":[1]}"#,
        &[
            (r#"{"orders":[1],"orders":[2]}"#, "`orders`"),
            (r#"{"orders":[1.0]}"#, WHOLE_NUMBER),
            (r#"{"orders":[1e0]}"#, WHOLE_NUMBER),
        ],
    )
    .await?;
    // Neither a query nor a body.
    expect_problem(&service.get(PATH).await?, 400)
}

fn totals_query(ids: &[i64]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("/api/orders_total?orders={}", ids.join(","))
}

async fn expect_totals(service: &Service, ids: &[i64], expected: &Value) -> Outcome {
    let reply = service.get(&totals_query(ids)).await?;
    reply.expect_json(200, expected)?;
    let body = json!({ "orders": ids });
    let reply = service.get_json_body("/api/orders_total", &body).await?;
    reply.expect_json(200, expected)
}

// ---- orders between dates

/// `GET /api/orders_between_dates/{before}/{after}`: `{customer, name, price,
/// total}` for each item ordered between the two, both included, by time, then
/// order, then as the customer named the items. The later date comes first; the
/// other way round is `[]`. A date without a time is its midnight; everything
/// else is 400.
///
/// # Errors
/// What was not as it should be.
pub async fn orders_between_dates(service: &Service, database: &Database) -> Outcome {
    between_dates(service, database, Format::Array).await?;

    for malformed in [
        "yesterday",
        "2024-3-1",
        "2024-13-01",
        "2024-02-30",
        "2024-03-18T10:30:00",
        "2024-03-18%2010:30",
        "2024-03-18%2025:00:00",
        "2024-03-18%2010:30:00Z",
        "%202024-03-18",
        "1710757800",
    ] {
        for path in [
            format!("/api/orders_between_dates/{malformed}/2024-03-17"),
            format!("/api/orders_between_dates/2024-03-22/{malformed}"),
        ] {
            expect_problem(&service.get(&path).await?, 400)?;
        }
    }
    Ok(())
}

/// The rows of [`orders_between_dates`] as one object a line, asked for by
/// `Accept`.
///
/// # Errors
/// What was not as it should be.
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
            "INSERT INTO orders VALUES (10, 2, '2024-03-19 09:00:00'),
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
///
/// # Errors
/// What was not as it should be.
pub async fn new_order_stored(service: &Service, database: &Database) -> Outcome {
    // Customer 2 first: who stores every order under customer 1 is found out.
    place_order(service, database, 2, &[(4, 3), (1, 2)], 16.0).await?;
    place_order(service, database, 3, &[(3, 1)], 10.5).await?;
    place_order(service, database, 1, &[(2, 4), (3, 6)], 67.0).await?;

    let body = r#"{"customer_id":1,"items":[{"id":2,"quantity":4}]}"#;
    let kind = "Application/JSON; Charset=UTF-8";
    let reply = service.post(NEW_ORDER, kind, body).await?;
    let status = reply.status;
    ensure(
        status == 201,
        format_args!("{} with the content type {kind}", reply.asked()),
        "status 201",
        format_args!("status {status}: {}", reply.text()),
    )
}

async fn place_order(
    service: &Service,
    database: &Database,
    customer: i64,
    items: &[(i64, i64)],
    total: f64,
) -> Outcome {
    let wire_items: Value = items
        .iter()
        .map(|(id, quantity)| json!({"id": id, "quantity": quantity}))
        .collect();
    let body = json!({"customer_id": customer, "items": wire_items});
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
    let location = reply.header("location").unwrap_or("none").to_owned();
    ensure(
        location == format!("/api/order_total/{id}"),
        reply.asked(),
        format_args!("the header Location: /api/order_total/{id}"),
        format_args!("{location}, with the body {answer}"),
    )?;

    let asked = |what: &str| format!("{}\nthen {what}", reply.asked());
    let latest: String = database.one("SELECT datetime('now', '+2 seconds')").await?;
    let stored: String = database
        .one(&format!(
            "SELECT json_group_array(json_object('id', id, 'customer_id', customer_id))
             FROM orders WHERE id > {highest}"
        ))
        .await?;
    let stored: Value = serde_json::from_str(&stored).or_fail("the new rows of `orders`")?;
    let expected = json!([{"id": id, "customer_id": customer}]);
    equal_json(asked("the new rows of `orders`"), &expected, &stored)?;

    let time: String = database
        .one(&format!("SELECT order_time FROM orders WHERE id = {id}"))
        .await?;
    // Text of this form sorts as time does.
    ensure(
        time.len() == earliest.len() && earliest <= time && time <= latest,
        asked("its order_time"),
        format_args!("now in UTC, YYYY-MM-DD HH:MM:SS: from {earliest} to {latest}"),
        &time,
    )?;

    let lines: String = database
        .one(&format!(
            "SELECT json_group_array(json_array(item_id, quantity) ORDER BY rowid)
             FROM order_items WHERE order_id = {id}"
        ))
        .await?;
    let lines: Value = serde_json::from_str(&lines).or_fail("the new rows of `order_items`")?;
    equal_json(
        asked("its rows of `order_items`: [item_id, quantity] as they were inserted"),
        &json!(items),
        &lines,
    )?;

    let changes = before.difference(&database.snapshot().await?);
    let gone = changes.lines().filter(|line| line.starts_with("gone"));
    let gone: Vec<_> = gone.collect();
    ensure(
        gone.is_empty() && changes.lines().count() == 1 + items.len(),
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
///
/// # Errors
/// What was not as it should be.
pub async fn new_order_refusals(service: &Service, database: &Database) -> Outcome {
    let good = json!({"id": 2, "quantity": 4});
    let item = |id: i64, quantity: i64| json!({"id": id, "quantity": quantity});
    let cases = [
        (json!({"customer_id": 77, "items": [good]}), "customer_id"),
        (
            json!({"customer_id": 2, "items": [good, item(2222, 1)]}),
            "items[1].id",
        ),
        (
            json!({"customer_id": 2, "items": [item(2222, 1), good]}),
            "items[0].id",
        ),
        (json!({"customer_id": 2, "items": []}), "items"),
        (
            json!({"customer_id": 2, "items": [item(1, 0)]}),
            "items[0].quantity",
        ),
        (
            json!({"customer_id": 2, "items": [good, item(1, -4)]}),
            "items[1].quantity",
        ),
        (
            json!({"customer_id": 2, "items": [good, item(3, 1), good]}),
            "items[2].id",
        ),
    ];
    for (body, field) in cases {
        let before = database.snapshot().await?;
        let reply = service.post_json(NEW_ORDER, &body).await?;
        // First, since a half-stored order is worse than a wrong status.
        database.expect_unchanged(reply.asked(), &before).await?;
        expect_problem(&reply, 422)?;
        let problem = reply.json()?;
        let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
        let fields: Vec<_> = errors
            .iter()
            .map(|error| error["field"].as_str().unwrap_or_default())
            .collect();
        ensure(
            fields == [field] && errors[0]["detail"].is_string(),
            reply.asked(),
            format_args!("\"errors\": [{{\"field\": \"{field}\", \"detail\": \"…\"}}]"),
            &problem,
        )?;
    }
    malformed_orders(service, database).await
}

/// `POST /api/add_new_order` before transactions are known: an unknown customer or
/// item, a quantity below 1, an item named twice, and malformed JSON are 400. An
/// order may stay behind without items; items do not, and without a customer
/// nothing does.
///
/// # Errors
/// What was not as it should be.
pub async fn new_order_refusals_400(service: &Service, database: &Database) -> Outcome {
    let good = json!({"id": 2, "quantity": 4});
    let item = |id: i64, quantity: i64| json!({"id": id, "quantity": quantity});
    let before = database.snapshot().await?;
    let body = json!({"customer_id": 77, "items": [good]});
    let reply = service.post_json(NEW_ORDER, &body).await?;
    database.expect_unchanged(reply.asked(), &before).await?;
    expect_problem(&reply, 400)?;

    for items in [
        [&good, &item(2222, 1)],
        [&good, &item(1, 0)],
        [&good, &item(1, -4)],
        [&good, &good],
    ] {
        let before = database.snapshot().await?;
        let body = json!({"customer_id": 2, "items": items});
        let reply = service.post_json(NEW_ORDER, &body).await?;
        expect_problem(&reply, 400)?;
        let changes = before.difference(&database.snapshot().await?);
        let allowed = |line: &str| line.starts_with("new in orders:");
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
    for body in [
        "",
        "not JSON",
        "{\"customer_id\": 2, \"items\": [{\"id\": 2, \"quantity\": 4}",
        "{\"customer_id\": 2, \"items\": [{\"id\": 2, \"quantity\": 4}]}}",
    ] {
        let reply = service.post(NEW_ORDER, "application/json", body).await?;
        expect_problem(&reply, 400)?;
        database.expect_unchanged(reply.asked(), &before).await?;
    }
    // JSON, yet no order: a service may call it malformed or refuse the field.
    for body in [
        json!({"items": [{"id": 2, "quantity": 4}]}),
        json!({"customer_id": 2}),
        json!({"customer_id": "2", "items": [{"id": 2, "quantity": 4}]}),
        json!({"customer_id": 2, "items": [{"id": 2, "quantity": 1.5}]}),
        json!({"customer_id": 2, "items": {"id": 2, "quantity": 4}}),
    ] {
        let reply = service.post_json(NEW_ORDER, &body).await?;
        let status = if reply.status == 422 { 422 } else { 400 };
        expect_problem(&reply, status)?;
        database.expect_unchanged(reply.asked(), &before).await?;
    }

    let good = r#"{"customer_id":2,"items":[{"id":2,"quantity":4}]}"#;
    misread(
        service,
        (Method::POST, NEW_ORDER),
        good,
        &[
            (
                r#"{"customer_id":1,"customer_id":2,"items":[{"id":2,"quantity":4}]}"#,
                "`customer_id`",
            ),
            (
                r#"{"customer_id":2,"items":[{"id":3,"quantity":4}],"items":[{"id":2,"quantity":4}]}"#,
                "`items`",
            ),
            (
                r#"{"customer_id":2,"items":[{"id":3,"id":2,"quantity":4}]}"#,
                "`id`",
            ),
            (
                r#"{"customer_id":2,"items":[{"id":2,"quantity":1,"quantity":9}]}"#,
                "`quantity`",
            ),
            (
                r#"{"customer_id":2.0,"items":[{"id":2,"quantity":4}]}"#,
                WHOLE_NUMBER,
            ),
            (
                r#"{"customer_id":2,"items":[{"id":2,"quantity":1e2}]}"#,
                WHOLE_NUMBER,
            ),
            (
                r#"{"customer_id":2,"items":[{"id":2E0,"quantity":4}]}"#,
                WHOLE_NUMBER,
            ),
            // Python's writer makes these; they are not JSON.
            (r#"{"customer_id":NaN,"items":[{"id":2,"quantity":4}]}"#, "JSON"),
            (
                r#"{"customer_id":2,"items":[{"id":2,"quantity":Infinity}]}"#,
                "JSON",
            ),
        ],
    )
    .await?;
    database
        .expect_unchanged("the bodies before, then all rows", &before)
        .await?;

    // A body that is an order, but is not said to be JSON.
    let reply = service.post(NEW_ORDER, "text/plain", good).await?;
    let status = if reply.status == 415 { 415 } else { 400 };
    expect_problem(&reply, status)?;
    ensure(
        reply.text().contains("application/json"),
        format_args!("{} with the content type text/plain", reply.asked()),
        "a problem that names application/json",
        reply.text(),
    )?;
    database.expect_unchanged(reply.asked(), &before).await
}

/// `POST /api/add_new_order` with a quantity whose total leaves the range of an
/// integer is 422, and nothing is stored: otherwise no total of this order could
/// ever be answered.
///
/// # Errors
/// What was not as it should be.
pub async fn new_order_overflow_422(service: &Service, database: &Database) -> Outcome {
    let before = database.snapshot().await?;
    let body = json!({"customer_id": 2, "items": [{"id": 1, "quantity": i64::MAX}]});
    let reply = service.post_json(NEW_ORDER, &body).await?;
    database.expect_unchanged(reply.asked(), &before).await?;
    expect_problem(&reply, 422)?;
    let problem = reply.json()?;
    equal(
        reply.asked(),
        "items[0].quantity",
        problem["errors"][0]["field"].as_str().unwrap_or("no field"),
    )
}
