//! One server: its folder, its processes, and the shell that removes both.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::programs::{account, folder, in_folder, output, programs};
use crate::template::template;

/// How long the server has to begin.
const START: Duration = Duration::from_mins(1);

/// How long a statement may take.
const ANSWER: Duration = Duration::from_secs(30);

/// How the data of a server is made in its folder.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    /// New, as `initdb` makes it.
    New,
    /// New data, too, of a standby of the primary with this folder. All new data is the
    /// same, so a standby can be made before its primary has started.
    Standby(&'a Path),
    /// A copy of what the primary with this folder has now, for a standby of it.
    Backup(&'a Path),
}

impl Data<'_> {
    /// The command, which reads the [template].
    fn command(self) -> &'static str {
        match self {
            Self::New => "tar -xf -",
            Self::Standby(_) => "tar -xf - && touch data/standby.signal",
            Self::Backup(_) => {
                "pg_basebackup --pgdata=data --write-recovery-conf --wal-method=stream \
                 --checkpoint=fast --no-sync"
            }
        }
    }
}

/// `$0` is the server's folder, `$1` the command that makes its data there; the others
/// are settings. The command reads what this shell has as its output. The server's files
/// are thrown away, so it need not put them in order (QUIT). It cannot react to QUIT in
/// its first moments and while it is stopped. One that was killed has left its piece of
/// shared memory.
const SHELL: &str = r#"
trap '' INT HUP
exec 3<&1 >log 2>&1
folder=$0 make=$1
shift
if eval "$make" <&3; then
    exec 3<&-
    printf '%s\n' "$@" >>data/postgresql.conf
    postgres -D data -k "$folder" -c listen_addresses= </dev/null &
    read -r _
    while kill -QUIT $!; do
        kill -CONT $!
        sleep 0.02
    done
    if [ -f data/postmaster.pid ]; then
        set -- $(sed -n 7p data/postmaster.pid)
        ipcrm -m "$2"
    fi
else
    echo 'FATAL: the data cannot be made'
    read -r _
fi
cd / && rm -rf "$folder""#;

/// A server that ends with this value or with the program.
pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    shell: Child,
    paused: bool,
}

impl Server {
    /// Makes and starts a server. `None` where PostgreSQL is not installed. The settings,
    /// such as `max_connections=200`, are lines of its `postgresql.conf`: those that differ
    /// from the installation's. With `fsync=off` the server does not wait for a disk, and
    /// then its data is in memory where there is room for it.
    ///
    /// # Errors
    /// When the server cannot be made or started.
    pub fn start(settings: &[&str]) -> io::Result<Option<Self>> {
        let Some(programs) = programs(&["initdb", "postgres"]) else {
            return Ok(None);
        };
        let server = Self::spawn(&programs, Data::New, settings)?;
        server.wait_until_ready()?;
        Ok(Some(server))
    }

    /// Begins to make a server.
    pub(crate) fn spawn(
        programs: &Path,
        data: Data<'_>,
        settings: &[impl AsRef<str>],
    ) -> io::Result<Self> {
        let thrown_away = settings.iter().any(|it| it.as_ref() == "fsync=off");
        let folder = folder(thrown_away)?;
        Ok(Self {
            shell: spawn_shell(programs, folder.path(), data, settings)?,
            programs: programs.to_owned(),
            folder,
            paused: false,
        })
    }

    /// Removes the server and begins to make a new one in the same folder, so that it
    /// has the same URL.
    pub(crate) fn respawn(
        &mut self,
        data: Data<'_>,
        settings: &[impl AsRef<str>],
    ) -> io::Result<()> {
        self.end();
        fs::DirBuilder::new().mode(0o700).create(self.folder())?;
        self.shell = spawn_shell(&self.programs, self.folder(), data, settings)?;
        Ok(())
    }

