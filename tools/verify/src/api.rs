//! The API document is valid, the service keeps to it, and its page works. Programs that
//! know nothing of this project judge that, on a service with a database of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use course::{Side, Step, program};

use crate::cargo::BUILD_LIMIT;
use crate::console::free_port;
use crate::process::{self, Judged, Server};
use crate::report::{Outcome, Report};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Proof};

/// How the programs are configured.
const SETTINGS: &str = "tools/verify/api";
const PAGE: &str = include_str!("../api/page.mjs");
/// Where `.ci/run` installs them.
const INSTALLED: &str = "target/api";
const VALIDATOR: &str = "venv/bin/openapi-spec-validator";
const SCHEMATHESIS: &str = "venv/bin/schemathesis";
/// For a program that hangs: the slowest takes half a minute.
const LIMIT: Duration = Duration::from_mins(5);
/// What is shown of a program's complaint.
const LINES: usize = 40;
const COLUMNS: usize = 400;

/// Proves the last of the steps whose solution has a document. Each of them continues the
/// one before, so this service has the endpoints of the others, too.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let (tree, sandbox, memory) = (proof.tree, proof.sandbox, proof.memory);
    let mut steps = proof.steps.iter().rev();
    let Some(step) = steps.find(|step| has_document(tree, step)) else {
        return Ok(());
    };
    let item = format!("api/{}", step.slug);
    let key = memory.solution_with(step, SETTINGS);
    if report.recall(memory, &item, &key) {
        return Ok(());
    }
    let program = match build(sandbox, step) {
        Ok(program) => program,
        Err(failure) => {
            report.prove(&format!("{} is built", step.slug), || Err(failure));
            return Ok(());
        }
    };
    let before = report.so_far();
    let folder = sandbox.home().join("api");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let installed = tree.root.join(INSTALLED);
    let command = |name: &str| sandbox.command(&installed.join(name).to_string_lossy());
    let mut prove = |name, what, needed: &[&str], judge: &dyn Fn(&Service) -> Outcome| {
        let what = format!("{} {what}", step.slug);
        if let Some(lacking) = needed.iter().find(|name| lacks(&installed, name)) {
            let name = lacking.rsplit('/').next().unwrap_or(lacking);
            report.not_run(name, &format!("{what}; .ci/run installs it"));
        } else {
            report.prove(&what, || {
                judge(&Service::start(sandbox, &program, folder.join(name))?)
            });
        }
    };
    prove(
        "document",
        "the API document is valid",
        &["curl", VALIDATOR],
        &|service| {
            let document = service.folder.join("openapi.json");
            let mut curl = sandbox.command("curl");
            curl.args(["-q", "-sS", "--fail", "--noproxy", "*", "-o"])
                .arg(&document)
                .arg(service.document());
            passes(&mut curl)?;
            passes(command(VALIDATOR).arg(document))
        },
    );
    prove(
        "page",
        "the page works without other hosts and stores a book",
        &["node", "node_modules/playwright-core", "chromium"],
        &|service| {
            let mut node = sandbox.command("node");
            node.args(["--no-warnings", "--input-type=module", "--eval", PAGE])
                .arg(&service.url)
                .arg(&service.folder)
                .current_dir(&installed);
            match output(&mut node)? {
                (true, said) if said.is_empty() => Ok(()),
                (_, said) => Err(said),
            }
        },
    );
    prove(
        "requests",
        "the service answers as the API document says",
        &[SCHEMATHESIS],
        &|service| {
            let settings = sandbox.tree.join(SETTINGS);
            let mut schemathesis = command(SCHEMATHESIS);
            schemathesis
                .arg("--config-file")
                .arg(settings.join("schemathesis.toml"))
                .args(["run", &service.document(), "--no-color"])
                .env("PYTHONPATH", settings)
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("no_proxy", "127.0.0.1")
                // It leaves files where it runs.
                .current_dir(&service.folder);
            passes(&mut schemathesis)
        },
    );
    report.keep(memory, &item, &key, before);
    Ok(())
}

