//! What step 08 asks for: rows with types of their own, rows that belong
//! together, and a number of statements that does not grow with the rows.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use axum::response::IntoResponse;
use check::memory::peak_during;
use check::statements::{Recording, Statement, equal_runs};
use check::{Database, Failure, OrFail, Outcome, Service, Suite, ensure, equal, equal_json};
use futures::stream::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use step08::db::base::{Engine, EngineConfig, PAGE_ROWS, Rows};
use step08::db_accessor::{
    add_new_order_for_customer, get_customers, get_items_of_orders, get_orders_of_customer,
    get_orders_of_customer_joined, get_total_cost_of_an_order, get_total_cost_of_orders,
};
use step08::error::Error;
use step08::server;
use step08::types::{Customer, Item, Money, NewOrderItem, Order, OrderCustomer, OrderItem};
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("08-typed-rows", env!("CARGO_MANIFEST_DIR"))
        .check(
            "08.1",
            "a row with the columns of an address is a customer with an address",
            customer_from_row,
        )
        .check(
            "08.2",
            "every customer is shown with their own address",
            customers_nested,
        )
        .check(
            "08.2",
            "the customers are complete and in order at every page border",
            customers_are_complete,
        )
        .check(
            "08.2",
            "customers: a page is read only when its first customer is asked for",
            customers_on_demand,
        )
        .check(
            "08.2",
            "an address that cannot be read is an error",
            customers_with_a_damaged_address,
        )
        .check(
            "08.3",
            "a line costs its price times its quantity, exact to the cent",
            item_total_is_exact,
        )
        .check("08.3", "a sum in Rust is the sum in SQL", sums_agree)
        .check(
            "08.4",
            "joined: each order comes once, with its own items in their order",
            joined_orders,
        )
        .check(
            "08.4",
            "joined: an order without items is there, with an empty list",
            joined_empty_orders,
        )
        .check(
            "08.4",
            "joined: an item with an empty name that costs nothing is an item",
            joined_free_items,
        )
        .check(
            "08.4",
            "joined: one statement for 1, 10 and 1000 orders",
            joined_statements,
        )
        .check(
            "08.4",
            "joined: a row that cannot be read is an error",
            joined_with_damage,
        )
        .check(
            "08.5",
            "select-in: each order has its own items in their order",
            items_of_orders,
        )
        .check(
            "08.5",
            "select-in: one statement for 1, 10 and 1000 orders, which reads only their items",
            items_statements,
        )
        .check(
            "08.5",
            "select-in: the list of ids may have any length",
            items_of_many_orders,
        )
        .check(
            "08.5",
            "select-in: items that cannot be read are an error",
            items_with_damage,
        )
        .check(
            "08.6",
            "the orders of a customer are shown with their items",
            orders_nested,
        )
        .check(
            "08.6",
            "the orders are complete and in order at every page border",
            orders_are_complete,
        )
        .check(
            "08.6",
            "the number of statements does not grow with the orders",
            orders_statements,
        )
        .check(
            "08.6",
            "no connection is held while the caller is busy with the orders",
            orders_hold_nothing,
        )
        .check(
            "08.6",
            "orders: a page is read only when its first order is asked for",
            orders_on_demand,
        )
        .check(
            "08.6",
            "orders that are removed meanwhile do not hide others",
            orders_are_not_skipped,
        )
        .check(
            "08.6",
            "five times the orders take no more memory",
            orders_flat_memory,
        )
        .check(
            "08.6",
            "an order that cannot be read is an error, after the orders before it",
            orders_with_a_damaged_time,
        )
        .check(
            "08.6",
            "items that cannot be read are an error, not an empty list",
            orders_with_damaged_items,
        )
        .check(
            "08.6",
            "the orders can be read while another program writes",
            orders_beside_a_writer,
        )
        .check(
            "08.7",
            "the totals are in the order asked, null where there is none",
            totals_as_asked,
        )
        .check(
            "08.7",
            "one statement for the totals of 1, 10 and 1000 orders, with a row for each",
            totals_statements,
        )
        .check(
            "08.7",
            "the totals of many orders are those of each of them",
            totals_agree,
        )
        .check(
            "08.7",
            "a total that cannot be computed is an error, not null",
            totals_with_damage,
        )
        .check(
            "08.8",
            "a new order is stored with its items in the order of the request",
            new_order_stored,
        )
        .check(
            "08.8",
            "the number of statements does not grow with the items",
            new_order_statements,
        )
        .check(
            "08.8",
            "the item that does not exist is named, and nothing is stored",
            unknown_item,
        )
        .check(
            "08.8",
            "the order needs no second connection to find the item that does not exist",
            unknown_item_with_one_connection,
        )
        .check(
            "08.8",
            "another failure of the insert is the service's fault, not the client's",
            refused_items,
        )
        .check(
            "08.8",
            "a request that is dropped stores its whole order or nothing",
            new_order_dropped,
        )
        .check("08.8", "all other answers are as before", other_answers)
        .run()
}

/// More rows than any list of the checks has.
const FAR_TOO_MANY: usize = 20_000;

// 08.1 and 08.2: a customer and an address

async fn customer_from_row() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine(&database)?;
    let sql = "SELECT 7 AS id, 'Zoë' AS name, 404 AS flat_number, 10404 AS post_code";
    let asked = format!("Customer::from_row, for the row of\n{sql}");
    let customer: Customer = sqlx::query_as(sql)
        .fetch_one(engine.pool())
        .await
        .or_fail(&asked)?;
    let expected = json!({
        "id": 7,
        "name": "Zoë",
        "address": {"flat_number": 404, "post_code": 10404},
    });
    equal_json(asked, &expected, &to_json(&customer)?)
}

async fn customers_nested() -> Outcome {
    let (service, database) = fresh().await?;
    contract::customers_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::customers_nested_ndjson(&service, &database).await
}

