//! `doctor`: what this machine lacks for the project, and what to do about it.
//!
//! A check that needs something to be wrong in order to be tried takes what it
//! judges as an argument (the time, the mount table, the output of `df`); the
//! others are tried with programs and folders that are wrong.

use std::fmt::Write as _;
use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, fs, process};

use percent_encoding::percent_decode_str;

use crate::cargo::{ENV_FILE_ADVICE, cargo};
use crate::machine::{self, existing, human, writable};
use crate::project::Project;
use crate::screen;

/// Where `marketsvc` listens unless it is told otherwise.
const ADDRESS: &str = "127.0.0.1:9090";
/// What all steps take, built and checked (about 1.2 GB), with some room.
const FIRST_BUILD: u64 = 2_000_000_000;
/// What is needed to go on after the first build.
const LATER_BUILDS: u64 = 500_000_000;
/// File systems and clocks are not more exact than this.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    /// Something will be slower, or one part of the project will not work.
    Warning,
    /// The project does not work like this.
    Fix,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    check: &'static str,
    state: State,
    /// What was found, in a line.
    found: String,
    /// What to do, in a line; nothing if all is fine.
    advice: String,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Fine,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Warning,
            found: found.into(),
            advice: advice.into(),
        }
    }

    fn fix(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Fix,
            ..Self::warning(check, found, advice)
        }
    }
}

/// Looks at everything and prints the table. The exit code is 3 if something
/// has to be fixed, and 0 otherwise, also with warnings.
pub fn doctor(project: &Project) -> ExitCode {
    let target = machine::target_folder(project);
    let mounts = mounts();
    let mut findings = vec![
        cargo_runs(project),
        rustc_is_new_enough(project),
        compiles(&c_compiler(), "t.c", "int main(void) { return 0; }\n"),
        compiles(&Compiler::rustc(), "t.rs", "fn main() {}\n"),
        packages(project),
        port(),
    ];
    findings.extend(env_files(project));
    findings.extend(folders(project, &target));
    findings.push(disk(project, &target));
    findings.push(clock(project, SystemTime::now()));
    for (check, folder) in [("project drive", &project.root), ("target drive", &target)] {
        findings.push(drive(check, folder, &mounts));
    }
    findings.push(program(
        "curl",
        State::Fix,
        "the verbs that ask the service need it",
    ));
    findings.push(program(
        "sqlite3",
        State::Warning,
        "some chapters look into the database with it",
    ));
    findings.push(program(
        "jq",
        State::Warning,
        "some chapters read answers with it",
    ));
    findings.push(program(
        "git",
        State::Warning,
        "./run.sh test and your own history need it",
    ));
    screen::print(&table(&findings));
    if findings.iter().any(|finding| finding.state == State::Fix) {
        ExitCode::from(3)
    } else {
        ExitCode::SUCCESS
    }
}

/// A line for each finding, and one more for what to do.
fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|it| it.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let state = match finding.state {
            State::Fine => "ok",
            State::Warning => "warn",
            State::Fix => "FIX",
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{state:4}  {:width$}  {}",
            finding.check, finding.found
        );
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "{:4}  {:width$}  -> {}", "", "", finding.advice);
        }
    }
    let count = |state: State| findings.iter().filter(|it| it.state == state).count();
    let warnings = match count(State::Warning) {
        0 => String::new(),
        1 => ", 1 warning".into(),
        number => format!(", {number} warnings"),
    };
    let _ = match count(State::Fix) {
        0 => writeln!(text, "\nnothing to fix{warnings}"),
        number => writeln!(text, "\n{number} to fix{warnings}"),
    };
    text
}

// ---- the toolchain

const INSTALL_RUST: &str = "install Rust from https://rustup.rs and open a new terminal";

fn cargo_runs(project: &Project) -> Finding {
    match first_line(cargo(project).arg("--version")) {
        Ok(line) => Finding::fine("cargo", line),
        Err(error) => Finding::fix("cargo", error, INSTALL_RUST),
    }
}

