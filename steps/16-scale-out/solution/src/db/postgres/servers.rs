//! The servers of a cluster: which of them is the primary, and how much the standbys have.

use std::str::FromStr;
use std::time::Duration;

use futures::future::join_all;
use log::LevelFilter;
use sqlx::{ConnectOptions, Connection};
use sqlx_postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::probes::{self, PROBE_LIMIT, Probe};
use crate::db::Settings;
use crate::error::Error;
use crate::orders::Position;

/// The servers of a cluster. Each has a pool; the roles change, and the pools stay.
#[derive(Debug)]
pub struct Servers {
    pools: Vec<PgPool>,
    answer_timeout: Duration,
    roles: watch::Receiver<Roles>,
    /// The task that keeps `roles` up to date. `None` if there is one URL only: it leads to the
    /// primary, or to a proxy in front of it.
    watcher: Option<JoinHandle<()>>,
}

/// The roles of the servers. A server is named by its index in the list of URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The server that takes writes.
    pub primary: Option<usize>,
    /// The standbys that answer, and up to where each has what the primary has stored.
    pub standbys: Vec<(usize, Position)>,
    /// The greatest timeline that a primary had. A standby that becomes the primary begins a
    /// new one, so a primary on an older timeline is one that was replaced.
    pub timeline: u32,
}

/// The state that a server reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It takes writes, on this timeline.
    Primary { timeline: u32 },
    /// It has repeated what the primary stored up to this position.
    Standby { replayed: Position },
}

impl Roles {
    /// Returns the roles after the servers have said what they are; `None` is a server that
    /// does not answer.
    #[must_use]
    pub fn after(&self, states: &[Option<ServerState>]) -> Self {
        // TODO(16.8): find the primary and the standbys
        let mut roles = Self {
            timeline: self.timeline,
            ..Self::default()
        };
        for (server, state) in states.iter().enumerate() {
            // Of two on the same timeline, the one that was the primary before stays.
            let wins_ties = roles.primary.is_none() || self.primary == Some(server);
            match *state {
                Some(ServerState::Primary { timeline })
                    if timeline > roles.timeline || timeline == roles.timeline && wins_ties =>
                {
                    roles.primary = Some(server);
                    roles.timeline = timeline;
                }
                Some(ServerState::Standby { replayed }) => roles.standbys.push((server, replayed)),
                // It was replaced while it was away, or it does not answer.
                Some(ServerState::Primary { .. }) | None => {}
            }
        }
        roles
        // END TODO(16.8)
    }

    /// Returns a server to read from: a standby that has everything up to `seen`, or else
    /// the primary, also if `seen` is beyond what the primary has.
    pub fn reader(&self, seen: Option<Position>) -> Option<usize> {
        // TODO(16.9): choose a standby that is far enough, or else the primary
        let fresh = self
            .standbys
            .iter()
            .filter(|(_, replayed)| seen.is_none_or(|seen| *replayed >= seen))
            .map(|(server, _)| *server);
        fastrand::choice(fresh.collect::<Vec<_>>()).or(self.primary)
        // END TODO(16.9)
    }
}

