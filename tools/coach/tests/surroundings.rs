//! What a learner's machine brings along: other programs at work, settings of the
//! shell, of curl, git and cargo, files in folders above. `./run.sh` does the same
//! as without them, or says what is in the way.

mod support;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use support::{Project, outcome, real_root, snapshot, text};

fn run(command: &mut Command) -> (Option<i32>, String, String) {
    outcome(&command.output().unwrap())
}

#[test]
fn a_file_above_that_sqlx_cannot_read_is_named() {
    let project = Project::with_coach();
    let file = project.path(".env");
    // sqlx reads such files while it compiles a query; this is what it says then.
    let lib = project.read("steps/05-engine/exercise/src/lib.rs");
    let error = format!(
        "compile_error!({:?});\n",
        format!("error reading dotenv file {file:?}")
    );
    project.write("steps/05-engine/exercise/src/lib.rs", &(lib + &error));
    let (code, _, err) = run(&mut project.run_sh(&["check", "05"]));
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains(&format!("cannot read {}\n", file.display())),
        "{err}"
    );
    assert!(err.contains("NAME=value"), "{err}");
    assert!(!err.contains("reset"), "{err}");

    let line = || {
        let (_, table, _) = run(&mut project.run_sh(&["doctor"]));
        let mut lines = table.lines().skip_while(|line| !line.contains("  .env "));
        lines
            .next()
            .map(|found| format!("{found}{}", lines.next().unwrap()))
    };
    // Programs of all kinds keep one.
    for good in ["A=1\nexport B=\"two words\"\n# C\n", ""] {
        project.write(".env", good);
        assert_eq!(line(), None, "{good}");
    }
    project.write(".env", "A=1\nX=two words here\n");
    let found = line().unwrap();
    assert!(
        found.starts_with("FIX") && found.contains(file.to_str().unwrap()),
        "{found}"
    );
    assert!(
        found.contains("two words here") && found.contains("-> write each"),
        "{found}"
    );
    // Python's tools make a folder of that name.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(line().unwrap().starts_with("FIX"));
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let (code, out, err) = run(&mut git);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
}

