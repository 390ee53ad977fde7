//! The checks of step 16: PostgreSQL answers as SQLite does, an order is stored once
//! whatever fails, and a cluster goes on without its primary.

use std::any;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::http::Method;
use axum::response::IntoResponse;
use check::statements::{Recording, Statement};
use check::{Database, Failure, OrFail, Outcome, Reply, Service, Suite, ensure, equal, equal_json};
use http_body_util::BodyExt;
use postgres_server::{Cluster, INSTALL, Server};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions};
use sqlx_postgres::{PgConnectOptions, PgConnection};
use step16::app;
use step16::db::postgres::orders::insert_order;
use step16::db::postgres::servers::{Roles, ServerState, Servers};
use step16::db::postgres::transaction::{MAX_RETRIES, is_retryable};
use step16::db::sqlite::engine::Engine;
use step16::db::sqlite::writer;
use step16::db::{self, Db, Settings};
use step16::error::Error;
use step16::orders::{KeyedOrder, NewOrder, NewOrderItem, Position};
use step16::page::PAGE_ROWS;
use step16::types::Money;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime;
use tokio::sync::{self, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Level;

#[allow(clippy::too_many_lines)] // it is a list
pub fn main() -> ExitCode {
    Suite::new("16-scale-out", env!("CARGO_MANIFEST_DIR"))
        // The first ones start servers.
        .limit(Duration::from_secs(30))
        .check(
            "16.1",
            "each order on PostgreSQL has its total",
            totals_right,
        )
        .check("16.1", "a total has 64 bits", totals_large)
        .check(
            "16.1",
            "totals that wait together are one statement",
            totals_together,
        )
        .check(
            "16.2",
            "all customers are listed as on SQLite, page after page",
            customers_as_on_sqlite,
        )
        .check("16.2", "a page of customers is one row", page_is_a_row)
        .check(
            "16.3",
            "an order is stored with its items in the order of the request",
            order_stored,
        )
        .check(
            "16.3",
            "an order that is refused leaves nothing and names the field",
            order_refused,
        )
        .check(
            "16.3",
            "an order whose key is just being written waits for that order",
            key_under_way,
        )
        .check(
            "16.3",
            "the number of statements does not depend on the number of items",
            order_statements,
        )
        .check_beside(
            "16.4",
            "a transaction that the server rolls back is run again and stored once",
            repeated,
        )
        .check_beside(
            "16.4",
            "an order that meets a deadlock is stored once",
            deadlock,
        )
        .check_beside("16.4", "the repeats have an end", repeats_end)
        .check_beside(
            "16.4",
            "before a repeat there is a random wait, each time a longer one",
            waits_grow,
        )
        .check("16.4", "no other error is repeated", not_repeated)
        .check(
            "16.4",
            "a connection that is lost during COMMIT is not a reason to repeat",
            lost_not_repeated,
        )
        .check_beside(
            "16.5",
            "a COMMIT without an answer is an unknown outcome, within the limit",
            commit_unanswered,
        )
        .check_beside(
            "16.5",
            "a COMMIT has as much time as the work before it",
            slow_commit,
        )
        .check(
            "16.5",
            "a connection that ends during COMMIT is an unknown outcome",
            commit_lost,
        )
        .check(
            "16.5",
            "a COMMIT that the server refuses stores nothing, and that is known",
            commit_refused,
        )
        .check_beside(
            "16.5",
            "what fails before COMMIT stores nothing, and that is known",
            failed_before_commit,
        )
        .check(
            "16.6",
            "a connection that answers is used again",
            connection_kept,
        )
        .check_beside(
            "16.6",
            "each request ends in time while the server is silent, and then the pool has all \
             its connections",
            silent_server,
        )
        .check(
            "16.7",
            "on PostgreSQL, an order with the same key is the same order",
            async || same_key(&Market::on_postgres().await?).await,
        )
        .check(
            "16.7",
            "on SQLite, an order with the same key is the same order",
            async || same_key(&Market::on_sqlite().await?).await,
        )
        .check(
            "16.7",
            "on PostgreSQL, a key is refused for an order with other content",
            async || other_content(&Market::on_postgres().await?).await,
        )
        .check(
            "16.7",
            "on SQLite, a key is refused for an order with other content",
            async || other_content(&Market::on_sqlite().await?).await,
        )
        .check(
            "16.7",
            "on PostgreSQL, orders with one key at the same time are one order",
            async || one_key_at_once(&Market::on_postgres().await?).await,
        )
        .check(
            "16.7",
            "on SQLite, orders with one key at the same time are one order",
            async || one_key_at_once(&Market::on_sqlite().await?).await,
        )
        .check(
            "16.7",
            "on SQLite, a repeated key does not touch its neighbours in the batch",
            key_in_batch,
        )
        .check(
            "16.8",
            "the primary is the one on the newest timeline, the standbys are those that answer",
            roles_of_states,
        )
        .check(
            "16.8",
            "a primary that was replaced is not used when it comes back",
            old_primary,
        )
        .check(
            "16.9",
            "a client reads from a server that has what it has seen",
            chosen_reader,
        )
        .check(
            "16.9",
            "reads go to a standby, and a client finds what it has stored",
            reads_of_cluster,
        )
        .check(
            "16.9",
            "standbys that do not answer fail no read",
            silent_standbys,
        )
        // This one kills the primary of the cluster that the two before it use.
        .check(
            "16.8",
            "orders are placed again after a failover, and none that was acknowledged is lost",
            failover,
        )
        .run()
}

/// How long a check waits for what should happen soon, on a machine that has time.
const SOON: Duration = Duration::from_secs(3);

/// How long a service waits for its database, in the checks that let it wait in vain.
const SHORT: Duration = Duration::from_millis(300);

const ORDERS: &str = "/api/add_new_order";

// The servers

/// It is thrown away, so it need not wait for the disk. It soon looks for a deadlock.
static SERVER: LazyLock<io::Result<Option<Server>>> =
    LazyLock::new(|| Server::start(&["fsync=off", "deadlock_timeout=150ms"]));

static CLUSTER: LazyLock<Mutex<io::Result<Option<Cluster>>>> =
    LazyLock::new(|| Mutex::new(Cluster::with(&["fsync=off"])));

/// Runs what blocks, beside the tasks of the check.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.or_fail("a thread")
}

const START: &str = "start PostgreSQL";

fn not_installed() -> Failure {
    Failure::new(START, "a server to check with", INSTALL)
}

/// Does something with the cluster, which is started first if it is not there.
async fn with_cluster<T: Send + 'static>(
    work: impl FnOnce(&mut Cluster) -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    blocking(|| {
        let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
        match cluster.as_mut() {
            Ok(Some(cluster)) => work(cluster).or_fail("the check's own cluster"),
            Ok(None) => Err(not_installed()),
            Err(error) => Err(Failure::new(START, "no error", error)),
        }
    })
    .await?
}

/// A connection of the check, whose statements are not recorded.
async fn connect(url: &str) -> Result<PgConnection, Failure> {
    let options = PgConnectOptions::from_str(url).or_fail(url)?;
    let options = options.disable_statement_logging();
    options.connect().await.or_fail("a connection of the check")
}

async fn execute(connection: &mut PgConnection, sql: &str) -> Outcome {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.or_fail(sql).map(drop)
}

async fn text(connection: &mut PgConnection, sql: &str) -> Result<String, Failure> {
    let text = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection);
    text.await.or_fail(sql)
}

/// The URL of the check's own server.
async fn server() -> Result<String, Failure> {
    let server = blocking(|| SERVER.as_ref()).await?.or_fail(START)?;
    Ok(server.as_ref().ok_or_else(not_installed)?.url("postgres"))
}

/// A new database for a check that runs beside others, and a connection to it.
async fn new_database() -> Result<(String, PgConnection), Failure> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let name = format!("market{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = server().await?;
    let with = |name| url.replacen("/postgres?", &format!("/{name}?"), 1);
    // Connected to a database in which nobody ends connections.
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    execute(&mut connect(&with("template1")).await?, &create).await?;
    let url = with(&name);
    let connection = connect(&url).await?;
    Ok((url, connection))
}

/// Empties a database, which takes a third of the time of a new one, and ends all other
/// connections to it.
async fn emptied(url: &str) -> Result<PgConnection, Failure> {
    let empty = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid();
                 DROP SCHEMA public CASCADE;
                 CREATE SCHEMA public";
    let mut connection = connect(url).await?;
    execute(&mut connection, empty).await?;
    Ok(connection)
}

// The network

/// What stands between the service and a server of PostgreSQL. It passes on what both say,
/// unless the check lets the network fail.
#[derive(Clone)]
struct Network {
    port: u16,
    database: Arc<str>,
    fault: Arc<Mutex<Option<Fault>>>,
    commits: Arc<AtomicUsize>,
    /// How many connections there were.
    connections: Arc<AtomicUsize>,
    /// Connections with a smaller number than this pass on nothing.
    silent: Arc<watch::Sender<usize>>,
}

/// What happens to a connection.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// When the service sends a statement with this word, the connection is lost before the
    /// server receives it.
    Before(&'static str),
    /// The server commits, and its answer does not arrive.
    Unanswered,
    /// The server commits, and the connection is lost before its answer arrives.
    Lost,
    /// The server commits, and ends the connection with an error of this severity and code
    /// instead of the answer.
    Ended(&'static str, &'static str),
}

/// An operator ends the connection, or stops the server.
const OPERATOR: Fault = Fault::Ended("FATAL", "57P01");

impl Fault {
    /// What happens, for a reader.
    fn text(self) -> String {
        match self {
            Self::Before(word) => format!("the connection is lost before {word} is sent"),
            Self::Unanswered => "the answer to COMMIT never arrives".to_owned(),
            Self::Lost => "the connection is lost after COMMIT".to_owned(),
            Self::Ended(severity, code) => {
                format!("the server answers COMMIT with {severity} {code}")
            }
        }
    }
}

