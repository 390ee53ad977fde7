//! The server answers, and nothing is left of it.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use postgres_server::Server;

#[test]
fn a_server_answers_and_leaves_nothing() {
    let Some(server) = Server::start(&["max_connections=17"]).unwrap() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{}",
            postgres_server::INSTALL
        );
        return;
    };
    let url = server.url("postgres");
    let folder = url.split_once("host=").unwrap().1.to_owned();
    let psql = || {
        let mut psql = Command::new("psql");
        psql.args([&url, "-Atc", "SHOW max_connections"]).output()
    };
    // `psql` is a package of its own in some places.
    if let Ok(output) = psql() {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "17\n");
    }
    drop(server);
    assert!(!Path::new(&folder).exists(), "{folder} is left");
}