async fn customers_are_complete() -> Outcome {
    for count in [1, 500, 501, 1001] {
        let database = many_customers(count).await?;
        let sql = "SELECT json_group_array(json_object('id', id, 'name', name, 'address',
                       json_object('flat_number', flat_number, 'post_code', post_code)))
                   FROM (
                       SELECT customer.id AS id, name, flat_number, post_code
                       FROM customer JOIN address ON address.id = customer.address_id
                       ORDER BY customer.id
                   )";
        let expected = stored(&database, sql).await?;
        let service = service(&database)?;
        let reply = service.get("/api/customers").await?;
        reply.expect_status(200)?;
        let asked = format!("{count} customers: {}", reply.asked());
        equal_json(asked, &expected, &reply.json()?)?;
    }
    Ok(())
}

async fn customers_on_demand() -> Outcome {
    let database = many_customers(1_200).await?;
    on_demand(&database, "get_customers, of 1200", get_customers, 1).await
}

async fn customers_with_a_damaged_address() -> Outcome {
    let database = Database::sample().await?;
    // A text where a number is expected.
    let damage = "ALTER TABLE address RENAME TO stored_address;
                  CREATE VIEW address AS
                      SELECT id, flat_number,
                             CASE id WHEN 3 THEN 'N1' ELSE post_code END AS post_code
                      FROM stored_address;";
    database.execute(damage).await?;
    let engine = engine(&database)?;
    let asked = "get_customers; the post code of the third customer is the text 'N1'";
    let error = fails_after(asked, get_customers(&engine), 2..=2).await?;
    services_fault(asked, error)
}

// 08.3: what a line costs

async fn item_total_is_exact() -> Outcome {
    for (price, quantity, total) in [
        (500, 1, 500),
        (1050, 2, 2100),
        (10, 7, 70),
        (29, 100, 2900),
        (0, 5, 0),
        (1, 1_000_000, 1_000_000),
        (5_000_000_000, 3, 15_000_000_000),
        // More than an f64 can tell from its neighbours.
        (9_007_199_254_740_993, 1, 9_007_199_254_740_993),
    ] {
        let line = line(price, quantity);
        equal(
            format!("item_total of {quantity} pieces at {price} cents each, in cents"),
            total,
            line.item_total().0,
        )?;
    }
    Ok(())
}

async fn sums_agree() -> Outcome {
    let database = Database::sample().await?;
    database.add_orders(60, 4).await?;
    // Prices with which a sum of floats is not what it should be.
    let prices = "UPDATE item SET price_cents = id * id * 7 + 3";
    database.execute(prices).await?;
    let engine = engine(&database)?;
    for id in 1..=63 {
        // Without the functions of the later tasks.
        let items: Vec<OrderItem> = sqlx::query_as(
            "SELECT name, price_cents, quantity
             FROM order_items JOIN item ON item.id = item_id WHERE order_id = $1",
        )
        .bind(id)
        .fetch_all(engine.pool())
        .await
        .or_fail(format!("the items of order {id}"))?;
        let order = Order {
            order_id: id,
            customer: OrderCustomer {
                name: "Alex".to_owned(),
            },
            order_time: "2024-03-18".parse().or_fail("a time")?,
            items,
        };
        let in_sql = get_total_cost_of_an_order(&engine, id)
            .await
            .or_fail(format!("get_total_cost_of_an_order({id})"))?;
        equal(
            format!("Order::total of order {id} in cents, and SUM in SQL"),
            cents(in_sql),
            cents(order.total()),
        )?;
    }
    Ok(())
}

// 08.4: joined loading

async fn joined_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    for customer in [1, 3, 2] {
        let asked = format!("get_orders_of_customer_joined({customer})");
        let orders = get_orders_of_customer_joined(&engine, customer)
            .await
            .or_fail(&asked)?;
        // The next check is about orders without items.
        let with_items = |orders: Value| -> Vec<Value> {
            let orders = orders.as_array().cloned().unwrap_or_default();
            orders
                .into_iter()
                .filter(|order| order["items"] != json!([]))
                .collect()
        };
        let expected = with_items(stored_orders(&database, customer).await?);
        let got = with_items(to_json(&orders)?);
        equal_json(
            format!("{asked}: the orders that have items"),
            &json!(expected),
            &json!(got),
        )?;
    }
    Ok(())
}

async fn joined_empty_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    // Customer 2 has only empty orders, customer 4 has no orders, 77 does not exist.
    for customer in [2, 1, 4, 77] {
        let asked = format!("get_orders_of_customer_joined({customer})");
        let orders = get_orders_of_customer_joined(&engine, customer)
            .await
            .or_fail(&asked)?;
        let expected = stored_orders(&database, customer).await?;
        equal_json(asked, &expected, &to_json(&orders)?)?;
    }
    Ok(())
}

async fn joined_free_items() -> Outcome {
    let database = Database::sample().await?;
    database.add_item(-5, "", 0).await?;
    database.add_order(9, 1, &[(-5, 1), (4, 2)]).await?;
    database.add_order(-9, 1, &[(-5, 3)]).await?;
    let engine = engine(&database)?;
    let asked = "get_orders_of_customer_joined(1); item -5 has the name '' and costs 0";
    let orders = get_orders_of_customer_joined(&engine, 1).await;
    let expected = stored_orders(&database, 1).await?;
    equal_json(asked, &expected, &to_json(&orders.or_fail(asked)?)?)
}

async fn joined_statements() -> Outcome {
    for count in [1, 10, 1000] {
        let database = of_one_customer(count, 3).await?;
        let lock = database.lock_exclusively().await?;
        let engine = engine_of_one(&database)?;
        let recording = Recording::start();
        let asked = format!(
            "get_orders_of_customer_joined of a customer with {count} orders, \
             while another program writes"
        );
        let orders = get_orders_of_customer_joined(&engine, 1)
            .await
            .or_fail(&asked)?;
        equal(format!("{asked}: orders"), count as usize, orders.len())?;
        one_statement(&recording, &asked)?;
        lock.release().await?;
    }
    Ok(())
}

