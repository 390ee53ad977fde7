//! `new`: makes an application, modules for it, and fields for its modules.
//!
//! [`names`] and [`fields`] read the command line. [`render`] makes texts from the
//! templates in `tools/coach/templates`, and [`lines`] inserts into files that exist.
//! [`plan`] writes all of it or nothing. Everything that an application needs to be
//! added to is in its own folder; the coach remembers nothing.

mod app;
mod fields;
mod lines;
mod module;
mod names;
mod plan;
mod render;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::cargo::{cargo, no_cargo};
use crate::project::Project;
use crate::trouble::Trouble;

#[derive(Subcommand)]
pub enum Request {
    /// Make an application: a service with settings, database, tests and a page for its API
    #[command(
        after_help = "Examples:\n  ./run.sh new app ../shop                 on SQLite, in the folder ../shop\n  ./run.sh new app ~/shop --db postgres\n  ./run.sh new app ../shop --dry-run       only show what would be written\n\nThe folder may be anywhere outside this project. It must not exist, or be empty."
    )]
    App {
        /// Its folder, whose name becomes that of the application
        #[arg(value_name = "FOLDER")]
        path: PathBuf,
        /// The database that it is written for
        #[arg(long = "db", default_value = "sqlite")]
        database: Database,
        /// Show what would be written as a patch, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Add a module to an application: a table, and the endpoints that list, create, change and remove its rows
    #[command(
        after_help = "Examples:\n  ./run.sh new module author --field name:text:unique\n  ./run.sh new module book --field book_name:text:unique --field author:ref=author \\\n      --field price:money --field description:text:null:max=2000\n\nRun it in the folder of the application, or say where that is with --app.\n\nA field is NAME:KIND with modifiers behind it, and a colon before each:\n  text         at most 200 characters, or max=N\n  int, float   a number, within min=N and max=N if given\n  money        a number with at most two decimals, stored in cents\n  bool\n  date         YYYY-MM-DD\n  time         YYYY-MM-DD HH:MM:SS, in UTC\n  ref=MODULE   the id of a row of another module\n  :unique      no two rows have the same value\n  :null        the value may be missing"
    )]
    Module {
        /// In any case, singular or plural: order-item, `OrderItem`
        name: String,
        /// A field, several times; see below
        #[arg(long = "field", value_name = "NAME:KIND")]
        fields: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Add a field to a module
    #[command(
        after_help = "Examples:\n  ./run.sh new field book isbn:text:null\n  ./run.sh new field book pages:int:null:min=1 --dry-run\n\nA migration adds the column. Rows that are there get null, or a value that the\ncommand prints. `./run.sh help new module` lists the kinds of fields."
    )]
    Field {
        /// The module that gets it
        module: String,
        /// NAME:KIND, with modifiers behind it
        #[arg(value_name = "NAME:KIND")]
        field: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
pub struct Common {
    /// The application's folder; without it, the current folder or one above it
    #[arg(long, value_name = "FOLDER")]
    app: Option<PathBuf>,
    /// Show the changes as a patch, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Database {
    Sqlite,
    Postgres,
    Mysql,
}

impl Database {
    fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL or MariaDB",
        }
    }
}

/// The names of an application, as the templates see them.
#[derive(Debug, Serialize)]
struct App {
    /// The package: `my-shop`.
    name: String,
    /// The crate: `my_shop`.
    ident: String,
    /// `My Shop`.
    title: String,
}

impl App {
    fn new(package: &str) -> Self {
        Self {
            name: package.to_owned(),
            ident: package.replace('-', "_"),
            title: names::title(package),
        }
    }
}

pub fn new(project: &Project, request: Request) -> Result<(), Trouble> {
    match request {
        Request::App {
            path,
            database,
            dry_run,
        } => app::app(project, &path, database, dry_run),
        Request::Module {
            name,
            fields,
            common,
        } => module::module(project, &name, &fields, &common),
        Request::Field {
            module,
            field,
            common,
        } => module::field(project, &module, &field, &common),
    }
}

/// What `cargo metadata` says of the packages of a workspace.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    rust_version: Option<String>,
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    rename: Option<String>,
    source: Option<String>,
}

/// Asks cargo about the workspace of this manifest. Cargo reads manifests alone for it.
fn metadata(project: &Project, manifest: &Path) -> Result<Metadata, Trouble> {
    let output = cargo(project)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .arg("--manifest-path")
        .arg(manifest)
        .output()
        .map_err(no_cargo)?;
    if !output.status.success() {
        return Err(Trouble::environment(format!(
            "cargo cannot read {}: {}",
            manifest.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        )));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Trouble::environment(format!("cargo metadata: {error}")))
}