fn rustc_is_new_enough(project: &Project) -> Finding {
    let manifest = fs::read_to_string(project.root.join("Cargo.toml")).unwrap_or_default();
    let needed = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("rust-version"))
        .and_then(version);
    let found = first_line(
        Command::new("rustc")
            .arg("--version")
            .current_dir(&project.root),
    );
    match (found, needed) {
        (Err(error), _) => Finding::fix("rustc", error, INSTALL_RUST),
        (Ok(line), Some((major, minor))) => {
            if version(&line) >= needed {
                Finding::fine("rustc", line)
            } else {
                let found = format!("{line}; {major}.{minor} or later is needed");
                let advice = "rustup update stable (or install Rust from https://rustup.rs: \
                              a distribution's own is often older)";
                Finding::fix("rustc", found, advice)
            }
        }
        // A project without the line asks for nothing.
        (Ok(line), None) => Finding::fine("rustc", line),
    }
}

/// The first two numbers of a text like `rustc 1.94.0 (…)`, ` = "1.94"`.
fn version(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|it: char| it.is_ascii_digit())?;
    let mut numbers = text[digits..].split(|it: char| !it.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first line of a program's output, or what was wrong, in a line.
fn first_line(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(&name, &error))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", complaint(&output)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn not_started(name: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        format!("{name} was not found")
    } else {
        format!("{name}: {error}")
    }
}

/// What a program that failed said: the first line that speaks of an error.
fn complaint(output: &process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find(|line| line.contains("error"))
        .or_else(|| lines().next())
        .map_or_else(|| format!("it ended with {}", output.status), str::to_owned)
}

/// A program that makes a program of a source file.
struct Compiler {
    check: &'static str,
    program: String,
    arguments: Vec<String>,
    advice: &'static str,
}

impl Compiler {
    /// Rust's own, which calls the linker.
    fn rustc() -> Self {
        Self {
            check: "linker",
            program: "rustc".into(),
            // The linker that cargo would use for us is the default one.
            arguments: vec!["--edition=2024".into()],
            advice: INSTALL_COMPILER,
        }
    }
}

const INSTALL_COMPILER: &str = if cfg!(target_os = "macos") {
    "xcode-select --install"
} else {
    "apt install build-essential (Debian, Ubuntu), dnf install gcc (Fedora), pacman -S gcc (Arch)"
};

/// The C compiler that SQLite is built with.
fn c_compiler() -> Compiler {
    // Like the crate cc: the variable may hold options, too.
    let given = env::var("CC").unwrap_or_default();
    let mut words = given.split_whitespace().map(str::to_owned);
    Compiler {
        check: "C compiler",
        program: words.next().unwrap_or_else(|| "cc".into()),
        arguments: words.collect(),
        advice: INSTALL_COMPILER,
    }
}

/// Compiles, links and runs a program that does nothing.
fn compiles(compiler: &Compiler, name: &str, source: &str) -> Finding {
    let check = compiler.check;
    let folder = env::temp_dir().join(format!("coach-{check}-{}", process::id()).replace(' ', "-"));
    let tried = || -> Result<(), String> {
        let text = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(text)?;
        fs::write(folder.join(name), source).map_err(text)?;
        let output = Command::new(&compiler.program)
            .args(&compiler.arguments)
            .args(["-o", "program", name])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| not_started(&compiler.program, &error))?;
        if !output.status.success() {
            return Err(complaint(&output));
        }
        let ran = Command::new(folder.join("program"))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("what {} makes does not run: {error}", compiler.program))?;
        if ran.status.success() {
            Ok(())
        } else {
            Err(format!(
                "what {} makes ends with {}",
                compiler.program, ran.status
            ))
        }
    };
    let result = tried();
    let _ = fs::remove_dir_all(&folder);
    match result {
        Ok(()) => Finding::fine(
            check,
            format!("{} makes a program that runs", compiler.program),
        ),
        Err(error) => Finding::fix(check, error, compiler.advice),
    }
}

