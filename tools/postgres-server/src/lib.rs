//! A PostgreSQL server of a program's own: made from the installed programs, with the
//! settings that the installation gives a new one, and removed afterwards.
//!
//! The server listens at a socket in its own folder and nowhere else, so it needs no
//! port and no password. A shell stands between the program and the server. It reads
//! from a pipe that the program holds open: when the program ends, in whatever way, the
//! shell ends the server and removes its folder.
#![cfg(unix)]

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What to do where PostgreSQL is not installed.
pub const INSTALL: &str = "no PostgreSQL: install it (apt install postgresql, dnf install \
                           postgresql-server, brew install postgresql@17)";

/// How long the server has to begin.
const START: Duration = Duration::from_mins(1);

/// `$0` is the program `postgres`, `$1` the folder. The server's files are thrown away,
/// so it need not put them in order (QUIT).
const SHELL: &str = r#"
trap '' INT HUP
program=$0 folder=$1
shift
"$program" -D "$folder/data" -k "$folder" -c listen_addresses= "$@" \
    </dev/null >"$folder/log" 2>&1 &
read -r _
kill -QUIT $!
wait $!
cd / && rm -rf "$folder""#;

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

/// A server that ends with this value or with the program.
pub struct Server {
    shell: Child,
    folder: TempDir,
}

impl Server {
    /// Makes and starts a server. `None` where PostgreSQL is not installed. The settings,
    /// such as `max_connections=200`, are those that differ from the installation's.
    ///
    /// # Errors
    /// When the server cannot be made or started.
    pub fn start(settings: &[&str]) -> io::Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new()
            .prefix("market-postgres-")
            .tempdir()?;
        let account = account()?;
        if let Some((user, group)) = account {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            command.current_dir(folder.path()).env("LC_ALL", "C");
            if let Some((user, group)) = account {
                command.uid(user).gid(group);
            }
            command
        };
        // Without `--no-sync` the new files alone take longer than most programs that
        // use the server. It does not change the server's own settings.
        let init = "--auth=trust --encoding=UTF8 --locale=C --username=market --no-sync \
                    --pgdata=data";
        output(command(&programs.join("initdb")).args(init.split_whitespace()))?;
        let settings = settings.iter().flat_map(|setting| ["-c", setting]);
        let shell = command(Path::new("/bin/sh"))
            .args(["-c", SHELL])
            .arg(programs.join("postgres"))
            .arg(folder.path())
            .args(settings)
            // Ctrl-C is sent to all programs of the terminal's group. The shell must
            // outlive this one.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { shell, folder };
        let deadline = Instant::now() + START;
        let said = |file| fs::read_to_string(server.folder.path().join(file)).unwrap_or_default();
        // The server writes its state into the last line of this file, for `pg_ctl`.
        while !said("data/postmaster.pid").contains("\nready") {
            let log = said("log");
            if Instant::now() > deadline || log.contains("FATAL") {
                return Err(io::Error::other(format!("postgres does not start:\n{log}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(server))
    }

    /// `SCHEME://…`, for sqlx with `postgres`.
    pub fn url(&self, scheme: &str) -> String {
        let folder = self.folder.path().display();
        format!("{scheme}://market@localhost/postgres?host={folder}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The user and the group that the server runs as: it refuses to run as root. `None`:
/// ourselves, as we are not root.
fn account() -> io::Result<Option<(u32, u32)>> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = output(Command::new("id").args(arguments)).ok()?;
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
    found.map(Some).ok_or_else(|| io::Error::other(none))
}

fn output(command: &mut Command) -> io::Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let program = command.get_program().display();
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} failed: {said}")))
}

/// The folder with the server's programs: that of the `initdb` on the `PATH`, or that
/// of the newest version where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A program on the PATH is often a link to where the others are.
    let links = env::split_paths(&path).filter_map(|folder| {
        let program = fs::canonicalize(folder.join("initdb")).ok()?;
        Some(program.parent()?.to_owned())
    });
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|version| {
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    versions.sort();
    let debian = versions.into_iter().rev().map(|(_, folder)| folder);
    let has = |folder: &PathBuf, program: &str| folder.join(program).is_file();
    links
        .chain(debian)
        .find(|folder| has(folder, "initdb") && has(folder, "postgres"))
}
