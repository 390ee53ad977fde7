//! What the program reads from outside, and the limits that it keeps.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::builder::{Resettable, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, FromArgMatches};
use jiff::SignedDuration;
use percent_encoding::percent_decode_str;
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
///
/// Each is a flag and an environment variable of the same name; what is said
/// here is what `--help` says. [`Limits::default`] has the defaults stated
/// here, whatever the environment holds.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits (a TIME is such as 250ms, 5s or 2m)")]
pub struct Limits {
    /// Client connections that are open at once.
    ///
    /// Beyond them a new client gets the place of one that keeps the service
    /// waiting, or 503 where there is none.
    ///
    /// The default is half of the 1,024 open files that most systems allow a
    /// process, since the database needs some as well.
    #[arg(
        long,
        env = "MARKETSVC_CONNECTIONS",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "512", value_parser = Setting(number::<usize, 1, 1_000_000>))]
    pub connections: usize,
    /// How long a client may keep the service waiting in the midst of a request
    /// or an answer when its place is needed.
    ///
    /// One without a request gives its place up at once.
    #[arg(
        long,
        env = "MARKETSVC_PATIENCE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "1s", value_parser = Setting(time))]
    pub patience: Duration,
    /// Reading requests that are worked on at once; more are 503. A list of
    /// orders counts as one for each 8 of them, and as six at most.
    ///
    /// The default is 32 for each core, and 256 at most. From a first 503 until there was none
    /// for a second it is half as many: the other half is for
    /// bursts, so that they do not slow those that are admitted under overload.
    ///
    /// A request counts from its headers to its status line, but not while its
    /// body is on its way. New orders have a queue of their own.
    #[arg(
        long,
        env = "MARKETSVC_IN_FLIGHT",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value_t = in_flight_for_this_machine(), value_parser = Setting(number::<usize, 1, 1_000_000>))]
    pub in_flight: usize,
    /// How long a 503 for a reading request beyond `--in-flight` is held back, and
    /// up to 15 ms more.
    ///
    /// It costs almost nothing: told at once, clients that ask again at once
    /// would take the processor from those that were admitted.
    #[arg(
        long,
        env = "MARKETSVC_REFUSAL_DELAY",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "10ms", value_parser = Setting(time_or_none))]
    pub refusal_delay: Duration,
    /// For a request's line and headers, and for the next request on a
    /// connection that is kept alive. It is closed at most an eighth later.
    #[arg(
        long,
        env = "MARKETSVC_HEADER_READ",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "15s", value_parser = Setting(time))]
    pub header_read: Duration,
    /// For a request's body, from its headers to its last byte, then 408.
    #[arg(
        long,
        env = "MARKETSVC_BODY_READ",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "10s", value_parser = Setting(time))]
    pub body_read: Duration,
    /// Most bytes of a request's body, then 413.
    #[arg(
        long,
        env = "MARKETSVC_BODY_BYTES",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    #[arg(default_value = "262144", value_parser = Setting(number::<usize, 1, 0x4000_0000>))]
    pub body_bytes: usize,
    /// Most bytes of one connection that wait to be parsed or to be sent. A
    /// request's head that is larger is 431.
    ///
    /// The system's own buffer for what a client has not taken yet is bounded at
    /// twice as many: left alone, Linux lets it grow to 4 MB for each client.
    #[arg(
        long,
        env = "MARKETSVC_CONNECTION_BUFFER",
        hide_env_values = true,
        value_name = "BYTES"
    )]
    #[arg(default_value = "65536", value_parser = Setting(number::<u32, 8_192, 0x1000_0000>))]
    pub connection_buffer: u32,
    /// For reading, from the headers to the status line, then 503.
    ///
    /// A streamed body comes after the status line and may take as long as its
    /// client keeps reading. A new order has no such limit: "too slow" would
    /// leave its sender not knowing whether to place it again.
    #[arg(
        long,
        env = "MARKETSVC_REQUEST",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "30s", value_parser = Setting(time))]
    pub request: Duration,
    /// For a client that takes nothing of an answer; then its connection is
    /// closed.
    #[arg(
        long,
        env = "MARKETSVC_WRITE_STALL",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "60s", value_parser = Setting(time))]
    pub write_stall: Duration,
    /// Between `/readyz` saying no and no new connection being accepted, when
    /// the service is told to stop.
    ///
    /// Behind a load balancer, longer than the balancer's interval.
    #[arg(
        long,
        env = "MARKETSVC_STOP_NOTICE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "0s", value_parser = Setting(time_or_none))]
    pub stop_notice: Duration,
    /// For requests in flight after that; then they are cut off.
    ///
    /// Less than the 10 s after which most supervisors kill.
    #[arg(
        long,
        env = "MARKETSVC_SHUTDOWN_GRACE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "8s", value_parser = Setting(time))]
    pub shutdown_grace: Duration,
    /// Database connections for reading.
    ///
    /// The default is two for each core, at least 4 and at most 16; more only
    /// queue for the same cores.
    #[arg(
        long,
        env = "MARKETSVC_READERS",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value_t = readers_for_this_machine(), value_parser = Setting(number::<u32, 1, 256>))]
    pub readers: u32,
    /// For a free database connection, then 503.
    #[arg(
        long,
        env = "MARKETSVC_ACQUIRE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "5s", value_parser = Setting(time))]
    pub acquire: Duration,
    /// For another program that is writing to the database, then 503.
    #[arg(
        long,
        env = "MARKETSVC_LOCK_WAIT",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "5s", value_parser = Setting(time))]
    pub lock_wait: Duration,
    /// For the database to answer `/readyz`, then 503.
    #[arg(
        long,
        env = "MARKETSVC_PROBE",
        hide_env_values = true,
        value_name = "TIME"
    )]
    #[arg(default_value = "1s", value_parser = Setting(time))]
    pub probe: Duration,
    /// New orders that wait for the writer; one more is 503 at once.
    ///
    /// Waiting, an order takes at most 16 kB. As many as `--batch`, so that an
    /// order never waits for more than the batch before its own.
    #[arg(
        long,
        env = "MARKETSVC_QUEUE",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "128", value_parser = Setting(number::<usize, 1, 100_000>))]
    pub queue: usize,
    /// New orders that are stored with one commit.
    ///
    /// More would save little of what a commit costs, and keep the first of
    /// them waiting for the last.
    #[arg(
        long,
        env = "MARKETSVC_BATCH",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "128", value_parser = Setting(number::<usize, 1, 100_000>))]
    pub batch: usize,
    /// Totals of orders that wait to be read; more wait to get in, each for
    /// `--acquire`, then 503.
    #[arg(
        long,
        env = "MARKETSVC_TOTALS_QUEUE",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "1024", value_parser = Setting(number::<usize, 1, 100_000>))]
    pub totals_queue: usize,
    /// Totals that are read with one statement.
    ///
    /// So many take about a millisecond: those that come meanwhile wait no
    /// longer than that.
    #[arg(
        long,
        env = "MARKETSVC_TOTALS_BATCH",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "256", value_parser = Setting(number::<usize, 1, 100_000>))]
    pub totals_batch: usize,
    /// Rows that a streamed answer reads at a time.
    ///
    /// A page of 1,000 customers is about 90 kB, and two pages are in memory
    /// for each client. Half as many rows take a quarter more time in all,
    /// twice as many save little.
    #[arg(
        long,
        env = "MARKETSVC_PAGE_ROWS",
        hide_env_values = true,
        value_name = "N"
    )]
    #[arg(default_value = "1000", value_parser = Setting(number::<u32, 1, 100_000>))]
    pub page_rows: u32,
}

