//! The programs as a whole: what `marketsvc` starts with, what it refuses to start with,
//! and what it leaves behind; and what `marketsvc-seed` adds. What a kill leaves is in
//! `pressure/stops.rs`.

mod common;
#[cfg(feature = "postgres")]
#[path = "program/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;

use check::{Database, Failure, OrFail, Outcome, ensure, equal};
use common::{Process, add_order, binary, soon};
use futures::future::join_all;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;

fn folder() -> Result<TempDir, Failure> {
    tempfile::tempdir().or_fail("a temporary folder")
}

async fn output(command: &mut Command) -> Result<Output, Failure> {
    soon("the program ends", command.output())
        .await
        .or_fail("the program")
}

/// `marketsvc-seed`, otherwise as [`binary`].
fn seed(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_marketsvc-seed"));
    command
        .env_clear()
        .current_dir(folder)
        .args(arguments)
        .kill_on_drop(true);
    command
}

fn seed_one(folder: &Path) -> Command {
    seed(folder, &["--customers", "1"])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails unless the program has ended with `code` and without standard output, and each of
/// `words` is in its message.
fn expect_end(asked: &str, output: &Output, code: i32, words: &[&str]) -> Outcome {
    let message = text(&output.stderr);
    let ended = (output.status.code(), text(&output.stdout));
    equal(
        format!("{asked}: exit code and output; {message}"),
        (Some(code), String::new()),
        ended,
    )?;
    let missing = words.iter().find(|word| !message.contains(**word));
    equal(
        format!("{asked}: words missing in: {message}"),
        None,
        missing,
    )
}

/// As [`expect_end`] with the exit code 3, and the message is a single line.
fn expect_refusal(asked: &str, output: &Output, words: &[&str]) -> Outcome {
    expect_end(asked, output, 3, words)?;
    let lines = text(&output.stderr).lines().count();
    equal(format!("{asked}: lines of the message"), 1, lines)
}

/// Every file of a folder with its content and the time of its last change.
type State = BTreeMap<PathBuf, (SystemTime, Vec<u8>)>;

fn state(folder: &Path) -> Result<State, Failure> {
    let mut files = State::new();
    for entry in fs::read_dir(folder).or_fail("the folder")? {
        let path = entry.or_fail("the folder")?.path();
        let changed = fs::metadata(&path).and_then(|meta| meta.modified());
        let content = fs::read(&path).or_fail("a file")?;
        files.insert(path, (changed.or_fail("a time of change")?, content));
    }
    Ok(files)
}

fn names(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    Ok(state(folder)?.into_keys().collect())
}

/// Fails unless the folder has the database, and nothing else but what SQLite keeps beside it.
fn expect_database_alone(folder: &Path) -> Outcome {
    let mut names = names(folder)?;
    names.retain(|name| {
        !name.ends_with("market.sqlite-shm") && !name.ends_with("market.sqlite-wal")
    });
    equal(
        "files afterwards",
        vec![folder.join("market.sqlite")],
        names,
    )
}

/// Starts the service in `folder`, over its `market.sqlite`.
async fn start_in(folder: &Path) -> Result<Process, Failure> {
    let mut command = binary(folder);
    command.env("DATABASE_URL", "sqlite://market.sqlite");
    Process::start(command).await
}

/// Ends the service, and returns what it has logged.
async fn end(mut process: Process) -> Result<String, Failure> {
    process
        .child
        .kill()
        .await
        .or_fail("the end of the service")?;
    let mut log = String::new();
    let mut stderr = process.child.stderr.take().or_fail("standard error")?;
    stderr.read_to_string(&mut log).await.or_fail("the log")?;
    Ok(log)
}

// ---- the database

#[tokio::test]
async fn a_missing_database_is_created_once_and_kept() -> Outcome {
    let folder = folder()?;
    let process = start_in(folder.path()).await?;
    let reply = process.service.get("/api/order_total/1").await?;
    reply.expect_json(200, &json!({"Order Total": 30}))?;
    let order = add_order(&process.service).await?;
    end(process).await?;
    expect_database_alone(folder.path())?;

    let process = start_in(folder.path()).await?;
    let path = format!("/api/order_total/{order}");
    let reply = process.service.get(&path).await?;
    reply.expect_json(200, &json!({"Order Total": 4}))?;
    equal(
        "a second order",
        order + 1,
        add_order(&process.service).await?,
    )?;
    end(process).await?;
    expect_database_alone(folder.path())
}

#[tokio::test]
async fn programs_that_start_together_share_one_new_database() -> Outcome {
    let folder = folder()?;
    let mut processes = Vec::new();
    for process in join_all((0..4).map(|_| start_in(folder.path()))).await {
        processes.push(process?);
    }
    let mut orders = Vec::new();
    for process in &processes {
        orders.push(add_order(&process.service).await?);
    }
    equal("the numbers of their orders", vec![4, 5, 6, 7], orders)?;
    for process in processes {
        let reply = process.service.get("/api/order_total/7").await?;
        reply.expect_json(200, &json!({"Order Total": 4}))?;
        end(process).await?;
    }
    expect_database_alone(folder.path())
}

/// The rows that a database of the first migration has.
const FIRST_ROWS: &str = "SELECT group_concat(line, char(10)) FROM (
    SELECT json_array('item', id, name, price_cents, description) AS line FROM item
    UNION ALL SELECT json_array('address', id, flat_number, post_code) FROM address
    UNION ALL SELECT json_array('customer', id, name, address_id) FROM customer
    UNION ALL SELECT json_array('orders', id, customer_id, order_time) FROM orders
    UNION ALL SELECT json_array('order_items', rowid, order_id, item_id, quantity) FROM order_items)";

