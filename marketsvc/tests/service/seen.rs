//! What the service shows of itself: ids, the log, metrics, health.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use check::{Database, Failure, OrFail, Outcome, Service, ensure, equal};
use marketsvc::Limits;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::common::{
    HANG, Market, Process, Samples, add_order, binary, expect_come_again, metric, metrics, order,
    soon,
};

const ID: &str = "x-request-id";

#[tokio::test]
async fn every_answer_has_the_id_of_its_request() -> Outcome {
    let market = Market::sample().await?;
    let mut made = BTreeSet::new();
    for path in [
        "/",
        "/api/customers",
        "/api/order_total/99",
        "/nowhere",
        "/healthz",
    ] {
        let reply = market.service.get_with(path, &[(ID, "a-B_9.z")]).await?;
        equal(path, Some("a-B_9.z"), reply.header(ID))?;
        let too_long = "x".repeat(65);
        for malformed in ["", "a b", "a\"b", "a=b", &too_long] {
            let reply = market.service.get_with(path, &[(ID, malformed)]).await?;
            let id = reply.header(ID).or_fail("an id")?;
            ensure(id != malformed && !id.is_empty(), path, "a new id", id)?;
        }
        for _ in 0..10 {
            let reply = market.service.get(path).await?;
            made.insert(reply.header(ID).or_fail("an id")?.to_owned());
        }
    }
    equal("different ids of 50 requests", 50, made.len())
}

/// The fields of a line that says how a request ended.
fn field<'a>(line: &'a str, name: &str) -> Result<&'a str, Failure> {
    line.split_once(&format!(" {name}="))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .or_fail(format!("{name} in {line}"))
}

/// All that the program has logged when it ends.
#[cfg(unix)]
async fn log_of(mut process: Process) -> Result<Vec<String>, Failure> {
    process.signal("TERM").await?;
    let mut stderr = process.child.stderr.take().or_fail("standard error")?;
    let mut text = String::new();
    soon("the end of the log", stderr.read_to_string(&mut text))
        .await
        .or_fail("the log")?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(unix)]
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn each_request_has_one_line_with_its_cost_and_its_sql() -> Outcome {
    let database = Database::sample().await?;
    let mut command = binary(&std::env::temp_dir());
    command
        .env("DATABASE_URL", database.url())
        .env("RUST_LOG", "info,sqlx::query=debug");
    let process = Process::start(command).await?;
    let service = &process.service;
    let order = order();
    // Method, path, route, status, and how many statements.
    let asked = [
        ("GET", "/", "/", 200, 0..=0),
        ("GET", "/api/customers", "/api/customers", 200, 1..=1),
        ("GET", "/api/orders/1", "/api/orders/{customer}", 200, 1..=1),
        (
            "GET",
            "/api/orders/99",
            "/api/orders/{customer}",
            404,
            2..=2,
        ),
        (
            "GET",
            "/api/orders_between_dates/2025-01-01/2024-01-01",
            "/api/orders_between_dates/{before}/{after}",
            200,
            1..=1,
        ),
        (
            "GET",
            "/api/order_total/1",
            "/api/order_total/{order}",
            200,
            1..=1,
        ),
        (
            "GET",
            "/api/order_total/x",
            "/api/order_total/{order}",
            400,
            0..=0,
        ),
        // As many as are needed, but at most one for each order.
        (
            "GET",
            "/api/orders_total?orders=1,2,9",
            "/api/orders_total",
            200,
            1..=3,
        ),
        (
            "POST",
            "/api/add_new_order",
            "/api/add_new_order",
            201,
            3..=3,
        ),
        ("POST", "/api/customers", "/api/customers", 405, 0..=0),
        ("GET", "/any?x=/thing", "none", 404, 0..=0),
        ("GET", "/readyz", "/readyz", 200, 1..=1),
    ];
    for (place, (method, path, _, status, _)) in asked.iter().enumerate() {
        let id = format!("request-{place}");
        let mut headers = vec![(ID, id.as_str())];
        let mut body = String::new();
        if *method == "POST" {
            headers.push(("content-type", "application/json"));
            body = order.to_string();
        }
        let method = Method::from_bytes(method.as_bytes()).or_fail("a method")?;
        let reply = service.send(method, path, &headers, body).await?;
        reply.expect_status(*status)?;
    }
    let log = log_of(process).await?;
    for (place, (method, path, route, status, expected)) in asked.iter().enumerate() {
        let of_request = format!("id=\"request-{place}\"");
        let of_request: Vec<_> = log.iter().filter(|l| l.contains(&of_request)).collect();
        let lines: Vec<_> = of_request
            .iter()
            .filter(|line| line.contains("marketsvc::request: answered"))
            .collect();
        equal(format!("lines about {path}: {lines:?}"), 1, lines.len())?;
        let line = lines[0];
        ensure(line.contains(" INFO "), path, "INFO", line)?;
        equal(line, *method, field(line, "method")?)?;
        equal(line, format!("{route:?}"), field(line, "route")?)?;
        equal(line, status.to_string(), field(line, "status")?)?;
        let duration: f64 = field(line, "duration_ms")?.parse().or_fail(line)?;
        ensure(duration > 0.0, line, "a duration", duration)?;

        let statements: usize = field(line, "statements")?.parse().or_fail(line)?;
        ensure(
            expected.contains(&statements),
            line,
            format!("{expected:?} statements"),
            statements,
        )?;
        // What is done for many requests at once is written down as nobody's.
        if !matches!(
            *route,
            "/api/add_new_order" | "/api/orders_total" | "/api/order_total/{order}"
        ) {
            let sql = of_request.iter().filter(|l| l.contains("sqlx::query"));
            equal(
                format!("SQL of {path}: {of_request:#?}"),
                statements,
                sql.count(),
            )?;
        }
    }
    let sql = log
        .iter()
        .filter(|l| l.contains("sqlx::query") && l.contains("json_each"));
    ensure(
        sql.count() >= 2,
        "the log",
        "the SQL of the order",
        format!("{log:#?}"),
    )
}

