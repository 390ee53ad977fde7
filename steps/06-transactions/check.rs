//! What step 06 asks for: a new order is stored whole, or not at all.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use check::statements::Recording;
use check::{Database, Failure, OrFail, Outcome, Reply, Service, Suite, ensure, equal};
use futures::future::join_all;
use futures::{TryStreamExt, join};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use step06::db::base::{Engine, EngineConfig};
use step06::db_accessor::{MAX_QUANTITY, add_new_order_for_customer};
use step06::error::Error;
use step06::server;
use step06::types::NewOrderItem;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("06-transactions", env!("CARGO_MANIFEST_DIR"))
        .check(
            "06.1",
            "a transaction that has begun keeps other writers out, but not readers",
            begin_takes_the_lock,
        )
        .paused_check(
            "06.1",
            "a transaction that cannot have the lock or a connection does not begin",
            begin_fails_when_busy,
        )
        .check(
            "06.1",
            "a begin that fails for another reason says for which",
            begin_fails_otherwise,
        )
        .check(
            "06.1",
            "a transaction stores at its commit, and nothing when it is dropped",
            begin_then_drop_or_commit,
        )
        .paused_check(
            "06.1",
            "a transaction waits for the lock for as long as the busy timeout says",
            begin_is_patient,
        )
        .check(
            "06.1",
            "a begin that is dropped while it waits does not keep the lock",
            begin_dropped,
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
            "an order that breaks none of the three rules is stored",
            rules_are_not_too_strict,
        )
        .check(
            "06.2",
            "the three rules need no connection, and hold without HTTP too",
            rules_need_no_connection,
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
            "an order has the current time in UTC, in the form of the other orders",
            the_right_time,
        )
        .check(
            "06.3",
            "an order gets an unused number, and the answer names that one",
            the_right_number,
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
            "not every failure of the database is an unknown customer",
            customer_fails_otherwise,
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
            "a customer or an item that is deleted meanwhile is refused by its field",
            deleted_meanwhile,
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
            "an order whose client goes away before the lock is free is not stored",
            dropped_while_waiting,
        )
        .check(
            "06.3",
            "while another writer keeps the lock the answer is 503, and nothing is stored",
            busy,
        )
        .paused_check(
            "06.3",
            "an order waits for the lock once, for as long as the busy timeout says",
            waits_once,
        )
        .check(
            "06.3",
            "a stored order is answered with its number and path, a bad one with a problem",
            answers_to_orders,
        )
        .check("06.3", "an order of 11,000 items is stored", long_order)
        .check("06.3", "all other answers are as before", other_answers)
        .run()
}

const NEW_ORDER: &str = "/api/add_new_order";

async fn begin_takes_the_lock() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, EngineConfig::default())?;

    let transaction = engine.begin().await.or_fail("engine.begin()")?;
    let writer = other_writer(&database, Duration::ZERO, "").await?;
    let read = "SELECT count(*) FROM orders";
    let reader = database.one::<i64>(read).await;
    drop(transaction);

    let asked =
        "engine.begin(), then before the transaction writes anything, over another connection:";
    ensure(
        !writer,
        format!("{asked}\nBEGIN IMMEDIATE"),
        "the other connection finds the database locked",
        "the other connection could begin to write",
    )?;
    ensure(
        reader.is_ok(),
        format!("{asked}\n{read}"),
        "a number: a reader does not have to wait for a writer",
        reader.map_or_else(
            |failure| failure.got().to_owned(),
            |count| count.to_string(),
        ),
    )
}

async fn begin_fails_when_busy() -> Outcome {
    tokio::time::resume();
    let database = Database::sample().await?;
    let lock = database.lock_exclusively().await?;
    let begun = engine(&database, impatient())?.begin().await;
    lock.release().await?;
    busy_error(
        "engine.begin() while another connection holds the write lock",
        begun,
    )?;

    let engine = engine(&database, small())?;
    let first = engine.begin().await.or_fail("engine.begin()")?;
    let mut waiting = pin!(engine.begin());
    let early = after(2 * small().acquire_timeout, waiting.as_mut()).await;
    let second = match early {
        Some(early) => early,
        None => waiting.await,
    };
    drop(first);
    busy_error(
        "engine.begin() while the only connection of the pool is in use",
        second,
    )?;
    tries_once("engine.begin()", async |engine: &Engine| {
        engine.begin().await.map(drop)
    })
    .await
}

