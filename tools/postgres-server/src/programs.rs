//! The installed programs, and how they are run.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfs, statvfs};
use tempfile::TempDir;

/// The folder with these programs, such as `initdb` and `postgres`: that of the `initdb`
/// on the `PATH`, or that of the newest version where Debian puts them.
pub fn programs(names: &[&str]) -> Option<PathBuf> {
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
    links
        .chain(debian)
        .find(|folder| names.iter().all(|name| folder.join(name).is_file()))
}

/// The user and the group of the first account that can run the server for root.
static ACCOUNT: LazyLock<Option<(u32, u32)>> = LazyLock::new(|| {
    let id = |arguments: &[&str]| -> Option<u32> {
        let id = output(Command::new("id").args(arguments), Duration::from_secs(10));
        id.ok()?.parse().ok()
    };
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| id(&["-u", name]).zip(id(&["-g", name])))
});

/// The user and the group that the server runs as: it refuses to run as root. `None`:
/// ourselves, as we are not root.
pub(crate) fn account() -> io::Result<Option<(u32, u32)>> {
    if rustix::process::geteuid().as_raw() != 0 {
        return Ok(None);
    }
    let none = "PostgreSQL does not run as root, and there is no user postgres or nobody";
    ACCOUNT.map(Some).ok_or_else(|| io::Error::other(none))
}

/// A file system in memory, on Linux.
const MEMORY: &str = "/dev/shm";

/// What must be free there. A container often has 64 MiB.
const ROOM: u64 = 2 << 30;

/// A new folder, in memory if that is wanted and has room. A file system on a disk takes
/// longer to make the thousand files of a server, the longer the more of them were removed
/// in the last minutes: ext4 looks for an inode that has been free for a while.
pub(crate) fn folder(in_memory: bool) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("market-postgres-");
    let has_room = |free: StatVfs| free.f_bavail * free.f_frsize >= ROOM;
    if in_memory
        && statvfs(MEMORY).is_ok_and(has_room)
        && let Ok(folder) = builder.tempdir_in(MEMORY)
    {
        return Ok(folder);
    }
    builder.tempdir()
}

/// A program that works in this folder, which is given to the account.
pub(crate) fn in_folder(
    programs: &Path,
    folder: &Path,
    account: Option<(u32, u32)>,
    program: &str,
) -> io::Result<Command> {
    let mut path = OsString::from(programs);
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("PATH", path)
        .env("LC_ALL", "C");
    if let Some((user, group)) = account {
        chown(folder, Some(user), Some(group))?;
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// What a program prints that does not print much.
pub(crate) fn output(command: &mut Command, limit: Duration) -> io::Result<String> {
    let program = command.get_program().display().to_string();
    let failed = |what: &dyn std::fmt::Display| io::Error::other(format!("{program}: {what}"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    let deadline = Instant::now() + limit;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(failed(&format_args!("no answer within {limit:?}")));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr).trim()))
}
