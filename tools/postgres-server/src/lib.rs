//! Private PostgreSQL servers: made from the installed programs, with the settings that
//! the installation gives a new one, and removed afterwards. [`Server`] is a single one,
//! [`Cluster`] a primary with two standbys.
//!
//! A server listens at a socket in its own folder and nowhere else, so it needs no
//! port and no password. A shell stands between the program and the server. It reads
//! from a pipe that the program holds open: when the program ends, in whatever way, the
//! shell ends the server and removes its folder.
#![cfg(unix)]

mod cluster;
mod programs;
mod server;
mod template;

use std::env;
use std::io;

pub use cluster::{Cluster, Role};
pub use programs::programs;
pub use server::Server;

/// What to do where PostgreSQL is not installed.
pub const INSTALL: &str = "no PostgreSQL: install it (apt install postgresql, dnf install \
                           postgresql-server, brew install postgresql@17)";

/// A database to work on.
pub struct Postgres {
    url: String,
    // Lives as long as the database is used.
    _server: Option<Server>,
}

impl Postgres {
    /// The database that `DATABASE_URL` names, if that is one of PostgreSQL; otherwise
    /// that of a new server. `None` where PostgreSQL is not installed.
    ///
    /// # Errors
    /// When a server cannot be made or started.
    pub fn find() -> io::Result<Option<Self>> {
        if let Ok(url) = env::var("DATABASE_URL")
            && (url.starts_with("postgres://") || url.starts_with("postgresql://"))
        {
            return Ok(Some(Self { url, _server: None }));
        }
        let server = Server::start(&[])?;
        Ok(server.map(|server| Self {
            url: server.url("postgres"),
            _server: Some(server),
        }))
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}