impl Network {
    /// Begins to pass on what arrives at [`Network::port`] to the server with this URL.
    async fn start(url: &str) -> Result<Self, Failure> {
        // As `Server::url` has it: `postgres://…/DATABASE?host=FOLDER`.
        let (database, folder) = url.split_once("?host=").or_fail("the URL of a server")?;
        let database = database.rsplit('/').next().unwrap_or_default();
        let socket = format!("{folder}/.s.PGSQL.5432");
        let listener = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
        let network = Self {
            port: listener.local_addr().or_fail("a port")?.port(),
            database: database.into(),
            fault: Arc::default(),
            commits: Arc::default(),
            connections: Arc::default(),
            silent: Arc::default(),
        };
        let accepting = network.clone();
        tokio::spawn(async move {
            // They end with this task, and that ends with the check.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = accepting.connections.fetch_add(1, Ordering::Relaxed);
                let (network, socket) = (accepting.clone(), socket.clone());
                connections.spawn(async move {
                    // An error means that a server or a client has ended.
                    if let Ok(server) = UnixStream::connect(socket).await {
                        let _ = network.pass_on(number, client, server).await;
                    }
                });
            }
        });
        Ok(network)
    }

    /// The URL of the database behind the network.
    fn url(&self) -> String {
        let (port, database) = (self.port, &self.database);
        format!("postgres://market@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    fn fails(&self, fault: Fault) {
        self.commits.store(0, Ordering::Relaxed);
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// How many times the service has sent COMMIT since [`Network::fails`].
    fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }

    /// Lets nothing pass any more: all connections stay open, and nothing answers.
    fn fall_silent(&self) {
        self.silent.send_replace(usize::MAX);
    }

    /// Lets new connections pass. Those from before stay silent, as they do where the machine
    /// of the server was replaced.
    fn come_back(&self) {
        let number = self.connections.load(Ordering::Relaxed);
        self.silent.send_replace(number);
    }

    async fn pass_on(
        &self,
        number: usize,
        mut client: TcpStream,
        mut server: UnixStream,
    ) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let speaks = async || {
            let mut silent = self.silent.subscribe();
            // An error would mean that the network is gone.
            let _ = silent.wait_for(|silent| number >= *silent).await;
        };
        let fault = || *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = AtomicUsize::new(0);
        let requests = async {
            let mut bytes = Vec::with_capacity(8 * 1024);
            while from_client.read_buf(&mut bytes).await? > 0 {
                speaks().await;
                if fault().is_some() && has_word(&bytes, "COMMIT") {
                    commits.fetch_add(1, Ordering::Relaxed);
                    self.commits.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(Fault::Before(word)) = fault()
                    && has_word(&bytes, word)
                {
                    break;
                }
                to_server.write_all(&bytes).await?;
                bytes.clear();
            }
            Ok(())
        };
        let answers = async {
            let mut bytes = Vec::with_capacity(8 * 1024);
            while from_server.read_buf(&mut bytes).await? > 0 {
                speaks().await;
                let fault = fault().filter(|_| commits.load(Ordering::Relaxed) > 0);
                match fault {
                    None | Some(Fault::Before(_)) => to_client.write_all(&bytes).await?,
                    // The answer to COMMIT is the name of the command.
                    Some(_) if !has_word(&bytes, "COMMIT") => continue,
                    Some(Fault::Unanswered) => {}
                    Some(Fault::Lost) => break,
                    Some(Fault::Ended(severity, code)) => {
                        to_client.write_all(&last_words(severity, code)).await?;
                        break;
                    }
                }
                bytes.clear();
            }
            Ok(())
        };
        tokio::select! {
            ended = requests => ended,
            ended = answers => ended,
        }
    }
}

/// Whether the bytes have this word in capitals or small letters, and not as a part of
/// another one, such as `synchronous_commit`.
fn has_word(bytes: &[u8], word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (0..bytes.len()).any(|at| {
        let end = at + word.len();
        let found = bytes.get(at..end);
        found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
            && !part(at.checked_sub(1).and_then(|at| bytes.get(at)))
            && !part(bytes.get(end))
    })
}