async fn joined_with_damage() -> Outcome {
    for (damage, what) in [
        (DAMAGED_TIME, "the time of order 1 is 'soon'"),
        (DAMAGED_NAME, "the name of item 3 is not UTF-8"),
        (DAMAGED_PRICE, "the price of item 3 is the text 'dear'"),
        (NO_ITEMS, "the table item is gone"),
    ] {
        let database = Database::sample().await?;
        database.execute(damage).await?;
        let engine = engine(&database)?;
        let asked = format!("get_orders_of_customer_joined(1); {what}");
        let orders = get_orders_of_customer_joined(&engine, 1).await;
        fails(&asked, orders)?;
    }
    Ok(())
}

// 08.5: select-in loading

async fn items_of_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    let all: Vec<i64> = (-30..=30).collect();
    for (ids, what) in [
        (vec![], "no ids"),
        (vec![1], "order 1"),
        (vec![3], "order 3, which has no items"),
        (vec![77], "an order that does not exist"),
        (vec![2, 1], "the orders 2 and 1"),
        (
            vec![11, 10, 3, 12, 3_000_000_000, 2],
            "the orders 11, 10, 3, 12, 3000000000, 2",
        ),
        (vec![10, 2, 10, 10], "the orders 10, 2, 10, 10"),
        (all, "the orders -30 to 30"),
    ] {
        let items = get_items_of_orders(&engine, &ids)
            .await
            .or_fail(format!("get_items_of_orders of {what}"))?;
        same_items(&database, what, &ids, &items).await?;
    }
    Ok(())
}

async fn items_statements() -> Outcome {
    let database = of_one_customer(2_000, 2).await?;
    let lock = database.lock_exclusively().await?;
    let engine = engine_of_one(&database)?;
    let recording = Recording::start();
    for count in [1, 10, 1000] {
        let ids = order_ids(1..=count);
        let asked = format!(
            "get_items_of_orders of {count} of 2000 orders with 2 items each, \
             while another program writes"
        );
        recording.clear();
        let items = get_items_of_orders(&engine, &ids).await.or_fail(&asked)?;
        let lines: usize = items.values().map(Vec::len).sum();
        equal(format!("{asked}: items"), 2 * count as usize, lines)?;
        one_statement(&recording, &asked)?;
        at_most_rows(&recording, &asked, 2 * u64::from(count))?;
    }
    let mut runs = Vec::new();
    for ids in [order_ids(5..=7), order_ids(1_001..=1_003)] {
        recording.clear();
        let items = get_items_of_orders(&engine, &ids).await;
        items.or_fail("get_items_of_orders of 3 orders")?;
        runs.push(recording.statements());
    }
    same_text("get_items_of_orders of 3 orders, and of 3 others", runs)?;
    lock.release().await
}

async fn items_of_many_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    // More than SQLite accepts as single values.
    let ids: Vec<i64> = (-100..=40_000).collect();
    let what = "the orders -100 to 40000, of which 14 exist";
    let items = get_items_of_orders(&engine, &ids)
        .await
        .or_fail(format!("get_items_of_orders of {what}"))?;
    same_items(&database, what, &ids, &items).await
}

async fn items_with_damage() -> Outcome {
    for (damage, what) in [
        (DAMAGED_NAME, "the name of item 3 is not UTF-8"),
        (DAMAGED_PRICE, "the price of item 3 is the text 'dear'"),
        (NO_ITEMS, "the table item is gone"),
    ] {
        let database = Database::sample().await?;
        database.execute(damage).await?;
        let engine = engine(&database)?;
        let asked = format!("get_items_of_orders(2, 1); {what}");
        fails(&asked, get_items_of_orders(&engine, &[2, 1]).await)?;
    }
    Ok(())
}

// 08.6: the orders of a customer

async fn orders_nested() -> Outcome {
    let (service, database) = fresh().await?;
    contract::orders_of_customer_nested(&service, &database).await?;
    contract::orders_of_unknown_customer_empty(&service).await?;

    let database = look_alikes().await?;
    let service = self::service(&database)?;
    for customer in 1..=5 {
        let reply = service.get(&format!("/api/orders/{customer}")).await?;
        let expected = stored_orders(&database, customer).await?;
        reply.expect_json(200, &expected)?;
    }
    Ok(())
}

async fn orders_are_complete() -> Outcome {
    for count in [499, 500, 501] {
        // Every third order is empty, the others have four items: 500 rows of a
        // join end in the middle of an order. Another customer's orders are
        // between them.
        let database = of_one_customer(count, 4).await?;
        let sql = "DELETE FROM order_items WHERE order_id % 3 = 0;
                   INSERT INTO orders (id, customer_id, order_time) SELECT id + 1, 2, order_time FROM orders;
                   INSERT INTO order_items SELECT id, 1, 1 FROM orders WHERE customer_id = 2;";
        database.execute(sql).await?;
        let engine = engine(&database)?;
        let asked = format!("get_orders_of_customer of a customer with {count} orders");
        let orders = collect(get_orders_of_customer(&engine, 1)).await;
        let orders = orders.or_fail(&asked)?;
        equal(format!("{asked}: orders"), count as usize, orders.len())?;
        let expected = stored_orders(&database, 1).await?;
        equal_json(asked, &expected, &to_json(&orders)?)?;
    }
    Ok(())
}

async fn orders_statements() -> Outcome {
    let mut few = None;
    for count in [1, 10, 400] {
        let database = of_one_customer(count, 2).await?;
        let (asked, executed) = statements_of_stream(&database, count).await?;
        // Two for the page, and as many to see that there is no further one.
        let expected = *few.get_or_insert(executed);
        ensure(
            executed == expected && executed <= 4,
            asked,
            format!("as many statements as for 1 order ({expected}), and at most 4"),
            format!("{executed} statements"),
        )?;
    }
    let database = of_one_customer(1000, 2).await?;
    let (asked, executed) = statements_of_stream(&database, 1000).await?;
    ensure(
        executed <= 6,
        asked,
        format!("at most 2 statements for each page of {PAGE_ROWS} orders, and 2 at the end"),
        format!("{executed} statements"),
    )
}

