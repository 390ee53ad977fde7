//! Clients that keep the service waiting. Each test opens more of them than
//! the service has places, and asks beside them as others do.

use std::net::SocketAddr;
use std::time::Duration;

use check::{Database, Failure, OrFail, Outcome, Service, ensure};
use futures::future::{join_all, try_join_all};
use marketsvc::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::common::{HANG, Market, soon};
use crate::support::{Program, ordinary, shared, with_files};

/// What most systems allow a process.
const USUAL_FILES: &str = "ulimit -n 1024";

/// More than all clients of a test together.
const CLIENT_FILES: u64 = 4096;

/// Of the service's own: the database, its log, the runtime's.
const OWN_FILES: usize = 100;

const IDLE: usize = 1_000;
const SENDERS: usize = 500;
const READERS: usize = 500;

/// Makes an answer of some 4 MB, of which no buffer on the way holds much.
const CUSTOMERS: u32 = 50_000;

/// How many bytes each slow client sends or takes: one between any two
/// ordinary requests, rather than one a second.
const BYTES: usize = 8;

async fn connect(addr: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = TcpSocket::new_v4().or_fail("a socket")?;
    // Small, so that the service feels a client that stops reading.
    socket.set_recv_buffer_size(16 * 1024).or_fail("a socket")?;
    socket.connect(addr).await.or_fail("a connection")
}

