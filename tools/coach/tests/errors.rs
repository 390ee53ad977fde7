//! Where a failure leads: the first of many errors, the task behind an error that
//! shows elsewhere, the concept to read, the hint for one mistake.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use support::{Project, outcome};

const LIB: &str = "steps/05-engine/exercise/src/lib.rs";

fn check(project: &Project, arguments: &[&str]) -> String {
    let arguments = [&["check", "05"], arguments].concat();
    let (code, out, err) = outcome(&project.run_sh(&arguments).output().unwrap());
    assert_eq!(code, Some(1), "{out}{err}");
    err
}

#[test]
fn the_first_error_is_shown_in_full_and_the_advice_last() {
    let project = Project::with_coach();
    let lib = project.read(LIB);
    project.write("book/compiler-errors.md", "# Errors\n\n## E0308\n");
    for (wrong, more) in [
        (24, "\nand 23 more errors (--all shows them)\n"),
        (2, "\nand 1 more error (--all shows it)\n"),
        (1, ""),
    ] {
        let lines = "    let _: u32 = \"one\";\n".repeat(wrong);
        // An unused variable, too: its warning would be in the way.
        let lines = format!("    let unused = 1;\n{lines}    1\n    // END");
        project.write(LIB, &lib.replace("    1\n    // END", &lines));
        let err = check(&project, &[]);
        // The other tests' cargos may hold a lock for longer than a second.
        let first = err.lines().find(|line| !line.starts_with("another cargo"));
        assert_eq!(first, Some("error[E0308]: mismatched types"), "{err}");
        assert_eq!(err.matches("error[").count(), 1, "{err}");
        assert_eq!(
            err.matches("more error").count(),
            usize::from(wrong > 1),
            "{err}"
        );
        let (errors, advice) = err
            .split_once("\n05-engine: the exercise does not compile")
            .unwrap();
        assert!(format!("{errors}\n").contains(more), "{err}");
        assert!(!errors.contains("could not compile"), "{err}");
        let last = "  read      \"E0308\" in book/compiler-errors.md:3\n            \
                    \"1 · Two\" in steps/05-engine/README.md:10\n  hint      ./run.sh hint 05.1\n";
        assert!(advice.ends_with(last), "{err}");

        let err = check(&project, &["--all"]);
        assert_eq!(err.matches("error[").count(), wrong, "{err}");
        assert!(err.ends_with("  hint      ./run.sh hint 05.1\n"), "{err}");
    }
    let (_, help, _) = outcome(&project.run_sh(&["help", "watch"]).output().unwrap());
    assert!(help.contains("--all"), "{help}");
}

/// Two tasks, and code around them that uses what they make.
const TASKS: &str = "\
pub mod more;

pub fn answer() -> u32 {
    two(&make()) + more::nothing()
}

// TODO(05.1): make something
pub fn make() -> Option<u32> {
    Some(1)
}
// END TODO(05.1)

fn two(made: &Option<u32>) -> u32 {
    needs_send(more::task());
    made.unwrap_or(0)
}

fn needs_send<T: Send>(_: T) {}
";

const MORE: &str = "\
// TODO(05.2): nothing
pub fn nothing() -> u32 {
    0
}
// END TODO(05.2)

pub fn task() -> impl Fn() -> u32 {
    let held = held();
    move || *held
}

// TODO(05.3): something to hold
fn held() -> Box<u32> {
    Box::new(1)
}
// END TODO(05.3)
";

