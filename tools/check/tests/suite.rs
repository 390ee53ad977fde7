//! What a [`Suite`] says and which exit code it gives, seen from outside.
//!
//! Without the harness of libtest: this binary is run once for the tests, and
//! by them again, as the check binary of a step that has known faults.

#[path = "fixture/src/lib.rs"]
mod fixture;

use std::cell::Cell;
use std::future::pending;
use std::process::{Command, ExitCode, Output};
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use check::{Database, OrFail, Outcome, Service, Suite, ensure, equal, equal_json};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// Says which suite to be.
const ROLE: &str = "CHECK_TEST_SUITE";

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("faulty") => faulty().run(),
        Ok("right") => right().run(),
        Ok("beside") => beside().run(),
        Ok("chapter") => chapter().run(),
        Ok(role) => panic!("no suite is called {role}"),
        Err(_) => {
            // Each mostly waits for checks that do not end.
            std::thread::scope(|scope| {
                for test in [
                    text_report,
                    json_report,
                    all_passed,
                    selection,
                    brief,
                    fail_fast,
                    report_file,
                    not_waited_for,
                    step_with_a_chapter,
                ] {
                    scope.spawn(test);
                }
            });
            nothing_is_left();
            ExitCode::SUCCESS
        }
    }
}

/// One check for each way to fail. The order matters: what passes after a fault
/// shows that the fault did not spread.
fn faulty() -> Suite {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixture");
    Suite::new("99-fixture", dir)
        .limit(Duration::from_secs(2))
        .check("99.1", "a wrong value is reported", || async {
            equal("the answer", 42, fixture::answer())
        })
        .check("99.2", "a panic in a spawned task is reported", || async {
            let task = tokio::spawn(async { fixture::unwritten() });
            ensure(task.await.is_ok(), "the task", "its end", "a join error")
        })
        .check("99.2", "a panic in a handler is reported", || async {
            let app = Router::new().route("/", get(|| async { fixture::unwritten().to_string() }));
            let reply = Service::start(app).get("/").await?;
            reply.expect_status(200).map(drop)
        })
        .check(
            "99.2",
            "a panic in the check's own task is reported",
            || async {
                fixture::unwritten();
                Ok(())
            },
        )
        .check("99.3", "an await without end is reported", || async {
            let service = Service::start(Router::new());
            service.get("/not-to-be-named").await?;
            service.get("/named").await?;
            pending::<Outcome>().await
        })
        .check("99.3", "after one without end, nothing is run", || async {
            equal("this check", "not run", "run")
        })
        .check("99.4", "a blocked thread is reported", || async {
            let _never_dropped = Database::sample().await?;
            fixture::block();
            Ok(())
        })
        .paused_check("99.5", "an hour passes at once", || async {
            tokio::time::sleep(Duration::from_hours(1)).await;
            Ok(())
        })
        .paused_check(
            "99.6",
            "an await without end is reported under paused time",
            || async { pending::<Outcome>().await },
        )
        .check("99.7", "what passes is told from what fails", || async {
            Database::sample().await.map(drop)
        })
        .check("99.8", "a long value is cut", || async {
            let long = Value::from(vec![7; 1000]);
            let mut other = long.clone();
            other[900] = json!(8);
            equal_json("GET /long", &long, &other)
        })
        .check("99.9", "a panic elsewhere is not the learner's", || async {
            async fn once() {}
            let mut once = Box::pin(once());
            (&mut once).await;
            (&mut once).await;
            Ok(())
        })
}

fn right() -> Suite {
    Suite::new("98-right", env!("CARGO_MANIFEST_DIR"))
        .check("98.1", "numbers are compared by value", || async {
            equal_json(
                "a",
                &json!({"a": 5, "b": [1.0]}),
                &json!({"b": [1], "a": 5.0}),
            )
        })
        .check("98.2", "a task that goes on is ended", || async {
            tokio::spawn(pending::<()>());
            Ok(())
        })
        .check("98.3", "a check need not be Send", || async {
            let cell = Rc::new(Cell::new(0));
            tokio::task::yield_now().await;
            cell.set(1);
            equal("the cell", 1, cell.get())
        })
}

/// The first two go on when the last one lets them.
fn beside() -> Suite {
    static ENDS: Semaphore = Semaphore::const_new(0);
    let end = async || ENDS.acquire().await.or_fail("the last check").map(drop);
    Suite::new("96-beside", env!("CARGO_MANIFEST_DIR"))
        .check_beside("96.1", "it ends later", end)
        .check_beside(
            "96.2",
            "a panic is reported where it belongs",
            async move || {
                end().await?;
                let task = tokio::spawn(async { fixture::unwritten() });
                ensure(task.await.is_ok(), "the task", "its end", "a join error")
            },
        )
        .check("96.3", "the others are not waited for", async || {
            ENDS.add_permits(2);
            Ok(())
        })
}

