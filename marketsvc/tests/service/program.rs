//! The program as a whole: what it starts with, what it refuses to start
//! with, and what it leaves. What a kill leaves is in `pressure/stops.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::SystemTime;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::common::{Process, add_order, binary, soon};

fn folder() -> Result<TempDir, Failure> {
    tempfile::tempdir().or_fail("a temporary folder")
}

pub async fn output(command: &mut Command) -> Result<Output, Failure> {
    soon("the program ends", command.output())
        .await
        .or_fail("the program")
}

/// Checks that the program ended with `code`, wrote nothing on standard
/// output, and one line with all of `words` on standard error.
pub fn expect_refusal(asked: &str, output: &Output, code: i32, words: &[&str]) -> Outcome {
    let stderr = String::from_utf8_lossy(&output.stderr);
    equal(
        format!("{asked}: exit code, with {stderr}"),
        Some(code),
        output.status.code(),
    )?;
    equal(
        format!("{asked}: standard output"),
        "",
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )?;
    equal(
        format!("{asked}: lines on standard error: {stderr}"),
        1,
        stderr.lines().count(),
    )?;
    for word in words {
        ensure(
            stderr.contains(word),
            asked,
            format!("`{word}` in the message"),
            &stderr,
        )?;
    }
    Ok(())
}

/// Every file of a folder with its content and time of change.
fn state(folder: &Path) -> Result<BTreeMap<PathBuf, (SystemTime, Vec<u8>)>, Failure> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).or_fail("the folder")? {
        let path = entry.or_fail("the folder")?.path();
        let changed = fs::symlink_metadata(&path).and_then(|meta| meta.modified());
        // Directories and sockets have no content.
        let content = fs::read(&path).unwrap_or_default();
        files.insert(path, (changed.or_fail("a time of change")?, content));
    }
    Ok(files)
}

/// Puts something under a database's name.
type Make = Box<dyn Fn(&Path) -> std::io::Result<()>>;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn a_file_that_is_not_its_database_is_refused_and_left_as_it_is() -> Outcome {
    let sample = Database::sample().await?;
    let market = fs::read(sample.path()).or_fail("a market's database")?;
    // Each changes a good database, or makes something else under its name.
    let sql = |statements: &'static str| -> Make {
        let market = market.clone();
        Box::new(move |path| {
            fs::write(path, &market)?;
            let status = std::thread::scope(|scope| {
                scope
                    .spawn(|| execute(path, statements))
                    .join()
                    .expect("no panic")
            });
            status.map_err(std::io::Error::other)
        })
    };
    let bytes = |content: Vec<u8>| -> Make { Box::new(move |path| fs::write(path, &content)) };
    let cases: Vec<(&str, Make, &[&str])> = vec![
        (
            "a directory",
            Box::new(|path| fs::create_dir(path)),
            &["is a directory"],
        ),
        ("an empty file", bytes(vec![]), &["is empty"]),
        (
            "a short file",
            bytes(b"SQLite".to_vec()),
            &["not an SQLite database"],
        ),
        (
            "a text",
            bytes(b"Dear diary, today I learned about databases.\n".repeat(100)),
            &["not an SQLite database"],
        ),
        (
            "an SQLite header and nothing else",
            bytes(market[..16].to_vec()),
            &["cannot read"],
        ),
        (
            "an SQLite header and rubbish",
            bytes([&market[..100], &[0xa5; 50_000][..]].concat()),
            &["cannot read"],
        ),
        (
            "a newer database",
            sql("INSERT INTO _sqlx_migrations VALUES (9001, 'later', '2030-01-01', 1, x'00', 0)"),
            &["newer than this program", "9001"],
        ),
        (
            "a different migration",
            sql("UPDATE _sqlx_migrations SET checksum = x'0102' WHERE version = 2"),
            &["different version of migration 2"],
        ),
        (
            "half a migration",
            sql("UPDATE _sqlx_migrations SET success = 0 WHERE version = 2"),
            &["halfway through migration 2"],
        ),
        (
            "another program's database",
            sql("DROP TABLE _sqlx_migrations"),
            &["not a market's"],
        ),
        (
            "a database without tables",
            sql(
                "DROP TABLE _sqlx_migrations; DROP TABLE book; DROP TABLE author; DROP TABLE order_items; DROP TABLE orders; DROP TABLE customer; DROP TABLE address; DROP TABLE item",
            ),
            &["not a market's"],
        ),
        #[cfg(unix)]
        (
            "a read-only file",
            {
                let market = market.clone();
                Box::new(move |path| {
                    fs::write(path, &market)?;
                    let mut permissions = fs::metadata(path)?.permissions();
                    permissions.set_readonly(true);
                    fs::set_permissions(path, permissions)
                })
            },
            &["read-only"],
        ),
        #[cfg(unix)]
        (
            "a link to nothing",
            Box::new(|path| std::os::unix::fs::symlink("nowhere.sqlite", path)),
            &["link to a file that does not exist"],
        ),
        #[cfg(unix)]
        (
            "a socket",
            Box::new(|path| std::os::unix::net::UnixListener::bind(path).map(drop)),
            &["not a regular file"],
        ),
    ];
    for (what, make, words) in cases {
        let folder = folder()?;
        let path = folder.path().join("market.sqlite");
        make(&path).or_fail(what)?;
        let before = state(folder.path())?;
        for verb in [&[] as &[&str], &["seed", "--customers", "5"]] {
            let output = output(
                binary(folder.path())
                    .env("DATABASE_URL", "sqlite://market.sqlite")
                    .args(verb),
            )
            .await?;
            let words = [words, &["market.sqlite"]].concat();
            expect_refusal(what, &output, 3, &words)?;
            let after = state(folder.path())?;
            ensure(
                before == after,
                what,
                "the folder as it was",
                format!("{:?}", after.keys()),
            )?;
        }
    }
    Ok(())
}