    /// Waits until the server accepts connections.
    pub(crate) fn wait_until_ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            // While the server starts, its log says FATAL about each client that it turns
            // away. Without the second file it has ended.
            let log = self.read("log");
            let state = self.read("data/postmaster.pid");
            // The server writes its state into the last line of this file, for `pg_ctl`.
            if state.contains("\nready") {
                return Ok(());
            }
            if Instant::now() > deadline || (state.is_empty() && log.contains("FATAL")) {
                return Err(io::Error::other(format!("postgres does not start:\n{log}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// `SCHEME://…`, for sqlx with `postgres`.
    pub fn url(&self, scheme: &str) -> String {
        url(scheme, self.folder())
    }

    /// The process id of the server's first process, the parent of all others.
    ///
    /// # Errors
    /// When the server has ended by itself.
    pub fn pid(&self) -> io::Result<i32> {
        let state = self.read("data/postmaster.pid");
        let pid = state.lines().next().and_then(|line| line.parse().ok());
        pid.ok_or_else(|| io::Error::other(format!("postgres has ended:\n{}", self.read("log"))))
    }

    /// The rows that `psql` shows for a statement, one a line, with `|` between columns.
    ///
    /// # Errors
    /// When the statement fails or takes too long, or `psql` is not installed.
    pub fn query(&self, statement: &str) -> io::Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-XAtqc", statement, &self.url("postgres")])
            .env("PGCONNECT_TIMEOUT", "5");
        output(&mut psql, ANSWER)
    }

    /// Stops all processes of the server where they are: connections stay open and
    /// nothing answers.
    pub(crate) fn pause(&mut self) -> io::Result<()> {
        self.paused = true;
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.paused = false;
        self.signal(Signal::CONT)
    }

    /// Ends all processes of the server at once, as a crash does. The files stay.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends a signal to all processes of the server. The children lead process groups of
    /// their own, so there is no group to send it to.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let postmaster = self.pid()?;
        let send = |pid, signal| kill_process(Pid::from_raw(pid).ok_or(Errno::SRCH)?, signal);
        // From now on it starts no children.
        send(postmaster, Signal::STOP)?;
        let mut ps = Command::new("ps");
        let processes = output(ps.args(["-A", "-o", "ppid=", "-o", "pid="]), ANSWER)?;
        let child_of_postmaster = |line: &str| {
            let (parent, pid) = line.trim().split_once(' ')?;
            let is_child = parent.parse() == Ok(postmaster);
            is_child.then(|| pid.trim().parse().ok())?
        };
        for child in processes.lines().filter_map(child_of_postmaster) {
            // It may have ended by now.
            let _ = send(child, signal);
        }
        Ok(send(postmaster, signal)?)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file of the server's folder; nothing if it is not there.
    pub(crate) fn read(&self, file: &str) -> String {
        let bytes = fs::read(self.folder().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends the server, with all files.
    fn end(&mut self) {
        if self.paused {
            // Its children could not react to QUIT, and the server would wait for them.
            let _ = self.kill();
            self.paused = false;
        }
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn url(scheme: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!("{scheme}://market@localhost/postgres?host={folder}")
}

/// The setting of a standby that names its primary.
pub(crate) fn primary_conninfo(primary: &Path) -> String {
    let url = url("postgres", primary).replace('\'', "''");
    format!("primary_conninfo = '{url}'")
}

fn spawn_shell(
    programs: &Path,
    folder: &Path,
    data: Data<'_>,
    settings: &[impl AsRef<str>],
) -> io::Result<Child> {
    let account = account()?;
    let input = match data {
        Data::New | Data::Standby(_) => template(programs, account)?,
        Data::Backup(_) => File::open("/dev/null")?,
    };
    let mut shell = in_folder(programs, folder, account, "/bin/sh")?;
    shell
        .args(["-c", SHELL])
        .arg(folder)
        .arg(data.command())
        .args(settings.iter().map(AsRef::as_ref))
        // Ctrl-C is sent to all programs of the terminal's group. The shell must
        // outlive this one.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(input)
        .stderr(Stdio::null());
    match data {
        Data::New => {}
        Data::Standby(primary) => {
            shell.arg(primary_conninfo(primary));
        }
        Data::Backup(primary) => {
            shell.env("PGHOST", primary).env("PGUSER", "market");
        }
    }
    shell.spawn()
}