/// Whether a build could begin without a network.
fn packages(project: &Project) -> Finding {
    let output = cargo(project)
        .args(["fetch", "--locked", "--offline", "--quiet"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Finding::fine("packages", "all are on this machine: no network is needed")
        }
        _ => Finding::warning(
            "packages",
            "not all are on this machine",
            "./run.sh prefetch, while there is a network",
        ),
    }
}

/// The `.env` files that sqlx reads while it compiles queries, and cannot.
fn env_files(project: &Project) -> Vec<Finding> {
    let trouble = |folder: &Path| {
        let file = folder.join(".env");
        let lines = match dotenvy::from_path_iter(&file) {
            Ok(lines) => lines,
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => return Some((file, error)),
        };
        Some((file, lines.into_iter().find_map(Result::err)?))
    };
    let found = project.root.ancestors().filter_map(trouble);
    found
        .map(|(file, error)| {
            let found = format!("sqlx reads {} and cannot: {error}", file.display());
            Finding::fix(".env", found, ENV_FILE_ADVICE)
        })
        .collect()
}

// ---- the port

fn port() -> Finding {
    let address = env::var("MARKETSVC_ADDR").unwrap_or_else(|_| ADDRESS.into());
    let resolved = address.to_socket_addrs().ok().and_then(|mut it| it.next());
    let Some(resolved) = resolved else {
        return Finding::fix(
            "port",
            format!("MARKETSVC_ADDR is \"{address}\""),
            format!("it needs a host and a port, like {ADDRESS}; or unset it"),
        );
    };
    let other = "MARKETSVC_ADDR=127.0.0.1:9191 ./run.sh run, and the same for the verbs that ask";
    let Err(error) = TcpListener::bind(resolved) else {
        return Finding::fine("port", format!("{address} is free"));
    };
    if error.kind() != io::ErrorKind::AddrInUse {
        return Finding::fix("port", format!("{address}: {error}"), other);
    }
    match holder(resolved.port()) {
        Some((pid, name)) if is_ours(&name) => Finding::fine(
            "port",
            format!("{address} is used by the service itself: {name}, process {pid}"),
        ),
        Some((pid, name)) => Finding::fix(
            "port",
            format!("{address} is taken by {name}, process {pid}"),
            format!("end it: kill {pid}; or {other}"),
        ),
        None => Finding::fix("port", format!("{address} is taken"), other),
    }
}

/// The service or a step's: what `./run.sh run` starts. Linux cuts names off
/// after 15 bytes.
fn is_ours(name: &str) -> bool {
    let step = |name: &str| {
        let rest = name.strip_prefix("step")?;
        let (number, side) = rest.split_once('-')?;
        let digits = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
        (digits && ("exercise".starts_with(side) || "solution".starts_with(side))).then_some(())
    };
    name == "marketsvc" || step(name).is_some()
}

/// The process that listens on a port, if we may know it: id and name.
fn holder(port: u16) -> Option<(u32, String)> {
    if Path::new("/proc/net/tcp").exists() {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let sockets: Vec<String> = tables
            .iter()
            .flatten()
            .flat_map(|table| listening(table, port))
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        return process_with_one_of(&sockets);
    }
    let output = Command::new("lsof")
        .args(["-nP", "-sTCP:LISTEN", "-Fpc"])
        .arg(format!("-iTCP:{port}"))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    lsof_holder(&String::from_utf8_lossy(&output.stdout))
}

/// The sockets that listen on a port, of a table of `/proc/net`.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, local) = fields.get(1)?.rsplit_once(':')?;
            let ours =
                u16::from_str_radix(local, 16).ok()? == port && fields.get(3) == Some(&LISTEN);
            ours.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

