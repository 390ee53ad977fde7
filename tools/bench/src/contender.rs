//! Who is compared.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use crate::error::Result;
use crate::program::{self, Program, Ready};
use crate::python::{self, Customers, Form};

/// A program that serves a market's database.
#[derive(Clone)]
pub struct Contender {
    pub name: String,
    pub language: Language,
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
pub const AXUM_RUSQLITE: &str = "axum + rusqlite";
pub const HELLO: &str = "axum, no database";

impl Contender {
    pub fn marketsvc() -> Self {
        Self {
            name: MARKETSVC.to_owned(),
            language: Language::Rust,
            command: Rc::new(program::marketsvc),
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
            command: Rc::new(move |database| python::service(form, workers, customers, database)),
        }
    }

    /// Starts it on that database.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(&self, database: &Path) -> Result<Program> {
        Program::start(&self.name, (self.command)(database)?, Ready::Line)
    }
}
