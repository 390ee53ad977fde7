//! The disk or the file of the database fails while the service runs. The service says so,
//! loses nothing that it has acknowledged, and goes on when the fault is gone.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;

use axum::http::Method;
use check::{Database, Failure, OrFail, Outcome, ensure};
use contract::expect_problem;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::process::Command;

use crate::common::{add_order, expect_come_again, soon, try_order};
use crate::support::{Program, expect_stored, expect_total, ordinary, shared};

/// Fails unless an order is answered with 500.
async fn expect_not_stored(program: &Program) -> Outcome {
    expect_problem(&try_order(program.service()).await?, 500)
}

/// Fails unless the log has an error with this cause.
fn expect_logged(program: &Program, cause: &str) -> Outcome {
    let log = program.log()?;
    let has_cause = |line: &str| line.contains("ERROR") && line.contains(cause);
    ensure(log.lines().any(has_cause), "the log", cause, &log)?;
    program.expect_no_panic()
}

/// Tests a program that has little space: it runs out of it, and then `make_space` makes
/// some. Returns the orders that were acknowledged.
async fn run_out_of_space(
    program: &Program,
    cause: &str,
    make_space: impl FnOnce() -> Outcome,
) -> Result<Vec<i64>, Failure> {
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    soon("a full disk", async {
        // Some small orders may still fit after the first one that does not.
        while refused < 10 {
            let reply = try_order(program.service()).await?;
            if reply.status == 201 {
                acknowledged.extend(reply.json()?["order_id"].as_i64());
            } else {
                expect_problem(&reply, 500)?;
                refused += 1;
            }
            expect_total(program.service()).await?;
        }
        Ok::<_, Failure>(())
    })
    .await?;
    let before = acknowledged.len();
    ensure(
        before > 10,
        "orders before the disk was full",
        "some",
        before,
    )?;
    expect_logged(program, cause)?;
    make_space()?;
    for _ in 0..10 {
        acknowledged.push(add_order(program.service()).await?);
    }
    ordinary(program.service()).await?;
    Ok(acknowledged)
}

fn pid(program: &Program) -> Result<u32, Failure> {
    program.process.child.id().or_fail("a running program")
}

/// The limit is one that every user can set: the log of the database cannot grow beyond it.
#[tokio::test]
async fn files_that_cannot_grow_are_an_error_until_they_can() -> Outcome {
    let _machine = shared().await;
    // In KiB. The signal would end the program, as it would end any other.
    let prepare = "trap '' XFSZ; ulimit -S -f 1024";
    let program = Program::start(Database::sample().await?, prepare, &[]).await?;
    let pid = Pid::from_raw(pid(&program)?.cast_signed());
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let lift = || {
        prlimit(pid, Resource::Fsize, unlimited)
            .map(drop)
            .or_fail("prlimit")
    };
    let acknowledged = run_out_of_space(&program, "disk", lift).await?;
    expect_stored(&program.database, &acknowledged).await?;
    Ok(())
}

/// The file system has 2 MB, and only the program sees it. This needs the right to mount,
/// at least in a namespace of its own.
#[tokio::test]
async fn a_full_disk_is_an_error_until_there_is_space() -> Outcome {
    let _machine = shared().await;
    let Some(namespace) = mounting().await else {
        eprintln!("not run: this user may not mount a file system");
        return Ok(());
    };
    let database = Database::sample().await?;
    let folder = database.path().parent().or_fail("a folder")?.to_owned();
    let prepare = format!(
        "cp {file} {folder}.copy
         exec {namespace} bash -c 'mount -t tmpfs -o size=2m tmpfs {folder} \
         && mv {folder}.copy {file} && exec \"$0\"' \"$0\"",
        folder = folder.display(),
        file = database.path().display(),
    );
    let program = Program::start(database, &prepare, &[]).await?;
    let inside = PathBuf::from(format!("/proc/{}/root{}", pid(&program)?, folder.display()));
    // Something else takes half of the space, and gives it back.
    let other = inside.join("other");
    fs::write(&other, vec![0; 1024 * 1024]).or_fail("another file")?;
    let free = || fs::remove_file(&other).or_fail("the end of the other file");
    let acknowledged = run_out_of_space(&program, "disk is full", free).await?;

    // The copy is what a crash would leave.
    let after = Database::empty().await?;
    for name in ["market.sqlite", "market.sqlite-wal"] {
        let to = after.path().with_file_name(name);
        fs::copy(inside.join(name), to).or_fail(name)?;
    }
    expect_stored(&after, &acknowledged).await?;
    Ok(())
}

