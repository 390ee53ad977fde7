//! The database's disk and file fail under the service. It says so, loses
//! nothing that it has acknowledged, and goes on when the fault is gone.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use check::{Database, Failure, OrFail, Outcome, Reply, ensure, equal};
use contract::expect_problem;
use serde_json::json;
use tokio::process::Command;

use crate::common::{add_order, expect_come_again, soon, try_order};
use crate::support::{Program, expect_stored, full, ordinary, shared};

/// Fails unless the answer is a problem of the service's side that tells its
/// reader nothing of how it is built.
fn expect_our_fault(reply: &Reply) -> Outcome {
    ensure(
        matches!(reply.status, 500 | 503),
        reply.asked(),
        "status 500 or 503",
        format!("status {}: {}", reply.status, reply.text()),
    )?;
    expect_problem(reply, reply.status)?;
    let text = reply.text().to_lowercase();
    for secret in ["sql", "disk", "database", "malformed", ".sqlite"] {
        ensure(
            !text.contains(secret),
            reply.asked(),
            format!("no word of `{secret}`"),
            &text,
        )?;
    }
    Ok(())
}

/// Fails unless a line of the log is an error with one of `causes`.
async fn expect_logged(program: &Program, causes: &[&str]) -> Outcome {
    let log = program.log().await?.text;
    ensure(
        log.lines()
            .any(|line| line.contains("ERROR") && causes.iter().any(|cause| line.contains(cause))),
        "the log",
        format!("an error with one of {causes:?}"),
        &log,
    )?;
    program.expect_no_panic().await
}

/// Orders until one is refused; gives the numbers of the others.
async fn order_until_refused(program: &Program) -> Result<Vec<i64>, Failure> {
    let mut acknowledged = Vec::new();
    soon("a full disk", async {
        loop {
            let reply = try_order(program.service()).await?;
            if reply.status != 201 {
                expect_our_fault(&reply)?;
                return Ok::<_, Failure>(());
            }
            acknowledged.extend(reply.json()?["order_id"].as_i64());
        }
    })
    .await?;
    Ok(acknowledged)
}

/// What holds while there is no space and after it has come back, which
/// `make_space` does.
async fn without_space(
    program: &Program,
    causes: &[&str],
    make_space: impl Future<Output = Outcome>,
) -> Result<Vec<i64>, Failure> {
    let mut acknowledged = order_until_refused(program).await?;
    ensure(
        acknowledged.len() > 10,
        "orders before the disk was full",
        "some",
        acknowledged.len(),
    )?;
    for _ in 0..10 {
        // A later one may still fit.
        let reply = try_order(program.service()).await?;
        if reply.status == 201 {
            acknowledged.extend(reply.json()?["order_id"].as_i64());
        } else {
            expect_our_fault(&reply)?;
        }
        program
            .service()
            .get("/api/order_total/1")
            .await?
            .expect_json(200, &json!({"Order Total": 30}))?;
    }
    expect_logged(program, causes).await?;
    make_space.await?;
    for _ in 0..10 {
        acknowledged.push(add_order(program.service()).await?);
    }
    ordinary(program.service()).await?;
    Ok(acknowledged)
}

/// A limit on the size of files is what every user can set: the log of the
/// database cannot grow beyond it.
#[tokio::test]
async fn files_that_cannot_grow_are_an_error_until_they_can() -> Outcome {
    let _machine = shared().await;
    let database = Database::sample().await?;
    // In KiB. The signal would end the program, as it would with any other.
    let program = Program::start(database, "trap '' XFSZ; ulimit -S -f 1024").await?;
    let pid = program.process.child.id().or_fail("a running program")?;
    let lift = async {
        let status = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), "--fsize=unlimited"])
            .status()
            .await
            .or_fail("prlimit")?;
        ensure(status.success(), "prlimit", "done", status)
    };
    let acknowledged = without_space(&program, &["disk I/O error", "disk is full"], lift).await?;
    expect_stored(&program.database, &acknowledged).await?;
    Ok(())
}

