//! What clients that stop reading do to others.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{MILLION, ORDERS, PATH, SAMPLE, case};
use crate::contender::Contender;
use crate::error::{Error, Result};
use crate::http::time;
use crate::model::{Bench, Bound, Unit};
use crate::{Settings, databases, take_turns};

/// How many clients stop reading.
const STOPPED: usize = 32;

/// How long all of them together wait for their first bytes. A server that has no
/// connection left has none for them.
const BEGIN: Duration = Duration::from_secs(2);

/// How long a small answer is waited for. What takes longer counts as long as this.
const LIMIT: Duration = Duration::from_secs(5);

const SMALL: &str = "/api/order_total/1";

/// Asks for small answers while streams hold what they may need.
///
/// # Errors
///
/// When a contender does not start or fails.
pub fn measure(settings: Settings, bench: &mut Bench) -> Result<()> {
    let rows = if settings.quick { 100_000 } else { MILLION };
    let database = databases::seeded(rows - SAMPLE, ORDERS)?;
    let case = format!(
        "order_total beside {STOPPED} clients that stopped reading {}",
        case(rows)
    );
    let mut servers = [Contender::Marketsvc, Contender::AxumRusqlite];
    let mut silent = Vec::new();
    eprintln!("stream: {case}");
    take_turns(settings.rounds, &mut servers, |server, _| {
        let program = server.start(&database)?;
        let addr = program.addr();
        // The first ones warm up.
        order_totals(addr)?;
        let before = order_totals(addr)?;
        let readers = stop_reading(addr).map_err(Error::io(format!("begin to read {PATH}")))?;
        let beside = order_totals(addr)?;
        let mut record =
            |measure, unit, sample| bench.record(&case, server.name(), measure, unit, sample);
        for (measure, sample) in [
            ("p99", beside.p99),
            ("p50", beside.p50),
            ("p99 before", before.p99),
            ("p50 before", before.p50),
        ] {
            record(measure, Unit::Seconds, sample.as_secs_f64());
        }
        if let Some(peak) = program.peak_memory() {
            record("peak memory", Unit::Bytes, peak);
        }
        if !beside.answered && !silent.contains(server) {
            silent.push(*server);
        }
        drop(readers);
        Ok(())
    })?;
    for server in silent {
        let name = server.name();
        bench.notes.push(format!(
            "{case}: {name} did not answer within {} s; its figures are that limit.",
            LIMIT.as_secs()
        ));
    }
    let beside = bench.median(&case, Contender::Marketsvc.name(), "p99");
    bench.aim(
        Unit::Seconds,
        &format!("order_total beside {STOPPED} clients that stopped reading: p99"),
        Bound::AtMost(0.05),
        beside,
    );
    Ok(())
}

/// Of 200 answers.
struct Times {
    p50: Duration,
    p99: Duration,
    /// Whether all came; otherwise both times are the limit.
    answered: bool,
}

fn order_totals(addr: SocketAddr) -> Result<Times> {
    let mut times = Vec::with_capacity(200);
    for _ in 0..200 {
        let Some(time) = time(addr, SMALL, LIMIT)? else {
            return Ok(Times {
                p50: LIMIT,
                p99: LIMIT,
                answered: false,
            });
        };
        times.push(time);
    }
    times.sort_unstable();
    Ok(Times {
        p50: times[100],
        p99: times[198],
        answered: true,
    })
}

/// Clients that have their first bytes, if there are any for them, and read no more.
fn stop_reading(addr: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut sockets = Vec::with_capacity(STOPPED);
    for _ in 0..STOPPED {
        let mut socket = TcpStream::connect(addr)?;
        socket.write_all(request.as_bytes())?;
        sockets.push(socket);
    }
    let deadline = Instant::now() + BEGIN;
    for socket in &mut sockets {
        let left = deadline.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.read_exact(&mut [0; 1024]) {
            // What a read timeout is called depends on the system.
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(sockets)
}
