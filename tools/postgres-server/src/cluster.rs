//! A primary with two standbys, and what happens to them in a failover.

use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::programs;
use crate::server::{Data, Server, primary_conninfo};

/// What differs from the installation's settings, on all servers, since each can become
/// the primary. What the promise rests on is PostgreSQL's default: `fsync` and
/// `synchronous_commit` are on.
const SETTINGS: [&str; 6] = [
    // Files in the server's folder. Otherwise a killed server would leave some elsewhere.
    "dynamic_shared_memory_type=mmap",
    // A standby that was away for a moment finds what it has missed.
    "wal_keep_size=512MB",
    // How soon a standby follows the new primary, and notices a silent one.
    "wal_retrieve_retry_interval=100ms",
    "wal_receiver_timeout=5s",
    "wal_sender_timeout=5s",
    "wal_receiver_status_interval=1s",
];

/// How long standbys have to connect to the primary.
const CONNECT: Duration = Duration::from_secs(30);

/// How long the other standby has to follow a new primary before it is made anew.
const FOLLOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Primary,
    /// The primary acknowledges a commit when this standby has it on its disk.
    Synchronous,
    /// The primary does not wait for this standby.
    Asynchronous,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Synchronous => "synchronous",
            Self::Asynchronous => "asynchronous",
        })
    }
}

/// A primary and two standbys that end with this value or with the program. The servers
/// keep their numbers and URLs; their roles change.
pub struct Cluster {
    servers: Vec<Server>,
    /// The numbers of the servers, in the order of [`Role`].
    roles: [usize; 3],
    settings: Vec<String>,
}

impl Cluster {
    /// Makes and starts the servers, all at the same time. `None` where PostgreSQL is not
    /// installed.
    ///
    /// A standby begins with the new data that the primary begins with, so nothing has to
    /// be copied from the primary. One that is made anew later is a copy by
    /// `pg_basebackup`.
    ///
    /// # Errors
    /// When a server cannot be made or started, or a standby does not connect.
    pub fn start() -> io::Result<Option<Self>> {
        Self::with(&[])
    }