fn not_waited_for() {
    let output = run("beside", &["--json"]);
    let report: Value = serde_json::from_str(&text(&output)).expect("one JSON object");
    let status = |i: usize| report["checks"][i]["status"].as_str();
    assert_eq!(
        [status(0), status(1), status(2)],
        [Some("passed"), Some("failed"), Some("passed")],
        "{report}"
    );
    let got = report["checks"][1]["got"].as_str().unwrap_or_default();
    assert!(got.contains("panicked at"), "{got}");
}

/// A step whose folder has a chapter, beside the crate.
fn chapter() -> Suite {
    let dir = std::env::var("CHECK_TEST_STEP").expect("the step's crate");
    Suite::new("97-chapter", &dir).check("97.2, 97.1", "one is one", || async {
        equal("the answer", 1, 2)
    })
}

fn run(role: &str, arguments: &[&str]) -> Output {
    let binary = std::env::current_exe().expect("the path of this binary");
    Command::new(binary)
        .args(arguments)
        .env(ROLE, role)
        .env("TMPDIR", temporary())
        .output()
        .expect("the suite's own process")
}

/// A place for temporary files that nobody else uses.
fn temporary() -> &'static str {
    env!("CARGO_TARGET_TMPDIR")
}

fn text(output: &Output) -> String {
    assert!(
        output.stderr.is_empty(),
        "nothing belongs to stderr: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn text_report() {
    let output = run("faulty", &["--nocapture", "--test-threads", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "\
99-fixture: 2 of 12 checks passed

FAILED  99.1  a wrong value is reported
  asked     the answer
  expected  42
  got       41
  where     tools/check/tests/fixture/src/lib.rs:5  TODO(99.1): say the answer

also failed
  99.2  a panic in a spawned task is reported
  99.2  a panic in a handler is reported
  99.2  a panic in the check's own task is reported
  99.3  an await without end is reported
  99.4  a blocked thread is reported
  99.6  an await without end is reported under paused time
  99.8  a long value is cut
  99.9  a panic elsewhere is not the learner's
not run: an earlier check of this task did not end
  99.3  after one without end, nothing is run
passed
  99.5  an hour passes at once
  99.7  what passes is told from what fails
";
    assert_eq!(text(&output), expected);
}

fn json_report() {
    let output = run("faulty", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&text(&output)).expect("one JSON object");
    assert_eq!(report["step"], "99-fixture");
    assert_eq!(report["passed"], 2);
    assert_eq!(report["failed"], 10);
    let got = |i: usize| report["checks"][i]["got"].as_str().unwrap_or_default();

    let first = json!({
        "todo": "99.1", "name": "a wrong value is reported", "status": "failed",
        "asked": "the answer", "expected": "42", "got": "41",
        "file": "tools/check/tests/fixture/src/lib.rs", "line": 5,
        "reread": null, "hint": null,
    });
    assert_eq!(report["checks"][0], first);
    for panicked in 1..=3 {
        assert_eq!(
            got(panicked),
            "your code panicked at tools/check/tests/fixture/src/lib.rs:12: \
             not yet implemented: the second task"
        );
        assert_eq!(report["checks"][panicked]["line"], 11);
    }
    assert_eq!(report["checks"][2]["asked"], "GET /");
    assert_eq!(
        got(4),
        "no end: an await that never completes, or a loop that does not stop"
    );
    assert_eq!(
        report["checks"][4]["asked"],
        "an await without end is reported\nthe last request: GET /named"
    );
    let not_run = json!({
        "todo": "99.3", "name": "after one without end, nothing is run", "status": "not-run",
        "asked": null, "expected": null,
        "got": "not run: an earlier check of this task did not end",
        "file": null, "line": null, "reread": null, "hint": null,
    });
    assert_eq!(report["checks"][5], not_run);
    // It has sent no request, so the one of an earlier check is not named.
    assert_eq!(report["checks"][6]["asked"], "a blocked thread is reported");
    assert!(got(6).contains("never free"), "{}", got(6));
    assert_eq!(
        got(8),
        "no end: an await that never completes, or a loop that does not stop"
    );
    // The fixture does not contain TODO(99.3).
    assert_eq!(report["checks"][4]["file"], Value::Null);

    let passed = json!({
        "todo": "99.5", "name": "an hour passes at once", "status": "passed",
        "asked": null, "expected": null, "got": null, "file": null, "line": null,
        "reread": null, "hint": null,
    });
    assert_eq!(report["checks"][7], passed);

    let long = report["checks"][10]["got"].as_str().expect("the value");
    let begin = "(1701 characters are the same) … 7,7,";
    assert!(long.starts_with(begin), "{long}");
    assert!(long.contains(",7,8,7,"), "{long}");
    assert!(
        long.ends_with("\nfirst difference: [900]: expected 7, got 8"),
        "{long}"
    );
    let expected = report["checks"][10]["expected"].as_str().expect("a value");
    assert!(expected.starts_with(begin), "{expected}");

    assert!(
        got(11).starts_with("the check's own code panicked at tools/check/tests/suite.rs:"),
        "{}",
        got(11)
    );
    assert!(got(11).contains("\nyour code has polled"), "{}", got(11));
}

fn all_passed() {
    let output = run("right", &[]);
    assert_eq!(output.status.code(), Some(0));
    let expected = "\
98-right: 3 of 3 checks passed
  98.1  numbers are compared by value
  98.2  a task that goes on is ended
  98.3  a check need not be Send
";
    assert_eq!(text(&output), expected);
}

fn brief() {
    let (whole, output) = std::thread::scope(|scope| {
        let whole = scope.spawn(|| text(&run("faulty", &[])));
        let output = text(&run("faulty", &["--brief"]));
        (whole.join().expect("a report"), output)
    });
    let (failure, _) = whole.split_once("also failed\n").expect("two lists");
    assert_eq!(
        output,
        format!("{failure}also failed: 8, not run: 1, passed: 2\n")
    );
    // Without a failure there is room for all.
    assert_eq!(text(&run("right", &["--brief"])), text(&run("right", &[])));
}

fn fail_fast() {
    let report: Value = serde_json::from_str(&text(&run("faulty", &["--json", "--fail-fast"])))
        .expect("one JSON object");
    let checks = report["checks"].as_array().expect("checks");
    let failed = |check: &Value| check["status"] == "failed";
    assert_eq!(checks.iter().position(failed), Some(checks.len() - 1));
    assert_eq!(report["failed"], 1);
}

fn selection() {
    let one = run("right", &["98.1"]);
    assert!(
        text(&one).starts_with("98-right: 1 of 1 check passed\n"),
        "{}",
        text(&one)
    );
    let listed = run("right", &["--list", "--format", "terse"]);
    let expected = "98.1 numbers are compared by value: test\n98.2 a task that goes on is ended: test\n\
         98.3 a check need not be Send: test\n";
    assert_eq!(text(&listed), expected);
}

/// The object of `--json`, in a file, and stdout as without it.
fn report_file() {
    let file = tempfile::NamedTempFile::new_in(temporary()).expect("a file");
    let path = file.path().to_str().expect("text");
    for (role, code) in [("right", 0), ("faulty", 1)] {
        let plain = run(role, &["9", "--fail-fast"]);
        let output = run(role, &["9", "--fail-fast", "--report", path]);
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(text(&output), text(&plain));
        let written = std::fs::read_to_string(path).expect("the report");
        assert_eq!(written, text(&run(role, &["9", "--fail-fast", "--json"])));
    }
    // A report that nobody will find is no success.
    let nowhere = format!("{path}/report");
    let output = run("right", &["--report", &nowhere]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write the report"), "{said}");
}

/// With a chapter a failure says where to read and how to get a hint.
fn step_with_a_chapter() {
    // Outside of the project, so that its whole path is shown.
    let step = tempfile::tempdir().expect("a folder");
    let crate_folder = step.path().join("exercise");
    std::fs::create_dir(&crate_folder).expect("a folder");
    let readme = step.path().join("README.md");
    let file = readme.display();
    let section = "\n## Tasks\n\n### 1 · A\n\n```text\n## Why\n```\n`TODO(97.1)`\n\n### 2 · `b`\n\nIt is `TODO(97.2)`.\n";
    for (chapter, read) in [
        // Below `## Tasks` nothing names the task.
        ("## Why\n\nTODO(97.2)\n".to_owned(), String::new()),
        (
            format!("# 97\n\n## Why\n\nTODO(97.2)\n{section}\n## Done when\n\nTODO(97.2)\n"),
            format!("  read      \"2 · b\" in {file}:16\n"),
        ),
    ] {
        std::fs::write(&readme, &chapter).expect("a chapter");
        let output = Command::new(std::env::current_exe().expect("the path of this binary"))
            .env(ROLE, "chapter")
            .env("CHECK_TEST_STEP", &crate_folder)
            .output()
            .expect("the suite's own process");
        assert_eq!(
            text(&output),
            format!(
                "97-chapter: 0 of 1 check passed\n\nFAILED  97.2, 97.1  one is one\n  \
                 asked     the answer\n  expected  1\n  got       2\n\
                 {read}  hint      ./run.sh hint 97.2\n\n"
            )
        );
    }
}

/// The blocked check never drops its database; the suite removes it all the same.
fn nothing_is_left() {
    run("faulty", &["99.4"]);
    let left = std::fs::read_dir(temporary()).expect("the temporary directory");
    let left: Vec<_> = left
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("market-check-"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