async fn statements_of_stream(database: &Database, count: u32) -> Result<(String, usize), Failure> {
    let engine = engine(database)?;
    let recording = Recording::start();
    let asked = format!("get_orders_of_customer of a customer with {count} orders");
    let orders = collect(get_orders_of_customer(&engine, 1)).await;
    let orders = orders.or_fail(&asked)?;
    equal(format!("{asked}: orders"), count as usize, orders.len())?;
    Ok((asked, recording.statements().len()))
}

async fn orders_on_demand() -> Outcome {
    let database = of_one_customer(1_200, 1).await?;
    let read = |engine: &Engine| get_orders_of_customer(engine, 1);
    on_demand(
        &database,
        "get_orders_of_customer, of 1200 with 1 item each",
        read,
        2,
    )
    .await
}

async fn orders_hold_nothing() -> Outcome {
    let database = of_one_customer(1_200, 1).await?;
    let engine = engine_of_one(&database)?;
    let asked = "get_orders_of_customer, with a pool of 1";
    let mut orders = get_orders_of_customer(&engine, 1);
    for taken in 1..=2 {
        let asked = format!("{asked}, and {taken} of 1200 orders taken");
        let order = orders.next().await.or_fail(&asked)?;
        without_wait(&asked, order)?;
        let other = get_total_cost_of_an_order(&engine, order_id(1)).await;
        without_wait(&format!("{asked}; then another query"), other)?;
    }
    let rest = collect(orders).await;
    let rest = without_wait(&format!("{asked}: the rest of the orders"), rest)?;
    equal(
        format!("{asked}: the rest of the orders"),
        1_198,
        rest.len(),
    )
}

async fn orders_are_not_skipped() -> Outcome {
    let database = of_one_customer(1_100, 1).await?;
    let engine = engine(&database)?;
    let asked = "get_orders_of_customer of a customer with 1100 orders; after the first one,\n\
                 the first 10 orders are removed\nthe orders from the 11th on";
    let mut orders = get_orders_of_customer(&engine, 1);
    orders.next().await.or_fail(asked)?.or_fail(asked)?;
    let last = order_id(10);
    let remove = format!(
        "DELETE FROM order_items WHERE order_id <= {last}; DELETE FROM orders WHERE id <= {last};"
    );
    database.execute(&remove).await?;
    let rest = collect(orders).await.or_fail(asked)?;
    let ids: Vec<i64> = rest.iter().map(|order| order.order_id).collect();
    let ids: Vec<i64> = ids.into_iter().filter(|id| *id > last).collect();
    let expected = order_ids(11..=1_100);
    let first = expected.iter().zip(&ids).position(|(a, b)| a != b);
    let first = first.unwrap_or(expected.len().min(ids.len()));
    let show = |ids: &[i64]| match ids.get(first) {
        Some(id) => format!("{} orders, number {} is order {id}", ids.len(), first + 1),
        None => format!("{} orders", ids.len()),
    };
    ensure(expected == ids, asked, show(&expected), show(&ids))
}

async fn orders_flat_memory() -> Outcome {
    let mut peaks = Vec::new();
    for count in [1_000, 5_000] {
        let database = of_one_customer(count, 1).await?;
        let service = service(&database)?;
        // The first answer pays for what is allocated once.
        service.get("/api/order_total/1").await?;
        let (outcome, peak) = peak_during(async {
            let mut reply = service.open("/api/orders/1").await?;
            let mut bytes = 0;
            while let Some(chunk) = reply.next_chunk().await {
                bytes += chunk?.len();
            }
            ensure(
                bytes > 100 * count as usize,
                format!("GET /api/orders/1 with {count} orders"),
                "all of them",
                format!("{bytes} bytes"),
            )
        })
        .await;
        outcome?;
        peaks.push(peak / 1024);
    }
    ensure(
        peaks[1] < peaks[0] + 512,
        "GET /api/orders/1 with 1000 and with 5000 orders: memory at its peak",
        "about the same, at most 512 KiB more",
        format!("{} KiB and {} KiB", peaks[0], peaks[1]),
    )
}

async fn orders_with_a_damaged_time() -> Outcome {
    let database = of_one_customer(700, 1).await?;
    let damage = |number| {
        let id = order_id(number);
        format!("UPDATE orders SET order_time = 'soon' WHERE id = {id}")
    };
    database.execute(&damage(650)).await?;
    let engine = engine(&database)?;
    let asked = "get_orders_of_customer of a customer with 700 orders, \
                 of which number 650 has the time 'soon'";
    let first_page = usize::try_from(PAGE_ROWS).or_fail("PAGE_ROWS")?;
    let orders = get_orders_of_customer(&engine, 1);
    let error = fails_after(asked, orders, first_page..=649).await?;
    services_fault(asked, error)?;

    // In the first page, the response has not begun yet.
    database.execute(&damage(1)).await?;
    let service = service(&database)?;
    let recording = Recording::start();
    let reply = service.get("/api/orders/1").await?;
    contract::expect_problem(&reply, 500)?;
    let asked = format!("{}; the time of an order is 'soon'", reply.asked());
    recording.expect_logged(asked, Level::ERROR, "order_time")
}

async fn orders_with_damaged_items() -> Outcome {
    for (damage, what) in [
        (DAMAGED_NAME, "the name of item 3 is not UTF-8"),
        (DAMAGED_PRICE, "the price of item 3 is the text 'dear'"),
        (NO_ITEMS, "the table item is gone"),
    ] {
        let database = Database::sample().await?;
        database.execute(damage).await?;
        let engine = engine(&database)?;
        let asked = format!("get_orders_of_customer(1); {what}");
        let error = fails_after(&asked, get_orders_of_customer(&engine, 1), 0..=0).await?;
        services_fault(&asked, error)?;
    }
    Ok(())
}

async fn orders_beside_a_writer() -> Outcome {
    let database = Database::sample().await?;
    let lock = database.lock_exclusively().await?;
    let engine = engine_of_one(&database)?;
    let asked = "get_orders_of_customer(1), while another program holds the write lock";
    let orders = collect(get_orders_of_customer(&engine, 1)).await;
    let orders = orders.map_err(|error| {
        let got = format!("error: {error:?}");
        Failure::new(asked, "the orders: reading needs no write lock", got)
    })?;
    equal(format!("{asked}: orders"), 1, orders.len())?;
    lock.release().await
}