    /// As [`Cluster::start`], with settings for each server, as [`Server::start`] takes them.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn with(settings: &[&str]) -> io::Result<Option<Self>> {
        let Some(programs) = programs(&["initdb", "postgres", "pg_basebackup", "psql"]) else {
            return Ok(None);
        };
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let mut of_primary = of_server(0, &settings);
        of_primary.push(synchronous(1));
        let primary = Server::spawn(&programs, Data::New, &of_primary)?;
        let standbys = [1, 2].map(|number| {
            let data = Data::Standby(primary.folder());
            Server::spawn(&programs, data, &of_server(number, &settings))
        });
        let mut servers = vec![primary];
        for standby in standbys {
            servers.push(standby?);
        }
        for server in &servers {
            server.wait_until_ready()?;
        }
        let cluster = Self {
            servers,
            roles: [0, 1, 2],
            settings,
        };
        cluster.wait_until_whole()?;
        Ok(Some(cluster))
    }

    /// The servers, by their numbers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The number of the server in a role. After [`Cluster::promote`], the server that
    /// was the primary has the last role, which it takes up by [`Cluster::rejoin`].
    pub fn number(&self, role: Role) -> usize {
        self.roles[role as usize]
    }

    /// The URLs of the servers, by their numbers.
    pub fn urls(&self) -> Vec<String> {
        let url = |server: &Server| server.url("postgres");
        self.servers.iter().map(url).collect()
    }

    /// All URLs, with commas between them.
    pub fn url(&self) -> String {
        self.urls().join(",")
    }

    /// Ends all processes of the primary at once, as a crash does.
    ///
    /// # Errors
    /// When the server has ended by itself.
    pub fn kill_primary(&mut self) -> io::Result<()> {
        self.servers[self.roles[0]].kill()
    }

    /// Stops the processes of a server: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When the server has ended by itself.
    pub fn pause(&mut self, number: usize) -> io::Result<()> {
        self.servers[number].pause()
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// When the server has ended by itself.
    pub fn resume(&mut self, number: usize) -> io::Result<()> {
        self.servers[number].resume()
    }

    /// Makes the synchronous standby the primary and the other standby its synchronous
    /// one. After this the cluster accepts writes again. The server that was the primary
    /// is out of the cluster until [`Cluster::rejoin`], whether it has ended or not.
    ///
    /// The other standby may have received more from the old primary than the
    /// synchronous one had. It cannot take that back, so it is made anew.
    ///
    /// # Errors
    /// When the standby does not become the primary, or the other cannot follow it.
    pub fn promote(&mut self) -> io::Result<()> {
        let [_, primary, standby] = self.roles;
        // Until the other standby has connected, commits wait: none is acknowledged that
        // only one server has.
        let set = format!("ALTER SYSTEM SET {}", synchronous(standby));
        self.servers[primary].query(&set)?;
        let promoted = self.servers[primary].query("SELECT pg_promote(wait_seconds => 25)")?;
        if promoted != "t" {
            let log = self.servers[primary].read("log");
            let what = format!("{} is not promoted:\n{log}", name(primary));
            return Err(io::Error::other(what));
        }
        self.servers[primary].query("SELECT pg_reload_conf()")?;
        self.roles.rotate_left(1);
        if !self.follow(standby).unwrap_or(false) {
            self.rebuild(standby)?;
            self.wait_for(&format!("{} sync", name(standby)))?;
        }
        Ok(())
    }

    /// Throws away the server that was the primary before [`Cluster::promote`], makes it
    /// anew as the asynchronous standby, and waits until the cluster is whole.
    ///
    /// # Errors
    /// When it cannot be made, or a standby does not connect.
    pub fn rejoin(&mut self) -> io::Result<()> {
        self.rebuild(self.roles[2])?;
        self.wait_until_whole()
    }

    /// Waits until both standbys receive what the primary writes.
    ///
    /// # Errors
    /// When they do not within half a minute.
    pub fn wait_until_whole(&self) -> io::Result<()> {
        let [_, synchronous, asynchronous] = self.roles.map(name);
        self.wait_for(&format!("{synchronous} sync, {asynchronous} async"))
    }

    /// Lets a standby follow the new primary, and returns whether it does. One that has
    /// received more than the new primary connects again and again on the old timeline.
    fn follow(&self, standby: usize) -> io::Result<bool> {
        let primary = &self.servers[self.roles[0]];
        let server = &self.servers[standby];
        let set = format!("ALTER SYSTEM SET {}", primary_conninfo(primary.folder()));
        server.query(&set)?;
        server.query("SELECT pg_reload_conf()")?;
        // The name of a WAL file begins with the timeline, in hexadecimal digits.
        let timeline = primary.query("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)")?;
        let received = "SELECT upper(lpad(to_hex(received_tli), 8, '0')) \
                        FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let deadline = Instant::now() + FOLLOW;
        while Instant::now() < deadline {
            if server.query(received)? == timeline {
                return Ok(true);
            }
            if server.read("log").contains(" forked off ") {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// Makes a server anew, as a standby of the primary.
    fn rebuild(&mut self, number: usize) -> io::Result<()> {
        let primary = self.servers[self.roles[0]].folder().to_owned();
        let server = &mut self.servers[number];
        let settings = of_server(number, &self.settings);
        server.respawn(Data::Backup(&primary), &settings)?;
        server.wait_until_ready()
    }

    /// The standbys that receive what the primary writes, as it names them.
    fn standbys(&self) -> io::Result<String> {
        self.servers[self.roles[0]].query(
            "SELECT string_agg(application_name || ' ' || sync_state, ', ' \
             ORDER BY sync_state DESC) FROM pg_stat_replication WHERE state = 'streaming'",
        )
    }

    fn wait_for(&self, wanted: &str) -> io::Result<()> {
        let deadline = Instant::now() + CONNECT;
        loop {
            let standbys = self.standbys()?;
            if standbys == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                let [primary, logs @ ..] = self.roles.map(|number| &self.servers[number]);
                let logs = logs.map(|server| server.read("log"));
                return Err(io::Error::other(format!(
                    "after {CONNECT:?} the standbys of {} are [{standbys}] and not [{wanted}]; \
                     their logs:\n{}",
                    primary.url("postgres"),
                    logs.join("\n")
                )));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What the servers call themselves and each other.
fn name(number: usize) -> String {
    format!("server{}", number + 1)
}

/// The setting of a primary that names the standby that it waits for.
fn synchronous(standby: usize) -> String {
    format!("synchronous_standby_names = {}", name(standby))
}

/// All settings of a server, the cluster's own last.
fn of_server(number: usize, settings: &[String]) -> Vec<String> {
    let name = format!("cluster_name={}", name(number));
    SETTINGS
        .map(str::to_owned)
        .into_iter()
        .chain([name])
        .chain(settings.iter().cloned())
        .collect()
}