async fn begin_fails_otherwise() -> Outcome {
    let database = Database::sample().await?;
    let asked = "engine.begin() over a database file that does not exist";
    let url = format!("{}-missing", database.url());
    let engine = Engine::new(&url, EngineConfig::default()).or_fail("Engine::new")?;
    let begun = engine.begin().await.map(drop);
    ensure(
        matches!(&begun, Err(Error::Database(sqlx::Error::Database(_)))),
        asked,
        "the error of SQLite, as an Error::Database",
        format!("{begun:?}"),
    )
}

/// The error must be one that clients hear as status 503.
fn busy_error<T>(asked: &str, begun: Result<T, Error>) -> Outcome {
    let expected = "an error that becomes status 503";
    match begun {
        Ok(_) => Err(Failure::new(asked, expected, "success")),
        Err(error) => {
            let text = format!("{error:?}");
            let status = error.into_response().status();
            let got = format!("status {status}: {text}");
            ensure(
                status == StatusCode::SERVICE_UNAVAILABLE,
                asked,
                expected,
                got,
            )
        }
    }
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

async fn begin_is_patient() -> Outcome {
    waits_half_an_hour("engine.begin()", async |engine: &Engine| {
        engine.begin().await.map(drop)
    })
    .await
}

/// Another connection holds the write lock for half an hour, which is less than
/// the busy timeout.
async fn waits_half_an_hour<T>(
    asked: &str,
    call: impl AsyncFnOnce(&Engine) -> Result<T, Error>,
) -> Outcome {
    tokio::time::resume();
    let database = Database::sample().await?;
    let hour = Duration::from_hours(1);
    let engine = engine(
        &database,
        EngineConfig {
            acquire_timeout: hour,
            busy_timeout: hour,
            ..EngineConfig::default()
        },
    )?;
    let lock = database.lock_exclusively().await?;
    let mut call = pin!(call(&engine));
    let early = after(hour / 2, call.as_mut()).await;
    lock.release().await?;
    let result = match early {
        Some(early) => early,
        None => call.await,
    };
    ensure(
        result.is_ok(),
        format!(
            "{asked} with a busy timeout of 60 minutes, while another connection holds the write \
             lock for 30 minutes"
        ),
        "success, as soon as the lock is free",
        format!("{:?}", result.err()),
    )
}

/// Another connection holds the write lock for longer than the busy timeout, but
/// no longer than the first attempt of `call` takes: a second one would succeed.
async fn tries_once<T>(
    asked: &str,
    call: impl AsyncFnOnce(&Engine) -> Result<T, Error>,
) -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(
        &database,
        EngineConfig {
            busy_timeout: Duration::ZERO,
            ..small()
        },
    )?;
    // The only connection goes to those who wait for it in their order: to the
    // call, and then to the query below it.
    let mut taken = engine.stream_query(sqlx::query("SELECT id FROM customer"));
    taken.try_next().await.or_fail("SELECT id FROM customer")?;
    let lock = database.lock_exclusively().await?;
    let release = async {
        let one = engine.execute_query(sqlx::query("SELECT 1")).await;
        lock.release().await?;
        one.or_fail("SELECT 1")
    };
    let (result, released, ()) = join!(call(&engine), release, async { drop(taken) });
    released?;
    busy_error(
        &format!(
            "{asked} while another connection holds the write lock, until the busy timeout has passed"
        ),
        result,
    )
}

async fn begin_dropped() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database, small())?;
    let one = || engine.execute_query(sqlx::query("SELECT 1"));
    one().await.or_fail("SELECT 1")?;
    for polls in 1..=3 {
        let lock = database.lock_exclusively().await?;
        drop_while_locked(polls, engine.begin()).await;
        lock.release().await?;

        let asked = "engine.begin() is dropped while another connection holds the write lock, \
                     which is then released";
        // The only connection is back when it answers, so what it was doing for
        // the dropped begin has ended.
        one()
            .await
            .or_fail(format!("{asked}; with a pool of 1, SELECT 1"))?;
        ensure(
            other_writer(&database, Duration::from_millis(500), "").await?,
            asked,
            "the write lock is free: nobody has a transaction",
            "the write lock is held by the engine's connection",
        )?;
    }
    engine
        .begin()
        .await
        .map(drop)
        .or_fail("engine.begin() after others were dropped")
}

async fn no_items_are_refused() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    refused(
        &database,
        &service,
        &json!({"customer_id": 2, "items": []}),
        "items",
    )
    .await
}

