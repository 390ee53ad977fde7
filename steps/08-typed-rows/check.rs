//! What step 08 asks for: rows with types of their own, rows that belong
//! together, and a number of statements that does not grow with the rows.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use contract::memory::peak_during;
use contract::statements::Recording;
use contract::{
    Database, Failure, OrFail, Outcome, Service, Suite, answers, ensure, equal, equal_json,
};
use futures::stream::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use step08::db::base::{Engine, EngineConfig, PAGE_ROWS, Rows};
use step08::db_accessor::{
    add_new_order_for_customer, get_items_of_orders, get_orders_of_customer,
    get_orders_of_customer_joined, get_total_cost_of_an_order, get_total_cost_of_orders,
};
use step08::error::Error;
use step08::server;
use step08::types::{Customer, Item, Money, NewOrderItem, Order, OrderCustomer, OrderItem};

#[allow(clippy::too_many_lines)] // it is a list
fn main() -> ExitCode {
    Suite::new("08-typed-rows", env!("CARGO_MANIFEST_DIR"))
        .check(
            "08.1",
            "a row with the columns of an address is a customer with an address",
            customer_from_row,
        )
        .check(
            "08.2",
            "every customer is shown with the address that is theirs",
            customers_nested,
        )
        .check(
            "08.2",
            "the customers are complete at every page border",
            customers_are_complete,
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
            "joined: one statement for 1, 10 and 1000 orders",
            joined_statements,
        )
        .check(
            "08.5",
            "select-in: each order has its own items in their order",
            items_of_orders,
        )
        .check(
            "08.5",
            "select-in: one statement for 1, 10 and 1000 orders",
            items_statements,
        )
        .check(
            "08.5",
            "select-in: the list of ids may have any length",
            items_of_many_orders,
        )
        .check(
            "08.6",
            "the orders of a customer are shown with their items",
            orders_nested,
        )
        .check(
            "08.6",
            "the orders are complete at every page border",
            orders_are_complete,
        )
        .check(
            "08.6",
            "the number of statements does not grow with the orders",
            orders_statements,
        )
        .check(
            "08.6",
            "nothing is read before the first order is asked for, and then one page",
            orders_on_demand,
        )
        .check(
            "08.6",
            "no connection is held while the caller is busy with the orders",
            orders_hold_nothing,
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
            "a time that is none is an error, after the orders before it",
            orders_with_a_damaged_time,
        )
        .check(
            "08.7",
            "the totals are in the order asked, null where there is none",
            totals_as_asked,
        )
        .check(
            "08.7",
            "one statement for the totals of 1, 10 and 1000 orders",
            totals_statements,
        )
        .check(
            "08.7",
            "the totals of many orders are those of each of them",
            totals_agree,
        )
        .check(
            "08.8",
            "a new order is stored with its items as they were named",
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
    answers::customers_nested(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::customers_nested_ndjson(&service, &database).await
}

async fn customers_are_complete() -> Outcome {
    for count in [1, 499, 500, 501, 1001] {
        let database = Database::empty().await?;
        database.add_customers(count).await?;
        // Two to a flat, and the last customer in the first one.
        let sql =
            "UPDATE customer SET address_id = (SELECT max(id) FROM address) + 1 - (id + 1) / 2";
        database.execute(sql).await?;
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

// 08.3: what a line costs

async fn item_total_is_exact() -> Outcome {
    for (price, quantity, total) in [
        (500, 1, 500),
        (1050, 2, 2100),
        (10, 7, 70),
        (29, 100, 2900),
        (0, 5, 0),
        (1, 1_000_000, 1_000_000),
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
        // Those without items are the matter of the next check.
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
    // Customer 2 has none but empty orders, customer 4 has no orders at all.
    for customer in [2, 1, 4] {
        let asked = format!("get_orders_of_customer_joined({customer})");
        let orders = get_orders_of_customer_joined(&engine, customer)
            .await
            .or_fail(&asked)?;
        let expected = stored_orders(&database, customer).await?;
        equal_json(asked, &expected, &to_json(&orders)?)?;
    }
    Ok(())
}

async fn joined_statements() -> Outcome {
    for count in [1, 10, 1000] {
        let database = of_one_customer(count, 3).await?;
        let engine = engine(&database)?;
        let recording = Recording::start();
        let asked = format!("get_orders_of_customer_joined of a customer with {count} orders");
        let orders = get_orders_of_customer_joined(&engine, 1)
            .await
            .or_fail(&asked)?;
        equal(format!("{asked}: orders"), count as usize, orders.len())?;
        statements(&recording, &asked, 1)?;
    }
    Ok(())
}

// 08.5: select-in loading

async fn items_of_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    let all: Vec<i64> = (1..=30).collect();
    for (ids, what) in [
        (vec![], "no ids"),
        (vec![1], "order 1"),
        (vec![3], "order 3, which has no items"),
        (vec![77], "an order that does not exist"),
        (vec![2, 1], "the orders 2 and 1"),
        (vec![11, 10, 3, 12, 2], "the orders 11, 10, 3, 12, 2"),
        (all, "the orders 1 to 30"),
    ] {
        let items = get_items_of_orders(&engine, &ids)
            .await
            .or_fail(format!("get_items_of_orders of {what}"))?;
        same_items(&database, what, &ids, &items).await?;
    }
    Ok(())
}

async fn items_statements() -> Outcome {
    for count in [1, 10, 1000] {
        let database = of_one_customer(count, 2).await?;
        let engine = engine(&database)?;
        let ids: Vec<i64> = (1..=i64::from(count)).collect();
        let recording = Recording::start();
        let asked = format!("get_items_of_orders of {count} orders with 2 items each");
        let items = get_items_of_orders(&engine, &ids).await.or_fail(&asked)?;
        let lines: usize = items.values().map(Vec::len).sum();
        equal(format!("{asked}: items"), 2 * count as usize, lines)?;
        statements(&recording, &asked, 1)?;
    }
    Ok(())
}

async fn items_of_many_orders() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    // More than SQLite takes as single values.
    let ids: Vec<i64> = (1..=40_000).collect();
    let what = "40000 ids, of which 9 are those of orders";
    let items = get_items_of_orders(&engine, &ids)
        .await
        .or_fail(format!("get_items_of_orders of {what}"))?;
    same_items(&database, what, &ids, &items).await
}

// 08.6: the orders of a customer

async fn orders_nested() -> Outcome {
    let (service, database) = fresh().await?;
    answers::orders_of_customer_nested(&service, &database).await?;
    answers::orders_of_unknown_customer_empty(&service).await?;

    let database = look_alikes().await?;
    let service = self::service(&database)?;
    for customer in 1..=4 {
        let reply = service.get(&format!("/api/orders/{customer}")).await?;
        let expected = stored_orders(&database, customer).await?;
        reply.expect_json(200, &expected)?;
    }
    Ok(())
}

async fn orders_are_complete() -> Outcome {
    for count in [499, 500, 501] {
        // Every third order is empty, the others have four items: 500 rows of a
        // join end in the middle of an order.
        let database = of_one_customer(count, 4).await?;
        let sql = "DELETE FROM order_items WHERE order_id % 3 = 2";
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
    let database = of_one_customer(3_000, 1).await?;
    let engine = engine(&database)?;
    let recording = Recording::start();
    let mut orders = get_orders_of_customer(&engine, 1);
    let asked = "get_orders_of_customer of a customer with 3000 orders of 1 item";
    let executed = recording.statements().len();
    ensure(
        executed == 0,
        format!("{asked}, and no order is asked for"),
        "no statement",
        format!("{executed} statements"),
    )?;
    orders.next().await.or_fail(asked)?.or_fail(asked)?;
    let read: u64 = recording.statements().iter().map(|s| s.rows_returned).sum();
    ensure(
        read <= 2_000,
        format!("{asked}, and the first one is taken"),
        format!("a page of {PAGE_ROWS} orders and its items: at most 2000 rows read"),
        format!("{read} rows read"),
    )
}

async fn orders_hold_nothing() -> Outcome {
    let database = of_one_customer(1_200, 1).await?;
    let one = EngineConfig {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(1),
        ..EngineConfig::default()
    };
    let engine = Engine::new(&database.url(), one).or_fail("Engine::new")?;
    let asked = "get_orders_of_customer, with a pool of 1";
    let mut orders = get_orders_of_customer(&engine, 1);
    for taken in 1..=2 {
        let asked = format!("{asked}, and {taken} of 1200 orders taken");
        let order = orders.next().await.or_fail(&asked)?;
        without_wait(&asked, order)?;
        let other = get_total_cost_of_an_order(&engine, 1).await;
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
                 the orders 1 to 10 are removed\nthe orders from 11 on";
    let mut orders = get_orders_of_customer(&engine, 1);
    orders.next().await.or_fail(asked)?.or_fail(asked)?;
    let remove = "DELETE FROM order_items WHERE order_id <= 10;
                  DELETE FROM orders WHERE id <= 10;";
    database.execute(remove).await?;
    let rest = collect(orders).await.or_fail(asked)?;
    let ids: Vec<i64> = rest.iter().map(|order| order.order_id).collect();
    let ids: Vec<i64> = ids.into_iter().filter(|id| *id > 10).collect();
    let expected: Vec<i64> = (11..=1_100).collect();
    let place = expected.iter().zip(&ids).position(|(a, b)| a != b);
    let place = place.unwrap_or(expected.len().min(ids.len()));
    let show = |ids: &[i64]| match ids.get(place) {
        Some(id) => format!("{} orders, number {} is order {id}", ids.len(), place + 1),
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
    let damage = "UPDATE orders SET order_time = 'soon' WHERE id = 650";
    database.execute(damage).await?;
    let engine = engine(&database)?;
    let asked = "get_orders_of_customer of a customer with 700 orders, \
                 of which the one with id 650 has the time 'soon'";
    let mut orders = get_orders_of_customer(&engine, 1).take(FAR_TOO_MANY);
    let mut good = 0;
    let mut failed = false;
    while let Some(order) = orders.next().await {
        ensure(
            !failed,
            asked,
            "nothing after the error",
            "more after the error",
        )?;
        match order {
            Ok(_) => good += 1,
            Err(_) => failed = true,
        }
    }
    ensure(
        failed && (PAGE_ROWS..650).contains(&good),
        asked,
        "the orders of the first page, then an error, and no more",
        format!(
            "{good} orders, then {}",
            if failed { "an error" } else { "the end" }
        ),
    )
}

// 08.7: totals

async fn totals_as_asked() -> Outcome {
    let (service, database) = fresh().await?;
    answers::orders_total(&service, &database).await
}

async fn totals_statements() -> Outcome {
    for count in [1, 10, 1000] {
        let database = of_one_customer(count, 2).await?;
        let engine = engine(&database)?;
        let ids: Vec<i64> = (1..=i64::from(count)).collect();
        let recording = Recording::start();
        let asked = format!("get_total_cost_of_orders of {count} orders");
        let totals = get_total_cost_of_orders(&engine, ids).await;
        let totals = totals.or_fail(&asked)?;
        equal(format!("{asked}: totals"), count as usize, totals.len())?;
        statements(&recording, &asked, 1)?;
    }
    Ok(())
}

async fn totals_agree() -> Outcome {
    let database = look_alikes().await?;
    let engine = engine(&database)?;
    // Not by id, some twice, some that do not exist.
    let ids = vec![12, 1, 3, 77, 10, 2, 1, 21, 11, 3, 20];
    let totals = get_total_cost_of_orders(&engine, ids.clone()).await;
    let totals = totals.or_fail("get_total_cost_of_orders")?;
    let mut expected = Vec::new();
    for id in &ids {
        let total = get_total_cost_of_an_order(&engine, *id).await;
        expected.push(cents(total.or_fail("get_total_cost_of_an_order")?));
    }
    let got: Vec<Option<i64>> = totals.into_iter().map(cents).collect();
    equal_json(
        format!("get_total_cost_of_orders({ids:?}), in cents"),
        &json!(expected),
        &json!(got),
    )
}

// 08.8: a new order

async fn new_order_stored() -> Outcome {
    let (service, database) = fresh().await?;
    answers::new_order_stored(&service, &database).await?;

    let (service, _database) = fresh().await?;
    let order = json!({"customer_id": 2, "items": [
        {"id": 4, "quantity": 9}, {"id": 1, "quantity": 1_000_000}, {"id": 3, "quantity": 2},
    ]});
    let reply = service.post_json("/api/add_new_order", &order).await?;
    let id = reply.expect_status(201)?.json()?["order_id"].clone();
    let orders = service.get("/api/orders/2").await?;
    let asked = format!(
        "{}\nthen {}: items of order {id}",
        reply.asked(),
        orders.asked()
    );
    let got = orders.json()?[1]["items"].clone();
    let expected = json!([
        {"name": "Onion", "price": 2.0, "quantity": 9, "total": 18.0},
        {"name": "Milk", "price": 5.0, "quantity": 1_000_000, "total": 5_000_000.0},
        {"name": "Bread", "price": 10.5, "quantity": 2, "total": 21.0},
    ]);
    equal_json(asked, &expected, &got)
}

async fn new_order_statements() -> Outcome {
    let mut few = None;
    for count in [1, 10, 300] {
        let database = many_items().await?;
        let engine = engine(&database)?;
        // Named from the last one to the first.
        let items: Vec<NewOrderItem> = (1..=count)
            .rev()
            .map(|id| NewOrderItem { id, quantity: id })
            .collect();
        let recording = Recording::start();
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
        answers::expect_problem(&reply, 422)?;
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

async fn other_answers() -> Outcome {
    let (service, database) = fresh().await?;
    answers::welcome(&service).await?;
    answers::format_by_accept(&service, "/api/customers").await?;
    answers::new_order_refusals(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::order_total_null_when_unknown(&service).await?;
    answers::order_total(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates(&service, &database).await?;
    let (service, database) = fresh().await?;
    answers::orders_between_dates_ndjson(&service, &database).await
}

// What the checks have in common

fn engine(database: &Database) -> Result<Engine, Failure> {
    Engine::new(&database.url(), EngineConfig::default()).or_fail("Engine::new")
}

fn service(database: &Database) -> Result<Service, Failure> {
    Ok(Service::start(server::app(engine(database)?)))
}

/// A service over a database of its own. The service goes first when they are
/// dropped.
async fn fresh() -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    Ok((service(&database)?, database))
}

/// The sample market with orders that are easily taken for one another: of one
/// time, with the same items, without items, and with ids that are those of
/// items and customers too. Customer 2 has only empty orders, customer 4 none.
async fn look_alikes() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = "INSERT INTO item (id, name, price_cents, description) VALUES
                   (11, 'Käse \"alt\"', 29, NULL), (12, '牛乳', 1, 'Alex');
               INSERT INTO customer VALUES (4, 'Zoë', 1), (5, 'Alex', 2);
               INSERT INTO orders VALUES
                   (10, 1, '2024-03-18 10:30:00'), (11, 1, '2024-03-18 10:30:00'),
                   (12, 3, '2024-03-18 10:30:00'), (20, 1, '2024-03-18 10:30:00'),
                   (21, 2, '2024-03-18 10:30:00'), (22, 5, '2024-03-18 10:30:00');
               -- The lines of two orders by turns, not by id and not by name.
               INSERT INTO order_items VALUES (11, 12, 3);
               INSERT INTO order_items VALUES (10, 12, 3);
               INSERT INTO order_items VALUES (11, 11, 100);
               INSERT INTO order_items VALUES (22, 4, 1);
               INSERT INTO order_items VALUES (10, 11, 100);
               INSERT INTO order_items VALUES (12, 2, 2);
               INSERT INTO order_items VALUES (11, 1, 1);
               INSERT INTO order_items VALUES (12, 4, 5);";
    database.execute(sql).await?;
    Ok(database)
}

/// A market in which customer 1 has so many orders, with the ids from 1 on, and
/// nobody else has any.
async fn of_one_customer(count: u32, items_each: u32) -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let clear = "DELETE FROM order_items; DELETE FROM orders;";
    database.execute(clear).await?;
    database.add_orders(count, items_each).await?;
    database
        .execute("UPDATE orders SET customer_id = 1")
        .await?;
    Ok(database)
}

/// The sample market with 300 items, with the ids from 1 to 300.
async fn many_items() -> Result<Database, Failure> {
    let database = Database::sample().await?;
    let sql = "WITH RECURSIVE n (i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
               INSERT INTO item (id, name, price_cents) SELECT i, 'Item ' || i, i FROM n";
    database.execute(sql).await?;
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
    // An order without items may have no entry, or an empty list.
    let with_items: HashMap<_, _> = items
        .iter()
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    equal_json(
        format!("get_items_of_orders of {what}: the items by order"),
        &expected,
        &to_json(&with_items)?,
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

/// All of the orders; a key that does not move would give them for ever.
async fn collect(orders: Rows<Order>) -> Result<Vec<Order>, Error> {
    orders.take(FAR_TOO_MANY).try_collect().await
}

fn without_wait<T>(asked: &str, result: Result<T, Error>) -> Result<T, Failure> {
    result.map_err(|error| {
        let got = format!("error: {error:?}");
        Failure::new(asked, "a connection is free", got)
    })
}

fn statements(recording: &Recording, asked: &str, most: usize) -> Outcome {
    let executed = recording.statements();
    ensure(
        executed.len() <= most,
        asked,
        format!("{most} statement"),
        format!("{} statements", executed.len()),
    )
}
