//! Clients that keep the service waiting.

use std::net::SocketAddr;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::{join_all, try_join_all};
use marketsvc::listener::allow_open_files;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::common::{metric, soon};
use crate::support::{Program, ordinary, shared};

/// How many clients of each kind there are.
const CLIENTS: usize = 500;

/// The list is some 4 MB long, and the buffers on its way hold little of it.
const CUSTOMERS: u32 = 50_000;

/// How many bytes each slow client sends or takes. There are ordinary requests between any
/// two of them, rather than a pause.
const BYTES: usize = 8;

const HEAD_BEGUN: &[u8] = b"GET /api/order_total/1 HTTP/1.1\r\nHost: x\r\nX-Slow: ";
const BODY_BEGUN: &[u8] = b"POST /api/add_new_order HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"customer_id\":1,";
const LIST: &[u8] = b"GET /api/customers HTTP/1.1\r\nHost: x\r\n\r\n";
const TOTAL: &[u8] = b"GET /api/order_total/1 HTTP/1.1\r\nHost: x\r\n\r\n";

/// Opens connections with small buffers, so that the service soon notices a client that
/// does not read, and sends `bytes` on each.
async fn clients(addr: SocketAddr, count: usize, bytes: &[u8]) -> Result<Vec<TcpStream>, Failure> {
    let connect = || async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 * 1024)?;
        let mut socket = socket.connect(addr).await?;
        socket.write_all(bytes).await?;
        Ok::<_, std::io::Error>(socket)
    };
    let clients = try_join_all((0..count).map(|_| connect()));
    soon("the connections", clients)
        .await
        .or_fail("a connection")
}

/// Sends `bytes` on each connection that the service has not closed.
async fn send(clients: &mut [TcpStream], bytes: &[u8]) {
    join_all(clients.iter_mut().map(|client| client.write_all(bytes))).await;
}

/// Waits until each client has received the beginning of an answer. Returns how many
/// answers have the status 200.
async fn answered(clients: &mut [TcpStream]) -> Result<usize, Failure> {
    let read = clients.iter_mut().map(|client| async {
        let mut line = [0; 12];
        client.read_exact(&mut line).await.map(|_| line)
    });
    let lines = soon("the beginnings of answers", try_join_all(read)).await;
    let lines = lines.or_fail("the beginning of an answer")?;
    Ok(lines.iter().filter(|line| *line == b"HTTP/1.1 200").count())
}

/// Starts a service that has a long list of customers.
async fn start(flags: &[&str]) -> Result<Program, Failure> {
    // The clients of the test need as many files as the service does.
    allow_open_files(4096).map_err(|text| Failure::new("open files", "enough", text))?;
    let database = Database::sample().await?;
    database.add_customers(CUSTOMERS).await?;
    let program = Program::start(database, "", flags).await?;
    for _ in 0..20 {
        ordinary(program.service()).await?;
    }
    Ok(program)
}

/// The pool may open its ten connections meanwhile, with two files each.
const POOL_FILES: usize = 20;

/// Waits until the connections of the clients have ended, and only that of this request is
/// left.
async fn expect_gone(program: &Program, files: usize) -> Outcome {
    soon("no connection is left", async {
        while metric(program.service(), "http_connections").await? > 1.0 {}
        Ok::<_, Failure>(())
    })
    .await?;
    program.expect_files(files + POOL_FILES).await
}

#[tokio::test]
async fn all_slow_clients_together_keep_nobody_out() -> Outcome {
    let _machine = shared().await;
    let program = start(&[]).await?;
    let (memory, files) = (program.memory()?, program.files()?);
    let addr = program.service().addr();
    let mut readers = clients(addr, CLIENTS, LIST).await?;
    let lists = answered(&mut readers).await?;
    equal("lists that are sent at the same time", 256, lists)?;
    let mut heads = clients(addr, CLIENTS / 2, HEAD_BEGUN).await?;
    let mut bodies = clients(addr, CLIENTS / 2, BODY_BEGUN).await?;
    let silent = clients(addr, CLIENTS / 2, b"").await?;
    let mut kept_alive = clients(addr, CLIENTS / 2, TOTAL).await?;
    equal("totals", CLIENTS / 2, answered(&mut kept_alive).await?)?;
    for _ in 0..BYTES {
        for reader in &readers {
            let _ = reader.try_read(&mut [0]);
        }
        send(&mut heads, b"x").await;
        send(&mut bodies, b" ").await;
        ordinary(program.service()).await?;
    }
    let all = program.memory()?.saturating_sub(memory);
    println!("{all} KiB for {} clients", 3 * CLIENTS);
    ensure(
        all < 1 << 18,
        "memory for the clients",
        "at most 256 MiB",
        all,
    )?;
    drop((readers, heads, bodies, silent, kept_alive));
    expect_gone(&program, files).await?;
    program.expect_no_panic()
}

/// Whatever a client was doing when it goes away, it leaves no connection and no permit.
#[tokio::test]
async fn clients_gone_halfway_leave_no_task() -> Outcome {
    const PERMITS: usize = 50;
    let _machine = shared().await;
    let permits = PERMITS.to_string();
    let flags = ["--max-requests", &permits, "--max-streams", &permits];
    let mut program = start(&flags).await?;
    let files = program.files()?;
    for bytes in [HEAD_BEGUN, BODY_BEGUN, LIST, TOTAL, b""] {
        let mut gone = clients(program.service().addr(), PERMITS, bytes).await?;
        if bytes == LIST {
            equal("lists", PERMITS, answered(&mut gone).await?)?;
        }
        drop(gone);
        expect_gone(&program, files).await?;
        // All permits are free again.
        let mut next = clients(program.service().addr(), PERMITS, LIST).await?;
        equal("lists", PERMITS, answered(&mut next).await?)?;
        drop(next);
        expect_gone(&program, files).await?;
        ordinary(program.service()).await?;
    }
    program.process.signal("TERM").await?;
    program.expect_end().await
}
