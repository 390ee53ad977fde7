//! The verb `trace` on the real project, and the pictures in its chapters: each
//! must be that of a run of the solution as it is now.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Programs on the paused clock: a picture is the same in each run.
const EXACT: [&str; 5] = ["coroutines", "tasks", "group", "generator", "market"];

/// On the real clock: what happens is the same, and in which order.
const ROUGH: [&str; 1] = ["errands"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn coach(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coach"))
        .arg("--root")
        .arg(root())
        .args(arguments)
        .env_remove("MARKETSVC_TIMELINE_TEXT")
        .env_remove("MARKETSVC_TIMELINE_SVG")
        .output()
        .unwrap()
}

/// Traces a program of our step 01 and returns the text and the picture.
fn trace(name: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picture.svg");
    let file_name = file.to_str().unwrap();
    let output = coach(&["trace", "01", name, "--solution", "--svg", file_name]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {complaint}");
    (text, fs::read_to_string(file).unwrap())
}

fn committed(name: &str) -> String {
    let file = format!("steps/01-async-intro/pictures/{name}.svg");
    fs::read_to_string(root().join(file)).unwrap()
}

/// What happened, in order, without times.
fn order(picture: &str) -> Vec<&str> {
    let (_, rest) = picture.split_once("<metadata>").unwrap();
    let (order, _) = rest.split_once("</metadata>").unwrap();
    order.trim().lines().collect()
}

fn renewed_by(name: &str) -> String {
    format!(
        "the picture of `{name}` is not that of the program any more; draw it again: \
         ./run.sh trace 01 {name} --solution --svg steps/01-async-intro/pictures/{name}.svg"
    )
}

#[test]
fn the_pictures_of_step_01_belong_to_its_programs() {
    for name in EXACT {
        assert!(trace(name).1 == committed(name), "{}", renewed_by(name));
    }
    for name in ROUGH {
        let now = trace(name).1;
        assert_eq!(order(&now), order(&committed(name)), "{}", renewed_by(name));
    }
}

#[test]
fn every_committed_picture_is_one_that_is_compared() {
    let entries = fs::read_dir(root().join("steps/01-async-intro/pictures")).unwrap();
    for entry in entries {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".svg").unwrap();
        assert!(EXACT.contains(&name) || ROUGH.contains(&name), "{file}");
    }
}

#[test]
fn the_text_has_a_line_for_each_lane_and_names_the_picture() {
    let (text, picture) = trace("tasks");
    for lane in ["main", "milk", "bread", "onions"] {
        assert!(
            text.lines().any(|line| line.starts_with(lane)),
            "{lane}: {text}"
        );
        assert!(picture.contains(&format!(">{lane}</text>")), "{lane}");
    }
    assert!(text.contains("\npicture: "), "{text}");
}

#[test]
fn what_cannot_be_traced_is_wrong_usage() {
    for (arguments, said) in [
        (&["trace", "02"][..], "02-raw-queries has nothing"),
        (&["trace", "01", "nix", "--solution"], "the programs are"),
        (&["trace", "77"], "there is no step \"77\""),
    ] {
        let output = coach(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(said), "{arguments:?}: {complaint}");
    }
}