// 08.7: totals

async fn totals_as_asked() -> Outcome {
    let (service, database) = fresh().await?;
    contract::orders_total(&service, &database).await
}

async fn totals_statements() -> Outcome {
    let database = of_one_customer(2_000, 2).await?;
    let lock = database.lock_exclusively().await?;
    let engine = engine_of_one(&database)?;
    let recording = Recording::start();
    for count in [1, 10, 1000] {
        let asked = format!(
            "get_total_cost_of_orders of {count} of 2000 orders, while another program writes"
        );
        recording.clear();
        let totals = get_total_cost_of_orders(&engine, order_ids(1..=count)).await;
        let totals = totals.or_fail(&asked)?;
        equal(format!("{asked}: totals"), count as usize, totals.len())?;
        one_statement(&recording, &asked)?;
        at_most_rows(&recording, &asked, count.into())?;
    }
    let mut runs = Vec::new();
    for ids in [order_ids(5..=7), order_ids(1_001..=1_003)] {
        recording.clear();
        let totals = get_total_cost_of_orders(&engine, ids).await;
        totals.or_fail("get_total_cost_of_orders of 3 orders")?;
        runs.push(recording.statements());
    }
    same_text(
        "get_total_cost_of_orders of 3 orders, and of 3 others",
        runs,
    )?;
    lock.release().await
}

async fn totals_agree() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    // Not by id, some twice, some that do not exist; order 24 costs nothing.
    let ids = vec![12, 1, 3, 77, 10, 2, 1, 21, -7, 11, 24, 3, 20, i64::MIN];
    same_totals(&database, &engine, ids).await?;
    same_totals(&database, &engine, vec![]).await?;

    // More than a page, from the last one to the first.
    let database = of_one_customer(1_200, 2).await?;
    let engine = self::engine(&database)?;
    let mut ids = order_ids(1..=1_200);
    ids.reverse();
    same_totals(&database, &engine, ids).await
}

async fn same_totals(database: &Database, engine: &Engine, ids: Vec<i64>) -> Outcome {
    let list = json!(ids);
    let sql = format!(
        "SELECT json_group_array((
             SELECT SUM(price_cents * quantity)
             FROM order_items JOIN item ON item.id = item_id WHERE order_id = value
         )) FROM json_each('{list}')"
    );
    let expected = stored(database, &sql).await?;
    let asked = match ids.len() {
        0..20 => format!("get_total_cost_of_orders({ids:?}), in cents"),
        count => format!("get_total_cost_of_orders of {count} orders, in cents"),
    };
    let totals = get_total_cost_of_orders(engine, ids).await;
    let totals = totals.or_fail(&asked)?.into_iter();
    let got: Vec<Option<i64>> = totals.map(cents).collect();
    equal_json(asked, &expected, &json!(got))
}

async fn totals_with_damage() -> Outcome {
    let too_dear = "UPDATE item SET price_cents = 4600000000000000000 WHERE id = 3;
                    UPDATE item SET price_cents = 1000000000000000000 WHERE id = 2;";
    for (damage, what) in [
        (NO_ITEMS, "the table item is gone"),
        (
            too_dear,
            "the total of order 1 is more than an i64 can hold",
        ),
    ] {
        let database = Database::sample().await?;
        database.execute(damage).await?;
        let engine = engine(&database)?;
        let asked = format!("get_total_cost_of_orders([2, 1]); {what}");
        fails(&asked, get_total_cost_of_orders(&engine, vec![2, 1]).await)?;
    }
    Ok(())
}

// 08.8: a new order

async fn new_order_stored() -> Outcome {
    let (service, database) = fresh().await?;
    contract::new_order_stored(&service, &database).await?;

    let (service, database) = fresh().await?;
    database.add_item(-5, "Salt", 7).await?;
    // An f64 has no room for this id.
    database.add_item(9_007_199_254_740_993, "Mint", 20).await?;
    let order = json!({"customer_id": 2, "items": [
        {"id": 4, "quantity": 9}, {"id": 1, "quantity": 1_000_000},
        {"id": 9_007_199_254_740_993_i64, "quantity": 2}, {"id": -5, "quantity": 3},
    ]});
    let reply = service.post_json("/api/add_new_order", &order).await?;
    let id = reply.expect_status(201)?.json()?["order_id"].clone();
    let asked = format!("{}\nitem id and quantity as they are stored", reply.asked());
    let sql = format!(
        "SELECT json_group_array(json_array(item_id, quantity)) FROM (
             SELECT item_id, quantity FROM order_items WHERE order_id = {id} ORDER BY rowid
         )"
    );
    let expected = json!([
        [4, 9],
        [1, 1_000_000],
        [9_007_199_254_740_993_i64, 2],
        [-5, 3]
    ]);
    equal_json(asked, &expected, &stored(&database, &sql).await?)
}

async fn new_order_statements() -> Outcome {
    let recording = Recording::start();
    let mut few = None;
    for count in [1, 10, 300] {
        let database = many_items(count).await?;
        let engine = engine(&database)?;
        // From the last one to the first.
        let items: Vec<NewOrderItem> = (1..=count)
            .rev()
            .map(|id| NewOrderItem { id, quantity: id })
            .collect();
        recording.clear();
        let asked = format!("add_new_order_for_customer with {count} items");
        let id = add_new_order_for_customer(&engine, 1, &items).await;
        let id = id.or_fail(&asked)?;
        let executed = recording.statements().len();
        let expected = *few.get_or_insert(executed);
        ensure(
            executed == expected,
            &asked,
            format!("as many statements as with 1 item: {expected}"),
            format!("{executed} statements"),
        )?;
        let sql = format!(
            "SELECT json_group_array(item_id) FROM (
                 SELECT item_id FROM order_items
                 WHERE order_id = {id} AND quantity = item_id ORDER BY rowid
             )"
        );
        let expected: Vec<i64> = (1..=count).rev().collect();
        equal_json(
            format!("{asked}: its items as they are stored"),
            &json!(expected),
            &stored(&database, &sql).await?,
        )?;
    }
    Ok(())
}

