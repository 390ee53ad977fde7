//! Each rule that `verify` proves, shown to hold and shown to fail.

mod fixture;

use std::process::Command;

use fixture::Fixture;

const LIB: &str = "steps/02-second/exercise/src/lib.rs";
const SOLUTION: &str = "steps/02-second/solution/src/lib.rs";
const CHAPTER: &str = "steps/02-second/README.md";
const HINTS: &str = "steps/02-second/hints.md";

#[test]
fn everything_holds_and_nothing_is_touched() {
    let fixture = Fixture::new();
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@localhost"])
            .args(arguments)
            .current_dir(fixture.root())
            .output()
            .expect("git");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "all"]);
    let output = fixture.holds(&["all"]);
    for line in [
        "verify parity: 5 passed, 0 failed",
        "verify texts: 11 passed, 0 failed",
        "steps/02-second/README.md:106 $ ./run.sh get",
        "verify exercises: 10 passed, 0 failed",
        "wrong answers rejected: 2/2",
        "right answers accepted: 4/4",
        "wrong answers left to --all: 8",
        "checks without a wrong answer of their own: 2",
        "verify wrong: 10 passed, 0 failed",
        " server stops",
        "\nverify: ",
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
    assert_eq!(git(&["status", "--porcelain"]), "");
    // A second run remembers what the first has proved, and one step will do.
    let output = fixture.holds(&["all", "2"]);
    for line in [
        "wrong answers rejected: 1/1",
        "verify exercises: 5 passed, 0 failed, 5 remembered",
        "checks without a wrong answer of their own: 1",
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
    assert!(!output.contains("01-first has"), "{output}");
    let again = fixture.verify_with(&["exercises", "2"], &[("CI", "true")]);
    assert!(
        again.output.contains("5 passed, 0 failed\n"),
        "{}",
        again.output
    );
}

#[test]
fn speed_measures_and_fails_only_when_a_check_does() {
    let fixture = Fixture::new();
    let untouched = fixture.read(LIB);
    let output = fixture.holds(&["speed", "--times", "2"]);
    let figures: serde_json::Value = serde_json::from_str(&output).expect("one JSON object");
    let steps = figures["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 2, "{output}");
    for step in steps {
        for name in ["edits", "unchanged"] {
            let seconds = step[name].as_array().expect(name);
            assert!(seconds.len() == 2 && seconds.iter().all(|it| it.as_f64() > Some(0.0)));
        }
    }

    fixture.breaks(
        &["speed", "2", "--times", "1"],
        SOLUTION,
        "    42\n",
        "    41\n",
        "./run.sh check 02 of the solved exercise does not pass",
    );
    assert_eq!(fixture.read(LIB), untouched);
}

#[test]
fn the_starter_patch_is_the_exercise() {
    let fixture = Fixture::new();
    let patch = "steps/02-second/starter.patch";
    for (file, from, to, reason) in [
        // The exercise has changed, inside a task, or has other files.
        (LIB, "todo!()", "0", "it does not give exercise/src/lib.rs"),
        // The solution has changed.
        (
            SOLUTION,
            "42",
            "43",
            "does not fit the solution's src/lib.rs",
        ),
        (patch, "@@ -", "@@ ", "starter.patch: src/lib.rs: "),
        (
            patch,
            "\nexercise ",
            "\nexercise x",
            "starter.patch: exercise x",
        ),
    ] {
        fixture.breaks(&["parity", "02"], file, from, to, reason);
    }
    let more = "steps/02-second/exercise/src/more.rs";
    fixture.write(more, "");
    let verified = fixture.verify(&["parity", "02"]);
    let reason = "it does not give exercise/src/more.rs";
    assert!(verified.output.contains(reason), "{}", verified.output);
    assert!(verified.output.contains("cargo run -p verify -- starters"));
    std::fs::remove_file(fixture.path(more)).expect("removed");

    // Written anew, it fits again; the learner's own tests are no part of it.
    fixture.write("steps/02-second/exercise/tests/mine.rs", "");
    let text = fixture.read(LIB).replace("todo!()", "0");
    fixture.write(LIB, &text);
    let output = fixture.holds(&["starters", "02"]);
    assert_eq!(output, format!("wrote {patch}\n"));
    fixture.holds(&["parity", "02"]);
    std::fs::remove_file(fixture.path(patch)).expect("removed");
    fixture.breaks(
        &["parity", "02"],
        LIB,
        "0",
        "1",
        "starter.patch: no such file",
    );
}

#[test]
fn tests_that_the_solution_has_are_files_of_the_course() {
    let fixture = Fixture::new();
    let (exercise, solution) = ("steps/02-second/exercise", "steps/02-second/solution");
    let books = |library: &str, test: &str| {
        format!(
            "//! The tests.\n\n#[test]\nfn half() {{\n    // TODO(02.3): test half\n    \
             {test}\n    // END TODO(02.3)\n    assert!({library}::half() < 42);\n}}\n"
        )
    };
    let test = "assert_eq!(step02_solution::half(), 21);";
    let solved = books("step02_solution", test);
    fixture.write(&format!("{solution}/tests/books.rs"), &solved);
    let verified = fixture.verify(&["parity", "02"]);
    let reason = "tests/books.rs: only in the solution";
    assert!(verified.output.contains(reason), "{}", verified.output);
    let file = format!("{exercise}/tests/books.rs");
    fixture.write(&file, &books("step02", "assert_eq!(step02::half(), 0);"));
    // The learner's own, which does not even compile.
    fixture.write(&format!("{exercise}/tests/mine.rs"), "fn (");
    fixture.holds(&["starters", "02"]);
    let patch = fixture.read("steps/02-second/starter.patch");
    assert!(patch.contains("exercise/tests/books.rs") && !patch.contains("mine.rs"));
    // It is new in this step, as the chapter must say.
    let starter = "`src/main.rs` says";
    let chapter = fixture.read(CHAPTER);
    let named = chapter.replace(starter, "`tests/books.rs` is new. `src/main.rs` says");
    fixture.write(CHAPTER, &named);
    fixture.holds(&["parity", "02"]);
    fixture.breaks(
        &["parity", "02"],
        &file,
        "//! The tests.",
        "//! Tests.",
        "a difference outside the TODO regions",
    );

    // The check runs them, and an answer may change them.
    let check = "steps/02-second/check.rs";
    let run = "        (\"02.3\", \"the tests pass\", std::panic::catch_unwind(|| {
            let program = std::env::var(\"MARKETSVC_TEST_BOOKS\").unwrap();
            std::process::Command::new(program).output().unwrap().status.success()
        })),
    ]\n    .map(";
    let more = fixture.read(check).replace("    ]\n    .map(", run);
    fixture.write(check, &more);
    fixture.holds(&["exercises", "2"]);
    let answer = format!(
        "misconception: none\nrejected-by: 02.3 · the tests pass\n\n\
         --- a/{solution}/tests/books.rs\n+++ b/{solution}/tests/books.rs\n\
         @@ -5,3 +5,3 @@\n     // TODO(02.3): test half\n-    {test}\n+    {}\n     // END TODO(02.3)\n",
        test.replace("21", "20")
    );
    fixture.write("tools/verify/wrong/02-second/6.patch", &answer);
    let output = fixture.holds(&["wrong", "02"]);
    for line in ["wrong answers rejected: 2/2", "right answers accepted: 2/2"] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
    // A solved exercise has the solution's tests.
    let sh = format!("#!/bin/sh\ngrep -q 'step02::half(), 21' {file}\n");
    fixture.write("run.sh", &sh);
    fixture.holds(&["speed", "02", "--times", "1"]);
}

