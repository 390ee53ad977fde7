//! What step 06 asks for: a new order is stored whole, or not at all.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use contract::{Database, Failure, OrFail, Outcome, Reply, Service, Suite, answers, ensure, equal};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use step06::db::base::{Engine, EngineConfig};
use step06::db_accessor::{MAX_QUANTITY, add_new_order_for_customer};
use step06::server;
use step06::types::NewOrderItem;

fn main() -> ExitCode {
    Suite::new("06-transactions", env!("CARGO_MANIFEST_DIR"))
        .check(
            "06.1",
            "a transaction that has begun keeps other writers out",
            begin_takes_the_lock,
        )
        .check(
            "06.1",
            "a transaction that cannot have the lock does not begin",
            begin_waits_for_the_lock,
        )
        .check(
            "06.1",
            "a transaction stores at its commit, and nothing when it is dropped",
            begin_then_drop_or_commit,
        )
        .check(
            "06.2",
            "an order without items is refused",
            no_items_are_refused,
        )
        .check(
            "06.2",
            "a quantity below 1 or above the largest is refused",
            quantities_are_limited,
        )
        .check(
            "06.2",
            "an item that is named twice is refused",
            duplicates_are_refused,
        )
        .check(
            "06.2",
            "what the request gives away is refused without waiting for the database",
            refused_without_the_lock,
        )
        .check(
            "06.3",
            "an order that was answered with 201 is stored, with its items",
            answered_is_stored,
        )
        .check(
            "06.3",
            "an order belongs to the customer who placed it",
            the_right_customer,
        )
        .check(
            "06.3",
            "an order with an unknown item is refused and leaves nothing",
            unknown_item,
        )
        .check(
            "06.3",
            "an order of an unknown customer is refused and leaves nothing",
            unknown_customer,
        )
        .check(
            "06.3",
            "not every failure of the database is an unknown item",
            item_fails_otherwise,
        )
        .check(
            "06.3",
            "an order whose commit fails is not answered with 201",
            commit_fails,
        )
        .check(
            "06.3",
            "one connection is enough for an order, and is free after a refusal",
            one_connection,
        )
        .check(
            "06.3",
            "50 orders at once are all stored, each under its own number",
            fifty_at_once,
        )
        .check(
            "06.3",
            "an order whose client goes away is stored whole or not at all",
            dropped_half_way,
        )
        .check(
            "06.3",
            "while another writer keeps the lock the answer is 503, and nothing is stored",
            busy,
        )
        .check(
            "06.3",
            "a stored order is answered with its address, a bad one as a problem",
            answers_to_orders,
        )
        .check("06.3", "all other answers are as before", other_answers)
        .run()
}

const ADDRESS: &str = "/api/add_new_order";

async fn begin_takes_the_lock() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, EngineConfig::default())?;

    let transaction = engine.begin().await.or_fail("engine.begin()")?;
    let other = other_writer(&database, Duration::ZERO).await?;
    drop(transaction);

    ensure(
        !other,
        "engine.begin(), then before any write of it, over another connection:\nBEGIN IMMEDIATE",
        "the other connection finds the database locked",
        "the other connection could begin to write",
    )
}

async fn begin_waits_for_the_lock() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, impatient())?;

    let lock = database.lock_exclusively().await?;
    let begun = engine.begin().await;
    let asked = "engine.begin() while another connection holds the write lock";
    let expected = "the error of SQLite that means busy";
    let outcome = match begun {
        Ok(_) => Err(Failure::new(asked, expected, "a transaction")),
        Err(error) => {
            let text = format!("{error:?}");
            let status = error.into_response().status();
            ensure(
                status == StatusCode::SERVICE_UNAVAILABLE,
                asked,
                expected,
                text,
            )
        }
    };
    lock.release().await?;
    outcome
}

