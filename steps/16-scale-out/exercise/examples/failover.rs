//! Kills the primary of a cluster while 32 clients place orders, again and again, and counts
//! what became of the orders: `./run.sh run 16 failover --solution --kills 5`.
//!
//! The servers, the service and the clients are all started here, and all end with this
//! program. Its exit code is 1 if the service lost an order that it had acknowledged, or
//! stored one twice.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::mem;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use clap::Parser;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use postgres_server::{Cluster, Role};
use serde_json::{Value, json};
use step16::app;
use step16::config::Limits;
use step16::db::postgres::servers::Servers;
use step16::db::{self, Settings};
use step16::listener;
use step16::orders::{IDEMPOTENCY_KEY, MARKET_POSITION};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{sleep, timeout};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const WRITERS: usize = 32;

/// How long a client waits after a refusal.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many orders must be acknowledged before the primary is killed, and again before it
/// is made a standby.
const ORDERS: usize = 300;

/// How long it takes to notice that the primary is gone.
const NOTICE: Duration = Duration::from_millis(200);

/// How long there may be no orders.
const OUTAGE: Duration = Duration::from_mins(1);

/// How long a round may take, and also the start and the end of the program.
const ROUND: Duration = Duration::from_mins(3);

#[derive(Debug, Parser)]
struct Options {
    /// How often the primary is killed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    kills: u32,
    /// Stop the primary's processes instead of killing them: its connections stay open, and
    /// nothing answers
    #[arg(long)]
    silent: bool,
    /// Use these servers, and not servers of the program's own
    #[arg(long, value_name = "URLS", requires = "command")]
    url: Option<String>,
    /// The command that kills the primary of these servers if it is called with the word
    /// `kill`, and starts it again if it is called with `rejoin`
    #[arg(long, requires = "url", conflicts_with = "silent")]
    command: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match timeout(ROUND * (options.kills + 1), run(options)).await {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            println!("{error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("it takes too long");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode> {
    let (mut failover, url) = if let (Some(command), Some(url)) = (options.command, options.url) {
        (Failover::Others(command), url)
    } else if let Some(cluster) = block_in_place(Cluster::start)? {
        let url = cluster.url();
        (Failover::Own(cluster, options.silent), url)
    } else {
        println!("{}", postgres_server::INSTALL);
        return Ok(ExitCode::from(3));
    };
    let db = db::open(&url, Settings::default()).await?;
    let listener = listener::listen(([127, 0, 0, 1], 0).into())?;
    let client = Client {
        http: legacy::Client::builder(TokioExecutor::new()).build_http(),
        url: format!("http://{}", listener.local_addr()?),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let service = tokio::spawn(app::run(listener, stopped, db, Limits::default()));

    let ledger = Arc::new(Ledger::default());
    // Another run on the same database has other keys.
    let run = format!("failover-{:08x}", fastrand::u32(..));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (client, ledger) = (client.clone(), Arc::clone(&ledger));
        let repeats = number < WRITERS / 2;
        writers.spawn(write(client, ledger, repeats, format!("{run}-{number}")));
    }
    let mut all = Counts::default();
    println!("        acknowledged  refused  unknown  not read  none acknowledged for");
    for kill in 1..=options.kills {
        ledger.wait_for_orders().await?;
        ledger.counts().longest = Duration::ZERO;
        failover.kill().await?;
        ledger.wait_for_orders().await?;
        failover.rejoin().await?;
        let counts = ledger.take_counts();
        println!("kill {kill:>2} {counts}");
        all.add(&counts);
    }
    ledger.stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    all.add(&ledger.take_counts());
    println!("all     {all}\n");
    let clean = report(&ledger, &client, &url, &run).await?;
    let _ = stop.send(());
    service.await?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The servers whose primary is killed.
enum Failover {
    /// Servers of the program's own, and whether they fall silent instead.
    Own(Cluster, bool),
    /// Servers that something else looks after, and the command that kills one of them.
    Others(String),
}

impl Failover {
    /// Kills the primary, and sees to it that another server takes its place.
    async fn kill(&mut self) -> Result<()> {
        match self {
            Self::Own(cluster, silent) => {
                if *silent {
                    cluster.pause(cluster.number(Role::Primary))?;
                } else {
                    cluster.kill_primary()?;
                }
                sleep(NOTICE).await;
                block_in_place(|| cluster.promote())?;
            }
            Self::Others(command) => call(command, "kill").await?,
        }
        Ok(())
    }

    /// Makes a standby of the server that was killed.
    async fn rejoin(&mut self) -> Result<()> {
        match self {
            Self::Own(cluster, _) => block_in_place(|| cluster.rejoin())?,
            Self::Others(command) => call(command, "rejoin").await?,
        }
        Ok(())
    }
}

async fn call(command: &str, word: &str) -> Result<()> {
    let status = Command::new(command)
        .arg(word)
        .kill_on_drop(true)
        .status()
        .await?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command} {word}: {status}").into())
}

/// An order, as the client that places it knows it. It is an order of items that cost 1.
#[derive(Clone)]
struct Order {
    key: String,
    quantity: u32,
}

/// What the service says of an order that it has stored.
#[derive(Clone)]
struct Receipt {
    id: i64,
    position: Option<HeaderValue>,
}

/// What a client knows of an order after it has sent it.
enum Outcome {
    Acknowledged(Receipt),
    /// The answer says that nothing was stored.
    Refused(StatusCode),
    /// There was no answer, or it says that nobody knows.
    Unknown,
}

/// What a client finds where it looks for an order.
#[derive(PartialEq, Eq)]
enum Found {
    Yes,
    No,
    /// The service could not say.
    NoAnswer,
}

/// Talks to the service.
#[derive(Clone)]
struct Client {
    http: legacy::Client<HttpConnector, String>,
    url: String,
}

impl Client {
    async fn place(&self, order: &Order) -> Outcome {
        let body = json!({
            "customer_id": 1, "items": [{ "id": 2, "quantity": order.quantity }]
        });
        let request = Request::post(format!("{}/api/add_new_order", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, &order.key)
            .body(body.to_string());
        match self.ask(request).await {
            Ok((StatusCode::CREATED, position, answer)) => match answer["order_id"].as_i64() {
                Some(id) => Outcome::Acknowledged(Receipt { id, position }),
                None => Outcome::Unknown,
            },
            Ok((_, _, answer)) if is_unknown(&answer) => Outcome::Unknown,
            Ok((status, ..)) => Outcome::Refused(status),
            Err(_) => Outcome::Unknown,
        }
    }

    /// Looks for an order that was acknowledged.
    async fn find(&self, order: &Order, receipt: &Receipt) -> Found {
        let path = format!("{}/api/order_total/{}", self.url, receipt.id);
        let mut request = Request::builder().method(Method::GET).uri(path);
        if let Some(position) = &receipt.position {
            request = request.header(MARKET_POSITION, position);
        }
        match self.ask(request.body(String::new())).await {
            Ok((StatusCode::OK, _, answer))
                if answer["Order Total"].as_f64() == Some(order.quantity.into()) =>
            {
                Found::Yes
            }
            Ok((StatusCode::OK | StatusCode::NOT_FOUND, ..)) => Found::No,
            Ok(_) | Err(_) => Found::NoAnswer,
        }
    }

    async fn ask(
        &self,
        request: axum::http::Result<Request<String>>,
    ) -> Result<(StatusCode, Option<HeaderValue>, Value)> {
        timeout(PATIENCE, async {
            let answer = self.http.request(request?).await?;
            let status = answer.status();
            let position = answer.headers().get(MARKET_POSITION).cloned();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok((status, position, serde_json::from_slice(&body)?))
        })
        .await?
    }
}

/// Whether a problem says that the order may be stored.
fn is_unknown(problem: &Value) -> bool {
    let detail = problem["detail"].as_str();
    detail.is_some_and(|detail| detail.contains("send it again with the same Idempotency-Key"))
}

/// Places orders one after another, and looks at each as soon as it is acknowledged. Sends
/// an order of which nobody knows again at once, or else leaves it for the end.
async fn write(client: Client, ledger: Arc<Ledger>, repeats: bool, prefix: String) {
    let mut orders = 0;
    while !ledger.stop.load(Ordering::Relaxed) {
        orders += 1;
        let order = Order {
            key: format!("{prefix}-{orders}"),
            quantity: orders,
        };
        let mut outcome = client.place(&order).await;
        if let Outcome::Unknown = outcome {
            ledger.counts().unknown += 1;
            if repeats {
                while !matches!(outcome, Outcome::Acknowledged(_)) {
                    sleep(PAUSE).await;
                    outcome = client.place(&order).await;
                }
            }
        }
        match outcome {
            Outcome::Acknowledged(receipt) => {
                ledger.acknowledge();
                match client.find(&order, &receipt).await {
                    Found::Yes => {}
                    Found::No => lock(&ledger.unseen).push(order.key.clone()),
                    Found::NoAnswer => ledger.counts().unread += 1,
                }
                lock(&ledger.acknowledged).push((order, receipt));
            }
            Outcome::Refused(status) => {
                ledger.counts().refused += 1;
                lock(&ledger.refused).push((order.key, status));
                sleep(PAUSE).await;
            }
            Outcome::Unknown => lock(&ledger.unknown).push(order),
        }
    }
}

/// What the clients know.
#[derive(Default)]
struct Ledger {
    stop: AtomicBool,
    counts: Mutex<Counts>,
    acknowledged: Mutex<Vec<(Order, Receipt)>>,
    refused: Mutex<Vec<(String, StatusCode)>>,
    /// Those that are left for the end.
    unknown: Mutex<Vec<Order>>,
    /// The keys of orders that their client did not find after the acknowledgement.
    unseen: Mutex<Vec<String>>,
}

impl Ledger {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    fn acknowledge(&self) {
        let mut counts = self.counts();
        counts.acknowledged += 1;
        let now = Instant::now();
        if let Some(last) = counts.last.replace(now) {
            counts.longest = counts.longest.max(now - last);
        }
    }

    /// Returns the counts, and begins new ones.
    fn take_counts(&self) -> Counts {
        let mut counts = self.counts();
        let next = Counts {
            last: counts.last,
            ..Counts::default()
        };
        mem::replace(&mut *counts, next)
    }

    /// Waits until another [`ORDERS`] are acknowledged.
    async fn wait_for_orders(&self) -> Result<()> {
        let enough = self.counts().acknowledged + ORDERS;
        let wait = async {
            while self.counts().acknowledged < enough {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = timeout(OUTAGE, wait).await;
        ended.map_err(|_| format!("{ORDERS} orders take longer than {OUTAGE:?}").into())
    }
}

/// The counts of a round: from the end of the one before until the cluster is whole again.
#[derive(Default)]
struct Counts {
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    /// Orders that were acknowledged and could not be looked at.
    unread: usize,
    /// When an order was acknowledged.
    last: Option<Instant>,
    /// The longest time between two orders that were acknowledged.
    longest: Duration,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.unread += other.unread;
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12} {:>8} {:>8} {:>9} {:>20} ms",
            self.acknowledged,
            self.refused,
            self.unknown,
            self.unread,
            self.longest.as_millis()
        )
    }
}

/// Looks every order up, prints what it finds, and returns whether all is as it must be.
async fn report(ledger: &Ledger, client: &Client, url: &str, run: &str) -> Result<bool> {
    let unknown = lock(&ledger.unknown).clone();
    let before = stored(url, run).await?;
    let is_stored = |order: &&Order| before.contains_key(&order.key);
    let unknown_stored = unknown.iter().filter(is_stored).count();
    let mut acknowledged = lock(&ledger.acknowledged).clone();
    for order in &unknown {
        let Outcome::Acknowledged(receipt) = client.place(order).await else {
            return Err(format!("{} is not placed when it is sent again", order.key).into());
        };
        acknowledged.push((order.clone(), receipt));
    }

    let after = &stored(url, run).await?;
    let lost: Vec<&str> = stream::iter(&acknowledged)
        .map(async |(order, receipt)| {
            let is_stored = after
                .get(&order.key)
                .is_some_and(|ids| ids.contains(&receipt.id));
            let is_found = client.find(order, receipt).await == Found::Yes;
            (!is_stored || !is_found).then_some(order.key.as_str())
        })
        .buffer_unordered(WRITERS)
        .filter_map(async |lost| lost)
        .collect()
        .await;
    let twice = after.iter().filter(|(_, ids)| ids.len() > 1);
    let twice: Vec<&str> = twice.map(|(key, _)| key.as_str()).collect();
    let mut statuses = BTreeMap::<StatusCode, usize>::new();
    let refusals = lock(&ledger.refused).clone();
    for (_, status) in &refusals {
        *statuses.entry(*status).or_default() += 1;
    }
    let refused = refusals.iter().map(|(key, _)| key.as_str());
    let refused: Vec<&str> = refused.filter(|key| after.contains_key(*key)).collect();
    let unseen = lock(&ledger.unseen).clone();
    let unseen: Vec<&str> = unseen.iter().map(String::as_str).collect();

    for (status, count) in statuses {
        println!("{count} orders were refused with {status}");
    }
    println!(
        "{} unknown orders were looked up: {unknown_stored} were stored",
        unknown.len()
    );
    println!(
        "{} acknowledged orders were looked up, these among them",
        acknowledged.len()
    );
    let mut clean = true;
    for (what, keys) in [
        ("lost", lost),
        ("stored twice", twice),
        ("refused and yet stored", refused),
        ("not found by their clients at once", unseen),
    ] {
        let some: Vec<&str> = keys.iter().copied().take(10).collect();
        println!("{what}: {} {}", keys.len(), some.join(" "));
        clean &= keys.is_empty();
    }
    Ok(clean)
}

/// Returns the ids of the orders of this run by their keys, as the primary has them.
async fn stored(url: &str, run: &str) -> Result<HashMap<String, Vec<i64>>> {
    let servers = Servers::connect(url, Settings::default()).await?;
    let orders: Vec<(String, i64)> = sqlx::query_as(
        "SELECT idempotency_key, id FROM orders WHERE starts_with(idempotency_key, $1)",
    )
    .bind(run)
    .fetch_all(servers.primary().await?)
    .await?;
    servers.close().await;
    let mut ids = HashMap::<_, Vec<_>>::new();
    for (key, id) in orders {
        ids.entry(key).or_default().push(id);
    }
    Ok(ids)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