#[test]
fn parity_fails() {
    let fixture = Fixture::new();
    let parity = |file: &str, from: &str, to: &str, reason: &str| {
        fixture.breaks(&["parity"], file, from, to, reason);
    };
    fixture.holds(&["parity"]);
    // Exercise and solution of one step.
    parity(
        SOLUTION,
        "/// Half of it.",
        "/// One half.",
        "lib.rs:11: /// One half.",
    );
    parity(
        SOLUTION,
        "    // END TODO(02.1)\n",
        "",
        "TODO(02.2): return half of the answer` inside TODO(02.1)",
    );
    parity(
        LIB,
        "TODO(02.1): return",
        "TODO(02.1): give",
        "lib.rs:6:     // TODO(02.1): give",
    );
    parity(LIB, "02.2", "02.3", "END TODO(02.2)` inside TODO(02.3)");
    parity(
        "steps/02-second/solution/Cargo.toml",
        "edition",
        "publish = false\nedition",
        "Cargo.toml:4: publish = false",
    );
    fixture.write("steps/02-second/solution/src/more.rs", "");
    let verified = fixture.verify(&["parity", "02"]);
    assert!(
        verified
            .output
            .contains("src/more.rs: only in the solution"),
        "{}",
        verified.output
    );
    std::fs::remove_file(fixture.path("steps/02-second/solution/src/more.rs")).expect("removed");

    // Exercise and the solution before.
    let starter = "`src/main.rs` says";
    parity(CHAPTER, starter, "It says", "`src/main.rs` is not named");
    parity(
        CHAPTER,
        starter,
        "`src/main.rs`, `Cargo.toml` say",
        "`Cargo.toml` is named",
    );
    parity(
        CHAPTER,
        "## What changed in the starter",
        "## Changes",
        "there is no `## What",
    );
    parity(
        LIB,
        "/// All of it.",
        "/// All.",
        "`src/lib.rs` is not named",
    );
    parity(
        SOLUTION,
        "/// All of it.",
        "/// All.",
        "a difference outside",
    );

    // What is allowed to differ.
    let text = fixture.read(LIB);
    fixture.write(LIB, &format!("use std::fmt::{{\n    Debug,\n}};\n\n{text}"));
    fixture.write("steps/02-second/exercise/tests/mine.rs", "");
    fixture.holds(&["starters"]);
    fixture.holds(&["parity"]);
}