fn process_with_one_of(sockets: &[String]) -> Option<(u32, String)> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Those of other users cannot be read: they stay unknown.
        for fd in fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let socket = fs::read_link(fd.path()).unwrap_or_default();
            if sockets.iter().any(|it| Path::new(it) == socket) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                return Some((pid, name.trim().to_owned()));
            }
        }
    }
    None
}

/// `lsof -Fpc` prints lines like `p123` and `cpython3`.
fn lsof_holder(text: &str) -> Option<(u32, String)> {
    let mut lines = text.lines();
    let pid = lines.find_map(|line| line.strip_prefix('p')?.parse().ok())?;
    let name = lines.find_map(|line| line.strip_prefix('c'))?;
    Some((pid, name.to_owned()))
}

// ---- folders and drives

fn folders(project: &Project, target: &Path) -> Vec<Finding> {
    let mut findings = vec![
        can_write(
            "project folder",
            &project.root,
            "make it yours: chown -R, or copy the project to your home folder",
        ),
        can_write(
            "target folder",
            target,
            "build elsewhere: export CARGO_TARGET_DIR=$HOME/marketsvc-target",
        ),
    ];
    let url = env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite://marketdb.sqlite".into());
    let advice =
        "let DATABASE_URL name another file, like sqlite:///tmp/marketdb.sqlite, or unset it";
    let file = match database_file(&url) {
        Ok(file) => file,
        Err(wrong) => {
            let found = format!("DATABASE_URL is {url}: {wrong}");
            findings.push(Finding::fix("database", found, advice));
            None
        }
    };
    if let Some(file) = file {
        let file = project.root.join(file);
        let folder = file.parent().unwrap_or(&file);
        findings.push(if !folder.is_dir() {
            let found = format!("there is no folder {}", folder.display());
            Finding::fix("database", found, advice)
        } else if file.exists() {
            // Opening changes nothing.
            match fs::File::options().append(true).open(&file) {
                Ok(_) => Finding::fine("database", format!("{} can be written to", file.display())),
                Err(error) => {
                    Finding::fix("database", format!("{}: {error}", file.display()), advice)
                }
            }
        } else {
            can_write("database", folder, advice)
        });
    }
    findings
}

fn can_write(check: &'static str, folder: &Path, advice: &str) -> Finding {
    match writable(folder) {
        Ok(()) => Finding::fine(check, format!("{} can be written to", folder.display())),
        Err(error) => Finding::fix(check, format!("{}: {error}", folder.display()), advice),
    }
}

/// The file of a URL of SQLite, as sqlx and the service read it; `None` for a
/// database in memory or elsewhere.
fn database_file(url: &str) -> Result<Option<PathBuf>, &'static str> {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Ok(None);
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let path = rest.split('?').next().unwrap_or(rest);
    let wrong = "each % must be followed by two hexadecimal digits of UTF-8 text";
    let digits = |it: &str| it.len() > 1 && it.bytes().take(2).all(|it| it.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(digits) {
        return Err(wrong);
    }
    let path = percent_decode_str(path).decode_utf8().map_err(|_| wrong)?;
    Ok((!path.is_empty() && path != ":memory:").then(|| path.as_ref().into()))
}

fn disk(project: &Project, target: &Path) -> Finding {
    let output = Command::new("df")
        .args(["-P", "-k"])
        .arg(existing(target))
        .stdin(Stdio::null())
        .output();
    let free = output
        .ok()
        .and_then(|output| free_bytes(&String::from_utf8_lossy(&output.stdout)));
    let needed = if target.join("debug/deps").is_dir() {
        LATER_BUILDS
    } else {
        FIRST_BUILD
    };
    disk_finding(free, needed, &project.short(target).display().to_string())
}