async fn begin_then_drop_or_commit() -> Outcome {
    let database = Database::sample().await?;
    // One connection: the second transaction begins only if the first has given
    // it back.
    let engine = engine(&database, small())?;
    let insert = "INSERT INTO orders (customer_id, order_time) VALUES (1, '2024-04-01 00:00:00')";

    let mut transaction = engine.begin().await.or_fail("engine.begin()")?;
    let done = sqlx::query(insert).execute(&mut *transaction).await;
    done.or_fail(insert)?;
    drop(transaction);

    let asked = "engine.begin() after a transaction was dropped, with a pool of 1";
    let mut transaction = engine.begin().await.or_fail(asked)?;
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut *transaction)
        .await
        .or_fail("SELECT count(*) FROM orders")?;
    equal(
        "an INSERT into the 3 orders, then the transaction is dropped; how many orders?",
        3,
        orders,
    )?;
    let done = sqlx::query(insert).execute(&mut *transaction).await;
    done.or_fail(insert)?;
    transaction.commit().await.or_fail("commit")?;
    equal(
        "an INSERT into the 3 orders, then the commit; how many orders?",
        4,
        database.one::<i64>("SELECT count(*) FROM orders").await?,
    )
}

async fn no_items_are_refused() -> Outcome {
    let order = json!({"customer_id": 2, "items": []});
    refused(&order, "items").await
}

async fn quantities_are_limited() -> Outcome {
    for quantity in [0, -1, -4, MAX_QUANTITY + 1, i64::MAX, i64::MIN] {
        let items = json!([{"id": 2, "quantity": 1}, {"id": 3, "quantity": quantity}]);
        let order = json!({"customer_id": 2, "items": items});
        refused(&order, "items[1].quantity").await?;
    }
    for quantity in [1, MAX_QUANTITY] {
        let order = json!({"customer_id": 2, "items": [{"id": 2, "quantity": quantity}]});
        let database = Database::sample().await?;
        let service = service(&database, EngineConfig::default())?;
        service
            .post_json(ADDRESS, &order)
            .await?
            .expect_status(201)?;
    }
    Ok(())
}

async fn duplicates_are_refused() -> Outcome {
    let items = json!([
        {"id": 2, "quantity": 1}, {"id": 3, "quantity": 1}, {"id": 2, "quantity": 1}
    ]);
    refused(&json!({"customer_id": 2, "items": items}), "items[2].id").await
}

async fn refused_without_the_lock() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, impatient())?;
    let lock = database.lock_exclusively().await?;
    let mut replies = Vec::new();
    for items in [
        json!([]),
        json!([{"id": 2, "quantity": 0}]),
        json!([{"id": 2, "quantity": 1}, {"id": 2, "quantity": 1}]),
    ] {
        let order = json!({"customer_id": 2, "items": items});
        replies.push(service.post_json(ADDRESS, &order).await?);
    }
    lock.release().await?;
    for reply in replies {
        ensure(
            reply.status == 422,
            format!(
                "while another connection holds the write lock:\n{}",
                reply.asked()
            ),
            "status 422, before a transaction begins",
            format!("status {}: {}", reply.status, reply.text()),
        )?;
    }
    Ok(())
}

async fn answered_is_stored() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    let order = json!({"customer_id": 1, "items": [
        {"id": 4, "quantity": 3}, {"id": 1, "quantity": 7}, {"id": 3, "quantity": 1}
    ]});
    let reply = service.post_json(ADDRESS, &order).await?;
    let id = order_id(&reply)?;
    equal_texts(
        format!("{}\nthen: what is stored as order {id}?", reply.asked()),
        "customer 1: item 4 x 3, item 1 x 7, item 3 x 1",
        &stored(&database, id).await?,
    )
}

async fn the_right_customer() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    for customer in [2, 3, 1] {
        let order = json!({"customer_id": customer, "items": [{"id": 4, "quantity": 3}]});
        let reply = service.post_json(ADDRESS, &order).await?;
        let id = order_id(&reply)?;
        equal_texts(
            format!("{}\nthen: what is stored as order {id}?", reply.asked()),
            &format!("customer {customer}: item 4 x 3"),
            &stored(&database, id).await?,
        )?;
    }
    Ok(())
}