#[test]
fn a_step_may_start_afresh_and_the_next_continues_it() {
    let fixture = Fixture::new();
    fixture.copy_step("02", "02-second", "03", "03-third");
    let third = "steps/03-third/README.md";
    let text = fixture.read(third);
    fixture.write(third, &text.replace("`src/main.rs` says", "Nothing"));
    fixture.holds(&["parity"]);

    // Its files are its own, and it says so to its reader and to verify.
    for side in ["exercise", "solution"] {
        let file = format!("steps/02-second/{side}/src/lib.rs");
        let lib = fixture.read(&file).replace("All of it", "It");
        fixture.write(&file, &lib);
        let file = format!("steps/03-third/{side}/src/lib.rs");
        fixture.write(&file, &lib.replace("02", "03"));
    }
    let chapter = fixture.read(CHAPTER).replace(
        "`src/main.rs` says which step it is.",
        "<!-- verify: new start -->\nThis step starts afresh. `src/main.rs` is given.",
    );
    fixture.write(CHAPTER, &chapter);
    fixture.holds(&["starters"]);
    let output = fixture.holds(&["parity"]);
    for line in [
        "02-second starts afresh, as its chapter says",
        "03-third exercise continues solution 02",
        "verify parity: 8 passed, 0 failed",
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }
    assert!(!output.contains("continues solution 01"), "{output}");

    // Said to one of the two only.
    let parity = |file: &str, from: &str, to: &str, reason: &str| {
        fixture.breaks(&["parity"], file, from, to, reason);
    };
    parity(CHAPTER, "starts afresh", "is new", "does not say");
    parity(
        CHAPTER,
        "<!-- verify: new start -->",
        "",
        "`src/lib.rs` is not named",
    );
}

