//! The programs that are compared.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::model::Bench;
use crate::program::{self, Program};
use crate::python;

/// A program that serves a market's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Marketsvc,
    /// The service of step 14, which commits each order by itself.
    OneByOne,
    /// axum, rusqlite on tokio's threads for blocking work, r2d2.
    AxumRusqlite,
    /// axum with one answer to everything.
    Hello,
    /// The service, asked for its name: all of its layers, and no database.
    Layers,
    /// `FastAPI` on uvicorn, and `SQLAlchemy`. Only after [`python::prepare`].
    FastApi,
}

impl Contender {
    /// The service, axum with rusqlite, and the peer in Python; where Python cannot run,
    /// `bench` says so.
    pub fn with_python(bench: &mut Bench) -> Vec<Self> {
        let mut all = vec![Self::Marketsvc, Self::AxumRusqlite];
        match python::prepare() {
            Ok(()) => all.push(Self::FastApi),
            Err(why) => bench.skipped.push(why),
        }
        all
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Marketsvc => "marketsvc",
            Self::OneByOne => "marketsvc, a commit for each order",
            Self::AxumRusqlite => "axum + rusqlite",
            Self::Hello => "axum, no database",
            Self::Layers => "marketsvc, no database",
            Self::FastApi => "FastAPI + SQLAlchemy",
        }
    }

    /// Starts it on that database, at a free port.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(self, database: &Path) -> Result<Program> {
        let mut command = match self {
            Self::Marketsvc | Self::Layers => on("marketsvc", database)?,
            Self::OneByOne => on("step14-solution", database)?,
            Self::AxumRusqlite => program::command(program::beside("bench-axum-rusqlite")?),
            Self::Hello => program::command(program::beside("bench-hello")?),
            Self::FastApi => python::uvicorn("service:app")?,
        };
        let database = std::path::absolute(database).map_err(Error::io("find the database"))?;
        command.env("DATABASE", database);
        Program::start(self.name(), command)
    }

    /// The service or `FastAPI`, on that database of PostgreSQL.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_on_postgres(self, url: &str) -> Result<Program> {
        let command = match self {
            Self::FastApi => {
                let mut command = python::uvicorn("service:app")?;
                let url = url.replacen("postgresql", "postgresql+asyncpg", 1);
                command.env("DATABASE_URL", url);
                command
            }
            _ => at("marketsvc", url)?,
        };
        Program::start(self.name(), command)
    }
}

/// One of the market's programs on that database; a service listens at a free port.
///
/// # Errors
///
/// When it is not built.
pub fn on(name: &str, database: &Path) -> Result<Command> {
    // What ends a path in a URL.
    let path = database.to_string_lossy();
    let path = path.replace('%', "%25").replace('?', "%3F");
    at(name, &format!("sqlite://{path}"))
}

/// As [`on`], for the database with that URL.
///
/// # Errors
///
/// When it is not built.
pub fn at(name: &str, url: &str) -> Result<Command> {
    let mut command = program::command(program::beside(name)?);
    command
        .env("DATABASE_URL", url)
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        // No peer writes a line for each request, so nor does the service.
        .env("RUST_LOG", "warn");
    Ok(command)
}
