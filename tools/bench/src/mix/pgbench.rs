//! What the server gives to a client that does nothing else: the same statements
//! by PostgreSQL's own load generator, with prepared statements.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::operations::{self, Operation};
use super::strategy::Outcome;
use super::{Turn, on_postgres, store};
use crate::error::{Error, Result};
use crate::postgres::Server;
use crate::program;

/// How many clients, in how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients {
    pub clients: u32,
    pub threads: u32,
}

/// A transaction of `pgbench` is one operation. Client `c` of `n` does the
/// operations `c`, `c + n`, `c + 2n`, … and finds out by the hash whether each
/// is a write.
fn script() -> String {
    // In prepared mode a variable becomes a parameter.
    let write = on_postgres::WRITE
        .replace("$1", ":parents")
        .replace("$2", ":places")
        .replace("$3", ":children");
    let select_b = on_postgres::SELECT_B.replace("$1", ":ids");
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
        seed = operations::SEED,
        bit = operations::BIT,
        select_a = on_postgres::SELECT_A,
    )
}

/// Runs `pgbench`, whose script is put into `folder`.
///
/// # Errors
///
/// When it cannot be run, or a statement fails.
pub fn turn(
    program: &Path,
    server: &Server,
    folder: &Path,
    clients: Clients,
    list: &[Operation],
) -> Result<Turn> {
    let file = folder.join("mix.sql");
    fs::write(&file, script()).map_err(Error::io("write pgbench's script"))?;
    let mut command = command(program, server, &file, clients, list.len());
    let output = program::output("pgbench", &mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = || Error::Failed {
        contender: "pgbench".to_owned(),
        reason: format!("{}{text}", String::from_utf8_lossy(&output.stderr)),
    };
    if !output.status.success() {
        return Err(failed());
    }
    // Without the time to connect.
    let rate = number_after(&text, "tps = ").ok_or_else(failed)?;
    let done = number_after(&text, "transactions actually processed: ").ok_or_else(failed)?;
    let writes = list.iter().filter(|o| **o == Operation::Write).count();
    let outcome = Outcome {
        writes,
        reads: list.len() - writes,
        seconds: done / rate,
        ..Outcome::default()
    };
    Ok(Turn {
        outcome,
        timeline: None,
    })
}

/// `file` is the script.
pub fn command(
    program: &Path,
    server: &Server,
    file: &Path,
    clients: Clients,
    operations: usize,
) -> Command {
    let Clients { clients, threads } = clients;
    let each = operations.div_ceil(clients as usize);
    let children = store::CHILDREN;
    let places = children.map(|(place, _)| place.to_string()).join(",");
    let data = children.map(|(_, data)| data).join(",");
    let (url, password) = server.url_and_password();
    let mut command = Command::new(program);
    command
        .args(["--no-vacuum", "--protocol=prepared"])
        .args(["--client", &clients.to_string()])
        .args(["--jobs", &threads.to_string()])
        .args(["--transactions", &each.to_string()])
        .args(["--define", "turn=-1"])
        .args(["--define", &format!("clients={clients}")])
        .args(["--define", &format!("operations={operations}")])
        .args([
            "--define",
            &format!("parents={{{}}}", store::PARENTS.join(",")),
        ])
        .args(["--define", &format!("places={{{places}}}")])
        .args(["--define", &format!("children={{{data}}}")])
        // It cannot carry ten ids from one answer into the next question. Rows
        // are never moved, so these are the first ones or near them.
        .args(["--define", "ids={1,2,3,4,5,6,7,8,9,10}"])
        .arg("--file")
        .arg(file)
        .arg(url)
        .env("PGOPTIONS", format!("-csearch_path={}", server.schema()))
        .env("LC_ALL", "C");
    if let Some(password) = password {
        // Everybody on the machine can read a command line, and only we this.
        command.env("PGPASSWORD", password);
    }
    command
}

/// The number behind the last occurrence of `label`.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(label)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
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