#[test]
fn exercises_fail() {
    let fixture = Fixture::new();
    let exercises = |file: &str, from: &str, to: &str, reason: &str| {
        fixture.breaks(&["exercises", "2"], file, from, to, reason);
    };
    let check = "steps/02-second/check.rs";
    fixture.holds(&["exercises", "2"]);
    exercises(
        LIB,
        "pub fn half",
        "pub fn whole",
        "cannot find function `half`",
    );
    exercises(SOLUTION, "42", "let unused = 1; 42", "unused variable");
    exercises(
        SOLUTION,
        "answer() / 2",
        "22",
        "FAILED  02.2  half of it is 21",
    );
    // Red, but not for every TODO.
    exercises(
        check,
        "stepNN::half() == 21".replace("NN", "02").as_str(),
        "true",
        "TODO(02.2) passes although",
    );
    exercises(check, "\"02.2\"", "\"02.1\"", "no check names TODO(02.2)");
    exercises(check, "\"02.2\"", "\"02.7\"", "a check names TODO(02.7)");
    // Not as announced, or no verdict at all.
    exercises(
        check,
        "the answer is 42",
        "the answer",
        "first fails 02.1  the answer",
    );
    exercises(CHAPTER, "FAILED  02.1", "FAILED  02.2", "announces   02.2");
    exercises(check, "u8::from(failed > 0)", "7", "contradicts itself");
    exercises(
        check,
        "fn main() -> ExitCode {",
        "fn main() -> ExitCode {\n    std::process::exit(3);\n",
        "no verdict",
    );
    exercises(
        "steps/02-second/solution/Cargo.toml",
        "name = \"check\"",
        "name = \"checks\"",
        "no check was built",
    );
}

#[test]
fn wrong_answers_fail() {
    let fixture = Fixture::new();
    let wrong = |file: &str, from: &str, to: &str, reason: &str| {
        fixture.breaks(&["wrong", "2"], file, from, to, reason);
    };
    let patch = "tools/verify/wrong/02-second/1.patch";
    let other = "tools/verify/wrong/02-second/3.patch";
    let right = "tools/verify/right/02-second/sum.patch";
    // Those that are not tried must apply and name their check, as `other`.
    let all = |cases: &[(&str, &str, &str, &str)]| fixture.breaks_all(&["wrong", "2"], cases);
    all(&[
        (patch, "+    44", "+    42", "accepted, though: off by 1"),
        (other, "-    42", "-    43", "it no longer applies"),
        (right, "40 + 2", "40 + 1", "a right answer is rejected"),
    ]);
    all(&[
        (
            patch,
            "02.1 · the answer",
            "02.1 · an answer",
            "rejected first by `02.1 · the answer is 42`, not by `02.1 · an answer is 42`",
        ),
        (
            other,
            "the answer is",
            "the sum is",
            "not by `02.1 · the sum is 42`",
        ),
    ]);
    wrong(patch, "+    44", "+    44.5", "it does not compile");
    wrong(patch, "-    42", "-    43", "it no longer applies");
    wrong(patch, "misconception: ", "", "need `misconception:");
    fixture.write("tools/verify/wrong/lost.patch", "");
    let verified = fixture.verify(&["wrong"]);
    assert!(
        verified.output.contains("not in the folder of a step"),
        "{}",
        verified.output
    );
    std::fs::remove_file(fixture.path("tools/verify/wrong/lost.patch")).expect("removed");
    std::fs::remove_file(fixture.path(other)).expect("removed");
    let verified = fixture.verify(&["wrong", "2"]);
    assert!(
        verified.output.contains("at least 5 are needed"),
        "{}",
        verified.output
    );
    std::fs::remove_file(fixture.path(right)).expect("removed");
    let verified = fixture.verify(&["wrong", "2"]);
    assert!(
        verified
            .output
            .contains("FAILED  02-second has 1 right answers"),
        "{}",
        verified.output
    );
    assert!(
        verified.output.contains("wrong answers rejected: 1/1"),
        "{}",
        verified.output
    );
}