/// A file system of 2 MB that only the program sees; it is gone with it.
/// Needs the right to mount, in a namespace of one's own at least.
#[tokio::test]
async fn a_full_disk_is_an_error_until_there_is_space() -> Outcome {
    let _machine = shared().await;
    let Some(namespace) = mounting().await else {
        // Said in the output of `--nocapture`; the test before covers the rest.
        eprintln!("not run: this user may not mount a file system");
        return Ok(());
    };
    let database = Database::sample().await?;
    let folder = database.path().parent().or_fail("a folder")?.to_owned();
    let (folder_text, file) = (folder.display(), database.path().display());
    let content = folder.with_extension("copy");
    fs::copy(database.path(), &content).or_fail("a copy of the database")?;
    // Standard output and the log are open already, and stay where they are.
    let prepare = format!(
        "exec {namespace} bash -c 'mount -t tmpfs -o size=2m tmpfs {folder_text} && cp {} {file} && exec \"$0\"' \"$0\"",
        content.display()
    );
    let program = Program::start(database, &prepare).await;
    fs::remove_file(&content).or_fail("the copy's end")?;
    let program = program?;
    let pid = program.process.child.id().or_fail("a running program")?;
    let inside = PathBuf::from(format!("/proc/{pid}/root{folder_text}"));
    // Something else takes half of the space, and gives it back.
    let other = inside.join("other");
    fs::write(&other, vec![0; 1024 * 1024]).or_fail("another file")?;
    let free = async { fs::remove_file(&other).or_fail("the other file's end") };
    let acknowledged = without_space(&program, &["disk is full"], free).await?;

    // What the program sees, copied as a crash would leave it.
    let after = Database::empty().await?;
    for suffix in ["", "-wal"] {
        let name = format!("market.sqlite{suffix}");
        let to = after.path().with_file_name(&name);
        fs::copy(inside.join(&name), to).or_fail(&name)?;
    }
    expect_stored(&after, &acknowledged).await?;
    Ok(())
}

/// How to get a mount namespace, if there is a way.
async fn mounting() -> Option<&'static str> {
    for namespace in ["unshare --mount", "unshare --user --map-root-user --mount"] {
        let try_it = format!("{namespace} mount -t tmpfs tmpfs /mnt");
        let mut command = Command::new("bash");
        command
            .args(["-c", &try_it])
            .stderr(std::process::Stdio::null());
        if command.status().await.is_ok_and(|status| status.success()) {
            return Some(namespace);
        }
    }
    None
}

#[tokio::test]
async fn a_corrupted_page_fails_what_needs_it_and_nothing_else() -> Outcome {
    let _machine = shared().await;
    let database = Database::sample().await?;
    database.add_orders(2_000, 2).await?;
    let root: i64 = database
        .one("SELECT rootpage FROM sqlite_schema WHERE name = 'order_items_by_order'")
        .await?;
    let size: i64 = database.one("PRAGMA page_size").await?;
    let program = Program::start(database, "").await?;
    program.service().get("/").await?.expect_status(200)?;
    let (size, root) = (size.unsigned_abs(), root.unsigned_abs());
    let page = Page::read(program.database.path(), (root - 1) * size, size)?;
    page.write(&vec![0xa5; page.content.len()])?;

    for path in [
        "/api/order_total/1",
        "/api/orders/1",
        "/api/orders_total?orders=1,2",
    ] {
        expect_our_fault(&soon(path, program.service().get(path)).await?)?;
    }
    expect_our_fault(&try_order(program.service()).await?)?;
    for path in ["/", "/api/customers"] {
        program.service().get(path).await?.expect_status(200)?;
    }
    expect_logged(&program, &["malformed"]).await?;

    // Restored, it is used again without a restart: connections that have
    // kept the bad page read it anew after the next order.
    page.write(&page.content)?;
    let order = add_order(program.service()).await?;
    ordinary(program.service()).await?;
    let (lines, check): (i64, String) = (
        program
            .database
            .one(&format!(
                "SELECT count(*) FROM order_items WHERE order_id = {order}"
            ))
            .await?,
        program.database.one("PRAGMA integrity_check").await?,
    );
    equal("lines of a later order", 2, lines)?;
    equal("SQLite's own check", "ok", &check)
}