async fn quantities_are_limited() -> Outcome {
    let database = Database::sample().await?;
    let two_to_32 = 1_i64 << 32;
    let service = service(&database, EngineConfig::default())?;
    for quantity in [
        0,
        -1,
        -4,
        MAX_QUANTITY + 1,
        two_to_32,
        two_to_32 + 1,
        1 - two_to_32,
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
    ] {
        let items = json!([{"id": 2, "quantity": 1}, {"id": 3, "quantity": quantity}]);
        let order = json!({"customer_id": 2, "items": items});
        refused(&database, &service, &order, "items[1].quantity").await?;
    }
    Ok(())
}

async fn duplicates_are_refused() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    for (lines, field) in [
        ([(2, 1), (3, 1), (2, 1)], "items[2].id"),
        // Another quantity does not make it another item.
        ([(4, 5), (2, 1), (2, 3)], "items[2].id"),
        ([(3, 2), (3, 7), (1, 1)], "items[1].id"),
    ] {
        refused(&database, &service, &order(2, &lines), field).await?;
    }
    Ok(())
}

async fn rules_are_not_too_strict() -> Outcome {
    let twin = (1_i64 << 32) + 2;
    let database = Database::sample().await?;
    for id in [twin, -2, 0] {
        database.add_item(id, "Rye's \"best\"", 300).await?;
    }
    let many = many_lines(&database, 1_100).await?;
    let service = service(&database, EngineConfig::default())?;
    for lines in [
        vec![(2, 1)],
        vec![(2, MAX_QUANTITY)],
        // The limit is for each item, not for their sum.
        vec![(1, MAX_QUANTITY), (2, MAX_QUANTITY), (3, 2)],
        vec![(1, 5), (2, 5), (3, 5), (4, 5)],
        // The ids differ, although their lower 32 bits do not.
        vec![(2, 3), (twin, 4), (-2, 2), (0, 1)],
        many,
    ] {
        let reply = service.post_json(NEW_ORDER, &order(2, &lines)).await?;
        reply.expect_status(201)?;
    }
    Ok(())
}

async fn rules_need_no_connection() -> Outcome {
    // Not a database: whatever needs a connection to it fails.
    let database = Database::sample().await?;
    let engine = Engine::new(&format!("{}-missing", database.url()), small());
    let engine = engine.or_fail("Engine::new")?;
    for (customer, lines, field) in [
        (2, vec![], "items"),
        (77, vec![], "items"),
        (2, vec![(2, 0)], "items[0].quantity"),
        (2, vec![(99, 1), (3, MAX_QUANTITY + 1)], "items[1].quantity"),
        (2, vec![(2, 1), (3, 1), (2, 2)], "items[2].id"),
    ] {
        let items = new_items(&lines);
        let result = add_new_order_for_customer(&engine, customer, &items).await;
        equal_texts(
            format!(
                "the database cannot be opened:\n\
                 add_new_order_for_customer(&engine, {customer}, {})",
                order(customer, &lines)["items"]
            ),
            &blame(field),
            &blamed(&result),
        )?;
    }
    Ok(())
}

async fn answered_is_stored() -> Outcome {
    let database = Database::sample().await?;
    let twin = (1_i64 << 32) + 2;
    for id in [70, -7, twin, 0] {
        database.add_customer(id, "Dana O'Hara").await?;
        database.add_item(id, "Rye", 300).await?;
    }
    let many = many_lines(&database, 200).await?;
    let service = service(&database, EngineConfig::default())?;
    for (customer, lines) in [
        (1, vec![(4, 3), (1, 7), (3, 1)]),
        (70, vec![(twin, 2), (2, MAX_QUANTITY)]),
        (-7, vec![(70, 5), (-7, 1), (0, 9), (4, 2)]),
        (twin, vec![(2, 2)]),
        (0, many),
    ] {
        let order = order(customer, &lines);
        let reply = service.post_json(NEW_ORDER, &order).await?;
        let id = order_id(&reply)?;
        equal_texts(
            format!("{}\nthen: what is stored as order {id}?", reply.asked()),
            &order_text(customer, &lines),
            &stored(&database, id).await?,
        )?;
    }
    Ok(())
}

async fn the_right_customer() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    for customer in [2, 3, 1] {
        let reply = service
            .post_json(NEW_ORDER, &order(customer, &[(4, 3)]))
            .await?;
        let id = order_id(&reply)?;
        equal_texts(
            format!("{}\nthen: what is stored as order {id}?", reply.asked()),
            &order_text(customer, &[(4, 3)]),
            &stored(&database, id).await?,
        )?;
    }
    Ok(())
}

