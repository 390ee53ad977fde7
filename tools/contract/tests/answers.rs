//! The checks of the HTTP contract, tried on a small service that answers right
//! and on the same service with one fault at a time, each of which must be found.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body};
use check::{Database, Failure, Outcome, Service};
use mediatype::{MediaType, MediaTypeList, ReadParams};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, SqlitePool};

/// Which form of the contract the service has.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Form {
    /// Flat rows, refusals 400.
    Early,
    /// Nested rows, refusals 422, unknown things 404.
    Late,
}

/// The one thing that the service does wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    Greeting,
    NoAddress,
    AddressOfCustomerId,
    CustomersByName,
    NdjsonAsArray,
    WeightByCase,
    AnyWeight,
    NoWildcards,
    IdsFromOne,
    Unexplained,
    LastKeyWins,
    NdjsonWithoutLastLineFeed,
    ContentType,
    TotalZeroForNull,
    TotalInFloats,
    TotalsByCompletion,
    TotalsWithoutDuplicates,
    TotalsWithoutLimit,
    TotalsWithoutBody,
    BadIdStatus,
    PlainTextProblem,
    OrdersByItemId,
    OrdersOfAll,
    NoDescription,
    DatesSwapped,
    EndExcluded,
    StartExcluded,
    CustomerColumnLost,
    BetweenByOrderId,
    AnyDate,
    UnknownAsOther,
    CreatedStatus,
    NoLocation,
    WrongCustomer,
    LocalTime,
    ItemsReversed,
    StoredTwice,
    HalfOrder,
    WrongField,
    RefusalStatus,
    AnyQuantity,
    LeaksCause,
    BreaksOnBadUtf8,
    HangsOnHalfBody,
    NoBodyLimit,
    AnyContentType,
    CountsVisitors,
}

struct App {
    pool: SqlitePool,
    form: Form,
    fault: Fault,
}

type Shared = State<Arc<App>>;

