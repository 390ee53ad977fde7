//! A PostgreSQL server to measure on, made from the installed programs with the
//! settings that the installation gives a new one, and removed afterwards. It listens
//! at a socket in its own folder and nowhere else, so it needs no port and no password.

use std::env;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, Connection};
use sqlx_postgres::PgConnectOptions;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::program::{self, Folder};
use crate::undo::Undo;

/// What to do where there is none.
pub const INSTALL: &str = "no PostgreSQL: install it (apt install postgresql, dnf install \
                           postgresql-server, brew install postgresql@17)";

/// How long it has to begin.
const START: Duration = Duration::from_mins(1);

/// A server that ends when this is dropped, and on Ctrl-C.
pub struct Server {
    // In this order: it ends, then its folder goes.
    _undo: Undo,
    folder: Folder,
}

impl Server {
    /// `None` where PostgreSQL is not installed.
    ///
    /// # Errors
    ///
    /// When the server cannot be made or started.
    pub fn start(runtime: &Runtime) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let folder = Folder::new()?;
        let account = account()?;
        if let Some((user, group)) = account {
            chown(folder.path(), Some(user), Some(group))
                .map_err(Error::io("give the server its folder"))?;
        }
        let command = |name: &str| {
            let mut command = program::command(programs.join(name));
            command.current_dir(folder.path()).env("LC_ALL", "C");
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
        };
        let init = "--auth=trust --encoding=UTF8 --locale=C --username=bench --pgdata=data";
        program::output(command("initdb").args(init.split(' ')))?;
        let log = folder.path().join("log");
        let ((), undo) = Undo::new(|| {
            let file = fs::File::create(&log).map_err(Error::io("make a file"))?;
            let copy = file.try_clone().map_err(Error::io("share a file"))?;
            let mut child = command("postgres")
                .args(["-D", "data", "-c", "listen_addresses=", "-k"])
                .arg(folder.path())
                .process_group(0)
                .stdout(copy)
                .stderr(file)
                .spawn()
                .map_err(Error::io("start postgres"))?;
            // Its files are thrown away, so it need not put them in order.
            Ok(((), Box::new(move || program::stop(&mut child, "QUIT"))))
        })?;
        let server = Self {
            _undo: undo,
            folder,
        };
        let deadline = Instant::now() + START;
        while let Err(error) = runtime.block_on(server.options().connect()) {
            if Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::Environment(format!("postgres: {error}\n{log}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }

    pub fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .username("bench")
            .database("postgres")
    }

    /// `SCHEME://…` for other programs.
    pub fn url(&self, scheme: &str) -> String {
        let folder = self.folder.path().display();
        format!("{scheme}://bench@/postgres?host={folder}")
    }

    /// Its version, and the settings that matter for durability.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub async fn facts(&self) -> sqlx::Result<String> {
        let mut connection = self.options().connect().await?;
        let facts = sqlx::query_scalar(
            "SELECT 'PostgreSQL ' || current_setting('server_version') || ': ' \
             || string_agg(name || ' ' || current_setting(name), ', ' ORDER BY name) \
             FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')",
        );
        let facts = facts.fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(facts)
    }
}

/// The user and the group that the server runs as: it refuses to run as root. `None`:
/// ourselves, as we are not root.
fn account() -> Result<Option<(u32, u32)>> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = program::output(Command::new("id").args(arguments)).ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    let accounts = ["postgres", "nobody"];
    let found = accounts
        .into_iter()
        .find_map(|name| id(&["-u", name]).zip(id(&["-g", name])));
    let none = "PostgreSQL does not run as root, and there is no user postgres or nobody";
    found
        .map(Some)
        .ok_or_else(|| Error::Environment(none.to_owned()))
}

/// The folder with the server's programs: that of the `initdb` on the `PATH`, or that
/// of the newest version where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let folder = entry.ok()?;
            let version = folder.file_name().to_string_lossy().parse().ok()?;
            Some((version, folder.path().join("bin")))
        })
        .collect();
    versions.sort();
    let debian = versions.into_iter().rev().map(|(_, folder)| folder);
    // A program on the PATH is often a link to where the others are.
    let links = env::split_paths(&path).filter_map(|folder| {
        let program = fs::canonicalize(folder.join("initdb")).ok()?;
        Some(program.parent()?.to_owned())
    });
    let mut folders = links.chain(debian);
    folders.find(|folder| has(folder, "initdb") && has(folder, "postgres"))
}

fn has(folder: &Path, program: &str) -> bool {
    folder.join(program).is_file()
}
