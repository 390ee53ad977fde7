//! A PostgreSQL server to measure on: the one of `DATABASE_URL`, or a private one
//! that is made from the installed programs and removed afterwards.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection};
use sqlx_postgres::{PgConnectOptions, PgConnection};

use crate::error::{Error, Result};
use crate::interrupt::{self, Registration};
use crate::program;
use crate::settings::Settings;

/// What to do where there is none.
pub const INSTALL: &str = "no PostgreSQL: install it (apt install postgresql, dnf install \
                           postgresql-server postgresql-contrib, brew install postgresql@17) \
                           or set DATABASE_URL=postgres://USER:PASSWORD@HOST/DATABASE";

/// The name of our user and of our database in a private cluster.
const NAME: &str = "bench";

/// A server, and in it a schema of ours; dropping this leaves nothing behind.
pub struct Server {
    /// `USER:PASSWORD@HOST:PORT/DATABASE`, without the scheme.
    address: String,
    schema: String,
    programs: Option<PathBuf>,
    // Each undoes itself: the schema on a server that stays, the server otherwise.
    _schema: Option<OnDrop>,
    _cluster: Option<OnDrop>,
}

impl Server {
    /// The server of `DATABASE_URL` if that names one, else a private one;
    /// `None` where PostgreSQL is not installed.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, made or started.
    pub fn start(settings: &Settings) -> Result<Option<Self>> {
        let programs = programs();
        let given = env::var("DATABASE_URL").ok();
        let given = given.as_deref().and_then(without_scheme);
        let schema = format!("bench_{}", std::process::id());
        let create = format!("CREATE SCHEMA {schema}");
        let (address, cluster, dropped) = if let Some(address) = given {
            let options = options(address)?;
            let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
            let undo = {
                let options = options.clone();
                move || {
                    // On Ctrl-C others still use the tables, and the server may end
                    // the one or the other when they wait for each other.
                    let mut dropped = execute(&options, drop.clone());
                    for _ in 0..4 {
                        if dropped.is_ok() {
                            break;
                        }
                        dropped = execute(&options, drop.clone());
                    }
                    if let Err(error) = dropped {
                        eprintln!("bench: cannot drop the schema: {error}");
                    }
                }
            };
            let ((), dropped) = OnDrop::new(|| execute(&options, create), undo)?;
            (address.to_owned(), None, Some(dropped))
        } else if let Some(programs) = &programs {
            let (address, cluster) = cluster(settings, programs)?;
            execute(&options(&address)?, create)?;
            (address, Some(cluster), None)
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            address,
            schema,
            programs,
            _schema: dropped,
            _cluster: cluster,
        }))
    }

    /// How to connect, with our schema as the first of the search path.
    ///
    /// # Errors
    ///
    /// When `DATABASE_URL` is malformed.
    pub fn options(&self) -> Result<PgConnectOptions> {
        Ok(options(&self.address)?.options([("search_path", self.schema.as_str())]))
    }

    /// `SCHEME://…` for other programs, with the password: not for a command
    /// line, which everybody on the machine can read.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }

    /// `postgresql://…` for a command line, and the password, if there is one,
    /// for the environment: `PGPASSWORD`.
    pub fn url_and_password(&self) -> (String, Option<OsString>) {
        let (address, password) = without_password(&self.address);
        (format!("postgresql://{address}"), password)
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A program of PostgreSQL's, in its own folder or on the `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.programs
            .iter()
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
            .or_else(|| on_path(name))
    }

    /// What was found out about the server: version, settings that matter for
    /// durability, and how many connections it allows us.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    pub fn facts(&self) -> Result<Facts> {
        let options = self.options()?;
        wait_for(async move {
            let mut connection = options.connect().await?;
            let (version, most, reserved, others): (String, i32, i32, i64) = sqlx::query_as(
                "SELECT current_setting('server_version'), \
                 current_setting('max_connections')::integer, \
                 current_setting('superuser_reserved_connections')::integer, \
                 (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')",
            )
            .fetch_one(&mut connection)
            .await?;
            let settings: Vec<(String, String)> = sqlx::query_as(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name IN \
                 ('fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers') \
                 ORDER BY name",
            )
            .fetch_all(&mut connection)
            .await?;
            connection.close().await?;
            // Our own connection is among the others; some stay free for whoever
            // looks at the server meanwhile.
            let free = i64::from(most - reserved) - others - 5;
            let settings: Vec<_> = settings
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            Ok(Facts {
                version,
                settings: settings.join(", "),
                connections: u32::try_from(free).unwrap_or(0).min(100),
            })
        })
    }
}

