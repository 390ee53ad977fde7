//! Plays clients that are not as a service would like them, and shows what becomes of
//! them and of the ordinary clients beside them: `./run.sh run 14 clients`.
//!
//! It starts the service itself, with a new database and small limits.

use std::error::Error;
use std::time::{Duration, Instant};

use step14_solution::app;
use step14_solution::config::Limits;
use step14_solution::db::base::{Engine, EngineConfig};
use step14_solution::db::init_db;
use step14_solution::listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long an ordinary client waits.
const PATIENCE: Duration = Duration::from_secs(1);

const LIMITS: Limits = Limits {
    max_connections: 4096,
    max_requests: 8,
    max_streams: 8,
    max_body: 64 * 1024,
    receive_timeout: Duration::from_secs(2),
    request_timeout: Duration::from_secs(2),
    write_timeout: Duration::from_secs(2),
    notice: Duration::ZERO,
    grace: Duration::from_secs(2),
    demo: true,
};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}/market.sqlite", folder.path().display());
    init_db::create_or_migrate(&url).await?;
    let engine = Engine::new(&url, EngineConfig::default())?;
    let listener = listener::listen(([127, 0, 0, 1], 0).into())?;
    let service = Client(listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app::run(
        listener,
        async {
            let _ = stopped.await;
        },
        engine,
        LIMITS,
    ));

    println!("20 clients send a request and close their half of the connection:");
    println!("    {}", service.half_closed().await?);
    println!("a client sends 4 MB before it reads the answer:");
    println!("    {}", service.large_body().await?);
    println!("8 clients send half of a body and then nothing; beside them, 100 ordinary requests:");
    println!("    {}", service.slow_senders().await?);
    println!("16 clients ask for something that takes 1.5 s; beside them, 100 ordinary requests:");
    println!("    {}", service.overload().await?);
    println!("the service is told to stop while a request runs:");
    println!("    {}", service.stop(stop).await?);
    let start = Instant::now();
    running.await?;
    println!(
        "    the service ended after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Sends requests to the service at this address.
#[derive(Clone, Copy)]
struct Client(std::net::SocketAddr);

impl Client {
    /// Sends a request on a connection of its own, and reads the answer to its end.
    async fn ask(self, request: &str, body: &[u8]) -> Result<String> {
        let mut socket = TcpStream::connect(self.0).await?;
        socket
            .write_all(head(request, body.len()).as_bytes())
            .await?;
        socket.write_all(body).await?;
        read(socket).await
    }

    /// Sends 100 ordinary requests, 5 at a time, and counts the answers.
    async fn ordinary(self) -> Result<String> {
        let mut clients = JoinSet::new();
        for _ in 0..5 {
            clients.spawn(async move {
                let mut statuses = Vec::new();
                for _ in 0..20 {
                    let answer = timeout(PATIENCE, self.ask("GET /api/order_total/1", b""));
                    statuses.push(match answer.await {
                        Ok(Ok(answer)) => status(&answer),
                        Ok(Err(_)) => "connection broken".to_owned(),
                        Err(_) => "no answer within 1 s".to_owned(),
                    });
                }
                statuses
            });
        }
        Ok(count(clients.join_all().await.concat()))
    }

    async fn half_closed(self) -> Result<String> {
        let mut answers = Vec::new();
        for _ in 0..20 {
            let mut socket = TcpStream::connect(self.0).await?;
            socket
                .write_all(head("GET /api/order_total/1", 0).as_bytes())
                .await?;
            socket.shutdown().await?;
            answers.push(status(&read(socket).await.unwrap_or_default()));
        }
        Ok(count(answers))
    }

    async fn large_body(self) -> Result<String> {
        let body = vec![b' '; 4_000_000];
        let answer = self.ask("POST /api/add_new_order", &body);
        Ok(match answer.await {
            Ok(answer) => count(vec![status(&answer)]),
            Err(error) => error.to_string(),
        })
    }

    async fn slow_senders(self) -> Result<String> {
        let mut senders = Vec::new();
        for _ in 0..LIMITS.max_requests {
            let mut socket = TcpStream::connect(self.0).await?;
            socket
                .write_all(head("POST /api/add_new_order", 50).as_bytes())
                .await?;
            socket.write_all(b"{\"customer_id\":1,").await?;
            senders.push(socket);
        }
        // The service has time to begin with them.
        sleep(Duration::from_millis(100)).await;
        self.ordinary().await
    }

    async fn overload(self) -> Result<String> {
        let mut clients = JoinSet::new();
        for _ in 0..2 * LIMITS.max_requests {
            clients.spawn(self.ask("GET /book/extensive_query?seconds=1.5", b""));
        }
        sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        let answers = self.ordinary().await?;
        let seconds = start.elapsed().as_secs_f64();
        clients.join_all().await;
        Ok(format!("{answers}, in {seconds:.1} s"))
    }

    async fn stop(self, stop: oneshot::Sender<()>) -> Result<String> {
        let running = tokio::spawn(self.ask("GET /book/extensive_query?seconds=0.5", b""));
        sleep(Duration::from_millis(100)).await;
        let _ = stop.send(());
        Ok(count(vec![status(&running.await?.unwrap_or_default())]))
    }
}

fn head(request: &str, length: usize) -> String {
    format!(
        "{request} HTTP/1.1\r\nHost: market\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn read(mut socket: TcpStream) -> Result<String> {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Returns the status of an answer.
fn status(answer: &str) -> String {
    match answer.split(' ').nth(1) {
        Some(status) => format!("status {status}"),
        None => "no answer".to_owned(),
    }
}

/// Counts equal texts: `3 × status 200, 1 × no answer`.
fn count(mut answers: Vec<String>) -> String {
    answers.sort();
    let groups = answers.chunk_by(|one, other| one == other);
    let counts: Vec<String> = groups
        .map(|group| format!("{} × {}", group.len(), group[0]))
        .collect();
    counts.join(", ")
}