async fn the_right_time() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, EngineConfig::default())?;
    let now = "SELECT datetime('now')";
    let before: String = database.one(now).await?;
    let reply = service.post_json(NEW_ORDER, &order(2, &[(2, 4)])).await?;
    let id = order_id(&reply)?;
    let time = format!("SELECT order_time FROM orders WHERE id = {id}");
    let time: Option<String> = database.one(&time).await?;
    let time = time.unwrap_or_default();
    let after: String = database.one(now).await?;
    // Text of this form sorts as time does.
    ensure(
        time.len() == before.len() && before <= time && time <= after,
        format!("{}\nthen: the order_time of order {id}", reply.asked()),
        format!("from {before} to {after}"),
        time,
    )
}

async fn the_right_number() -> Outcome {
    let database = Database::sample().await?;
    // The ids have gaps, and each order of customer 2 makes another one behind it.
    database
        .execute(
            "DELETE FROM order_items WHERE order_id = 2;
             DELETE FROM orders WHERE id = 2;
             CREATE TRIGGER gift AFTER INSERT ON orders WHEN new.customer_id = 2
             BEGIN
                 INSERT INTO orders (id, customer_id, order_time) VALUES (new.id + 40, 3, new.order_time);
             END",
        )
        .await?;
    let service = service(&database, EngineConfig::default())?;
    let mut promised = BTreeSet::from([1, 3]);
    for customer in [1, 2, 2, 1] {
        let lines = [(1, customer), (4, 2)];
        let reply = service
            .post_json(NEW_ORDER, &order(customer, &lines))
            .await?;
        if reply.status != 201 {
            return Err(reply.failure("status 201; order 2 was deleted before, so ids have gaps"));
        }
        let id = order_id(&reply)?;
        let asked = "order 2 was deleted before, and a trigger adds another order behind each \
                     order of customer 2:";
        ensure(
            promised.insert(id),
            format!("{asked}\n{}", reply.asked()),
            "a number that no other order has",
            format!("order {id}"),
        )?;
        equal_texts(
            format!(
                "{asked}\n{}\nthen: what is stored as order {id}?",
                reply.asked()
            ),
            &order_text(customer, &lines),
            &stored(&database, id).await?,
        )?;
    }
    Ok(())
}

async fn unknown_item() -> Outcome {
    let database = Database::sample().await?;
    database.add_item(98, "Rye", 300).await?;
    database.add_item(-5, "Oats", 300).await?;
    let known = [(2, 4), (4, 1), (1, 9)];
    let service = service(&database, EngineConfig::default())?;
    for (unknown, at) in [
        (99, 1),
        (99, 0),
        (99, 2),
        (0, 1),
        (-1, 3),
        (50, 1),
        ((1 << 32) + 2, 2),
    ] {
        let mut lines = known.to_vec();
        lines.insert(at, (unknown, 6));
        let field = format!("items[{at}].id");
        refused(&database, &service, &order(2, &lines), &field).await?;
        refused_without_http(&database, 2, &lines, &field).await?;
    }
    Ok(())
}

async fn unknown_customer() -> Outcome {
    let database = Database::sample().await?;
    database.add_customer(76, "Dana").await?;
    database.add_customer(-5, "Eve").await?;
    let service = service(&database, EngineConfig::default())?;
    for unknown in [77, 0, -1, 50, (1 << 32) + 2, i64::MIN] {
        refused(
            &database,
            &service,
            &order(unknown, &[(2, 4)]),
            "customer_id",
        )
        .await?;
        refused_without_http(&database, unknown, &[(2, 4)], "customer_id").await?;
    }
    Ok(())
}

const NOBODY_TO_BLAME: &str = "status 500: no field of the order is to blame";

async fn item_fails_otherwise() -> Outcome {
    for (what, prepared, status, expected) in [
        (
            "item 3 exists, but a trigger aborts its INSERT into order_items",
            refusal("order_items", "WHEN new.item_id = 3"),
            500,
            NOBODY_TO_BLAME,
        ),
        (
            "item 2 exists, but a trigger aborts its INSERT into order_items",
            refusal("order_items", "WHEN new.item_id = 2"),
            500,
            NOBODY_TO_BLAME,
        ),
        (
            "item 3 exists, but by a unique index only one order may have it, and one has",
            "CREATE UNIQUE INDEX only_one ON order_items (item_id) WHERE item_id = 3".to_owned(),
            400,
            "status 400, as error.rs has it: the item is known, it is not the foreign key",
        ),
        (
            "the table `item` does not exist",
            "PRAGMA foreign_keys = OFF; DROP TABLE item".to_owned(),
            500,
            NOBODY_TO_BLAME,
        ),
    ] {
        fails_otherwise(what, &prepared, status, expected).await?;
    }
    Ok(())
}

