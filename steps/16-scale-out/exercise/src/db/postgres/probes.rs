//! Asking the servers again and again which of them is the primary.

use std::time::Duration;

use futures::future::join_all;
use log::LevelFilter;
use sqlx::ConnectOptions;
use sqlx_postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::servers::{Roles, ServerState};
use crate::error::Error;

/// How often the servers are asked what they are.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long a server may take to answer. One that takes longer has no role until it answers.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Asks the servers every [`PROBE_EVERY`] and sends their roles, as long as somebody listens.
pub async fn watch(mut probes: Vec<Probe>, roles: watch::Sender<Roles>) {
    let mut tick = interval(PROBE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Nobody listens any more if the start has failed.
    while !roles.is_closed() {
        tick.tick().await;
        let before = roles.borrow().clone();
        let (now, _) = look(&mut probes, &before).await;
        if now.primary != before.primary {
            tracing::warn!(before = ?before.primary, now = ?now.primary, "another primary");
        }
        roles.send_replace(now);
    }
}

/// Asks the servers until one is the primary, but not longer than `limit`: during a failover,
/// none is for a while, and a busy server answers late.
///
/// # Errors
/// [`Error::Unusable`] if all servers answer and none is the primary. If some cannot be asked,
/// the error of the first of them: [`Error::NoAnswer`], or [`Error::Database`], which is
/// returned at once if no server is a standby that could become the primary.
pub async fn first_roles(probes: &mut [Probe], limit: Duration) -> Result<Roles, Error> {
    let end = Instant::now() + limit;
    loop {
        let (roles, failed) = look(probes, &Roles::default()).await;
        if roles.primary.is_some() {
            return Ok(roles);
        }
        let refused = roles.standbys.is_empty() && !matches!(failed, Some(Error::NoAnswer));
        if refused || Instant::now() > end {
            let none = Error::Unusable("no server of the cluster is the primary");
            return Err(failed.unwrap_or(none));
        }
        sleep(PROBE_EVERY).await;
    }
}

/// Asks every server once, all at the same time. Returns their roles, and the error of the
/// first one that does not answer.
async fn look(probes: &mut [Probe], before: &Roles) -> (Roles, Option<Error>) {
    let answers = join_all(probes.iter_mut().map(Probe::state)).await;
    let states: Vec<_> = answers.iter().map(|it| it.as_ref().ok().copied()).collect();
    let failed = answers.into_iter().find_map(Result::err);
    (before.after(&states), failed)
}

/// Asks one server, over a connection of its own: a pool whose connections are all in use
/// does not make its server look dead.
#[derive(Debug)]
pub struct Probe {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Probe {
    /// Creates a probe, which connects to its server when it asks for the first time.
    pub fn new(options: PgConnectOptions) -> Self {
        Self {
            options: options.log_statements(LevelFilter::Trace),
            connection: None,
        }
    }

    /// Returns what the server is.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] if it does not answer in time, [`Error::Database`] if it cannot be
    /// asked.
    async fn state(&mut self) -> Result<ServerState, Error> {
        // A probe that fails or takes too long takes its connection along.
        let connection = self.connection.take();
        let asked = async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let state = ask(&mut connection).await?;
            Ok::<_, Error>((connection, state))
        };
        let asked = timeout(PROBE_LIMIT, asked).await;
        let (connection, state) = asked.map_err(|_| Error::NoAnswer)??;
        self.connection = Some(connection);
        Ok(state)
    }
}

async fn ask(connection: &mut PgConnection) -> Result<ServerState, Error> {
    // The name of a WAL file begins with the timeline, as eight hexadecimal digits.
    let (replayed, timeline): (Option<String>, Option<i32>) = sqlx::query_as(
        "SELECT CASE WHEN pg_is_in_recovery()
                     THEN coalesce(pg_last_wal_replay_lsn(), '0/0')::text END,
                CASE WHEN NOT pg_is_in_recovery()
                     THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
                END",
    )
    .fetch_one(connection)
    .await?;
    match (replayed, timeline) {
        (Some(replayed), _) => Ok(ServerState::Standby {
            replayed: replayed.parse()?,
        }),
        (None, timeline) => Ok(ServerState::Primary {
            timeline: timeline.unwrap_or_default().cast_unsigned(),
        }),
    }
}