/// Fails unless the later migrations have been run, and no row is another one.
async fn expect_up_to_date(database: &Database, before: &str) -> Outcome {
    let newest = Database::sample().await?;
    let schema = "SELECT group_concat(sql, ';' ORDER BY name) FROM sqlite_schema";
    let expected: String = newest.one(schema).await?;
    let got: String = database.one(schema).await?;
    equal("the schema after the start", expected, got)?;
    let after: String = database.one(FIRST_ROWS).await?;
    equal(
        "the rows after a start over an older database",
        before,
        &*after,
    )
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() -> Outcome {
    let database = Database::older(1).await?;
    let before: String = database.one(FIRST_ROWS).await?;
    let process = Process::over(&database).await?;
    let reply = process.service.get("/api/orders/1").await?;
    reply.expect_status(200)?;
    end(process).await?;
    expect_up_to_date(&database, &before).await
}

/// Each of them finds that the same migrations are missing.
#[tokio::test]
async fn programs_that_start_together_bring_a_database_up_to_date() -> Outcome {
    let database = Database::older(1).await?;
    let before: String = database.one(FIRST_ROWS).await?;
    let processes = join_all((0..4).map(|_| Process::over(&database))).await;
    for process in processes {
        end(process?).await?;
    }
    expect_up_to_date(&database, &before).await
}

/// `VACUUM INTO` leaves out the mode of the journal.
#[tokio::test]
async fn a_copy_is_in_wal_mode_after_the_start() -> Outcome {
    let database = Database::sample().await?;
    let folder = folder()?;
    let copy = folder.path().join("market.sqlite");
    database
        .execute(&format!("VACUUM INTO '{}'", copy.display()))
        .await?;
    // Bytes 18 and 19 of the file: 1 for a rollback journal, 2 for WAL.
    let mode = || Ok(fs::read(&copy).or_fail("the copy")?[18..20].to_vec());
    equal("the mode of the copy", vec![1, 1], mode()?)?;
    end(start_in(folder.path()).await?).await?;
    equal("its mode after the start", vec![2, 2], mode()?)
}

// ---- refusals

/// Puts a file of this content into an empty folder, and fails unless the service refuses
/// it with these words and leaves the folder as it was.
async fn refuses(what: &str, content: &[u8], words: &[&str]) -> Outcome {
    let folder = folder()?;
    fs::write(folder.path().join("market.sqlite"), content).or_fail(what)?;
    let before = state(folder.path())?;
    let url = "sqlite://market.sqlite";
    for program in [binary, seed_one] {
        let mut command = program(folder.path());
        let output = output(command.env("DATABASE_URL", url)).await?;
        expect_refusal(what, &output, &[&[url], words].concat())?;
        let unchanged = before == state(folder.path())?;
        let files = format!("{:?}", names(folder.path())?);
        ensure(unchanged, what, "the folder as it was", files)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_its_database_is_refused_and_left_as_it_is() -> Outcome {
    let sample = Database::sample().await?;
    let other = "CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('mine')";
    let another_program = database_with(None, other).await?;
    refuses(
        "another program's database",
        &another_program,
        &["another program"],
    )
    .await?;

    let newer = "INSERT INTO _sqlx_migrations VALUES (9001, 'later', '2030-01-01', 1, x'00', 0)";
    let newer = database_with(Some(&sample), newer).await?;
    refuses("a newer database", &newer, &["newer version"]).await?;

    let diary = "Dear diary, today I learned about databases.\n".repeat(100);
    refuses("a text", diary.as_bytes(), &["not a database"]).await?;

    let whole = fs::read(sample.path()).or_fail("the sample")?;
    let broken = [&whole[..100], &[0xa5].repeat(50_000)].concat();
    refuses("a database with rubbish in it", &broken, &["malformed"]).await
}

/// The content of a new database, or of a copy of another one, after these statements.
async fn database_with(copied: Option<&Database>, sql: &'static str) -> Result<Vec<u8>, Failure> {
    let folder = folder()?;
    let path = folder.path().join("made.sqlite");
    if let Some(database) = copied {
        fs::copy(database.path(), &path).or_fail("a copy")?;
    }
    let options = SqliteConnectOptions::new().filename(&path);
    let mut connection = options
        .create_if_missing(true)
        .connect()
        .await
        .or_fail(sql)?;
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .or_fail(sql)?;
    connection.close().await.or_fail(sql)?;
    fs::read(&path).or_fail("the database")
}

#[tokio::test]
async fn a_database_that_another_program_has_locked_is_said_to_be_in_use() -> Outcome {
    let cases = [
        (
            "a reader of a database that is not in WAL mode",
            Database::sample().await?,
            "PRAGMA journal_mode = DELETE; BEGIN; SELECT * FROM item",
        ),
        (
            "a writer of a database that is not in WAL mode",
            Database::sample().await?,
            "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE",
        ),
    ];
    // Together, since each waits for the lock for as long as the service does.
    let refused = cases.iter().map(async |(what, database, sql)| {
        let mut other = database.connect().await?;
        sqlx::raw_sql(*sql)
            .execute(&mut other)
            .await
            .or_fail(what)?;
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", database.url());
        // Otherwise it also logs that a statement was slow.
        let output = output(command.env("RUST_LOG", "error")).await?;
        expect_refusal(
            what,
            &output,
            &["another program has it open", "market.sqlite"],
        )
    });
    join_all(refused).await.into_iter().collect()
}

/// SQLite takes 512 bytes, and at the end of the path it needs room for `-journal`.
#[tokio::test]
async fn a_path_that_is_too_long_is_said_to_be_too_long() -> Outcome {
    let sample = Database::sample().await?;
    let folder = folder()?;
    let root = fs::canonicalize(folder.path()).or_fail("the folder")?;
    for (length, fits) in [(504, true), (505, false), (512, false), (700, false)] {
        for exists in [false, true] {
            let mut path = root.join(exists.to_string());
            while length - path.as_os_str().len() > 220 {
                path.push("x".repeat(150));
            }
            let rest = length - path.as_os_str().len() - "//market.sqlite".len();
            path.push("x".repeat(rest));
            fs::create_dir_all(&path).or_fail("a long folder")?;
            path.push("market.sqlite");
            equal("the length of the path", length, path.as_os_str().len())?;
            if exists {
                fs::copy(sample.path(), &path).or_fail("a copy")?;
            }
            let asked = format!("a path of {length} bytes, which exists: {exists}");
            let mut command = seed_one(folder.path());
            let url = format!("sqlite://{}", path.display());
            let output = output(command.env("DATABASE_URL", url)).await?;
            if fits {
                let message = text(&output.stderr);
                equal(format!("{asked}: {message}"), Some(0), output.status.code())?;
            } else {
                let words = ["its path is longer than SQLite allows", "market.sqlite"];
                expect_refusal(&asked, &output, &words)?;
            }
        }
    }
    Ok(())
}

/// Fails unless the service ends with the exit code 3 and one line that has these words,
/// and creates no file.
async fn refuses_to_start(variable: &str, value: &str, words: &[&str]) -> Outcome {
    let folder = folder()?;
    let asked = format!("{variable}={value}");
    let output = output(binary(folder.path()).env(variable, value)).await?;
    expect_refusal(&asked, &output, &[&[&*asked], words].concat())?;
    equal(
        format!("{asked}: files"),
        Vec::<PathBuf>::new(),
        names(folder.path())?,
    )
}

#[tokio::test]
async fn what_the_system_refuses_is_named_and_no_database_is_created() -> Outcome {
    let taken = TcpListener::bind("127.0.0.1:0").await.or_fail("a port")?;
    let taken = taken.local_addr().or_fail("a port")?.to_string();
    refuses_to_start(
        "MARKETSVC_ADDR",
        &taken,
        &["another service using this port"],
    )
    .await?;
    let unknown = "market.invalid:80";
    refuses_to_start("MARKETSVC_ADDR", unknown, &["failed to lookup address"]).await?;
    refuses_to_start("MARKETSVC_ADDR", "nowhere", &["invalid socket address"]).await?;
    let url = "sqlite://missing/market.sqlite";
    refuses_to_start(
        "DATABASE_URL",
        url,
        &["could not be created", "No such file"],
    )
    .await
}

/// Fails unless both programs refuse this URL with one line that has these words, and create
/// no file.
async fn refuse_url(url: &str, words: &[&str]) -> Outcome {
    let folder = folder()?;
    for program in [binary, seed_one] {
        let mut command = program(folder.path());
        let output = output(command.env("DATABASE_URL", url)).await?;
        expect_refusal(url, &output, words)?;
        let message = text(&output.stderr);
        let shown = message.contains("secret");
        ensure(!shown, url, "a message without the password", message)?;
    }
    let none = Vec::<PathBuf>::new();
    equal(format!("{url}: files"), none, names(folder.path())?)
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused() -> Outcome {
    let words = [
        "DATABASE_URL=…@localhost/market: ",
        "must begin with `sqlite:` or `postgres:`",
    ];
    refuse_url("mysql://market@localhost/market", &words).await?;
    if cfg!(feature = "postgres") {
        return Ok(());
    }
    for scheme in ["postgres", "postgresql"] {
        let url = format!("{scheme}://market:secret@localhost/market");
        let shown = format!("DATABASE_URL={scheme}://market@localhost/market: ");
        refuse_url(&url, &[&shown, "`--features postgres`"]).await?;
    }
    Ok(())
}

/// The message has the flag and the value.
#[tokio::test]
async fn wrong_flags_are_named() -> Outcome {
    let folder = folder()?;
    let flags = "--nonsense serve --addr --max-body=many --max-requests=2000000000 --grace=soon
        --grace=-1 --notice=1e300";
    for flag in flags.split_whitespace() {
        let output = output(binary(folder.path()).arg(flag)).await?;
        expect_end(flag, &output, 2, &flag.split('=').collect::<Vec<_>>())?;
    }
    let flags = "--nonsense --customers --customers=many --customers=50000001 --orders=4294967296
        --orders=-1";
    for flag in flags.split_whitespace() {
        let output = output(&mut seed(folder.path(), &[flag])).await?;
        expect_end(flag, &output, 2, &flag.split('=').collect::<Vec<_>>())?;
    }
    let output = output(&mut seed(folder.path(), &[])).await?;
    expect_end("marketsvc-seed", &output, 2, &["--customers <N>"])?;
    equal("files", Vec::<PathBuf>::new(), names(folder.path())?)
}

// ---- what it prints

#[tokio::test]
async fn without_a_terminal_there_is_no_colour() -> Outcome {
    let folder = folder()?;
    let process = start_in(folder.path()).await?;
    process.service.get("/api/order_total/1").await?;
    let log = end(process).await?;
    ensure(
        log.contains("/api/order_total"),
        "the log",
        "a line for the request",
        &log,
    )?;
    let help = output(binary(folder.path()).arg("--help")).await?;
    let wrong = output(binary(folder.path()).arg("--nonsense")).await?;
    for text in [log, text(&help.stdout), text(&wrong.stderr)] {
        ensure(
            !text.contains('\u{1b}'),
            "output to a pipe",
            "no escapes",
            &text,
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn the_readme_has_every_flag() -> Outcome {
    let folder = folder()?;
    let help = output(binary(folder.path()).arg("--help")).await?;
    let help = text(&help.stdout);
    let flags: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--")?.split(' ').next())
        .collect();
    ensure(flags.len() > 5, "marketsvc --help", "flags", &help)?;
    let readme = include_str!("../README.md");
    let missing: Vec<_> = flags
        .into_iter()
        .filter(|flag| {
            !["`", " ", "="]
                .iter()
                .any(|end| readme.contains(&format!("--{flag}{end}")))
        })
        .collect();
    equal(
        "flags that marketsvc/README.md lacks",
        Vec::<&str>::new(),
        missing,
    )
}

// ---- made-up rows

/// Runs `marketsvc-seed` over a database, and returns what it prints at the end.
async fn add(url: &str, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = seed(&std::env::temp_dir(), arguments);
    let output = output(command.env("DATABASE_URL", url)).await?;
    let asked = format!(
        "marketsvc-seed {}: {}",
        arguments.join(" "),
        text(&output.stderr)
    );
    equal(asked, Some(0), output.status.code())?;
    Ok(text(&output.stdout))
}

#[tokio::test]
async fn seeding_adds_what_it_says_and_the_same_each_time() -> Outcome {
    let mut results = Vec::new();
    for _ in 0..2 {
        let database = Database::sample().await?;
        let before = database.snapshot().await?;
        let said = add(
            &database.url(),
            &["--customers", "60000", "--orders", "700"],
        )
        .await?;
        let expected = "there were 3 customers and 3 orders; now there are 60003 and 703, after ";
        ensure(
            said.starts_with(expected),
            "marketsvc-seed",
            expected,
            &said,
        )?;
        // To what is there.
        add(&database.url(), &["--customers", "10", "--orders", "10"]).await?;
        let rows: String = database
            .one(
                "SELECT json_array((SELECT count(*) FROM customer), (SELECT count(*) FROM address),
                     (SELECT count(*) FROM orders),
                     (SELECT count(DISTINCT customer_id) > 600 FROM orders),
                     (SELECT count(*) FROM pragma_foreign_key_check),
                     (SELECT count(*) FROM orders WHERE order_time <> datetime(order_time)),
                     (SELECT count(*) FROM orders WHERE id > 3 AND
                      (SELECT count(*) FROM order_items WHERE order_id = orders.id) NOT BETWEEN 1 AND 4))",
            )
            .await?;
        equal(
            "customers, addresses, orders, whether most orders are of different customers, \
             and rows that are wrong",
            "[60013,60013,713,1,0,0,0]",
            &*rows,
        )?;
        let after = database.snapshot().await?;
        let changes = before.difference(&after);
        ensure(
            !changes.contains("gone"),
            "marketsvc-seed",
            "only new rows",
            changes,
        )?;
        results.push(after);
    }
    let same = results[0] == results[1];
    ensure(
        same,
        "marketsvc-seed on two databases",
        "the same rows",
        "others",
    )
}

#[tokio::test]
async fn seeding_needs_somebody_who_orders_something() -> Outcome {
    let database = Database::empty().await?;
    let orders = async |words: &str| {
        let mut command = seed(&std::env::temp_dir(), &["--orders", "5"]);
        let output = output(command.env("DATABASE_URL", database.url())).await?;
        expect_refusal("marketsvc-seed --orders 5", &output, &[words])
    };
    orders("no customers").await?;
    // Customers alone need nobody, and nothing to order.
    add(&database.url(), &["--customers", "5"]).await?;
    orders("no items").await?;
    database.add_item(1, "Milk", 500).await?;
    add(&database.url(), &["--orders", "5"]).await.map(drop)
}

#[tokio::test]
async fn seeding_works_while_orders_are_placed() -> Outcome {
    let database = Database::sample().await?;
    let process = Process::quiet(&database.url()).await?;
    let (ended, mut end) = oneshot::channel();
    let seeding = async {
        let said = add(
            &database.url(),
            &["--customers", "120000", "--orders", "60000"],
        )
        .await;
        let _ = ended.send(());
        said
    };
    let placing = async {
        let mut placed = 0_i64;
        while end.try_recv().is_err() {
            add_order(&process.service).await?;
            placed += 1;
        }
        Ok::<_, Failure>(placed)
    };
    let (said, placed) = tokio::join!(seeding, placing);
    let (said, placed) = (said?, placed?);
    ensure(placed > 0, "while it seeds", "orders are placed", &said)?;
    let counts: String = database
        .one("SELECT json_array((SELECT count(*) FROM customer), (SELECT count(*) FROM orders))")
        .await?;
    let expected = json!([120_003, 60_003 + placed]).to_string();
    equal("customers and orders afterwards", expected, counts)
}
