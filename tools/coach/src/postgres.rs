//! `postgres`: a server or a cluster that lives as long as this verb.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::thread;

use postgres_server::{Cluster, INSTALL, Role, Server};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::run::exit_code;
use crate::screen;
use crate::trouble::Trouble;

/// Starts one server or three, shows where they are, and waits for a signal or the end of
/// stdin; or runs a command on them, whose exit code is the verb's.
pub fn postgres(servers: &str, command: &[OsString]) -> Result<ExitCode, Trouble> {
    let trouble = Trouble::at("PostgreSQL");
    let missing = || Trouble::environment(INSTALL);
    // Both remove what they have started when they are dropped.
    let (server, cluster);
    let (url, table) = if servers == "1" {
        server = Server::start(&[]).map_err(trouble)?.ok_or_else(missing)?;
        (server.url("postgres"), String::new())
    } else {
        cluster = Cluster::start().map_err(trouble)?.ok_or_else(missing)?;
        (cluster.url(), table(&cluster)?)
    };
    // A signal that comes earlier ends this process, and thereby the servers.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Trouble::at("signals"))?;
    match command {
        [] => {
            screen::print(&format!("DATABASE_URL={url}\n{table}"));
            Ok(wait(signals))
        }
        [program, arguments @ ..] => run(
            Command::new(program)
                .args(arguments)
                .env("DATABASE_URL", url),
            signals,
        ),
    }
}

/// A line for each server.
fn table(cluster: &Cluster) -> Result<String, Trouble> {
    let mut table = String::new();
    for role in [Role::Primary, Role::Synchronous, Role::Asynchronous] {
        let server = &cluster.servers()[cluster.number(role)];
        let pid = server.pid().map_err(Trouble::at("PostgreSQL"))?;
        // Writing into a String cannot fail.
        let _ = writeln!(table, "{role:12}  {pid:7}  {}", server.url("postgres"));
    }
    Ok(table)
}

fn wait(mut signals: Signals) -> ExitCode {
    let (sender, ended) = mpsc::channel();
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("Ctrl-C ends and removes it");
    } else {
        let sender = sender.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut stdin.lock(), &mut io::sink());
            let _ = sender.send(0);
        });
    }
    thread::spawn(move || {
        // As shells report a program that a signal has ended.
        let code = signals.forever().next().map(|signal| 128 + signal);
        let _ = sender.send(code.unwrap_or(1));
    });
    let code = ended.recv().unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Runs the command to its end, whatever signals come in the meantime.
fn run(command: &mut Command, mut signals: Signals) -> Result<ExitCode, Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|error| Trouble::usage(format!("{name}: {error}")))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    thread::spawn(move || {
        for signal in signals.forever() {
            // The terminal sends Ctrl-C to the command, too.
            let signal = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            let _ = pid.map(|pid| kill_process(pid, signal));
        }
    });
    child.wait().map(exit_code).map_err(Trouble::at(name))
}