async fn unknown_item() -> Outcome {
    for unknown in [99, 0, -1] {
        let items = json!([{"id": 2, "quantity": 4}, {"id": unknown, "quantity": 6}]);
        let order = json!({"customer_id": 2, "items": items});
        refused(&order, "items[1].id").await?;
    }
    Ok(())
}

async fn unknown_customer() -> Outcome {
    for unknown in [77, 0, -1] {
        let order = json!({"customer_id": unknown, "items": [{"id": 2, "quantity": 4}]});
        refused(&order, "customer_id").await?;
    }
    Ok(())
}

async fn item_fails_otherwise() -> Outcome {
    for (what, prepared, status, expected) in [
        (
            "item 3 exists, but a trigger aborts its INSERT into order_items",
            "CREATE TRIGGER refuse BEFORE INSERT ON order_items WHEN new.item_id = 3
             BEGIN SELECT RAISE(ABORT, 'refused by the check'); END",
            500,
            "status 500: no field of the order is to blame",
        ),
        (
            "item 3 exists, but by a unique index only one order may have it, and one has",
            "CREATE UNIQUE INDEX only_one ON order_items (item_id) WHERE item_id = 3",
            400,
            "status 400, as error.rs has it: the item is known, it is not the foreign key",
        ),
    ] {
        let database = Database::sample().await?;
        database.execute(prepared).await?;
        let service = service(&database, EngineConfig::default())?;
        let before = database.snapshot().await?;
        let order = json!({"customer_id": 2, "items": [
            {"id": 2, "quantity": 4}, {"id": 3, "quantity": 6}
        ]});
        let reply = service.post_json(ADDRESS, &order).await?;
        let asked = format!("{what}:\n{}", reply.asked());
        ensure(
            reply.status == status,
            &asked,
            expected,
            format!("status {}: {}", reply.status, reply.text()),
        )?;
        database.expect_unchanged(&asked, &before).await?;
    }
    Ok(())
}

async fn commit_fails() -> Outcome {
    let database = Database::sample().await?;
    // A deferred foreign key is looked at when the transaction commits, so each
    // statement of the order succeeds.
    for sql in [
        "CREATE TABLE parcel (
             order_id INTEGER PRIMARY KEY,
             item_id INTEGER NOT NULL REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED
         )",
        "CREATE TRIGGER pack AFTER INSERT ON order_items
         BEGIN INSERT INTO parcel VALUES (new.order_id, 2222); END",
    ] {
        database.execute(sql).await?;
    }
    let service = service(&database, EngineConfig::default())?;
    let before = database.snapshot().await?;
    let order = json!({"customer_id": 2, "items": [{"id": 2, "quantity": 4}]});
    let reply = service.post_json(ADDRESS, &order).await?;
    let asked = format!(
        "a deferred foreign key makes the COMMIT of each order fail:\n{}",
        reply.asked()
    );
    ensure(
        reply.status >= 400,
        &asked,
        "the status of an error: nothing has been stored",
        format!("status {}: {}", reply.status, reply.text()),
    )?;
    database.expect_unchanged(&asked, &before).await
}

async fn one_connection() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, small())?;
    let good = json!({"customer_id": 2, "items": [{"id": 2, "quantity": 4}]});
    let bad = json!({"customer_id": 2, "items": [{"id": 99, "quantity": 4}]});
    let nobody = json!({"customer_id": 77, "items": [{"id": 2, "quantity": 4}]});

    for (order, status) in [(&good, 201), (&bad, 422), (&nobody, 422), (&good, 201)] {
        let reply = service.post_json(ADDRESS, order).await?;
        if reply.status != status {
            return Err(Failure::new(
                format!("with a pool of 1: {}", reply.asked()),
                format!("status {status}"),
                format!("status {}: {}", reply.status, reply.text()),
            ));
        }
        ensure(
            other_writer(&database, Duration::from_secs(5)).await?,
            format!(
                "after {}\nover another connection: BEGIN IMMEDIATE",
                reply.asked()
            ),
            "the write lock is free",
            "the lock is still held after 5 s",
        )?;
    }
    let total = service.get("/api/order_total/1").await?;
    total.expect_json(200, &json!({"Order Total": 30}))
}

