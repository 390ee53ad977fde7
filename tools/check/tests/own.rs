//! The learner's own tests are judged: this program judges itself, as learners of
//! several kinds would have written it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, ExitCode};

use axum::Router;
use axum::routing::get;
use check::{Suite, own_tests};

/// What the learner's tests are like, and what is said of them.
const LEARNERS: [(&str, &str); 7] = [
    ("tests both", ""),
    (
        "tests one",
        "expected  for each of them, at least one test that fails\n\
         got       no test fails against a service that has a wrong /b\n",
    ),
    (
        "tests nothing",
        "asked     your tests in tests/own.rs, run against 2 services, each of which does one thing wrong\n\
         expected  for each of them, at least one test that fails\n\
         got       no test fails against a service that\n\
         - has a wrong /a\n\
         - has a wrong /b\n",
    ),
    (
        "rejects everything",
        "asked     your tests in tests/own.rs, run against a service that is right\n\
         expected  all tests pass\n\
         got       the test `it` fails:\nthread 'it' (1) panicked at own.rs:12:5:\nno\n",
    ),
    (
        "has none",
        "expected  at least one test\ngot       no tests\n",
    ),
    (
        "ends early",
        "got       the test program ended without a result: the test `it` ended it, exit status: 0\n",
    ),
    (
        "hangs when /b is wrong",
        "got       no test fails against a service that has a wrong /b: the test `it` has not ended within 4 s\n",
    ),
];

fn main() -> ExitCode {
    if let Ok(url) = std::env::var("MARKETSVC_URL") {
        print(&learner(&url));
        return ExitCode::SUCCESS;
    }
    if std::env::var("LEARNER").is_ok() {
        return Suite::new("own", env!("CARGO_MANIFEST_DIR"))
            .check("own", "the tests are judged", async || {
                let wrongs = [
                    ("has a wrong /a", service("no", "b")),
                    ("has a wrong /b", service("a", "no")),
                ];
                own_tests::judge("own", service("a", "b"), wrongs).await
            })
            .run();
    }
    for (learner, said) in LEARNERS {
        let program = std::env::current_exe().expect("this program");
        let output = Command::new(&program)
            .env("LEARNER", learner)
            .env("MARKETSVC_TEST_OWN", &program)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let text = lines.join("\n");
        let passes = output.status.success();
        assert!(
            text.contains(said) && passes == said.is_empty(),
            "{learner}\n{text}"
        );
    }
    ExitCode::SUCCESS
}

fn service(a: &'static str, b: &'static str) -> Router {
    Router::new()
        .route("/a", get(async move || a))
        .route("/b", get(async move || b))
}

fn print(text: &str) {
    print!("{text}");
    std::io::stdout().flush().expect("stdout");
}

/// What the tests print, in the format of Rust's own test programs.
fn learner(url: &str) -> String {
    let right = |path: &str| {
        let host = url.strip_prefix("http://").expect("a URL");
        let mut socket = TcpStream::connect(host).expect("a service");
        let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        socket.read_to_string(&mut reply).expect("a reply");
        reply.ends_with(path)
    };
    print("\nrunning 1 test\ntest it ... ");
    let passes = match &*std::env::var("LEARNER").expect("set") {
        "tests both" => right("a") && right("b"),
        "tests one" => right("a"),
        "tests nothing" => true,
        "has none" => return "\ntest result: ok. 0 passed; 0 failed\n".into(),
        "ends early" => return String::new(),
        "hangs when /b is wrong" => {
            while !right("b") {
                std::thread::park();
            }
            right("a")
        }
        _ => false,
    };
    if passes {
        "ok\n\ntest result: ok. 1 passed; 0 failed\n".into()
    } else {
        "FAILED\n\nfailures:\n\n---- it stdout ----\n\nthread 'it' (1) panicked at own.rs:12:5:\nno\n\n\n\
         test result: FAILED. 0 passed; 1 failed\n"
            .into()
    }
}
