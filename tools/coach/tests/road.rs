//! The learner's way: progress, the current step, hints. Run as a learner runs
//! it, on a small project.

#![allow(
    clippy::needless_raw_string_hashes,
    reason = "snapbox writes its snapshots so"
)]

mod support;

use std::fs;

use snapbox::{assert_data_eq, str};
use support::{Project, outcome};

const HINTS: &str = "\
# Hints for step 05

## 05.1

### Nudge

What is `1 + 1`? A line that is long enough to be wrapped, since hints are written without line breaks in their paragraphs.

### Pointer

Look at \"1 · Two\".

### Near-answer

```rust
## 05.1
### Nudge
1 + /* one more */
```

## 05.2

### Nudge

Another task.
";

fn run(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    outcome(&command.args(arguments).output().unwrap())
}

#[test]
fn checkout_shows_the_page_and_makes_the_step_current() {
    let project = Project::new();
    let (code, out, err) = run(&project, &["checkout", "05"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_data_eq!(
        out.clone(),
        str![[r#"
05 · The engine

Goal      share connections.
Minutes   30
Chapter   steps/05-engine/README.md
Files     steps/05-engine/exercise

Tasks
  steps/05-engine/exercise/src/lib.rs:8
    05.1  answer two

Read the chapter, then: ./run.sh check 05

"#]]
    );
    // From now on no number is needed, and the page can be seen again.
    assert_eq!(run(&project, &["checkout"]).1, out);
    let (code, out, _) = run(&project, &["check"]);
    assert_eq!(
        (code, out.contains("answer is 1")),
        (Some(1), true),
        "{out}"
    );
    let (code, patch, _) = run(&project, &["diff"]);
    assert_eq!((code, patch.contains("+    2")), (Some(0), true), "{patch}");
    let (_, list, _) = run(&project, &["list"]);
    assert!(list.starts_with("> 05  current  The engine"), "{list}");
    assert!(list.ends_with("Go on with 05: ./run.sh check\n"), "{list}");

    // The folder one is in comes before the current step.
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    command
        .arg("checkout")
        .current_dir(project.path("steps/08-typed-rows/exercise"));
    let (code, out, _) = outcome(&command.output().unwrap());
    assert_eq!(code, Some(0));
    // A step without a chapter has a page, too.
    assert!(out.starts_with("08 · typed rows\n"), "{out}");
    assert!(
        out.contains("  steps/08-typed-rows/exercise/src/lib.rs:8\n"),
        "{out}"
    );
    let (_, list, _) = run(&project, &["list"]);
    assert!(list.contains("\n> 08  current"), "{list}");
    assert!(list.starts_with("  05  todo"), "{list}");
}

#[test]
fn only_a_whole_run_of_the_exercise_makes_a_step_done() {
    let project = Project::new();
    run(&project, &["checkout", "05"]);
    let state = || run(&project, &["list"]).1[2..14].to_owned();
    run(&project, &["check", "05", "--solution"]);
    assert_eq!(state(), "05  current ");
    run(&project, &["check", "05"]);
    assert_eq!(state(), "05  current ");
    project.solve_05();
    run(&project, &["check", "05", "05.1"]);
    assert_eq!(state(), "05  current ");
    let (code, ..) = run(&project, &["check"]);
    assert_eq!((code, state().as_str()), (Some(0), "05  done    "));
    // It does not move on by itself.
    let (_, list, _) = run(&project, &["list"]);
    assert_data_eq!(
        list,
        str![[r#"
> 05  done     The engine  30 min
      share connections.
  08  todo     typed rows

1 of 2 steps done
Go on: ./run.sh checkout 08

"#]]
    );
    assert!(run(&project, &["checkout"]).1.contains("State     done;"));

    // With --json it counts as well, and a renumbered step keeps its state.
    run(&project, &["check", "08", "--json"]);
    fs::rename(
        project.path("steps/08-typed-rows"),
        project.path("steps/09-typed-rows"),
    )
    .unwrap();
    let (_, list, _) = run(&project, &["list"]);
    assert!(list.contains("\n  09  done     typed rows\n"), "{list}");
    assert!(list.ends_with("\n2 of 2 steps done\n"), "{list}");
}

#[test]
fn progress_is_never_in_the_way() {
    let project = Project::new();
    // Not a file at all: one warning, and the verb does its work.
    fs::create_dir(project.path(".progress")).unwrap();
    let cases: [(&[&str], Option<i32>); 4] = [
        (&["list"], Some(0)),
        (&["checkout", "05"], Some(0)),
        (&["check", "05"], Some(1)),
        (&["check", "08"], Some(0)),
    ];
    for (arguments, expected) in cases {
        let (code, out, err) = run(&project, arguments);
        assert_eq!(code, expected, "{arguments:?}: {err}");
        assert!(!out.is_empty());
        assert_eq!(err.matches("warning: ").count(), 1, "{arguments:?}: {err}");
        assert!(err.contains("your progress is not kept"), "{err}");
    }
    fs::remove_dir(project.path(".progress")).unwrap();

    // Edited by hand: what we do not know stays.
    let mine = "\u{feff}# mine\r\ngone done\r\n05-engine note=x  # half\r\n\r\n???";
    project.write(".progress", mine);
    run(&project, &["checkout", "05"]);
    let ours = "# mine\ngone done\n05-engine note=x current  # half\n\n???\n";
    assert_eq!(project.read(".progress"), ours);
    assert_eq!(run(&project, &["check", "08"]).0, Some(0));
    assert_eq!(
        project.read(".progress"),
        format!("{ours}typed-rows done\n")
    );
}

#[test]
fn hints_come_one_level_at_a_time() {
    let project = Project::new();
    project.write("steps/05-engine/hints.md", HINTS);
    let nudge = str![[r#"
05.1, hint 1 of 3: nudge
steps/05-engine/exercise/src/lib.rs:8  TODO(05.1): answer two

What is `1 + 1`? A line that is long enough to be wrapped, since hints are
written without line breaks in their paragraphs.

More: ./run.sh hint 05.1 more

"#]];
    for target in ["05.1", "5.1", "05-engine.1", "TODO(05.1)"] {
        let (code, out, err) = run(&project, &["hint", target]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{target}");
        assert_data_eq!(out, nudge.clone());
    }
    assert!(project.read(".progress").ends_with("\nengine hints=1:1\n"));
    let (_, out, _) = run(&project, &["hint", "05.1", "more"]);
    assert!(out.starts_with("05.1, hint 2 of 3: pointer\n"), "{out}");
    assert!(out.contains("\nLook at \"1 · Two\".\n"), "{out}");
    // Asked again, it is the highest that was shown.
    assert_eq!(run(&project, &["hint", "05.1"]).1, out);
    let (_, out, _) = run(&project, &["hint", "05.1", "more"]);
    assert_data_eq!(
        out.clone(),
        str![[r#"
05.1, hint 3 of 3: near-answer
steps/05-engine/exercise/src/lib.rs:8  TODO(05.1): answer two

    ## 05.1
    ### Nudge
    1 + /* one more */

That was the last hint. Our solution: ./run.sh diff 05

"#]]
    );
    assert_eq!(run(&project, &["hint", "05.1"]).1, out);
    let (code, out, _) = run(&project, &["hint", "05.1", "more"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("hint 3 of 3") && out.contains("There is no further hint"),
        "{out}"
    );

    // Each task has its own level, also one that the source does not have.
    let (_, out, _) = run(&project, &["hint", "05.2", "more"]);
    assert!(
        out.starts_with("05.2, hint 1 of 3: nudge\nTODO(05.2)\n"),
        "{out}"
    );
    assert!(
        project
            .read(".progress")
            .ends_with("\nengine hints=1:3,2:1\n")
    );
    let (code, _, err) = run(&project, &["hint", "05.2", "more"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no hint \"Pointer\" for 05.2"), "{err}");
}

#[test]
fn without_a_task_it_is_the_one_that_failed() {
    let project = Project::new();
    let (code, _, err) = run(&project, &["hint"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("checkout NN"), "{err}");
    let (code, _, err) = run(&project, &["hint", "05"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("there is no steps/05-engine/hints.md"),
        "{err}"
    );

    project.write("steps/05-engine/hints.md", HINTS);
    run(&project, &["checkout", "05"]);
    for arguments in [&["hint"][..], &["hint", "05"]] {
        let (code, out, _) = run(&project, arguments);
        assert_eq!(code, Some(0));
        assert!(
            out.starts_with("05.1 is the first task.\n05.1, hint 1"),
            "{out}"
        );
    }
    run(&project, &["check", "05"]);
    let (_, out, _) = run(&project, &["hint", "more"]);
    assert!(
        out.starts_with("05.1 is the first task that failed.\n05.1, hint 2"),
        "{out}"
    );
    let progress = project.read(".progress").replace("failed=1", "failed=2");
    project.write(".progress", &progress);
    let (_, out, _) = run(&project, &["hint"]);
    assert!(
        out.starts_with("05.2 is the first task that failed"),
        "{out}"
    );
    // Where all is done there is nothing to help with, unless one asks for it.
    let unsolved = project.read("steps/05-engine/exercise/src/lib.rs");
    project.solve_05();
    run(&project, &["check"]);
    for arguments in [&["hint"][..], &["hint", "05", "more"]] {
        let done = "All checks of 05 passed. For a certain task: ./run.sh hint 05.1\n";
        let (code, out, err) = run(&project, arguments);
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), done, ""));
    }
    let (_, out, _) = run(&project, &["hint", "05.1"]);
    assert!(out.starts_with("05.1, hint 2"), "{out}");
    // Done before, broken since.
    project.write("steps/05-engine/exercise/src/lib.rs", &unsolved);
    run(&project, &["check"]);
    let (_, out, _) = run(&project, &["hint"]);
    assert!(
        out.starts_with("05.1 is the first task that failed"),
        "{out}"
    );

    let (code, _, err) = run(&project, &["hint", "05.7"]);
    assert_eq!(code, Some(2));
    assert!(err.ends_with("has no hint \"Nudge\" for 05.7\n"), "{err}");
    assert_eq!(run(&project, &["hint", "07.1"]).0, Some(2));
    assert_eq!(run(&project, &["hint", "05", "less"]).0, Some(2));
}

#[test]
fn a_hint_names_all_regions_of_its_task() {
    let project = Project::new();
    project.write("steps/05-engine/hints.md", HINTS);
    let more = "// TODO(05.1): say so\nconst SAID: bool = true;\n// END TODO(05.1)\n";
    project.write("steps/05-engine/exercise/src/more.rs", more);
    let (_, out, _) = run(&project, &["hint", "05.1"]);
    let mut lines = out.lines().skip(1);
    for (file, task) in [("lib.rs:", "answer two"), ("more.rs:1", "say so")] {
        let line = lines.next().unwrap_or_default();
        assert!(line.contains(file) && line.ends_with(task), "{out}");
    }
}

/// 0 done or passed, 1 a check failed, 2 wrong usage, 3 the environment.
#[test]
fn every_verb_keeps_to_the_exit_codes() {
    let project = Project::new();
    project.write("steps/05-engine/hints.md", HINTS);
    // A folder where the file with the hints should be.
    fs::create_dir(project.path("steps/08-typed-rows/hints.md")).unwrap();
    let cases: [(&[&str], i32); 35] = [
        (&["list"], 0),
        (&["list", "05"], 2),
        (&["list", "--nonsense"], 2),
        (&["checkout"], 2),
        (&["checkout", "05"], 0),
        (&["checkout"], 0),
        (&["checkout", "07"], 2),
        (&["checkout", "05", "08"], 2),
        (&["check"], 1),
        (&["check", "05"], 1),
        (&["check", "05", "05.1"], 1),
        (&["check", "05.1"], 1),
        (&["check", "05.7"], 2),
        (&["check", "05", "nothing like it"], 2),
        (&["check", "05", "--solution"], 0),
        (&["check", "05", "--json"], 1),
        (&["check", "08"], 0),
        (&["check", "07"], 2),
        (&["check", "05", "05.1", "05.2"], 2),
        (&["check", "--nonsense"], 2),
        (&["hint"], 0),
        (&["hint", "more"], 0),
        (&["hint", "05"], 0),
        (&["hint", "05.1", "more"], 0),
        (&["hint", "05.7"], 2),
        (&["hint", "05.1", "less"], 2),
        (&["hint", "07"], 2),
        (&["hint", "08"], 3),
        (&["diff"], 0),
        (&["diff", "05", "08"], 0),
        (&["diff", "07"], 2),
        (&["diff", "05", "07"], 2),
        (&["help"], 0),
        (&["help", "hint"], 0),
        (&["hnit"], 2),
    ];
    for (arguments, expected) in cases {
        let (code, out, err) = run(&project, arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {out}{err}");
        // Whoever reads only stdout finds nothing wrong in it.
        assert!(expected < 2 || out.is_empty(), "{arguments:?}: {out}");
        assert!(expected < 2 || !err.is_empty(), "{arguments:?}");
    }
    let (_, _, err) = run(&project, &["hnit"]);
    assert!(err.contains("'hint'"), "{err}");
    // What is not text cannot be compared.
    fs::write(project.path("steps/05-engine/exercise/src/lib.rs"), b"\xff").unwrap();
    assert_eq!(run(&project, &["diff", "05"]).0, Some(3));
}

/// Of the real chapters: what a check says at the end of a step stands there.
#[test]
fn every_real_chapter_says_what_works_now() {
    let mut chapters = 0;
    for folder in fs::read_dir(support::real_root().join("steps")).unwrap() {
        let file = folder.unwrap().path().join("README.md");
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let (_, end) = text.split_once("\n## Done when\n").unwrap();
        let end = end.split("\n## ").next().unwrap();
        for line in ["\n\nNow works: ", "\n\nTry by hand: `"] {
            assert_eq!(end.matches(line).count(), 1, "{}: {line}", file.display());
        }
        chapters += 1;
    }
    assert!(chapters >= 6);
}