fn disk_finding(free: Option<u64>, needed: u64, target: &str) -> Finding {
    let Some(free) = free else {
        return Finding::warning(
            "disk",
            "df does not say how much is free",
            format!("see that {} are", human(needed)),
        );
    };
    let found = format!("{} free where {target} is", human(free));
    if free >= needed {
        return Finding::fine("disk", found);
    }
    Finding::fix(
        "disk",
        format!("{found}; {} are needed", human(needed)),
        "./run.sh clean, or make room, or build elsewhere: export CARGO_TARGET_DIR=…",
    )
}

/// The bytes available, by `df -P -k`. Names with spaces may stand on both
/// sides of the numbers, so these are counted from the percentage.
fn free_bytes(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    let percentage = fields.iter().rposition(|field| {
        field
            .strip_suffix('%')
            .is_some_and(|it| it.parse::<u32>().is_ok())
    })?;
    let blocks: u64 = fields.get(percentage.checked_sub(1)?)?.parse().ok()?;
    Some(blocks * 1024)
}

/// Cargo builds again what is newer than what it has built. A file from the
/// future is always newer, and one saved with a clock that is behind never.
fn clock(project: &Project, now: SystemTime) -> Finding {
    let mut latest: Option<(SystemTime, PathBuf)> = None;
    let mut waiting: Vec<PathBuf> = ["marketsvc", "steps", "tools", "data"]
        .map(|folder| project.root.join(folder))
        .into();
    let mut files = vec![
        project.root.join("Cargo.toml"),
        project.root.join("Cargo.lock"),
    ];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "target" => {
                    waiting.push(entry.path());
                }
                _ => files.push(entry.path()),
            }
        }
    }
    for file in files {
        let modified = fs::symlink_metadata(&file).and_then(|it| it.modified());
        if let Ok(modified) = modified
            && latest.as_ref().is_none_or(|(time, _)| modified > *time)
        {
            latest = Some((modified, file));
        }
    }
    let Some((time, file)) = latest else {
        return Finding::fine("clock", "there are no files to compare it with");
    };
    match time.duration_since(now) {
        Ok(ahead) if ahead > CLOCK_TOLERANCE => Finding::fix(
            "clock",
            format!(
                "{} is {} in the future; cargo tells by times what to build",
                project.short(&file).display(),
                rough(ahead)
            ),
            "set the clock; if it is right: find . -type f -newermt now -exec touch {} +",
        ),
        _ => Finding::fine("clock", "no file is from the future"),
    }
}

/// `3 minutes`, `5 hours`, `12 days`.
fn rough(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// What is mounted where: folder and kind of file system.
type Mounts = Vec<(PathBuf, String)>;

fn mounts() -> Mounts {
    if let Ok(table) = fs::read_to_string("/proc/mounts") {
        return linux_mounts(&table);
    }
    let output = Command::new("mount").stdin(Stdio::null()).output();
    output.map_or_else(
        |_| Vec::new(),
        |output| bsd_mounts(&String::from_utf8_lossy(&output.stdout)),
    )
}

/// `C:\134 /mnt/c 9p rw,… 0 0`; a space in a name is written `\040`.
fn linux_mounts(table: &str) -> Mounts {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let folder = fields.next()?.replace("\\040", " ");
            Some((folder.into(), fields.next()?.to_owned()))
        })
        .collect()
}

/// `//me@host/share on /Volumes/share (smbfs, nodev, nosuid)`
fn bsd_mounts(text: &str) -> Mounts {
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(" on ")?;
            let (folder, options) = rest.rsplit_once(" (")?;
            let kind = options.split([',', ')']).next()?;
            Some((folder.into(), kind.to_owned()))
        })
        .collect()
}

/// Whether a folder is on a network drive or one of another system.
fn drive(check: &'static str, folder: &Path, mounts: &Mounts) -> Finding {
    let real = existing(folder).canonicalize();
    drive_of(check, real.as_deref().unwrap_or(folder), mounts)
}

