//! A newer version of the project comes in over a learner's work: edited
//! exercises, progress and backups of the older one. Nothing is lost, and the
//! learner can go on.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Project, outcome, snapshot, text};

fn git(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
        .args([
            "-c",
            "pull.rebase=false",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let (code, out, err) = outcome(&git.output().unwrap());
    (code, out + &err)
}

fn done(folder: &Path, arguments: &[&str]) {
    let (code, said) = git(folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
}

fn run(project: &Project, arguments: &[&str]) -> (Option<i32>, String) {
    let output = project.run_sh(arguments).output().unwrap();
    (
        output.status.code(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// The newer version: a step comes in before, so that 05 becomes 06; its text
/// outside the task is another, and there is a second task.
fn release(publisher: &Path, project: &Project) {
    done(publisher, &["mv", "steps/05-engine", "steps/06-engine"]);
    for (file, bytes) in snapshot(&publisher.join("steps/06-engine")) {
        let path = publisher.join("steps/06-engine").join(&file);
        let mut newer = text(&bytes).replace("05", "06");
        if file.ends_with("src/lib.rs") {
            newer = newer.replace("//! A step.", "//! A step, and more of it.")
                + "\n// TODO(06.2): nothing\n// END TODO(06.2)\n";
        }
        fs::write(path, newer).unwrap();
    }
    // As the author of the release makes it, from the crates of the newer version.
    for side in ["exercise", "solution"] {
        for (file, bytes) in snapshot(&publisher.join("steps/06-engine").join(side)) {
            project.write(
                &format!("release/steps/06-engine/{side}/{}", file.display()),
                &text(&bytes),
            );
        }
    }
    project.publish_in("release", "06-engine");
    fs::copy(
        project.path("release/steps/06-engine/starter.patch"),
        publisher.join("steps/06-engine/starter.patch"),
    )
    .unwrap();
    fs::remove_dir_all(project.path("release")).unwrap();
    let lock = fs::read_to_string(publisher.join("Cargo.lock")).unwrap();
    fs::write(
        publisher.join("Cargo.lock"),
        lock.replace("step05", "step06"),
    )
    .unwrap();
    done(publisher, &["add", "-A"]);
    done(publisher, &["commit", "-q", "-m", "newer"]);
}

/// The older version under git, as the learner has it, and a clone from which the
/// newer one will come.
fn older(publisher: &Path) -> Project {
    let project = Project::with_coach();
    // As long as real ones, so that git knows the file again in its new folder.
    for side in ["exercise", "solution"] {
        let file = format!("steps/05-engine/{side}/src/lib.rs");
        let more = "\n/// More.\nconst _: () = ();\n".repeat(40);
        project.write(&file, &(project.read(&file) + &more));
    }
    project.publish_05();
    fs::copy(
        support::real_root().join(".gitignore"),
        project.path(".gitignore"),
    )
    .unwrap();
    let root = project.root();
    done(&root, &["init", "-q", "-b", "main"]);
    done(&root, &["add", "-A"]);
    done(&root, &["commit", "-q", "-m", "older"]);
    let (from, to) = (root.to_str().unwrap(), publisher.to_str().unwrap());
    done(&root, &["clone", "-q", from, to]);
    done(&root, &["remote", "add", "origin", to]);
    project
}

/// A learner's weeks: a step solved, another begun, an attempt put aside. Gives
/// the backup's name and what stands in the exercise.
fn weeks_of_work(project: &Project) -> (String, String) {
    run(project, &["check", "08"]);
    run(project, &["checkout", "05"]);
    let file = "steps/05-engine/exercise/src/lib.rs";
    project.write(file, "// first attempt\n");
    let (code, said) = run(project, &["reset", "05"]);
    assert_eq!(code, Some(0), "{said}");
    let saved = said.lines().next().unwrap();
    let backup = saved.rsplit('/').next().unwrap().to_owned();
    let mine = project
        .read(file)
        .replace("    1\n    // END", "    1 + 0 // mine\n    // END");
    project.write(file, &mine);
    project.write(
        "steps/05-engine/exercise/tests/mine.rs",
        "#[test]\nfn mine() {}\n",
    );
    assert_eq!(run(project, &["check"]).0, Some(1));
    (backup, mine)
}

#[test]
fn a_newer_version_over_a_learners_work_loses_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let publisher = elsewhere.path().join("publisher");
    let project = older(&publisher);
    let root = project.root();
    let (backup, mine) = weeks_of_work(&project);
    assert!(mine.contains("// mine"), "{mine}");
    let kept = |project: &Project| {
        let backups = snapshot(&project.path("backups"));
        (backups, project.read(".progress"))
    };
    let before = kept(&project);

    release(&publisher, &project);
    // Git does not pull over edits, and says so; the work is committed first.
    let (code, said) = git(&root, &["pull", "-q", "origin", "main"]);
    assert_ne!(code, Some(0), "{said}");
    assert_eq!(project.read("steps/05-engine/exercise/src/lib.rs"), mine);
    done(&root, &["add", "-A"]);
    done(&root, &["commit", "-q", "-m", "mine"]);
    let (code, said) = git(&root, &["pull", "-q", "--no-edit", "origin", "main"]);
    assert_eq!(
        (code, said.contains("CONFLICT (content)")),
        (Some(1), true),
        "{said}"
    );
    // The markers around the learner's lines have other numbers. Both are there,
    // and the learner settles it.
    let both = project.read("steps/06-engine/exercise/src/lib.rs");
    assert!(
        both.contains("1 + 0 // mine") && both.contains("TODO(06.1)"),
        "{both}"
    );
    let theirs = text(&fs::read(publisher.join("steps/06-engine/exercise/src/lib.rs")).unwrap());
    let merged = theirs.replace("    1\n    // END", "    1 + 0 // mine\n    // END");
    project.write("steps/06-engine/exercise/src/lib.rs", &merged);
    done(&root, &["add", "-A"]);
    done(&root, &["commit", "-q", "-m", "newer and mine"]);
    assert_eq!(kept(&project), before);

    // Git has left a file of the learner's own in the old folder, which cargo takes
    // for a package.
    let (code, said) = run(&project, &["list"]);
    assert_eq!(code, Some(3), "{said}");
    let command = "mv steps/05-engine ../05-engine-of-before";
    assert!(
        said.ends_with(&format!("Move it away: {command}\n")),
        "{said}"
    );
    let file = "exercise/tests/mine.rs";
    let own = project.read(&format!("steps/05-engine/{file}"));
    fs::remove_dir_all(project.path("steps/05-engine")).unwrap();
    project.write(&format!("steps/06-engine/{file}"), &own);

    // The state goes with the step, whatever its number is.
    let (code, list) = run(&project, &["list"]);
    assert_eq!(code, Some(0), "{list}");
    assert!(
        list.contains("> 06  current") && list.contains("08  done"),
        "{list}"
    );
    let (code, said) = run(&project, &["check"]);
    assert_eq!(
        (code, said.contains("the answer is 1")),
        (Some(1), true),
        "{said}"
    );
    // What a backup of the older version holds comes back under the newer number.
    let now = snapshot(&project.path("steps/06-engine/exercise"));
    let (code, said) = run(&project, &["restore", &backup]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        project.read("steps/06-engine/exercise/src/lib.rs"),
        "// first attempt\n"
    );
    let saved = said
        .lines()
        .find_map(|line| line.strip_prefix("undo      ./run.sh restore "));
    let (code, said) = run(&project, &["restore", saved.unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(snapshot(&project.path("steps/06-engine/exercise")), now);
    // The newer version's exercise, if the merged one is a muddle; and on.
    let (code, said) = run(&project, &["reset", "06"]);
    assert_eq!(code, Some(0), "{said}");
    let newer = project.read("steps/06-engine/exercise/src/lib.rs");
    assert!(
        newer.contains("TODO(06.2)") && !newer.contains("mine"),
        "{newer}"
    );
    assert_eq!(project.read(&format!("steps/06-engine/{file}")), own);
    let solved = project.read("steps/06-engine/solution/src/lib.rs");
    project.write("steps/06-engine/exercise/src/lib.rs", &solved);
    let (code, said) = run(&project, &["check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Next: steps/08-typed-rows"), "{said}");
    for (file, bytes) in &before.0 {
        let path = project.path("backups").join(file);
        assert_eq!(&fs::read(path).unwrap(), bytes, "{}", file.display());
    }
}
