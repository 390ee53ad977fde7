//! What `new` generates from the real templates: it builds without a warning and without
//! a network, its own tests pass, the commands of its README work, and the books of step
//! 09 keep the contract of step 09.
//!
//! The applications are built in `target/tmp/generated`, which is kept: the second time
//! only they themselves are compiled. `cargo test -p coach --test generated -- --ignored`
//! tries every combination of kinds and modifiers, on PostgreSQL and MariaDB as well.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use check::{Failure, Outcome, Service};
use postgres_server::Server;
use tempfile::TempDir;

/// Every kind of field, and names that are reserved in Rust or in SQL.
const EVERY_KIND: [&str; 12] = [
    "label:text:unique",
    "notes:text:null:max=10000",
    "group:int:min=-3:max=3000",
    "rank:int:null",
    "type:float:null:min=0.5",
    "weight:float",
    "price:money",
    "match:bool",
    "order:date:null",
    "key:time",
    "author:ref=author",
    "parent:ref=order_item:null",
];

/// The authors and books of step 09.
const AUTHOR: [&str; 1] = ["name:text:unique"];
const BOOK: [&str; 8] = [
    "book_name:text:unique",
    "author_id:ref=author",
    "price:money",
    "description:text:null:max=10000",
    "year_of_publication:int:null:min=-3000:max=3000",
    "genre:text:null:max=100",
    "language:text:null:max=100",
    "pages:int:null:min=1:max=100000",
];

/// Applications in a folder of their own. When dropped, they are removed, and what was built
/// of them; what was built of their dependencies stays.
struct Shelf {
    folder: TempDir,
    names: Vec<String>,
    /// Cargo cleans by the names of programs, and each application has a test `api`: one
    /// test would remove another's.
    _alone: MutexGuard<'static, ()>,
}

impl Shelf {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        Self {
            folder: tempfile::tempdir().unwrap(),
            names: Vec::new(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// `new app`.
    fn app(&mut self, name: &str, database: &str) -> App {
        let app = App {
            folder: self.folder.path().join(name),
        };
        let mut command = coach(self.folder.path());
        succeed(command.args(["app", name, "--db", database]));
        self.names.push(name.to_owned());
        app
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for name in &self.names {
            let mut clean = cargo(&self.folder.path().join(name));
            // What cannot be removed only takes space.
            let _ = clean.args(["clean", "--quiet", "--package", name]).status();
        }
    }
}

struct App {
    folder: PathBuf,
}

impl App {
    fn module(&self, name: &str, fields: &[&str]) {
        let mut command = coach(&self.folder);
        command.args(["module", name]);
        for field in fields {
            command.args(["--field", field]);
        }
        succeed(&mut command);
    }

    fn field(&self, module: &str, field: &str) {
        succeed(coach(&self.folder).args(["field", module, field]));
    }