async fn unknown_item() -> Outcome {
    let (service, database) = fresh().await?;
    for (ids, wrong) in [
        (&[77][..], 0),
        (&[77, 1, 2], 0),
        (&[1, 2, 77, 3], 2),
        (&[4, 3, 2, 1, -1], 4),
        (&[2, i64::MAX, 77], 1),
    ] {
        let before = database.snapshot().await?;
        let items: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "quantity": 1}))
            .collect();
        let order = json!({"customer_id": 1, "items": items});
        let reply = service.post_json("/api/add_new_order", &order).await?;
        contract::expect_problem(&reply, 422)?;
        let field = reply.json()?["errors"][0]["field"].clone();
        equal_json(
            format!("{}: the first field that is blamed", reply.asked()),
            &json!(format!("items[{wrong}].id")),
            &field,
        )?;
        database.expect_unchanged(reply.asked(), &before).await?;
    }
    Ok(())
}

async fn unknown_item_with_one_connection() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let items = [1, 77].map(|id| NewOrderItem { id, quantity: 1 });
    let asked = "add_new_order_for_customer with the items 1 and 77, with a pool of 1";
    let refused = add_new_order_for_customer(&engine, 1, &items).await;
    let expected =
        "items[1].id is refused; the transaction can look for it over its own connection";
    match refused {
        Err(Error::Unprocessable { field, .. }) => ensure(
            field == "items[1].id",
            asked,
            expected,
            format!("{field} is refused"),
        )?,
        other => return Err(Failure::new(asked, expected, format!("{other:?}"))),
    }
    let asked = format!("{asked}; then an order with item 1");
    let stored = add_new_order_for_customer(&engine, 1, &items[..1]).await;
    without_wait(&asked, stored).map(drop)
}

async fn refused_items() -> Outcome {
    let database = Database::sample().await?;
    let service = Service::start(server::app(engine_of_one(&database)?));
    let refuse = "INSERT ON order_items WHEN new.item_id = 3";
    database.refuse(refuse).await?;
    let before = database.snapshot().await?;
    let recording = Recording::start();
    let order = json!({"customer_id": 1, "items": [
        {"id": 1, "quantity": 1}, {"id": 3, "quantity": 1}, {"id": 4, "quantity": 1},
    ]});
    let reply = service.post_json("/api/add_new_order", &order).await?;
    let asked = format!("{}\n(a trigger of the check refuses item 3)", reply.asked());
    if reply.status != 500 {
        return Err(reply.failure(
            "status 500: the item exists, but a trigger of the check refuses to store it, \
             which is not the client's mistake",
        ));
    }
    recording.expect_logged(&asked, Level::ERROR, "refused by the check")?;
    database.expect_unchanged(&asked, &before).await?;
    database.allow().await?;
    let reply = service.post_json("/api/add_new_order", &order).await?;
    reply.expect_status(201).map(drop)
}

async fn new_order_dropped() -> Outcome {
    let database = Database::sample().await?;
    let engine = engine_of_one(&database)?;
    let items = [3, 1, 2].map(|id| NewOrderItem { id, quantity: 1 });
    for polls in 0..200 {
        let call = polled(add_new_order_for_customer(&engine, 1, &items), polls);
        let ended = call.await;
        let asked = format!("add_new_order_for_customer with 3 items, dropped after {polls} polls");
        // Waits until the pool's one connection is given back.
        let other = get_total_cost_of_an_order(&engine, 1).await;
        without_wait(&format!("{asked}; then another query"), other)?;
        let sql = "SELECT json_group_array(lines) FROM (
                       SELECT count(item_id) AS lines
                       FROM orders LEFT JOIN order_items ON order_id = id
                       WHERE id > 3 GROUP BY id
                   )";
        let lines = stored(&database, sql).await?;
        let whole = lines
            .as_array()
            .is_some_and(|all| all.iter().all(|it| it == 3));
        ensure(
            whole,
            &asked,
            "each new order with its 3 items, or no order",
            format!("orders with so many items: {lines}"),
        )?;
        if let Some(id) = ended {
            return id.or_fail(asked).map(drop);
        }
    }
    let asked = "add_new_order_for_customer with 3 items, polled 200 times";
    Err(Failure::new(asked, "an end", "none"))
}

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    contract::welcome(&service).await?;
    contract::format_by_accept(&service, "/api/customers").await?;
    contract::new_order_refusals(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::order_total_null_when_unknown(&service).await?;
    contract::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    contract::orders_between_dates_ndjson(&service, &database).await
}

// What the checks have in common

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")
}

fn service(database: &Database) -> Result<Service, Failure> {
    Ok(Service::start(server::app(engine(database)?)))
}

/// An engine with a single connection.
fn engine_of_one(database: &Database) -> Result<Engine, Failure> {
    let config = EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        busy_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    };
    Engine::new(&database.url(), config).or_fail("Engine::new")
}

/// A service over a database of its own. The service is dropped first.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database)?, database))
}