/// Of [`Server::facts`].
#[derive(Debug)]
pub struct Facts {
    /// `15.18`.
    pub version: String,
    /// `fsync on, …`.
    pub settings: String,
    /// How many connections one contender may hold: 100, or fewer where the
    /// server's limit, less what is reserved and taken, is lower.
    pub connections: u32,
}

/// What follows the scheme, if it is PostgreSQL's; parameters are left out,
/// since each client library has its own.
fn without_scheme(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))?;
    Some(rest.split('?').next().unwrap_or(rest))
}

/// `USER:PASSWORD@HOST…` in two: `USER@HOST…`, and the password as it is.
fn without_password(address: &str) -> (String, Option<OsString>) {
    // What comes after the first slash is a name, and may hold anything.
    let end = address.find('/').unwrap_or(address.len());
    let split = address[..end].rfind('@').and_then(|at| {
        let colon = address[..at].find(':')?;
        Some((colon, at))
    });
    match split {
        Some((colon, at)) => {
            let address_without = format!("{}{}", &address[..colon], &address[at..]);
            let password = percent_decoded(&address[colon + 1..at]);
            (address_without, Some(OsString::from_vec(password)))
        }
        None => (address.to_owned(), None),
    }
}

/// `%40` is one byte; what is no such triple stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let digits = (first == b'%')
            .then(|| others.split_at_checked(2))
            .flatten();
        let byte = digits.and_then(|(digits, after)| {
            let digit = |place: usize| char::from(digits[place]).to_digit(16);
            let byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
            Some((byte, after))
        });
        let (byte, after) = byte.unwrap_or((first, others));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

fn options(address: &str) -> Result<PgConnectOptions> {
    PgConnectOptions::from_str(&format!("postgres://{address}"))
        .map_err(|cause| Error::Environment(format!("DATABASE_URL: {cause}")))
}

/// Waits for something asynchronous; not to be called from a runtime.
fn wait_for<T>(job: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("make a runtime"))?
        .block_on(job)
        .map_err(Error::from)
}

/// Has the server execute a statement made of a name of ours.
fn execute(options: &PgConnectOptions, sql: String) -> Result<()> {
    let options = options.clone();
    wait_for(async move {
        let mut connection: PgConnection = options.connect().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        connection.close().await
    })
}

/// Undoes something when it is dropped, and on Ctrl-C.
struct OnDrop {
    // First, so that nothing that `undo` holds is dropped while a signal has its
    // turn.
    _registration: Registration,
    undo: Arc<dyn Fn() + Send + Sync>,
}

impl OnDrop {
    /// What `make` has made is undone; no signal ends the program between the two,
    /// nor while `make` runs, which must not start anything that is registered.
    ///
    /// # Errors
    ///
    /// Those of `make`; then nothing is undone.
    fn new<T>(
        make: impl FnOnce() -> Result<T>,
        undo: impl Fn() + Send + Sync + 'static,
    ) -> Result<(T, Self)> {
        let undo: Arc<dyn Fn() + Send + Sync> = Arc::new(undo);
        let at_interrupt = undo.clone();
        let (thing, registration) =
            interrupt::tracked(|| Ok((make()?, Box::new(move || at_interrupt()))))?;
        let this = Self {
            undo,
            _registration: registration,
        };
        Ok((thing, this))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.undo)();
    }
}