/// What a server says to a client whose connection it ends.
fn last_words(severity: &str, code: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0Mthe connection ends\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or_default();
    [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
}

// The market

/// The service over a database of its own.
struct Market {
    service: Service,
    db: Db,
    store: Store,
}

enum Store {
    Sqlite(Database),
    Postgres {
        url: String,
        /// The check's own.
        connection: sync::Mutex<PgConnection>,
        network: Network,
    },
}

impl Market {
    async fn on_sqlite() -> Result<Self, Failure> {
        let database = Database::sample().await?;
        let db = db::open(&database.url(), Settings::default()).await;
        let db = db.or_fail("db::open")?;
        Ok(Self {
            service: Service::start(app::app(Arc::clone(&db))),
            db,
            store: Store::Sqlite(database),
        })
    }

    /// A market in the database that the checks use one after another.
    async fn on_postgres() -> Result<Self, Failure> {
        let url = server().await?;
        let connection = emptied(&url).await?;
        Self::with(url, connection, Settings::default()).await
    }

    /// A market in a database of its own.
    async fn apart(settings: Settings) -> Result<Self, Failure> {
        let (url, connection) = new_database().await?;
        Self::with(url, connection, settings).await
    }

    /// A market in a database of its own, for which it does not wait long.
    async fn impatient() -> Result<Self, Failure> {
        Self::apart(Settings {
            busy_timeout: SHORT,
            ..Settings::default()
        })
        .await
    }

    async fn with(
        url: String,
        connection: PgConnection,
        settings: Settings,
    ) -> Result<Self, Failure> {
        let network = Network::start(&url).await?;
        let db = db::open(&network.url(), settings).await;
        let db = db.or_fail("db::open")?;
        Ok(Self {
            service: Service::start(app::app(Arc::clone(&db))),
            db,
            store: Store::Postgres {
                connection: connection.into(),
                url,
                network,
            },
        })
    }

    fn network(&self) -> Result<&Network, Failure> {
        match &self.store {
            Store::Postgres { network, .. } => Ok(network),
            Store::Sqlite(_) => Err(Failure::new("the network", "PostgreSQL", "SQLite")),
        }
    }

    /// Another connection of the check to PostgreSQL.
    async fn connect(&self) -> Result<PgConnection, Failure> {
        match &self.store {
            Store::Postgres { url, .. } => connect(url).await,
            Store::Sqlite(_) => Err(Failure::new("connect", "PostgreSQL", "SQLite")),
        }
    }

    async fn execute(&self, sql: &str) -> Outcome {
        match &self.store {
            Store::Sqlite(database) => database.execute(sql).await,
            Store::Postgres { connection, .. } => execute(&mut *connection.lock().await, sql).await,
        }
    }

    /// The number that `sql` selects.
    async fn number(&self, sql: &str) -> Result<i64, Failure> {
        match &self.store {
            Store::Sqlite(database) => database.one(sql).await,
            Store::Postgres { connection, .. } => {
                let mut connection = connection.lock().await;
                let number = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection);
                number.await.or_fail(sql)
            }
        }
    }

    /// How many orders and lines of orders are stored, when no transaction is under way.
    async fn rows(&self) -> Result<Rows, Failure> {
        if let Store::Postgres { .. } = self.store {
            let under_way = "SELECT count(*) FROM pg_stat_activity
                             WHERE datname = current_database() AND pid <> pg_backend_pid()
                               AND backend_type = 'client backend' AND state <> 'idle'";
            let ended = async {
                while self.number(under_way).await? > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok::<_, Failure>(())
            };
            soon("the end of the transactions on the server", ended).await??;
        }
        Ok(Rows {
            orders: self.number("SELECT count(*) FROM orders").await?,
            lines: self.number("SELECT count(*) FROM order_items").await?,
        })
    }

    async fn place(&self, body: &Value) -> Result<Reply, Failure> {
        let asked = format!("POST {ORDERS} {body}");
        soon(asked, self.service.post_json(ORDERS, body)).await?
    }

    async fn place_with(&self, key: &str, body: &Value) -> Result<Reply, Failure> {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        let sent = self
            .service
            .send(Method::POST, ORDERS, &headers, body.to_string());
        let asked = format!("POST {ORDERS} {body} (idempotency-key: {key})");
        soon(asked, sent).await?
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rows {
    orders: i64,
    lines: i64,
}

impl Rows {
    fn and(self, orders: i64, lines: i64) -> Self {
        Self {
            orders: self.orders + orders,
            lines: self.lines + lines,
        }
    }
}

/// The body of an order: items with their quantities.
fn body(customer_id: i64, items: &[(i64, i64)]) -> Value {
    let item = |(id, quantity): &(i64, i64)| json!({"id": id, "quantity": quantity});
    let items: Vec<Value> = items.iter().map(item).collect();
    json!({"customer_id": customer_id, "items": items})
}

/// The id of an order that must have been stored.
fn id_of(reply: &Reply) -> Result<i64, Failure> {
    reply.expect_status(201)?;
    let id = reply.json()?["order_id"].as_i64();
    let id = id.ok_or_else(|| reply.failure("{\"order_id\": …}"))?;
    let location = reply.header("location").unwrap_or("none");
    ensure(
        location == format!("/api/order_total/{id}"),
        reply.asked(),
        format_args!("the header Location: /api/order_total/{id}"),
        format_args!("Location: {location}"),
    )?;
    Ok(id)
}

/// Fails unless the answer is a problem with this status about this field.
fn expect_field(reply: &Reply, status: u16, field: &str) -> Outcome {
    contract::expect_problem(reply, status)?;
    let got = &reply.json()?["errors"][0]["field"];
    ensure(
        got == field,
        reply.asked(),
        format_args!("a problem with the field {field:?}"),
        reply.text(),
    )
}

/// Fails unless the future ends soon.
async fn soon<T>(asked: impl Display, work: impl Future<Output = T>) -> Result<T, Failure> {
    check::within(SOON, work).await.ok_or_else(|| {
        let got = format!("none within {} s", SOON.as_secs());
        Failure::new(asked, "an end", got)
    })
}

/// Runs futures at the same time, and returns when each of them waits for something.
async fn all_begun<T: Send + 'static>(
    asked: &str,
    futures: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Result<JoinSet<T>, Failure> {
    let mut tasks = JoinSet::new();
    let begun = Arc::new(AtomicUsize::new(0));
    for future in futures {
        let (mut future, begun, mut first) = (Box::pin(future), Arc::clone(&begun), true);
        tasks.spawn(poll_fn(move |context| {
            let poll = future.as_mut().poll(context);
            if first {
                first = false;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            poll
        }));
    }
    soon(asked, async {
        while begun.load(Ordering::Relaxed) < tasks.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await?;
    Ok(tasks)
}

/// Waits until `number` backends of a database wait for a lock.
async fn wait_for_locks(connection: &mut PgConnection, number: i64) -> Outcome {
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let reached = async {
        while text(connection, waiting).await? != number.to_string() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    };
    let asked = format!("{number} connections of the service wait for a lock");
    soon(asked, reached).await?
}

// 16.1: totals

async fn totals_right() -> Outcome {
    let market = Market::on_postgres().await?;
    let service = &market.service;
    let totals = [("1", json!(30)), ("2", json!(12)), ("3", Value::Null)];
    for (id, total) in totals {
        let reply = service.get(&format!("/api/order_total/{id}")).await?;
        reply.expect_json(200, &json!({"Order Total": total}))?;
    }
    contract::order_total_404_when_unknown(service).await?;
    let reply = service
        .get("/api/orders_total?orders=2,3,1,99,2,1,1")
        .await?;
    reply.expect_json(200, &json!([12, null, 30, null, 12, 30, 30]))?;
    market
        .execute(
            "INSERT INTO item (id, name, price_cents) VALUES (901, 'Pin', 7), (902, 'Nail', 7);
             INSERT INTO orders (id, customer_id) VALUES (901, 1);
             INSERT INTO order_items (order_id, item_id, quantity)
             VALUES (901, 901, 3), (901, 902, 3)",
        )
        .await?;
    // Two lines that cost the same are two lines.
    let reply = service.get("/api/order_total/901").await?;
    reply.expect_json(200, &json!({"Order Total": 0.42}))
}

async fn totals_large() -> Outcome {
    let market = Market::on_postgres().await?;
    market
        .execute(
            "INSERT INTO item (id, name, price_cents)
             VALUES (901, 'House', 30000000), (902, 'Palace', 4000000000);
             INSERT INTO orders (id, customer_id) VALUES (901, 1), (902, 1);
             INSERT INTO order_items (order_id, item_id, quantity)
             VALUES (901, 901, 100), (902, 901, 1), (902, 902, 1000000)",
        )
        .await?;
    let reply = market
        .service
        .get("/api/orders_total?orders=901,902")
        .await?;
    reply.expect_json(200, &json!([30_000_000, 40_000_000_300_000_i64]))
}

/// Adds orders with the ids from 1001 on; the first costs one cent, and so on.
async fn add_orders(market: &Market, count: i64) -> Outcome {
    market
        .execute(&format!(
            "INSERT INTO item (id, name, price_cents) VALUES (900, 'Pin', 1);
             INSERT INTO orders (id, customer_id)
             SELECT 1000 + i, 1 FROM generate_series(1, {count}) AS n (i);
             INSERT INTO order_items (order_id, item_id, quantity)
             SELECT 1000 + i, 900, i FROM generate_series(1, {count}) AS n (i);
             INSERT INTO orders (id, customer_id) VALUES (2000, 1)"
        ))
        .await
}

/// What the service has executed. Its look at the servers of a cluster is not among it.
fn statements(recording: &Recording) -> Vec<Statement> {
    let mut statements = recording.statements();
    statements.retain(|it| it.level <= Level::DEBUG);
    statements
}

async fn totals_together() -> Outcome {
    let market = Market::on_postgres().await?;
    add_orders(&market, 100).await?;
    let mut connection = market.connect().await?;
    let lock = "BEGIN; LOCK TABLE orders, order_items, item IN ACCESS EXCLUSIVE MODE";
    execute(&mut connection, lock).await?;
    let recording = Recording::start();
    let asked = "105 totals at the same time, while nobody can read the tables";
    // Some twice, one unknown, one without items.
    let ids = (1001..=1100).rev().chain([1007, 1007, 3000, 4000, 2000]);
    let calls = ids.map(|id| {
        let db = Arc::clone(&market.db);
        async move { (id, db.order_total(id, None).await) }
    });
    let mut calls = all_begun(asked, calls).await?;
    execute(&mut connection, "ROLLBACK").await?;
    while let Some(call) = soon(asked, calls.join_next()).await? {
        let (id, total) = call.or_fail(asked)?;
        let asked = format!("{asked}: order {id}");
        match (id, total) {
            (3000 | 4000, Err(Error::NotFound(_))) | (2000, Ok(None)) => {}
            (1001..=1100, Ok(Some(total))) => equal(asked, id - 1000, total.0)?,
            (_, total) => {
                let got = format!("{total:?}");
                return Err(Failure::new(asked, "its own total", got));
            }
        }
    }
    let count = statements(&recording).len();
    ensure(
        (1..=2).contains(&count),
        format_args!("{asked}: statements"),
        "1 or 2: one for the first caller, one for all that came while it waited",
        count,
    )
}

// 16.2: customers

const NAMES: [&str; 8] = [
    "O'Brien \"Bob\" \\ Smith",
    "Zoë 漢字 😀 e\u{301}",
    "tab\tline\r\nfeed\u{8}\u{c}",
    "\u{1}\u{1f}\u{7f}\u{2028}",
    "</script>&amp;/",
    "",
    "null",
    "{\"a\": [1, 2]}, \\u0041 $1 %s",
];

/// Adds 1,500 customers and those with the names, and the highest id first, so that
/// the order of the ids is not that of the rows.
async fn add_customers(market: &Market) -> Outcome {
    let numbers = match market.store {
        Store::Sqlite(_) => {
            "WITH RECURSIVE n (i) AS (SELECT 1500 UNION ALL SELECT i - 1 FROM n WHERE i > 1)"
        }
        Store::Postgres { .. } => "WITH n (i) AS (SELECT generate_series(1500, 1, -1))",
    };
    let mut sql = Vec::new();
    for (into, select) in [
        (
            "address (id, flat_number, post_code)",
            "1 + i % 99, 10000 + i",
        ),
        (
            "customer (id, name, address_id)",
            "'Customer ' || i, 100 + 3 * i",
        ),
    ] {
        let rows = format!("{numbers} SELECT 100 + 3 * i, {select} FROM n");
        sql.push(format!("INSERT INTO {into} {rows}"));
    }
    for (name, id) in NAMES.iter().zip(5..) {
        let name = name.replace('\'', "''");
        sql.push(format!(
            "INSERT INTO customer (id, name, address_id) VALUES ({id}, '{name}', 2)"
        ));
    }
    market.execute(&sql.join(";")).await
}

async fn customers_as_on_sqlite() -> Outcome {
    let markets = [Market::on_sqlite().await?, Market::on_postgres().await?];
    let (mut lists, mut lines) = (Vec::new(), Vec::new());
    for market in &markets {
        add_customers(market).await?;
        let reply = market.service.get("/api/customers").await?;
        reply.expect_status(200)?;
        lists.push(reply.json()?);
        let accept = [("accept", "application/x-ndjson")];
        lines.push(market.service.get_with("/api/customers", &accept).await?);
    }
    let asked = "GET /api/customers, 1,511 customers: as on SQLite";
    equal_json(asked, &lists[0], &lists[1])?;
    let text = lines[1].text();
    let asked = "GET /api/customers as lines: JSON, one customer on each line";
    let mut rows = Vec::new();
    for line in text.split_terminator('\n') {
        let asked = format!("{asked}: the line {line:?}");
        rows.push(check::parse_json(asked, line.as_bytes())?);
    }
    equal_json(asked, &lists[0], &Value::Array(rows))?;
    ensure(
        text.ends_with('\n'),
        asked,
        "a line feed at the end",
        "none",
    )?;
    markets[1]
        .execute("DELETE FROM order_items; DELETE FROM orders; DELETE FROM customer")
        .await?;
    let reply = markets[1].service.get("/api/customers").await?;
    reply.expect_json(200, &json!([]))?;
    contract::format_by_accept(&markets[1].service, "/api/customers").await
}

async fn page_is_a_row() -> Outcome {
    let market = Market::on_postgres().await?;
    add_customers(&market).await?;
    let recording = Recording::start();
    let asked = format!("GET /api/customers, 1,511 customers in pages of {PAGE_ROWS}");
    let reply = soon(&asked, market.service.get("/api/customers")).await??;
    let rows = reply.json()?.as_array().map_or(0, Vec::len);
    equal(format_args!("{asked}: customers"), 1511, rows)?;
    let statements = statements(&recording);
    let returned: Vec<u64> = statements.iter().map(|it| it.rows_returned).collect();
    ensure(
        returned.iter().all(|rows| *rows <= 1),
        format_args!("{asked}: rows that each statement returns"),
        "at most one: the text of the page",
        format_args!("{returned:?}"),
    )?;
    ensure(
        (4..=5).contains(&returned.len()),
        format_args!("{asked}: statements"),
        "4, one for each page",
        returned.len(),
    )
}

// 16.3: orders

/// Adds items with the ids from 101 on, the highest first.
async fn add_items(market: &Market) -> Outcome {
    market
        .execute(
            "INSERT INTO item (id, name, price_cents)
             SELECT 100 + i, 'Item ' || i, i FROM generate_series(60, 1, -1) AS n (i)",
        )
        .await
}

/// Fifty of these items, in an order that no index and no join has.
fn fifty() -> Vec<(i64, i64)> {
    let number = |i: i64| 101 + i * 37 % 59;
    (0..50).map(|i| (number(i), 1 + i % 7)).collect()
}

async fn order_stored() -> Outcome {
    let market = Market::on_postgres().await?;
    add_items(&market).await?;
    let few = [(3, 2), (1, 1), (4, 7)];
    for items in [&few[..], &fifty()] {
        let before = market.rows().await?;
        let reply = market.place(&body(2, items)).await?;
        let id = id_of(&reply)?;
        equal(
            format_args!(
                "{}: the header Market-Position, without standbys",
                reply.asked()
            ),
            None,
            reply.header("market-position"),
        )?;
        let lines = i64::try_from(items.len()).unwrap_or_default();
        let asked = format!("POST {ORDERS}, an order with {lines} items");
        let rows = market.rows().await?;
        equal(format_args!("{asked}: rows"), before.and(1, lines), rows)?;
        let mut connection = market.connect().await?;
        let sql = "SELECT item_id, quantity FROM order_items WHERE order_id = $1 ORDER BY line";
        let stored: Vec<(i64, i64)> = sqlx::query_as(sql)
            .bind(id)
            .fetch_all(&mut connection)
            .await
            .or_fail(sql)?;
        equal(
            format_args!("{asked}: items and quantities, ordered by `line`"),
            items.to_vec(),
            stored,
        )?;
        let customer = format!("SELECT customer_id FROM orders WHERE id = {id}");
        equal(&customer, 2, market.number(&customer).await?)?;
    }
    let reply = market.service.get("/api/orders/2").await?;
    let orders = reply.json()?;
    let names: Vec<&Value> = (0..3).map(|i| &orders[1]["items"][i]["name"]).collect();
    equal(
        "GET /api/orders/2, after an order of the items 3, 1, 4: names of the items",
        ["Bread", "Milk", "Onion"].to_vec(),
        names,
    )?;
    let now = "SELECT count(*) FROM orders
               WHERE id > 3 AND order_time <= to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                 AND order_time > to_char(now() AT TIME ZONE 'UTC' - interval '1 minute',
                                          'YYYY-MM-DD HH24:MI:SS')";
    equal(
        "orders whose time is now, in UTC, of two new ones",
        2,
        market.number(now).await?,
    )
}

async fn order_refused() -> Outcome {
    let market = Market::on_postgres().await?;
    let before = market.rows().await?;
    for (body, field) in [
        (body(77, &[(1, 1)]), "customer_id"),
        (body(1, &[(99, 1)]), "items[0].id"),
        (body(1, &[(1, 1), (98, 1), (2, 1), (97, 1)]), "items[1].id"),
        (body(1, &[(4, 1), (1, 1), (2, 1), (-1, 1)]), "items[3].id"),
        (body(1, &[(1, 1), (i64::MAX, 1)]), "items[1].id"),
    ] {
        let reply = market.place(&body).await?;
        expect_field(&reply, 422, field)?;
        let asked = format!("{}: rows after it is refused", reply.asked());
        equal(asked, before, market.rows().await?)?;
    }
    let reply = market.place(&body(1, &[(1, 1)])).await?;
    id_of(&reply).map(drop)
}

async fn key_under_way() -> Outcome {
    let market = Market::on_postgres().await?;
    let mut other = market.connect().await?;
    let begin = "BEGIN; INSERT INTO orders (customer_id, idempotency_key) VALUES (1, 'key')";
    execute(&mut other, begin).await?;
    let asked = "insert_order with a key, while another transaction is just writing an order \
                 with this key, which then commits";
    let mut placing = market.connect().await?;
    let mut watching = market.connect().await?;
    let insert = insert_order(&mut placing, 1, Some("key"));
    let (inserted, committed) = tokio::join!(soon(asked, insert), async {
        wait_for_locks(&mut watching, 1).await?;
        execute(&mut other, "COMMIT").await
    });
    match inserted? {
        Ok(None) => committed,
        inserted => {
            let got = format!("{inserted:?}");
            Err(Failure::new(
                asked,
                "Ok(None): there is an order with this key",
                got,
            ))
        }
    }
}

async fn order_statements() -> Outcome {
    let market = Market::on_postgres().await?;
    add_items(&market).await?;
    let mut counts = Vec::new();
    for items in [&fifty()[..2], &fifty()] {
        let recording = Recording::start();
        id_of(&market.place(&body(1, items)).await?)?;
        counts.push(statements(&recording).len());
    }
    ensure(
        counts[0] == counts[1],
        format_args!("POST {ORDERS}: statements for an order with 2 items, and with 50"),
        "the same number: all items are one statement",
        format_args!("{} and {}", counts[0], counts[1]),
    )
}

// 16.4: repeats

/// Lets the database fail for the first `times` orders with this code: at the INSERT, or at
/// COMMIT. `nextval` counts also those that are rolled back.
async fn let_fail(market: &Market, code: &str, times: u32, at_commit: bool) -> Outcome {
    let trigger = if at_commit {
        "CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED"
    } else {
        "CREATE TRIGGER fails BEFORE INSERT ON orders"
    };
    market
        .execute(&format!(
            "DROP TRIGGER IF EXISTS fails ON orders;
             DROP SEQUENCE IF EXISTS attempts;
             CREATE SEQUENCE attempts;
             CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF nextval('attempts') <= {times} THEN
                 RAISE EXCEPTION USING errcode = '{code}', message = 'the check lets this fail';
               END IF;
               RETURN new;
             END $$;
             {trigger} FOR EACH ROW EXECUTE FUNCTION fails()"
        ))
        .await
}

const ATTEMPTS: &str = "SELECT last_value FROM attempts";

/// How the failures of [`let_fail`] look to a reader.
fn when(at_commit: bool) -> &'static str {
    if at_commit { "COMMIT" } else { "the INSERT" }
}

async fn repeated() -> Outcome {
    let market = Market::apart(Settings::default()).await?;
    for at_commit in [false, true] {
        let most = if at_commit { 2 } else { MAX_RETRIES };
        for (code, times) in [("40001", most), ("40P01", 2)] {
            let_fail(&market, code, times, at_commit).await?;
            let before = market.rows().await?;
            let asked = format!(
                "an order; {} fails with {code} {times} times and then succeeds",
                when(at_commit)
            );
            let reply = market.place(&body(1, &[(1, 1), (2, 2)])).await?;
            if reply.status != 201 {
                let failure = reply.failure("status 201");
                return Err(Failure::new(asked, failure.expected(), failure.got()));
            }
            id_of(&reply)?;
            equal(
                format_args!("{asked}: rows"),
                before.and(1, 2),
                market.rows().await?,
            )?;
            equal(
                format_args!("{asked}: attempts"),
                i64::from(times) + 1,
                market.number(ATTEMPTS).await?,
            )?;
        }
    }
    Ok(())
}

async fn deadlock() -> Outcome {
    let market = Market::apart(Settings::default()).await?;
    for _ in 0..5 {
        if order_meets_deadlock(&market).await? {
            return Ok(());
        }
    }
    let got = "the check's own transaction each time: the machine is too busy";
    Err(Failure::new("5 deadlocks", "the order is rolled back", got))
}

/// Places an order that meets a deadlock. Returns whether the server has rolled back the
/// order's transaction. On a busy machine it may be that of the check.
async fn order_meets_deadlock(market: &Market) -> Result<bool, Failure> {
    let mut connection = market.connect().await?;
    let before = market.rows().await?;
    let asked = "an order that waits for a lock of another transaction, which then waits for \
                 one of the order's";
    // The one that has waited long enough is rolled back: the order, since the other one
    // waits for longer. A transaction looks for a deadlock only once, so there is none for
    // the order if the other one comes late.
    let begin = "BEGIN; SET LOCAL deadlock_timeout = '1s';
                 SELECT FROM item WHERE id = 2 FOR UPDATE";
    execute(&mut connection, begin).await?;
    let mut watching = market.connect().await?;
    let order = body(1, &[(1, 1), (2, 2)]);
    let (placed, met) = tokio::join!(market.place(&order), async {
        wait_for_locks(&mut watching, 1).await?;
        let lock = sqlx::raw_sql("SELECT FROM customer WHERE id = 1 FOR UPDATE");
        let locked = soon(asked, lock.execute(&mut connection)).await?;
        execute(&mut connection, "COMMIT").await?;
        let code = locked
            .as_ref()
            .err()
            .and_then(sqlx::Error::as_database_error);
        let code = code.and_then(sqlx::error::DatabaseError::code);
        if code.is_some_and(|code| code == "40P01") {
            return Ok(false);
        }
        locked.or_fail(asked)?;
        Ok(true)
    });
    let met = met?;
    let reply = placed?;
    if reply.status != 201 {
        let failure = reply.failure("status 201");
        return Err(Failure::new(asked, failure.expected(), failure.got()));
    }
    let rows = market.rows().await?;
    equal(format_args!("{asked}: rows"), before.and(1, 2), rows)?;
    Ok(met)
}

async fn repeats_end() -> Outcome {
    let market = Market::apart(Settings::default()).await?;
    for at_commit in [false, true] {
        let_fail(&market, "40001", u32::MAX, at_commit).await?;
        let before = market.rows().await?;
        let asked = format!("an order; {} fails with 40001 every time", when(at_commit));
        let reply = market.place(&body(1, &[(1, 1)])).await?;
        contract::expect_problem(&reply, 503)?;
        equal(
            format_args!("{asked}: attempts, which are 1 and MAX_RETRIES"),
            i64::from(MAX_RETRIES) + 1,
            market.number(ATTEMPTS).await?,
        )?;
        equal(format_args!("{asked}: rows"), before, market.rows().await?)?;
    }
    let asked = "the error of an order that fails with 40001 every time";
    match market
        .db
        .place_order(keyed(order(1, &[(1, 1)]), None))
        .await
    {
        Err(Error::Database(sqlx::Error::Database(error)))
            if error.code().is_some_and(|code| code == "40001") =>
        {
            Ok(())
        }
        placed => {
            let got = format!("{:?}", placed.map(|placed| placed.id));
            Err(Failure::new(
                asked,
                "that of the database, with its code",
                got,
            ))
        }
    }
}

/// How much of this time the calling thread neither used a processor nor waited for one.
/// Zero where the system does not say it.
fn blocked(busy: Duration) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let times = text.split_whitespace().take(2).map(str::parse);
    let processor = times.collect::<Result<Vec<u64>, _>>().unwrap_or_default();
    match processor[..] {
        [ran, waited] => busy.saturating_sub(Duration::from_nanos(ran + waited)),
        _ => Duration::ZERO,
    }
}

async fn waits_grow() -> Outcome {
    // A busy machine makes the attempts slow, and three times in a million all waits are long.
    match random_waits().await {
        Ok(()) => Ok(()),
        Err(_) => random_waits().await,
    }
}

async fn random_waits() -> Outcome {
    const ORDERS: u32 = 8;
    let market = Market::apart(Settings::default()).await?;
    let_fail(&market, "40001", u32::MAX, false).await?;
    let db = Arc::clone(&market.db);
    let orders = std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.or_fail("a runtime")?;
        let times = runtime.block_on(async {
            let mut times = Vec::new();
            for _ in 0..=ORDERS {
                let begin = Instant::now();
                // It fails.
                let _ = db.place_order(keyed(order(1, &[(1, 1)]), None)).await;
                times.push(begin.elapsed());
            }
            // The first one had to wait for a connection.
            times.split_off(1)
        });
        let busy = runtime.metrics().worker_total_busy_duration(0);
        Ok::<_, Failure>((times, blocked(busy)))
    });
    let orders = blocking(|| orders.join().ok()).await?;
    let (times, blocked) = orders.or_fail("a thread of the check")??;
    let asked =
        format!("{ORDERS} orders one after another, each of which fails with 40001 every time");
    ensure(
        blocked < Duration::from_millis(300),
        format_args!("{asked}: the runtime's thread"),
        "runs other tasks while an order waits for its repeat",
        format_args!("it stands still for {blocked:?} in all"),
    )?;
    // An order waits for 155 ms on average, and its attempts take some time as well.
    let sum: Duration = times.iter().sum();
    ensure(
        sum > ORDERS * Duration::from_millis(80),
        format_args!("{asked}: the time that they take"),
        "before each repeat a random wait, of up to 10 ms before the first and up to twice as \
         long before each further one",
        format_args!("{sum:?} in all, which is less than these waits"),
    )?;
    // With random waits, the shortest of eight is hardly ever longer than 200 ms; the longest
    // possible waits are 310 ms together.
    let shortest = times.iter().min().copied().unwrap_or_default();
    let longest = times.iter().max().copied().unwrap_or_default();
    let differ = longest.abs_diff(shortest) > Duration::from_millis(60);
    ensure(
        shortest < Duration::from_millis(if differ { 300 } else { 200 }),
        format_args!("{asked}: the time that each takes"),
        "different times, since the waits are random",
        format_args!("{times:?}"),
    )
}

async fn not_repeated() -> Outcome {
    let market = Market::on_postgres().await?;
    // An exception, a number out of range, a violated constraint, two codes of the class of
    // 40001 (for the first, the server does not know the outcome), a lock that was not
    // available, and one that has the digits of 40001.
    for (code, statuses) in [
        ("P0001", [500, 503]),
        ("22003", [500, 503]),
        ("23514", [400, 422]),
        ("40003", [500, 503]),
        ("40002", [500, 503]),
        ("55P03", [500, 503]),
        ("P4001", [500, 503]),
    ] {
        for at_commit in [false, true] {
            let_fail(&market, code, 1, at_commit).await?;
            let before = market.rows().await?;
            let asked = format!("an order; {} fails with {code}, once", when(at_commit));
            let reply = market.place(&body(1, &[(1, 1)])).await?;
            equal(
                format_args!("{asked}: attempts"),
                1,
                market.number(ATTEMPTS).await?,
            )?;
            ensure(
                statuses.contains(&reply.status),
                &asked,
                format_args!("status {} or {}", statuses[0], statuses[1]),
                format_args!("status {}: {}", reply.status, reply.text()),
            )?;
            equal(format_args!("{asked}: rows"), before, market.rows().await?)?;
        }
    }
    Ok(())
}

async fn lost_not_repeated() -> Outcome {
    let market = Market::on_postgres().await?;
    for fault in [Fault::Lost, OPERATOR, Fault::Before("COMMIT")] {
        let before = market.rows().await?;
        let network = market.network()?;
        network.fails(fault);
        let asked = format!("an order, and {}", fault.text());
        let reply = market.place(&body(1, &[(1, 1)])).await?;
        equal(
            format_args!("{asked}: how many times COMMIT was sent"),
            1,
            network.commits(),
        )?;
        contract::expect_problem(&reply, 503)?;
        let stored = i64::from(fault != Fault::Before("COMMIT"));
        let expected = before.and(stored, stored);
        equal(
            format_args!("{asked}: rows"),
            expected,
            market.rows().await?,
        )?;
    }
    Ok(())
}

// 16.5: outcomes

/// The text for a client whose order may be stored or not.
async fn unknown() -> Result<Value, Failure> {
    let body = Error::OutcomeUnknown.into_response().into_body();
    let body = body.collect().await.or_fail("Error::OutcomeUnknown")?;
    let problem = check::parse_json("Error::OutcomeUnknown", &body.to_bytes())?;
    Ok(problem["detail"].clone())
}

/// Fails unless the answer says that the outcome is not known.
async fn expect_unknown(asked: &str, reply: &Reply) -> Outcome {
    let detail = unknown().await?;
    let right = reply.status == 503 && reply.json()?["detail"] == detail;
    let got = format!("status {}: {}", reply.status, reply.text());
    let expected = format!("status 503, as Error::OutcomeUnknown has it: {detail}");
    ensure(right, asked, expected, got)
}

/// Fails unless the answer has this status and does not say that the outcome is not known.
async fn expect_known(asked: &str, reply: &Reply, status: u16) -> Outcome {
    let right = reply.status == status && reply.json()?["detail"] != unknown().await?;
    let got = format!("status {}: {}", reply.status, reply.text());
    let expected = format!("status {status} for an order that is surely not stored");
    ensure(right, asked, expected, got)
}

async fn commit_unanswered() -> Outcome {
    // Begins to start the cluster, since the next checks leave the processors free.
    std::thread::spawn(|| drop(CLUSTER.lock()));
    let market = Market::impatient().await?;
    let before = market.rows().await?;
    let network = market.network()?;
    network.fails(Fault::Unanswered);
    let asked = "an order, whose COMMIT takes place and gets no answer; the limit is 0.3 s";
    let order = body(1, &[(1, 1)]);
    let place = || soon(asked, market.service.post_json(ORDERS, &order));
    let mut reply = place().await??;
    // On a busy machine the limit may be over before the COMMIT.
    for _ in 0..5 {
        if network.commits() == 0 {
            reply = place().await??;
        }
    }
    expect_unknown(asked, &reply).await?;
    equal(
        format_args!("{asked}: how many times COMMIT was sent"),
        1,
        network.commits(),
    )?;
    let rows = market.rows().await?;
    equal(format_args!("{asked}: rows"), before.and(1, 1), rows)
}

async fn slow_commit() -> Outcome {
    let mut outcome = Ok(());
    // Where the machine is too busy for the short limit, the long one counts.
    for limit in [1, 4].map(Duration::from_secs) {
        let market = Market::apart(Settings {
            busy_timeout: limit,
            ..Settings::default()
        })
        .await?;
        let sleep = limit.mul_f64(0.6);
        let slow = format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               PERFORM pg_sleep({});
               RETURN new;
             END $$;
             CREATE TRIGGER slow BEFORE INSERT ON orders
             FOR EACH ROW EXECUTE FUNCTION slow();
             CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON orders
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
            sleep.as_secs_f64()
        );
        market.execute(&slow).await?;
        let reply = market
            .service
            .post_json(ORDERS, &body(1, &[(1, 1)]))
            .await?;
        if reply.status == 201 {
            return id_of(&reply).map(drop);
        }
        let asked = format!(
            "an order that takes {sleep:?}, and its COMMIT as long again; the limit is {limit:?} \
             for each wait"
        );
        let failure = reply.failure("status 201");
        outcome = Err(Failure::new(asked, failure.expected(), failure.got()));
    }
    outcome
}

