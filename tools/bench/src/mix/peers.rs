//! The mix by other programs: SQLAlchemy, and PostgreSQL's own load generator.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::list::{self, Operation};
use super::store;
use crate::error::{Error, Result};
use crate::postgres::Server;
use crate::undo::Undo;
use crate::{program, python};

/// Has SQLAlchemy do the list, in one of its forms; `empty` empties the tables after its
/// warm-up.
///
/// # Errors
///
/// When the program or `empty` fails.
pub fn sqlalchemy(
    form: &str,
    url: &str,
    connections: usize,
    list: &[Operation],
    empty: impl FnOnce() -> Result<()>,
) -> Result<Duration> {
    let mut command = python::script("mix.py")?;
    command
        .args([form, url, &connections.to_string()])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let ((stdin, stdout), _undo) = Undo::new(|| {
        let mut child = command.spawn().map_err(Error::io("start mix.py"))?;
        let pipes = (child.stdin.take(), child.stdout.take());
        Ok((pipes, Box::new(move || program::stop(&mut child, "KILL"))))
    })?;
    let (mut stdin, stdout) = stdin.zip(stdout).expect("both are pipes");
    let mut lines = BufReader::new(stdout).lines();
    let mut exchange = |text: &str| -> Result<String> {
        writeln!(stdin, "{text}").map_err(Error::io("tell mix.py what to do"))?;
        let line = lines.next().transpose().map_err(Error::io("read mix.py"))?;
        line.ok_or_else(|| failed("mix.py", "it has ended early; see above"))
    };
    let letters = list.iter().map(|operation| match operation {
        Operation::Write => 'w',
        Operation::Read => 'r',
    });
    let ready = exchange(&letters.collect::<String>())?;
    if ready != "ready" {
        return Err(failed("mix.py", &ready));
    }
    empty()?;
    let seconds = exchange("go")?;
    let seconds = seconds.parse().map_err(|_| failed("mix.py", &seconds))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn failed(contender: &str, reason: &str) -> Error {
    Error::Failed {
        contender: contender.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A transaction of `pgbench` is one operation. Client `c` of `n` does the
/// operations `c`, `c + n`, `c + 2n`, … and finds out by the hash whether each
/// is a write.
fn script() -> String {
    // In prepared mode a variable becomes a parameter.
    let write = store::WRITE
        .replace("$1", ":parents")
        .replace("$2", ":places")
        .replace("$3", ":children");
    let select_b = store::SELECT_B.replace("$1", ":ids");
    format!(
        "\\set turn :turn + 1\n\
         \\set place :turn * :clients + :client_id\n\
         \\if :place < :operations\n\
         \\set write (hash_fnv1a(:place, {seed}) >> {bit}) & 1\n\
         \\if :write = 1\n\
         {write};\n\
         \\else\n\
         {select_a};\n\
         {select_b};\n\
         \\endif\n\
         \\endif\n",
        seed = list::SEED,
        bit = list::BIT,
        select_a = store::SELECT_A,
    )
}

/// Has `pgbench` do so many operations, in two threads; its script is put into `folder`.
///
/// # Errors
///
/// When it cannot be run, or a statement fails.
pub fn pgbench(
    pgbench: &Path,
    server: &Server,
    folder: &Path,
    clients: usize,
    operations: usize,
) -> Result<Duration> {
    let file = folder.join("mix.sql");
    fs::write(&file, script()).map_err(Error::io("write pgbench's script"))?;
    let threads = clients.min(2);
    let each = operations.div_ceil(clients);
    let list = |items: &[String]| format!("{{{}}}", items.join(","));
    let mut command = Command::new(pgbench);
    command
        .args(["--no-vacuum", "--protocol=prepared"])
        .arg(format!("--client={clients}"))
        .arg(format!("--jobs={threads}"))
        .arg(format!("--transactions={each}"));
    for (name, value) in [
        ("turn", "-1".to_owned()),
        ("clients", clients.to_string()),
        ("operations", operations.to_string()),
        ("parents", list(&store::PARENTS.map(str::to_owned))),
        (
            "places",
            list(&store::CHILDREN.map(|one| one.0.to_string())),
        ),
        (
            "children",
            list(&store::CHILDREN.map(|one| one.1.to_owned())),
        ),
        // It cannot carry ten ids from one answer into the next question. Rows
        // are never moved, so these are the first ones or near them.
        ("ids", "{1,2,3,4,5,6,7,8,9,10}".to_owned()),
    ] {
        command.arg(format!("--define={name}={value}"));
    }
    command
        .arg("--file")
        .arg(file)
        .arg(server.url("postgresql"));
    let output = program::output(command.env("LC_ALL", "C"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The rate is without the time to connect.
    let done = number_after(&text, "transactions actually processed: ");
    let rate = number_after(&text, "tps = ");
    let seconds = done.zip(rate).map(|(done, rate)| done / rate);
    let seconds = seconds.ok_or_else(|| failed("pgbench", &text))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The number behind the last occurrence of `label`.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(label)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_pgbench_says() {
        let text = "number of transactions actually processed: 3500/3500\n\
                    tps = 7013.5 (without initial connection time)\n";
        assert_eq!(number_after(text, "actually processed: "), Some(3500.0));
        assert_eq!(number_after(text, "tps = "), Some(7_013.5));
        assert_eq!(number_after(text, "latency = "), None);
    }

    #[test]
    fn every_parameter_is_a_variable() {
        let script = script();
        assert!(!script.contains('$'), "{script}");
        for name in [":parents::", ":places::", ":children::", ":ids::"] {
            assert!(script.contains(name), "{name}");
        }
    }
}