#[test]
fn an_error_elsewhere_leads_to_the_task_behind_it() {
    let project = Project::with_coach();
    let more = "steps/05-engine/exercise/src/more.rs";
    for side in ["exercise", "solution"] {
        project.write(&format!("steps/05-engine/{side}/src/lib.rs"), TASKS);
        project.write(&format!("steps/05-engine/{side}/src/more.rs"), MORE);
    }
    project.publish_05();
    let advice = || {
        let err = check(&project, &[]);
        let (_, advice) = err.split_once("no check has run\n").expect(&err);
        assert!(
            !advice.contains("outside") && !advice.contains("reset"),
            "{err}"
        );
        advice.to_owned()
    };
    let hint = |id: &str| format!("  hint      ./run.sh hint {id}\n");
    // Changed before, and fine.
    let later = MORE.replace("    0\n", "    1 - 1\n");
    project.write(more, &later);
    let file = fs::File::options()
        .append(true)
        .open(project.path(more))
        .unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    // 05.1 is changed: what it makes no longer fits the line that uses it.
    let other = TASKS.replace(
        "-> Option<u32> {\n    Some(1)",
        "-> Result<u32, ()> {\n    Ok(1)",
    );
    project.write(LIB, &other);
    let said = advice();
    assert!(
        said.contains(
            "; the last task that you changed is \
             steps/05-engine/exercise/src/lib.rs:7  TODO(05.1): make something\n"
        ),
        "{said}"
    );
    assert!(said.ends_with(&hint("05.1")), "{said}");
    project.write(more, &later);
    assert!(advice().ends_with(&hint("05.2")));

    // The note of the error points to the task, wherever the change was.
    project.write(LIB, TASKS);
    project.write(
        more,
        &later
            .replace("Box<u32>", "std::rc::Rc<u32>")
            .replace("Box::new", "std::rc::Rc::new"),
    );
    let said = advice();
    assert!(
        said.starts_with("  where     steps/05-engine/exercise/src/lib.rs:14"),
        "{said}"
    );
    assert!(said.ends_with(&hint("05.3")), "{said}");
}

#[test]
fn a_task_without_its_markers_is_named_with_the_lines_to_put_back() {
    let project = Project::with_coach();
    let more = "steps/05-engine/exercise/src/more.rs";
    for side in ["exercise", "solution"] {
        project.write(&format!("steps/05-engine/{side}/src/lib.rs"), TASKS);
        project.write(&format!("steps/05-engine/{side}/src/more.rs"), MORE);
    }
    project.publish_05();
    let notice = |task: u32, what: &str| {
        format!(
            "the markers of task 05.{task} are gone from {more}.\nThe coach finds a task by its two \
             marker lines. Put both back around your code:\n    // TODO(05.{task}): {what}\n    \
             // END TODO(05.{task})\n"
        )
    };
    let wrong = MORE.replace("    0\n", "    \"none\"\n");
    // Another task is changed last, and is not to blame.
    let other = TASKS.replace("Some(1)\n", "Some(2)\n");
    // Both markers, and the end marker alone, with an error behind it.
    let none: String = wrong
        .split_inclusive('\n')
        .filter(|line| !line.contains("TODO(05.2)"))
        .collect();
    let half = wrong
        .replace("// END TODO(05.2)\n", "")
        .replace("held = held()", "held: u32 = \"x\"");
    for text in [none, half] {
        project.write(LIB, TASKS);
        project.write(more, MORE);
        check(&project, &[]);
        project.write(LIB, &other);
        project.write(more, &text);
        let err = check(&project, &["--all"]);
        assert!(
            err.ends_with(&format!("\n\n{}", notice(2, "nothing"))),
            "{err}"
        );
        assert!(
            err.contains(", where the markers of task 05.2 are gone\n"),
            "{err}"
        );
        assert!(err.contains("  hint      ./run.sh hint 05.2\n"), "{err}");
        for misleading in ["what the step gave you", "reset", "05.1"] {
            assert!(!err.contains(misleading), "{misleading}: {err}");
        }
    }
    // All of the file's tasks.
    let bare: String = wrong
        .split_inclusive('\n')
        .filter(|line| !line.contains("TODO("))
        .collect();
    project.write(more, &bare);
    let err = check(&project, &[]);
    for notice in [notice(2, "nothing"), notice(3, "something to hold")] {
        assert!(err.contains(&notice), "{err}");
    }
    for misleading in ["what the step gave you", "reset", "05.1"] {
        assert!(!err.contains(misleading), "{misleading}: {err}");
    }
    // A check that fails says it too, and so does a hint.
    project.write(LIB, TASKS);
    project.write(more, &bare.replace("\"none\"", "0"));
    let err = check(&project, &[]);
    assert!(err.contains(&notice(2, "nothing")), "{err}");
    let levels = "### Nudge\n\nA.\n\n### Pointer\n\nB.\n\n### Near-answer\n\nC.\n";
    project.write(
        "steps/05-engine/hints.md",
        &format!("# Hints for step 05\n\n## 05.1\n\n{levels}\n## 05.2\n\n{levels}"),
    );
    let (_, out, err) = outcome(&project.run_sh(&["hint", "05.2"]).output().unwrap());
    assert!(out.contains(&notice(2, "nothing")), "{out}{err}");
}