    /// Cargo with these words. `--locked`, as nothing may have to be changed first.
    fn cargo(&self, words: &str) -> Command {
        let mut command = cargo(&self.folder);
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        command
            .args([verb, "--locked"])
            .args(rest.split_whitespace());
        command
    }
}

/// `./run.sh new` in a folder.
fn coach(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coach"));
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    command
        .current_dir(folder)
        .arg("--root")
        .arg(tools.parent().unwrap())
        .arg("new")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Cargo in an application's folder, with one target folder for all of them. A warning is
/// an error, and there is no network.
fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", "-D warnings")
        .stdin(Stdio::null());
    for name in ["DATABASE_URL", "LISTEN_ADDR", "RUST_LOG", "LOG_SQL"] {
        command.env_remove(name);
    }
    command
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated")
}

fn succeed(command: &mut Command) {
    let status: ExitStatus = command.status().unwrap();
    assert!(status.success(), "{status}: {command:?}");
}

/// A service that runs until this is dropped.
struct Running {
    child: Child,
    /// `127.0.0.1:4711`.
    addr: String,
}

impl Running {
    /// Waits for the line that says where it listens.
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().and_then(Result::ok).unwrap_or_default();
        let addr = line.strip_prefix("listening on http://");
        let addr = addr
            .unwrap_or_else(|| panic!("{command:?}: {line}"))
            .to_owned();
        Self { child, addr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its database is removed with it, so it need not end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn applications_build_their_tests_pass_and_their_readme_is_true() {
    let mut shelf = Shelf::new();
    let shop = shelf.app("shop", "sqlite");
    let readme = fs::read_to_string(shop.folder.join("README.md")).unwrap();
    let commands = commands(&readme);
    // First those that add to the application, then those that build it.
    for line in commands
        .iter()
        .filter_map(|it| it.strip_prefix("run.sh new "))
    {
        let words = line.split_whitespace();
        succeed(coach(&shop.folder).args(words.map(|word| word.trim_matches('\''))));
    }
    shop.module("OrderItem", &EVERY_KIND);
    shop.field("order-items", "default:text");
    shop.field("order-items", "select:int:null:min=1");
    let mut run = Vec::new();
    assert!(commands.iter().any(|it| it == "cargo test"), "{commands:?}");
    succeed(cargo(&shop.folder).args(["fmt", "--check"]));
    succeed(&mut shop.cargo("test --quiet"));
    let service =
        Running::start(Command::new(target().join("debug/shop")).current_dir(&shop.folder));
    for line in &commands {
        // The README's own words, for the port that was free.
        let line = line.replace("127.0.0.1:8080", &service.addr);
        if line.starts_with("curl ") {
            succeed(Command::new("sh").args(["-c", &format!("{line} --fail >/dev/null")]));
            run.push(line);
        }
    }
    assert!(!run.is_empty(), "{commands:?}");
    drop(service);
    for database in ["postgres", "mysql"] {
        let app = shelf.app(&format!("shop-{database}"), database);
        app.module("author", &AUTHOR);
        app.module("OrderItem", &EVERY_KIND);
        app.field("order-items", "default:text");
        succeed(&mut app.cargo("test --quiet --no-run"));
    }
}

/// The lines of the code blocks of a page.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn books_and_authors_keep_the_contract_of_step_09() -> Outcome {
    let mut shelf = Shelf::new();
    let store = shelf.app("bookstore", "sqlite");
    store.module("author", &AUTHOR);
    store.module("book", &BOOK);
    succeed(&mut store.cargo("test --quiet --no-run"));
    macro_rules! each {
        ($($check:ident)*) => {
            $({
                let (service, _running, _folder) = bookstore().await?;
                contract::$check(&service).await?;
            })*
        };
    }
    each!(
        author_by_id book_by_id new_authors author_refusals author_removed new_books
        book_refusals one_name_at_once book_replaced replace_refusals book_changed
        book_cleared change_refusals changes_at_once book_removed empty_store
    );
    for (path, rows) in [
        ("/author", contract::sample_authors()),
        ("/book", contract::sample_books()),
    ] {
        let (service, _running, _folder) = bookstore().await?;
        contract::pages(&service, path, &rows).await?;
        contract::page_refusals(&service, path).await?;
    }
    Ok(())
}

/// The bookstore with the sample authors and books, in a database of its own.
async fn bookstore() -> Result<(Service, Running, TempDir), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("books.sqlite").display());
    let mut command = Command::new(target().join("debug/bookstore"));
    let running = Running::start(command.current_dir(folder.path()).env("DATABASE_URL", url));
    let service = Service::at(running.addr.parse().unwrap());
    for (path, rows) in [
        ("/author", contract::sample_authors()),
        ("/book", contract::sample_books()),
    ] {
        for row in rows {
            service.post_json(path, &row).await?.expect_status(201)?;
        }
    }
    Ok((service, running, folder))
}

#[test]
#[ignore = "takes long, and needs PostgreSQL and MariaDB: a scheduled job"]
fn every_combination_on_every_database() {
    let postgres = Server::start(&[]).unwrap().expect(postgres_server::INSTALL);
    let maria = Maria::start();
    let mut shelf = Shelf::new();
    for (database, url) in [
        ("sqlite", None),
        ("postgres", Some(postgres.url("postgres"))),
        ("mysql", Some(maria.url())),
    ] {
        let app = shelf.app(&format!("all-{database}"), database);
        app.module("author", &AUTHOR);
        for kind in [
            "text",
            "int",
            "float",
            "money",
            "bool",
            "date",
            "time",
            "ref=author",
        ] {
            for modifiers in ["", ":null", ":unique", ":unique:null"] {
                if kind == "bool" && modifiers.contains("unique") {
                    continue;
                }
                let name = format!("some-{kind}{modifiers}").replace([':', '='], "-of-");
                app.module(&name, &[&format!("value:{kind}{modifiers}")]);
                // The same column, added to a table that exists.
                let fits = match modifiers {
                    "" => !kind.starts_with("ref"),
                    modifiers => modifiers.contains("null"),
                };
                if fits {
                    app.field(&name, &format!("select:{kind}{modifiers}"));
                }
            }
        }
        app.module("OrderItem", &EVERY_KIND);
        let mut test = app.cargo("test --quiet");
        if let Some(url) = &url {
            test.env("DATABASE_URL", url);
        }
        succeed(&mut test);
        succeed(cargo(&app.folder).args(["fmt", "--check"]));
    }
}

/// A private server of MariaDB, stopped and removed when dropped.
struct Maria {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Maria {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let data = format!("--datadir={}", data.display());
        let install = "the programs of MariaDB: apt install mariadb-server";
        let user = format!(
            "--user={}",
            std::env::var("USER").unwrap_or_else(|_| "root".into())
        );
        let mut make = Command::new("mariadb-install-db");
        make.args([
            "--no-defaults",
            &data,
            &user,
            "--auth-root-authentication-method=normal",
        ]);
        let status = make.stdout(Stdio::null()).status().expect(install);
        assert!(status.success(), "{make:?}");
        // Free at this moment; nothing else here takes one of these ports by chance.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let socket = folder.path().join("socket");
        let program = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd"];
        let program = program
            .iter()
            .find(|it| Path::new(it).exists())
            .expect(install);
        let child = Command::new(program)
            .args([
                "--no-defaults",
                &data,
                &user,
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!(
                "--pid-file={}",
                folder.path().join("pid").display()
            ))
            .stderr(Stdio::null())
            .spawn()
            .expect(install);
        let server = Self {
            child,
            folder,
            port,
        };
        let sql =
            "CREATE USER app@127.0.0.1 IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO app@127.0.0.1;";
        for _ in 0..600 {
            let mut client = Command::new("mariadb");
            client
                .arg("--no-defaults")
                .arg(format!("--socket={}", socket.display()));
            let status = client
                .args(["-u", "root", "-e", sql])
                .stderr(Stdio::null())
                .status();
            if status.is_ok_and(|it| it.success()) {
                return server;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "MariaDB does not start in {}",
            server.folder.path().display()
        );
    }

    fn url(&self) -> String {
        format!("mysql://app:secret@127.0.0.1:{}/mysql", self.port)
    }
}

impl Drop for Maria {
    fn drop(&mut self) {
        // Its data go with it, so it need not end in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
