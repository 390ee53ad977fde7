//! Every limit is a flag and a variable.

use check::{Database, OrFail, Outcome, ensure, equal};
use clap::{Arg, Args, Command as Arguments};
use marketsvc::Limits;

#[cfg(target_os = "linux")]
use crate::common::add_order;
use crate::common::{Process, binary, soon};
use crate::program::{expect_refusal, output};

/// Each limit with its flag and its variable, and the one setting that is a
/// number as they are.
fn limits() -> Vec<(String, String)> {
    let name = |arg: &Arg| {
        let flag = format!("--{}", arg.get_long()?);
        Some((flag, arg.get_env()?.to_str()?.to_owned()))
    };
    let arguments = Limits::augment_args(Arguments::new("limits"));
    let threads = ("--threads".to_owned(), "MARKETSVC_THREADS".to_owned());
    arguments
        .get_arguments()
        .filter_map(name)
        .chain([threads])
        .collect()
}

#[tokio::test]
async fn every_limit_can_be_set_and_says_what_it_may_be() -> Outcome {
    let folder = tempfile::tempdir().or_fail("a temporary folder")?;
    let limits = limits();
    ensure(
        limits.len() >= 16,
        "the limits that can be set",
        "16 or more",
        limits.len(),
    )?;
    let help = output(binary(folder.path()).arg("--help")).await?;
    let help = String::from_utf8_lossy(&help.stdout);
    for (flag, variable) in &limits {
        let expected = format!("MARKETSVC_{}", flag[2..].replace('-', "_").to_uppercase());
        equal(format!("the variable of {flag}"), &expected, variable)?;
        let described = help
            .split(&format!("      {flag} "))
            .nth(1)
            .and_then(|rest| rest.split("\n      --").next())
            .or_fail(format!("{flag} in --help"))?;
        for part in [format!("[env: {variable}]"), "[default: ".to_owned()] {
            ensure(described.contains(&part), flag, part, described)?;
        }

        let by_variable = output(binary(folder.path()).env(variable, "many")).await?;
        let words = [variable, "\"many\"", "it must be"];
        expect_refusal(variable, &by_variable, 2, &words)?;
        // A flag wins, also over a variable that is wrong as well.
        let mut command = binary(folder.path());
        command.env(variable, "few").arg(flag).arg("many");
        let by_flag = output(&mut command).await?;
        let words = [flag, "\"many\"", "it must be"];
        expect_refusal(flag, &by_flag, 2, &words)?;
        for wrong in ["", "-1", "1e9", "4000000000000"] {
            let refused = output(binary(folder.path()).env(variable, wrong)).await?;
            expect_refusal(variable, &refused, 2, &[variable, &format!("{wrong:?}")])?;
        }
    }
    for (flag, value, other) in [
        ("--acquire", "31s", "--request"),
        ("--lock-wait", "1h", "--shutdown-grace"),
    ] {
        let refused = output(binary(folder.path()).args([flag, value])).await?;
        expect_refusal(
            "limits that contradict each other",
            &refused,
            2,
            &[flag, other],
        )?;
    }
    for zero in [
        "--threads",
        "--connections",
        "--in-flight",
        "--readers",
        "--page-rows",
    ] {
        let refused = output(binary(folder.path()).args([zero, "0"])).await?;
        expect_refusal(zero, &refused, 2, &[zero, "\"0\"", "from 1 to"])?;
    }
    let left = std::fs::read_dir(folder.path()).or_fail("the folder")?;
    equal("files that were created", 0, left.count())
}

/// README.md has a row for each, with its default where every machine has the
/// same.
#[test]
fn every_limit_is_in_the_readme() {
    let readme = include_str!("../../README.md");
    let arguments = Limits::augment_args(Arguments::new("limits"));
    for arg in arguments.get_arguments() {
        let flag = arg.get_long().expect("a flag");
        let row = readme
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| `--{flag}` | ")));
        let (default, _) = row.and_then(|row| row.split_once(" |")).expect(flag);
        if !["in-flight", "readers"].contains(&flag) {
            assert_eq!(arg.get_default_values(), [default], "--{flag}");
        }
    }
}

#[tokio::test]
async fn a_limit_that_was_set_holds() -> Outcome {
    let database = Database::sample().await?;
    let body = "{}".repeat(10);
    for (variable, flag, status) in [
        (None, None, 400),
        (Some("10"), None, 413),
        (None, Some("10"), 413),
        (Some("10"), Some("100"), 400),
        // What is wrong does not matter where it is not used.
        (Some("many"), Some("100"), 400),
    ] {
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", database.url());
        if let Some(value) = variable {
            command.env("MARKETSVC_BODY_BYTES", value);
        }
        if let Some(value) = flag {
            command.args(["--body-bytes", value]);
        }
        let mut process = Process::start(command).await?;
        let reply = process
            .service
            .post("/api/add_new_order", "application/json", body.clone())
            .await?;
        reply.expect_status(status)?;
        process.child.kill().await.or_fail("kill")?;
    }
    Ok(())
}

/// A single thread is the one that waits for the end, and has no other name
/// than the program.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_many_threads_serve_requests_as_were_asked_for() -> Outcome {
    use std::time::Duration;

    use check::Failure;
    use marketsvc::config;

    for (threads, workers) in [
        (Some("1"), 0),
        (Some("3"), 3),
        (
            None,
            match config::threads_for_this_machine() {
                1 => 0,
                several => several,
            },
        ),
    ] {
        let database = Database::sample().await?;
        let mut command = binary(&std::env::temp_dir());
        command.env("DATABASE_URL", database.url());
        command.envs(threads.map(|threads| ("MARKETSVC_THREADS", threads)));
        let process = Process::start(command).await?;
        let pid = process.child.id().or_fail("the program")?;
        let found = || -> Result<usize, Failure> {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).or_fail("its threads")?;
            Ok(tasks
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
                .filter(|name| name.starts_with("tokio-"))
                .count())
        };
        // A new thread has the name of the one that started it for a moment.
        for _ in 0..100 {
            if found()? == workers {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        equal(format!("workers for {threads:?}"), workers, found()?)?;
        add_order(&process.service).await?;
        for path in [
            "/api/customers",
            "/api/orders/1",
            "/api/orders_total?orders=1,2,3",
        ] {
            process.service.get(path).await?.expect_status(200)?;
        }
        process.signal("TERM").await?;
        let mut child = process.child;
        let status = soon("the end", child.wait()).await.or_fail("the end")?;
        ensure(status.success(), "the exit code", "0", status)?;
    }
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_setting_that_is_no_text_is_named() -> Outcome {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().or_fail("a temporary folder")?;
    for variable in [
        "MARKETSVC_ADDR",
        "DATABASE_URL",
        "MARKETSVC_READERS",
        "RUST_LOG",
    ] {
        let mut command = binary(folder.path());
        command.env(variable, OsStr::from_bytes(b"sqlite://\xff="));
        let refused = output(&mut command).await?;
        expect_refusal(variable, &refused, 2, &[variable, "it must be"])?;
    }
    Ok(())
}
