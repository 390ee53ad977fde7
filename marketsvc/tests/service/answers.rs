//! What the endpoints answer, beyond what every step answers as well.

use axum::http::Method;
use check::{Database, Failure, OrFail, Outcome, equal, equal_json};
use contract::expect_problem;
use marketsvc::Limits;
use serde_json::{Value, json};

use crate::common::Market;

#[tokio::test]
async fn errors_are_problems() -> Outcome {
    let market = Market::sample().await?;
    let service = &market.service;
    let order = "/api/add_new_order";
    let replies = [
        (404, service.get("/nowhere").await?),
        (404, service.get("/api/order_total/99").await?),
        (404, service.get("/api/orders/99").await?),
        (400, service.get("/api/orders/0").await?),
        (400, service.get("/api/order_total/%ff").await?),
        (400, service.get("/api/orders_total").await?),
        (
            400,
            service.get("/api/orders_total?orders=1&orders=2").await?,
        ),
        (400, service.get("/api/orders_total?orders=1,,2").await?),
        (
            400,
            service
                .get_json_body("/api/orders_total?orders=1", &json!({"orders": [1]}))
                .await?,
        ),
        (
            400,
            service
                .get_json_body("/api/orders_total", &json!([1]))
                .await?,
        ),
        (
            400,
            service
                .get_json_body("/api/orders_total", &json!({"orders": [1, "2"]}))
                .await?,
        ),
        (405, service.post_json("/api/customers", &json!({})).await?),
        (405, service.get(order).await?),
        (400, service.post(order, "application/json", "").await?),
        (
            400,
            service
                .post(order, "application/json", "{\"customer_id\":1")
                .await?,
        ),
        (415, service.post(order, "text/plain", "{}").await?),
        (422, service.post_json(order, &json!([1, [[2, 4]]])).await?),
    ];
    for (status, reply) in replies {
        expect_problem(&reply, status)?;
        let problem = reply.json()?;
        equal(reply.asked(), &json!("about:blank"), &problem["type"])?;
        for member in ["title", "detail"] {
            let text = problem[member].as_str().unwrap_or_default();
            check::ensure(
                !text.is_empty(),
                reply.asked(),
                format!("a {member}"),
                &problem,
            )?;
        }
        if status == 405 {
            check::ensure(
                reply.header("allow").is_some(),
                reply.asked(),
                "Allow",
                reply.text(),
            )?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_mistake_in_an_order_is_named_and_none_is_stored() -> Outcome {
    let market = Market::sample().await?;
    let before = market.database.snapshot().await?;
    let cases = [
        (
            json!({"customer_id": 77, "items": [{"id": 1, "quantity": 1}]}),
            vec!["customer_id"],
        ),
        (
            json!({"customer_id": 1, "items": [
                {"id": 1, "quantity": 1}, {"id": 50, "quantity": 1}, {"id": 2, "quantity": 1}, {"id": 51, "quantity": 1},
            ]}),
            vec!["items[1].id", "items[3].id"],
        ),
        (json!({"customer_id": 1, "items": []}), vec!["items"]),
        (
            json!({"customer_id": "1", "items": [{"id": 1, "quantity": 0}, {"quantity": 1}]}),
            vec!["customer_id", "items[0].quantity", "items[1].id"],
        ),
        (
            json!({"customer_id": 1, "items": [{"id": 1, "quantity": 1}, {"id": 1, "quantity": 2}]}),
            vec!["items[1].id"],
        ),
    ];
    for (order, fields) in cases {
        let reply = market
            .service
            .post_json("/api/add_new_order", &order)
            .await?;
        reply.expect_status(422)?;
        let problem = reply.json()?;
        let named: Vec<_> = problem["errors"]
            .as_array()
            .or_fail("the problem's errors")?
            .iter()
            .map(|error| error["field"].as_str().unwrap_or_default())
            .collect();
        equal(reply.asked(), fields, named)?;
        market
            .database
            .expect_unchanged(reply.asked(), &before)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_database_that_fails_is_not_the_customers_mistake() -> Outcome {
    let order = json!({"customer_id": 1, "items": [{"id": 2, "quantity": 4}]});
    for table in ["orders", "order_items"] {
        let market = Market::over(Database::sample().await?, Limits::default()).await?;
        let sql = format!("ALTER TABLE {table} RENAME TO lost");
        market.database.execute(&sql).await?;
        let path = "/api/add_new_order";
        let reply = market.service.post_json(path, &order).await?;
        expect_problem(&reply, 500)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_order_may_have_a_thousand_lines() -> Outcome {
    let market = Market::sample().await?;
    market
        .database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)
             INSERT INTO item (id, name, price_cents) SELECT 1000 + i, 'Thing ' || i, i FROM n",
        )
        .await?;
    // Backwards, so that neither ids nor prices happen to be in the right order.
    let items = |count: i64| -> Vec<Value> {
        (1..=count)
            .rev()
            .map(|i| json!({"id": 1000 + i, "quantity": 2}))
            .collect()
    };
    let reply = market
        .service
        .post_json(
            "/api/add_new_order",
            &json!({"customer_id": 2, "items": items(1001)}),
        )
        .await?;
    reply.expect_status(422)?;
    let reply = market
        .service
        .post_json(
            "/api/add_new_order",
            &json!({"customer_id": 2, "items": items(1000)}),
        )
        .await?;
    reply.expect_json(201, &json!({"order_id": 4}))?;
    equal(
        reply.asked(),
        Some("/api/order_total/4"),
        reply.header("location"),
    )?;

    let reply = market.service.get("/api/orders/2").await?;
    let expected: Vec<Value> = (1..=1000_i32)
        .rev()
        .map(|i| {
            let price = f64::from(i) / 100.0;
            json!({"name": format!("Thing {i}"), "price": price, "quantity": 2, "total": f64::from(2 * i) / 100.0})
        })
        .collect();
    equal_json(reply.asked(), &json!(expected), &reply.json()?[1]["items"])?;
    // 2 × (1 + 2 + … + 1000) cents.
    let reply = market.service.get("/api/order_total/4").await?;
    reply.expect_json(200, &json!({"Order Total": 10010.0}))
}

#[tokio::test]
async fn a_list_is_an_array_or_lines() -> Outcome {
    let market = Market::sample().await?;
    for path in [
        "/api/customers",
        "/api/orders/1",
        "/api/orders_between_dates/2025-01-01/2024-01-01",
        // Empty ones as well.
        "/api/orders_between_dates/2024-01-01/2025-01-01",
    ] {
        let array = market.service.get(path).await?;
        array.expect_status(200)?;
        equal(path, Some("application/json"), array.header("content-type"))?;
        let lines = market
            .service
            .get_with(path, &[("accept", "application/x-ndjson")])
            .await?;
        lines.expect_status(200)?;
        equal(
            path,
            Some("application/x-ndjson"),
            lines.header("content-type"),
        )?;
        let text = lines.text();
        check::ensure(
            text.is_empty() || text.ends_with('\n'),
            path,
            "a newline at the end",
            &text,
        )?;
        let rows: Vec<Value> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .or_fail(path)?;
        equal_json(path, &array.json()?, &Value::Array(rows))?;
        equal(path, Some("accept"), array.header("vary"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_customer_without_orders_has_an_empty_list() -> Outcome {
    let market = Market::sample().await?;
    market.database.add_customers(1).await?;
    market
        .service
        .get("/api/orders/4")
        .await?
        .expect_json(200, &json!([]))
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() -> Outcome {
    let market = Market::sample().await?;
    for path in ["/", "/api/customers", "/api/order_total/1"] {
        let reply = market.service.send(Method::HEAD, path, &[], "").await?;
        reply.expect_status(200)?;
        equal(path, 0, reply.body.len())?;
    }
    Ok(())
}

/// What is in the database, told by another query than the service's.
async fn rows(database: &Database, sql: &str) -> Result<Value, Failure> {
    let text: String = database.one(sql).await?;
    serde_json::from_str(&text).or_fail(sql)
}

/// Wherever one page ends and the next begins, the answer is the same.
#[tokio::test]
async fn the_size_of_pages_does_not_show() -> Outcome {
    let database = Database::sample().await?;
    database.add_customers(20).await?;
    // For each customer some orders of 0 to 3 items, several at the same time.
    database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 90)
             INSERT INTO orders (id, customer_id, order_time)
             SELECT i, 1 + i * 7 % 20, datetime('2024-05-01', (i * 5 % 13) || ' hours') FROM n;
             WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2)
             INSERT INTO order_items (order_id, item_id, quantity)
             SELECT orders.id, 4 - (orders.id + i) % 4, 1 + i FROM orders JOIN n ON i < orders.id / 20 % 4
             WHERE orders.id >= 10 ORDER BY orders.id, i;
             UPDATE customer SET name = 'Quote \" back \\ slash / ünï \u{1f600}, \u{1}' || char(0) || 'x'
             WHERE id IN (5, 8);
             UPDATE item SET name = 'Odd \" \\ \u{1f600} \u{2028}' || char(0) || 'x' WHERE id = 2;",
        )
        .await?;
    let customers = rows(
        &database,
        "SELECT json_group_array(json_object('id', c.id, 'name', c.name, 'address',
                json_object('flat_number', a.flat_number, 'post_code', a.post_code)) ORDER BY c.id)
         FROM customer c, address a WHERE a.id = c.address_id",
    )
    .await?;
    let orders = rows(
        &database,
        "SELECT json_group_array(json_object('order_id', o.id, 'customer', json_object('name', c.name),
                'order_time', o.order_time, 'items', (
                    SELECT json_group_array(json_object('name', i.name, 'price', i.price_cents / 100.0,
                           'quantity', l.quantity, 'total', i.price_cents * l.quantity / 100.0) ORDER BY l.rowid)
                    FROM order_items l, item i WHERE l.order_id = o.id AND i.id = l.item_id)) ORDER BY o.id)
         FROM orders o, customer c WHERE c.id = o.customer_id AND o.customer_id = 8",
    )
    .await?;
    let between = rows(
        &database,
        "SELECT json_group_array(json_object('customer', c.name, 'name', i.name,
                'price', i.price_cents / 100.0, 'total', i.price_cents * l.quantity / 100.0)
                ORDER BY o.order_time, o.id, l.rowid)
         FROM orders o, customer c, order_items l, item i
         WHERE c.id = o.customer_id AND l.order_id = o.id AND i.id = l.item_id
           AND o.order_time BETWEEN '2024-03-20 11:00:00' AND '2024-05-01 11:00:00'",
    )
    .await?;
    check::ensure(
        between.as_array().is_some_and(|rows| rows.len() > 50),
        "the test's own data",
        "more than 50 lines",
        &between,
    )?;

    let mut database = database;
    for page_rows in [1, 2, 3, 4, 5, 7, 23, 24, 1_000] {
        let limits = Limits {
            page_rows,
            ..Limits::default()
        };
        let market = Market::over(database, limits).await?;
        for (path, expected) in [
            ("/api/customers", &customers),
            ("/api/orders/8", &orders),
            (
                "/api/orders_between_dates/2024-05-01 11:00:00/2024-03-20 11:00:00",
                &between,
            ),
        ] {
            let path = path.replace(' ', "%20");
            let reply = market.service.get(&path).await?;
            equal_json(
                format!("{path} in pages of {page_rows}"),
                expected,
                &reply.json()?,
            )?;
            let reply = market
                .service
                .get_with(&path, &[("accept", "application/x-ndjson")])
                .await?;
            let lines: Result<Vec<Value>, _> =
                reply.text().lines().map(serde_json::from_str).collect();
            equal_json(
                format!("lines of {path} in pages of {page_rows}"),
                expected,
                &Value::Array(lines.or_fail(&path)?),
            )?;
        }
        database = market.stop().done().await?;
    }
    Ok(())
}

/// A program that reads JSON's numbers as doubles sees other values here; the
/// text is exact, whatever the schema allows.
#[tokio::test]
async fn large_numbers_keep_their_digits() -> Outcome {
    const MAX: i64 = i64::MAX;
    // The first that no double holds.
    const ODD: i64 = (1 << 53) + 1;
    let mut database = Database::sample().await?;
    database
        .execute(&format!(
            "INSERT INTO address (id, flat_number, post_code) VALUES ({MAX}, {ODD}, {});
             INSERT INTO customer (id, name, address_id) VALUES ({ODD}, 'Dee', {MAX}), ({MAX}, 'Eli', {MAX});
             INSERT INTO item (id, name, price_cents) VALUES ({ODD}, 'Pin', 1), ({MAX}, 'Gem', {MAX});
             INSERT INTO orders (id, customer_id, order_time) VALUES
                 ({ODD}, {MAX}, '2024-06-01 10:00:00'), ({MAX}, {MAX}, '2024-06-01 10:00:00');
             INSERT INTO order_items (rowid, order_id, item_id, quantity) VALUES
                 ({ODD}, {ODD}, {ODD}, {ODD}), ({}, {MAX}, {MAX}, 1);",
            i64::MIN,
            MAX - 1,
        ))
        .await?;
    let customers = format!(
        r#"{{"id":{ODD},"name":"Dee","address":{{"flat_number":{ODD},"post_code":{min}}}}}
{{"id":{MAX},"name":"Eli","address":{{"flat_number":{ODD},"post_code":{min}}}}}
"#,
        min = i64::MIN
    );
    let orders = format!(
        r#"{{"order_id":{ODD},"customer":{{"name":"Eli"}},"order_time":"2024-06-01 10:00:00","items":[{{"name":"Pin","price":0.01,"quantity":{ODD},"total":90071992547409.93}}]}}
{{"order_id":{MAX},"customer":{{"name":"Eli"}},"order_time":"2024-06-01 10:00:00","items":[{{"name":"Gem","price":92233720368547758.07,"quantity":1,"total":92233720368547758.07}}]}}
"#
    );
    let between = r#"{"customer":"Eli","name":"Pin","price":0.01,"total":90071992547409.93}
{"customer":"Eli","name":"Gem","price":92233720368547758.07,"total":92233720368547758.07}
"#;
    for page_rows in [1, 2, 1_000] {
        let limits = Limits {
            page_rows,
            ..Limits::default()
        };
        let market = Market::over(database, limits).await?;
        for (path, expected) in [
            ("/api/customers", customers.as_str()),
            (&format!("/api/orders/{MAX}"), &orders),
            ("/api/orders_between_dates/2024-06-02/2024-06-01", between),
        ] {
            let lines = [("accept", "application/x-ndjson")];
            let lines = market.service.get_with(path, &lines).await?;
            lines.expect_status(200)?;
            let asked = format!("{path} in pages of {page_rows}");
            check::ensure(
                lines.text().ends_with(expected),
                &asked,
                expected,
                lines.text(),
            )?;
            let array = market.service.get(path).await?.text();
            let expected = format!("{}]", expected.trim_end().replace('\n', ","));
            check::ensure(array.ends_with(&expected), &asked, expected, &array)?;
        }
        let total = format!("/api/order_total/{MAX}");
        equal(
            "a total",
            r#"{"Order Total":92233720368547758.07}"#,
            market.service.get(&total).await?.text(),
        )?;
        let totals = format!("/api/orders_total?orders={MAX},{ODD},1");
        equal(
            "totals",
            "[92233720368547758.07,90071992547409.93,30.0]",
            market.service.get(&totals).await?.text(),
        )?;
        database = market.stop().done().await?;
    }
    Ok(())
}

#[tokio::test]
async fn totals_of_a_thousand_orders_come_in_the_order_asked_for() -> Outcome {
    let market = Market::sample().await?;
    market.database.add_orders(600, 3).await?;
    let expected = |id: i64| {
        let database = &market.database;
        async move {
            let cents: Option<i64> = database
                .one(&format!(
                    "SELECT sum(price_cents * quantity) FROM order_items, item
                     WHERE item.id = item_id AND order_id = {id}"
                ))
                .await?;
            Ok::<_, Failure>(json!(cents.map(|cents| cents / 50)))
        }
    };
    // A scattered thousand, with repetitions and unknown ones.
    let ids: Vec<i64> = (0..1_000).map(|i| 1 + i * 389 % 700).collect();
    let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let path = format!("/api/orders_total?orders={}", list.join(","));
    let reply = market.service.get(&path).await?;
    reply.expect_status(200)?;
    let in_body = market
        .service
        .get_json_body("/api/orders_total", &json!({"orders": ids}))
        .await?;
    equal_json("the same in the body", &reply.json()?, &in_body.json()?)?;
    let totals = reply.json()?;
    equal(
        "how many totals",
        Some(1_000),
        totals.as_array().map(Vec::len),
    )?;
    for place in [0, 1, 17, 500, 501, 999] {
        // In fifties of cents, since both sides are exact there.
        let got = totals[place].as_f64().map(|units| units * 2.0);
        equal_json(
            format!("total {place}, of order {}", ids[place]),
            &expected(ids[place]).await?,
            &json!(got),
        )?;
    }
    let path = format!("{path},1");
    market.service.get(&path).await?.expect_status(400)?;
    Ok(())
}
