//! What `verify new` makes needs only its content, and `verify promote` makes the
//! finished service of the last solution.

mod fixture;

use fixture::Fixture;

/// As much of the harness as a new step's check uses.
const CHECK: &str = r##"
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

pub type Outcome = Result<(), String>;

pub fn ensure(holds: bool, asked: &str, expected: &str, got: String) -> Outcome {
    if holds { Ok(()) } else { Err(format!("{asked} {expected} {got}")) }
}

pub struct Suite(Vec<(&'static str, &'static str, Outcome)>);

impl Suite {
    pub fn new(_: &str, _: &str) -> Self {
        std::panic::set_hook(Box::new(|_| {}));
        Self(Vec::new())
    }

    pub fn check<F: Future<Output = Outcome>>(
        mut self,
        todo: &'static str,
        name: &'static str,
        check: fn() -> F,
    ) -> Self {
        let run = || match Box::pin(check()).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err("it waits".into()),
        };
        let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err("it panics".into()));
        self.0.push((todo, name, outcome));
        self
    }

    pub fn run(self) -> ExitCode {
        let failed = self.0.iter().filter(|(_, _, outcome)| outcome.is_err()).count();
        let passed = self.0.len() - failed;
        if std::env::args().any(|argument| argument == "--json") {
            let checks: Vec<String> = self.0.iter().map(|(todo, name, outcome)| {
                let status = if outcome.is_ok() { "passed" } else { "failed" };
                format!(r#"{{"todo":"{todo}","name":"{name}","status":"{status}"}}"#)
            }).collect();
            println!(r#"{{"step":"","passed":{passed},"failed":{failed},"checks":[{}]}}"#, checks.join(","));
        } else {
            println!("{passed} passed");
            for (todo, name, outcome) in self.0 {
                println!("{}  {todo}  {name}", if outcome.is_ok() { "passed" } else { "FAILED" });
            }
        }
        ExitCode::from(u8::from(failed > 0))
    }
}
"##;

const SERVICE: &str = "[package]\nname = \"marketsvc\"\nversion = \"0.1.0\"\nedition = \"2024\"\ndescription = \"kept\"\n";

/// A workspace as ours: with a harness, and with a finished service.
fn with_harness() -> Fixture {
    let fixture = Fixture::new();
    let manifest = fixture.read("Cargo.toml");
    let members = "members = [\"marketsvc\", \"tools/check\", ";
    fixture.write("Cargo.toml", &manifest.replace("members = [", members));
    fixture.write(
        "tools/check/Cargo.toml",
        "[package]\nname = \"check\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    fixture.write("tools/check/src/lib.rs", CHECK);
    fixture.write("marketsvc/Cargo.toml", SERVICE);
    fixture.write("marketsvc/src/lib.rs", "pub mod old;\n");
    fixture.write("marketsvc/src/old.rs", "");
    for step in ["01-first", "02-second"] {
        for side in ["exercise", "solution"] {
            let file = format!("steps/{step}/{side}/Cargo.toml");
            let manifest = fixture.read(&file);
            let harness = "[dev-dependencies]\ncheck.path = \"../../../tools/check\"\n";
            fixture.write(&file, &format!("{manifest}\n{harness}"));
            let file = format!("steps/{step}/{side}/src/lib.rs");
            let lib = fixture.read(&file);
            fixture.write(&file, &format!("{lib}\npub mod zebra;\n"));
            let number = &step[..2];
            fixture.write(
                &format!("steps/{step}/{side}/src/zebra.rs"),
                &format!("//! Step {number}: `./run.sh run {number}`.\n"),
            );
        }
    }
    fixture.command("cargo", &["generate-lockfile", "--offline"]);
    fixture.holds(&["starters"]);
    fixture
}

#[test]
fn a_new_step_needs_only_its_content() {
    let fixture = with_harness();
    fixture.holds(&["parity"]);
    for side in ["exercise", "solution"] {
        let example = format!("steps/02-second/{side}/examples/shown.rs");
        fixture.write(&example, "fn main() {}\n");
    }
    let said = fixture.holds(&["new", "3", "third"]);
    for part in ["into Cargo.lock", "git add steps/03-third Cargo.lock\n"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    fixture.command(
        "cargo",
        &[
            "fmt",
            "--check",
            "-p",
            "step03-exercise",
            "-p",
            "step03-solution",
        ],
    );
    for side in ["exercise", "solution"] {
        let read = |file: &str| fixture.read(&format!("steps/03-third/{side}/{file}"));
        let lib = read("src/lib.rs");
        assert!(lib.starts_with("//! Step 03: TO "), "{lib}");
        let modules = "pub mod placeholder;\npub mod zebra;\n";
        assert!(lib.ends_with(modules), "{lib}");
        let zebra = "//! Step 03: `./run.sh run 03`.\n";
        assert_eq!(read("src/zebra.rs"), zebra);
        let examples = format!("steps/03-third/{side}/examples");
        assert!(!fixture.path(&examples).exists());
    }
    let verified = fixture.verify(&["all", "3"]);
    assert_eq!(verified.code, Some(1), "{}", verified.output);
    for line in [
        "TO DO   steps/03-third/README.md is written",
        "to write: line 3: Goal: ",
        "TO DO   steps/03-third/hints.md is written",
        "TO DO   steps/03-third/check.rs is written",
        "TO DO   steps/03-third/solution/src/lib.rs is written",
        "TO DO   the table of README.md names 03-third",
        "TO DO   03-third has 0 wrong answers",
        "TO DO   03-third has 0 right answers",
        "ok      03-third exercise continues solution 02",
        "ok      03-third exercise is red for every TODO",
        "ok      03-third exercise fails as its chapter announces",
        "ok      03-third solution is green",
        "ok      steps/03-third/README.md leaves the tree as it was",
    ] {
        assert!(
            verified.output.contains(line),
            "no {line:?} in\n{}",
            verified.output
        );
    }
    assert!(!verified.output.contains("FAILED"), "{}", verified.output);
    for taken in [["new", "3", "other"], ["new", "4", "Fourth"]] {
        assert_eq!(fixture.verify(&taken).code, Some(2));
    }
}

#[test]
fn a_step_may_continue_an_earlier_one() {
    let fixture = with_harness();
    fixture.holds(&["new", "3", "third", "--continues", "1"]);
    let output = fixture.holds(&["parity", "3"]);
    assert!(
        output.contains("03-third exercise continues solution 01"),
        "{output}"
    );
    let chapter = "steps/03-third/README.md";
    for (from, to, reason) in [
        (
            "continues: 01",
            "continues: 03",
            "there is no such step before it",
        ),
        (
            "continues: 01",
            "continues: 02",
            "`src/main.rs` is not named",
        ),
        (
            "This step continues step 01",
            "It does",
            "does not say \"This step continues step 01\"",
        ),
    ] {
        fixture.breaks(&["parity", "3"], chapter, from, to, reason);
    }
}

#[test]
fn the_last_solution_becomes_the_service() {
    let fixture = with_harness();
    let output = fixture.holds(&["parity"]);
    assert!(!output.contains("the finished service"), "{output}");
    fixture.write("marketsvc/README.md", "# Kept\n");
    fixture.write(
        "marketsvc/tests/kept.rs",
        "#[test]\nfn it_answers() {\n    assert_eq!(marketsvc::answer(), 42);\n}\n",
    );
    fixture.holds(&["promote"]);
    for (file, text) in [
        ("src/lib.rs", "pub fn answer() -> u32 {\n    42\n}\n"),
        ("src/main.rs", "marketsvc::half()"),
        ("Cargo.toml", "description = \"kept\"\n"),
        ("README.md", "# Kept\n"),
    ] {
        let promoted = fixture.read(&format!("marketsvc/{file}"));
        assert!(promoted.contains(text), "{file}: {promoted}");
        assert!(!promoted.contains("TODO"), "{file}: {promoted}");
    }
    assert!(!fixture.path("marketsvc/src/old.rs").exists());
    fixture.command("cargo", &["test", "--offline", "-q", "-p", "marketsvc"]);

    let output = fixture.holds(&["parity"]);
    assert!(
        output.contains("ok      the finished service is the last solution"),
        "{output}"
    );
    let lib = "marketsvc/src/lib.rs";
    let reason = "src/lib.rs is not that of the last solution";
    fixture.breaks(&["parity"], lib, "42", "43", reason);
    fixture.write("marketsvc/src/more.rs", "");
    let verified = fixture.verify(&["parity"]);
    let reason = "marketsvc/src/more.rs is not that of the last solution";
    assert!(verified.output.contains(reason), "{}", verified.output);
}
