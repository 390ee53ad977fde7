//! A cluster survives its primaries, and nothing is left of it.
#![cfg(unix)]

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres_server::{Cluster, INSTALL, Role, programs};

fn start() -> Option<Cluster> {
    let cluster = Cluster::start().unwrap();
    if cluster.is_none() {
        not_run();
    }
    cluster
}

fn not_run() {
    assert!(env::var_os("CI").is_none(), "{INSTALL}");
    eprintln!("not run: {INSTALL}");
}

/// Waits until this is so.
fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn folders(urls: &[String]) -> Vec<String> {
    let folder = |url: &String| url.split_once("host=").unwrap().1.to_owned();
    urls.iter().map(folder).collect()
}

/// Whether a process has this text in its command line.
fn runs(text: &str) -> bool {
    let processes = Command::new("ps")
        .args(["-A", "-o", "args="])
        .output()
        .unwrap();
    String::from_utf8_lossy(&processes.stdout).contains(text)
}

#[test]
fn what_the_primary_writes_is_on_both_standbys() {
    let Some(cluster) = start() else { return };
    let [primary, synchronous, asynchronous] = cluster.servers() else {
        panic!("not three servers");
    };
    assert_eq!(cluster.number(Role::Primary), 0);
    primary
        .query("CREATE TABLE t AS SELECT 41 + 1 AS n")
        .unwrap();
    for standby in [synchronous, asynchronous] {
        until("the row is not on a standby", || {
            standby.query("SELECT n FROM t").is_ok_and(|n| n == "42")
        });
        let error = standby.query("INSERT INTO t VALUES (1)").unwrap_err();
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    let settings = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings \
                    WHERE name IN ('fsync', 'hot_standby', 'synchronous_commit')";
    for server in cluster.servers() {
        assert_eq!(server.query(settings).unwrap(), "on on on");
    }
}

#[test]
fn no_acknowledged_row_is_lost_in_five_failovers() {
    let Some(mut cluster) = start() else { return };
    cluster.servers()[0]
        .query("CREATE TABLE t (n int)")
        .unwrap();
    let folders = folders(&cluster.urls()).join(",");
    let next = AtomicU32::new(0);
    let ended = AtomicBool::new(false);
    let url = format!(
        "postgres://market@localhost/postgres?host={folders}&target_session_attrs=read-write"
    );
    let write = || {
        let mut acknowledged = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let insert = format!("INSERT INTO t VALUES ({n})");
            let mut psql = Command::new("psql");
            psql.args(["-Xqc", &insert, &url])
                .env("PGCONNECT_TIMEOUT", "2");
            if psql.output().unwrap().status.success() {
                acknowledged.push(n);
            }
        }
        acknowledged
    };
    let acknowledged: Vec<u32> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|_| scope.spawn(write)).collect();
        for round in 0..5 {
            thread::sleep(Duration::from_millis(500));
            let begin = Instant::now();
            cluster.kill_primary().unwrap();
            cluster.promote().unwrap();
            let promoted = begin.elapsed();
            assert_eq!(cluster.number(Role::Primary), (round + 1) % 3);
            cluster.rejoin().unwrap();
            eprintln!(
                "round {round}: {promoted:?}, whole after {:?}",
                begin.elapsed()
            );
        }
        ended.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    let primary = &cluster.servers()[cluster.number(Role::Primary)];
    let rows = primary.query("SELECT n FROM t").unwrap();
    let rows: Vec<u32> = rows.lines().map(|line| line.parse().unwrap()).collect();
    let lost: Vec<&u32> = acknowledged.iter().filter(|n| !rows.contains(n)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
}

#[test]
fn a_standby_that_is_ahead_of_the_new_primary_is_made_anew() {
    let Some(mut cluster) = start() else { return };
    cluster.servers()[0]
        .query("CREATE TABLE t (text text)")
        .unwrap();
    cluster.pause(1).unwrap();
    // More than the sockets hold. Its commit waits for the standby that is paused.
    let mut psql = Command::new("psql");
    let fill = "INSERT INTO t SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) n";
    let mut waits = psql
        .args(["-Xqc", fill, &cluster.urls()[0]])
        .spawn()
        .unwrap();
    until("the rows are not on the asynchronous standby", || {
        let rows = cluster.servers()[2].query("SELECT count(*) FROM t");
        rows.is_ok_and(|rows| rows == "20000")
    });
    cluster.kill_primary().unwrap();
    assert!(!waits.wait().unwrap().success());
    cluster.resume(1).unwrap();
    cluster.promote().unwrap();
    for number in [1, 2] {
        let rows = cluster.servers()[number].query("SELECT count(*) FROM t");
        assert_eq!(rows.unwrap(), "0", "server {number}");
    }
    cluster.rejoin().unwrap();
}

#[test]
fn a_paused_primary_can_be_replaced() {
    let Some(mut cluster) = start() else { return };
    cluster.pause(0).unwrap();
    cluster.promote().unwrap();
    let write = "CREATE TABLE t AS SELECT 1 AS n";
    cluster.servers()[1].query(write).unwrap();
    cluster.resume(0).unwrap();
    // No standby confirms what the old primary writes.
    let late = "SET statement_timeout = '1s'; SELECT n FROM t";
    assert!(cluster.servers()[0].query(late).is_err());
    cluster.pause(0).unwrap();
    cluster.rejoin().unwrap();
    assert_eq!(cluster.servers()[0].query("SELECT n FROM t").unwrap(), "1");
}

#[test]
#[ignore = "the program that the next test kills"]
fn owner() {
    let mut cluster = Cluster::start().unwrap().unwrap();
    cluster.pause(1).unwrap();
    println!("\nURL {}", cluster.url());
    thread::sleep(Duration::from_mins(1));
}

#[test]
fn nothing_is_left_of_a_cluster_whose_program_is_killed() {
    if programs(&["initdb", "pg_basebackup"]).is_none() {
        return not_run();
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["owner", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let urls = lines.map_while(Result::ok).find_map(|line| {
        let urls = line.strip_prefix("URL ")?.split(',');
        Some(urls.map(str::to_owned).collect::<Vec<_>>())
    });
    let folders = folders(&urls.expect("the owner has no cluster"));
    assert!(folders.iter().all(|folder| runs(folder)));
    owner.kill().unwrap();
    owner.wait().unwrap();
    for folder in folders {
        until(&format!("{folder} is left"), || {
            !Path::new(&folder).exists() && !runs(&folder)
        });
    }
}