async fn customer_fails_otherwise() -> Outcome {
    for (what, prepared, status, expected) in [
        (
            "customer 2 exists, but a trigger aborts each INSERT into orders",
            refusal("orders", ""),
            500,
            NOBODY_TO_BLAME,
        ),
        (
            "customer 2 exists, but by a unique index may have only one order, and has one",
            "CREATE UNIQUE INDEX only_one ON orders (customer_id)".to_owned(),
            400,
            "status 400, as error.rs has it: the customer is known, it is not the foreign key",
        ),
        (
            "the table `customer` does not exist",
            "PRAGMA foreign_keys = OFF; DROP TABLE customer".to_owned(),
            500,
            NOBODY_TO_BLAME,
        ),
    ] {
        fails_otherwise(what, &prepared, status, expected).await?;
    }
    Ok(())
}

fn refusal(table: &str, condition: &str) -> String {
    format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON {table} {condition}
         BEGIN SELECT RAISE(ABORT, 'refused by the check'); END"
    )
}

/// Posts an order to a service whose database was prepared so that it fails.
async fn fails_otherwise(what: &str, prepared: &str, status: u16, expected: &str) -> Outcome {
    let database = Database::sample().await?;
    database.execute(prepared).await?;
    let service = service(&database, EngineConfig::default())?;
    let before = database.snapshot().await?;
    let reply = service
        .post_json(NEW_ORDER, &order(2, &[(2, 4), (3, 6), (4, 1)]))
        .await?;
    let asked = format!("{what}:\n{}", reply.asked());
    ensure(
        reply.status == status,
        &asked,
        expected,
        format!("status {}: {}", reply.status, reply.text()),
    )?;
    database.expect_unchanged(&asked, &before).await
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
    let reply = service.post_json(NEW_ORDER, &order(2, &[(2, 4)])).await?;
    let asked = format!(
        "a deferred foreign key makes the COMMIT of each order fail:\n{}",
        reply.asked()
    );
    ensure(
        reply.status >= 400 && reply.status != 422,
        &asked,
        "the status that error.rs has for this error of the database: nothing has been stored, \
         and no field is to blame",
        format!("status {}: {}", reply.status, reply.text()),
    )?;
    database.expect_unchanged(&asked, &before).await
}