async fn commit_lost() -> Outcome {
    let market = Market::on_postgres().await?;
    // A disk that fails ends a connection, and one that fails for the log the whole server.
    let disk = ["FATAL", "PANIC"].map(|severity| Fault::Ended(severity, "58030"));
    for fault in [
        Fault::Lost,
        OPERATOR,
        disk[0],
        disk[1],
        Fault::Before("COMMIT"),
    ] {
        market.network()?.fails(fault);
        let recording = Recording::start();
        let asked = format!("an order, and {}", fault.text());
        let reply = market.place(&body(1, &[(1, 1)])).await?;
        expect_unknown(&asked, &reply).await?;
        // Those of sqlx do not count.
        let module = any::type_name_of_val(&is_retryable);
        let module = module.rsplit_once("::").or_fail("a module")?.0;
        let warned = recording.logged(Level::WARN);
        let logged = recording.logged_by(module);
        ensure(
            logged.iter().any(|event| warned.contains(event)),
            format_args!("{asked}: the log"),
            format_args!("a warning of {module}"),
            format_args!("{warned:?}"),
        )?;
    }
    Ok(())
}

async fn commit_refused() -> Outcome {
    let market = Market::on_postgres().await?;
    for (code, status) in [("P0001", 500), ("23514", 400)] {
        let before = market.rows().await?;
        let_fail(&market, code, u32::MAX, true).await?;
        let asked = format!("an order, whose COMMIT fails with the ERROR {code}");
        let reply = market.place(&body(1, &[(1, 1)])).await?;
        expect_known(&asked, &reply, status).await?;
        let rows = market.rows().await?;
        equal(format_args!("{asked}: rows"), before, rows)?;
    }
    Ok(())
}

