//! The real program over a private database, on a free port, and what the tests ask it.

// Each test binary uses its own part of this.
#![allow(dead_code)]

#[cfg(feature = "postgres")]
pub mod postgres;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use check::{Database, Failure, OrFail, Outcome, Reply, Service, ensure, equal};
use contract::expect_problem;
use marketsvc::app;
use marketsvc::db::sqlite::Sqlite;
use marketsvc::db::sqlite::engine::Engine;
use marketsvc::db::{Db, Settings};
use openapi::{Document, expect_described};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// No test takes a tenth of it; it only turns a hang into a failure.
pub const HANG: Duration = Duration::from_mins(1);

/// Fails instead of waiting for ever.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work)
        .await
        .unwrap_or_else(|_| panic!("still not done after {HANG:?}: {what}"))
}

/// An endpoint, with a request that it answers with a status of success.
pub struct Endpoint {
    /// The method and the path as the document of the API has them: `GET /book/{id}`.
    pub operation: &'static str,
    /// The path of the request.
    pub path: &'static str,
    /// Its body, which is JSON, or nothing.
    pub body: &'static str,
    pub status: u16,
    /// The test in `contract.rs` that says how the endpoint must answer.
    pub test: &'static str,
}

impl Endpoint {
    pub const fn new(
        operation: &'static str,
        path: &'static str,
        body: &'static str,
        status: u16,
        test: &'static str,
    ) -> Self {
        Self {
            operation,
            path,
            body,
            status,
            test,
        }
    }

    pub fn method(&self) -> &'static str {
        self.operation.split(' ').next().unwrap_or_default()
    }

    /// Sends the request. Fails unless the whole answer comes, with its status.
    pub async fn send(&self, service: &Service) -> Result<Reply, Failure> {
        let json = [("content-type", "application/json")];
        let headers = if self.body.is_empty() { &[][..] } else { &json };
        let method = self.method().parse().or_fail(self.operation)?;
        let reply = service.send(method, self.path, headers, self.body).await?;
        reply.expect_status(self.status)?;
        Ok(reply)
    }
}

/// Every endpoint of the API. The requests are sent in this order to one service over a
/// fresh sample: the author who is removed has no books any more by then.
#[rustfmt::skip] // a line for each
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint::new("GET /", "/", "", 200, "welcome"),
    Endpoint::new("GET /app/info", "/app/info", "", 200, "info"),
    Endpoint::new("GET /api/customers", "/api/customers", "", 200, "customers"),
    Endpoint::new("GET /api/orders/{cust_id}", "/api/orders/1", "", 200, "orders_of_a_customer"),
    Endpoint::new("GET /api/order_total/{order_id}", "/api/order_total/1", "", 200, "total_of_an_order"),
    Endpoint::new("GET /api/orders_total", "/api/orders_total?orders=1,2,3", "", 200, "totals_of_orders"),
    Endpoint::new(
        "GET /api/orders_between_dates/{before}/{after}",
        "/api/orders_between_dates/2024-03-31/2024-03-01", "", 200, "orders_between_dates",
    ),
    Endpoint::new("POST /api/add_new_order", "/api/add_new_order", ORDER, 201, "new_orders"),
    Endpoint::new("GET /author", "/author", "", 200, "authors"),
    Endpoint::new("POST /author", "/author", r#"{"name":"Ada"}"#, 201, "authors_stored"),
    Endpoint::new("GET /author/{id}", "/author/1", "", 200, "authors"),
    Endpoint::new("GET /book", "/book", "", 200, "books"),
    Endpoint::new("POST /book", "/book", r#"{"book_name":"Emma","author_id":1,"price":8.5}"#, 201, "books_stored"),
    Endpoint::new("GET /book/{id}", "/book/1", "", 200, "books"),
    Endpoint::new("PUT /book/{id}", "/book/2", r#"{"book_name":"Persuasion","author_id":1,"price":7}"#, 200, "books_replaced"),
    Endpoint::new("PATCH /book/{id}", "/book/2", r#"{"pages":249}"#, 200, "books_changed"),
    Endpoint::new("DELETE /book/{id}", "/book/2", "", 204, "books_removed"),
    Endpoint::new("DELETE /author/{id}", "/author/2", "", 204, "authors_removed"),
    Endpoint::new("POST /catalog", "/catalog", ENTRY, 201, "catalog"),
    Endpoint::new("POST /catalog/separately", "/catalog/separately", ENTRY_ALONE, 201, "catalog_separately"),
];

const ORDER: &str = r#"{"customer_id":2,"items":[{"id":2,"quantity":2},{"id":4,"quantity":1}]}"#;
const ENTRY: &str = r#"{"author":{"name":"Bea"},"book":{"book_name":"Notes","price":5}}"#;
const ENTRY_ALONE: &str = r#"{"author":{"name":"Cleo"},"book":{"book_name":"Letters","price":5}}"#;

/// The databases that the service is tested with.
#[derive(Clone, Copy)]
pub enum On {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres(&'static postgres_server::Server),
}

impl On {
    /// The router of a service over a fresh sample, and the database that a check sees.
    pub async fn app(self) -> Result<(Router, Database), Failure> {
        match self {
            Self::Sqlite => {
                let database = Database::sample().await?;
                Ok((app::app(open(&database)?), database))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(server) => postgres::mirrored(server).await,
        }
    }

    /// A service over a fresh sample, in the process of the test: a failure that it did not
    /// expect shows what the service has logged. An answer that the document of the API does
    /// not describe becomes a 500 that says so.
    pub async fn fresh(self) -> Result<(Service, Database), Failure> {
        let (app, database) = self.app().await?;
        let document = Document::read(&Service::start(app.clone())).await?;
        Ok((Service::start(expect_described(app, document)), database))
    }
}

/// Makes a test on each database of each function that takes an [`On`].
#[macro_export]
macro_rules! on_each_database {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() -> check::Outcome {
                super::$test($crate::common::On::Sqlite).await
            })*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[tokio::test]
            async fn $test() -> check::Outcome {
                match $crate::common::postgres::server() {
                    Some(server) => super::$test($crate::common::On::Postgres(server)).await,
                    None => Ok(()),
                }
            })*
        }
    };
}

/// A service over this database, in the process of the test.
pub fn serve(database: &Database) -> Result<Service, Failure> {
    Ok(Service::start(app::app(open(database)?)))
}

/// The market in this database, which is up to date.
fn open(database: &Database) -> Result<Db, Failure> {
    let engine = Engine::new(&database.url(), Settings::default()).or_fail("an engine")?;
    Ok(Arc::new(Sqlite::new(engine)))
}

/// An order of two lines, for 4 units in all.
pub fn order() -> Value {
    let items = json!([{"id": 2, "quantity": 2}, {"id": 4, "quantity": 1}]);
    json!({"customer_id": 2, "items": items})
}

/// Places [`order`], whatever comes of it.
pub async fn try_order(service: &Service) -> Result<Reply, Failure> {
    service.post_json("/api/add_new_order", &order()).await
}

/// Places [`order`] and returns its number, once acknowledged.
pub async fn add_order(service: &Service) -> Result<i64, Failure> {
    let reply = try_order(service).await?;
    reply.expect_status(201)?;
    reply.json()?["order_id"]
        .as_i64()
        .or_fail("an order's number")
}

/// Fails unless the answer is a 503 that says when to come again.
pub fn expect_come_again(reply: &Reply) -> Outcome {
    expect_problem(reply, 503)?;
    equal(reply.asked(), Some("1"), reply.header("retry-after"))
}

/// Values by name and labels, as they are written.
pub type Samples = BTreeMap<String, f64>;

/// Reads the text format: every line is checked, and each sample belongs to
/// the metric that was described last.
fn samples(text: &str) -> Result<Samples, Failure> {
    let mut samples = Samples::new();
    let mut metric = "";
    let mut lines = text.lines();
    ensure(lines.next_back() == Some("# EOF"), "the end", "# EOF", text)?;
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let kind = words.next();
            ensure(
                matches!(kind, Some("HELP" | "TYPE" | "UNIT")),
                line,
                "HELP, TYPE or UNIT",
                format!("{kind:?}"),
            )?;
            metric = words.next().or_fail(line)?;
            continue;
        }
        let (name, value) = line.rsplit_once(' ').or_fail(line)?;
        let (bare, labels) = name.split_once('{').unwrap_or((name, "}"));
        ensure(bare.starts_with(metric), line, format!("of {metric}"), bare)?;
        let labels = labels.strip_suffix('}').or_fail(line)?;
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            ensure(label.contains("=\""), line, "name=\"value\"", label)?;
        }
        let value = value.parse().or_fail(line)?;
        let twice = samples.insert(name.to_owned(), value);
        ensure(twice.is_none(), line, "each sample once", "twice")?;
    }
    Ok(samples)
}