/// Makes and starts a server of our own, on a free port of the loopback
/// interface, with the settings that the installation gives a new one. Returns
/// its address and what stops it and removes its files.
fn cluster(settings: &Settings, programs: &Path) -> Result<(String, OnDrop)> {
    let folder = settings.folder()?;
    let account = Account::of_server()?;
    let data = folder.path().join("data");
    let password = password()?;
    let password_file = folder.path().join("password");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&password_file)
        .and_then(|mut file| file.write_all(password.as_bytes()))
        .map_err(Error::io("write a password"))?;
    if let Some(account) = &account {
        for path in [folder.path(), &password_file] {
            chown(path, Some(account.user), Some(account.group))
                .map_err(Error::io("give the server its folder"))?;
        }
    }
    let arguments: [&OsStr; 9] = [
        "--auth=scram-sha-256".as_ref(),
        "--encoding=UTF8".as_ref(),
        "--locale=C".as_ref(),
        "--username".as_ref(),
        NAME.as_ref(),
        "--pwfile".as_ref(),
        password_file.as_ref(),
        "--pgdata".as_ref(),
        data.as_ref(),
    ];
    let initdb = programs.join("initdb");
    let mut command = command_as(account.as_ref(), &initdb, folder.path(), &arguments);
    run(&initdb, &mut command, |command| {
        // Nothing that it has made is needed, so it gets no time to tidy up.
        let (mut child, _registration) = program::spawn("initdb", command, "KILL")?;
        child.wait().map_err(Error::io("wait for initdb"))
    })?;

    let pg_ctl = programs.join("pg_ctl");
    let log = folder.path().join("log");
    let call = {
        let data = data.clone();
        // The folder lives as long as this closure.
        move |arguments: &[&OsStr]| {
            let mut all = arguments.to_vec();
            all.extend::<[&OsStr; 3]>(["--silent".as_ref(), "--pgdata".as_ref(), data.as_ref()]);
            let mut command = command_as(account.as_ref(), &pg_ctl, folder.path(), &all);
            run(&pg_ctl, &mut command, |command| {
                command.status().map_err(Error::io("start pg_ctl"))
            })
        }
    };
    let call = Arc::new(call);
    let start = {
        let (call, data) = (call.clone(), data.clone());
        move || {
            // Somebody may take the port before the server does.
            let mut tries = 3;
            loop {
                let port = free_port()?;
                write_settings(&data, port)?;
                tries -= 1;
                match call(&[
                    "start".as_ref(),
                    "--wait".as_ref(),
                    "--log".as_ref(),
                    log.as_ref(),
                ]) {
                    Ok(()) => return Ok(port),
                    Err(error) if tries == 0 => {
                        // It may only have been slow.
                        let _ = call(&["stop".as_ref(), "--mode=immediate".as_ref()]);
                        let log = fs::read_to_string(&log).unwrap_or_default();
                        return Err(Error::Environment(format!("{error}\n{}", log.trim_end())));
                    }
                    Err(_) => {}
                }
            }
        }
    };
    // Its files are thrown away, so it need not put them in order.
    let stop = move || {
        if data.join("postmaster.pid").exists()
            && let Err(error) = call(&["stop".as_ref(), "--mode=immediate".as_ref()])
        {
            eprintln!("bench: cannot stop PostgreSQL: {error}");
        }
    };
    let (port, stop) = OnDrop::new(start, stop)?;
    let address = format!("{NAME}:{password}@127.0.0.1:{port}/postgres");
    Ok((address, stop))
}

/// What differs from the installation's settings: where it listens.
fn write_settings(data: &Path, port: u16) -> Result<()> {
    let text =
        format!("listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n");
    OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io("write the server's settings"))
}

fn free_port() -> Result<u16> {
    let find = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    Ok(find().map_err(Error::io("find a free port"))?.port())
}