async fn failed_before_commit() -> Outcome {
    let market = Market::impatient().await?;
    // It counts the attempts and lets none fail.
    let_fail(&market, "40001", 0, false).await?;
    let before = market.rows().await?;
    let mut connection = market.connect().await?;
    let asked = "an order that takes longer than the limit of 0.3 s";
    // Not a lock: for that, the connections of the service have a limit at the server.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    PERFORM pg_sleep(60);
                    RETURN new;
                END $$;
                CREATE TRIGGER slow BEFORE INSERT ON order_items
                FOR EACH ROW EXECUTE FUNCTION slow()";
    execute(&mut connection, slow).await?;
    let order = body(1, &[(1, 1), (2, 1)]);
    let reply = soon(asked, market.service.post_json(ORDERS, &order)).await??;
    expect_known(asked, &reply, 503).await?;
    equal(
        format_args!("{asked}: attempts"),
        1,
        market.number(ATTEMPTS).await?,
    )?;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE wait_event = 'PgSleep' AND datname = current_database()";
    execute(&mut connection, ended).await?;
    equal(
        format_args!("{asked}: rows, after it has ended"),
        before,
        market.rows().await?,
    )?;
    // On a new connection, the texts of all statements are sent.
    let market = Market::apart(Settings::default()).await?;
    let asked = "an order, and the connection is lost before its items are sent";
    market.network()?.fails(Fault::Before("order_items"));
    let reply = market.place(&body(1, &[(1, 1), (2, 1)])).await?;
    expect_known(asked, &reply, 503).await?;
    let rows = market.rows().await?;
    equal(format_args!("{asked}: rows"), before, rows)?;
    let asked = "an order with an unknown item, and the connection is lost before ROLLBACK";
    market.network()?.fails(Fault::Before("ROLLBACK"));
    let reply = market.place(&body(1, &[(99, 1)])).await?;
    expect_known(asked, &reply, 422).await?;
    let rows = market.rows().await?;
    equal(format_args!("{asked}: rows"), before, rows)
}

// 16.6: a silent server

async fn connection_kept() -> Outcome {
    let url = server().await?;
    let connection = emptied(&url).await?;
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    let market = Market::with(url, connection, settings).await?;
    id_of(&market.place(&body(1, &[(1, 1)])).await?)?;
    let connections = &market.network()?.connections;
    let before = connections.load(Ordering::Relaxed);
    for _ in 0..3 {
        id_of(&market.place(&body(1, &[(1, 1)])).await?)?;
        let get = market.service.get("/api/order_total/1");
        soon("the total of an order", get)
            .await??
            .expect_status(200)?;
    }
    equal(
        "6 requests one after another, with a pool of one connection: new connections",
        0,
        connections.load(Ordering::Relaxed) - before,
    )
}

async fn silent_server() -> Outcome {
    const CONNECTIONS: u32 = 3;
    let market = Market::apart(Settings {
        max_connections: CONNECTIONS,
        busy_timeout: SHORT,
        // A ping must not take as long.
        acquire_timeout: Duration::from_mins(1),
        ..Settings::default()
    })
    .await?;
    let network = market.network()?;
    let mut connection = market.connect().await?;
    sleepers(
        &market,
        CONNECTIONS,
        &mut connection,
        "before the server falls silent",
    )
    .await?;
    let before = market.rows().await?;

    // These are under way when the server falls silent, and nobody waits for them any more.
    let mut abandoned = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let db = Arc::clone(&market.db);
        abandoned.spawn(async move { db.slow_query(Duration::from_mins(1)).await });
    }
    let asked = "statements that are under way when the server falls silent";
    soon(asked, until_sleeping(&mut connection, CONNECTIONS)).await??;
    network.fall_silent();
    abandoned.shutdown().await;

    let asked = "12 requests while the server is silent; the limit is 0.3 s";
    let mut requests = JoinSet::new();
    for number in 0..12 {
        let db = Arc::clone(&market.db);
        requests.spawn(async move {
            match number {
                0 => db.order_total(1, None).await.map(drop),
                1..6 => db
                    .place_order(keyed(order(1, &[(1, 1)]), None))
                    .await
                    .map(drop),
                _ => db.customers(0, ",").await.map(drop),
            }
        });
    }
    while let Some(ended) = soon(asked, requests.join_next()).await? {
        match ended.or_fail(asked)? {
            Err(error) => equal(asked, 503, error.into_response().status().as_u16())?,
            Ok(()) => return Err(Failure::new(asked, "status 503", "a success")),
        }
    }
    // Some clients do not wait for so long.
    let gone = timeout(SHORT / 3, market.db.customers(0, ",")).await;
    ensure(gone.is_err(), asked, "no answer", format_args!("{gone:?}"))?;

    let asked = "the end of the statements that nobody waits for";
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event = 'PgSleep'";
    execute(&mut connection, cancel).await?;
    soon(asked, until_sleeping(&mut connection, 0)).await??;
    network.come_back();
    let when = "after the server was silent, and the machine it runs on was replaced";
    sleepers(&market, CONNECTIONS, &mut connection, when).await?;
    let mut reply = market.place_with("key", &body(1, &[(1, 1)])).await?;
    // On a busy machine the limit may be too short.
    for _ in 0..5 {
        if reply.status == 503 {
            reply = market.place_with("key", &body(1, &[(1, 1)])).await?;
        }
    }
    id_of(&reply)?;
    let rows = market.rows().await?;
    equal(format_args!("orders, {when}"), before.and(1, 1), rows)
}