#[test]
fn chapters_fail_for_their_form() {
    let fixture = Fixture::new();
    let chapters = |from: &str, to: &str, reason: &str| {
        fixture.breaks(&["texts", "2"], CHAPTER, from, to, reason);
    };
    chapters("# 02 · A", "# 2 · A", "must begin with `# 02 · `");
    chapters("Goal: learn", "learn", "a line `Goal: …` is missing");
    let minutes = "Minutes: about 25 (an estimate)";
    chapters(minutes, "Minutes: 5", &format!("must be `{minutes}`"));
    fixture.write(
        CHAPTER,
        &fixture.read(CHAPTER).replace(minutes, "Minutes: 5"),
    );
    assert!(fixture.holds(&["minutes", "--write"]).contains("\n02  "));
    assert!(fixture.read(CHAPTER).contains(minutes));
    chapters(
        "`exercise/src/lib.rs`",
        "`exercise/src/nil.rs`",
        "there is no `exercise/src/nil.rs`",
    );
    chapters(
        "`exercise/src/lib.rs`",
        "`exercise/src/main.rs`",
        "`exercise/src/lib.rs` has a TODO",
    );
    chapters(
        "## Predict",
        "## Guess",
        "`## Guess` where `## Predict` is expected",
    );
    chapters("**3.**", "3.", "has 2 questions `**1.** …`");
    chapters("**b.** See", "See", "question 1: the answer must begin");
    chapters("TODO(02.1) and ", "", "does not mention TODO(02.1)");
    let try_it = "Try by hand: `./run.sh run 02`, and in a second terminal `./run.sh get`\n";
    chapters(
        "Now works: counting.",
        "Now works: counting",
        "needs a sentence `Now works: …`",
    );
    chapters(try_it, "", "needs `Try by hand: …`");
    chapters(try_it, "Try by hand: something.\n", "with a command");
}

#[test]
fn texts_fail() {
    let fixture = Fixture::new();
    let texts = |file: &str, from: &str, to: &str, reason: &str| {
        fixture.breaks(&["texts"], file, from, to, reason);
    };
    fixture.holds(&["texts"]);
    texts(
        CHAPTER,
        "(solution/src/lib.rs)",
        "(solution/src/nil.rs)",
        "there is no steps/02-second/solution/src/nil.rs",
    );
    texts(CHAPTER, "(#start)", "(#begin)", "has no heading #begin");
    texts(
        CHAPTER,
        "#fixture)",
        "#other)",
        "README.md has no heading #other",
    );
    texts(CHAPTER, "(#start)", "(/steps)", "must be relative");
    texts(
        CHAPTER,
        "(#start)",
        "(../../../x)",
        "there is no ../x in the project",
    );
    texts(
        CHAPTER,
        "(#start)",
        "[start]",
        "there is no steps/02-second/start",
    );
    texts(CHAPTER, "(#start)", "(https://a)", "must be https://");
    texts(
        CHAPTER,
        "(#start)",
        "(http://docs.rs/a)",
        "must be https://",
    );
    texts(
        CHAPTER,
        "Nothing.",
        "A Vec<u8> there.",
        "<u8> is taken for HTML",
    );
    // Also pages that are no chapter.
    fixture.write(
        "data/README.md",
        "[up](../README.md) and [down](below.md)\n",
    );
    let verified = fixture.verify(&["texts"]);
    assert_eq!(verified.code, Some(1), "{}", verified.output);
    assert!(
        verified.output.contains("there is no data/below.md"),
        "{}",
        verified.output
    );
    assert!(!fixture.holds(&["texts", "2"]).contains("data/"));
    std::fs::remove_file(fixture.path("data/README.md")).expect("removed");

    let hints = |from: &str, to: &str, reason: &str| {
        fixture.breaks(&["texts", "2"], HINTS, from, to, reason);
    };
    hints(
        "for step 02",
        "for step 2",
        "`# Hints for step 02` is expected",
    );
    hints("## 02.1\n", "## 02.7\n", "`## 02.1` is expected");
    hints("### Pointer", "### Point", "`### Pointer` is expected");
    hints(
        "### Nudge\n\nLess than the answer.\n\n",
        "",
        "`### Nudge` is expected",
    );
    hints(
        "Less than the answer.\n",
        "",
        "line 21: 02.2 Nudge is empty",
    );
    hints("4/*", "42 /*", "line 13: 02.1 Near-answer is the solution");
    hints(
        "4/* and",
        "4\n+ 2 /* and",
        "has 2 lines of code, the solution 1",
    );
    hints("```rust", "```", "names no language");
    hints(
        "A number",
        "A [number](README.md)",
        "shows neither links nor HTML",
    );
    let text = fixture.read(HINTS);
    fixture.write(HINTS, &format!("{text}\n## 02.3\n\n### Nudge\n\nMore.\n"));
    let verified = fixture.verify(&["texts"]);
    assert!(
        verified
            .output
            .contains("`## 02.3` follows the last section"),
        "{}",
        verified.output
    );
    fixture.write(HINTS, text.split("## 02.2").next().expect("a part"));
    let verified = fixture.verify(&["texts"]);
    assert!(
        verified.output.contains("`## 02.2` is missing at the end"),
        "{}",
        verified.output
    );
    std::fs::remove_file(fixture.path(HINTS)).expect("removed");
    let verified = fixture.verify(&["texts"]);
    assert_eq!(verified.code, Some(1), "{}", verified.output);
    assert!(
        verified.output.contains("02-second/hints.md: no such file"),
        "{}",
        verified.output
    );
}