/// Returns the command that makes a namespace in which this user may mount.
async fn mounting() -> Option<&'static str> {
    for namespace in ["unshare --mount", "unshare --map-root-user --mount"] {
        let mut command = Command::new("bash");
        let try_it = format!("{namespace} mount -t tmpfs tmpfs /mnt");
        command.args(["-c", &try_it]).stderr(Stdio::null());
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
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'order_items_by_order'";
    let root: i64 = database.one(root).await?;
    let size: i64 = database.one("PRAGMA page_size").await?;
    let program = Program::start(database, "", &[]).await?;

    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(program.database.path());
    let file = file.or_fail("the file of the database")?;
    let mut page = vec![0; usize::try_from(size).or_fail("the size of a page")?];
    let offset = ((root - 1) * size).unsigned_abs();
    file.read_exact_at(&mut page, offset).or_fail("a page")?;
    file.write_all_at(&vec![0xa5; page.len()], offset)
        .or_fail("a page")?;

    for path in [
        "/api/order_total/1",
        "/api/orders/1",
        "/api/orders_total?orders=1,2",
    ] {
        expect_problem(&program.service().get(path).await?, 500)?;
    }
    expect_not_stored(&program).await?;
    for path in ["/", "/api/customers", "/book", "/readyz"] {
        program.service().get(path).await?.expect_status(200)?;
    }
    expect_logged(&program, "malformed")?;

    // A connection may keep the bad page until the next order changes the database.
    file.write_all_at(&page, offset).or_fail("a page")?;
    let order = add_order(program.service()).await?;
    ordinary(program.service()).await?;
    program
        .service()
        .get("/api/orders/1")
        .await?
        .expect_status(200)?;
    // The 2,000 orders of the test come after the sample data, too.
    expect_stored(&program.database, &[order]).await?;
    program.expect_no_panic()
}

/// Fails unless the service notices that the file is not in its place.
async fn expect_file_missed(program: &Program) -> Outcome {
    for _ in 0..3 {
        expect_not_stored(program).await?;
    }
    for path in ["/book/2", "/author/2"] {
        let reply = program
            .service()
            .send(Method::DELETE, path, &[], "")
            .await?;
        expect_problem(&reply, 500)?;
    }
    expect_come_again(&program.service().get("/readyz").await?)?;
    // What reads totals has opened the file before, and still has it.
    expect_total(program.service()).await
}

#[tokio::test]
async fn nothing_is_acknowledged_without_the_file_or_beside_it() -> Outcome {
    let _machine = shared().await;
    let program = Program::start(Database::sample().await?, "", &[]).await?;
    let path = program.database.path();
    let other = path.with_file_name("elsewhere.sqlite");
    ordinary(program.service()).await?;
    let mut acknowledged = vec![add_order(program.service()).await?];
    fs::rename(path, &other).or_fail("the file goes")?;
    expect_file_missed(&program).await?;
    expect_logged(&program, "FileGone")?;

    fs::rename(&other, path).or_fail("the file comes back")?;
    program.service().get("/readyz").await?.expect_status(200)?;
    acknowledged.push(add_order(program.service()).await?);
    ordinary(program.service()).await?;
    expect_stored(&program.database, &acknowledged).await?;

    fs::copy(path, &other).or_fail("another file")?;
    fs::rename(&other, path).or_fail("the file is replaced")?;
    expect_file_missed(&program).await?;
    program.expect_no_panic()
}

#[tokio::test]
async fn a_lock_of_another_program_is_503_until_it_is_let_go() -> Outcome {
    let _machine = shared().await;
    let program = Program::start(Database::sample().await?, "", &[]).await?;
    add_order(program.service()).await?;
    let before = program.database.snapshot().await?;
    let lock = program.database.lock_exclusively().await?;
    // The second one comes when the connection of the writer has failed once. Each waits
    // for the lock as long as the engine allows.
    for _ in 0..2 {
        expect_come_again(&try_order(program.service()).await?)?;
        expect_total(program.service()).await?;
    }
    expect_logged(&program, "database is locked")?;
    lock.release().await?;
    let after = program.database.expect_unchanged("refused orders", &before);
    after.await?;
    ordinary(program.service()).await?;
    program.expect_no_panic()
}