impl Default for Limits {
    /// What `--help` shows as defaults.
    fn default() -> Self {
        let without_environment =
            Self::augment_args(clap::Command::new("marketsvc").no_binary_name(true))
                .mut_args(|limit| limit.env(Resettable::Reset));
        Self::from_arg_matches(&without_environment.get_matches_from([""; 0]))
            .expect("every limit has a default")
    }
}

impl Limits {
    /// Makes sure that no limit makes another one pointless.
    ///
    /// # Errors
    ///
    /// For the first pair of limits that contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, held, bound, at_most, why) in [
            (
                "--acquire",
                self.acquire,
                "--request",
                self.request,
                "a request that is given up no longer waits for a connection",
            ),
            (
                "--lock-wait",
                self.lock_wait,
                "--shutdown-grace",
                self.shutdown_grace,
                "an order that waits for the lock would be cut off when the service stops",
            ),
        ] {
            if held > at_most {
                return Err(ConfigError {
                    name: name.to_owned(),
                    held: format!("{held:?}"),
                    allowed: format!(
                        "it must be at most {bound}, which is {at_most:?}, since {why}"
                    ),
                });
            }
        }
        Ok(())
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn in_flight_for_this_machine() -> usize {
    (cores() * 32).min(256)
}

fn readers_for_this_machine() -> u32 {
    u32::try_from(cores() * 2).unwrap_or(16).clamp(4, 16)
}

