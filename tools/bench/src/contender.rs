//! Who is compared.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use crate::error::Result;
use crate::model::Bench;
use crate::program::{self, Program};
use crate::python::{self, Customers, Form};

/// A program that serves a market's database.
#[derive(Clone)]
pub struct Contender {
    pub name: String,
    pub language: Language,
    /// Processes that share the work.
    pub workers: u32,
    /// The program on a database, at a free port.
    command: Rc<MakeCommand>,
}

type MakeCommand = dyn Fn(&Path) -> Result<Command>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
}

pub const MARKETSVC: &str = "marketsvc";
pub const ONE_BY_ONE: &str = "marketsvc, a commit for each order";
pub const AXUM_RUSQLITE: &str = "axum + rusqlite";
pub const HELLO: &str = "axum, no database";

impl Contender {
    /// Those in Rust that serve a database, and these forms and numbers of
    /// workers in Python; where that cannot run, `bench` says so.
    pub fn with_python(bench: &mut Bench, python: &[(Form, u32)]) -> Vec<Self> {
        let mut all = vec![Self::marketsvc(), Self::axum_rusqlite()];
        match python::prepare() {
            Ok(()) => all.extend(
                python
                    .iter()
                    .map(|&(form, workers)| Self::python(form, workers, Customers::Collected)),
            ),
            Err(why) => bench.skipped.push(why),
        }
        all
    }

    pub fn marketsvc() -> Self {
        Self {
            name: MARKETSVC.to_owned(),
            language: Language::Rust,
            workers: 1,
            command: Rc::new(program::marketsvc),
        }
    }

    /// The service as it would be without its queue of orders.
    pub fn marketsvc_one_by_one() -> Self {
        Self {
            name: ONE_BY_ONE.to_owned(),
            language: Language::Rust,
            workers: 1,
            command: Rc::new(|database| {
                let mut command = program::marketsvc(database)?;
                command.env("MARKETSVC_BATCH", "1");
                Ok(command)
            }),
        }
    }

    /// axum, rusqlite on tokio's threads for blocking work, r2d2.
    pub fn axum_rusqlite() -> Self {
        Self::peer(AXUM_RUSQLITE, "bench-axum-rusqlite")
    }

    /// axum with one answer to everything.
    pub fn hello() -> Self {
        Self::peer(HELLO, "bench-hello")
    }

    fn peer(name: &str, program: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            language: Language::Rust,
            workers: 1,
            command: Rc::new(move |database| {
                let mut command = program::command(&program::beside(program)?);
                command.env("DATABASE", database).env("ADDR", "127.0.0.1:0");
                Ok(command)
            }),
        }
    }

    /// `FastAPI` on uvicorn with so many workers, and `SQLAlchemy`. Only after
    /// [`python::prepare`] has said that it can run.
    pub fn python(form: Form, workers: u32, customers: Customers) -> Self {
        let name = match form {
            Form::Core => "FastAPI + SQLAlchemy Core",
            Form::Orm => "FastAPI + SQLAlchemy ORM",
        };
        let streamed = match customers {
            Customers::Collected => "",
            Customers::Streamed => ", streamed",
        };
        let many = match workers {
            1 => String::new(),
            workers => format!(", {workers} workers"),
        };
        Self {
            name: format!("{name}{streamed}{many}"),
            language: Language::Python,
            workers,
            command: Rc::new(move |database| python::service(form, workers, customers, database)),
        }
    }

    /// The same, started by another program that takes a command line as its
    /// last arguments.
    pub fn under(&self, program: &Path, arguments: Vec<OsString>) -> Self {
        let (inner, program) = (Rc::clone(&self.command), program.to_owned());
        Self {
            command: Rc::new(move |database| {
                let inner = inner(database)?;
                let mut outer = program::command(&program);
                outer
                    .args(&arguments)
                    .arg(inner.get_program())
                    .args(inner.get_args());
                for (name, value) in inner.get_envs() {
                    if let Some(value) = value {
                        outer.env(name, value);
                    }
                }
                Ok(outer)
            }),
            ..self.clone()
        }
    }

    /// Starts it on that database.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&self, database: &Path) -> Result<Program> {
        Program::start(&self.name, (self.command)(database)?)
    }
}