/// A program goes on with an open file that nobody else can find any more.
#[tokio::test]
async fn nothing_is_acknowledged_without_the_file_or_beside_it() -> Outcome {
    let _machine = shared().await;
    let program = Program::start(Database::sample().await?, "").await?;
    let path = program.database.path();
    let other = path.with_file_name("elsewhere.sqlite");
    let mut acknowledged = Vec::new();
    for replaced in [false, true] {
        acknowledged.push(add_order(program.service()).await?);
        fs::rename(path, &other).or_fail("the file goes")?;
        if replaced {
            fs::copy(&other, path).or_fail("another file comes")?;
        }
        for _ in 0..3 {
            expect_our_fault(&try_order(program.service()).await?)?;
        }
        expect_logged(&program, &["has been removed or replaced"]).await?;
        program.service().get("/readyz").await?.expect_status(503)?;
        // What it has open is whole, so reading goes on.
        program
            .service()
            .get("/api/order_total/1")
            .await?
            .expect_json(200, &json!({"Order Total": 30}))?;
        fs::rename(&other, path).or_fail("the file comes back")?;
        program.service().get("/readyz").await?.expect_status(200)?;
        ordinary(program.service()).await?;
        acknowledged.push(add_order(program.service()).await?);
    }
    expect_stored(&program.database, &acknowledged).await?;
    let log = path.with_file_name("market.sqlite-wal");
    fs::remove_file(&log).or_fail("the log goes")?;
    expect_our_fault(&try_order(program.service()).await?)?;
    expect_logged(&program, &["market.sqlite-wal has been removed"]).await
}

/// Another program that holds the database for longer than `lock_wait`; in
/// full, for 10 s and with the default one.
#[tokio::test]
async fn a_lock_of_another_program_is_503_until_it_is_let_go() -> Outcome {
    let _machine = shared().await;
    let (prepare, held) = if full() {
        ("", Duration::from_secs(10))
    } else {
        ("export MARKETSVC_LOCK_WAIT=300ms", Duration::ZERO)
    };
    let program = Program::start(Database::sample().await?, prepare).await?;
    add_order(program.service()).await?;
    let before = program.database.snapshot().await?;
    let lock = program.database.lock_exclusively().await?;
    let start = Instant::now();
    let mut refused = 0;
    while refused < 3 || start.elapsed() < held {
        let reply = soon("a refusal", try_order(program.service())).await?;
        expect_come_again(&reply)?;
        expect_our_fault(&reply)?;
        refused += 1;
        program
            .service()
            .get("/api/order_total/1")
            .await?
            .expect_json(200, &json!({"Order Total": 30}))?;
    }
    let log = program.log().await?.text;
    ensure(
        log.contains("database is locked"),
        "the log",
        "`database is locked`",
        &log,
    )?;
    lock.release().await?;
    program
        .database
        .expect_unchanged("refused orders", &before)
        .await?;
    ordinary(program.service()).await?;
    program.expect_no_panic().await
}

/// A part of a file.
struct Page {
    file: File,
    offset: u64,
    content: Vec<u8>,
}

impl Page {
    fn read(path: &Path, offset: u64, length: u64) -> Result<Self, Failure> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .or_fail("the database's file")?;
        let mut content = vec![0; usize::try_from(length).or_fail("a page's length")?];
        file.read_exact_at(&mut content, offset).or_fail("a page")?;
        Ok(Self {
            file,
            offset,
            content,
        })
    }

    fn write(&self, content: &[u8]) -> Outcome {
        self.file
            .write_all_at(content, self.offset)
            .or_fail("a page")
    }
}