/// The same for a folder without links in its path.
fn drive_of(check: &'static str, real: &Path, mounts: &Mounts) -> Finding {
    // Of two mounts on the same folder the later one counts.
    let mounted = mounts
        .iter()
        .filter(|(mounted, _)| real.starts_with(mounted))
        .max_by_key(|(mounted, _)| mounted.components().count());
    let Some((mounted, kind)) = mounted else {
        return Finding::fine(check, "on a disk of this machine");
    };
    if !is_foreign(kind) {
        return Finding::fine(check, format!("on a disk of this machine ({kind})"));
    }
    Finding::warning(
        check,
        format!(
            "{} is on {} ({kind}): slow to build, and saves may go unnoticed",
            real.display(),
            mounted.display()
        ),
        if check == "target drive" {
            "export CARGO_TARGET_DIR=$HOME/marketsvc-target"
        } else {
            "copy the project to a folder of this system (in WSL below ~, not below /mnt/c)"
        },
    )
}

/// File systems that are somebody else's: over a network, or of the host of a
/// virtual machine (9p and drvfs are WSL's `/mnt/c`).
fn is_foreign(kind: &str) -> bool {
    const FOREIGN: [&str; 22] = [
        "9p",
        "afpfs",
        "afs",
        "ceph",
        "cifs",
        "davfs",
        "drvfs",
        "fuse.davfs2",
        "fuse.rclone",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
        "glusterfs",
        "fuse.glusterfs",
        "nfs",
        "nfs4",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
        "webdav",
    ];
    FOREIGN.contains(&kind)
}

// ---- programs