async fn fifty_at_once() -> Outcome {
    let database = Database::sample().await?;
    let patient = EngineConfig {
        acquire_timeout: Duration::from_secs(7),
        busy_timeout: Duration::from_secs(7),
        ..EngineConfig::default()
    };
    let service = service(&database, patient)?;
    let order = |client: i64| {
        json!({"customer_id": 1 + client % 3, "items": [
            {"id": 1, "quantity": client}, {"id": 2, "quantity": 1}, {"id": 4, "quantity": client}
        ]})
    };
    let asked = "50 clients at once: POST /api/add_new_order";
    let orders: Vec<_> = (1..=50).map(order).collect();
    let replies = join_all(orders.iter().map(|order| service.post_json(ADDRESS, order))).await;

    let mut ids = BTreeSet::new();
    for (client, reply) in (1..=50_i64).zip(replies) {
        let reply = reply?;
        if reply.status != 201 {
            return Err(Failure::new(
                asked,
                "50 answers with status 201",
                format!("one with status {}: {}", reply.status, reply.text()),
            ));
        }
        let id = order_id(&reply)?;
        ensure(
            ids.insert(id),
            asked,
            "50 different order numbers",
            format!("order {id} was promised to two clients"),
        )?;
        equal_texts(
            format!(
                "{asked}\none of them: {}\nthen: what is stored as order {id}?",
                reply.asked()
            ),
            &format!(
                "customer {}: item 1 x {client}, item 2 x 1, item 4 x {client}",
                1 + client % 3
            ),
            &stored(&database, id).await?,
        )?;
    }
    equal(
        format!("{asked}; how many orders are there, with the 3 of the sample?"),
        53,
        database.one::<i64>("SELECT count(*) FROM orders").await?,
    )
}

async fn dropped_half_way() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, small())?;
    let items = [
        NewOrderItem { id: 2, quantity: 4 },
        NewOrderItem { id: 3, quantity: 6 },
    ];
    // Each round lets the future go one await further than the one before.
    for polls in 1..=100 {
        let order = add_new_order_for_customer(&engine, 2, &items);
        let finished = poll_at_most(polls, order).await;
        if let Some(result) = finished {
            let id = result.or_fail("add_new_order_for_customer(&engine, 2, …)")?;
            return equal_texts(
                format!(
                    "{} clients that went away, then one that stayed: what is stored as order {id}?",
                    polls - 1
                ),
                "customer 2: item 2 x 4, item 3 x 6",
                &stored(&database, id).await?,
            );
        }
        let asked = format!(
            "add_new_order_for_customer(&engine, 2, …) with 2 items, dropped after {polls} polls"
        );
        ensure(
            other_writer(&database, Duration::from_secs(5)).await?,
            &asked,
            "the write lock is free",
            "the lock is still held after 5 s",
        )?;
        let half = "SELECT count(*) FROM orders WHERE id > 3
                    AND (SELECT count(*) FROM order_items WHERE order_id = orders.id) <> 2";
        let half: i64 = database.one(half).await?;
        ensure(
            half == 0,
            asked,
            "the order with both items, or nothing",
            "an order that has not all of its items",
        )?;
    }
    Err(Failure::new(
        "add_new_order_for_customer(&engine, 2, …)",
        "an end",
        "none after 100 polls",
    ))
}

