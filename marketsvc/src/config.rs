//! What the program reads from outside, and the limits that it keeps.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// Everything that [`crate::run`] needs besides a listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file; created with the sample market when it is missing.
    pub database: PathBuf,
    pub limits: Limits,
    /// Called with the real address as soon as requests are answered.
    pub ready: fn(SocketAddr),
}

impl Config {
    /// The given database, with the default limits. When the service is ready
    /// it prints `listening on http://ADDR` on standard output.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            limits: Limits::default(),
            ready: announce,
        }
    }
}

/// Somebody who has closed our standard output does not want to know, and the
/// service goes on.
fn announce(address: SocketAddr) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
}

/// How much of anything the service lets happen at once, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open client connections; more wait in the listener's queue. Half of the
    /// 1,024 open files that most systems allow a process, since the database
    /// needs some as well. Default 512.
    pub connections: usize,
    /// For a request's line and headers, and for the next request on a
    /// connection that is kept alive. Default 15 s.
    pub header_read: Duration,
    /// For a request's body, from its headers to its last byte. Default 10 s.
    pub body_read: Duration,
    /// Most bytes of a request's body. Default 256 KiB.
    pub body_bytes: usize,
    /// For reading, from the headers to the status line. A streamed body comes
    /// after the status line and may take as long as its client keeps reading.
    /// A new order has no such limit: see `http::guard`. Default 30 s.
    pub request: Duration,
    /// For a client that takes nothing of an answer. Default 60 s.
    pub write_stall: Duration,
    /// For requests in flight when the service is told to stop. Default 10 s.
    pub shutdown_grace: Duration,
    /// Database connections for reading. Default: two for each core, at least
    /// 4 and at most 16; more only queue for the same cores.
    pub readers: u32,
    /// For a free database connection, then 503. Default 5 s.
    pub acquire: Duration,
    /// For another program that is writing to the database, then 503.
    /// Default 5 s.
    pub lock_wait: Duration,
    /// New orders that wait for the writer; one more is refused at once, with
    /// 503. Waiting, an order takes at most 16 kB. As many as [`batch`](Self::batch), so
    /// that an order never waits for more than the batch before its own.
    /// Default 128.
    pub queue: usize,
    /// New orders that are stored with one commit. More would save little of
    /// what a commit costs, and keep the first of them waiting for the last.
    /// Default 128.
    pub batch: usize,
    /// Rows that a streamed answer reads at a time. A page of customers is
    /// about 90 kB, and two of them are in memory for each client. Half as many
    /// rows take a quarter more time in all, twice as many save little.
    /// Default 1,000.
    pub page_rows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections: 512,
            header_read: Duration::from_secs(15),
            body_read: Duration::from_secs(10),
            body_bytes: 256 * 1024,
            request: Duration::from_secs(30),
            write_stall: Duration::from_mins(1),
            shutdown_grace: Duration::from_secs(10),
            readers: u32::try_from(cores * 2).unwrap_or(16).clamp(4, 16),
            acquire: Duration::from_secs(5),
            lock_wait: Duration::from_secs(5),
            queue: 128,
            batch: 128,
            page_rows: 1_000,
        }
    }
}

/// A setting that the program cannot start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {held:?}: {allowed}")]
pub struct ConfigError {
    /// The flag or environment variable.
    pub name: &'static str,
    /// What it held.
    pub held: String,
    /// What it may hold.
    pub allowed: &'static str,
}

/// A setting's value and where it came from: a flag wins over the
/// environment, and the environment over the default.
#[derive(Debug)]
struct Setting {
    name: &'static str,
    value: String,
}

impl Setting {
    fn find(
        flag: (&'static str, Option<String>),
        variable: &'static str,
        default: &str,
    ) -> Result<Self, ConfigError> {
        if let (name, Some(value)) = flag {
            return Ok(Self { name, value });
        }
        let value = match env::var(variable) {
            Ok(value) => value,
            Err(env::VarError::NotPresent) => default.to_owned(),
            Err(env::VarError::NotUnicode(held)) => {
                return Err(ConfigError {
                    name: variable,
                    held: held.to_string_lossy().into_owned(),
                    allowed: "it must be UTF-8 text",
                });
            }
        };
        Ok(Self {
            name: variable,
            value,
        })
    }

    fn refuse(self, allowed: &'static str) -> ConfigError {
        ConfigError {
            name: self.name,
            held: self.value,
            allowed,
        }
    }
}

/// The address to listen on: `flag`, else `MARKETSVC_ADDR`, else
/// `127.0.0.1:9090`.
///
/// # Errors
///
/// When it is not an IP address (or `localhost`) and a port.
pub fn address(flag: Option<String>) -> Result<SocketAddr, ConfigError> {
    let setting = Setting::find(("--addr", flag), "MARKETSVC_ADDR", "127.0.0.1:9090")?;
    let text = match setting.value.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => setting.value.clone(),
    };
    text.parse().map_err(|_| {
        setting.refuse(
            "it must be an IP address and a port, such as 127.0.0.1:9090 (port 0 takes a free one)",
        )
    })
}