/// The sample market with orders that are easily taken for one another: of one
/// time, with the same items, with equal lines, without items, and with ids that
/// items and customers have too. Customer 2 has only empty orders, customer 4
/// none. No index has the orders or the items in the right order.
async fn look_alikes() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = "INSERT INTO item (id, name, price_cents, description) VALUES
                   (11, 'Käse \"alt\"', 29, NULL), (12, '牛乳', 1, 'Alex'),
                   (13, 'Milk', 500, NULL), (-5, '', 0, NULL);
               INSERT INTO customer VALUES (4, 'Zoë', 1), (5, 'Alex', 2);
               INSERT INTO orders (id, customer_id, order_time) VALUES
                   (10, 1, '2024-03-18 10:30:00'), (11, 1, '2024-03-18 10:30:00'),
                   (12, 3, '2024-03-18 10:30:00'), (20, 1, '2024-03-18 10:30:00'),
                   (21, 2, '2024-03-18 10:30:00'), (22, 5, '2024-03-18 10:30:00'),
                   (23, 3, '2024-03-01 10:30:00'), (24, 5, '2024-03-01 10:30:00'),
                   (-7, 1, '2024-03-30 10:30:00'), (25, 1, '2024-03-01 10:30:00'),
                   (13, 1, '2024-03-18 10:30:00'), (3000000000, 5, '2024-03-18 10:30:00');
               -- The lines of the orders alternate, not by id and not by name.
               INSERT INTO order_items VALUES (11, 12, 3);
               INSERT INTO order_items VALUES (10, 12, 3);
               INSERT INTO order_items VALUES (11, 11, 100);
               INSERT INTO order_items VALUES (22, 4, 1);
               INSERT INTO order_items VALUES (10, 11, 100);
               INSERT INTO order_items VALUES (12, 2, 2);
               INSERT INTO order_items VALUES (11, 1, 1);
               INSERT INTO order_items VALUES (12, 4, 5);
               INSERT INTO order_items VALUES (23, 13, 2), (23, 1, 2);
               INSERT INTO order_items VALUES (24, -5, 1);
               INSERT INTO order_items VALUES (-7, 3, 1), (-7, 2, 2);
               INSERT INTO order_items VALUES (25, 2, 1), (3000000000, 4, 7);";
    database.execute(sql).await?;
    database.execute(ORDERS_BY_TIME).await?;
    Ok(database)
}

/// The index finds a customer's orders by their times, so that they are ordered
/// by id only if a query sorts them.
const ORDERS_BY_TIME: &str = "DROP INDEX orders_by_customer;
    CREATE INDEX orders_by_customer ON orders (customer_id, order_time, id);";

const DAMAGED_TIME: &str = "UPDATE orders SET order_time = 'soon' WHERE id = 1";

const DAMAGED_NAME: &str = "UPDATE item SET name = CAST(x'4dff' AS TEXT) WHERE id = 3";

const DAMAGED_PRICE: &str = "ALTER TABLE item RENAME TO stored_item;
    CREATE VIEW item AS
        SELECT id, name, CASE id WHEN 3 THEN 'dear' ELSE price_cents END AS price_cents
        FROM stored_item;";

const NO_ITEMS: &str = "ALTER TABLE item RENAME TO gone";

/// Customers whose ids have gaps and are partly negative. Two customers live at
/// one address, and the ids of the addresses run the other way. `customer` is a
/// view that returns odd ids first, unless a query sorts them.
async fn many_customers(count: u32) -> Result<Database, Failure> {
    let database = Database::empty().await?;
    database.add_customers(count).await?;
    let sql = "ALTER TABLE customer RENAME TO stored_customer;
               UPDATE stored_customer SET address_id =
                   (SELECT max(id) FROM address) + 1 - (id + 1) / 2;
               UPDATE stored_customer SET id = 1000000 + id * 3;
               UPDATE stored_customer SET id = id - 1000700;
               CREATE VIEW customer AS
                   SELECT * FROM stored_customer ORDER BY abs(id % 2) DESC, id LIMIT -1;";
    database.execute(sql).await?;
    Ok(database)
}

/// The id of an order in [`of_one_customer`], by its number from 1.
fn order_id(number: u32) -> i64 {
    i64::from(number) * 7 - 1_500
}

fn order_ids(numbers: std::ops::RangeInclusive<u32>) -> Vec<i64> {
    numbers.map(order_id).collect()
}

/// A market in which customer 1 has `count` orders, with the ids of
/// [`order_id`], and no other customer has any. Their times are not in the order
/// of their ids.
async fn of_one_customer(count: u32, items_each: u32) -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = format!(
        "BEGIN IMMEDIATE;
         DELETE FROM order_items;
         DELETE FROM orders;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO orders (id, customer_id, order_time)
         SELECT i * 7 - 1500, 1, datetime('2024-04-01', (i * 7919 % 1009) || ' minutes') FROM n;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}),
             k (j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM k WHERE j < {items_each})
         INSERT INTO order_items
         SELECT i * 7 - 1500, 1 + (i + j) % 4, 1 + (i + j) % 5 FROM n, k ORDER BY i, j;
         COMMIT;"
    );
    database.execute(&sql).await?;
    database.execute(ORDERS_BY_TIME).await?;
    Ok(database)
}

/// The sample market with items that have the ids from 1 to `count`, or to 4.
async fn many_items(count: i64) -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 5 WHERE {count} > 4
                                  UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO item (id, name, price_cents) SELECT i, 'Item ' || i, i FROM n"
    );
    database.execute(&sql).await?;
    Ok(database)
}

/// The orders of a customer as they are stored, in the form of the answer.
async fn stored_orders(database: &Database, customer: i64) -> Result<Value, Failure> {
    let sql = format!(
        "SELECT json_group_array(json(shown)) FROM (
             SELECT json_object(
                 'order_id', orders.id,
                 'customer', json_object('name', customer.name),
                 'order_time', order_time,
                 'items', json((
                     SELECT json_group_array(json_object('name', name,
                         'price', price_cents / 100.0, 'quantity', quantity,
                         'total', price_cents * quantity / 100.0))
                     FROM (
                         SELECT name, price_cents, quantity
                         FROM order_items JOIN item ON item.id = item_id
                         WHERE order_id = orders.id ORDER BY order_items.rowid
                     )
                 ))
             ) AS shown
             FROM orders JOIN customer ON customer.id = customer_id
             WHERE customer_id = {customer} ORDER BY orders.id
         )"
    );
    stored(database, &sql).await
}

