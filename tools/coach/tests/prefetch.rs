//! `prefetch`, with a registry of our own that is switched off afterwards: what
//! is needed then was got, or it is missed.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use support::{Project, outcome, text};

/// A registry with one package, `leftpad`, as cargo's sparse protocol has it.
struct Registry {
    address: String,
    off: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let source = folder.join("leftpad-1.0.0");
        fs::create_dir_all(source.join("src")).unwrap();
        fs::write(
            source.join("Cargo.toml"),
            "[package]\nname = \"leftpad\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
        )
        .unwrap();
        fs::write(
            source.join("src/lib.rs"),
            "pub fn one() -> u32 {\n    1\n}\n",
        )
        .unwrap();
        let file = folder.join("leftpad.crate");
        output(Command::new("tar").current_dir(folder).args([
            "-czf",
            "leftpad.crate",
            "leftpad-1.0.0",
        ]));
        let package = fs::read(&file).unwrap();
        let mut sum = Command::new("sha256sum");
        if Command::new("sha256sum").arg("--version").output().is_err() {
            sum = Command::new("shasum");
            sum.args(["-a", "256"]);
        }
        let sum = output(sum.arg(&file));
        let sum = sum.split_whitespace().next().unwrap();
        let index = format!(
            "{{\"name\":\"leftpad\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{sum}\",\
             \"features\":{{}},\"yanked\":false}}\n"
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config = format!("{{\"dl\":\"http://{address}/dl\"}}");
        let off = Arc::new(AtomicBool::new(false));
        let server = thread::spawn({
            let off = off.clone();
            move || {
                for stream in listener.incoming() {
                    if off.load(Ordering::SeqCst) {
                        return;
                    }
                    let answer = |path: &str| -> Option<&[u8]> {
                        match path {
                            "/config.json" => Some(config.as_bytes()),
                            "/le/ft/leftpad" => Some(index.as_bytes()),
                            "/dl/leftpad/1.0.0/download" => Some(&package),
                            _ => None,
                        }
                    };
                    // A client that goes away is no concern of ours.
                    let _ = serve(stream.unwrap(), answer);
                }
            }
        });
        Self {
            address,
            off,
            server: Some(server),
        }
    }

    /// From now on nobody listens.
    fn switch_off(&mut self) {
        self.off.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        self.server.take().unwrap().join().unwrap();
        assert!(TcpStream::connect(&self.address).is_err());
    }
}

/// Answers one request.
fn serve<'a>(stream: TcpStream, answer: impl Fn(&str) -> Option<&'a [u8]>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match answer(path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", &b""[..]),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let out = stream.get_mut();
    out.write_all(head.as_bytes())?;
    out.write_all(body)
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn afterwards_no_network_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = Registry::start(folder.path());
    let project = Project::with_coach();
    project.write(
        ".cargo/config.toml",
        &format!(
            "[source.crates-io]\nreplace-with = \"ours\"\n\
             [source.ours]\nregistry = \"sparse+http://{}/\"\n",
            registry.address
        ),
    );
    for side in ["exercise", "solution"] {
        let file = format!("steps/05-engine/{side}/Cargo.toml");
        let manifest = project.read(&file);
        project.write(
            &file,
            &format!("{manifest}\n[dependencies]\nleftpad = \"1\"\n"),
        );
        let file = format!("steps/05-engine/{side}/src/lib.rs");
        let lib = project.read(&file);
        project.write(&file, &lib.replace("    1\n}", "    leftpad::one()\n}"));
    }
    let online = |home: &str, program: &str| {
        let mut command = project.command(program);
        command
            .env("CARGO_HOME", folder.path().join(home))
            .env_remove("CARGO_NET_OFFLINE")
            .env("NO_PROXY", "127.0.0.1")
            // A registry that is off is asked once.
            .env("CARGO_NET_RETRY", "0");
        command
    };
    let coach = |home: &str, arguments: &[&str]| {
        let mut command = online(home, env!("CARGO_BIN_EXE_coach"));
        outcome(&command.args(arguments).output().unwrap())
    };
    output(online("author", "cargo").args(["generate-lockfile"]));

    let (code, out, err) = coach("learner", &["prefetch"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("getting   packages\n"), "{out}");
    assert!(out.ends_with("no network is needed from now on\n"), "{out}");

    registry.switch_off();
    let (code, out, err) = coach("learner", &["check", "05"]);
    assert_eq!(
        (code, out.contains("the answer is 1")),
        (Some(1), true),
        "{out}{err}"
    );
    let (code, _, err) = coach("learner", &["check", "05", "--solution"]);
    assert_eq!(code, Some(0), "{err}");
    for arguments in [&["list"][..], &["diff", "05"], &["prefetch"]] {
        let (code, _, err) = coach("learner", arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
    }
    let run_sh = project.path("run.sh");
    let mut command = online("learner", run_sh.to_str().unwrap());
    let (code, out, err) = outcome(&command.args(["run", "05"]).output().unwrap());
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "exercise 05 says 1\n"),
        "{err}"
    );
    let mut command = online("learner", run_sh.to_str().unwrap());
    let tested = command.args(["test", "clippy", "tests"]).output().unwrap();
    assert_eq!(tested.status.code(), Some(0), "{}", text(&tested.stdout));

    // A copy of the cargo folder is as good: so a room can share one download.
    let copy = folder.path().join("copy");
    output(
        Command::new("cp")
            .arg("-R")
            .arg(folder.path().join("learner"))
            .arg(&copy),
    );
    fs::remove_dir_all(project.path("target")).unwrap();
    assert_eq!(coach("copy", &["check", "05", "--solution"]).0, Some(0));

    // And without all that, the network is missed.
    let (code, out, err) = coach("other", &["prefetch"]);
    assert_eq!(code, Some(3), "{out}");
    assert!(!out.contains("no network is needed"), "{out}");
    assert!(err.contains("is there a network?"), "{err}");
    fs::remove_dir_all(project.path("target")).unwrap();
    assert_eq!(coach("other", &["check", "05", "--solution"]).0, Some(3));
}

#[test]
fn exercises_need_not_compile_and_the_rest_has_to() {
    let project = Project::new();
    let prefetch = |arguments: &[&str]| {
        let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
        outcome(&command.arg("prefetch").args(arguments).output().unwrap())
    };
    let (code, _, err) = prefetch(&["--no-build"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(!project.path("target").exists());
    project.write("steps/05-engine/exercise/src/lib.rs", "fn half(");
    let (code, out, err) = prefetch(&[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(project.path("target/debug/marketsvc").is_file());
    assert!(project.path("target/debug/step08-solution").is_file());
    project.write("steps/05-engine/solution/src/lib.rs", "fn half(");
    let (code, _, err) = prefetch(&[]);
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("cargo build --workspace"), "{err}");
}