/// A setting that the program cannot start with.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {held:?}: {allowed}")]
pub struct ConfigError {
    /// The flag or environment variable.
    pub name: String,
    /// What it held.
    pub held: String,
    /// What it may hold.
    pub allowed: String,
}

/// How the text of a flag or a variable becomes a value, or what is allowed
/// instead. The error that comes of it is a [`ConfigError`]: clap's own would
/// name the flag where the variable was wrong.
#[derive(Debug, Clone)]
pub struct Setting<T: 'static>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Setting<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        _: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, clap::Error> {
        let read = match value.to_str() {
            Some(text) => self.0(text),
            None => Err("it must be UTF-8 text".to_owned()),
        };
        read.map_err(|allowed| {
            let variable = arg.and_then(clap::Arg::get_env);
            let flag = arg.and_then(clap::Arg::get_long).unwrap_or_default();
            let name = match variable {
                Some(variable) if source == ValueSource::EnvVariable => {
                    variable.to_string_lossy().into_owned()
                }
                _ => format!("--{flag}"),
            };
            let held = value.to_string_lossy().into_owned();
            let error = ConfigError {
                name,
                held,
                allowed,
            };
            clap::Error::raw(ErrorKind::ValueValidation, error)
        })
    }
}

fn number<T: TryFrom<u64>, const LEAST: u64, const MOST: u64>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| (LEAST..=MOST).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("it must be a whole number from {LEAST} to {MOST}"))
}

/// Longer ones are mistakes.
const LONGEST: Duration = Duration::from_hours(24);

fn time(text: &str) -> Result<Duration, String> {
    time_or_none(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "it must be a time from 1ms to 24h, such as 250ms, 5s or 2m".to_owned())
}

fn time_or_none(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .filter(|time| *time <= LONGEST && (time.is_zero() || time.as_millis() > 0))
        .ok_or_else(|| "it must be a time up to 24h, such as 0s, 250ms, 5s or 2m".to_owned())
}

/// The address to listen on: an IP address (or `localhost`) and a port.
///
/// # Errors
///
/// What is allowed instead of `text`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    }
    .map_err(|_| {
        "it must be an IP address and a port, such as 127.0.0.1:9090 (port 0 takes a free one)"
            .to_owned()
    })
}

/// How many threads serve requests.
///
/// # Errors
///
/// What is allowed instead of `text`.
pub fn threads(text: &str) -> Result<usize, String> {
    number::<usize, 1, 1_024>(text)
}

/// One less than there are cores, but at least one.
pub fn threads_for_this_machine() -> usize {
    cores().saturating_sub(1).max(1)
}

/// The database file, from the URL of an SQLite file.
///
/// # Errors
///
/// What is allowed instead of `url`.
pub fn database(url: &str) -> Result<PathBuf, String> {
    let Some(rest) = url
        .strip_prefix("sqlite://")
        .or_else(|| url.strip_prefix("sqlite:"))
    else {
        return Err(
            "it must begin with sqlite://, such as sqlite://marketdb.sqlite or sqlite:///var/lib/market.sqlite"
                .to_owned(),
        );
    };
    // Often written in examples; it says what happens here anyway.
    let path = rest.strip_suffix("?mode=rwc").unwrap_or(rest);
    let refused = if path.contains('?') {
        "it takes no parameters after `?` (a `?` in the file's name is written %3F)"
    } else {
        match percent_decode_str(path).decode_utf8() {
            Err(_) => "what is written with % must be UTF-8 text",
            Ok(path) if path.contains('\0') => "a path has no zero bytes",
            Ok(path) if path.is_empty() || path == ":memory:" => {
                "it must name a file: a database in memory would be gone, orders and all, when the service stops"
            }
            Ok(path) => return Ok(PathBuf::from(&*path)),
        }
    };
    Err(refused.to_owned())
}