/// The items of each of these orders are the stored ones.
async fn same_items(
    database: &Database,
    what: &str,
    ids: &[i64],
    items: &HashMap<i64, Vec<OrderItem>>,
) -> Outcome {
    let list = json!(ids);
    let sql = format!(
        "SELECT json_group_object(order_id, json(lines)) FROM (
             SELECT order_id, json_group_array(json_object('name', name,
                 'price', price_cents / 100.0, 'quantity', quantity,
                 'total', price_cents * quantity / 100.0)) AS lines
             FROM (
                 SELECT order_id, name, price_cents, quantity
                 FROM order_items JOIN item ON item.id = item_id
                 WHERE order_id IN (SELECT value FROM json_each('{list}'))
                 ORDER BY order_id, order_items.rowid
             ) GROUP BY order_id
         )"
    );
    let expected = stored(database, &sql).await?;
    equal_json(
        format!("get_items_of_orders of {what}: the items by order"),
        &expected,
        &to_json(items)?,
    )
}

/// What `sql` selects, a JSON text.
async fn stored(database: &Database, sql: &str) -> Result<Value, Failure> {
    let text: String = database.one(sql).await?;
    serde_json::from_str(&text).or_fail(sql)
}

fn to_json(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).or_fail("the rows as JSON")
}

fn line(price: i64, quantity: i64) -> OrderItem {
    let item = Item {
        name: "Milk".to_owned(),
        price: Money(price),
    };
    OrderItem { item, quantity }
}

fn cents(total: Option<Money>) -> Option<i64> {
    total.map(|total| total.0)
}

/// All of the orders. A key that does not grow would return them for ever.
async fn collect(orders: Rows<Order>) -> Result<Vec<Order>, Error> {
    orders.take(FAR_TOO_MANY).try_collect().await
}

fn without_wait<T>(asked: &str, result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| {
        let got = format!("error: {error:?}");
        Failure::new(asked, "a connection is free", got)
    })
}

fn one_statement(recording: &Recording, asked: &str) -> Outcome {
    let executed = recording.statements();
    ensure(
        executed.len() <= 1,
        asked,
        "1 statement",
        format!("{} statements", executed.len()),
    )
}

fn at_most_rows(recording: &Recording, asked: &str, most: u64) -> Outcome {
    let read: u64 = recording.statements().iter().map(|s| s.rows_returned).sum();
    ensure(
        read <= most,
        asked,
        format!("at most {most} rows come from the database"),
        format!("{read} rows"),
    )
}

/// The values are bound, not written into the text.
fn same_text(asked: &str, runs: Vec<Vec<Statement>>) -> Outcome {
    let labels = ["the first ones", "the others"];
    let runs: Vec<_> = labels.into_iter().zip(runs).collect();
    equal_runs(asked, "the same text with other values", &runs)
}

/// The stream executes nothing before it is polled, and then it reads one page in
/// `statements` statements of at most [`PAGE_ROWS`] rows.
async fn on_demand<T>(
    database: &Database,
    asked: &str,
    read: impl Fn(&Engine) -> Rows<T>,
    statements: usize,
) -> Outcome {
    let engine = engine_of_one(database)?;
    let recording = Recording::start();
    let executed = || {
        let mut executed = recording.statements();
        executed.retain(|statement| statement.sql != OTHER_QUERY);
        executed
    };
    let mut rows = read(&engine);
    other_queries(&engine, asked, 10).await?;
    let before = executed().len();
    ensure(
        before == 0,
        format!("{asked}; nothing is asked for"),
        "no statement",
        format!("{before} statements"),
    )?;
    let asked = format!("{asked}; the first one is taken");
    rows.next().await.or_fail(&asked)?.or_fail(&asked)?;
    other_queries(&engine, &asked, 200).await?;
    drop((rows, engine));
    // A task that was begun in the background has ended then, too.
    database.wait_until_closed().await?;
    let executed = executed();
    let few = u64::try_from(PAGE_ROWS).or_fail("PAGE_ROWS")?;
    let counts: Vec<String> = executed
        .iter()
        .map(|s| s.rows_returned.to_string())
        .collect();
    ensure(
        executed.len() <= statements && executed.iter().all(|s| s.rows_returned <= few),
        asked,
        format!("one page: at most {statements} statements of at most {few} rows"),
        format!("{} statements of {} rows", counts.len(), counts.join(", ")),
    )
}

const OTHER_QUERY: &str = "SELECT 1";

/// Uses the pool's one connection so often that a task in the background can
/// handle a page and ask for the next one. It gets the connection in between.
async fn other_queries(engine: &Engine, asked: &str, times: u32) -> Outcome {
    for _ in 0..times {
        tokio::task::yield_now().await;
        let other = engine.execute_query(sqlx::query(OTHER_QUERY)).await;
        without_wait(
            &format!("{asked}; then another query, with a pool of 1"),
            other,
        )?;
    }
    Ok(())
}

/// The error that the stream ends with, after so many good rows.
async fn fails_after<T>(
    asked: &str,
    rows: Rows<T>,
    good: std::ops::RangeInclusive<usize>,
) -> Result<Error, Failure> {
    let (first, last) = (good.start(), good.end());
    let expected = if first == last {
        format!("{first} good rows, then an error")
    } else {
        format!("{first} to {last} good rows, then an error")
    };
    let mut rows = rows.take(FAR_TOO_MANY);
    let mut seen = 0;
    while let Some(row) = rows.next().await {
        match row {
            Ok(_) => seen += 1,
            Err(error) if good.contains(&seen) => return Ok(error),
            Err(error) => {
                let got = format!("{seen} good rows, then the error {error:?}");
                return Err(Failure::new(asked, expected, got));
            }
        }
    }
    let got = format!("{seen} good rows, then the end, as if nothing had failed");
    Err(Failure::new(asked, expected, got))
}

fn fails<T>(asked: &str, result: Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Err(Failure::new(
            asked,
            "an error",
            "a result, as if nothing had failed",
        )),
        Err(error) => services_fault(asked, error),
    }
}

/// The client can do nothing about this error, so it must not get the blame.
fn services_fault(asked: &str, error: Error) -> Outcome {
    let got = format!("{error:?}");
    let status = error.into_response().status().as_u16();
    ensure(
        status == 500,
        asked,
        "an error that the service answers with status 500",
        format!("status {status}, from {got}"),
    )
}

/// Polls the future this often at most, then drops it.
async fn polled<F: Future>(future: F, mut polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}