impl App {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The rows of a SELECT that gives one JSON text a row.
    async fn rows(&self, sql: &str) -> Vec<Value> {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&self.pool)
            .await
            .unwrap();
        rows.iter()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect()
    }

    fn list(&self, rows: Vec<Value>, headers: &HeaderMap) -> Response {
        if !self.wants_lines(headers) {
            return self.json(200, &json!(rows));
        }
        let mut text = String::new();
        for row in rows {
            text = format!("{text}{row}\n");
        }
        if self.is(Fault::NdjsonWithoutLastLineFeed) {
            text.pop();
        }
        let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
        if self.is(Fault::NdjsonAsArray) {
            return (kind, "[]\n").into_response();
        }
        (kind, text).into_response()
    }

    fn wants_lines(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(header::ACCEPT).iter();
        let accept: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
        let ranges: Vec<_> = accept
            .iter()
            .flat_map(|value| MediaTypeList::new(value))
            .flatten()
            .collect();
        // What a format is worth, and by how special a range.
        let worth = |format: &str| {
            let covering = ["*/*", "application/*", format];
            let weights = ranges.iter().filter_map(|range| {
                let kind = range.essence().to_string().to_lowercase();
                let special = covering.iter().position(|covering| *covering == kind)?;
                let weight = range.params().find(|(name, _)| match self.fault {
                    Fault::WeightByCase => name.as_str() == "q",
                    _ => *name == "q",
                });
                let weight: f32 = weight.map_or(Some(1.0), |(_, q)| q.as_str().parse().ok())?;
                let sound = (0.0..=1.0).contains(&weight) || self.is(Fault::AnyWeight);
                sound.then_some((special, weight))
            });
            let most = weights.max_by_key(|(special, _)| *special);
            most.filter(|(_, weight)| *weight > 0.0)
                .map(|(special, weight)| (weight, special))
        };
        let array = match self.fault {
            Fault::NoWildcards => worth("application/json").filter(|(_, special)| *special == 2),
            _ => worth("application/json"),
        };
        worth("application/x-ndjson") > array
    }

    fn json(&self, status: u16, value: &Value) -> Response {
        let kind = if self.is(Fault::ContentType) {
            "text/plain"
        } else {
            "application/json"
        };
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::CONTENT_TYPE, kind)], value.to_string()).into_response()
    }

    fn problem(&self, status: u16, field: Option<String>) -> Response {
        let status = match (status, self.fault) {
            (400, Fault::BadIdStatus) => 404,
            (422, Fault::RefusalStatus) => 409,
            (422, _) if self.form == Form::Early => 400,
            (status, _) => status,
        };
        let detail = if self.is(Fault::LeaksCause) {
            "error returned from database: (code: 787) FOREIGN KEY constraint failed"
        } else if self.is(Fault::Unexplained) {
            "no"
        } else {
            "not application/json in UTF-8 without a byte order mark, each key once, \
             not JSON numbers without a point or exponent"
        };
        let mut problem = json!({
            "type": "about:blank", "title": "No", "status": status, "detail": detail,
        });
        if let Some(field) = field {
            let field = if self.is(Fault::WrongField) {
                field.replace('1', "0")
            } else {
                field
            };
            problem["errors"] = json!([{"field": field, "detail": "no"}]);
        }
        let kind = if self.is(Fault::PlainTextProblem) {
            "text/plain"
        } else {
            "application/problem+json"
        };
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::CONTENT_TYPE, kind)], problem.to_string()).into_response()
    }

    fn id(&self, text: &str) -> Option<i64> {
        let lowest = match self.form {
            Form::Early => i64::MIN,
            Form::Late => 1,
        };
        match text.parse() {
            Ok(id) if id >= lowest => Some(id),
            _ => None,
        }
    }

    async fn total_of(&self, order: i64) -> Value {
        let cents: Option<i64> = sqlx::query_scalar(
            "SELECT SUM(price_cents * quantity) FROM order_items
             JOIN item ON item.id = item_id WHERE order_id = $1",
        )
        .bind(order)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        if self.is(Fault::TotalInFloats) {
            let prices: Vec<i64> = sqlx::query_scalar(
                "SELECT price_cents * quantity FROM order_items
                 JOIN item ON item.id = item_id WHERE order_id = $1",
            )
            .bind(order)
            .fetch_all(&self.pool)
            .await
            .unwrap();
            let sum: f64 = prices.iter().map(|cents| money(*cents)).sum();
            return cents.map_or(Value::Null, |_| json!(sum));
        }
        match cents {
            None if self.is(Fault::TotalZeroForNull) => json!(0),
            None => Value::Null,
            Some(cents) => json!(money(cents)),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // the amounts are small
fn money(cents: i64) -> f64 {
    cents as f64 / 100.0
}

async fn start(form: Form, fault: Fault) -> Result<(Service, Database), Failure> {
    let database = Database::sample().await?;
    let options = SqliteConnectOptions::new().filename(database.path());
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_lazy_with(options);
    let app = Arc::new(App { pool, form, fault });
    let limit = if fault == Fault::NoBodyLimit {
        DefaultBodyLimit::disable()
    } else {
        DefaultBodyLimit::max(1 << 20)
    };
    let router = Router::new()
        .route("/", get(welcome))
        .route("/api/customers", get(customers))
        .route("/api/orders/{customer}", get(orders))
        .route("/api/order_total/{order}", get(total))
        .route("/api/orders_total", get(totals))
        .route("/api/orders_between_dates/{before}/{after}", get(between))
        .route("/api/add_new_order", post(add))
        .layer(limit)
        .with_state(app);
    Ok((Service::start(router), database))
}

async fn welcome(State(app): Shared) -> Response {
    let text = if app.is(Fault::Greeting) {
        "Hello"
    } else {
        "Welcome to Marketplace!"
    };
    app.json(200, &json!(text))
}

async fn customers(State(app): Shared, headers: HeaderMap) -> Response {
    let row = match (app.form, app.fault) {
        (_, Fault::NoAddress) => "'id', c.id, 'name', c.name",
        (Form::Early, _) => "'id', c.id, 'name', c.name, 'address_id', c.address_id",
        (Form::Late, _) => {
            "'id', c.id, 'name', c.name, 'address',
             json_object('flat_number', flat_number, 'post_code', post_code)"
        }
    };
    let on = if app.is(Fault::AddressOfCustomerId) {
        "LEFT JOIN address a ON a.id = c.id"
    } else {
        "JOIN address a ON a.id = address_id"
    };
    let by = if app.is(Fault::CustomersByName) {
        "c.address_id, c.name"
    } else {
        "c.id"
    };
    let from = if app.is(Fault::IdsFromOne) {
        1
    } else {
        i64::MIN
    };
    let sql = format!(
        "SELECT json_object({row}) FROM customer c {on} WHERE c.id >= {from} ORDER BY {by}"
    );
    app.list(app.rows(&sql).await, &headers)
}

async fn orders(State(app): Shared, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else {
        let status = if app.is(Fault::BreaksOnBadUtf8) {
            500
        } else {
            400
        };
        return app.problem(status, None);
    };
    let Some(id) = app.id(&id) else {
        return app.problem(400, None);
    };
    let whose = if app.is(Fault::OrdersOfAll) {
        "customer_id = customer_id".to_owned()
    } else {
        format!("customer_id = {id}")
    };
    let by = if app.is(Fault::OrdersByItemId) {
        "i.item_id"
    } else {
        "i.rowid"
    };
    let price = "price_cents / 100.0, 'total', price_cents * quantity / 100.0";
    if app.form == Form::Early {
        let description = if app.is(Fault::NoDescription) {
            ""
        } else {
            "'description', description,"
        };
        let sql = format!(
            "SELECT json_object('name', name, {description} 'price', {price})
             FROM orders o JOIN order_items i ON order_id = o.id JOIN item ON item.id = item_id
             WHERE {whose} ORDER BY o.id, {by}"
        );
        return app.json(200, &json!(app.rows(&sql).await));
    }
    let known = app
        .rows(&format!(
            "SELECT json_object() FROM customer WHERE id = {id}"
        ))
        .await;
    if known.is_empty() && !app.is(Fault::UnknownAsOther) {
        return app.problem(404, None);
    }
    let sql = format!(
        "SELECT json_object('order_id', o.id, 'customer', json_object('name', c.name),
            'order_time', order_time, 'items', (
                SELECT json_group_array(
                    json_object('name', name, 'price', {price}, 'quantity', quantity)
                    ORDER BY {by})
                FROM order_items i JOIN item ON item.id = item_id WHERE order_id = o.id))
         FROM orders o JOIN customer c ON c.id = customer_id WHERE {whose} ORDER BY o.id"
    );
    app.json(200, &json!(app.rows(&sql).await))
}

async fn total(State(app): Shared, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else {
        return app.problem(400, None);
    };
    let Some(id) = app.id(&id) else {
        return app.problem(400, None);
    };
    let known = app
        .rows(&format!("SELECT json_object() FROM orders WHERE id = {id}"))
        .await;
    let is_late = (app.form == Form::Late) != app.is(Fault::UnknownAsOther);
    if known.is_empty() && is_late {
        return app.problem(404, None);
    }
    app.json(200, &json!({ "Order Total": app.total_of(id).await }))
}

async fn totals(
    State(app): Shared,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(body) = read(&app, body).await else {
        return app.problem(413, None);
    };
    let ids: Option<Vec<i64>> = match query {
        Some(query) => query.strip_prefix("orders=").and_then(|ids| {
            let ids = ids.split(',').map(|id| app.id(id));
            ids.collect()
        }),
        None if app.is(Fault::TotalsWithoutBody) => None,
        None if app.form == Form::Late && !body.is_empty() && !is_json(&headers) => {
            return app.problem(415, None);
        }
        None => read_json(&app, &body)
            .and_then(|body| body["orders"].as_array().cloned())
            .and_then(|ids| ids.iter().map(Value::as_i64).collect()),
    };
    let Some(mut ids) = ids else {
        return app.problem(400, None);
    };
    if ids.len() > 1000 && !app.is(Fault::TotalsWithoutLimit) {
        return app.problem(400, None);
    }
    if app.is(Fault::TotalsByCompletion) {
        ids.sort_unstable();
    }
    if app.is(Fault::TotalsWithoutDuplicates) {
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
    }
    let mut totals = Vec::new();
    for id in ids {
        totals.push(app.total_of(id).await);
    }
    app.json(200, &json!(totals))
}

/// At most 1 MiB.
async fn read(app: &App, body: Body) -> Option<Bytes> {
    let limit = if app.is(Fault::NoBodyLimit) {
        usize::MAX
    } else {
        1 << 20
    };
    match body::to_bytes(body, limit).await {
        Ok(bytes) => Some(bytes),
        Err(_) if app.is(Fault::HangsOnHalfBody) => std::future::pending().await,
        Err(_) => None,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| MediaType::parse(kind.to_str().ok()?).ok())
        .is_some_and(|kind| kind.essence() == MediaType::parse("application/json").unwrap())
}

/// `None` for what is not JSON, or has a key twice in one object.
fn read_json(app: &App, body: &[u8]) -> Option<Value> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // The bodies of the contract have no other texts than keys.
    let keys = std::str::from_utf8(body).ok()?.matches("\":").count();
    (app.is(Fault::LastKeyWins) || keys == keys_of(&value)).then_some(value)
}