async fn busy() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, impatient())?;
    let before = database.snapshot().await?;
    let order = json!({"customer_id": 2, "items": [{"id": 2, "quantity": 4}]});

    let lock = database.lock_exclusively().await?;
    let reply = service.post_json(ADDRESS, &order).await?;
    lock.release().await?;

    let asked = format!(
        "while another connection holds the write lock:\n{}",
        reply.asked()
    );
    let retry_after = reply.header("retry-after").unwrap_or("none");
    ensure(
        reply.status == 503 && retry_after != "none",
        &asked,
        "status 503, and a header Retry-After",
        format!("status {}, Retry-After: {retry_after}", reply.status),
    )?;
    database.expect_unchanged(&asked, &before).await
}

async fn answers_to_orders() -> Outcome {
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::new_order_refusals(&service, &database).await
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total_null_when_unknown(&service).await?;
    answers::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await
}

/// A service over a database of its own. The service goes first when they are
/// dropped.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database, EngineConfig::default())?, database))
}

/// Posts the order to a fresh service: it must be refused, blaming `field`, and
/// leave the database as it was.
async fn refused(order: &Value, field: &str) -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    let before = database.snapshot().await?;
    let reply = service.post_json(ADDRESS, order).await?;

    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let named = body["errors"][0]["field"].as_str();
    let content_type = reply.header("content-type").unwrap_or("none");
    let what_is_new = before.difference(&database.snapshot().await?);
    let (status, text) = (reply.status, reply.text());
    ensure(
        status == 422
            && named == Some(field)
            && content_type == "application/problem+json"
            && what_is_new.is_empty(),
        reply.asked(),
        format!("status 422, a problem whose errors[0].field is \"{field}\", nothing stored"),
        match what_is_new.as_str() {
            "" => format!("status {status}, {content_type}: {text}"),
            new => format!("status {status}, {content_type}: {text}\n{new}"),
        },
    )
}

fn engine(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

fn service(database: &Database, config: EngineConfig) -> Result<Service, Failure> {
    Ok(Service::start(server::app(engine(database, config)?)))
}

/// One connection, and no patience with who keeps it.
fn small() -> EngineConfig {
    EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    }
}

/// No patience with another writer.
fn impatient() -> EngineConfig {
    EngineConfig {
        busy_timeout: Duration::from_millis(20),
        ..EngineConfig::default()
    }
}

/// Whether another connection can take the write lock within `patience`. It
/// lets go of it at once.
async fn other_writer(database: &Database, patience: Duration) -> Result<bool, Failure> {
    let mut connection = SqliteConnectOptions::new()
        .filename(database.path())
        .busy_timeout(patience)
        .disable_statement_logging()
        .connect()
        .await
        .or_fail("another connection")?;
    let begun = sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await;
    // Closing it ends what it has begun.
    connection.close().await.or_fail("another connection")?;
    match begun {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.message().contains("locked") => Ok(false),
        Err(error) => Err(error).or_fail("BEGIN IMMEDIATE over another connection")?,
    }
}

/// The number in `{"order_id": n}`.
fn order_id(reply: &Reply) -> Result<i64, Failure> {
    reply.expect_status(201)?;
    reply.json()?["order_id"]
        .as_i64()
        .ok_or_else(|| Failure::new(reply.asked(), "{\"order_id\": a number}", reply.text()))
}

/// The order as text, its items in the order in which they were stored.
async fn stored(database: &Database, id: i64) -> Result<String, Failure> {
    let sql = format!(
        "SELECT coalesce((
             SELECT 'customer ' || customer_id || ': ' || coalesce((
                 SELECT group_concat('item ' || item_id || ' x ' || quantity, ', ')
                 FROM (SELECT * FROM order_items WHERE order_id = {id} ORDER BY rowid)
             ), 'no items')
             FROM orders WHERE id = {id}
         ), 'nothing')"
    );
    database.one(&sql).await
}

fn equal_texts(asked: String, expected: &str, got: &str) -> Outcome {
    ensure(expected == got, asked, expected, got)
}

/// Drives `future` until it is ready, or drops it after so many polls.
async fn poll_at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            polled += 1;
            if polled == polls {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}
