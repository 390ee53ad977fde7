//! `reset`, `solve`, `restore` and `clean`, run as a learner runs them; and
//! killed, as a laptop's battery does it.

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use course::{Side, Step};
use support::{Project, outcome, real_root, snapshot};

const EXERCISE: &str = "steps/05-engine/exercise";
const LIB: &str = "steps/05-engine/exercise/src/lib.rs";

fn coach(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    command.args(arguments);
    command
}

fn run(project: &Project, arguments: &[&str]) -> (Option<i32>, String, String) {
    outcome(&coach(project, arguments).output().unwrap())
}

/// The small project, with the patch that reset needs, for step 05.
fn project() -> Project {
    let project = Project::new();
    project.publish_05();
    project
}

/// The complete backups.
fn backups(project: &Project) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(project.path("backups"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn the_way_there_and_back() {
    let project = project();
    let published = snapshot(&project.path(EXERCISE));
    let (code, out, err) = run(&project, &["reset", "05"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("nothing to do: {EXERCISE} is as published\n"));
    let (code, out, _) = run(&project, &["restore"]);
    let none = "no backups yet: reset, solve and restore make them\n";
    assert_eq!((code, out.as_str()), (Some(0), none));
    assert!(!project.path("backups").exists());

    project.write(LIB, "// mine\n");
    project.write("steps/05-engine/exercise/tests/mine.rs", "// my test\n");
    let mine = snapshot(&project.path(EXERCISE));
    let (code, out, err) = run(&project, &["solve", "05"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let [first] = &backups(&project)[..] else {
        panic!("{out}");
    };
    assert!(first.ends_with("-05-engine"), "{first}");
    assert_eq!(
        out,
        format!(
            "saved     backups/{first}\n\
             undo      ./run.sh restore {first}\n\
             now       {EXERCISE} is the solution\n\
             written   src/lib.rs\n\
             written   src/main.rs\n\
             kept      tests/mine.rs (yours alone)\n"
        )
    );
    assert_eq!(snapshot(&project.path("backups").join(first)), mine);
    // It is the solution, it builds, and it is still the exercise's package.
    let (code, out, err) = run(&project, &["check", "05"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (_, out, err) = run(&project, &["diff", "05"]);
    assert_eq!((out.as_str(), err.as_str()), ("", "no difference\n"));

    let (code, out, _) = run(&project, &["reset", "5"]);
    assert_eq!(code, Some(0), "{out}");
    let mut expected = published.clone();
    expected.insert("tests/mine.rs".into(), b"// my test\n".to_vec());
    assert_eq!(snapshot(&project.path(EXERCISE)), expected);
    // Cargo sees that the files are others: the check is red again.
    let (code, out, _) = run(&project, &["check", "05"]);
    assert_eq!(
        (code, out.contains("answer is 1")),
        (Some(1), true),
        "{out}"
    );

    // Backups are named by any path to them.
    for name in [first.clone(), format!("./backups/{first}/")] {
        project.write(LIB, &format!("// {name}\n"));
        let (code, out, err) = run(&project, &["restore", &name]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert_eq!(snapshot(&project.path(EXERCISE)), mine);
    }
    let (_, out, _) = run(&project, &["restore"]);
    let all = backups(&project);
    assert_eq!(all.len(), 4);
    assert!(out.lines().take(4).eq(all.iter().rev()), "{out}");

    for name in ["nil", "..", "", ".lock", ".work"] {
        let (code, _, err) = run(&project, &["restore", name]);
        assert_eq!(code, Some(2), "{name}");
        assert!(err.contains("there is no backup"), "{err}");
        assert!(err.contains(first), "{err}");
    }
    // A step whose words have changed has to be named.
    let renamed = project.path("steps/05-motor");
    fs::rename(project.path("steps/05-engine"), &renamed).unwrap();
    let (code, _, err) = run(&project, &["restore", first]);
    assert_eq!((code, err.contains("--to NN")), (Some(2), true), "{err}");
    let (code, out, err) = run(&project, &["restore", first, "--to", "05"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(snapshot(&renamed.join("exercise")), mine);
}

#[test]
fn what_does_not_fit_is_refused() {
    let project = project();
    project.write(LIB, "// mine\n");
    let before = snapshot(&project.path("steps"));
    let refused = |verb: &str, reason: &str| {
        let (code, out, err) = run(&project, &[verb, "05"]);
        assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
        assert!(err.contains(reason), "{err}");
        assert!(err.contains("nothing was changed"), "{err}");
        assert!(!project.path("backups").exists());
    };
    let solution = "steps/05-engine/solution/src/lib.rs";
    let text = project.read(solution);
    project.write(solution, &text.replace("other", "another"));
    refused("reset", "there src/lib.rs is not as published");
    project.write(solution, &text);
    let patch = "steps/05-engine/starter.patch";
    let text = project.read(patch);
    project.write(patch, &text.replace("@@ -", "@@ "));
    refused("reset", "starter.patch: ");
    fs::remove_file(project.path(patch)).unwrap();
    refused("reset", "starter.patch: No such file");
    refused("solve", "starter.patch: No such file");
    project.write(patch, &text);
    assert_eq!(snapshot(&project.path("steps")), before);
    for arguments in [&["reset"][..], &["solve"], &["reset", "07"]] {
        assert_eq!(run(&project, arguments).0, Some(2), "{arguments:?}");
    }
}

/// As root, a folder without permission to write can be written to, so the
/// folder is one that nobody can write to.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_to_is_refused() {
    let project = project();
    project.write(LIB, "// mine\n");
    let source = project.path("steps/05-engine/exercise/src");
    let before = snapshot(&project.path(EXERCISE));
    let allowed = fs::metadata(&source).unwrap().permissions();
    let mut forbidden = allowed.clone();
    forbidden.set_readonly(true);
    fs::set_permissions(&source, forbidden).unwrap();
    // chattr works for root, permissions for everyone else.
    let chattr = |flag: &str| {
        let done = Command::new("chattr").arg(flag).arg(&source).output();
        done.is_ok_and(|output| output.status.success())
    };
    let immutable = chattr("+i");
    let can_write = fs::write(source.join("probe"), "").is_ok();
    let (code, out, err) = run(&project, &["reset", "05"]);
    if immutable {
        chattr("-i");
    }
    fs::set_permissions(&source, allowed).unwrap();
    if can_write {
        println!("skipped: this user may write everywhere, and there is no chattr");
        return;
    }
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(err.contains("exercise/src"), "{err}");
    assert_eq!(snapshot(&project.path(EXERCISE)), before);
    let [saved] = &backups(&project)[..] else {
        panic!("{err}");
    };
    assert_eq!(snapshot(&project.path("backups").join(saved)), before);
    assert!(
        err.contains(&format!("./run.sh restore {saved}\n")),
        "{err}"
    );
    assert!(!project.path("backups/.work").exists());
    assert_eq!(run(&project, &["reset", "05"]).0, Some(0));
}

/// The real program is ended by SIGKILL at twenty points of its time.
#[test]
fn killed_nothing_is_lost() {
    let project = project();
    for number in 0..60 {
        let file = format!("{EXERCISE}/src/more/{number}.rs");
        project.write(&file, &format!("// {number}\n").repeat(2000));
    }
    let dirty = |round: u32| {
        project.write(LIB, &format!("// round {round}\n"));
        project.write(
            "steps/05-engine/exercise/src/main.rs",
            &format!("// main {round}\n"),
        );
    };
    dirty(0);
    let start = Instant::now();
    assert_eq!(run(&project, &["reset", "05"]).0, Some(0));
    let mut whole = start.elapsed();

    let mut ended_early = 0;
    for round in 1..=20 {
        dirty(round);
        let had = snapshot(&project.path(EXERCISE));
        let verb = if round % 2 == 0 { "reset" } else { "solve" };
        let start = Instant::now();
        let mut child = coach(&project, &[verb, "05"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The time of the kill is what is being varied; nothing waits for it.
        thread::sleep(whole * (round - 1) / 20);
        let _ = child.kill();
        if child.wait().unwrap().code().is_none() {
            ended_early += 1;
        } else {
            // A machine that is busy with other things has its moods.
            whole = whole.min(start.elapsed());
        }

        let has = snapshot(&project.path(EXERCISE));
        let saved: Vec<_> = backups(&project)
            .iter()
            .map(|name| snapshot(&project.path("backups").join(name)))
            .collect();
        for (file, bytes) in &had {
            assert!(
                has.get(file) == Some(bytes) || saved.iter().any(|it| it.get(file) == Some(bytes)),
                "round {round}: {} is lost",
                file.display()
            );
        }
        assert!(has == had || saved.contains(&had), "round {round}");
    }
    assert!(ended_early >= 3, "only {ended_early} were killed in time");
    // And the next one does its work.
    dirty(99);
    assert_eq!(run(&project, &["reset", "05"]).0, Some(0));
    assert!(!project.path("backups/.work").exists());
    assert_eq!(
        snapshot(&project.path(EXERCISE)),
        snapshot(&project.path(EXERCISE))
    );
}

#[test]
fn clean_frees_what_was_built_and_keeps_the_rest() {
    let project = project();
    let clean = |project: &Project| run(project, &["clean"]);
    assert_eq!(
        clean(&project),
        (
            Some(0),
            "nothing to clean: there is no target\n".into(),
            String::new()
        )
    );
    assert_eq!(run(&project, &["check", "05"]).0, Some(1));
    project.write(LIB, "// mine\n");
    assert_eq!(run(&project, &["reset", "05"]).0, Some(0));
    project.write(".progress", "engine current\n");
    project.write("marketdb.sqlite", "data");
    let others = |project: &Project| {
        let mut files = snapshot(&project.root());
        files.retain(|file, _| !file.starts_with("target"));
        files
    };
    let before = others(&project);
    let (code, out, err) = clean(&project);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with("removed what was built in target;"),
        "{out}"
    );
    assert!(!project.path("target").exists());
    assert_eq!(others(&project), before);
    // It builds again.
    assert_eq!(run(&project, &["check", "05"]).0, Some(1));

    // A folder that others may use, too, and the project itself, stay.
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("theirs"), "").unwrap();
    for folder in [elsewhere.path().to_path_buf(), project.root()] {
        let output = coach(&project, &["clean"])
            .env("CARGO_TARGET_DIR", &folder)
            .output()
            .unwrap();
        let (code, _, err) = outcome(&output);
        assert_eq!(code, Some(2));
        assert!(err.contains("to empty it: cargo clean"), "{err}");
    }
    assert!(elsewhere.path().join("theirs").exists());
    assert!(project.path("Cargo.toml").exists());
}

/// The patches that are published fit the exercises that are published; and the
/// whole of a real exercise goes there and back.
#[test]
fn the_real_steps_can_be_reset() {
    let steps = real_root().join("steps");
    let mut count = 0;
    for entry in fs::read_dir(steps).unwrap() {
        let step = Step::at(&entry.unwrap().path()).unwrap();
        if !step.crate_folder(Side::Exercise).is_dir() {
            continue;
        }
        count += 1;
        let patch = fs::read_to_string(step.folder.join("starter.patch")).unwrap();
        let starter = course::starter::Starter::parse(&patch).unwrap();
        let solution = step.crate_folder(Side::Solution);
        let files = starter
            .names()
            .map(|name| {
                let text = fs::read_to_string(solution.join(name)).unwrap();
                (name.to_owned(), step.as_exercise(&text))
            })
            .collect();
        starter.apply(&files).unwrap();
    }
    assert!(count >= 6);
}
