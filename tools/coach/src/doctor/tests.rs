use super::*;

#[cfg(unix)]
#[test]
fn the_free_space_is_compared() {
    assert_eq!(
        disk(2_000_000_000, 2_000_000_000).unwrap(),
        "2.0 GB free where the target folder is"
    );
    let fault = disk(499_999_999, 500_000_000).unwrap_err();
    assert!(
        fault.serious && fault.wrong.contains("0.4 GB free"),
        "{fault:?}"
    );
    assert!(fault.advice.contains("./run.sh clean"), "{fault:?}");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into();
    assert!(free(&Project { root }).unwrap().0 > 0);
}

#[test]
fn the_database_is_a_file_or_none() {
    for (url, file) in [
        ("sqlite://marketdb.sqlite", Some("marketdb.sqlite")),
        ("sqlite:///tmp/x.sqlite?mode=rwc", Some("/tmp/x.sqlite")),
        ("sqlite:x.sqlite", Some("x.sqlite")),
        ("sqlite:///a%20b.sqlite", None),
        ("sqlite::memory:", None),
        ("postgres://localhost/x", None),
    ] {
        assert_eq!(database_file(url), file.map(PathBuf::from), "{url}");
    }
}

#[test]
fn one_line_says_what_and_one_what_to_do() {
    let findings = [
        ("cargo", Ok("1.94".into())),
        ("port", Err(fix("taken", "kill 1"))),
        ("jq", Err(warning("not found", "apt install jq"))),
    ];
    let (text, healthy) = table(&findings);
    assert_eq!(
        text,
        "ok    cargo           1.94\n\
         FIX   port            taken\n\
         \x20                     -> kill 1\n\
         warn  jq              not found\n\
         \x20                     -> apt install jq\n\
         \n1 to fix, 1 warning\n"
    );
    assert!(!healthy);
    assert!(table(&findings[..1]).0.ends_with("\nnothing to fix\n"));
}