/// 32 hexadecimal digits that nobody can guess.
fn password() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(Error::io("read /dev/urandom"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Whom the server runs as: it refuses to run as root.
#[derive(Debug)]
struct Account {
    name: &'static str,
    user: u32,
    group: u32,
}

impl Account {
    /// `None`: ourselves, as we are not root.
    fn of_server() -> Result<Option<Self>> {
        let id = |arguments: &[&str]| -> Option<u32> {
            let output = Command::new("id").args(arguments).output().ok()?;
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        };
        if id(&["-u"]) != Some(0) {
            return Ok(None);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| {
                Some(Self {
                    name,
                    user: id(&["-u", name])?,
                    group: id(&["-g", name])?,
                })
            })
            .map(Some)
            .ok_or_else(|| {
                Error::Environment(
                    "PostgreSQL does not run as root, and there is no user postgres or nobody"
                        .to_owned(),
                )
            })
    }

    /// The program as this account, by whatever this system has for that.
    fn command(&self, program: &Path) -> Command {
        let mut command;
        if on_path("setpriv").is_some() {
            command = Command::new("setpriv");
            command
                .args(["--reuid", &self.user.to_string()])
                .args(["--regid", &self.group.to_string()])
                .args(["--clear-groups", "--"])
                .arg(program);
        } else if on_path("runuser").is_some() {
            command = Command::new("runuser");
            command.args(["-u", self.name, "--"]).arg(program);
        } else {
            command = Command::new("su");
            command
                .args(["-s", "/bin/sh", self.name, "-c", "exec \"$0\" \"$@\""])
                .arg(program);
        }
        command
    }
}

/// A program of PostgreSQL's, run by `account`, with an environment that is the same
/// everywhere.
fn command_as(
    account: Option<&Account>,
    program: &Path,
    folder: &Path,
    arguments: &[&OsStr],
) -> Command {
    let mut command = match account {
        Some(account) => account.command(program),
        None => Command::new(program),
    };
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        // Ctrl-C is for us, who then stop it.
        .process_group(0)
        .stdin(Stdio::null());
    command
}

/// Has `wait` run the command to its end.
///
/// # Errors
///
/// When the program fails, with what it said.
fn run(
    program: &Path,
    command: &mut Command,
    wait: impl FnOnce(&mut Command) -> Result<ExitStatus>,
) -> Result<()> {
    // What it says goes to a file: a pipe would stay open as long as the server.
    let mut said = tempfile::tempfile().map_err(Error::io("make a temporary file"))?;
    let copy = || {
        said.try_clone()
            .map_err(Error::io("share a temporary file"))
    };
    command.stdout(copy()?).stderr(copy()?);
    if wait(command)?.success() {
        return Ok(());
    }
    let mut text = String::new();
    let _ = said
        .seek(SeekFrom::Start(0))
        .and_then(|_| said.read_to_string(&mut text));
    Err(Error::Environment(format!(
        "{} has failed: {}",
        program.display(),
        text.trim()
    )))
}

/// The folder with the server's programs, where an installation puts them.
fn programs() -> Option<PathBuf> {
    let on_path = on_path("initdb")
        // Often a link to where the others are.
        .and_then(|program| fs::canonicalize(program).ok())
        .and_then(|program| Some(program.parent()?.to_owned()));
    let told = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let usual = [
        "/usr/lib/postgresql",
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/usr",
    ];
    let usual = usual.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let name = name.to_str()?;
                let version = name.trim_start_matches(|c: char| !c.is_ascii_digit());
                let named = ["", "pgsql-", "postgresql@"].contains(&name.strip_suffix(version)?);
                named.then(|| (version.parse().unwrap_or(0), entry.path().join("bin")))
            })
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, folder)| folder)
    });
    on_path.into_iter().chain(told).chain(usual).find(|folder| {
        let needed = ["initdb", "pg_ctl", "postgres"];
        needed.iter().all(|name| folder.join(name).is_file())
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            quick: true,
            rounds: 1,
            dir: None,
        }
    }

    #[test]
    fn only_addresses_of_postgres_are_taken() {
        let address = "me:secret@db.example:5432/shop";
        for scheme in ["postgres", "postgresql"] {
            let url = format!("{scheme}://{address}?sslmode=disable");
            assert_eq!(without_scheme(&url), Some(address));
        }
        assert_eq!(without_scheme("sqlite://marketdb.sqlite"), None);
    }

    #[test]
    fn a_password_is_taken_out_of_an_address() {
        for (address, without, password) in [
            ("me:secret@db:5432/shop", "me@db:5432/shop", Some("secret")),
            ("me:a%40b%2f%zz:c@d@db/x", "me@db/x", Some("a@b/%zz:c@d")),
            ("me:100%@db/x:y@z", "me@db/x:y@z", Some("100%")),
            ("me@db:5432/shop", "me@db:5432/shop", None),
            ("db:5432/a:b@c", "db:5432/a:b@c", None),
        ] {
            let found = without_password(address);
            let expected = (without.to_owned(), password.map(OsString::from));
            assert_eq!(found, expected, "{address}");
        }
    }

    #[test]
    fn a_private_server_is_durable_and_leaves_nothing() {
        let Some(programs) = programs() else {
            assert!(env::var_os("CI").is_none(), "{INSTALL}");
            eprintln!("not run: {INSTALL}");
            return;
        };
        let settings = settings();
        let (address, cluster) = cluster(&settings, &programs).unwrap();
        let options = options(&address).unwrap();
        let (data, fsync): (String, String) = wait_for({
            let options = options.clone();
            async move {
                let mut connection: PgConnection = options.connect().await?;
                sqlx::query_as("SELECT current_setting('data_directory'), current_setting('fsync')")
                    .fetch_one(&mut connection)
                    .await
            }
        })
        .unwrap();
        assert_eq!(fsync, "on");
        let data = PathBuf::from(data);
        assert!(data.join("postmaster.pid").exists());
        drop(cluster);
        assert!(!data.exists());
        assert!(wait_for(options.connect()).is_err());
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let Some(programs) = programs() else {
            return;
        };
        let (address, _cluster) = cluster(&settings(), &programs).unwrap();
        let (_, rest) = address.split_once('@').unwrap();
        let options = options(&format!("{NAME}:wrong@{rest}")).unwrap();
        let error = wait_for(options.connect()).unwrap_err().to_string();
        assert!(error.contains("password"), "{error}");
    }
}