/// What the program logs about three requests: two good ones, `fine` and
/// `unknown`, and one that fails by a fault of ours, `broken`.
#[cfg(unix)]
async fn log_of_three(filter: Option<&str>) -> Result<Vec<String>, Failure> {
    let database = Database::sample().await?;
    let mut command = binary(&std::env::temp_dir());
    command.env("DATABASE_URL", database.url());
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    let process = Process::start(command).await?;
    let service = &process.service;
    for (path, id, status) in [("/", "fine", 200), ("/nowhere", "unknown", 404)] {
        let reply = service.get_with(path, &[(ID, id)]).await?;
        reply.expect_status(status)?;
    }
    database
        .execute("ALTER TABLE address RENAME TO lost")
        .await?;
    let reply = service
        .get_with("/api/customers", &[(ID, "broken")])
        .await?;
    reply.expect_status(500)?;
    log_of(process).await
}

#[cfg(unix)]
#[tokio::test]
async fn without_asking_each_request_has_its_line() -> Outcome {
    let log = log_of_three(None).await?;
    for (id, status) in [("fine", "200"), ("unknown", "404"), ("broken", "500")] {
        let id = format!(" answered id=\"{id}\" ");
        let lines: Vec<_> = log.iter().filter(|line| line.contains(&id)).collect();
        equal(format!("lines with {id}: {log:#?}"), 1, lines.len())?;
        equal(lines[0].as_str(), status, field(lines[0], "status")?)?;
    }
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn when_only_faults_have_lines_they_have_ids() -> Outcome {
    let log = log_of_three(Some("warn")).await?;
    equal(format!("lines: {log:#?}"), 2, log.len())?;
    for line in &log {
        ensure(line.contains("id=\"broken\""), line, "its id", line)?;
    }
    ensure(
        log[0].contains("ERROR")
            && (log[0].contains("no such table: main.address")
                || log[0].contains("no such table: address")),
        "the first line",
        "the cause",
        &log[0],
    )?;
    ensure(log[1].contains("WARN"), "the second line", "WARN", &log[1])?;
    equal(log[1].as_str(), "500", field(&log[1], "status")?)
}

/// More than fits into a pipe, and nobody reads it.
#[cfg(unix)]
#[tokio::test]
async fn a_log_that_nobody_reads_keeps_nobody_waiting() -> Outcome {
    let database = Database::sample().await?;
    let mut process = Process::over(&database).await?;
    let name = "x".repeat(50);
    for place in 0..1_000 {
        let id = format!("{name}-{place}");
        let headers = [(ID, id.as_str())];
        let asked = process.service.get_with("/", &headers);
        soon("an answer", asked).await?.expect_status(200)?;
    }
    process.signal("TERM").await?;
    let status = soon("its end", process.child.wait())
        .await
        .or_fail("its end")?;
    equal(
        "the end, with a log that cannot be written",
        Some(0),
        status.code(),
    )?;
    let mut stderr = process.child.stderr.take().or_fail("standard error")?;
    let mut log = String::new();
    soon("the log", stderr.read_to_string(&mut log))
        .await
        .or_fail("the log")?;
    ensure(
        log.contains(&format!("{name}-0\"")),
        "the log",
        "the first line",
        &log,
    )?;
    ensure(
        !log.contains(&format!("{name}-999\"")),
        "the pipe",
        "full before the last line",
        log.len(),
    )
}

/// Whatever fails, its cause is for the log.
#[tokio::test]
async fn no_answer_has_a_word_of_sql() -> Outcome {
    let market = Market::sample().await?;
    market
        .database
        .execute("ALTER TABLE item RENAME TO lost; ALTER TABLE address RENAME TO gone")
        .await?;
    for (path, order) in [
        ("/api/customers", None),
        ("/api/orders/1", None),
        ("/api/order_total/1", None),
        ("/api/orders_total?orders=1,2", None),
        ("/api/orders_between_dates/2025-01-01/2024-01-01", None),
        ("/api/add_new_order", Some(order())),
    ] {
        let reply = match order {
            Some(order) => market.service.post_json(path, &order).await?,
            None => market.service.get(path).await?,
        };
        reply.expect_status(500)?;
        let text = reply.text().to_lowercase();
        for word in [
            "sql", "table", "select", "insert", "item", "address", "main.",
        ] {
            ensure(!text.contains(word), path, format!("no `{word}`"), &text)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn metrics_count_every_request_exactly() -> Outcome {
    let limits = Limits {
        readers: 3,
        ..Limits::default()
    };
    let market = Market::over(Database::sample().await?, limits).await?;
    let service = &market.service;
    for round in 0..7 {
        service
            .get(&format!("/api/order_total/{}", 1 + round % 2))
            .await?;
        service.get(&format!("/api/order_total/9{round}")).await?;
        service.get(&format!("/nowhere/{round}")).await?;
        service.post_json("/api/add_new_order", &order()).await?;
    }
    service.post_json("/api/add_new_order", &json!({})).await?;
    service.get("/api/customers").await?;
    let odd = Method::from_bytes(b"BREW").or_fail("a method")?;
    service.send(odd, "/api/customers", &[], "").await?;
    let metrics = metrics(service).await?;
    let value = |name: &str| metrics.get(name).copied().or_fail(name);
    for (labels, count) in [
        (
            "method=\"GET\",route=\"/api/order_total/{order}\",status=\"200\"",
            7.0,
        ),
        (
            "method=\"GET\",route=\"/api/order_total/{order}\",status=\"404\"",
            7.0,
        ),
        ("method=\"GET\",route=\"none\",status=\"404\"", 7.0),
        (
            "method=\"POST\",route=\"/api/add_new_order\",status=\"201\"",
            7.0,
        ),
        (
            "method=\"POST\",route=\"/api/add_new_order\",status=\"422\"",
            1.0,
        ),
        (
            "method=\"GET\",route=\"/api/customers\",status=\"200\"",
            1.0,
        ),
        (
            "method=\"other\",route=\"/api/customers\",status=\"405\"",
            1.0,
        ),
    ] {
        let name = format!("http_requests_total{{{labels}}}");
        equal(&name, count, value(&name)?)?;
    }
    let answers = metrics
        .keys()
        .filter(|name| name.starts_with("http_requests_total{"));
    equal("kinds of answers", 7, answers.count())?;
    let of_totals = "route=\"/api/order_total/{order}\"";
    let name = format!("http_request_duration_seconds_count{{{of_totals}}}");
    equal(&name, 14.0, value(&name)?)?;
    equal("all of them", 14.0, latencies(&metrics, of_totals)?)?;
    for (name, expected) in [
        ("http_requests_shed_total", 0.0),
        ("http_requests_in_flight", 0.0),
        ("orders_queued", 0.0),
        // One by one, so each had a commit of its own.
        ("orders_per_commit_count", 7.0),
        ("orders_per_commit_sum", 7.0),
        // Also those of orders that there are not.
        ("totals_queued", 0.0),
        ("totals_per_statement_count", 14.0),
        ("totals_per_statement_sum", 14.0),
        ("http_connections_refused_total", 0.0),
        ("http_connections_evicted_total", 0.0),
        ("db_pool_connections{pool=\"readers\"}", 3.0),
        ("db_pool_connections{pool=\"totals\"}", 1.0),
        ("db_pool_connections{pool=\"writer\"}", 1.0),
    ] {
        equal(name, expected, value(name)?)?;
    }
    let in_use = value("db_pool_connections_in_use{pool=\"readers\"}")?;
    ensure(
        (0.0..=3.0).contains(&in_use),
        "readers in use",
        "0 to 3",
        in_use,
    )?;
    let now = std::time::SystemTime::now();
    let now = now
        .duration_since(std::time::UNIX_EPOCH)
        .or_fail("the time")?;
    let started = value("process_start_time_seconds")?;
    ensure(
        started <= now.as_secs_f64() && started > now.as_secs_f64() - 600.0,
        "the start",
        "some moments ago",
        started,
    )
}

/// A lock keeps the writer at its first orders, and others wait.
#[tokio::test]
async fn metrics_tell_what_waits_and_what_is_in_use() -> Outcome {
    let limits = Limits {
        lock_wait: HANG,
        acquire: HANG,
        ..Limits::default()
    };
    let market = Market::over(Database::sample().await?, limits).await?;
    market.service.get("/").await?.expect_status(200)?;
    let lock = market.database.lock_exclusively().await?;
    let mut orders = JoinSet::new();
    let waiting = soon("two orders wait", async {
        loop {
            let service = Service::at(market.addr());
            orders.spawn(async move { add_order(&service).await });
            let metrics = metrics(&market.service).await?;
            if metrics["orders_queued"] >= 2.0 {
                return Ok::<_, Failure>(metrics);
            }
        }
    })
    .await?;
    let writer = waiting["db_pool_connections_in_use{pool=\"writer\"}"];
    equal("writers in use", 1.0, writer)?;
    lock.release().await?;
    while let Some(order) = soon("every order", orders.join_next()).await {
        order.or_fail("an order's task")??;
    }
    equal(
        "orders",
        0.0,
        metric(&market.service, "orders_queued").await?,
    )
}

/// Checks that the classes of a route's latencies hold each other, and gives
/// the count of the widest.
fn latencies(metrics: &Samples, route: &str) -> Result<f64, Failure> {
    let mut classes: Vec<(f64, f64)> = Vec::new();
    for (name, count) in metrics {
        if name.starts_with("http_request_duration_seconds_bucket{") && name.contains(route) {
            let bound = name.split_once("le=\"").or_fail(name)?.1;
            let bound = bound.split('"').next().or_fail(name)?;
            classes.push((bound.parse().or_fail(name)?, *count));
        }
    }
    classes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let grow = classes.is_sorted_by(|one, other| one.1 <= other.1);
    let widest = classes.last().or_fail("a class")?;
    ensure(
        grow && classes.len() > 10 && widest.0.is_infinite(),
        "the classes of latencies",
        "more than 10 that grow, up to +Inf",
        format!("{classes:?}"),
    )?;
    Ok(widest.1)
}

#[tokio::test]
async fn metrics_know_how_many_connections_are_open() -> Outcome {
    let market = Market::sample().await?;
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(market.connect().await?);
    }
    for stay in [5, 2, 0] {
        idle.truncate(stay);
        // And the one that asks.
        let expected = 1.0 + f64::from(u32::try_from(stay).or_fail("a number")?);
        let asked = format!("{expected} connections are open");
        soon(&asked, async {
            while metric(&market.service, "http_connections")
                .await?
                .total_cmp(&expected)
                .is_ne()
            {}
            Ok::<_, Failure>(())
        })
        .await?;
    }
    Ok(())
}

/// Nothing that clients make up becomes a label.
#[tokio::test]
async fn metrics_have_few_labels() -> Outcome {
    let market = Market::sample().await?;
    let service = &market.service;
    let mut known = Vec::new();
    for round in 0..2 {
        for i in 0..50 {
            service.get(&format!("/made/up/{round}-{i}")).await?;
            let order = 1_000 * (round + 1) + i;
            service.get(&format!("/api/order_total/{order}")).await?;
            let odd = Method::from_bytes(format!("M{order}").as_bytes()).or_fail("a method")?;
            service.send(odd, "/api/customers", &[], "").await?;
            service.get("/metrics").await?;
        }
        known.push(metrics(service).await?.into_keys().collect::<Vec<_>>());
    }
    equal("the names of all samples", &known[0], &known[1])
}

#[tokio::test]
async fn it_is_ready_until_it_is_told_to_stop() -> Outcome {
    let limits = Limits {
        stop_notice: HANG,
        ..Limits::default()
    };
    let market = Market::over(Database::sample().await?, limits).await?;
    let service = Service::at(market.addr());
    let reply = service.get("/readyz").await?;
    reply.expect_json(200, &json!("ready"))?;
    let reply = service.get("/healthz").await?;
    reply.expect_json(200, &json!("alive"))?;
    let stopping = market.stop();
    let reply = soon("it is not ready any more", async {
        loop {
            let reply = service.get("/readyz").await?;
            if reply.status != 200 {
                return Ok::<_, Failure>(reply);
            }
        }
    })
    .await?;
    expect_come_again(&reply)?;
    // Whoever does not know yet is served as before.
    let reply = service.get("/healthz").await?;
    reply.expect_status(200)?;
    let reply = service.get("/api/order_total/1").await?;
    reply.expect_status(200)?;
    let reply = service.post_json("/api/add_new_order", &order()).await?;
    reply.expect_status(201)?;
    equal("it has stopped", false, stopping.is_done())
}

#[tokio::test]
async fn after_its_notice_it_stops() -> Outcome {
    let limits = Limits {
        stop_notice: Duration::from_millis(50),
        ..Limits::default()
    };
    let market = Market::over(Database::sample().await?, limits).await?;
    market.service.get("/readyz").await?.expect_status(200)?;
    market.stop().done().await?.wait_until_closed().await
}