/// What is logged when `RUST_LOG` says nothing.
pub const LOG: &str = "info";

/// What to log: `RUST_LOG`, else [`LOG`].
///
/// # Errors
///
/// When `RUST_LOG` is not a list of `target=level` directives.
pub fn log_filter() -> Result<EnvFilter, ConfigError> {
    let held = env::var_os("RUST_LOG").unwrap_or_else(|| LOG.into());
    let filter = held
        .to_str()
        .and_then(|text| EnvFilter::builder().parse(text).ok());
    filter.ok_or_else(|| ConfigError {
        name: "RUST_LOG".to_owned(),
        held: held.to_string_lossy().into_owned(),
        allowed: "it must be a level (error, warn, info, debug, trace) or a list such as info,sqlx::query=debug".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_urls_name_files() {
        for (url, path) in [
            ("sqlite://market.sqlite", "market.sqlite"),
            ("sqlite:market.sqlite", "market.sqlite"),
            ("sqlite:///var/lib/market.sqlite", "/var/lib/market.sqlite"),
            ("sqlite://a b/50%25 off%3F.sqlite", "a b/50% off?.sqlite"),
            ("sqlite://caf%C3%A9.sqlite", "café.sqlite"),
            ("sqlite://50%off.sqlite", "50%off.sqlite"),
            ("sqlite://market.sqlite?mode=rwc", "market.sqlite"),
        ] {
            assert_eq!(database(url), Ok(PathBuf::from(path)), "{url}");
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
            ("sqlite://%ff.sqlite", "UTF-8 text"),
            ("sqlite://a%00b", "zero bytes"),
        ] {
            let allowed = database(url).unwrap_err();
            assert!(allowed.contains(hint), "{url}: {allowed}");
        }
    }

    #[test]
    fn addresses_are_numeric_or_local() {
        let port = |text| address(text).map(|address| address.port());
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
            let allowed = address(text).unwrap_err();
            assert!(allowed.starts_with("it must be"), "{allowed}");
        }
    }

    #[test]
    fn times_have_units_and_numbers_have_bounds() {
        for (text, expected) in [
            ("250ms", Duration::from_millis(250)),
            ("5s", Duration::from_secs(5)),
            ("2m", Duration::from_mins(2)),
            ("1m 30s", Duration::from_secs(90)),
            ("24h", LONGEST),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "5",
            "-5s",
            "0s",
            "1us",
            "25h",
            "5 parsecs",
            "99999999999999999999s",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(time_or_none("0s"), Ok(Duration::ZERO));
        assert_eq!(number::<u32, 1, 9>("9"), Ok(9));
        for text in ["", "0", "10", "-1", "1.5", "18446744073709551616"] {
            assert!(number::<u32, 1, 9>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        assert_eq!(Limits::default().check(), Ok(()));
    }

    #[test]
    fn a_machine_with_more_cores_does_more_at_once() {
        let limits = Limits::default();
        assert_eq!(limits.in_flight, (cores() * 32).min(256));
        assert!(limits.in_flight < limits.connections);
    }

    #[test]
    fn limits_that_contradict_each_other_are_named() {
        let of = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check().unwrap_err().to_string()
        };
        let error = of(|limits| limits.acquire = Duration::from_secs(31));
        assert!(
            error.starts_with("--acquire is \"31s\": it must be at most --request, which is 30s"),
            "{error}"
        );
        let error = of(|limits| limits.lock_wait = Duration::from_secs(11));
        assert!(
            error.contains("--lock-wait") && error.contains("--shutdown-grace"),
            "{error}"
        );
    }
}
