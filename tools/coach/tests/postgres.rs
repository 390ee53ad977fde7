//! `postgres`: what it prints, which exit code it ends with, and that nothing is left.
#![cfg(unix)]

mod support;

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postgres_server::{INSTALL, programs};
use support::{Project, outcome};

fn installed() -> bool {
    let installed = programs(&["initdb", "postgres", "pg_basebackup", "psql"]).is_some();
    if !installed {
        assert!(env::var_os("CI").is_none(), "{INSTALL}");
        eprintln!("not run: {INSTALL}");
    }
    installed
}

fn coach(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    command.arg("postgres").args(arguments);
    command
}

/// The folders that these URLs name.
fn folders(urls: &str) -> Vec<String> {
    let folder = |url: &str| url.split_once("?host=").expect(urls).1.to_owned();
    urls.trim_end().split(',').map(folder).collect()
}

/// The verb while it waits, and its first line.
fn start(project: &Project, arguments: &[&str]) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = coach(project, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let url = line.strip_prefix("DATABASE_URL=").expect(&line).to_owned();
    (child, out, url)
}

fn kill(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let status = Command::new("kill").args([signal, &pid]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_command_has_the_url_and_its_exit_code_is_passed_on() {
    if !installed() {
        return;
    }
    let project = Project::new();
    let script = "echo $DATABASE_URL; exit 7";
    let output = coach(&project, &["--", "sh", "-c", script]).output();
    let (code, url, err) = outcome(&output.unwrap());
    assert_eq!((code, err.as_str()), (Some(7), ""), "{url}");
    assert!(url.starts_with("postgres://market@localhost/"), "{url}");
    assert!(!Path::new(&folders(&url)[0]).exists(), "{url}");

    let output = coach(&project, &["--", "no-such-program"]).output();
    let (code, _, err) = outcome(&output.unwrap());
    assert_eq!(code, Some(2));
    assert!(err.starts_with("no-such-program: "), "{err}");

    // A signal is for the command, which ends as it likes.
    let script = "trap 'exit 9' TERM; echo DATABASE_URL=$DATABASE_URL; while :; do sleep 0.1; done";
    let (mut child, _, url) = start(&project, &["--", "sh", "-c", script]);
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(!Path::new(&folders(&url)[0]).exists(), "{url}");
}

#[test]
fn a_cluster_has_a_line_for_each_server_and_ends_with_stdin() {
    if !installed() {
        return;
    }
    let (mut child, mut out, urls) = start(&Project::new(), &["--servers", "3"]);
    drop(child.stdin.take());
    let mut table = String::new();
    out.read_to_string(&mut table).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut lines = table.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words[1].parse::<u32>().is_ok(), "{table}");
        (words[0], words[2])
    });
    let mut urls_of = urls.trim_end().split(',');
    for role in ["primary", "synchronous", "asynchronous"] {
        assert_eq!(lines.next(), Some((role, urls_of.next().unwrap())));
    }
    for folder in folders(&urls) {
        assert!(!Path::new(&folder).exists(), "{folder}");
    }
}

#[test]
fn nothing_is_left_after_a_signal() {
    if !installed() {
        return;
    }
    for (signal, code) in [("-INT", Some(130)), ("-TERM", Some(143)), ("-KILL", None)] {
        let (mut child, _out, url) = start(&Project::new(), &[]);
        // `wait` would close it.
        let _stdin = child.stdin.take();
        kill(&child, signal);
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        let folder = &folders(&url)[0];
        let begin = Instant::now();
        while Path::new(folder).exists() {
            // Only a killed program leaves the work to others.
            assert!(code.is_none() && begin.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_server_that_cannot_be_made_is_3_with_the_cause() {
    let project = Project::new();
    for name in ["initdb", "postgres"] {
        project.write(name, "#!/bin/sh\necho it is full >&2\nexit 1\n");
        let chmod = Command::new("chmod")
            .arg("+x")
            .arg(project.path(name))
            .status();
        assert!(chmod.unwrap().success());
    }
    // Also for the account that the server runs as where we are root.
    let chmod = Command::new("chmod")
        .arg("755")
        .arg(project.root())
        .status();
    assert!(chmod.unwrap().success());
    let path = format!("{}:{}", project.root().display(), env::var("PATH").unwrap());
    let output = coach(&project, &[]).env("PATH", path).output();
    let (code, out, err) = outcome(&output.unwrap());
    assert_eq!((code, out.as_str()), (Some(3), ""));
    assert!(err.contains("it is full"), "{err}");
}