/// The database file: `flag`, else `DATABASE_URL`, else
/// `sqlite://marketdb.sqlite` in the current folder.
///
/// # Errors
///
/// When it is not the URL of an SQLite file.
pub fn database(flag: Option<String>) -> Result<PathBuf, ConfigError> {
    let setting = Setting::find(
        ("--database-url", flag),
        "DATABASE_URL",
        "sqlite://marketdb.sqlite",
    )?;
    let url = setting.value.as_str();
    let Some(rest) = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
    else {
        return Err(setting.refuse(
            "it must begin with sqlite://, such as sqlite://marketdb.sqlite or sqlite:///var/lib/market.sqlite",
        ));
    };
    // Often written in examples; it says what happens here anyway.
    let path = rest.strip_suffix("?mode=rwc").unwrap_or(rest);
    if path.contains('?') {
        return Err(setting
            .refuse("it takes no parameters after `?` (a `?` in the file's name is written %3F)"));
    }
    match percent_decoded(path) {
        None => Err(setting.refuse("each % must be followed by two hexadecimal digits of UTF-8 text")),
        Some(path) if path.contains('\0') => Err(setting.refuse("a path has no zero bytes")),
        Some(path) if path.is_empty() || path == ":memory:" => Err(setting.refuse(
            "it must name a file: a database in memory would be gone, orders and all, when the service stops",
        )),
        Some(path) => Ok(PathBuf::from(path)),
    }
}

/// Replaces each `%XX`; `None` when one is malformed or the result is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// What to log: `RUST_LOG`, else the service's own messages and everybody's
/// warnings.
///
/// # Errors
///
/// When `RUST_LOG` is not a list of `target=level` directives.
pub fn log_filter() -> Result<EnvFilter, ConfigError> {
    let setting = Setting::find(("", None), "RUST_LOG", "warn,marketsvc=info")?;
    EnvFilter::builder().parse(&setting.value).map_err(|_| {
        setting.refuse(
            "it must be a level (error, warn, info, debug, trace) or a list such as info,sqlx::query=debug",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(url: &str) -> Result<PathBuf, &'static str> {
        database(Some(url.to_owned())).map_err(|error| {
            assert_eq!((error.name, error.held.as_str()), ("--database-url", url));
            error.allowed
        })
    }

    #[test]
    fn database_urls_name_files() {
        for (url, path) in [
            ("sqlite://market.sqlite", "market.sqlite"),
            ("sqlite:market.sqlite", "market.sqlite"),
            ("sqlite:///var/lib/market.sqlite", "/var/lib/market.sqlite"),
            ("sqlite://a b/50%25 off%3F.sqlite", "a b/50% off?.sqlite"),
            ("sqlite://caf%C3%A9.sqlite", "café.sqlite"),
            ("sqlite://market.sqlite?mode=rwc", "market.sqlite"),
        ] {
            assert_eq!(path_of(url), Ok(PathBuf::from(path)), "{url}");
        }
    }

    #[test]
    fn other_database_urls_are_refused_with_what_is_allowed() {
        for (url, hint) in [
            ("", "begin with sqlite://"),
            ("market.sqlite", "begin with sqlite://"),
            ("postgres://localhost/market", "begin with sqlite://"),
            ("sqlite::memory:", "name a file"),
            ("sqlite://", "name a file"),
            ("sqlite://:memory:", "name a file"),
            ("sqlite://a.sqlite?mode=ro", "no parameters"),
            ("sqlite://50%off.sqlite", "two hexadecimal digits"),
            ("sqlite://%ff.sqlite", "two hexadecimal digits"),
            ("sqlite://a%", "two hexadecimal digits"),
            ("sqlite://a%00b", "zero bytes"),
        ] {
            let allowed = path_of(url).unwrap_err();
            assert!(allowed.contains(hint), "{url}: {allowed}");
        }
    }

    #[test]
    fn addresses_are_numeric_or_local() {
        let port = |text: &str| address(Some(text.to_owned())).map(|address| address.port());
        assert_eq!(port("127.0.0.1:0"), Ok(0));
        assert_eq!(port("[::1]:9090"), Ok(9090));
        assert_eq!(port("localhost:80"), Ok(80));
        for text in [
            "",
            "9090",
            ":9090",
            "127.0.0.1",
            "127.0.0.1:70000",
            "market.example:80",
        ] {
            let error = address(Some(text.to_owned())).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("--addr is {text:?}: it must be")),
                "{error}"
            );
        }
    }
}