/// Runs statements on a database that nobody else has open, and leaves no log.
fn execute(path: &Path, statements: &'static str) -> Result<(), sqlx::Error> {
    use sqlx::Connection;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(false);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql(statements).execute(&mut connection).await?;
        connection.close().await
    })
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_named() -> Outcome {
    let folder = folder()?;
    let url = "sqlite://missing/market.sqlite";
    let output = output(binary(folder.path()).env("DATABASE_URL", url)).await?;
    expect_refusal(
        "a missing folder",
        &output,
        3,
        &["missing for the database does not exist"],
    )?;
    ensure(
        state(folder.path())?.is_empty(),
        "a missing folder",
        "nothing created",
        "something",
    )
}

#[tokio::test]
async fn wrong_settings_are_named_with_what_is_allowed() -> Outcome {
    let folder = folder()?;
    for (variable, value, allowed) in [
        ("MARKETSVC_ADDR", "nowhere", "an IP address and a port"),
        (
            "MARKETSVC_ADDR",
            "127.0.0.1:65536",
            "an IP address and a port",
        ),
        (
            "DATABASE_URL",
            "postgres://localhost/market",
            "begin with sqlite://",
        ),
        ("DATABASE_URL", "sqlite::memory:", "must name a file"),
        ("RUST_LOG", "sqlx=loud", "error, warn, info, debug, trace"),
    ] {
        let asked = format!("{variable}={value}");
        let output = output(binary(folder.path()).env(variable, value)).await?;
        expect_refusal(&asked, &output, 2, &[variable, value, allowed])?;
    }
    let output = output(binary(folder.path()).args(["--addr", "nowhere"])).await?;
    expect_refusal(
        "--addr nowhere",
        &output,
        2,
        &["--addr", "nowhere", "an IP address and a port"],
    )?;
    for wrong in [&["seed"] as &[&str], &["seed", "--customers", "4000000000"]] {
        let output = self::output(binary(folder.path()).args(wrong)).await?;
        expect_refusal(&wrong.join(" "), &output, 2, &["--customers 1000"])
            .or_else(|_| expect_refusal(&wrong.join(" "), &output, 2, &["at most 50000000"]))?;
    }
    ensure(
        state(folder.path())?.is_empty(),
        "wrong settings",
        "nothing created",
        "something",
    )
}

