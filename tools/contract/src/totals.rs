//! The totals of orders.

use check::{Database, Outcome, Service};
use serde_json::{Value, json};

use crate::{
    MALFORMED_IDS, MORE_ITEMS, WHOLE_NUMBER, ask, bodies_400, expect_content_type, expect_problem,
    misread, paths_400,
};

/// `GET /api/order_total/{order_id}`: `{"Order Total": 30}`, exact to the cent;
/// `null` for an order without items; 400 for what is no id.
pub async fn order_total(service: &Service, database: &Database) -> Outcome {
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "INSERT INTO orders (id, customer_id, order_time) VALUES (10, 2, '2024-03-26 12:00:00');
             INSERT INTO order_items VALUES (10, 11, 1), (10, 12, 1);",
        )
        .await?;
    // 0.1 + 0.2 is not 0.3 in floats.
    for (order, total) in [(1, Some(30.0)), (2, Some(12.0)), (3, None), (10, Some(0.3))] {
        let reply = service.get(&format!("/api/order_total/{order}")).await?;
        reply.expect_json(200, &json!({ "Order Total": total }))?;
        expect_content_type(&reply, "application/json")?;
    }
    paths_400(service, "/api/order_total/{}", MALFORMED_IDS).await
}

/// `GET /api/order_total/{order_id}` of an unknown order is
/// `{"Order Total": null}`.
pub async fn order_total_null_when_unknown(service: &Service) -> Outcome {
    let reply = service.get("/api/order_total/77").await?;
    reply.expect_json(200, &json!({ "Order Total": null }))
}

/// `GET /api/order_total/{order_id}` of an unknown order is 404.
pub async fn order_total_404_when_unknown(service: &Service) -> Outcome {
    expect_problem(&service.get("/api/order_total/77").await?, 404)
}

/// `GET /api/orders_total`, asked by `?orders=1,2` and by `{"orders":[1,2]}`: a
/// total for each id in the order asked, `null` where an order is unknown or
/// empty, an id asked twice answered twice; 1,000 ids are answered, more are 400,
/// as is everything that is no list of ids.
pub async fn orders_total(service: &Service, database: &Database) -> Outcome {
    for (ids, expected) in [
        (&[1, 2, 3][..], json!([30.0, 12.0, null])),
        (&[3, 2, 77, 1], json!([null, 12.0, null, 30.0])),
        (&[2, 1, 2, 2, 1], json!([12.0, 30.0, 12.0, 12.0, 30.0])),
        (&[2], json!([12.0])),
    ] {
        expect_totals(service, ids, &expected).await?;
    }

    // Many different totals, asked in neither the order of their ids nor its
    // reverse: who answers as the queries end does not get them right by chance.
    database.execute(MORE_ITEMS).await?;
    database
        .execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
             INSERT INTO orders (id, customer_id, order_time) SELECT 100 + i, 1 + i % 3, '2024-03-27 12:00:00' FROM n;
             INSERT INTO order_items SELECT id, 13, id - 100 FROM orders WHERE id > 100;",
        )
        .await?;
    let shuffled: Vec<i64> = (1..=40).map(|i| 100 + i * 17 % 41).collect();
    let totals: Value = (1..=40).map(|i| f64::from(i * 17 % 41) / 100.0).collect();
    expect_totals(service, &shuffled, &totals).await?;

    let many: Vec<i64> = (0..1000).map(|i| 1 + i % 3).collect();
    let totals: Value = (0..1000)
        .map(|i| [json!(30.0), json!(12.0), Value::Null][i % 3].clone())
        .collect();
    expect_totals(service, &many, &totals).await?;
    let too_many = [&many[..], &[1]].concat();
    expect_problem(&service.get(&totals_query(&too_many)).await?, 400)?;

    let ids = "1,x 1,,2 1.5 9223372036854775808 1&orders=2";
    paths_400(service, "/api/orders_total?orders={}", ids).await?;
    let get = "GET /api/orders_total";
    let bodies = json!([{"orders": too_many}, {"orders": "1"}, {"orders": [1, "x"]}, {}]);
    bodies_400(service, get, bodies).await?;
    let wrong = [
        (r#"{"orders":[1],"orders":[2]}"#, "`orders`"),
        (r#"{"orders":[1.0]}"#, WHOLE_NUMBER),
        (r#"{"orders":[1e0]}"#, WHOLE_NUMBER),
    ];
    misread(service, get, r#"{"orders":[1]}"#, &wrong).await
}

fn totals_query(ids: &[i64]) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    format!("/api/orders_total?orders={}", ids.join(","))
}

async fn expect_totals(service: &Service, ids: &[i64], expected: &Value) -> Outcome {
    let reply = service.get(&totals_query(ids)).await?;
    reply.expect_json(200, expected)?;
    let body = json!({ "orders": ids }).to_string();
    let reply = ask(service, "GET /api/orders_total", body).await?;
    reply.expect_json(200, expected)
}