#[test]
fn diagrams_fail() {
    let fixture = Fixture::new();
    let page = |second: &str| {
        let diagram = |text: &str| format!("```mermaid\n{text}\n```\n\n");
        let first = diagram("sequenceDiagram\n  A->>B: hello");
        fixture.write("data/README.md", &format!("{first}{}", diagram(second)));
    };
    page("flowchart LR\n  a[\"a <b>b</b>\"] --> b");
    let gate = std::env::var_os("CI").is_some();
    let said = "not run: mermaid  2 diagrams";
    for (settings, code) in [([].as_slice(), 0), (&[("CI", "true")], 1)] {
        let verified = fixture.verify_with(&["texts"], settings);
        assert!(verified.output.contains(said), "{}", verified.output);
        assert_eq!(verified.code, Some(code));
    }

    let installed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/mermaid");
    if !installed.exists() && !gate {
        return;
    }
    std::fs::create_dir_all(fixture.path("target")).expect("created");
    std::os::unix::fs::symlink(installed, fixture.path("target/mermaid")).expect("linked");
    assert!(fixture.holds(&["texts"]).contains("ok      2 diagrams"));
    page("flowchart LR\n  a -->");
    let verified = fixture.verify(&["texts"]);
    assert_eq!(verified.code, Some(1));
    let failure = "        data/README.md:6: Parse error on line ";
    assert!(verified.output.contains(failure), "{}", verified.output);
}

#[test]
fn chapters_fail_for_what_they_show() {
    let fixture = Fixture::new();
    let chapters = |cases: &[(&str, &str, &str)]| {
        let cases = cases.iter();
        let cases: Vec<_> = cases
            .map(|(from, to, reason)| (CHAPTER, *from, *to, *reason))
            .collect();
        fixture.breaks_all(&["chapters", "2"], &cases);
    };
    chapters(&[
        (
            "02: 0 of 2 checks",
            "02: 1 of 2 checks",
            "+02: 0 of 2 checks passed",
        ),
        (
            "// solution/src/lib.rs\n",
            "",
            "a rust block without a file",
        ),
        ("\nhi\n", "\nho\n", "-ho\n        +hi"),
        (
            "\nasked for half: 21",
            "\nasked for half: 22",
            "+asked for half: 21",
        ),
        (
            "patch wrong/02-second/1.patch",
            "patch wrong/02-second/9.patch",
            "9.patch: no such file",
        ),
        ("left.sqlite && ls", "left.txt && ls", "?? left.txt"),
        // What is to be tried by hand.
        ("`./run.sh get`", "`./run.sh fetch`", "exit status: 2"),
    ]);
    chapters(&[
        ("    42\n", "    43\n", "does not hold these lines"),
        ("```console exit=1", "```console", "expected exit code 0"),
        ("listening on http://127.0.0.1:9090", "serving", "-serving"),
        ("$ echo left", "$ sleep 4242 & echo left", "it left running"),
        (
            "`./run.sh run 02`, and",
            "`./run.sh run 03`, and",
            "-[..]listening on http://[..]",
        ),
    ]);
    chapters(&[
        (
            "$ ./run.sh run 02",
            "$ ./run.sh run 03",
            "FAILED  steps/02-second/README.md:25 $ ./run.sh run 03",
        ),
        (
            "<!-- verify: solved -->",
            "<!-- verify: done -->",
            "there are solved, untouched",
        ),
    ]);
}

