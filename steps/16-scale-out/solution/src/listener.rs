//! The socket that accepts connections.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// How much of a response the system keeps for one client, in bytes (Linux doubles the
/// number). Without a limit, it would take up to 4 MB for a client that does not read.
const SEND_BUFFER: u32 = 64 * 1024;

/// How many connections may wait to be accepted. Linux caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Listens on `addr`. Connections that are accepted inherit the size of the send buffer.
///
/// # Errors
/// The error of the system, for example if the port is in use.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted service need not wait until the connections of the old one are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Raises the limit of open files of this process, so that `connections` clients, the
/// database and the log can have theirs.
///
/// # Errors
/// A text for the person at the terminal, if the system does not allow as many.
#[cfg(unix)]
pub fn allow_open_files(connections: usize) -> Result<(), String> {
    use rustix::process::{Resource, getrlimit, setrlimit};

    // Each connection of the pool has the database, its log and its shared memory open.
    let needed = connections as u64 + 128;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = limit.maximum
        && maximum < needed
    {
        return Err(format!(
            "this process may open {maximum} files, and {connections} connections need {needed}; \
             raise the limit (`ulimit -Hn`), or choose a smaller --max-connections"
        ));
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|error| error.to_string())
}

/// Does nothing: this system has no such limit.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn allow_open_files(_: usize) -> Result<(), String> {
    Ok(())
}