fn has_document(tree: &Tree, step: &Step) -> bool {
    let manifest = format!("{}/Cargo.toml", step.crate_dir(Side::Solution));
    let manifest = tree.read(&manifest).unwrap_or_default();
    manifest.lines().any(|line| line.starts_with("utoipa."))
}

/// Whether a program is not on the PATH, or not where it belongs below `installed`.
fn lacks(installed: &Path, program: &str) -> bool {
    if program.contains('/') {
        return !installed.join(program).exists();
    }
    program::lacks(program)
}

/// Builds the solution's program with the features of the whole workspace, so that nothing
/// is built again.
fn build(sandbox: &Sandbox, step: &Step) -> Result<PathBuf, String> {
    let name = step.package(Side::Solution);
    let mut cargo = sandbox.command("cargo");
    cargo.args(["build", "--quiet", "--workspace", "--bin", &name]);
    let built = process::run(&mut cargo, BUILD_LIMIT, true)?;
    match built.status {
        Some(status) if status.success() => Ok(sandbox.build.join("debug").join(name)),
        _ => Err(built.stdout),
    }
}

/// A service with a new database, which ends when this is dropped.
struct Service {
    url: String,
    /// For the database and what a proof leaves.
    folder: PathBuf,
    _server: Server,
}

impl Service {
    fn start(sandbox: &Sandbox, program: &Path, folder: PathBuf) -> Result<Self, String> {
        let error = |error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(error)?;
        let database = folder.join("market.sqlite");
        let addr = format!("127.0.0.1:{}", free_port()?);
        let mut command = sandbox.command(&program.to_string_lossy());
        command
            .env("MARKETSVC_ADDR", &addr)
            .env("DATABASE_URL", format!("sqlite://{}", database.display()));
        let mut server = Server::start(&mut command)?;
        server
            .expect(Duration::from_mins(1), |text| {
                if text.contains("listening on") {
                    Judged::Accepted
                } else {
                    Judged::Open
                }
            })
            .map_err(|printed| format!("the service does not start; it printed\n{printed}"))?;
        Ok(Self {
            url: format!("http://{addr}"),
            folder,
            _server: server,
        })
    }

    fn document(&self) -> String {
        format!("{}/api-docs/openapi.json", self.url)
    }
}

fn passes(command: &mut Command) -> Outcome {
    match output(command)? {
        (true, _) => Ok(()),
        (false, said) => Err(said),
    }
}

/// Whether `command` succeeds, and what it says.
fn output(command: &mut Command) -> Result<(bool, String), String> {
    let finished = process::run(command, LIMIT, true)?;
    let Some(status) = finished.status else {
        return Err(format!(
            "{} did not end in time",
            command.get_program().display()
        ));
    };
    Ok((status.success(), shortened(&finished.stdout)))
}

/// The beginning of a complaint. That of schemathesis lies between progress and figures.
fn shortened(said: &str) -> String {
    let is_title = |line: &str| line.contains("== FAILURES ==") || line.contains("== ERRORS ==");
    let skipped = said.lines().position(is_title).map_or(0, |title| title + 1);
    let mut lines: Vec<String> = said
        .lines()
        .skip(skipped)
        .take_while(|line| !line.contains("== WARNINGS ==") && !line.contains("== SUMMARY =="))
        .map(|line| line.chars().take(COLUMNS).collect())
        .collect();
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    if more > 0 {
        lines.push(format!("… and {more} lines more"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_complaint_the_part_that_says_what_is_wrong_stays() {
        let said = "progress\n=== FAILURES ===\nPOST /book\n=== WARNINGS ===\nsome\n";
        assert_eq!(shortened(said), "POST /book");
        let long = shortened(&format!("{}\n", "é".repeat(COLUMNS + 1)).repeat(LINES + 2));
        assert!(long.ends_with("é\n… and 2 lines more"), "{long}");
        assert_eq!(
            long.lines().next().map(|it| it.chars().count()),
            Some(COLUMNS)
        );
    }
}
