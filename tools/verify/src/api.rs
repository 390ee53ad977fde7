//! The API document is valid, the service keeps to it, and its page works. Programs that
//! know nothing of this project judge that, on a service with a database of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use course::{Side, Step, program};

use crate::cargo::BUILD_LIMIT;
use crate::console::free_port;
use crate::process::{self, Running};
use crate::report::{Outcome, Report};
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use crate::{Env, Proof};

/// How the programs are configured.
const SETTINGS: &str = "tools/verify/api";
const PAGE: &str = include_str!("../api/page.mjs");
/// Where `.ci/run` installs them.
pub const INSTALLED: &str = "target/api";
const VALIDATOR: &str = "venv/bin/openapi-spec-validator";
const SCHEMATHESIS: &str = "venv/bin/schemathesis";
/// For a program that hangs: the slowest takes a minute or two.
const LIMIT: Duration = Duration::from_mins(10);

/// Proves the last of the steps whose solution has a document. Each of them continues the
/// one before, so this service has the endpoints of the others, too.
pub fn prove(proof: &Proof, report: &mut Report) -> Env<()> {
    let (tree, memory) = (proof.tree, proof.memory);
    let mut steps = proof.steps.iter().rev();
    let Some(step) = steps.find(|step| has_document(tree, step)) else {
        return Ok(());
    };
    let item = format!("api/{}", step.slug);
    let key = memory.side(step, Side::Solution, SETTINGS);
    report.keep(memory, &item, &key, |report| {
        prove_step(proof, step, report)
    })
}

fn prove_step(proof: &Proof, step: &Step, report: &mut Report) -> Env<()> {
    let sandbox = proof.sandbox;
    let name = step.package(Side::Solution);
    let mut cargo = sandbox.command("cargo");
    // With the features of the whole workspace, so that nothing is built again.
    cargo.args(["build", "--quiet", "--workspace", "--bin", &name]);
    let built = process::run(&mut cargo, BUILD_LIMIT, true)?;
    if !built.succeeded() {
        report.prove(&format!("{} is built", step.slug), || Err(built.stdout));
        return Ok(());
    }
    let program = sandbox.build.join("debug").join(name);
    let folder = sandbox.home.join("api");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let installed = proof.tree.root.join(INSTALLED);
    let command = |name: &str| sandbox.command(&installed.join(name).to_string_lossy());
    let mut prove = |name, what, needed: &[&str], judge: &dyn Fn(&Service) -> Outcome| {
        let what = format!("{} {what}", step.slug);
        if let Some(name) = lacking(&installed, needed) {
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
            passes(&mut node)
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
    Ok(())
}

fn has_document(tree: &Tree, step: &Step) -> bool {
    let manifest = format!("{}/Cargo.toml", step.crate_dir(Side::Solution));
    let manifest = tree.read(&manifest).unwrap_or_default();
    manifest.lines().any(|line| line.starts_with("utoipa."))
}

/// A service with a new database, which ends when this is dropped.
struct Service {
    url: String,
    /// For the database and what a proof leaves.
    folder: PathBuf,
    _server: Running,
}

impl Service {
    fn start(sandbox: &Sandbox, program: &Path, folder: PathBuf) -> Env<Self> {
        fs::create_dir_all(&folder)?;
        let database = folder.join("market.sqlite");
        let addr = format!("127.0.0.1:{}", free_port()?);
        let mut command = sandbox.command(&program.to_string_lossy());
        command
            .env("MARKETSVC_ADDR", &addr)
            .env("DATABASE_URL", format!("sqlite://{}", database.display()));
        let mut server = Running::start(&mut command, true)?;
        server
            .expect(Duration::from_mins(1), |text| {
                text.contains("listening on").then_some(true)
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

/// The name of the first of these programs that this machine lacks. Each is below
/// `installed` or on the PATH.
pub fn lacking<'a>(installed: &Path, needed: &[&'a str]) -> Option<&'a str> {
    let lacks = |name: &&&str| {
        let path = name.contains('/');
        path && !installed.join(name).exists() || !path && program::lacks(name)
    };
    let name = needed.iter().find(lacks)?;
    name.rsplit('/').next()
}

/// Whether a command ends with 0 in time; otherwise what it printed.
pub fn passes(command: &mut Command) -> Outcome {
    let finished = process::run(command, LIMIT, true)?;
    if finished.succeeded() {
        return Ok(());
    }
    let limit = LIMIT.as_secs();
    let late = finished
        .status
        .is_none()
        .then(|| format!("not ended within {limit} s\n"));
    Err(late.unwrap_or_default() + &finished.stdout)
}
