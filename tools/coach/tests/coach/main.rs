//! The coach, run as a learner runs it, on a small project.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "snapbox writes its snapshots so"
)]

mod diff;
#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio};

use snapbox::{assert_data_eq, str};
use support::{Project, outcome, text};

fn coach(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    command.args(arguments);
    command
}

fn run(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    outcome(&coach(project, arguments).output().unwrap())
}

#[test]
fn list_shows_what_the_chapters_say_and_does_without_them() {
    let project = Project::new();
    // Not steps, whatever they look like.
    project.write("steps/notes.md", "");
    project.write("steps/+9-plus/README.md", "# 09 · Plus\n");
    let (code, out, err) = run(&project, &["list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_data_eq!(
        out,
        str![[r#"
  05  todo     The engine  30 min
      share connections.
  08  todo     typed rows

0 of 2 steps done, 30 minutes left
Go on: ./run.sh checkout 05

"#]]
    );
    // Reading is no reason to write.
    assert!(!project.path(".progress").exists());
}

#[test]
fn a_check_runs_the_tests_of_the_course_and_no_others() {
    let project = Project::new();
    let judged = "let program = std::env::var(\"MARKETSVC_TEST_BOOKS\").unwrap();
    let tests = std::process::Command::new(program).output().unwrap();
    let right = tests.status.success();";
    let check = project.read("steps/05-engine/check.rs");
    let check = check.replace("let right = answer == 2;", judged);
    project.write("steps/05-engine/check.rs", &check);
    for (side, library) in [("exercise", "step05"), ("solution", "step05_solution")] {
        project.write(
            &format!("steps/05-engine/{side}/tests/books.rs"),
            &format!("#[test]\nfn two() {{\n    assert_eq!({library}::answer(), 2);\n}}\n"),
        );
    }
    // The learner's own: the check does not even compile it.
    project.write("steps/05-engine/exercise/tests/mine.rs", "fn (");
    let (code, out, err) = run(&project, &["check", "05"]);
    assert_eq!(
        (code, out.contains("answer is 1")),
        (Some(1), true),
        "{err}"
    );
    let (code, _, err) = run(&project, &["check", "05", "--solution"]);
    assert_eq!(code, Some(0), "{err}");
    project.write("steps/05-engine/exercise/tests/books.rs", "fn (");
    let (code, _, err) = run(&project, &["check", "05"]);
    assert_eq!(code, Some(1), "{err}");
    for words in ["exercise/tests/books.rs:1:", "does not compile"] {
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn a_red_check_is_1_and_a_green_one_0() {
    let project = Project::new();
    let (code, out, err) = run(&project, &["check", "05"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(1), "filter []\nthe answer is 1\n"),
        "{err}"
    );
    let (code, out, err) = run(&project, &["check", "05", "--solution"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "filter []\nthe answer is 2\n", "")
    );
    // The last step, and green: nothing comes next.
    let (code, out, _) = run(&project, &["check", "8"]);
    assert_eq!(code, Some(0));
    assert_data_eq!(
        out,
        str![[r#"
filter []
the answer is 2

That was the last step.
Compare with our solution: ./run.sh diff 08

"#]]
    );

    // Once the exercise is right, the chapter says what works now, and the next
    // step is named, by its real number.
    project.solve_05();
    let (code, out, _) = run(&project, &["check", "05"]);
    assert_eq!(code, Some(0));
    assert_data_eq!(
        out,
        str![[r#"
filter []
the answer is 2

Now works: queries share connections, as many as there may be and not one more,
however many clients ask.
Try by hand: `./run.sh run 05`, and in a second terminal `./run.sh customers`, which is a long line
Next: steps/08-typed-rows/README.md (./run.sh checkout 08)
Compare with our solution: ./run.sh diff 05

"#]]
    );
    // With a filter only a part has run.
    let (code, out, _) = run(&project, &["check", "05", "05.1"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "filter [\"05.1\"]\nthe answer is 2\n")
    );
    let (code, out, err) = run(&project, &["check", "05", "05.7"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_data_eq!(
        err,
        str![[r#"
no check of 05-engine has "05.7" in its task or its text; ./run.sh check 05 runs all

"#]]
    );
}

#[test]
fn a_check_that_ends_early_is_not_passed() {
    let project = Project::new();
    // The check program then ends with code 0 before it has judged.
    let lib = project
        .read("steps/05-engine/exercise/src/lib.rs")
        .replace("    1\n    // END", "    9\n    // END");
    project.write("steps/05-engine/exercise/src/lib.rs", &lib);
    let (code, out, err) = run(&project, &["check", "05"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("ended before its report"), "{err}");
    let (_, list, _) = run(&project, &["list"]);
    assert!(list.contains("05  todo"), "{list}");
}

#[test]
fn a_step_has_several_names() {
    let project = Project::new();
    for name in [
        "5",
        "05",
        "005",
        "05-engine",
        "05-engine/",
        "05-engine/exercise",
        "./steps/05-engine/exercise/",
    ] {
        let (code, out, err) = run(&project, &["check", name]);
        assert_eq!(
            (code, out.contains("answer is 1")),
            (Some(1), true),
            "{name}: {out}{err}"
        );
    }
    let (code, out, _) = run(&project, &["check", "steps/05-engine/solution"]);
    assert_eq!(
        (code, out.contains("answer is 2")),
        (Some(0), true),
        "{out}"
    );
    for folder in ["steps/05-engine", "steps/05-engine/exercise/src"] {
        let output = coach(&project, &["check"])
            .current_dir(project.path(folder))
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{folder}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stdout).contains("answer is 1"), "{folder}");
    }
    // From elsewhere, with the folder named.
    let elsewhere = tempfile::tempdir().unwrap();
    let root = project.root();
    let output = coach(&project, &["--root", root.to_str().unwrap(), "check", "05"])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("answer is 1"));
}

#[test]
fn an_unknown_step_lists_the_steps() {
    let project = Project::new();
    let cases: [&[&str]; 7] = [
        &["check", "07"],
        &["check", "05-motor"],
        &["check", "exercise"],
        &["check", "99999999999999999999"],
        &["check"],
        &["diff", "x"],
        &["diff", "05", "06"],
    ];
    for arguments in cases {
        let (code, out, err) = run(&project, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(
            err.ends_with("the steps are:\n  05-engine\n  08-typed-rows\n"),
            "{arguments:?}: {err}"
        );
    }
    let (code, _, err) = run(&project, &["chek"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("'check'"), "{err}");
}

#[test]
fn code_that_does_not_compile_is_shown_as_cargo_shows_it() {
    let project = Project::new();
    project.write(
        "steps/05-engine/exercise/src/lib.rs",
        "pub fn answer() -> u32 {\n    \"two\"\n}\n",
    );
    let (code, out, err) = run(&project, &["check", "05"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("error[E0308]: mismatched types"), "{err}");
    assert!(
        err.contains("steps/05-engine/exercise/src/lib.rs:2:5"),
        "{err}"
    );
    assert!(
        err.contains("05-engine: the exercise does not compile; no check has run"),
        "{err}"
    );
    // A step is built for itself: the other is not held up.
    let (code, ..) = run(&project, &["check", "08"]);
    assert_eq!(code, Some(0));
}

#[test]
fn warnings_in_the_step_are_shown() {
    let project = Project::new();
    let mut code = project.read("steps/05-engine/exercise/src/lib.rs");
    code.push_str("\nfn forgotten() {}\n");
    project.write("steps/05-engine/exercise/src/lib.rs", &code);
    let (_, out, err) = run(&project, &["check", "05"]);
    assert!(out.contains("the answer is 1"), "{out}");
    assert!(err.contains("function `forgotten` is never used"), "{err}");
    assert!(!err.contains("1 warning emitted"), "{err}");
}

#[test]
fn what_is_not_the_learners_code_is_3() {
    let project = Project::new();
    let root = project.root();
    let elsewhere = tempfile::tempdir().unwrap();
    let output = coach(&project, &["list"])
        .current_dir(elsewhere.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).starts_with("no project here"));

    let output = coach(&project, &["check", "05"])
        .env("CARGO", root.join("no-such-cargo"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("rustup.rs"),
        "{}",
        text(&output.stderr)
    );

    // A linker that is missing is reported by the compiler, but is no mistake
    // in the code.
    let output = coach(&project, &["check", "05"])
        .env("CARGO_TARGET_DIR", project.path("other target"))
        .env("RUSTFLAGS", "-Clinker=no-such-linker")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("no-such-linker"),
        "{}",
        text(&output.stderr)
    );

    project.write("steps/05-engine/exercise/Cargo.toml", "[package\n");
    let (code, _, err) = run(&project, &["check", "05"]);
    assert_eq!(code, Some(3), "{err}");
    assert!(err.contains("a changed Cargo.toml"), "{err}");
}

#[test]
fn an_error_in_a_task_leads_to_its_chapter_and_one_in_given_code_to_diff() {
    let project = Project::new();
    let lib = project.read("steps/05-engine/exercise/src/lib.rs");
    project.write(
        "steps/05-engine/exercise/src/lib.rs",
        &lib.replace("    1\n    // END", "    \"two\" + missing!()\n    // END"),
    );
    let (code, _, err) = run(&project, &["check", "05"]);
    assert_eq!(code, Some(1));
    let (_, ours) = err.split_once("no check has run\n").unwrap();
    assert_eq!(
        ours,
        "  where     steps/05-engine/exercise/src/lib.rs:9, in TODO(05.1): answer two\n  \
         read      \"1 · Two\" in steps/05-engine/README.md:10\n  \
         hint      ./run.sh hint 05.1\n",
        "{err}"
    );
    // The task is remembered as the one that failed.
    assert!(project.read(".progress").contains("engine failed=1"));

    // What the check needs and is no longer there: the error is in check.rs, and
    // no task has been changed.
    project.write("steps/05-engine/exercise/src/lib.rs", &lib);
    project.publish_05();
    for text in [
        lib.replace("    1\n}", "    one\n}"),
        lib.replace("answer()", "reply()"),
    ] {
        project.write("steps/05-engine/exercise/src/lib.rs", &text);
        let (code, _, err) = run(&project, &["check", "05"]);
        assert_eq!(code, Some(1));
        let (_, ours) = err.split_once("no check has run\n").unwrap();
        assert!(ours.starts_with("  where     steps/05-engine/"), "{err}");
        assert!(ours.contains(", in what the step gave you\n"), "{err}");
        assert!(ours.contains("./run.sh diff 05"), "{err}");
        assert!(ours.contains("./run.sh reset 05"), "{err}");
        assert!(!ours.contains("hint"), "{err}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let project = Project::new();
    // More than a pipe holds, so that the writer notices.
    let long = "// a line of a long file\n".repeat(20_000);
    project.write("steps/05-engine/solution/src/long.rs", &long);
    let mut child = coach(&project, &["diff", "05"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}
