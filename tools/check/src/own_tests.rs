//! Judges the tests that a learner writes: they must pass against a service that is
//! right, and fail against each of several that are wrong.
//!
//! The tests are a program of the step, `tests/books.rs`. The program tests the service
//! whose base URL is in `MARKETSVC_URL`. The coach and `verify` build this program
//! together with the check, and set [`course::test_variable`] to its path.

use std::env;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use tokio::process::Command;
use tokio::time::timeout;

use crate::failure::{Failure, OrFail, Outcome, shortened};
use crate::service::Service;

/// How long the tests may take against one service. Two such limits, one after the
/// other, must fit into the limit of a check.
const LIMIT: Duration = Duration::from_secs(4);

/// Fails unless the tests in `tests/{name}.rs` pass against `right`, and at least one
/// of them fails against each service of `wrongs`. The text beside a wrong service
/// completes the sentence "no test fails against a service that …". Each service must
/// hold data of its own.
pub async fn judge(
    name: &str,
    right: Router,
    wrongs: impl IntoIterator<Item = (&'static str, Router)>,
) -> Outcome {
    let asked = |service: &str| format!("your tests in tests/{name}.rs, run against {service}");
    let asked_right = asked("a service that is right");
    let variable = course::test_variable(name);
    let Some(program) = env::var_os(&variable) else {
        let expected = format!("the path of their program in {variable}: use `./run.sh check`");
        return Err(Failure::new(asked_right, expected, "no such variable"));
    };
    match run(program.as_ref(), right).await? {
        Ran::Passed(0) => return Err(Failure::new(asked_right, "at least one test", "no tests")),
        Ran::Passed(_) => {}
        Ran::Failed(how) | Ran::NoResult(how) => {
            return Err(Failure::new(asked_right, "all tests pass", how));
        }
    }
    // All at the same time, since each of them mostly waits.
    let running = wrongs.into_iter().map(|(does, router)| {
        let program = program.clone();
        let ran = tokio::spawn(async move { run(program.as_ref(), router).await });
        (does, ran)
    });
    let running: Vec<_> = running.collect();
    let (count, mut accepted) = (running.len(), Vec::new());
    for (does, ran) in running {
        match ran.await.or_fail(does)?? {
            Ran::Failed(_) => {}
            Ran::Passed(_) => accepted.push(does.to_owned()),
            Ran::NoResult(how) => accepted.push(format!("{does}: {how}")),
        }
    }
    if accepted.is_empty() {
        return Ok(());
    }
    let between = if accepted.len() > 1 { "\n- " } else { " " };
    Err(Failure::new(
        asked(&format!(
            "{count} services, each of which does one thing wrong"
        )),
        "for each of them, at least one test that fails",
        format_args!(
            "no test fails against a service that{between}{}",
            accepted.join(between)
        ),
    ))
}

/// The result of one run of the tests.
#[derive(Debug, PartialEq)]
enum Ran {
    /// All passed; how many.
    Passed(usize),
    /// The name of the first that failed, and what it said.
    Failed(String),
    /// They did not end, or ended before their result.
    NoResult(String),
}

/// Runs the tests against a service on a free port, one after the other, so that
/// their order is the same each time.
async fn run(program: &Path, router: Router) -> Result<Ran, Failure> {
    let service = Service::start(router);
    // A file, not a pipe: it can be read when the program does not end.
    let mut output = tempfile::tempfile().or_fail("a temporary file")?;
    let mut child = Command::new(program)
        .arg("--test-threads=1")
        .env("MARKETSVC_URL", format!("http://{}", service.addr()))
        // A proxy of the machine could not reach the service.
        .envs([
            ("NO_PROXY", "*"),
            ("no_proxy", "*"),
            ("RUST_BACKTRACE", "0"),
        ])
        .stdin(Stdio::null())
        .stdout(output.try_clone().or_fail("a temporary file")?)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .or_fail(format_args!("{}", program.display()))?;
    let ended = timeout(LIMIT, child.wait()).await;
    let mut said = Vec::new();
    let read_whole = output.rewind().and_then(|()| output.read_to_end(&mut said));
    read_whole.or_fail("what the tests printed")?;
    let said = String::from_utf8_lossy(&said);
    Ok(match ended {
        Err(_) => Ran::NoResult(format!(
            "{} has not ended within {} s",
            unfinished(&said),
            LIMIT.as_secs()
        )),
        Ok(status) => read(&said, &status.or_fail("the test program")?.to_string()),
    })
}

/// The last line of a program that did not end is `test NAME ... `.
fn unfinished(said: &str) -> String {
    let line = said.lines().next_back().unwrap_or_default();
    let name = line
        .strip_prefix("test ")
        .and_then(|rest| rest.strip_suffix(" ... "));
    name.map_or_else(
        || "the test program".into(),
        |name| format!("the test `{name}`"),
    )
}

/// Reads the output of a test program.
fn read(said: &str, status: &str) -> Ran {
    let Some(result) = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("test result: "))
    else {
        let test = unfinished(said);
        return Ran::NoResult(format!(
            "the test program ended without a result: {test} ended it, {status}"
        ));
    };
    let passed = result
        .strip_prefix("ok. ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    passed.map_or_else(|| Ran::Failed(first_failure(said)), Ran::Passed)
}

/// The section of the first test that failed begins `---- NAME stdout ----`. In it
/// is `thread 'NAME' (1) panicked at tests/books.rs:12:5:`, and below that the message.
fn first_failure(said: &str) -> String {
    let section = said.split_once("\n---- ").map_or("", |(_, rest)| rest);
    let (name, rest) = section.split_once(" stdout ----\n").unwrap_or_default();
    let message = rest
        .trim_start()
        .lines()
        .take_while(|line| !line.is_empty() && !line.starts_with("note: "));
    // The place, and the three lines on which an assertion says what it compared.
    let message: Vec<&str> = message.take(4).collect();
    let message = shortened(&message.join("\n"));
    format!("the test `{name}` fails:\n{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = "
running 2 tests
test a ... ok
test b ... FAILED
test c ... FAILED

failures:

---- b stdout ----

thread 'b' (12) panicked at steps/09-modules/exercise/tests/books.rs:12:5:
assertion `left == right` failed
  left: 200
 right: 404
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace

---- c stdout ----
Error: \"no\"


failures:
    b
    c

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s
";

    #[test]
    fn what_the_tests_printed_is_read() {
        let failed = |text: &str| Ran::Failed(text.to_owned());
        let without_b = FAILED.replace("---- b", "b");
        for (said, ran) in [
            (
                "\nrunning 3 tests\n\ntest result: ok. 3 passed; 0 failed; …\n",
                Ran::Passed(3),
            ),
            (
                "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 2 ignored …\n",
                Ran::Passed(0),
            ),
            (
                FAILED,
                failed(
                    "the test `b` fails:\n\
                     thread 'b' (12) panicked at steps/09-modules/exercise/tests/books.rs:12:5:\n\
                     assertion `left == right` failed\n  left: 200\n right: 404",
                ),
            ),
            (&without_b, failed("the test `c` fails:\nError: \"no\"")),
            (
                "\nrunning 3 tests\ntest a ... ok\ntest b ... ",
                Ran::NoResult(
                    "the test program ended without a result: the test `b` ended it, exit status: 1"
                        .into(),
                ),
            ),
        ] {
            assert_eq!(read(said, "exit status: 1"), ran, "{said}");
        }
    }
}