fn keys_of(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.len() + members.values().map(keys_of).sum::<usize>(),
        Value::Array(items) => items.iter().map(keys_of).sum(),
        _ => 0,
    }
}

async fn between(
    State(app): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path((before, after))) = path else {
        return app.problem(400, None);
    };
    let time = |text: &str| {
        let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
        format!("{date} {clock}")
    };
    let (before, after) = (time(&before), time(&after));
    if !app.is(Fault::AnyDate) {
        for text in [&before, &after] {
            // SQLite's dates go over the end of a month: the text must come back.
            let same: Option<bool> = sqlx::query_scalar("SELECT datetime($1, '+0 days') IS $1")
                .bind(text)
                .fetch_one(&app.pool)
                .await
                .unwrap();
            let plain = text.starts_with(|c: char| c.is_ascii_digit());
            if same != Some(true) || !plain || text.len() != 19 {
                return app.problem(400, None);
            }
        }
    }
    let (before, after) = if app.is(Fault::DatesSwapped) {
        (after, before)
    } else {
        (before, after)
    };
    let end = if app.is(Fault::EndExcluded) {
        "<"
    } else {
        "<="
    };
    let start = if app.is(Fault::StartExcluded) {
        ">"
    } else {
        ">="
    };
    let customer = if app.is(Fault::CustomerColumnLost) {
        ""
    } else {
        "'customer', c.name,"
    };
    let by = if app.is(Fault::BetweenByOrderId) {
        "o.id"
    } else {
        "order_time, o.id"
    };
    let sql = format!(
        "SELECT json_object({customer} 'name', item.name, 'price', price_cents / 100.0,
            'total', price_cents * quantity / 100.0)
         FROM orders o JOIN customer c ON c.id = customer_id
         JOIN order_items i ON order_id = o.id JOIN item ON item.id = item_id
         WHERE order_time {start} $1 AND order_time {end} $2 ORDER BY {by}, i.rowid"
    );
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(after)
        .bind(before)
        .fetch_all(&app.pool)
        .await
        .unwrap();
    let rows = rows.iter().map(|row| serde_json::from_str(row).unwrap());
    app.list(rows.collect(), &headers)
}

