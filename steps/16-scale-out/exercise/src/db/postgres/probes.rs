//! Asking the servers again and again which of them is the primary.

use std::time::Duration;

use futures::future::join_all;
use log::LevelFilter;
use sqlx::ConnectOptions;
use sqlx_postgres::{PgConnectOptions, PgConnection};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::servers::{Roles, ServerState};
use crate::error::Error;

/// How often the servers are asked what they are.
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// How long a server may take to answer. Until it does, it has no role.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Asks the servers again and again.
pub async fn watch(mut probes: Vec<Probe>, roles: watch::Sender<Roles>) {
    let mut tick = interval(PROBE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Nobody listens any more if the start has failed.
    while !roles.is_closed() {
        tick.tick().await;
        let before = roles.borrow().clone();
        let now = look(&mut probes, &before).await;
        if now.primary != before.primary {
            tracing::warn!(before = ?before.primary, now = ?now.primary, "another primary");
        }
        roles.send_replace(now);
    }
}

/// Asks every server once, all at the same time.
pub async fn look(probes: &mut [Probe], before: &Roles) -> Roles {
    let states = join_all(probes.iter_mut().map(Probe::state)).await;
    before.after(&states)
}

/// Asks one server, over a connection of its own: a pool whose connections are all in use
/// does not make its server look dead.
#[derive(Debug)]
pub struct Probe {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Probe {
    pub fn new(options: PgConnectOptions) -> Self {
        Self {
            options: options.log_statements(LevelFilter::Trace),
            connection: None,
        }
    }

    /// Returns what the server is; `None` if it does not say so in time.
    async fn state(&mut self) -> Option<ServerState> {
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
        let (connection, state) = timeout(PROBE_LIMIT, asked).await.ok()?.ok()?;
        self.connection = Some(connection);
        Some(state)
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