impl Servers {
    /// Connects to the servers at `urls`, and begins to watch them if there are several.
    ///
    /// # Errors
    /// [`Error::Database`] if a URL is malformed. If there are several, also why none of the
    /// servers is the primary: [`Error::Database`], [`Error::NoAnswer`] or [`Error::Unusable`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn connect(urls: &str, settings: Settings) -> Result<Self, Error> {
        let options = urls
            .split(',')
            .map(|url| options(url, settings))
            .collect::<Result<Vec<_>, _>>()?;
        let pools = options
            .iter()
            .map(|options| pool(options, settings))
            .collect();
        let mut probes: Vec<Probe> = options.into_iter().map(Probe::new).collect();
        let (roles, watcher) = if let [_] = probes[..] {
            let roles = Roles {
                primary: Some(0),
                ..Roles::default()
            };
            (watch::channel(roles).1, None)
        } else {
            let first = probes::first_roles(&mut probes, settings.acquire_timeout).await?;
            let (sender, roles) = watch::channel(first);
            (roles, Some(tokio::spawn(probes::watch(probes, sender))))
        };
        Ok(Self {
            pools,
            answer_timeout: settings.busy_timeout,
            roles,
            watcher,
        })
    }

    /// How long a server may take to begin a transaction, to run all of its statements, and to
    /// commit it: each of these has this time. So has a read, with the wait for a connection.
    pub fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Whether there are servers beside the primary.
    pub fn has_standbys(&self) -> bool {
        self.watcher.is_some()
    }

    /// Returns how many connections the pools have open.
    pub fn connections(&self) -> u32 {
        self.pools.iter().map(PgPool::size).sum()
    }

    /// Returns the pool of the primary, and waits for one to be found.
    ///
    /// # Errors
    /// [`Error::NoPrimary`] if none is found within the [answer timeout](Self::answer_timeout).
    pub async fn primary(&self) -> Result<&PgPool, Error> {
        Ok(self.pool(self.find_primary().await?))
    }

    /// Returns the pool of a server.
    pub(super) fn pool(&self, index: usize) -> &PgPool {
        &self.pools[index]
    }

    pub(super) async fn find_primary(&self) -> Result<usize, Error> {
        let mut roles = self.roles.clone();
        let found = roles.wait_for(|roles| roles.primary.is_some());
        let found = timeout(self.answer_timeout, found)
            .await
            .ok()
            .and_then(Result::ok);
        found
            .and_then(|roles| roles.primary)
            .ok_or(Error::NoPrimary)
    }

    /// Waits for the end of `work`, but not longer than the [answer
    /// timeout](Self::answer_timeout).
    ///
    /// # Errors
    /// Those of `work`; [`Error::NoAnswer`] if it takes too long.
    pub async fn with_timeout<T, E: Into<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        match timeout(self.answer_timeout, work).await {
            Ok(result) => result.map_err(Into::into),
            Err(_) => Err(Error::NoAnswer),
        }
    }

    /// Waits for the end of `work` as [`Self::with_timeout`] does. If `holds` is not true of the
    /// roles any more, it stops waiting and returns `None`: a pool would go on for seconds to
    /// connect to a server that has died.
    pub(super) async fn while_role<T, E: Into<Error>>(
        &self,
        holds: impl Fn(&Roles) -> bool,
        work: impl Future<Output = Result<T, E>>,
    ) -> Option<Result<T, Error>> {
        let mut roles = self.roles.clone();
        tokio::select! {
            done = self.with_timeout(work) => Some(done),
            Ok(_) = roles.wait_for(|roles| !holds(roles)) => None,
        }
    }

    /// Runs `work`, which only reads, on a standby that has everything up to `seen`. Runs it on
    /// the primary if there is no such standby, if the standby fails, or if `complete` is false
    /// of what it has found: the rest may not have arrived there yet.
    ///
    /// This takes at most three times the [answer timeout](Self::answer_timeout): for the
    /// standby, to find the primary, and for the primary. Each change of the primary adds up to
    /// two more.
    ///
    /// # Errors
    /// Those of `work` on the primary, and as [`Self::with_timeout`] and [`Self::primary`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons the statement. Its connection is used again only if the
    /// server still answers on it.
    pub async fn read<T, F>(
        &self,
        seen: Option<Position>,
        complete: impl Fn(&T) -> bool,
        work: impl Fn(PgPool) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        // TODO(16.9): read from the chosen server, and then from the primary if need be
        let (reader, primary) = {
            let roles = self.roles.borrow();
            (roles.reader(seen), roles.primary)
        };
        if let Some(standby) = reader.filter(|reader| Some(*reader) != primary) {
            let is_standby = |roles: &Roles| roles.standbys.iter().any(|(it, _)| *it == standby);
            let work = work(self.pools[standby].clone());
            match self.while_role(is_standby, work).await {
                Some(Ok(found)) if complete(&found) => return Ok(found),
                Some(Err(error)) => tracing::debug!(?error, standby, "a standby has failed"),
                Some(Ok(_)) | None => {}
            }
        }
        self.read_primary(work).await
        // END TODO(16.9)
    }

    /// Runs `work`, which only reads, on the primary. If another server becomes the primary
    /// meanwhile, runs it again there. Time, errors and cancel safety are those of
    /// [`Self::read`] without a standby.
    ///
    /// # Errors
    /// Those of `work`, and as [`Self::with_timeout`] and [`Self::primary`].
    pub async fn read_primary<T, F>(&self, work: impl Fn(PgPool) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        loop {
            let index = self.find_primary().await?;
            let is_primary = |roles: &Roles| roles.primary == Some(index);
            let work = work(self.pools[index].clone());
            if let Some(done) = self.while_role(is_primary, work).await {
                return done;
            }
        }
    }

    /// Ends the watching and closes the pools.
    pub async fn close(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
        join_all(self.pools.iter().map(PgPool::close)).await;
    }
}

/// A connection that was used within this time is used again without a ping.
const FRESH: Duration = Duration::from_secs(1);

/// Creates the pool of a server.
///
/// A server that was restarted has closed its connections, and a pool does not notice that.
/// So before a connection is used that was idle for a while, the pool sends a ping.
///
/// A connection that comes back to the pool may be one on which a statement was abandoned.
/// sqlx then waits for the answer to that statement, without a limit, and the pool has one
/// connection less until then. A server that has died without closing its sockets never
/// answers. So the pool sends a ping first, for a bounded time, and closes the connection if
/// there is no answer.
fn pool(options: &PgConnectOptions, settings: Settings) -> PgPool {
    PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move { Ok(metadata.idle_for < FRESH || answers(connection).await) })
        })
        // TODO(16.6): close a connection that does not answer when it comes back
        .after_release(|connection, _| Box::pin(async move { Ok(answers(connection).await) }))
        // END TODO(16.6)
        .connect_lazy_with(options.clone())
}

/// Whether the server answers a ping in time.
async fn answers(connection: &mut PgConnection) -> bool {
    let answered = timeout(PROBE_LIMIT, connection.ping()).await;
    answered.is_ok_and(|answer| answer.is_ok())
}

fn options(url: &str, settings: Settings) -> Result<PgConnectOptions, Error> {
    let level = if settings.echo {
        LevelFilter::Info
    } else {
        LevelFilter::Debug
    };
    // When the program gives up, the server must do so, too. By itself, a server waits on for a
    // lock although its client has gone, and keeps a transaction open whose client has died.
    // The server gives up on a lock a little earlier, so that its error still arrives.
    let answer_timeout = settings.busy_timeout.as_millis();
    let options = PgConnectOptions::from_str(url)?;
    // A role or a database may set `off`, and then a crash loses acknowledged orders. Only
    // the URL may choose another value.
    let chosen = options.get_options().unwrap_or_default();
    let durable = !chosen.contains("synchronous_commit");
    Ok(options
        .application_name("marketsvc")
        .options([
            // Otherwise each start would log that the table of the migrations exists.
            ("client_min_messages", "warning"),
            ("lock_timeout", &(answer_timeout * 9 / 10).to_string()),
            (
                "idle_in_transaction_session_timeout",
                &answer_timeout.to_string(),
            ),
        ])
        .options(durable.then_some(("synchronous_commit", "on")))
        .log_statements(level))
}