pub async fn metrics(service: &Service) -> Result<Samples, Failure> {
    let reply = service.get("/metrics").await?;
    reply.expect_status(200)?;
    let kind = reply.header("content-type").unwrap_or_default();
    ensure(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "its type",
        "OpenMetrics",
        kind,
    )?;
    samples(&reply.text())
}

/// One of them.
pub async fn metric(service: &Service, name: &str) -> Result<f64, Failure> {
    metrics(service).await?.get(name).copied().or_fail(name)
}

/// The real binary, with a clean environment and in `folder`.
pub fn binary(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketsvc"));
    command
        .env_clear()
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A process of the real binary that listens.
pub struct Process {
    pub child: Child,
    pub service: Service,
}

impl Process {
    /// Starts it and waits for its line on standard output.
    pub async fn start(mut command: Command) -> Result<Self, Failure> {
        let asked = "the start of the service";
        let mut child = command.spawn().or_fail(asked)?;
        let stdout = child.stdout.take().or_fail(asked)?;
        let mut lines = BufReader::new(stdout).lines();
        let line = soon(asked, lines.next_line()).await.or_fail(asked)?;
        let Some(line) = line else {
            let mut stderr = String::new();
            if let Some(mut pipe) = child.stderr.take() {
                let _ = pipe.read_to_string(&mut stderr).await;
            }
            return Err(Failure::new(asked, "a line on standard output", stderr));
        };
        let addr = line
            .strip_prefix("listening on http://")
            .and_then(|addr| addr.parse().ok())
            .ok_or_else(|| Failure::new(asked, "listening on http://ADDR", &line))?;
        Ok(Self {
            child,
            service: Service::at(addr),
        })
    }

    pub async fn over(database: &Database) -> Result<Self, Failure> {
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", database.url());
        Self::start(command).await
    }

    /// As [`Process::over`], without a line for each request in its log: nobody reads it,
    /// and a program whose standard error is full waits.
    pub async fn quiet(url: &str) -> Result<Self, Failure> {
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", url);
        command.env("RUST_LOG", "error");
        Self::start(command).await
    }

    /// Sends a signal, such as `TERM`.
    pub async fn signal(&self, name: &str) -> Result<(), Failure> {
        let asked = format!("kill -{name}");
        let pid = self.child.id().or_fail(&asked)?;
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()
            .await
            .or_fail(&asked)?;
        ensure(status.success(), asked, "the signal is sent", status)
    }
}