fn program(name: &'static str, without: State, purpose: &str) -> Finding {
    match first_line(Command::new(name).arg("--version")) {
        Ok(line) => {
            // curl goes on with what it was built with.
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            Finding::fine(name, words.join(" "))
        }
        Err(error) => Finding {
            check: name,
            state: without,
            found: format!("{error}; {purpose}"),
            advice: format!("apt install {name}, or brew install {name}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_wherever_they_stand() {
        assert_eq!(version("rustc 1.94.0 (abc 2026-01-01)"), Some((1, 94)));
        assert_eq!(version(" = \"1.94\""), Some((1, 94)));
        assert_eq!(version("rustc 1.100.0-nightly"), Some((1, 100)));
        assert!(version("rustc 1.100.0") > version("1.94"));
        assert_eq!(version("rustc"), None);
    }

    #[test]
    fn the_free_space_is_the_available_one() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n";
        for line in [
            "/dev/vda 263174212 42 53000 45% /",
            "//me@host/my share 1 2 53000 45% /Volumes/100% mine",
        ] {
            assert_eq!(free_bytes(&format!("{df}{line}\n")), Some(53_000 * 1024));
        }
        assert_eq!(free_bytes(df), None);
        assert_eq!(free_bytes(""), None);
        let state = |free: Option<u64>| disk_finding(free, 1000, "target").state;
        assert_eq!(state(Some(1000)), State::Fine);
        assert_eq!(state(Some(999)), State::Fix);
        assert_eq!(state(None), State::Warning);
    }

    #[test]
    fn a_drive_of_somebody_else_is_told_from_ones_own() {
        let linux = linux_mounts(
            "/dev/sdc / ext4 rw,relatime 0 0\n\
             C:\\134 /mnt/c 9p rw,noatime,aname=drvfs 0 0\n\
             host:/home /srv/my\\040home nfs4 rw 0 0\n\
             tmpfs /srv/my\\040home/fast tmpfs rw 0 0\n",
        );
        let mac = bsd_mounts(
            "/dev/disk3s1 on / (apfs, sealed, local)\n\
             //me@host/share on /Volumes/my share (smbfs, nodev, nosuid)\n",
        );
        for (mounts, folder, state) in [
            (&linux, "/home/me/marketsvc", State::Fine),
            (&linux, "/mnt/c/Users/me/marketsvc", State::Warning),
            (&linux, "/mnt/cdrom/marketsvc", State::Fine),
            (&linux, "/srv/my home/marketsvc", State::Warning),
            (&linux, "/srv/my home/fast/target", State::Fine),
            (&mac, "/Users/me/marketsvc", State::Fine),
            (&mac, "/Volumes/my share/marketsvc", State::Warning),
            (&Vec::new(), "/home/me", State::Fine),
        ] {
            let finding = drive_of("target drive", Path::new(folder), mounts);
            assert_eq!(finding.state, state, "{folder}: {finding:?}");
        }
    }

    #[test]
    fn files_from_the_future_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project {
            root: folder.path().to_path_buf(),
        };
        let now = SystemTime::now();
        assert_eq!(clock(&project, now).state, State::Fine);
        for file in ["Cargo.toml", "steps/05-engine/exercise/src/lib.rs"] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let at = |time: SystemTime| {
                let open = fs::File::options().write(true).open(&path).unwrap();
                open.set_modified(time).unwrap();
            };
            at(now + Duration::from_hours(5));
            let finding = clock(&project, now);
            assert_eq!(finding.state, State::Fix, "{finding:?}");
            assert!(
                finding.found.starts_with(&format!("{file} is 5 hours")),
                "{finding:?}"
            );
            // Seen from later, it is none.
            let later = now + Duration::from_hours(6);
            assert_eq!(clock(&project, later).state, State::Fine);
            at(now + Duration::from_secs(30));
            assert_eq!(clock(&project, now).state, State::Fine);
        }
        // What was built is cargo's business.
        let built = folder.path().join("steps/05-engine/exercise/target/x");
        fs::create_dir_all(built.parent().unwrap()).unwrap();
        let file = fs::File::create(built).unwrap();
        file.set_modified(now + Duration::from_hours(5)).unwrap();
        assert_eq!(clock(&project, now).state, State::Fine);
    }

    #[test]
    fn the_holder_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             \x20  0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1\n\
             \x20  1: 0100007F:2382 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 777 1\n\
             \x20  2: 0100007F:2383 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 888 1\n";
        assert_eq!(listening(table, 9090), ["12345"]);
        assert_eq!(
            lsof_holder("p123\ncpython3\nf3\n"),
            Some((123, "python3".into()))
        );
        assert_eq!(lsof_holder(""), None);
        for name in [
            "marketsvc",
            "step05-exercise",
            "step05-solution",
            "step05-exerci",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in [
            "python3",
            "market",
            "step05",
            "step-exercise",
            "stepper-x",
            "step05-x",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn the_database_is_a_file_or_none() {
        for (url, file) in [
            ("sqlite://marketdb.sqlite", Some("marketdb.sqlite")),
            ("sqlite:///tmp/x.sqlite?mode=rwc", Some("/tmp/x.sqlite")),
            ("sqlite:x.sqlite", Some("x.sqlite")),
            (
                "sqlite:///a%20b/caf%C3%A9%3F.sqlite",
                Some("/a b/café?.sqlite"),
            ),
            ("sqlite::memory:", None),
            ("postgres://localhost/x", None),
        ] {
            assert_eq!(database_file(url), Ok(file.map(PathBuf::from)), "{url}");
        }
        for url in [
            "sqlite://50%off.sqlite",
            "sqlite://a%",
            "sqlite://%ff.sqlite",
        ] {
            assert!(database_file(url).is_err(), "{url}");
        }
    }

    #[test]
    fn one_line_says_what_and_one_what_to_do() {
        let findings = [
            Finding::fine("cargo", "1.94"),
            Finding::fix("port", "taken", "kill 1"),
            Finding::warning("jq", "not found", "apt install jq"),
        ];
        assert_eq!(
            table(&findings),
            "ok    cargo  1.94\n\
             FIX   port   taken\n\
             \x20            -> kill 1\n\
             warn  jq     not found\n\
             \x20            -> apt install jq\n\
             \n1 to fix, 1 warning\n"
        );
        assert!(table(&findings[..1]).ends_with("\nnothing to fix\n"));
    }
}
