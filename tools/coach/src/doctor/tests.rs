use super::*;

#[test]
fn versions_are_read_wherever_they_stand() {
    assert_eq!(version("rustc 1.94.0 (abc 2026-01-01)"), Some((1, 94)));
    assert_eq!(version(" = \"1.94\""), Some((1, 94)));
    assert_eq!(version("rustc 1.100.0-nightly"), Some((1, 100)));
    assert!(version("rustc 1.100.0") > version("1.94"));
    assert_eq!(version("rustc"), None);
}

#[test]
fn the_free_space_is_the_available_one() {
    let look = |line: &str, needed| {
        let head = "Filesystem 1024-blocks Used Available Capacity Mounted on";
        let findings = disk(&format!("{head}\n{line}\n"), needed);
        findings.iter().map(|it| it.state).collect::<Vec<_>>()
    };
    let ours = "/dev/vda 263174212 42 1000 45% /";
    assert_eq!(look(ours, 1_024_000), [State::Fine]);
    assert_eq!(look(ours, 1_024_001), [State::Fix]);
    assert_eq!(look("overlay 9 9 1000 1% /", 1), [State::Fine]);
    // A drive of somebody else.
    for line in [
        "//me@host/my share 1 2 53000 45% /Volumes/100% mine",
        "C:\\ 1 2 53000 45% /mnt/c",
        "host:/home 1 2 53000 45% /home",
    ] {
        assert_eq!(look(line, 1), [State::Fine, State::Warning], "{line}");
    }
    assert_eq!(look("", 1), [State::Warning]);
    assert_eq!(disk("", 1)[0].state, State::Warning);
}

#[test]
fn files_from_the_future_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let project = Project {
        root: folder.path().to_path_buf(),
    };
    let now = SystemTime::now();
    assert_eq!(clock(&project, now).state, State::Fine);
    for file in ["Cargo.toml", "steps/05-engine/exercise/src/lib.rs"] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        let at = |time: SystemTime| {
            let open = fs::File::options().write(true).open(&path).unwrap();
            open.set_modified(time).unwrap();
        };
        at(now + Duration::from_hours(5));
        let finding = clock(&project, now);
        assert_eq!(finding.state, State::Fix, "{finding:?}");
        assert!(
            finding.found.starts_with(&format!("{file} is 300 minutes")),
            "{finding:?}"
        );
        // Seen from later, it is none.
        let later = now + Duration::from_hours(6);
        assert_eq!(clock(&project, later).state, State::Fine);
        at(now + Duration::from_secs(30));
        assert_eq!(clock(&project, now).state, State::Fine);
    }
    // What was built is cargo's business.
    let built = folder.path().join("steps/05-engine/exercise/target/x");
    fs::create_dir_all(built.parent().unwrap()).unwrap();
    let file = fs::File::create(built).unwrap();
    file.set_modified(now + Duration::from_hours(5)).unwrap();
    assert_eq!(clock(&project, now).state, State::Fine);
}

#[test]
fn the_database_is_a_file_or_none() {
    for (url, file) in [
        ("sqlite://marketdb.sqlite", Some("marketdb.sqlite")),
        ("sqlite:///tmp/x.sqlite?mode=rwc", Some("/tmp/x.sqlite")),
        ("sqlite:x.sqlite", Some("x.sqlite")),
        (
            "sqlite:///a%20b/caf%C3%A9%3F.sqlite",
            Some("/a b/café?.sqlite"),
        ),
        ("sqlite::memory:", None),
        ("postgres://localhost/x", None),
    ] {
        assert_eq!(database_file(url), Ok(file.map(PathBuf::from)), "{url}");
    }
    for url in [
        "sqlite://50%off.sqlite",
        "sqlite://a%",
        "sqlite://%ff.sqlite",
    ] {
        assert!(database_file(url).is_err(), "{url}");
    }
}

#[test]
fn one_line_says_what_and_one_what_to_do() {
    let findings = [
        Finding::fine("cargo", "1.94"),
        Finding::fix("port", "taken", "kill 1"),
        Finding::warning("jq", "not found", "apt install jq"),
    ];
    assert_eq!(
        table(&findings),
        "ok    cargo  1.94\n\
             FIX   port   taken\n\
             \x20            -> kill 1\n\
             warn  jq     not found\n\
             \x20            -> apt install jq\n\
             \n1 to fix, 1 warning\n"
    );
    assert!(table(&findings[..1]).ends_with("\nnothing to fix\n"));
}
