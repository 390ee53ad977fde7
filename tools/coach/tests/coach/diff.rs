//! `diff`, and the patches that it prints.

use std::process::Stdio;

use snapbox::{assert_data_eq, str};

use super::run;
use super::support::{Project, text};

fn git_apply(project: &Project, patch: &str, options: &[&str]) {
    use std::io::Write;
    let mut git = project
        .command("git")
        .arg("apply")
        .args(options)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    git.stdin
        .take()
        .unwrap()
        .write_all(patch.as_bytes())
        .unwrap();
    let output = git.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{patch}", text(&output.stderr));
}

#[test]
fn diff_turns_the_exercise_into_the_solution_and_leaves_the_rest() {
    let project = Project::new();
    // What a patch has to get right: a new file in a new folder, no newline at
    // the end, a line that looks like a head, something at the first line.
    project.write("steps/05-engine/solution/src/db/base.rs", "pub fn new() {}");
    project.write(
        "steps/05-engine/exercise/src/query.sql",
        "-- one\nSELECT 1;\n",
    );
    project.write("steps/05-engine/solution/src/query.sql", "SELECT 2;");
    // A test that is the course's.
    project.write("steps/05-engine/exercise/tests/books.rs", "// one\n");
    project.write("steps/05-engine/solution/tests/books.rs", "// two\n");
    // What is the learner's own.
    project.write("steps/05-engine/exercise/src/mine.rs", "// mine\n");
    project.write("steps/05-engine/exercise/tests/mine.rs", "// mine\n");
    project.write(
        "steps/05-engine/exercise/marketdb.sqlite",
        "SQLite format 3",
    );
    project.write("steps/05-engine/exercise/.hidden.rs", "");

    let (code, patch, err) = run(&project, &["diff", "05"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_data_eq!(
        &patch,
        str![[r#"
diff --git a/steps/05-engine/exercise/src/db/base.rs b/steps/05-engine/exercise/src/db/base.rs
new file mode 100644
--- /dev/null
+++ b/steps/05-engine/exercise/src/db/base.rs
@@ -0,0 +1 @@
+pub fn new() {}
/ No newline at end of file
diff --git a/steps/05-engine/exercise/src/lib.rs b/steps/05-engine/exercise/src/lib.rs
--- a/steps/05-engine/exercise/src/lib.rs
+++ b/steps/05-engine/exercise/src/lib.rs
@@ -6,6 +6,6 @@ TODO(05.1): answer two
 
 pub fn answer() -> u32 {
     // TODO(05.1): answer two
-    1
+    2
     // END TODO(05.1)
 }
diff --git a/steps/05-engine/exercise/src/main.rs b/steps/05-engine/exercise/src/main.rs
--- a/steps/05-engine/exercise/src/main.rs
+++ b/steps/05-engine/exercise/src/main.rs
@@ -1,3 +1,3 @@
 fn main() {
-    println!("exercise 05 says {}", step05::answer());
+    println!("solution 05 says {}", step05::answer());
 }
diff --git a/steps/05-engine/exercise/src/query.sql b/steps/05-engine/exercise/src/query.sql
--- a/steps/05-engine/exercise/src/query.sql
+++ b/steps/05-engine/exercise/src/query.sql
@@ -1,2 +1 @@
--- one
-SELECT 1;
+SELECT 2;
/ No newline at end of file
diff --git a/steps/05-engine/exercise/tests/books.rs b/steps/05-engine/exercise/tests/books.rs
--- a/steps/05-engine/exercise/tests/books.rs
+++ b/steps/05-engine/exercise/tests/books.rs
@@ -1 +1 @@
-// one
+// two

"#]]
    );
    git_apply(&project, &patch, &[]);
    for file in [
        "src/db/base.rs",
        "src/lib.rs",
        "src/main.rs",
        "src/query.sql",
        "tests/books.rs",
    ] {
        assert_eq!(
            project.read(&format!("steps/05-engine/exercise/{file}")),
            project
                .read(&format!("steps/05-engine/solution/{file}"))
                .replace("step05_solution", "step05"),
            "{file}"
        );
    }
    assert!(
        project
            .read("steps/05-engine/exercise/Cargo.toml")
            .contains("step05-exercise")
    );
    assert_eq!(
        project.read("steps/05-engine/exercise/src/mine.rs"),
        "// mine\n"
    );

    let (code, patch, err) = run(&project, &["diff", "05"]);
    assert_eq!(
        (code, patch.as_str(), err.as_str()),
        (Some(0), "", "no difference\n")
    );
}

#[test]
fn diff_of_two_steps_leads_from_solution_to_solution() {
    let project = Project::new();
    project.write("steps/05-engine/solution/src/old.rs", "// old\n");
    let lib = project.read("steps/08-typed-rows/solution/src/lib.rs");
    project.write(
        "steps/08-typed-rows/solution/src/lib.rs",
        &format!("{lib}\npub fn more() {{}}\n"),
    );
    let (code, patch, _) = run(&project, &["diff", "05", "08"]);
    assert_eq!(code, Some(0));
    assert!(
        patch.contains("deleted file mode 100644\n--- a/steps/08-typed-rows/solution/src/old.rs\n"),
        "{patch}"
    );
    // The package's name is no difference that a reader asks about.
    assert!(!patch.contains("Cargo.toml"), "{patch}");
    git_apply(&project, &patch, &["-R"]);
    assert_eq!(
        project.read("steps/08-typed-rows/solution/src/lib.rs"),
        project
            .read("steps/05-engine/solution/src/lib.rs")
            .replace("step05", "step08")
    );
    assert_eq!(
        project.read("steps/08-typed-rows/solution/src/old.rs"),
        "// old\n"
    );
}