#[test]
fn a_check_that_fails_now_and_then_is_found() {
    let fixture = Fixture::new();
    // The checks count their runs beside the source, where they are started.
    let check = "steps/02-second/check.rs";
    let text = fixture.read(check);
    let on_each_run = |action: &str| {
        let count = "    let runs = std::fs::read_to_string(\"runs\").unwrap_or_default().len() + 1;\n    std::fs::write(\"runs\", \"x\".repeat(runs)).expect(\"written\");\n";
        let main = "fn main() -> ExitCode {\n";
        fixture.write(
            check,
            &text.replace(main, &format!("{main}{count}{action}\n")),
        );
    };
    let fails = |arguments: &[&str], reasons: &[&str]| {
        let verified = fixture.verify(arguments);
        assert_eq!(verified.code, Some(1), "{}", verified.output);
        for reason in reasons {
            assert!(
                verified.output.contains(reason),
                "no {reason:?} in\n{}",
                verified.output
            );
        }
    };

    on_each_run("    assert!(runs > 0);");
    let repeated = ["flaky", "--times", "3", "--load"];
    let output = fixture.holds(&repeated);
    for line in [
        "02-second check: 3 runs",
        "ok      no file is left",
        "verify flaky: 3 passed, 0 failed",
    ] {
        assert!(output.contains(line), "no {line:?} in\n{output}");
    }

    // Every third run fails one of the checks.
    let half = "stepNN::half() == 21".replace("NN", "02");
    fixture.write(check, &text);
    on_each_run("    let third = runs % 3 == 0;");
    let broken = fixture
        .read(check)
        .replace(&half, &format!("!third && {half}"));
    fixture.write(
        check,
        &broken.replace("catch_unwind(||", "catch_unwind(move ||"),
    );
    fails(
        &["flaky", "2", "--times", "7"],
        &[
            "2 of 7 runs failed",
            "run 3: ",
            "FAILED  02.2  half of it is 21",
        ],
    );

    // A process and a file that are left.
    on_each_run(
        "    std::process::Command::new(\"sleep\").arg(\"4325\").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect(\"sleep\");
    std::fs::write(std::env::temp_dir().join(\"left.sqlite\"), \"\").expect(\"written\");",
    );
    fails(
        &["flaky", "2", "--times", "1"],
        &[
            "left running: ",
            "sleep 4325",
            "FAILED  no file is left",
            "left.sqlite",
        ],
    );
    on_each_run("    std::process::exit(9);");
    fails(
        &["flaky", "2", "--times", "2"],
        &["2 of 2 runs failed", "run 2: "],
    );
    fixture.write(check, "fn main() {");
    fails(
        &["flaky", "2"],
        &["this file contains an unclosed delimiter"],
    );
}

#[test]
fn a_broken_setting_is_told_from_a_failure() {
    let fixture = Fixture::new();
    let verified = fixture.verify(&["parity", "9"]);
    assert_eq!(verified.code, Some(2));
    assert!(
        verified.output.contains("01-first, 02-second"),
        "{}",
        verified.output
    );
    fixture.write("Cargo.toml", "[workspace]\nresolver = \"7\"\n");
    let verified = fixture.verify(&["exercises"]);
    assert_eq!(verified.code, Some(3), "{}", verified.output);
}