/// How many statements of [`Database::slow_query`](step16::db::Database::slow_query) run.
const SLEEPING: &str = "SELECT count(*)::text FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Waits until this many of them run.
async fn until_sleeping(connection: &mut PgConnection, number: u32) -> Outcome {
    while text(connection, SLEEPING).await? != number.to_string() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Fails unless the pool has this many connections that can be used at the same time.
async fn sleepers(
    market: &Market,
    connections: u32,
    connection: &mut PgConnection,
    when: &str,
) -> Outcome {
    let asked = format!("{connections} statements at the same time, {when}: how many run");
    let mut most = 0;
    let work = async {
        while most < connections {
            let mut calls = JoinSet::new();
            for _ in 0..connections {
                let db = Arc::clone(&market.db);
                calls.spawn(async move { db.slow_query(Duration::from_millis(100)).await });
            }
            while !calls.is_empty() {
                let number = text(connection, SLEEPING).await?;
                most = most.max(number.parse().or_fail(SLEEPING)?);
                while let Some(call) = calls.try_join_next() {
                    // It may be one that was given a silent connection.
                    let _ = call.or_fail(&asked)?;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    };
    if let Some(ended) = check::within(SOON, work).await {
        return ended;
    }
    let got = format!("{most}: the other connections never come back to the pool");
    Err(Failure::new(asked, "all of them", got))
}

// 16.7: keys

fn order(customer_id: i64, items: &[(i64, i64)]) -> NewOrder {
    let item = |(id, quantity): &(i64, i64)| NewOrderItem {
        id: *id,
        quantity: *quantity,
    };
    NewOrder {
        customer_id,
        items: items.iter().map(item).collect(),
    }
}

fn keyed(order: NewOrder, key: Option<&str>) -> KeyedOrder {
    let key = key.map(str::to_owned);
    KeyedOrder { order, key }
}

async fn same_key(market: &Market) -> Outcome {
    let before = market.rows().await?;
    let longest = "~".repeat(255);
    let same = body(1, &[(3, 2), (1, 1)]);
    let mut ids = Vec::new();
    for key in ["order-1", "ORDER-1", "order-1'\"\\%;--", &longest] {
        let first = id_of(&market.place_with(key, &same).await?)?;
        for _ in 0..2 {
            let reply = market.place_with(key, &same).await?;
            let asked = format!("{}, sent again: order_id", reply.asked());
            equal(asked, first, id_of(&reply)?)?;
        }
        ids.push(first);
    }
    // Members in another order are the same content.
    let text = r#"{"items":[{"quantity":2,"id":3},{"quantity":1,"id":1}],"customer_id":1}"#;
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "order-1"),
    ];
    let sent = market.service.send(Method::POST, ORDERS, &headers, text);
    let reply = soon(ORDERS, sent).await??;
    equal(reply.asked(), ids[0], id_of(&reply)?)?;
    for _ in 0..2 {
        ids.push(id_of(&market.place(&same).await?)?);
    }
    let mut different = ids.clone();
    different.sort_unstable();
    different.dedup();
    let asked = "4 keys sent three times each, and 2 orders without a key";
    equal(
        format_args!("{asked}: different ids, of {ids:?}"),
        6,
        different.len(),
    )?;
    let rows = market.rows().await?;
    equal(format_args!("{asked}: rows"), before.and(6, 12), rows)?;

    let too_long = "k".repeat(256);
    for key in ["", "a b", "a\tb", &too_long] {
        contract::expect_problem(&market.place_with(key, &same).await?, 400)?;
    }
    let rows = market.rows().await?;
    let asked = "orders with malformed keys: rows";
    equal(asked, before.and(6, 12), rows)
}

async fn other_content(market: &Market) -> Outcome {
    let first = id_of(
        &market
            .place_with("key", &body(1, &[(3, 2), (1, 1)]))
            .await?,
    )?;
    let before = market.rows().await?;
    for (other, what) in [
        (body(2, &[(3, 2), (1, 1)]), "another customer"),
        (body(1, &[(3, 2), (1, 2)]), "another quantity"),
        (body(1, &[(3, 2), (2, 1)]), "another item"),
        (body(1, &[(1, 1), (3, 2)]), "another order of the items"),
        (body(1, &[(3, 2)]), "an item less"),
        (body(1, &[(3, 2), (1, 1), (2, 1)]), "an item more"),
    ] {
        let reply = market.place_with("key", &other).await?;
        if reply.status != 422 {
            let asked = format!(
                "{}: the key of an order; this one has {what}",
                reply.asked()
            );
            let failure = reply.failure("status 422");
            return Err(Failure::new(asked, failure.expected(), failure.got()));
        }
        expect_field(&reply, 422, "Idempotency-Key")?;
        let asked = format!("{}: rows after it is refused", reply.asked());
        equal(asked, before, market.rows().await?)?;
    }
    // What is refused does not use up its key.
    let reply = market.place_with("new", &body(1, &[(99, 1)])).await?;
    expect_field(&reply, 422, "items[0].id")?;
    id_of(&market.place_with("new", &body(1, &[(1, 1)])).await?)?;
    let again = market
        .place_with("key", &body(1, &[(3, 2), (1, 1)]))
        .await?;
    equal(again.asked(), first, id_of(&again)?)
}

async fn one_key_at_once(market: &Market) -> Outcome {
    let asked = "20 times the same order with the same key, at the same time";
    let before = market.rows().await?;
    let same = || keyed(order(1, &[(3, 2), (1, 1)]), Some("key"));
    // Some without a key are between them.
    let calls = (0..30).map(|number| {
        let db = Arc::clone(&market.db);
        let keyed = number % 3 != 2;
        let order = if keyed {
            same()
        } else {
            KeyedOrder {
                key: None,
                ..same()
            }
        };
        async move { (keyed, db.place_order(order).await) }
    });
    let mut calls = all_begun(asked, calls).await?;
    let mut ids = Vec::new();
    while let Some(call) = soon(asked, calls.join_next()).await? {
        match call.or_fail(asked)? {
            (true, Ok(placed)) => ids.push(placed.id),
            (false, placed) => drop(placed.or_fail(format_args!("{asked}: one without a key"))?),
            (true, Err(error)) => {
                let got = format!("{error:?}");
                let status = error.into_response().status().as_u16();
                ensure(status == 503, asked, "the id of the order", got)?;
            }
        }
    }
    ids.dedup();
    let ids_of_key = ids.len();
    equal(
        format_args!("{asked}: different ids, of {ids:?}"),
        1,
        ids_of_key,
    )?;
    equal(
        format_args!("{asked}, and 10 orders without a key between them: rows"),
        before.and(11, 22),
        market.rows().await?,
    )
}

async fn key_in_batch() -> Outcome {
    let market = Market::on_sqlite().await?;
    let Store::Sqlite(database) = &market.store else {
        return Ok(());
    };
    let engine = Engine::new(&database.url(), Settings::default()).or_fail("an engine")?;
    let mut connection = engine.connect().await.or_fail("a connection")?;
    let (one, other) = (order(1, &[(1, 1), (2, 2)]), order(2, &[(3, 3)]));
    let batch = [
        keyed(other.clone(), None),
        keyed(one.clone(), Some("a")),
        keyed(other.clone(), Some("b")),
        keyed(one.clone(), Some("a")),
        keyed(other.clone(), Some("a")),
        keyed(order(77, &[(1, 1)]), Some("c")),
        keyed(other.clone(), None),
    ];
    let before = market.rows().await?;
    let mut ids = Vec::new();
    for round in [
        "a batch of 7 orders, of which 3 have the same key",
        "the same batch again",
    ] {
        let stored = soon(round, writer::store(&mut connection, &batch)).await?;
        let results = stored.or_fail(round)?;
        let outcome = |result: &Result<i64, Error>| match result {
            Ok(_) => "stored".to_owned(),
            Err(Error::Unprocessable { field, .. }) => field.clone(),
            Err(error) => error.to_string(),
        };
        let outcomes: Vec<String> = results.iter().map(outcome).collect();
        let expected = [
            "stored",
            "stored",
            "stored",
            "stored",
            "Idempotency-Key",
            "customer_id",
            "stored",
        ];
        equal(
            format_args!("{round}: its results"),
            expected.to_vec(),
            outcomes,
        )?;
        ids.push(
            results
                .into_iter()
                .map(Result::unwrap_or_default)
                .collect::<Vec<i64>>(),
        );
    }
    let asked = "a batch in which the second and the fourth order are the same, and that batch \
                 again: its ids";
    equal(asked, ids[0][1], ids[0][3])?;
    equal(asked, &ids[0][1..4], &ids[1][1..4])?;
    let mut different = ids.concat();
    different.sort_unstable();
    different.dedup();
    // Two with a key, two times two without one, and the refused ones.
    equal(
        format_args!("{asked}: different ones, of {ids:?}"),
        2 + 4 + 1,
        different.len(),
    )?;
    equal(
        format_args!("{asked}: rows"),
        before.and(6, 2 + 1 + 4),
        market.rows().await?,
    )
}

// 16.9: reading from standbys

fn position(text: &str) -> Result<Position, Failure> {
    text.parse().or_fail(text)
}

/// The roles, with positions as PostgreSQL writes them.
fn shown(roles: &Roles) -> String {
    let standby = |(server, replayed): &(usize, Position)| format!("({server}, {replayed})");
    let standbys: Vec<String> = roles.standbys.iter().map(standby).collect();
    format!(
        "primary: {:?}, standbys: [{}], timeline: {}",
        roles.primary,
        standbys.join(", "),
        roles.timeline
    )
}

async fn chosen_reader() -> Outcome {
    let roles = |primary, standbys: &[(usize, &str)]| {
        let standby = |(server, replayed): &(usize, &str)| Ok((*server, position(replayed)?));
        let standbys = standbys
            .iter()
            .map(standby)
            .collect::<Result<_, Failure>>()?;
        let timeline = 1;
        Ok::<_, Failure>(Roles {
            primary,
            standbys,
            timeline,
        })
    };
    let both = [(1, "0/30"), (2, "1/10")];
    // The roles, what the client has seen, and the servers that are right.
    let cases = [
        (roles(Some(0), &both)?, None, [Some(1), Some(2)]),
        (roles(Some(0), &both)?, Some("0/30"), [Some(1), Some(2)]),
        (roles(Some(0), &both)?, Some("0/31"), [Some(2); 2]),
        (roles(Some(0), &both)?, Some("1/10"), [Some(2); 2]),
        (roles(Some(0), &both)?, Some("1/11"), [Some(0); 2]),
        (roles(Some(0), &[])?, None, [Some(0); 2]),
        (roles(Some(2), &[(0, "0/9")])?, Some("0/10"), [Some(2); 2]),
        (roles(None, &both)?, Some("0/F0"), [Some(2); 2]),
        (roles(None, &both)?, Some("2/0"), [None; 2]),
        (roles(None, &[])?, None, [None; 2]),
    ];
    for (roles, seen, right) in cases {
        let asked = format!(
            "{}: a server for a client that has seen {seen:?}",
            shown(&roles)
        );
        let seen = seen.map(position).transpose()?;
        // It may choose by chance.
        for _ in 0..50 {
            let chosen = roles.reader(seen);
            let [one, other] = right;
            let expected = if one == other {
                format!("{one:?}")
            } else {
                format!("{one:?} or {other:?}")
            };
            ensure(
                right.contains(&chosen),
                &asked,
                expected,
                format_args!("{chosen:?}"),
            )?;
        }
    }
    Ok(())
}

/// The database behind the networks of a cluster's servers.
async fn open(networks: &[Network], settings: Settings) -> Result<Db, Failure> {
    let urls: Vec<String> = networks.iter().map(Network::url).collect();
    let db = db::open(&urls.join(","), settings).await;
    db.or_fail("db::open: the servers of a cluster")
}

/// The market on a cluster, with the network between.
struct Replicated {
    service: Service,
    networks: Vec<Network>,
    /// Connections of the check to each server.
    servers: Vec<PgConnection>,
}

impl Replicated {
    /// A market in the emptied database of the cluster. `before` is done on each standby
    /// before the service begins.
    async fn start(before: &str, settings: Settings) -> Result<Self, Failure> {
        let urls = with_cluster(|cluster| Ok(cluster.urls())).await?;
        let mut primary = emptied(&urls[0]).await?;
        let db = db::open(&urls[0], Settings::default()).await;
        db.or_fail("db::open: a new database")?.close().await;
        let position = text(&mut primary, POSITION).await?;
        let (mut servers, mut networks) = (vec![primary], Vec::new());
        for url in &urls[1..] {
            let mut standby = connect(url).await?;
            // An earlier check may have paused it.
            execute(&mut standby, "SELECT pg_wal_replay_resume()").await?;
            let has_it = format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::text");
            let asked = "a standby of the check's own cluster has what the primary has";
            soon(asked, async {
                while text(&mut standby, &has_it).await? != "true" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok::<_, Failure>(())
            })
            .await??;
            execute(&mut standby, before).await?;
            servers.push(standby);
        }
        for url in &urls {
            networks.push(Network::start(url).await?);
        }
        let db = open(&networks, settings).await?;
        Ok(Self {
            service: Service::start(app::app(db)),
            networks,
            servers,
        })
    }

    async fn get(&self, path: &str, position: Option<&str>) -> Result<Reply, Failure> {
        let position = position.map(|position| ("market-position", position));
        let get = self.service.get_with(path, position.as_slice());
        soon(path, get).await?
    }
}

const POSITION: &str = "SELECT pg_current_wal_flush_lsn()::text";

async fn reads_of_cluster() -> Outcome {
    // The standbys repeat nothing more, so what changes is on the primary only.
    let pause = "SELECT pg_wal_replay_pause()";
    let mut market = Replicated::start(pause, Settings::default()).await?;
    for standby in &mut market.servers[1..] {
        let state = "SELECT pg_get_wal_replay_pause_state()";
        soon(state, async {
            while text(standby, state).await? != "paused" {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok::<_, Failure>(())
        })
        .await??;
    }
    let old = text(
        &mut market.servers[1],
        "SELECT pg_last_wal_replay_lsn()::text",
    )
    .await?;
    let change = "UPDATE item SET price_cents = 600 WHERE id = 1;
                  INSERT INTO customer (id, name, address_id) VALUES (4, 'Dana', 1)";
    execute(&mut market.servers[0], change).await?;
    let new = text(&mut market.servers[0], POSITION).await?;
    let milk = |reply: &Reply| Ok(reply.json()?[0]["items"][2]["price"].clone());
    for (position, total, price, what) in [
        (
            None,
            30,
            5,
            "a read without a position is for a standby, which has the old price",
        ),
        (
            Some(&*old),
            30,
            5,
            "a standby has this position, and with it the old price",
        ),
        (
            Some(&*new),
            31,
            6,
            "the standbys do not have this position; the primary has, and \
                              with it the new price",
        ),
    ] {
        let reply = market.get("/api/order_total/1", position).await?;
        let asked = format!("{}: {what}", reply.asked());
        reply.expect_status(200)?;
        equal_json(asked, &json!({"Order Total": total}), &reply.json()?)?;
        let reply = market.get("/api/orders/1", position).await?;
        let asked = format!("{}: the price of the milk; {what}", reply.asked());
        reply.expect_status(200)?;
        equal_json(asked, &json!(price), &milk(&reply)?)?;
    }

    let reply = market.get("/api/customers", None).await?;
    reply.expect_status(200)?;
    let asked = format!(
        "{}: customers; it is for a standby, which does not have the fourth",
        reply.asked()
    );
    equal(asked, Some(3), reply.json()?.as_array().map(Vec::len))?;

    own_order_found(&mut market, &old).await
}

/// A client finds the order that it has placed, which no standby has. All standbys have what
/// is stored at `old`.
async fn own_order_found(market: &mut Replicated, old: &str) -> Outcome {
    let note_commits = "CREATE TABLE commits (position pg_lsn);
         CREATE FUNCTION commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO commits VALUES (pg_current_wal_insert_lsn());
           RETURN new;
         END $$;
         CREATE CONSTRAINT TRIGGER commits AFTER INSERT ON orders
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commits()";
    execute(&mut market.servers[0], note_commits).await?;
    let reply = market
        .service
        .post_json(ORDERS, &body(1, &[(2, 3)]))
        .await?;
    let id = id_of(&reply)?;
    let stored = reply.header("market-position").map(str::to_owned);
    let stored = stored.ok_or_else(|| {
        let got = format!("headers {:?}", reply.headers);
        Failure::new(reply.asked(), "the header Market-Position", got)
    })?;
    let commit = "SELECT max(position)::text FROM commits";
    let commit = text(&mut market.servers[0], commit).await?;
    ensure(
        position(&stored)? > position(&commit)?,
        format_args!("{}: the header Market-Position", reply.asked()),
        format_args!("a position behind the COMMIT, which began at {commit}"),
        &stored,
    )?;
    // What no standby has may be on the primary.
    for position in [None, Some(old), Some(&*stored)] {
        let reply = market
            .get(&format!("/api/order_total/{id}"), position)
            .await?;
        reply.expect_json(200, &json!({"Order Total": 3}))?;
        let reply = market
            .get(&format!("/api/orders_total?orders={id},99"), position)
            .await?;
        reply.expect_json(200, &json!([3, null]))?;
        let reply = market.get("/api/order_total/99", position).await?;
        contract::expect_problem(&reply, 404)?;
        let reply = market.get("/api/orders/4", position).await?;
        reply.expect_json(200, &json!([]))?;
        let reply = market.get("/api/orders/5", position).await?;
        contract::expect_problem(&reply, 404)?;
    }
    let lists = [
        "/api/orders/1",
        "/api/orders_between_dates/2999-01-01/2025-01-01",
    ];
    for (path, index) in lists.iter().zip([1, 0]) {
        let reply = market.get(path, Some(&stored)).await?;
        reply.expect_status(200)?;
        let found = !reply.json()?[index].is_null();
        let asked = format!(
            "{}: the list of a client that has placed an order",
            reply.asked()
        );
        ensure(found, asked, "its order is there", reply.text())?;
    }
    let reply = market.get("/api/orders/1", Some("no position")).await?;
    contract::expect_problem(&reply, 400)?;

    // From here on only the standbys answer.
    let settings = Settings {
        busy_timeout: SHORT,
        ..Settings::default()
    };
    let db = open(&market.networks, settings).await?;
    market.networks[0].fall_silent();
    let asked = "the total of an order that no standby has, while the primary is silent";
    match soon(asked, db.order_total(id, None)).await? {
        Err(error) => equal(asked, 503, error.into_response().status().as_u16()),
        Ok(total) => Err(Failure::new(asked, "status 503", format_args!("{total:?}"))),
    }
}

async fn silent_standbys() -> Outcome {
    // Where the machine is too busy for the short limit, the other one counts. It is shorter
    // than a second, after which the service notices that the standbys are silent.
    let market = async {
        match market_without_standbys(SHORT).await {
            Ok(()) => Ok(()),
            Err(_) => market_without_standbys(SHORT * 5 / 2).await,
        }
    };
    tokio::try_join!(market, missing_primary())?;
    Ok(())
}

async fn market_without_standbys(limit: Duration) -> Outcome {
    let settings = Settings {
        busy_timeout: limit,
        ..Settings::default()
    };
    let market = Replicated::start("SELECT", settings).await?;
    let patient = Settings {
        busy_timeout: Duration::from_mins(1),
        ..Settings::default()
    };
    let patient = open(&market.networks, patient).await?;
    for standby in &market.networks[1..] {
        standby.fall_silent();
    }
    let total = async {
        let reply = market.get("/api/order_total/1", None).await?;
        reply.expect_json(200, &json!({"Order Total": 30}))
    };
    let customers = async {
        let reply = market.get("/api/customers", None).await?;
        reply.expect_status(200).map(drop)
    };
    let order = async {
        let order = body(2, &[(1, 1)]);
        let reply = market.service.post_json(ORDERS, &order).await?;
        id_of(&reply).map(drop)
    };
    // The service asks the servers four times a second, and gives each a second.
    let without_limit = async {
        let asked = "the total of an order, while the standbys are silent; the limit is a \
                     minute, but the service soon knows that they are no standbys any more";
        let total = soon(asked, patient.order_total(1, None)).await?;
        equal(asked, Some(Money(3000)), total.or_fail(asked)?)
    };
    tokio::try_join!(total, customers, order, without_limit)?;
    Ok(())
}

/// A read that only the primary can answer goes on when the primary is back, whether it began
/// before the service noticed that the primary is silent or after that.
async fn missing_primary() -> Outcome {
    // The other reads of this check have networks of their own, and their database is emptied.
    let urls = with_cluster(|cluster| Ok(cluster.urls())).await?;
    let network =
        async |url: &str| Network::start(&url.replacen("/postgres?", "/template1?", 1)).await;
    let (primary, standby) = (network(&urls[0]).await?, network(&urls[1]).await?);
    let settings = Settings {
        busy_timeout: Duration::from_mins(1),
        acquire_timeout: Duration::from_mins(1),
        ..Settings::default()
    };
    let urls = [primary.url(), standby.url()].join(",");
    let servers = Servers::connect(&urls, settings).await;
    let servers = servers.or_fail("Servers::connect: two servers of a cluster")?;
    let seen = Some(position("FFFFFFFF/0")?);
    let read = || {
        servers.read(
            seen,
            |_| true,
            |pool| async move {
                sqlx::query_scalar("SELECT 500::bigint")
                    .fetch_one(&pool)
                    .await
            },
        )
    };
    primary.fall_silent();
    let late = async {
        while timeout(Duration::ZERO, servers.primary()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::join!(read(), async { primary.come_back() }).0
    };
    let both = async { tokio::join!(read(), late) };
    let asked = "two reads that need the primary, which is silent for a while, and the limit is \
                 a minute: one that begins at once, and one that begins when the service knows \
                 that there is none";
    let both = soon(asked, Box::pin(both)).await?;
    for read in [both.0, both.1] {
        let number: i64 = read.or_fail(asked)?;
        equal(asked, 500, number)?;
    }
    Ok(())
}

// 16.8: the servers of a cluster

/// What a primary on this timeline says.
fn primary(timeline: u32) -> Option<ServerState> {
    ServerState::Primary { timeline }.into()
}

/// What a standby says that has everything up to this position.
fn standby(replayed: &str) -> Result<Option<ServerState>, Failure> {
    let replayed = position(replayed)?;
    Ok(Some(ServerState::Standby { replayed }))
}

/// Fails unless the roles are these; the standbys are numbers of servers.
fn expect_roles(
    before: &Roles,
    states: &[Option<ServerState>],
    (primary, standbys, timeline): (Option<usize>, &[usize], u32),
) -> Result<Roles, Failure> {
    let mut roles = before.after(states);
    roles.standbys.sort_by_key(|(server, _)| *server);
    let expected = Roles {
        primary,
        standbys: standbys
            .iter()
            .filter_map(|server| match states[*server] {
                Some(ServerState::Standby { replayed }) => Some((*server, replayed)),
                _ => None,
            })
            .collect(),
        timeline,
    };
    let said = |state: &Option<ServerState>| match state {
        Some(ServerState::Primary { timeline }) => format!("a primary on timeline {timeline}"),
        Some(ServerState::Standby { replayed }) => format!("a standby at {replayed}"),
        None => "no answer".to_owned(),
    };
    let said: Vec<String> = states.iter().map(said).collect();
    ensure(
        roles == expected,
        format_args!("after [{}], from {}", said.join(", "), shown(before)),
        shown(&expected),
        shown(&roles),
    )?;
    Ok(expected)
}

async fn roles_of_states() -> Outcome {
    let new = Roles::default();
    let near = standby("0/30")?;
    let far = standby("0/50")?;
    expect_roles(&new, &[None, None, None], (None, &[], 0))?;
    expect_roles(&new, &[near, far, None], (None, &[0, 1], 0))?;
    for timeline in [1, 7] {
        let first = [primary(timeline), near, far];
        let roles = expect_roles(&new, &first, (Some(0), &[1, 2], timeline))?;
        // The same again, and with what has changed meanwhile.
        expect_roles(&roles, &first, (Some(0), &[1, 2], timeline))?;
        let later = [primary(timeline), far, None];
        expect_roles(&roles, &later, (Some(0), &[1], timeline))?;
        // The primary goes away; the timeline is not forgotten.
        let alone = expect_roles(&roles, &[None, near, far], (None, &[1, 2], timeline))?;
        let none = expect_roles(&alone, &[None, None, None], (None, &[], timeline))?;
        // It comes back before another one has become the primary.
        expect_roles(&none, &first, (Some(0), &[1, 2], timeline))?;
        // A standby becomes the primary.
        let promoted = [None, far, primary(timeline + 1)];
        expect_roles(&alone, &promoted, (Some(2), &[1], timeline + 1))?;
        expect_roles(&roles, &promoted, (Some(2), &[1], timeline + 1))?;
    }
    Ok(())
}

async fn old_primary() -> Outcome {
    let new = Roles::default();
    let far = standby("0/50")?;
    // Two servers say that they are the primary.
    for before in [0, 3] {
        let before = Roles {
            timeline: before,
            ..Roles::default()
        };
        expect_roles(&before, &[primary(3), far, primary(4)], (Some(2), &[1], 4))?;
        expect_roles(&before, &[primary(4), far, primary(3)], (Some(0), &[1], 4))?;
        let three = [primary(3), primary(10), primary(9)];
        expect_roles(&before, &three, (Some(1), &[], 10))?;
    }
    // Two on one timeline, such as two standbys that were both promoted: the one that we have
    // stays, wherever it is in the list.
    let both = [primary(2), far, primary(2)];
    for ours in [0, 2] {
        let before = Roles {
            primary: Some(ours),
            timeline: 2,
            ..Roles::default()
        };
        let roles = expect_roles(&before, &both, (Some(ours), &[1], 2))?;
        // A newer one wins over ours.
        let mut newer = both;
        newer[2 - ours] = primary(3);
        expect_roles(&roles, &newer, (Some(2 - ours), &[1], 3))?;
    }
    // The old one comes back, and the new one does not answer.
    let roles = expect_roles(&new, &[primary(1), far, far], (Some(0), &[1, 2], 1))?;
    let roles = expect_roles(&roles, &[None, primary(2), far], (Some(1), &[2], 2))?;
    let roles = expect_roles(&roles, &[primary(1), None, far], (None, &[2], 2))?;
    let roles = expect_roles(&roles, &[primary(1), None, None], (None, &[], 2))?;
    let roles = expect_roles(&roles, &[primary(1), primary(2), far], (Some(1), &[2], 2))?;
    // It is made a standby.
    expect_roles(&roles, &[far, primary(2), far], (Some(1), &[0, 2], 2)).map(drop)
}

/// What the writers of [`failover`] have been told.
#[derive(Default)]
struct Acknowledged {
    orders: Mutex<Vec<(String, i64)>>,
    /// The last answer that was not an acknowledgement.
    refused: Mutex<String>,
}

impl Acknowledged {
    fn add(&self, key: String, id: i64) {
        let orders = self.orders.lock();
        let mut orders = orders.unwrap_or_else(PoisonError::into_inner);
        orders.push((key, id));
    }

    fn all(&self) -> Vec<(String, i64)> {
        let orders = self.orders.lock();
        orders.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, reply: &Reply) {
        let refused = self.refused.lock();
        let mut refused = refused.unwrap_or_else(PoisonError::into_inner);
        reply.failure("status 201").got().clone_into(&mut refused);
    }

    /// Waits until this many more orders are acknowledged. It does not matter how long that
    /// takes, as long as there is one after the other.
    async fn more(&self, asked: &str, number: usize) -> Outcome {
        for more in 0..number {
            let before = self.all().len();
            let next = async {
                while self.all().len() == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            check::within(2 * SOON, next).await.ok_or_else(|| {
                let refused = self.refused.lock();
                let refused = refused.unwrap_or_else(PoisonError::into_inner);
                let got = format!("{more}, and then none for 6 s; the last refusal: {refused}");
                Failure::new(asked, format_args!("at least {number}"), got)
            })?;
        }
        Ok(())
    }
}

async fn failover() -> Outcome {
    let settings = Settings {
        busy_timeout: SOON / 2,
        acquire_timeout: SOON / 2,
        ..Settings::default()
    };
    let market = Replicated::start("SELECT", settings).await?;
    let market = Arc::new(market);
    let acknowledged = Arc::new(Acknowledged::default());
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (market, acknowledged) = (Arc::clone(&market), Arc::clone(&acknowledged));
        writers.spawn(async move {
            for number in 0.. {
                let key = format!("{writer}-{number}");
                let id = place_until_stored(&market.service, &key, &acknowledged).await?;
                acknowledged.add(key, id);
            }
            Ok::<_, Failure>(())
        });
    }
    let work = async {
        acknowledged.more("orders before the failover", 20).await?;
        with_cluster(Cluster::kill_primary).await?;
        with_cluster(Cluster::promote).await?;
        let asked = "orders after the primary was killed and a standby was promoted";
        acknowledged.more(asked, 20).await
    };
    tokio::select! {
        // It ends only when it fails.
        Some(ended) = writers.join_next() => ended.or_fail("a writer")??,
        done = work => done?,
    }
    writers.shutdown().await;

    let url = with_cluster(|cluster| {
        let primary = cluster.number(postgres_server::Role::Primary);
        Ok(cluster.urls().swap_remove(primary))
    })
    .await?;
    let sql = "SELECT idempotency_key, id FROM orders WHERE idempotency_key IS NOT NULL";
    let stored: Vec<(String, i64)> = sqlx::query_as(sql)
        .fetch_all(&mut connect(&url).await?)
        .await
        .or_fail(sql)?;
    let acknowledged = acknowledged.all();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|it| !stored.contains(it))
        .collect();
    ensure(
        lost.is_empty(),
        format_args!(
            "{} acknowledged orders, with a failover",
            acknowledged.len()
        ),
        "all are stored on the new primary",
        format_args!("{} are lost: {lost:?}", lost.len()),
    )?;
    if let Some((_, id)) = acknowledged.last() {
        let reply = market.get(&format!("/api/order_total/{id}"), None).await?;
        reply.expect_json(200, &json!({"Order Total": 5}))?;
    }
    Ok(())
}

/// Sends an order with the same key until it is acknowledged, and returns its id.
async fn place_until_stored(
    service: &Service,
    key: &str,
    acknowledged: &Acknowledged,
) -> Result<i64, Failure> {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let order = body(1, &[(1, 1)]).to_string();
    loop {
        let sent = service.send(Method::POST, ORDERS, &headers, order.clone());
        let reply = sent.await?;
        if reply.status == 201 {
            return id_of(&reply);
        }
        // A failover takes a while.
        contract::expect_problem(&reply, 503)?;
        acknowledged.refuse(&reply);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
