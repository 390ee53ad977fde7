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
    /// The service without its batches of orders.
    OneByOne,
    /// axum, rusqlite on tokio's threads for blocking work, r2d2.
    AxumRusqlite,
    /// axum with one answer to everything.
    Hello,
    /// The same behind the layers that the service has.
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
            Self::Layers => "axum, no database, with layers",
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
            Self::Marketsvc | Self::OneByOne => marketsvc(database)?,
            Self::AxumRusqlite => program::command(program::beside("bench-axum-rusqlite")?),
            Self::Hello | Self::Layers => program::command(program::beside("bench-hello")?),
            Self::FastApi => python::uvicorn("service:app")?,
        };
        match self {
            Self::OneByOne => command.env("MARKETSVC_BATCH", "1"),
            Self::Layers => command.arg("layers"),
            _ => &mut command,
        };
        let database = std::path::absolute(database).map_err(Error::io("find the database"))?;
        command.env("DATABASE", database);
        Program::start(self.name(), command)
    }
}

/// The finished service on that database, at a free port.
///
/// # Errors
///
/// When it is not built.
pub fn marketsvc(database: &Path) -> Result<Command> {
    let mut command = program::command(program::beside("marketsvc")?);
    // What ends a path in a URL.
    let path = database.to_string_lossy();
    let path = path.replace('%', "%25").replace('?', "%3F");
    command
        .env("DATABASE_URL", format!("sqlite://{path}"))
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        // No peer turns requests away, so nor does the service: there are as many
        // permits as 256 clients need, and six for each that asks for a list.
        .env("MARKETSVC_IN_FLIGHT", "1536")
        .env("MARKETSVC_QUEUE", "256")
        // No peer writes a line for each request, so nor does the service.
        .env("RUST_LOG", "warn");
    Ok(command)
}