#[tokio::test]
async fn a_taken_port_is_named_and_no_database_is_created() -> Outcome {
    let folder = folder()?;
    let taken = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
    let addr = taken.local_addr().or_fail("a port")?.to_string();
    let output = output(binary(folder.path()).env("MARKETSVC_ADDR", &addr)).await?;
    expect_refusal(
        "a taken port",
        &output,
        3,
        &[&addr, "taken by another program", "--addr"],
    )?;
    ensure(
        state(folder.path())?.is_empty(),
        "a taken port",
        "nothing created",
        "something",
    )
}

#[tokio::test]
async fn without_a_terminal_there_is_no_colour() -> Outcome {
    let folder = folder()?;
    // No NO_COLOR: `binary` clears the environment.
    let output = output(binary(folder.path()).args(["seed", "--customers", "1"])).await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let asked = "seed with its output in a pipe";
    ensure(
        stderr.contains("created the database"),
        asked,
        "a line of the log",
        &stderr,
    )?;
    ensure(!stderr.contains('\u{1b}'), asked, "no escapes", &stderr)
}

#[tokio::test]
async fn a_missing_database_is_created_once_and_kept() -> Outcome {
    for (url, file) in [
        ("sqlite://marketdb.sqlite", "marketdb.sqlite"),
        (
            "sqlite://with space & 100%25.sqlite",
            "with space & 100%.sqlite",
        ),
        ("sqlite:file:odd%3Fmode=ro", "file:odd?mode=ro"),
    ] {
        let folder = folder()?;
        let start = || {
            let mut command = binary(folder.path());
            command.env("DATABASE_URL", url);
            Process::start(command)
        };
        let mut process = start().await?;
        process
            .service
            .get("/api/order_total/1")
            .await?
            .expect_json(200, &json!({"Order Total": 30}))?;
        add_order(&process.service).await?;
        process.child.kill().await.or_fail("kill")?;
        ensure(
            folder.path().join(file).is_file(),
            url,
            file,
            format!("{:?}", state(folder.path())?.keys()),
        )?;

        let mut process = start().await?;
        process
            .service
            .get("/api/order_total/4")
            .await?
            .expect_status(200)?;
        process.child.kill().await.or_fail("kill")?;
        // Besides the database itself only what SQLite keeps beside it.
        let rest: Vec<_> = state(folder.path())?
            .into_keys()
            .filter(|path| !path.to_string_lossy().contains(file))
            .collect();
        equal(format!("{url}: left-overs"), Vec::<PathBuf>::new(), rest)?;
    }
    Ok(())
}

#[tokio::test]
async fn programs_that_start_together_share_one_new_database() -> Outcome {
    let folder = folder()?;
    let starts = (0..4).map(|_| {
        let mut command = binary(folder.path());
        command.env("DATABASE_URL", "sqlite://market.sqlite");
        Process::start(command)
    });
    let mut processes = Vec::new();
    for process in join_all(starts).await {
        processes.push(process?);
    }
    for process in &processes {
        add_order(&process.service).await?;
    }
    for process in &processes {
        process
            .service
            .get("/api/order_total/7")
            .await?
            .expect_json(200, &json!({"Order Total": 4}))?;
    }
    Ok(())
}

/// The indexes that later migrations add.
const INDEXES: &str =
    "'orders_by_customer', 'orders_by_time', 'order_items_by_order', 'book_by_author'";

/// A database as the first migration left it.
async fn older_database() -> Result<Database, Failure> {
    Database::older(1).await
}