async fn one_connection() -> Outcome {
    let database = Database::sample().await?;
    database
        .execute(&refusal("order_items", "WHEN new.item_id = 1"))
        .await?;
    let service = service(&database, small())?;
    let good = order(2, &[(2, 4)]);

    for (order, status) in [
        (&good, 201),
        (&order(2, &[(99, 4)]), 422),
        (&order(77, &[(2, 4)]), 422),
        (&order(2, &[(4, 4), (1, 2)]), 500),
        (&good, 201),
    ] {
        let reply = service.post_json(NEW_ORDER, order).await?;
        if reply.status != status {
            return Err(Failure::new(
                format!("with a pool of 1: {}", reply.asked()),
                format!("status {status}"),
                format!("status {}: {}", reply.status, reply.text()),
            ));
        }
        ensure(
            other_writer(&database, Duration::from_secs(5), "").await?,
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

async fn deleted_meanwhile() -> Outcome {
    for (what, delete, field) in [
        (
            "customer 70",
            "DELETE FROM customer WHERE id = 70",
            "customer_id",
        ),
        ("item 80", "DELETE FROM item WHERE id = 80", "items[1].id"),
    ] {
        for queries_before in 0..=3 {
            let database = Database::sample().await?;
            database.add_customer(70, "Dana").await?;
            database.add_item(80, "Rye", 300).await?;
            let engine = engine(
                &database,
                EngineConfig {
                    acquire_timeout: Duration::from_secs(5),
                    ..small()
                },
            )?;
            let items = new_items(&[(2, 1), (80, 3)]);

            // The only connection of the pool goes to those who wait for it in
            // their order. So if the order gives it back and takes it again, the
            // other client has it in between.
            let taken = engine.begin().await.or_fail("engine.begin()")?;
            let call = add_new_order_for_customer(&engine, 70, &items);
            let other_client = async {
                for _ in 0..queries_before {
                    engine.execute_query(sqlx::query("SELECT 1")).await?;
                }
                let mut transaction = engine.begin().await?;
                // An order that is stored already protects its customer and items.
                let deleted = sqlx::query(delete).execute(&mut *transaction).await.is_ok();
                transaction.commit().await?;
                Ok::<_, Error>(deleted)
            };
            let (result, deleted, ()) = join!(call, other_client, async { drop(taken) });
            let deleted = deleted.or_fail(delete)?;
            let (when, right, expected) = if deleted {
                let expected = blame(field);
                ("has deleted", blamed(&result) == expected, expected)
            } else {
                (
                    "could not delete",
                    result.is_ok(),
                    "the order's number".to_owned(),
                )
            };
            ensure(
                right,
                format!(
                    "with a pool of 1: add_new_order_for_customer(&engine, 70, [2 x 1, 80 x 3])\n\
                     {what} existed when the call began; another client {when} it meanwhile"
                ),
                expected,
                blamed(&result),
            )?;
        }
    }
    Ok(())
}

async fn fifty_at_once() -> Outcome {
    let database = Database::sample().await?;
    let patient = EngineConfig {
        acquire_timeout: Duration::from_secs(7),
        busy_timeout: Duration::from_secs(7),
        ..EngineConfig::default()
    };
    let service = service(&database, patient)?;
    let lines = |client: i64| [(1, client), (2, 1), (4, client)];
    let asked = "50 clients at once: POST /api/add_new_order";
    let orders: Vec<_> = (1..=50)
        .map(|client| order(1 + client % 3, &lines(client)))
        .collect();
    let replies = join_all(
        orders
            .iter()
            .map(|order| service.post_json(NEW_ORDER, order)),
    )
    .await;

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
            &order_text(1 + client % 3, &lines(client)),
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
    // Each INSERT takes longer than a thread may run while others wait, so that its
    // await does have to wait.
    for table in ["orders", "order_items"] {
        database
            .execute(&format!(
                "CREATE TABLE IF NOT EXISTS digits AS
                 SELECT value FROM json_each('[0,1,2,3,4,5,6,7,8,9]');
                 CREATE TRIGGER slow_{table} BEFORE INSERT ON {table}
                 BEGIN SELECT count(*) FROM digits a, digits b, digits c, digits d, digits e; END"
            ))
            .await?;
    }
    let engine = engine(&database, small())?;
    // Opens the connection, so that each round has the same awaits before it.
    engine
        .execute_query(sqlx::query("SELECT 1"))
        .await
        .or_fail("SELECT 1")?;
    let lines = [(2, 4), (3, 6), (4, 1), (1, 2)];
    let items = new_items(&lines);
    let recording = Recording::start();
    // Each round lets the future go one statement further than the one before.
    // Where more had ended by the time of the drop (two fast statements in one
    // poll, or a busy machine), the round is tried again a few times.
    let mut exact = None;
    for statements in (0..=100).flat_map(|statements| [statements; 10]) {
        if exact == Some(statements) {
            continue;
        }
        let executed = || recording.statements().len();
        let begin = executed();
        let mut ended = 0;
        let stop = || {
            ended = executed() - begin;
            ended >= statements
        };
        let order = add_new_order_for_customer(&engine, 2, &items);
        let finished = poll_until(stop, order, true).await;
        if let Some(result) = finished {
            let id = result.or_fail("add_new_order_for_customer(&engine, 2, …)")?;
            if executed() - begin > statements {
                continue;
            }
            return equal_texts(
                format!(
                    "{statements} clients that went away, then one that stayed: what is stored as order {id}?"
                ),
                &order_text(2, &lines),
                &stored(&database, id).await?,
            );
        }
        if ended == statements {
            exact = Some(statements);
        }
        let asked = format!(
            "add_new_order_for_customer(&engine, 2, …) with 4 items, dropped when {ended} statements had ended"
        );
        ensure(
            other_writer(&database, Duration::from_secs(5), "").await?,
            &asked,
            "the write lock is free",
            "the lock is still held after 5 s",
        )?;
        let half = "SELECT count(*) FROM orders WHERE id > 3
                    AND (SELECT count(*) FROM order_items WHERE order_id = orders.id) <> 4";
        let half: i64 = database.one(half).await?;
        ensure(
            half == 0,
            &asked,
            "the order with its four items, or nothing",
            "an order that has not all of its items",
        )?;
        // The only connection is free again when this has been executed.
        engine
            .execute_query(sqlx::query("SELECT 1"))
            .await
            .or_fail("SELECT 1")?;
        let after = executed() - begin - ended - 1;
        ensure(
            after <= 1,
            format!("{asked}; how many statements end after that?"),
            "at most the one that was being executed",
            format!("{after}: the order goes on without its caller"),
        )?;
    }
    Err(Failure::new(
        "add_new_order_for_customer(&engine, 2, …)",
        "less than 100 statements",
        "more than 100 statements",
    ))
}

async fn dropped_while_waiting() -> Outcome {
    let database = Database::sample().await?;
    let before = database.snapshot().await?;
    let engine = engine(&database, small())?;
    engine
        .execute_query(sqlx::query("SELECT 1"))
        .await
        .or_fail("SELECT 1")?;
    let items = new_items(&[(2, 4), (3, 6)]);
    for polls in 0..=3 {
        let lock = database.lock_exclusively().await?;
        let order = add_new_order_for_customer(&engine, 2, &items);
        drop_while_locked(polls, order).await;
        lock.release().await?;
        // The only connection is free again when this has been executed.
        engine
            .execute_query(sqlx::query("SELECT 1"))
            .await
            .or_fail("SELECT 1")?;
    }
    // The last connection closes when all work for the orders has ended.
    drop(engine);
    database.wait_until_closed().await?;
    database
        .expect_unchanged(
            "add_new_order_for_customer(&engine, 2, …) is dropped while another connection \
             holds the write lock, which is then released",
            &before,
        )
        .await
}

async fn busy() -> Outcome {
    let database = Database::sample().await?;
    let service = service(&database, impatient())?;
    let before = database.snapshot().await?;
    let order = order(2, &[(2, 4)]);
    let lock = database.lock_exclusively().await?;
    let reply = service.post_json(NEW_ORDER, &order).await?;
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

async fn waits_once() -> Outcome {
    let items = new_items(&[(2, 4)]);
    let asked = "add_new_order_for_customer(&engine, 2, [2 x 4])";
    waits_half_an_hour(asked, async |engine: &Engine| {
        add_new_order_for_customer(engine, 2, &items).await
    })
    .await?;
    tries_once(asked, async |engine: &Engine| {
        add_new_order_for_customer(engine, 2, &items).await
    })
    .await
}

async fn answers_to_orders() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::new_order_refusals(&service, &database).await
}

/// Three values for each item are more than one statement may have.
async fn long_order() -> Outcome {
    let database = Database::sample().await?;
    let lines = many_lines(&database, 11_000).await?;
    let engine = engine(&database, EngineConfig::default())?;
    let asked = "add_new_order_for_customer(&engine, 2, …) with 11,000 items";
    let id = add_new_order_for_customer(&engine, 2, &new_items(&lines)).await;
    let id = id.or_fail(asked)?;
    let stored = format!("SELECT count(*) FROM order_items WHERE order_id = {id}");
    equal(
        format!("{asked}: how many items has order {id}?"),
        11_000,
        database.one::<i64>(&stored).await?,
    )
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::customers_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_of_customer_flat(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await
}

/// A service over a database of its own. The service goes first when they are
/// dropped.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database, EngineConfig::default())?, database))
}

/// Posts the order: it must be refused, blaming `field`, and leave the database
/// as it was.
async fn refused(database: &Database, service: &Service, order: &Value, field: &str) -> Outcome {
    let before = database.snapshot().await?;
    let reply = service.post_json(NEW_ORDER, order).await?;

    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let named = body["errors"][0]["field"].as_str();
    let content_type = reply.header("content-type").unwrap_or("none");
    let what_is_new = before.difference(&database.snapshot().await?);
    let expected =
        format!("status 422, a problem whose errors[0].field is \"{field}\", nothing stored");
    if reply.status >= 500 {
        return Err(reply.failure(expected));
    }
    let (status, text) = (reply.status, reply.text());
    ensure(
        status == 422
            && named == Some(field)
            && content_type == "application/problem+json"
            && what_is_new.is_empty(),
        reply.asked(),
        expected,
        match what_is_new.as_str() {
            "" => format!("status {status}, {content_type}: {text}"),
            new => format!("status {status}, {content_type}: {text}\n{new}"),
        },
    )
}

/// The same for a caller that does not come over HTTP.
async fn refused_without_http(
    database: &Database,
    customer: i64,
    lines: &[(i64, i64)],
    field: &str,
) -> Outcome {
    let engine = engine(database, EngineConfig::default())?;
    let before = database.snapshot().await?;
    let result = add_new_order_for_customer(&engine, customer, &new_items(lines)).await;
    let asked = format!(
        "add_new_order_for_customer(&engine, {customer}, {})",
        order(customer, lines)["items"]
    );
    equal_texts(asked.clone(), &blame(field), &blamed(&result))?;
    database.expect_unchanged(&asked, &before).await
}

fn blame(field: &str) -> String {
    format!("Error::Unprocessable with the field \"{field}\"")
}

/// What a call has returned, in the words of [`blame`].
fn blamed(result: &Result<i64, Error>) -> String {
    match result {
        Ok(id) => format!("Ok({id})"),
        Err(Error::Unprocessable { field, .. }) => blame(field),
        Err(error) => format!("{error:?}"),
    }
}

/// The JSON of an order. A line is the id of an item and its quantity.
fn order(customer: i64, lines: &[(i64, i64)]) -> Value {
    let items: Value = lines
        .iter()
        .map(|(id, quantity)| json!({"id": id, "quantity": quantity}))
        .collect();
    json!({"customer_id": customer, "items": items})
}

fn new_items(lines: &[(i64, i64)]) -> Vec<NewOrderItem> {
    let item = |&(id, quantity)| NewOrderItem { id, quantity };
    lines.iter().map(item).collect()
}

/// 200 lines, in no order of their ids, and the items for them.
async fn many_lines(database: &Database, count: i64) -> Result<Vec<(i64, i64)>, Failure> {
    database
        .execute(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n LIMIT {count})
             INSERT INTO item (id, name, price_cents) SELECT i, 'Item ' || i, i FROM n"
        ))
        .await?;
    Ok((0..count)
        .map(|i| (100 + i * 7919 % count, 1 + i))
        .collect())
}

/// The order as [`stored`] shows it.
fn order_text(customer: i64, lines: &[(i64, i64)]) -> String {
    let line = |(id, quantity): &(i64, i64)| format!("item {id} x {quantity}");
    let lines: Vec<_> = lines.iter().map(line).collect();
    format!("customer {customer}: {}", lines.join(", "))
}

fn engine(database: &Database, config: EngineConfig) -> Result<Engine, Failure> {
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

fn service(database: &Database, config: EngineConfig) -> Result<Service, Failure> {
    Ok(Service::start(server::app(engine(database, config)?)))
}

/// One connection, and little patience with the code that keeps it.
fn small() -> EngineConfig {
    EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(3),
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

/// Whether another connection can take the write lock within `patience` and
/// execute `sql`. It releases the lock at once.
async fn other_writer(database: &Database, patience: Duration, sql: &str) -> Result<bool, Failure> {
    let mut connection = SqliteConnectOptions::new()
        .filename(database.path())
        .busy_timeout(patience)
        .disable_statement_logging()
        .connect()
        .await
        .or_fail("another connection")?;
    let sql = format!("BEGIN IMMEDIATE; {sql}; COMMIT");
    let done = sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await;
    // Closing it ends what it has begun.
    connection.close().await.or_fail("another connection")?;
    match done {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.message().contains("locked") || error.is_foreign_key_violation() =>
        {
            Ok(false)
        }
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
    if polls == 0 {
        return None;
    }
    let mut polled = 0;
    let stop = || {
        polled += 1;
        polled == polls
    };
    poll_until(stop, future, false).await
}

/// Drives `future` until it is ready, or drops it when it has to wait and `stop`
/// returns true. `eager` polls it all the time, since nothing wakes it when a task
/// of its own gets on.
async fn poll_until<F: Future>(
    mut stop: impl FnMut() -> bool,
    future: F,
    eager: bool,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if stop() => Poll::Ready(None),
        Poll::Pending => {
            if eager {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }
    })
    .await
}

/// Begins `future` and lets the runtime's clock jump ahead, for a check that
/// begins with a paused clock and lets it run otherwise. SQLite's clock does not
/// jump. Returns what the future has come to by then.
async fn after<F: Future>(jump: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let early = poll_at_most(1, future.as_mut()).await;
    if early.is_some() {
        return early;
    }
    tokio::time::pause();
    tokio::time::advance(jump).await;
    tokio::time::resume();
    poll_at_most(1, future).await
}

/// Polls a future that waits for the write lock, and drops it. It may not be
/// woken as often as that, since only the lock could wake it; then 20 ms will do.
async fn drop_while_locked<F: Future>(polls: usize, future: F) {
    let polled = poll_at_most(polls, future);
    let _ = tokio::time::timeout(Duration::from_millis(20), polled).await;
}