async fn connect_all(addr: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Failure> {
    soon(
        "the clients connect",
        try_join_all((0..count).map(|_| connect(addr))),
    )
    .await
}

/// Sends `bytes` on each; one that the service has closed does not mind.
async fn send_all(clients: &mut [TcpStream], bytes: &[u8]) {
    soon(
        "the clients send",
        join_all(clients.iter_mut().map(|client| client.write_all(bytes))),
    )
    .await;
}

/// Reads a byte of each that has one.
fn take_a_byte(clients: &[TcpStream]) {
    for client in clients {
        let _ = client.try_read(&mut [0]);
    }
}

const HEAD_BEGUN: &[u8] = b"GET /api/order_total/1 HTTP/1.1\r\nHost: x\r\nX-Slow: ";
const BODY_BEGUN: &[u8] = b"POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"customer_id\":1,";
const ALL_CUSTOMERS: &[u8] = b"GET /api/customers HTTP/1.1\r\nHost: x\r\n\r\n";
const SMALL: &[u8] = b"GET /api/order_total/1 HTTP/1.1\r\nHost: x\r\n\r\n";

struct Before {
    files: usize,
    memory: u64,
}

async fn start(customers: u32) -> Result<(Program, Before), Failure> {
    let database = Database::sample().await?;
    database.add_customers(customers).await?;
    let program = Program::start(database, USUAL_FILES).await?;
    for _ in 0..20 {
        ordinary(program.service()).await?;
    }
    let before = Before {
        files: program.files()?,
        memory: program.memory()?,
    };
    Ok((program, before))
}

/// What the service may take while its clients are slow: a file for each
/// place and each client that is being refused, and `each` KiB of memory.
fn expect_bounded(program: &Program, before: &Before, each: u64) -> Outcome {
    let places = Limits::default().connections;
    let most = places + 64 + OWN_FILES;
    let files = program.files()?;
    ensure(
        files <= most,
        "open files",
        format!("at most {most}"),
        files,
    )?;
    let most = before.memory + places as u64 * each;
    let memory = program.memory()?;
    println!(
        "{} KiB and {} files before, {memory} KiB and {files} files with the clients",
        before.memory, before.files
    );
    ensure(
        memory <= most,
        "resident memory",
        format!("at most {most} KiB, after {} KiB", before.memory),
        format!("{memory} KiB"),
    )
}

/// A connection without a request keeps its place for a moment, and a client
/// in the midst of one for `Limits::patience`. Until then, others are told to
/// come again.
async fn until_there_is_a_place(service: &Service) -> Outcome {
    soon("a place", async {
        loop {
            let reply = service.get("/api/order_total/1").await?;
            if reply.status == 200 {
                return Ok(());
            }
            reply.expect_status(503)?;
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Each client has its answer, or has been turned away: until then the service has
/// work to do.
async fn until_answered(clients: &[TcpStream]) -> Outcome {
    soon("an answer to each client", async {
        for client in clients {
            client.readable().await.or_fail("an answer")?;
        }
        Ok(())
    })
    .await
}

/// When the clients have gone, so have their files.
async fn expect_as_before(program: &Program, before: &Before) -> Outcome {
    program.expect_files(before.files).await?;
    ordinary(program.service()).await?;
    program.expect_no_panic().await
}

#[tokio::test]
async fn a_thousand_idle_connections_keep_nobody_out() -> Outcome {
    let _machine = shared().await;
    let name = "slow::a_thousand_idle_connections_keep_nobody_out";
    if !with_files(CLIENT_FILES, name).await? {
        return Ok(());
    }
    let (program, before) = start(0).await?;
    let addr = program.service().addr();
    let silent = connect_all(addr, IDLE / 2).await?;
    let mut kept_alive = connect_all(addr, IDLE / 2).await?;
    send_all(&mut kept_alive, SMALL).await;
    until_answered(&kept_alive).await?;
    until_there_is_a_place(program.service()).await?;
    for _ in 0..20 {
        ordinary(program.service()).await?;
    }
    expect_bounded(&program, &before, 64)?;
    drop((silent, kept_alive));
    expect_as_before(&program, &before).await
}

#[tokio::test]
async fn five_hundred_slow_senders_keep_nobody_out() -> Outcome {
    let _machine = shared().await;
    let name = "slow::five_hundred_slow_senders_keep_nobody_out";
    if !with_files(CLIENT_FILES, name).await? {
        return Ok(());
    }
    let (program, before) = start(0).await?;
    let addr = program.service().addr();
    let mut heads = connect_all(addr, SENDERS / 2).await?;
    let mut bodies = connect_all(addr, SENDERS / 2).await?;
    send_all(&mut heads, HEAD_BEGUN).await;
    send_all(&mut bodies, BODY_BEGUN).await;
    for _ in 0..BYTES {
        send_all(&mut heads, b"x").await;
        send_all(&mut bodies, b" ").await;
        ordinary(program.service()).await?;
    }
    expect_bounded(&program, &before, 64)?;
    drop((heads, bodies));
    expect_as_before(&program, &before).await
}

#[tokio::test]
async fn five_hundred_slow_readers_keep_nobody_out() -> Outcome {
    let _machine = shared().await;
    let name = "slow::five_hundred_slow_readers_keep_nobody_out";
    if !with_files(CLIENT_FILES, name).await? {
        return Ok(());
    }
    let (program, before) = start(CUSTOMERS).await?;
    let mut readers = connect_all(program.service().addr(), READERS).await?;
    send_all(&mut readers, ALL_CUSTOMERS).await;
    // Each stands in the midst of its answer.
    for result in soon(
        "the answers begin",
        join_all(readers.iter_mut().map(AsyncReadExt::read_u8)),
    )
    .await
    {
        result.or_fail("the first byte of an answer")?;
    }
    for _ in 0..BYTES {
        take_a_byte(&readers);
        ordinary(program.service()).await?;
    }
    // Two pages of 90 kB, what waits to be written, and the rows of a page
    // while it is made.
    expect_bounded(&program, &before, 512)?;
    drop(readers);
    expect_as_before(&program, &before).await
}

/// All of them together are four times the places that there are.
#[tokio::test]
async fn all_slow_clients_together_keep_nobody_out() -> Outcome {
    let _machine = shared().await;
    let name = "slow::all_slow_clients_together_keep_nobody_out";
    if !with_files(CLIENT_FILES, name).await? {
        return Ok(());
    }
    let (program, before) = start(CUSTOMERS).await?;
    let addr = program.service().addr();
    let mut readers = connect_all(addr, READERS).await?;
    send_all(&mut readers, ALL_CUSTOMERS).await;
    let mut bodies = connect_all(addr, SENDERS / 2).await?;
    send_all(&mut bodies, BODY_BEGUN).await;
    let mut heads = connect_all(addr, SENDERS / 2).await?;
    send_all(&mut heads, HEAD_BEGUN).await;
    let idle = connect_all(addr, IDLE).await?;
    until_there_is_a_place(program.service()).await?;
    for _ in 0..BYTES {
        take_a_byte(&readers);
        send_all(&mut heads, b"x").await;
        send_all(&mut bodies, b" ").await;
        ordinary(program.service()).await?;
    }
    expect_bounded(&program, &before, 512)?;
    drop((readers, bodies, heads, idle));
    expect_as_before(&program, &before).await
}

/// Clients stand in the midst of something, twice as many as there are places:
/// the tasks are bounded. Whatever a client was doing when it vanishes, nothing
/// of it stays: no connection, and no task. Only a look from inside can tell.
#[tokio::test]
async fn clients_gone_halfway_leave_no_task() -> Outcome {
    const PLACES: usize = 200;
    // For each place its connection and what reads ahead for it; for each of 64
    // clients that they have none; and those of this test's own requests.
    const MOST_TASKS: usize = 2 * PLACES + 64 + 10;
    let _machine = shared().await;
    let name = "slow::clients_gone_halfway_leave_no_task";
    if !with_files(CLIENT_FILES, name).await? {
        return Ok(());
    }
    let database = Database::sample().await?;
    database.add_customers(50_000).await?;
    let limits = Limits {
        connections: PLACES,
        patience: Duration::from_millis(100),
        ..Limits::default()
    };
    let market = Market::over(database, limits).await?;
    ordinary(&market.service).await?;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = soon("the client of the first request ends", async {
        let mut last = tasks();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if tasks() == last {
                return last;
            }
            last = tasks();
        }
    })
    .await;
    for bytes in [HEAD_BEGUN, BODY_BEGUN, ALL_CUSTOMERS, SMALL] {
        let mut clients = connect_all(market.addr(), 2 * PLACES).await?;
        send_all(&mut clients, bytes).await;
        if bytes == ALL_CUSTOMERS {
            // Who has no place hears that, or nothing.
            let first = clients.iter_mut().map(AsyncReadExt::read_u8);
            let first = soon("the answers begin", join_all(first)).await;
            let begun = first.iter().filter(|byte| byte.is_ok()).count();
            ensure(begun > 0, "answers that have begun", "some", begun)?;
        }
        until_there_is_a_place(&market.service).await?;
        let more = tasks().saturating_sub(before);
        ensure(more <= MOST_TASKS, "tasks", MOST_TASKS, more)?;
        drop(clients);
        soon("every task has ended", async {
            while tasks() > before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        ordinary(&market.service).await?;
    }
    let stopped = tokio::time::timeout(HANG, market.stop().done()).await;
    stopped
        .or_fail("the service stops")??
        .wait_until_closed()
        .await
}