async fn expect_indexes(database: &Database) -> Outcome {
    let sql = format!("SELECT count(*) FROM sqlite_schema WHERE name IN ({INDEXES})");
    let indexes: i64 = database.one(&sql).await?;
    equal("indexes after the start", 4, indexes)
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() -> Outcome {
    let database = older_database().await?;
    let before = database.snapshot().await?;
    let mut process = Process::over(&database).await?;
    process
        .service
        .get("/api/orders/1")
        .await?
        .expect_status(200)?;
    process.child.kill().await.or_fail("kill")?;
    expect_indexes(&database).await?;
    database
        .expect_unchanged("a start over an older database", &before)
        .await
}

/// Each finds the same migrations missing.
#[tokio::test]
async fn programs_that_start_together_bring_a_database_up_to_date() -> Outcome {
    for _ in 0..5 {
        let database = older_database().await?;
        let before = database.snapshot().await?;
        let processes = join_all((0..4).map(|_| Process::over(&database))).await;
        for mut process in processes.into_iter().collect::<Result<Vec<_>, _>>()? {
            process.child.kill().await.or_fail("kill")?;
        }
        expect_indexes(&database).await?;
        database
            .expect_unchanged("a start over an older database", &before)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn seeding_adds_what_it_says_and_the_same_each_time() -> Outcome {
    let mut results = Vec::new();
    for _ in 0..2 {
        let database = Database::sample().await?;
        let before = database.snapshot().await?;
        let seed = |customers: &'static str, orders: &'static str| {
            let mut command = binary(&std::env::temp_dir());
            command.env("DATABASE_URL", database.url()).args([
                "seed",
                "--customers",
                customers,
                "--orders",
                orders,
            ]);
            async move { output(&mut command).await }
        };
        let first = seed("60000", "700").await?;
        let said = String::from_utf8_lossy(&first.stdout).into_owned();
        equal(
            format!("seed: {}", String::from_utf8_lossy(&first.stderr)),
            Some(0),
            first.status.code(),
        )?;
        for words in [
            "there were 3 customers and 3 orders",
            "added 60000 customers and 700 orders",
            "now 60003 customers and 703 orders",
        ] {
            ensure(said.contains(words), "seed", words, &said)?;
        }
        // Onto what is there.
        equal("seed again", Some(0), seed("10", "10").await?.status.code())?;
        let counts: String = database
            .one("SELECT (SELECT count(*) FROM customer) || ' ' || (SELECT count(*) FROM address) || ' ' || (SELECT count(*) FROM orders)")
            .await?;
        equal("rows afterwards", "60013 60013 713", &counts)?;
        let wrong: i64 = database
            .one(
                "SELECT (SELECT count(*) FROM pragma_foreign_key_check)
                      + (SELECT count(*) FROM orders WHERE order_time <> datetime(order_time))
                      + (SELECT count(*) FROM orders WHERE id > 3 AND
                         (SELECT count(*) FROM order_items WHERE order_id = orders.id) NOT BETWEEN 1 AND 4)",
            )
            .await?;
        equal("wrong rows", 0, wrong)?;
        let customers: i64 = database
            .one("SELECT count(DISTINCT customer_id) FROM orders")
            .await?;
        ensure(
            customers > 600,
            "customers of 713 orders",
            "more than 600",
            customers,
        )?;
        let gone = before.difference(&database.snapshot().await?);
        ensure(!gone.contains("gone"), "seed", "only new rows", &gone)?;
        results.push(database.snapshot().await?);
    }
    ensure(
        results[0] == results[1],
        "the same seed twice",
        "the same rows",
        "others",
    )
}

#[tokio::test]
async fn seeding_needs_somebody_who_orders_something() -> Outcome {
    let database = Database::empty().await?;
    let mut command = binary(&std::env::temp_dir());
    command.env("DATABASE_URL", database.url());
    let refused = output(command.args(["seed", "--orders", "5"])).await?;
    equal("orders without customers", Some(3), refused.status.code())?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure(
        said.contains("no customers"),
        "orders without customers",
        "no customers",
        said,
    )?;
    // Customers alone need nobody, and nothing to order.
    let mut command = binary(&std::env::temp_dir());
    command.env("DATABASE_URL", database.url());
    let added = output(command.args(["seed", "--customers", "5"])).await?;
    equal(
        format!("customers without items: {added:?}"),
        Some(0),
        added.status.code(),
    )
}

/// A process is allowed so many open files, and clients can use them all up.
#[cfg(unix)]
#[tokio::test]
async fn without_file_descriptors_idle_clients_give_theirs_to_others() -> Outcome {
    const FILES: usize = 48;
    let database = Database::sample().await?;
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("ulimit -n {FILES}; exec \"$0\"")])
        .arg(env!("CARGO_BIN_EXE_marketsvc"))
        .env_clear()
        .env("DATABASE_URL", database.url())
        .env("MARKETSVC_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut process = Process::start(command).await?;
    let stderr = process.child.stderr.take().or_fail("standard error")?;
    let mut idle = Vec::new();
    for _ in 0..FILES {
        let socket = TcpStream::connect(process.service.addr()).await;
        idle.push(socket.or_fail("a connection")?);
    }
    let mut log = BufReader::new(stderr).lines();
    soon("it says that it cannot accept", async {
        loop {
            match log.next_line().await {
                Ok(Some(line)) if line.contains("cannot accept connections") => break Ok(()),
                Ok(Some(_)) => {}
                other => {
                    break Err(Failure::new(
                        "the log",
                        "cannot accept",
                        format!("{other:?}"),
                    ));
                }
            }
        }
    })
    .await?;
    // Long before an idle connection would be closed for being idle.
    for _ in 0..3 {
        let reply = soon("an answer", process.service.get("/api/order_total/1")).await?;
        reply.expect_json(200, &json!({"Order Total": 30}))?;
    }
    drop(idle);
    Ok(())
}

#[tokio::test]
async fn a_newer_database_with_a_log_is_left_as_it_is() -> Outcome {
    let database = Database::sample().await?;
    // Somebody newer has it open, and what makes it newer is in the log only.
    let mut newer = database.connect().await?;
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9001, 'later', '2030-01-01', 1, x'00', 0)")
        .execute(&mut newer)
        .await
        .or_fail("a newer migration")?;
    let folder = database.path().parent().or_fail("its folder")?;
    let content = || -> Result<Vec<Vec<u8>>, Failure> {
        ["market.sqlite", "market.sqlite-wal"]
            .iter()
            .map(|name| fs::read(folder.join(name)).or_fail(name))
            .collect()
    };
    let before = content()?;
    let output = output(binary(folder).env("DATABASE_URL", database.url())).await?;
    expect_refusal("a newer database", &output, 3, &["newer than this program"])?;
    ensure(
        before == content()?,
        "a newer database",
        "as it was",
        "changed",
    )
}

#[tokio::test]
async fn a_database_that_another_program_has_locked_is_said_to_be_in_use() -> Outcome {
    for (what, lock) in [
        (
            "a reader of a database that is not in WAL mode",
            "PRAGMA journal_mode = DELETE; BEGIN; SELECT * FROM item",
        ),
        (
            "a writer of a database that is not in WAL mode",
            "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE",
        ),
        (
            "a program that keeps the database to itself",
            "PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE",
        ),
        (
            "a writer of a database that has to be brought up to date",
            "BEGIN IMMEDIATE",
        ),
    ] {
        let database = older_database().await?;
        let mut other = database.connect().await?;
        sqlx::raw_sql(lock)
            .execute(&mut other)
            .await
            .or_fail(what)?;
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", database.url());
        command.env("MARKETSVC_LOCK_WAIT", "100ms");
        let output = output(&mut command).await?;
        let words = ["another program has", "market.sqlite"];
        expect_refusal(what, &output, 3, &words)?;
    }
    Ok(())
}

/// SQLite's limit is lower than the system's.
#[tokio::test]
async fn a_path_that_is_too_long_is_said_to_be_too_long() -> Outcome {
    let sample = Database::sample().await?;
    let market = fs::read(sample.path()).or_fail("a market's database")?;
    let folder = folder()?;
    let root = fs::canonicalize(folder.path()).or_fail("the folder")?;
    for length in [470, 480, 490, 500, 510, 520, 700] {
        for exists in [false, true] {
            let mut long = root.join(format!("{exists}")).join("x".repeat(200));
            let rest = length - long.as_os_str().len() - "/market.sqlite".len() - 1;
            let rest = "x".repeat(rest);
            long.extend([&rest[..rest.len() / 2], &rest[rest.len() / 2..]]);
            fs::create_dir_all(&long).or_fail("a long folder")?;
            let path = long.join("market.sqlite");
            if exists {
                fs::write(&path, &market).or_fail("a database")?;
            }
            let mut command = binary(folder.path());
            let url = format!("sqlite://{}", path.display());
            command
                .env("DATABASE_URL", url)
                .args(["seed", "--customers", "1"]);
            let output = output(&mut command).await?;
            if length < 480 {
                equal(format!("{output:?}"), Some(0), output.status.code())?;
            } else if length > 512 || output.status.code() != Some(0) {
                let words = ["is too long", "market.sqlite"];
                expect_refusal(&format!("{length} bytes"), &output, 3, &words)?;
            }
        }
    }
    Ok(())
}