async fn add(State(app): Shared, headers: HeaderMap, body: Body) -> Response {
    let Some(body) = read(&app, body).await else {
        return app.problem(413, None);
    };
    if !is_json(&headers) && !app.is(Fault::AnyContentType) {
        return app.problem(415, None);
    }
    let Some(order) = read_json(&app, &body) else {
        if app.is(Fault::CountsVisitors) {
            let sql = "INSERT INTO address (flat_number, post_code) VALUES (1, 1)";
            sqlx::query(sql).execute(&app.pool).await.unwrap();
        }
        return app.problem(400, None);
    };
    let lines = order["items"].as_array().and_then(|items| {
        let line = |item: &Value| Some((item["id"].as_i64()?, item["quantity"].as_i64()?));
        items.iter().map(line).collect::<Option<Vec<_>>>()
    });
    let (Some(customer), Some(mut lines)) = (order["customer_id"].as_i64(), lines) else {
        return app.problem(400, None);
    };
    store(&app, customer, &mut lines)
        .await
        .unwrap_or_else(|field| app.problem(422, Some(field)))
}

/// The answer, or the field to blame.
async fn store(app: &App, customer: i64, lines: &mut [(i64, i64)]) -> Result<Response, String> {
    let customer = if app.is(Fault::WrongCustomer) {
        1
    } else {
        customer
    };
    let time = if app.is(Fault::LocalTime) {
        "datetime('now', '+2 hours')"
    } else {
        "datetime('now')"
    };
    let mut write = app.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..=usize::from(app.is(Fault::StoredTwice)) {
        let sql = format!("INSERT INTO orders (customer_id, order_time) VALUES ($1, {time})");
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(customer)
            .execute(&mut *write)
            .await
            .map_err(|_| "customer_id")?;
        ids.push(done.last_insert_rowid());
    }
    if app.is(Fault::HalfOrder) {
        write.commit().await.unwrap();
        write = app.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    }
    if lines.is_empty() {
        return Err("items".to_owned());
    }
    if app.is(Fault::ItemsReversed) {
        lines.reverse();
    }
    for (i, (item, quantity)) in lines.iter().enumerate() {
        if *quantity < 1 && app.is(Fault::AnyQuantity) {
            continue;
        }
        if !(1..1_000_000).contains(quantity) {
            return Err(format!("items[{i}].quantity"));
        }
        sqlx::query("INSERT INTO order_items VALUES ($1, $2, $3)")
            .bind(ids[0])
            .bind(item)
            .bind(quantity)
            .execute(&mut *write)
            .await
            .map_err(|_| format!("items[{i}].id"))?;
    }
    write.commit().await.unwrap();
    let id = ids[0];
    let status = if app.is(Fault::CreatedStatus) {
        200
    } else {
        201
    };
    let mut response = app.json(status, &json!({ "order_id": id }));
    if !app.is(Fault::NoLocation) {
        let location = format!("/api/order_total/{id}").parse().unwrap();
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

// ---- the checks by name

type Check = Pin<Box<dyn Future<Output = Outcome>>>;

macro_rules! checks {
    (service: $($alone:ident),*; service and database: $($name:ident),*;) => {
        /// Runs one check against a service of its own.
        fn check(name: &str, form: Form, fault: Fault) -> Check {
            match name {
                $(stringify!($alone) => Box::pin(async move {
                    let (service, _database) = start(form, fault).await?;
                    contract::$alone(&service).await
                }),)*
                $(stringify!($name) => Box::pin(async move {
                    let (service, database) = start(form, fault).await?;
                    contract::$name(&service, &database).await
                }),)*
                "format_by_accept" => Box::pin(async move {
                    let (service, _database) = start(form, fault).await?;
                    contract::format_by_accept(&service, "/api/customers").await
                }),
                other => panic!("no check has the name {other}"),
            }
        }
    };
}

checks! {
    service:
        welcome,
        orders_of_unknown_customer_empty,
        orders_of_unknown_customer_404,
        order_total_null_when_unknown,
        order_total_404_when_unknown;
    service and database:
        customers_flat,
        customers_nested,
        customers_flat_ndjson,
        customers_nested_ndjson,
        orders_of_customer_flat,
        orders_of_customer_nested,
        order_total,
        orders_total,
        orders_between_dates,
        orders_between_dates_ndjson,
        new_order_stored,
        new_order_refusals,
        new_order_refusals_400,
        new_order_overflow_422,
        hostile_input;
}

#[tokio::test]
async fn a_right_service_passes() {
    let both = [
        "welcome",
        "format_by_accept",
        "order_total",
        "orders_total",
        "orders_between_dates",
        "orders_between_dates_ndjson",
        "new_order_stored",
    ];
    let early = [
        "customers_flat",
        "customers_flat_ndjson",
        "orders_of_customer_flat",
        "orders_of_unknown_customer_empty",
        "order_total_null_when_unknown",
        "new_order_refusals_400",
    ];
    let late = [
        "customers_nested",
        "customers_nested_ndjson",
        "orders_of_customer_nested",
        "orders_of_unknown_customer_404",
        "order_total_404_when_unknown",
        "new_order_refusals",
        "new_order_overflow_422",
        "hostile_input",
    ];
    let mut wrong = Vec::new();
    for (form, own) in [(Form::Early, &early[..]), (Form::Late, &late[..])] {
        for name in both.iter().chain(own) {
            if let Err(failure) = check(name, form, Fault::None).await {
                wrong.push(format!(
                    "{name} refuses a right service ({form:?}):\n{failure}"
                ));
            }
        }
    }
    // Each form fails the other's checks.
    for (form, other) in [(Form::Early, &late[..]), (Form::Late, &early[..])] {
        for name in other {
            if check(name, form, Fault::None).await.is_ok() {
                wrong.push(format!("{name} accepts the form {form:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // a table
async fn each_fault_is_found() {
    use Fault as F;
    use Form::{Early, Late};

    // The fault, the check that must find it, and a word of its failure: found
    // for this reason and no other.
    let faults = [
        (F::Greeting, Early, "welcome", "Hello"),
        (F::ContentType, Early, "welcome", "content type text/plain"),
        (F::NoAddress, Early, "customers_flat", "address_id"),
        (F::NoAddress, Late, "customers_nested", "address"),
        (
            F::AddressOfCustomerId,
            Late,
            "customers_nested",
            "flat_number",
        ),
        (F::CustomersByName, Early, "customers_flat", "[0]"),
        (F::CustomersByName, Early, "customers_flat_ndjson", "[0]"),
        (F::NdjsonAsArray, Early, "customers_flat_ndjson", "[0]"),
        (F::WeightByCase, Early, "format_by_accept", "Q=0"),
        (F::AnyWeight, Late, "format_by_accept", "q=1.5"),
        (F::NoWildcards, Early, "format_by_accept", "*/*"),
        (F::IdsFromOne, Early, "customers_flat", "Eve"),
        (F::IdsFromOne, Late, "customers_nested_ndjson", "Eve"),
        (
            F::LastKeyWins,
            Early,
            "new_order_refusals_400",
            "customer_id\":2",
        ),
        (F::LastKeyWins, Late, "orders_total", "orders"),
        (F::Unexplained, Early, "orders_total", "`orders`"),
        (F::Unexplained, Late, "new_order_refusals", "`customer_id`"),
        (
            F::NdjsonWithoutLastLineFeed,
            Late,
            "customers_nested_ndjson",
            "Cam",
        ),
        (F::ContentType, Late, "customers_nested", "text/plain"),
        (
            F::OrdersByItemId,
            Early,
            "orders_of_customer_flat",
            "[0].description",
        ),
        (
            F::OrdersByItemId,
            Late,
            "orders_of_customer_nested",
            "[0].items[0]",
        ),
        (
            F::OrdersOfAll,
            Early,
            "orders_of_customer_flat",
            "3 values expected",
        ),
        (
            F::OrdersOfAll,
            Late,
            "orders_of_customer_nested",
            "1 values expected",
        ),
        (
            F::NoDescription,
            Early,
            "orders_of_customer_flat",
            "description",
        ),
        (
            F::UnknownAsOther,
            Late,
            "orders_of_unknown_customer_404",
            "status 200",
        ),
        (F::TotalZeroForNull, Early, "order_total", "null"),
        (
            F::TotalInFloats,
            Early,
            "order_total",
            "0.30000000000000004",
        ),
        (F::BadIdStatus, Early, "order_total", "status 404"),
        (F::PlainTextProblem, Early, "order_total", "problem+json"),
        (F::LeaksCause, Early, "order_total", "without SQL"),
        (
            F::UnknownAsOther,
            Early,
            "order_total_null_when_unknown",
            "404",
        ),
        (
            F::UnknownAsOther,
            Late,
            "order_total_404_when_unknown",
            "status 200",
        ),
        (F::TotalsByCompletion, Early, "orders_total", "[0]"),
        (F::TotalsWithoutDuplicates, Early, "orders_total", "12"),
        (F::TotalsWithoutLimit, Early, "orders_total", "status 400"),
        (F::TotalsWithoutBody, Early, "orders_total", "status 400"),
        (
            F::DatesSwapped,
            Early,
            "orders_between_dates",
            "5 values expected",
        ),
        (
            F::EndExcluded,
            Early,
            "orders_between_dates",
            "5 values expected",
        ),
        (F::StartExcluded, Early, "orders_between_dates", "Alex"),
        (
            F::CustomerColumnLost,
            Early,
            "orders_between_dates",
            "customer",
        ),
        (
            F::CustomerColumnLost,
            Late,
            "orders_between_dates_ndjson",
            "customer",
        ),
        (F::BetweenByOrderId, Early, "orders_between_dates", "Blake"),
        (F::AnyDate, Early, "orders_between_dates", "status 400"),
        (F::CreatedStatus, Early, "new_order_stored", "status 200"),
        (F::NoLocation, Early, "new_order_stored", "Location"),
        (F::WrongCustomer, Early, "new_order_stored", "customer_id"),
        (F::LocalTime, Early, "new_order_stored", "UTC"),
        (F::ItemsReversed, Early, "new_order_stored", "[0][0]"),
        (
            F::StoredTwice,
            Early,
            "new_order_stored",
            "1 values expected",
        ),
        (F::HalfOrder, Late, "new_order_refusals", "new in orders"),
        (F::WrongField, Late, "new_order_refusals", "items[1].id"),
        (F::RefusalStatus, Late, "new_order_refusals", "status 409"),
        (F::AnyQuantity, Late, "new_order_refusals", "new in orders"),
        (
            F::CountsVisitors,
            Late,
            "new_order_refusals",
            "new in address",
        ),
        (F::LeaksCause, Late, "new_order_refusals", "without SQL"),
        (
            F::AnyQuantity,
            Early,
            "new_order_refusals_400",
            "status 201",
        ),
        (
            F::CountsVisitors,
            Early,
            "new_order_refusals_400",
            "new in address",
        ),
        (
            F::RefusalStatus,
            Late,
            "new_order_overflow_422",
            "status 409",
        ),
        (F::LeaksCause, Late, "hostile_input", "without SQL"),
        (F::BreaksOnBadUtf8, Late, "hostile_input", "status 500"),
        (F::HangsOnHalfBody, Late, "hostile_input", "neither"),
        (F::AnyDate, Late, "hostile_input", "status 200"),
        (F::AnyContentType, Late, "hostile_input", "status 201"),
        (F::NoBodyLimit, Late, "hostile_input", "201"),
        (F::CountsVisitors, Late, "hostile_input", "new in address"),
    ];
    let mut missed = Vec::new();
    for (fault, form, name, word) in faults {
        match check(name, form, fault).await {
            Ok(()) => missed.push(format!("{name} accepts {fault:?} ({form:?})")),
            Err(failure) if failure.to_string().contains(word) => {}
            Err(failure) => missed.push(format!(
                "{name} refuses {fault:?} ({form:?}), but not for \"{word}\":\n{failure}"
            )),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