#[test]
fn a_checkout_where_git_writes_crlf_works() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    for part in ["steps", "data"] {
        for (file, bytes) in snapshot(&real_root().join(part)) {
            let path = ours.join(part).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    for file in ["run.sh", "Cargo.toml", ".gitattributes"] {
        fs::copy(real_root().join(file), ours.join(file)).unwrap();
    }
    git(&ours, &["init", "-q"]);
    git(&ours, &["add", "-A"]);
    git(&ours, &["commit", "-q", "-m", "all"]);
    git(
        folder.path(),
        &["clone", "-q", "-c", "core.autocrlf=true", "ours", "theirs"],
    );
    let theirs = folder.path().join("theirs");
    for part in ["steps", "data"] {
        // The migrations among them, of which a database keeps checksums.
        let (ours, theirs) = (snapshot(&ours.join(part)), snapshot(&theirs.join(part)));
        for (file, bytes) in &theirs {
            assert!(ours.get(file) == Some(bytes), "{} differs", file.display());
        }
        assert!(theirs.len() > 2);
    }

    // Cargo would take minutes to build the coach there: it is this one.
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho '{{\"executable\":\"{}\"}}'\n",
        env!("CARGO_BIN_EXE_coach")
    );
    fs::write(bin.join("cargo"), script).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path))).unwrap();
    let verb = |arguments: &[&str]| {
        let mut command = Command::new(theirs.join("run.sh"));
        let command = command.args(arguments).current_dir(&theirs);
        run(command.env("PATH", &path).stdin(Stdio::null()))
    };
    let (code, out, err) = verb(&["list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("02  todo"), "{out}");
    let exercise = theirs.join("steps/02-raw-queries/exercise");
    let published = snapshot(&exercise);
    fs::write(exercise.join("src/lib.rs"), "// mine\r\n").unwrap();
    let (code, out, err) = verb(&["reset", "02"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(snapshot(&exercise) == published);
}

#[test]
fn settings_of_the_shell_change_nothing() {
    let project = Project::with_coach();
    let root = project.root();
    let (folder, name) = (
        root.parent().unwrap(),
        root.file_name().unwrap().to_str().unwrap(),
    );
    let plain = run(&mut project.run_sh(&["list"]));
    assert_eq!(plain.0, Some(0), "{}", plain.2);
    let rough = project.path("rough folder");
    fs::create_dir(&rough).unwrap();
    let settings: [(&str, &str); 10] = [
        ("CDPATH", ".:.."),
        // As bash hands on a function: a `cd` that shows the folder.
        ("BASH_FUNC_cd%%", "() {  builtin cd \"$@\" && ls\n}"),
        ("GREP_OPTIONS", "-v"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("TMPDIR", rough.to_str().unwrap()),
        ("CARGO_TERM_VERBOSE", "true"),
        ("CARGO_TERM_QUIET", "true"),
        ("CARGO_TERM_COLOR", "always"),
        ("CARGO_INCREMENTAL", "0"),
        ("POSIXLY_CORRECT", "1"),
    ];
    for (variable, value) in settings {
        let mut command = project.command("bash");
        command
            .arg(format!("{name}/run.sh"))
            .arg("list")
            .current_dir(folder)
            .env(variable, value);
        let (code, out, err) = run(&mut command);
        assert_eq!((code, &out), (Some(0), &plain.1), "{variable}: {err}");
        // Bash itself may complain of a locale that there is not.
        if variable != "LC_ALL" {
            assert_eq!(err, "", "{variable}");
        }
    }
}

#[test]
fn settings_of_cargo_are_followed_without_a_word() {
    let project = Project::with_coach();
    let home = tempfile::tempdir().unwrap();
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = text(&version.stdout);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let config = format!(
        "[build]\ntarget-dir = \"{}/builds\"\ntarget = \"{host}\"\n[term]\nquiet = true\ncolor = \"always\"\n",
        home.path().display()
    );
    fs::write(home.path().join("config.toml"), config).unwrap();
    let verb = |arguments: &[&str]| {
        let mut command = project.run_sh(arguments);
        command.env("CARGO_HOME", home.path());
        run(command.env_remove("CARGO_TARGET_DIR"))
    };
    for _ in 0..2 {
        let (code, out, err) = verb(&["list"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    }
    let (code, out, err) = verb(&["check", "05"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(1), "filter []\nthe answer is 1\n"),
        "{err}"
    );
    assert_eq!(err, "");
    assert!(home.path().join("builds").is_dir() && !project.path("target").exists());
    // It may hold other projects' builds.
    let (code, out, err) = verb(&["clean"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("nothing to clean"), "{out}");
    assert!(home.path().join("builds/debug").is_dir());
}

#[test]
fn settings_of_curl_change_no_answer() {
    let project = Project::with_coach();
    let home = tempfile::tempdir().unwrap();
    fs::write(
        home.path().join(".curlrc"),
        "include\nfail\nverbose\nmax-time = 0.001\n",
    )
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).unwrap();
            }
            let answer =
                "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nConnection: close\r\n\r\nproblem";
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    let dead = "http://127.0.0.1:1";
    for setting in ["HOME", "CURL_HOME"] {
        let mut command = project.run_sh(&["ordertotal", "7"]);
        command
            .env("MARKETSVC_ADDR", &address)
            .env(setting, home.path());
        for proxy in ["http_proxy", "ALL_PROXY", "HTTPS_PROXY"] {
            command.env(proxy, dead);
        }
        let (code, out, err) = run(&mut command);
        assert_eq!((code, out.as_str()), (Some(0), "problem\n"), "{err}");
        let line = format!("curl -sS http://{address}/api/order_total/7\nHTTP 404\n");
        assert_eq!(err, line);
    }
    server.join().unwrap();
}

#[test]
fn another_cargo_at_work_is_said_and_waited_for() {
    let project = Project::with_coach();
    let check = || project.run_sh(&["check", "05", "--solution"]);
    let (code, _, err) = run(&mut check());
    assert_eq!(code, Some(0), "{err}");
    // Where run.sh builds the coach, and where the coach builds the step.
    let mut coach = project.command(env!("CARGO_BIN_EXE_coach"));
    coach.args(["check", "05", "--solution"]);
    for mut command in [check(), coach] {
        let lock = fs::File::options()
            .write(true)
            .open(project.path("target/debug/.cargo-lock"))
            .unwrap();
        lock.lock().unwrap();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        assert!(said.starts_with("another cargo is building"), "{said}");
        assert!(child.try_wait().unwrap().is_none(), "it did not wait");
        drop(lock);
        let output = child.wait_with_output().unwrap();
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!((output.status.code(), rest.as_str()), (Some(0), ""));
        assert!(text(&output.stdout).contains("the answer is 2"));
    }
}

#[test]
fn the_database_is_the_file_that_the_service_opens() {
    let project = Project::with_coach();
    fs::create_dir(project.path("my dir")).unwrap();
    let line = |url: &str| {
        let mut command = project.run_sh(&["doctor"]);
        let (_, table, _) = run(command.env("DATABASE_URL", url));
        let line = table.lines().find(|line| line.contains("  database "));
        line.unwrap_or(&table).to_owned()
    };
    assert!(line("sqlite://my dir/m.sqlite?mode=rwc").starts_with("ok"));
    let found = line("sqlite://my dirs/m.sqlite");
    assert!(
        found.starts_with("FIX") && found.contains("/my dirs"),
        "{found}"
    );
    // Escapes are left to the service, which may find the file.
    assert!(!line("sqlite://my%20dirs/m.sqlite").starts_with("FIX"));
}

#[test]
fn what_to_try_by_hand_is_at_the_address_in_use() {
    let project = Project::with_coach();
    project.solve_05();
    let chapter = project.read("steps/05-engine/README.md").replace(
        "./run.sh customers`",
        "curl -sS http://127.0.0.1:9090/api/customers`",
    );
    project.write("steps/05-engine/README.md", &chapter);
    for (set, shown) in [
        ("127.0.0.1:9391", "127.0.0.1:9391"),
        ("0.0.0.0:9391", "127.0.0.1:9391"),
        ("[::]:9391", "[::1]:9391"),
        ("127.0.0.1:0", "127.0.0.1:9090"),
        ("", "127.0.0.1:9090"),
    ] {
        let mut command = project.run_sh(&["check", "05"]);
        let (code, out, err) = run(command.env("MARKETSVC_ADDR", set));
        assert_eq!(code, Some(0), "{err}");
        let line = format!("`curl -sS http://{shown}/api/customers`");
        assert!(out.contains(&line), "{set}: {out}");
    }
}