#[test]
fn all_sections_to_read_first_are_named() {
    let project = Project::with_coach();
    let chapter = project.read("steps/05-engine/README.md");
    let concepts = "## Concepts\n\n### What two `is`\n\n### Half of four\n";
    let line = "`TODO(05.1)` in `src/lib.rs`.";
    let links = "Read first: [What two `is`](#what-two-is), [Half of four](#half-of-four)";
    let chapter = chapter.replace("## Start\n", concepts);
    let chapter = chapter.replace(line, &format!("{links}\n\n{line}"));
    project.write("steps/05-engine/README.md", &chapter);
    let lib = project.read(LIB);
    project.write(
        LIB,
        &lib.replace("    1\n    // END", "    \"1\"\n    // END"),
    );
    let err = check(&project, &[]);
    let file = "steps/05-engine/README.md";
    let read = format!(
        "  read      \"What two is\" in {file}:8\n            \"Half of four\" in {file}:10\n"
    );
    assert!(err.contains(&read), "{err}");
}

#[test]
fn a_query_that_is_new_to_sqlx_comes_with_the_command_that_works_here() {
    let project = Project::with_coach();
    let error = "`SQLX_OFFLINE=true` but there is no cached data for this query, run `cargo sqlx \
                 prepare` to update the query cache or unset `SQLX_OFFLINE`";
    let lib = project.read(LIB);
    let line = format!("    compile_error!({error:?});\n    1\n    // END");
    project.write(LIB, &lib.replace("    1\n    // END", &line));
    let err = check(&project, &[]);
    let (_, command) = err.split_once("  sqlx      ").expect(&err);
    assert!(
        command.contains("SQLX_OFFLINE_DIR=$PWD/steps/05-engine/exercise/.sqlx"),
        "{err}"
    );
    assert!(
        command.contains("cargo build -q --workspace --bin step05-exercise"),
        "{err}"
    );
}

#[test]
fn a_hint_for_the_mistake_and_the_concept_to_read() {
    let project = Project::with_coach();
    let chapter = project
        .read("steps/05-engine/README.md")
        .replace("## Start\n", "## Concepts\n\n### What two `is`\n");
    let line = "`TODO(05.1)` in `src/lib.rs`.";
    let linked = format!("Read first: [What two `is`](#what-two-is)\n\n{line}\n");
    // In the section of the task, before or behind the task's name.
    for text in [linked.clone(), format!("{line}\n\n{linked}")] {
        project.write("steps/05-engine/README.md", &chapter.replace(line, &text));
        let (_, out, _) = outcome(&project.run_sh(&["check", "05", "--json"]).output().unwrap());
        assert!(out.contains("\"section\":\"What two is\""), "{out}");
    }

    project.write(
        "steps/05-engine/hints.md",
        "# Hints for step 05\n\n## 05.1\n\n### If \"another\" fails\n\nAnother.\n\n\
         ### If \"the ans\" fails\n\nThe answer, 1, is half of it.\n\n### Nudge\n\nA nudge.\n\n\
         ### Pointer\n\nA pointer.\n\n### Near-answer\n\nNearly.\n",
    );
    let hint = || {
        let (code, out, err) = outcome(&project.run_sh(&["hint", "05.1"]).output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        let (_, text) = out.split_once("\n\n").unwrap();
        text.to_owned()
    };
    let general = "A nudge.\n\nMore: ./run.sh hint 05.1 more\n";
    assert_eq!(
        hint(),
        format!("\"the answer\" failed.\nThe answer, 1, is half of it.\n\n{general}")
    );
    project.solve_05();
    let passed = Command::status(project.run_sh(&["check", "05"]).stdout(Stdio::null()));
    assert!(passed.unwrap().success());
    assert_eq!(hint(), general);
}
